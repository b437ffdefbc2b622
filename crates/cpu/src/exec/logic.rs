//! AND, OR, XOR, NOT, TEST (Intel SDM vol. 2).
//!
//! CF and OF are cleared, SF, ZF and PF follow the result; AF is undefined and cleared here. NOT
//! sets no flag.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{Imm, Kind, Mem, Reg, binary, unary};
use crate::{Bus, Core, Exec, Handler, Op, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::And => binary!(instruction, compute, And),
        Mnemonic::Or => binary!(instruction, compute, Or),
        Mnemonic::Xor => binary!(instruction, compute, Xor),
        Mnemonic::Test => binary!(instruction, test),
        Mnemonic::Not => unary!(instruction, not),
        _ => None,
    }
}

pub(super) trait Binary {
    fn apply(a: u64, b: u64) -> u64;
}

pub(super) struct And;
struct Or;
pub(super) struct Xor;

impl Binary for And {
    #[inline(always)]
    fn apply(a: u64, b: u64) -> u64 {
        a & b
    }
}

impl Binary for Or {
    #[inline(always)]
    fn apply(a: u64, b: u64) -> u64 {
        a | b
    }
}

impl Binary for Xor {
    #[inline(always)]
    fn apply(a: u64, b: u64) -> u64 {
        a ^ b
    }
}

#[inline(always)]
pub(super) fn compute<B: Bus, W: Width, Destination: Kind, Source: Kind, Operation: Binary>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    Source::take(core, bus, op, op.src, |core, bus, b: W| {
        Destination::update(core, bus, op, op.dst, |flags, a: W| {
            let result = W::from_u64(Operation::apply(a.to_u64(), b.to_u64()));
            flags.set_logic(result);
            result
        })
    })
}

fn test<B: Bus, W: Width, Destination: Kind, Source: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    Destination::take(core, bus, op, op.dst, |core, bus, a: W| {
        Source::take(core, bus, op, op.src, |core, _, b: W| {
            core.state.flags.set_logic(W::from_u64(a.to_u64() & b.to_u64()));
            Ok(())
        })
    })
}

fn not<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    Destination::update(core, bus, op, op.dst, |_, a: W| W::from_u64(!a.to_u64()))
}
