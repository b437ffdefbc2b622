//! SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD (Intel SDM vol. 2).
//!
//! A P6 takes the count modulo 32; a count of zero changes nothing, flags included. Where the
//! manual leaves flags undefined: OF after counts above one follows the same rule as after one,
//! and AF is cleared by shifts, as current processors do. Rotates leave SF, ZF, AF and PF alone.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{Imm, Kind, Mem, Reg, binary, is_immediate, unary_wide};
use crate::{Bus, Core, Exec, Handler, Op, flags::Flags, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        // iced-x86 decodes the undocumented /6 as SAL: the same as SHL.
        Mnemonic::Shl | Mnemonic::Sal => binary!(instruction, shift, ShiftLeft),
        Mnemonic::Shr => binary!(instruction, shift, ShiftRight),
        Mnemonic::Sar => binary!(instruction, shift, ShiftArithmetic),
        Mnemonic::Rol => binary!(instruction, shift, RotateLeft),
        Mnemonic::Ror => binary!(instruction, shift, RotateRight),
        Mnemonic::Rcl => binary!(instruction, shift, RotateCarryLeft),
        Mnemonic::Rcr => binary!(instruction, shift, RotateCarryRight),
        Mnemonic::Shld if is_immediate(instruction, 2) => {
            unary_wide!(instruction, double_shift, Imm, DoubleLeft)
        }
        Mnemonic::Shld => unary_wide!(instruction, double_shift, Reg, DoubleLeft),
        Mnemonic::Shrd if is_immediate(instruction, 2) => {
            unary_wide!(instruction, double_shift, Imm, DoubleRight)
        }
        Mnemonic::Shrd => unary_wide!(instruction, double_shift, Reg, DoubleRight),
        _ => None,
    }
}

/// The count, as the instruction takes it.
#[inline(always)]
fn masked<W: Width>(count: u8) -> u32 {
    u32::from(count) & if W::BYTES == 8 { 0x3f } else { 0x1f }
}

/// What a shift makes of `a`; `count` is masked and never 0.
pub(super) trait Shift {
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W;
}

pub(super) struct ShiftLeft;
pub(super) struct ShiftRight;
pub(super) struct ShiftArithmetic;
struct RotateLeft;
struct RotateRight;
struct RotateCarryLeft;
struct RotateCarryRight;

impl Shift for ShiftLeft {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let last = W::from_u64(a.to_u64() << (count - 1));
        let result = last.wrapping_add(last);
        flags.set_result(result, last.sign(), last.sign() ^ result.sign());
        result
    }
}

impl Shift for ShiftRight {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let last = a.to_u64() >> (count - 1);
        let result = W::from_u64(last >> 1);
        // After a count of one this is the operand's own top bit, as documented.
        let overflow = result.sign() ^ result.bit(W::BITS - 2);
        flags.set_result(result, last & 1 != 0, overflow);
        result
    }
}

impl Shift for ShiftArithmetic {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let last = a.to_i64() >> (count - 1);
        let result = W::from_u64((last >> 1) as u64);
        flags.set_result(result, last & 1 != 0, false);
        result
    }
}

impl Shift for RotateLeft {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let count = count & (W::BITS - 1);
        let a = a.to_u64();
        // The two halves cannot overlap; with a count of zero both are the operand itself.
        let result = W::from_u64((a << count) | (a >> ((W::BITS - count) & (W::BITS - 1))));
        let carry = result.bit(0);
        flags.set_carry(carry);
        flags.set_overflow(carry ^ result.sign());
        result
    }
}

impl Shift for RotateRight {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let count = count & (W::BITS - 1);
        let a = a.to_u64();
        let result = W::from_u64((a >> count) | (a << ((W::BITS - count) & (W::BITS - 1))));
        flags.set_carry(result.sign());
        flags.set_overflow(result.sign() ^ result.bit(W::BITS - 2));
        result
    }
}

/// Rotates the operand and CF, above it, as one number of `BITS + 1` bits.
#[inline(always)]
fn rotate_with_carry<W: Width>(flags: &mut Flags, a: W, left: u32) -> W {
    let bits = W::BITS + 1;
    let wide = (u128::from(flags.carry()) << W::BITS) | u128::from(a.to_u64());
    let turned = if left == 0 { wide } else { (wide << left) | (wide >> (bits - left)) };
    flags.set_carry((turned >> W::BITS) & 1 != 0);
    W::from_u64(turned as u64)
}

impl Shift for RotateCarryLeft {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let result = rotate_with_carry(flags, a, count % (W::BITS + 1));
        flags.set_overflow(flags.carry() ^ result.sign());
        result
    }
}

impl Shift for RotateCarryRight {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        let bits = W::BITS + 1;
        let result = rotate_with_carry(flags, a, (bits - count % bits) % bits);
        flags.set_overflow(result.sign() ^ result.bit(W::BITS - 2));
        result
    }
}

#[inline(always)]
pub(super) fn shift<B: Bus, W: Width, Destination: Kind, Count: Kind, Operation: Shift>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let count = masked::<W>(Count::load(core, bus, op, op.src)?);
    if count == 0 {
        return unchanged::<B, W, Destination>(core, bus, op);
    }
    Destination::update(core, bus, op, op.dst, |flags, a: W| Operation::apply(flags, a, count))
}

/// A count of zero still reads and writes the operand, so that memory faults and code notices.
/// In a 32-bit register it changes nothing either way.
fn unchanged<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    Destination::update(core, bus, op, op.dst, |_, a: W| a)
}

/// What SHLD or SHRD makes of `a`, bits coming from `b`; `count` is masked and never 0.
trait DoubleShift {
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W, count: u32) -> W;
}

struct DoubleLeft;
struct DoubleRight;

/// Counts above 16 of the 16-bit forms are undefined: processors go on with the destination again,
/// as if it followed the source. That is the same shift with the two exchanged.
#[inline(always)]
fn beyond<W: Width>(a: W, b: W, count: u32) -> (u128, u128, u32) {
    let (a, b) = (u128::from(a.to_u64()), u128::from(b.to_u64()));
    if count > W::BITS { (b, a, count - W::BITS) } else { (a, b, count) }
}

impl DoubleShift for DoubleLeft {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W, count: u32) -> W {
        let (a, b, count) = beyond(a, b, count);
        let wide = (a << W::BITS) | b;
        let result = W::from_u64(((wide << count) >> W::BITS) as u64);
        let carry = (wide >> (2 * W::BITS - count)) & 1 != 0;
        flags.set_result(result, carry, carry ^ result.sign());
        result
    }
}

impl DoubleShift for DoubleRight {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W, count: u32) -> W {
        let (a, b, count) = beyond(a, b, count);
        let last = ((b << W::BITS) | a) >> (count - 1);
        let result = W::from_u64((last >> 1) as u64);
        flags.set_result(result, last & 1 != 0, result.sign() ^ result.bit(W::BITS - 2));
        result
    }
}

fn double_shift<B: Bus, W: Width, Destination: Kind, Count: Kind, Operation: DoubleShift>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let count = masked::<W>(Count::load(core, bus, op, op.third)?);
    if count == 0 {
        return unchanged::<B, W, Destination>(core, bus, op);
    }
    let b = Reg::load::<W, B>(core, bus, op, op.src)?;
    Destination::update(core, bus, op, op.dst, |flags, a: W| Operation::apply(flags, a, b, count))
}
