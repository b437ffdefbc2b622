use std::{fs, path::Path};

use flate2::{Compress, FlushCompress};
use proptest::prelude::*;
use rstest::rstest;
use warmboot_machine::BlockSource;

use super::*;
use crate::images;

const DISK: u64 = 1 << 20;
const BASE: u8 = 0xba;

/// What one cluster of a [`Sketch`] has.
#[derive(Clone, Copy)]
enum Has {
    Nothing,
    Zeros,
    Bytes(u8),
    Packed(u8),
    /// Even subclusters, the third as zeros.
    Parts(u8),
}

/// An image to write, of which what is not said is plain: version 3, clusters of 64 KiB, a disk of 1 MiB.
struct Sketch<'a> {
    version: u32,
    cluster_bits: u32,
    features: u64,
    zstd: bool,
    backing: Option<(&'a str, &'a str)>,
    data_file: Option<&'a str>,
    clusters: &'a [Has],
}

const PLAIN: Sketch<'_> = Sketch {
    version: 3,
    cluster_bits: 16,
    features: 0,
    zstd: false,
    backing: None,
    data_file: None,
    clusters: &[Has::Bytes(1), Has::Nothing, Has::Zeros, Has::Bytes(2)],
};

/// A frame of one block that repeats a byte (RFC 8878).
fn zstd_frame(byte: u8, length: u32) -> Vec<u8> {
    assert!(length <= 128 << 10, "one block");
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x38];
    frame.extend(length.to_le_bytes());
    frame.extend(&((length << 3) | 0b011).to_le_bytes()[..3]);
    frame.push(byte);
    frame
}

