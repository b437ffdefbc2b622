//! Paging: 32-bit, 4 MiB and PAE, rights, accessed and dirty bits, the TLB's coherence.

mod common;

use common::{CODE, DATA, DIRECTORY, Machine, TABLE, assemble};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    Stop,
    state::{cr0, cr4, efer, gpr},
};

const P: u32 = 1;
const W: u32 = 2;
const U: u32 = 4;
const A: u32 = 0x20;
const D: u32 = 0x40;
const PS: u32 = 0x80;
const G: u32 = 0x100;

/// The page under test, mapped by directory entry 1.
const PAGE: u32 = 0x0040_0000;

/// Identity map of the first 4 MiB by a 4 MiB page, and `pde`, `pte` for [`PAGE`].
fn machine(cpl: u8, code: &[u8], pde: u32, pte: u32, wp: bool) -> Machine {
    let mut machine = Machine::protected(cpl, code);
    machine.bus.poke32(DIRECTORY, P | W | U | PS);
    machine.bus.poke32(DIRECTORY + 4, pde);
    machine.bus.poke32(TABLE, pte);
    let state = machine.cpu.state_mut();
    state.cr3 = DIRECTORY;
    state.cr4 = cr4::PSE | cr4::PGE;
    state.cr0 |= cr0::PG | if wp { cr0::WP } else { 0 };
    machine
}

fn touch(write: bool) -> Vec<u8> {
    assemble(32, CODE, |a| {
        if write {
            a.mov(dword_ptr(PAGE), eax)?;
        } else {
            a.mov(ecx, dword_ptr(PAGE))?;
        }
        a.int3()
    })
}

const TO_TABLE: u32 = TABLE as u32 | P | W | U;
const TO_DATA: u32 = DATA as u32 | P | W | U;

/// (cpl, pde, pte, write, wp) gives the error code of a page fault, or none.
#[rstest]
#[case::all(3, TO_TABLE, TO_DATA, true, true, None)]
#[case::no_directory_entry(0, 0, TO_DATA, false, false, Some(0))]
#[case::no_table_entry(0, TO_TABLE, 0, true, false, Some(2))]
#[case::no_table_entry_user(3, TO_TABLE, 0, true, false, Some(6))]
#[case::supervisor_page(3, TO_TABLE, TO_DATA & !U, false, false, Some(5))]
#[case::supervisor_directory(3, TO_TABLE & !U, TO_DATA, true, false, Some(7))]
#[case::supervisor_reads_it(0, TO_TABLE & !U, TO_DATA & !U, false, false, None)]
#[case::user_writes_read_only(3, TO_TABLE, TO_DATA & !W, true, false, Some(7))]
#[case::ring_0_writes_read_only(0, TO_TABLE, TO_DATA & !W, true, false, None)]
#[case::write_protect(0, TO_TABLE, TO_DATA & !W, true, true, Some(3))]
#[case::write_protect_directory(0, TO_TABLE & !W, TO_DATA, true, true, Some(3))]
#[case::global(3, TO_TABLE, TO_DATA | G, true, true, None)]
#[case::large(3, P | W | U | PS, 0, false, false, None)]
#[case::large_reserved(0, P | W | U | PS | 1 << 21, 0, false, false, Some(9))]
fn rights(
    #[case] cpl: u8,
    #[case] pde: u32,
    #[case] pte: u32,
    #[case] write: bool,
    #[case] wp: bool,
    #[case] error: Option<u32>,
) {
    let mut machine = machine(cpl, &touch(write), pde, pte, wp);
    machine.run();
    match error {
        None => {
            assert_eq!(machine.vector(), Some(3));
            let leaf = if pde & PS == 0 { TABLE } else { DIRECTORY + 4 };
            let expect = if write { A | D } else { A };
            assert_eq!(machine.bus.peek(leaf, 4) as u32 & (A | D), expect);
            assert_eq!(machine.bus.peek(DIRECTORY + 4, 4) as u32 & A, A);
        }
        Some(error) => {
            assert_eq!(machine.vector(), Some(14));
            assert_eq!(machine.stack(0), error);
            assert_eq!(machine.state().cr2, u64::from(PAGE));
            assert_eq!(machine.bus.peek(DIRECTORY + 4, 4) as u32, pde, "a fault leaves no trace");
            assert_eq!(machine.bus.peek(TABLE, 4) as u32, pte, "a fault leaves no trace");
        }
    }
}

