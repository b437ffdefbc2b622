//! Translations kept for speed, and the memory whose change makes them, or decoded code, stale.
//!
//! The TLB is coherent: a write to a page-table entry that was walked flushes it, so that a run
//! with it equals, to the last bit, a run that walks the tables at each access.

use std::{collections::BTreeMap, sync::Arc};

/// Entries of each of the three tables.
const ENTRIES: usize = 256;

/// No frame: the page answers through the bus.
pub(crate) const NO_FRAME: u32 = u32::MAX;

/// What else than the linear page a tag compares.
pub(crate) mod context {
    pub(crate) const VALID: u64 = 1;
    pub(crate) const USER: u64 = 2;
    pub(crate) const SMM: u64 = 4;
    /// The page has no frame: the fast path must not match.
    pub(crate) const DEVICE: u64 = 8;
    /// A supervisor's access that SMAP lets reach users' pages, because EFLAGS.AC is set.
    pub(crate) const USER_OPEN: u64 = 16;
    /// In no entry: makes the fast path miss always.
    pub(crate) const NEVER: u64 = 0x800;
}

/// What a translation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    Read,
    Write,
    Fetch,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Linear page and context bits.
    pub(crate) tag: u64,
    /// Physical page.
    pub(crate) physical: u64,
    /// 64-byte chunks of the frame whose writes must be noticed (write table only).
    pub(crate) watched: u64,
    /// Where the access goes.
    pub(crate) frame: u32,
    /// Where a read of the same page comes from (write table only).
    pub(crate) read_frame: u32,
}

const EMPTY: Entry = Entry { tag: 0, physical: 0, watched: 0, frame: NO_FRAME, read_frame: NO_FRAME };

/// Direct-mapped tables, empty until the first run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tlb {
    read: Vec<Entry>,
    write: Vec<Entry>,
    fetch: Vec<Entry>,
    dirty: bool,
}

impl Tlb {
    /// The slot `linear` would be in.
    #[inline(always)]
    pub(crate) fn slot(&self, access: Access, linear: u64) -> Option<&Entry> {
        let index = (linear >> 12) as usize & (ENTRIES - 1);
        match access {
            Access::Read => self.read.get(index),
            Access::Write => self.write.get(index),
            Access::Fetch => self.fetch.get(index),
        }
    }

    /// Keeps a translation.
    pub(crate) fn insert(&mut self, access: Access, entry: Entry) {
        let table = match access {
            Access::Read => &mut self.read,
            Access::Write => &mut self.write,
            Access::Fetch => &mut self.fetch,
        };
        if table.is_empty() {
            table.resize(ENTRIES, EMPTY);
        }
        let index = (entry.tag >> 12) as usize & (ENTRIES - 1);
        if let Some(slot) = table.get_mut(index) {
            *slot = entry;
            self.dirty = true;
        }
    }

    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        if self.dirty {
            self.read.fill(EMPTY);
            self.write.fill(EMPTY);
            self.fetch.fill(EMPTY);
            self.dirty = false;
        }
    }

    /// Makes writes to `chunks` of `frame` take the slow path.
    fn watch(&mut self, frame: u32, chunks: u64) {
        for entry in &mut self.write {
            if entry.frame == frame {
                entry.watched |= chunks;
            }
        }
    }
}

impl Tlb {
    /// Makes writes to exactly `chunks` of `frame` take the slow path.
    fn rewatch(&mut self, frame: u32, chunks: u64) {
        for entry in &mut self.write {
            if entry.frame == frame {
                entry.watched = chunks;
            }
        }
    }
}

/// The 64-byte chunks that `length` bytes at `offset` of a page touch, as a bit mask.
#[inline(always)]
pub(crate) fn chunks(offset: usize, length: usize) -> u64 {
    let first = (offset >> 6) & 63;
    let last = ((offset + length.max(1) - 1) >> 6).min(63);
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

/// Of which writes to RAM the machine wants to be told ([`crate::Bus::stored`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Every write.
    pub all: bool,
    /// The 64-byte chunks, as a bit mask, of frames: bit 0 is the first.
    pub chunks: BTreeMap<u32, u64>,
}

impl Observed {
    /// Adds the chunks that `length` bytes at `offset` of a frame lie in.
    pub fn add(&mut self, frame: u32, offset: usize, length: usize) {
        *self.chunks.entry(frame).or_default() |= chunks(offset, length);
    }

    fn of(&self, frame: u32) -> u64 {
        if self.all { u64::MAX } else { self.chunks.get(&frame).copied().unwrap_or(0) }
    }
}

/// Which chunks of which frames hold decoded code or walked page tables, or are observed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Shared with forks until one of them decodes something new.
    code: Arc<BTreeMap<u32, u64>>,
    tables: BTreeMap<u32, u64>,
    observed: Observed,
}

impl Watch {
    /// The same code watched, and no tables: for a processor with an empty TLB.
    pub(crate) fn fork(&self) -> Watch {
        Watch { code: self.code.clone(), tables: BTreeMap::new(), observed: self.observed.clone() }
    }

    /// The chunks of `frame` to notice writes of.
    pub(crate) fn chunks(&self, frame: u32) -> u64 {
        self.code_chunks(frame) | self.table_chunks(frame) | self.observed.of(frame)
    }

    /// Whether the machine wants to be told of a write to `written` of `frame`.
    pub(crate) fn observes(&self, frame: u32, written: u64) -> bool {
        self.observed.of(frame) & written != 0
    }

    /// What the machine wants to be told of; the TLB must be flushed before the next write.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.observed = observed;
    }

    fn code_chunks(&self, frame: u32) -> u64 {
        self.code.get(&frame).copied().unwrap_or(0)
    }

    fn table_chunks(&self, frame: u32) -> u64 {
        self.tables.get(&frame).copied().unwrap_or(0)
    }

    /// Whether a write to `written` of `frame` hits (code, page tables).
    pub(crate) fn hit(&self, frame: u32, written: u64) -> (bool, bool) {
        (self.code_chunks(frame) & written != 0, self.table_chunks(frame) & written != 0)
    }

    /// Decoded code lies in these chunks.
    pub(crate) fn add_code(&mut self, tlb: &mut Tlb, frame: u32, chunks: u64) {
        let old = self.code_chunks(frame);
        if old & chunks != chunks {
            Arc::make_mut(&mut self.code).insert(frame, old | chunks);
            tlb.watch(frame, chunks);
        }
    }

    /// Exactly these chunks of `frame` hold decoded code.
    pub(crate) fn set_code(&mut self, tlb: &mut Tlb, frame: u32, chunks: u64) {
        if self.code_chunks(frame) == chunks {
            return;
        }
        let code = Arc::make_mut(&mut self.code);
        if chunks == 0 {
            code.remove(&frame);
        } else {
            code.insert(frame, chunks);
        }
        tlb.rewatch(frame, self.chunks(frame));
    }

    /// Entries of a page table were read from these chunks.
    pub(crate) fn add_tables(&mut self, tlb: &mut Tlb, frame: u32, chunks: u64) {
        let watched = self.tables.entry(frame).or_default();
        if *watched & chunks != chunks {
            *watched |= chunks;
            tlb.watch(frame, chunks);
        }
    }

    /// The TLB is empty: no table matters any more.
    pub(crate) fn forget_tables(&mut self) {
        self.tables.clear();
    }

    /// No decoded code is left. What the TLB watches beyond that only slows a write.
    pub(crate) fn forget_code(&mut self) {
        self.code = Arc::default();
    }
}
