//! `send = "ls\n"`: text to the serial port, byte by byte as the port has room. The step is over when the
//! port has the last byte.

use toml_span::Value;

use super::{Kind, Scene, Setting, Step, Stop, type_text::enter};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    table::{self, Reader},
    typing::Typing,
};

pub(super) const KIND: Kind =
    Kind { field: Field::new("send", Shape::Text, "Text sent to the serial port."), keys: &[], parse };

#[derive(Debug)]
struct Send {
    text: String,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let text = table::string(source, value)?.to_owned();
    if text.is_empty() {
        return Err(source.problem(value.span, "there is nothing to send", ""));
    }
    Ok(Box::new(Send { text }))
}

impl Step for Send {
    fn describe(&self) -> String {
        format!("send {:?}", self.text)
    }

    fn expects(&self) -> bool {
        false
    }

    fn turns_the_page(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        enter(scene, Typing::on_serial(&self.text))
    }
}
