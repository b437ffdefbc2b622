//! Machine code as text, in the Intel syntax of NASM.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use warmboot_machine::Machine;

/// Longest instruction (Intel SDM vol. 2A, 2.3.11).
const LONGEST: usize = 15;

/// Width of code: the D bit of its segment, or long mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bits {
    /// 16-bit code.
    Sixteen,
    /// 32-bit code.
    ThirtyTwo,
}

impl Bits {
    fn number(self) -> u32 {
        match self {
            Bits::Sixteen => 16,
            Bits::ThirtyTwo => 32,
        }
    }
}

/// One instruction as text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Instruction pointer.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Mnemonic and operands; `(bad)` where the bytes are no instruction.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write!(f, "{:08x}  {bytes:<20}  {}", self.offset, self.text)
    }
}

/// The first `count` instructions in `bytes`, the first at instruction pointer `offset`.
#[must_use]
pub fn disassemble(bytes: &[u8], offset: u64, bits: Bits, count: usize) -> Vec<Line> {
    let mut decoder = Decoder::with_ip(bits.number(), bytes, offset, DecoderOptions::NONE);
    let mut formatter = NasmFormatter::new();
    let mut lines = Vec::new();
    while decoder.can_decode() && lines.len() < count {
        let start = decoder.position();
        let instruction = decoder.decode();
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        let bytes = bytes.get(start..decoder.position()).unwrap_or_default().to_vec();
        lines.push(Line { offset: instruction.ip(), bytes, text });
    }
    lines
}

/// `count` instructions in a machine's physical memory from `physical`, shown at `offset`.
#[must_use]
pub fn disassemble_memory(
    machine: &Machine,
    physical: u64,
    offset: u64,
    bits: Bits,
    count: usize,
) -> Vec<Line> {
    let mut bytes = vec![0; count.min(4096) * LONGEST];
    machine.read_memory(physical, &mut bytes);
    disassemble(&bytes, offset, bits, count)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::reset_vector(&[0xea, 0x5b, 0xe0, 0x00, 0xf0], 0xfff0, Bits::Sixteen, &["jmp 0F000h:0E05Bh"])]
    #[case::width(&[0xb8, 1, 0, 0, 0, 0x90], 0, Bits::ThirtyTwo, &["mov eax,1", "nop"])]
    #[case::cut_short(&[0xea, 0x5b], 0, Bits::Sixteen, &["(bad)"])]
    #[case::nothing(&[], 0, Bits::Sixteen, &[])]
    fn code(#[case] bytes: &[u8], #[case] offset: u64, #[case] bits: Bits, #[case] expect: &[&str]) {
        let lines = disassemble(bytes, offset, bits, 10);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, expect);
        assert_eq!(lines.iter().map(|line| line.bytes.len()).sum::<usize>(), bytes.len());
    }
}
