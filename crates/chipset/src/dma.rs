//! Two 8237A DMA controllers with their page registers.
//!
//! Data sheet: Intel 231466-005 (8237A); 290550-002 (PIIX3), section 2.5.1. The chip never touches
//! memory: the machine asks what a channel is programmed for, moves bytes between the device and
//! memory, and tells how many with [`Dma::advance`].

use crate::{Chip, Effects, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Number of channels; 4 is the cascade. Input pin n is DREQ n; output pin n is high while channel
/// n is requested, not masked and its controller on, that is, while it may move bytes.
pub const CHANNELS: u8 = 8;

/// Ports of the page registers, by channel.
const PAGE_PORT: [u64; 8] = [0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a];
/// Command register bits an emulated controller has no use for; QEMU ignores a command with any.
const COMMAND_UNSUPPORTED: u8 = 0xfb;
const COMMAND_DISABLE: u8 = 1 << 2;
const MODE_AUTO_INITIALIZE: u8 = 1 << 4;
const MODE_DECREMENT: u8 = 1 << 5;

/// What a channel does to memory (mode register bits 3-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Counts, but moves nothing.
    Verify,
    /// From the device into memory.
    ToMemory,
    /// From memory to the device.
    FromMemory,
}

/// How a channel is programmed at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Programmed {
    /// Physical address of the next byte.
    pub address: u32,
    /// Bytes until terminal count.
    pub bytes_left: u32,
    /// Which way bytes go.
    pub direction: Direction,
    /// Addresses count down.
    pub decrement: bool,
    /// Bytes from `address` on until the address wraps within its page.
    pub contiguous: u32,
}

/// One channel.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Channel {
    /// Base address, reloaded by auto-initialize.
    pub base_address: u16,
    /// Base count.
    pub base_count: u16,
    /// Current address.
    pub address: u16,
    /// Current count: transfers left, less one.
    pub count: u16,
    /// Mode register.
    pub mode: u8,
    /// Page register.
    pub page: u8,
}

/// One 8237A.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Controller {
    /// The four channels.
    pub channels: [Channel; 4],
    /// Command register.
    pub command: u8,
    /// Status: terminal counts in bits 0-3; requests (bits 4-7) are kept in the next two fields.
    pub terminal_count: u8,
    /// DREQ lines.
    pub requests: u8,
    /// Request register: requests made by software.
    pub software_requests: u8,
    /// Mask register, as it reads: all eight bits set by a master clear.
    pub mask: u8,
    /// The first/last flip-flop: the next byte is the high one.
    pub high_next: bool,
}

impl Controller {
    fn new() -> Controller {
        Controller {
            channels: Default::default(),
            command: 0,
            terminal_count: 0,
            requests: 0,
            software_requests: 0,
            mask: 0xff,
            high_next: false,
        }
    }

    fn master_clear(&mut self) {
        self.command = 0;
        self.terminal_count = 0;
        self.software_requests = 0;
        self.mask = 0xff;
        self.high_next = false;
    }

    /// Channels that may move bytes.
    fn active(&self) -> u8 {
        match self.command & COMMAND_DISABLE {
            0 => (self.requests | self.software_requests) & !self.mask & 0xf,
            _ => 0,
        }
    }

    /// Turns the first/last flip-flop and tells what it was.
    fn flip(&mut self) -> bool {
        self.high_next = !self.high_next;
        !self.high_next
    }

    fn read_channel(&mut self, register: usize) -> u8 {
        let channel = &self.channels[register >> 1 & 3];
        let value = if register & 1 == 0 { channel.address } else { channel.count };
        let high = self.flip();
        value.to_le_bytes()[usize::from(high)]
    }

    fn write_channel(&mut self, register: usize, value: u8) {
        let high = self.flip();
        let channel = &mut self.channels[register >> 1 & 3];
        let (base, current) = match register & 1 {
            0 => (&mut channel.base_address, &mut channel.address),
            _ => (&mut channel.base_count, &mut channel.count),
        };
        let mut bytes = base.to_le_bytes();
        bytes[usize::from(high)] = value;
        *base = u16::from_le_bytes(bytes);
        *current = *base;
    }

    fn read_control(&mut self, register: usize) -> u8 {
        match register {
            0 => {
                let requests = (self.requests | self.software_requests) & 0xf;
                requests << 4 | std::mem::take(&mut self.terminal_count)
            }
            1 => self.mask,
            _ => 0,
        }
    }

