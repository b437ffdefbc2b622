//! What our 16-bit firmware share: COM1 and the debug port as a console, and data segments of 4 GiB.

use iced_x86::code_asm::*;

use crate::assemble::{Block, Built};

/// The segment that firmware runs in.
pub(crate) const BIOS: u16 = 0xf000;

/// COM1: 115200 baud, 8N1.
pub(crate) fn serial(b: &mut Block) -> Built {
    for (port, value) in [(0x3fbu32, 0x80u32), (0x3f8, 1), (0x3f9, 0), (0x3fb, 3), (0x3f9, 0)] {
        b.mov(dx, port)?;
        b.mov(al, value)?;
        b.out(dx, al)?;
    }
    Ok(())
}

/// Interrupts off, data and stack in segment 0. Changes AX.
pub(crate) fn segments(b: &mut Block) -> Built {
    b.cli()?;
    b.cld()?;
    b.xor(ax, ax)?;
    for segment in [ds, es, ss] {
        b.mov(segment, ax)?;
    }
    Ok(b.mov(sp, 0x7000u32)?)
}

/// Prints a text on both.
pub(crate) fn say(b: &mut Block, text: &str) -> Built {
    let text = b.text(text)?;
    b.mov(si, text)?;
    let print = b.target("print");
    Ok(b.call(print)?)
}

/// Prints the word at a linear address below 64 KiB.
pub(crate) fn say_word(b: &mut Block, address: u32) -> Built {
    b.mov(ax, word_ptr(address))?;
    say_ax(b)
}

/// Prints AX in hexadecimal. Changes AX, BX, CX, DX, BP.
pub(crate) fn say_ax(b: &mut Block) -> Built {
    let print = b.target("print-hex");
    Ok(b.call(print)?)
}

/// The routines behind these: `print`, `put` and `print-hex`.
pub(crate) fn write_print(b: &mut Block) -> Built {
    // Prints the text at CS:SI on 402h and COM1. Changes AX, CX, DX, SI.
    b.name("print")?;
    let put = b.target("put");
    let mut done = b.create_label();
    let next = b.here()?;
    b.mov(al, byte_ptr(si).cs())?;
    b.inc(si)?;
    b.test(al, al)?;
    b.je(done)?;
    b.call(put)?;
    b.jmp(next)?;
    b.set_label(&mut done)?;
    b.ret()?;

    // Prints AL. A UART that is never ready is given up on.
    b.name("put")?;
    b.mov(ah, al)?;
    b.mov(dx, 0x402u32)?;
    b.out(dx, al)?;
    b.mov(cx, 0x400u32)?;
    b.mov(dx, 0x3fdu32)?;
    let mut ready = b.create_label();
    let wait = b.here()?;
    b.in_(al, dx)?;
    b.test(al, 0x20u32)?;
    b.jne(ready)?;
    b.loop_(wait)?;
    b.set_label(&mut ready)?;
    b.mov(al, ah)?;
    b.mov(dx, 0x3f8u32)?;
    b.out(dx, al)?;
    b.ret()?;

    // Prints AX in hexadecimal. Changes AX, BX, CX, DX, BP.
    b.name("print-hex")?;
    b.mov(bx, ax)?;
    b.mov(bp, 4u32)?;
    let next = b.here()?;
    b.rol(bx, 4u32)?;
    b.mov(al, bl)?;
    b.and(al, 0x0f)?;
    b.cmp(al, 10)?;
    let mut digit = b.create_label();
    b.jb(digit)?;
    b.add(al, 7)?;
    b.set_label(&mut digit)?;
    b.add(al, 0x30)?;
    b.call(put)?;
    b.dec(bp)?;
    b.jne(next)?;
    Ok(b.ret()?)
}

/// Lets DS, which is 0, reach 4 GiB from real mode. No interrupt may come: its handler could load DS.
/// Changes EAX and BX.
pub(crate) fn big_real(b: &mut Block) -> Built {
    let address = b.address("gdt-pointer");
    b.lgdt(ptr(address).cs())?;
    b.mov(eax, cr0)?;
    b.inc(ax)?;
    b.mov(cr0, eax)?;
    b.mov(bx, 8u32)?;
    b.mov(ds, bx)?;
    b.dec(ax)?;
    b.mov(cr0, eax)?;
    b.xor(bx, bx)?;
    b.mov(ds, bx)?;
    Ok(())
}

/// The descriptors that takes.
pub(crate) fn write_descriptors(b: &mut Block) -> Built {
    // Null, and data from 0 to 4 GiB.
    b.name("gdt")?;
    b.dq(&[0, 0x00cf_9300_0000_ffff])?;
    b.name("gdt-pointer")?;
    b.dw(&[15])?;
    let gdt = b.address("gdt");
    Ok(b.dd(&[(u32::from(BIOS) << 4) + gdt])?)
}
