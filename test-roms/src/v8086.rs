//! Virtual-8086 mode: entering and leaving it, what traps to the monitor at IOPL below 3, the I/O
//! permission bitmap, segment bases, and interrupts from devices.
//!
//! Proves SDM vol. 3A, chapter 20.2 and 20.3.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "v8086",
    about: "virtual-8086 mode: IRET into it, sensitive instructions, I/O bitmap, device interrupts, a small monitor",
    kind: Kind::Firmware,
    build: || rom("v8086", tables, pieces, body),
    symbols: None,
};

const VM: u32 = 0x0002_0000;
const IOPL_3: u32 = 0x3000;
const IF: u32 = 0x200;

/// The vector of the timer, and that whose gate is the little monitor's way out.
const TIMER: u8 = 0x20;
/// #GP goes to the monitor while this is nonzero.
const MONITOR_ON: u32 = SCRATCH + 0x80;
const MONITOR_CLI: u32 = SCRATCH + 0x84;
const MONITOR_IF: u32 = SCRATCH + 0x88;

const SEGMENTS: [u16; 4] = [0x0070, 0x1100, 0x1200, 0x1300];

fn tables(image: &Image) -> Tables {
    Tables { own: vec![], gates: vec![(13, gate(CODE, image.address("monitor"), INTERRUPT_GATE, 0, 0))] }
}

/// IRETD to the 16-bit code called `name`, with DS 0070, ES 1100, FS 1200, GS 1300, stack 0:6000.
fn enter(b: &mut Block, name: &str, flags: u32) -> Built {
    let [data, extra, f, g] = SEGMENTS;
    for value in [g, f, data, extra] {
        b.push(i32::from(value))?;
    }
    b.push(0)?;
    b.push(USER_STACK as i32)?;
    b.push((VM | 2 | flags) as i32)?;
    b.push(i32::from(SEGMENT))?;
    let address = b.address(name);
    b.push(address as i32)?;
    Ok(b.iretd()?)
}

/// Enters at `name` and checks which exception ends it.
fn check(b: &mut Block, name: &str, flags: u32, vector: u8, error: u16, what: &str) -> Built {
    expect_fault(b, vector, error, what, |b| enter(b, name, flags))
}

/// Checks that the noted CS:IP is that of `name`.
fn stopped_at(b: &mut Block, name: &str, what: &str) -> Built {
    b.mov(eax, dword_ptr(FRAME))?;
    let address = b.address(name);
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, what)
}

fn body(b: &mut Block) -> Built {
    b.mov(dword_ptr(SCRATCH), 0x0706_0504)?;
    entering(b)?;
    sensitive(b)?;
    ports(b)?;
    timer(b)?;
    monitor(b)
}

fn entering(b: &mut Block) -> Built {
    check(b, "v-plain", IOPL_3, LEAVE, 0, "into v8086 mode and out by INT at IOPL 3")?;
    expect(b, ebx, SEGMENT.into(), "CS in v8086 mode")?;
    expect(b, ecx, 0x0706_0504, "DS base is the selector times 16")?;
    expect(b, edi, 0x3202 & !IF, "PUSHF shows IOPL and not VM")?;
    expect_memory(b, FRAME + 4, 0xffff, SEGMENT.into(), "frame: CS")?;
    expect_memory(b, FRAME + 8, VM | IOPL_3, VM | IOPL_3, "frame: EFLAGS with VM")?;
    expect_memory(b, FRAME + 12, u32::MAX, USER_STACK, "frame: ESP")?;
    expect_memory(b, FRAME + 16, 0xffff, 0, "frame: SS")?;
    expect_memory(b, FRAME + 20, 0xffff, SEGMENTS[1].into(), "frame: ES")?;
    expect_memory(b, FRAME + 24, 0xffff, SEGMENTS[0].into(), "frame: DS")?;
    expect_memory(b, FRAME + 28, 0xffff, SEGMENTS[2].into(), "frame: FS")?;
    expect_memory(b, FRAME + 32, 0xffff, SEGMENTS[3].into(), "frame: GS")?;
    expect_memory(b, FAULT_DS, 0xffff, 0, "the handler's DS is null")?;
    b.mov(eax, fs)?;
    b.and(eax, 0xffff)?;
    expect_eax(b, 0, "the handler's FS is null")?;
    b.mov(eax, u32::from(DATA))?;
    b.mov(fs, eax)?;
    b.mov(gs, eax)?;
    stopped_at(b, "v-plain-end", "frame: IP is behind the INT")
}

