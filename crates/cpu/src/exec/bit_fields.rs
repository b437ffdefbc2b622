//! BMI1 and BMI2: ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, MULX, PDEP, PEXT, RORX, SARX, SHLX, SHRX (Intel
//! SDM vol. 2).
//!
//! Those of BMI1 and BZHI set SF, ZF and CF as each says and clear OF. Undefined flags are as AMD's
//! processors have them: PF follows the result, AF is cleared, but set by BEXTR. MULX, PDEP, PEXT and the shifts set no flag. All are encoded with VEX, which
//! real and v8086 mode do not have.

use iced_x86::{Instruction, Mnemonic};

use super::{
    operands::{read_register, size, write_register},
    system::protected_only,
};
use crate::{Bus, Core, Exec, Handler, Op, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match size(instruction, 0) {
        4 => of_width::<B, u32>(instruction),
        8 => of_width::<B, u64>(instruction),
        _ => None,
    }
}

fn of_width<B: Bus, W: Width>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Andn => andn::<B, W>,
        Mnemonic::Bextr => bextr::<B, W>,
        Mnemonic::Blsi => lowest::<B, W, Isolate>,
        Mnemonic::Blsmsk => lowest::<B, W, Mask>,
        Mnemonic::Blsr => lowest::<B, W, Reset>,
        Mnemonic::Bzhi => bzhi::<B, W>,
        Mnemonic::Mulx => mulx::<B, W>,
        Mnemonic::Pdep => without_flags::<B, W, Deposit>,
        Mnemonic::Pext => without_flags::<B, W, Extract>,
        Mnemonic::Rorx => without_flags::<B, W, RotateRight>,
        Mnemonic::Sarx => without_flags::<B, W, ShiftArithmetic>,
        Mnemonic::Shlx => without_flags::<B, W, ShiftLeft>,
        Mnemonic::Shrx => without_flags::<B, W, ShiftRight>,
        _ => return None,
    })
}

fn andn<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let first: W = read_register(core, op.src);
    let second: W = core.load(bus, op, op.third)?;
    let result = W::from_u64(!first.to_u64() & second.to_u64());
    write_register(core, op.dst, result);
    core.state.flags.set_logic(result);
    Ok(())
}

/// The low `count` bits.
fn low_bits(count: u32) -> u64 {
    1_u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1)
}

/// Bits 0-7 of the second source say where the field begins, bits 8-15 how long it is.
fn bextr<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let value = core.load::<W, B>(bus, op, op.src)?.to_u64();
    let control = read_register::<W>(core, op.third).to_u64();
    let (start, length) = (control as u8, (control >> 8) as u8);
    let field = value.checked_shr(start.into()).unwrap_or(0) & low_bits(length.into());
    let result = W::from_u64(field);
    write_register(core, op.dst, result);
    core.state.flags.set_logic(result);
    core.state.flags.set_adjust(true);
    Ok(())
}

/// What is done with the lowest bit that is set.
trait Lowest {
    /// The result, and CF.
    fn apply(value: u64) -> (u64, bool);
}

struct Isolate;
struct Mask;
struct Reset;

impl Lowest for Isolate {
    fn apply(value: u64) -> (u64, bool) {
        (value & value.wrapping_neg(), value != 0)
    }
}

impl Lowest for Mask {
    fn apply(value: u64) -> (u64, bool) {
        (value ^ value.wrapping_sub(1), value == 0)
    }
}

impl Lowest for Reset {
    fn apply(value: u64) -> (u64, bool) {
        (value & value.wrapping_sub(1), value == 0)
    }
}

fn lowest<B: Bus, W: Width, Operation: Lowest>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let value: W = core.load(bus, op, op.src)?;
    let (result, carry) = Operation::apply(value.to_u64());
    let result = W::from_u64(result);
    write_register(core, op.dst, result);
    core.state.flags.set_result(result, carry, false);
    Ok(())
}

/// Bits 0-7 of the second source: the first bit to clear; CF when there is none.
fn bzhi<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let value = core.load::<W, B>(bus, op, op.src)?.to_u64();
    let first = u32::from(read_register::<W>(core, op.third).to_u64() as u8);
    let result = W::from_u64(value & low_bits(first));
    write_register(core, op.dst, result);
    core.state.flags.set_result(result, first >= W::BITS, false);
    Ok(())
}

/// RDX times the source; with both halves to the same register the upper one stays.
fn mulx<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let a = W::from_u64(core.register(gpr::RDX)).to_u64();
    let b = core.load::<W, B>(bus, op, op.third)?.to_u64();
    let product = u128::from(a) * u128::from(b);
    write_register(core, op.src, W::from_u64(product as u64));
    write_register(core, op.dst, W::from_u64((product >> W::BITS) as u64));
    Ok(())
}

/// What two sources make, without a flag.
trait Operation {
    fn apply<W: Width>(first: W, second: W) -> W;
}

struct Deposit;
struct Extract;
struct RotateRight;
struct ShiftArithmetic;
struct ShiftLeft;
struct ShiftRight;

/// The numbers of the bits set in `mask`, lowest first.
fn set_bits(mask: u64) -> impl Iterator<Item = u32> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let number = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (number < 64).then_some(number)
    })
}

impl Operation for Deposit {
    fn apply<W: Width>(first: W, second: W) -> W {
        let value = first.to_u64();
        let places = (0..).zip(set_bits(second.to_u64()));
        W::from_u64(places.fold(0, |all, (from, to): (u32, u32)| all | (value >> from & 1) << to))
    }
}

impl Operation for Extract {
    fn apply<W: Width>(first: W, second: W) -> W {
        let value = first.to_u64();
        let places = (0..).zip(set_bits(second.to_u64()));
        W::from_u64(places.fold(0, |all, (to, from): (u32, u32)| all | (value >> from & 1) << to))
    }
}

/// A count modulo the width.
fn count<W: Width>(value: W) -> u32 {
    value.to_u64() as u32 & (W::BITS - 1)
}

impl Operation for RotateRight {
    fn apply<W: Width>(first: W, second: W) -> W {
        let (value, count) = (first.to_u64(), count(second));
        W::from_u64(value >> count | value << ((W::BITS - count) & (W::BITS - 1)))
    }
}

impl Operation for ShiftArithmetic {
    fn apply<W: Width>(first: W, second: W) -> W {
        W::from_u64((first.to_i64() >> count(second)) as u64)
    }
}

impl Operation for ShiftLeft {
    fn apply<W: Width>(first: W, second: W) -> W {
        W::from_u64(first.to_u64() << count(second))
    }
}

impl Operation for ShiftRight {
    fn apply<W: Width>(first: W, second: W) -> W {
        W::from_u64(first.to_u64() >> count(second))
    }
}

/// One of the sources may be in memory.
fn without_flags<B: Bus, W: Width, How: Operation>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let first: W = core.load(bus, op, op.src)?;
    let second: W = core.load(bus, op, op.third)?;
    write_register(core, op.dst, How::apply(first, second));
    Ok(())
}
