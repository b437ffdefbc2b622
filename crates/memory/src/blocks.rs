//! Named RAM blocks: what a snapshot, a migration and a digest see of memory.

use std::sync::Arc;

use thiserror::Error;

use crate::page::{Digest, Frame, LEAF_PAGES, PAGE_SIZE, Table};

/// Most bytes one machine may have over all blocks: 64 GiB.
const TOTAL_LIMIT: u64 = 64 << 30;

/// A block of one [`Memory`] and of its forks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockId(u32);

/// What is known of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockInfo<'a> {
    /// To ask for its bytes.
    pub id: BlockId,
    /// `pc.ram`, `pc.bios`…
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
}

/// Why memory refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MemoryError {
    /// Blocks consist of whole pages.
    #[error("RAM block `{name}` has {size} bytes: expected a multiple of 4096 above zero")]
    Size {
        /// The block asked for.
        name: String,
        /// Its size.
        size: u64,
    },
    /// More than a machine may have.
    #[error(
        "RAM block `{name}` of {} MiB is too much: all blocks together may have 64 GiB, {} MiB are left",
        size >> 20, left >> 20
    )]
    TooLarge {
        /// The block asked for.
        name: String,
        /// Its size.
        size: u64,
        /// What could still be had.
        left: u64,
    },
    /// Names are unique.
    #[error("there is already a RAM block `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An access that does not lie within the block.
    #[error("{length} bytes at offset {offset:#x} are outside RAM block `{name}` of {size:#x} bytes")]
    Outside {
        /// The block.
        name: String,
        /// Its size.
        size: u64,
        /// First byte asked for.
        offset: u64,
        /// How many.
        length: u64,
    },
}

#[derive(Clone, Debug)]
struct Block {
    name: String,
    size: u64,
    /// Blocks start at a leaf of their own.
    first: u32,
}

impl Block {
    fn pages(&self) -> usize {
        (self.size / PAGE_SIZE as u64) as usize
    }

    fn leaves(&self) -> usize {
        self.pages().div_ceil(LEAF_PAGES)
    }
}

/// All RAM of a machine. Untouched pages cost nothing; a fork shares all pages until one side writes.
pub struct Memory {
    blocks: Arc<Vec<Block>>,
    total: u64,
    table: Table,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Memory").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl Memory {
    /// No blocks.
    #[must_use]
    pub fn new() -> Memory {
        Memory { blocks: Arc::default(), total: 0, table: Table::new() }
    }

    /// Adds a block of zeros.
    ///
    /// # Errors
    /// A size that is zero, no multiple of 4096 or beyond 64 GiB in all; a name that is taken.
    pub fn add_block(&mut self, name: &str, size: u64) -> Result<BlockId, MemoryError> {
        if size == 0 || !size.is_multiple_of(PAGE_SIZE as u64) {
            return Err(MemoryError::Size { name: name.into(), size });
        }
        let left = TOTAL_LIMIT - self.total;
        if size > left {
            return Err(MemoryError::TooLarge { name: name.into(), size, left });
        }
        if self.block(name).is_some() {
            return Err(MemoryError::Duplicate { name: name.into() });
        }
        let mut block = Block { name: name.into(), size, first: 0 };
        block.first = self.table.grow(block.leaves());
        self.total += size;
        Arc::make_mut(&mut self.blocks).push(block);
        Ok(BlockId((self.blocks.len() - 1) as u32))
    }

    /// The block called `name`.
    #[must_use]
    pub fn block(&self, name: &str) -> Option<BlockId> {
        let index = self.blocks.iter().position(|block| block.name == name)?;
        Some(BlockId(index as u32))
    }

