//! The option ROM that starts a Linux kernel which the emulator has put into fw_cfg.
//!
//! It copies setup code, command line, kernel and initial RAM disk, and enters the setup code 200h bytes into
//! its segment, as "Running the Kernel" in Documentation/x86/boot.rst has it: all data segments and the
//! stack's equal, interrupts off.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built},
    kernel_boot::{self, Part},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "linuxboot",
    about: "option ROM that starts the Linux kernel in fw_cfg, by DMA or through its data port",
    kind: Kind::OptionRom,
    build: || kernel_boot::image("Linux", &[SETUP, COMMAND_LINE, KERNEL, INITRD], |_| Ok(()), enter),
    symbols: None,
};

const KERNEL: Part = [0x07, 0x08, 0x11];
const INITRD: Part = [0x0a, 0x0b, 0x12];
const COMMAND_LINE: Part = [0x13, 0x14, 0x15];
const SETUP: Part = [0x16, 0x17, 0x18];

fn enter(b: &mut Block) -> Built {
    let number = b.target("number");
    b.mov(al, u32::from(COMMAND_LINE[0]))?;
    b.call(number)?;
    b.mov(ebx, eax)?;
    b.mov(al, u32::from(SETUP[0]))?;
    b.call(number)?;
    // The stack grows down from the command line, in the segment of the setup code.
    b.sub(ebx, eax)?;
    b.sub(bx, 16)?;
    b.shr(eax, 4)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.mov(fs, ax)?;
    b.mov(gs, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, bx)?;
    b.add(ax, 0x20)?;
    b.push(ax)?;
    b.push(0)?;
    b.retf()?;
    Ok(())
}
