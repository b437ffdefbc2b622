//! Protected mode and the ways in and out of it: segment checks, gates, rings, SYSENTER, single-step
//! and breakpoints, double fault, and real mode with 4 GiB segments ("big real").
//!
//! Proves what SDM vol. 3A, chapters 5, 6, 17 and 20 ask of a Pentium Pro without paging. Checks whose
//! names begin with "limit" or "type" need an emulator that checks every access. Bochs 2.7 passes all;
//! QEMU 7.2's TCG does not check those, nor set EXT, nor trap on a data breakpoint here.

use iced_x86::{Code, Instruction, code_asm::*};

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, Image},
    harness::*,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "modes",
    about: "segment limits and types, call gates, rings, SYSENTER, debug exceptions, double fault, big real mode",
    kind: Kind::Firmware,
    build: || rom("modes", tables, pieces, body),
    symbols: None,
};

const SMALL: u16 = OWN;
const EXPAND_DOWN: u16 = OWN + 0x08;
const READ_ONLY: u16 = OWN + 0x10;
const EXECUTE_ONLY: u16 = OWN + 0x18;
const ABSENT: u16 = OWN + 0x20;
const CONFORMING: u16 = OWN + 0x28;
const CALL: u16 = OWN + 0x30;
const LOCAL: u16 = OWN + 0x38;
const FRESH: u16 = OWN + 0x40;
const BEYOND: u16 = OWN + 0x800;

/// Where the LDT is, and what its first descriptor shows.
const LDT: u32 = 0x2000;

fn tables(image: &Image) -> Tables {
    Tables {
        own: vec![
            descriptor(SCRATCH, 0xff, 0x93, 4),
            descriptor(SCRATCH, 0x0f, 0x97, 4),
            descriptor(SCRATCH, 0xffff, 0x91, 4),
            descriptor(SCRATCH, 0xffff, 0x99, 4),
            descriptor(SCRATCH, 0xffff, 0x13, 4),
            descriptor(0, 0xf_ffff, 0x9f, 0xc),
            gate(CODE, image.address("add-two"), CALL_GATE, 3, 2),
            descriptor(LDT, 0x0f, 0x82, 0),
            descriptor(SCRATCH, 0xffff, 0x92, 4),
        ],
        gates: vec![],
    }
}

fn body(b: &mut Block) -> Built {
    limits(b)?;
    loads(b)?;
    queries(b)?;
    rings(b)?;
    local_table(b)?;
    sysenter(b)?;
    double_fault(b)?;
    debugging(b)?;
    numbers(b)?;
    big_real(b)
}

fn load_es(b: &mut Block, selector: u16) -> Built {
    b.mov(eax, u32::from(selector))?;
    Ok(b.mov(es, eax)?)
}

fn limits(b: &mut Block) -> Built {
    b.mov(dword_ptr(SCRATCH + 0xfc), 0x1234_5678)?;
    load_es(b, SMALL)?;
    b.mov(eax, dword_ptr(0xfcu32).es())?;
    expect_eax(b, 0x1234_5678, "last dword within the limit")?;
    load_es(b, SMALL)?;
    expect_fault(b, 13, 0, "limit: a dword that ends behind it", |b| {
        Ok(b.mov(eax, dword_ptr(0xfdu32).es())?)
    })?;
    load_es(b, SMALL)?;
    expect_fault(b, 13, 0, "limit: a byte write behind it", |b| Ok(b.mov(byte_ptr(0x100u32).es(), 0)?))?;
    load_es(b, EXPAND_DOWN)?;
    b.mov(dword_ptr(SCRATCH + 0x10), 0x55)?;
    b.mov(eax, dword_ptr(0x10u32).es())?;
    expect_eax(b, 0x55, "expand-down: first dword above the limit")?;
    load_es(b, EXPAND_DOWN)?;
    expect_fault(b, 13, 0, "limit: expand-down, last byte below", |b| Ok(b.mov(al, byte_ptr(0xfu32).es())?))?;
    load_es(b, READ_ONLY)?;
    expect_fault(b, 13, 0, "type: write to read-only data", |b| Ok(b.mov(byte_ptr(0u32).es(), 0)?))?;
    load_es(b, 0)?;
    expect_fault(b, 13, 0, "type: access through a null selector", |b| Ok(b.mov(al, byte_ptr(0u32).es())?))?;
    expect_fault(b, 12, 0, "limit: stack segment", |b| {
        b.mov(eax, u32::from(SMALL))?;
        b.mov(ss, eax)?;
        b.mov(esp, 0xfdu32)?;
        Ok(b.pop(eax)?)
    })
}

