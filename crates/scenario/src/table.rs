//! Reading TOML tables with errors that point at the place.

use std::cell::RefCell;

use toml_span::{
    Span, Value,
    value::{Key, Table},
};

use crate::{
    fields::Field,
    problem::{Problem, Source, did_you_mean},
};

/// A table being read. It has the keys its list of fields names and no others: the same list makes the
/// schema, so neither can know a key the other does not.
pub(crate) struct Reader<'a, 'de> {
    source: &'a Source,
    table: Option<&'a Table<'de>>,
    /// What the keys belong to, for messages: `[machine]`, `step run-until`.
    what: String,
    fields: Vec<&'static Field>,
    /// Values that take the place of the table's own (from the matrix).
    instead: &'a [(String, &'a Value<'de>)],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a, 'de> Reader<'a, 'de> {
    pub(crate) fn new(
        source: &'a Source,
        table: Option<&'a Table<'de>>,
        what: impl Into<String>,
        fields: impl IntoIterator<Item = &'static Field>,
    ) -> Self {
        let fields = fields.into_iter().collect();
        Reader { source, table, what: what.into(), fields, instead: &[], asked: RefCell::default() }
    }

    /// The same with values that replace or add to the table's.
    pub(crate) fn with(mut self, instead: &'a [(String, &'a Value<'de>)]) -> Self {
        self.instead = instead;
        self
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Value<'de>> {
        debug_assert!(self.fields.iter().any(|field| field.name == key), "{}: no field {key}", self.what);
        self.asked.borrow_mut().push(key);
        let replaced = self.instead.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
        replaced.or_else(|| self.table.and_then(|table| table.get(key)))
    }

    /// Reads `key` with `parse`, if it is there.
    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'a Source, &'a Value<'de>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.get(key).map(|value| parse(self.source, value)).transpose()
    }

    /// The value of a key that must be there; `whole` is where its table is.
    pub(crate) fn required(&self, key: &'static str, whole: &Value<'_>) -> Result<&'a Value<'de>, Problem> {
        // A slip in the key's own name is the likelier reason.
        self.get(key).ok_or_else(|| match self.unknown() {
            Some(unknown) => unknown,
            None => self.source.problem(whole.span, format!("{} has no `{key}`", self.what), ""),
        })
    }

    /// Refuses keys that are no fields.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let asked = self.asked.borrow();
        debug_assert!(
            self.fields.iter().all(|field| asked.contains(&field.name)),
            "{}: a field is never read; asked: {asked:?}",
            self.what
        );
        self.unknown().map_or(Ok(()), Err)
    }

    /// The first key that is no field.
    fn unknown(&self) -> Option<Problem> {
        let own =
            self.table.into_iter().flat_map(|table| table.keys()).map(|key| (key.name.as_ref(), key.span));
        let instead = self.instead.iter().map(|(name, value)| (name.as_str(), value.span));
        let known = || self.fields.iter().map(|field| field.name);
        let unknown = instead
            .chain(own)
            .filter(|(name, _)| !known().any(|known| known == *name))
            .min_by_key(|(_, span)| span.start);
        unknown.map(|(name, span)| {
            let message = format!("unknown key `{name}` in {}", self.what);
            let label = did_you_mean(name, known());
            let keys = known().collect::<Vec<_>>().join(", ");
            self.source.problem(span, message, label).note(format!("keys: {keys}"))
        })
    }
}

/// A problem with a value that is not what it must be.
pub(crate) fn wanted(source: &Source, value: &Value<'_>, expected: &str) -> Problem {
    let found = value.as_ref().type_str();
    source.problem(
        value.span,
        format!("expected {expected}, found {}", article(found)),
        format!("expected {expected}"),
    )
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// Reads a string.
pub(crate) fn string<'a>(source: &Source, value: &'a Value<'_>) -> Result<&'a str, Problem> {
    value.as_str().ok_or_else(|| wanted(source, value, "a string"))
}

/// Reads a string that `parse` understands.
pub(crate) fn parsed<T, E: std::fmt::Display>(
    source: &Source,
    value: &Value<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Problem> {
    let text = string(source, value)?;
    parse(text).map_err(|error| source.problem(value.span, error.to_string(), ""))
}

/// Reads true or false.
pub(crate) fn boolean(source: &Source, value: &Value<'_>) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| wanted(source, value, "true or false"))
}

/// Reads a whole number from zero to `largest`.
pub(crate) fn integer(source: &Source, value: &Value<'_>, largest: u64) -> Result<u64, Problem> {
    let number = value.as_integer().ok_or_else(|| wanted(source, value, "a whole number"))?;
    let number = u64::try_from(number).ok().filter(|number| *number <= largest);
    number.ok_or_else(|| {
        let expected = format!("expected 0 to {largest}");
        source.problem(value.span, format!("this number is out of range; {expected}"), expected)
    })
}

/// Reads a table.
pub(crate) fn table<'a, 'de>(source: &Source, value: &'a Value<'de>) -> Result<&'a Table<'de>, Problem> {
    value.as_table().ok_or_else(|| wanted(source, value, "a table"))
}

/// Reads an array.
pub(crate) fn array<'a, 'de>(source: &Source, value: &'a Value<'de>) -> Result<&'a [Value<'de>], Problem> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wanted(source, value, "an array"))
}

/// Reads one value, or an array of at least one, each with `parse`.
pub(crate) fn one_or_more<'a, 'de, T>(
    source: &Source,
    value: &'a Value<'de>,
    mut parse: impl FnMut(&'a Value<'de>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    match value.as_array() {
        None => Ok(vec![parse(value)?]),
        Some(values) if values.is_empty() => Err(wanted(source, value, "at least one value")),
        Some(values) => values.iter().map(parse).collect(),
    }
}

/// The keys of a table in the order of the file.
pub(crate) fn in_order<'a, 'de>(table: &'a Table<'de>) -> Vec<(&'a Key<'de>, &'a Value<'de>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    entries
}

/// A scalar as text, for names and comparisons.
pub(crate) fn scalar(source: &Source, value: &Value<'_>) -> Result<String, Problem> {
    use toml_span::value::ValueInner::{Array, Boolean, Float, Integer, String, Table};
    match value.as_ref() {
        String(text) => Ok(text.to_string()),
        Integer(number) => Ok(number.to_string()),
        Boolean(flag) => Ok(flag.to_string()),
        Float(_) | Array(_) | Table(_) => {
            Err(wanted(source, value, "a string, a whole number, true or false"))
        }
    }
}

/// A problem that toml-span found.
pub(crate) fn syntax(source: &Source, error: &toml_span::Error) -> Problem {
    let span = if error.span == Span::default() { Span::new(0, 0) } else { error.span };
    source.problem(span, error.to_string(), "")
}
