//! Boot sectors for floppy and hard disks: what a BIOS' INT 13h gives, and a loop of reads.
//!
//! Every sector but the first holds a pattern made of its number, so that a sector read from a wrong
//! place, or half of one, is seen. `disk-hello` and `floppy-hello` read by CHS (AH=02h) with the
//! geometry that AH=08h tells, hard disks by LBA (AH=42h) too, and say on COM1 whether all was right.
//! `read-loop` keeps a read in flight for ever: a place to press Ctrl+Alt+Del in; `idle` has none.
//! `copy-sector` writes its second sector over its first by the task file alone.
//! `touch-pages` keeps writing to 640 pages: what it costs to go back from there is what a bench wants
//! to know.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
};

pub(crate) const FLOPPY_HELLO: TestRom = TestRom {
    name: "floppy-hello",
    about: "boot sector of a 1.44 MB floppy: INT 13h reads by CHS come back right",
    kind: Kind::Floppy,
    build: || disk(2880, hello),
    symbols: None,
};

pub(crate) const DISK_HELLO: TestRom = TestRom {
    name: "disk-hello",
    about: "boot sector of an 8 MiB hard disk: INT 13h reads by CHS and LBA come back right",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, hello),
    symbols: None,
};

pub(crate) const READ_LOOP: TestRom = TestRom {
    name: "read-loop",
    about: "boot sector that reads eight sectors by INT 13h again and again, after saying \"reading\" on COM1",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, read_loop),
    symbols: None,
};

pub(crate) const IDLE: TestRom = TestRom {
    name: "idle",
    about: "boot sector that says \"idle\" on COM1 and halts with interrupts on: no transfer in flight",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, idle),
    symbols: None,
};

pub(crate) const IDLE_A20_OFF: TestRom = TestRom {
    name: "idle-a20-off",
    about: "boot sector that masks address line 20, says so on COM1 and spins: does a reset open the gate?",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, idle_a20_off),
    symbols: None,
};

pub(crate) const TOUCH_PAGES: TestRom = TestRom {
    name: "touch-pages",
    about: "boot sector that adds one to a dword of each page from 2 MiB to 4.5 MiB again and again, after saying \"touching\" on COM1",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, touch_pages),
    symbols: None,
};

pub(crate) const COPY_SECTOR: TestRom = TestRom {
    name: "copy-sector",
    about: "boot sector that writes sector 1 of its disk over sector 0 by the task file, says \"copied\" on COM1 and halts",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, copy_sector),
    symbols: None,
};

/// Sectors of the hard disks: 8 MiB.
const SECTORS: u32 = 0x4000;

/// What the pattern adds for each sector and for each dword within it.
pub(crate) const PER_SECTOR: u32 = 0x0100_0193;
pub(crate) const PER_DWORD: u32 = 0x9e37_79b1;

/// The contents of sector `number` of our disks: dword k is `number * 01000193h + k * 9E3779B1h`.
#[must_use]
pub fn pattern_sector(number: u32) -> [u8; 512] {
    let mut bytes = [0; 512];
    pattern(number, &mut bytes);
    bytes
}

/// Fills a sector of any size.
pub(crate) fn pattern(number: u32, bytes: &mut [u8]) {
    let mut value = number.wrapping_mul(PER_SECTOR);
    for dword in bytes.chunks_exact_mut(4) {
        dword.copy_from_slice(&value.to_le_bytes());
        value = value.wrapping_add(PER_DWORD);
    }
}

pub(crate) fn disk(sectors: u32, boot: fn(&mut Block) -> Built) -> Built<Vec<u8>> {
    let mut bytes = build(512, 0, |image| {
        image.code(16, 0, 0x7c00, boot)?;
        image.put(510, &[0x55, 0xaa])
    })?;
    for number in 1..sectors {
        bytes.extend(pattern_sector(number));
    }
    Ok(bytes)
}

/// Variables behind the boot sector, and where sectors are read to.
pub(crate) const DRIVE: u32 = 0x7e00;
pub(crate) const LBA: u32 = 0x7e04;
const SECTORS_PER_TRACK: u32 = 0x7e08;
const HEADS: u32 = 0x7e0c;
pub(crate) const PACKET: u32 = 0x7e20;
pub(crate) const BUFFER: u32 = 0x8000;

/// Segments, stack and drive number, and room for the names `print` and `put`.
pub(crate) fn begin(b: &mut Block) -> Built {
    b.jump_far(16, 0, b.address("begin"))?;
    b.name("begin")?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, 0x7c00u32)?;
    b.cld()?;
    Ok(b.mov(byte_ptr(DRIVE), dl)?)
}

/// CALLs `print` for the text called `name`.
pub(crate) fn say(b: &mut Block, name: &str) -> Built {
    let address = b.address(name);
    b.mov(si, address)?;
    let print = b.target("print");
    Ok(b.call(print)?)
}

