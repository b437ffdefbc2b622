//! `expect = { … }`: what must be true now. All of it is checked, and all that is not is said.
//!
//! Text is looked for in what was printed since the page was turned, by `press` or `reset` for example
//! (or since power-on), so that a second boot is not mistaken for the first.

use std::str::FromStr;

use toml_span::Value;

use super::{
    Kind, Scene, Setting, Step, Stop,
    check::{Amount, Check, Log, POWER, TextCheck},
};
use crate::{
    fields::{Field, Shape},
    place::Place,
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("expect", Shape::Table(EXPECTATIONS), "What must be true now."),
    keys: &[],
    parse,
};

const TEXTS: Shape = Shape::OneOrMore(&Shape::Text);

/// The keys of an expectation.
pub(crate) const EXPECTATIONS: &[Field] = &[
    Field::new("debug", TEXTS, "Text that was printed to the debug port."),
    Field::new("debug-lacks", TEXTS, "Text that was not."),
    Field::new("debug-order", Shape::Array(&Shape::Text), "Texts that were, in this order."),
    Field::new("debug-count", Shape::Map(&Shape::Number(u64::MAX)), "Texts, and how many times each was."),
    Field::new("debug-is", Shape::Text, "All that was printed to the debug port."),
    Field::new("serial", TEXTS, "Text that was sent by COM1."),
    Field::new("serial-lacks", TEXTS, "Text that was not."),
    Field::new("serial-order", Shape::Array(&Shape::Text), "Texts that were, in this order."),
    Field::new("serial-count", Shape::Map(&Shape::Number(u64::MAX)), "Texts, and how many times each was."),
    Field::new("serial-is", Shape::Text, "All that was sent by COM1."),
    Field::new("parallel", TEXTS, "Text that was printed by LPT1."),
    Field::new("parallel-lacks", TEXTS, "Text that was not."),
    Field::new("parallel-order", Shape::Array(&Shape::Text), "Texts that were, in this order."),
    Field::new("parallel-count", Shape::Map(&Shape::Number(u64::MAX)), "Texts, and how many times each was."),
    Field::new("parallel-is", Shape::Text, "All that was printed by LPT1."),
    Field::new("screen", TEXTS, "Text on the screen."),
    Field::new("screen-lacks", TEXTS, "Text that is not."),
    Field::new("memory", Shape::Map(&Shape::Bytes), "Bytes by address or symbol, as a processor reads them."),
    Field::new("block", Shape::Map(&Shape::Bytes), "Bytes of a RAM block, as \"pc.ram@0xf7290\"."),
    Field::new("answers", Shape::Map(&Shape::Text), "Which block answers an address."),
    Field::new("register", Shape::Map(&Shape::Number(u64::MAX)), "Registers of the processor."),
    Field::new("chip", Shape::Map(&Shape::Scalars), "Registers of chips, as \"CHIP.REGISTER\"."),
    Field::new("halted", Shape::Truth, "The processor waits in HLT."),
    Field::new("interrupts", Shape::Truth, "The processor's IF."),
    Field::new("power", Shape::Choice(power_states), "Whether the machine has power."),
    Field::new("ended-by", Shape::Text, "How the last run ended."),
    Field::new("debug-exit", Shape::Number(u32::MAX as u64), "The value written to the debug-exit port."),
    Field::new("disks", Shape::Number(255), "BDA 40:75, the hard disks INT 13h serves."),
    Field::new("migration", TEXTS, "Text in the report of the last migration."),
    Field::new("migration-lacks", TEXTS, "Text that is not in it."),
    Field::new("digest", Shape::Text, "The machine's digest."),
    Field::new("state-digest", Shape::Text, "The machine's digest without absolute time and count."),
];

fn power_states() -> Vec<&'static str> {
    POWER.iter().map(|(name, _)| *name).collect()
}

/// Expectations, all of which must hold.
#[derive(Debug)]
pub(super) struct Expect {
    checks: Vec<Check>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    _: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    Ok(Box::new(Expect::read(source, value)?))
}

