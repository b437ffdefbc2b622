//! 8254 programmable interval timer, and port 61h, which gates its third channel.
//!
//! Data sheet: Intel 231164-005 (8254); 290550-002 (PIIX3), section 2.5.5 for port 61h. Counters
//! are functions of the virtual clock: nothing happens between accesses but the edges of channel 0.
//! A count written takes effect at once, as in QEMU, not one clock later or at the end of a period.

use crate::{Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Output pin: channel 0, IRQ 0. Driven as a pulse at each rising edge of OUT 0.
pub const IRQ0: u8 = 0;
/// Input pin: high while a HPET in legacy replacement mode takes the place of channel 0.
pub const LEGACY_REPLACED: u8 = 0;

/// The clock of all three channels, in Hz.
pub const FREQUENCY: u64 = 1_193_182;
const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;
/// Channel 1's usual count: DRAM refresh toggles port 61h bit 4 this often.
const REFRESH_CLOCKS: u64 = 18;

const PORT_61_GATE: u8 = 1 << 0;
const PORT_61_SPEAKER: u8 = 1 << 1;
const PORT_61_REFRESH: u8 = 1 << 4;
const PORT_61_OUT2: u8 = 1 << 5;

/// Whole clocks in `nanoseconds`.
fn clocks_in(nanoseconds: u64) -> u64 {
    (u128::from(nanoseconds) * u128::from(FREQUENCY) / NANOSECONDS_PER_SECOND) as u64
}

/// Nanoseconds until `clocks` whole clocks have passed.
fn nanoseconds_for(clocks: u64) -> u64 {
    let exact = u128::from(clocks) * NANOSECONDS_PER_SECOND;
    u64::try_from(exact.div_ceil(u128::from(FREQUENCY))).unwrap_or(u64::MAX)
}

fn from_bcd(value: u16) -> u32 {
    (0..4).rev().fold(0, |sum, digit| sum * 10 + u32::from(value >> (4 * digit) & 0xf))
}

fn to_bcd(value: u32) -> u16 {
    let digits = [1000, 100, 10, 1].map(|unit| (value / unit % 10) as u16);
    digits.into_iter().fold(0, |bcd, digit| bcd << 4 | digit)
}

/// Which bytes of a count an access moves (control word bits 5-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// The low byte; the high byte is zero.
    Low,
    /// The high byte; the low byte is zero.
    High,
    /// The low byte, then the high byte.
    Both,
}

/// A count held by a latch command until it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latch {
    /// The count as it reads.
    pub value: u16,
    /// The low byte has been read.
    pub high_next: bool,
}

/// One counter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Channel {
    /// Mode 0-5.
    pub mode: u8,
    /// Counts in BCD.
    pub bcd: bool,
    /// Bytes per access.
    pub access: Access,
    /// The count in use, 1-10000h; none between a control word and the count.
    pub count: Option<u32>,
    /// In modes 1 and 5: the count for the next trigger.
    pub next_count: Option<u32>,
    /// The GATE input.
    pub gate: bool,
    /// In modes 1 and 5: the gate has risen since the count was written.
    pub triggered: bool,
    /// Counting since this moment; none while stopped.
    pub running: Option<Moment>,
    /// Clocks counted before `running`.
    pub counted: u64,
    /// What an unloaded counter reads.
    pub held: u16,
    /// The low byte of a count being written.
    pub low_written: Option<u8>,
    /// The next unlatched read gives the high byte.
    pub high_next: bool,
    /// A latched count.
    pub latch: Option<Latch>,
    /// A latched status.
    pub status: Option<u8>,
}

impl Channel {
    fn new(gate: bool, now: Moment) -> Channel {
        Channel {
            mode: 3,
            bcd: false,
            access: Access::Both,
            count: Some(0x10000),
            next_count: None,
            gate,
            triggered: false,
            running: gate.then_some(now),
            counted: 0,
            held: 0,
            low_written: None,
            high_next: false,
            latch: None,
            status: None,
        }
    }

