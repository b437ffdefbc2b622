//! Copy-on-write pages behind a two-level table. The only file of this crate with `unsafe` in it.
//!
//! Every guest load and store ends here, so the fast paths are two dependent loads each, with no
//! reference count touched. The unsafe code rests on one fact kept per page, the `WRITABLE` tag in
//! the low bit of a slot's pointer:
//!
//! > **Invariant.** A slot tagged `WRITABLE` lies in a leaf that no other table refers to, and its
//! > page belongs to this slot alone; neither has a cached hash, and the leaf is in `hot`.
//!
//! The tag is set in one place ([`Table::make_writable`]), after both `Arc`s were found unique, and
//! cleared in one place ([`Table::seal`]), which [`Table::fork`] and [`Table::return_to`] call on a
//! table before they share anything of it. A slot without the tag is never written through. Page
//! contents are otherwise immutable, so two tables that hold the same page hold the same bytes.
//!
//! Who asks for a page again and again has it held ([`Table::hold`]): that is one load, not two.
//!
//! > **Invariant.** What is held is the pointer of its frame's slot, to be written only if that has the tag. Whoever
//! > changes a slot changes or forgets it ([`Table::renew`]).

#![allow(unsafe_code)]

use std::{
    ptr::NonNull,
    sync::{Arc, OnceLock},
};

/// Bytes per page.
pub const PAGE_SIZE: usize = 4096;

/// A BLAKE3 hash.
pub type Digest = [u8; 32];

/// Index of a 4 KiB page over all blocks of a [`crate::Memory`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame(pub u32);

/// Slots per leaf: a leaf covers 2 MiB.
pub(crate) const LEAF_PAGES: usize = 512;
const LEAF_SHIFT: u32 = LEAF_PAGES.trailing_zeros();
const SLOT_MASK: usize = LEAF_PAGES - 1;

/// Pages a table keeps for its next writes when it returns to another's contents: 4 MiB.
const MOST_SPARE: usize = 1024;

/// Tag in a slot's pointer: see the invariant above.
const WRITABLE: usize = 1;

/// A page's bytes, first so that a pointer to the page is a pointer to its bytes, and their hash
/// once somebody asked for it.
#[repr(C, align(8))]
struct Page {
    bytes: [u8; PAGE_SIZE],
    hash: OnceLock<Digest>,
}

/// What every never-touched page reads as. Recognised by its address; never counted, never freed.
static ZERO: Page = Page { bytes: [0; PAGE_SIZE], hash: OnceLock::new() };

/// An owned reference to a page (an `Arc<Page>` taken apart, or the address of [`ZERO`]), tagged.
struct Slot(*const Page);

// SAFETY: a slot is an `Arc<Page>` or a reference to a static, and `Page` is Send and Sync. The bytes
// behind it change only through `&mut Table`, and only when nothing else refers to the page.
unsafe impl Send for Slot {}
// SAFETY: as above; `&Slot` alone gives read access only.
unsafe impl Sync for Slot {}

impl Slot {
    fn zero() -> Slot {
        Slot(&raw const ZERO)
    }

    fn from_arc(page: Arc<Page>) -> Slot {
        Slot(Arc::into_raw(page))
    }

    fn address(&self) -> *const Page {
        self.0.map_addr(|address| address & !WRITABLE)
    }

    fn is_zero(&self) -> bool {
        std::ptr::eq(self.address(), &raw const ZERO)
    }

    fn is_writable(&self) -> bool {
        self.0.addr() & WRITABLE != 0
    }

    fn page(&self) -> &Page {
        // SAFETY: the pointer came from `Arc::into_raw` and this slot still owns that count, or is
        // `ZERO`; writers need `&mut Table`, which excludes this borrow of a slot within it.
        unsafe { &*self.address() }
    }

    /// Takes the page out, leaving the zero page: `None` if it was the zero page.
    fn take(&mut self) -> Option<Arc<Page>> {
        let old = std::mem::replace(self, Slot::zero());
        let page = (!old.is_zero()).then(|| {
            // SAFETY: made by `Arc::into_raw`, and `old` is forgotten, so the count moves with us.
            unsafe { Arc::from_raw(old.address()) }
        });
        std::mem::forget(old);
        page
    }

    fn hash(&self) -> Digest {
        let page = self.page();
        if self.is_writable() {
            *blake3::hash(&page.bytes).as_bytes()
        } else {
            *page.hash.get_or_init(|| *blake3::hash(&page.bytes).as_bytes())
        }
    }
}

