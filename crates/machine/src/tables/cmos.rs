//! CMOS bytes that tell firmware of memory, drives and boot order.
//!
//! The clock's own bytes (00h-0Dh) and the century (32h) are the clock's.

use warmboot_chipset::disk::{Geometry, Translation};

use super::{Description, ram_layout};

/// What the bytes say at power-on; bytes of the clock are zero.
pub fn cmos(description: &Description) -> [u8; 128] {
    let mut bytes = [0; 128];
    let mut put = |index: usize, value: u8| {
        if let Some(byte) = bytes.get_mut(index) {
            *byte = value;
        }
    };
    for (index, value) in memory(description) {
        put(index, value);
    }
    for (index, value) in drives(description) {
        put(index, value);
    }
    let [first, second, third] = boot_order(&description.boot.order);
    put(0x3d, second << 4 | first);
    put(0x38, third << 4); // bit 0 clear: firmware checks a floppy's signature
    put(0x37, 0x20); // the century where a PS/2 has it; the clock does not keep it
    put(0x5f, description.cpus.saturating_sub(1).min(255) as u8);
    bytes
}

type Byte = (usize, u8);

fn memory(description: &Description) -> Vec<Byte> {
    const BASE_KIB: u64 = 640;
    const MIB: u64 = 1 << 20;
    let (below, above) = ram_layout(description.machine_type, description.memory);
    let extended_kib = (below.saturating_sub(MIB) >> 10).min(0xffff).to_le_bytes();
    let above_16_mib = (below.saturating_sub(16 * MIB) >> 16).min(0xffff).to_le_bytes();
    let base = BASE_KIB.to_le_bytes();
    let high = (above >> 16).to_le_bytes();
    vec![
        (0x15, base[0]),
        (0x16, base[1]),
        (0x17, extended_kib[0]),
        (0x18, extended_kib[1]),
        (0x30, extended_kib[0]),
        (0x31, extended_kib[1]),
        (0x34, above_16_mib[0]),
        (0x35, above_16_mib[1]),
        (0x5b, high[0]),
        (0x5c, high[1]),
        (0x5d, high[2]),
    ]
}

fn drives(description: &Description) -> Vec<Byte> {
    const COPROCESSOR: u8 = 1 << 1;
    const POINTING_DEVICE: u8 = 1 << 2;
    const HAS_FLOPPY: u8 = 1 << 0;
    const SECOND_FLOPPY: u8 = 1 << 6;
    let [a, b] = description.floppies.map(|drive| drive.map_or(0, |drive| drive.cmos_type()));
    let floppies = match description.floppies.iter().flatten().count() {
        0 => 0,
        1 => HAS_FLOPPY,
        _ => HAS_FLOPPY | SECOND_FLOPPY,
    };
    let mut bytes = vec![(0x10, a << 4 | b), (0x14, COPROCESSOR | POINTING_DEVICE | floppies)];

    // Types of disks C and D: 15, which means see 19h and 1Ah; those say 47, user-defined.
    let [c, d, ..] = description.disks;
    let present = |disk: Option<Geometry>, nibble: u8| disk.map_or(0, |_| nibble);
    bytes.push((0x12, present(c, 0xf0) | present(d, 0x0f)));
    for (disk, type_index, geometry_index) in [(c, 0x19, 0x1b), (d, 0x1a, 0x24)] {
        if let Some(disk) = disk {
            bytes.push((type_index, 47));
            bytes.extend(geometry(disk).into_iter().enumerate().map(|(i, b)| (geometry_index + i, b)));
        }
    }
    let translations = description
        .disks
        .iter()
        .rev()
        .fold(0, |bits, disk| bits << 2 | disk.map_or(0, |disk| translation(disk.translation)));
    bytes.push((0x39, translations));
    bytes
}

/// The two bits of byte 39h.
fn translation(translation: Translation) -> u8 {
    match translation {
        Translation::None => 0,
        Translation::Lba => 1,
        Translation::Large => 2,
    }
}

/// The nine bytes of a user-defined disk type: cylinders, heads, write precompensation (none),
/// control byte, landing zone, sectors.
fn geometry(disk: Geometry) -> [u8; 9] {
    const NO_RETRIES: u8 = 0xc0;
    const MORE_THAN_8_HEADS: u8 = 1 << 3;
    let [low, high] = disk.cylinders.to_le_bytes();
    let control = NO_RETRIES | if disk.heads > 8 { MORE_THAN_8_HEADS } else { 0 };
    [low, high, disk.heads, 0xff, 0xff, control, low, high, disk.sectors]
}

/// The first three devices as firmware numbers them; 0 is none.
fn boot_order(letters: &str) -> [u8; 3] {
    let mut order = [0; 3];
    for (place, letter) in order.iter_mut().zip(letters.chars()) {
        *place = match letter {
            'a' | 'b' => 1,
            'c' => 2,
            'd' => 3,
            'n' => 4,
            _ => 0,
        };
    }
    order
}
