//! Runs QEMU (TCG) and takes its evidence: the debug port's text over a socket, memory and PCI
//! configuration space over its test protocol, keys and resets over QMP.
//!
//! Nothing here waits for a fixed time: each step waits for what it needs, with a limit.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warmboot_machine::{Picture, VirtioInterface};

use super::ParityError;
use super::case::{
    Attachment, Case, DriveImage, Evidence, LAST_WORDS, MEMORY_MIB, PciSpaces, Restart, START_DATE, Stage,
    VIRTIO_DISK_BYTES, dword, find_acpi_tables,
};

/// The program that is run; one with this name must be in `PATH`.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// How long one boot may take. SeaBIOS needs a fraction of a second on an idle host.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// How long any single answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// QEMU's first line of `--version`, or nothing if it is not installed.
pub fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}

/// Boots `case` twice and returns what QEMU shows after each boot.
pub fn evidence(case: &Case, firmware: &Path, drives: &[DriveImage]) -> Result<Evidence, ParityError> {
    let start = Start {
        cpus: case.cpus,
        counted: case.drives || case.virtio.is_some(),
        vga: case.vga,
        ports: case.vga,
        virtio: case.virtio,
        ..Start::of(case.machine, firmware)
    };
    let mut qemu = start.with(drives)?;
    qemu.execute("cont", None)?;
    qemu.wait_for_boots(1)?;
    let power_on = qemu.stage()?;
    qemu.execute("cont", None)?;
    match case.restart {
        Restart::CtrlAltDelete => qemu.press(&["ctrl", "alt", "delete"])?,
        Restart::SystemReset => qemu.execute("system_reset", None).map(drop)?,
    }
    qemu.wait_for_boots(2)?;
    let restarted = qemu.stage()?;
    Ok(Evidence { debug_log: String::from_utf8_lossy(&qemu.log).into_owned(), power_on, restarted })
}

/// `info mtree -f` before POST, after it, and after a system reset. Nothing is attached.
pub fn memory_maps(machine: &str, vga: bool, firmware: &Path) -> Result<[String; 3], ParityError> {
    let mut qemu = Start { vga, ..Start::of(machine, firmware) }.with(&[])?;
    let before = qemu.monitor("info mtree -f")?;
    qemu.execute("cont", None)?;
    qemu.wait_for_boots(1)?;
    qemu.execute("stop", None)?;
    let after = qemu.monitor("info mtree -f")?;
    qemu.events.clear();
    qemu.execute("system_reset", None)?;
    qemu.wait_for_event("RESET")?;
    Ok([before, after, qemu.monitor("info mtree -f")?])
}

/// Boots the hard disk `disk` with a display adapter, and takes a picture each time one of `words` has been
/// said on the debug port; then presses the space bar.
pub fn pictures(
    machine: &str,
    firmware: &Path,
    disk: &DriveImage,
    words: &[String],
) -> Result<Vec<Picture>, ParityError> {
    let mut qemu = Start { vga: true, ..Start::of(machine, firmware) }.with(std::slice::from_ref(disk))?;
    qemu.execute("cont", None)?;
    let mut pictures = Vec::new();
    for word in words {
        qemu.wait_for(word, |log| log.contains(word.as_str()))?;
        pictures.push(qemu.picture()?);
        qemu.press(&["spc"])?;
        let up =
            json!({ "type": "key", "data": { "down": false, "key": { "type": "qcode", "data": "spc" } } });
        qemu.execute("input-send-event", Some(json!({ "events": [up] })))?;
    }
    Ok(pictures)
}

/// How QEMU is started.
struct Start<'a> {
    machine: &'a str,
    cpus: u32,
    /// Instructions are its clock.
    counted: bool,
    /// With its standard VGA.
    vga: bool,
    /// With COM1, LPT1 and the panic port.
    ports: bool,
    /// With a virtio disk and an entropy device.
    virtio: Option<VirtioInterface>,
    firmware: &'a Path,
}

impl<'a> Start<'a> {
    fn of(machine: &'a str, firmware: &'a Path) -> Start<'a> {
        Start { machine, cpus: 1, counted: false, vga: false, ports: false, virtio: None, firmware }
    }
}

