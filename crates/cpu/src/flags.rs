//! EFLAGS (Intel SDM vol. 1, 3.4.3): the six arithmetic flags are worked out only when asked for.
//!
//! An arithmetic instruction leaves two words behind: its sign-extended result, which gives ZF, SF
//! and PF, and its carries, which give CF, OF and AF. Most results are overwritten before any flag
//! is read, so nothing else is computed until then.

use serde::{Deserialize, Serialize};

use crate::width::Width;

/// Bit masks of EFLAGS.
pub mod bit {
    #![allow(missing_docs)]
    pub const CF: u32 = 1 << 0;
    /// Always one.
    pub const FIXED: u32 = 1 << 1;
    pub const PF: u32 = 1 << 2;
    pub const AF: u32 = 1 << 4;
    pub const ZF: u32 = 1 << 6;
    pub const SF: u32 = 1 << 7;
    pub const TF: u32 = 1 << 8;
    pub const IF: u32 = 1 << 9;
    pub const DF: u32 = 1 << 10;
    pub const OF: u32 = 1 << 11;
    pub const IOPL: u32 = 3 << 12;
    pub const NT: u32 = 1 << 14;
    pub const RF: u32 = 1 << 16;
    pub const VM: u32 = 1 << 17;
    pub const AC: u32 = 1 << 18;
    pub const VIF: u32 = 1 << 19;
    pub const VIP: u32 = 1 << 20;
    pub const ID: u32 = 1 << 21;
    /// The flags that arithmetic sets.
    pub const ARITHMETIC: u32 = CF | PF | AF | ZF | SF | OF;
    /// Every flag a P6 has.
    pub const ALL: u32 = ARITHMETIC | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;
}

/// `carries`: the carry out of the most significant bit, which is CF.
const CARRY_OUT: u64 = 1 << 63;
/// `carries`: the carry into it; OF is their difference.
const CARRY_IN: u64 = 1 << 62;
/// `carries`: the carry out of bit 3, which is AF.
const CARRY_NIBBLE: u64 = 1 << 3;
/// `carries`: PF is the opposite of what `result` says.
const FLIP_PARITY: u64 = 1 << 1;
/// `carries`: SF is the opposite of what `result` says.
const FLIP_SIGN: u64 = 1 << 0;

/// EFLAGS. Two values are equal when [`Flags::bits`] are, whatever they were computed from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct Flags {
    /// Everything that is not arithmetic, and bit 1.
    system: u32,
    /// The sign-extended result of the last instruction that set ZF, SF and PF.
    result: u64,
    /// CF, OF and AF, and corrections to SF and PF where they contradict `result`.
    carries: u64,
}

impl Default for Flags {
    fn default() -> Self {
        Flags::from(0)
    }
}

