//! MSI-X: a function's table of interrupt messages, each masked or not, and which of them wait.
//!
//! PCI Local Bus Specification 3.0, section 6.8.2.

use serde::{Deserialize, Serialize};

use crate::{ApicMessage, local_apic::message_of_msi};

/// Bytes of an entry: address, upper address, data, vector control.
pub const ENTRY: u64 = 16;
/// Vector Control: the entry is masked.
const MASKED: u32 = 1;

/// Message Control: the table is used in place of the interrupt pin.
pub const ENABLE: u16 = 1 << 15;
/// Message Control: every entry is masked.
pub const FUNCTION_MASK: u16 = 1 << 14;

/// An entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Message Address, both halves.
    pub address: u64,
    /// Message Data.
    pub data: u32,
    /// Vector Control.
    pub control: u32,
}

impl Entry {
    const RESET: Entry = Entry { address: 0, data: 0, control: MASKED };
}

/// The table and its pending bits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The Pending Bit Array; at most 64 entries have one.
    pub pending: u64,
}

impl Table {
    /// A table of `length` masked entries, at most 64.
    #[must_use]
    pub fn new(length: usize) -> Table {
        Table { entries: vec![Entry::RESET; length.min(64)], pending: 0 }
    }

    /// Masks and clears all, as a reset does.
    pub fn reset(&mut self) {
        self.entries.fill(Entry::RESET);
        self.pending = 0;
    }

    /// Takes saved entries, as many as there are here.
    pub fn restore(&mut self, saved: &Table) {
        for (entry, saved) in self.entries.iter_mut().zip(&saved.entries) {
            *entry = *saved;
        }
        self.pending = saved.pending & self.bits();
    }

    /// A bit for each entry.
    fn bits(&self) -> u64 {
        (0..self.entries.len()).fold(0, |bits, index| bits | 1 << index)
    }

    /// Reads `size` bytes at `offset` of the table; zero behind its end.
    #[must_use]
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        let byte = |at: u64| {
            let entry = self.entries.get(usize::try_from(at / ENTRY).ok()?)?;
            let [address, data, control] = [
                entry.address.to_le_bytes(),
                u64::from(entry.data).to_le_bytes(),
                u64::from(entry.control).to_le_bytes(),
            ];
            let within = (at % ENTRY) as usize;
            match within {
                0..8 => address.get(within),
                8..12 => data.get(within - 8),
                _ => control.get(within - 12),
            }
            .copied()
        };
        (0..u64::from(size))
            .fold(0, |value, at| value | u64::from(byte(offset + at).unwrap_or(0)) << (8 * at))
    }

    /// Writes a dword at `offset`, which is a multiple of four.
    pub fn write(&mut self, offset: u64, value: u32) {
        let index = usize::try_from(offset / ENTRY).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(index) else { return };
        match offset % ENTRY {
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
            4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.data = value,
            12 => entry.control = value & MASKED,
            _ => {}
        }
    }

    /// Interrupt `vector` happens: its message, or, where that is masked, a pending bit. A vector that is
    /// no entry is nothing.
    pub fn signal(&mut self, vector: u16, control: u16) -> Option<ApicMessage> {
        let entry = self.entries.get(usize::from(vector))?;
        if control & FUNCTION_MASK != 0 || entry.control & MASKED != 0 {
            self.pending |= 1 << vector;
            return None;
        }
        message_of_msi(entry.address, entry.data)
    }

    /// The messages that have waited and are masked no more.
    pub fn unmasked(&mut self, control: u16) -> Vec<ApicMessage> {
        let waiting = std::mem::take(&mut self.pending);
        if control & ENABLE == 0 {
            self.pending = waiting;
            return Vec::new();
        }
        let vectors = (0..64u16).filter(|vector| waiting >> vector & 1 != 0);
        vectors.filter_map(|vector| self.signal(vector, control)).collect()
    }
}
