//! Configuration space: base addresses anywhere, and what firmware sets up.

use super::{Driver, Place};

/// Offset, size and value of a register.
type Register = (u8, u8, u64);

impl Driver<'_> {
    /// An access to a register of configuration space by ports, or by memory where that is.
    pub(super) fn config(&mut self, devfn: u8, register: u8, size: u8, write: Option<u64>) -> u64 {
        let window = self.machine.board.bridge().and_then(|bridge| bridge.config_window());
        if let Some(window) = window
            && self.source.once_in(2)
        {
            let address = window.base + (u64::from(devfn) << 12) + u64::from(register);
            return self.access(Place::Memory(address), size, write);
        }
        let selected = 0x8000_0000 | u64::from(devfn) << 8 | u64::from(register & 0xfc);
        self.output(0xcf8, 4, selected);
        self.access(Place::Port(0xcfc + u16::from(register & 3)), size.min(4), write)
    }

    /// The functions there are.
    fn functions(&self) -> Vec<(usize, u8)> {
        let slots = self.machine.board.slots.iter().enumerate();
        slots.filter_map(|(slot, found)| Some((slot, found.devfn?))).collect()
    }

    /// Any access to configuration space.
    pub(super) fn configuration(&mut self) {
        let functions = self.functions();
        let own = self.chip.map(|name| self.machine.board.slots_of(name)).unwrap_or_default();
        let wanted: Vec<_> = functions.iter().copied().filter(|(slot, _)| own.contains(slot)).collect();
        let functions = if wanted.is_empty() || self.source.once_in(3) { functions } else { wanted };
        let Some((slot, devfn)) = self.source.pick(&functions) else { return };
        let devfn = if self.source.once_in(32) { self.source.byte() } else { devfn };
        match self.source.byte() {
            0..=31 => self.enable(slot),
            32..=63 => {
                // A base address: anywhere, over RAM and over others.
                let register = 0x10 + 4 * (self.source.byte() & 7);
                let value = if self.source.once_in(2) { self.source.pointer() } else { self.source.value() };
                self.config(devfn, register, 4, Some(value));
            }
            64..=79 => {
                let value = u64::from(self.source.word());
                self.config(devfn, 0x04, 2, Some(value));
            }
            byte => {
                let register = if byte < 128 { self.source.byte() & 0x3f } else { self.source.byte() };
                let size = self.source.size();
                let write = if self.source.once_in(3) { None } else { Some(self.source.value()) };
                self.config(devfn, register, size, write);
            }
        }
    }

    /// Firmware gives every function its addresses.
    pub(super) fn enable_all(&mut self) {
        for (slot, _) in self.functions() {
            self.enable(slot);
        }
    }

    /// Gives the function in `slot` base addresses and lets it answer and master the bus.
    pub(super) fn enable(&mut self, slot: usize) {
        // What chips have besides base addresses: power management, SMBus, windows, IDE decoding.
        const MORE: [(&str, &[Register]); 5] = [
            ("piix4-pm", &[(0x40, 4, 0xb001), (0x80, 1, 1), (0x90, 4, 0xb101), (0xd2, 1, 9)]),
            ("ich9-lpc", &[(0x40, 4, 0x0601), (0x44, 1, 0x80), (0xf0, 4, 0xfed1_c001)]),
            ("ich9-smbus", &[(0x20, 4, 0xb101), (0x40, 1, 1)]),
            ("mch", &[(0x60, 4, 0xb000_0001)]),
            ("piix3-ide", &[(0x40, 4, 0x8000_8000)]),
        ];
        let Some(found) = self.machine.board.slots.get(slot) else { return };
        let (Some(devfn), name) = (found.devfn, found.name) else { return };
        for bar in 0..6_u8 {
            let register = 0x10 + 4 * bar;
            let config = self.machine.board.slots.get(slot).and_then(|slot| slot.device.chip().pci_config());
            let bits = config.map_or(0, |config| config.get_u32(register));
            let place = if bits & 1 != 0 {
                0xc001 + 0x100 * slot as u64 + 0x20 * u64::from(bar)
            } else {
                0xe000_0000 + 0x0100_0000 * (slot as u64 & 15) + 0x10_0000 * u64::from(bar)
            };
            // The upper half of a 64-bit address stays zero.
            if name.starts_with("virtio") && bar == 5 {
                self.config(devfn, register, 4, Some(0));
            } else {
                self.config(devfn, register, 4, Some(place));
            }
        }
        for (_, registers) in MORE.iter().filter(|(chip, _)| *chip == name) {
            for (register, size, value) in *registers {
                self.config(devfn, *register, *size, Some(*value));
            }
        }
        let disabled = if self.source.once_in(8) { 0x400 } else { 0 };
        self.config(devfn, 0x04, 2, Some(0x107 | disabled));
    }
}
