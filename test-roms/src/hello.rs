//! A small firmware: shadow RAM, interrupts, keyboard, soft and hard restarts.
//!
//! It says its lines on the debug port 402h and on COM1, copies F0000 into shadow RAM by way of PAM0,
//! counts its starts (in low memory and in a variable beside its code, as SeaBIOS' HaveRunPost is),
//! enables the keyboard, and waits. Ctrl+Alt+Del sets 40:72 to 1234h and jumps to F000:FFF0, as a BIOS
//! does; Ctrl+Alt+Backspace resets the machine through the keyboard controller.
//!
//! Proves that `boot`, `--until "debug:No bootable device"`, `--press ctrl-alt-delete` and `--reset`
//! work with no vendor's firmware.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    real_mode::{BIOS, big_real, say, say_word, segments, serial, write_descriptors, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "hello",
    about: "a small firmware: shadow RAM by PAM0, COM1, PIC, keyboard, Ctrl+Alt+Del, start counters",
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

/// In segment 0: "WB" and the number of starts since power-on, and the keyboard's shift state
/// (bit 0 Ctrl, bit 1 Alt).
const MAGIC: u32 = 0x500;
const STARTS: u32 = 0x502;
const SHIFTS: u32 = 0x504;
const SOFT_RESET: u32 = 0x472;

/// Where the copy of F0000 is kept while PAM0 changes.
const BUFFER: u16 = 0x2000;

fn firmware(b: &mut Block) -> Built {
    b.name("start")?;
    segments(b)?;
    serial(b)?;
    count(b)?;
    shadow(b)?;
    interrupts(b)?;
    keyboard(b)?;
    say(b, "No bootable device.\r\n")?;
    b.sti()?;
    let idle = b.here()?;
    b.hlt()?;
    b.jmp(idle)?;
    routines(b)?;
    handlers(b)
}

fn count(b: &mut Block) -> Built {
    let warm = b.create_label();
    b.cmp(word_ptr(MAGIC), 0x4257)?;
    b.je(warm)?;
    b.mov(word_ptr(MAGIC), 0x4257u32)?;
    b.mov(word_ptr(STARTS), 0u32)?;
    b.mov(word_ptr(SOFT_RESET), 0u32)?;
    b.place(warm)?;
    b.inc(word_ptr(STARTS))?;
    say(b, "warmboot test ROM\r\nstart ")?;
    say_word(b, STARTS)?;
    say(b, ", soft reset flag ")?;
    say_word(b, SOFT_RESET)?;
    say(b, ", CMOS shutdown status ")?;
    b.mov(al, 0x8fu32)?;
    b.out(0x70, al)?;
    b.in_(al, 0x71)?;
    b.xor(ah, ah)?;
    let print = b.target("print-hex");
    b.call(print)?;
    // The next start shows whether CMOS survived: 5 for the second, 6 for the third…
    b.mov(al, 0x8fu32)?;
    b.out(0x70, al)?;
    b.mov(al, byte_ptr(STARTS))?;
    b.add(al, 4)?;
    b.out(0x71, al)?;
    b.mov(word_ptr(SOFT_RESET), 0u32)?;
    say(b, "\r\n")
}

