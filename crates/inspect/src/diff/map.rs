//! What answers each address, before and after.

use warmboot_machine::Machine;
use warmboot_memory::{FlatView, Kind, Range, Target};

use super::{MapChange, ignore::Rules};

/// Address ranges that something else answers.
pub(super) fn compare(before: &Machine, after: &Machine, rules: &mut Rules) -> Vec<MapChange> {
    let edges = edges(before.view(), after.view());
    let mut found: Vec<(MapChange, [Answer; 2])> = Vec::new();
    for (index, &start) in edges.iter().enumerate() {
        let end = edges.get(index + 1).map_or(u64::MAX, |next| next - 1);
        let answers = [before, after].map(|machine| Answer::at(machine, start));
        if answers[0] == answers[1] || rules.map() {
            continue;
        }
        if let Some((last, first)) = found.last_mut()
            && last.end.checked_add(1) == Some(start)
            && first.iter().zip(&answers).all(|(first, next)| *next == first.advanced(start - last.start))
        {
            last.end = end;
            continue;
        }
        let change = MapChange { start, end, before: answers[0].text(), after: answers[1].text() };
        found.push((change, answers));
    }
    found.into_iter().map(|(change, _)| change).collect()
}

/// Every address at which something begins or ends in either view.
fn edges(before: &FlatView, after: &FlatView) -> Vec<u64> {
    let of = |range: &Range| [Some(range.start), range.end.checked_add(1)];
    let mut edges: Vec<u64> = before.ranges().iter().chain(after.ranges()).flat_map(of).flatten().collect();
    edges.push(0);
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Who answers, by name and the offset within it.
#[derive(Clone, PartialEq, Eq)]
struct Answer {
    read: Option<(String, u64)>,
    write: Option<(String, u64)>,
}

impl Answer {
    fn at(machine: &Machine, address: u64) -> Answer {
        let Some(range) = machine.view().lookup(address) else { return Answer { read: None, write: None } };
        let name = |target, name: &str| match target {
            Target::Block { block, offset } => Some((machine.memory().info(block).name.to_owned(), offset)),
            Target::Device { offset, .. } => Some((name.to_owned(), offset)),
            Target::Nothing => None,
        };
        let writer = match range.kind {
            Kind::Split => range.write_name.as_deref().unwrap_or(&range.name),
            _ => &range.name,
        };
        Answer {
            read: name(range.read_at(address), &range.name),
            write: name(range.write_at(address), writer),
        }
    }

    fn advanced(&self, distance: u64) -> Answer {
        let on = |side: &Option<(String, u64)>| {
            side.as_ref().map(|(name, offset)| (name.clone(), offset.wrapping_add(distance)))
        };
        Answer { read: on(&self.read), write: on(&self.write) }
    }

    fn text(&self) -> String {
        let place = |(name, offset): &(String, u64)| format!("{name}@{offset:#x}");
        match (&self.read, &self.write) {
            (None, None) => "nothing".to_owned(),
            (Some(read), None) => format!("{}, writes are dropped", place(read)),
            (Some(read), Some(write)) if read == write => place(read),
            (read, Some(write)) => {
                let read = read.as_ref().map_or("nothing".to_owned(), place);
                format!("{read}, writes to {}", place(write))
            }
        }
    }
}
