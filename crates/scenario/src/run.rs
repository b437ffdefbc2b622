//! Running cases: in parallel, with results in the order of the files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use warmboot_inspect::symbols::Symbols;
use warmboot_machine::Machine;

use crate::{
    accepted::{self, Accepted, Recorded},
    answers, files,
    load::{Case, Header, PlacedStep},
    problem::InputError,
    spec::Places,
    steps::{DISKS, POWER_ON, Scene, Stop},
    symbols,
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
    /// What it has in common with the file's other cases.
    pub header: Arc<Header>,
    /// What the matrix chose: axis and value.
    pub combination: Vec<(String, String)>,
    /// The expectation its cell of the matrix names.
    pub outcome: Option<String>,
    /// The machine in words: type, emulator, firmware.
    pub machine: String,
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
    /// Who answers the addresses of the BIOS at power-on.
    pub map: Vec<answers::Span>,
    /// The steps that were taken, the last one perhaps in vain.
    pub steps: Vec<StepReport>,
    /// For a case that did not pass: at which step, what was expected, what was there.
    pub message: Option<String>,
    /// The line that message is about.
    pub line: Option<usize>,
    /// The command that runs this case alone.
    pub again: String,
    /// What `accept` names of it.
    pub recorded: accepted::Values,
    /// The text on the screen of a case that did not pass, when its machine has a display adapter.
    pub screen: Option<String>,
    /// Where its machine was saved, when that was asked for and it failed.
    pub kept: Option<PathBuf>,
}

/// A step that was taken.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Number in the file, from 1, and the line it begins at.
    pub number: usize,
    /// The line it begins at.
    pub line: usize,
    /// As a person would say it.
    pub text: String,
    /// Instructions since power-on, after it.
    pub instructions: u64,
    /// Virtual nanoseconds since power-on, after it.
    pub virtual_time: u64,
    /// Whether it came out as written.
    pub status: Status,
    /// How it ended, for a step that runs the machine; what was expected and found, for one that failed.
    pub ended: String,
    /// What it has to show: a title and text.
    pub shown: Vec<(String, String)>,
    /// What was printed to the debug port during it.
    pub debug: String,
    /// What was sent by COM1 during it.
    pub serial: String,
    /// What was printed by LPT1 during it.
    pub parallel: String,
    /// Who answers the addresses of the BIOS after it.
    pub map: Vec<answers::Span>,
}

/// How cases are run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where firmware is looked for; each case's own folder is the base of its relative paths.
    pub places: Places,
    /// Accepted results by scenario file. A case whose file is not here is not compared.
    pub accepted: BTreeMap<String, Accepted>,
    /// The machine of each case that fails is saved in this folder.
    pub keep: Option<PathBuf>,
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
    options: &Options,
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
                let report = run_case(case, options, &|instructions| watcher.go_on(instructions));
                watcher.finished(index, &report);
                report
            })
            .collect()
    }))
}

/// Runs one case on this thread. `go_on` is called from time to time with the instructions retired
/// since its last call; false stops the case.
#[must_use]
pub fn run_case(case: &Case, options: &Options, go_on: &dyn Fn(u64) -> bool) -> CaseReport {
    let start = Instant::now();
    let mut report = blank(case);
    if go_on(0) {
        let places = Places { base: case.base.clone(), ..options.places.clone() };
        let machine = case.machine.config(&places).and_then(|config| Ok(Machine::new(&config)?));
        let symbols = symbols::of(&case.machine, &places);
        match machine.and_then(|machine| Ok((machine, symbols?))) {
            Ok((mut machine, symbols)) => {
                take_steps(case, &mut machine, &symbols, &places, go_on, &mut report);
                conclude(case, &mut machine, options, &mut report);
            }
            Err(error) => {
                let (line, column) = case.culprit(&places);
                report.status = Status::Error;
                report.line = Some(line);
                report.message = Some(format!("{}:{line}:{column}: {error}", case.header.file));
            }
        }
    } else {
        report.status = Status::Interrupted;
    }
    report.wall = start.elapsed();
    report
}

/// A report before anything has happened.
fn blank(case: &Case) -> CaseReport {
    let spec = &case.machine;
    CaseReport {
        name: case.name.clone(),
        header: case.header.clone(),
        combination: case.combination.clone(),
        outcome: case.outcome.clone(),
        machine: format!("{} on {}, {}", spec.machine, spec.emulator, spec.firmware),
        status: Status::Passed,
        digest: String::new(),
        state_digest: String::new(),
        instructions: 0,
        virtual_time: 0,
        ended_by: String::new(),
        wall: Duration::ZERO,
        map: Vec::new(),
        steps: Vec::new(),
        message: None,
        line: None,
        again: format!("warmboot run {} --filter {}", quoted(&case.header.file), quoted(&case.name)),
        recorded: accepted::Values::new(),
        screen: None,
        kept: None,
    }
}

