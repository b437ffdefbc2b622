//! Programs that only compute, for measuring how fast a processor is: the same in 16-, 32- and 64-bit
//! code, on any emulator of a PC.
//!
//! Each does its work as many times as asked, says a checksum that depends on all of it on port E9h, and
//! stops. The same checksum on two emulators says that they did the same work.

mod programs;
mod vector;

use iced_x86::code_asm::*;

use crate::{
    BuildError,
    assemble::{Block, Built, Image, build},
    harness::descriptor,
};

/// Where the program runs: in RAM, a copy of the image's first bytes.
const CODE: u32 = 0x8000;
/// How much is copied.
const CODE_BYTES: u32 = 0x1000;
/// The program's data; in 16-bit code the base of DS and ES.
const DATA: u32 = 0x1_0000;
/// Top of the stack, 16-bit code's from the base of SS.
const STACK: u32 = 0x2_8000;
/// Where the 64-bit program's three page tables are.
const PAGE_TABLES: u16 = 0x7000;

const START: u32 = 0xe000;
const GDT: u32 = 0xd000;
const GDT_POINTER: u32 = 0xd100;
const CODE_32: u16 = 0x08;
const FLAT_DATA: u16 = 0x10;
const CODE_64: u16 = 0x18;

/// What the lines end with: the work is done.
pub const DONE: &str = "kernel done";

/// The width of the program's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bits {
    /// Real mode.
    Sixteen,
    /// Flat protected mode without paging.
    ThirtyTwo,
    /// 64-bit mode, 2 MiB pages.
    SixtyFour,
}

impl Bits {
    /// As a number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Bits::Sixteen => 16,
            Bits::ThirtyTwo => 32,
            Bits::SixtyFour => 64,
        }
    }
}

/// A program: how one round of it is written, and where its stack is.
struct Program {
    name: &'static str,
    about: &'static str,
    write: Write,
    stack: Stack,
    /// Widths it does not exist in.
    not_in: &'static [Bits],
}

/// Writes a program of a width: once before the rounds, and the round.
type Write = fn(&mut Block, Bits, Part) -> Built;

/// What of a program is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before the first round.
    Once,
    /// Each round.
    Round,
    /// Subroutines.
    Routines,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stack {
    Apart,
    /// So that its deepest bytes follow the code's last.
    BesideCode,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "sieve",
        about: "primes below 8190 by striking out",
        write: programs::sieve,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "crc",
        about: "a cyclic redundancy check, bit by bit",
        write: programs::crc,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "sort",
        about: "200 numbers by insertion",
        write: programs::sort,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "recursion",
        about: "Fibonacci's numbers by calls",
        write: programs::recursion,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "copy",
        about: "memory, word by word and by string instructions",
        write: programs::copy,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "divide",
        about: "multiplications and divisions",
        write: programs::divide,
        stack: Stack::Apart,
        not_in: &[],
    },
    Program {
        name: "sse",
        about: "packed single-precision and integer arithmetic",
        write: vector::round,
        stack: Stack::Apart,
        not_in: &[Bits::Sixteen],
    },
    Program {
        name: "neighbours",
        about: "recursion, with the stack's bytes right behind the code's",
        write: programs::recursion,
        stack: Stack::BesideCode,
        not_in: &[],
    },
    Program {
        name: "rewriting",
        about: "a loop that changes an immediate of its own each time",
        write: programs::rewriting,
        stack: Stack::Apart,
        not_in: &[],
    },
];

/// The names of all programs, each with a line about it.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    PROGRAMS.iter().map(|program| (program.name, program.about))
}

/// The firmware image that runs `rounds` rounds of program `name`; `None` when there is no such
/// program in that width.
///
/// # Errors
/// A mistake in this module.
pub fn image(name: &str, bits: Bits, rounds: u32) -> Result<Option<Vec<u8>>, BuildError> {
    let program = PROGRAMS.iter().find(|program| program.name == name && !program.not_in.contains(&bits));
    let Some(program) = program else { return Ok(None) };
    build(0x10000, 0xff, |image| {
        image.code(bits.number(), 0, CODE, |b| {
            stack(b, program, bits)?;
            programs::rounds(b, bits, rounds, program.write)?;
            b.name("end")
        })?;
        tables(image)?;
        image.code(16, START as usize, START, |b| start(b, bits))?;
        image.reset_vector("start")
    })
    .map(Some)
}

/// How deep the recursive program's stack becomes, in words.
const DEEPEST: u32 = 2 * programs::FIBONACCI + 2;

