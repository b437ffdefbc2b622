//! Debug registers, single-step, interrupts, NMI, SMM, INIT, and the engine's counting.

mod common;

use common::{CODE, DATA, HANDLERS, Machine, assemble};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Breakpoint, Cpu, Path, Stop,
    flags::bit,
    models,
    state::{Activity, gpr},
    testing::FlatBus,
};

/// DR7 and DR0; the DR6 bits and the EIP the handler of #DB sees.
#[rstest]
#[case::instruction(0x401, CODE as u32 + 5, 1, 5)]
#[case::instruction_global(0x402, CODE as u32 + 5, 1, 5)]
#[case::disabled(0x400, CODE as u32 + 5, 0, 0)]
#[case::data_write(0x000d_0401, DATA as u32, 1, 10)]
#[case::data_write_ignores_reads(0x000d_0401, DATA as u32 + 8, 0, 0)]
#[case::data_any(0x000f_0401, DATA as u32 + 8, 1, 16)]
#[case::data_byte_inside(0x0001_0401, DATA as u32 + 3, 1, 10)]
fn debug_registers(#[case] control: u32, #[case] address: u32, #[case] hits: u64, #[case] eip: u64) {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, 1)?;
        a.mov(dword_ptr(DATA as u32), eax)?;
        a.mov(ecx, dword_ptr(DATA as u32 + 8))?;
        a.int3()
    });
    let mut machine = Machine::protected(0, &code);
    let state = machine.cpu.state_mut();
    state.dr[0] = u64::from(address);
    state.dr[7] = u64::from(control);
    machine.run();
    if hits == 0 {
        assert_eq!(machine.vector(), Some(3));
        return;
    }
    assert_eq!(machine.vector(), Some(1));
    assert_eq!(machine.state().dr[6] & 0xf, hits);
    assert_eq!(u64::from(machine.stack(0)), CODE + eip);
}

#[test]
fn resume_flag_passes_a_breakpoint_once() {
    // The handler sets RF in the image and returns: the instruction runs, and RF is gone.
    let mut machine = Machine::protected(0, &[0x90, 0x90, 0xeb, 0xfc]);
    let handler = assemble(32, HANDLERS + 16, |a| {
        a.bts(dword_ptr(esp + 8), 16)?;
        a.inc(ebp)?;
        a.iretd()
    });
    machine.bus.poke(HANDLERS + 16, &handler);
    let state = machine.cpu.state_mut();
    state.dr[0] = CODE + 1;
    state.dr[7] = 0x401;
    // Round the loop: breakpoint, three of handler, NOP, JMP, NOP.
    machine.run_limit(1 + 7 * 3);
    assert_eq!(machine.register(gpr::RBP), 3);
}

