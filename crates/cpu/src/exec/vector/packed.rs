//! Integer arithmetic, logic and shifts on packed lanes, for MMX, XMM and YMM registers alike (Intel SDM
//! vol. 2), and the logic of ANDPS and its relatives.

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Legacy, Vex, Xmm, avx_available, enter_mmx, index, is_vex, is_wide, joined,
    lanes::{each, from_fn, get, set},
    lanes_of, load_vector, mmx_available, read_mmx, read_xmm, read_ymm, source_128, source_mmx, source_ymm,
    sse_available, widened, write_mmx, write_xmm, write_ymm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand, OperandKind};

/// An operation on two vectors of `N` bytes: the destination and the source.
pub(super) trait Packed {
    /// How many bits of the immediate are the first lane's of a YMM register; zero: all are every lane's.
    const BITS: u32 = 0;

    fn apply<const N: usize>(a: [u8; N], b: [u8; N], immediate: u8) -> [u8; N];
}

/// Operations by name. Each is a type of its own, so that each handler is compiled for it.
macro_rules! operations {
    ($($name:ident: |$a:ident, $b:ident $(, $immediate:ident $(>> $bits:literal)?)?| $body:expr;)*) => {
        $(
            struct $name;
            impl Packed for $name {
                $($(const BITS: u32 = $bits;)?)?

                #[inline(always)]
                #[allow(unused_variables)]
                fn apply<const N: usize>($a: [u8; N], $b: [u8; N], immediate: u8) -> [u8; N] {
                    $(let $immediate = immediate;)?
                    $body
                }
            }
        )*
    };
}
pub(super) use operations;

