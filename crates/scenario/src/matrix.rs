//! `[matrix]`: every combination of its values is one case.

use toml_span::{Value, value::Table};

use crate::{
    problem::{Problem, Source},
    table,
};

/// More combinations than this in one file are refused: it is a slip, or wants several files.
const MOST: usize = 100_000;

/// One row of the matrix: a path such as `machine.firmware`, and the values it takes.
pub(crate) struct Axis<'a, 'de> {
    pub(crate) path: String,
    pub(crate) values: Vec<(String, &'a Value<'de>)>,
}

/// One combination: for each axis its path, the value's text, and the value.
pub(crate) type Combination<'a, 'de> = Vec<(String, String, &'a Value<'de>)>;

/// Reads the axes in the order of the file.
pub(crate) fn axes<'a, 'de>(source: &Source, matrix: &'a Table<'de>) -> Result<Vec<Axis<'a, 'de>>, Problem> {
    let mut axes = Vec::new();
    collect(source, "", matrix, &mut axes)?;
    let count = axes.iter().try_fold(1_usize, |count, axis| count.checked_mul(axis.values.len()));
    if count.is_none_or(|count| count > MOST) {
        let span = matrix.keys().next().map(|key| key.span).unwrap_or_default();
        return Err(source.problem(span, format!("the matrix has more than {MOST} combinations"), ""));
    }
    Ok(axes)
}

/// `machine.firmware` may be written as one quoted key or as nested tables.
fn collect<'a, 'de>(
    source: &Source,
    prefix: &str,
    table: &'a Table<'de>,
    axes: &mut Vec<Axis<'a, 'de>>,
) -> Result<(), Problem> {
    for (key, value) in table::in_order(table) {
        let path = format!("{prefix}{}", key.name);
        if let Some(inner) = value.as_table() {
            collect(source, &format!("{path}."), inner, axes)?;
            continue;
        }
        if !path.strip_prefix("machine.").is_some_and(|rest| !rest.is_empty() && !rest.contains('.')) {
            let message = format!("the matrix cannot vary `{path}`");
            return Err(source.problem(
                key.span,
                message,
                "expected a key of [machine], as \"machine.firmware\"",
            ));
        }
        if axes.iter().any(|axis| axis.path == path) {
            return Err(source.problem(key.span, format!("the matrix varies `{path}` twice"), ""));
        }
        let mut values: Vec<(String, &Value<'_>)> = Vec::new();
        for value in table::array(source, value)? {
            let text = table::scalar(source, value)?;
            if values.iter().any(|(other, _)| *other == text) {
                return Err(source.problem(value.span, format!("`{text}` is there twice"), ""));
            }
            values.push((text, value));
        }
        if values.is_empty() {
            return Err(source.problem(value.span, format!("`{path}` has no values: nothing would run"), ""));
        }
        axes.push(Axis { path, values });
    }
    Ok(())
}

/// Every combination, the last axis changing fastest. No axes give one empty combination.
pub(crate) fn combinations<'a, 'de>(axes: &[Axis<'a, 'de>]) -> Vec<Combination<'a, 'de>> {
    let mut combinations: Vec<Combination<'a, 'de>> = vec![Vec::new()];
    for axis in axes {
        combinations = combinations
            .iter()
            .flat_map(|combination| {
                axis.values.iter().map(|(text, value)| {
                    let mut longer = combination.clone();
                    longer.push((axis.path.clone(), text.clone(), *value));
                    longer
                })
            })
            .collect();
    }
    combinations
}
