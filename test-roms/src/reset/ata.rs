//! IDE disks: how a channel is probed, and reads by PIO (ATA/ATAPI-6, T13 1410D, chapters 7 and 9).
//!
//! The probe writes 55h and AAh to the sector count and number registers *before* it resets the
//! channel, and takes a channel that does not give them back for one without a drive. A drive that a
//! restart caught in the middle of a read has DRQ set, ignores those writes, and so is not found.

use iced_x86::code_asm::*;

use super::{
    Plan,
    disks::{IDENTIFY, add_disk, kind, name_disk},
    pci,
    post::bda,
    words::{call, delay, label, offset, say},
};
use crate::assemble::{Block, Built};

/// Command block registers, from the channel's base.
const COUNT: i32 = 2;
const SECTOR: i32 = 3;
const DEVICE: i32 = 6;
const STATUS: i32 = 7;
/// From the base to the device control register.
const CONTROL: i32 = 0x206;

const BSY: u32 = 0x80;
const DRQ: u32 = 0x08;
/// DF and ERR.
const FAILED: u32 = 0x21;
/// Device control: nIEN, and an obsolete bit that is always set; then with SRST.
const NO_INTERRUPT: u32 = 0x0a;
const RESET: u32 = 0x0e;
/// Device register: LBA.
const LBA: i32 = 0x40;
/// Device register of drive 0 and drive 1.
const DRIVES: [u32; 2] = [0xa0, 0xb0];

const IDENTIFY_DEVICE: u32 = 0xec;
const IDENTIFY_PACKET_DEVICE: u32 = 0xa1;
const READ_SECTORS: u32 = 0x20;

/// How long a controller may be busy: 32 seconds in ticks of the timer.
const TIMEOUT_TICKS: i32 = 583;

/// The probe's own variables, in segment 0: channel base, channel number, device register, whether the
/// channel has been reset.
const BASE: u32 = 0x500;
const CHANNEL: u32 = 0x502;
const SELECT: u32 = 0x503;
const DID_RESET: u32 = 0x504;

/// The channels at their legacy addresses: base, "base/control", interrupt.
const CHANNELS: [(u32, &str, u8); 2] = [(0x1f0, "1f0/3f4", 14), (0x170, "170/374", 15)];

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    write_find(b, plan)?;
    write_detect(b, plan)?;
    write_identify(b)?;
    write_reset(b)?;
    write_wait(b)?;
    write_read(b)
}

/// Both channels of a PCI IDE controller, or of one without PCI.
fn write_find(b: &mut Block, plan: &Plan) -> Built {
    b.name("find_ide")?;
    let (legacy, found) = (label(b), label(b));
    b.mov(ebx, 0xffff_ffffu32)?;
    b.mov(eax, 0x8000_0000u32)?;
    b.mov(dx, 0xcf8u32)?;
    b.out(dx, eax)?;
    b.in_(eax, dx)?;
    b.cmp(eax, 0x8000_0000u32 as i32)?;
    b.jne(legacy)?;
    pci::find(b, pci::CLASS, 0xffff_0000, 0x0101_0000)?;
    b.jnc(found)?;
    b.ret()?;
    b.place(found)?;
    b.shr(ebx, 8u32)?;
    b.and(ebx, 0xffff)?;
    b.place(legacy)?;
    for (number, (_, ports, interrupt)) in CHANNELS.into_iter().enumerate() {
        let number = number + usize::from(plan.recipe.first_controller);
        say(b, &format!("ATA controller {number} at {ports}/0 (irq {interrupt} dev "))?;
        b.mov(eax, ebx)?;
        call(b, "print_hexadecimal")?;
        say(b, ")\n")?;
    }
    for (number, (base, ..)) in CHANNELS.into_iter().enumerate() {
        b.mov(word_ptr(BASE), base)?;
        b.mov(byte_ptr(CHANNEL), number as u32)?;
        call(b, "ata_detect")?;
    }
    Ok(b.ret()?)
}

