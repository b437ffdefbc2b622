//! `diff = { from = "before", show = ["piix3-ide", "HaveRunPost"] }`: what changed since a snapshot.

use std::str::FromStr;

use toml_span::Value;
use warmboot_inspect::{
    diff::{self, Diff, Ignore},
    symbols::Symbols,
};
use warmboot_machine::Machine;

use super::{Kind, Scene, Setting, Step, Stop};
use crate::{
    fields::{Field, Shape},
    problem::{Problem, Source, did_you_mean},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind {
    field: Field::new("diff", Shape::Table(DIFF), "What changed since a snapshot."),
    keys: &[],
    parse,
};

const NAMES: Shape = Shape::OneOrMore(&Shape::Text);

const DIFF: &[Field] = &[
    Field::required("from", Shape::Text, "The snapshot before."),
    Field::new("to", Shape::Text, "The snapshot after; the machine as it is now when not said."),
    Field::new("show", NAMES, "Only these: chips, CHIP.REGISTER, symbols, registers, blocks, map."),
    Field::new("ignore", NAMES, "Rules that leave more out than clocks: chip:NAME.REGISTER, symbol:NAME, …"),
    Field::new("expect-changed", NAMES, "What must be in it."),
    Field::new("expect-same", NAMES, "What must not be in it."),
];

/// Most lines that a report shows of one difference.
const MOST_LINES: usize = 400;

#[derive(Debug)]
struct Compare {
    from: String,
    to: Option<String>,
    show: Vec<String>,
    ignore: Vec<Ignore>,
    changed: Vec<String>,
    same: Vec<String>,
}

fn parse(
    source: &Source,
    value: &Value<'_>,
    _: &Reader<'_, '_>,
    setting: &Setting<'_>,
) -> Result<Box<dyn Step>, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "a diff", DIFF);
    let names = |key| match reader.get(key) {
        Some(value) => {
            table::one_or_more(source, value, |value| table::string(source, value).map(str::to_owned))
        }
        None => Ok(Vec::new()),
    };
    let mut ignore = vec![Ignore::Clocks];
    if let Some(value) = reader.get("ignore") {
        ignore.extend(table::one_or_more(source, value, |value| {
            table::parsed(source, value, Ignore::from_str)
        })?);
    }
    let step = Compare {
        from: setting.kept(source, reader.required("from", value)?)?,
        to: reader.optional("to", |source, value| setting.kept(source, value))?,
        show: names("show")?,
        ignore,
        changed: names("expect-changed")?,
        same: names("expect-same")?,
    };
    reader.finish()?;
    Ok(Box::new(step))
}

