//! CPUID, MSRs and counters (Intel SDM vol. 2, and vol. 4).

use iced_x86::{Instruction, Mnemonic};

use crate::{
    Bus, Core, Exception, Exec, Handler, Hypervisor, Op,
    features::Feature,
    state::{cr4, gpr, segment},
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Cpuid => cpuid,
        Mnemonic::Rdtsc => rdtsc,
        Mnemonic::Rdpmc => rdpmc,
        Mnemonic::Rdmsr => rdmsr,
        Mnemonic::Wrmsr => wrmsr,
        Mnemonic::Rdtscp => rdtscp,
        Mnemonic::Rdpid => rdpid,
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
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const FMASK: u32 = 0xc000_0084;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(super) const TSC_AUX: u32 = 0xc000_0103;
    /// FIX64K_00000, FIX16K_80000, FIX16K_A0000, FIX4K_C0000 to F8000.
    pub(super) const MTRR_FIXED: [u32; 11] =
        [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
}

/// Eight variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 0x508;
/// Ten banks with a control register.
const MCG_CAP: u64 = 0x100 | 10;
const APIC_ENABLED: u64 = 1 << 11;
const APIC_EXTENDED: u64 = 1 << 10;
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
    let hypervisor = core.hypervisor.leaf(function);
    let mut values = hypervisor.unwrap_or_else(|| core.model.cpuid(function, index, core.index, enabled));
    if hypervisor.is_none() {
        core.model.in_package(function, index, core.cores, &mut values);
    }
    // OSXSAVE, OSPKE and the length of the XSAVE area show what the system has switched on.
    if hypervisor.is_none()
        && let Some(length) = core.model.enabled_area(function, index, core.state.avx.xcr0)
    {
        values[1] = length;
    }
    if function == 1 && core.hypervisor != Hypervisor::None {
        values[2] |= 1 << 31;
    }
    if function == 1 && core.state.cr4 & cr4::OSXSAVE != 0 {
        values[2] |= 1 << 27;
    }
    if function == 7 && index == 0 && core.state.cr4 & cr4::PKE != 0 {
        values[2] |= 1 << 4;
    }
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

fn rdtscp<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    rdtsc(core, bus, op)?;
    let auxiliary = core.state.msrs.long.tsc_aux;
    set(core, gpr::RCX, auxiliary);
    Ok(())
}

fn rdpid<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let auxiliary = core.state.msrs.long.tsc_aux;
    set(core, op.dst.number, auxiliary);
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
    if let Some(number) = x2apic_register(core, register) {
        core.device_touched();
        let value = bus.apic_register(core.cycle(), number).ok_or(fault)?;
        set_pair(core, value);
        return Ok(());
    }
    let msrs = &core.state.msrs;
    let value = match register {
        msr::APIC_BASE => msrs.apic_base,
        msr::FEATURE_CONTROL => msrs.feature_control,
        msr::BIOS_SIGN_ID if core.microcode != 0 => core.microcode,
        msr::BIOS_SIGN_ID => msrs.bios_sign_id,
        msr::MTRR_CAP => MTRR_CAP,
        msr::SYSENTER_CS => u64::from(msrs.sysenter_cs),
        msr::SYSENTER_ESP => msrs.sysenter_esp,
        msr::SYSENTER_EIP => msrs.sysenter_eip,
        msr::MCG_CAP => MCG_CAP,
        msr::MCG_STATUS => msrs.mcg_status,
        msr::MCG_CTL => msrs.mcg_ctl,
        msr::MISC_ENABLE => msrs.misc_enable,
        msr::PAT => msrs.pat,
        msr::MTRR_DEF_TYPE => msrs.mtrr_def_type,
        msr::EFER if core.model.efer() != 0 => msrs.efer,
        _ if let Some(value) = long_msr(core, register) => value,
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
            None if core.unknown_msrs_ignored => 0,
            None => return Err(fault),
        },
    };
    set_pair(core, value);
    Ok(())
}

/// The number of the local APIC's register that `register` is, in x2APIC mode (vol. 3A, 10.12.1.2).
fn x2apic_register(core: &Core, register: u32) -> Option<u8> {
    let extended = core.state.msrs.apic_base & APIC_EXTENDED != 0;
    (extended && (0x800..0x900).contains(&register)).then_some(register as u8)
}

