//! What the 32-bit test ROMs share: the way to protected mode, a check that prints PASS or FAIL, and
//! exception handlers that note what happened and go on.
//!
//! A ROM copies itself to 10000h and runs there, in flat 32-bit protected mode without paging,
//! interrupts off, so that tables and code can be written. Lines go to the debug port 402h. At the
//! end it writes the number of failures to the debug-exit port F4h and halts.

use iced_x86::code_asm::*;

use crate::assemble::{Block, Built, Image, build};

/// Where the copy runs.
pub(crate) const BASE: u32 = 0x10000;
/// The copy's real-mode segment.
pub(crate) const SEGMENT: u16 = 0x1000;

const TEXTS: u32 = 0x8000;
const GDT: u32 = 0xa000;
const IDT: u32 = 0xb000;
const TSS: u32 = 0xc000;
const POINTERS: u32 = 0xdf00;
/// Offset of the six-byte operand for LGDT; 8 further is that for LIDT.
pub(crate) const GDT_POINTER: u32 = POINTERS;
const START: u32 = 0xe000;
const SHARED: u32 = 0x7000;

/// Selectors that every ROM's GDT has (the order suits SYSENTER).
pub(crate) const CODE: u16 = 0x08;
pub(crate) const DATA: u16 = 0x10;
pub(crate) const USER_CODE: u16 = 0x1b;
pub(crate) const USER_DATA: u16 = 0x23;
/// 16-bit code and data at the copy, 64 KiB long.
pub(crate) const CODE16: u16 = 0x28;
pub(crate) const DATA16: u16 = 0x30;
/// The TSS loaded at the start; it has the ring 0 stack and an I/O bitmap.
pub(crate) const MAIN_TSS: u16 = 0x38;
/// The first selector for a ROM's own descriptors.
pub(crate) const OWN: u16 = 0x40;

/// Linear address of the main TSS, of the GDT and of the IDT.
pub(crate) const MAIN_TSS_AT: u32 = BASE + TSS;
pub(crate) const GDT_AT: u32 = BASE + GDT;
pub(crate) const IDT_AT: u32 = BASE + IDT;
/// Six-byte operands for LIDT: the protected-mode IDT, and the real-mode vector table.
pub(crate) const IDT_POINTER_AT: u32 = BASE + POINTERS + 8;
pub(crate) const REAL_IDT_POINTER_AT: u32 = BASE + POINTERS + 16;

/// Stacks.
pub(crate) const STACK: u32 = 0x7000;
pub(crate) const USER_STACK: u32 = 0x6000;
pub(crate) const RING0_STACK: u32 = 0x5000;

/// Free memory for a ROM.
pub(crate) const SCRATCH: u32 = 0x700;

const FAILURES: u32 = 0x600;
const CHECKS: u32 = 0x604;
/// What the last exception was: vector, error code, and the frame below it.
pub(crate) const VECTOR: u32 = 0x608;
pub(crate) const ERROR: u32 = 0x60c;
pub(crate) const FAULT_CR2: u32 = 0x610;
pub(crate) const FAULT_DS: u32 = 0x614;
/// EIP, CS, EFLAGS, then ESP, SS and ES, DS, FS, GS if pushed.
pub(crate) const FRAME: u32 = 0x620;
const RESUME: u32 = 0x650;
const RESUME_ESP: u32 = 0x654;

/// Vectors with a handler.
const VECTORS: u8 = 0x40;
/// The vector ring 3 ends with; its gate has DPL 3, as has that of INT3.
pub(crate) const LEAVE: u8 = 0x30;

/// Segment descriptor; `access` is bits 40-47, `flags` bits 52-55 (SDM vol. 3A, 3.4.5).
pub(crate) const fn descriptor(base: u32, limit: u32, access: u8, flags: u8) -> u64 {
    let (base, limit) = (base as u64, limit as u64);
    (limit & 0xffff)
        | (base & 0xff_ffff) << 16
        | (access as u64) << 40
        | (limit >> 16 & 0xf) << 48
        | (flags as u64) << 52
        | (base >> 24) << 56
}

/// Gate descriptor with P set; `parameters` for call gates (SDM vol. 3A, 5.8.3 and 6.11).
pub(crate) const fn gate(selector: u16, offset: u32, kind: u8, dpl: u8, parameters: u8) -> u64 {
    let offset = offset as u64;
    let access = 0x80 | dpl << 5 | kind;
    offset & 0xffff
        | (selector as u64) << 16
        | (parameters as u64) << 32
        | (access as u64) << 40
        | (offset >> 16) << 48
}

