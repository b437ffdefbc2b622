//! `run-for = "20M"`: so many more instructions, or so much more virtual time.
//!
//! A machine that stops by itself before that ends the step early and does not fail it: what it was is
//! for a later `expect`. This is how a machine is shown to be dead: it runs, and nothing comes of it.

use toml_span::Value;
use warmboot_machine::Limits;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    session::{self, End, Plan, SLICE},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new(
        "run-for",
        Shape::Either(&[Shape::Count, Shape::Time]),
        "Runs so many more instructions (\"20M\") or so much more virtual time (\"500ms\").",
    ),
    keys: &[],
    parse,
};

/// What `ended-by` says when nothing ended it before.
const RUN_FOR: &str = "run-for";

#[derive(Clone, Copy, Debug)]
enum RunFor {
    Instructions(u64),
    Time(u64),
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let step = match value.as_integer() {
        Some(_) => RunFor::Instructions(table::integer(source, value, i64::MAX.unsigned_abs())?),
        None => table::parsed(source, value, |text| {
            let count = warmboot_machine::count(text).map(RunFor::Instructions);
            let time = || warmboot_machine::time(text).map(RunFor::Time);
            count.or_else(|_| time()).map_err(|_| {
                format!("`{text}` is neither a count nor a time; expected for example \"20M\" or \"500ms\"")
            })
        })?,
    };
    Ok(Box::new(step))
}

impl Step for RunFor {
    fn describe(&self) -> String {
        match self {
            RunFor::Instructions(count) => format!("run-for {count} instructions"),
            RunFor::Time(nanoseconds) => format!("run-for {nanoseconds} ns"),
        }
    }

    fn expects(&self) -> bool {
        false
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let mut limits = Limits { slice: Some(SLICE), ..Limits::default() };
        match self {
            RunFor::Instructions(more) => {
                limits.instructions = Some(scene.machine.instructions().saturating_add(*more));
            }
            RunFor::Time(more) => limits.time = Some(scene.machine.virtual_time().saturating_add(*more)),
        }
        let plan = Plan { limits, ..Plan::default() };
        let go_on = scene.go_on;
        let mut finish = session::drive(scene.machine, &plan, &mut |machine| go_on(machine))?;
        if finish.end == End::Interrupted {
            return Err(Stop::Interrupted);
        }
        let own = match self {
            RunFor::Instructions(_) => "limit",
            RunFor::Time(_) => "limit-time",
        };
        if finish.end == End::Limit && finish.ended_by == own {
            finish.ended_by = RUN_FOR.to_owned();
        }
        scene.ran(finish);
        Ok(())
    }
}
