//! FSTENV, FLDENV, FSAVE, FRSTOR in their four formats, FXSAVE and FXRSTOR (Intel SDM vol. 1, 8.1.10
//! and 10.5).

use iced_x86::{Code, Instruction};

use super::{available, no_error_pending};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    fpu::{Extended, Fpu, MXCSR_MASK, Pointer},
    state::cr4,
    width::Width,
};

/// The handler of an instruction of this group.
pub(super) fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Fnstenv_m14byte => store_environment::<B, u16>,
        Code::Fnstenv_m28byte => store_environment::<B, u32>,
        Code::Fldenv_m14byte => load_environment::<B, u16>,
        Code::Fldenv_m28byte => load_environment::<B, u32>,
        Code::Fnsave_m94byte => save::<B, u16>,
        Code::Fnsave_m108byte => save::<B, u32>,
        Code::Frstor_m94byte => restore::<B, u16>,
        Code::Frstor_m108byte => restore::<B, u32>,
        Code::Fxsave_m512byte => fxsave::<B, false>,
        Code::Fxsave64_m512byte => fxsave::<B, true>,
        Code::Fxrstor_m512byte => fxrstor::<B, false>,
        Code::Fxrstor64_m512byte => fxrstor::<B, true>,
        _ => return None,
    })
}

/// The seven words of an environment, of 16 or 32 bits each.
type Environment = [u32; 7];

/// The environment in the format of the mode and the operand size.
fn environment(core: &Core, wide: bool) -> Environment {
    let fpu = &core.state.fpu;
    let (control, status, tags) = (fpu.control.into(), fpu.status.into(), fpu.tags().into());
    let opcode = u32::from(fpu.opcode & 0x7ff);
    let last = if core.state.eight_thousand() {
        let instruction = linear(fpu.instruction);
        let data = linear(fpu.data);
        let high = |address: u32| if wide { address >> 16 << 12 } else { address >> 4 & 0xf000 };
        [instruction & 0xffff, high(instruction) | opcode, data & 0xffff, high(data)]
    } else {
        let selector = |pointer: Pointer| u32::from(pointer.selector);
        let opcode = if wide { opcode << 16 } else { 0 };
        [
            fpu.instruction.offset as u32,
            selector(fpu.instruction) | opcode,
            fpu.data.offset as u32,
            selector(fpu.data),
        ]
    };
    let [a, b, c, d] = last;
    let mut environment = [control, status, tags, a, b, c, d];
    if wide {
        // The upper halves of what is only 16 bits wide.
        let real = core.state.eight_thousand();
        for (index, word) in environment.iter_mut().enumerate() {
            let narrow = if real { matches!(index, 0..=3 | 5) } else { matches!(index, 0..=2 | 6) };
            if narrow {
                *word |= 0xffff_0000;
            }
        }
    }
    environment
}

/// The linear address that the real-mode formats hold.
fn linear(pointer: Pointer) -> u32 {
    (u32::from(pointer.selector) << 4).wrapping_add(pointer.offset as u32)
}

/// Takes an environment, but not the registers.
fn take(core: &mut Core, words: Environment, wide: bool) {
    let real = core.state.eight_thousand();
    let [control, status, tags, a, b, c, d] = words;
    let fpu = &mut core.state.fpu;
    let of = |selector: u32, offset: u32| Pointer { selector: selector as u16, offset: offset.into() };
    if real {
        let high = |word: u32| if wide { word >> 12 << 16 } else { word >> 12 << 16 & 0xf_0000 };
        fpu.instruction = of(0, a & 0xffff | high(b));
        fpu.data = of(0, c & 0xffff | high(d));
        fpu.opcode = (b & 0x7ff) as u16;
    } else {
        fpu.instruction = of(b, a);
        fpu.data = of(d, c);
        fpu.opcode = if wide { (b >> 16 & 0x7ff) as u16 } else { 0 };
    }
    fpu.status = status as u16;
    fpu.set_tags(tags as u16);
    fpu.set_control(control as u16);
}

/// Where the memory operand is.
fn place(core: &Core, op: &Op) -> (u8, u64) {
    (op.memory.segment, core.effective_address(op))
}

fn write_environment<B: Bus, W: Width>(core: &mut Core, bus: &mut B, segment: u8, at: u64) -> Exec {
    let words = environment(core, W::BYTES == 4);
    for (index, word) in (0..).zip(words) {
        let offset = at.wrapping_add(index * W::BYTES as u64);
        core.store_at(bus, segment, offset, W::from_u64(word.into()))?;
    }
    Ok(())
}

fn read_environment<B: Bus, W: Width>(
    core: &mut Core,
    bus: &mut B,
    segment: u8,
    at: u64,
) -> Result<Environment, Exception> {
    let mut words = [0; 7];
    for (index, word) in (0..).zip(&mut words) {
        let offset = at.wrapping_add(index * W::BYTES as u64);
        *word = core.load_at::<W, B>(bus, segment, offset)?.to_u64() as u32;
    }
    Ok(words)
}

