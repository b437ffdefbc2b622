//! Every instruction form iced-x86 knows, with random operands.

use iced_x86::{Code, Decoder, Encoder, Instruction, OpCodeOperandKind as Kind, OpKind, Register};
use warmboot_cpu::{Features, Model};
use warmboot_silicon::layout::Mode;

use super::{excluded, place, random::Random};

/// How often operands are tried for a form before it is taken to have no encoding of its own.
const ATTEMPTS: usize = 60;

/// A form and what may be done with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// It is compared.
    Compared,
    /// Not, for this reason.
    Excluded(&'static str),
    /// No bytes decode to it on a processor of this model.
    NotDecoded,
}

/// The forms that `model` offers in `mode`.
pub fn offered(model: &Model, mode: Mode) -> Vec<(Code, Use)> {
    let in_mode = |code: Code| match mode {
        Mode::Sixteen => code.op_code().mode16(),
        Mode::ThirtyTwo => code.op_code().mode32(),
        Mode::SixtyFour => code.op_code().mode64(),
    };
    let codes = Code::values().filter(|code| in_mode(*code) && !excluded::no_instruction(*code));
    codes
        .filter(|code| allowed(*code, model.features))
        .map(|code| (code, use_of(code, model, mode)))
        .collect()
}

fn allowed(code: Code, features: Features) -> bool {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    features.allow(&instruction)
}

fn use_of(code: Code, model: &Model, mode: Mode) -> Use {
    let mut random = Random::new(code as u64, 0);
    let mut reason = None;
    for _ in 0..ATTEMPTS {
        let Some(bytes) = encode(code, mode, &mut random) else { continue };
        let instruction = decoder(model, mode, &bytes, 0x1000).decode();
        if instruction.code() != code {
            continue;
        }
        match excluded::why(&instruction) {
            None => return Use::Compared,
            why => reason = why,
        }
    }
    reason.map_or(Use::NotDecoded, Use::Excluded)
}

/// A decoder that sees `bytes` as processors of `model` do.
pub fn decoder<'bytes>(model: &Model, mode: Mode, bytes: &'bytes [u8], at: u64) -> Decoder<'bytes> {
    let mut options = model.features.decoder_options();
    if mode == Mode::SixtyFour && model.amd() {
        options |= iced_x86::DecoderOptions::AMD;
    }
    Decoder::with_ip(mode.bits(), bytes, at, options)
}

/// The bytes of `code` with random operands; `None` when these cannot be encoded together.
pub fn encode(code: Code, mode: Mode, random: &mut Random) -> Option<Vec<u8>> {
    let mut form = Form { mode, random, address_bits: 0, instruction: Instruction::default() };
    form.address_bits = form.choose_address_bits();
    form.instruction.set_code(code);
    let info = code.op_code();
    for (index, kind) in info.op_kinds().iter().enumerate() {
        form.operand(index as u32, *kind)?;
    }
    let instruction = &mut form.instruction;
    instruction.set_has_lock_prefix(info.can_use_lock_prefix() && form.random.once_in(3));
    if info.can_use_rep_prefix() || info.can_use_repne_prefix() {
        match form.random.below(3) {
            0 => instruction.set_has_rep_prefix(true),
            1 if info.can_use_repne_prefix() => instruction.set_has_repne_prefix(true),
            _ => {}
        }
    }
    let mut encoder = Encoder::new(mode.bits());
    // Bits of a VEX prefix that are ignored, and the long prefix where the short one would do.
    encoder.set_vex_wig(form.random.below(2) as u32);
    encoder.set_vex_lig(form.random.below(2) as u32);
    encoder.set_prevent_vex2(form.random.once_in(4));
    encoder.encode(&form.instruction, 0x1000).ok()?;
    Some(encoder.take_buffer())
}

/// An instruction being put together.
struct Form<'random> {
    mode: Mode,
    random: &'random mut Random,
    address_bits: u32,
    instruction: Instruction,
}

