//! The list of disks, and INT 13h on it.

use iced_x86::code_asm::*;

use super::{
    Lists, Plan,
    post::bda,
    words::{call, jump, jump_if_carry, label, offset, say},
};
use crate::assemble::{Block, Built};

/// Where POST reads IDENTIFY DEVICE data to, and makes texts of it.
pub(super) const IDENTIFY: u32 = 0x8000;
const TEXT: u32 = 0x8200;
/// IDENTIFY DEVICE words (ATA/ATAPI-6, table 27), as byte offsets.
const CYLINDERS: u32 = 2;
const HEADS: u32 = 3 * 2;
const SECTORS: u32 = 6 * 2;
const MODEL: u32 = 27 * 2;
const MODEL_LENGTH: u32 = 40;
const ADDRESSABLE: u32 = 60 * 2;
const MAJOR_VERSION: u32 = 80 * 2;

/// One drive structure: 16 bytes.
pub(super) mod kind {
    /// Kinds, the first byte.
    pub const ATA: u32 = 1;
    pub const AHCI: u32 = 2;
    /// Device register's drive bit, and the channel's base.
    pub const SELECT: i32 = 1;
    pub const PORT: i32 = 2;
    /// Sectors in all; cylinders, heads, sectors per track.
    pub const TOTAL: i32 = 4;
    pub const CYLINDERS: i32 = 8;
    pub const HEADS: i32 = 10;
    pub const SECTORS: i32 = 11;
    /// Linear address of an AHCI port's registers.
    pub const REGISTERS: i32 = 12;
    /// Bytes.
    pub const SIZE_SHIFT: u32 = 4;
}

/// The stack of INT 13h's caller, from BP: PUSHAD, DS, ES below the interrupt's frame.
mod frame {
    pub const DS: i32 = 2;
    pub const BX: i32 = 20;
    pub const DX: i32 = 24;
    pub const CX: i32 = 28;
    pub const AL: i32 = 32;
    pub const AH: i32 = 33;
    pub const FLAGS: i32 = 40;
    pub const SI: i32 = 8;
}

/// Error codes of INT 13h.
mod status {
    pub const BAD_COMMAND: u32 = 0x01;
    pub const CONTROLLER: u32 = 0x20;
}

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    b.name("find_disks")?;
    call(b, "find_ide")?;
    if plan.recipe.ahci {
        call(b, "find_ahci")?;
    }
    b.ret()?;
    write_add(b, &plan.recipe.lists)?;
    write_texts(b)?;
    write_service(b, plan)?;
    write_functions(b, plan)
}

/// Adds a disk whose IDENTIFY DEVICE data has been read: AH, DX, EBP go to its structure.
pub(super) fn add_disk(b: &mut Block, kind: u32) -> Built {
    b.mov(al, kind)?;
    call(b, "add_disk")
}

fn write_add(b: &mut Block, lists: &Lists) -> Built {
    let (none, fits) = (label(b), label(b));
    b.name("add_disk")?;
    b.movzx(di, byte_ptr(bda::HARD_DISKS))?;
    b.mov(bx, di)?;
    b.cmp(bl, 8)?;
    b.jae(none)?;
    b.shl(di, kind::SIZE_SHIFT)?;
    b.add(di, offset(lists.heap) as i32)?;
    b.mov(byte_ptr(di).cs(), al)?;
    // Without memory for it, there is no such drive.
    b.cmp(byte_ptr(di).cs(), al)?;
    b.jne(none)?;
    b.mov(byte_ptr(bx + offset(lists.id_map) as i32).cs(), bl)?;
    b.mov(byte_ptr(di + kind::SELECT).cs(), ah)?;
    b.mov(word_ptr(di + kind::PORT).cs(), dx)?;
    b.mov(dword_ptr(di + kind::REGISTERS).cs(), ebp)?;
    b.mov(eax, dword_ptr(IDENTIFY + ADDRESSABLE))?;
    b.mov(dword_ptr(di + kind::TOTAL).cs(), eax)?;
    // Up to 1,024 cylinders as the drive says; else 255 heads of 63 sectors (LBA translation).
    b.mov(cl, byte_ptr(IDENTIFY + HEADS))?;
    b.mov(ch, byte_ptr(IDENTIFY + SECTORS))?;
    b.cmp(word_ptr(IDENTIFY + CYLINDERS), 1024)?;
    b.movzx(eax, word_ptr(IDENTIFY + CYLINDERS))?;
    b.jbe(fits)?;
    b.mov(cx, 63u32 << 8 | 255)?;
    b.mov(eax, dword_ptr(IDENTIFY + ADDRESSABLE))?;
    b.xor(edx, edx)?;
    b.mov(esi, 255 * 63u32)?;
    b.div(esi)?;
    b.cmp(eax, 1024)?;
    b.jbe(fits)?;
    b.mov(eax, 1024u32)?;
    b.place(fits)?;
    b.mov(word_ptr(di + kind::CYLINDERS).cs(), ax)?;
    b.mov(word_ptr(di + kind::HEADS).cs(), cx)?;
    b.inc(byte_ptr(bda::HARD_DISKS))?;
    b.mov(byte_ptr(offset(lists.boot_count)).cs(), 1u32)?;
    b.place(none)?;
    Ok(b.ret()?)
}