fn sensitive(b: &mut Block) -> Built {
    let traps = [
        ("v-cli", "CLI"),
        ("v-sti", "STI"),
        ("v-pushf", "PUSHF"),
        ("v-popf", "POPF"),
        ("v-int", "INT"),
        ("v-iret", "IRET"),
        ("v-hlt", "HLT"),
    ];
    for (name, what) in traps {
        check(b, name, 0, 13, 0, &format!("{what} at IOPL 0"))?;
        stopped_at(b, name, &format!("{what}: IP is its own"))?;
    }
    for (name, what) in &traps[..4] {
        check(b, name, IOPL_3, LEAVE, 0, &format!("{what} at IOPL 3"))?;
    }
    check(b, "v-hlt", IOPL_3, 13, 0, "HLT at IOPL 3 too")?;
    check(b, "v-int3", 0, 3, 0, "INT3 needs no IOPL")?;
    check(b, "v-lgdt", IOPL_3, 13, 0, "LGDT")?;
    check(b, "v-cr0", IOPL_3, 13, 0, "MOV from CR0")?;
    check(b, "v-lar", IOPL_3, 6, 0, "LAR is no instruction here")?;
    check(b, "v-arpl", IOPL_3, 6, 0, "nor is ARPL")?;
    check(b, "v-divide", 0, 0, 0, "division by zero")
}

fn ports(b: &mut Block) -> Built {
    check(b, "v-in-60", 0, 13, 0, "IN from a denied port")?;
    check(b, "v-in-60", IOPL_3, 13, 0, "the bitmap rules at IOPL 3 too")?;
    check(b, "v-in-84", IOPL_3, LEAVE, 0, "IN from an allowed port")?;
    check(b, "v-outw-87", IOPL_3, 13, 0, "OUT of a word whose second half is denied")
}

fn timer(b: &mut Block) -> Built {
    // Local APIC: software-enabled, LINT0 takes the 8259A's interrupts (ExtINT).
    b.mov(dword_ptr(0xfee0_00f0u32), 0x1ff)?;
    b.mov(dword_ptr(0xfee0_0350u32), 0x700)?;
    // 8259A: vectors from 20h, everything masked but IRQ0. 8254: one count of about a millisecond.
    for (port, value) in [
        (0x20, 0x11),
        (0x21, u32::from(TIMER)),
        (0x21, 4),
        (0x21, 1),
        (0xa1, 0xff),
        (0x21, 0xfe),
        (0x43, 0x30),
        (0x40, 0xa9),
        (0x40, 0x04u32),
    ] {
        b.mov(al, value)?;
        b.out(port, al)?;
    }
    check(b, "v-wait", IF, TIMER, 0, "the timer interrupts v8086 code")?;
    expect_memory(b, FRAME + 8, VM | IF, VM | IF, "timer: EFLAGS with VM and IF")?;
    b.mov(al, 0x20u32)?;
    b.out(0x20, al)?;
    b.mov(al, 0xffu32)?;
    Ok(b.out(0x21, al)?)
}

fn monitor(b: &mut Block) -> Built {
    b.mov(dword_ptr(MONITOR_ON), 1)?;
    b.mov(dword_ptr(MONITOR_CLI), 0)?;
    b.mov(dword_ptr(MONITOR_IF), 0)?;
    expect_fault(b, 3, 0, "a monitor that plays CLI and STI", |b| enter(b, "v-monitored", 0))?;
    b.mov(dword_ptr(MONITOR_ON), 0)?;
    expect(b, ecx, 0, "the loop under the monitor ended")?;
    expect_memory(b, MONITOR_CLI, u32::MAX, 50, "each CLI reached the monitor")?;
    expect_memory(b, MONITOR_IF, u32::MAX, 1, "the virtual IF is that of the last STI")
}