    fn waits_for_trigger(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    fn count(&self) -> Option<u64> {
        self.count.map(|count| u64::from(count.max(1)))
    }

    /// Clocks since the count was loaded.
    fn elapsed(&self, now: Moment) -> u64 {
        let running = self.running.map_or(0, |since| clocks_in(now.since(since)));
        self.counted.saturating_add(running)
    }

    /// The counting element, as the guest reads it.
    fn value(&self, now: Moment) -> u16 {
        let Some(count) = self.count() else {
            return self.held;
        };
        if self.waits_for_trigger() && !self.triggered {
            return self.held;
        }
        let modulus = if self.bcd { 10_000 } else { 0x10000 };
        let elapsed = self.elapsed(now);
        let value = match self.mode {
            2 => count - elapsed % count,
            3 => {
                // Counts by two through both halves; an odd count gives the first half one more.
                let (position, half) = (elapsed % count, count.div_ceil(2));
                let into = if position < half { position } else { position - half };
                (count & !1).wrapping_sub(2 * into)
            }
            _ => (count % modulus) + modulus - elapsed % modulus,
        } % modulus;
        if self.bcd { to_bcd(value as u32) } else { value as u16 }
    }

    /// The OUT pin (figures 15 to 20 of the data sheet).
    fn output(&self, now: Moment) -> bool {
        let Some(count) = self.count() else {
            return self.mode != 0;
        };
        let elapsed = self.elapsed(now);
        match self.mode {
            0 => elapsed >= count,
            1 => !self.triggered || elapsed >= count,
            2 => !self.gate || count == 1 || elapsed % count != count - 1,
            3 => !self.gate || elapsed % count < count.div_ceil(2),
            4 => elapsed != count,
            _ => !self.triggered || elapsed != count,
        }
    }

    /// When OUT rises next, after `now`.
    fn next_rise(&self, now: Moment) -> Option<Moment> {
        let (count, since) = (self.count()?, self.running?);
        let elapsed = self.elapsed(now);
        let clock = match self.mode {
            0 | 1 => count,
            2 | 3 => (elapsed / count).saturating_add(1).saturating_mul(count),
            _ => count + 1,
        };
        let ahead = clock > elapsed && (!self.waits_for_trigger() || self.triggered);
        ahead.then(|| since.after(nanoseconds_for(clock.saturating_sub(self.counted))))
    }

    fn control(&mut self, word: u8, access: Access, now: Moment) {
        *self = Channel {
            mode: match word >> 1 & 7 {
                mode @ 0..6 => mode,
                mode => mode - 4,
            },
            bcd: word & 1 != 0,
            access,
            count: None,
            running: None,
            held: self.value(now),
            ..Channel::new(self.gate, now)
        };
    }

    fn load(&mut self, written: u16, now: Moment) {
        let count = match (self.bcd, written) {
            (true, 0) => 10_000,
            (false, 0) => 0x10000,
            (true, digits) => from_bcd(digits),
            (false, count) => u32::from(count),
        };
        if self.waits_for_trigger() {
            // The next trigger takes it; a pulse under way keeps its length.
            self.next_count = Some(count);
            self.count = self.count.or(Some(count));
        } else {
            self.count = Some(count);
            self.counted = 0;
            self.running = self.gate.then_some(now);
        }
    }

    fn set_gate(&mut self, gate: bool, now: Moment) {
        let was = std::mem::replace(&mut self.gate, gate);
        if was == gate || self.count.is_none() {
            return;
        }
        match (self.mode, gate) {
            (1 | 5, false) => {}
            (1 | 5, true) => {
                self.count = self.next_count.or(self.count);
                self.triggered = true;
                self.counted = 0;
                self.running = Some(now);
            }
            (_, false) => {
                self.counted = self.elapsed(now);
                self.running = None;
            }
            (mode, true) => {
                if matches!(mode, 2 | 3) {
                    self.counted = 0;
                }
                self.running = Some(now);
            }
        }
    }

    fn latch_count(&mut self, now: Moment) {
        if self.latch.is_none() {
            self.latch = Some(Latch { value: self.value(now), high_next: false });
        }
    }

    fn latch_status(&mut self, now: Moment) {
        if self.status.is_none() {
            let access = match self.access {
                Access::Low => 1,
                Access::High => 2,
                Access::Both => 3,
            };
            let null_count = self.count.is_none() || self.next_count.is_some() && !self.triggered;
            self.status = Some(
                u8::from(self.output(now)) << 7
                    | u8::from(null_count) << 6
                    | access << 4
                    | self.mode << 1
                    | u8::from(self.bcd),
            );
        }
    }

    /// Returns whether a whole count has arrived.
    fn write(&mut self, value: u8, now: Moment) -> bool {
        let count = match (self.access, self.low_written.take()) {
            (Access::Low, _) => u16::from(value),
            (Access::High, _) => u16::from(value) << 8,
            (Access::Both, Some(low)) => u16::from_le_bytes([low, value]),
            (Access::Both, None) => {
                self.low_written = Some(value);
                return false;
            }
        };
        self.load(count, now);
        true
    }

    fn read(&mut self, now: Moment) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        if let Some(latch) = self.latch {
            let [low, high] = latch.value.to_le_bytes();
            let (byte, rest) = match (self.access, latch.high_next) {
                (Access::Low, _) => (low, None),
                (Access::High, _) | (Access::Both, true) => (high, None),
                (Access::Both, false) => (low, Some(Latch { high_next: true, ..latch })),
            };
            self.latch = rest;
            return byte;
        }
        let [low, high] = self.value(now).to_le_bytes();
        match self.access {
            Access::Low => low,
            Access::High => high,
            Access::Both => {
                self.high_next = !self.high_next;
                if self.high_next { low } else { high }
            }
        }
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The three counters.
    pub channels: [Channel; 3],
    /// Port 61h bit 1: the speaker is connected.
    pub speaker: bool,
    /// When the refresh toggle was last known to be zero.
    pub refresh_since: Moment,
    /// When channel 0 next raises IRQ 0.
    pub irq_due: Option<Moment>,
    /// The level of [`LEGACY_REPLACED`].
    pub legacy_replaced: bool,
}

/// The timer and port 61h.
#[derive(Clone, Debug)]
pub struct Pit {
    state: State,
}

impl Default for Pit {
    fn default() -> Pit {
        Pit::new()
    }
}

impl Pit {
    /// A timer switched on at moment zero: every channel in mode 3 with the longest count, as
    /// emulators start it. The chip itself leaves this open.
    #[must_use]
    pub fn new() -> Pit {
        let mut pit = Pit { state: Pit::started(Moment(0)) };
        pit.arm(Moment(0));
        pit
    }