impl Expect {
    /// Reads a table of expectations.
    pub(super) fn read(source: &Source, value: &Value<'_>) -> Result<Expect, Problem> {
        let reader = Reader::new(source, Some(table::table(source, value)?), "an expectation", EXPECTATIONS);
        let mut checks = Vec::new();
        read_texts(source, &reader, &mut checks)?;
        read_places(source, &reader, &mut checks)?;
        read_registers(source, &reader, &mut checks)?;
        read_whole(source, &reader, &mut checks)?;
        reader.finish()?;
        if checks.is_empty() {
            return Err(source.problem(value.span, "this step expects nothing", ""));
        }
        Ok(Expect { checks })
    }
}

/// Debug port, serial port, parallel port and screen.
fn read_texts(source: &Source, reader: &Reader<'_, '_>, checks: &mut Vec<Check>) -> Result<(), Problem> {
    let texts = |value| {
        table::one_or_more(source, value, |value| {
            let text = table::string(source, value)?;
            if text.is_empty() {
                return Err(source.problem(value.span, "an empty text is always there", ""));
            }
            Ok(text.to_owned())
        })
    };
    let logs = [
        (Log::Debug, "debug", "debug-lacks", Some(["debug-order", "debug-count", "debug-is"])),
        (Log::Serial, "serial", "serial-lacks", Some(["serial-order", "serial-count", "serial-is"])),
        (
            Log::Parallel,
            "parallel",
            "parallel-lacks",
            Some(["parallel-order", "parallel-count", "parallel-is"]),
        ),
        (Log::Screen, "screen", "screen-lacks", None),
    ];
    for (log, has, lacks, more) in logs {
        let mut add = |check| checks.push(Check::Text(log, check));
        for text in reader.get(has).map_or(Ok(Vec::new()), texts)? {
            add(TextCheck::Has(text));
        }
        for text in reader.get(lacks).map_or(Ok(Vec::new()), texts)? {
            add(TextCheck::Lacks(text));
        }
        let Some([order, count, is]) = more else { continue };
        if let Some(value) = reader.get(order) {
            let _ = table::array(source, value)?;
            add(TextCheck::Order(texts(value)?));
        }
        for (key, value) in reader.get(count).map_or(Ok(Vec::new()), |value| entries(source, value))? {
            if key.name.is_empty() {
                return Err(source.problem(key.span, "an empty text cannot be counted", ""));
            }
            add(TextCheck::Count(key.name.to_string(), table::integer(source, value, u64::MAX)?));
        }
        if let Some(text) = reader.optional(is, table::string)? {
            add(TextCheck::Is(text.to_owned()));
        }
    }
    if let Some(value) = reader.get("migration") {
        checks.extend(texts(value)?.into_iter().map(|text| Check::Migration { there: true, text }));
    }
    if let Some(value) = reader.get("migration-lacks") {
        checks.extend(texts(value)?.into_iter().map(|text| Check::Migration { there: false, text }));
    }
    Ok(())
}

/// A table's entries in the order of the file; an empty one would expect nothing.
fn entries<'a, 'de>(
    source: &Source,
    value: &'a Value<'de>,
) -> Result<Vec<(&'a toml_span::value::Key<'de>, &'a Value<'de>)>, Problem> {
    let entries = table::in_order(table::table(source, value)?);
    if entries.is_empty() {
        return Err(source.problem(value.span, "this expects nothing", ""));
    }
    Ok(entries)
}

/// Bytes, and who answers where.
fn read_places(source: &Source, reader: &Reader<'_, '_>, checks: &mut Vec<Check>) -> Result<(), Problem> {
    let place = |key: &toml_span::value::Key<'_>| {
        Place::from_str(&key.name).map_err(|error| source.problem(key.span, error.to_string(), ""))
    };
    if let Some(value) = reader.get("memory") {
        for (key, value) in entries(source, value)? {
            let place = place(key)?;
            if matches!(place, Place::Block { .. }) {
                let message = format!("`{}` names a block's bytes", key.name);
                return Err(source.problem(key.span, message, "write it under `block`"));
            }
            let amount = Amount::read(source, value, &place)?;
            checks.push(Check::Memory(place, amount));
        }
    }
    if let Some(value) = reader.get("block") {
        for (key, value) in entries(source, value)? {
            let place = place(key)?;
            if !matches!(place, Place::Block { .. }) {
                let message = format!("`{}` names no block", key.name);
                return Err(source.problem(key.span, message, "expected \"pc.ram@0xf7290\""));
            }
            let amount = Amount::read(source, value, &place)?;
            checks.push(Check::Memory(place, amount));
        }
    }
    if let Some(value) = reader.get("answers") {
        for (key, value) in entries(source, value)? {
            checks.push(Check::Answers(place(key)?, table::string(source, value)?.to_owned()));
        }
    }
    Ok(())
}