/// "QEMU HARDDISK ATA-7 Hard-Disk (8 MiBytes)", of the IDENTIFY DEVICE data.
pub(super) fn name_disk(b: &mut Block) -> Built {
    call(b, "print_model")?;
    say(b, " ATA-")?;
    call(b, "print_version")?;
    say(b, " Hard-Disk (")?;
    let (mebibytes, end) = (label(b), label(b));
    b.mov(eax, dword_ptr(IDENTIFY + ADDRESSABLE))?;
    b.shr(eax, 11u32)?;
    b.cmp(eax, 1 << 16)?;
    b.jb(mebibytes)?;
    b.shr(eax, 10u32)?;
    call(b, "print_decimal")?;
    say(b, " GiBytes)\n")?;
    b.jmp(end)?;
    b.place(mebibytes)?;
    call(b, "print_decimal")?;
    say(b, " MiBytes)\n")?;
    b.place(end)?;
    Ok(())
}

fn write_texts(b: &mut Block) -> Built {
    // The model: two characters to a word, the first one high; spaces at the end.
    b.name("print_model")?;
    b.mov(si, IDENTIFY + MODEL)?;
    b.mov(di, TEXT)?;
    b.mov(cx, MODEL_LENGTH / 2)?;
    let next = b.here()?;
    b.lodsw()?;
    b.xchg(al, ah)?;
    b.stosw()?;
    b.loop_(next)?;
    let (trim, print, end) = (label(b), label(b), label(b));
    b.mov(byte_ptr(di), 0u32)?;
    b.place(trim)?;
    b.dec(di)?;
    b.cmp(di, TEXT as i32)?;
    b.jb(print)?;
    b.cmp(byte_ptr(di), i32::from(b' '))?;
    b.jne(print)?;
    b.mov(byte_ptr(di), 0u32)?;
    b.jmp(trim)?;
    b.place(print)?;
    b.mov(si, TEXT)?;
    let character = b.here()?;
    b.lodsb()?;
    b.test(al, al)?;
    b.je(end)?;
    call(b, "put")?;
    b.jmp(character)?;
    b.place(end)?;
    b.ret()?;

    // The highest ATA version, a bit each.
    b.name("print_version")?;
    let some = label(b);
    b.xor(eax, eax)?;
    b.bsr(ax, word_ptr(IDENTIFY + MAJOR_VERSION))?;
    b.jne(some)?;
    b.xor(ax, ax)?;
    b.place(some)?;
    jump(b, "print_decimal")
}

/// INT 13h: AH=00h, 02h, 08h, 15h, 41h and 42h of hard disks.
fn write_service(b: &mut Block, plan: &Plan) -> Built {
    let lists = &plan.recipe.lists;
    b.name("int_13")?;
    b.pushad()?;
    b.push(ds)?;
    b.push(es)?;
    b.mov(bp, sp)?;
    b.cld()?;
    b.xor(bx, bx)?;
    b.mov(ds, bx)?;
    let bad = label(b);
    b.mov(bl, dl)?;
    b.sub(bl, 0x80_u32 as i32)?;
    b.jb(bad)?;
    b.cmp(bl, byte_ptr(bda::HARD_DISKS))?;
    b.jae(bad)?;
    b.movzx(si, byte_ptr(bx + offset(lists.id_map) as i32).cs())?;
    b.shl(si, kind::SIZE_SHIFT)?;
    b.add(si, offset(lists.heap) as i32)?;
    for (function, name) in [
        (0x00, "int_13_done"),
        (0x02, "int_13_read"),
        (0x08, "int_13_geometry"),
        (0x15, "int_13_type"),
        (0x41, "int_13_extensions"),
        (0x42, "int_13_extended_read"),
    ] {
        let target = b.target(name);
        b.cmp(ah, function)?;
        b.je(target)?;
    }
    b.place(bad)?;
    b.mov(ah, status::BAD_COMMAND)?;
    // AH = status.
    b.name("int_13_failed")?;
    b.mov(byte_ptr(bp + frame::AH).ss(), ah)?;
    b.or(byte_ptr(bp + frame::FLAGS).ss(), 1)?;
    let leave = label(b);
    b.jmp(leave)?;
    b.name("int_13_done")?;
    b.mov(byte_ptr(bp + frame::AH).ss(), 0u32)?;
    b.name("int_13_succeeded")?;
    b.and(byte_ptr(bp + frame::FLAGS).ss(), 0xfe_u32 as i32)?;
    b.place(leave)?;
    b.pop(es)?;
    b.pop(ds)?;
    b.popad()?;
    Ok(b.iret()?)
}

