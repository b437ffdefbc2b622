//! What of a run is traced: options as `range=0xe0000-0xfffff`.

use std::{fmt, ops::RangeInclusive};

use crate::symbols::{Symbols, number};

/// Bytes of a trace unless another limit is set.
pub const DEFAULT_LIMIT: u64 = 256 << 20;

/// Instruction counts from the first one on, up to before the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// First count.
    pub from: u64,
    /// Where it is over.
    pub to: u64,
}

impl Default for Span {
    fn default() -> Span {
        Span { from: 0, to: u64::MAX }
    }
}

impl Span {
    /// Whether it has come at `count`, and when that changes.
    pub(super) fn at(self, count: u64) -> (bool, u64) {
        if count < self.from {
            (false, self.from)
        } else if count < self.to {
            (true, self.to)
        } else {
            (false, u64::MAX)
        }
    }

    pub(super) fn contains(self, count: u64) -> bool {
        (self.from..self.to).contains(&count)
    }
}

/// What both kinds of traces take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Common {
    pub span: Span,
    pub limit: u64,
    /// Addresses of interest; all, if there are none.
    pub ranges: Vec<RangeInclusive<u64>>,
}

impl Default for Common {
    fn default() -> Common {
        Common { span: Span::default(), limit: DEFAULT_LIMIT, ranges: Vec::new() }
    }
}

impl Common {
    /// Takes an option that both have; false when it is another one.
    pub fn take(&mut self, key: &str, value: &str, symbols: &Symbols) -> Result<bool, String> {
        match key {
            "from" => self.span.from = count(key, value)?,
            "to" => self.span.to = count(key, value)?,
            "limit" => self.limit = size(value)?,
            "range" => self.ranges.push(range(value, symbols)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `KEY=VALUE` or `KEY`, for each part of `options` between commas.
pub(super) fn parts(options: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = options.split(',').filter(|_| !options.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// What is said of an option nobody knows.
pub(super) fn unknown(key: &str, value: &str, expected: impl fmt::Display) -> String {
    let text = if value.is_empty() { key.to_owned() } else { format!("{key}={value}") };
    format!("`{text}`: expected {expected}")
}

fn count(key: &str, value: &str) -> Result<u64, String> {
    warmboot_machine::count(value).map_err(|_| unknown(key, value, format!("{key}=N, such as {key}=2M")))
}

/// Bytes; K, M and G are binary.
fn size(value: &str) -> Result<u64, String> {
    let shifts = [("K", 10), ("M", 20), ("G", 30)];
    let found = shifts.iter().find_map(|(suffix, shift)| Some((value.strip_suffix(suffix)?, *shift)));
    let (digits, shift) = found.unwrap_or((value, 0));
    let size = digits.parse::<u64>().ok().and_then(|size| size.checked_mul(1 << shift));
    size.filter(|size| *size > 0)
        .ok_or_else(|| unknown("limit", value, "limit=SIZE in bytes, K, M or G, such as limit=64M"))
}

/// `START-END` (the last address), `START+LENGTH`, one address, or a symbol.
pub(super) fn range(value: &str, symbols: &Symbols) -> Result<RangeInclusive<u64>, String> {
    let bad = || {
        format!("`{value}`: expected START-END, START+LENGTH or a symbol, such as 0xe0000-0xfffff or 0x70+2")
    };
    let spread = |start: u64, length: u64| {
        let last = start.checked_add(length.checked_sub(1)?)?;
        Some(start..=last)
    };
    if !value.starts_with(|first: char| first.is_ascii_digit()) {
        let why = |why| format!("{}; {why}", bad());
        let (start, length) = symbols.resolve(value).map_err(why)?;
        return spread(start, length.max(1)).ok_or_else(bad);
    }
    let found = if let Some((start, length)) = value.split_once('+') {
        number(start).zip(number(length)).and_then(|(start, length)| spread(start, length))
    } else {
        let (start, end) = value.split_once('-').unwrap_or((value, value));
        number(start).zip(number(end)).map(|(start, end)| start..=end)
    };
    found.filter(|range| !range.is_empty()).ok_or_else(bad)
}