fn take_steps(
    case: &Case,
    machine: &mut Machine,
    symbols: &Symbols,
    places: &Places,
    go_on: &dyn Fn(u64) -> bool,
    report: &mut CaseReport,
) {
    let counted = std::cell::Cell::new(0);
    let count_and_go_on = |machine: &Machine| {
        let now = machine.instructions();
        go_on(now.saturating_sub(counted.replace(now)))
    };
    report.map = answers::strips(machine);
    let fresh = machine.fork();
    let mut scene = Scene {
        machine,
        finish: None,
        debug_from: 0,
        serial_from: 0,
        parallel_from: 0,
        kept: BTreeMap::from([(POWER_ON.to_owned(), fresh)]),
        symbols,
        migration: None,
        runs: 0,
        replaced: false,
        shown: Vec::new(),
        places,
        go_on: &count_and_go_on,
    };
    for placed in &case.steps {
        let stop = take_step(placed, &mut scene, report);
        // A restored machine has an earlier count.
        counted.set(counted.get().min(scene.machine.instructions()));
        let Err(stop) = stop else { continue };
        let (status, what) = match stop {
            Stop::Failed(what) => (Status::Failed, what),
            Stop::Error(what) => (Status::Error, what),
            Stop::Interrupted => (Status::Interrupted, "interrupted".to_owned()),
        };
        report.status = status;
        report.line = Some(placed.line);
        report.message = Some(format!(
            "{}:{}: step {}, {}\n{what}\nat instruction {}, {} ns\nagain: {}",
            case.header.file,
            placed.line,
            placed.number,
            placed.text,
            scene.machine.instructions(),
            scene.machine.virtual_time(),
            report.again
        ));
        break;
    }
    report.ended_by = scene.finish.as_ref().map_or(String::new(), |finish| finish.ended_by.clone());
}

/// Takes one step and writes down what came of it.
fn take_step(placed: &PlacedStep, scene: &mut Scene<'_>, report: &mut CaseReport) -> Result<(), Stop> {
    let machine = &scene.machine;
    let [debug_before, serial_before, parallel_before] =
        [machine.debug_log(), machine.serial_log(), machine.parallel_log()].map(<[u8]>::to_vec);
    if placed.turns_the_page {
        scene.turn_the_page();
    }
    let runs_before = scene.runs;
    let result = placed.step.take(scene);
    if placed.turns_the_page && scene.replaced {
        scene.turn_the_page();
    }
    scene.replaced = false;
    let (status, ended) = match &result {
        Ok(()) if scene.runs != runs_before => {
            (Status::Passed, scene.finish.as_ref().map_or(String::new(), |finish| finish.ended_by.clone()))
        }
        Ok(()) => (Status::Passed, String::new()),
        Err(Stop::Failed(what)) => (Status::Failed, what.clone()),
        Err(Stop::Error(what)) => (Status::Error, what.clone()),
        Err(Stop::Interrupted) => (Status::Interrupted, "interrupted".to_owned()),
    };
    report.steps.push(StepReport {
        number: placed.number,
        line: placed.line,
        text: placed.text.clone(),
        instructions: scene.machine.instructions(),
        virtual_time: scene.machine.virtual_time(),
        status,
        ended,
        shown: std::mem::take(&mut scene.shown),
        debug: added(&debug_before, scene.machine.debug_log()),
        serial: added(&serial_before, scene.machine.serial_log()),
        parallel: added(&parallel_before, scene.machine.parallel_log()),
        map: answers::strips(scene.machine),
    });
    result
}

/// What a log has more than before; nothing when it became another machine's.
fn added(before: &[u8], after: &[u8]) -> String {
    let more = after.strip_prefix(before).unwrap_or_default();
    String::from_utf8_lossy(more).into_owned()
}

/// Compares with accepted results, saves the machine of a failure, and writes down the end.
fn conclude(case: &Case, machine: &mut Machine, options: &Options, report: &mut CaseReport) {
    report.digest = machine.digest();
    report.state_digest = machine.state_digest();
    report.instructions = machine.instructions();
    report.virtual_time = machine.virtual_time();
    report.recorded = case.header.accept.iter().map(|what| recorded(*what, machine, report)).collect();
    if report.status == Status::Passed
        && !case.header.accept.is_empty()
        && let Some(accepted) = options.accepted.get(&case.header.file)
        && let Some(difference) = accepted.difference(case.key(), &report.recorded)
    {
        report.status = Status::Failed;
        report.message = Some(format!(
            "{}: not as accepted\n{difference}\nagain: {}\naccept: {} --accept",
            case.header.file, report.again, report.again
        ));
    }
    if report.status != Status::Passed {
        report.screen = machine.screen_text();
    }
    if let Some(folder) = options.keep.as_ref().filter(|_| report.status == Status::Failed) {
        match keep(machine, folder, &case.name) {
            Ok(path) => report.kept = Some(path),
            Err(InputError(why)) => {
                report.status = Status::Error;
                report.message = Some(format!("{}\n{why}", report.message.clone().unwrap_or_default()));
            }
        }
    }
}

/// Saves `machine` in `folder` under the case's name.
fn keep(machine: &mut Machine, folder: &Path, name: &str) -> Result<PathBuf, InputError> {
    let bytes = machine.save().map_err(InputError::said)?;
    let path = folder.join(format!("{}.snapshot", files::name(name)));
    files::write(&path, &bytes)?;
    Ok(path)
}

/// The lines of what is recorded of a case.
fn recorded(what: Recorded, machine: &Machine, report: &CaseReport) -> (String, Vec<String>) {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    let every = |text: fn(&StepReport) -> &str| report.steps.iter().map(text).collect::<String>();
    let values = match what {
        Recorded::Debug => lines(every(|step| &step.debug)),
        Recorded::Serial => lines(every(|step| &step.serial)),
        Recorded::Diff => {
            let shown = report.steps.iter().flat_map(|step| &step.shown);
            shown
                .flat_map(|(title, text)| std::iter::once(title.clone()).chain(lines(text.clone())))
                .collect()
        }
        Recorded::EndedBy => vec![report.ended_by.clone()],
        Recorded::Disks => {
            let mut byte = [0];
            machine.read_memory(DISKS, &mut byte);
            vec![byte.map(|byte| byte.to_string()).concat()]
        }
        Recorded::StateDigest => vec![report.state_digest.clone()],
    };
    (what.name().to_owned(), values)
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
