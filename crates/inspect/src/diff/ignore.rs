//! Rules that leave differences out: `--ignore RULE`.

use std::{fmt, ops::Range, str::FromStr};

use thiserror::Error;

use crate::symbols::{HIGH_COPY, Symbols, number};

/// What the rule `clocks` stands for: all that goes on by itself as time goes by, so that two looks
/// at different moments show what the guest did and nothing else.
pub const CLOCKS: &[&str] = &[
    "machine:instructions",
    "machine:virtual_time_ns",
    "cpu:tsc",
    "chip:pit.channels.*.counted",
    "chip:pit.channels.*.held",
    "chip:pit.channels.*.running",
    "chip:pit.irq_due",
    "chip:pit.refresh_since",
    // Seconds, minutes, hours, the date, and the update flag in register A.
    "chip:rtc.cmos.0",
    "chip:rtc.cmos.2",
    "chip:rtc.cmos.4",
    "chip:rtc.cmos.6",
    "chip:rtc.cmos.7",
    "chip:rtc.cmos.8",
    "chip:rtc.cmos.9",
    "chip:rtc.cmos.10",
    "chip:rtc.checked",
    "chip:rtc.next_second",
    "chip:rtc.seconds",
    "chip:hpet.counter",
    "chip:hpet.running",
    "chip:*.due",
    "chip:apic*.loaded",
    "chip:*.timer_origin",
    "chip:*.timer_overflow",
    // The BIOS data area's count of timer ticks, and whether midnight has passed.
    "block:pc.ram@0x46c+5",
];

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ignore {
    /// A register, or all below it: `cpu:rax`, `chip:rtc.cmos`, `machine:resets`, `wires:a20`.
    Register {
        /// `machine`, `cpu`, `chip` or `wires`.
        kind: &'static str,
        /// Names joined by dots; `*` stands for any text.
        pattern: String,
    },
    /// Bytes of a RAM block: `block:pc.ram@0x46c+4`, or the whole of it.
    Block {
        /// The block; `*` stands for any text.
        block: String,
        /// Which of its bytes.
        bytes: Range<u64>,
    },
    /// The bytes of a symbol, in both copies of the BIOS: `symbol:HaveRunPost`.
    Symbol(String),
    /// What answers which address.
    Map,
    /// A named set: [`CLOCKS`].
    Clocks,
}

/// A rule that is none, or that names nothing.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("ignore rule `{rule}`: {why}")]
pub struct IgnoreError {
    rule: String,
    why: String,
}

const FORMS: &str = "expected clocks, map, cpu:NAME, chip:NAME.REGISTER, machine:NAME, wires:NAME, \
                     block:NAME@OFFSET+LENGTH or symbol:NAME";

impl FromStr for Ignore {
    type Err = IgnoreError;

    fn from_str(rule: &str) -> Result<Ignore, IgnoreError> {
        let bad = |why: String| IgnoreError { rule: rule.to_owned(), why };
        let (kind, rest) = rule.split_once(':').unwrap_or((rule, ""));
        let register = |kind| match rest {
            "" => Err(bad(format!("there is nothing after `{kind}:`"))),
            pattern => Ok(Ignore::Register { kind, pattern: pattern.to_owned() }),
        };
        match kind {
            "clocks" if rest.is_empty() => Ok(Ignore::Clocks),
            "map" if rest.is_empty() => Ok(Ignore::Map),
            "machine" => register("machine"),
            "cpu" => register("cpu"),
            "chip" => register("chip"),
            "wires" => register("wires"),
            "symbol" if !rest.is_empty() => Ok(Ignore::Symbol(rest.to_owned())),
            "block" if !rest.is_empty() => {
                let (block, at) = rest.split_once('@').map_or((rest, None), |(name, at)| (name, Some(at)));
                let bytes = match at {
                    None => 0..u64::MAX,
                    Some(at) => {
                        let (offset, length) = at.split_once('+').unwrap_or((at, "1"));
                        let read = |text| number(text).ok_or_else(|| bad(format!("`{text}` is no number")));
                        let (start, length) = (read(offset)?, read(length)?);
                        start..start.saturating_add(length)
                    }
                };
                Ok(Ignore::Block { block: block.to_owned(), bytes })
            }
            _ => Err(bad(FORMS.to_owned())),
        }
    }
}

