//! A whole folder of scenarios, as a process with one job and with two in turn.

use std::{process::Stdio, time::Duration};

use super::{Times, Verdict, processor_time_of};
use crate::{Failure, shell};

/// The folders, the first that is there.
const FOLDERS: &[&str] = &["scenarios/reset-matrix", "scenarios"];
const TIME_BAR: Duration = Duration::from_secs(60);
const SPEED_UP_BAR: f64 = 1.8;

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    shell::build("release")?;
    let folder = FOLDERS.iter().find(|folder| shell::root().join(folder).is_dir());
    let folder = folder.ok_or("no folder of scenarios")?;
    let (mut one, mut two) = (Times::default(), Times::default());
    for _ in 0..rounds {
        for (jobs, times) in [(1, &mut one), (2, &mut two)] {
            let (result, spent) = processor_time_of(|| times.take(|| scenarios(folder, jobs)));
            result?;
            println!("  {jobs} jobs: {spent} of processor time");
        }
    }
    one.show(&format!("{folder} with 1 job"));
    two.show(&format!("{folder} with 2 jobs"));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors < 2 {
        println!("  one processor: two jobs cannot be faster");
    }
    let ratio = |part| one.quantile(part).as_secs_f64() / two.quantile(part).as_secs_f64();
    println!("  speed-up with 2 jobs: {:.2} by medians, {:.2} by minima", ratio(500), ratio(0));
    Ok(vec![
        Verdict::at_most(format!("{folder}, 2 jobs, median"), two.quantile(500), TIME_BAR),
        Verdict {
            what: format!("{folder}, speed-up with 2 jobs, by medians"),
            found: format!("{:.2}", ratio(500)),
            bar: format!("at least {SPEED_UP_BAR}"),
            met: ratio(500) >= SPEED_UP_BAR,
        },
    ])
}

/// Runs them all once; fails when one does not pass.
fn scenarios(folder: &str, jobs: usize) -> Result<(), Failure> {
    let mut command = std::process::Command::new(shell::warmboot("release")?);
    command.current_dir(shell::root()).args(["run", folder, "--jobs", &jobs.to_string()]);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Err(format!("`{}` failed: {}\n{}", shell::shown(&command), output.status, text.trim_end()).into())
}
