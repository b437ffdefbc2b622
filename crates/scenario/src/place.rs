//! Where a byte is: an address, a symbol, an offset into a RAM block.

use std::{fmt, str::FromStr};

use warmboot_inspect::symbols::Symbols;
use warmboot_machine::{ConfigError, Machine};

/// The copy of the BIOS below 4 GiB is this far above the one below 1 MiB.
const HIGH: u64 = 0xfff0_0000;

/// A place in memory as a scenario names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A physical address.
    Address(u64),
    /// A symbol, so many bytes further on, perhaps in the copy below 4 GiB.
    Symbol { name: String, plus: u64, high: bool },
    /// A block's bytes, whoever answers their address.
    Block { block: String, offset: Box<Place> },
}

/// A place of one machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The block, when one was named.
    block: Option<String>,
    /// Offset into it, or physical address.
    pub(crate) at: u64,
    /// Bytes the symbol has from there on, when it is one that has a size.
    pub(crate) size: Option<u64>,
}

impl Place {
    /// Where it is.
    ///
    /// # Errors
    /// When there is no such symbol.
    pub(crate) fn find(&self, symbols: &Symbols) -> Result<Found, ConfigError> {
        match self {
            Place::Address(at) => Ok(Found { block: None, at: *at, size: None }),
            Place::Symbol { name, plus, high } => {
                let (address, size) = symbols.resolve(name).map_err(ConfigError::new)?;
                let base = if *high { HIGH } else { 0 };
                let at = address
                    .checked_add(*plus)
                    .and_then(|at| at.checked_add(base))
                    .ok_or_else(|| ConfigError::new(format!("`{self}` is beyond all addresses")))?;
                let size = size.checked_sub(*plus).filter(|size| *size > 0);
                Ok(Found { block: None, at, size })
            }
            Place::Block { block, offset } => {
                Ok(Found { block: Some(block.clone()), ..offset.find(symbols)? })
            }
        }
    }
}

impl Place {
    /// Whether it may have a size of its own.
    pub(crate) fn has_size(&self) -> bool {
        match self {
            Place::Address(_) => false,
            Place::Symbol { .. } => true,
            Place::Block { offset, .. } => offset.has_size(),
        }
    }
}

impl Found {
    /// The bytes there.
    ///
    /// # Errors
    /// When the block does not exist or ends before.
    pub(crate) fn read(&self, machine: &Machine, bytes: &mut [u8]) -> Result<(), ConfigError> {
        match &self.block {
            Some(block) => machine.read_block(block, self.at, bytes),
            None => {
                machine.read_memory(self.at, bytes);
                Ok(())
            }
        }
    }

    /// Changes the bytes there.
    ///
    /// # Errors
    /// When the block does not exist or ends before, or no RAM takes writes of the address.
    pub(crate) fn write(&self, machine: &mut Machine, bytes: &[u8]) -> Result<(), ConfigError> {
        if let Some(block) = &self.block {
            return machine.write_block(block, self.at, bytes);
        }
        machine.write_memory(self.at, bytes);
        let mut after = vec![0; bytes.len()];
        machine.read_memory(self.at, &mut after);
        if after == bytes {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "memory at {:#x} does not take what is written; a block's bytes can be named as \
             \"pc.bios@OFFSET\"",
            self.at
        )))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(at) => write!(f, "{at:#x}"),
            Place::Symbol { name, plus, high } => {
                f.write_str(name)?;
                if *plus > 0 {
                    write!(f, "+{plus}")?;
                }
                f.write_str(if *high { "@high" } else { "" })
            }
            Place::Block { block, offset } => write!(f, "{block}@{offset}"),
        }
    }
}

/// What a place looks like, for messages.
pub(crate) const FORMS: &str = "\"0x475\", \"f000:fff0\", SYMBOL, SYMBOL+4, SYMBOL@high or \"pc.ram@0x475\"";

impl FromStr for Place {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Place, ConfigError> {
        let bad = || ConfigError::new(format!("`{text}` names no place in memory; expected {FORMS}"));
        if let Some(symbol) = text.strip_suffix("@high") {
            return match simple(symbol).ok_or_else(bad)? {
                Place::Symbol { name, plus, .. } => Ok(Place::Symbol { name, plus, high: true }),
                Place::Address(at) => at.checked_add(HIGH).map(Place::Address).ok_or_else(bad),
                Place::Block { .. } => Err(bad()),
            };
        }
        match text.split_once('@') {
            Some((block, offset)) if !block.is_empty() => Ok(Place::Block {
                block: block.to_owned(),
                offset: Box::new(simple(offset).ok_or_else(bad)?),
            }),
            Some(_) => Err(bad()),
            None => simple(text).ok_or_else(bad),
        }
    }
}

/// An address or a symbol.
fn simple(text: &str) -> Option<Place> {
    let hex = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    if let Some((segment, offset)) = text.split_once(':') {
        let segment = hex(segment).filter(|segment| *segment <= 0xffff)?;
        let offset = hex(offset).filter(|offset| *offset <= 0xffff)?;
        return Some(Place::Address((segment << 4) + offset));
    }
    if text.starts_with("0x") {
        return hex(text).map(Place::Address);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok().map(Place::Address);
    }
    let (name, plus) = match text.split_once('+') {
        Some((name, plus)) => (name, if plus.starts_with("0x") { hex(plus)? } else { plus.parse().ok()? }),
        None => (text, 0),
    };
    let is_name = |c: char| c.is_alphanumeric() || "_.$".contains(c);
    let known = !name.is_empty() && name.chars().all(is_name);
    known.then(|| Place::Symbol { name: name.to_owned(), plus, high: false })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn symbol(name: &str, plus: u64, high: bool) -> Option<Place> {
        Some(Place::Symbol { name: name.into(), plus, high })
    }

    #[rstest]
    #[case("0x475", Some(Place::Address(0x475)))]
    #[case("475", Some(Place::Address(475)))]
    #[case("f000:fff0", Some(Place::Address(0xffff0)))]
    #[case("0xffff0@high", Some(Place::Address(0xffff_fff0)))]
    #[case("HaveRunPost", symbol("HaveRunPost", 0, false))]
    #[case("HaveRunPost+0x10", symbol("HaveRunPost", 16, false))]
    #[case("HaveRunPost@high", symbol("HaveRunPost", 0, true))]
    #[case("pc.ram@0x10", Some(Place::Block { block: "pc.ram".into(), offset: Box::new(Place::Address(16)) }))]
    #[case("pc.ram@x", Some(Place::Block {
        block: "pc.ram".into(),
        offset: Box::new(Place::Symbol { name: "x".into(), plus: 0, high: false }),
    }))]
    #[case("", None)]
    #[case("@0", None)]
    #[case("10000:0", None)]
    #[case("12ab", None)]
    #[case("0x+5", None)]
    #[case("a b", None)]
    fn places(#[case] text: &str, #[case] expect: Option<Place>) {
        let parsed: Option<Place> = text.parse().ok();
        assert_eq!(parsed, expect);
        if let Some(place) = parsed {
            assert_eq!(place.to_string().parse::<Place>().ok(), Some(place));
        }
    }
}
