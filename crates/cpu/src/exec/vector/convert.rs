//! SSE's conversions (Intel SDM vol. 2A, CVT...).

use iced_x86::{Code, Instruction};

use super::{
    Xmm, enter_mmx,
    float::{Control, Double, Precision, Single, converted, settle},
    index,
    lanes::{get, set},
    mmx_available, read_xmm, source_128, source_low, source_mmx, sse_available, write_mmx, write_xmm,
};
use crate::{
    Bus, Core, Exec, Handler, Op, Operand,
    float::{Encoding, Rounding, from_integer, round_number, to_integer},
    width::Width,
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    packed(instruction).or_else(|| scalar(instruction)).or_else(|| mmx(instruction))
}

fn packed<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Cvtps2pd_xmm_xmmm64 => lanes::<B, WidenSingles>,
        Code::Cvtpd2ps_xmm_xmmm128 => lanes::<B, NarrowDoubles>,
        Code::Cvtdq2ps_xmm_xmmm128 => lanes::<B, FromIntegers<Single>>,
        Code::Cvtdq2pd_xmm_xmmm64 => lanes::<B, FromIntegers<Double>>,
        Code::Cvtps2dq_xmm_xmmm128 => lanes::<B, ToIntegers<Single, false>>,
        Code::Cvttps2dq_xmm_xmmm128 => lanes::<B, ToIntegers<Single, true>>,
        Code::Cvtpd2dq_xmm_xmmm128 => lanes::<B, ToIntegers<Double, false>>,
        Code::Cvttpd2dq_xmm_xmmm128 => lanes::<B, ToIntegers<Double, true>>,
        _ => return None,
    })
}

/// A conversion of lanes: the source's bytes, and what becomes of them. Lanes that are not made are zero.
trait Conversion {
    const SOURCE: usize;
    fn apply(control: Control, source: &Xmm) -> (Xmm, u8);
}

/// Lanes made one by one, with the flags of all.
fn made<P: Precision>(count: usize, mut make: impl FnMut(usize) -> (u64, u8)) -> (Xmm, u8) {
    let mut result = [0; 16];
    let mut all = 0;
    for at in 0..count {
        let (value, flags) = make(at);
        P::set(&mut result, at, value);
        all |= flags;
    }
    (result, all)
}

struct WidenSingles;
struct NarrowDoubles;
struct FromIntegers<P>(std::marker::PhantomData<P>);
struct ToIntegers<P, const CUT: bool>(std::marker::PhantomData<P>);

impl Conversion for WidenSingles {
    const SOURCE: usize = 8;

    fn apply(control: Control, source: &Xmm) -> (Xmm, u8) {
        made::<Double>(2, |at| {
            converted(control, Encoding::Single, Encoding::Double, Single::get(source, at))
        })
    }
}

impl Conversion for NarrowDoubles {
    const SOURCE: usize = 16;

    fn apply(control: Control, source: &Xmm) -> (Xmm, u8) {
        made::<Single>(2, |at| {
            converted(control, Encoding::Double, Encoding::Single, Double::get(source, at))
        })
    }
}

impl<P: Precision> Conversion for FromIntegers<P> {
    const SOURCE: usize = 4 * P::LANES;

    fn apply(control: Control, source: &Xmm) -> (Xmm, u8) {
        made::<P>(P::LANES, |at| integer_to(control, P::ENCODING, get::<i32, 16>(source, at).into()))
    }
}

impl<P: Precision, const CUT: bool> Conversion for ToIntegers<P, CUT> {
    const SOURCE: usize = 16;

    fn apply(control: Control, source: &Xmm) -> (Xmm, u8) {
        made::<Single>(P::LANES, |at| to_integer_of(control, P::ENCODING, P::get(source, at), 32, CUT))
    }
}

fn integer_to(control: Control, encoding: Encoding, value: i64) -> (u64, u8) {
    let outcome = round_number(from_integer(value), &control.rules(encoding));
    (encoding.pack(outcome.number), outcome.flags)
}

fn to_integer_of(control: Control, encoding: Encoding, bits: u64, width: u32, cut: bool) -> (u64, u8) {
    let rounding = if cut { Rounding::Truncate } else { control.rounding() };
    let (value, flags, _) = to_integer(control.unpack(encoding, bits), width, rounding);
    (value as u64, flags)
}

fn lanes<B: Bus, C: Conversion>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = match C::SOURCE {
        16 => source_128(core, bus, op, op.src)?,
        bytes => u128::from(source_low(core, bus, op, op.src, bytes)?).to_le_bytes(),
    };
    let control = Control::of(core);
    let (result, flags) = C::apply(control, &source);
    settle(core, flags)?;
    write_xmm(core, index(op.dst), result);
    Ok(())
}

