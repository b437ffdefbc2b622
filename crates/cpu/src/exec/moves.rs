//! MOV, MOVBE, MOVZX, MOVSX, MOVSXD, XCHG, LEA, CMOVcc, SETcc, XLAT, CBW, CWDE, CDQE, CWD, CDQ, CQO (Intel SDM vol. 2).
//!
//! None of them sets a flag. MOV to and from segment, control and debug registers is elsewhere.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{
    Imm, Kind, Mem, Reg, binary, by_condition, condition, is_memory, read_register, size, unary, write_part,
    write_register,
};
use crate::{Bus, Core, Exec, Handler, Op, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Mov => binary!(instruction, mov),
        Mnemonic::Movzx => extension::<B, Zero>(instruction),
        Mnemonic::Movsx | Mnemonic::Movsxd => extension::<B, Sign>(instruction),
        Mnemonic::Movbe => swapped(instruction),
        Mnemonic::Xchg => unary!(instruction, xchg),
        Mnemonic::Lea => match size(instruction, 0) {
            2 => Some(lea::<B, u16>),
            4 => Some(lea::<B, u32>),
            8 => Some(lea::<B, u64>),
            _ => None,
        },
        Mnemonic::Xlatb => Some(xlat::<B>),
        Mnemonic::Cbw => Some(cbw::<B>),
        Mnemonic::Cwde => Some(cwde::<B>),
        Mnemonic::Cdqe => Some(cdqe::<B>),
        Mnemonic::Cwd => Some(cwd::<B, u16>),
        Mnemonic::Cdq => Some(cwd::<B, u32>),
        Mnemonic::Cqo => Some(cwd::<B, u64>),
        Mnemonic::Seto
        | Mnemonic::Setno
        | Mnemonic::Setb
        | Mnemonic::Setae
        | Mnemonic::Sete
        | Mnemonic::Setne
        | Mnemonic::Setbe
        | Mnemonic::Seta
        | Mnemonic::Sets
        | Mnemonic::Setns
        | Mnemonic::Setp
        | Mnemonic::Setnp
        | Mnemonic::Setl
        | Mnemonic::Setge
        | Mnemonic::Setle
        | Mnemonic::Setg => match is_memory(instruction, 0) {
            false => by_condition!(condition(instruction)?, set_byte, Reg),
            true => by_condition!(condition(instruction)?, set_byte, Mem),
        },
        Mnemonic::Cmovo
        | Mnemonic::Cmovno
        | Mnemonic::Cmovb
        | Mnemonic::Cmovae
        | Mnemonic::Cmove
        | Mnemonic::Cmovne
        | Mnemonic::Cmovbe
        | Mnemonic::Cmova
        | Mnemonic::Cmovs
        | Mnemonic::Cmovns
        | Mnemonic::Cmovp
        | Mnemonic::Cmovnp
        | Mnemonic::Cmovl
        | Mnemonic::Cmovge
        | Mnemonic::Cmovle
        | Mnemonic::Cmovg => match (size(instruction, 0), is_memory(instruction, 1)) {
            (2, false) => by_condition!(condition(instruction)?, move_if, u16, Reg),
            (4, false) => by_condition!(condition(instruction)?, move_if, u32, Reg),
            (2, true) => by_condition!(condition(instruction)?, move_if, u16, Mem),
            (4, true) => by_condition!(condition(instruction)?, move_if, u32, Mem),
            (8, false) => by_condition!(condition(instruction)?, move_if, u64, Reg),
            (8, true) => by_condition!(condition(instruction)?, move_if, u64, Mem),
            _ => None,
        },
        _ => None,
    }
}

#[inline(always)]
pub(super) fn mov<B: Bus, W: Width, Destination: Kind, Source: Kind>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    if !Source::MEMORY {
        let value: W = Source::load(core, bus, op, op.src)?;
        return Destination::store(core, bus, op, op.dst, value);
    }
    Source::take(core, bus, op, op.src, |core, bus, value: W| {
        Destination::store(core, bus, op, op.dst, value)
    })
}

#[inline(always)]
pub(super) fn set_byte<B: Bus, Destination: Kind, const CODE: u8>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    let value = u8::from(core.state.flags.condition(CODE));
    Destination::store(core, bus, op, op.dst, value)
}

/// CMOVcc reads its source, and may fault, whether or not the condition holds.
fn move_if<B: Bus, W: Width, Source: Kind, const CODE: u8>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let value: W = Source::load(core, bus, op, op.src)?;
    if core.state.flags.condition(CODE) {
        write_register(core, op.dst, value);
    } else if W::BYTES == 4 {
        // The upper half is cleared all the same.
        let kept: W = read_register(core, op.dst);
        write_register(core, op.dst, kept);
    }
    Ok(())
}

/// What MOVZX and MOVSX fill the upper part with.
pub(super) trait Extend {
    fn extend<From: Width>(value: From) -> u64;
}

