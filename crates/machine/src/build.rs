//! Builds a machine from its configuration: blocks, then the chips its machine type's family lists.
//!
//! What every PC has is made here; a family (`machine_types/`) puts it together with its own chips.

use warmboot_chipset as chipset;
use warmboot_chipset::{
    ahci::Ahci,
    disk::{Disk, Geometry},
    floppy::Floppy,
    ide::IdeController,
    rtc,
    virtio::{Virtio, blk::Blk, rng::Rng},
};
use warmboot_cpu::{Cpu, Hypervisor, Model};
use warmboot_memory::{BlockId, Memory};

use crate::{
    Config, ConfigError, Generation, Machine, MachineType,
    board::{Attachments, Board, PowerState, Wires},
    clock::Clock,
    config::{self, Adapter, DriveKind},
    devices::{Device, Slot},
    display,
    generations::{self, Access},
    kernel,
    machine_types::{self, VgaRegisters},
    map::{self, Views},
    processors::Processors,
    tables::{self, Description},
};

/// EBX of CPUID leaf 0 of AMD's processors: "Auth".
const AMD: u32 = u32::from_le_bytes(*b"Auth");

/// The names of the local APICs, by their processors' numbers.
const APICS: [&str; config::PROCESSORS_MAXIMUM as usize] = [
    "apic", "apic1", "apic2", "apic3", "apic4", "apic5", "apic6", "apic7", "apic8", "apic9", "apic10",
    "apic11", "apic12", "apic13", "apic14", "apic15", "apic16", "apic17", "apic18", "apic19", "apic20",
    "apic21", "apic22", "apic23", "apic24", "apic25", "apic26", "apic27", "apic28", "apic29", "apic30",
    "apic31",
];

/// The names of virtio block devices.
pub(crate) const VIRTIO_DISKS: [&str; 4] = ["virtio-blk0", "virtio-blk1", "virtio-blk2", "virtio-blk3"];

/// Where option ROMs begin in the 128 KiB from C0000 on, and the distance at which firmware looks for them.
const FIRST_OPTION_ROM: u64 = 0x8000;
const OPTION_ROM_STEP: u64 = 0x800;

/// What a family makes its chips from.
pub(crate) struct Parts<'a> {
    pub config: &'a Config,
    pub machine_type: &'static MachineType,
    pub generation: &'a Generation,
    pub model: &'static Model,
}

