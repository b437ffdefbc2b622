//! A firmware that drives a VGA by its registers: three retraces, 320 x 200 in bytes, planes with latches, the
//! display interface with banks and, on PCI, its frame buffer; then text, in which it stops.
//!
//! Proves that a machine with a display adapter is one machine, however it is run, saved and forked, with
//! no vendor's firmware.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    real_mode::{big_real, say, segments, write_descriptors, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "display",
    about: "a firmware that drives a VGA by its registers in each kind of mode, then shows \"shown by rom:display\"",
    kind: Kind::Firmware,
    build: || {
        build(0x10000, 0xff, |image| {
            image.texts_at(0xc000, 0xc000);
            image.code(16, 0xe000, 0xe000, firmware)?;
            image.reset_vector("start")
        })
    },
    symbols: None,
};

/// What stands on the screen at the end.
const TEXT: &str = "shown by rom:display";

/// Registers from index 0 on. Sequencer: text, planes, bytes.
const SEQUENCER_TEXT: &[u8] = &[0x03, 0x00, 0x03, 0x00, 0x02];
const SEQUENCER_PLANES: &[u8] = &[0x03, 0x01, 0x0f, 0x00, 0x06];
const SEQUENCER_BYTES: &[u8] = &[0x03, 0x01, 0x0f, 0x00, 0x0e];
/// Graphics controller: text, planes with write mode 2, planes with write mode 1, bytes.
const GRAPHICS_TEXT: &[u8] = &[0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff];
const GRAPHICS_COLOUR: &[u8] = &[0, 0, 0, 0x18, 0, 0x02, 0x05, 0x0f, 0x7e];
const GRAPHICS_COPY: &[u8] = &[0, 0, 0, 0, 0, 0x01, 0x05, 0x0f, 0xff];
const GRAPHICS_BYTES: &[u8] = &[0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff];
/// CRT controller: 80 columns and 25 rows.
const CRT_TEXT: &[u8] = &[
    0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f,
    0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff,
];

/// Index and value of the display interface: 640 x 480 with a byte a pixel.
const DISPI: [(u32, u32); 5] = [(4, 0), (1, 640), (2, 480), (3, 8), (4, 0x41)];

fn firmware(b: &mut Block) -> Built {
    b.name("start")?;
    segments(b)?;
    b.mov(dx, 0x3c2u32)?;
    b.mov(al, 0x67u32)?;
    b.out(dx, al)?;
    registers(b, 0x3d4, CRT_TEXT)?;
    retraces(b)?;

    // 64 KiB of bytes, which is plain memory.
    registers(b, 0x3c4, SEQUENCER_BYTES)?;
    registers(b, 0x3ce, GRAPHICS_BYTES)?;
    fill(b, 0xa000)?;
    // Planes: every second line of colours over it, then copied by way of the latches.
    registers(b, 0x3c4, SEQUENCER_PLANES)?;
    registers(b, 0x3ce, GRAPHICS_COLOUR)?;
    b.xor(di, di)?;
    let colour = b.here()?;
    b.mov(al, byte_ptr(di).es())?;
    b.mov(ax, di)?;
    b.stosb()?;
    b.cmp(di, 0x2000)?;
    b.jb(colour)?;
    registers(b, 0x3ce, GRAPHICS_COPY)?;
    b.push(es)?;
    b.pop(ds)?;
    b.xor(si, si)?;
    b.mov(cx, 0x1000u32)?;
    b.rep().movsb()?;

    // The display interface: two banks.
    for (index, value) in DISPI {
        dispi(b, index, value)?;
    }
    for bank in [1, 2] {
        dispi(b, 5, bank)?;
        fill(b, 0xa000)?;
    }
    frame_buffer(b)?;
    dispi(b, 4, 0)?;

    registers(b, 0x3c4, SEQUENCER_TEXT)?;
    registers(b, 0x3ce, GRAPHICS_TEXT)?;
    b.mov(ax, 0xb800u32)?;
    b.mov(es, ax)?;
    b.xor(di, di)?;
    b.mov(ax, 0x0720u32)?;
    b.mov(cx, 2000u32)?;
    b.rep().stosw()?;
    b.mov(di, 2 * (80 * 12 + 30))?;
    for character in TEXT.bytes() {
        b.mov(al, u32::from(character))?;
        b.stosw()?;
    }
    // The display has the palette.
    b.mov(dx, 0x3dau32)?;
    b.in_(al, dx)?;
    b.mov(dx, 0x3c0u32)?;
    b.mov(al, 0x20u32)?;
    b.out(dx, al)?;
    say(b, "shown\r\n")?;
    let stop = b.here()?;
    b.hlt()?;
    b.jmp(stop)?;
    write_print(b)?;
    write_descriptors(b)?;

    // CX bytes at CS:SI to the indexed registers at DX.
    b.name("registers")?;
    b.xor(ax, ax)?;
    let next = b.here()?;
    b.mov(ah, byte_ptr(si).cs())?;
    b.out(dx, ax)?;
    b.inc(si)?;
    b.inc(ax)?;
    b.loop_(next)?;
    b.ret()?;
    // 64 KiB at AX:0 with a pattern.
    b.name("fill")?;
    b.mov(es, ax)?;
    b.xor(di, di)?;
    let next = b.here()?;
    b.mov(ax, di)?;
    b.xor(al, ah)?;
    b.stosw()?;
    b.test(di, di)?;
    b.jne(next)?;
    b.ret()?;
    for (index, table) in TABLES.iter().enumerate() {
        b.name(&table_name(index))?;
        b.db(table)?;
    }
    Ok(())
}

