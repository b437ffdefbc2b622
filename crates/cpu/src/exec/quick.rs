//! The commonest instructions, run where they are found rather than called through a pointer: a host foresees a branch
//! that has two ways better than one that can go anywhere, and large guests have too many of the latter.
//!
//! What they do is their groups' handlers' alone: a number says which handler it is, so that few questions find it. They
//! are what is run most often while Debian's installer starts.

use iced_x86::{Code, Instruction, Mnemonic};

use super::{
    arithmetic::{Add, Decrement, Increment, Subtract, change, compare, compute},
    branch::{call, jump, ret},
    logic::{self, And, Xor},
    moves::{Zero, extend, lea, mov},
    multiply::imul_two,
    operands::{Imm, Mem, Reg, is_immediate, is_memory, is_register, size},
    pairs::{self, both},
    shift::{ShiftLeft, ShiftRight, shift},
    stack::{pop_register, push},
};
use crate::{Bus, Core, Exec, Lowered, Op, width::Width};

// By fours, as they are asked for; zero is every other instruction. First what may fault, or let the machine look.
const LOAD: u8 = 1;
const STORE: u8 = 2;
const LOAD_BYTE: u8 = 3;

const LOAD_WORD: u8 = 4;
const PUSH: u8 = 5;
const POP: u8 = 6;
const CALL: u8 = 7;

const COMPARE_BELOW: u8 = 8;
const COMPARE_NOT_BELOW: u8 = 9;
const COMPARE_EQUAL: u8 = 10;
const COMPARE_NOT_EQUAL: u8 = 11;

const TEST_ZERO: u8 = 12;
const TEST_NOT_ZERO: u8 = 13;
const COMPARE_IMMEDIATE_EQUAL: u8 = 14;
const COMPARE_IMMEDIATE_NOT_EQUAL: u8 = 15;

const RETURN: u8 = 16;
const JUMP: u8 = 17;

/// Added to the number of what changes nothing but registers and flags, and cannot fault.
const REGISTERS: u8 = 0x80;

const MOVE: u8 = REGISTERS;
const ADD: u8 = REGISTERS + 1;
const ADDRESS: u8 = REGISTERS + 2;
const ADD_IMMEDIATE: u8 = REGISTERS + 3;

const SUBTRACT: u8 = REGISTERS + 4;
const MULTIPLY: u8 = REGISTERS + 5;
const SHIFT_RIGHT: u8 = REGISTERS + 6;
const XOR: u8 = REGISTERS + 7;

const MOVE_BYTE: u8 = REGISTERS + 8;
const MOVE_WORD: u8 = REGISTERS + 9;
const COMPARE: u8 = REGISTERS + 10;
const MOVE_IMMEDIATE: u8 = REGISTERS + 11;

const INCREMENT: u8 = REGISTERS + 12;
const SHIFT_LEFT: u8 = REGISTERS + 13;
const AND_IMMEDIATE: u8 = REGISTERS + 14;
const DECREMENT: u8 = REGISTERS + 15;

/// Added to the number of the form of 64 bits; the other has 32.
const LONG: u8 = 0x40;

