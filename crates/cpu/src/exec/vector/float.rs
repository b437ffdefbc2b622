//! Floating-point arithmetic and comparisons of SSE and AVX (Intel SDM vol. 1, 11.5 and 14.1; vol. 2).

use std::{cmp::Ordering, marker::PhantomData};

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Legacy, Vex, avx_available, by_form, index, is_vex, is_wide,
    lanes::{get, set},
    read_xmm, read_ymm, source_128, source_low, source_ymm, sse_available, write_xmm, write_ymm,
};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op, OperandKind,
    float::{
        self, Class, DOUBLE, Encoding, Number, Outcome, Rounding, Rules, SINGLE, exception, quieted,
        round_number,
    },
    state::cr4,
};

/// MXCSR as arithmetic sees it (SDM vol. 1, 10.2.3).
#[derive(Clone, Copy)]
pub(super) struct Control(u32);

impl Control {
    pub(super) fn of(core: &Core) -> Control {
        Control(core.state.sse.mxcsr)
    }

    pub(super) fn masked(self) -> u8 {
        (self.0 >> 7) as u8 & exception::ALL
    }

    /// DAZ.
    fn denormals_are_zeros(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    pub(super) fn rounding(self) -> Rounding {
        Rounding::from_field(self.0 >> 13)
    }

    pub(super) fn rules(self, encoding: Encoding) -> Rules {
        // What underflows is flushed only where the exception is masked.
        let flush = self.0 & 1 << 15 != 0;
        Rules { format: encoding.format(), rounding: self.rounding(), masked: self.masked(), flush }
    }

    /// The host's result, where it is ours too: rounded to nearest, and inexact as an earlier one was,
    /// so that it does not matter whether this one is.
    #[inline(always)]
    fn host(
        self,
        encoding: Encoding,
        (a, b): (u64, u64),
        single: fn(f32, f32) -> f32,
        double: fn(f64, f64) -> f64,
    ) -> Option<(u64, u8)> {
        let seen = u32::from(exception::PRECISION);
        if self.0 & (3 << 13 | seen << 7 | seen) != seen << 7 | seen {
            return None;
        }
        float::host::compute(encoding, a, b, single, double).map(|bits| (bits, 0))
    }

    /// An operand unpacked.
    pub(super) fn unpack(self, encoding: Encoding, bits: u64) -> Number {
        let number = encoding.unpack(bits);
        if number.denormal && self.denormals_are_zeros() { Number::zero(number.sign) } else { number }
    }
}

/// Sets exception flags in MXCSR; one that is not masked is #XM, or #UD where the system does not take
/// that.
pub(super) fn raise(core: &mut Core, flags: u8) -> Exec {
    core.state.sse.mxcsr |= u32::from(flags);
    if flags & !Control::of(core).masked() == 0 {
        return Ok(());
    }
    Err(match core.state.cr4 & cr4::OSXMMEXCPT {
        0 => Exception::INVALID_OPCODE,
        _ => Exception::SIMD_FLOATING_POINT,
    })
}

/// As [`raise`], of flags whose lanes were all looked at at once.
pub(super) fn settle(core: &mut Core, flags: u8) -> Exec {
    raise(core, reported(Control::of(core), flags))
}

/// A NaN among the operands gives the first one, made quiet; otherwise which flags go on.
fn screen(a: Number, b: Number) -> Result<u8, Outcome> {
    if !a.is_nan() && !b.is_nan() {
        let denormal = a.denormal || b.denormal;
        return Ok(if denormal { exception::DENORMAL } else { 0 });
    }
    let signaling = a.class == Class::Signaling || b.class == Class::Signaling;
    let flags = if signaling { exception::INVALID } else { 0 };
    Err(Outcome { number: quieted(if a.is_nan() { a } else { b }), flags, up: false })
}

/// An operation's outcome on operands that have been looked at.
fn screened(a: Number, b: Number, operation: impl FnOnce() -> Outcome) -> Outcome {
    match screen(a, b) {
        Err(outcome) => outcome,
        Ok(flags) => {
            let outcome = operation();
            let first = exception::INVALID | exception::ZERO_DIVIDE;
            let before = if outcome.flags & first != 0 { 0 } else { flags };
            Outcome { flags: outcome.flags | before, ..outcome }
        }
    }
}

/// Lanes of 32 or 64 bits.
pub(super) trait Precision {
    const ENCODING: Encoding;
    const BYTES: usize;
    fn get<const N: usize>(vector: &[u8; N], at: usize) -> u64;
    fn set<const N: usize>(vector: &mut [u8; N], at: usize, value: u64);
}

pub(super) struct Single;
pub(super) struct Double;

impl Precision for Single {
    const ENCODING: Encoding = Encoding::Single;
    const BYTES: usize = 4;

