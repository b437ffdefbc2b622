//! SSE's floating-point arithmetic and comparisons (Intel SDM vol. 1, 11.5; vol. 2).

use std::{cmp::Ordering, marker::PhantomData};

use iced_x86::{Instruction, Mnemonic};

use super::{
    Xmm, index,
    lanes::{get, set},
    read_xmm, source_128, source_low, sse_available, write_xmm,
};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
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

    /// An operand unpacked.
    pub(super) fn unpack(self, encoding: Encoding, bits: u64) -> Number {
        let number = encoding.unpack(bits);
        if number.denormal && self.denormals_are_zeros() { Number::zero(number.sign) } else { number }
    }
}

/// Sets exception flags in MXCSR; one that is not masked is #XM, or #UD where the system does not take
/// that.
fn raise(core: &mut Core, flags: u8) -> Exec {
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
    const LANES: usize = 16 / Self::BYTES;
    fn get(vector: &Xmm, at: usize) -> u64;
    fn set(vector: &mut Xmm, at: usize, value: u64);
}

pub(super) struct Single;
pub(super) struct Double;

impl Precision for Single {
    const ENCODING: Encoding = Encoding::Single;
    const BYTES: usize = 4;

    fn get(vector: &Xmm, at: usize) -> u64 {
        get::<u32, 16>(vector, at).into()
    }

    fn set(vector: &mut Xmm, at: usize, value: u64) {
        set(vector, at, value as u32);
    }
}

impl Precision for Double {
    const ENCODING: Encoding = Encoding::Double;
    const BYTES: usize = 8;

    fn get(vector: &Xmm, at: usize) -> u64 {
        get(vector, at)
    }

    fn set(vector: &mut Xmm, at: usize, value: u64) {
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
struct Compare;
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
fn packed(encoding: Encoding, outcome: Outcome) -> u64 {
    let format = encoding.format();
    match outcome.number.exponent > format.most {
        true => 0,
        false => encoding.pack(outcome.number),
    }
}

impl Element for Add {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        arithmetic(control, encoding, a, b, float::add)
    }
}

impl Element for Subtract {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        arithmetic(control, encoding, a, b, |a, b, rules| float::add(a, b.negated(), rules))
    }
}

impl Element for Multiply {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        arithmetic(control, encoding, a, b, float::multiply)
    }
}

impl Element for Divide {
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, _: u8) -> (u64, u8) {
        arithmetic(control, encoding, a, b, float::divide)
    }
}

