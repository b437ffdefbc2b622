//! What fuzzing feeds to everything that reads files and arguments: one function for each format, which must
//! come through any bytes without a panic, soon, and with as much memory as the bytes justify. `cargo xtask
//! fuzz formats` makes them from samples and a seed; each has a target for cargo-fuzz too.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use crate::{
    Condition, Config, Limits, Machine, ResetPath,
    gdb::Host,
    inspect::{
        diff::Ignore,
        symbols::{Bases, SymbolFile, Symbols},
        trace::{AccessTrace, InstructionTrace},
    },
    machine::{
        AbsentSource, Adapter, BootOptions, Drive, DriveKind, Firmware, Flash, Kernel, MemorySource, Slot,
        Snapshot, Vga, Watched, parse_keys,
    },
    scenario::{
        self,
        accepted::Accepted,
        drives::DriveSpec,
        flash::FlashSpec,
        input::Recording,
        session::{Action, Plan, Session},
    },
};

/// Something that is read.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Its name, and that of its target.
    pub name: &'static str,
    /// Reads it.
    pub run: fn(&[u8]),
}

/// Every format, in the order of the alphabet.
pub const FORMATS: &[Format] = &[
    Format { name: "accepted", run: accepted },
    Format { name: "argument", run: argument },
    Format { name: "disk-image", run: disk_image },
    Format { name: "elf", run: elf },
    Format { name: "firmware", run: firmware },
    Format { name: "flash", run: flash },
    Format { name: "gdb", run: gdb },
    Format { name: "kernel", run: kernel },
    Format { name: "option-rom", run: option_rom },
    Format { name: "qcow2", run: qcow2 },
    Format { name: "recording", run: recording },
    Format { name: "scenario", run: scenario },
    Format { name: "snapshot", run: snapshot },
    Format { name: "trace", run: trace },
];

/// The format called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// Instructions that a machine built from bytes runs.
const INSTRUCTIONS: u64 = 5_000;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn image(bytes: &[u8]) -> Firmware {
    Firmware { name: "fuzz".to_owned(), bytes: bytes.into() }
}

/// A BIOS that halts.
fn halting() -> Firmware {
    image(&[0xf4; 0x1_0000])
}

/// Builds the machine, if it can be, and runs it for a while.
fn build(config: &Config) {
    if let Ok(mut machine) = Machine::new(config) {
        run(&mut machine);
    }
}

fn run(machine: &mut Machine) {
    let limits = Limits {
        instructions: Some(machine.instructions().saturating_add(INSTRUCTIONS)),
        time: Some(machine.virtual_time().saturating_add(1_000_000_000)),
        slice: None,
    };
    // Whatever ends it is an end.
    let _ = machine.run(&[], limits);
    machine.digest();
}

/// A file of accepted results.
fn accepted(bytes: &[u8]) {
    let Ok(accepted) = serde_json::from_slice::<Accepted>(bytes) else { return };
    let again: Result<Accepted, _> = serde_json::from_str(&accepted.text());
    assert_eq!(again.ok().as_ref(), Some(&accepted), "what is written is read");
    for (key, values) in &accepted.cases {
        assert_eq!(accepted.difference(key, values), None);
        // As if everything were gone.
        let _ = accepted.difference(key, &Default::default());
    }
}

/// What was entered during a run.
fn recording(bytes: &[u8]) {
    let Ok(recording) = text(bytes).parse::<Recording>() else { return };
    let again = recording.to_string().parse::<Recording>();
    assert_eq!(again.as_ref(), Ok(&recording), "what is written is read");
}

/// What the command takes on its command line, in its own small languages.
fn argument(bytes: &[u8]) {
    let text = text(bytes);
    for part in text.lines() {
        let _ = Action::press(part);
        let _ = Action::typed(part);
        let _ = Action::sent(part);
        let _ = Action::reset(part);
        let _ = DriveSpec::parse(part);
        let _ = FlashSpec::parse(part);
        let _ = parse_keys(part);
        let _ = part.parse::<BootOptions>();
        let _ = part.parse::<Condition>();
        let _ = part.parse::<ResetPath>();
        let _ = part.parse::<Watched>();
        let _ = part.parse::<SymbolFile>();
        let _ = part.parse::<Ignore>();
        let _ = crate::machine::count(part);
        let _ = crate::machine::time(part);
        let _ = crate::machine::memory(part);
    }
}

