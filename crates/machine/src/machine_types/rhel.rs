//! Red Hat's machine types, from the compatibility list of RHEL-7's qemu-kvm 1.5.3 (its source) and
//! from what firmware was seen to ask of RHEL-6's. Neither emulator has an HPET.

use warmboot_chipset::floppy::FloppyKind;

use super::{
    FileBlocks, FwCfgContents, MachineType, SmbiosContents, VgaRegisters,
    pc_i440fx::{self, WHATEVER_FITS, WHOLE_GIBIBYTES},
};

/// Item 8003h holds reserved ranges and there is no file `etc/e820`; no item describes an HPET.
const ITEMS: &[u16] =
    &[0x0002, 0x0003, 0x0004, 0x0005, 0x000d, 0x000e, 0x000f, 0x8000, 0x8001, 0x8002, 0x8003];

pub(super) const RHEL6_5_0: MachineType = MachineType {
    name: "rhel6.5.0",
    about: "RHEL-6's, and RHEL-7's for guests that come from there: shadows the BIOS after incoming",
    generations: &["qemu-kvm-0.12-rhel6", "qemu-0.12-rhel6", "qemu-kvm-1.5-rhel7"],
    cpu: "cpu64-rhel6",
    local_apic_version: 0x11,
    io_apic_version: Some(0x11),
    hpet: false,
    vga: VgaRegisters::None,
    memory_split: WHATEVER_FITS,
    tcg_named: false,
    floppy: FloppyKind::Mb144,
    shadow_bios_after_incoming: true,
    file_blocks: FileBlocks::None,
    fw_cfg: FwCfgContents {
        dma: false,
        slots: 16,
        items: ITEMS,
        files: &["etc/boot-fail-wait", "etc/system-states", "bootorder"],
        hyper_transport_reserved: false,
    },
    acpi: None,
    smbios: SmbiosContents::Strings { manufacturer: "Red Hat", product: "KVM", version: "RHEL 6.5.0 PC" },
    ..pc_i440fx::V1_4
};

pub(super) const I440FX_RHEL7_0_0: MachineType = MachineType {
    name: "pc-i440fx-rhel7.0.0",
    about: "RHEL-7's own: ACPI tables come through fw_cfg",
    generations: &["qemu-kvm-1.5-rhel7"],
    cpu: "qemu64-1.5.3",
    hpet: false,
    memory_split: WHOLE_GIBIBYTES,
    file_blocks: FileBlocks::Tables,
    fw_cfg: FwCfgContents {
        items: &[0x0002, 0x0003, 0x0004, 0x0005, 0x000d, 0x000e, 0x000f, 0x8000, 0x8001, 0x8002],
        ..pc_i440fx::V1_7.fw_cfg
    },
    smbios: SmbiosContents::Strings {
        manufacturer: "Red Hat",
        product: "KVM",
        version: "RHEL 7.0.0 PC (i440FX + PIIX, 1996)",
    },
    ..pc_i440fx::V1_7
};
