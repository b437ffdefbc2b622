//! The integer programs. Each is written once and assembled with the registers of three widths: what
//! is called a word here has the width of the code.
//!
//! Only addressing by BX, SI and DI is used, which 16-bit code has too. BP is the checksum.

use super::{Bits, Part, Write};
use crate::assemble::{Block, Built};

/// Which of Fibonacci's numbers is worked out.
pub(super) const FIBONACCI: u32 = 12;

const FLAGS: i32 = 8190;
/// The square of this is above [`FLAGS`].
const ROOT: i32 = 91;
const CRC_BYTES: u32 = 512;
const SORTED: i32 = 200;
const COPIED_WORDS: i32 = 1000;
const DIVISIONS: u32 = 200;
const REWRITES: u32 = 100;
/// Beyond every program's data.
const ROUNDS_LEFT: i32 = 0x7f00;

macro_rules! width {
    ($module:ident, $data:literal, $polynomial:literal, $number:ty, $word:ident, $bytes:literal,
        $movs:ident, $ax:ident $bx:ident $cx:ident $dx:ident $si:ident $di:ident $bp:ident) => {
        mod $module {
            use iced_x86::code_asm::*;

            use super::super::{DONE, Part};
            use super::*;

            /// Where the data begin, as the program sees them.
            const DATA: i32 = $data;
            const WORD: i32 = $bytes;

            pub(super) fn rounds(
                b: &mut Block,
                count: u32,
                write: impl Fn(&mut Block, Part) -> Built,
            ) -> Built {
                b.mov($ax, 1 as $number)?;
                write(b, Part::Once)?;
                b.xor($bp, $bp)?;
                b.mov($bx, (DATA + ROUNDS_LEFT) as $number)?;
                b.mov(dword_ptr($bx), count as i32)?;
                let again = b.here()?;
                write(b, Part::Round)?;
                b.mov($bx, (DATA + ROUNDS_LEFT) as $number)?;
                b.dec(dword_ptr($bx))?;
                b.jnz(again)?;
                report(b)?;
                write(b, Part::Routines)
            }

            /// Says the checksum in hexadecimal, and stops.
            fn report(b: &mut Block) -> Built {
                let (digit, decimal) = (b.create_label(), b.create_label());
                b.mov($cx, (2 * WORD) as $number)?;
                b.place(digit)?;
                b.rol($bp, 4)?;
                b.mov($ax, $bp)?;
                b.and(al, 0xf)?;
                b.add(al, i32::from(b'0'))?;
                b.cmp(al, i32::from(b'9'))?;
                b.jbe(decimal)?;
                b.add(al, i32::from(b'a' - b'9' - 1))?;
                b.place(decimal)?;
                say(b)?;
                b.dec($cx)?;
                b.jnz(digit)?;
                for character in format!(" {DONE}\n").bytes() {
                    b.mov(al, u32::from(character))?;
                    say(b)?;
                }
                let forever = b.here()?;
                b.hlt()?;
                Ok(b.jmp(forever)?)
            }

            fn say(b: &mut Block) -> Built {
                Ok(b.out(0xe9, al)?)
            }

            pub(super) fn sieve(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                b.mov($di, DATA as $number)?;
                b.mov($cx, FLAGS as $number)?;
                b.mov(al, 1u32)?;
                let fill = b.here()?;
                b.mov(byte_ptr($di), al)?;
                b.inc($di)?;
                b.dec($cx)?;
                b.jnz(fill)?;
                let (composite, struck) = (b.create_label(), b.create_label());
                b.mov($bx, 2 as $number)?;
                let candidate = b.here()?;
                b.mov($si, $bx)?;
                b.add($si, DATA)?;
                b.cmp(byte_ptr($si), 0)?;
                b.je(composite)?;
                b.add($si, $bx)?;
                let strike = b.here()?;
                b.cmp($si, DATA + FLAGS)?;
                b.jae(struck)?;
                b.mov(byte_ptr($si), 0)?;
                b.add($si, $bx)?;
                b.jmp(strike)?;
                b.place(struck)?;
                b.place(composite)?;
                b.inc($bx)?;
                b.cmp($bx, ROOT)?;
                b.jb(candidate)?;
                b.mov($si, DATA as $number)?;
                b.mov($cx, FLAGS as $number)?;
                b.xor($ax, $ax)?;
                let count = b.here()?;
                b.mov(al, byte_ptr($si))?;
                b.add($bp, $ax)?;
                b.inc($si)?;
                b.dec($cx)?;
                Ok(b.jnz(count)?)
            }

            pub(super) fn crc(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                b.mov($si, DATA as $number)?;
                b.mov($cx, CRC_BYTES as $number)?;
                b.mov($ax, $bp)?;
                b.not($ax)?;
                b.mov($di, $polynomial as $number)?;
                let byte = b.here()?;
                b.mov(dl, byte_ptr($si))?;
                b.xor(al, dl)?;
                b.inc($si)?;
                b.mov(dl, 8u32)?;
                let bit = b.here()?;
                let even = b.create_label();
                b.shr($ax, 1)?;
                b.jae(even)?;
                b.xor($ax, $di)?;
                b.place(even)?;
                b.dec(dl)?;
                b.jnz(bit)?;
                b.dec($cx)?;
                b.jnz(byte)?;
                Ok(b.mov($bp, $ax)?)
            }

            pub(super) fn sort(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                let end = DATA + SORTED * WORD;
                b.mov($si, DATA as $number)?;
                b.mov($ax, $bp)?;
                let fill = b.here()?;
                b.imul_3($ax, $ax, 25173)?;
                b.add($ax, 13849)?;
                b.mov($word($si), $ax)?;
                b.add($si, WORD)?;
                b.cmp($si, end)?;
                b.jb(fill)?;
                b.mov($si, (DATA + WORD) as $number)?;
                let next = b.here()?;
                let (down, found) = (b.create_label(), b.create_label());
                b.mov($ax, $word($si))?;
                b.mov($di, $si)?;
                b.place(down)?;
                b.cmp($di, DATA)?;
                b.jbe(found)?;
                b.mov($dx, $word($di - WORD))?;
                b.cmp($dx, $ax)?;
                b.jbe(found)?;
                b.mov($word($di), $dx)?;
                b.sub($di, WORD)?;
                b.jmp(down)?;
                b.place(found)?;
                b.mov($word($di), $ax)?;
                b.add($si, WORD)?;
                b.cmp($si, end)?;
                b.jb(next)?;
                b.mov($si, DATA as $number)?;
                let sum = b.here()?;
                b.rol($bp, 1)?;
                b.xor($bp, $word($si))?;
                b.add($si, WORD)?;
                b.cmp($si, end)?;
                Ok(b.jb(sum)?)
            }

            pub(super) fn recursion(b: &mut Block, part: Part) -> Built {
                let fibonacci = b.target("fibonacci");
                match part {
                    Part::Once => Ok(()),
                    Part::Round => {
                        b.mov($ax, FIBONACCI as $number)?;
                        b.call(fibonacci)?;
                        b.rol($bp, 1)?;
                        Ok(b.add($bp, $ax)?)
                    }
                    Part::Routines => {
                        let small = b.create_label();
                        b.name("fibonacci")?;
                        b.cmp($ax, 2)?;
                        b.jb(small)?;
                        b.push($ax)?;
                        b.dec($ax)?;
                        b.call(fibonacci)?;
                        b.pop($dx)?;
                        b.push($ax)?;
                        b.mov($ax, $dx)?;
                        b.sub($ax, 2)?;
                        b.call(fibonacci)?;
                        b.pop($dx)?;
                        b.add($ax, $dx)?;
                        b.place(small)?;
                        Ok(b.ret()?)
                    }
                }
            }

            pub(super) fn copy(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                b.mov($si, DATA as $number)?;
                b.mov($di, (DATA + 0x2000) as $number)?;
                b.mov($word($si), $bp)?;
                b.mov($cx, COPIED_WORDS as $number)?;
                let word = b.here()?;
                b.mov($ax, $word($si))?;
                b.mov($word($di), $ax)?;
                b.add($si, WORD)?;
                b.add($di, WORD)?;
                b.dec($cx)?;
                b.jnz(word)?;
                for bytes in [false, true] {
                    b.mov($si, (DATA + 0x2000) as $number)?;
                    b.mov($di, (DATA + 0x4000 - i32::from(bytes)) as $number)?;
                    b.mov($cx, COPIED_WORDS as $number)?;
                    if bytes { b.rep().movsb()? } else { b.rep().$movs()? }
                }
                b.mov($si, (DATA + 0x3fff) as $number)?;
                b.rol($bp, 1)?;
                b.add($bp, $word($si))?;
                Ok(b.inc($bp)?)
            }

            pub(super) fn divide(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                b.mov($cx, DIVISIONS as $number)?;
                b.mov($ax, $bp)?;
                let next = b.here()?;
                b.mov($si, $ax)?;
                b.or($si, 1)?;
                b.mov($bx, 25173 as $number)?;
                b.mul($bx)?;
                b.add($ax, $cx)?;
                b.xor($dx, $dx)?;
                b.div($si)?;
                b.add($bp, $dx)?;
                b.imul_2($ax, $si)?;
                b.add($ax, 13849)?;
                b.dec($cx)?;
                Ok(b.jnz(next)?)
            }

            /// The immediate of an addition is itself added to in each turn.
            pub(super) fn rewriting(b: &mut Block, part: Part) -> Built {
                if part != Part::Round {
                    return Ok(());
                }
                b.mov($cx, REWRITES as $number)?;
                let next = b.here()?;
                b.name("rewritten")?;
                b.add(dl, 1)?;
                // The third byte of the addition is its immediate.
                let immediate = b.address("rewritten") + 2;
                b.mov($bx, immediate as $number)?;
                let immediate = byte_ptr($bx);
                b.inc(if DATA == 0 { immediate.cs() } else { immediate })?;
                b.dec($cx)?;
                b.jnz(next)?;
                b.rol($bp, 1)?;
                b.xor($dx, $dx)?;
                b.mov(dl, 1u32)?;
                Ok(b.add($bp, $dx)?)
            }
        }
    };
}

