//! What host bridges say about A0000h-FFFFFh: the Programmable Attribute Map and SMRAM.
//!
//! The 82441FX (290549-001, sections 3.2.17 and 3.2.20) and the Q35 MCH (316966-002, sections
//! 5.1.23 to 5.1.31) have the same seven PAM registers and the same SMRAM register, at different
//! places. Which of the modes an emulator really implements is its generation's affair.

use crate::pci::ConfigSpace;

/// SMRAM: RAM is there for every access.
pub(crate) const D_OPEN: u8 = 1 << 6;
/// SMRAM: code fetches only.
pub(crate) const D_CLS: u8 = 1 << 5;
/// SMRAM: read-only until a reset.
pub(crate) const D_LCK: u8 = 1 << 4;
/// SMRAM: RAM is there in system management mode.
pub(crate) const G_SMRAME: u8 = 1 << 3;
/// SMRAM after a reset: the compatible segment A0000h-BFFFFh, which is the only one.
pub(crate) const SMRAM_RESET: u8 = 0x02;

/// The thirteen segments and what each asks for, of a function whose PAM0 is register `pam0`.
pub(crate) fn shadows(config: &ConfigSpace, pam0: u8) -> [(Segment, Shadow); 13] {
    SEGMENTS.map(|segment| (segment, Shadow::of(config.get(pam0 + segment.register) >> segment.shift)))
}

/// One row of the PAM table: which nibble rules which range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Register, counted from PAM0.
    pub register: u8,
    /// First bit of its nibble.
    pub shift: u8,
    /// First address.
    pub first: u32,
    /// Last address.
    pub last: u32,
}

const fn segment(register: u8, shift: u8, first: u32, length: u32) -> Segment {
    Segment { register, shift, first, last: first + length - 1 }
}

/// Which nibble rules which range, in the order of the registers.
pub const SEGMENTS: [Segment; 13] = [
    segment(0, 4, 0xf0000, 0x10000),
    segment(1, 0, 0xc0000, 0x4000),
    segment(1, 4, 0xc4000, 0x4000),
    segment(2, 0, 0xc8000, 0x4000),
    segment(2, 4, 0xcc000, 0x4000),
    segment(3, 0, 0xd0000, 0x4000),
    segment(3, 4, 0xd4000, 0x4000),
    segment(4, 0, 0xd8000, 0x4000),
    segment(4, 4, 0xdc000, 0x4000),
    segment(5, 0, 0xe0000, 0x4000),
    segment(5, 4, 0xe4000, 0x4000),
    segment(6, 0, 0xe8000, 0x4000),
    segment(6, 4, 0xec000, 0x4000),
];

/// What a segment's nibble asks for: bit 0 (RE) lets reads reach RAM, bit 1 (WE) lets writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shadow {
    /// Reads and writes go to PCI.
    Pci,
    /// Reads come from RAM, writes go to PCI.
    ReadRam,
    /// Reads come from PCI, writes go to RAM.
    WriteRam,
    /// Reads and writes reach RAM.
    Ram,
}

impl Shadow {
    /// What the low two bits of `nibble` ask for.
    #[must_use]
    pub fn of(nibble: u8) -> Shadow {
        match nibble & 3 {
            0 => Shadow::Pci,
            1 => Shadow::ReadRam,
            2 => Shadow::WriteRam,
            _ => Shadow::Ram,
        }
    }
}

/// What SMRAM says about A0000h-BFFFFh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Smram {
    /// D_OPEN: RAM is there for every access.
    pub open: bool,
    /// G_SMRAME: RAM is there for a CPU in system management mode.
    pub enabled: bool,
    /// D_CLS: in system management mode only code fetches see RAM. Emulators ignore it.
    pub closed: bool,
    /// D_LCK: set, and the register is wired to honour it.
    pub locked: bool,
}
