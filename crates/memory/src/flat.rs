//! The flat view: sorted, disjoint ranges of one address space, derived from the region tree.
//!
//! The tree is walked twice, once as reads see it and once as writes do, and the two results are
//! laid over each other. So a range of which only one side shows through stays right.

use std::{fmt, sync::Arc};

use crate::{
    BlockId, Memory, RegionId, Regions,
    page::{Frame, PAGE_SIZE},
    regions::Content,
};

/// Where an access ends up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// In a block's bytes, from `offset` on.
    Block {
        /// The block.
        block: BlockId,
        /// Offset of the range's first byte.
        offset: u64,
    },
    /// At a device.
    Device {
        /// As given to [`Regions::mmio`].
        tag: u32,
        /// Offset of the range's first byte within the device's region.
        offset: u64,
    },
    /// Nowhere: reads get what the bus floats to, writes are dropped.
    Nothing,
}

impl Target {
    /// The target `distance` bytes further on.
    #[must_use]
    pub fn advanced(self, distance: u64) -> Target {
        match self {
            Target::Block { block, offset } => Target::Block { block, offset: offset.wrapping_add(distance) },
            Target::Device { tag, offset } => Target::Device { tag, offset: offset.wrapping_add(distance) },
            Target::Nothing => Target::Nothing,
        }
    }
}

/// What a range is called in the printed map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A block, read and written.
    Ram,
    /// A block whose writes are dropped.
    Rom,
    /// A device.
    Device,
    /// Reads and writes belong to different regions.
    Split,
}

/// Consecutive addresses that one region answers (or one for reads and one for writes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// The region that answers reads, or writes where nothing answers reads.
    pub name: Arc<str>,
    /// That region's own priority, as QEMU prints it.
    pub priority: i32,
    /// Where a read of `start` goes.
    pub read: Target,
    /// Where a write to `start` goes.
    pub write: Target,
    /// How the two are related.
    pub kind: Kind,
    /// The region that takes writes, for [`Kind::Split`].
    pub write_name: Option<Arc<str>>,
    /// Offset into the region, as QEMU prints it.
    offset: u64,
    /// Which regions answer reads and writes: what makes two ranges one.
    source: (Option<RegionId>, Option<RegionId>),
    write_offset: u64,
}

impl Range {
    /// Where a read of `address` goes, which must lie within the range.
    #[must_use]
    pub fn read_at(&self, address: u64) -> Target {
        self.read.advanced(address.wrapping_sub(self.start))
    }

    /// Where a write to `address` goes, which must lie within the range.
    #[must_use]
    pub fn write_at(&self, address: u64) -> Target {
        self.write.advanced(address.wrapping_sub(self.start))
    }

    /// Whether `next` begins where this ends and goes on with the same regions.
    fn continues_in(&self, next: &Range) -> bool {
        let distance = next.start.wrapping_sub(self.start);
        self.end.checked_add(1) == Some(next.start)
            && self.source == next.source
            && self.kind == next.kind
            && self.offset.wrapping_add(distance) == next.offset
            && self.write_offset.wrapping_add(distance) == next.write_offset
            && self.read.advanced(distance) == next.read
            && self.write.advanced(distance) == next.write
    }
}

/// All ranges of one address space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlatView {
    ranges: Vec<Range>,
}

impl FlatView {
    /// Renders the address space whose root is `root`.
    #[must_use]
    pub fn new(regions: &Regions, root: RegionId) -> FlatView {
        let reads = Pass::run(regions, root, false);
        let writes = Pass::run(regions, root, true);
        let mut view = FlatView { ranges: Vec::with_capacity(reads.len()) };
        let (mut read, mut write) = (reads.iter().peekable(), writes.iter().peekable());
        let mut at: u128 = 0;
        // Cut at every edge of either side; `at` is where the next range may begin.
        loop {
            while read.peek().is_some_and(|piece| piece.end <= at) {
                read.next();
            }
            while write.peek().is_some_and(|piece| piece.end <= at) {
                write.next();
            }
            let edges = [read.peek(), write.peek()].into_iter().flatten();
            let Some(end) = edges.map(|piece| if piece.start > at { piece.start } else { piece.end }).min()
            else {
                break;
            };
            let here =
                |piece: Option<&&Piece>| piece.filter(|piece| piece.start <= at).map(|piece| piece.from(at));
            if let Some(range) = combine(regions, at, end, here(read.peek()), here(write.peek())) {
                match view.ranges.last_mut() {
                    Some(last) if last.continues_in(&range) => last.end = range.end,
                    _ => view.ranges.push(range),
                }
            }
            at = end;
        }
        view
    }

