//! The option ROM that starts a Linux kernel which the emulator has put into fw_cfg.
//!
//! Firmware finds it by its boot entry vector (BIOS Boot Specification 1.01, 3.3; Plug and Play BIOS
//! Specification 1.0A, 3.2) and calls that as it would a network card's. The ROM then copies setup
//! code, command line, kernel and initial RAM disk to the addresses that stand beside them in fw_cfg:
//! by DMA where the device has it, otherwise byte by byte through the data port, with an ES that reaches
//! 4 GiB. Last it enters the setup code 200h bytes into its segment, as "Running the Kernel" in
//! Documentation/x86/boot.rst has it: all data segments and the stack's equal, interrupts off.

use iced_x86::{Instruction, code_asm::*};

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "linuxboot",
    about: "option ROM that starts the Linux kernel in fw_cfg, by DMA or through its data port",
    kind: Kind::OptionRom,
    build: image,
    symbols: None,
};

const SIZE: usize = 1024;
/// Where the Plug and Play header is, and where the code begins.
const PLUG_AND_PLAY: usize = 0x20;
const CODE: usize = 0x40;

/// fw_cfg: its ports, the item that says what it can do, and bits of a DMA control word.
const SELECTOR: u32 = 0x510;
const DMA: u32 = 0x514;
const ID: u32 = 1;
const ID_DMA: i32 = 1 << 1;
const SELECT_AND_READ: u32 = 1 << 3 | 1 << 1;
const ERROR: u32 = 1;

/// Items: address and size of each part, and its bytes.
const KERNEL: [u8; 3] = [0x07, 0x08, 0x11];
const INITRD: [u8; 3] = [0x0a, 0x0b, 0x12];
const COMMAND_LINE: [u8; 3] = [0x13, 0x14, 0x15];
const SETUP: [u8; 3] = [0x16, 0x17, 0x18];
const PARTS: [[u8; 3]; 4] = [SETUP, COMMAND_LINE, KERNEL, INITRD];

/// The stack is where boot sectors have it, and the DMA descriptor below.
const STACK: u32 = 0x7c00;
const DESCRIPTOR: u32 = 0x7000;

fn image() -> Built<Vec<u8>> {
    let mut bytes = build(SIZE, 0, |image| {
        image.put(0, &[0x55, 0xaa, (SIZE / 512) as u8])?;
        image.put(0x1a, &(PLUG_AND_PLAY as u16).to_le_bytes())?;
        image.code(16, 3, 3, |b| {
            let start = b.target("initialise");
            Ok(b.jmp(start)?)
        })?;
        let entry = image.address("boot") as u16;
        let product = image.address("product") as u16;
        image.put(PLUG_AND_PLAY, &plug_and_play(entry, product))?;
        image.code(16, CODE, CODE as u32, program)
    })?;
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(last) = bytes.last_mut() {
        *last = sum.wrapping_neg();
    }
    Ok(bytes)
}

/// The expansion header for a device that boots by itself: `entry` is its boot entry vector.
fn plug_and_play(entry: u16, product: u16) -> [u8; 32] {
    let mut header = [0; 32];
    header[..4].copy_from_slice(b"$PnP");
    (header[4], header[5]) = (1, 2);
    header[0x10..0x12].copy_from_slice(&product.to_le_bytes());
    // An initial program load device that needs nothing else.
    header[0x15] = 0x14;
    header[0x1a..0x1c].copy_from_slice(&entry.to_le_bytes());
    let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    header[9] = sum.wrapping_neg();
    header
}

fn program(b: &mut Block) -> Built {
    b.name("initialise")?;
    // Status: an initial program load device is attached.
    b.mov(ax, 0x20u32)?;
    b.retf()?;

    b.name("boot")?;
    b.cli()?;
    b.cld()?;
    b.xor(ax, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, STACK)?;
    b.push(cs)?;
    b.pop(ds)?;
    // The kernel goes above 1 MiB: address line 20 on.
    b.mov(ax, 0x2401u32)?;
    b.int(0x15)?;
    b.cli()?;
    let (flat, copy, number, parts) =
        (b.target("flat"), b.target("copy"), b.target("number"), b.address("parts"));
    b.call(flat)?;
    b.mov(si, parts)?;
    for _ in PARTS {
        b.call(copy)?;
    }
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

    write_copy(b)?;
    write_number(b)?;
    write_flat(b)?;
    write_failure(b)?;
    b.name("parts")?;
    b.db(PARTS.as_flattened())?;
    b.name("product")?;
    b.db(b"Linux\0")?;
    Ok(())
}