impl Clone for Slot {
    /// Shares the page. Only untagged slots are ever cloned: leaves are shared sealed.
    fn clone(&self) -> Slot {
        debug_assert!(!self.is_writable());
        if !self.is_zero() {
            // SAFETY: made by `Arc::into_raw` and still owned by `self`.
            unsafe { Arc::increment_strong_count(self.address()) };
        }
        Slot(self.address())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_zero() {
            // SAFETY: made by `Arc::into_raw`; this slot's count is given back exactly once.
            drop(unsafe { Arc::from_raw(self.address()) });
        }
    }
}

/// 2 MiB worth of slots.
struct Leaf {
    slots: [Slot; LEAF_PAGES],
    hash: OnceLock<Digest>,
    /// Some slot may be `WRITABLE`.
    hot: bool,
}

impl Leaf {
    fn zero() -> Leaf {
        Leaf { slots: std::array::from_fn(|_| Slot::zero()), hash: OnceLock::new(), hot: false }
    }

    fn compute_hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for slot in &self.slots {
            hasher.update(&slot.hash());
        }
        *hasher.finalize().as_bytes()
    }

    /// Refers to the pages that `wanted` refers to; afterwards no slot is `WRITABLE`, because a page
    /// that was this leaf's own is none of another's.
    fn return_to(&mut self, wanted: &Leaf, spare: &mut Vec<Arc<Page>>) {
        for (slot, wanted) in self.slots.iter_mut().zip(&wanted.slots) {
            if std::ptr::eq(slot.address(), wanted.address()) {
                continue;
            }
            // A writable page is this slot's alone, which is known without touching it.
            let known = slot.is_writable();
            if let Some(mut page) = slot.take()
                && spare.len() < MOST_SPARE
                && (known || Arc::get_mut(&mut page).is_some())
            {
                spare.push(page);
            }
            *slot = wanted.clone();
        }
        self.hash = wanted.hash.clone();
        self.hot = false;
    }

    fn hash(&self) -> Digest {
        if self.hot { self.compute_hash() } else { *self.hash.get_or_init(|| self.compute_hash()) }
    }
}

impl Clone for Leaf {
    fn clone(&self) -> Leaf {
        Leaf { slots: self.slots.clone(), hash: OnceLock::new(), hot: false }
    }
}

/// A page with these bytes, unique and without a hash.
fn copied(spare: &mut Vec<Arc<Page>>, bytes: &[u8; PAGE_SIZE]) -> Arc<Page> {
    if let Some(mut page) = spare.pop()
        && let Some(own) = Arc::get_mut(&mut page)
    {
        own.bytes.copy_from_slice(bytes);
        own.hash.take();
        return page;
    }
    Arc::new(Page { bytes: *bytes, hash: OnceLock::new() })
}

/// Most places for held pages: a few hundred for each of 32 processors.
const MOST_HELD: usize = 1 << 14;

/// The bytes a slot's pointer leads to, not owned: to be read, and where its tag allows that, to be written.
#[derive(Clone, Copy)]
struct Held {
    read: Option<NonNull<[u8; PAGE_SIZE]>>,
    write: Option<NonNull<[u8; PAGE_SIZE]>>,
}

impl Held {
    const NOTHING: Held = Held { read: None, write: None };

    fn of(slot: &Slot) -> Held {
        // Bytes are the first field of a `repr(C)` struct.
        let read = NonNull::new(slot.address().cast_mut().cast());
        Held { read, write: read.filter(|_| slot.is_writable()) }
    }
}

// SAFETY: as for `Slot`, whose pointer this is, and which the same table owns.
unsafe impl Send for Held {}
// SAFETY: as above; `&Held` alone gives read access only.
unsafe impl Sync for Held {}

