//! High precision event timers: one main counter at 100 MHz, three comparators.
//!
//! IA-PC HPET Specification 1.0a, chapter 2. A comparator already behind the counter fires one tick
//! later instead of a whole wrap later, as in QEMU. FSB (MSI) delivery is not offered.

use crate::{Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Output pins 0-23: system interrupts (GSI numbers before the IRQ 0 override), as routed.
pub const GSIS: u8 = 24;
/// Output pin: legacy replacement is on; the 8254 and the clock have lost IRQ 0 and IRQ 8.
pub const LEGACY: u8 = 32;
/// Input pin: IRQ 0 from the 8254, handed on to GSI 0 unless legacy replacement is on.
pub const PIT_IRQ0: u8 = 0;
/// Input pin: IRQ 8 from the clock, handed on to GSI 8 unless legacy replacement is on.
pub const RTC_IRQ8: u8 = 1;

/// Where the registers are.
pub const BASE: u64 = 0xfed0_0000;
/// How many timers there are.
pub const TIMERS: usize = 3;

/// General capabilities: 10,000,000 fs per tick, vendor 8086h, legacy replacement, 64 bits, three
/// timers, revision 1 (section 2.3.4).
const CAPABILITIES: u64 = 0x0098_9680_8086_a201;
const NANOSECONDS_PER_TICK: u64 = 10;
/// A periodic timer interrupts at most this often, so that a guest cannot drown the event queue.
const MINIMUM_SPACING: u64 = 1_000;

const GENERAL_CAPABILITIES: u64 = 0x00;
const GENERAL_CONFIGURATION: u64 = 0x10;
const INTERRUPT_STATUS: u64 = 0x20;
const MAIN_COUNTER: u64 = 0xf0;
const TIMER_BASE: u64 = 0x100;
const TIMER_STRIDE: u64 = 0x20;

const ENABLE_CNF: u64 = 1 << 0;
const LEG_RT_CNF: u64 = 1 << 1;

const TN_INT_TYPE: u64 = 1 << 1;
const TN_INT_ENB: u64 = 1 << 2;
const TN_TYPE: u64 = 1 << 3;
const TN_PER_INT_CAP: u64 = 1 << 4;
const TN_SIZE_CAP: u64 = 1 << 5;
const TN_VAL_SET: u64 = 1 << 6;
const TN_32MODE: u64 = 1 << 8;
const TN_INT_ROUTE_SHIFT: u32 = 9;
/// What a guest can set in a timer's configuration.
const TN_WRITABLE: u64 = 0x3f4e;

/// One timer (section 2.3.8).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// Configuration and capabilities.
    pub configuration: u64,
    /// Comparator.
    pub comparator: u64,
    /// What is added to the comparator after each match, in periodic mode.
    pub period: u64,
    /// When the comparator matches next, while it may interrupt.
    pub due: Option<Moment>,
}

impl Timer {
    fn has(&self, bits: u64) -> bool {
        self.configuration & bits != 0
    }

    fn mask(&self) -> u64 {
        if self.has(TN_32MODE) { u64::from(u32::MAX) } else { u64::MAX }
    }

    fn is_periodic(&self) -> bool {
        self.has(TN_TYPE) && self.period != 0
    }

    /// Ticks from `counter` to the comparator; none when it lies behind.
    fn ticks_ahead(&self, counter: u64) -> Option<u64> {
        let ahead = self.comparator.wrapping_sub(counter) & self.mask();
        (ahead != 0 && ahead <= self.mask() >> 1).then_some(ahead)
    }

    /// Moves a periodic comparator past `counter`.
    fn advance(&mut self, counter: u64) {
        if !self.is_periodic() || self.ticks_ahead(counter).is_some() {
            return;
        }
        let behind = counter.wrapping_sub(self.comparator) & self.mask();
        let steps = (behind / self.period).wrapping_add(1);
        let moved = self.comparator.wrapping_add(steps.wrapping_mul(self.period));
        self.comparator = moved & self.mask();
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// General configuration.
    pub configuration: u64,
    /// General interrupt status.
    pub status: u64,
    /// The main counter when it started, or holds while it is stopped.
    pub counter: u64,
    /// Counting since this moment; none while stopped.
    pub running: Option<Moment>,
    /// The timers.
    pub timers: [Timer; TIMERS],
    /// Levels of [`PIT_IRQ0`] and [`RTC_IRQ8`].
    pub inputs: [bool; 2],
}

/// The timer block.
#[derive(Clone, Debug)]
pub struct Hpet {
    state: State,
    route_capabilities: u32,
}

impl Hpet {
    /// A timer block whose timers can be routed to the GSIs of `route_capabilities` (one bit each;
    /// `pc-i440fx` machines give 4, GSI 2 alone).
    #[must_use]
    pub fn new(route_capabilities: u32) -> Hpet {
        Hpet { state: Hpet::fresh(route_capabilities), route_capabilities }
    }