fn loads(b: &mut Block) -> Built {
    expect_fault(b, 13, EXECUTE_ONLY, "ES from execute-only code", |b| load_es(b, EXECUTE_ONLY))?;
    expect_fault(b, 11, ABSENT, "ES from a segment not present", |b| load_es(b, ABSENT))?;
    expect_fault(b, 13, BEYOND, "ES from beyond the GDT", |b| load_es(b, BEYOND))?;
    expect_fault(b, 13, MAIN_TSS, "ES from a system descriptor", |b| load_es(b, MAIN_TSS))?;
    let load_ss = |b: &mut Block, selector: u16| -> Built {
        b.mov(eax, u32::from(selector))?;
        Ok(b.mov(ss, eax)?)
    };
    expect_fault(b, 13, 0, "SS from a null selector", |b| load_ss(b, 0))?;
    expect_fault(b, 13, USER_DATA & !3, "SS of another ring", |b| load_ss(b, USER_DATA))?;
    expect_fault(b, 13, READ_ONLY, "SS from read-only data", |b| load_ss(b, READ_ONLY))?;
    expect_fault(b, 12, ABSENT, "SS from a segment not present", |b| load_ss(b, ABSENT))?;
    expect_fault(b, 13, DATA, "far jump to data", |b| b.jump_far(32, DATA, 0))?;
    load_es(b, FRESH)?;
    expect_memory(b, GDT_AT + u32::from(FRESH) + 4, 0xff00, 0x9300, "loading sets the accessed bit")?;
    expect_fault(b, 13, MAIN_TSS, "LTR of a busy TSS", |b| {
        b.mov(ax, u32::from(MAIN_TSS))?;
        Ok(b.ltr(ax)?)
    })
}

fn queries(b: &mut Block) -> Built {
    b.mov(ecx, u32::from(CODE))?;
    b.lar(eax, ecx)?;
    // Bits 16-19 are undefined.
    b.and(eax, 0x00f0_ff00)?;
    expect_eax(b, 0x00c0_9b00, "LAR of code")?;
    b.lsl(eax, ecx)?;
    expect_eax(b, 0xffff_ffff, "LSL of code")?;
    b.mov(ecx, u32::from(SMALL))?;
    b.lsl(eax, ecx)?;
    expect_eax(b, 0xff, "LSL of a small segment")?;
    let zero_flag = |b: &mut Block, expect: u32, name: &str| -> Built {
        b.setz(al)?;
        b.movzx(eax, al)?;
        expect_eax(b, expect, name)
    };
    b.mov(ecx, u32::from(BEYOND))?;
    b.lar(eax, ecx)?;
    zero_flag(b, 0, "LAR beyond the GDT")?;
    b.mov(cx, u32::from(READ_ONLY))?;
    b.verr(cx)?;
    zero_flag(b, 1, "VERR of read-only data")?;
    b.verw(cx)?;
    zero_flag(b, 0, "VERW of read-only data")?;
    b.mov(eax, 0x40u32)?;
    b.mov(ecx, 3u32)?;
    b.arpl(ax, cx)?;
    expect_eax(b, 0x43, "ARPL raises the RPL")
}

