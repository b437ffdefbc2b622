//! Translations kept for speed, and the memory whose change makes them, or decoded code, stale.
//!
//! The TLB is coherent: a write to a page-table entry that was walked flushes it, so that a run
//! with it equals, to the last bit, a run that walks the tables at each access.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// Entries of each of the three tables.
const ENTRIES: usize = 256;

/// No frame: the page answers through the bus.
pub(crate) const NO_FRAME: u32 = u32::MAX;

/// What else than the linear page a tag compares.
pub(crate) mod context {
    pub(crate) const VALID: u64 = 1;
    pub(crate) const USER: u64 = 2;
    pub(crate) const SMM: u64 = 4;
    /// The page has no frame, or the machine wants to be told of reads: the fast path must not match.
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

/// Of a written page's watched chunks one, to the byte: a stack beside code is written again and again.
#[derive(Clone, Copy, Debug)]
struct Near {
    /// Its number; no chunk has that of [`NOTHING_NEAR`].
    chunk: usize,
    /// At least its watched bytes, a bit each.
    bits: u64,
}

const NOTHING_NEAR: Near = Near { chunk: usize::MAX, bits: u64::MAX };

/// Direct-mapped, a table for each kind of access.
#[derive(Clone, Debug)]
struct Tables {
    read: [Entry; ENTRIES],
    write: [Entry; ENTRIES],
    /// Beside `write`, entry for entry.
    near: [Near; ENTRIES],
    fetch: [Entry; ENTRIES],
}

/// Those of all processors that have kept nothing yet: a fork that runs little costs little.
static NOTHING_KEPT: LazyLock<Arc<Tables>> = LazyLock::new(|| {
    let none = [EMPTY; ENTRIES];
    Arc::new(Tables { read: none, write: none, near: [NOTHING_NEAR; ENTRIES], fetch: none })
});

/// The translations of one processor.
#[derive(Clone, Debug)]
pub(crate) struct Tlb {
    /// The first of the processor's places for held frames, of the table of reads; the table of writes has as many
    /// behind them.
    places: usize,
    tables: Arc<Tables>,
    /// Something is kept; the tables are then this processor's own.
    dirty: bool,
}

/// Where a linear address would be.
#[inline(always)]
fn index(linear: u64) -> usize {
    (linear >> 12) as usize & (ENTRIES - 1)
}

impl Tlb {
    /// That of processor `index`.
    pub(crate) fn new(index: u8) -> Tlb {
        Tlb { places: Tlb::first_place(index), tables: NOTHING_KEPT.clone(), dirty: false }
    }

    /// It is processor `index`'s from now on.
    pub(crate) fn set_index(&mut self, index: u8) {
        self.places = Tlb::first_place(index);
    }

    fn first_place(index: u8) -> usize {
        2 * ENTRIES * usize::from(index)
    }

    /// Where the machine holds the frame of the slot that `linear` would be in ([`crate::Bus::hold`]); fetches,
    /// which look at no frame, have none.
    #[inline(always)]
    pub(crate) fn place(&self, access: Access, linear: u64) -> usize {
        let table = if access == Access::Write { ENTRIES } else { 0 };
        (self.places | table) + index(linear)
    }

    /// The slot `linear` would be in.
    #[inline(always)]
    fn slot(&self, access: Access, linear: u64) -> &Entry {
        let index = index(linear);
        match access {
            Access::Read => &self.tables.read[index],
            Access::Write => &self.tables.write[index],
            Access::Fetch => &self.tables.fetch[index],
        }
    }

    /// What is kept of the page of `linear`, in exactly this context.
    #[inline(always)]
    pub(crate) fn find(&self, access: Access, linear: u64, context: u64) -> Option<&Entry> {
        let slot = self.slot(access, linear);
        (slot.tag == (linear & !0xfff) | context).then_some(slot)
    }

