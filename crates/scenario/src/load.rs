//! Scenario files: reading them, expanding the matrix, and finding them in folders.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use toml_span::{
    Span, Value,
    value::{Key, Table},
};
use warmboot_machine::{Config, Slot, cpu_models, generations, machine_types};

use crate::{
    accepted::{self, Recorded},
    drives::{self, DriveSpec},
    fields::{Field, Shape},
    firmware,
    flash::FlashSpec,
    images::Format,
    matrix::{self, Axis, Combination, Conditions},
    problem::{InputError, Problem, Source, did_you_mean},
    spec::{DEBUG_EXIT, MachineSpec, Places, VGAS, VIRTIO_INTERFACES, choose, virtio_interface},
    steps::{self, Setting, Step},
    symbols,
    table::{self, Reader},
    variables::Variables,
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

/// What the cases of one file have in common.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// File name as given.
    pub file: String,
    /// `title`.
    pub title: String,
    /// `about`.
    pub about: String,
    /// What is compared with accepted results.
    pub accept: Vec<Recorded>,
}

/// One machine and the steps to take with it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its extension, then the combination in brackets.
    pub name: String,
    /// What it has in common with the file's other cases.
    pub header: Arc<Header>,
    /// What the matrix chose: axis and value.
    pub combination: Vec<(String, String)>,
    /// The expectation its cell of the matrix names.
    pub outcome: Option<String>,
    /// The machine.
    pub machine: MachineSpec,
    /// Where the file's relative paths start.
    pub base: PathBuf,
    pub(crate) steps: Vec<Arc<PlacedStep>>,
    key: String,
    named: Named,
}

/// Where in the file something is named: line and column.
pub(crate) type At = (usize, usize);

/// Where a case's file names what its machine is built from.
#[derive(Clone, Debug, Default)]
struct Named {
    machine: At,
    firmware: Option<At>,
    option_roms: Vec<At>,
    kernel: Option<At>,
    vga: Option<At>,
    flash: Vec<At>,
    drives: Vec<At>,
    symbols: Vec<At>,
}

impl Case {
    /// The part of the name behind the file's: the combination, or nothing.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where what keeps its machine from being built is named: a file that cannot be had, or `[machine]`.
    pub(crate) fn culprit(&self, places: &Places) -> At {
        let Case { machine, named, .. } = self;
        let at = |named: &[At], wrong: Option<usize>| wrong.and_then(|index| named.get(index).copied());
        let drive = machine.drives.iter().position(|drive| drive.open(places).is_err());
        let flash = machine.flash.iter().position(|flash| flash.open(places).is_err());
        let option_rom =
            machine.option_roms.iter().position(|rom| firmware::option_rom(rom, places).is_err());
        let system = || firmware::system(&machine.firmware, places).err().and(named.firmware);
        let kernel = || machine.read_kernel(places).err().and(named.kernel);
        let vga = || machine.read_vga(places).err().and(named.vga);
        let symbols = || {
            machine
                .symbols
                .iter()
                .position(|file| symbols::load(std::slice::from_ref(file), "", places).is_err())
        };
        at(&named.drives, drive)
            .or_else(|| at(&named.flash, flash))
            .or_else(|| at(&named.option_roms, option_rom))
            .or_else(system)
            .or_else(kernel)
            .or_else(vga)
            .or_else(|| at(&named.symbols, symbols()))
            .unwrap_or(named.machine)
    }

    /// Whether any part of it runs on the emulator generation called `name`.
    #[must_use]
    pub fn runs_on(&self, name: &str) -> bool {
        self.machine.emulator == name || self.steps.iter().any(|step| step.step.emulator() == Some(name))
    }
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
    /// What was printed before it is not looked at by later expectations.
    pub(crate) turns_the_page: bool,
}

/// The keys of a scenario.
pub(crate) const SCENARIO: &[Field] = &[
    Field::new("title", Shape::Text, "One line for reports."),
    Field::new("about", Shape::Text, "Why this is here, and where its facts come from."),
    Field::new(
        "accept",
        Shape::OneOrMore(&Shape::Choice(accepted::names)),
        "What is compared with accepted results.",
    ),
    Field::new("machine", Shape::Table(MACHINE), "The machine; every key has a default."),
    Field::new("matrix", Shape::Matrix, "Every combination is one case."),
    Field::new("outcomes", Shape::Map(&Shape::Table(steps::EXPECTATIONS)), "Expectations with a name."),
    Field::required("step", Shape::Steps, "What is done, in order."),
];

