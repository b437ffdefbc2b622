//! The committed list of ranges that one of the two has and the other leaves out on purpose.

use std::path::Path;

use toml_span::Value;

use crate::parity::ParityError;

/// No list may name more ranges than this.
const MOST_RANGES: usize = 8;

/// One range that may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `memory`, `cpu-smm-0` or `I/O`.
    pub view: String,
    /// What QEMU calls it.
    pub name: String,
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
}

/// The whole list.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    entries: Vec<Entry>,
}

impl Allowed {
    /// Reads the list from a file.
    pub fn load(path: &Path) -> Result<Allowed, ParityError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ParityError::Io { what: path.display().to_string(), source })?;
        Allowed::parse(&text).map_err(|error| ParityError::Usage(format!("{}: {error}", path.display())))
    }

    /// Reads the list from text; refuses a range without a reason, and a list that is too long.
    pub fn parse(text: &str) -> Result<Allowed, String> {
        let root = toml_span::parse(text).map_err(|error| error.to_string())?;
        let rows = match root.pointer("/ranges") {
            Some(rows) => rows.as_array().ok_or("`ranges` must be a list of tables")?.as_slice(),
            None => &[],
        };
        if rows.len() > MOST_RANGES {
            return Err(format!("names {} ranges; at most {MOST_RANGES} may differ", rows.len()));
        }
        let entries = (1..)
            .zip(rows)
            .map(|(number, row)| entry(row).map_err(|error| format!("range {number}: {error}")));
        Ok(Allowed { entries: entries.collect::<Result<_, _>>()? })
    }

    /// How many ranges the list names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The range called `name` in `view` that holds all of `first` to `last`.
    pub fn find(&self, view: &str, name: &str, first: u64, last: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| {
            entry.view == view && entry.name == name && entry.first <= first && last <= entry.last
        })
    }

    /// Whether a range of the list begins or ends at the border before `address`.
    pub fn borders(&self, view: &str, address: u64) -> bool {
        let borders = |entry: &Entry| entry.first == address || entry.last.checked_add(1) == Some(address);
        self.entries.iter().any(|entry| entry.view == view && borders(entry))
    }
}

fn entry(row: &Value<'_>) -> Result<Entry, String> {
    const KEYS: [&str; 5] = ["view", "name", "first", "last", "reason"];
    let table = row.as_table().ok_or("is not a table")?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.name.as_ref())) {
        return Err(format!("unknown key `{}`; keys: {}", key.name, KEYS.join(", ")));
    }
    let text = |key: &str| {
        let text = table.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        text.map(str::to_owned).ok_or(format!("has no `{key}`"))
    };
    let number = |key: &str| {
        let value = table.get(key).and_then(Value::as_integer);
        value.and_then(|value| u64::try_from(value).ok()).ok_or(format!("`{key}` must be a number"))
    };
    text("reason")?;
    let entry =
        Entry { view: text("view")?, name: text("name")?, first: number("first")?, last: number("last")? };
    if entry.first > entry.last {
        return Err("ends before it begins".to_owned());
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[[ranges]]\nview='I/O'\nname='vmport'\nfirst=0x5658\nlast=0x5658\nreason='r'\n";

    #[test]
    fn lists() {
        let check = |text: &str, expect: Result<usize, &str>| match (Allowed::parse(text), expect) {
            (Ok(allowed), Ok(count)) => assert_eq!(allowed.len(), count, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
        };
        check("", Ok(0));
        check(GOOD, Ok(1));
        check(&GOOD.repeat(8), Ok(8));
        check(&GOOD.repeat(9), Err("at most 8"));
        check(&GOOD.replace("reason='r'\n", ""), Err("no `reason`"));
        check(&GOOD.replace("'r'", "' '"), Err("no `reason`"));
        check(&GOOD.replace("last=0x5658", "last=1"), Err("ends before"));
        check(&(GOOD.to_owned() + "extra=1\n"), Err("unknown key"));
    }

    #[test]
    fn the_committed_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("memory-map-allowed.toml");
        let allowed = Allowed::load(&path).expect("the committed list");
        assert!(allowed.find("I/O", "vmport", 0x5658, 0x5658).is_some());
        assert!(allowed.find("I/O", "vmport", 0x5657, 0x5658).is_none());
        assert!(allowed.find("memory", "vmport", 0x5658, 0x5658).is_none());
    }
}
