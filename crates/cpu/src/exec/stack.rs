//! PUSH, POP, PUSHA, POPA, ENTER, LEAVE (Intel SDM vol. 2). None sets a flag.
//!
//! Segment registers and the flags are pushed and popped elsewhere. What is pushed or popped has
//! the width W; how much of ESP counts is SS's B bit, not the operand size.

use iced_x86::{Code, Instruction, Mnemonic};

use super::operands::{
    Imm, Kind, Mem, Reg, is_immediate, is_memory, is_register, write_part, write_register,
};
use crate::{
    Bus, Core, Exec, Handler, Op,
    state::{gpr, segment},
    width::Width,
};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Push => push_handler(instruction),
        Mnemonic::Pop => pop_handler(instruction),
        Mnemonic::Pusha => Some(pusha::<B, u16>),
        Mnemonic::Pushad => Some(pusha::<B, u32>),
        Mnemonic::Popa => Some(popa::<B, u16>),
        Mnemonic::Popad => Some(popa::<B, u32>),
        _ => match instruction.code() {
            Code::Enterw_imm16_imm8 => Some(enter::<B, u16>),
            Code::Enterd_imm16_imm8 => Some(enter::<B, u32>),
            Code::Leavew => Some(leave::<B, u16>),
            Code::Leaved => Some(leave::<B, u32>),
            Code::Enterq_imm16_imm8 => Some(enter::<B, u64>),
            Code::Leaveq => Some(leave::<B, u64>),
            _ => None,
        },
    }
}

fn push_handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.stack_pointer_increment() {
        -2 if is_register(instruction, 0) => Some(push::<B, u16, Reg>),
        -4 if is_register(instruction, 0) => Some(push::<B, u32, Reg>),
        -2 if is_memory(instruction, 0) => Some(push::<B, u16, Mem>),
        -4 if is_memory(instruction, 0) => Some(push::<B, u32, Mem>),
        -2 if is_immediate(instruction, 0) => Some(push::<B, u16, Imm>),
        -4 if is_immediate(instruction, 0) => Some(push::<B, u32, Imm>),
        -8 if is_register(instruction, 0) => Some(push::<B, u64, Reg>),
        -8 if is_memory(instruction, 0) => Some(push::<B, u64, Mem>),
        -8 if is_immediate(instruction, 0) => Some(push::<B, u64, Imm>),
        _ => None,
    }
}

fn pop_handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.stack_pointer_increment() {
        2 if is_register(instruction, 0) => Some(pop_register::<B, u16>),
        4 if is_register(instruction, 0) => Some(pop_register::<B, u32>),
        2 if is_memory(instruction, 0) => Some(pop_memory::<B, u16>),
        4 if is_memory(instruction, 0) => Some(pop_memory::<B, u32>),
        8 if is_register(instruction, 0) => Some(pop_register::<B, u64>),
        8 if is_memory(instruction, 0) => Some(pop_memory::<B, u64>),
        _ => None,
    }
}

/// PUSH; PUSH SP pushes SP as it was before.
#[inline(always)]
pub(super) fn push<B: Bus, W: Width, Source: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    Source::take(core, bus, op, op.dst, |core, bus, value: W| core.push(bus, value))
}

/// POP to a register; POP SP leaves what was popped.
#[inline(always)]
pub(super) fn pop_register<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    core.pop_then(bus, |core, _, value: W| {
        write_register(core, op.dst, value);
        Ok(())
    })
}

/// POP to memory: an address that uses ESP is formed after ESP has grown.
fn pop_memory<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let before = core.register(gpr::RSP);
    let value: W = core.pop(bus)?;
    let stored = Mem::store(core, bus, op, op.dst, value);
    if stored.is_err() {
        core.set_register(gpr::RSP, before);
    }
    stored
}

/// PUSHA: nothing is written unless all of it can be.
fn pusha<B: Bus, W: Width>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let stack = core.register(gpr::RSP);
    let slots = [gpr::RAX, gpr::RCX, gpr::RDX, gpr::RBX, gpr::RSP, gpr::RBP, gpr::RSI, gpr::RDI];
    probe_pushes::<B, W>(core, bus, slots.len())?;
    for register in slots {
        let value = if register == gpr::RSP { stack } else { core.register(register) };
        core.push(bus, W::from_u64(value))?;
    }
    Ok(())
}

/// Checks the places the next `count` pushes will write.
fn probe_pushes<B: Bus, W: Width>(core: &mut Core, bus: &mut B, count: usize) -> Exec {
    let (stack, mask) = (core.register(gpr::RSP), core.stack_mask());
    for slot in 1..=count {
        let offset = stack.wrapping_sub((slot * W::BYTES) as u64) & mask;
        core.probe(bus, segment::SS, offset, W::BYTES as u64, true)?;
    }
    Ok(())
}

/// POPA: SP's slot is passed over.
fn popa<B: Bus, W: Width>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let slots = [
        (0, gpr::RDI),
        (1, gpr::RSI),
        (2, gpr::RBP),
        (4, gpr::RBX),
        (5, gpr::RDX),
        (6, gpr::RCX),
        (7, gpr::RAX),
    ];
    let mut values = [W::default(); 7];
    for (value, (slot, _)) in values.iter_mut().zip(slots) {
        *value = core.peek(bus, slot * W::BYTES as u64)?;
    }
    for (value, (_, register)) in values.into_iter().zip(slots) {
        write_part(core, register, value);
    }
    core.adjust_sp(8 * W::BYTES as i64);
    Ok(())
}

/// ENTER: makes a stack frame and copies the display of the enclosing ones. Every place it will
/// touch is tried first, the new top of the stack too.
fn enter<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let level = u64::from(op.immediate2 & 31);
    let locals = op.immediate & 0xffff;
    let width = W::BYTES as u64;
    let mask = core.stack_mask();
    let (stack, base) = (core.register(gpr::RSP), core.register(gpr::RBP));
    // What is pushed: the old frame pointer, level - 1 display entries, the new frame pointer.
    let pushed = (1 + level) * width;
    let top = stack.wrapping_sub(pushed + locals) & mask;

    probe_pushes::<B, W>(core, bus, 1 + level as usize)?;
    for entry in 1..level {
        let offset = base.wrapping_sub(entry * width) & mask;
        core.probe(bus, segment::SS, offset, width, false)?;
    }
    core.probe(bus, segment::SS, top, width, true)?;

    core.push(bus, W::from_u64(base))?;
    let frame = W::from_u64(core.register(gpr::RSP));
    for entry in 1..level {
        let value: W = core.load_at(bus, segment::SS, base.wrapping_sub(entry * width) & mask)?;
        core.push(bus, value)?;
    }
    if level > 0 {
        core.push(bus, frame)?;
    }
    write_part(core, gpr::RBP, frame);
    core.adjust_sp(-(locals as i64));
    Ok(())
}

/// LEAVE: the stack pointer becomes the frame pointer, whose old value is popped.
fn leave<B: Bus, W: Width>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let mask = core.stack_mask();
    let (stack, base) = (core.register(gpr::RSP), core.register(gpr::RBP));
    let value: W = core.load_at(bus, segment::SS, base & mask)?;
    core.set_register(gpr::RSP, (stack & !mask) | (base & mask));
    core.adjust_sp(W::BYTES as i64);
    write_part(core, gpr::RBP, value);
    Ok(())
}
