//! `cargo xtask save-restore`: a machine is saved at random instructions, loaded in a new process each
//! time, and runs on: its digest at the end must be that of the run without interruption. The stories
//! are a POST, one with a drive, a reset and Ctrl+Alt+Del in it, and one with a migration.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use warmboot_machine::{
    BlockSource, Config, Destination, Drive, DriveKind, DriveWanted, Firmware, Limits, Machine, MemorySource,
    ResetPath, Slot,
};

use crate::{Failure, firmware, shell};

/// Points of the whole task; `cargo xtask test` takes fewer.
const POINTS: usize = 1_000;
/// What a story other than the plain POST gets of them.
const SHARE: usize = 5;

/// What happens to a machine at a count of instructions.
enum Event {
    Reset(ResetPath),
    Press(&'static str),
    /// To this emulator generation.
    Migrate(&'static str),
}

/// A machine's life.
struct Story {
    name: &'static str,
    machine: &'static str,
    emulator: &'static str,
    firmware: &'static str,
    disk: bool,
    events: &'static [(u64, Event)],
    end: u64,
}

const STORIES: &[Story] = &[
    Story {
        name: "post",
        machine: "pc-i440fx-7.2",
        emulator: "qemu",
        firmware: "bios-256k.bin",
        disk: false,
        events: &[],
        end: 6_000_000,
    },
    Story {
        name: "resets",
        machine: "pc-i440fx-7.2",
        emulator: "qemu",
        firmware: "bios-256k.bin",
        disk: true,
        events: &[(2_500_000, Event::Reset(ResetPath::System)), (7_000_000, Event::Press("ctrl-alt-delete"))],
        end: 9_000_000,
    },
    Story {
        name: "migration",
        machine: "rhel6.5.0",
        emulator: "qemu-kvm-0.12-rhel6",
        firmware: "bios.bin",
        disk: true,
        events: &[
            (3_000_000, Event::Migrate("qemu-kvm-1.5-rhel7")),
            (6_000_000, Event::Reset(ResetPath::System)),
        ],
        end: 8_000_000,
    },
];

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let (mut points, mut seed) = (POINTS, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--points" => points = value()?.parse()?,
            "--seed" => seed = Some(value()?.parse()?),
            "--continue" => {
                let (story, done, file) = (value()?, value()?, value()?);
                return go_on(story, done.parse()?, Path::new(file));
            }
            other => return Err(format!("unknown `{other}`; expected --points N or --seed S").into()),
        }
    }
    check(points, seed)
}

/// As many points as `cargo xtask test` has time for.
pub fn sample() -> Result<(), Failure> {
    check(20, None)
}

/// Plays every story, with `points` for the first one.
fn check(points: usize, seed: Option<u64>) -> Result<(), Failure> {
    firmware::ensure(&shell::firmware_folder(), &firmware::SEABIOS)?;
    let seed = seed.unwrap_or_else(shell::seed).max(1);
    println!("save-restore: seed {seed}");
    let folder = tempfile::tempdir()?;
    let mut failed = 0;
    for story in STORIES {
        let points = if story.events.is_empty() { points } else { points.div_ceil(SHARE) };
        let wrong = story.check(points, seed, folder.path())?;
        println!("save-restore: {}: {points} points, {wrong} of them wrong", story.name);
        failed += wrong;
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} points gave another digest; seed {seed}").into()) }
}

/// The other process: goes on with a story of which `done` events have happened, and prints the digest.
fn go_on(story: &str, done: usize, file: &Path) -> Result<(), Failure> {
    let story = STORIES.iter().find(|known| known.name == story).ok_or("no such story")?;
    let mut machine = Machine::load(&fs::read(file)?, &mut |_: &DriveWanted| Some(disk()))?;
    for (at, event) in story.events.iter().skip(done) {
        to(&mut machine, *at)?;
        machine = event.happen(machine)?;
    }
    to(&mut machine, story.end)?;
    println!("{}", machine.digest());
    Ok(())
}

