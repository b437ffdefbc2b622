//! The screen as dots: what the CRT controller, the attribute controller and the converter make of memory.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "CRT Controller Registers" and "Attribute Controller
//! Registers"; FreeVGA, "VGA Text Mode Operation", "VGA Sequencer Operation". What blinks is shown in the
//! half of the time in which it is there. The overscan border is not part of the picture.

use super::{Vga, dispi::Mode, ports::PAS};

/// The adapter's memory, to be read: an offset and bytes to fill.
pub type Memory<'a> = &'a dyn Fn(u64, &mut [u8]);

/// A picture of the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Dots across.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Red, green and blue of each dot, from the upper left on.
    pub pixels: Vec<u8>,
}

pub(super) type Rgb = [u8; 3];

/// A line of the picture in an IBM VGA's mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ScanLine {
    /// The cell it begins with.
    pub cell: u64,
    /// Which line of the row of characters, or of the dots that are repeated, it is.
    pub scan: u8,
    /// It begins a row.
    pub first: bool,
    /// It is below line compare.
    pub split: bool,
}

/// The size of a screen that nobody has set up.
const DARK: (u32, u32) = (720, 400);
/// Dots that one cell of graphics, or of text without its ninth dot, is wide.
const CELL_DOTS: usize = 8;
/// Bytes of a character in plane 2.
const GLYPH: u64 = 32;
/// Where in plane 2 each of the eight fonts begins.
const FONTS: [u64; 8] = [0x0000, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000];

/// CRT controller registers.
mod crt {
    pub const SHOWN: usize = 0x01;
    pub const OVERFLOW: usize = 0x07;
    pub const PRESET_ROW_SCAN: usize = 0x08;
    pub const MAXIMUM_SCAN_LINE: usize = 0x09;
    pub const CURSOR_START: usize = 0x0a;
    pub const CURSOR_END: usize = 0x0b;
    pub const START: usize = 0x0c;
    pub const CURSOR: usize = 0x0e;
    pub const OFFSET: usize = 0x13;
    pub const UNDERLINE: usize = 0x14;
    pub const MODE: usize = 0x17;
    pub const LINE_COMPARE: usize = 0x18;
}

/// Attribute controller registers.
mod attribute {
    pub const MODE: usize = 0x10;
    pub const PLANES: usize = 0x12;
    pub const PANNING: usize = 0x13;
    pub const COLOUR_SELECT: usize = 0x14;
    /// Mode: bits 5-4 of colours come from colour select.
    pub const COLOUR_BITS: u8 = 1 << 7;
    /// Mode: panning ends at line compare.
    pub const PANNING_ENDS: u8 = 1 << 5;
    /// Mode: bit 7 of an attribute blinks instead of being the background's.
    pub const BLINK: u8 = 1 << 3;
    /// Mode: line-drawing characters go on in the ninth dot.
    pub const LINE_GRAPHICS: u8 = 1 << 2;
}

/// Bits of other registers.
const EIGHT_DOTS: u8 = 1 << 0;
const HALF_CLOCK: u8 = 1 << 3;
const SCREEN_OFF: u8 = 1 << 5;
const GRAPHICS: u8 = 1 << 0;
const CURSOR_OFF: u8 = 1 << 5;

impl Vga {
    fn is_dark(&self) -> bool {
        self.state.attribute_index & PAS == 0 || self.state.sequencer[1] & SCREEN_OFF != 0
    }

    /// Whether there are characters to be seen.
    pub(super) fn shows_text(&self) -> bool {
        self.mode().is_none() && !self.is_dark() && self.state.graphics[6] & GRAPHICS == 0
    }

    /// The cell with the cursor, where it is shown.
    pub(super) fn cursor(&self) -> Option<u64> {
        (self.state.crt[crt::CURSOR_START] & CURSOR_OFF == 0).then(|| self.word(crt::CURSOR))
    }

    /// Whether bit 7 of an attribute makes its character blink.
    pub(super) fn blinks(&self) -> bool {
        self.state.attribute[attribute::MODE] & attribute::BLINK != 0
    }