impl Element for SquareRoot {
    fn apply(control: Control, encoding: Encoding, _: u64, b: u64, _: u8) -> (u64, u8) {
        arithmetic(control, encoding, b, b, |a, _, rules| float::square_root(a, rules))
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

impl Element for Compare {
    /// CMPPS: eight predicates (SDM vol. 2A, table 3-1).
    fn apply(control: Control, encoding: Encoding, a: u64, b: u64, immediate: u8) -> (u64, u8) {
        let (a, b) = (control.unpack(encoding, a), control.unpack(encoding, b));
        let predicate = immediate & 3;
        let (relation, flags) = relation(a, b, matches!(predicate, 0 | 3));
        let holds = match predicate {
            0 => relation == Some(Ordering::Equal),
            1 => relation == Some(Ordering::Less),
            2 => matches!(relation, Some(Ordering::Less | Ordering::Equal)),
            _ => relation.is_none(),
        };
        let negated = immediate & 4 != 0;
        (u64::from(holds != negated).wrapping_neg(), flags)
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

/// What is done with two vectors.
trait Vector {
    /// Bytes of a source in memory.
    const BYTES: usize = 16;
    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8);
}

impl<P: Precision, E: Element> Vector for Packed<P, E> {
    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8) {
        lanes::<P>(control, P::LANES, *a, |at| {
            E::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

impl<P: Precision, E: Element> Vector for Scalar<P, E> {
    const BYTES: usize = P::BYTES;

    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8) {
        lanes::<P>(control, 1, *a, |at| {
            E::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

impl<P: Precision, E: Element> Vector for Horizontal<P, E> {
    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8) {
        let half = P::LANES / 2;
        lanes::<P>(control, P::LANES, *a, |at| {
            let (from, at) = if at < half { (a, at) } else { (b, at - half) };
            E::apply(control, P::ENCODING, P::get(from, 2 * at), P::get(from, 2 * at + 1), immediate)
        })
    }
}

impl<P: Precision> Vector for Alternating<P> {
    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8) {
        lanes::<P>(control, P::LANES, *a, |at| {
            let element = if at & 1 == 0 { Subtract::apply } else { Add::apply };
            element(control, P::ENCODING, P::get(a, at), P::get(b, at), immediate)
        })
    }
}

impl<P: Precision> Vector for DotProduct<P> {
    /// In three stages: the products, the sums of two, the sum of all. One that raises what is not
    /// masked is the last.
    fn apply(control: Control, a: &Xmm, b: &Xmm, immediate: u8) -> (Xmm, u8) {
        let (products, mut all) =
            lanes::<P>(control, P::LANES, [0; 16], |at| match immediate >> (4 + at) & 1 {
                0 => (0, 0),
                _ => Multiply::apply(control, P::ENCODING, P::get(a, at), P::get(b, at), 0),
            });
        let mut sums = products;
        let mut count = P::LANES / 2;
        while count != 0 && all & !control.masked() == 0 {
            let terms = sums;
            let flags;
            (sums, flags) = lanes::<P>(control, count, [0; 16], |at| {
                Add::apply(control, P::ENCODING, P::get(&terms, 2 * at), P::get(&terms, 2 * at + 1), 0)
            });
            all |= flags;
            count /= 2;
        }
        let sum = P::get(&sums, 0);
        let spread = |at| (if immediate >> at & 1 != 0 { sum } else { 0 }, 0);
        (lanes::<P>(control, P::LANES, [0; 16], spread).0, all)
    }
}

/// The first `count` lanes replaced, with the flags of all.
fn lanes<P: Precision>(
    control: Control,
    count: usize,
    from: Xmm,
    mut make: impl FnMut(usize) -> (u64, u8),
) -> (Xmm, u8) {
    let mut result = from;
    let mut all = 0;
    for at in 0..count {
        let (value, flags) = make(at);
        P::set(&mut result, at, value);
        all |= flags;
    }
    (result, reported(control, all))
}

/// Flags of all lanes without those of rounding, where one of those that come before it is not masked.
fn reported(control: Control, flags: u8) -> u8 {
    const BEFORE: u8 = exception::INVALID | exception::DENORMAL | exception::ZERO_DIVIDE;
    if flags & BEFORE & !control.masked() != 0 { flags & BEFORE } else { flags }
}

fn vector<B: Bus, V: Vector>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
    let source = match V::BYTES {
        16 => source_128(core, bus, op, op.src)?,
        bytes => u128::from(source_low(core, bus, op, op.src, bytes)?).to_le_bytes(),
    };
    let to = index(op.dst);
    let control = Control::of(core);
    let (result, flags) = V::apply(control, &read_xmm(core, to), &source, op.immediate as u8);
    raise(core, flags)?;
    write_xmm(core, to, result);
    Ok(())
}

/// The four forms of an operation, by mnemonic.
macro_rules! four {
    ($instruction:expr, $($ps:ident $pd:ident $ss:ident $sd:ident: $element:ty;)*) => {
        match $instruction.mnemonic() {
            $(
                Mnemonic::$ps => Some(vector::<B, Packed<Single, $element>> as Handler<B>),
                Mnemonic::$pd => Some(vector::<B, Packed<Double, $element>> as Handler<B>),
                Mnemonic::$ss => Some(vector::<B, Scalar<Single, $element>> as Handler<B>),
                Mnemonic::$sd => Some(vector::<B, Scalar<Double, $element>> as Handler<B>),
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
        Cmpps Cmppd Cmpss Cmpsd: Compare;
        Roundps Roundpd Roundss Roundsd: Round;
    };
    four.or_else(|| others(instruction))
}

fn others<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Rcpps => vector::<B, Packed<Single, Reciprocal>>,
        Mnemonic::Rcpss => vector::<B, Scalar<Single, Reciprocal>>,
        Mnemonic::Rsqrtps => vector::<B, Packed<Single, ReciprocalRoot>>,
        Mnemonic::Rsqrtss => vector::<B, Scalar<Single, ReciprocalRoot>>,
        Mnemonic::Haddps => vector::<B, Horizontal<Single, Add>>,
        Mnemonic::Haddpd => vector::<B, Horizontal<Double, Add>>,
        Mnemonic::Hsubps => vector::<B, Horizontal<Single, Subtract>>,
        Mnemonic::Hsubpd => vector::<B, Horizontal<Double, Subtract>>,
        Mnemonic::Addsubps => vector::<B, Alternating<Single>>,
        Mnemonic::Addsubpd => vector::<B, Alternating<Double>>,
        Mnemonic::Dpps => vector::<B, DotProduct<Single>>,
        Mnemonic::Dppd => vector::<B, DotProduct<Double>>,
        Mnemonic::Comiss => compare_to_flags::<B, Single, false>,
        Mnemonic::Comisd => compare_to_flags::<B, Double, false>,
        Mnemonic::Ucomiss => compare_to_flags::<B, Single, true>,
        Mnemonic::Ucomisd => compare_to_flags::<B, Double, true>,
        _ => return None,
    })
}

/// COMISS and its relatives.
fn compare_to_flags<B: Bus, P: Precision, const QUIET: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    sse_available(core)?;
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
    let number = control.unpack(from, bits);
    let outcome = screened(number, number, || round_number(number, &control.rules(to)));
    (packed(to, outcome), outcome.flags)
}
