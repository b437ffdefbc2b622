//! FINIT, FCLEX, FLDCW, FSTCW, FSTSW, FFREE, FINCSTP, FDECSTP, FNOP and WAIT (Intel SDM vol. 2A).

use iced_x86::{Code, Instruction};

use super::{Waiting, available, no_error_pending, stack_index, waiting};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    exec::operands::write_part,
    float::exception,
    fpu::status,
    state::{cr0, gpr},
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Wait => wait,
        Code::Fninit => initialize,
        Code::Fnclex => clear_exceptions,
        Code::Fldcw_m2byte => load_control,
        Code::Fnstcw_m2byte => store_control,
        Code::Fnstsw_m2byte => store_status,
        Code::Fnstsw_AX => store_status_to_ax,
        Code::Fnop => waiting::<B, Nothing>,
        // What the 8087 and 287 had; without effect since the 387.
        Code::Fneni | Code::Fndisi | Code::Fnsetpm => nothing,
        Code::Ffree_sti => waiting::<B, Free<false>>,
        Code::Ffreep_sti => waiting::<B, Free<true>>,
        Code::Fincstp => waiting::<B, MoveTop<1>>,
        Code::Fdecstp => waiting::<B, MoveTop<7>>,
        _ => return None,
    })
}

/// WAIT: #NM when CR0.MP says so, and exceptions that are pending.
fn wait<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    const TRAP: u64 = cr0::MP | cr0::TS;
    if core.state.cr0 & TRAP == TRAP {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    no_error_pending(core, bus)?;
    Ok(())
}

fn initialize<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    available(core)?;
    core.state.fpu.initialize();
    Ok(())
}

fn clear_exceptions<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    available(core)?;
    core.state.fpu.status &=
        !(u16::from(exception::ALL) | status::STACK_FAULT | status::SUMMARY | status::BUSY);
    Ok(())
}

fn nothing<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    available(core)
}

/// FLDCW waits; unmasking an exception whose flag is set makes it pending.
fn load_control<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    if !no_error_pending(core, bus)? {
        return Ok(());
    }
    let offset = core.effective_address(op);
    let control = core.load_at(bus, op.memory.segment, offset)?;
    core.state.fpu.set_control(control);
    Ok(())
}

fn store_control<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let offset = core.effective_address(op);
    let control = core.state.fpu.control;
    core.store_at(bus, op.memory.segment, offset, control)
}

fn store_status<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let offset = core.effective_address(op);
    let status = core.state.fpu.status;
    core.store_at(bus, op.memory.segment, offset, status)
}

fn store_status_to_ax<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    available(core)?;
    let status = core.state.fpu.status;
    write_part(core, gpr::RAX, status);
    Ok(())
}

struct Nothing;

impl Waiting for Nothing {
    fn run<B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        Ok(())
    }
}

/// FFREE and FFREEP.
struct Free<const POP: bool>;

impl<const POP: bool> Waiting for Free<POP> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C1, false);
        fpu.free(stack_index(op.dst));
        if POP {
            fpu.pop();
        }
        Ok(())
    }
}

/// FINCSTP and FDECSTP: tags stay.
struct MoveTop<const BY: u8>;

impl<const BY: u8> Waiting for MoveTop<BY> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.set_top(fpu.top().wrapping_add(BY));
        fpu.condition(status::C1, false);
        Ok(())
    }
}
