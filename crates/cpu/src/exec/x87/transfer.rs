//! Loads, stores, constants, FXCH and FCMOVcc (Intel SDM vol. 2A).

use iced_x86::{Code, Instruction};

use super::{
    Waiting, indefinite, missing_operand, prevents, screen_one, settle, stack_fault, stack_index, waiting,
};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    float::{EXTENDED, Encoding, Number, Rounding, exception, from_integer, round_number, to_integer},
    fpu::{Extended, Fpu, status},
    width::Width,
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Fld_m32fp => waiting::<B, LoadReal<Real32>>,
        Code::Fld_m64fp => waiting::<B, LoadReal<Real64>>,
        Code::Fld_m80fp => waiting::<B, LoadExtended>,
        Code::Fild_m16int => waiting::<B, LoadInteger<Int16>>,
        Code::Fild_m32int => waiting::<B, LoadInteger<Int32>>,
        Code::Fild_m64int => waiting::<B, LoadInteger<Int64>>,
        Code::Fbld_m80bcd => waiting::<B, LoadDecimal>,
        Code::Fld_sti => waiting::<B, LoadRegister>,
        Code::Fst_m32fp => waiting::<B, StoreReal<u32, false>>,
        Code::Fstp_m32fp => waiting::<B, StoreReal<u32, true>>,
        Code::Fst_m64fp => waiting::<B, StoreReal<u64, false>>,
        Code::Fstp_m64fp => waiting::<B, StoreReal<u64, true>>,
        Code::Fstp_m80fp => waiting::<B, StoreExtended>,
        Code::Fist_m16int => waiting::<B, StoreInteger<u16, false, false>>,
        Code::Fist_m32int => waiting::<B, StoreInteger<u32, false, false>>,
        Code::Fistp_m16int => waiting::<B, StoreInteger<u16, true, false>>,
        Code::Fistp_m32int => waiting::<B, StoreInteger<u32, true, false>>,
        Code::Fistp_m64int => waiting::<B, StoreInteger<u64, true, false>>,
        Code::Fisttp_m16int => waiting::<B, StoreInteger<u16, true, true>>,
        Code::Fisttp_m32int => waiting::<B, StoreInteger<u32, true, true>>,
        Code::Fisttp_m64int => waiting::<B, StoreInteger<u64, true, true>>,
        Code::Fbstp_m80bcd => waiting::<B, StoreDecimal>,
        Code::Fst_sti => waiting::<B, StoreRegister<false>>,
        Code::Fstp_sti | Code::Fstp_sti_DFD0 | Code::Fstp_sti_DFD8 => waiting::<B, StoreRegister<true>>,
        Code::Fstpnce_sti => waiting::<B, StoreUnchecked>,
        Code::Fxch_st0_sti | Code::Fxch_st0_sti_DDC8 | Code::Fxch_st0_sti_DFC8 => waiting::<B, Exchange>,
        Code::Fld1 => waiting::<B, Constant<0>>,
        Code::Fldl2t => waiting::<B, Constant<1>>,
        Code::Fldl2e => waiting::<B, Constant<2>>,
        Code::Fldpi => waiting::<B, Constant<3>>,
        Code::Fldlg2 => waiting::<B, Constant<4>>,
        Code::Fldln2 => waiting::<B, Constant<5>>,
        Code::Fldz => waiting::<B, Constant<6>>,
        Code::Fcmovb_st0_sti => waiting::<B, MoveIf<0x2>>,
        Code::Fcmove_st0_sti => waiting::<B, MoveIf<0x4>>,
        Code::Fcmovbe_st0_sti => waiting::<B, MoveIf<0x6>>,
        Code::Fcmovu_st0_sti => waiting::<B, MoveIf<0xa>>,
        Code::Fcmovnb_st0_sti => waiting::<B, MoveIf<0x3>>,
        Code::Fcmovne_st0_sti => waiting::<B, MoveIf<0x5>>,
        Code::Fcmovnbe_st0_sti => waiting::<B, MoveIf<0x7>>,
        Code::Fcmovnu_st0_sti => waiting::<B, MoveIf<0xb>>,
        _ => return None,
    })
}

/// What a memory operand holds.
pub(super) trait Source {
    /// Reads it.
    fn load<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<Number, Exception>;
}

pub(super) struct Real32;
pub(super) struct Real64;
pub(super) struct Int16;
pub(super) struct Int32;
pub(super) struct Int64;

