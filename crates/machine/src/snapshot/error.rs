//! Why a snapshot cannot be made or taken.

use crate::ConfigError;

/// What is wrong with a snapshot, at which byte of the file, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file ends too early.
    #[error("the snapshot ends at byte {length}: expected at least {expected} bytes")]
    Truncated {
        /// Its length.
        length: u64,
        /// What it should have.
        expected: u64,
    },
    /// Bytes follow the checksum.
    #[error("the snapshot has {length} bytes: expected {expected}, {} too many", length - expected)]
    Trailing {
        /// Its length.
        length: u64,
        /// What it should have.
        expected: u64,
    },
    /// Another kind of file.
    #[error("not a snapshot: byte {offset} is not what every snapshot begins with (`warmboot snapshot`)")]
    Foreign {
        /// The first byte that is wrong.
        offset: u64,
    },
    /// A layout this program does not know.
    #[error("the snapshot has version {found} (at byte {offset}): expected {expected}")]
    Version {
        /// Where the version stands.
        offset: u64,
        /// What it is.
        found: u32,
        /// What this program writes and reads.
        expected: u32,
    },
    /// The lengths of header and body cannot be.
    #[error("the snapshot's {what} has {length} bytes (says byte {offset}): expected at most {most}")]
    Length {
        /// Header or body.
        what: &'static str,
        /// Where the length stands.
        offset: u64,
        /// What it is.
        length: u64,
        /// The most it can be.
        most: u64,
    },
    /// Some byte has changed.
    #[error(
        "the snapshot is damaged: its first {offset} bytes give checksum {found}, and it says {expected}"
    )]
    Checksum {
        /// Where the checksum stands.
        offset: u64,
        /// BLAKE3 of what is before.
        found: String,
        /// BLAKE3 that the file names.
        expected: String,
    },
    /// The header is not what a snapshot of this version has.
    #[error("the snapshot's header at byte {offset}: {reason}")]
    Header {
        /// Where it was noticed.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The compressed part cannot be expanded to what the header says.
    #[error("the snapshot's body at byte {offset}: {reason}")]
    Body {
        /// Where it was noticed.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A RAM block of the file is not the machine's.
    #[error("RAM block `{block}` in the snapshot: {reason}")]
    Block {
        /// Its name.
        block: String,
        /// What is wrong.
        reason: String,
    },
    /// A page's bytes are not those its digest names.
    #[error("page {page} of RAM block `{block}` has digest {found}: the header says {expected}")]
    Page {
        /// The block.
        block: String,
        /// Page number in it.
        page: u64,
        /// BLAKE3 of the bytes.
        found: String,
        /// BLAKE3 in the header.
        expected: String,
    },
    /// A chip of the file is not the machine's, or its state is none that such a chip can have.
    #[error("chip `{chip}` in the snapshot: {reason}")]
    Chip {
        /// Its name.
        chip: String,
        /// What is wrong.
        reason: String,
    },
    /// A chip's state has another layout.
    #[error("chip `{chip}` in the snapshot has version {found}: expected {expected}")]
    ChipVersion {
        /// Its name.
        chip: String,
        /// The version in the file.
        found: u32,
        /// The version of this program's chip.
        expected: u32,
    },
    /// A processor cannot be in the state of the file.
    #[error("the processor in the snapshot: {0}")]
    Processor(#[from] warmboot_cpu::StateError),
    /// The clock or the wires cannot be as the file says.
    #[error("the {part} in the snapshot: {reason}")]
    Part {
        /// Clock or wires.
        part: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A disk image was not given.
    #[error("the snapshot needs the image of drive {at} (`{name}`, {size} bytes, digest {digest})")]
    DriveMissing {
        /// The drive.
        at: String,
        /// Its image's name when the snapshot was made.
        name: String,
        /// Its length in bytes.
        size: u64,
        /// What [`BlockSource::digest`](crate::BlockSource::digest) says of it.
        digest: String,
    },
    /// A disk image is not the one the machine had.
    #[error("drive {at} has an image of {found}: the snapshot expects {expected}")]
    DriveDiffers {
        /// The drive.
        at: String,
        /// Size and digest of what was given.
        found: String,
        /// Size and digest of what the machine had.
        expected: String,
    },
    /// The machine cannot be built.
    #[error("the machine in the snapshot: {0}")]
    Config(#[from] ConfigError),
    /// The machine's generation is in no list, so that a file cannot name it.
    #[error(
        "a machine of a generation that is in no list (a changed `{generation}`) cannot be saved to a file"
    )]
    UnnamedGeneration {
        /// The name it goes by.
        generation: String,
    },
}
