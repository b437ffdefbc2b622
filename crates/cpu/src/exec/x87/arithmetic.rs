//! FADD, FSUB, FMUL, FDIV in all forms, FSQRT, FPREM, FPREM1, FRNDINT, FSCALE, FXTRACT, FABS, FCHS
//! (Intel SDM vol. 2A).

use iced_x86::{Code, Instruction};

use super::{
    Waiting, complete, has_room_for_two, indefinite, missing_operand, screen_one, settle, stack_fault,
    stack_index, waiting,
};
use crate::{
    Bus, Core, Exec, Handler, Op,
    exec::x87::transfer::{Int16, Int32, Real32, Real64, Source},
    float::{self, Class, Number, Outcome, Rules, exception, round_number},
    fpu::{Extended, Fpu, status},
};

/// The four operations, and with the operands the other way round.
trait Operation {
    fn apply(destination: Number, source: Number, rules: &Rules) -> Outcome;
}

macro_rules! operations {
    ($($name:ident: |$destination:ident, $source:ident, $rules:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Operation for $name {
                fn apply($destination: Number, $source: Number, $rules: &Rules) -> Outcome {
                    $body
                }
            }
        )*
    };
}

operations! {
    Add: |a, b, rules| float::add(a, b, rules);
    Subtract: |a, b, rules| float::add(a, b.negated(), rules);
    SubtractReversed: |a, b, rules| float::add(b, a.negated(), rules);
    Multiply: |a, b, rules| float::multiply(a, b, rules);
    Divide: |a, b, rules| float::divide(a, b, rules);
    DivideReversed: |a, b, rules| float::divide(b, a, rules);
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Fadd_m32fp => waiting::<B, FromMemory<Add, Real32>>,
        Code::Fadd_m64fp => waiting::<B, FromMemory<Add, Real64>>,
        Code::Fiadd_m16int => waiting::<B, FromMemory<Add, Int16>>,
        Code::Fiadd_m32int => waiting::<B, FromMemory<Add, Int32>>,
        Code::Fadd_st0_sti | Code::Fadd_sti_st0 => waiting::<B, OnStack<Add, false>>,
        Code::Faddp_sti_st0 => waiting::<B, OnStack<Add, true>>,
        Code::Fsub_m32fp => waiting::<B, FromMemory<Subtract, Real32>>,
        Code::Fsub_m64fp => waiting::<B, FromMemory<Subtract, Real64>>,
        Code::Fisub_m16int => waiting::<B, FromMemory<Subtract, Int16>>,
        Code::Fisub_m32int => waiting::<B, FromMemory<Subtract, Int32>>,
        Code::Fsub_st0_sti | Code::Fsub_sti_st0 => waiting::<B, OnStack<Subtract, false>>,
        Code::Fsubp_sti_st0 => waiting::<B, OnStack<Subtract, true>>,
        Code::Fsubr_m32fp => waiting::<B, FromMemory<SubtractReversed, Real32>>,
        Code::Fsubr_m64fp => waiting::<B, FromMemory<SubtractReversed, Real64>>,
        Code::Fisubr_m16int => waiting::<B, FromMemory<SubtractReversed, Int16>>,
        Code::Fisubr_m32int => waiting::<B, FromMemory<SubtractReversed, Int32>>,
        Code::Fsubr_st0_sti | Code::Fsubr_sti_st0 => waiting::<B, OnStack<SubtractReversed, false>>,
        Code::Fsubrp_sti_st0 => waiting::<B, OnStack<SubtractReversed, true>>,
        Code::Fmul_m32fp => waiting::<B, FromMemory<Multiply, Real32>>,
        Code::Fmul_m64fp => waiting::<B, FromMemory<Multiply, Real64>>,
        Code::Fimul_m16int => waiting::<B, FromMemory<Multiply, Int16>>,
        Code::Fimul_m32int => waiting::<B, FromMemory<Multiply, Int32>>,
        Code::Fmul_st0_sti | Code::Fmul_sti_st0 => waiting::<B, OnStack<Multiply, false>>,
        Code::Fmulp_sti_st0 => waiting::<B, OnStack<Multiply, true>>,
        Code::Fdiv_m32fp => waiting::<B, FromMemory<Divide, Real32>>,
        Code::Fdiv_m64fp => waiting::<B, FromMemory<Divide, Real64>>,
        Code::Fidiv_m16int => waiting::<B, FromMemory<Divide, Int16>>,
        Code::Fidiv_m32int => waiting::<B, FromMemory<Divide, Int32>>,
        Code::Fdiv_st0_sti | Code::Fdiv_sti_st0 => waiting::<B, OnStack<Divide, false>>,
        Code::Fdivp_sti_st0 => waiting::<B, OnStack<Divide, true>>,
        Code::Fdivr_m32fp => waiting::<B, FromMemory<DivideReversed, Real32>>,
        Code::Fdivr_m64fp => waiting::<B, FromMemory<DivideReversed, Real64>>,
        Code::Fidivr_m16int => waiting::<B, FromMemory<DivideReversed, Int16>>,
        Code::Fidivr_m32int => waiting::<B, FromMemory<DivideReversed, Int32>>,
        Code::Fdivr_st0_sti | Code::Fdivr_sti_st0 => waiting::<B, OnStack<DivideReversed, false>>,
        Code::Fdivrp_sti_st0 => waiting::<B, OnStack<DivideReversed, true>>,
        Code::Fsqrt => waiting::<B, Unary<SquareRoot>>,
        Code::Frndint => waiting::<B, Unary<RoundToInteger>>,
        Code::Fprem => waiting::<B, Remainder<false>>,
        Code::Fprem1 => waiting::<B, Remainder<true>>,
        Code::Fscale => waiting::<B, Scale>,
        Code::Fxtract => waiting::<B, Extract>,
        Code::Fabs => waiting::<B, Sign<false>>,
        Code::Fchs => waiting::<B, Sign<true>>,
        _ => return None,
    })
}

