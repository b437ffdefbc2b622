//! The reset code: what happens at F000:E05B, and how a POST that has run already is rebooted.

use iced_x86::code_asm::*;

use super::{
    Entry, Plan, Reboot, Shutdown,
    shadow::copy_image,
    words::{
        HIGH, HIGH_CODE, STACK, call, clear_bytes, halt, jump, jump_unless_equal, label, offset, out, say,
    },
};
use crate::assemble::{Block, Built};

/// CMOS register 0Fh, the shutdown status, with NMI off.
const SHUTDOWN_STATUS: u32 = 0x8f;
/// Where resuming software left an address (40:67).
const RESUME_AT: u32 = 0x467;
/// CD and NW in CR0: set by a hardware reset, cleared by any firmware.
const CACHES_OFF: u32 = 0x6000_0000;
const RESET_CONTROL: u32 = 0xcf9;
const KEYBOARD: i32 = 0x64;

/// The entry point, at E05B.
pub(super) fn write_entry(b: &mut Block, plan: &Plan) -> Built {
    b.name("entry_post")?;
    b.cli()?;
    b.cld()?;
    b.mov(eax, cr0)?;
    b.and(eax, !CACHES_OFF as i32)?;
    b.mov(cr0, eax)?;
    b.xor(ax, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, STACK)?;
    b.mov(ds, ax)?;
    b.mov(es, ax)?;
    match (plan.recipe.entry, plan.recipe.have_run_post) {
        (Entry::HaveRunPost | Entry::Bootblock, Some(at)) => {
            b.cmp(dword_ptr(offset(at)).cs(), 0)?;
            jump_unless_equal(b, "handle_resume")?;
        }
        _ => {
            read_shutdown_status(b)?;
            b.test(al, al)?;
            jump_unless_equal(b, "handle_resume")?;
        }
    }
    jump(b, "handle_post")
}

fn read_shutdown_status(b: &mut Block) -> Built {
    out(b, 0x70, SHUTDOWN_STATUS)?;
    Ok(b.in_(al, 0x71)?)
}

pub(super) fn write_routines(b: &mut Block, plan: &Plan) -> Built {
    if plan.recipe.entry == Entry::Bootblock {
        write_bootblock(b, plan)?;
    }
    write_resume(b, plan)?;
    write_reboot(b, plan)?;
    write_shutdown(b, plan)
}

/// What coreboot does: after a hardware reset the payload is loaded into RAM anew, variables zero.
fn write_bootblock(b: &mut Block, plan: &Plan) -> Built {
    b.name("bootblock")?;
    // RESET and INIT leave ESP 0 (SDM vol. 3A, table 9-1); software that jumps here has a stack.
    b.test(esp, esp)?;
    jump_unless_equal(b, "entry_post")?;
    b.cli()?;
    b.cld()?;
    b.mov(eax, cr0)?;
    b.and(eax, !CACHES_OFF as i32)?;
    b.mov(cr0, eax)?;
    b.xor(ax, ax)?;
    b.mov(ss, ax)?;
    b.mov(sp, STACK)?;
    // "enter_flat" returns in the copy at F0000; the loader must run in the one below 4 GiB.
    call(b, "enter_flat")?;
    let far = b.address("load_payload");
    b.call_far_16(HIGH_CODE, far)?;
    call(b, "leave_flat")?;
    jump(b, "entry_post")?;

    b.name("load_payload")?;
    let absent = label(b);
    call(b, "find_bridge")?;
    b.jc(absent)?;
    call(b, "unlock")?;
    if !plan.disabled.copy {
        copy_image(b, plan.recipe.shadow_from, 0x10_0000)?;
    }
    b.place(absent)?;
    if !plan.disabled.copy {
        for variable in plan.recipe.variables {
            clear_bytes(b, variable)?;
        }
    }
    Ok(b.retf()?)
}

fn write_resume(b: &mut Block, plan: &Plan) -> Built {
    b.name("handle_resume")?;
    read_shutdown_status(b)?;
    b.movzx(ebx, al)?;
    out(b, 0x70, SHUTDOWN_STATUS)?;
    out(b, 0x71, 0)?;
    say(b, "In resume (status=")?;
    b.mov(eax, ebx)?;
    call(b, "print_decimal")?;
    say(b, ")\n")?;
    // 05h and 0Ah: software that left protected mode by a reset goes on at 40:67.
    let (go_on, acknowledge, other) = (label(b), label(b), label(b));
    b.cmp(bl, 5)?;
    b.je(acknowledge)?;
    b.cmp(bl, 10)?;
    b.je(go_on)?;
    b.jmp(other)?;
    b.place(acknowledge)?;
    out(b, 0xa0, 0x20)?;
    out(b, 0x20, 0x20)?;
    b.place(go_on)?;
    b.jmp(dword_ptr(RESUME_AT))?;
    b.place(other)?;
    match plan.recipe.reboot {
        Reboot::CopyIfPristine | Reboot::Hard => say(b, "In 32bit resume\n")?,
        Reboot::Rerun | Reboot::CopyOnce | Reboot::CopyAndCount => {}
    }
    // FEh: suspended to RAM. These ROMs write no ACPI tables, so nobody can have left a vector.
    let awake = label(b);
    b.cmp(bl, 0xfe)?;
    b.jne(awake)?;
    say(b, "No resume vector set!\n")?;
    b.place(awake)?;
    match plan.recipe.entry {
        Entry::Cmos => jump(b, "handle_post"),
        Entry::HaveRunPost | Entry::Bootblock => jump(b, "reboot"),
    }
}

