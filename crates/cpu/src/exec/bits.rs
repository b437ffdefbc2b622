//! BT, BTS, BTR, BTC, BSF, BSR, LZCNT, TZCNT, POPCNT, BSWAP (Intel SDM vol. 2).
//!
//! The bit tests set CF, the scans ZF; all other flags, undefined there, stay as they were, as on
//! AMD's processors. A scan of zero leaves its destination alone. LZCNT and TZCNT set CF and ZF,
//! clear SF, AF and PF, and leave OF; POPCNT sets ZF and clears all others.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{
    Kind, Mem, Reg, is_immediate, is_memory, read_register, size, unary_wide, write_register,
};
use crate::{Bus, Core, Exec, Handler, Op, flags::bit, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Bt => tests::<B, Test>(instruction),
        Mnemonic::Bts => tests::<B, Set>(instruction),
        Mnemonic::Btr => tests::<B, Reset>(instruction),
        Mnemonic::Btc => tests::<B, Complement>(instruction),
        Mnemonic::Bsf => scans::<B, Forward>(instruction),
        Mnemonic::Bsr => scans::<B, Reverse>(instruction),
        Mnemonic::Lzcnt => counts::<B, Leading>(instruction),
        Mnemonic::Tzcnt => counts::<B, Trailing>(instruction),
        Mnemonic::Popcnt => counts::<B, Population>(instruction),
        Mnemonic::Bswap => match size(instruction, 0) {
            2 => Some(bswap_16::<B>),
            4 => Some(bswap_32::<B>),
            8 => Some(bswap_64::<B>),
            _ => None,
        },
        _ => None,
    }
}

fn tests<B: Bus, Operation: BitOperation>(instruction: &Instruction) -> Option<Handler<B>> {
    if is_immediate(instruction, 1) {
        unary_wide!(instruction, by_immediate, Operation)
    } else if is_memory(instruction, 0) {
        match size(instruction, 0) {
            2 => Some(in_string::<B, u16, Operation>),
            4 => Some(in_string::<B, u32, Operation>),
            8 => Some(in_string::<B, u64, Operation>),
            _ => None,
        }
    } else {
        unary_wide!(instruction, by_register, Operation)
    }
}

trait BitOperation {
    /// BT only reads.
    const WRITES: bool = true;
    /// `value` with the bit in `mask` changed.
    fn apply(value: u64, mask: u64) -> u64;
}

struct Test;
struct Set;
struct Reset;
struct Complement;

impl BitOperation for Test {
    const WRITES: bool = false;
    fn apply(value: u64, _mask: u64) -> u64 {
        value
    }
}

impl BitOperation for Set {
    fn apply(value: u64, mask: u64) -> u64 {
        value | mask
    }
}

impl BitOperation for Reset {
    fn apply(value: u64, mask: u64) -> u64 {
        value & !mask
    }
}

impl BitOperation for Complement {
    fn apply(value: u64, mask: u64) -> u64 {
        value ^ mask
    }
}

/// Tests bit `index`, modulo the width, of a register or a memory operand.
fn operate<B: Bus, W: Width, Destination: Kind, Operation: BitOperation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    index: u64,
) -> Exec {
    let index = (index as u32) & (W::BITS - 1);
    if !Operation::WRITES {
        let value: W = Destination::load(core, bus, op, op.dst)?;
        core.state.flags.set_carry(value.bit(index));
        return Ok(());
    }
    Destination::update(core, bus, op, op.dst, |flags, value: W| {
        flags.set_carry(value.bit(index));
        W::from_u64(Operation::apply(value.to_u64(), 1 << index))
    })
}

fn by_immediate<B: Bus, W: Width, Destination: Kind, Operation: BitOperation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    operate::<B, W, Destination, Operation>(core, bus, op, op.immediate)
}

fn by_register<B: Bus, W: Width, Destination: Kind, Operation: BitOperation>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let index: W = read_register(core, op.src);
    operate::<B, W, Destination, Operation>(core, bus, op, index.to_u64())
}

/// A bit string in memory: the register is a signed bit number counted from the operand, so that
/// the word it selects may lie before or after it.
fn in_string<B: Bus, W: Width, Operation: BitOperation>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let number = read_register::<W>(core, op.src).to_i64();
    let words = number >> W::BITS.trailing_zeros();
    let index = (number as u32) & (W::BITS - 1);
    let offset =
        core.effective_address(op).wrapping_add(words.wrapping_mul(W::BYTES as i64) as u64) & op.memory.mask;
    let segment = op.memory.segment;
    if !Operation::WRITES {
        let value: W = core.load_at(bus, segment, offset)?;
        core.state.flags.set_carry(value.bit(index));
        return Ok(());
    }
    let place = core.update_at::<W, B>(bus, segment, offset)?;
    let value: W = core.place_load(bus, &place);
    core.place_store(bus, &place, W::from_u64(Operation::apply(value.to_u64(), 1 << index)));
    core.state.flags.set_carry(value.bit(index));
    Ok(())
}

