//! F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS (Intel SDM vol. 2A).

use std::cmp::Ordering;

use iced_x86::{Code, Instruction};

use super::{
    Waiting, complete, has_room_for_two, indefinite, missing_operand, prevents, screen_one, settle,
    stack_fault, waiting,
};
use crate::{
    Bus, Core, Exec, Handler, Op,
    float::{self, Angle, Class, EXTENDED, Number, Outcome, Rules, compare, exception},
    fpu::{Extended, Fpu, status},
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::F2xm1 => waiting::<B, Exponential>,
        Code::Fyl2x => waiting::<B, OfTwo<Logarithm>>,
        Code::Fyl2xp1 => waiting::<B, OfTwo<LogarithmPlus1>>,
        Code::Fpatan => waiting::<B, OfTwo<ArcTangent>>,
        Code::Fsin => waiting::<B, Circular<Sine>>,
        Code::Fcos => waiting::<B, Circular<Cosine>>,
        Code::Fsincos => waiting::<B, Pair<SineAndCosine>>,
        Code::Fptan => waiting::<B, Pair<Tangent>>,
        _ => return None,
    })
}

/// F2XM1. What it is not defined for, beyond -1 to 1, it leaves as it is.
struct Exponential;

impl Waiting for Exponential {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let result = if fpu.empty(0) {
            stack_fault(fpu, false).then(indefinite)
        } else {
            let x = fpu.st(0).unpack();
            complete(fpu, x, Number::ONE, |fpu| exponential(x, &fpu.rules(EXTENDED)))
        };
        if let Some(result) = result {
            fpu.set_st(0, result);
        }
        Ok(())
    }
}

fn exponential(x: Number, rules: &Rules) -> Outcome {
    match x.class {
        Class::Infinite if x.sign => Outcome::exact(Number::ONE.negated()),
        Class::Infinite | Class::Zero => Outcome::exact(x),
        _ if compare(Number { sign: false, ..x }, Number::ONE) == Ordering::Greater => undefined(x),
        // What is exact counts as inexact too.
        _ if x.exponent == 0 && !x.sign => undefined(x),
        _ if x.exponent == 0 => undefined(Number::finite(true, -1, 1 << 63)),
        _ => float::exponential_minus_1(x, rules),
    }
}

/// Outside what an instruction is defined for: the operand, inexact.
fn undefined(x: Number) -> Outcome {
    Outcome { number: x, flags: exception::PRECISION, up: false }
}

/// A function of ST(0) = x and ST(1) = y, whose result replaces both.
trait TwoOperands {
    fn apply(x: Number, y: Number, rules: &Rules) -> Outcome;
}

struct OfTwo<F>(std::marker::PhantomData<F>);

impl<F: TwoOperands> Waiting for OfTwo<F> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let result = if fpu.empty(0) || fpu.empty(1) {
            stack_fault(fpu, false).then(indefinite)
        } else {
            let (x, y) = (fpu.st(0).unpack(), fpu.st(1).unpack());
            complete(fpu, x, y, |fpu| F::apply(x, y, &fpu.rules(EXTENDED)))
        };
        if let Some(result) = result {
            fpu.set_st(1, result);
            fpu.pop();
        }
        Ok(())
    }
}

struct Logarithm;
struct LogarithmPlus1;
struct ArcTangent;

/// `y` times infinity of sign `negative`, or times zero, where there is nothing to compute.
fn infinite_product(y: Number, negative: bool) -> Outcome {
    match y.class {
        Class::Zero => Outcome::invalid(),
        _ => Outcome::exact(Number::infinite(y.sign != negative)),
    }
}

impl TwoOperands for Logarithm {
    fn apply(x: Number, y: Number, rules: &Rules) -> Outcome {
        match (x.class, y.class) {
            (Class::Zero, Class::Zero) => return Outcome::invalid(),
            (Class::Zero, Class::Infinite) => return Outcome::exact(Number::infinite(!y.sign)),
            (Class::Zero, _) => {
                let number = Number::infinite(!y.sign);
                return Outcome { number, flags: exception::ZERO_DIVIDE, up: false };
            }
            _ if x.sign => return Outcome::invalid(),
            (Class::Infinite, _) => return infinite_product(y, false),
            _ => {}
        }
        let against_one = compare(x, Number::ONE);
        let negative = against_one == Ordering::Less;
        match (y.class, against_one) {
            (Class::Infinite, Ordering::Equal) => Outcome::invalid(),
            (Class::Infinite, _) => Outcome::exact(Number::infinite(y.sign != negative)),
            (Class::Zero, _) => Outcome::exact(Number::zero(y.sign != negative)),
            (_, Ordering::Equal) => Outcome::exact(Number::zero(y.sign)),
            _ => float::logarithm(x, y, rules),
        }
    }
}

