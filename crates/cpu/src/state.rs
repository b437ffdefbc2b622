//! Architectural state of one processor: exactly what a snapshot carries.

use serde::{Deserialize, Serialize};

use crate::{
    flags::Flags,
    fpu::{Avx, Fpu, Sse},
    models::Model,
};

/// Number of a general register as encoded (0-15).
pub mod gpr {
    #![allow(missing_docs)]
    pub const RAX: u8 = 0;
    pub const RCX: u8 = 1;
    pub const RDX: u8 = 2;
    pub const RBX: u8 = 3;
    pub const RSP: u8 = 4;
    pub const RBP: u8 = 5;
    pub const RSI: u8 = 6;
    pub const RDI: u8 = 7;
    /// A slot that always reads zero: a missing base or index register.
    pub const ZERO: u8 = 16;
    /// What a block's offsets are relative to, in place of RIP as a base register.
    pub const BLOCK: u8 = 17;
}

/// Segment registers in encoding order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum SegmentName {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// Encoding numbers of the segment registers, for indexing.
pub mod segment {
    #![allow(missing_docs)]
    pub const ES: u8 = 0;
    pub const CS: u8 = 1;
    pub const SS: u8 = 2;
    pub const DS: u8 = 3;
    pub const FS: u8 = 4;
    pub const GS: u8 = 5;
}

/// Bits of [`Segment::rights`] (the descriptor's bits 40-55; Intel SDM vol. 3A, 3.4.5).
pub mod rights {
    #![allow(missing_docs)]
    pub const ACCESSED: u16 = 1 << 0;
    /// Data: writable. Code: readable.
    pub const WRITABLE: u16 = 1 << 1;
    /// Data: expand-down. Code: conforming.
    pub const EXPAND_DOWN: u16 = 1 << 2;
    pub const CODE: u16 = 1 << 3;
    /// S: code or data, not a system descriptor.
    pub const NOT_SYSTEM: u16 = 1 << 4;
    pub const DPL_SHIFT: u32 = 5;
    pub const PRESENT: u16 = 1 << 7;
    /// L: 64-bit code.
    pub const LONG: u16 = 1 << 13;
    /// D/B: 32-bit.
    pub const BIG: u16 = 1 << 14;
    pub const GRANULARITY: u16 = 1 << 15;
    /// Present, writable, accessed data: what real mode has everywhere.
    pub const REAL_MODE: u16 = PRESENT | NOT_SYSTEM | WRITABLE | ACCESSED;
}

/// A segment register with its hidden part (Intel SDM vol. 3A, 3.4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Cached base.
    pub base: u64,
    /// Cached limit in bytes, granularity applied.
    pub limit: u32,
    /// Cached access rights: bits 8-15 and 20-23 of the descriptor's high word, shifted down by 8
    /// (type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15).
    pub rights: u16,
}

impl Segment {
    /// What a segment register holds in real mode after loading `selector`.
    #[must_use]
    pub fn real_mode(selector: u16) -> Segment {
        Segment { selector, base: u64::from(selector) << 4, limit: 0xffff, rights: rights::REAL_MODE }
    }

    /// Type field, 0-15.
    #[must_use]
    pub fn kind(&self) -> u8 {
        (self.rights & 15) as u8
    }

    /// Descriptor privilege level.
    #[must_use]
    pub fn dpl(&self) -> u8 {
        ((self.rights >> rights::DPL_SHIFT) & 3) as u8
    }

    /// P: the segment can be used at all. A null selector clears it.
    #[must_use]
    pub fn present(&self) -> bool {
        self.rights & rights::PRESENT != 0
    }

    /// D/B: 32-bit code or stack.
    #[must_use]
    pub fn big(&self) -> bool {
        self.rights & rights::BIG != 0
    }

    /// A code segment.
    #[must_use]
    pub fn code(&self) -> bool {
        self.rights & (rights::CODE | rights::NOT_SYSTEM) == rights::CODE | rights::NOT_SYSTEM
    }

    /// L: 64-bit code, where long mode is active.
    #[must_use]
    pub fn long(&self) -> bool {
        self.rights & rights::LONG != 0
    }

    /// A conforming code segment.
    #[must_use]
    pub fn conforming(&self) -> bool {
        self.code() && self.rights & rights::EXPAND_DOWN != 0
    }

