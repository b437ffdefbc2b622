//! What only AVX and AVX2 have: broadcasts, permutations, lanes of sixteen bytes, shifts by lane, VZEROALL
//! (Intel SDM vol. 2C).

use iced_x86::{Instruction, Mnemonic};

use super::{
    Form, Vex, Ymm, avx_available, index, is_wide, joined,
    lanes::{each, from_fn, get},
    lanes_of,
    packed::{Packed, operations, packed},
    read_ymm, source_128, source_up_to_16, source_ymm, store_vector, widened, write_ymm,
};
use crate::{Bus, Core, Exec, Handler, Op, Operand};

operations! {
    PermuteSingles: |a, b, order| from_fn(|at| get::<u32, N>(&b, usize::from(order >> (2 * at) & 3)));
    PermuteDoubles: |a, b, order >> 2| from_fn(|at| get::<u64, N>(&b, usize::from(order >> at & 1)));
    PermuteSinglesBy: |a, b| from_fn(|at| get::<u32, N>(&a, get::<u8, N>(&b, 4 * at) as usize & 3));
    PermuteDoublesBy: |a, b| from_fn(|at| get::<u64, N>(&a, get::<u8, N>(&b, 8 * at) as usize >> 1 & 1));
    ShiftEachLeft: |a, b| each(a, b, |x: u32, count| x.checked_shl(count).unwrap_or(0));
    ShiftEachLeftWide: |a, b| each(a, b, |x: u64, count| x.checked_shl(bounded(count)).unwrap_or(0));
    ShiftEachRight: |a, b| each(a, b, |x: u32, count| x.checked_shr(count).unwrap_or(0));
    ShiftEachRightWide: |a, b| each(a, b, |x: u64, count| x.checked_shr(bounded(count)).unwrap_or(0));
    ShiftEachArithmetic: |a, b| each(a, b, |x: i32, count| x >> (count as u32).min(31));
}

/// A count of 64 bits, as far as it matters.
fn bounded(count: u64) -> u32 {
    count.min(64) as u32
}

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    let by_register = instruction.op_count() == 3 && !super::super::operands::is_immediate(instruction, 2);
    Some(match instruction.mnemonic() {
        Is::Vpermilps if by_register => return packed::<B, PermuteSinglesBy>(instruction),
        Is::Vpermilpd if by_register => return packed::<B, PermuteDoublesBy>(instruction),
        Is::Vpermilps => return packed::<B, PermuteSingles>(instruction),
        Is::Vpermilpd => return packed::<B, PermuteDoubles>(instruction),
        Is::Vpsllvd => return packed::<B, ShiftEachLeft>(instruction),
        Is::Vpsllvq => return packed::<B, ShiftEachLeftWide>(instruction),
        Is::Vpsrlvd => return packed::<B, ShiftEachRight>(instruction),
        Is::Vpsrlvq => return packed::<B, ShiftEachRightWide>(instruction),
        Is::Vpsravd => return packed::<B, ShiftEachArithmetic>(instruction),
        Is::Vpbroadcastb => broadcast::<B, 1>,
        Is::Vpbroadcastw => broadcast::<B, 2>,
        Is::Vbroadcastss | Is::Vpbroadcastd => broadcast::<B, 4>,
        Is::Vbroadcastsd | Is::Vpbroadcastq => broadcast::<B, 8>,
        Is::Vbroadcastf128 | Is::Vbroadcasti128 => broadcast::<B, 16>,
        Is::Vinsertf128 | Is::Vinserti128 => insert,
        Is::Vextractf128 | Is::Vextracti128 => extract,
        Is::Vperm2f128 | Is::Vperm2i128 => permute_lanes,
        Is::Vpermd | Is::Vpermps => permute_by,
        Is::Vpermq | Is::Vpermpd => permute_quadwords,
        Is::Vzeroall => zero::<B, true>,
        Is::Vzeroupper => zero::<B, false>,
        _ => return None,
    })
}

/// The low `BYTES` of the source everywhere.
fn broadcast<B: Bus, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let source = source_up_to_16(core, bus, op, op.src, BYTES)?;
    let lane = std::array::from_fn(|at| source[at % BYTES]);
    let result = if is_wide(op.dst) { joined([lane, lane]) } else { widened(lane) };
    write_ymm(core, index(op.dst), result);
    Ok(())
}

/// VINSERTF128: one lane replaced.
fn insert<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let lane = source_128::<B, Vex>(core, bus, op, op.third)?;
    let mut lanes = lanes_of(&read_ymm(core, Vex::first(op)));
    lanes[(op.immediate & 1) as usize] = lane;
    write_ymm(core, index(op.dst), joined(lanes));
    Ok(())
}

/// VEXTRACTF128: one lane.
fn extract<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let lane = lanes_of(&read_ymm(core, index(op.src)))[(op.immediate & 1) as usize];
    match op.dst {
        Operand::MEMORY => store_vector(core, bus, op, false, &lane),
        which => {
            Vex::write(core, index(which), lane);
            Ok(())
        }
    }
}

/// VPERM2F128: each lane is one of four, or zero.
fn permute_lanes<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let second = lanes_of(&source_ymm(core, bus, op, op.third, true)?);
    let first = lanes_of(&read_ymm(core, Vex::first(op)));
    let chosen = |order: u64| match (order & 8, order & 2) {
        (0, 0) => first[(order & 1) as usize],
        (0, _) => second[(order & 1) as usize],
        _ => [0; 16],
    };
    write_ymm(core, index(op.dst), joined([chosen(op.immediate), chosen(op.immediate >> 4)]));
    Ok(())
}

/// VPERMD and VPERMPS: the first source says which doubleword goes where.
fn permute_by<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let source = source_ymm(core, bus, op, op.third, true)?;
    let order = read_ymm(core, Vex::first(op));
    let result: Ymm = from_fn(|at| get::<u32, 32>(&source, get::<u32, 32>(&order, at) as usize & 7));
    write_ymm(core, index(op.dst), result);
    Ok(())
}

/// VPERMQ and VPERMPD: the immediate does.
fn permute_quadwords<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let source = source_ymm(core, bus, op, op.src, true)?;
    let result: Ymm = from_fn(|at| get::<u64, 32>(&source, (op.immediate >> (2 * at) & 3) as usize));
    write_ymm(core, index(op.dst), result);
    Ok(())
}

/// VZEROALL and VZEROUPPER, of the registers that the mode has.
fn zero<B: Bus, const ALL: bool>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    avx_available(core)?;
    let count = if core.in_64_bit_mode() { 16 } else { 8 };
    core.state.avx.upper[..count].fill([0; 2]);
    if ALL {
        core.state.sse.registers[..count].fill([0; 2]);
    }
    Ok(())
}
