//! Paging, 32-bit and PAE: accessed and dirty bits, error codes, CR2, write protection, large pages,
//! stores across two pages, and the checks user code meets.
//!
//! Proves SDM vol. 3A, chapter 4, and that a fault leaves no trace (a store of which one part could
//! not be made makes none). Bochs 2.7 passes all; QEMU 7.2's TCG differs in four checks: the W bit of
//! a read-modify-write's fault, PUSHAD half done, and the P bit that goes with RSVD (twice).

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    harness::*,
};

pub(crate) const ROM: TestRom = TestRom {
    name: "paging",
    about: "32-bit and PAE paging: A/D bits, WP, #PF error codes and CR2, large pages, page-crossing stores",
    kind: Kind::Firmware,
    build: || rom("paging", |_| Tables::default(), |_| Ok(()), body),
    symbols: None,
};

pub(crate) const DIRECTORY: u32 = 0x0010_0000;
const TABLE_0: u32 = 0x0010_1000;
/// The page table for linear 400000h.
pub(crate) const TABLE_1: u32 = 0x0010_2000;
const PAE_POINTERS: u32 = 0x0010_4000;
const PAE_DIRECTORY: u32 = 0x0010_5000;
const PAE_TABLE: u32 = 0x0010_6000;

/// Linear addresses that `TABLE_1` maps, and the frames used with them.
const WINDOW: u32 = 0x0040_0000;
const FRAME_A: u32 = 0x0020_0000;
const FRAME_B: u32 = 0x0020_1000;

const PRESENT: u32 = 1;
const WRITE: u32 = 2;
const USER: u32 = 4;
const ACCESSED: u32 = 0x20;
const DIRTY: u32 = 0x40;
const LARGE: u32 = 0x80;

/// Builds tables that map the first 4 MiB to themselves (user, writable) and nothing at 400000h.
pub(crate) fn identity(b: &mut Block) -> Built {
    b.cld()?;
    b.xor(eax, eax)?;
    b.mov(edi, DIRECTORY)?;
    b.mov(ecx, 0x0c00u32)?;
    b.rep().stosd()?;
    b.mov(dword_ptr(DIRECTORY), TABLE_0 | PRESENT | WRITE | USER)?;
    b.mov(dword_ptr(DIRECTORY + 4), TABLE_1 | PRESENT | WRITE | USER)?;
    b.mov(edi, TABLE_0)?;
    b.mov(eax, PRESENT | WRITE | USER)?;
    let next = b.here()?;
    b.stosd()?;
    b.add(eax, 0x1000)?;
    b.cmp(eax, 0x0040_0000)?;
    Ok(b.jb(next)?)
}

/// Loads CR3 with the directory and sets CR0.PG.
pub(crate) fn turn_on(b: &mut Block) -> Built {
    b.mov(eax, DIRECTORY)?;
    b.mov(cr3, eax)?;
    set_cr0(b, 0x8000_0000, 0)
}

fn set_cr0(b: &mut Block, set: u32, clear: u32) -> Built {
    b.mov(eax, cr0)?;
    b.or(eax, set as i32)?;
    b.and(eax, !clear as i32)?;
    Ok(b.mov(cr0, eax)?)
}

fn set_cr4(b: &mut Block, set: u32) -> Built {
    b.mov(eax, cr4)?;
    b.or(eax, set as i32)?;
    Ok(b.mov(cr4, eax)?)
}

/// Makes page `page` of the window show `entry`.
fn map(b: &mut Block, page: u32, entry: u32) -> Built {
    b.mov(dword_ptr(TABLE_1 + page * 4), entry)?;
    Ok(b.invlpg(ptr(WINDOW + page * 0x1000))?)
}

fn entry(b: &mut Block, page: u32, expect: u32, name: &str) -> Built {
    expect_memory(b, TABLE_1 + page * 4, u32::MAX, expect, name)
}

fn expect_page_fault(
    b: &mut Block,
    error: u16,
    address: u32,
    name: &str,
    write: impl FnOnce(&mut Block) -> Built,
) -> Built {
    expect_fault(b, 14, error, name, write)?;
    expect_memory(b, FAULT_CR2, u32::MAX, address, &format!("{name}: CR2"))
}

