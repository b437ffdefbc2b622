//! 82093AA I/O APIC: 24 inputs, each turned into a message to local APICs.
//!
//! Data sheet: Intel 290566-001, section 3. Version 20h has the EOI register of later chips.

use crate::{ApicMessage, Chip, Effects, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Number of input pins. ISA interrupts are wired one to one but for the timer, see
/// [`pin_of_isa`].
pub const PINS: u8 = 24;
/// Where the registers are.
pub const BASE: u64 = 0xfec0_0000;

/// The input an ISA interrupt is wired to: IRQ 0 arrives at pin 2.
#[must_use]
pub const fn pin_of_isa(irq: u8) -> u8 {
    if irq == 0 { 2 } else { irq }
}

const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;
const EOI: u64 = 0x40;

const IOAPICID: u8 = 0x00;
const IOAPICVER: u8 = 0x01;
const IOAPICARB: u8 = 0x02;
const IOREDTBL: u8 = 0x10;

const VERSION_WITH_EOI: u8 = 0x20;

/// Redirection table entry (section 3.2.4).
const DESTINATION_MODE: u64 = 1 << 11;
const DELIVERY_STATUS: u64 = 1 << 12;
const REMOTE_IRR: u64 = 1 << 14;
const TRIGGER_LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const READ_ONLY: u64 = DELIVERY_STATUS | REMOTE_IRR;
const WRITABLE: u64 = 0xff00_0000_0001_afff;

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// I/O register select.
    pub select: u8,
    /// I/O APIC ID, 0-15.
    pub id: u8,
    /// Redirection table.
    pub redirection: [u64; 24],
    /// Levels of the inputs.
    pub lines: u32,
}

/// The I/O APIC.
#[derive(Clone, Debug)]
pub struct IoApic {
    state: State,
    version: u8,
}

impl IoApic {
    /// An I/O APIC of `version` 11h, or 20h with an EOI register.
    #[must_use]
    pub fn new(version: u8) -> IoApic {
        IoApic { state: IoApic::fresh(0), version }
    }

    fn fresh(lines: u32) -> State {
        State { select: 0, id: 0, redirection: [MASKED; 24], lines }
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

    /// Whether `pin` is masked.
    #[must_use]
    pub fn masked(&self, pin: u8) -> bool {
        self.state.redirection.get(usize::from(pin)).is_none_or(|entry| entry & MASKED != 0)
    }

    /// A local APIC announced the end of level-triggered `vector`: entries that wait for it are
    /// free again, and send again while their line is still active.
    pub fn end_of_interrupt(&mut self, vector: u8, fx: &mut Effects) {
        for pin in 0..usize::from(PINS) {
            let entry = self.state.redirection[pin];
            if entry as u8 == vector && entry & TRIGGER_LEVEL != 0 && entry & REMOTE_IRR != 0 {
                self.state.redirection[pin] = entry & !REMOTE_IRR;
                self.send_level(pin, fx);
            }
        }
    }

    /// Sends for a level-triggered pin that is active, unmasked and not waiting for an end.
    fn send_level(&mut self, pin: usize, fx: &mut Effects) {
        let entry = self.state.redirection[pin];
        let ready = entry & (MASKED | REMOTE_IRR) == 0 && entry & TRIGGER_LEVEL != 0;
        if ready && self.state.lines >> pin & 1 != 0 {
            // Only fixed and lowest-priority interrupts are ended by a local APIC.
            if entry >> 8 & 7 <= 1 {
                self.state.redirection[pin] |= REMOTE_IRR;
            }
            send(entry, fx);
        }
    }

    fn read_window(&self, fx: &mut Effects) -> u32 {
        match self.state.select {
            IOAPICID | IOAPICARB => u32::from(self.state.id) << 24,
            IOAPICVER => u32::from(self.version) | u32::from(PINS - 1) << 16,
            register => match self.entry(register) {
                Some(pin) => (self.state.redirection[pin] >> (32 * (register & 1))) as u32,
                None => {
                    fx.note("I/O APIC register", u64::from(register), 0);
                    0
                }
            },
        }
    }

    fn write_window(&mut self, value: u32, fx: &mut Effects) {
        let register = self.state.select;
        match register {
            IOAPICID => self.state.id = (value >> 24) as u8 & 0xf,
            IOAPICVER | IOAPICARB => {}
            _ => {
                let Some(pin) = self.entry(register) else {
                    fx.note("I/O APIC register", u64::from(register), u64::from(value));
                    return;
                };
                let shift = 32 * u32::from(register & 1);
                let parts = u64::from(u32::MAX) << shift;
                let old = self.state.redirection[pin];
                let written = (old & !parts) | u64::from(value) << shift;
                let mut entry = (written & WRITABLE) | (old & READ_ONLY);
                if entry & TRIGGER_LEVEL == 0 {
                    // An edge has no end to wait for; Linux uses this to end a stuck level.
                    entry &= !REMOTE_IRR;
                }
                self.state.redirection[pin] = entry;
                self.send_level(pin, fx);
            }
        }
    }

    /// The table entry a register belongs to.
    fn entry(&self, register: u8) -> Option<usize> {
        let pin = register.checked_sub(IOREDTBL)? / 2;
        (pin < PINS).then_some(usize::from(pin))
    }
}

fn send(entry: u64, fx: &mut Effects) {
    fx.messages.push(ApicMessage {
        destination: ApicMessage::short_destination((entry >> 56) as u8, entry & DESTINATION_MODE != 0),
        logical: entry & DESTINATION_MODE != 0,
        mode: (entry >> 8) as u8 & 7,
        vector: entry as u8,
        level_triggered: entry & TRIGGER_LEVEL != 0,
        assert: true,
        shorthand: 0,
        source: 0,
    });
}

impl Chip for IoApic {
    fn regions(&self) -> Vec<Region> {
        vec![Region { index: 0, name: "ioapic", space: Space::Memory, base: BASE, length: 0x1000, widest: 4 }]
    }

