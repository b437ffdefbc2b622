//! 16550A universal asynchronous receiver and transmitter: a serial port.
//!
//! Data sheet: National Semiconductor PC16550D, section 8. A byte written is sent at once, as on
//! emulators without a real line; times appear only in the receiver's character timeout. The
//! interrupt is not gated by OUT2.

use crate::{Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Ports and interrupt lines of COM1 to COM4.
pub const COM: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
/// Output pin: the interrupt.
pub const INTERRUPT: u8 = 0;
/// The host channel for sent bytes.
pub const CHANNEL: u8 = 0;

const FIFO: usize = 16;
/// Divisor 1 of the 1.8432 MHz clock divided by 16.
const BAUD_BASE: u64 = 115_200;

const IER_RECEIVED: u8 = 1 << 0;
const IER_TRANSMITTED: u8 = 1 << 1;
const IER_LINE: u8 = 1 << 2;
const IER_MODEM: u8 = 1 << 3;

const IIR_NONE: u8 = 0x01;
const IIR_MODEM: u8 = 0x00;
const IIR_TRANSMITTED: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFOS: u8 = 0xc0;

const FCR_ENABLE: u8 = 1 << 0;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;
const FCR_CLEAR_TRANSMITTER: u8 = 1 << 2;
/// Bits that stay: trigger level, DMA mode, enable.
const FCR_STAYS: u8 = 0xc9;

const LCR_STOP_BITS: u8 = 1 << 2;
const LCR_PARITY: u8 = 1 << 3;
const LCR_DLAB: u8 = 1 << 7;

const MCR_LOOP: u8 = 1 << 4;
const MCR_MASK: u8 = 0x1f;
const MCR_POWER_ON: u8 = 0x08;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_BREAK: u8 = 1 << 4;
const LSR_ERRORS: u8 = 0x1e;
/// Holding register and transmitter empty: bytes leave at once.
const LSR_EMPTY: u8 = 0x60;

/// Carrier, data set ready and clear to send are there.
const MSR_LINES: u8 = 0xb0;
const MSR_DELTAS: u8 = 0x0f;

/// How this port is built.
#[derive(Clone, Debug)]
pub struct Config {
    /// First of its eight ports.
    pub base: u16,
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    lsr: u8,
    msr: u8,
    scr: u8,
    divisor: u16,
    /// The holding register was emptied and nobody has been told.
    transmitted: bool,
    /// Bytes have been waiting below the trigger level.
    timed_out: bool,
    timeout: Option<Moment>,
    /// The last byte of the non-FIFO receiver.
    receiver: u8,
    fifo: VecDeque<u8>,
}

impl Default for State {
    fn default() -> State {
        State {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: MCR_POWER_ON,
            lsr: LSR_EMPTY,
            msr: MSR_LINES,
            scr: 0,
            divisor: 12,
            transmitted: false,
            timed_out: false,
            timeout: None,
            receiver: 0,
            fifo: VecDeque::new(),
        }
    }
}

/// A serial port.
#[derive(Clone, Debug)]
pub struct Uart16550 {
    state: State,
    wiring: Config,
}

impl Uart16550 {
    /// A port with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> Uart16550 {
        Uart16550 { state: State::default(), wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, mut state: State) {
        state.fifo.truncate(FIFO);
        self.state = state;
    }

    /// Whether a byte that comes in from the host finds room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let full =
            if self.fifos() { self.state.fifo.len() >= FIFO } else { self.state.lsr & LSR_DATA_READY != 0 };
        !full && self.state.mcr & MCR_LOOP == 0
    }

    /// A byte comes in from the host; false when there is no room and the byte was not taken.
    pub fn receive(&mut self, byte: u8, fx: &mut Effects) -> bool {
        if !self.has_room() {
            return false;
        }
        self.take(byte, fx.now());
        self.drive(fx);
        true
    }

    /// A break comes in from the host.
    pub fn receive_break(&mut self, fx: &mut Effects) {
        self.take(0, fx.now());
        self.state.lsr |= LSR_BREAK;
        self.drive(fx);
    }

    fn fifos(&self) -> bool {
        self.state.fcr & FCR_ENABLE != 0
    }

    /// How many bytes in the FIFO ask for attention (section 8.4).
    fn trigger(&self) -> usize {
        [1, 4, 8, 14][usize::from(self.state.fcr >> 6)]
    }

    /// Nanoseconds four characters take; a divisor of zero counts as the slowest.
    fn timeout_ns(&self) -> u64 {
        let lcr = self.state.lcr;
        let bit = |there: bool| u64::from(there);
        let data = u64::from(lcr & 3) + 5;
        let frame = 1 + data + bit(lcr & LCR_PARITY != 0) + 1 + bit(lcr & LCR_STOP_BITS != 0);
        let divisor = match self.state.divisor {
            0 => 0x1_0000,
            divisor => u64::from(divisor),
        };
        4 * frame * divisor * 1_000_000_000 / BAUD_BASE
    }

    /// Puts a byte into the receiver.
    fn take(&mut self, byte: u8, now: Moment) {
        if self.fifos() {
            if self.state.fifo.len() < FIFO {
                self.state.fifo.push_back(byte);
            } else {
                self.state.lsr |= LSR_OVERRUN;
            }
            self.state.timeout = Some(now.after(self.timeout_ns()));
        } else {
            if self.state.lsr & LSR_DATA_READY != 0 {
                self.state.lsr |= LSR_OVERRUN;
            }
            self.state.receiver = byte;
        }
        self.state.lsr |= LSR_DATA_READY;
    }

    /// The interrupt with the highest priority (table IV).
    fn identification(&self) -> u8 {
        let state = &self.state;
        let received =
            state.lsr & LSR_DATA_READY != 0 && (!self.fifos() || state.fifo.len() >= self.trigger());
        if state.ier & IER_LINE != 0 && state.lsr & LSR_ERRORS != 0 {
            IIR_LINE
        } else if state.ier & IER_RECEIVED != 0 && state.timed_out {
            IIR_TIMEOUT
        } else if state.ier & IER_RECEIVED != 0 && received {
            IIR_RECEIVED
        } else if state.ier & IER_TRANSMITTED != 0 && state.transmitted {
            IIR_TRANSMITTED
        } else if state.ier & IER_MODEM != 0 && state.msr & MSR_DELTAS != 0 {
            IIR_MODEM
        } else {
            IIR_NONE
        }
    }

    fn drive(&self, fx: &mut Effects) {
        fx.line(INTERRUPT, self.identification() != IIR_NONE);
    }

    fn clear_receiver(&mut self) {
        self.state.fifo.clear();
        self.state.lsr &= !(LSR_DATA_READY | LSR_BREAK);
        self.state.timed_out = false;
        self.state.timeout = None;
    }

    fn read_data(&mut self, now: Moment) -> u8 {
        if !self.fifos() {
            self.state.lsr &= !(LSR_DATA_READY | LSR_BREAK);
            return self.state.receiver;
        }
        let byte = self.state.fifo.pop_front().unwrap_or(0);
        self.state.timed_out = false;
        if self.state.fifo.is_empty() {
            self.state.lsr &= !(LSR_DATA_READY | LSR_BREAK);
            self.state.timeout = None;
        } else {
            self.state.timeout = Some(now.after(self.timeout_ns()));
        }
        byte
    }

    fn write_fcr(&mut self, value: u8) {
        let toggled = (value ^ self.state.fcr) & FCR_ENABLE != 0;
        self.state.fcr = value & FCR_STAYS;
        if toggled || value & FCR_CLEAR_RECEIVER != 0 {
            self.clear_receiver();
        }
        if toggled || value & FCR_CLEAR_TRANSMITTER != 0 {
            self.state.transmitted = true;
        }
    }

    /// MSR: in loop mode the modem control outputs come back in.
    fn modem_status(&mut self) -> u8 {
        let mcr = self.state.mcr;
        if mcr & MCR_LOOP != 0 {
            return (mcr & 0x0c) << 4 | (mcr & 0x02) << 3 | (mcr & 0x01) << 5;
        }
        let status = self.state.msr;
        self.state.msr &= !MSR_DELTAS;
        status
    }

    fn transmit(&mut self, byte: u8, fx: &mut Effects) {
        self.state.transmitted = false;
        self.drive(fx);
        if self.state.mcr & MCR_LOOP != 0 {
            self.take(byte, fx.now());
        } else {
            fx.output(CHANNEL, byte);
        }
        self.state.transmitted = true;
    }
}