operations! {
    AddBytes: |a, b| each(a, b, u8::wrapping_add);
    AddWords: |a, b| each(a, b, u16::wrapping_add);
    AddDoublewords: |a, b| each(a, b, u32::wrapping_add);
    AddQuadwords: |a, b| each(a, b, u64::wrapping_add);
    AddSignedBytes: |a, b| each(a, b, i8::saturating_add);
    AddSignedWords: |a, b| each(a, b, i16::saturating_add);
    AddUnsignedBytes: |a, b| each(a, b, u8::saturating_add);
    AddUnsignedWords: |a, b| each(a, b, u16::saturating_add);
    SubtractBytes: |a, b| each(a, b, u8::wrapping_sub);
    SubtractWords: |a, b| each(a, b, u16::wrapping_sub);
    SubtractDoublewords: |a, b| each(a, b, u32::wrapping_sub);
    SubtractQuadwords: |a, b| each(a, b, u64::wrapping_sub);
    SubtractSignedBytes: |a, b| each(a, b, i8::saturating_sub);
    SubtractSignedWords: |a, b| each(a, b, i16::saturating_sub);
    SubtractUnsignedBytes: |a, b| each(a, b, u8::saturating_sub);
    SubtractUnsignedWords: |a, b| each(a, b, u16::saturating_sub);
    EqualBytes: |a, b| each(a, b, |x: u8, y| mask8(x == y));
    EqualWords: |a, b| each(a, b, |x: u16, y| mask16(x == y));
    EqualDoublewords: |a, b| each(a, b, |x: u32, y| mask32(x == y));
    EqualQuadwords: |a, b| each(a, b, |x: u64, y| mask64(x == y));
    GreaterBytes: |a, b| each(a, b, |x: i8, y| mask8(x > y) as i8);
    GreaterWords: |a, b| each(a, b, |x: i16, y| mask16(x > y) as i16);
    GreaterDoublewords: |a, b| each(a, b, |x: i32, y| mask32(x > y) as i32);
    GreaterQuadwords: |a, b| each(a, b, |x: i64, y| mask64(x > y) as i64);
    MinimumUnsignedBytes: |a, b| each(a, b, u8::min);
    MinimumUnsignedWords: |a, b| each(a, b, u16::min);
    MinimumUnsignedDoublewords: |a, b| each(a, b, u32::min);
    MinimumSignedBytes: |a, b| each(a, b, i8::min);
    MinimumSignedWords: |a, b| each(a, b, i16::min);
    MinimumSignedDoublewords: |a, b| each(a, b, i32::min);
    MaximumUnsignedBytes: |a, b| each(a, b, u8::max);
    MaximumUnsignedWords: |a, b| each(a, b, u16::max);
    MaximumUnsignedDoublewords: |a, b| each(a, b, u32::max);
    MaximumSignedBytes: |a, b| each(a, b, i8::max);
    MaximumSignedWords: |a, b| each(a, b, i16::max);
    MaximumSignedDoublewords: |a, b| each(a, b, i32::max);
    AverageBytes: |a, b| each(a, b, |x: u8, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8);
    AverageWords: |a, b| each(a, b, |x: u16, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16);
    And: |a, b| each(a, b, |x: u64, y| x & y);
    AndNot: |a, b| each(a, b, |x: u64, y| !x & y);
    Or: |a, b| each(a, b, |x: u64, y| x | y);
    ExclusiveOr: |a, b| each(a, b, |x: u64, y| x ^ y);
    MultiplyLow: |a, b| each(a, b, i16::wrapping_mul);
    MultiplyLowDoublewords: |a, b| each(a, b, i32::wrapping_mul);
    MultiplyHigh: |a, b| each(a, b, |x: i16, y| ((i32::from(x) * i32::from(y)) >> 16) as i16);
    MultiplyHighUnsigned: |a, b| each(a, b, |x: u16, y| ((u32::from(x) * u32::from(y)) >> 16) as u16);
    MultiplyRounded: |a, b| each(a, b, |x: i16, y| {
        ((((i32::from(x) * i32::from(y)) >> 14) + 1) >> 1) as i16
    });
    MultiplyEven: |a, b| each(a, b, |x: u64, y| (x & 0xffff_ffff) * (y & 0xffff_ffff));
    MultiplyEvenSigned: |a, b| each(a, b, |x: i64, y| i64::from(x as i32) * i64::from(y as i32));
    MultiplyAdd: |a, b| from_fn(|at| {
        let product = |at| i32::from(get::<i16, N>(&a, at)) * i32::from(get::<i16, N>(&b, at));
        product(2 * at).wrapping_add(product(2 * at + 1))
    });
    MultiplyAddBytes: |a, b| from_fn(|at| {
        let product = |at| i16::from(get::<u8, N>(&a, at)) as i32 * i32::from(get::<i8, N>(&b, at));
        saturated_word(product(2 * at) + product(2 * at + 1))
    });
    SumDifferences: |a, b| from_fn(|at| {
        (8 * at..8 * at + 8).map(|at| u64::from(a[at].abs_diff(b[at]))).sum::<u64>()
    });
    SignBytes: |a, b| each(a, b, |x: i8, y| x.wrapping_mul(y.signum()));
    SignWords: |a, b| each(a, b, |x: i16, y| x.wrapping_mul(y.signum()));
    SignDoublewords: |a, b| each(a, b, |x: i32, y| x.wrapping_mul(y.signum()));
    AbsoluteBytes: |a, b| each(a, b, |_, y: i8| y.wrapping_abs());
    AbsoluteWords: |a, b| each(a, b, |_, y: i16| y.wrapping_abs());
    AbsoluteDoublewords: |a, b| each(a, b, |_, y: i32| y.wrapping_abs());
    AddPairs: |a, b| pairs(a, b, i16::wrapping_add);
    AddPairsSaturating: |a, b| pairs(a, b, i16::saturating_add);
    AddPairsDoublewords: |a, b| pairs(a, b, i32::wrapping_add);
    SubtractPairs: |a, b| pairs(a, b, i16::wrapping_sub);
    SubtractPairsSaturating: |a, b| pairs(a, b, i16::saturating_sub);
    SubtractPairsDoublewords: |a, b| pairs(a, b, i32::wrapping_sub);
    ShiftLeftWords: |a, b| each_by(a, b, |x: u16, count| x.checked_shl(count).unwrap_or(0));
    ShiftLeftDoublewords: |a, b| each_by(a, b, |x: u32, count| x.checked_shl(count).unwrap_or(0));
    ShiftLeftQuadwords: |a, b| each_by(a, b, |x: u64, count| x.checked_shl(count).unwrap_or(0));
    ShiftRightWords: |a, b| each_by(a, b, |x: u16, count| x.checked_shr(count).unwrap_or(0));
    ShiftRightDoublewords: |a, b| each_by(a, b, |x: u32, count| x.checked_shr(count).unwrap_or(0));
    ShiftRightQuadwords: |a, b| each_by(a, b, |x: u64, count| x.checked_shr(count).unwrap_or(0));
    ShiftArithmeticWords: |a, b| each_by(a, b, |x: i16, count| x >> count.min(15));
    ShiftArithmeticDoublewords: |a, b| each_by(a, b, |x: i32, count| x >> count.min(31));
    ShiftBytesLeft: |a, b| from_fn(|at| at.checked_sub(count(&b)).map_or(0, |from| a[from]));
    ShiftBytesRight: |a, b| from_fn(|at| a.get(at.saturating_add(count(&b))).copied().unwrap_or(0));
    Minimum8: |a, b| minimum_of_words(b);
    DifferencesOfBlocks: |a, b, immediate >> 3| differences_of_blocks(a, b, immediate);
}

