//! Debug output ports: each byte written goes to a host channel.
//!
//! Port 402h is the one SeaBIOS and OVMF write to, port E9h the one of Bochs. Reading tells
//! firmware whether anybody listens: E9h means yes; older emulators had no such sign.

use crate::{Chip, Effects, Region, ResetKind, Space};

/// The port SeaBIOS and OVMF write to.
pub const FIRMWARE_PORT: u16 = 0x402;
/// The port Bochs has.
pub const BOCHS_PORT: u16 = 0xe9;
/// The host channel ([`Effects::output`]) for written bytes.
pub const CHANNEL: u8 = 0;

/// A debug output port. It has no state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugPort {
    port: u16,
    reads: u8,
}

impl DebugPort {
    /// A debug port at `port` that reads as `reads` (E9h today, FFh on emulators of 2010).
    #[must_use]
    pub fn new(port: u16, reads: u8) -> DebugPort {
        DebugPort { port, reads }
    }

    /// What is saved: nothing.
    #[must_use]
    pub fn state(&self) -> &() {
        &()
    }

    /// Takes a saved state: there is none.
    pub fn restore(&mut self, (): ()) {}
}

impl Chip for DebugPort {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(self.port);
        vec![Region { index: 0, name: "isa-debugcon", space: Space::Io, base, length: 1, widest: 1 }]
    }

    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        Some("DEBUG_PORT".to_owned())
    }

    fn read(&mut self, _index: u8, _offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        u64::from(self.reads)
    }

    fn write(&mut self, _index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        fx.output(CHANNEL, value as u8);
    }

    fn reset(&mut self, _kind: ResetKind, _fx: &mut Effects) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;

    #[test]
    fn writes_go_out_and_reads_tell() {
        let mut port = DebugPort::new(FIRMWARE_PORT, 0xe9);
        let mut fx = Effects::at(Moment(0));
        port.write(0, 0, 1, 0x1_0000_0041, &mut fx);
        assert_eq!(fx.output, [(CHANNEL, b'A')]);
        assert_eq!(port.read(0, 0, 1, &mut fx), 0xe9);
    }
}
