//! String instructions: overlap, both directions, counts of zero, 16-bit addressing, page crossings,
//! and a page fault in the middle of a REP, which must keep the iterations already done.
//!
//! Proves SDM vol. 2 "REP/REPE/REPNE" and the string instructions' pages.

use iced_x86::{Instruction, Register, RepPrefixKind, code_asm::*};

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    harness::*,
    paging,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "strings",
    about: "REP MOVS, STOS, CMPS, SCAS, LODS, OUTS: overlap, directions, wrap-around, page faults half way",
    kind: Kind::Firmware,
    build: || rom("strings", |_| Tables::default(), |_| Ok(()), body),
    symbols: None,
};

const SOURCE: u32 = 0x0020_0000;
const TARGET: u32 = 0x0020_2ff3;

fn registers(b: &mut Block, source: u32, target: u32, count: u32) -> Built {
    b.mov(esi, source)?;
    b.mov(edi, target)?;
    Ok(b.mov(ecx, count)?)
}

/// Keeps ESI, EDI, ECX and flags of the string instruction before for the checks after it.
fn keep(b: &mut Block) -> Built {
    b.pushfd()?;
    b.cld()?;
    b.mov(dword_ptr(SCRATCH), esi)?;
    b.mov(dword_ptr(SCRATCH + 4), edi)?;
    b.mov(dword_ptr(SCRATCH + 8), ecx)?;
    Ok(b.pop(dword_ptr(SCRATCH + 12))?)
}

fn kept(b: &mut Block, name: &str, source: u32, target: u32, count: u32) -> Built {
    expect_memory(b, SCRATCH, u32::MAX, source, &format!("{name}: ESI"))?;
    expect_memory(b, SCRATCH + 4, u32::MAX, target, &format!("{name}: EDI"))?;
    expect_memory(b, SCRATCH + 8, u32::MAX, count, &format!("{name}: ECX"))
}

fn zero_flag(b: &mut Block, set: bool, name: &str) -> Built {
    expect_memory(b, SCRATCH + 12, 0x40, if set { 0x40 } else { 0 }, name)
}

/// Fills 4 KiB at SOURCE with bytes that count up.
fn fill(b: &mut Block) -> Built {
    b.mov(edi, SOURCE)?;
    b.xor(eax, eax)?;
    let next = b.here()?;
    b.stosb()?;
    b.inc(eax)?;
    b.cmp(eax, 0x2000)?;
    Ok(b.jb(next)?)
}

fn body(b: &mut Block) -> Built {
    b.cld()?;
    fill(b)?;
    moves(b)?;
    searches(b)?;
    small_addresses(b)?;
    let text = b.text("PASS this line came from REP OUTSB\n")?;
    b.mov(esi, text)?;
    b.mov(ecx, 35u32)?;
    b.mov(dx, 0x402u32)?;
    b.rep().outsb()?;
    expect(b, ecx, 0, "REP OUTSB: ECX")?;
    faults(b)
}

fn moves(b: &mut Block) -> Built {
    registers(b, SOURCE + 5, TARGET, 0x401)?;
    b.rep().movsd()?;
    keep(b)?;
    kept(b, "MOVSD across pages", SOURCE + 5 + 0x1004, TARGET + 0x1004, 0)?;
    expect_memory(b, TARGET + 0xb, u32::MAX, 0x1312_1110, "MOVSD: bytes before the page's end")?;
    expect_memory(b, TARGET + 0x1000, u32::MAX, 0x0807_0605, "MOVSD: the last ones")?;

    b.mov(dword_ptr(TARGET), 0x4433_2211)?;
    registers(b, TARGET, TARGET + 1, 100)?;
    b.rep().movsb()?;
    keep(b)?;
    kept(b, "MOVSB onto itself", TARGET + 100, TARGET + 101, 0)?;
    expect_memory(b, TARGET + 97, u32::MAX, 0x1111_1111, "MOVSB onto itself repeats the first byte")?;

    b.std()?;
    registers(b, SOURCE + 0xff, SOURCE + 0x100, 0x80)?;
    b.rep().movsb()?;
    keep(b)?;
    kept(b, "MOVSB downwards", SOURCE + 0x7f, SOURCE + 0x80, 0)?;
    expect_memory(b, SOURCE + 0xfd, u32::MAX, 0xfffe_fdfc, "MOVSB downwards keeps what overlaps")?;
    fill(b)?;

    b.std()?;
    registers(b, 0, TARGET + 0x100, 3)?;
    b.mov(eax, 0xa1b2_c3d4u32)?;
    b.rep().stosw()?;
    keep(b)?;
    kept(b, "STOSW downwards", 0, TARGET + 0xfa, 0)?;
    expect_memory(b, TARGET + 0xfe, u32::MAX, 0xc3d4_c3d4, "STOSW downwards")?;

    registers(b, SOURCE, TARGET, 0)?;
    b.rep().movsb()?;
    keep(b)?;
    kept(b, "a count of zero", SOURCE, TARGET, 0)?;

    registers(b, SOURCE + 1, 0, 7)?;
    b.rep().lodsw()?;
    keep(b)?;
    b.movzx(eax, ax)?;
    expect_eax(b, 0x0e0d, "REP LODSW loads the last word")
}