fn mask8(holds: bool) -> u8 {
    u8::from(holds).wrapping_neg()
}

fn mask16(holds: bool) -> u16 {
    u16::from(holds).wrapping_neg()
}

fn mask32(holds: bool) -> u32 {
    u32::from(holds).wrapping_neg()
}

fn mask64(holds: bool) -> u64 {
    u64::from(holds).wrapping_neg()
}

pub(super) fn saturated_word(value: i32) -> i16 {
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// `change` of neighbours: those of the destination make the low half, those of the source the high.
fn pairs<T: super::lanes::Lane, const N: usize>(
    a: [u8; N],
    b: [u8; N],
    change: impl Fn(T, T) -> T,
) -> [u8; N] {
    let half = N / T::BYTES / 2;
    from_fn(|at| {
        let (from, at) = if at < half { (&a, at) } else { (&b, at - half) };
        change(get(from, 2 * at), get(from, 2 * at + 1))
    })
}

/// The count of a shift: the low 64 bits of its source, as far as counts matter.
fn count<const N: usize>(source: &[u8; N]) -> usize {
    get::<u64, N>(source, 0).min(255) as usize
}

/// `change` of each lane by the one count.
fn each_by<T: super::lanes::Lane, const N: usize>(
    a: [u8; N],
    b: [u8; N],
    change: impl Fn(T, u32) -> T,
) -> [u8; N] {
    let count = count(&b) as u32;
    from_fn(|at| change(get(&a, at), count))
}

/// PHMINPOSUW: the smallest word and its number.
fn minimum_of_words<const N: usize>(source: [u8; N]) -> [u8; N] {
    let smallest = (0..N / 2).map(|at| (get::<u16, N>(&source, at), at as u16)).min();
    let (word, position) = smallest.unwrap_or_default();
    let mut result = [0; N];
    set(&mut result, 0, word);
    set(&mut result, 1, position);
    result
}

/// MPSADBW: four bytes of the source against eight places of the destination.
fn differences_of_blocks<const N: usize>(a: [u8; N], b: [u8; N], immediate: u8) -> [u8; N] {
    let block = usize::from(immediate & 3) * 4;
    let first = usize::from(immediate >> 2 & 1) * 4;
    from_fn(|at| {
        let difference = |byte: usize| {
            let (x, y) = (get::<u8, N>(&a, first + at + byte), get::<u8, N>(&b, block + byte));
            u16::from(x.abs_diff(y))
        };
        (0..4).map(difference).sum::<u16>()
    })
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    sums(instruction)
        .or_else(|| products(instruction))
        .or_else(|| comparisons(instruction))
        .or_else(|| shifts(instruction))
}

/// The handler for the registers that the instruction has.
pub(super) fn packed<B: Bus, O: Packed>(instruction: &Instruction) -> Option<Handler<B>> {
    let register = instruction.op0_register();
    if is_vex(instruction) {
        Some(on_ymm::<B, O>)
    } else if register.is_mm() {
        Some(on_mmx::<B, O, 8>)
    } else if register.is_xmm() {
        Some(on_xmm::<B, O>)
    } else {
        None
    }
}

/// As [`packed`], of a shift, whose count is the same for all lanes.
fn shift<B: Bus, O: Packed>(instruction: &Instruction) -> Option<Handler<B>> {
    if is_vex(instruction) { Some(shift_ymm::<B, O>) } else { packed::<B, O>(instruction) }
}

fn sums<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Paddb | Mnemonic::Vpaddb => packed::<B, AddBytes>(instruction),
        Mnemonic::Paddw | Mnemonic::Vpaddw => packed::<B, AddWords>(instruction),
        Mnemonic::Paddd | Mnemonic::Vpaddd => packed::<B, AddDoublewords>(instruction),
        Mnemonic::Paddq | Mnemonic::Vpaddq => packed::<B, AddQuadwords>(instruction),
        Mnemonic::Paddsb | Mnemonic::Vpaddsb => packed::<B, AddSignedBytes>(instruction),
        Mnemonic::Paddsw | Mnemonic::Vpaddsw => packed::<B, AddSignedWords>(instruction),
        Mnemonic::Paddusb | Mnemonic::Vpaddusb => packed::<B, AddUnsignedBytes>(instruction),
        Mnemonic::Paddusw | Mnemonic::Vpaddusw => packed::<B, AddUnsignedWords>(instruction),
        Mnemonic::Psubb | Mnemonic::Vpsubb => packed::<B, SubtractBytes>(instruction),
        Mnemonic::Psubw | Mnemonic::Vpsubw => packed::<B, SubtractWords>(instruction),
        Mnemonic::Psubd | Mnemonic::Vpsubd => packed::<B, SubtractDoublewords>(instruction),
        Mnemonic::Psubq | Mnemonic::Vpsubq => packed::<B, SubtractQuadwords>(instruction),
        Mnemonic::Psubsb | Mnemonic::Vpsubsb => packed::<B, SubtractSignedBytes>(instruction),
        Mnemonic::Psubsw | Mnemonic::Vpsubsw => packed::<B, SubtractSignedWords>(instruction),
        Mnemonic::Psubusb | Mnemonic::Vpsubusb => packed::<B, SubtractUnsignedBytes>(instruction),
        Mnemonic::Psubusw | Mnemonic::Vpsubusw => packed::<B, SubtractUnsignedWords>(instruction),
        Mnemonic::Pavgb | Mnemonic::Vpavgb => packed::<B, AverageBytes>(instruction),
        Mnemonic::Pavgw | Mnemonic::Vpavgw => packed::<B, AverageWords>(instruction),
        Mnemonic::Psadbw | Mnemonic::Vpsadbw => packed::<B, SumDifferences>(instruction),
        Mnemonic::Psignb | Mnemonic::Vpsignb => packed::<B, SignBytes>(instruction),
        Mnemonic::Psignw | Mnemonic::Vpsignw => packed::<B, SignWords>(instruction),
        Mnemonic::Psignd | Mnemonic::Vpsignd => packed::<B, SignDoublewords>(instruction),
        Mnemonic::Pabsb | Mnemonic::Vpabsb => packed::<B, AbsoluteBytes>(instruction),
        Mnemonic::Pabsw | Mnemonic::Vpabsw => packed::<B, AbsoluteWords>(instruction),
        Mnemonic::Pabsd | Mnemonic::Vpabsd => packed::<B, AbsoluteDoublewords>(instruction),
        Mnemonic::Phaddw | Mnemonic::Vphaddw => packed::<B, AddPairs>(instruction),
        Mnemonic::Phaddsw | Mnemonic::Vphaddsw => packed::<B, AddPairsSaturating>(instruction),
        Mnemonic::Phaddd | Mnemonic::Vphaddd => packed::<B, AddPairsDoublewords>(instruction),
        Mnemonic::Phsubw | Mnemonic::Vphsubw => packed::<B, SubtractPairs>(instruction),
        Mnemonic::Phsubsw | Mnemonic::Vphsubsw => packed::<B, SubtractPairsSaturating>(instruction),
        Mnemonic::Phsubd | Mnemonic::Vphsubd => packed::<B, SubtractPairsDoublewords>(instruction),
        Mnemonic::Mpsadbw | Mnemonic::Vmpsadbw => packed::<B, DifferencesOfBlocks>(instruction),
        _ => None,
    }
}

