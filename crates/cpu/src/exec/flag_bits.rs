//! CLC, STC, CMC, CLD, STD, LAHF, SAHF, SALC, NOP, PAUSE (Intel SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use super::operands::write_part;
use crate::{
    Bus, Core, Exec, Handler, Op,
    flags::bit::{AF, CF, FIXED, OF, PF, SF, ZF},
    state::gpr,
};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Clc => Some(clc::<B>),
        Mnemonic::Stc => Some(stc::<B>),
        Mnemonic::Cmc => Some(cmc::<B>),
        Mnemonic::Cld => Some(cld::<B>),
        Mnemonic::Std => Some(std::<B>),
        Mnemonic::Lahf => Some(lahf::<B>),
        Mnemonic::Sahf => Some(sahf::<B>),
        Mnemonic::Salc => Some(salc::<B>),
        Mnemonic::Nop => Some(nop::<B>),
        Mnemonic::Pause => Some(pause::<B>),
        _ => None,
    }
}

fn clc<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    core.state.flags.set_carry(false);
    Ok(())
}

fn stc<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    core.state.flags.set_carry(true);
    Ok(())
}

fn cmc<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let carry = core.state.flags.carry();
    core.state.flags.set_carry(!carry);
    Ok(())
}

fn cld<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    core.state.flags.set_direction(false);
    Ok(())
}

fn std<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    core.state.flags.set_direction(true);
    Ok(())
}

const AH_FLAGS: u32 = SF | ZF | AF | PF | CF;

fn lahf<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let ah = (core.state.flags.arithmetic() & AH_FLAGS) | FIXED;
    let rest = core.register(gpr::RAX) & !0xff00;
    core.set_register(gpr::RAX, rest | (u64::from(ah) << 8));
    Ok(())
}

/// SAHF leaves OF, which is not in AH.
fn sahf<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let ah = (core.register(gpr::RAX) >> 8) as u32;
    let flags = &mut core.state.flags;
    flags.set_arithmetic((ah & AH_FLAGS) | (flags.arithmetic() & OF));
    Ok(())
}

/// SALC, D6h, undocumented: AL becomes FFh if CF is set, otherwise 0.
fn salc<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let al: u8 = if core.state.flags.carry() { 0xff } else { 0 };
    write_part(core, gpr::RAX, al);
    Ok(())
}

/// NOP; the form with a memory operand does not touch memory.
fn nop<B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    Ok(())
}

/// PAUSE lets virtual time pass, as the machine's cost table says.
fn pause<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    core.pause(bus);
    Ok(())
}
