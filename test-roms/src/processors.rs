//! Two processors: how the second is started, stopped and interrupted, and what each sees of the other's
//! writes to data, code and page tables.
//!
//! Proves SDM vol. 3A, 8.4 (start-up messages), 8.1 (locked operations, code modified by another
//! processor), 10.6 (interprocessor interrupts). Needs a machine with two processors; QEMU's TCG, with
//! `-smp 2`, passes all.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
    paging,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "processors",
    about: "two processors: INIT, start-up, interrupts, LOCK, code and page tables changed by the other one",
    kind: Kind::Firmware,
    build: || rom("processors", tables, more, body),
    symbols: None,
};

/// Offset in the copy where the second processor starts; its number is in the start-up message.
const TRAMPOLINE: u32 = 0x6000;
const START_VECTOR: u32 = (BASE + TRAMPOLINE) >> 12;
const OTHER_CODE: u32 = 0x6100;
const OTHER_STACK: u32 = 0x4000;

/// Variables.
const STARTED: u32 = SCRATCH;
/// What the second processor is to do: an address, and zero when it is done.
const COMMAND: u32 = SCRATCH + 4;
const COUNTER: u32 = SCRATCH + 8;
const LOCK: u32 = SCRATCH + 12;
const SEEN: u32 = SCRATCH + 16;
const INTERRUPTS: u32 = SCRATCH + 20;
const NON_MASKABLE: u32 = SCRATCH + 24;
const TAKEN_BY: u32 = SCRATCH + 28;
/// Not zero when the local APICs are in x2APIC mode.
const EXTENDED: u32 = SCRATCH + 32;

const APIC: u32 = 0xfee0_0000;
const APIC_ID: u32 = APIC + 0x20;
const APIC_EOI: u32 = APIC + 0xb0;
const APIC_LDR: u32 = APIC + 0xd0;
const APIC_SVR: u32 = APIC + 0xf0;
const APIC_ICR: u32 = APIC + 0x300;
const APIC_ICR_HIGH: u32 = APIC + 0x310;
const APIC_LVT_TIMER: u32 = APIC + 0x320;
const APIC_INITIAL_COUNT: u32 = APIC + 0x380;

/// IA32_APIC_BASE and its bits.
const APIC_BASE: u32 = 0x1b;
const BOOTSTRAP: u32 = 1 << 8;
const BASE_EXTENDED: u32 = 1 << 10;
const BASE_ENABLED: u32 = 1 << 11;
/// The registers of x2APIC mode.
const X2APIC_ID: u32 = 0x802;
const X2APIC_EOI: u32 = 0x80b;
const X2APIC_LDR: u32 = 0x80d;
const X2APIC_ICR: u32 = 0x830;
const X2APIC_SELF_IPI: u32 = 0x83f;

/// The interrupt command.
const FIXED: u32 = 0;
const LOWEST_PRIORITY: u32 = 1 << 8;
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const START_UP: u32 = 6 << 8;
const LOGICAL: u32 = 1 << 11;
const ASSERT: u32 = 1 << 14;
const ALL_BUT_SELF: u32 = 3 << 18;

const VECTOR_HERE: u8 = 0x31;
const ROUNDS: u32 = 3000;

fn tables(image: &Image) -> Tables {
    let handler = |name: &str| gate(CODE, image.address(name), INTERRUPT_GATE, 0, 0);
    Tables { own: Vec::new(), gates: vec![(VECTOR_HERE, handler("taken")), (2, handler("non-maskable"))] }
}

fn more(image: &mut Image) -> Built {
    image.code(16, TRAMPOLINE as usize, 0, |b| {
        b.name("trampoline")?;
        b.cli()?;
        b.mov(ax, u32::from(SEGMENT))?;
        b.mov(ds, ax)?;
        b.lgdt(ptr(u64::from(GDT_POINTER)))?;
        b.lidt(ptr(u64::from(GDT_POINTER + 8)))?;
        b.mov(eax, cr0)?;
        b.and(eax, 0x9fff_ffffu32 as i32)?;
        b.or(al, 1)?;
        b.mov(cr0, eax)?;
        b.jump_far(32, CODE, b.address("other"))
    })?;
    image.code(32, OTHER_CODE as usize, BASE + OTHER_CODE, other)
}

