//! ADD, ADC, ADCX, ADOX, SUB, SBB, CMP, INC, DEC, NEG, XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B (Intel SDM vol. 2).
//!
//! All set OF, SF, ZF, AF, CF and PF from the result, but INC and DEC leave CF alone, CMPXCHG8B and
//! CMPXCHG16B set ZF only, ADCX CF only and ADOX OF only.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{
    Imm, Kind, Mem, Operation, Reg, binary, read_register, size, unary, write_part, write_register,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand, flags::Flags, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Add => binary!(instruction, compute, Add),
        Mnemonic::Adc => binary!(instruction, compute, AddCarry),
        Mnemonic::Sub => binary!(instruction, compute, Subtract),
        Mnemonic::Sbb => binary!(instruction, compute, SubtractBorrow),
        Mnemonic::Cmp => binary!(instruction, compare, Compare),
        Mnemonic::Inc => unary!(instruction, change, Increment),
        Mnemonic::Dec => unary!(instruction, change, Decrement),
        Mnemonic::Neg => unary!(instruction, change, Negate),
        Mnemonic::Xadd => unary!(instruction, xadd),
        Mnemonic::Cmpxchg => unary!(instruction, cmpxchg),
        Mnemonic::Cmpxchg8b => Some(cmpxchg8b::<B>),
        Mnemonic::Adcx => chains::<B, Carry>(instruction),
        Mnemonic::Adox => chains::<B, Overflow>(instruction),
        Mnemonic::Cmpxchg16b => Some(cmpxchg16b::<B>),
        _ => None,
    }
}

pub(super) struct Add;
pub(super) struct AddCarry;
pub(super) struct Subtract;
pub(super) struct SubtractBorrow;
pub(super) struct Compare;
pub(super) struct Increment;
pub(super) struct Decrement;
pub(super) struct Negate;

impl Operation for Add {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        let sum = a.wrapping_add(b);
        flags.set_add(a, b, sum);
        sum
    }
}

impl Operation for AddCarry {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        let carry = W::from_u64(u64::from(flags.carry()));
        let sum = a.wrapping_add(b).wrapping_add(carry);
        flags.set_add_carry(a, b, sum);
        sum
    }
}

impl Operation for Subtract {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        let difference = a.wrapping_sub(b);
        flags.set_sub(a, b, difference);
        difference
    }
}

impl Operation for Compare {
    const WRITES: bool = false;

    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        Subtract::apply(flags, a, b)
    }
}

impl Operation for SubtractBorrow {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        let borrow = W::from_u64(u64::from(flags.carry()));
        let difference = a.wrapping_sub(b).wrapping_sub(borrow);
        flags.set_sub_borrow(a, b, difference);
        difference
    }
}

#[inline(always)]
pub(super) fn compute<B: Bus, W: Width, Destination: Kind, Source: Kind, O: Operation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    Source::take(core, bus, op, op.src, |core, bus, b: W| {
        Destination::update(core, bus, op, op.dst, |flags, a| O::apply(flags, a, b))
    })
}

/// As [`compute`], of which only the flags stay.
#[inline(always)]
pub(super) fn compare<B: Bus, W: Width, Destination: Kind, Source: Kind, O: Operation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    Destination::take(core, bus, op, op.dst, |core, bus, a: W| {
        Source::take(core, bus, op, op.src, |core, _, b: W| {
            O::apply(&mut core.state.flags, a, b);
            Ok(())
        })
    })
}

impl Operation for Increment {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, _b: W) -> W {
        let result = a.wrapping_add(W::from_u64(1));
        flags.set_inc(result);
        result
    }
}

impl Operation for Decrement {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, _b: W) -> W {
        let result = a.wrapping_sub(W::from_u64(1));
        flags.set_dec(result);
        result
    }
}

impl Operation for Negate {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, _b: W) -> W {
        Subtract::apply(flags, W::default(), a)
    }
}

#[inline(always)]
pub(super) fn change<B: Bus, W: Width, Destination: Kind, O: Operation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    Destination::update(core, bus, op, op.dst, |flags, a: W| O::apply(flags, a, W::default()))
}