/// Makes F0000 RAM with the same contents, unless PAM0 says that it is; counts in it.
fn shadow(b: &mut Block) -> Built {
    let (absent, done, inert) = (b.create_label(), b.create_label(), b.create_label());
    b.mov(dx, 0xcf8u32)?;
    b.mov(eax, 0x8000_0000u32)?;
    b.out(dx, eax)?;
    b.mov(dx, 0xcfcu32)?;
    b.in_(eax, dx)?;
    b.cmp(eax, 0x1237_8086)?;
    b.jne(absent)?;
    b.mov(dx, 0xcf8u32)?;
    b.mov(eax, 0x8000_0058u32)?;
    b.out(dx, eax)?;
    b.mov(dx, 0xcfdu32)?;
    b.in_(al, dx)?;
    b.test(al, 0x10u32)?;
    b.jne(done)?;
    // Copy the ROM to the buffer and go on there, while F0000 changes under us.
    let copy = |b: &mut Block, from: u16, to: u16| -> Built {
        b.mov(ax, u32::from(from))?;
        b.mov(ds, ax)?;
        b.mov(ax, u32::from(to))?;
        b.mov(es, ax)?;
        b.xor(si, si)?;
        b.xor(di, di)?;
        b.mov(ecx, 0x4000u32)?;
        Ok(b.rep().movsd()?)
    };
    copy(b, BIOS, BUFFER)?;
    b.jump_far(16, BUFFER, b.address("in-buffer"))?;
    b.name("in-buffer")?;
    b.mov(al, 0x30u32)?;
    b.out(dx, al)?;
    copy(b, BUFFER, BIOS)?;
    b.jump_far(16, BIOS, b.address("shadowed"))?;
    b.name("shadowed")?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    b.place(done)?;
    let address = b.address("shadow-starts");
    b.inc(word_ptr(address).cs())?;
    let address = b.address("shadow-starts");
    b.mov(ax, word_ptr(address).cs())?;
    b.test(ax, ax)?;
    b.je(inert)?;
    b.mov(word_ptr(0x506u32), ax)?;
    say(b, "shadow RAM at F0000, start ")?;
    say_word(b, 0x506)?;
    say(b, "\r\n")?;
    let out = b.create_label();
    b.jmp(out)?;
    b.place(inert)?;
    say(b, "PAM0 does nothing\r\n")?;
    b.jmp(out)?;
    b.place(absent)?;
    say(b, "no 82441FX host bridge\r\n")?;
    b.place(out)?;
    Ok(())
}

/// Vectors 0-7Fh ignore, 9 is the keyboard; both 8259As with only IRQ1 open. A local APIC masks the
/// 8259A's line until LINT0 is set to ExtINT, so that is done first, through "big real" mode.
fn interrupts(b: &mut Block) -> Built {
    let none = b.create_label();
    b.mov(eax, 1u32)?;
    b.cpuid()?;
    b.test(dx, 0x200u32)?;
    b.je(none)?;
    big_real(b)?;
    b.mov(esi, 0xfee0_00f0u32)?;
    b.mov(dword_ptr(esi), 0x1ffu32)?;
    b.mov(si, 0x350u32)?;
    b.mov(dword_ptr(esi), 0x700u32)?;
    b.place(none)?;
    b.xor(di, di)?;
    b.mov(cx, 0x80u32)?;
    b.mov(eax, u32::from(BIOS) << 16)?;
    let address = b.address("ignore");
    b.mov(ax, address)?;
    b.rep().stosd()?;
    let address = b.address("key");
    b.mov(ax, address)?;
    b.mov(dword_ptr(9 * 4u32), eax)?;
    for (port, value) in
        [(0x20, 0x11u32), (0xa0, 0x11), (0x21, 8), (0xa1, 0x70), (0x21, 4), (0xa1, 2), (0x21, 1), (0xa1, 1)]
    {
        b.mov(al, value)?;
        b.out(port, al)?;
    }
    b.mov(al, 0xfdu32)?;
    b.out(0x21, al)?;
    b.mov(al, 0xffu32)?;
    Ok(b.out(0xa1, al)?)
}

/// i8042: translation and IRQ1 on, keyboard enabled and scanning. Waits are bounded.
fn keyboard(b: &mut Block) -> Built {
    b.mov(byte_ptr(SHIFTS), 0u32)?;
    let (send_command, send_data, answer) =
        (b.target("kbc-command"), b.target("kbc-data"), b.target("kbc-answer"));
    let silent = b.create_label();
    b.mov(al, 0xadu32)?;
    b.call(send_command)?;
    // What an interrupted start left in the output buffer.
    b.call(answer)?;
    b.mov(al, 0xaau32)?;
    b.call(send_command)?;
    b.call(answer)?;
    b.cmp(al, 0x55)?;
    b.jne(silent)?;
    b.mov(al, 0x60u32)?;
    b.call(send_command)?;
    b.mov(al, 0x61u32)?;
    b.call(send_data)?;
    b.mov(al, 0xaeu32)?;
    b.call(send_command)?;
    b.mov(al, 0xf4u32)?;
    b.call(send_data)?;
    b.call(answer)?;
    b.cmp(al, 0xfa)?;
    b.jne(silent)?;
    say(b, "keyboard ready\r\n")?;
    let out = b.create_label();
    b.jmp(out)?;
    b.place(silent)?;
    say(b, "no keyboard\r\n")?;
    b.place(out)?;
    Ok(())
}

