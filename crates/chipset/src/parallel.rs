//! A standard parallel port with a printer that takes every byte at once.
//!
//! IBM Personal Computer AT Technical Reference, "IBM Printer Adapter": data, status and control, one
//! direction. Handshake and interrupt are those of QEMU's isa-parallel with a file behind it, measured
//! on 7.2: BUSY# falls with the strobe, a read of the status acknowledges, and the interrupt stays until
//! the status is read. The registers are bytes; two at once are two accesses, and four nobody answers.

use serde::{Deserialize, Serialize};

use crate::{Chip, Effects, Region, ResetKind, Space, name_at};

/// Where LPT1 is.
pub const LPT1: u16 = 0x378;
/// The host channel ([`Effects::output`]) for printed bytes.
pub const CHANNEL: u8 = 0;
/// Output pin: the interrupt.
pub const INTERRUPT: u8 = 0;

/// Ports that the card decodes; the last five read all ones.
const PORTS: u64 = 8;
const DATA: u64 = 0;
const STATUS: u64 = 1;
const CONTROL: u64 = 2;

/// Status: BUSY, whose pin is inverted.
const NOT_BUSY: u8 = 1 << 7;
/// Status: ACK, low while a byte is acknowledged.
const NOT_ACKNOWLEDGED: u8 = 1 << 6;
/// Status: the printer is selected.
const SELECTED: u8 = 1 << 4;
/// Status: ERROR, low when there is one.
const NO_ERROR: u8 = 1 << 3;
/// Status: an EPP time-out (IEEE 1284), set from power-on until the printer is initialised.
const TIMEOUT: u8 = 1 << 0;
/// What an initialised printer says.
const READY: u8 = NOT_BUSY | NOT_ACKNOWLEDGED | SELECTED | NO_ERROR;

/// Control: the data pins are inputs, at which nothing is.
const DIRECTION: u8 = 1 << 5;
const INTERRUPT_ENABLE: u8 = 1 << 4;
const SELECT: u8 = 1 << 3;
/// Control: INIT, low while the printer is initialised.
const NOT_INITIALISE: u8 = 1 << 2;
const STROBE: u8 = 1 << 0;
/// Control bits that always read as ones.
const CONTROL_ONES: u8 = 0xc0;

/// What is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Data, as it was written.
    pub data: u8,
    /// Status.
    pub status: u8,
    /// Control.
    pub control: u8,
    /// The interrupt waits for a read of the status.
    pub interrupt: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            data: 0xff,
            status: READY | TIMEOUT,
            control: CONTROL_ONES | SELECT | NOT_INITIALISE,
            interrupt: false,
        }
    }
}

/// A parallel port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallel {
    base: u16,
    state: State,
}

impl Parallel {
    /// A port at `base`.
    #[must_use]
    pub fn new(base: u16) -> Parallel {
        Parallel { base, state: State::default() }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state = State { control: state.control | CONTROL_ONES, ..state };
    }

    fn read_byte(&mut self, offset: u64, fx: &mut Effects) -> u8 {
        match offset {
            DATA if self.state.control & DIRECTION != 0 => 0xff,
            DATA => self.state.data,
            STATUS => self.read_status(fx),
            CONTROL => self.state.control,
            _ => 0xff,
        }
    }

    fn read_status(&mut self, fx: &mut Effects) -> u8 {
        let status = self.state.status;
        self.state.interrupt = false;
        if status & NOT_BUSY == 0 && self.state.control & STROBE == 0 {
            // Acknowledged for one read, and ready after it.
            self.state.status = match status & NOT_ACKNOWLEDGED {
                0 => status | NOT_ACKNOWLEDGED | NOT_BUSY,
                _ => status & !NOT_ACKNOWLEDGED,
            };
        }
        fx.line(INTERRUPT, false);
        status
    }

    fn write_control(&mut self, value: u8, fx: &mut Effects) {
        let before = std::mem::replace(&mut self.state.control, value | CONTROL_ONES);
        if value & NOT_INITIALISE == 0 {
            self.state.status = READY;
        } else if value & SELECT != 0 {
            if value & STROBE != 0 {
                self.state.status &= !NOT_BUSY;
                if before & STROBE == 0 {
                    fx.output(CHANNEL, self.state.data);
                }
            } else if before & INTERRUPT_ENABLE != 0 {
                self.state.interrupt = true;
            }
        }
        fx.line(INTERRUPT, self.state.interrupt);
    }
}

