//! The window at A0000h: what a read or write of the processor does to the four planes.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Graphics Controller Registers" and the sequencer's
//! map mask and memory mode; FreeVGA, "Accessing the VGA Display Memory".

use super::{Direct, Vga, WINDOW_BASE};
use crate::GuestMemory;

/// Sequencer registers.
const MAP_MASK: usize = 2;
const MEMORY_MODE: usize = 4;
/// Memory mode: addresses are not odd and even; addresses' low two bits choose the plane.
const ODD_EVEN_DISABLE: u8 = 1 << 2;
const CHAIN_4: u8 = 1 << 3;

/// Graphics controller registers.
const SET_RESET: usize = 0;
const ENABLE_SET_RESET: usize = 1;
const COLOUR_COMPARE: usize = 2;
const ROTATE: usize = 3;
const READ_MAP: usize = 4;
const MODE: usize = 5;
const MISCELLANEOUS: usize = 6;
const COLOUR_DO_NOT_CARE: usize = 7;
const BIT_MASK: usize = 8;
/// Mode: reads compare colours; reads are of odd and even planes.
const READ_MODE_1: u8 = 1 << 3;
const READ_ODD_EVEN: u8 = 1 << 4;

/// First address and length of the window, as bits 3-2 of the miscellaneous register say.
const WINDOWS: [(u64, u64); 4] =
    [(0xa_0000, 0x2_0000), (0xa_0000, 0x1_0000), (0xb_0000, 0x8000), (0xb_8000, 0x8000)];
/// The one with banks, which is also the display interface's.
const BANKED: usize = 1;

/// A byte of each plane in one number, plane 0 lowest.
type Cell = u32;

/// The same byte for each plane.
fn every_plane(byte: u8) -> Cell {
    u32::from(byte) * 0x0101_0101
}

/// All ones in the byte of each plane whose bit is set.
fn planes(bits: u8) -> Cell {
    (0..4).filter(|plane| bits >> plane & 1 != 0).fold(0, |cell, plane| cell | 0xff << (8 * plane))
}

impl Vga {
    /// Which window answers, by its number in [`WINDOWS`].
    fn window(&self) -> usize {
        if self.mode().is_some() { BANKED } else { usize::from(self.state.graphics[MISCELLANEOUS] >> 2 & 3) }
    }

    /// The display interface's packed pixels: no planes.
    fn is_packed(&self) -> bool {
        self.mode().is_some_and(|mode| mode.bpp != 4)
    }

    /// Whether what the processor writes reaches memory as it is.
    fn is_passive(&self) -> bool {
        let [.., bit_mask] = self.state.graphics;
        self.state.sequencer[MAP_MASK] == 0x0f
            && self.state.graphics[ENABLE_SET_RESET] == 0
            && self.state.graphics[ROTATE] == 0
            && self.state.graphics[MODE] & (3 | READ_MODE_1) == 0
            && bit_mask == 0xff
    }

    /// The part of the window that is plain memory now. Reads of it leave the latches as they are.
    #[must_use]
    pub fn direct(&self) -> Option<Direct> {
        let chained = self.state.sequencer[MEMORY_MODE] & CHAIN_4 != 0 && self.is_passive();
        if !self.is_packed() && !chained {
            return None;
        }
        let (base, length) = WINDOWS[self.window()];
        let offset = if self.window() == BANKED { self.bank() & (self.memory() - 1) } else { 0 };
        Some(Direct { base, length, offset })
    }

    /// Where in the window an access at `offset` of A0000h is, bank included.
    fn place(&self, offset: u64) -> Option<u64> {
        let (base, length) = WINDOWS[self.window()];
        let within = (WINDOW_BASE + offset).checked_sub(base).filter(|within| *within < length)?;
        Some(within + if self.window() == BANKED { self.bank() } else { 0 })
    }

    /// Offset of a cell in the adapter's memory.
    pub(super) fn cell_at(&self, cell: u64) -> u64 {
        (cell * 4) & (self.memory() - 1)
    }

    /// A byte of the window; where it does not answer, all ones.
    pub fn window_read(&mut self, offset: u64, memory: &mut dyn GuestMemory) -> u8 {
        let Some(at) = self.place(offset) else { return 0xff };
        if self.is_packed() {
            let mut byte = [0xff];
            memory.read(at & (self.memory() - 1), &mut byte);
            return byte[0];
        }
        let mode = self.state.graphics[MODE];
        let read_map = usize::from(self.state.graphics[READ_MAP]);
        let (cell, plane) = if self.state.sequencer[MEMORY_MODE] & CHAIN_4 != 0 {
            (at >> 2, at as usize & 3)
        } else if mode & READ_ODD_EVEN != 0 {
            (at >> 1, read_map & 2 | at as usize & 1)
        } else {
            (at, read_map)
        };
        memory.read(self.cell_at(cell), &mut self.state.latches);
        if mode & READ_MODE_1 == 0 {
            return self.state.latches[plane & 3];
        }
        let wanted = planes(self.state.graphics[COLOUR_COMPARE]);
        let care = planes(self.state.graphics[COLOUR_DO_NOT_CARE]);
        let differs = (Cell::from_le_bytes(self.state.latches) ^ wanted) & care;
        !differs.to_le_bytes().into_iter().fold(0, |all, plane| all | plane)
    }

    /// Writes a byte of the window.
    pub fn window_write(&mut self, offset: u64, value: u8, memory: &mut dyn GuestMemory) {
        let Some(at) = self.place(offset) else { return };
        if self.is_packed() {
            memory.write(at & (self.memory() - 1), &[value]);
            return;
        }
        let memory_mode = self.state.sequencer[MEMORY_MODE];
        let (cell, reached) = if memory_mode & CHAIN_4 != 0 {
            (at >> 2, 1 << (at & 3))
        } else if memory_mode & ODD_EVEN_DISABLE == 0 {
            (at >> 1, 0b0101 << (at & 1))
        } else {
            (at, 0x0f)
        };
        let written = planes(self.state.sequencer[MAP_MASK] & reached);
        if written == 0 {
            return;
        }
        let place = self.cell_at(cell);
        let mut before = [0; 4];
        memory.read(place, &mut before);
        let after = Cell::from_le_bytes(before) & !written | self.transformed(value) & written;
        memory.write(place, &after.to_le_bytes());
    }

    /// What the write mode makes of `value` and the latches, for each plane.
    fn transformed(&self, value: u8) -> Cell {
        let graphics = &self.state.graphics;
        let latches = Cell::from_le_bytes(self.state.latches);
        let bit_mask = every_plane(graphics[BIT_MASK]);
        let set = planes(graphics[SET_RESET]);
        let rotated = value.rotate_right(u32::from(graphics[ROTATE] & 7));
        let (value, bit_mask) = match graphics[MODE] & 3 {
            0 => {
                let enabled = planes(graphics[ENABLE_SET_RESET]);
                (every_plane(rotated) & !enabled | set & enabled, bit_mask)
            }
            1 => return latches,
            2 => (planes(value), bit_mask),
            _ => (set, bit_mask & every_plane(rotated)),
        };
        let combined = match graphics[ROTATE] >> 3 & 3 {
            0 => value,
            1 => value & latches,
            2 => value | latches,
            _ => value ^ latches,
        };
        combined & bit_mask | latches & !bit_mask
    }
}
