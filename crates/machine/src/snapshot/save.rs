//! From a machine to a file.

use std::sync::Arc;

use serde_json::Value;
use warmboot_memory::{Frame, Memory};

use super::{BlockSection, Header, PageSection, SavedConfig, SnapshotError, body, file};
use crate::Machine;

/// Arrays of bytes from this length on go to the body; the header stays readable.
const LONG: usize = 512;
/// What stands in the header for such an array, before the blob's number.
pub(super) const BLOB: &str = "blob ";

impl Machine {
    /// The machine as one file: see [`crate::snapshot`]. It goes on unchanged.
    ///
    /// # Errors
    /// When its generation is in no list, so that the file could not name it, or when a chip has more
    /// state than a header can hold.
    pub fn save(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut blobs: Vec<Arc<[u8]>> = Vec::new();
        let config = SavedConfig::of(&self.config, &mut blobs)?;
        let mut state = self.carry()?;
        let attachments = &self.board.attachments;
        let parallel = self.config.parallel.then_some(&attachments.parallel_log);
        for log in [&attachments.debug_log, &attachments.serial_log].into_iter().chain(parallel) {
            blobs.push(log.as_slice().into());
        }
        for chip in &mut state.chips {
            hoist(&mut chip.state, &mut blobs);
        }
        self.board.memory.settle();
        let memory = &self.board.memory;
        let (blocks, frames) = pages(memory);
        let header = Header {
            warmboot: env!("CARGO_PKG_VERSION").into(),
            config,
            state,
            blocks,
            blobs: blobs.iter().map(|blob| blob.len() as u64).collect(),
        };
        let text = serde_json::to_vec(&header)
            .map_err(|error| SnapshotError::Header { offset: 0, reason: error.to_string() })?;
        if text.len() as u64 > file::HEADER_MOST {
            return Err(SnapshotError::Length {
                what: "header",
                offset: 0,
                length: text.len() as u64,
                most: file::HEADER_MOST,
            });
        }
        let pages = frames.iter().map(|frame| memory.frame(*frame).as_slice());
        let body = body::compress(pages.chain(blobs.iter().map(|blob| &**blob)));
        Ok(file::frame(&text, &body))
    }
}

/// Every block with its pages that are not all zeros, and those pages' frames in the same order.
fn pages(memory: &Memory) -> (Vec<BlockSection>, Vec<Frame>) {
    let mut frames = Vec::new();
    let mut blocks = Vec::new();
    for block in memory.blocks() {
        let mut pages = Vec::new();
        for (page, bytes) in memory.touched_pages(block.id) {
            let Some(frame) = memory.frame_of(block.id, page) else { continue };
            if bytes.iter().any(|byte| *byte != 0) {
                pages.push(PageSection(page, file::hex(&memory.page_digest(frame))));
                frames.push(frame);
            }
        }
        blocks.push(BlockSection { name: block.name.into(), size: block.size, pages });
    }
    (blocks, frames)
}

/// Moves long arrays of bytes out of a chip's state.
fn hoist(state: &mut Value, blobs: &mut Vec<Arc<[u8]>>) {
    match state {
        Value::Object(fields) => fields.values_mut().for_each(|value| hoist(value, blobs)),
        Value::Array(items) => {
            let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
            let bytes: Option<Vec<u8>> =
                if items.len() >= LONG { items.iter().map(byte).collect() } else { None };
            match bytes {
                Some(bytes) => {
                    *state = Value::String(format!("{BLOB}{}", blobs.len()));
                    blobs.push(bytes.into());
                }
                None => items.iter_mut().for_each(|item| hoist(item, blobs)),
            }
        }
        _ => {}
    }
}
