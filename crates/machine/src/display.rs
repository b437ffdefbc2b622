//! The display adapter's memory: a RAM block that the chip is lent for each access to its window, and
//! that the screen is read from.

use warmboot_chipset::{
    GuestMemory,
    vga::{Cells, Picture, Vga, region},
};
use warmboot_memory::{BlockId, Memory, PAGE_SIZE, RegionError, RegionId, Regions};

use crate::{Board, Machine, board::tell_of_write, devices::Device, history::Observer};
use warmboot_cpu::Frame;

/// Name of the block with what is shown.
pub(crate) const MEMORY_BLOCK: &str = "vga.vram";
/// And of the one with the expansion ROM.
pub(crate) const ROM_BLOCK: &str = "vga.rom";

/// First address of the chip's window.
const WINDOW: u64 = 0xa_0000;

/// A block lent for one access; addresses are offsets in it.
struct Lent<'a> {
    memory: &'a mut Memory,
    block: BlockId,
    /// The processor's address.
    address: u64,
    written: &'a mut Vec<(Frame, u16, u16)>,
    observer: Option<&'a mut Observer>,
}

impl GuestMemory for Lent<'_> {
    fn read(&mut self, address: u64, bytes: &mut [u8]) {
        if self.memory.read_block(self.block, address, bytes).is_err() {
            bytes.fill(0xff);
        }
    }

    /// The bytes are in one page.
    fn write(&mut self, address: u64, bytes: &[u8]) {
        tell_of_write(self.observer.as_deref_mut(), self.memory, (self.block, address), self.address, bytes);
        if self.memory.write_block(self.block, address, bytes).is_err() {
            return;
        }
        if let Some(frame) = self.memory.frame_of(self.block, address / PAGE_SIZE as u64) {
            let within = (address % PAGE_SIZE as u64) as u16;
            self.written.push((Frame(frame.0), within, bytes.len() as u16));
        }
    }
}

impl Board {
    /// Whether region `index` of the chip in `slot` is the window that memory is lent for.
    pub(crate) fn is_window(&self, slot: usize, index: u8) -> bool {
        index == region::WINDOW
            && self.slots.get(slot).is_some_and(|slot| matches!(*slot.device, Device::Vga(_)))
    }

    /// The display adapter in `slot` with its memory.
    fn lend_display(&mut self, slot: usize, address: u64) -> Option<(&mut Vga, Lent<'_>)> {
        let Board { slots, memory, written, observer, .. } = self;
        let Device::Vga(vga) = &mut *slots.get_mut(slot)?.device else { return None };
        let block = memory.block(MEMORY_BLOCK)?;
        Some((vga, Lent { memory, block, address, written, observer: observer.as_deref_mut() }))
    }

    /// Reads the window of the chip in `slot`.
    pub(crate) fn window_read(&mut self, slot: usize, offset: u64, size: u8) -> u64 {
        let Some((vga, mut memory)) = self.lend_display(slot, WINDOW + offset) else { return u64::MAX };
        let mut bytes = [0xff; 8];
        for (byte, at) in bytes.iter_mut().take(usize::from(size)).zip(offset..) {
            *byte = vga.window_read(at, &mut memory);
        }
        u64::from_le_bytes(bytes)
    }

    /// Writes it.
    pub(crate) fn window_write(&mut self, slot: usize, offset: u64, size: u8, value: u64) {
        let Some((vga, mut memory)) = self.lend_display(slot, WINDOW + offset) else { return };
        for (byte, at) in value.to_le_bytes().into_iter().take(usize::from(size)).zip(offset..) {
            vga.window_write(at, byte, &mut memory);
        }
    }

    /// The first `length` bytes of the adapter's memory become zero.
    pub(crate) fn zero_display(&mut self, slot: usize, length: u64) {
        let Some((_, mut memory)) = self.lend_display(slot, WINDOW) else { return };
        let mut at = 0;
        while at < length {
            let part = (length - at).min(PAGE_SIZE as u64);
            memory.write(at, [0; PAGE_SIZE].get(..part as usize).unwrap_or_default());
            at += part;
        }
        self.look();
    }

