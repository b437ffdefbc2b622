//! Virtual time: a function of retired instructions, halts and declared costs, nothing else.

use serde::{Deserialize, Serialize};
use warmboot_chipset::Moment;

/// What things cost, in nanoseconds of virtual time.
pub mod cost {
    /// One retired instruction.
    pub const INSTRUCTION: u64 = 1;
    /// One access to an I/O port, as on a real ISA bus.
    pub const PORT: u64 = 1_000;
    /// One PAUSE.
    pub const PAUSE: u64 = 1_000;
}

/// The one absolute clock of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Nanoseconds since power-on.
    pub nanoseconds: u64,
    /// Costs of the run in progress beyond its instructions; zero between runs.
    #[serde(skip)]
    pub extra: u64,
}

impl Clock {
    /// The moment of an instruction that has `retired` others of this run before it.
    #[must_use]
    pub fn at(&self, retired: u64) -> Moment {
        Moment(self.nanoseconds.saturating_add(retired * cost::INSTRUCTION).saturating_add(self.extra))
    }

    /// Now, between runs.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.nanoseconds)
    }

    /// Ends a run of `retired` instructions.
    pub fn advance(&mut self, retired: u64) {
        self.instructions += retired;
        self.nanoseconds = self.at(retired).0;
        self.extra = 0;
    }
}
