//! The commonest instructions, done where they are found rather than called through a pointer, as long as nothing
//! stands in the way: nothing of them can fault, reach a device or let the machine look, so that whoever runs many in
//! a row need not say before each where the processor stands. What stands in the way is left to their handlers, with
//! nothing done.

use std::marker::PhantomData;

use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits};

use super::{
    arithmetic::{Add, AddCarry, Compare, Decrement, Increment, Negate, Subtract, SubtractBorrow},
    logic::{And, Or, Test, Xor, not},
    moves::{Extend, Sign, Zero, lea, set_byte},
    multiply::Multiply,
    operands::{
        Based, Imm, InMemory, Kind, Mem, Operation, Reg, is_immediate, is_memory, is_register, read_register,
        size, write_part, write_register,
    },
    pairs,
    shift::{Shift, ShiftArithmetic, ShiftLeft, ShiftRight, shift},
};
use crate::{
    Bus, Core, Exec, Lowered, Op,
    flags::Flags,
    state::{gpr, segment},
    width::Width,
};

/// What became of an op that was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tried {
    /// It is done: go on behind it, where RIP need not stand yet.
    Done,
    /// It is done: go on where RIP stands.
    Jumped,
    /// Nothing was done.
    Not,
}

use Tried::{Done, Jumped, Not};

/// What an operand is, to find an instruction by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Absent,
    Reg,
    Mem,
    /// As `Mem`, without an index register.
    Based,
    Imm,
    /// Where a near branch goes.
    Near,
    // What is extended.
    RegByte,
    MemByte,
    RegWord,
    MemWord,
    /// Anything else.
    Other,
}

impl Form {
    /// The same, where it makes no difference whether memory has an index register.
    fn indexed(self) -> Form {
        if self == Form::Based { Form::Mem } else { self }
    }
}

/// Instructions, a row each: its names by operand size (zero where it has none) with the width it has there, its
/// mnemonic and operands, and what does it; behind them, pairs of an instruction and Jcc with `+` and a condition code,
/// and what does the same without flags.
macro_rules! rows {
    (
        alone:
        $($([$name:ident $size:literal $width:ty])+ $mnemonic:ident $first:ident $second:ident => $run:expr;)+
        with_jump:
        $(
            $([$pair:ident $pair_size:literal $pair_width:ty])+
            $pair_mnemonic:ident $pair_first:ident $pair_second:ident + $code:literal => $pair_run:expr;
        )+
        without_flags:
        $($([$flagged:ident $flagless:ident $flagless_width:ty])+ => $flagless_run:expr;)+
    ) => {
        /// One of the commonest instructions, or of their pairs with Jcc.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum Quick {
            /// Another.
            None,
            $($($name,)+)+
            $($($pair,)+)+
            $($($flagless,)+)+
        }

        impl Quick {
            /// Which an instruction is; with the condition code of the Jcc behind it, where it is both.
            pub(crate) fn of(instruction: &Instruction, code: Option<u8>) -> Quick {
                let (first, second) = forms(instruction);
                match Quick::find(instruction, first, second, code) {
                    // There may be a row for any memory.
                    Quick::None => Quick::find(instruction, first.indexed(), second.indexed(), code),
                    quick => quick,
                }
            }

            fn find(instruction: &Instruction, first: Form, second: Form, code: Option<u8>) -> Quick {
                match (instruction.mnemonic(), first, second, operand_size(instruction), code) {
                    $($((Mnemonic::$mnemonic, Form::$first, Form::$second, $size, None) => Quick::$name,)+)+
                    $($((Mnemonic::$pair_mnemonic, Form::$pair_first, Form::$pair_second, $pair_size, Some($code)) => {
                        Quick::$pair
                    })+)+
                    _ => Quick::None,
                }
            }

            /// The same with the flags left alone, if there is a row for that.
            fn without_flags(self) -> Option<Quick> {
                match self {
                    $($(Quick::$flagged => Some(Quick::$flagless),)+)+
                    _ => None,
                }
            }
        }

        /// Does an op, if nothing stands in the way.
        #[inline(always)]
        pub(crate) fn try_op<B: Bus>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
            match lowered.op.quick {
                Quick::None => Not,
                $($(Quick::$name => {
                    #[allow(dead_code)]
                    type W = $width;
                    $run(core, bus, lowered)
                })+)+
                $($(Quick::$pair => {
                    type W = $pair_width;
                    $pair_run(core, bus, lowered)
                })+)+
                $($(Quick::$flagless => {
                    type W = $flagless_width;
                    $flagless_run(core, bus, lowered)
                })+)+
            }
        }
    };
}

