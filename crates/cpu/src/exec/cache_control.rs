//! CLFLUSH, CLFLUSHOPT and CLWB, of which, without a data cache, all that can be seen is whether the
//! address could be read; PREFETCHW and the reserved hints, which do nothing (Intel SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use crate::{Bus, Core, Exec, Handler, Op};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Clflush | Mnemonic::Clflushopt | Mnemonic::Clwb => line,
        Mnemonic::Prefetch | Mnemonic::Prefetchw | Mnemonic::Reservednop => hint,
        _ => return None,
    })
}

/// As a read of a byte, though nothing is read.
fn line<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let at = core.effective_address(op);
    core.probe(bus, op.memory.segment, at, 1, false)
}

/// A hint touches no memory and raises nothing.
fn hint<B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    Ok(())
}