/// Whether the local APIC can go from one mode to another: off, in memory, x2APIC (vol. 3A, 10.12.5).
fn apic_mode_follows(old: u64, new: u64) -> bool {
    let mode = |base: u64| (base & APIC_ENABLED != 0, base & APIC_EXTENDED != 0);
    let missing = matches!(
        (mode(old), mode(new)),
        (_, (false, true)) | ((true, true), (true, false)) | ((false, _), (true, true))
    );
    !missing
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
            let reserved = if core.model.features.has(Feature::X2apic) { 0x2ff } else { 0x6ff };
            check(value & (beyond | reserved) == 0)?;
            check(apic_mode_follows(core.state.msrs.apic_base, value))?;
            let value = (value & !APIC_BOOTSTRAP) | (core.state.msrs.apic_base & APIC_BOOTSTRAP);
            core.state.msrs.apic_base = value;
            core.device_touched();
            bus.apic_base_written(core.cycle(), value);
            return Ok(());
        }
        msr::EFER if core.model.efer() != 0 => return core.set_efer(value),
        _ => {}
    }
    if let Some(number) = x2apic_register(core, register) {
        core.device_touched();
        return check(bus.set_apic_register(core.cycle(), number, value));
    }
    if long_msr(core, register).is_some() {
        return set_long_msr(core, register, value);
    }
    let long = core.model.features.has(Feature::LongMode);
    let canonical = |value| check(!long || core.state.canonical(value));
    match register {
        msr::SYSENTER_ESP | msr::SYSENTER_EIP => canonical(value)?,
        _ => {}
    }
    let ignored = core.unknown_msrs_ignored;
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
        msr::SYSENTER_ESP => msrs.sysenter_esp = if long { value } else { value & 0xffff_ffff },
        msr::SYSENTER_EIP => msrs.sysenter_eip = if long { value } else { value & 0xffff_ffff },
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
            None => check(ignored && register != msr::MTRR_CAP)?,
        },
    }
    Ok(())
}

/// The registers that came with SYSCALL, long mode and RDTSCP, where the model has them.
fn long_msr(core: &Core, register: u32) -> Option<u64> {
    let features = core.model.features;
    let state = &core.state;
    let long = &state.msrs.long;
    let base = |index: u8| state.segments[usize::from(index)].base;
    let (feature, value) = match register {
        msr::STAR => (Feature::Syscall, long.star),
        msr::LSTAR => (Feature::LongMode, long.lstar),
        msr::CSTAR => (Feature::LongMode, long.cstar),
        msr::FMASK => (Feature::LongMode, long.fmask),
        msr::FS_BASE => (Feature::LongMode, base(segment::FS)),
        msr::GS_BASE => (Feature::LongMode, base(segment::GS)),
        msr::KERNEL_GS_BASE => (Feature::LongMode, long.kernel_gs_base),
        msr::TSC_AUX if features.has(Feature::Rdpid) => (Feature::Rdpid, u64::from(long.tsc_aux)),
        msr::TSC_AUX => (Feature::Rdtscp, u64::from(long.tsc_aux)),
        _ => return None,
    };
    features.has(feature).then_some(value)
}

/// Sets one that [`long_msr`] knows.
fn set_long_msr(core: &mut Core, register: u32, value: u64) -> Exec {
    let fault = Exception::general_protection(0);
    let address = !matches!(register, msr::STAR | msr::FMASK | msr::TSC_AUX);
    if address && !core.state.canonical(value) {
        return Err(fault);
    }
    let long = &mut core.state.msrs.long;
    match register {
        msr::STAR => long.star = value,
        msr::LSTAR => long.lstar = value,
        msr::CSTAR => long.cstar = value,
        msr::FMASK => long.fmask = value & 0xffff_ffff,
        msr::FS_BASE => core.set_base(segment::FS, value),
        msr::GS_BASE => core.set_base(segment::GS, value),
        msr::KERNEL_GS_BASE => long.kernel_gs_base = value,
        _ if value >> 32 != 0 => return Err(fault),
        _ => long.tsc_aux = value as u32,
    }
    Ok(())
}
