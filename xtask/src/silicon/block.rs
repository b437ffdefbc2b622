//! A block of test code: a few instructions, each with what makes its operands meaningful before it.

use iced_x86::{
    CpuidFeature, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, OpKind, Register,
};
use warmboot_cpu::Model;
use warmboot_silicon::layout::{CODE, Mode};

use super::{
    excluded, forms,
    needs::{Indices, Needs, status},
    random::Random,
    undefined,
};

/// One instruction under test.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is under test; `None` for bytes that are no instruction.
    pub instruction: Option<Instruction>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Offset in the code of what prepares its operands, and of itself.
    pub prepared: usize,
    /// Offset of itself.
    pub at: usize,
    /// Status flags that are undefined before it.
    pub undefined_before: u32,
    /// Status flags that are undefined after it.
    pub undefined_after: u32,
    /// Offset in the data of its operand in memory, where that is known.
    pub operand: Option<u64>,
    /// The register that holds a gather's indices.
    pub indices: Option<Indices>,
}

impl Item {
    /// Offset of the next item, behind a filler that a branch may have skipped.
    pub fn end(&self) -> usize {
        self.at + self.bytes.len() + if self.branches() { FILLER.len() } else { 0 }
    }

    fn branches(&self) -> bool {
        self.instruction.is_some_and(|instruction| goes_elsewhere(&instruction))
    }
}

/// Instructions to be run together.
#[derive(Clone, Debug)]
pub struct Block {
    /// Which code.
    pub mode: Mode,
    /// Offset of the first byte in the code.
    pub offset: usize,
    /// All bytes.
    pub bytes: Vec<u8>,
    /// What they are.
    pub items: Vec<Item>,
    /// Vector registers are used.
    pub vectors: bool,
}

impl Block {
    /// The item that the instruction pointer `at`, an offset in CS, is in or right behind.
    pub fn item_at(&self, at: u64) -> Option<&Item> {
        let at = at.wrapping_add(self.mode.code_base()).wrapping_sub(CODE);
        self.items.iter().find(|item| at < item.end() as u64)
    }
}

/// NOT EDX, behind each branch: whether it was executed tells whether the branch was taken.
const FILLER: [u8; 2] = [0xf7, 0xd2];

/// Whether control may go elsewhere than to the next instruction, without an exception.
fn goes_elsewhere(instruction: &Instruction) -> bool {
    use iced_x86::FlowControl;
    matches!(
        instruction.flow_control(),
        FlowControl::Call
            | FlowControl::ConditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::IndirectCall
            | FlowControl::Return
            | FlowControl::UnconditionalBranch
    )
}

/// Builds blocks.
pub struct Builder<'model> {
    model: &'model Model,
    block: Block,
    undefined: u32,
}

impl<'model> Builder<'model> {
    /// An empty block at `offset` of the code.
    pub fn new(model: &'model Model, mode: Mode, offset: usize) -> Builder<'model> {
        let block = Block { mode, offset, bytes: Vec::new(), items: Vec::new(), vectors: false };
        Builder { model, block, undefined: 0 }
    }

    /// Which code.
    pub fn mode(&self) -> Mode {
        self.block.mode
    }

    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.block.items.len()
    }

    /// The block.
    pub fn finish(self) -> Block {
        self.block
    }

    /// Adds the instruction these bytes are, with what it needs; false when it cannot be compared.
    pub fn push(&mut self, bytes: &[u8], random: &mut Random) -> bool {
        let Some((bytes, instruction)) = self.decode(bytes, self.place()) else { return false };
        if excluded::why(&instruction).is_some()
            || excluded::reserved(&instruction, &bytes)
            || excluded::enters_the_kernel(&bytes)
        {
            return false;
        }
        let mut needs = Needs::new(self.block.mode, instruction);
        if needs.find(random).is_none() || undefined::result(&instruction, needs.cl) {
            return false;
        }
        // Where the branch goes depends on how long what prepares it is, not on where it goes.
        needs.target = 0;
        let Some(draft) = needs.prepare(self.undefined) else { return false };
        let at = self.place() + draft.len();
        let Some((bytes, instruction)) = self.decode(&bytes, at) else { return false };
        let filler = if goes_elsewhere(&instruction) { FILLER.len() } else { 0 };
        needs.target = (CODE - self.block.mode.code_base()) + (at + bytes.len() + filler) as u64;
        let Some(prepared) = needs.prepare(self.undefined) else { return false };
        if prepared.len() != draft.len() || excluded::enters_the_kernel(&prepared) {
            return false;
        }
        if needs.defines_flags(self.undefined) {
            self.undefined = 0;
        }
        self.add(instruction, bytes, &prepared, &needs);
        true
    }

