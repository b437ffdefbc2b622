//! MMX, SSE and AVX: how their instructions reach registers and memory (Intel SDM vol. 1, chapters 9-12
//! and 14).
//!
//! Most of AVX is SSE once more with a VEX prefix: another register for the first source, no alignment, the
//! rest of the destination's register zero, and often two lanes of 16 bytes. So an operation is written once,
//! and what differs is a [`Form`] or, where there are two lanes, a second handler for all operations.

mod convert;
mod cryptography;
mod fields;
mod float;
mod fused;
mod lanes;
mod masked;
mod moves;
mod packed;
mod permute;
mod shuffle;
mod state;
mod text;

use iced_x86::{EncodingKind, Instruction};

use super::x87::no_error_pending;
use crate::{
    Bus, Core, Exception, Exec, Handler, Op, Operand, OperandKind,
    fpu::{Extended, xcr0},
    state::{cr0, cr4},
};

/// The handler of an MMX, SSE or AVX instruction.
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
        .or_else(|| permute::handler(instruction))
        .or_else(|| masked::handler(instruction))
        .or_else(|| fused::handler(instruction))
}

/// Sixteen bytes of an XMM register, lowest first.
type Xmm = [u8; 16];
/// Thirty-two bytes of a YMM register, lowest first.
type Ymm = [u8; 32];
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

/// Whether the system lets AVX be used (SDM vol. 2A, 2.4 and table 2-21).
fn avx_available(core: &Core) -> Exec {
    const BOTH: u64 = xcr0::SSE | xcr0::AVX;
    let state = &core.state;
    if state.eight_thousand() || state.cr4 & cr4::OSXSAVE == 0 || state.avx.xcr0 & BOTH != BOTH {
        return Err(Exception::INVALID_OPCODE);
    }
    if state.cr0 & cr0::TS != 0 {
        return Err(Exception::DEVICE_NOT_AVAILABLE);
    }
    Ok(())
}

/// What the encoding of an instruction on XMM registers decides.
trait Form {
    /// Sixteen bytes of memory must be aligned, unless the instruction says otherwise.
    const ALIGNED: bool;

    /// Whether the system lets it be used.
    fn available(core: &Core) -> Exec;

    /// Number of the register that is the first of two sources.
    fn first(op: &Op) -> u8;

    /// The last source, or the only one.
    fn last(op: &Op) -> Operand;

    /// Writes an XMM register that is a destination.
    fn write(core: &mut Core, index: u8, value: Xmm);
}

/// SSE: the destination is the first source, and the upper half of its YMM register stays.
struct Legacy;
/// AVX.
struct Vex;

impl Form for Legacy {
    const ALIGNED: bool = true;

    #[inline(always)]
    fn available(core: &Core) -> Exec {
        sse_available(core)
    }

    #[inline(always)]
    fn first(op: &Op) -> u8 {
        index(op.dst)
    }

    #[inline(always)]
    fn last(op: &Op) -> Operand {
        op.src
    }

    #[inline(always)]
    fn write(core: &mut Core, index: u8, value: Xmm) {
        write_xmm(core, index, value);
    }
}

impl Form for Vex {
    const ALIGNED: bool = false;

    fn available(core: &Core) -> Exec {
        avx_available(core)
    }

    fn first(op: &Op) -> u8 {
        index(op.src)
    }

    fn last(op: &Op) -> Operand {
        match op.third {
            Operand::NONE | Operand::IMMEDIATE => op.src,
            third => third,
        }
    }

    fn write(core: &mut Core, index: u8, value: Xmm) {
        write_ymm(core, index, widened(value));
    }
}

/// Encoded with a VEX prefix.
fn is_vex(instruction: &Instruction) -> bool {
    instruction.encoding() == EncodingKind::VEX
}

/// A handler of the form that the instruction is encoded in: `$function::<B, Form, …>`.
macro_rules! by_form {
    ($instruction:expr, $function:ident $(, $more:tt)*) => {
        match super::is_vex($instruction) {
            true => $function::<B, super::Vex $(, $more)*> as Handler<B>,
            false => $function::<B, super::Legacy $(, $more)*> as Handler<B>,
        }
    };
}
use by_form;

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

/// Two lanes of sixteen bytes, the low one first.
fn lanes_of(value: &Ymm) -> [Xmm; 2] {
    let (lanes, _) = value.as_chunks();
    [lanes[0], lanes[1]]
}

/// Sixteen bytes, and zeros above.
fn widened(value: Xmm) -> Ymm {
    joined([value, [0; 16]])
}

fn joined(lanes: [Xmm; 2]) -> Ymm {
    let mut value = [0; 32];
    value.copy_from_slice(lanes.as_flattened());
    value
}

fn read_ymm(core: &Core, index: u8) -> Ymm {
    let [low, high] = core.state.avx.upper[usize::from(index & 15)];
    joined([read_xmm(core, index), (u128::from(high) << 64 | u128::from(low)).to_le_bytes()])
}

fn write_ymm(core: &mut Core, index: u8, value: Ymm) {
    let [low, high] = lanes_of(&value);
    write_xmm(core, index, low);
    let high = u128::from_le_bytes(high);
    core.state.avx.upper[usize::from(index & 15)] = [high as u64, (high >> 64) as u64];
}

