//! SYSENTER, SYSEXIT, SYSCALL, SYSRET, SWAPGS, and the bases of FS and GS (Intel SDM vol. 2; AMD64 APM
//! vol. 3).

use iced_x86::{Code, Instruction};

use super::operands::{read_register, write_register};
use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    flags::bit,
    state::{Segment, cr4, efer, gpr, rights, segment},
    width::Width,
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.code() {
        Code::Sysenter => sysenter,
        Code::Sysexitd => sysexit::<B, false>,
        Code::Sysexitq => sysexit::<B, true>,
        Code::Syscall => syscall,
        Code::Sysretd => sysret::<B, false>,
        Code::Sysretq => sysret::<B, true>,
        Code::Swapgs => swapgs,
        Code::Rdfsbase_r32 => read_base::<B, u32, { segment::FS }>,
        Code::Rdfsbase_r64 => read_base::<B, u64, { segment::FS }>,
        Code::Rdgsbase_r32 => read_base::<B, u32, { segment::GS }>,
        Code::Rdgsbase_r64 => read_base::<B, u64, { segment::GS }>,
        Code::Wrfsbase_r32 => write_base::<B, u32, { segment::FS }>,
        Code::Wrfsbase_r64 => write_base::<B, u64, { segment::FS }>,
        Code::Wrgsbase_r32 => write_base::<B, u32, { segment::GS }>,
        Code::Wrgsbase_r64 => write_base::<B, u64, { segment::GS }>,
        _ => return None,
    })
}

const CODE: u16 = rights::CODE | rights::WRITABLE | rights::ACCESSED;
const DATA: u16 = rights::WRITABLE | rights::ACCESSED;

/// A flat 4 GiB segment as these instructions make them.
fn flat(selector: u16, kind: u16, dpl: u8) -> Segment {
    let rights = kind
        | rights::NOT_SYSTEM
        | rights::PRESENT
        | rights::GRANULARITY
        | (u16::from(dpl) << rights::DPL_SHIFT);
    Segment { selector: (selector & !3) | u16::from(dpl), base: 0, limit: u32::MAX, rights }
}

/// Goes to flat code at `cpl`, 64-bit or 32-bit.
fn transfer(core: &mut Core, code: u16, stack: u16, cpl: u8, long: bool, rip: u64) {
    core.set_cpl(cpl);
    let size = if long { rights::LONG } else { rights::BIG };
    core.set_segment(segment::CS, flat(code, CODE | size, cpl));
    core.set_segment(segment::SS, flat(stack, DATA | rights::BIG, cpl));
    core.state.rip = rip;
    core.refresh();
    core.end_block();
}

/// AMD's processors have SYSENTER and SYSEXIT in legacy mode only.
fn legacy_only(core: &Core) -> Exec {
    if core.state.long_mode() && core.model.amd() { Err(Exception::INVALID_OPCODE) } else { Ok(()) }
}

fn sysenter<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    legacy_only(core)?;
    let selector = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || selector & !3 == 0 {
        return Err(Exception::general_protection(0));
    }
    let flags = core.state.flags.bits() & !(bit::VM | bit::IF | bit::RF);
    core.set_flags(flags);
    let long = core.state.long_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    let (rip, rsp) = (core.state.msrs.sysenter_eip & mask, core.state.msrs.sysenter_esp & mask);
    let stack = (selector & !3).wrapping_add(8);
    transfer(core, selector, stack, 0, long, rip);
    core.set_register(gpr::RSP, rsp);
    Ok(())
}