    fn started(now: Moment) -> State {
        State {
            channels: [true, true, false].map(|gate| Channel::new(gate, now)),
            speaker: false,
            refresh_since: now,
            irq_due: None,
            legacy_replaced: false,
        }
    }

    /// What a snapshot carries.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, state: State) {
        self.state = state;
    }

    fn arm(&mut self, now: Moment) {
        let State { channels, irq_due, legacy_replaced, .. } = &mut self.state;
        *irq_due = if *legacy_replaced { None } else { channels[0].next_rise(now) };
    }

    fn write_control(&mut self, word: u8, now: Moment) {
        let channels = &mut self.state.channels;
        if word >> 6 == 3 {
            // Read-back: bits 1-3 choose channels, bits 5 and 4 are active low.
            for (number, channel) in channels.iter_mut().enumerate() {
                if word >> (number + 1) & 1 == 0 {
                    continue;
                }
                if word & 0x20 == 0 {
                    channel.latch_count(now);
                }
                if word & 0x10 == 0 {
                    channel.latch_status(now);
                }
            }
            return;
        }
        let channel = &mut channels[usize::from(word >> 6) % 3];
        let access = match word >> 4 & 3 {
            0 => return channel.latch_count(now),
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        channel.control(word, access, now);
        self.arm(now);
    }

    fn read_port_61(&self, now: Moment) -> u8 {
        let channel = &self.state.channels[2];
        let refreshes = clocks_in(now.since(self.state.refresh_since)) / REFRESH_CLOCKS;
        let bit = |mask, set| if set { mask } else { 0 };
        bit(PORT_61_GATE, channel.gate)
            | bit(PORT_61_SPEAKER, self.state.speaker)
            | bit(PORT_61_REFRESH, refreshes % 2 == 1)
            | bit(PORT_61_OUT2, channel.output(now))
    }
}

impl Chip for Pit {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, name, base, length| Region { index, name, space: Space::Io, base, length, widest: 1 };
        vec![region(0, "pit", 0x40, 4), region(1, "pcspk", 0x61, 1)]
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        match index {
            0 => crate::name_at(&["COUNTER0", "COUNTER1", "COUNTER2", "CONTROL"], offset),
            // NMI Status and Control, as the PIIX3 calls port 61h.
            _ => crate::name_at(&["NMISC"], offset),
        }
    }

