//! From bytes to an op with its handler (decoding by iced-x86).

use iced_x86::{
    Code, CodeSize, Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind,
    Register,
};

use crate::{
    Bus, Core, Exception, Exec, Lowered, Model, Op, Operand, OperandKind,
    access::Bits,
    exec::{self, Quick},
    op::{ELSEWHERE, Memory, Repeat},
    state::{gpr, segment},
};

/// Longest instruction; a longer one is #GP(0).
pub(crate) const LONGEST: usize = 15;

/// What a few bytes are.
pub(crate) enum Decoded<B: Bus> {
    /// An instruction, and what follows it.
    Op { lowered: Lowered<B>, flow: Flow, instruction: Instruction },
    /// The bytes end before the instruction does.
    Truncated,
}

/// What is executed after an instruction that does not fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    /// The next one.
    Next,
    /// The next one, or the target of a conditional branch.
    Conditional,
    /// The target of a near branch, call or return.
    Near,
    /// Anything, perhaps in another segment or mode.
    Other,
}

impl Flow {
    fn of(instruction: &Instruction) -> Flow {
        let code = instruction.code();
        match instruction.flow_control() {
            FlowControl::Next => Flow::Next,
            FlowControl::ConditionalBranch => Flow::Conditional,
            FlowControl::UnconditionalBranch if code.is_jmp_short_or_near() => Flow::Near,
            FlowControl::IndirectBranch if code.is_jmp_near_indirect() => Flow::Near,
            FlowControl::Call if code.is_call_near() => Flow::Near,
            FlowControl::IndirectCall if code.is_call_near_indirect() => Flow::Near,
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => Flow::Near,
            _ => Flow::Other,
        }
    }
}

/// Decodes the instruction at offset `rip` of a code segment, for a processor of this model. Where the op says where
/// it goes or what it reaches relative to the instruction, it is by this offset.
pub(crate) fn decode<B: Bus>(bytes: &[u8], bits: Bits, rip: u64, model: &Model) -> Decoded<B> {
    let bitness = bits.bitness();
    let mut decoder = Decoder::with_ip(bitness, bytes, rip, options(model, bits));
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::NoMoreBytes => return Decoded::Truncated,
        DecoderError::None => {}
        _ if too_long(bytes, bitness, &instruction) => return Decoded::Truncated,
        _ => return undefined(&instruction, bits),
    }
    if instruction.code() == Code::Pause && extended(bytes, &instruction) {
        return decode(&without_repeat(bytes), bits, rip, model);
    }
    if model.amd() && register_prefetch(&instruction) {
        return undefined(&instruction, bits);
    }
    let Some(run) = exec::lower(&instruction, model.features) else {
        return undefined(&instruction, bits);
    };
    let op = lower(&instruction, bytes, bits);
    Decoded::Op {
        lowered: Lowered { op, next: behind(&instruction, bits), run },
        flow: Flow::of(&instruction),
        instruction,
    }
}

/// How the model's processors see bytes that others see differently.
fn options(model: &Model, bits: Bits) -> u32 {
    let own = model.features.decoder_options();
    // AMD's cut near branches in 64-bit mode to 16 bits after 66h, and have no far pointers of ten bytes.
    if bits == Bits::SixtyFour && model.amd() { own | DecoderOptions::AMD } else { own }
}

/// Whether REX.B extends the register of 90h: it is XCHG with R8 then, as silicon has it, and no PAUSE
/// even after F3h.
fn extended(bytes: &[u8], instruction: &Instruction) -> bool {
    let rex = instruction.len().checked_sub(2).and_then(|at| bytes.get(at));
    instruction.code_size() == CodeSize::Code64 && rex.is_some_and(|byte| byte & 0xf1 == 0x41)
}

/// The same instruction with F3h made a prefix that says nothing here, DS.
fn without_repeat(bytes: &[u8]) -> [u8; LONGEST] {
    let mut plain = [0x90; LONGEST];
    for (place, byte) in plain.iter_mut().zip(bytes) {
        *place = if *byte == 0xf3 { 0x3e } else { *byte };
    }
    plain
}

/// 0F 0D with a register: a NOP on Intel's processors, #UD on AMD's (APM vol. 3, PREFETCHlevel).
fn register_prefetch(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D
    ) && instruction.op0_kind() == OpKind::Register
}