/// XADD: the sum goes to the destination, what was there to the source register. With both the
/// same register the sum is what stays, because the destination is written last.
fn xadd<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let b: W = read_register(core, op.src);
    let mut before = W::default();
    Destination::update(core, bus, op, op.dst, |flags, a: W| {
        before = a;
        Add::apply(flags, a, b)
    })?;
    if op.src != op.dst {
        write_register(core, op.src, before);
    }
    Ok(())
}

/// CMPXCHG: memory is written in either case, with its own value when the comparison fails, so that it
/// must always be writable. Of a register that is not equal the upper half stays, as silicon has it.
fn cmpxchg<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let new: W = read_register(core, op.src);
    let accumulator = W::from_u64(core.register(gpr::RAX));
    let mut before = W::default();
    let whole = (op.dst != Operand::MEMORY && W::BYTES == 4).then(|| core.general(op.dst.number));
    Destination::update(core, bus, op, op.dst, |flags, current: W| {
        before = current;
        flags.set_sub(accumulator, current, accumulator.wrapping_sub(current));
        if accumulator == current { new } else { current }
    })?;
    if accumulator != before {
        if let Some(value) = whole {
            core.set_general(op.dst.number, value);
        }
        write_part(core, gpr::RAX, before);
    }
    Ok(())
}

/// CMPXCHG8B: EDX:EAX is compared, ECX:EBX stored.
fn cmpxchg8b<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let pair =
        |core: &Core, high: u8, low: u8| (core.register(high) << 32) | (core.register(low) & 0xffff_ffff);
    let expected = pair(core, gpr::RDX, gpr::RAX);
    let new = pair(core, gpr::RCX, gpr::RBX);
    let mut before = 0;
    Mem::update(core, bus, op, op.dst, |flags, current: u64| {
        before = current;
        flags.set_zero(current == expected);
        if current == expected { new } else { current }
    })?;
    if before != expected {
        write_part(core, gpr::RAX, before as u32);
        write_part(core, gpr::RDX, (before >> 32) as u32);
    }
    Ok(())
}

/// CMPXCHG16B: RDX:RAX is compared, RCX:RBX stored; the operand must be aligned.
fn cmpxchg16b<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let at = core.effective_address(op);
    let segment = op.memory.segment;
    core.aligned(segment, at, 16)?;
    // Both halves are on one page.
    let low = core.update_at::<u64, B>(bus, segment, at)?;
    let high = core.update_at::<u64, B>(bus, segment, at.wrapping_add(8))?;
    let before = (core.place_load::<u64, B>(bus, &low), core.place_load::<u64, B>(bus, &high));
    let equal = before == (core.register(gpr::RAX), core.register(gpr::RDX));
    let new = if equal { (core.register(gpr::RBX), core.register(gpr::RCX)) } else { before };
    core.place_store(bus, &low, new.0);
    core.place_store(bus, &high, new.1);
    if !equal {
        core.set_register(gpr::RAX, before.0);
        core.set_register(gpr::RDX, before.1);
    }
    core.state.flags.set_zero(equal);
    Ok(())
}

/// The flag a chain of additions goes through.
trait Chain {
    fn get(flags: &Flags) -> bool;
    fn set(flags: &mut Flags, value: bool);
}

struct Carry;
struct Overflow;

impl Chain for Carry {
    fn get(flags: &Flags) -> bool {
        flags.carry()
    }

    fn set(flags: &mut Flags, value: bool) {
        flags.set_carry(value);
    }
}

impl Chain for Overflow {
    fn get(flags: &Flags) -> bool {
        flags.overflow()
    }

    fn set(flags: &mut Flags, value: bool) {
        flags.set_overflow(value);
    }
}

fn chains<B: Bus, Through: Chain>(instruction: &Instruction) -> Option<Handler<B>> {
    match size(instruction, 0) {
        4 => Some(chain::<B, u32, Through>),
        8 => Some(chain::<B, u64, Through>),
        _ => None,
    }
}

/// ADCX and ADOX: the carry comes from one flag and goes to it; all others stay.
fn chain<B: Bus, W: Width, Through: Chain>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let a: W = read_register(core, op.dst);
    let b: W = core.load(bus, op, op.src)?;
    let carry = u128::from(Through::get(&core.state.flags));
    let sum = u128::from(a.to_u64()) + u128::from(b.to_u64()) + carry;
    write_register(core, op.dst, W::from_u64(sum as u64));
    Through::set(&mut core.state.flags, sum >> W::BITS != 0);
    Ok(())
}