/// Gate and system descriptor types.
pub(crate) const TASK_GATE: u8 = 5;
pub(crate) const CALL_GATE: u8 = 12;
pub(crate) const INTERRUPT_GATE: u8 = 14;

/// What a ROM adds to the common tables.
#[derive(Default)]
pub(crate) struct Tables {
    /// Descriptors from selector [`OWN`] on.
    pub(crate) own: Vec<u64>,
    /// Gates other than the noting handlers.
    pub(crate) gates: Vec<(u8, u64)>,
}

/// Assembles a ROM: `tables` may use names, `more` adds pieces of code, `body` is the test.
pub(crate) fn rom(
    title: &'static str,
    tables: fn(&Image) -> Tables,
    more: fn(&mut Image) -> Built,
    body: fn(&mut Block) -> Built,
) -> Built<Vec<u8>> {
    build(0x10000, 0xff, |image| {
        image.texts_at(TEXTS as usize, BASE + TEXTS);
        let own = tables(image);
        put_tables(image, &own)?;
        image.code(16, START as usize, START, start)?;
        image.code(32, SHARED as usize, BASE + SHARED, shared)?;
        image.code(32, 0, BASE, |b| {
            b.name("main")?;
            body(b)?;
            let text = b.text(title)?;
            b.mov(esi, text)?;
            let finish = b.target("finish");
            Ok(b.jmp(finish)?)
        })?;
        more(image)?;
        image.reset_vector("start")
    })
}

fn put_tables(image: &mut Image, own: &Tables) -> Built {
    let mut gdt = vec![
        0,
        descriptor(0, 0xf_ffff, 0x9b, 0xc),
        descriptor(0, 0xf_ffff, 0x93, 0xc),
        descriptor(0, 0xf_ffff, 0xfb, 0xc),
        descriptor(0, 0xf_ffff, 0xf3, 0xc),
        descriptor(BASE, 0xffff, 0x9b, 0),
        descriptor(BASE, 0xffff, 0x93, 0),
        descriptor(MAIN_TSS_AT, 0x68 + 0x80, 0x89, 0),
    ];
    gdt.extend(&own.own);
    let bytes = |table: &[u64]| table.iter().flat_map(|entry| entry.to_le_bytes()).collect::<Vec<u8>>();
    image.put(GDT as usize, &bytes(&gdt))?;

    let mut idt: Vec<u64> = (0..VECTORS)
        .map(|vector| {
            let dpl = if matches!(vector, 3 | LEAVE) { 3 } else { 0 };
            gate(CODE, image.address(&format!("vector{vector}")), INTERRUPT_GATE, dpl, 0)
        })
        .collect();
    for &(vector, gate) in &own.gates {
        idt[usize::from(vector)] = gate;
    }
    image.put(IDT as usize, &bytes(&idt))?;

    let mut tss = vec![0u8; 0x68];
    tss[4..8].copy_from_slice(&RING0_STACK.to_le_bytes());
    tss[8..10].copy_from_slice(&DATA.to_le_bytes());
    tss[0x66..0x68].copy_from_slice(&0x68u16.to_le_bytes());
    // Ports 0-3FFh: all denied but 80h-87h. Then the byte of ones that ends a bitmap.
    tss.extend((0..0x80).map(|byte| if byte == 0x10 { 0 } else { 0xff }));
    tss.push(0xff);
    image.put(TSS as usize, &tss)?;

    let pointer = |base: u32, limit: usize| [&(limit as u16).to_le_bytes()[..], &base.to_le_bytes()].concat();
    image.put(POINTERS as usize, &pointer(GDT_AT, gdt.len() * 8 - 1))?;
    image.put(POINTERS as usize + 8, &pointer(IDT_AT, idt.len() * 8 - 1))?;
    image.put(POINTERS as usize + 16, &pointer(0, 0x3ff))
}

/// Real mode: from the reset vector to the copy's `main`.
fn start(b: &mut Block) -> Built {
    b.name("start")?;
    b.cli()?;
    b.cld()?;
    b.mov(ax, 0xf000u32)?;
    b.mov(ds, ax)?;
    b.mov(ax, u32::from(SEGMENT))?;
    b.mov(es, ax)?;
    b.xor(si, si)?;
    b.xor(di, di)?;
    b.mov(ecx, 0x4000u32)?;
    b.rep().movsd()?;
    b.jump_far(16, SEGMENT, b.address("copied"))?;
    b.name("copied")?;
    b.mov(ds, ax)?;
    b.lgdt(ptr(u64::from(POINTERS)))?;
    b.lidt(ptr(u64::from(POINTERS + 8)))?;
    b.mov(eax, cr0)?;
    // PE on; CD and NW off, as firmware does.
    b.and(eax, 0x9fff_ffffu32 as i32)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.jump_far(32, CODE, b.address("flat"))
}