/// The keys of `[machine]`.
pub(crate) const MACHINE: &[Field] = &[
    Field::new("type", Shape::Choice(machine_names), "Machine type."),
    Field::new("emulator", Shape::Choice(emulator_names), "Emulator generation to behave like."),
    Field::new("cpu", Shape::Choice(cpu_names), "CPU model; the machine type has a default."),
    Field::new("cpus", Shape::Number(255), "Number of processors."),
    Field::new("memory", Shape::Amount, "Memory; a bare number is MiB."),
    Field::new("firmware", Shape::Text, "A known name, rom:NAME, or a path from this file's folder."),
    Field::new(
        "pflash",
        Shape::OneOrMore(&Shape::Text),
        "One or two flash chips in place of firmware: a known name or a path, and perhaps ,readonly.",
    ),
    Field::new("option-roms", Shape::OneOrMore(&Shape::Text), "Option ROMs, named as firmware is."),
    Field::new("kernel", Shape::Text, "A Linux kernel for firmware to start: a known name or a path."),
    Field::new("initrd", Shape::Text, "Its initial RAM disk."),
    Field::new("append", Shape::Text, "Its command line."),
    Field::new("vga", Shape::Choice(vga_names), "Display adapter."),
    Field::new("vga-rom", Shape::Text, "Its option ROM, named as firmware is; there is a default."),
    Field::new(
        "boot",
        Shape::Text,
        "Boot order: letters of a, c, d, n; then `,menu=on`, `,splash-time=N`, `,reboot-timeout=N` in milliseconds.",
    ),
    Field::new("serial", Shape::Truth, "COM1 exists."),
    Field::new("parallel", Shape::Truth, "LPT1 exists."),
    Field::new("debug-exit", Shape::Either(&[Shape::Truth, Shape::Number(0xffff)]), "The debug-exit port."),
    Field::new("pvpanic", Shape::Truth, "The panic port exists."),
    Field::new(
        "seed",
        Shape::Number(i64::MAX as u64),
        "Seed of the processor's random numbers, and of the entropy device's.",
    ),
    Field::new("rng", Shape::Truth, "There is a virtio entropy device, whose bytes the seed decides."),
    Field::new(
        "virtio",
        Shape::Choice(virtio_names),
        "Which interfaces virtio devices have; the machine type has a default.",
    ),
    Field::new("drives", Shape::Array(&Shape::Table(DRIVE)), "Drives and their media."),
    Field::new("symbols", Shape::OneOrMore(&Shape::Text), "ELF files that name its memory."),
];

/// The keys of a drive.
pub(crate) const DRIVE: &[Field] = &[
    Field::required(
        "at",
        Shape::Text,
        "Where it is connected: ide0-0 to ide1-1, sata0 to sata5, floppy0, floppy1, virtio0 to virtio3.",
    ),
    Field::required("image", Shape::Text, "A path, rom:NAME, or zero:SIZE."),
    Field::new("readonly", Shape::Truth, "Writes by the guest fail."),
    Field::new("cdrom", Shape::Truth, "A CD-ROM, or a disk; when not said, images named .iso are CD-ROMs."),
    Field::new("latency", Shape::Time, "Time from a command to its data."),
    Field::new(
        "format",
        Shape::Choice(format_names),
        "What the file is made of; else how it begins decides.",
    ),
];

pub(crate) fn machine_names() -> Vec<&'static str> {
    machine_types::ALL.iter().map(|machine| machine.name).collect()
}

pub(crate) fn emulator_names() -> Vec<&'static str> {
    generations::ALL.iter().map(|generation| generation.name).collect()
}

fn format_names() -> Vec<&'static str> {
    Format::NAMES.iter().map(|(name, _)| *name).collect()
}

fn vga_names() -> Vec<&'static str> {
    VGAS.to_vec()
}

fn virtio_names() -> Vec<&'static str> {
    VIRTIO_INTERFACES.iter().map(|(name, _)| *name).collect()
}

fn cpu_names() -> Vec<&'static str> {
    cpu_models::MODELS.iter().map(|model| model.name).collect()
}