impl Step for Compare {
    fn describe(&self) -> String {
        let to = self.to.as_ref().map_or(String::new(), |to| format!(" to {to}"));
        let list = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!(", {what} {}", names.join(", ")),
        };
        format!("diff from {}{to}{}{}", self.from, list("changed", &self.changed), list("same", &self.same))
    }

    fn expects(&self) -> bool {
        !self.changed.is_empty() || !self.same.is_empty()
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        Ignore::check(&self.ignore, scene.symbols).map_err(|error| Stop::Error(error.to_string()))?;
        let before = scene.kept(&self.from)?.fork();
        let after = match &self.to {
            Some(name) => scene.kept(name)?.fork(),
            None => scene.machine.fork(),
        };
        for name in self.show.iter().chain(&self.changed).chain(&self.same) {
            check_name(name, &before, &after, scene.symbols)?;
        }
        let items = items(&diff::diff(&before, &after, scene.symbols, &self.ignore));
        let shown =
            items.iter().filter(|item| self.show.is_empty() || self.show.iter().any(|name| item.is(name)));
        let mut lines: Vec<String> = shown.map(|item| item.text.clone()).collect();
        if lines.len() > MOST_LINES {
            let more = lines.len() - MOST_LINES;
            lines.truncate(MOST_LINES);
            lines.push(format!("… and {more} more"));
        }
        let text = if lines.is_empty() { "no difference".to_owned() } else { lines.join("\n") };
        scene.shown.push((self.describe(), text));
        let mut wrong = Vec::new();
        for name in &self.changed {
            if !items.iter().any(|item| item.is(name)) {
                wrong.push(format!("expected {name} to have changed\nfound    the same"));
            }
        }
        for name in &self.same {
            let found: Vec<&str> =
                items.iter().filter(|item| item.is(name)).map(|item| item.text.as_str()).collect();
            if !found.is_empty() {
                let found = found.join("\n         ");
                wrong.push(format!("expected {name} to be the same\nfound    {found}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Stop::Failed(wrong.join("\n"))) }
    }
}

/// One difference, as a line, with the names it goes by.
struct Item {
    names: Vec<String>,
    text: String,
}

impl Item {
    /// Whether it is `name` or a part of it: `piix3-ide` has `piix3-ide.channels.0.status`.
    fn is(&self, name: &str) -> bool {
        self.names
            .iter()
            .any(|own| own.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// Refuses a name that nothing of either machine has: a slip would never be in a difference.
fn check_name(name: &str, before: &Machine, after: &Machine, symbols: &Symbols) -> Result<(), Stop> {
    let known = |machine: &Machine| {
        let (chip, register) = name.split_once('.').map_or((name, None), |(chip, rest)| (chip, Some(rest)));
        let is_chip = machine.chips().any(|known| known == chip)
            && register.is_none_or(|register| machine.chip_register(chip, register).is_some());
        is_chip || machine.register(name).is_some() || machine.memory().block(name).is_some()
    };
    let symbol = name.strip_suffix("@high").unwrap_or(name);
    let sections = ["machine", "cpu", "wires", "map"];
    let first = name.split('.').next().unwrap_or_default();
    if sections.contains(&first) || symbols.find(symbol).is_some() || known(before) || known(after) {
        return Ok(());
    }
    let chips = after.chips().chain(before.chips()).map(str::to_owned);
    let names: Vec<String> = chips.chain(symbols.iter().map(|(name, _, _)| name.to_owned())).collect();
    Err(Stop::Error(format!(
        "nothing is called `{name}`; there are chips, CHIP.REGISTER, symbols, processor registers, blocks, \
         machine, cpu, wires and map {}",
        did_you_mean(name, names.iter().map(String::as_str))
    )))
}

fn items(diff: &Diff) -> Vec<Item> {
    let value = |value: &Option<serde_json::Value>| match value {
        None => "absent".to_owned(),
        Some(value) => match value.as_u64() {
            Some(number) if number > 9 => format!("{number:#x}"),
            _ => value.to_string(),
        },
    };
    let change = |section: &str, change: &diff::Change, names: Vec<String>| Item {
        text: format!("{section} {}: {} → {}", change.name, value(&change.before), value(&change.after)),
        names,
    };
    let section = |name: &str, changes: &[diff::Change]| -> Vec<Item> {
        changes
            .iter()
            .map(|found| change(name, found, vec![format!("{name}.{}", found.name), found.name.clone()]))
            .collect()
    };
    let mut items = section("machine", &diff.machine);
    items.extend(section("cpu", &diff.cpu));
    for chip in &diff.chips {
        if let Some(side) = chip.only {
            let text = format!("chip {}: only {side:?}", chip.chip).to_lowercase();
            items.push(Item { names: vec![chip.chip.clone()], text });
        }
        let label = format!("chip {}", chip.chip);
        let name = |register: &diff::Change| vec![format!("{}.{}", chip.chip, register.name)];
        items.extend(chip.registers.iter().map(|register| change(&label, register, name(register))));
    }
    items.extend(section("wires", &diff.wires));
    items.extend(diff.map.iter().map(|map| Item {
        names: vec!["map".to_owned()],
        text: format!("map {:08x}-{:08x}: {} → {}", map.start, map.end, map.before, map.after),
    }));
    items.extend(diff.blocks.iter().flat_map(block));
    items
}

/// The bytes of one block.
fn block(block: &diff::BlockDiff) -> Vec<Item> {
    let mut items = Vec::new();
    if block.before_size != block.after_size {
        let size = |size: Option<u64>| size.map_or("absent".to_owned(), |size| format!("{size:#x} bytes"));
        let text = format!("block {}: {} → {}", block.block, size(block.before_size), size(block.after_size));
        items.push(Item { names: vec![block.block.clone()], text });
    }
    items.extend(block.ranges.iter().map(|range| {
        let mut names = vec![block.block.clone()];
        let mut place = format!("{}@{:#x}", block.block, range.offset);
        if let Some(symbol) = &range.symbol {
            let plain = symbol.split(['+', ' ']).next().unwrap_or_default();
            names.push(plain.to_owned());
            if symbol.contains("high copy") {
                names.push(format!("{plain}@high"));
            }
            place.push_str(&format!(" {symbol}"));
        }
        Item { names, text: format!("{place}: {} → {}", bytes(&range.before), bytes(&range.after)) }
    }));
    items
}

/// The first bytes of a range.
fn bytes(bytes: &[u8]) -> String {
    const MOST: usize = 16;
    let text = super::check::hex(bytes.get(..MOST.min(bytes.len())).unwrap_or_default());
    if bytes.len() > MOST { format!("{text} … ({} bytes)", bytes.len()) } else { text }
}
