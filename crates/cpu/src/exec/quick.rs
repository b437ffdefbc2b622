//! The commonest instructions, run where they are found rather than called through a pointer: a host foresees a branch
//! that has two ways better than one that can go anywhere, and large guests have too many of the latter.
//!
//! They are those of one width, 64 bits in 64-bit mode and 32 bits elsewhere. What they do is their groups' handlers'
//! alone.

use iced_x86::{Code, Instruction, OpKind};

use super::{
    arithmetic::{self, Add},
    moves::{lea, mov},
    operands::{Imm, Mem, Reg},
    stack::{pop_register, push},
};
use crate::{Bus, Core, Exec, Lowered, access::Bits, width::Width};

// A bit each, so that what is asked stays a row of questions, and no table.

/// MOV from memory to a register.
const LOAD: u8 = 1;
/// MOV from a register to memory.
const STORE: u8 = 2;
/// MOV from a register to another.
const MOVE: u8 = 4;
/// ADD of two registers.
const ADD: u8 = 8;
/// ADD of a register and an immediate.
const ADD_IMMEDIATE: u8 = 0x10;
/// LEA.
const ADDRESS: u8 = 0x20;
/// PUSH of a register.
const PUSH: u8 = 0x40;
/// POP to a register.
const POP: u8 = 0x80;

/// Which of them it is, for [`run`]; zero for all others.
pub(crate) fn kind(instruction: &Instruction, bits: Bits) -> u8 {
    let memory = |operand| instruction.op_kind(operand) == OpKind::Memory;
    let long = bits == Bits::SixtyFour;
    match instruction.code() {
        Code::Mov_r32_rm32 if !long => {
            if memory(1) {
                LOAD
            } else {
                MOVE
            }
        }
        Code::Mov_r64_rm64 if long => {
            if memory(1) {
                LOAD
            } else {
                MOVE
            }
        }
        Code::Mov_rm32_r32 if !long => {
            if memory(0) {
                STORE
            } else {
                MOVE
            }
        }
        Code::Mov_rm64_r64 if long => {
            if memory(0) {
                STORE
            } else {
                MOVE
            }
        }
        Code::Add_rm32_r32 if !long && !memory(0) => ADD,
        Code::Add_rm64_r64 if long && !memory(0) => ADD,
        Code::Add_rm32_imm8 | Code::Add_rm32_imm32 if !long && !memory(0) => ADD_IMMEDIATE,
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if long && !memory(0) => ADD_IMMEDIATE,
        Code::Lea_r32_m if !long => ADDRESS,
        Code::Lea_r64_m if long => ADDRESS,
        Code::Push_r32 if !long => PUSH,
        Code::Push_r64 if long => PUSH,
        Code::Pop_r32 if !long => POP,
        Code::Pop_r64 if long => POP,
        _ => 0,
    }
}

/// Runs an op; `W` is the width of the quick ones of its block.
#[inline(always)]
pub(crate) fn run<B: Bus, W: Width>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Exec {
    let op = &lowered.op;
    let kind = op.quick;
    if kind == 0 {
        (lowered.run)(core, bus, op)
    } else if kind & (LOAD | STORE | MOVE) != 0 {
        if kind & LOAD != 0 {
            mov::<B, W, Reg, Mem>(core, bus, op)
        } else if kind & STORE != 0 {
            mov::<B, W, Mem, Reg>(core, bus, op)
        } else {
            mov::<B, W, Reg, Reg>(core, bus, op)
        }
    } else if kind & (ADD | ADD_IMMEDIATE | ADDRESS) != 0 {
        if kind & ADD != 0 {
            arithmetic::compute::<B, W, Reg, Reg, Add>(core, bus, op)
        } else if kind & ADD_IMMEDIATE != 0 {
            arithmetic::compute::<B, W, Reg, Imm, Add>(core, bus, op)
        } else {
            lea::<B, W>(core, bus, op)
        }
    } else if kind & PUSH != 0 {
        push::<B, W, Reg>(core, bus, op)
    } else {
        pop_register::<B, W>(core, bus, op)
    }
}
