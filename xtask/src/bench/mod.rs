//! Speed and memory, measured against bars: one file per section.
//!
//! Each section prints what it found, the bar, and whether the bar was met. Other programs on the
//! same processors make times worse and never better, so minima are printed beside medians and 99th
//! percentiles; bars are for medians and percentiles all the same. Where Linux says that it gave the
//! processor to somebody else during a sample, that sample is left out, and counted.

mod forks;
mod kernels;
mod matrix;
mod post;
pub(crate) mod process;
mod programs;
mod snapshots;

use std::time::{Duration, Instant};

use warmboot_machine::{Condition, Config, Drive, Ended, Firmware, Limits, Machine};

use crate::{Failure, firmware, shell};

/// A group of measurements.
struct Section {
    name: &'static str,
    about: &'static str,
    /// Rounds when none are asked for.
    rounds: usize,
    run: fn(usize) -> Result<Vec<Verdict>, Failure>,
}

const SECTIONS: &[Section] = &[
    Section {
        name: "post",
        about: "start to \"No bootable device\", beside QEMU TCG",
        rounds: 11,
        run: post::run,
    },
    Section {
        name: "kernels",
        about: "programs that only compute, beside QEMU TCG and Bochs",
        rounds: 3,
        run: kernels::run,
    },
    Section {
        name: "programs",
        about: "Linux and OVMF to a milestone, beside QEMU TCG, plain and counting",
        rounds: 1,
        run: programs::run,
    },
    Section { name: "forks", about: "fork, run, return; 10,000 live forks", rounds: 2_000, run: forks::run },
    Section { name: "snapshots", about: "save and load a file", rounds: 101, run: snapshots::run },
    Section { name: "matrix", about: "a folder of scenarios with 1 and 2 jobs", rounds: 3, run: matrix::run },
];

/// One bar: what was measured, what is asked for, and whether it was met.
struct Verdict {
    what: String,
    found: String,
    bar: String,
    met: bool,
}

impl Verdict {
    /// At most so much time.
    fn at_most(what: impl Into<String>, found: Duration, bar: Duration) -> Verdict {
        let (found_text, bar_text) = (shown(found), format!("at most {}", shown(bar)));
        Verdict { what: what.into(), found: found_text, bar: bar_text, met: found <= bar }
    }
}

/// The task: `[SECTION…] [ROUNDS]`.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut rounds = None;
    let mut sections: Vec<&Section> = Vec::new();
    for argument in arguments {
        if let Some(section) = SECTIONS.iter().find(|section| section.name == argument) {
            sections.push(section);
        } else if let Ok(count @ 1..) = argument.parse::<usize>() {
            rounds = Some(count);
        } else {
            let lines = SECTIONS.iter().map(|section| format!("\n  {:10} {}", section.name, section.about));
            let known: String = lines.collect();
            return Err(format!("`{argument}` is neither a number of rounds nor one of{known}").into());
        }
    }
    if sections.is_empty() {
        sections.extend(SECTIONS);
    }
    firmware::ensure(&shell::firmware_folder(), &firmware::SEABIOS)?;
    let mut verdicts = Vec::new();
    for section in sections {
        println!("== {}: {}", section.name, section.about);
        verdicts.extend((section.run)(rounds.unwrap_or(section.rounds))?);
        println!();
    }
    for Verdict { what, found, bar, met } in &verdicts {
        println!("{} {what}: {found} (bar: {bar})", if *met { "met   " } else { "MISSED" });
    }
    if verdicts.iter().all(|verdict| verdict.met) { Ok(()) } else { Err("a bar was missed".into()) }
}

/// Times of the same thing, done again and again.
#[derive(Default)]
struct Times {
    samples: Vec<Duration>,
    /// Samples during which the processor was taken away.
    disturbed: usize,
}

impl Times {
    /// Does something once more.
    fn take<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        self.samples.push(start.elapsed());
        result
    }

    /// As [`Times::take`], for work that is much shorter than the system's time slices.
    fn take_short<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let before = preemptions();
        let result = self.take(work);
        if preemptions() != before {
            self.samples.pop();
            self.disturbed += 1;
        }
        result
    }

    /// The time that `part` of 1000 are not above.
    fn quantile(&self, part: usize) -> Duration {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * part / 1000).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }

    /// Prints a line and gives verdicts on the median and the 99th percentile.
    fn judge(&self, what: &str, bar: Duration) -> [Verdict; 2] {
        self.show(what);
        [("median", 500), ("99th percentile", 990)]
            .map(|(name, part)| Verdict::at_most(format!("{what}, {name}"), self.quantile(part), bar))
    }

    fn show(&self, what: &str) {
        let [least, median, high, most] = [0, 500, 990, 1000].map(|part| shown(self.quantile(part)));
        let count = self.samples.len();
        print!("  {what}: median {median}, 99% within {high} (from {least} to {most}, {count} times");
        let disturbed = self.disturbed;
        println!("{})", if disturbed == 0 { String::new() } else { format!(", {disturbed} disturbed") });
    }
}

/// Processor time of this process, its threads and the programs it has run (Linux: proc(5)).
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may have blanks; user and system time are fields 14 to 17, in ticks of
    // 10 ms.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields = fields.split_whitespace().skip(11).take(4);
    Some(Duration::from_millis(10 * fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()))
}

/// Processor time of some work, as text.
fn processor_time_of<R>(work: impl FnOnce() -> R) -> (R, String) {
    let before = processor_time();
    let result = work();
    let spent = before.zip(processor_time()).map(|(before, after)| shown(after.saturating_sub(before)));
    (result, spent.unwrap_or_else(|| "unknown".into()))
}

/// How often this thread has lost its processor against its will (Linux: proc(5)).
fn preemptions() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// A time with three digits.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        ..1e-3 => (seconds * 1e6, "µs"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// A machine of 128 MiB that has run SeaBIOS until `until`.
fn booted(drives: Vec<Drive>, until: Condition) -> Result<Machine, Failure> {
    const IMAGE: &str = "bios-256k.bin";
    let bytes = std::fs::read(shell::firmware_folder().join(IMAGE))?;
    let firmware = Firmware { name: IMAGE.into(), bytes: bytes.into() };
    let config = Config { memory: 128 << 20, firmware, drives, serial: true, ..Config::default() };
    let mut machine = Machine::new(&config)?;
    let limits = Limits { instructions: None, time: Some(120_000_000_000), slice: None };
    match machine.run(std::slice::from_ref(&until), limits)? {
        Ended::Condition(_) => Ok(machine),
        ended => Err(format!("the machine to measure with did not boot: it ended by {ended}").into()),
    }
}

/// Runs exactly `count` instructions more.
fn run_on(machine: &mut Machine, count: u64) -> Result<(), Failure> {
    let limits = Limits { instructions: Some(machine.instructions() + count), time: None, slice: None };
    match machine.run(&[], limits)? {
        Ended::Limit => Ok(()),
        ended => Err(format!("a fork did not run {count} instructions: it ended by {ended}").into()),
    }
}
