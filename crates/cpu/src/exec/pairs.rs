//! Two instructions as one op: one that only works on flags and a general register, and the Jcc behind it.
//!
//! Most Jcc follow the instruction that sets their flags, and most of what both take is to get from one to
//! the next. What cannot be done in one go (the operand has to be translated, or is no RAM; the target is
//! beyond CS's limit) is left to the two instructions themselves: the first is executed as always, and the
//! block ends before the second.
//!
//! Of such an op, `third` is not used, `immediate2` is the length of Jcc, and its target is where the first
//! instruction has no use for it: see [`target`].

use iced_x86::{Instruction, Mnemonic};

use super::{
    arithmetic::{Add, Compare, Decrement, Increment, Subtract},
    logic::{And, Or, Test},
    operands::{
        Imm, Kind, Mem, Operation, Reg, by_condition, condition, is_immediate, is_memory, is_register, size,
        write_register,
    },
    quick::Quick,
    shift::{Shift as _, ShiftRight},
};
use crate::{Bus, Core, Exec, Handler, Lowered, Op, flags::Flags, width::Width};

/// SHR by one.
struct ShiftRightOnce;

impl Operation for ShiftRightOnce {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, _b: W) -> W {
        ShiftRight::apply(flags, a, 1)
    }
}

/// Both instructions as one op, if they are such a pair.
pub(crate) fn pair<B: Bus>(
    (first, instruction): (&Lowered<B>, &Instruction),
    (jump, jcc): (&Lowered<B>, &Instruction),
) -> Option<Lowered<B>> {
    if !jcc.code().is_jcc_short_or_near() || instruction.has_lock_prefix() {
        return None;
    }
    let code = condition(jcc)?;
    let run = handler(instruction, code)?;
    let mut op = Op { quick: Quick::of(instruction, Some(code)), ..first.op };
    op.length += jump.op.length;
    op.immediate2 = jump.op.length;
    let place = if is_memory(instruction, 0) || is_memory(instruction, 1) {
        &mut op.immediate
    } else {
        &mut op.memory.displacement
    };
    *place = jump.op.immediate;
    Some(Lowered { op, next: jump.next, run })
}

fn handler<B: Bus>(instruction: &Instruction, code: u8) -> Option<Handler<B>> {
    match size(instruction, 0) {
        1 => of_width::<B, u8>(instruction, code),
        2 => of_width::<B, u16>(instruction, code),
        4 => of_width::<B, u32>(instruction, code),
        8 => of_width::<B, u64>(instruction, code),
        _ => None,
    }
}

fn of_width<B: Bus, W: Width>(instruction: &Instruction, code: u8) -> Option<Handler<B>> {
    let to_register = is_register(instruction, 0);
    if to_register && is_register(instruction, 1) {
        return match instruction.mnemonic() {
            Mnemonic::Cmp => compares::<B, W, Reg, Reg>(code),
            Mnemonic::Test => tests::<B, W, Reg, Reg>(code),
            Mnemonic::Add => sums::<B, W, Reg, Add>(code),
            Mnemonic::Sub => sums::<B, W, Reg, Subtract>(code),
            Mnemonic::And => results::<B, W, Reg, And>(code),
            Mnemonic::Or => results::<B, W, Reg, Or>(code),
            _ => None,
        };
    }
    if to_register && is_immediate(instruction, 1) {
        return match instruction.mnemonic() {
            Mnemonic::Cmp => compares::<B, W, Reg, Imm>(code),
            Mnemonic::Test => tests::<B, W, Reg, Imm>(code),
            Mnemonic::Add => sums::<B, W, Imm, Add>(code),
            Mnemonic::Sub => sums::<B, W, Imm, Subtract>(code),
            Mnemonic::And => results::<B, W, Imm, And>(code),
            Mnemonic::Or => results::<B, W, Imm, Or>(code),
            Mnemonic::Shr if instruction.immediate(1) == 1 => sums::<B, W, Imm, ShiftRightOnce>(code),
            _ => None,
        };
    }
    match instruction.mnemonic() {
        Mnemonic::Inc if to_register => results::<B, W, Imm, Increment>(code),
        Mnemonic::Dec if to_register => results::<B, W, Imm, Decrement>(code),
        Mnemonic::Cmp if to_register && is_memory(instruction, 1) => compares::<B, W, Reg, Mem>(code),
        Mnemonic::Cmp if is_register(instruction, 1) => compares::<B, W, Mem, Reg>(code),
        Mnemonic::Test if is_register(instruction, 1) => tests::<B, W, Mem, Reg>(code),
        _ => None,
    }
}

// Conditions that are asked of each kind; others are rare and stay two ops.

/// All but overflow and parity.
fn compares<B: Bus, W: Width, D: Kind, S: Kind>(code: u8) -> Option<Handler<B>> {
    by_condition!(@codes code, both, (W, D, S, Compare), 2 3 4 5 6 7 8 9 12 13 14 15)
}

/// Zero and sign.
fn tests<B: Bus, W: Width, D: Kind, S: Kind>(code: u8) -> Option<Handler<B>> {
    by_condition!(@codes code, both, (W, D, S, Test), 4 5 8 9)
}

/// Carry, zero and sign.
fn sums<B: Bus, W: Width, S: Kind, A: Operation>(code: u8) -> Option<Handler<B>> {
    by_condition!(@codes code, both, (W, Reg, S, A), 2 3 4 5 8 9)
}

/// Zero and sign.
fn results<B: Bus, W: Width, S: Kind, A: Operation>(code: u8) -> Option<Handler<B>> {
    by_condition!(@codes code, both, (W, Reg, S, A), 4 5 8 9)
}

/// Where the target is: an immediate operand leaves the displacement free, and one in memory the immediate.
/// No pair has both.
#[inline(always)]
pub(super) fn target<D: Kind, S: Kind>(op: &Op) -> u64 {
    if D::MEMORY || S::MEMORY { op.immediate } else { op.memory.displacement }
}

fn both<B: Bus, W: Width, D: Kind, S: Kind, A: Operation, const CODE: u8>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let Some(a) = D::quickly::<W, B>(core, bus, op, op.dst) else {
        return first_alone::<B, W, D, S, A>(core, bus, op);
    };
    let Some(b) = S::quickly::<W, B>(core, bus, op, op.src) else {
        return first_alone::<B, W, D, S, A>(core, bus, op);
    };
    let result = A::apply(&mut core.state.flags, a, b);
    if A::WRITES {
        write_register(core, op.dst, result);
    }
    if core.state.flags.condition(CODE) {
        let target = core.target_of(target::<D, S>(op));
        if !core.can_jump_to(target) {
            return before_jump(core, op);
        }
        core.take_branch(target);
    }
    Ok(())
}

/// The first instruction as if it stood alone.
#[cold]
#[inline(never)]
fn first_alone<B: Bus, W: Width, D: Kind, S: Kind, A: Operation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let a: W = D::load(core, bus, op, op.dst)?;
    let b: W = S::load(core, bus, op, op.src)?;
    let result = A::apply(&mut core.state.flags, a, b);
    if A::WRITES {
        write_register(core, op.dst, result);
    }
    before_jump(core, op)
}

/// Goes on with Jcc, which is executed on its own.
#[cold]
#[inline(never)]
fn before_jump(core: &mut Core, op: &Op) -> Exec {
    core.state.rip = core.state.rip.wrapping_sub(op.immediate2.into()) & core.linear_mask;
    core.end_block();
    Ok(())
}