/// 32-bit code shared by all ROMs.
fn shared(b: &mut Block) -> Built {
    b.name("flat")?;
    b.mov(ax, u32::from(DATA))?;
    for segment in [ds, es, fs, gs, ss] {
        b.mov(segment, ax)?;
    }
    b.mov(esp, STACK)?;
    b.mov(ax, u32::from(MAIN_TSS))?;
    b.ltr(ax)?;
    b.xor(eax, eax)?;
    b.mov(edi, FAILURES)?;
    b.mov(ecx, 0x40u32)?;
    b.rep().stosd()?;
    let main = b.target("main");
    b.jmp(main)?;
    write_print(b)?;
    write_report(b)?;
    write_finish(b)?;
    write_vectors(b)
}

fn write_print(b: &mut Block) -> Built {
    // Prints the text at ESI. Changes ESI, AL, DX.
    b.name("print")?;
    let mut done = b.create_label();
    b.mov(dx, 0x402u32)?;
    let next = b.here()?;
    b.lodsb()?;
    b.test(al, al)?;
    b.je(done)?;
    b.out(dx, al)?;
    b.jmp(next)?;
    b.set_label(&mut done)?;
    b.ret()?;

    // Prints EAX as eight hexadecimal digits. Changes EAX, ECX, EDX.
    b.name("print-hex")?;
    b.mov(dx, 0x402u32)?;
    b.mov(ecx, 8u32)?;
    let next = b.here()?;
    b.rol(eax, 4u32)?;
    b.push(eax)?;
    b.and(al, 0xf)?;
    b.cmp(al, 10)?;
    b.sbb(al, 0x69)?;
    b.das()?;
    b.out(dx, al)?;
    b.pop(eax)?;
    b.dec(ecx)?;
    b.jne(next)?;
    Ok(b.ret()?)
}

fn say(b: &mut Block, text: &str) -> Built {
    let text = b.text(text)?;
    b.mov(esi, text)?;
    let print = b.target("print");
    Ok(b.call(print)?)
}

fn write_report(b: &mut Block) -> Built {
    // Compares EAX with EDX and prints the result for the check named at ESI. Keeps registers.
    b.name("report")?;
    let (print, hex) = (b.target("print"), b.target("print-hex"));
    let (fail, done) = (b.create_label(), b.create_label());
    b.pushfd()?;
    b.pushad()?;
    b.cld()?;
    b.mov(edi, eax)?;
    b.mov(ebx, edx)?;
    b.mov(ebp, esi)?;
    b.inc(dword_ptr(CHECKS))?;
    b.cmp(edi, ebx)?;
    b.jne(fail)?;
    say(b, "PASS ")?;
    b.mov(esi, ebp)?;
    b.call(print)?;
    b.jmp(done)?;
    b.place(fail)?;
    b.inc(dword_ptr(FAILURES))?;
    say(b, "FAIL ")?;
    b.mov(esi, ebp)?;
    b.call(print)?;
    say(b, ": got ")?;
    b.mov(eax, edi)?;
    b.call(hex)?;
    say(b, ", expected ")?;
    b.mov(eax, ebx)?;
    b.call(hex)?;
    b.place(done)?;
    say(b, "\n")?;
    b.popad()?;
    b.popfd()?;
    Ok(b.ret()?)
}

fn write_finish(b: &mut Block) -> Built {
    // Prints the summary for the ROM named at ESI, then leaves through the debug-exit port or halts.
    b.name("finish")?;
    let (print, hex) = (b.target("print"), b.target("print-hex"));
    let failed = b.create_label();
    b.call(print)?;
    say(b, ": ")?;
    b.mov(eax, dword_ptr(CHECKS))?;
    b.call(hex)?;
    say(b, " checks, ")?;
    b.mov(eax, dword_ptr(FAILURES))?;
    b.call(hex)?;
    say(b, " failed\n")?;
    b.cmp(dword_ptr(FAILURES), 0)?;
    b.jne(failed)?;
    say(b, "ALL PASS\n")?;
    b.place(failed)?;
    b.mov(eax, dword_ptr(FAILURES))?;
    b.out(0xf4, al)?;
    let stop = b.here()?;
    b.cli()?;
    b.hlt()?;
    Ok(b.jmp(stop)?)
}

