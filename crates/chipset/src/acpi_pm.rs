//! The fixed ACPI registers that the PIIX4 and the ICH9 have in common: PM1 events, PM1 control and
//! the PM timer.
//!
//! ACPI 1.0, section 4.7.3; 82371AB (290562-001), section 7.2; ICH9 (316972-004), section 13.8.3.
//! A part of [`crate::piix4_pm::Piix4Pm`] and [`crate::ich9_lpc::Ich9Lpc`].

use crate::{Effects, Moment, Power};
use serde::{Deserialize, Serialize};

/// Ticks of the PM timer per second.
pub const TIMER_FREQUENCY: u64 = 3_579_545;
/// TMR_STS is set whenever the timer's top bit changes.
const TIMER_HALF: u64 = 1 << 23;
const TIMER_MASK: u64 = (1 << 24) - 1;

/// Status and enable bits (section 4.7.3.1).
const TMR: u16 = 1 << 0;
const GBL: u16 = 1 << 5;
const PWRBTN: u16 = 1 << 8;
const RTC: u16 = 1 << 10;
const WAK: u16 = 1 << 15;
const SCI_EVENTS: u16 = TMR | GBL | PWRBTN | RTC;

/// Control bits (section 4.7.3.2).
const SCI_EN: u16 = 1 << 0;
const SLP_EN: u16 = 1 << 13;

/// The registers; all of them are saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pm1 {
    status: u16,
    enable: u16,
    control: u16,
    /// When the timer was zero.
    timer_origin: Moment,
    /// The tick, counted from the origin without wrapping, at which TMR_STS is set next.
    timer_overflow: u64,
}

/// Nanoseconds from the origin to `tick`, rounded up.
fn nanoseconds_to(tick: u64) -> u64 {
    let exact = (u128::from(tick) * 1_000_000_000).div_ceil(u128::from(TIMER_FREQUENCY));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

impl Pm1 {
    /// The registers after a reset at `now`.
    #[must_use]
    pub fn reset_at(now: Moment) -> Pm1 {
        Pm1 { timer_origin: now, ..Pm1::default() }
    }

    /// Ticks since the origin, not wrapped to the timer's 24 bits.
    fn ticks(&self, now: Moment) -> u64 {
        let elapsed = u128::from(now.0.wrapping_sub(self.timer_origin.0));
        (elapsed * u128::from(TIMER_FREQUENCY) / 1_000_000_000) as u64
    }

    /// The timer's 24 bits.
    #[must_use]
    pub fn timer(&self, now: Moment) -> u32 {
        (self.ticks(now) & TIMER_MASK) as u32
    }

    /// The status register, with TMR_STS latched when the timer has come that far.
    pub fn status(&mut self, now: Moment) -> u16 {
        if self.ticks(now) >= self.timer_overflow {
            self.status |= TMR;
        }
        self.status
    }

    /// The enable register.
    #[must_use]
    pub fn enable(&self) -> u16 {
        self.enable
    }

    /// The control register.
    #[must_use]
    pub fn control(&self) -> u16 {
        self.control
    }

    /// A fixed event wants the system control interrupt.
    pub fn pending(&mut self, now: Moment) -> bool {
        self.status(now) & self.enable & SCI_EVENTS != 0
    }

    /// A byte of the status (offset 0, 1) or enable register (2, 3) is written.
    pub fn write_event(&mut self, offset: u64, value: u8, now: Moment) {
        let shift = 8 * (offset as u16 & 1);
        let bits = u16::from(value) << shift;
        if offset >= 2 {
            self.enable = self.enable & !(0xff << shift) | bits;
            return;
        }
        if self.status(now) & bits & TMR != 0 {
            self.timer_overflow = (self.ticks(now) + TIMER_HALF) & !(TIMER_HALF - 1);
        }
        self.status &= !bits;
    }

    /// The control register is written: SLP_EN changes the power state at once and reads zero.
    pub fn write_control(&mut self, offset: u64, size: u8, value: u16, fx: &mut Effects) {
        let value = match (size, offset) {
            (1, 0) => self.control & 0xff00 | value & 0xff,
            (1, _) => self.control & 0x00ff | value << 8,
            _ => value,
        };
        self.control = value & !SLP_EN;
        if value & SLP_EN != 0 {
            // The types are those the AML's \_S5, \_S3 and \_S4 packages give.
            match value >> 10 & 7 {
                0 | 2 => fx.power = Some(Power::Off),
                1 => fx.power = Some(Power::Suspend),
                other => fx.note("PM1 control: sleep type", u64::from(other), u64::from(value)),
            }
        }
    }

    /// Hands the ACPI hardware to the operating system or back to the firmware (SCI_EN).
    pub fn set_acpi(&mut self, enabled: bool) {
        self.control = self.control & !SCI_EN | if enabled { SCI_EN } else { 0 };
    }

    /// The power button is pressed; true when that is an event.
    pub fn press_power_button(&mut self) -> bool {
        let wanted = self.enable & PWRBTN != 0;
        if wanted {
            self.status |= PWRBTN;
        }
        wanted
    }

    /// The machine resumes from suspend to RAM: the status says so.
    pub fn wake(&mut self) {
        self.status |= WAK | PWRBTN;
    }

    /// When the timer sets TMR_STS, if that is waited for.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let waits = self.enable & TMR != 0 && self.status & TMR == 0;
        let after = nanoseconds_to(self.timer_overflow);
        waits.then(|| Moment(self.timer_origin.0.wrapping_add(after)))
    }

    /// Moves the timer's origin by `delta` nanoseconds.
    pub fn shift_time(&mut self, delta: i64) {
        self.timer_origin.shift(delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::start(0, 0)]
    #[case::one_second(1_000_000_000, 3_579_545)]
    #[case::wraps(5_000_000_000, 5 * 3_579_545 - (1 << 24))]
    fn timer(#[case] nanoseconds: u64, #[case] expect: u32) {
        let mut pm = Pm1::default();
        assert_eq!(pm.timer(Moment(nanoseconds)), expect);
        pm.shift_time(-1234);
        assert_eq!(pm.timer(Moment(nanoseconds.wrapping_sub(1234))), expect);
    }

    #[test]
    fn timer_event_comes_at_its_deadline() {
        let mut pm = Pm1::default();
        assert_eq!(pm.status(Moment(0)), TMR);
        pm.write_event(0, 1, Moment(0));
        pm.write_event(2, 1, Moment(0));
        let deadline = pm.deadline().expect("the timer is enabled");
        assert_eq!(deadline, Moment(nanoseconds_to(1 << 23)));
        assert!(!pm.clone().pending(Moment(deadline.0 - 1)));
        assert!(pm.pending(deadline));
        assert_eq!(pm.deadline(), None);
    }

    #[rstest]
    #[case::soft_off(0x2000, Some(Power::Off), 0)]
    #[case::suspend(0x2400, Some(Power::Suspend), 0x400)]
    #[case::to_disk(0x2800, Some(Power::Off), 0x800)]
    #[case::not_a_type(0x3c00, None, 0x1c00)]
    #[case::not_enabled(0x0400, None, 0x400)]
    fn sleep(#[case] value: u16, #[case] expect: Option<Power>, #[case] reads: u16) {
        let (mut pm, mut fx) = (Pm1::default(), Effects::default());
        pm.write_control(0, 2, value, &mut fx);
        assert_eq!((fx.power, pm.control()), (expect, reads));
    }
}
