//! Long mode at the system's level: canonical addresses, paging with four levels, descriptors of sixteen
//! bytes, gates, IST, control registers, SYSCALL and SWAPGS, instructions that are gone, and compatibility
//! mode.
//!
//! Proves SDM vol. 3A, chapters 2, 4, 5 and 6, and vol. 2 where it says "64-Bit Mode Exceptions". The
//! checks run in 64-bit mode and note what came of them; the report is made when long mode has been left.
//! Bochs 2.7 passes all. Where QEMU 7.2's TCG fails, and goes on: what it does not check of canonical
//! addresses (#SS, the last byte, model-specific registers), CR0, CR8 and EFER, and error codes of gates
//! that are beyond the IDT's limit. What it does not survive is left out: CR0.PG and CR4.PAE cleared in
//! 64-bit mode (`crates/cpu/tests/long_mode.rs` has both), LGDT of an address that is not canonical.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "long-mode",
    about: "64-bit mode: canonical addresses, four-level paging, gates and IST, SYSCALL, what is invalid there",
    kind: Kind::Firmware,
    build: || rom("long mode", tables, more, body),
    symbols: None,
};

/// Where the pieces are in the copy.
const LONG_CODE: u32 = 0x2000;
const IDT_64: u32 = 0x6800;

/// Tables and stacks in low memory.
const TSS_64: u32 = 0x2000;
const RESULTS: u32 = 0x2800;
const IST_STACK: u32 = 0x4800;
const LEVEL_4: u32 = 0x0010_0000;
const LEVEL_3: u32 = 0x0010_1000;
const LEVEL_2: u32 = 0x0010_2000;
const LEVEL_1: u32 = 0x0010_3000;

/// Descriptors of its own.
const CODE_64: u16 = OWN;
const USER_CODE_64: u16 = (OWN + 0x18) | 3;
const USER_DATA_64: u16 = (OWN + 0x10) | 3;
const TSS: u16 = OWN + 0x20;
const CALL_GATE_64: u16 = OWN + 0x30;
const BAD_TSS: u16 = OWN + 0x40;
const GATE_TO_32: u16 = OWN + 0x50;
const ABSENT: u16 = OWN + 0x60;
const BOTH_SIZES: u16 = OWN + 0x68;
/// What SYSRET makes of STAR: this + 16 is code, this + 8 is data.
const SYSRET_BASE: u16 = OWN + 0x08;

/// Variables, 64 bits wide.
const GOT_VECTOR: u32 = SCRATCH;
const GOT_ERROR: u32 = SCRATCH + 8;
const GO_ON: u32 = SCRATCH + 16;
const GO_ON_RSP: u32 = SCRATCH + 24;
/// RSP when a handler began.
const AT_ENTRY: u32 = SCRATCH + 32;
const WORK: u32 = SCRATCH + 64;
const POINTER: u32 = SCRATCH + 80;

/// Vectors whose handlers return at once: on the same stack, and on one of the IST.
const COMES_BACK: u8 = 0x31;
const HAS_STACK: u8 = 0x32;
/// A vector whose gate is a task gate; there is none behind it.
const TASK: u8 = 0x3e;
/// SS, RSP, RFLAGS, CS, RIP.
const FIVE: u64 = 0x28;
/// Where RSP is after an interrupt that came with one quadword on the stack.
const ALIGNED: u64 = STACK as u64 - 16 - FIVE;

const NOT_CANONICAL: u64 = 0x8000_0000_0000_0000;
/// Nothing is mapped there.
const MISSING: u64 = 0x40_0000_0000;
/// One page of 4 KiB with an entry of its own.
const WINDOW: u64 = 0x20_0000;

const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// A far return with a 64-bit offset.
const RETFQ: [u8; 2] = [0x48, 0xcb];

const NONE: u16 = 0xff;