/// Reads one scenario file's text; `file` is its name in messages and what relative paths in it
/// start from.
///
/// # Errors
/// The first thing wrong in it, with its place.
pub fn load(file: &str, text: &str) -> Result<Scenario, Problem> {
    read(&Source::new(file, text), text)
}

/// A scenario file of more bytes than this is refused: it is a slip, or wants several files.
const LARGEST: u64 = 4 << 20;

/// Reads one scenario file.
///
/// # Errors
/// Why it cannot be read, or the first thing wrong in it, with its place.
pub fn load_file(path: &Path) -> Result<Scenario, InputError> {
    let name = path.display().to_string();
    let fail = |error: &dyn std::fmt::Display| InputError(format!("cannot read `{name}`: {error}"));
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| fail(&error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail(&"it is too large: more than 4 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let source = Source::new(&name, &String::from_utf8_lossy(error.as_bytes()));
        InputError::said(source.problem(Span::new(at, at), "this is not UTF-8 text", ""))
    })?;
    load(&name, &text).map_err(InputError::said)
}

/// A file's parts before they are filled in for each case.
struct Parts<'a, 'de> {
    header: Arc<Header>,
    machine: Option<&'a Table<'de>>,
    /// Where that is, or would be.
    machine_at: usize,
    axes: Vec<Axis<'a, 'de>>,
    exclude: Conditions,
    outcomes: Option<&'a Table<'de>>,
    /// Where the steps are, and each with when it is taken.
    steps: Span,
    entries: Vec<Entry<'a, 'de>>,
}

/// A `[[step]]` and the cases it belongs to.
struct Entry<'a, 'de> {
    value: &'a Value<'de>,
    when: Option<Conditions>,
    unless: Option<Conditions>,
}

fn read(source: &Source, text: &str) -> Result<Scenario, Problem> {
    let document = toml_span::parse(text).map_err(|error| table::syntax(source, &error))?;
    let parts = parts(source, &document)?;
    let combinations = matrix::combinations(&parts.axes, &parts.exclude);
    if combinations.is_empty() {
        return Err(source.problem(parts.steps, "every combination is excluded: nothing would run", ""));
    }
    let mut cases = Vec::new();
    let mut outcomes_used = BTreeSet::new();
    for combination in &combinations {
        let case = case(source, &parts, combination)?;
        outcomes_used.extend(case.outcome.clone());
        cases.push(case);
    }
    check_files(source, &parts, &cases)?;
    let untaken = parts.entries.iter().find(|entry| !combinations.iter().any(|case| entry.is_taken(case)));
    if let Some(entry) = untaken {
        return Err(source.problem(entry.value.span, "this step is taken in no case", ""));
    }
    let unused = parts.outcomes.map(table::in_order).unwrap_or_default();
    if let Some((key, _)) = unused.iter().find(|(key, _)| !outcomes_used.contains(key.name.as_ref())) {
        return Err(source.problem(key.span, format!("no case has the outcome `{}`", key.name), ""));
    }
    let Header { file, title, about, .. } = (*parts.header).clone();
    Ok(Scenario { file, title, about, cases })
}

/// Refuses two cases that write one file: they run at the same time.
fn check_files(source: &Source, parts: &Parts<'_, '_>, cases: &[Case]) -> Result<(), Problem> {
    let mut written = BTreeSet::new();
    for step in cases.iter().flat_map(|case| &case.steps) {
        if let Some(file) = step.step.writes().filter(|file| !written.insert((*file).to_owned())) {
            let entry = step.number.checked_sub(1).and_then(|index| parts.entries.get(index));
            let span = entry.map_or(parts.steps, |entry| entry.value.span);
            let message = format!("`{file}` is written more than once");
            let note = "put what the matrix varies into its name, as \"before-${reset}.snapshot\"";
            return Err(source.problem(span, message, "").note(note));
        }
    }
    Ok(())
}

