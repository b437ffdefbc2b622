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
    typing::{self, LOOK_NS, Typing},
};

pub(super) const KIND: Kind =
    Kind { field: Field::new("type", Shape::Text, "Text typed on a US keyboard."), keys: &[], parse };

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
    let keys = table::parsed(source, value, typing::keys)?;
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
        let mut typing = Typing::new(self.keys.clone());
        // What is printed while typing belongs to the page the first key turns.
        wait_until_free(scene, &typing)?;
        scene.turn_the_page();
        while !typing.is_over() {
            if !typing.go_on(scene.machine)? {
                wait_until_free(scene, &typing)?;
            }
        }
        Ok(())
    }
}

fn wait_until_free(scene: &mut Scene<'_>, typing: &Typing) -> Result<(), Stop> {
    let patience = scene.machine.virtual_time().saturating_add(PATIENCE_NS);
    let limits = Limits { slice: Some(SLICE), ..Limits::default() };
    let not_taken =
        |why: String| Stop::Failed(format!("expected the guest to {}\nfound    {why}", typing.stuck()));
    while scene.machine.keyboard_is_idle() == Some(false) {
        let now = scene.machine.virtual_time();
        if now >= patience {
            return Err(not_taken("it does not read the keyboard".to_owned()));
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
