//! Jcc, JMP, CALL and RET near, LOOPcc, JCXZ (Intel SDM vol. 2). None sets a flag.
//!
//! The target is checked against CS's limit before anything else changes. A 16-bit operand size
//! cuts it to 16 bits; for relative branches decoding has already done so.

use iced_x86::{Code, Instruction, Mnemonic};

use super::operands::{Kind, Mem, Reg, by_condition, condition, is_memory, write_part};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    op::ELSEWHERE,
    state::{gpr, segment},
    width::Width,
};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    if instruction.code().is_jcc_short_or_near() {
        return by_condition!(condition(instruction)?, jump_if);
    }
    match instruction.code() {
        Code::Jmp_rel8_16 | Code::Jmp_rel8_32 | Code::Jmp_rel8_64 => Some(jump::<B>),
        Code::Jmp_rel16 | Code::Jmp_rel32_32 | Code::Jmp_rel32_64 => Some(jump::<B>),
        Code::Jmp_rm16 if is_memory(instruction, 0) => Some(jump_to::<B, u16, Mem>),
        Code::Jmp_rm16 => Some(jump_to::<B, u16, Reg>),
        Code::Jmp_rm32 if is_memory(instruction, 0) => Some(jump_to::<B, u32, Mem>),
        Code::Jmp_rm32 => Some(jump_to::<B, u32, Reg>),
        Code::Jmp_rm64 if is_memory(instruction, 0) => Some(jump_to::<B, u64, Mem>),
        Code::Jmp_rm64 => Some(jump_to::<B, u64, Reg>),
        Code::Call_rel16 => Some(call::<B, u16>),
        Code::Call_rel32_32 => Some(call::<B, u32>),
        Code::Call_rel32_64 => Some(call::<B, u64>),
        Code::Call_rm16 if is_memory(instruction, 0) => Some(call_to::<B, u16, Mem>),
        Code::Call_rm16 => Some(call_to::<B, u16, Reg>),
        Code::Call_rm32 if is_memory(instruction, 0) => Some(call_to::<B, u32, Mem>),
        Code::Call_rm32 => Some(call_to::<B, u32, Reg>),
        Code::Call_rm64 if is_memory(instruction, 0) => Some(call_to::<B, u64, Mem>),
        Code::Call_rm64 => Some(call_to::<B, u64, Reg>),
        Code::Retnw => Some(ret::<B, u16, false>),
        Code::Retnd => Some(ret::<B, u32, false>),
        Code::Retnw_imm16 => Some(ret::<B, u16, true>),
        Code::Retnd_imm16 => Some(ret::<B, u32, true>),
        Code::Retnq => Some(ret::<B, u64, false>),
        Code::Retnq_imm16 => Some(ret::<B, u64, true>),
        Code::Jcxz_rel8_16 | Code::Jcxz_rel8_32 => Some(jump_if_zero::<B, u16>),
        Code::Jecxz_rel8_16 | Code::Jecxz_rel8_32 | Code::Jecxz_rel8_64 => Some(jump_if_zero::<B, u32>),
        Code::Jrcxz_rel8_16 | Code::Jrcxz_rel8_64 => Some(jump_if_zero::<B, u64>),
        _ => loops(instruction),
    }
}

