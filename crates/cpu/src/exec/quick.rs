//! The commonest instructions, run where they are found rather than called through a pointer: what is run in a row
//! keeps the processor's state at hand, and nothing has to be saved for a call.
//!
//! What they do is their groups' handlers' alone: a number says which handler it is. They are what is run most often
//! while Debian's installer starts; to have twice as many made nothing faster.

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

/// Added to the number of what changes nothing but registers and flags, and cannot fault.
const REGISTERS: u8 = 0x80;
/// Added to the number of the form of 64 bits; the other has 32.
const LONG: u8 = 0x40;

/// Numbers from 1 on, and the function that runs the handler which has one of them, or `$otherwise`.
macro_rules! numbered {
    (
        $(#[$comment:meta])* $numbers:ident, $run:ident, $width:ident, $otherwise:expr;
        $($name:ident => $handler:expr,)+
    ) => {
        $(#[$comment])*
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum $numbers {
            /// None of them.
            None,
            $($name,)+
            Count,
        }

        const _: () = assert!($numbers::Count as u8 <= LONG);

        #[allow(non_upper_case_globals)]
        #[inline(always)]
        fn $run<B: Bus, $width: Width>(number: u8, core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Exec {
            $(const $name: u8 = $numbers::$name as u8;)+
            match number {
                $($name => $handler(core, bus, &lowered.op),)+
                _ => $otherwise(core, bus, lowered),
            }
        }
    };
}

numbered! {
    /// What changes nothing but registers and flags, and cannot fault.
    Registers, in_registers, W, |_: &mut Core, _: &mut B, _: &Lowered<B>| Ok(());
    Move => mov::<B, W, Reg, Reg>,
    MoveImmediate => mov::<B, W, Reg, Imm>,
    MoveByte => extend::<B, W, u8, Reg, Zero>,
    MoveWord => extend::<B, W, u16, Reg, Zero>,
    Address => lea::<B, W>,
    Add => compute::<B, W, Reg, Reg, Add>,
    AddImmediate => compute::<B, W, Reg, Imm, Add>,
    Subtract => compute::<B, W, Reg, Reg, Subtract>,
    Multiply => imul_two::<B, W, Reg, Reg>,
    Increment => change::<B, W, Reg, Increment>,
    Decrement => change::<B, W, Reg, Decrement>,
    Xor => logic::compute::<B, W, Reg, Reg, Xor>,
    AndImmediate => logic::compute::<B, W, Reg, Imm, And>,
    ShiftLeft => shift::<B, W, Reg, Imm, ShiftLeft>,
    ShiftRight => shift::<B, W, Reg, Imm, ShiftRight>,
    Compare => compare::<B, W, Reg, Reg>,
}

numbered! {
    /// What may fault, jump, or let the machine look.
    Others, others, W, |core, bus, lowered: &Lowered<B>| (lowered.run)(core, bus, &lowered.op);
    Load => mov::<B, W, Reg, Mem>,
    LoadByte => extend::<B, W, u8, Mem, Zero>,
    LoadWord => extend::<B, W, u16, Mem, Zero>,
    Store => mov::<B, W, Mem, Reg>,
    Push => push::<B, W, Reg>,
    Pop => pop_register::<B, W>,
    Call => call::<B, W>,
    Return => ret::<B, W, false>,
    Jump => jump::<B>,
    CompareBelow => both::<B, W, Reg, Reg, pairs::Compare, 2>,
    CompareNotBelow => both::<B, W, Reg, Reg, pairs::Compare, 3>,
    CompareEqual => both::<B, W, Reg, Reg, pairs::Compare, 4>,
    CompareNotEqual => both::<B, W, Reg, Reg, pairs::Compare, 5>,
    CompareImmediateEqual => both::<B, W, Reg, Imm, pairs::Compare, 4>,
    CompareImmediateNotEqual => both::<B, W, Reg, Imm, pairs::Compare, 5>,
    TestZero => both::<B, W, Reg, Reg, pairs::Test, 4>,
    TestNotZero => both::<B, W, Reg, Reg, pairs::Test, 5>,
}

/// The number of an instruction, for [`run`] and [`run_in_registers`].
pub(crate) fn number(instruction: &Instruction) -> u8 {
    let from_register = is_register(instruction, 1);
    let from_memory = is_memory(instruction, 1);
    let from_immediate = is_immediate(instruction, 1);
    let other = match instruction.code() {
        Code::Retnd => return Others::Return as u8,
        Code::Retnq => return Others::Return as u8 | LONG,
        Code::Call_rel32_32 => return Others::Call as u8,
        Code::Call_rel32_64 => return Others::Call as u8 | LONG,
        // Where it goes is the same question for both sizes.
        Code::Jmp_rel8_32 | Code::Jmp_rel32_32 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => {
            return Others::Jump as u8;
        }
        Code::Mov_rm32_r32 | Code::Mov_rm64_r64 if is_memory(instruction, 0) => Others::Store,
        Code::Push_r32 | Code::Push_r64 => Others::Push,
        Code::Pop_r32 | Code::Pop_r64 => Others::Pop,
        _ if !is_register(instruction, 0) => return 0,
        _ => match instruction.mnemonic() {
            Mnemonic::Mov if from_memory => Others::Load,
            Mnemonic::Movzx if from_memory && size(instruction, 1) == 1 => Others::LoadByte,
            Mnemonic::Movzx if from_memory => Others::LoadWord,
            _ => Others::None,
        },
    };
    if !matches!(other, Others::None) {
        return with_size(instruction, other as u8);
    }
    let number = match instruction.mnemonic() {
        Mnemonic::Mov if from_register => Registers::Move,
        Mnemonic::Mov if from_immediate => Registers::MoveImmediate,
        Mnemonic::Movzx if size(instruction, 1) == 1 => Registers::MoveByte,
        Mnemonic::Movzx => Registers::MoveWord,
        Mnemonic::Lea => Registers::Address,
        Mnemonic::Add if from_register => Registers::Add,
        Mnemonic::Add if from_immediate => Registers::AddImmediate,
        Mnemonic::Sub if from_register => Registers::Subtract,
        Mnemonic::Xor if from_register => Registers::Xor,
        Mnemonic::Cmp if from_register => Registers::Compare,
        Mnemonic::Imul if instruction.op_count() == 2 && from_register => Registers::Multiply,
        Mnemonic::Inc => Registers::Increment,
        Mnemonic::Dec => Registers::Decrement,
        Mnemonic::And if from_immediate => Registers::AndImmediate,
        Mnemonic::Shr if from_immediate => Registers::ShiftRight,
        Mnemonic::Shl if from_immediate => Registers::ShiftLeft,
        _ => Registers::None,
    };
    match number {
        Registers::None => 0,
        number => with_size(instruction, number as u8 | REGISTERS),
    }
}

/// The number of a pair of an instruction and a Jcc with this condition code, for [`run`].
pub(super) fn number_of_pair(instruction: &Instruction, condition: u8) -> u8 {
    let registers = is_register(instruction, 0) && is_register(instruction, 1);
    let immediate = is_register(instruction, 0) && is_immediate(instruction, 1);
    let number = match (instruction.mnemonic(), condition) {
        (Mnemonic::Cmp, 2) if registers => Others::CompareBelow,
        (Mnemonic::Cmp, 3) if registers => Others::CompareNotBelow,
        (Mnemonic::Cmp, 4) if registers => Others::CompareEqual,
        (Mnemonic::Cmp, 5) if registers => Others::CompareNotEqual,
        (Mnemonic::Cmp, 4) if immediate => Others::CompareImmediateEqual,
        (Mnemonic::Cmp, 5) if immediate => Others::CompareImmediateNotEqual,
        (Mnemonic::Test, 4) if registers => Others::TestZero,
        (Mnemonic::Test, 5) if registers => Others::TestNotZero,
        _ => return 0,
    };
    with_size(instruction, number as u8)
}

/// The number of the form that the first operand has the size for.
fn with_size(instruction: &Instruction, number: u8) -> u8 {
    match size(instruction, 0) {
        4 => number,
        8 => number | LONG,
        _ => 0,
    }
}

/// Whether the op changes nothing but registers and flags, and cannot fault: [`run_in_registers`] runs it.
#[inline(always)]
pub(crate) fn only_registers(op: &Op) -> bool {
    op.quick & REGISTERS != 0
}

/// Runs an op that is [`only_registers`].
#[inline(always)]
pub(crate) fn run_in_registers<B: Bus>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) {
    let number = lowered.op.quick & !(REGISTERS | LONG);
    let done = match lowered.op.quick & LONG {
        0 => in_registers::<B, u32>(number, core, bus, lowered),
        _ => in_registers::<B, u64>(number, core, bus, lowered),
    };
    debug_assert!(done.is_ok() && core.attention == 0);
}

/// Runs any other op.
#[inline(always)]
pub(crate) fn run<B: Bus>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Exec {
    match lowered.op.quick & LONG {
        0 => others::<B, u32>(lowered.op.quick, core, bus, lowered),
        _ => others::<B, u64>(lowered.op.quick & !LONG, core, bus, lowered),
    }
}