fn read_mmx(core: &Core, index: u8) -> Mmx {
    core.state.fpu.registers[usize::from(index & 7)].significand.to_le_bytes()
}

/// Writes an MMX register; sign and exponent become all ones.
fn write_mmx(core: &mut Core, index: u8, value: Mmx) {
    core.state.fpu.registers[usize::from(index & 7)] =
        Extended { sign_exponent: 0xffff, significand: u64::from_le_bytes(value) };
}

/// Number of the MMX, XMM or YMM register an operand is.
fn index(operand: Operand) -> u8 {
    operand.number
}

/// Whether an operand is a YMM register.
fn is_wide(operand: Operand) -> bool {
    operand.kind == OperandKind::Ymm
}

/// `N` bytes of memory: 16 or 32.
#[inline(always)]
fn load_vector<B: Bus, const N: usize>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    aligned: bool,
) -> Result<[u8; N], Exception> {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    if aligned {
        core.aligned(segment, offset, N as u64)?;
    }
    if let Some(value) = core.bytes_at(bus, segment, offset) {
        return Ok(*value);
    }
    let mut value = [0; N];
    load_parts(core, bus, segment, offset, &mut value)?;
    Ok(value)
}

/// As [`load_vector`], eight bytes after eight.
#[cold]
fn load_parts<B: Bus>(core: &mut Core, bus: &mut B, segment: u8, offset: u64, value: &mut [u8]) -> Exec {
    // Where the whole ends comes before what the pages of its parts say.
    core.check_segment(segment, offset, value.len() as u64, false)?;
    for (at, bytes) in (0..).step_by(8).zip(value.chunks_exact_mut(8)) {
        let part: u64 = core.load_at(bus, segment, offset.wrapping_add(at))?;
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    Ok(())
}

/// Writes `N` bytes of memory, 16 or 32: all, or none when any of them faults. The parts are looked at in
/// order, so that the first byte that cannot be written is told.
fn store_vector<B: Bus, const N: usize>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    aligned: bool,
    value: &[u8; N],
) -> Exec {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    if aligned {
        core.aligned(segment, offset, N as u64)?;
    }
    if let Some(place) = core.bytes_at_mut(bus, segment, offset) {
        *place = *value;
        return Ok(());
    }
    core.check_segment(segment, offset, N as u64, true)?;
    let end = N as u64 - 8;
    let first = core.update_at::<u64, B>(bus, segment, offset)?;
    for at in (8..end).step_by(8) {
        core.update_at::<u64, B>(bus, segment, offset.wrapping_add(at))?;
    }
    let last = core.update_at::<u64, B>(bus, segment, offset.wrapping_add(end))?;
    core.place_store(bus, &first, part(value, 0));
    for at in (8..end).step_by(8) {
        core.store_at::<u64, B>(bus, segment, offset.wrapping_add(at), part(value, at))?;
    }
    core.place_store(bus, &last, part(value, end));
    Ok(())
}

/// Eight bytes of a vector.
fn part<const N: usize>(value: &[u8; N], at: u64) -> u64 {
    lanes::get(value, at as usize / 8)
}

/// Up to eight bytes of memory.
fn load_64<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, bytes: usize) -> Result<u64, Exception> {
    let (segment, offset) = (op.memory.segment, core.effective_address(op));
    Ok(match bytes {
        1 => core.load_at::<u8, B>(bus, segment, offset)?.into(),
        2 => core.load_at::<u16, B>(bus, segment, offset)?.into(),
        4 => core.load_at::<u32, B>(bus, segment, offset)?.into(),
        _ => core.load_at(bus, segment, offset)?,
    })
}

/// An XMM register, or sixteen bytes of memory.
#[inline(always)]
fn source_128<B: Bus, F: Form>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    which: Operand,
) -> Result<Xmm, Exception> {
    match which {
        Operand::MEMORY => load_vector(core, bus, op, F::ALIGNED),
        _ => Ok(read_xmm(core, index(which))),
    }
}

/// A YMM register, or as many bytes of memory as an instruction of this length reads; above them zeros.
fn source_ymm<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    which: Operand,
    wide: bool,
) -> Result<Ymm, Exception> {
    match (which, wide) {
        (Operand::MEMORY, true) => load_vector(core, bus, op, false),
        (Operand::MEMORY, false) => Ok(widened(load_vector(core, bus, op, false)?)),
        (_, true) => Ok(read_ymm(core, index(which))),
        (_, false) => Ok(widened(read_xmm(core, index(which)))),
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
        Operand::MEMORY => load_64(core, bus, op, bytes),
        _ => {
            let [low, _] = core.state.sse.registers[usize::from(index(which) & 15)];
            Ok(if bytes < 8 { low & ((1 << (8 * bytes)) - 1) } else { low })
        }
    }
}

/// The low `bytes` of an XMM register, or as many bytes of memory: up to sixteen; above them zeros.
fn source_up_to_16<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    which: Operand,
    bytes: usize,
) -> Result<Xmm, Exception> {
    match bytes {
        16 => source_128::<B, Vex>(core, bus, op, which),
        _ => Ok(u128::from(source_low(core, bus, op, which, bytes)?).to_le_bytes()),
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
        Operand::MEMORY => Ok(load_64(core, bus, op, bytes)?.to_le_bytes()),
        _ => Ok(read_mmx(core, index(which))),
    }
}