rows! {
    alone:
    [Move8 1 u8] [Move32 4 u32] [Move64 8 u64] Mov Reg Reg => copy::<B, W, Reg>;
    [MoveImmediate8 1 u8] [MoveImmediate32 4 u32] [MoveImmediate64 8 u64] Mov Reg Imm => copy::<B, W, Imm>;
    [Load8 1 u8] [Load32 4 u32] [Load64 8 u64] Mov Reg Mem => copy::<B, W, Mem>;
    [LoadBased8 1 u8] [LoadBased32 4 u32] [LoadBased64 8 u64] Mov Reg Based => copy::<B, W, Based>;
    [Store8 1 u8] [Store16 2 u16] [Store32 4 u32] [Store64 8 u64] Mov Mem Reg => store::<B, W, true, Reg>;
    [StoreBased8 1 u8] [StoreBased32 4 u32] [StoreBased64 8 u64] Mov Based Reg => store::<B, W, false, Reg>;
    [StoreImmediate8 1 u8] [StoreImmediate32 4 u32] [StoreImmediate64 8 u64] Mov Mem Imm => store::<B, W, true, Imm>;
    [ExtendByte32 4 u32] [ExtendByte64 8 u64] Movzx Reg RegByte => extend::<B, W, u8, Reg, Zero>;
    [ExtendWord32 4 u32] [ExtendWord64 8 u64] Movzx Reg RegWord => extend::<B, W, u16, Reg, Zero>;
    [LoadByte32 4 u32] [LoadByte64 8 u64] Movzx Reg MemByte => extend::<B, W, u8, Mem, Zero>;
    [LoadWord32 4 u32] [LoadWord64 8 u64] Movzx Reg MemWord => extend::<B, W, u16, Mem, Zero>;
    [LoadSigned32 4 u32] [LoadSigned64 8 u64] Movsx Reg MemByte => extend::<B, W, u8, Mem, Sign>;
    [Address32 4 u32] [Address64 8 u64] Lea Reg Mem => always(lea::<B, W>);

    [Add32 4 u32] [Add64 8 u64] Add Reg Reg => compute::<B, W, Reg, Reg, Add>;
    [AddImmediate32 4 u32] [AddImmediate64 8 u64] Add Reg Imm => compute::<B, W, Reg, Imm, Add>;
    [AddLoaded32 4 u32] [AddLoaded64 8 u64] Add Reg Mem => compute::<B, W, Reg, Mem, Add>;
    [AddCarry32 4 u32] [AddCarry64 8 u64] Adc Reg Reg => compute::<B, W, Reg, Reg, AddCarry>;
    [Subtract32 4 u32] [Subtract64 8 u64] Sub Reg Reg => compute::<B, W, Reg, Reg, Subtract>;
    [SubtractImmediate32 4 u32] [SubtractImmediate64 8 u64] Sub Reg Imm => compute::<B, W, Reg, Imm, Subtract>;
    [SubtractLoaded32 4 u32] [SubtractLoaded64 8 u64] Sub Reg Mem => compute::<B, W, Reg, Mem, Subtract>;
    [SubtractBorrow32 4 u32] [SubtractBorrow64 8 u64] Sbb Reg Reg => compute::<B, W, Reg, Reg, SubtractBorrow>;
    [And32 4 u32] [And64 8 u64] And Reg Reg => compute::<B, W, Reg, Reg, And>;
    [AndImmediate32 4 u32] [AndImmediate64 8 u64] And Reg Imm => compute::<B, W, Reg, Imm, And>;
    [Or32 4 u32] [Or64 8 u64] Or Reg Reg => compute::<B, W, Reg, Reg, Or>;
    [OrImmediate32 4 u32] [OrImmediate64 8 u64] Or Reg Imm => compute::<B, W, Reg, Imm, Or>;
    [Xor32 4 u32] [Xor64 8 u64] Xor Reg Reg => compute::<B, W, Reg, Reg, Xor>;
    [Compare32 4 u32] [Compare64 8 u64] Cmp Reg Reg => compute::<B, W, Reg, Reg, Compare>;
    [CompareImmediate32 4 u32] [CompareImmediate64 8 u64] Cmp Reg Imm => compute::<B, W, Reg, Imm, Compare>;
    [CompareStored8 1 u8] [CompareStored32 4 u32] Cmp Mem Imm => compute::<B, W, Mem, Imm, Compare>;
    [TestStored8 1 u8] Test Mem Imm => compute::<B, W, Mem, Imm, Test>;
    [Increment32 4 u32] [Increment64 8 u64] Inc Reg Absent => compute::<B, W, Reg, Imm, Increment>;
    [Decrement32 4 u32] [Decrement64 8 u64] Dec Reg Absent => compute::<B, W, Reg, Imm, Decrement>;
    [Negate32 4 u32] [Negate64 8 u64] Neg Reg Absent => compute::<B, W, Reg, Imm, Negate>;
    [Not32 4 u32] [Not64 8 u64] Not Reg Absent => always(not::<B, W, Reg>);
    [Multiply32 4 u32] [Multiply64 8 u64] Imul Reg Reg => compute::<B, W, Reg, Reg, Multiply>;
    [ShiftLeft32 4 u32] [ShiftLeft64 8 u64] Shl Reg Imm => always(shift::<B, W, Reg, Imm, ShiftLeft>);
    [ShiftRight32 4 u32] [ShiftRight64 8 u64] Shr Reg Imm => always(shift::<B, W, Reg, Imm, ShiftRight>);
    [ShiftArithmetic32 4 u32] [ShiftArithmetic64 8 u64] Sar Reg Imm => always(shift::<B, W, Reg, Imm, ShiftArithmetic>);
    [ShiftLeftBy32 4 u32] [ShiftLeftBy64 8 u64] Shl Reg Reg => always(shift::<B, W, Reg, Reg, ShiftLeft>);
    [ShiftRightBy32 4 u32] [ShiftRightBy64 8 u64] Shr Reg Reg => always(shift::<B, W, Reg, Reg, ShiftRight>);
    [SetBelow 1 u8] Setb Reg Absent => always(set_byte::<B, Reg, 2>);
    [SetEqual 1 u8] Sete Reg Absent => always(set_byte::<B, Reg, 4>);
    [SetNotEqual 1 u8] Setne Reg Absent => always(set_byte::<B, Reg, 5>);
    [SetAbove 1 u8] Seta Reg Absent => always(set_byte::<B, Reg, 7>);
    [MoveBelow32 4 u32] [MoveBelow64 8 u64] Cmovb Reg Reg => copy_if::<B, W, Reg, 2>;
    [MoveNotBelow32 4 u32] [MoveNotBelow64 8 u64] Cmovae Reg Reg => copy_if::<B, W, Reg, 3>;
    [LoadNotBelow32 4 u32] [LoadNotBelow64 8 u64] Cmovae Reg Mem => copy_if::<B, W, Mem, 3>;
    [MoveEqual32 4 u32] [MoveEqual64 8 u64] Cmove Reg Reg => copy_if::<B, W, Reg, 4>;
    [MoveNotEqual32 4 u32] [MoveNotEqual64 8 u64] Cmovne Reg Reg => copy_if::<B, W, Reg, 5>;

    [Push32 4 u32] [Push64 8 u64] Push Reg Absent => push::<B, W, Reg>;
    [PushImmediate32 4 u32] [PushImmediate64 8 u64] Push Imm Absent => push::<B, W, Imm>;
    [PushLoaded32 4 u32] [PushLoaded64 8 u64] Push Mem Absent => push::<B, W, Mem>;
    [Pop32 4 u32] [Pop64 8 u64] Pop Reg Absent => pop::<B, W>;
    [Call32 4 u32] [Call64 8 u64] Call Near Absent => call::<B, W>;
    [Return32 4 u32] [Return64 8 u64] Ret Absent Absent => ret::<B, W>;
    [Jump 0 u32] Jmp Near Absent => jump::<B>;
    [JumpReg32 4 u32] [JumpReg64 8 u64] Jmp Reg Absent => jump_to::<B, W, Reg>;
    [JumpLoaded32 4 u32] [JumpLoaded64 8 u64] Jmp Mem Absent => jump_to::<B, W, Mem>;
    [JumpIfBelow 0 u32] Jb Near Absent => jump_if::<B, 2>;
    [JumpIfNotBelow 0 u32] Jae Near Absent => jump_if::<B, 3>;
    [JumpIfEqual 0 u32] Je Near Absent => jump_if::<B, 4>;
    [JumpIfNotEqual 0 u32] Jne Near Absent => jump_if::<B, 5>;
    [JumpIfNotAbove 0 u32] Jbe Near Absent => jump_if::<B, 6>;
    [JumpIfAbove 0 u32] Ja Near Absent => jump_if::<B, 7>;
    [JumpIfSign 0 u32] Js Near Absent => jump_if::<B, 8>;
    [JumpIfNotSign 0 u32] Jns Near Absent => jump_if::<B, 9>;

    with_jump:
    [CompareBelow32 4 u32] [CompareBelow64 8 u64] Cmp Reg Reg + 2 => both::<B, W, Reg, Reg, Compare, 2>;
    [CompareNotBelow32 4 u32] [CompareNotBelow64 8 u64] Cmp Reg Reg + 3 => both::<B, W, Reg, Reg, Compare, 3>;
    [CompareEqual32 4 u32] [CompareEqual64 8 u64] Cmp Reg Reg + 4 => both::<B, W, Reg, Reg, Compare, 4>;
    [CompareNotEqual32 4 u32] [CompareNotEqual64 8 u64] Cmp Reg Reg + 5 => both::<B, W, Reg, Reg, Compare, 5>;
    [CompareNumberEqual8 1 u8] [CompareNumberEqual32 4 u32] [CompareNumberEqual64 8 u64]
        Cmp Reg Imm + 4 => both::<B, W, Reg, Imm, Compare, 4>;
    [CompareNumberNotEqual8 1 u8] [CompareNumberNotEqual32 4 u32] [CompareNumberNotEqual64 8 u64]
        Cmp Reg Imm + 5 => both::<B, W, Reg, Imm, Compare, 5>;
    [CompareNumberNotAbove32 4 u32] [CompareNumberNotAbove64 8 u64]
        Cmp Reg Imm + 6 => both::<B, W, Reg, Imm, Compare, 6>;
    [CompareNumberAbove32 4 u32] [CompareNumberAbove64 8 u64] Cmp Reg Imm + 7 => both::<B, W, Reg, Imm, Compare, 7>;
    [CompareLoadedBelow32 4 u32] [CompareLoadedBelow64 8 u64] Cmp Mem Reg + 2 => both::<B, W, Mem, Reg, Compare, 2>;
    [CompareLoadedNotEqual8 1 u8] [CompareLoadedNotEqual32 4 u32] [CompareLoadedNotEqual64 8 u64]
        Cmp Reg Mem + 5 => both::<B, W, Reg, Mem, Compare, 5>;
    [TestEqual8 1 u8] [TestEqual32 4 u32] [TestEqual64 8 u64] Test Reg Reg + 4 => both::<B, W, Reg, Reg, Test, 4>;
    [TestNotEqual8 1 u8] [TestNotEqual32 4 u32] [TestNotEqual64 8 u64]
        Test Reg Reg + 5 => both::<B, W, Reg, Reg, Test, 5>;
    [TestSign32 4 u32] [TestSign64 8 u64] Test Reg Reg + 8 => both::<B, W, Reg, Reg, Test, 8>;
    [TestNumberEqual8 1 u8] [TestNumberEqual32 4 u32] Test Reg Imm + 4 => both::<B, W, Reg, Imm, Test, 4>;
    [TestNumberNotEqual8 1 u8] [TestNumberNotEqual32 4 u32] Test Reg Imm + 5 => both::<B, W, Reg, Imm, Test, 5>;
    [AndEqual32 4 u32] [AndEqual64 8 u64] And Reg Imm + 4 => both::<B, W, Reg, Imm, And, 4>;
    [AndNotEqual32 4 u32] [AndNotEqual64 8 u64] And Reg Imm + 5 => both::<B, W, Reg, Imm, And, 5>;
    [AddNotEqual32 4 u32] [AddNotEqual64 8 u64] Add Reg Imm + 5 => both::<B, W, Reg, Imm, Add, 5>;
    [SubtractNotEqual32 4 u32] [SubtractNotEqual64 8 u64] Sub Reg Imm + 5 => both::<B, W, Reg, Imm, Subtract, 5>;
    [IncrementNotEqual32 4 u32] [IncrementNotEqual64 8 u64] Inc Reg Absent + 5 => both::<B, W, Reg, Imm, Increment, 5>;
    [DecrementNotEqual32 4 u32] [DecrementNotEqual64 8 u64] Dec Reg Absent + 5 => both::<B, W, Reg, Imm, Decrement, 5>;

    without_flags:
    [Add32 PlainAdd32 u32] [Add64 PlainAdd64 u64] => compute::<B, W, Reg, Reg, Unflagged<Add>>;
    [AddImmediate32 PlainAddImmediate32 u32] [AddImmediate64 PlainAddImmediate64 u64]
        => compute::<B, W, Reg, Imm, Unflagged<Add>>;
    [Subtract32 PlainSubtract32 u32] [Subtract64 PlainSubtract64 u64] => compute::<B, W, Reg, Reg, Unflagged<Subtract>>;
    [SubtractImmediate32 PlainSubtractImmediate32 u32] [SubtractImmediate64 PlainSubtractImmediate64 u64]
        => compute::<B, W, Reg, Imm, Unflagged<Subtract>>;
    [AndImmediate32 PlainAndImmediate32 u32] [AndImmediate64 PlainAndImmediate64 u64]
        => compute::<B, W, Reg, Imm, Unflagged<And>>;
    [Xor32 PlainXor32 u32] [Xor64 PlainXor64 u64] => compute::<B, W, Reg, Reg, Unflagged<Xor>>;
    [Multiply32 PlainMultiply32 u32] [Multiply64 PlainMultiply64 u64] => compute::<B, W, Reg, Reg, Unflagged<Multiply>>;
    [Increment32 PlainIncrement32 u32] [Increment64 PlainIncrement64 u64]
        => compute::<B, W, Reg, Imm, Unflagged<Increment>>;
    [Decrement32 PlainDecrement32 u32] [Decrement64 PlainDecrement64 u64]
        => compute::<B, W, Reg, Imm, Unflagged<Decrement>>;
    [ShiftLeft32 PlainShiftLeft32 u32] [ShiftLeft64 PlainShiftLeft64 u64]
        => always(shift::<B, W, Reg, Imm, Unflagged<ShiftLeft>>);
    [ShiftRight32 PlainShiftRight32 u32] [ShiftRight64 PlainShiftRight64 u64]
        => always(shift::<B, W, Reg, Imm, Unflagged<ShiftRight>>);
}

