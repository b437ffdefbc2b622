//! Code that changes itself, and data beside code: what a cache of decoded instructions must notice.
//!
//! Proves SDM vol. 3A, 11.6 as processors since the Pentium Pro do it: a changed byte is executed as
//! changed by the very next instruction, through whatever linear address it was written.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
    paging,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "selfmod",
    about: "self-modifying code: the next instruction, a loop's own body, across pages, through an alias, stack in code",
    kind: Kind::Firmware,
    build: || rom("selfmod", |_| Tables::default(), pieces, body),
    symbols: None,
};

/// Where routines are copied to and changed.
const HERE: u32 = 0x0020_0000;

fn body(b: &mut Block) -> Built {
    next_instruction(b)?;
    own_loop(b)?;
    filled_ahead(b)?;
    across_pages(b)?;
    stack_in_code(b)?;
    copied(b)?;
    through_an_alias(b)
}

fn next_instruction(b: &mut Block) -> Built {
    b.mov(ecx, 100u32)?;
    b.xor(ebx, ebx)?;
    let again = b.here()?;
    let address = b.address("patched");
    b.mov(dword_ptr(address + 1), ecx)?;
    b.name("patched")?;
    b.mov(eax, 0xdead_beefu32)?;
    b.add(ebx, eax)?;
    b.dec(ecx)?;
    b.jne(again)?;
    expect(b, ebx, 5050, "the next instruction's immediate, 100 times")?;

    // INC EAX (40h) becomes DEC EAX (48h) right before it runs.
    b.xor(eax, eax)?;
    let address = b.address("flipped");
    b.mov(byte_ptr(address), 0x48)?;
    b.name("flipped")?;
    b.inc(eax)?;
    expect_eax(b, u32::MAX, "the next instruction's opcode")
}

fn own_loop(b: &mut Block) -> Built {
    // The body alternates between ADD (01h) and SUB (29h) EBX,ECX by flipping its own opcode.
    b.mov(ecx, 51u32)?;
    b.xor(ebx, ebx)?;
    let again = b.here()?;
    b.name("alternating")?;
    b.add(ebx, ecx)?;
    let address = b.address("alternating");
    b.xor(byte_ptr(address), 0x28)?;
    b.dec(ecx)?;
    b.jne(again)?;
    expect(b, ebx, 26, "a loop that alternates its own opcode")
}

fn filled_ahead(b: &mut Block) -> Built {
    // REP STOSB writes INC EDX (42h) over eight NOPs that follow it.
    b.cld()?;
    b.xor(edx, edx)?;
    let address = b.address("nops");
    b.mov(edi, address)?;
    b.mov(ecx, 8u32)?;
    b.mov(al, 0x42u32)?;
    b.rep().stosb()?;
    b.name("nops")?;
    b.db(&[0x90; 8])?;
    b.mov(ebx, edx)?;
    expect(b, ebx, 8, "REP STOSB over the code behind it")
}

/// A routine of MOV EAX,imm32; RET at `address`.
fn write_routine(b: &mut Block, address: u32, value: u32) -> Built {
    b.mov(byte_ptr(address), 0xb8)?;
    b.mov(dword_ptr(address + 1), value)?;
    Ok(b.mov(byte_ptr(address + 5), 0xc3)?)
}

fn across_pages(b: &mut Block) -> Built {
    let at = HERE + 0xffd;
    write_routine(b, at, 0x0403_0201)?;
    b.mov(ebp, at)?;
    b.call(ebp)?;
    expect_eax(b, 0x0403_0201, "an instruction across two pages")?;
    b.mov(byte_ptr(HERE + 0x1000), 0x33)?;
    b.call(ebp)?;
    expect_eax(b, 0x0433_0201, "changed in the second page")?;
    b.mov(byte_ptr(HERE + 0xfff), 0x22)?;
    b.call(ebp)?;
    expect_eax(b, 0x0433_2201, "changed in the first page")
}

fn stack_in_code(b: &mut Block) -> Built {
    // The stack shares a page with the loop, and the loop's counter is beside it.
    b.mov(ebp, esp)?;
    let address = b.address("stack-in-code");
    b.mov(esp, address)?;
    let routine = b.target("near-stack");
    b.call(routine)?;
    b.mov(esp, ebp)?;
    expect(b, ebx, 20_000, "calls with the stack in the code's page")?;
    expect_memory(b, b.address("counter-in-code"), u32::MAX, 10_000, "a variable in the code's page")
}

fn copied(b: &mut Block) -> Built {
    b.mov(ebp, HERE + 0x2000)?;
    for value in [1, 2, 3] {
        write_routine(b, HERE + 0x2000, value)?;
        b.call(ebp)?;
        expect_eax(b, value, "a routine written anew")?;
    }
    Ok(())
}

fn through_an_alias(b: &mut Block) -> Built {
    paging::identity(b)?;
    b.mov(dword_ptr(paging::TABLE_1), (HERE + 0x2000) | 3)?;
    b.mov(dword_ptr(paging::TABLE_1 + 4), (HERE + 0x3000) | 3)?;
    paging::turn_on(b)?;
    b.mov(ebp, HERE + 0x2000)?;
    b.mov(dword_ptr(0x0040_0001u32), 0x77)?;
    b.call(ebp)?;
    expect_eax(b, 0x77, "written through another linear address")?;
    b.mov(ebp, 0x0040_0000u32)?;
    b.mov(dword_ptr(HERE + 0x2001), 0x88)?;
    b.call(ebp)?;
    expect_eax(b, 0x88, "executed through another linear address")?;
    write_routine(b, HERE + 0x3000, 0x99)?;
    b.mov(dword_ptr(paging::TABLE_1), (HERE + 0x3000) | 3)?;
    b.invlpg(ptr(0x0040_0000u32))?;
    b.call(ebp)?;
    expect_eax(b, 0x99, "another frame at the same linear address")
}

fn pieces(image: &mut Image) -> Built {
    image.code(32, 0x6000, BASE + 0x6000, |b| {
        b.name("near-stack")?;
        b.xor(ebx, ebx)?;
        let address = b.address("counter-in-code");
        b.mov(dword_ptr(address), 10_000)?;
        b.mov(ecx, 10_000u32)?;
        let mut routine = b.create_label();
        let again = b.here()?;
        b.push(2)?;
        b.call(routine)?;
        b.loop_(again)?;
        b.ret()?;
        b.set_label(&mut routine)?;
        b.add(ebx, dword_ptr(esp + 4))?;
        b.ret_1(4u32)?;
        b.name("counter-in-code")?;
        b.dd(&[0])?;
        b.db(&[0; 64])?;
        b.name("stack-in-code")?;
        Ok(b.nop()?)
    })
}
