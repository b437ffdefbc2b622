//! Two cascaded 8259A interrupt controllers, with the edge/level registers of a PCI chip set.
//!
//! Data sheet: Intel 231468-003 (8259A); 290550-002 (PIIX3), section 2.5.9 for ELCR1 and ELCR2.
//! An edge stays requested until it is acknowledged, even if the line falls first, as QEMU has it;
//! a controller that finds no request at acknowledge time answers with its level 7.

use crate::{Chip, Effects, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Output pin: the interrupt request to the processor.
pub const INTR: u8 = 0;
/// Number of input pins: 0-7 on the master (2 is the cascade and not connected), 8-15 on the slave.
pub const INPUTS: u8 = 16;

/// Which input of the master the slave drives.
const CASCADE: u8 = 2;
/// The level a controller answers with when nothing is requested any more.
const SPURIOUS: u8 = 7;
/// ELCR bits that exist: the timer, the keyboard, the cascade, the clock and the FPU stay edges.
const ELCR_MASK: [u8; 2] = [0xf8, 0xde];

const ICW1: u8 = 1 << 4;
const ICW1_IC4: u8 = 1 << 0;
const ICW1_SNGL: u8 = 1 << 1;
const OCW3: u8 = 1 << 3;

/// Which write to the odd port comes next (figure 9 of the data sheet).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Expect {
    /// OCW1, the mask.
    #[default]
    Mask,
    /// ICW2, the vector base.
    Icw2,
    /// ICW3, the cascade.
    Icw3,
    /// ICW4, the mode.
    Icw4,
}

/// One 8259A.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Controller {
    /// Interrupt request register: edges not yet acknowledged.
    pub irr: u8,
    /// Interrupt mask register.
    pub imr: u8,
    /// In-service register.
    pub isr: u8,
    /// Levels of the inputs.
    pub lines: u8,
    /// Inputs that are level triggered.
    pub elcr: u8,
    /// The level with the highest priority; rotation moves it.
    pub first: u8,
    /// Vector of level 0.
    pub vector_base: u8,
    /// What the odd port takes next.
    pub expect: Expect,
    /// ICW1 announced an ICW4.
    pub needs_icw4: bool,
    /// ICW1 announced no cascade.
    pub single: bool,
    /// ICW4: end of interrupt at acknowledge.
    pub auto_eoi: bool,
    /// OCW2: rotate at automatic end of interrupt.
    pub rotate_in_auto_eoi: bool,
    /// ICW4: special fully nested mode.
    pub special_fully_nested: bool,
    /// OCW3: special mask mode.
    pub special_mask: bool,
    /// OCW3: the even port reads ISR, not IRR.
    pub read_isr: bool,
    /// OCW3: the next read is a poll.
    pub poll: bool,
}

impl Controller {
    /// What is requested, before the mask.
    fn requests(&self) -> u8 {
        (self.irr & !self.elcr) | (self.lines & self.elcr)
    }

    /// Priority of a set of levels: 0 is the highest, 8 when the set is empty.
    fn rank(&self, levels: u8) -> u32 {
        levels.rotate_right(u32::from(self.first & 7)).trailing_zeros()
    }

    fn level_of_rank(&self, rank: u32) -> u8 {
        (rank as u8).wrapping_add(self.first) & 7
    }

    /// The level that wants and may have the processor's attention.
    fn request(&self, master: bool) -> Option<u8> {
        let mut in_service = self.isr;
        if self.special_mask {
            in_service &= !self.imr;
        }
        if self.special_fully_nested && master {
            in_service &= !(1 << CASCADE);
        }
        let rank = self.rank(self.requests() & !self.imr);
        (rank < self.rank(in_service)).then(|| self.level_of_rank(rank))
    }

