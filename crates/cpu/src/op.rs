//! A decoded instruction, lowered once and executed many times.

use crate::{Bus, Core, Exec, exec::Quick};

/// What kind of thing an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandKind {
    /// Absent.
    None,
    /// A general register of the op's width (16 or 32 bits), or the low byte of one (width 8).
    Register,
    /// AH, CH, DH, BH: bits 8-15 of register 0-3.
    HighByte,
    /// The op's memory reference.
    Memory,
    /// The op's immediate.
    Immediate,
    /// A segment register, in encoding order.
    Segment,
    /// CRn.
    Control,
    /// DRn.
    Debug,
    /// ST(i).
    Stack,
    /// MMi.
    Mmx,
    /// XMMi.
    Xmm,
    /// YMMi.
    Ymm,
}

/// Where an operand lives. The number is beside the kind, not within: who knows the kind need not ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Which of its kind; 0 for what has no number.
    pub number: u8,
}

impl Operand {
    /// Absent.
    pub const NONE: Operand = Operand::new(OperandKind::None, 0);
    /// The op's memory reference.
    pub const MEMORY: Operand = Operand::new(OperandKind::Memory, 0);
    /// The op's immediate.
    pub const IMMEDIATE: Operand = Operand::new(OperandKind::Immediate, 0);

    /// Number `number` of a kind.
    #[must_use]
    pub const fn new(kind: OperandKind, number: u8) -> Operand {
        Operand { kind, number }
    }
}

/// A memory reference: segment, base + index * 2^scale + displacement, cut to the address size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Segment register, in encoding order, overrides applied.
    pub segment: u8,
    /// Base register, [`crate::state::gpr::ZERO`] or [`crate::state::gpr::BLOCK`].
    pub base: u8,
    /// Index register or ZERO.
    pub index: u8,
    /// log2 of the factor.
    pub scale: u8,
    /// Displacement, sign-extended.
    pub displacement: u64,
    /// The bits of an address that count: those of the address size.
    pub mask: u64,
}

/// Repeat prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Repeat {
    None,
    WhileEqual,
    WhileNotEqual,
}

/// [`Op::inside`] of what is no branch to an op of its block.
pub const ELSEWHERE: u8 = u8::MAX;

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
    /// Which of the commonest instructions it is, if it is one.
    pub(crate) quick: Quick,
    /// REP prefix of a string instruction.
    pub repeat: Repeat,
    /// The memory reference; for string instructions `segment` is the source segment.
    pub memory: Memory,
    /// Immediate, sign-extended to 64 bits as the instruction defines; near branch target offset
    /// (within the segment, less what the block is relative to); far pointer as selector << 32 | offset; first
    /// immediate of ENTER; x87's opcode, as FSTENV stores it.
    pub immediate: u64,
    /// Second immediate (ENTER); number of a fourth register (VBLENDVPS), or of the vector register that
    /// is the memory operand's index (VGATHERDPS).
    pub immediate2: u8,
    /// Instructions of its block before this op.
    pub before: u8,
    /// Instructions of its block up to the end of this op, which can be two.
    pub after: u8,
    /// Which op of its block a near branch goes to; [`ELSEWHERE`] where it is not known to be one.
    pub inside: u8,
    /// iced-x86's code, for handlers that serve several forms.
    pub code: iced_x86::Code,
}

// With the two numbers that the cache keeps beside it, an op is one line of a host's cache.
const _: () = assert!(size_of::<Op>() <= 48);

/// What executes an op.
pub type Handler<B> = fn(&mut Core, &mut B, &Op) -> Exec;

/// An op with its handler, as the code cache keeps it: all of it in one line of the host's cache, since more code than
/// that holds is what large guests run.
#[repr(align(64))]
pub struct Lowered<B: Bus> {
    /// Operands.
    pub op: Op,
    /// Offset of the instruction behind it, less what the block is relative to.
    pub next: u64,
    /// Code.
    pub run: Handler<B>,
}

impl<B: Bus> Clone for Lowered<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Bus> Copy for Lowered<B> {}
