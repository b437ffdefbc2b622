//! EXTRQ and INSERTQ of SSE4A: fields of bits (AMD64 APM vol. 4). The high half of the result, undefined, is
//! zero, as processors leave it.

use iced_x86::{Code, Instruction};

use super::{index, sse_available};
use crate::{Bus, Core, Exec, Handler, Op};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Extrq_xmm_imm8_imm8 => extract::<B, true>,
        Code::Extrq_xmm_xmm => extract::<B, false>,
        Code::Insertq_xmm_xmm_imm8_imm8 => insert::<B, true>,
        Code::Insertq_xmm_xmm => insert::<B, false>,
        _ => return None,
    })
}

/// A field: where it begins, and its bits at the bottom. A length of zero is 64.
struct Field {
    at: u32,
    mask: u64,
}

impl Field {
    fn of(length: u8, at: u8) -> Field {
        let length = u32::from(length & 63);
        let mask = if length == 0 { u64::MAX } else { (1 << length) - 1 };
        Field { at: u32::from(at & 63), mask }
    }

    /// From the immediates, or from two bytes of a register.
    fn named(op: &Op, immediate: bool, register: u64) -> Field {
        match immediate {
            true => Field::of(op.immediate as u8, op.immediate2),
            false => Field::of(register as u8, (register >> 8) as u8),
        }
    }
}

/// EXTRQ: the field moves to the bottom.
fn extract<B: Bus, const IMMEDIATE: bool>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let registers = &mut core.state.sse.registers;
    let [control, _] = registers[usize::from(index(op.src) & 15)];
    let field = Field::named(op, IMMEDIATE, control);
    let [low, _] = registers[usize::from(index(op.dst) & 15)];
    registers[usize::from(index(op.dst) & 15)] = [low >> field.at & field.mask, 0];
    Ok(())
}

/// INSERTQ: the source's bottom becomes the field.
fn insert<B: Bus, const IMMEDIATE: bool>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let registers = &mut core.state.sse.registers;
    let [value, control] = registers[usize::from(index(op.src) & 15)];
    let field = Field::named(op, IMMEDIATE, control);
    let [low, _] = registers[usize::from(index(op.dst) & 15)];
    let cleared = low & !(field.mask << field.at);
    let inserted = cleared | (value & field.mask) << field.at;
    registers[usize::from(index(op.dst) & 15)] = [inserted, 0];
    Ok(())
}