/// ST(0) and a memory operand.
struct FromMemory<O, S>(std::marker::PhantomData<(O, S)>);

impl<O: Operation, S: Source> Waiting for FromMemory<O, S> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let source = S::load(core, bus, op)?;
        let fpu = &mut core.state.fpu;
        if fpu.empty(0) {
            missing_operand(fpu);
            return Ok(());
        }
        let destination = fpu.st(0).unpack();
        let result =
            complete(fpu, destination, source, |fpu| O::apply(destination, source, &fpu.arithmetic_rules()));
        if let Some(result) = result {
            fpu.set_st(0, result);
        }
        Ok(())
    }
}

/// Two registers of the stack.
struct OnStack<O, const POP: bool>(std::marker::PhantomData<O>);

impl<O: Operation, const POP: bool> Waiting for OnStack<O, POP> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let (to, from) = (stack_index(op.dst), stack_index(op.src));
        let fpu = &mut core.state.fpu;
        let result = if fpu.empty(to) || fpu.empty(from) {
            stack_fault(fpu, false).then(indefinite)
        } else {
            let (destination, source) = (fpu.st(to).unpack(), fpu.st(from).unpack());
            complete(fpu, destination, source, |fpu| O::apply(destination, source, &fpu.arithmetic_rules()))
        };
        if let Some(result) = result {
            fpu.set_st(to, result);
            if POP {
                fpu.pop();
            }
        }
        Ok(())
    }
}

/// A function of ST(0).
trait Function {
    fn apply(fpu: &Fpu, a: Number) -> Outcome;
}

struct Unary<F>(std::marker::PhantomData<F>);

impl<F: Function> Waiting for Unary<F> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let result = if fpu.empty(0) {
            stack_fault(fpu, false).then(indefinite)
        } else {
            let a = fpu.st(0).unpack();
            complete(fpu, a, Number::ONE, |fpu| F::apply(fpu, a))
        };
        if let Some(result) = result {
            fpu.set_st(0, result);
        }
        Ok(())
    }
}

struct SquareRoot;
struct RoundToInteger;

impl Function for SquareRoot {
    fn apply(fpu: &Fpu, a: Number) -> Outcome {
        float::square_root(a, &fpu.arithmetic_rules())
    }
}

impl Function for RoundToInteger {
    fn apply(fpu: &Fpu, a: Number) -> Outcome {
        float::round_to_integral(a, fpu.rounding())
    }
}

/// FPREM and FPREM1.
struct Remainder<const NEAREST: bool>;

