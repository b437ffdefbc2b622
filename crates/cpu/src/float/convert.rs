//! Between encodings and numbers (SDM vol. 1, 4.2.2 and 8.2).

use super::{Class, DOUBLE, EXTENDED, Format, HALF, Number, QUIET, SINGLE, TOP};

/// An interchange format with an implicit leading one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
    /// 16 bits, which are only converted.
    Half,
}

impl Encoding {
    pub(crate) fn format(self) -> Format {
        match self {
            Encoding::Single => SINGLE,
            Encoding::Double => DOUBLE,
            Encoding::Half => HALF,
        }
    }

    /// Bits of fraction, and the sign's place.
    fn widths(self) -> (u32, u32) {
        match self {
            Encoding::Single => (23, 31),
            Encoding::Double => (52, 63),
            Encoding::Half => (10, 15),
        }
    }

    /// Takes an encoded number apart.
    pub(crate) fn unpack(self, bits: u64) -> Number {
        let (fraction_bits, sign_place) = self.widths();
        let sign = bits >> sign_place & 1 != 0;
        let exponent_mask = (1 << (sign_place - fraction_bits)) - 1;
        let field = (bits >> fraction_bits & exponent_mask) as i32;
        let fraction = bits & ((1 << fraction_bits) - 1);
        let aligned = fraction << (63 - fraction_bits);
        let format = self.format();
        if field as u64 == exponent_mask {
            let class = match fraction {
                0 => return Number::infinite(sign),
                _ if aligned & QUIET != 0 => Class::Quiet,
                _ => Class::Signaling,
            };
            return Number { class, sign, exponent: 0, significand: aligned | TOP, denormal: false };
        }
        if field == 0 {
            let number = Number::normalized(sign, format.least, aligned);
            return Number { denormal: fraction != 0, ..number };
        }
        Number::finite(sign, field - format.most, aligned | TOP)
    }

    /// Puts a number together that the format can hold. A NaN loses the low bits of its payload.
    pub(crate) fn pack(self, number: Number) -> u64 {
        let (fraction_bits, sign_place) = self.widths();
        let sign = u64::from(number.sign) << sign_place;
        let exponent_mask = (1_u64 << (sign_place - fraction_bits)) - 1;
        let format = self.format();
        let rest = match number.class {
            Class::Zero => 0,
            Class::Infinite => exponent_mask << fraction_bits,
            Class::Finite if number.exponent < format.least => {
                let shift = (format.least - number.exponent).min(63) as u32;
                number.significand >> (63 - fraction_bits) >> shift
            }
            Class::Finite => {
                let fraction = (number.significand & !TOP) >> (63 - fraction_bits);
                ((number.exponent + format.most) as u64) << fraction_bits | fraction
            }
            _ => exponent_mask << fraction_bits | (number.significand & !TOP) >> (63 - fraction_bits),
        };
        sign | rest
    }
}

/// Takes an 80-bit number apart: sign and biased exponent, and significand with its leading one.
pub(crate) fn unpack_extended(sign_exponent: u16, significand: u64) -> Number {
    let sign = sign_exponent >> 15 != 0;
    let field = i32::from(sign_exponent & 0x7fff);
    let of = |class| Number { class, sign, exponent: 0, significand, denormal: false };
    match field {
        0 => {
            let number = Number::normalized(sign, EXTENDED.least, significand);
            Number { denormal: significand != 0, ..number }
        }
        _ if significand & TOP == 0 => of(Class::Unsupported),
        0x7fff if significand == TOP => of(Class::Infinite),
        0x7fff if significand & QUIET != 0 => of(Class::Quiet),
        0x7fff => of(Class::Signaling),
        _ => Number::finite(sign, field - EXTENDED.most, significand),
    }
}

/// Puts an 80-bit number together: sign and biased exponent, and significand.
pub(crate) fn pack_extended(number: Number) -> (u16, u64) {
    let (field, significand) = match number.class {
        Class::Zero => (0, 0),
        Class::Finite if number.exponent < EXTENDED.least => {
            let shift = (EXTENDED.least - number.exponent).min(127) as u32;
            (0, (u128::from(number.significand) >> shift) as u64)
        }
        Class::Finite => ((number.exponent + EXTENDED.most) as u16, number.significand),
        _ => (0x7fff, number.significand),
    };
    (field | u16::from(number.sign) << 15, significand)
}

/// A NaN made quiet.
pub(crate) fn quieted(number: Number) -> Number {
    Number { class: Class::Quiet, significand: number.significand | QUIET, ..number }
}
