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
    /// The running processor's own time when its run began.
    #[serde(skip)]
    pub start: u64,
}

impl Clock {
    /// The running processor's own time at an instruction that has `retired` others of this run before
    /// it.
    #[must_use]
    pub fn own(&self, retired: u64) -> u64 {
        self.start.saturating_add(retired * cost::INSTRUCTION).saturating_add(self.extra)
    }

    /// The moment of an access by that instruction. For chips time never goes back, though the processor
    /// that was there before may be ahead.
    pub fn access(&mut self, retired: u64) -> Moment {
        self.nanoseconds = self.nanoseconds.max(self.own(retired));
        Moment(self.nanoseconds)
    }

    /// Now, between runs.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.nanoseconds)
    }

    /// Begins a run of a processor whose own time is `time`.
    pub fn begin(&mut self, time: u64) {
        self.start = time;
        self.extra = 0;
    }

    /// Ends a run of `retired` instructions; gives the processor's own time after it.
    pub fn end(&mut self, retired: u64) -> u64 {
        self.instructions += retired;
        let time = self.own(retired);
        self.extra = 0;
        time
    }

    /// Time has come to `moment`, unless it is later already.
    pub fn reach(&mut self, moment: u64) {
        self.nanoseconds = self.nanoseconds.max(moment);
    }
}