/// CF, PF, AF, ZF, SF and OF.
const FLAGS: u32 =
    RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;

/// What an op has to do with [`FLAGS`].
pub(crate) struct Effect {
    /// Nothing of it can be in the way, so nobody looks at the state between what is before it and what it does.
    certain: bool,
    /// It may branch when it is done, to where all flags may be asked for.
    branches: bool,
    reads: u32,
    /// What does not depend any more on what was there before.
    sets: u32,
}

impl Effect {
    /// That of an instruction, or of it and the Jcc behind it.
    pub(crate) fn of(op: &Op, instruction: &Instruction, branches: bool) -> Effect {
        let in_memory = (0..instruction.op_count()).any(|number| is_memory(instruction, number));
        let certain = op.quick != Quick::None
            && instruction.flow_control() == FlowControl::Next
            && !instruction.is_stack_instruction()
            && (!in_memory || instruction.mnemonic() == Mnemonic::Lea);
        // A count in CL may be zero, and then nothing is set.
        let counted =
            instruction.op1_kind() == OpKind::Register && instruction.op1_register() == Register::CL;
        let sets = if counted { 0 } else { instruction.rflags_modified() & FLAGS };
        Effect { certain, branches, reads: instruction.rflags_read() & FLAGS, sets }
    }
}