    #[inline(always)]
    fn get<const N: usize>(vector: &[u8; N], at: usize) -> u64 {
        get::<u32, N>(vector, at).into()
    }

    #[inline(always)]
    fn set<const N: usize>(vector: &mut [u8; N], at: usize, value: u64) {
        set(vector, at, value as u32);
    }
}

impl Precision for Double {
    const ENCODING: Encoding = Encoding::Double;
    const BYTES: usize = 8;

    #[inline(always)]
    fn get<const N: usize>(vector: &[u8; N], at: usize) -> u64 {
        get(vector, at)
    }

    #[inline(always)]
    fn set<const N: usize>(vector: &mut [u8; N], at: usize, value: u64) {
        set(vector, at, value);
    }
}

/// What is done with one lane of the destination and one of the source: the result and its flags.
trait Element {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, immediate: u8) -> (u64, u8);
}

struct Add;
struct Subtract;
struct Multiply;
struct Divide;
struct SquareRoot;
struct Minimum;
struct Maximum;
/// Only the bits of the immediate that are in it count.
struct Compare<const PREDICATES: u8>;
struct Round;
struct Reciprocal;
struct ReciprocalRoot;

type Operation = fn(Number, Number, &Rules) -> Outcome;

fn arithmetic(control: Control, encoding: Encoding, a: u64, b: u64, operation: Operation) -> (u64, u8) {
    let (a, b) = (control.unpack(encoding, a), control.unpack(encoding, b));
    let outcome = screened(a, b, || operation(a, b, &control.rules(encoding)));
    (packed(encoding, outcome), outcome.flags)
}

/// A result's bits; a biased one, whose exception is not masked, is never stored.
pub(super) fn packed(encoding: Encoding, outcome: Outcome) -> u64 {
    let format = encoding.format();
    match outcome.number.exponent > format.most {
        true => 0,
        false => encoding.pack(outcome.number),
    }
}

impl Element for Add {
    #[inline(always)]
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        let host = control.host(encoding, (a, b), |a, b| a + b, |a, b| a + b);
        host.unwrap_or_else(|| arithmetic(control, encoding, a, b, float::add))
    }
}

impl Element for Subtract {
    #[inline(always)]
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        let host = control.host(encoding, (a, b), |a, b| a - b, |a, b| a - b);
        host.unwrap_or_else(|| {
            arithmetic(control, encoding, a, b, |a, b, rules| float::add(a, b.negated(), rules))
        })
    }
}

impl Element for Multiply {
    #[inline(always)]
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        let host = control.host(encoding, (a, b), |a, b| a * b, |a, b| a * b);
        host.unwrap_or_else(|| arithmetic(control, encoding, a, b, float::multiply))
    }
}

impl Element for Divide {
    #[inline(always)]
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        let host = control.host(encoding, (a, b), |a, b| a / b, |a, b| a / b);
        host.unwrap_or_else(|| arithmetic(control, encoding, a, b, float::divide))
    }
}

impl Element for SquareRoot {
    #[inline(always)]
    fn apply(control: Control, encoding: Encoding, _: u64, b: u64, _: u8) -> (u64, u8) {
        let host = control.host(encoding, (b, b), |a, _| a.sqrt(), |a, _| a.sqrt());
        host.unwrap_or_else(|| {
            arithmetic(control, encoding, b, b, |a, _, rules| float::square_root(a, rules))
        })
    }
}

