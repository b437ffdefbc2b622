//! The panic port: a guest's kernel says that it has crashed.
//!
//! An emulators' device, QEMU's docs/specs/pvpanic: one port, which reads as the set of events there are;
//! writing one of them says that it has happened. It is there only when asked for.

use serde::{Deserialize, Serialize};

use crate::{Chip, Effects, Power, Region, ResetKind, Space};

/// Where it is.
pub const PORT: u16 = 0x505;

/// The guest has panicked.
const PANICKED: u8 = 1 << 0;
/// The guest has panicked, and a kernel loaded for that takes over.
const CRASH_LOADED: u8 = 1 << 1;

/// What is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What was written last.
    pub event: u8,
}

/// The panic port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pvpanic {
    state: State,
}

impl Pvpanic {
    /// A port to which nothing was written yet.
    #[must_use]
    pub fn new() -> Pvpanic {
        Pvpanic::default()
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

impl Chip for Pvpanic {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(PORT);
        vec![Region { index: 0, name: "pvpanic", space: Space::Io, base, length: 1, widest: 1 }]
    }

    fn register_name(&self, _index: u8, _offset: u64, write: bool) -> Option<String> {
        Some(if write { "EVENT" } else { "EVENTS" }.to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        u64::from(PANICKED | CRASH_LOADED)
    }

    fn write(&mut self, _index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        self.state.event = value as u8;
        // Of both at once the first counts.
        if self.state.event & PANICKED != 0 {
            fx.power = Some(Power::Panicked);
        } else if self.state.event & CRASH_LOADED == 0 {
            fx.note("unknown event", offset, value);
        }
    }

    fn reset(&mut self, _kind: ResetKind, _fx: &mut Effects) {
        self.state = State::default();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Moment;

    #[rstest]
    #[case::nothing(0, None, 1)]
    #[case::panicked(1, Some(Power::Panicked), 0)]
    #[case::crash_loaded(2, None, 0)]
    #[case::both(3, Some(Power::Panicked), 0)]
    #[case::unknown(4, None, 1)]
    fn events(#[case] event: u8, #[case] power: Option<Power>, #[case] notes: usize) {
        let mut port = Pvpanic::new();
        let mut fx = Effects::at(Moment(0));
        port.write(0, 0, 1, u64::from(event), &mut fx);
        assert_eq!((fx.power, fx.notes.len()), (power, notes));
        assert_eq!(port.read(0, 0, 1, &mut fx), 3);
        let saved = serde_json::to_value(port.state()).expect("plain data");
        let mut other = Pvpanic::new();
        other.restore(serde_json::from_value(saved).expect("its own state"));
        assert_eq!((&other, other.state().event), (&port, event));
        other.reset(ResetKind::System, &mut fx);
        assert_eq!(other, Pvpanic::new());
    }
}
