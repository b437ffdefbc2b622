//! The other chips: what a driver would write, in an order that leads somewhere.

use super::{Driver, Place};

impl Driver<'_> {
    /// Writes register `index` of a pair of ports, or reads it.
    fn indexed(&mut self, port: u16, index: u8) {
        self.output(port, 1, index.into());
        let write = if self.source.once_in(3) { None } else { Some(self.source.value()) };
        self.access(Place::Port(port + 1), 1, write);
    }

    pub(super) fn fw_cfg(&mut self) {
        const KEYS: [u16; 14] =
            [0, 1, 2, 5, 0x0e, 0x19, 0x20, 0x21, 0x24, 0x28, 0x2b, 0x8000, 0x8002, 0xc000];
        let key =
            if self.source.once_in(8) { self.source.word() } else { self.source.pick(&KEYS).unwrap_or(0) };
        if self.source.once_in(2) {
            self.output(0x510, 2, key.into());
            for _ in 0..self.source.byte() & 15 {
                self.input(0x511, 1);
            }
            return;
        }
        let place = if self.source.once_in(16) { self.source.pointer() } else { 0x2_f000 };
        let control = u32::from(self.source.command(&[0x02, 0x0a, 0x08, 0x0c, 0x10, 0x18, 0x06, 0x00]));
        let length = match self.source.byte() & 15 {
            0 => self.source.quad() as u32,
            1 => 0x0100_0000,
            _ => u32::from(self.source.word() & 0x1fff),
        };
        let target = self.source.pointer();
        let mut block = (control | u32::from(key) << 16).to_be_bytes().to_vec();
        block.extend(length.to_be_bytes());
        block.extend(target.to_be_bytes());
        self.store(place, &block);
        self.output(0x514, 4, u64::from(((place >> 32) as u32).swap_bytes()));
        self.output(0x518, 4, u64::from((place as u32).swap_bytes()));
    }

    pub(super) fn vga(&mut self, slot: usize) {
        match self.source.byte() & 15 {
            0 | 1 => {
                let index = self.source.command(&[0, 1, 2, 3, 4, 7]);
                self.indexed(0x3c4, index);
            }
            2 | 3 => {
                let index = self.source.byte() & 15;
                self.indexed(0x3ce, index);
            }
            4 | 5 => {
                let index = self.source.byte() & 0x3f;
                let port = self.source.pick(&[0x3d4, 0x3d4, 0x3b4]).unwrap_or(0x3d4);
                self.indexed(port, index);
            }
            6 => {
                self.input(0x3da, 1);
                let (index, value) = (self.source.byte() & 0x3f, self.source.byte());
                self.output(0x3c0, 1, index.into());
                self.output(0x3c0, 1, value.into());
            }
            7 => {
                let (port, value) = (0x3c2 + u16::from(self.source.byte() & 7), self.source.byte());
                self.output(port, 1, value.into());
            }
            8 | 9 => {
                // The display interface: index, then a size, depth or switch.
                let index = u64::from(self.source.byte() % 12);
                let value: u64 = self
                    .source
                    .pick(&[0, 1, 0x41, 0x61, 0xc1, 4, 8, 15, 16, 24, 32, 640, 1024, 2560, 16000, 0xb0c5])
                    .unwrap_or(0);
                let value = if self.source.once_in(8) { u64::from(self.source.word()) } else { value };
                self.output(0x1ce, 2, index);
                self.output(0x1cf, 2, value);
            }
            10 | 11 => {
                // What is shown, and its bytes.
                let address = 0xa_0000 + u64::from(self.source.word()) * 2;
                let (size, value) = (self.source.size(), self.source.value());
                for _ in 0..1 + (self.source.byte() & 3) {
                    self.access(Place::Memory(address), size, Some(value));
                    self.access(Place::Memory(address), size, None);
                }
            }
            12 => {
                let value = self.source.byte();
                for _ in 0..self.source.byte() & 7 {
                    self.output(0x3c8 + u16::from(value & 1), 1, value.into());
                    self.input(0x3c9, 1);
                }
            }
            13 if self.source.once_in(16) => {
                let _ = self.machine.screen();
                let _ = self.machine.screen_text();
            }
            _ => self.register(slot),
        }
    }

    pub(super) fn rtc(&mut self) {
        const REGISTERS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0x32, 0x8b];
        let index = self.source.command(&REGISTERS);
        self.output(0x70, 1, index.into());
        let value = match index & 0x7f {
            10 => self.source.command(&[0x20, 0x26, 0x21, 0x2f, 0x70, 0x00]),
            11 => self.source.command(&[0x02, 0x42, 0x22, 0x12, 0x72, 0x82, 0x06, 0x00]),
            _ => self.source.command(&[0, 1, 0x12, 0x23, 0x31, 0x59, 0x99, 0xc0, 0xff]),
        };
        let write = if self.source.once_in(3) { None } else { Some(u64::from(value)) };
        self.access(Place::Port(0x71), 1, write);
    }

    pub(super) fn pic(&mut self) {
        let base = self.source.pick(&[0x20_u16, 0xa0]).unwrap_or(0x20);
        match self.source.byte() & 7 {
            0 => {
                let first = self.source.command(&[0x11, 0x11, 0x10, 0x13, 0x19, 0x12]);
                self.output(base, 1, first.into());
                for known in [[8, 0x70], [4, 2], [1, 3]] {
                    let word = self.source.command(&known);
                    self.output(base + 1, 1, word.into());
                }
            }
            1 => {
                let mask = self.source.command(&[0, 0xff, 0xb8, 0xfe]);
                self.output(base + 1, 1, mask.into());
            }
            2 => {
                let port = 0x4d0 + u16::from(self.source.byte() & 1);
                let value = self.source.byte();
                self.output(port, 1, value.into());
            }
            3 => self.acknowledge(),
            4 => {
                self.input(base, 1);
            }
            _ => {
                let word = self
                    .source
                    .command(&[0x20, 0x60, 0x67, 0xa0, 0xc2, 0xe1, 0x80, 0x00, 0x0a, 0x0b, 0x0c, 0x68, 0x48]);
                self.output(base, 1, word.into());
            }
        }
    }

    pub(super) fn pit(&mut self) {
        match self.source.byte() & 7 {
            0..=2 => {
                let control = self.source.byte();
                self.output(0x43, 1, control.into());
                for _ in 0..self.source.byte() & 3 {
                    let count = self.source.command(&[0, 1, 2, 3, 0xff, 0x4a]);
                    self.output(0x40 + u16::from(control >> 6) % 3, 1, count.into());
                }
            }
            3 => {
                let value = self.source.byte();
                self.output(0x61, 1, value.into());
            }
            4 => {
                let latch = self.source.byte() | 0xc0;
                self.output(0x43, 1, latch.into());
            }
            5 => self.advance(1 << 22),
            byte => {
                for _ in 0..3 {
                    self.input(0x40 + u16::from(byte & 3) % 3, 1);
                }
            }
        }
    }

    pub(super) fn i8042(&mut self) {
        match self.source.byte() & 7 {
            0..=2 => {
                let command = self.source.command(&[
                    0x20, 0x60, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4,
                    0xd4, 0xdd, 0xdf, 0xf0, 0xf1, 0xfe, 0xff,
                ]);
                self.output(0x64, 1, command.into());
                let data = self.source.byte();
                if self.source.once_in(2) {
                    self.output(0x60, 1, data.into());
                }
            }
            3 | 4 => {
                let command = self.source.command(&[
                    0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xfa, 0xfe, 0xff, 0xe6, 0xe7, 0xe8,
                    0xe9, 0xea, 0xeb, 0xec, 0xf0, 0x02, 0x00,
                ]);
                if self.source.once_in(2) {
                    self.output(0x64, 1, 0xd4);
                }
                self.output(0x60, 1, command.into());
            }
            5 => self.advance(1 << 24),
            _ => {
                self.input(0x64, 1);
                self.input(0x60, 1);
            }
        }
    }

    pub(super) fn flash(&mut self, slot: usize) {
        let Some(region) = self.machine.board.slots.get(slot).map(|slot| slot.device.chip().regions()) else {
            return;
        };
        let Some(region) = region.first() else { return };
        let offset = match self.source.byte() & 3 {
            0 => self.source.quad() % region.length,
            1 => region.length - 1 - u64::from(self.source.byte()),
            _ => u64::from(self.source.byte() & 1) << 12 | u64::from(self.source.byte()),
        };
        let command =
            self.source.command(&[0x10, 0x20, 0x28, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xe8, 0xff]);
        self.at(region, offset, 1, Some(command.into()));
        match self.source.byte() & 3 {
            0 => {
                let size = self.source.size();
                self.at(region, offset, size, None);
            }
            1 => {
                let count = self.source.byte() & 31;
                self.at(region, offset, 1, Some(count.into()));
                for byte in 0..=u64::from(count) {
                    let value = self.source.byte();
                    self.at(region, offset + byte, 1, Some(value.into()));
                }
                self.at(region, offset, 1, Some(0xd0));
            }
            2 => {
                let confirm = self.source.command(&[0xd0, 0x01, 0x2f, 0xff]);
                self.at(region, offset, 1, Some(confirm.into()));
            }
            _ => {
                let (size, value) = (self.source.size(), self.source.value());
                self.at(region, offset, size, Some(value));
            }
        }
    }

    pub(super) fn hpet(&mut self) {
        let timer = 0x100 + 0x20 * u64::from(self.source.byte() & 3);
        let (offset, value) = match self.source.byte() & 7 {
            0 => (0x10, u64::from(self.source.byte() & 3)),
            1 => (0xf0, self.source.value()),
            2 => (0x20, self.source.value()),
            3 | 4 => (timer, u64::from(self.source.word())),
            5 => (timer + 8, u64::from(self.source.word())),
            6 => (timer + 8, self.source.value()),
            _ => (timer + 0x10, self.source.value()),
        };
        let size = if self.source.once_in(2) { 8 } else { 4 };
        let half = if size == 4 && self.source.once_in(3) { 4 } else { 0 };
        let write = if self.source.once_in(4) { None } else { Some(value) };
        self.access(Place::Memory(0xfed0_0000 + offset + half), size, write);
        if self.source.once_in(4) {
            self.advance(1 << 20);
        }
    }

    pub(super) fn local_apic(&mut self) {
        const REGISTERS: [u16; 26] = [
            0x20, 0x30, 0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0, 0xf0, 0x100, 0x180, 0x200, 0x280,
            0x2f0, 0x300, 0x310, 0x320, 0x330, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0,
        ];
        use warmboot_cpu::{Bus as _, Cycle};
        match self.source.byte() & 15 {
            0 => self.acknowledge(),
            1 => {
                // IA32_APIC_BASE: off, on, x2APIC, or elsewhere.
                let value = self.source.pick(&[0xfee0_0900, 0xfee0_0d00, 0xfee0_0100, 0xd_0900, 0xfee0_0800]);
                let number = self.processor;
                let now = self.machine.board.now();
                self.machine.board.set_apic_base(number, value.unwrap_or(0xfee0_0900), now);
            }
            2 | 3 => {
                let (number, value) = (self.source.byte() & 0x3f, self.source.value());
                let board = &mut self.machine.board;
                board.current = self.processor;
                board.clock.begin(board.now().0);
                if self.source.once_in(2) {
                    board.set_apic_register(Cycle::default(), number, value);
                } else {
                    board.apic_register(Cycle::default(), number);
                }
                board.current = 0;
            }
            4 | 5 => {
                // An interrupt of any kind to anybody.
                let (high, low) = (self.source.value(), u64::from(self.source.word()));
                let shorthand = u64::from(self.source.byte() & 3) << 18;
                self.access(Place::Memory(0xfee0_0310), 4, Some(high));
                self.access(Place::Memory(0xfee0_0300), 4, Some(low | shorthand));
            }
            _ => {
                let register = self.source.pick(&REGISTERS).unwrap_or(0xf0);
                let value =
                    if self.source.once_in(2) { u64::from(self.source.word()) } else { self.source.value() };
                let write = if self.source.once_in(3) { None } else { Some(value) };
                self.access(Place::Memory(0xfee0_0000 + u64::from(register)), 4, write);
            }
        }
    }

    pub(super) fn io_apic(&mut self) {
        let index = if self.source.once_in(8) { self.source.byte() } else { self.source.byte() & 0x3f };
        self.access(Place::Memory(0xfec0_0000), 4, Some(index.into()));
        let value = if self.source.once_in(2) { u64::from(self.source.word()) } else { self.source.value() };
        let write = if self.source.once_in(3) { None } else { Some(value) };
        self.access(Place::Memory(0xfec0_0010), 4, write);
        if self.source.once_in(8) {
            let vector = self.source.byte();
            self.access(Place::Memory(0xfec0_0040), 4, Some(vector.into()));
        }
    }

    /// PIIX4 or ICH9: PM1, GPE, SMI, and what else is at PMBASE.
    pub(super) fn power_management(&mut self, slot: usize) {
        let base = match self.source.byte() & 1 {
            0 => 0xb000,
            _ => 0x600,
        };
        match self.source.byte() & 15 {
            0 => {
                // SLP_EN with a type.
                let (kind, enabled) = (u64::from(self.source.byte() & 7), u64::from(self.source.byte() & 1));
                self.output(base + 4, 2, 0x2000 | kind << 10 | enabled);
            }
            1 => self.output(base, 2, 0xffff),
            2 => {
                let value = u64::from(self.source.word());
                self.output(base + 2, 2, value);
            }
            3 => {
                let (port, value) =
                    (self.source.pick(&[0xb2_u16, 0xb3]), self.source.command(&[0, 0xf0, 0xf1, 1]));
                self.output(port.unwrap_or(0xb2), 1, value.into());
            }
            4 => {
                self.input(base + 8, 4);
            }
            5..=7 => {
                // TCO, at PMBASE + 60h.
                let (register, value) = (u16::from(self.source.byte() & 0x1f), self.source.value());
                self.output(0x660 + register, 2, value);
                if self.source.once_in(2) {
                    self.advance(1 << 32);
                }
            }
            8 => self.smbus(slot),
            9 => {
                let (port, value) = (0xaf00 + u16::from(self.source.byte() & 0x1f), self.source.value());
                self.output(port, 1, value);
            }
            10 => {
                let (port, value) = (0xae00 + u16::from(self.source.byte() & 0x1f), self.source.value());
                let size = self.source.size();
                self.output(port, size, value);
            }
            _ => self.register(slot),
        }
    }

    /// A transaction of the SMBus host.
    pub(super) fn smbus(&mut self, slot: usize) {
        if self.machine.board.slots.get(slot).is_some_and(|slot| slot.device.chip().regions().is_empty()) {
            self.enable(slot);
        }
        let base = 0xb100;
        let address = self.source.command(&[0xa0, 0xa1, 0xa2, 0xaf, 0x10]);
        let steps = [
            (0, 0xff),
            (4, address),
            (3, self.source.byte()),
            (5, self.source.byte()),
            (13, self.source.byte() & 3),
        ];
        for (register, value) in steps {
            self.output(base + register, 1, value.into());
        }
        let kind = 0x40 | self.source.byte() & 0x3f;
        self.output(base + 2, 1, kind.into());
        for _ in 0..self.source.byte() & 7 {
            let register = self.source.pick(&[0, 2, 5, 6, 7, 7]).unwrap_or(7);
            let write = if self.source.once_in(4) { Some(self.source.value()) } else { None };
            self.access(Place::Port(base + register), 1, write);
        }
    }

    /// PAM, SMRAM and what else decides the map.
    pub(super) fn host_bridge(&mut self, slot: usize) {
        let devfn = self.machine.board.slots.get(slot).and_then(|slot| slot.devfn).unwrap_or(0);
        let registers: &[u8] = match self.machine.board.mch() {
            Some(_) => &[0x90, 0x91, 0x92, 0x95, 0x96, 0x9d, 0x9e, 0x60, 0x64],
            None => &[0x59, 0x5a, 0x5b, 0x5e, 0x5f, 0x72, 0x71, 0x70, 0x7f],
        };
        let register = self.source.command(registers);
        let value =
            u64::from(self.source.command(&[0, 0x33, 0x11, 0x22, 0x30, 0x02, 0x0a, 0x4a, 0x1a, 0x81]));
        self.config(devfn, register, 1, Some(value));
        let address = 0xa_0000 + (u64::from(self.source.byte()) << 11);
        let write = if self.source.once_in(2) { None } else { Some(self.source.value()) };
        let size = self.source.size();
        self.access(Place::Memory(address), size, write);
    }

    pub(super) fn uart(&mut self) {
        match self.source.byte() & 7 {
            0 => {
                let byte = self.source.byte();
                // There is a serial port, since it is its turn.
                let _ = self.machine.send_serial(byte);
            }
            1 => self.advance(1 << 24),
            2 => {
                let (control, divisor, high) =
                    (self.source.byte() | 0x80, self.source.byte(), self.source.byte() & 1);
                self.output(0x3fb, 1, control.into());
                self.output(0x3f8, 1, divisor.into());
                self.output(0x3f9, 1, high.into());
                self.output(0x3fb, 1, 3);
            }
            3 => {
                for _ in 0..8 {
                    self.input(0x3f8 + 5, 1);
                    self.input(0x3f8, 1);
                }
            }
            register => {
                let (value, half) = (self.source.byte(), self.source.byte() & 4);
                self.output(0x3f8 + u16::from(register & 3 | half), 1, value.into());
            }
        }
    }

    pub(super) fn parallel(&mut self) {
        let (data, control) =
            (self.source.byte(), self.source.command(&[0x0c, 0x1c, 0x0d, 0x1d, 0x08, 0x2c]));
        self.output(0x378, 1, data.into());
        self.output(0x37a, 1, control.into());
        self.output(0x37a, 1, u64::from(control & !1));
        self.input(0x379, 1);
    }

    pub(super) fn shutdown_port(&mut self) {
        let length = if self.source.once_in(4) { 8 } else { self.source.byte() & 7 };
        for byte in b"Shutdown".iter().take(length.into()) {
            self.output(0x8900, 1, (*byte).into());
        }
    }
}