/// Makes all chips of a board, in the order in which they are reset and serve events that are due
/// at the same moment.
pub(crate) type Chips = fn(&Parts<'_>) -> Result<Vec<Slot>, ConfigError>;

pub(crate) fn build(config: &Config) -> Result<Machine, ConfigError> {
    config.check()?;
    let machine_type =
        machine_types::find(&config.machine).ok_or_else(|| ConfigError::new("unknown machine"))?;
    let mut generation = match config.generation {
        Some(generation) => generation,
        None => *generations::find(&config.emulator).ok_or_else(|| ConfigError::new("unknown emulator"))?,
    };
    if machine_type.firmware_writable {
        (generation.bios_low, generation.bios_high) = (Access::ReadWrite, Access::ReadWrite);
        generation.option_roms = Access::ReadWrite;
    }
    let cpu_name = config.cpu.as_deref().unwrap_or(machine_type.cpu);
    let model = Model::by_name(cpu_name).ok_or_else(|| {
        let names: Vec<&str> = warmboot_cpu::models::MODELS.iter().map(|model| model.name).collect();
        ConfigError::new(format!("unknown CPU model `{cpu_name}`; there are {}", names.join(", ")))
    })?;

    if config.cpus > 1 && !model.has_apic() {
        let reason = "has no local APIC: it can only be the only one";
        return Err(ConfigError::new(format!("{} processors: `{cpu_name}` {reason}", config.cpus)));
    }

    let mut memory = Memory::new();
    let blocks = map::blocks(&mut memory, config.memory, &config.firmware.bytes)?;
    for (name, flash) in config::FLASH_CHIPS.iter().zip(&config.flash) {
        let fail = |error: warmboot_memory::MemoryError| ConfigError::new(error.to_string());
        let block = memory.add_block(name, flash.image.bytes.len() as u64).map_err(fail)?;
        memory.write_block(block, 0, &flash.image.bytes).map_err(fail)?;
    }
    if let Some(vga) = &config.vga {
        display_blocks(&mut memory, vga, machine_type)
            .map_err(|error| ConfigError::new(error.to_string()))?;
    }
    if generation.rom_sockets {
        sockets(&mut memory, blocks.rom, config, machine_type)?;
    }
    let slots = (machine_type.chips)(&Parts { config, machine_type, generation: &generation, model })?;
    check_controllers(config, &slots)?;
    let board = Board {
        generation,
        machine_type,
        memory,
        blocks,
        slots,
        views: Views::empty().into(),
        clock: Clock::default(),
        wires: Wires { interrupts: [0; 24], pic_interrupt: false, a20: true, power: PowerState::On },
        attachments: Attachments::default(),
        processors: config.cpus as usize,
        current: 0,
        signals: Vec::new(),
        reset_request: None,
        debug_exit: None,
        panicked: false,
        redraw: true,
        a20_changed: true,
        written: Vec::new(),
        observer: None,
    };
    let hypervisor = match generation.hypervisor {
        Hypervisor::Tcg if !machine_type.tcg_named => Hypervisor::Unnamed,
        other => other,
    };
    let processor = |index: u8| {
        // Each draws numbers of its own.
        let seed = config.seed.wrapping_add(u64::from(index) << 56);
        let cores = if machine_type.one_package { config.cpus as u8 } else { 1 };
        Cpu::new(model, index)
            .with_hypervisor(hypervisor)
            .with_unknown_msrs_ignored(generation.unknown_msrs_ignored)
            .with_microcode(if generation.microcode_revision { model.emulated_microcode() } else { 0 })
            .with_cores(cores)
            .with_seed(seed)
    };
    let others = (1..config.cpus as u8).map(processor).collect();
    let processors = Processors::new(processor(0), others);
    Ok(Machine::assemble(config.clone(), board, processors, wiring(config)))
}

/// The display adapter's memory, and its ROM where that is a function's.
fn display_blocks(
    memory: &mut Memory,
    vga: &config::Vga,
    machine_type: &MachineType,
) -> Result<(), warmboot_memory::MemoryError> {
    let on_pci = vga.slot(machine_type).is_some();
    let size = if on_pci { chipset::vga::PCI_MEMORY } else { chipset::vga::ISA_MEMORY };
    memory.add_block(display::MEMORY_BLOCK, size)?;
    if on_pci {
        let rom = memory.add_block(display::ROM_BLOCK, rom_size(vga))?;
        memory.write_block(rom, 0, &vga.rom.bytes)?;
    }
    Ok(())
}

/// Writes the ROMs of cards where their sockets are: an ISA display adapter's at C0000, option ROMs from C8000
/// or the end of that one on, each at a multiple of 2 KiB, where firmware looks for them.
fn sockets(
    memory: &mut Memory,
    block: BlockId,
    config: &Config,
    machine_type: &MachineType,
) -> Result<(), ConfigError> {
    let display = config.vga.as_ref().filter(|vga| vga.slot(machine_type).is_none()).map(|vga| &vga.rom);
    let mut next = 0;
    for (rom, least) in display
        .map(|rom| (rom, 0))
        .into_iter()
        .chain(config.option_roms.iter().map(|rom| (rom, FIRST_OPTION_ROM)))
    {
        let at = least.max(next);
        next = (at + rom.bytes.len() as u64).next_multiple_of(OPTION_ROM_STEP);
        memory.write_block(block, at, &rom.bytes).map_err(|_| {
            let (name, size, end) = (&rom.name, map::OPTION_ROM_SIZE, at + rom.bytes.len() as u64);
            ConfigError::new(format!("option ROM `{name}` ends {end} bytes after C0000; there are {size}"))
        })?;
    }
    Ok(())
}

impl config::Vga {
    /// Its PCI device number; `None` on ISA.
    fn slot(&self, machine_type: &MachineType) -> Option<u8> {
        machine_type.vga_slot().filter(|_| self.adapter != Adapter::Isa)
    }
}

/// Size of the expansion ROM with this image: a power of two, in whole pages.
fn rom_size(vga: &config::Vga) -> u64 {
    (vga.rom.bytes.len() as u64).next_power_of_two().max(warmboot_memory::PAGE_SIZE as u64)
}

/// Checks that each drive has found the controller it belongs to.
fn check_controllers(config: &Config, slots: &[Slot]) -> Result<(), ConfigError> {
    let has = |wanted: fn(&Device) -> bool| slots.iter().any(|slot| wanted(&slot.device));
    let ahci = has(|device| matches!(device, Device::Ahci(_)));
    for drive in &config.drives {
        let (there, what) = match drive.at {
            config::Slot::Ide { .. } => {
                (ahci || has(|device| matches!(device, Device::Ide(_))), "no IDE drives")
            }
            config::Slot::Sata(_) => (ahci, "no SATA ports"),
            config::Slot::Virtio(_) => {
                (has(|device| matches!(device, Device::VirtioBlk(_))), "no PCI slots for virtio")
            }
            config::Slot::Floppy(_) => {
                (has(|device| matches!(device, Device::Floppy(_))), "no floppy drives")
            }
        };
        if !there {
            return Err(ConfigError::new(format!(
                "drive {}: the machine `{}` has {what}",
                drive.at, config.machine
            )));
        }
    }
    if config.rng && !has(|device| matches!(device, Device::VirtioRng(_))) {
        let machine = &config.machine;
        return Err(ConfigError::new(format!("an entropy device: the machine `{machine}` has no PCI slots")));
    }
    Ok(())
}

/// A chip that is no PCI function.
pub(crate) fn chip(name: &'static str, device: Device) -> Slot {
    Slot { name, devfn: None, device: device.into() }
}

/// A PCI function of bus 0.
pub(crate) fn function(name: &'static str, device: u8, function: u8, chip: Device) -> Slot {
    Slot { name, devfn: Some(device << 3 | function & 7), device: chip.into() }
}

impl Parts<'_> {
    /// The chips that sit at fixed ports and addresses of every PC. `hpet_routes` are the interrupt
    /// lines that an HPET's timers can take where there is one, one bit each.
    pub fn fixed_chips(
        &self,
        description: &Description,
        floppy: Floppy,
        hpet_routes: u32,
    ) -> Result<Vec<Slot>, ConfigError> {
        let Parts { config, machine_type, generation, .. } = self;
        let wiring = rtc::Wiring { reset_clears_shutdown_status: generation.reset_clears_shutdown_status };
        let clock = rtc::Rtc::new(rtc::DateTime::default(), tables::cmos::cmos(description), wiring);
        let mut slots = vec![
            chip("pic", Device::Pic(chipset::pic::Pic::new())),
            chip("pit", Device::Pit(chipset::pit::Pit::new())),
            chip("rtc", Device::Rtc(clock)),
        ];
        if machine_type.hpet {
            slots.push(chip("hpet", Device::Hpet(chipset::hpet::Hpet::new(hpet_routes))));
        }
        if let Some(version) = machine_type.io_apic_version {
            slots.push(chip("ioapic", Device::IoApic(chipset::io_apic::IoApic::new(version))));
        }
        let local_apics = APICS.iter().zip(0..config.cpus as u8).filter(|_| self.model.has_apic());
        for (name, processor) in local_apics {
            let version = machine_type.local_apic_version;
            let local_apic = chipset::local_apic::LocalApic::new(processor, version)
                .with_x2apic(self.model.has_x2apic())
                .with_ext_int_after_reset(generation.lint0_ext_int);
            slots.push(chip(name, Device::LocalApic(local_apic)));
        }
        let i8042 = chipset::i8042::I8042::new(chipset::i8042::Config::default());
        let debug =
            |port| Device::DebugPort(chipset::debug_port::DebugPort::new(port, generation.debug_port_reads));
        slots.extend([
            chip("dma", Device::Dma(chipset::dma::Dma::new())),
            chip("i8042", Device::I8042(i8042)),
            chip("port92", Device::Port92(chipset::port92::Port92::new(generation.port_92_reset))),
            chip("fdc", Device::Floppy(floppy)),
            chip("post-code", Device::PostCode(chipset::post_code::PostCode::new())),
            chip("fw_cfg", Device::FwCfg(self.fw_cfg(description)?)),
            chip("debugcon", debug(chipset::debug_port::FIRMWARE_PORT)),
            chip("debugcon-e9", debug(chipset::debug_port::BOCHS_PORT)),
        ]);
        if generation.shutdown_port {
            let port = chipset::shutdown_port::ShutdownPort::new();
            slots.push(chip("shutdown-port", Device::ShutdownPort(port)));
        }
        if config.serial {
            let [(base, _), ..] = chipset::uart16550::COM;
            let uart = chipset::uart16550::Uart16550::new(chipset::uart16550::Config { base });
            slots.push(chip("com1", Device::Uart(uart)));
        }
        if config.parallel {
            let port = chipset::parallel::Parallel::new(chipset::parallel::LPT1);
            slots.push(chip("lpt1", Device::Parallel(port)));
        }
        slots.extend(self.flash());
        if let Some(port) = config.debug_exit {
            slots.push(chip("debug-exit", Device::DebugExit(chipset::debug_exit::DebugExit::new(port))));
        }
        if config.pvpanic {
            slots.push(chip("pvpanic", Device::Pvpanic(chipset::pvpanic::Pvpanic::new())));
        }
        Ok(slots)
    }

    /// The flash chips, downwards from 4 GiB.
    fn flash(&self) -> Vec<Slot> {
        let mut base = tables::FOUR_GIB;
        let chips = config::FLASH_CHIPS.iter().zip(&self.config.flash);
        chips
            .map(|(name, flash)| {
                let size = flash.image.bytes.len() as u64;
                base -= size;
                let config = chipset::flash::Config { name, base, size, read_only: flash.read_only };
                chip(name, Device::Flash(chipset::flash::Flash::new(config)))
            })
            .collect()
    }

    fn fw_cfg(&self, description: &Description) -> Result<chipset::fw_cfg::FwCfg, ConfigError> {
        let mut items = tables::fw_cfg(description);
        for rom in &self.config.option_roms {
            let base = rom.name.rsplit('/').next().unwrap_or("rom");
            items.push(chipset::fw_cfg::Item::file(format!("genroms/{base}"), rom.bytes.to_vec()));
        }
        if let Some(vga) = self.config.vga.as_ref().filter(|vga| vga.slot(self.machine_type).is_none()) {
            items.push(chipset::fw_cfg::Item::file("vgaroms/vgabios.bin".to_owned(), vga.rom.bytes.to_vec()));
        }
        if let Some(kernel) = &self.config.kernel {
            items.extend(kernel::items(self.config, kernel, self.machine_type)?);
            let rom = kernel.option_rom.bytes.to_vec();
            items.push(chipset::fw_cfg::Item::file(kernel::option_rom_file(kernel), rom));
        }
        let config = chipset::fw_cfg::Config {
            dma: self.machine_type.fw_cfg.dma,
            file_slots: self.machine_type.fw_cfg.slots,
            items,
        };
        chipset::fw_cfg::FwCfg::new(config).map_err(|error| ConfigError::new(error.to_string()))
    }

    /// The display adapter, if there is one.
    pub fn vga(&self) -> Option<Slot> {
        let vga = self.config.vga.as_ref()?;
        let Some(device) = vga.slot(self.machine_type) else {
            let vga = chipset::vga::Vga::new(chipset::vga::Config { bus: chipset::vga::Bus::Isa });
            return Some(chip("vga", Device::Vga(vga)));
        };
        let has = self.machine_type.vga;
        let bus = chipset::vga::Bus::Pci {
            rom: rom_size(vga),
            registers: has >= VgaRegisters::Ports,
            extended: has >= VgaRegisters::Extended,
            edid: has >= VgaRegisters::Edid,
        };
        let vga = chipset::vga::Vga::new(chipset::vga::Config { bus });
        Some(function("vga", device, 0, Device::Vga(vga)))
    }

    /// The virtio devices, in the slots from `first` on that the display adapter leaves: disks in their
    /// order, then the entropy device.
    pub fn virtio(&self, first: u8) -> Vec<Slot> {
        let mut facts = self.machine_type.virtio;
        facts.interface = self.config.virtio.unwrap_or(facts.interface);
        let queues = if facts.blk_queue_each { u16::try_from(self.config.cpus).unwrap_or(1) } else { 1 };
        let mut drives: Vec<&config::Drive> = self.config.drives.iter().collect();
        drives.sort_by_key(|drive| drive.at);
        let disks = drives.into_iter().filter_map(|drive| {
            let config::Slot::Virtio(number) = drive.at else { return None };
            let name = *VIRTIO_DISKS.get(usize::from(number))?;
            Some((name, Device::VirtioBlk(Virtio::new(Blk::new(disk(drive), queues), facts))))
        });
        // Apart from the processors' sequences, which begin with the seed itself.
        let seed = !self.config.seed;
        let rng =
            self.config.rng.then(|| ("virtio-rng", Device::VirtioRng(Virtio::new(Rng::new(seed), facts))));
        let taken = self.config.vga.as_ref().and_then(|vga| vga.slot(self.machine_type));
        let free = (first..32).filter(|slot| Some(*slot) != taken);
        disks.chain(rng).zip(free).map(|((name, device), slot)| function(name, slot, 0, device)).collect()
    }

    /// The two floppy drives.
    pub fn floppy(&self) -> Floppy {
        let mut floppy = Floppy::new();
        for drive in &self.config.drives {
            if let config::Slot::Floppy(unit) = drive.at {
                floppy.attach(unit, disk(drive), self.machine_type.floppy);
            }
        }
        floppy
    }

    /// Two IDE channels with their drives, for a PIIX or for ISA.
    pub fn ide(&self) -> IdeController {
        let mut ide = IdeController::new();
        for drive in &self.config.drives {
            if let config::Slot::Ide { channel, unit } = drive.at {
                ide.attach(channel, unit, disk(drive), drive_kind(drive));
            }
        }
        ide
    }

    /// Six SATA ports with their drives; IDE drives are the first four.
    ///
    /// # Errors
    /// When two drives are at one port.
    pub fn ahci(&self) -> Result<Ahci, ConfigError> {
        let mut ahci = Ahci::new();
        for drive in &self.config.drives {
            let Some(port) = drive.at.sata_port() else { continue };
            if ahci.attachment(port).is_some() {
                return Err(ConfigError::new(format!("drive {}: there is another at sata{port}", drive.at)));
            }
            ahci.attach(port, disk(drive), drive_kind(drive));
        }
        Ok(ahci)
    }

    /// What firmware is told of the machine, for fw_cfg and CMOS. `disks` are the IDE hard disks, as
    /// [`ide_disks`] finds them.
    pub fn describe(&self, floppy: &Floppy, disks: [Option<Geometry>; 4]) -> Description {
        let mut description = Description::new(self.machine_type, self.config.memory);
        description.cpus = self.config.cpus as u16;
        description.cpuid_signature = self.model.signature();
        let [vendor, features] = [0, 1].map(|function| self.model.cpuid(function, 0, 0, true));
        let [_, _, _, edx] = features;
        description.cpuid_features = edx;
        description.amd = vendor.get(1) == Some(&AMD);
        description.boot.clone_from(&self.config.boot);
        description.first_option_rom = self.config.kernel.as_ref().map(kernel::option_rom_file);
        for unit in 0..2u8 {
            let drive = floppy.attachment(unit).map(|attachment| attachment.format.kind);
            description.floppies[usize::from(unit)] = drive;
        }
        description.disks = disks;
        description.serial = self.config.serial;
        description.parallel = self.config.parallel;
        description.pvpanic = self.config.pvpanic;
        description.vga_slot = self.config.vga.as_ref().and_then(|vga| vga.slot(self.machine_type));
        description
    }
}

