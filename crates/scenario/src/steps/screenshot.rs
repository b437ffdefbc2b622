//! `screenshot = "screen.png"`: writes what is on the screen to a PNG file, from the scenario's folder.

use toml_span::Value;
use warmboot_inspect::screen;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    files,
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("screenshot", Shape::Text, "Writes the screen to this PNG file."),
    keys: &[],
    parse,
};

#[derive(Debug)]
struct Screenshot {
    file: String,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let file = table::parsed(source, value, |name| {
        if name.is_empty() { Err("expected the name of a file") } else { Ok(name.to_owned()) }
    })?;
    Ok(Box::new(Screenshot { file }))
}

impl Step for Screenshot {
    fn describe(&self) -> String {
        format!("screenshot {}", self.file)
    }

    fn writes(&self) -> Option<&str> {
        Some(&self.file)
    }

    fn expects(&self) -> bool {
        false
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let Some(picture) = screen::png(scene.machine) else {
            return Err(Stop::Error(
                "this machine has no display adapter, so no screen: `vga` adds one".to_owned(),
            ));
        };
        let path = scene.places.resolve(&self.file);
        files::write(&path, &picture).map_err(|error| Stop::Error(error.to_string()))
    }
}