fn stack(b: &mut Block, program: &Program, bits: Bits) -> Built {
    let beside = b.address("end") + DEEPEST * bits.number() / 8;
    let top = if program.stack == Stack::BesideCode { beside } else { STACK };
    match bits {
        Bits::Sixteen if program.stack == Stack::BesideCode => {
            b.xor(ax, ax)?;
            b.mov(ss, ax)?;
            b.mov(sp, top)?;
        }
        Bits::Sixteen => {
            b.mov(ax, (STACK - 0x8000) >> 4)?;
            b.mov(ss, ax)?;
            b.mov(sp, 0x8000u32)?;
        }
        Bits::ThirtyTwo | Bits::SixtyFour => {
            b.mov(eax, u32::from(FLAT_DATA))?;
            for segment in [ds, es, ss] {
                b.mov(segment, eax)?;
            }
            b.mov(esp, top)?;
        }
    }
    Ok(())
}

fn tables(image: &mut Image) -> Built {
    let descriptors = [
        0,
        descriptor(0, 0xf_ffff, 0x9b, 0xc),
        descriptor(0, 0xf_ffff, 0x93, 0xc),
        descriptor(0, 0xf_ffff, 0x9b, 0xa),
    ];
    for (index, entry) in descriptors.iter().enumerate() {
        image.put(GDT as usize + 8 * index, &entry.to_le_bytes())?;
    }
    image.put(GDT_POINTER as usize, &(8 * descriptors.len() as u16 - 1).to_le_bytes())?;
    image.put(GDT_POINTER as usize + 2, &(0xf_0000 + GDT).to_le_bytes())
}

/// From the reset vector to the program.
fn start(b: &mut Block, bits: Bits) -> Built {
    b.name("start")?;
    b.cli()?;
    b.cld()?;
    b.mov(ax, cs)?;
    b.mov(ds, ax)?;
    b.xor(ax, ax)?;
    b.mov(es, ax)?;
    b.xor(si, si)?;
    b.mov(di, CODE)?;
    b.mov(cx, CODE_BYTES)?;
    b.rep().movsb()?;
    if bits == Bits::Sixteen {
        b.mov(ax, DATA >> 4)?;
        b.mov(ds, ax)?;
        b.mov(es, ax)?;
        return b.jump_far(16, 0, CODE);
    }
    b.lgdt(ptr(u64::from(GDT_POINTER)))?;
    // OSFXSR: SSE may be used.
    let mut cr4_bits = 1 << 9;
    let mut cr0_bits = 0x13u32;
    let mut selector = CODE_32;
    if bits == Bits::SixtyFour {
        page_tables(b)?;
        cr4_bits |= 1 << 5;
        cr0_bits |= 1 << 31;
        selector = CODE_64;
        b.mov(eax, u32::from(PAGE_TABLES) << 4)?;
        b.mov(cr3, eax)?;
    }
    b.mov(eax, cr4_bits)?;
    b.mov(cr4, eax)?;
    if bits == Bits::SixtyFour {
        // EFER.LME.
        b.mov(ecx, 0xc000_0080u32)?;
        b.mov(eax, 0x100u32)?;
        b.xor(edx, edx)?;
        b.wrmsr()?;
    }
    b.mov(eax, cr0_bits)?;
    b.mov(cr0, eax)?;
    b.jump_far(32, selector, CODE)
}

/// The first 2 MiB, mapped to themselves.
fn page_tables(b: &mut Block) -> Built {
    b.mov(ax, u32::from(PAGE_TABLES))?;
    b.mov(es, ax)?;
    b.xor(di, di)?;
    b.xor(eax, eax)?;
    b.mov(cx, 0x3000u32 / 4)?;
    b.rep().stosd()?;
    let base = u32::from(PAGE_TABLES) << 4;
    for (at, entry) in [(0u32, base + 0x1003), (0x1000, base + 0x2003), (0x2000, 0x83)] {
        b.mov(dword_ptr(at).es(), entry as i32)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn every_program_can_be_written(#[values(Bits::Sixteen, Bits::ThirtyTwo, Bits::SixtyFour)] bits: Bits) {
        for program in PROGRAMS {
            let found =
                image(program.name, bits, 3).unwrap_or_else(|error| panic!("{}: {error}", program.name));
            assert_eq!(found.map(|bytes| bytes.len()), (!program.not_in.contains(&bits)).then_some(0x10000));
        }
    }
}