    /// Cells in a line.
    pub(super) fn columns(&self) -> usize {
        usize::from(self.state.crt[crt::SHOWN]) + 1
    }

    fn word(&self, register: usize) -> u64 {
        let high = self.state.crt.get(register).copied().unwrap_or(0);
        let low = self.state.crt.get(register + 1).copied().unwrap_or(0);
        u64::from(high) << 8 | u64::from(low)
    }

    /// The lines of the picture, each with where it comes from.
    pub(super) fn scan_lines(&self) -> Vec<ScanLine> {
        let registers = &self.state.crt;
        let maximum = registers[crt::MAXIMUM_SCAN_LINE];
        let compare = u64::from(registers[crt::LINE_COMPARE])
            | u64::from(registers[crt::OVERFLOW] >> 4 & 1) << 8
            | u64::from(maximum >> 6 & 1) << 9;
        let (twice, maximum) = (maximum & 0x80 != 0, maximum & 0x1f);
        let preset = registers[crt::PRESET_ROW_SCAN];
        let pitch = u64::from(registers[crt::OFFSET]) * 2;
        let cell = self.word(crt::START) + u64::from(preset >> 5 & 3);
        let mut line = ScanLine { cell, scan: preset & 0x1f, first: true, split: false };
        let mut lines = Vec::new();
        let mut again = twice;
        for number in 0..=self.last_line() {
            lines.push(line);
            line.first = false;
            if number == compare {
                line = ScanLine { cell: 0, scan: 0, first: true, split: true };
                again = twice;
            } else if again {
                again = false;
            } else {
                again = twice;
                if line.scan == maximum {
                    line = ScanLine { cell: line.cell + pitch, scan: 0, first: true, ..line };
                } else {
                    line.scan = (line.scan + 1) & 0x1f;
                }
            }
        }
        lines
    }

    /// What the converter makes of each of its 256 inputs.
    pub(super) fn converter(&self) -> Vec<Rgb> {
        let dac = &self.state.dac;
        let wide = self.dac_is_wide();
        let full = |component: u8| {
            if wide { component } else { (component & 0x3f) << 2 | component >> 4 & 3 }
        };
        (0..=255u8)
            .map(|input| {
                let colour = dac.colours.get(usize::from(input & dac.mask)).copied().unwrap_or_default();
                colour.map(full)
            })
            .collect()
    }

    /// What the converter gets for each of the attribute controller's 16 inputs.
    pub(super) fn palette(&self, converter: &[Rgb]) -> Vec<Rgb> {
        let registers = &self.state.attribute;
        let (mode, select) = (registers[attribute::MODE], registers[attribute::COLOUR_SELECT]);
        (0..16u8)
            .map(|input| {
                let register = registers[usize::from(input & registers[attribute::PLANES] & 15)];
                let output = if mode & attribute::COLOUR_BITS != 0 {
                    select << 4 | register & 0x0f
                } else {
                    (select & 0x0c) << 4 | register
                };
                converter.get(usize::from(output)).copied().unwrap_or_default()
            })
            .collect()
    }

    /// The screen.
    #[must_use]
    pub fn picture(&self, memory: Memory<'_>) -> Picture {
        let unset = self.state.crt[crt::SHOWN] == 0;
        let size = match self.mode() {
            Some(mode) => (mode.width, mode.height),
            None if unset => DARK,
            None => self.size(),
        };
        if self.is_dark() || unset && self.mode().is_none() {
            let pixels = vec![0; 3 * size.0 as usize * size.1 as usize];
            return Picture { width: size.0, height: size.1, pixels };
        }
        let converter = self.converter();
        let mut pixels = Vec::with_capacity(3 * size.0 as usize * size.1 as usize);
        match self.mode() {
            Some(mode) if mode.bpp != 4 => self.put_packed(mode, &converter, memory, &mut pixels),
            Some(mode) => {
                let palette = self.palette(&converter);
                for line in 0..u64::from(mode.height) {
                    let first = (mode.start + line * u64::from(mode.pitch)) / 4;
                    for cell in 0..u64::from(mode.width) / CELL_DOTS as u64 {
                        let mut planes = [0; 4];
                        memory(self.cell_at(first + cell), &mut planes);
                        put(&mut pixels, &palette, &planar(planes), 1);
                    }
                }
            }
            None => self.put_lines(&converter, memory, &mut pixels),
        }
        Picture { width: size.0, height: size.1, pixels }
    }

