//! MUL, IMUL, DIV, IDIV (Intel SDM vol. 2).
//!
//! MUL and IMUL set CF and OF when the upper half matters. SF, ZF and PF are undefined and follow
//! the low half here, AF is cleared. DIV and IDIV leave all flags, undefined there, as they were.

use iced_x86::{Instruction, Mnemonic};

use super::{
    arithmetic::compute,
    operands::{Imm, Kind, Mem, Operation, Reg, binary, is_immediate, unary, write_part, write_register},
};
use crate::{Bus, Core, Exception, Exec, Handler, Op, flags::Flags, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match (instruction.mnemonic(), instruction.op_count()) {
        (Mnemonic::Mul, 1) => unary!(instruction, multiply, Unsigned),
        (Mnemonic::Imul, 1) => unary!(instruction, multiply, Signed),
        (Mnemonic::Imul, 2) => binary!(instruction, compute, Multiply),
        (Mnemonic::Imul, 3) if is_immediate(instruction, 2) => binary!(instruction, imul_three),
        (Mnemonic::Div, 1) => unary!(instruction, divide, Unsigned),
        (Mnemonic::Idiv, 1) => unary!(instruction, divide, Signed),
        _ => None,
    }
}

/// The accumulator pair: AX for bytes, otherwise DX:AX, EDX:EAX.
fn pair<W: Width>(core: &Core) -> (W, W) {
    let low = core.register(gpr::RAX);
    let high = if W::BYTES == 1 { low >> 8 } else { core.register(gpr::RDX) };
    (W::from_u64(high), W::from_u64(low))
}

fn set_pair<W: Width>(core: &mut Core, high: W, low: W) {
    if W::BYTES == 1 {
        write_part(core, gpr::RAX, ((high.to_u64() << 8) | low.to_u64()) as u16);
    } else {
        write_part(core, gpr::RAX, low);
        write_part(core, gpr::RDX, high);
    }
}

trait Signedness {
    /// The two halves of the product, high first, and whether the high one matters.
    fn multiply<W: Width>(a: W, b: W) -> (W, W, bool);
    /// Quotient and remainder, unless the quotient does not fit or the divisor is zero.
    fn divide<W: Width>(high: W, low: W, divisor: W) -> Option<(W, W)>;
}

struct Unsigned;
struct Signed;

impl Signedness for Unsigned {
    #[inline(always)]
    fn multiply<W: Width>(a: W, b: W) -> (W, W, bool) {
        let product = u128::from(a.to_u64()) * u128::from(b.to_u64());
        let high = (product >> W::BITS) as u64;
        (W::from_u64(high), W::from_u64(product as u64), high != 0)
    }

    #[inline(always)]
    fn divide<W: Width>(high: W, low: W, divisor: W) -> Option<(W, W)> {
        if high >= divisor {
            // The quotient would not fit; a divisor of zero is among these.
            return None;
        }
        if W::BYTES <= 4 {
            let (dividend, divisor) = ((high.to_u64() << (W::BITS % 64)) | low.to_u64(), divisor.to_u64());
            let quotient = dividend.checked_div(divisor)?;
            let remainder = dividend.checked_rem(divisor)?;
            return Some((W::from_u64(quotient), W::from_u64(remainder)));
        }
        let dividend = (u128::from(high.to_u64()) << W::BITS) | u128::from(low.to_u64());
        let divisor = u128::from(divisor.to_u64());
        let quotient = dividend.checked_div(divisor)?;
        let remainder = dividend.checked_rem(divisor)?;
        Some((W::from_u64(quotient as u64), W::from_u64(remainder as u64)))
    }
}

impl Signedness for Signed {
    #[inline(always)]
    fn multiply<W: Width>(a: W, b: W) -> (W, W, bool) {
        if W::BYTES <= 4 {
            let product = a.to_i64() * b.to_i64();
            let low = W::from_u64(product as u64);
            return (W::from_u64((product >> (W::BITS % 64)) as u64), low, low.to_i64() != product);
        }
        let product = i128::from(a.to_i64()) * i128::from(b.to_i64());
        let low = W::from_u64(product as u64);
        let high = W::from_u64((product >> W::BITS) as u64);
        (high, low, i128::from(low.to_i64()) != product)
    }

    #[inline(always)]
    fn divide<W: Width>(high: W, low: W, divisor: W) -> Option<(W, W)> {
        let dividend = (i128::from(high.to_i64()) << W::BITS) | i128::from(low.to_u64());
        let divisor = i128::from(divisor.to_i64());
        let quotient = dividend.checked_div(divisor)?;
        let remainder = dividend.checked_rem(divisor)?;
        let cut = W::from_u64(quotient as u64);
        (i128::from(cut.to_i64()) == quotient).then(|| (cut, W::from_u64(remainder as u64)))
    }
}

fn multiply<B: Bus, W: Width, Source: Kind, Sign: Signedness>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let b: W = Source::load(core, bus, op, op.dst)?;
    let (high, low, matters) = Sign::multiply(W::from_u64(core.register(gpr::RAX)), b);
    set_pair(core, high, low);
    core.state.flags.set_result(low, matters, matters);
    Ok(())
}

/// IMUL to its first operand.
pub(super) struct Multiply;

impl Operation for Multiply {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        let (_, low, matters) = Signed::multiply(a, b);
        flags.set_result(low, matters, matters);
        low
    }
}

fn imul_three<B: Bus, W: Width, Destination: Kind, Source: Kind>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let a: W = Source::load(core, bus, op, op.src)?;
    let product = Multiply::apply(&mut core.state.flags, a, W::from_u64(op.immediate));
    write_register(core, op.dst, product);
    Ok(())
}

fn divide<B: Bus, W: Width, Source: Kind, Sign: Signedness>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let divisor: W = Source::load(core, bus, op, op.dst)?;
    let (high, low) = pair::<W>(core);
    let (quotient, remainder) = Sign::divide(high, low, divisor).ok_or(Exception::DIVIDE)?;
    set_pair(core, remainder, quotient);
    Ok(())
}
