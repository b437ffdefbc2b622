//! `warmboot run`: scenario files, in parallel, reported in a stable order.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use clap::Args;
use warmboot::scenario::{self, Case, CaseReport, Options, Status, Watcher, problem::InputError, report};

use super::{
    Outcome, arguments, interrupt,
    output::{self, Sink},
    progress::Progress,
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenario files, or folders to search for *.toml
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Cases to run at the same time [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Run only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results as JSON to this file, or with `-` to standard output
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Write the results as JUnit XML to this file, or with `-` to standard output
    #[arg(long, value_name = "FILE")]
    junit: Option<String>,
    /// Look for firmware here first
    #[arg(long, value_name = "FOLDER")]
    firmware_dir: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let places = arguments::places(arguments.firmware_dir.as_ref())?;
    let json = arguments.json.as_deref().map(Sink::open).transpose()?;
    let junit = arguments.junit.as_deref().map(Sink::open).transpose()?;
    if let (Some(json), Some(junit)) = (&json, &junit)
        && json.is_same(junit)
    {
        return Err(InputError::new("--json and --junit name the same place"));
    }
    let mut cases = cases(&arguments.paths)?;
    if let Some(filter) = &arguments.filter {
        let before = cases.len();
        cases.retain(|case| case.name.contains(filter.as_str()));
        if cases.is_empty() {
            return Err(InputError::new(format!("--filter `{filter}` matches none of {before} cases")));
        }
    }

    interrupt::listen();
    let data_is_elsewhere = [&json, &junit].into_iter().flatten().any(Sink::is_standard);
    let screen = Screen {
        progress: Progress::new(u64::try_from(cases.len()).ok(), true),
        instructions: AtomicU64::new(0),
        waiting: Mutex::default(),
        to_messages: data_is_elsewhere,
        closed: AtomicBool::new(false),
        failed: Mutex::default(),
    };
    let options = Options { places, ..Options::default() };
    let reports = scenario::run(&cases, usize::from(arguments.jobs.unwrap_or(0)), &options, &screen)?;
    screen.progress.finish();
    screen.say(&report::summary(&reports));
    if let Some(sink) = json {
        sink.finish(report::json(&reports).as_bytes())?;
    }
    if let Some(sink) = junit {
        sink.finish(report::junit(&reports).as_bytes())?;
    }
    if let Some(error) = screen.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let any = |status| reports.iter().any(|report| report.status == status);
    Ok(if any(Status::Error) {
        Outcome::BadInput
    } else if any(Status::Failed) || any(Status::Interrupted) {
        Outcome::Unexpected
    } else {
        Outcome::Expected
    })
}

/// Reads every file; all that is wrong with any of them is said before anything runs.
fn cases(paths: &[PathBuf]) -> Result<Vec<Case>, InputError> {
    let mut cases = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    for path in scenario::scenario_files(paths)? {
        let name = path.display().to_string();
        let text =
            fs::read(&path).map_err(|error| InputError::new(format!("cannot read `{name}`: {error}")))?;
        match String::from_utf8(text) {
            Ok(text) => match scenario::load(&name, &text) {
                Ok(scenario) => cases.extend(scenario.cases),
                Err(problem) => problems.push(problem.to_string()),
            },
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                problems.push(format!("error: `{name}` is not UTF-8 text (at offset {at})"));
            }
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(InputError::new(problems.join("\n\n"))) }
}

/// Shows results in the order of the cases, as soon as all before them are there.
struct Screen {
    progress: Progress,
    instructions: AtomicU64,
    /// The next case to show, and the lines of later ones.
    waiting: Mutex<(usize, BTreeMap<usize, String>)>,
    /// Lines go to standard error because standard output carries a report.
    to_messages: bool,
    closed: AtomicBool,
    /// Why standard output could not be written, when it could not.
    failed: Mutex<Option<InputError>>,
}

impl Screen {
    fn say(&self, line: &str) {
        self.progress.aside(|| {
            if self.to_messages {
                output::complain(line);
                return;
            }
            let printed = output::print(format!("{line}\n").as_bytes());
            if !matches!(printed, Ok(true)) {
                self.closed.store(true, Ordering::Relaxed);
            }
            if let Err(error) = printed {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
    }
}

impl Watcher for Screen {
    fn go_on(&self, instructions: u64) -> bool {
        let sum = self.instructions.fetch_add(instructions, Ordering::Relaxed).wrapping_add(instructions);
        self.progress.instructions(sum);
        !interrupt::asked() && !self.closed.load(Ordering::Relaxed)
    }

    fn finished(&self, index: usize, report: &CaseReport) {
        self.progress.step();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, lines) = &mut *waiting;
        lines.insert(index, report::line(report));
        while let Some(line) = lines.remove(next) {
            *next += 1;
            self.say(&line);
        }
    }
}
