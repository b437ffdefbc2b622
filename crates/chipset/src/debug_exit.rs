//! The debug-exit port: a guest ends the run with a status of its own.
//!
//! An emulators' device (QEMU's isa-debug-exit): writing V ends the run with status 2V + 1, which
//! is never zero. It is there only when asked for.

use crate::{Chip, Effects, Power, Region, ResetKind, Space};

/// The debug-exit port. It has no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugExit {
    port: u16,
}

impl DebugExit {
    /// A debug-exit port at `port`, four ports long.
    #[must_use]
    pub fn new(port: u16) -> DebugExit {
        DebugExit { port }
    }

    /// What is saved: nothing.
    #[must_use]
    pub fn state(&self) -> &() {
        &()
    }

    /// Takes a saved state: there is none.
    pub fn restore(&mut self, (): ()) {}
}

impl Chip for DebugExit {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(self.port);
        let length = (0x1_0000 - base).min(4);
        vec![Region { index: 0, name: "isa-debug-exit", space: Space::Io, base, length, widest: 4 }]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("DEBUG_EXIT".to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        0
    }

    fn write(&mut self, _index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        fx.power = Some(Power::DebugExit((value as u32).wrapping_shl(1) | 1));
    }

    fn reset(&mut self, _kind: ResetKind, _fx: &mut Effects) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    #[rstest]
    #[case::pass(0, 1)]
    #[case::sixteen(0x10, 0x21)]
    #[case::top_bit_is_lost(0x8000_0001, 3)]
    fn status(#[case] value: u64, #[case] expect: u32) {
        let mut port = DebugExit::new(0xf4);
        let mut fx = Effects::at(Moment(0));
        port.write(0, 0, 4, value, &mut fx);
        assert_eq!(fx.power, Some(Power::DebugExit(expect)));
    }

    #[test]
    fn last_port_is_one_byte() {
        assert_eq!(DebugExit::new(0xffff).regions()[0].length, 1);
    }
}