/// copy: brings the part at SI to its place; SI moves on to the next.
fn write_copy(b: &mut Block) -> Built {
    let (number, done, by_bytes) = (b.target("number"), b.target("copied"), b.target("by-bytes"));
    b.name("copy")?;
    b.lodsb()?;
    b.call(number)?;
    b.mov(edi, eax)?;
    b.lodsb()?;
    b.call(number)?;
    b.mov(ecx, eax)?;
    b.mov(al, ID)?;
    b.call(number)?;
    b.mov(ebx, eax)?;
    b.lodsb()?;
    b.movzx(eax, al)?;
    b.test(ecx, ecx)?;
    b.je(done)?;
    b.test(bl, ID_DMA)?;
    b.je(by_bytes)?;

    // A descriptor, all of it big-endian: control, length, address.
    b.shl(eax, 16)?;
    b.or(eax, SELECT_AND_READ as i32)?;
    b.bswap(eax)?;
    b.mov(dword_ptr(DESCRIPTOR).es(), eax)?;
    b.bswap(ecx)?;
    b.mov(dword_ptr(DESCRIPTOR + 4).es(), ecx)?;
    b.mov(dword_ptr(DESCRIPTOR + 8).es(), 0)?;
    b.bswap(edi)?;
    b.mov(dword_ptr(DESCRIPTOR + 12).es(), edi)?;
    b.mov(dx, DMA)?;
    b.xor(eax, eax)?;
    b.out(dx, eax)?;
    b.add(dx, 4)?;
    b.mov(eax, DESCRIPTOR.swap_bytes())?;
    b.out(dx, eax)?;
    // Its control word becomes zero, or the error bit.
    let wait = b.here()?;
    b.mov(eax, dword_ptr(DESCRIPTOR).es())?;
    b.cmp(eax, ERROR.swap_bytes() as i32)?;
    let failed = b.target("failed");
    b.je(failed)?;
    b.test(eax, eax)?;
    b.jne(wait)?;
    b.jmp(done)?;

    b.name("by-bytes")?;
    b.mov(dx, SELECTOR)?;
    b.out(dx, ax)?;
    b.inc(dx)?;
    // With EDI and ECX.
    b.add_instruction(Instruction::with_rep_insb(32)?)?;
    b.name("copied")?;
    b.ret()?;
    Ok(())
}

/// number: the little-endian number that item AL holds, in EAX. DX changes.
fn write_number(b: &mut Block) -> Built {
    b.name("number")?;
    b.push(cx)?;
    b.movzx(ax, al)?;
    b.mov(dx, SELECTOR)?;
    b.out(dx, ax)?;
    b.inc(dx)?;
    b.mov(cx, 4)?;
    let next = b.here()?;
    b.in_(al, dx)?;
    b.ror(eax, 8)?;
    b.loop_(next)?;
    b.pop(cx)?;
    b.ret()?;
    Ok(())
}

/// flat: lets ES reach 4 GiB from base 0. No interrupt may come: its handler could load ES.
fn write_flat(b: &mut Block) -> Built {
    b.name("flat")?;
    // Where the ROM lies is firmware's choice, so the descriptor table is copied to a fixed place.
    b.xor(ecx, ecx)?;
    b.mov(es, cx)?;
    let descriptors = b.address("descriptors");
    b.mov(si, descriptors)?;
    b.mov(di, DESCRIPTOR)?;
    b.mov(cx, 22)?;
    b.rep().movsb()?;
    b.lgdt(ptr(u64::from(DESCRIPTOR + 16)).es())?;
    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.mov(cx, 8)?;
    b.mov(es, cx)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.mov(cr0, eax)?;
    b.ret()?;
    // A null descriptor, a flat one for data, and what LGDT reads.
    b.name("descriptors")?;
    b.db(&[0; 8])?;
    b.db(&[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])?;
    b.dw(&[15])?;
    b.dd(&[DESCRIPTOR])?;
    Ok(())
}

/// failed: says so and lets firmware try the next device.
fn write_failure(b: &mut Block) -> Built {
    b.name("failed")?;
    let words = b.address("words");
    b.mov(si, words)?;
    let next = b.here()?;
    let end = b.create_label();
    b.lodsb()?;
    b.test(al, al)?;
    b.je(end)?;
    b.mov(ah, 0x0e)?;
    b.mov(bx, 7)?;
    b.int(0x10)?;
    b.jmp(next)?;
    b.place(end)?;
    b.int(0x18)?;
    let again = b.here()?;
    b.hlt()?;
    b.jmp(again)?;
    b.name("words")?;
    b.db(b"fw_cfg did not give the kernel\r\n\0")?;
    Ok(())
}
