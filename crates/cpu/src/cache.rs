//! Decoded straight-line blocks, keyed by where their bytes lie and how they were decoded.
//!
//! Code of 32 and 64 bits is decoded for its place in the page, not for its address: a library that many
//! processes have, each at another address, is decoded once.
//!
//! There are two levels. [`Code`] holds all blocks by frame; it is immutable once shared, so that
//! forks have it in common and copy only what they change. In front of it each processor has a
//! direct-mapped table of its own, which begins small and grows with what runs: a fork that runs
//! little costs little. What the table has, `Code` has.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Bus, Lowered,
    access::Bits,
    tlb::{Bytes, Tlb, Watch},
};

/// Slots of the table when it is first used, and at most; powers of two.
const FIRST_SLOTS: usize = 256;
const MOST_SLOTS: usize = 32768;
/// Most instructions kept (some 100 MiB): a guest can have the same bytes decoded in many ways.
const MOST_OPS: usize = 1 << 20;

/// What decoding depends on; in order of frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    frame: u32,
    /// Offset in the code segment that the bytes are decoded for.
    origin: u32,
    /// Offset in the frame << 2 | how they are decoded.
    place: u16,
}

impl Key {
    /// That of the bytes at `offset` of a frame, where `rip` is in the code segment.
    #[inline(always)]
    pub(crate) fn new(frame: u32, offset: u16, bits: Bits, rip: u64) -> Key {
        // Branch targets of 16-bit code are cut to 16 bits, so what they are relative to matters.
        let origin = if bits == Bits::Sixteen { rip as u32 } else { rip as u32 & 0xfff };
        Key { frame, origin, place: offset << 2 | bits as u16 }
    }

    /// Where the bytes are.
    pub(crate) fn frame(self) -> u32 {
        self.frame
    }

    /// Where in the frame.
    pub(crate) fn offset(self) -> u16 {
        self.place >> 2
    }

    /// Offset in the code segment that the bytes are decoded for.
    pub(crate) fn origin(self) -> u32 {
        self.origin
    }

    /// What the ops' offsets are relative to, where the bytes are at `rip`.
    #[inline(always)]
    pub(crate) fn base(self, rip: u64) -> u64 {
        rip.wrapping_sub(u64::from(self.origin))
    }

    /// How they are decoded.
    pub(crate) fn bits(self) -> Bits {
        match self.place & 3 {
            0 => Bits::Sixteen,
            1 => Bits::ThirtyTwo,
            _ => Bits::SixtyFour,
        }
    }
}

/// The slot of what begins at offset `rip` of its segment, in a table of `slots`, a power of two. It
/// depends on nothing else, so that looking a block up needs no translation.
#[inline(always)]
fn slot(rip: u64, slots: usize) -> usize {
    (rip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize & slots.wrapping_sub(1)
}

/// What follows a block's last instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum End {
    /// The next instruction, or a near branch's target: the next block can be run at once.
    Near,
    /// As `Near`, and the block is a loop of [`crate::fill`].
    Fill,
    /// As `Near`, and the block could go on: beyond a conditional branch, or because it is short only
    /// for fear that it is never run again.
    Open,
    /// Anything: the processor must look up.
    Other,
}

/// Instructions that follow each other within one page. Conditional branches may lie between them:
/// a taken one leaves the block.
pub(crate) struct Block<B: Bus> {
    pub(crate) key: Key,
    /// Length in bytes.
    bytes: u16,
    /// How many instructions it has.
    instructions: u8,
    /// How it ends, and how often it was run to its open end << 2.
    end: u8,
    /// What is executed: some ops are two instructions ([`crate::exec::pair`]).
    ops: Arc<[Lowered<B>]>,
    /// An op for each instruction, where those are others.
    each: Option<Arc<Vec<Lowered<B>>>>,
}

impl<B: Bus> Clone for Block<B> {
    fn clone(&self) -> Self {
        Block { ops: self.ops.clone(), each: self.each.clone(), ..*self }
    }
}

