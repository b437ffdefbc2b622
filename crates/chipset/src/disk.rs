//! What a drive reads and writes: a shared, read-only base below a copy-on-write layer.
//!
//! The base is wiring: it is named by size and BLAKE3 digest and never saved. The [`Overlay`] is
//! state: it holds every cluster the guest wrote and is part of the drive's saved state.

use crate::Moment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Bytes of an ATA or floppy sector.
pub const SECTOR: u64 = 512;

/// Bytes per cluster of the copy-on-write layer.
const CLUSTER: u64 = 4096;

/// Why bytes of a disk cannot be had or kept. The guest sees it as an error of the device.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DiskError {
    /// The image behind the disk could not be read.
    #[error("cannot read the disk image at byte {offset}: {reason}")]
    Source {
        /// First byte asked for.
        offset: u64,
        /// The host's words.
        reason: String,
    },
    /// The disk is write protected.
    #[error("the disk is write protected")]
    ReadOnly,
    /// The range leaves the disk.
    #[error("bytes {offset} and following lie outside the disk")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
    },
}

/// A disk image as the machine sees it: immutable and shared.
///
/// Implementations must give the same bytes for ever; a changed file must surface as an error.
pub trait BlockSource: Send + Sync {
    /// Length in bytes; need not be a multiple of the sector size.
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset`. The range lies inside [`BlockSource::size`].
    ///
    /// # Errors
    /// When the image cannot be read; the guest then sees a device error.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError>;

    /// What names the bytes in snapshots and digests: one for the same bytes, however they are held.
    fn digest(&self) -> [u8; 32];

    /// Whether there are bytes at all: a machine that is only looked at can do without.
    fn is_present(&self) -> bool {
        true
    }
}

/// An image of which only the name is known: enough to look at a machine, not to run it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbsentSource {
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of the image.
    pub digest: [u8; 32],
}

impl BlockSource for AbsentSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, _bytes: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::Source { offset, reason: "the image was not given".into() })
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn is_present(&self) -> bool {
        false
    }
}

/// An image held in memory.
#[derive(Clone)]
pub struct MemorySource(pub Arc<[u8]>);

impl BlockSource for MemorySource {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(bytes.len())?))
            .ok_or(DiskError::OutOfRange { offset })?;
        bytes.copy_from_slice(source);
        Ok(())
    }

    fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

/// An image of zeros that takes no memory.
#[derive(Clone, Copy, Debug)]
pub struct ZeroSource {
    /// Length in bytes.
    pub size: u64,
}

impl BlockSource for ZeroSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        bytes.fill(0);
        Ok(())
    }

    /// Not the digest of the zeros themselves, which would take minutes for a large disk, but one
    /// that only a zero image of this size has.
    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"warmboot zero image");
        hasher.update(&self.size.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// The medium of one drive: base image, write protection and speed. Wiring, cheap to clone.
#[derive(Clone)]
pub struct Disk {
    base: Arc<dyn BlockSource>,
    /// Writes are refused.
    pub read_only: bool,
    /// Virtual time one request takes.
    pub latency_ns: u64,
}

impl fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Disk")
            .field("size", &self.size())
            .field("read_only", &self.read_only)
            .field("latency_ns", &self.latency_ns)
            .finish()
    }
}

impl Disk {
    /// What a request takes when nothing else is asked for: long enough to be seen by polling,
    /// short enough not to slow a boot.
    pub const DEFAULT_LATENCY_NS: u64 = 5_000;

    /// A writable disk over `base` with the default latency.
    #[must_use]
    pub fn new(base: Arc<dyn BlockSource>) -> Disk {
        Disk { base, read_only: false, latency_ns: Disk::DEFAULT_LATENCY_NS }
    }

    /// The same disk, write protected or not.
    #[must_use]
    pub fn with_read_only(self, read_only: bool) -> Disk {
        Disk { read_only, ..self }
    }

    /// The same disk with each request taking `latency_ns`.
    #[must_use]
    pub fn with_latency(self, latency_ns: u64) -> Disk {
        Disk { latency_ns, ..self }
    }

    /// The image below the copy-on-write layer.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn BlockSource> {
        &self.base
    }

    /// Length of the image in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.base.size()
    }

    /// Sectors of 512 bytes; a partial last one counts and is filled up with zeros.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.size().div_ceil(SECTOR)
    }

    /// When a request made at `now` is done.
    #[must_use]
    pub fn done_at(&self, now: Moment) -> Moment {
        now.after(self.latency_ns)
    }

    /// Fills `bytes` from byte `offset` of base and overlay.
    ///
    /// # Errors
    /// When the range leaves the last sector or the base cannot be read.
    pub fn read(&self, overlay: &Overlay, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        self.check(offset, bytes.len())?;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = (at % CLUSTER) as usize;
            let length = rest.len().min(CLUSTER as usize - start);
            let (part, behind) = rest.split_at_mut(length);
            match overlay.clusters.get(&(at / CLUSTER)).and_then(|bytes| bytes.get(start..start + length)) {
                Some(written) => part.copy_from_slice(written),
                None => self.read_base(at, part)?,
            }
            at += length as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Writes `bytes` at byte `offset` into the overlay.
    ///
    /// # Errors
    /// When the disk is write protected, the range leaves the last sector, or the rest of a partly
    /// written cluster cannot be read from the base; nothing of that cluster is written then.
    pub fn write(&self, overlay: &mut Overlay, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if self.read_only {
            return Err(DiskError::ReadOnly);
        }
        self.check(offset, bytes.len())?;
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = (at % CLUSTER) as usize;
            let (part, behind) = rest.split_at(rest.len().min(CLUSTER as usize - start));
            let mut cluster = vec![0; CLUSTER as usize];
            match overlay.clusters.get(&(at / CLUSTER)) {
                Some(old) if old.len() == cluster.len() => cluster.copy_from_slice(old),
                _ if part.len() == cluster.len() => {}
                _ => self.read_base(at / CLUSTER * CLUSTER, &mut cluster)?,
            }
            cluster[start..start + part.len()].copy_from_slice(part);
            // A guest may zero a whole disk at one stroke (virtio's WRITE ZEROES).
            let zeros = cluster.iter().all(|byte| *byte == 0);
            let cluster = if zeros { zero_cluster() } else { cluster.into() };
            Arc::make_mut(&mut overlay.clusters).insert(at / CLUSTER, cluster);
            at += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn check(&self, offset: u64, length: usize) -> Result<(), DiskError> {
        let end = offset.checked_add(length as u64);
        let inside = end.is_some_and(|end| end.div_ceil(SECTOR) <= self.sectors());
        if inside { Ok(()) } else { Err(DiskError::OutOfRange { offset }) }
    }

    /// Reads the base, with zeros behind its end.
    fn read_base(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        let inside = self.size().saturating_sub(offset).min(bytes.len() as u64) as usize;
        let (image, behind) = bytes.split_at_mut(inside);
        behind.fill(0);
        if image.is_empty() { Ok(()) } else { self.base.read_at(offset, image) }
    }
}

/// The one cluster of zeros that all overlays share.
fn zero_cluster() -> Arc<[u8]> {
    static ZEROS: LazyLock<Arc<[u8]>> = LazyLock::new(|| vec![0; CLUSTER as usize].into());
    ZEROS.clone()
}

/// What the guest wrote: clusters that hide those of the base. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overlay {
    clusters: Arc<BTreeMap<u64, Arc<[u8]>>>,
}

impl Overlay {
    /// Bytes per cluster.
    pub const CLUSTER: u64 = CLUSTER;

    /// The written clusters in order, as (byte offset in the disk, bytes). The last one may reach
    /// past the end of the image.
    pub fn written(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.clusters.iter().map(|(number, bytes)| (number.saturating_mul(CLUSTER), bytes.as_ref()))
    }

    /// Nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }
}

/// How firmware should translate cylinders, heads and sectors, as CMOS 39h says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Translation {
    /// The physical geometry is used as it is.
    None,
    /// Linear block addresses behind 255 heads and 63 sectors.
    Lba,
    /// Cylinders halved and heads doubled until they fit.
    Large,
}

/// A hard disk's physical geometry and the translation that suits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Geometry {
    /// Cylinders, at most 16,383.
    pub cylinders: u16,
    /// Heads, 1-16.
    pub heads: u8,
    /// Sectors per track, 1-63.
    pub sectors: u8,
    /// The translation.
    pub translation: Translation,
}

impl Geometry {
    /// Guesses as QEMU does: from where the first usable partition ends, or else from the size.
    #[must_use]
    pub fn guess(disk: &Disk) -> Geometry {
        let sectors = disk.sectors();
        match partition_ends(disk) {
            Some((heads, per_track, cylinders)) if heads <= 16 => {
                Geometry { cylinders, heads: heads as u8, sectors: per_track, translation: Translation::None }
            }
            // More than 16 heads: the partition table was written through a translating BIOS.
            Some((heads, _, cylinders)) => {
                let large = u32::from(cylinders) * u32::from(heads) <= 131_072;
                let translation = if large { Translation::Large } else { Translation::Lba };
                Geometry { translation, ..Geometry::from_size(sectors) }
            }
            None => Geometry::from_size(sectors),
        }
    }

    /// 16 heads, 63 sectors, and as many cylinders as fit.
    fn from_size(sectors: u64) -> Geometry {
        let cylinders = (sectors / (16 * 63)).clamp(2, 16_383) as u16;
        let translation = if cylinders <= 1024 { Translation::None } else { Translation::Lba };
        Geometry { cylinders, heads: 16, sectors: 63, translation }
    }
}

/// (heads, sectors per track, cylinders) if a partition of the master boot record ends, as
/// partitions do, on a cylinder's last head and sector.
fn partition_ends(disk: &Disk) -> Option<(u16, u8, u16)> {
    let mut record = [0; SECTOR as usize];
    disk.read(&Overlay::default(), 0, &mut record).ok()?;
    if record[510..] != [0x55, 0xaa] {
        return None;
    }
    record[446..510].chunks_exact(16).find_map(|entry| {
        let length = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
        let (last_head, per_track) = (entry[5], entry[6] & 63);
        if length == 0 || last_head == 0 || per_track == 0 {
            return None;
        }
        let heads = u16::from(last_head) + 1;
        let cylinders = disk.sectors() / (u64::from(heads) * u64::from(per_track));
        (1..=16_383).contains(&cylinders).then_some((heads, per_track, cylinders as u16))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn memory(bytes: Vec<u8>) -> Disk {
        Disk::new(Arc::new(MemorySource(bytes.into())))
    }

    #[rstest]
    #[case::empty(0, 2, 16, 63, Translation::None)]
    #[case::floppy_sized(1 << 20, 2, 16, 63, Translation::None)]
    #[case::eight_mebibytes(8 << 20, 16, 16, 63, Translation::None)]
    #[case::half_gibibyte(504 << 20, 1024, 16, 63, Translation::None)]
    #[case::one_gibibyte(1 << 30, 2080, 16, 63, Translation::Lba)]
    #[case::twenty_gibibytes(20 << 30, 16_383, 16, 63, Translation::Lba)]
    fn geometry_from_size(
        #[case] size: u64,
        #[case] cylinders: u16,
        #[case] heads: u8,
        #[case] sectors: u8,
        #[case] translation: Translation,
    ) {
        let disk = Disk::new(Arc::new(ZeroSource { size }));
        assert_eq!(Geometry::guess(&disk), Geometry { cylinders, heads, sectors, translation });
    }

    #[rstest]
    #[case::untranslated(7, 17, (150, 8, 17, Translation::None))]
    #[case::translated(254, 63, (20, 16, 63, Translation::Large))]
    #[case::no_head(0, 63, (20, 16, 63, Translation::None))]
    fn geometry_from_partition(
        #[case] last_head: u8,
        #[case] per_track: u8,
        #[case] (cylinders, heads, sectors, translation): (u16, u8, u8, Translation),
    ) {
        let mut bytes = vec![0; 10 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[446 + 5] = last_head;
        bytes[446 + 6] = per_track;
        bytes[446 + 12] = 1;
        assert_eq!(Geometry::guess(&memory(bytes)), Geometry { cylinders, heads, sectors, translation });
    }

    #[test]
    fn forks_do_not_see_each_other() {
        let disk = memory(vec![7; 10_000]);
        let mut first = Overlay::default();
        disk.write(&mut first, 512, &[1; 512]).unwrap();
        let mut second = first.clone();
        disk.write(&mut second, 512, &[2; 512]).unwrap();
        let mut bytes = [0; 512];
        disk.read(&first, 512, &mut bytes).unwrap();
        assert_eq!(bytes, [1; 512]);
        assert_ne!(first, second);
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<Overlay>(&text).unwrap(), second);
    }

    #[test]
    fn refusals() {
        let disk = memory(vec![0; 513]);
        let mut overlay = Overlay::default();
        assert!(disk.read(&overlay, 512, &mut [0; 512]).is_ok());
        assert!(disk.read(&overlay, 1024, &mut [0; 1]).is_err());
        assert!(disk.read(&overlay, u64::MAX, &mut [0; 512]).is_err());
        assert!(disk.write(&mut overlay, 512, &[0; 513]).is_err());
        assert_eq!(disk.with_read_only(true).write(&mut overlay, 0, &[1]), Err(DiskError::ReadOnly));
        assert!(overlay.is_empty());
    }

    proptest! {
        /// Reads give what a plain array would, whatever was written before.
        #[test]
        fn like_an_array(
            size in 0_usize..9_000,
            writes in prop::collection::vec((0_usize..10_000, 0_usize..5_000, any::<u8>()), 0..12),
        ) {
            let disk = memory((0..size).map(|at| at as u8).collect());
            let mut overlay = Overlay::default();
            let mut model: Vec<u8> = (0..size).map(|at| at as u8).collect();
            model.resize(size.div_ceil(512) * 512, 0);
            for (offset, length, value) in writes {
                let fits = offset + length <= model.len();
                let done = disk.write(&mut overlay, offset as u64, &vec![value; length]);
                prop_assert_eq!(done.is_ok(), fits);
                if fits {
                    model[offset..offset + length].fill(value);
                }
            }
            let mut all = vec![0; model.len()];
            disk.read(&overlay, 0, &mut all).unwrap();
            prop_assert_eq!(all, model);
        }
    }
}
