//! The i440FX/PIIX family of QEMU, as far as firmware can see the differences.

use warmboot_chipset as chipset;
use warmboot_chipset::floppy::FloppyKind;

use super::MachineType;
use crate::{
    ConfigError,
    build::{self, Parts},
    devices::{Device, Slot},
    tables::{self, Era},
};

/// Routes an HPET timer can take: GSI 2 alone.
const HPET_ROUTES: u32 = 1 << 2;

/// The 82441FX with its PIIX3, whose third function is a PIIX4's.
fn chips(parts: &Parts<'_>) -> Result<Vec<Slot>, ConfigError> {
    let Parts { config, machine_type, generation, .. } = parts;
    let (ide, floppy) = (parts.ide(), parts.floppy());
    let description = parts.describe(&floppy, build::ide_disks(&ide));
    let host_bridge = chipset::host_bridge::HostBridge::new(chipset::host_bridge::Config {
        memory: tables::ram_layout(machine_type.era, config.memory).0,
        reset_clears_shadows: generation.pam_reset,
        honours_lock: generation.smram_lock,
        ..chipset::host_bridge::Config::default()
    });
    let piix3 = chipset::piix3::Piix3::new(chipset::piix3::Config {
        reset_control: generation.port_cf9_reset,
        ..chipset::piix3::Config::default()
    });
    let piix4_pm = chipset::piix4_pm::Piix4Pm::new(chipset::piix4_pm::Config {
        serial1: config.serial,
        smm_marked_initialised: generation.smm_marked_initialised,
        ..chipset::piix4_pm::Config::default()
    });
    let mut slots = vec![
        build::function("i440fx", 0, 0, Device::HostBridge(host_bridge)),
        build::function("piix3", 1, 0, Device::Piix3(piix3)),
        build::function("piix3-ide", 1, 1, Device::Ide(ide)),
        build::function("piix4-pm", 1, 3, Device::Piix4Pm(piix4_pm)),
    ];
    slots.extend(parts.fixed_chips(&description, floppy, Some(HPET_ROUTES))?);
    Ok(slots)
}

pub(super) const V1_4: MachineType = MachineType {
    name: "pc-i440fx-1.4",
    about: "i440FX/PIIX3 of QEMU 1.4: firmware builds its own ACPI and SMBIOS tables",
    chips,
    cpu: "qemu64-1.4",
    local_apic_version: 0x11,
    io_apic_version: 0x11,
    era: Era::V1_4,
    fw_cfg_dma: false,
    shadow_bios_after_incoming: false,
    floppy: FloppyKind::Mb144,
};

pub(super) const V7_2: MachineType = MachineType {
    name: "pc-i440fx-7.2",
    about: "i440FX/PIIX3 of QEMU 7.2: tables and DMA through fw_cfg",
    chips,
    cpu: "qemu64",
    local_apic_version: 0x14,
    io_apic_version: 0x20,
    era: Era::V7_2,
    fw_cfg_dma: true,
    shadow_bios_after_incoming: false,
    floppy: FloppyKind::Mb288,
};