fn parts<'a, 'de>(source: &'a Source, document: &'a Value<'de>) -> Result<Parts<'a, 'de>, Problem> {
    let root = table::table(source, document)?;
    let reader = Reader::new(source, Some(root), "a scenario", SCENARIO);
    let header = Header {
        file: source.name().to_owned(),
        title: reader.get("title").map_or(Ok(""), |value| table::string(source, value))?.to_owned(),
        about: reader.get("about").map_or(Ok(""), |value| table::string(source, value))?.to_owned(),
        accept: match reader.get("accept") {
            Some(value) => {
                table::one_or_more(source, value, |value| table::parsed(source, value, accepted::named))?
            }
            None => Vec::new(),
        },
    };
    let machine_at = reader.get("machine").map_or(0, |value| value.span.start);
    let machine = reader.get("machine").map(|value| table::table(source, value)).transpose()?;
    let matrix = reader.get("matrix").map(|value| table::table(source, value)).transpose()?;
    let outcomes = reader.get("outcomes").map(|value| table::table(source, value)).transpose()?;
    let step = reader.get("step");
    reader.finish()?;
    let axes = matrix.map_or(Ok(Vec::new()), |matrix| matrix::axes(source, matrix))?;
    let exclude = match matrix.and_then(|matrix| matrix.get(matrix::EXCLUDE)) {
        Some(value) => matrix::conditions(source, value, &axes)?,
        None => Conditions::new(),
    };
    let entries = step.map_or(Ok(&[][..]), |value| table::array(source, value))?;
    if entries.is_empty() {
        let span = step.map_or(Span::new(0, 0), |value| value.span);
        let problem = source.problem(span, "this scenario has no steps: nothing would run", "");
        return Err(
            problem.note("a step is written as [[step]], then for example run-until = \"debug:TEXT\"")
        );
    }
    let entries = entries
        .iter()
        .map(|value| {
            let keys = table::table(source, value)?;
            let read = |key| keys.get(key).map(|value| matrix::conditions(source, value, &axes)).transpose();
            Ok(Entry { value, when: read("when")?, unless: read("unless")? })
        })
        .collect::<Result<_, Problem>>()?;
    let steps = step.map_or(Span::new(0, 0), |value| value.span);
    Ok(Parts { header: Arc::new(header), machine, machine_at, axes, exclude, outcomes, steps, entries })
}

impl Entry<'_, '_> {
    fn is_taken(&self, combination: &Combination<'_, '_, '_>) -> bool {
        self.when.as_ref().is_none_or(|when| matrix::holds(when, combination))
            && !self.unless.as_ref().is_some_and(|unless| matrix::holds(unless, combination))
    }
}

