//! Shadow RAM: what makes the image writable, locks it, and copies it from below 4 GiB.
//!
//! Whether the image already is in RAM is told by PAM0's read-enable bit and nothing else. Without
//! RAM behind F0000 the code runs in the copy below 4 GiB while PAM changes.

use iced_x86::code_asm::*;

use super::{
    Bridge, Pam, PamDword, Plan, Reboot, pci,
    words::{HIGH, HIGH_CODE, call, clear, copy, jump, label, say},
};
use crate::assemble::{Block, Built};

/// Where the byte-wise way keeps 32 KiB while PAM changes.
const KEPT_AT: u32 = 0x3_0000;
/// Each of PAM1-PAM6 rules 32 KiB from C0000.
const PIECE: u32 = 0x8000;
const PIECES: i32 = 6;
/// One past the image.
const END: u32 = 0x10_0000;

pub(super) fn write_routines(b: &mut Block, plan: &Plan) -> Built {
    write_find(b, plan)?;
    write_unlock(b, plan)?;
    write_lock(b, plan)
}

/// BL = PAM0 of the host bridge; CF if it is none of ours. Changes EAX, DX.
fn write_find(b: &mut Block, plan: &Plan) -> Built {
    b.name("find_bridge")?;
    b.mov(ebx, 0x8000_0000u32)?;
    pci::read(b, pci::ID as i32)?;
    for bridge in plan.recipe.bridges {
        let other = label(b);
        b.cmp(eax, bridge.id as i32)?;
        b.jne(other)?;
        b.mov(bl, u32::from(bridge.pam0))?;
        b.clc()?;
        b.ret()?;
        b.place(other)?;
    }
    b.stc()?;
    Ok(b.ret()?)
}

fn write_unlock(b: &mut Block, plan: &Plan) -> Built {
    // In protected mode. Changes everything.
    b.name("make_bios_writable")?;
    call(b, "find_bridge")?;
    let (none, present) = (label(b), label(b));
    b.jc(none)?;
    b.mov(al, bl)?;
    call(b, "bridge_read")?;
    b.test(al, 0x10u32)?;
    b.jne(present)?;
    let far = b.address("unlock_far");
    b.call_far_16(HIGH_CODE, far)?;
    b.ret()?;
    b.place(present)?;
    jump(b, "unlock")?;
    b.place(none)?;
    if plan.recipe.reboot != Reboot::Hard {
        say(b, "Unable to unlock ram - bridge not found\n")?;
    }
    b.ret()?;

    b.name("unlock_far")?;
    call(b, "unlock")?;
    b.retf()?;

    // BL = PAM0.
    b.name("unlock")?;
    match plan.recipe.pam {
        Pam::Bytes => unlock_bytes(b)?,
        Pam::Dwords => unlock_dwords(b, plan.recipe.bridges)?,
    }
    let present = label(b);
    b.test(bh, 0x10u32)?;
    b.jne(present)?;
    let copies = match plan.recipe.reboot {
        Reboot::Rerun => !plan.disabled.copy,
        Reboot::Hard => false, // the bootblock does
        Reboot::CopyOnce | Reboot::CopyAndCount | Reboot::CopyIfPristine => true,
    };
    if copies {
        copy_image(b, plan.recipe.shadow_from, END)?;
    }
    b.place(present)?;
    Ok(b.ret()?)
}

/// Copies a range of the image from below 4 GiB. Changes ECX, ESI, EDI.
pub(super) fn copy_image(b: &mut Block, from: u32, to: u32) -> Built {
    b.mov(esi, from.wrapping_add(HIGH))?;
    b.mov(edi, from)?;
    copy(b, (to - from) / 4)
}