/// What must come of a check.
#[derive(Clone, Copy)]
enum Come {
    /// RAX, and no exception; from ring 3 by the interrupt that ends it.
    Value(u64),
    /// An exception: vector and error code. RAX does not matter.
    Fault(u16, u16),
}

use Come::{Fault, Value};

struct Check {
    name: &'static str,
    ring_3: bool,
    come: Come,
    code: fn(&mut Block) -> Built,
}

const fn kernel(name: &'static str, come: Come, code: fn(&mut Block) -> Built) -> Check {
    Check { name, ring_3: false, come, code }
}

const fn user(name: &'static str, come: Come, code: fn(&mut Block) -> Built) -> Check {
    Check { name, ring_3: true, come, code }
}

const INVALID: Come = Fault(6, 0);
const GENERAL: Come = Fault(13, 0);

fn bytes(b: &mut Block, code: &[u8]) -> Built {
    Ok(b.db(code)?)
}

fn write_msr(b: &mut Block, register: u32, value: u64) -> Built {
    b.mov(ecx, register)?;
    b.mov(eax, value as u32)?;
    b.mov(edx, (value >> 32) as u32)?;
    Ok(b.wrmsr()?)
}

/// Sets RAX to a model-specific register.
fn read_msr(b: &mut Block, register: u32) -> Built {
    b.mov(ecx, register)?;
    b.rdmsr()?;
    b.shl(rdx, 32u32)?;
    Ok(b.or(rax, rdx)?)
}

/// Writes the entry of the window's page.
fn map(b: &mut Block, entry: u64) -> Built {
    b.mov(rax, entry)?;
    b.mov(qword_ptr(LEVEL_1), rax)?;
    b.mov(rbx, WINDOW)?;
    Ok(b.invlpg(ptr(rbx))?)
}

const PRESENT_WRITE_USER: u64 = 7;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x30_0000;

