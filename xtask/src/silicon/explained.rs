//! Where a vendor's processors are documented to differ from what ours does, which is Intel's.

use iced_x86::{Code, Instruction, Mnemonic};
use warmboot_silicon::{
    End, Registers,
    layout::{self, Mode},
};

use super::{block::Block, compare::Outcome, excluded, place::END, start::window_index};

/// Bytes of the longest XSAVE area.
const AREA: u64 = 0xa88;

/// The processor the test runs on.
pub struct Explained {
    amd: bool,
}

/// AMD64 APM vol. 2, 11.4.4.3; vol. 5, FXSAVE: the pointers are stored, and loaded, only when an exception
/// that is not masked is pending.
const POINTERS: &str =
    "AMD stores x87 instruction and data pointers only with an exception pending (APM vol. 2, 11.4.4)";

/// Intel SDM vol. 3A, 6.15, "Interrupt 14": CR2 holds the address that faulted. Which byte of an operand
/// of more than eight that lie on a page is touched first, no manual says.
const FIRST_TOUCHED: &str =
    "which byte of an x87 environment or ten-byte operand is touched first (SDM vol. 3A, 6.15)";

/// Intel SDM vol. 2B, MASKMOVDQU, MASKMOVQ: with a mask of zeros, faults "may still be signaled
/// (implementation dependent)".
const MASKED: &str = "MASKMOV with a mask of zeros may fault or not (SDM vol. 2B, MASKMOVDQU)";

/// AMD64 APM vol. 3, MOVSXD, knows no form of 16 bits; Intel's reads as much.
const EXTENDED: &str = "AMD reads 32 bits for MOVSXD with a 16-bit operand (APM vol. 3, MOVSXD)";

/// AMD64 APM vol. 4, VPEXTRD and VPINSRD: VEX.W is 0; Intel's processors ignore it outside 64-bit mode (SDM
/// vol. 2B, PEXTRB/PEXTRD/PEXTRQ, PINSRB/PINSRD/PINSRQ).
const WIDE: &str =
    "AMD has no VPEXTRD or VPINSRD with VEX.W outside 64-bit mode (APM vol. 4, VPEXTRD, VPINSRD)";

/// What a process finds in the upper half of its addresses is its kernel's: there or not, neither is
/// for it.
const KERNEL: &str = "whether the host's kernel has something at an address is its own (SDM vol. 3A, 4.7)";

/// The ways into and out of a block lie in the process too: reading them is no fault there.
const WAYS_READ: &str = "a random address was that of the ways into and out of the block";

/// No manual says which of two operands in memory is touched first.
const ORDER: &str = "which operand of CMPS is touched first (SDM vol. 2A, CMPS)";

/// AMD64 APM vol. 1, 4.2.2: MXCSR has bit 17, misaligned exception mask.
const MISALIGNED: &str = "AMD's MXCSR has a bit 17 (APM vol. 1, 4.2.2)";

/// Intel SDM vol. 1, 13.6: XINUSE may say in use of what is in its initial configuration. Seen outside
/// 64-bit mode, where registers 8 to 15 may count, and after the host's kernel has saved and restored the
/// components for another task.
const IN_USE: &str = "a component in its initial configuration may count as in use (SDM vol. 1, 13.6)";

/// Intel SDM vol. 1, 13.8, says what XRSTOR loads, not what else of the area it touches, nor that it does
/// so before it looks at the header.
const TOUCHED: &str =
    "AMD's XRSTOR touches what it is asked for, be it in the area or not (SDM vol. 1, 13.8)";

/// AMD64 APM vol. 3, INS and OUTS: whether the port is allowed is looked at first; Intel's manual looks
/// at the count first (SDM vol. 2B, REP).
const PORTS: &str = "AMD checks the port of REP INS and OUTS before the count (APM vol. 3, INS, OUTS)";

/// No manual says that a fault leaves undone what an instruction of several steps has done before it (SDM
/// vol. 2, ENTER, POPA, PUSHA, MASKMOVQ); ours does leave it so.
const PARTLY: &str = "an ENTER, PUSHA, POPA or MASKMOVQ that faults has done part of it (APM vol. 3 and 5)";

/// After FNINIT and FNSAVE all x87 registers are empty, and XSAVE may take the component to be as after
/// reset (SDM vol. 1, 13.6): what the empty registers held is lost when the host's kernel saves and
/// restores it, for a signal or another task.
pub const SWITCHED: &str =
    "empty x87 registers lost where the host's kernel saves and restores (SDM vol. 1, 13.6)";

