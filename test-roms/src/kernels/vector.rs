//! The SSE program: 256 numbers, four at a time, each halved and increased by one in a round, so that
//! they stay finite; beside it sums and shuffles of integers.

use iced_x86::code_asm::*;

use super::{Bits, DATA, Part};
use crate::assemble::{Block, Built};

const NUMBERS: u32 = 256;

/// One half and one.
const HALF: u32 = 0x3f00_0000;
const ONE: u32 = 0x3f80_0000;

pub(super) fn round(b: &mut Block, _bits: Bits, part: Part) -> Built {
    match part {
        Part::Once => fill(b),
        Part::Round => compute(b),
        Part::Routines => Ok(()),
    }
}

fn fill(b: &mut Block) -> Built {
    for (register, value) in [(xmm1, HALF), (xmm2, ONE)] {
        b.mov(eax, value)?;
        b.movd(register, eax)?;
        b.pshufd(register, register, 0)?;
    }
    b.pxor(xmm3, xmm3)?;
    b.mov(edi, DATA)?;
    b.mov(ecx, NUMBERS)?;
    let number = b.here()?;
    b.cvtsi2ss(xmm0, ecx)?;
    b.movss(dword_ptr(edi), xmm0)?;
    b.add(edi, 4)?;
    b.dec(ecx)?;
    Ok(b.jnz(number)?)
}

fn compute(b: &mut Block) -> Built {
    b.mov(edi, DATA)?;
    b.mov(ecx, NUMBERS / 4)?;
    let four = b.here()?;
    b.movaps(xmm0, xmmword_ptr(edi))?;
    b.mulps(xmm0, xmm1)?;
    b.addps(xmm0, xmm2)?;
    b.movaps(xmmword_ptr(edi), xmm0)?;
    b.paddd(xmm3, xmm0)?;
    b.pshufd(xmm3, xmm3, 0x39)?;
    b.movdqa(xmm4, xmm3)?;
    b.pslld(xmm4, 3)?;
    b.pxor(xmm3, xmm4)?;
    b.add(edi, 16)?;
    b.dec(ecx)?;
    b.jnz(four)?;
    b.movd(eax, xmm3)?;
    b.rol(ebp, 1)?;
    Ok(b.xor(ebp, eax)?)
}
