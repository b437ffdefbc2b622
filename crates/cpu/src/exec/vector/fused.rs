//! FMA: a product and a sum, rounded once (Intel SDM vol. 1, 14.5; vol. 2C, VFMADD132PD and its relatives).

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Vex, avx_available,
    float::{Control, Double, Precision, Single, lanes, packed, raise},
    index, is_wide, read_xmm, read_ymm, source_low, source_ymm, widened, write_ymm,
};
use crate::{
    Bus, Core, Exec, Handler, Op,
    float::{self, Class, Number, Outcome, exception, quieted},
};

/// Which sign changes: bit 0 the product's, bits 1 and 2 the addend's in even and odd lanes.
mod signs {
    pub(super) const ADD: u8 = 0;
    pub(super) const SUBTRACT: u8 = 6;
    pub(super) const NEGATED_ADD: u8 = 1;
    pub(super) const NEGATED_SUBTRACT: u8 = 7;
    /// VFMADDSUB: even lanes are subtracted.
    pub(super) const SUBTRACT_ADD: u8 = 2;
    /// VFMSUBADD.
    pub(super) const ADD_SUBTRACT: u8 = 4;
}

/// Rows of mnemonics: single and double, packed and scalar; which operands are multiplied, and signs.
macro_rules! rows {
    ($instruction:expr, $($ps:ident $pd:ident $($ss:ident $sd:ident)?: $order:literal, $signs:ident;)*) => {
        match $instruction.mnemonic() {
            $(
                Mnemonic::$ps => Some(fused::<B, Single, false, $order, { signs::$signs }> as Handler<B>),
                Mnemonic::$pd => Some(fused::<B, Double, false, $order, { signs::$signs }> as Handler<B>),
                $(
                    Mnemonic::$ss => Some(fused::<B, Single, true, $order, { signs::$signs }> as Handler<B>),
                    Mnemonic::$sd => Some(fused::<B, Double, true, $order, { signs::$signs }> as Handler<B>),
                )?
            )*
            _ => None,
        }
    };
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    rows! { instruction,
        Vfmadd132ps Vfmadd132pd Vfmadd132ss Vfmadd132sd: 132, ADD;
        Vfmsub132ps Vfmsub132pd Vfmsub132ss Vfmsub132sd: 132, SUBTRACT;
        Vfnmadd132ps Vfnmadd132pd Vfnmadd132ss Vfnmadd132sd: 132, NEGATED_ADD;
        Vfnmsub132ps Vfnmsub132pd Vfnmsub132ss Vfnmsub132sd: 132, NEGATED_SUBTRACT;
        Vfmadd213ps Vfmadd213pd Vfmadd213ss Vfmadd213sd: 213, ADD;
        Vfmsub213ps Vfmsub213pd Vfmsub213ss Vfmsub213sd: 213, SUBTRACT;
        Vfnmadd213ps Vfnmadd213pd Vfnmadd213ss Vfnmadd213sd: 213, NEGATED_ADD;
        Vfnmsub213ps Vfnmsub213pd Vfnmsub213ss Vfnmsub213sd: 213, NEGATED_SUBTRACT;
        Vfmadd231ps Vfmadd231pd Vfmadd231ss Vfmadd231sd: 231, ADD;
        Vfmsub231ps Vfmsub231pd Vfmsub231ss Vfmsub231sd: 231, SUBTRACT;
        Vfnmadd231ps Vfnmadd231pd Vfnmadd231ss Vfnmadd231sd: 231, NEGATED_ADD;
        Vfnmsub231ps Vfnmsub231pd Vfnmsub231ss Vfnmsub231sd: 231, NEGATED_SUBTRACT;
        Vfmaddsub132ps Vfmaddsub132pd: 132, SUBTRACT_ADD;
        Vfmsubadd132ps Vfmsubadd132pd: 132, ADD_SUBTRACT;
        Vfmaddsub213ps Vfmaddsub213pd: 213, SUBTRACT_ADD;
        Vfmsubadd213ps Vfmsubadd213pd: 213, ADD_SUBTRACT;
        Vfmaddsub231ps Vfmaddsub231pd: 231, SUBTRACT_ADD;
        Vfmsubadd231ps Vfmsubadd231pd: 231, ADD_SUBTRACT;
    }
}

/// One instruction. The digits of `ORDER` are the first factor, the second factor, and the addend.
fn fused<B: Bus, P: Precision, const SCALAR: bool, const ORDER: u8, const SIGNS: u8>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    avx_available(core)?;
    let (to, wide) = (index(op.dst), is_wide(op.dst));
    let third = match SCALAR {
        true => widened(u128::from(source_low(core, bus, op, op.third, P::BYTES)?).to_le_bytes()),
        false => source_ymm(core, bus, op, op.third, wide)?,
    };
    let (first, second) = (read_ymm(core, to), read_ymm(core, Vex::first(op)));
    let count = match (SCALAR, wide) {
        (true, _) => 1,
        (false, true) => 32 / P::BYTES,
        (false, false) => 16 / P::BYTES,
    };
    let control = Control::of(core);
    let above = if wide { first } else { widened(read_xmm(core, to)) };
    let (result, flags) = lanes::<P, 32>(control, count, above, |at| {
        let operands =
            [&first, &second, &third].map(|vector| control.unpack(P::ENCODING, P::get(vector, at)));
        let [one, two, three] = operands;
        let [a, b, c] = match ORDER {
            132 => [one, three, two],
            213 => [two, one, three],
            _ => [two, three, one],
        };
        let addend = if SIGNS >> (1 + (at & 1)) & 1 != 0 { c.negated() } else { c };
        let factor = if SIGNS & 1 != 0 { a.negated() } else { a };
        let outcome =
            screened([a, b, c], || float::multiply_add(factor, b, addend, &control.rules(P::ENCODING)));
        (packed(P::ENCODING, outcome), outcome.flags)
    });
    raise(core, flags)?;
    write_ymm(core, to, result);
    Ok(())
}

/// The first NaN of the operands, made quiet, whatever the signs; otherwise the outcome.
fn screened(operands: [Number; 3], operation: impl FnOnce() -> Outcome) -> Outcome {
    if let Some(nan) = operands.iter().find(|operand| operand.is_nan()) {
        let signaling = operands.iter().any(|operand| operand.class == Class::Signaling);
        let flags = if signaling { exception::INVALID } else { 0 };
        return Outcome { number: quieted(*nan), flags, up: false };
    }
    let outcome = operation();
    let denormal = operands.iter().any(|operand| operand.denormal);
    let before = if denormal && outcome.flags & exception::INVALID == 0 { exception::DENORMAL } else { 0 };
    Outcome { flags: outcome.flags | before, ..outcome }
}