/// Leaves flags alone that nobody sees, because the ops behind them set them anew before anything else can happen.
/// Of `ops`, whose effects are given, either all are executed from the first or from the target of a branch on, or
/// none.
pub(crate) fn drop_dead_flags<B: Bus>(ops: &mut [Lowered<B>], effects: &[Effect]) {
    // What somebody may see of the flags behind an op.
    let mut seen = FLAGS;
    for (Lowered { op, .. }, effect) in ops.iter_mut().zip(effects).rev() {
        let behind = if effect.branches { FLAGS } else { seen };
        if effect.sets & behind == 0
            && let Some(quick) = op.quick.without_flags()
        {
            op.quick = quick;
        }
        seen = if effect.certain { (behind & !effect.sets) | effect.reads } else { FLAGS };
    }
}

fn forms(instruction: &Instruction) -> (Form, Form) {
    let form = |number| match instruction.op_kind(number) {
        _ if is_register(instruction, number) => Form::Reg,
        _ if is_memory(instruction, number) && instruction.memory_index() == Register::None => Form::Based,
        _ if is_memory(instruction, number) => Form::Mem,
        _ if is_immediate(instruction, number) => Form::Imm,
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => Form::Near,
        _ => Form::Other,
    };
    let extends = matches!(instruction.mnemonic(), Mnemonic::Movzx | Mnemonic::Movsx);
    match instruction.op_count() {
        // LOCK is rare, and forms that may not have it are for decoding to refuse.
        _ if instruction.has_lock_prefix() => (Form::Other, Form::Other),
        // Its pointer has the size of an offset.
        _ if instruction.is_jmp_far_indirect() => (Form::Other, Form::Other),
        0 => (Form::Absent, Form::Absent),
        1 => (form(0), Form::Absent),
        2 if extends => match (form(1), size(instruction, 1)) {
            (Form::Reg, 1) => (form(0), Form::RegByte),
            (Form::Mem | Form::Based, 1) => (form(0), Form::MemByte),
            (Form::Reg, 2) => (form(0), Form::RegWord),
            (Form::Mem | Form::Based, 2) => (form(0), Form::MemWord),
            _ => (form(0), Form::Other),
        },
        2 => (form(0), form(1)),
        _ => (Form::Other, Form::Other),
    }
}