width!(sixteen, 0, 0xa001, u32, word_ptr, 2, movsw, ax bx cx dx si di bp);
width!(thirty_two, 0x1_0000, 0xedb8_8320, u32, dword_ptr, 4, movsd, eax ebx ecx edx esi edi ebp);
width!(sixty_four, 0x1_0000, 0xc96c_5795_d787_0f42, u64, qword_ptr, 8, movsq, rax rbx rcx rdx rsi rdi rbp);

/// The whole program: `write`'s round, `count` times, and the report.
pub(super) fn rounds(b: &mut Block, bits: Bits, count: u32, write: Write) -> Built {
    let write = |b: &mut Block, part| write(b, bits, part);
    match bits {
        Bits::Sixteen => sixteen::rounds(b, count, write),
        Bits::ThirtyTwo => thirty_two::rounds(b, count, write),
        Bits::SixtyFour => sixty_four::rounds(b, count, write),
    }
}

macro_rules! program {
    ($($name:ident)*) => {
        $(pub(super) fn $name(b: &mut Block, bits: Bits, part: Part) -> Built {
            match bits {
                Bits::Sixteen => sixteen::$name(b, part),
                Bits::ThirtyTwo => thirty_two::$name(b, part),
                Bits::SixtyFour => sixty_four::$name(b, part),
            }
        })*
    };
}

program!(sieve crc sort recursion copy divide rewriting);
