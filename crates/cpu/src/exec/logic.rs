//! AND, OR, XOR, NOT, TEST (Intel SDM vol. 2).
//!
//! CF and OF are cleared, SF, ZF and PF follow the result; AF is undefined and cleared here. NOT
//! sets no flag.

use iced_x86::{Instruction, Mnemonic};

use super::{
    arithmetic::{compare, compute},
    operands::{Imm, Kind, Mem, Operation, Reg, binary, unary},
};
use crate::{Bus, Core, Exec, Handler, Op, flags::Flags, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::And => binary!(instruction, compute, And),
        Mnemonic::Or => binary!(instruction, compute, Or),
        Mnemonic::Xor => binary!(instruction, compute, Xor),
        Mnemonic::Test => binary!(instruction, compare, Test),
        Mnemonic::Not => unary!(instruction, not),
        _ => None,
    }
}

pub(super) struct And;
pub(super) struct Or;
pub(super) struct Xor;
pub(super) struct Test;

impl Operation for And {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        flagged(flags, W::from_u64(a.to_u64() & b.to_u64()))
    }
}

impl Operation for Or {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        flagged(flags, W::from_u64(a.to_u64() | b.to_u64()))
    }
}

impl Operation for Xor {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        flagged(flags, W::from_u64(a.to_u64() ^ b.to_u64()))
    }
}

impl Operation for Test {
    const WRITES: bool = false;

    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        And::apply(flags, a, b)
    }
}

#[inline(always)]
fn flagged<W: Width>(flags: &mut Flags, result: W) -> W {
    flags.set_logic(result);
    result
}

#[inline(always)]
pub(super) fn not<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    Destination::update(core, bus, op, op.dst, |_, a: W| W::from_u64(!a.to_u64()))
}
