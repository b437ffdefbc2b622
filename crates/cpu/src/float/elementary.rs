//! The elementary functions of x87, within the manual's one unit in the last place (SDM vol. 1,
//! 8.3.10), by series in [`Wide`]. Arguments are finite and not zero unless said otherwise.

use super::{Class, Number, Outcome, Rules, exception, wide::Wide};

const LN_2: Wide = Wide::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
const LOG2_E: Wide = Wide::new(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89);
const PI: Wide = Wide::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
/// Arc tangents of 0/8 to 8/8.
const ARC_TANGENTS: [Wide; 9] = [
    Wide::ZERO,
    Wide::new(-4, 0xfead_d4d5_617b_6e32_c897_989f_3e88_8ef8),
    Wide::new(-3, 0xfadb_afc9_6406_eb15_6dc7_9ef5_f7a2_17e6),
    Wide::new(-2, 0xb7b0_ca0f_26f7_8473_8aa3_2122_dcfe_4483),
    Wide::new(-2, 0xed63_382b_0dda_7b45_6fe4_45ec_bc3a_8d03),
    Wide::new(-1, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3748),
    Wide::new(-1, 0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9f),
    Wide::new(-1, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d),
    Wide::new(-1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
];

/// Terms below this part of the sum matter for the direction of rounding only.
const NEGLIGIBLE: i32 = 126;

/// Adds `term` and its successors until they no longer matter.
fn series(first: Wide, mut next: impl FnMut(u32, Wide) -> (Wide, Wide)) -> Wide {
    let mut sum = first;
    let mut power = first;
    for index in 1..200 {
        let (term, following) = next(index, power);
        let last = term.is_zero() || term.exponent < sum.exponent - NEGLIGIBLE;
        sum = sum.plus(term);
        if last {
            break;
        }
        power = following;
    }
    sum
}

/// F2XM1: `2^x - 1` for |x| <= 1.
pub(crate) fn exponential_minus_1(x: Number, rules: &Rules) -> Outcome {
    let y = Wide::of(x).times(LN_2);
    let sum = series(y, |index, power| {
        let term = power.times(y).over(index + 1);
        (term, term)
    });
    sum.rounded(rules)
}

/// The natural logarithm of (1 + s) / (1 - s), halved.
fn half_logarithm(s: Wide) -> Wide {
    let square = s.square();
    series(s, |index, power| {
        let power = power.times(square);
        (power.over(2 * index + 1), power)
    })
}

/// The binary logarithm of a positive number: the exponent's part and the significand's.
fn binary_logarithm(x: Wide) -> Wide {
    const ROOT_2: u128 = 0xb504_f333_f9de_6484 << 64;
    let above = i32::from(x.significand > ROOT_2);
    let whole = Wide::of(super::from_integer((x.exponent + above).into()));
    let m = Wide { exponent: -above, ..x };
    let s = m.minus(Wide::ONE).divided_by(m.plus(Wide::ONE));
    if s.is_zero() {
        return whole;
    }
    whole.plus(half_logarithm(s).scaled(1).times(LOG2_E))
}

/// An exact result as if it were not: what is tiny underflows then.
fn counted_inexact(outcome: Outcome, rules: &Rules) -> Outcome {
    let number = outcome.number;
    let tiny = number.class == Class::Finite && number.exponent < rules.format.least;
    let underflow = if tiny { exception::UNDERFLOW } else { 0 };
    Outcome { flags: outcome.flags | exception::PRECISION | underflow, ..outcome }
}

/// FYL2X: `y * log2(x)` for positive `x` other than 1. Where `x` is a power of two the product is
/// one of numbers, but counts as inexact all the same.
pub(crate) fn logarithm(x: Number, y: Number, rules: &Rules) -> Outcome {
    if x.significand == 1 << 63 {
        let product = super::multiply(super::from_integer(x.exponent.into()), y, rules);
        return counted_inexact(product, rules);
    }
    binary_logarithm(Wide::of(x)).times(Wide::of(y)).rounded(rules)
}

/// FYL2XP1: `y * log2(x + 1)` for `x` near zero.
pub(crate) fn logarithm_plus_1(x: Number, y: Number, rules: &Rules) -> Outcome {
    let near = x.exponent < -2;
    let x = Wide::of(x);
    let logarithm = if near {
        let s = x.divided_by(x.plus(Wide::ONE.scaled(1)));
        half_logarithm(s).scaled(1).times(LOG2_E)
    } else {
        binary_logarithm(x.plus(Wide::ONE))
    };
    logarithm.times(Wide::of(y)).rounded(rules)
}

/// The arc tangent of `z` in [0, 1].
fn arc_tangent_of(z: Wide) -> Wide {
    // The nearest eighth.
    let eighths = match z.exponent {
        0.. => 8,
        -4..0 => ((z.significand >> (123 - z.exponent)) as usize + 1) >> 1,
        _ => 0,
    };
    let center = Wide::fixed(false, eighths as u128, 3);
    let rest = match eighths {
        0 => z,
        _ => z.minus(center).divided_by(Wide::ONE.plus(z.times(center))),
    };
    let table = ARC_TANGENTS.get(eighths).copied().unwrap_or(Wide::ZERO);
    if rest.is_zero() {
        return table;
    }
    let square = rest.square().negated();
    let sum = series(rest, |index, power| {
        let power = power.times(square);
        (power.over(2 * index + 1), power)
    });
    table.plus(sum)
}

/// FPATAN: the angle of the point (`x`, `y`), for operands that are not NaN, in all quadrants; zeros
/// and infinities included.
pub(crate) fn arc_tangent(y: Number, x: Number, rules: &Rules) -> Outcome {
    let negative = y.sign;
    let give = |angle: Wide| Wide { negative, ..angle }.rounded(rules);
    match (y.is_infinite(), x.is_infinite()) {
        (true, true) if x.sign => return give(PI.plus(PI.scaled(-1)).scaled(-1)),
        (true, true) => return give(PI.scaled(-2)),
        (true, false) => return give(PI.scaled(-1)),
        (false, true) if x.sign => return give(PI),
        (false, true) => return Outcome::exact(Number::zero(negative)),
        _ => {}
    }
    if y.is_zero() {
        return if x.sign { give(PI) } else { Outcome::exact(Number::zero(negative)) };
    }
    if x.is_zero() {
        return give(PI.scaled(-1));
    }
    let (height, width) = (Wide::of(y).magnitude(), Wide::of(x).magnitude());
    let steep = (height.exponent, height.significand) > (width.exponent, width.significand);
    let angle = if steep {
        PI.scaled(-1).minus(arc_tangent_of(width.divided_by(height)))
    } else {
        arc_tangent_of(height.divided_by(width))
    };
    give(if x.sign { reflected(angle, steep, height, width) } else { angle })
}

/// The angle left of the vertical axis.
fn reflected(angle: Wide, steep: bool, height: Wide, width: Wide) -> Wide {
    match steep {
        true => PI.scaled(-1).plus(arc_tangent_of(width.divided_by(height))),
        false => PI.minus(angle),
    }
}

/// An argument reduced to at most an eighth of the circle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Angle {
    rest: Wide,
    /// How many quarters were taken away, modulo 4.
    quarters: u32,
}