#[test]
fn large_page_of_36_bits() {
    // Bits 13-20 of the entry are address bits 32-39: beyond RAM here, all ones.
    let mut machine = machine(0, &touch(false), P | W | PS | 1 << 13, 0, false);
    machine.run();
    assert_eq!(machine.register(gpr::RCX), u32::MAX);
}

/// ARPL writes only what it changes.
#[rstest]
#[case::raises(3, Some(7))]
#[case::need_not(0, None)]
fn arpl_on_a_read_only_page(#[case] privilege: u32, #[case] expect: Option<u32>) {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, privilege)?;
        a.arpl(word_ptr(PAGE), ax)?;
        a.int3()
    });
    let mut machine = machine(3, &code, TO_TABLE, TO_DATA & !W, true);
    machine.run();
    assert_eq!(machine.vector(), Some(if expect.is_some() { 14 } else { 3 }));
    if let Some(error) = expect {
        assert_eq!(machine.stack(0), error);
    }
}

#[test]
fn crossing_store_writes_nothing_when_the_second_page_is_absent() {
    let code = assemble(32, CODE, |a| {
        a.mov(eax, 0x1122_3344)?;
        a.mov(dword_ptr(PAGE + 0xffe), eax)?;
        a.int3()
    });
    let mut machine = machine(0, &code, TO_TABLE, TO_DATA, false);
    machine.run();
    assert_eq!(machine.vector(), Some(14));
    assert_eq!(machine.state().cr2, u64::from(PAGE) + 0x1000);
    assert_eq!(machine.bus.peek(DATA + 0xffe, 2), 0);
}

#[test]
fn changed_entries_count_at_once() {
    // Read the page, map it elsewhere, read again, without INVLPG.
    let code = assemble(32, CODE, |a| {
        a.mov(ebx, dword_ptr(PAGE))?;
        a.mov(dword_ptr(TABLE as u32), (DATA as u32 + 0x1000) | P | W | U)?;
        a.mov(ecx, dword_ptr(PAGE))?;
        a.int3()
    });
    let mut machine = machine(0, &code, TO_TABLE, TO_DATA, false);
    machine.bus.poke32(DATA, 1);
    machine.bus.poke32(DATA + 0x1000, 2);
    machine.run();
    assert_eq!((machine.register(gpr::RBX), machine.register(gpr::RCX)), (1, 2));
}

#[test]
fn instruction_across_two_pages() {
    let mut machine = machine(0, &[], TO_TABLE, TO_DATA, false);
    machine.bus.poke32(TABLE + 4, (DATA as u32 + 0x2000) | P | W | U);
    // MOV ECX, 12345678h, its last three bytes on the next page; INT3.
    machine.bus.poke(DATA + 0xffe, &[0xb9, 0x78]);
    machine.bus.poke(DATA + 0x2000, &[0x56, 0x34, 0x12, 0xcc]);
    machine.cpu.state_mut().rip = u64::from(PAGE) + 0xffe;
    machine.run();
    assert_eq!(machine.register(gpr::RCX), 0x1234_5678);
    // And a fault on the second page says its address and leaves EIP at the first.
    let mut machine = machine_with_absent_second();
    machine.run();
    assert_eq!(machine.vector(), Some(14));
    assert_eq!(machine.state().cr2, u64::from(PAGE) + 0x1000);
    assert_eq!(machine.stack(1), PAGE + 0xffe);
}

