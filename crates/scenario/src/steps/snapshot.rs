//! `snapshot = "before"`: keeps the machine as it is under a name; `restore`, `diff` and reports use it.

use toml_span::Value;

use super::{Kind, POWER_ON, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    files,
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("snapshot", Shape::Text, "Keeps the machine under a name."),
    keys: &[Field::new("file", Shape::Text, "Also writes it to this file, from the scenario's folder.")],
    parse,
};

#[derive(Debug)]
struct Snapshot {
    name: String,
    file: Option<String>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    reader: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let named = |source: &Source, value: &Value<'_>| {
        table::parsed(source, value, |name| {
            if name.is_empty() { Err("expected a name") } else { Ok(name.to_owned()) }
        })
    };
    let name = named(source, value)?;
    if name == POWER_ON {
        let message = format!("`{name}` is the name of the machine as it was switched on");
        return Err(source.problem(value.span, message, "expected another name"));
    }
    Ok(Box::new(Snapshot { name, file: reader.optional("file", named)? }))
}

impl Step for Snapshot {
    fn describe(&self) -> String {
        format!("snapshot {}", self.name)
    }

    fn keeps(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn writes(&self) -> Option<&str> {
        self.file.as_deref()
    }

    fn expects(&self) -> bool {
        false
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        if let Some(file) = &self.file {
            let bytes = scene.machine.save().map_err(|error| Stop::Error(error.to_string()))?;
            let path = scene.places.resolve(file);
            files::write(&path, &bytes).map_err(|error| Stop::Error(error.to_string()))?;
        }
        let kept = scene.machine.fork();
        scene.kept.insert(self.name.clone(), kept);
        Ok(())
    }
}
