//! An instruction that lies in two pages is decoded once, until one of its bytes or where one of the pages is changes;
//! and page-table entries that become present need no translation forgotten.

mod common;

use common::{CODE, DATA, LONG_DIRECTORY, Machine, PAGE, PRESENT_WRITABLE, TABLE, assemble};
use iced_x86::code_asm::*;
use rstest::rstest;
use warmboot_cpu::{
    models,
    state::{efer, gpr},
};

/// Where the instruction begins: three of its five bytes are in the first page.
const AT: u32 = PAGE + 0xffd;

fn machine(code: &[u8]) -> Machine {
    Machine::seeing((0..5).map(|page| DATA + 0x1000 * page), code)
}

/// Writes a dword while the guest runs: at which address what, and what the instruction then loads.
#[rstest]
#[case::nothing(DATA as u32 + 0x800, 0, 0x4433_2211)]
#[case::a_byte_of_the_first_page(DATA as u32 + 0xffc, 0x5511_b890, 0x4433_5511)]
#[case::its_opcode(DATA as u32 + 0xffc, 0x2211_0590, 0x8866_4422)]
#[case::a_byte_of_the_second(DATA as u32 + 0x1000, 0x00c3_6655, 0x6655_2211)]
#[case::beside_it(DATA as u32 + 0x1002, 0x0090_90c3, 0x4433_2211)]
#[case::where_the_first_is(TABLE as u32, (DATA as u32 + 0x2000) | PRESENT_WRITABLE, 0x4433_9988)]
#[case::where_the_second_is(TABLE as u32 + 4, (DATA as u32 + 0x3000) | PRESENT_WRITABLE, 0xbbaa_2211)]
fn changes(#[case] address: u32, #[case] value: u32, #[case] expect: u32) {
    let code = assemble(32, CODE, |a| {
        let mut again = a.create_label();
        a.mov(ecx, 3)?;
        a.mov(esi, AT)?;
        a.set_label(&mut again)?;
        a.call(esi)?;
        a.dec(ecx)?;
        a.jne(again)?;
        a.mov(dword_ptr(address), value)?;
        a.call(esi)?;
        a.int3()
    });
    let mut machine = machine(&code);
    machine.bus.poke(DATA + 0xffd, &[0xb8, 0x11, 0x22]);
    machine.bus.poke(DATA + 0x1000, &[0x33, 0x44, 0xc3]);
    machine.bus.poke(DATA + 0x2ffd, &[0xb8, 0x88, 0x99]);
    machine.bus.poke(DATA + 0x3000, &[0xaa, 0xbb, 0xc3]);
    machine.run();
    assert_eq!(machine.vector(), Some(3));
    assert_eq!(machine.register(gpr::RAX), expect);
}

/// An entry becomes present, then says something else, then is gone: each at once.
#[test]
fn entries_of_four_bytes() {
    let entry = TABLE as u32 + 4 * 5;
    let code = assemble(32, CODE, |a| {
        a.mov(eax, dword_ptr(PAGE))?;
        a.mov(dword_ptr(entry), DATA as u32 | PRESENT_WRITABLE)?;
        a.mov(eax, dword_ptr(PAGE + 0x5000))?;
        a.mov(dword_ptr(entry), (DATA as u32 + 0x1000) | PRESENT_WRITABLE)?;
        a.mov(ebx, dword_ptr(PAGE + 0x5000))?;
        a.mov(dword_ptr(entry + 4), 0)?;
        a.mov(byte_ptr(entry), 0)?;
        a.mov(ecx, dword_ptr(PAGE + 0x5000))?;
        a.int3()
    });
    let mut machine = machine(&code);
    machine.bus.poke32(DATA, 0x1111);
    machine.bus.poke32(DATA + 0x1000, 0x2222);
    machine.run();
    assert_eq!(machine.vector(), Some(14));
    assert_eq!((machine.register(gpr::RAX), machine.register(gpr::RBX)), (0x1111, 0x2222));
}

/// The upper half of an entry of eight bytes counts too, where the lower says that it is present.
#[test]
fn entries_of_eight_bytes() {
    let entry = TABLE + 8 * 5;
    let code = assemble(64, CODE, |a| {
        a.mov(esi, PAGE + 0x4000)?;
        a.mov(rax, qword_ptr(rsi))?;
        // First the upper half of what is not present, then the lower.
        a.mov(edi, entry as u32)?;
        a.mov(dword_ptr(rdi + 4), 0)?;
        a.mov(dword_ptr(rdi), DATA as u32 | PRESENT_WRITABLE)?;
        a.mov(esi, PAGE + 0x5000)?;
        a.call(rsi)?;
        a.call(rsi)?;
        // No longer to be executed.
        a.mov(dword_ptr(rdi + 4), 0x8000_0000_u32 as i32)?;
        a.call(rsi)?;
        a.int3()
    });
    let mut machine = Machine::long(&models::MAX, 0, &code);
    machine.bus.poke64(LONG_DIRECTORY + 8 * 2, TABLE | 3);
    machine.bus.poke64(TABLE + 8 * 4, (DATA + 0x1000) | 3);
    machine.bus.poke64(entry, 0);
    // `inc ebx; ret`.
    machine.bus.poke(DATA, &[0xff, 0xc3, 0xc3]);
    let state = machine.cpu.state_mut();
    state.msrs.efer |= efer::NXE;
    state.gpr[usize::from(gpr::RBX)] = 0;
    machine.run();
    assert_eq!(machine.vector(), Some(14));
    assert_eq!(machine.register(gpr::RBX), 2);
}
