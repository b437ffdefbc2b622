//! Hardware task switches, v8086 mode.

mod common;

use common::{CODE, GDT, HANDLERS, IDT, Machine, STACK_0, TSS, TSS_B, assemble, gate, sel};
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    flags::{Flags, bit},
    state::{cr0, cr4, gpr},
};

/// Type byte of the descriptor `selector` names.
fn kind(machine: &Machine, selector: u16) -> u8 {
    machine.bus.byte(GDT + u64::from(selector & !7) + 5) & 15
}

const BUSY: u8 = 11;
const FREE: u8 = 9;

/// How the second task is entered, whether the first stays busy, and whether it nests.
#[rstest]
#[case::jump_tss(vec![0xea, 0, 0, 0, 0, 0x30, 0], false, 7)]
#[case::jump_gate(vec![0xea, 0, 0, 0, 0, 0x78, 0], false, 7)]
#[case::call_tss(vec![0x9a, 0, 0, 0, 0, 0x30, 0], true, 7)]
#[case::call_gate(vec![0x9a, 0, 0, 0, 0, 0x78, 0], true, 7)]
#[case::interrupt(vec![0xcd, 0x51], true, 2)]
fn switches(#[case] code: Vec<u8>, #[case] nests: bool, #[case] next: u64) {
    let mut machine = Machine::protected(0, &code);
    machine.set(gpr::RSI, 0xabcd);
    assert_eq!(machine.run(), (2, Stop::Halt));
    let state = machine.state();
    assert_eq!(state.rip, CODE + 0x801);
    assert_eq!(state.tr.selector, sel::TSS_B);
    assert_eq!(state.tr.base, TSS_B);
    assert_ne!(state.cr0 & cr0::TS, 0);
    assert_eq!(state.gpr[..4], [0x1111, 0x2222, 0x3333, 0x4444]);
    assert_eq!(state.flags.nested_task(), nests);
    assert_eq!(kind(&machine, sel::TSS), if nests { BUSY } else { FREE });
    assert_eq!(kind(&machine, sel::TSS_B), BUSY);
    assert_eq!(machine.bus.peek(TSS_B, 2), if nests { u64::from(sel::TSS) } else { 0 });
    assert_eq!(machine.bus.peek(TSS + 0x20, 4), CODE + next);
    assert_eq!(machine.bus.peek(TSS + 0x40, 4), 0xabcd);
    assert_eq!(machine.bus.peek(TSS + 0x4c, 2), u64::from(sel::CODE_0));
}

#[test]
fn iret_goes_back_to_the_calling_task() {
    let mut machine = Machine::protected(0, &[0x9a, 0, 0, 0, 0, 0x30, 0, 0xcc]);
    machine.bus.set_byte(CODE + 0x800, 0xcf);
    machine.set(gpr::RDI, 0x77);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RDI), 0x77);
    assert_eq!((kind(&machine, sel::TSS), kind(&machine, sel::TSS_B)), (BUSY, FREE));
    assert_eq!(machine.state().tr.selector, sel::TSS);
    // The task left by IRET is saved with NT clear and EIP after its IRET.
    assert_eq!(machine.bus.peek(TSS_B + 0x24, 4) as u32 & bit::NT, 0);
    assert_eq!(machine.bus.peek(TSS_B + 0x20, 4), CODE + 0x801);
}

#[test]
fn task_16() {
    let mut machine = Machine::protected(0, &[0xea, 0, 0, 0, 0, 0x90, 0]);
    machine.bus.poke(TSS_B, &[0; 0x2c]);
    let words = [
        (0x0e, 0x10),
        (0x10, 2),
        (0x12, 0x1234),
        (0x1a, 0x900),
        (0x22, sel::DATA_16),
        (0x24, sel::CODE_16),
        (0x26, sel::DATA_16),
        (0x28, sel::DATA_16),
    ];
    for (offset, value) in words {
        machine.bus.poke(TSS_B + offset, &value.to_le_bytes());
    }
    machine.bus.set_byte(CODE + 0x10, 0xf4);
    assert_eq!(machine.run(), (2, Stop::Halt));
    assert_eq!(machine.register(gpr::RAX), 0xffff_1234);
    assert_eq!(machine.state().rip, 0x11);
    assert_eq!(machine.state().segments[4].selector, 0);
}

