//! What a scenario can do, one step per file.

mod expect;
mod press;
mod reset;
mod run_until;

use std::fmt::Debug;

use toml_span::Value;
use warmboot_machine::Machine;

use crate::{
    problem::{Problem, Source},
    session::Finish,
    table::Reader,
};

/// Reads a step from its key's value and, from the reader, the step's other keys.
type Parse = fn(&Source, &Value<'_>, &Reader<'_, '_>) -> Result<Box<dyn Step>, Problem>;

/// One kind of step.
pub(crate) struct Kind {
    /// The key that names it in a `[[step]]`.
    pub(crate) name: &'static str,
    /// How it is read.
    pub(crate) parse: Parse,
}

/// Every kind of step, in the order help lists them.
const KINDS: &[Kind] = &[run_until::KIND, press::KIND, reset::KIND, expect::KIND];

/// A step ready to be taken.
pub(crate) trait Step: Debug + Send + Sync {
    /// As a person would say it, in one line.
    fn describe(&self) -> String;

    /// Whether the case fails when this does not come out as written.
    fn expects(&self) -> bool;

    /// Takes the step.
    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop>;
}

/// The machine in the middle of a case, and what later steps ask about earlier ones.
pub(crate) struct Scene<'a> {
    pub(crate) machine: &'a mut Machine,
    /// How the last `run-until` ended.
    pub(crate) finish: Option<Finish>,
    /// Where in the logs the text since the last `press` or `reset` begins.
    pub(crate) debug_from: usize,
    pub(crate) serial_from: usize,
    /// Called after each slice of a run; false stops it.
    pub(crate) go_on: &'a dyn Fn(&Machine) -> bool,
}

impl Scene<'_> {
    /// From now on, expectations on text are about what is printed next.
    pub(crate) fn turn_the_page(&mut self) {
        self.debug_from = self.machine.debug_log().len();
        self.serial_from = self.machine.serial_log().len();
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
    KINDS.iter().find(|kind| kind.name == name)
}

/// The names of all steps.
pub fn step_names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}