fn pieces(image: &mut Image) -> Built {
    image.code(32, 0x6800, BASE + 0x6800, |b| {
        // Plays CLI (FAh) and STI (FBh); anything else goes to the noting handler.
        b.name("monitor")?;
        let (pass_on, sti) = (b.create_label(), b.create_label());
        b.push(eax)?;
        b.push(ebx)?;
        b.cmp(dword_ptr(MONITOR_ON).ss(), 0)?;
        b.je(pass_on)?;
        b.movzx(eax, word_ptr(esp + 16))?;
        b.shl(eax, 4)?;
        b.add(eax, dword_ptr(esp + 12))?;
        b.mov(bl, byte_ptr(eax).ss())?;
        b.cmp(bl, 0xfb)?;
        b.je(sti)?;
        b.cmp(bl, 0xfa)?;
        b.jne(pass_on)?;
        b.inc(dword_ptr(MONITOR_CLI).ss())?;
        b.mov(dword_ptr(MONITOR_IF).ss(), 0)?;
        let leave = b.create_label();
        b.jmp(leave)?;
        b.place(sti)?;
        b.mov(dword_ptr(MONITOR_IF).ss(), 1)?;
        b.place(leave)?;
        b.inc(dword_ptr(esp + 12))?;
        b.pop(ebx)?;
        b.pop(eax)?;
        b.add(esp, 4)?;
        b.iretd()?;
        b.place(pass_on)?;
        b.pop(ebx)?;
        b.pop(eax)?;
        let note = b.target("vector13");
        Ok(b.jmp(note)?)
    })?;
    image.code(16, 0xe800, 0xe800, virtual_code)
}

/// The 8086's programs. Each ends with INT 30h, which leaves at IOPL 3.
fn virtual_code(b: &mut Block) -> Built {
    let leave = |b: &mut Block| -> Built { Ok(b.int(u32::from(LEAVE))?) };
    b.name("v-plain")?;
    b.xor(ebx, ebx)?;
    b.mov(bx, cs)?;
    b.mov(ecx, dword_ptr(0u32))?;
    b.pushf()?;
    b.xor(edi, edi)?;
    b.pop(di)?;
    b.and(di, 0x7000 | 0x302)?;
    leave(b)?;
    b.name("v-plain-end")?;

    b.name("v-cli")?;
    b.cli()?;
    leave(b)?;
    b.name("v-sti")?;
    b.sti()?;
    b.cli()?;
    leave(b)?;
    b.name("v-pushf")?;
    b.pushf()?;
    leave(b)?;
    b.name("v-popf")?;
    b.popf()?;
    leave(b)?;
    b.name("v-int")?;
    leave(b)?;
    b.name("v-iret")?;
    b.iret()?;
    b.name("v-hlt")?;
    b.hlt()?;
    leave(b)?;
    b.name("v-int3")?;
    b.int3()?;
    b.name("v-lgdt")?;
    b.lgdt(ptr(0u32))?;
    b.name("v-cr0")?;
    b.mov(eax, cr0)?;
    b.name("v-lar")?;
    b.lar(ax, cx)?;
    b.name("v-arpl")?;
    b.db(&[0x63, 0xc8])?;
    b.name("v-divide")?;
    b.xor(cx, cx)?;
    b.div(cx)?;
    b.name("v-in-60")?;
    b.in_(al, 0x60)?;
    leave(b)?;
    b.name("v-in-84")?;
    b.in_(al, 0x84)?;
    leave(b)?;
    b.name("v-outw-87")?;
    b.out(0x87, ax)?;
    leave(b)?;
    b.name("v-wait")?;
    let again = b.here()?;
    b.jmp(again)?;
    b.name("v-monitored")?;
    b.mov(ecx, 50u32)?;
    let again = b.here()?;
    b.cli()?;
    b.nop()?;
    b.sti()?;
    b.dec(cx)?;
    b.jne(again)?;
    Ok(b.int3()?)
}