fn scalar<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Cvtss2sd_xmm_xmmm32 => between::<B, Single, Double>,
        Code::Cvtsd2ss_xmm_xmmm64 => between::<B, Double, Single>,
        Code::Cvtsi2ss_xmm_rm32 => from_general::<B, Single, u32>,
        Code::Cvtsi2ss_xmm_rm64 => from_general::<B, Single, u64>,
        Code::Cvtsi2sd_xmm_rm32 => from_general::<B, Double, u32>,
        Code::Cvtsi2sd_xmm_rm64 => from_general::<B, Double, u64>,
        Code::Cvtss2si_r32_xmmm32 => to_general::<B, Single, u32, false>,
        Code::Cvtss2si_r64_xmmm32 => to_general::<B, Single, u64, false>,
        Code::Cvttss2si_r32_xmmm32 => to_general::<B, Single, u32, true>,
        Code::Cvttss2si_r64_xmmm32 => to_general::<B, Single, u64, true>,
        Code::Cvtsd2si_r32_xmmm64 => to_general::<B, Double, u32, false>,
        Code::Cvtsd2si_r64_xmmm64 => to_general::<B, Double, u64, false>,
        Code::Cvttsd2si_r32_xmmm64 => to_general::<B, Double, u32, true>,
        Code::Cvttsd2si_r64_xmmm64 => to_general::<B, Double, u64, true>,
        _ => return None,
    })
}

/// Replaces the lowest lane of the destination.
fn set_lowest<P: Precision>(core: &mut Core, op: &Op, (value, flags): (u64, u8)) -> Exec {
    settle(core, flags)?;
    let to = index(op.dst);
    let mut result = read_xmm(core, to);
    P::set(&mut result, 0, value);
    write_xmm(core, to, result);
    Ok(())
}

fn between<B: Bus, From: Precision, To: Precision>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = source_low(core, bus, op, op.src, From::BYTES)?;
    let result = converted(Control::of(core), From::ENCODING, To::ENCODING, source);
    set_lowest::<To>(core, op, result)
}

fn from_general<B: Bus, To: Precision, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let value = core.load::<W, B>(bus, op, op.src)?.to_i64();
    let result = integer_to(Control::of(core), To::ENCODING, value);
    set_lowest::<To>(core, op, result)
}

fn to_general<B: Bus, From: Precision, W: Width, const CUT: bool>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    sse_available(core)?;
    let source = source_low(core, bus, op, op.src, From::BYTES)?;
    let (value, flags) = to_integer_of(Control::of(core), From::ENCODING, source, W::BITS, CUT);
    settle(core, flags)?;
    core.store(bus, op, op.dst, W::from_u64(value))
}

fn mmx<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Cvtpi2ps_xmm_mmm64 => from_mmx::<B, Single>,
        Code::Cvtpi2pd_xmm_mmm64 => from_mmx::<B, Double>,
        Code::Cvtps2pi_mm_xmmm64 => to_mmx::<B, Single, false>,
        Code::Cvttps2pi_mm_xmmm64 => to_mmx::<B, Single, true>,
        Code::Cvtpd2pi_mm_xmmm128 => to_mmx::<B, Double, false>,
        Code::Cvttpd2pi_mm_xmmm128 => to_mmx::<B, Double, true>,
        _ => return None,
    })
}

/// CVTPI2PS leaves the high half alone. A source in memory does not touch MMX.
fn from_mmx<B: Bus, P: Precision>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let touches = op.src != Operand::Memory;
    if touches && !mmx_available(core, bus)? {
        return Ok(());
    }
    let source = source_mmx(core, bus, op, op.src, 8)?;
    let control = Control::of(core);
    let mut result = read_xmm(core, index(op.dst));
    let mut all = 0;
    for at in 0..2 {
        let (value, flags) = integer_to(control, P::ENCODING, get::<i32, 8>(&source, at).into());
        P::set(&mut result, at, value);
        all |= flags;
    }
    if touches {
        enter_mmx(core);
    }
    settle(core, all)?;
    write_xmm(core, index(op.dst), result);
    Ok(())
}

fn to_mmx<B: Bus, P: Precision, const CUT: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let source = match P::BYTES {
        8 => source_128(core, bus, op, op.src)?,
        _ => u128::from(source_low(core, bus, op, op.src, 8)?).to_le_bytes(),
    };
    let control = Control::of(core);
    let mut result = [0; 8];
    let mut all = 0;
    for at in 0..2 {
        let (value, flags) = to_integer_of(control, P::ENCODING, P::get(&source, at), 32, CUT);
        set(&mut result, at, value as u32);
        all |= flags;
    }
    // The registers are MMX's even if what follows faults.
    enter_mmx(core);
    settle(core, all)?;
    write_mmx(core, index(op.dst), result);
    Ok(())
}
