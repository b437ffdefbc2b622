//! Our own machine's evidence for a case, taken in the same way as QEMU's.

use std::path::Path;
use std::sync::Arc;

use warmboot_machine::{
    Adapter, Condition, Config, Drive, DriveKind, Ended, Firmware, Limits, Machine, ResetPath, Slot, Vga,
    ZeroSource,
};

use super::ParityError;
use super::case::{
    Attachment, Case, DriveImage, Evidence, LAST_WORDS, MEMORY_MIB, PciSpaces, Restart, Stage,
    VIRTIO_DISK_BYTES, dword, find_acpi_tables,
};

/// The keys stay down until long after the last look, as they do in QEMU.
const HOLD_NS: u64 = 3_600_000_000_000;

/// How much virtual time one boot may take.
const BOOT_LIMIT_NS: u64 = 120_000_000_000;

/// How often the timer interrupt and the floppy motor are looked at: often against 55 ms.
const LOOK_NS: u64 = 10_000_000;

/// An idle CPU retires nothing for this long, whatever interrupt it has just handled.
const IDLE_NS: u64 = 100_000;

/// Boots `case` twice on our machine.
pub fn evidence(case: &Case, firmware: &Path, drives: &[DriveImage]) -> Result<Evidence, ParityError> {
    let bytes = std::fs::read(firmware)
        .map_err(|source| ParityError::Io { what: firmware.display().to_string(), source })?;
    let name = case.image.file_name().to_owned();
    let config = Config {
        machine: case.machine.to_owned(),
        memory: MEMORY_MIB << 20,
        cpus: case.cpus,
        vga: case.vga.then(vga).transpose()?,
        // Whoever looks at a screen may as well have a serial and a parallel port, and one to panic by.
        serial: case.vga,
        parallel: case.vga,
        pvpanic: case.vga,
        firmware: Firmware { name, bytes: bytes.into() },
        drives: drives.iter().map(drive).chain(case.virtio.map(|_| virtio_disk())).collect(),
        rng: case.virtio.is_some(),
        virtio: case.virtio,
        ..Config::default()
    };
    let mut machine = Machine::new(&config).map_err(ours)?;
    boot(&mut machine)?;
    let power_on = stage(&mut machine)?;
    match case.restart {
        Restart::CtrlAltDelete => machine.press_and_hold("ctrl-alt-delete", HOLD_NS).map_err(ours)?,
        Restart::SystemReset => machine.reset(ResetPath::System).map_err(ours)?,
    }
    boot(&mut machine)?;
    let restarted = stage(&mut machine)?;
    let debug_log = String::from_utf8_lossy(machine.debug_log()).into_owned();
    Ok(Evidence { debug_log, power_on, restarted })
}

/// Our flat views before POST, after it, and after a system reset. Nothing is attached.
pub fn memory_maps(machine: &str, with_vga: bool, firmware: &Path) -> Result<[String; 3], ParityError> {
    let bytes = std::fs::read(firmware)
        .map_err(|source| ParityError::Io { what: firmware.display().to_string(), source })?;
    let config = Config {
        machine: machine.to_owned(),
        memory: MEMORY_MIB << 20,
        vga: with_vga.then(vga).transpose()?,
        firmware: Firmware { name: firmware.display().to_string(), bytes: bytes.into() },
        ..Config::default()
    };
    let mut machine = Machine::new(&config).map_err(ours)?;
    let before = machine.memory_map();
    boot(&mut machine)?;
    let after = machine.memory_map();
    machine.reset(ResetPath::System).map_err(ours)?;
    Ok([before, after, machine.memory_map()])
}

/// A display adapter with the ROM that QEMU gives it.
pub fn vga() -> Result<Vga, ParityError> {
    let path = super::find_firmware(None, "vgabios-stdvga.bin")
        .ok_or_else(|| ParityError::Missing("vgabios-stdvga.bin is not here (Debian: seabios)".to_owned()))?;
    let bytes = std::fs::read(&path)
        .map_err(|source| ParityError::Io { what: path.display().to_string(), source })?;
    Ok(Vga {
        adapter: Adapter::Std,
        rom: Firmware { name: "vgabios-stdvga".to_owned(), bytes: bytes.into() },
    })
}

fn ours(error: impl std::fmt::Display) -> ParityError {
    ParityError::Ours(error.to_string())
}