    /// As [`Tlb::find`], devices too, of which only the slow path wants to know.
    pub(crate) fn find_any(&self, access: Access, linear: u64, context: u64) -> Option<&Entry> {
        let slot = self.slot(access, linear);
        (slot.tag & !context::DEVICE == (linear & !0xfff) | context).then_some(slot)
    }

    /// Keeps a translation.
    pub(crate) fn insert(&mut self, access: Access, entry: Entry) {
        let index = index(entry.tag);
        let tables = Arc::make_mut(&mut self.tables);
        self.dirty = true;
        match access {
            Access::Read => tables.read[index] = entry,
            Access::Write => (tables.write[index], tables.near[index]) = (entry, NOTHING_NEAR),
            Access::Fetch => tables.fetch[index] = entry,
        }
    }

    /// Forgets everything.
    pub(crate) fn flush(&mut self) {
        if self.dirty {
            let tables = Arc::make_mut(&mut self.tables);
            tables.read.fill(EMPTY);
            tables.write.fill(EMPTY);
            tables.near.fill(NOTHING_NEAR);
            tables.fetch.fill(EMPTY);
            self.dirty = false;
        }
    }

    /// Whether `length` bytes at `linear`, in a page that `write` has, are known to be none of those that
    /// are watched.
    #[inline(always)]
    pub(crate) fn is_beside(&self, linear: u64, length: usize) -> bool {
        let near = &self.tables.near[index(linear)];
        let (offset, within) = ((linear & 0xfff) as usize, (linear & 63) as usize);
        near.chunk == offset >> 6 && within + length <= 64 && near.bits & bits(within, length) == 0
    }

    /// Keeps the watched bytes of the chunk of `linear`, which is in a page that `write` has.
    pub(crate) fn keep_near(&mut self, linear: u64, bits: u64) {
        let near = &mut Arc::make_mut(&mut self.tables).near[index(linear)];
        *near = Near { chunk: (linear & 0xfff) as usize >> 6, bits };
    }

    /// Something else of `frame` is watched: `change` says what.
    fn rewatch(&mut self, frame: u32, change: impl Fn(&mut u64)) {
        if !self.dirty {
            return;
        }
        let tables = Arc::make_mut(&mut self.tables);
        for (entry, near) in tables.write.iter_mut().zip(&mut tables.near) {
            if entry.frame == frame {
                change(&mut entry.watched);
                *near = NOTHING_NEAR;
            }
        }
    }
}

/// `length` bytes, at most 64, from `within` on, a bit each.
#[inline(always)]
fn bits(within: usize, length: usize) -> u64 {
    (u64::MAX >> (64 - length.clamp(1, 64))) << (within & 63)
}

/// The 64-byte chunks that `length` bytes at `offset` of a page touch, as a bit mask.
#[inline(always)]
pub(crate) fn chunks(offset: usize, length: usize) -> u64 {
    let first = (offset >> 6) & 63;
    let last = ((offset + length.max(1) - 1) >> 6).min(63);
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

/// Of which writes to RAM, and reads of it, the machine wants to be told ([`crate::Bus::stored`],
/// [`crate::Bus::loaded`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Observed {
    /// Every write.
    pub all: bool,
    /// The 64-byte chunks, as a bit mask, of frames: bit 0 is the first.
    pub chunks: BTreeMap<u32, u64>,
    /// The same for reads.
    pub reads: BTreeMap<u32, u64>,
}

impl Observed {
    /// Adds the chunks that `length` bytes at `offset` of a frame lie in.
    pub fn add(&mut self, frame: u32, offset: usize, length: usize) {
        *self.chunks.entry(frame).or_default() |= chunks(offset, length);
    }

    /// As [`Observed::add`], for reads.
    pub fn add_reads(&mut self, frame: u32, offset: usize, length: usize) {
        *self.reads.entry(frame).or_default() |= chunks(offset, length);
    }

    fn reads_of(&self, frame: u32) -> u64 {
        self.reads.get(&frame).copied().unwrap_or(0)
    }

