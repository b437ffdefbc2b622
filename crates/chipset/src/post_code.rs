//! Port 80h, where firmware writes its power-on self-test codes, and port F0h, which clears the
//! coprocessor's error latch.
//!
//! IBM PC AT Technical Reference, "I/O address map". Both read all ones, as on QEMU's `pc`; the
//! last code written is kept so that it can be looked at.

use crate::{Chip, Effects, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Manufacturing checkpoint port.
pub const PORT: u16 = 0x80;
/// Clear coprocessor busy.
pub const COPROCESSOR_PORT: u16 = 0xf0;
/// Output pin: the coprocessor error latch (IRQ13) was cleared.
pub const COPROCESSOR_ERROR: u8 = 0;

/// Everything a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    code: u8,
}

/// The two ports.
#[derive(Clone, Debug, Default)]
pub struct PostCode {
    state: State,
}

impl PostCode {
    /// The ports with power just applied.
    #[must_use]
    pub fn new() -> PostCode {
        PostCode::default()
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

    /// The last code written.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.state.code
    }
}

impl Chip for PostCode {
    fn regions(&self) -> Vec<Region> {
        let port = |index, name, base: u16| Region {
            index,
            name,
            space: Space::Io,
            base: u64::from(base),
            length: 1,
            widest: 1,
        };
        vec![port(0, "ioport80", PORT), port(1, "ioportF0", COPROCESSOR_PORT)]
    }

    fn register_name(&self, index: u8, _offset: u64, _write: bool) -> Option<String> {
        let name = if index == 0 { "POST_CODE" } else { "COPROCESSOR_ERROR" };
        Some(name.to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        0xff
    }

    fn write(&mut self, index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        if index == 0 {
            self.state.code = value as u8;
        } else {
            fx.line(COPROCESSOR_ERROR, false);
        }
    }

    fn reset(&mut self, _kind: ResetKind, fx: &mut Effects) {
        self.state = State::default();
        fx.line(COPROCESSOR_ERROR, false);
    }
}