    /// Reads are allowed: any data segment, or readable code.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.rights & rights::NOT_SYSTEM != 0
            && self.rights & (rights::CODE | rights::WRITABLE) != rights::CODE
    }

    /// A writable data segment.
    #[must_use]
    pub fn writable(&self) -> bool {
        const MASK: u16 = rights::NOT_SYSTEM | rights::CODE | rights::WRITABLE;
        self.rights & MASK == rights::NOT_SYSTEM | rights::WRITABLE
    }

    /// An expand-down data segment: valid offsets lie above the limit.
    #[must_use]
    pub fn expand_down(&self) -> bool {
        const MASK: u16 = rights::NOT_SYSTEM | rights::CODE | rights::EXPAND_DOWN;
        self.rights & MASK == rights::NOT_SYSTEM | rights::EXPAND_DOWN
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TableRegister {
    /// Linear base.
    pub base: u64,
    /// Limit.
    pub limit: u16,
}

/// What the processor is doing between instructions (Intel SDM vol. 3A, 8.10 and 9.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Activity {
    /// Executing.
    #[default]
    Running,
    /// After HLT: an interrupt, NMI, SMI or INIT goes on.
    Halted,
    /// After a triple fault: only reset, INIT or NMI goes on.
    Shutdown,
    /// An application processor after INIT.
    WaitForSipi,
}

/// What holds off interrupts for the next instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Shadow {
    /// Nothing.
    #[default]
    None,
    /// STI set IF: maskable interrupts wait.
    Sti,
    /// MOV SS or POP SS: interrupts and debug traps wait.
    MovSs,
}

/// Signals that have arrived and not been taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pending {
    /// NMI, edge-triggered.
    pub nmi: bool,
    /// SMI#.
    pub smi: bool,
    /// INIT#.
    pub init: bool,
    /// Start-up message with its vector.
    pub sipi: Option<u8>,
    /// Single-step or data breakpoint of the instruction before, in DR6's bits, still to be taken.
    pub debug: u32,
}

impl Pending {
    pub(crate) fn any(&self) -> bool {
        self.nmi | self.smi | self.init | self.sipi.is_some() | (self.debug != 0)
    }
}

/// The model-specific registers that hold a value (Intel SDM vol. 4).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Msrs {
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u32,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_MTRR_DEF_TYPE.
    pub mtrr_def_type: u64,
    /// IA32_MTRR_PHYSBASEn and PHYSMASKn.
    pub mtrr_variable: [(u64, u64); 8],
    /// The eleven fixed-range MTRRs, in address order.
    pub mtrr_fixed: [u64; 11],
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_BIOS_SIGN_ID.
    pub bios_sign_id: u64,
    /// IA32_FEATURE_CONTROL.
    pub feature_control: u64,
    /// IA32_MCG_STATUS.
    pub mcg_status: u64,
    /// IA32_MCG_CTL.
    pub mcg_ctl: u64,
    /// IA32_MCi_CTL, STATUS, ADDR and MISC of the ten banks, in address order from 400h.
    pub machine_check: [[u64; 4]; 10],
    /// What came with long mode.
    #[serde(default, skip_serializing_if = "is_default")]
    pub long: LongMsrs,
}

/// The model-specific registers of SYSCALL, SWAPGS and RDTSCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LongMsrs {
    /// IA32_STAR: selectors of SYSCALL and SYSRET.
    pub star: u64,
    /// IA32_LSTAR: where SYSCALL goes from 64-bit mode.
    pub lstar: u64,
    /// IA32_CSTAR: where SYSCALL goes from compatibility mode.
    pub cstar: u64,
    /// IA32_FMASK: the flags SYSCALL clears.
    pub fmask: u64,
    /// IA32_KERNEL_GS_BASE: what SWAPGS exchanges GS's base with.
    pub kernel_gs_base: u64,
    /// IA32_TSC_AUX: what RDTSCP and RDPID read.
    pub tsc_aux: u32,
}

/// A sequence of random numbers that its seed decides (SplitMix64, by Steele, Lea and Flood). A reset
/// does not begin it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Random {
    /// Which sequence.
    pub seed: u64,
    /// How many have been drawn.
    pub drawn: u64,
}

impl Random {
    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut mixed = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What is as at power-on is left out of a saved state, so that a processor that has never used it is
/// saved as one that does not have it.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The general registers as they are saved: those of [`State::gpr`] up to the one that always reads zero.
mod registers {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const SAVED: usize = super::gpr::ZERO as usize + 1;