impl Story {
    fn start(&self) -> Result<Machine, Failure> {
        let bytes = fs::read(shell::firmware_folder().join(self.firmware))?;
        let drive = Drive {
            at: Slot::Ide { channel: 0, unit: 0 },
            kind: DriveKind::HardDisk,
            source: disk(),
            name: "disk".into(),
            read_only: false,
            latency: 200_000,
        };
        let config = Config {
            machine: self.machine.into(),
            emulator: self.emulator.into(),
            firmware: Firmware { name: self.firmware.into(), bytes: bytes.into() },
            drives: if self.disk { vec![drive] } else { Vec::new() },
            ..Config::default()
        };
        Ok(Machine::new(&config)?)
    }

    /// Saves at random points, has each loaded and continued elsewhere, and counts the wrong ones.
    fn check(&self, points: usize, seed: u64, folder: &Path) -> Result<usize, Failure> {
        let mut state = seed;
        let mut at: Vec<u64> = (0..points).map(|_| next(&mut state) % self.end).collect();
        at.sort_unstable();
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut machine = self.start()?;
        let mut done = 0;
        let mut digests = Vec::new();
        for points in at.chunks(jobs) {
            let mut children = Vec::new();
            for (number, point) in points.iter().enumerate() {
                while let Some((_, event)) = self.events.get(done).filter(|(when, _)| when <= point) {
                    to(&mut machine, self.events[done].0)?;
                    machine = event.happen(machine)?;
                    done += 1;
                }
                to(&mut machine, *point)?;
                let file = folder.join(number.to_string());
                fs::write(&file, machine.save()?)?;
                children.push((*point, self.elsewhere(done, &file)?));
            }
            for (point, child) in children {
                let output = child.wait_with_output()?;
                digests.push((point, String::from_utf8_lossy(&output.stdout).trim().to_owned()));
            }
        }
        for (when, event) in self.events.iter().skip(done) {
            to(&mut machine, *when)?;
            machine = event.happen(machine)?;
        }
        to(&mut machine, self.end)?;
        let expect = machine.digest();
        let wrong: Vec<_> = digests.iter().filter(|(_, digest)| *digest != expect).collect();
        for (point, digest) in &wrong {
            println!("save-restore: {}: saved at {point}: `{digest}`, expected {expect}", self.name);
        }
        Ok(wrong.len())
    }

    /// Starts the process that loads `file` and goes on.
    fn elsewhere(&self, done: usize, file: &PathBuf) -> Result<Child, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["save-restore", "--continue", self.name, &done.to_string()]).arg(file);
        Ok(command.stdout(Stdio::piped()).spawn()?)
    }
}

impl Event {
    fn happen(&self, mut machine: Machine) -> Result<Machine, Failure> {
        match self {
            Event::Reset(path) => machine.reset(*path)?,
            Event::Press(keys) => machine.press(keys)?,
            Event::Migrate(emulator) => {
                let to = Destination { emulator: Some((*emulator).into()), ..Destination::default() };
                return Ok(machine.migrate(&to)?.0);
            }
        }
        Ok(machine)
    }
}

/// Runs to a count of instructions, or to where the machine stops before it.
fn to(machine: &mut Machine, instructions: u64) -> Result<(), Failure> {
    machine.run(&[], Limits { instructions: Some(instructions), ..Limits::default() })?;
    Ok(())
}

/// A disk that boots: its sector reads another one for ever.
fn disk() -> Arc<dyn BlockSource> {
    let mut image = vec![0; 1 << 20];
    // xor ax,ax; mov es,ax; again: mov ax,208h; mov bx,7E00h; mov cx,2; mov dx,80h; int 13h; jmp again
    let code = [
        0x31, 0xc0, 0x8e, 0xc0, 0xb8, 0x08, 0x02, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd,
        0x13, 0xeb, 0xf0,
    ];
    image[..code.len()].copy_from_slice(&code);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    Arc::new(MemorySource(image.into()))
}

/// Xorshift.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
