//! `press = "ctrl-alt-delete"`: keys pressed together and released, as scan codes from the keyboard.

use toml_span::Value;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("press", Shape::OneOrMore(&Shape::Text), "Keys down together and up again."),
    keys: &[],
    parse,
};

#[derive(Debug)]
struct Press {
    keys: Vec<String>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let keys = table::one_or_more(source, value, |value| {
        table::parsed(source, value, |keys| warmboot_machine::parse_keys(keys).map(|_| keys.to_owned()))
    })?;
    Ok(Box::new(Press { keys }))
}

impl Step for Press {
    fn describe(&self) -> String {
        format!("press {}", self.keys.join(", then "))
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        for keys in &self.keys {
            scene.machine.press(keys)?;
        }
        Ok(())
    }
}