fn loops<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    let count = match instruction.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX => 2,
        Code::Loop_rel8_16_ECX
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_16_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_16_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX => 4,
        Code::Loop_rel8_16_RCX
        | Code::Loop_rel8_64_RCX
        | Code::Loope_rel8_16_RCX
        | Code::Loope_rel8_64_RCX
        | Code::Loopne_rel8_16_RCX
        | Code::Loopne_rel8_64_RCX => 8,
        _ => return None,
    };
    match (instruction.mnemonic(), count) {
        (Mnemonic::Loop, 2) => Some(loop_while::<B, u16, Always>),
        (Mnemonic::Loop, 4) => Some(loop_while::<B, u32, Always>),
        (Mnemonic::Loop, _) => Some(loop_while::<B, u64, Always>),
        (Mnemonic::Loope, 2) => Some(loop_while::<B, u16, Equal>),
        (Mnemonic::Loope, 4) => Some(loop_while::<B, u32, Equal>),
        (Mnemonic::Loope, _) => Some(loop_while::<B, u64, Equal>),
        (Mnemonic::Loopne, 2) => Some(loop_while::<B, u16, NotEqual>),
        (Mnemonic::Loopne, 4) => Some(loop_while::<B, u32, NotEqual>),
        (Mnemonic::Loopne, _) => Some(loop_while::<B, u64, NotEqual>),
        _ => None,
    }
}

fn jump_if<B: Bus, const CODE: u8>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    if core.state.flags.condition(CODE) {
        return core.branch(core.target_of(op.immediate));
    }
    Ok(())
}

#[inline(always)]
pub(super) fn jump<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let target = core.target_of(op.immediate);
    if op.inside == ELSEWHERE { core.near_jump(target) } else { core.branch(target) }
}

fn jump_to<B: Bus, W: Width, Target: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let target: W = Target::load(core, bus, op, op.dst)?;
    core.near_jump(target.to_u64())
}

#[inline(always)]
pub(super) fn call<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    call_at::<B, W>(core, bus, core.target_of(op.immediate))
}

fn call_to<B: Bus, W: Width, Target: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let target: W = Target::load(core, bus, op, op.dst)?;
    call_at::<B, W>(core, bus, target.to_u64())
}

#[inline(always)]
fn call_at<B: Bus, W: Width>(core: &mut Core, bus: &mut B, target: u64) -> Exec {
    let from = W::from_u64(core.state.rip);
    if core.can_jump_to(target) && core.push_quickly(bus, from) {
        core.state.rip = target;
        return Ok(());
    }
    call_slowly(core, bus, target, from)
}

#[inline(never)]
fn call_slowly<B: Bus, W: Width>(core: &mut Core, bus: &mut B, target: u64, from: W) -> Exec {
    if !core.can_jump_to(target) {
        return Err(Exception::general_protection(0));
    }
    core.push_slowly(bus, from)?;
    core.state.rip = target;
    Ok(())
}

/// RET, with or without releasing the arguments.
#[inline(always)]
pub(super) fn ret<B: Bus, W: Width, const RELEASES: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let offset = core.register(gpr::RSP) & core.stack_mask();
    core.load_then(bus, segment::SS, offset, |core, _, target: W| {
        core.near_jump(target.to_u64())?;
        let arguments = if RELEASES { (op.immediate & 0xffff) as i64 } else { 0 };
        core.adjust_sp(W::BYTES as i64 + arguments);
        Ok(())
    })
}

/// What LOOPcc asks besides the count.
trait Condition {
    fn holds(zero: bool) -> bool;
}

struct Always;
struct Equal;
struct NotEqual;

impl Condition for Always {
    fn holds(_zero: bool) -> bool {
        true
    }
}

impl Condition for Equal {
    fn holds(zero: bool) -> bool {
        zero
    }
}

impl Condition for NotEqual {
    fn holds(zero: bool) -> bool {
        !zero
    }
}

/// LOOP, LOOPE, LOOPNE: the count register's width is the address size.
fn loop_while<B: Bus, Count: Width, Also: Condition>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let count = Count::from_u64(core.register(gpr::RCX).wrapping_sub(1));
    if count != Count::default() && Also::holds(core.state.flags.zero()) {
        core.branch(core.target_of(op.immediate))?;
    }
    write_part(core, gpr::RCX, count);
    Ok(())
}

fn jump_if_zero<B: Bus, Count: Width>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    if Count::from_u64(core.register(gpr::RCX)) == Count::default() {
        return core.branch(core.target_of(op.immediate));
    }
    Ok(())
}
