//! Faults of instructions in protected mode: vector, error code, and that a fault leaves no trace.

mod common;

use common::{CODE, DATA, HANDLERS, IDT, Machine, STACK_0, STACK_3, assemble, gate, sel};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    state::{cr0, gpr},
};

/// Runs `code` at `cpl`; the handler's vector and, where one is pushed, its error code, which lies
/// on top of the stack. EIP below it must be the faulting instruction's.
fn check(mut machine: Machine, vector: u64, error: Option<u32>, eip: u64) {
    assert_eq!(machine.run().1, Stop::Halt);
    assert_eq!(machine.vector(), Some(vector), "rip {:x}", machine.state().rip);
    let mut at = 0;
    if let Some(error) = error {
        assert_eq!(machine.stack(0), error, "error code");
        at = 1;
    }
    assert_eq!(u64::from(machine.stack(at)), CODE + eip, "EIP pushed");
}

fn load_ds(selector: u16) -> Vec<u8> {
    assemble(32, CODE, |a| {
        a.mov(eax, u32::from(selector))?;
        a.mov(ds, eax)
    })
}

fn load_ss(selector: u16) -> Vec<u8> {
    assemble(32, CODE, |a| {
        a.mov(eax, u32::from(selector))?;
        a.mov(ss, eax)
    })
}

#[rstest]
#[case::beyond_gdt(load_ds(0x400), 13, Some(0x400))]
#[case::no_ldt(load_ds(0x1234), 13, Some(0x1234))]
#[case::system_segment(load_ds(sel::TSS), 13, Some(0x28))]
#[case::execute_only(load_ds(sel::EXECUTE_ONLY), 13, Some(0x58))]
#[case::absent_data(load_ds(sel::ABSENT), 11, Some(0x60))]
#[case::null_stack(load_ss(0), 13, Some(0))]
#[case::read_only_stack(load_ss(sel::READ_ONLY), 13, Some(0x50))]
#[case::stack_rpl(load_ss(sel::DATA_0 | 1), 13, Some(0x10))]
#[case::absent_stack(load_ss(sel::ABSENT), 12, Some(0x60))]
fn segment_loads(#[case] code: Vec<u8>, #[case] vector: u64, #[case] error: Option<u32>) {
    check(Machine::protected(0, &code), vector, error, 5);
}

/// Loads FS, then reads or writes a dword at `offset` in it.
fn through_fs(selector: u16, offset: u32, write: bool) -> Machine {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, u32::from(selector))?;
        a.mov(fs, eax)?;
        if write {
            a.mov(dword_ptr(offset).fs(), ecx)?;
        } else {
            a.mov(ecx, dword_ptr(offset).fs())?;
        }
        a.hlt()
    });
    Machine::protected(0, &code)
}

#[rstest]
#[case::last(sel::SMALL, 0xfc, true, false)]
#[case::one_too_far(sel::SMALL, 0xfd, false, true)]
#[case::far_off(sel::SMALL, 0xffff_fff0, false, true)]
#[case::null(0, 0, false, true)]
#[case::read_only(sel::READ_ONLY, DATA as u32, true, true)]
#[case::read_only_read(sel::READ_ONLY, DATA as u32, false, false)]
#[case::code_written(sel::CODE_0, DATA as u32, true, true)]
#[case::code_read(sel::CODE_0, DATA as u32, false, false)]
#[case::down_first(sel::DOWN, 0x100, true, false)]
#[case::down_below(sel::DOWN, 0xff, true, true)]
#[case::down_top(sel::DOWN, 0xfffc, true, false)]
#[case::down_beyond(sel::DOWN, 0xfffd, false, true)]
#[case::top_of_4g(sel::DATA_0, 0xffff_fffd, false, true)]
fn segment_limits(#[case] selector: u16, #[case] offset: u32, #[case] write: bool, #[case] faults: bool) {
    let mut machine = through_fs(selector, offset, write);
    machine.run();
    let expect = faults.then_some(13);
    assert_eq!(machine.vector(), expect);
}

