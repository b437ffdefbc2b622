//! Moves between vector registers, memory and general registers (Intel SDM vol. 2).

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::{
    Form, Legacy, Vex, Xmm, avx_available, by_form, enter_mmx, index, is_wide,
    lanes::{Lane, get, set},
    load_64, load_vector, mmx_available, read_mmx, read_xmm, read_ymm, source_mmx, source_ymm, sse_available,
    store_vector, write_mmx, write_xmm, write_ymm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand, OperandKind, state::gpr, width::Width};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    whole(instruction)
        .or_else(|| halves(instruction))
        .or_else(|| general(instruction))
        .or_else(|| elements(instruction))
}

fn whole<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    let loads = instruction.op0_kind() == OpKind::Register;
    Some(match instruction.mnemonic() {
        Is::Movups | Is::Movupd | Is::Movdqu | Is::Lddqu if loads => load::<B, false>,
        Is::Movups | Is::Movupd | Is::Movdqu => store::<B, false>,
        Is::Movaps | Is::Movapd | Is::Movdqa | Is::Movntdqa if loads => load::<B, true>,
        Is::Movaps | Is::Movapd | Is::Movdqa | Is::Movntps | Is::Movntpd | Is::Movntdq => store::<B, true>,
        Is::Vmovups | Is::Vmovupd | Is::Vmovdqu | Is::Vlddqu if loads => load_ymm::<B, false>,
        Is::Vmovups | Is::Vmovupd | Is::Vmovdqu => store_ymm::<B, false>,
        Is::Vmovaps | Is::Vmovapd | Is::Vmovdqa | Is::Vmovntdqa if loads => load_ymm::<B, true>,
        Is::Vmovaps | Is::Vmovapd | Is::Vmovdqa | Is::Vmovntps | Is::Vmovntpd | Is::Vmovntdq => {
            store_ymm::<B, true>
        }
        Is::Maskmovdqu => masked::<B, Legacy, true>,
        Is::Vmaskmovdqu => masked::<B, Vex, true>,
        Is::Maskmovq => masked::<B, Legacy, false>,
        _ => return None,
    })
}

fn load<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = match op.src.kind {
        OperandKind::Xmm => read_xmm(core, index(op.src)),
        _ => load_vector(core, bus, op, ALIGNED)?,
    };
    write_xmm(core, index(op.dst), value);
    Ok(())
}

fn store<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = read_xmm(core, index(op.src));
    match op.dst {
        Operand::MEMORY => store_vector(core, bus, op, ALIGNED, &value)?,
        which => write_xmm(core, index(which), value),
    }
    Ok(())
}

/// VMOVAPS and its relatives, of 16 or 32 bytes.
fn load_ymm<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let wide = is_wide(op.dst);
    if ALIGNED && op.src == Operand::MEMORY {
        let at = core.effective_address(op);
        core.aligned(op.memory.segment, at, if wide { 32 } else { 16 })?;
    }
    let value = source_ymm(core, bus, op, op.src, wide)?;
    write_ymm(core, index(op.dst), value);
    Ok(())
}

fn store_ymm<B: Bus, const ALIGNED: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let from = index(op.src);
    match (op.dst, is_wide(op.src)) {
        (Operand::MEMORY, true) => store_vector(core, bus, op, ALIGNED, &read_ymm(core, from)),
        (Operand::MEMORY, false) => store_vector(core, bus, op, ALIGNED, &read_xmm(core, from)),
        (to, wide) => {
            let value = source_ymm(core, bus, op, op.src, wide)?;
            write_ymm(core, index(to), value);
            Ok(())
        }
    }
}

