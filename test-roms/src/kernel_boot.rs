//! What the option ROMs have in common that start a kernel which the emulator has put into fw_cfg.
//!
//! Firmware finds such a ROM by its boot entry vector (BIOS Boot Specification 1.01, 3.3; Plug and Play BIOS
//! Specification 1.0A, 3.2) and calls that as it would a network card's. The ROM then copies parts to the
//! addresses that stand beside them in fw_cfg: by DMA where the device has it, otherwise byte by byte through
//! the data port, with an ES that reaches 4 GiB.

use iced_x86::{Instruction, code_asm::*};

use crate::assemble::{Block, Built, build};

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

/// The stack is where boot sectors have it.
const STACK: u32 = 0x7c00;
/// Below it the DMA descriptor, and segment descriptors with what LGDT reads.
const DESCRIPTOR: u32 = 0x7000;
const SEGMENTS: u32 = DESCRIPTOR + 16;
/// Behind these, variables of the ROMs' own.
pub(crate) const VARIABLES: u32 = SEGMENTS + 32;

/// Selectors of all memory, as data and as 32-bit code.
pub(crate) const FLAT_DATA: u32 = 0x08;
pub(crate) const FLAT_CODE: u32 = 0x10;

/// Items of a part: its address, its size and its bytes.
pub(crate) type Part = [u8; 3];

/// Writes some of a ROM's code.
type Write = fn(&mut Block) -> Built;

/// A ROM that runs `before` with ES zero, copies `parts`, and runs `enter` with DS its own segment, ES all memory,
/// and interrupts off.
pub(crate) fn image(product: &str, parts: &[Part], before: Write, enter: Write) -> Built<Vec<u8>> {
    let mut bytes = build(SIZE, 0, |image| {
        image.put(0, &[0x55, 0xaa, (SIZE / 512) as u8])?;
        image.put(0x1a, &(PLUG_AND_PLAY as u16).to_le_bytes())?;
        image.code(16, 3, 3, |b| {
            let start = b.target("initialise");
            Ok(b.jmp(start)?)
        })?;
        let entry = image.address("boot") as u16;
        let name = image.address("product") as u16;
        image.put(PLUG_AND_PLAY, &plug_and_play(entry, name))?;
        image.code(16, CODE, CODE as u32, |b| {
            write_start(b)?;
            before(b)?;
            write_copies(b, parts.len())?;
            enter(b)?;
            write_copy(b)?;
            write_number(b)?;
            write_flat(b)?;
            write_failure(b)?;
            b.name("parts")?;
            b.db(parts.as_flattened())?;
            b.name("product")?;
            b.db(product.as_bytes())?;
            b.db(&[0])?;
            Ok(())
        })
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

fn write_start(b: &mut Block) -> Built {
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
    // Kernels go above 1 MiB: address line 20 on.
    b.mov(ax, 0x2401u32)?;
    b.int(0x15)?;
    b.xor(ax, ax)?;
    b.mov(es, ax)?;
    Ok(())
}

fn write_copies(b: &mut Block, count: usize) -> Built {
    b.cli()?;
    let (flat, copy, parts) = (b.target("flat"), b.target("copy"), b.address("parts"));
    b.call(flat)?;
    b.mov(si, parts)?;
    for _ in 0..count {
        b.call(copy)?;
    }
    Ok(())
}

/// copy: brings the part at SI to its place; SI moves on to the next. copy-to: ECX bytes of the item at SI to EDI.
fn write_copy(b: &mut Block) -> Built {
    let (number, done, by_bytes) = (b.target("number"), b.target("copied"), b.target("by-bytes"));
    b.name("copy")?;
    b.lodsb()?;
    b.call(number)?;
    b.mov(edi, eax)?;
    b.lodsb()?;
    b.call(number)?;
    b.mov(ecx, eax)?;
    b.name("copy-to")?;
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
    b.mov(di, SEGMENTS)?;
    b.mov(cx, 30)?;
    b.rep().movsb()?;
    b.lgdt(ptr(u64::from(SEGMENTS + 24)).es())?;
    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.mov(cx, FLAT_DATA)?;
    b.mov(es, cx)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.mov(cr0, eax)?;
    b.ret()?;
    // A null descriptor, flat ones for data and for code, and what LGDT reads.
    b.name("descriptors")?;
    b.db(&[0; 8])?;
    b.db(&[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])?;
    b.db(&[0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0])?;
    b.dw(&[23])?;
    b.dd(&[SEGMENTS])?;
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
