//! Emulator generations: how a machine's address map is wired and what its resets do.
//!
//! One generation is one table row. A new one is a file with its row and a line in [`ALL`].

mod qemu;

use warmboot_chipset::{ResetRequest, port92::ResetBit};

use crate::reset::{ResetPath, ResetTable};

/// What the four PAM modes show (82441FX datasheet 3.2.17 and what emulators made of it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PamModes {
    /// Mode 2 (write enable alone) shows RAM for reads and writes, as QEMU 2.0 and later do.
    WriteOnlyIsRam,
}

/// Facts about one emulator generation that firmware can see.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Generation {
    /// Name for `--emulator`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// PAM semantics.
    pub pam: PamModes,
    /// PAM and SMRAM go back to their power-on values at a system reset.
    pub pam_reset: bool,
    /// D_LCK in SMRAM makes it read-only until reset.
    pub smram_lock: bool,
    /// pc.bios and its E0000 alias can be written by the guest.
    pub bios_writable: bool,
    /// pc.rom can be written by the guest.
    pub option_roms_writable: bool,
    /// What a read of port 402h returns.
    pub debug_port_reads: u8,
    /// How port 92h bit 0 resets.
    pub port_92_reset: ResetBit,
    /// How port CF9h bit 2 resets; `None` where the port is absent.
    pub port_cf9_reset: Option<ResetBit>,
    /// Hooks run after an incoming migration, among them [`crate::hooks::shadow_bios`].
    pub post_load_shadow_bios: bool,
    /// Who resets what.
    pub resets: &'static [ResetTable],
}

/// Every generation there is.
pub const ALL: &[&Generation] = &[&qemu::QEMU];

/// The generation called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Generation> {
    ALL.iter().copied().find(|generation| generation.name == name)
}

impl Generation {
    /// The row for one reset path; every generation has one for each path.
    #[must_use]
    pub fn reset(&self, path: ResetPath) -> Option<&'static ResetTable> {
        self.resets.iter().find(|table| table.path == path)
    }

    /// The path a chip's request stands for.
    #[must_use]
    pub fn path_of(request: ResetRequest) -> ResetPath {
        match request {
            ResetRequest::KeyboardController => ResetPath::Keyboard,
            ResetRequest::Port92 => ResetPath::Port92,
            ResetRequest::PortCf9 => ResetPath::Cf9,
        }
    }
}