impl Sketch<'_> {
    /// Header, refcount table (empty), L1, one L2, clusters.
    fn write(&self) -> Vec<u8> {
        let cluster = 1_usize << self.cluster_bits;
        let mut bytes = vec![0; 4 * cluster];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(VERSION, &self.version.to_be_bytes());
        put(CLUSTER_BITS, &self.cluster_bits.to_be_bytes());
        put(SIZE, &DISK.to_be_bytes());
        put(L1_SIZE, &((DISK.div_ceil(cluster as u64 * cluster as u64 / 16)) as u32).to_be_bytes());
        put(L1_TABLE_OFFSET, &(2 * cluster as u64).to_be_bytes());
        put(REFCOUNT_TABLE_OFFSET, &(cluster as u64).to_be_bytes());
        put(REFCOUNT_TABLE_CLUSTERS, &1_u32.to_be_bytes());
        let mut at = HEADER_LENGTH_2 as usize;
        if self.version >= 3 {
            let features = self.features | if self.zstd { COMPRESSION } else { 0 };
            put(INCOMPATIBLE_FEATURES, &features.to_be_bytes());
            put(REFCOUNT_ORDER, &4_u32.to_be_bytes());
            put(HEADER_LENGTH, &112_u32.to_be_bytes());
            put(COMPRESSION_TYPE, &[self.zstd.into()]);
            at = 112;
        }
        let format = self.backing.map(|(_, format)| (BACKING_FILE_FORMAT, format));
        let data_file = self.data_file.map(|name| (DATA_FILE_NAME, name));
        for (kind, text) in format.into_iter().chain(data_file).filter(|(_, text)| !text.is_empty()) {
            put(at, &kind.to_be_bytes());
            put(at + 4, &(text.len() as u32).to_be_bytes());
            put(at + 8, text.as_bytes());
            at += 8 + text.len().next_multiple_of(8);
        }
        if let Some((name, _)) = self.backing {
            at += 8;
            put(BACKING_FILE_OFFSET, &(at as u64).to_be_bytes());
            put(BACKING_FILE_SIZE, &(name.len() as u32).to_be_bytes());
            put(at, name.as_bytes());
        }
        put(2 * cluster, &((3 * cluster as u64) | COPIED).to_be_bytes());
        let extended = self.features & EXTENDED_L2 != 0;
        for (index, has) in self.clusters.iter().enumerate() {
            let at = bytes.len() as u64;
            let (entry, parts) = match *has {
                Has::Nothing => (0, 0),
                Has::Zeros if extended => (0, u64::from(u32::MAX) << 32),
                Has::Zeros => (READS_ZERO, 0),
                Has::Bytes(byte) => {
                    bytes.extend(vec![byte; cluster]);
                    (at | COPIED, u32::MAX.into())
                }
                Has::Parts(byte) => {
                    bytes.extend(vec![byte; cluster]);
                    (at | COPIED, 0x5555_5555 | 1 << 35)
                }
                Has::Packed(byte) => {
                    let packed = if self.zstd {
                        zstd_frame(byte, cluster as u32)
                    } else {
                        let mut packed = Vec::with_capacity(2 * cluster);
                        let mut stream = Compress::new(flate2::Compression::default(), false);
                        stream
                            .compress_vec(&vec![byte; cluster], &mut packed, FlushCompress::Finish)
                            .unwrap();
                        packed
                    };
                    let sectors = (at % 512 + packed.len() as u64 - 1) / 512;
                    bytes.extend(packed);
                    // The next cluster begins at its own place; in a file's last one the sector may be cut.
                    if index + 1 < self.clusters.len() {
                        bytes.resize(bytes.len().next_multiple_of(cluster), 0);
                    }
                    (COMPRESSED | sectors << (62 - (self.cluster_bits - 8)) | at, 0)
                }
            };
            let at = 3 * cluster + index * if extended { 16 } else { 8 };
            bytes[at..at + 8].copy_from_slice(&entry.to_be_bytes());
            if extended {
                bytes[at + 8..at + 16].copy_from_slice(&parts.to_be_bytes());
            }
        }
        bytes
    }

    /// What its clusters show where the backing file has `behind`.
    fn shows(&self, behind: u8) -> Vec<u8> {
        let cluster = 1_usize << self.cluster_bits;
        let mut bytes = vec![behind; DISK as usize];
        for (has, bytes) in self.clusters.iter().zip(bytes.chunks_mut(cluster)) {
            match *has {
                Has::Nothing => {}
                Has::Zeros => bytes.fill(0),
                Has::Bytes(byte) | Has::Packed(byte) => bytes.fill(byte),
                Has::Parts(byte) => {
                    for (number, part) in bytes.chunks_mut(cluster / 32).enumerate() {
                        match number {
                            3 => part.fill(0),
                            number if number % 2 == 0 => part.fill(byte),
                            _ => {}
                        }
                    }
                }
            }
        }
        bytes
    }
}

/// Opens `image` in a folder with the images it may stand before.
fn open(image: &[u8]) -> io::Result<Arc<dyn BlockSource>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("written");
    write("base.raw", &vec![BASE; DISK as usize]);
    write("short.raw", &[BASE; 1000]);
    write("base.qcow2", &Sketch { backing: Some(("base.raw", "raw")), clusters: &[], ..PLAIN }.write());
    write("data", &vec![7; DISK as usize]);
    write("self.qcow2", &Sketch { backing: Some(("other.qcow2", "")), ..PLAIN }.write());
    write("other.qcow2", &Sketch { backing: Some(("self.qcow2", "qcow2")), ..PLAIN }.write());
    write("image", image);
    images::open(&folder.path().join("image"), None)
}

fn read(source: &dyn BlockSource) -> Vec<u8> {
    let mut bytes = vec![0; source.size() as usize];
    source.read_at(0, &mut bytes).expect("read");
    bytes
}