/// The routine `print`: the text at SI to COM1. Changes AX, DX, SI.
pub(crate) fn write_print(b: &mut Block) -> Built {
    b.name("print")?;
    let mut done = b.create_label();
    let next = b.here()?;
    b.lodsb()?;
    b.test(al, al)?;
    b.je(done)?;
    b.mov(dx, 0x3f8u32)?;
    b.out(dx, al)?;
    b.jmp(next)?;
    b.set_label(&mut done)?;
    Ok(b.ret()?)
}

/// A text that ends with zero.
pub(crate) fn text(b: &mut Block, name: &str, text: &[u8]) -> Built {
    b.name(name)?;
    b.db(text)?;
    Ok(b.db(&[0])?)
}

/// The routine `check`: CX dwords at ES:DI must be the pattern of sector [LBA]; else `bad`.
/// Changes EAX, CX, DI.
pub(crate) fn write_check(b: &mut Block) -> Built {
    b.name("check")?;
    let bad = b.target("bad");
    b.imul_3(eax, dword_ptr(LBA), PER_SECTOR as i32)?;
    let next = b.here()?;
    b.scasd()?;
    b.jne(bad)?;
    b.add(eax, PER_DWORD as i32)?;
    b.loop_(next)?;
    Ok(b.ret()?)
}

/// The end: says `int13 ok`, or at `bad` `int13 BAD`, and halts.
pub(crate) fn write_end(b: &mut Block) -> Built {
    say(b, "text-ok")?;
    let stop = b.here()?;
    b.cli()?;
    b.hlt()?;
    b.jmp(stop)?;
    b.name("bad")?;
    say(b, "text-bad")?;
    b.jmp(stop)?;
    write_print(b)?;
    write_check(b)?;
    text(b, "text-ok", b"int13 ok\r\n")?;
    text(b, "text-bad", b"int13 BAD\r\n")
}

fn hello(b: &mut Block) -> Built {
    begin(b)?;
    say(b, "text-runs")?;
    let (by_chs, by_lba, bad) = (b.target("by-chs"), b.target("by-lba"), b.target("bad"));

    // Geometry: sectors per track in CL, last head in DH.
    b.mov(ah, 8u32)?;
    b.mov(dl, byte_ptr(DRIVE))?;
    b.xor(di, di)?;
    b.int(0x13u32)?;
    b.jc(bad)?;
    b.xor(ax, ax)?;
    b.mov(es, ax)?;
    b.and(cx, 0x3f)?;
    b.movzx(ecx, cx)?;
    b.mov(dword_ptr(SECTORS_PER_TRACK), ecx)?;
    b.movzx(edx, dh)?;
    b.inc(dx)?;
    b.mov(dword_ptr(HEADS), edx)?;

    // Sectors 1, 2, 4, 7, 11… as far as both the floppy and the disk have them, in steps that grow.
    b.mov(dword_ptr(LBA), 1u32)?;
    b.mov(bp, 1u32)?;
    let next = b.here()?;
    b.call(by_chs)?;
    b.cmp(byte_ptr(DRIVE), 0x80u32 as i32)?;
    let floppy = b.create_label();
    b.jb(floppy)?;
    b.call(by_lba)?;
    b.place(floppy)?;
    b.movzx(eax, bp)?;
    b.add(dword_ptr(LBA), eax)?;
    b.add(bp, 11)?;
    b.cmp(dword_ptr(LBA), 2880)?;
    b.jb(next)?;
    // The hard disk's last sector.
    b.cmp(byte_ptr(DRIVE), 0x80u32 as i32)?;
    let end = b.create_label();
    b.jb(end)?;
    b.mov(dword_ptr(LBA), SECTORS - 1)?;
    b.call(by_lba)?;
    b.place(end)?;
    write_end(b)?;
    text(b, "text-runs", b"boot sector runs\r\n")?;

    // AH=02h: one sector at [LBA].
    b.name("by-chs")?;
    b.mov(eax, dword_ptr(LBA))?;
    b.xor(edx, edx)?;
    b.div(dword_ptr(SECTORS_PER_TRACK))?;
    b.mov(cl, dl)?;
    b.inc(cl)?;
    b.xor(edx, edx)?;
    b.div(dword_ptr(HEADS))?;
    b.mov(ch, al)?;
    b.mov(dh, dl)?;
    b.mov(dl, byte_ptr(DRIVE))?;
    b.mov(ax, 0x0201u32)?;
    b.mov(bx, BUFFER)?;
    b.int(0x13u32)?;
    b.jc(bad)?;
    b.mov(di, BUFFER)?;
    b.mov(cx, 128u32)?;
    let check = b.target("check");
    b.jmp(check)?;

    write_by_lba(b, 128)
}