impl PartialEq for Flags {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Flags {}

impl From<u32> for Flags {
    fn from(bits: u32) -> Self {
        let mut flags = Flags { system: bit::FIXED, result: 0, carries: 0 };
        flags.set_bits(bits);
        flags
    }
}

impl From<Flags> for u32 {
    fn from(flags: Flags) -> Self {
        flags.bits()
    }
}

macro_rules! system_flags {
    ($($(#[$doc:meta])* $name:ident, $set:ident, $mask:expr;)*) => {
        impl Flags {
            $(
                $(#[$doc])*
                #[must_use]
                #[inline(always)]
                pub fn $name(&self) -> bool {
                    self.system & $mask != 0
                }

                $(#[$doc])*
                #[inline(always)]
                pub fn $set(&mut self, value: bool) {
                    if value {
                        self.system |= $mask;
                    } else {
                        self.system &= !$mask;
                    }
                }
            )*
        }
    };
}

system_flags! {
    /// TF: single-step.
    trap, set_trap, bit::TF;
    /// IF: maskable interrupts are taken.
    interrupt, set_interrupt, bit::IF;
    /// DF: strings go downwards.
    direction, set_direction, bit::DF;
    /// NT: IRET returns through the task link.
    nested_task, set_nested_task, bit::NT;
    /// RF: instruction breakpoints are held off for one instruction.
    resume, set_resume, bit::RF;
    /// VM: virtual-8086 mode.
    virtual_8086, set_virtual_8086, bit::VM;
    /// AC: alignment check.
    alignment_check, set_alignment_check, bit::AC;
    /// VIF: virtual interrupt flag.
    virtual_interrupt, set_virtual_interrupt, bit::VIF;
    /// VIP: virtual interrupt pending.
    virtual_interrupt_pending, set_virtual_interrupt_pending, bit::VIP;
    /// ID: CPUID exists.
    identification, set_identification, bit::ID;
}

impl Flags {
    /// All of EFLAGS; bit 1 is always set.
    #[must_use]
    #[inline]
    pub fn bits(&self) -> u32 {
        self.system | self.arithmetic()
    }

    /// Sets all of EFLAGS; bits a P6 does not have are dropped.
    #[inline]
    pub fn set_bits(&mut self, bits: u32) {
        self.system = (bits & bit::ALL & !bit::ARITHMETIC) | bit::FIXED;
        self.set_arithmetic(bits);
    }

    /// CF, PF, AF, ZF, SF and OF, in place.
    #[must_use]
    #[inline]
    pub fn arithmetic(&self) -> u32 {
        u32::from(self.carry())
            | u32::from(self.parity()) << 2
            | u32::from(self.adjust()) << 4
            | u32::from(self.zero()) << 6
            | u32::from(self.sign()) << 7
            | u32::from(self.overflow()) << 11
    }

    /// Sets CF, PF, AF, ZF, SF and OF from `bits`, leaving the other flags alone.
    #[inline]
    pub fn set_arithmetic(&mut self, bits: u32) {
        let carry = u64::from(bits & bit::CF != 0);
        let overflow = u64::from(bits & bit::OF != 0);
        let adjust = u64::from(bits & bit::AF != 0);
        self.carries = (carry << 63) | ((carry ^ overflow) << 62) | (adjust << 3);
        self.set_zero_sign_parity(bits & bit::ZF != 0, bits & bit::SF != 0, bits & bit::PF != 0);
    }

    /// IOPL, 0-3.
    #[must_use]
    #[inline(always)]
    pub fn iopl(&self) -> u8 {
        ((self.system >> 12) & 3) as u8
    }

    /// Sets IOPL.
    #[inline(always)]
    pub fn set_iopl(&mut self, level: u8) {
        self.system = (self.system & !bit::IOPL) | (u32::from(level & 3) << 12);
    }

    /// CF.
    #[must_use]
    #[inline(always)]
    pub fn carry(&self) -> bool {
        self.carries & CARRY_OUT != 0
    }

    /// PF: the low byte of the result has an even number of ones.
    #[must_use]
    #[inline(always)]
    pub fn parity(&self) -> bool {
        let odd = (self.result as u8).count_ones() & 1 != 0;
        odd == (self.carries & FLIP_PARITY != 0)
    }

    /// AF.
    #[must_use]
    #[inline(always)]
    pub fn adjust(&self) -> bool {
        self.carries & CARRY_NIBBLE != 0
    }

    /// ZF.
    #[must_use]
    #[inline(always)]
    pub fn zero(&self) -> bool {
        self.result == 0
    }

    /// SF.
    #[must_use]
    #[inline(always)]
    pub fn sign(&self) -> bool {
        (self.result >> 63) ^ (self.carries & FLIP_SIGN) != 0
    }

    /// OF.
    #[must_use]
    #[inline(always)]
    pub fn overflow(&self) -> bool {
        (self.carries ^ (self.carries << 1)) & CARRY_OUT != 0
    }

    /// Sets CF alone.
    #[inline(always)]
    pub fn set_carry(&mut self, value: bool) {
        // Both carries turn over together, so that OF stays.
        if self.carry() != value {
            self.carries ^= CARRY_OUT | CARRY_IN;
        }
    }

    /// Sets OF alone.
    #[inline(always)]
    pub fn set_overflow(&mut self, value: bool) {
        if self.overflow() != value {
            self.carries ^= CARRY_IN;
        }
    }

    /// Sets AF alone.
    #[inline(always)]
    pub fn set_adjust(&mut self, value: bool) {
        self.carries = (self.carries & !CARRY_NIBBLE) | (u64::from(value) << 3);
    }

    /// Sets PF alone.
    #[inline]
    pub fn set_parity(&mut self, value: bool) {
        if self.parity() != value {
            self.carries ^= FLIP_PARITY;
        }
    }

    /// Sets SF alone.
    #[inline]
    pub fn set_sign(&mut self, value: bool) {
        if self.sign() != value {
            self.carries ^= FLIP_SIGN;
        }
    }

    /// Sets ZF alone.
    #[inline]
    pub fn set_zero(&mut self, value: bool) {
        if self.zero() != value {
            let (sign, parity) = (self.sign(), self.parity());
            self.set_zero_sign_parity(value, sign, parity);
        }
    }

    fn set_zero_sign_parity(&mut self, zero: bool, sign: bool, parity: bool) {
        // Zero stands for ZF=1, SF=0, PF=1; one for ZF=0, SF=0, PF=0. The flips say the rest.
        self.result = u64::from(!zero);
        self.carries =
            (self.carries & !(FLIP_SIGN | FLIP_PARITY)) | u64::from(sign) | (u64::from(parity != zero) << 1);
    }

    /// Whether condition `code` holds: the low four bits of Jcc, SETcc and CMOVcc opcodes (Intel
    /// SDM vol. 1, appendix B).
    #[must_use]
    #[inline(always)]
    pub fn condition(&self, code: u8) -> bool {
        let holds = match (code >> 1) & 7 {
            0 => self.overflow(),
            1 => self.carry(),
            2 => self.zero(),
            3 => self.carry() | self.zero(),
            4 => self.sign(),
            5 => self.parity(),
            6 => self.sign() ^ self.overflow(),
            _ => (self.sign() ^ self.overflow()) | self.zero(),
        };
        holds ^ (code & 1 != 0)
    }

    #[inline(always)]
    fn set<W: Width>(&mut self, result: W, carries: u64) {
        self.result = result.to_i64() as u64;
        self.carries = ((carries << (64 - W::BITS)) & (CARRY_OUT | CARRY_IN)) | (carries & CARRY_NIBBLE);
    }

    /// After `sum = a + b`.
    #[inline(always)]
    pub fn set_add<W: Width>(&mut self, a: W, b: W, sum: W) {
        let (a, b) = (a.to_u64(), b.to_u64());
        self.set(sum, (a & b) | ((a | b) & !sum.to_u64()));
    }

    /// After `sum = a + b + CF`: the carries follow from the three numbers alone.
    #[inline(always)]
    pub fn set_add_carry<W: Width>(&mut self, a: W, b: W, sum: W) {
        self.set_add(a, b, sum);
    }

    /// After `difference = a - b`.
    #[inline(always)]
    pub fn set_sub<W: Width>(&mut self, a: W, b: W, difference: W) {
        let (a, b) = (a.to_u64(), b.to_u64());
        self.set(difference, (!a & b) | ((!a | b) & difference.to_u64()));
    }

    /// After `difference = a - b - CF`: the borrows follow from the three numbers alone.
    #[inline(always)]
    pub fn set_sub_borrow<W: Width>(&mut self, a: W, b: W, difference: W) {
        self.set_sub(a, b, difference);
    }

    /// After AND, OR, XOR, TEST: CF and OF are clear; AF, undefined, is cleared too, as on AMD's
    /// and Intel's processors.
    #[inline(always)]
    pub fn set_logic<W: Width>(&mut self, result: W) {
        self.result = result.to_i64() as u64;
        self.carries = 0;
    }

    /// ZF, SF and PF from `result`; CF and OF as given; AF, undefined, cleared.
    #[inline(always)]
    pub fn set_result<W: Width>(&mut self, result: W, carry: bool, overflow: bool) {
        self.result = result.to_i64() as u64;
        self.carries = (u64::from(carry) << 63) | (u64::from(carry ^ overflow) << 62);
    }

    /// After a comparison of floating-point numbers: ZF, PF and CF, all three when unordered (`None`);
    /// OF, SF and AF are cleared.
    pub fn set_comparison(&mut self, relation: Option<std::cmp::Ordering>) {
        self.set_arithmetic(match relation {
            Some(std::cmp::Ordering::Greater) => 0,
            Some(std::cmp::Ordering::Less) => bit::CF,
            Some(std::cmp::Ordering::Equal) => bit::ZF,
            None => bit::ZF | bit::PF | bit::CF,
        });
    }

    /// After INC, which leaves CF alone.
    #[inline(always)]
    pub fn set_inc<W: Width>(&mut self, result: W) {
        let lowest = u64::from(result.to_u64() == 1 << (W::BITS - 1));
        let carry = self.carries >> 63;
        let adjust = u64::from(result.to_u64() & 0xf == 0);
        self.result = result.to_i64() as u64;
        self.carries = (carry << 63) | ((carry ^ lowest) << 62) | (adjust << 3);
    }

    /// After DEC, which leaves CF alone.
    #[inline(always)]
    pub fn set_dec<W: Width>(&mut self, result: W) {
        let highest = u64::from(result.to_u64() == (1 << (W::BITS - 1)) - 1);
        let carry = self.carries >> 63;
        let adjust = u64::from(result.to_u64() & 0xf == 0xf);
        self.result = result.to_i64() as u64;
        self.carries = (carry << 63) | ((carry ^ highest) << 62) | (adjust << 3);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// EFLAGS after an 8-bit addition or subtraction, by the definition of each flag.
    fn by_definition(a: u8, b: u8, carry: bool, subtract: bool) -> u32 {
        let (a, b, c) = (i32::from(a), i32::from(b), i32::from(carry));
        let sign = if subtract { -1 } else { 1 };
        let wide = a + sign * (b + c);
        let nibble = (a & 0xf) + sign * ((b & 0xf) + c);
        let signed = i32::from(a as u8 as i8) + sign * (i32::from(b as u8 as i8) + c);
        let result = wide as u8;
        let mut bits = 0;
        for (mask, set) in [
            (bit::CF, !(0..=0xff).contains(&wide)),
            (bit::PF, result.count_ones().is_multiple_of(2)),
            (bit::AF, !(0..=0xf).contains(&nibble)),
            (bit::ZF, result == 0),
            (bit::SF, result & 0x80 != 0),
            (bit::OF, !(-128..=127).contains(&signed)),
        ] {
            if set {
                bits |= mask;
            }
        }
        bits
    }

    #[rstest]
    fn every_byte_pair(#[values(0, u32::MAX)] start: u32, #[values(false, true)] subtract: bool) {
        for (a, b) in (0..=0xffu8).flat_map(|a| (0..=0xffu8).map(move |b| (a, b))) {
            for carry in [false, true] {
                let mut flags = Flags::from(start);
                let expect = by_definition(a, b, carry, subtract);
                if subtract {
                    let difference = u8::wrapping_sub(a, b).wrapping_sub(u8::from(carry));
                    flags.set_sub_borrow(a, b, difference);
                } else {
                    flags.set_add_carry(a, b, u8::wrapping_add(a, b).wrapping_add(u8::from(carry)));
                }
                assert_eq!(flags.arithmetic(), expect, "{a:#x} {b:#x} {carry}");
                let system = Flags::from(start).bits() & !bit::ARITHMETIC;
                assert_eq!(flags.bits() & !bit::ARITHMETIC, system);
            }
        }
    }

    #[rstest]
    fn inc_and_dec_are_add_and_sub_but_for_carry(#[values(0, u32::MAX)] start: u32) {
        for a in 0..=0xffu8 {
            let mut flags = Flags::from(start);
            flags.set_inc(u8::wrapping_add(a, 1));
            let expect = by_definition(a, 1, false, false) & !bit::CF | start & bit::CF;
            assert_eq!(flags.arithmetic(), expect, "inc {a:#x}");
            flags = Flags::from(start);
            flags.set_dec(u8::wrapping_sub(a, 1));
            let expect = by_definition(a, 1, false, true) & !bit::CF | start & bit::CF;
            assert_eq!(flags.arithmetic(), expect, "dec {a:#x}");
        }
    }

    #[rstest]
    #[case::reserved_bits_are_dropped(u32::MAX, 0x003f_7fd7)]
    #[case::bit_one_is_fixed(0, 2)]
    #[case::odd_combination(bit::ZF | bit::SF, bit::ZF | bit::SF | 2)]
    fn raw_bits(#[case] set: u32, #[case] expect: u32) {
        assert_eq!(Flags::from(set).bits(), expect);
    }

    /// A condition by the flags' definitions in the manual's table.
    fn condition_by_table(bits: u32, code: u8) -> bool {
        let is = |mask| bits & mask != 0;
        match code {
            0 => is(bit::OF),
            2 => is(bit::CF),
            4 => is(bit::ZF),
            6 => is(bit::CF | bit::ZF),
            8 => is(bit::SF),
            10 => is(bit::PF),
            12 => is(bit::SF) != is(bit::OF),
            14 => is(bit::ZF) || is(bit::SF) != is(bit::OF),
            odd => !condition_by_table(bits, odd - 1),
        }
    }

    proptest! {
        #[test]
        fn bits_survive(bits: u32) {
            let flags = Flags::from(bits);
            prop_assert_eq!(flags.bits(), bits & bit::ALL | bit::FIXED);
            prop_assert_eq!(Flags::from(flags.bits()), flags);
            for code in 0..16 {
                prop_assert_eq!(flags.condition(code), condition_by_table(bits, code));
            }
        }

        #[test]
        fn each_flag_is_set_alone(a: u32, b: u32, set: bool) {
            type Setter = fn(&mut Flags, bool);
            let setters: [(u32, Setter); 16] = [
                (bit::CF, Flags::set_carry),
                (bit::PF, Flags::set_parity),
                (bit::AF, Flags::set_adjust),
                (bit::ZF, Flags::set_zero),
                (bit::SF, Flags::set_sign),
                (bit::OF, Flags::set_overflow),
                (bit::TF, Flags::set_trap),
                (bit::IF, Flags::set_interrupt),
                (bit::DF, Flags::set_direction),
                (bit::NT, Flags::set_nested_task),
                (bit::RF, Flags::set_resume),
                (bit::VM, Flags::set_virtual_8086),
                (bit::AC, Flags::set_alignment_check),
                (bit::VIF, Flags::set_virtual_interrupt),
                (bit::VIP, Flags::set_virtual_interrupt_pending),
                (bit::ID, Flags::set_identification),
            ];
            for (mask, setter) in setters {
                let mut flags = Flags::from(b);
                flags.set_sub(a, b, u32::wrapping_sub(a, b));
                let before = flags.bits();
                setter(&mut flags, set);
                prop_assert_eq!(flags.bits(), if set { before | mask } else { before & !mask });
            }
        }
    }
}
