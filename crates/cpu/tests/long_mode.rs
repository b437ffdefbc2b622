//! Long mode: entering and leaving it, 64-bit code, gates, far transfers, system calls.

mod common;

use common::{
    CODE, DATA, HANDLERS, HIGH, IDT, Machine, PML4, STACK_0, STACK_3, STACK_IST, TSS, assemble, long,
};
use iced_x86::code_asm::{
    cr0 as cr0_register, dword_ptr, eax, ebx, ecx, ptr, qword_ptr, r8, r9, rax, rbx, rcx, rdx,
};
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    models::{self, MAX, Model, PENTIUM3, QEMU64},
    state::{Segment, cr0, cr4, efer, gpr},
};

const QUAD: u64 = 0x1122_3344_5566_7788;

/// Runs `code` at `cpl`; which handler is entered, its error code, and where the fault was.
fn check(mut machine: Machine, vector: u64, error: Option<u64>, rip: u64) {
    assert_eq!(machine.run().1, Stop::Halt);
    assert_eq!(machine.vector(), Some(vector), "rip {:x}", machine.state().rip);
    let at = u64::from(error.is_some());
    if let Some(error) = error {
        assert_eq!(machine.stack_quad(0), error, "error code");
    }
    assert_eq!(machine.stack_quad(at), CODE + rip, "RIP pushed");
}

#[rstest]
#[case::divide(vec![0x48, 0xf7, 0xf1], 0, None, 0)]
#[case::int3(vec![0xcc], 3, None, 1)]
#[case::ud2(vec![0x0f, 0x0b], 6, None, 0)]
#[case::push_es(vec![0x06], 6, None, 0)]
#[case::daa(vec![0x27], 6, None, 0)]
#[case::pusha(vec![0x60], 6, None, 0)]
#[case::far_immediate(vec![0xea, 0, 0, 0, 0, 8, 0], 6, None, 0)]
#[case::les(vec![0xc4, 0x00], 6, None, 0)]
#[case::into(vec![0xce], 6, None, 0)]
#[case::salc(vec![0xd6], 6, None, 0)]
#[case::aam(vec![0xd4, 10], 6, None, 0)]
#[case::vmrun(vec![0x0f, 0x01, 0xd8], 6, None, 0)]
#[case::mov_cs(vec![0x8e, 0xc8], 6, None, 0)]
#[case::rdtscp_not_offered(vec![0x0f, 0x01, 0xf9], 6, None, 0)]
#[case::fsgsbase_not_offered(vec![0xf3, 0x48, 0x0f, 0xae, 0xc0], 6, None, 0)]
#[case::sysenter_on_amd(vec![0x0f, 0x34], 6, None, 0)]
#[case::int_beyond_idt(vec![0xcd, 0x80], 13, Some(0x80 * 8 + 2), 0)]
#[case::int_absent(vec![0xcd, 0x50], 11, Some(0x50 * 8 + 2), 0)]
#[case::int_to_32_bit_code(vec![0xcd, 0x53], 13, Some(long::CODE_32 as u64), 0)]
#[case::int_16_bit_gate(vec![0xcd, 0x54], 13, Some(0x54 * 8 + 2), 0)]
#[case::load_not_canonical(vec![0x48, 0x0f, 0xba, 0xe8, 63, 0x8b, 0x00], 13, Some(0), 5)]
#[case::stack_not_canonical(vec![0x48, 0x0f, 0xba, 0xed, 63, 0x8b, 0x45, 0x00], 12, Some(0), 5)]
#[case::load_across_the_end(vec![0x48, 0xb8, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x48, 0x8b, 0x00], 13, Some(0), 10)]
#[case::store_across_the_end(vec![0x48, 0xb8, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x48, 0x89, 0x00], 13, Some(0), 10)]
#[case::stack_across_the_end(vec![0x48, 0xbd, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x48, 0x8b, 0x45, 0], 12, Some(0), 10)]
#[case::load_before_the_end(vec![0x48, 0xb8, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x48, 0x8b, 0x00], 14, Some(0), 10)]
#[case::sixteen_bytes_across_the_end(vec![0x0f, 0x20, 0xe0, 0x80, 0xcc, 0x02, 0x0f, 0x22, 0xe0, 0x48, 0xb8, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0x0f, 0x10, 0x00], 13, Some(0), 19)]
#[case::jump_not_canonical(vec![0x48, 0x0f, 0xba, 0xe8, 63, 0xff, 0xe0], 13, Some(0), 5)]
#[case::paging_off(vec![0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 31, 0x0f, 0x22, 0xc0], 13, Some(0), 7)]
#[case::pae_off(vec![0x31, 0xc0, 0x0f, 0x22, 0xe0], 13, Some(0), 2)]
#[case::cr0_high(vec![0x48, 0x0f, 0xba, 0xe8, 32, 0x0f, 0x22, 0xc0], 13, Some(0), 5)]
#[case::cr3_high(vec![0x48, 0x0f, 0xba, 0xe8, 40, 0x0f, 0x22, 0xd8], 13, Some(0), 5)]
#[case::cr8_high(vec![0xb0, 16, 0x44, 0x0f, 0x22, 0xc0], 13, Some(0), 2)]
#[case::dr7_high(vec![0x48, 0x0f, 0xba, 0xe8, 32, 0x0f, 0x23, 0xf8], 13, Some(0), 5)]
#[case::iret_nested(vec![0x9c, 0x80, 0x4c, 0x24, 1, 0x40, 0x9d, 0x48, 0xcf], 13, Some(0), 7)]
#[case::ltr_busy(vec![0xb0, 0x28, 0x0f, 0x00, 0xd8], 13, Some(0x28), 2)]
fn ring_0(#[case] code: Vec<u8>, #[case] vector: u64, #[case] error: Option<u64>, #[case] rip: u64) {
    check(Machine::long(&QEMU64, 0, &code), vector, error, rip);
}

