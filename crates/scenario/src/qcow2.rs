//! qcow2 disk images, versions 2 and 3, for reading.
//!
//! Specification: QEMU's docs/interop/qcow2. Everything a file says of itself is checked when it is
//! opened: tables and clusters lie inside it and none is used twice, so that reading a whole image takes
//! no longer than the bytes the file really has allow. Reference counts and internal snapshots decide
//! nothing of what the disk holds now, and are not looked at.
//!
//! Ours, because no crate reads what `qemu-img` makes: `imago` 0.2 has neither extended L2 entries nor zstd,
//! `qcow2-core` 0.2 no backing files and no compressed clusters.

use std::{
    io::{self, Read as _},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::StreamingDecoder;

use crate::images::{Content, Format};

/// How a file begins.
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";

// Fields of the header: offsets in bytes.
const VERSION: usize = 4;
const BACKING_FILE_OFFSET: usize = 8;
const BACKING_FILE_SIZE: usize = 16;
const CLUSTER_BITS: usize = 20;
const SIZE: usize = 24;
const CRYPT_METHOD: usize = 32;
const L1_SIZE: usize = 36;
const L1_TABLE_OFFSET: usize = 40;
const REFCOUNT_TABLE_OFFSET: usize = 48;
const REFCOUNT_TABLE_CLUSTERS: usize = 56;
const HEADER_LENGTH_2: u64 = 72;
// Of version 3.
const INCOMPATIBLE_FEATURES: usize = 72;
const REFCOUNT_ORDER: usize = 96;
const HEADER_LENGTH: usize = 100;
const HEADER_LENGTH_3: u64 = 104;
const COMPRESSION_TYPE: usize = 104;

// Incompatible features. Dirty and corrupt are about reference counts and about writing.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

// Header extensions.
const EXTENSIONS_END: u32 = 0;
const BACKING_FILE_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE_NAME: u32 = 0x4441_5441;

// Entries of the L1 and L2 tables.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const READS_ZERO: u64 = 1 << 0;
const COMPRESSED: u64 = 1 << 62;
const COPIED: u64 = 1 << 63;

/// Extended entries divide a cluster into so many parts.
const SUBCLUSTERS: u64 = 32;

// Limits that QEMU has, too.
const MAX_CLUSTER_BITS: u32 = 21;
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MAX_NAME: u64 = 1023;

/// What zstd's level 19 asks for; QEMU's frames ask for less.
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

/// L2 tables are read by pieces of this size.
const PIECE: u64 = 4096;

/// A file that an image names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// What shows where the image has no cluster, and its format where that is said.
    Backing { name: String, format: Option<Format> },
    /// Where the clusters are, when not in the image's own file.
    Data { name: String },
}

/// An image that was opened.
pub(crate) struct Image {
    file: Arc<dyn Content>,
    data: Option<Arc<dyn Content>>,
    backing: Option<Arc<dyn Content>>,
    version: u32,
    size: u64,
    cluster_bits: u32,
    extended: bool,
    compression: Compression,
    l1: Vec<u64>,
    cache: Mutex<Cache>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compression {
    Zlib,
    Zstd,
}

/// What was read last: of the L2 tables, and of compressed clusters.
#[derive(Default)]
struct Cache {
    table: Option<(u64, Vec<u8>)>,
    cluster: Option<(u64, Arc<[u8]>)>,
}

/// What an entry of an L2 table says of its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cluster {
    Unallocated,
    Zeros,
    Data {
        at: u64,
    },
    /// Bits by subcluster.
    Parts {
        at: u64,
        allocated: u32,
        zeros: u32,
    },
    Compressed {
        at: u64,
        length: u64,
    },
}

/// Where bytes of the disk come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mapping {
    Backing,
    Zeros,
    Data(u64),
    Compressed { at: u64, length: u64 },
}