#[rstest]
#[case::version_2(Sketch { version: 2, clusters: &[Has::Bytes(1), Has::Nothing, Has::Packed(3)], ..PLAIN }, 0)]
#[case::version_3(PLAIN, 0)]
#[case::small(Sketch { cluster_bits: 9, ..PLAIN }, 0)]
#[case::large(Sketch { cluster_bits: 21, clusters: &[Has::Nothing], ..PLAIN }, 0)]
#[case::zlib(Sketch { clusters: &[Has::Packed(1), Has::Bytes(2), Has::Packed(3)], ..PLAIN }, 0)]
#[case::zstd(Sketch { zstd: true, clusters: &[Has::Packed(1), Has::Bytes(2), Has::Packed(3)], ..PLAIN }, 0)]
#[case::extended(Sketch {
    features: EXTENDED_L2, clusters: &[Has::Parts(1), Has::Nothing, Has::Zeros, Has::Bytes(2), Has::Packed(3)], ..PLAIN
}, 0)]
#[case::before_raw(Sketch { backing: Some(("base.raw", "raw")), ..PLAIN }, BASE)]
#[case::before_what_it_is(Sketch { backing: Some(("base.qcow2", "")), ..PLAIN }, BASE)]
#[case::before_a_protocol(Sketch { backing: Some(("file:base.qcow2", "qcow2")), ..PLAIN }, BASE)]
#[case::version_2_before_qcow2(Sketch {
    version: 2, backing: Some(("base.qcow2", "qcow2")), clusters: &[Has::Packed(1)], ..PLAIN
}, BASE)]
#[case::extended_before_raw(Sketch {
    features: EXTENDED_L2, backing: Some(("base.raw", "raw")), clusters: &[Has::Parts(1)], ..PLAIN
}, BASE)]
#[case::dirty_and_corrupt(Sketch { features: DIRTY | CORRUPT, ..PLAIN }, 0)]
fn reads(#[case] sketch: Sketch<'_>, #[case] behind: u8) {
    let source = open(&sketch.write()).expect("opens");
    let expect = sketch.shows(behind);
    assert!(read(source.as_ref()) == expect);
    assert_eq!(source.digest(), *blake3::hash(&expect).as_bytes());
    // The same bytes, asked for in pieces that fit nothing.
    for at in (0..DISK - 5000).step_by(70_001) {
        let mut piece = [0; 5000];
        source.read_at(at, &mut piece).expect("read");
        assert!(piece == expect[at as usize..at as usize + 5000], "at {at}");
    }
}

#[test]
fn shows_zeros_behind_a_short_backing_file() {
    let source = open(&Sketch { backing: Some(("short.raw", "raw")), clusters: &[], ..PLAIN }.write());
    let bytes = read(source.expect("opens").as_ref());
    assert!(bytes[..1000].iter().all(|byte| *byte == BASE) && bytes[1000..].iter().all(|byte| *byte == 0));
}