impl<B: Bus> Block<B> {
    /// A block of fewer than 256 instructions. `ops` are fewer than `each` where some are two instructions.
    pub(crate) fn new(
        key: Key,
        bytes: u16,
        end: End,
        ops: Vec<Lowered<B>>,
        each: Vec<Lowered<B>>,
    ) -> Block<B> {
        let instructions = each.len() as u8;
        let each = (ops.len() != each.len()).then(|| Arc::new(each));
        Block { key, bytes, instructions, end: end as u8, ops: ops.into(), each }
    }

    /// What is executed.
    #[inline(always)]
    pub(crate) fn ops(&self) -> &[Lowered<B>] {
        &self.ops
    }

    /// An op for each instruction, for who wants to stop before any of them.
    pub(crate) fn each(&self) -> &[Lowered<B>] {
        self.each.as_deref().map_or(&self.ops, Vec::as_slice)
    }

    /// How many instructions it has.
    #[inline(always)]
    pub(crate) fn instructions(&self) -> u64 {
        self.instructions.into()
    }

    /// Length in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    /// How it ends.
    #[inline(always)]
    pub(crate) fn end(&self) -> End {
        match self.end & 3 {
            0 => End::Near,
            1 => End::Fill,
            2 => End::Open,
            _ => End::Other,
        }
    }

    /// Notes that it was run to its open end; whether that was done `often` times now, fewer than 64.
    #[inline(always)]
    pub(crate) fn passed(&mut self, often: u8) -> bool {
        self.end = self.end.checked_add(4).unwrap_or(self.end);
        self.end >> 2 == often
    }

    /// What it counts in [`MOST_OPS`].
    fn weight(&self) -> usize {
        usize::from(self.instructions)
    }

    fn overlaps(&self, offset: u16, length: u16) -> bool {
        let start = u32::from(self.key.offset());
        let written = u32::from(offset);
        start < written + u32::from(length) && written < start + u32::from(self.bytes)
    }

    fn add_to(&self, bytes: &mut Bytes) {
        bytes.add(usize::from(self.key.offset()), usize::from(self.bytes));
    }
}

/// The blocks of one frame, in the order of their keys.
struct FrameCode<B: Bus>(Vec<Block<B>>);

impl<B: Bus> Clone for FrameCode<B> {
    fn clone(&self) -> Self {
        FrameCode(self.0.clone())
    }
}

impl<B: Bus> FrameCode<B> {
    fn bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        self.0.iter().for_each(|block| block.add_to(&mut bytes));
        bytes
    }

    fn ops(&self) -> usize {
        self.0.iter().map(Block::weight).sum()
    }
}

/// All blocks, by frame.
struct Code<B: Bus> {
    frames: BTreeMap<u32, Arc<FrameCode<B>>>,
    /// Instructions in them.
    ops: usize,
}

impl<B: Bus> Clone for Code<B> {
    fn clone(&self) -> Self {
        Code { frames: self.frames.clone(), ops: self.ops }
    }
}

impl<B: Bus> Default for Code<B> {
    fn default() -> Self {
        Code { frames: BTreeMap::new(), ops: 0 }
    }
}

impl<B: Bus> Code<B> {
    fn get(&self, key: Key) -> Option<&Block<B>> {
        let blocks = &self.frames.get(&key.frame())?.0;
        let index = blocks.binary_search_by_key(&key, |block| block.key).ok()?;
        blocks.get(index)
    }

    fn insert(&mut self, block: Block<B>) {
        let frame = self.frames.entry(block.key.frame());
        let blocks = &mut Arc::make_mut(frame.or_insert_with(|| Arc::new(FrameCode(Vec::new())))).0;
        self.ops += block.weight();
        match blocks.binary_search_by_key(&block.key, |block| block.key) {
            Ok(index) => {
                if let Some(old) = blocks.get_mut(index) {
                    self.ops -= old.weight();
                    *old = block;
                }
            }
            Err(index) => blocks.insert(index, block),
        }
    }
}

