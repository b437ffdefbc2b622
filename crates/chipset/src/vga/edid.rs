//! What the monitor says of itself.
//!
//! VESA Enhanced EDID standard, release A revision 2: version 1.4, with a CTA-861 extension. The monitor
//! is the one that QEMU 7.2 describes: 1280 x 800 preferred, established timings from 640 x 480 on.

/// Base block and extension. Each row is a field of the standard.
const ROWS: &[(usize, &[u8])] = &[
    (0x00, &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]), // header
    (0x08, &[0x49, 0x14, 0x34, 0x12]),                         // manufacturer RHT, product 1234h
    (0x10, &[0x2a, 0x18, 0x01, 0x04]),                         // week 42 of 2014, EDID 1.4
    (0x14, &[0xa5, 0x20, 0x14, 0x78, 0x06]),                   // digital, 32 by 20 cm, gamma 2.2
    (0x19, &[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]), // sRGB
    (0x23, &[0x21, 0x08, 0x00]),                               // established timings
    (0x26, &[0xe1, 0xc0, 0xd1, 0xc0, 0xd1, 0x00, 0xa9, 0x40]), // standard timings: 2048 x 1152 first
    (0x2e, &[0xb3, 0x00, 0x95, 0x00, 0x81, 0x80, 0x81, 0x40]),
    (0x36, &[0xea, 0x29, 0x00, 0xc0, 0x51, 0x20, 0x1c, 0x30, 0x40]), // 1280 x 800, preferred
    (0x3f, &[0x26, 0x44, 0x40, 0x45, 0xcb, 0x10, 0x00, 0x00, 0x18]),
    (0x48, &[0x00, 0x00, 0x00, 0xf7, 0x00, 0x0a, 0x00, 0x40, 0x82, 0x00, 0x28, 0x20]), // more timings
    (0x5a, &[0x00, 0x00, 0x00, 0xfd, 0x00, 0x32, 0x7d, 0x1e, 0xa0, 0xff, 0x01]),       // range limits
    (0x65, b"\n      "),
    (0x6c, &[0x00, 0x00, 0x00, 0xfc, 0x00]), // the monitor's name
    (0x71, b"QEMU Monitor\n"),
    (0x7e, &[1]),                                        // one extension
    (0x80, &[0x02, 0x03, 0x0b, 0x00]), // CTA-861 revision 3, its detailed timings from 0Bh on
    (0x84, &[0x46, 0x7d, 0x65, 0x60, 0x59, 0x1f, 0x61]), // video data block
    // Descriptors that say nothing.
    (0x8e, &[0x10]),
    (0xa0, &[0x10]),
    (0xb2, &[0x10]),
    (0xc4, &[0x10]),
    (0xd6, &[0x10]),
    (0xe8, &[0x10]),
];

const BLOCK: usize = 128;

/// Both blocks, with their checksums.
const EDID: [u8; 2 * BLOCK] = {
    let mut bytes = [0; 2 * BLOCK];
    let mut row = 0;
    while row < ROWS.len() {
        let (at, values) = ROWS[row];
        let mut index = 0;
        while index < values.len() {
            bytes[at + index] = values[index];
            index += 1;
        }
        row += 1;
    }
    let mut block = 0;
    while block < 2 {
        let (mut sum, mut at) = (0u8, 0);
        while at < BLOCK - 1 {
            sum = sum.wrapping_add(bytes[block * BLOCK + at]);
            at += 1;
        }
        bytes[block * BLOCK + BLOCK - 1] = 0u8.wrapping_sub(sum);
        block += 1;
    }
    bytes
};

/// `size` bytes from `offset` on; zeros after the end.
pub(super) fn read(offset: u64, size: u8) -> u64 {
    let byte = |at: u64| usize::try_from(at).ok().and_then(|at| EDID.get(at).copied()).unwrap_or(0);
    (0..u64::from(size)).rev().fold(0, |value, index| value << 8 | u64::from(byte(offset + index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_measured() {
        assert_eq!([EDID[0x7f], EDID[0xff]], [0x3a, 0x2f]);
        assert_eq!(read(0x7e, 4), 0x0302_3a01);
        assert_eq!(read(0xfe, 4), 0x2f00);
    }
}