/// Whether [`SWITCHED`] can happen in `block`.
pub fn can_be_switched(block: &Block) -> bool {
    block.items.iter().filter_map(|item| item.instruction).any(|instruction| {
        matches!(instruction.mnemonic(), Mnemonic::Fninit | Mnemonic::Fnsave | Mnemonic::Frstor)
            || excluded::restores_components(instruction.mnemonic())
    })
}

/// Why a component may count as in use on silicon, and be stored, when it does not here: the registers that
/// count are zero.
pub fn in_use(block: &Block, registers: &Registers) -> Option<&'static str> {
    let asks = block.items.iter().filter_map(|item| item.instruction).any(|instruction| {
        instruction.mnemonic() == Mnemonic::Xgetbv || excluded::saves_components(instruction.mnemonic())
    });
    let image = &registers.vectors;
    let count = if block.mode == Mode::SixtyFour { 16 } else { 8 };
    let initial = |register: &dyn Fn(usize) -> [u64; 2]| (0..count).all(|index| register(index) == [0; 2]);
    let open = initial(&|index| image.xmm(index)) || initial(&|index| image.upper(index));
    (asks && open).then_some(IN_USE)
}

/// Whether nothing may follow `instruction` in a block: what it leaves or stores need not be the same.
pub fn ends_block(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Fninit
            | Mnemonic::Fnsave
            | Mnemonic::Frstor
            | Mnemonic::Fnstenv
            | Mnemonic::Fxsave
            | Mnemonic::Fxsave64
            | Mnemonic::Xgetbv
    ) || excluded::saves_components(instruction.mnemonic())
        || excluded::restores_components(instruction.mnemonic())
}

/// Whether what `block` stores outside the windows need not be the same either.
pub fn stores_differ(block: &Block) -> bool {
    block.items.iter().filter_map(|item| item.instruction).any(|instruction| {
        ends_block(&instruction)
            || matches!(instruction.mnemonic(), Mnemonic::Enter | Mnemonic::Pusha | Mnemonic::Pushad)
    })
}

impl Explained {
    /// A processor whose CPUID leaf 0 gives this in EBX.
    pub fn new(vendor: u32) -> Explained {
        const AUTH: u32 = u32::from_le_bytes(*b"Auth");
        Explained { amd: vendor == AUTH }
    }

    /// Whether what this vendor's processors do in ways of their own is here.
    pub fn is_known(&self) -> bool {
        self.amd
    }