/// A block in the table, and when it was last found by translating; in one line of the host's cache.
#[repr(align(64))]
pub(crate) struct Entry<B: Bus> {
    pub(crate) block: Block<B>,
    /// Offset in the code segment.
    rip: u64,
    /// The linear address it was found at, and [`crate::Core::code_stamp`] then: as long as it is the
    /// same, so is the translation.
    linear: u64,
    stamp: u64,
}

impl<B: Bus> Entry<B> {
    /// Notes where and under which stamp the block was found.
    pub(crate) fn stamp(&mut self, linear: u64, stamp: u64) {
        (self.linear, self.stamp) = (linear, stamp);
    }
}

/// Most bases that are kept of a frame.
const MOST_BASES: usize = 16;

/// Decoded blocks; empty until the first run.
pub(crate) struct Cache<B: Bus> {
    slots: Vec<Option<Entry<B>>>,
    /// What the offsets of a frame's blocks in the table are relative to, where not zero: at least all such bases,
    /// unless they were too many to keep.
    bases: BTreeMap<u32, Vec<u64>>,
    /// Blocks put into the table since it has its size.
    fills: usize,
    code: Arc<Code<B>>,
}

impl<B: Bus> Default for Cache<B> {
    fn default() -> Self {
        Cache { slots: Vec::new(), bases: BTreeMap::new(), fills: 0, code: Arc::default() }
    }
}

impl<B: Bus> Cache<B> {
    /// The block at offset `rip` of its segment and at `linear`, if it was found there under this stamp.
    #[inline(always)]
    pub(crate) fn stamped(&mut self, rip: u64, linear: u64, stamp: u64) -> Option<&mut Entry<B>> {
        let index = slot(rip, self.slots.len());
        match self.slots.get_mut(index) {
            Some(Some(entry)) if entry.linear == linear && entry.stamp == stamp && entry.rip == rip => {
                Some(entry)
            }
            _ => None,
        }
    }

    /// Whether the block of `key` is known; it is then in the table, for offset `rip`.
    pub(crate) fn recall(&mut self, key: Key, rip: u64) -> bool {
        if self.entry(key, rip).is_some() {
            return true;
        }
        let Some(block) = self.code.get(key).cloned() else { return false };
        self.fill(block, rip);
        true
    }

    /// The block of `key` for offset `rip`, if the table has it.
    pub(crate) fn entry(&mut self, key: Key, rip: u64) -> Option<&mut Entry<B>> {
        let index = slot(rip, self.slots.len());
        self.slots.get_mut(index)?.as_mut().filter(|entry| entry.block.key == key && entry.rip == rip)
    }

    /// Keeps a block and has its bytes watched; it is then in the table, for offset `rip`.
    pub(crate) fn insert(&mut self, block: Block<B>, rip: u64, watch: &mut Watch, tlb: &mut Tlb) {
        if self.code.ops >= MOST_OPS {
            self.clear(watch);
        }
        let mut bytes = Bytes::default();
        block.add_to(&mut bytes);
        watch.add_code(tlb, block.key.frame(), &bytes);
        Arc::make_mut(&mut self.code).insert(block.clone());
        self.fill(block, rip);
    }

    fn fill(&mut self, block: Block<B>, rip: u64) {
        let now = self.slots.len();
        if now == 0 || (self.fills >= now && now < MOST_SLOTS) {
            let mut old = std::mem::take(&mut self.slots);
            self.slots.resize_with((now * 2).max(FIRST_SLOTS), || None);
            self.fills = 0;
            for entry in old.drain(..).flatten() {
                self.place(entry);
            }
        }
        self.note_base(block.key, rip);
        // No stamp is all ones.
        self.place(Entry { block, rip, linear: 0, stamp: u64::MAX });
    }