fn machine_with_absent_second() -> Machine {
    let mut machine = machine(0, &[], TO_TABLE, TO_DATA, false);
    machine.bus.poke(DATA + 0xffe, &[0xb9, 0x78]);
    machine.cpu.state_mut().rip = u64::from(PAGE) + 0xffe;
    machine
}

const NX: u64 = 1 << 63;

/// PAE: (directory entry, table entry, NXE, jump there) gives the page fault's error code.
#[rstest]
#[case::plain(0, 0, false, false, None)]
#[case::absent(1, 0, false, false, Some(0))]
#[case::reserved(0, 1 << 52, false, false, Some(9))]
#[case::nx_without_nxe(0, NX, false, false, Some(9))]
#[case::nx_data(0, NX, true, false, None)]
#[case::nx_code(0, NX, true, true, Some(0x11))]
#[case::nx_directory(NX, 0, true, true, Some(0x11))]
fn pae(
    #[case] pde_flip: u64,
    #[case] pte_more: u64,
    #[case] nxe: bool,
    #[case] jump: bool,
    #[case] error: Option<u32>,
) {
    const POINTERS: u64 = 0x7000;
    let code = assemble(32, CODE, |a| {
        a.mov(eax, POINTERS as u32)?;
        a.mov(cr3, eax)?;
        a.mov(eax, cr4::PAE as u32)?;
        a.mov(cr4, eax)?;
        a.mov(eax, cr0)?;
        a.or(eax, 0x8000_0000_u32 as i32)?;
        a.mov(cr0, eax)?;
        a.mov(ecx, dword_ptr(PAGE))?;
        if jump {
            a.mov(edx, PAGE)?;
            a.jmp(edx)?;
        }
        a.int3()
    });
    let mut machine = Machine::protected(0, &code);
    machine.bus.poke64(POINTERS, DIRECTORY | 1);
    // Two 2 MiB pages of identity, then the page under test.
    machine.bus.poke64(DIRECTORY, 0xe3);
    machine.bus.poke64(DIRECTORY + 8, 0x20_00e3);
    machine.bus.poke64(DIRECTORY + 16, (TABLE | 7) ^ pde_flip);
    machine.bus.poke64(TABLE, DATA | 7 | pte_more);
    machine.bus.poke32(DATA, 0xcccc_cccc);
    if nxe {
        machine.cpu.state_mut().msrs.efer = efer::NXE;
    }
    machine.run();
    match error {
        None => assert_eq!(machine.vector(), Some(3)),
        Some(error) => {
            assert_eq!(machine.vector(), Some(14));
            assert_eq!(machine.stack(0), error);
        }
    }
}

#[test]
fn reserved_bits_of_pointers_fault_when_loaded() {
    let code = assemble(32, CODE, |a| {
        a.mov(cr0, eax)?;
        a.int3()
    });
    let mut machine = Machine::protected(0, &code);
    machine.bus.poke64(DIRECTORY, TABLE | 1 | 2);
    let value = machine.state().cr0 | cr0::PG;
    machine.set(gpr::RAX, value as u32);
    let state = machine.cpu.state_mut();
    state.cr3 = DIRECTORY;
    state.cr4 = cr4::PAE;
    assert_eq!(machine.run().1, Stop::Halt);
    assert_eq!(machine.vector(), Some(13));
    assert_eq!(machine.state().cr0 & cr0::PG, 0);
}

#[test]
fn a20_masks_physical_addresses() {
    let code = assemble(32, CODE, |a| {
        a.mov(ecx, dword_ptr(0x10_0000 + DATA as u32))?;
        a.int3()
    });
    for (enabled, expect) in [(true, 2), (false, 1)] {
        let mut machine = Machine::protected(0, &code);
        machine.bus.poke32(DATA, 1);
        machine.bus.poke32(DATA + 0x10_0000, 2);
        machine.cpu.set_a20(enabled);
        machine.run();
        assert_eq!(machine.register(gpr::RCX), expect);
    }
}
