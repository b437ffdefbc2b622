//! Guest memory: named RAM blocks, the region tree that gives them addresses, and the flat view
//! derived from it.
//!
//! The words are those of QEMU's memory API, so that a reader can hold `warmboot memory-map` beside
//! `info mtree -f`. Nothing here knows PCI, PAM or any chip: the machine turns their registers into
//! region changes and renders the flat view again.
//!
//! - [`Memory`] owns bytes. Blocks are what a snapshot or a migration carries; a fork shares pages.
//! - [`Regions`] owns addresses: containers, RAM, aliases, devices, priorities.
//! - [`FlatView`] answers "who is at this address", for reads and for writes separately.

#![deny(unsafe_code)]

mod blocks;
mod flat;
mod page;
mod regions;

pub use blocks::{BlockId, BlockInfo, Memory, MemoryError};
pub use flat::{FlatView, Kind, Range, Target};
pub use page::{Digest, Frame, PAGE_SIZE};
pub use regions::{RegionError, RegionId, RegionInfo, Regions};

#[cfg(test)]
mod tests;
