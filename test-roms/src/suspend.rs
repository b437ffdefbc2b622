//! A boot sector that suspends to RAM and says so when it is woken.
//!
//! It finds the FACS as ACPI 1.0 section 5.2 has it (RSDP in E0000-FFFFF, RSDT, FADT), writes its
//! waking vector, says "suspending" on COM1 and writes SLP_EN with the type of S3 to PM1a_CNT. Woken
//! by the BIOS at that vector, in real mode, it looks whether memory is as it was and whether WAK_STS
//! is set, and says "resumed".

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    disk::{begin, say, text, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "suspend",
    about: "boot sector that suspends to RAM through the FADT and FACS, and says \"resumed\" on COM1 when the BIOS jumps to its waking vector",
    kind: Kind::HardDisk,
    build: || {
        let mut bytes = build(512, 0, |image| {
            image.code(16, 0, 0x7c00, suspend)?;
            image.put(510, &[0x55, 0xaa])
        })?;
        bytes.resize(1 << 20, 0);
        Ok(bytes)
    },
    symbols: None,
};

/// Offsets in the tables (ACPI 1.0, sections 5.2.4 to 5.2.6).
const RSDP_RSDT: u32 = 16;
const TABLE_LENGTH: u32 = 4;
const RSDT_FIRST: u32 = 36;
const FADT_FACS: u32 = 36;
const FADT_PM1A_EVT: u32 = 56;
const FADT_PM1A_CNT: u32 = 64;
const FACS_WAKING_VECTOR: u32 = 12;

/// SLP_EN, and type 1 in SLP_TYP, which the `\_S3` package of PC emulators' AML gives.
const SUSPEND: u32 = 0x2400;
const WAK_STS: u32 = 0x8000;

/// Variables behind the boot sector, which only RAM that was kept still has on waking.
const EVENT_PORT: u32 = 0x7e10;
const MARK: u32 = 0x7e14;
const MARK_VALUE: u32 = 0x5a3c_96e1;

fn signature(name: &[u8; 4]) -> i32 {
    i32::from_le_bytes(*name)
}

fn suspend(b: &mut Block) -> Built {
    begin(b)?;
    flat_data(b)?;
    let bad = b.target("bad");

    // The RSDP, on a 16-byte boundary.
    b.mov(ebx, 0xe_0000u32)?;
    let next = b.here()?;
    let other = b.create_label();
    let found = b.create_label();
    b.cmp(dword_ptr(ebx), signature(b"RSD "))?;
    b.jne(other)?;
    b.cmp(dword_ptr(ebx + 4), signature(b"PTR "))?;
    b.je(found)?;
    b.place(other)?;
    b.add(ebx, 16)?;
    b.cmp(ebx, 0x10_0000)?;
    b.jb(next)?;
    b.jmp(bad)?;
    b.place(found)?;

    // The FADT among the RSDT's entries.
    b.mov(esi, dword_ptr(ebx + RSDP_RSDT))?;
    b.mov(ecx, dword_ptr(esi + TABLE_LENGTH))?;
    b.add(ecx, esi)?;
    b.add(esi, RSDT_FIRST as i32)?;
    let next = b.here()?;
    b.cmp(esi, ecx)?;
    b.jae(bad)?;
    b.mov(ebx, dword_ptr(esi))?;
    b.add(esi, 4)?;
    b.cmp(dword_ptr(ebx), signature(b"FACP"))?;
    b.jne(next)?;

    // The FACS gets the waking vector.
    b.mov(esi, dword_ptr(ebx + FADT_FACS))?;
    b.cmp(dword_ptr(esi), signature(b"FACS"))?;
    b.jne(bad)?;
    let waking = b.address("waking");
    b.mov(dword_ptr(esi + FACS_WAKING_VECTOR), waking)?;
    b.mov(ax, word_ptr(ebx + FADT_PM1A_EVT))?;
    b.mov(word_ptr(EVENT_PORT), ax)?;
    b.mov(dword_ptr(MARK), MARK_VALUE)?;
    say(b, "text-suspending")?;
    b.mov(dx, word_ptr(ebx + FADT_PM1A_CNT))?;
    b.mov(ax, SUSPEND)?;
    b.out(dx, ax)?;
    let stop = b.target("stop");
    b.jmp(stop)?;

    // Woken with CS:IP = vector / 16 : vector % 16.
    b.name("waking")?;
    b.jump_far(16, 0, b.address("awake"))?;
    b.name("awake")?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, 0x7c00u32)?;
    b.cld()?;
    b.cmp(dword_ptr(MARK), MARK_VALUE as i32)?;
    b.jne(bad)?;
    say(b, "text-resumed")?;
    b.mov(dx, word_ptr(EVENT_PORT))?;
    b.in_(ax, dx)?;
    b.test(ax, WAK_STS as i32)?;
    b.je(stop)?;
    say(b, "text-status")?;
    b.name("stop")?;
    b.cli()?;
    b.hlt()?;
    b.jmp(stop)?;
    b.name("bad")?;
    say(b, "text-bad")?;
    b.jmp(stop)?;
    write_print(b)?;
    text(b, "text-suspending", b"suspending\r\n")?;
    text(b, "text-resumed", b"resumed\r\n")?;
    text(b, "text-status", b"WAK_STS is set\r\n")?;
    text(b, "text-bad", b"BAD\r\n")
}

/// Lets DS reach 4 GiB from real mode. No interrupt may come: its handler could load DS.
fn flat_data(b: &mut Block) -> Built {
    b.cli()?;
    let pointer = b.address("pointer");
    b.lgdt(ptr(u64::from(pointer)))?;
    b.mov(eax, cr0)?;
    b.or(al, 1)?;
    b.mov(cr0, eax)?;
    b.mov(bx, 8u32)?;
    b.mov(ds, bx)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.mov(cr0, eax)?;
    let over = b.create_label();
    b.jmp(over)?;
    // A null descriptor and a flat one for data.
    b.name("descriptors")?;
    b.db(&[0; 8])?;
    b.db(&[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])?;
    b.name("pointer")?;
    b.dw(&[15])?;
    let descriptors = b.address("descriptors");
    b.dd(&[descriptors])?;
    b.place(over)
}