/// The geometries of the hard disks of an IDE controller.
pub(crate) fn ide_disks(ide: &IdeController) -> [Option<Geometry>; 4] {
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(channel, unit)| {
        let attachment = ide.attachment(channel, unit);
        let disk = attachment.filter(|attachment| attachment.kind == chipset::ide::DriveKind::HardDisk);
        disk.map(|attachment| attachment.geometry)
    })
}

fn drive_kind(drive: &config::Drive) -> chipset::ide::DriveKind {
    match drive.kind {
        DriveKind::Cdrom => chipset::ide::DriveKind::Cdrom,
        DriveKind::HardDisk | DriveKind::Floppy => chipset::ide::DriveKind::HardDisk,
    }
}

/// A drive's medium behind its copy-on-write layer.
pub(crate) fn disk(drive: &config::Drive) -> Disk {
    let disk = Disk::new(drive.source.clone()).with_read_only(drive.read_only);
    match drive.latency {
        0 => disk,
        // Nothing is faster than an access to a port, so that a drive cannot be at work without end.
        latency => disk.with_latency(latency.max(crate::cost::PORT)),
    }
}

/// What decides how the machine goes on and no chip's state shows, a line each, for the digest.
fn wiring(config: &Config) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines = vec![
        format!("boot {}", config.boot),
        format!("serial {}", config.serial),
        format!("debug exit {:?}", config.debug_exit),
    ];
    // What not every machine can have had is a line only where it is.
    if config.parallel {
        lines.push("parallel".to_owned());
    }
    if config.pvpanic {
        lines.push("pvpanic".to_owned());
    }
    for rom in &config.option_roms {
        lines.push(format!("option ROM {} {}", rom.name, blake3::hash(&rom.bytes)));
    }
    if let Some(config::Kernel { image, initrd, append, option_rom }) = &config.kernel {
        let initrd = initrd.as_ref().map(|initrd| blake3::hash(&initrd.bytes));
        let (image, rom) = (blake3::hash(&image.bytes), blake3::hash(&option_rom.bytes));
        lines.push(format!("kernel {image} {initrd:?} {append:?} {rom}"));
    }
    if let Some(config::Vga { adapter, rom }) = &config.vga {
        let on = if *adapter == Adapter::Isa { "vga on ISA" } else { "vga" };
        lines.push(format!("{on} {}", blake3::hash(&rom.bytes)));
    }
    for config::Flash { image, read_only } in &config.flash {
        lines.push(format!("flash {} {read_only}", blake3::hash(&image.bytes)));
    }
    if config.rng {
        lines.push("rng".to_owned());
    }
    if let Some(interface) = config.virtio {
        lines.push(format!("virtio {interface:?}"));
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
