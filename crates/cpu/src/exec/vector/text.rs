//! PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (Intel SDM vol. 1, 12.8; vol. 2B, 4.1).

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Xmm, by_form, index,
    lanes::{from_fn, get},
    load_vector, read_xmm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand, exec::operands::write_part, flags::bit, state::gpr};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    Some(match instruction.mnemonic() {
        Is::Pcmpestri | Is::Vpcmpestri => by_form!(instruction, compare, 4, true),
        Is::Pcmpestri64 | Is::Vpcmpestri64 => by_form!(instruction, compare, 8, true),
        Is::Pcmpestrm | Is::Vpcmpestrm => by_form!(instruction, compare, 4, false),
        Is::Pcmpestrm64 | Is::Vpcmpestrm64 => by_form!(instruction, compare, 8, false),
        Is::Pcmpistri | Is::Vpcmpistri => by_form!(instruction, compare, 0, true),
        Is::Pcmpistrm | Is::Vpcmpistrm => by_form!(instruction, compare, 0, false),
        _ => return None,
    })
}

/// The control byte.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    /// Elements are words, not bytes.
    fn words(self) -> bool {
        self.0 & 1 != 0
    }

    /// How many elements a register holds.
    fn elements(self) -> usize {
        if self.words() { 8 } else { 16 }
    }

    /// Element `at`, with its sign if elements have one.
    fn element(self, vector: &Xmm, at: usize) -> i32 {
        match self.0 & 3 {
            0 => get::<u8, 16>(vector, at).into(),
            1 => get::<u16, 16>(vector, at).into(),
            2 => get::<i8, 16>(vector, at).into(),
            _ => get::<i16, 16>(vector, at).into(),
        }
    }

    /// How many elements are valid: up to the first that is zero, or as many as a register says.
    fn length(self, vector: &Xmm, explicit: Option<i64>) -> usize {
        match explicit {
            Some(count) => count.unsigned_abs().min(self.elements() as u64) as usize,
            None => {
                let end = (0..self.elements()).find(|at| self.element(vector, *at) == 0);
                end.unwrap_or(self.elements())
            }
        }
    }
}

/// A string with its length.
struct Text {
    vector: Xmm,
    length: usize,
}

/// Which elements of `b` are aggregated true against the elements of `a`.
fn aggregate(control: Control, a: &Text, b: &Text) -> u32 {
    let element = |text: &Text, at| control.element(&text.vector, at);
    let holds = |at: usize| match control.0 >> 2 & 3 {
        // Equal to any.
        0 => at < b.length && (0..a.length).any(|from| element(a, from) == element(b, at)),
        // Within any of the ranges that pairs make.
        1 => {
            at < b.length
                && (0..a.length / 2)
                    .any(|pair| (element(a, 2 * pair)..=element(a, 2 * pair + 1)).contains(&element(b, at)))
        }
        // Equal each to each.
        2 => match (at < a.length, at < b.length) {
            (true, true) => element(a, at) == element(b, at),
            (first, second) => first == second,
        },
        // A substring that begins here, as far as the register goes.
        _ => (0..a.length.min(control.elements() - at))
            .all(|from| at + from < b.length && element(a, from) == element(b, at + from)),
    };
    (0..control.elements()).fold(0, |all, at| all | u32::from(holds(at)) << at)
}

/// The aggregate with its polarity.
fn result(control: Control, a: &Text, b: &Text) -> u32 {
    let all = (1_u32 << control.elements()) - 1;
    let aggregate = aggregate(control, a, b);
    match control.0 >> 4 & 3 {
        1 => aggregate ^ all,
        3 => aggregate ^ ((1_u32 << b.length) - 1),
        _ => aggregate,
    }
}

/// The instructions; `LENGTHS` is the size of the registers that hold lengths, or zero.
fn compare<B: Bus, F: Form, const LENGTHS: u8, const TO_INDEX: bool>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    F::available(core)?;
    let control = Control(op.immediate as u8);
    let second = match op.src {
        Operand::MEMORY => load_vector(core, bus, op, false)?,
        which => read_xmm(core, index(which)),
    };
    let first = read_xmm(core, index(op.dst));
    let explicit = |register| match LENGTHS {
        0 => None,
        4 => Some(i64::from(core.register(register) as i32)),
        _ => Some(core.register(register) as i64),
    };
    let a = Text { vector: first, length: control.length(&first, explicit(gpr::RAX)) };
    let b = Text { vector: second, length: control.length(&second, explicit(gpr::RDX)) };
    let result = result(control, &a, &b);
    let most_significant = control.0 & 0x40 != 0;
    if TO_INDEX {
        let found = match (result, most_significant) {
            (0, _) => control.elements() as u32,
            (_, true) => 31 - result.leading_zeros(),
            (_, false) => result.trailing_zeros(),
        };
        write_part(core, gpr::RCX, found);
    } else {
        F::write(core, 0, mask(control, result, most_significant));
    }
    let flag = |holds: bool, flag: u32| if holds { flag } else { 0 };
    core.state.flags.set_arithmetic(
        flag(result != 0, bit::CF)
            | flag(b.length < control.elements(), bit::ZF)
            | flag(a.length < control.elements(), bit::SF)
            | flag(result & 1 != 0, bit::OF),
    );
    Ok(())
}

/// The result in XMM0: as bits, or as a mask of elements.
fn mask(control: Control, result: u32, expanded: bool) -> Xmm {
    let ones = |at: usize| u16::from(result >> at & 1 != 0).wrapping_neg();
    match (expanded, control.words()) {
        (false, _) => u128::from(result).to_le_bytes(),
        (true, false) => from_fn(|at| ones(at) as u8),
        (true, true) => from_fn(ones),
    }
}
