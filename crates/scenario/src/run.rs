//! Running cases: in parallel, with results in the order of the files.

use std::time::{Duration, Instant};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use warmboot_machine::Machine;

use crate::{
    load::Case,
    problem::InputError,
    spec::Places,
    steps::{Scene, Stop},
};

/// What became of a case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// All as expected.
    Passed,
    /// An expectation was not met, or a limit was.
    Failed,
    /// It could not be run: a file is missing, a machine cannot be built.
    Error,
    /// The user stopped the run before or during it.
    Interrupted,
}

impl Status {
    /// As reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Error => "error",
            Status::Interrupted => "interrupted",
        }
    }
}

/// The result of one case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The case's name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What became of it.
    pub status: Status,
    /// Of the machine at the end; empty when there was none.
    pub digest: String,
    /// The same without absolute time and count.
    pub state_digest: String,
    /// Instructions since power-on.
    pub instructions: u64,
    /// Virtual nanoseconds since power-on.
    pub virtual_time: u64,
    /// How the last run ended; empty when nothing ran.
    pub ended_by: String,
    /// Host time spent.
    pub wall: Duration,
    /// For a case that did not pass: at which step, what was expected, what was there.
    pub message: Option<String>,
}

/// Looks on while cases run, from several threads.
pub trait Watcher: Sync {
    /// Called from time to time with instructions retired since the last call; false stops all.
    fn go_on(&self, _instructions: u64) -> bool {
        true
    }

    /// Case number `index` is done.
    fn finished(&self, _index: usize, _report: &CaseReport) {}
}

/// Runs `cases` on `jobs` threads (0: one per processor). Reports come back in the order of `cases`,
/// and do not depend on `jobs` but for their wall time.
///
/// # Errors
/// When the threads cannot be started.
pub fn run(
    cases: &[Case],
    jobs: usize,
    places: &Places,
    watcher: &impl Watcher,
) -> Result<Vec<CaseReport>, InputError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .build()
        .map_err(|error| InputError(format!("cannot start {jobs} threads: {error}")))?;
    Ok(pool.install(|| {
        cases
            .par_iter()
            .enumerate()
            // One case at a time from the front, so that reports can be shown in order early.
            .with_max_len(1)
            .map(|(index, case)| {
                let report = run_case(case, places, &|instructions| watcher.go_on(instructions));
                watcher.finished(index, &report);
                report
            })
            .collect()
    }))
}

/// Runs one case on this thread. `go_on` is called from time to time with the instructions retired
/// since its last call; false stops the case.
#[must_use]
pub fn run_case(case: &Case, places: &Places, go_on: &dyn Fn(u64) -> bool) -> CaseReport {
    let start = Instant::now();
    let mut report = CaseReport {
        name: case.name.clone(),
        file: case.file.clone(),
        status: Status::Passed,
        digest: String::new(),
        state_digest: String::new(),
        instructions: 0,
        virtual_time: 0,
        ended_by: String::new(),
        wall: Duration::ZERO,
        message: None,
    };
    if go_on(0) {
        let places = Places { firmware_folders: places.firmware_folders.clone(), base: case.base.clone() };
        let machine = case.machine.config(&places).and_then(|config| Ok(Machine::new(&config)?));
        match machine {
            Ok(mut machine) => take_steps(case, &mut machine, go_on, &mut report),
            Err(error) => {
                report.status = Status::Error;
                report.message = Some(format!("{}: {error}", case.file));
            }
        }
    } else {
        report.status = Status::Interrupted;
    }
    report.wall = start.elapsed();
    report
}

fn take_steps(case: &Case, machine: &mut Machine, go_on: &dyn Fn(u64) -> bool, report: &mut CaseReport) {
    let counted = std::cell::Cell::new(0);
    let count_and_go_on = |machine: &Machine| {
        let now = machine.instructions();
        go_on(now.saturating_sub(counted.replace(now)))
    };
    let mut scene = Scene { machine, finish: None, debug_from: 0, serial_from: 0, go_on: &count_and_go_on };
    for placed in &case.steps {
        let stop = match placed.step.take(&mut scene) {
            Ok(()) => continue,
            Err(stop) => stop,
        };
        let (status, what) = match stop {
            Stop::Failed(what) => (Status::Failed, what),
            Stop::Error(what) => (Status::Error, what),
            Stop::Interrupted => (Status::Interrupted, "interrupted".to_owned()),
        };
        report.status = status;
        report.message = Some(format!(
            "{}:{}: step {}, {}\n{what}\nat instruction {}, {} ns\nagain: warmboot run {} --filter {}",
            case.file,
            placed.line,
            placed.number,
            placed.text,
            scene.machine.instructions(),
            scene.machine.virtual_time(),
            quoted(&case.file),
            quoted(&case.name)
        ));
        break;
    }
    report.ended_by = scene.finish.as_ref().map_or(String::new(), |finish| finish.ended_by.clone());
    report.digest = scene.machine.digest();
    report.state_digest = scene.machine.state_digest();
    report.instructions = scene.machine.instructions();
    report.virtual_time = scene.machine.virtual_time();
}

/// `text` as one word of a shell's command line.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
