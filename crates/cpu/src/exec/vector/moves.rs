//! Moves between vector registers, memory and general registers (Intel SDM vol. 2).

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::{
    Xmm, enter_mmx, index,
    lanes::{Lane, get, set},
    load_64, load_128, mmx_available, read_mmx, read_xmm, source_mmx, sse_available, store_128, write_mmx,
    write_xmm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand, exec::bits::address_mask, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    whole(instruction)
        .or_else(|| halves(instruction))
        .or_else(|| general(instruction))
        .or_else(|| elements(instruction))
}

fn whole<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    let loads = instruction.op0_kind() == OpKind::Register;
    Some(match instruction.mnemonic() {
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu if loads => load::<B, false>,
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu => store::<B, false>,
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa | Mnemonic::Movntdqa if loads => {
            load::<B, true>
        }
        Mnemonic::Movaps
        | Mnemonic::Movapd
        | Mnemonic::Movdqa
        | Mnemonic::Movntps
        | Mnemonic::Movntpd
        | Mnemonic::Movntdq => store::<B, true>,
        Mnemonic::Maskmovdqu => masked::<B, true>,
        Mnemonic::Maskmovq => masked::<B, false>,
        _ => return None,
    })
}

fn load<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = match op.src {
        Operand::Memory => load_128(core, bus, op, ALIGNED)?,
        which => read_xmm(core, index(which)),
    };
    write_xmm(core, index(op.dst), value);
    Ok(())
}

fn store<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = read_xmm(core, index(op.src));
    match op.dst {
        Operand::Memory => store_128(core, bus, op, ALIGNED, value)?,
        which => write_xmm(core, index(which), value),
    }
    Ok(())
}

/// MASKMOVQ and MASKMOVDQU: the bytes whose mask has its sign set, at DI. All are probed first.
fn masked<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (value, mask) = if WIDE {
        sse_available(core)?;
        (read_xmm(core, index(op.src)), read_xmm(core, index(op.third)))
    } else {
        if !mmx_available(core, bus)? {
            return Ok(());
        }
        (widened(read_mmx(core, index(op.src))), widened(read_mmx(core, index(op.third))))
    };
    let place = |core: &Core, at: usize| core.register(gpr::RDI).wrapping_add(at as u64) & address_mask(op);
    let segment = op.memory.segment;
    for at in (0..16).filter(|at| mask[*at] & 0x80 != 0) {
        let offset = place(core, at);
        core.probe(bus, segment, offset, 1, true)?;
    }
    for at in (0..16).filter(|at| mask[*at] & 0x80 != 0) {
        let offset = place(core, at);
        core.store_at(bus, segment, offset, value[at])?;
    }
    if !WIDE {
        enter_mmx(core);
    }
    Ok(())
}

fn widened(value: [u8; 8]) -> Xmm {
    u128::from(u64::from_le_bytes(value)).to_le_bytes()
}

fn halves<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Movss_xmm_xmmm32 => load_scalar::<B, u32>,
        Code::Movsd_xmm_xmmm64 => load_scalar::<B, u64>,
        Code::Movss_xmmm32_xmm | Code::Movntss_m32_xmm => store_scalar::<B, u32>,
        Code::Movsd_xmmm64_xmm | Code::Movntsd_m64_xmm => store_scalar::<B, u64>,
        Code::Movlps_xmm_m64 | Code::Movlpd_xmm_m64 => load_half::<B, 0>,
        Code::Movhps_xmm_m64 | Code::Movhpd_xmm_m64 => load_half::<B, 1>,
        Code::Movlps_m64_xmm | Code::Movlpd_m64_xmm => store_half::<B, 0>,
        Code::Movhps_m64_xmm | Code::Movhpd_m64_xmm => store_half::<B, 1>,
        Code::Movhlps_xmm_xmm => between_halves::<B, 1, 0>,
        Code::Movlhps_xmm_xmm => between_halves::<B, 0, 1>,
        Code::Movddup_xmm_xmmm64 => duplicate,
        Code::Movq_xmm_xmmm64 => load_low,
        Code::Movq_xmmm64_xmm => store_low,
        Code::Movq_mm_mmm64 => load_mmx,
        Code::Movq_mmm64_mm | Code::Movntq_m64_mm => store_mmx,
        Code::Movq2dq_xmm_mm => mmx_to_xmm,
        Code::Movdq2q_mm_xmm => xmm_to_mmx,
        _ => return None,
    })
}

