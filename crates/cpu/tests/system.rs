//! System instructions: descriptor queries, tables, MSRs, SYSENTER.

mod common;

use common::{CODE, DATA, GDT, HANDLERS, Machine, STACK_0, STACK_3, assemble, sel};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Model, Stop,
    models::{MAX, QEMU64},
    state::gpr,
};

/// LAR, LSL, VERR, VERW of a selector at ring 0 and ring 3: rights and limit where ZF is set.
#[rstest]
#[case::code(0, sel::CODE_0, Some(0x00c0_9b00), Some(u32::MAX), true, false)]
#[case::data(0, sel::DATA_0, Some(0x00c0_9300), Some(u32::MAX), true, true)]
#[case::small(0, sel::SMALL, Some(0x0040_9300), Some(0xff), true, true)]
#[case::execute_only(0, sel::EXECUTE_ONLY, Some(0x00c0_9900), Some(u32::MAX), false, false)]
#[case::read_only(0, sel::READ_ONLY, Some(0x00c0_9100), Some(u32::MAX), true, false)]
#[case::absent(0, sel::ABSENT, Some(0x00c0_1300), Some(u32::MAX), true, true)]
#[case::tss(0, sel::TSS, Some(0x0000_8b00), Some(0x3ff), false, false)]
#[case::ldt(0, sel::LDT, Some(0x0000_8200), Some(0xff), false, false)]
#[case::call_gate(0, sel::CALL_GATE, Some(0x0000_ec00), None, false, false)]
#[case::null(0, 0, None, None, false, false)]
#[case::beyond(0, 0x400, None, None, false, false)]
#[case::privileged(3, sel::DATA_0, None, None, false, false)]
#[case::conforming(3, sel::CONFORMING, Some(0x00c0_9f00), Some(u32::MAX), true, false)]
#[case::requested(0, sel::DATA_0 | 3, None, None, false, false)]
fn queries(
    #[case] cpl: u8,
    #[case] selector: u16,
    #[case] rights: Option<u32>,
    #[case] limit: Option<u32>,
    #[case] readable: bool,
    #[case] writable: bool,
) {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, u32::from(selector))?;
        a.mov(ebx, 0xdead_u32 as i32)?;
        a.mov(ecx, 0xdead_u32 as i32)?;
        a.lar(ebx, eax)?;
        a.lsl(ecx, eax)?;
        a.verr(ax)?;
        a.setz(dl)?;
        a.verw(ax)?;
        a.setz(dh)?;
        a.int3()
    });
    let mut machine = Machine::protected(cpl, &code);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RBX), rights.unwrap_or(0xdead));
    assert_eq!(machine.register(gpr::RCX), limit.unwrap_or(0xdead));
    let expect = u32::from(readable) | u32::from(writable) << 8;
    assert_eq!(machine.register(gpr::RDX) & 0xffff, expect);
}

#[test]
fn arpl_raises_rpl() {
    let mut machine = Machine::protected(0, &[0x63, 0xc8, 0xf4]);
    machine.set(gpr::RAX, 0x10);
    machine.set(gpr::RCX, 0x23);
    machine.run();
    assert_eq!(machine.register(gpr::RAX), 0x13);
    assert!(machine.state().flags.zero());
}

#[test]
fn tables_store_what_was_loaded() {
    let code = assemble(32, CODE, |a| {
        a.sgdt(dword_ptr(DATA as u32))?;
        a.sidt(dword_ptr(DATA as u32 + 8))?;
        a.smsw(eax)?;
        a.str(bx)?;
        a.hlt()
    });
    let mut machine = Machine::protected(0, &code);
    machine.run();
    assert_eq!(machine.bus.peek(DATA, 2), 0x97);
    assert_eq!(machine.bus.peek(DATA + 2, 4), GDT);
    assert_eq!(machine.bus.peek(DATA + 8, 2), 96 * 8 - 1);
    assert_eq!(machine.register(gpr::RAX), 0x11);
    assert_eq!(machine.register(gpr::RBX) as u16, sel::TSS);
}

/// Writes EDX:EAX to an MSR and reads it back; `None`: #GP(0).
#[rstest]
#[case::sysenter_cs(0x174, 8, Some(8))]
#[case::mtrr_cap(0xfe, 0, None)]
#[case::mtrr_default(0x2ff, 0xc06, Some(0xc06))]
#[case::mtrr_default_bad_type(0x2ff, 2, None)]
#[case::mtrr_base(0x200, 0x8000_0006, Some(0x8000_0006))]
#[case::mtrr_mask(0x201, 0xff_8000_0800, Some(0xff_8000_0800))]
#[case::mtrr_mask_too_wide(0x201, 0xfff_8000_0800, None)]
#[case::mtrr_fixed(0x250, 0x0606_0606_0606_0606, Some(0x0606_0606_0606_0606))]
#[case::apic_base(0x1b, 0xfee0_0800, Some(0xfee0_0900))]
#[case::apic_base_reserved(0x1b, 0xfee0_0a00, None)]
#[case::pat_bad(0x277, 2, None)]
#[case::efer_nx(0xc000_0080, 0x800, Some(0x800))]
#[case::efer_lme(0xc000_0080, 0x100, Some(0x100))]
#[case::efer_reserved(0xc000_0080, 0x200, None)]
#[case::kernel_gs_base(0xc000_0102, 0xffff_8000_0000_1234, Some(0xffff_8000_0000_1234))]
#[case::lstar_not_canonical(0xc000_0082, 0x8000_0000_0000, None)]
#[case::tsc_aux_not_offered(0xc000_0103, 5, None)]
#[case::unknown(0x1234, 5, None)]
#[case::microcode(0x8b, 5, Some(5))]
fn model_specific(#[case] register: u32, #[case] value: u64, #[case] expect: Option<u64>) {
    check_register(Machine::protected(0, WRITE_AND_READ), register, value, expect);
}

