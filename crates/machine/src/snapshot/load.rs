//! From a file to a machine.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use warmboot_chipset::disk::{AbsentSource, BlockSource};
use warmboot_memory::{Memory, PAGE_SIZE};

use super::{DriveWanted, Header, SnapshotError, Taking, body, file, save::BLOB};
use crate::{Machine, Path};

/// The longest array of bytes in a chip's state; drives' buffers and clusters are shorter.
const LONGEST: usize = 1 << 20;

/// A file that is whole: its header, and the bytes of pages and blobs.
#[derive(Clone, Debug)]
pub struct Snapshot {
    header: Header,
    bytes: Vec<u8>,
    /// Where each blob lies in `bytes`; the pages lie before them.
    blobs: Vec<Range<usize>>,
}

impl Snapshot {
    /// Reads a file: checks its frame, its checksum and that header and body fit together.
    ///
    /// # Errors
    /// What is wrong, at which offset of the file, and what was expected. Nothing large is allocated
    /// before the checksum is right.
    pub fn read(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let parts = file::unframe(bytes)?;
        let header: Header = serde_json::from_slice(parts.header).map_err(|error| {
            let line_start = parts
                .header
                .split(|byte| *byte == b'\n')
                .take(error.line().saturating_sub(1))
                .map(|line| line.len() + 1)
                .sum::<usize>();
            let offset = file::HEADER_AT + line_start + error.column().saturating_sub(1);
            SnapshotError::Header { offset: offset as u64, reason: error.to_string() }
        })?;
        let page_count: usize = header.blocks.iter().map(|block| block.pages.len()).sum();
        let mut end = (page_count as u64).saturating_mul(PAGE_SIZE as u64);
        let mut blobs = Vec::with_capacity(header.blobs.len());
        for length in &header.blobs {
            let start = end;
            end = end.saturating_add(*length);
            blobs.push(start as usize..end as usize);
        }
        let bytes = body::expand(parts.body, end, parts.body_at)?;
        Ok(Snapshot { header, bytes, blobs })
    }

    /// Everything but bytes.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The disk images it needs back.
    ///
    /// # Errors
    /// A slot or digest that is none.
    pub fn drives(&self) -> Result<Vec<DriveWanted>, SnapshotError> {
        self.header.config.drives.iter().map(super::SavedDrive::wanted).collect()
    }

    /// Bytes in the file after expansion: pages, images and logs.
    #[must_use]
    pub fn expanded(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Builds the machine: it goes on exactly where the saved one stood. `bases` gives disk images
    /// back; `path` runs it by another execution path than the saved one, which no digest shows.
    ///
    /// # Errors
    /// What of the contents cannot be.
    pub fn machine(
        &self,
        path: Option<Path>,
        bases: &mut dyn FnMut(&DriveWanted) -> Option<Arc<dyn BlockSource>>,
    ) -> Result<Machine, SnapshotError> {
        let blobs: Vec<&[u8]> =
            self.blobs.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default()).collect();
        let mut config = self.header.config.rebuild(&blobs, bases)?;
        config.path = path.unwrap_or(config.path);
        let mut machine = Machine::new(&config)?;
        self.fill(&mut machine.board.memory)?;
        let mut state = self.header.state.clone();
        let mut unused: Vec<Option<&[u8]>> = blobs.iter().copied().map(Some).collect();
        for chip in &mut state.chips {
            lower(&mut chip.state, &mut unused)
                .map_err(|reason| SnapshotError::Chip { chip: chip.name.clone(), reason })?;
        }
        machine.take(state, Taking::Exactly)?;
        // Behind the images come the logs, LPT1's only where it exists, then what chips had.
        let logs = self.header.config.images();
        let parallel = self.header.config.parallel;
        for (log, blob) in [
            (&mut machine.board.attachments.debug_log, blobs.get(logs)),
            (&mut machine.board.attachments.serial_log, blobs.get(logs + 1)),
            (&mut machine.board.attachments.parallel_log, blobs.get(logs + 2).filter(|_| parallel)),
        ] {
            *log = blob.copied().unwrap_or_default().to_vec().into();
        }
        Ok(machine)
    }

    /// The machine without its disk images: to be looked at. Running it on is refused.
    ///
    /// # Errors
    /// What of the contents cannot be.
    pub fn machine_without_disks(&self) -> Result<Machine, SnapshotError> {
        self.machine(None, &mut |drive| {
            Some(Arc::new(AbsentSource { size: drive.size, digest: drive.digest }))
        })
    }

    /// Fills the blocks with the pages.
    fn fill(&self, memory: &mut Memory) -> Result<(), SnapshotError> {
        let wrong = |block: &str, reason: String| SnapshotError::Block { block: block.into(), reason };
        let here: Vec<_> =
            memory.blocks().map(|block| (block.id, block.name.to_owned(), block.size)).collect();
        if let Some((_, name, _)) = here.get(self.header.blocks.len()) {
            return Err(wrong(name, "is missing".into()));
        }
        let mut pages = self.bytes.chunks_exact(PAGE_SIZE);
        for (index, section) in self.header.blocks.iter().enumerate() {
            let Some((id, _, size)) = here.get(index).filter(|(_, name, _)| *name == section.name) else {
                return Err(wrong(&section.name, "this machine has none at that place".into()));
            };
            if section.size != *size {
                return Err(wrong(&section.name, format!("has {} bytes: expected {size}", section.size)));
            }
            memory.clear_block(*id);
            let mut next = 0;
            for super::PageSection(page, digest) in &section.pages {
                let frame = memory.frame_of(*id, *page).filter(|_| *page >= next);
                let (Some(frame), Some(bytes)) = (frame, pages.next()) else {
                    return Err(wrong(
                        &section.name,
                        format!("page {page} is out of order or beyond the end"),
                    ));
                };
                next = page + 1;
                memory.frame_mut(frame).copy_from_slice(bytes);
                let found = file::hex(blake3::hash(bytes).as_bytes());
                if found != *digest {
                    return Err(SnapshotError::Page {
                        block: section.name.clone(),
                        page: *page,
                        found,
                        expected: digest.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl Machine {
    /// The machine of a file made by [`Machine::save`]: it goes on exactly where the saved one stood.
    /// `bases` gives back the disk images, which are checked by size and digest.
    ///
    /// # Errors
    /// What is wrong with the file, or which image is missing or another one.
    pub fn load(
        bytes: &[u8],
        bases: &mut dyn FnMut(&DriveWanted) -> Option<Arc<dyn BlockSource>>,
    ) -> Result<Machine, SnapshotError> {
        Snapshot::read(bytes)?.machine(None, bases)
    }
}

/// Puts long arrays of bytes back into a chip's state. Each blob can be used once, so that a small
/// file cannot become a large state.
fn lower(state: &mut Value, blobs: &mut [Option<&[u8]>]) -> Result<(), String> {
    match state {
        Value::Object(fields) => fields.values_mut().try_for_each(|value| lower(value, blobs)),
        Value::Array(items) => items.iter_mut().try_for_each(|item| lower(item, blobs)),
        Value::String(text) => {
            let Some(number) = text.strip_prefix(BLOB) else { return Ok(()) };
            let blob = number.parse().ok().and_then(|number: usize| blobs.get_mut(number));
            let bytes = blob.and_then(Option::take).filter(|bytes| bytes.len() <= LONGEST);
            let bytes =
                bytes.ok_or_else(|| format!("there is no `{text}` of at most {LONGEST} bytes left"))?;
            *state = Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect());
            Ok(())
        }
        _ => Ok(()),
    }
}