fn write_reboot(b: &mut Block, plan: &Plan) -> Built {
    if plan.recipe.reboot == Reboot::Rerun {
        return Ok(());
    }
    b.name("reboot")?;
    call(b, "enter_flat")?;
    let flag = plan.recipe.have_run_post.unwrap_or_default();
    match plan.recipe.reboot {
        Reboot::Rerun => {}
        Reboot::CopyOnce => {
            say(b, "Attempting a hard reboot\n")?;
            call(b, "make_bios_writable")?;
            copy_whole(b, plan)?;
            b.mov(esi, flag)?;
            b.cmp(dword_ptr(esi), 0)?;
            jump_unless_equal(b, "shut_down")?;
        }
        Reboot::CopyAndCount => {
            let attempted = plan.recipe.have_attempted_reboot.unwrap_or_default();
            b.mov(esi, attempted)?;
            b.cmp(byte_ptr(esi), 0)?;
            jump_unless_equal(b, "give_up")?;
            b.mov(byte_ptr(esi), 1u32)?;
            say(b, "Attempting a hard reboot\n")?;
            call(b, "make_bios_writable")?;
            copy_whole(b, plan)?;
        }
        Reboot::CopyIfPristine => copy_if_pristine(b, plan, flag)?,
        Reboot::Hard => say(b, "Attempting a hard reboot\n")?,
    }
    if plan.recipe.reboot != Reboot::CopyIfPristine {
        reset_by_keyboard(b)?;
    }
    b.mov(dx, RESET_CONTROL)?;
    for value in [2u32, 6] {
        b.mov(al, value)?;
        b.out(dx, al)?;
    }
    // The IDT is empty: a triple fault.
    b.int3()?;
    halt(b)
}

fn copy_whole(b: &mut Block, plan: &Plan) -> Built {
    if plan.disabled.copy { Ok(()) } else { copy_image(b, plan.recipe.shadow_from, 0x10_0000) }
}

fn copy_if_pristine(b: &mut Block, plan: &Plan, flag: u32) -> Built {
    say(b, "Attempting a hard reboot\n")?;
    let (pristine, reset) = (label(b), label(b));
    b.mov(esi, flag.wrapping_add(HIGH))?;
    b.cmp(dword_ptr(esi), 0)?;
    b.je(pristine)?;
    b.mov(esi, flag)?;
    b.cmp(dword_ptr(esi), 3)?;
    let again = label(b);
    b.jne(again)?;
    jump(b, "give_up")?;
    b.place(again)?;
    call(b, "make_bios_writable")?;
    b.mov(esi, flag)?;
    b.mov(dword_ptr(esi), 3u32)?;
    b.jmp(reset)?;
    b.place(pristine)?;
    call(b, "make_bios_writable")?;
    if !plan.disabled.copy {
        copy_image(b, plan.recipe.shadow_from, flag)?;
        copy_image(b, flag + 4, 0x10_0000)?;
        b.mov(esi, flag)?;
        b.mov(dword_ptr(esi), 0u32)?;
    }
    b.place(reset)?;
    Ok(())
}

/// The 8042's output port, bit 0 pulsed low, up to ten times.
fn reset_by_keyboard(b: &mut Block) -> Built {
    b.mov(si, 10u32)?;
    let again = b.here()?;
    b.mov(cx, 50u32)?;
    call(b, "delay")?;
    out(b, KEYBOARD, 0xfe)?;
    b.dec(si)?;
    Ok(b.jne(again)?)
}

fn write_shutdown(b: &mut Block, plan: &Plan) -> Built {
    b.name("give_up")?;
    say(b, "Unable to hard-reboot machine - attempting shutdown.\n")?;
    b.name("shut_down")?;
    match plan.recipe.shutdown {
        Shutdown::None => {}
        Shutdown::Port8900 => {
            b.mov(dx, 0x8900u32)?;
            for character in b"Shutdown" {
                b.mov(al, u32::from(*character))?;
                b.out(dx, al)?;
            }
        }
        Shutdown::Pm1aControl => {
            let unknown = label(b);
            b.mov(dx, word_ptr(offset(plan.recipe.lists.pm1a_control)).cs())?;
            b.test(dx, dx)?;
            b.je(unknown)?;
            b.mov(ax, 0x2000u32)?;
            b.out(dx, ax)?;
            b.place(unknown)?;
        }
    }
    b.name("halted")?;
    halt(b)
}