const CHECKS: &[Check] = &[
    // Addresses.
    kernel("a read of an address that is not canonical", GENERAL, |b| {
        b.mov(rbx, NOT_CANONICAL)?;
        Ok(b.mov(rax, qword_ptr(rbx))?)
    }),
    kernel("a write to one", GENERAL, |b| {
        b.mov(rbx, 0x0000_8000_0000_0000u64)?;
        Ok(b.mov(qword_ptr(rbx), rax)?)
    }),
    kernel("the same through RBP is #SS", Fault(12, 0), |b| {
        b.mov(rbp, NOT_CANONICAL)?;
        Ok(b.mov(rax, qword_ptr(rbp))?)
    }),
    user("PUSH below what is canonical is #SS", Fault(12, 0), |b| {
        b.mov(rsp, 0xffff_8000_0000_0000u64)?;
        Ok(b.push(rax)?)
    }),
    kernel("a jump to what is not canonical", GENERAL, |b| {
        b.mov(rbx, NOT_CANONICAL)?;
        Ok(b.jmp(rbx)?)
    }),
    kernel("a read across the end of what is canonical", GENERAL, |b| {
        b.mov(rbx, 0x0000_7fff_ffff_fffcu64)?;
        Ok(b.mov(rax, qword_ptr(rbx))?)
    }),
    // Paging.
    kernel("a page that is missing: read", Fault(14, 0), |b| {
        b.mov(rbx, MISSING)?;
        Ok(b.mov(rax, qword_ptr(rbx))?)
    }),
    kernel("CR2 has 64 bits", Value(MISSING), |b| Ok(b.mov(rax, cr2)?)),
    kernel("a page that is missing: write", Fault(14, 2), |b| {
        b.mov(rbx, MISSING + 8)?;
        Ok(b.mov(qword_ptr(rbx), rax)?)
    }),
    user("a page that is missing: user's read", Fault(14, 4), |b| {
        b.mov(rbx, MISSING)?;
        Ok(b.mov(rax, qword_ptr(rbx))?)
    }),
    kernel("a fetch from a page with NX", Fault(14, 0x11), |b| {
        map(b, FRAME | PRESENT_WRITE_USER | NO_EXECUTE)?;
        Ok(b.jmp(rbx)?)
    }),
    kernel(
        "reads from it are allowed, and set A",
        Value(NO_EXECUTE | FRAME | PRESENT_WRITE_USER | 0x20),
        |b| {
            map(b, FRAME | PRESENT_WRITE_USER | NO_EXECUTE)?;
            b.mov(rax, qword_ptr(rbx))?;
            Ok(b.mov(rax, qword_ptr(LEVEL_1))?)
        },
    ),
    kernel("writes set D", Value(FRAME | PRESENT_WRITE_USER | 0x60), |b| {
        map(b, FRAME | PRESENT_WRITE_USER)?;
        b.mov(byte_ptr(rbx), 1)?;
        Ok(b.mov(rax, qword_ptr(LEVEL_1))?)
    }),
    kernel("reserved bits of an entry", Fault(14, 9), |b| {
        map(b, 1 << 51 | FRAME | PRESENT_WRITE_USER)?;
        Ok(b.mov(rax, qword_ptr(rbx))?)
    }),
    kernel("a supervisor's write to a page that is read-only, with CR0.WP", Fault(14, 3), |b| {
        map(b, FRAME | 5)?;
        Ok(b.mov(byte_ptr(rbx), 1)?)
    }),
    user("a user's write to it", Fault(14, 7), |b| {
        b.mov(rbx, WINDOW)?;
        Ok(b.mov(byte_ptr(rbx), 1)?)
    }),
    // Control registers.
    kernel("the upper half of CR0", GENERAL, |b| {
        b.mov(rax, cr0)?;
        b.bts(rax, 32u32)?;
        Ok(b.mov(cr0, rax)?)
    }),
    kernel("EFER.LME cannot be cleared while paging is on", GENERAL, |b| {
        read_msr(b, EFER)?;
        b.btr(eax, 8u32)?;
        b.xor(edx, edx)?;
        Ok(b.wrmsr()?)
    }),
    kernel("EFER.LMA is set", Value(0xd01), |b| read_msr(b, EFER)),
    kernel("CR8 has four bits", GENERAL, |b| {
        b.mov(eax, 16)?;
        Ok(b.mov(cr8, rax)?)
    }),
    kernel("CR8", Value(5), |b| {
        b.mov(eax, 5)?;
        b.mov(cr8, rax)?;
        b.xor(eax, eax)?;
        b.mov(rax, cr8)?;
        b.xor(ebx, ebx)?;
        Ok(b.mov(cr8, rbx)?)
    }),
    kernel("a model-specific register takes canonical addresses only", GENERAL, |b| {
        write_msr(b, LSTAR, NOT_CANONICAL)
    }),
    user("MOV CR in ring 3", GENERAL, |b| Ok(b.mov(rax, cr0)?)),
    user("HLT in ring 3", GENERAL, |b| Ok(b.hlt()?)),
    user("CLI in ring 3", GENERAL, |b| Ok(b.cli()?)),
    user("IN in ring 3, past the end of the I/O bitmap", GENERAL, |b| Ok(b.in_(al, 0x80u32)?)),
    user("SWAPGS in ring 3", GENERAL, |b| Ok(b.swapgs()?)),
    user("RDMSR in ring 3", GENERAL, |b| read_msr(b, EFER)),
    // Segments.
    kernel("a null SS in ring 0", Value(0), |b| {
        b.xor(eax, eax)?;
        b.mov(ss, eax)?;
        b.mov(rax, ss)?;
        b.push(rax)?;
        Ok(b.pop(rax)?)
    }),
    user("a null SS in ring 3", GENERAL, |b| {
        b.xor(eax, eax)?;
        Ok(b.mov(ss, eax)?)
    }),
    kernel("limits are not checked", Value(0x1234_5678), |b| {
        b.mov(eax, u32::from(DATA16))?;
        b.mov(ds, eax)?;
        b.mov(dword_ptr(WORK), 0x1234_5678)?;
        b.mov(rbx, u64::from(WORK))?;
        b.mov(eax, dword_ptr(rbx))?;
        b.mov(ecx, u32::from(DATA))?;
        Ok(b.mov(ds, ecx)?)
    }),
    kernel("a base of FS counts", Value(0x5555_aaaa), |b| {
        b.mov(dword_ptr(WORK + 4), 0x5555_aaaau32)?;
        write_msr(b, 0xc000_0100, u64::from(WORK))?;
        b.mov(ebx, 4)?;
        Ok(b.mov(eax, dword_ptr(rbx).fs())?)
    }),
    kernel("code for both sizes", Fault(13, BOTH_SIZES), |b| {
        b.push(i32::from(BOTH_SIZES))?;
        b.push(0)?;
        bytes(b, &RETFQ)
    }),
    kernel("LTR of a descriptor whose upper half has a type", Fault(13, BAD_TSS), |b| {
        b.mov(eax, u32::from(BAD_TSS))?;
        Ok(b.ltr(ax)?)
    }),
    kernel("LTR of a busy one", Fault(13, TSS), |b| {
        b.mov(eax, u32::from(TSS))?;
        Ok(b.ltr(ax)?)
    }),
    kernel("STR", Value(TSS as u64), |b| {
        b.xor(eax, eax)?;
        Ok(b.str(eax)?)
    }),
    kernel("SGDT stores ten bytes", Value(GDT_AT as u64), |b| {
        b.sgdt(ptr(u64::from(WORK)))?;
        Ok(b.mov(rax, qword_ptr(WORK + 2))?)
    }),
    // Gates, interrupts, returns.
    kernel("a call gate of sixteen bytes", Value(CODE_64 as u64), |b| {
        b.mov(dword_ptr(POINTER), 0)?;
        b.mov(word_ptr(POINTER + 4), u32::from(CALL_GATE_64))?;
        Ok(b.call(fword_ptr(POINTER))?)
    }),
    kernel("a call gate to code that is not 64-bit", Fault(13, CODE), |b| {
        b.mov(dword_ptr(POINTER), 0)?;
        b.mov(word_ptr(POINTER + 4), u32::from(GATE_TO_32))?;
        Ok(b.call(fword_ptr(POINTER))?)
    }),
    kernel("a far call to what is absent", Fault(11, ABSENT), |b| {
        b.mov(dword_ptr(POINTER), 0)?;
        b.mov(word_ptr(POINTER + 4), u32::from(ABSENT))?;
        Ok(b.call(fword_ptr(POINTER))?)
    }),
    kernel("an interrupt pushes five quadwords from an RSP that is aligned", Value(ALIGNED), |b| {
        b.push(0)?;
        b.int(u32::from(COMES_BACK))?;
        b.pop(rcx)?;
        Ok(b.mov(rax, qword_ptr(AT_ENTRY))?)
    }),
    kernel("a gate with an IST", Value(IST_STACK as u64 - FIVE), |b| {
        b.int(u32::from(HAS_STACK))?;
        Ok(b.mov(rax, qword_ptr(AT_ENTRY))?)
    }),
    kernel("an interrupt through no gate", Fault(13, 0x3f * 8 + 2), |b| Ok(b.int(0x3f)?)),
    kernel("a task gate does not exist", Fault(13, TASK as u16 * 8 + 2), |b| Ok(b.int(u32::from(TASK))?)),
    kernel("IRETQ with a null SS to ring 0", Value(0), |b| {
        let there = b.unique();
        let address = b.address(&there);
        b.mov(rbx, rsp)?;
        b.push(0)?;
        b.push(rbx)?;
        b.push(2)?;
        b.push(i32::from(CODE_64))?;
        b.push(address as i32)?;
        b.iretq()?;
        b.name(&there)?;
        b.xor(eax, eax)?;
        b.mov(eax, ss)?;
        b.mov(ecx, u32::from(DATA))?;
        Ok(b.mov(ss, ecx)?)
    }),
    kernel("IRETQ with a null SS to ring 3", GENERAL, |b| {
        b.push(0)?;
        b.push(USER_STACK as i32)?;
        b.push(2)?;
        b.push(i32::from(USER_CODE_64))?;
        b.push(0x1000)?;
        Ok(b.iretq()?)
    }),
    kernel("IRETQ to what is not canonical", GENERAL, |b| {
        b.mov(rbx, rsp)?;
        b.mov(rax, NOT_CANONICAL)?;
        b.push(i32::from(DATA))?;
        b.push(rbx)?;
        b.push(2)?;
        b.push(i32::from(CODE_64))?;
        b.push(rax)?;
        Ok(b.iretq()?)
    }),
    // SYSCALL and SWAPGS.
    kernel("SYSCALL without EFER.SCE", INVALID, |b| {
        read_msr(b, EFER)?;
        b.btr(eax, 0u32)?;
        b.xor(edx, edx)?;
        b.wrmsr()?;
        Ok(b.syscall()?)
    }),
    kernel("EFER.SCE again", Value(0xd01), |b| {
        read_msr(b, EFER)?;
        b.bts(eax, 0u32)?;
        b.xor(edx, edx)?;
        b.wrmsr()?;
        read_msr(b, EFER)
    }),
    user("SYSCALL goes to LSTAR with RFLAGS in R11", Value(0x0202), |b| {
        let behind = b.unique();
        let address = b.address(&behind);
        b.mov(r12d, address)?;
        b.syscall()?;
        b.name(&behind)?;
        // The kernel gave RAX: R11 where RCX was this address, else zero.
        Ok(())
    }),
    kernel("SWAPGS", Value(0x1111_2222_3333), |b| {
        write_msr(b, GS_BASE, 0x4444)?;
        write_msr(b, KERNEL_GS_BASE, 0x1111_2222_3333)?;
        b.swapgs()?;
        read_msr(b, GS_BASE)
    }),
    // What is gone, and what took its place.
    kernel("PUSH ES", INVALID, |b| bytes(b, &[0x06])),
    kernel("POP SS", INVALID, |b| bytes(b, &[0x17])),
    kernel("DAA", INVALID, |b| bytes(b, &[0x27])),
    kernel("AAM", INVALID, |b| bytes(b, &[0xd4, 0x0a])),
    kernel("PUSHA", INVALID, |b| bytes(b, &[0x60])),
    kernel("opcode 82h", INVALID, |b| bytes(b, &[0x82, 0xc0, 0x00])),
    kernel("a far call with an immediate", INVALID, |b| bytes(b, &[0x9a, 0, 0, 0, 0, 8, 0])),
    kernel("INTO", INVALID, |b| bytes(b, &[0xce])),
    kernel("SALC", INVALID, |b| bytes(b, &[0xd6])),
    kernel("LAHF", Value(0x4600), |b| {
        b.xor(eax, eax)?;
        Ok(b.lahf()?)
    }),
    kernel("MOVSXD where ARPL was", Value(0xffff_ffff_8000_0000), |b| {
        b.mov(ebx, 0x8000_0000u32)?;
        Ok(b.movsxd(rax, ebx)?)
    }),
    kernel("a 32-bit result clears the upper half", Value(0xffff_ffff), |b| {
        b.mov(rax, -1i64)?;
        Ok(b.mov(eax, eax)?)
    }),
    kernel("CMPXCHG16B of what is not aligned", GENERAL, |b| {
        b.mov(rbx, u64::from(WORK) + 8)?;
        Ok(b.cmpxchg16b(xmmword_ptr(rbx))?)
    }),
    kernel("an address relative to RIP", Value(0x1357), |b| {
        // MOV EAX, [RIP+2]; JMP +4; the dword.
        bytes(b, &[0x8b, 0x05, 2, 0, 0, 0, 0xeb, 4, 0x57, 0x13, 0, 0])
    }),
    // Compatibility mode.
    kernel("compatibility mode truncates addresses", Value(0x7777), |b| {
        let (there, back) = (b.unique(), format!("back {}", b.unique()));
        let (to, from) = (b.address(&there), b.address(&back));
        b.mov(dword_ptr(WORK), 0x7777)?;
        b.mov(dword_ptr(POINTER), to)?;
        b.mov(word_ptr(POINTER + 4), u32::from(CODE))?;
        b.mov(ebx, 0x8000_0000u32)?;
        b.jmp(fword_ptr(POINTER))?;
        b.name(&there)?;
        // 32-bit code: MOV EAX, [EBX+EBX+WORK], whose sum has no 33rd bit; a far jump back.
        let [w0, w1, w2, w3] = WORK.to_le_bytes();
        bytes(b, &[0x8b, 0x84, 0x1b, w0, w1, w2, w3])?;
        let [f0, f1, f2, f3] = from.to_le_bytes();
        bytes(b, &[0xea, f0, f1, f2, f3, CODE_64 as u8, (CODE_64 >> 8) as u8])?;
        b.name(&back)
    }),
    kernel("an exception there comes to 64-bit code", Fault(13, 0x1234), |b| {
        let there = b.unique();
        let to = b.address(&there);
        b.mov(dword_ptr(POINTER), to)?;
        b.mov(word_ptr(POINTER + 4), u32::from(CODE))?;
        b.jmp(fword_ptr(POINTER))?;
        b.name(&there)?;
        // 32-bit code: MOV EAX, 1234h; MOV DS, AX.
        bytes(b, &[0xb8, 0x34, 0x12, 0, 0, 0x8e, 0xd8])
    }),
];

