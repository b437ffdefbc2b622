//! The machine types of 2010, from the source of qemu-kvm and QEMU 0.13: fw_cfg has numbered items,
//! and files are option ROMs alone.

use super::{FwCfgContents, MachineType, VgaRegisters, pc_i440fx};

/// With item 8003h for reserved ranges, in place of a file.
const ITEMS: &[u16] =
    &[0x0002, 0x0003, 0x0004, 0x0005, 0x000d, 0x000e, 0x000f, 0x8000, 0x8002, 0x8003, 0x8004];

pub(super) const PC_0_13: MachineType = MachineType {
    name: "pc-0.13",
    about: "i440FX/PIIX3 of 2010: numbered items alone in fw_cfg",
    generations: &["qemu-kvm-0.13", "qemu-0.13"],
    cpu: "qemu64-0.13",
    vga: VgaRegisters::None,
    fw_cfg: FwCfgContents { items: ITEMS, files: &[], ..pc_i440fx::V1_4.fw_cfg },
    ..pc_i440fx::V1_4
};

pub(super) const PC_0_12: MachineType = MachineType {
    name: "pc-0.12",
    about: "as pc-0.13 to firmware",
    generations: &["qemu-kvm-0.12-rhel6", "qemu-0.12-rhel6", "qemu-kvm-0.13", "qemu-0.13"],
    ..PC_0_13
};
