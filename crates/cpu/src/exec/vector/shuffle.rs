//! Lanes rearranged: unpacking, packing, shuffles, blends, PALIGNR, INSERTPS, PMOVSX and PMOVZX (Intel
//! SDM vol. 2).

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Legacy, Ymm, avx_available, by_form, index, is_wide,
    lanes::{Lane, from_fn, get, set},
    lanes_of, load_64,
    packed::{Packed, on_mmx, operations, packed, saturated_word},
    read_xmm, read_ymm, source_128, source_low, source_up_to_16, source_ymm, sse_available, widened,
    write_xmm, write_ymm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand};

operations! {
    LowBytes: |a, b| interleaved::<u8, N>(a, b, 0);
    LowWords: |a, b| interleaved::<u16, N>(a, b, 0);
    LowDoublewords: |a, b| interleaved::<u32, N>(a, b, 0);
    LowQuadwords: |a, b| interleaved::<u64, N>(a, b, 0);
    HighBytes: |a, b| interleaved::<u8, N>(a, b, N / 2);
    HighWords: |a, b| interleaved::<u16, N>(a, b, N / 4);
    HighDoublewords: |a, b| interleaved::<u32, N>(a, b, N / 8);
    HighQuadwords: |a, b| interleaved::<u64, N>(a, b, N / 16);
    PackSignedBytes: |a, b| narrowed(a, b, |x: i16| x.clamp(-128, 127) as i8);
    PackUnsignedBytes: |a, b| narrowed(a, b, |x: i16| x.clamp(0, 255) as u8);
    PackSignedWords: |a, b| narrowed(a, b, saturated_word);
    PackUnsignedWords: |a, b| narrowed(a, b, |x: i32| x.clamp(0, 65535) as u16);
    ShuffleBytes: |a, b| from_fn(|at| if b[at] & 0x80 != 0 { 0 } else { a[usize::from(b[at]) % N] });
    ShuffleWords: |a, b, order| from_fn(|at| get::<u16, N>(&b, chosen(order, at)));
    ShuffleLowWords: |a, b, order| {
        from_fn(|at| get::<u16, N>(&b, if at < 4 { chosen(order, at) } else { at }))
    };
    ShuffleHighWords: |a, b, order| {
        from_fn(|at| get::<u16, N>(&b, if at < 4 { at } else { 4 + chosen(order, at - 4) }))
    };
    ShuffleDoublewords: |a, b, order| from_fn(|at| get::<u32, N>(&b, chosen(order, at)));
    ShuffleSingles: |a, b, order| {
        from_fn(|at| get::<u32, N>(if at < 2 { &a } else { &b }, chosen(order, at)))
    };
    ShuffleDoubles: |a, b, order >> 2| {
        from_fn(|at| get::<u64, N>(if at == 0 { &a } else { &b }, usize::from(order >> at & 1)))
    };
    DuplicateEven: |a, b| from_fn(|at| get::<u32, N>(&b, at & !1));
    DuplicateOdd: |a, b| from_fn(|at| get::<u32, N>(&b, at | 1));
    DuplicateDoubles: |a, b| from_fn(|at| get::<u64, N>(&b, at & !1));
    Align: |a, b, by| from_fn(|at| aligned(&a, &b, at + usize::from(by)));
    BlendWords: |a, b, which| from_fn(|at| get::<u16, N>(if which >> at & 1 != 0 { &b } else { &a }, at));
    BlendSingles: |a, b, which >> 4| from_fn(|at| get::<u32, N>(if which >> at & 1 != 0 { &b } else { &a }, at));
    BlendDoubles: |a, b, which >> 2| from_fn(|at| get::<u64, N>(if which >> at & 1 != 0 { &b } else { &a }, at));
}

/// Two bits of a shuffle's order.
fn chosen(order: u8, at: usize) -> usize {
    usize::from(order >> (2 * at) & 3)
}

/// Lanes of both from `first` on, in turns.
fn interleaved<T: Lane, const N: usize>(a: [u8; N], b: [u8; N], first: usize) -> [u8; N] {
    from_fn(|at| get::<T, N>(if at & 1 == 0 { &a } else { &b }, first + at / 2))
}

/// The lanes of both at half their width.
fn narrowed<From: Lane, To: Lane, const N: usize>(
    a: [u8; N],
    b: [u8; N],
    narrow: impl Fn(From) -> To,
) -> [u8; N] {
    let half = N / From::BYTES;
    from_fn(|at| narrow(if at < half { get(&a, at) } else { get(&b, at - half) }))
}