/// The second processor: does what it is told, for ever.
fn other(b: &mut Block) -> Built {
    b.name("other")?;
    b.mov(ax, u32::from(DATA))?;
    for segment in [ds, es, fs, gs, ss] {
        b.mov(segment, ax)?;
    }
    b.mov(esp, OTHER_STACK)?;
    b.mov(dword_ptr(APIC_SVR), 0x1ff)?;
    b.lock().inc(dword_ptr(STARTED))?;
    let wait = b.here()?;
    b.pause()?;
    b.mov(eax, dword_ptr(COMMAND))?;
    b.test(eax, eax)?;
    b.je(wait)?;
    b.call(eax)?;
    b.mov(dword_ptr(COMMAND), 0)?;
    b.jmp(wait)?;

    b.name("taken")?;
    let (in_memory, done) = (b.create_label(), b.create_label());
    b.pushad()?;
    b.cmp(dword_ptr(EXTENDED), 0)?;
    b.je(in_memory)?;
    b.mov(ecx, X2APIC_ID)?;
    b.rdmsr()?;
    b.mov(dword_ptr(TAKEN_BY), eax)?;
    b.mov(ecx, X2APIC_EOI)?;
    b.xor(eax, eax)?;
    b.xor(edx, edx)?;
    b.wrmsr()?;
    b.jmp(done)?;
    b.place(in_memory)?;
    b.mov(eax, dword_ptr(APIC_ID))?;
    b.mov(dword_ptr(TAKEN_BY), eax)?;
    b.mov(dword_ptr(APIC_EOI), 0)?;
    b.place(done)?;
    b.lock().inc(dword_ptr(INTERRUPTS))?;
    b.popad()?;
    b.iretd()?;

    b.name("non-maskable")?;
    b.lock().inc(dword_ptr(NON_MASKABLE))?;
    Ok(b.iretd()?)
}

/// Has the second processor run `body`, beside what comes next here. Changes nothing.
fn begin(b: &mut Block, body: impl FnOnce(&mut Block) -> Built) -> Built {
    let there = b.unique();
    let behind = format!("behind {there}");
    let address = b.address(&there);
    b.mov(dword_ptr(COMMAND), address)?;
    let skip = b.target(&behind);
    b.jmp(skip)?;
    b.name(&there)?;
    body(b)?;
    b.ret()?;
    b.name(&behind)
}

/// Waits, but not for ever, until the dword at `address` is `value`. Changes EAX, ECX.
fn wait_for(b: &mut Block, address: u32, value: u32) -> Built {
    let done = b.create_label();
    b.mov(ecx, 0x0010_0000u32)?;
    let again = b.here()?;
    b.pause()?;
    b.mov(eax, dword_ptr(address))?;
    b.cmp(eax, value as i32)?;
    b.je(done)?;
    b.dec(ecx)?;
    b.jne(again)?;
    b.place(done)
}

/// Has the second processor run `body` and waits for its end. Changes EAX, ECX.
fn there(b: &mut Block, body: impl FnOnce(&mut Block) -> Built) -> Built {
    begin(b, body)?;
    wait_for(b, COMMAND, 0)
}

/// Some time in which the other could do what it must not. Changes ECX.
fn a_while(b: &mut Block) -> Built {
    b.mov(ecx, 2000u32)?;
    let again = b.here()?;
    b.pause()?;
    b.dec(ecx)?;
    Ok(b.jne(again)?)
}

fn send(b: &mut Block, destination: u32, command: u32) -> Built {
    b.mov(dword_ptr(APIC_ICR_HIGH), destination << 24)?;
    Ok(b.mov(dword_ptr(APIC_ICR), command)?)
}