    pub(super) fn serialize<S: Serializer>(gpr: &[u64; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let saved: [u64; SAVED] = std::array::from_fn(|index| gpr[index]);
        saved.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; 32], D::Error> {
        let saved = <[u64; SAVED]>::deserialize(deserializer)?;
        let mut gpr = [0; 32];
        gpr[..SAVED].copy_from_slice(&saved);
        Ok(gpr)
    }
}

/// Everything a snapshot of one processor carries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// General registers in encoding order. Index 16 always reads zero; those behind it are none, and saved nowhere.
    #[serde(with = "registers")]
    pub gpr: [u64; 32],
    /// Offset of the next instruction in CS.
    pub rip: u64,
    /// EFLAGS.
    pub flags: Flags,
    /// ES CS SS DS FS GS.
    pub segments: [Segment; 6],
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: TableRegister,
    /// Interrupt descriptor table.
    pub idtr: TableRegister,
    /// Current privilege level.
    pub cpl: u8,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// CR8 while there is no local APIC whose task priority it is.
    pub cr8: u64,
    /// PKRU: rights of protection keys.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pkru: u32,
    /// Where RDRAND and RDSEED are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub random: Random,
    /// The four page-directory-pointer-table registers of PAE paging (SDM vol. 3A, 4.4.1).
    pub pdpte: [u64; 4],
    /// DR0-DR7; 4 and 5 are unused.
    pub dr: [u64; 8],
    /// Model-specific registers.
    pub msrs: Msrs,
    /// Added to the machine's time to make the TSC.
    pub tsc_offset: u64,
    /// SMBASE.
    pub smbase: u32,
    /// In system management mode.
    pub smm: bool,
    /// Between instructions.
    pub activity: Activity,
    /// What the last instruction holds off.
    pub shadow: Shadow,
    /// Level of the INTR pin.
    pub interrupt_line: bool,
    /// Signals waiting.
    pub pending: Pending,
    /// NMIs wait for IRET.
    pub nmi_blocked: bool,
    /// x87 and MMX.
    pub fpu: Fpu,
    /// SSE.
    pub sse: Sse,
    /// AVX.
    #[serde(default, skip_serializing_if = "is_default")]
    pub avx: Avx,
}

/// Bits of CR0.
pub mod cr0 {
    #![allow(missing_docs)]
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    /// Every bit a P6 has.
    pub const ALL: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// Bits of CR4.
pub mod cr4 {
    #![allow(missing_docs)]
    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const LA57: u64 = 1 << 12;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    pub const PKE: u64 = 1 << 22;
    /// Bits whose change alters translation.
    pub const PAGING: u64 = PSE | PAE | PGE | LA57 | PCIDE | SMEP | SMAP | PKE;
    /// Every bit some model has.
    pub const ALL: u64 = (2 * OSXMMEXCPT - 1) | UMIP | LA57 | FSGSBASE | PCIDE | OSXSAVE | SMEP | SMAP | PKE;
}

/// Bits of DR6 (vol. 3B, 17.2.3).
pub mod dr6 {
    #![allow(missing_docs)]
    /// Bits that read as one.
    pub const FIXED: u64 = 0xffff_0ff0;
    pub const HITS: u32 = 15;
    pub const BD: u32 = 1 << 13;
    pub const BS: u32 = 1 << 14;
    pub const BT: u32 = 1 << 15;
}

/// Bits of IA32_EFER.
pub mod efer {
    #![allow(missing_docs)]
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    /// Long mode is active: LME and CR0.PG.
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    /// FXSAVE and FXRSTOR leave out the XMM registers in 64-bit mode at CPL 0.
    pub const FFXSR: u64 = 1 << 14;
}

impl State {
    /// Power-on and RESET# state (SDM vol. 3A, table 9-1). `bootstrap`: this processor starts at
    /// once; others wait for a start-up message.
    #[must_use]
    pub fn reset(model: &Model, bootstrap: bool) -> State {
        let mut state = State { smbase: 0x30000, fpu: Fpu::reset(), sse: Sse::reset(), ..State::default() };
        state.msrs = Msrs {
            apic_base: 0xfee0_0800 | (u64::from(bootstrap) << 8),
            pat: 0x0007_0406_0007_0406,
            misc_enable: 1,
            mcg_ctl: u64::MAX,
            ..Msrs::default()
        };
        for bank in &mut state.msrs.machine_check {
            bank[0] = u64::MAX;
        }
        state.cr0 = cr0::CD | cr0::NW | cr0::ET;
        state.start(model, bootstrap);
        state
    }