impl Chip for Uart16550 {
    fn regions(&self) -> Vec<Region> {
        let base = u64::from(self.wiring.base);
        let length = (0x1_0000 - base).min(8);
        vec![Region { index: 0, name: "serial", space: Space::Io, base, length, widest: 1 }]
    }

    fn register_name(&self, _index: u8, offset: u64, write: bool) -> Option<String> {
        let latch = self.state.lcr & LCR_DLAB != 0;
        let name = match (offset, write) {
            (0, _) if latch => "DLL",
            (1, _) if latch => "DLM",
            (0, true) => "THR",
            (2, true) => "FCR",
            _ => return crate::name_at(&["RBR", "IER", "IIR", "LCR", "MCR", "LSR", "MSR", "SCR"], offset),
        };
        Some(name.to_owned())
    }

    fn read(&mut self, _index: u8, offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        let latch = self.state.lcr & LCR_DLAB != 0;
        let [low, high] = self.state.divisor.to_le_bytes();
        let value = match offset {
            0 if latch => low,
            1 if latch => high,
            0 => self.read_data(fx.now()),
            1 => self.state.ier,
            2 => {
                let identification = self.identification();
                if identification == IIR_TRANSMITTED {
                    self.state.transmitted = false;
                }
                identification | if self.fifos() { IIR_FIFOS } else { 0 }
            }
            3 => self.state.lcr,
            4 => self.state.mcr,
            5 => {
                let status = self.state.lsr;
                self.state.lsr &= !(LSR_OVERRUN | LSR_BREAK);
                status
            }
            6 => self.modem_status(),
            _ => self.state.scr,
        };
        self.drive(fx);
        u64::from(value)
    }

