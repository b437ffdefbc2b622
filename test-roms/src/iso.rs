//! CD-ROM images: ECMA-119 (ISO 9660) with an El Torito boot record, the same bytes every time.
//!
//! Layout in 2048-byte sectors: 16 primary volume descriptor, 17 boot record, 18 terminator, 19 boot
//! catalogue, 20 left to a boot image, 21 root directory, 22 and 23 path tables; files from 24 on.

/// Bytes of a sector.
pub const SECTOR: usize = 2048;
/// Where the volume descriptor is, and a boot image that is no file.
const VOLUME: u32 = 16;
const CATALOGUE: u32 = 19;
pub(crate) const BOOT: u32 = 20;
const ROOT: u32 = 21;
const PATHS: u32 = 22;
/// The first sector of files.
pub(crate) const FIRST: u32 = 24;

/// A boot image's bytes that a loader is told where it is in (as `mkisofs -boot-info-table`): the volume
/// descriptor's sector, its own, its length, and the sum of what follows, with zeros behind.
const TABLE: std::ops::Range<usize> = 8..64;

/// An image with `files` in its root directory, by names as ECMA-119 wants them (`NAME.EXT;1`). The first is
/// the boot image: its first 2 KiB are loaded to 7C00h, and it is told where the rest is.
#[must_use]
pub fn bootable(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut next = FIRST;
    let places: Vec<u32> = files
        .iter()
        .map(|(_, bytes)| {
            let place = next;
            next += bytes.len().div_ceil(SECTOR).max(1) as u32;
            place
        })
        .collect();
    let entries: Vec<(&str, u32, u32)> =
        files.iter().zip(&places).map(|((name, bytes), place)| (*name, *place, bytes.len() as u32)).collect();
    let mut image = begin(next, FIRST, &entries);
    for (index, ((_, bytes), place)) in files.iter().zip(&places).enumerate() {
        let mut bytes = bytes.to_vec();
        if index == 0 && bytes.len() > TABLE.end {
            tell(&mut bytes, *place);
        }
        let at = *place as usize * SECTOR;
        image[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    image
}

fn tell(boot: &mut [u8], place: u32) {
    let sum = boot[TABLE.end..].chunks(4).fold(0u32, |sum, word| {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        sum.wrapping_add(u32::from_le_bytes(bytes))
    });
    let fields = [VOLUME, place, boot.len() as u32, sum];
    boot[TABLE].fill(0);
    boot[TABLE.start..TABLE.start + 16].copy_from_slice(fields.map(u32::to_le_bytes).as_flattened());
}

/// All but the files of an image of `sectors` whose boot image is at `boot`; `files` are names, places and
/// lengths, of which one sector's worth fits.
pub(crate) fn begin(sectors: u32, boot: u32, files: &[(&str, u32, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; sectors as usize * SECTOR];
    let mut put = |sector: u32, offset: usize, data: &[u8]| {
        let at = sector as usize * SECTOR + offset;
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(VOLUME, 0, &volume_descriptor(sectors));
    put(17, 0, b"\0CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &CATALOGUE.to_le_bytes());
    put(18, 0, b"\xffCD001\x01");
    put(CATALOGUE, 0, &catalogue(boot));
    // "." and "..".
    let own = [0u8, 1].map(|identifier| directory_record(&[identifier], ROOT, SECTOR as u32, 2));
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let records =
        sorted.iter().map(|(name, place, length)| directory_record(name.as_bytes(), *place, *length, 0));
    let mut at = 0;
    for record in own.into_iter().chain(records) {
        put(ROOT, at, &record);
        at += record.len();
    }
    put(PATHS, 0, &[1, 0, ROOT as u8, 0, 0, 0, 1, 0, 0, 0]);
    put(PATHS + 1, 0, &[1, 0, 0, 0, 0, ROOT as u8, 0, 1, 0, 0]);
    bytes
}

/// A number as ECMA-119 7.3.3 has it: little-endian, then big-endian.
fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// As 7.2.3.
fn both16(value: u16) -> [u8; 4] {
    let [low, high] = value.to_le_bytes();
    [low, high, high, low]
}

/// ECMA-119 9.1; the root directory is called 0 in itself and 1 in what is below it, itself too.
fn directory_record(name: &[u8], place: u32, length: u32, flags: u8) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![0; size];
    record[0] = size as u8;
    record[2..10].copy_from_slice(&both32(place));
    record[10..18].copy_from_slice(&both32(length));
    record[18..25].copy_from_slice(&[100, 1, 1, 0, 0, 0, 0]);
    record[25] = flags;
    record[28..32].copy_from_slice(&both16(1));
    record[32] = name.len() as u8;
    record[33..33 + name.len()].copy_from_slice(name);
    record
}

/// ECMA-119 8.4.
fn volume_descriptor(sectors: u32) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"\x01CD001\x01");
    put(8, &[b' '; 64]);
    put(40, b"WARMBOOT");
    put(80, &both32(sectors));
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(SECTOR as u16));
    put(132, &both32(10));
    put(140, &PATHS.to_le_bytes());
    put(148, &(PATHS + 1).to_be_bytes());
    put(156, &directory_record(&[0], ROOT, SECTOR as u32, 2));
    put(190, &[b' '; 813 - 190]);
    for (at, date) in [(813, b"2000010100000000"), (830, b"2000010100000000")] {
        put(at, date);
    }
    for at in [847, 864] {
        put(at, b"0000000000000000");
    }
    put(881, &[1]);
    bytes
}

/// El Torito 2.1 and 2.2: the validation entry, and the initial entry (bootable, no emulation).
fn catalogue(boot: u32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    bytes[4..12].copy_from_slice(b"WARMBOOT");
    bytes[30..32].copy_from_slice(&[0x55, 0xaa]);
    let sum = bytes[..32]
        .chunks_exact(2)
        .fold(0u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    bytes[32] = 0x88;
    // Four sectors of 512 bytes.
    bytes[38] = 4;
    bytes[40..44].copy_from_slice(&boot.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_where_its_record_says() {
        let boot: Vec<u8> = (0..3000u32).map(|at| at as u8).collect();
        let image = bootable(&[("BOOT.BIN;1", &boot), ("A.TXT;1", b"text")]);
        assert_eq!(image.len(), 27 * SECTOR);
        let root = &image[ROOT as usize * SECTOR..][..SECTOR];
        // Behind "." and "..", in the order of names.
        let (first, second) = (&root[68..], &root[68 + 40..]);
        assert_eq!((&first[33..40], first[2], first[10]), (&b"A.TXT;1"[..], 26, 4));
        assert_eq!((&second[33..43], second[2]), (&b"BOOT.BIN;1"[..], 24));
        assert_eq!(&image[26 * SECTOR..][..4], b"text");
        let loaded = &image[24 * SECTOR..][..3000];
        let fields: Vec<u32> = loaded[8..24]
            .chunks(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        assert_eq!(fields[..3], [16, 24, 3000]);
        assert!(loaded[24..64].iter().all(|byte| *byte == 0) && loaded[64..] == boot[64..]);
    }
}