/// iced-x86 calls an instruction that goes on after fifteen bytes invalid; it is #GP(0), not #UD.
fn too_long(bytes: &[u8], bitness: u32, instruction: &Instruction) -> bool {
    if instruction.len() < LONGEST {
        return false;
    }
    let shorter = bytes.get(..LONGEST - 1).unwrap_or(bytes);
    let mut cut = Decoder::new(bitness, shorter, DecoderOptions::NONE);
    let _ = cut.decode();
    let mut lenient = Decoder::new(bitness, bytes, DecoderOptions::NO_INVALID_CHECK);
    cut.last_error() == DecoderError::NoMoreBytes && lenient.decode().is_invalid()
}

/// An instruction this processor does not have: executing it is #UD.
fn undefined<B: Bus>(instruction: &Instruction, bits: Bits) -> Decoded<B> {
    fn raise<B: Bus>(_core: &mut Core, _bus: &mut B, _op: &Op) -> Exec {
        Err(Exception::INVALID_OPCODE)
    }
    let op = Op { length: instruction.len().max(1) as u8, ..EMPTY };
    Decoded::Op {
        lowered: Lowered { op, next: behind(instruction, bits), run: raise::<B> },
        flow: Flow::Other,
        instruction: *instruction,
    }
}

/// The offset behind an instruction; what is not 64-bit mode has 32-bit offsets.
fn behind(instruction: &Instruction, bits: Bits) -> u64 {
    let next = instruction.ip().wrapping_add(instruction.len().max(1) as u64);
    if bits == Bits::SixtyFour { next } else { next & 0xffff_ffff }
}

const EMPTY: Op = Op {
    dst: Operand::NONE,
    src: Operand::NONE,
    third: Operand::NONE,
    length: 1,
    operand_size: 2,
    quick: Quick::None,
    repeat: Repeat::None,
    memory: Memory {
        segment: segment::DS,
        base: gpr::ZERO,
        index: gpr::ZERO,
        scale: 0,
        displacement: 0,
        mask: 0,
    },
    immediate: 0,
    immediate2: 0,
    before: 0,
    after: 1,
    inside: ELSEWHERE,
    code: Code::INVALID,
};

/// What the prefixes say of operand and address size.
#[derive(Default)]
struct Sizes {
    /// 66h.
    operand: bool,
    /// 67h.
    address: bool,
    /// REX.W.
    wide: bool,
}

impl Sizes {
    fn of(bytes: &[u8], bits: Bits) -> Sizes {
        let mut sizes = Sizes::default();
        for byte in bytes {
            match byte {
                0x66 => sizes.operand = true,
                0x67 => sizes.address = true,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
                // Only right before the opcode it counts.
                0x40..=0x4f if bits == Bits::SixtyFour => {
                    sizes.wide = byte & 8 != 0;
                    continue;
                }
                _ => break,
            }
            sizes.wide = false;
        }
        sizes
    }

    /// Operand size in bytes: 64-bit forms that need no REX.W are told by how far they move RSP.
    fn operand_size(&self, bits: Bits, instruction: &Instruction) -> u8 {
        let pushes = instruction.is_stack_instruction()
            && instruction.stack_pointer_increment().unsigned_abs() == 8
            && instruction.op_count() < 2;
        match bits {
            Bits::Sixteen => 2 + 2 * u8::from(self.operand),
            Bits::ThirtyTwo => 4 - 2 * u8::from(self.operand),
            Bits::SixtyFour if far_32(instruction.code()) => 4,
            Bits::SixtyFour if self.wide || pushes => 8,
            Bits::SixtyFour => 4 - 2 * u8::from(self.operand),
        }
    }

    fn address_size(&self, bits: Bits) -> u8 {
        match bits {
            Bits::Sixteen => 2 + 2 * u8::from(self.address),
            Bits::ThirtyTwo => 4 - 2 * u8::from(self.address),
            Bits::SixtyFour => 8 - 4 * u8::from(self.address),
        }
    }
}

/// Far pointers with 32 bits of offset, even after REX.W.
fn far_32(code: Code) -> bool {
    use Code::{Call_m1632, Jmp_m1632, Lfs_r32_m1632, Lgs_r32_m1632, Lss_r32_m1632};
    matches!(code, Jmp_m1632 | Call_m1632 | Lss_r32_m1632 | Lfs_r32_m1632 | Lgs_r32_m1632)
}

