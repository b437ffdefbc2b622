//! AHCI disks (Serial ATA AHCI 1.3.1, chapters 3, 4 and 10): one command at a time, in slot 0, polled.
//!
//! All ports share one command list, in the extended BIOS data area: only one is ever busy.

use iced_x86::code_asm::*;

use super::{
    Plan,
    disks::{IDENTIFY, add_disk, kind, name_disk},
    pci,
    post::bda,
    words::{call, label, offset, say},
};
use crate::assemble::{Block, Built};

/// In the extended BIOS data area: command list (1 KiB), received FIS (256 bytes), command table.
const COMMAND_LIST: u32 = 0x9_f400;
const RECEIVED: u32 = 0x9_f800;
const COMMAND_TABLE: u32 = 0x9_f900;
/// From a command table to its first physical region descriptor.
const REGIONS: i32 = 0x80;

/// PCI base address 5, and where it is put if nobody has.
const ABAR: i32 = 0x24;
const ABAR_DEFAULT: u32 = 0xfebf_0000;

/// Global registers: control with AE, ports implemented; ports from 100h, 80h bytes each.
const GLOBAL_CONTROL: i32 = 0x04;
const AHCI_ENABLE: u32 = 1 << 31;
const PORTS_IMPLEMENTED: i32 = 0x0c;
const PORTS: i32 = 0x100;
const PORT_SIZE: i32 = 0x80;

/// Registers of a port.
const LIST_BASE: i32 = 0x00;
const FIS_BASE: i32 = 0x08;
const INTERRUPTS: i32 = 0x10;
const INTERRUPT_ENABLE: i32 = 0x14;
const COMMAND: i32 = 0x18;
const TASK_FILE: i32 = 0x20;
const SIGNATURE: i32 = 0x24;
const SATA_STATUS: i32 = 0x28;
const SATA_ERROR: i32 = 0x30;
const ISSUE: i32 = 0x38;

/// PxCMD: start, FIS receive, and that they run.
const START: i32 = 0x01;
const RECEIVE: i32 = 0x10;
const RUNNING: u32 = 0xc000;
/// Signatures of disks and of packet devices.
const DISK: i32 = 0x0101;
const PACKET: u32 = 0xeb14_0101;

const IDENTIFY_DEVICE: u32 = 0xec;
const IDENTIFY_PACKET_DEVICE: u32 = 0xa1;
const READ_DMA_EXT: u32 = 0x25;
/// How long a command may take: 32 seconds in ticks of the timer.
const TIMEOUT_TICKS: i32 = 583;

/// The probe's own variables, in segment 0: ports left, a bit each, and the number of this one.
const PORTS_LEFT: u32 = 0x508;
const PORT: u32 = 0x50c;

pub(super) fn write(b: &mut Block, plan: &Plan) -> Built {
    write_find(b)?;
    write_port(b, plan)?;
    write_command(b)?;

    // CX sectors from EBX of the drive at CS:SI to ES:DI; CF if that failed. Changes everything else.
    b.name("ahci_read")?;
    b.mov(ax, es)?;
    b.movzx(eax, ax)?;
    b.shl(eax, 4u32)?;
    b.movzx(edi, di)?;
    b.add(edi, eax)?;
    b.push(ebp)?;
    b.mov(ebp, dword_ptr(si + kind::REGISTERS).cs())?;
    call(b, "big_real")?;
    b.mov(al, READ_DMA_EXT)?;
    call(b, "ahci_command")?;
    b.pop(ebp)?;
    Ok(b.ret()?)
}

