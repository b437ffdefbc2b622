//! XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV and XSETBV (Intel SDM vol. 1, chapter 13).
//!
//! A register counts as in use when it is not as after FNINIT or RESET#, and as nothing else: no other state
//! is kept that a program could see.

use iced_x86::{Instruction, Mnemonic};

use super::x87::environment::{
    Legacy, read_legacy, take_mxcsr, take_x87, take_xmm, write_mxcsr, write_x87, write_xmm,
};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    features::Feature,
    fpu::{Fpu, MXCSR_RESET, xcr0},
    state::{cr0, cr4, gpr},
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Xsave => save::<B, false, false>,
        Mnemonic::Xsave64 => save::<B, true, false>,
        Mnemonic::Xsaveopt => save::<B, false, true>,
        Mnemonic::Xsaveopt64 => save::<B, true, true>,
        Mnemonic::Xsavec => save_compacted::<B, false>,
        Mnemonic::Xsavec64 => save_compacted::<B, true>,
        Mnemonic::Xrstor => restore::<B, false>,
        Mnemonic::Xrstor64 => restore::<B, true>,
        Mnemonic::Xgetbv => get,
        Mnemonic::Xsetbv => set,
        _ => return None,
    })
}

const FAULT: Exception = Exception::general_protection(0);
/// Bytes of the legacy region, after which the header is, and of both.
const LEGACY: u64 = 512;
const HEADER_END: u64 = 576;
/// Bit 63 of XCOMP_BV, whose other bits name the components that lie one behind the other (13.4.3).
const COMPACTED: u64 = 1 << 63;

fn switched_on(core: &Core) -> Exec {
    if core.state.cr4 & cr4::OSXSAVE == 0 { Err(Exception::INVALID_OPCODE) } else { Ok(()) }
}

/// Whether XSAVE and XRSTOR can be used.
fn available(core: &Core) -> Exec {
    switched_on(core)?;
    if core.state.cr0 & cr0::TS != 0 { Err(Exception::DEVICE_NOT_AVAILABLE) } else { Ok(()) }
}

fn pair(core: &Core) -> u64 {
    core.register(gpr::RDX) << 32 | core.register(gpr::RAX) & 0xffff_ffff
}

/// XGETBV: XCR0, or what of it is in use.
fn get<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    switched_on(core)?;
    let enabled = core.state.avx.xcr0;
    let value = match core.register(gpr::RCX) & 0xffff_ffff {
        0 => enabled,
        1 if core.model.features.has(Feature::Xgetbv1) => enabled & in_use(core),
        _ => return Err(FAULT),
    };
    core.set_register(gpr::RAX, value & 0xffff_ffff);
    core.set_register(gpr::RDX, value >> 32);
    Ok(())
}

/// XSETBV.
fn set<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    switched_on(core)?;
    let value = pair(core);
    let register = core.register(gpr::RCX) & 0xffff_ffff;
    if core.state.cpl != 0 || register != 0 || !core.model.allows_xcr0(value) {
        return Err(FAULT);
    }
    core.state.avx.xcr0 = value;
    Ok(())
}

/// XMM and YMM registers that the mode has.
fn registers(core: &Core) -> usize {
    if core.in_64_bit_mode() { 16 } else { 8 }
}

/// x87 as it is initialized.
fn initial(core: &Core) -> Fpu {
    let mut fpu = Fpu { ignore_numeric_error: core.state.fpu.ignore_numeric_error, ..Fpu::default() };
    fpu.initialize();
    fpu
}

/// XINUSE (13.6): what is not as it is initialized.
fn in_use(core: &Core) -> u64 {
    let state = &core.state;
    let count = registers(core);
    let bit = |holds: bool, bit: u64| if holds { bit } else { 0 };
    bit(state.fpu != initial(core), xcr0::X87)
        | bit(state.sse.registers[..count] != [[0; 2]; 16][..count], xcr0::SSE)
        | bit(state.avx.upper[..count] != [[0; 2]; 16][..count], xcr0::AVX)
        | bit(state.pkru != 0, xcr0::PKRU)
}