fn body(b: &mut Block) -> Built {
    b.mov(dword_ptr(APIC_SVR), 0x1ff)?;
    starting(b)?;
    locked(b)?;
    code(b)?;
    tables_of_pages(b)?;
    interrupts(b)?;
    stopping(b)?;
    extended(b)
}

fn starting(b: &mut Block) -> Built {
    a_while(b)?;
    expect_memory(b, STARTED, u32::MAX, 0, "the second processor waits for a start-up message")?;
    send(b, 0, ALL_BUT_SELF | ASSERT | INIT)?;
    a_while(b)?;
    expect_memory(b, STARTED, u32::MAX, 0, "INIT alone does not start it")?;
    send(b, 0, ALL_BUT_SELF | ASSERT | START_UP | START_VECTOR)?;
    wait_for(b, STARTED, 1)?;
    expect_memory(b, STARTED, u32::MAX, 1, "a start-up message does")?;
    send(b, 0, ALL_BUT_SELF | ASSERT | START_UP | START_VECTOR)?;
    a_while(b)?;
    expect_memory(b, STARTED, u32::MAX, 1, "a second one has no effect")?;

    b.mov(eax, dword_ptr(APIC_ID))?;
    expect_eax(b, 0, "APIC id of the first")?;
    there(b, |b| {
        b.mov(eax, dword_ptr(APIC_ID))?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    })?;
    expect_memory(b, SEEN, u32::MAX, 1 << 24, "APIC id of the second")?;
    there(b, |b| {
        b.mov(eax, 1u32)?;
        b.cpuid()?;
        Ok(b.mov(dword_ptr(SEEN), ebx)?)
    })?;
    expect_memory(b, SEEN, 0xff00_0000, 1 << 24, "CPUID's APIC id of the second")?;
    b.mov(ecx, APIC_BASE)?;
    b.rdmsr()?;
    b.and(eax, BOOTSTRAP as i32)?;
    expect_eax(b, BOOTSTRAP, "the first is the bootstrap processor")?;
    there(b, |b| {
        b.mov(ecx, APIC_BASE)?;
        b.rdmsr()?;
        b.and(eax, BOOTSTRAP as i32)?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    })?;
    expect_memory(b, SEEN, u32::MAX, 0, "the second is not")
}

/// `ROUNDS` times `body`. Changes EBX.
fn rounds(b: &mut Block, body: impl FnOnce(&mut Block) -> Built) -> Built {
    b.mov(ebx, ROUNDS)?;
    let again = b.here()?;
    body(b)?;
    b.dec(ebx)?;
    Ok(b.jne(again)?)
}

/// Both at once.
fn both(b: &mut Block, body: fn(&mut Block) -> Built) -> Built {
    begin(b, |b| rounds(b, body))?;
    rounds(b, body)?;
    wait_for(b, COMMAND, 0)
}

fn locked(b: &mut Block) -> Built {
    b.mov(dword_ptr(COUNTER), 0)?;
    both(b, |b| Ok(b.lock().inc(dword_ptr(COUNTER))?))?;
    expect_memory(b, COUNTER, u32::MAX, 2 * ROUNDS, "LOCK INC by both")?;

    b.mov(dword_ptr(COUNTER), 0)?;
    both(b, |b| {
        let taken = b.create_label();
        let again = b.here()?;
        b.mov(eax, 1u32)?;
        b.xchg(dword_ptr(LOCK), eax)?;
        b.test(eax, eax)?;
        b.je(taken)?;
        b.pause()?;
        b.jmp(again)?;
        b.place(taken)?;
        b.mov(edx, dword_ptr(COUNTER))?;
        b.inc(edx)?;
        b.mov(dword_ptr(COUNTER), edx)?;
        Ok(b.mov(dword_ptr(LOCK), 0)?)
    })?;
    expect_memory(b, COUNTER, u32::MAX, 2 * ROUNDS, "a lock taken with XCHG")?;

    b.mov(dword_ptr(COUNTER), 0)?;
    both(b, |b| {
        let again = b.here()?;
        b.mov(eax, dword_ptr(COUNTER))?;
        b.lea(edx, ptr(eax + 1))?;
        b.lock().cmpxchg(dword_ptr(COUNTER), edx)?;
        Ok(b.jne(again)?)
    })?;
    expect_memory(b, COUNTER, u32::MAX, 2 * ROUNDS, "LOCK CMPXCHG by both")
}