fn write_find(b: &mut Block) -> Built {
    let (found, mapped, next, skip, end) = (label(b), label(b), label(b), label(b), label(b));
    b.name("find_ahci")?;
    pci::find(b, pci::CLASS, 0xffff_ff00, 0x0106_0100)?;
    b.jnc(found)?;
    b.ret()?;
    b.place(found)?;
    pci::read(b, ABAR)?;
    b.and(eax, 0xffff_fff0_u32 as i32)?;
    b.jne(mapped)?;
    b.mov(ecx, ABAR_DEFAULT)?;
    pci::write(b, ABAR)?;
    b.mov(eax, ecx)?;
    b.place(mapped)?;
    b.mov(ebp, eax)?;
    pci::read(b, pci::COMMAND)?;
    b.or(eax, 6)?;
    b.mov(ecx, eax)?;
    pci::write(b, pci::COMMAND)?;
    call(b, "big_real")?;
    b.mov(esi, ebp)?;
    b.or(dword_ptr(esi + GLOBAL_CONTROL), AHCI_ENABLE as i32)?;
    b.mov(eax, dword_ptr(esi + PORTS_IMPLEMENTED))?;
    b.mov(dword_ptr(PORTS_LEFT), eax)?;
    b.mov(byte_ptr(PORT), 0u32)?;
    b.add(ebp, PORTS)?;
    b.place(next)?;
    b.cmp(dword_ptr(PORTS_LEFT), 0)?;
    b.je(end)?;
    b.shr(dword_ptr(PORTS_LEFT), 1u32)?;
    b.jnc(skip)?;
    call(b, "ahci_port")?;
    b.place(skip)?;
    b.add(ebp, PORT_SIZE)?;
    b.inc(byte_ptr(PORT))?;
    b.jmp(next)?;
    b.place(end)?;
    Ok(b.ret()?)
}

/// The port whose registers are at EBP. EBP stays.
fn write_port(b: &mut Block, plan: &Plan) -> Built {
    let (none, stopped, ready, other, end) = (label(b), label(b), label(b), label(b), label(b));
    b.name("ahci_port")?;
    b.mov(esi, ebp)?;
    // A device, and its link up.
    b.mov(eax, dword_ptr(esi + SATA_STATUS))?;
    b.and(al, 0x0f)?;
    b.cmp(al, 3)?;
    b.jne(none)?;
    b.and(dword_ptr(esi + COMMAND), !(START | RECEIVE))?;
    b.mov(cx, 1000u32)?;
    let stop = b.here()?;
    b.test(dword_ptr(esi + COMMAND), RUNNING)?;
    b.je(stopped)?;
    b.in_(al, 0x80)?;
    b.loop_(stop)?;
    b.place(stopped)?;
    for (register, value) in [
        (LIST_BASE, COMMAND_LIST),
        (LIST_BASE + 4, 0),
        (FIS_BASE, RECEIVED),
        (FIS_BASE + 4, 0),
        (INTERRUPT_ENABLE, 0),
        (SATA_ERROR, u32::MAX),
        (INTERRUPTS, u32::MAX),
    ] {
        b.mov(dword_ptr(esi + register), value)?;
    }
    b.or(dword_ptr(esi + COMMAND), RECEIVE)?;
    b.mov(cx, 0xffffu32)?;
    let wait = b.here()?;
    b.test(dword_ptr(esi + TASK_FILE), 0x88u32)?;
    b.je(ready)?;
    b.in_(al, 0x80)?;
    b.loop_(wait)?;
    b.place(ready)?;
    b.or(dword_ptr(esi + COMMAND), START)?;
    b.cmp(dword_ptr(esi + SIGNATURE), DISK)?;
    b.jne(other)?;
    b.mov(al, IDENTIFY_DEVICE)?;
    identify(b)?;
    b.jc(none)?;
    name(b)?;
    name_disk(b)?;
    b.push(ebp)?;
    b.xor(dx, dx)?;
    add_disk(b, kind::AHCI)?;
    b.pop(ebp)?;
    b.jmp(end)?;
    b.place(other)?;
    b.cmp(dword_ptr(esi + SIGNATURE), PACKET as i32)?;
    b.jne(none)?;
    b.mov(al, IDENTIFY_PACKET_DEVICE)?;
    identify(b)?;
    b.jc(none)?;
    name(b)?;
    call(b, "print_model")?;
    say(b, " ATAPI-")?;
    call(b, "print_version")?;
    say(b, " DVD/CD\n")?;
    b.inc(byte_ptr(offset(plan.recipe.lists.cd_count)).cs())?;
    b.place(none)?;
    b.place(end)?;
    Ok(b.ret()?)
}