fn searches(b: &mut Block) -> Built {
    registers(b, 0, SOURCE, 0x1000)?;
    b.mov(al, 0x42u32)?;
    b.repne().scasb()?;
    keep(b)?;
    kept(b, "SCASB that finds", 0, SOURCE + 0x43, 0xfbd)?;
    zero_flag(b, true, "SCASB that finds: ZF")?;

    registers(b, 0, SOURCE, 0x20)?;
    b.mov(al, 0x42u32)?;
    b.repne().scasb()?;
    keep(b)?;
    kept(b, "SCASB that does not", 0, SOURCE + 0x20, 0)?;
    zero_flag(b, false, "SCASB that does not: ZF")?;

    registers(b, SOURCE, TARGET, 0x100)?;
    b.rep().movsb()?;
    b.mov(byte_ptr(TARGET + 0x31), 0)?;
    registers(b, SOURCE, TARGET, 0x100)?;
    b.repe().cmpsb()?;
    keep(b)?;
    kept(b, "CMPSB", SOURCE + 0x32, TARGET + 0x32, 0xce)?;
    expect_memory(b, SCRATCH + 12, 0x8d5, 0, "CMPSB: 31h against 0 sets no flag")?;

    b.xor(eax, eax)?;
    registers(b, SOURCE, TARGET + 0x31, 0)?;
    b.repe().cmpsb()?;
    keep(b)?;
    zero_flag(b, true, "a count of zero keeps ZF")
}

fn small_addresses(b: &mut Block) -> Built {
    // SI and DI wrap at 64 KiB, CX counts, the upper halves stay.
    b.mov(byte_ptr(0xffffu32), 0x77)?;
    b.mov(byte_ptr(0u32), 0x88)?;
    registers(b, 0xaaaa_ffff, 0xbbbb_0800, 0xcccc_0002)?;
    b.add_instruction(Instruction::with_movsb(16, Register::None, RepPrefixKind::Repe)?)?;
    keep(b)?;
    kept(b, "MOVSB with 16-bit addresses", 0xaaaa_0001, 0xbbbb_0802, 0xcccc_0000)?;
    expect_memory(b, 0x800, 0xffff, 0x8877, "MOVSB wraps at 64 KiB")
}

fn faults(b: &mut Block) -> Built {
    paging::identity(b)?;
    // 400000h is mapped to 200000h; 401000h is not present.
    b.mov(dword_ptr(paging::TABLE_1), 0x0020_0003)?;
    paging::turn_on(b)?;
    b.cld()?;
    registers(b, SOURCE + 0x1003, 0x0040_0ff8, 9)?;
    expect_fault(b, 14, 2, "MOVSW into a missing page", |b| Ok(b.rep().movsw()?))?;
    registers_after_fault(b, 0x0040_1000, 5, "MOVSW stopped at the page")?;
    expect_memory(b, FAULT_CR2, u32::MAX, 0x0040_1000, "MOVSW: CR2")?;
    expect_memory(b, SOURCE + 0xffc, u32::MAX, 0x0a09_0807, "MOVSW: what was done stays")?;

    registers(b, SOURCE, 0x0040_0ffd, 3)?;
    b.mov(dword_ptr(SOURCE + 0xffc), 0)?;
    expect_fault(b, 14, 2, "MOVSD whose first store crosses", |b| Ok(b.rep().movsd()?))?;
    registers_after_fault(b, 0x0040_0ffd, 3, "MOVSD did nothing")?;
    expect_memory(b, SOURCE + 0xffc, u32::MAX, 0, "MOVSD stored no part")?;

    // Map the page and go on: the instruction finishes where it stopped.
    b.mov(dword_ptr(paging::TABLE_1 + 4), 0x0020_4003)?;
    b.invlpg(ptr(0x0040_1000u32))?;
    registers(b, SOURCE, 0x0040_0ffd, 3)?;
    b.rep().movsd()?;
    keep(b)?;
    kept(b, "MOVSD across the mapped page", SOURCE + 12, 0x0040_1009, 0)?;
    expect_memory(b, 0x0020_4000, u32::MAX, 0x0605_0403, "MOVSD reached the other frame")
}

/// ESI is not looked at: printing the fault's own check has changed it.
fn registers_after_fault(b: &mut Block, target: u32, count: u32, name: &str) -> Built {
    expect(b, edi, target, &format!("{name}: EDI"))?;
    expect(b, ecx, count, &format!("{name}: ECX"))
}
