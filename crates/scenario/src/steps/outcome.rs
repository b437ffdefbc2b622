//! `outcome = { … }` with `by = ["environment", "reset"]`: the expectation that the case's cell of the
//! matrix names, in a table that reads like the one in a paper.

use toml_span::Value;

use super::{Kind, Scene, Setting, Step, Stop, expect::Expect};
use crate::{
    fields::{Field, Shape},
    matrix::{self, Axis},
    problem::{Problem, Source, did_you_mean},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("outcome", Shape::Tree, "Names of [outcomes] by the values of the axes in `by`."),
    keys: &[Field::required(
        "by",
        Shape::OneOrMore(&Shape::Text),
        "Axes of the matrix, the outermost first.",
    )],
    parse,
};

#[derive(Debug)]
struct Outcome {
    name: String,
    expect: Expect,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    reader: &Reader<'_, '_>,
    setting: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let by = match reader.get("by") {
        Some(by) => table::one_or_more(source, by, |value| {
            matrix::find(source, value.span, table::string(source, value)?, setting.axes)
        })?,
        None => Vec::new(),
    };
    check_keys(source, value, &by)?;
    let leaf = find_leaf(source, value, &by, setting)?;
    let name = table::string(source, leaf)?;
    let outcomes = setting.outcomes.map(table::in_order).unwrap_or_default();
    let found = outcomes.iter().find(|(key, _)| key.name == name);
    let Some((_, expectation)) = found else {
        let known = || outcomes.iter().map(|(key, _)| key.name.as_ref());
        let note = match outcomes.as_slice() {
            [] => "they are written as [outcomes.NAME], with the keys of an `expect`".to_owned(),
            _ => format!("outcomes: {}", known().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("no outcome is called `{name}`");
        return Err(source.problem(leaf.span, message, did_you_mean(name, known())).note(note));
    };
    let expect = Expect::read(source, &setting.variables.fill(source, expectation)?)?;
    Ok(Box::new(Outcome { name: name.to_owned(), expect }))
}

/// Refuses keys that are no values of their axis, in all of the table: a slip in a cell of another case
/// would show as a missing cell there.
fn check_keys(source: &Source, value: &Value<'_>, by: &[&Axis<'_, '_>]) -> Result<(), Problem> {
    let Some(cells) = value.as_table() else {
        return table::string(source, value).map(|_| ());
    };
    let Some((axis, inner)) = by.split_first() else {
        let message = "this table is deeper than `by` has axes";
        return Err(source.problem(value.span, message, "").note("an outcome's name was expected here"));
    };
    for (key, value) in table::in_order(cells) {
        let _ = matrix::row_of(source, key.span, axis, &key.name)?;
        check_keys(source, value, inner)?;
    }
    Ok(())
}

fn find_leaf<'v, 'de>(
    source: &Source,
    mut value: &'v Value<'de>,
    by: &[&Axis<'_, '_>],
    setting: &Setting<'_>,
) -> Result<&'v Value<'de>, Problem> {
    for axis in by {
        let Some(cells) = value.as_table() else { break };
        let row = setting.combination.iter().find(|(chosen, _)| chosen.name == axis.name);
        let name = row.map_or("", |(_, row)| row.name.as_str());
        value = cells.get(name).ok_or_else(|| {
            let case: Vec<String> =
                setting.combination.iter().map(|(axis, row)| format!("{}={}", axis.name, row.name)).collect();
            let message = format!("no outcome for the case {}: nothing at `{name}`", case.join(", "));
            source
                .problem(value.span, message, "")
                .note("name one, or leave the case out: [matrix] exclude = [{ AXIS = \"VALUE\" }]")
        })?;
    }
    Ok(value)
}

impl Step for Outcome {
    fn describe(&self) -> String {
        format!("outcome {}: {}", self.name, self.expect.describe())
    }

    fn expects(&self) -> bool {
        true
    }

    fn outcome(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        self.expect.take(scene)
    }
}