#[test]
fn reads_a_data_file() {
    let mut image =
        Sketch { features: EXTERNAL_DATA_FILE, data_file: Some("data"), clusters: &[], ..PLAIN }.write();
    // The disk's first cluster is at the data file's first, the third reads as zeros.
    for (index, entry) in [(0, COPIED), (2, READS_ZERO), (4, 0x4_0000 | COPIED)] {
        image[0x3_0000 + index * 8..][..8].copy_from_slice(&u64::to_be_bytes(entry));
    }
    let bytes = read(open(&image).expect("opens").as_ref());
    let found: Vec<u8> = bytes.chunks(1 << 16).map(|cluster| cluster[0]).collect();
    assert_eq!(found, [7, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

const L2: usize = 0x3_0000;

#[rstest]
#[case::other_version(VERSION, &[0, 0, 0, 4], "version 4")]
#[case::version_1(VERSION, &[0, 0, 0, 1], "version 1")]
#[case::small_clusters(CLUSTER_BITS, &[0, 0, 0, 8], "cluster_bits is 8")]
#[case::large_clusters(CLUSTER_BITS, &[0, 0, 0, 22], "cluster_bits is 22")]
#[case::absurd_clusters(CLUSTER_BITS, &[255; 4], "cluster_bits is 4294967295")]
#[case::encrypted(CRYPT_METHOD, &[0, 0, 0, 2], "encrypted (LUKS)")]
#[case::encrypted_somehow(CRYPT_METHOD, &[0, 0, 0, 9], "encrypted (method 9)")]
#[case::no_l1(L1_SIZE, &[0; 4], "its L1 table has 0 entries")]
#[case::huge_l1(L1_SIZE, &[255; 4], "too large")]
#[case::long_l1(L1_SIZE, &[0, 0x40, 0, 0], "L1 table is said to be at byte 131072")]
#[case::l1_elsewhere(L1_TABLE_OFFSET, &[255; 8], "its L1 table")]
#[case::l1_in_the_header(L1_TABLE_OFFSET, &[0; 8], "the L2 table of byte 0")]
#[case::huge_disk(SIZE, &[255; 8], "too large")]
#[case::disk_beyond_l1(SIZE, &[0, 255], "its L1 table has 1 entries")]
#[case::huge_refcounts(REFCOUNT_TABLE_CLUSTERS, &[255; 4], "its refcount table")]
#[case::refcounts_elsewhere(REFCOUNT_TABLE_OFFSET, &[1; 8], "its refcount table")]
#[case::refcount_order(REFCOUNT_ORDER, &[0, 0, 0, 7], "refcount_order is 7")]
#[case::header_length(HEADER_LENGTH, &[255; 4], "header_length is 4294967295")]
#[case::short_header(HEADER_LENGTH, &[0, 0, 0, 72], "header_length is 72")]
#[case::features(INCOMPATIBLE_FEATURES, &[0, 0, 0, 0, 0, 0, 1, 0], "not known: 0x100")]
#[case::data_file(INCOMPATIBLE_FEATURES, &[0, 0, 0, 0, 0, 0, 0, 4], "does not name")]
#[case::compression_type(COMPRESSION_TYPE, &[1], "do not fit")]
#[case::extension(112, &[1, 2, 3, 4, 255, 255, 255, 255], "header extension 0x01020304")]
#[case::backing_outside(BACKING_FILE_OFFSET, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], "first cluster")]
#[case::backing_name(BACKING_FILE_OFFSET, &[0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 255, 255], "first cluster")]
#[case::l2_outside(2 << 16, &[0, 1], "L2 table of byte 0 of the disk")]
#[case::l2_misaligned(2 << 16, &[0, 0, 0, 0, 0, 3, 2, 0], "no cluster's first")]
#[case::l2_is_l1(2 << 16, &[0, 0, 0, 0, 0, 2, 0, 0], "used twice")]
#[case::outside(L2, &[0, 1], "the cluster of byte 0 of the disk is said to be at byte 281474976972800")]
#[case::misaligned(L2 + 8, &[0x80, 0, 0, 0, 0, 0, 2, 0], "byte 65536 of the disk is said to be at byte 512")]
#[case::twice(L2 + 8, &[0x80, 0, 0, 0, 0, 4, 0, 0], "its bytes from 262144 are used twice")]
#[case::packed_outside(L2, &[0x40, 1], "compressed at byte")]
#[case::packed_badly(L2 + 24, &[0x40, 0, 0, 0, 0, 5, 255, 0], "cannot be decompressed")]
fn refused(#[case] at: usize, #[case] bytes: &[u8], #[case] expect: &str) {
    let mut image = PLAIN.write();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    check_refused(&image, expect);
}

#[rstest]
#[case::zeros_in_version_2(Sketch { version: 2, ..PLAIN }, "version 2 does not have")]
#[case::extended_small(Sketch { features: EXTENDED_L2, cluster_bits: 9, ..PLAIN }, "extended L2 entries need 14")]
#[case::backing_format(Sketch { backing: Some(("base.raw", "vm\ndk")), ..PLAIN }, "`vm\\ndk`, which is not read")]
#[case::backing_missing(Sketch { backing: Some(("no.raw", "raw")), ..PLAIN }, "its backing file `no.raw`: ")]
#[case::backing_folder(Sketch { backing: Some((".", "raw")), ..PLAIN }, "it is a directory")]
#[case::backing_protocol(Sketch { backing: Some(("nbd://h/x", "raw")), ..PLAIN }, "`nbd:` is not read")]
#[case::backing_json(Sketch { backing: Some(("json:{}", "raw")), ..PLAIN }, "`json:` is not read")]
#[case::backing_is_itself(Sketch { backing: Some(("image", "qcow2")), ..PLAIN }, "it stands behind itself")]
#[case::backing_in_circles(Sketch { backing: Some(("self.qcow2", "")), ..PLAIN },
    "its backing file `self.qcow2`: its backing file `other.qcow2`: its backing file `self.qcow2`: it stands")]
#[case::backing_is_no_image(Sketch { backing: Some(("base.raw", "qcow2")), ..PLAIN }, "does not begin with a qcow2")]
#[case::data_missing(Sketch { features: EXTERNAL_DATA_FILE, data_file: Some("no"), ..PLAIN }, "its data file `no`")]
#[case::data_elsewhere(Sketch { features: EXTERNAL_DATA_FILE, data_file: Some("data"), ..PLAIN }, "not its own place")]
#[case::data_packed(Sketch {
    features: EXTERNAL_DATA_FILE, data_file: Some("data"), clusters: &[Has::Packed(1)], ..PLAIN
}, "which it cannot be in a data file")]
fn refused_sketch(#[case] sketch: Sketch<'_>, #[case] expect: &str) {
    check_refused(&sketch.write(), expect);
}