    fn add(&mut self, instruction: Instruction, bytes: Vec<u8>, prepared: &[u8], needs: &Needs) {
        let start = self.place();
        let before = self.undefined;
        let set = if needs.may_leave_flags() { 0 } else { status(instruction.rflags_modified()) };
        self.undefined = (before & !set) | undefined::flags(&instruction, needs.cl);
        self.block.bytes.extend(prepared);
        let at = self.place();
        self.block.bytes.extend(&bytes);
        if goes_elsewhere(&instruction) {
            self.block.bytes.extend(FILLER);
        }
        self.block.vectors |= uses_vectors(&instruction);
        self.block.items.push(Item {
            instruction: Some(instruction),
            bytes,
            prepared: start,
            at,
            undefined_before: before,
            undefined_after: self.undefined,
            operand: needs.operand,
            indices: needs.indices,
        });
    }

    /// Adds bytes that are no instruction; false when they are one, or nobody knows where they end.
    pub fn push_invalid(&mut self, bytes: &[u8]) -> bool {
        let at = self.place();
        // Nor one that only other processors have: the host may be among them.
        let options = [DecoderOptions::NONE, DecoderOptions::AMD];
        let invalid = options.iter().all(|options| {
            let mut decoder = Decoder::new(self.block.mode.bits(), bytes, *options);
            decoder.decode().is_invalid() && decoder.last_error() != DecoderError::NoMoreBytes
        });
        if !invalid || excluded::enters_the_kernel(bytes) || excluded::is_no_plain_escape(bytes) {
            return false;
        }
        // Nor what is not compared, with a prefix it cannot have: AMD's processors execute VERW with LOCK.
        let mut lenient = Decoder::new(self.block.mode.bits(), bytes, DecoderOptions::NO_INVALID_CHECK);
        let instruction = lenient.decode();
        if !instruction.is_invalid() && excluded::why(&instruction).is_some() {
            return false;
        }
        self.block.bytes.extend(bytes);
        self.block.items.push(Item {
            instruction: None,
            bytes: bytes.to_vec(),
            prepared: at,
            at,
            undefined_before: self.undefined,
            undefined_after: self.undefined,
            operand: None,
            indices: None,
        });
        true
    }

    /// Offset in the code of the next byte.
    fn place(&self) -> usize {
        self.block.offset + self.block.bytes.len()
    }

    /// The instruction at offset `at` of the code, with branches made to go over the filler.
    fn decode(&self, bytes: &[u8], at: usize) -> Option<(Vec<u8>, Instruction)> {
        let ip = CODE - self.block.mode.code_base() + at as u64;
        let mut bytes = bytes.to_vec();
        for _ in 0..2 {
            let mut decoder = forms::decoder(self.model, self.block.mode, &bytes, ip);
            let instruction = decoder.decode();
            if instruction.is_invalid() || !self.model.features.allow(&instruction) {
                return None;
            }
            let constants = decoder.get_constant_offsets(&instruction);
            bytes.truncate(instruction.len());
            let to_the_filler = instruction.op_count() == 1
                && matches!(
                    instruction.op_kind(0),
                    OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
                );
            if !to_the_filler {
                return Some((bytes, instruction));
            }
            let immediate = bytes.get_mut(constants.immediate_offset()..)?;
            immediate.fill(0);
            *immediate.first_mut()? = FILLER.len() as u8;
        }
        let instruction = forms::decoder(self.model, self.block.mode, &bytes, ip).decode();
        Some((bytes, instruction))
    }
}

/// Whether x87, MMX, SSE or AVX registers are used or changed.
fn uses_vectors(instruction: &Instruction) -> bool {
    const OTHER: [CpuidFeature; 13] = [
        CpuidFeature::SSE,
        CpuidFeature::SSE2,
        CpuidFeature::SSE3,
        CpuidFeature::SSE4_1,
        CpuidFeature::FPU,
        CpuidFeature::FPU287,
        CpuidFeature::FPU387,
        CpuidFeature::MMX,
        CpuidFeature::FXSR,
        CpuidFeature::AVX,
        CpuidFeature::XSAVE,
        CpuidFeature::XSAVEC,
        CpuidFeature::XSAVEOPT,
    ];
    let register =
        |register: Register| register.is_mm() || register.is_xmm() || register.is_ymm() || register.is_st();
    let features = instruction.cpuid_features();
    (0..instruction.op_count()).any(|index| register(instruction.op_register(index)))
        || features.iter().any(|feature| OTHER.contains(feature))
        || instruction.mnemonic() == Mnemonic::Wait
}
