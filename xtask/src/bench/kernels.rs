//! How fast programs that only compute run here, in QEMU's TCG and in Bochs: whole processes in turn, in
//! one run, on the same firmware image.
//!
//! What starting costs is left out: each program runs with few and with many rounds, and the difference
//! counts, between the shortest of all times. Instructions are counted here, and are the same elsewhere:
//! so are the checksums, which are compared.

use std::{
    fs, iter,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use warmboot_test_roms::kernels::{self, Bits, DONE};

use super::{
    Verdict,
    process::{Sample, timed},
};
use crate::{Failure, shell};

/// Programs against Bochs, with how many million instructions a measurement has.
const AGAINST_BOCHS: [(&str, u64); 7] =
    [("sieve", 80), ("crc", 80), ("sort", 80), ("recursion", 80), ("copy", 80), ("divide", 60), ("sse", 20)];
/// Programs with code and data in one page; what some emulators make of that takes long.
const CLOSE: [(&str, u64); 2] = [("neighbours", 16), ("rewriting", 1)];

/// What is asked for against Bochs: in the geometric mean, and at least.
const MEAN: f64 = 3.0;
const LEAST: f64 = 2.0;
/// Million instructions a second with the stack in the code's page.
const NEIGHBOURS: f64 = 100.0;

/// A program that runs firmware, if it is installed.
struct Emulator {
    name: &'static str,
    installed: bool,
    command: fn(&Path, &Path) -> Result<Command, Failure>,
}

/// Who is measured, ours first.
fn emulators() -> [Emulator; 4] {
    [
        Emulator { name: "warmboot", installed: true, command: |image, _| warmboot(image) },
        Emulator {
            name: "QEMU TCG",
            installed: shell::is_installed(QEMU),
            command: |image, _| qemu(image, &[]),
        },
        Emulator {
            name: "with -icount",
            installed: shell::is_installed(QEMU),
            command: |image, _| qemu(image, &["-icount", "shift=0,sleep=off"]),
        },
        Emulator {
            name: "Bochs",
            installed: shell::is_installed("bochs") && shell::is_installed("script"),
            command: bochs,
        },
    ]
}

const QEMU: &str = "qemu-system-x86_64";

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    shell::build("release")?;
    let folder = tempfile::tempdir()?;
    let emulators = emulators();
    for missing in emulators.iter().filter(|emulator| !emulator.installed) {
        println!("  {} is not installed: left out", missing.name);
    }
    println!("  million instructions a second, {rounds} rounds in turn");
    print!("  {:14}", "");
    emulators.iter().for_each(|emulator| print!("{:>13}", emulator.name));
    println!("   times Bochs");
    let (mut ratios, mut verdicts) = (Vec::new(), Vec::new());
    for (name, millions) in AGAINST_BOCHS.into_iter().chain(CLOSE) {
        for bits in [Bits::Sixteen, Bits::ThirtyTwo, Bits::SixtyFour] {
            let Some(kernel) = Kernel::new(folder.path(), name, bits, millions)? else { continue };
            // Where no ratio is asked for, ours is measured more often: it is soon done.
            let alone = if CLOSE.iter().any(|(other, _)| *other == name) { 3 } else { 1 };
            let speeds = kernel.measure(&emulators, rounds, alone)?;
            let what = format!("{name}, {} bits", bits.number());
            let ours = speeds.first().copied().flatten().unwrap_or(0.0);
            let ratio = speeds.last().copied().flatten().map(|theirs| ours / theirs);
            print!("  {what:18}");
            for speed in &speeds {
                print!("{:>12} ", speed.map_or_else(|| "-".into(), |speed| format!("{speed:.1}")));
            }
            println!("{:>10}", ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
            if name == "neighbours" {
                verdicts.push(at_least(format!("{what}, million instructions a second"), ours, NEIGHBOURS));
            } else if let Some(ratio) = ratio
                && AGAINST_BOCHS.iter().any(|(other, _)| *other == name)
            {
                ratios.push((what, ratio));
            }
        }
    }
    verdicts.extend(compared(&ratios));
    Ok(verdicts)
}

/// The bars against Bochs.
fn compared(ratios: &[(String, f64)]) -> Vec<Verdict> {
    let Some((slowest, least)) = ratios.iter().min_by(|one, other| one.1.total_cmp(&other.1)) else {
        return Vec::new();
    };
    let logarithms: f64 = ratios.iter().map(|(_, ratio)| ratio.ln()).sum();
    let mean = (logarithms / ratios.len() as f64).exp();
    vec![
        at_least("kernels, times Bochs, geometric mean".into(), mean, MEAN),
        at_least(format!("kernels, times Bochs, slowest ({slowest})"), *least, LEAST),
    ]
}

fn at_least(what: String, found: f64, bar: f64) -> Verdict {
    Verdict { what, found: format!("{found:.2}"), bar: format!("at least {bar}"), met: found >= bar }
}

/// One program as two images: with few rounds and with many.
struct Kernel {
    few: PathBuf,
    many: PathBuf,
    folder: PathBuf,
    /// Instructions between them.
    instructions: u64,
}

impl Kernel {
    fn new(folder: &Path, name: &str, bits: Bits, millions: u64) -> Result<Option<Kernel>, Failure> {
        let write = |rounds: u32, path: &Path| -> Result<bool, Failure> {
            let image = kernels::image(name, bits, rounds)?;
            Ok(image.map(|bytes| fs::write(path, bytes)).transpose()?.is_some())
        };
        let (few, many) = (folder.join("few.bin"), folder.join("many.bin"));
        if !(write(1, &few)? && write(2, &many)?) {
            return Ok(None);
        }
        let one = counted(&many)?.saturating_sub(counted(&few)?).max(1);
        let rounds = u32::try_from((millions * 1_000_000).div_ceil(one)).unwrap_or(u32::MAX).max(16);
        write(rounds / 16, &few)?;
        write(rounds / 16 + rounds, &many)?;
        let instructions = one * u64::from(rounds);
        Ok(Some(Kernel { few, many, folder: folder.into(), instructions }))
    }

    /// Million instructions a second of each emulator; each round of ours is measured `alone` times.
    fn measure(
        &self,
        emulators: &[Emulator],
        rounds: usize,
        alone: usize,
    ) -> Result<Vec<Option<f64>>, Failure> {
        let mut shortest = vec![[f64::INFINITY; 2]; emulators.len()];
        for _ in 0..rounds {
            let mut said: [Option<String>; 2] = [None, None];
            let each = iter::once(alone).chain(iter::repeat(1));
            let installed =
                emulators.iter().zip(&mut shortest).zip(each).filter(|((one, _), _)| one.installed);
            for ((emulator, times), times_each) in installed {
                for ((image, time), said) in [&self.few, &self.many].into_iter().zip(times).zip(&mut said) {
                    let (sample, checksum) = self.once(emulator, image)?;
                    *time = time.min(sample.seconds);
                    for _ in 1..times_each {
                        *time = time.min(self.once(emulator, image)?.0.seconds);
                    }
                    let expected = said.get_or_insert_with(|| checksum.clone());
                    if *expected != checksum {
                        let name = emulator.name;
                        return Err(format!("{name} says checksum {checksum}, warmboot {expected}").into());
                    }
                }
            }
        }
        let speed = |[few, many]: [f64; 2]| self.instructions as f64 / 1e6 / (many - few);
        Ok(shortest.into_iter().map(|times| times[1].is_finite().then(|| speed(times))).collect())
    }

    fn once(&self, emulator: &Emulator, image: &Path) -> Result<(Sample, String), Failure> {
        let (sample, output) = timed(&mut (emulator.command)(image, &self.folder)?, Some(DONE))?;
        let line = output.lines().find(|line| line.contains(DONE)).unwrap_or_default();
        let before = line.split(DONE).next().unwrap_or_default();
        let checksum = before.split_whitespace().next_back().unwrap_or_default();
        Ok((sample, checksum.into()))
    }
}

/// Instructions from power-on to the end of an image's work.
fn counted(image: &Path) -> Result<u64, Failure> {
    let mut command = Command::new(shell::warmboot("release")?);
    command.args(["boot", "--json", "--until", "halt", "--firmware"]).arg(image);
    let report: Value = serde_json::from_str(&shell::read(&mut command)?)?;
    Ok(report["instructions"].as_u64().ok_or("no `instructions` in the report")?)
}

fn warmboot(image: &Path) -> Result<Command, Failure> {
    let mut command = Command::new(shell::warmboot("release")?);
    command.args(["boot", "--debugcon", "-", "--until", "halt", "--firmware"]).arg(image);
    Ok(command)
}

fn qemu(image: &Path, more: &[&str]) -> Result<Command, Failure> {
    let mut command = Command::new(QEMU);
    command.args(["-machine", "pc-i440fx-7.2,accel=tcg", "-m", "128", "-nodefaults", "-vga", "none"]);
    command.args(["-display", "none", "-no-user-config", "-chardev", "stdio,id=log"]);
    command.args(["-device", "isa-debugcon,iobase=0xe9,chardev=log"]).args(more).arg("-bios").arg(image);
    Ok(command)
}

/// Bochs draws on a terminal only, which `script` gives it; Debian's has the debugger built in, which
/// wants to be told to go on.
fn bochs(image: &Path, folder: &Path) -> Result<Command, Failure> {
    let (settings, orders) = (folder.join("bochsrc"), folder.join("orders"));
    let address = 0x1_0000_0000 - fs::metadata(image)?.len();
    let lines = [
        "plugin_ctrl: biosdev=0, speaker=0, parallel=0, serial=0, iodebug=0, gameport=0".into(),
        "display_library: term".into(),
        format!("romimage: file={}, address={address:#x}", image.display()),
        "megs: 128".into(),
        "cpu: count=1, ips=50000000".into(),
        "clock: sync=none, time0=0".into(),
        "port_e9_hack: enabled=1".into(),
        "boot: floppy".into(),
        "log: /dev/null".into(),
        "panic: action=fatal".into(),
        "error: action=ignore".into(),
        "info: action=ignore".into(),
    ];
    fs::write(&settings, lines.join("\n"))?;
    fs::write(&orders, "c\n")?;
    let mut command = Command::new("script");
    let order = format!("bochs -q -f {} -rc {}", settings.display(), orders.display());
    command.args(["-qfc", &order, "/dev/null"]);
    Ok(command)
}
