//! Hardware task switching: JMP, CALL, interrupt and exception through TSS descriptors and task
//! gates, IRET with NT, and what each does to busy bits, back link, NT, TS, CR3 and LDTR.
//!
//! Proves SDM vol. 3A, chapter 7, table 7-2 in particular.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
    paging,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "task-switch",
    about: "task switches by JMP, CALL, INT, exception and IRET: busy bits, back link, NT, TS, CR3, LDTR, faults",
    kind: Kind::Firmware,
    build: || rom("task-switch", tables, pieces, body),
    symbols: None,
};

/// The other task, a task gate to it, a TSS that is too short, one not present, the handler's task.
const OTHER: u16 = OWN;
const GATE: u16 = OWN + 0x08;
const SHORT: u16 = OWN + 0x10;
const ABSENT: u16 = OWN + 0x18;
const HANDLER: u16 = OWN + 0x20;
const LOCAL: u16 = OWN + 0x28;

const OTHER_AT: u32 = BASE + 0xc800;
const HANDLER_AT: u32 = BASE + 0xc900;
/// Ring 0 stacks of the two tasks.
const OTHER_STACK: u32 = 0x4000;
const HANDLER_STACK: u32 = 0x3800;
const LDT: u32 = 0x2000;
/// A second page directory.
const SECOND_DIRECTORY: u32 = 0x0010_8000;
const SECOND_TABLE: u32 = 0x0010_9000;

/// What the other task notes, one dword each.
const NOTES: u32 = SCRATCH + 0x40;
/// Which task gate in the IDT the tests use.
const VECTOR_TASK: u8 = 0x31;

fn tables(_: &Image) -> Tables {
    Tables {
        own: vec![
            descriptor(OTHER_AT, 0x67, 0x89, 0),
            gate(OTHER, 0, TASK_GATE, 0, 0),
            descriptor(OTHER_AT, 0x66, 0x89, 0),
            descriptor(OTHER_AT, 0x67, 0x09, 0),
            descriptor(HANDLER_AT, 0x67, 0x89, 0),
            descriptor(LDT, 0x0f, 0x82, 0),
        ],
        gates: vec![(VECTOR_TASK, gate(HANDLER, 0, TASK_GATE, 3, 0))],
    }
}

/// Fills in a 32-bit TSS (figure 7-2) for code at `name` in ring 0.
fn write_tss(b: &mut Block, at: u32, name: &str, stack: u32) -> Built {
    b.cld()?;
    b.mov(edi, at)?;
    b.mov(ecx, 26u32)?;
    b.xor(eax, eax)?;
    b.rep().stosd()?;
    let address = b.address(name);
    b.mov(dword_ptr(at + 0x20), address)?;
    b.mov(dword_ptr(at + 0x24), 2)?;
    b.mov(dword_ptr(at + 0x28), 0x0a0a_0a0a)?;
    b.mov(dword_ptr(at + 0x34), 0x0b0b_0b0b)?;
    b.mov(dword_ptr(at + 0x38), stack)?;
    for (offset, selector) in
        [(0x48, DATA), (0x4c, CODE), (0x50, DATA), (0x54, DATA), (0x58, USER_DATA), (0x5c, 0)]
    {
        b.mov(dword_ptr(at + offset), u32::from(selector))?;
    }
    Ok(b.mov(dword_ptr(at + 0x64), 0x0068_0000)?)
}

/// Checks the type field (9 available, Bh busy) of a TSS descriptor.
fn busy(b: &mut Block, selector: u16, expect: bool, name: &str) -> Built {
    let kind = if expect { 0x0b00 } else { 0x0900 };
    expect_memory(b, GDT_AT + u32::from(selector) + 4, 0x0f00, kind, name)
}

fn note(b: &mut Block, number: u32, expect: u32, name: &str) -> Built {
    expect_memory(b, NOTES + number * 4, u32::MAX, expect, name)
}

fn clear_ts(b: &mut Block) -> Built {
    Ok(b.clts()?)
}

fn body(b: &mut Block) -> Built {
    jumps(b)?;
    calls(b)?;
    interrupts(b)?;
    refusals(b)?;
    address_spaces(b)
}

