//! A diff as text for a person.

use std::fmt;

use serde_json::Value;

use super::{BlockDiff, Change, Diff, RangeDiff, Side, digits};

/// Bytes of a range shown on one line; the rest is counted. JSON has them all.
const SHOWN: usize = 16;
/// Elements of an array that are shown.
const ELEMENTS: usize = 16;

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "machine", &self.machine, Value::to_string)?;
        section(f, "cpu", &self.cpu, value)?;
        for chip in &self.chips {
            match chip.only {
                Some(side) => writeln!(f, "chip {}: only {}", chip.chip, when(side))?,
                None => section(f, &format!("chip {}", chip.chip), &chip.registers, value)?,
            }
        }
        section(f, "wires", &self.wires, value)?;
        if !self.map.is_empty() {
            writeln!(f, "who answers")?;
        }
        for change in &self.map {
            let (start, end) = (change.start, change.end);
            writeln!(f, "  {start:08x}-{end:08x}  {} -> {}", change.before, change.after)?;
        }
        self.blocks.iter().try_for_each(|block| block.fmt(f))?;
        if self.is_empty() {
            writeln!(f, "no difference")?;
        }
        if self.ignored != 0 {
            writeln!(f, "ignored: {} registers and bytes that differ", self.ignored)?;
        }
        Ok(())
    }
}

fn when(side: Side) -> &'static str {
    match side {
        Side::Before => "before",
        Side::After => "after",
    }
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    changes: &[Change],
    show: fn(&Value) -> String,
) -> fmt::Result {
    if changes.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    let names: Vec<String> = changes.iter().map(|change| name(&change.name)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0).min(40);
    for (change, name) in changes.iter().zip(names) {
        let side = |value: &Option<Value>| value.as_ref().map_or("absent".to_owned(), show);
        writeln!(f, "  {name:width$}  {} -> {}", side(&change.before), side(&change.after))?;
    }
    Ok(())
}

/// A register's name; one in PCI configuration space with its number in the data sheet.
fn name(path: &str) -> String {
    let byte = path.strip_prefix("config.bytes.").and_then(|index| index.parse::<u8>().ok());
    byte.map_or(path.to_owned(), |byte| format!("{path} (PCI {byte:02X}h)"))
}

/// A register's value: numbers in hexadecimal, long contents cut short.
fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) => format!("{number:#x}"),
            None => number.to_string(),
        },
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().take(ELEMENTS).map(self::value).collect();
            let more = match items.len().saturating_sub(ELEMENTS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("[{}{more}]", shown.join(" "))
        }
        other => other.to_string(),
    }
}

impl fmt::Display for BlockDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.block;
        match (self.before_size, self.after_size) {
            (Some(size), None) => return writeln!(f, "block {name} of {size:#x} bytes: only before"),
            (None, Some(size)) => return writeln!(f, "block {name} of {size:#x} bytes: only after"),
            (Some(before), Some(after)) if before != after => {
                writeln!(f, "block {name}: {before:#x} bytes before, {after:#x} after")?;
            }
            _ => {
                let bytes: usize = self.ranges.iter().map(|range| range.before.len()).sum();
                let (s, count) = (if self.ranges.len() == 1 { "" } else { "s" }, self.ranges.len());
                writeln!(f, "block {name}: {count} range{s}, {bytes} bytes")?;
            }
        }
        self.ranges.iter().try_for_each(|range| range.fmt(f))
    }
}

impl fmt::Display for RangeDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {:#07x}+{}", self.offset, self.before.len())?;
        if let Some(address) = self.address.filter(|address| *address != self.offset) {
            write!(f, " at {address:#x}")?;
        }
        if let Some(symbol) = &self.symbol {
            write!(f, "  {symbol}")?;
        }
        writeln!(f, "  {} -> {}", bytes(&self.before), bytes(&self.after))
    }
}

/// Bytes, the first ones if there are many.
fn bytes(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN) {
        Some(first) if bytes.len() > SHOWN => format!("{}... ({} bytes)", digits(first), bytes.len()),
        _ => digits(bytes),
    }
}