#[rstest]
#[case::divide(vec![0xf7, 0xf1], 0, None, 0)]
#[case::int1(vec![0xf1], 1, None, 1)]
#[case::int3(vec![0xcc], 3, None, 1)]
#[case::ud2(vec![0x0f, 0x0b], 6, None, 0)]
#[case::x87_of_the_287(vec![0xdb, 0xe5], 6, None, 0)]
#[case::sse(vec![0x0f, 0x57, 0xc0], 6, None, 0)]
#[case::lock_nop(vec![0xf0, 0x90], 6, None, 0)]
#[case::lock_register(vec![0xf0, 0x01, 0xc0], 6, None, 0)]
#[case::mov_cs(vec![0x8e, 0xc8], 6, None, 0)]
#[case::cr1(vec![0x0f, 0x20, 0xc8], 6, None, 0)]
#[case::sixteen_bytes(vec![0x66; 16], 13, Some(0), 0)]
#[case::int_beyond_idt(vec![0xcd, 0x80], 13, Some(0x80 * 8 + 2), 0)]
#[case::int_absent(vec![0xcd, 0x50], 11, Some(0x50 * 8 + 2), 0)]
#[case::int_gate(vec![0xcd, 0x41], 0x41, None, 2)]
#[case::far_to_data(vec![0xea, 0, 0, 1, 0, 0x10, 0], 13, Some(0x10), 0)]
#[case::far_to_null(vec![0xea, 0, 0, 1, 0, 0, 0], 13, Some(0), 0)]
#[case::far_busy_task(vec![0xea, 0, 0, 0, 0, 0x28, 0], 13, Some(0x28), 0)]
#[case::ltr_null(vec![0x31, 0xc0, 0x0f, 0x00, 0xd8], 13, Some(0), 2)]
#[case::lldt_tss(vec![0xb0, 0x30, 0x0f, 0x00, 0xd0], 13, Some(0x30), 2)]
#[case::rsm(vec![0x0f, 0xaa], 6, None, 0)]
#[case::rdpmc(vec![0xb1, 9, 0x0f, 0x33], 13, Some(0), 2)]
#[case::nw_without_cd(vec![0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x20, 0x0f, 0x22, 0xc0], 13, Some(0), 8)]
#[case::cr4_reserved(vec![0x0f, 0xba, 0xe8, 20, 0x0f, 0x22, 0xe0], 13, Some(0), 4)]
fn ring_0(#[case] code: Vec<u8>, #[case] vector: u64, #[case] error: Option<u32>, #[case] eip: u64) {
    check(Machine::protected(0, &code), vector, error, eip);
}

#[rstest]
#[case::hlt(vec![0xf4], 13, Some(0), 0)]
#[case::cli(vec![0xfa], 13, Some(0), 0)]
#[case::port(vec![0xe4, 0x80], 13, Some(0), 0)]
#[case::cr0(vec![0x0f, 0x20, 0xc0], 13, Some(0), 0)]
#[case::wbinvd(vec![0x0f, 0x09], 13, Some(0), 0)]
#[case::wrmsr(vec![0x0f, 0x30], 13, Some(0), 0)]
#[case::int_dpl(vec![0xcd, 0x30], 13, Some(0x30 * 8 + 2), 0)]
#[case::int_open(vec![0xcd, 0x41], 0x41, None, 2)]
#[case::ring_0_data(load_ds(sel::DATA_0), 13, Some(0x10), 5)]
#[case::ring_0_code(vec![0xea, 0, 0, 1, 0, 8, 0], 13, Some(8), 0)]
#[case::sysenter_unset(vec![0x0f, 0x34], 13, Some(0), 0)]
fn ring_3(#[case] code: Vec<u8>, #[case] vector: u64, #[case] error: Option<u32>, #[case] eip: u64) {
    check(Machine::protected(3, &code), vector, error, eip);
}

#[test]
fn stack_switch_pushes_the_old_stack() {
    let mut machine = Machine::protected(3, &[0xcd, 0x41]);
    machine.run();
    let frame: Vec<u32> = (0..5).map(|index| machine.stack(index)).collect();
    let expect = [CODE as u32 + 2, u32::from(sel::CODE_3), 2, STACK_3 as u32, u32::from(sel::DATA_3)];
    assert_eq!(frame, expect);
    assert_eq!(machine.state().cpl, 0);
    assert_eq!(machine.register(gpr::RSP), STACK_0 as u32 - 20);
}

#[test]
fn permission_bitmap_opens_one_port() {
    let mut machine = Machine::protected(3, &[0xe4, 0x80, 0xe4, 0x81]);
    machine.bus.set_byte(common::TSS + 0x80 + 0x10, 0xfe);
    check(machine, 13, Some(0), 2);
}

#[test]
fn call_gate_copies_parameters_and_returns() {
    let code = assemble(32, CODE, |a| {
        a.push(0x1111_i32)?;
        a.push(0x2222_i32)?;
        a.db(&[0x9a, 0, 0, 0, 0, sel::CALL_GATE as u8 | 3, 0])?;
        a.int3()
    });
    let mut machine = Machine::protected(3, &code);
    // The routine: keep the parameters in registers, RETF 8.
    let routine = assemble(32, HANDLERS + 16 * 0x50, |a| {
        a.mov(eax, dword_ptr(esp + 8))?;
        a.mov(ebx, dword_ptr(esp + 12))?;
        a.retf_1(8)
    });
    machine.bus.poke(HANDLERS + 16 * 0x50, &routine);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RAX), 0x2222);
    assert_eq!(machine.register(gpr::RBX), 0x1111);
    // Back at ring 3 with both parameters gone.
    assert_eq!(machine.stack(3), STACK_3 as u32);
    assert_eq!(machine.stack(1), u32::from(sel::CODE_3));
}

