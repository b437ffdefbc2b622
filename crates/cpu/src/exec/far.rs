//! Far transfers: JMP, CALL, RET, IRET (Intel SDM vol. 2, and vol. 3A, 5.8 and 20.2).

use iced_x86::Instruction;

use crate::{
    Bus, Core, Exception, Exec, Handler, Op, Operand,
    access::{Privilege, attention},
    descriptor::{Descriptor, error, kind, null, rpl},
    flags::bit,
    state::{Segment, cr4, gpr, segment},
    task::Cause,
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    use iced_x86::Code::*;
    Some(match instruction.code() {
        Jmp_ptr1616 | Jmp_ptr1632 | Jmp_m1616 | Jmp_m1632 | Jmp_m1664 => jump,
        Call_ptr1616 | Call_ptr1632 | Call_m1616 | Call_m1632 | Call_m1664 => call,
        Retfw | Retfd | Retfq | Retfw_imm16 | Retfd_imm16 | Retfq_imm16 => return_far,
        Iretw | Iretd | Iretq => return_interrupt,
        _ => return None,
    })
}

/// The target: immediate, or offset then selector in memory.
fn target<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Result<(u16, u64), Exception> {
    if op.dst != Operand::MEMORY {
        return Ok(((op.immediate >> 32) as u16, op.immediate & 0xffff_ffff));
    }
    let at = core.effective_address(op);
    let index = op.memory.segment;
    let offset = match op.operand_size {
        2 => u64::from(core.load_at::<u16, B>(bus, index, at)?),
        4 => u64::from(core.load_at::<u32, B>(bus, index, at)?),
        _ => core.load_at::<u64, B>(bus, index, at)?,
    };
    let selector = core.load_at::<u16, B>(bus, index, at.wrapping_add(u64::from(op.operand_size)))?;
    Ok((selector, offset))
}

/// What a far JMP or CALL found under its selector.
enum Found {
    Code(Descriptor),
    CallGate(Descriptor),
    TaskGate(Descriptor),
    Tss(Descriptor),
}

/// Looks `selector` up and checks the privilege of gates and TSSs.
fn find<B: Bus>(core: &mut Core, bus: &mut B, selector: u16) -> Result<Found, Exception> {
    if null(selector) {
        return Err(Exception::general_protection(0));
    }
    let fault = Exception::general_protection(error(selector));
    let descriptor = core.descriptor(bus, selector)?.ok_or(fault)?;
    let Some(kind) = descriptor.system() else {
        return Ok(Found::Code(descriptor));
    };
    let found = match kind {
        kind::CALL_GATE_32 if core.state.long_mode() => {
            Found::CallGate(core.whole(bus, selector, descriptor)?.ok_or(fault)?)
        }
        _ if core.state.long_mode() => return Err(fault),
        kind::CALL_GATE_16 | kind::CALL_GATE_32 => Found::CallGate(descriptor),
        kind::TASK_GATE => Found::TaskGate(descriptor),
        kind::TSS_16 | kind::TSS_32 => Found::Tss(descriptor),
        _ => return Err(fault),
    };
    if descriptor.dpl() < core.state.cpl.max(rpl(selector)) {
        return Err(fault);
    }
    if !descriptor.present() {
        return Err(Exception::not_present(error(selector)));
    }
    Ok(found)
}

/// A code segment reached without a gate: the segment to load, CPL unchanged.
fn direct<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    selector: u16,
    mut descriptor: Descriptor,
    offset: u64,
) -> Result<Segment, Exception> {
    let fault = Exception::general_protection(error(selector));
    let code = descriptor.segment(selector);
    let cpl = core.state.cpl;
    let allowed =
        if code.conforming() { code.dpl() <= cpl } else { rpl(selector) <= cpl && code.dpl() == cpl };
    if !code.code() || !allowed || !core.runnable(&code) {
        return Err(fault);
    }
    if !code.present() {
        return Err(Exception::not_present(error(selector)));
    }
    if !core.offset_in(&code, offset) {
        return Err(Exception::general_protection(0));
    }
    core.mark_accessed(bus, &mut descriptor)?;
    let selector = (selector & !3) | u16::from(cpl);
    Ok(descriptor.segment(selector))
}

