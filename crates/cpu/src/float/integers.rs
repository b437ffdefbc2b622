//! Numbers to and from integers.

use super::{Class, Number, Outcome, Rounding, exception, rounds_up, shift_right_sticky};

/// An integer, exactly.
pub(crate) fn from_integer(value: i64) -> Number {
    Number::normalized(value < 0, 63, value.unsigned_abs())
}

/// A finite number's magnitude rounded to an integer below 2^65, with whether that was inexact and
/// whether it went up; `None` when it is larger.
fn rounded_magnitude(number: Number, rounding: Rounding) -> Option<(u128, bool, bool)> {
    if number.exponent > 63 {
        return None;
    }
    // 64 bits of fraction; 66 places below the point, everything is sticky.
    let shift = (63 - number.exponent).min(130) as u32;
    let fixed = shift_right_sticky(u128::from(number.significand) << 64, shift);
    let whole = fixed >> 64;
    let half = fixed >> 63 & 1 != 0;
    let beyond = fixed & ((1 << 63) - 1) != 0;
    let up = rounds_up(rounding, number.sign, whole & 1 != 0, half, beyond);
    Some((whole + u128::from(up), half || beyond, up))
}

/// A number as a two's complement integer of `bits`, with the exceptions that raised and whether
/// its magnitude was rounded up. What does not fit is invalid and gives the integer indefinite.
pub(crate) fn to_integer(number: Number, bits: u32, rounding: Rounding) -> (i64, u8, bool) {
    let indefinite = (i64::MIN >> (64 - bits), exception::INVALID, false);
    match number.class {
        Class::Zero => return (0, 0, false),
        Class::Finite => {}
        _ => return indefinite,
    }
    let Some((magnitude, inexact, up)) = rounded_magnitude(number, rounding) else {
        return indefinite;
    };
    let most = (1_u128 << (bits - 1)) - u128::from(!number.sign);
    if magnitude > most {
        return indefinite;
    }
    let value = magnitude as i64;
    let signed = if number.sign { value.wrapping_neg() } else { value };
    (signed, if inexact { exception::PRECISION } else { 0 }, up)
}

/// A number rounded to an integral one (FRNDINT, ROUNDPD).
pub(crate) fn round_to_integral(number: Number, rounding: Rounding) -> Outcome {
    if number.class != Class::Finite {
        return Outcome::exact(number);
    }
    let Some((magnitude, inexact, up)) = rounded_magnitude(number, rounding) else {
        return Outcome::exact(number);
    };
    let integral = match magnitude >> 64 {
        0 => Number::normalized(number.sign, 63, magnitude as u64),
        _ => Number::finite(number.sign, 64, 1 << 63),
    };
    Outcome { number: integral, flags: if inexact { exception::PRECISION } else { 0 }, up }
}
