//! A boot sector that shows a picture in one screen mode after the other, for whoever compares them: text,
//! a CGA's, planes, bytes, bytes in planes, and the VBE modes of each depth. After each it says which on the
//! debug port, and waits for a key.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    disk::{begin, disk},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "screens",
    about: "boot sector that fills the screen in each kind of mode, says \"shown A\" and so on on the debug port, and waits for a key each time",
    kind: Kind::HardDisk,
    build: || disk(64, show),
    symbols: None,
};

/// How a mode's memory is filled.
#[derive(Clone, Copy)]
enum Fill {
    /// 16 KiB at B8000h.
    Low = 0,
    /// Each of four planes at A0000h.
    Planes = 1,
    /// 64 KiB at A0000h.
    Bytes = 2,
    /// The same in planes, once the mode is unchained.
    Unchained = 3,
    /// Banks of 64 KiB at A0000h: three less than the number.
    Banks = 4,
}

/// AX and BX of INT 10h, and how memory is filled.
const MODES: [(u16, u16, u8); 13] = [
    (0x0003, 0, Fill::Low as u8),
    (0x0004, 0, Fill::Low as u8),
    (0x0006, 0, Fill::Low as u8),
    (0x000d, 0, Fill::Planes as u8),
    (0x0010, 0, Fill::Planes as u8),
    (0x0012, 0, Fill::Planes as u8),
    (0x0013, 0, Fill::Bytes as u8),
    (0x0013, 0, Fill::Unchained as u8),
    (0x4f02, 0x101, Fill::Banks as u8 + 5),
    (0x4f02, 0x110, Fill::Banks as u8 + 10),
    (0x4f02, 0x111, Fill::Banks as u8 + 10),
    (0x4f02, 0x112, Fill::Banks as u8 + 15),
    (0x4f02, 0x142, Fill::Banks as u8 + 19),
];

/// Unchained: sequencer and CRT controller index and value.
const UNCHAIN: [(u32, u32); 3] = [(0x3c4, 0x0604), (0x3d4, 0x0014), (0x3d4, 0xe317)];

fn show(b: &mut Block) -> Built {
    begin(b)?;
    let (fill, text, modes) = (b.target("fill"), b.address("text"), b.address("modes"));
    b.mov(si, modes)?;
    let next = b.here()?;
    b.lodsw()?;
    b.mov(bx, word_ptr(si))?;
    b.int(0x10u32)?;
    // No cursor, and no blinking.
    b.mov(ah, 1u32)?;
    b.mov(cx, 0x2000u32)?;
    b.int(0x10u32)?;
    b.mov(al, byte_ptr(si + 2))?;
    b.add(si, 3)?;
    let (mut planes, mut banks, mut shown) = (b.create_label(), b.create_label(), b.create_label());
    let mut bytes = b.create_label();
    b.cmp(al, Fill::Planes as i32)?;
    b.je(planes)?;
    b.ja(bytes)?;
    b.mov(ax, 0x1003u32)?;
    b.mov(bx, 0u32)?;
    b.int(0x10u32)?;
    // Not B0h to BFh: some adapters draw them as wide as the characters with lines.
    b.mov(bl, 0xcfu32)?;
    b.mov(ax, 0xb800u32)?;
    b.mov(cx, 0x4000u32)?;
    b.call(fill)?;
    b.jmp(shown)?;

    b.set_label(&mut bytes)?;
    b.mov(bp, 1u32)?;
    b.sub(al, Fill::Unchained as i32)?;
    b.jb(banks)?;
    b.movzx(bp, al)?;
    b.jne(banks)?;
    for (port, value) in UNCHAIN {
        b.mov(dx, port)?;
        b.mov(ax, value)?;
        b.out(dx, ax)?;
    }

    b.set_label(&mut planes)?;
    b.mov(bx, 0x01ffu32)?;
    let plane = b.here()?;
    b.mov(dx, 0x3c4u32)?;
    b.mov(al, 2u32)?;
    b.mov(ah, bh)?;
    b.out(dx, ax)?;
    b.mov(ax, 0xa000u32)?;
    b.mov(cx, 0xffffu32)?;
    b.call(fill)?;
    b.shl(bh, 1u32)?;
    b.test(bh, 0x10)?;
    b.je(plane)?;
    b.jmp(shown)?;

    // BP banks; the fill's number is the bank's. A mode that has none takes no notice.
    b.set_label(&mut banks)?;
    b.xor(dx, dx)?;
    let bank = b.here()?;
    b.pusha()?;
    b.xor(bx, bx)?;
    b.mov(ax, 0x4f05u32)?;
    b.int(0x10u32)?;
    b.popa()?;
    b.mov(bl, 0xffu32)?;
    b.mov(bh, dl)?;
    b.mov(ax, 0xa000u32)?;
    b.mov(cx, 0xffffu32)?;
    b.call(fill)?;
    b.inc(dx)?;
    b.dec(bp)?;
    b.jne(bank)?;

    b.set_label(&mut shown)?;
    b.push(si)?;
    b.mov(si, text)?;
    b.mov(dx, 0x402u32)?;
    b.mov(cx, SHOWN.len() as u32)?;
    b.rep().outsb()?;
    b.pop(si)?;
    b.inc(byte_ptr(text + LETTER))?;
    b.mov(ah, 0u32)?;
    b.int(0x16u32)?;
    b.cmp(si, modes + 5 * MODES.len() as u32)?;
    b.jb(next)?;
    let stop = b.here()?;
    b.cli()?;
    b.hlt()?;
    b.jmp(stop)?;

    // CX bytes at AX:0, and one more, with a pattern that BH begins, of bits in BL.
    b.name("fill")?;
    b.mov(es, ax)?;
    b.xor(di, di)?;
    b.inc(cx)?;
    let byte = b.here()?;
    b.mov(ax, di)?;
    b.rol(ah, 2u32)?;
    b.add(al, ah)?;
    b.xor(al, bh)?;
    b.and(al, bl)?;
    b.stosb()?;
    b.loop_(byte)?;
    b.ret()?;

    b.name("text")?;
    b.db(SHOWN)?;
    b.name("modes")?;
    for (mode, number, fill) in MODES {
        b.dw(&[mode, number])?;
        b.db(&[fill])?;
    }
    Ok(())
}

/// What is said, with the letter of the mode.
const SHOWN: &[u8] = b"shown A\n";
const LETTER: u32 = 6;
