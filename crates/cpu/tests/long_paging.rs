//! Paging in long mode: four and five levels, large pages, and every right a page can refuse.

mod common;

use common::{CODE, DATA, HIGH, LONG_DIRECTORY, Machine, PML4, POINTERS, assemble};
use iced_x86::code_asm::{eax, ptr, qword_ptr, r8, r9, rax, rbx, rdx};
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    models::{MAX, Model, QEMU64},
    state::{cr0, cr4, efer, gpr},
};

/// The page under test: page 2 of the directory at 4 MiB, mapped to DATA through a table.
const PAGE: u64 = 0x40_0000;
const TABLE: u64 = 0x2_c000;
const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const ACCESSED: u64 = 0x20;
const DIRTY: u64 = 0x40;
const LARGE: u64 = 0x80;
const NX: u64 = 1 << 63;
const KEY_3: u64 = 3 << 59;

/// What reaches the page.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Touch {
    Read,
    Write,
    Run,
    /// STAC first.
    OpenRead,
}
use Touch::{OpenRead, Read, Run, Write};

fn machine(model: &'static Model, cpl: u8, touch: Touch, pde: u64, pte: u64) -> Machine {
    let code = assemble(64, CODE, |a| {
        if touch == OpenRead {
            a.stac()?;
        }
        match touch {
            Read | OpenRead => a.mov(rax, qword_ptr(rbx))?,
            Write => a.mov(qword_ptr(rbx), rax)?,
            Run => a.jmp(rbx)?,
        }
        a.int3()
    });
    let mut machine = Machine::long(model, cpl, &code);
    for directory in [LONG_DIRECTORY, LONG_DIRECTORY + 8] {
        // The code is the supervisor's or the user's own.
        let user = if cpl == 3 { U } else { 0 };
        let value = machine.bus.peek(directory, 8) & !U | user;
        machine.bus.poke64(directory, value);
    }
    machine.bus.poke64(LONG_DIRECTORY + 16, pde);
    machine.bus.poke64(TABLE, pte);
    machine.bus.poke64(DATA, 0xcccc_cccc_cccc_cccc);
    let state = machine.cpu.state_mut();
    state.gpr[usize::from(gpr::RBX)] = PAGE;
    state.msrs.efer |= efer::NXE;
    state.cr0 |= cr0::WP;
    machine
}

const TO_TABLE: u64 = TABLE | P | W | U;
const TO_DATA: u64 = DATA | P | W | U;

/// Whether a touch faults, and with which error code.
#[rstest]
#[case::read(3, Read, 0, TO_TABLE, TO_DATA, None)]
#[case::absent(3, Read, 0, TO_TABLE, TO_DATA & !P, Some(4))]
#[case::absent_directory(0, Write, 0, TO_TABLE & !P, TO_DATA, Some(2))]
#[case::supervisors(3, Read, 0, TO_TABLE, TO_DATA & !U, Some(5))]
#[case::supervisors_directory(3, Write, 0, TO_TABLE & !U, TO_DATA, Some(7))]
#[case::read_only(3, Write, 0, TO_TABLE, TO_DATA & !W, Some(7))]
#[case::write_protect(0, Write, 0, TO_TABLE & !W, TO_DATA, Some(3))]
#[case::reserved(0, Read, 0, TO_TABLE, TO_DATA | 1 << 46, Some(9))]
#[case::ignored(0, Read, 0, TO_TABLE | 1 << 52, TO_DATA | 1 << 58, None)]
#[case::no_execute(0, Run, 0, TO_TABLE, TO_DATA | NX, Some(0x11))]
#[case::no_execute_directory(3, Run, 0, TO_TABLE | NX, TO_DATA, Some(0x15))]
#[case::no_execute_read(0, Read, 0, TO_TABLE | NX, TO_DATA, None)]
#[case::smep(0, Run, cr4::SMEP, TO_TABLE, TO_DATA, Some(0x11))]
#[case::smep_own(0, Run, cr4::SMEP, TO_TABLE, TO_DATA & !U, None)]
#[case::smap(0, Read, cr4::SMAP, TO_TABLE, TO_DATA, Some(1))]
#[case::smap_write(0, Write, cr4::SMAP, TO_TABLE, TO_DATA, Some(3))]
#[case::smap_open(0, OpenRead, cr4::SMAP, TO_TABLE, TO_DATA, None)]
#[case::smap_own(0, Read, cr4::SMAP, TO_TABLE & !U, TO_DATA, None)]
#[case::smap_run(0, Run, cr4::SMAP, TO_TABLE, TO_DATA, None)]
#[case::key(3, Read, cr4::PKE, TO_TABLE, TO_DATA | KEY_3, Some(0x25))]
#[case::key_supervisor(0, Read, cr4::PKE, TO_TABLE, TO_DATA | KEY_3, Some(0x21))]
#[case::key_own(0, Read, cr4::PKE, TO_TABLE, (TO_DATA | KEY_3) & !U, None)]
#[case::key_run(3, Run, cr4::PKE, TO_TABLE, TO_DATA | KEY_3, None)]
#[case::key_other(3, Read, cr4::PKE, TO_TABLE, TO_DATA | KEY_3 << 1, None)]
#[case::key_off(3, Read, 0, TO_TABLE, TO_DATA | KEY_3, None)]
#[case::large(3, Write, 0, P | W | U | LARGE, 0, None)]
#[case::large_reserved(0, Read, 0, P | W | U | LARGE | 1 << 13, 0, Some(9))]
fn rights(
    #[case] cpl: u8,
    #[case] touch: Touch,
    #[case] control: u64,
    #[case] pde: u64,
    #[case] pte: u64,
    #[case] error: Option<u64>,
) {
    let mut machine = machine(&MAX, cpl, touch, pde, pte);
    let state = machine.cpu.state_mut();
    state.cr4 |= control;
    // Key 3 forbids everything.
    state.pkru = 1 << 6;
    assert_eq!(machine.run().1, Stop::Halt);
    let leaf = if pde & LARGE != 0 { LONG_DIRECTORY + 16 } else { TABLE };
    let marks = machine.bus.peek(leaf, 8) & (ACCESSED | DIRTY);
    match error {
        Some(error) => {
            assert_eq!(machine.vector(), Some(14));
            assert_eq!(machine.stack_quad(0), error, "error code");
            assert_eq!(machine.state().cr2, PAGE);
            assert_eq!(marks, 0, "a fault leaves no trace");
        }
        None => {
            assert_eq!(machine.vector(), Some(if touch == Run && pde & LARGE != 0 { 13 } else { 3 }));
            assert_eq!(marks, if touch == Write { ACCESSED | DIRTY } else { ACCESSED });
            assert_eq!(machine.bus.peek(POINTERS, 8) & ACCESSED, ACCESSED);
            assert_eq!(machine.bus.peek(PML4, 8) & ACCESSED, ACCESSED);
        }
    }
}