#[rstest]
#[case::hlt(vec![0xf4], 13, Some(0), 0)]
#[case::cr8(vec![0x44, 0x0f, 0x20, 0xc0], 13, Some(0), 0)]
#[case::swapgs(vec![0x0f, 0x01, 0xf8], 13, Some(0), 0)]
#[case::sysret(vec![0x48, 0x0f, 0x07], 13, Some(0), 0)]
#[case::int_dpl(vec![0xcd, 0x30], 13, Some(0x30 * 8 + 2), 0)]
#[case::int_open(vec![0xcd, 0x41], 0x41, None, 2)]
#[case::invlpg(vec![0x0f, 0x01, 0x38], 13, Some(0), 0)]
#[case::stac(vec![0x0f, 0x01, 0xcb], 6, None, 0)]
#[case::port(vec![0xe4, 0x80], 13, Some(0), 0)]
#[case::null_stack(vec![0x31, 0xc0, 0x8e, 0xd0], 13, Some(0), 2)]
fn ring_3(#[case] code: Vec<u8>, #[case] vector: u64, #[case] error: Option<u64>, #[case] rip: u64) {
    check(Machine::long(&MAX, 3, &code), vector, error, rip);
}

/// What 64-bit code leaves in RAX, from RAX = `QUAD`, RBX = DATA, RCX = 3, R9 = -1 and `QUAD` at DATA.
#[rstest]
#[case::mov_32_clears(vec![0x89, 0xc0], 0x5566_7788)]
#[case::mov_16_keeps(vec![0x66, 0x31, 0xc0], 0x1122_3344_5566_0000)]
#[case::rex_byte(vec![0x40, 0x88, 0xe0], STACK_0 & 0xff | QUAD & !0xff)]
#[case::high_byte(vec![0x88, 0xe0], QUAD & !0xff | 0x77)]
#[case::rex_ignored_before_prefix(vec![0x48, 0x66, 0x31, 0xc0], 0x1122_3344_5566_0000)]
#[case::movsxd(vec![0xb8, 0, 0, 0, 0x80, 0x48, 0x63, 0xc0], 0xffff_ffff_8000_0000)]
#[case::imm_64(vec![0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201)]
#[case::imm_32_extended(vec![0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff], u64::MAX)]
#[case::add(vec![0x4c, 0x01, 0xc8], QUAD - 1)]
#[case::shift(vec![0x48, 0xc1, 0xe0, 40], QUAD << 40)]
#[case::rotate(vec![0x48, 0xc1, 0xc8, 8], QUAD.rotate_right(8))]
#[case::double_shift(vec![0x4c, 0x0f, 0xa4, 0xc8, 36], QUAD << 36 | 0xf_ffff_ffff)]
#[case::bit_scan(vec![0x48, 0x0f, 0xbd, 0xc0], 60)]
#[case::bswap(vec![0x48, 0x0f, 0xc8], QUAD.swap_bytes())]
#[case::rip_relative(vec![0x48, 0x8d, 0x05, 0x10, 0, 0, 0], CODE + 0x17)]
#[case::eip_relative(vec![0x67, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0], CODE + 0x18)]
#[case::load(vec![0x48, 0x8b, 0x03], QUAD)]
#[case::load_high(vec![0x48, 0xb8, 0, 0, 3, 0, 0, 0x80, 0xff, 0xff, 0x48, 0x8b, 0x00], QUAD)]
#[case::moffs(vec![0x48, 0xa1, 0, 0, 3, 0, 0, 0, 0, 0], QUAD)]
#[case::string_bit(vec![0x48, 0x83, 0xc1, 0x3d, 0x48, 0x0f, 0xab, 0x0b, 0x48, 0x8b, 0x43, 0x08], 1)]
#[case::push_pop(vec![0x50, 0x31, 0xc0, 0x58], QUAD)]
#[case::push_imm(vec![0x6a, 0xff, 0x58], u64::MAX)]
#[case::push_16(vec![0x66, 0x50, 0x31, 0xc0, 0x66, 0x58], 0x7788)]
#[case::enter_leave(vec![0xc8, 0x20, 0, 0, 0x48, 0x29, 0xe5, 0x48, 0x89, 0xe8, 0xc9], 0x20)]
#[case::mul(vec![0x49, 0xf7, 0xe1, 0x48, 0x89, 0xd0], QUAD - 1)]
#[case::div(vec![0x31, 0xd2, 0x48, 0xf7, 0xf1], QUAD / 3)]
#[case::idiv(vec![0x4c, 0x89, 0xc8, 0x48, 0x99, 0x48, 0xf7, 0xf9], 0)]
#[case::imul(vec![0x49, 0x0f, 0xaf, 0xc1], QUAD.wrapping_neg())]
#[case::cdqe(vec![0x0c, 0x80, 0x48, 0x98], 0x5566_7788)]
#[case::xchg_r8(vec![0x49, 0x91], u64::MAX)]
#[case::nop_is_not_xchg(vec![0x90], QUAD)]
#[case::cmov(vec![0x39, 0xc0, 0x4d, 0x0f, 0x44, 0xc1, 0x4c, 0x89, 0xc0], u64::MAX)]
#[case::cmov_32_clears(vec![0x39, 0xc9, 0x0f, 0x45, 0xc1], 0x5566_7788)]
#[case::cmpxchg_32_keeps(vec![0x41, 0x0f, 0xb1, 0xc9, 0x4c, 0x89, 0xc8], u64::MAX)]
#[case::no_pause_with_rex_b(vec![0x4d, 0x31, 0xc0, 0xf3, 0x41, 0x90], 0)]
#[case::pause_with_rex(vec![0xf3, 0x40, 0x90], QUAD)]
#[case::jrcxz(vec![0x31, 0xc9, 0xe3, 2, 0x31, 0xc0], QUAD)]
#[case::loop_rcx(vec![0x31, 0xc0, 0xff, 0xc0, 0xe2, 0xfc], 3)]
#[case::loop_ecx(vec![0x48, 0x0f, 0xba, 0xe9, 40, 0x31, 0xc0, 0xff, 0xc0, 0x67, 0xe2, 0xfb], 3)]
#[case::call_ret(vec![0xe8, 3, 0, 0, 0, 0xeb, 5, 0x90, 0x48, 0xf7, 0xd0, 0xc3, 0x90], !QUAD)]
#[case::fs_null(vec![0x31, 0xc0, 0x8e, 0xe0, 0x64, 0x48, 0x8b, 0x03], QUAD)]
#[case::smsw(vec![0x48, 0x0f, 0x01, 0xe0], 0x8000_0011)]
#[case::sldt(vec![0x48, 0x0f, 0x00, 0xc0], 0)]
fn data(#[case] code: Vec<u8>, #[case] expect: u64) {
    let mut code = code;
    code.push(0xf4);
    let mut machine = Machine::long(&QEMU64, 0, &code);
    machine.bus.poke64(DATA, QUAD);
    let state = machine.cpu.state_mut();
    (state.gpr[0], state.gpr[1], state.gpr[3], state.gpr[9]) = (QUAD, 3, DATA, u64::MAX);
    machine.run();
    assert_eq!(machine.vector(), None, "fault");
    assert_eq!(machine.state().gpr[0], expect, "{:x}", machine.state().gpr[0]);
}