/// The code segment a call gate leads to, checked but for the level change.
fn gate_target<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    gate: &Descriptor,
) -> Result<(u16, Descriptor, Segment), Exception> {
    if core.state.long_mode() {
        return core.gate_code(bus, gate, 0);
    }
    let selector = gate.gate_selector();
    if null(selector) {
        return Err(Exception::general_protection(0));
    }
    let fault = Exception::general_protection(error(selector));
    let descriptor = core.descriptor(bus, selector)?.ok_or(fault)?;
    let code = descriptor.segment(selector);
    if !code.code() || code.dpl() > core.state.cpl {
        return Err(fault);
    }
    if !code.present() {
        return Err(Exception::not_present(error(selector)));
    }
    Ok((selector, descriptor, code))
}

fn jump<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (selector, offset) = target(core, bus, op)?;
    core.end_block();
    if core.state.eight_thousand() {
        if offset > u64::from(core.state.cs().limit) {
            return Err(Exception::general_protection(0));
        }
        core.load_segment_8086(segment::CS, selector);
        core.state.rip = offset;
        return Ok(());
    }
    match find(core, bus, selector)? {
        Found::Code(descriptor) => {
            let code = direct(core, bus, selector, descriptor, offset)?;
            core.set_segment(segment::CS, code);
            core.state.rip = offset;
            Ok(())
        }
        Found::CallGate(gate) => {
            let (selector, mut descriptor, code) = gate_target(core, bus, &gate)?;
            if !code.conforming() && code.dpl() != core.state.cpl {
                return Err(Exception::general_protection(error(selector)));
            }
            let offset = gate.gate_offset();
            if !core.offset_in(&code, offset) {
                return Err(Exception::general_protection(0));
            }
            core.mark_accessed(bus, &mut descriptor)?;
            let selector = (selector & !3) | u16::from(core.state.cpl);
            core.set_segment(segment::CS, descriptor.segment(selector));
            core.state.rip = offset;
            Ok(())
        }
        Found::TaskGate(gate) => core.switch_by_gate(bus, gate.gate_selector(), Cause::Jump),
        Found::Tss(descriptor) => task(core, bus, selector, &descriptor, Cause::Jump),
    }
}

/// A TSS named directly must be in the GDT.
fn task<B: Bus>(core: &mut Core, bus: &mut B, selector: u16, descriptor: &Descriptor, cause: Cause) -> Exec {
    if selector & 4 != 0 {
        return Err(Exception::general_protection(error(selector)));
    }
    core.switch_task(bus, selector, descriptor, cause)
}

/// CS and the return offset on the current stack, all or nothing.
fn push_return<B: Bus>(core: &mut Core, bus: &mut B, size: u8) -> Result<u64, Exception> {
    let values = [u64::from(core.state.cs().selector), core.state.rip];
    let stack = *core.state.ss();
    let sp = core.register(gpr::RSP);
    let privilege = core.privilege();
    core.push_frame(bus, &stack, sp, &values, size, privilege, Exception::stack(0))
}

fn call<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let (selector, offset) = target(core, bus, op)?;
    core.end_block();
    if core.state.eight_thousand() {
        if offset > u64::from(core.state.cs().limit) {
            return Err(Exception::general_protection(0));
        }
        let sp = push_return(core, bus, op.operand_size)?;
        core.set_sp(sp);
        core.load_segment_8086(segment::CS, selector);
        core.state.rip = offset;
        return Ok(());
    }
    match find(core, bus, selector)? {
        Found::Code(descriptor) => {
            let code = direct(core, bus, selector, descriptor, offset)?;
            let sp = push_return(core, bus, op.operand_size)?;
            core.set_sp(sp);
            core.set_segment(segment::CS, code);
            core.state.rip = offset;
            Ok(())
        }
        Found::CallGate(gate) if core.state.long_mode() => core.call_gate_long(bus, &gate),
        Found::CallGate(gate) => call_gate(core, bus, &gate),
        Found::TaskGate(gate) => core.switch_by_gate(bus, gate.gate_selector(), Cause::Call),
        Found::Tss(descriptor) => task(core, bus, selector, &descriptor, Cause::Call),
    }
}