/// An image, as a disk, a CD and a floppy: its geometry is guessed from its bytes.
fn disk_image(bytes: &[u8]) {
    let drive = |at, kind| Drive {
        at,
        kind,
        source: Arc::new(MemorySource(bytes.into())),
        name: "fuzz".to_owned(),
        read_only: false,
        latency: 0,
    };
    let drives = vec![
        drive(Slot::Ide { channel: 0, unit: 0 }, DriveKind::HardDisk),
        drive(Slot::Ide { channel: 1, unit: 0 }, DriveKind::Cdrom),
        drive(Slot::Floppy(0), DriveKind::Floppy),
        drive(Slot::Virtio(0), DriveKind::HardDisk),
    ];
    build(&Config { firmware: halting(), drives, ..Config::default() });
}

/// An ELF file with symbols.
fn elf(bytes: &[u8]) {
    let mut symbols = Symbols::default();
    let bases = Bases { base: 0x1000, sections: vec![(".text".to_owned(), 0xe_0000)], ..Bases::default() };
    for bases in [Bases::default(), bases] {
        // What is refused is refused with a sentence.
        if let Err(error) = symbols.add_elf("fuzz", bytes, &bases) {
            let _ = error.to_string();
        }
    }
    let names: Vec<(String, u64, u64)> =
        symbols.iter().take(256).map(|(name, address, size)| (name.to_owned(), address, size)).collect();
    for (name, address, size) in names {
        let _ = (symbols.find(&name), symbols.resolve(&name), symbols.nearest(&name));
        for address in [address, address.wrapping_add(size), address.wrapping_sub(1)] {
            let _ = symbols.at(address).map(|place| place.to_string());
        }
    }
}

/// A BIOS image, which then runs.
fn firmware(bytes: &[u8]) {
    build(&Config { firmware: image(bytes), serial: true, ..Config::default() });
    // Whole segments, whatever there is.
    let mut whole = bytes.to_vec();
    whole.resize(bytes.len().next_multiple_of(0x1_0000).clamp(0x1_0000, 0x10_0000), 0);
    whole.rotate_right(bytes.len() & 0xffff);
    build(&Config { firmware: image(&whole), machine: "isapc".to_owned(), ..Config::default() });
}

/// A flash image.
fn flash(bytes: &[u8]) {
    for bytes in [bytes, bytes.get(..bytes.len() & !0xfff).unwrap_or_default()] {
        let image = image(bytes);
        let firmware = Config::low_firmware(&image);
        let flash = vec![Flash { image, read_only: false }];
        build(&Config { firmware, flash, ..Config::default() });
    }
}

/// What gdb says: each line is a packet; one that begins with a zero is sent as it is.
fn gdb(bytes: &[u8]) {
    let config = Config { firmware: halting(), cpus: 2, memory: 1 << 20, ..Config::default() };
    let Ok(mut machine) = Machine::new(&config) else { return };
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return };
    let Ok(mut stream) = listener.local_addr().and_then(TcpStream::connect) else { return };
    let mut packets = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.split_first() {
            Some((0, raw)) => packets.extend(raw),
            _ => {
                let sum = line.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                packets.extend(b"$".iter().chain(line));
                packets.extend(format!("#{sum:02x}").bytes());
            }
        }
    }
    let limits = Limits { instructions: Some(INSTRUCTIONS), time: Some(1_000_000), slice: Some(500) };
    let mut session = Session::new(Plan { limits, ..Plan::default() });
    let host = Host { interrupted: || false, say: |_| {} };
    thread::scope(|scope| {
        scope.spawn(move || {
            let sent = stream.write_all(&packets).and_then(|()| stream.shutdown(Shutdown::Write));
            // The answers must go somewhere until the other side ends.
            let _ = sent.and_then(|()| io::copy(&mut stream, &mut io::sink()));
        });
        // However it ends.
        let _ = crate::gdb::serve(listener, host, &mut machine, &mut session, &mut |_| true);
    });
}

