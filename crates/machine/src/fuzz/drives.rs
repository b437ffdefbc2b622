//! Drives: registers and commands as a driver gives them, with lists of memory that are plausible or not.

use super::{Driver, Place};
use crate::devices::Device;

/// ATA commands the drives know, and some they do not.
const ATA: [u8; 60] = [
    0x00, 0x03, 0x08, 0x10, 0x20, 0x21, 0x24, 0x25, 0x27, 0x29, 0x2f, 0x30, 0x31, 0x34, 0x35, 0x37, 0x39,
    0x3d, 0x40, 0x41, 0x42, 0x60, 0x61, 0x63, 0x64, 0x65, 0x70, 0x90, 0x91, 0x94, 0x95, 0xa0, 0xa0, 0xa0,
    0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xc9, 0xca, 0xcb, 0xe0, 0xe1, 0xe3, 0xe5, 0xe6, 0xe7, 0xea, 0xec,
    0xec, 0xef, 0xf5, 0xf8, 0xf9, 0x06, 0xb1, 0xd1, 0xce,
];
/// ATAPI commands.
const ATAPI: [u8; 30] = [
    0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x28, 0x2b, 0x35, 0x42, 0x43, 0x44, 0x45, 0x46,
    0x4a, 0x4b, 0x4e, 0x51, 0x52, 0x55, 0x5a, 0xa8, 0xad, 0xb9, 0xbb, 0xbd, 0xbe,
];
/// SMART and SET FEATURES subcommands.
const FEATURES: [u8; 24] = [
    0x00, 0x01, 0x02, 0x03, 0x05, 0x42, 0x55, 0x66, 0x82, 0x85, 0x89, 0xaa, 0xc2, 0xcc, 0xd0, 0xd1, 0xd2,
    0xd3, 0xd4, 0xd5, 0xd6, 0xd8, 0xd9, 0xda,
];
/// Floppy commands with how many bytes follow.
const FLOPPY: [(u8, usize); 29] = [
    (0xe6, 8),
    (0xc6, 8),
    (0x46, 8),
    (0xc5, 8),
    (0x45, 8),
    (0x42, 8),
    (0x4a, 1),
    (0x4d, 5),
    (0x07, 1),
    (0x08, 0),
    (0x03, 2),
    (0x04, 1),
    (0x0f, 2),
    (0x8f, 2),
    (0xcf, 2),
    (0x0e, 0),
    (0x10, 0),
    (0x12, 1),
    (0x13, 3),
    (0x14, 0),
    (0x94, 0),
    (0x16, 8),
    (0x2e, 0),
    (0x4e, 16),
    (0x11, 8),
    (0x19, 8),
    (0x1d, 8),
    (0x18, 0),
    (0x8e, 5),
];