fn routines(b: &mut Block) -> Built {
    write_print(b)?;

    // AL to the controller's command port, to its data port.
    for (name, port) in [("kbc-command", 0x64u32), ("kbc-data", 0x60)] {
        b.name(name)?;
        b.mov(ah, al)?;
        b.mov(cx, 0x4000u32)?;
        let mut ready = b.create_label();
        let wait = b.here()?;
        b.in_(al, 0x64)?;
        b.test(al, 2u32)?;
        b.je(ready)?;
        b.loop_(wait)?;
        b.set_label(&mut ready)?;
        b.mov(al, ah)?;
        b.out(port as i32, al)?;
        b.ret()?;
    }

    // The controller's answer in AL, or 0.
    b.name("kbc-answer")?;
    b.mov(cx, 0x4000u32)?;
    let mut ready = b.create_label();
    let wait = b.here()?;
    b.in_(al, 0x64)?;
    b.test(al, 1u32)?;
    b.jne(ready)?;
    b.loop_(wait)?;
    b.xor(al, al)?;
    b.ret()?;
    b.set_label(&mut ready)?;
    b.in_(al, 0x60)?;
    Ok(b.ret()?)
}

fn handlers(b: &mut Block) -> Built {
    b.name("ignore")?;
    b.iret()?;

    // IRQ1: set 1 scan codes. Ctrl 1Dh, Alt 38h, Del 53h, Backspace 0Eh; breaks have bit 7.
    b.name("key")?;
    b.pusha()?;
    b.push(ds)?;
    b.xor(ax, ax)?;
    b.mov(ds, ax)?;
    b.in_(al, 0x60)?;
    let (shift, end) = (b.create_label(), b.create_label());
    for (code, bit) in [(0x1d, 1u32), (0x38, 2)] {
        let other = b.create_label();
        b.mov(bl, bit)?;
        b.mov(ah, al)?;
        b.and(ah, 0x7f)?;
        b.cmp(ah, code)?;
        b.jne(other)?;
        b.jmp(shift)?;
        b.place(other)?;
    }
    b.cmp(byte_ptr(SHIFTS), 3)?;
    b.jne(end)?;
    let (delete, backspace) = (b.create_label(), b.create_label());
    b.cmp(al, 0x53)?;
    b.je(delete)?;
    b.cmp(al, 0x0e)?;
    b.je(backspace)?;
    b.jmp(end)?;

    b.place(shift)?;
    let make = b.create_label();
    b.or(byte_ptr(SHIFTS), bl)?;
    b.test(al, 0x80u32)?;
    b.je(make)?;
    b.xor(byte_ptr(SHIFTS), bl)?;
    b.place(make)?;

    b.place(end)?;
    b.mov(al, 0x20u32)?;
    b.out(0x20, al)?;
    b.pop(ds)?;
    b.popa()?;
    b.iret()?;

    b.place(delete)?;
    say(b, "Ctrl+Alt+Del\r\n")?;
    b.mov(word_ptr(SOFT_RESET), 0x1234u32)?;
    b.jump_far(16, BIOS, 0xfff0)?;
    b.place(backspace)?;
    say(b, "Ctrl+Alt+Backspace\r\n")?;
    b.mov(al, 0xfeu32)?;
    b.out(0x64, al)?;
    let stop = b.here()?;
    b.hlt()?;
    b.jmp(stop)?;

    b.name("shadow-starts")?;
    b.dw(&[0])?;

    write_descriptors(b)
}
