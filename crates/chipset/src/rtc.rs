//! MC146818 real-time clock with 128 bytes of battery-backed memory, ports 70h and 71h.
//!
//! Data sheet: Motorola MC146818A (1984), Dallas DS12887 for the century byte. Time is the start
//! date plus virtual time, exactly. Flags that nobody waits for are worked out when they are read,
//! so that an idle clock needs no events.

use crate::{Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Output pin: IRQ 8.
pub const IRQ8: u8 = 0;
/// Bytes of CMOS memory, the clock's own included.
pub const CMOS_BYTES: usize = 128;
/// CMOS byte with the reason of a shutdown, read by the firmware at reset.
pub const SHUTDOWN_STATUS: u8 = 0x0f;
/// What [`SHUTDOWN_STATUS`] holds while suspended to RAM.
pub const SHUTDOWN_STATUS_S3: u8 = 0xfe;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const DAY_OF_WEEK: u8 = 0x06;
const DAY_OF_MONTH: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;
/// Where the PS/2 keeps the century; it shows the same byte.
const CENTURY_PS2: u8 = 0x37;

const A_UIP: u8 = 0x80;
const A_DIVIDER: u8 = 0x70;
/// Divider settings up to this one let the clock run.
const A_DIVIDER_RUNS: u8 = 0x20;
const A_RATE: u8 = 0x0f;
const B_SET: u8 = 0x80;
const B_PIE: u8 = 0x40;
const B_AIE: u8 = 0x20;
const B_UIE: u8 = 0x10;
const B_SQWE: u8 = 0x08;
const B_DM: u8 = 0x04;
const B_24_12: u8 = 0x02;
const C_IRQF: u8 = 0x80;
const C_PF: u8 = 0x40;
const C_AF: u8 = 0x20;
const C_UF: u8 = 0x10;
const D_VRT: u8 = 0x80;

/// An alarm byte with these two bits set matches everything.
const ALARM_ANY: u8 = 0xc0;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The time base of the periodic interrupt, in Hz.
const TIME_BASE: u64 = 32_768;
/// UIP rises this long before an update: eight clocks of the time base.
const UIP_NANOSECONDS: u64 = 8 * NANOSECONDS_PER_SECOND / TIME_BASE;

/// A date and time of day, without a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DateTime {
    /// Year, for example 2024.
    pub year: i64,
    /// Month, 1-12.
    pub month: i64,
    /// Day of the month, 1-31.
    pub day: i64,
    /// Hour, 0-23.
    pub hour: i64,
    /// Minute, 0-59.
    pub minute: i64,
    /// Second, 0-59.
    pub second: i64,
}

impl Default for DateTime {
    /// Midnight of 1 January 2024.
    fn default() -> DateTime {
        DateTime { year: 2024, month: 1, day: 1, hour: 0, minute: 0, second: 0 }
    }
}

impl DateTime {
    /// Seconds since 1970; values out of range carry over.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        // Count years from March, so that the leap day is the last of its year.
        let months = self.year.wrapping_mul(12).wrapping_add(self.month.wrapping_sub(3));
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
        let days = year
            .wrapping_mul(365)
            .wrapping_add(year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400))
            .wrapping_add((153 * month + 2) / 5)
            .wrapping_add(self.day - 1)
            .wrapping_sub(719_468);
        days.wrapping_mul(SECONDS_PER_DAY).wrapping_add(self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// The date `seconds` after the start of 1970.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> DateTime {
        let day_second = seconds.rem_euclid(SECONDS_PER_DAY);
        let days = seconds.div_euclid(SECONDS_PER_DAY) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        DateTime {
            year: era * 400 + year_of_era + i64::from(month >= 10),
            month: (month + 2) % 12 + 1,
            day: day_of_year - (153 * month + 2) / 5 + 1,
            hour: day_second / 3600,
            minute: day_second / 60 % 60,
            second: day_second % 60,
        }
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The register port 71h reaches.
    pub index: u8,
    /// Port 70h bit 7: NMI does not reach the processor.
    pub nmi_masked: bool,
    /// All bytes, the clock's registers included; time registers are as of `checked`.
    pub cmos: Vec<u8>,
    /// The time of day, in seconds since 1970, when the clock runs.
    pub seconds: i64,
    /// When the next second begins; none while the divider is held.
    pub next_second: Option<Moment>,
    /// Up to when time and flags have been worked out.
    pub checked: Moment,
}

