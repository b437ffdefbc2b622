//! CPUID, MSRs, counters, SYSENTER and SYSEXIT (Intel SDM vol. 2, and vol. 4).

use iced_x86::{Instruction, Mnemonic};

use crate::{
    Bus, Core, Exception, Exec, Handler, Op,
    flags::bit,
    state::{Segment, cr4, gpr, rights, segment},
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Cpuid => cpuid,
        Mnemonic::Rdtsc => rdtsc,
        Mnemonic::Rdpmc => rdpmc,
        Mnemonic::Rdmsr => rdmsr,
        Mnemonic::Wrmsr => wrmsr,
        Mnemonic::Sysenter => sysenter,
        Mnemonic::Sysexit => sysexit,
        _ => return None,
    })
}

/// Register numbers (vol. 4, tables 2-2 and 2-20).
mod msr {
    pub(super) const TSC: u32 = 0x10;
    pub(super) const APIC_BASE: u32 = 0x1b;
    pub(super) const FEATURE_CONTROL: u32 = 0x3a;
    pub(super) const BIOS_UPDATE_TRIGGER: u32 = 0x79;
    pub(super) const BIOS_SIGN_ID: u32 = 0x8b;
    pub(super) const MTRR_CAP: u32 = 0xfe;
    pub(super) const SYSENTER_CS: u32 = 0x174;
    pub(super) const SYSENTER_ESP: u32 = 0x175;
    pub(super) const SYSENTER_EIP: u32 = 0x176;
    pub(super) const MCG_CAP: u32 = 0x179;
    pub(super) const MCG_STATUS: u32 = 0x17a;
    pub(super) const MCG_CTL: u32 = 0x17b;
    pub(super) const MISC_ENABLE: u32 = 0x1a0;
    pub(super) const MTRR_PHYSBASE0: u32 = 0x200;
    pub(super) const MTRR_PHYSMASK7: u32 = 0x20f;
    pub(super) const PAT: u32 = 0x277;
    pub(super) const MTRR_DEF_TYPE: u32 = 0x2ff;
    pub(super) const MC0_CTL: u32 = 0x400;
    pub(super) const MC9_MISC: u32 = 0x427;
    pub(super) const EFER: u32 = 0xc000_0080;
    /// FIX64K_00000, FIX16K_80000, FIX16K_A0000, FIX4K_C0000 to F8000.
    pub(super) const MTRR_FIXED: [u32; 11] =
        [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
}

/// Eight variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 0x508;
/// Ten banks with a control register.
const MCG_CAP: u64 = 0x100 | 10;
const APIC_ENABLED: u64 = 1 << 11;
const APIC_BOOTSTRAP: u64 = 1 << 8;

fn set(core: &mut Core, index: u8, value: u32) {
    core.set_register(index, u64::from(value));
}

fn set_pair(core: &mut Core, value: u64) {
    set(core, gpr::RAX, value as u32);
    set(core, gpr::RDX, (value >> 32) as u32);
}

fn cpuid<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let function = core.register(gpr::RAX) as u32;
    let index = core.register(gpr::RCX) as u32;
    let enabled = core.state.msrs.apic_base & APIC_ENABLED != 0;
    let values = core.hypervisor.leaf(function);
    let values = values.unwrap_or_else(|| core.model.cpuid(function, index, core.index, enabled));
    let registers = [gpr::RAX, gpr::RBX, gpr::RCX, gpr::RDX];
    for (register, value) in registers.into_iter().zip(values) {
        set(core, register, value);
    }
    Ok(())
}

fn time<B: Bus>(core: &mut Core, bus: &mut B) -> u64 {
    core.device_touched();
    bus.time(core.cycle())
}

fn rdtsc<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    if core.state.cpl != 0 && core.state.cr4 & cr4::TSD != 0 {
        return Err(Exception::general_protection(0));
    }
    let value = time(core, bus).wrapping_add(core.state.tsc_offset);
    set_pair(core, value);
    Ok(())
}

