//! System instructions (Intel SDM vol. 3A, 2.8).

use iced_x86::{Code, Instruction, Mnemonic};

use crate::{
    Bus, Core, Exception, Exec, Handler, Op, Operand, OperandKind,
    access::attention,
    descriptor::{Descriptor, error, kind, null, rpl},
    state::{Activity, Segment, Shadow, TableRegister, cr0, cr4, dr6, gpr},
};

/// Handlers of this group.
pub fn handler<B: Bus>(instruction: &Instruction) -> Option<Handler<B>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Lgdt => load_table::<B, true>,
        Mnemonic::Lidt => load_table::<B, false>,
        Mnemonic::Sgdt => store_table::<B, true>,
        Mnemonic::Sidt => store_table::<B, false>,
        Mnemonic::Lldt => lldt,
        Mnemonic::Sldt => sldt,
        Mnemonic::Ltr => ltr,
        Mnemonic::Str => str,
        Mnemonic::Lmsw => lmsw,
        Mnemonic::Smsw => smsw,
        Mnemonic::Clts => clts,
        Mnemonic::Mov => match instruction.code() {
            // LOCK makes CR0 CR8 where a model says so; none does.
            _ if instruction.has_lock_prefix() => return None,
            Code::Mov_r32_cr | Code::Mov_r64_cr => store_control,
            Code::Mov_cr_r32 | Code::Mov_cr_r64 => load_control,
            Code::Mov_r32_dr | Code::Mov_r64_dr => store_debug,
            Code::Mov_dr_r32 | Code::Mov_dr_r64 => load_debug,
            _ => return None,
        },
        Mnemonic::Invpcid => invpcid,
        Mnemonic::Clac => access_control::<B, false>,
        Mnemonic::Stac => access_control::<B, true>,
        Mnemonic::Rdpkru => rdpkru,
        Mnemonic::Wrpkru => wrpkru,
        Mnemonic::Invlpg | Mnemonic::Invd | Mnemonic::Wbinvd => privileged_nothing,
        Mnemonic::Hlt => hlt,
        Mnemonic::Cli => cli,
        Mnemonic::Sti => sti,
        Mnemonic::Lar => lar,
        Mnemonic::Lsl => lsl,
        Mnemonic::Verr => verify::<B, false>,
        Mnemonic::Verw => verify::<B, true>,
        Mnemonic::Arpl => arpl,
        Mnemonic::Rsm => rsm,
        _ => return None,
    })
}

/// CPL 0, or #GP(0).
fn privileged(core: &Core) -> Exec {
    if core.state.cpl == 0 { Ok(()) } else { Err(Exception::general_protection(0)) }
}

/// Not in real or v8086 mode, or #UD.
pub(super) fn protected_only(core: &Core) -> Exec {
    if core.state.eight_thousand() { Err(Exception::INVALID_OPCODE) } else { Ok(()) }
}

fn memory_only(op: &Op) -> Exec {
    if op.dst == Operand::MEMORY { Ok(()) } else { Err(Exception::INVALID_OPCODE) }
}

/// UMIP: CPL 0, or #GP(0) (vol. 3A, 2.5).
fn not_for_users(core: &Core) -> Exec {
    if core.state.cr4 & cr4::UMIP != 0 { privileged(core) } else { Ok(()) }
}

/// The 16-bit form loads 24 bits of base, the 64-bit one 64.
fn load_table<B: Bus, const GLOBAL: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    memory_only(op)?;
    privileged(core)?;
    let at = core.effective_address(op);
    let limit = core.load_at::<u16, B>(bus, op.memory.segment, at)?;
    let at = at.wrapping_add(2);
    let base = if core.in_64_bit_mode() {
        core.load_at::<u64, B>(bus, op.memory.segment, at)?
    } else {
        let mask = if op.operand_size == 2 { 0x00ff_ffff } else { 0xffff_ffff };
        u64::from(core.load_at::<u32, B>(bus, op.memory.segment, at)? & mask)
    };
    if core.in_64_bit_mode() && !core.state.canonical(base) {
        return Err(Exception::general_protection(0));
    }
    let table = TableRegister { base, limit };
    if GLOBAL {
        core.state.gdtr = table;
    } else {
        core.state.idtr = table;
    }
    Ok(())
}

/// Outside 64-bit mode both forms store 32 bits of base.
fn store_table<B: Bus, const GLOBAL: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    memory_only(op)?;
    not_for_users(core)?;
    let at = core.effective_address(op);
    let table = if GLOBAL { core.state.gdtr } else { core.state.idtr };
    let from = op.memory.segment;
    let long = core.in_64_bit_mode();
    core.probe(bus, from, at, if long { 10 } else { 6 }, true)?;
    core.store_at::<u16, B>(bus, from, at, table.limit)?;
    let at = at.wrapping_add(2);
    if long {
        core.store_at::<u64, B>(bus, from, at, table.base)
    } else {
        core.store_at::<u32, B>(bus, from, at, table.base as u32)
    }
}