#[rstest]
#[case::movsq(vec![0xf3, 0x48, 0xa5], 8)]
#[case::movsb(vec![0xf3, 0xa4], 1)]
#[case::stosq(vec![0xf3, 0x48, 0xab], 8)]
#[case::movsd_67(vec![0xf3, 0x67, 0xa5], 4)]
fn strings_in_high_memory(#[case] code: Vec<u8>, #[case] size: u64) {
    let mut code = code;
    code.push(0xf4);
    let mut machine = Machine::long(&QEMU64, 0, &code);
    for at in 0..0x800 {
        machine.bus.poke64(DATA + 8 * at, QUAD.wrapping_mul(at));
    }
    let low = code.contains(&0x67);
    let base = if low { 0 } else { HIGH };
    let state = machine.cpu.state_mut();
    state.gpr[0] = QUAD;
    state.gpr[usize::from(gpr::RCX)] = 0x234;
    state.gpr[usize::from(gpr::RSI)] = base + DATA;
    state.gpr[usize::from(gpr::RDI)] = base + DATA + 0x5005;
    machine.run();
    assert_eq!(machine.state().gpr[usize::from(gpr::RCX)], 0);
    assert_eq!(machine.state().gpr[usize::from(gpr::RDI)], base + DATA + 0x5005 + 0x234 * size);
    let source = if code.contains(&0xab) { QUAD } else { machine.bus.peek(DATA, 8) };
    assert_eq!(machine.bus.peek(DATA + 0x5005, size as u8), source & (u64::MAX >> (64 - 8 * size)));
    let last = if code.contains(&0xab) { QUAD } else { machine.bus.peek(DATA + 0x233 * size, 8) };
    assert_eq!(
        machine.bus.peek(DATA + 0x5005 + 0x233 * size, size as u8),
        last & (u64::MAX >> (64 - 8 * size))
    );
}

