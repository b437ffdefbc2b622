//! `type = "dir\n"`: text on a US keyboard, each key as soon as the guest has taken the one before. The
//! step is over when the last key has gone down.

use toml_span::Value;
use warmboot_machine::{Condition, Ended, Limits};

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    session::SLICE,
    table::{self, Reader},
    typing::{LOOK_NS, Typing},
};

pub(super) const KIND: Kind =
    Kind { field: Field::new("type", Shape::Text, "Text typed on a US keyboard."), keys: &[], parse };

/// A guest that has no room by then does not read what it is given.
const PATIENCE_NS: u64 = 5_000_000_000;

#[derive(Debug)]
struct Type {
    text: String,
    typing: Typing,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let text = table::string(source, value)?.to_owned();
    let typing = table::parsed(source, value, Typing::on_keyboard)?;
    if typing.is_over() {
        return Err(source.problem(value.span, "there is nothing to type", ""));
    }
    Ok(Box::new(Type { text, typing }))
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
        enter(scene, self.typing.clone())
    }
}

/// Enters all of `typing`.
pub(super) fn enter(scene: &mut Scene<'_>, mut typing: Typing) -> Result<(), Stop> {
    // What is printed before there is room belongs to the page the first key turns.
    wait_for_room(scene, &typing)?;
    scene.turn_the_page();
    while !typing.is_over() {
        if !typing.go_on(scene.machine)? {
            wait_for_room(scene, &typing)?;
        }
    }
    Ok(())
}

fn wait_for_room(scene: &mut Scene<'_>, typing: &Typing) -> Result<(), Stop> {
    let patience = scene.machine.virtual_time().saturating_add(PATIENCE_NS);
    let limits = Limits { slice: Some(SLICE), ..Limits::default() };
    let not_taken =
        |why: String| Stop::Failed(format!("expected the guest to {}\nfound    {why}", typing.stuck()));
    while typing.has_room(scene.machine) == Some(false) {
        let now = scene.machine.virtual_time();
        if now >= patience {
            return Err(not_taken(typing.why_stuck().to_owned()));
        }
        let ended = scene.machine.run(&[Condition::Time(now.saturating_add(LOOK_NS))], limits)?;
        if !(scene.go_on)(scene.machine) {
            return Err(Stop::Interrupted);
        }
        if !matches!(ended, Ended::Condition(_) | Ended::Slice) {
            return Err(not_taken(format!("the machine stopped: {ended}")));
        }
    }
    Ok(())
}
