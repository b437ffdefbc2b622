//! Binary floating point in integer arithmetic, so that a result is the same bits on every host.
//!
//! One core serves x87, SSE and AVX: operands are unpacked to a [`Number`], an operation makes an
//! exact result (or one with a sticky bit), and [`round`] brings it into a [`Format`] and says which
//! exceptions that raised (IEEE 754-2019; Intel SDM vol. 1, 4.8 and 4.9). No crate gives what x87
//! needs besides: whether the result was rounded up (C1), the biased results of unmasked overflow
//! and underflow, 24 and 53 bits of precision with 15 bits of exponent, and square roots.

mod arithmetic;
mod convert;
mod elementary;
pub(crate) mod host;
mod integers;
mod remainder;
mod wide;

pub(crate) use arithmetic::{add, compare, divide, multiply, multiply_add, square_root};
pub(crate) use convert::{Encoding, pack_extended, quieted, unpack_extended};
pub(crate) use elementary::{
    Angle, arc_tangent, cosine, exponential_minus_1, logarithm, logarithm_plus_1, sine, tangent,
};
pub(crate) use integers::{from_integer, round_to_integral, to_integer};
pub(crate) use remainder::remainder;

/// Exceptions, as the status word and MXCSR number them.
pub mod exception {
    /// IE: an operation without a meaningful result.
    pub const INVALID: u8 = 1 << 0;
    /// DE: an operand was denormal.
    pub const DENORMAL: u8 = 1 << 1;
    /// ZE: a finite number divided by zero.
    pub const ZERO_DIVIDE: u8 = 1 << 2;
    /// OE: too large for the format.
    pub const OVERFLOW: u8 = 1 << 3;
    /// UE: too small for the format.
    pub const UNDERFLOW: u8 = 1 << 4;
    /// PE: the result is not exact.
    pub const PRECISION: u8 = 1 << 5;
    /// All six.
    pub const ALL: u8 = 63;
}

/// How a result is rounded, as RC encodes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rounding {
    Nearest,
    Down,
    Up,
    Truncate,
}

impl Rounding {
    /// From a two-bit RC field.
    pub(crate) fn from_field(field: u32) -> Rounding {
        match field & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Truncate,
        }
    }
}

/// What numbers a destination can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    /// Bits of significand, the leading one included.
    pub(crate) precision: u32,
    /// Exponent of the smallest normal number.
    pub(crate) least: i32,
    /// Exponent of the largest number.
    pub(crate) most: i32,
}

pub(crate) const HALF: Format = Format { precision: 11, least: -14, most: 15 };
pub(crate) const SINGLE: Format = Format { precision: 24, least: -126, most: 127 };
pub(crate) const DOUBLE: Format = Format { precision: 53, least: -1022, most: 1023 };
pub(crate) const EXTENDED: Format = Format { precision: 64, least: -16382, most: 16383 };

/// Everything rounding depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) format: Format,
    pub(crate) rounding: Rounding,
    /// Exceptions that are masked; only overflow and underflow matter here.
    pub(crate) masked: u8,
    /// MXCSR.FTZ: a result that underflows, masked, is zero.
    pub(crate) flush: bool,
}

/// What is added to the exponent when underflow is not masked, and taken from it when overflow is
/// not (SDM vol. 1, 8.5.4).
const BIAS: i32 = 24576;

/// What an unpacked operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Zero,
    Finite,
    Infinite,
    Quiet,
    Signaling,
    /// An encoding of the extended format that means nothing since the 387 (SDM vol. 1, 8.2.2).
    Unsupported,
}

/// An unpacked number: `significand / 2^63 * 2^exponent`, with bit 63 set when finite. A NaN has the
/// payload of the extended format in `significand`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number {
    pub(crate) class: Class,
    pub(crate) sign: bool,
    pub(crate) exponent: i32,
    pub(crate) significand: u64,
    /// It was encoded as a denormal.
    pub(crate) denormal: bool,
}

const TOP: u64 = 1 << 63;
/// What makes a NaN quiet.
pub(crate) const QUIET: u64 = 1 << 62;

impl Number {
    pub(crate) const ONE: Number = Number::finite(false, 0, TOP);
    /// The quiet NaN that stands for the result of an invalid operation.
    pub(crate) const INDEFINITE: Number =
        Number { class: Class::Quiet, sign: true, exponent: 0, significand: TOP | QUIET, denormal: false };

    pub(crate) const fn zero(sign: bool) -> Number {
        Number { class: Class::Zero, sign, exponent: 0, significand: 0, denormal: false }
    }

    pub(crate) const fn infinite(sign: bool) -> Number {
        Number { class: Class::Infinite, sign, exponent: 0, significand: TOP, denormal: false }
    }

    pub(crate) const fn finite(sign: bool, exponent: i32, significand: u64) -> Number {
        Number { class: Class::Finite, sign, exponent, significand, denormal: false }
    }

    /// The number `significand / 2^63 * 2^exponent`, whose bit 63 may be clear.
    pub(crate) fn normalized(sign: bool, exponent: i32, significand: u64) -> Number {
        if significand == 0 {
            return Number::zero(sign);
        }
        let shift = significand.leading_zeros();
        Number::finite(sign, exponent - shift as i32, significand << shift)
    }

    pub(crate) fn is_nan(&self) -> bool {
        matches!(self.class, Class::Quiet | Class::Signaling)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }

    pub(crate) fn is_infinite(&self) -> bool {
        self.class == Class::Infinite
    }

    pub(crate) fn negated(self) -> Number {
        Number { sign: !self.sign, ..self }
    }
}

/// A result with what came of making it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) number: Number,
    /// Bits of [`exception`].
    pub(crate) flags: u8,
    /// The magnitude was rounded up.
    pub(crate) up: bool,
}

impl Outcome {
    pub(crate) fn exact(number: Number) -> Outcome {
        Outcome { number, flags: 0, up: false }
    }

    pub(crate) fn invalid() -> Outcome {
        Outcome { number: Number::INDEFINITE, flags: exception::INVALID, up: false }
    }
}

/// `value >> shift` with the lowest bit set when any bit was lost.
pub(crate) fn shift_right_sticky(value: u128, shift: u32) -> u128 {
    match shift {
        0 => value,
        1..128 => (value >> shift) | u128::from(value << (128 - shift) != 0),
        _ => u128::from(value != 0),
    }
}

/// Whether a magnitude is rounded up, by what is cut off it.
pub(crate) fn rounds_up(rounding: Rounding, sign: bool, odd: bool, half: bool, beyond: bool) -> bool {
    match rounding {
        Rounding::Nearest => half && (odd || beyond),
        Rounding::Down => sign && (half || beyond),
        Rounding::Up => !sign && (half || beyond),
        Rounding::Truncate => false,
    }
}

/// A significand cut to `precision` bits, at the top of 64.
struct Cut {
    /// Bit 64 is set when rounding up carried out of the top.
    significand: u128,
    inexact: bool,
    up: bool,
}

fn cut(wide: u128, precision: u32, sign: bool, rounding: Rounding) -> Cut {
    let drop = 128 - precision;
    let kept = wide >> drop;
    let rest = wide << precision;
    let half = rest >> 127 != 0;
    let beyond = rest << 1 != 0;
    let up = rounds_up(rounding, sign, kept & 1 != 0, half, beyond);
    Cut { significand: (kept + u128::from(up)) << (64 - precision), inexact: half || beyond, up }
}

/// Rounds `wide / 2^127 * 2^exponent`, whose bit 127 is set and whose bit 0 stands for everything
/// below it, into the format of `rules`. Tininess is found after rounding.
pub(crate) fn round(sign: bool, exponent: i32, wide: u128, rules: &Rules) -> Outcome {
    let format = rules.format;
    let first = cut(wide, format.precision, sign, rules.rounding);
    let carried = first.significand >> 64 != 0;
    let exponent_after = exponent + i32::from(carried);
    let significand = if carried { TOP } else { first.significand as u64 };
    let precision = if first.inexact { exception::PRECISION } else { 0 };
    if exponent_after > format.most {
        if rules.masked & exception::OVERFLOW != 0 {
            return overflow(sign, rules);
        }
        if exponent_after - BIAS > format.most {
            // FSCALE can go so far that the biased exponent does not fit either.
            let flags = exception::OVERFLOW | exception::PRECISION;
            return Outcome { number: Number::infinite(sign), flags, up: true };
        }
        let number = Number::finite(sign, exponent_after - BIAS, significand);
        return Outcome { number, flags: exception::OVERFLOW | precision, up: first.up };
    }
    if exponent_after < format.least {
        if rules.masked & exception::UNDERFLOW == 0 {
            if exponent_after + BIAS < format.least {
                let flags = exception::UNDERFLOW | exception::PRECISION;
                return Outcome { number: Number::zero(sign), flags, up: false };
            }
            let number = Number::finite(sign, exponent_after + BIAS, significand);
            return Outcome { number, flags: exception::UNDERFLOW | precision, up: first.up };
        }
        return underflow(sign, exponent, wide, rules);
    }
    Outcome { number: Number::finite(sign, exponent_after, significand), flags: precision, up: first.up }
}

/// Masked overflow: infinity, or the largest number when rounding goes toward zero.
fn overflow(sign: bool, rules: &Rules) -> Outcome {
    let flags = exception::OVERFLOW | exception::PRECISION;
    let up = rounds_up(rules.rounding, sign, true, true, true);
    let largest = u64::MAX << (64 - rules.format.precision);
    let number = match up {
        true => Number::infinite(sign),
        false => Number::finite(sign, rules.format.most, largest),
    };
    Outcome { number, flags, up }
}

/// Masked underflow: a denormal, exact or not, or zero.
fn underflow(sign: bool, exponent: i32, wide: u128, rules: &Rules) -> Outcome {
    let flags = exception::UNDERFLOW | exception::PRECISION;
    if rules.flush {
        return Outcome { number: Number::zero(sign), flags, up: false };
    }
    let format = rules.format;
    let shifted = shift_right_sticky(wide, format.least.saturating_sub(exponent) as u32);
    let cut = cut(shifted, format.precision, sign, rules.rounding);
    let number = match cut.significand >> 64 != 0 {
        true => Number::finite(sign, format.least + 1, TOP),
        false => Number::normalized(sign, format.least, cut.significand as u64),
    };
    Outcome { number, flags: if cut.inexact { flags } else { 0 }, up: cut.up }
}

/// Rounds a number that is already unpacked, for stores and precision control.
pub(crate) fn round_number(number: Number, rules: &Rules) -> Outcome {
    if number.class != Class::Finite {
        return Outcome::exact(number);
    }
    round(number.sign, number.exponent, u128::from(number.significand) << 64, rules)
}