/// Two counters, which nothing counts in.
fn rdpmc<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let allowed = core.state.cpl == 0 || core.state.cr4 & cr4::PCE != 0;
    if !allowed || core.register(gpr::RCX) & 0xffff_ffff > 1 {
        return Err(Exception::general_protection(0));
    }
    set_pair(core, 0);
    Ok(())
}

fn fixed_mtrr(register: u32) -> Option<usize> {
    msr::MTRR_FIXED.iter().position(|known| *known == register)
}

fn rdmsr<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let fault = Exception::general_protection(0);
    if core.state.cpl != 0 {
        return Err(fault);
    }
    let register = core.register(gpr::RCX) as u32;
    if register == msr::TSC {
        let value = time(core, bus).wrapping_add(core.state.tsc_offset);
        set_pair(core, value);
        return Ok(());
    }
    let msrs = &core.state.msrs;
    let value = match register {
        msr::APIC_BASE => msrs.apic_base,
        msr::FEATURE_CONTROL => msrs.feature_control,
        msr::BIOS_SIGN_ID => msrs.bios_sign_id,
        msr::MTRR_CAP => MTRR_CAP,
        msr::SYSENTER_CS => u64::from(msrs.sysenter_cs),
        msr::SYSENTER_ESP => u64::from(msrs.sysenter_esp),
        msr::SYSENTER_EIP => u64::from(msrs.sysenter_eip),
        msr::MCG_CAP => MCG_CAP,
        msr::MCG_STATUS => msrs.mcg_status,
        msr::MCG_CTL => msrs.mcg_ctl,
        msr::MISC_ENABLE => msrs.misc_enable,
        msr::PAT => msrs.pat,
        msr::MTRR_DEF_TYPE => msrs.mtrr_def_type,
        msr::EFER if core.model.efer != 0 => msrs.efer,
        msr::MTRR_PHYSBASE0..=msr::MTRR_PHYSMASK7 => {
            let (base, mask) = msrs.mtrr_variable[((register >> 1) & 7) as usize];
            if register & 1 == 0 { base } else { mask }
        }
        msr::MC0_CTL..=msr::MC9_MISC => {
            let at = (register - msr::MC0_CTL) as usize;
            msrs.machine_check[at >> 2][at & 3]
        }
        _ => match fixed_mtrr(register) {
            Some(index) => msrs.mtrr_fixed[index],
            None if core.model.unknown_msrs_ignored => 0,
            None => return Err(fault),
        },
    };
    set_pair(core, value);
    Ok(())
}

/// Memory types an MTRR or the PAT may name (vol. 3A, table 11-10).
fn memory_type(value: u64) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}

