//! A parallel flash chip with the Common Flash Interface and Intel's command set, eight bits wide.
//!
//! Commands and status: Intel 3 Volt Synchronous StrataFlash data sheet (28F640K3), sections 9 to 11;
//! the query table: JEDEC JESD68.01 and Intel's command set 0001h of the CFI publication 137. Geometry and
//! what those leave open are as the emulator's chip of PC firmware has them: sectors of 4 KiB, no
//! identifiers, and commands that are done at once.
//!
//! The bytes are in a RAM block, from which reads come without this chip as long as it is in its array
//! mode. In any other mode it answers reads itself; writes always reach it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Chip, Effects, FlashStore, Region, ResetKind, Space};

/// Bytes that one erase clears, and that one lock protects.
pub const SECTOR: u64 = 0x1000;
/// Most bytes of one buffered program, as a power of two: the query table's entry 2Ah.
const BUFFER_BITS: u8 = 3;
const BUFFER: u64 = 1 << BUFFER_BITS;

/// Bits of the status register.
mod status {
    /// The write state machine is ready.
    pub const READY: u8 = 1 << 7;
    /// An erase or a clear of lock bits failed.
    pub const ERASE: u8 = 1 << 5;
    /// A program or a set of lock bits failed.
    pub const PROGRAM: u8 = 1 << 4;
    /// A block was locked.
    pub const LOCKED: u8 = 1 << 1;
}

/// Commands.
mod command {
    pub const PROGRAM: u8 = 0x10;
    pub const ERASE: u8 = 0x20;
    pub const PROGRAM_2: u8 = 0x40;
    pub const CLEAR_STATUS: u8 = 0x50;
    pub const LOCK: u8 = 0x60;
    pub const READ_STATUS: u8 = 0x70;
    pub const READ_IDENTIFIERS: u8 = 0x90;
    pub const QUERY: u8 = 0x98;
    pub const CONFIRM: u8 = 0xd0;
    pub const BUFFERED_PROGRAM: u8 = 0xe8;
    pub const READ_ARRAY: u8 = 0xff;
    /// Second cycle of [`LOCK`]: sets the bit, where [`CONFIRM`] clears it.
    pub const SET_LOCK: u8 = 0x01;
}

/// How a chip is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// What the memory map calls it.
    pub name: &'static str,
    /// Address of the first byte.
    pub base: u64,
    /// Bytes, in whole sectors.
    pub size: u64,
    /// Its write-protect pin is pulled: programs and erases fail.
    pub read_only: bool,
}

/// What a read gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Mode {
    /// The bytes.
    #[default]
    Array,
    /// The status register.
    Status,
    /// Manufacturer, device and lock bits.
    Identifiers,
    /// The query table.
    Query,
}

/// What the next write is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Cycle {
    /// A command.
    #[default]
    Command,
    /// The byte to program.
    Program,
    /// The confirmation of an erase.
    Erase,
    /// Which lock operation.
    Lock,
    /// How many bytes of a buffered program follow, less one.
    Count,
    /// The bytes of a buffered program: how many are still to come, and those that have.
    Buffer {
        /// Still to come.
        left: u8,
        /// Offset and value of those before.
        bytes: Vec<(u64, u8)>,
    },
}

/// What is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// What a read gives.
    pub mode: Mode,
    /// What the next write is.
    pub cycle: Cycle,
    /// The status register.
    pub status: u8,
    /// Numbers of the locked sectors.
    pub locked: BTreeSet<u64>,
}

impl Default for State {
    fn default() -> State {
        State { mode: Mode::Array, cycle: Cycle::Command, status: status::READY, locked: BTreeSet::new() }
    }
}

/// The chip.
#[derive(Clone, Debug)]
pub struct Flash {
    config: Config,
    state: State,
}