    fn register_name(&self, _index: u8, offset: u64, _write: bool) -> Option<String> {
        let name = match (offset, self.state.select) {
            (IOREGSEL, _) => "IOREGSEL".to_owned(),
            (EOI, _) => "EOI".to_owned(),
            (IOWIN, IOAPICID) => "IOAPICID".to_owned(),
            (IOWIN, IOAPICVER) => "IOAPICVER".to_owned(),
            (IOWIN, IOAPICARB) => "IOAPICARB".to_owned(),
            (IOWIN, select @ IOREDTBL..) => {
                let half = if select & 1 == 0 { "low" } else { "high" };
                format!("IOREDTBL{} {half}", (select - IOREDTBL) / 2)
            }
            _ => return None,
        };
        Some(name)
    }

    fn read(&mut self, _index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        match (offset & 0xff, size) {
            (IOREGSEL, _) => u64::from(self.state.select),
            (IOWIN, 4) => u64::from(self.read_window(fx)),
            _ => {
                fx.note("I/O APIC offset", offset, 0);
                0
            }
        }
    }

    fn write(&mut self, _index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        match (offset & 0xff, size) {
            (IOREGSEL, _) => self.state.select = value as u8,
            (IOWIN, 4) => self.write_window(value as u32, fx),
            (EOI, 4) if self.version == VERSION_WITH_EOI => self.end_of_interrupt(value as u8, fx),
            _ => fx.note("I/O APIC offset", offset, value),
        }
    }

    fn reset(&mut self, kind: ResetKind, _fx: &mut Effects) {
        let lines = if kind == ResetKind::PowerOn { 0 } else { self.state.lines };
        self.state = IoApic::fresh(lines);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        if pin >= PINS {
            return;
        }
        let rising = level && self.state.lines >> pin & 1 == 0;
        let bit = 1 << pin;
        self.state.lines = (self.state.lines & !bit) | if level { bit } else { 0 };
        let entry = self.state.redirection[usize::from(pin)];
        if entry & TRIGGER_LEVEL != 0 {
            self.send_level(usize::from(pin), fx);
        } else if rising && entry & MASKED == 0 {
            // Edges at a masked pin are lost (section 3.2.4, bit 16).
            send(entry, fx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    fn write(chip: &mut IoApic, register: u8, value: u32) -> usize {
        let mut fx = Effects::at(Moment(0));
        chip.write(0, IOREGSEL, 4, u64::from(register), &mut fx);
        chip.write(0, IOWIN, 4, u64::from(value), &mut fx);
        fx.messages.len()
    }

    fn read(chip: &mut IoApic, register: u8) -> u64 {
        let mut fx = Effects::at(Moment(0));
        chip.write(0, IOREGSEL, 4, u64::from(register), &mut fx);
        chip.read(0, IOWIN, 4, &mut fx)
    }

    /// Pin 4 set up with `entry`, the line following `levels`: how many messages each time?
    fn check(entry: u32, levels: &[bool], expect: &[usize]) {
        let mut chip = IoApic::new(0x20);
        write(&mut chip, 0x19, 0x0300_0000);
        write(&mut chip, 0x18, entry);
        let sent: Vec<usize> = levels
            .iter()
            .map(|&level| {
                let mut fx = Effects::at(Moment(0));
                chip.input(4, level, &mut fx);
                for message in &fx.messages {
                    assert_eq!((message.destination, message.vector), (3, entry as u8));
                    assert_eq!(message.level_triggered, entry & 0x8000 != 0);
                }
                fx.messages.len()
            })
            .collect();
        assert_eq!(sent, expect);
    }

    #[rstest]
    #[case::edge(0x30, &[true, true, false, true], &[1, 0, 0, 1])]
    #[case::edge_masked(0x1_0030, &[true, false, true], &[0, 0, 0])]
    #[case::level_waits_for_the_end(0x8030, &[true, true, false, true], &[1, 0, 0, 0])]
    #[case::level_masked(0x1_8030, &[true], &[0])]
    fn pins(#[case] entry: u32, #[case] levels: &[bool], #[case] expect: &[usize]) {
        check(entry, levels, expect);
    }

    #[test]
    fn level_sends_again_at_the_end_and_when_unmasked() {
        let mut chip = IoApic::new(0x11);
        let mut fx = Effects::at(Moment(0));
        chip.input(9, true, &mut fx);
        assert_eq!(write(&mut chip, 0x22, 0x8041), 1);
        assert_eq!(read(&mut chip, 0x22), 0xc041);
        chip.end_of_interrupt(0x42, &mut fx);
        assert_eq!(fx.messages.len(), 0);
        chip.end_of_interrupt(0x41, &mut fx);
        assert_eq!(fx.messages.len(), 1);
        assert_eq!(write(&mut chip, 0x22, 0x1_0041), 0, "edge and masked: remote IRR is cleared");
        assert_eq!(read(&mut chip, 0x22), 0x1_0041);
    }

    #[test]
    fn reads_as_qemu_at_reset() {
        let mut chip = IoApic::new(0x20);
        for (register, value) in [(0, 0), (1, 0x17_0020), (2, 0), (0x10, 0x1_0000), (0x11, 0)] {
            assert_eq!(read(&mut chip, register), value);
        }
        write(&mut chip, 0, 0xff00_0000);
        assert_eq!(read(&mut chip, 0), 0x0f00_0000);
    }
}