fn check_refused(image: &[u8], expect: &str) {
    let error = open(image).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains(expect), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let _ = fuzz_image(image);
}

/// However short the file, it is an error and nothing else, or all that the disk holds is there.
#[test]
fn truncated() {
    let image = Sketch { clusters: &[Has::Packed(1), Has::Bytes(2), Has::Nothing], ..PLAIN }.write();
    for length in (0..image.len()).step_by(509) {
        match open(&image[..length]) {
            Ok(_) if length < 4 => {}
            Ok(_) => panic!("{length} bytes of {} opened", image.len()),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}

/// A disk of petabytes whose tables are holes, and one with a table for each entry of a large L1 table.
#[rstest]
#[case::no_tables(0)]
#[case::tables(1)]
fn large_and_empty(#[case] tables: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("image");
    let mut image = Sketch { cluster_bits: 21, clusters: &[], ..PLAIN }.write();
    let (cluster, entries) = (1_u64 << 21, 1_u64 << 12);
    image[SIZE..SIZE + 8].copy_from_slice(&(entries << 39).to_be_bytes());
    image[L1_SIZE..L1_SIZE + 4].copy_from_slice(&(entries as u32).to_be_bytes());
    for (index, entry) in image[2 << 21..].chunks_exact_mut(8).take(entries as usize).enumerate() {
        entry.copy_from_slice(&((3 + index as u64) * tables * cluster).to_be_bytes());
    }
    fs::write(&path, &image).expect("written");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opened");
    file.set_len((4 + entries) * cluster).expect("longer");
    let source = images::open(&path, None).expect("opens");
    let mut bytes = [1; 512];
    source.read_at((entries << 39) - 512, &mut bytes).expect("read");
    assert_eq!((source.size(), bytes), (entries << 39, [0; 512]));
}

/// Each image of a chain has nothing at every second cluster, and zeros between: what is behind one is looked for as
/// far as it reaches, and no further.
#[test]
fn a_chain_of_nothing_is_short_work() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = ["0", "1", "2", "3", "4"].map(|name| folder.path().join(name));
    let clusters: Vec<Has> = [Has::Nothing, Has::Zeros].repeat(4096);
    for (number, path) in names.iter().enumerate() {
        let next = (number + 1).to_string();
        let backing = (number < 4).then_some((next.as_str(), "qcow2"));
        let mut image = Sketch { backing, clusters: &clusters, ..PLAIN }.write();
        image[SIZE..SIZE + 8].copy_from_slice(&(512_u64 << 20).to_be_bytes());
        fs::write(path, image).expect("written");
    }
    let source = images::open(&names[0], None).expect("opens");
    assert_eq!(source.size(), 512 << 20);
}

/// Every L1 entry names one L2 table, of entries that cannot be joined: refused before the table is read so often.
#[test]
fn one_table_for_all() {
    let mut image = Sketch { cluster_bits: 21, clusters: &[], ..PLAIN }.write();
    let (cluster, entries) = (1_u64 << 21, 1_u64 << 12);
    image.resize(6 << 21, 0);
    image[SIZE..SIZE + 8].copy_from_slice(&(entries << 39).to_be_bytes());
    image[L1_SIZE..L1_SIZE + 4].copy_from_slice(&(entries as u32).to_be_bytes());
    for entry in image[2 << 21..].chunks_exact_mut(8).take(entries as usize) {
        entry.copy_from_slice(&(3 * cluster).to_be_bytes());
    }
    for (index, entry) in image[3 << 21..4 << 21].chunks_exact_mut(8).enumerate() {
        entry.copy_from_slice(&((4 + index as u64 % 2) * cluster).to_be_bytes());
    }
    check_refused(&image, "are used twice");
}

/// A large image's digest is one thing for what it holds, however it is held.
#[test]
fn large_images_of_one_content_have_one_digest() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let size: u64 = 3 << 30;
    let sparse = |name: &str, parts: &[(u64, &[u8])]| {
        let file = fs::File::create(path(name)).expect("made");
        file.set_len(size).expect("longer");
        for (at, bytes) in parts {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, *at).expect("written");
        }
    };
    sparse("holes.raw", &[(0x1_0000, &[1; 1 << 16]), (size - 1, &[5])]);
    sparse("zeros.raw", &[(0, &[0; 0x2_0000]), (0x1_0000, &[1; 1 << 16]), (size - 1, &[5])]);
    sparse("other.raw", &[(0x2_0000, &[1; 1 << 16]), (size - 1, &[5])]);
    sparse("base.raw", &[(0x3_0000, &[9; 1 << 16]), (size - 1, &[5])]);
    let mut image = Sketch {
        backing: Some(("base.raw", "raw")),
        clusters: &[Has::Nothing, Has::Packed(1), Has::Nothing, Has::Zeros],
        ..PLAIN
    }
    .write();
    image[SIZE..SIZE + 8].copy_from_slice(&size.to_be_bytes());
    image[L1_SIZE..L1_SIZE + 4].copy_from_slice(&6_u32.to_be_bytes());
    fs::write(path("image.qcow2"), image).expect("written");
    let digest = |name: &str| digest_of(&path(name));
    assert_eq!(digest("zeros.raw"), digest("holes.raw"));
    assert_eq!(digest("image.qcow2"), digest("holes.raw"));
    assert_ne!(digest("other.raw"), digest("holes.raw"));
}

