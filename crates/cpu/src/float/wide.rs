//! Floating point with 128 bits of significand, cut and not rounded: what elementary functions are
//! summed up in, so that their results err by little more than the last rounding.

use super::{Number, Outcome, Rules, exception, round, shift_right_sticky};

/// `significand / 2^127 * 2^exponent`, bit 127 set unless zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    pub(super) significand: u128,
}

const TOP: u128 = 1 << 127;

/// The high half of a product.
fn multiply_high(a: u128, b: u128) -> u128 {
    let low = |value: u128| value & u128::from(u64::MAX);
    let (a1, a0, b1, b0) = (a >> 64, low(a), b >> 64, low(b));
    let middle = a1 * b0 + ((a0 * b0) >> 64);
    let other = a0 * b1 + low(middle);
    a1 * b1 + (middle >> 64) + (other >> 64)
}

impl Wide {
    pub(super) const ZERO: Wide = Wide { negative: false, exponent: 0, significand: 0 };
    pub(super) const ONE: Wide = Wide::new(0, TOP);

    /// A positive constant.
    pub(super) const fn new(exponent: i32, significand: u128) -> Wide {
        Wide { negative: false, exponent, significand }
    }

    /// A finite number or zero.
    pub(super) fn of(number: Number) -> Wide {
        let significand = if number.is_zero() { 0 } else { u128::from(number.significand) << 64 };
        Wide { negative: number.sign, exponent: number.exponent, significand }
    }

    /// `value / 2^places`.
    pub(super) fn fixed(negative: bool, value: u128, places: i32) -> Wide {
        Wide { negative, exponent: 127 - places, significand: value }.normalized()
    }

    fn normalized(self) -> Wide {
        if self.significand == 0 {
            return Wide::ZERO;
        }
        let shift = self.significand.leading_zeros();
        Wide { exponent: self.exponent - shift as i32, significand: self.significand << shift, ..self }
    }

    pub(super) fn is_zero(self) -> bool {
        self.significand == 0
    }

    pub(super) fn negated(self) -> Wide {
        Wide { negative: !self.negative, ..self }
    }

    pub(super) fn magnitude(self) -> Wide {
        Wide { negative: false, ..self }
    }

    /// Times a power of two.
    pub(super) fn scaled(self, exponent: i32) -> Wide {
        Wide { exponent: self.exponent + exponent, ..self }
    }

    pub(super) fn plus(self, other: Wide) -> Wide {
        if self.is_zero() {
            return other;
        }
        if other.is_zero() {
            return self;
        }
        let larger = (self.exponent, self.significand) >= (other.exponent, other.significand);
        let (large, small) = if larger { (self, other) } else { (other, self) };
        let distance = (large.exponent - small.exponent) as u32;
        // What is lost still pulls a difference below the larger number.
        let shifted = shift_right_sticky(small.significand, distance);
        if large.negative != small.negative {
            return Wide { significand: large.significand - shifted, ..large }.normalized();
        }
        match large.significand.overflowing_add(shifted) {
            (sum, false) => Wide { significand: sum, ..large },
            (sum, true) => Wide { significand: sum >> 1 | TOP, exponent: large.exponent + 1, ..large },
        }
    }

    pub(super) fn minus(self, other: Wide) -> Wide {
        self.plus(other.negated())
    }

    pub(super) fn times(self, other: Wide) -> Wide {
        Wide {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent + 1,
            significand: multiply_high(self.significand, other.significand),
        }
        .normalized()
    }

    pub(super) fn square(self) -> Wide {
        self.times(self)
    }

    /// By a small whole number.
    pub(super) fn over(self, divisor: u32) -> Wide {
        Wide { significand: self.significand / u128::from(divisor.max(1)), ..self }.normalized()
    }

    /// By a number that is not zero, one bit of the quotient at a time.
    pub(super) fn divided_by(self, divisor: Wide) -> Wide {
        let smaller = self.significand < divisor.significand;
        let mut quotient = 0_u128;
        let mut rest = self.significand;
        // The bit that a doubled rest carries out of the top.
        let mut carry = false;
        if smaller {
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        for _ in 0..128 {
            quotient <<= 1;
            if carry || rest >= divisor.significand {
                rest = rest.wrapping_sub(divisor.significand);
                quotient |= 1;
            }
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        Wide {
            negative: self.negative != divisor.negative,
            exponent: self.exponent - divisor.exponent - i32::from(smaller),
            significand: quotient,
        }
    }

    /// Rounded: an elementary function's value is never a number of the format, so that it counts
    /// as inexact whatever its bits.
    pub(super) fn rounded(self, rules: &Rules) -> Outcome {
        let outcome = round(self.negative, self.exponent, self.significand | 1, rules);
        Outcome { flags: outcome.flags | exception::PRECISION, ..outcome }
    }
}
