//! Port 92h, system control port A: the A20 gate and the fast reset.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "System Control Port A"; 82371SB data sheet
//! 290550-002, section 2.5. What bit 0 does differs between emulators.

use crate::{Chip, Effects, Region, ResetKind, ResetRequest, Space};
use serde::{Deserialize, Serialize};

/// The port.
pub const PORT: u16 = 0x92;

const FAST_RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

/// What writing one to a reset bit does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum ResetBit {
    /// Nothing.
    Ignored,
    /// Every write of one resets.
    Level,
    /// Only the change from zero to one resets.
    Edge,
}

impl ResetBit {
    /// Whether a write that changes the register from `before` to `after` resets.
    #[must_use]
    pub fn resets(self, before: u8, after: u8, bit: u8) -> bool {
        match self {
            ResetBit::Ignored => false,
            ResetBit::Level => after & bit != 0,
            ResetBit::Edge => after & !before & bit != 0,
        }
    }
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    control: u8,
}

/// System control port A.
#[derive(Clone, Debug)]
pub struct Port92 {
    state: State,
    fast_reset: ResetBit,
}

impl Port92 {
    /// The port with power just applied; `fast_reset` says what bit 0 does.
    #[must_use]
    pub fn new(fast_reset: ResetBit) -> Port92 {
        Port92 { state: State::default(), fast_reset }
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

impl Chip for Port92 {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(PORT);
        vec![Region { index: 0, name: "port92", space: Space::Io, base, length: 1, widest: 1 }]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("PORT_92".to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        u64::from(self.state.control)
    }

    fn write(&mut self, _index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let before = self.state.control;
        let after = value as u8;
        self.state.control = after;
        fx.a20 = Some(after & A20 != 0);
        if self.fast_reset.resets(before, after, FAST_RESET) {
            fx.reset = Some(ResetRequest::Port92);
        }
    }

    /// A system reset clears the reset bit alone; the CPU's reset opens A20 whatever bit 1 says.
    fn reset(&mut self, kind: ResetKind, _fx: &mut Effects) {
        match kind {
            ResetKind::PowerOn => self.state.control = 0,
            ResetKind::System => self.state.control &= !FAST_RESET,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    #[rstest]
    #[case::ignored(ResetBit::Ignored, &[0x03], false)]
    #[case::level(ResetBit::Level, &[0x01, 0x01], true)]
    #[case::edge(ResetBit::Edge, &[0x02, 0x03], true)]
    #[case::no_edge(ResetBit::Edge, &[0x01, 0x01], false)]
    #[case::zero(ResetBit::Level, &[0x02], false)]
    fn last_write_resets(#[case] bit: ResetBit, #[case] writes: &[u8], #[case] expect: bool) {
        let mut port = Port92::new(bit);
        let mut resets = false;
        for value in writes {
            let mut fx = Effects::at(Moment(0));
            port.write(0, 0, 1, u64::from(*value), &mut fx);
            assert_eq!(fx.a20, Some(value & 2 != 0));
            resets = fx.reset == Some(ResetRequest::Port92);
        }
        assert_eq!(resets, expect);
    }

    #[test]
    fn reads_back_and_keeps_a20_bit_over_reset() {
        let mut port = Port92::new(ResetBit::Edge);
        let mut fx = Effects::at(Moment(0));
        port.write(0, 0, 1, 0xff, &mut fx);
        assert_eq!(port.read(0, 0, 1, &mut fx), 0xff);
        port.reset(ResetKind::System, &mut fx);
        assert_eq!(port.read(0, 0, 1, &mut fx), 0xfe);
    }
}