/// MASKMOVQ and MASKMOVDQU: the bytes whose mask has its sign set, at DI. All are probed first.
fn masked<B: Bus, F: Form, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (value, mask) = if WIDE {
        F::available(core)?;
        (read_xmm(core, index(op.src)), read_xmm(core, index(op.third)))
    } else {
        if !mmx_available(core, bus)? {
            return Ok(());
        }
        (widened(read_mmx(core, index(op.src))), widened(read_mmx(core, index(op.third))))
    };
    let place = |core: &Core, at: usize| core.register(gpr::RDI).wrapping_add(at as u64) & op.memory.mask;
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
    use Mnemonic as Is;
    let stores = instruction.op0_kind() == OpKind::Memory;
    Some(match instruction.mnemonic() {
        Is::Movss | Is::Vmovss if !stores => by_form!(instruction, load_scalar, u32),
        Is::Movss | Is::Vmovss | Is::Movntss => by_form!(instruction, store_scalar, u32),
        Is::Movsd | Is::Vmovsd if !stores => by_form!(instruction, load_scalar, u64),
        Is::Movsd | Is::Vmovsd | Is::Movntsd => by_form!(instruction, store_scalar, u64),
        Is::Movlps | Is::Movlpd | Is::Vmovlps | Is::Vmovlpd if stores => by_form!(instruction, store_half, 0),
        Is::Movlps | Is::Movlpd | Is::Vmovlps | Is::Vmovlpd => by_form!(instruction, load_half, 0),
        Is::Movhps | Is::Movhpd | Is::Vmovhps | Is::Vmovhpd if stores => by_form!(instruction, store_half, 1),
        Is::Movhps | Is::Movhpd | Is::Vmovhps | Is::Vmovhpd => by_form!(instruction, load_half, 1),
        Is::Movhlps | Is::Vmovhlps => by_form!(instruction, between_halves, 1, 0),
        Is::Movlhps | Is::Vmovlhps => by_form!(instruction, between_halves, 0, 1),
        Is::Movddup => duplicate::<B, Legacy>,
        Is::Vmovddup if !instruction.op0_register().is_ymm() => duplicate::<B, Vex>,
        _ => return quadwords(instruction),
    })
}

fn quadwords<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Movq_xmm_xmmm64 | Code::VEX_Vmovq_xmm_xmmm64 => by_form!(instruction, load_low),
        Code::Movq_xmmm64_xmm | Code::VEX_Vmovq_xmmm64_xmm => by_form!(instruction, store_low),
        Code::Movq_mm_mmm64 => load_mmx,
        Code::Movq_mmm64_mm | Code::Movntq_m64_mm => store_mmx,
        Code::Movq2dq_xmm_mm => mmx_to_xmm,
        Code::Movdq2q_mm_xmm => xmm_to_mmx,
        _ => return None,
    })
}

/// MOVSS and MOVSD: from memory the rest becomes zero, from a register it stays.
fn load_scalar<B: Bus, F: Form, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let result = match F::last(op) {
        Operand::MEMORY => u128::from(load_64(core, bus, op, <W as Width>::BYTES)?).to_le_bytes(),
        which => {
            let mut result = read_xmm(core, F::first(op));
            set::<W, 16>(&mut result, 0, get(&read_xmm(core, index(which)), 0));
            result
        }
    };
    F::write(core, index(op.dst), result);
    Ok(())
}

fn store_scalar<B: Bus, F: Form, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value: W = get(&read_xmm(core, index(op.src)), 0);
    core.store::<W, B>(bus, op, op.dst, value)
}

fn load_half<B: Bus, F: Form, const HALF: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = load_64(core, bus, op, 8)?;
    set_half::<F, HALF>(core, op, value);
    Ok(())
}

/// Replaces a half of the first source.
fn set_half<F: Form, const HALF: usize>(core: &mut Core, op: &Op, value: u64) {
    let mut result = read_xmm(core, F::first(op));
    set(&mut result, HALF, value);
    F::write(core, index(op.dst), result);
}

fn store_half<B: Bus, F: Form, const HALF: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = core.state.sse.registers[usize::from(index(op.src) & 15)][HALF];
    core.store::<u64, B>(bus, op, op.dst, value)
}

/// MOVHLPS and MOVLHPS.
fn between_halves<B: Bus, F: Form, const FROM: usize, const TO: usize>(
    core: &mut Core,
    _bus: &mut B,
    op: &Op,
) -> Exec {
    F::available(core)?;
    let value = core.state.sse.registers[usize::from(index(F::last(op)) & 15)][FROM];
    set_half::<F, TO>(core, op, value);
    Ok(())
}

fn write_halves<F: Form>(core: &mut Core, which: Operand, [low, high]: [u64; 2]) {
    F::write(core, index(which), (u128::from(high) << 64 | u128::from(low)).to_le_bytes());
}

/// The low half of an XMM register, or eight bytes of memory.
fn low<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<u64, crate::Exception> {
    super::source_low(core, bus, op, op.src, 8)
}

fn duplicate<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = low(core, bus, op)?;
    write_halves::<F>(core, op.dst, [value, value]);
    Ok(())
}

fn load_low<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = low(core, bus, op)?;
    write_halves::<F>(core, op.dst, [value, 0]);
    Ok(())
}