/// One PAM register after the other; leaves PAM0's old value in BH.
fn unlock_bytes(b: &mut Block) -> Built {
    let (next, plain, done, whole) = (label(b), label(b), label(b), label(b));
    // CH: whether 30000h was used. BP counts.
    b.xor(bp, bp)?;
    b.xor(bh, bh)?;
    b.place(next)?;
    b.lea(ax, bp + 1)?;
    b.add(al, bl)?;
    call(b, "bridge_read")?;
    b.and(al, 0x11)?;
    b.cmp(al, 0x11)?;
    b.je(plain)?;
    b.movzx(esi, bp)?;
    b.shl(esi, 15u32)?;
    b.add(esi, 0xc_0000)?;
    b.push(esi)?;
    b.mov(edi, KEPT_AT)?;
    copy(b, PIECE / 4)?;
    set_pam_writable(b)?;
    b.pop(edi)?;
    b.mov(esi, KEPT_AT)?;
    copy(b, PIECE / 4)?;
    b.mov(bh, 1u32)?;
    b.jmp(done)?;
    b.place(plain)?;
    set_pam_writable(b)?;
    b.place(done)?;
    b.inc(bp)?;
    b.cmp(bp, PIECES)?;
    b.jb(next)?;
    b.test(bh, bh)?;
    b.je(whole)?;
    b.mov(edi, KEPT_AT)?;
    clear(b, PIECE / 4)?;
    b.place(whole)?;
    b.mov(al, bl)?;
    call(b, "bridge_read")?;
    b.mov(bh, al)?;
    b.mov(al, bl)?;
    b.mov(ah, 0x30u32)?;
    call(b, "bridge_write")
}

fn set_pam_writable(b: &mut Block) -> Built {
    b.lea(ax, bp + 1)?;
    b.add(al, bl)?;
    b.mov(ah, 0x33u32)?;
    call(b, "bridge_write")
}

/// Two dwords; leaves PAM0's old value in BH.
fn unlock_dwords(b: &mut Block, bridges: &[Bridge]) -> Built {
    let done = label(b);
    b.mov(al, bl)?;
    call(b, "bridge_read")?;
    b.mov(bh, al)?;
    for bridge in bridges {
        let other = label(b);
        b.cmp(bl, i32::from(bridge.pam0))?;
        b.jne(other)?;
        write_dwords(b, bridge, |dword| dword.unlocked)?;
        b.jmp(done)?;
        b.place(other)?;
    }
    b.place(done)?;
    Ok(())
}

/// Both dwords of a bridge's PAM registers. Changes EAX, ECX, DX.
fn write_dwords(b: &mut Block, bridge: &Bridge, value: fn(&PamDword) -> u32) -> Built {
    b.push(ebx)?;
    b.mov(ebx, 0x8000_0000u32)?;
    for (dword, at) in bridge.dwords.iter().zip([bridge.pam0 & 0xfc, (bridge.pam0 & 0xfc) + 4]) {
        pci::read(b, i32::from(at))?;
        b.mov(ecx, eax)?;
        b.and(ecx, dword.keep as i32)?;
        b.or(ecx, value(dword) as i32)?;
        pci::write(b, i32::from(at))?;
    }
    Ok(b.pop(ebx)?)
}

fn write_lock(b: &mut Block, plan: &Plan) -> Built {
    // Changes everything.
    b.name("make_bios_readonly")?;
    let none = label(b);
    call(b, "find_bridge")?;
    b.jc(none)?;
    b.wbinvd()?;
    match plan.recipe.pam {
        // No option ROM: only C4000 and up stay writable, and the F-segment is locked.
        Pam::Bytes => {
            for (register, value) in [(1, 0x31u32), (0, 0x10)] {
                b.mov(al, bl)?;
                b.add(al, register)?;
                b.mov(ah, value)?;
                call(b, "bridge_write")?;
            }
        }
        Pam::Dwords => {
            for bridge in plan.recipe.bridges {
                let other = label(b);
                b.cmp(bl, i32::from(bridge.pam0))?;
                b.jne(other)?;
                write_dwords(b, bridge, |dword| dword.locked)?;
                b.place(other)?;
            }
        }
    }
    b.ret()?;
    b.place(none)?;
    say(b, "Unable to lock ram - bridge not found\n")?;
    Ok(b.ret()?)
}
