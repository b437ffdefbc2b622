//! The write history of a machine with names: the life cycle of a variable or register.

use std::fmt;

use serde::Serialize;
use warmboot_machine::{Effect, Event, Machine, Watched};

use crate::symbols::{Symbols, number};

/// What `--watch` and a scenario's `watch` name, resolved: `ADDRESS`, `ADDRESS+LENGTH`, `SYMBOL` (all of
/// it, or one byte where its file gives no size), `SYMBOL+LENGTH` or `CHIP.REGISTER`.
///
/// # Errors
/// One sentence about what is not understood or not known, with what may have been meant.
pub fn watched(text: &str, symbols: &Symbols) -> Result<Watched, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return text.parse().map_err(|error: warmboot_machine::ConfigError| error.to_string());
    }
    let (name, length) = match text.rsplit_once('+') {
        Some((name, digits)) => {
            (name, Some(number(digits).ok_or_else(|| format!("watch `{text}`: `{digits}` is no length"))?))
        }
        None => (text, None),
    };
    match symbols.find(name) {
        Some((address, size)) => Ok(Watched::Memory { address, length: length.unwrap_or(size.max(1)) }),
        None if name.contains('.') => {
            text.parse().map_err(|error: warmboot_machine::ConfigError| error.to_string())
        }
        None => {
            let why = symbols.resolve(name).err().unwrap_or_default();
            Err(format!(
                "watch `{text}`: {why}; expected ADDRESS, SYMBOL or CHIP.REGISTER, the first two with +LENGTH if you like"
            ))
        }
    }
}

/// One write, with names.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NamedEvent {
    /// What has been recorded.
    #[serde(flatten)]
    pub event: Event,
    /// The symbol of the first byte written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The symbol of the code that wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_symbol: Option<String>,
}

/// The write history of a machine.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct NamedHistory {
    /// What is watched, as it was given; events name it by its place here.
    pub watches: Vec<String>,
    /// Every write, oldest first.
    pub events: Vec<NamedEvent>,
    /// How many more there were than are kept.
    pub more: u64,
}

impl NamedHistory {
    /// The history of `machine`, whose watches were set from `watches` in this order.
    #[must_use]
    pub fn of(machine: &Machine, watches: &[String], symbols: &Symbols) -> NamedHistory {
        let history = machine.history();
        let name = |address: Option<u64>| Some(symbols.at(address?)?.to_string());
        let named = |event: &Event| NamedEvent {
            symbol: name(event.address),
            code_symbol: name(event.code.map(|code| code.linear)),
            event: event.clone(),
        };
        let events = history.events.iter().map(named).collect();
        NamedHistory { watches: watches.to_vec(), events, more: history.more }
    }

    fn rows(&self, watch: usize) -> Vec<[String; 6]> {
        let events = self.events.iter().filter(|named| named.event.watch == watch);
        events.map(NamedEvent::row).collect()
    }
}

impl NamedEvent {
    fn row(&self) -> [String; 6] {
        let Event { instruction, by, code, effect, place, old, new, .. } = &self.event;
        let code = code.map_or("-".to_owned(), |code| format!("{:04x}:{:04x}", code.selector, code.offset));
        let what = match effect {
            Effect::Written => place.clone(),
            Effect::WrittenElsewhere => format!("{place}, not seen here"),
            Effect::Dropped => format!("{place}, dropped"),
            Effect::Read => format!("{place}, read"),
            Effect::Remapped => format!("{place}, remapped"),
        };
        let name = self.symbol.as_ref().map_or(String::new(), |symbol| format!(" {symbol}"));
        [
            instruction.to_string(),
            code,
            self.code_symbol.clone().unwrap_or_else(|| "-".to_owned()),
            by.to_string(),
            format!("{} -> {}", shortened(&old.to_string()), shortened(&new.to_string())),
            what + &name,
        ]
    }
}

/// Long contents cut short; JSON has them whole.
fn shortened(text: &str) -> String {
    match text.get(..32) {
        Some(first) if text.len() > 32 => format!("{first}..."),
        _ => text.to_owned(),
    }
}

