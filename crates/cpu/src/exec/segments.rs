//! Segment registers: MOV, PUSH, POP, LDS and its kin (Intel SDM vol. 2).

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::{
    Bus, Core, Exec, Handler, Op, Operand, OperandKind,
    access::attention,
    state::{Shadow, gpr, segment},
    width::Width,
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use iced_x86::Code::*;
    let first_is_segment = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register().is_segment_register();
    Some(match instruction.code() {
        Mov_rm16_Sreg | Mov_r32m16_Sreg | Mov_r64m16_Sreg => store,
        Mov_Sreg_rm16 | Mov_Sreg_r32m16 | Mov_Sreg_r64m16 => load,
        Lds_r16_m1616 | Lds_r32_m1632 => far_pointer::<B, { segment::DS }>,
        Les_r16_m1616 | Les_r32_m1632 => far_pointer::<B, { segment::ES }>,
        Lss_r16_m1616 | Lss_r32_m1632 | Lss_r64_m1664 => far_pointer::<B, { segment::SS }>,
        Lfs_r16_m1616 | Lfs_r32_m1632 | Lfs_r64_m1664 => far_pointer::<B, { segment::FS }>,
        Lgs_r16_m1616 | Lgs_r32_m1632 | Lgs_r64_m1664 => far_pointer::<B, { segment::GS }>,
        _ if first_is_segment && instruction.mnemonic() == Mnemonic::Push => push,
        _ if first_is_segment && instruction.mnemonic() == Mnemonic::Pop => pop,
        _ => return None,
    })
}

fn number(operand: Operand) -> u8 {
    if operand.kind == OperandKind::Segment { operand.number } else { segment::DS }
}

/// Loads a segment register; loading SS holds interrupts off for one instruction. The block ends,
/// because SS decides the stack's width and the shadow is looked at between instructions.
fn load_into<B: Bus>(core: &mut Core, bus: &mut B, index: u8, selector: u16) -> Exec {
    core.load_segment(bus, index, selector)?;
    if index == segment::SS {
        core.state.shadow = Shadow::MovSs;
        core.attention |= attention::SHADOW | attention::END_BLOCK;
    }
    Ok(())
}

fn load<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let selector = core.load::<u16, B>(bus, op, op.src)?;
    load_into(core, bus, number(op.dst), selector)
}

/// A 32- or 64-bit register gets the selector zero-extended; memory gets 16 bits.
fn store<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let selector = core.load::<u16, B>(bus, op, op.src)?;
    if op.operand_size == 2 || op.dst == Operand::MEMORY {
        core.store::<u16, B>(bus, op, op.dst, selector)
    } else {
        core.store::<u32, B>(bus, op, op.dst, u32::from(selector))
    }
}

/// The wider forms push the selector zero-extended.
fn push<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let selector = core.load::<u16, B>(bus, op, op.dst)?;
    match op.operand_size {
        2 => core.push::<u16, B>(bus, selector),
        4 => core.push::<u32, B>(bus, selector.into()),
        _ => core.push::<u64, B>(bus, selector.into()),
    }
}

fn pop<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let selector = core.peek::<u16, B>(bus, 0)?;
    // The whole slot is read, though only part of it is used.
    match op.operand_size {
        2 => {}
        4 => _ = core.peek::<u32, B>(bus, 0)?,
        _ => _ = core.peek::<u64, B>(bus, 0)?,
    }
    let before = core.register(gpr::RSP);
    core.adjust_sp(i64::from(op.operand_size));
    let done = load_into(core, bus, number(op.dst), selector);
    if done.is_err() {
        core.set_register(gpr::RSP, before);
    }
    done
}

fn far_pointer<B: Bus, const SEGMENT: u8>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    match op.operand_size {
        2 => far_pointer_of::<B, u16>(core, bus, op, SEGMENT),
        4 => far_pointer_of::<B, u32>(core, bus, op, SEGMENT),
        _ => far_pointer_of::<B, u64>(core, bus, op, SEGMENT),
    }
}

fn far_pointer_of<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op, index: u8) -> Exec {
    let at = core.effective_address(op);
    let from = op.memory.segment;
    let offset = core.load_at::<W, B>(bus, from, at)?;
    let selector = core.load_at::<u16, B>(bus, from, at.wrapping_add(W::BYTES as u64))?;
    core.load_segment(bus, index, selector)?;
    core.end_block();
    core.store::<W, B>(bus, op, op.dst, offset)
}
