//! `screenshot = "screen.png"`: refused for as long as no machine has a display adapter.

use toml_span::Value;

use super::{Kind, Setting, Step};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source},
    table::Reader,
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("screenshot", Shape::Text, "A picture of the screen; no machine has one yet."),
    keys: &[],
    parse,
};

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let problem = source.problem(value.span, "no machine has a display adapter yet: there is no screen", "");
    Err(problem.note("what firmware prints is in `debug` and `serial` expectations"))
}