fn body(b: &mut Block) -> Built {
    b.mov(dword_ptr(FRAME_A), 0x1111_aaaa)?;
    b.mov(dword_ptr(FRAME_B), 0x2222_bbbb)?;
    identity(b)?;
    turn_on(b)?;
    bits(b)?;
    supervisor(b)?;
    user(b)?;
    crossing(b)?;
    large(b)?;
    pae(b)
}

fn bits(b: &mut Block) -> Built {
    map(b, 0, FRAME_A | PRESENT | WRITE)?;
    entry(b, 0, FRAME_A | PRESENT | WRITE, "an untouched page has no A bit")?;
    b.mov(eax, dword_ptr(WINDOW))?;
    expect_eax(b, 0x1111_aaaa, "reading through a page table")?;
    entry(b, 0, FRAME_A | PRESENT | WRITE | ACCESSED, "a read sets A")?;
    expect_memory(b, DIRECTORY + 4, 0xff, PRESENT | WRITE | USER | ACCESSED, "and A in the directory")?;
    b.mov(dword_ptr(WINDOW + 4), 5)?;
    entry(b, 0, FRAME_A | PRESENT | WRITE | ACCESSED | DIRTY, "a write after a read sets D")?;
    map(b, 1, FRAME_B | PRESENT | WRITE)?;
    b.inc(dword_ptr(WINDOW + 0x1000))?;
    entry(b, 1, FRAME_B | PRESENT | WRITE | ACCESSED | DIRTY, "read-modify-write sets A and D")?;
    map(b, 0, FRAME_B | PRESENT | WRITE)?;
    b.mov(eax, dword_ptr(WINDOW))?;
    expect_eax(b, 0x2222_bbbc, "another frame after INVLPG")?;
    b.mov(dword_ptr(TABLE_1), FRAME_A | PRESENT | WRITE)?;
    b.mov(eax, cr3)?;
    b.mov(cr3, eax)?;
    b.mov(eax, dword_ptr(WINDOW))?;
    expect_eax(b, 0x1111_aaaa, "another frame after MOV CR3")
}

fn supervisor(b: &mut Block) -> Built {
    map(b, 2, FRAME_A)?;
    let page = WINDOW + 0x2000;
    expect_page_fault(b, 0, page + 8, "read of a missing page", |b| Ok(b.mov(eax, dword_ptr(page + 8))?))?;
    expect_page_fault(b, 2, page + 9, "write to a missing page", |b| Ok(b.mov(dword_ptr(page + 9), 1)?))?;
    expect_page_fault(b, 2, page, "ADD to a missing page", |b| Ok(b.add(dword_ptr(page), 1)?))?;
    expect_page_fault(b, 0, page, "CMP with a missing page", |b| Ok(b.cmp(dword_ptr(page), 1)?))?;
    expect_page_fault(b, 0, page + 4, "fetch from a missing page", |b| {
        b.mov(ebx, page + 4)?;
        Ok(b.jmp(ebx)?)
    })?;
    expect_memory(b, FRAME, u32::MAX, page + 4, "fetch: EIP")?;
    expect_page_fault(b, 0, 0x0080_0000, "missing page table", |b| {
        Ok(b.mov(eax, dword_ptr(0x0080_0000u32))?)
    })?;
    entry(b, 2, FRAME_A, "a fault sets no A bit")?;

    map(b, 2, FRAME_A | PRESENT)?;
    b.mov(dword_ptr(page + 12), 0x77)?;
    expect_memory(b, FRAME_A + 12, u32::MAX, 0x77, "ring 0 writes to a read-only page while WP=0")?;
    set_cr0(b, 0x0001_0000, 0)?;
    expect_page_fault(b, 3, page + 12, "and not while WP=1", |b| Ok(b.mov(dword_ptr(page + 12), 0x78)?))?;
    expect_memory(b, FRAME_A + 12, u32::MAX, 0x77, "the write did not happen")?;
    set_cr0(b, 0, 0x0001_0000)?;
    b.mov(dword_ptr(page + 12), 0x79)?;
    expect_memory(b, FRAME_A + 12, u32::MAX, 0x79, "WP=0 again")?;
    map(b, 2, FRAME_A)?;
    // The handler's own frame needs a stack: it is ring 3 that pushes.
    expect_page_fault(b, 6, page + 0x7fc, "PUSH to a missing page", |b| {
        in_ring3_with_stack(b, page + 0x800, |b| Ok(b.push(5)?))
    })?;
    expect_memory(b, FRAME + 12, u32::MAX, page + 0x800, "PUSH did not move ESP")
}

