//! Real programs to a milestone, as whole processes: ours, QEMU's TCG, and QEMU counting instructions, in
//! turn, in one run.
//!
//! A time is from a process's start to the text on its serial port or its screen, and on QEMU's screen up to a
//! 50th of a second more. Bochs is left out: it has neither a
//! kernel option nor fw_cfg, without which most of these do not start.

use std::time::Duration;

use super::{Verdict, process::Sample};
use crate::{
    Failure, firmware,
    programs::{PROGRAMS, Program, QEMU},
    shell,
};

/// The program with a bar, and how many times QEMU's time it may take.
const BAR: (&str, f64) = ("debian-installer (i386)", 3.0);

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    shell::build("release")?;
    firmware::run(&[])?;
    crate::made::ensure()?;
    let with_qemu = shell::is_installed(QEMU);
    if !with_qemu {
        println!("  {QEMU} is not installed: only ours is measured");
    }
    println!("  the shortest of {rounds} rounds in turn, in seconds");
    println!("  {:48}{:>10}{:>10}{:>14}", "", "warmboot", "QEMU TCG", "with -icount");
    let mut verdicts = Vec::new();
    for program in PROGRAMS {
        if !program.is_here() {
            println!("  {:48}not here: `cargo xtask payloads` brings it", program.name);
            continue;
        }
        let times = measure(program, rounds, with_qemu)?;
        let [ours, plain, counting] = times.map(|seconds| match seconds.is_finite() {
            true => format!("{seconds:.2}"),
            false => "-".into(),
        });
        println!("  {:48}{ours:>10}{plain:>10}{counting:>14}", program.name);
        if program.name.starts_with(BAR.0) && times[1].is_finite() {
            let [ours, most] = [times[0], times[1] * BAR.1].map(Duration::from_secs_f64);
            verdicts.push(Verdict::at_most(program.name, ours, most));
        }
    }
    Ok(verdicts)
}

/// The shortest times of ours, QEMU's, and QEMU's counting: infinite where there is none.
fn measure(program: &Program, rounds: usize, with_qemu: bool) -> Result<[f64; 3], Failure> {
    let mut shortest = [f64::INFINITY; 3];
    for _ in 0..rounds {
        let mut take = |which: usize, (sample, _): (Sample, String)| {
            if let Some(shortest) = shortest.get_mut(which) {
                *shortest = shortest.min(sample.seconds);
            }
        };
        take(0, program.run_here()?);
        if with_qemu {
            take(1, program.run_qemu(&[])?);
        }
        if with_qemu && !program.long {
            take(2, program.run_qemu(&["-icount", "shift=0,sleep=off"])?);
        }
    }
    Ok(shortest)
}
