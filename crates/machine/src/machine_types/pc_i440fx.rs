//! The i440FX/PIIX family of QEMU, as far as firmware can see the differences.

use warmboot_chipset::floppy::FloppyKind;

use super::MachineType;
use crate::tables::Era;

pub(super) const V1_4: MachineType = MachineType {
    name: "pc-i440fx-1.4",
    about: "i440FX/PIIX3 of QEMU 1.4: firmware builds its own ACPI and SMBIOS tables",
    cpu: "qemu64-1.4",
    local_apic_version: 0x11,
    io_apic_version: 0x11,
    era: Era::V1_4,
    fw_cfg_dma: false,
    floppy: FloppyKind::Mb144,
};

pub(super) const V7_2: MachineType = MachineType {
    name: "pc-i440fx-7.2",
    about: "i440FX/PIIX3 of QEMU 7.2: tables and DMA through fw_cfg",
    cpu: "qemu64",
    local_apic_version: 0x14,
    io_apic_version: 0x20,
    era: Era::V7_2,
    fw_cfg_dma: true,
    floppy: FloppyKind::Mb288,
};