/// Size in bytes of what an instruction works on; zero where that makes no difference.
fn operand_size(instruction: &Instruction) -> usize {
    match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Pop | Mnemonic::Call | Mnemonic::Ret => {
            instruction.stack_pointer_increment().unsigned_abs() as usize
        }
        _ => size(instruction, 0),
    }
}

/// What an operation computes, without the flags.
struct Unflagged<O>(PhantomData<O>);

impl<O: Operation> Operation for Unflagged<O> {
    const WRITES: bool = O::WRITES;

    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W {
        O::apply(&mut flags.clone(), a, b)
    }
}

impl<O: Shift> Shift for Unflagged<O> {
    #[inline(always)]
    fn apply<W: Width>(flags: &mut Flags, a: W, count: u32) -> W {
        O::apply(&mut flags.clone(), a, count)
    }
}

/// What cannot be in the way of its handler, which works on registers and flags alone.
#[inline(always)]
fn always<B: Bus>(
    handler: impl FnOnce(&mut Core, &mut B, &Op) -> Exec,
) -> impl FnOnce(&mut Core, &mut B, &Lowered<B>) -> Tried {
    |core, bus, lowered| {
        let done = handler(core, bus, &lowered.op);
        debug_assert!(done.is_ok() && core.attention == 0);
        Done
    }
}