/// Calls the code at `patched` so often that it is kept decoded; stores what it gave.
fn call_patched(b: &mut Block) -> Built {
    let patched = b.address("patched");
    b.mov(ebx, 100u32)?;
    let again = b.here()?;
    b.mov(eax, patched)?;
    b.call(eax)?;
    b.dec(ebx)?;
    b.jne(again)?;
    // A serializing instruction must stand between another's change and its execution; this is the
    // place of the next round's.
    b.mov(dword_ptr(SEEN), eax)?;
    b.xor(eax, eax)?;
    b.cpuid()?;
    Ok(())
}

fn code(b: &mut Block) -> Built {
    let behind = b.unique();
    let skip = b.target(&behind);
    b.jmp(skip)?;
    b.name("patched")?;
    b.mov(eax, 0x1111_1111u32)?;
    b.ret()?;
    b.name(&behind)?;
    let operand = b.address("patched") + 1;
    call_patched(b)?;
    there(b, call_patched)?;
    expect_memory(b, SEEN, u32::MAX, 0x1111_1111, "code before it is changed")?;
    b.mov(dword_ptr(operand), 0x2222_2222)?;
    there(b, call_patched)?;
    expect_memory(b, SEEN, u32::MAX, 0x2222_2222, "code changed by the first")?;
    there(b, |b| Ok(b.mov(dword_ptr(operand), 0x3333_3333)?))?;
    b.xor(eax, eax)?;
    b.cpuid()?;
    call_patched(b)?;
    expect_memory(b, SEEN, u32::MAX, 0x3333_3333, "code changed by the second")?;
    there(b, call_patched)?;
    expect_memory(b, SEEN, u32::MAX, 0x3333_3333, "its own change")
}

/// The second processor has paging on; the first changes its tables.
fn tables_of_pages(b: &mut Block) -> Built {
    const WINDOW: u32 = 0x0040_0000;
    const FRAME_A: u32 = 0x0020_0000;
    const FRAME_B: u32 = 0x0020_1000;
    b.mov(dword_ptr(FRAME_A), 0xaaaa_aaaau32)?;
    b.mov(dword_ptr(FRAME_B), 0xbbbb_bbbbu32)?;
    paging::identity(b)?;
    // The local APIC's page, as 4 MiB: the second needs it.
    b.mov(dword_ptr(paging::DIRECTORY + (APIC >> 22) * 4), (APIC & 0xffc0_0000) | 0x83)?;
    b.mov(dword_ptr(paging::TABLE_1), FRAME_A | 7)?;
    let look = |b: &mut Block| {
        b.invlpg(ptr(WINDOW))?;
        b.mov(eax, dword_ptr(WINDOW))?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    };
    there(b, |b| {
        b.mov(eax, cr4)?;
        b.or(eax, 0x10)?;
        b.mov(cr4, eax)?;
        paging::turn_on(b)?;
        look(b)
    })?;
    expect_memory(b, SEEN, u32::MAX, 0xaaaa_aaaa, "a page of the second's tables")?;
    expect_memory(b, paging::TABLE_1, u32::MAX, FRAME_A | 0x27, "its accessed bit is seen by the first")?;
    b.mov(dword_ptr(paging::TABLE_1), FRAME_B | 7)?;
    there(b, look)?;
    expect_memory(b, SEEN, u32::MAX, 0xbbbb_bbbb, "the first has changed the table")?;
    there(b, |b| {
        b.mov(dword_ptr(WINDOW), 0xcccc_ccccu32)?;
        Ok(())
    })?;
    expect_memory(b, FRAME_B, u32::MAX, 0xcccc_cccc, "what the second writes through it")?;
    expect_memory(b, paging::TABLE_1, u32::MAX, FRAME_B | 0x67, "its dirty bit is seen by the first")
}