    fn of(&self, frame: u32) -> u64 {
        if self.all { u64::MAX } else { self.chunks.get(&frame).copied().unwrap_or(0) }
    }
}

/// The bytes of a page, a bit each; word `n` has those of the chunk `n`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bytes([u64; 64]);

impl Default for Bytes {
    fn default() -> Self {
        Bytes([0; 64])
    }
}

impl Bytes {
    /// The parts of `length` bytes, none as one, at `offset`, which lie within the page: chunk and bits.
    fn parts(offset: usize, length: usize) -> impl Iterator<Item = (usize, u64)> {
        let last = (offset + length.max(1) - 1).min(4095);
        (offset >> 6..=last >> 6).map(move |chunk| {
            let first = offset.saturating_sub(chunk << 6).min(63);
            let last = (last - (chunk << 6)).min(63);
            (chunk, (u64::MAX << first) & (u64::MAX >> (63 - last)))
        })
    }

    /// Adds `length` bytes at `offset`; no bytes count as one.
    pub(crate) fn add(&mut self, offset: usize, length: usize) {
        for (chunk, bits) in Bytes::parts(offset, length) {
            if let Some(word) = self.0.get_mut(chunk) {
                *word |= bits;
            }
        }
    }

    /// Whether one of `length` bytes at `offset` is among them.
    #[inline(always)]
    fn has(&self, offset: usize, length: usize) -> bool {
        let within = offset & 63;
        if within + length.max(1) <= 64 {
            return self.0.get(offset >> 6).is_some_and(|word| word & bits(within, length) != 0);
        }
        self.has_across(offset, length)
    }

    /// As [`Bytes::has`], of bytes in several chunks.
    #[inline(never)]
    fn has_across(&self, offset: usize, length: usize) -> bool {
        Bytes::parts(offset, length)
            .any(|(chunk, bits)| self.0.get(chunk).is_some_and(|word| word & bits != 0))
    }

    fn add_all(&mut self, more: &Bytes) {
        self.0.iter_mut().zip(&more.0).for_each(|(word, more)| *word |= more);
    }

    fn remove(&mut self, offset: usize, length: usize) {
        for (chunk, bits) in Bytes::parts(offset, length) {
            if let Some(word) = self.0.get_mut(chunk) {
                *word &= !bits;
            }
        }
    }

    fn has_all(&self, others: &Bytes) -> bool {
        self.0.iter().zip(&others.0).all(|(word, others)| others & !word == 0)
    }

    fn chunks(&self) -> u64 {
        self.0.iter().zip(0..).fold(0, |all, (word, chunk)| all | u64::from(*word != 0) << chunk)
    }

    fn add_chunks(&mut self, chunks: u64) {
        for (index, word) in self.0.iter_mut().enumerate() {
            if chunks >> index & 1 != 0 {
                *word = u64::MAX;
            }
        }
    }
}

impl Others {
    fn chunks(&self, frame: u32) -> u64 {
        let code = self.code.get(&frame).map_or(0, Bytes::chunks);
        code | self.tables.get(&frame).copied().unwrap_or(0)
    }
}

/// Frames whose watched bytes are kept at hand; a power of two.
const AT_HAND: usize = 4;

/// Which bytes of which frames hold decoded code, and which chunks walked page tables, or are observed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Shared with forks until one of them decodes something new.
    code: Arc<BTreeMap<u32, Arc<Bytes>>>,
    tables: BTreeMap<u32, u64>,
    observed: Observed,
    /// What is watched, all in all, of frames that were written beside it.
    at_hand: [Option<(u32, Box<Bytes>)>; AT_HAND],
    /// What the machine's other processors watch; none where there is one processor.
    others: Option<Box<Others>>,
}

/// What other processors have decoded and walked, and what they must be told.
#[derive(Clone, Debug, Default)]
struct Others {
    code: BTreeMap<u32, Bytes>,
    tables: BTreeMap<u32, u64>,
    /// What this processor watches since they were last told.
    fresh: Vec<Mark>,
    /// Writes to what they watch: frame, offset and length.
    written: Vec<(u32, u16, u16)>,
}