impl fmt::Display for NamedHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TITLES: [&str; 6] = ["instruction", "cs:ip", "code", "by", "old -> new", "where"];
        for (number, watch) in self.watches.iter().enumerate() {
            let rows = self.rows(number);
            let writes = if rows.len() == 1 { "write" } else { "writes" };
            writeln!(f, "watch {watch}: {} {writes}", rows.len())?;
            if rows.is_empty() {
                continue;
            }
            let table: Vec<[String; 6]> = std::iter::once(TITLES.map(str::to_owned)).chain(rows).collect();
            let mut widths = [0; 6];
            for row in &table {
                for (width, cell) in widths.iter_mut().zip(row) {
                    *width = cell.len().max(*width);
                }
            }
            for row in &table {
                let cells: Vec<String> =
                    row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                writeln!(f, "  {}", cells.join("  ").trim_end())?;
            }
        }
        match self.more {
            0 => Ok(()),
            more => writeln!(f, "and {more} writes more than are kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use warmboot_machine::{Condition, Config, Firmware, Limits};

    use super::*;
    use crate::symbols::{Bases, tests::elf};

    fn symbols() -> Symbols {
        let mut symbols = Symbols::default();
        let table = [("Flag", 0x510, 4), ("Mark", 0x520, 0), ("a.b", 0x530, 2), ("entry", 0xf_0000, 0)];
        symbols.add_elf("test", &elf(false, 0xf_0000, &table), &Bases::default()).expect("well-formed");
        symbols
    }

    #[rstest]
    #[case("0xf7290", Ok("0xf7290"))]
    #[case("0xf7290+4", Ok("0xf7290+4"))]
    #[case("Flag", Ok("0x510+4"))]
    #[case("Flag+1", Ok("0x510"))]
    #[case("Mark", Ok("0x520"))]
    #[case("a.b", Ok("0x530+2"))]
    #[case("rtc.cmos.15", Ok("rtc.cmos.15"))]
    #[case("Flga", Err("watch `Flga`: there is no symbol `Flga`; did you mean `Flag`?; expected ADDRESS"))]
    #[case("Flag+x", Err("watch `Flag+x`: `x` is no length"))]
    #[case("0xq", Err("watch `0xq`: expected ADDRESS"))]
    fn what_can_be_watched(#[case] text: &str, #[case] expect: Result<&str, &str>) {
        match (watched(text, &symbols()), expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found.to_string(), expect),
            (Err(error), Err(expect)) => assert!(error.starts_with(expect), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_table_for_a_person() {
        let mut image = vec![0x90; 0x1_0000];
        // mov byte [0x510],7 ; mov byte [0xf000:0x10],8 ; cli ; hlt, with DS 0 and F000.
        let code = [0xc6, 0x06, 0x10, 0x05, 7, 0xb8, 0, 0xf0, 0x8e, 0xd8, 0xc6, 0x06, 0x10, 0, 8, 0xfa, 0xf4];
        image[..code.len()].copy_from_slice(&code);
        image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
        let firmware = Firmware { name: "test".into(), bytes: image.into() };
        let mut machine = Machine::new(&Config { firmware, ..Config::default() }).expect("a machine");
        let watches = ["Flag".to_owned(), "0xf0010".to_owned(), "0x600".to_owned()];
        for watch in &watches {
            machine.watch(&watched(watch, &symbols()).expect("known")).expect("there");
        }
        machine.run(&[Condition::Halt], Limits::default()).expect("it runs");
        let history = NamedHistory::of(&machine, &watches, &symbols());
        insta::assert_snapshot!(history.to_string(), @r"
        watch Flag: 1 write
          instruction  cs:ip      code     by         old -> new  where
          1            f000:0000  entry+0  processor  00 -> 07    pc.ram@0x510 Flag+0
        watch 0xf0010: 1 write
          instruction  cs:ip      code       by         old -> new  where
          4            f000:000a  entry+0xa  processor  f4 -> 08    pc.bios@0x10, dropped entry+0x10
        watch 0x600: 0 writes
        ");
        let json = serde_json::to_value(&history).expect("plain data");
        assert_eq!(json["events"][1]["effect"], "dropped");
        assert_eq!(json["events"][0]["code_symbol"], "entry+0");
        assert_eq!(json["events"][0]["by"], "processor");
    }
}