#[test]
fn single_step_after_each_instruction() {
    let code = assemble(32, CODE, |a| {
        a.pushfd()?;
        a.bts(dword_ptr(esp), 8)?;
        a.popfd()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    let mut machine = Machine::protected(0, &code);
    machine.run();
    assert_eq!(machine.vector(), Some(1));
    assert_eq!(machine.state().dr[6] & 0x4000, 0x4000);
    // POPFD itself is not stepped over; the NOP after it is.
    assert_eq!(u64::from(machine.stack(0)), CODE + code.len() as u64 - 2);
    assert_eq!(machine.stack(2) & bit::TF, bit::TF);
}

#[test]
fn mov_ss_holds_the_single_step_off() {
    let code = assemble(32, CODE, |a| {
        a.mov(ss, eax)?;
        a.nop()?;
        a.nop()
    });
    let mut machine = Machine::protected(0, &code);
    machine.set(gpr::RAX, u32::from(common::sel::DATA_0));
    machine.cpu.state_mut().flags.set_trap(true);
    machine.run();
    assert_eq!(machine.vector(), Some(1));
    assert_eq!(u64::from(machine.stack(0)), CODE + 3);
}

#[test]
fn general_detect() {
    let mut machine = Machine::protected(0, &[0x0f, 0x21, 0xc0]);
    machine.cpu.state_mut().dr[7] = 0x2400;
    machine.run();
    assert_eq!(machine.vector(), Some(1));
    assert_eq!(machine.state().dr[6] & 0x2000, 0x2000);
    assert_eq!(machine.state().dr[7] & 0x2000, 0);
}

/// An interrupt is pending while `code` runs: after how many instructions is it taken?
#[rstest]
#[case::at_once(vec![0x90, 0x90, 0xf4], true, 0)]
#[case::after_sti_one_more(vec![0xfb, 0x90, 0x90, 0xf4], false, 2)]
#[case::sti_with_if_set(vec![0xfb, 0x90, 0xf4], true, 0)]
#[case::after_mov_ss(vec![0x8e, 0xd0, 0x90, 0x90], true, 0)]
#[case::sti_hlt(vec![0xfb, 0xf4], false, 2)]
fn interrupt_window(#[case] code: Vec<u8>, #[case] enabled: bool, #[case] taken_after: u64) {
    for path in [Path::Cached, Path::Plain] {
        let mut machine = Machine::protected(0, &code);
        machine.set(gpr::RAX, u32::from(common::sel::DATA_0));
        machine.cpu.state_mut().flags.set_interrupt(enabled);
        machine.cpu.set_interrupt_line(true);
        machine.bus.vector = Some(0x41);
        let mut total = 0;
        while machine.bus.vector.is_some() {
            let run = machine.cpu.run(&mut machine.bus, 100, path);
            total += run.retired;
            assert!(matches!(run.stop, Stop::Device | Stop::Halt), "{:?}", run.stop);
        }
        assert_eq!(total, taken_after, "{path:?}");
        assert_eq!(machine.state().rip, HANDLERS + 0x410);
    }
}

#[test]
fn repeat_is_interrupted_between_iterations() {
    // CLD; REP STOSB of 100 bytes.
    let mut machine = Machine::protected(0, &[0xf3, 0xaa, 0xf4]);
    machine.set(gpr::RCX, 100);
    machine.set(gpr::RDI, DATA as u32);
    let run = machine.cpu.run(&mut machine.bus, 40, Path::Cached);
    assert_eq!((run.retired, run.stop), (40, Stop::Budget));
    assert_eq!((machine.register(gpr::RCX), machine.state().rip), (60, CODE));
    let run = machine.cpu.run(&mut machine.bus, 1000, Path::Cached);
    assert_eq!((run.retired, run.stop), (61, Stop::Halt));
}

#[test]
fn halted_without_a_source() {
    let mut machine = Machine::protected(0, &[0xf4, 0x90, 0xf4]);
    assert_eq!(machine.run(), (1, Stop::Halt));
    let run = machine.cpu.run(&mut machine.bus, 9, Path::Cached);
    assert_eq!((run.retired, run.stop), (0, Stop::Halt));
    assert!(!machine.cpu.can_run());
    machine.cpu.signal_nmi();
    assert!(machine.cpu.can_run());
    assert_eq!(machine.run(), (1, Stop::Halt));
    assert_eq!(machine.vector(), Some(2));
    // A second NMI waits for IRET.
    machine.cpu.signal_nmi();
    assert!(!machine.cpu.can_run());
}

#[test]
fn ports_end_the_run() {
    let mut machine = Machine::protected(0, &[0xe6, 0x80, 0xe4, 0x80, 0x90, 0xf4]);
    machine.set(gpr::RAX, 0x55);
    let run = machine.cpu.run(&mut machine.bus, 100, Path::Cached);
    assert_eq!((run.retired, run.stop), (1, Stop::Device));
    assert_eq!(machine.bus.port_writes, [(0x80, 1, 0x55)]);
    let run = machine.cpu.run(&mut machine.bus, 100, Path::Cached);
    assert_eq!((run.retired, run.stop), (1, Stop::Device));
    assert_eq!(machine.register(gpr::RAX), 0xff);
    let run = machine.cpu.run(&mut machine.bus, 100, Path::Cached);
    assert_eq!((run.retired, run.stop), (2, Stop::Halt));
}

#[test]
fn code_that_changes_itself() {
    // The store hits the immediate of the next instruction, in the same block.
    let code = assemble(32, CODE, |a| {
        a.mov(byte_ptr(CODE as u32 + 8), 0x77)?;
        a.mov(al, 0x11)?;
        a.hlt()
    });
    assert_eq!(code[7], 0xb0);
    let mut machine = Machine::protected(0, &code);
    machine.run();
    assert_eq!(machine.register(gpr::RAX) & 0xff, 0x77);
    // And from outside, between runs.
    machine.cpu.state_mut().rip = CODE + 7;
    machine.cpu.state_mut().activity = Activity::Running;
    machine.bus.set_byte(CODE + 8, 0x22);
    machine.cpu.code_written(warmboot_cpu::Frame((CODE >> 12) as u32), 8, 1);
    machine.cpu.run(&mut machine.bus, 1, Path::Cached);
    assert_eq!(machine.register(gpr::RAX) & 0xff, 0x22);
}

#[rstest]
#[case::linear(Breakpoint::Linear(CODE + 2))]
#[case::far(Breakpoint::Far { selector: common::sel::CODE_0, offset: CODE as u32 + 2 })]
fn address_breakpoints(#[case] breakpoint: Breakpoint) {
    for path in [Path::Cached, Path::Plain] {
        let mut machine = Machine::protected(0, &[0x90, 0x90, 0x90, 0xeb, 0xfb]);
        machine.cpu.set_address_breakpoints(vec![breakpoint]);
        let run = machine.cpu.run(&mut machine.bus, 100, path);
        assert_eq!((run.retired, run.stop), (2, Stop::Address), "{path:?}");
        assert_eq!(machine.state().rip, CODE + 2);
        let run = machine.cpu.run(&mut machine.bus, 100, path);
        assert_eq!((run.retired, run.stop), (4, Stop::Address), "{path:?}");
    }
}

#[rstest]
#[case::amd64(&models::QEMU64, 0x2_0064, 0xff00, 0xfff8)]
#[case::intel(&models::PENTIUM3, 0x2_0000, 0xfef8, 0xffd0)]
fn system_management_mode(
    #[case] model: &'static models::Model,
    #[case] revision: u64,
    #[case] smbase: u64,
    #[case] eax_at: u64,
) {
    let template = Machine::protected(3, &[0x90, 0xcc]);
    let mut machine = Machine { cpu: Cpu::new(model, 0), bus: template.bus.clone() };
    *machine.cpu.state_mut() = template.state().clone();
    // The handler at SMBASE + 8000h: MOV CX, 1; then move SMBASE to 40000h; RSM.
    let handler = assemble(16, 0x8000, |a| {
        a.mov(byte_ptr(0x500), 0xaa_u32)?;
        a.mov(dword_ptr(smbase as u32).cs(), 0x4_0000)?;
        a.rsm()
    });
    let state = machine.cpu.state_mut();
    state.smbase = 0x3_0000;
    state.gpr[0] = 0x1234_5678;
    machine.bus.poke(0x3_8000, &handler);
    let before = machine.state().clone();
    machine.cpu.signal_smi();
    let run = machine.cpu.run(&mut machine.bus, 1, Path::Cached);
    assert_eq!(run.retired, 1);
    let state = machine.state();
    assert!(state.smm && machine.bus.smm_seen);
    assert_eq!((state.segments[1].selector, state.segments[1].base), (0x3000, 0x3_0000));
    assert_eq!(state.segments[3].limit, u32::MAX);
    assert!(!state.protected() && state.cpl == 0);
    assert_eq!(machine.bus.peek(0x3_fefc, 4), revision);
    assert_eq!(machine.bus.peek(0x3_0000 + eax_at, 4), 0x1234_5678);
    let run = machine.cpu.run(&mut machine.bus, 2, Path::Cached);
    assert_eq!(run.retired, 2);
    let mut expect = before;
    expect.smbase = 0x4_0000;
    assert_eq!(*machine.state(), expect);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
}

#[test]
fn init_and_start_up() {
    let mut machine = Machine::protected(0, &[0x90]);
    machine.cpu.state_mut().msrs.sysenter_cs = 8;
    machine.cpu.signal_init();
    let run = machine.cpu.run(&mut machine.bus, 0, Path::Cached);
    assert_eq!(run.stop, Stop::Budget);
    machine.cpu.run(&mut machine.bus, 1, Path::Cached);
    // RAM does not reach the reset vector here: all ones is an undefined instruction there.
    assert_eq!(machine.state().msrs.sysenter_cs, 8);
    assert!(!machine.state().protected());

    let mut second: Cpu<FlatBus> = Cpu::new(&models::QEMU64, 1);
    let mut bus = FlatBus::new(0x10_0000);
    bus.set_byte(0x9_a000, 0xf4);
    assert!(!second.can_run());
    second.signal_sipi(0x9a);
    let run = second.run(&mut bus, 10, Path::Cached);
    assert_eq!((run.retired, run.stop), (1, Stop::Halt));
    assert_eq!(second.state().segments[1].base, 0x9_a000);
}

#[rstest]
#[case::reset_edx(0x0006_0fb1)]
fn reset_state(#[case] signature: u64) {
    let cpu: Cpu<FlatBus> = Cpu::new(&models::QEMU64, 0);
    let state = cpu.state();
    assert_eq!(state.cr0, 0x6000_0010);
    assert_eq!(state.linear_rip(), 0xffff_fff0);
    assert_eq!(state.gpr[2], signature);
    assert_eq!((state.dr[6], state.dr[7]), (0xffff_0ff0, 0x400));
    assert_eq!(state.msrs.apic_base, 0xfee0_0900);
}