fn products<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Pmullw | Mnemonic::Vpmullw => packed::<B, MultiplyLow>(instruction),
        Mnemonic::Pmulld | Mnemonic::Vpmulld => packed::<B, MultiplyLowDoublewords>(instruction),
        Mnemonic::Pmulhw | Mnemonic::Vpmulhw => packed::<B, MultiplyHigh>(instruction),
        Mnemonic::Pmulhuw | Mnemonic::Vpmulhuw => packed::<B, MultiplyHighUnsigned>(instruction),
        Mnemonic::Pmulhrsw | Mnemonic::Vpmulhrsw => packed::<B, MultiplyRounded>(instruction),
        Mnemonic::Pmuludq | Mnemonic::Vpmuludq => packed::<B, MultiplyEven>(instruction),
        Mnemonic::Pmuldq | Mnemonic::Vpmuldq => packed::<B, MultiplyEvenSigned>(instruction),
        Mnemonic::Pmaddwd | Mnemonic::Vpmaddwd => packed::<B, MultiplyAdd>(instruction),
        Mnemonic::Pmaddubsw | Mnemonic::Vpmaddubsw => packed::<B, MultiplyAddBytes>(instruction),
        Mnemonic::Pand
        | Mnemonic::Andps
        | Mnemonic::Andpd
        | Mnemonic::Vpand
        | Mnemonic::Vandps
        | Mnemonic::Vandpd => packed::<B, And>(instruction),
        Mnemonic::Pandn
        | Mnemonic::Andnps
        | Mnemonic::Andnpd
        | Mnemonic::Vpandn
        | Mnemonic::Vandnps
        | Mnemonic::Vandnpd => packed::<B, AndNot>(instruction),
        Mnemonic::Por
        | Mnemonic::Orps
        | Mnemonic::Orpd
        | Mnemonic::Vpor
        | Mnemonic::Vorps
        | Mnemonic::Vorpd => packed::<B, Or>(instruction),
        Mnemonic::Pxor
        | Mnemonic::Xorps
        | Mnemonic::Xorpd
        | Mnemonic::Vpxor
        | Mnemonic::Vxorps
        | Mnemonic::Vxorpd => packed::<B, ExclusiveOr>(instruction),
        _ => None,
    }
}