/// A kernel, of Linux or Multiboot, with a RAM disk and a command line.
fn kernel(bytes: &[u8]) {
    for (initrd, append, memory) in [(None, "", 16 << 20), (Some(image(&[1; 100])), "a b", 128 << 20)] {
        let option_rom = image(&[0x55, 0xaa, 1, 0xcb]);
        let kernel = Kernel { image: image(bytes), initrd, append: append.to_owned(), option_rom };
        build(&Config { firmware: halting(), kernel: Some(kernel), memory, ..Config::default() });
    }
}

/// An option ROM, also of a display adapter.
fn option_rom(bytes: &[u8]) {
    let vga = Some(Vga { adapter: Adapter::Std, rom: image(bytes) });
    for machine in ["pc-i440fx-7.2", "isapc"] {
        let machine = machine.to_owned();
        let option_roms = vec![image(bytes)];
        build(&Config { firmware: halting(), machine, option_roms, vga: vga.clone(), ..Config::default() });
    }
}

/// A disk image as QEMU keeps them.
fn qcow2(bytes: &[u8]) {
    let _ = scenario::qcow2::fuzz_image(bytes);
}

/// A scenario file; it is read, and not run.
fn scenario(bytes: &[u8]) {
    match scenario::load("fuzz.toml", &text(bytes)) {
        Ok(scenario) => drop(scenario),
        Err(problem) => drop(format!("{problem} {:?}", problem.message())),
    }
}

/// A snapshot file, as it is, and with its lengths and its sum put right, so that what is behind them is read.
fn snapshot(bytes: &[u8]) {
    read_snapshot(bytes);
    if let Some(mended) = mend(bytes) {
        read_snapshot(&mended);
    }
}

fn read_snapshot(bytes: &[u8]) {
    let snapshot = match Snapshot::read(bytes) {
        Ok(snapshot) => snapshot,
        Err(error) => return drop(error.to_string()),
    };
    // More memory is a stated limit, and takes long.
    if snapshot.header().blocks.iter().any(|block| block.size > 1 << 30) {
        return;
    }
    let _ = snapshot.drives();
    let machine = snapshot.machine(None, &mut |wanted| {
        Some(Arc::new(AbsentSource { size: wanted.size, digest: wanted.digest }))
    });
    match machine {
        Ok(mut machine) => {
            run(&mut machine);
            let _ = machine.state_digest();
            let _ = (machine.memory_map(), machine.screen_text());
            let _ = machine.save();
        }
        Err(error) => drop(error.to_string()),
    }
}

/// A file whose frame is right: the header ends where its JSON does.
fn mend(bytes: &[u8]) -> Option<Vec<u8>> {
    // Start, version and the two lengths; then the header, the body and the sum.
    const LENGTHS: usize = 18 + 4;
    const HEADER: usize = LENGTHS + 16;
    const SUM: usize = 32;
    let mut mended = bytes.get(..bytes.len().checked_sub(SUM)?)?.to_vec();
    let rest = mended.get(HEADER..)?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Value>();
    values.next()?.ok()?;
    let header = values.byte_offset();
    let body = rest.len() - header;
    mended.get_mut(LENGTHS..LENGTHS + 8)?.copy_from_slice(&(header as u64).to_le_bytes());
    mended.get_mut(LENGTHS + 8..HEADER)?.copy_from_slice(&(body as u64).to_le_bytes());
    let sum = blake3::hash(&mended);
    mended.extend(sum.as_bytes());
    Some(mended)
}

/// The options of a trace.
fn trace(bytes: &[u8]) {
    for part in text(bytes).lines() {
        let _ = InstructionTrace::new(part, Symbols::default(), Box::new(io::sink()));
        let _ = AccessTrace::new(part, Symbols::default(), &["rtc", "pic"], false, Box::new(io::sink()));
    }
}