fn lldt<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    privileged(core)?;
    let selector = core.load::<u16, B>(bus, op, op.dst)?;
    if null(selector) {
        core.state.ldtr = Segment { selector, ..Segment::default() };
        return Ok(());
    }
    let descriptor = system_descriptor(core, bus, selector, |system| system == kind::LDT)?;
    core.state.ldtr = descriptor.segment(selector);
    Ok(())
}

/// A present system descriptor of the GDT whose type `accept` likes.
fn system_descriptor<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    selector: u16,
    accept: fn(u8) -> bool,
) -> Result<Descriptor, Exception> {
    let fault = Exception::general_protection(error(selector));
    if selector & 4 != 0 {
        return Err(fault);
    }
    let descriptor = core.descriptor(bus, selector)?.ok_or(fault)?;
    if !descriptor.system().is_some_and(accept) {
        return Err(fault);
    }
    if !descriptor.present() {
        return Err(Exception::not_present(error(selector)));
    }
    let descriptor = core.whole(bus, selector, descriptor)?.ok_or(fault)?;
    let canonical = core.state.canonical(descriptor.segment(selector).base);
    if core.state.long_mode() && !canonical { Err(fault) } else { Ok(descriptor) }
}

fn ltr<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    privileged(core)?;
    let selector = core.load::<u16, B>(bus, op, op.dst)?;
    if null(selector) {
        return Err(Exception::general_protection(0));
    }
    let accept: fn(u8) -> bool = if core.state.long_mode() {
        |system| system == kind::TSS_32
    } else {
        |system| matches!(system, kind::TSS_16 | kind::TSS_32)
    };
    let mut descriptor = system_descriptor(core, bus, selector, accept)?;
    descriptor.high |= 1 << 9;
    let at = descriptor.address.wrapping_add(4);
    core.write_system(bus, at, 4, u64::from(descriptor.high))?;
    core.state.tr = descriptor.segment(selector);
    Ok(())
}

/// SLDT, STR and SMSW: memory gets 16 bits, a 32- or 64-bit register all, zero-extended.
fn store_word<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, value: u32) -> Exec {
    if op.operand_size == 2 || op.dst == Operand::MEMORY {
        core.store::<u16, B>(bus, op, op.dst, value as u16)
    } else {
        core.store::<u32, B>(bus, op, op.dst, value)
    }
}

fn sldt<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    not_for_users(core)?;
    let selector = u32::from(core.state.ldtr.selector);
    store_word(core, bus, op, selector)
}

fn str<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    not_for_users(core)?;
    let selector = u32::from(core.state.tr.selector);
    store_word(core, bus, op, selector)
}

fn smsw<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    not_for_users(core)?;
    let value = core.state.cr0 as u32;
    store_word(core, bus, op, value)
}

/// Can set PE, not clear it.
fn lmsw<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    privileged(core)?;
    let value = u64::from(core.load::<u16, B>(bus, op, op.dst)?);
    let low = (value & 15) | (core.state.cr0 & cr0::PE);
    let cr0 = (core.state.cr0 & !15) | low;
    core.set_cr0(bus, cr0)
}

fn clts<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    privileged(core)?;
    core.state.cr0 &= !cr0::TS;
    Ok(())
}

/// INVLPG, INVD, WBINVD: the TLB follows the tables by itself, and there is no data cache.
fn privileged_nothing<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    privileged(core)
}

fn control(operand: Operand) -> Option<u8> {
    (operand.kind == OperandKind::Control).then_some(operand.number)
}

fn store_control<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let index = control(op.src).filter(|index| core.has_control(*index));
    let index = index.ok_or(Exception::INVALID_OPCODE)?;
    privileged(core)?;
    let value = match index {
        0 => core.state.cr0,
        2 => core.state.cr2,
        3 => core.state.cr3,
        4 => core.state.cr4,
        _ => core.task_priority(bus),
    };
    store_whole(core, op.dst, value);
    Ok(())
}

fn load_control<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    let index = control(op.dst).filter(|index| core.has_control(*index));
    let index = index.ok_or(Exception::INVALID_OPCODE)?;
    privileged(core)?;
    let value = load_whole(core, op.src);
    match index {
        0 => core.set_cr0(bus, value),
        2 => {
            core.state.cr2 = value;
            Ok(())
        }
        3 => core.set_cr3(bus, value),
        4 => core.set_cr4(bus, value),
        _ => core.set_task_priority(bus, value),
    }
}

