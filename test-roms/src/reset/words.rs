//! The shared vocabulary: calls and jumps by name, texts, and the way to protected mode and back.
//!
//! Code runs at F000:xxxx in real mode, or in 16-bit protected mode with flat data and with CS based at
//! F0000 or, at the same offsets, at FFFF0000, where the ROM's own copy is. Protected mode has no
//! interrupts and an IDT without entries, so that INT3 there is a triple fault.

use iced_x86::{
    Instruction,
    code_asm::{CodeLabel, *},
};

use super::{DebugPort, Plan, Variable};
use crate::assemble::{Block, Built};

/// Where the F-segment is.
pub(super) const SEGMENT: u32 = 0xf_0000;
/// What an address below 1 MiB is at in the ROM below 4 GiB.
pub(super) const HIGH: u32 = 0xfff0_0000;
/// The stack of POST and of the reset code.
pub(super) const STACK: u32 = 0x7000;

/// Selectors: flat data, and code based at F0000 and FFFF0000.
const DATA: u32 = 0x08;
pub(super) const LOW_CODE: u16 = 0x10;
pub(super) const HIGH_CODE: u16 = 0x18;

/// Segment descriptors (SDM vol. 3A, 3.4.5): null; data of 4 GiB with a 16-bit stack; the two codes.
const GDT: [u64; 4] = [0, 0x008f_9300_0000_ffff, 0x0000_9b0f_0000_ffff, 0xff00_9bff_0000_ffff];

/// The debug port.
const DEBUG: u32 = 0x402;
const DEBUG_PRESENT: i32 = 0xe9;

pub(super) fn call(b: &mut Block, name: &str) -> Built {
    let target = b.target(name);
    Ok(b.call(target)?)
}

pub(super) fn jump(b: &mut Block, name: &str) -> Built {
    let target = b.target(name);
    Ok(b.jmp(target)?)
}

/// If not zero, not equal.
pub(super) fn jump_unless_equal(b: &mut Block, name: &str) -> Built {
    let target = b.target(name);
    Ok(b.jne(target)?)
}

/// If CF, as routines that fail return it.
pub(super) fn jump_if_carry(b: &mut Block, name: &str) -> Built {
    let target = b.target(name);
    Ok(b.jc(target)?)
}

/// Prints a text on the debug port; no register changes.
pub(super) fn say(b: &mut Block, text: &str) -> Built {
    let text = b.text(text)?;
    b.push(si)?;
    b.mov(si, text)?;
    call(b, "print")?;
    Ok(b.pop(si)?)
}

/// The offset of a linear address in the F-segment.
pub(super) fn offset(at: u32) -> u32 {
    at & 0xffff
}

/// OUT to a port below 100h.
pub(super) fn out(b: &mut Block, port: i32, value: u32) -> Built {
    b.mov(al, value)?;
    Ok(b.out(port, al)?)
}

/// About `microseconds`: a read of port 80h takes one on an ISA bus. Changes AX, CX.
pub(super) fn delay(b: &mut Block, microseconds: u32) -> Built {
    b.mov(cx, microseconds)?;
    call(b, "delay")
}

/// REP MOVSD from ESI to EDI with 32-bit addresses, `dwords` times; flat segments needed.
pub(super) fn copy(b: &mut Block, dwords: u32) -> Built {
    b.mov(ecx, dwords)?;
    Ok(b.add_instruction(Instruction::with_rep_movsd(32)?)?)
}

/// REP STOSD at EDI of zeros, `dwords` times; flat segments needed.
pub(super) fn clear(b: &mut Block, dwords: u32) -> Built {
    b.mov(ecx, dwords)?;
    b.xor(eax, eax)?;
    Ok(b.add_instruction(Instruction::with_rep_stosd(32)?)?)
}

/// Zeroes a variable; flat segments needed. Changes EAX, ECX, EDI.
pub(super) fn clear_bytes(b: &mut Block, variable: &Variable) -> Built {
    b.mov(edi, variable.at)?;
    b.mov(ecx, variable.size)?;
    b.xor(eax, eax)?;
    Ok(b.add_instruction(Instruction::with_rep_stosb(32)?)?)
}

/// A loop for ever, with interrupts off.
pub(super) fn halt(b: &mut Block) -> Built {
    b.cli()?;
    let stop = b.here()?;
    b.hlt()?;
    Ok(b.jmp(stop)?)
}

/// A place to jump to, made before it is reached.
pub(super) fn label(b: &mut Block) -> CodeLabel {
    b.create_label()
}

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    write_print(b, plan)?;
    write_modes(b)?;

    b.name("delay")?;
    let again = b.here()?;
    b.in_(al, 0x80)?;
    b.loop_(again)?;
    Ok(b.ret()?)
}