impl Flash {
    /// A chip in array mode.
    #[must_use]
    pub fn new(config: Config) -> Flash {
        Flash { config, state: State::default() }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state; what no chip of this size can be in is left out.
    pub fn restore(&mut self, mut state: State) {
        let sectors = self.config.size / SECTOR;
        state.locked.retain(|sector| *sector < sectors);
        if let Cycle::Buffer { left, bytes } = &mut state.cycle {
            *left = (*left).min(BUFFER as u8);
            bytes.truncate(usize::from(BUFFER as u8 - *left));
            bytes.retain(|(offset, _)| *offset < self.config.size);
        }
        self.state = state;
    }

    /// Whether reads come from the array's block.
    #[must_use]
    pub fn reads_array(&self) -> bool {
        self.state.mode == Mode::Array
    }

    fn show(&mut self, mode: Mode, fx: &mut Effects) {
        if (self.state.mode == Mode::Array) != (mode == Mode::Array) {
            fx.remap();
        }
        self.state.mode = mode;
    }

    /// A write while a command is awaited.
    fn command(&mut self, offset: u64, value: u8, fx: &mut Effects) {
        let (mode, cycle) = match value {
            command::PROGRAM | command::PROGRAM_2 => (Mode::Status, Cycle::Program),
            command::ERASE => (Mode::Status, Cycle::Erase),
            command::LOCK => (Mode::Status, Cycle::Lock),
            command::BUFFERED_PROGRAM => {
                self.state.status |= status::READY;
                (Mode::Status, Cycle::Count)
            }
            command::CLEAR_STATUS => {
                // With the ready bit, which firmware tells this chip from RAM by.
                self.state.status = 0;
                (Mode::Array, Cycle::Command)
            }
            command::READ_STATUS => (Mode::Status, Cycle::Command),
            command::READ_IDENTIFIERS => (Mode::Identifiers, Cycle::Command),
            command::QUERY => (Mode::Query, Cycle::Command),
            command::READ_ARRAY => (Mode::Array, Cycle::Command),
            _ => {
                fx.note("unknown flash command", offset, u64::from(value));
                (Mode::Array, Cycle::Command)
            }
        };
        self.state.cycle = cycle;
        self.show(mode, fx);
    }

    /// Whether the sector at `offset` may change; if not, sets `failure` and why.
    fn may_change(&mut self, offset: u64, failure: u8) -> bool {
        let locked = self.state.locked.contains(&(offset / SECTOR));
        self.state.status |= status::READY;
        if locked {
            self.state.status |= failure | status::LOCKED;
        } else if self.config.read_only {
            self.state.status |= failure;
        }
        !locked && !self.config.read_only
    }

    fn program(&mut self, bytes: &[(u64, u8)], fx: &mut Effects) {
        for &(offset, value) in bytes {
            if self.may_change(offset, status::PROGRAM) {
                fx.flash.push(FlashStore::Program { offset, value });
            }
        }
    }

    /// The second cycle of an erase. Anything but a confirmation is a command sequence error.
    fn erase(&mut self, offset: u64, value: u8, fx: &mut Effects) {
        if value != command::CONFIRM {
            self.state.status |= status::READY | status::ERASE | status::PROGRAM;
        } else if self.may_change(offset, status::ERASE) {
            fx.flash.push(FlashStore::Erase { offset: offset / SECTOR * SECTOR, length: SECTOR });
        }
    }

    fn lock(&mut self, offset: u64, value: u8) {
        let sector = offset / SECTOR;
        self.state.status |= status::READY;
        match value {
            command::SET_LOCK => {
                self.state.locked.insert(sector);
            }
            command::CONFIRM => {
                self.state.locked.remove(&sector);
            }
            _ => self.state.status |= status::ERASE | status::PROGRAM,
        }
    }

    /// A byte of a buffered program, or its confirmation. All of it lies in one aligned buffer.
    fn buffer(&mut self, left: u8, mut bytes: Vec<(u64, u8)>, write: (u64, u8), fx: &mut Effects) {
        let (offset, value) = write;
        if left == 0 {
            if value == command::CONFIRM {
                self.program(&bytes, fx);
            } else {
                self.state.status |= status::READY | status::ERASE | status::PROGRAM;
            }
            return;
        }
        let outside = bytes.first().is_some_and(|(first, _)| first / BUFFER != offset / BUFFER);
        if outside {
            self.state.status |= status::READY | status::PROGRAM | status::ERASE;
            return;
        }
        bytes.push((offset, value));
        self.state.cycle = Cycle::Buffer { left: left - 1, bytes };
    }

    /// A byte of the query table (JESD68.01, tables 1 to 4; command set 0001h, its extended table).
    fn query(&self, at: u64) -> u8 {
        const BASIC: [u8; 0x17] = [
            b'Q', b'R', b'Y', // the signature, at 10h
            0x01, 0x00, 0x31, 0x00, // Intel's command set; its table is at 31h
            0x00, 0x00, 0x00, 0x00, // no other command set
            0x45, 0x55, 0x00, 0x00, // 4.5 V to 5.5 V, and no supply for programming
            0x07, 0x07, 0x0a, 0x00, // 128 us for a byte or a buffer, 1 s for a sector
            0x04, 0x04, 0x04, 0x00, // at most sixteen times that
        ];
        const EXTENDED: [u8; 5] = *b"PRI10";
        /// Protection registers of the extended table.
        const PROTECTION_FIELDS: u8 = 1;
        let sectors = (self.config.size / SECTOR).saturating_sub(1);
        let table = |table: &[u8], from: u64| {
            usize::try_from(at - from).ok().and_then(|index| table.get(index).copied()).unwrap_or(0)
        };
        match at {
            0x10..0x27 => table(&BASIC, 0x10),
            // 2^n bytes; the emulator gives the largest power of two that divides the size.
            0x27 => self.config.size.trailing_zeros() as u8,
            0x28 => 2,
            0x2a => BUFFER_BITS,
            0x2c => 1, // region of equal sectors: how many less one, and their size in 256 bytes
            0x2d => sectors as u8,
            0x2e => (sectors >> 8) as u8,
            0x2f => (SECTOR >> 8) as u8,
            0x30 => (SECTOR >> 16) as u8,
            0x31..0x36 => table(&EXTENDED, 0x31),
            0x3f => PROTECTION_FIELDS,
            _ => 0,
        }
    }

    fn identifier(&self, offset: u64) -> u8 {
        // Manufacturer and device, 0 and 1, are not given; 2 is the sector's lock.
        let locked = self.state.locked.contains(&(offset / SECTOR));
        u8::from(offset % SECTOR == 2 && locked)
    }
}

impl Chip for Flash {
    fn regions(&self) -> Vec<Region> {
        let Config { name, base, size, .. } = self.config;
        vec![Region { index: 0, name, space: Space::Memory, base, length: size, widest: 1 }]
    }

