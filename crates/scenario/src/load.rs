//! Scenario files: reading them, expanding the matrix, and finding them in folders.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml_span::{
    Span, Value,
    value::{Key, Table},
};
use warmboot_machine::{cpu_models, generations, machine_types};

use crate::{
    drives::DriveSpec,
    matrix::{self, Axis},
    problem::{InputError, Problem, Source, did_you_mean},
    spec::{DEBUG_EXIT, MachineSpec, choose},
    steps::{self, Step},
    table::{self, Reader},
};

/// One scenario file, read and expanded.
#[derive(Debug)]
pub struct Scenario {
    /// File name as given.
    pub file: String,
    /// `title`.
    pub title: String,
    /// `about`.
    pub about: String,
    /// One per combination of the matrix.
    pub cases: Vec<Case>,
}

/// One machine and the steps to take with it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its extension, then the combination in brackets.
    pub name: String,
    /// File it came from.
    pub file: String,
    /// What the matrix chose: path and value.
    pub combination: Vec<(String, String)>,
    /// The machine.
    pub machine: MachineSpec,
    /// Where the file's relative paths start.
    pub base: PathBuf,
    pub(crate) steps: Vec<Arc<PlacedStep>>,
}

/// A step with the place it was written at.
#[derive(Debug)]
pub(crate) struct PlacedStep {
    /// Number in the file, from 1, and the line it begins at.
    pub(crate) number: usize,
    pub(crate) line: usize,
    /// As a person would say it: `run-until debug:No bootable device`.
    pub(crate) text: String,
    pub(crate) step: Box<dyn Step>,
    /// The matrix values with which it is taken: path and alternatives.
    when: Vec<(String, Vec<String>)>,
}

/// Reads one scenario file's text; `file` is its name in messages and what relative paths in it
/// start from.
///
/// # Errors
/// The first thing wrong in it, with its place.
pub fn load(file: &str, text: &str) -> Result<Scenario, Problem> {
    read(&Source::new(file, text), text)
}