    /// The ranges in ascending order. Addresses in none of them are unassigned.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The range that `address` lies in.
    #[must_use]
    pub fn lookup(&self, address: u64) -> Option<&Range> {
        let range = self.ranges.get(self.ranges.partition_point(|range| range.end < address))?;
        (range.start <= address).then_some(range)
    }

    /// How many addresses from `address` on, which lies in no range, are in none; `None` for all there are.
    #[must_use]
    pub fn unassigned_from(&self, address: u64) -> Option<u64> {
        let next = self.ranges.get(self.ranges.partition_point(|range| range.end < address))?;
        Some(next.start.saturating_sub(address))
    }

    /// The frames that answer reads and writes of the page at `address`. `None` where the page is
    /// not wholly one range of a block, at page-aligned offset; writes also where they are dropped.
    #[must_use]
    pub fn page(&self, memory: &Memory, address: u64) -> (Option<Frame>, Option<Frame>) {
        let last = PAGE_SIZE as u64 - 1;
        let first = address & !last;
        let Some(range) = self.lookup(first).filter(|range| range.end >= first | last) else {
            return (None, None);
        };
        let frame = |target| match target {
            Target::Block { block, offset } if offset & last == 0 => {
                memory.frame_of(block, offset / (last + 1))
            }
            _ => None,
        };
        (frame(range.read_at(first)), frame(range.write_at(first)))
    }
}

impl fmt::Display for FlatView {
    /// The lines that QEMU's `info mtree -f` has below "Root memory region".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return writeln!(f, "  No rendered FlatView");
        }
        for range in &self.ranges {
            let kind = match range.kind {
                Kind::Ram => "ram",
                Kind::Rom => "rom",
                Kind::Device => "i/o",
                Kind::Split => "split",
            };
            write!(f, "  {:016x}-{:016x} (prio {}, {kind}): ", range.start, range.end, range.priority)?;
            if range.kind == Kind::Split {
                let source = |target, name: Option<&str>, offset| match (target, name) {
                    (_, None) => "nothing".to_owned(),
                    (Target::Nothing, Some(name)) => format!("dropped by {name}"),
                    (_, Some(name)) => format!("{name}{}", At(offset)),
                };
                let read = source(range.read, range.source.0.map(|_| &*range.name), range.offset);
                let write = source(range.write, range.write_name.as_deref(), range.write_offset);
                writeln!(f, "read {read}, write {write}")?;
            } else {
                writeln!(f, "{}{}", range.name, At(range.offset))?;
            }
        }
        Ok(())
    }
}

/// An offset as QEMU prints it: not at all if zero.
struct At(u64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, " @{:016x}", self.0) }
    }
}

/// Lays one piece of each side over the other.
fn combine(
    regions: &Regions,
    start: u128,
    end: u128,
    read: Option<Piece>,
    write: Option<Piece>,
) -> Option<Range> {
    let main = read.or(write)?;
    let region = regions.get(main.region);
    let same =
        read.map(|piece| (piece.region, piece.offset)) == write.map(|piece| (piece.region, piece.offset));
    let target = |piece: Option<Piece>| piece.map_or(Target::Nothing, |piece| piece.target(regions));
    let kind = match (same, target(read), target(write)) {
        (false, ..) => Kind::Split,
        (true, Target::Block { .. }, Target::Nothing) => Kind::Rom,
        (true, Target::Block { .. }, _) => Kind::Ram,
        (true, ..) => Kind::Device,
    };
    let write_name = write.filter(|_| !same).map(|piece| regions.get(piece.region).name.clone());
    Some(Range {
        start: start as u64,
        end: (end - 1) as u64,
        name: region.name.clone(),
        priority: region.priority,
        read: target(read),
        write: target(write),
        kind,
        write_name,
        offset: main.offset,
        source: (read.map(|piece| piece.region), write.map(|piece| piece.region)),
        write_offset: write.map_or(0, |piece| piece.offset),
    })
}