fn jumps(b: &mut Block) -> Built {
    write_tss(b, OTHER_AT, "other", OTHER_STACK)?;
    let back_link = MAIN_TSS_AT;
    b.mov(ebx, 0x1357_9bdfu32)?;
    b.mov(ebp, 0x2468_ace0u32)?;
    clear_ts(b)?;
    b.jump_far(32, OTHER, 0)?;
    b.name("after-jump")?;
    b.mov(eax, cr0)?;
    b.and(eax, 8)?;
    expect_eax(b, 8, "JMP back sets CR0.TS")?;
    expect(b, ebx, 0x1357_9bdf, "EBX came back")?;
    expect(b, ebp, 0x2468_ace0, "EBP came back")?;
    note(b, 0, OTHER.into(), "JMP: TR in the other task")?;
    note(b, 1, 0x0a0a_0a0a, "JMP: EAX from its TSS")?;
    note(b, 2, 0x0b0b_0b0b, "JMP: EBX from its TSS")?;
    note(b, 3, OTHER_STACK, "JMP: ESP from its TSS")?;
    note(b, 4, USER_DATA.into(), "JMP: FS from its TSS")?;
    note(b, 5, 0x0000_0002, "JMP: EFLAGS from its TSS, NT clear")?;
    note(b, 6, 0x0900, "JMP: the old TSS is not busy")?;
    note(b, 7, 0x0b00, "JMP: the new TSS is busy")?;
    note(b, 8, 8, "JMP: CR0.TS set")?;
    busy(b, OTHER, false, "JMP back: the other TSS is not busy")?;
    busy(b, MAIN_TSS, true, "JMP back: the main TSS is busy")?;
    expect_memory(b, back_link, 0xffff, 0, "JMP writes no back link")?;
    expect_memory(b, OTHER_AT, 0xffff, 0, "in either TSS")?;
    b.mov(eax, dword_ptr(MAIN_TSS_AT + 0x20))?;
    let address = b.address("after-jump");
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, "the saved EIP is that behind the JMP")?;
    b.str(ecx)?;
    expect(b, ecx, MAIN_TSS.into(), "TR is the main task's again")
}

fn calls(b: &mut Block) -> Built {
    write_tss(b, OTHER_AT, "other-called", OTHER_STACK)?;
    for (round, selector) in [(1, OTHER), (2, GATE)] {
        b.call_far(selector, 0)?;
        note(b, 9, round, "CALL: the other task ran, and went on where its IRET was")?;
        note(b, 5, 0x4000, "CALL: NT set")?;
        note(b, 6, 0x0b00, "CALL: the old TSS stays busy")?;
        note(b, 7, 0x0b00, "CALL: the new TSS is busy")?;
        expect_memory(b, OTHER_AT, 0xffff, MAIN_TSS.into(), "CALL: back link")?;
        busy(b, OTHER, false, "IRET: the other TSS is not busy")?;
        busy(b, MAIN_TSS, true, "IRET: the main TSS is busy")?;
        expect_memory(b, OTHER_AT + 0x24, 0x4000, 0, "IRET: NT cleared in the TSS left")?;
        b.pushfd()?;
        b.pop(eax)?;
        b.and(eax, 0x4000)?;
        expect_eax(b, 0, "IRET: NT clear in the main task")?;
    }
    Ok(())
}