/// FNSTENV masks all exceptions afterwards.
fn store_environment<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let (segment, at) = place(core, op);
    core.probe(bus, segment, at, 7 * W::BYTES as u64, true)?;
    write_environment::<B, W>(core, bus, segment, at)?;
    let fpu = &mut core.state.fpu;
    fpu.set_control(fpu.control | 0x3f);
    Ok(())
}

fn load_environment<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    if !no_error_pending(core, bus)? {
        return Ok(());
    }
    let (segment, at) = place(core, op);
    core.probe(bus, segment, at, 7 * W::BYTES as u64, false)?;
    let words = read_environment::<B, W>(core, bus, segment, at)?;
    take(core, words, W::BYTES == 4);
    Ok(())
}

/// FNSAVE: the environment, ST(0) to ST(7), and FNINIT.
fn save<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    let (segment, at) = place(core, op);
    let header = 7 * W::BYTES as u64;
    core.probe(bus, segment, at, header + 80, true)?;
    write_environment::<B, W>(core, bus, segment, at)?;
    for index in 0..8 {
        let register = core.state.fpu.st(index);
        write_register(core, bus, segment, at.wrapping_add(header + 10 * u64::from(index)), register)?;
    }
    core.state.fpu.initialize();
    Ok(())
}

fn restore<B: Bus, W: Width>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    available(core)?;
    if !no_error_pending(core, bus)? {
        return Ok(());
    }
    let (segment, at) = place(core, op);
    let header = 7 * W::BYTES as u64;
    core.probe(bus, segment, at, header + 80, false)?;
    let words = read_environment::<B, W>(core, bus, segment, at)?;
    let registers = read_registers(core, bus, segment, at.wrapping_add(header), 10)?;
    take(core, words, W::BYTES == 4);
    put_registers(&mut core.state.fpu, registers);
    Ok(())
}

fn write_register<B: Bus>(core: &mut Core, bus: &mut B, segment: u8, at: u64, register: Extended) -> Exec {
    core.store_at(bus, segment, at, register.significand)?;
    core.store_at(bus, segment, at.wrapping_add(8), register.sign_exponent)
}

/// ST(0) to ST(7), each `stride` bytes after the one before.
fn read_registers<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    segment: u8,
    at: u64,
    stride: u64,
) -> Result<[Extended; 8], Exception> {
    let mut registers = [Extended::default(); 8];
    for (index, register) in (0..).zip(&mut registers) {
        let offset = at.wrapping_add(stride * index);
        register.significand = core.load_at(bus, segment, offset)?;
        register.sign_exponent = core.load_at(bus, segment, offset.wrapping_add(8))?;
    }
    Ok(registers)
}

/// Puts ST(0) to ST(7) where TOP says; tags stay.
fn put_registers(fpu: &mut Fpu, registers: [Extended; 8]) {
    let top = fpu.top();
    for (index, register) in (0..).zip(registers) {
        fpu.registers[usize::from(top.wrapping_add(index) & 7)] = register;
    }
}

/// Bytes of the FXSAVE area that are written: the rest is the program's own.
const FXSAVE_LENGTH: u64 = 416;
/// Where ST(0) and XMM0 are in it (SDM vol. 1, table 10-2).
const FXSAVE_STACK: u64 = 32;
const FXSAVE_XMM: u64 = 160;

/// The memory operand of FXSAVE and FXRSTOR, which must be aligned.
fn fx_place<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, write: bool) -> Result<(u8, u64), Exception> {
    available(core)?;
    let (segment, at) = place(core, op);
    // Of the segment only what is touched first counts before the alignment, as silicon has it: FXSAVE's
    // control and status words, FXRSTOR's first byte.
    core.check_segment(segment, at, if write { 4 } else { 1 }, write)?;
    core.aligned(segment, at, 16)?;
    core.probe(bus, segment, at, 512, write)?;
    Ok((segment, at))
}

/// XMM8 to XMM15 are there in 64-bit mode only; XMM and MXCSR only when the system uses them.
fn xmm_registers(core: &Core) -> usize {
    match (core.state.cr4 & cr4::OSFXSR != 0, core.in_64_bit_mode()) {
        (false, _) => 0,
        (true, false) => 8,
        (true, true) => 16,
    }
}