/// Bytes of a frame that one processor watches and all others must.
#[derive(Clone, Debug)]
pub(crate) enum Mark {
    Code(u32, Box<Bytes>),
    Table(u32, u64),
}

/// What one processor of several has to tell the others.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) written: Vec<(u32, u16, u16)>,
    pub(crate) fresh: Vec<Mark>,
}

impl Watch {
    /// The same code watched, and no tables: for a processor with an empty TLB.
    pub(crate) fn fork(&self) -> Watch {
        Watch {
            code: self.code.clone(),
            observed: self.observed.clone(),
            others: self.others.clone(),
            ..Watch::default()
        }
    }

    /// The chunks of `frame` to notice writes of; of reads too, since what is written may be read first.
    pub(crate) fn chunks(&self, frame: u32) -> u64 {
        self.code_chunks(frame)
            | self.table_chunks(frame)
            | self.observed.of(frame)
            | self.observed.reads_of(frame)
            | self.others.as_ref().map_or(0, |others| others.chunks(frame))
    }

    /// There are other processors.
    pub(crate) fn share(&mut self) {
        self.others.get_or_insert_default();
    }

    /// What the others must be told, once.
    pub(crate) fn news(&mut self) -> Option<News> {
        let others = self.others.as_mut()?;
        let nothing = others.fresh.is_empty() && others.written.is_empty();
        (!nothing).then(|| News {
            written: std::mem::take(&mut others.written),
            fresh: std::mem::take(&mut others.fresh),
        })
    }

    /// Another processor watches this too.
    pub(crate) fn add_mark(&mut self, tlb: &mut Tlb, mark: &Mark) {
        let Some(others) = &mut self.others else { return };
        let (frame, chunks) = match mark {
            Mark::Code(frame, bytes) => {
                others.code.entry(*frame).or_default().add_all(bytes);
                (*frame, bytes.chunks())
            }
            Mark::Table(frame, chunks) => {
                *others.tables.entry(*frame).or_default() |= chunks;
                (*frame, *chunks)
            }
        };
        self.forget_at_hand(frame);
        tlb.rewatch(frame, |watched| *watched |= chunks);
    }

    /// Notes a write for the others, if it concerns what one of them watches; as accessed and dirty bits
    /// of a table do not (`entry` is false then).
    pub(crate) fn tell_others(&mut self, frame: u32, offset: usize, length: usize, entry: bool) {
        let Some(others) = &mut self.others else { return };
        let code = others.code.get_mut(&frame).filter(|bytes| bytes.has(offset, length));
        let table =
            others.tables.get(&frame).is_some_and(|chunks_of| chunks_of & chunks(offset, length) != 0);
        if code.is_none() && !(entry && table) {
            return;
        }
        // They forget what they made of these bytes, and say so when they look at them again.
        if let Some(bytes) = code {
            bytes.remove(offset, length);
        }
        if entry && let Some(watched) = others.tables.get_mut(&frame) {
            *watched &= !chunks(offset, length);
        }
        others.written.push((frame, offset as u16, length as u16));
        self.forget_at_hand(frame);
    }

    /// Whether none of `length` bytes at `offset` of a frame is watched, though their chunk is.
    #[inline]
    pub(crate) fn beside(&mut self, frame: u32, offset: usize, length: usize) -> bool {
        match &self.at_hand[frame as usize % AT_HAND] {
            Some((known, bytes)) if *known == frame => !bytes.has(offset, length),
            _ => {
                self.take_to_hand(frame);
                false
            }
        }
    }

    /// The watched bytes of the chunk at `offset` of a frame that is at hand.
    #[inline]
    pub(crate) fn bits_at(&self, frame: u32, offset: usize) -> u64 {
        match &self.at_hand[frame as usize % AT_HAND] {
            Some((known, bytes)) if *known == frame => bytes.0.get(offset >> 6).copied().unwrap_or(u64::MAX),
            _ => u64::MAX,
        }
    }