fn in_ring3_with_stack(b: &mut Block, stack: u32, write: impl FnOnce(&mut Block) -> Built) -> Built {
    in_ring3(b, |b| {
        b.mov(esp, stack)?;
        write(b)
    })
}

fn user(b: &mut Block) -> Built {
    let page = WINDOW + 0x3000;
    map(b, 3, FRAME_A | PRESENT | WRITE)?;
    let read = |b: &mut Block| in_ring3(b, |b| Ok(b.mov(ebx, dword_ptr(page))?));
    let write = |b: &mut Block| in_ring3(b, |b| Ok(b.mov(dword_ptr(page + 16), 6)?));
    expect_page_fault(b, 5, page, "user reads a supervisor page", read)?;
    expect_page_fault(b, 7, page + 16, "user writes to a supervisor page", write)?;
    map(b, 3, FRAME_A | PRESENT | USER)?;
    expect_fault(b, 48, 0, "user reads a user page", read)?;
    expect(b, ebx, 0x1111_aaaa, "and sees its bytes")?;
    expect_page_fault(b, 7, page + 16, "user writes to a read-only page, WP=0", write)?;
    map(b, 3, FRAME_A | PRESENT | WRITE | USER)?;
    expect_fault(b, 48, 0, "user writes to a writable page", write)?;
    expect_memory(b, FRAME_A + 16, u32::MAX, 6, "and the byte is there")?;
    map(b, 3, 0)?;
    expect_page_fault(b, 4, page, "user reads a missing page", read)?;
    expect_page_fault(b, 6, page + 16, "user writes to a missing page", write)?;
    map(b, 3, FRAME_A | PRESENT | WRITE | USER)?;
    b.and(dword_ptr(DIRECTORY + 4), !USER as i32)?;
    b.mov(eax, cr3)?;
    b.mov(cr3, eax)?;
    expect_page_fault(b, 5, page, "a supervisor directory entry rules", read)?;
    b.or(dword_ptr(DIRECTORY + 4), USER as i32)?;
    b.and(dword_ptr(DIRECTORY + 4), !WRITE as i32)?;
    b.mov(eax, cr3)?;
    b.mov(cr3, eax)?;
    expect_page_fault(b, 7, page + 16, "a read-only directory entry rules", write)?;
    b.or(dword_ptr(DIRECTORY + 4), WRITE as i32)?;
    b.mov(eax, cr3)?;
    b.mov(cr3, eax)?;
    Ok(())
}

fn crossing(b: &mut Block) -> Built {
    map(b, 4, FRAME_A | PRESENT | WRITE)?;
    map(b, 5, 0)?;
    let edge = WINDOW + 0x5000;
    b.mov(dword_ptr(FRAME_A + 0xffc), 0x0102_0304)?;
    expect_page_fault(b, 2, edge, "store across into a missing page", |b| {
        Ok(b.mov(dword_ptr(edge - 2), 0x5566_7788)?)
    })?;
    expect_memory(b, FRAME_A + 0xffc, u32::MAX, 0x0102_0304, "no part of it was stored")?;
    expect_page_fault(b, 0, edge, "load across from a missing page", |b| {
        Ok(b.mov(eax, dword_ptr(edge - 1))?)
    })?;
    map(b, 4, FRAME_A | PRESENT | WRITE | USER)?;
    expect_fault(b, 14, 6, "PUSHAD across into a missing page", |b| {
        in_ring3_with_stack(b, edge + 8, |b| Ok(b.pushad()?))
    })?;
    expect_memory(b, FRAME_A + 0xffc, u32::MAX, 0x0102_0304, "PUSHAD stored nothing")?;
    map(b, 5, FRAME_B | PRESENT | WRITE)?;
    b.mov(dword_ptr(FRAME_A + 0xffc), 0x0102_0304)?;
    b.mov(dword_ptr(edge - 2), 0x5566_7788)?;
    expect_memory(b, FRAME_A + 0xffc, u32::MAX, 0x7788_0304, "the store's first half")?;
    expect_memory(b, FRAME_B, 0xffff, 0x5566, "the store's second half")?;
    b.mov(eax, dword_ptr(edge - 2))?;
    expect_eax(b, 0x5566_7788, "a load puts them together")?;
    b.add(dword_ptr(edge - 2), 0x1111_1111)?;
    b.mov(eax, dword_ptr(edge - 2))?;
    expect_eax(b, 0x6677_8899, "ADD across two frames")
}

