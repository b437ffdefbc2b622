//! RDRAND and RDSEED (Intel SDM vol. 2B): numbers that follow from the machine's seed and from how many
//! have been asked for, so that a run can be repeated. There is always one: CF is set, the other
//! arithmetic flags are cleared.

use iced_x86::{Instruction, Mnemonic};

use super::operands::{size, write_register};
use crate::{Bus, Core, Exec, Handler, Op, flags::bit, width::Width};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    if !matches!(instruction.mnemonic(), Mnemonic::Rdrand | Mnemonic::Rdseed) {
        return None;
    }
    match size(instruction, 0) {
        2 => Some(random::<B, u16>),
        4 => Some(random::<B, u32>),
        8 => Some(random::<B, u64>),
        _ => None,
    }
}

fn random<B: Bus, W: Width>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let value = core.state.random.draw();
    write_register(core, op.dst, W::from_u64(value));
    core.state.flags.set_arithmetic(bit::CF);
    Ok(())
}