fn digest_of(path: &Path) -> [u8; 32] {
    images::open(path, None).expect("opens").digest()
}

proptest! {
    /// Bytes changed anywhere in the header and the tables never end in anything but an image or an error.
    #[test]
    fn changed(
        which in 0_usize..4,
        changes in prop::collection::vec((0_usize..0x1200, any::<u8>()), 1..8),
        length in 0_usize..0x4000,
    ) {
        let all = [Has::Packed(1), Has::Bytes(2), Has::Packed(3), Has::Nothing, Has::Bytes(4)];
        let sketches = [
            Sketch { cluster_bits: 9, clusters: &all, ..PLAIN },
            Sketch { cluster_bits: 9, zstd: true, clusters: &all, ..PLAIN },
            Sketch { cluster_bits: 9, backing: Some(("base", "raw")), clusters: &all, ..PLAIN },
            Sketch { features: EXTENDED_L2, cluster_bits: 14, clusters: &[Has::Parts(1), Has::Packed(1)], ..PLAIN },
        ];
        let mut image = sketches[which].write();
        let cut = image.len() - length.min(image.len()) / 8;
        image.truncate(cut);
        for (at, byte) in changes {
            // Where the tables are, in small clusters and in those of 16 KiB.
            let at = if which == 3 && at >= 0x200 { at % 0x100 + 0x8000 * (1 + at % 2) / 2 * 2 } else { at };
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
        }
        let _ = fuzz_image(&image);
    }
}