fn read(source: &Source, text: &str) -> Result<Scenario, Problem> {
    let document = toml_span::parse(text).map_err(|error| table::syntax(source, &error))?;
    let root = table::table(source, &document)?;
    let reader = Reader::new(source, Some(root), "a scenario");
    let title = reader.optional("title", table::string)?.unwrap_or_default().to_owned();
    let about = reader.optional("about", table::string)?.unwrap_or_default().to_owned();
    let machine = reader.optional("machine", table::table)?;
    let axes = match reader.get("matrix") {
        Some(value) => matrix::axes(source, table::table(source, value)?)?,
        None => Vec::new(),
    };
    let step = reader.get("step");
    reader.finish()?;
    let entries = match step {
        Some(value) => table::array(source, value)?,
        None => &[],
    };
    if entries.is_empty() {
        let span = step.map_or(Span::new(0, 0), |value| value.span);
        let problem = source.problem(span, "this scenario has no steps: nothing would run", "");
        return Err(
            problem.note("a step is written as [[step]], then for example run-until = \"debug:TEXT\"")
        );
    }
    let steps = entries
        .iter()
        .enumerate()
        .map(|(index, entry)| placed_step(source, index + 1, entry, &axes).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let name = source.name().strip_suffix(".toml").unwrap_or(source.name());
    let base = Path::new(source.name()).parent().map(Path::to_path_buf).unwrap_or_default();
    let mut cases = Vec::new();
    for combination in matrix::combinations(&axes) {
        let instead: Vec<(String, &Value<'_>)> = combination
            .iter()
            .filter_map(|(path, _, value)| path.strip_prefix("machine.").map(|key| (key.to_owned(), *value)))
            .collect();
        let combination: Vec<(String, String)> =
            combination.into_iter().map(|(path, text, _)| (path, text)).collect();
        let taken: Vec<Arc<PlacedStep>> =
            steps.iter().filter(|step| step.is_taken(&combination)).cloned().collect();
        let shown: Vec<String> = combination.iter().map(|(path, text)| format!("{path}={text}")).collect();
        let suffix = if shown.is_empty() { String::new() } else { format!(" [{}]", shown.join(", ")) };
        if !taken.iter().any(|step| step.step.expects()) {
            let message = format!("no step expects anything{suffix}: the case could not fail");
            let span = step.map_or(Span::new(0, 0), |value| value.span);
            return Err(source.problem(span, message, "add a run-until or an expect step"));
        }
        cases.push(Case {
            name: format!("{name}{suffix}"),
            file: source.name().to_owned(),
            combination,
            machine: machine_spec(source, machine, &instead)?,
            base: base.clone(),
            steps: taken,
        });
    }
    Ok(Scenario { file: source.name().to_owned(), title, about, cases })
}

/// Reads `[machine]`, with the matrix's values in place of its own.
fn machine_spec<'a, 'de>(
    source: &'a Source,
    machine: Option<&'a Table<'de>>,
    instead: &'a [(String, &'a Value<'de>)],
) -> Result<MachineSpec, Problem> {
    let reader = Reader::new(source, machine, "[machine]").with(instead);
    let mut spec = MachineSpec::default();
    let text = |key| reader.optional(key, table::string).map(|text| text.map(str::to_owned));
    let machines = machine_types::ALL.iter().map(|machine| machine.name).collect();
    spec.machine = reader.optional("type", chosen("machine", machines))?.unwrap_or(spec.machine);
    let emulators = generations::ALL.iter().map(|generation| generation.name).collect();
    spec.emulator = reader.optional("emulator", chosen("emulator", emulators))?.unwrap_or(spec.emulator);
    let models = cpu_models::MODELS.iter().map(|model| model.name).collect();
    spec.cpu = reader.optional("cpu", chosen("cpu", models))?.or(spec.cpu);
    if let Some(cpus) = reader.optional("cpus", |source, value| table::integer(source, value, 255))? {
        spec.cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    }
    if let Some(memory) = reader.optional("memory", memory)? {
        spec.memory = memory;
    }
    spec.firmware = text("firmware")?.unwrap_or(spec.firmware);
    if let Some(roms) = reader.get("option-roms") {
        let roms = table::one_or_more(source, roms, |value| table::string(source, value))?;
        spec.option_roms = roms.into_iter().map(str::to_owned).collect();
    }
    spec.boot = text("boot")?.unwrap_or(spec.boot);
    spec.serial = reader.optional("serial", table::boolean)?.unwrap_or(spec.serial);
    if let Some(port) = reader.optional("debug-exit", debug_exit)? {
        spec.debug_exit = port;
    }
    if let Some(drives) = reader.get("drives") {
        spec.drives = table::array(source, drives)?
            .iter()
            .map(|value| drive(source, value).map(|drive| (value, drive)))
            .try_fold(Vec::new(), |mut drives: Vec<DriveSpec>, next| {
                let (value, drive) = next?;
                if drives.iter().any(|other| other.at == drive.at) {
                    let message = format!("there are two drives at {}", drive.at);
                    return Err(source.problem(value.span, message, ""));
                }
                drives.push(drive);
                Ok(drives)
            })?;
    }
    reader.finish()?;
    Ok(spec)
}

/// Reads a name that must be among the known ones.
fn chosen(
    what: &str,
    known: Vec<&'static str>,
) -> impl FnOnce(&Source, &Value<'_>) -> Result<String, Problem> {
    move |source, value| {
        table::parsed(source, value, |name| choose(what, name, known.into_iter()).map(|()| name.to_owned()))
    }
}

fn memory(source: &Source, value: &Value<'_>) -> Result<u64, Problem> {
    if value.as_integer().is_some() {
        return table::integer(source, value, 1 << 40).map(|mebibytes| mebibytes << 20);
    }
    table::parsed(source, value, warmboot_machine::memory)
}

fn debug_exit(source: &Source, value: &Value<'_>) -> Result<Option<u16>, Problem> {
    if let Some(there) = value.as_bool() {
        return Ok(there.then_some(DEBUG_EXIT));
    }
    Ok(u16::try_from(table::integer(source, value, 0xffff)?).ok())
}

fn drive(source: &Source, value: &Value<'_>) -> Result<DriveSpec, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "a drive");
    let required = |key| {
        let problem = || source.problem(value.span, format!("this drive has no `{key}`"), "");
        reader.get(key).ok_or_else(problem).and_then(|value| table::string(source, value))
    };
    let mut drive = DriveSpec::new(required("at")?, required("image")?);
    drive.read_only = reader.optional("readonly", table::boolean)?.unwrap_or(false);
    drive.cdrom = reader.optional("cdrom", table::boolean)?.unwrap_or(false);
    let latency = |source: &Source, value: &Value<'_>| table::parsed(source, value, warmboot_machine::time);
    drive.latency = reader.optional("latency", latency)?;
    reader.finish()?;
    Ok(drive)
}

/// Reads one `[[step]]`: one key that names the step, the keys that step has, and `when`.
fn placed_step(
    source: &Source,
    number: usize,
    entry: &Value<'_>,
    axes: &[Axis<'_, '_>],
) -> Result<PlacedStep, Problem> {
    let entries = table::table(source, entry)?;
    let ordered = table::in_order(entries);
    let steps_note = || format!("steps: {}", steps::step_names().collect::<Vec<_>>().join(", "));
    let mut named =
        ordered.iter().filter_map(|(key, value)| steps::find(&key.name).map(|kind| (key, value, kind)));
    let Some((key, value, kind)) = named.next() else {
        let unknown: Option<&&Key<'_>> = ordered.iter().map(|(key, _)| key).find(|key| key.name != "when");
        return Err(match unknown {
            Some(key) => source
                .problem(
                    key.span,
                    format!("unknown step `{}`", key.name),
                    did_you_mean(&key.name, steps::step_names()),
                )
                .note(steps_note()),
            None => source.problem(entry.span, "this step does nothing", "").note(steps_note()),
        });
    };
    if let Some((second, _, _)) = named.next() {
        let message = format!("one step has both `{}` and `{}`", key.name, second.name);
        return Err(source.problem(second.span, message, "write it as a [[step]] of its own"));
    }
    let reader = Reader::new(source, Some(entries), format!("step `{}`", kind.name));
    let _ = reader.get(kind.name);
    let when = match reader.get("when") {
        Some(value) => conditions(source, table::table(source, value)?, axes)?,
        None => Vec::new(),
    };
    let step = (kind.parse)(source, value, &reader)?;
    reader.finish()?;
    let line = source.problem(key.span, "", "").line();
    Ok(PlacedStep { number, line, text: step.describe(), step, when })
}

/// Reads `when`: each key an axis of the matrix, each value one or more of the axis's.
fn conditions(
    source: &Source,
    when: &Table<'_>,
    axes: &[Axis<'_, '_>],
) -> Result<Vec<(String, Vec<String>)>, Problem> {
    let mut conditions = Vec::new();
    for (key, value) in table::in_order(when) {
        let Some(axis) = axes.iter().find(|axis| axis.path == key.name) else {
            let paths = || axes.iter().map(|axis| axis.path.as_str());
            let note = if axes.is_empty() {
                "this scenario has no [matrix]".to_owned()
            } else {
                format!("matrix: {}", paths().collect::<Vec<_>>().join(", "))
            };
            let message = format!("`when` asks for `{}`, which the matrix does not vary", key.name);
            return Err(source.problem(key.span, message, did_you_mean(&key.name, paths())).note(note));
        };
        let values = table::one_or_more(source, value, |value| {
            let text = table::scalar(source, value)?;
            let known = || axis.values.iter().map(|(text, _)| text.as_str());
            if known().any(|known| known == text) {
                return Ok(text);
            }
            let message = format!("`{}` never is `{text}`: the step would never be taken", axis.path);
            let note = format!("values: {}", known().collect::<Vec<_>>().join(", "));
            Err(source.problem(value.span, message, did_you_mean(&text, known())).note(note))
        })?;
        conditions.push((axis.path.clone(), values));
    }
    Ok(conditions)
}

impl PlacedStep {
    fn is_taken(&self, combination: &[(String, String)]) -> bool {
        self.when.iter().all(|(path, values)| {
            combination.iter().any(|(chosen, value)| chosen == path && values.contains(value))
        })
    }
}

/// The scenario files under `paths`: files as they are, folders searched through, in order of name.
///
/// # Errors
/// A path that is not there or cannot be read, or a folder without any.
pub fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, InputError> {
    let mut files = Vec::new();
    for path in paths {
        let fail = |error: io::Error| InputError(format!("cannot read `{}`: {error}", path.display()));
        if !fs::metadata(path).map_err(fail)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        search(path, &mut files, 0).map_err(fail)?;
        if files.len() == before {
            return Err(InputError(format!("no scenario (*.toml) in `{}`", path.display())));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// Folders nested deeper than this are a loop of links.
const DEEPEST: usize = 32;

fn search(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> io::Result<()> {
    let mut entries =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if depth < DEEPEST {
                search(&path, files, depth + 1)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