impl Image {
    /// Reads and checks the header and the tables; `find` opens the files it names.
    pub(crate) fn open(
        file: Arc<dyn Content>,
        find: &mut dyn FnMut(&Named) -> io::Result<Arc<dyn Content>>,
    ) -> io::Result<Image> {
        let header = Header::read(file.as_ref())?;
        let data = header.data_file.as_ref().map(&mut *find).transpose()?;
        let backing = header.backing.as_ref().map(&mut *find).transpose()?;
        let mut l1 = vec![0; header.l1_entries as usize * 8];
        file.read_at(header.l1_offset, &mut l1)?;
        let image = Image {
            file,
            data,
            backing,
            version: header.version,
            size: header.size,
            cluster_bits: header.cluster_bits,
            extended: header.extended,
            compression: header.compression,
            l1: l1.chunks_exact(8).map(|entry| word(entry, 0) & OFFSET).collect(),
            cache: Mutex::default(),
        };
        image.check(header.used)?;
        Ok(image)
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn entry_size(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// Bytes of the disk behind one L2 table.
    fn reach(&self) -> u64 {
        self.cluster() / self.entry_size() * self.cluster()
    }

    /// Checks every entry of the tables, and that no bytes of the file are used twice. A table that is there twice is
    /// found before one is read: what is read, and remembered, is no more than what the file has.
    fn check(&self, mut used: Used) -> io::Result<()> {
        let cluster = self.cluster();
        let tables = || self.l1.iter().copied().enumerate().filter(|(_, table)| *table != 0);
        for (index, table) in tables() {
            let disk = index as u64 * self.reach();
            let what = |problem| bad(format!("the L2 table of byte {disk} of the disk {problem}"));
            if !table.is_multiple_of(cluster) {
                return Err(what(format!("is said to be at byte {table}, which is no cluster's first")));
            }
            if !inside(self.file.as_ref(), table, cluster) {
                return Err(what(format!("is said to be at byte {table}, outside the file")));
            }
            used.add(table, cluster);
        }
        used.check()?;
        for (index, table) in tables() {
            let disk = index as u64 * self.reach();
            let mut piece = 0;
            while let Some(data) = self.file.data_from(table + piece, table + cluster)? {
                piece = piece.max((data.start - table) / PIECE * PIECE);
                let bytes = self.table_piece(table, piece)?;
                let first = disk + piece / self.entry_size() * cluster;
                for (number, entry) in bytes.chunks_exact(self.entry_size() as usize).enumerate() {
                    let disk = first + number as u64 * cluster;
                    if disk >= self.size {
                        break;
                    }
                    match self.describe(disk, entry)? {
                        Cluster::Unallocated | Cluster::Zeros | Cluster::Parts { allocated: 0, .. } => {}
                        Cluster::Data { .. } | Cluster::Parts { .. } if self.data.is_some() => {}
                        Cluster::Data { at } | Cluster::Parts { at, .. } => used.add(at, cluster),
                        Cluster::Compressed { at, .. } => used.add(at, self.least_compressed()),
                    }
                }
                piece += PIECE;
            }
        }
        used.check()
    }

    /// Bytes that a compressed cluster has at least: DEFLATE makes 258 bytes of two bits at most, and a
    /// block of zstd 128 KiB of four bytes.
    fn least_compressed(&self) -> u64 {
        match self.compression {
            Compression::Zlib => (self.cluster() / 1032).max(1),
            Compression::Zstd => 6 + 4 * self.cluster().div_ceil(128 << 10),
        }
    }

    /// Reads the piece at `offset` of the L2 table at `table`.
    fn table_piece(&self, table: u64, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE.min(self.cluster() - offset) as usize];
        self.file.read_at(table + offset, &mut bytes)?;
        Ok(bytes)
    }

    /// What `entry` says of the cluster at byte `disk` of the disk.
    fn describe(&self, disk: u64, entry: &[u8]) -> io::Result<Cluster> {
        let what = |problem: &str| bad(format!("the cluster of byte {disk} of the disk {problem}"));
        let (cluster, descriptor) = (self.cluster(), word(entry, 0));
        if descriptor & COMPRESSED != 0 {
            if self.data.is_some() {
                return Err(what("is compressed, which it cannot be in a data file"));
            }
            // Bytes, then further sectors of 512 bytes: where one ends follows from the cluster's size.
            let bits = 62 - (self.cluster_bits - 8);
            let at = descriptor & ((1 << bits) - 1);
            let sectors = (descriptor & (COMPRESSED - 1)) >> bits;
            if at >= self.file.size() {
                return Err(what(&format!("is said to be compressed at byte {at}, outside the file")));
            }
            let length = ((sectors + 1) * 512 - at % 512).min(self.file.size() - at);
            return Ok(Cluster::Compressed { at, length });
        }
        let at = descriptor & OFFSET;
        if !at.is_multiple_of(cluster) {
            return Err(what(&format!("is said to be at byte {at}, which is no cluster's first")));
        }
        let there = at != 0 || self.data.is_some() && descriptor & COPIED != 0;
        let (allocated, zeros) = match entry.get(8..) {
            Some(parts) if self.extended => {
                let parts = word(parts, 0);
                (parts as u32, (parts >> 32) as u32)
            }
            _ if descriptor & READS_ZERO != 0 && self.version >= 3 => return Ok(Cluster::Zeros),
            _ if descriptor & READS_ZERO != 0 => {
                return Err(what("is said to read as zeros, which version 2 does not have"));
            }
            _ if there => (u32::MAX, 0),
            _ => return Ok(Cluster::Unallocated),
        };
        if allocated & zeros != 0 {
            return Err(what("has subclusters that are data and zeros at once"));
        }
        if allocated == 0 && zeros == 0 {
            return Ok(Cluster::Unallocated);
        }
        if allocated == 0 && zeros == u32::MAX {
            return Ok(Cluster::Zeros);
        }
        if allocated != 0 {
            if !there {
                return Err(what("has subclusters with data, and no place in the file"));
            }
            let (file, place) = match &self.data {
                Some(data) => (data, "data file"),
                None => (&self.file, "file"),
            };
            if self.data.is_some() && at != disk {
                return Err(what(&format!("is said to be at byte {at} of the data file, not its own place")));
            }
            // The disk, and a file, may end within a cluster.
            let parts = u64::from(u32::BITS - allocated.leading_zeros());
            let length = (cluster / SUBCLUSTERS * parts).max(1).min(self.size - disk);
            if !inside(file.as_ref(), at, length) {
                return Err(what(&format!("is said to be at byte {at}, outside the {place}")));
            }
        }
        Ok(if allocated == u32::MAX { Cluster::Data { at } } else { Cluster::Parts { at, allocated, zeros } })
    }

    /// Where the bytes from `offset` of the disk come from, and how many come from there, at least.
    fn map(&self, offset: u64) -> io::Result<(Mapping, u64)> {
        let cluster = self.cluster();
        let behind = self.reach() - offset % self.reach();
        let table = self.l1.get((offset / self.reach()) as usize).copied().unwrap_or_default();
        if table == 0 {
            return Ok((Mapping::Backing, behind.min(self.size - offset)));
        }
        let entry = offset % self.reach() / cluster * self.entry_size();
        let within = offset % cluster;
        let described = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            let piece = entry / PIECE * PIECE;
            let bytes = match &mut cache.table {
                Some((at, bytes)) if *at == table + piece => bytes,
                last => {
                    let data = self.file.data_from(table + piece, table + cluster)?;
                    let hole = data.map_or(cluster, |data| data.start.saturating_sub(table) / PIECE * PIECE);
                    if hole > piece {
                        let clusters = (hole - entry) / self.entry_size();
                        let length = clusters * cluster - within;
                        return Ok((Mapping::Backing, length.min(self.size - offset)));
                    }
                    let bytes = self.table_piece(table, piece)?;
                    &mut last.insert((table + piece, bytes)).1
                }
            };
            let entry = bytes.get((entry - piece) as usize..).unwrap_or_default();
            let entry = entry.get(..self.entry_size() as usize).unwrap_or_default();
            self.describe(offset - within, entry)?
        };
        let rest = (cluster - within).min(self.size - offset);
        Ok(match described {
            Cluster::Unallocated => (Mapping::Backing, rest),
            Cluster::Zeros => (Mapping::Zeros, rest),
            Cluster::Data { at } => (Mapping::Data(at + within), rest),
            Cluster::Compressed { at, length } => (Mapping::Compressed { at, length }, rest),
            Cluster::Parts { at, allocated, zeros } => {
                let part = cluster / SUBCLUSTERS;
                let bit = 1 << (within / part);
                let rest = (part - within % part).min(rest);
                match (allocated & bit != 0, zeros & bit != 0) {
                    (true, _) => (Mapping::Data(at + within), rest),
                    (false, true) => (Mapping::Zeros, rest),
                    (false, false) => (Mapping::Backing, rest),
                }
            }
        })
    }