/// A bad new task: the fault, and whether the switch had already happened.
#[rstest]
#[case::short(|m: &mut Machine| m.bus.set_byte(GDT + 0x30, 0x66), 10, 0x30, false)]
#[case::short_limit_high(|m: &mut Machine| m.bus.set_byte(GDT + 0x31, 0), 10, 0x30, false)]
#[case::absent(|m: &mut Machine| m.bus.set_byte(GDT + 0x35, 0x09), 11, 0x30, false)]
#[case::busy(|m: &mut Machine| m.bus.set_byte(GDT + 0x35, 0x8b), 13, 0x30, false)]
#[case::bad_ldt(|m: &mut Machine| m.bus.poke32(TSS_B + 0x60, 0x10), 10, 0x10, true)]
#[case::null_stack(|m: &mut Machine| m.bus.poke32(TSS_B + 0x50, 0), 10, 0, true)]
#[case::absent_data(|m: &mut Machine| m.bus.poke32(TSS_B + 0x54, 0x60), 11, 0x60, true)]
#[case::code_not_code(|m: &mut Machine| m.bus.poke32(TSS_B + 0x4c, 0x10), 10, 0x10, true)]
fn bad_tasks(
    #[case] spoil: fn(&mut Machine),
    #[case] vector: u64,
    #[case] error: u32,
    #[case] switched: bool,
) {
    let mut machine = Machine::protected(0, &[0xea, 0, 0, 0, 0, 0x30, 0]);
    spoil(&mut machine);
    if vector == 10 && error == 0x30 {
        // The two bytes of the limit are spoilt together.
        machine.bus.poke(GDT + 0x30, &[0x66, 0]);
    }
    // #TS and #NP after the switch are handled by a task of their own.
    machine.run();
    if switched {
        assert_eq!(machine.state().tr.selector, sel::TSS_B);
        if machine.state().segments[2].rights & 0x80 == 0 {
            return;
        }
    } else {
        assert_eq!(machine.state().tr.selector, sel::TSS);
        assert_eq!(machine.bus.peek(TSS + 0x20, 4), 0, "a fault leaves no trace");
        assert_eq!(kind(&machine, sel::TSS), BUSY);
        assert_eq!(u64::from(machine.stack(1)), CODE);
    }
    if machine.vector() == Some(vector) {
        assert_eq!(machine.stack(0), error);
    } else {
        // Without a stack the fault becomes a double fault, then shutdown.
        assert_eq!(machine.state().activity, warmboot_cpu::state::Activity::Shutdown);
    }
}

#[test]
fn trap_bit_raises_debug() {
    let mut machine = Machine::protected(0, &[0xea, 0, 0, 0, 0, 0x30, 0]);
    machine.bus.set_byte(TSS_B + 0x64, 1);
    machine.run();
    assert_eq!(machine.vector(), Some(1));
    assert_eq!(machine.state().dr[6] & 0x8000, 0x8000);
    assert_eq!(u64::from(machine.stack(0)), CODE + 0x800);
}

/// Ring 0 goes to v8086 code at 1000:0 with `iopl`; the frame of IRETD is put on the stack.
fn v8086(code: &[u8], iopl: u32) -> Machine {
    let start = assemble(32, CODE, |a| {
        for selector in [0x5000, 0x4000, 0x3000, 0x2800, 0x2000] {
            a.push(selector)?;
        }
        a.push(0x1000_i32)?;
        a.push((bit::VM | iopl << 12 | 2) as i32)?;
        a.push(0x1100_i32)?;
        a.push(0_i32)?;
        a.iretd()
    });
    let mut machine = Machine::protected(0, &start);
    machine.bus.poke(0x1_1000, code);
    machine
}

