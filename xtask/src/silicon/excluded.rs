//! What is not compared, and why: it reads or changes what is the host's own, or belongs to its kernel.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// Mnemonics that are left out, with the reason.
const EXCLUDED: &[(&[Mnemonic], &str)] = &[
    (&[Mnemonic::Cpuid], "says which processor the host has"),
    (
        &[Mnemonic::Rdtsc, Mnemonic::Rdtscp, Mnemonic::Rdpmc, Mnemonic::Rdpru, Mnemonic::Rdpid],
        "reads the host's time, counters or number",
    ),
    (&[Mnemonic::Rdrand, Mnemonic::Rdseed], "is random"),
    (&[Mnemonic::Syscall, Mnemonic::Sysenter], "enters the host's kernel"),
    (&[Mnemonic::Int1], "is taken for a debugger's by the host's kernel"),
    (
        &[Mnemonic::Sgdt, Mnemonic::Sidt, Mnemonic::Sldt, Mnemonic::Str, Mnemonic::Smsw],
        "stores the host's tables, or what its kernel says in their place",
    ),
    (&[Mnemonic::Lar, Mnemonic::Lsl, Mnemonic::Verr, Mnemonic::Verw], "reads the host's descriptor tables"),
    (
        &[Mnemonic::Lds, Mnemonic::Les, Mnemonic::Lfs, Mnemonic::Lgs, Mnemonic::Lss],
        "loads segments from the host's descriptor tables",
    ),
    (
        &[Mnemonic::Retf, Mnemonic::Iret, Mnemonic::Iretd, Mnemonic::Iretq],
        "loads CS from the host's descriptor tables",
    ),
    (
        &[Mnemonic::Rdfsbase, Mnemonic::Rdgsbase, Mnemonic::Wrfsbase, Mnemonic::Wrgsbase],
        "reads or changes where the host's thread keeps its own",
    ),
    (&[Mnemonic::Rdpkru, Mnemonic::Wrpkru], "reads or changes rights to the host's pages"),
];

/// Why `instruction` is not compared, if it is not.
pub fn why(instruction: &Instruction) -> Option<&'static str> {
    let mnemonic = instruction.mnemonic();
    if let Some((_, reason)) = EXCLUDED.iter().find(|(list, _)| list.contains(&mnemonic)) {
        return Some(reason);
    }
    let registers =
        (0..instruction.op_count()).filter(|index| instruction.op_kind(*index) == OpKind::Register);
    let first_is_segment = instruction.op_count() > 0
        && instruction.op_kind(0) == OpKind::Register
        && instruction.op0_register().is_segment_register();
    match mnemonic {
        Mnemonic::Mov | Mnemonic::Pop if first_is_segment => {
            Some("loads a segment from the host's descriptor tables")
        }
        Mnemonic::Call | Mnemonic::Jmp if far(instruction) => {
            Some("loads CS from the host's descriptor tables")
        }
        Mnemonic::Int if instruction.immediate8() == 0x80 => Some("enters the host's kernel"),
        _ if has_memory(instruction)
            && matches!(instruction.memory_segment(), Register::FS | Register::GS) =>
        {
            Some("FS and GS are where the host's thread keeps its own")
        }
        _ if registers.into_iter().any(|index| instruction.op_register(index).is_tr()) => {
            Some("test registers ended with the 486")
        }
        _ => None,
    }
}

/// Whether it stores an area of the XSAVE family.
pub fn saves_components(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Xsave
            | Mnemonic::Xsave64
            | Mnemonic::Xsavec
            | Mnemonic::Xsavec64
            | Mnemonic::Xsaveopt
            | Mnemonic::Xsaveopt64
    )
}

/// Whether it loads one.
pub fn restores_components(mnemonic: Mnemonic) -> bool {
    matches!(mnemonic, Mnemonic::Xrstor | Mnemonic::Xrstor64)
}

/// Whether some operand, said or unsaid, is read through the segment the prefixes choose.
pub fn has_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|index| {
        matches!(
            instruction.op_kind(index),
            OpKind::Memory
                | OpKind::MemorySegSI
                | OpKind::MemorySegESI
                | OpKind::MemorySegRSI
                | OpKind::MemorySegDI
                | OpKind::MemorySegEDI
                | OpKind::MemorySegRDI
        )
    })
}

fn far(instruction: &Instruction) -> bool {
    let code = instruction.code();
    code.is_jmp_far() || code.is_jmp_far_indirect() || code.is_call_far() || code.is_call_far_indirect()
}

/// Bytes that no block may have anywhere, whatever the decoder takes them for: SYSCALL, SYSENTER, INT 80h.
pub fn enters_the_kernel(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0x0f, 0x05 | 0x34] | [0xcd, 0x80]))
}

/// Prefixes whose effect is reserved (Intel SDM vol. 2A, 2.1.1): a repeat prefix makes LOOPE and LOOPNE of
/// each other on AMD's processors.
pub fn reserved(instruction: &Instruction, bytes: &[u8]) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Loope | Mnemonic::Loopne)
        && bytes.iter().any(|byte| matches!(byte, 0xf2 | 0xf3))
}

/// Opcodes that are not taken for undefined whatever the decoder says. XOP's escape: processors without it
/// still count how long such an instruction would be, and say #GP, not #UD, of one that is too long (AMD64
/// APM vol. 3, 1.2.4). 0F 01 with a register: after a repeat prefix that no manual gives a meaning (Intel
/// SDM vol. 2A, 2.1.1), AMD's processors execute RDPKRU and WRPKRU all the same, and a hypervisor answers
/// VMCALL. VPERMQ and VPERMPD: AMD's processors ignore VEX.W, which must be 1 (APM vol. 4, VPERMQ, VPERMPD).
pub fn is_no_plain_escape(bytes: &[u8]) -> bool {
    const PREFIXES: [u8; 9] = [0x26, 0x2e, 0x36, 0x3e, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
    let prefix = |byte: &u8| PREFIXES.contains(byte) || matches!(byte, 0x41 | 0x48);
    let opcode = bytes.iter().position(|byte| !prefix(byte)).and_then(|at| bytes.get(at..));
    let permutes =
        matches!(opcode, Some([0xc4, map, rest, 0x00 | 0x01, ..]) if map & 0x1f == 3 && rest & 0x83 == 1);
    permutes || matches!(opcode, Some([0x8f, ..] | [0x0f, 0x01, 0xc0..=0xff, ..]))
}

/// Codes of iced-x86 that no bytes decode to on their own: with FWAIT before them they are two
/// instructions, DB and its kin are data, and some are for other processors' decoders.
pub fn no_instruction(code: Code) -> bool {
    let info = code.op_code();
    !info.is_instruction() || info.fwait() || code == Code::INVALID
}
