//! DAA, DAS, AAA, AAS, AAM, AAD (Intel SDM vol. 2).
//!
//! Flags the manual leaves undefined (OF; after AAM and AAD also AF and CF; after AAA and AAS also
//! SF, ZF and PF) are cleared or follow AL.

use iced_x86::{Instruction, Mnemonic};

use super::operands::write_part;
use crate::{Bus, Core, Exception, Exec, Handler, Op, state::gpr};

/// The handler of an instruction of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Daa => Some(daa::<B>),
        Mnemonic::Das => Some(das::<B>),
        Mnemonic::Aaa => Some(aaa::<B>),
        Mnemonic::Aas => Some(aas::<B>),
        Mnemonic::Aam => Some(aam::<B>),
        Mnemonic::Aad => Some(aad::<B>),
        _ => None,
    }
}

fn set_al(core: &mut Core, al: u8, carry: bool, adjust: bool) {
    write_part(core, gpr::RAX, al);
    core.state.flags.set_result(al, carry, false);
    core.state.flags.set_adjust(adjust);
}

fn daa<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let before = core.register(gpr::RAX) as u8;
    let low = before & 0xf > 9 || core.state.flags.adjust();
    let high = before > 0x99 || core.state.flags.carry();
    let fix = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    set_al(core, before.wrapping_add(fix), high, low);
    Ok(())
}

fn das<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let before = core.register(gpr::RAX) as u8;
    let low = before & 0xf > 9 || core.state.flags.adjust();
    let high = before > 0x99 || core.state.flags.carry();
    let fix = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    // Taking 6 from less than 6 borrows, unlike DAA's addition, which cannot carry alone.
    let borrow = high || (low && before < 6);
    set_al(core, before.wrapping_sub(fix), borrow, low);
    Ok(())
}

fn aaa<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let ax = core.register(gpr::RAX) as u16;
    let adjust = ax & 0xf > 9 || core.state.flags.adjust();
    unpacked(core, if adjust { ax.wrapping_add(0x106) } else { ax }, adjust);
    Ok(())
}

fn aas<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let ax = core.register(gpr::RAX) as u16;
    let adjust = ax & 0xf > 9 || core.state.flags.adjust();
    unpacked(core, if adjust { ax.wrapping_sub(0x106) } else { ax }, adjust);
    Ok(())
}

fn unpacked(core: &mut Core, ax: u16, adjust: bool) {
    write_part(core, gpr::RAX, ax & 0xff0f);
    core.state.flags.set_result((ax & 0xf) as u8, adjust, false);
    core.state.flags.set_adjust(adjust);
}

fn aam<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let al = core.register(gpr::RAX) as u8;
    let base = op.immediate as u8;
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return Err(Exception::DIVIDE);
    };
    write_part(core, gpr::RAX, u16::from_le_bytes([low, high]));
    core.state.flags.set_logic(low);
    Ok(())
}

fn aad<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let [al, ah] = (core.register(gpr::RAX) as u16).to_le_bytes();
    let al = al.wrapping_add(ah.wrapping_mul(op.immediate as u8));
    write_part(core, gpr::RAX, u16::from(al));
    core.state.flags.set_logic(al);
    Ok(())
}
