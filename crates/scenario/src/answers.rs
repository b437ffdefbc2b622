//! Which block answers an address: for expectations, and as a strip for reports.

use std::fmt;

use warmboot_machine::Machine;
use warmboot_memory::{Range, Target};

/// Who answers an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The block reads come from, or the device, or `nothing`.
    pub name: String,
    /// What becomes of writes: `read-write`, `read-only`, `writes to …`; nothing for devices.
    pub writes: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writes.as_str() {
            "" => f.write_str(&self.name),
            writes => write!(f, "{} {writes}", self.name),
        }
    }
}

/// Consecutive addresses with one answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
    /// Who answers.
    pub answer: Answer,
    /// Offset of `first` in the block.
    pub offset: u64,
}

/// The addresses a BIOS is seen at: what reports show of the map.
pub const STRIPS: [(u64, u64); 2] = [(0xc_0000, 0xf_ffff), (0xfff0_0000, 0xffff_ffff)];

/// Who answers `address` outside SMM.
pub(crate) fn who(machine: &Machine, address: u64) -> Answer {
    match machine.view().lookup(address) {
        Some(range) => answer(machine, range),
        None => Answer { name: "nothing".into(), writes: String::new() },
    }
}

/// Who answers the addresses of [`STRIPS`], in order.
pub(crate) fn strips(machine: &Machine) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (first, last) in STRIPS {
        let overlap =
            machine.view().ranges().iter().filter(|range| range.start <= last && range.end >= first);
        let mut next = first;
        for range in overlap {
            let start = range.start.max(first);
            let end = range.end.min(last);
            if start > next {
                push(&mut spans, nothing(next, start - 1));
            }
            let offset = match range.read_at(start) {
                Target::Block { offset, .. } => offset,
                _ => 0,
            };
            push(&mut spans, Span { first: start, last: end, answer: answer(machine, range), offset });
            next = end.saturating_add(1);
        }
        if next <= last {
            push(&mut spans, nothing(next, last));
        }
    }
    spans
}

fn nothing(first: u64, last: u64) -> Span {
    Span { first, last, answer: Answer { name: "nothing".into(), writes: String::new() }, offset: 0 }
}

/// Adds a span, or makes the last one longer where the answer goes on.
fn push(spans: &mut Vec<Span>, span: Span) {
    if let Some(last) = spans.last_mut()
        && last.last.checked_add(1) == Some(span.first)
        && last.answer == span.answer
        && (last.offset.wrapping_add(span.first - last.first) == span.offset || span.answer.writes.is_empty())
    {
        last.last = span.last;
    } else {
        spans.push(span);
    }
}

fn answer(machine: &Machine, range: &Range) -> Answer {
    let block = |target| match target {
        Target::Block { block, .. } => Some(machine.memory().info(block).name.to_owned()),
        _ => None,
    };
    let Some(name) = block(range.read) else {
        let name = match range.read {
            Target::Nothing => "nothing".to_owned(),
            _ => range.name.to_string(),
        };
        let writes = block(range.write).map_or(String::new(), |name| format!("writes to {name}"));
        return Answer { name, writes };
    };
    let writes = match range.write {
        Target::Nothing => "read-only".to_owned(),
        write if write == range.read => "read-write".to_owned(),
        write => format!("writes to {}", block(write).unwrap_or_else(|| "a device".into())),
    };
    Answer { name, writes }
}