/// The routine `by-lba`: AH=42h, one sector of `dwords` dwords at [LBA], checked.
pub(crate) fn write_by_lba(b: &mut Block, dwords: u32) -> Built {
    let (check, bad) = (b.target("check"), b.target("bad"));
    b.name("by-lba")?;
    b.mov(si, PACKET)?;
    b.mov(dword_ptr(si), 0x0001_0010u32)?;
    b.mov(dword_ptr(si + 4), BUFFER)?;
    b.mov(eax, dword_ptr(LBA))?;
    b.mov(dword_ptr(si + 8), eax)?;
    b.mov(dword_ptr(si + 12), 0u32)?;
    b.mov(ah, 0x42u32)?;
    b.mov(dl, byte_ptr(DRIVE))?;
    b.int(0x13u32)?;
    b.jc(bad)?;
    b.mov(di, BUFFER)?;
    b.mov(cx, dwords)?;
    Ok(b.jmp(check)?)
}

fn read_loop(b: &mut Block) -> Built {
    begin(b)?;
    // Interrupts stay off here: a key pressed from now on is taken where the BIOS waits for the disk.
    b.cli()?;
    say(b, "text-reading")?;
    let next = b.here()?;
    b.mov(ax, 0x0208u32)?;
    b.mov(bx, BUFFER)?;
    b.mov(cx, 2u32)?;
    b.mov(dh, 0u32)?;
    b.mov(dl, byte_ptr(DRIVE))?;
    b.int(0x13u32)?;
    b.jmp(next)?;
    write_print(b)?;
    text(b, "text-reading", b"reading\r\n")
}

fn touch_pages(b: &mut Block) -> Built {
    begin(b)?;
    say(b, "text-touching")?;
    // Protected mode and back, with DS reaching 4 GiB. No interrupt may come: its handler could
    // load DS.
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
    let all = b.here()?;
    b.mov(edi, 0x20_0000u32)?;
    let next = b.here()?;
    b.inc(dword_ptr(edi))?;
    b.add(edi, 0x1000)?;
    b.cmp(edi, 0x48_0000)?;
    b.jb(next)?;
    b.jmp(all)?;
    write_print(b)?;
    text(b, "text-touching", b"touching\r\n")?;
    // A null descriptor and a flat one for data.
    b.name("descriptors")?;
    b.db(&[0; 8])?;
    b.db(&[0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])?;
    b.name("pointer")?;
    b.dw(&[15])?;
    let descriptors = b.address("descriptors");
    Ok(b.dd(&[descriptors])?)
}

/// Port 92h bit 1 is the gate. Interrupts stay off: a BIOS opens the gate when it serves one.
/// READ SECTORS and WRITE SECTORS (ATA-6, 8.34 and 8.62) with one sector, polled.
fn copy_sector(b: &mut Block) -> Built {
    const READ_SECTORS: u32 = 0x20;
    const WRITE_SECTORS: u32 = 0x30;
    const LBA_OF_DRIVE_0: u32 = 0xe0;
    const DRQ: i32 = 1 << 3;
    const BUSY: i32 = 1 << 7;
    begin(b)?;
    b.cli()?;
    let command = b.target("command");
    b.mov(cx, 1u32 << 8 | READ_SECTORS)?;
    b.call(command)?;
    b.mov(di, BUFFER)?;
    b.mov(cx, 256u32)?;
    b.rep().insw()?;
    b.mov(cx, WRITE_SECTORS)?;
    b.call(command)?;
    b.mov(si, BUFFER)?;
    b.mov(cx, 256u32)?;
    b.rep().outsw()?;
    b.mov(dx, 0x1f7u32)?;
    let busy = b.here()?;
    b.in_(al, dx)?;
    b.test(al, BUSY)?;
    b.jnz(busy)?;
    say(b, "text-copied")?;
    b.hlt()?;

    // The command in CL for one sector, that in CH, of the first drive; then DX is the data port, and data are asked for.
    b.name("command")?;
    b.mov(dx, 0x1f2u32)?;
    b.mov(al, 1u32)?; // how many
    b.out(dx, al)?;
    b.inc(dx)?;
    b.mov(al, ch)?; // which
    b.out(dx, al)?;
    for part in [0u32, 0, LBA_OF_DRIVE_0] {
        b.inc(dx)?;
        b.mov(al, part)?;
        b.out(dx, al)?;
    }
    b.inc(dx)?;
    b.mov(al, cl)?;
    b.out(dx, al)?;
    let wait = b.here()?;
    b.in_(al, dx)?;
    b.and(al, BUSY | DRQ)?;
    b.cmp(al, DRQ)?;
    b.jne(wait)?;
    b.mov(dx, 0x1f0u32)?;
    b.ret()?;
    write_print(b)?;
    text(b, "text-copied", b"copied\r\n")
}

fn idle_a20_off(b: &mut Block) -> Built {
    begin(b)?;
    b.cli()?;
    b.in_(al, 0x92)?;
    b.and(al, 0xfd)?;
    b.out(0x92, al)?;
    say(b, "text-idle")?;
    let spin = b.here()?;
    b.jmp(spin)?;
    write_print(b)?;
    text(b, "text-idle", b"idle\r\n")
}

fn idle(b: &mut Block) -> Built {
    begin(b)?;
    say(b, "text-idle")?;
    b.sti()?;
    let wait = b.here()?;
    b.hlt()?;
    b.jmp(wait)?;
    write_print(b)?;
    text(b, "text-idle", b"idle\r\n")
}
