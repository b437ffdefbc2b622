//! What tests of the CPU run on: flat RAM from address 0, ports that read all ones.

use crate::{Bus, Cpu, Cycle, Frame, Page, Path, Run};

/// [`Cpu::run`] on flat RAM. Optimized builds make their own copy of a generic function, and so of every
/// instruction, in each crate that calls it: this is the one copy for all who use [`FlatBus`].
#[inline(never)]
pub fn run(cpu: &mut Cpu<FlatBus>, bus: &mut FlatBus, budget: u64, path: Path) -> Run {
    cpu.run(bus, budget, path)
}

/// RAM from address 0, nothing else. Every port access and every access beyond RAM is recorded.
#[derive(Clone, Debug, Default)]
pub struct FlatBus {
    pages: Vec<[u8; 4096]>,
    /// Which pages may have been written since they were zero.
    written: Vec<bool>,
    /// Port writes: (port, size, value).
    pub port_writes: Vec<(u16, u8, u32)>,
    /// What port reads give; all ones unless changed.
    pub port_value: Option<u32>,
    /// The vector an interrupt acknowledge gives.
    pub vector: Option<u8>,
    /// Added to the retired count to make the time.
    pub time: u64,
    /// Whether accesses were made in system management mode.
    pub smm_seen: bool,
    /// How often the processor told of an x87 exception.
    pub numeric_errors: u64,
    /// Last value written to IA32_APIC_BASE.
    pub apic_base: Option<u64>,
}

const NOWHERE: [u8; 4096] = [0xff; 4096];

impl FlatBus {
    /// `bytes` of RAM (rounded up to whole pages), all zero.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let pages = bytes.div_ceil(4096);
        FlatBus { pages: vec![[0; 4096]; pages], written: vec![false; pages], ..FlatBus::default() }
    }

    /// The byte at `address`; all ones beyond RAM.
    #[must_use]
    pub fn byte(&self, address: u64) -> u8 {
        let page = usize::try_from(address >> 12).ok().and_then(|page| self.pages.get(page));
        page.map_or(0xff, |page| page[(address & 0xfff) as usize])
    }

    /// Sets the byte at `address`; lost beyond RAM.
    pub fn set_byte(&mut self, address: u64, value: u8) {
        if let Some(page) = self.page_index(address) {
            self.frame_mut(Frame(page))[(address & 0xfff) as usize] = value;
        }
    }

    /// Writes `bytes` from `address` on.
    pub fn poke(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            self.set_byte(at, *byte);
        }
    }

    /// Writes a little-endian dword.
    pub fn poke32(&mut self, address: u64, value: u32) {
        self.poke(address, &value.to_le_bytes());
    }

    /// Writes a little-endian quadword.
    pub fn poke64(&mut self, address: u64, value: u64) {
        self.poke(address, &value.to_le_bytes());
    }

    /// Reads `size` bytes, little-endian.
    #[must_use]
    pub fn peek(&self, address: u64, size: u8) -> u64 {
        let mut value = 0;
        for index in (0..u64::from(size.min(8))).rev() {
            value = (value << 8) | u64::from(self.byte(address.wrapping_add(index)));
        }
        value
    }

    /// The frames that may not be all zero.
    pub fn written(&self) -> impl Iterator<Item = Frame> {
        (0..).zip(&self.written).filter_map(|(index, written)| written.then_some(Frame(index)))
    }

    /// Makes all RAM zero; gives the frames that may not have been.
    pub fn clear(&mut self) -> Vec<Frame> {
        let frames: Vec<Frame> = self.written().collect();
        self.written.fill(false);
        for frame in &frames {
            if let Some(page) = self.pages.get_mut(frame.0 as usize) {
                page.fill(0);
            }
        }
        frames
    }

    /// Whether both hold the same bytes.
    #[must_use]
    pub fn same_memory(&self, other: &FlatBus) -> bool {
        self.pages == other.pages
    }

    fn page_index(&self, physical: u64) -> Option<u32> {
        let index = physical >> 12;
        (index < self.pages.len() as u64).then_some(index as u32)
    }
}

impl Bus for FlatBus {
    fn page(&mut self, physical: u64, smm: bool) -> Page {
        self.smm_seen |= smm;
        let frame = self.page_index(physical).map(Frame);
        Page { read: frame, write: frame }
    }

    fn frame(&self, frame: Frame) -> &[u8; 4096] {
        self.pages.get(frame.0 as usize).unwrap_or(&NOWHERE)
    }

    fn frame_mut(&mut self, frame: Frame) -> &mut [u8; 4096] {
        let index = frame.0 as usize;
        if index >= self.pages.len() {
            self.pages.resize(index + 1, [0; 4096]);
        }
        self.written.resize(self.pages.len(), false);
        self.written[index] = true;
        &mut self.pages[index]
    }

    fn read(&mut self, _cycle: Cycle, physical: u64, size: u8) -> u64 {
        self.peek(physical, size)
    }

    fn write(&mut self, _cycle: Cycle, physical: u64, size: u8, value: u64) {
        let bytes = value.to_le_bytes();
        self.poke(physical, &bytes[..usize::from(size.min(8))]);
    }

    fn port_read(&mut self, _cycle: Cycle, _port: u16, _size: u8) -> u32 {
        self.port_value.unwrap_or(u32::MAX)
    }

    fn port_write(&mut self, _cycle: Cycle, port: u16, size: u8, value: u32) {
        self.port_writes.push((port, size, value));
    }

    fn time(&mut self, cycle: Cycle) -> u64 {
        self.time.wrapping_add(cycle.retired)
    }

    fn pause(&mut self, _cycle: Cycle) {}

    fn numeric_error(&mut self, _cycle: Cycle) {
        self.numeric_errors += 1;
    }

    fn acknowledge_interrupt(&mut self, _cycle: Cycle) -> Option<u8> {
        self.vector.take()
    }

    fn apic_base_written(&mut self, _cycle: Cycle, value: u64) {
        self.apic_base = Some(value);
    }
}
