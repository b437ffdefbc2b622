//! MMX and SSE: how their instructions reach registers and memory (Intel SDM vol. 1, chapters 9-12).

mod convert;
mod cryptography;
mod fields;
mod float;
mod lanes;
mod moves;
mod packed;
mod shuffle;
mod state;
mod text;

use iced_x86::Instruction;

use super::x87::no_error_pending;
use crate::{
    Bus, Core, Exception, Exec, Handler, Op, Operand,
    fpu::Extended,
    state::{cr0, cr4},
};

/// The handler of an MMX or SSE instruction.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    moves::handler(instruction)
        .or_else(|| float::handler(instruction))
        .or_else(|| packed::handler(instruction))
        .or_else(|| shuffle::handler(instruction))
        .or_else(|| convert::handler(instruction))
        .or_else(|| cryptography::handler(instruction))
        .or_else(|| fields::handler(instruction))
        .or_else(|| state::handler(instruction))
        .or_else(|| text::handler(instruction))
}

/// Sixteen bytes of an XMM register, lowest first.
type Xmm = [u8; 16];
/// Eight bytes of an MMX register, lowest first.
type Mmx = [u8; 8];

/// Whether the system lets SSE be used (SDM vol. 3A, table 13-1).
fn sse_available(core: &Core) -> Exec {
    if core.state.cr0 & cr0::EM != 0 || core.state.cr4 & cr4::OSFXSR == 0 {
        return Err(Exception::INVALID_OPCODE);
    }
    if core.state.cr0 & cr0::TS != 0 {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    Ok(())
}

/// Whether MMX can be used now; false: the instruction waits, as an x87 one would.
fn mmx_available<B: Bus>(core: &mut Core, bus: &mut B) -> Result<bool, Exception> {
    if core.state.cr0 & cr0::EM != 0 {
        return Err(Exception::INVALID_OPCODE);
    }
    if core.state.cr0 & cr0::TS != 0 {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    no_error_pending(core, bus)
}

/// From x87 to MMX: TOP is zero and no register is empty (SDM vol. 1, 9.5.1).
fn enter_mmx(core: &mut Core) {
    core.state.fpu.set_top(0);
    core.state.fpu.valid = 0xff;
}

fn read_xmm(core: &Core, index: u8) -> Xmm {
    let [low, high] = core.state.sse.registers[usize::from(index & 15)];
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

fn write_xmm(core: &mut Core, index: u8, value: Xmm) {
    let value = u128::from_le_bytes(value);
    core.state.sse.registers[usize::from(index & 15)] = [value as u64, (value >> 64) as u64];
}

fn read_mmx(core: &Core, index: u8) -> Mmx {
    core.state.fpu.registers[usize::from(index & 7)].significand.to_le_bytes()
}

/// Writes an MMX register; sign and exponent become all ones.
fn write_mmx(core: &mut Core, index: u8, value: Mmx) {
    core.state.fpu.registers[usize::from(index & 7)] =
        Extended { sign_exponent: 0xffff, significand: u64::from_le_bytes(value) };
}

/// Number of the MMX or XMM register an operand is.
fn index(operand: Operand) -> u8 {
    match operand {
        Operand::Mmx(index) | Operand::Xmm(index) => index,
        _ => 0,
    }
}

/// Sixteen bytes of memory.
fn load_128<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, aligned: bool) -> Result<Xmm, Exception> {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    if aligned {
        core.aligned(segment, offset, 16)?;
    }
    let low: u64 = core.load_at(bus, segment, offset)?;
    let high: u64 = core.load_at(bus, segment, offset.wrapping_add(8))?;
    Ok((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

/// Writes sixteen bytes of memory: all, or none when any of them faults.
fn store_128<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, aligned: bool, value: Xmm) -> Exec {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    if aligned {
        core.aligned(segment, offset, 16)?;
    }
    let value = u128::from_le_bytes(value);
    let high = core.update_at::<u64, B>(bus, segment, offset.wrapping_add(8))?;
    core.store_at(bus, segment, offset, value as u64)?;
    core.place_store(bus, &high, (value >> 64) as u64);
    Ok(())
}

/// Up to eight bytes of memory.
fn load_64<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, bytes: usize) -> Result<u64, Exception> {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    Ok(match bytes {
        2 => core.load_at::<u16, B>(bus, segment, offset)?.into(),
        4 => core.load_at::<u32, B>(bus, segment, offset)?.into(),
        _ => core.load_at(bus, segment, offset)?,
    })
}

/// An XMM register, or sixteen aligned bytes of memory.
fn source_128<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, which: Operand) -> Result<Xmm, Exception> {
    match which {
        Operand::Memory => load_128(core, bus, op, true),
        _ => Ok(read_xmm(core, index(which))),
    }
}

/// The low `bytes` of an XMM register, or as many bytes of memory.
fn source_low<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    which: Operand,
    bytes: usize,
) -> Result<u64, Exception> {
    match which {
        Operand::Memory => load_64(core, bus, op, bytes),
        _ => {
            let [low, _] = core.state.sse.registers[usize::from(index(which) & 15)];
            Ok(if bytes < 8 { low & ((1 << (8 * bytes)) - 1) } else { low })
        }
    }
}

/// An MMX register, or as many bytes of memory as the instruction reads.
fn source_mmx<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    which: Operand,
    bytes: usize,
) -> Result<Mmx, Exception> {
    match which {
        Operand::Memory => Ok(load_64(core, bus, op, bytes)?.to_le_bytes()),
        _ => Ok(read_mmx(core, index(which))),
    }
}