/// Fills in one combination.
fn case(
    source: &Source,
    parts: &Parts<'_, '_>,
    combination: &Combination<'_, '_, '_>,
) -> Result<Case, Problem> {
    let rows = || combination.iter().map(|(_, row)| *row);
    let variables = Variables(
        rows().flat_map(|row| row.variables.iter().map(|(name, value)| (name.as_str(), *value))).collect(),
    );
    let kept = vec![steps::POWER_ON.to_owned()];
    let mut setting =
        Setting { axes: &parts.axes, combination, variables: &variables, outcomes: parts.outcomes, kept };
    let mut steps = Vec::new();
    let mut outcome = None;
    for (index, entry) in parts.entries.iter().enumerate().filter(|(_, entry)| entry.is_taken(combination)) {
        let filled = variables.fill(source, entry.value)?;
        let step = placed_step(source, index + 1, &filled, &setting)?;
        setting.kept.extend(step.step.keeps().map(str::to_owned));
        outcome = step.step.outcome().map(str::to_owned).or(outcome);
        steps.push(Arc::new(step));
    }
    let shown: Vec<String> =
        combination.iter().map(|(axis, row)| format!("{}={}", axis.name, row.name)).collect();
    let suffix = if shown.is_empty() { String::new() } else { format!(" [{}]", shown.join(", ")) };
    if !steps.iter().any(|step| step.step.expects()) && parts.header.accept.is_empty() {
        let message = format!("no step expects anything{suffix}: the case could not fail");
        return Err(source.problem(parts.steps, message, "add a run-until or an expect step"));
    }
    let name = source.name().strip_suffix(".toml").unwrap_or(source.name());
    let machine = parts.machine.map(|machine| variables.fill_table(source, machine)).transpose()?;
    let instead: Vec<(String, Value<'_>)> = rows()
        .flat_map(|row| &row.machine)
        .map(|(key, value)| Ok((key.clone(), variables.fill(source, value)?)))
        .collect::<Result<_, Problem>>()?;
    let instead: Vec<(String, &Value<'_>)> =
        instead.iter().map(|(key, value)| (key.clone(), value)).collect();
    let (spec, mut named) = machine_spec(source, machine.as_ref(), &instead)?;
    named.machine = source.place(parts.machine_at);
    Ok(Case {
        name: format!("{name}{suffix}"),
        header: parts.header.clone(),
        combination: combination.iter().map(|(axis, row)| (axis.name.clone(), row.name.clone())).collect(),
        outcome,
        machine: spec,
        named,
        base: Path::new(source.name()).parent().map(Path::to_path_buf).unwrap_or_default(),
        steps,
        key: shown.join(", "),
    })
}

/// Reads `[machine]`, with the matrix's values in place of its own.
fn machine_spec<'a, 'de>(
    source: &'a Source,
    machine: Option<&'a Table<'de>>,
    instead: &'a [(String, &'a Value<'de>)],
) -> Result<(MachineSpec, Named), Problem> {
    let reader = Reader::new(source, machine, "[machine]", MACHINE).with(instead);
    let mut spec = MachineSpec::default();
    let mut named = Named::default();
    let at = |value: &Value<'_>| source.place(value.span.start);
    let text = |key| reader.optional(key, table::string).map(|text| text.map(str::to_owned));
    spec.machine = reader.optional("type", machine_type)?.unwrap_or(spec.machine);
    spec.emulator = reader.optional("emulator", emulator)?.unwrap_or(spec.emulator);
    spec.cpu =
        reader.optional("cpu", |source, value| chosen(source, value, "cpu", cpu_names()))?.or(spec.cpu);
    if let Some(cpus) = reader.optional("cpus", |source, value| table::integer(source, value, 255))? {
        spec.cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    }
    if let Some(memory) = reader.optional("memory", memory)? {
        spec.memory = memory;
    }
    named.firmware = reader.get("firmware").map(at);
    spec.firmware = text("firmware")?.unwrap_or(spec.firmware);
    if let Some(value) = reader.get("pflash") {
        spec.flash = table::one_or_more(source, value, |value| {
            named.flash.push(at(value));
            table::parsed(source, value, FlashSpec::parse)
        })?;
        if named.firmware.is_some() {
            let message = "a machine has either `firmware` or `pflash`";
            return Err(source.problem(value.span, message, "the first flash chip is its firmware"));
        }
        if spec.flash.iter().any(|flash| flash.write_back) {
            let message = "a scenario writes no image: `write-back` is for `warmboot boot`";
            return Err(source.problem(value.span, message, ""));
        }
    }
    let files = |key, at_each: &mut Vec<At>| match reader.get(key) {
        None => Ok(Vec::new()),
        Some(value) => table::one_or_more(source, value, |value| {
            at_each.push(at(value));
            table::string(source, value).map(str::to_owned)
        }),
    };
    spec.option_roms = files("option-roms", &mut named.option_roms)?;
    named.kernel = ["kernel", "initrd", "append"].into_iter().find_map(|key| reader.get(key)).map(at);
    spec.kernel = text("kernel")?;
    spec.initrd = text("initrd")?;
    spec.append = text("append")?;
    named.vga = ["vga-rom", "vga"].into_iter().find_map(|key| reader.get(key)).map(at);
    let vga = reader.optional("vga", |source, value| chosen(source, value, "vga", vga_names()))?;
    spec.vga = vga.unwrap_or(spec.vga);
    spec.vga_rom = text("vga-rom")?;
    spec.symbols = files("symbols", &mut named.symbols)?;
    let boot = |source: &Source, value: &Value<'_>| table::parsed(source, value, str::parse);
    spec.boot = reader.optional("boot", boot)?.unwrap_or(spec.boot);
    spec.pvpanic = reader.optional("pvpanic", table::boolean)?.unwrap_or(spec.pvpanic);
    spec.parallel = reader.optional("parallel", table::boolean)?.unwrap_or(spec.parallel);
    spec.serial = reader.optional("serial", table::boolean)?.unwrap_or(spec.serial);
    if let Some(seed) =
        reader.optional("seed", |source, value| table::integer(source, value, i64::MAX as u64))?
    {
        spec.seed = seed;
    }
    spec.rng = reader.optional("rng", table::boolean)?.unwrap_or(spec.rng);
    spec.virtio =
        reader.optional("virtio", |source, value| table::parsed(source, value, virtio_interface))?;
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
                named.drives.push(at(value));
                Ok(drives)
            })?;
    }
    reader.finish()?;
    Ok((spec, named))
}

