//! The option ROM that starts a Linux kernel which the emulator has put into fw_cfg.
//!
//! It copies setup code, command line, kernel and initial RAM disk, and enters the setup code 200h bytes into
//! its segment, as "Running the Kernel" in Documentation/x86/boot.rst has it: all data segments and the
//! stack's equal, interrupts off.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    kernel_boot::{self, Part},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "linuxboot",
    about: "option ROM that starts the Linux kernel in fw_cfg, by DMA or through its data port",
    kind: Kind::OptionRom,
    build: || kernel_boot::image("Linux", &[SETUP, COMMAND_LINE, KERNEL], memory_end, enter),
    symbols: None,
};

const KERNEL: Part = [0x07, 0x08, 0x11];
const INITRD: Part = [0x0a, 0x0b, 0x12];
const COMMAND_LINE: Part = [0x13, 0x14, 0x15];
const SETUP: Part = [0x16, 0x17, 0x18];

/// The end of the memory that firmware leaves, as INT 15h AX=E801h has it.
const MEMORY_END: u32 = kernel_boot::VARIABLES;
/// Offsets in the setup header (Documentation/x86/boot.rst): protocol, the RAM disk's address, and the last byte
/// it may have.
const VERSION: u32 = 0x206;
const RAMDISK_IMAGE: u32 = 0x218;
const INITRD_MAXIMUM: u32 = 0x22c;
/// That byte where the header is too old to say it.
const OLD_MAXIMUM: u32 = 0x37ff_ffff;

/// Asks for the end of memory, before interrupts must be off.
fn memory_end(b: &mut Block) -> Built {
    let (known, low, store) = (b.create_label(), b.create_label(), b.create_label());
    b.xor(bx, bx)?;
    b.xor(cx, cx)?;
    b.xor(dx, dx)?;
    b.mov(ax, 0xe801u32)?;
    b.int(0x15)?;
    b.mov(si, cx)?;
    b.or(si, dx)?;
    b.jne(known)?;
    b.mov(cx, ax)?;
    b.mov(dx, bx)?;
    b.place(known)?;
    b.movzx(ecx, cx)?;
    b.movzx(edx, dx)?;
    b.test(edx, edx)?;
    b.je(low)?;
    // Blocks of 64 KiB from 16 MiB on.
    b.add(edx, 0x100)?;
    b.shl(edx, 16)?;
    b.jmp(store)?;
    b.place(low)?;
    // KiB from 1 MiB on.
    b.lea(edx, dword_ptr(ecx + 0x400))?;
    b.shl(edx, 10)?;
    b.place(store)?;
    b.mov(dword_ptr(MEMORY_END).es(), edx)?;
    Ok(())
}

/// Copies the RAM disk to where fw_cfg has it, if that is as high as the kernel takes one; otherwise to the end of
/// memory, which the emulator does not know and firmware does.
fn initrd(b: &mut Block) -> Built {
    let number = b.target("number");
    let (young, there, none) = (b.create_label(), b.create_label(), b.create_label());
    let [address, size, bytes] = INITRD.map(u32::from);
    b.mov(al, u32::from(SETUP[0]))?;
    b.call(number)?;
    b.mov(ebx, eax)?;
    b.mov(al, size)?;
    b.call(number)?;
    b.mov(ecx, eax)?;
    b.test(ecx, ecx)?;
    b.je(none)?;
    b.mov(al, address)?;
    b.call(number)?;
    b.mov(edi, eax)?;
    b.mov(edx, dword_ptr(ebx + INITRD_MAXIMUM).es())?;
    b.cmp(word_ptr(ebx + VERSION).es(), 0x203)?;
    b.jae(young)?;
    b.mov(edx, OLD_MAXIMUM)?;
    b.place(young)?;
    b.add(eax, ecx)?;
    b.xor(eax, edx)?;
    b.test(eax, 0xffff_f000_u32 as i32)?;
    b.je(there)?;
    b.mov(edi, dword_ptr(MEMORY_END).es())?;
    b.sub(edi, ecx)?;
    b.and(edi, 0xffff_f000_u32 as i32)?;
    b.mov(dword_ptr(ebx + RAMDISK_IMAGE).es(), edi)?;
    b.place(there)?;
    let (item, copy) = (b.address("initrd"), b.target("copy-to"));
    b.mov(si, item)?;
    b.call(copy)?;
    b.place(none)?;
    let over = b.create_label();
    b.jmp(over)?;
    b.name("initrd")?;
    b.db(&[bytes as u8])?;
    b.place(over)?;
    Ok(())
}

fn enter(b: &mut Block) -> Built {
    initrd(b)?;
    let number = b.target("number");
    b.mov(al, u32::from(COMMAND_LINE[0]))?;
    b.call(number)?;
    b.mov(ebx, eax)?;
    b.mov(al, u32::from(SETUP[0]))?;
    b.call(number)?;
    // The stack grows down from the command line, in the segment of the setup code.
    b.sub(ebx, eax)?;
    b.sub(bx, 16)?;
    b.shr(eax, 4)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(fs, ax)?;
    b.mov(gs, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, bx)?;
    b.add(ax, 0x20)?;
    b.push(ax)?;
    b.push(0)?;
    b.retf()?;
    Ok(())
}