#[test]
fn v8086_frame_has_all_segments() {
    let mut machine = v8086(&[0xcc], 0);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    let frame: Vec<u32> = (0..9).map(|index| machine.stack(index)).collect();
    let expect = [1, 0x1100, bit::VM | 2, 0x1000, 0x2000, 0x2800, 0x3000, 0x4000, 0x5000];
    assert_eq!(frame, expect);
    assert_eq!(machine.register(gpr::RSP), STACK_0 as u32 - 36);
    assert_eq!(machine.state().segments[3].rights, 0);
    assert!(!machine.state().v8086());
}

/// Code, IOPL, VME: the vector that arrives at ring 0.
#[rstest]
#[case::int_iopl_0(vec![0xcd, 0x41], 0, false, 13)]
#[case::int_iopl_3(vec![0xcd, 0x41], 3, false, 0x41)]
#[case::cli_iopl_0(vec![0xfa], 0, false, 13)]
#[case::cli_iopl_3(vec![0xfa, 0xcc], 3, false, 3)]
#[case::cli_vme(vec![0xfa, 0xcc], 0, true, 3)]
#[case::pushf_iopl_0(vec![0x9c], 0, false, 13)]
#[case::pushf_vme(vec![0x9c, 0xcc], 0, true, 3)]
#[case::pushfd_vme(vec![0x66, 0x9c], 0, true, 13)]
#[case::hlt(vec![0xf4], 3, false, 13)]
#[case::port(vec![0xe4, 0x80], 3, false, 13)]
#[case::lldt(vec![0x0f, 0x00, 0xd0], 3, false, 6)]
#[case::segment_load(vec![0xb8, 0x34, 0x12, 0x8e, 0xd8, 0xcc], 0, false, 3)]
fn v8086_sensitive(#[case] code: Vec<u8>, #[case] iopl: u32, #[case] vme: bool, #[case] vector: u64) {
    let mut machine = v8086(&code, iopl);
    if vme {
        machine.cpu.state_mut().cr4 |= cr4::VME;
    }
    machine.run();
    assert_eq!(machine.vector(), Some(vector));
}

#[test]
fn int_is_redirected_to_the_8086_handler() {
    let mut machine = v8086(&[0xcd, 0x21, 0xcc], 0);
    machine.cpu.state_mut().cr4 |= cr4::VME;
    // The redirection bitmap lies before the I/O bitmap: all zero but bit 3 (INT3 comes by IDT).
    machine.bus.poke(TSS + 0x66, &0xa0_u16.to_le_bytes());
    machine.bus.poke(TSS + 0x80, &[0; 32]);
    machine.bus.poke32(0x21 * 4, 0x1000_0500);
    // Handler at 1000:0500: MOV CX, 1234h; IRET.
    machine.bus.poke(0x1_0500, &[0xb9, 0x34, 0x12, 0xcf]);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RCX), 0x1234);
    assert_eq!(machine.stack(0), 3);
}

#[test]
fn interrupt_gates_must_lead_to_ring_0() {
    let mut machine = v8086(&[0xcc], 0);
    machine.bus.poke64(IDT + 24, gate(sel::CONFORMING, (HANDLERS + 0x30) as u32, 0xee, 0));
    machine.run();
    assert_eq!(machine.vector(), Some(13));
    assert_eq!(machine.stack(0), u32::from(sel::CONFORMING));
}

#[test]
fn popf_keeps_what_is_not_its_own() {
    // At ring 3 with IOPL 0, POPF changes neither IF nor IOPL.
    let code = assemble(32, CODE, |a| {
        a.push(0x3ed7_i32)?;
        a.popfd()?;
        a.int3()
    });
    let mut machine = Machine::protected(3, &code);
    machine.cpu.state_mut().flags = Flags::from(2);
    machine.run();
    // TF was set: the single step comes after the next instruction, which is INT3.
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.stack(2) & (bit::IF | bit::IOPL), 0);
    assert_eq!(machine.stack(2) & bit::ARITHMETIC, bit::ARITHMETIC);
}