#[test]
fn cmpxchg16b() {
    for (equal, aligned) in [(true, true), (false, true), (true, false)] {
        let mut machine = Machine::long(&QEMU64, 0, &[0xf0, 0x48, 0x0f, 0xc7, 0x0e, 0xf4]);
        machine.bus.poke64(DATA, 1);
        machine.bus.poke64(DATA + 8, 2);
        let state = machine.cpu.state_mut();
        state.gpr[usize::from(gpr::RSI)] = DATA + if aligned { 0 } else { 8 };
        (state.gpr[0], state.gpr[2]) = (if equal { 1 } else { 9 }, 2);
        (state.gpr[3], state.gpr[1]) = (5, 6);
        machine.run();
        assert_eq!(machine.vector(), if aligned { None } else { Some(13) });
        let expect = if equal && aligned { [5, 6] } else { [1, 2] };
        assert_eq!([machine.bus.peek(DATA, 8), machine.bus.peek(DATA + 8, 8)], expect);
        assert_eq!(machine.state().gpr[0], 1);
        if aligned {
            assert_eq!(machine.state().flags.zero(), equal);
        }
    }
}

/// Interrupts push SS:RSP always, on an aligned stack.
#[rstest]
#[case::same_level(0, 0x41, STACK_0 - 3, (STACK_0 - 3) & !15, long::DATA_0)]
#[case::inner_level(3, 0x41, STACK_3, STACK_0, 0)]
#[case::own_stack(0, 0x51, STACK_0, STACK_IST & !15, long::DATA_0)]
#[case::own_stack_inner(3, 0x51, STACK_3, STACK_IST & !15, 0)]
fn interrupt_frames(
    #[case] cpl: u8,
    #[case] vector: u8,
    #[case] rsp: u64,
    #[case] top: u64,
    #[case] ss: u16,
) {
    let mut machine = Machine::long(&QEMU64, cpl, &[0xcd, vector]);
    machine.cpu.state_mut().gpr[usize::from(gpr::RSP)] = rsp;
    let (from, stack) = (machine.state().cs().selector, machine.state().ss().selector);
    machine.run();
    assert_eq!(machine.vector(), Some(vector.into()));
    assert_eq!(machine.state().gpr[usize::from(gpr::RSP)], top - 40);
    let frame: Vec<u64> = (0..5).map(|index| machine.stack_quad(index)).collect();
    assert_eq!(frame, [CODE + 2, from.into(), 2, rsp, stack.into()]);
    assert_eq!(machine.state().ss().selector, ss);
    assert_eq!(machine.state().cpl, 0);
}