/// Registers of the processor and of chips.
fn read_registers(source: &Source, reader: &Reader<'_, '_>, checks: &mut Vec<Check>) -> Result<(), Problem> {
    if let Some(value) = reader.get("register") {
        for (key, value) in entries(source, value)? {
            let value = table::integer(source, value, i64::MAX.unsigned_abs())?;
            checks.push(Check::Register(key.name.to_string(), value));
        }
    }
    if let Some(value) = reader.get("chip") {
        for (key, value) in entries(source, value)? {
            let (chip, register) = key.name.split_once('.').ok_or_else(|| {
                let message = format!("`{}` names no chip's register", key.name);
                source.problem(key.span, message, "expected \"chip.register\"")
            })?;
            let value = json(source, value)?;
            checks.push(Check::Chip { chip: chip.to_owned(), register: register.to_owned(), value });
        }
    }
    if let Some(halted) = reader.optional("halted", table::boolean)? {
        checks.push(Check::Halted(halted));
    }
    if let Some(interrupts) = reader.optional("interrupts", table::boolean)? {
        checks.push(Check::Interrupts(interrupts));
    }
    Ok(())
}

/// What is true of the machine as a whole.
fn read_whole(source: &Source, reader: &Reader<'_, '_>, checks: &mut Vec<Check>) -> Result<(), Problem> {
    if let Some(value) = reader.get("power") {
        let state = table::parsed(source, value, |name| {
            let known = POWER.iter().find(|(known, _)| *known == name).map(|(_, state)| *state);
            known.ok_or_else(|| format!("unknown power state `{name}`; there are on, off, suspended"))
        })?;
        checks.push(Check::Power(state));
    }
    if let Some(text) = reader.optional("ended-by", table::string)? {
        checks.push(Check::EndedBy(text.to_owned()));
    }
    if let Some(value) = reader.get("debug-exit") {
        let status = table::integer(source, value, u64::from(u32::MAX))?;
        checks.push(Check::DebugExit(u32::try_from(status).unwrap_or(u32::MAX)));
    }
    if let Some(value) = reader.get("disks") {
        let count = table::integer(source, value, 255)?;
        checks.push(Check::Disks(u8::try_from(count).unwrap_or(u8::MAX)));
    }
    if let Some(value) = reader.get("digest") {
        checks.push(Check::Digest(digest(source, value)?));
    }
    if let Some(value) = reader.get("state-digest") {
        checks.push(Check::StateDigest(digest(source, value)?));
    }
    Ok(())
}

fn digest(source: &Source, value: &Value<'_>) -> Result<String, Problem> {
    table::parsed(source, value, |text| {
        let hex = text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if hex { Ok(text.to_owned()) } else { Err("expected 64 lower-case hexadecimal digits") }
    })
}

fn json(source: &Source, value: &Value<'_>) -> Result<serde_json::Value, Problem> {
    use toml_span::value::ValueInner::{Array, Boolean, Float, Integer, String, Table};
    Ok(match value.as_ref() {
        String(text) => text.as_ref().into(),
        Integer(number) => (*number).into(),
        Boolean(flag) => (*flag).into(),
        Array(values) => values.iter().map(|value| json(source, value)).collect::<Result<_, _>>()?,
        Float(_) | Table(_) => {
            let message = "expected a string, a whole number, true, false, or an array of these";
            return Err(source.problem(value.span, message, ""));
        }
    })
}

impl Step for Expect {
    fn describe(&self) -> String {
        let shown: Vec<String> = self.checks.iter().map(Check::describe).collect();
        format!("expect {}", shown.join(", "))
    }

    fn expects(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let mut wrong = Vec::new();
        for check in &self.checks {
            if let Some(found) = check.found_instead(scene)? {
                let found = found.replace('\n', "\n         ");
                wrong.push(format!("expected {}\nfound    {found}", check.describe()));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Stop::Failed(wrong.join("\n"))) }
    }
}