    #[cold]
    fn take_to_hand(&mut self, frame: u32) {
        let mut bytes = self.code.get(&frame).map(|bytes| Bytes::clone(bytes)).unwrap_or_default();
        bytes.add_chunks(self.table_chunks(frame) | self.observed.of(frame) | self.observed.reads_of(frame));
        if let Some(others) = &self.others {
            others.code.get(&frame).into_iter().for_each(|code| bytes.add_all(code));
            bytes.add_chunks(others.tables.get(&frame).copied().unwrap_or(0));
        }
        self.at_hand[frame as usize % AT_HAND] = Some((frame, Box::new(bytes)));
    }

    /// Something else of `frame` is watched now.
    fn forget_at_hand(&mut self, frame: u32) {
        let place = &mut self.at_hand[frame as usize % AT_HAND];
        if place.as_ref().is_some_and(|(known, _)| *known == frame) {
            *place = None;
        }
    }

    /// Whether the machine wants to be told of a write to `written` of `frame`.
    pub(crate) fn observes(&self, frame: u32, written: u64) -> bool {
        self.observed.of(frame) & written != 0
    }

    /// The chunks of `frame` of whose reads the machine wants to be told.
    pub(crate) fn observed_reads(&self, frame: u32) -> u64 {
        if self.observed.reads.is_empty() { 0 } else { self.observed.reads_of(frame) }
    }

