//! Operand kinds as type parameters, so that the commonest forms of an instruction test nothing at
//! run time, and the choice of a handler from what iced-x86 decoded.

use iced_x86::{Instruction, OpKind};

use crate::{Bus, Core, Exception, Exec, Op, Operand, OperandKind, flags::Flags, width::Width};

/// What is known of an operand when its handler is chosen.
pub(super) trait Kind {
    /// Whether it is the op's memory reference.
    const MEMORY: bool;

    /// Reads the operand `which`, where nothing stands in the way: no fault, and no device.
    fn quickly<W: Width, B: Bus>(core: &Core, bus: &B, op: &Op, which: Operand) -> Option<W>;

    /// Reads the operand `which`.
    fn load<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op, which: Operand) -> Result<W, Exception>;

    /// Reads the operand `which` and goes on with it, as [`Core::load_then`] does.
    #[inline(always)]
    fn take<W: Width, B: Bus>(
        core: &mut Core,
        bus: &mut B,
        op: &Op,
        which: Operand,
        then: impl FnOnce(&mut Core, &mut B, W) -> Exec,
    ) -> Exec {
        let value = Self::load(core, bus, op, which)?;
        then(core, bus, value)
    }

    /// Writes the operand `which`, whatever was there.
    fn store<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op, which: Operand, value: W) -> Exec;

    /// Replaces the operand `which` by what `change` makes of it. The operand is translated first,
    /// so that `change` may set flags: nothing can fault after it.
    fn update<W: Width, B: Bus>(
        core: &mut Core,
        bus: &mut B,
        op: &Op,
        which: Operand,
        change: impl FnOnce(&mut Flags, W) -> W,
    ) -> Exec;
}

/// What an instruction computes of its first operand, `a`, and its second, `b`, which says nothing where it has one.
pub(super) trait Operation {
    /// Whether the result goes to the first operand.
    const WRITES: bool = true;

    /// Computes, and sets the flags.
    fn apply<W: Width>(flags: &mut Flags, a: W, b: W) -> W;
}

/// A general register.
pub(super) struct Reg;
/// The op's memory reference, which has an index register, or may have one, or not.
pub(super) struct InMemory<const INDEXED: bool>;
/// The op's memory reference.
pub(super) type Mem = InMemory<true>;
/// The op's memory reference, where it has no index register.
pub(super) type Based = InMemory<false>;
/// The op's immediate.
pub(super) struct Imm;

/// The general register `which` names, at width `W`. That it names one was seen when the handler was
/// chosen.
#[inline(always)]
pub(super) fn read_register<W: Width>(core: &Core, which: Operand) -> W {
    W::from_u64(core.general(which.number) >> high::<W>(which))
}

/// Where a byte of a general register begins: AH, CH, DH and BH at bit 8.
#[inline(always)]
fn high<W: Width>(which: Operand) -> u32 {
    if W::BYTES == 1 { 8 * u32::from(which.kind == OperandKind::HighByte) } else { 0 }
}

/// Writes general register `index`: 8 and 16 bits leave the rest alone, 32 bits clear the upper
/// half.
#[inline(always)]
pub(super) fn write_part<W: Width>(core: &mut Core, index: u8, value: W) {
    let whole = match W::BYTES {
        1 => (core.general(index) & !0xff) | value.to_u64(),
        2 => (core.general(index) & !0xffff) | value.to_u64(),
        _ => value.to_u64(),
    };
    core.set_general(index, whole);
}

/// Writes the general register `which` names.
#[inline(always)]
pub(super) fn write_register<W: Width>(core: &mut Core, which: Operand, value: W) {
    if W::BYTES > 1 {
        return write_part(core, which.number, value);
    }
    let at = high::<W>(which);
    let rest = core.general(which.number) & !(0xff << at);
    core.set_general(which.number, rest | (value.to_u64() << at));
}

impl Kind for Reg {
    const MEMORY: bool = false;

    #[inline(always)]
    fn quickly<W: Width, B: Bus>(core: &Core, _bus: &B, _op: &Op, which: Operand) -> Option<W> {
        Some(read_register(core, which))
    }

    #[inline(always)]
    fn load<W: Width, B: Bus>(
        core: &mut Core,
        _bus: &mut B,
        _op: &Op,
        which: Operand,
    ) -> Result<W, Exception> {
        Ok(read_register(core, which))
    }

    #[inline(always)]
    fn store<W: Width, B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op, which: Operand, value: W) -> Exec {
        write_register(core, which, value);
        Ok(())
    }

    #[inline(always)]
    fn update<W: Width, B: Bus>(
        core: &mut Core,
        _bus: &mut B,
        _op: &Op,
        which: Operand,
        change: impl FnOnce(&mut Flags, W) -> W,
    ) -> Exec {
        let before = read_register(core, which);
        let after = change(&mut core.state.flags, before);
        write_register(core, which, after);
        Ok(())
    }
}