/// The number of an instruction, for [`run`].
pub(crate) fn number(instruction: &Instruction) -> u8 {
    let to_register = is_register(instruction, 0);
    let from_register = is_register(instruction, 1);
    let from_memory = is_memory(instruction, 1);
    let from_immediate = is_immediate(instruction, 1);
    let number = match instruction.code() {
        Code::Retnd => return RETURN,
        Code::Retnq => return RETURN + LONG,
        Code::Call_rel32_32 => return CALL,
        Code::Call_rel32_64 => return CALL + LONG,
        // Where it goes is the same question for both sizes.
        Code::Jmp_rel8_32 | Code::Jmp_rel32_32 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => return JUMP,
        Code::Mov_rm32_r32 | Code::Mov_rm64_r64 if is_memory(instruction, 0) => STORE,
        Code::Push_r32 | Code::Push_r64 => PUSH,
        Code::Pop_r32 | Code::Pop_r64 => POP,
        _ if !to_register => 0,
        _ => match instruction.mnemonic() {
            Mnemonic::Mov if from_memory => LOAD,
            Mnemonic::Mov if from_register => MOVE,
            Mnemonic::Mov if from_immediate => MOVE_IMMEDIATE,
            Mnemonic::Movzx => match (size(instruction, 1), from_memory) {
                (1, true) => LOAD_BYTE,
                (1, false) => MOVE_BYTE,
                (2, true) => LOAD_WORD,
                _ => MOVE_WORD,
            },
            Mnemonic::Lea => ADDRESS,
            Mnemonic::Add if from_register => ADD,
            Mnemonic::Add if from_immediate => ADD_IMMEDIATE,
            Mnemonic::Sub if from_register => SUBTRACT,
            Mnemonic::Xor if from_register => XOR,
            Mnemonic::Cmp if from_register => COMPARE,
            Mnemonic::Imul if instruction.op_count() == 2 && from_register => MULTIPLY,
            Mnemonic::Inc => INCREMENT,
            Mnemonic::Dec => DECREMENT,
            Mnemonic::And if from_immediate => AND_IMMEDIATE,
            Mnemonic::Shr if from_immediate => SHIFT_RIGHT,
            Mnemonic::Shl if from_immediate => SHIFT_LEFT,
            _ => 0,
        },
    };
    with_size(instruction, if number == STORE { 1 } else { 0 }, number)
}

/// The number of a pair of an instruction and a Jcc with this condition code, for [`run`].
pub(super) fn number_of_pair(instruction: &Instruction, condition: u8) -> u8 {
    let registers = is_register(instruction, 0) && is_register(instruction, 1);
    let immediate = is_register(instruction, 0) && is_immediate(instruction, 1);
    let number = match (instruction.mnemonic(), condition) {
        (Mnemonic::Cmp, 2) if registers => COMPARE_BELOW,
        (Mnemonic::Cmp, 3) if registers => COMPARE_NOT_BELOW,
        (Mnemonic::Cmp, 4) if registers => COMPARE_EQUAL,
        (Mnemonic::Cmp, 5) if registers => COMPARE_NOT_EQUAL,
        (Mnemonic::Cmp, 4) if immediate => COMPARE_IMMEDIATE_EQUAL,
        (Mnemonic::Cmp, 5) if immediate => COMPARE_IMMEDIATE_NOT_EQUAL,
        (Mnemonic::Test, 4) if registers => TEST_ZERO,
        (Mnemonic::Test, 5) if registers => TEST_NOT_ZERO,
        _ => 0,
    };
    with_size(instruction, 0, number)
}

/// The number of the form that operand `which` has the size for.
fn with_size(instruction: &Instruction, which: u32, number: u8) -> u8 {
    match (number, size(instruction, which)) {
        (0, _) => 0,
        (_, 4) => number,
        (_, 8) => number + LONG,
        _ => 0,
    }
}

/// The handler of the number among at most four. It stays a row of questions: a table would be a branch that can
/// go anywhere.
macro_rules! one_of {
    ($number:expr, $($asked:ident => $handler:expr),+; $last:expr) => {
        $(if $number == $asked { $handler } else)+ { $last }
    };
}

/// Whether the op changes nothing but registers and flags, and cannot fault: [`run_in_registers`] runs it.
#[inline(always)]
pub(crate) fn only_registers(op: &Op) -> bool {
    op.quick & REGISTERS != 0
}

/// Runs an op that is [`only_registers`].
#[inline(always)]
pub(crate) fn run_in_registers<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) {
    let done = match op.quick & LONG {
        0 => registers::<B, u32>(op.quick, core, bus, op),
        _ => registers::<B, u64>(op.quick - LONG, core, bus, op),
    };
    debug_assert!(done.is_ok() && core.attention == 0);
}

