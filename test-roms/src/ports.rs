//! Boot sectors that use the ports a machine has when asked for them.
//!
//! `printer` prints a line by INT 17h, whose status must say that the printer took each character: proves
//! the parallel port's handshake, as firmware does it. `panic` looks which events port 505h knows, says
//! that a crash kernel was loaded, and then panics: proves that the run ends there.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    disk::{begin, disk, say, text, write_print},
};

pub(crate) const PRINTER: TestRom = TestRom {
    name: "printer",
    about: "boot sector that prints a line on LPT1 by INT 17h and says on COM1 whether the printer took it",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, printer),
    symbols: None,
};

pub(crate) const PANIC: TestRom = TestRom {
    name: "panic",
    about: "boot sector that says \"crash loaded\" and then \"panicked\" to the panic port, 505h",
    kind: Kind::HardDisk,
    build: || disk(SECTORS, panic),
    symbols: None,
};

/// Sectors of the disks: 1 MiB.
const SECTORS: u32 = 0x800;
/// INT 17h: the printer did not answer.
const TIMEOUT: u32 = 1;
const PANIC_PORT: u32 = 0x505;

fn printer(b: &mut Block) -> Built {
    begin(b)?;
    let bad = b.target("bad");
    // AH=01h initialises the printer: until then its status has what INT 17h says of a time-out.
    b.mov(ah, 1u32)?;
    b.xor(dx, dx)?;
    b.int(0x17u32)?;
    b.test(ah, TIMEOUT as i32)?;
    b.jne(bad)?;
    let line = b.address("text-line");
    b.mov(si, line)?;
    let next = b.here()?;
    let done = b.create_label();
    b.lodsb()?;
    b.test(al, al)?;
    b.je(done)?;
    b.xor(ah, ah)?;
    b.xor(dx, dx)?;
    b.int(0x17u32)?;
    b.test(ah, TIMEOUT as i32)?;
    b.jne(bad)?;
    b.jmp(next)?;
    b.place(done)?;
    end(b, "printer ok\r\n")?;
    text(b, "text-line", b"one line\r\n")
}

fn panic(b: &mut Block) -> Built {
    begin(b)?;
    let bad = b.target("bad");
    b.mov(dx, PANIC_PORT)?;
    b.in_(al, dx)?;
    b.cmp(al, 3)?;
    b.jne(bad)?;
    b.mov(al, 2u32)?;
    b.out(dx, al)?;
    say(b, "text-loaded")?;
    b.mov(dx, PANIC_PORT)?;
    b.mov(al, 1u32)?;
    b.out(dx, al)?;
    end(b, "went on\r\n")?;
    text(b, "text-loaded", b"crash loaded\r\n")
}

/// Says `last` on COM1, or at `bad` that it did not work, and halts.
fn end(b: &mut Block, last: &str) -> Built {
    say(b, "text-last")?;
    let stop = b.here()?;
    b.cli()?;
    b.hlt()?;
    b.jmp(stop)?;
    b.name("bad")?;
    say(b, "text-bad")?;
    b.jmp(stop)?;
    write_print(b)?;
    text(b, "text-last", last.as_bytes())?;
    text(b, "text-bad", b"BAD\r\n")
}