/// The x87 part of an FXSAVE area: the tags are one bit for each register.
pub(in crate::exec) fn write_x87<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    segment: u8,
    at: u64,
    wide: bool,
) -> Exec {
    let fpu = core.state.fpu.clone();
    let mut put = |offset: u64, value: u64| core.store_at(bus, segment, at.wrapping_add(offset), value);
    let pointer = |pointer: Pointer| {
        if wide { pointer.offset } else { pointer.offset & 0xffff_ffff | u64::from(pointer.selector) << 32 }
    };
    let head = u64::from(fpu.control)
        | u64::from(fpu.status) << 16
        | u64::from(fpu.valid) << 32
        | u64::from(fpu.opcode & 0x7ff) << 48;
    put(0, head)?;
    put(8, pointer(fpu.instruction))?;
    put(16, pointer(fpu.data))?;
    for index in 0..8 {
        let register = fpu.st(index);
        let offset = FXSAVE_STACK + 16 * u64::from(index);
        put(offset, register.significand)?;
        put(offset + 8, register.sign_exponent.into())?;
    }
    Ok(())
}

/// MXCSR and its mask.
pub(in crate::exec) fn write_mxcsr<B: Bus>(core: &mut Core, bus: &mut B, segment: u8, at: u64) -> Exec {
    let value = u64::from(core.state.sse.mxcsr) | u64::from(MXCSR_MASK) << 32;
    core.store_at(bus, segment, at.wrapping_add(8 * MXCSR_AT as u64), value)
}

/// The first `count` XMM registers.
pub(in crate::exec) fn write_xmm<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    segment: u8,
    at: u64,
    count: usize,
) -> Exec {
    let registers = core.state.sse.registers;
    for (offset, half) in (FXSAVE_XMM..).step_by(8).zip(registers.as_flattened().iter().take(2 * count)) {
        core.store_at(bus, segment, at.wrapping_add(offset), *half)?;
    }
    Ok(())
}

/// An FXSAVE area, as far as it is not the program's own.
pub(in crate::exec) type Legacy = [u64; FXSAVE_LENGTH as usize / 8];
/// Which of its words MXCSR and its mask are.
pub(in crate::exec) const MXCSR_AT: usize = 3;

pub(in crate::exec) fn read_legacy<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    segment: u8,
    at: u64,
) -> Result<Legacy, Exception> {
    let mut words = [0_u64; FXSAVE_LENGTH as usize / 8];
    for (offset, word) in (0..).step_by(8).zip(&mut words) {
        *word = core.load_at(bus, segment, at.wrapping_add(offset))?;
    }
    Ok(words)
}

/// Takes x87's part.
pub(in crate::exec) fn take_x87(core: &mut Core, words: &Legacy, wide: bool) {
    let word = |offset: u64| words.get((offset / 8) as usize).copied().unwrap_or(0);
    let pointer = |value: u64| match wide {
        true => Pointer { selector: 0, offset: value },
        false => Pointer { selector: (value >> 32) as u16, offset: value & 0xffff_ffff },
    };
    let head = word(0);
    let fpu = &mut core.state.fpu;
    fpu.status = (head >> 16) as u16;
    fpu.valid = (head >> 32) as u8;
    fpu.opcode = (head >> 48) as u16 & 0x7ff;
    fpu.instruction = pointer(word(8));
    fpu.data = pointer(word(16));
    fpu.set_control(head as u16);
    let registers = std::array::from_fn(|index| {
        let offset = FXSAVE_STACK + 16 * index as u64;
        Extended { significand: word(offset), sign_exponent: word(offset + 8) as u16 }
    });
    put_registers(fpu, registers);
}

/// Takes MXCSR; reserved bits of it are #GP(0), and nothing is taken.
pub(in crate::exec) fn take_mxcsr(core: &mut Core, words: &Legacy) -> Exec {
    let mxcsr = words[MXCSR_AT] as u32;
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(Exception::general_protection(0));
    }
    core.state.sse.mxcsr = mxcsr;
    Ok(())
}

/// Takes the first `count` XMM registers.
pub(in crate::exec) fn take_xmm(core: &mut Core, words: &Legacy, count: usize) {
    let halves = words.iter().skip(FXSAVE_XMM as usize / 8);
    let registers = core.state.sse.registers.as_flattened_mut();
    for (register, half) in registers.iter_mut().take(2 * count).zip(halves) {
        *register = *half;
    }
}

fn fxsave<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (segment, at) = fx_place(core, bus, op, true)?;
    write_x87(core, bus, segment, at, WIDE)?;
    let count = xmm_registers(core);
    if count != 0 {
        write_mxcsr(core, bus, segment, at)?;
    }
    write_xmm(core, bus, segment, at, count)
}

/// FXRSTOR: reserved bits of MXCSR are #GP(0).
fn fxrstor<B: Bus, const WIDE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (segment, at) = fx_place(core, bus, op, false)?;
    let words = read_legacy(core, bus, segment, at)?;
    let count = xmm_registers(core);
    if count != 0 {
        take_mxcsr(core, &words)?;
    }
    take_x87(core, &words, WIDE);
    take_xmm(core, &words, count);
    Ok(())
}
