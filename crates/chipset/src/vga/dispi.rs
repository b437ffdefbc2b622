//! Bochs' display interface: modes that an IBM VGA does not have, without its timings.
//!
//! "VBE Display API" of the Bochs VBE extensions; where it leaves open what a value that does not fit
//! becomes, as measured on QEMU 7.2.

use super::Vga;
use crate::Effects;

/// Registers by number.
pub(super) const ID: u16 = 0;
pub(super) const XRES: u16 = 1;
pub(super) const YRES: u16 = 2;
pub(super) const BPP: u16 = 3;
pub(super) const ENABLE: u16 = 4;
pub(super) const BANK: u16 = 5;
pub(super) const VIRT_WIDTH: u16 = 6;
pub(super) const VIRT_HEIGHT: u16 = 7;
pub(super) const X_OFFSET: u16 = 8;
pub(super) const Y_OFFSET: u16 = 9;
const VIDEO_MEMORY_64K: u16 = 10;

/// The newest version of the interface, and what the oldest calls itself.
const NEWEST: u16 = 0xb0c5;
const OLDEST: u16 = 0xb0c0;

/// Bits of ENABLE.
const ENABLED: u16 = 1 << 0;
const GETCAPS: u16 = 1 << 1;
/// The converter has eight bits a component instead of six.
const DAC_8BIT: u16 = 1 << 5;
const NOCLEARMEM: u16 = 1 << 7;

const XRES_MOST: u16 = 16000;
const YRES_MOST: u16 = 12000;
const BPP_MOST: u16 = 32;

/// The registers as a reset leaves them.
pub(super) const RESET: [u16; 10] = [NEWEST, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A mode of the display interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mode {
    pub width: u32,
    pub height: u32,
    pub bpp: u16,
    /// Bytes of the adapter's memory from a line to the next.
    pub pitch: u32,
    /// Where the first line begins.
    pub start: u64,
}

/// Bits of memory that a pixel takes.
fn bits(bpp: u16) -> u32 {
    if bpp == 15 { 16 } else { u32::from(bpp) }
}

impl Vga {
    fn dispi(&self, index: u16) -> u16 {
        self.state.dispi.get(usize::from(index)).copied().unwrap_or(0)
    }

    pub(super) fn dac_is_wide(&self) -> bool {
        self.dispi(ENABLE) & DAC_8BIT != 0
    }

    /// The mode, if the interface is enabled.
    pub(super) fn mode(&self) -> Option<Mode> {
        if self.dispi(ENABLE) & ENABLED == 0 {
            return None;
        }
        let bpp = self.dispi(BPP);
        let pitch = u32::from(self.dispi(VIRT_WIDTH)) * bits(bpp) / 8;
        let across = u64::from(self.dispi(X_OFFSET)) * u64::from(bits(bpp)) / 8;
        Some(Mode {
            width: u32::from(self.dispi(XRES)),
            height: u32::from(self.dispi(YRES)),
            bpp,
            pitch,
            start: u64::from(self.dispi(Y_OFFSET)) * u64::from(pitch) + across,
        })
    }

    /// Offset of the window's bank; of a plane with four bits a pixel, of all memory otherwise.
    pub(super) fn bank(&self) -> u64 {
        let planar = self.dispi(BPP) == 4;
        let banks = (self.memory() >> 16) >> if planar { 2 } else { 0 };
        let enabled = self.dispi(ENABLE) & ENABLED != 0;
        if enabled { (u64::from(self.dispi(BANK)) & (banks - 1)) << 16 } else { 0 }
    }

    /// What the registers become in this memory, once the interface is enabled.
    pub(super) fn fitting(&self, mut registers: [u16; 10]) -> [u16; 10] {
        let [_, width, height, bpp, enable, _, virtual_width, virtual_height, x, y] = &mut registers;
        if *enable & ENABLED == 0 {
            return registers;
        }
        if ![4, 8, 15, 16, 24, 32].contains(bpp) {
            *bpp = 8;
        }
        *width = (*width & !7).clamp(8, XRES_MOST);
        *virtual_width = (*virtual_width & !7).clamp(*width, XRES_MOST);
        let pitch = u64::from(*virtual_width) * u64::from(bits(*bpp)) / 8;
        let lines = u16::try_from(self.memory() / pitch.max(1)).unwrap_or(u16::MAX);
        *height = (*height).clamp(1, lines.clamp(1, YRES_MOST));
        *virtual_height = lines;
        *x = (*x).min(*virtual_width - *width);
        *y = (*y).min(lines.saturating_sub(*height));
        registers
    }

    pub(super) fn dispi_read(&self, index: u16) -> u16 {
        let capabilities = self.dispi(ENABLE) & GETCAPS != 0;
        match index {
            XRES if capabilities => XRES_MOST,
            YRES if capabilities => YRES_MOST,
            BPP if capabilities => BPP_MOST,
            VIDEO_MEMORY_64K => (self.memory() >> 16) as u16,
            _ => self.dispi(index),
        }
    }

    pub(super) fn dispi_write(&mut self, index: u16, value: u16, fx: &mut Effects) {
        let was_enabled = self.mode().is_some();
        let registers = &mut self.state.dispi;
        match index {
            ID if (OLDEST..=NEWEST).contains(&value) => registers[usize::from(ID)] = value,
            XRES | YRES | BPP | BANK | VIRT_WIDTH | X_OFFSET | Y_OFFSET => {
                registers[usize::from(index)] = value;
                self.state.dispi = self.fitting(self.state.dispi);
            }
            ENABLE => {
                registers[usize::from(ENABLE)] = value;
                if value & ENABLED == 0 || was_enabled {
                    return;
                }
                for register in [VIRT_WIDTH, X_OFFSET, Y_OFFSET] {
                    registers[usize::from(register)] = 0;
                }
                self.state.dispi = self.fitting(self.state.dispi);
                let shown = self.mode().map_or(0, |mode| u64::from(mode.pitch) * u64::from(mode.height));
                if value & NOCLEARMEM == 0 {
                    fx.zero = shown.min(self.memory());
                }
            }
            ID | VIRT_HEIGHT | VIDEO_MEMORY_64K => {}
            _ => fx.note("display interface: no register", u64::from(index), u64::from(value)),
        }
    }
}
