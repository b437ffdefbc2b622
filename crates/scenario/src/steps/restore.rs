//! `restore = "before"`: back to a machine that `snapshot` kept.

use toml_span::Value;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    table::Reader,
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("restore", Shape::Text, "Back to the machine kept under a name."),
    keys: &[],
    parse,
};

#[derive(Debug)]
struct Restore {
    name: String,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    setting: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    Ok(Box::new(Restore { name: setting.kept(source, value)? }))
}

impl Step for Restore {
    fn describe(&self) -> String {
        format!("restore {}", self.name)
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let machine = scene.kept(&self.name)?.fork();
        scene.replace(machine);
        Ok(())
    }
}