/// MIN and MAX: the source where either is a NaN, or both are zero.
fn extreme(control: Control, encoding: Encoding, a: u64, b: u64, takes: Ordering) -> (u64, u8) {
    let (x, y) = (control.unpack(encoding, a), control.unpack(encoding, b));
    // With DAZ it is the zero that goes on.
    let clean = |number: Number, bits| if number.is_zero() { encoding.pack(number) } else { bits };
    match screen(x, y) {
        Err(_) => (clean(y, b), exception::INVALID),
        Ok(flags) => {
            let result = if float::compare(x, y) == takes { clean(x, a) } else { clean(y, b) };
            (result, flags)
        }
    }
}

impl Element for Minimum {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        extreme(control, encoding, a, b, Ordering::Less)
    }
}

impl Element for Maximum {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        extreme(control, encoding, a, b, Ordering::Greater)
    }
}

/// The relation of two operands, `None` being unordered, and what it raises. Quiet comparisons
/// accept quiet NaNs.
fn relation(a: Number, b: Number, quiet: bool) -> (Option<Ordering>, u8) {
    match screen(a, b) {
        Err(outcome) => (None, if quiet { outcome.flags } else { exception::INVALID }),
        Ok(flags) => (Some(float::compare(a, b)), flags),
    }
}

/// Predicates of CMPPS and VCMPPS (SDM vol. 2A, table 3-1): the relations that make each true, less, equal,
/// greater and unordered from bit 0 on. The second sixteen are the first, but quiet where those signal.
const RELATIONS: [u8; 16] = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15];

impl<const PREDICATES: u8> Element for Compare<PREDICATES> {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, immediate: u8) -> (u64, u8) {
        let (a, b) = (control.unpack(encoding, a), control.unpack(encoding, b));
        let predicate = immediate & PREDICATES;
        let signals = matches!(predicate & 3, 1 | 2) != (predicate & 16 != 0);
        let (relation, flags) = relation(a, b, !signals);
        let place = match relation {
            Some(Ordering::Less) => 0,
            Some(Ordering::Equal) => 1,
            Some(Ordering::Greater) => 2,
            None => 3,
        };
        let holds = RELATIONS[usize::from(predicate & 15)] >> place & 1;
        (u64::from(holds).wrapping_neg(), flags)
    }
}

impl Element for Round {
    /// ROUNDPS: the immediate has the rounding, whether MXCSR's counts, and whether inexactness does not.
    fn apply(control: Control, encoding: Encoding, _: u64, b: u64, immediate: u8) -> (u64, u8) {
        let number = control.unpack(encoding, b);
        let rounding = match immediate & 4 {
            0 => Rounding::from_field(immediate.into()),
            _ => control.rounding(),
        };
        let outcome = match screen(number, number) {
            Err(outcome) => outcome,
            Ok(_) => float::round_to_integral(number, rounding),
        };
        let silent = if immediate & 8 != 0 { exception::PRECISION } else { 0 };
        (encoding.pack(outcome.number), outcome.flags & !silent)
    }
}

/// RCPPS and RSQRTPS: rounded to 12 bits, which is closer than the 1.5 * 2^-12 that is asked for.
/// Nothing is raised; denormals count as zero, and results that would be denormal are zero.
fn approximation(b: u64, operation: fn(Number, &Rules) -> Outcome) -> (u64, u8) {
    const ROUGH: float::Format = float::Format { precision: 12, ..SINGLE };
    let rules = Rules { format: ROUGH, rounding: Rounding::Nearest, masked: exception::ALL, flush: true };
    let number = Encoding::Single.unpack(b);
    let number = if number.denormal { Number::zero(number.sign) } else { number };
    let result = if number.is_nan() { quieted(number) } else { operation(number, &rules).number };
    (Encoding::Single.pack(result), 0)
}

impl Element for Reciprocal {
    fn apply(_: Control, _: Encoding, _: u64, b: u64, _: u8) -> (u64, u8) {
        approximation(b, |number, rules| float::divide(Number::ONE, number, rules))
    }
}

