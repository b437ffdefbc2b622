//! `run-until = "debug:No bootable device"` or an array of conditions; `limit`, `limit-time`.
//!
//! The first condition met ends the step. A limit, or a machine that stops by itself when that is
//! not one of the conditions, fails the case, unless the array has `"limit"` or `"limit-time"`. Limits
//! count from power-on, as `--limit` does, or with a `+` from this step.

use std::str::FromStr;

use toml_span::Value;
use warmboot_machine::{Condition, Limits};

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    session::{self, End, Plan, SLICE},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new(
        "run-until",
        Shape::OneOrMore(&Shape::Text),
        "Conditions, the first of which ends the step: debug:TEXT, serial:TEXT, parallel:TEXT, screen:TEXT, port:0x80=0x55, \
         address:0x7c00, address:f000:fff0, instructions:N, time:500ms, halt, shutdown, suspend, reset, \
         reset:PATH, guest-panic, limit, limit-time.",
    ),
    keys: &[
        Field::new(
            "limit",
            Shape::Count,
            "Instructions since power-on; with a sign, \"+20M\", from here on.",
        ),
        Field::new(
            "limit-time",
            Shape::Time,
            "Virtual time since power-on; with a sign, \"+5s\", from here on.",
        ),
    ],
    parse,
};

/// Ends that are no conditions of the machine's.
const LIMIT: &str = "limit";
const LIMIT_TIME: &str = "limit-time";

#[derive(Debug)]
struct RunUntil {
    until: Vec<Condition>,
    /// Which of the two limits may end it.
    may_end: Vec<&'static str>,
    limit: Option<Limit>,
    limit_time: Option<Limit>,
}

/// A ceiling on a count or on time.
#[derive(Clone, Copy, Debug)]
enum Limit {
    SincePowerOn(u64),
    FromHere(u64),
}

impl Limit {
    fn at(self, now: u64) -> u64 {
        match self {
            Limit::SincePowerOn(limit) => limit,
            Limit::FromHere(more) => now.saturating_add(more),
        }
    }

    /// Reads a limit; `parse` reads what is behind the sign.
    fn read<E: std::fmt::Display>(
        source: &Source,
        value: &Value<'_>,
        parse: fn(&str) -> Result<u64, E>,
    ) -> Result<Limit, Problem> {
        table::parsed(source, value, |text| match text.strip_prefix('+') {
            Some(more) => parse(more).map(Limit::FromHere),
            None => parse(text).map(Limit::SincePowerOn),
        })
    }
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    reader: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let mut step = RunUntil { until: Vec::new(), may_end: Vec::new(), limit: None, limit_time: None };
    if let Some(value) = reader.get("limit") {
        step.limit = Some(match value.as_integer() {
            Some(_) => Limit::SincePowerOn(table::integer(source, value, i64::MAX.unsigned_abs())?),
            None => Limit::read(source, value, warmboot_machine::count)?,
        });
    }
    if let Some(value) = reader.get("limit-time") {
        step.limit_time = Some(Limit::read(source, value, warmboot_machine::time)?);
    }
    table::one_or_more(source, value, |value| {
        let bounded = match value.as_str() {
            Some(LIMIT) => (LIMIT, step.limit.is_some()),
            // There always is a limit on time.
            Some(LIMIT_TIME) => (LIMIT_TIME, true),
            _ => {
                step.until.push(table::parsed(source, value, Condition::from_str)?);
                return Ok(());
            }
        };
        if !bounded.1 {
            let message = "this step may end at a limit but has none: add `limit = \"+20M\"`";
            return Err(source.problem(value.span, message, ""));
        }
        step.may_end.push(bounded.0);
        Ok(())
    })?;
    Ok(Box::new(step))
}

impl RunUntil {
    fn conditions(&self) -> String {
        let conditions = self.until.iter().map(Condition::to_string);
        conditions.chain(self.may_end.iter().map(|end| (*end).to_owned())).collect::<Vec<_>>().join(" or ")
    }
}

impl Step for RunUntil {
    fn describe(&self) -> String {
        format!("run-until {}", self.conditions())
    }

    fn expects(&self) -> bool {
        !self.until.is_empty()
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let mut limits = Limits { slice: Some(SLICE), ..Limits::default() };
        if let Some(limit) = self.limit {
            limits.instructions = Some(limit.at(scene.machine.instructions()));
        }
        if let Some(limit) = self.limit_time {
            limits.time = Some(limit.at(scene.machine.virtual_time()));
        }
        let plan = Plan { until: self.until.clone(), actions: Vec::new(), limits };
        let go_on = scene.go_on;
        let finish = session::drive(scene.machine, &plan, &mut |machine| go_on(machine))?;
        let (end, ended_by) = (finish.end, finish.ended_by.clone());
        scene.ran(finish);
        match end {
            End::Met => Ok(()),
            End::Interrupted => Err(Stop::Interrupted),
            End::Limit if self.may_end.contains(&ended_by.as_str()) => Ok(()),
            End::Limit => Err(Stop::Failed(format!(
                "expected {}\nfound    the {ended_by} was met first",
                self.conditions()
            ))),
            End::Stopped => Err(Stop::Failed(format!("expected {}\nfound    {ended_by}", self.conditions()))),
        }
    }
}