impl TwoOperands for LogarithmPlus1 {
    fn apply(x: Number, y: Number, rules: &Rules) -> Outcome {
        match (x.class, y.class) {
            (Class::Infinite, _) if x.sign => Outcome::invalid(),
            (Class::Infinite, _) => infinite_product(y, false),
            (Class::Zero, Class::Infinite) => Outcome::invalid(),
            (_, Class::Infinite) => Outcome::exact(Number::infinite(x.sign != y.sign)),
            (Class::Zero, _) | (_, Class::Zero) => Outcome::exact(Number::zero(x.sign != y.sign)),
            // Not defined so far from zero.
            _ if x.sign && x.exponent >= 0 => undefined(x),
            _ => float::logarithm_plus_1(x, y, rules),
        }
    }
}

impl TwoOperands for ArcTangent {
    fn apply(x: Number, y: Number, rules: &Rules) -> Outcome {
        float::arc_tangent(y, x, rules)
    }
}

/// Arguments from here on are left alone, and C2 says so.
const FAR: i32 = 63;

/// A circular function of a reduced argument.
trait CircularFunction {
    /// Of zero.
    fn at_zero(zero: Number) -> Number;
    fn apply(angle: &Angle, rules: &Rules) -> Outcome;
}

struct Sine;
struct Cosine;

impl CircularFunction for Sine {
    fn at_zero(zero: Number) -> Number {
        zero
    }

    fn apply(angle: &Angle, rules: &Rules) -> Outcome {
        float::sine(angle, rules)
    }
}

impl CircularFunction for Cosine {
    fn at_zero(_zero: Number) -> Number {
        Number::ONE
    }

    fn apply(angle: &Angle, rules: &Rules) -> Outcome {
        float::cosine(angle, rules)
    }
}

/// FSIN and FCOS.
struct Circular<F>(std::marker::PhantomData<F>);

impl<F: CircularFunction> Waiting for Circular<F> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C2, false);
        if fpu.empty(0) {
            missing_operand(fpu);
            return Ok(());
        }
        let x = fpu.st(0).unpack();
        if too_far(fpu, x) {
            return Ok(());
        }
        let result = complete(fpu, x, Number::ONE, |fpu| match x.class {
            Class::Zero => Outcome::exact(F::at_zero(x)),
            Class::Infinite => Outcome::invalid(),
            _ => F::apply(&Angle::reduce(x), &fpu.rules(EXTENDED)),
        });
        if let Some(result) = result {
            fpu.set_st(0, result);
        }
        Ok(())
    }
}

/// Whether `x` is too large to be reduced, which C2 says then.
fn too_far(fpu: &mut Fpu, x: Number) -> bool {
    let far = x.class == Class::Finite && x.exponent >= FAR;
    if far {
        fpu.condition(status::C1, false);
        fpu.condition(status::C2, true);
    }
    far
}

/// An instruction with two results: one replaces ST(0), then one is pushed.
trait TwoResults {
    /// Of zero.
    fn at_zero(zero: Number) -> (Number, Number);
    fn apply(angle: &Angle, rules: &Rules) -> (Outcome, Outcome);
}

struct SineAndCosine;
struct Tangent;

impl TwoResults for SineAndCosine {
    fn at_zero(zero: Number) -> (Number, Number) {
        (zero, Number::ONE)
    }

    fn apply(angle: &Angle, rules: &Rules) -> (Outcome, Outcome) {
        (float::sine(angle, rules), float::cosine(angle, rules))
    }
}

impl TwoResults for Tangent {
    fn at_zero(zero: Number) -> (Number, Number) {
        (zero, Number::ONE)
    }

    fn apply(angle: &Angle, rules: &Rules) -> (Outcome, Outcome) {
        (float::tangent(angle, rules), Outcome::exact(Number::ONE))
    }
}

/// FSINCOS and FPTAN.
struct Pair<F>(std::marker::PhantomData<F>);

impl<F: TwoResults> Waiting for Pair<F> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C2, false);
        if !has_room_for_two(fpu) {
            return Ok(());
        }
        let x = fpu.st(0).unpack();
        if too_far(fpu, x) {
            return Ok(());
        }
        fpu.condition(status::C1, false);
        let (first, second) = pair::<F>(fpu, x);
        let flags = first.flags | second.flags;
        if let Some(result) = settle(fpu, Outcome { flags, ..first }) {
            fpu.set_st(0, result);
            fpu.push(Extended::pack(second.number));
        }
        Ok(())
    }
}

fn pair<F: TwoResults>(fpu: &Fpu, x: Number) -> (Outcome, Outcome) {
    let both = |outcome| (outcome, outcome);
    let flags = match screen_one(x) {
        Err(outcome) => return both(outcome),
        Ok(flags) => flags,
    };
    if prevents(fpu, flags) {
        return both(Outcome { number: x, flags, up: false });
    }
    match x.class {
        Class::Zero => {
            let (first, second) = F::at_zero(x);
            (Outcome::exact(first), Outcome::exact(second))
        }
        Class::Infinite => both(Outcome::invalid()),
        _ => {
            let (first, second) = F::apply(&Angle::reduce(x), &fpu.rules(EXTENDED));
            (Outcome { flags: first.flags | flags, ..first }, second)
        }
    }
}
