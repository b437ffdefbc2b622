//! `migrate = { emulator = "qemu-kvm-1.5-rhel7", shadow-bios = true }`: goes on in another wiring.

use toml_span::Value;
use warmboot_machine::Destination;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    firmware, load,
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new(
        "migrate",
        Shape::Table(DESTINATION),
        "Goes on on another emulator, as another type, or both.",
    ),
    keys: &[],
    parse,
};

const DESTINATION: &[Field] = &[
    Field::new("emulator", Shape::Choice(load::emulator_names), "Emulator generation to go on on."),
    Field::new("type", Shape::Choice(load::machine_names), "Machine type to go on as."),
    Field::new("firmware", Shape::Text, "The destination's own BIOS image, which its resets may put back."),
    Field::new(
        "shadow-bios",
        Shape::Truth,
        "Whether the hook that fills shadow RAM runs, whatever the type says.",
    ),
];

#[derive(Debug)]
struct Migrate {
    emulator: Option<String>,
    machine: Option<String>,
    firmware: Option<String>,
    shadow_bios: Option<bool>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "a migration", DESTINATION);
    let step = Migrate {
        emulator: reader.optional("emulator", load::emulator)?,
        machine: reader.optional("type", load::machine_type)?,
        firmware: reader.optional("firmware", table::string)?.map(str::to_owned),
        shadow_bios: reader.optional("shadow-bios", table::boolean)?,
    };
    reader.finish()?;
    Ok(Box::new(step))
}

impl Step for Migrate {
    fn describe(&self) -> String {
        let Migrate { emulator, machine, firmware, shadow_bios } = self;
        let mut text = "migrate".to_owned();
        for (word, name) in [("to", emulator), ("as", machine), ("with", firmware)] {
            if let Some(name) = name {
                text.push_str(&format!(" {word} {name}"));
            }
        }
        match shadow_bios {
            Some(true) => text.push_str(", shadow-bios"),
            Some(false) => text.push_str(", no shadow-bios"),
            None => {}
        }
        text
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn emulator(&self) -> Option<&str> {
        self.emulator.as_deref()
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let image = self.firmware.as_ref().map(|name| firmware::system(name, scene.places)).transpose();
        let destination = Destination {
            machine: self.machine.clone(),
            emulator: self.emulator.clone(),
            generation: self.emulator.as_ref().and_then(|name| scene.places.substitutes.generation(name)),
            firmware: image.map_err(|error| Stop::Error(error.to_string()))?,
            shadow_bios: self.shadow_bios,
        };
        let (machine, report) =
            scene.machine.migrate(&destination).map_err(|error| Stop::Error(error.to_string()))?;
        scene.replace(machine);
        let unfit = report.unfit.iter().map(ToString::to_string);
        let messages: Vec<String> = report.messages.iter().cloned().chain(unfit).collect();
        let (from, to) = (&report.from, &report.to);
        let title = format!("{} on {} → {} on {}", from.0, from.1, to.0, to.1);
        let blocks = report.blocks.iter().map(|(name, size)| format!("block {name}, {size} bytes"));
        let text: Vec<String> = blocks.chain(messages.iter().cloned()).collect();
        scene.shown.push((title, text.join("\n")));
        scene.migration = Some(messages);
        Ok(())
    }
}