/// A general register for control and debug registers: 64 bits of it in 64-bit mode, otherwise 32,
/// whatever the operand size.
fn load_whole(core: &Core, operand: Operand) -> u64 {
    core.general(operand.number) & core.linear_mask
}

fn store_whole(core: &mut Core, operand: Operand, value: u64) {
    core.set_general(operand.number, value & core.linear_mask);
}

/// CLAC and STAC: EFLAGS.AC lets the supervisor reach users' pages.
fn access_control<B: Bus, const OPEN: bool>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    if core.state.cpl != 0 {
        return Err(Exception::INVALID_OPCODE);
    }
    core.state.flags.set_alignment_check(OPEN);
    core.end_block();
    Ok(())
}

fn rdpkru<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    protection_keys(core, false)?;
    core.set_register(gpr::RAX, u64::from(core.state.pkru));
    core.set_register(gpr::RDX, 0);
    Ok(())
}

fn wrpkru<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    protection_keys(core, true)?;
    core.state.pkru = core.register(gpr::RAX) as u32;
    core.flush_tlb();
    Ok(())
}

/// CR4.PKE, or #UD; ECX (and EDX when writing) must be zero.
fn protection_keys(core: &Core, writes: bool) -> Exec {
    if core.state.cr4 & cr4::PKE == 0 {
        return Err(Exception::INVALID_OPCODE);
    }
    let zero = |register| core.register(register) as u32 == 0;
    if zero(gpr::RCX) && (!writes || zero(gpr::RDX)) { Ok(()) } else { Err(Exception::general_protection(0)) }
}

/// INVPCID: what it asks for is checked; the TLB is one that follows the tables by itself.
fn invpcid<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    if core.state.v8086() {
        return Err(Exception::general_protection(0));
    }
    privileged(core)?;
    let kind = load_whole(core, op.dst);
    let at = core.effective_address(op);
    let from = op.memory.segment;
    let context = core.load_at::<u64, B>(bus, from, at)?;
    let linear = core.load_at::<u64, B>(bus, from, at.wrapping_add(8))?;
    let used = context & 0xfff;
    let good = match kind {
        0 => context >> 12 == 0 && core.state.canonical(linear) && (used == 0 || pcids(core)),
        1 => context >> 12 == 0 && (used == 0 || pcids(core)),
        2 | 3 => context >> 12 == 0,
        _ => false,
    };
    if !good {
        return Err(Exception::general_protection(0));
    }
    core.flush_tlb();
    Ok(())
}

fn pcids(core: &Core) -> bool {
    core.state.cr4 & cr4::PCIDE != 0
}

/// DR4 and DR5 are DR6 and DR7 unless CR4.DE; general detect raises #DB (vol. 3B, 17.2.2, 17.2.4).
fn debug_number(core: &mut Core, operand: Operand) -> Result<usize, Exception> {
    let index = operand.number;
    let index = match index {
        4 | 5 if core.state.cr4 & cr4::DE != 0 => return Err(Exception::INVALID_OPCODE),
        4 | 5 => index + 2,
        0..=7 => index,
        _ => return Err(Exception::INVALID_OPCODE),
    };
    privileged(core)?;
    if core.state.dr[7] & (1 << 13) != 0 {
        core.state.dr[6] |= u64::from(dr6::BD);
        return Err(Exception::DEBUG);
    }
    Ok(usize::from(index))
}

fn store_debug<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let index = debug_number(core, op.src)?;
    let value = core.state.dr[index];
    store_whole(core, op.dst, value);
    Ok(())
}

fn load_debug<B: Bus>(core: &mut Core, _bus: &mut B, op: &Op) -> Exec {
    let index = debug_number(core, op.dst)?;
    let value = load_whole(core, op.src);
    if index >= 6 && value >> 32 != 0 {
        return Err(Exception::general_protection(0));
    }
    core.state.dr[index] = match index {
        6 => (value & 0xe00f) | dr6::FIXED,
        7 => (value & 0xffff_2bff) | 0x400,
        _ => value,
    };
    core.end_block();
    Ok(())
}

fn hlt<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    privileged(core)?;
    core.state.activity = Activity::Halted;
    core.end_block();
    Ok(())
}

