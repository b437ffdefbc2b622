//! A decoded instruction, lowered once and executed many times.

use crate::{Bus, Core, Exec};

/// Where an operand lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// Absent.
    None,
    /// A general register of the op's width (16 or 32 bits), or the low byte of one (width 8).
    Register(u8),
    /// AH, CH, DH, BH: bits 8-15 of register 0-3.
    HighByte(u8),
    /// The op's memory reference.
    Memory,
    /// The op's immediate.
    Immediate,
    /// A segment register, in encoding order.
    Segment(u8),
    /// CRn.
    Control(u8),
    /// DRn.
    Debug(u8),
    /// ST(i).
    Stack(u8),
    /// MMi.
    Mmx(u8),
    /// XMMi.
    Xmm(u8),
    /// YMMi.
    Ymm(u8),
}

/// A memory reference: segment, base + index * 2^scale + displacement, cut to the address size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Segment register, in encoding order, overrides applied.
    pub segment: u8,
    /// Base register or [`crate::state::gpr::ZERO`].
    pub base: u8,
    /// Index register or ZERO.
    pub index: u8,
    /// log2 of the factor.
    pub scale: u8,
    /// Displacement, sign-extended.
    pub displacement: u64,
}

/// Repeat prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Repeat {
    None,
    WhileEqual,
    WhileNotEqual,
}

/// One lowered instruction.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// First operand (destination).
    pub dst: Operand,
    /// Second operand.
    pub src: Operand,
    /// Third operand (IMUL, SHLD/SHRD, VEX).
    pub third: Operand,
    /// Length in bytes.
    pub length: u8,
    /// Operand size in bytes: 2 or 4 (8 in long mode).
    pub operand_size: u8,
    /// Address size in bytes: 2 or 4.
    pub address_size: u8,
    /// LOCK prefix (legality is checked when lowering).
    pub lock: bool,
    /// REP prefix of a string instruction.
    pub repeat: Repeat,
    /// The memory reference; for string instructions `segment` is the source segment.
    pub memory: Memory,
    /// Immediate, sign-extended to 64 bits as the instruction defines; near branch target offset
    /// (already absolute within the segment); far pointer as selector << 32 | offset; first
    /// immediate of ENTER; x87's opcode, as FSTENV stores it.
    pub immediate: u64,
    /// Second immediate (ENTER); number of a fourth register (VBLENDVPS), or of the vector register that
    /// is the memory operand's index (VGATHERDPS).
    pub immediate2: u8,
    /// iced-x86's code, for handlers that serve several forms.
    pub code: iced_x86::Code,
}

/// What executes an op.
pub type Handler<B> = fn(&mut Core, &mut B, &Op) -> Exec;

/// An op with its handler, as the code cache keeps it.
pub struct Lowered<B: Bus> {
    /// Operands.
    pub op: Op,
    /// Offset of the instruction behind it.
    pub next: u64,
    /// Code.
    pub run: Handler<B>,
}
