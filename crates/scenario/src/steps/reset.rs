//! `reset = "system"`: a reset by one of the named paths.

use std::str::FromStr;

use toml_span::Value;
use warmboot_machine::ResetPath;

use super::{Kind, Scene, Step, Stop};
use crate::{
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind { name: "reset", parse };

#[derive(Debug)]
struct Reset {
    path: ResetPath,
}

fn parse(source: &Source, value: &Value<'_>, _: &Reader<'_, '_>) -> Result<Box<dyn Step>, Problem> {
    Ok(Box::new(Reset { path: table::parsed(source, value, ResetPath::from_str)? }))
}

impl Step for Reset {
    fn describe(&self) -> String {
        format!("reset {}", self.path)
    }

    fn expects(&self) -> bool {
        false
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        scene.turn_the_page();
        scene.machine.reset(self.path);
        Ok(())
    }
}