/// How a machine's clock differs from another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wiring {
    /// A system reset clears [`SHUTDOWN_STATUS`] unless it says S3, as QEMU since 2.12 does.
    pub reset_clears_shutdown_status: bool,
}

impl Default for Wiring {
    fn default() -> Wiring {
        Wiring { reset_clears_shutdown_status: true }
    }
}

/// The clock.
#[derive(Clone, Debug)]
pub struct Rtc {
    state: State,
    wiring: Wiring,
}

impl Rtc {
    /// A clock that shows `start` at moment zero. `cmos` gives the bytes after the clock's own
    /// registers; those at time registers and registers A-D are replaced.
    #[must_use]
    pub fn new(start: DateTime, cmos: [u8; CMOS_BYTES], wiring: Wiring) -> Rtc {
        let mut rtc = Rtc {
            state: State {
                index: 0,
                nmi_masked: false,
                cmos: cmos.to_vec(),
                seconds: start.seconds(),
                next_second: Some(Moment(NANOSECONDS_PER_SECOND)),
                checked: Moment(0),
            },
            wiring,
        };
        rtc.set_cmos(REGISTER_A, 0x26);
        rtc.set_cmos(REGISTER_B, B_24_12);
        rtc.set_cmos(REGISTER_C, 0);
        rtc.set_cmos(REGISTER_D, D_VRT);
        rtc.show_time();
        rtc
    }

