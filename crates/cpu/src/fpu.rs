//! The registers of x87, MMX, SSE and AVX (Intel SDM vol. 1, 8.1, 9.2, 10.2 and 14.1).

use serde::{Deserialize, Serialize};

use crate::float::{Format, Number, Rounding, Rules, exception, pack_extended, unpack_extended};

/// Bits of the status word besides the exceptions (SDM vol. 1, figure 8-4).
pub mod status {
    #![allow(missing_docs)]
    /// SF: the invalid operation was a stack fault.
    pub const STACK_FAULT: u16 = 1 << 6;
    /// ES: an exception that is not masked is pending.
    pub const SUMMARY: u16 = 1 << 7;
    pub const C0: u16 = 1 << 8;
    pub const C1: u16 = 1 << 9;
    pub const C2: u16 = 1 << 10;
    pub const TOP_SHIFT: u32 = 11;
    pub const TOP: u16 = 7 << TOP_SHIFT;
    pub const C3: u16 = 1 << 14;
    /// B: as ES.
    pub const BUSY: u16 = 1 << 15;
    pub const CONDITIONS: u16 = C0 | C1 | C2 | C3;
}

/// An 80-bit register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extended {
    /// Bits 79-64.
    pub sign_exponent: u16,
    /// Bits 63-0: the significand with its leading one; an MMX register.
    pub significand: u64,
}

impl Extended {
    pub(crate) fn unpack(self) -> Number {
        unpack_extended(self.sign_exponent, self.significand)
    }

    pub(crate) fn pack(number: Number) -> Extended {
        let (sign_exponent, significand) = pack_extended(number);
        Extended { sign_exponent, significand }
    }
}

/// A selector and an offset: where the last instruction, or its operand, was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pointer {
    /// Selector.
    pub selector: u16,
    /// Offset.
    pub offset: u64,
}

/// x87.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fpu {
    /// R0-R7. ST(i) is R(TOP + i), MMi is Ri.
    pub registers: [Extended; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP included.
    pub status: u16,
    /// Which of R0-R7 are not empty. The rest of the tag word follows from the registers.
    pub valid: u8,
    /// The low three bits of the last instruction's first byte, and its second.
    pub opcode: u16,
    /// The last instruction.
    pub instruction: Pointer,
    /// Its operand in memory.
    pub data: Pointer,
    /// Level of the IGNNE# pin: without CR0.NE, pending exceptions are ignored.
    pub ignore_numeric_error: bool,
}

/// SSE.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sse {
    /// MXCSR.
    pub mxcsr: u32,
    /// XMM0-XMM15, low half first.
    pub registers: [[u64; 2]; 16],
}

impl Sse {
    /// After RESET#.
    pub(crate) fn reset() -> Sse {
        Sse { mxcsr: MXCSR_RESET, ..Sse::default() }
    }
}

/// AVX, and which registers XSAVE manages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Avx {
    /// XCR0.
    pub xcr0: u64,
    /// Bits 255-128 of YMM0-YMM15, low half first; the rest of them is XMM0-XMM15.
    pub upper: [[u64; 2]; 16],
}

impl Default for Avx {
    /// After RESET#: x87 cannot be left out.
    fn default() -> Avx {
        Avx { xcr0: xcr0::X87, upper: [[0; 2]; 16] }
    }
}

/// Bits of XCR0, of the instructions' masks and of the XSAVE area's header (SDM vol. 1, 13.1).
pub mod xcr0 {
    #![allow(missing_docs)]
    pub const X87: u64 = 1 << 0;
    /// XMM registers and MXCSR.
    pub const SSE: u64 = 1 << 1;
    /// Upper halves of the YMM registers.
    pub const AVX: u64 = 1 << 2;
    pub const PKRU: u64 = 1 << 9;
}

/// MXCSR after reset: everything masked.
pub const MXCSR_RESET: u32 = 0x1f80;
/// Bits of MXCSR that exist.
pub const MXCSR_MASK: u32 = 0xffff;

/// The 64-bit significand at exponent zero, cut to what precision control asks for.
fn precision(control: u16) -> u32 {
    match control >> 8 & 3 {
        0 => 24,
        2 => 53,
        _ => 64,
    }
}

impl Fpu {
    /// After RESET#: registers hold +0 (SDM vol. 3A, table 9-1).
    pub(crate) fn reset() -> Fpu {
        Fpu { control: 0x40, valid: 0xff, ..Fpu::default() }
    }