/// Part of a region as one side sees it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u128,
    /// First address after it.
    end: u128,
    region: RegionId,
    /// Offset of `start` within the region.
    offset: u64,
    /// Writes only: they are dropped.
    dropped: bool,
}

impl Piece {
    /// The rest of the piece from `at`, which lies within it.
    fn from(&self, at: u128) -> Piece {
        Piece { start: at, offset: self.offset.wrapping_add((at - self.start) as u64), ..*self }
    }

    fn target(&self, regions: &Regions) -> Target {
        match regions.get(self.region).content {
            _ if self.dropped => Target::Nothing,
            Content::Ram { block, offset } => {
                Target::Block { block, offset: offset.wrapping_add(self.offset) }
            }
            Content::Device { tag } => Target::Device { tag, offset: self.offset },
            Content::Container | Content::Alias { .. } | Content::Split { .. } => Target::Nothing,
        }
    }
}

/// One walk over the tree, front to back: what is already covered stays.
struct Pass<'a> {
    regions: &'a Regions,
    writes: bool,
    /// Sorted and disjoint.
    pieces: Vec<Piece>,
}

impl Pass<'_> {
    fn run(regions: &Regions, root: RegionId, writes: bool) -> Vec<Piece> {
        let mut pass = Pass { regions, writes, pieces: Vec::new() };
        pass.render(root, 0, 0, 1 << 64, false);
        pass.pieces
    }

    /// Shows `region`, whose first byte is at `base` (outside the address space, perhaps), within
    /// `low..high`.
    fn render(&mut self, id: RegionId, base: i128, low: i128, high: i128, dropped: bool) {
        let region = self.regions.get(id);
        let low = low.max(base);
        let high = high.min(base + region.size as i128);
        if !region.enabled || low >= high {
            return;
        }
        let dropped = dropped || (self.writes && region.read_only);
        match region.content {
            Content::Alias { target, offset } => {
                self.render(target, base - i128::from(offset), low, high, dropped)
            }
            Content::Split { write, .. } if self.writes => self.render(write, base, low, high, dropped),
            Content::Split { read, .. } => self.render(read, base, low, high, dropped),
            Content::Container | Content::Ram { .. } | Content::Device { .. } => {
                for &child in &region.children {
                    let offset = i128::from(self.regions.get(child).offset);
                    self.render(child, base + offset, low, high, dropped);
                }
                if region.content != Content::Container {
                    let whole = Piece {
                        start: low as u128,
                        end: high as u128,
                        region: id,
                        offset: (low - base) as u64,
                        dropped,
                    };
                    self.fill_gaps(whole);
                }
            }
        }
    }

    /// Adds what of `whole` is not covered yet.
    fn fill_gaps(&mut self, whole: Piece) {
        let first = self.pieces.partition_point(|piece| piece.end <= whole.start);
        let mut added = Vec::new();
        let mut at = whole.start;
        let mut next = first;
        while at < whole.end {
            let covered = self.pieces.get(next).filter(|piece| piece.start < whole.end);
            let edge = covered.map_or(whole.end, |piece| piece.start);
            if at < edge {
                added.push(Piece { end: edge, ..whole.from(at) });
            }
            let Some(piece) = covered else { break };
            added.push(*piece);
            at = piece.end;
            next += 1;
        }
        self.pieces.splice(first..next, added);
    }
}