impl fmt::Display for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ignore::Register { kind, pattern } => write!(f, "{kind}:{pattern}"),
            Ignore::Block { block, bytes } if *bytes == (0..u64::MAX) => write!(f, "block:{block}"),
            Ignore::Block { block, bytes } => {
                write!(f, "block:{block}@{:#x}+{}", bytes.start, bytes.end - bytes.start)
            }
            Ignore::Symbol(name) => write!(f, "symbol:{name}"),
            Ignore::Map => f.write_str("map"),
            Ignore::Clocks => f.write_str("clocks"),
        }
    }
}

impl Ignore {
    /// Makes sure that each symbol named is known: a slip would ignore nothing and say nothing.
    ///
    /// # Errors
    /// The first rule whose symbol is not there, with the one that may have been meant.
    pub fn check(rules: &[Ignore], symbols: &Symbols) -> Result<(), IgnoreError> {
        for rule in rules {
            if let Ignore::Symbol(name) = rule {
                symbols.resolve(name).map_err(|why| IgnoreError { rule: rule.to_string(), why })?;
            }
        }
        Ok(())
    }
}

/// Rules made ready: sets taken apart, symbols resolved; and how often one applied.
#[derive(Default)]
pub(crate) struct Rules {
    registers: Vec<(&'static str, String)>,
    blocks: Vec<(String, Range<u64>)>,
    addresses: Vec<Range<u64>>,
    map: bool,
    ignored: u64,
}

impl Rules {
    pub(crate) fn new(rules: &[Ignore], symbols: &Symbols) -> Rules {
        let mut ready = Rules::default();
        for rule in rules {
            ready.add(rule, symbols);
        }
        ready
    }

    fn add(&mut self, rule: &Ignore, symbols: &Symbols) {
        match rule {
            Ignore::Register { kind, pattern } => self.registers.push((kind, pattern.clone())),
            Ignore::Block { block, bytes } => self.blocks.push((block.clone(), bytes.clone())),
            Ignore::Symbol(name) => {
                if let Ok((address, size)) = symbols.resolve(name) {
                    let low = address..address.saturating_add(size.max(1));
                    let copy = low.start.saturating_add(HIGH_COPY)..low.end.saturating_add(HIGH_COPY);
                    self.addresses.extend([low, copy]);
                }
            }
            Ignore::Map => self.map = true,
            Ignore::Clocks => {
                for rule in CLOCKS.iter().filter_map(|rule| rule.parse().ok()) {
                    self.add(&rule, symbols);
                }
            }
        }
    }

    pub(crate) fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Whether a register is to be left out, or one that it lies below.
    pub(crate) fn register(&mut self, kind: &str, name: &str) -> bool {
        let hit = self.registers.iter().any(|(of, pattern)| {
            *of == kind
                && (matches(pattern, name)
                    || name
                        .match_indices('.')
                        .any(|(dot, _)| name.get(..dot).is_some_and(|n| matches(pattern, n))))
        });
        self.ignored += u64::from(hit);
        hit
    }

    /// Whether a byte is to be left out.
    pub(crate) fn byte(&mut self, block: &str, offset: u64, address: Option<u64>) -> bool {
        let hit = self.blocks.iter().any(|(of, bytes)| bytes.contains(&offset) && matches(of, block))
            || address.is_some_and(|address| self.addresses.iter().any(|range| range.contains(&address)));
        self.ignored += u64::from(hit);
        hit
    }

    pub(crate) fn map(&mut self) -> bool {
        self.ignored += u64::from(self.map);
        self.map
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.find(previous) {
                Some(at) => rest = rest.get(at + previous.len()..).unwrap_or_default(),
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}
