//! Power-on self test: the board's chips, the BIOS data area, the keyboard, then the disks.

use iced_x86::code_asm::*;

use super::{
    Plan, Reboot, pci,
    words::{SEGMENT, call, clear, clear_bytes, jump_unless_equal, label, offset, out, say},
};
use crate::assemble::{Block, Built};

/// Conventional memory in KiB: the extended BIOS data area takes the last four of 640.
const BASE_MEMORY_KB: u32 = 636;
/// The extended BIOS data area's segment and linear address; [`super::ahci`] uses the end of it.
const EBDA_SEGMENT: u32 = 0x9f00;
const EBDA: u32 = 0x9_f000;

/// BIOS data area (IBM PC/AT Technical Reference, section 5), in segment 0.
pub(super) mod bda {
    pub const START: u32 = 0x400;
    pub const COM1: u32 = 0x400;
    pub const EBDA: u32 = 0x40e;
    pub const MEMORY_KB: u32 = 0x413;
    pub const SHIFTS: u32 = 0x417;
    pub const KEYS_HEAD: u32 = 0x41a;
    pub const KEYS_TAIL: u32 = 0x41c;
    pub const KEYS: u32 = 0x1e;
    pub const KEYS_END: u32 = 0x3e;
    pub const TICKS: u32 = 0x46c;
    pub const SOFT_RESET: u32 = 0x472;
    pub const HARD_DISKS: u32 = 0x475;
}

/// Interrupts that have a routine; the others return at once.
const VECTORS: [(u32, &str); 11] = [
    (0x08, "irq0_timer"),
    (0x09, "irq1_keyboard"),
    (0x11, "int_11"),
    (0x12, "int_12"),
    (0x13, "int_13"),
    (0x15, "int_15"),
    (0x16, "int_16"),
    (0x18, "int_18"),
    (0x19, "int_19"),
    (0x1a, "int_1a"),
    (0x1c, "int_ignored"),
];

const COM1: u32 = 0x3f8;

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    let recipe = plan.recipe;
    b.name("handle_post")?;
    // A20, which a restart without a reset may find off.
    b.in_(al, 0x92)?;
    b.or(al, 2)?;
    b.and(al, 0xfe_u32 as i32)?;
    b.out(0x92, al)?;
    say(b, recipe.banner)?;
    say(b, "\n")?;
    if let (Reboot::CopyOnce, Some(flag)) = (recipe.reboot, recipe.have_run_post) {
        b.cmp(dword_ptr(offset(flag)).cs(), 0)?;
        jump_unless_equal(b, "reboot")?;
    }
    call(b, "enter_flat")?;
    if recipe.reboot != Reboot::Hard {
        call(b, "make_bios_writable")?;
    }
    note_run(b, plan, 1)?;
    clear_variables(b, plan)?;
    call(b, "leave_flat")?;
    call(b, "set_up_vectors")?;
    call(b, "set_up_interrupts")?;
    call(b, "set_up_power_management")?;
    call(b, "set_up_keyboard")?;
    call(b, "find_disks")?;
    if let Some(value) = recipe.ready_to_boot {
        call(b, "enter_flat")?;
        note_run(b, plan, value)?;
        call(b, "leave_flat")?;
    }
    if recipe.reboot != Reboot::Hard {
        call(b, "make_bios_readonly")?;
    }
    b.int(0x19u32)?;
    write_set_up(b, plan)?;
    write_keyboard(b)
}

/// HaveRunPost, in protected mode.
fn note_run(b: &mut Block, plan: &Plan, value: u8) -> Built {
    let Some(at) = plan.recipe.have_run_post.filter(|_| !plan.disabled.have_run_post) else { return Ok(()) };
    b.mov(esi, at)?;
    Ok(b.mov(dword_ptr(esi), u32::from(value))?)
}

/// What this generation forgets at every POST, and the heap. Where the image cannot be written there
/// is no heap either, as its owners find when nothing can be allocated.
fn clear_variables(b: &mut Block, plan: &Plan) -> Built {
    for variable in plan.recipe.variables.iter().filter(|variable| variable.cleared) {
        clear_bytes(b, variable)?;
    }
    let writable = label(b);
    b.mov(esi, plan.recipe.lists.heap)?;
    b.mov(byte_ptr(esi), 1u32)?;
    b.cmp(byte_ptr(esi), 1)?;
    b.mov(byte_ptr(esi), 0u32)?;
    b.je(writable)?;
    say(b, "WARNING - Unable to allocate resource at addSpace!\n")?;
    b.place(writable)?;
    Ok(())
}

fn write_set_up(b: &mut Block, plan: &Plan) -> Built {
    b.name("set_up_vectors")?;
    call(b, "big_real")?;
    b.xor(edi, edi)?;
    b.mov(cx, 0x100u32)?;
    let ignored = b.address("int_ignored");
    b.mov(eax, SEGMENT << 12 | ignored)?;
    b.rep().stosd()?;
    for (vector, name) in VECTORS {
        let address = b.address(name);
        b.mov(word_ptr(vector * 4), address)?;
    }
    // The data areas.
    b.mov(edi, bda::START)?;
    clear(b, 0x40)?;
    b.mov(edi, EBDA)?;
    clear(b, 0x400)?;
    b.mov(edi, EBDA)?;
    b.mov(byte_ptr(edi), 4u32)?;
    b.mov(word_ptr(bda::EBDA), EBDA_SEGMENT)?;
    b.mov(word_ptr(bda::MEMORY_KB), BASE_MEMORY_KB)?;
    b.mov(word_ptr(bda::KEYS_HEAD), bda::KEYS)?;
    b.mov(word_ptr(bda::KEYS_TAIL), bda::KEYS)?;
    // COM1, if its interrupt enable register holds what is written.
    let absent = label(b);
    b.mov(dx, COM1 + 1)?;
    for value in [2u32, 0] {
        b.mov(al, value)?;
        b.out(dx, al)?;
        b.in_(al, dx)?;
        b.cmp(al, value as i32)?;
        b.jne(absent)?;
    }
    b.mov(word_ptr(bda::COM1), COM1)?;
    b.place(absent)?;
    b.ret()?;

    write_interrupts(b)?;
    write_power_management(b, plan)
}