impl Element for ReciprocalRoot {
    fn apply(_: Control, _: Encoding, _: u64, b: u64, _: u8) -> (u64, u8) {
        approximation(b, |number, rules| {
            let root = float::square_root(number, &Rules { format: DOUBLE, ..*rules });
            match root.number.is_nan() {
                true => root,
                false => float::divide(Number::ONE, root.number, rules),
            }
        })
    }
}

/// All lanes.
struct Packed<P, E>(PhantomData<(P, E)>);
/// The lowest lane.
struct Scalar<P, E>(PhantomData<(P, E)>);
/// HADDPS: neighbours, those of the destination making the low half.
struct Horizontal<P, E>(PhantomData<(P, E)>);
/// ADDSUBPS.
struct Alternating<P>(PhantomData<P>);
/// DPPS and DPPD.
struct DotProduct<P>(PhantomData<P>);

/// What is done with two vectors of `N` bytes, 16 or 32.
trait Vector {
    /// Bytes of the source that count; zero: all.
    const BYTES: usize = 0;
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8);
}

impl<P: Precision, E: Element> Vector for Packed<P, E> {
    #[inline(always)]
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8) {
        lanes::<P, N>(control, N / P::BYTES, *a, |at| {
            E::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

impl<P: Precision, E: Element> Vector for Scalar<P, E> {
    const BYTES: usize = P::BYTES;

    #[inline(always)]
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8) {
        lanes::<P, N>(control, 1, *a, |at| {
            E::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

/// Where the sixteen bytes begin that element `at` is in, and its place there.
fn within<P: Precision>(at: usize) -> (usize, usize) {
    let place = at % (16 / P::BYTES);
    (at - place, place)
}

impl<P: Precision, E: Element> Vector for Horizontal<P, E> {
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8) {
        let half = 8 / P::BYTES;
        lanes::<P, N>(control, N / P::BYTES, *a, |at| {
            let (first, place) = within::<P>(at);
            let (from, place) = if place < half { (a, place) } else { (b, place - half) };
            let at = first + 2 * place;
            E::apply(control, P::ENCODING, P::get(from, at), P::get(from, at + 1), immediate)
        })
    }
}

impl<P: Precision> Vector for Alternating<P> {
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8) {
        lanes::<P, N>(control, N / P::BYTES, *a, |at| {
            let element = if at & 1 == 0 { Subtract::apply } else { Add::apply };
            element(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

impl<P: Precision> Vector for DotProduct<P> {
    /// In three stages: the products, the sums of two, the sum of all. One that raises what is not
    /// masked is the last.
    fn apply<const N: usize>(control: Control, a: &[u8; N], b: &[u8; N], immediate: u8) -> ([u8; N], u8) {
        let elements = N / P::BYTES;
        let (products, mut all) =
            lanes::<P, N>(control, elements, [0; N], |at| match immediate >> (4 + within::<P>(at).1) & 1 {
                0 => (0, 0),
                _ => Multiply::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), 0),
            });
        let mut sums = products;
        let mut count = 8 / P::BYTES;
        while count != 0 && all & !control.masked() == 0 {
            let terms = sums;
            let flags;
            (sums, flags) = lanes::<P, N>(control, elements, [0; N], |at| match within::<P>(at) {
                (first, place) if place < count => {
                    let at = first + 2 * place;
                    Add::apply(control, P::ENCODING, P::get(&terms, at), P::get(&terms, at + 1), 0)
                }
                _ => (0, 0),
            });
            all |= flags;
            count /= 2;
        }
        let spread = |at| {
            let (first, place) = within::<P>(at);
            (if immediate >> place & 1 != 0 { P::get(&sums, first) } else { 0 }, 0)
        };
        (lanes::<P, N>(control, elements, [0; N], spread).0, all)
    }
}

/// The first `count` lanes replaced, with the flags of all.
#[inline(always)]
pub(super) fn lanes<P: Precision, const N: usize>(
    control: Control,
    count: usize,
    from: [u8; N],
    mut make: impl FnMut(usize) -> (u64, u8),
) -> ([u8; N], u8) {
    let mut result = from;
    let mut all = 0;
    // Whole words: bytes stored one by one and read back together would have to reach the cache first.
    let mut words = [0; 4];
    let lanes = 8 / P::BYTES;
    for at in 0..count {
        let (value, flags) = make(at);
        // A comparison's ones are wider than a lane.
        let lane = value & (u64::MAX >> (64 - 8 * P::BYTES));
        words[at / lanes % 4] |= lane << (8 * P::BYTES * (at % lanes));
        all |= flags;
    }
    for (bytes, word) in result.chunks_exact_mut(8).zip(words).take(count / lanes) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    if !count.is_multiple_of(lanes) {
        P::set(&mut result, count - 1, words[count / lanes % 4]);
    }
    (result, reported(control, all))
}

/// Flags of all lanes without those of rounding, where one of those that come before it is not masked.
fn reported(control: Control, flags: u8) -> u8 {
    const BEFORE: u8 = exception::INVALID | exception::DENORMAL | exception::ZERO_DIVIDE;
    if flags & BEFORE & !control.masked() != 0 { flags & BEFORE } else { flags }
}

/// The handler of an operation: SSE's or AVX's.
fn of<B: Bus, V: Vector>(instruction: &Instruction) -> Handler<B> {
    if is_vex(instruction) { on_ymm::<B, V> } else { on_xmm::<B, V> }
}

fn on_xmm<B: Bus, V: Vector>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    if op.src.kind != OperandKind::Xmm {
        return with_memory::<B, V>(core, bus, op);
    }
    // An element takes of its source no more than it has.
    apply_to_xmm::<V>(core, op, &read_xmm(core, index(op.src)))
}

/// Out of line: what only registers take part in has nothing to keep.
#[inline(never)]
fn with_memory<B: Bus, V: Vector>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let source = match V::BYTES {
        0 => source_128::<B, Legacy>(core, bus, op, op.src)?,
        bytes => u128::from(source_low(core, bus, op, op.src, bytes)?).to_le_bytes(),
    };
    apply_to_xmm::<V>(core, op, &source)
}

#[inline(always)]
fn apply_to_xmm<V: Vector>(core: &mut Core, op: &Op, source: &super::Xmm) -> Exec {
    let to = index(op.dst);
    let control = Control::of(core);
    let (result, flags) = V::apply(control, &read_xmm(core, to), source, op.immediate as u8);
    raise(core, flags)?;
    write_xmm(core, to, result);
    Ok(())
}

fn on_ymm<B: Bus, V: Vector>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let (which, first, to) = (Vex::last(op), Vex::first(op), index(op.dst));
    let (control, immediate) = (Control::of(core), op.immediate as u8);
    if is_wide(op.dst) {
        let source = source_ymm(core, bus, op, which, true)?;
        let (result, flags) = V::apply(control, &read_ymm(core, first), &source, immediate);
        raise(core, flags)?;
        write_ymm(core, to, result);
        return Ok(());
    }
    let source = match V::BYTES {
        0 => source_128::<B, Vex>(core, bus, op, which)?,
        bytes => u128::from(source_low(core, bus, op, which, bytes)?).to_le_bytes(),
    };
    let (result, flags) = V::apply(control, &read_xmm(core, first), &source, immediate);
    raise(core, flags)?;
    Vex::write(core, to, result);
    Ok(())
}

/// The four forms of an operation, by mnemonic.
macro_rules! four {
    ($instruction:expr, $($ps:ident $pd:ident $ss:ident $sd:ident: $element:ty;)*) => {
        match $instruction.mnemonic() {
            $(
                Mnemonic::$ps => Some(of::<B, Packed<Single, $element>>($instruction)),
                Mnemonic::$pd => Some(of::<B, Packed<Double, $element>>($instruction)),
                Mnemonic::$ss => Some(of::<B, Scalar<Single, $element>>($instruction)),
                Mnemonic::$sd => Some(of::<B, Scalar<Double, $element>>($instruction)),
            )*
            _ => None,
        }
    };
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    let four = four! { instruction,
        Addps Addpd Addss Addsd: Add;
        Subps Subpd Subss Subsd: Subtract;
        Mulps Mulpd Mulss Mulsd: Multiply;
        Divps Divpd Divss Divsd: Divide;
        Sqrtps Sqrtpd Sqrtss Sqrtsd: SquareRoot;
        Minps Minpd Minss Minsd: Minimum;
        Maxps Maxpd Maxss Maxsd: Maximum;
        Cmpps Cmppd Cmpss Cmpsd: Compare<7>;
        Roundps Roundpd Roundss Roundsd: Round;
        Vaddps Vaddpd Vaddss Vaddsd: Add;
        Vsubps Vsubpd Vsubss Vsubsd: Subtract;
        Vmulps Vmulpd Vmulss Vmulsd: Multiply;
        Vdivps Vdivpd Vdivss Vdivsd: Divide;
        Vsqrtps Vsqrtpd Vsqrtss Vsqrtsd: SquareRoot;
        Vminps Vminpd Vminss Vminsd: Minimum;
        Vmaxps Vmaxpd Vmaxss Vmaxsd: Maximum;
        Vcmpps Vcmppd Vcmpss Vcmpsd: Compare<31>;
        Vroundps Vroundpd Vroundss Vroundsd: Round;
    };
    four.or_else(|| others(instruction))
}

fn others<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    Some(match instruction.mnemonic() {
        Is::Rcpps | Is::Vrcpps => of::<B, Packed<Single, Reciprocal>>(instruction),
        Is::Rcpss | Is::Vrcpss => of::<B, Scalar<Single, Reciprocal>>(instruction),
        Is::Rsqrtps | Is::Vrsqrtps => of::<B, Packed<Single, ReciprocalRoot>>(instruction),
        Is::Rsqrtss | Is::Vrsqrtss => of::<B, Scalar<Single, ReciprocalRoot>>(instruction),
        Is::Haddps | Is::Vhaddps => of::<B, Horizontal<Single, Add>>(instruction),
        Is::Haddpd | Is::Vhaddpd => of::<B, Horizontal<Double, Add>>(instruction),
        Is::Hsubps | Is::Vhsubps => of::<B, Horizontal<Single, Subtract>>(instruction),
        Is::Hsubpd | Is::Vhsubpd => of::<B, Horizontal<Double, Subtract>>(instruction),
        Is::Addsubps | Is::Vaddsubps => of::<B, Alternating<Single>>(instruction),
        Is::Addsubpd | Is::Vaddsubpd => of::<B, Alternating<Double>>(instruction),
        Is::Dpps | Is::Vdpps => of::<B, DotProduct<Single>>(instruction),
        Is::Dppd | Is::Vdppd => of::<B, DotProduct<Double>>(instruction),
        Is::Comiss | Is::Vcomiss => by_form!(instruction, compare_to_flags, Single, false),
        Is::Comisd | Is::Vcomisd => by_form!(instruction, compare_to_flags, Double, false),
        Is::Ucomiss | Is::Vucomiss => by_form!(instruction, compare_to_flags, Single, true),
        Is::Ucomisd | Is::Vucomisd => by_form!(instruction, compare_to_flags, Double, true),
        _ => return None,
    })
}

/// COMISS and its relatives.
fn compare_to_flags<B: Bus, F: Form, P: Precision, const QUIET: bool>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    F::available(core)?;
    let source = source_low(core, bus, op, op.src, P::BYTES)?;
    let control = Control::of(core);
    let a = control.unpack(P::ENCODING, P::get(&read_xmm(core, index(op.dst)), 0));
    let b = control.unpack(P::ENCODING, source);
    let (relation, flags) = relation(a, b, QUIET);
    settle(core, flags)?;
    core.state.flags.set_comparison(relation);
    Ok(())
}

/// A number converted to another encoding.
pub(super) fn converted(control: Control, from: Encoding, to: Encoding, bits: u64) -> (u64, u8) {
    converted_by(control, &control.rules(to), from, to, bits)
}

/// As [`converted`], with other rules than MXCSR's.
pub(super) fn converted_by(
    control: Control,
    rules: &Rules,
    from: Encoding,
    to: Encoding,
    bits: u64,
) -> (u64, u8) {
    let number = control.unpack(from, bits);
    let outcome = screened(number, number, || round_number(number, rules));
    (packed(to, outcome), outcome.flags)
}