/// The channel at [BASE].
fn write_detect(b: &mut Block, plan: &Plan) -> Built {
    b.name("ata_detect")?;
    b.mov(byte_ptr(SELECT), DRIVES[0])?;
    b.mov(byte_ptr(DID_RESET), 0u32)?;
    if plan.recipe.reset_before_probe && !plan.disabled.srst {
        call(b, "ata_reset")?;
    }
    let (busy, skip, next, reset) = (label(b), label(b), label(b), label(b));
    let (disk, end) = (label(b), label(b));
    b.place(next)?;
    b.mov(dx, word_ptr(BASE))?;
    call(b, "ata_wait")?;
    b.jc(busy)?;
    select(b)?;
    call(b, "ata_wait")?;
    b.jc(busy)?;
    // Do the registers keep what is written to them?
    select(b)?;
    b.add(dx, DEVICE)?;
    b.in_(al, dx)?;
    b.cmp(al, byte_ptr(SELECT))?;
    b.jne(skip)?;
    b.add(dx, COUNT - DEVICE)?;
    b.mov(al, 0x55u32)?;
    b.out(dx, al)?;
    b.add(dx, SECTOR - COUNT)?;
    b.mov(al, 0xaau32)?;
    b.out(dx, al)?;
    b.in_(al, dx)?;
    b.mov(ah, al)?;
    b.add(dx, COUNT - SECTOR)?;
    b.in_(al, dx)?;
    b.cmp(ax, 0xaa55_u32 as i32)?;
    b.jne(skip)?;
    b.cmp(byte_ptr(DID_RESET), 0)?;
    b.jne(reset)?;
    call(b, "ata_reset")?;
    b.mov(byte_ptr(DID_RESET), 1u32)?;
    b.place(reset)?;
    b.mov(al, IDENTIFY_PACKET_DEVICE)?;
    call(b, "ata_identify")?;
    b.jc(disk)?;
    name(b)?;
    call(b, "print_model")?;
    say(b, " ATAPI-")?;
    call(b, "print_version")?;
    say(b, " DVD/CD\n")?;
    b.inc(byte_ptr(offset(plan.recipe.lists.cd_count)).cs())?;
    b.jmp(skip)?;

    b.place(disk)?;
    b.mov(dx, word_ptr(BASE))?;
    b.add(dx, STATUS)?;
    b.in_(al, dx)?;
    b.test(al, al)?;
    b.je(skip)?;
    b.mov(al, IDENTIFY_DEVICE)?;
    call(b, "ata_identify")?;
    b.jc(skip)?;
    name(b)?;
    name_disk(b)?;
    b.mov(ah, byte_ptr(SELECT))?;
    b.mov(dx, word_ptr(BASE))?;
    b.xor(ebp, ebp)?;
    add_disk(b, kind::ATA)?;
    b.jmp(skip)?;

    b.place(busy)?;
    say(b, "WARNING - Timeout at powerup_await_non_bsy!\n")?;
    b.place(skip)?;
    b.cmp(byte_ptr(SELECT), DRIVES[1] as i32)?;
    b.je(end)?;
    b.mov(byte_ptr(SELECT), DRIVES[1])?;
    b.jmp(next)?;
    b.place(end)?;
    Ok(b.ret()?)
}

/// "ata0-0: ".
fn name(b: &mut Block) -> Built {
    say(b, "ata")?;
    b.mov(al, byte_ptr(CHANNEL))?;
    b.add(al, i32::from(b'0'))?;
    call(b, "put")?;
    say(b, "-")?;
    b.mov(al, byte_ptr(SELECT))?;
    b.shr(al, 4u32)?;
    b.and(al, 1)?;
    b.add(al, i32::from(b'0'))?;
    call(b, "put")?;
    say(b, ": ")
}

/// Writes [SELECT] to the device register; DX = [BASE]. Changes AL, CX.
fn select(b: &mut Block) -> Built {
    b.mov(dx, word_ptr(BASE))?;
    b.add(dx, DEVICE)?;
    b.mov(al, byte_ptr(SELECT))?;
    b.out(dx, al)?;
    b.sub(dx, DEVICE)?;
    delay(b, 1)
}

/// The command AL, IDENTIFY (PACKET) DEVICE, and its reply to [`IDENTIFY`]; CF if there is none.
fn write_identify(b: &mut Block) -> Built {
    b.name("ata_identify")?;
    b.push(ax)?;
    select(b)?;
    call(b, "ata_wait")?;
    b.add(dx, CONTROL)?;
    b.mov(al, NO_INTERRUPT)?;
    b.out(dx, al)?;
    b.sub(dx, CONTROL - STATUS)?;
    b.pop(ax)?;
    b.out(dx, al)?;
    delay(b, 1)?;
    b.mov(dx, word_ptr(BASE))?;
    call(b, "ata_wait")?;
    let failed = label(b);
    b.jc(failed)?;
    b.test(al, FAILED)?;
    b.jne(failed)?;
    b.test(al, DRQ)?;
    b.je(failed)?;
    b.mov(di, IDENTIFY)?;
    b.mov(cx, 0x100u32)?;
    b.rep().insw()?;
    b.clc()?;
    b.ret()?;
    b.place(failed)?;
    b.stc()?;
    Ok(b.ret()?)
}

