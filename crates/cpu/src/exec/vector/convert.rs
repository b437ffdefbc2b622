//! Conversions of SSE, AVX and F16C (Intel SDM vol. 2A, CVT...; vol. 2C, VCVTPH2PS and VCVTPS2PH).

use iced_x86::{Code, Instruction, Mnemonic};

use super::{
    Form, Legacy, Vex, Ymm, avx_available, by_form, enter_mmx,
    float::{Control, Double, Precision, Single, converted, converted_by, settle},
    index, is_wide,
    lanes::{get, set},
    lanes_of, mmx_available, read_xmm, source_128, source_low, source_mmx, source_ymm, sse_available,
    store_vector, widened, write_mmx, write_xmm, write_ymm,
};
use crate::{
    Bus, Core, Exec, Handler, Op, Operand,
    exec::operands::size,
    float::{Class, Encoding, Rounding, Rules, exception, from_integer, quieted, round_number, to_integer},
    width::Width,
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    packed(instruction).or_else(|| scalar(instruction)).or_else(|| mmx(instruction))
}

fn packed<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    Some(match instruction.mnemonic() {
        Is::Cvtps2pd | Is::Vcvtps2pd => by_form!(instruction, lanes, WidenSingles),
        Is::Cvtpd2ps | Is::Vcvtpd2ps => by_form!(instruction, lanes, NarrowDoubles),
        Is::Cvtdq2ps | Is::Vcvtdq2ps => by_form!(instruction, lanes, IntegersToSingles),
        Is::Cvtdq2pd | Is::Vcvtdq2pd => by_form!(instruction, lanes, IntegersToDoubles),
        Is::Cvtps2dq | Is::Vcvtps2dq => by_form!(instruction, lanes, SinglesToIntegers),
        Is::Cvttps2dq | Is::Vcvttps2dq => by_form!(instruction, lanes, SinglesCut),
        Is::Cvtpd2dq | Is::Vcvtpd2dq => by_form!(instruction, lanes, DoublesToIntegers),
        Is::Cvttpd2dq | Is::Vcvttpd2dq => by_form!(instruction, lanes, DoublesCut),
        Is::Vcvtph2ps => by_form!(instruction, lanes, WidenHalves),
        Is::Vcvtps2ph => to_halves,
        _ => return None,
    })
}

/// A conversion of lanes: their bytes before and after, and what becomes of one.
trait Conversion {
    const FROM: usize;
    const TO: usize;
    fn apply(control: Control, bits: u64) -> (u64, u8);
}

macro_rules! conversions {
    ($($name:ident: $from:literal to $to:literal, |$control:ident, $bits:ident| $body:expr;)*) => {
        $(
            struct $name;
            impl Conversion for $name {
                const FROM: usize = $from;
                const TO: usize = $to;

                fn apply($control: Control, $bits: u64) -> (u64, u8) {
                    $body
                }
            }
        )*
    };
}

conversions! {
    WidenSingles: 4 to 8, |control, bits| converted(control, Encoding::Single, Encoding::Double, bits);
    NarrowDoubles: 8 to 4, |control, bits| converted(control, Encoding::Double, Encoding::Single, bits);
    IntegersToSingles: 4 to 4, |control, bits| integer_to(control, Encoding::Single, (bits as i32).into());
    IntegersToDoubles: 4 to 8, |control, bits| integer_to(control, Encoding::Double, (bits as i32).into());
    SinglesToIntegers: 4 to 4, |control, bits| to_integer_of(control, Encoding::Single, bits, 32, false);
    SinglesCut: 4 to 4, |control, bits| to_integer_of(control, Encoding::Single, bits, 32, true);
    DoublesToIntegers: 8 to 4, |control, bits| to_integer_of(control, Encoding::Double, bits, 32, false);
    DoublesCut: 8 to 4, |control, bits| to_integer_of(control, Encoding::Double, bits, 32, true);
    WidenHalves: 2 to 4, |_control, bits| widened_half(bits);
}

/// A lane of `bytes`.
fn lane(vector: &Ymm, bytes: usize, at: usize) -> u64 {
    match bytes {
        2 => get::<u16, 32>(vector, at).into(),
        4 => get::<u32, 32>(vector, at).into(),
        _ => get(vector, at),
    }
}

/// `count` lanes converted, above them zeros, with the flags of all.
fn made<C: Conversion>(control: Control, source: &Ymm, count: usize) -> (Ymm, u8) {
    let mut result = [0; 32];
    let mut all = 0;
    for at in 0..count {
        let (value, flags) = C::apply(control, lane(source, C::FROM, at));
        match C::TO {
            4 => set(&mut result, at, value as u32),
            _ => set(&mut result, at, value),
        }
        all |= flags;
    }
    (result, all)
}

/// VCVTPH2PS: exact, whatever MXCSR says of denormals.
fn widened_half(bits: u64) -> (u64, u8) {
    let number = Encoding::Half.unpack(bits);
    match number.class {
        Class::Signaling => (Encoding::Single.pack(quieted(number)), exception::INVALID),
        _ => (Encoding::Single.pack(number), 0),
    }
}

