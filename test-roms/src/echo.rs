//! A firmware that sends back what comes in on COM1, for whoever tests where that came from; `q` is its end.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    real_mode::{say, segments, serial, write_descriptors, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "echo",
    about: "a firmware that says \"ready\", sends back each byte from COM1, and after a q halts for ever",
    kind: Kind::Firmware,
    build: || {
        build(0x10000, 0xff, |image| {
            image.texts_at(0xc000, 0xc000);
            image.code(16, 0xe000, 0xe000, firmware)?;
            image.reset_vector("start")
        })
    },
    symbols: None,
};

/// COM1: data, FIFO control, line status.
const DATA: u32 = 0x3f8;
const FIFO_CONTROL: u32 = 0x3fa;
const LINE_STATUS: u32 = 0x3fd;

fn firmware(b: &mut Block) -> Built {
    b.name("start")?;
    segments(b)?;
    serial(b)?;
    b.mov(dx, FIFO_CONTROL)?;
    b.mov(al, 1u32)?;
    b.out(dx, al)?;
    say(b, "ready\r\n")?;
    let wait = b.here()?;
    b.mov(dx, LINE_STATUS)?;
    b.in_(al, dx)?;
    b.test(al, 1u32)?;
    b.je(wait)?;
    b.mov(dx, DATA)?;
    b.in_(al, dx)?;
    b.out(dx, al)?;
    b.cmp(al, i32::from(b'q'))?;
    b.jne(wait)?;
    b.cli()?;
    b.hlt()?;
    write_print(b)?;
    write_descriptors(b)
}