    fn read(&mut self, index: u8, offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        let now = fx.now();
        if index == 1 {
            return u64::from(self.read_port_61(now));
        }
        match self.state.channels.get_mut(offset as usize) {
            Some(channel) => u64::from(channel.read(now)),
            None => {
                fx.note("8254 control word is write-only", offset, 0);
                0
            }
        }
    }

    fn write(&mut self, index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let (now, value) = (fx.now(), value as u8);
        if index == 1 {
            self.state.speaker = value & PORT_61_SPEAKER != 0;
            self.state.channels[2].set_gate(value & PORT_61_GATE != 0, now);
            return;
        }
        match self.state.channels.get_mut(offset as usize) {
            Some(channel) => {
                if channel.write(value, now) && offset == 0 {
                    self.arm(now);
                }
            }
            None => self.write_control(value, now),
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let legacy_replaced = kind == ResetKind::System && self.state.legacy_replaced;
        self.state = State { legacy_replaced, ..Pit::started(fx.now()) };
        self.arm(fx.now());
        fx.line(IRQ0, false);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        if pin == LEGACY_REPLACED {
            self.state.legacy_replaced = level;
            self.arm(fx.now());
        }
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.irq_due
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        if self.state.irq_due.is_some_and(|due| due <= fx.now()) {
            // Only the rising edge matters to an edge-triggered input: one event, not two.
            fx.line(IRQ0, true);
            fx.line(IRQ0, false);
            self.arm(fx.now());
        }
    }

    fn shift_time(&mut self, delta: i64) {
        let State { channels, speaker: _, refresh_since, irq_due, legacy_replaced: _ } = &mut self.state;
        for channel in channels {
            channel.running.iter_mut().for_each(|moment| moment.shift(delta));
        }
        refresh_since.shift(delta);
        irq_due.iter_mut().for_each(|moment| moment.shift(delta));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// The moment at which `clocks` clocks have just passed.
    fn at(clocks: u64) -> Moment {
        Moment(nanoseconds_for(clocks))
    }

    fn write(pit: &mut Pit, now: Moment, index: u8, offset: u64, value: u64) {
        pit.write(index, offset, 1, value, &mut Effects::at(now));
    }

    fn read(pit: &mut Pit, now: Moment, index: u8, offset: u64) -> u8 {
        pit.read(index, offset, 1, &mut Effects::at(now)) as u8
    }

    /// Programs channel 2 with `mode` and `count`, gate high, and looks after `clocks`.
    fn check(mode: u8, bcd: bool, count: u16, clocks: u64, value: u16, out: bool) {
        let mut pit = Pit::new();
        let [low, high] = count.to_le_bytes().map(u64::from);
        let word = 0xb0 | u64::from(mode) << 1 | u64::from(bcd);
        write(&mut pit, at(0), 0, 3, word);
        write(&mut pit, at(0), 0, 2, low);
        write(&mut pit, at(0), 0, 2, high);
        write(&mut pit, at(0), 1, 0, 1);
        write(&mut pit, at(clocks), 0, 3, 0xc8);
        let status = read(&mut pit, at(clocks + 9), 0, 2);
        let latched = [(); 2].map(|()| read(&mut pit, at(clocks + 9), 0, 2));
        assert_eq!(status & 0x3f, (word & 0x3f) as u8, "status repeats the control word");
        assert_eq!(status & 0x80 != 0, out, "OUT");
        assert_eq!(u16::from_le_bytes(latched), value, "count");
        let port = read(&mut pit, at(clocks), 1, 0);
        assert_eq!(port & 0x20 != 0, out, "port 61h");
    }

    #[rstest]
    #[case::terminal_count_before(0, false, 100, 99, 1, false)]
    #[case::terminal_count(0, false, 100, 100, 0, true)]
    #[case::terminal_count_wraps(0, false, 100, 101, 0xffff, true)]
    #[case::terminal_count_bcd(0, true, 0x100, 1, 0x99, false)]
    #[case::bcd_zero(0, true, 0, 1, 0x9999, false)]
    #[case::one_shot(1, false, 100, 99, 1, false)]
    #[case::one_shot_over(1, false, 100, 100, 0, true)]
    #[case::rate(2, false, 100, 98, 2, true)]
    #[case::rate_low(2, false, 100, 199, 1, false)]
    #[case::rate_again(2, false, 100, 200, 100, true)]
    #[case::square(3, false, 100, 49, 2, true)]
    #[case::square_low(3, false, 100, 50, 100, false)]
    #[case::square_odd(3, false, 5, 2, 0, true)]
    #[case::square_odd_low(3, false, 5, 3, 4, false)]
    #[case::square_longest(3, false, 0, 0, 0, true)]
    #[case::strobe(4, false, 100, 100, 0, false)]
    #[case::strobe_over(4, false, 100, 101, 0xffff, true)]
    #[case::hardware_strobe(5, false, 100, 100, 0, false)]
    fn modes(
        #[case] mode: u8,
        #[case] bcd: bool,
        #[case] count: u16,
        #[case] clocks: u64,
        #[case] value: u16,
        #[case] out: bool,
    ) {
        check(mode, bcd, count, clocks, value, out);
    }

    #[test]
    fn closed_gate_holds_the_count() {
        let mut pit = Pit::new();
        write(&mut pit, at(0), 1, 0, 1);
        write(&mut pit, at(0), 0, 3, 0x90);
        write(&mut pit, at(0), 0, 2, 100);
        write(&mut pit, at(10), 1, 0, 0);
        assert_eq!(read(&mut pit, at(60), 0, 2), 90);
        write(&mut pit, at(60), 1, 0, 1);
        assert_eq!(read(&mut pit, at(80), 0, 2), 70);
    }

    #[test]
    fn irq0_never_drifts() {
        let mut pit = Pit::new();
        write(&mut pit, Moment(7), 0, 3, 0x34);
        write(&mut pit, Moment(7), 0, 0, 3);
        write(&mut pit, Moment(7), 0, 0, 0);
        for period in 1..=100_000 {
            let due = pit.deadline().expect("periodic");
            assert_eq!(due, Moment(7 + nanoseconds_for(3 * period)));
            let mut fx = Effects::at(due);
            pit.on_deadline(&mut fx);
            assert_eq!(fx.lines, [(IRQ0, true), (IRQ0, false)]);
        }
    }

    #[test]
    fn one_shot_has_one_deadline_and_hpet_silences() {
        let mut pit = Pit::new();
        write(&mut pit, Moment(0), 0, 3, 0x30);
        assert_eq!(pit.deadline(), None);
        write(&mut pit, Moment(0), 0, 0, 10);
        write(&mut pit, Moment(0), 0, 0, 0);
        assert_eq!(pit.deadline(), Some(at(10)));
        pit.input(LEGACY_REPLACED, true, &mut Effects::at(Moment(5)));
        assert_eq!(pit.deadline(), None);
        pit.input(LEGACY_REPLACED, false, &mut Effects::at(Moment(6)));
        pit.on_deadline(&mut Effects::at(at(10)));
        assert_eq!(pit.deadline(), None);
    }
}