#[test]
fn return_to_ring_3_drops_ring_0_segments() {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, u32::from(sel::DATA_3))?;
        a.mov(es, eax)?;
        a.push(u32::from(sel::DATA_3) as i32)?;
        a.push(STACK_3 as i32)?;
        a.push(0x202_i32)?;
        a.push(u32::from(sel::CODE_3) as i32)?;
        a.push(CODE as i32 + 0x100)?;
        a.iretd()
    });
    let mut machine = Machine::protected(0, &code);
    machine.bus.set_byte(CODE + 0x100, 0xcc);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    let selectors: Vec<u16> = machine.state().segments.iter().map(|segment| segment.selector).collect();
    assert_eq!(selectors[0], sel::DATA_3);
    assert_eq!(selectors[3], 0);
    assert_eq!(machine.stack(2) & 0x200, 0x200);
}

/// What comes of a first fault whose handler cannot be entered.
#[rstest]
#[case::double(13, 8)]
#[case::benign_then_fault(6, 11)]
fn faults_while_delivering(#[case] first: u64, #[case] arrives: u64) {
    let code: &[u8] = if first == 6 { &[0x0f, 0x0b] } else { &[0xea, 0, 0, 1, 0, 0, 0] };
    let mut machine = Machine::protected(0, code);
    machine.bus.poke64(IDT + 8 * first, gate(sel::CODE_0, 0, 0x0e, 0));
    machine.run();
    assert_eq!(machine.vector(), Some(arrives));
    let error = if arrives == 8 { 0 } else { first as u32 * 8 + 3 };
    assert_eq!(machine.stack(0), error);
}

#[test]
fn triple_fault_shuts_down() {
    let code = assemble(32, CODE, |a| {
        a.mov(dword_ptr(DATA as u32), 0)?;
        a.mov(dword_ptr(DATA as u32 + 4), 0)?;
        a.lidt(dword_ptr(DATA as u32))?;
        a.int3()
    });
    let mut machine = Machine::protected(0, &code);
    assert_eq!(machine.run(), (4, Stop::Shutdown));
    let again = machine.cpu.run(&mut machine.bus, 10, warmboot_cpu::Path::Cached);
    assert_eq!((again.retired, again.stop), (0, Stop::Shutdown));
}

#[test]
fn real_mode_goes_through_the_vector_table() {
    let mut machine = Machine::real(&[0xfb, 0xcd, 0x21]);
    assert_eq!(machine.run().1, Stop::Halt);
    assert_eq!(machine.vector(), Some(0x21));
    assert_eq!(machine.stack_word(0), 3);
    assert_eq!(machine.stack_word(1), (CODE >> 4) as u16);
    assert_eq!(machine.stack_word(2), 0x202);
    assert!(!machine.state().flags.interrupt());
}

/// Word at FFFF, stack wrap, an instruction beyond the limit.
#[rstest]
#[case::word_at_ffff(vec![0xa1, 0xff, 0xff], 13)]
#[case::stack_word_at_ffff(vec![0x36, 0xa1, 0xff, 0xff], 12)]
#[case::push_at_1(vec![0xbc, 1, 0, 0x50], 12)]
#[case::arpl(vec![0x63, 0xc0], 6)]
#[case::lldt(vec![0x0f, 0x00, 0xd0], 6)]
#[case::bound(vec![0x62, 0x06, 0x00, 0x30], 5)]
fn real_mode_faults(#[case] code: Vec<u8>, #[case] vector: u64) {
    let mut machine = Machine::real(&code);
    machine.set(gpr::RAX, 5);
    if vector == 12 && code[0] == 0xbc {
        // With SP at 1 the fault cannot be pushed either.
        assert_eq!(machine.run().1, Stop::Shutdown);
        return;
    }
    machine.run();
    assert_eq!(machine.vector(), Some(vector));
}

#[test]
fn big_real_mode_keeps_limits() {
    // Enter protected mode, load DS with 4 GiB, go back, read above 1 MiB.
    let code = assemble(16, 0, |a| {
        a.mov(eax, cr0)?;
        a.or(al, 1)?;
        a.mov(cr0, eax)?;
        a.mov(bx, i32::from(sel::DATA_0))?;
        a.mov(ds, bx)?;
        a.and(al, 0xfe_u32)?;
        a.mov(cr0, eax)?;
        a.xor(bx, bx)?;
        a.mov(ds, bx)?;
        a.mov(ebx, 0x0018_0000)?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.hlt()
    });
    let mut machine = Machine::protected(0, &[]);
    machine.bus.poke(CODE, &code);
    machine.bus.poke32(0x18_0000, 0x1234_5678);
    let state = machine.cpu.state_mut();
    state.cr0 = cr0::ET;
    state.segments = [warmboot_cpu::state::Segment::real_mode(0); 6];
    state.segments[1] = warmboot_cpu::state::Segment::real_mode((CODE >> 4) as u16);
    state.rip = 0;
    machine.run();
    assert_eq!(machine.register(gpr::RCX), 0x1234_5678);
}