fn rings(b: &mut Block) -> Built {
    expect_fault(b, 48, 0, "to ring 3 and back by INT", |b| {
        in_ring3(b, |b| {
            b.mov(ebx, cs)?;
            b.mov(ecx, esp)?;
            Ok(b.mov(edi, ss)?)
        })
    })?;
    expect(b, ebx, USER_CODE.into(), "CS in ring 3")?;
    expect(b, ecx, USER_STACK, "ESP in ring 3")?;
    expect(b, edi, USER_DATA.into(), "SS in ring 3")?;
    expect_memory(b, FRAME + 12, u32::MAX, USER_STACK, "INT pushed the outer ESP")?;
    expect_memory(b, FRAME + 16, 0xffff, USER_DATA.into(), "INT pushed the outer SS")?;
    expect_fault(b, 13, 0, "CLI in ring 3", |b| in_ring3(b, |b| Ok(b.cli()?)))?;
    expect_fault(b, 13, 0, "HLT in ring 3", |b| in_ring3(b, |b| Ok(b.hlt()?)))?;
    expect_fault(b, 13, 0, "MOV CR0 in ring 3", |b| in_ring3(b, |b| Ok(b.mov(eax, cr0)?)))?;
    expect_fault(b, 13, 0, "IN from a denied port", |b| in_ring3(b, |b| Ok(b.in_(al, 0x60)?)))?;
    expect_fault(b, 13, 0, "IN of a word half denied", |b| in_ring3(b, |b| Ok(b.in_(ax, 0x87)?)))?;
    expect_fault(b, 48, 0, "IN from an allowed port", |b| in_ring3(b, |b| Ok(b.in_(al, 0x84)?)))?;
    expect_fault(b, 13, 0x31 * 8 + 2, "INT through a gate of ring 0", |b| {
        in_ring3(b, |b| Ok(b.int(0x31u32)?))
    })?;
    expect_fault(b, 13, 0x7f * 8 + 2, "INT beyond the IDT", |b| Ok(b.int(0x7fu32)?))?;
    expect_fault(b, 13, DATA, "ring 3 loads data of ring 0", |b| {
        in_ring3(b, |b| {
            b.mov(eax, u32::from(DATA))?;
            Ok(b.mov(ds, eax)?)
        })
    })?;
    expect_fault(b, 13, CODE, "ring 3 calls code of ring 0", |b| in_ring3(b, |b| b.call_far(CODE, 0)))?;
    expect_fault(b, 48, 0, "call gate with two parameters", |b| {
        in_ring3(b, |b| {
            b.push(30)?;
            b.push(12)?;
            b.call_far(CALL | 3, 0)?;
            b.mov(edi, esp)?;
            Ok(b.mov(ebp, cs)?)
        })
    })?;
    expect(b, ebx, 42, "the gate's parameters were copied")?;
    expect(b, ecx, CODE.into(), "the gate's code ran in ring 0")?;
    expect(b, edi, USER_STACK, "RETF n released both stacks")?;
    expect(b, ebp, USER_CODE.into(), "RETF went back to ring 3")?;
    expect_fault(b, 48, 0, "conforming code called from ring 3", |b| {
        in_ring3(b, |b| {
            b.call_far(CONFORMING, b.address("which-ring"))?;
            Ok(())
        })
    })?;
    expect(b, ebx, u32::from(CONFORMING) | 3, "conforming code keeps the ring")?;
    expect_fault(b, 3, 0, "INT3 from ring 3", |b| in_ring3(b, |b| Ok(b.int3()?)))?;
    // A ring 3 POPF changes neither IF nor IOPL, and does not fault.
    expect_fault(b, 48, 0, "POPF in ring 3", |b| {
        in_ring3(b, |b| {
            b.push(0x3202)?;
            b.popfd()?;
            b.pushfd()?;
            Ok(b.pop(ebx)?)
        })
    })?;
    b.and(ebx, 0x3200)?;
    expect(b, ebx, 0, "POPF in ring 3 left IF and IOPL alone")
}