    /// Draws the adapter's ranges of memory onto the bus.
    pub(crate) fn draw_display(
        &self,
        regions: &mut Regions,
        shapes: &mut Vec<(u32, u64, u8)>,
        bus: RegionId,
    ) -> Result<(), RegionError> {
        let found = self.slots.iter().enumerate().find_map(|(index, slot)| match &*slot.device {
            Device::Vga(vga) => Some((index, vga)),
            _ => None,
        });
        let Some((slot, vga)) = found else { return Ok(()) };
        let (Some(memory), rom) = (self.memory.block(MEMORY_BLOCK), self.memory.block(ROM_BLOCK)) else {
            return Ok(());
        };
        let vram = |regions: &mut Regions, name, offset, length: u64| {
            regions.ram(name, memory, offset, u128::from(length), false)
        };
        let mut registers = None;
        for region in warmboot_chipset::Chip::regions(vga) {
            if region.space != warmboot_chipset::Space::Memory {
                continue;
            }
            let tag = (slot as u32) << 8 | u32::from(region.index);
            shapes.push((tag, region.length, region.widest));
            let length = u128::from(region.length);
            let (drawn, priority) = match (region.index, rom) {
                (region::DIRECT, _) => {
                    let offset = vga.direct().map_or(0, |direct| direct.offset);
                    let all = vram(regions, MEMORY_BLOCK, 0, vga.memory());
                    (regions.alias(region.name, all, offset, length), 2)
                }
                (region::FRAME_BUFFER, _) => {
                    (vram(regions, region.name, 0, region.length), i32::from(vga.is_pci()))
                }
                (region::ROM, Some(rom)) => (regions.ram(region.name, rom, 0, length, true), 1),
                (region::WINDOW | region::REGISTERS, _) => (regions.mmio(region.name, length, tag), 1),
                _ => (regions.mmio(region.name, length, tag), 0),
            };
            let (parent, base) = match registers {
                Some((parent, base))
                    if (region::EDID..=region::REGISTERS_EXTENDED).contains(&region.index) =>
                {
                    (parent, region.base - base)
                }
                _ => (bus, region.base),
            };
            if region.index == region::REGISTERS {
                registers = Some((drawn, region.base));
            }
            regions.map(parent, drawn, base, priority)?;
        }
        Ok(())
    }
}

impl Machine {
    /// The display adapter, to be asked what it shows; `None` without one.
    #[must_use]
    pub fn display(&self) -> Option<&Vga> {
        self.board.vga()
    }

    /// Reads the display adapter's memory for what it shows.
    fn display_memory(&self) -> impl Fn(u64, &mut [u8]) + '_ {
        let memory = &self.board.memory;
        let block = memory.block(MEMORY_BLOCK);
        move |offset, bytes| {
            if block.is_none_or(|block| memory.read_block(block, offset, bytes).is_err()) {
                bytes.fill(0xff);
            }
        }
    }

    /// The text on the screen, a line for each row without the spaces at its end, as code page 437 has its
    /// characters; empty while the screen is dark or shows graphics, `None` without a display adapter.
    #[must_use]
    pub fn screen_text(&self) -> Option<String> {
        Some(self.display()?.text(&self.display_memory()))
    }

    /// The characters on the screen with their colours; `None` while it is dark or shows graphics, and without a
    /// display adapter.
    #[must_use]
    pub fn screen_cells(&self) -> Option<Cells> {
        self.display()?.cells(&self.display_memory())
    }

    /// The screen as dots; `None` without a display adapter.
    #[must_use]
    pub fn screen(&self) -> Option<Picture> {
        Some(self.display()?.picture(&self.display_memory()))
    }
}
