//! What differs between two machines: processor, chips, wires, memory, and what answers which address.
//!
//! Both machines can be of any type and generation: what only one of them has is said to be there
//! only. Nothing is run and nothing is changed.

mod ignore;
mod map;
mod memory;
pub(crate) mod registers;
mod show;

use serde::{Serialize, Serializer};
use serde_json::Value;
use warmboot_machine::Machine;

pub use ignore::{CLOCKS, Ignore, IgnoreError};
pub use memory::block_address;

use crate::symbols::Symbols;

/// Everything that differs.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Diff {
    /// Type, generation, processor model, power, counts and clock.
    pub machine: Vec<Change>,
    /// Processor registers, named as [`Machine::register`] takes them.
    pub cpu: Vec<Change>,
    /// Chips with a difference, in the order of the machine before.
    pub chips: Vec<ChipDiff>,
    /// Wires between chips.
    pub wires: Vec<Change>,
    /// Addresses that something else answers, in ascending order.
    pub map: Vec<MapChange>,
    /// RAM blocks with a difference.
    pub blocks: Vec<BlockDiff>,
    /// Registers and bytes that differ and were left out by a rule.
    pub ignored: u64,
}

/// A register that differs; `None` where a machine has no such register.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Change {
    /// Its name: names and indices joined by dots.
    pub name: String,
    /// Its value in the machine before.
    pub before: Option<Value>,
    /// Its value in the machine after.
    pub after: Option<Value>,
}

/// Which of the two machines has something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Only the machine before.
    Before,
    /// Only the machine after.
    After,
}

/// A chip that differs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ChipDiff {
    /// The chip.
    pub chip: String,
    /// It is there in one of the machines only; then no registers are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<Side>,
    /// Its registers, named as [`Machine::chip_register`] takes them.
    pub registers: Vec<Change>,
}

/// Addresses, and what answers them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MapChange {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// What answers in the machine before: `pc.bios@0x10000, writes are dropped`.
    pub before: String,
    /// What answers in the machine after.
    pub after: String,
}

/// A RAM block that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockDiff {
    /// Its name.
    pub block: String,
    /// Its size in the machine before, if it is there.
    pub before_size: Option<u64>,
    /// Its size in the machine after, if it is there. Bytes are compared as far as both reach.
    pub after_size: Option<u64>,
    /// The bytes that differ, in ascending order.
    pub ranges: Vec<RangeDiff>,
}

/// Bytes of a block that differ; a few equal ones between them belong to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RangeDiff {
    /// Offset of the first byte in the block.
    pub offset: u64,
    /// Where a PC shows that byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// The symbol there; a range never reaches from one symbol into the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The bytes in the machine before; as hexadecimal digits in JSON.
    #[serde(serialize_with = "hex")]
    pub before: Vec<u8>,
    /// The bytes in the machine after.
    #[serde(serialize_with = "hex")]
    pub after: Vec<u8>,
}

pub(crate) fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&digits(bytes))
}

/// Bytes as hexadecimal digits.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Diff {
    /// Whether nothing differs but what was to be ignored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Diff { machine, cpu, chips, wires, map, blocks, ignored: _ } = self;
        machine.is_empty()
            && cpu.is_empty()
            && chips.is_empty()
            && wires.is_empty()
            && map.is_empty()
            && blocks.is_empty()
    }

    /// How many registers, address ranges and byte ranges differ.
    #[must_use]
    pub fn count(&self) -> usize {
        let registers = self.chips.iter().map(|chip| chip.registers.len().max(1));
        let ranges = self.blocks.iter().map(|block| block.ranges.len().max(1));
        self.machine.len()
            + self.cpu.len()
            + self.wires.len()
            + self.map.len()
            + registers.chain(ranges).sum::<usize>()
    }
}

/// Compares two machines.
#[must_use]
pub fn diff(before: &Machine, after: &Machine, symbols: &Symbols, ignore: &[Ignore]) -> Diff {
    let mut rules = ignore::Rules::new(ignore, symbols);
    let machine = registers::machine(before, after, &mut rules);
    let cpu = registers::cpu(before, after, &mut rules);
    let chips = registers::chips(before, after, &mut rules);
    let wires = registers::wires(before, after, &mut rules);
    let map = map::compare(before, after, &mut rules);
    let blocks = memory::compare(before, after, symbols, &mut rules);
    Diff { machine, cpu, chips, wires, map, blocks, ignored: rules.ignored() }
}

#[cfg(test)]
mod tests;
