//! Flat views as `info mtree -f` prints them, and where two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use super::allowed::Allowed;

/// The views that are compared.
const NAMES: [&str; 3] = ["memory", "cpu-smm-0", "I/O"];

/// One line of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    first: u64,
    last: u64,
    /// `prio 0, i/o` and the like.
    kind: String,
    name: String,
    /// Where in the region or block called `name` it begins.
    offset: u64,
}

impl Range {
    fn parse(line: &str) -> Option<Range> {
        let (addresses, rest) = line.trim().split_once(" (")?;
        let (first, last) = addresses.split_once('-')?;
        let (kind, rest) = rest.split_once("): ")?;
        let (name, offset) = rest.split_once(" @").unwrap_or((rest, "0"));
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let [first, last, offset] = [number(first)?, number(last)?, number(offset.trim())?];
        (first <= last).then_some(Range { first, last, kind: kind.to_owned(), name: name.to_owned(), offset })
    }

    /// What answers `address`, which it holds.
    fn at(&self, address: u64) -> Answer<'_> {
        Answer {
            kind: &self.kind,
            name: &self.name,
            offset: self.offset.wrapping_add(address.wrapping_sub(self.first)),
        }
    }
}

/// What answers one address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Answer<'a> {
    kind: &'a str,
    name: &'a str,
    offset: u64,
}

impl Answer<'_> {
    fn text(answer: Option<Answer<'_>>) -> String {
        answer.map_or("nothing".to_owned(), |Answer { kind, name, offset }| {
            format!("{name} @{offset:x} ({kind})")
        })
    }
}

/// Views by the name of their address space.
#[derive(Clone, Debug, Default)]
pub struct Views(BTreeMap<String, Vec<Range>>);

impl Views {
    /// Reads the text; says which of [`NAMES`] it lacks.
    pub fn parse(text: &str) -> Result<Views, String> {
        let mut views = BTreeMap::new();
        let mut spaces: Vec<String> = Vec::new();
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if line.starts_with("FlatView ") {
                spaces.clear();
            } else if let Some(space) = line.trim().strip_prefix("AS \"") {
                spaces.extend(space.split('"').next().map(str::to_owned));
            } else if let Some(range) = Range::parse(line) {
                for space in &spaces {
                    views.entry(space.clone()).or_insert_with(Vec::new).push(range.clone());
                }
            }
        }
        match NAMES.iter().find(|name| !views.contains_key(**name)) {
            Some(missing) => Err(format!("no view `{missing}` in what it prints")),
            None => Ok(Views(views)),
        }
    }

    /// Ranges of the views that are compared.
    pub fn count(&self) -> usize {
        NAMES.iter().map(|name| self.ranges(name).len()).sum()
    }

    fn ranges(&self, view: &str) -> &[Range] {
        self.0.get(view).map_or(&[], Vec::as_slice)
    }
}

/// One line for each stretch that two pieces of the same view answer differently, and for each
/// border that only one has.
pub fn differences(ours: &Views, theirs: &Views, allowed: &Allowed) -> Vec<String> {
    NAMES
        .iter()
        .flat_map(|view| view_differences(view, ours.ranges(view), theirs.ranges(view), allowed))
        .collect()
}

fn view_differences(view: &str, ours: &[Range], theirs: &[Range], allowed: &Allowed) -> Vec<String> {
    let starts = |ranges: &[Range]| -> BTreeSet<u64> { ranges.iter().map(|range| range.first).collect() };
    let ends = |ranges: &[Range]| -> BTreeSet<u64> {
        ranges.iter().filter_map(|range| range.last.checked_add(1)).collect()
    };
    let (our_starts, their_starts) = (starts(ours), starts(theirs));
    let mut borders = &our_starts | &their_starts;
    borders.extend(ends(ours));
    borders.extend(ends(theirs));
    let borders: Vec<u64> = borders.into_iter().collect();
    let mut found = Vec::new();
    for (index, &first) in borders.iter().enumerate() {
        let last = borders.get(index + 1).map_or(u64::MAX, |next| next - 1);
        let (our, their) = (answer(ours, first), answer(theirs, first));
        let permitted = |one: Option<Answer<'_>>| {
            one.is_some_and(|one| allowed.find(view, one.name, first, last).is_some())
        };
        if our != their {
            if !permitted(our) && !permitted(their) {
                let [our, their] = [our, their].map(Answer::text);
                found.push(format!("{view} {first:x}-{last:x}: ours {our}, QEMU {their}"));
            }
        } else if our_starts.contains(&first) != their_starts.contains(&first)
            && !allowed.borders(view, first)
        {
            let who = if our_starts.contains(&first) { "ours" } else { "QEMU" };
            found.push(format!("{view} {first:x}: a new range begins in {who} alone"));
        }
    }
    found
}

fn answer(ranges: &[Range], address: u64) -> Option<Answer<'_>> {
    ranges.iter().find(|range| (range.first..=range.last).contains(&address)).map(|range| range.at(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(io: &str) -> Views {
        let text = format!(
            "FlatView #0\n AS \"memory\", root: system\n AS \"cpu-smm-0\", root: memory\n Root memory region: system\n  \
             0000000000000000-000000000009ffff (prio 0, ram): pc.ram\n\n\
             FlatView #1\n AS \"I/O\", root: io\n Root memory region: io\n{io}"
        );
        Views::parse(&text).expect("three views")
    }

    #[test]
    fn comparison() {
        let plain = "  0000000000000000-000000000000ffff (prio 0, i/o): io\n";
        let with = |name: &str| {
            format!(
                "  0000000000000000-0000000000005657 (prio 0, i/o): io\n  \
                 0000000000005658-0000000000005658 (prio 0, i/o): {name}\n  \
                 0000000000005659-000000000000ffff (prio 0, i/o): io @0000000000005659\n"
            )
        };
        let allowed =
            Allowed::parse("[[ranges]]\nview='I/O'\nname='vmport'\nfirst=0x5658\nlast=0x5658\nreason='r'\n")
                .expect("a good list");
        let check = |ours: &str, theirs: &str, allowed: &Allowed, expect: &[&str]| {
            assert_eq!(differences(&views(ours), &views(theirs), allowed), expect);
        };
        check(plain, plain, &Allowed::default(), &[]);
        check(plain, &with("vmport"), &allowed, &[]);
        let ours = "I/O 5658-5658: ours io @5658 (prio 0, i/o), QEMU vmport @0 (prio 0, i/o)";
        let begins = "I/O 5659: a new range begins in QEMU alone";
        check(plain, &with("vmport"), &Allowed::default(), &[ours, begins]);
        let other = "I/O 5658-5658: ours io @5658 (prio 0, i/o), QEMU other @0 (prio 0, i/o)";
        check(plain, &with("other"), &allowed, &[other]);
        let shifted = plain.replace("): io", "): io @0000000000000001");
        check(&shifted, plain, &allowed, &["I/O 0-ffff: ours io @1 (prio 0, i/o), QEMU io @0 (prio 0, i/o)"]);
        let short = plain.replace("ffff (", "fffe (");
        check(&short, plain, &allowed, &["I/O ffff-ffff: ours nothing, QEMU io @ffff (prio 0, i/o)"]);
    }

    #[test]
    fn a_view_that_is_not_there() {
        assert!(Views::parse("FlatView #0\n").is_err_and(|error| error.contains("memory")));
    }
}
