//! What an instruction needs in registers and memory before it, so that it does something worth
//! comparing.

use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Mnemonic, OpKind, Register, RflagsBits};
use warmboot_silicon::layout::{DATA, Mode, READ_ONLY};

use super::{excluded, place, random::Random, undefined};

/// iced-x86's flags as RFLAGS has them.
pub fn status(bits: u32) -> u32 {
    const PAIRS: [(u32, u32); 6] = [
        (RflagsBits::CF, 1 << 0),
        (RflagsBits::PF, 1 << 2),
        (RflagsBits::AF, 1 << 4),
        (RflagsBits::ZF, 1 << 6),
        (RflagsBits::SF, 1 << 7),
        (RflagsBits::OF, 1 << 11),
    ];
    PAIRS.iter().filter(|(theirs, _)| bits & theirs != 0).fold(0, |all, (_, ours)| all | ours)
}

/// What an instruction needs in registers and memory, so that it does something worth comparing.
pub struct Needs {
    mode: Mode,
    instruction: Instruction,
    /// Full general registers and what they must hold.
    registers: Vec<(u32, u64)>,
    /// Data offsets and the dwords they must hold.
    stores: Vec<(u64, u32)>,
    /// Data offsets that must hold where a branch goes.
    pointers: Vec<u64>,
    /// The register that must hold where a branch goes.
    pointer: Option<u32>,
    /// Where that is, as an offset in CS.
    pub target: u64,
    /// CL, for those that shift by it.
    pub cl: Option<u8>,
    /// Offset in the data of the operand in memory.
    pub operand: Option<u64>,
    /// The register that holds a gather's indices.
    pub indices: Option<Indices>,
}

/// A gather's indices.
#[derive(Clone, Copy, Debug)]
pub struct Indices {
    /// Number of the vector register.
    pub register: usize,
    /// 64 bits each.
    pub wide: bool,
}

impl Needs {
    /// Nothing yet.
    pub fn new(mode: Mode, instruction: Instruction) -> Needs {
        Needs {
            mode,
            instruction,
            registers: Vec::new(),
            stores: Vec::new(),
            pointers: Vec::new(),
            pointer: None,
            target: 0,
            cl: None,
            operand: None,
            indices: None,
        }
    }

    /// Adds a wish; `None` when the register must hold something else already.
    fn register(&mut self, number: u32, value: u64) -> Option<()> {
        let bits = if self.mode == Mode::SixtyFour { u64::MAX } else { 0xffff_ffff };
        let value = value & bits;
        match self.registers.iter().find(|(own, _)| *own == number) {
            Some((_, other)) if *other != value => None,
            Some(_) => Some(()),
            None => {
                self.registers.push((number, value));
                Some(())
            }
        }
    }

    /// Finds it out; `None` when it cannot be had.
    pub fn find(&mut self, random: &mut Random) -> Option<()> {
        self.memory(random)?;
        self.strings(random)?;
        self.stack(random)?;
        self.counts(random)?;
        self.bit_offset(random)?;
        self.components(random)?;
        self.branch()
    }

    /// What an offset in the data is for an effective address.
    fn effective(&self, offset: u64) -> u64 {
        DATA - self.mode.data_base() + offset
    }