fn comparisons<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Pcmpeqb | Mnemonic::Vpcmpeqb => packed::<B, EqualBytes>(instruction),
        Mnemonic::Pcmpeqw | Mnemonic::Vpcmpeqw => packed::<B, EqualWords>(instruction),
        Mnemonic::Pcmpeqd | Mnemonic::Vpcmpeqd => packed::<B, EqualDoublewords>(instruction),
        Mnemonic::Pcmpeqq | Mnemonic::Vpcmpeqq => packed::<B, EqualQuadwords>(instruction),
        Mnemonic::Pcmpgtb | Mnemonic::Vpcmpgtb => packed::<B, GreaterBytes>(instruction),
        Mnemonic::Pcmpgtw | Mnemonic::Vpcmpgtw => packed::<B, GreaterWords>(instruction),
        Mnemonic::Pcmpgtd | Mnemonic::Vpcmpgtd => packed::<B, GreaterDoublewords>(instruction),
        Mnemonic::Pcmpgtq | Mnemonic::Vpcmpgtq => packed::<B, GreaterQuadwords>(instruction),
        Mnemonic::Pminub | Mnemonic::Vpminub => packed::<B, MinimumUnsignedBytes>(instruction),
        Mnemonic::Pminuw | Mnemonic::Vpminuw => packed::<B, MinimumUnsignedWords>(instruction),
        Mnemonic::Pminud | Mnemonic::Vpminud => packed::<B, MinimumUnsignedDoublewords>(instruction),
        Mnemonic::Pminsb | Mnemonic::Vpminsb => packed::<B, MinimumSignedBytes>(instruction),
        Mnemonic::Pminsw | Mnemonic::Vpminsw => packed::<B, MinimumSignedWords>(instruction),
        Mnemonic::Pminsd | Mnemonic::Vpminsd => packed::<B, MinimumSignedDoublewords>(instruction),
        Mnemonic::Pmaxub | Mnemonic::Vpmaxub => packed::<B, MaximumUnsignedBytes>(instruction),
        Mnemonic::Pmaxuw | Mnemonic::Vpmaxuw => packed::<B, MaximumUnsignedWords>(instruction),
        Mnemonic::Pmaxud | Mnemonic::Vpmaxud => packed::<B, MaximumUnsignedDoublewords>(instruction),
        Mnemonic::Pmaxsb | Mnemonic::Vpmaxsb => packed::<B, MaximumSignedBytes>(instruction),
        Mnemonic::Pmaxsw | Mnemonic::Vpmaxsw => packed::<B, MaximumSignedWords>(instruction),
        Mnemonic::Pmaxsd | Mnemonic::Vpmaxsd => packed::<B, MaximumSignedDoublewords>(instruction),
        Mnemonic::Phminposuw | Mnemonic::Vphminposuw => packed::<B, Minimum8>(instruction),
        _ => None,
    }
}

