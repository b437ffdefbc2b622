//! A firmware in one flash chip that uses another: `--pflash rom:flash --pflash rom:flash`.
//!
//! At each start it asks the second chip by a CFI query what it is, programs the first byte that is still
//! erased, programs four bytes through the buffer, says how many starts that makes, and resets the
//! machine at CF9h. At the fourth it erases the sector and says that it is empty again. Proves that
//! commands reach the chip while code runs from the other, that reads come from the array again behind
//! them, and that what was programmed outlives a reset (Intel 28F640K3 data sheet, sections 9 to 11).

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    real_mode::{big_real, say, say_ax, segments, serial, write_descriptors, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "flash",
    about: "CFI flash: query, program, buffered program, erase of a second chip, over four starts",
    kind: Kind::Firmware,
    build: || {
        build(SIZE, 0xff, |image| {
            image.texts_at(0xc000, 0xc000);
            image.code(16, 0xe000, 0xe000, firmware)?;
            image.reset_vector("start")
        })
    },
    symbols: None,
};

const SIZE: usize = 0x1_0000;
/// The second chip, below this one. Its image begins erased.
const CHIP: u32 = 0u32.wrapping_sub(2 * SIZE as u32);
/// What is programmed through the buffer, by start, in the second sector.
const BUFFERED: u32 = CHIP + 0x1000;
const WORD: u32 = 0x7462_6f6f;
const STARTS: u32 = 4;

fn firmware(b: &mut Block) -> Built {
    b.name("start")?;
    segments(b)?;
    serial(b)?;
    big_real(b)?;
    let bad = b.target("bad");
    b.mov(ebx, CHIP)?;

    // Query: QRY at 10h.
    b.mov(byte_ptr(ebx + 0x55), 0x98u32)?;
    b.mov(eax, dword_ptr(ebx + 0x10))?;
    b.mov(byte_ptr(ebx), 0xffu32)?;
    b.and(eax, 0x00ff_ffff)?;
    b.cmp(eax, i32::from_le_bytes(*b"QRY\0"))?;
    b.jne(bad)?;

    // The first byte that no start before has programmed.
    b.xor(edi, edi)?;
    let next = b.here()?;
    let found = b.create_label();
    b.cmp(byte_ptr(ebx + edi), -1)?;
    b.je(found)?;
    b.inc(edi)?;
    b.cmp(edi, STARTS as i32)?;
    b.jb(next)?;
    b.jmp(bad)?;
    b.place(found)?;
    b.mov(byte_ptr(ebx + edi), 0x10u32)?;
    b.mov(byte_ptr(ebx + edi), 0u32)?;
    finish(b)?;
    b.cmp(byte_ptr(ebx + edi), 0)?;
    b.jne(bad)?;
    buffered(b)?;

    b.push(di)?;
    say(b, "start ")?;
    b.pop(ax)?;
    b.push(ax)?;
    say_ax(b)?;
    say(b, "\r\n")?;
    b.pop(di)?;
    b.movzx(edi, di)?;
    b.mov(ebx, CHIP)?;
    b.cmp(edi, STARTS as i32 - 1)?;
    let last = b.create_label();
    b.je(last)?;
    b.mov(dx, 0xcf9u32)?;
    for value in [2u32, 6] {
        b.mov(al, value)?;
        b.out(dx, al)?;
    }
    b.hlt()?;

    b.place(last)?;
    b.mov(byte_ptr(ebx + edi), 0x20u32)?;
    b.mov(byte_ptr(ebx + edi), 0xd0u32)?;
    finish(b)?;
    b.cmp(dword_ptr(ebx), -1)?;
    b.jne(bad)?;
    say(b, "erased\r\n")?;
    let stop = b.here()?;
    b.hlt()?;
    b.jmp(stop)?;
    b.name("bad")?;
    say(b, "BAD\r\n")?;
    b.jmp(stop)?;
    write_print(b)?;
    write_descriptors(b)
}

/// Programs four bytes through the buffer, eight bytes further on at each start.
fn buffered(b: &mut Block) -> Built {
    let bad = b.target("bad");
    b.lea(esi, dword_ptr(edi * 8))?;
    b.add(esi, BUFFERED as i32)?;
    b.mov(byte_ptr(esi), 0xe8u32)?;
    b.mov(byte_ptr(esi), 3u32)?;
    b.mov(dword_ptr(esi), WORD)?;
    b.mov(byte_ptr(esi), 0xd0u32)?;
    finish(b)?;
    b.cmp(dword_ptr(esi), WORD as i32)?;
    Ok(b.jne(bad)?)
}

/// Waits until the status says ready and nothing else, then reads the array again.
fn finish(b: &mut Block) -> Built {
    let bad = b.target("bad");
    b.cmp(byte_ptr(ebx), 0x80_u32 as i32)?;
    b.jne(bad)?;
    Ok(b.mov(byte_ptr(ebx), 0xffu32)?)
}