impl Driver<'_> {
    /// A sector number: mostly on the disk, or around its end.
    fn sector(&mut self) -> u64 {
        match self.source.byte() & 7 {
            0 => self.source.quad() & 0xffff_ffff_ffff,
            1 => 0x3f0 + u64::from(self.source.byte() & 0x1f),
            2 => 0x0fff_ff00 | u64::from(self.source.byte()),
            _ => u64::from(self.source.word() & 0x3ff),
        }
    }

    /// A packet with a command in it.
    fn packet(&mut self) -> [u8; 12] {
        let command = self.source.command(&ATAPI);
        let [_, _, _, _, a, b, c, d] = self.sector().to_be_bytes();
        let mut packet = [command, 0, a, b, c, d, 0, 0, 0, 0, 0, 0];
        for byte in packet.iter_mut().skip(6) {
            *byte = match self.source.byte() {
                0..=127 => 0,
                128..=191 => 1,
                _ => self.source.byte(),
            };
        }
        if self.source.once_in(2) {
            let at = 1 + self.source.below(11);
            packet[at] = self.source.byte();
        }
        packet
    }

    /// Descriptors of `stride` bytes: address, and a length at `length_at`; mostly few and short.
    fn scatter(&mut self, address: u64, count: u64, stride: u64, length_at: u64) {
        for entry in 0..count {
            let at = address.wrapping_add(stride * entry);
            let target = self.source.pointer();
            let length = match self.source.byte() & 7 {
                0 => self.source.quad() as u32,
                1 => u32::from(self.source.word()),
                2 => 0,
                3 => 0x3f_ffff,
                _ => 511,
            };
            // One that is not last, or is.
            let length = if self.source.once_in(2) { length } else { length | 0x8000_0000 };
            self.store(at, &target.to_le_bytes()[..length_at.min(8) as usize]);
            self.store(at.wrapping_add(length_at), &length.to_le_bytes());
        }
    }

    /// An AHCI port: its lists are set, and a command is put there and issued.
    pub(super) fn ahci(&mut self, slot: usize) {
        let Some(region) = self.region(slot, 0) else { return self.enable(slot) };
        let port = 0x100 + 0x80 * u64::from(self.source.pick(&[0_u8, 0, 1, 1, 4, 5, 2]).unwrap_or(0));
        let put = |driver: &mut Self, register, value| {
            driver.at(&region, register, 4, Some(value));
        };
        let (list, receive) = (0x1_0000 + (port & 0x700) * 0x10, 0x1_0400 + (port & 0x700) * 0x10);
        if self.source.once_in(4) {
            let moved = if self.source.once_in(8) { self.source.pointer() } else { 0 };
            for (register, value) in [(0x00, list ^ moved), (0x04, moved >> 32), (0x08, receive), (0x0c, 0)] {
                put(self, port + register, value);
            }
            let command = self.source.pick(&[0x17, 0x17, 0x11, 0x06, 0x10, 0x0100_0017]).unwrap_or(0x17);
            put(self, port + 0x18, command);
            let enable = if self.source.once_in(8) { self.source.value() } else { 0xffff_ffff };
            put(self, port + 0x14, enable);
            put(self, 0x04, 0x8000_0002);
            return;
        }
        let number = self.source.byte() & 31;
        let table = 0x2_0000 + 0x400 * u64::from(number);
        let count = match self.source.byte() {
            0 => self.source.word(),
            1..=15 => 0,
            byte => u16::from(byte & 7),
        };
        let atapi = self.source.once_in(3);
        let flags = 5 | if atapi { 0x20 } else { 0 } | self.source.word() & 0x40;
        let mut header = Vec::new();
        header.extend(flags.to_le_bytes());
        header.extend(count.to_le_bytes());
        header.extend([0; 4]);
        header.extend(table.to_le_bytes());
        self.store(list + 32 * u64::from(number), &header);
        let command = if atapi { 0xa0 } else { self.source.command(&ATA) };
        let feature =
            if command & 0xfe == 0x60 { self.source.byte() & 15 } else { self.source.command(&FEATURES) };
        let [a, b, c, d, e, f, ..] = self.sector().to_le_bytes();
        let sectors =
            if self.source.once_in(4) { self.source.word() } else { u16::from(self.source.byte() & 15) };
        let [low, high] = sectors.to_le_bytes();
        let control = if self.source.once_in(16) { self.source.byte() & 4 } else { 0 };
        let kind = if self.source.once_in(32) { self.source.byte() } else { 0x27 };
        let is_command = if control == 0 && !self.source.once_in(16) { 0x80 } else { 0 };
        let frame = [
            kind, is_command, command, feature, a, b, c, 0xe0, d, e, f, 0, low, high, 0, control, 0, 0, 0, 0,
        ];
        self.store(table, &frame);
        let packet = self.packet();
        self.store(table + 0x40, &packet);
        self.scatter(table + 0x80, u64::from(count.min(8)), 16, 12);
        let bit = 1 << number;
        if command & 0xfe == 0x60 {
            put(self, port + 0x34, bit);
        }
        put(self, port + 0x38, bit);
        if self.source.once_in(2) {
            self.at(&region, port + 0x10, 4, None);
            put(self, port + 0x10, 0xffff_ffff);
        }
    }

    /// An IDE channel: registers, a command, what it wants or gives, and the bus master.
    pub(super) fn ide(&mut self, slot: usize) {
        let secondary = self.source.once_in(2);
        let (base, control) = if secondary { (0x170, 0x376) } else { (0x1f0, 0x3f6) };
        let master = self.region(slot, if secondary { 5 } else { 4 });
        match self.source.byte() & 15 {
            0 => {
                let value = self.source.command(&[0, 2, 4, 6, 0x80]);
                self.output(control, 1, value.into());
            }
            1..=3 => self.transfer_data(base),
            4 | 5 => {
                if let Some(master) = &master {
                    let command = self.source.command(&[0, 1, 8, 9]);
                    self.at(master, 0, 1, Some(command.into()));
                    self.at(master, 2, 1, None);
                    let status = self.source.command(&[0, 4, 6, 0x64, 0xff]);
                    self.at(master, 2, 1, Some(status.into()));
                }
            }
            _ => {
                let unit = self.source.byte() & 0x5f | 0xa0;
                self.output(base + 6, 1, unit.into());
                let (sector, count) = (self.sector(), self.source.word());
                let count = if self.source.once_in(4) { count } else { count & 7 };
                let [a, b, c, d, e, f, ..] = sector.to_le_bytes();
                let command = self.source.command(&ATA);
                let feature = self.source.command(&FEATURES);
                let limit = if command == 0xa0 { [0, 8] } else { [b, c] };
                for (register, value) in [(2, count >> 8), (3, d.into()), (4, e.into()), (5, f.into())] {
                    self.output(base + register, 1, u64::from(value));
                }
                for (register, value) in
                    [(1, feature), (2, count as u8), (3, a), (4, limit[0]), (5, limit[1])]
                {
                    self.output(base + register, 1, value.into());
                }
                if command == 0xb0 {
                    self.output(base + 4, 1, 0x4f);
                    self.output(base + 5, 1, 0xc2);
                }
                if let Some(master) = &master
                    && self.source.once_in(2)
                {
                    let table = if self.source.once_in(16) { self.source.pointer() } else { 0x2_8000 };
                    let entries = 1 + u64::from(self.source.byte() & 3);
                    self.scatter(0x2_8000, entries, 8, 4);
                    if let Some(address) = self.region(slot, if secondary { 7 } else { 6 }) {
                        self.at(&address, 0, 4, Some(table));
                    }
                    let direction = self.source.byte() & 8;
                    self.at(master, 0, 1, Some(u64::from(direction | 1)));
                }
                self.output(base + 7, 1, command.into());
                if command == 0xa0 {
                    if self.source.once_in(2) {
                        self.advance(1 << 27);
                    }
                    for pair in self.packet().chunks_exact(2) {
                        let word = u64::from(pair[0]) | u64::from(pair[1]) << 8;
                        self.output(base, 2, word);
                    }
                }
                if self.source.once_in(2) {
                    self.advance(1 << 27);
                }
                self.transfer_data(base);
            }
        }
    }

    /// The data register, again and again, and the status.
    fn transfer_data(&mut self, base: u16) {
        let times = if self.source.once_in(8) { 256 } else { usize::from(self.source.byte() & 15) };
        let size = self.source.pick(&[2, 4, 1]).unwrap_or(2);
        let write = if self.source.once_in(3) { Some(self.source.value()) } else { None };
        for _ in 0..times {
            self.access(Place::Port(base), size, write);
        }
        self.input(base + 7, 1);
    }

    /// The floppy controller: a command with its parameters, the DMA channel it uses, and results.
    pub(super) fn floppy(&mut self) {
        match self.source.byte() & 7 {
            0 => {
                let value = self.source.command(&[0x0c, 0x1c, 0x2d, 0x00, 0x08, 0x1e, 0x14]);
                self.output(0x3f2, 1, value.into());
                let (register, value) = (self.source.pick(&[0x3f4_u16, 0x3f7, 0x3f3]), self.source.byte());
                self.output(register.unwrap_or(0x3f7), 1, u64::from(value & 0x83));
            }
            1 | 2 => self.dma_channel(),
            3 => {
                for _ in 0..self.source.byte() & 15 {
                    self.input(0x3f5, 1);
                    self.input(0x3f4, 1);
                }
            }
            _ => {
                let Some((command, parameters)) = self.source.pick(&FLOPPY) else { return };
                let command = if self.source.once_in(16) { command ^ self.source.byte() } else { command };
                self.output(0x3f5, 1, command.into());
                for parameter in 0..parameters {
                    let value = match self.source.byte() {
                        0..=15 => self.source.byte(),
                        // Size code and end of track.
                        _ if parameter == 4 => 2,
                        _ if parameter == 5 => 18,
                        byte => byte & 3,
                    };
                    self.output(0x3f5, 1, value.into());
                }
                if self.source.once_in(2) {
                    self.advance(1 << 27);
                }
                for _ in 0..self.source.byte() & 7 {
                    self.input(0x3f5, 1);
                }
            }
        }
    }

    /// A channel of the 8237 is programmed.
    fn dma_channel(&mut self) {
        let channel = if self.source.once_in(8) { self.source.byte() & 3 } else { 2 };
        let mode = self.source.command(&[0x44, 0x48, 0x40, 0x54, 0x58, 0x64, 0x68, 0x74, 0x84, 0xc0]);
        let (address, count) = (self.source.pointer() as u32, self.source.word());
        let count = if self.source.once_in(2) { count } else { 511 };
        let page = [0x87, 0x83, 0x81, 0x82].get(usize::from(channel)).copied().unwrap_or(0x81);
        self.output(0x0a, 1, u64::from(channel | 4));
        self.output(0x0c, 1, 0);
        self.output(0x0b, 1, u64::from(mode & 0xfc | channel));
        for byte in [address, address >> 8] {
            self.output(u16::from(channel) * 2, 1, u64::from(byte & 0xff));
        }
        self.output(page, 1, u64::from(address >> 16 & 0xff));
        for byte in [count, count >> 8] {
            self.output(u16::from(channel) * 2 + 1, 1, u64::from(byte & 0xff));
        }
        if !self.source.once_in(8) {
            self.output(0x0a, 1, channel.into());
        }
    }

    /// A virtio device: its driver sets it up, or makes a request.
    pub(super) fn virtio(&mut self, slot: usize) {
        let legacy = self.region(slot, 0);
        let modern = self.region(slot, 2);
        if legacy.is_none() && modern.is_none() {
            return self.enable(slot);
        }
        let ring = 0x3_0000 + 0x4000 * (slot as u64 & 3);
        match self.source.byte() & 15 {
            0 => self.begin_virtio(slot, ring),
            1 => {
                // An entry of the MSI-X table, and the capability's enable.
                let (address, data) = (0xfee0_0000 | self.source.value() & 0xf_ffff, self.source.value());
                if let Some(table) = self.region(slot, 1) {
                    let entry = 16 * u64::from(self.source.byte() & 1);
                    let masked = u64::from(self.source.once_in(4));
                    for (at, value) in [(0, address), (4, 0), (8, data), (12, masked)] {
                        self.at(&table, entry + at, 4, Some(value));
                    }
                }
                let devfn = self.machine.board.slots.get(slot).and_then(|slot| slot.devfn).unwrap_or(0);
                let at = self.source.pick(&[0x98_u8, 0x40]).unwrap_or(0x98) + 2;
                let control = self.source.pick(&[0x8000_u64, 0xc000, 0]).unwrap_or(0);
                self.config(devfn, at, 2, Some(control));
            }
            2 => self.register(slot),
            _ => self.request(slot),
        }
    }

    fn begin_virtio(&mut self, slot: usize, ring: u64) {
        let features = if self.source.once_in(2) { u64::MAX >> 34 << 1 } else { self.source.quad() };
        let size: u64 = self.source.pick(&[8, 4, 1, 128, 0, 0x100]).unwrap_or(8);
        self.store(ring, &[0; 0x2000]);
        let (vector, queue) = (u64::from(self.source.byte() & 3), u64::from(self.source.byte() & 3) >> 1);
        if let Some(ports) = self.region(slot, 0)
            && (self.source.once_in(2) || self.region(slot, 2).is_none())
        {
            let steps = [
                (0x12, 1, 0),
                (0x12, 1, 3),
                (0x04, 4, features & !(1 << 30)),
                (0x14, 2, vector),
                (0x0e, 2, queue),
                (0x08, 4, ring >> 12),
                (0x16, 2, vector),
                (0x12, 1, 7),
            ];
            for (offset, size, value) in steps {
                self.at(&ports, offset, size, Some(value));
            }
        } else if let Some(common) = self.region(slot, 2) {
            let high = features >> 32 | 1;
            let used = (ring + 16 * size + 6 + 2 * size).next_multiple_of(0x1000);
            let steps = [
                (0x14, 1, 0),
                (0x14, 1, 3),
                (0x08, 4, 0),
                (0x0c, 4, features),
                (0x08, 4, 1),
                (0x0c, 4, high),
                (0x14, 1, 0xb),
                (0x10, 2, vector),
                (0x16, 2, queue),
                (0x18, 2, size),
                (0x1a, 2, vector),
                (0x20, 4, ring),
                (0x24, 4, 0),
                (0x28, 4, ring + 16 * size),
                (0x2c, 4, 0),
                (0x30, 4, used),
                (0x34, 4, 0),
                (0x1c, 2, 1),
                (0x14, 1, 0xf),
            ];
            for (offset, bytes, value) in steps {
                self.at(&common, offset, bytes, Some(value));
            }
        }
    }

    /// A chain of descriptors: header, data, outcome; then the available ring and the notification.
    fn request(&mut self, slot: usize) {
        let queues = match self.machine.board.slots.get(slot).map(|slot| &*slot.device) {
            Some(Device::VirtioBlk(device)) => device.queues(),
            Some(Device::VirtioRng(device)) => device.queues(),
            _ => return,
        };
        let number = self.source.below(queues.len());
        let Some(queue) = queues.get(number) else { return };
        let (size, index) = (u64::from(queue.queue_size), queue.next_available);
        let (table, available) = (queue.queue_desc, queue.queue_driver);
        let kind = self.source.command(&[0, 0, 1, 1, 4, 8, 11, 13, 2]);
        let sector = self.sector();
        let mut header = u64::from(kind).to_le_bytes().to_vec();
        header.extend(sector.to_le_bytes());
        if kind == 11 || kind == 13 {
            header.extend(self.sector().to_le_bytes());
            // Few, since what a guest wrote is hashed whole again and again here.
            header.extend(u32::from(self.source.word() & 0x1ff).to_le_bytes());
            header.extend(u32::from(self.source.once_in(4)).to_le_bytes());
        }
        let place = 0x2_c000;
        self.store(place, &header);
        let head = u64::from(self.source.byte()) % size.max(1);
        let data =
            if self.source.once_in(16) { self.source.quad() as u32 } else { 512 << (self.source.byte() & 7) };
        let target = self.source.pointer();
        let into = if matches!(kind, 0 | 8) { 2 } else { 0 };
        let chain = [(place, header.len() as u32, 1_u16), (target, data, 1 | into), (place + 0x800, 1, 2)];
        let indirect = self.source.once_in(4);
        let (base, first) = if indirect { (place + 0x100, 0) } else { (table, head) };
        for (position, (address, length, flags)) in chain.into_iter().enumerate() {
            let number = (first + position as u64) % size.max(1);
            let next = (number + 1) % size.max(1);
            let (flags, next) = match self.source.byte() {
                0 => (flags ^ self.source.word(), next),
                1 => (flags, u64::from(self.source.byte())),
                _ => (flags, next),
            };
            self.describe(base.wrapping_add(16 * number), address, length, flags, next);
        }
        if indirect {
            self.describe(table.wrapping_add(16 * head), base, 48, 4, 0);
        }
        let entry = u64::from(index) % size.max(1);
        self.store(available.wrapping_add(4 + 2 * entry), &(head as u16).to_le_bytes());
        let ahead = if self.source.once_in(16) { self.source.word() } else { 1 };
        self.store(available.wrapping_add(2), &index.wrapping_add(ahead).to_le_bytes());
        if let Some(notify) = self.region(slot, 5) {
            let apart = if notify.length > 0x1000 { 0x1000 } else { 4 };
            self.at(&notify, apart * number as u64, 2, Some(number as u64));
        } else if let Some(ports) = self.region(slot, 0) {
            self.at(&ports, 0x10, 2, Some(number as u64));
        }
        if self.source.once_in(2) {
            self.advance(1 << 27);
        }
    }

    /// Writes a descriptor of a virtqueue.
    fn describe(&mut self, at: u64, address: u64, length: u32, flags: u16, next: u64) {
        let mut bytes = address.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend((next as u16).to_le_bytes());
        self.store(at, &bytes);
    }
}
