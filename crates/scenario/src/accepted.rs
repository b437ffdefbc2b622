//! Accepted results: what a case came to, kept beside its file, so that a later run that differs fails.
//!
//! `NAME.accepted.json` has one object per file: for each case its recorded values, text as lines, so
//! that a review shows what changed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::problem::InputError;

/// Something of a case's result that can be recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Recorded {
    /// The whole debug log.
    Debug,
    /// The whole serial log.
    Serial,
    /// What `diff` and `survivors` steps had to show.
    Diff,
    /// How the last run ended.
    EndedBy,
    /// BDA 40:75 at the end.
    Disks,
    /// The digest without absolute time and count.
    StateDigest,
}

/// All of them with their names in files.
const RECORDED: [(&str, Recorded); 6] = [
    ("debug", Recorded::Debug),
    ("serial", Recorded::Serial),
    ("diff", Recorded::Diff),
    ("ended-by", Recorded::EndedBy),
    ("disks", Recorded::Disks),
    ("state-digest", Recorded::StateDigest),
];

/// The names, for schema and messages.
pub(crate) fn names() -> Vec<&'static str> {
    RECORDED.iter().map(|(name, _)| *name).collect()
}

/// The one called `name`.
pub(crate) fn named(name: &str) -> Result<Recorded, String> {
    let known = RECORDED.iter().find(|(known, _)| *known == name).map(|(_, recorded)| *recorded);
    known.ok_or_else(|| format!("`{name}` is nothing that is recorded; there are {}", names().join(", ")))
}

impl Recorded {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        RECORDED.iter().find(|(_, recorded)| *recorded == self).map_or("?", |(name, _)| name)
    }
}

/// Recorded values of one case: name and lines.
pub type Values = BTreeMap<String, Vec<String>>;

/// A file of accepted results: for each case's combination (empty without a matrix) its values.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// By the part of the case's name behind the file's.
    pub cases: BTreeMap<String, Values>,
}

/// Larger files than this were not written by `--accept`.
const LARGEST: u64 = 256 << 20;

impl Accepted {
    /// Where the accepted results of a scenario file are.
    #[must_use]
    pub fn path(scenario: &Path) -> PathBuf {
        scenario.with_extension("accepted.json")
    }

    /// Reads the accepted results of a scenario file; none when there is no such file.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(scenario: &Path) -> Result<Accepted, InputError> {
        let path = Accepted::path(scenario);
        let fail = |why: String| InputError(format!("cannot read `{}`: {why}", path.display()));
        match fs::metadata(&path) {
            Ok(there) if there.len() > LARGEST => return Err(fail("it is too large".into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Accepted::default()),
            Err(error) => return Err(fail(error.to_string())),
        }
        let bytes = fs::read(&path).map_err(|error| fail(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))
    }

    /// The file's text, ending with a line feed.
    #[must_use]
    pub fn text(&self) -> String {
        // Maps of strings always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// How `values` of the case `key` differ from what was accepted, when they do.
    #[must_use]
    pub fn difference(&self, key: &str, values: &Values) -> Option<String> {
        let Some(accepted) = self.cases.get(key) else {
            return Some(
                "nothing is accepted for this case yet: `warmboot run --accept` does that".to_owned(),
            );
        };
        let names: std::collections::BTreeSet<&String> = accepted.keys().chain(values.keys()).collect();
        let differences: Vec<String> = names
            .into_iter()
            .filter_map(|name| {
                let lines = |values: &Values| values.get(name).cloned().unwrap_or_default().join("\n");
                let (old, new) = (lines(accepted), lines(values));
                (old != new).then(|| format!("{name} differs:\n{}", difference(&old, &new)))
            })
            .collect();
        if differences.is_empty() { None } else { Some(differences.join("\n")) }
    }
}

/// Lines that are gone with `-`, new ones with `+`, three around them.
fn difference(old: &str, new: &str) -> String {
    // A last line without its end would differ from the same line with one.
    let (old, new) = (format!("{old}\n"), format!("{new}\n"));
    let diff = similar::TextDiff::from_lines(&old, &new);
    let text = diff.unified_diff().context_radius(3).missing_newline_hint(false).to_string();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn values(lines: &[&str]) -> Values {
        Values::from([("debug".to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())])
    }

    #[rstest]
    #[case::same(&["a", "b"], None)]
    #[case::changed(&["a", "c"], Some("debug differs:\n@@ -1,2 +1,2 @@\n a\n-b\n+c"))]
    #[case::gone(&["a"], Some("debug differs:\n@@ -1,2 +1 @@\n a\n-b"))]
    fn differences(#[case] lines: &[&str], #[case] expect: Option<&str>) {
        let accepted = Accepted { cases: BTreeMap::from([("x".to_owned(), values(&["a", "b"]))]) };
        let found = accepted.difference("x", &values(lines));
        assert_eq!(found.as_deref(), expect);
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scenario = folder.path().join("x.toml");
        assert_eq!(Accepted::read(&scenario), Ok(Accepted::default()));
        let accepted = Accepted { cases: BTreeMap::from([("x".to_owned(), values(&["a", "b"]))]) };
        fs::write(Accepted::path(&scenario), accepted.text()).expect("written");
        assert_eq!(Accepted::read(&scenario), Ok(accepted.clone()));
        assert!(accepted.difference("y", &values(&[])).expect("said").contains("--accept"));
        fs::write(Accepted::path(&scenario), "{").expect("written");
        assert!(Accepted::read(&scenario).is_err());
    }
}