fn lower(instruction: &Instruction, bytes: &[u8], bits: Bits) -> Op {
    let sizes = Sizes::of(bytes, bits);
    let mut op = Op {
        length: instruction.len() as u8,
        operand_size: sizes.operand_size(bits, instruction),
        quick: Quick::of(instruction, None),
        code: instruction.code(),
        ..EMPTY
    };
    op.memory.mask = u64::MAX >> (64 - 8 * u32::from(sizes.address_size(bits)));
    if instruction.is_string_instruction() {
        op.repeat = if instruction.has_repne_prefix() {
            Repeat::WhileNotEqual
        } else if instruction.has_rep_prefix() {
            Repeat::WhileEqual
        } else {
            Repeat::None
        };
    }
    op.dst = operand(instruction, 0, &mut op);
    op.src = operand(instruction, 1, &mut op);
    op.third = operand(instruction, 2, &mut op);
    // A fourth operand is INSERTQ's index, an immediate after three of VEX, or a register of VBLENDVPS.
    let fourth = operand(instruction, 3, &mut op);
    if matches!(fourth.kind, OperandKind::Xmm | OperandKind::Ymm) {
        op.immediate2 = fourth.number;
    }
    if let Some(opcode) = numeric_opcode(bytes, bits) {
        op.immediate = opcode;
    }
    op
}