/// A gate of sixteen bytes with P set: the code is below 4 GiB.
fn gate_64(selector: u16, offset: u32, kind: u8, dpl: u8, stack: u8) -> [u64; 2] {
    [gate(selector, offset, kind, dpl, stack), 0]
}

fn tables(image: &Image) -> Tables {
    let system = |access: u8| descriptor(TSS_64, 0x67, access, 0);
    let [gate_low, gate_high] = gate_64(CODE_64, image.address("through the gate"), CALL_GATE, 0, 0);
    let [gate_32, gate_32_high] = gate_64(CODE, 0x1_0000, CALL_GATE, 0, 0);
    let own = vec![
        descriptor(0, 0xf_ffff, 0x9b, 0xa), // 64-bit code
        descriptor(0, 0xf_ffff, 0xfb, 0xc), // 32-bit code of users, for SYSRET
        descriptor(0, 0xf_ffff, 0xf3, 0xc), // data of users
        descriptor(0, 0xf_ffff, 0xfb, 0xa), // 64-bit code of users
        system(0x89),
        0,
        gate_low,
        gate_high,
        system(0x89),
        0x0000_0900_0000_0000, // a type in the upper half
        gate_32,
        gate_32_high,
        descriptor(0, 0xf_ffff, 0x1b, 0xa), // absent
        descriptor(0, 0xf_ffff, 0x9b, 0xe), // L and D
    ];
    Tables { own, gates: Vec::new() }
}