fn write_functions(b: &mut Block, plan: &Plan) -> Built {
    write_reads(b, plan)?;

    // AH=08h: CH, CL: last cylinder and sector; DH: last head; DL: drives.
    b.name("int_13_geometry")?;
    b.mov(ax, word_ptr(si + kind::CYLINDERS).cs())?;
    b.dec(ax)?;
    b.xchg(al, ah)?;
    b.shl(al, 6u32)?;
    b.or(al, byte_ptr(si + kind::SECTORS).cs())?;
    b.mov(word_ptr(bp + frame::CX).ss(), ax)?;
    b.mov(ah, byte_ptr(si + kind::HEADS).cs())?;
    b.dec(ah)?;
    b.mov(al, byte_ptr(bda::HARD_DISKS))?;
    b.mov(word_ptr(bp + frame::DX).ss(), ax)?;
    jump(b, "int_13_done")?;

    // AH=15h: a hard disk, CX:DX sectors.
    b.name("int_13_type")?;
    b.mov(eax, dword_ptr(si + kind::TOTAL).cs())?;
    b.mov(word_ptr(bp + frame::DX).ss(), ax)?;
    b.shr(eax, 16u32)?;
    b.mov(word_ptr(bp + frame::CX).ss(), ax)?;
    b.mov(byte_ptr(bp + frame::AH).ss(), 3u32)?;
    jump(b, "int_13_succeeded")?;

    // AH=41h: version 1, with packet reads.
    b.name("int_13_extensions")?;
    b.mov(word_ptr(bp + frame::BX).ss(), 0xaa55u32)?;
    b.mov(word_ptr(bp + frame::CX).ss(), 1u32)?;
    b.mov(byte_ptr(bp + frame::AH).ss(), 1u32)?;
    jump(b, "int_13_succeeded")
}

fn write_reads(b: &mut Block, plan: &Plan) -> Built {
    let go = label(b);
    let bad = label(b);
    // AH=02h: AL sectors at cylinder CH and CL 7-6, head DH, sector CL 5-0, to ES:BX.
    b.name("int_13_read")?;
    b.movzx(eax, cl)?;
    b.shr(al, 6u32)?;
    b.shl(ax, 8u32)?;
    b.mov(al, ch)?;
    b.movzx(ebx, byte_ptr(si + kind::HEADS).cs())?;
    b.imul_2(eax, ebx)?;
    b.movzx(ebx, dh)?;
    b.add(eax, ebx)?;
    b.movzx(ebx, byte_ptr(si + kind::SECTORS).cs())?;
    b.imul_2(eax, ebx)?;
    b.movzx(ebx, cl)?;
    b.and(bl, 0x3f)?;
    b.je(bad)?;
    b.dec(bl)?;
    b.add(ebx, eax)?;
    b.movzx(cx, byte_ptr(bp + frame::AL).ss())?;
    b.mov(di, word_ptr(bp + frame::BX).ss())?;
    b.jmp(go)?;

    b.place(bad)?;
    b.mov(ah, status::BAD_COMMAND)?;
    jump(b, "int_13_failed")?;

    // AH=42h: the packet at DS:SI has count, buffer and sector.
    b.name("int_13_extended_read")?;
    b.mov(ds, word_ptr(bp + frame::DS).ss())?;
    b.mov(di, word_ptr(bp + frame::SI).ss())?;
    b.mov(cx, word_ptr(di + 2))?;
    b.mov(ebx, dword_ptr(di + 8))?;
    b.les(di, dword_ptr(di + 4))?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.place(go)?;
    b.test(cx, cx)?;
    b.je(bad)?;
    b.cmp(cx, 127)?;
    b.ja(bad)?;
    // A buffer that does not wrap at the end of its segment.
    b.mov(ax, es)?;
    b.mov(dx, di)?;
    b.shr(dx, 4u32)?;
    b.add(ax, dx)?;
    b.mov(es, ax)?;
    b.and(di, 0x0f)?;
    if plan.recipe.ahci {
        let ata = label(b);
        b.cmp(byte_ptr(si).cs(), kind::AHCI as i32)?;
        b.jne(ata)?;
        call(b, "ahci_read")?;
        let done = b.target("int_13_read_ends");
        b.jmp(done)?;
        b.place(ata)?;
    }
    call(b, "ata_read")?;
    b.name("int_13_read_ends")?;
    b.mov(ah, status::CONTROLLER)?;
    jump_if_carry(b, "int_13_failed")?;
    jump(b, "int_13_done")
}