/// The eleven bits of opcode that x87 remembers of its last instruction: the first byte's low three
/// and the second.
fn numeric_opcode(bytes: &[u8], bits: Bits) -> Option<u64> {
    let rex = |byte: u8| bits == Bits::SixtyFour && byte & 0xf0 == 0x40;
    let at = bytes.iter().position(|byte| !is_prefix(*byte) && !rex(*byte))?;
    match bytes.get(at..at + 2)? {
        [first @ 0xd8..=0xdf, second] => Some(u64::from(first & 7) << 8 | u64::from(*second)),
        _ => None,
    }
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

fn register(register: Register) -> Operand {
    let number = register.number() as u8;
    if register.is_gpr8() {
        // AL to BL, AH to BH, then SPL to R15L.
        match number {
            0..4 => Operand::new(OperandKind::Register, number),
            4..8 => Operand::new(OperandKind::HighByte, number - 4),
            _ => Operand::new(OperandKind::Register, (number - 4) & 15),
        }
    } else if register.is_gpr() {
        Operand::new(OperandKind::Register, number & 15)
    } else if register.is_segment_register() {
        Operand::new(OperandKind::Segment, number)
    } else if register.is_cr() {
        Operand::new(OperandKind::Control, number)
    } else if register.is_dr() {
        Operand::new(OperandKind::Debug, number)
    } else if register.is_st() {
        Operand::new(OperandKind::Stack, number)
    } else if register.is_mm() {
        Operand::new(OperandKind::Mmx, number)
    } else if register.is_xmm() {
        Operand::new(OperandKind::Xmm, number)
    } else if register.is_ymm() {
        Operand::new(OperandKind::Ymm, number)
    } else {
        Operand::NONE
    }
}

/// The number of an address register; XLAT's AL is not one, and is added by its handler.
fn address_register(register: Register) -> u8 {
    if register.is_gpr16() || register.is_gpr32() || register.is_gpr64() {
        register.number() as u8 & 15
    } else {
        gpr::ZERO
    }
}

/// In 64-bit mode overrides to ES, CS, SS and DS are ignored; what is left of them is which fault an
/// address that is not canonical raises.
fn segment_number(instruction: &Instruction) -> u8 {
    let register = instruction.memory_segment();
    if instruction.code_size() == CodeSize::Code64 && !matches!(register, Register::FS | Register::GS) {
        let through_stack = matches!(
            instruction.memory_base(),
            Register::RSP | Register::RBP | Register::ESP | Register::EBP
        );
        return if through_stack { segment::SS } else { segment::DS };
    }
    if register.is_segment_register() { register.number() as u8 } else { segment::DS }
}

fn operand(instruction: &Instruction, index: u32, op: &mut Op) -> Operand {
    if index >= instruction.op_count() {
        return Operand::NONE;
    }
    match instruction.op_kind(index) {
        OpKind::Register => register(instruction.op_register(index)),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            op.immediate = instruction.near_branch_target();
            Operand::IMMEDIATE
        }
        OpKind::FarBranch16 => {
            op.immediate =
                (u64::from(instruction.far_branch_selector()) << 32) | u64::from(instruction.far_branch16());
            Operand::IMMEDIATE
        }
        OpKind::FarBranch32 => {
            op.immediate =
                (u64::from(instruction.far_branch_selector()) << 32) | u64::from(instruction.far_branch32());
            Operand::IMMEDIATE
        }
        OpKind::Immediate8_2nd => {
            op.immediate2 = instruction.immediate8_2nd();
            Operand::IMMEDIATE
        }
        OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegRSI => {
            op.memory.segment = segment_number(instruction);
            Operand::NONE
        }
        OpKind::Memory => {
            let scale = instruction.memory_index_scale().trailing_zeros() as u8;
            if instruction.is_vsib() {
                op.immediate2 = instruction.memory_index().number() as u8;
            }
            op.memory = Memory {
                segment: segment_number(instruction),
                base: if instruction.is_ip_rel_memory_operand() {
                    gpr::BLOCK
                } else {
                    address_register(instruction.memory_base())
                },
                index: address_register(instruction.memory_index()),
                scale,
                displacement: instruction.memory_displacement64(),
                mask: op.memory.mask,
            };
            Operand::MEMORY
        }
        // MASKMOVQ's, whose segment can be overridden.
        OpKind::MemorySegDI | OpKind::MemorySegEDI | OpKind::MemorySegRDI => {
            op.memory.segment = segment_number(instruction);
            Operand::NONE
        }
        OpKind::MemoryESDI | OpKind::MemoryESEDI | OpKind::MemoryESRDI => Operand::NONE,
        _ => {
            op.immediate = instruction.immediate(index);
            Operand::IMMEDIATE
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::FlatBus;

    fn check(bytes: &[u8], big: bool) -> Op {
        let bits = if big { Bits::ThirtyTwo } else { Bits::Sixteen };
        check_in(bytes, bits)
    }

    fn check_in(bytes: &[u8], bits: Bits) -> Op {
        match decode::<FlatBus>(bytes, bits, 0x100, &crate::models::QEMU64) {
            Decoded::Op { lowered, .. } => lowered.op,
            Decoded::Truncated => EMPTY,
        }
    }

    #[rstest]
    #[case::far_pointer(&[0xea, 0x5b, 0xe0, 0x00, 0xf0], false, 0xf000_0000_e05b, 2)]
    #[case::far_pointer_32(&[0x66, 0xea, 1, 2, 3, 4, 8, 0], false, 0x0008_0403_0201, 4)]
    #[case::near_back(&[0xeb, 0xfe], false, 0x100, 2)]
    #[case::sign_extended(&[0x83, 0xc0, 0xff], true, u64::MAX, 4)]
    fn immediates(#[case] bytes: &[u8], #[case] big: bool, #[case] expect: u64, #[case] size: u8) {
        let op = check(bytes, big);
        assert_eq!((op.operand_size, usize::from(op.length)), (size, bytes.len()));
        let mask = if expect == u64::MAX { 0xffff_ffff } else { u64::MAX };
        assert_eq!(op.immediate & mask, expect & mask);
    }

    #[rstest]
    #[case::bp_is_ss(&[0x8b, 0x46, 0xfe], false, (segment::SS, gpr::RBP, gpr::ZERO))]
    #[case::two_registers(&[0x8b, 0x00], false, (segment::DS, gpr::RBX, gpr::RSI))]
    #[case::override_wins(&[0x26, 0x8b, 0x00], false, (segment::ES, gpr::RBX, gpr::RSI))]
    #[case::esp_is_ss(&[0x8b, 0x04, 0x24], true, (segment::SS, gpr::RSP, gpr::ZERO))]
    fn memory(#[case] bytes: &[u8], #[case] big: bool, #[case] expect: (u8, u8, u8)) {
        let memory = check(bytes, big).memory;
        assert_eq!((memory.segment, memory.base, memory.index), expect);
    }
}