    fn set_line(&mut self, level: u8, high: bool) {
        let bit = 1 << (level & 7);
        if high {
            if self.lines & bit == 0 && self.elcr & bit == 0 {
                self.irr |= bit;
            }
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
    }

    fn begin_service(&mut self, level: u8) {
        let bit = 1 << (level & 7);
        self.irr &= !bit;
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_in_auto_eoi {
            self.first = (level + 1) & 7;
        }
    }

    /// ICW1: everything but the wires and the edge/level register starts again.
    fn initialize(&mut self, icw1: u8) {
        *self = Controller {
            lines: self.lines,
            elcr: self.elcr,
            expect: Expect::Icw2,
            needs_icw4: icw1 & ICW1_IC4 != 0,
            single: icw1 & ICW1_SNGL != 0,
            ..Controller::default()
        };
    }

    fn ocw3(&mut self, value: u8) {
        if value & 0x04 != 0 {
            self.poll = true;
        }
        if value & 0x02 != 0 {
            self.read_isr = value & 0x01 != 0;
        }
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
    }

    fn ocw2(&mut self, value: u8) {
        let rotate = value & 0x80 != 0;
        let specific = value & 0x40 != 0;
        let end = value & 0x20 != 0;
        let named = value & 7;
        let level = match (specific, end) {
            (true, _) => Some(named),
            (false, true) if self.isr != 0 => Some(self.level_of_rank(self.rank(self.isr))),
            (false, true) => None,
            (false, false) => {
                self.rotate_in_auto_eoi = rotate;
                None
            }
        };
        let Some(level) = level else { return };
        if end {
            self.isr &= !(1 << level);
        }
        if rotate {
            self.first = (level + 1) & 7;
        }
    }

    fn write(&mut self, offset: u64, value: u8) {
        if offset == 0 {
            if value & ICW1 != 0 {
                self.initialize(value);
            } else if value & OCW3 != 0 {
                self.ocw3(value);
            } else {
                self.ocw2(value);
            }
            return;
        }
        let icw4_or_mask = if self.needs_icw4 { Expect::Icw4 } else { Expect::Mask };
        match self.expect {
            Expect::Mask => self.imr = value,
            Expect::Icw2 => {
                self.vector_base = value & 0xf8;
                self.expect = if self.single { icw4_or_mask } else { Expect::Icw3 };
            }
            Expect::Icw3 => self.expect = icw4_or_mask,
            Expect::Icw4 => {
                self.special_fully_nested = value & 0x10 != 0;
                self.auto_eoi = value & 0x02 != 0;
                self.expect = Expect::Mask;
            }
        }
    }

    fn read(&mut self, offset: u64, master: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return match self.request(master) {
                Some(level) => {
                    self.begin_service(level);
                    0x80 | level
                }
                None => 0,
            };
        }
        match (offset, self.read_isr) {
            (0, true) => self.isr,
            (0, false) => self.requests(),
            _ => self.imr,
        }
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// Ports 20h and 21h, IRQ 0-7.
    pub master: Controller,
    /// Ports A0h and A1h, IRQ 8-15.
    pub slave: Controller,
}

/// The pair of controllers.
#[derive(Clone, Debug, Default)]
pub struct Pic {
    state: State,
}

impl Pic {
    /// A pair as power-on leaves it.
    #[must_use]
    pub fn new() -> Pic {
        Pic::default()
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

    /// Whether line `irq` (0-15) is masked, by itself or, for the slave's, by the cascade.
    #[must_use]
    pub fn masked(&self, irq: u8) -> bool {
        let State { master, slave } = &self.state;
        match irq {
            0..8 => master.imr >> irq & 1 != 0,
            8..16 => slave.imr >> (irq - 8) & 1 != 0 || master.imr >> CASCADE & 1 != 0,
            _ => true,
        }
    }

    /// The level of the INTR output.
    #[must_use]
    pub fn intr(&self) -> bool {
        self.state.master.request(true).is_some()
    }

    /// The two interrupt acknowledge cycles: the vector to deliver. If the request has gone, level
    /// 7 of the controller that was asked (the spurious interrupts IRQ 7 and IRQ 15).
    pub fn acknowledge(&mut self, fx: &mut Effects) -> u8 {
        let before = self.intr();
        let State { master, slave } = &mut self.state;
        let vector = match master.request(true) {
            Some(CASCADE) => {
                let level = slave.request(false);
                if let Some(level) = level {
                    slave.begin_service(level);
                }
                master.begin_service(CASCADE);
                // The slave's INT falls between two acknowledged requests, so that the next one is
                // a new edge for the master.
                master.set_line(CASCADE, false);
                slave.vector_base | level.unwrap_or(SPURIOUS)
            }
            Some(level) => {
                master.begin_service(level);
                master.vector_base | level
            }
            None => master.vector_base | SPURIOUS,
        };
        self.update(before, fx);
        vector
    }

    /// Carries the slave's request to the master and the master's to the processor.
    fn update(&mut self, before: bool, fx: &mut Effects) {
        let slave = self.state.slave.request(false).is_some();
        self.state.master.set_line(CASCADE, slave);
        let after = self.intr();
        if before != after {
            fx.line(INTR, after);
        }
    }
}

impl Chip for Pic {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, name, base, length| Region { index, name, space: Space::Io, base, length, widest: 1 };
        vec![
            region(0, "pic", 0x20, 2),
            region(1, "pic", 0xa0, 2),
            region(2, "elcr", 0x4d0, 1),
            region(3, "elcr", 0x4d1, 1),
        ]
    }

