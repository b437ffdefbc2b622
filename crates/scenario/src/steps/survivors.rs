//! `survivors = { reset = "system", until = "debug:TEXT" }`: what of memory outlives a reset.
//!
//! A machine switched on afresh boots to the point, is reset, and boots to it again; the case goes on
//! with it as it is then.

use std::str::FromStr;

use toml_span::Value;
use warmboot_inspect::{
    diff::Ignore,
    survivors::{Fate, Survivor, Survivors, SurvivorsError, survivors},
};
use warmboot_machine::{Condition, Limits, ResetPath};

use super::{Kind, POWER_ON, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    session::SLICE,
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("survivors", Shape::Table(SURVIVORS), "What of memory outlives a reset."),
    keys: &[],
    parse,
};

const NAMES: Shape = Shape::OneOrMore(&Shape::Text);

const SURVIVORS: &[Field] = &[
    Field::required("reset", Shape::Choice(super::reset::paths), "The reset between the two boots."),
    Field::required("until", NAMES, "Conditions, as `run-until` has them: the point both boots go to."),
    Field::new("limit", Shape::Count, "Instructions of each boot; 2G when not said."),
    Field::new("ignore", NAMES, "Rules that leave more out than clocks."),
    Field::new("expect-survived", NAMES, "Symbols with a byte that is not as at power-on after the reset."),
    Field::new("expect-stale", NAMES, "Symbols with such a byte that the second boot never writes."),
    Field::new("expect-gone", NAMES, "Symbols without one: as at power-on."),
];

const DEFAULT_LIMIT: u64 = 2_000_000_000;

#[derive(Debug)]
struct Outlive {
    reset: ResetPath,
    until: Vec<Condition>,
    limit: u64,
    ignore: Vec<Ignore>,
    survived: Vec<String>,
    stale: Vec<String>,
    gone: Vec<String>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "survivors", SURVIVORS);
    let names = |key| match reader.get(key) {
        Some(value) => {
            table::one_or_more(source, value, |value| table::string(source, value).map(str::to_owned))
        }
        None => Ok(Vec::new()),
    };
    let mut ignore = vec![Ignore::Clocks];
    if let Some(value) = reader.get("ignore") {
        ignore.extend(table::one_or_more(source, value, |value| {
            table::parsed(source, value, Ignore::from_str)
        })?);
    }
    let until = reader.required("until", value)?;
    let limit = reader.optional("limit", |source, value| match value.as_integer() {
        Some(_) => table::integer(source, value, i64::MAX.unsigned_abs()),
        None => table::parsed(source, value, |text| {
            warmboot_machine::count(text.strip_prefix('+').unwrap_or(text))
        }),
    })?;
    let step = Outlive {
        reset: table::parsed(source, reader.required("reset", value)?, ResetPath::from_str)?,
        until: table::one_or_more(source, until, |value| table::parsed(source, value, Condition::from_str))?,
        limit: limit.unwrap_or(DEFAULT_LIMIT),
        ignore,
        survived: names("expect-survived")?,
        stale: names("expect-stale")?,
        gone: names("expect-gone")?,
    };
    reader.finish()?;
    Ok(Box::new(step))
}

impl Step for Outlive {
    fn describe(&self) -> String {
        let until: Vec<String> = self.until.iter().map(Condition::to_string).collect();
        format!("survivors of reset {} at {}", self.reset, until.join(" or "))
    }

    fn expects(&self) -> bool {
        !(self.survived.is_empty() && self.stale.is_empty() && self.gone.is_empty())
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        Ignore::check(&self.ignore, scene.symbols).map_err(|error| Stop::Error(error.to_string()))?;
        for name in self.survived.iter().chain(&self.stale).chain(&self.gone) {
            scene.symbols.resolve(name).map_err(Stop::Error)?;
        }
        let fresh = scene.kept(POWER_ON)?.fork();
        let limits = Limits { instructions: Some(self.limit), slice: Some(SLICE), ..Limits::default() };
        let go_on = scene.go_on;
        let found =
            survivors(fresh, &self.until, self.reset, limits, scene.symbols, &self.ignore, &mut |machine| {
                go_on(machine)
            });
        let (found, machine) = found.map_err(|error| match error {
            SurvivorsError::Interrupted => Stop::Interrupted,
            SurvivorsError::Condition(error) => error.into(),
            error => Stop::Failed(error.to_string()),
        })?;
        scene.replace(machine);
        scene.shown.push((self.describe(), found.to_string().trim_end().to_owned()));
        let any = |_: &Survivor| true;
        let stale = |bytes: &Survivor| bytes.fate == Fate::Stale;
        let mut wrong = Vec::new();
        let mut check = |names: &[String], is: &dyn Fn(&Survivor) -> bool, wanted: bool, what: &str| {
            for name in names.iter().filter(|name| has(&found, name, is) != wanted) {
                wrong.push(format!("expected {name} {what}\nfound    {}", fates(&found, name)));
            }
        };
        check(&self.survived, &any, true, "to survive");
        check(&self.stale, &stale, true, "to survive and not to be written");
        check(&self.gone, &any, false, "to be as at power-on");
        if wrong.is_empty() { Ok(()) } else { Err(Stop::Failed(wrong.join("\n"))) }
    }
}

/// Whether `bytes` lie in the symbol `name`.
fn is_of(bytes: &Survivor, name: &str) -> bool {
    let symbol = bytes.symbol.as_deref().unwrap_or_default();
    symbol.split(['+', ' ']).next() == Some(name)
}

fn has(found: &Survivors, name: &str, is: &dyn Fn(&Survivor) -> bool) -> bool {
    found.bytes.iter().any(|bytes| is_of(bytes, name) && is(bytes))
}

/// What became of the bytes of `name`.
fn fates(found: &Survivors, name: &str) -> String {
    let mine: Vec<String> =
        found.bytes.iter().filter(|bytes| is_of(bytes, name)).map(ToString::to_string).collect();
    if mine.is_empty() { "as at power-on".to_owned() } else { mine.join("\n         ") }
}