#[inline(always)]
fn copy<B: Bus, W: Width, Source: Kind>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    let op = &lowered.op;
    let Some(value) = Source::quickly::<W, B>(core, bus, op, op.src) else { return Not };
    write_register(core, op.dst, value);
    Done
}

/// As CMOVcc: the source is read, and the upper half of a register of 32 bits cleared, in either case.
#[inline(always)]
fn copy_if<B: Bus, W: Width, Source: Kind, const CODE: u8>(
    core: &mut Core,
    bus: &mut B,
    lowered: &Lowered<B>,
) -> Tried {
    let op = &lowered.op;
    let Some(value) = Source::quickly::<W, B>(core, bus, op, op.src) else { return Not };
    let before = read_register::<W>(core, op.dst);
    write_register(core, op.dst, if core.state.flags.condition(CODE) { value } else { before });
    Done
}

#[inline(always)]
fn extend<B: Bus, To: Width, From: Width, Source: Kind, How: Extend>(
    core: &mut Core,
    bus: &mut B,
    lowered: &Lowered<B>,
) -> Tried {
    let op = &lowered.op;
    let Some(value) = Source::quickly::<From, B>(core, bus, op, op.src) else { return Not };
    write_register(core, op.dst, To::from_u64(How::extend(value)));
    Done
}

