//! A CD-ROM that boots by El Torito without emulation, and reads itself by INT 13h AH=42h.
//!
//! Layout in 2048-byte sectors (ECMA-119; El Torito 1.0): 16 primary volume descriptor, 17 boot record,
//! 18 terminator, 19 boot catalogue, 20 boot image, 21 root directory, 22 and 23 path tables, and from
//! 24 on sectors with a pattern made of their number.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    disk,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "cd-hello",
    about: "El Torito boot CD without emulation: INT 13h reads of 2048-byte sectors come back right",
    kind: Kind::Cdrom,
    build: image,
    symbols: None,
};

const SECTOR: usize = 2048;
const SECTORS: u32 = 512;
const CATALOGUE: u32 = 19;
const BOOT: u32 = 20;
const ROOT: u32 = 21;
const PATHS: u32 = 22;
const FIRST_PATTERN: u32 = 24;

fn image() -> Built<Vec<u8>> {
    let boot = build(SECTOR, 0, |image| image.code(16, 0, 0x7c00, program))?;
    let mut bytes = vec![0; SECTORS as usize * SECTOR];
    let mut put = |sector: u32, offset: usize, data: &[u8]| {
        let at = sector as usize * SECTOR + offset;
        bytes[at..at + data.len()].copy_from_slice(data);
    };
    put(16, 0, &volume_descriptor());
    put(17, 0, b"\0CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &CATALOGUE.to_le_bytes());
    put(18, 0, b"\xffCD001\x01");
    put(CATALOGUE, 0, &catalogue());
    put(BOOT, 0, &boot);
    // "." and "..".
    put(ROOT, 0, &directory_record(0));
    put(ROOT, 34, &directory_record(1));
    put(PATHS, 0, &[1, 0, ROOT as u8, 0, 0, 0, 1, 0, 0, 0]);
    put(PATHS + 1, 0, &[1, 0, 0, 0, 0, ROOT as u8, 0, 1, 0, 0]);
    for number in FIRST_PATTERN..SECTORS {
        let mut sector = [0; SECTOR];
        disk::pattern(number, &mut sector);
        put(number, 0, &sector);
    }
    Ok(bytes)
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

/// ECMA-119 9.1, for the root directory under the identifier 0 (itself) or 1 (its parent).
fn directory_record(identifier: u8) -> [u8; 34] {
    let mut record = [0; 34];
    record[0] = 34;
    record[2..10].copy_from_slice(&both32(ROOT));
    record[10..18].copy_from_slice(&both32(SECTOR as u32));
    record[18..25].copy_from_slice(&[100, 1, 1, 0, 0, 0, 0]);
    record[25] = 2;
    record[28..32].copy_from_slice(&both16(1));
    record[32] = 1;
    record[33] = identifier;
    record
}

/// ECMA-119 8.4.
fn volume_descriptor() -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, b"\x01CD001\x01");
    put(8, &[b' '; 64]);
    put(40, b"WARMBOOT");
    put(80, &both32(SECTORS));
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(SECTOR as u16));
    put(132, &both32(10));
    put(140, &PATHS.to_le_bytes());
    put(148, &(PATHS + 1).to_be_bytes());
    put(156, &directory_record(0));
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
fn catalogue() -> [u8; 64] {
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
    bytes[40..44].copy_from_slice(&BOOT.to_le_bytes());
    bytes
}

fn program(b: &mut Block) -> Built {
    disk::begin(b)?;
    disk::say(b, "text-runs")?;
    let by_lba = b.target("by-lba");
    b.mov(dword_ptr(disk::LBA), FIRST_PATTERN)?;
    let next = b.here()?;
    b.call(by_lba)?;
    b.add(dword_ptr(disk::LBA), 61)?;
    b.cmp(dword_ptr(disk::LBA), SECTORS as i32)?;
    b.jb(next)?;
    b.mov(dword_ptr(disk::LBA), SECTORS - 1)?;
    b.call(by_lba)?;
    disk::write_end(b)?;
    disk::text(b, "text-runs", b"CD boot image runs\r\n")?;
    disk::write_by_lba(b, SECTOR as u32 / 4)
}