    /// The file in which uncompressed clusters are.
    fn clusters(&self) -> &dyn Content {
        self.data.as_ref().unwrap_or(&self.file).as_ref()
    }

    /// The whole compressed cluster of byte `offset` of the disk.
    fn decompressed(&self, offset: u64, at: u64, length: u64) -> io::Result<Arc<[u8]>> {
        let number = offset >> self.cluster_bits;
        let cached = |cache: &Cache| cache.cluster.clone().filter(|(cached, _)| *cached == number);
        if let Some((_, bytes)) = cached(&self.cache.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(bytes);
        }
        let mut packed = vec![0; length as usize];
        self.file.read_at(at, &mut packed)?;
        let mut bytes = vec![0; self.cluster() as usize];
        let whole = match self.compression {
            Compression::Zlib => {
                let mut stream = Decompress::new(false);
                let _ = stream.decompress(&packed, &mut bytes, FlushDecompress::Finish);
                stream.total_out() == self.cluster()
            }
            Compression::Zstd => {
                StreamingDecoder::new_with_max_window_size(packed.as_slice(), MAX_ZSTD_WINDOW)
                    .is_ok_and(|mut stream| stream.read_exact(&mut bytes).is_ok())
            }
        };
        if !whole {
            let disk = number << self.cluster_bits;
            return Err(bad(format!(
                "the cluster of byte {disk} of the disk, compressed at byte {at}, cannot be decompressed"
            )));
        }
        let bytes: Arc<[u8]> = bytes.into();
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).cluster = Some((number, bytes.clone()));
        Ok(bytes)
    }
}