fn write_vectors(b: &mut Block) -> Built {
    let note = b.create_label();
    for vector in 0..VECTORS {
        b.name(&format!("vector{vector}"))?;
        if !matches!(vector, 8 | 10..=14 | 17) {
            b.push(0)?;
        }
        b.push(i32::from(vector))?;
        b.jmp(note)?;
    }
    // Notes the exception in memory and goes on where the test said. Changes EAX and the segments.
    b.place(note)?;
    b.cld()?;
    b.push(eax)?;
    b.push(ds)?;
    b.mov(ax, u32::from(DATA))?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.pop(eax)?;
    b.mov(dword_ptr(FAULT_DS), eax)?;
    b.mov(eax, dword_ptr(esp + 4))?;
    b.mov(dword_ptr(VECTOR), eax)?;
    b.mov(eax, dword_ptr(esp + 8))?;
    b.mov(dword_ptr(ERROR), eax)?;
    b.mov(eax, cr2)?;
    b.mov(dword_ptr(FAULT_CR2), eax)?;
    for field in 0..9u32 {
        b.mov(eax, dword_ptr(esp + 12 + field * 4))?;
        b.mov(dword_ptr(FRAME + field * 4), eax)?;
    }
    b.pop(eax)?;
    b.push(ds)?;
    b.pop(ss)?;
    b.mov(esp, dword_ptr(RESUME_ESP))?;
    Ok(b.jmp(dword_ptr(RESUME))?)
}

/// Checks that EAX is `expect`.
pub(crate) fn expect_eax(b: &mut Block, expect: u32, name: &str) -> Built {
    let text = b.text(name)?;
    b.mov(esi, text)?;
    b.mov(edx, expect)?;
    let report = b.target("report");
    Ok(b.call(report)?)
}

/// Checks that a register is `expect`. Changes EAX, EDX, ESI.
pub(crate) fn expect(b: &mut Block, register: AsmRegister32, expect: u32, name: &str) -> Built {
    b.mov(eax, register)?;
    expect_eax(b, expect, name)
}

/// Checks the dword at a linear address under `mask`. Changes EAX, EDX, ESI.
pub(crate) fn expect_memory(b: &mut Block, address: u32, mask: u32, expect: u32, name: &str) -> Built {
    b.mov(eax, dword_ptr(address))?;
    b.and(eax, mask as i32)?;
    expect_eax(b, expect, name)
}

/// Runs `body`, which must end in an exception or interrupt; then checks `vector` and `error`.
/// Changes EAX, EDX, ESI; other registers are as `body` left them.
pub(crate) fn expect_fault(
    b: &mut Block,
    vector: u8,
    error: u16,
    name: &str,
    body: impl FnOnce(&mut Block) -> Built,
) -> Built {
    catch(b, body)?;
    b.mov(eax, dword_ptr(VECTOR))?;
    b.shl(eax, 16)?;
    b.or(eax, dword_ptr(ERROR))?;
    expect_eax(b, u32::from(vector) << 16 | u32::from(error), name)
}

/// Runs `body` and goes on behind it, whether it faults or not. EAX is changed if it does.
pub(crate) fn catch(b: &mut Block, body: impl FnOnce(&mut Block) -> Built) -> Built {
    let resume = b.unique();
    b.mov(dword_ptr(VECTOR), -1)?;
    b.mov(dword_ptr(ERROR), 0)?;
    let address = b.address(&resume);
    b.mov(dword_ptr(RESUME), address)?;
    b.mov(dword_ptr(RESUME_ESP), esp)?;
    body(b)?;
    b.name(&resume)
}

/// Runs `body` in ring 3, where it must fault or end with INT [`LEAVE`], which is added to it.
pub(crate) fn in_ring3(b: &mut Block, body: impl FnOnce(&mut Block) -> Built) -> Built {
    let there = b.unique();
    b.mov(eax, u32::from(USER_DATA))?;
    b.mov(ds, eax)?;
    b.mov(es, eax)?;
    b.push(i32::from(USER_DATA))?;
    b.push(USER_STACK as i32)?;
    b.push(2)?;
    b.push(i32::from(USER_CODE))?;
    let address = b.address(&there);
    b.push(address as i32)?;
    b.iretd()?;
    b.name(&there)?;
    body(b)?;
    Ok(b.int(u32::from(LEAVE))?)
}
