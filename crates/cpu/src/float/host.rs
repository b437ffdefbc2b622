//! Arithmetic the host does, where it gives the same bits as ours on every host: addition,
//! subtraction, multiplication, division and square root of normal numbers and zeros, rounded to
//! nearest, with a normal result. IEEE 754 leaves no choice there, and Rust promises as much; only
//! 32-bit x86 without SSE2 rounds twice.
//!
//! Whether the result was exact is not known: this serves who does not have to know.

use super::Encoding;

/// The bits of `single(a, b)` or `double(a, b)`; `None` where the integer arithmetic has to be asked.
#[inline(always)]
pub(crate) fn compute(
    encoding: Encoding,
    a: u64,
    b: u64,
    single: impl FnOnce(f32, f32) -> f32,
    double: impl FnOnce(f64, f64) -> f64,
) -> Option<u64> {
    if cfg!(all(target_arch = "x86", not(target_feature = "sse2"))) {
        return None;
    }
    let (layout, result) = match encoding {
        Encoding::Single => {
            let result = single(f32::from_bits(a as u32), f32::from_bits(b as u32));
            (Layout { sign: 31, exponent: 23 }, u64::from(result.to_bits()))
        }
        Encoding::Double => {
            (Layout { sign: 63, exponent: 52 }, double(f64::from_bits(a), f64::from_bits(b)).to_bits())
        }
        Encoding::Half => return None,
    };
    let zeros = layout.is_zero(a) || layout.is_zero(b);
    let operands = layout.is_plain(a, 1) && layout.is_plain(b, 1);
    // One binade above the smallest, which a result that was tiny before rounding may become. A zero
    // may be all that is left of a number too small.
    let plain = layout.is_normal(result, 2) || (layout.is_zero(result) && zeros);
    (operands && plain).then_some(result)
}

/// Where the sign and the exponent's lowest bit are.
#[derive(Clone, Copy)]
struct Layout {
    sign: u32,
    exponent: u32,
}

impl Layout {
    #[inline(always)]
    fn magnitude(self, bits: u64) -> u64 {
        bits & ((1 << self.sign) - 1)
    }

    #[inline(always)]
    fn is_zero(self, bits: u64) -> bool {
        self.magnitude(bits) == 0
    }

    /// Finite, with at least this in the exponent field.
    #[inline(always)]
    fn is_normal(self, bits: u64, least: u64) -> bool {
        let exponent = self.magnitude(bits) >> self.exponent;
        let most = (1 << (self.sign - self.exponent)) - 1;
        exponent.wrapping_sub(least) < most - least
    }

    #[inline(always)]
    fn is_plain(self, bits: u64, least: u64) -> bool {
        self.is_normal(bits, least) || self.is_zero(bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::float::{Number, Outcome, Rounding, Rules, add, divide, exception, multiply, square_root};

    type Ours = fn(Number, Number, &Rules) -> Outcome;

    /// Numbers of which many meet near the ends of what the format holds.
    fn operand() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            Just(0),
            Just(1 << 63 | 1 << 31),
            (any::<u32>(), 0u64..5)
                .prop_map(|(bits, exponent)| u64::from(bits & 0x807f_ffff) | exponent << 23),
            (any::<u32>(), 251u64..256)
                .prop_map(|(bits, exponent)| u64::from(bits & 0x807f_ffff) | exponent << 23),
            (any::<u64>(), 0u64..5).prop_map(|(bits, exponent)| bits & !(0x7ff << 52) | exponent << 52),
            (any::<u64>(), 510u64..2048).prop_map(|(bits, exponent)| bits & !(0x7ff << 52) | exponent << 52),
        ]
    }

    fn check(encoding: Encoding, a: u64, b: u64) -> Result<(), TestCaseError> {
        let rules = Rules {
            format: encoding.format(),
            rounding: Rounding::Nearest,
            masked: exception::ALL,
            flush: false,
        };
        let cut = |bits: u64| if encoding == Encoding::Single { bits & 0xffff_ffff } else { bits };
        let (a, b) = (cut(a), cut(b));
        let cases: [(Ours, Option<u64>); 5] = [
            (add, compute(encoding, a, b, |a, b| a + b, |a, b| a + b)),
            (|a, b, rules| add(a, b.negated(), rules), compute(encoding, a, b, |a, b| a - b, |a, b| a - b)),
            (multiply, compute(encoding, a, b, |a, b| a * b, |a, b| a * b)),
            (divide, compute(encoding, a, b, |a, b| a / b, |a, b| a / b)),
            (|a, _, rules| square_root(a, rules), compute(encoding, a, b, |a, _| a.sqrt(), |a, _| a.sqrt())),
        ];
        for (ours, host) in cases {
            let Some(host) = host else { continue };
            let outcome = ours(encoding.unpack(a), encoding.unpack(b), &rules);
            prop_assert_eq!(encoding.pack(outcome.number), host, "{:x} {:x}", a, b);
            prop_assert_eq!(outcome.flags & !exception::PRECISION, 0, "{:x} {:x}", a, b);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn equals_integer_arithmetic(a in operand(), b in operand()) {
            check(Encoding::Single, a, b)?;
            check(Encoding::Double, a, b)?;
        }
    }
}