    fn write_control(&mut self, register: usize, value: u8, fx: &mut Effects) {
        let bit = 1 << (value & 3);
        let choose = |old: u8| {
            if value & 4 != 0 { old | bit } else { old & !bit }
        };
        match register {
            0 if value & COMMAND_UNSUPPORTED != 0 => {
                fx.note("8237A command not supported", 8, u64::from(value));
            }
            0 => self.command = value,
            1 => {
                self.software_requests = choose(self.software_requests);
                self.terminal_count &= !bit;
            }
            2 => self.mask = choose(self.mask),
            3 => self.channels[usize::from(value & 3)].mode = value,
            4 => self.high_next = false,
            5 => self.master_clear(),
            6 => self.mask = 0,
            _ => self.mask = value,
        }
    }
}

/// All that is saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Channels 0-3 (bytes) and 4-7 (words).
    pub controllers: [Controller; 2],
}

/// The pair of controllers.
#[derive(Clone, Debug)]
pub struct Dma {
    state: State,
}

impl Default for Dma {
    fn default() -> Dma {
        Dma::new()
    }
}

impl Dma {
    /// A pair as power-on leaves it.
    #[must_use]
    pub fn new() -> Dma {
        Dma { state: State { controllers: [Controller::new(), Controller::new()] } }
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

    /// What channel 0-7 would move next; `None` while it is masked, its controller is off, or it is
    /// a cascade.
    #[must_use]
    pub fn transfer(&self, channel: u8) -> Option<Programmed> {
        let controller = self.state.controllers.get(usize::from(channel / 4))?;
        let programmed = &controller.channels[usize::from(channel & 3)];
        let masked = controller.mask >> (channel & 3) & 1 != 0;
        let off = controller.command & COMMAND_DISABLE != 0;
        let direction = match programmed.mode >> 2 & 3 {
            1 => Direction::ToMemory,
            2 => Direction::FromMemory,
            _ => Direction::Verify,
        };
        if masked || off || programmed.mode >> 6 == 3 {
            return None;
        }
        let words = channel >= 4;
        let (page, shift) = if words { (programmed.page & 0xfe, 1) } else { (programmed.page, 0) };
        let decrement = programmed.mode & MODE_DECREMENT != 0;
        let until_wrap = match decrement {
            true => u32::from(programmed.address) + 1,
            false => 0x10000 - u32::from(programmed.address),
        };
        Some(Programmed {
            address: u32::from(page) << 16 | u32::from(programmed.address) << shift,
            bytes_left: (u32::from(programmed.count) + 1) << shift,
            direction,
            decrement,
            contiguous: until_wrap << shift,
        })
    }

    /// Counts `bytes` moved by `channel`. Returns whether terminal count was reached: then the
    /// channel starts again (auto-initialize) or is masked, and no more than what was left counts.
    pub fn advance(&mut self, channel: u8, bytes: u32, fx: &mut Effects) -> bool {
        let before = self.active();
        let Some(controller) = self.state.controllers.get_mut(usize::from(channel / 4)) else {
            return false;
        };
        let bit = 1 << (channel & 3);
        let programmed = &mut controller.channels[usize::from(channel & 3)];
        let units = bytes >> u32::from(channel >= 4);
        let left = u32::from(programmed.count) + 1;
        let moved = units.min(left);
        programmed.address = match programmed.mode & MODE_DECREMENT {
            0 => programmed.address.wrapping_add(moved as u16),
            _ => programmed.address.wrapping_sub(moved as u16),
        };
        programmed.count = programmed.count.wrapping_sub(moved as u16);
        let terminal = units >= left;
        if terminal {
            controller.terminal_count |= bit;
            controller.software_requests &= !bit;
            if programmed.mode & MODE_AUTO_INITIALIZE != 0 {
                programmed.address = programmed.base_address;
                programmed.count = programmed.base_count;
            } else {
                controller.mask |= bit;
            }
        }
        self.update(before, fx);
        terminal
    }

    /// Channels that may move bytes, one bit each.
    fn active(&self) -> u8 {
        let [bytes, words] = &self.state.controllers;
        bytes.active() | words.active() << 4
    }

    fn update(&self, before: u8, fx: &mut Effects) {
        let after = self.active();
        for channel in (0..CHANNELS).filter(|channel| (before ^ after) >> channel & 1 != 0) {
            fx.line(channel, after >> channel & 1 != 0);
        }
    }

    fn page_of(&mut self, port: u64) -> Option<&mut u8> {
        let channel = PAGE_PORT.iter().position(|&page| page == port)?;
        Some(&mut self.state.controllers[channel / 4].channels[channel % 4].page)
    }
}

/// First page port and number of ports of regions 4 to 7.
const PAGE_REGIONS: [(u64, u64); 4] = [(0x81, 3), (0x87, 1), (0x89, 3), (0x8f, 1)];

impl Chip for Dma {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, name, base, length| Region { index, name, space: Space::Io, base, length, widest: 1 };
        let mut regions = vec![
            region(0, "dma-chan", 0x00, 8),
            region(1, "dma-cont", 0x08, 8),
            region(2, "dma-chan", 0xc0, 16),
            region(3, "dma-cont", 0xd0, 16),
        ];
        for (index, (base, length)) in (4..).zip(PAGE_REGIONS) {
            regions.push(region(index, "dma-page", base, length));
        }
        regions
    }

