//! A PC without PCI: no host bridge, so neither PAM nor SMRAM, and no power management. Its BIOS is
//! memory like any other, written from the image at each reset.
//!
//! It wants a BIOS of 128 KiB: a larger one expects code below E0000h, where nothing shows it.

use super::{FileBlocks, FwCfgContents, MachineType, SmbiosContents, pc_i440fx};
use crate::{
    ConfigError,
    build::{self, Parts},
    devices::{Device, Slot},
};

/// No HPET timer can interrupt: there is none.
const NO_HPET_ROUTES: u32 = 0;

/// IDE at its fixed ports, and what every PC has.
fn chips(parts: &Parts<'_>) -> Result<Vec<Slot>, ConfigError> {
    let (ide, floppy) = (parts.ide(), parts.floppy());
    let description = parts.describe(&floppy, build::ide_disks(&ide));
    let mut slots = vec![build::chip("isa-ide", Device::Ide(ide))];
    slots.extend(parts.vga());
    slots.extend(parts.fixed_chips(&description, floppy, NO_HPET_ROUTES)?);
    Ok(slots)
}

pub(super) const ISAPC: MachineType = MachineType {
    name: "isapc",
    about: "no PCI, no PAM: the BIOS is writable memory, restored at each reset; takes 128 KiB images",
    chips,
    cpu: "486",
    io_apic_version: None,
    hpet: false,
    memory_split: pc_i440fx::WHATEVER_FITS,
    firmware_writable: true,
    fw_cfg: FwCfgContents {
        files: &["bios-geometry", "bootorder", "etc/boot-fail-wait", "etc/e820"],
        ..pc_i440fx::V7_2.fw_cfg
    },
    acpi: None,
    smbios: SmbiosContents::Nothing,
    file_blocks: FileBlocks::None,
    ..pc_i440fx::V7_2
};