fn interrupts(b: &mut Block) -> Built {
    b.mov(dword_ptr(INTERRUPTS), 0)?;
    // The second waits in HLT and goes on when the interrupt has come.
    begin(b, |b| {
        b.sti()?;
        b.hlt()?;
        Ok(b.cli()?)
    })?;
    a_while(b)?;
    expect_memory(b, INTERRUPTS, u32::MAX, 0, "nothing wakes it but an interrupt")?;
    send(b, 1, ASSERT | FIXED | u32::from(VECTOR_HERE))?;
    wait_for(b, COMMAND, 0)?;
    expect_memory(b, COMMAND, u32::MAX, 0, "an interrupt wakes it")?;
    expect_memory(b, INTERRUPTS, u32::MAX, 1, "it was taken once")?;
    expect_memory(b, TAKEN_BY, u32::MAX, 1 << 24, "and by the second")?;

    send(b, 1, ASSERT | NMI)?;
    wait_for(b, NON_MASKABLE, 1)?;
    expect_memory(b, NON_MASKABLE, u32::MAX, 1, "a non-maskable one")?;

    // Its own timer.
    begin(b, |b| {
        b.mov(dword_ptr(APIC_LVT_TIMER), u32::from(VECTOR_HERE))?;
        b.mov(dword_ptr(APIC_INITIAL_COUNT), 1000)?;
        b.sti()?;
        b.hlt()?;
        Ok(b.cli()?)
    })?;
    wait_for(b, COMMAND, 0)?;
    expect_memory(b, INTERRUPTS, u32::MAX, 2, "its own timer wakes it")?;

    // Logical destinations: both, then one of both.
    b.mov(dword_ptr(APIC_LDR), 1 << 24)?;
    there(b, |b| Ok(b.mov(dword_ptr(APIC_LDR), 2 << 24)?))?;
    b.mov(dword_ptr(INTERRUPTS), 0)?;
    there(b, |b| Ok(b.sti()?))?;
    b.sti()?;
    send(b, 3, ASSERT | LOGICAL | FIXED | u32::from(VECTOR_HERE))?;
    wait_for(b, INTERRUPTS, 2)?;
    expect_memory(b, INTERRUPTS, u32::MAX, 2, "an interrupt for both")?;
    b.mov(dword_ptr(INTERRUPTS), 0)?;
    send(b, 3, ASSERT | LOGICAL | LOWEST_PRIORITY | u32::from(VECTOR_HERE))?;
    wait_for(b, INTERRUPTS, 1)?;
    a_while(b)?;
    expect_memory(b, INTERRUPTS, u32::MAX, 1, "an interrupt for one of both")?;
    b.cli()?;
    there(b, |b| Ok(b.cli()?))
}

fn stopping(b: &mut Block) -> Built {
    send(b, 1, ASSERT | INIT)?;
    a_while(b)?;
    b.mov(dword_ptr(SEEN), 0)?;
    begin(b, |b| Ok(b.mov(dword_ptr(SEEN), 1)?))?;
    a_while(b)?;
    expect_memory(b, SEEN, u32::MAX, 0, "INIT stops the second")?;
    b.mov(dword_ptr(COMMAND), 0)?;
    send(b, 1, ASSERT | START_UP | START_VECTOR)?;
    wait_for(b, STARTED, 2)?;
    expect_memory(b, STARTED, u32::MAX, 2, "and a start-up message starts it again")?;
    there(b, |b| {
        b.mov(eax, cr0)?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    })?;
    expect_memory(b, SEEN, 0x8000_0001, 1, "without paging")
}