fn local_table(b: &mut Block) -> Built {
    let entry = descriptor(SCRATCH + 0x40, 0xfff, 0x93, 4);
    b.mov(dword_ptr(LDT + 8), entry as u32)?;
    b.mov(dword_ptr(LDT + 12), (entry >> 32) as u32)?;
    b.mov(dword_ptr(SCRATCH + 0x44), 0x0bad_cafe)?;
    b.mov(ax, u32::from(LOCAL))?;
    b.lldt(ax)?;
    load_es(b, 0x0c)?;
    b.mov(eax, dword_ptr(4u32).es())?;
    expect_eax(b, 0x0bad_cafe, "data through the LDT")?;
    expect_fault(b, 13, 0x14, "selector beyond the LDT", |b| load_es(b, 0x14))?;
    b.xor(eax, eax)?;
    b.lldt(ax)?;
    expect_fault(b, 13, 0x0c, "selector in no LDT", |b| load_es(b, 0x0c))
}

fn sysenter(b: &mut Block) -> Built {
    for (register, value) in [(0x174u32, u32::from(CODE)), (0x175, 0x4800), (0x176, b.address("sysenter"))] {
        b.mov(ecx, register)?;
        b.mov(eax, value)?;
        b.xor(edx, edx)?;
        b.wrmsr()?;
    }
    expect_fault(b, 48, 0, "SYSENTER and SYSEXIT", |b| {
        in_ring3(b, |b| {
            let back = b.unique();
            let address = b.address(&back);
            b.mov(edx, address)?;
            b.mov(ecx, esp)?;
            b.sysenter()?;
            b.name(&back)?;
            Ok(b.mov(ebp, cs)?)
        })
    })?;
    expect(b, ebx, CODE.into(), "SYSENTER's CS")?;
    expect(b, edi, 0x4800, "SYSENTER's ESP")?;
    expect(b, ebp, USER_CODE.into(), "SYSEXIT's CS")
}

fn double_fault(b: &mut Block) -> Built {
    let present = |b: &mut Block, vector: u32, on: bool| -> Built {
        let byte = byte_ptr(IDT_AT + vector * 8 + 5);
        Ok(if on { b.or(byte, 0x80u32) } else { b.and(byte, 0x7fu32) }?)
    };
    present(b, 0x31, false)?;
    expect_fault(b, 11, 0x31 * 8 + 2, "gate not present", |b| Ok(b.int(0x31u32)?))?;
    present(b, 13, false)?;
    expect_fault(b, 8, 0, "#GP whose gate is not present", |b| load_es(b, BEYOND))?;
    present(b, 13, true)?;
    present(b, 6, false)?;
    // EXT is set: the event being delivered was an exception, not an INT (6.13).
    expect_fault(b, 11, 6 * 8 + 3, "#UD whose gate is not present", |b| Ok(b.ud2()?))?;
    present(b, 6, true)?;
    expect_fault(b, 6, 0, "UD2", |b| Ok(b.ud2()?))?;
    expect_fault(b, 0, 0, "division by zero", |b| {
        b.xor(ecx, ecx)?;
        Ok(b.div(ecx)?)
    })?;
    expect_fault(b, 0, 0, "quotient too large", |b| {
        b.mov(edx, 1u32)?;
        b.mov(ecx, 1u32)?;
        Ok(b.idiv(ecx)?)
    })?;
    expect_fault(b, 5, 0, "BOUND", |b| {
        b.mov(dword_ptr(SCRATCH), 1)?;
        b.mov(dword_ptr(SCRATCH + 4), 5)?;
        b.mov(eax, 6u32)?;
        Ok(b.bound(eax, dword_ptr(SCRATCH))?)
    })?;
    expect_fault(b, 4, 0, "INTO", |b| {
        b.mov(al, 0x7fu32)?;
        b.inc(al)?;
        Ok(CodeAssembler::into(b)?)
    })
}