    fn register_name(&self, index: u8, offset: u64, write: bool) -> Option<String> {
        const CONTROL: [[&str; 2]; 8] = [
            ["STATUS", "COMMAND"],
            ["REQUEST", "REQUEST"],
            ["MASK", "MASK"],
            ["MODE", "MODE"],
            ["CLEAR_BYTE_POINTER", "CLEAR_BYTE_POINTER"],
            ["TEMPORARY", "MASTER_CLEAR"],
            ["CLEAR_MASK", "CLEAR_MASK"],
            ["ALL_MASKS", "ALL_MASKS"],
        ];
        // The second controller's ports are two apart.
        let (controller, register) = match index {
            0 | 1 => (1, offset),
            2 | 3 => (2, offset / 2),
            _ => {
                let (base, _) = PAGE_REGIONS.get(usize::from(index).wrapping_sub(4))?;
                let channel = PAGE_PORT.iter().position(|port| *port == base + offset)?;
                return Some(format!("PAGE{channel}"));
            }
        };
        if index == 0 || index == 2 {
            let kind = if register & 1 == 0 { "ADDRESS" } else { "COUNT" };
            let channel = register / 2 + if controller == 1 { 0 } else { 4 };
            return Some(format!("{kind}{channel}"));
        }
        let names = CONTROL.get(usize::try_from(register).ok()?)?;
        names.get(usize::from(write)).map(|name| format!("DMA{controller}.{name}"))
    }

    fn read(&mut self, index: u8, offset: u64, _size: u8, _fx: &mut Effects) -> u64 {
        let [bytes, words] = &mut self.state.controllers;
        let register = offset as usize & 0xf;
        u64::from(match index {
            0 => bytes.read_channel(register),
            1 => bytes.read_control(register),
            2 => words.read_channel(register >> 1),
            3 => words.read_control(register >> 1),
            _ => {
                let base = PAGE_REGIONS.get(usize::from(index) - 4).map_or(0, |region| region.0);
                self.page_of(base.wrapping_add(offset)).map_or(0xff, |page| *page)
            }
        })
    }

    fn write(&mut self, index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let before = self.active();
        let [bytes, words] = &mut self.state.controllers;
        let (register, value) = (offset as usize & 0xf, value as u8);
        match index {
            0 => bytes.write_channel(register, value),
            1 => bytes.write_control(register, value, fx),
            2 => words.write_channel(register >> 1, value),
            3 => words.write_control(register >> 1, value, fx),
            _ => {
                let base = PAGE_REGIONS.get(usize::from(index) - 4).map_or(0, |region| region.0);
                if let Some(page) = self.page_of(base.wrapping_add(offset)) {
                    *page = value;
                }
            }
        }
        self.update(before, fx);
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let before = self.active();
        for controller in &mut self.state.controllers {
            // A reset is a master clear; addresses, modes and pages keep what they have.
            match kind {
                ResetKind::PowerOn => *controller = Controller::new(),
                ResetKind::System => controller.master_clear(),
            }
        }
        self.update(before, fx);
    }