fn more(image: &mut Image) -> Built {
    let mut idt = Vec::new();
    for vector in 0..TASK {
        let (dpl, stack) = (if vector == LEAVE { 3 } else { 0 }, u8::from(vector == HAS_STACK));
        let address = image.address(&format!("long{vector}"));
        idt.extend(gate_64(CODE_64, address, INTERRUPT_GATE, dpl, stack));
    }
    idt.extend(gate_64(CODE_64, 0, TASK_GATE, 0, 0));
    let bytes: Vec<u8> = idt.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    image.put(IDT_64 as usize, &bytes)?;
    image.code(64, LONG_CODE as usize, BASE + LONG_CODE, long)
}

/// 32-bit code: to long mode, and the report when it is over.
fn body(b: &mut Block) -> Built {
    // Four levels: the first GiB is itself in pages of 2 MiB, all of users; 2 MiB from the window on have
    // a table of their own.
    b.xor(eax, eax)?;
    b.mov(edi, LEVEL_4)?;
    b.mov(ecx, 0x1400u32)?;
    b.rep().stosd()?;
    b.mov(dword_ptr(LEVEL_4), LEVEL_3 | 7)?;
    b.mov(dword_ptr(LEVEL_3), LEVEL_2 | 7)?;
    // The local APIC, for CR8: the last GiB of the first four, as one entry of 2 MiB.
    b.mov(dword_ptr(LEVEL_3 + 24), (LEVEL_1 + 0x1000) | 7)?;
    b.mov(dword_ptr(LEVEL_1 + 0x1000 + 0x1f7 * 8), 0xfee0_0000u32 | 0x83)?;
    b.mov(edi, LEVEL_2)?;
    b.mov(eax, 0x87u32)?;
    let next = b.here()?;
    b.mov(dword_ptr(edi), eax)?;
    b.add(edi, 8)?;
    b.add(eax, 0x20_0000)?;
    b.cmp(edi, LEVEL_2 + 0x1000)?;
    b.jb(next)?;
    b.mov(dword_ptr(LEVEL_2 + 8), LEVEL_1 | 7)?;

    // The TSS: ring 0's stack, IST 1, no I/O bitmap.
    b.xor(eax, eax)?;
    b.mov(edi, TSS_64)?;
    b.mov(ecx, 0x400u32)?;
    b.rep().stosd()?;
    b.mov(dword_ptr(TSS_64 + 4), RING0_STACK)?;
    b.mov(dword_ptr(TSS_64 + 0x24), IST_STACK)?;
    b.mov(word_ptr(TSS_64 + 0x66), 0x68)?;

    b.mov(word_ptr(POINTER), (u32::from(TASK) + 1) * 16 - 1)?;
    b.mov(dword_ptr(POINTER + 2), BASE + IDT_64)?;
    b.lidt(ptr(u64::from(POINTER)))?;
    b.mov(eax, cr4)?;
    b.or(eax, 0x20)?;
    b.mov(cr4, eax)?;
    b.mov(eax, LEVEL_4)?;
    b.mov(cr3, eax)?;
    b.mov(ecx, EFER)?;
    b.rdmsr()?;
    b.or(eax, 0x901)?;
    b.wrmsr()?;
    b.mov(eax, cr0)?;
    b.or(eax, 0x8001_0000u32 as i32)?;
    b.mov(cr0, eax)?;
    b.jump_far(32, CODE_64, b.address("long"))?;

    b.name("left")?;
    b.mov(eax, cr0)?;
    b.and(eax, 0x7fff_ffff)?;
    b.mov(cr0, eax)?;
    b.mov(ecx, EFER)?;
    b.rdmsr()?;
    b.and(eax, !0x100)?;
    b.wrmsr()?;
    b.lidt(ptr(u64::from(IDT_POINTER_AT)))?;
    for (check, result) in CHECKS.iter().zip((RESULTS..).step_by(16)) {
        let came = match check.come {
            Fault(vector, error) => u32::from(vector) << 16 | u32::from(error),
            Value(_) if check.ring_3 => u32::from(LEAVE) << 16,
            Value(_) => u32::from(NONE) << 16,
        };
        expect_memory(b, result + 8, u32::MAX, came, check.name)?;
        if let Value(value) = check.come {
            expect_memory(b, result, u32::MAX, value as u32, &format!("{}: low half", check.name))?;
            expect_memory(
                b,
                result + 4,
                u32::MAX,
                (value >> 32) as u32,
                &format!("{}: high half", check.name),
            )?;
        }
    }
    Ok(())
}