/// Our drive for one of the blank images.
fn drive(image: &DriveImage) -> Drive {
    let (at, kind) = match image.at {
        Attachment::HardDisk(channel, unit) => (Slot::Ide { channel, unit }, DriveKind::HardDisk),
        Attachment::Cdrom(channel, unit) => (Slot::Ide { channel, unit }, DriveKind::Cdrom),
        Attachment::Floppy(unit) => (Slot::Floppy(unit), DriveKind::Floppy),
    };
    Drive {
        at,
        kind,
        source: Arc::new(ZeroSource { size: image.bytes }),
        name: image.path.display().to_string(),
        read_only: kind == DriveKind::Cdrom,
        latency: 0,
    }
}

fn virtio_disk() -> Drive {
    Drive {
        at: Slot::Virtio(0),
        kind: DriveKind::HardDisk,
        source: Arc::new(ZeroSource { size: VIRTIO_DISK_BYTES }),
        name: "blank".to_owned(),
        read_only: false,
        latency: 0,
    }
}

fn run(machine: &mut Machine, until: &[Condition], time_ns: u64) -> Result<Ended, ParityError> {
    let time = Some(machine.virtual_time().saturating_add(time_ns));
    machine.run(until, Limits { instructions: None, time, slice: None }).map_err(ours)
}

/// Runs until the log has ended one more boot.
fn boot(machine: &mut Machine) -> Result<(), ParityError> {
    let last_words = Condition::Debug(LAST_WORDS.to_owned());
    match run(machine, &[last_words], BOOT_LIMIT_NS)? {
        Ended::Condition(_) => Ok(()),
        ended => {
            let log = String::from_utf8_lossy(machine.debug_log()).into_owned();
            let last = log.lines().last().unwrap_or_default();
            Err(ParityError::Ours(format!("no `{LAST_WORDS}`: {ended:?}; the log's last line is `{last}`")))
        }
    }
}

/// Lets some timer interrupts come and the floppy motor stop, then reads the idle machine.
fn stage(machine: &mut Machine) -> Result<Stage, ParityError> {
    let first = dword(&read(machine, 0, 0x500), Stage::TIMER_TICKS);
    let deadline = machine.virtual_time().saturating_add(BOOT_LIMIT_NS);
    loop {
        if machine.virtual_time() > deadline {
            return Err(ParityError::Ours("the timer interrupt does not come".to_owned()));
        }
        run(machine, &[], LOOK_NS)?;
        let memory = read(machine, 0, 0x500);
        let ticks = dword(&memory, Stage::TIMER_TICKS).wrapping_sub(first);
        if ticks < Stage::TICKS || memory.get(Stage::MOTOR_COUNT) != Some(&0) {
            continue;
        }
        let count = machine.instructions();
        run(machine, &[], IDLE_NS)?;
        if machine.instructions() == count {
            break;
        }
    }
    let low_memory = read(machine, 0, 0x500);
    let (ebda_address, ebda_bytes) = Stage::ebda(&low_memory);
    let acpi = find_acpi_tables(|address, length| Ok::<_, ParityError>(read(machine, address, length)))?;
    Ok(Stage {
        bios_segments: read(machine, 0xe_0000, 0x2_0000),
        ebda: read(machine, ebda_address, ebda_bytes),
        ebda_address,
        pci: machine.pci_config().map(|(at, bytes)| (at, bytes.to_vec())).collect::<PciSpaces>(),
        cmos: cmos(machine),
        registers: registers(machine),
        picture: machine.screen(),
        acpi,
        low_memory,
    })
}

fn read(machine: &Machine, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    machine.read_memory(address, &mut bytes);
    bytes
}

/// CMOS bytes 0Eh-7Fh.
fn cmos(machine: &Machine) -> Vec<u8> {
    let bytes = machine.chip_register("rtc", "cmos");
    let bytes = bytes.as_ref().and_then(|value| value.as_array());
    let byte = |value: &serde_json::Value| value.as_u64().unwrap_or(0) as u8;
    let mut bytes: Vec<u8> = bytes.map(|bytes| bytes.iter().map(byte).collect()).unwrap_or_default();
    // Register 37h reads as the century, which is kept in 32h.
    if let (Some(century), Some(copy)) = (bytes.get(0x32).copied(), bytes.get_mut(0x37)) {
        *copy = century;
    }
    bytes.drain(..bytes.len().min(0x0e));
    bytes
}

fn registers(machine: &Machine) -> String {
    const NAMES: [&str; 18] = [
        "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "cs", "ss", "ds", "es",
        "cr0", "cr2", "cr3", "cr4",
    ];
    let mut text = String::new();
    for name in NAMES {
        if let Some(value) = machine.register(name) {
            text.push_str(&format!("{name}={value:08x}\n"));
        }
    }
    text
}
