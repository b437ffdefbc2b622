//! `[matrix]`: every combination of its values is one case.
//!
//! An axis is a key of `[machine]` with an array of values, a name of the file's own with an array of
//! values, or a name with rows (`[[matrix.NAME]]`), each of which sets several things at once.

use std::collections::BTreeSet;

use toml_span::{Span, Value, value::Table};

use crate::{
    problem::{Problem, Source, did_you_mean},
    table,
};

/// More combinations than this in one file are refused: it is a slip, or wants several files.
const MOST: usize = 100_000;

/// Each case keeps what its file says, so that with many combinations a file must be short: combinations
/// times bytes.
const MOST_BYTES: usize = 128 << 20;

/// The key that leaves combinations out.
pub(crate) const EXCLUDE: &str = "exclude";

/// One dimension of the matrix.
pub(crate) struct Axis<'a, 'de> {
    pub(crate) name: String,
    pub(crate) rows: Vec<Row<'a, 'de>>,
}

/// One value of an axis, and what it sets.
pub(crate) struct Row<'a, 'de> {
    /// As names of cases and `when` have it.
    pub(crate) name: String,
    /// Keys of `[machine]` and their values.
    pub(crate) machine: Vec<(String, &'a Value<'de>)>,
    /// What `${AXIS}` and `${AXIS.KEY}` stand for, with the name before the braces closed.
    pub(crate) variables: Vec<(String, &'a Value<'de>)>,
}

/// One combination: for each axis, in order, the axis and the row chosen.
pub(crate) type Combination<'m, 'a, 'de> = Vec<(&'m Axis<'a, 'de>, &'m Row<'a, 'de>)>;

/// Conditions on a combination: one of the tables must hold, in a table all keys.
pub(crate) type Conditions = Vec<Vec<(String, Vec<String>)>>;

/// Reads the axes in the order of the file.
pub(crate) fn axes<'a, 'de>(source: &Source, matrix: &'a Table<'de>) -> Result<Vec<Axis<'a, 'de>>, Problem> {
    let mut axes: Vec<(Span, Axis<'_, '_>)> = Vec::new();
    let mut names = BTreeSet::new();
    for (key, value) in table::in_order(matrix) {
        if key.name == EXCLUDE {
            continue;
        }
        let found = match (value.as_table(), key.name.as_ref()) {
            // `machine.firmware` may be written as one quoted key or as nested tables.
            (Some(inner), "machine") => {
                let inner = table::in_order(inner).into_iter();
                inner.map(|(key, value)| (key.span, format!("machine.{}", key.name), value)).collect()
            }
            _ => vec![(key.span, key.name.to_string(), value)],
        };
        for (span, name, value) in found {
            check_name(source, span, &name)?;
            if !names.insert(name.clone()) {
                return Err(source.problem(span, format!("the matrix varies `{name}` twice"), ""));
            }
            axes.push((span, axis(source, name, value)?));
        }
    }
    let count = axes.iter().try_fold(1_usize, |count, (_, axis)| count.checked_mul(axis.rows.len()));
    if count.is_none_or(|count| count > MOST) {
        let span = matrix.keys().next().map(|key| key.span).unwrap_or_default();
        return Err(source.problem(span, format!("the matrix has more than {MOST} combinations"), ""));
    }
    if let Some(count) = count.filter(|count| count.saturating_mul(source.size()) > MOST_BYTES) {
        let span = matrix.keys().next().map(|key| key.span).unwrap_or_default();
        let message = format!("{count} combinations of a file of {} bytes are too many", source.size());
        return Err(source.problem(span, message, "").note("leave values out, or write several files"));
    }
    Ok(axes.into_iter().map(|(_, axis)| axis).collect())
}

fn check_name(source: &Source, span: Span, name: &str) -> Result<(), Problem> {
    let own = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if own(name) || name.strip_prefix("machine.").is_some_and(own) {
        return Ok(());
    }
    let expected = "expected a key of [machine], as \"machine.firmware\", or a name of your own without dots";
    Err(source.problem(span, format!("the matrix cannot vary `{name}`"), expected))
}