fn call_gate<B: Bus>(core: &mut Core, bus: &mut B, gate: &Descriptor) -> Exec {
    let (selector, mut descriptor, code) = gate_target(core, bus, gate)?;
    let size = if gate.kind() & 8 != 0 { 4 } else { 2 };
    let offset = gate.gate_offset();
    let out_of_limit = offset > u64::from(code.limit);
    let level = code.dpl();
    if code.conforming() || level == core.state.cpl {
        if out_of_limit {
            return Err(Exception::general_protection(0));
        }
        core.mark_accessed(bus, &mut descriptor)?;
        let sp = push_return(core, bus, size)?;
        core.set_sp(sp);
        let selector = (selector & !3) | u16::from(core.state.cpl);
        core.set_segment(segment::CS, descriptor.segment(selector));
        core.state.rip = offset;
        return Ok(());
    }

    let (stack, new_sp) = core.inner_stack(bus, level, 0)?;
    if out_of_limit {
        return Err(Exception::general_protection(0));
    }
    let mut frame = [0; 35];
    let parameters = gate.parameters();
    let old_sp = core.register(gpr::RSP);
    frame[0] = u64::from(core.state.ss().selector);
    frame[1] = old_sp;
    for index in 0..parameters {
        // The last parameter lies highest and is pushed first.
        let at = (parameters - 1 - index) as u64 * u64::from(size);
        frame[2 + index] = slot_at(core, bus, size, at)?;
    }
    frame[2 + parameters] = u64::from(core.state.cs().selector);
    frame[3 + parameters] = core.state.rip;
    core.mark_accessed(bus, &mut descriptor)?;
    let fault = Exception::stack(error(stack.selector));
    let values = &frame[..4 + parameters];
    let sp = core.push_frame(bus, &stack, new_sp, values, size, Privilege::Supervisor, fault)?;
    core.set_cpl(level);
    core.set_segment(segment::SS, stack);
    core.set_sp(sp);
    let selector = (selector & !3) | u16::from(level);
    core.set_segment(segment::CS, descriptor.segment(selector));
    core.state.rip = offset;
    Ok(())
}

/// Reads the stack `slot` operands above SP.
fn slot<B: Bus>(core: &mut Core, bus: &mut B, size: u8, slot: u64) -> Result<u64, Exception> {
    slot_at(core, bus, size, slot * u64::from(size))
}

fn slot_at<B: Bus>(core: &mut Core, bus: &mut B, size: u8, at: u64) -> Result<u64, Exception> {
    Ok(match size {
        2 => u64::from(core.peek::<u16, B>(bus, at)?),
        4 => u64::from(core.peek::<u32, B>(bus, at)?),
        _ => core.peek::<u64, B>(bus, at)?,
    })
}

/// The code segment a RET or IRET goes back to, at privilege RPL.
fn return_code<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    selector: u16,
    offset: u64,
) -> Result<Descriptor, Exception> {
    if null(selector) {
        return Err(Exception::general_protection(0));
    }
    let fault = Exception::general_protection(error(selector));
    let descriptor = core.descriptor(bus, selector)?.ok_or(fault)?;
    let code = descriptor.segment(selector);
    let level = rpl(selector);
    let allowed = if code.conforming() { code.dpl() <= level } else { code.dpl() == level };
    if !code.code() || level < core.state.cpl || !allowed || !core.runnable(&code) {
        return Err(fault);
    }
    if !code.present() {
        return Err(Exception::not_present(error(selector)));
    }
    if !core.offset_in(&code, offset) {
        return Err(Exception::general_protection(0));
    }
    Ok(descriptor)
}