fn interrupts(b: &mut Block) -> Built {
    write_tss(b, HANDLER_AT, "handler", HANDLER_STACK)?;
    let address = b.address("handler-error");
    b.mov(dword_ptr(address), 0)?;
    b.int(u32::from(VECTOR_TASK))?;
    b.name("after-int")?;
    note(b, 10, HANDLER.into(), "INT through a task gate")?;
    expect_memory(b, HANDLER_AT, 0xffff, MAIN_TSS.into(), "INT: back link")?;
    b.mov(eax, dword_ptr(NOTES + 44))?;
    let address = b.address("after-int");
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, "INT: the saved EIP is that behind it")?;
    note(b, 12, HANDLER_STACK, "INT: no error code on the handler's stack")?;

    // An exception with an error code; the handler moves the saved EIP behind the instruction.
    b.mov(eax, dword_ptr(IDT_AT + 13 * 8))?;
    b.mov(ebp, dword_ptr(IDT_AT + 13 * 8 + 4))?;
    b.push(eax)?;
    let task = gate(HANDLER, 0, TASK_GATE, 0, 0);
    b.mov(dword_ptr(IDT_AT + 13 * 8), task as u32)?;
    b.mov(dword_ptr(IDT_AT + 13 * 8 + 4), (task >> 32) as u32)?;
    write_tss(b, HANDLER_AT, "handler", HANDLER_STACK)?;
    let address = b.address("handler-error");
    b.mov(dword_ptr(address), 1)?;
    b.mov(eax, 0x4448u32)?;
    b.name("faulting")?;
    b.mov(gs, eax)?;
    b.name("after-fault")?;
    b.pop(dword_ptr(IDT_AT + 13 * 8))?;
    b.mov(dword_ptr(IDT_AT + 13 * 8 + 4), ebp)?;
    note(b, 12, HANDLER_STACK - 4, "#GP: an error code on the handler's stack")?;
    note(b, 13, 0x4448, "#GP: which says the selector")?;
    b.mov(eax, dword_ptr(NOTES + 44))?;
    let address = b.address("faulting");
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, "#GP: the saved EIP is that of the instruction")
}

fn refusals(b: &mut Block) -> Built {
    expect_fault(b, 13, MAIN_TSS, "JMP to a busy TSS", |b| b.jump_far(32, MAIN_TSS, 0))?;
    expect_fault(b, 13, MAIN_TSS, "CALL of a busy TSS", |b| b.call_far(MAIN_TSS, 0))?;
    expect_fault(b, 10, SHORT, "JMP to a TSS that is too short", |b| b.jump_far(32, SHORT, 0))?;
    expect_fault(b, 11, ABSENT, "JMP to a TSS not present", |b| b.jump_far(32, ABSENT, 0))?;
    busy(b, MAIN_TSS, true, "a refused switch leaves the main TSS busy")?;
    b.str(ecx)?;
    expect(b, ecx, MAIN_TSS.into(), "and TR as it was")?;
    expect_fault(b, 10, MAIN_TSS, "IRET with NT whose back link is not busy", |b| {
        // Only here: the main TSS is made to point back to itself, marked available.
        b.mov(word_ptr(MAIN_TSS_AT), u32::from(MAIN_TSS))?;
        b.and(byte_ptr(GDT_AT + u32::from(MAIN_TSS) + 5), 0xfdu32)?;
        b.pushfd()?;
        b.or(dword_ptr(esp), 0x4000)?;
        b.popfd()?;
        Ok(b.iretd()?)
    })?;
    b.or(byte_ptr(GDT_AT + u32::from(MAIN_TSS) + 5), 2u32)?;
    b.mov(word_ptr(MAIN_TSS_AT), 0)?;
    b.push(2)?;
    Ok(b.popfd()?)
}