fn debugging(b: &mut Block) -> Built {
    b.xor(eax, eax)?;
    b.mov(dr6, eax)?;
    expect_fault(b, 1, 0, "single step", |b| {
        b.pushfd()?;
        b.or(dword_ptr(esp), 0x100)?;
        b.popfd()?;
        b.nop()?;
        b.name("after-step")?;
        b.nop()?;
        Ok(())
    })?;
    b.mov(eax, dword_ptr(FRAME))?;
    let address = b.address("after-step");
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, "the step trapped behind one instruction")?;
    b.mov(eax, dr6)?;
    b.and(eax, 0x400f)?;
    expect_eax(b, 0x4000, "DR6.BS")?;

    b.xor(eax, eax)?;
    b.mov(dr6, eax)?;
    b.mov(eax, SCRATCH + 0x20)?;
    b.mov(dr1, eax)?;
    // G1, and for breakpoint 1: write, four bytes.
    b.mov(eax, 0x00d0_0008u32)?;
    b.mov(dr7, eax)?;
    expect_fault(b, 1, 0, "write breakpoint", |b| {
        b.mov(eax, dword_ptr(SCRATCH + 0x20))?;
        b.mov(byte_ptr(SCRATCH + 0x24), 1)?;
        b.mov(byte_ptr(SCRATCH + 0x23), 7)?;
        b.name("after-write")?;
        Ok(b.nop()?)
    })?;
    b.mov(eax, dword_ptr(FRAME))?;
    let address = b.address("after-write");
    b.sub(eax, address as i32)?;
    expect_eax(b, 0, "the write trapped behind its instruction")?;
    expect_memory(b, SCRATCH + 0x20, 0xff00_0000, 0x0700_0000, "the write took place")?;
    b.mov(eax, dr6)?;
    b.and(eax, 0x400f)?;
    expect_eax(b, 2, "DR6.B1")?;

    let address = b.address("stop-here");
    b.mov(eax, address)?;
    b.mov(dr0, eax)?;
    b.mov(eax, 2u32)?;
    b.mov(dr7, eax)?;
    b.xor(ebx, ebx)?;
    expect_fault(b, 1, 0, "instruction breakpoint", |b| {
        b.inc(ebx)?;
        b.name("stop-here")?;
        Ok(b.inc(ebx)?)
    })?;
    expect(b, ebx, 1, "the breakpoint came before its instruction")?;
    b.xor(eax, eax)?;
    b.mov(dr7, eax)?;
    Ok(())
}

fn numbers(b: &mut Block) -> Built {
    b.xor(eax, eax)?;
    b.cpuid()?;
    b.cmp(eax, 1)?;
    b.setae(al)?;
    b.movzx(eax, al)?;
    expect_eax(b, 1, "CPUID has leaf 1")?;
    b.rdtsc()?;
    b.mov(ebx, eax)?;
    b.mov(ecx, edx)?;
    b.rdtsc()?;
    b.sub(eax, ebx)?;
    b.sbb(edx, ecx)?;
    b.setc(al)?;
    b.movzx(eax, al)?;
    expect_eax(b, 0, "the TSC does not run backwards")?;
    b.mov(eax, 0x1122_3344u32)?;
    b.bswap(eax)?;
    expect_eax(b, 0x4433_2211, "BSWAP")?;
    b.mov(dword_ptr(SCRATCH), 5)?;
    b.mov(eax, 5u32)?;
    b.mov(ecx, 9u32)?;
    b.lock().cmpxchg(dword_ptr(SCRATCH), ecx)?;
    expect_memory(b, SCRATCH, u32::MAX, 9, "CMPXCHG stores when equal")
}