fn load<W: Width, B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<W, Exception> {
    let offset = core.effective_address(op);
    core.load_at(bus, op.memory.segment, offset)
}

impl Source for Real32 {
    fn load<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<Number, Exception> {
        let bits: u32 = load(core, bus, op)?;
        Ok(Encoding::Single.unpack(bits.into()))
    }
}

impl Source for Real64 {
    fn load<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<Number, Exception> {
        Ok(Encoding::Double.unpack(load(core, bus, op)?))
    }
}

macro_rules! integer_source {
    ($name:ident, $width:ty) => {
        impl Source for $name {
            fn load<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<Number, Exception> {
                Ok(from_integer(load::<$width, B>(core, bus, op)?.to_i64()))
            }
        }
    };
}

integer_source!(Int16, u16);
integer_source!(Int32, u32);
integer_source!(Int64, u64);

/// Pushes a value; onto a full stack, the indefinite.
fn push(fpu: &mut Fpu, value: Extended) {
    if !fpu.empty(7) {
        if stack_fault(fpu, true) {
            fpu.push(indefinite());
        }
        return;
    }
    fpu.condition(status::C1, false);
    fpu.push(value);
}

/// FLD of a format that is converted: a signaling NaN and a denormal raise their exceptions, but
/// the latter does not prevent the load.
struct LoadReal<S>(std::marker::PhantomData<S>);

impl<S: Source> Waiting for LoadReal<S> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let number = S::load(core, bus, op)?;
        let fpu = &mut core.state.fpu;
        if !fpu.empty(7) {
            push(fpu, indefinite());
            return Ok(());
        }
        fpu.condition(status::C1, false);
        match screen_one(number) {
            Err(outcome) => {
                if let Some(value) = settle(fpu, outcome) {
                    fpu.push(value);
                }
            }
            Ok(flags) => {
                fpu.raise(flags);
                fpu.push(Extended::pack(number));
            }
        }
        Ok(())
    }
}

/// FLD m80: any bits.
struct LoadExtended;

impl Waiting for LoadExtended {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let value = load_80(core, bus, op)?;
        push(&mut core.state.fpu, value);
        Ok(())
    }
}

/// Ten bytes.
fn load_80<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<Extended, Exception> {
    let offset = core.effective_address(op);
    core.probe(bus, op.memory.segment, offset, 10, false)?;
    let significand = core.load_at(bus, op.memory.segment, offset)?;
    let sign_exponent = core.load_at(bus, op.memory.segment, offset.wrapping_add(8))?;
    Ok(Extended { sign_exponent, significand })
}

/// Checks that an operand can be stored: a fault of its address comes before what the value raises, and
/// before the store it would prevent.
fn probe_store<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, bytes: usize) -> Exec {
    let offset = core.effective_address(op);
    core.probe(bus, op.memory.segment, offset, bytes as u64, true)
}

fn store_80<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, value: Extended) -> Exec {
    let offset = core.effective_address(op);
    core.probe(bus, op.memory.segment, offset, 10, true)?;
    core.store_at(bus, op.memory.segment, offset, value.significand)?;
    core.store_at(bus, op.memory.segment, offset.wrapping_add(8), value.sign_exponent)
}

/// FILD: exact.
struct LoadInteger<S>(std::marker::PhantomData<S>);

impl<S: Source> Waiting for LoadInteger<S> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let number = S::load(core, bus, op)?;
        push(&mut core.state.fpu, Extended::pack(number));
        Ok(())
    }
}

/// FBLD: eighteen decimal digits and a sign. Digits above nine count as what they are.
struct LoadDecimal;

impl Waiting for LoadDecimal {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let packed = load_80(core, bus, op)?;
        let digits = u128::from(packed.sign_exponent & 0xff) << 64 | u128::from(packed.significand);
        let magnitude = (0..18).rev().fold(0_u64, |value, index| {
            value.wrapping_mul(10).wrapping_add((digits >> (4 * index) & 15) as u64)
        });
        let number = Number::normalized(packed.sign_exponent >> 15 != 0, 63, magnitude);
        push(&mut core.state.fpu, Extended::pack(number));
        Ok(())
    }
}

/// FLD ST(i).
struct LoadRegister;