#[inline(always)]
fn registers<B: Bus, W: Width>(number: u8, core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if number < MOVE_BYTE {
        if number < SUBTRACT {
            one_of!(number,
                MOVE => mov::<B, W, Reg, Reg>(core, bus, op),
                ADD => compute::<B, W, Reg, Reg, Add>(core, bus, op),
                ADDRESS => lea::<B, W>(core, bus, op);
                compute::<B, W, Reg, Imm, Add>(core, bus, op))
        } else {
            one_of!(number,
                SUBTRACT => compute::<B, W, Reg, Reg, Subtract>(core, bus, op),
                MULTIPLY => imul_two::<B, W, Reg, Reg>(core, bus, op),
                SHIFT_RIGHT => shift::<B, W, Reg, Imm, ShiftRight>(core, bus, op);
                logic::compute::<B, W, Reg, Reg, Xor>(core, bus, op))
        }
    } else if number < INCREMENT {
        one_of!(number,
            MOVE_BYTE => extend::<B, W, u8, Reg, Zero>(core, bus, op),
            MOVE_WORD => extend::<B, W, u16, Reg, Zero>(core, bus, op),
            COMPARE => compare::<B, W, Reg, Reg>(core, bus, op);
            mov::<B, W, Reg, Imm>(core, bus, op))
    } else {
        one_of!(number,
            INCREMENT => change::<B, W, Reg, Increment>(core, bus, op),
            SHIFT_LEFT => shift::<B, W, Reg, Imm, ShiftLeft>(core, bus, op),
            AND_IMMEDIATE => logic::compute::<B, W, Reg, Imm, And>(core, bus, op);
            change::<B, W, Reg, Decrement>(core, bus, op))
    }
}

/// Runs any other op.
#[inline(always)]
pub(crate) fn run<B: Bus>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Exec {
    let op = &lowered.op;
    if op.quick == 0 {
        (lowered.run)(core, bus, op)
    } else if op.quick < LONG {
        of_width::<B, u32>(op.quick, core, bus, op)
    } else {
        of_width::<B, u64>(op.quick - LONG, core, bus, op)
    }
}

#[inline(always)]
fn of_width<B: Bus, W: Width>(number: u8, core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if number < COMPARE_BELOW {
        if number < LOAD_WORD {
            one_of!(number,
                LOAD => mov::<B, W, Reg, Mem>(core, bus, op),
                STORE => mov::<B, W, Mem, Reg>(core, bus, op);
                extend::<B, W, u8, Mem, Zero>(core, bus, op))
        } else {
            one_of!(number,
                LOAD_WORD => extend::<B, W, u16, Mem, Zero>(core, bus, op),
                PUSH => push::<B, W, Reg>(core, bus, op),
                POP => pop_register::<B, W>(core, bus, op);
                call::<B, W>(core, bus, op))
        }
    } else if number < RETURN {
        if number < TEST_ZERO {
            one_of!(number,
                COMPARE_BELOW => both::<B, W, Reg, Reg, pairs::Compare, 2>(core, bus, op),
                COMPARE_NOT_BELOW => both::<B, W, Reg, Reg, pairs::Compare, 3>(core, bus, op),
                COMPARE_EQUAL => both::<B, W, Reg, Reg, pairs::Compare, 4>(core, bus, op);
                both::<B, W, Reg, Reg, pairs::Compare, 5>(core, bus, op))
        } else {
            one_of!(number,
                TEST_ZERO => both::<B, W, Reg, Reg, pairs::Test, 4>(core, bus, op),
                TEST_NOT_ZERO => both::<B, W, Reg, Reg, pairs::Test, 5>(core, bus, op),
                COMPARE_IMMEDIATE_EQUAL => both::<B, W, Reg, Imm, pairs::Compare, 4>(core, bus, op);
                both::<B, W, Reg, Imm, pairs::Compare, 5>(core, bus, op))
        }
    } else if number == RETURN {
        ret::<B, W, false>(core, bus, op)
    } else {
        jump::<B>(core, bus, op)
    }
}