    /// Forgets the time of day and how far into its second it is: they are absolute time, of which
    /// two machines compared without it should know nothing. Alarms, flags and memory stay.
    pub fn forget_time(&mut self) {
        self.state.seconds = 0;
        self.state.checked = Moment(0);
        self.state.next_second = self.state.next_second.map(|_| Moment(0));
        for register in [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR, CENTURY] {
            if let Some(byte) = self.state.cmos.get_mut(usize::from(register)) {
                *byte = 0;
            }
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

    /// Whether port 70h keeps NMI from the processor.
    #[must_use]
    pub fn nmi_masked(&self) -> bool {
        self.state.nmi_masked
    }

    /// One CMOS byte as stored (time registers as of the last access).
    #[must_use]
    pub fn cmos(&self, index: u8) -> u8 {
        self.state.cmos.get(usize::from(index)).copied().unwrap_or(0xff)
    }

    /// Sets one CMOS byte from outside, as a machine does for memory sizes or for S3.
    pub fn set_cmos(&mut self, index: u8, value: u8) {
        if let Some(byte) = self.state.cmos.get_mut(usize::from(index)) {
            *byte = value;
        }
    }

    fn is_set(&self, register: u8, bits: u8) -> bool {
        self.cmos(register) & bits != 0
    }

    /// A register in the data mode of register B, as a number.
    fn number(&self, value: u8) -> i64 {
        let (tens, units) = (i64::from(value >> 4), i64::from(value & 0xf));
        if self.is_set(REGISTER_B, B_DM) { i64::from(value) } else { tens * 10 + units }
    }

    fn coded(&self, number: i64) -> u8 {
        let number = number.rem_euclid(100) as u8;
        if self.is_set(REGISTER_B, B_DM) { number } else { ((number / 10) << 4) | (number % 10) }
    }

    fn hour_of(&self, value: u8) -> i64 {
        let hour = self.number(value & 0x7f);
        match self.is_set(REGISTER_B, B_24_12) {
            true => hour,
            false => hour % 12 + if value & 0x80 != 0 { 12 } else { 0 },
        }
    }

    /// Writes the time into its registers.
    fn show_time(&mut self) {
        let time = DateTime::from_seconds(self.state.seconds);
        let hour = if self.is_set(REGISTER_B, B_24_12) {
            self.coded(time.hour)
        } else {
            let afternoon = if time.hour >= 12 { 0x80 } else { 0 };
            self.coded((time.hour + 11) % 12 + 1) | afternoon
        };
        let weekday = (self.state.seconds.div_euclid(SECONDS_PER_DAY) + 4).rem_euclid(7) + 1;
        let century = time.year.div_euclid(100);
        for (register, value) in [
            (SECONDS, self.coded(time.second)),
            (MINUTES, self.coded(time.minute)),
            (HOURS, hour),
            (DAY_OF_WEEK, self.coded(weekday)),
            (DAY_OF_MONTH, self.coded(time.day)),
            (MONTH, self.coded(time.month)),
            (YEAR, self.coded(time.year)),
            (CENTURY, self.coded(century)),
        ] {
            self.set_cmos(register, value);
        }
    }

    /// Takes the time from its registers.
    fn take_time(&mut self) {
        let time = DateTime {
            year: self.number(self.cmos(CENTURY)) * 100 + self.number(self.cmos(YEAR)),
            month: self.number(self.cmos(MONTH)),
            day: self.number(self.cmos(DAY_OF_MONTH)),
            hour: self.hour_of(self.cmos(HOURS)),
            minute: self.number(self.cmos(MINUTES)),
            second: self.number(self.cmos(SECONDS)),
        };
        self.state.seconds = time.seconds();
    }

    /// Clocks of the time base between two periodic interrupts (table 5).
    fn period(&self) -> Option<u64> {
        match self.cmos(REGISTER_A) & A_RATE {
            0 => None,
            rate @ 1..3 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }

    fn alarm_in(&self, seconds: u64) -> bool {
        let alarm = |register, number: fn(&Rtc, u8) -> i64| {
            let value = self.cmos(register);
            (value & ALARM_ANY != ALARM_ANY).then(|| number(self, value))
        };
        let second = alarm(SECONDS_ALARM, Rtc::number);
        let minute = alarm(MINUTES_ALARM, Rtc::number);
        let hour = alarm(HOURS_ALARM, Rtc::hour_of);
        let matches = |want: Option<i64>, is: i64| want.is_none_or(|want| want == is);
        (1..=seconds.min(SECONDS_PER_DAY as u64) as i64).any(|ahead| {
            let now = self.state.seconds.wrapping_add(ahead).rem_euclid(SECONDS_PER_DAY);
            matches(second, now % 60) && matches(minute, now / 60 % 60) && matches(hour, now / 3600)
        })
    }

    /// Works out time and flags up to `now`.
    fn catch_up(&mut self, now: Moment) {
        let checked = std::mem::replace(&mut self.state.checked, now);
        let Some(next) = self.state.next_second else {
            return;
        };
        let mut flags = 0;
        let mut next = next;
        if now >= next {
            let seconds = now.since(next) / NANOSECONDS_PER_SECOND + 1;
            next = next.after(seconds.saturating_mul(NANOSECONDS_PER_SECOND));
            self.state.next_second = Some(next);
            if !self.is_set(REGISTER_B, B_SET) {
                flags |= C_UF;
                if !self.is_set(REGISTER_C, C_AF) && self.alarm_in(seconds) {
                    flags |= C_AF;
                }
                self.state.seconds = self.state.seconds.wrapping_add_unsigned(seconds);
                self.show_time();
            }
        }
        if let Some(period) = self.period() {
            let span = now.since(checked);
            let end = NANOSECONDS_PER_SECOND + into_second(next, now);
            let number = |at: u64| at * TIME_BASE / NANOSECONDS_PER_SECOND / period;
            if span >= NANOSECONDS_PER_SECOND || number(end) != number(end - span) {
                flags |= C_PF;
            }
        }
        self.set_cmos(REGISTER_C, self.cmos(REGISTER_C) | flags);
    }

    /// Drives IRQ 8 when register C's flags or register B's enables have changed it.
    fn update_irq(&mut self, fx: &mut Effects) {
        let flags = self.cmos(REGISTER_C);
        let level = flags & self.cmos(REGISTER_B) & (C_PF | C_AF | C_UF) != 0;
        if level != (flags & C_IRQF != 0) {
            self.set_cmos(REGISTER_C, flags ^ C_IRQF);
            fx.line(IRQ8, level);
        }
    }

    fn update_in_progress(&self, now: Moment) -> bool {
        let near = |next: Moment| next.since(now) <= UIP_NANOSECONDS;
        !self.is_set(REGISTER_B, B_SET) && self.state.next_second.is_some_and(near)
    }

    fn read_data(&mut self, fx: &mut Effects) -> u8 {
        self.catch_up(fx.now());
        if self.state.index == CENTURY_PS2 {
            self.state.index = CENTURY;
        }
        let value = self.cmos(self.state.index);
        match self.state.index {
            REGISTER_A if self.update_in_progress(fx.now()) => value | A_UIP,
            REGISTER_C => {
                // What was set before this read is answered with IRQF already in place.
                self.update_irq(fx);
                let value = self.cmos(REGISTER_C);
                self.set_cmos(REGISTER_C, value & C_IRQF);
                self.update_irq(fx);
                value
            }
            _ => value,
        }
    }

    fn write_data(&mut self, value: u8, now: Moment) {
        self.catch_up(now);
        if self.state.index == CENTURY_PS2 {
            self.state.index = CENTURY;
        }
        match self.state.index {
            REGISTER_A => {
                let runs = value & A_DIVIDER <= A_DIVIDER_RUNS;
                self.state.next_second = match (self.state.next_second, runs) {
                    (Some(next), true) => Some(next),
                    // The first update comes half a second after the divider is let go.
                    (None, true) => Some(now.after(NANOSECONDS_PER_SECOND / 2)),
                    (_, false) => None,
                };
                self.set_cmos(REGISTER_A, value & !A_UIP);
            }
            REGISTER_B => {
                let was_set = self.is_set(REGISTER_B, B_SET);
                let now_set = value & B_SET != 0;
                self.set_cmos(REGISTER_B, if now_set { value & !B_UIE } else { value });
                match (was_set, now_set) {
                    (true, false) => self.take_time(),
                    (false, false) => self.show_time(),
                    _ => {}
                }
            }
            REGISTER_C | REGISTER_D => {}
            index => {
                self.set_cmos(index, value);
                let time = matches!(index, SECONDS | MINUTES | HOURS | DAY_OF_WEEK..=YEAR | CENTURY);
                if time && !self.is_set(REGISTER_B, B_SET) {
                    self.take_time();
                }
            }
        }
    }
}

/// Nanoseconds since the last second began.
fn into_second(next: Moment, now: Moment) -> u64 {
    NANOSECONDS_PER_SECOND.saturating_sub(next.since(now))
}

impl Chip for Rtc {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, name, length| Region { index, name, space: Space::Io, base: 0x70, length, widest: 1 };
        // The index's own region lies over the first port of both, as QEMU has it.
        vec![region(1, "rtc", 2), region(0, "rtc-index", 1)]
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        const NAMES: [&str; 16] = [
            "SECONDS",
            "SECONDS_ALARM",
            "MINUTES",
            "MINUTES_ALARM",
            "HOURS",
            "HOURS_ALARM",
            "DAY_OF_WEEK",
            "DAY_OF_MONTH",
            "MONTH",
            "YEAR",
            "REGISTER_A",
            "REGISTER_B",
            "REGISTER_C",
            "REGISTER_D",
            "DIAGNOSTIC_STATUS",
            "SHUTDOWN_STATUS",
        ];
        if offset == 0 {
            return Some("INDEX".to_owned());
        }
        let index = self.state.index;
        let name = crate::name_at(&NAMES, index.into()).unwrap_or_default();
        Some(format!("CMOS[{index:02x}] {name}").trim_end().to_owned())
    }

    fn read(&mut self, index: u8, _offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        let value = match index {
            0 => 0xff,
            _ => self.read_data(fx),
        };
        self.update_irq(fx);
        u64::from(value)
    }

    fn write(&mut self, index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let value = value as u8;
        if index == 0 {
            self.state.index = value & 0x7f;
            self.state.nmi_masked = value & 0x80 != 0;
        } else {
            self.write_data(value, fx.now());
            self.update_irq(fx);
        }
    }

    fn reset(&mut self, _kind: ResetKind, fx: &mut Effects) {
        self.catch_up(fx.now());
        let enables = B_PIE | B_AIE | B_UIE | B_SQWE;
        self.set_cmos(REGISTER_B, self.cmos(REGISTER_B) & !enables);
        self.set_cmos(REGISTER_C, 0);
        if self.wiring.reset_clears_shutdown_status && self.cmos(SHUTDOWN_STATUS) != SHUTDOWN_STATUS_S3 {
            self.set_cmos(SHUTDOWN_STATUS, 0);
        }
        self.state.nmi_masked = false;
        fx.line(IRQ8, false);
    }

    fn deadline(&self) -> Option<Moment> {
        let next = self.state.next_second?;
        let wanted = self.cmos(REGISTER_B) & !self.cmos(REGISTER_C);
        let second = wanted & (B_UIE | B_AIE) != 0 && !self.is_set(REGISTER_B, B_SET);
        let periodic = self.period().filter(|_| wanted & B_PIE != 0).map(|period| {
            let since = into_second(next, self.state.checked);
            let number = since * TIME_BASE / NANOSECONDS_PER_SECOND / period + 1;
            let edge = (number * period * NANOSECONDS_PER_SECOND).div_ceil(TIME_BASE);
            self.state.checked.after(edge - since)
        });
        periodic.into_iter().chain(second.then_some(next)).min()
    }

    /// May be called at any time: works out time and flags up to now.
    fn on_deadline(&mut self, fx: &mut Effects) {
        self.catch_up(fx.now());
        self.update_irq(fx);
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.checked.shift(delta);
        self.state.next_second.iter_mut().for_each(|moment| moment.shift(delta));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SECOND: u64 = NANOSECONDS_PER_SECOND;

    fn clock() -> Rtc {
        let mut cmos = [0; CMOS_BYTES];
        cmos[0x10] = 0x77;
        Rtc::new(DateTime::default(), cmos, Wiring::default())
    }

    fn write(rtc: &mut Rtc, now: u64, register: u8, value: u8) -> Vec<(u8, bool)> {
        let mut fx = Effects::at(Moment(now));
        rtc.write(0, 0, 1, u64::from(register), &mut fx);
        rtc.write(1, 0, 1, u64::from(value), &mut fx);
        fx.lines
    }

    fn read(rtc: &mut Rtc, now: u64, register: u8) -> u8 {
        let mut fx = Effects::at(Moment(now));
        rtc.write(0, 0, 1, u64::from(register), &mut fx);
        rtc.read(1, 0, 1, &mut fx) as u8
    }

    /// Writes `setup` at zero, then reads year, month, day, hour, minute, second at `now`.
    fn check(setup: &[(u8, u8)], now: u64, expect: [u8; 6]) {
        let mut rtc = clock();
        for &(register, value) in setup {
            write(&mut rtc, 0, register, value);
        }
        let shown = [YEAR, MONTH, DAY_OF_MONTH, HOURS, MINUTES, SECONDS].map(|r| read(&mut rtc, now, r));
        assert_eq!(shown, expect);
    }

    #[rstest]
    #[case::start(&[], 0, [0x24, 1, 1, 0, 0, 0])]
    #[case::almost(&[], SECOND - 1, [0x24, 1, 1, 0, 0, 0])]
    #[case::second(&[], SECOND, [0x24, 1, 1, 0, 0, 1])]
    #[case::leap_day(&[], (59 * 86400 + 3661) * SECOND, [0x24, 2, 0x29, 1, 1, 1])]
    #[case::binary(&[(REGISTER_B, 6)], (59 * 86400 + 45) * SECOND, [24, 2, 29, 0, 0, 45])]
    #[case::twelve_hours(&[(REGISTER_B, 0)], 0, [0x24, 1, 1, 0x12, 0, 0])]
    #[case::afternoon(&[(REGISTER_B, 0)], 13 * 3600 * SECOND, [0x24, 1, 1, 0x81, 0, 0])]
    #[case::set_holds(&[(REGISTER_B, 0x82), (HOURS, 5)], 9 * SECOND, [0x24, 1, 1, 5, 0, 0])]
    #[case::set_and_go(&[(REGISTER_B, 0x82), (HOURS, 0x23), (MINUTES, 0x59), (REGISTER_B, 2)],
        60 * SECOND, [0x24, 1, 2, 0, 0, 0])]
    #[case::divider_held(&[(REGISTER_A, 0x70)], 9 * SECOND, [0x24, 1, 1, 0, 0, 0])]
    #[case::divider_let_go(&[(REGISTER_A, 0x70), (REGISTER_A, 0x26)], SECOND / 2, [0x24, 1, 1, 0, 0, 1])]
    #[case::written_running(&[(YEAR, 0x99), (CENTURY, 0x19), (MONTH, 0x12), (DAY_OF_MONTH, 0x31)],
        86400 * SECOND, [0, 1, 1, 0, 0, 0])]
    fn time(#[case] setup: &[(u8, u8)], #[case] now: u64, #[case] expect: [u8; 6]) {
        check(setup, now, expect);
    }

    #[test]
    fn dates_convert_both_ways() {
        for day in (-800_000..800_000).step_by(97) {
            let seconds = day * SECONDS_PER_DAY + 12_345;
            assert_eq!(DateTime::from_seconds(seconds).seconds(), seconds);
        }
        assert_eq!(DateTime::default().seconds(), 1_704_067_200);
    }

    #[test]
    fn update_in_progress_shows_before_the_second() {
        let mut rtc = clock();
        assert_eq!(read(&mut rtc, SECOND - 244_141, REGISTER_A), 0x26);
        assert_eq!(read(&mut rtc, SECOND - 244_140, REGISTER_A), 0xa6);
        assert_eq!(read(&mut rtc, SECOND, REGISTER_A), 0x26);
    }

    #[test]
    fn periodic_interrupt_keeps_its_grid_and_waits_for_the_guest() {
        let mut rtc = clock();
        write(&mut rtc, 0, REGISTER_B, 0x42);
        assert_eq!(rtc.deadline(), Some(Moment(976_563)), "1024 Hz, rounded up to the nanosecond");
        let mut fx = Effects::at(Moment(976_563));
        rtc.on_deadline(&mut fx);
        assert_eq!(fx.lines, [(IRQ8, true)]);
        assert_eq!(rtc.deadline(), None, "the line is high until register C is read");
        assert_eq!(read(&mut rtc, 1_000_000, REGISTER_C), 0xc0);
        assert_eq!(rtc.deadline(), Some(Moment(1_953_125)));
        assert_eq!(read(&mut rtc, 1_953_124, REGISTER_C), 0);
    }

    #[test]
    fn alarm_and_update_interrupts() {
        let mut rtc = clock();
        write(&mut rtc, 0, SECONDS_ALARM, 3);
        write(&mut rtc, 0, MINUTES_ALARM, 0xff);
        write(&mut rtc, 0, HOURS_ALARM, 0xc0);
        write(&mut rtc, 0, REGISTER_B, 0x22);
        let mut raised = Vec::new();
        for _ in 0..64 {
            let Some(due) = rtc.deadline() else { break };
            let mut fx = Effects::at(due);
            rtc.on_deadline(&mut fx);
            if fx.lines.contains(&(IRQ8, true)) {
                raised.push(due.0);
                assert_eq!(read(&mut rtc, due.0, REGISTER_C) & !C_PF, 0xb0);
            }
        }
        assert_eq!(raised, [3 * SECOND, 63 * SECOND]);
    }

    #[test]
    fn system_reset_keeps_the_battery() {
        let mut rtc = clock();
        write(&mut rtc, 0, REGISTER_B, 0x72);
        write(&mut rtc, 0, SHUTDOWN_STATUS, 5);
        let mut fx = Effects::at(Moment(SECOND));
        rtc.reset(ResetKind::System, &mut fx);
        assert_eq!(read(&mut rtc, SECOND, REGISTER_B), 2);
        assert_eq!(read(&mut rtc, SECOND, SHUTDOWN_STATUS), 0);
        assert_eq!(read(&mut rtc, SECOND, 0x10), 0x77);
        assert_eq!(read(&mut rtc, SECOND, SECONDS), 1);
        assert_eq!(read(&mut rtc, SECOND, CENTURY_PS2), 0x20);
    }
}