fn write_print(b: &mut Block, plan: &Plan) -> Built {
    // The text at CS:SI; SI changes.
    b.name("print")?;
    b.push(eax)?;
    b.push(dx)?;
    b.mov(dx, DEBUG)?;
    let (next, done) = (label(b), label(b));
    if plan.recipe.debug == DebugPort::IfPresent {
        b.in_(al, dx)?;
        b.cmp(al, DEBUG_PRESENT)?;
        b.jne(done)?;
    }
    b.place(next)?;
    b.mov(al, byte_ptr(si).cs())?;
    b.inc(si)?;
    b.test(al, al)?;
    b.je(done)?;
    b.out(dx, al)?;
    b.jmp(next)?;
    b.place(done)?;
    b.pop(dx)?;
    b.pop(eax)?;
    b.ret()?;

    // The character AL.
    b.name("put")?;
    b.push(dx)?;
    b.push(ax)?;
    b.mov(dx, DEBUG)?;
    let absent = label(b);
    if plan.recipe.debug == DebugPort::IfPresent {
        b.in_(al, dx)?;
        b.cmp(al, DEBUG_PRESENT)?;
    }
    b.pop(ax)?;
    if plan.recipe.debug == DebugPort::IfPresent {
        b.jne(absent)?;
    }
    b.out(dx, al)?;
    b.place(absent)?;
    b.pop(dx)?;
    b.ret()?;

    // EAX in decimal, in hexadecimal, or to the base ECX; changes EAX, ECX, EDX.
    b.name("print_hexadecimal")?;
    b.mov(ecx, 16u32)?;
    jump(b, "print_number")?;
    b.name("print_decimal")?;
    b.mov(ecx, 10u32)?;
    b.name("print_number")?;
    b.xor(edx, edx)?;
    b.div(ecx)?;
    b.push(dx)?;
    b.test(eax, eax)?;
    let last = label(b);
    b.je(last)?;
    call(b, "print_number")?;
    b.place(last)?;
    b.pop(ax)?;
    let digit = label(b);
    b.add(al, i32::from(b'0'))?;
    b.cmp(al, i32::from(b'9'))?;
    b.jbe(digit)?;
    b.add(al, i32::from(b'a' - b'9' - 1))?;
    b.place(digit)?;
    jump(b, "put")
}

fn write_modes(b: &mut Block) -> Built {
    // To protected mode in the copy at F0000, flat data, no interrupts. Changes EAX.
    b.name("enter_flat")?;
    b.cli()?;
    let (no_idt, gdt, here) = (b.address("no_idt"), b.address("gdt_pointer"), b.address("in_flat"));
    b.lidt(ptr(no_idt).cs())?;
    b.lgdt(ptr(gdt).cs())?;
    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.jump_far(16, LOW_CODE, here)?;
    b.name("in_flat")?;
    b.mov(ax, DATA)?;
    load_segments(b)?;
    b.ret()?;

    // Back to real mode at F000, segments 0. Changes EAX. The limits of DS and ES stay 4 GiB.
    b.name("leave_flat")?;
    b.mov(eax, cr0)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.mov(cr0, eax)?;
    let here = b.address("in_real");
    b.jump_far(16, (SEGMENT >> 4) as u16, here)?;
    b.name("in_real")?;
    b.xor(ax, ax)?;
    load_segments(b)?;
    let idt = b.address("real_idt");
    b.lidt(ptr(idt).cs())?;
    b.ret()?;

    // Lets real-mode code use 32-bit addresses: DS and ES are 0 with a limit of 4 GiB, SS is as it was.
    // Changes EAX.
    b.name("big_real")?;
    b.cli()?;
    b.lgdt(ptr(gdt).cs())?;
    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.mov(ax, DATA)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(eax, cr0)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.mov(cr0, eax)?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.ret()?;

    b.name("gdt")?;
    b.dq(&GDT)?;
    b.name("gdt_pointer")?;
    b.dw(&[GDT.len() as u16 * 8 - 1])?;
    let gdt = b.address("gdt");
    b.dd(&[SEGMENT + gdt])?;
    b.name("no_idt")?;
    b.dw(&[0, 0, 0])?;
    b.name("real_idt")?;
    Ok(b.dw(&[0x3ff, 0, 0])?)
}

fn load_segments(b: &mut Block) -> Built {
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(ss, ax)?;
    b.mov(fs, ax)?;
    Ok(b.mov(gs, ax)?)
}