/// Software reset of the channel at [BASE] (9.2).
fn write_reset(b: &mut Block) -> Built {
    b.name("ata_reset")?;
    b.mov(dx, word_ptr(BASE))?;
    b.add(dx, CONTROL)?;
    for (value, microseconds) in [(RESET, 5), (NO_INTERRUPT, 500)] {
        b.mov(al, value)?;
        b.out(dx, al)?;
        delay(b, microseconds)?;
    }
    b.sub(dx, CONTROL)?;
    call(b, "ata_wait")?;
    select(b)?;
    Ok(b.ret()?)
}

/// Waits until the channel at DX is not busy, with interrupts on in between. AL = status; CF if it
/// never is. DS must be 0.
fn write_wait(b: &mut Block) -> Built {
    let (again, done) = (label(b), label(b));
    b.name("ata_wait")?;
    b.push(dx)?;
    b.push(ebx)?;
    b.mov(ebx, dword_ptr(bda::TICKS))?;
    b.add(dx, STATUS)?;
    b.place(again)?;
    b.in_(al, dx)?;
    b.test(al, BSY)?;
    b.je(done)?;
    // Nothing there: the bus floats.
    b.cmp(al, 0xff_u32 as i32)?;
    b.je(done)?;
    call(b, "yield")?;
    b.push(eax)?;
    b.mov(eax, dword_ptr(bda::TICKS))?;
    b.sub(eax, ebx)?;
    b.cmp(eax, TIMEOUT_TICKS)?;
    b.pop(eax)?;
    b.jb(again)?;
    b.stc()?;
    b.place(done)?;
    b.pop(ebx)?;
    b.pop(dx)?;
    b.ret()?;

    // Lets interrupts in. Ctrl+Alt+Del does not come back from here.
    b.name("yield")?;
    b.sti()?;
    b.nop()?;
    for _ in 0..8 {
        b.pause()?;
    }
    b.cli()?;
    b.cld()?;
    Ok(b.ret()?)
}

/// CX sectors from EBX of the drive at CS:SI to ES:DI; CF if that failed. Changes EAX, CX, DX, DI.
fn write_read(b: &mut Block) -> Built {
    b.name("ata_read")?;
    let (next, failed) = (label(b), label(b));
    b.mov(dx, word_ptr(si + kind::PORT).cs())?;
    call(b, "ata_wait")?;
    b.jc(failed)?;
    b.add(dx, CONTROL)?;
    b.mov(al, NO_INTERRUPT)?;
    b.out(dx, al)?;
    b.sub(dx, CONTROL - DEVICE)?;
    b.mov(eax, ebx)?;
    b.shr(eax, 24u32)?;
    b.and(al, 0x0f)?;
    b.or(al, LBA)?;
    b.or(al, byte_ptr(si + kind::SELECT).cs())?;
    b.out(dx, al)?;
    b.sub(dx, DEVICE - COUNT)?;
    b.mov(al, cl)?;
    b.out(dx, al)?;
    b.mov(eax, ebx)?;
    for _ in 0..3 {
        b.inc(dx)?;
        b.out(dx, al)?;
        b.shr(eax, 8u32)?;
    }
    b.add(dx, 2)?;
    b.mov(al, READ_SECTORS)?;
    b.out(dx, al)?;
    b.sub(dx, STATUS)?;
    b.place(next)?;
    b.in_(al, 0x80)?;
    call(b, "ata_wait")?;
    b.jc(failed)?;
    b.test(al, FAILED)?;
    b.jne(failed)?;
    b.test(al, DRQ)?;
    b.je(failed)?;
    b.push(cx)?;
    b.mov(cx, 0x100u32)?;
    b.rep().insw()?;
    b.pop(cx)?;
    b.dec(cx)?;
    b.jne(next)?;
    b.clc()?;
    b.ret()?;
    b.place(failed)?;
    b.stc()?;
    Ok(b.ret()?)
}
