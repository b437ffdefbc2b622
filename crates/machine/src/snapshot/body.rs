//! The compressed part: LZ4 chunks of a mebibyte each, every one behind its length in four bytes.

use super::SnapshotError;

/// Bytes before compression in every chunk but the last.
const CHUNK: usize = 1 << 20;
/// LZ4 says at most 255 bytes with one.
const MOST_RATIO: u64 = 256;

/// Compresses `pieces` as if they were one.
pub(super) fn compress<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut put = |chunk: &mut Vec<u8>| {
        let packed = lz4_flex::block::compress(chunk);
        body.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        body.extend_from_slice(&packed);
        chunk.clear();
    };
    for mut piece in pieces {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(CHUNK - chunk.len()));
            chunk.extend_from_slice(now);
            piece = later;
            if chunk.len() == CHUNK {
                put(&mut chunk);
            }
        }
    }
    if !chunk.is_empty() {
        put(&mut chunk);
    }
    body
}

/// Expands a body to the `expected` bytes the header tells of. `at` is where it begins in the file.
/// No more is allocated than the body can expand to.
pub(super) fn expand(body: &[u8], expected: u64, at: u64) -> Result<Vec<u8>, SnapshotError> {
    let fail = |offset: usize, reason: String| {
        Err(SnapshotError::Body { offset: at.saturating_add(offset as u64), reason })
    };
    if expected > (body.len() as u64).saturating_mul(MOST_RATIO) {
        return fail(0, format!("{} bytes: too few to hold the {expected} of the header", body.len()));
    }
    let mut bytes = vec![0; expected as usize];
    let mut read = 0;
    for chunk in bytes.chunks_mut(CHUNK) {
        let Some(length) = body.get(read..).and_then(|rest| rest.first_chunk::<4>()) else {
            return fail(read, "ends before the pages and blobs of the header do".into());
        };
        let length = u32::from_le_bytes(*length) as usize;
        let start = read + 4;
        let Some(packed) = start.checked_add(length).and_then(|end| body.get(start..end)) else {
            return fail(read, format!("a chunk of {length} bytes reaches past the end"));
        };
        match lz4_flex::block::decompress_into(packed, chunk) {
            Ok(done) if done == chunk.len() => {}
            Ok(done) => {
                return fail(read, format!("a chunk expands to {done} bytes: expected {}", chunk.len()));
            }
            Err(error) => return fail(read, format!("a chunk cannot be expanded: {error}")),
        }
        read = start + length;
    }
    if read != body.len() {
        return fail(read, format!("{} bytes behind the last chunk", body.len() - read));
    }
    Ok(bytes)
}
