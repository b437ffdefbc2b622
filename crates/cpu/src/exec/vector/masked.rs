//! VMASKMOVPS and VPMASKMOVD, which touch only the elements that a mask chooses, and gathers, whose elements
//! are anywhere (Intel SDM vol. 2C).

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::{
    Ymm, avx_available, index, is_wide,
    lanes::{get, set},
    read_ymm, write_ymm,
};
use crate::{Bus, Core, Exception, Exec, Handler, Op};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Mnemonic as Is;
    let loads = instruction.op0_kind() == OpKind::Register;
    Some(match instruction.mnemonic() {
        Is::Vmaskmovps | Is::Vpmaskmovd if loads => load::<B, 4>,
        Is::Vmaskmovpd | Is::Vpmaskmovq if loads => load::<B, 8>,
        Is::Vmaskmovps | Is::Vpmaskmovd => store::<B, 4>,
        Is::Vmaskmovpd | Is::Vpmaskmovq => store::<B, 8>,
        _ => return gathers(instruction),
    })
}

/// Whether the mask has the sign of element `at` set.
fn chosen(mask: &Ymm, bytes: usize, at: usize) -> bool {
    mask[bytes * (at + 1) - 1] & 0x80 != 0
}

/// How many elements a register has.
fn elements(wide: bool, bytes: usize) -> usize {
    if wide { 32 / bytes } else { 16 / bytes }
}

/// An element of memory into a vector.
fn load_element<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    place: (u8, u64),
    bytes: usize,
    to: (&mut Ymm, usize),
) -> Exec {
    let ((segment, offset), (vector, at)) = (place, to);
    match bytes {
        4 => set(vector, at, core.load_at::<u32, B>(bus, segment, offset)?),
        _ => set(vector, at, core.load_at::<u64, B>(bus, segment, offset)?),
    }
    Ok(())
}

/// Elements that are not chosen become zero.
fn load<B: Bus, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let (segment, start) = (op.memory.segment, core.effective_address(op));
    let mask = read_ymm(core, index(op.src));
    let mut result = [0; 32];
    for at in (0..elements(is_wide(op.dst), BYTES)).filter(|at| chosen(&mask, BYTES, *at)) {
        let offset = start.wrapping_add((BYTES * at) as u64);
        load_element(core, bus, (segment, offset), BYTES, (&mut result, at))?;
    }
    write_ymm(core, index(op.dst), result);
    Ok(())
}

/// All elements that are chosen, or none when one of them faults.
fn store<B: Bus, const BYTES: usize>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    avx_available(core)?;
    let (segment, start) = (op.memory.segment, core.effective_address(op));
    let (mask, value) = (read_ymm(core, index(op.src)), read_ymm(core, index(op.third)));
    let count = elements(is_wide(op.third), BYTES);
    let offset = |at: usize| start.wrapping_add((BYTES * at) as u64);
    for at in (0..count).filter(|at| chosen(&mask, BYTES, *at)) {
        core.probe(bus, segment, offset(at), BYTES as u64, true)?;
    }
    for at in (0..count).filter(|at| chosen(&mask, BYTES, *at)) {
        match BYTES {
            4 => core.store_at(bus, segment, offset(at), get::<u32, 32>(&value, at))?,
            _ => core.store_at(bus, segment, offset(at), get::<u64, 32>(&value, at))?,
        }
    }
    Ok(())
}

/// By the bytes of an index and of an element, and how many there are.
fn gathers<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use Code as Is;
    Some(match instruction.code() {
        Is::VEX_Vgatherdps_xmm_vm32x_xmm | Is::VEX_Vpgatherdd_xmm_vm32x_xmm => gather::<B, 4, 4, 4>,
        Is::VEX_Vgatherdps_ymm_vm32y_ymm | Is::VEX_Vpgatherdd_ymm_vm32y_ymm => gather::<B, 4, 4, 8>,
        Is::VEX_Vgatherdpd_xmm_vm32x_xmm | Is::VEX_Vpgatherdq_xmm_vm32x_xmm => gather::<B, 4, 8, 2>,
        Is::VEX_Vgatherdpd_ymm_vm32x_ymm | Is::VEX_Vpgatherdq_ymm_vm32x_ymm => gather::<B, 4, 8, 4>,
        Is::VEX_Vgatherqps_xmm_vm64x_xmm | Is::VEX_Vpgatherqd_xmm_vm64x_xmm => gather::<B, 8, 4, 2>,
        Is::VEX_Vgatherqps_xmm_vm64y_xmm | Is::VEX_Vpgatherqd_xmm_vm64y_xmm => gather::<B, 8, 4, 4>,
        Is::VEX_Vgatherqpd_xmm_vm64x_xmm | Is::VEX_Vpgatherqq_xmm_vm64x_xmm => gather::<B, 8, 8, 2>,
        Is::VEX_Vgatherqpd_ymm_vm64y_ymm | Is::VEX_Vpgatherqq_ymm_vm64y_ymm => gather::<B, 8, 8, 4>,
        _ => return None,
    })
}

/// VGATHERDPS and its relatives. An element that has been read is chosen no more, so that after a fault the
/// instruction goes on where it was.
fn gather<B: Bus, const INDEX: usize, const BYTES: usize, const COUNT: usize>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
) -> Exec {
    avx_available(core)?;
    let (to, mask_register) = (index(op.dst), index(op.third));
    let indexes = read_ymm(core, op.immediate2);
    let mut mask = read_ymm(core, mask_register);
    let mut result = read_ymm(core, to);
    let done = elements_gathered::<B, INDEX, BYTES, COUNT>(core, bus, op, &indexes, (&mut mask, &mut result));
    if done.is_ok() {
        mask.fill(0);
        result[BYTES * COUNT..].fill(0);
    }
    write_ymm(core, to, result);
    write_ymm(core, mask_register, mask);
    done
}

fn elements_gathered<B: Bus, const INDEX: usize, const BYTES: usize, const COUNT: usize>(
    core: &mut Core,
    bus: &mut B,
    op: &Op,
    indexes: &Ymm,
    (mask, result): (&mut Ymm, &mut Ymm),
) -> Result<(), Exception> {
    // The memory operand has no general register as index.
    let start = core.effective_address(op);
    for at in 0..COUNT {
        if chosen(mask, BYTES, at) {
            let index = match INDEX {
                4 => i64::from(get::<i32, 32>(indexes, at)),
                _ => get::<i64, 32>(indexes, at),
            };
            let offset = start.wrapping_add((index as u64) << (op.memory.scale & 3)) & op.memory.mask;
            load_element(core, bus, (op.memory.segment, offset), BYTES, (&mut *result, at))?;
        }
        mask[BYTES * at..BYTES * (at + 1)].fill(0);
    }
    Ok(())
}