fn address_spaces(b: &mut Block) -> Built {
    // Main task: 400000h shows frame 200000h. Other task: frame 201000h, by its CR3.
    b.mov(dword_ptr(0x0020_0000u32), 0x0aaa_0001)?;
    b.mov(dword_ptr(0x0020_1000u32), 0x0bbb_0002)?;
    paging::identity(b)?;
    b.mov(dword_ptr(paging::TABLE_1), 0x0020_0003)?;
    b.cld()?;
    b.mov(edi, SECOND_DIRECTORY)?;
    b.mov(ecx, 0x800u32)?;
    b.xor(eax, eax)?;
    b.rep().stosd()?;
    b.mov(eax, dword_ptr(0x0010_0000u32))?;
    b.mov(dword_ptr(SECOND_DIRECTORY), eax)?;
    b.mov(dword_ptr(SECOND_DIRECTORY + 4), SECOND_TABLE | 3)?;
    b.mov(dword_ptr(SECOND_TABLE), 0x0020_1003)?;
    paging::turn_on(b)?;
    // An LDT that only the other task has; its data segment begins at the window.
    let entry = descriptor(0x0040_0000, 0xfff, 0x93, 4);
    b.mov(dword_ptr(LDT + 8), entry as u32)?;
    b.mov(dword_ptr(LDT + 12), (entry >> 32) as u32)?;
    write_tss(b, OTHER_AT, "other-space", OTHER_STACK)?;
    b.mov(dword_ptr(OTHER_AT + 0x1c), SECOND_DIRECTORY)?;
    b.mov(dword_ptr(OTHER_AT + 0x60), u32::from(LOCAL))?;
    b.mov(dword_ptr(OTHER_AT + 0x5c), 0x0c)?;
    b.mov(eax, cr3)?;
    b.mov(dword_ptr(MAIN_TSS_AT + 0x1c), eax)?;
    b.call_far(OTHER, 0)?;
    note(b, 14, 0x0bbb_0002, "the other task's CR3 shows its frame")?;
    note(b, 15, 0x0bbb_0002, "GS through its LDT")?;
    b.mov(eax, dword_ptr(0x0040_0000u32))?;
    expect_eax(b, 0x0aaa_0001, "back in the main task's address space")?;
    b.sldt(ecx)?;
    b.movzx(ecx, cx)?;
    expect(b, ecx, 0, "and its LDTR")
}

/// Notes TR, EFLAGS, both busy bits and CR0.TS.
fn take_notes(b: &mut Block) -> Built {
    b.pushfd()?;
    b.pop(dword_ptr(NOTES + 20))?;
    b.str(eax)?;
    b.mov(dword_ptr(NOTES), eax)?;
    for (number, selector) in [(6u32, MAIN_TSS), (7, OTHER)] {
        b.mov(eax, dword_ptr(GDT_AT + u32::from(selector) + 4))?;
        b.and(eax, 0x0f00)?;
        b.mov(dword_ptr(NOTES + number * 4), eax)?;
    }
    b.mov(eax, cr0)?;
    b.and(eax, 8)?;
    Ok(b.mov(dword_ptr(NOTES + 32), eax)?)
}

fn pieces(image: &mut Image) -> Built {
    image.code(32, 0x6000, BASE + 0x6000, |b| {
        b.name("other")?;
        b.mov(dword_ptr(NOTES + 4), eax)?;
        b.mov(dword_ptr(NOTES + 8), ebx)?;
        b.mov(dword_ptr(NOTES + 12), esp)?;
        b.mov(dword_ptr(NOTES + 16), fs)?;
        b.and(dword_ptr(NOTES + 16), 0xffff)?;
        take_notes(b)?;
        b.clts()?;
        b.jump_far(32, MAIN_TSS, 0)?;

        b.name("other-called")?;
        b.xor(ebx, ebx)?;
        let again = b.here()?;
        b.inc(ebx)?;
        b.mov(dword_ptr(NOTES + 36), ebx)?;
        take_notes(b)?;
        b.and(dword_ptr(NOTES + 20), 0x4000)?;
        b.iretd()?;
        b.jmp(again)?;

        b.name("handler")?;
        b.mov(dword_ptr(NOTES + 48), esp)?;
        b.str(eax)?;
        b.mov(dword_ptr(NOTES + 40), eax)?;
        b.mov(eax, dword_ptr(MAIN_TSS_AT + 0x20))?;
        b.mov(dword_ptr(NOTES + 44), eax)?;
        let mut plain = b.create_label();
        let address = b.address("handler-error");
        b.cmp(dword_ptr(address), 0)?;
        b.je(plain)?;
        b.pop(dword_ptr(NOTES + 52))?;
        let address = b.address("after-fault");
        b.mov(dword_ptr(MAIN_TSS_AT + 0x20), address)?;
        b.set_label(&mut plain)?;
        b.iretd()?;

        b.name("other-space")?;
        b.mov(eax, dword_ptr(0x0040_0000u32))?;
        b.mov(dword_ptr(NOTES + 56), eax)?;
        b.mov(eax, dword_ptr(0u32).gs())?;
        b.mov(dword_ptr(NOTES + 60), eax)?;
        b.iretd()?;

        b.name("handler-error")?;
        Ok(b.dd(&[0])?)
    })
}