    /// Dots in a cell of an IBM VGA's mode.
    fn cell_dots(&self) -> usize {
        let nine = self.state.graphics[6] & GRAPHICS == 0 && self.state.sequencer[1] & EIGHT_DOTS == 0;
        if nine { CELL_DOTS + 1 } else { CELL_DOTS }
    }

    /// How often each dot is shown, at half the clock.
    fn repeated(&self) -> usize {
        if self.state.sequencer[1] & HALF_CLOCK != 0 { 2 } else { 1 }
    }

    /// Size of an IBM VGA's mode.
    fn size(&self) -> (u32, u32) {
        let width = self.columns() * self.cell_dots() * self.repeated();
        (width as u32, self.last_line() as u32 + 1)
    }

    fn put_lines(&self, converter: &[Rgb], memory: Memory<'_>, pixels: &mut Vec<u8>) {
        let palette = self.palette(converter);
        let text = self.state.graphics[6] & GRAPHICS == 0;
        let bytes = self.state.graphics[5] & 0x40 != 0;
        let width = self.columns() * self.cell_dots();
        let table = if bytes && !text { converter } else { &palette };
        for line in self.scan_lines() {
            // One more cell, for what panning brings in from the right.
            let cells = 0..self.columns() as u64 + 1;
            let dots: Vec<u8> = if text {
                cells.flat_map(|column| self.character_dots(line, column, memory)).collect()
            } else {
                cells.flat_map(|column| self.graphics_dots(line, column, memory)).collect()
            };
            let panned = dots.get(self.panning(line, bytes && !text)..).unwrap_or_default();
            put(pixels, table, panned.get(..width).unwrap_or_default(), self.repeated());
        }
    }

    /// How many dots a line is moved to the left.
    fn panning(&self, line: ScanLine, bytes: bool) -> usize {
        let ends = self.state.attribute[attribute::MODE] & attribute::PANNING_ENDS != 0;
        if line.split && ends {
            return 0;
        }
        let panning = usize::from(self.state.attribute[attribute::PANNING]);
        match (self.cell_dots(), panning) {
            // With nine dots, 8 is none.
            (9, 8..) => 0,
            (9, _) => panning + 1,
            _ if bytes => panning & 6,
            _ => panning & 7,
        }
    }

    /// One line of a character: attribute numbers.
    fn character_dots(&self, line: ScanLine, column: u64, memory: Memory<'_>) -> Vec<u8> {
        let registers = &self.state.crt;
        let cell = line.cell + column;
        let mut bytes = [0; 4];
        memory(self.cell_at(cell), &mut bytes);
        let [code, look, ..] = bytes;
        let mode = self.state.attribute[attribute::MODE];
        let fonts = self.state.sequencer[3];
        let font = if look & 8 != 0 { fonts >> 3 & 4 | fonts >> 2 & 3 } else { fonts >> 2 & 4 | fonts & 3 };
        let at = FONTS[usize::from(font & 7)] + u64::from(code) * GLYPH + u64::from(line.scan);
        let mut glyph = [0; 4];
        memory(self.cell_at(at), &mut glyph);
        let [_, _, mut dots, _] = glyph;
        let mut ninth = mode & attribute::LINE_GRAPHICS != 0 && code & 0xe0 == 0xc0 && dots & 1 != 0;
        let underlined = look & 0x77 == 1 && line.scan == registers[crt::UNDERLINE] & 0x1f;
        let (start, end) = (registers[crt::CURSOR_START], registers[crt::CURSOR_END] & 0x1f);
        let cursor = cell == self.word(crt::CURSOR)
            && start & CURSOR_OFF == 0
            && (start & 0x1f..=end).contains(&line.scan);
        if underlined || cursor {
            (dots, ninth) = (0xff, true);
        }
        let background = if mode & attribute::BLINK != 0 { look >> 4 & 7 } else { look >> 4 };
        let colour = |on: bool| if on { look & 15 } else { background };
        let mut line: Vec<u8> = (0..8).rev().map(|bit| colour(dots >> bit & 1 != 0)).collect();
        if self.cell_dots() == 9 {
            line.push(colour(ninth));
        }
        line
    }

