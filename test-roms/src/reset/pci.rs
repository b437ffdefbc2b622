//! PCI configuration mechanism 1 (PCI Local Bus Specification 2.2, 3.2.2.3.2).

use iced_x86::code_asm::*;

use super::words::label;
use crate::assemble::{Block, Built};

const ADDRESS: u32 = 0xcf8;
const DATA: u32 = 0xcfc;

/// Registers of every function.
pub(super) const ID: u32 = 0x00;
pub(super) const CLASS: u32 = 0x08;
/// I/O, memory and bus master.
pub(super) const COMMAND: i32 = 0x04;

/// EAX from the dword register at `at` of the function EBX. Changes DX.
pub(super) fn read(b: &mut Block, at: i32) -> Built {
    address(b, at)?;
    Ok(b.in_(eax, dx)?)
}

/// ECX to the dword register at `at` of the function EBX. Changes EAX, DX.
pub(super) fn write(b: &mut Block, at: i32) -> Built {
    address(b, at)?;
    b.mov(eax, ecx)?;
    Ok(b.out(dx, eax)?)
}

/// Selects a register of the function EBX; leaves the data port in DX.
fn address(b: &mut Block, at: i32) -> Built {
    b.lea(eax, ebx + at)?;
    b.mov(dx, ADDRESS)?;
    b.out(dx, eax)?;
    Ok(b.mov(dx, DATA)?)
}

/// EBX = configuration address of the first function on bus 0 whose register, masked, is `value`;
/// CF if there is none. Changes EAX, DX.
pub(super) fn find(b: &mut Block, register: u32, mask: u32, value: u32) -> Built {
    let (found, none) = (label(b), label(b));
    b.mov(ebx, 0x8000_0000u32)?;
    let next = b.here()?;
    read(b, register as i32)?;
    b.and(eax, mask as i32)?;
    b.cmp(eax, value as i32)?;
    b.je(found)?;
    b.add(ebx, 0x100)?;
    b.cmp(ebx, 0x8001_0000u32 as i32)?;
    b.jb(next)?;
    b.stc()?;
    b.jmp(none)?;
    b.place(found)?;
    b.clc()?;
    b.place(none)?;
    Ok(())
}

pub(super) fn write_bytes(b: &mut Block) -> Built {
    // AL from byte register AL of 00:00.0. Changes EAX, DX.
    b.name("bridge_read")?;
    select_byte(b)?;
    b.in_(al, dx)?;
    b.ret()?;

    // AH to byte register AL of 00:00.0. Changes EAX, DX.
    b.name("bridge_write")?;
    b.push(ax)?;
    select_byte(b)?;
    b.pop(ax)?;
    b.mov(al, ah)?;
    b.out(dx, al)?;
    Ok(b.ret()?)
}

fn select_byte(b: &mut Block) -> Built {
    b.movzx(eax, al)?;
    b.push(ax)?;
    b.and(al, 0xfc_u32 as i32)?;
    b.or(eax, 0x8000_0000u32 as i32)?;
    b.mov(dx, ADDRESS)?;
    b.out(dx, eax)?;
    b.pop(ax)?;
    b.and(ax, 3)?;
    b.mov(dx, DATA)?;
    Ok(b.add(dx, ax)?)
}