/// MOVSS and MOVSD: from memory the rest becomes zero, from a register it stays.
fn load_scalar<B: Bus, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let to = index(op.dst);
    let result = match op.src {
        Operand::Memory => u128::from(load_64(core, bus, op, <W as Width>::BYTES)?).to_le_bytes(),
        which => {
            let mut result = read_xmm(core, to);
            set::<W, 16>(&mut result, 0, get(&read_xmm(core, index(which)), 0));
            result
        }
    };
    write_xmm(core, to, result);
    Ok(())
}

fn store_scalar<B: Bus, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value: W = get(&read_xmm(core, index(op.src)), 0);
    if op.dst == Operand::Memory {
        return core.store::<W, B>(bus, op, op.dst, value);
    }
    let to = index(op.dst);
    let mut result = read_xmm(core, to);
    set(&mut result, 0, value);
    write_xmm(core, to, result);
    Ok(())
}

fn load_half<B: Bus, const HALF: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = load_64(core, bus, op, 8)?;
    core.state.sse.registers[usize::from(index(op.dst) & 15)][HALF] = value;
    Ok(())
}

fn store_half<B: Bus, const HALF: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = core.state.sse.registers[usize::from(index(op.src) & 15)][HALF];
    core.store::<u64, B>(bus, op, op.dst, value)
}

/// MOVHLPS and MOVLHPS.
fn between_halves<B: Bus, const FROM: usize, const TO: usize>(
    core: &mut Core,
    _bus: &mut B,
    op: &Op,
) -> Exec {
    sse_available(core)?;
    let registers = &mut core.state.sse.registers;
    registers[usize::from(index(op.dst) & 15)][TO] = registers[usize::from(index(op.src) & 15)][FROM];
    Ok(())
}

/// The low half of an XMM register, or eight bytes of memory.
fn low<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<u64, crate::Exception> {
    super::source_low(core, bus, op, op.src, 8)
}

fn duplicate<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = low(core, bus, op)?;
    core.state.sse.registers[usize::from(index(op.dst) & 15)] = [value, value];
    Ok(())
}

fn load_low<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = low(core, bus, op)?;
    core.state.sse.registers[usize::from(index(op.dst) & 15)] = [value, 0];
    Ok(())
}

fn store_low<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let [value, _] = core.state.sse.registers[usize::from(index(op.src) & 15)];
    match op.dst {
        Operand::Memory => core.store::<u64, B>(bus, op, op.dst, value)?,
        which => core.state.sse.registers[usize::from(index(which) & 15)] = [value, 0],
    }
    Ok(())
}

fn load_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let value = source_mmx(core, bus, op, op.src, 8)?;
    enter_mmx(core);
    write_mmx(core, index(op.dst), value);
    Ok(())
}

fn store_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let value = read_mmx(core, index(op.src));
    match op.dst {
        Operand::Memory => core.store(bus, op, op.dst, u64::from_le_bytes(value))?,
        which => write_mmx(core, index(which), value),
    }
    enter_mmx(core);
    Ok(())
}

fn mmx_to_xmm<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    enter_mmx(core);
    let value = u64::from_le_bytes(read_mmx(core, index(op.src)));
    core.state.sse.registers[usize::from(index(op.dst) & 15)] = [value, 0];
    Ok(())
}

fn xmm_to_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    enter_mmx(core);
    let [value, _] = core.state.sse.registers[usize::from(index(op.src) & 15)];
    write_mmx(core, index(op.dst), value.to_le_bytes());
    Ok(())
}

/// MOVD, MOVQ with general registers, MOVNTI.
fn general<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Movd_mm_rm32 => general_to_mmx::<B, u32>,
        Code::Movq_mm_rm64 => general_to_mmx::<B, u64>,
        Code::Movd_rm32_mm => mmx_to_general::<B, u32>,
        Code::Movq_rm64_mm => mmx_to_general::<B, u64>,
        Code::Movd_xmm_rm32 => general_to_xmm::<B, u32>,
        Code::Movq_xmm_rm64 => general_to_xmm::<B, u64>,
        Code::Movd_rm32_xmm => xmm_to_general::<B, u32>,
        Code::Movq_rm64_xmm => xmm_to_general::<B, u64>,
        Code::Movnti_m32_r32 => store_general::<B, u32>,
        Code::Movnti_m64_r64 => store_general::<B, u64>,
        _ => return None,
    })
}

