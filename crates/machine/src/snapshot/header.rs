//! The header: what a person can read of a snapshot.

use serde::{Deserialize, Serialize};

use super::{Carried, SavedConfig};

/// Everything of a snapshot but the bytes of pages and images.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the program that wrote it.
    pub warmboot: String,
    /// What the machine is built from.
    pub config: SavedConfig,
    /// What it does.
    pub state: Carried,
    /// RAM blocks, in the order in which the machine has them.
    pub blocks: Vec<BlockSection>,
    /// Lengths of the byte strings behind the pages: images, logs, long arrays of chips' states.
    pub blobs: Vec<u64>,
}

/// One RAM block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSection {
    /// `pc.ram`, `pc.bios`…
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its pages that are not all zeros, in ascending order.
    pub pages: Vec<PageSection>,
}

/// One page: its number in the block, and BLAKE3 of its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PageSection(pub u64, pub String);
