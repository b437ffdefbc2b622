//! What a scenario can do, one step per file.

mod check;
mod diff;
mod expect;
mod migrate;
mod outcome;
mod poke;
mod press;
mod reset;
mod restore;
mod run_for;
mod run_until;
mod screenshot;
mod send;
mod snapshot;
mod survivors;
mod type_text;

use std::{collections::BTreeMap, fmt::Debug};

use toml_span::{Value, value::Table};
use warmboot_inspect::symbols::Symbols;
use warmboot_machine::Machine;

pub(crate) use check::DISKS;
pub(crate) use expect::EXPECTATIONS;

use crate::{
    fields::{Field, Shape},
    matrix::{Axis, Combination},
    problem::{Problem, Source, did_you_mean},
    session::Finish,
    spec::Places,
    table::{self, Reader},
    variables::Variables,
};

/// Reads a step from its key's value and, from the reader, the step's other keys.
type Parse = fn(&Source, &Value<'_>, &Reader<'_, '_>, &Setting<'_>) -> Result<Box<dyn Step>, Problem>;

/// One kind of step.
pub(crate) struct Kind {
    /// The key that names it in a `[[step]]`, and what it takes.
    pub(crate) field: Field,
    /// Its other keys.
    pub(crate) keys: &'static [Field],
    /// How it is read.
    pub(crate) parse: Parse,
}

/// Every kind of step, in the order help lists them.
pub(crate) const KINDS: &[Kind] = &[
    run_until::KIND,
    run_for::KIND,
    press::KIND,
    type_text::KIND,
    send::KIND,
    reset::KIND,
    migrate::KIND,
    snapshot::KIND,
    restore::KIND,
    diff::KIND,
    survivors::KIND,
    poke::KIND,
    screenshot::KIND,
    expect::KIND,
    outcome::KIND,
];

/// The snapshot every case has: the machine as it was switched on.
pub(crate) const POWER_ON: &str = "power-on";

/// The keys that every step has.
pub(crate) const COMMON: &[Field] = &[
    Field::new("when", Shape::Conditions, "Taken only in these cases of the matrix."),
    Field::new("unless", Shape::Conditions, "Not taken in these cases of the matrix."),
    Field::new(
        "page",
        Shape::Choice(pages),
        "Whether later expectations on text look back beyond this step.",
    ),
];

fn pages() -> Vec<&'static str> {
    vec!["turn", "keep"]
}

/// Reads a `page`: true to turn it.
pub(crate) fn page(text: &str) -> Result<bool, String> {
    match text {
        "turn" => Ok(true),
        "keep" => Ok(false),
        _ => Err(format!("expected \"turn\" or \"keep\", found `{text}`")),
    }
}

/// The case a step is read for.
pub(crate) struct Setting<'s> {
    pub(crate) axes: &'s [Axis<'s, 's>],
    pub(crate) combination: &'s Combination<'s, 's, 's>,
    pub(crate) variables: &'s Variables<'s, 's>,
    /// `[outcomes]`, not filled in.
    pub(crate) outcomes: Option<&'s Table<'s>>,
    /// The snapshots that steps before it keep.
    pub(crate) kept: Vec<String>,
}

impl Setting<'_> {
    /// Reads the name of a snapshot that was kept.
    fn kept(&self, source: &Source, value: &Value<'_>) -> Result<String, Problem> {
        let name = table::string(source, value)?;
        if self.kept.iter().any(|kept| kept == name) {
            return Ok(name.to_owned());
        }
        let known = || self.kept.iter().map(String::as_str);
        let message = format!("no step before this keeps a snapshot `{name}`");
        let note = format!("snapshots: {}", known().collect::<Vec<_>>().join(", "));
        Err(source.problem(value.span, message, did_you_mean(name, known())).note(note))
    }
}

/// A step ready to be taken.
pub(crate) trait Step: Debug + Send + Sync {
    /// As a person would say it, in one line.
    fn describe(&self) -> String;

    /// Whether the case fails when this does not come out as written.
    fn expects(&self) -> bool;

    /// Whether what is printed afterwards is another chapter.
    fn turns_the_page(&self) -> bool {
        false
    }

    /// The name of the expectation that the case's cell of the matrix has.
    fn outcome(&self) -> Option<&str> {
        None
    }

    /// The emulator generation it goes on on.
    fn emulator(&self) -> Option<&str> {
        None
    }

    /// The snapshot it keeps.
    fn keeps(&self) -> Option<&str> {
        None
    }

    /// The file it writes, from the scenario's folder.
    fn writes(&self) -> Option<&str> {
        None
    }

    /// Takes the step.
    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop>;
}

/// The machine in the middle of a case, and what later steps ask about earlier ones.
pub(crate) struct Scene<'a> {
    pub(crate) machine: &'a mut Machine,
    /// How the last run ended.
    pub(crate) finish: Option<Finish>,
    /// Where in the logs the text since the page was turned begins.
    pub(crate) debug_from: usize,
    pub(crate) serial_from: usize,
    pub(crate) parallel_from: usize,
    /// Machines kept under a name.
    pub(crate) kept: BTreeMap<String, Machine>,
    /// Names for memory.
    pub(crate) symbols: &'a Symbols,
    /// What the last migration reported, a message each.
    pub(crate) migration: Option<Vec<String>>,
    /// Runs so far, and whether the last step put another machine in the place of this.
    pub(crate) runs: u64,
    pub(crate) replaced: bool,
    /// What the step being taken has to show in reports: a title and text.
    pub(crate) shown: Vec<(String, String)>,
    /// Where files are looked for.
    pub(crate) places: &'a Places,
    /// Called after each slice of a run; false stops it.
    pub(crate) go_on: &'a dyn Fn(&Machine) -> bool,
}

impl Scene<'_> {
    /// From now on, expectations on text are about what is printed next.
    pub(crate) fn turn_the_page(&mut self) {
        self.debug_from = self.machine.debug_log().len();
        self.serial_from = self.machine.serial_log().len();
        self.parallel_from = self.machine.parallel_log().len();
    }

    /// A run came to its end.
    pub(crate) fn ran(&mut self, finish: Finish) {
        self.runs += 1;
        self.finish = Some(finish);
    }

    /// Goes on with another machine.
    pub(crate) fn replace(&mut self, machine: Machine) {
        *self.machine = machine;
        self.replaced = true;
        self.finish = None;
    }

    /// The machine kept as `name`.
    pub(crate) fn kept(&mut self, name: &str) -> Result<&mut Machine, Stop> {
        let known: Vec<String> = self.kept.keys().cloned().collect();
        self.kept.get_mut(name).ok_or_else(|| {
            let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
            Stop::Error(format!("no snapshot `{name}`; there are {known}"))
        })
    }
}

/// Why a case goes no further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// It did not come out as written: what was expected, and what was there.
    Failed(String),
    /// The step cannot be taken on this machine.
    Error(String),
    /// The user asked to stop.
    Interrupted,
}

impl From<warmboot_machine::ConfigError> for Stop {
    fn from(error: warmboot_machine::ConfigError) -> Stop {
        Stop::Error(error.to_string())
    }
}

/// The step called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.field.name == name)
}

/// The names of all steps.
pub fn step_names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.field.name)
}