impl<const NEAREST: bool> Waiting for Remainder<NEAREST> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C2, false);
        if fpu.empty(0) || fpu.empty(1) {
            missing_operand(fpu);
            return Ok(());
        }
        let (a, b) = (fpu.st(0).unpack(), fpu.st(1).unpack());
        // No quotient: C0 and C3 stay.
        let mut quotient = None;
        let result = complete(fpu, a, b, |fpu| {
            let remainder = float::remainder(a, b, NEAREST);
            if remainder.outcome.flags != 0 {
                return remainder.outcome;
            }
            quotient = Some((remainder.low, remainder.partial));
            // It is exact, but it can be too small.
            round_number(remainder.outcome.number, &fpu.rules(float::EXTENDED))
        });
        if let Some(result) = result {
            fpu.set_st(0, result);
            if let Some((low, partial)) = quotient {
                fpu.condition(status::C0, low & 4 != 0);
                fpu.condition(status::C3, low & 2 != 0);
                fpu.condition(status::C1, low & 1 != 0);
                fpu.condition(status::C2, partial);
            }
        }
        Ok(())
    }
}

/// FSCALE: ST(0) times two to the power of ST(1) cut to an integer.
struct Scale;

impl Waiting for Scale {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let result = if fpu.empty(0) || fpu.empty(1) {
            stack_fault(fpu, false).then(indefinite)
        } else {
            let (a, b) = (fpu.st(0).unpack(), fpu.st(1).unpack());
            complete(fpu, a, b, |fpu| scaled(fpu, a, b))
        };
        if let Some(result) = result {
            fpu.set_st(0, result);
        }
        Ok(())
    }
}

/// What FSCALE gives (SDM vol. 2A, table 3-29).
fn scaled(fpu: &Fpu, a: Number, b: Number) -> Outcome {
    /// Beyond this any number overflows or vanishes.
    const FAR: i64 = 0x1_0000;
    match (a.class, b.class) {
        (Class::Zero, Class::Infinite) if !b.sign => return Outcome::invalid(),
        (Class::Infinite, Class::Infinite) if b.sign => return Outcome::invalid(),
        (Class::Zero | Class::Infinite, _) => return Outcome::exact(a),
        (_, Class::Infinite) if b.sign => return Outcome::exact(Number::zero(a.sign)),
        (_, Class::Infinite) => return Outcome::exact(Number::infinite(a.sign)),
        _ => {}
    }
    let power = match b.exponent {
        _ if b.is_zero() => 0,
        17.. if b.sign => -FAR,
        17.. => FAR,
        _ => float::to_integer(b, 32, float::Rounding::Truncate).0,
    };
    let power = power.clamp(-FAR, FAR) as i32;
    round_number(Number { exponent: a.exponent + power, ..a }, &fpu.rules(float::EXTENDED))
}

/// FXTRACT: the exponent takes ST(0)'s place, and the significand is pushed.
struct Extract;

impl Waiting for Extract {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        if !has_room_for_two(fpu) {
            return Ok(());
        }
        let a = fpu.st(0).unpack();
        fpu.condition(status::C1, false);
        let (exponent, significand) = match screen_one(a) {
            Err(outcome) => (outcome, outcome.number),
            Ok(flags) => extracted(a, flags),
        };
        if let Some(result) = settle(fpu, exponent) {
            fpu.set_st(0, result);
            fpu.push(Extended::pack(significand));
        }
        Ok(())
    }
}

fn extracted(a: Number, flags: u8) -> (Outcome, Number) {
    let of = |number, flags| Outcome { number, flags, up: false };
    match a.class {
        Class::Zero => (of(Number::infinite(true), exception::ZERO_DIVIDE), a),
        Class::Infinite => (of(Number::infinite(false), 0), a),
        _ => {
            (of(float::from_integer(a.exponent.into()), flags), Number { exponent: 0, denormal: false, ..a })
        }
    }
}

/// FABS and FCHS: the sign of whatever is there.
struct Sign<const CHANGE: bool>;

impl<const CHANGE: bool> Waiting for Sign<CHANGE> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        if fpu.empty(0) {
            missing_operand(fpu);
            return Ok(());
        }
        let mut value = fpu.st(0);
        value.sign_exponent =
            if CHANGE { value.sign_exponent ^ 0x8000 } else { value.sign_exponent & 0x7fff };
        fpu.set_st(0, value);
        fpu.condition(status::C1, false);
        Ok(())
    }
}
