//! The TCO watchdog: twice a count-down without being reloaded, and it would reset the machine,
//! which the NO REBOOT strap of the emulated board forbids; it sets its status and raises SMIs.
//!
//! Data sheet: Intel 316972-004, section 13.9. As on QEMU the status registers take what is
//! written, where the data sheet clears the bits that are written as ones.

use super::Smi;
use crate::Moment;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a tick.
const TICK: u64 = 600_000_000;

const RLD: u64 = 0x00;
const DAT_IN: u64 = 0x02;
const DAT_OUT: u64 = 0x03;
const STS1: u64 = 0x04;
const STS2: u64 = 0x06;
const CNT1: u64 = 0x08;
const CNT2: u64 = 0x0a;
const MESSAGE1: u64 = 0x0c;
const MESSAGE2: u64 = 0x0d;
const WDCNT: u64 = 0x0e;
const SW_IRQ_GEN: u64 = 0x10;
const TMR: u64 = 0x12;

/// The registers' names.
pub(super) const NAMES: [(u64, &str); 12] = [
    (RLD, "TCO_RLD"),
    (DAT_IN, "TCO_DAT_IN"),
    (DAT_OUT, "TCO_DAT_OUT"),
    (STS1, "TCO1_STS"),
    (STS2, "TCO2_STS"),
    (CNT1, "TCO1_CNT"),
    (CNT2, "TCO2_CNT"),
    (MESSAGE1, "TCO_MESSAGE1"),
    (MESSAGE2, "TCO_MESSAGE2"),
    (WDCNT, "TCO_WDCNT"),
    (SW_IRQ_GEN, "SW_IRQ_GEN"),
    (TMR, "TCO_TMR"),
];

const TMR_MASK: u16 = 0x3ff;
/// TCO1_STS: software told the SMI handler something.
const SW_TCO_SMI: u16 = 1 << 1;
/// TCO1_STS: the handler answered.
const TCO_INT_STS: u16 = 1 << 2;
const TIMEOUT: u16 = 1 << 3;
const STS1_MASK: u16 = 0xe870;
/// TCO2_STS: the second time, and the machine was reset for it.
const SECOND_TO_STS: u16 = 1 << 1;
const BOOT_STS: u16 = 1 << 2;
const STS2_MASK: u16 = 0x3f;
const HALT: u16 = 1 << 11;
const LOCK: u16 = 1 << 12;
const CNT1_MASK: u16 = 0xfeff;

/// The registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tco {
    reload: u16,
    data_in: u8,
    data_out: u8,
    status1: u16,
    status2: u16,
    control1: u16,
    control2: u16,
    messages: [u8; 2],
    watchdog: u8,
    legacy_interrupts: u8,
    initial: u16,
    /// Time-outs since the last reload, less than two.
    timeouts: u8,
    /// When the count is over, while it runs.
    due: Option<Moment>,
}

impl Default for Tco {
    fn default() -> Tco {
        Tco {
            reload: 0,
            data_in: 0,
            data_out: 0,
            status1: 0,
            status2: 0,
            control1: 0,
            control2: 0x0008,
            messages: [0; 2],
            watchdog: 0,
            legacy_interrupts: 0x03,
            initial: 0x0004,
            timeouts: 0,
            due: None,
        }
    }
}

impl Tco {
    /// When the count is over, while it runs.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due
    }

    pub(super) fn shift_time(&mut self, delta: i64) {
        if let Some(due) = &mut self.due {
            due.shift(delta);
        }
    }

    pub(super) fn read(&self, offset: u64, now: Moment) -> u16 {
        match offset {
            RLD => self.due.map_or(self.reload, |due| {
                (due.since(now) / TICK) as u16 & TMR_MASK | self.reload & !TMR_MASK
            }),
            DAT_IN => self.data_in.into(),
            DAT_OUT => self.data_out.into(),
            STS1 => self.status1,
            STS2 => self.status2,
            CNT1 => self.control1,
            CNT2 => self.control2,
            MESSAGE1 => self.messages[0].into(),
            MESSAGE2 => self.messages[1].into(),
            WDCNT => self.watchdog.into(),
            SW_IRQ_GEN => self.legacy_interrupts.into(),
            TMR => self.initial,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u16, now: Moment) -> Smi {
        match offset {
            RLD => {
                self.timeouts = 0;
                if !self.start(now) {
                    self.reload = value;
                }
            }
            DAT_IN => {
                self.data_in = value as u8;
                self.status1 |= SW_TCO_SMI;
                return Smi::Always;
            }
            DAT_OUT => {
                self.data_out = value as u8;
                self.status1 |= TCO_INT_STS;
            }
            STS1 => self.status1 = value & STS1_MASK,
            STS2 => self.status2 = value & STS2_MASK,
            CNT1 => {
                self.control1 = value & CNT1_MASK | self.control1 & LOCK;
                if !self.start(now) {
                    self.due = None;
                }
            }
            CNT2 => self.control2 = value,
            MESSAGE1 => self.messages[0] = value as u8,
            MESSAGE2 => self.messages[1] = value as u8,
            WDCNT => self.watchdog = value as u8,
            SW_IRQ_GEN => self.legacy_interrupts = value as u8,
            TMR => self.initial = value,
            _ => {}
        }
        Smi::None
    }

    /// Starts the count unless it is halted or too short (0 and 1 are ignored).
    fn start(&mut self, now: Moment) -> bool {
        let can = self.control1 & HALT == 0 && self.initial > 1;
        if can {
            self.reload = self.initial;
            let ticks = u64::from(self.initial & TMR_MASK).max(1);
            self.due = Some(now.after(ticks * TICK));
        }
        can
    }

    /// The count is over.
    pub(super) fn expire(&mut self, now: Moment) -> Smi {
        self.status1 |= TIMEOUT;
        self.timeouts += 1;
        if self.timeouts >= 2 {
            self.status2 |= SECOND_TO_STS | BOOT_STS;
            self.timeouts = 0;
        }
        self.due = None;
        self.start(now);
        Smi::IfTcoEnabled
    }
}
