//! `${NAME}` in a scenario's strings: what the matrix chose for this case.

use std::borrow::Cow;

use toml_span::{
    Span, Value,
    value::{Key, Table, ValueInner},
};

use crate::{
    problem::{Problem, Source, did_you_mean},
    table,
};

/// Deeper values than this are refused, so that no file can exhaust the stack.
const DEEPEST: usize = 64;

/// Names and what they stand for.
pub(crate) struct Variables<'a, 'de>(pub(crate) Vec<(&'a str, &'a Value<'de>)>);

impl Variables<'_, '_> {
    /// A copy of `value` with every `${NAME}` in its strings and keys replaced. It has the places of the
    /// original, so that what is wrong with it is shown where it was written.
    pub(crate) fn fill(&self, source: &Source, value: &Value<'_>) -> Result<Value<'static>, Problem> {
        self.fill_to(source, value, 0)
    }

    /// The same for a table.
    pub(crate) fn fill_table(&self, source: &Source, table: &Table<'_>) -> Result<Table<'static>, Problem> {
        self.table(source, table, 0)
    }

    fn fill_to(&self, source: &Source, value: &Value<'_>, depth: usize) -> Result<Value<'static>, Problem> {
        if depth > DEEPEST {
            return Err(source.problem(value.span, "this is nested too deeply", ""));
        }
        let inner = match value.as_ref() {
            ValueInner::String(text) => match self.whole(source, text, value.span)? {
                Some(variable) => return self.plain(source, variable, value.span),
                None => ValueInner::String(Cow::Owned(self.text(source, text, value.span)?)),
            },
            ValueInner::Integer(number) => ValueInner::Integer(*number),
            ValueInner::Float(number) => ValueInner::Float(*number),
            ValueInner::Boolean(flag) => ValueInner::Boolean(*flag),
            ValueInner::Array(values) => ValueInner::Array(
                values
                    .iter()
                    .map(|value| self.fill_to(source, value, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            ValueInner::Table(table) => ValueInner::Table(self.table(source, table, depth)?),
        };
        Ok(Value::with_span(inner, value.span))
    }

    fn table(&self, source: &Source, table: &Table<'_>, depth: usize) -> Result<Table<'static>, Problem> {
        let mut filled = Table::new();
        for (key, value) in table {
            let name = Cow::Owned(self.text(source, &key.name, key.span)?);
            let value = self.fill_to(source, value, depth + 1)?;
            if filled.insert(Key { name, span: key.span }, value).is_some() {
                return Err(source.problem(key.span, "this key is there twice once filled in", ""));
            }
        }
        Ok(filled)
    }

    /// What a string that is `${NAME}` and nothing else stands for.
    fn whole(&self, source: &Source, text: &str, span: Span) -> Result<Option<&Value<'_>>, Problem> {
        let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        name.filter(|name| !name.contains("${")).map(|name| self.find(source, name, span)).transpose()
    }

    /// A variable's own value, shown at the place that uses it.
    fn plain(&self, source: &Source, value: &Value<'_>, span: Span) -> Result<Value<'static>, Problem> {
        let inner = match value.as_ref() {
            ValueInner::Integer(number) => ValueInner::Integer(*number),
            ValueInner::Boolean(flag) => ValueInner::Boolean(*flag),
            _ => ValueInner::String(Cow::Owned(table::scalar(source, value)?)),
        };
        Ok(Value::with_span(inner, span))
    }

    fn text(&self, source: &Source, text: &str, span: Span) -> Result<String, Problem> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(escaped) = before.strip_suffix('$') {
                filled.push_str(escaped);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                let message = "`${` without its `}`";
                return Err(source.problem(span, message, "").note("a `${` of its own is written `$${`"));
            };
            filled.push_str(&table::scalar(source, self.find(source, name, span)?)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn find(&self, source: &Source, name: &str, span: Span) -> Result<&Value<'_>, Problem> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value).ok_or_else(|| {
            let known = || self.0.iter().map(|(name, _)| *name);
            let note = match self.0.as_slice() {
                [] => "this scenario has no [matrix]; a `${` of its own is written `$${`".to_owned(),
                _ => format!("here there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("nothing is called `{name}` in this case");
            source.problem(span, message, did_you_mean(name, known())).note(note)
        })
    }
}