fn big_real(b: &mut Block) -> Built {
    b.mov(dword_ptr(0x0030_0000u32), 0x5a5a_1234)?;
    // #GP in real mode goes to 1000:real-fault.
    b.mov(eax, u32::from(SEGMENT) << 16)?;
    let address = b.address("real-fault") & 0xffff;
    b.mov(ax, address)?;
    b.mov(dword_ptr(13 * 4), eax)?;
    // DS keeps 4 GiB, the others become real-mode segments of 64 KiB.
    b.mov(eax, u32::from(DATA16))?;
    for segment in [es, fs, gs] {
        b.mov(segment, ax)?;
    }
    b.lidt(ptr(REAL_IDT_POINTER_AT))?;
    b.jump_far(32, CODE16, b.address("to-real"))?;
    b.name("back")?;
    b.mov(eax, u32::from(DATA))?;
    for segment in [ds, es, fs, gs, ss] {
        b.mov(segment, ax)?;
    }
    b.mov(esp, STACK)?;
    b.lidt(ptr(IDT_POINTER_AT))?;
    expect(b, ebx, 0x5a5a_1234, "big real: read above 1 MiB")?;
    expect_memory(b, 0x0030_0004, u32::MAX, 0x0dd0_beef, "big real: write above 1 MiB")?;
    expect(b, ecx, 0x0001_0001, "limit: real-mode #GP beyond 64 KiB, and the way back")?;
    expect(b, edi, 0x1000, "real mode: far call pushed CS")
}

fn pieces(image: &mut Image) -> Built {
    image.code(32, 0x7800, BASE + 0x7800, |b| {
        b.name("add-two")?;
        b.mov(ebx, dword_ptr(esp + 8))?;
        b.add(ebx, dword_ptr(esp + 12))?;
        b.mov(ecx, cs)?;
        b.retf_1(8u32)?;
        b.name("which-ring")?;
        b.mov(ebx, cs)?;
        b.retf()?;
        b.name("sysenter")?;
        b.mov(ebx, cs)?;
        b.mov(edi, esp)?;
        b.sysexit()?;
        Ok(())
    })?;
    image.code(16, 0xe800, 0xe800, |b| {
        b.name("to-real")?;
        b.mov(eax, cr0)?;
        b.and(al, 0xfeu32)?;
        b.mov(cr0, eax)?;
        b.jump_far(16, SEGMENT, b.address("real"))?;
        b.name("real")?;
        b.xor(ax, ax)?;
        b.mov(ss, ax)?;
        b.mov(sp, 0x7000u32)?;
        b.mov(ax, u32::from(SEGMENT))?;
        b.mov(es, ax)?;
        // DS still has base 0 and 4 GiB in its hidden part.
        b.mov(esi, 0x0030_0000u32)?;
        b.mov(ebx, dword_ptr(esi))?;
        b.mov(dword_ptr(esi + 4), 0x0dd0_beefu32)?;
        b.xor(ecx, ecx)?;
        b.mov(esi, 0xffffu32)?;
        // Two bytes at offset FFFF of a real-mode segment.
        b.mov(ax, word_ptr(esi).es())?;
        b.name("behind-fault")?;
        let call = Instruction::with_far_branch(Code::Call_ptr1616, SEGMENT, b.address("far-routine"))?;
        b.add_instruction(call)?;
        b.mov(eax, cr0)?;
        b.or(al, 1)?;
        b.mov(cr0, eax)?;
        b.jump_far(32, CODE, b.address("back"))?;
        b.name("real-fault")?;
        b.inc(cx)?;
        // The faulting instruction is five bytes long at most: return behind it by name.
        b.mov(bp, sp)?;
        let address = b.address("behind-fault");
        b.mov(ax, address)?;
        b.mov(word_ptr(bp), ax)?;
        b.iret()?;
        b.name("far-routine")?;
        b.add(ecx, 0x10000u32 as i32)?;
        b.mov(bp, sp)?;
        b.movzx(edi, word_ptr(bp + 2))?;
        Ok(b.retf()?)
    })?;
    Ok(())
}