/// Reads a machine type's name.
pub(crate) fn machine_type(source: &Source, value: &Value<'_>) -> Result<String, Problem> {
    chosen(source, value, "machine", machine_names())
}

/// Reads an emulator generation's name.
pub(crate) fn emulator(source: &Source, value: &Value<'_>) -> Result<String, Problem> {
    chosen(source, value, "emulator", emulator_names())
}

/// Reads a name that must be among the known ones.
fn chosen(source: &Source, value: &Value<'_>, what: &str, known: Vec<&str>) -> Result<String, Problem> {
    table::parsed(source, value, |name| choose(what, name, known.into_iter()).map(|()| name.to_owned()))
}

fn memory(source: &Source, value: &Value<'_>) -> Result<u64, Problem> {
    let memory = match value.as_integer() {
        Some(_) => table::integer(source, value, 1 << 40)? << 20,
        None => table::parsed(source, value, warmboot_machine::memory)?,
    };
    possible(source, value, &Config { memory, ..Config::default() })?;
    Ok(memory)
}

/// Refuses a value that no machine can have.
fn possible(source: &Source, value: &Value<'_>, with: &Config) -> Result<(), Problem> {
    with.check_choices().map_err(|error| source.problem(value.span, error.to_string(), ""))
}

fn debug_exit(source: &Source, value: &Value<'_>) -> Result<Option<u16>, Problem> {
    if let Some(there) = value.as_bool() {
        return Ok(there.then_some(DEBUG_EXIT));
    }
    if value.as_integer().is_none() {
        return Err(table::wanted(source, value, "true, false or a port as a whole number"));
    }
    Ok(u16::try_from(table::integer(source, value, 0xffff)?).ok())
}

fn drive(source: &Source, value: &Value<'_>) -> Result<DriveSpec, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "a drive", DRIVE);
    let required = |key| reader.required(key, value).and_then(|value| table::string(source, value));
    let at = reader.required("at", value)?;
    let slot = |name: &str| name.parse::<Slot>().map(|_| name.to_owned());
    let mut drive = DriveSpec::new(&table::parsed(source, at, slot)?, required("image")?);
    drive.read_only = reader.optional("readonly", table::boolean)?.unwrap_or(false);
    drive.cdrom = reader.optional("cdrom", table::boolean)?;
    let latency = |source: &Source, value: &Value<'_>| table::parsed(source, value, warmboot_machine::time);
    drive.latency = reader.optional("latency", latency)?;
    drive.format = reader.optional("format", |source, value| table::parsed(source, value, drives::format))?;
    reader.finish()?;
    Ok(drive)
}

/// Reads one `[[step]]`: one key that names the step, the keys that step has, and those every step has.
fn placed_step(
    source: &Source,
    number: usize,
    entry: &Value<'_>,
    setting: &Setting<'_>,
) -> Result<PlacedStep, Problem> {
    let entries = table::table(source, entry)?;
    let ordered = table::in_order(entries);
    let steps_note = || format!("steps: {}", steps::step_names().collect::<Vec<_>>().join(", "));
    let mut named =
        ordered.iter().filter_map(|(key, value)| steps::find(&key.name).map(|kind| (key, value, kind)));
    let Some((key, value, kind)) = named.next() else {
        let common = |name: &str| steps::COMMON.iter().any(|field| field.name == name);
        let unknown: Option<&&Key<'_>> = ordered.iter().map(|(key, _)| key).find(|key| !common(&key.name));
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
    let fields = std::iter::once(&kind.field).chain(kind.keys).chain(steps::COMMON);
    let reader = Reader::new(source, Some(entries), format!("step `{}`", kind.field.name), fields);
    let _ = (reader.get(kind.field.name), reader.get("when"), reader.get("unless"));
    let page = reader.optional("page", |source, value| table::parsed(source, value, steps::page))?;
    let step = (kind.parse)(source, value, &reader, setting)?;
    reader.finish()?;
    let line = source.line(key.span.start);
    let turns_the_page = page.unwrap_or(step.turns_the_page());
    Ok(PlacedStep { number, line, text: step.describe(), step, turns_the_page })
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
    let mut seen = BTreeSet::new();
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