/// An area in memory.
#[derive(Clone, Copy)]
struct Area {
    segment: u8,
    at: u64,
    /// XCOMP_BV.
    compaction: u64,
}

impl Area {
    /// The memory operand, which must be aligned.
    fn of(core: &Core, op: &Op) -> Result<Area, Exception> {
        let area = Area { segment: op.memory.segment, at: core.effective_address(op), compaction: 0 };
        core.aligned(area.segment, area.at, 64)?;
        Ok(area)
    }

    fn probe<B: Bus>(self, core: &mut Core, bus: &mut B, components: u64, write: bool) -> Exec {
        core.probe(bus, self.segment, self.at, HEADER_END, write)?;
        for (offset, length) in self.extended(core, components) {
            core.probe(bus, self.segment, self.at.wrapping_add(offset), length, write)?;
        }
        Ok(())
    }

    /// Where components beyond the legacy region are: offset and length. None of them has to be aligned.
    fn extended(self, core: &Core, components: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let (model, compaction) = (core.model, self.compaction);
        let mut next = HEADER_END;
        (2..63).filter_map(move |index| {
            let (standard, length) = model.component(index)?;
            let offset = if compaction & COMPACTED == 0 { standard.into() } else { next };
            if compaction >> index & 1 != 0 {
                next += u64::from(length);
            }
            (components >> index & 1 != 0).then_some((offset, length.into()))
        })
    }

    /// Where one component is.
    fn place(self, core: &Core, component: u64) -> u64 {
        self.extended(core, component).next().map_or(HEADER_END, |(offset, _)| offset)
    }

    fn load<B: Bus>(self, core: &mut Core, bus: &mut B, offset: u64) -> Result<u64, Exception> {
        core.load_at(bus, self.segment, self.at.wrapping_add(offset))
    }

    fn store<B: Bus>(self, core: &mut Core, bus: &mut B, offset: u64, value: u64) -> Exec {
        core.store_at(bus, self.segment, self.at.wrapping_add(offset), value)
    }
}

/// XSAVE; XSAVEOPT leaves out what is not in use.
fn save<B: Bus, const WIDE: bool, const SPARSE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let area = Area::of(core, op)?;
    let wanted = pair(core) & core.state.avx.xcr0;
    let used = in_use(core);
    let saved = if SPARSE { wanted & used } else { wanted };
    area.probe(core, bus, saved, true)?;
    let before = area.load(core, bus, LEGACY)?;
    write::<B, WIDE>(core, bus, area, saved)?;
    if wanted & (xcr0::SSE | xcr0::AVX) != 0 {
        write_mxcsr(core, bus, area.segment, area.at)?;
    }
    area.store(core, bus, LEGACY, before & !wanted | used & wanted)
}

/// XSAVEC: what is in use, one component behind the other; MXCSR belongs to SSE (13.10).
fn save_compacted<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let mut area = Area::of(core, op)?;
    let wanted = pair(core) & core.state.avx.xcr0;
    area.compaction = wanted | COMPACTED;
    let control = if core.state.sse.mxcsr == MXCSR_RESET { 0 } else { xcr0::SSE };
    let saved = wanted & (in_use(core) | control);
    area.probe(core, bus, saved, true)?;
    write::<B, WIDE>(core, bus, area, saved)?;
    if saved & xcr0::SSE != 0 {
        write_mxcsr(core, bus, area.segment, area.at)?;
    }
    area.store(core, bus, LEGACY, saved)?;
    area.store(core, bus, LEGACY + 8, area.compaction)
}

/// Writes these components, but for MXCSR.
fn write<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, area: Area, saved: u64) -> Exec {
    if saved & xcr0::X87 != 0 {
        write_x87(core, bus, area.segment, area.at, WIDE)?;
    }
    let count = registers(core);
    if saved & xcr0::SSE != 0 {
        write_xmm(core, bus, area.segment, area.at, count)?;
    }
    if saved & xcr0::AVX != 0 {
        let start = area.place(core, xcr0::AVX);
        let upper = core.state.avx.upper;
        for (at, half) in (start..).step_by(8).zip(upper[..count].as_flattened()) {
            area.store(core, bus, at, *half)?;
        }
    }
    if saved & xcr0::PKRU != 0 {
        // Of the component's eight bytes the last four are nobody's.
        let at = area.at.wrapping_add(area.place(core, xcr0::PKRU));
        core.store_at(bus, area.segment, at, core.state.pkru)?;
    }
    Ok(())
}

