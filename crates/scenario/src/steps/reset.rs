//! `reset = "system"`: a reset by one of the named paths.

use std::str::FromStr;

use toml_span::Value;
use warmboot_machine::ResetPath;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind =
    Kind { field: Field::new("reset", Shape::Choice(paths), "A reset by a named path."), keys: &[], parse };

pub(super) fn paths() -> Vec<&'static str> {
    ResetPath::ALL.iter().map(|(name, _)| *name).collect()
}

#[derive(Debug)]
struct Reset {
    path: ResetPath,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    Ok(Box::new(Reset { path: table::parsed(source, value, ResetPath::from_str)? }))
}

impl Step for Reset {
    fn describe(&self) -> String {
        format!("reset {}", self.path)
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        scene.machine.reset(self.path)?;
        Ok(())
    }
}