/// Both 8259As with the timer, the keyboard and the cascade open; the 8254's channel 0 at 18.2 Hz; a
/// local APIC, where there is one, lets the 8259A through (LINT0 as ExtINT; SDM vol. 3A, 11.5.1).
fn write_interrupts(b: &mut Block) -> Built {
    b.name("set_up_interrupts")?;
    let none = label(b);
    b.mov(eax, 1u32)?;
    b.cpuid()?;
    b.test(dx, 0x200u32)?;
    b.je(none)?;
    b.mov(esi, 0xfee0_00f0u32)?;
    b.mov(dword_ptr(esi), 0x1ffu32)?;
    b.mov(esi, 0xfee0_0350u32)?;
    b.mov(dword_ptr(esi), 0x700u32)?;
    b.place(none)?;
    let words = [(0x20, 0x11u32), (0xa0, 0x11), (0x21, 8), (0xa1, 0x70), (0x21, 4), (0xa1, 2)];
    let masks = [(0x21, 1u32), (0xa1, 1), (0x21, 0xf8), (0xa1, 0xff)];
    let timer = [(0x43, 0x34u32), (0x40, 0), (0x40, 0)];
    for (port, value) in words.into_iter().chain(masks).chain(timer) {
        out(b, port, value)?;
    }
    Ok(b.ret()?)
}

/// The PIIX4's function 3 (290562-001, 7.2) or the ICH9's LPC bridge (316972-004, 13.1): PMBASE, and
/// the bit that enables it. PM1a_CNT is four above.
fn write_power_management(b: &mut Block, plan: &Plan) -> Built {
    let recipe = plan.recipe;
    b.name("set_up_power_management")?;
    for (id, enable, bit) in [(0x7113_8086u32, 0x80, 1), (0x2918_8086, 0x44, 0x80)] {
        let (found, absent) = (label(b), label(b));
        pci::find(b, pci::ID, 0xffff_ffff, id)?;
        b.jnc(found)?;
        b.jmp(absent)?;
        b.place(found)?;
        b.mov(ecx, u32::from(recipe.pm_base) | 1)?;
        pci::write(b, 0x40)?;
        pci::read(b, enable)?;
        b.or(eax, bit)?;
        b.mov(ecx, eax)?;
        pci::write(b, enable)?;
        b.mov(word_ptr(offset(recipe.lists.pm1a_control)).cs(), u32::from(recipe.pm_base) + 4)?;
        b.place(absent)?;
    }
    Ok(b.ret()?)
}

/// 8042: self test, translation and IRQ1 on, keyboard scanning. Waits are bounded; without a keyboard
/// POST goes on.
fn write_keyboard(b: &mut Block) -> Built {
    b.name("set_up_keyboard")?;
    let end = label(b);
    out_when_ready(b, 0x64, 0xad)?;
    // What an interrupted start or held keys left in the output buffer.
    b.mov(si, 20u32)?;
    let drain = b.here()?;
    call(b, "keyboard_answer")?;
    b.test(al, al)?;
    let empty = label(b);
    b.je(empty)?;
    b.dec(si)?;
    b.jne(drain)?;
    b.place(empty)?;
    out_when_ready(b, 0x64, 0xaa)?;
    call(b, "keyboard_answer")?;
    b.cmp(al, 0x55)?;
    b.jne(end)?;
    for (port, value) in [(0x64, 0x60), (0x60, 0x61), (0x64, 0xae), (0x60, 0xf4)] {
        out_when_ready(b, port, value)?;
    }
    b.place(end)?;
    b.ret()?;

    // The controller's answer in AL, or 0. Changes CX.
    b.name("keyboard_answer")?;
    b.mov(cx, 0x200u32)?;
    let ready = label(b);
    let wait = b.here()?;
    b.in_(al, 0x64)?;
    b.test(al, 1u32)?;
    b.jne(ready)?;
    b.loop_(wait)?;
    b.xor(al, al)?;
    b.ret()?;
    b.place(ready)?;
    b.in_(al, 0x60)?;
    b.ret()?;

    // Waits until the controller takes a byte. Changes AX, CX.
    b.name("keyboard_ready")?;
    b.mov(cx, 0x4000u32)?;
    let ready = label(b);
    let wait = b.here()?;
    b.in_(al, 0x64)?;
    b.test(al, 2u32)?;
    b.je(ready)?;
    b.loop_(wait)?;
    b.place(ready)?;
    Ok(b.ret()?)
}

fn out_when_ready(b: &mut Block, port: i32, value: u32) -> Built {
    call(b, "keyboard_ready")?;
    out(b, port, value)
}