/// Who may change IF, and whether VIF stands in for it (20.3 and 20.4).
fn interrupt_flag_is_virtual(core: &Core) -> Result<bool, Exception> {
    let state = &core.state;
    if !state.protected() {
        return Ok(false);
    }
    let iopl = state.flags.iopl();
    if state.v8086() {
        return match iopl {
            3 => Ok(false),
            _ if state.cr4 & cr4::VME != 0 => Ok(true),
            _ => Err(Exception::general_protection(0)),
        };
    }
    if state.cpl <= iopl {
        Ok(false)
    } else if state.cpl == 3 && state.cr4 & cr4::PVI != 0 {
        Ok(true)
    } else {
        Err(Exception::general_protection(0))
    }
}

fn cli<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    if interrupt_flag_is_virtual(core)? {
        core.state.flags.set_virtual_interrupt(false);
    } else {
        core.state.flags.set_interrupt(false);
    }
    Ok(())
}

fn sti<B: Bus>(core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
    if interrupt_flag_is_virtual(core)? {
        if core.state.flags.virtual_interrupt_pending() {
            return Err(Exception::general_protection(0));
        }
        core.state.flags.set_virtual_interrupt(true);
    } else if !core.state.flags.interrupt() {
        core.state.flags.set_interrupt(true);
        core.state.shadow = Shadow::Sti;
        core.attention |= attention::SHADOW | attention::END_BLOCK;
    }
    Ok(())
}

/// A descriptor LAR, LSL, VERR and VERW may look at; `None` clears ZF.
fn visible<B: Bus>(
    core: &mut Core,
    bus: &mut B,
    selector: u16,
    system: &[u8],
) -> Result<Option<Descriptor>, Exception> {
    if null(selector) {
        return Ok(None);
    }
    let Some(descriptor) = core.descriptor(bus, selector)? else {
        return Ok(None);
    };
    let privilege = core.state.cpl.max(rpl(selector));
    let allowed = match descriptor.system() {
        Some(kind) => system.contains(&kind) && descriptor.dpl() >= privilege,
        None => descriptor.segment(selector).conforming() || descriptor.dpl() >= privilege,
    };
    if !allowed {
        return Ok(None);
    }
    if descriptor.system().is_some() { core.whole(bus, selector, descriptor) } else { Ok(Some(descriptor)) }
}

/// Table "Segment and gate types" of LAR.
const LAR_TYPES: &[u8] = &[1, 2, 3, 4, 5, 9, 11, 12];
/// The same of LSL.
const LSL_TYPES: &[u8] = &[1, 2, 3, 9, 11];
/// The same in long mode.
const LAR_LONG_TYPES: &[u8] = &[2, 9, 11, 12];
const LSL_LONG_TYPES: &[u8] = &[2, 9, 11];

fn store_if<B: Bus>(core: &mut Core, bus: &mut B, op: &Op, value: Option<u32>) -> Exec {
    core.state.flags.set_zero(value.is_some());
    match value {
        Some(value) if op.operand_size == 2 => core.store::<u16, B>(bus, op, op.dst, value as u16),
        Some(value) => core.store::<u32, B>(bus, op, op.dst, value),
        None => Ok(()),
    }
}

fn lar<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let selector = core.load::<u16, B>(bus, op, op.src)?;
    let types = if core.state.long_mode() { LAR_LONG_TYPES } else { LAR_TYPES };
    let found = visible(core, bus, selector, types)?;
    store_if(core, bus, op, found.map(|descriptor| descriptor.high & 0x00f0_ff00))
}

fn lsl<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let selector = core.load::<u16, B>(bus, op, op.src)?;
    let types = if core.state.long_mode() { LSL_LONG_TYPES } else { LSL_TYPES };
    let found = visible(core, bus, selector, types)?;
    store_if(core, bus, op, found.map(|descriptor| descriptor.limit()))
}

fn verify<B: Bus, const WRITE: bool>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let selector = core.load::<u16, B>(bus, op, op.dst)?;
    let found = visible(core, bus, selector, &[])?.is_some_and(|descriptor| {
        let segment = descriptor.segment(selector);
        if WRITE { segment.writable() } else { segment.readable() }
    });
    core.state.flags.set_zero(found);
    Ok(())
}

fn arpl<B: Bus>(core: &mut Core, bus: &mut B, op: &Op) -> Exec {
    protected_only(core)?;
    let source = core.load::<u16, B>(bus, op, op.src)?;
    // What need not be changed is only read.
    let value = core.load::<u16, B>(bus, op, op.dst)?;
    let raise = value & 3 < source & 3;
    if raise {
        core.store(bus, op, op.dst, (value & !3) | (source & 3))?;
    }
    core.state.flags.set_zero(raise);
    Ok(())
}

fn rsm<B: Bus>(core: &mut Core, bus: &mut B, _op: &Op) -> Exec {
    if !core.state.smm {
        return Err(Exception::INVALID_OPCODE);
    }
    core.leave_smm(bus);
    Ok(())
}