    /// Why FOP, FIP and FDP may differ after a block that left this status word.
    pub fn last_instruction(&self, _status: u16) -> Option<&'static str> {
        self.amd.then_some(POINTERS)
    }

    /// Why the ends may differ, and whether the rest then says nothing.
    pub fn end(&self, block: &Block, silicon: &Outcome, ours: End) -> Option<(&'static str, bool)> {
        if let Some(reason) = self.accepted(block, ours, &silicon.memory) {
            return Some((reason, true));
        }
        if let End::Fault { vector: 14, address, .. } = ours
            && address.checked_sub(layout::WAYS).is_some_and(|offset| offset < layout::WAYS_BYTES as u64)
        {
            return Some((WAYS_READ, true));
        }
        let End::Fault { vector, error, address, at } = silicon.end else { return None };
        if let End::Fault { vector: own, error: own_error, address: own_address, at: own_at } = ours
            && (vector, at) == (14, own_at)
            && own == 14
        {
            let instruction = block.item_at(at).and_then(|item| item.instruction);
            let bytes = instruction.map_or(0, |instruction| bytes_in_parts(&instruction));
            let near = address.abs_diff(own_address) < bytes;
            if near && error == own_error {
                return Some((FIRST_TOUCHED, false));
            }
            if (near || address == own_address) && address >> 63 != 0 && (error ^ own_error) == 1 {
                return Some((KERNEL, false));
            }
        }
        let item = block.item_at(at)?;
        let instruction = item.instruction?;
        match instruction.mnemonic() {
            Mnemonic::Xrstor | Mnemonic::Xrstor64
                if self.amd && matches!(vector, 12..=14) && item.operand.is_some_and(reaches_the_end) =>
            {
                Some((TOUCHED, true))
            }
            Mnemonic::Enter if self.amd && matches!(ours, End::Fault { at: own, .. } if own == at) => {
                Some((PARTLY, true))
            }
            Mnemonic::Vpinsrd | Mnemonic::Vpextrd
                if self.amd && vector == 6 && block.mode != Mode::SixtyFour =>
            {
                Some((WIDE, true))
            }
            Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd if self.amd && vector == 13 => {
                Some((PORTS, true))
            }
            Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd if self.amd && vector == 13 => {
                Some((PORTS, true))
            }
            Mnemonic::Movsxd if self.amd && instruction.code() == Code::Movsxd_r16_rm16 => {
                Some((EXTENDED, true))
            }
            Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu
                if matches!(vector, 12..=14) =>
            {
                Some((MASKED, true))
            }
            Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsd | Mnemonic::Cmpsq if vector == 14 => {
                Some((ORDER, true))
            }
            _ => None,
        }
    }

    /// What silicon did, and ours refuses: a bit of MXCSR.
    fn accepted(&self, block: &Block, ours: End, memory: &[u8]) -> Option<&'static str> {
        let End::Fault { vector: 13, at, .. } = ours else { return None };
        let item = block.item_at(at)?;
        let mnemonic = item.instruction?.mnemonic();
        // Of an XSAVE area much else can be refused.
        let byte = |at| window_index(at).and_then(|index| memory.get(index)).copied();
        let bit = || byte(item.operand?.wrapping_add(26)).map(|byte| byte == 2);
        if excluded::restores_components(mnemonic) && bit() != Some(true) {
            return None;
        }
        let loads = matches!(
            mnemonic,
            Mnemonic::Ldmxcsr
                | Mnemonic::Vldmxcsr
                | Mnemonic::Fxrstor
                | Mnemonic::Fxrstor64
                | Mnemonic::Xrstor
                | Mnemonic::Xrstor64
        );
        (self.amd && loads).then_some(MISALIGNED)
    }

    /// Why anything may differ besides the end: an instruction that faulted had begun.
    pub fn partly(&self, block: &Block, silicon: End) -> Option<&'static str> {
        let End::Fault { at, .. } = silicon else { return None };
        let begun = matches!(
            block.item_at(at)?.instruction?.mnemonic(),
            Mnemonic::Enter
                | Mnemonic::Pusha
                | Mnemonic::Pushad
                | Mnemonic::Popa
                | Mnemonic::Popad
                | Mnemonic::Maskmovq
        );
        (self.amd && begun).then_some(PARTLY)
    }

    /// Why a byte at this offset of the data may differ.
    pub fn memory(&self, block: &Block, at: u64) -> Option<&'static str> {
        if !self.amd {
            return None;
        }
        block.items.iter().find_map(|item| {
            let offset = at.wrapping_sub(item.operand?);
            let code = item.instruction?.code();
            let saves = matches!(code, Code::Fxsave_m512byte | Code::Fxsave64_m512byte)
                || excluded::saves_components(code.mnemonic());
            if saves && (28..32).contains(&offset) {
                return Some(MISALIGNED);
            }
            let pointers = match code {
                _ if saves => 6..24,
                Code::Fnstenv_m28byte | Code::Fnsave_m108byte => 12..28,
                Code::Fnstenv_m14byte | Code::Fnsave_m94byte => 6..14,
                _ => return None,
            };
            pointers.contains(&offset).then_some(POINTERS)
        })
    }
}

/// Whether an XSAVE area at this offset of the data is there only in part, or reaches beyond the 16-bit
/// segment.
fn reaches_the_end(offset: u64) -> bool {
    (END - AREA..END).contains(&offset)
}

/// How long its operand is, where that is read or written in parts of ours.
fn bytes_in_parts(instruction: &Instruction) -> u64 {
    let ten_bytes = matches!(
        instruction.code(),
        Code::Fstp_m80fp | Code::Fld_m80fp | Code::Fbld_m80bcd | Code::Fbstp_m80bcd
    );
    match instruction.mnemonic() {
        mnemonic if excluded::saves_components(mnemonic) || excluded::restores_components(mnemonic) => AREA,
        Mnemonic::Fnsave
        | Mnemonic::Fnstenv
        | Mnemonic::Frstor
        | Mnemonic::Fldenv
        | Mnemonic::Fxsave
        | Mnemonic::Fxsave64
        | Mnemonic::Fxrstor
        | Mnemonic::Fxrstor64
        | Mnemonic::Popa
        | Mnemonic::Popad
        | Mnemonic::Pusha
        | Mnemonic::Pushad => 512,
        _ if ten_bytes => 10,
        _ => 0,
    }
}
