//! Snapshots: everything a machine needs to continue bit for bit, in one file.
//!
//! | bytes | |
//! |---|---|
//! | 18 | `warmboot snapshot` and a line feed |
//! | 4 | version, little-endian |
//! | 8 | length of the header |
//! | 8 | length of the body |
//! | header | JSON that a person can read: [`Header`] |
//! | body | LZ4 chunks: the pages of the RAM blocks in the header's order, then its blobs |
//! | 32 | BLAKE3 of everything before |
//!
//! What is saved is what is not derived: the address map, the TLB, decoded code and firmware tables
//! are made again when a machine is built from the header's configuration. ROM images are inside;
//! disk images are named by BLAKE3 and size and must be given back, while what the guest wrote to
//! them is part of the drives' state.

mod body;
mod carried;
mod config;
mod error;
mod file;
mod header;
mod load;
mod save;

pub(crate) use carried::Taking;
pub use carried::{Carried, ChipSection, ProcessorSection};
pub use config::{DriveWanted, SavedConfig, SavedDrive, SavedImage};
pub use error::SnapshotError;
pub use file::{START, check_start};
pub use header::{BlockSection, Header, PageSection};
pub use load::Snapshot;

/// Version of the file's layout; grows with each change of it.
pub const VERSION: u32 = 1;
