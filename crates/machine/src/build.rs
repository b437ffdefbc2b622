//! Builds a machine from its configuration: blocks, chips, fw_cfg and CMOS contents.

use warmboot_chipset as chipset;
use warmboot_chipset::{disk::Disk, floppy::Floppy, ide::IdeController, rtc};
use warmboot_cpu::Cpu;
use warmboot_memory::Memory;

use crate::{
    Config, ConfigError, Machine,
    board::{Attachments, Board, PowerState, Wires},
    clock::Clock,
    config::{self, DriveKind},
    devices::{Device, Slot},
    generations, machine_types,
    map::{self, Views},
    tables::{self, Description},
};

/// Routes an `i440FX` HPET timer can take: GSI 2 alone.
const HPET_ROUTES: u32 = 1 << 2;

/// EBX of CPUID leaf 0 of AMD's processors: "Auth".
const AMD: u32 = u32::from_le_bytes(*b"Auth");

pub(crate) fn build(config: &Config) -> Result<Machine, ConfigError> {
    config.check()?;
    let machine_type =
        machine_types::find(&config.machine).ok_or_else(|| ConfigError::new("unknown machine"))?;
    let generation = match config.generation {
        Some(generation) => generation,
        None => *generations::find(&config.emulator).ok_or_else(|| ConfigError::new("unknown emulator"))?,
    };
    let cpu_name = config.cpu.as_deref().unwrap_or(machine_type.cpu);
    let model = warmboot_cpu::Model::by_name(cpu_name).ok_or_else(|| {
        let names: Vec<&str> = warmboot_cpu::models::MODELS.iter().map(|model| model.name).collect();
        ConfigError::new(format!("unknown CPU model `{cpu_name}`; there are {}", names.join(", ")))
    })?;

    let mut memory = Memory::new();
    let blocks = map::blocks(&mut memory, config.memory, &config.firmware.bytes)?;
    let (ide, floppy) = attach(config, machine_type);
    let description = describe(config, machine_type, &ide, &floppy, model);

    let mut items = tables::fw_cfg(&description);
    for rom in &config.option_roms {
        let base = rom.name.rsplit('/').next().unwrap_or("rom");
        items.push(chipset::fw_cfg::Item::file(format!("genroms/{base}"), rom.bytes.to_vec()));
    }
    let fw_cfg = chipset::fw_cfg::Config {
        dma: machine_type.fw_cfg_dma,
        file_slots: tables::file_slots(machine_type.era),
        items,
    };
    let fw_cfg = chipset::fw_cfg::FwCfg::new(fw_cfg).map_err(|error| ConfigError::new(error.to_string()))?;

    let host_bridge = chipset::host_bridge::HostBridge::new(chipset::host_bridge::Config {
        memory: tables::ram_layout(machine_type.era, config.memory).0,
        reset_clears_shadows: generation.pam_reset,
        honours_lock: generation.smram_lock,
        ..chipset::host_bridge::Config::default()
    });
    let piix3 = chipset::piix3::Config {
        reset_control: generation.port_cf9_reset,
        ..chipset::piix3::Config::default()
    };
    let piix4_pm =
        chipset::piix4_pm::Config { serial1: config.serial, ..chipset::piix4_pm::Config::default() };
    let clock =
        rtc::Rtc::new(rtc::DateTime::default(), tables::cmos::cmos(&description), rtc::Wiring::default());

    let mut slots = Vec::new();
    let mut put = |name, devfn, device| slots.push(Slot { name, devfn, device });
    put("i440fx", Some(0x00), Device::HostBridge(host_bridge));
    put("piix3", Some(0x08), Device::Piix3(chipset::piix3::Piix3::new(piix3)));
    put("piix3-ide", Some(0x09), Device::Ide(ide));
    put("piix4-pm", Some(0x0b), Device::Piix4Pm(chipset::piix4_pm::Piix4Pm::new(piix4_pm)));
    put("pic", None, Device::Pic(chipset::pic::Pic::new()));
    put("pit", None, Device::Pit(chipset::pit::Pit::new()));
    put("rtc", None, Device::Rtc(clock));
    put("hpet", None, Device::Hpet(chipset::hpet::Hpet::new(HPET_ROUTES)));
    put("ioapic", None, Device::IoApic(chipset::io_apic::IoApic::new(machine_type.io_apic_version)));
    put(
        "apic",
        None,
        Device::LocalApic(chipset::local_apic::LocalApic::new(0, machine_type.local_apic_version)),
    );
    put("dma", None, Device::Dma(chipset::dma::Dma::new()));
    put("i8042", None, Device::I8042(chipset::i8042::I8042::new(chipset::i8042::Config::default())));
    put("port92", None, Device::Port92(chipset::port92::Port92::new(generation.port_92_reset)));
    put("fdc", None, Device::Floppy(floppy));
    put("post-code", None, Device::PostCode(chipset::post_code::PostCode::new()));
    put("fw_cfg", None, Device::FwCfg(fw_cfg));
    let debug =
        |port| Device::DebugPort(chipset::debug_port::DebugPort::new(port, generation.debug_port_reads));
    put("debugcon", None, debug(chipset::debug_port::FIRMWARE_PORT));
    put("debugcon-e9", None, debug(chipset::debug_port::BOCHS_PORT));
    if config.serial {
        let [(base, _), ..] = chipset::uart16550::COM;
        put(
            "com1",
            None,
            Device::Uart(chipset::uart16550::Uart16550::new(chipset::uart16550::Config { base })),
        );
    }
    if let Some(port) = config.debug_exit {
        put("debug-exit", None, Device::DebugExit(chipset::debug_exit::DebugExit::new(port)));
    }

    let board = Board {
        generation,
        era: machine_type.era,
        memory,
        blocks,
        slots,
        views: Views::empty(),
        clock: Clock::default(),
        wires: Wires { interrupts: [0; 24], pic_interrupt: false, a20: true, power: PowerState::On },
        attachments: Attachments::default(),
        signals: Vec::new(),
        reset_request: None,
        debug_exit: None,
        redraw: true,
        a20_changed: true,
        written: Vec::new(),
    };
    Ok(Machine::assemble(config.clone(), machine_type, board, Cpu::new(model, 0), wiring(config)))
}