    fn register_name(&self, index: u8, offset: u64, write: bool) -> Option<String> {
        // ICW1, OCW2 and OCW3, or IRR and ISR; then ICW2-4 and OCW1, or IMR.
        let names: [&str; 2] = match (index, write) {
            (0, true) => ["MASTER.COMMAND", "MASTER.DATA"],
            (0, false) => ["MASTER.STATUS", "MASTER.IMR"],
            (1, true) => ["SLAVE.COMMAND", "SLAVE.DATA"],
            (1, false) => ["SLAVE.STATUS", "SLAVE.IMR"],
            (2, _) => ["ELCR1", ""],
            _ => ["ELCR2", ""],
        };
        crate::name_at(&names, offset)
    }

    fn read(&mut self, index: u8, offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        let before = self.intr();
        let value = match index {
            0 => self.state.master.read(offset, true),
            1 => self.state.slave.read(offset, false),
            2 => self.state.master.elcr,
            _ => self.state.slave.elcr,
        };
        self.update(before, fx);
        u64::from(value)
    }

    fn write(&mut self, index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let before = self.intr();
        let value = value as u8;
        match index {
            0 => self.state.master.write(offset, value),
            1 => self.state.slave.write(offset, value),
            2 => self.state.master.elcr = value & ELCR_MASK[0],
            _ => self.state.slave.elcr = value & ELCR_MASK[1],
        }
        self.update(before, fx);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let before = self.intr();
        let kept = |lines| if kind == ResetKind::PowerOn { 0 } else { lines };
        let State { master, slave } = &mut self.state;
        *master = Controller { lines: kept(master.lines), ..Controller::default() };
        *slave = Controller { lines: kept(slave.lines), ..Controller::default() };
        self.update(before, fx);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        if pin == CASCADE || pin >= INPUTS {
            return;
        }
        let before = self.intr();
        match pin {
            0..8 => self.state.master.set_line(pin, level),
            _ => self.state.slave.set_line(pin - 8, level),
        }
        self.update(before, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    /// One thing done to the pair, and what is expected of it.
    enum Do {
        Write(u8, u64, u8),
        Read(u8, u64, u8),
        Line(u8, bool),
        Pulse(u8),
        Acknowledge(u8),
        Intr(bool),
    }
    use Do::*;

    fn check(steps: &[Do]) {
        let mut pic = Pic::new();
        let mut fx = Effects::at(Moment(0));
        for (port, base, cascade) in [(0, 0x08, 4), (1, 0x70, 2)] {
            for (offset, value) in [(0, 0x11), (1, base), (1, cascade), (1, 1), (1, 0)] {
                pic.write(port, offset, 1, value, &mut fx);
            }
        }
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Write(index, offset, value) => {
                    pic.write(index, offset, 1, u64::from(value), &mut fx);
                }
                Read(index, offset, expect) => {
                    let value = pic.read(index, offset, 1, &mut fx);
                    assert_eq!(value, u64::from(expect), "step {number}: read");
                }
                Line(pin, level) => pic.input(pin, level, &mut fx),
                Pulse(pin) => {
                    pic.input(pin, true, &mut fx);
                    pic.input(pin, false, &mut fx);
                }
                Acknowledge(vector) => {
                    assert_eq!(pic.acknowledge(&mut fx), vector, "step {number}: vector");
                }
                Intr(level) => assert_eq!(pic.intr(), level, "step {number}: INTR"),
            }
            let wire = fx.lines.iter().rfind(|line| line.0 == INTR).is_some_and(|line| line.1);
            assert_eq!(wire, pic.intr(), "step {number}: the wire shows INTR");
        }
    }