fn wrmsr<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    let fault = Exception::general_protection(0);
    if core.state.cpl != 0 {
        return Err(fault);
    }
    let register = core.register(gpr::RCX) as u32;
    let value = (core.register(gpr::RDX) << 32) | (core.register(gpr::RAX) & 0xffff_ffff);
    let beyond = u64::MAX << core.model.physical_bits;
    let check = |good: bool| if good { Ok(()) } else { Err(fault) };
    match register {
        msr::TSC => {
            let now = time(core, bus);
            core.state.tsc_offset = value.wrapping_sub(now);
            return Ok(());
        }
        msr::APIC_BASE => {
            check(value & (beyond | 0x6ff) == 0)?;
            let value = (value & !APIC_BOOTSTRAP) | (core.state.msrs.apic_base & APIC_BOOTSTRAP);
            core.state.msrs.apic_base = value;
            core.device_touched();
            bus.apic_base_written(core.cycle(), value);
            return Ok(());
        }
        _ => {}
    }
    let model = core.model;
    let msrs = &mut core.state.msrs;
    match register {
        msr::FEATURE_CONTROL => {
            // Bit 0 locks it.
            check(msrs.feature_control & 1 == 0)?;
            msrs.feature_control = value;
        }
        msr::BIOS_UPDATE_TRIGGER => {}
        msr::BIOS_SIGN_ID => msrs.bios_sign_id = value,
        msr::SYSENTER_CS => msrs.sysenter_cs = value as u32,
        msr::SYSENTER_ESP => msrs.sysenter_esp = value as u32,
        msr::SYSENTER_EIP => msrs.sysenter_eip = value as u32,
        msr::MCG_STATUS => msrs.mcg_status = value,
        msr::MCG_CTL => msrs.mcg_ctl = value,
        msr::MISC_ENABLE => msrs.misc_enable = value,
        msr::PAT => {
            let types = value.to_le_bytes();
            check(types.iter().all(|kind| *kind == 7 || memory_type(u64::from(*kind))))?;
            msrs.pat = value;
        }
        msr::MTRR_DEF_TYPE => {
            check(value & !0xcff == 0 && memory_type(value & 0xff))?;
            msrs.mtrr_def_type = value;
        }
        msr::EFER if model.efer != 0 => {
            check(value & !model.efer == 0)?;
            msrs.efer = value;
            core.flush_tlb();
        }
        msr::MTRR_PHYSBASE0..=msr::MTRR_PHYSMASK7 => {
            let pair = &mut msrs.mtrr_variable[((register >> 1) & 7) as usize];
            if register & 1 == 0 {
                check(value & (beyond | 0xf00) == 0 && memory_type(value & 0xff))?;
                pair.0 = value;
            } else {
                check(value & (beyond | 0x7ff) == 0)?;
                pair.1 = value;
            }
        }
        msr::MC0_CTL..=msr::MC9_MISC => {
            let at = (register - msr::MC0_CTL) as usize;
            msrs.machine_check[at >> 2][at & 3] = value;
        }
        _ => match fixed_mtrr(register) {
            Some(index) => {
                check(value.to_le_bytes().iter().all(|kind| memory_type(u64::from(*kind))))?;
                msrs.mtrr_fixed[index] = value;
            }
            None => check(model.unknown_msrs_ignored && register != msr::MTRR_CAP)?,
        },
    }
    Ok(())
}

/// A flat 4 GiB segment as SYSENTER and SYSEXIT make them.
fn flat(selector: u16, kind: u16, dpl: u8) -> Segment {
    let rights = kind
        | rights::NOT_SYSTEM
        | rights::PRESENT
        | rights::BIG
        | rights::GRANULARITY
        | (u16::from(dpl) << rights::DPL_SHIFT);
    Segment { selector, base: 0, limit: u32::MAX, rights }
}

const CODE: u16 = rights::CODE | rights::WRITABLE | rights::ACCESSED;
const DATA: u16 = rights::WRITABLE | rights::ACCESSED;

fn fast_transfer(core: &mut Core, selector: u16, stack: u16, cpl: u8, rip: u64, rsp: u64) {
    let ring = u16::from(cpl);
    core.set_cpl(cpl);
    core.set_segment(segment::CS, flat((selector & !3) | ring, CODE, cpl));
    core.set_segment(segment::SS, flat((stack & !3) | ring, DATA, cpl));
    core.state.rip = rip;
    core.set_register(gpr::RSP, rsp);
    core.refresh();
    core.end_block();
}

fn sysenter<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let selector = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || selector & !3 == 0 {
        return Err(Exception::general_protection(0));
    }
    let flags = core.state.flags.bits() & !(bit::VM | bit::IF | bit::RF);
    core.set_flags(flags);
    let (rip, rsp) = (core.state.msrs.sysenter_eip, core.state.msrs.sysenter_esp);
    let stack = (selector & !3).wrapping_add(8);
    fast_transfer(core, selector, stack, 0, u64::from(rip), u64::from(rsp));
    Ok(())
}

fn sysexit<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    let selector = core.state.msrs.sysenter_cs as u16;
    if !core.state.protected() || selector & !3 == 0 || core.state.cpl != 0 {
        return Err(Exception::general_protection(0));
    }
    let rip = core.register(gpr::RDX) & 0xffff_ffff;
    let rsp = core.register(gpr::RCX) & 0xffff_ffff;
    let base = selector & !3;
    fast_transfer(core, base.wrapping_add(16), base.wrapping_add(24), 3, rip, rsp);
    Ok(())
}