impl Waiting for LoadRegister {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let from = stack_index(op.dst);
        let fpu = &mut core.state.fpu;
        if fpu.empty(from) {
            if stack_fault(fpu, false) {
                fpu.push(indefinite());
            }
            return Ok(());
        }
        push(fpu, fpu.st(from));
        Ok(())
    }
}

/// The constants FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 and FLDZ in the order of their
/// opcodes: exponent, the first 64 bits, and the bits that follow.
const CONSTANTS: [(i32, u64, u64); 7] = [
    (0, 0x8000_0000_0000_0000, 0),
    (1, 0xd49a_784b_cd1b_8afe, 0x492b_f6ff_4daf_db4c),
    (0, 0xb8aa_3b29_5c17_f0bb, 0xbe87_fed0_691d_3e89),
    (1, 0xc90f_daa2_2168_c234, 0xc4c6_628b_80dc_1cd1),
    (-2, 0x9a20_9a84_fbcf_f798, 0x8f89_59ac_0b7c_9178),
    (-1, 0xb172_17f7_d1cf_79ab, 0xc9e3_b398_03f2_f6af),
    (0, 0, 0),
];

/// A constant, rounded as the control word says, whatever its precision; nothing is raised.
struct Constant<const INDEX: usize>;

impl<const INDEX: usize> Waiting for Constant<INDEX> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let (exponent, first, rest) = CONSTANTS.get(INDEX).copied().unwrap_or_default();
        let value = match first {
            0 => Number::zero(false),
            _ => {
                let wide = u128::from(first) << 64 | u128::from(rest);
                crate::float::round(false, exponent, wide, &fpu.rules(EXTENDED)).number
            }
        };
        push(fpu, Extended::pack(value));
        Ok(())
    }
}

/// FST and FSTP of a format that rounds.
struct StoreReal<W, const POP: bool>(std::marker::PhantomData<W>);

impl<W: Width, const POP: bool> Waiting for StoreReal<W, POP> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        let encoding = if W::BYTES == 4 { Encoding::Single } else { Encoding::Double };
        probe_store(core, bus, op, W::BYTES)?;
        let mut fpu = core.state.fpu.clone();
        let (number, masked) = narrowed(&mut fpu, encoding);
        if masked {
            let offset = core.effective_address(op);
            core.store_at(bus, op.memory.segment, offset, W::from_u64(encoding.pack(number)))?;
            if POP {
                fpu.pop();
            }
        }
        core.state.fpu = fpu;
        Ok(())
    }
}

/// ST(0) as a number of `encoding`, and whether it is to be stored.
fn narrowed(fpu: &mut Fpu, encoding: Encoding) -> (Number, bool) {
    const STORING: u8 = exception::INVALID | exception::OVERFLOW | exception::UNDERFLOW;
    if fpu.empty(0) {
        return (Number::INDEFINITE, stack_fault(fpu, false));
    }
    let number = fpu.st(0).unpack();
    let outcome = match screen_one(number) {
        Err(outcome) => outcome,
        Ok(_) => round_number(number, &fpu.rules(encoding.format())),
    };
    let unmasked = outcome.flags & STORING & !(fpu.control as u8);
    let stored = unmasked == 0;
    fpu.raise(if stored { outcome.flags } else { unmasked });
    fpu.condition(status::C1, outcome.up && stored);
    (outcome.number, stored)
}

/// FSTP m80: any bits.
struct StoreExtended;

impl Waiting for StoreExtended {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        if core.state.fpu.empty(0) {
            return store_missing(core, bus, op, indefinite());
        }
        let value = core.state.fpu.st(0);
        store_80(core, bus, op, value)?;
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C1, false);
        fpu.pop();
        Ok(())
    }
}

/// A ten-byte store and pop of a register that is empty.
fn store_missing<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, value: Extended) -> Exec {
    probe_store(core, bus, op, 10)?;
    let mut fpu = core.state.fpu.clone();
    if stack_fault(&mut fpu, false) {
        store_80(core, bus, op, value)?;
        fpu.pop();
    }
    core.state.fpu = fpu;
    Ok(())
}

/// FIST, FISTP and FISTTP, which cuts.
struct StoreInteger<W, const POP: bool, const CUT: bool>(std::marker::PhantomData<W>);