    fn note_base(&mut self, key: Key, rip: u64) {
        let base = key.base(rip);
        if base == 0 {
            return;
        }
        let bases = self.bases.entry(key.frame()).or_default();
        if bases.len() < MOST_BASES && !bases.contains(&base) {
            bases.push(base);
        }
    }

    fn place(&mut self, entry: Entry<B>) {
        let index = slot(entry.rip, self.slots.len());
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(entry);
            self.fills += 1;
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
        let Some(old) = self.code.frames.get(&frame) else {
            watch.set_code(tlb, frame, Bytes::default());
            return;
        };
        if !old.0.iter().any(|block| block.overlaps(offset, length)) {
            // What is left over of blocks that were dropped.
            watch.set_code(tlb, frame, old.bytes());
            return;
        }
        let code = Arc::make_mut(&mut self.code);
        let Some(shared) = code.frames.get_mut(&frame) else { return };
        let own = Arc::make_mut(shared);
        let slots = &mut self.slots;
        let bases = self.bases.get(&frame).map(Vec::as_slice).unwrap_or_default();
        let few = bases.len() < MOST_BASES;
        own.0.retain(|block| {
            let stays = !block.overlaps(offset, length);
            if !stays {
                code.ops -= block.weight();
                let bases = std::iter::once(&0).chain(if few { bases } else { &[] });
                for base in bases {
                    let index = slot(base.wrapping_add(block.key.origin().into()), slots.len());
                    if let Some(slot) = slots.get_mut(index)
                        && slot.as_ref().is_some_and(|cached| cached.block.key == block.key)
                    {
                        *slot = None;
                    }
                }
            }
            stays
        });
        if !few {
            // What is left of the frame's blocks comes back when it is looked for.
            for slot in slots {
                if slot.as_ref().is_some_and(|cached| cached.block.key.frame() == frame) {
                    *slot = None;
                }
            }
            self.bases.remove(&frame);
        }
        if own.0.is_empty() {
            code.frames.remove(&frame);
        }
        // Their bytes stay watched: most often the new code has as many.
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, watch: &mut Watch) {
        self.slots.clear();
        self.bases.clear();
        self.fills = 0;
        self.code = Arc::default();
        watch.forget_code();
    }

    /// A cache with the same blocks, all of them shared. Its `Watch` must be a fork of this one's.
    pub(crate) fn fork(&self) -> Cache<B> {
        Cache { slots: Vec::new(), bases: BTreeMap::new(), fills: 0, code: self.code.clone() }
    }

    /// Makes this cache true of the frames of another processor: where a frame's bytes differ, its
    /// blocks become the other's.
    pub(crate) fn return_to(
        &mut self,
        other: &Cache<B>,
        differs: impl Fn(u32) -> bool,
        watch: &mut Watch,
        tlb: &mut Tlb,
    ) {
        if Arc::ptr_eq(&self.code, &other.code) {
            return;
        }
        let stale: Vec<u32> = self.code.frames.keys().copied().filter(|frame| differs(*frame)).collect();
        if !stale.is_empty() {
            let code = Arc::make_mut(&mut self.code);
            for frame in &stale {
                let gone = code.frames.remove(frame);
                code.ops -= gone.map_or(0, |blocks| blocks.ops());
                watch.set_code(tlb, *frame, Bytes::default());
            }
            for slot in &mut self.slots {
                if slot.as_ref().is_some_and(|entry| stale.binary_search(&entry.block.key.frame()).is_ok()) {
                    *slot = None;
                }
            }
        }
        for (frame, blocks) in &other.code.frames {
            // What is known of a frame is kept: its bytes are the same, so its blocks are true.
            if !self.code.frames.contains_key(frame) {
                watch.add_code(tlb, *frame, &blocks.bytes());
                let code = Arc::make_mut(&mut self.code);
                code.ops += blocks.ops();
                code.frames.insert(*frame, blocks.clone());
            }
        }
    }
}