impl Content for Image {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if offset >= self.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (mapping, length) = self.map(offset)?;
            let length = length.min(bytes.len() as u64);
            let (part, behind) = bytes.split_at_mut(length as usize);
            match mapping {
                Mapping::Zeros => part.fill(0),
                Mapping::Data(at) => self.clusters().read_at(at, part)?,
                Mapping::Compressed { at, length } => {
                    let cluster = self.decompressed(offset, at, length)?;
                    let within = (offset % self.cluster()) as usize;
                    part.copy_from_slice(cluster.get(within..within + part.len()).unwrap_or_default());
                }
                Mapping::Backing => {
                    let backing = self.backing.as_deref();
                    let there = backing.map_or(0, |backing| backing.size().saturating_sub(offset));
                    let (there, beyond) = part.split_at_mut(there.min(length) as usize);
                    if let Some(backing) = backing.filter(|_| !there.is_empty()) {
                        backing.read_at(offset, there)?;
                    }
                    beyond.fill(0);
                }
            }
            offset += length;
            bytes = behind;
        }
        Ok(())
    }

    fn data_from(&self, mut offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let end = end.min(self.size);
        while offset < end {
            let (mapping, length) = self.map(offset)?;
            let length = length.min(end - offset);
            // Data behind, moved to where it shows: from `at` there, `offset` here.
            let found = match (mapping, &self.backing) {
                (Mapping::Zeros, _) | (Mapping::Backing, None) => None,
                (Mapping::Compressed { .. }, _) => return Ok(Some(offset..offset + length)),
                (Mapping::Data(at), _) => self.clusters().data_from(at, at + length)?.map(|data| (at, data)),
                (Mapping::Backing, Some(backing)) => {
                    backing.data_from(offset, offset + length)?.map(|data| (offset, data))
                }
            };
            if let Some((at, data)) = found {
                return Ok(Some(offset + (data.start - at)..offset + (data.end - at)));
            }
            offset += length;
        }
        Ok(None)
    }
}

/// The header, as far as reading needs it.
struct Header {
    version: u32,
    size: u64,
    cluster_bits: u32,
    extended: bool,
    compression: Compression,
    l1_offset: u64,
    l1_entries: u64,
    backing: Option<Named>,
    data_file: Option<Named>,
    used: Used,
}