    fn fresh(route_capabilities: u32) -> State {
        let timer = Timer {
            configuration: u64::from(route_capabilities) << 32 | TN_PER_INT_CAP | TN_SIZE_CAP,
            comparator: u64::MAX,
            period: 0,
            due: None,
        };
        State {
            configuration: 0,
            status: 0,
            counter: 0,
            running: None,
            timers: [timer.clone(), timer.clone(), timer],
            inputs: [false; 2],
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

    /// The low half of the capabilities, which ACPI's HPET table repeats.
    #[must_use]
    pub fn event_timer_block_id(&self) -> u32 {
        CAPABILITIES as u32
    }

    fn legacy(&self) -> bool {
        self.state.configuration & LEG_RT_CNF != 0
    }

    /// The main counter.
    fn counter(&self, now: Moment) -> u64 {
        let ticks = self.state.running.map_or(0, |since| now.since(since) / NANOSECONDS_PER_TICK);
        self.state.counter.wrapping_add(ticks)
    }

    /// The GSI a timer interrupts (section 2.4.3 for the legacy ones).
    fn route(&self, index: usize) -> u32 {
        match (self.legacy(), index) {
            (true, 0) => 0,
            (true, 1) => 8,
            _ => (self.state.timers[index].configuration >> TN_INT_ROUTE_SHIFT & 0x1f) as u32,
        }
    }

    /// Levels of the output pins.
    fn lines(&self) -> u64 {
        let legacy = self.legacy();
        let mut lines = u64::from(legacy) << LEGACY;
        for (input, gsi) in [(PIT_IRQ0, 0), (RTC_IRQ8, 8)] {
            lines |= u64::from(self.state.inputs[usize::from(input)] && !legacy) << gsi;
        }
        for index in 0..TIMERS {
            let route = self.route(index);
            if self.state.status >> index & 1 != 0 && route < u32::from(GSIS) {
                lines |= 1 << route;
            }
        }
        lines
    }

    fn update(&self, before: u64, fx: &mut Effects) {
        let after = self.lines();
        for pin in (0..=LEGACY).filter(|pin| (before ^ after) >> pin & 1 != 0) {
            fx.line(pin, after >> pin & 1 != 0);
        }
    }

    /// Computes when timer `index` matches next; at the soonest `spacing` from now.
    fn arm(&mut self, index: usize, now: Moment, spacing: u64) {
        let counter = self.counter(now);
        let timer = &mut self.state.timers[index];
        let Some(since) = self.state.running.filter(|_| timer.has(TN_INT_ENB)) else {
            timer.due = None;
            return;
        };
        let ticks = timer.ticks_ahead(counter).unwrap_or(1);
        let phase = now.since(since) % NANOSECONDS_PER_TICK;
        let wait = ticks.saturating_mul(NANOSECONDS_PER_TICK).saturating_sub(phase);
        timer.due = Some(now.after(wait.max(spacing)));
    }

    fn match_timer(&mut self, index: usize, fx: &mut Effects) {
        let counter = self.counter(fx.now());
        let timer = &mut self.state.timers[index];
        let level = timer.has(TN_INT_TYPE);
        if timer.is_periodic() {
            timer.advance(counter);
            self.arm(index, fx.now(), MINIMUM_SPACING);
        } else {
            timer.due = None;
        }
        let route = self.route(index);
        if level {
            self.state.status |= 1 << index;
        } else if route < u32::from(GSIS) && self.lines() >> route & 1 == 0 {
            fx.line(route as u8, true);
            fx.line(route as u8, false);
        }
    }

    fn write_configuration(&mut self, value: u64, now: Moment) {
        let old = self.state.configuration;
        self.state.configuration = value & (ENABLE_CNF | LEG_RT_CNF);
        let changed = old ^ self.state.configuration;
        if changed & ENABLE_CNF == 0 {
            return;
        }
        if value & ENABLE_CNF != 0 {
            self.state.running = Some(now);
            for index in 0..TIMERS {
                // A comparator nobody has written stays silent.
                if self.state.timers[index].comparator != u64::MAX {
                    self.arm(index, now, 0);
                }
            }
        } else {
            self.state.counter = self.counter(now);
            self.state.running = None;
            self.state.status = 0;
            self.state.timers.iter_mut().for_each(|timer| timer.due = None);
        }
    }

    fn write_timer(&mut self, index: usize, register: u64, value: u64, parts: u64, now: Moment) {
        let timer = &mut self.state.timers[index];
        let old = timer.configuration;
        match register {
            0x00 => {
                let writable = TN_WRITABLE & parts;
                timer.configuration = (old & !writable) | (value & writable);
                if timer.has(TN_32MODE) {
                    timer.comparator &= timer.mask();
                    timer.period &= timer.mask();
                }
                match (old & TN_INT_ENB != 0, timer.has(TN_INT_ENB)) {
                    (false, true) => self.arm(index, now, 0),
                    (true, false) => {
                        timer.due = None;
                        self.state.status &= !(1 << index);
                    }
                    _ => {}
                }
            }
            0x08 => {
                let mask = timer.mask();
                let merge = |old: u64| ((old & !parts) | (value & parts)) & mask;
                if !timer.has(TN_TYPE) || timer.has(TN_VAL_SET) {
                    timer.comparator = merge(timer.comparator);
                }
                if timer.has(TN_TYPE) {
                    timer.period = merge(timer.period) & mask >> 1;
                }
                timer.configuration &= !TN_VAL_SET;
                self.arm(index, now, 0);
            }
            _ => {}
        }
    }

    fn register(&mut self, offset: u64, fx: &mut Effects) -> u64 {
        let counter = self.counter(fx.now());
        match offset {
            GENERAL_CAPABILITIES => CAPABILITIES,
            GENERAL_CONFIGURATION => self.state.configuration,
            INTERRUPT_STATUS => self.state.status,
            MAIN_COUNTER => counter,
            _ => {
                let running = self.state.running.is_some();
                let Some((index, register)) = timer_register(offset) else {
                    fx.note("HPET register", offset, 0);
                    return 0;
                };
                let timer = &mut self.state.timers[index];
                match register {
                    0x00 => timer.configuration,
                    0x08 => {
                        if running {
                            timer.advance(counter);
                        }
                        timer.comparator
                    }
                    _ => 0,
                }
            }
        }
    }
}

/// Which timer's which register is at `offset`.
fn timer_register(offset: u64) -> Option<(usize, u64)> {
    let index = offset.checked_sub(TIMER_BASE)? / TIMER_STRIDE;
    (index < TIMERS as u64).then_some((index as usize, offset % TIMER_STRIDE))
}

impl Chip for Hpet {
    fn regions(&self) -> Vec<Region> {
        vec![Region { index: 0, name: "hpet", space: Space::Memory, base: BASE, length: 0x400, widest: 8 }]
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        if offset >= TIMER_BASE {
            let (timer, register) = ((offset - TIMER_BASE) / TIMER_STRIDE, offset % TIMER_STRIDE);
            let names = [(0, "CONFIGURATION"), (8, "COMPARATOR"), (16, "FSB_ROUTE")];
            let name = crate::name_of(&names, register & !7)?;
            return Some(format!("TIMER{timer}_{name}"));
        }
        let names = [
            (GENERAL_CAPABILITIES, "GENERAL_CAPABILITIES"),
            (GENERAL_CONFIGURATION, "GENERAL_CONFIGURATION"),
            (INTERRUPT_STATUS, "INTERRUPT_STATUS"),
            (MAIN_COUNTER, "MAIN_COUNTER"),
        ];
        crate::name_of(&names, offset & !7)
    }

    fn read(&mut self, _index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let value = self.register(offset & !7, fx) >> (8 * (offset & 7));
        match size {
            8 => value,
            _ => value & ((1 << (8 * size.clamp(1, 4))) - 1),
        }
    }

    fn write(&mut self, _index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        if size < 4 || offset & 3 != 0 {
            fx.note("HPET registers take 4 or 8 bytes", offset, value);
            return;
        }
        let (before, now) = (self.lines(), fx.now());
        let shift = 8 * (offset & 4);
        let parts = if size == 8 { u64::MAX } else { u64::from(u32::MAX) } << shift;
        let value = value << shift;
        match offset & !7 {
            GENERAL_CONFIGURATION if parts & 1 != 0 => self.write_configuration(value, now),
            INTERRUPT_STATUS => self.state.status &= !(value & parts),
            MAIN_COUNTER if self.state.running.is_none() => {
                self.state.counter = (self.state.counter & !parts) | (value & parts);
            }
            aligned => match timer_register(aligned) {
                Some((index, register)) => self.write_timer(index, register, value, parts, now),
                None => fx.note("HPET register", offset, value),
            },
        }
        self.update(before, fx);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let before = self.lines();
        let inputs = if kind == ResetKind::PowerOn { [false; 2] } else { self.state.inputs };
        self.state = State { inputs, ..Hpet::fresh(self.route_capabilities) };
        self.update(before, fx);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        let before = self.lines();
        if let Some(input) = self.state.inputs.get_mut(usize::from(pin)) {
            *input = level;
        }
        self.update(before, fx);
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.timers.iter().filter_map(|timer| timer.due).min()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        let before = self.lines();
        for index in 0..TIMERS {
            if self.state.timers[index].due.is_some_and(|due| due <= fx.now()) {
                self.match_timer(index, fx);
            }
        }
        self.update(before, fx);
    }

    fn shift_time(&mut self, delta: i64) {
        self.state.running.iter_mut().for_each(|moment| moment.shift(delta));
        for timer in &mut self.state.timers {
            timer.due.iter_mut().for_each(|moment| moment.shift(delta));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn write(hpet: &mut Hpet, now: u64, offset: u64, value: u64) -> Vec<(u8, bool)> {
        let mut fx = Effects::at(Moment(now));
        hpet.write(0, offset, 8, value, &mut fx);
        fx.lines
    }

    fn read(hpet: &mut Hpet, now: u64, offset: u64, size: u8) -> u64 {
        hpet.read(0, offset, size, &mut Effects::at(Moment(now)))
    }

    /// Timer 0 with `configuration` and `comparator` (then `period`), counter started at 5 ns: when
    /// are the first interrupts, and on which pin?
    fn check(configuration: u64, comparator: u64, period: u64, general: u64, expect: &[(u64, u8)]) {
        let mut hpet = Hpet::new(4);
        write(&mut hpet, 0, 0x100, configuration);
        write(&mut hpet, 0, 0x108, comparator);
        write(&mut hpet, 0, 0x108, period);
        write(&mut hpet, 5, 0x10, general);
        let mut seen = Vec::new();
        while let Some(due) = hpet.deadline().filter(|_| seen.len() < 3) {
            let mut fx = Effects::at(due);
            hpet.on_deadline(&mut fx);
            seen.extend(fx.lines.iter().filter(|line| line.1).map(|line| (due.0, line.0)));
            write(&mut hpet, due.0, 0x20, 1);
        }
        assert_eq!(seen, expect);
    }

    #[rstest]
    #[case::one_shot(0x404, 100, 100, 1, &[(1005, 2)])]
    #[case::one_shot_level(0x406, 100, 100, 1, &[(1005, 2)])]
    #[case::periodic(0x44c, 200, 300, 1, &[(2005, 2), (5005, 2), (8005, 2)])]
    #[case::legacy(0x44c, 200, 300, 3, &[(2005, 0), (5005, 0), (8005, 0)])]
    #[case::tiny_period_is_spaced(0x44c, 1, 1, 1, &[(15, 2), (1015, 2), (2015, 2)])]
    #[case::off(0x400, 100, 100, 1, &[])]
    #[case::stopped(0x404, 100, 100, 0, &[])]
    fn timer(
        #[case] configuration: u64,
        #[case] comparator: u64,
        #[case] period: u64,
        #[case] general: u64,
        #[case] expect: &[(u64, u8)],
    ) {
        check(configuration, comparator, period, general, expect);
    }

    #[test]
    fn reads_as_qemu_at_reset() {
        let mut hpet = Hpet::new(4);
        for (offset, value) in [
            (0x00, 0x8086_a201),
            (0x04, 0x0098_9680),
            (0x100, 0x30),
            (0x104, 4),
            (0x108, 0xffff_ffff),
            (0x110, 0),
            (0x140, 0x30),
            (0x160, 0),
        ] {
            assert_eq!(read(&mut hpet, 0, offset, 4), value, "register {offset:x}");
        }
        write(&mut hpet, 100, 0x10, 1);
        assert_eq!(read(&mut hpet, 1099, 0xf0, 8), 99);
        write(&mut hpet, 1100, 0x10, 0);
        assert_eq!(read(&mut hpet, 9999, 0xf0, 4), 100);
    }

    #[test]
    fn legacy_replacement_takes_the_old_lines() {
        let mut hpet = Hpet::new(4);
        let mut fx = Effects::at(Moment(0));
        hpet.input(RTC_IRQ8, true, &mut fx);
        assert_eq!(fx.lines, [(8, true)]);
        assert_eq!(write(&mut hpet, 0, 0x10, 2), [(8, false), (LEGACY, true)]);
        assert_eq!(write(&mut hpet, 0, 0x10, 0), [(8, true), (LEGACY, false)]);
    }

    #[test]
    fn level_status_is_cleared_by_one() {
        let mut hpet = Hpet::new(4);
        write(&mut hpet, 0, 0x120, 0x406);
        write(&mut hpet, 0, 0x128, 10);
        write(&mut hpet, 0, 0x10, 1);
        let mut fx = Effects::at(Moment(100));
        hpet.on_deadline(&mut fx);
        assert_eq!(fx.lines, [(2, true)]);
        assert_eq!(read(&mut hpet, 100, 0x20, 4), 2);
        assert_eq!(write(&mut hpet, 100, 0x20, 2), [(2, false)]);
    }
}
