//! Port 8900h: the word "Shutdown" written to it, a byte at a time, switches the machine off.
//!
//! Bochs' invention for its BIOS, which old SeaBIOS uses for the APM call "off"; QEMU had it until
//! December 2012. Any other byte begins afresh.

use crate::{Chip, Effects, Power, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// The port.
pub const PORT: u16 = 0x8900;
/// What must be written to it, in order.
const WORD: &[u8] = b"Shutdown";

/// Everything a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How many bytes of the word have come.
    matched: u8,
}

/// The shutdown port.
#[derive(Clone, Debug, Default)]
pub struct ShutdownPort {
    state: State,
}

impl ShutdownPort {
    /// The port with power just applied.
    #[must_use]
    pub fn new() -> ShutdownPort {
        ShutdownPort::default()
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }
}

impl Chip for ShutdownPort {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(PORT);
        vec![Region { index: 0, name: "shutdown-port", space: Space::Io, base, length: 1, widest: 1 }]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("SHUTDOWN_PORT".to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        0xff
    }

    fn write(&mut self, _index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let expected = WORD.get(usize::from(self.state.matched)).copied();
        self.state.matched = if expected == Some(value as u8) { self.state.matched + 1 } else { 0 };
        if usize::from(self.state.matched) == WORD.len() {
            self.state.matched = 0;
            fx.power = Some(Power::Off);
        }
    }

    /// The count is a static variable of the emulator: no reset reaches it.
    fn reset(&mut self, kind: ResetKind, _fx: &mut Effects) {
        if kind == ResetKind::PowerOn {
            self.state = State::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    #[rstest]
    #[case::the_word(b"Shutdown", true)]
    #[case::after_something_else(b"xShutdown", true)]
    #[case::incomplete(b"Shutdow", false)]
    #[case::interrupted(b"ShutShutdown", false)]
    #[case::twice_interrupted(b"ShutxShutdown", true)]
    #[case::other_case(b"SHUTDOWN", false)]
    fn powers_off(#[case] bytes: &[u8], #[case] expect: bool) {
        let mut port = ShutdownPort::new();
        let mut off = false;
        for byte in bytes {
            let mut fx = Effects::at(Moment(0));
            port.write(0, 0, 1, u64::from(*byte), &mut fx);
            off = fx.power == Some(Power::Off);
        }
        assert_eq!(off, expect);
    }

    #[test]
    fn a_reset_does_not_forget_what_has_come() {
        let mut port = ShutdownPort::new();
        let mut fx = Effects::at(Moment(0));
        for byte in b"Shut" {
            port.write(0, 0, 1, u64::from(*byte), &mut fx);
        }
        port.reset(ResetKind::System, &mut fx);
        for byte in b"down" {
            port.write(0, 0, 1, u64::from(*byte), &mut fx);
        }
        assert_eq!(fx.power, Some(Power::Off));
    }
}