impl Angle {
    /// Reduces `x`, with |x| < 2^63, by the 66-bit value of pi that all x87 processors use.
    pub(crate) fn reduce(x: Number) -> Angle {
        /// Half of pi in units of 2^-67.
        const QUARTER: u128 = 0xc_90fd_aa22_168c_234c;
        const STEP: i32 = 59;
        if x.exponent < -1 || x.is_zero() {
            return Angle { rest: Wide::of(x), quarters: 0 };
        }
        let mut doublings = x.exponent + 4;
        let first = doublings.min(STEP);
        let dividend = u128::from(x.significand) << first;
        let (mut rest, mut quotient) = (dividend % QUARTER, dividend / QUARTER);
        doublings -= first;
        if doublings > 0 {
            let dividend = rest << doublings;
            quotient = (quotient << doublings).wrapping_add(dividend / QUARTER);
            rest = dividend % QUARTER;
        }
        let beyond = rest > QUARTER / 2;
        if beyond {
            rest = QUARTER - rest;
            quotient += 1;
        }
        let quarters = (quotient & 3) as u32;
        let quarters = if x.sign { quarters.wrapping_neg() & 3 } else { quarters };
        Angle { rest: Wide::fixed(x.sign != beyond, rest, 67), quarters }
    }

    fn sine_of_rest(&self) -> Wide {
        let square = self.rest.square().negated();
        series(self.rest, |index, power| {
            let term = power.times(square).over(2 * index * (2 * index + 1));
            (term, term)
        })
    }

    fn cosine_of_rest(&self) -> Wide {
        let square = self.rest.square().negated();
        series(Wide::ONE, |index, power| {
            let term = power.times(square).over(2 * index * (2 * index - 1));
            (term, term)
        })
    }

    fn sine(&self) -> Wide {
        match self.quarters & 3 {
            0 => self.sine_of_rest(),
            1 => self.cosine_of_rest(),
            2 => self.sine_of_rest().negated(),
            _ => self.cosine_of_rest().negated(),
        }
    }

    fn cosine(&self) -> Wide {
        Angle { quarters: self.quarters + 1, ..*self }.sine()
    }
}

/// FSIN of a reduced argument.
pub(crate) fn sine(angle: &Angle, rules: &Rules) -> Outcome {
    angle.sine().rounded(rules)
}

/// FCOS.
pub(crate) fn cosine(angle: &Angle, rules: &Rules) -> Outcome {
    angle.cosine().rounded(rules)
}

/// FPTAN.
pub(crate) fn tangent(angle: &Angle, rules: &Rules) -> Outcome {
    angle.sine().divided_by(angle.cosine()).rounded(rules)
}
