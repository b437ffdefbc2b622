//! `type = "dir\n"`: text on a US keyboard, each key as soon as the guest has taken the one before.

use toml_span::Value;
use warmboot_machine::{Condition, Ended, Limits};

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    session::SLICE,
    table::{self, Reader},
};

pub(super) const KIND: Kind =
    Kind { field: Field::new("type", Shape::Text, "Text typed on a US keyboard."), keys: &[], parse };

/// How long a key is held, in nanoseconds.
const HOLD_NS: u64 = 20_000_000;
/// Between two looks at whether the guest has taken a key.
const LOOK_NS: u64 = 1_000_000;
/// A guest that has not taken a key by then does not read the keyboard.
const PATIENCE_NS: u64 = 5_000_000_000;

#[derive(Debug)]
struct Type {
    text: String,
    keys: Vec<String>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let text = table::string(source, value)?.to_owned();
    let keys = table::parsed(source, value, |text| {
        let keys = text.chars().map(|character| {
            let keys = warmboot_machine::typed_key(character);
            keys.ok_or_else(|| format!("`{character}` is on no key of a US keyboard"))
        });
        keys.collect::<Result<Vec<_>, _>>()
    })?;
    if keys.is_empty() {
        return Err(source.problem(value.span, "there is nothing to type", ""));
    }
    Ok(Box::new(Type { text, keys }))
}

impl Step for Type {
    fn describe(&self) -> String {
        format!("type {:?}", self.text)
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        // What is printed while typing belongs to the page the first key turns.
        scene.turn_the_page();
        for (number, keys) in (1..).zip(&self.keys) {
            scene.machine.press_and_hold(keys, HOLD_NS)?;
            wait_until_taken(scene).map_err(|stop| match stop {
                Stop::Failed(why) => Stop::Failed(format!(
                    "expected the guest to take key {number} of {}, `{keys}`\nfound    {why}",
                    self.keys.len()
                )),
                other => other,
            })?;
        }
        Ok(())
    }
}

fn wait_until_taken(scene: &mut Scene<'_>) -> Result<(), Stop> {
    let patience = scene.machine.virtual_time().saturating_add(PATIENCE_NS);
    let limits = Limits { slice: Some(SLICE), ..Limits::default() };
    while scene.machine.keyboard_is_idle() != Some(true) {
        let now = scene.machine.virtual_time();
        if now >= patience {
            return Err(Stop::Failed("it does not read the keyboard".to_owned()));
        }
        let ended = scene.machine.run(&[Condition::Time(now.saturating_add(LOOK_NS))], limits)?;
        if !(scene.go_on)(scene.machine) {
            return Err(Stop::Interrupted);
        }
        if !matches!(ended, Ended::Condition(_) | Ended::Slice) {
            return Err(Stop::Failed(format!("the machine stopped: {ended}")));
        }
    }
    Ok(())
}