    /// What a read gives now, and what a write is: of this chip the place decides neither.
    fn register_name(&self, _index: u8, _offset: u64, write: bool) -> Option<String> {
        let name = match (write, &self.state.cycle, self.state.mode) {
            (true, Cycle::Command, _) => "COMMAND",
            (true, Cycle::Program, _) => "PROGRAM_DATA",
            (true, Cycle::Erase, _) => "ERASE_CONFIRM",
            (true, Cycle::Lock, _) => "LOCK_SETUP",
            (true, Cycle::Count, _) => "BUFFER_COUNT",
            (true, Cycle::Buffer { left: 0, .. }, _) => "BUFFER_CONFIRM",
            (true, Cycle::Buffer { .. }, _) => "BUFFER_DATA",
            (false, _, Mode::Array) => "ARRAY",
            (false, _, Mode::Status) => "STATUS",
            (false, _, Mode::Identifiers) => "IDENTIFIER",
            (false, _, Mode::Query) => "QUERY",
        };
        Some(name.to_owned())
    }

    fn read(&mut self, _index: u8, offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        match self.state.mode {
            Mode::Status => u64::from(self.state.status),
            Mode::Identifiers => u64::from(self.identifier(offset)),
            Mode::Query => u64::from(self.query(offset & 0xff)),
            Mode::Array => {
                fx.note("flash array read past its block", offset, 0);
                0xff
            }
        }
    }

    fn write(&mut self, _index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let value = value as u8;
        match std::mem::take(&mut self.state.cycle) {
            Cycle::Command => self.command(offset, value, fx),
            Cycle::Program => self.program(&[(offset, value)], fx),
            Cycle::Erase => self.erase(offset, value, fx),
            Cycle::Lock => self.lock(offset, value),
            Cycle::Count if u64::from(value) < BUFFER => {
                self.state.cycle = Cycle::Buffer { left: value + 1, bytes: Vec::new() };
            }
            Cycle::Count => self.state.status |= status::READY | status::PROGRAM | status::ERASE,
            Cycle::Buffer { left, bytes } => self.buffer(left, bytes, (offset, value), fx),
        }
    }

    /// The bytes stay; its commands and locks do not.
    fn reset(&mut self, _kind: ResetKind, fx: &mut Effects) {
        self.state = State::default();
        fx.remap();
    }
}

#[cfg(test)]
mod tests;