/// All pages of one memory.
pub(crate) struct Table {
    leaves: Vec<Arc<Leaf>>,
    /// What an untouched leaf is; shared by all of them and by all forks.
    zero: Arc<Leaf>,
    /// Leaves with `hot` set.
    hot: Vec<usize>,
    /// Pages that nothing else refers to, to be written anew.
    spare: Vec<Arc<Page>>,
    /// By place; see the second invariant above.
    held: Vec<Held>,
    /// The frames they are of, by place.
    held_frames: Vec<u32>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            leaves: Vec::new(),
            zero: Arc::new(Leaf::zero()),
            hot: Vec::new(),
            spare: Vec::new(),
            held: Vec::new(),
            held_frames: Vec::new(),
        }
    }

    /// Adds `count` leaves of zeros; returns the first one's first frame.
    pub(crate) fn grow(&mut self, count: usize) -> u32 {
        let first = self.leaves.len();
        self.leaves.extend(std::iter::repeat_n(&self.zero, count).cloned());
        (first << LEAF_SHIFT) as u32
    }

    /// A page's bytes. Panics on a frame this table never gave out, which is a bug of ours.
    #[inline(always)]
    pub(crate) fn frame(&self, frame: Frame) -> &[u8; PAGE_SIZE] {
        let index = frame.0 as usize;
        &self.leaves[index >> LEAF_SHIFT].slots[index & SLOT_MASK].page().bytes
    }

    /// A page's bytes, to be changed. The first write since the page was shared copies it.
    #[inline(always)]
    pub(crate) fn frame_mut(&mut self, frame: Frame) -> &mut [u8; PAGE_SIZE] {
        let index = frame.0 as usize;
        let tagged = self.leaves[index >> LEAF_SHIFT].slots[index & SLOT_MASK].0;
        let page = if tagged.addr() & WRITABLE != 0 {
            tagged.map_addr(|address| address & !WRITABLE).cast_mut()
        } else {
            self.make_writable(index)
        };
        // SAFETY: by the invariant nothing else refers to this page, and the borrow of `self` keeps
        // it so. The pointer came from `Arc::into_raw`, whose provenance covers the bytes mutably.
        // Bytes are the first field of a `repr(C)` struct; `hash` is not part of the borrow.
        unsafe { &mut *page.cast::<[u8; PAGE_SIZE]>() }
    }

    /// Holds a page, so that [`Table::held`] finds it at `place` from now on; it forgets what was held there.
    pub(crate) fn hold(&mut self, place: usize, frame: Frame) {
        if place >= self.held.len() {
            if place >= MOST_HELD {
                return;
            }
            let places = (place + 1).next_multiple_of(LEAF_PAGES);
            self.held.resize(places, Held::NOTHING);
            self.held_frames.resize(places, u32::MAX);
        }
        let index = frame.0 as usize;
        let slot = self.leaves.get(index >> LEAF_SHIFT).map(|leaf| &leaf.slots[index & SLOT_MASK]);
        self.held[place] = slot.map_or(Held::NOTHING, Held::of);
        self.held_frames[place] = frame.0;
    }

    /// The bytes of the page held at `place`.
    #[inline(always)]
    pub(crate) fn held(&self, place: usize) -> Option<&[u8; PAGE_SIZE]> {
        let bytes = self.held.get(place)?.read?;
        // SAFETY: by the second invariant this is the pointer of one of our slots, which owns the page; as for
        // a slot, writers need `&mut Table`.
        Some(unsafe { bytes.as_ref() })
    }

    /// As [`Table::held`], to be written, if the page is this table's own already.
    #[inline(always)]
    pub(crate) fn held_mut(&mut self, place: usize) -> Option<&mut [u8; PAGE_SIZE]> {
        let mut bytes = self.held.get(place)?.write?;
        // SAFETY: the pointer is the slot's, and was tagged; as in `frame_mut`, the tag says that nothing else
        // refers to this page.
        Some(unsafe { bytes.as_mut() })
    }

    /// The frame held at `place`.
    pub(crate) fn held_frame(&self, place: usize) -> Option<Frame> {
        self.held.get(place)?.read?;
        self.held_frames.get(place).copied().map(Frame)
    }

    /// Nothing is held any more.
    fn release(&mut self) {
        self.held.clear();
        self.held_frames.clear();
    }

    /// The slot of this frame has another pointer.
    fn renew(&mut self, index: usize) {
        let now = Held::of(&self.leaves[index >> LEAF_SHIFT].slots[index & SLOT_MASK]);
        for (held, frame) in self.held.iter_mut().zip(&self.held_frames) {
            if *frame as usize == index {
                *held = now;
            }
        }
    }

    /// Makes a page this table's own, forgets its hash and its leaf's, and tags it `WRITABLE`.
    #[cold]
    #[inline(never)]
    fn make_writable(&mut self, index: usize) -> *mut Page {
        let number = index >> LEAF_SHIFT;
        let leaf = Arc::make_mut(&mut self.leaves[number]);
        leaf.hash.take();
        if !leaf.hot {
            leaf.hot = true;
            self.hot.push(number);
        }
        let slot = &mut leaf.slots[index & SLOT_MASK];
        let page = match slot.take() {
            None => copied(&mut self.spare, &ZERO.bytes),
            Some(mut page) => match Arc::get_mut(&mut page) {
                Some(own) => {
                    own.hash.take();
                    page
                }
                None => copied(&mut self.spare, &page.bytes),
            },
        };
        *slot = Slot::from_arc(page);
        let address = slot.address();
        slot.0 = address.map_addr(|address| address | WRITABLE);
        self.renew(index);
        address.cast_mut()
    }

    /// Clears every `WRITABLE` tag: from here on hashes may be cached and leaves shared.
    pub(crate) fn seal(&mut self) {
        if !self.hot.is_empty() {
            self.release();
        }
        for number in self.hot.drain(..) {
            // A hot leaf is unique, so this never copies.
            if let Some(leaf) = Arc::get_mut(&mut self.leaves[number]) {
                for slot in &mut leaf.slots {
                    slot.0 = slot.address();
                }
                leaf.hot = false;
            } else {
                unreachable!("a leaf was shared while one of its pages was writable");
            }
        }
    }

    /// A second table with the same contents, sharing everything.
    pub(crate) fn fork(&mut self) -> Table {
        self.seal();
        Table {
            leaves: self.leaves.clone(),
            zero: self.zero.clone(),
            hot: Vec::new(),
            spare: Vec::new(),
            held: Vec::new(),
            held_frames: Vec::new(),
        }
    }

    /// Takes over the contents of `other`, which must have as many leaves: costs what differs. Leaves
    /// and pages of this table's own are kept for what it writes next.
    pub(crate) fn return_to(&mut self, other: &mut Table) {
        other.seal();
        self.release();
        for (leaf, wanted) in self.leaves.iter_mut().zip(&other.leaves) {
            if Arc::ptr_eq(leaf, wanted) {
                continue;
            }
            match Arc::get_mut(leaf) {
                Some(own) => own.return_to(wanted, &mut self.spare),
                None => *leaf = wanted.clone(),
            }
        }
        // A hot leaf was unique, so it was visited, and lost each page that was its own.
        self.hot.clear();
    }

    /// The hash of one page.
    pub(crate) fn page_hash(&self, frame: Frame) -> Digest {
        let index = frame.0 as usize;
        self.leaves[index >> LEAF_SHIFT].slots[index & SLOT_MASK].hash()
    }

    /// Hashes of the `count` leaves from that of frame `first` on.
    pub(crate) fn leaf_hashes(&self, first: u32, count: usize) -> impl Iterator<Item = Digest> {
        let first = first as usize >> LEAF_SHIFT;
        self.leaves.iter().skip(first).take(count).map(|leaf| leaf.hash())
    }

    /// Pages of `first..first + count` that were ever written, in order.
    pub(crate) fn touched(&self, first: u32, count: usize) -> impl Iterator<Item = Frame> {
        let end = first as usize + count;
        (first as usize >> LEAF_SHIFT..end.div_ceil(LEAF_PAGES))
            .filter(|&number| !Arc::ptr_eq(&self.leaves[number], &self.zero))
            .flat_map(move |number| {
                (number << LEAF_SHIFT..((number + 1) << LEAF_SHIFT).min(end))
                    .filter(move |index| !self.leaves[number].slots[index & SLOT_MASK].is_zero())
            })
            .map(|index| Frame(index as u32))
    }

    /// Whether the page was never written.
    pub(crate) fn is_untouched(&self, frame: Frame) -> bool {
        let index = frame.0 as usize;
        self.leaves[index >> LEAF_SHIFT].slots[index & SLOT_MASK].is_zero()
    }

    /// Gives a page back: it reads as zeros again and costs nothing.
    pub(crate) fn discard(&mut self, frame: Frame) {
        if !self.is_untouched(frame) {
            let index = frame.0 as usize;
            let leaf = Arc::make_mut(&mut self.leaves[index >> LEAF_SHIFT]);
            leaf.hash.take();
            leaf.slots[index & SLOT_MASK].take();
            self.renew(index);
        }
    }

    /// Whether a frame is the very same page in both, so that comparing bytes is needless.
    pub(crate) fn shares(&self, other: &Table, frame: Frame) -> bool {
        let index = frame.0 as usize;
        let slot = |table: &Table| {
            let leaf = table.leaves.get(index >> LEAF_SHIFT)?;
            Some(leaf.slots[index & SLOT_MASK].address())
        };
        slot(self).is_some() && slot(self) == slot(other)
    }
}