#[rstest]
#[case::short_tss(|machine: &mut Machine| machine.cpu.state_mut().tr.limit = 10, 10)]
#[case::stack_not_canonical(|machine: &mut Machine| machine.bus.poke64(TSS + 4, 1 << 60), 12)]
fn no_stack_to_enter_on(#[case] damage: fn(&mut Machine), #[case] vector: u64) {
    let mut machine = Machine::long(&QEMU64, 3, &[0xcd, 0x41]);
    // The fault's own handler has a stack.
    let gate = machine.bus.peek(IDT + 16 * vector, 8) | 2 << 32;
    machine.bus.poke64(IDT + 16 * vector, gate);
    damage(&mut machine);
    if vector == 10 {
        // Nor can that be entered: a double fault, then shutdown.
        assert_eq!(machine.run().1, Stop::Shutdown);
    } else {
        check(machine, vector, Some(0), 0);
    }
}

/// IRETQ to (CS, SS, RIP): where it faults.
#[rstest]
#[case::same(long::CODE_0, long::DATA_0, HANDLERS + 0x400, None)]
#[case::null_stack(long::CODE_0, 0, HANDLERS + 0x400, None)]
#[case::null_stack_ring_3(long::CODE_3, 3, CODE, Some(0))]
#[case::ring_3(long::CODE_3, long::DATA_3, CODE + 0x400, None)]
#[case::compatibility(long::CODE_32_3, long::DATA_3, CODE + 0x400, None)]
#[case::compatibility_beyond(long::CODE_32_3, long::DATA_3, 1 << 32, Some(0))]
#[case::both(long::CODE_BOTH, long::DATA_0, CODE, Some(long::CODE_BOTH))]
#[case::not_canonical(long::CODE_0, long::DATA_0, 1 << 63, Some(0))]
#[case::stack_of_ring_0(long::CODE_3, long::DATA_0, CODE, Some(long::DATA_0))]
fn iretq(#[case] cs: u16, #[case] ss: u16, #[case] rip: u64, #[case] error: Option<u16>) {
    let mut machine = Machine::long(&QEMU64, 0, &[0x48, 0xcf]);
    let rsp = STACK_0 - 64;
    for (index, value) in (0..).zip([rip, cs.into(), 0x202, STACK_3 - 8, ss.into()]) {
        machine.bus.poke64(rsp + 8 * index, value);
    }
    machine.bus.set_byte(HANDLERS + 0x400, 0xf4);
    machine.bus.poke(CODE + 0x400, &[0x89, 0xc0, 0xcd, 0x42]);
    let state = machine.cpu.state_mut();
    state.gpr[usize::from(gpr::RSP)] = rsp;
    state.segments[4].base = QUAD >> 20;
    state.segments[4].selector = 0;
    machine.run();
    match error {
        Some(error) => {
            assert_eq!(machine.vector(), Some(13));
            assert_eq!(machine.stack_quad(0), error.into());
        }
        None if cs & 3 == 3 => {
            assert_eq!(machine.vector(), Some(0x42));
            let frame: Vec<u64> = (0..5).map(|index| machine.stack_quad(index)).collect();
            assert_eq!(frame, [rip + 4, cs.into(), 0x202, STACK_3 - 8, ss.into()]);
            assert_eq!(machine.state().segments[4].base, QUAD >> 20, "a null FS keeps its base");
        }
        None => {
            assert_eq!(machine.state().rip, rip + 1);
            assert_eq!(machine.state().gpr[usize::from(gpr::RSP)], STACK_3 - 8);
            assert_eq!(machine.state().ss().selector, ss);
        }
    }
}