/// The command AL, whose answer is 512 bytes for [`IDENTIFY`].
fn identify(b: &mut Block) -> Built {
    b.xor(ebx, ebx)?;
    b.mov(cx, 1u32)?;
    b.mov(edi, IDENTIFY)?;
    call(b, "ahci_command")
}

/// "AHCI/0: ".
fn name(b: &mut Block) -> Built {
    say(b, "AHCI/")?;
    b.movzx(eax, byte_ptr(PORT))?;
    call(b, "print_decimal")?;
    say(b, ": ")
}

/// Command AL for CX sectors at EBX, whose data go to the linear address EDI, on the port at EBP. DS
/// must reach 4 GiB. CF if it failed. Changes EAX, ESI.
fn write_command(b: &mut Block) -> Built {
    let (wait, done, failed) = (label(b), label(b), label(b));
    b.name("ahci_command")?;
    // Register host-to-device FIS (Serial ATA 3.0, 10.3.4): LBA addressing.
    b.mov(esi, COMMAND_TABLE)?;
    b.movzx(eax, al)?;
    b.shl(eax, 16u32)?;
    b.or(eax, 0x8027)?;
    b.mov(dword_ptr(esi), eax)?;
    b.mov(eax, ebx)?;
    b.and(eax, 0x00ff_ffff)?;
    b.or(eax, 0x4000_0000)?;
    b.mov(dword_ptr(esi + 4), eax)?;
    b.mov(eax, ebx)?;
    b.shr(eax, 24u32)?;
    b.mov(dword_ptr(esi + 8), eax)?;
    b.movzx(eax, cx)?;
    b.mov(dword_ptr(esi + 12), eax)?;
    b.mov(dword_ptr(esi + 16), 0u32)?;
    b.mov(dword_ptr(esi + REGIONS), edi)?;
    b.mov(dword_ptr(esi + (REGIONS + 4)), 0u32)?;
    b.mov(dword_ptr(esi + (REGIONS + 8)), 0u32)?;
    b.shl(eax, 9u32)?;
    b.dec(eax)?;
    b.mov(dword_ptr(esi + (REGIONS + 12)), eax)?;
    // Command header: a FIS of five dwords, one region.
    b.mov(esi, COMMAND_LIST)?;
    for (at, value) in [(0, 0x0001_0005u32), (4, 0), (8, COMMAND_TABLE), (12, 0)] {
        b.mov(dword_ptr(esi + at), value)?;
    }
    b.mov(esi, ebp)?;
    b.mov(dword_ptr(esi + INTERRUPTS), u32::MAX)?;
    b.mov(dword_ptr(esi + ISSUE), 1u32)?;
    b.push(edx)?;
    b.mov(edx, dword_ptr(bda::TICKS))?;
    b.place(wait)?;
    b.test(dword_ptr(esi + ISSUE), 1u32)?;
    b.je(done)?;
    b.test(dword_ptr(esi + TASK_FILE), 1u32)?;
    b.jne(failed)?;
    call(b, "yield")?;
    b.mov(eax, dword_ptr(bda::TICKS))?;
    b.sub(eax, edx)?;
    b.cmp(eax, TIMEOUT_TICKS)?;
    b.jb(wait)?;
    b.place(failed)?;
    b.stc()?;
    b.pop(edx)?;
    b.ret()?;
    b.place(done)?;
    // ERR or DF.
    b.test(dword_ptr(esi + TASK_FILE), 0x21u32)?;
    b.jne(failed)?;
    b.pop(edx)?;
    Ok(b.ret()?)
}