/// The same as an emulator has it.
#[rstest]
#[case::tsc_aux_not_offered(0xc000_0103, 5, Some(0))]
#[case::unknown(0x1234, 5, Some(0))]
#[case::mtrr_cap(0xfe, 0, None)]
#[case::microcode(0x8b, 5, Some(0x100_0065))]
fn model_specific_of_an_emulator(#[case] register: u32, #[case] value: u64, #[case] expect: Option<u64>) {
    let mut machine = Machine::protected(0, WRITE_AND_READ);
    machine.cpu = machine.cpu.clone().with_unknown_msrs_ignored(true).with_microcode(0x100_0065);
    check_register(machine, register, value, expect);
}

/// WRMSR, RDMSR, HLT.
const WRITE_AND_READ: &[u8] = &[0x0f, 0x30, 0x0f, 0x32, 0xf4];

fn check_register(mut machine: Machine, register: u32, value: u64, expect: Option<u64>) {
    machine.set(gpr::RCX, register);
    machine.set(gpr::RAX, value as u32);
    machine.set(gpr::RDX, (value >> 32) as u32);
    assert_eq!(machine.run().1, Stop::Halt);
    match expect {
        None => assert_eq!(machine.vector(), Some(13)),
        Some(expect) => {
            let high = u64::from(machine.register(gpr::RDX));
            assert_eq!(high << 32 | u64::from(machine.register(gpr::RAX)), expect);
        }
    }
}

/// The local APIC goes from one mode to another; `None`: #GP(0). Values of IA32_APIC_BASE without its
/// address.
#[rstest]
#[case::extended(&MAX, 0x800, 0xc00, true)]
#[case::extended_stays(&MAX, 0xc00, 0xc00, true)]
#[case::not_back(&MAX, 0xc00, 0x800, false)]
#[case::off(&MAX, 0xc00, 0, true)]
#[case::off_but_extended(&MAX, 0x800, 0x400, false)]
#[case::on(&MAX, 0, 0x800, true)]
#[case::not_at_once(&MAX, 0, 0xc00, false)]
#[case::not_offered(&QEMU64, 0x800, 0xc00, false)]
fn apic_modes(#[case] model: &'static Model, #[case] before: u64, #[case] after: u64, #[case] taken: bool) {
    let mut machine = Machine::protected_with(model, 0, &[0x0f, 0x30, 0xf4]);
    machine.cpu.state_mut().msrs.apic_base = 0xfee0_0000 | before;
    machine.set(gpr::RCX, 0x1b);
    machine.set(gpr::RAX, 0xfee0_0000 | after as u32);
    machine.set(gpr::RDX, 0);
    machine.run();
    assert_eq!(machine.vector(), (!taken).then_some(13));
    assert_eq!(machine.bus.apic_base.is_some(), taken);
}

#[test]
fn sysenter_and_sysexit() {
    let mut machine = Machine::protected(3, &[0x0f, 0x34]);
    let kernel = assemble(32, HANDLERS + 0x600, |a| {
        a.mov(ebx, esp)?;
        a.mov(edx, CODE as u32 + 0x100)?;
        a.mov(ecx, STACK_3 as u32 - 64)?;
        a.sysexit()
    });
    machine.bus.poke(HANDLERS + 0x600, &kernel);
    machine.bus.poke(CODE + 0x100, &[0xcc]);
    let msrs = &mut machine.cpu.state_mut().msrs;
    msrs.sysenter_cs = u32::from(sel::CODE_0);
    msrs.sysenter_eip = HANDLERS + 0x600;
    msrs.sysenter_esp = STACK_0 - 256;
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RBX), STACK_0 as u32 - 256);
    assert_eq!(machine.stack(1), u32::from(sel::CODE_3));
    assert_eq!(machine.stack(3), STACK_3 as u32 - 64);
}

#[test]
fn what_is_not_offered_raises_undefined_opcode() {
    // VZEROUPPER, PSHUFB
    for code in [[0xc5, 0xf8, 0x77, 0x90], [0x0f, 0x38, 0x00, 0xc1]] {
        let mut machine = Machine::protected(0, &code);
        machine.run();
        assert_eq!(machine.vector(), Some(6), "{code:x?}");
    }
}