/// CALL far through memory: what is reached, or the error code of #GP.
#[rstest]
#[case::code(0, long::CODE_0, None)]
#[case::both(0, long::CODE_BOTH, Some(long::CODE_BOTH))]
#[case::tss(0, long::TSS_B, Some(long::TSS_B))]
#[case::data(0, long::DATA_0, Some(long::DATA_0))]
#[case::inner(3, long::CODE_0, Some(long::CODE_0))]
#[case::gate(3, long::CALL_GATE, None)]
#[case::gate_same_level(0, long::CALL_GATE, None)]
#[case::gate_to_32(3, long::CALL_GATE_32, Some(long::CODE_32))]
#[case::null(0, 0, Some(0))]
fn far_calls(#[case] cpl: u8, #[case] selector: u16, #[case] error: Option<u16>) {
    let mut machine = Machine::long(&QEMU64, cpl, &[0xff, 0x1c, 0x25, 0, 0, 3, 0, 0xf4]);
    machine.bus.poke32(DATA, (HANDLERS + 16 * 0x52) as u32);
    machine.bus.poke32(DATA + 4, selector.into());
    machine.run();
    match error {
        Some(error) => {
            assert_eq!(machine.vector(), Some(13));
            assert_eq!(machine.stack_quad(0), error.into());
        }
        None => {
            assert_eq!(machine.vector(), Some(0x52));
            let cs = if cpl == 3 { long::CODE_3 } else { long::CODE_0 };
            if selector == long::CALL_GATE {
                assert_eq!([machine.stack_quad(0), machine.stack_quad(1)], [CODE + 7, cs.into()]);
            } else {
                assert_eq!(machine.bus.peek(STACK_0 - 8, 4), CODE + 7);
            }
            if cpl == 3 {
                assert_eq!([machine.stack_quad(2), machine.stack_quad(3)], [STACK_3, long::DATA_3.into()]);
                assert_eq!(machine.state().ss().selector, 0);
            }
        }
    }
}

#[test]
fn compatibility_mode_and_back() {
    // 64-bit code goes to 32-bit code, where INC EAX exists and addresses are cut, and back.
    let to_64 = CODE + 0x200;
    let code_32 = assemble(32, CODE + 0x100, |a| {
        a.inc(eax)?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.db(&[0xea])?;
        a.dd(&[to_64 as u32])?;
        a.dw(&[long::CODE_0])
    });
    let mut machine = Machine::long(&QEMU64, 0, &[0xff, 0x2c, 0x25, 0, 0, 3, 0]);
    machine.bus.poke32(DATA, CODE as u32 + 0x100);
    machine.bus.poke32(DATA + 4, long::CODE_32.into());
    machine.bus.poke(CODE + 0x100, &code_32);
    // INC R8; HLT
    machine.bus.poke(to_64, &[0x49, 0xff, 0xc0, 0xf4]);
    let state = machine.cpu.state_mut();
    (state.gpr[0], state.gpr[3], state.gpr[8]) = (u64::MAX, 0xdead_0000_0000 | DATA, 7);
    machine.run();
    assert_eq!(machine.state().rip, to_64 + 4);
    assert_eq!((machine.state().gpr[0], machine.state().gpr[8]), (0, 8));
    assert_eq!(machine.state().gpr[1], CODE + 0x100);
}

