//! Bus-master IDE: one channel's command, status and descriptor-table registers, and the walk over
//! the physical region descriptors.
//!
//! Intel 290550 (PIIX3), section 2.8, and "Programming Interface for Bus Master IDE Controller" 1.0.

use crate::GuestMemory;
use serde::{Deserialize, Serialize};

/// BMICOM: start the bus master.
pub(super) const START: u8 = 0x01;
/// BMICOM: the bus master writes to memory.
const TO_MEMORY: u8 = 0x08;
/// BMISTA: a transfer is running.
pub(super) const ACTIVE: u8 = 0x01;
/// BMISTA: error; written as one, it clears.
const ERROR: u8 = 0x02;
/// BMISTA: the drive has raised its interrupt; written as one, it clears.
pub(super) const INTERRUPT: u8 = 0x04;
/// BMISTA: drives 0 and 1 can do DMA, as firmware has noted.
const CAPABLE: u8 = 0x60;

/// A descriptor table must not cross 64 KiB; like QEMU, no more than one page of it is read.
const TABLE_BYTES: u32 = 4096;

/// Registers of one channel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BusMaster {
    /// BMICOM, the command register.
    pub command: u8,
    /// BMISTA, the status register.
    pub status: u8,
    /// BMIDTP, the descriptor table's address.
    pub table: u32,
    /// The next descriptor, set from BMIDTP when the bus master is started.
    pub next: u32,
}

/// What a write to BMICOM asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Nothing,
    Started,
    Stopped,
}

impl BusMaster {
    pub(super) fn active(&self) -> bool {
        self.status & ACTIVE != 0
    }

    pub(super) fn set_active(&mut self, active: bool) {
        self.status = self.status & !ACTIVE | if active { ACTIVE } else { 0 };
    }

    /// A read of `size` bytes at `offset` 0-3: BMICOM and BMISTA are bytes, the rest is reserved.
    pub(super) fn read(&self, offset: u64, size: u8) -> u64 {
        match (offset, size) {
            (0, 1) => self.command.into(),
            (2, 1) => self.status.into(),
            _ => u64::MAX,
        }
    }

    /// A write of `size` bytes at `offset` 0-3.
    pub(super) fn write(&mut self, offset: u64, size: u8, value: u8) -> Change {
        match (offset, size) {
            (0, 1) => {
                let change = match (self.command & START, value & START) {
                    (0, START) => {
                        self.next = self.table;
                        if self.active() { Change::Nothing } else { Change::Started }
                    }
                    (START, 0) => Change::Stopped,
                    _ => Change::Nothing,
                };
                self.command = value & (START | TO_MEMORY);
                change
            }
            (2, 1) => {
                self.status =
                    value & CAPABLE | self.status & ACTIVE | self.status & !value & (ERROR | INTERRUPT);
                Change::Nothing
            }
            _ => Change::Nothing,
        }
    }

    /// A read of BMIDTP from byte `offset` of it.
    pub(super) fn read_table(&self, offset: u64) -> u64 {
        u64::from(self.table) >> (8 * (offset & 3))
    }

    /// A write of `size` bytes to BMIDTP; bits 0 and 1 are zero.
    pub(super) fn write_table(&mut self, offset: u64, size: u8, value: u64) {
        let shift = 8 * (offset & 3);
        let mask = ((1_u64 << (8 * u32::from(size.min(4)))) - 1) << shift;
        self.table = ((u64::from(self.table) & !mask | (value << shift) & mask) as u32) & !3;
    }
}

/// A stretch of guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub(crate) address: u64,
    pub(crate) length: usize,
}

/// The walk over a descriptor table during one transfer.
pub(super) struct Walk {
    start: u32,
    current: Segment,
    last: bool,
}

impl Walk {
    pub(super) fn new(master: &BusMaster) -> Walk {
        // The page limit counts from where the guest put the table, not from where we stand.
        Walk { start: master.table, current: Segment { address: 0, length: 0 }, last: false }
    }

    /// The next at most `limit` bytes of guest memory, or `None` at the end of the table.
    pub(super) fn next(
        &mut self,
        master: &mut BusMaster,
        memory: &mut dyn GuestMemory,
        limit: usize,
    ) -> Option<Segment> {
        if self.current.length == 0 {
            if self.last || master.next.wrapping_sub(self.start) >= TABLE_BYTES {
                return None;
            }
            let mut descriptor = [0; 8];
            memory.read(master.next.into(), &mut descriptor);
            master.next = master.next.wrapping_add(8);
            let [a, b, c, d, low, high, _, flags] = descriptor;
            let length = usize::from(u16::from_le_bytes([low, high]) & 0xfffe);
            self.current = Segment {
                address: u32::from_le_bytes([a, b, c, d]).into(),
                length: if length == 0 { 0x1_0000 } else { length },
            };
            self.last = flags & 0x80 != 0;
        }
        let length = self.current.length.min(limit);
        let segment = Segment { length, ..self.current };
        self.current.address += length as u64;
        self.current.length -= length;
        Some(segment)
    }

    /// All of the rest of the table: the segments that hold the first `limit` bytes, and how many
    /// bytes the descriptors describe in all.
    pub(super) fn gather(
        &mut self,
        master: &mut BusMaster,
        memory: &mut dyn GuestMemory,
        limit: usize,
    ) -> (Vec<Segment>, usize) {
        let mut segments = Vec::new();
        let (mut wanted, mut described) = (limit, 0_usize);
        while let Some(segment) = self.next(master, memory, usize::MAX) {
            described += segment.length;
            let length = segment.length.min(wanted);
            if length > 0 {
                segments.push(Segment { length, ..segment });
            }
            wanted -= length;
        }
        (segments, described)
    }
}

/// Memory as a function sees it whose bus-master bit is clear: nothing answers.
pub(crate) struct NoMemory;

impl GuestMemory for NoMemory {
    fn read(&mut self, _address: u64, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }

    fn write(&mut self, _address: u64, _bytes: &[u8]) {}
}