/// SMEP and SMAP take nothing from users themselves.
#[rstest]
#[case::read(Read, CODE + 3)]
#[case::run(Run, PAGE)]
fn users_reach_their_own_pages(#[case] touch: Touch, #[case] rip: u64) {
    let mut machine = machine(&MAX, 3, touch, TO_TABLE, TO_DATA);
    machine.cpu.state_mut().cr4 |= cr4::SMEP | cr4::SMAP;
    machine.run_limit(1);
    assert_eq!((machine.state().rip, machine.state().cpl), (rip, 3));
}

/// 1 GiB pages where the model offers them; bits that are reserved in the upper levels.
#[rstest]
#[case::gigabyte(&MAX, POINTERS + 8, P | W | LARGE, None)]
#[case::gigabyte_not_offered(&QEMU64, POINTERS + 8, P | W | LARGE, Some(9))]
#[case::gigabyte_reserved(&MAX, POINTERS + 8, P | W | LARGE | 1 << 29, Some(9))]
#[case::gigabyte_pat(&MAX, POINTERS + 8, P | W | LARGE | 1 << 12, None)]
#[case::absent(&MAX, POINTERS + 8, 0, Some(0))]
#[case::large_root(&MAX, PML4 + 8, POINTERS | P | LARGE, Some(9))]
fn upper_levels(
    #[case] model: &'static Model,
    #[case] at: u64,
    #[case] entry: u64,
    #[case] error: Option<u64>,
) {
    let mut machine = machine(model, 0, Read, TO_TABLE, TO_DATA);
    machine.bus.poke64(at, entry);
    let linear = if at == PML4 + 8 { 1 << 39 } else { 1 << 30 | DATA };
    machine.cpu.state_mut().gpr[usize::from(gpr::RBX)] = linear;
    machine.run();
    match error {
        Some(error) => {
            assert_eq!(machine.vector(), Some(14));
            assert_eq!(machine.stack_quad(0), error);
        }
        None => assert_eq!(machine.state().gpr[0], 0xcccc_cccc_cccc_cccc),
    }
}

#[test]
fn five_levels() {
    for (linear, vector) in
        [(HIGH + DATA, None), (1 << 47 | DATA, None), (1 << 48 | DATA, Some(14)), (1 << 56, Some(13))]
    {
        let mut machine = machine(&MAX, 0, Read, TO_TABLE, TO_DATA);
        machine.bus.poke64(0x7000, PML4 | P | W | U);
        machine.bus.poke64(0x7000 + 8 * 511, PML4 | P | W | U);
        let state = machine.cpu.state_mut();
        state.cr3 = 0x7000;
        state.cr4 |= cr4::LA57;
        state.gpr[usize::from(gpr::RBX)] = linear;
        machine.run();
        assert_eq!(machine.vector(), Some(vector.unwrap_or(3)), "{linear:x}");
        if vector == Some(14) {
            assert_eq!(machine.state().cr2, linear);
        }
    }
}

