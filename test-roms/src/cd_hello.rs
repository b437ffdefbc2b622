//! A CD-ROM that boots by El Torito without emulation, and reads itself by INT 13h AH=42h.
//!
//! In place of files it has sectors with a pattern made of their number.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    disk,
    iso::{self, SECTOR},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "cd-hello",
    about: "El Torito boot CD without emulation: INT 13h reads of 2048-byte sectors come back right",
    kind: Kind::Cdrom,
    build: image,
    symbols: None,
};

const SECTORS: u32 = 512;
const FIRST_PATTERN: u32 = iso::FIRST;

fn image() -> Built<Vec<u8>> {
    let boot = build(SECTOR, 0, |image| image.code(16, 0, 0x7c00, program))?;
    let mut bytes = iso::begin(SECTORS, iso::BOOT, &[]);
    let mut put = |sector: u32, data: &[u8]| {
        let at = sector as usize * SECTOR;
        bytes[at..at + SECTOR].copy_from_slice(data);
    };
    put(iso::BOOT, &boot);
    for number in FIRST_PATTERN..SECTORS {
        let mut sector = [0; SECTOR];
        disk::pattern(number, &mut sector);
        put(number, &sector);
    }
    Ok(bytes)
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
