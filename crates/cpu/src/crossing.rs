//! Instructions that begin in one page and end in the next.
//!
//! Blocks end with their page, so such an instruction is always executed alone, by fetching its bytes. What they were
//! decoded to is kept here, one instruction for each linear page it begins in, and is right as long as both
//! translations and all bytes are the same: of the former the stamp tells, the latter are compared each time.

use crate::{Bus, Frame, Lowered, decode::LONGEST};

/// Slots, a power of two: large guests have some hundreds of such instructions.
const SLOTS: usize = 1024;

struct Crossing<B: Bus> {
    rip: u64,
    linear: u64,
    /// [`crate::Core::code_stamp`] when it was fetched.
    stamp: u64,
    /// Where the first bytes are, and the rest.
    frames: (Frame, Frame),
    bytes: [u8; LONGEST],
    lowered: Lowered<B>,
}

impl<B: Bus> Crossing<B> {
    fn is_at(&self, rip: u64, linear: u64, stamp: u64) -> bool {
        self.linear == linear && self.stamp == stamp && self.rip == rip
    }
}

/// Such instructions of one processor; empty until the first.
pub(crate) struct Crossings<B: Bus>(Vec<Option<Crossing<B>>>);

impl<B: Bus> Default for Crossings<B> {
    fn default() -> Self {
        Crossings(Vec::new())
    }
}

impl<B: Bus> Crossings<B> {
    fn slot(linear: u64) -> usize {
        (linear >> 12) as usize & (SLOTS - 1)
    }

    /// Whether one was found at offset `rip` of its segment, and at `linear`, under this stamp.
    pub(crate) fn has(&self, rip: u64, linear: u64, stamp: u64) -> bool {
        matches!(self.0.get(Self::slot(linear)), Some(Some(known)) if known.is_at(rip, linear, stamp))
    }

    /// The one found there, if its bytes are still the same.
    pub(crate) fn get(&self, bus: &B, (rip, linear, stamp): (u64, u64, u64)) -> Option<Lowered<B>> {
        let known =
            self.0.get(Self::slot(linear))?.as_ref().filter(|known| known.is_at(rip, linear, stamp))?;
        let bytes = known.bytes.get(..usize::from(known.lowered.op.length))?;
        let start = bus.frame(known.frames.0).get((linear & 0xfff) as usize..)?;
        let (first, rest) = bytes.split_at_checked(start.len())?;
        (first == start && bus.frame(known.frames.1).starts_with(rest)).then_some(known.lowered)
    }

    /// Keeps one, fetched at `linear` from the ends of two frames.
    pub(crate) fn keep(
        &mut self,
        (rip, linear, stamp): (u64, u64, u64),
        frames: (Frame, Frame),
        bytes: [u8; LONGEST],
        lowered: Lowered<B>,
    ) {
        if self.0.is_empty() {
            self.0.resize_with(SLOTS, || None);
        }
        if let Some(slot) = self.0.get_mut(Self::slot(linear)) {
            *slot = Some(Crossing { rip, linear, stamp, frames, bytes, lowered });
        }
    }
}