fn scans<B: Bus, Direction: Scan>(instruction: &Instruction) -> Option<Handler<B>> {
    match (size(instruction, 0), is_memory(instruction, 1)) {
        (2, false) => Some(scan::<B, u16, Reg, Direction>),
        (4, false) => Some(scan::<B, u32, Reg, Direction>),
        (2, true) => Some(scan::<B, u16, Mem, Direction>),
        (4, true) => Some(scan::<B, u32, Mem, Direction>),
        (8, false) => Some(scan::<B, u64, Reg, Direction>),
        (8, true) => Some(scan::<B, u64, Mem, Direction>),
        _ => None,
    }
}

trait Scan {
    /// Number of the first bit that is set; `value` is not zero.
    fn first(value: u64) -> u32;
}

struct Forward;
struct Reverse;

impl Scan for Forward {
    fn first(value: u64) -> u32 {
        value.trailing_zeros()
    }
}

impl Scan for Reverse {
    fn first(value: u64) -> u32 {
        63 - (value | 1).leading_zeros()
    }
}

fn scan<B: Bus, W: Width, Source: Kind, Direction: Scan>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let value = Source::load::<W, B>(core, bus, op, op.src)?.to_u64();
    if value != 0 {
        write_register(core, op.dst, W::from_u64(u64::from(Direction::first(value))));
    }
    core.state.flags.set_zero(value == 0);
    Ok(())
}

fn counts<B: Bus, What: Count>(instruction: &Instruction) -> Option<Handler<B>> {
    match (size(instruction, 0), is_memory(instruction, 1)) {
        (2, false) => Some(count::<B, u16, Reg, What>),
        (4, false) => Some(count::<B, u32, Reg, What>),
        (8, false) => Some(count::<B, u64, Reg, What>),
        (2, true) => Some(count::<B, u16, Mem, What>),
        (4, true) => Some(count::<B, u32, Mem, What>),
        (8, true) => Some(count::<B, u64, Mem, What>),
        _ => None,
    }
}

trait Count {
    /// Flags that stay.
    const KEPT: u32 = bit::OF;
    /// How many bits, and the arithmetic flags after that.
    fn apply<W: Width>(value: W) -> (u32, u32);
}

struct Leading;
struct Trailing;
struct Population;

/// CF when the operand is zero, ZF when the count is.
fn count_flags(zero: bool, count: u32) -> u32 {
    let carry = if zero { bit::CF } else { 0 };
    carry | if count == 0 { bit::ZF } else { 0 }
}

impl Count for Leading {
    fn apply<W: Width>(value: W) -> (u32, u32) {
        let count = value.to_u64().leading_zeros() - (64 - W::BITS);
        (count, count_flags(value == W::default(), count))
    }
}

impl Count for Trailing {
    fn apply<W: Width>(value: W) -> (u32, u32) {
        let count = value.to_u64().trailing_zeros().min(W::BITS);
        (count, count_flags(value == W::default(), count))
    }
}

impl Count for Population {
    const KEPT: u32 = 0;

    fn apply<W: Width>(value: W) -> (u32, u32) {
        let count = value.to_u64().count_ones();
        (count, count_flags(false, count))
    }
}

fn count<B: Bus, W: Width, Source: Kind, What: Count>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let value: W = Source::load(core, bus, op, op.src)?;
    let (count, flags) = What::apply(value);
    write_register(core, op.dst, W::from_u64(count.into()));
    let kept = core.state.flags.arithmetic() & What::KEPT;
    core.state.flags.set_arithmetic(flags | kept);
    Ok(())
}

fn bswap_32<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let value: u32 = read_register(core, op.dst);
    write_register(core, op.dst, value.swap_bytes());
    Ok(())
}

fn bswap_64<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let value: u64 = read_register(core, op.dst);
    write_register(core, op.dst, value.swap_bytes());
    Ok(())
}

/// Undefined with a 16-bit operand; processors since the 486 leave zero.
fn bswap_16<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    write_register(core, op.dst, 0u16);
    Ok(())
}