/// The stack segment a RET or IRET goes back to at privilege level `level`: null is good below level 3
/// when the code there is 64-bit.
fn return_stack<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    selector: u16,
    code: Segment,
    level: u8,
) -> Result<Segment, Exception> {
    if null(selector) && core.state.long_mode() && code.long() && level < 3 && rpl(selector) == level {
        return Ok(Core::null_stack(selector, level));
    }
    core.stack_segment(bus, selector, level, Exception::general_protection, 0)
}

fn return_far<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let size = op.operand_size;
    let extra = if op.dst == Operand::IMMEDIATE { op.immediate & 0xffff } else { 0 };
    let offset = slot(core, bus, size, 0)?;
    let selector = slot(core, bus, size, 1)? as u16;
    let popped = 2 * u64::from(size) + extra;
    core.end_block();
    if core.state.eight_thousand() {
        if offset > u64::from(core.state.cs().limit) {
            return Err(Exception::general_protection(0));
        }
        core.adjust_sp(popped as i64);
        core.load_segment_8086(segment::CS, selector);
        core.state.rip = offset;
        return Ok(());
    }
    let mut descriptor = return_code(core, bus, selector, offset)?;
    let level = rpl(selector);
    if level == core.state.cpl {
        core.mark_accessed(bus, &mut descriptor)?;
        core.adjust_sp(popped as i64);
        core.set_segment(segment::CS, descriptor.segment(selector));
        core.state.rip = offset;
        return Ok(());
    }
    let sp = slot_at(core, bus, size, popped)?;
    let stack = slot_at(core, bus, size, popped + u64::from(size))? as u16;
    let stack = return_stack(core, bus, stack, descriptor.segment(selector), level)?;
    core.mark_accessed(bus, &mut descriptor)?;
    core.set_cpl(level);
    core.set_segment(segment::SS, stack);
    core.set_sp(sp);
    core.adjust_sp(extra as i64);
    core.set_segment(segment::CS, descriptor.segment(selector));
    core.state.rip = offset;
    core.drop_inner_segments();
    Ok(())
}

/// What IRET always loads; a 16-bit one stops at NT.
const IMAGE: u32 = bit::ARITHMETIC | bit::TF | bit::DF | bit::NT | bit::RF | bit::AC | bit::ID;

fn low_half(mask: u32, size: u8) -> u32 {
    if size == 2 { mask & 0xffff } else { mask }
}

fn load_flags(core: &mut Core, image: u32, mask: u32) {
    let kept = core.state.flags.bits() & !mask;
    core.set_flags(kept | (image & mask));
}