    /// FINIT: registers keep their values and are empty.
    pub(crate) fn initialize(&mut self) {
        *self = Fpu {
            registers: self.registers,
            control: 0x37f,
            ignore_numeric_error: self.ignore_numeric_error,
            ..Fpu::default()
        };
    }

    pub(crate) fn top(&self) -> u8 {
        (self.status >> status::TOP_SHIFT & 7) as u8
    }

    pub(crate) fn set_top(&mut self, top: u8) {
        self.status = self.status & !status::TOP | u16::from(top & 7) << status::TOP_SHIFT;
    }

    /// The number of the register that is ST(`index`).
    fn physical(&self, index: u8) -> usize {
        usize::from(self.top().wrapping_add(index) & 7)
    }

    /// Whether ST(`index`) is empty.
    pub(crate) fn empty(&self, index: u8) -> bool {
        self.valid >> self.physical(index) & 1 == 0
    }

    /// ST(`index`), whether it is empty or not.
    #[must_use]
    pub fn st(&self, index: u8) -> Extended {
        self.registers[self.physical(index)]
    }

    /// Replaces ST(`index`), which is not empty then.
    pub(crate) fn set_st(&mut self, index: u8, value: Extended) {
        let physical = self.physical(index);
        self.registers[physical] = value;
        self.valid |= 1 << physical;
    }

    /// Makes ST(`index`) empty.
    pub(crate) fn free(&mut self, index: u8) {
        self.valid &= !(1 << self.physical(index));
    }

    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.set_top(self.top().wrapping_add(1));
    }

    pub(crate) fn push(&mut self, value: Extended) {
        self.set_top(self.top().wrapping_sub(1));
        self.set_st(0, value);
    }

    pub(crate) fn condition(&mut self, bit: u16, value: bool) {
        self.status = if value { self.status | bit } else { self.status & !bit };
    }

    pub(crate) fn set_conditions(&mut self, bits: u16) {
        self.status = self.status & !status::CONDITIONS | bits;
    }

    /// Sets exception flags, and says whether all of them are masked.
    pub(crate) fn raise(&mut self, flags: u8) -> bool {
        self.status |= u16::from(flags);
        let masked = u16::from(flags) & !self.control & u16::from(exception::ALL) == 0;
        if !masked {
            self.status |= status::SUMMARY | status::BUSY;
        }
        masked
    }

    /// ES and B follow from the flags and the masks.
    pub(crate) fn summarize(&mut self) {
        let pending = self.status & !self.control & u16::from(exception::ALL) != 0;
        self.condition(status::SUMMARY | status::BUSY, pending);
    }

    /// Replaces the control word. Bit 6 always reads one, and bits that do not exist zero.
    pub(crate) fn set_control(&mut self, control: u16) {
        self.control = control & 0x1f3f | 0x40;
        self.summarize();
    }

    pub(crate) fn rounding(&self) -> Rounding {
        Rounding::from_field(u32::from(self.control >> 10))
    }

    /// How results of `format` are rounded.
    pub(crate) fn rules(&self, format: Format) -> Rules {
        Rules { format, rounding: self.rounding(), masked: self.control as u8, flush: false }
    }

    /// How arithmetic rounds: with the precision the control word asks for.
    pub(crate) fn arithmetic_rules(&self) -> Rules {
        let precision = precision(self.control);
        self.rules(Format { precision, ..crate::float::EXTENDED })
    }

    /// The tag word, two bits for each register (SDM vol. 1, 8.1.7).
    #[must_use]
    pub fn tags(&self) -> u16 {
        (0..8).rev().fold(0, |tags, index| {
            let register = self.registers[index];
            let tag = if self.valid >> index & 1 == 0 { 3 } else { tag(register) };
            tags << 2 | tag
        })
    }

    /// Takes a tag word: only whether a register is empty counts.
    pub(crate) fn set_tags(&mut self, tags: u16) {
        self.valid = 0;
        for index in 0..8 {
            if tags >> (2 * index) & 3 != 3 {
                self.valid |= 1 << index;
            }
        }
    }
}

/// The tag of a register that is not empty: 0 valid, 1 zero, 2 special.
fn tag(register: Extended) -> u16 {
    match register.sign_exponent & 0x7fff {
        0 if register.significand == 0 => 1,
        0 | 0x7fff => 2,
        _ if register.significand >> 63 == 0 => 2,
        _ => 0,
    }
}
