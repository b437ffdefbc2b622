//! RAM blocks, byte by byte where two machines do not share the page.

use std::collections::BTreeSet;

use warmboot_machine::Machine;
use warmboot_memory::{BlockId, Memory};

use super::{BlockDiff, RangeDiff, ignore::Rules};
use crate::symbols::{Place, Symbols};

/// Equal bytes between two different ones that do not part them.
const NEAR: u64 = 4;
const PAGE: u64 = 4096;
/// What of the BIOS is seen below 1 MiB.
const LOW_VIEW: u64 = 0x2_0000;
/// Where memory begins to make room for devices, on machines with the most of it below 4 GiB.
const RAM_END: u64 = 0xe000_0000;

/// Where a PC shows the byte at `offset` of a block of `size` bytes, when it shows that block at all:
/// memory at its offset, the BIOS below 1 MiB as far as it fits there and below 4 GiB before that.
#[must_use]
pub fn block_address(block: &str, size: u64, offset: u64) -> Option<u64> {
    let from_end = size.checked_sub(offset).filter(|left| *left != 0)?;
    match block {
        "pc.ram" => (offset < RAM_END).then_some(offset),
        "pc.bios" if from_end <= LOW_VIEW => Some(0x10_0000 - from_end),
        "pc.bios" => (1_u64 << 32).checked_sub(from_end),
        "pc.rom" => Some(0xc_0000 + offset),
        _ => None,
    }
}

/// The blocks that differ.
pub(super) fn compare(
    before: &Machine,
    after: &Machine,
    symbols: &Symbols,
    rules: &mut Rules,
) -> Vec<BlockDiff> {
    let (old, new) = (before.memory(), after.memory());
    let mut names: Vec<&str> = old.blocks().map(|block| block.name).collect();
    names.extend(new.blocks().map(|block| block.name).filter(|name| old.block(name).is_none()));
    let sharing = old.blocks().eq(new.blocks());
    let mut found = Vec::new();
    for name in names {
        let ids = (old.block(name), new.block(name));
        let size = |memory: &Memory, id: Option<BlockId>| id.map(|id| memory.info(id).size);
        let (before_size, after_size) = (size(old, ids.0), size(new, ids.1));
        let mut ranges = Vec::new();
        if let (Some(a), Some(b)) = ids {
            let block = Pair { name, old, new, ids: (a, b), sharing, size: before_size.min(after_size) };
            block.compare(symbols, rules, &mut ranges);
        }
        if !ranges.is_empty() || before_size != after_size {
            found.push(BlockDiff { block: name.to_owned(), before_size, after_size, ranges });
        }
    }
    found
}

/// One block in both machines.
struct Pair<'a> {
    name: &'a str,
    old: &'a Memory,
    new: &'a Memory,
    ids: (BlockId, BlockId),
    /// Both memories have the same blocks, so that pages can be shared.
    sharing: bool,
    /// Bytes that both have.
    size: Option<u64>,
}

impl Pair<'_> {
    fn compare(&self, symbols: &Symbols, rules: &mut Rules, ranges: &mut Vec<RangeDiff>) {
        let size = self.size.unwrap_or(0);
        let touched =
            |memory: &Memory, id| memory.touched_pages(id).map(|(page, _)| page).collect::<Vec<_>>();
        let pages: BTreeSet<u64> =
            touched(self.old, self.ids.0).into_iter().chain(touched(self.new, self.ids.1)).collect();
        let mut open: Option<Open> = None;
        for page in pages {
            if page * PAGE >= size || self.shared(page) {
                continue;
            }
            let (mut old, mut new) = ([0; PAGE as usize], [0; PAGE as usize]);
            let read =
                |memory: &Memory, id, bytes: &mut [u8]| memory.read_block(id, page * PAGE, bytes).is_ok();
            if !read(self.old, self.ids.0, &mut old) || !read(self.new, self.ids.1, &mut new) || old == new {
                continue;
            }
            for (at, (a, b)) in (page * PAGE..).zip(old.iter().zip(&new)) {
                let address = block_address(self.name, size, at);
                if a == b || rules.byte(self.name, at, address) {
                    continue;
                }
                let place = address.and_then(|address| symbols.at(address));
                match &mut open {
                    Some(open) if open.takes(at, place.as_ref()) => open.end = at + 1,
                    _ => {
                        ranges.extend(open.take().and_then(|open| self.close(open)));
                        open = Some(Open { start: at, end: at + 1, address, place });
                    }
                }
            }
        }
        ranges.extend(open.and_then(|open| self.close(open)));
    }

    fn shared(&self, page: u64) -> bool {
        let frame = self.old.frame_of(self.ids.0, page);
        self.sharing && frame.is_some_and(|frame| self.old.shares(self.new, frame))
    }

    fn close(&self, open: Open<'_>) -> Option<RangeDiff> {
        let length = usize::try_from(open.end - open.start).ok()?;
        let read = |memory: &Memory, id| {
            let mut bytes = vec![0; length];
            memory.read_block(id, open.start, &mut bytes).ok()?;
            Some(bytes)
        };
        Some(RangeDiff {
            offset: open.start,
            address: open.address,
            symbol: open.place.map(|place| place.to_string()),
            before: read(self.old, self.ids.0)?,
            after: read(self.new, self.ids.1)?,
        })
    }
}

/// A range that may go on.
struct Open<'a> {
    start: u64,
    end: u64,
    address: Option<u64>,
    place: Option<Place<'a>>,
}

impl Open<'_> {
    /// Whether a byte that differs belongs to this range: near enough, and of the same symbol.
    fn takes(&self, at: u64, place: Option<&Place<'_>>) -> bool {
        let same = match (&self.place, place) {
            (None, None) => true,
            (Some(own), Some(other)) => {
                (own.name, own.high_copy) == (other.name, other.high_copy)
                    && other.offset.checked_sub(own.offset) == Some(at - self.start)
            }
            _ => false,
        };
        same && at - self.end <= NEAR
    }
}