fn large(b: &mut Block) -> Built {
    set_cr4(b, 0x10)?;
    b.mov(dword_ptr(DIRECTORY + 12), PRESENT | WRITE | LARGE)?;
    b.mov(eax, dword_ptr(0x00c0_0000 + FRAME_A))?;
    expect_eax(b, 0x1111_aaaa, "a 4 MiB page shows the first 4 MiB")?;
    expect_memory(b, DIRECTORY + 12, 0xff, PRESENT | WRITE | LARGE | ACCESSED, "4 MiB page: A")?;
    b.mov(dword_ptr(0x00c0_0000 + FRAME_A + 0x20), 0x99)?;
    expect_memory(b, DIRECTORY + 12, 0xff, PRESENT | WRITE | LARGE | ACCESSED | DIRTY, "4 MiB page: D")?;
    expect_memory(b, FRAME_A + 0x20, u32::MAX, 0x99, "4 MiB page: the write")?;
    b.mov(dword_ptr(DIRECTORY + 16), PRESENT | WRITE | LARGE | 0x0020_0000)?;
    expect_page_fault(b, 9, 0x0100_0000, "4 MiB page: reserved bit", |b| {
        Ok(b.mov(eax, dword_ptr(0x0100_0000u32))?)
    })
}

fn pae(b: &mut Block) -> Built {
    set_cr0(b, 0, 0x8000_0000)?;
    b.cld()?;
    b.xor(eax, eax)?;
    b.mov(edi, PAE_POINTERS)?;
    b.mov(ecx, 0x0c00u32)?;
    b.rep().stosd()?;
    b.mov(dword_ptr(PAE_POINTERS), PAE_DIRECTORY | PRESENT)?;
    // 0-3FFFFFh by two 2 MiB pages, 400000h by a table.
    b.mov(dword_ptr(PAE_DIRECTORY), PRESENT | WRITE | USER | LARGE)?;
    b.mov(dword_ptr(PAE_DIRECTORY + 8), 0x0020_0000 | PRESENT | WRITE | USER | LARGE)?;
    b.mov(dword_ptr(PAE_DIRECTORY + 16), PAE_TABLE | PRESENT | WRITE | USER)?;
    b.mov(dword_ptr(PAE_TABLE), FRAME_A | PRESENT | WRITE)?;
    b.mov(dword_ptr(PAE_TABLE + 16), FRAME_A | PRESENT | WRITE)?;
    b.mov(dword_ptr(PAE_TABLE + 20), 0x4000_0000)?;
    set_cr4(b, 0x20)?;
    b.mov(eax, PAE_POINTERS)?;
    b.mov(cr3, eax)?;
    set_cr0(b, 0x8000_0000, 0)?;
    b.mov(eax, dword_ptr(WINDOW))?;
    expect_eax(b, 0x1111_aaaa, "PAE: reading through a table")?;
    expect_memory(b, PAE_TABLE, 0xff, PRESENT | WRITE | ACCESSED, "PAE: A")?;
    b.mov(dword_ptr(WINDOW + 0x30), 3)?;
    expect_memory(b, PAE_TABLE, 0xff, PRESENT | WRITE | ACCESSED | DIRTY, "PAE: D")?;
    expect_memory(b, PAE_DIRECTORY, 0xff, 0xe7, "PAE: A and D of a 2 MiB page")?;
    expect_page_fault(b, 0, WINDOW + 0x1000, "PAE: missing page", |b| {
        Ok(b.mov(eax, dword_ptr(WINDOW + 0x1000))?)
    })?;
    expect_page_fault(b, 9, WINDOW + 0x2000, "PAE: reserved bit", |b| {
        Ok(b.mov(eax, dword_ptr(WINDOW + 0x2000))?)
    })?;
    expect_page_fault(b, 2, 0x4000_0000, "PAE: missing directory", |b| {
        Ok(b.mov(dword_ptr(0x4000_0000u32), 1)?)
    })?;
    set_cr0(b, 0, 0x8000_0000)
}
