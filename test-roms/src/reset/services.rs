//! The interrupt services a boot sector needs: timer, keyboard, memory size, boot. INT 13h is in
//! [`super::int13`].

use iced_x86::code_asm::*;

use super::{
    Plan,
    post::bda,
    words::{SEGMENT, label, offset, out, say},
};
use crate::assemble::{Block, Built};

/// Shift states in 40:17.
const CTRL: i32 = 4;
const ALT: i32 = 8;
/// Set 1 scan codes with bit 7 off.
const CTRL_CODE: i32 = 0x1d;
const ALT_CODE: i32 = 0x38;
const DELETE_CODE: i32 = 0x53;
/// At 40:72 for a restart without a memory test.
const WARM: u32 = 0x1234;
const BOOT_SECTOR: u32 = 0x7c00;

/// What keys 01h-39h type, 0 where nothing.
const ASCII: &[u8; 0x39] = b"\x1b1234567890-=\x08\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    b.name("int_ignored")?;
    b.iret()?;
    write_timer(b)?;
    write_keyboard_interrupt(b)?;
    write_keyboard_service(b)?;
    write_small_services(b)?;
    write_boot(b, plan)
}

fn write_timer(b: &mut Block) -> Built {
    b.name("irq0_timer")?;
    b.push(ax)?;
    b.push(ds)?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.inc(dword_ptr(bda::TICKS))?;
    b.int(0x1cu32)?;
    out(b, 0x20, 0x20)?;
    b.pop(ds)?;
    b.pop(ax)?;
    b.iret()?;

    // AH=0: ticks in CX:DX.
    b.name("int_1a")?;
    b.push(ds)?;
    b.xor(cx, cx)?;
    b.mov(ds, cx)?;
    b.mov(dx, word_ptr(bda::TICKS))?;
    b.mov(cx, word_ptr(bda::TICKS + 2))?;
    b.pop(ds)?;
    b.mov(al, 0u32)?;
    Ok(b.iret()?)
}

/// IRQ1: shift keys, Ctrl+Alt+Del, and the type-ahead buffer. Ctrl+Alt+Del is no reset of the
/// hardware: it jumps to the reset vector's address and leaves every device as it is.
fn write_keyboard_interrupt(b: &mut Block) -> Built {
    b.name("irq1_keyboard")?;
    b.pusha()?;
    b.push(ds)?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    let end = label(b);
    b.in_(al, 0x64)?;
    b.test(al, 1u32)?;
    b.je(end)?;
    b.in_(al, 0x60)?;
    b.mov(ah, al)?;
    b.and(ah, 0x7f)?;
    for (code, bit) in [(CTRL_CODE, CTRL), (ALT_CODE, ALT)] {
        let (other, make) = (label(b), label(b));
        b.cmp(ah, code)?;
        b.jne(other)?;
        b.or(byte_ptr(bda::SHIFTS), bit)?;
        b.test(al, 0x80u32)?;
        b.je(make)?;
        b.xor(byte_ptr(bda::SHIFTS), bit)?;
        b.place(make)?;
        b.jmp(end)?;
        b.place(other)?;
    }
    let (plain, store) = (label(b), label(b));
    b.test(al, 0x80u32)?;
    b.jne(end)?;
    b.cmp(al, DELETE_CODE)?;
    b.jne(plain)?;
    b.mov(ah, byte_ptr(bda::SHIFTS))?;
    b.and(ah, CTRL | ALT)?;
    b.cmp(ah, CTRL | ALT)?;
    b.jne(plain)?;
    b.mov(word_ptr(bda::SOFT_RESET), WARM)?;
    b.jump_far(16, (SEGMENT >> 4) as u16, 0xfff0)?;

    b.place(plain)?;
    b.mov(ah, al)?;
    b.mov(al, 0u32)?;
    b.cmp(ah, ASCII.len() as i32)?;
    b.ja(store)?;
    b.movzx(bx, ah)?;
    let table = b.address("ascii") as i32;
    b.mov(al, byte_ptr(bx + (table - 1)).cs())?;
    b.place(store)?;
    let room = label(b);
    b.mov(bx, word_ptr(bda::KEYS_TAIL))?;
    b.mov(si, bx)?;
    b.add(si, 2)?;
    b.cmp(si, bda::KEYS_END as i32)?;
    b.jb(room)?;
    b.mov(si, bda::KEYS)?;
    b.place(room)?;
    b.cmp(si, word_ptr(bda::KEYS_HEAD))?;
    b.je(end)?;
    b.mov(word_ptr(bx + bda::START as i32), ax)?;
    b.mov(word_ptr(bda::KEYS_TAIL), si)?;
    b.place(end)?;
    out(b, 0x20, 0x20)?;
    b.pop(ds)?;
    b.popa()?;
    b.iret()?;
    b.name("ascii")?;
    Ok(b.db(ASCII)?)
}

