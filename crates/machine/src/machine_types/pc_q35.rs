//! The Q35/ICH9 family of QEMU, as far as firmware can see the differences.

use warmboot_chipset as chipset;
use warmboot_chipset::floppy::Floppy;

use super::{AcpiContents, ChipSet, MachineType, MemorySplit, SmbiosContents, pc_i440fx};
use crate::{
    ConfigError,
    build::{self, Parts},
    devices::{Device, Slot},
    tables,
};

/// Routes an HPET timer can take: GSI 2 and the PCI interrupts 16-23.
const HPET_ROUTES: u32 = 0xff_0004;

/// Where the display adapter is.
pub(super) const VGA_SLOT: u8 = 1;
/// The first slot that nothing of the chip set has.
const FIRST_SLOT: u8 = 1;

/// The 82Q35 MCH with an ICH9. There is no floppy controller.
fn chips(parts: &Parts<'_>) -> Result<Vec<Slot>, ConfigError> {
    let Parts { config, machine_type, generation, .. } = parts;
    let ahci = parts.ahci()?;
    // CMOS speaks of two drives on each of two channels; here the channels are the first two ports.
    let disk = |port| {
        let attachment = ahci.attachment(port);
        let disk = attachment.filter(|attachment| attachment.kind == chipset::ide::DriveKind::HardDisk);
        disk.map(|attachment| attachment.geometry)
    };
    let description = parts.describe(&Floppy::new(), [disk(0), None, disk(1), None]);
    let mch = chipset::mch::Mch::new(chipset::mch::Config {
        memory: tables::ram_layout(machine_type, config.memory).0,
        reset_clears_shadows: generation.pam_reset,
        ..chipset::mch::Config::default()
    });
    let lpc = chipset::ich9_lpc::Ich9Lpc::new(chipset::ich9_lpc::Config {
        reset_control: generation.port_cf9_reset,
        parallel: config.parallel,
        serial1: config.serial,
        smm_marked_initialised: generation.smm_marked_initialised,
        ..chipset::ich9_lpc::Config::default()
    });
    let smbus = chipset::ich9_smbus::Ich9Smbus::new(chipset::ich9_smbus::Config::default());
    let mut slots = vec![
        build::function("mch", 0, 0, Device::Mch(mch)),
        build::function("ich9-lpc", 31, 0, Device::Ich9Lpc(lpc)),
        build::function("ich9-ahci", 31, 2, Device::Ahci(ahci)),
        build::function("ich9-smbus", 31, 3, Device::Ich9Smbus(smbus)),
    ];
    slots.extend(parts.vga());
    slots.extend(parts.virtio(FIRST_SLOT));
    let fixed = parts.fixed_chips(&description, Floppy::new(), HPET_ROUTES)?;
    slots.extend(fixed.into_iter().filter(|slot| !matches!(*slot.device, Device::Floppy(_))));
    Ok(slots)
}

/// 2 GiB below when there is more than fits, so that both parts are whole gibibytes.
const WHOLE_GIBIBYTES: MemorySplit = MemorySplit { from: 0xb000_0000, below: 0x8000_0000 };

pub(super) const V7_2: MachineType = MachineType {
    name: "pc-q35-7.2",
    about: "Q35/ICH9 of QEMU 7.2: PCI Express, AHCI, and tables through fw_cfg",
    chips,
    memory_split: WHOLE_GIBIBYTES,
    acpi: Some(AcpiContents { chip_set: ChipSet::Q35, ..pc_i440fx::ACPI_5_2 }),
    smbios: SmbiosContents::Tables { product: "Standard PC (Q35 + ICH9, 2009)" },
    ..pc_i440fx::V7_2
};