    fn input(&mut self, pin: u8, level: bool, fx: &mut Effects) {
        let before = self.active();
        if let Some(controller) = self.state.controllers.get_mut(usize::from(pin / 4)) {
            let bit = 1 << (pin & 3);
            controller.requests = (controller.requests & !bit) | if level { bit } else { 0 };
        }
        self.update(before, fx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Moment;
    use rstest::rstest;

    /// Programs `channel` as the floppy driver does: address, count, page, mode, unmask.
    fn program(channel: u8, mode: u8, address: u16, count: u16, page: u8) -> (Dma, Effects) {
        let mut dma = Dma::new();
        let mut fx = Effects::at(Moment(0));
        let (controller, step) = if channel < 4 { (0, 1) } else { (2, 2) };
        let unit = u64::from(channel & 3);
        let page_region = PAGE_REGIONS
            .iter()
            .position(|&(base, length)| (base..base + length).contains(&PAGE_PORT[usize::from(channel)]))
            .expect("every page port has a region");
        dma.write(controller + 1, 4 * step, 1, 0, &mut fx);
        for (register, value) in [(0, address), (1, count)] {
            for byte in value.to_le_bytes() {
                let offset = (2 * unit + register) * step;
                dma.write(controller, offset, 1, u64::from(byte), &mut fx);
            }
        }
        dma.write(controller + 1, 3 * step, 1, u64::from(mode) | unit, &mut fx);
        let offset = PAGE_PORT[usize::from(channel)] - PAGE_REGIONS[page_region].0;
        dma.write(4 + page_region as u8, offset, 1, u64::from(page), &mut fx);
        assert_eq!(dma.transfer(channel), None, "masked");
        dma.write(controller + 1, 2 * step, 1, unit, &mut fx);
        (dma, fx)
    }

    /// Moves `bytes` and looks at what is programmed then.
    fn check(channel: u8, mode: u8, bytes: u32, terminal: bool, after: Option<(u32, u32)>) {
        let (mut dma, mut fx) = program(channel, mode, 0x1000, 511, 3);
        let words = u32::from(channel >= 4);
        let before = dma.transfer(channel).expect("unmasked");
        let base = if words == 1 { 0x2_2000 } else { 0x3_1000 };
        assert_eq!((before.address, before.bytes_left), (base, 512 << words));
        assert_eq!(dma.advance(channel, bytes, &mut fx), terminal);
        let now = dma.transfer(channel).map(|now| (now.address, now.bytes_left));
        assert_eq!(now, after);
        let status = dma.read(if channel < 4 { 1 } else { 3 }, 0, 1, &mut fx);
        assert_eq!(status >> (channel & 3) & 1 == 1, terminal);
    }

    #[rstest]
    #[case::part(2, 0x44, 100, false, Some((0x3_1064, 412)))]
    #[case::all(2, 0x44, 512, true, None)]
    #[case::more_than_all(2, 0x44, 5000, true, None)]
    #[case::auto_initialize(2, 0x54, 512, true, Some((0x3_1000, 512)))]
    #[case::down(2, 0x64, 16, false, Some((0x3_0ff0, 496)))]
    #[case::words(5, 0x48, 256, false, Some((0x2_2100, 768)))]
    fn moving(
        #[case] channel: u8,
        #[case] mode: u8,
        #[case] bytes: u32,
        #[case] terminal: bool,
        #[case] after: Option<(u32, u32)>,
    ) {
        check(channel, mode, bytes, terminal, after);
    }

    #[test]
    fn request_and_mask_make_the_line() {
        let (mut dma, _) = program(2, 0x46, 0, 0, 0);
        let mut fx = Effects::at(Moment(0));
        dma.input(2, true, &mut fx);
        assert_eq!(dma.read(1, 0, 1, &mut fx), 0x40, "status shows the request");
        dma.advance(2, 1, &mut fx);
        assert_eq!(fx.lines, [(2, true), (2, false)], "terminal count masks the channel");
    }

    #[test]
    fn address_wraps_within_its_page() {
        let (mut dma, mut fx) = program(2, 0x46, 0xfff0, 0xff, 7);
        assert_eq!(dma.transfer(2).map(|now| now.contiguous), Some(0x10));
        dma.advance(2, 0x20, &mut fx);
        assert_eq!(dma.transfer(2).map(|now| now.address), Some(0x7_0010));
    }
}
