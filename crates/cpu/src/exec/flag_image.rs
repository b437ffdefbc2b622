//! PUSHF and POPF, whose image of EFLAGS depends on mode and privilege (Intel SDM vol. 2B).

use iced_x86::{Code, Instruction};

use crate::{Bus, Core, Exception, Exec, Handler, Op, flags::bit, state::cr4};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Pushfw | Code::Pushfd | Code::Pushfq => push,
        Code::Popfw | Code::Popfd | Code::Popfq => pop,
        _ => return None,
    })
}

/// In v8086 mode with IOPL below 3 the 16-bit forms work with CR4.VME; nothing else does.
fn virtualized<B: Bus>(core: &Core, _bus: &B, op: &Op) -> Result<bool, Exception> {
    if !core.state.v8086() || core.state.flags.iopl() == 3 {
        return Ok(false);
    }
    if core.state.cr4 & cr4::VME == 0 || op.operand_size != 2 {
        return Err(Exception::general_protection(0));
    }
    Ok(true)
}

fn push<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let mut image = core.state.flags.bits() & !(bit::VM | bit::RF);
    if virtualized(core, bus, op)? {
        image &= !bit::IF;
        if core.state.flags.virtual_interrupt() {
            image |= bit::IF;
        }
        image |= bit::IOPL;
    }
    match op.operand_size {
        2 => core.push::<u16, B>(bus, image as u16),
        4 => core.push::<u32, B>(bus, image),
        _ => core.push::<u64, B>(bus, image.into()),
    }
}

fn pop<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let virtualized = virtualized(core, bus, op)?;
    let mut image = match op.operand_size {
        2 => u32::from(core.peek::<u16, B>(bus, 0)?),
        4 => core.peek::<u32, B>(bus, 0)?,
        _ => core.peek::<u64, B>(bus, 0)? as u32,
    };
    let mut mask = bit::ARITHMETIC | bit::TF | bit::DF | bit::NT | bit::AC | bit::ID;
    if virtualized {
        let pending = core.state.flags.virtual_interrupt_pending();
        if image & bit::TF != 0 || (image & bit::IF != 0 && pending) {
            return Err(Exception::general_protection(0));
        }
        mask = (mask & 0xffff) | bit::VIF;
        image &= 0xffff;
        if image & bit::IF != 0 {
            image |= bit::VIF;
        }
    } else {
        if core.state.cpl <= core.state.flags.iopl() || !core.state.protected() {
            mask |= bit::IF;
        }
        if core.state.cpl == 0 {
            mask |= bit::IOPL;
        }
        if op.operand_size == 2 {
            mask &= 0xffff;
        }
    }
    core.adjust_sp(i64::from(op.operand_size));
    let kept = core.state.flags.bits() & !mask & !bit::RF;
    core.set_flags(kept | (image & mask));
    Ok(())
}