/// VCVTPS2PH: the immediate has the rounding, or leaves it to MXCSR. Results may be denormal.
fn to_halves<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let source = source_ymm(core, bus, op, op.src, is_wide(op.src))?;
    let control = Control::of(core);
    let rounding = match op.immediate & 4 {
        0 => Rounding::from_field(op.immediate as u32),
        _ => control.rounding(),
    };
    let rules = Rules { rounding, flush: false, ..control.rules(Encoding::Half) };
    let count = if is_wide(op.src) { 8 } else { 4 };
    let mut result = [0; 16];
    let mut all = 0;
    for at in 0..count {
        let bits = get::<u32, 32>(&source, at).into();
        let (value, flags) = converted_by(control, &rules, Encoding::Single, Encoding::Half, bits);
        set(&mut result, at, value as u16);
        all |= flags;
    }
    if op.dst == Operand::MEMORY {
        // That it cannot be written comes first.
        let at = core.effective_address(op);
        core.probe(bus, op.memory.segment, at, 2 * count as u64, true)?;
    }
    settle(core, all)?;
    match (op.dst, count) {
        (Operand::MEMORY, 8) => store_vector(core, bus, op, false, &result),
        (Operand::MEMORY, _) => core.store::<u64, B>(bus, op, op.dst, get(&result, 0)),
        (which, _) => {
            Vex::write(core, index(which), result);
            Ok(())
        }
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

fn lanes<B: Bus, F: Form, C: Conversion>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let whole = if is_wide(op.dst) || is_wide(op.src) || reads_32(op) { 32 } else { 16 };
    let count = whole / C::FROM.max(C::TO);
    let source = match C::FROM * count {
        32 => source_ymm(core, bus, op, op.src, true)?,
        16 => widened(source_128::<B, F>(core, bus, op, op.src)?),
        bytes => widened(u128::from(source_low(core, bus, op, op.src, bytes)?).to_le_bytes()),
    };
    let (result, flags) = made::<C>(Control::of(core), &source, count);
    settle(core, flags)?;
    match is_wide(op.dst) {
        true => write_ymm(core, index(op.dst), result),
        false => F::write(core, index(op.dst), lanes_of(&result)[0]),
    }
    Ok(())
}

/// Of a conversion to an XMM register only its code says that its memory operand has 32 bytes.
fn reads_32(op: &Op) -> bool {
    matches!(
        op.code,
        Code::VEX_Vcvtpd2ps_xmm_ymmm256 | Code::VEX_Vcvtpd2dq_xmm_ymmm256 | Code::VEX_Vcvttpd2dq_xmm_ymmm256
    )
}

fn scalar<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    let operand = instruction.op_count().saturating_sub(1);
    // The general register, or the memory that stands for one.
    let wide = match instruction.mnemonic() {
        Is::Cvtsi2ss | Is::Cvtsi2sd | Is::Vcvtsi2ss | Is::Vcvtsi2sd => size(instruction, operand) == 8,
        _ => size(instruction, 0) == 8,
    };
    Some(match instruction.mnemonic() {
        Is::Cvtss2sd | Is::Vcvtss2sd => by_form!(instruction, between, Single, Double),
        Is::Cvtsd2ss | Is::Vcvtsd2ss => by_form!(instruction, between, Double, Single),
        Is::Cvtsi2ss | Is::Vcvtsi2ss if wide => by_form!(instruction, from_general, Single, u64),
        Is::Cvtsi2ss | Is::Vcvtsi2ss => by_form!(instruction, from_general, Single, u32),
        Is::Cvtsi2sd | Is::Vcvtsi2sd if wide => by_form!(instruction, from_general, Double, u64),
        Is::Cvtsi2sd | Is::Vcvtsi2sd => by_form!(instruction, from_general, Double, u32),
        Is::Cvtss2si | Is::Vcvtss2si if wide => by_form!(instruction, to_general, Single, u64, false),
        Is::Cvtss2si | Is::Vcvtss2si => by_form!(instruction, to_general, Single, u32, false),
        Is::Cvttss2si | Is::Vcvttss2si if wide => by_form!(instruction, to_general, Single, u64, true),
        Is::Cvttss2si | Is::Vcvttss2si => by_form!(instruction, to_general, Single, u32, true),
        Is::Cvtsd2si | Is::Vcvtsd2si if wide => by_form!(instruction, to_general, Double, u64, false),
        Is::Cvtsd2si | Is::Vcvtsd2si => by_form!(instruction, to_general, Double, u32, false),
        Is::Cvttsd2si | Is::Vcvttsd2si if wide => by_form!(instruction, to_general, Double, u64, true),
        Is::Cvttsd2si | Is::Vcvttsd2si => by_form!(instruction, to_general, Double, u32, true),
        _ => return None,
    })
}

/// The first source with its lowest lane replaced.
fn set_lowest<F: Form, P: Precision>(core: &mut Core, op: &Op, (value, flags): (u64, u8)) -> Exec {
    settle(core, flags)?;
    let mut result = read_xmm(core, F::first(op));
    P::set(&mut result, 0, value);
    F::write(core, index(op.dst), result);
    Ok(())
}

fn between<B: Bus, F: Form, From: Precision, To: Precision>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let source = source_low(core, bus, op, F::last(op), From::BYTES)?;
    let result = converted(Control::of(core), From::ENCODING, To::ENCODING, source);
    set_lowest::<F, To>(core, op, result)
}

fn from_general<B: Bus, F: Form, To: Precision, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let value = core.load::<W, B>(bus, op, F::last(op))?.to_i64();
    let result = integer_to(Control::of(core), To::ENCODING, value);
    set_lowest::<F, To>(core, op, result)
}

fn to_general<B: Bus, F: Form, From: Precision, W: Width, const CUT: bool>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    F::available(core)?;
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
    let touches = op.src != Operand::MEMORY;
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
        8 => source_128::<B, Legacy>(core, bus, op, op.src)?,
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