fn store_low<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let [value, _] = core.state.sse.registers[usize::from(index(op.src) & 15)];
    match op.dst {
        Operand::MEMORY => core.store::<u64, B>(bus, op, op.dst, value)?,
        which => write_halves::<F>(core, which, [value, 0]),
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
        Operand::MEMORY => core.store(bus, op, op.dst, u64::from_le_bytes(value))?,
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
        Code::Movd_xmm_rm32 | Code::VEX_Vmovd_xmm_rm32 => by_form!(instruction, general_to_xmm, u32),
        Code::Movq_xmm_rm64 | Code::VEX_Vmovq_xmm_rm64 => by_form!(instruction, general_to_xmm, u64),
        Code::Movd_rm32_xmm | Code::VEX_Vmovd_rm32_xmm => by_form!(instruction, xmm_to_general, u32),
        Code::Movq_rm64_xmm | Code::VEX_Vmovq_rm64_xmm => by_form!(instruction, xmm_to_general, u64),
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

fn general_to_xmm<B: Bus, F: Form, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = core.load::<W, B>(bus, op, op.src)?.to_u64();
    write_halves::<F>(core, op.dst, [value, 0]);
    Ok(())
}

fn xmm_to_general<B: Bus, F: Form, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
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
        Mnemonic::Pinsrb | Mnemonic::Vpinsrb => by_form!(instruction, insert, u8),
        Mnemonic::Pinsrw | Mnemonic::Vpinsrw => by_form!(instruction, insert, u16),
        Mnemonic::Pinsrd | Mnemonic::Vpinsrd => by_form!(instruction, insert, u32),
        Mnemonic::Pinsrq | Mnemonic::Vpinsrq => by_form!(instruction, insert, u64),
        Mnemonic::Pextrb | Mnemonic::Vpextrb => by_form!(instruction, extract, u8),
        Mnemonic::Pextrw | Mnemonic::Vpextrw => by_form!(instruction, extract, u16),
        Mnemonic::Pextrd | Mnemonic::Extractps | Mnemonic::Vpextrd | Mnemonic::Vextractps => {
            by_form!(instruction, extract, u32)
        }
        Mnemonic::Pextrq | Mnemonic::Vpextrq => by_form!(instruction, extract, u64),
        Mnemonic::Pmovmskb | Mnemonic::Vpmovmskb => by_form!(instruction, signs, 1),
        Mnemonic::Movmskps | Mnemonic::Vmovmskps => by_form!(instruction, signs, 4),
        Mnemonic::Movmskpd | Mnemonic::Vmovmskpd => by_form!(instruction, signs, 8),
        Mnemonic::Ptest => test::<B>,
        Mnemonic::Vptest => test_ymm::<B, { u64::MAX }>,
        Mnemonic::Vtestps => test_ymm::<B, 0x8000_0000_8000_0000>,
        Mnemonic::Vtestpd => test_ymm::<B, 0x8000_0000_0000_0000>,
        _ => return None,
    })
}

fn insert<B: Bus, F: Form, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value: W = core.load(bus, op, F::last(op))?;
    let mut result = read_xmm(core, F::first(op));
    set(&mut result, op.immediate as usize & 15, value);
    F::write(core, index(op.dst), result);
    Ok(())
}

/// Into a general register the lane is zero-extended.
fn extract<B: Bus, F: Form, W: Width + Lane>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value: W = get(&read_xmm(core, index(op.src)), op.immediate as usize & 15);
    match op.dst {
        Operand::MEMORY => core.store(bus, op, op.dst, value),
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

fn signs<B: Bus, F: Form, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = match is_wide(op.src) {
        true => gathered(&read_ymm(core, index(op.src)), BYTES),
        false => gathered(&read_xmm(core, index(op.src)), BYTES),
    };
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

/// PTEST.
fn test<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = u128::from_le_bytes(super::source_128::<B, Legacy>(core, bus, op, op.src)?);
    let destination = u128::from_le_bytes(read_xmm(core, index(op.dst)));
    set_test_flags(core, source & destination == 0, source & !destination == 0);
    Ok(())
}

/// VPTEST, and VTESTPS and VTESTPD, which look at signs only.
fn test_ymm<B: Bus, const BITS: u64>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let wide = is_wide(op.dst);
    let source = source_ymm(core, bus, op, op.src, wide)?;
    let destination = read_ymm(core, index(op.dst));
    let all = |holds: fn(u64, u64) -> u64| {
        (0..4).all(|at| holds(get(&source, at), get(&destination, at)) & BITS == 0)
    };
    set_test_flags(
        core,
        all(|source, destination| source & destination),
        all(|source, destination| source & !destination),
    );
    Ok(())
}

/// ZF where nothing is in common, CF where the source has nothing besides.
fn set_test_flags(core: &mut Core, disjoint: bool, contained: bool) {
    core.state.flags.set_arithmetic(0);
    core.state.flags.set_zero(disjoint);
    core.state.flags.set_carry(contained);
}