fn general_to_mmx<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let value = core.load::<W, B>(bus, op, op.src)?.to_u64();
    enter_mmx(core);
    write_mmx(core, index(op.dst), value.to_le_bytes());
    Ok(())
}

fn mmx_to_general<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let value = u64::from_le_bytes(read_mmx(core, index(op.src)));
    core.store(bus, op, op.dst, W::from_u64(value))?;
    enter_mmx(core);
    Ok(())
}

fn general_to_xmm<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = core.load::<W, B>(bus, op, op.src)?.to_u64();
    core.state.sse.registers[usize::from(index(op.dst) & 15)] = [value, 0];
    Ok(())
}

fn xmm_to_general<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let [value, _] = core.state.sse.registers[usize::from(index(op.src) & 15)];
    core.store(bus, op, op.dst, W::from_u64(value))
}

/// MOVNTI: an ordinary store, as far as anybody can see.
fn store_general<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let value = core.load::<W, B>(bus, op, op.src)?;
    core.store(bus, op, op.dst, value)
}

/// Single lanes and signs, from and to general registers.
fn elements<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    let mmx =
        (0..2).any(|at| instruction.op_kind(at) == OpKind::Register && instruction.op_register(at).is_mm());
    Some(match instruction.mnemonic() {
        Mnemonic::Pinsrw if mmx => insert_word_mmx,
        Mnemonic::Pextrw if mmx => extract_word_mmx,
        Mnemonic::Pmovmskb if mmx => signs_mmx,
        Mnemonic::Pinsrb => insert::<B, u8>,
        Mnemonic::Pinsrw => insert::<B, u16>,
        Mnemonic::Pinsrd => insert::<B, u32>,
        Mnemonic::Pinsrq => insert::<B, u64>,
        Mnemonic::Pextrb => extract::<B, u8>,
        Mnemonic::Pextrw => extract::<B, u16>,
        Mnemonic::Pextrd | Mnemonic::Extractps => extract::<B, u32>,
        Mnemonic::Pextrq => extract::<B, u64>,
        Mnemonic::Pmovmskb => signs::<B, 1>,
        Mnemonic::Movmskps => signs::<B, 4>,
        Mnemonic::Movmskpd => signs::<B, 8>,
        Mnemonic::Ptest => test,
        _ => return None,
    })
}

fn insert<B: Bus, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value: W = core.load(bus, op, op.src)?;
    let to = index(op.dst);
    let mut result = read_xmm(core, to);
    set(&mut result, op.immediate as usize & 15, value);
    write_xmm(core, to, result);
    Ok(())
}

/// Into a general register the lane is zero-extended.
fn extract<B: Bus, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value: W = get(&read_xmm(core, index(op.src)), op.immediate as usize & 15);
    match op.dst {
        Operand::Memory => core.store(bus, op, op.dst, value),
        which => core.store(bus, op, which, value.to_u64()),
    }
}

fn insert_word_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let value: u16 = core.load(bus, op, op.src)?;
    enter_mmx(core);
    let to = index(op.dst);
    let mut result = read_mmx(core, to);
    set(&mut result, op.immediate as usize & 3, value);
    write_mmx(core, to, result);
    Ok(())
}

fn extract_word_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    enter_mmx(core);
    let value: u16 = get(&read_mmx(core, index(op.src)), op.immediate as usize & 3);
    core.store(bus, op, op.dst, u64::from(value))
}

/// One bit for the sign of each lane of `BYTES`.
fn gathered(bytes: &[u8], lane: usize) -> u64 {
    let signs = bytes.iter().skip(lane - 1).step_by(lane);
    (0..).zip(signs).fold(0, |all, (at, byte)| all | u64::from(byte >> 7) << at)
}

fn signs<B: Bus, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = gathered(&read_xmm(core, index(op.src)), BYTES);
    core.store(bus, op, op.dst, value)
}

fn signs_mmx<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    enter_mmx(core);
    let value = gathered(&read_mmx(core, index(op.src)), 1);
    core.store(bus, op, op.dst, value)
}

/// PTEST: ZF where nothing is in common, CF where the source has nothing besides.
fn test<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = u128::from_le_bytes(super::source_128(core, bus, op, op.src)?);
    let destination = u128::from_le_bytes(read_xmm(core, index(op.dst)));
    core.state.flags.set_arithmetic(0);
    core.state.flags.set_zero(source & destination == 0);
    core.state.flags.set_carry(source & !destination == 0);
    Ok(())
}