/// What decides how the machine goes on and no chip's state shows, a line each, for the digest.
fn wiring(config: &Config) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines = vec![
        format!("boot {}", config.boot),
        format!("serial {}", config.serial),
        format!("debug exit {:?}", config.debug_exit),
    ];
    for rom in &config.option_roms {
        lines.push(format!("option ROM {} {}", rom.name, blake3::hash(&rom.bytes)));
    }
    let mut drives: Vec<&config::Drive> = config.drives.iter().collect();
    drives.sort_by_key(|drive| drive.at);
    for drive in drives {
        let (digest, size) = (hex(&drive.source.digest()), drive.source.size());
        let config::Drive { at, kind, read_only, latency, .. } = drive;
        lines.push(format!("{at} {kind:?} {digest} {size} {read_only} {latency}"));
    }
    lines
}

/// Storage controllers with their drives.
fn attach(config: &Config, machine_type: &machine_types::MachineType) -> (IdeController, Floppy) {
    let mut ide = IdeController::new();
    let mut floppy = Floppy::new();
    for drive in &config.drives {
        let disk = Disk::new(drive.source.clone()).with_read_only(drive.read_only);
        let disk = match drive.latency {
            0 => disk,
            latency => disk.with_latency(latency),
        };
        match drive.at {
            config::Slot::Ide { channel, unit } => {
                let kind = match drive.kind {
                    DriveKind::Cdrom => chipset::ide::DriveKind::Cdrom,
                    _ => chipset::ide::DriveKind::HardDisk,
                };
                ide.attach(channel, unit, disk, kind);
            }
            config::Slot::Floppy(unit) => floppy.attach(unit, disk, machine_type.floppy),
        }
    }
    (ide, floppy)
}

/// What firmware is told of the machine, for fw_cfg and CMOS.
fn describe(
    config: &Config,
    machine_type: &machine_types::MachineType,
    ide: &IdeController,
    floppy: &Floppy,
    model: &warmboot_cpu::Model,
) -> Description {
    let mut description = Description::new(machine_type.era, config.memory);
    description.cpus = config.cpus as u16;
    description.cpuid_signature = model.signature();
    let [vendor, features] = [0, 1].map(|function| model.cpuid(function, 0, 0, true));
    let [_, _, _, edx] = features;
    description.cpuid_features = edx;
    description.amd = vendor.get(1) == Some(&AMD);
    description.boot.clone_from(&config.boot);
    for unit in 0..2u8 {
        let drive = floppy.attachment(unit).map(|attachment| attachment.format.kind);
        description.floppies[usize::from(unit)] = drive;
    }
    for index in 0..4u8 {
        let attachment = ide.attachment(index / 2, index % 2);
        let disk = attachment.filter(|attachment| attachment.kind == chipset::ide::DriveKind::HardDisk);
        description.disks[usize::from(index)] = disk.map(|attachment| attachment.geometry);
    }
    description
}
