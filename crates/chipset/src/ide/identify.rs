//! The 512 bytes of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE.
//!
//! ATA/ATAPI-6 (T13 1410D), tables 27 and 29; the values are those of QEMU 7.2's drives, because
//! firmware copies them into its tables.

use super::Attachment;

/// IDENTIFY DEVICE, what does not depend on the drive: (word, value).
const HARD_DISK: &[(usize, u16)] = &[
    (0, 0x0040),  // fixed drive
    (5, 512),     // bytes per sector (retired)
    (20, 3),      // buffer type (retired)
    (21, 512),    // buffer size in sectors (retired)
    (22, 4),      // bytes of ECC (retired)
    (47, 0x8010), // READ MULTIPLE: at most 16 sectors
    (48, 1),      // doubleword I/O
    (49, 0x0b00), // IORDY, LBA, DMA
    (51, 0x0200), // PIO timing (retired)
    (52, 0x0200), // DMA timing (retired)
    (53, 7),      // words 54-58, 64-70 and 88 are valid
    (62, 7),      // single-word DMA 0-2
    (63, 7),      // multiword DMA 0-2
    (64, 3),      // PIO modes 3 and 4
    (65, 120),    // cycle times in ns
    (66, 120),
    (67, 120),
    (68, 120),
    (69, 0x4000), // trimmed sectors read the same each time
    (80, 0x00f0), // ATA-4 to ATA-7
    (81, 0x0016), // ATA-5
    (82, 0x4021), // NOP, write cache, SMART
    (83, 0x7400), // FLUSH CACHE (EXT), 48-bit addresses
    (84, 0x4000),
    (85, 0x4021),
    (86, 0x3400),
    (87, 0x4000),
    (88, 0x203f),  // Ultra DMA 0-5, mode 5 selected
    (93, 0x6001),  // reset result: 80-conductor cable
    (106, 0x6000), // one logical sector per physical sector
    (169, 1),      // DATA SET MANAGEMENT can trim
];

/// IDENTIFY PACKET DEVICE.
const CDROM: &[(usize, u16)] = &[
    (0, 0x85c0), // ATAPI CD-ROM, removable, DRQ within 50 µs, packets of 12 bytes
    (20, 3),
    (21, 512),
    (22, 4),
    (48, 1),
    (49, 0x0300), // LBA, DMA
    (53, 7),
    (62, 7),
    (63, 7),
    (64, 3),
    (65, 180),
    (66, 180),
    (67, 300),
    (68, 180),
    (71, 30),     // ns from PACKET to bus release
    (72, 30),     // ns from SERVICE to BSY clear
    (80, 0x001e), // ATA-1 to ATAPI-4
    (88, 0x203f),
];

/// What both drives call their firmware.
pub(super) const FIRMWARE: &str = "2.5+";

/// Writes word `word` of `data`.
pub(super) fn set_word(data: &mut [u8], word: usize, value: u16) {
    if let Some(bytes) = data.get_mut(2 * word..2 * word + 2) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Writes `text` padded with spaces into `words` words; the first character of each pair is in the
/// high byte (section 8.15.9).
fn set_text(data: &mut [u8], word: usize, words: usize, text: &str) {
    let mut characters = text.bytes().chain(std::iter::repeat(b' '));
    for index in word..word + words {
        let pair = [characters.next().unwrap_or(b' '), characters.next().unwrap_or(b' ')];
        set_word(data, index, u16::from_be_bytes(pair));
    }
}

fn common(table: &[(usize, u16)], attachment: &Attachment) -> Vec<u8> {
    let mut data = vec![0; 512];
    for &(word, value) in table {
        set_word(&mut data, word, value);
    }
    set_text(&mut data, 10, 10, &attachment.serial);
    set_text(&mut data, 23, 4, FIRMWARE);
    set_text(&mut data, 27, 20, attachment.model());
    data
}

/// IDENTIFY DEVICE with the translation (heads, sectors) and the READ MULTIPLE count in use.
pub(super) fn hard_disk(attachment: &Attachment, heads: u8, sectors: u8, multiple: u8) -> Vec<u8> {
    let mut data = common(HARD_DISK, attachment);
    let cylinders = attachment.geometry.cylinders;
    let (heads, sectors) = (u16::from(heads), u16::from(sectors));
    for (word, value) in [(1, cylinders), (3, heads), (4, sectors.wrapping_mul(512)), (6, sectors)] {
        set_word(&mut data, word, value);
    }
    for (word, value) in [(54, cylinders), (55, heads), (56, sectors)] {
        set_word(&mut data, word, value);
    }
    let addressable = u32::from(cylinders) * u32::from(heads) * u32::from(sectors);
    set_word(&mut data, 57, addressable as u16);
    set_word(&mut data, 58, (addressable >> 16) as u16);
    if multiple != 0 {
        set_word(&mut data, 59, 0x100 | u16::from(multiple));
    }
    let total = attachment.disk.sectors();
    let lba28 = total.min(0x0fff_ffff);
    set_word(&mut data, 60, lba28 as u16);
    set_word(&mut data, 61, (lba28 >> 16) as u16);
    for word in 0..4 {
        set_word(&mut data, 100 + word, (total >> (16 * word)) as u16);
    }
    data
}

/// IDENTIFY PACKET DEVICE.
pub(super) fn cdrom(attachment: &Attachment) -> Vec<u8> {
    common(CDROM, attachment)
}

/// What a drive on an AHCI port adds: native command queuing with 32 commands (Serial ATA 2.6,
/// section 13.2.1).
pub(super) fn add_queue(data: &mut [u8]) {
    set_word(data, 75, 31);
    set_word(data, 76, 0x0100);
}

/// SET FEATURES 03h: notes the transfer mode of `count` (ATA-6 table 44) in words 62, 63 and 88.
/// False if there is no such mode.
pub(super) fn select_mode(data: &mut [u8], count: u8) -> bool {
    let chosen = 1_u16 << (8 + (count & 7));
    let (single, multi, ultra) = match count >> 3 {
        0 | 1 => (0, 0, 0),
        2 => (chosen, 0, 0),
        4 => (0, chosen, 0),
        8 => (0, 0, chosen),
        _ => return false,
    };
    set_word(data, 62, 0x07 | single);
    set_word(data, 63, 0x07 | multi);
    set_word(data, 88, 0x3f | ultra);
    true
}
