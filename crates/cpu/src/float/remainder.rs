//! FPREM and FPREM1: exact remainders, by steps that leave the rest smaller.

use super::{Class, Number, Outcome};

/// A remainder with what the condition codes say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quotient {
    pub(crate) outcome: Outcome,
    /// The low three bits of the quotient.
    pub(crate) low: u8,
    /// The reduction is not complete: the instruction is to be repeated.
    pub(crate) partial: bool,
}

impl Quotient {
    fn of(outcome: Outcome) -> Quotient {
        Quotient { outcome, low: 0, partial: false }
    }
}

/// `2^bits * significand mod divisor` with the low bits of the quotient, for significands whose
/// bit 63 is set.
fn reduce(significand: u64, divisor: u64, bits: u32) -> (u64, u64) {
    let dividend = u128::from(significand) << bits;
    ((dividend % u128::from(divisor)) as u64, (dividend / u128::from(divisor)) as u64)
}

/// `a` reduced by multiples of `b`, neither being NaN; `nearest` rounds the quotient to nearest
/// (FPREM1), otherwise it is cut. Infinity and a divisor of zero are invalid.
pub(crate) fn remainder(a: Number, b: Number, nearest: bool) -> Quotient {
    match (a.class, b.class) {
        (Class::Infinite, _) | (_, Class::Zero) => return Quotient::of(Outcome::invalid()),
        (Class::Zero, _) | (_, Class::Infinite) => return Quotient::of(Outcome::exact(a)),
        _ => {}
    }
    let distance = a.exponent - b.exponent;
    if distance >= 64 {
        return partial(a, b, distance);
    }
    if distance < -1 || (distance < 0 && !nearest) {
        return Quotient::of(Outcome::exact(a));
    }
    // In units of b's exponent; one place lower where a may be above half of b.
    let (rest, mut quotient, unit, divisor) = if distance < 0 {
        (a.significand, 0, a.exponent, u128::from(b.significand) << 1)
    } else {
        let (rest, quotient) = reduce(a.significand, b.significand, distance as u32);
        (rest, quotient, b.exponent, u128::from(b.significand))
    };
    let mut sign = a.sign;
    let mut rest = u128::from(rest);
    if nearest && (rest * 2 > divisor || (rest * 2 == divisor && quotient & 1 != 0)) {
        rest = divisor - rest;
        sign = !sign;
        quotient = quotient.wrapping_add(1);
    }
    let number = Number::normalized(if rest == 0 { a.sign } else { sign }, unit, rest as u64);
    Quotient { outcome: Outcome::exact(number), low: (quotient & 7) as u8, partial: false }
}

/// Takes away a multiple of `b` that makes the exponents' distance at least 32 smaller, and never
/// more than complete.
fn partial(a: Number, b: Number, distance: i32) -> Quotient {
    let step = (distance % 32) + 32;
    let (rest, _) = reduce(a.significand, b.significand, step as u32);
    let number = Number::normalized(a.sign, b.exponent + (distance - step), rest);
    Quotient { outcome: Outcome::exact(number), low: 0, partial: true }
}
