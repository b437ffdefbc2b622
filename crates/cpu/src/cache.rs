//! Decoded straight-line blocks, keyed by where their bytes lie and how they were decoded.

use std::collections::BTreeMap;

use crate::{
    Bus, Lowered,
    tlb::{Tlb, Watch, chunks},
};

const SLOTS: usize = 8192;

/// What decoding depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    /// Where the bytes are.
    pub(crate) frame: u32,
    pub(crate) offset: u16,
    /// CS.D.
    pub(crate) big: bool,
    /// Offset in the code segment: branch targets are absolute.
    pub(crate) rip: u32,
}

impl Key {
    fn slot(self) -> usize {
        let mixed = u64::from(self.frame)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(self.offset).wrapping_mul(0xff51_afd7_ed55_8ccd))
            .wrapping_add(u64::from(self.rip ^ u32::from(self.big)) << 7);
        (mixed >> 24) as usize & (SLOTS - 1)
    }
}

/// Instructions that follow each other within one page.
pub(crate) struct Block<B: Bus> {
    pub(crate) key: Key,
    pub(crate) ops: Box<[Lowered<B>]>,
    /// Length in bytes.
    pub(crate) bytes: u16,
}

impl<B: Bus> Block<B> {
    fn overlaps(&self, offset: u16, length: u16) -> bool {
        let start = u32::from(self.key.offset);
        let written = u32::from(offset);
        start < written + u32::from(length) && written < start + u32::from(self.bytes)
    }

    fn chunks(&self) -> u64 {
        chunks(usize::from(self.key.offset), usize::from(self.bytes))
    }
}

/// A direct-mapped table of blocks, empty until the first run.
pub(crate) struct Cache<B: Bus> {
    slots: Vec<Option<Block<B>>>,
    /// Which slots have blocks of a frame (or had: a collision may have taken them).
    frames: BTreeMap<u32, Vec<u16>>,
}

impl<B: Bus> Default for Cache<B> {
    fn default() -> Self {
        Cache { slots: Vec::new(), frames: BTreeMap::new() }
    }
}

impl<B: Bus> Cache<B> {
    /// The block of `key`.
    #[inline(always)]
    pub(crate) fn get(&self, key: Key) -> Option<&Block<B>> {
        match self.slots.get(key.slot()) {
            Some(Some(block)) if block.key == key => Some(block),
            _ => None,
        }
    }

    /// Keeps a block and has its bytes watched.
    pub(crate) fn insert(&mut self, block: Block<B>, watch: &mut Watch, tlb: &mut Tlb) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let key = block.key;
        watch.add_code(tlb, key.frame, block.chunks());
        let index = key.slot();
        let slots = self.frames.entry(key.frame).or_default();
        if !slots.contains(&(index as u16)) {
            slots.push(index as u16);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(block);
        }
    }

    /// Drops the blocks that `length` bytes at `offset` of `frame` belong to.
    pub(crate) fn invalidate(
        &mut self,
        frame: u32,
        offset: u16,
        length: u16,
        watch: &mut Watch,
        tlb: &mut Tlb,
    ) {
        let mut left = 0;
        if let Some(slots) = self.frames.get_mut(&frame) {
            let table = &mut self.slots;
            slots.retain(|index| {
                let Some(slot) = table.get_mut(usize::from(*index)) else {
                    return false;
                };
                let Some(block) = slot.as_ref().filter(|block| block.key.frame == frame) else {
                    return false;
                };
                if block.overlaps(offset, length) {
                    *slot = None;
                    return false;
                }
                left |= block.chunks();
                true
            });
            if slots.is_empty() {
                self.frames.remove(&frame);
            }
        }
        watch.set_code(tlb, frame, left);
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, watch: &mut Watch) {
        self.slots.clear();
        self.frames.clear();
        watch.forget_code();
    }
}