impl<const INDEXED: bool> InMemory<INDEXED> {
    #[inline(always)]
    pub(super) fn offset(core: &Core, op: &Op) -> u64 {
        if INDEXED { core.effective_address(op) } else { core.based_address(op) }
    }
}

impl<const INDEXED: bool> Kind for InMemory<INDEXED> {
    const MEMORY: bool = true;

    #[inline(always)]
    fn quickly<W: Width, B: Bus>(core: &Core, bus: &B, op: &Op, _which: Operand) -> Option<W> {
        core.load_quickly(bus, op.memory.segment, Self::offset(core, op))
    }

    #[inline(always)]
    fn load<W: Width, B: Bus>(
        core: &mut Core,
        bus: &mut B,
        op: &Op,
        _which: Operand,
    ) -> Result<W, Exception> {
        let offset = Self::offset(core, op);
        core.load_at(bus, op.memory.segment, offset)
    }

    #[inline(always)]
    fn take<W: Width, B: Bus>(
        core: &mut Core,
        bus: &mut B,
        op: &Op,
        _which: Operand,
        then: impl FnOnce(&mut Core, &mut B, W) -> Exec,
    ) -> Exec {
        let offset = Self::offset(core, op);
        core.load_then(bus, op.memory.segment, offset, then)
    }

    #[inline(always)]
    fn store<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op, _which: Operand, value: W) -> Exec {
        let offset = Self::offset(core, op);
        core.store_at(bus, op.memory.segment, offset, value)
    }

    #[inline(always)]
    fn update<W: Width, B: Bus>(
        core: &mut Core,
        bus: &mut B,
        op: &Op,
        _which: Operand,
        change: impl FnOnce(&mut Flags, W) -> W,
    ) -> Exec {
        let offset = Self::offset(core, op);
        match core.update_quickly(bus, op.memory.segment, offset, change) {
            Ok(()) => Ok(()),
            Err(change) => update_slowly(core, bus, op, change),
        }
    }
}

#[inline(never)]
fn update_slowly<W: Width, B: Bus>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    change: impl FnOnce(&mut Flags, W) -> W,
) -> Exec {
    let offset = core.effective_address(op);
    let place = core.update_slowly_at::<W, B>(bus, op.memory.segment, offset)?;
    let before = core.place_load::<W, B>(bus, &place);
    let after = change(&mut core.state.flags, before);
    core.place_store(bus, &place, after);
    Ok(())
}

impl Kind for Imm {
    const MEMORY: bool = false;

    #[inline(always)]
    fn quickly<W: Width, B: Bus>(_core: &Core, _bus: &B, op: &Op, _which: Operand) -> Option<W> {
        Some(W::from_u64(op.immediate))
    }

    #[inline(always)]
    fn load<W: Width, B: Bus>(
        _core: &mut Core,
        _bus: &mut B,
        op: &Op,
        _which: Operand,
    ) -> Result<W, Exception> {
        Ok(W::from_u64(op.immediate))
    }

    /// No instruction has an immediate destination.
    #[inline(always)]
    fn store<W: Width, B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op, _which: Operand, _value: W) -> Exec {
        Err(Exception::INVALID_OPCODE)
    }

    /// No instruction has an immediate destination.
    #[inline(always)]
    fn update<W: Width, B: Bus>(
        _core: &mut Core,
        _bus: &mut B,
        _op: &Op,
        _which: Operand,
        _change: impl FnOnce(&mut Flags, W) -> W,
    ) -> Exec {
        Err(Exception::INVALID_OPCODE)
    }
}

/// Operand `number` is a general register or a byte of one.
pub(super) fn is_register(instruction: &Instruction, number: u32) -> bool {
    kind(instruction, number) == OpKind::Register && instruction.op_register(number).is_gpr()
}

/// Operand `number` is in memory.
pub(super) fn is_memory(instruction: &Instruction, number: u32) -> bool {
    kind(instruction, number) == OpKind::Memory
}

/// Operand `number` is an immediate.
pub(super) fn is_immediate(instruction: &Instruction, number: u32) -> bool {
    number < instruction.op_count()
        && matches!(
            kind(instruction, number),
            OpKind::Immediate8
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        )
}

fn kind(instruction: &Instruction, number: u32) -> OpKind {
    match number {
        0 => instruction.op0_kind(),
        1 => instruction.op1_kind(),
        2 => instruction.op2_kind(),
        _ => instruction.op3_kind(),
    }
}

/// Size in bytes of operand `number`, where it is a general register or memory; otherwise 0.
pub(super) fn size(instruction: &Instruction, number: u32) -> usize {
    if is_register(instruction, number) {
        instruction.op_register(number).size()
    } else if is_memory(instruction, number) {
        instruction.memory_size().size()
    } else {
        0
    }
}