const TABLES: [&[u8]; 8] = [
    SEQUENCER_TEXT,
    SEQUENCER_PLANES,
    SEQUENCER_BYTES,
    GRAPHICS_TEXT,
    GRAPHICS_COLOUR,
    GRAPHICS_COPY,
    GRAPHICS_BYTES,
    CRT_TEXT,
];

fn table_name(index: usize) -> String {
    format!("table-{index}")
}

fn registers(b: &mut Block, port: u32, table: &[u8]) -> Built {
    let index = TABLES.iter().position(|known| *known == table).unwrap_or_default();
    let (table, length, routine) = (b.address(&table_name(index)), table.len() as u32, b.target("registers"));
    b.mov(dx, port)?;
    b.mov(si, table)?;
    b.mov(cx, length)?;
    Ok(b.call(routine)?)
}

fn fill(b: &mut Block, segment: u32) -> Built {
    let routine = b.target("fill");
    b.mov(ax, segment)?;
    Ok(b.call(routine)?)
}

/// Waits for the beginning of three vertical retraces.
fn retraces(b: &mut Block) -> Built {
    b.mov(cx, 3u32)?;
    b.mov(dx, 0x3dau32)?;
    let next = b.here()?;
    for wanted in [false, true] {
        let wait = b.here()?;
        b.in_(al, dx)?;
        b.test(al, 8u32)?;
        if wanted { b.je(wait)? } else { b.jne(wait)? }
    }
    Ok(b.loop_(next)?)
}

fn dispi(b: &mut Block, index: u32, value: u32) -> Built {
    b.mov(dx, 0x1ceu32)?;
    b.mov(ax, index)?;
    b.out(dx, ax)?;
    b.mov(dx, 0x1d0u32)?;
    b.mov(ax, value)?;
    Ok(b.out(dx, ax)?)
}

/// On PCI, puts the frame buffer of device 2 at FD000000h and writes a line of it.
fn frame_buffer(b: &mut Block) -> Built {
    let absent = b.create_label();
    let select = |b: &mut Block, register: u32| -> Built {
        b.mov(dx, 0xcf8u32)?;
        b.mov(eax, 0x8000_1000u32 + register)?;
        b.out(dx, eax)?;
        Ok(b.mov(dx, 0xcfcu32)?)
    };
    select(b, 0)?;
    b.in_(eax, dx)?;
    b.cmp(eax, 0x1111_1234)?;
    b.jne(absent)?;
    select(b, 0x10)?;
    b.mov(eax, 0xfd00_0000u32)?;
    b.out(dx, eax)?;
    select(b, 4)?;
    b.mov(ax, 2u32)?;
    b.out(dx, ax)?;
    big_real(b)?;
    b.mov(edi, 0xfd00_0000u32 + 640 * 100)?;
    let next = b.here()?;
    b.mov(dword_ptr(edi), edi)?;
    b.add(edi, 4)?;
    b.cmp(edi, 0xfd00_0000u32 as i32 + 640 * 101)?;
    b.jb(next)?;
    b.place(absent)
}