    fn write(&mut self, _index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let value = value as u8;
        let latch = self.state.lcr & LCR_DLAB != 0;
        let [low, high] = self.state.divisor.to_le_bytes();
        match offset {
            0 if latch => self.state.divisor = u16::from_le_bytes([value, high]),
            1 if latch => self.state.divisor = u16::from_le_bytes([low, value]),
            0 => self.transmit(value, fx),
            1 => {
                let changed = (self.state.ier ^ value) & 0x0f;
                self.state.ier = value & 0x0f;
                if changed & IER_TRANSMITTED != 0 {
                    // Enabling it with an empty holding register asks at once.
                    self.state.transmitted = value & IER_TRANSMITTED != 0;
                }
            }
            2 => self.write_fcr(value),
            3 => self.state.lcr = value,
            4 => self.state.mcr = value & MCR_MASK,
            5 | 6 => {}
            _ => self.state.scr = value,
        }
        self.drive(fx);
    }

    fn reset(&mut self, _kind: ResetKind, fx: &mut Effects) {
        self.state = State::default();
        self.drive(fx);
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.timeout
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        self.state.timeout = None;
        self.state.timed_out = !self.state.fifo.is_empty();
        self.drive(fx);
    }

    fn shift_time(&mut self, delta: i64) {
        if let Some(timeout) = &mut self.state.timeout {
            timeout.shift(delta);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    enum Step {
        Write(u64, u8),
        Read(u64, u8),
        Receive(u8),
        Wait(u64),
        Line(bool),
        Output(&'static [u8]),
    }
    use Step::{Line, Output, Read, Receive, Wait, Write};

    #[track_caller]
    fn check(steps: &[Step]) {
        let mut uart = Uart16550::new(Config { base: 0x3f8 });
        let (mut line, mut output, mut now) = (false, Vec::new(), Moment(0));
        for (number, step) in steps.iter().enumerate() {
            let mut fx = Effects::at(now);
            match step {
                Write(offset, value) => uart.write(0, *offset, 1, u64::from(*value), &mut fx),
                Read(offset, expect) => {
                    let value = uart.read(0, *offset, 1, &mut fx);
                    assert_eq!(value, u64::from(*expect), "step {number}");
                }
                Receive(byte) => assert!(uart.receive(*byte, &mut fx), "step {number}"),
                Wait(nanoseconds) => {
                    now = now.after(*nanoseconds);
                    if uart.deadline().is_some_and(|deadline| deadline <= now) {
                        fx = Effects::at(now);
                        uart.on_deadline(&mut fx);
                    }
                }
                Line(expect) => assert_eq!(line, *expect, "step {number}"),
                Output(expect) => assert_eq!(output, *expect, "step {number}"),
            }
            output.extend(fx.output.iter().map(|(_, byte)| *byte));
            line = fx.lines.last().map_or(line, |(_, level)| *level);
        }
    }

    #[rstest]
    #[case::power_on(&[Read(1, 0), Read(2, 1), Read(3, 0), Read(4, 8), Read(5, 0x60), Read(6, 0xb0), Read(7, 0)])]
    #[case::output(&[Write(0, 65), Write(0, 66), Output(b"AB"), Read(5, 0x60)])]
    #[case::transmitter_interrupt(&[Write(1, 0xff), Line(true), Read(1, 0x0f), Read(2, 2), Line(false), Read(2, 1)])]
    #[case::transmitter_interrupt_again(&[Write(1, 2), Read(2, 2), Write(0, 65), Line(true), Read(2, 2), Line(false)])]
    #[case::received(&[Write(1, 1), Receive(7), Line(true), Read(2, 4), Read(5, 0x61), Read(0, 7), Line(false), Read(5, 0x60)])]
    #[case::fifo_trigger(&[Write(2, 0x41), Write(1, 1), Receive(1), Receive(2), Receive(3), Line(false), Receive(4), Line(true), Read(2, 0xc4)])]
    #[case::timeout(&[Write(2, 0xc1), Write(3, 3), Write(1, 1), Receive(9), Wait(4_166_665), Line(false), Wait(1), Line(true), Read(2, 0xcc), Read(0, 9), Line(false), Read(2, 0xc1)])]
    #[case::fcr(&[Write(2, 0xff), Read(2, 0xc1), Write(2, 0), Read(2, 1)])]
    #[case::loop_modem(&[Write(4, 0xff), Read(4, 0x1f), Read(6, 0xf0), Write(4, 0x11), Read(6, 0x20)])]
    #[case::loop_data(&[Write(4, 0x10), Write(0, 65), Output(b""), Read(5, 0x61), Write(0, 66), Read(5, 0x63), Read(5, 0x61), Read(0, 66)])]
    #[case::overrun_interrupt(&[Write(4, 0x10), Write(1, 4), Write(0, 1), Line(false), Write(0, 2), Line(true), Read(2, 6), Read(5, 0x63), Line(false)])]
    #[case::divisor(&[Write(3, 0x83), Read(0, 12), Read(1, 0), Write(0, 1), Write(1, 2), Read(0, 1), Read(1, 2), Write(3, 3), Read(1, 0), Output(b"")])]
    #[case::scratch(&[Write(7, 0x5a), Read(7, 0x5a)])]
    fn registers(#[case] steps: &[Step]) {
        check(steps);
    }

    #[test]
    fn a_full_receiver_refuses() {
        let mut uart = Uart16550::new(Config { base: 0x3f8 });
        let mut fx = Effects::at(Moment(0));
        assert!(uart.receive(1, &mut fx));
        assert!(!uart.receive(2, &mut fx));
        uart.write(0, 2, 1, 1, &mut fx);
        assert_eq!((0..20).filter(|byte| uart.receive(*byte, &mut fx)).count(), FIFO);
    }
}