struct Qemu {
    child: Child,
    qmp: Talk,
    qtest: Talk,
    debug: Receiver<Vec<u8>>,
    log: Vec<u8>,
    /// Events that came while an answer was awaited.
    events: Vec<String>,
    errors: PathBuf,
    folder: tempfile::TempDir,
    vga: bool,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is nothing left to tell anyone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Start<'_> {
    fn with(&self, drives: &[DriveImage]) -> Result<Qemu, ParityError> {
        let Start { machine, cpus, counted, vga, ports, virtio, firmware } = *self;
        let folder = tempfile::Builder::new()
            .prefix("parity-")
            .tempdir()
            .map_err(|source| ParityError::Io { what: "a temporary folder".to_owned(), source })?;
        let listen = |name: &str| -> Result<(PathBuf, Receiver<UnixStream>), ParityError> {
            let path = folder.path().join(name);
            let listener = UnixListener::bind(&path)
                .map_err(|source| ParityError::Io { what: path.display().to_string(), source })?;
            let (sender, receiver) = mpsc::channel();
            thread::spawn(move || {
                if let Ok((stream, _)) = listener.accept() {
                    let _ = sender.send(stream);
                }
            });
            Ok((path, receiver))
        };
        let (debug_path, debug) = listen("debug")?;
        let (qmp_path, qmp) = listen("qmp")?;
        let (qtest_path, qtest) = listen("qtest")?;
        let errors = folder.path().join("errors");
        let error_file = fs::File::create(&errors)
            .map_err(|source| ParityError::Io { what: errors.display().to_string(), source })?;

        let mut command = Command::new(PROGRAM);
        command
            .args(["-nodefaults", "-no-user-config", "-vga", if vga { "std" } else { "none" }])
            .args(["-serial", if ports { "null" } else { "none" }])
            .args(["-parallel", if ports { "null" } else { "none" }])
            .args(["-display", "none", "-S"])
            .args(["-accel", "tcg", "-M", machine, "-m", &MEMORY_MIB.to_string()])
            .args(["-smp", &cpus.to_string()])
            .args(["-global", "apic-common.vapic=off"])
            .args(["-rtc", &format!("base={START_DATE},clock=vm")])
            .arg("-bios")
            .arg(firmware)
            .args(["-chardev", &format!("socket,id=debug,path={}", debug_path.display())])
            .args(["-device", "isa-debugcon,iobase=0x402,chardev=debug"])
            // Bochs' port, which our machine has too.
            .args(["-chardev", "null,id=e9", "-device", "isa-debugcon,iobase=0xe9,chardev=e9"])
            .args(["-qmp", &format!("unix:{}", qmp_path.display())])
            .args(["-qtest", &format!("unix:{}", qtest_path.display())])
            .args(["-qtest-log", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error_file);
        if counted {
            // Instructions are then QEMU's clock, as they are ours. Without it the log's lines have
            // more than one order on a busy host.
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        if ports {
            command.args(["-device", "pvpanic"]);
        }
        for drive in drives {
            command.args(["-drive", &drive_option(drive)]);
        }
        if let Some(interface) = virtio {
            let modes = format!(
                "disable-legacy={},disable-modern={}",
                if interface.is_legacy() { "off" } else { "on" },
                if interface.is_modern() { "off" } else { "on" }
            );
            // With a latency firmware always waits: without, it does when QEMU's other thread is late.
            let blank = "if=none,id=blank,driver=null-co,read-zeroes=on,latency-ns=20000000";
            command.args(["-drive", &format!("{blank},size={VIRTIO_DISK_BYTES}")]);
            // Old machine types offer SCSI commands, and QEMU then refuses to be modern.
            let scsi = if interface.is_modern() { "scsi=off," } else { "" };
            command.args(["-device", &format!("virtio-blk-pci,drive=blank,{scsi}{modes}")]);
            command.args(["-device", &format!("virtio-rng-pci,{modes}")]);
        }
        let mut child =
            command.spawn().map_err(|source| ParityError::Io { what: PROGRAM.to_owned(), source })?;
        let mut accept = |from: Receiver<UnixStream>| await_stream(&mut child, &from, &errors);
        let connected = (|| Ok((accept(debug)?, accept(qmp)?, accept(qtest)?)))();
        let (debug, qmp, qtest) = match connected {
            Ok(streams) => streams,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let mut qemu = Qemu {
            child,
            qmp: Talk::new("QMP", qmp)?,
            qtest: Talk::new("qtest", qtest)?,
            debug: byte_channel(debug),
            log: Vec::new(),
            events: Vec::new(),
            errors,
            folder,
            vga,
        };
        qemu.qmp.line(ANSWER_LIMIT)?; // the greeting
        qemu.execute("qmp_capabilities", None)?;
        Ok(qemu)
    }
}

impl Qemu {
    /// The screen.
    fn picture(&mut self) -> Result<Picture, ParityError> {
        let file = self.folder.path().join("screen.ppm");
        self.execute("screendump", Some(json!({ "filename": file.display().to_string() })))?;
        let bytes =
            fs::read(&file).map_err(|source| ParityError::Io { what: file.display().to_string(), source })?;
        pixmap(&bytes).ok_or_else(|| ParityError::Qemu("its picture is no PPM file".to_owned()))
    }

    /// One QMP command; events that come in between are put aside.
    fn execute(&mut self, name: &str, arguments: Option<Value>) -> Result<Value, ParityError> {
        let mut request = json!({ "execute": name });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        self.qmp.send(&request.to_string())?;
        loop {
            let line = self.qmp.line(ANSWER_LIMIT)?;
            let answer: Value = serde_json::from_str(&line)
                .map_err(|error| ParityError::Qemu(format!("QMP answered `{line}`: {error}")))?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(ParityError::Qemu(format!("{name}: {error}")));
            }
            self.events.extend(event_name(&answer));
        }
    }

    /// Presses keys, all at once, and never lets go of them: QEMU lets go at the host's time (and
    /// under `-icount` only together with the next timer interrupt), so that each run would leave
    /// other bytes on the firmware's interrupt stack.
    fn press(&mut self, keys: &[&str]) -> Result<(), ParityError> {
        let event = |key: &&str| json!({ "type": "key", "data": { "down": true, "key": { "type": "qcode", "data": key } } });
        let events: Vec<Value> = keys.iter().map(event).collect();
        self.execute("input-send-event", Some(json!({ "events": events }))).map(drop)
    }

    /// Waits until the log has ended `count` boots.
    fn wait_for_boots(&mut self, count: usize) -> Result<(), ParityError> {
        self.wait_for(&format!("{count}. {LAST_WORDS}"), |log| {
            log.lines().filter(|line| line.contains(LAST_WORDS)).count() >= count
        })
    }

    /// Waits until whole lines of the log satisfy `complete`; `what` says what that is.
    fn wait_for(&mut self, what: &str, complete: impl Fn(&str) -> bool) -> Result<(), ParityError> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let text = String::from_utf8_lossy(&self.log);
            if self.log.ends_with(b"\n") && complete(&text) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.debug.recv_timeout(left) {
                Ok(bytes) => self.log.extend_from_slice(&bytes),
                Err(RecvTimeoutError::Timeout) => {
                    let last = text.lines().last().unwrap_or("").to_owned();
                    return Err(ParityError::Qemu(format!(
                        "no `{what}` within {} s; the log's last line is `{last}`",
                        BOOT_LIMIT.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let errors = fs::read_to_string(&self.errors).unwrap_or_default();
                    return Err(ParityError::Qemu(format!("it ended: {}", errors.trim())));
                }
            }
        }
    }

    /// Lets some timer interrupts pass and the floppy motor stop, so that what follows a boot is
    /// over; then stops the machine in a HLT and reads everything.
    fn stage(&mut self) -> Result<Stage, ParityError> {
        let deadline = Instant::now() + BOOT_LIMIT;
        let first = dword(&self.read(0, 0x500)?, Stage::TIMER_TICKS);
        let mut registers;
        loop {
            let memory = self.read(0, 0x500)?;
            let ticks = dword(&memory, Stage::TIMER_TICKS).wrapping_sub(first);
            if ticks < Stage::TICKS || memory.get(Stage::MOTOR_COUNT) != Some(&0) {
                if Instant::now() > deadline {
                    return Err(ParityError::Qemu("the timer interrupt does not come".to_owned()));
                }
                thread::yield_now();
                continue;
            }
            self.execute("stop", None)?;
            registers = self.registers()?;
            if registers.contains("HLT=1") {
                break;
            }
            if Instant::now() > deadline {
                return Err(ParityError::Qemu("the CPU never halts".to_owned()));
            }
            self.execute("cont", None)?;
        }
        while let Ok(bytes) = self.debug.try_recv() {
            self.log.extend_from_slice(&bytes);
        }
        let low_memory = self.read(0, 0x500)?;
        let (ebda_address, ebda_bytes) = Stage::ebda(&low_memory);
        Ok(Stage {
            bios_segments: self.read(0xe0000, 0x20000)?,
            ebda: self.read(ebda_address, ebda_bytes)?,
            ebda_address,
            pci: self.pci()?,
            cmos: self.cmos()?,
            registers,
            picture: if self.vga { Some(self.picture()?) } else { None },
            acpi: find_acpi_tables(|address, length| self.read(address, length))?,
            low_memory,
        })
    }

    fn registers(&mut self) -> Result<String, ParityError> {
        self.monitor("info registers")
    }

    /// One command of the human monitor.
    fn monitor(&mut self, command: &str) -> Result<String, ParityError> {
        let arguments = json!({ "command-line": command });
        let answer = self.execute("human-monitor-command", Some(arguments))?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Reads on until the event has come.
    fn wait_for_event(&mut self, name: &str) -> Result<(), ParityError> {
        while !self.events.iter().any(|event| event == name) {
            let line = self.qmp.line(ANSWER_LIMIT)?;
            let message: Value = serde_json::from_str(&line)
                .map_err(|error| ParityError::Qemu(format!("QMP said `{line}`: {error}")))?;
            self.events.extend(event_name(&message));
        }
        Ok(())
    }

    fn pci(&mut self) -> Result<PciSpaces, ParityError> {
        let mut spaces = PciSpaces::new();
        let before = self.input("inl", 0xcf8)?;
        for device in 0..32u8 {
            for function in 0..8u8 {
                let address = 0x8000_0000 | u32::from(device) << 11 | u32::from(function) << 8;
                self.output("outl", 0xcf8, address)?;
                if self.input("inl", 0xcfc)? == 0xffff_ffff {
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                let mut space = Vec::new();
                for register in (0..256u32).step_by(4) {
                    self.output("outl", 0xcf8, address | register)?;
                    space.extend_from_slice(&self.input("inl", 0xcfc)?.to_le_bytes());
                }
                let one_function = space.get(0x0e).is_none_or(|header| header & 0x80 == 0);
                spaces.insert((device, function), space);
                if function == 0 && one_function {
                    break;
                }
            }
        }
        self.output("outl", 0xcf8, before)?;
        Ok(spaces)
    }

    fn cmos(&mut self) -> Result<Vec<u8>, ParityError> {
        let mut bytes = Vec::new();
        for index in 0x0e..0x80 {
            self.output("outb", 0x70, index)?;
            bytes.push(self.input("inb", 0x71)? as u8);
        }
        Ok(bytes)
    }

    fn output(&mut self, command: &str, port: u16, value: u32) -> Result<(), ParityError> {
        self.ask(&format!("{command} {port:#x} {value:#x}")).map(drop)
    }

    fn input(&mut self, command: &str, port: u16) -> Result<u32, ParityError> {
        let answer = self.ask(&format!("{command} {port:#x}"))?;
        u32::from_str_radix(answer.trim_start_matches("0x"), 16)
            .map_err(|error| ParityError::Qemu(format!("{command} answered `{answer}`: {error}")))
    }

    fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, ParityError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let answer = self.ask(&format!("read {address:#x} {length:#x}"))?;
        let digits = answer.trim_start_matches("0x").as_bytes();
        let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
        digits
            .chunks(2)
            .map(|pair| Some((digit(pair.first())? << 4 | digit(pair.get(1))?) as u8))
            .collect::<Option<Vec<u8>>>()
            .filter(|bytes| bytes.len() == length)
            .ok_or_else(|| ParityError::Qemu(format!("`read {address:#x}` gave no bytes")))
    }

    /// One command of the test protocol; the answer without its `OK`.
    fn ask(&mut self, command: &str) -> Result<String, ParityError> {
        self.qtest.send(command)?;
        loop {
            let line = self.qtest.line(ANSWER_LIMIT)?;
            if line.starts_with("IRQ ") {
                continue;
            }
            return match line.strip_prefix("OK") {
                Some(answer) => Ok(answer.trim().to_owned()),
                None => Err(ParityError::Qemu(format!("`{command}` answered `{line}`"))),
            };
        }
    }
}

/// A binary PPM file: `P6`, width, height and 255 in words, then red, green and blue.
fn pixmap(bytes: &[u8]) -> Option<Picture> {
    let mut rest = bytes;
    let mut word = || {
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        let (word, after) = rest.split_at(end);
        rest = after.get(1..)?;
        std::str::from_utf8(word).ok().map(str::to_owned)
    };
    let [kind, width, height, most] = [word()?, word()?, word()?, word()?];
    let (width, height): (u32, u32) = (width.parse().ok()?, height.parse().ok()?);
    let right =
        kind == "P6" && most == "255" && rest.len() as u64 == 3 * u64::from(width) * u64::from(height);
    right.then(|| Picture { width, height, pixels: rest.to_vec() })
}

/// What kind of event a message tells of, if it does.
fn event_name(message: &Value) -> Option<String> {
    message.get("event").and_then(Value::as_str).map(str::to_owned)
}

fn drive_option(drive: &DriveImage) -> String {
    let file = format!("format=raw,file={}", drive.path.display());
    match drive.at {
        Attachment::HardDisk(channel, unit) => {
            format!("if=ide,bus={channel},unit={unit},media=disk,snapshot=on,{file}")
        }
        Attachment::Cdrom(channel, unit) => {
            format!("if=ide,bus={channel},unit={unit},media=cdrom,{file}")
        }
        Attachment::Floppy(unit) => format!("if=floppy,index={unit},snapshot=on,{file}"),
    }
}

/// Waits for QEMU to connect, or to end with a message.
fn await_stream(
    child: &mut Child,
    from: &Receiver<UnixStream>,
    errors: &Path,
) -> Result<UnixStream, ParityError> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        if let Ok(stream) = from.recv_timeout(Duration::from_millis(50)) {
            return Ok(stream);
        }
        let ended = child.try_wait().ok().flatten().is_some();
        if ended || Instant::now() > deadline {
            let text = fs::read_to_string(errors).unwrap_or_default();
            return Err(ParityError::Qemu(format!("it did not start: {}", text.trim())));
        }
    }
}

/// A socket on which one line answers another.
struct Talk {
    name: &'static str,
    stream: UnixStream,
    lines: Receiver<String>,
}

impl Talk {
    fn new(name: &'static str, stream: UnixStream) -> Result<Talk, ParityError> {
        let reader = stream
            .try_clone()
            .map_err(|source| ParityError::Io { what: format!("the {name} socket"), source })?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Talk { name, stream, lines })
    }

    fn send(&mut self, line: &str) -> Result<(), ParityError> {
        let name = self.name;
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|source| ParityError::Io { what: format!("the {name} socket"), source })
    }

    fn line(&mut self, limit: Duration) -> Result<String, ParityError> {
        let name = self.name;
        self.lines.recv_timeout(limit).map_err(|_| {
            ParityError::Qemu(format!("no answer on the {name} socket within {} s", limit.as_secs()))
        })
    }
}

/// What comes over a socket, as it comes.
fn byte_channel(mut stream: UnixStream) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(count) = stream.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or(&[]).to_vec();
            if count == 0 || sender.send(bytes).is_err() {
                break;
            }
        }
    });
    receiver
}