impl Chip for Parallel {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(self.base);
        vec![Region { index: 0, name: "parallel", space: Space::Io, base, length: PORTS, widest: 4 }]
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        name_at(&["DATA", "STATUS", "CONTROL"], offset)
    }

    fn read(&mut self, _index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        if size > 2 {
            return u64::MAX;
        }
        (0..u64::from(size))
            .fold(0, |value, byte| value | u64::from(self.read_byte(offset + byte, fx)) << (8 * byte))
    }

    fn write(&mut self, _index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        for byte in 0..u64::from(if size > 2 { 0 } else { size }) {
            let value = (value >> (8 * byte)) as u8;
            match offset + byte {
                DATA => self.state.data = value,
                CONTROL => self.write_control(value, fx),
                _ => {}
            }
        }
    }

    fn reset(&mut self, _kind: ResetKind, fx: &mut Effects) {
        self.state = State::default();
        fx.line(INTERRUPT, false);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Moment;

    /// `(port, value)` is written, `(port, None)` read.
    type Step = (u64, Option<u8>);

    /// What the reads among `steps` give, what was printed, and the interrupt's level: all as QEMU 7.2.
    #[track_caller]
    fn check(steps: &[Step], reads: &[u8], printed: &[u8], interrupt: bool) {
        let mut port = Parallel::new(LPT1);
        let (mut found, mut output, mut level) = (Vec::new(), Vec::new(), false);
        for (offset, value) in steps {
            let mut fx = Effects::at(Moment(0));
            match value {
                Some(value) => port.write(0, *offset, 1, u64::from(*value), &mut fx),
                None => found.push(port.read(0, *offset, 1, &mut fx) as u8),
            }
            output.extend(fx.output.iter().map(|(_, byte)| *byte));
            level = fx.lines.last().map_or(level, |(_, level)| *level);
        }
        assert_eq!((found.as_slice(), output.as_slice(), level), (reads, printed, interrupt));
        let saved = serde_json::to_value(port.state()).expect("plain data");
        let mut other = Parallel::new(LPT1);
        other.restore(serde_json::from_value(saved).expect("its own state"));
        assert_eq!(other, port);
        other.reset(ResetKind::System, &mut Effects::at(Moment(0)));
        assert_eq!(other, Parallel::new(LPT1));
    }

    const R: Option<u8> = None;
    const fn w(value: u8) -> Option<u8> {
        Some(value)
    }

    #[rstest]
    #[case::power_on(&[(0, R), (1, R), (2, R), (3, R), (7, R)], &[0xff, 0xd9, 0xcc, 0xff, 0xff], &[], false)]
    #[case::a_byte(&[(0, w(0x41)), (0, R), (2, w(0x0d)), (1, R), (1, R)], &[0x41, 0x59, 0x59], b"A", false)]
    #[case::acknowledged(&[(0, w(0x41)), (2, w(0x0d)), (2, w(0x0c)), (1, R), (1, R), (1, R)], &[0x59, 0x19, 0xd9],
        b"A", false)]
    #[case::one_strobe(&[(0, w(0x41)), (2, w(0x0d)), (0, w(0x42)), (2, w(0x0d))], &[], b"A", false)]
    #[case::input(&[(0, w(0x41)), (2, w(0x2c)), (0, R), (2, w(0x0c)), (0, R)], &[0xff, 0x41], &[], false)]
    #[case::initialised(&[(2, w(0x08)), (1, R), (2, R)], &[0xd8, 0xc8], &[], false)]
    #[case::not_selected(&[(0, w(0x41)), (2, w(0x05)), (2, w(0x04)), (1, R), (2, R)], &[0xd9, 0xc4], &[], false)]
    #[case::interrupt(&[(2, w(0x1c)), (0, w(0x42)), (2, w(0x1d)), (2, w(0x1c))], &[], b"B", true)]
    #[case::interrupt_enabled_late(&[(2, w(0x0d)), (2, w(0x1c))], &[], &[0xff], false)]
    #[case::interrupt_seen(&[(2, w(0x1c)), (2, w(0x1d)), (2, w(0x1c)), (1, R)], &[0x59], &[0xff], false)]
    #[case::status_is_read_only(&[(1, w(0)), (1, R), (3, w(0)), (3, R)], &[0xd9, 0xff], &[], false)]
    fn handshake(
        #[case] steps: &[Step],
        #[case] reads: &[u8],
        #[case] printed: &[u8],
        #[case] interrupt: bool,
    ) {
        check(steps, reads, printed, interrupt);
    }

    #[rstest]
    #[case::byte(0, 1, 0x41)]
    #[case::two(0, 2, 0xd941)]
    #[case::two_higher(2, 2, 0xffcc)]
    #[case::four(0, 4, u64::MAX)]
    fn widths(#[case] offset: u64, #[case] size: u8, #[case] expect: u64) {
        let mut port = Parallel::new(LPT1);
        port.write(0, 0, 4, 0x42, &mut Effects::at(Moment(0)));
        port.write(0, 0, 2, 0x41, &mut Effects::at(Moment(0)));
        assert_eq!(port.read(0, offset, size, &mut Effects::at(Moment(0))), expect);
    }

    #[rstest]
    #[case(0, Some("DATA"))]
    #[case(2, Some("CONTROL"))]
    #[case(3, None)]
    fn names(#[case] offset: u64, #[case] expect: Option<&str>) {
        assert_eq!(Parallel::new(LPT1).register_name(0, offset, false).as_deref(), expect);
    }
}