    /// What the machine wants to be told of; the TLB must be flushed before the next write.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.observed = observed;
        self.at_hand = Default::default();
    }

    fn code_chunks(&self, frame: u32) -> u64 {
        self.code.get(&frame).map_or(0, |bytes| bytes.chunks())
    }

    fn table_chunks(&self, frame: u32) -> u64 {
        self.tables.get(&frame).copied().unwrap_or(0)
    }

    /// Whether code was decoded from one of these bytes.
    pub(crate) fn is_code(&self, frame: u32, offset: usize, length: usize) -> bool {
        self.code.get(&frame).is_some_and(|bytes| bytes.has(offset, length))
    }

    /// Whether a page table in these chunks was walked.
    pub(crate) fn is_table(&self, frame: u32, written: u64) -> bool {
        self.table_chunks(frame) & written != 0
    }

    /// Decoded code lies in these bytes.
    pub(crate) fn add_code(&mut self, tlb: &mut Tlb, frame: u32, more: &Bytes) {
        if let Some(others) = &mut self.others {
            others.fresh.push(Mark::Code(frame, Box::new(more.clone())));
        }
        if self.code.get(&frame).is_some_and(|bytes| bytes.has_all(more)) {
            return;
        }
        let bytes = Arc::make_mut(Arc::make_mut(&mut self.code).entry(frame).or_default());
        bytes.add_all(more);
        let chunks = bytes.chunks();
        self.forget_at_hand(frame);
        tlb.rewatch(frame, |watched| *watched |= chunks);
    }

    /// Exactly these bytes of `frame` hold decoded code.
    pub(crate) fn set_code(&mut self, tlb: &mut Tlb, frame: u32, bytes: Bytes) {
        let none = Bytes::default();
        // A map shared with forks is only copied for a change.
        if *self.code.get(&frame).map_or(&none, |bytes| bytes) != bytes {
            let code = Arc::make_mut(&mut self.code);
            if bytes == none {
                code.remove(&frame);
            } else {
                code.insert(frame, Arc::new(bytes));
            }
        }
        self.forget_at_hand(frame);
        let chunks = self.chunks(frame);
        tlb.rewatch(frame, |watched| *watched = chunks);
    }

    /// Entries of a page table were read from these chunks.
    pub(crate) fn add_tables(&mut self, tlb: &mut Tlb, frame: u32, chunks: u64) {
        let watched = self.tables.entry(frame).or_default();
        if *watched & chunks != chunks {
            *watched |= chunks;
            if let Some(others) = &mut self.others {
                others.fresh.push(Mark::Table(frame, chunks));
            }
            self.forget_at_hand(frame);
            tlb.rewatch(frame, |watched| *watched |= chunks);
        }
    }

    /// The TLB is empty: no table matters any more.
    pub(crate) fn forget_tables(&mut self) {
        if !self.tables.is_empty() {
            self.tables.clear();
            self.at_hand = Default::default();
        }
    }

    /// No decoded code is left. What the TLB watches beyond that only slows a write.
    pub(crate) fn forget_code(&mut self) {
        self.code = Arc::default();
        self.at_hand = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Of code in these bytes, whether `length` bytes at `offset` are none, and the watched chunks.
    #[rstest]
    #[case::before((64, 3), (60, 4), true, 0b10)]
    #[case::its_first((64, 3), (60, 5), false, 0b10)]
    #[case::its_last((64, 3), (66, 1), false, 0b10)]
    #[case::behind((64, 3), (67, 8), true, 0b10)]
    #[case::across_chunks((60, 10), (70, 8), true, 0b11)]
    #[case::across_chunks_last((60, 10), (69, 1), false, 0b11)]
    #[case::whole_chunk((128, 64), (191, 8), false, 0b100)]
    #[case::end_of_page((4090, 6), (4086, 4), true, 1 << 63)]
    #[case::last_byte((4090, 6), (4095, 1), false, 1 << 63)]
    #[case::no_bytes_at_the_first((0, 0), (1, 0), true, 1)]
    #[case::no_bytes_are_one((0, 0), (0, 0), false, 1)]
    #[case::no_bytes_behind_a_chunk((63, 1), (64, 0), true, 1)]
    fn beside(
        #[case] code: (usize, usize),
        #[case] write: (usize, usize),
        #[case] clear: bool,
        #[case] watched: u64,
    ) {
        let (mut watch, mut tlb) = (Watch::default(), Tlb::new(0));
        let mut bytes = Bytes::default();
        bytes.add(code.0, code.1);
        watch.add_code(&mut tlb, 5, &bytes);
        assert_eq!(watch.chunks(5), watched);
        assert_eq!(watch.is_code(5, write.0, write.1), !clear);
        // The first question only takes the frame to hand.
        assert!(!watch.beside(5, write.0, write.1));
        assert_eq!(watch.beside(5, write.0, write.1), clear);
        // Kept near, it is the same, but across chunks, where nothing is known.
        let linear = 0x7000 + write.0 as u64;
        let entry = Entry { tag: 0x7000 | context::VALID, frame: 5, ..EMPTY };
        tlb.insert(Access::Write, entry);
        assert!(!tlb.is_beside(linear, write.1));
        tlb.keep_near(linear, watch.bits_at(5, write.0));
        let one_chunk = write.0 % 64 + write.1 <= 64;
        assert_eq!(tlb.is_beside(linear, write.1), clear && one_chunk);
        // Whatever more is watched, nothing is near.
        watch.add_code(&mut tlb, 5, &Bytes([u64::MAX; 64]));
        assert!(!tlb.is_beside(linear, write.1));
        watch.set_code(&mut tlb, 5, bytes);
        watch.beside(5, write.0, write.1);
        // A page table in the same chunks takes all of them.
        watch.add_tables(&mut tlb, 5, u64::MAX);
        watch.beside(5, write.0, write.1);
        assert!(!watch.beside(5, write.0, write.1));
    }

    #[test]
    fn what_is_watched_already_stays_shared() {
        let (mut watch, mut tlb) = (Watch::default(), Tlb::new(0));
        let mut bytes = Bytes::default();
        bytes.add(64, 3);
        watch.add_code(&mut tlb, 5, &bytes);
        let mut fork = watch.fork();
        fork.add_code(&mut tlb, 5, &bytes);
        fork.set_code(&mut tlb, 5, bytes);
        fork.set_code(&mut tlb, 6, Bytes::default());
        assert!(Arc::ptr_eq(&watch.code, &fork.code));
        fork.set_code(&mut tlb, 5, Bytes::default());
        assert!(watch.is_code(5, 64, 3) && !fork.is_code(5, 64, 3));
    }
}
