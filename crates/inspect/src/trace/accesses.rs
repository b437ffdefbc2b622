//! One line per access to a chip.

use std::{io::Write, ops::RangeInclusive};

use warmboot_machine::{Access, AccessKind, ResetPath};

use super::{
    filter::{self, Common},
    instructions::SYMBOL_WIDTH,
    output::Output,
    processor,
};
use crate::symbols::Symbols;

/// What `config=` takes.
const FUNCTION: &str = "config=BUS:DEVICE.FUNCTION, such as config=00:1f.0, or config alone";

/// The text of `--trace-io`.
///
/// A line is the number of instructions retired before the one that accesses, the processor if there are
/// several, that instruction's CS:IP and symbol, the kind of access, its direction, its size in bytes, the
/// address, the value, the chip and its register. Where nobody answers, the chip is `-`.
pub struct AccessTrace {
    common: Common,
    wanted: Vec<Wanted>,
    chips: Vec<String>,
    symbols: Symbols,
    several: bool,
    output: Output,
}

/// Accesses of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Wanted {
    Port(RangeInclusive<u64>),
    Memory(RangeInclusive<u64>),
    Msr(RangeInclusive<u64>),
    /// Bus, device and function, or all of them.
    Config(Option<(u8, u8, u8)>),
}

impl Wanted {
    fn takes(&self, access: &Access) -> bool {
        match (self, access.kind) {
            (Wanted::Port(range), AccessKind::Port)
            | (Wanted::Memory(range), AccessKind::Memory)
            | (Wanted::Msr(range), AccessKind::Msr) => range.contains(&access.address),
            (Wanted::Config(function), AccessKind::Config(selected)) => {
                function.is_none_or(|function| function == (selected.bus, selected.device, selected.function))
            }
            _ => false,
        }
    }
}

impl AccessTrace {
    /// A trace to `to` of a machine that has `chips`, of one or of `several` processors. `options` as they
    /// stand behind the file's name: `range=START-END`, `port`, `mmio`, `msr` and `config`, each with a range or
    /// a function, `chip=NAME`, `from=N`, `to=N`, `limit=SIZE`, parted by commas.
    ///
    /// # Errors
    /// Which option is not understood, and what was expected.
    pub fn new(
        options: &str,
        symbols: Symbols,
        chips: &[&str],
        several: bool,
        to: Box<dyn Write>,
    ) -> Result<AccessTrace, String> {
        let (mut common, mut wanted, mut named) = (Common::default(), Vec::new(), Vec::new());
        let spread = |value: &str| match value {
            "" => Ok(0..=u64::MAX),
            value => filter::range(value, &symbols),
        };
        for (key, value) in filter::parts(options) {
            match key {
                "port" => wanted.push(Wanted::Port(spread(value)?)),
                "mmio" => wanted.push(Wanted::Memory(spread(value)?)),
                "msr" => wanted.push(Wanted::Msr(spread(value)?)),
                "config" => wanted.push(Wanted::Config(function(value)?)),
                "chip" if chips.contains(&value) => named.push(value.to_owned()),
                "chip" => {
                    return Err(format!("there is no chip `{value}`; there are {}", chips.join(", ")));
                }
                _ if common.take(key, value, &symbols)? => {}
                _ => {
                    let expected = "range=, port=, mmio=, msr=, config=, chip=, from=, to= or limit=";
                    return Err(filter::unknown(key, value, expected));
                }
            }
        }
        let output = Output::new(to, common.limit);
        Ok(AccessTrace { common, wanted, chips: named, symbols, several, output })
    }

    pub(super) fn wants(&self, count: u64) -> (bool, u64) {
        if self.output.is_open() { self.common.span.at(count) } else { (false, u64::MAX) }
    }

    fn takes(&self, access: &Access) -> bool {
        let ranges = &self.common.ranges;
        let anywhere = ranges.is_empty() && self.wanted.is_empty();
        let there = anywhere
            || ranges.iter().any(|range| range.contains(&access.address))
            || self.wanted.iter().any(|wanted| wanted.takes(access));
        let chip = access.chip.unwrap_or("");
        there
            && (self.chips.is_empty() || self.chips.iter().any(|wanted| wanted == chip))
            && self.common.span.contains(access.instruction)
    }

    pub(super) fn access(&mut self, access: &Access) {
        if !self.takes(access) {
            return;
        }
        let code = access.code.map_or("-".to_owned(), |code| {
            let symbol = self.symbols.at(code.linear).map_or(String::new(), |place| format!(" {place}"));
            let width = if self.symbols.is_empty() { 0 } else { SYMBOL_WIDTH };
            format!("{:04x}:{:04x}{symbol:<width$}", code.selector, code.offset)
        });
        let (kind, address) = match access.kind {
            AccessKind::Port => ("port", format!("{:04x}", access.address)),
            AccessKind::Memory => ("mmio", format!("{:08x}", access.address)),
            AccessKind::Msr => ("msr", format!("{:04x}", access.address)),
            AccessKind::Config(at) => {
                ("config", format!("{:02x}:{:02x}.{} {:02x}", at.bus, at.device, at.function, at.register))
            }
        };
        let direction = if access.write { "write" } else { "read" };
        let processor = processor(access.processor, self.several);
        let digits = 2 * usize::from(access.size);
        self.output.line(&format!(
            "{:>12}{processor}  {code}  {kind:<6} {direction:<5} {} {address}  {:0digits$x}  {} {}",
            access.instruction,
            access.size,
            access.value,
            access.chip.unwrap_or("-"),
            access.register,
        ));
    }

    pub(super) fn reset(&mut self, instructions: u64, path: ResetPath) {
        if self.common.span.contains(instructions) {
            self.output.line(&format!("{instructions:>12}  -- reset {path}"));
        }
    }

    pub(super) fn finish(&mut self) {
        self.output.flush();
    }
}

/// `00:1f.0`, or nothing for all functions.
fn function(value: &str) -> Result<Option<(u8, u8, u8)>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let (bus, rest) = value.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let digits = |text: &str, most: u8| {
            let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(text, 16).ok().filter(|number| plain && *number <= most)
        };
        Some((digits(bus, 0xff)?, digits(device, 31)?, digits(function, 7)?))
    };
    parse().map(Some).ok_or_else(|| filter::unknown("config", value, FUNCTION))
}