/// Sets and clears bits of IA32_APIC_BASE. Changes EAX, ECX, EDX.
fn change_base(b: &mut Block, set: u32, clear: u32) -> Built {
    b.mov(ecx, APIC_BASE)?;
    b.rdmsr()?;
    b.or(eax, set as i32)?;
    b.and(eax, !clear as i32)?;
    Ok(b.wrmsr()?)
}

/// Reads a model-specific register into EAX. Changes ECX, EDX.
fn read_register(b: &mut Block, register: u32) -> Built {
    b.mov(ecx, register)?;
    Ok(b.rdmsr()?)
}

/// x2APIC mode (10.12), where CPUID offers it.
fn extended(b: &mut Block) -> Built {
    let behind = b.unique();
    let skip = b.target(&behind);
    b.mov(eax, 1u32)?;
    b.cpuid()?;
    b.bt(ecx, 21u32)?;
    b.jnc(skip)?;

    change_base(b, BASE_EXTENDED, 0)?;
    b.mov(dword_ptr(EXTENDED), 1)?;
    read_register(b, APIC_BASE)?;
    b.and(eax, (BASE_ENABLED | BASE_EXTENDED) as i32)?;
    expect_eax(b, BASE_ENABLED | BASE_EXTENDED, "x2APIC mode")?;
    read_register(b, X2APIC_ID)?;
    expect_eax(b, 0, "x2APIC id of the first")?;
    expect_fault(b, 13, 0, "it cannot go back at once", |b| change_base(b, 0, BASE_EXTENDED))?;
    expect_fault(b, 13, 0, "the end of an interrupt cannot be read", |b| read_register(b, X2APIC_EOI))?;
    there(b, |b| {
        change_base(b, BASE_EXTENDED, 0)?;
        read_register(b, X2APIC_ID)?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    })?;
    expect_memory(b, SEEN, u32::MAX, 1, "x2APIC id of the second")?;
    there(b, |b| {
        read_register(b, X2APIC_LDR)?;
        Ok(b.mov(dword_ptr(SEEN), eax)?)
    })?;
    expect_memory(b, SEEN, u32::MAX, 2, "logical x2APIC id of the second")?;

    b.mov(dword_ptr(INTERRUPTS), 0)?;
    begin(b, |b| {
        b.mov(ecx, 0x80fu32)?;
        b.mov(eax, 0x1ffu32)?;
        b.xor(edx, edx)?;
        b.wrmsr()?;
        b.sti()?;
        b.hlt()?;
        Ok(b.cli()?)
    })?;
    a_while(b)?;
    b.mov(ecx, X2APIC_ICR)?;
    b.mov(edx, 1u32)?;
    b.mov(eax, ASSERT | FIXED | u32::from(VECTOR_HERE))?;
    b.wrmsr()?;
    wait_for(b, COMMAND, 0)?;
    expect_memory(b, INTERRUPTS, u32::MAX, 1, "an interrupt sent with one write")?;
    expect_memory(b, TAKEN_BY, u32::MAX, 1, "is taken by the second")?;
    b.sti()?;
    b.mov(ecx, X2APIC_SELF_IPI)?;
    b.mov(eax, u32::from(VECTOR_HERE))?;
    b.xor(edx, edx)?;
    b.wrmsr()?;
    wait_for(b, INTERRUPTS, 2)?;
    b.cli()?;
    expect_memory(b, INTERRUPTS, u32::MAX, 2, "an interrupt for itself")?;
    expect_memory(b, TAKEN_BY, u32::MAX, 0, "is taken by the first")?;

    change_base(b, 0, BASE_EXTENDED | BASE_ENABLED)?;
    change_base(b, BASE_ENABLED, 0)?;
    b.mov(eax, dword_ptr(APIC_ID))?;
    expect_eax(b, 0, "off and on again, it is in memory")?;
    b.name(&behind)
}