impl<W: Width, const POP: bool, const CUT: bool> Waiting for StoreInteger<W, POP, CUT> {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        probe_store(core, bus, op, W::BYTES)?;
        let mut fpu = core.state.fpu.clone();
        let indefinite = 1_u64 << (W::BITS - 1);
        let (value, stored) = if fpu.empty(0) {
            (indefinite, stack_fault(&mut fpu, false))
        } else {
            let rounding = if CUT { Rounding::Truncate } else { fpu.rounding() };
            let (value, flags, up) = to_integer(fpu.st(0).unpack(), W::BITS, rounding);
            fpu.raise(flags);
            fpu.condition(status::C1, up);
            (value as u64, !prevents(&fpu, flags))
        };
        if stored {
            let offset = core.effective_address(op);
            core.store_at(bus, op.memory.segment, offset, W::from_u64(value))?;
            if POP {
                fpu.pop();
            }
        }
        core.state.fpu = fpu;
        Ok(())
    }
}

/// The packed decimal indefinite.
const DECIMAL_INDEFINITE: Extended = Extended { sign_exponent: 0xffff, significand: 0xc000_0000_0000_0000 };

/// FBSTP.
struct StoreDecimal;

impl Waiting for StoreDecimal {
    fn run<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
        if core.state.fpu.empty(0) {
            return store_missing(core, bus, op, DECIMAL_INDEFINITE);
        }
        probe_store(core, bus, op, 10)?;
        let mut fpu = core.state.fpu.clone();
        let number = fpu.st(0).unpack();
        let (value, flags, up) = packed_decimal(number, fpu.rounding());
        fpu.raise(flags);
        fpu.condition(status::C1, up);
        if !prevents(&fpu, flags) {
            store_80(core, bus, op, value)?;
            fpu.pop();
        }
        core.state.fpu = fpu;
        Ok(())
    }
}

fn packed_decimal(number: Number, rounding: Rounding) -> (Extended, u8, bool) {
    const MOST: u64 = 999_999_999_999_999_999;
    let (value, flags, up) = to_integer(number, 64, rounding);
    let mut rest = value.unsigned_abs();
    if flags & exception::INVALID != 0 || rest > MOST {
        return (DECIMAL_INDEFINITE, exception::INVALID, false);
    }
    let mut digits = 0_u128;
    for index in 0..18 {
        digits |= u128::from(rest % 10) << (4 * index);
        rest /= 10;
    }
    let sign = u16::from(number.sign) << 15;
    (Extended { sign_exponent: sign | (digits >> 64) as u16, significand: digits as u64 }, flags, up)
}

/// FST ST(i) and FSTP ST(i).
struct StoreRegister<const POP: bool>;

impl<const POP: bool> Waiting for StoreRegister<POP> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        let value = if fpu.empty(0) {
            if !stack_fault(fpu, false) {
                return Ok(());
            }
            indefinite()
        } else {
            fpu.condition(status::C1, false);
            fpu.st(0)
        };
        fpu.set_st(stack_index(op.dst), value);
        if POP {
            fpu.pop();
        }
        Ok(())
    }
}

/// D9 D8+i, which no manual names: FSTP ST(i) that stores nothing when there is nothing.
struct StoreUnchecked;

impl Waiting for StoreUnchecked {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let fpu = &mut core.state.fpu;
        fpu.condition(status::C1, false);
        if !fpu.empty(0) {
            fpu.set_st(stack_index(op.dst), fpu.st(0));
        }
        fpu.pop();
        Ok(())
    }
}

/// FXCH.
struct Exchange;

impl Waiting for Exchange {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let other = stack_index(op.src);
        let fpu = &mut core.state.fpu;
        let missing = fpu.empty(0) || fpu.empty(other);
        if missing && !stack_fault(fpu, false) {
            return Ok(());
        }
        let value = |index| if fpu.empty(index) { indefinite() } else { fpu.st(index) };
        let (first, second) = (value(0), value(other));
        fpu.condition(status::C1, false);
        fpu.set_st(0, second);
        fpu.set_st(other, first);
        Ok(())
    }
}

/// FCMOVcc.
struct MoveIf<const CONDITION: u8>;

impl<const CONDITION: u8> Waiting for MoveIf<CONDITION> {
    fn run<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
        let holds = core.state.flags.condition(CONDITION);
        let from = stack_index(op.src);
        let fpu = &mut core.state.fpu;
        if fpu.empty(0) || fpu.empty(from) {
            missing_operand(fpu);
            return Ok(());
        }
        if holds {
            fpu.set_st(0, fpu.st(from));
        }
        Ok(())
    }
}
