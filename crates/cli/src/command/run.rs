//! `warmboot run`: scenario files, in parallel, reported in a stable order.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use warmboot::scenario::{
    self, Case, CaseReport, Options, Status, Watcher, accepted::Accepted, files, problem::InputError, report,
};

use super::{
    Outcome, arguments, interrupt,
    output::{self, Sink},
    progress::Progress,
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Scenario files, or folders to search for *.toml
    #[arg(required_unless_present = "schema", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Cases to run at the same time [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Run only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the results as JSON to this file, or with `-` to standard output
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    json: Option<String>,
    /// Write the results as JUnit XML to this file, or with `-` to standard output
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    junit: Option<String>,
    /// Write the results as one self-contained HTML page to this file
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    html: Option<String>,
    /// Accept what cases came to: write NAME.accepted.json beside each file that says `accept`
    #[arg(long)]
    accept: bool,
    /// Save the machine of each failing case as a snapshot in this folder, which is made if need be
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Print failures as annotations for a review
    #[arg(long, value_name = "SERVICE")]
    annotations: Option<Annotations>,
    /// Print a JSON Schema of scenario files for editors, and run nothing
    #[arg(long, conflicts_with_all = ["paths", "accept", "keep", "html", "json", "junit", "annotations"])]
    schema: bool,
    /// Look for firmware here first
    #[arg(long, value_name = "FOLDER")]
    firmware_dir: Option<PathBuf>,
}

/// Who shows annotations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Annotations {
    /// GitHub Actions
    Github,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    if arguments.schema {
        let schema = serde_json::to_string_pretty(&scenario::schema());
        let schema = schema.map_err(|error| InputError::new(error.to_string()))?;
        return output::print(format!("{schema}\n").as_bytes()).map(|_| Outcome::Expected);
    }
    let places = arguments::places(arguments.firmware_dir.as_ref())?;
    let json = arguments.json.as_deref().map(Sink::open).transpose()?;
    let junit = arguments.junit.as_deref().map(Sink::open).transpose()?;
    let html = arguments.html.as_deref().map(Sink::open).transpose()?;
    let named = [("--json", &json), ("--junit", &junit), ("--html", &html)];
    let named: Vec<(&str, &Sink)> =
        named.iter().filter_map(|(option, sink)| Some((*option, sink.as_ref()?))).collect();
    for (index, (option, sink)) in named.iter().enumerate() {
        if let Some((other, _)) = named.iter().take(index).find(|(_, other)| other.is_same(sink)) {
            return Err(InputError::new(format!("{other} and {option} name the same place")));
        }
    }
    if let Some(folder) = &arguments.keep {
        fs::create_dir_all(folder).map_err(|error| {
            InputError::new(format!("cannot make the folder `{}`: {error}", folder.display()))
        })?;
    }
    let mut cases = cases(&arguments.paths)?;
    if let Some(filter) = &arguments.filter {
        let before = cases.len();
        cases.retain(|case| case.name.contains(filter.as_str()));
        if cases.is_empty() {
            return Err(InputError::new(format!("--filter `{filter}` matches none of {before} cases")));
        }
    }
    if arguments.accept && cases.iter().all(|case| case.header.accept.is_empty()) {
        return Err(InputError::new("--accept: none of these scenarios says `accept = [...]`"));
    }

    interrupt::listen();
    let data_is_elsewhere = [&json, &junit, &html].into_iter().flatten().any(Sink::is_standard);
    let accepted = if arguments.accept { BTreeMap::new() } else { accepted(&cases)? };
    let screen = Screen {
        progress: Progress::new(u64::try_from(cases.len()).ok(), true),
        instructions: AtomicU64::new(0),
        waiting: Mutex::default(),
        to_messages: data_is_elsewhere,
        closed: AtomicBool::new(false),
        failed: Mutex::default(),
    };
    let options = Options { places, accepted, keep: arguments.keep.clone() };
    let reports = scenario::run(&cases, usize::from(arguments.jobs.unwrap_or(0)), &options, &screen)?;
    screen.progress.finish();
    screen.say(&report::summary(&reports));
    if let Some(sink) = json {
        sink.finish(report::json(&reports).as_bytes())?;
    }
    if let Some(sink) = junit {
        sink.finish(report::junit(&reports).as_bytes())?;
    }
    if let Some(sink) = html {
        sink.finish(report::html(&reports).as_bytes())?;
    }
    if arguments.annotations == Some(Annotations::Github) {
        let lines = report::github(&reports);
        if !lines.is_empty() {
            screen.say(lines.trim_end());
        }
    }
    if arguments.accept {
        accept(&cases, &reports, arguments.filter.is_some(), &screen)?;
    }
    let stopped = reports.iter().filter(|report| report.status == Status::Interrupted).count();
    if stopped > 0 && interrupt::asked() {
        output::complain(&format!(
            "interrupted: {stopped} of {} cases did not run to their end",
            reports.len()
        ));
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

/// The accepted results of the files that have any to be compared with.
fn accepted(cases: &[Case]) -> Result<BTreeMap<String, Accepted>, InputError> {
    let mut accepted = BTreeMap::new();
    for case in cases.iter().filter(|case| !case.header.accept.is_empty()) {
        let file = &case.header.file;
        if !accepted.contains_key(file) {
            accepted.insert(file.clone(), Accepted::read(Path::new(file))?);
        }
    }
    Ok(accepted)
}

/// Writes what passing cases came to beside their files. Cases left out by a filter keep what they have.
fn accept(cases: &[Case], reports: &[CaseReport], filtered: bool, screen: &Screen) -> Result<(), InputError> {
    let mut files: BTreeMap<&str, Accepted> = BTreeMap::new();
    for (case, report) in cases.iter().zip(reports).filter(|(case, _)| !case.header.accept.is_empty()) {
        let file = case.header.file.as_str();
        if !files.contains_key(file) {
            let before = if filtered { Accepted::read(Path::new(file))? } else { Accepted::default() };
            files.insert(file, before);
        }
        if report.status != Status::Passed {
            return Err(InputError::new(format!(
                "nothing is accepted: `{}` {}",
                report.name,
                report.status.name()
            )));
        }
        if let Some(accepted) = files.get_mut(file) {
            accepted.cases.insert(case.key().to_owned(), report.recorded.clone());
        }
    }
    for (file, accepted) in files {
        let path = Accepted::path(Path::new(file));
        files::replace(&path, |file| file.write_all(accepted.text().as_bytes()))
            .map_err(|error| InputError::new(format!("cannot write `{}`: {error}", path.display())))?;
        screen.say(&format!("accepted {}", path.display()));
    }
    Ok(())
}

/// Reads every file; all that is wrong with any of them is said before anything runs.
fn cases(paths: &[PathBuf]) -> Result<Vec<Case>, InputError> {
    let mut cases = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    for path in scenario::scenario_files(paths)? {
        match scenario::load_file(&path) {
            Ok(scenario) => cases.extend(scenario.cases),
            Err(error) => problems.push(super::said(error)),
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