/// INT 16h: AH=0 waits for a key and takes it, AH=1 looks, AH=2 tells the shift states.
fn write_keyboard_service(b: &mut Block) -> Built {
    let (look, wait, shifts, ready, ends) = (label(b), label(b), label(b), label(b), label(b));
    b.name("int_16")?;
    b.push(ds)?;
    b.push(bx)?;
    b.xor(bx, bx)?;
    b.mov(ds, bx)?;
    b.cmp(ah, 1)?;
    b.je(look)?;
    b.ja(shifts)?;
    b.place(wait)?;
    b.mov(bx, word_ptr(bda::KEYS_HEAD))?;
    b.cmp(bx, word_ptr(bda::KEYS_TAIL))?;
    b.jne(ready)?;
    b.sti()?;
    b.hlt()?;
    b.cli()?;
    b.jmp(wait)?;
    b.place(ready)?;
    b.mov(ax, word_ptr(bx + bda::START as i32))?;
    b.add(bx, 2)?;
    b.cmp(bx, bda::KEYS_END as i32)?;
    let inside = label(b);
    b.jb(inside)?;
    b.mov(bx, bda::KEYS)?;
    b.place(inside)?;
    b.mov(word_ptr(bda::KEYS_HEAD), bx)?;
    b.jmp(ends)?;
    b.place(shifts)?;
    b.mov(al, byte_ptr(bda::SHIFTS))?;
    b.place(ends)?;
    b.pop(bx)?;
    b.pop(ds)?;
    b.iret()?;
    b.place(look)?;
    b.mov(bx, word_ptr(bda::KEYS_HEAD))?;
    b.mov(ax, word_ptr(bx + bda::START as i32))?;
    b.cmp(bx, word_ptr(bda::KEYS_TAIL))?;
    b.pop(bx)?;
    b.pop(ds)?;
    b.sti()?;
    // ZF is the answer: the caller's flags go.
    Ok(b.retf_1(2)?)
}

fn write_small_services(b: &mut Block) -> Built {
    for (name, at) in [("int_11", 0x410u32), ("int_12", bda::MEMORY_KB)] {
        b.name(name)?;
        b.push(ds)?;
        b.xor(ax, ax)?;
        b.mov(ds, ax)?;
        b.mov(ax, word_ptr(at))?;
        b.pop(ds)?;
        b.iret()?;
    }
    // No function of INT 15h is there.
    b.name("int_15")?;
    b.mov(ah, 0x86u32)?;
    b.stc()?;
    b.sti()?;
    Ok(b.retf_1(2)?)
}

/// INT 19h boots the first hard disk; INT 18h is where everything ends that could not.
fn write_boot(b: &mut Block, plan: &Plan) -> Built {
    let (nothing, unreadable, unsigned, last) = (label(b), label(b), label(b), label(b));
    b.name("int_19")?;
    b.cli()?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, 0x7000u32)?;
    b.cmp(byte_ptr(offset(plan.recipe.lists.boot_count)).cs(), 0)?;
    b.je(nothing)?;
    say(b, "Booting from Hard Disk...\n")?;
    b.mov(ax, 0x0201u32)?;
    b.mov(bx, BOOT_SECTOR)?;
    b.mov(cx, 1u32)?;
    b.mov(dx, 0x80u32)?;
    b.int(0x13u32)?;
    b.jc(unreadable)?;
    b.cmp(word_ptr(BOOT_SECTOR + 510), 0xaa55_u32 as i32)?;
    b.jne(unsigned)?;
    say(b, "Booting from 0000:7c00\n")?;
    b.mov(dx, 0x80u32)?;
    b.sti()?;
    b.jump_far(16, 0, BOOT_SECTOR)?;
    b.place(unreadable)?;
    say(b, "Boot failed: could not read the boot disk\n\n")?;
    b.jmp(last)?;
    b.place(unsigned)?;
    say(b, "Boot failed: not a bootable disk\n\n")?;
    b.place(last)?;
    b.place(nothing)?;
    b.name("int_18")?;
    say(b, "No bootable device.\n")?;
    b.sti()?;
    let idle = b.here()?;
    b.hlt()?;
    Ok(b.jmp(idle)?)
}