/// Byte `at` of the source followed by the destination.
fn aligned<const N: usize>(a: &[u8; N], b: &[u8; N], at: usize) -> u8 {
    let byte = if at < N { b.get(at) } else { a.get(at - N) };
    byte.copied().unwrap_or(0)
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    match instruction.mnemonic() {
        Mnemonic::Punpcklbw | Mnemonic::Vpunpcklbw => low::<B, LowBytes>(instruction),
        Mnemonic::Punpcklwd | Mnemonic::Vpunpcklwd => low::<B, LowWords>(instruction),
        Mnemonic::Punpckldq | Mnemonic::Vpunpckldq => low::<B, LowDoublewords>(instruction),
        Mnemonic::Punpcklqdq | Mnemonic::Unpcklpd | Mnemonic::Vpunpcklqdq | Mnemonic::Vunpcklpd => {
            packed::<B, LowQuadwords>(instruction)
        }
        Mnemonic::Unpcklps | Mnemonic::Vunpcklps => packed::<B, LowDoublewords>(instruction),
        Mnemonic::Punpckhbw | Mnemonic::Vpunpckhbw => packed::<B, HighBytes>(instruction),
        Mnemonic::Punpckhwd | Mnemonic::Vpunpckhwd => packed::<B, HighWords>(instruction),
        Mnemonic::Punpckhdq | Mnemonic::Unpckhps | Mnemonic::Vpunpckhdq | Mnemonic::Vunpckhps => {
            packed::<B, HighDoublewords>(instruction)
        }
        Mnemonic::Punpckhqdq | Mnemonic::Unpckhpd | Mnemonic::Vpunpckhqdq | Mnemonic::Vunpckhpd => {
            packed::<B, HighQuadwords>(instruction)
        }
        Mnemonic::Packsswb | Mnemonic::Vpacksswb => packed::<B, PackSignedBytes>(instruction),
        Mnemonic::Packuswb | Mnemonic::Vpackuswb => packed::<B, PackUnsignedBytes>(instruction),
        Mnemonic::Packssdw | Mnemonic::Vpackssdw => packed::<B, PackSignedWords>(instruction),
        Mnemonic::Packusdw | Mnemonic::Vpackusdw => packed::<B, PackUnsignedWords>(instruction),
        Mnemonic::Pshufb | Mnemonic::Vpshufb => packed::<B, ShuffleBytes>(instruction),
        Mnemonic::Pshufw => packed::<B, ShuffleWords>(instruction),
        Mnemonic::Pshuflw | Mnemonic::Vpshuflw => packed::<B, ShuffleLowWords>(instruction),
        Mnemonic::Pshufhw | Mnemonic::Vpshufhw => packed::<B, ShuffleHighWords>(instruction),
        Mnemonic::Pshufd | Mnemonic::Vpshufd => packed::<B, ShuffleDoublewords>(instruction),
        Mnemonic::Shufps | Mnemonic::Vshufps => packed::<B, ShuffleSingles>(instruction),
        Mnemonic::Shufpd | Mnemonic::Vshufpd => packed::<B, ShuffleDoubles>(instruction),
        Mnemonic::Movsldup | Mnemonic::Vmovsldup => packed::<B, DuplicateEven>(instruction),
        Mnemonic::Movshdup | Mnemonic::Vmovshdup => packed::<B, DuplicateOdd>(instruction),
        Mnemonic::Palignr | Mnemonic::Vpalignr => packed::<B, Align>(instruction),
        Mnemonic::Pblendw | Mnemonic::Vpblendw => packed::<B, BlendWords>(instruction),
        Mnemonic::Blendps | Mnemonic::Vblendps | Mnemonic::Vpblendd => packed::<B, BlendSingles>(instruction),
        Mnemonic::Blendpd | Mnemonic::Vblendpd => packed::<B, BlendDoubles>(instruction),
        Mnemonic::Vmovddup => packed::<B, DuplicateDoubles>(instruction),
        Mnemonic::Pblendvb => Some(blend_by_signs::<B, i8>),
        Mnemonic::Blendvps => Some(blend_by_signs::<B, i32>),
        Mnemonic::Blendvpd => Some(blend_by_signs::<B, i64>),
        Mnemonic::Vpblendvb => Some(blend_ymm::<B, i8>),
        Mnemonic::Vblendvps => Some(blend_ymm::<B, i32>),
        Mnemonic::Vblendvpd => Some(blend_ymm::<B, i64>),
        Mnemonic::Insertps | Mnemonic::Vinsertps => Some(by_form!(instruction, insert_single)),
        _ => extensions(instruction),
    }
}

/// Unpacking of low halves: an MMX source in memory is read half.
fn low<B: Bus, O: Packed>(instruction: &Instruction) -> Option<Handler<B>> {
    if instruction.op0_register().is_mm() { Some(on_mmx::<B, O, 4>) } else { packed::<B, O>(instruction) }
}

/// The lanes of `b` where the chooser is negative, otherwise those of `a`.
fn by_signs<T: Lane + Default + PartialOrd, const N: usize>(
    chooser: &[u8; N],
    a: &[u8; N],
    b: &[u8; N],
) -> [u8; N] {
    from_fn(|at| get::<T, N>(if get::<T, N>(chooser, at) < T::default() { b } else { a }, at))
}

