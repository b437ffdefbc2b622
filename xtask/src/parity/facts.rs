//! `rom:facts` in QEMU and in ours: what a firmware finds out by asking, word for word.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use warmboot_machine::{Condition, Config, Ended, Firmware, Limits, Machine};

use super::ParityError;
use super::qemu::PROGRAM;

/// Machine types on which it finds different things.
const MACHINES: [&str; 3] = ["pc-i440fx-7.2", "isapc", "pc-q35-7.2"];

/// On Q35 it looks at the last MiB but one of this.
const MEMORY_MIB: u64 = 16;

/// The ROM's last line.
const LAST_LINE: &str = "done";

/// How long QEMU may take, and how often it is looked at.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Compares each machine type whose name has `filter`; prints what it finds and gives how many
/// there were and how many differ.
pub fn compare(filter: &str) -> Result<(usize, usize), ParityError> {
    let rom =
        warmboot_test_roms::find("facts").ok_or_else(|| ParityError::Ours("no rom:facts".to_owned()))?;
    let image = (rom.build)().map_err(|error| ParityError::Ours(error.to_string()))?;
    let folder = tempfile::tempdir()
        .map_err(|source| ParityError::Io { what: "a temporary folder".to_owned(), source })?;
    let (mut compared, mut differing) = (0, 0);
    for machine in MACHINES {
        let name = format!("facts-{machine}");
        if !name.contains(filter) {
            continue;
        }
        compared += 1;
        let theirs = theirs(machine, &image, folder.path())?;
        let ours = ours(machine, &image)?;
        if ours == theirs {
            println!("{name}: equal; {} lines", theirs.lines().count());
            continue;
        }
        println!("{name}: DIFFERS");
        for (ours, theirs) in ours.lines().zip(theirs.lines()).filter(|(ours, theirs)| ours != theirs) {
            println!("    ours {ours}\n    QEMU {theirs}");
        }
        differing += 1;
    }
    Ok((compared, differing))
}

fn ours(machine: &str, image: &[u8]) -> Result<String, ParityError> {
    let error = |error: warmboot_machine::ConfigError| ParityError::Ours(error.to_string());
    let config = Config {
        machine: machine.to_owned(),
        memory: MEMORY_MIB << 20,
        serial: true,
        firmware: Firmware { name: "rom:facts".to_owned(), bytes: image.to_vec().into() },
        ..Config::default()
    };
    let mut machine = Machine::new(&config).map_err(error)?;
    let limits = Limits { instructions: Some(1_000_000), time: None, slice: None };
    let ended = machine.run(&[Condition::Halt], limits).map_err(error)?;
    let text = String::from_utf8_lossy(machine.serial_log()).into_owned();
    match ended {
        Ended::Condition(_) | Ended::Halt => Ok(text),
        ended => Err(ParityError::Ours(format!("rom:facts ended by {ended:?} after\n{text}"))),
    }
}

fn theirs(machine: &str, image: &[u8], folder: &Path) -> Result<String, ParityError> {
    let (rom, log) = (folder.join("facts.bin"), folder.join(machine));
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |source| ParityError::Io { what, source }
    };
    fs::write(&rom, image).map_err(io(&rom))?;
    let mut child = Command::new(PROGRAM)
        .args(["-nodefaults", "-no-user-config", "-vga", "none", "-display", "none"])
        .args(["-accel", "tcg", "-M", machine, "-m", &MEMORY_MIB.to_string()])
        .args(["-chardev", "null,id=debug", "-device", "isa-debugcon,iobase=0x402,chardev=debug"])
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .arg("-bios")
        .arg(&rom)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io(Path::new(PROGRAM)))?;
    let deadline = Instant::now() + LIMIT;
    let text = loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let ended = child.try_wait().map_err(io(Path::new(PROGRAM)))?.is_some();
        if ended || text.lines().last() == Some(LAST_LINE) || Instant::now() > deadline {
            break text;
        }
        thread::sleep(LOOK);
    };
    // It may have ended by itself; either way there is nothing left to tell anyone.
    let _ = child.kill();
    let _ = child.wait();
    if text.lines().last() == Some(LAST_LINE) {
        return Ok(text);
    }
    Err(ParityError::Qemu(format!("rom:facts on {machine} did not end; it said\n{text}")))
}