    /// The eight dots of a cell: attribute numbers, or the converter's.
    fn graphics_dots(&self, line: ScanLine, column: u64, memory: Memory<'_>) -> [u8; 8] {
        let mode = self.state.crt[crt::MODE];
        let mut cell = line.cell + column;
        // Row scan bits in place of address bits 13 and 14, as a CGA and a Hercules have them. The
        // address counts bytes, words or doublewords.
        let doubleword = self.state.crt[crt::UNDERLINE] & 0x40 != 0;
        let unit = if doubleword { 2 } else { u32::from(mode & 0x40 == 0) };
        for (select, scan) in [(0, line.scan & 1), (1, line.scan >> 1 & 1)] {
            if mode >> select & 1 == 0 {
                let bit = 13 + select - unit;
                cell = cell & !(1 << bit) | u64::from(scan) << bit;
            }
        }
        let mut planes = [0; 4];
        memory(self.cell_at(cell), &mut planes);
        let [first, second, third, fourth] = planes;
        match self.state.graphics[5] >> 5 & 3 {
            0 => planar(planes),
            // Two bits a dot, four dots from each of two planes; the other two planes are bits 3-2.
            1 => std::array::from_fn(|dot| {
                let (low, high) = if dot < 4 { (first, third) } else { (second, fourth) };
                let shift = 6 - 2 * (dot & 3);
                low >> shift & 3 | (high >> shift & 3) << 2
            }),
            _ => [first, first, second, second, third, third, fourth, fourth],
        }
    }

    /// A mode of the display interface with a pixel in one to four bytes.
    fn put_packed(&self, mode: Mode, converter: &[Rgb], memory: Memory<'_>, pixels: &mut Vec<u8>) {
        let bytes = usize::from(mode.bpp).div_ceil(8);
        let mut line = vec![0; mode.width as usize * bytes];
        for number in 0..u64::from(mode.height) {
            let start = mode.start + number * u64::from(mode.pitch);
            // The registers keep the picture within memory.
            memory(start & (self.memory() - 1), &mut line);
            for pixel in line.chunks_exact(bytes) {
                let value = pixel.iter().enumerate().fold(0u32, |value, (index, byte)| {
                    let place = if self.state.big_endian { bytes - 1 - index } else { index };
                    value | u32::from(*byte) << (8 * place)
                });
                let wide = |shift: u32, bits: u32| {
                    let component = value >> shift & ((1 << bits) - 1);
                    (component << (8 - bits) | component >> (2 * bits - 8)) as u8
                };
                let rgb = match mode.bpp {
                    8 => converter.get(value as usize & 0xff).copied().unwrap_or_default(),
                    15 => [wide(10, 5), wide(5, 5), wide(0, 5)],
                    16 => [wide(11, 5), wide(5, 6), wide(0, 5)],
                    _ => [wide(16, 8), wide(8, 8), wide(0, 8)],
                };
                pixels.extend(rgb);
            }
        }
    }
}

/// Eight dots, one bit of each from each plane.
fn planar(planes: [u8; 4]) -> [u8; 8] {
    std::array::from_fn(|dot| {
        planes.iter().rev().fold(0, |number, plane| number << 1 | plane >> (7 - dot) & 1)
    })
}

/// Adds dots through a table, each `repeated` times.
fn put(pixels: &mut Vec<u8>, table: &[Rgb], dots: &[u8], repeated: usize) {
    for dot in dots {
        let rgb = table.get(usize::from(*dot)).copied().unwrap_or_default();
        (0..repeated).for_each(|_| pixels.extend(rgb));
    }
}
