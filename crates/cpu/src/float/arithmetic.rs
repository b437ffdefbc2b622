//! Sum, product, fused product and sum, quotient, square root and comparison of numbers that are not NaN.

use std::cmp::Ordering;

use super::{Class, Number, Outcome, Rounding, Rules, exception, round, shift_right_sticky};

/// The sign of a sum that is exactly zero.
fn zero_sign(rules: &Rules) -> bool {
    rules.rounding == Rounding::Down
}

/// A magnitude: `significand / 2^127 * 2^exponent`, bit 127 set unless zero.
#[derive(Clone, Copy)]
struct Magnitude {
    sign: bool,
    exponent: i32,
    significand: u128,
}

impl Magnitude {
    fn of(number: Number) -> Magnitude {
        Magnitude {
            sign: number.sign,
            exponent: number.exponent,
            significand: u128::from(number.significand) << 64,
        }
    }
}

/// The rounded sum of two magnitudes that are not zero. Each has at least one spare bit below its
/// value, or is a whole product.
fn sum(a: Magnitude, b: Magnitude, rules: &Rules) -> Outcome {
    let key = |value: &Magnitude| (value.exponent, value.significand);
    let (large, small) = if key(&a) >= key(&b) { (a, b) } else { (b, a) };
    let distance = large.exponent.saturating_sub(small.exponent) as u32;
    if large.sign == small.sign {
        let shifted = shift_right_sticky(small.significand, distance);
        let (wide, carry) = large.significand.overflowing_add(shifted);
        if carry {
            let halved = shift_right_sticky(wide, 1) | 1 << 127;
            return round(large.sign, large.exponent + 1, halved, rules);
        }
        return round(large.sign, large.exponent, wide, rules);
    }
    difference(large, small, distance, rules)
}

/// `large - small`, exact but for a sticky bit. When bits are lost to the sticky bit the operands
/// are at least two places apart, so that at most one leading bit cancels.
fn difference(large: Magnitude, small: Magnitude, distance: u32, rules: &Rules) -> Outcome {
    let shifted = shift_right_sticky(small.significand, distance);
    let wide = large.significand.wrapping_sub(shifted);
    if wide == 0 {
        return Outcome::exact(Number::zero(zero_sign(rules)));
    }
    let shift = wide.leading_zeros();
    round(large.sign, large.exponent - shift as i32, wide << shift, rules)
}

/// `a + b`.
pub(crate) fn add(a: Number, b: Number, rules: &Rules) -> Outcome {
    match (a.class, b.class) {
        (Class::Infinite, Class::Infinite) if a.sign != b.sign => Outcome::invalid(),
        (Class::Infinite, _) => Outcome::exact(a),
        (_, Class::Infinite) => Outcome::exact(b),
        (Class::Zero, Class::Zero) if a.sign == b.sign => Outcome::exact(Number::zero(a.sign)),
        (Class::Zero, Class::Zero) => Outcome::exact(Number::zero(zero_sign(rules))),
        (Class::Zero, _) => super::round_number(b, rules),
        (_, Class::Zero) => super::round_number(a, rules),
        _ => sum(Magnitude::of(a), Magnitude::of(b), rules),
    }
}

/// The exact product of two finite numbers that are not zero.
fn product(a: Number, b: Number) -> Magnitude {
    let wide = u128::from(a.significand) * u128::from(b.significand);
    let shift = wide.leading_zeros();
    Magnitude {
        sign: a.sign != b.sign,
        exponent: a.exponent + b.exponent + 1 - shift as i32,
        significand: wide << shift,
    }
}

/// `a * b`.
pub(crate) fn multiply(a: Number, b: Number, rules: &Rules) -> Outcome {
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Infinite, Class::Zero) | (Class::Zero, Class::Infinite) => Outcome::invalid(),
        (Class::Infinite, _) | (_, Class::Infinite) => Outcome::exact(Number::infinite(sign)),
        (Class::Zero, _) | (_, Class::Zero) => Outcome::exact(Number::zero(sign)),
        _ => {
            let product = product(a, b);
            round(sign, product.exponent, product.significand, rules)
        }
    }
}

/// `a * b + c`, rounded once. The product is exact: of single or double operands, for which this is, it
/// has spare bits below it.
pub(crate) fn multiply_add(a: Number, b: Number, c: Number, rules: &Rules) -> Outcome {
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Infinite, Class::Zero) | (Class::Zero, Class::Infinite) => Outcome::invalid(),
        (Class::Infinite, _) | (_, Class::Infinite) => add(Number::infinite(sign), c, rules),
        (Class::Zero, _) | (_, Class::Zero) => add(Number::zero(sign), c, rules),
        _ => match c.class {
            Class::Infinite => Outcome::exact(c),
            Class::Zero => {
                let product = product(a, b);
                round(sign, product.exponent, product.significand, rules)
            }
            _ => sum(product(a, b), Magnitude::of(c), rules),
        },
    }
}

/// `a / b`.
pub(crate) fn divide(a: Number, b: Number, rules: &Rules) -> Outcome {
    let sign = a.sign != b.sign;
    match (a.class, b.class) {
        (Class::Infinite, Class::Infinite) | (Class::Zero, Class::Zero) => Outcome::invalid(),
        (Class::Infinite, _) => Outcome::exact(Number::infinite(sign)),
        (Class::Zero, _) | (_, Class::Infinite) => Outcome::exact(Number::zero(sign)),
        (_, Class::Zero) => {
            Outcome { number: Number::infinite(sign), flags: exception::ZERO_DIVIDE, up: false }
        }
        _ => {
            let smaller = a.significand < b.significand;
            let divisor = u128::from(b.significand);
            let dividend = u128::from(a.significand) << if smaller { 64 } else { 63 };
            let high = dividend / divisor;
            let rest = (dividend % divisor) << 64;
            let low = rest / divisor;
            let sticky = u128::from(rest % divisor != 0);
            let exponent = a.exponent - b.exponent - i32::from(smaller);
            round(sign, exponent, (high << 64) | low | sticky, rules)
        }
    }
}

/// The square root of `a`.
pub(crate) fn square_root(a: Number, rules: &Rules) -> Outcome {
    match a.class {
        Class::Zero => return Outcome::exact(a),
        _ if a.sign => return Outcome::invalid(),
        Class::Finite => {}
        _ => return Outcome::exact(a),
    }
    // An even exponent makes the root's a whole number: the radicand is in [2^126, 2^128).
    let odd = a.exponent & 1 != 0;
    let radicand = u128::from(a.significand) << if odd { 64 } else { 63 };
    let root = radicand.isqrt();
    let rest = radicand - root * root;
    // The next bit of the root is set when the rest exceeds it; what follows is never zero then.
    let wide = (root << 64) | u128::from(rest > root) << 63 | u128::from(rest != 0);
    round(false, a.exponent >> 1, wide, rules)
}

/// How `a` compares with `b`; both are ordered.
pub(crate) fn compare(a: Number, b: Number) -> Ordering {
    let rank = |number: &Number| match number.class {
        Class::Zero => (0, 0, 0),
        Class::Infinite => (2, 0, 0),
        _ => (1, number.exponent, number.significand),
    };
    if a.is_zero() && b.is_zero() {
        return Ordering::Equal;
    }
    let magnitude = rank(&a).cmp(&rank(&b));
    match (a.sign, b.sign) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude,
        (true, true) => magnitude.reverse(),
    }
}