impl Header {
    fn read(file: &dyn Content) -> io::Result<Header> {
        let mut start = vec![0; file.size().min(1 << MAX_CLUSTER_BITS) as usize];
        file.read_at(0, &mut start)?;
        if (start.len() as u64) < HEADER_LENGTH_2 || !start.starts_with(&MAGIC) {
            return Err(bad("it does not begin with a qcow2 header"));
        }
        let version = half(&start, VERSION);
        if !(2..=3).contains(&version) {
            return Err(bad(format!("qcow version {version} is not read; expected 2 or 3")));
        }
        let cluster_bits = half(&start, CLUSTER_BITS);
        if !(9..=MAX_CLUSTER_BITS).contains(&cluster_bits) {
            return Err(bad(format!("cluster_bits is {cluster_bits}; expected 9 to {MAX_CLUSTER_BITS}")));
        }
        let cluster = 1_u64 << cluster_bits;
        start.truncate(cluster as usize);
        match half(&start, CRYPT_METHOD) {
            0 => {}
            method => {
                let name = match method {
                    1 => "AES".to_owned(),
                    2 => "LUKS".to_owned(),
                    method => format!("method {method}"),
                };
                return Err(bad(format!("it is encrypted ({name}), which is not read")));
            }
        }
        let (mut features, mut length, mut compression) = (0, HEADER_LENGTH_2, 0);
        if version >= 3 {
            if (start.len() as u64) < HEADER_LENGTH_3 {
                return Err(bad("its header is cut short"));
            }
            features = word(&start, INCOMPATIBLE_FEATURES);
            length = half(&start, HEADER_LENGTH).into();
            if !(HEADER_LENGTH_3..=start.len() as u64).contains(&length) {
                return Err(bad(format!("header_length is {length}; expected 104 to {}", start.len())));
            }
            let order = half(&start, REFCOUNT_ORDER);
            if order > 6 {
                return Err(bad(format!("refcount_order is {order}; expected 0 to 6")));
            }
            if length > COMPRESSION_TYPE as u64 {
                compression = start.get(COMPRESSION_TYPE).copied().unwrap_or_default();
            }
        }
        let unknown = features & !(DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION | EXTENDED_L2);
        if unknown != 0 {
            return Err(bad(format!("it has incompatible features that are not known: {unknown:#x}")));
        }
        let compression = match (features & COMPRESSION != 0, compression) {
            (false, 0) => Compression::Zlib,
            (true, 1) => Compression::Zstd,
            (true, other @ 2..) => return Err(bad(format!("compression type {other} is not known"))),
            _ => return Err(bad("its compression type and its features do not fit")),
        };
        let extended = features & EXTENDED_L2 != 0;
        if extended && cluster_bits < 14 {
            return Err(bad(format!("cluster_bits is {cluster_bits}; extended L2 entries need 14")));
        }

        let size = word(&start, SIZE);
        let reach = cluster / if extended { 16 } else { 8 } * cluster;
        let l1_entries = size.div_ceil(reach);
        let (l1_size, l1_offset) = (u64::from(half(&start, L1_SIZE)), word(&start, L1_TABLE_OFFSET));
        if size > i64::MAX as u64 || l1_size * 8 > MAX_L1_BYTES {
            return Err(bad(format!(
                "a disk of {size} bytes with an L1 table of {l1_size} entries is too large"
            )));
        }
        if l1_entries > l1_size {
            return Err(bad(format!(
                "its L1 table has {l1_size} entries; a disk of {size} bytes needs {l1_entries}"
            )));
        }
        let refcounts = word(&start, REFCOUNT_TABLE_OFFSET);
        let refcounts_length = u64::from(half(&start, REFCOUNT_TABLE_CLUSTERS)) * cluster;
        if refcounts_length > MAX_REFCOUNT_TABLE_BYTES.max(cluster) {
            return Err(bad(format!("its refcount table of {refcounts_length} bytes is too large")));
        }
        let mut used = Used::default();
        used.add(0, cluster);
        for (name, at, length) in [("L1", l1_offset, l1_size * 8), ("refcount", refcounts, refcounts_length)]
        {
            if !at.is_multiple_of(cluster) || !inside(file, at, length) {
                return Err(bad(format!("its {name} table is said to be at byte {at}, where it cannot be")));
            }
            used.add(at, length.next_multiple_of(cluster));
        }

        let end = start.len() as u64;
        let backing = match word(&start, BACKING_FILE_OFFSET) {
            0 => None,
            at => Some((at, u64::from(half(&start, BACKING_FILE_SIZE)))),
        };
        let extensions = Extensions::read(&start, length, backing.map_or(end, |(at, _)| at.min(end)))?;
        let backing = match backing {
            None | Some((_, 0)) => None,
            Some((at, length)) => {
                if length > MAX_NAME || at.checked_add(length).is_none_or(|last| last > end) {
                    return Err(bad("its backing file's name does not lie in the first cluster"));
                }
                let name = text(start.get(at as usize..(at + length) as usize).unwrap_or_default())?;
                let format = extensions.backing_format;
                let format = format.map(|format| {
                    Format::named(&format).ok_or_else(|| {
                        bad(format!(
                            "its backing file has format `{}`, which is not read; expected raw or qcow2",
                            format.escape_debug()
                        ))
                    })
                });
                Some(Named::Backing { name, format: format.transpose()? })
            }
        };
        let data_file = match (features & EXTERNAL_DATA_FILE != 0, extensions.data_file) {
            (false, _) => None,
            (true, Some(name)) => Some(Named::Data { name }),
            (true, None) => return Err(bad("its data is in another file, which it does not name")),
        };
        Ok(Header {
            version,
            size,
            cluster_bits,
            extended,
            compression,
            l1_offset,
            l1_entries,
            backing,
            data_file,
            used,
        })
    }
}

