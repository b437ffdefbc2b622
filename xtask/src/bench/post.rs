//! Start to "No bootable device", as whole processes: ours and QEMU's TCG in turn, in one run.
//!
//! QEMU's time, plain and counting instructions, is from its start to the text on its debug port (it is
//! then stopped); ours is to the end of the process, digest and all. Bochs is left out: SeaBIOS as built for
//! QEMU does not come to its end there. Memory is the peak resident set that Linux reports, looked at
//! every half millisecond. The median of all rounds counts.

use std::{process::Command, time::Duration};

use serde_json::Value;

use super::{
    Verdict,
    process::{Sample, timed},
    shown,
};
use crate::{Failure, shell};

const QEMU: &str = "qemu-system-x86_64";
const TEXT: &str = "No bootable device";
const MACHINE: &str = "pc-i440fx-7.2";

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    shell::build("release")?;
    let with_qemu = shell::is_installed(QEMU);
    if !with_qemu {
        println!("  {QEMU} is not installed: only ours is measured");
    }
    println!("  {MACHINE}, 128 MiB, no drives, SeaBIOS to \"{TEXT}\", {rounds} rounds in turn");
    let mut verdicts = Vec::new();
    for image in ["bios-256k.bin", "bios.bin"] {
        let (mut ours, mut theirs, mut counting) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(warmboot(image)?);
            if with_qemu {
                theirs.push(qemu(image, &[])?);
                counting.push(qemu(image, &["-icount", "shift=0,sleep=off"])?);
            }
        }
        println!("  {image}");
        let our_median = show("warmboot", &ours);
        let mips = our_median.instructions as f64 / 1e6 / our_median.seconds;
        println!("    {} instructions, {mips:.0} MIPS whole-process", our_median.instructions);
        if with_qemu {
            let their_median = show("QEMU TCG", &theirs);
            let counting_median = show("-icount", &counting);
            println!("    with -icount, times ours: {:.1}", counting_median.seconds / our_median.seconds);
            let time = |seconds| Duration::from_secs_f64(seconds);
            verdicts.push(Verdict {
                what: format!("{image}, time to \"{TEXT}\""),
                found: shown(time(our_median.seconds)),
                bar: format!("half of QEMU's {}", shown(time(their_median.seconds))),
                met: 2.0 * our_median.seconds <= their_median.seconds,
            });
            verdicts.push(Verdict {
                what: format!("{image}, peak memory"),
                found: format!("{} KiB", our_median.peak_kib),
                bar: format!("QEMU's {} KiB", their_median.peak_kib),
                met: our_median.peak_kib <= their_median.peak_kib,
            });
        }
    }
    Ok(verdicts)
}

/// Prints the median and the extremes, and gives the median of each.
fn show(name: &str, samples: &[Sample]) -> Sample {
    let mut seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let mut peaks: Vec<u64> = samples.iter().map(|sample| sample.peak_kib).collect();
    peaks.sort_unstable();
    let middle = samples.len() / 2;
    let at = |values: &[f64], index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let median = Sample {
        seconds: at(&seconds, middle),
        peak_kib: peaks.get(middle).copied().unwrap_or(0),
        instructions: samples.first().map_or(0, |sample| sample.instructions),
    };
    println!(
        "    {name:9} {:.3} s (from {:.3} to {:.3}), peak {:.1} MiB",
        median.seconds,
        at(&seconds, 0),
        at(&seconds, samples.len().saturating_sub(1)),
        median.peak_kib as f64 / 1024.0
    );
    median
}

fn warmboot(image: &str) -> Result<Sample, Failure> {
    let mut command = Command::new(shell::warmboot("release")?);
    command.args(["boot", "--json", "--machine", MACHINE, "--until", &format!("debug:{TEXT}"), "--firmware"]);
    command.arg(shell::firmware_folder().join(image));
    let (sample, output) = timed(&mut command, None)?;
    let report: Value = serde_json::from_str(&output)?;
    let instructions = report["instructions"].as_u64().ok_or("no `instructions` in the report")?;
    Ok(Sample { instructions, ..sample })
}

fn qemu(image: &str, more: &[&str]) -> Result<Sample, Failure> {
    let mut command = Command::new(QEMU);
    command.args(["-machine", &format!("{MACHINE},accel=tcg"), "-m", "128", "-nodefaults", "-vga", "none"]);
    command.args(["-display", "none", "-no-user-config", "-chardev", "stdio,id=log"]).args(more);
    command.args(["-device", "isa-debugcon,iobase=0x402,chardev=log", "-bios"]);
    command.arg(shell::firmware_folder().join(image));
    Ok(timed(&mut command, Some(TEXT))?.0)
}