/// XRSTOR: what the header does not have is initialized.
fn restore<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let mut area = Area::of(core, op)?;
    let wanted = pair(core) & core.state.avx.xcr0;
    let taken = wanted & present(core, bus, &mut area)?;
    area.probe(core, bus, taken, false)?;
    let words = read_legacy(core, bus, area.segment, area.at)?;
    let upper = load_upper(core, bus, area, taken)?;
    let pkru = match taken & xcr0::PKRU {
        0 => 0,
        _ => area.load(core, bus, area.place(core, xcr0::PKRU))? as u32,
    };
    // In the compacted format MXCSR belongs to SSE (13.8.2), else to AVX too, and is always there.
    if area.compaction == 0 && wanted & (xcr0::SSE | xcr0::AVX) != 0 || taken & xcr0::SSE != 0 {
        take_mxcsr(core, &words)?;
    } else if wanted & xcr0::SSE != 0 {
        core.state.sse.mxcsr = MXCSR_RESET;
    }
    // Nothing faults from here on.
    take_legacy(core, &words, wanted, taken, WIDE);
    let count = registers(core);
    if wanted & xcr0::AVX != 0 {
        core.state.avx.upper[..count].copy_from_slice(&upper[..count]);
    }
    if wanted & xcr0::PKRU != 0 {
        core.state.pkru = pkru;
        core.flush_tlb();
    }
    Ok(())
}

/// XSTATE_BV of a header that can be taken; processors without XSAVEC know only the standard format.
fn present<B: Bus>(core: &mut Core, bus: &mut B, area: &mut Area) -> Result<u64, Exception> {
    area.probe(core, bus, 0, false)?;
    let present = area.load(core, bus, LEGACY)?;
    let compaction = area.load(core, bus, LEGACY + 8)?;
    let enabled = core.state.avx.xcr0;
    let compacted = compaction & COMPACTED != 0 && core.model.features.has(Feature::Xsavec);
    let (reserved, mut wrong) = match compacted {
        true => (16..64, present & !(compaction ^ COMPACTED) | (compaction ^ COMPACTED) & !enabled),
        false => (8..24, present & !enabled),
    };
    for offset in reserved.step_by(8) {
        wrong |= area.load(core, bus, LEGACY + offset)?;
    }
    if wrong != 0 {
        return Err(FAULT);
    }
    area.compaction = compaction;
    Ok(present)
}

/// The upper halves of the YMM registers, where they are taken; otherwise zeros.
fn load_upper<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    area: Area,
    taken: u64,
) -> Result<[[u64; 2]; 16], Exception> {
    let mut upper = [[0; 2]; 16];
    if taken & xcr0::AVX != 0 {
        let (start, count) = (area.place(core, xcr0::AVX), registers(core));
        for (at, half) in (start..).step_by(8).zip(upper[..count].as_flattened_mut()) {
            *half = area.load(core, bus, at)?;
        }
    }
    Ok(upper)
}

/// Takes or initializes what is in the legacy region, but for MXCSR.
fn take_legacy(core: &mut Core, words: &Legacy, wanted: u64, taken: u64, wide: bool) {
    match (wanted & xcr0::X87, taken & xcr0::X87) {
        (0, _) => {}
        (_, 0) => core.state.fpu = initial(core),
        _ => take_x87(core, words, wide),
    }
    let count = registers(core);
    match (wanted & xcr0::SSE, taken & xcr0::SSE) {
        (0, _) => {}
        (_, 0) => core.state.sse.registers[..count].fill([0; 2]),
        _ => take_xmm(core, words, count),
    }
}
