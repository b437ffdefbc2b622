//! The frame of the file: magic, version, lengths and checksum. Nothing inside is looked at before
//! the checksum is right.

use super::{SnapshotError, VERSION};

/// What every snapshot begins with.
const MAGIC: &[u8; 18] = b"warmboot snapshot\n";
const VERSION_AT: usize = MAGIC.len();
const HEADER_LENGTH_AT: usize = VERSION_AT + 4;
const BODY_LENGTH_AT: usize = HEADER_LENGTH_AT + 8;
/// Where the header begins.
pub(super) const HEADER_AT: usize = BODY_LENGTH_AT + 8;
const CHECKSUM: usize = blake3::OUT_LEN;
/// The largest header: its JSON takes a multiple of its length while it is looked at.
pub(super) const HEADER_MOST: u64 = 256 << 20;

/// The largest body.
const BODY_MOST: u64 = 1 << 40;
/// Bytes of a file that [`check_start`] looks at.
pub const START: usize = HEADER_AT;

/// The two parts of a file whose frame is right.
pub(super) struct Parts<'a> {
    pub header: &'a [u8],
    pub body: &'a [u8],
    /// Where the body begins.
    pub body_at: u64,
}

/// Puts header and body into a frame.
pub(super) fn frame(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_AT + header.len() + body.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// What the first [`START`] bytes of a file say.
struct Start {
    header: u64,
    /// Bytes the whole file should have.
    expected: u64,
}

/// Reads the beginning of a file of `length` bytes, of which `bytes` are the first.
fn start(bytes: &[u8], length: u64) -> Result<Start, SnapshotError> {
    let differs = bytes.iter().zip(MAGIC).position(|(is, wanted)| is != wanted);
    if let Some(offset) = differs {
        return Err(SnapshotError::Foreign { offset: offset as u64 });
    }
    let least = (HEADER_AT + CHECKSUM) as u64;
    let truncated = |expected| SnapshotError::Truncated { length, expected };
    let version = u32::from_le_bytes(field(bytes, VERSION_AT).ok_or(truncated(least))?);
    if version != VERSION {
        return Err(SnapshotError::Version { offset: VERSION_AT as u64, found: version, expected: VERSION });
    }
    let header = u64::from_le_bytes(field(bytes, HEADER_LENGTH_AT).ok_or(truncated(least))?);
    let body = u64::from_le_bytes(field(bytes, BODY_LENGTH_AT).ok_or(truncated(least))?);
    for (what, offset, found, most) in
        [("header", HEADER_LENGTH_AT, header, HEADER_MOST), ("body", BODY_LENGTH_AT, body, BODY_MOST)]
    {
        if found > most {
            return Err(SnapshotError::Length { what, offset: offset as u64, length: found, most });
        }
    }
    let expected = least + header + body;
    match length {
        length if length < expected => Err(truncated(expected)),
        length if length > expected => Err(SnapshotError::Trailing { length, expected }),
        _ => Ok(Start { header, expected }),
    }
}

/// Whether a file of `length` bytes that begins with `bytes` can be a snapshot: tells before a large
/// one is read.
///
/// # Errors
/// What is wrong with its first [`START`] bytes or its length.
pub fn check_start(bytes: &[u8], length: u64) -> Result<(), SnapshotError> {
    start(bytes, length).map(|_| ())
}

/// Takes a frame apart.
pub(super) fn unframe(bytes: &[u8]) -> Result<Parts<'_>, SnapshotError> {
    let Start { header, expected } = start(bytes, bytes.len() as u64)?;
    debug_assert_eq!(expected, bytes.len() as u64);
    let (covered, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    let found = blake3::hash(covered);
    if found.as_bytes() != checksum {
        return Err(SnapshotError::Checksum {
            offset: covered.len() as u64,
            found: found.to_hex().to_string(),
            expected: hex(checksum),
        });
    }
    let (header, body) = covered[HEADER_AT..].split_at(header as usize);
    Ok(Parts { header, body, body_at: (HEADER_AT + header.len()) as u64 })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