    /// INIT#: as reset, but MSRs (other than IA32_EFER), x87, SSE, AVX, XCR0, caches, the TSC, SMBASE and what is
    /// pending stay (vol. 3A, table 9-1).
    pub fn init(&mut self, model: &Model, bootstrap: bool) {
        let kept = State {
            msrs: Msrs { efer: 0, ..self.msrs.clone() },
            smbase: self.smbase,
            tsc_offset: self.tsc_offset,
            fpu: self.fpu.clone(),
            sse: self.sse.clone(),
            avx: self.avx.clone(),
            random: self.random,
            interrupt_line: self.interrupt_line,
            cr0: (self.cr0 & (cr0::CD | cr0::NW)) | cr0::ET,
            pending: Pending { sipi: self.pending.sipi, nmi: self.pending.nmi, ..Pending::default() },
            ..State::default()
        };
        *self = kept;
        self.start(model, bootstrap);
    }

    fn start(&mut self, model: &Model, bootstrap: bool) {
        self.segments = [Segment::real_mode(0); 6];
        self.segments[usize::from(segment::CS)] = Segment {
            selector: 0xf000,
            base: 0xffff_0000,
            limit: 0xffff,
            rights: rights::REAL_MODE | rights::CODE,
        };
        self.rip = 0xfff0;
        self.flags = Flags::from(2);
        self.gpr[usize::from(gpr::RDX)] = u64::from(model.signature());
        self.ldtr = Segment { limit: 0xffff, rights: 0x82, ..Segment::default() };
        self.tr = Segment { limit: 0xffff, rights: 0x8b, ..Segment::default() };
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = TableRegister { base: 0, limit: 0xffff };
        self.dr = [0, 0, 0, 0, 0, 0, dr6::FIXED, 0x400];
        self.activity = if bootstrap { Activity::Running } else { Activity::WaitForSipi };
    }

    /// Protected mode, with or without v8086.
    #[must_use]
    #[inline]
    pub fn protected(&self) -> bool {
        self.cr0 & cr0::PE != 0
    }

    /// Virtual-8086 mode.
    #[must_use]
    #[inline]
    pub fn v8086(&self) -> bool {
        self.flags.virtual_8086()
    }

    /// Segments as in an 8086: real mode or v8086 mode.
    #[must_use]
    #[inline]
    pub fn eight_thousand(&self) -> bool {
        !self.protected() || self.v8086()
    }

    /// Paging is on.
    #[must_use]
    #[inline]
    pub fn paging(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }

    /// Makes IA32_EFER.LMA what LME and CR0.PG say, and cuts what is wider than the mode; false when
    /// they contradict CR4 or the flags.
    pub(crate) fn settle_long_mode(&mut self) -> bool {
        let long = self.msrs.efer & efer::LME != 0 && self.paging();
        if long {
            self.msrs.efer |= efer::LMA;
        } else {
            self.msrs.efer &= !efer::LMA;
        }
        if !self.code_64() {
            self.rip &= 0xffff_ffff;
        }
        !long || (self.cr4 & cr4::PAE != 0 && !self.v8086())
    }

    /// The code segment.
    #[must_use]
    #[inline]
    pub fn cs(&self) -> &Segment {
        &self.segments[1]
    }

    /// The stack segment.
    #[must_use]
    #[inline]
    pub fn ss(&self) -> &Segment {
        &self.segments[2]
    }

    /// Long mode is active: compatibility or 64-bit mode.
    #[must_use]
    #[inline]
    pub fn long_mode(&self) -> bool {
        self.msrs.efer & efer::LMA != 0
    }

    /// 64-bit mode.
    #[must_use]
    #[inline]
    pub fn code_64(&self) -> bool {
        self.long_mode() && self.cs().long()
    }

    /// Linear address of the next instruction.
    #[must_use]
    pub fn linear_rip(&self) -> u64 {
        if self.code_64() { self.rip } else { self.cs().base.wrapping_add(self.rip) & 0xffff_ffff }
    }

    /// Whether `linear` is sign-extended from bit 47, or from bit 56 with CR4.LA57 (SDM vol. 1, 3.3.7.1).
    #[must_use]
    #[inline]
    pub fn canonical(&self, linear: u64) -> bool {
        let unused = if self.cr4 & cr4::LA57 != 0 { 64 - 57 } else { 64 - 48 };
        ((linear << unused) as i64 >> unused) as u64 == linear
    }
}