/// 64-bit code: every check, then out of long mode.
fn long(b: &mut Block) -> Built {
    b.name("long")?;
    reload_segments(b)?;
    b.mov(rsp, u64::from(STACK))?;
    b.mov(eax, u32::from(TSS))?;
    b.ltr(ax)?;
    write_msr(b, STAR, u64::from(SYSRET_BASE | 3) << 48 | u64::from(CODE_64) << 32)?;
    let entry = b.address("system call");
    write_msr(b, LSTAR, u64::from(entry))?;
    write_msr(b, FMASK, 0x200)?;
    for (check, result) in CHECKS.iter().zip((RESULTS..).step_by(16)) {
        one(b, check, result)?;
    }
    // Out: a far jump to compatibility mode, whose code is in `body`.
    let left = b.address("left");
    b.mov(dword_ptr(POINTER), left)?;
    b.mov(word_ptr(POINTER + 4), u32::from(CODE))?;
    b.jmp(fword_ptr(POINTER))?;

    b.name("through the gate")?;
    b.xor(eax, eax)?;
    b.mov(eax, cs)?;
    bytes(b, &RETFQ)?;

    // R12 is where RCX must point; to ring 3 again with RAX.
    b.name("system call")?;
    let wrong = b.create_label();
    b.xor(eax, eax)?;
    b.cmp(rcx, r12)?;
    b.jne(wrong)?;
    b.mov(rax, r11)?;
    b.place(wrong)?;
    b.sysretq()?;

    for vector in 0..TASK {
        b.name(&format!("long{vector}"))?;
        b.mov(qword_ptr(AT_ENTRY), rsp)?;
        if matches!(vector, COMES_BACK | HAS_STACK) {
            b.iretq()?;
            continue;
        }
        if !matches!(vector, 8 | 10..=14 | 17) {
            b.push(0)?;
        }
        b.push(i32::from(vector))?;
        let note = b.target("note 64");
        b.jmp(note)?;
    }
    b.name("note 64")?;
    b.pop(qword_ptr(GOT_VECTOR))?;
    b.pop(qword_ptr(GOT_ERROR))?;
    b.mov(rsp, qword_ptr(GO_ON_RSP))?;
    Ok(b.jmp(qword_ptr(GO_ON))?)
}