fn axis<'a, 'de>(source: &Source, name: String, value: &'a Value<'de>) -> Result<Axis<'a, 'de>, Problem> {
    let mut rows: Vec<Row<'_, '_>> = Vec::new();
    let mut names = BTreeSet::new();
    for value in table::array(source, value)? {
        let row = match (value.as_table(), name.strip_prefix("machine.")) {
            (Some(keys), None) => named_row(source, &name, value, keys)?,
            (_, machine) => Row {
                name: table::scalar(source, value)?,
                machine: machine.map(|key| (key.to_owned(), value)).into_iter().collect(),
                variables: vec![(name.clone(), value)],
            },
        };
        if !names.insert(row.name.clone()) {
            return Err(source.problem(value.span, format!("`{}` is there twice", row.name), ""));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(source.problem(value.span, format!("`{name}` has no values: nothing would run"), ""));
    }
    Ok(Axis { name, rows })
}

/// Reads a row: `name`, `machine` and variables.
fn named_row<'a, 'de>(
    source: &Source,
    axis: &str,
    row: &'a Value<'de>,
    keys: &'a Table<'de>,
) -> Result<Row<'a, 'de>, Problem> {
    let name = keys.get("name").ok_or_else(|| {
        source.problem(row.span, format!("this row of `{axis}` has no `name`"), "").note(
            "a row has a name, keys of [machine] such as machine.firmware, and variables, which are used as \
             ${AXIS.KEY}",
        )
    })?;
    let mut read = Row {
        name: table::string(source, name)?.to_owned(),
        machine: Vec::new(),
        variables: vec![(axis.to_owned(), name)],
    };
    for (key, value) in table::in_order(keys) {
        match key.name.as_ref() {
            "machine" => {
                let inner = table::in_order(table::table(source, value)?);
                read.machine.extend(inner.into_iter().map(|(key, value)| (key.name.to_string(), value)));
            }
            name => match name.strip_prefix("machine.") {
                Some(key) => read.machine.push((key.to_owned(), value)),
                None => {
                    if name != "name" {
                        // Only what can stand in text can be a variable.
                        let _ = table::scalar(source, value)?;
                    }
                    read.variables.push((format!("{axis}.{name}"), value));
                }
            },
        }
    }
    Ok(read)
}

/// Every combination that is not excluded, the last axis changing fastest. No axes give one empty
/// combination.
pub(crate) fn combinations<'m, 'a, 'de>(
    axes: &'m [Axis<'a, 'de>],
    exclude: &Conditions,
) -> Vec<Combination<'m, 'a, 'de>> {
    let mut combinations: Vec<Combination<'_, '_, '_>> = vec![Vec::new()];
    for axis in axes {
        combinations = combinations
            .iter()
            .flat_map(|combination| {
                axis.rows.iter().map(|row| {
                    let mut longer = combination.clone();
                    longer.push((axis, row));
                    longer
                })
            })
            .collect();
    }
    combinations.retain(|combination| !holds(exclude, combination));
    combinations
}

/// Whether one of the tables of `conditions` holds.
pub(crate) fn holds(conditions: &Conditions, combination: &Combination<'_, '_, '_>) -> bool {
    conditions.iter().any(|all| {
        all.iter().all(|(name, values)| {
            combination.iter().any(|(axis, row)| axis.name == *name && values.contains(&row.name))
        })
    })
}

/// Reads conditions: a table or an array of tables, each key an axis, each value one or more of its.
pub(crate) fn conditions(
    source: &Source,
    value: &Value<'_>,
    axes: &[Axis<'_, '_>],
) -> Result<Conditions, Problem> {
    table::one_or_more(source, value, |value| {
        let entries = table::in_order(table::table(source, value)?);
        if entries.is_empty() {
            return Err(source.problem(value.span, "this says nothing about the matrix", ""));
        }
        entries
            .into_iter()
            .map(|(key, value)| {
                let axis = find(source, key.span, &key.name, axes)?;
                let values = table::one_or_more(source, value, |value| {
                    let text = table::scalar(source, value)?;
                    row_of(source, value.span, axis, &text).map(|_| text)
                })?;
                Ok((axis.name.clone(), values))
            })
            .collect()
    })
}

/// The axis called `name`.
pub(crate) fn find<'m, 'a, 'de>(
    source: &Source,
    span: Span,
    name: &str,
    axes: &'m [Axis<'a, 'de>],
) -> Result<&'m Axis<'a, 'de>, Problem> {
    axes.iter().find(|axis| axis.name == name).ok_or_else(|| {
        let known = || axes.iter().map(|axis| axis.name.as_str());
        let note = if axes.is_empty() {
            "this scenario has no [matrix]".to_owned()
        } else {
            format!("matrix: {}", known().collect::<Vec<_>>().join(", "))
        };
        let message = format!("the matrix does not vary `{name}`");
        source.problem(span, message, did_you_mean(name, known())).note(note)
    })
}

/// The row of `axis` called `name`.
pub(crate) fn row_of<'m, 'a, 'de>(
    source: &Source,
    span: Span,
    axis: &'m Axis<'a, 'de>,
    name: &str,
) -> Result<&'m Row<'a, 'de>, Problem> {
    axis.rows.iter().find(|row| row.name == name).ok_or_else(|| {
        let known = || axis.rows.iter().map(|row| row.name.as_str());
        let note = format!("values: {}", known().collect::<Vec<_>>().join(", "));
        let message = format!("`{}` never is `{name}`", axis.name);
        source.problem(span, message, did_you_mean(name, known())).note(note)
    })
}
