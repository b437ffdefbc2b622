//! Machine types: which chips, slots, sizes and fw_cfg contents a machine has.
//!
//! One type is one table row. A new one is a row (in its family's file) and a line in [`ALL`].

mod pc_i440fx;
mod pc_q35;

use warmboot_chipset::floppy::FloppyKind;

use crate::{build::Chips, tables::Era};

/// Facts about one machine type.
#[derive(Debug)]
pub struct MachineType {
    /// Name for `--machine`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Makes its chips.
    pub(crate) chips: Chips,
    /// CPU model when none is asked for.
    pub cpu: &'static str,
    /// Local APIC version register, low byte.
    pub local_apic_version: u8,
    /// I/O APIC version.
    pub io_apic_version: u8,
    /// Which fw_cfg, CMOS and ACPI contents firmware finds.
    pub era: Era,
    /// fw_cfg has its DMA interface.
    pub fw_cfg_dma: bool,
    /// An incoming migration copies the BIOS into shadow RAM that is empty
    /// ([`crate::hooks::shadow_bios`]).
    pub shadow_bios_after_incoming: bool,
    /// The drive a diskette image of unusual size is put into.
    pub floppy: FloppyKind,
}

/// The machine type when none is asked for.
pub const DEFAULT: &str = "pc-i440fx-7.2";

/// Every machine type there is.
pub const ALL: &[&MachineType] = &[&pc_i440fx::V1_4, &pc_i440fx::V7_2, &pc_q35::V7_2];

/// The machine type called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static MachineType> {
    ALL.iter().copied().find(|machine| machine.name == name)
}