fn reload_segments(b: &mut Block) -> Built {
    b.mov(ecx, u32::from(DATA))?;
    for segment in [ds, es, ss] {
        b.mov(segment, ecx)?;
    }
    Ok(())
}

/// One check and its result: RAX, then vector << 16 | error code.
fn one(b: &mut Block, check: &Check, result: u32) -> Built {
    let resume = format!("resume {result:x}");
    b.mov(dword_ptr(GOT_VECTOR), u32::from(NONE))?;
    b.mov(dword_ptr(GOT_ERROR), 0)?;
    let address = b.address(&resume);
    b.mov(dword_ptr(GO_ON), address)?;
    b.mov(dword_ptr(GO_ON + 4), 0)?;
    b.mov(qword_ptr(GO_ON_RSP), rsp)?;
    if check.ring_3 {
        let there = format!("ring 3 {result:x}");
        let there = (b.address(&there), there);
        b.push(i32::from(USER_DATA_64))?;
        b.push(USER_STACK as i32)?;
        b.push(0x202)?;
        b.push(i32::from(USER_CODE_64))?;
        b.push(there.0 as i32)?;
        b.iretq()?;
        b.name(&there.1)?;
        (check.code)(b)?;
        b.int(u32::from(LEAVE))?;
    } else {
        // RFLAGS is the same for each.
        b.push(2)?;
        b.popfq()?;
        b.xor(ecx, ecx)?;
        (check.code)(b)?;
    }
    b.name(&resume)?;
    b.mov(qword_ptr(result), rax)?;
    b.mov(eax, dword_ptr(GOT_VECTOR))?;
    b.shl(eax, 16u32)?;
    b.or(eax, dword_ptr(GOT_ERROR))?;
    b.mov(dword_ptr(result + 8), eax)?;
    b.cli()?;
    reload_segments(b)
}