/// The kind and width of a single operand that may be a register or memory, as a handler of
/// `$function::<B, W, Kind, …>`.
macro_rules! unary {
    ($instruction:expr, $function:ident $(, $more:ty)*) => {
        match ($crate::exec::operands::size($instruction, 0),
            $crate::exec::operands::is_memory($instruction, 0))
        {
            (1, false) => Some($function::<B, u8, Reg $(, $more)*> as Handler<B>),
            (2, false) => Some($function::<B, u16, Reg $(, $more)*> as Handler<B>),
            (4, false) => Some($function::<B, u32, Reg $(, $more)*> as Handler<B>),
            (1, true) => Some($function::<B, u8, Mem $(, $more)*> as Handler<B>),
            (2, true) => Some($function::<B, u16, Mem $(, $more)*> as Handler<B>),
            (4, true) => Some($function::<B, u32, Mem $(, $more)*> as Handler<B>),
            (8, false) => Some($function::<B, u64, Reg $(, $more)*> as Handler<B>),
            (8, true) => Some($function::<B, u64, Mem $(, $more)*> as Handler<B>),
            _ => None,
        }
    };
}

/// As `unary!`, for instructions without an 8-bit form.
macro_rules! unary_wide {
    ($instruction:expr, $function:ident $(, $more:ty)*) => {
        match ($crate::exec::operands::size($instruction, 0),
            $crate::exec::operands::is_memory($instruction, 0))
        {
            (2, false) => Some($function::<B, u16, Reg $(, $more)*> as Handler<B>),
            (4, false) => Some($function::<B, u32, Reg $(, $more)*> as Handler<B>),
            (2, true) => Some($function::<B, u16, Mem $(, $more)*> as Handler<B>),
            (4, true) => Some($function::<B, u32, Mem $(, $more)*> as Handler<B>),
            (8, false) => Some($function::<B, u64, Reg $(, $more)*> as Handler<B>),
            (8, true) => Some($function::<B, u64, Mem $(, $more)*> as Handler<B>),
            _ => None,
        }
    };
}

/// The kinds and width of a destination and a source: `$function::<B, W, Destination, Source, …>`.
macro_rules! binary {
    ($instruction:expr, $function:ident $(, $more:ty)*) => {{
        let instruction: &Instruction = $instruction;
        match $crate::exec::operands::size(instruction, 0) {
            1 => binary!(@kinds instruction, u8, $function $(, $more)*),
            2 => binary!(@kinds instruction, u16, $function $(, $more)*),
            4 => binary!(@kinds instruction, u32, $function $(, $more)*),
            8 => binary!(@kinds instruction, u64, $function $(, $more)*),
            _ => None,
        }
    }};
    (@kinds $instruction:ident, $width:ty, $function:ident $(, $more:ty)*) => {{
        use $crate::exec::operands::{is_immediate, is_memory, is_register};
        let (to_memory, to_register) = (is_memory($instruction, 0), is_register($instruction, 0));
        if to_register && is_register($instruction, 1) {
            Some($function::<B, $width, Reg, Reg $(, $more)*> as Handler<B>)
        } else if to_register && is_immediate($instruction, 1) {
            Some($function::<B, $width, Reg, Imm $(, $more)*> as Handler<B>)
        } else if to_register && is_memory($instruction, 1) {
            Some($function::<B, $width, Reg, Mem $(, $more)*> as Handler<B>)
        } else if to_memory && is_register($instruction, 1) {
            Some($function::<B, $width, Mem, Reg $(, $more)*> as Handler<B>)
        } else if to_memory && is_immediate($instruction, 1) {
            Some($function::<B, $width, Mem, Imm $(, $more)*> as Handler<B>)
        } else {
            None
        }
    }};
}

/// A handler with the condition code as its last, constant parameter.
macro_rules! by_condition {
    ($code:expr, $function:ident $(, $more:ty)*) => {
        by_condition!(@codes $code, $function, ($($more),*),
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@codes $code:expr, $function:ident, $more:tt, $($number:literal)*) => {
        match $code {
            $($number => by_condition!(@one $number, $function, $more),)*
            _ => None,
        }
    };
    (@one $number:literal, $function:ident, ($($more:ty),*)) => {
        Some($function::<B, $($more,)* $number> as Handler<B>)
    };
}

/// The condition code of Jcc, SETcc or CMOVcc: the low four bits of their opcodes.
pub(super) fn condition(instruction: &Instruction) -> Option<u8> {
    // iced-x86 numbers the conditions from 1 in the opcodes' order.
    (instruction.condition_code() as u8).checked_sub(1)
}

pub(super) use {binary, by_condition, unary, unary_wide};