impl Form<'_> {
    fn choose_address_bits(&mut self) -> u32 {
        match (self.mode, self.random.once_in(8)) {
            (Mode::SixtyFour, false) => 64,
            (Mode::SixtyFour, true) | (Mode::ThirtyTwo, false) | (Mode::Sixteen, true) => 32,
            (Mode::ThirtyTwo, true) | (Mode::Sixteen, false) => 16,
        }
    }

    fn registers(&self) -> u64 {
        if self.mode == Mode::SixtyFour { 16 } else { 8 }
    }

    /// A register of the file that `first` begins.
    fn of(&mut self, first: Register, count: u64) -> Register {
        first + self.random.below(count) as u32
    }

    fn register(&mut self, index: u32, register: Register) {
        self.instruction.set_op_kind(index, OpKind::Register);
        self.instruction.set_op_register(index, register);
    }

    fn numbered(&mut self, index: u32, first: Register) {
        let count = match first {
            Register::MM0 | Register::ST0 => 8,
            // With SPL and its kin, which need REX.
            Register::AL if self.mode == Mode::SixtyFour => 20,
            _ => self.registers(),
        };
        let register = self.of(first, count);
        self.register(index, register);
    }

    fn register_or_memory(&mut self, index: u32, first: Register) {
        if self.random.once_in(2) {
            self.numbered(index, first);
        } else {
            self.memory(index);
        }
    }

    /// One operand; `None` for kinds that only processors with AVX-512, AMX or MPX have.
    fn operand(&mut self, index: u32, kind: Kind) -> Option<()> {
        match kind {
            Kind::r8_or_mem => self.register_or_memory(index, Register::AL),
            Kind::r16_or_mem => self.register_or_memory(index, Register::AX),
            Kind::r32_or_mem => self.register_or_memory(index, Register::EAX),
            Kind::r64_or_mem => self.register_or_memory(index, Register::RAX),
            Kind::mm_or_mem => self.register_or_memory(index, Register::MM0),
            Kind::xmm_or_mem => self.register_or_memory(index, Register::XMM0),
            Kind::ymm_or_mem => self.register_or_memory(index, Register::YMM0),
            Kind::r8_reg | Kind::r8_opcode => self.numbered(index, Register::AL),
            Kind::r16_reg | Kind::r16_rm | Kind::r16_opcode => self.numbered(index, Register::AX),
            Kind::r32_reg | Kind::r32_rm | Kind::r32_opcode | Kind::r32_vvvv => {
                self.numbered(index, Register::EAX);
            }
            Kind::r64_reg | Kind::r64_rm | Kind::r64_opcode | Kind::r64_vvvv => {
                self.numbered(index, Register::RAX);
            }
            Kind::mm_reg | Kind::mm_rm => self.numbered(index, Register::MM0),
            Kind::xmm_reg | Kind::xmm_rm | Kind::xmm_vvvv | Kind::xmm_is4 => {
                self.numbered(index, Register::XMM0);
            }
            Kind::ymm_reg | Kind::ymm_rm | Kind::ymm_vvvv | Kind::ymm_is4 => {
                self.numbered(index, Register::YMM0);
            }
            Kind::sti_opcode => self.numbered(index, Register::ST0),
            Kind::seg_reg => {
                let register = self.of(Register::ES, 6);
                self.register(index, register);
            }
            Kind::cr_reg => {
                let register = Register::CR0 + self.random.pick(&[0, 2, 3, 4, 8]);
                self.register(index, register);
            }
            Kind::dr_reg => {
                let register = self.of(Register::DR0, 8);
                self.register(index, register);
            }
            Kind::mem | Kind::mem_offs => self.memory_of(index, kind),
            Kind::mem_vsib32x | Kind::mem_vsib64x => self.indexed_by(index, Register::XMM0),
            Kind::mem_vsib32y | Kind::mem_vsib64y => self.indexed_by(index, Register::YMM0),
            _ => return self.implied(index, kind),
        }
        Some(())
    }

    /// Registers an opcode names by itself, memory of string instructions, immediates, branches.
    fn implied(&mut self, index: u32, kind: Kind) -> Option<()> {
        let fixed = match kind {
            Kind::es => Register::ES,
            Kind::cs => Register::CS,
            Kind::ss => Register::SS,
            Kind::ds => Register::DS,
            Kind::fs => Register::FS,
            Kind::gs => Register::GS,
            Kind::al => Register::AL,
            Kind::cl => Register::CL,
            Kind::ax => Register::AX,
            Kind::dx => Register::DX,
            Kind::eax => Register::EAX,
            Kind::rax => Register::RAX,
            Kind::st0 => Register::ST0,
            _ => return self.string_or_immediate(index, kind),
        };
        self.register(index, fixed);
        Some(())
    }

    fn string_or_immediate(&mut self, index: u32, kind: Kind) -> Option<()> {
        let bits = self.address_bits;
        let op_kind = match kind {
            Kind::seg_rSI => by_size(bits, OpKind::MemorySegSI, OpKind::MemorySegESI, OpKind::MemorySegRSI),
            Kind::es_rDI => by_size(bits, OpKind::MemoryESDI, OpKind::MemoryESEDI, OpKind::MemoryESRDI),
            Kind::seg_rDI => by_size(bits, OpKind::MemorySegDI, OpKind::MemorySegEDI, OpKind::MemorySegRDI),
            Kind::seg_rBX_al => {
                self.instruction.set_memory_base(by_size(bits, Register::BX, Register::EBX, Register::RBX));
                self.instruction.set_memory_index(Register::AL);
                OpKind::Memory
            }
            Kind::br16_1 | Kind::br16_2 => OpKind::NearBranch16,
            Kind::br32_1 | Kind::br32_4 => OpKind::NearBranch32,
            Kind::br64_1 | Kind::br64_4 => OpKind::NearBranch64,
            _ => return self.immediate(index, kind),
        };
        self.instruction.set_op_kind(index, op_kind);
        if matches!(op_kind, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64) {
            self.instruction.set_near_branch64(0x1010);
        }
        Some(())
    }

    fn immediate(&mut self, index: u32, kind: Kind) -> Option<()> {
        let value = self.random.general();
        let instruction = &mut self.instruction;
        // ENTER, EXTRQ and INSERTQ have two.
        let second = (0..index)
            .any(|earlier| matches!(instruction.op_kind(earlier), OpKind::Immediate8 | OpKind::Immediate16));
        match kind {
            Kind::imm8_const_1 => {
                instruction.set_op_kind(index, OpKind::Immediate8);
                instruction.set_immediate8(1);
            }
            Kind::imm8 if second => {
                instruction.set_op_kind(index, OpKind::Immediate8_2nd);
                instruction.set_immediate8_2nd(value as u8);
            }
            Kind::imm8 => {
                instruction.set_op_kind(index, OpKind::Immediate8);
                instruction.set_immediate8(value as u8);
            }
            Kind::imm8sex16 => {
                instruction.set_op_kind(index, OpKind::Immediate8to16);
                instruction.set_immediate8to16(i16::from(value as i8));
            }
            Kind::imm8sex32 => {
                instruction.set_op_kind(index, OpKind::Immediate8to32);
                instruction.set_immediate8to32(i32::from(value as i8));
            }
            Kind::imm8sex64 => {
                instruction.set_op_kind(index, OpKind::Immediate8to64);
                instruction.set_immediate8to64(i64::from(value as i8));
            }
            Kind::imm16 => {
                instruction.set_op_kind(index, OpKind::Immediate16);
                instruction.set_immediate16(value as u16);
            }
            Kind::imm32 => {
                instruction.set_op_kind(index, OpKind::Immediate32);
                instruction.set_immediate32(value as u32);
            }
            Kind::imm32sex64 => {
                instruction.set_op_kind(index, OpKind::Immediate32to64);
                instruction.set_immediate32to64(i64::from(value as i32));
            }
            Kind::imm64 => {
                instruction.set_op_kind(index, OpKind::Immediate64);
                instruction.set_immediate64(value);
            }
            Kind::farbr2_2 | Kind::farbr4_2 => {
                let far16 = kind == Kind::farbr2_2;
                instruction.set_op_kind(index, if far16 { OpKind::FarBranch16 } else { OpKind::FarBranch32 });
            }
            _ => return None,
        }
        Some(())
    }

    fn memory(&mut self, index: u32) {
        self.memory_of(index, Kind::mem);
    }

    fn memory_of(&mut self, index: u32, kind: Kind) {
        self.instruction.set_op_kind(index, OpKind::Memory);
        if self.random.once_in(10) {
            let segment = self.of(Register::ES, 4);
            self.instruction.set_segment_prefix(segment);
        }
        if kind == Kind::mem_offs {
            self.absolute(self.address_bits / 8);
        } else if self.address_bits == 16 {
            self.memory_16();
        } else {
            self.memory_32();
        }
    }

    /// An address without registers.
    fn absolute(&mut self, bytes: u32) {
        let target = self
            .mode
            .data_base()
            .wrapping_neg()
            .wrapping_add(warmboot_silicon::layout::DATA + place::operand(self.random, 16));
        let target = if self.mode == Mode::Sixteen { target } else { target & 0xffff_ffff };
        let target = if bytes == 2 { target & 0xffff } else { target };
        self.instruction.set_memory_displ_size(bytes);
        self.instruction.set_memory_displacement64(target);
    }

    fn memory_16(&mut self) {
        use Register::{BP, BX, DI, None, SI};
        const PAIRS: [(Register, Register); 9] = [
            (BX, SI),
            (BX, DI),
            (BP, SI),
            (BP, DI),
            (SI, None),
            (DI, None),
            (BP, None),
            (BX, None),
            (None, None),
        ];
        let (base, index) = self.random.pick(&PAIRS);
        if base == None {
            self.absolute(2);
            return;
        }
        self.instruction.set_memory_base(base);
        self.instruction.set_memory_index(index);
        match self.random.below(3) {
            0 => {}
            1 => {
                let value = self.random_byte() & 0xffff;
                self.displacement(1, value);
            }
            _ => {
                let value = self.random.next() & 0xffff;
                self.displacement(2, value);
            }
        }
    }

    fn memory_32(&mut self) {
        let wide = self.address_bits == 64;
        let first = if wide { Register::RAX } else { Register::EAX };
        if self.mode == Mode::SixtyFour && self.random.once_in(8) {
            let register = if wide { Register::RIP } else { Register::EIP };
            let target = warmboot_silicon::layout::DATA + place::operand(self.random, 16);
            self.instruction.set_memory_base(register);
            self.displacement(if wide { 8 } else { 4 }, target);
            return;
        }
        let based = !self.random.once_in(8);
        let indexed = self.random.once_in(2);
        if indexed {
            let register =
                first + self.random.pick(&[0, 1, 2, 3, 5, 6, 7, 8, 10, 13, 15]) % self.registers() as u32;
            let register = if register == first + 4 { first } else { register };
            self.instruction.set_memory_index(register);
            self.instruction.set_memory_index_scale(1 << self.random.below(4));
        }
        if !based {
            self.absolute(if wide { 8 } else { 4 });
            if indexed {
                // What the index adds is taken off, so that it can be small.
                let scale = u64::from(self.instruction.memory_index_scale());
                let displacement = self.instruction.memory_displacement64();
                let less = displacement.wrapping_sub(self.random.below(64) * scale);
                self.displacement(if wide { 8 } else { 4 }, less & 0xffff_ffff);
            }
            return;
        }
        let base = self.of(first, self.registers());
        self.instruction.set_memory_base(base);
        match self.random.below(3) {
            0 => {}
            1 => {
                let value = self.random_byte();
                self.displacement(1, value);
            }
            _ => {
                let value = i64::from(self.random.general() as i32) as u64;
                self.displacement(if wide { 8 } else { 4 }, value);
            }
        }
        if !wide {
            let low = self.instruction.memory_displacement64() & 0xffff_ffff;
            self.instruction.set_memory_displacement64(low);
        }
    }

    /// A gather's memory: a base, and a vector of indices.
    fn indexed_by(&mut self, index: u32, first: Register) {
        self.address_bits = self.address_bits.max(32);
        let base = if self.address_bits == 64 { Register::RAX } else { Register::EAX };
        let base = self.of(base, self.registers());
        let vector = self.of(first, self.registers());
        self.instruction.set_op_kind(index, OpKind::Memory);
        self.instruction.set_memory_base(base);
        self.instruction.set_memory_index(vector);
        self.instruction.set_memory_index_scale(1 << self.random.below(4));
    }

    /// A displacement of one byte, sign-extended.
    fn random_byte(&mut self) -> u64 {
        i64::from(self.random.next() as i8) as u64
    }

    fn displacement(&mut self, bytes: u32, value: u64) {
        self.instruction.set_memory_displ_size(bytes);
        self.instruction.set_memory_displacement64(value);
    }
}

/// What belongs to an address size.
fn by_size<T>(bits: u32, sixteen: T, thirty_two: T, sixty_four: T) -> T {
    match bits {
        16 => sixteen,
        32 => thirty_two,
        _ => sixty_four,
    }
}