#[inline(always)]
fn store<B: Bus, W: Width, const INDEXED: bool, Source: Kind>(
    core: &mut Core,
    bus: &mut B,
    lowered: &Lowered<B>,
) -> Tried {
    let op = &lowered.op;
    let Some(value) = Source::quickly::<W, B>(core, bus, op, op.src) else { return Not };
    let offset = InMemory::<INDEXED>::offset(core, op);
    if core.store_quickly(bus, op.memory.segment, offset, value) { Done } else { Not }
}

/// The result, where there is one, goes to a register.
#[inline(always)]
fn compute<B: Bus, W: Width, D: Kind, S: Kind, O: Operation>(
    core: &mut Core,
    bus: &mut B,
    lowered: &Lowered<B>,
) -> Tried {
    let op = &lowered.op;
    let Some(a) = D::quickly::<W, B>(core, bus, op, op.dst) else { return Not };
    let Some(b) = S::quickly::<W, B>(core, bus, op, op.src) else { return Not };
    let result = O::apply(&mut core.state.flags, a, b);
    if O::WRITES {
        write_register(core, op.dst, result);
    }
    Done
}

#[inline(always)]
fn both<B: Bus, W: Width, D: Kind, S: Kind, O: Operation, const CODE: u8>(
    core: &mut Core,
    bus: &mut B,
    lowered: &Lowered<B>,
) -> Tried {
    let target = core.target_of(pairs::target::<D, S>(&lowered.op));
    if !core.can_jump_to(target) || compute::<B, W, D, S, O>(core, bus, lowered) == Not {
        return Not;
    }
    if !core.state.flags.condition(CODE) {
        return Done;
    }
    core.state.rip = target;
    Jumped
}

#[inline(always)]
fn push<B: Bus, W: Width, Source: Kind>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    let op = &lowered.op;
    let Some(value) = Source::quickly::<W, B>(core, bus, op, op.dst) else { return Not };
    if core.push_quickly(bus, value) { Done } else { Not }
}

#[inline(always)]
fn pop<B: Bus, W: Width>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    let Some(value) = popped::<W, B>(core, bus) else { return Not };
    core.adjust_sp(W::BYTES as i64);
    write_part(core, lowered.op.dst.number, value);
    Done
}

/// What is on top of the stack.
#[inline(always)]
fn popped<W: Width, B: Bus>(core: &Core, bus: &B) -> Option<W> {
    core.load_quickly(bus, segment::SS, core.register(gpr::RSP) & core.stack_mask())
}

#[inline(always)]
fn call<B: Bus, W: Width>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    let target = core.target_of(lowered.op.immediate);
    let from = W::from_u64(core.block_base().wrapping_add(lowered.next));
    if !core.can_jump_to(target) || !core.push_quickly(bus, from) {
        return Not;
    }
    core.state.rip = target;
    Jumped
}

#[inline(always)]
fn ret<B: Bus, W: Width>(core: &mut Core, bus: &mut B, _lowered: &Lowered<B>) -> Tried {
    let Some(target) = popped::<W, B>(core, bus) else { return Not };
    let jumped = jump_near(core, target.to_u64());
    if jumped == Jumped {
        core.adjust_sp(W::BYTES as i64);
    }
    jumped
}

#[inline(always)]
fn jump<B: Bus>(core: &mut Core, _bus: &mut B, lowered: &Lowered<B>) -> Tried {
    jump_near(core, core.target_of(lowered.op.immediate))
}

#[inline(always)]
fn jump_to<B: Bus, W: Width, Target: Kind>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    let op = &lowered.op;
    let Some(target) = Target::quickly::<W, B>(core, bus, op, op.dst) else { return Not };
    jump_near(core, target.to_u64())
}

#[inline(always)]
fn jump_if<B: Bus, const CODE: u8>(core: &mut Core, bus: &mut B, lowered: &Lowered<B>) -> Tried {
    if core.state.flags.condition(CODE) { jump(core, bus, lowered) } else { Done }
}

#[inline(always)]
fn jump_near(core: &mut Core, target: u64) -> Tried {
    if !core.can_jump_to(target) {
        return Not;
    }
    core.state.rip = target;
    Jumped
}