    /// The operand in memory, with base and index chosen for it.
    fn memory(&mut self, random: &mut Random) -> Option<()> {
        let instruction = self.instruction;
        if !(0..instruction.op_count()).any(|index| instruction.op_kind(index) == OpKind::Memory) {
            return Some(());
        }
        let size = instruction.memory_size().size().max(1) as u64;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let displacement = instruction.memory_displacement64();
        if base.is_ip() || (base == Register::None && index == Register::None) {
            return self.fixed(displacement);
        }
        let area = excluded::saves_components(instruction.mnemonic())
            || excluded::restores_components(instruction.mnemonic());
        let offset = if area { place::area(random) } else { place::operand(random, size) };
        let target = self.effective(offset);
        self.operand = Some(offset);
        if index.is_xmm() || index.is_ymm() {
            let wide = matches!(
                instruction.mnemonic(),
                Mnemonic::Vgatherqps | Mnemonic::Vgatherqpd | Mnemonic::Vpgatherqd | Mnemonic::Vpgatherqq
            );
            self.indices = Some(Indices { register: index.number(), wide });
            self.register(base.number() as u32, target.wrapping_sub(displacement))?;
            return Some(());
        }
        let sixteen = base.is_gpr16() || index.is_gpr16();
        let scale = u64::from(instruction.memory_index_scale());
        let mut added = 0;
        if index != Register::None && index != Register::AL {
            if index.full_register() == base.full_register() {
                return None;
            }
            let value = if base == Register::None {
                let rest = target.wrapping_sub(displacement);
                // The displacement was made for the index to be small.
                let rest = if sixteen { rest & 0xffff } else { rest & 0xffff_ffff };
                if rest / scale > 0x1_0000 {
                    return None;
                }
                self.operand = Some(offset - rest % scale);
                rest / scale
            } else {
                random.below(64)
            };
            self.index(index, value, sixteen, random)?;
            added = value.wrapping_mul(scale);
        }
        if base == Register::None {
            return Some(());
        }
        self.base(base, target.wrapping_sub(displacement).wrapping_sub(added), random)
    }

    /// An address without registers must be one that is known.
    fn fixed(&mut self, displacement: u64) -> Option<()> {
        let offset = displacement.wrapping_sub(self.effective(0));
        if offset < place::END + 0x2000 {
            self.operand = Some(offset);
            Some(())
        } else {
            (displacement < 0xf000).then_some(())
        }
    }

    fn index(&mut self, index: Register, value: u64, sixteen: bool, random: &mut Random) -> Option<()> {
        let above = if sixteen { random.next() & !0xffff } else { 0 };
        let above = if index.is_gpr32() { random.next() << 32 } else { above };
        self.register(index.number() as u32, value | above)
    }

    fn base(&mut self, base: Register, value: u64, random: &mut Random) -> Option<()> {
        let value = match base.size() {
            2 => value & 0xffff | random.next() & !0xffff,
            4 => value & 0xffff_ffff | random.next() << 32,
            // Sometimes an address that is not canonical.
            _ if random.once_in(50) => value ^ 1 << (47 + random.below(16)),
            _ => value,
        };
        self.register(base.number() as u32, value)
    }

    /// (R)SI, (R)DI and (R)CX of string instructions and MASKMOV.
    fn strings(&mut self, random: &mut Random) -> Option<()> {
        let instruction = self.instruction;
        for index in 0..instruction.op_count() {
            let (number, bits) = match instruction.op_kind(index) {
                OpKind::MemorySegSI => (6, 16),
                OpKind::MemorySegESI => (6, 32),
                OpKind::MemorySegRSI => (6, 64),
                OpKind::MemorySegDI | OpKind::MemoryESDI => (7, 16),
                OpKind::MemorySegEDI | OpKind::MemoryESEDI => (7, 32),
                OpKind::MemorySegRDI | OpKind::MemoryESRDI => (7, 64),
                _ => continue,
            };
            let offset = if random.once_in(16) { place::operand(random, 8) } else { place::within(random) };
            let above = if bits == 64 { 0 } else { random.next() & (u64::MAX << bits) };
            let low = self.effective(offset) & (u64::MAX >> (64 - bits));
            self.register(number, low | above)?;
            self.operand = Some(offset);
            if instruction.has_rep_prefix() || instruction.has_repne_prefix() {
                self.register(1, random.below(7) | above)?;
            }
        }
        Some(())
    }