fn return_interrupt<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let size = op.operand_size;
    if core.state.protected() && !core.state.v8086() && core.state.flags.nested_task() {
        if core.state.long_mode() {
            return Err(Exception::general_protection(0));
        }
        core.return_to_task(bus)?;
        core.state.nmi_blocked = false;
        return Ok(());
    }
    if core.state.v8086() && core.state.flags.iopl() < 3 {
        return return_virtual(core, bus, size);
    }
    let offset = slot(core, bus, size, 0)?;
    let selector = slot(core, bus, size, 1)? as u16;
    let image = slot(core, bus, size, 2)? as u32;
    let cpl = core.state.cpl;
    let mut mask = IMAGE;

    if core.state.eight_thousand() {
        if offset > u64::from(core.state.cs().limit) {
            return Err(Exception::general_protection(0));
        }
        mask |= bit::IF;
        if !core.state.v8086() {
            mask |= bit::IOPL;
        }
        finish(core);
        core.adjust_sp(3 * i64::from(size));
        core.load_segment_8086(segment::CS, selector);
        core.state.rip = offset;
        load_flags(core, image, low_half(mask, size));
        return Ok(());
    }
    if size == 4 && image & bit::VM != 0 && cpl == 0 && !core.state.long_mode() {
        return return_to_v8086(core, bus, offset, selector, image);
    }
    if cpl <= core.state.flags.iopl() {
        mask |= bit::IF;
    }
    if cpl == 0 {
        mask |= bit::IOPL | bit::VIF | bit::VIP;
    }
    let mut descriptor = return_code(core, bus, selector, offset)?;
    let level = rpl(selector);
    if level == cpl && !core.in_64_bit_mode() {
        core.mark_accessed(bus, &mut descriptor)?;
        core.adjust_sp(3 * i64::from(size));
    } else {
        // 64-bit mode pops the stack even when the level stays.
        let sp = slot(core, bus, size, 3)?;
        let stack = slot(core, bus, size, 4)? as u16;
        let stack = return_stack(core, bus, stack, descriptor.segment(selector), level)?;
        core.mark_accessed(bus, &mut descriptor)?;
        core.set_cpl(level);
        core.set_segment(segment::SS, stack);
        core.set_sp(sp);
    }
    finish(core);
    core.set_segment(segment::CS, descriptor.segment(selector));
    core.state.rip = offset;
    load_flags(core, image, low_half(mask, size));
    if level != cpl {
        core.drop_inner_segments();
    }
    Ok(())
}

/// What every IRET ends with: NMIs are open again, RF stays as loaded.
fn finish(core: &mut Core) {
    core.state.nmi_blocked = false;
    core.attention |= attention::KEEP_RESUME | attention::END_BLOCK;
}

/// IRET in v8086 mode with IOPL below 3: only with the virtual-8086 extensions, 16-bit (20.3.3).
fn return_virtual<B: Bus>(core: &mut Core, bus: &mut B, size: u8) -> Exec {
    if core.state.cr4 & cr4::VME == 0 || size != 2 {
        return Err(Exception::general_protection(0));
    }
    let offset = slot(core, bus, size, 0)?;
    let selector = slot(core, bus, size, 1)? as u16;
    let image = slot(core, bus, size, 2)? as u32;
    let pending = core.state.flags.virtual_interrupt_pending();
    if image & bit::TF != 0 || (image & bit::IF != 0 && pending) {
        return Err(Exception::general_protection(0));
    }
    if offset > u64::from(core.state.cs().limit) {
        return Err(Exception::general_protection(0));
    }
    finish(core);
    core.adjust_sp(3 * i64::from(size));
    core.load_segment_8086(segment::CS, selector);
    core.state.rip = offset;
    let virtual_flag = if image & bit::IF != 0 { bit::VIF } else { 0 };
    let mask = (IMAGE & 0xffff) | bit::VIF;
    load_flags(core, (image & 0xffff) | virtual_flag, mask);
    Ok(())
}

/// IRETD from ring 0 with VM in the image (20.2.2).
fn return_to_v8086<B: Bus>(core: &mut Core, bus: &mut B, offset: u64, selector: u16, image: u32) -> Exec {
    let sp = slot(core, bus, 4, 3)?;
    // SS, ES, DS, FS, GS.
    let mut selectors = [0; 5];
    for (index, selector) in (4..).zip(&mut selectors) {
        *selector = slot(core, bus, 4, index)? as u16;
    }
    if offset > 0xffff {
        return Err(Exception::general_protection(0));
    }
    finish(core);
    core.state.cpl = 3;
    let mask = IMAGE | bit::IF | bit::IOPL | bit::VM | bit::VIF | bit::VIP;
    load_flags(core, image, mask);
    core.load_segment_8086(segment::CS, selector);
    let names = [segment::SS, segment::ES, segment::DS, segment::FS, segment::GS];
    for (index, selector) in names.into_iter().zip(selectors) {
        core.load_segment_8086(index, selector);
    }
    core.set_register(gpr::RSP, sp);
    core.state.rip = offset;
    core.refresh();
    Ok(())
}