    /// All blocks, in the order in which they were added.
    pub fn blocks(&self) -> impl Iterator<Item = BlockInfo<'_>> {
        (0..self.blocks.len()).map(|index| self.info(BlockId(index as u32)))
    }

    /// What is known of one block.
    #[must_use]
    pub fn info(&self, id: BlockId) -> BlockInfo<'_> {
        let block = self.get(id);
        BlockInfo { id, name: &block.name, size: block.size }
    }

    /// The frame of page number `page` of a block; `None` beyond its end.
    #[must_use]
    pub fn frame_of(&self, id: BlockId, page: u64) -> Option<Frame> {
        let block = self.blocks.get(id.0 as usize)?;
        (page < block.pages() as u64).then(|| Frame(block.first + page as u32))
    }

    /// The block and byte offset at which a frame lies.
    #[must_use]
    pub fn place_of(&self, frame: Frame) -> Option<(BlockId, u64)> {
        let index = self.blocks.partition_point(|block| block.first <= frame.0).checked_sub(1)?;
        let block = self.blocks.get(index)?;
        let offset = u64::from(frame.0 - block.first) * PAGE_SIZE as u64;
        (offset < block.size).then_some((BlockId(index as u32), offset))
    }

    /// The bytes of a frame that [`Memory::frame_of`] gave.
    #[inline(always)]
    #[must_use]
    pub fn frame(&self, frame: Frame) -> &[u8; PAGE_SIZE] {
        self.table.frame(frame)
    }

    /// The bytes of a frame, to be changed.
    #[inline(always)]
    pub fn frame_mut(&mut self, frame: Frame) -> &mut [u8; PAGE_SIZE] {
        self.table.frame_mut(frame)
    }

    /// Holds a frame's page, so that [`Memory::held`] finds it at `place` until another is held there.
    pub fn hold(&mut self, place: usize, frame: Frame) {
        self.table.hold(place, frame);
    }

    /// The bytes of the frame held at `place`; `None` where it was not kept.
    #[inline(always)]
    #[must_use]
    pub fn held(&self, place: usize) -> Option<&[u8; PAGE_SIZE]> {
        self.table.held(place)
    }

    /// As [`Memory::held`], to be changed, unless that would take a copy first.
    #[inline(always)]
    pub fn held_mut(&mut self, place: usize) -> Option<&mut [u8; PAGE_SIZE]> {
        self.table.held_mut(place)
    }

    /// The frame held at `place`.
    #[must_use]
    pub fn held_frame(&self, place: usize) -> Option<Frame> {
        self.table.held_frame(place)
    }

    /// Copies bytes out of a block.
    ///
    /// # Errors
    /// If they do not all lie within it; `bytes` is then unchanged.
    pub fn read_block(&self, id: BlockId, offset: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.check(id, offset, bytes.len())?;
        let first = self.get(id).first;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, start) = split(first, at);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_SIZE - start));
            now.copy_from_slice(&self.frame(frame)[start..start + now.len()]);
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes into a block. Zeros written to an untouched page leave it untouched.
    ///
    /// # Errors
    /// If they do not all lie within it; nothing is then written.
    pub fn write_block(&mut self, id: BlockId, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.check(id, offset, bytes.len())?;
        let first = self.get(id).first;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, start) = split(first, at);
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE - start));
            if !self.table.is_untouched(frame) || !is_zero(now) {
                self.frame_mut(frame)[start..start + now.len()].copy_from_slice(now);
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Makes a whole block zero and gives its pages back.
    pub fn clear_block(&mut self, id: BlockId) {
        let (first, pages) = (self.get(id).first, self.get(id).pages());
        let touched: Vec<Frame> = self.table.touched(first, pages).collect();
        for frame in touched {
            self.table.discard(frame);
        }
    }

    /// The pages of a block that were ever written, by page number; all others are zero.
    pub fn touched_pages(&self, id: BlockId) -> impl Iterator<Item = (u64, &[u8; PAGE_SIZE])> {
        let block = self.get(id);
        let pages = self.table.touched(block.first, block.pages());
        pages.map(|frame| (u64::from(frame.0 - block.first), self.frame(frame)))
    }

    /// How many pages hold memory, over all blocks (those shared with forks included).
    #[must_use]
    pub fn resident_pages(&self) -> usize {
        let count = |block: &Block| self.table.touched(block.first, block.pages()).count();
        self.blocks.iter().map(count).sum()
    }

    /// Another memory with the same blocks and bytes. Copies pointers only (one per 2 MiB); each side
    /// copies a page when it first writes to it. `&mut`, because pages written so far become shared.
    #[must_use]
    pub fn fork(&mut self) -> Memory {
        Memory { blocks: self.blocks.clone(), total: self.total, table: self.table.fork() }
    }

    /// Takes over the blocks and bytes of `other`. Between a memory and its fork it costs what either
    /// has written since; the pages this memory had for itself are kept for its next writes.
    /// `&mut`, because pages `other` wrote so far become shared.
    pub fn return_to(&mut self, other: &mut Memory) {
        if Arc::ptr_eq(&self.blocks, &other.blocks) {
            self.table.return_to(&mut other.table);
        } else {
            *self = other.fork();
        }
    }

    /// Whether both have the same blocks, so that a frame means the same in both: as forks of one
    /// memory do until one of them adds a block.
    #[must_use]
    pub fn is_laid_out_as(&self, other: &Memory) -> bool {
        Arc::ptr_eq(&self.blocks, &other.blocks)
    }

    /// Whether a frame is the same shared page in a fork, so that it needs no comparing. Both must
    /// have the same blocks.
    #[must_use]
    pub fn shares(&self, other: &Memory, frame: Frame) -> bool {
        self.table.shares(&other.table, frame)
    }

    /// BLAKE3 of one page. Kept once the memory was digested or forked, until the page is written.
    #[must_use]
    pub fn page_digest(&self, frame: Frame) -> Digest {
        self.table.page_hash(frame)
    }

    /// Makes the pages' hashes ones that are kept: what was written so far counts as settled.
    pub fn settle(&mut self) {
        self.table.seal();
    }

    /// BLAKE3 over every block's name, size and contents. Pages of zeros count like untouched ones.
    /// Hashes are kept per page and per 2 MiB: the next digest costs what was written since.
    pub fn digest(&mut self) -> Digest {
        self.table.seal();
        self.digest_uncached()
    }

    /// As [`Memory::digest`], but what was written since the last digest or fork is hashed again
    /// each time.
    #[must_use]
    pub fn digest_uncached(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for block in self.blocks.iter() {
            hasher.update(&(block.name.len() as u64).to_le_bytes());
            hasher.update(block.name.as_bytes());
            hasher.update(&block.size.to_le_bytes());
            for hash in self.table.leaf_hashes(block.first, block.leaves()) {
                hasher.update(&hash);
            }
        }
        *hasher.finalize().as_bytes()
    }

    fn get(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    fn check(&self, id: BlockId, offset: u64, length: usize) -> Result<(), MemoryError> {
        let block = self.get(id);
        let length = length as u64;
        if offset.checked_add(length).is_some_and(|end| end <= block.size) {
            return Ok(());
        }
        Err(MemoryError::Outside { name: block.name.clone(), size: block.size, offset, length })
    }
}

/// Whether all bytes are zero, looked at many at once: a bus master can send megabytes of them.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Frame and offset within it of a byte offset into the block whose first frame is given.
fn split(first: u32, offset: u64) -> (Frame, usize) {
    let page = PAGE_SIZE as u64;
    (Frame(first + (offset / page) as u32), (offset % page) as usize)
}