    /// RSP, and RBP for those that use it, and what is to be popped.
    fn stack(&mut self, random: &mut Random) -> Option<()> {
        let instruction = self.instruction;
        if !instruction.is_stack_instruction() {
            return Some(());
        }
        let above = if self.mode == Mode::SixtyFour { 0 } else { random.next() & 0xffff_0000 };
        let above = if self.mode == Mode::ThirtyTwo { 0 } else { above };
        let based = self.registers.iter().any(|(number, _)| *number == 4);
        let offset = place::stack(random);
        if !based {
            self.register(4, self.effective(offset) | above)?;
        }
        match instruction.mnemonic() {
            Mnemonic::Leave | Mnemonic::Enter => {
                let frame = place::stack(random);
                self.register(5, self.effective(frame) | above)?;
            }
            // Neither traps after each instruction nor alignment checks.
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
                if based || !writable(offset) || !writable(offset + 4) {
                    return None;
                }
                const USERS: u64 = undefined::STATUS as u64 | 1 << 10 | 1 << 21;
                self.stores.push((offset, (random.next() & USERS) as u32));
                self.stores.push((offset + 4, 0));
            }
            Mnemonic::Ret => self.point_from(offset)?,
            _ => {}
        }
        Some(())
    }

    /// CL of shifts; a divisor's dividend is mostly not too large; ENTER's frame not too long.
    fn counts(&mut self, random: &mut Random) -> Option<()> {
        let instruction = self.instruction;
        if undefined::counts_by_cl(&instruction) {
            let count = if random.once_in(2) { random.below(34) } else { random.next() };
            if self.registers.iter().any(|(number, _)| *number == 1) {
                return None;
            }
            self.register(1, random.next() & !0xff | count & 0xff)?;
            self.cl = Some(count as u8);
        }
        if matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) && !random.once_in(4) {
            let (number, high) = if undefined::operand_bits(&instruction) == 8 {
                (0, random.next() & 0x0fff)
            } else {
                (2, random.below(3).wrapping_sub(1))
            };
            if !self.registers.iter().any(|(own, _)| *own == number) {
                self.register(number, high)?;
            }
        }
        Some(())
    }

    /// What XGETBV and the XSAVE family are asked for: components we know, and such as nobody has. PKRU is
    /// never loaded, because it would take the process its own pages.
    fn components(&mut self, random: &mut Random) -> Option<()> {
        const KNOWN: u64 = 7;
        const KEYS: u64 = 1 << 9;
        const NOBODYS: u64 = 0xfff0_0000;
        let mnemonic = self.instruction.mnemonic();
        if mnemonic == Mnemonic::Xgetbv {
            let register = random.pick(&[0, 0, 1, 1, 1, 2, 1 << 31]);
            return self.register(1, random.next() << 32 | register);
        }
        let keys = if excluded::saves_components(mnemonic) { KEYS } else { 0 };
        if keys == 0 && !excluded::restores_components(mnemonic) {
            return Some(());
        }
        let wanted = if random.once_in(4) { u64::MAX } else { random.next() };
        self.register(0, wanted & (KNOWN | keys | NOBODYS) | random.next() << 32)?;
        self.register(2, random.next())
    }

    /// The bit offset of BT and its kin reaches far beyond the operand.
    fn bit_offset(&mut self, random: &mut Random) -> Option<()> {
        let instruction = self.instruction;
        let bits =
            matches!(instruction.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
        if !bits || instruction.op_kind(0) != OpKind::Memory || instruction.op_kind(1) != OpKind::Register {
            return Some(());
        }
        let near = (random.below(2048) as i64 - 1024) as u64;
        let register = instruction.op1_register();
        let value = match register.size() {
            2 => near & 0xffff | random.next() & !0xffff,
            4 => near & 0xffff_ffff | random.next() << 32,
            _ => near,
        };
        let number = register.number() as u32;
        if self.registers.iter().any(|(own, _)| *own == number) {
            return None;
        }
        self.register(number, value)
    }

    /// Where indirect branches go.
    fn branch(&mut self) -> Option<()> {
        let instruction = self.instruction;
        let code = instruction.code();
        if !code.is_jmp_near_indirect() && !code.is_call_near_indirect() {
            return Some(());
        }
        if instruction.op_kind(0) == OpKind::Register {
            let number = instruction.op0_register().number() as u32;
            if self.registers.iter().any(|(own, _)| *own == number) {
                return None;
            }
            self.pointer = Some(number);
        } else if let Some(offset) = self.operand {
            self.point_from(offset)?;
        }
        Some(())
    }

    /// A branch takes its target from there: it must be one that can be put there, or a fault.
    fn point_from(&mut self, offset: u64) -> Option<()> {
        let readable = (READ_ONLY * 4096 - 8..place::END).contains(&offset);
        if writable(offset) && writable(offset + 4) {
            self.pointers.push(offset);
        } else if readable {
            return None;
        }
        Some(())
    }

    /// Whether flags it sets stay as they were at times: after no iteration, a count of zero, an invalid
    /// x87 operand.
    pub fn may_leave_flags(&self) -> bool {
        let instruction = &self.instruction;
        let fault = matches!(
            instruction.mnemonic(),
            Mnemonic::Fcomi | Mnemonic::Fcomip | Mnemonic::Fucomi | Mnemonic::Fucomip
        );
        fault
            || instruction.has_rep_prefix()
            || instruction.has_repne_prefix()
            || undefined::shifts(instruction) && undefined::count(instruction, self.cl) == Some(0)
    }

    /// Whether what prepares it gives the status flags values.
    pub fn defines_flags(&self, undefined: u32) -> bool {
        let reads = match self.instruction.mnemonic() {
            Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq | Mnemonic::Lahf => undefined::STATUS,
            _ => status(self.instruction.rflags_read()),
        };
        // Some leave flags as they were, whether they count or not.
        undefined & reads != 0
    }

    /// The bytes that make it so.
    pub fn prepare(&self, undefined: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.defines_flags(undefined) {
            // CMP EDI, EBP.
            bytes.extend([0x39, 0xef]);
        }
        let target = self.target;
        let pointers =
            self.pointers.iter().flat_map(|at| [(*at, target as u32), (*at + 4, (target >> 32) as u32)]);
        for (offset, value) in self.stores.iter().copied().chain(pointers) {
            if writable(offset) {
                self.store(&mut bytes, offset, value)?;
            }
        }
        for (number, value) in
            self.registers.iter().copied().chain(self.pointer.map(|number| (number, target)))
        {
            let instruction = if self.mode == Mode::SixtyFour {
                Instruction::with2(Code::Mov_r64_imm64, Register::RAX + number, value)
            } else {
                Instruction::with2(Code::Mov_r32_imm32, Register::EAX + number, value as u32)
            };
            self.encode(&mut bytes, instruction.ok()?)?;
        }
        Some(bytes)
    }

    fn store(&self, bytes: &mut Vec<u8>, offset: u64, value: u32) -> Option<()> {
        let at = self.effective(offset);
        if self.mode != Mode::Sixteen {
            let memory = MemoryOperand::with_displ(at, 4);
            return self.encode(bytes, Instruction::with2(Code::Mov_rm32_imm32, memory, value).ok()?);
        }
        for (at, half) in [(at, value & 0xffff), (at + 2, value >> 16)] {
            let memory = MemoryOperand::with_displ(at, 2);
            self.encode(bytes, Instruction::with2(Code::Mov_rm16_imm16, memory, half).ok()?)?;
        }
        Some(())
    }

    fn encode(&self, bytes: &mut Vec<u8>, instruction: Instruction) -> Option<()> {
        let mut encoder = Encoder::new(self.mode.bits());
        encoder.encode(&instruction, 0).ok()?;
        bytes.extend(encoder.take_buffer());
        Some(())
    }
}

/// Whether a dword can be stored there to prepare an operand.
fn writable(offset: u64) -> bool {
    (place::FIRST..place::END - 0x70).contains(&offset)
}