fn sysexit<B: Bus, const LONG: bool>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    if core.state.cpl != 0 {
        // AMD's processors look at this before they look at the mode.
        return Err(Exception::general_protection(0));
    }
    legacy_only(core)?;
    let selector = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || selector & !3 == 0 {
        return Err(Exception::general_protection(0));
    }
    let mask = if LONG { u64::MAX } else { 0xffff_ffff };
    let rip = core.register(gpr::RDX) & mask;
    let rsp = core.register(gpr::RCX) & mask;
    if LONG && !(core.state.canonical(rip) && core.state.canonical(rsp)) {
        return Err(Exception::general_protection(0));
    }
    let code = (selector & !3).wrapping_add(if LONG { 32 } else { 16 });
    transfer(core, code, code.wrapping_add(8), 3, LONG, rip);
    core.set_register(gpr::RSP, rsp);
    Ok(())
}

/// IA32_EFER.SCE, protected mode and, on Intel's processors, long mode (64-bit mode for SYSCALL), or #UD.
fn system_calls_enabled(core: &Core, intel_needs: bool) -> Exec {
    let state = &core.state;
    let on = state.msrs.efer & efer::SCE != 0 && state.protected() && (core.model.amd() || intel_needs);
    if on { Ok(()) } else { Err(Exception::INVALID_OPCODE) }
}

fn syscall<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    system_calls_enabled(core, core.in_64_bit_mode())?;
    let star = core.state.msrs.long.star;
    let selector = (star >> 32) as u16;
    let long = core.state.long_mode();
    let rip = core.state.rip;
    let target;
    let cleared;
    if long {
        let msrs = &core.state.msrs.long;
        target = if core.in_64_bit_mode() { msrs.lstar } else { msrs.cstar };
        cleared = msrs.fmask as u32 | bit::RF;
        let flags = core.state.flags.bits() & !bit::RF;
        core.set_register(11, flags.into());
    } else {
        target = star & 0xffff_ffff;
        cleared = bit::VM | bit::IF | bit::RF;
    }
    core.set_register(gpr::RCX, rip);
    core.set_flags(core.state.flags.bits() & !cleared);
    transfer(core, selector, (selector & !3).wrapping_add(8), 0, long, target);
    Ok(())
}

/// Flags SYSRET takes from R11: all but RF and VM.
const RETURNED: u32 = bit::ALL & !(bit::RF | bit::VM);

fn sysret<B: Bus, const LONG: bool>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    system_calls_enabled(core, core.in_64_bit_mode())?;
    let fault = Exception::general_protection(0);
    if core.state.cpl != 0 {
        return Err(fault);
    }
    let mask = if LONG { u64::MAX } else { 0xffff_ffff };
    let rip = core.register(gpr::RCX) & mask;
    if LONG && !core.model.amd() && !core.state.canonical(rip) {
        return Err(fault);
    }
    let selector = (core.state.msrs.long.star >> 48) as u16;
    let flags = if core.state.long_mode() {
        core.register(11) as u32 & RETURNED
    } else {
        core.state.flags.bits() | bit::IF
    };
    core.set_flags(flags);
    let code = if LONG { selector.wrapping_add(16) } else { selector };
    transfer(core, code, selector.wrapping_add(8), 3, LONG, rip);
    Ok(())
}

fn swapgs<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    if core.state.cpl != 0 {
        return Err(Exception::general_protection(0));
    }
    let base = core.state.segments[usize::from(segment::GS)].base;
    let other = std::mem::replace(&mut core.state.msrs.long.kernel_gs_base, base);
    core.set_base(segment::GS, other);
    Ok(())
}

fn bases_enabled(core: &Core) -> Exec {
    if core.state.cr4 & cr4::FSGSBASE != 0 { Ok(()) } else { Err(Exception::INVALID_OPCODE) }
}

fn read_base<B: Bus, W: Width, const SEGMENT: u8>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    bases_enabled(core)?;
    let base = core.state.segments[usize::from(SEGMENT)].base;
    write_register(core, op.dst, W::from_u64(base));
    Ok(())
}

fn write_base<B: Bus, W: Width, const SEGMENT: u8>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    bases_enabled(core)?;
    let base = read_register::<W>(core, op.dst).to_u64();
    if !core.state.canonical(base) {
        return Err(Exception::general_protection(0));
    }
    core.set_base(SEGMENT, base);
    Ok(())
}
