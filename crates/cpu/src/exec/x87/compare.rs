//! FCOM, FUCOM, FICOM, FCOMI, FUCOMI with their popping forms, FTST, FXAM (Intel SDM vol. 2A).

use std::cmp::Ordering;

use iced_x86::{Code, Instruction};

use super::{
    Waiting, stack_fault, stack_index,
    transfer::{Int16, Int32, Real32, Real64, Source},
    waiting,
};
use crate::{
    Bus, Core, Exec, Handler, Op,
    float::{Class, Number, compare, exception},
    fpu::{Fpu, status},
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Fcom_m32fp => waiting::<B, WithMemory<Real32, 0>>,
        Code::Fcom_m64fp => waiting::<B, WithMemory<Real64, 0>>,
        Code::Ficom_m16int => waiting::<B, WithMemory<Int16, 0>>,
        Code::Ficom_m32int => waiting::<B, WithMemory<Int32, 0>>,
        Code::Fcomp_m32fp => waiting::<B, WithMemory<Real32, 1>>,
        Code::Fcomp_m64fp => waiting::<B, WithMemory<Real64, 1>>,
        Code::Ficomp_m16int => waiting::<B, WithMemory<Int16, 1>>,
        Code::Ficomp_m32int => waiting::<B, WithMemory<Int32, 1>>,
        Code::Fcom_st0_sti | Code::Fcom_st0_sti_DCD0 => waiting::<B, OnStack<false, 0>>,
        Code::Fcomp_st0_sti | Code::Fcomp_st0_sti_DCD8 | Code::Fcomp_st0_sti_DED0 => {
            waiting::<B, OnStack<false, 1>>
        }
        Code::Fcompp => waiting::<B, OnStack<false, 2>>,
        Code::Fucom_st0_sti => waiting::<B, OnStack<true, 0>>,
        Code::Fucomp_st0_sti => waiting::<B, OnStack<true, 1>>,
        Code::Fucompp => waiting::<B, OnStack<true, 2>>,
        Code::Fcomi_st0_sti => waiting::<B, ToFlags<false, 0>>,
        Code::Fcomip_st0_sti => waiting::<B, ToFlags<false, 1>>,
        Code::Fucomi_st0_sti => waiting::<B, ToFlags<true, 0>>,
        Code::Fucomip_st0_sti => waiting::<B, ToFlags<true, 1>>,
        Code::Ftst => waiting::<B, Test>,
        Code::Fxam => waiting::<B, Examine>,
        _ => return None,
    })
}

/// How two numbers stand to each other, raising what that raises. `QUIET` comparisons accept quiet
/// NaNs. `None` says unordered. Exceptions that are not masked do not prevent the comparison, but that
/// registers are popped, which the second value says.
fn relation<const QUIET: bool>(fpu: &mut Fpu, a: Number, b: Number) -> (Option<Ordering>, bool) {
    let invalid = |number: Number| match number.class {
        Class::Unsupported | Class::Signaling => true,
        Class::Quiet => !QUIET,
        _ => false,
    };
    let unordered = |number: Number| number.is_nan() || number.class == Class::Unsupported;
    let (flags, relation) = if unordered(a) || unordered(b) {
        (if invalid(a) || invalid(b) { exception::INVALID } else { 0 }, None)
    } else {
        let flags = if a.denormal || b.denormal { exception::DENORMAL } else { 0 };
        (flags, Some(compare(a, b)))
    };
    (relation, fpu.raise(flags))
}

/// C3, C2 and C0 for a relation.
fn set_codes(fpu: &mut Fpu, relation: Option<Ordering>) {
    let bits = match relation {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => status::C0,
        Some(Ordering::Equal) => status::C3,
        None => status::C3 | status::C2 | status::C0,
    };
    fpu.status = fpu.status & !(status::C3 | status::C2 | status::C0) | bits;
}

/// Sets the codes, and pops when exceptions allow it.
fn finish(fpu: &mut Fpu, (relation, may_pop): (Option<Ordering>, bool), pops: u8) {
    fpu.condition(status::C1, false);
    set_codes(fpu, relation);
    pop(fpu, if may_pop { pops } else { 0 });
}

fn pop(fpu: &mut Fpu, times: u8) {
    for _ in 0..times {
        fpu.pop();
    }
}

/// A stack fault counts as unordered.
fn missing(fpu: &mut Fpu) -> (Option<Ordering>, bool) {
    (None, stack_fault(fpu, false))
}

/// ST(0) and a memory operand.
struct WithMemory<S, const POPS: u8>(std::marker::PhantomData<S>);

impl<S: Source, const POPS: u8> Waiting for WithMemory<S, POPS> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let source = S::load(core, bus, op)?;
        let fpu = &mut core.state.fpu;
        let relation = match fpu.empty(0) {
            true => missing(fpu),
            false => relation::<false>(fpu, fpu.st(0).unpack(), source),
        };
        finish(fpu, relation, POPS);
        Ok(())
    }
}

/// The relation of ST(0) to the register the op names.
fn of_registers<const QUIET: bool>(fpu: &mut Fpu, op: &Op) -> (Option<Ordering>, bool) {
    // FCOMPP names none: it is ST(1).
    let other = if op.src == crate::Operand::NONE { 1 } else { stack_index(op.src) };
    if fpu.empty(0) || fpu.empty(other) {
        return missing(fpu);
    }
    relation::<QUIET>(fpu, fpu.st(0).unpack(), fpu.st(other).unpack())
}

/// Two registers.
struct OnStack<const QUIET: bool, const POPS: u8>;

impl<const QUIET: bool, const POPS: u8> Waiting for OnStack<QUIET, POPS> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let relation = of_registers::<QUIET>(fpu, op);
        finish(fpu, relation, POPS);
        Ok(())
    }
}

/// FCOMI and its relatives: ZF, PF and CF.
struct ToFlags<const QUIET: bool, const POPS: u8>;

impl<const QUIET: bool, const POPS: u8> Waiting for ToFlags<QUIET, POPS> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let (relation, may_pop) = of_registers::<QUIET>(fpu, op);
        pop(fpu, if may_pop { POPS } else { 0 });
        core.state.flags.set_comparison(relation);
        Ok(())
    }
}

/// FTST: ST(0) and +0.
struct Test;

impl Waiting for Test {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let relation = match fpu.empty(0) {
            true => missing(fpu),
            false => relation::<false>(fpu, fpu.st(0).unpack(), Number::zero(false)),
        };
        finish(fpu, relation, 0);
        Ok(())
    }
}

/// FXAM: what ST(0) is (SDM vol. 2A, table 3-42).
struct Examine;

impl Waiting for Examine {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let register = fpu.st(0);
        let number = register.unpack();
        let bits = match number.class {
            _ if fpu.empty(0) => status::C3 | status::C0,
            Class::Unsupported => 0,
            Class::Quiet | Class::Signaling => status::C0,
            Class::Infinite => status::C2 | status::C0,
            Class::Zero => status::C3,
            Class::Finite if number.denormal => status::C3 | status::C2,
            Class::Finite => status::C2,
        };
        fpu.set_conditions(bits);
        fpu.condition(status::C1, number.sign);
        Ok(())
    }
}
