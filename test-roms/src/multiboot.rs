//! The option ROM that starts a Multiboot kernel which the emulator has put into fw_cfg.
//!
//! It asks the BIOS for the memory (INT 12h, INT 15h E801h and E820h), copies the boot information and the
//! kernel to their places, completes the one with the answers, and enters the other as Multiboot Specification
//! 0.6.96, 3.2, has it: flat 32-bit segments, no paging, EAX the magic number, EBX the boot information.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    kernel_boot::{self, FLAT_CODE, FLAT_DATA, Part},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "multiboot",
    about: "option ROM that starts the Multiboot kernel in fw_cfg, with the BIOS' memory map",
    kind: Kind::OptionRom,
    build: || kernel_boot::image("Multiboot", &[INFORMATION, KERNEL], ask, enter),
    symbols: None,
};

const KERNEL: Part = [0x07, 0x08, 0x11];
/// The boot information comes in place of an initial RAM disk.
const INFORMATION: Part = [0x0a, 0x0b, 0x12];
const ENTRY: u32 = 0x10;

/// Where the boot information goes, and fields in it (Multiboot Specification, 3.3).
const PLACE: u32 = 0x9000;
const MEMORY_LOWER: u32 = PLACE + 4;
const MEMORY_UPPER: u32 = PLACE + 8;
const MAP_LENGTH: u32 = PLACE + 44;
const MAP_ADDRESS: u32 = PLACE + 48;
/// The memory map, and what its last entry must begin below.
const MAP: u32 = PLACE + 0x100;
const MAP_END: u32 = PLACE + 0xd00;
/// The kernel's address for a far jump, below the stack.
const TARGET: u32 = 0x7080;

const MAGIC: u32 = 0x2bad_b002;
const SMAP: u32 = 0x534d_4150;

/// Asks the BIOS. The memory map is then in its place, and on the stack are KiB below 640 (a word), KiB above
/// 1 MiB (two words), and the end of the map (a word).
fn ask(b: &mut Block) -> Built {
    b.xor(ax, ax)?;
    b.mov(es, ax)?;
    b.int(0x12)?;
    b.push(ax)?;
    b.mov(ax, 0xe801u32)?;
    b.int(0x15)?;
    // AX has KiB up to 16 MiB, BX what is above by 64 KiB.
    b.movzx(ecx, bx)?;
    b.shl(ecx, 6)?;
    b.movzx(eax, ax)?;
    b.add(ecx, eax)?;
    b.push(ecx)?;

    let (failed, end) = (b.create_label(), b.create_label());
    b.mov(di, MAP)?;
    b.xor(ebx, ebx)?;
    let next = b.here()?;
    // Each entry begins with the length of the rest.
    b.mov(dword_ptr(di).es(), 20)?;
    b.add(di, 4)?;
    b.mov(eax, 0xe820u32)?;
    b.mov(ecx, 20)?;
    b.mov(edx, SMAP)?;
    b.int(0x15)?;
    b.jb(failed)?;
    b.add(di, 20)?;
    b.test(ebx, ebx)?;
    b.je(end)?;
    b.cmp(di, MAP_END as i32)?;
    b.jb(next)?;
    b.jmp(end)?;
    b.place(failed)?;
    b.sub(di, 4)?;
    b.place(end)?;
    b.push(di)?;
    Ok(())
}

fn enter(b: &mut Block) -> Built {
    b.pop(ax)?;
    b.movzx(eax, ax)?;
    b.sub(eax, MAP as i32)?;
    b.mov(dword_ptr(MAP_LENGTH).es(), eax)?;
    b.mov(dword_ptr(MAP_ADDRESS).es(), MAP)?;
    b.pop(eax)?;
    b.mov(dword_ptr(MEMORY_UPPER).es(), eax)?;
    b.pop(ax)?;
    b.movzx(eax, ax)?;
    b.mov(dword_ptr(MEMORY_LOWER).es(), eax)?;
    let number = b.target("number");
    b.mov(al, ENTRY)?;
    b.call(number)?;
    b.mov(dword_ptr(TARGET).es(), eax)?;
    b.mov(word_ptr(TARGET + 4).es(), FLAT_CODE)?;

    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.mov(cx, FLAT_DATA)?;
    b.mov(ds, cx)?;
    b.mov(es, cx)?;
    b.mov(fs, cx)?;
    b.mov(gs, cx)?;
    b.mov(ss, cx)?;
    b.mov(eax, MAGIC)?;
    b.mov(ebx, PLACE)?;
    b.jmp(fword_ptr(TARGET))?;
    Ok(())
}