/// A descriptor table in a user's page: SMAP forbids even what the processor reads for itself, and
/// EFLAGS.AC does not help there.
#[test]
fn smap_and_descriptor_tables() {
    let code = assemble(64, CODE, |a| {
        a.stac()?;
        a.mov(eax, u32::from(common::long::DATA_0))?;
        a.mov(rdx, qword_ptr(rbx))?;
        a.db(&[0x8e, 0xd8])?;
        a.int3()
    });
    let mut machine = machine(&MAX, 0, OpenRead, TO_TABLE, TO_DATA);
    machine.bus.poke(CODE, &code);
    // A copy of the GDT there, with the accessed bit clear in nothing.
    for at in (0..0x100).step_by(8) {
        let row = machine.bus.peek(common::GDT + at, 8);
        machine.bus.poke64(DATA + at, row);
    }
    let state = machine.cpu.state_mut();
    state.cr4 |= cr4::SMAP;
    state.gdtr.base = PAGE;
    // The handlers' gates need the table too: the processor shuts down.
    assert_eq!(machine.run().1, Stop::Shutdown);
    assert_eq!(machine.state().gpr[2], 0);
    assert_eq!(machine.state().cr2, PAGE + 8);
}

#[test]
fn protection_key_rights_are_read_and_written() {
    let code = assemble(64, CODE, |a| {
        a.wrpkru()?;
        a.xor(eax, eax)?;
        a.rdpkru()?;
        a.int3()
    });
    for (on, ecx, vector) in [(true, 0, 3), (true, 1, 13), (false, 0, 6)] {
        let mut machine = Machine::long(&MAX, 3, &code);
        let state = machine.cpu.state_mut();
        state.cr4 |= if on { cr4::PKE } else { 0 };
        (state.gpr[0], state.gpr[1], state.gpr[2]) = (0x1234_5670, ecx, 0);
        machine.run();
        assert_eq!(machine.vector(), Some(vector));
        if vector == 3 {
            assert_eq!(machine.state().gpr[0], 0x1234_5670);
        }
    }
}

/// INVPCID with (type, descriptor's first and second half): does it fault?
#[rstest]
#[case::address(0, 0, HIGH, false)]
#[case::address_not_canonical(0, 0, 1 << 63, true)]
#[case::identifier_while_off(1, 1, 0, true)]
#[case::reserved(2, 0x1000, 0, true)]
#[case::all(2, 0, 0, false)]
#[case::unknown(4, 0, 0, true)]
fn invpcid(#[case] kind: u64, #[case] context: u64, #[case] linear: u64, #[case] faults: bool) {
    let code = assemble(64, CODE, |a| {
        a.invpcid(rax, ptr(rbx))?;
        a.int3()
    });
    let mut machine = Machine::long(&MAX, 0, &code);
    machine.bus.poke64(DATA, context);
    machine.bus.poke64(DATA + 8, linear);
    let state = machine.cpu.state_mut();
    (state.gpr[0], state.gpr[3]) = (kind, DATA);
    machine.run();
    assert_eq!(machine.vector(), Some(if faults { 13 } else { 3 }));
}

/// PCIDE needs a CR3 without an identifier; then bit 63 of CR3 is no address.
#[rstest]
#[case::with_identifier(1, 0, true)]
#[case::set(0, 1 << 63 | 5, false)]
fn process_contexts(#[case] low: u64, #[case] more: u64, #[case] faults: bool) {
    let code = assemble(64, CODE, |a| {
        a.db(&[0x0f, 0x22, 0xe0])?;
        a.db(&[0x0f, 0x22, 0xdb])?;
        a.db(&[0x41, 0x0f, 0x20, 0xd8])?;
        a.mov(r9, r8)?;
        a.int3()
    });
    let mut machine = Machine::long(&MAX, 0, &code);
    let state = machine.cpu.state_mut();
    state.cr3 |= low;
    state.gpr[0] = state.cr4 | cr4::PCIDE;
    state.gpr[3] = state.cr3 | more;
    machine.run();
    assert_eq!(machine.vector(), Some(if faults { 13 } else { 3 }));
    if !faults {
        assert_eq!(machine.state().gpr[9], PML4 | 5);
    }
}

/// UMIP: what tells a user of the system's tables.
#[rstest]
fn user_mode_instruction_prevention(
    #[values(
        &[0x0f, 0x01, 0x03],
        &[0x0f, 0x01, 0x0b],
        &[0x0f, 0x00, 0xc0],
        &[0x0f, 0x00, 0xc8],
        &[0x0f, 0x01, 0xe0]
    )]
    code: &[u8],
    #[values(true, false)] on: bool,
) {
    let mut machine = Machine::long(&MAX, 3, &[code, &[0xcc]].concat());
    let state = machine.cpu.state_mut();
    state.cr4 |= if on { cr4::UMIP } else { 0 };
    state.gpr[3] = DATA;
    machine.run();
    assert_eq!(machine.vector(), Some(if on { 13 } else { 3 }));
}