/// PBLENDVB and its relatives: XMM0's signs choose.
fn blend_by_signs<B: Bus, T: Lane + Default + PartialOrd>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = source_128::<B, Legacy>(core, bus, op, op.src)?;
    let (chooser, to) = (read_xmm(core, 0), index(op.dst));
    let result = by_signs::<T, 16>(&chooser, &read_xmm(core, to), &source);
    write_xmm(core, to, result);
    Ok(())
}

/// VPBLENDVB and its relatives: a fourth register's signs choose.
fn blend_ymm<B: Bus, T: Lane + Default + PartialOrd>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let wide = is_wide(op.dst);
    let source = source_ymm(core, bus, op, op.third, wide)?;
    let first = source_ymm(core, bus, op, op.src, wide)?;
    let chooser = read_ymm(core, op.immediate2);
    write_ymm(core, index(op.dst), by_signs::<T, 32>(&chooser, &first, &source));
    Ok(())
}

/// INSERTPS: one single, then zeros where the immediate says.
fn insert_single<B: Bus, F: Form>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    F::available(core)?;
    let immediate = op.immediate as u8;
    let value = match F::last(op) {
        Operand::MEMORY => load_64(core, bus, op, 4)? as u32,
        which => get(&read_xmm(core, index(which)), usize::from(immediate >> 6)),
    };
    let mut result = read_xmm(core, F::first(op));
    set(&mut result, usize::from(immediate >> 4 & 3), value);
    for at in 0..4 {
        if immediate >> at & 1 != 0 {
            set(&mut result, at, 0_u32);
        }
    }
    F::write(core, index(op.dst), result);
    Ok(())
}

fn extensions<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Pmovsxbw => extend::<B, i8, i16>,
        Mnemonic::Vpmovsxbw => extend_ymm::<B, i8, i16>,
        Mnemonic::Pmovsxbd => extend::<B, i8, i32>,
        Mnemonic::Vpmovsxbd => extend_ymm::<B, i8, i32>,
        Mnemonic::Pmovsxbq => extend::<B, i8, i64>,
        Mnemonic::Vpmovsxbq => extend_ymm::<B, i8, i64>,
        Mnemonic::Pmovsxwd => extend::<B, i16, i32>,
        Mnemonic::Vpmovsxwd => extend_ymm::<B, i16, i32>,
        Mnemonic::Pmovsxwq => extend::<B, i16, i64>,
        Mnemonic::Vpmovsxwq => extend_ymm::<B, i16, i64>,
        Mnemonic::Pmovsxdq => extend::<B, i32, i64>,
        Mnemonic::Vpmovsxdq => extend_ymm::<B, i32, i64>,
        Mnemonic::Pmovzxbw => extend::<B, u8, u16>,
        Mnemonic::Vpmovzxbw => extend_ymm::<B, u8, u16>,
        Mnemonic::Pmovzxbd => extend::<B, u8, u32>,
        Mnemonic::Vpmovzxbd => extend_ymm::<B, u8, u32>,
        Mnemonic::Pmovzxbq => extend::<B, u8, u64>,
        Mnemonic::Vpmovzxbq => extend_ymm::<B, u8, u64>,
        Mnemonic::Pmovzxwd => extend::<B, u16, u32>,
        Mnemonic::Vpmovzxwd => extend_ymm::<B, u16, u32>,
        Mnemonic::Pmovzxwq => extend::<B, u16, u64>,
        Mnemonic::Vpmovzxwq => extend_ymm::<B, u16, u64>,
        Mnemonic::Pmovzxdq => extend::<B, u32, u64>,
        Mnemonic::Vpmovzxdq => extend_ymm::<B, u32, u64>,
        _ => return None,
    })
}

/// The low lanes of the source, each widened.
fn extend<B: Bus, Narrow: Lane, Wide: Lane + From<Narrow>>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = source_low(core, bus, op, op.src, 16 / Wide::BYTES * Narrow::BYTES)?.to_le_bytes();
    let result = from_fn(|at| Wide::from(get::<Narrow, 8>(&source, at)));
    write_xmm(core, index(op.dst), result);
    Ok(())
}

/// As [`extend`], into 16 or 32 bytes.
fn extend_ymm<B: Bus, Narrow: Lane, Wide: Lane + From<Narrow>>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    avx_available(core)?;
    let wide = is_wide(op.dst);
    let bytes = if wide { 32 } else { 16 } / Wide::BYTES * Narrow::BYTES;
    let source = source_up_to_16(core, bus, op, op.src, bytes)?;
    let result: Ymm = from_fn(|at| Wide::from(get::<Narrow, 16>(&source, at)));
    write_ymm(core, index(op.dst), if wide { result } else { widened(lanes_of(&result)[0]) });
    Ok(())
}
