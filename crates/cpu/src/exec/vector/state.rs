//! EMMS, LDMXCSR, STMXCSR, fences and prefetches (Intel SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use super::{Form, by_form, enter_mmx, mmx_available};
use crate::{Bus, Core, Exception, Exec, Handler, Op, fpu::MXCSR_MASK};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Emms => leave_mmx,
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => by_form!(instruction, load_control),
        Mnemonic::Stmxcsr | Mnemonic::Vstmxcsr => by_form!(instruction, store_control),
        // Memory is seen in program order, and nothing is cached.
        Mnemonic::Sfence
        | Mnemonic::Lfence
        | Mnemonic::Mfence
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2 => nothing,
        _ => return None,
    })
}

/// EMMS: all registers are empty.
fn leave_mmx<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    if mmx_available(core, bus)? {
        enter_mmx(core);
        core.state.fpu.valid = 0;
    }
    Ok(())
}

/// LDMXCSR: bits that do not exist are #GP(0).
fn load_control<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value: u32 = core.load(bus, op, op.dst)?;
    if value & !MXCSR_MASK != 0 {
        return Err(Exception::general_protection(0));
    }
    core.state.sse.mxcsr = value;
    Ok(())
}

fn store_control<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = core.state.sse.mxcsr;
    core.store(bus, op, op.dst, value)
}

fn nothing<B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    Ok(())
}
