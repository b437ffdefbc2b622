//! The way into a block of test code and back: machine code of our own, beside the block.

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, code_asm::*};

use crate::{image::VECTOR_BYTES, layout::WAYS};

/// Where registers are loaded from and stored to.
pub(crate) const CASE: u64 = WAYS + 0x1000;
/// Where vector registers are.
pub(crate) const AREA: u64 = WAYS + 0x2000;

/// Linux' selectors.
const USER_CODE: u16 = 0x33;
const USER_DATA: u16 = 0x2b;

/// The registers of a block, at [`CASE`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Case {
    pub(crate) general: [u64; 16],
    pub(crate) flags: u64,
    /// Where the block is: an offset, or 32 bits of offset and above them a selector.
    pub(crate) target: u64,
    /// DS and ES, SS.
    pub(crate) data: u64,
    pub(crate) stack: u64,
    /// The way back: RSP of Rust.
    pub(crate) host_stack: u64,
    /// MXCSR of Rust.
    pub(crate) host_mxcsr: u64,
}

const fn field(offset: usize) -> u64 {
    CASE + offset as u64
}
const FLAGS: u64 = field(std::mem::offset_of!(Case, flags));
const TARGET: u64 = field(std::mem::offset_of!(Case, target));
const DATA_SELECTOR: u64 = field(std::mem::offset_of!(Case, data));
const STACK_SELECTOR: u64 = field(std::mem::offset_of!(Case, stack));
const HOST_STACK: u64 = field(std::mem::offset_of!(Case, host_stack));
const HOST_MXCSR: u64 = field(std::mem::offset_of!(Case, host_mxcsr));

const _: () = assert!(VECTOR_BYTES <= 0x1000 && size_of::<Case>() <= 0x1000);

const GENERAL: [AsmRegister64; 16] =
    [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
/// What the System V calling convention has a function keep.
const KEPT: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];

/// What a pair of ways does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind {
    /// To code of another size: segments are loaded.
    pub(crate) far: bool,
    /// Vector registers are loaded and stored.
    pub(crate) vectors: bool,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [
        Kind { far: false, vectors: false },
        Kind { far: false, vectors: true },
        Kind { far: true, vectors: false },
        Kind { far: true, vectors: true },
    ];

    pub(crate) fn index(self) -> usize {
        usize::from(self.far) * 2 + usize::from(self.vectors)
    }
}

/// A function to call, and where a block must go at its end.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Way {
    pub(crate) enter: u64,
    pub(crate) leave: u64,
}

/// The bytes for [`WAYS`], and the ways in them. `components`: which XSAVE is to handle.
pub(crate) fn assemble(components: u32) -> Result<(Vec<u8>, [Way; 4]), IcedError> {
    let mut bytes = Vec::new();
    let mut ways = [Way::default(); 4];
    for (way, kind) in ways.iter_mut().zip(Kind::ALL) {
        way.enter = WAYS + bytes.len() as u64;
        bytes.extend(enter(kind, components)?.assemble(way.enter)?);
        way.leave = WAYS + bytes.len() as u64;
        bytes.extend(leave(kind, components)?.assemble(way.leave)?);
    }
    Ok((bytes, ways))
}

fn enter(kind: Kind, components: u32) -> Result<CodeAssembler, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    for register in KEPT {
        a.push(register)?;
    }
    a.mov(qword_ptr(HOST_STACK), rsp)?;
    if kind.vectors {
        a.stmxcsr(dword_ptr(HOST_MXCSR))?;
        a.mov(eax, components)?;
        a.xor(edx, edx)?;
        a.xrstor64(ptr(AREA))?;
    }
    if kind.far {
        a.mov(eax, dword_ptr(DATA_SELECTOR))?;
        a.mov(ds, eax)?;
        a.mov(es, eax)?;
    }
    a.push(qword_ptr(FLAGS))?;
    a.popfq()?;
    if kind.far {
        a.mov(eax, dword_ptr(STACK_SELECTOR))?;
        a.mov(ss, eax)?;
    }
    for (index, register) in GENERAL.into_iter().enumerate() {
        a.mov(register, qword_ptr(CASE + 8 * index as u64))?;
    }
    if kind.far {
        let pointer = MemoryOperand::with_displ(TARGET, 4);
        a.add_instruction(Instruction::with1(Code::Jmp_m1632, pointer)?)?;
    } else {
        a.jmp(qword_ptr(TARGET))?;
    }
    Ok(a)
}

fn leave(kind: Kind, components: u32) -> Result<CodeAssembler, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    for (index, register) in GENERAL.into_iter().enumerate() {
        a.mov(qword_ptr(CASE + 8 * index as u64), register)?;
    }
    if kind.far {
        a.mov(eax, u32::from(USER_DATA))?;
        a.mov(ss, eax)?;
    }
    a.mov(rsp, qword_ptr(HOST_STACK))?;
    a.pushfq()?;
    a.pop(qword_ptr(FLAGS))?;
    // Direction and alignment checks as Rust has them.
    a.push(0x202)?;
    a.popfq()?;
    if kind.far {
        a.xor(eax, eax)?;
        a.mov(ds, eax)?;
        a.mov(es, eax)?;
    }
    if kind.vectors {
        a.mov(eax, components)?;
        a.xor(edx, edx)?;
        a.xsave64(ptr(AREA))?;
        a.fninit()?;
        a.ldmxcsr(dword_ptr(HOST_MXCSR))?;
    }
    for register in KEPT.into_iter().rev() {
        a.pop(register)?;
    }
    a.ret()?;
    Ok(a)
}

/// The end of a block: a jump to `leave`, a way out, from offset `at` of code with `bits`.
pub(crate) fn end(bits: u32, at: u64, leave: u64) -> Vec<u8> {
    let offset = (leave as u32).to_le_bytes();
    let selector = USER_CODE.to_le_bytes();
    match bits {
        16 => [&[0x66, 0xea], &offset[..], &selector].concat(),
        32 => [&[0xea], &offset[..], &selector].concat(),
        _ => {
            let distance = leave.wrapping_sub(at).wrapping_sub(5) as u32;
            [&[0xe9], &distance.to_le_bytes()[..]].concat()
        }
    }
}