pub(super) struct Zero;
pub(super) struct Sign;

impl Extend for Zero {
    #[inline(always)]
    fn extend<From: Width>(value: From) -> u64 {
        value.to_u64()
    }
}

impl Extend for Sign {
    #[inline(always)]
    fn extend<From: Width>(value: From) -> u64 {
        value.to_i64() as u64
    }
}

fn extension<B: Bus, How: Extend>(instruction: &Instruction) -> Option<Handler<B>> {
    match (size(instruction, 0), size(instruction, 1), is_memory(instruction, 1)) {
        (2, 1, false) => Some(extend::<B, u16, u8, Reg, How>),
        (2, 1, true) => Some(extend::<B, u16, u8, Mem, How>),
        (2, 2, false) => Some(extend::<B, u16, u16, Reg, How>),
        (2, 2, true) => Some(extend::<B, u16, u16, Mem, How>),
        (4, 1, false) => Some(extend::<B, u32, u8, Reg, How>),
        (4, 1, true) => Some(extend::<B, u32, u8, Mem, How>),
        (4, 2, false) => Some(extend::<B, u32, u16, Reg, How>),
        (4, 2, true) => Some(extend::<B, u32, u16, Mem, How>),
        (8, 1, false) => Some(extend::<B, u64, u8, Reg, How>),
        (8, 1, true) => Some(extend::<B, u64, u8, Mem, How>),
        (8, 2, false) => Some(extend::<B, u64, u16, Reg, How>),
        (8, 2, true) => Some(extend::<B, u64, u16, Mem, How>),
        // MOVSXD; its form that extends nothing is a move.
        (8, 4, false) => Some(extend::<B, u64, u32, Reg, How>),
        (8, 4, true) => Some(extend::<B, u64, u32, Mem, How>),
        (4, 4, false) => Some(extend::<B, u32, u32, Reg, How>),
        (4, 4, true) => Some(extend::<B, u32, u32, Mem, How>),
        // MOVSXD with a 16-bit destination reads 16 bits, though iced-x86 names a 32-bit register.
        (2, 4, false) => Some(extend::<B, u16, u16, Reg, How>),
        (2, 4, true) => Some(extend::<B, u16, u16, Mem, How>),
        _ => None,
    }
}

#[inline(always)]
pub(super) fn extend<B: Bus, To: Width, From: Width, Source: Kind, How: Extend>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    Source::take(core, bus, op, op.src, |core, _, value: From| {
        write_register(core, op.dst, To::from_u64(How::extend(value)));
        Ok(())
    })
}

fn swapped<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match size(instruction, 0) {
        2 => Some(movbe::<B, u16>),
        4 => Some(movbe::<B, u32>),
        8 => Some(movbe::<B, u64>),
        _ => None,
    }
}

/// MOVBE: to or from memory, the bytes in reverse order.
fn movbe<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let value: W = core.load(bus, op, op.src)?;
    let swapped = W::from_u64(value.to_u64().swap_bytes() >> (64 - W::BITS));
    core.store(bus, op, op.dst, swapped)
}

/// XCHG; its second operand is always a register.
fn xchg<B: Bus, W: Width, Destination: Kind>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let new: W = read_register(core, op.src);
    let mut before = W::default();
    Destination::update(core, bus, op, op.dst, |_, current| {
        before = current;
        new
    })?;
    write_register(core, op.src, before);
    Ok(())
}

#[inline(always)]
pub(super) fn lea<B: Bus, W: Width>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let offset = core.effective_address(op);
    write_register(core, op.dst, W::from_u64(offset));
    Ok(())
}

/// XLAT: AL is the index, zero-extended, whatever the memory reference says of it.
fn xlat<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let index = core.register(gpr::RAX) & 0xff;
    let offset = core.register(gpr::RBX).wrapping_add(index) & op.memory.mask;
    let value: u8 = core.load_at(bus, op.memory.segment, offset)?;
    write_part(core, gpr::RAX, value);
    Ok(())
}

fn cbw<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let value = core.register(gpr::RAX) as i8;
    write_part(core, gpr::RAX, i16::from(value) as u16);
    Ok(())
}

fn cwde<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let value = core.register(gpr::RAX) as i16;
    write_part(core, gpr::RAX, i32::from(value) as u32);
    Ok(())
}

fn cdqe<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let value = core.register(gpr::RAX) as i32;
    write_part(core, gpr::RAX, i64::from(value) as u64);
    Ok(())
}

/// CWD, CDQ and CQO: the accumulator's sign fills DX, EDX or RDX.
fn cwd<B: Bus, W: Width>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let sign = W::from_u64(core.register(gpr::RAX)).sign();
    write_part(core, gpr::RDX, if sign { W::ones() } else { W::default() });
    Ok(())
}
