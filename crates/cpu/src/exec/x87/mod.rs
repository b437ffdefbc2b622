//! x87: what its instructions have in common (Intel SDM vol. 1, chapter 8).

mod arithmetic;
mod compare;
mod control;
mod elementary;
pub(super) mod environment;
mod transfer;

use iced_x86::Instruction;

use crate::{
    Bus, Core, Exception, Exec, Handler, Op, Operand,
    access::attention,
    float::{Class, Number, Outcome, exception, quieted},
    fpu::{Extended, Fpu, Pointer, status},
    state::cr0,
};

/// The handler of an x87 instruction.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    arithmetic::handler(instruction)
        .or_else(|| compare::handler(instruction))
        .or_else(|| control::handler(instruction))
        .or_else(|| elementary::handler(instruction))
        .or_else(|| environment::handler(instruction))
        .or_else(|| transfer::handler(instruction))
}

/// #NM, when there is no x87 or its registers are another task's (SDM vol. 3A, table 9-2).
pub(in crate::exec) fn available(core: &Core) -> Exec {
    if core.state.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    Ok(())
}

/// What an exception that is pending does to a waiting instruction: #MF with CR0.NE. Without it
/// FERR# tells the interrupt controller, and the processor stands still until an interrupt comes,
/// unless IGNNE# lets it go on (SDM vol. 1, D.2.1.1). False: the instruction is tried again.
pub(in crate::exec) fn no_error_pending<B: Bus>(core: &mut Core, bus: &mut B) -> Result<bool, Exception> {
    if core.state.fpu.status & status::SUMMARY == 0 {
        // The latch behind IGNNE# is cleared when FERR# goes away.
        core.state.fpu.ignore_numeric_error = false;
        return Ok(true);
    }
    if core.state.cr0 & cr0::NE != 0 {
        return Err(Exception::FLOATING_POINT);
    }
    if core.state.fpu.ignore_numeric_error {
        return Ok(true);
    }
    bus.numeric_error(core.cycle());
    core.device_touched();
    core.attention |= attention::REPEAT;
    Ok(false)
}

/// What a waiting instruction of x87 does, once it may.
trait Waiting {
    /// Does it. A fault must leave everything as it was.
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec;
}

/// A waiting instruction that moves the instruction pointer.
fn waiting<B: Bus, I: Waiting>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    if !no_error_pending(core, bus)? {
        return Ok(());
    }
    I::run(core, bus, op)?;
    remember(core, op);
    Ok(())
}

/// Records the instruction, and its operand in memory.
fn remember(core: &mut Core, op: &Op) {
    let state = &mut core.state;
    let selector = state.cs().selector;
    state.fpu.opcode = (op.immediate & 0x7ff) as u16;
    state.fpu.instruction = Pointer { selector, offset: state.rip.wrapping_sub(op.length.into()) };
    if op.dst == Operand::MEMORY {
        let offset = core.effective_address(op);
        let segment = core.state.segments.get(usize::from(op.memory.segment));
        let selector = segment.map_or(0, |segment| segment.selector);
        core.state.fpu.data = Pointer { selector, offset };
    }
}

/// Number of the stack register an operand is.
fn stack_index(operand: Operand) -> u8 {
    operand.number & 7
}

/// An operand that was not there: a stack fault. C1 tells overflow from underflow. Says whether
/// it is masked.
fn stack_fault(fpu: &mut Fpu, overflow: bool) -> bool {
    fpu.status |= status::STACK_FAULT;
    fpu.condition(status::C1, overflow);
    fpu.raise(exception::INVALID)
}

/// An operand of an instruction whose result goes to ST(0) was not there.
fn missing_operand(fpu: &mut Fpu) {
    if stack_fault(fpu, false) {
        fpu.set_st(0, indefinite());
    }
}

/// Whether an instruction that puts one result for ST(0) and pushes another can: both are the indefinite
/// where ST(0) is not there or the stack is full.
fn has_room_for_two(fpu: &mut Fpu) -> bool {
    let there = !fpu.empty(0);
    if there && fpu.empty(7) {
        return true;
    }
    // What is there overflows.
    if stack_fault(fpu, there) {
        fpu.set_st(0, indefinite());
        fpu.push(indefinite());
    }
    false
}

/// What the operands alone decide: an invalid or NaN operand's result, or which flags go on with
/// the operation.
fn screen(a: Number, b: Number) -> Result<u8, Outcome> {
    if a.class == Class::Unsupported || b.class == Class::Unsupported {
        return Err(Outcome::invalid());
    }
    if !a.is_nan() && !b.is_nan() {
        let denormal = a.denormal || b.denormal;
        return Ok(if denormal { exception::DENORMAL } else { 0 });
    }
    let signaling = a.class == Class::Signaling || b.class == Class::Signaling;
    let flags = if signaling { exception::INVALID } else { 0 };
    Err(Outcome { number: quieted(chosen_nan(a, b)), flags, up: false })
}

/// Which NaN goes on: the larger significand's, and of equal ones the positive (SDM vol. 1, table
/// 4-7).
fn chosen_nan(a: Number, b: Number) -> Number {
    match (a.is_nan(), b.is_nan()) {
        (true, false) => a,
        (false, true) => b,
        _ if a.class != b.class => {
            if a.class == Class::Quiet {
                a
            } else {
                b
            }
        }
        _ if a.significand != b.significand => {
            if a.significand > b.significand {
                a
            } else {
                b
            }
        }
        _ => {
            if a.sign {
                b
            } else {
                a
            }
        }
    }
}

/// As [`screen`], of one operand.
fn screen_one(a: Number) -> Result<u8, Outcome> {
    screen(a, Number::ONE)
}

/// Whether flags hold an exception that keeps an instruction from giving a result.
fn prevents(fpu: &Fpu, flags: u8) -> bool {
    const BEFORE: u8 = exception::INVALID | exception::DENORMAL | exception::ZERO_DIVIDE;
    flags & BEFORE & !(fpu.control as u8) != 0
}

/// Completes an operation on two operands that were there. `None`: there is no result.
fn complete(
    fpu: &mut Fpu,
    a: Number,
    b: Number,
    operation: impl FnOnce(&Fpu) -> Outcome,
) -> Option<Extended> {
    fpu.condition(status::C1, false);
    let outcome = match screen(a, b) {
        Err(outcome) => outcome,
        Ok(flags) => before_rounding(fpu, operation(fpu), flags),
    };
    settle(fpu, outcome)
}

/// An operation's outcome with what its operands raise: #I and #Z come before #D, and #D, when it is
/// not masked, before what rounding would raise.
fn before_rounding(fpu: &Fpu, outcome: Outcome, flags: u8) -> Outcome {
    if outcome.flags & (exception::INVALID | exception::ZERO_DIVIDE) != 0 {
        return outcome;
    }
    let kept = if prevents(fpu, flags) { 0 } else { outcome.flags };
    Outcome { flags: kept | flags, ..outcome }
}

/// Raises an outcome's exceptions, sets C1, and gives the result, unless an exception prevents it.
fn settle(fpu: &mut Fpu, outcome: Outcome) -> Option<Extended> {
    fpu.raise(outcome.flags);
    if prevents(fpu, outcome.flags) {
        return None;
    }
    fpu.condition(status::C1, outcome.up);
    Some(Extended::pack(outcome.number))
}

/// The masked result of an invalid operation.
fn indefinite() -> Extended {
    Extended::pack(Number::INDEFINITE)
}