/// The header extensions that matter to reading.
#[derive(Default)]
struct Extensions {
    backing_format: Option<String>,
    data_file: Option<String>,
}

impl Extensions {
    fn read(start: &[u8], mut at: u64, end: u64) -> io::Result<Extensions> {
        let mut extensions = Extensions::default();
        while at + 8 <= end {
            let kind = half(start, at as usize);
            if kind == EXTENSIONS_END {
                break;
            }
            let length = u64::from(half(start, at as usize + 4));
            at += 8;
            if length > end - at {
                return Err(bad(format!("its header extension {kind:#010x} of {length} bytes is too long")));
            }
            let bytes = start.get(at as usize..(at + length) as usize).unwrap_or_default();
            match kind {
                BACKING_FILE_FORMAT => extensions.backing_format = Some(text(bytes)?),
                DATA_FILE_NAME => extensions.data_file = Some(text(bytes)?),
                _ => {}
            }
            at += length.next_multiple_of(8);
        }
        Ok(extensions)
    }
}

/// Bytes of a file that something was found in. What follows the last one is joined to it.
#[derive(Default)]
struct Used {
    runs: Vec<Range<u64>>,
}

impl Used {
    fn add(&mut self, at: u64, length: u64) {
        let end = at.saturating_add(length);
        if at == end {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.end == at => last.end = end,
            _ => self.runs.push(at..end),
        }
    }

    fn check(&mut self) -> io::Result<()> {
        self.runs.sort_unstable_by_key(|run| (run.start, run.end));
        for (run, next) in self.runs.iter().zip(self.runs.iter().skip(1)) {
            if next.start < run.end {
                return Err(bad(format!("its bytes from {} are used twice", next.start)));
            }
        }
        Ok(())
    }
}

fn inside(file: &dyn Content, at: u64, length: u64) -> bool {
    at.checked_add(length).is_some_and(|end| end <= file.size())
}

fn bad(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

fn text(bytes: &[u8]) -> io::Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(bad("a name in its header is no text")),
    }
}

/// The 32-bit number at `at`, zero behind the end.
fn half(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    u32::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// The 64-bit number at `at`, zero behind the end.
fn word(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    u64::from_be_bytes(bytes.copied().unwrap_or_default())
}

/// Opens `bytes` as a qcow2 image and reads what it has, up to a limit: for fuzzing. The files that it
/// names are short ones of zeros. How many bytes were read, if it is an image.
pub fn fuzz_image(bytes: &[u8]) -> Option<u64> {
    const MOST: u64 = 8 << 20;
    let mut find = |_: &Named| Ok(Arc::new(vec![0_u8; 1 << 16]) as Arc<dyn Content>);
    let image = Image::open(Arc::new(bytes.to_vec()), &mut find).ok()?;
    let (mut at, mut count) = (0, 0);
    let mut part = vec![0; 1 << 16];
    while count < MOST {
        let Some(data) = image.data_from(at, image.size).ok()? else { break };
        assert!(at <= data.start && data.start < data.end && data.end <= image.size, "{at}: {data:?}");
        let length = (data.end - data.start).min(part.len() as u64);
        image.read_at(data.start, part.get_mut(..length as usize)?).ok()?;
        (at, count) = (data.start + length, count + length);
    }
    Some(count)
}

#[cfg(test)]
mod tests;
