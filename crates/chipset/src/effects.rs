//! What a chip asks the machine to do, collected during one access and applied after it.

use serde::{Deserialize, Serialize};

use crate::Moment;

/// Which reset a chip pulled, named as the paths of `warmboot --reset` are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ResetRequest {
    /// i8042 command FEh (or a pulse of output port bit 0).
    KeyboardController,
    /// Port 92h bit 0.
    Port92,
    /// Port CF9h bit 2 with bit 1: a hard reset by the data sheet.
    PortCf9,
    /// Port CF9h bit 2 without bit 1: a soft one.
    PortCf9Soft,
}

/// What becomes of the machine's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// Soft off (S5).
    Off,
    /// Suspend to RAM (S3).
    Suspend,
    /// The debug-exit port was written; the status is `(value << 1) | 1`.
    DebugExit(u32),
    /// The guest's kernel says that it has crashed.
    Panicked,
}

/// An interrupt message as an I/O APIC or MSI sends it to the local APICs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApicMessage {
    /// Physical APIC id, [`ApicMessage::ALL`] or logical destination.
    pub destination: u32,
    /// Destination is logical.
    pub logical: bool,
    /// Delivery mode, 0-7 (fixed, lowest, SMI, reserved, NMI, INIT, start-up, ExtINT).
    pub mode: u8,
    /// Vector.
    pub vector: u8,
    /// Level triggered.
    pub level_triggered: bool,
    /// Assert (INIT level de-assert is false).
    pub assert: bool,
    /// Destination shorthand 0-3 (none, self, all, all but self); 0 for I/O APICs.
    pub shorthand: u8,
    /// Index of the sending CPU, for shorthands.
    pub source: u8,
}

impl ApicMessage {
    /// The physical destination that is everybody.
    pub const ALL: u32 = u32::MAX;

    /// The destination that eight bits name, as I/O APICs, MSI and xAPICs have them.
    #[must_use]
    pub fn short_destination(bits: u8, logical: bool) -> u32 {
        if bits == 0xff && !logical { ApicMessage::ALL } else { bits.into() }
    }

    /// Whether one processor alone takes it, of several that match.
    #[must_use]
    pub fn is_lowest_priority(&self) -> bool {
        self.mode == 1
    }
}

/// What a flash chip does to the bytes it keeps in a RAM block of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlashStore {
    /// Programs a byte.
    Program {
        /// Offset in the chip.
        offset: u64,
        /// What is programmed.
        value: u8,
    },
    /// Erases whole sectors.
    Erase {
        /// Offset of the first byte in the chip.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

impl FlashStore {
    /// Offset of the first byte it is about, and how many there are.
    #[must_use]
    pub fn range(self) -> (u64, u64) {
        match self {
            FlashStore::Program { offset, .. } => (offset, 1),
            FlashStore::Erase { offset, length } => (offset, length),
        }
    }

    /// What becomes of a byte that was `old`: programming only clears bits, erasing sets all.
    #[must_use]
    pub fn over(self, old: u8) -> u8 {
        match self {
            FlashStore::Program { value, .. } => old & value,
            FlashStore::Erase { .. } => 0xff,
        }
    }
}

/// Collected during one call into a chip; the machine applies them in order of the fields below.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    now: Moment,
    /// Output lines of the chip that were driven: (pin numbered by the chip, level).
    pub lines: Vec<(u8, bool)>,
    /// Interrupt messages for local APICs.
    pub messages: Vec<ApicMessage>,
    /// Level-triggered vectors whose end was announced (EOI broadcast to I/O APICs).
    pub end_of_interrupt: Vec<u8>,
    /// Bytes for a host attachment: (channel numbered by the chip, byte). Serial and debug output.
    pub output: Vec<(u8, u8)>,
    /// What a flash chip does to its bytes.
    pub flash: Vec<FlashStore>,
    /// How many bytes of the display adapter's memory, from its first on, become zero.
    pub zero: u64,
    /// The chip's regions, PAM, SMRAM or BARs changed: redraw the map.
    pub remap: bool,
    /// The chip wants a [`crate::Chip::service`] call now, after this access.
    pub service: bool,
    /// State of the A20 gate this chip contributes.
    pub a20: Option<bool>,
    /// Raise SMI# to the CPU (SMI command port).
    pub smi: bool,
    /// Pull the system reset line.
    pub reset: Option<ResetRequest>,
    /// Pull INIT# (CPU only).
    pub init: bool,
    /// Change the power state.
    pub power: Option<Power>,
    /// Things worth a word in a trace: accesses to what is not there.
    pub notes: Vec<Note>,
}

/// An access to a register or command the chip does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// What was touched, in the data sheet's words.
    pub what: &'static str,
    /// Register offset, command or port.
    pub at: u64,
    /// Value written, or 0 for a read.
    pub value: u64,
}

impl Effects {
    /// Effects of an access at `now`.
    #[must_use]
    pub fn at(now: Moment) -> Effects {
        Effects { now, ..Effects::default() }
    }

    /// The current moment of virtual time.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Drives output pin `pin` to `level`. Driving a line to the level it has is harmless.
    pub fn line(&mut self, pin: u8, level: bool) {
        self.lines.push((pin, level));
    }

    /// Sends `byte` to host channel `channel`.
    pub fn output(&mut self, channel: u8, byte: u8) {
        self.output.push((channel, byte));
    }

    /// Asks the machine to redraw the address map.
    pub fn remap(&mut self) {
        self.remap = true;
    }

    /// Asks for a bus-master `service` call.
    pub fn service(&mut self) {
        self.service = true;
    }

    /// Records an access to something that is not there.
    pub fn note(&mut self, what: &'static str, at: u64, value: u64) {
        self.notes.push(Note { what, at, value });
    }
}