/// From 32-bit protected mode: what stands in the way of long mode.
#[rstest]
#[case::all(&QEMU64, cr4::PAE, efer::LME, true)]
#[case::no_pae(&QEMU64, 0, efer::LME, false)]
#[case::five_levels(&MAX, cr4::PAE | cr4::LA57, efer::LME, true)]
fn entering(#[case] model: &'static Model, #[case] cr4: u64, #[case] efer: u64, #[case] good: bool) {
    let code = assemble(32, CODE, |a| {
        a.mov(cr0_register, eax)?;
        a.db(&[0xea])?;
        a.dd(&[CODE as u32 + 0x100])?;
        a.dw(&[long::CODE_0])
    });
    let mut machine = Machine::long(model, 0, &code);
    machine.bus.poke(CODE + 0x100, &[0x48, 0x31, 0xc0, 0xf4]);
    if cr4 & cr4::LA57 != 0 {
        machine.bus.poke64(0x7000, PML4 | 7);
    }
    let state = machine.cpu.state_mut();
    state.gpr[0] = state.cr0;
    state.cr0 &= !cr0::PG;
    (state.cr4, state.msrs.efer) = (cr4, efer);
    if cr4 & cr4::LA57 != 0 {
        state.cr3 = 0x7000;
    }
    state.segments[1] = Segment { selector: long::CODE_32, base: 0, limit: u32::MAX, rights: 0xc09b };
    if good {
        machine.run();
        assert_eq!(machine.state().rip, CODE + 0x104);
        assert_eq!(machine.state().gpr[0], 0);
        assert_ne!(machine.state().msrs.efer & efer::LMA, 0);
    } else {
        machine.run_limit(1);
        // The fault's handler is not found in an IDT of 64-bit gates.
        assert_ne!(machine.state().rip, CODE + 3);
        assert_eq!(machine.state().msrs.efer & efer::LMA, 0);
    }
}

#[test]
fn a_32_bit_model_has_no_long_mode() {
    assert_eq!(PENTIUM3.efer(), 0);
    let mut machine = Machine::protected(0, &[0x0f, 0x32, 0xf4]);
    machine.cpu = {
        let state = machine.state().clone();
        let mut cpu = warmboot_cpu::Cpu::new(&PENTIUM3, 0);
        cpu.restore(state, false).expect("a state it can have");
        cpu
    };
    machine.set(gpr::RCX, 0xc000_0080);
    machine.run();
    assert_eq!(machine.vector(), Some(13));
}

const STAR: u64 = (long::CODE_0 as u64) << 32 | 0x0b << 48;

#[rstest]
#[case::amd(&QEMU64)]
#[case::intel(&models::HASWELL)]
fn syscall_and_sysretq(#[case] model: &'static Model) {
    let mut machine = Machine::long(model, 3, &[0x0f, 0x05, 0xcd, 0x42]);
    // SWAPGS, MOV RAX, GS:[0], SYSRETQ.
    let kernel = [0x0f, 0x01, 0xf8, 0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x0f, 0x07];
    machine.bus.poke(HANDLERS + 0x800, &kernel);
    machine.bus.poke64(DATA + 0x100, QUAD);
    let state = machine.cpu.state_mut();
    state.flags = warmboot_cpu::flags::Flags::from(0x0ad7);
    state.msrs.long.star = STAR;
    state.msrs.long.lstar = HIGH + HANDLERS + 0x800;
    state.msrs.long.fmask = 0x200;
    state.msrs.long.kernel_gs_base = HIGH + DATA + 0x100;
    machine.run();
    assert_eq!(machine.vector(), Some(0x42));
    let state = machine.state();
    assert_eq!(state.gpr[0], QUAD);
    assert_eq!((state.gpr[1], state.gpr[11]), (CODE + 2, 0x0ad7));
    assert_eq!(machine.stack_quad(1), 0x1b);
    assert_eq!(machine.stack_quad(2), 0x0ad7);
    assert_eq!(machine.stack_quad(4), 0x13);
}

