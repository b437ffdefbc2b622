//! The same bytes of code at several addresses: they are decoded once, and do at each address what they do there.

mod common;

use common::{CODE, DATA, DIRECTORY, HIGH, Machine, PAGE, PRESENT_WRITABLE, TABLE, assemble};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{models, state::gpr};

/// The frame at [`DATA`] is seen again and again from [`PAGE`] on; also in the last pages of all.
fn machine(code: &[u8]) -> Machine {
    let mut machine = Machine::seeing([DATA; 1024], code);
    machine.bus.poke32(DIRECTORY + 4 * 1023, TABLE as u32 | PRESENT_WRITABLE);
    machine
}

/// Branches within, and a write to the code after it has run at each address.
#[rstest]
fn branches_and_changes(#[values(1, 2, 15, 16, 17, 40)] count: u32) {
    let code = assemble(32, CODE, |a| {
        for round in 0..2 {
            for page in 0..count {
                a.mov(esi, PAGE + 0x1000 * page + 0x40)?;
                a.call(esi)?;
            }
            if round == 0 {
                a.mov(byte_ptr(DATA as u32 + 0x47), 7)?;
            }
        }
        a.int3()
    });
    let mut machine = machine(&code);
    let function = assemble(32, 0x40, |a| {
        let (mut back, mut helper) = (a.create_label(), a.create_label());
        a.mov(ecx, 3)?;
        a.set_label(&mut back)?;
        a.add(edi, 1)?;
        a.dec(ecx)?;
        a.jne(back)?;
        a.call(helper)?;
        a.ret()?;
        a.set_label(&mut helper)?;
        a.inc(ebx)?;
        a.ret()
    });
    assert_eq!(function[7], 1, "the byte that is changed");
    machine.bus.poke(DATA + 0x40, &function);
    machine.cpu.state_mut().gpr[usize::from(gpr::RDI)] = 0;
    machine.cpu.state_mut().gpr[usize::from(gpr::RBX)] = 0;
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RDI), count * 3 + count * 21);
    assert_eq!(machine.register(gpr::RBX), 2 * count);
}

/// A branch whose target is cut to 16 bits goes elsewhere from each address.
#[test]
fn targets_of_16_bits() {
    let code = assemble(32, CODE, |a| {
        for page in [0, 1, 0, 1] {
            a.mov(esi, PAGE + 0x1000 * page + 0x80)?;
            a.call(esi)?;
        }
        a.int3()
    });
    let mut machine = machine(&code);
    // JMP +10h.
    machine.bus.poke(DATA + 0x80, &[0x66, 0xeb, 0x10]);
    for (at, value) in [(0x93_u64, 1_u32), (0x1093, 0x10)] {
        let add = assemble(32, at, |a| {
            a.add(edx, value)?;
            a.ret()
        });
        machine.bus.poke(at, &add);
    }
    machine.cpu.state_mut().gpr[usize::from(gpr::RDX)] = 0;
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RDX), 0x22);
}

/// Code up to the last byte of the address space, which is decoded for another place first.
#[test]
fn up_to_the_last_byte() {
    let code = assemble(32, CODE, |a| {
        for target in [PAGE + 0xffc, 0xffff_fffc, 0xffff_fffc] {
            a.mov(esi, target)?;
            a.call(esi)?;
        }
        a.int3()
    });
    let mut machine = machine(&code);
    // INC EAX three times, RET.
    machine.bus.poke(DATA + 0xffc, &[0x40, 0x40, 0x40, 0xc3]);
    machine.cpu.state_mut().gpr[usize::from(gpr::RAX)] = 0;
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RAX), 9);
}

/// What is relative to RIP.
#[test]
fn relative_to_rip() {
    let function = CODE + 0x100;
    let code = assemble(64, CODE, |a| {
        a.call(function)?;
        a.mov(rbx, rax)?;
        a.mov(rcx, HIGH + function)?;
        a.call(rcx)?;
        a.int3()
    });
    let mut machine = Machine::long(&models::MAX, 0, &code);
    // LEA RAX, [RIP + 39h]; MOV RDX, [RIP + 32h]; RET.
    let relative = [0x48, 0x8d, 0x05, 0x39, 0, 0, 0, 0x48, 0x8b, 0x15, 0x32, 0, 0, 0, 0xc3];
    machine.bus.poke(function, &relative);
    machine.bus.poke64(function + 0x40, 0x1234_5678);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    let state = machine.state();
    let expect = [function + 0x40, HIGH + function + 0x40, 0x1234_5678];
    assert_eq!([state.gpr[3], state.gpr[0], state.gpr[2]], expect);
}