    #[rstest]
    #[case::edge_once(&[Line(1, true), Intr(true), Acknowledge(9), Intr(false), Write(0, 0, 0x20), Intr(false)])]
    #[case::edge_survives_falling(&[Pulse(4), Intr(true), Acknowledge(0x0c)])]
    #[case::nothing_is_spurious(&[Acknowledge(0x0f), Read(0, 0, 0)])]
    #[case::masked(&[Write(0, 1, 2), Pulse(1), Intr(false), Read(0, 0, 2), Write(0, 1, 0), Intr(true)])]
    #[case::priority(&[Pulse(5), Pulse(3), Acknowledge(0x0b), Intr(false), Pulse(1), Intr(true)])]
    #[case::slave(&[Pulse(14), Intr(true), Acknowledge(0x76), Write(1, 0, 0x20), Write(0, 0, 0x20), Intr(false)])]
    #[case::slave_spurious(&[Pulse(14), Write(1, 1, 0xff), Intr(true), Acknowledge(0x77)])]
    #[case::slave_twice(&[Pulse(14), Pulse(12), Acknowledge(0x74), Write(0, 0, 0x20), Intr(false),
        Write(1, 0, 0x20), Intr(true), Acknowledge(0x76)])]
    #[case::level(&[Write(2, 0, 0x20), Read(2, 0, 0x20), Line(5, true), Acknowledge(0x0d),
        Write(0, 0, 0x20), Intr(true), Line(5, false), Intr(false)])]
    #[case::elcr_fixed_bits(&[Write(2, 0, 0xff), Read(2, 0, 0xf8), Write(3, 0, 0xff), Read(3, 0, 0xde)])]
    #[case::poll(&[Pulse(3), Write(0, 0, 0x0c), Read(0, 0, 0x83), Write(0, 0, 0x0b), Read(0, 0, 8)])]
    #[case::rotate(&[Pulse(1), Acknowledge(9), Write(0, 0, 0xa0), Pulse(0), Pulse(2), Pulse(3), Acknowledge(0x0b)])]
    #[case::set_priority(&[Write(0, 0, 0xc3), Pulse(3), Pulse(4), Acknowledge(0x0c)])]
    #[case::special_mask(&[Pulse(1), Acknowledge(9), Pulse(3), Intr(false), Write(0, 1, 2),
        Write(0, 0, 0x68), Intr(true), Acknowledge(0x0b)])]
    #[case::specific_end(&[Pulse(3), Acknowledge(0x0b), Pulse(1), Acknowledge(9), Write(0, 0, 0x63),
        Write(0, 0, 0x0b), Read(0, 0, 2)])]
    #[case::auto_eoi(&[Write(0, 0, 0x11), Write(0, 1, 8), Write(0, 1, 4), Write(0, 1, 3), Pulse(6),
        Acknowledge(0x0e), Write(0, 0, 0x0b), Read(0, 0, 0)])]
    #[case::icw1_wants_a_new_edge(&[Line(1, true), Write(0, 0, 0x11), Write(0, 1, 8), Write(0, 1, 4),
        Write(0, 1, 1), Intr(false), Line(1, true), Intr(false), Line(1, false), Line(1, true), Intr(true)])]
    fn pair(#[case] steps: &[Do]) {
        check(steps);
    }
}