#[test]
fn sysenter_and_sysexitq() {
    let mut machine = Machine::long(&models::HASWELL, 3, &[0x0f, 0x34]);
    let kernel = assemble(64, HANDLERS + 0x800, |a| {
        a.mov(rbx, iced_x86::code_asm::rsp)?;
        a.mov(rdx, CODE + 0x100)?;
        a.mov(rcx, STACK_3 - 64)?;
        a.db(&[0x48, 0x0f, 0x35])
    });
    machine.bus.poke(HANDLERS + 0x800, &kernel);
    machine.bus.poke(CODE + 0x100, &[0xcd, 0x42]);
    let msrs = &mut machine.cpu.state_mut().msrs;
    msrs.sysenter_cs = long::CODE_0.into();
    msrs.sysenter_eip = HIGH + HANDLERS + 0x800;
    msrs.sysenter_esp = HIGH + STACK_0 - 256;
    machine.run();
    assert_eq!(machine.vector(), Some(0x42));
    assert_eq!(machine.state().gpr[3], HIGH + STACK_0 - 256);
    assert_eq!(machine.stack_quad(1), 0x28 | 3);
    assert_eq!(machine.stack_quad(3), STACK_3 - 64);
}

#[test]
fn bases_of_fs_and_gs() {
    let code = assemble(64, CODE, |a| {
        a.wrfsbase(rbx)?;
        a.mov(rax, qword_ptr(0).fs())?;
        a.rdfsbase(r8)?;
        a.wrgsbase(ebx)?;
        a.rdgsbase(r9)?;
        a.hlt()
    });
    for on in [true, false] {
        let mut machine = Machine::long(&MAX, 3, &code);
        machine.bus.poke(CODE + code.len() as u64 - 1, &[0xcd, 0x42]);
        machine.bus.poke64(DATA, QUAD);
        let state = machine.cpu.state_mut();
        state.cr4 |= if on { cr4::FSGSBASE } else { 0 };
        state.gpr[3] = HIGH + DATA;
        machine.run();
        assert_eq!(machine.vector(), Some(if on { 0x42 } else { 6 }));
        if on {
            assert_eq!(machine.state().gpr[0], QUAD);
            assert_eq!([machine.state().gpr[8], machine.state().gpr[9]], [HIGH + DATA, DATA]);
        }
    }
}

#[test]
fn tables_of_ten_bytes() {
    let code = assemble(64, CODE, |a| {
        a.sgdt(ptr(DATA as i32))?;
        a.sidt(ptr(DATA as i32 + 16))?;
        a.lidt(ptr(DATA as i32 + 32))?;
        a.int3()
    });
    let mut machine = Machine::long(&QEMU64, 0, &code);
    machine.bus.poke(DATA + 32, &[0xff, 0x0f]);
    machine.bus.poke64(DATA + 34, HIGH + IDT);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.bus.peek(DATA, 2), 20 * 8 - 1);
    assert_eq!(machine.bus.peek(DATA + 2, 8), common::GDT);
    assert_eq!(machine.bus.peek(DATA + 18, 8), IDT);
}

#[test]
fn ltr_takes_sixteen_bytes() {
    let mut machine = Machine::long(&QEMU64, 0, &[0xb0, long::TSS_B as u8, 0x0f, 0x00, 0xd8, 0xf4]);
    machine.bus.poke32(common::GDT + u64::from(long::TSS_B) + 8, 0xffff_8000);
    machine.run();
    assert_eq!(machine.vector(), None);
    assert_eq!(machine.state().tr.base, HIGH + common::TSS_B);
    assert_eq!(machine.bus.peek(common::GDT + u64::from(long::TSS_B) + 5, 1), 0x8b, "busy");
}

#[test]
fn rsm_returns_to_64_bit_mode() {
    let mut machine = Machine::long(&QEMU64, 3, &[0x49, 0xff, 0xc0, 0xcd, 0x42]);
    machine.bus.poke(0x3_8000, &[0x66, 0xb8, 5, 0, 0, 0, 0x0f, 0xaa]);
    let state = machine.cpu.state_mut();
    state.gpr[8] = QUAD;
    state.gpr[0] = HIGH;
    state.pending.smi = true;
    machine.run();
    assert_eq!(machine.vector(), Some(0x42));
    assert_eq!((machine.state().gpr[8], machine.state().gpr[0]), (QUAD + 1, HIGH));
    assert_eq!(machine.stack_quad(1), long::CODE_3.into());
    assert_eq!(machine.bus.peek(0x3_fed0, 8), machine.state().msrs.efer);
    assert_eq!(machine.bus.peek(0x3_fff8 - 64, 8), QUAD);
}
