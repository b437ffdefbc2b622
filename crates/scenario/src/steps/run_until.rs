//! `run-until = "debug:No bootable device"` or an array of conditions; `limit`, `limit-time`.
//!
//! The first condition met ends the step. A limit, or a machine that stops by itself when that is
//! not one of the conditions, fails the case. Limits count from power-on, as `--limit` does.

use std::str::FromStr;

use toml_span::Value;
use warmboot_machine::{Condition, Limits};

use super::{Kind, Scene, Step, Stop};
use crate::{
    problem::{Problem, Source},
    session::{self, End, Plan},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind { name: "run-until", parse };

/// Instructions between two looks at whether to go on.
const SLICE: u64 = 2_000_000;

#[derive(Debug)]
struct RunUntil {
    plan: Plan,
}

fn parse(source: &Source, value: &Value<'_>, reader: &Reader<'_, '_>) -> Result<Box<dyn Step>, Problem> {
    let until = table::one_or_more(source, value, |value| table::parsed(source, value, Condition::from_str))?;
    let mut limits = Limits { slice: Some(SLICE), ..Limits::default() };
    if let Some(value) = reader.get("limit") {
        limits.instructions = Some(match value.as_integer() {
            Some(_) => table::integer(source, value, i64::MAX.unsigned_abs())?,
            None => table::parsed(source, value, warmboot_machine::count)?,
        });
    }
    if let Some(value) = reader.get("limit-time") {
        limits.time = Some(table::parsed(source, value, warmboot_machine::time)?);
    }
    Ok(Box::new(RunUntil { plan: Plan { until, actions: Vec::new(), limits } }))
}

impl RunUntil {
    fn conditions(&self) -> String {
        self.plan.until.iter().map(Condition::to_string).collect::<Vec<_>>().join(" or ")
    }
}

impl Step for RunUntil {
    fn describe(&self) -> String {
        format!("run-until {}", self.conditions())
    }

    fn expects(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let go_on = scene.go_on;
        let finish = session::drive(scene.machine, &self.plan, &mut |machine| go_on(machine))?;
        let (end, ended_by) = (finish.end, finish.ended_by.clone());
        scene.finish = Some(finish);
        match end {
            End::Met => Ok(()),
            End::Interrupted => Err(Stop::Interrupted),
            End::Limit => Err(Stop::Failed(format!(
                "expected {}\nfound    the {ended_by} was met first",
                self.conditions()
            ))),
            End::Stopped => Err(Stop::Failed(format!("expected {}\nfound    {ended_by}", self.conditions()))),
        }
    }
}