fn shifts<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Psllw | Mnemonic::Vpsllw => shift::<B, ShiftLeftWords>(instruction),
        Mnemonic::Pslld | Mnemonic::Vpslld => shift::<B, ShiftLeftDoublewords>(instruction),
        Mnemonic::Psllq | Mnemonic::Vpsllq => shift::<B, ShiftLeftQuadwords>(instruction),
        Mnemonic::Psrlw | Mnemonic::Vpsrlw => shift::<B, ShiftRightWords>(instruction),
        Mnemonic::Psrld | Mnemonic::Vpsrld => shift::<B, ShiftRightDoublewords>(instruction),
        Mnemonic::Psrlq | Mnemonic::Vpsrlq => shift::<B, ShiftRightQuadwords>(instruction),
        Mnemonic::Psraw | Mnemonic::Vpsraw => shift::<B, ShiftArithmeticWords>(instruction),
        Mnemonic::Psrad | Mnemonic::Vpsrad => shift::<B, ShiftArithmeticDoublewords>(instruction),
        Mnemonic::Pslldq | Mnemonic::Vpslldq => shift::<B, ShiftBytesLeft>(instruction),
        Mnemonic::Psrldq | Mnemonic::Vpsrldq => shift::<B, ShiftBytesRight>(instruction),
        _ => None,
    }
}

/// On XMM registers. A shift may have its count in the immediate.
fn on_xmm<B: Bus, O: Packed>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = match op.src.kind {
        OperandKind::Xmm => read_xmm(core, index(op.src)),
        OperandKind::Immediate => u128::from(op.immediate).to_le_bytes(),
        _ => return with_memory::<B, O>(core, bus, op),
    };
    apply_to_xmm::<O>(core, op, source);
    Ok(())
}

/// Out of line: what only registers take part in calls nothing.
#[inline(never)]
fn with_memory<B: Bus, O: Packed>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let source = source_128::<B, Legacy>(core, bus, op, op.src)?;
    apply_to_xmm::<O>(core, op, source);
    Ok(())
}

#[inline(always)]
fn apply_to_xmm<O: Packed>(core: &mut Core, op: &Op, source: Xmm) {
    let to = index(op.dst);
    let result = O::apply(read_xmm(core, to), source, op.immediate as u8);
    write_xmm(core, to, result);
}

/// On YMM registers, or on XMM registers with a VEX prefix: lane by lane of sixteen bytes.
fn on_ymm<B: Bus, O: Packed>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let source = source_ymm(core, bus, op, Vex::last(op), is_wide(op.dst))?;
    in_lanes::<O>(core, op, source);
    Ok(())
}

/// VPSLLW and its relatives: the count is the immediate, or sixteen bytes for both lanes.
fn shift_ymm<B: Bus, O: Packed>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let count: Xmm = match op.third {
        Operand::IMMEDIATE => u128::from(op.immediate).to_le_bytes(),
        Operand::MEMORY => load_vector(core, bus, op, false)?,
        which => read_xmm(core, index(which)),
    };
    in_lanes::<O>(core, op, joined([count, count]));
    Ok(())
}

/// `O` of the first source and `source`, in as many lanes as the destination has.
fn in_lanes<O: Packed>(core: &mut Core, op: &Op, source: super::Ymm) {
    let (a, b) = (lanes_of(&read_ymm(core, Vex::first(op))), lanes_of(&source));
    let immediate = op.immediate as u8;
    let low = O::apply(a[0], b[0], immediate);
    let result = match is_wide(op.dst) {
        true => joined([low, O::apply(a[1], b[1], immediate >> O::BITS)]),
        false => widened(low),
    };
    write_ymm(core, index(op.dst), result);
}

/// On MMX registers; a source in memory has `BYTES` bytes.
pub(super) fn on_mmx<B: Bus, O: Packed, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if !mmx_available(core, bus)? {
        return Ok(());
    }
    let source = match op.src {
        Operand::IMMEDIATE => op.immediate.to_le_bytes(),
        which => source_mmx(core, bus, op, which, BYTES)?,
    };
    enter_mmx(core);
    let to = index(op.dst);
    let result = O::apply(read_mmx(core, to), source, op.immediate as u8);
    write_mmx(core, to, result);
    Ok(())
}
