//! What a processor offers, as CPUID says it: one row per feature, and one set of them per model.
//!
//! Decoding refuses an instruction that needs what the model does not offer (#UD). The same set decides
//! which bits of CR4 and IA32_EFER can be set.

use iced_x86::{CpuidFeature, DecoderOptions, Instruction};

use crate::models::Leaf;

/// Which register of CPUID a feature's bit is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Eax = 0,
    Ebx = 1,
    Ecx = 2,
    Edx = 3,
}

/// Where CPUID shows a feature: function, index, register, bit.
type Place = (u32, u32, In, u32);

macro_rules! features {
    ($($(#[$doc:meta])* $feature:ident: $place:expr, [$($known:ident),*];)*) => {
        /// A feature that CPUID offers (Intel SDM vol. 2A, CPUID; AMD64 APM vol. 3, appendix E).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Feature {
            $($(#[$doc])* $feature,)*
        }

        impl Feature {
            /// Every feature, and where CPUID shows it.
            const ROWS: &'static [(Feature, Place)] = &[$((Feature::$feature, $place)),*];

            /// The feature iced-x86 calls `known`, if this list has it.
            #[must_use]
            pub fn of(known: CpuidFeature) -> Option<Feature> {
                match known {
                    $($(CpuidFeature::$known => Some(Feature::$feature),)*)*
                    _ => None,
                }
            }
        }
    };
}

use In::{Eax, Ebx, Ecx, Edx};

features! {
    /// x87.
    Fpu: (1, 0, Edx, 0), [FPU, FPU287, FPU387];
    /// Virtual-8086 extensions.
    Vme: (1, 0, Edx, 1), [];
    /// Debugging extensions.
    De: (1, 0, Edx, 2), [];
    /// 4 MiB pages.
    Pse: (1, 0, Edx, 3), [];
    /// RDTSC.
    Tsc: (1, 0, Edx, 4), [TSC];
    /// RDMSR and WRMSR.
    Msr: (1, 0, Edx, 5), [MSR];
    /// Physical address extension.
    Pae: (1, 0, Edx, 6), [];
    /// Machine check exception.
    Mce: (1, 0, Edx, 7), [];
    /// CMPXCHG8B.
    Cx8: (1, 0, Edx, 8), [CX8];
    /// Local APIC.
    Apic: (1, 0, Edx, 9), [];
    /// SYSENTER and SYSEXIT.
    Sep: (1, 0, Edx, 11), [SEP];
    /// Memory type range registers.
    Mtrr: (1, 0, Edx, 12), [];
    /// Global pages.
    Pge: (1, 0, Edx, 13), [];
    /// Machine check architecture.
    Mca: (1, 0, Edx, 14), [];
    /// CMOVcc; with x87 also FCMOVcc and FCOMI.
    Cmov: (1, 0, Edx, 15), [CMOV];
    /// Page attribute table.
    Pat: (1, 0, Edx, 16), [];
    /// 4 MiB pages above 4 GiB.
    Pse36: (1, 0, Edx, 17), [];
    /// CLFLUSH.
    Clflush: (1, 0, Edx, 19), [CLFSH];
    /// MMX.
    Mmx: (1, 0, Edx, 23), [MMX];
    /// FXSAVE and FXRSTOR.
    Fxsr: (1, 0, Edx, 24), [FXSR];
    /// SSE.
    Sse: (1, 0, Edx, 25), [SSE];
    /// SSE2.
    Sse2: (1, 0, Edx, 26), [SSE2];
    /// SSE3.
    Sse3: (1, 0, Ecx, 0), [SSE3];
    /// PCLMULQDQ.
    Pclmulqdq: (1, 0, Ecx, 1), [PCLMULQDQ];
    /// MONITOR and MWAIT.
    Monitor: (1, 0, Ecx, 3), [MONITOR];
    /// SSSE3.
    Ssse3: (1, 0, Ecx, 9), [SSSE3];
    /// FMA.
    Fma: (1, 0, Ecx, 12), [FMA];
    /// CMPXCHG16B.
    Cx16: (1, 0, Ecx, 13), [CMPXCHG16B];
    /// Process-context identifiers.
    Pcid: (1, 0, Ecx, 17), [];
    /// SSE4.1.
    Sse41: (1, 0, Ecx, 19), [SSE4_1];
    /// SSE4.2 and CRC32.
    Sse42: (1, 0, Ecx, 20), [SSE4_2];
    /// The APIC's registers as MSRs.
    X2apic: (1, 0, Ecx, 21), [];
    /// MOVBE.
    Movbe: (1, 0, Ecx, 22), [MOVBE];
    /// POPCNT.
    Popcnt: (1, 0, Ecx, 23), [POPCNT];
    /// AESENC and its kin.
    Aes: (1, 0, Ecx, 25), [AES];
    /// XSAVE, XGETBV.
    Xsave: (1, 0, Ecx, 26), [XSAVE];
    /// AVX.
    Avx: (1, 0, Ecx, 28), [AVX];
    /// VCVTPH2PS and VCVTPS2PH.
    F16c: (1, 0, Ecx, 29), [F16C];
    /// RDRAND.
    Rdrand: (1, 0, Ecx, 30), [RDRAND];
    /// RDFSBASE and its kin.
    Fsgsbase: (7, 0, Ebx, 0), [FSGSBASE];
    /// BMI1.
    Bmi1: (7, 0, Ebx, 3), [BMI1];
    /// AVX2.
    Avx2: (7, 0, Ebx, 5), [AVX2];
    /// Supervisor-mode execution prevention.
    Smep: (7, 0, Ebx, 7), [];
    /// BMI2.
    Bmi2: (7, 0, Ebx, 8), [BMI2];
    /// INVPCID.
    Invpcid: (7, 0, Ebx, 10), [INVPCID];
    /// RDSEED.
    Rdseed: (7, 0, Ebx, 18), [RDSEED];
    /// ADCX and ADOX.
    Adx: (7, 0, Ebx, 19), [ADX];
    /// Supervisor-mode access prevention, CLAC and STAC.
    Smap: (7, 0, Ebx, 20), [SMAP];
    /// CLFLUSHOPT.
    Clflushopt: (7, 0, Ebx, 23), [CLFLUSHOPT];
    /// CLWB.
    Clwb: (7, 0, Ebx, 24), [CLWB];
    /// SHA.
    Sha: (7, 0, Ebx, 29), [SHA];
    /// User-mode instruction prevention.
    Umip: (7, 0, Ecx, 2), [];
    /// Protection keys, RDPKRU and WRPKRU.
    Pku: (7, 0, Ecx, 3), [PKU];
    /// 5-level paging.
    La57: (7, 0, Ecx, 16), [];
    /// RDPID.
    Rdpid: (7, 0, Ecx, 22), [RDPID];
    /// XSAVEOPT.
    Xsaveopt: (0xd, 1, Eax, 0), [XSAVEOPT];
    /// XSAVEC.
    Xsavec: (0xd, 1, Eax, 1), [XSAVEC];
    /// XGETBV with ECX = 1.
    Xgetbv1: (0xd, 1, Eax, 2), [];
    /// XSAVES.
    Xsaves: (0xd, 1, Eax, 3), [XSAVES];
    /// LAHF and SAHF in 64-bit mode.
    LahfLm: (0x8000_0001, 0, Ecx, 0), [];
    /// Secure virtual machine.
    Svm: (0x8000_0001, 0, Ecx, 2), [SVM];
    /// LZCNT.
    Lzcnt: (0x8000_0001, 0, Ecx, 5), [LZCNT];
    /// SSE4A.
    Sse4a: (0x8000_0001, 0, Ecx, 6), [SSE4A];
    /// PREFETCHW.
    Prefetchw: (0x8000_0001, 0, Ecx, 8), [PREFETCHW];
    /// SYSCALL and SYSRET.
    Syscall: (0x8000_0001, 0, Edx, 11), [SYSCALL];
    /// No-execute pages.
    Nx: (0x8000_0001, 0, Edx, 20), [];
    /// 1 GiB pages.
    Page1Gb: (0x8000_0001, 0, Edx, 26), [];
    /// RDTSCP.
    Rdtscp: (0x8000_0001, 0, Edx, 27), [RDTSCP];
    /// Long mode.
    LongMode: (0x8000_0001, 0, Edx, 29), [X64];
    /// 3DNow! extensions.
    D3nowExt: (0x8000_0001, 0, Edx, 30), [D3NOWEXT];
    /// 3DNow!
    D3now: (0x8000_0001, 0, Edx, 31), [D3NOW];
}

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features(u128);

impl Features {
    /// What CPUID's `leaves` offer.
    #[must_use]
    pub const fn offered(leaves: &[Leaf]) -> Features {
        let mut set = Features(0);
        let mut row = 0;
        while row < Feature::ROWS.len() {
            let (feature, (function, index, register, bit)) = Feature::ROWS[row];
            let mut at = 0;
            while at < leaves.len() {
                let leaf = &leaves[at];
                let same_index = match leaf.index {
                    Some(own) => own == index,
                    None => true,
                };
                if leaf.function == function && same_index && (leaf.values[register as usize] >> bit) & 1 != 0
                {
                    set = set.with(feature);
                }
                at += 1;
            }
            row += 1;
        }
        set
    }

    /// This set and `feature`.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Features {
        Features(self.0 | 1 << feature as u8)
    }

    /// Whether `feature` is in it.
    #[must_use]
    #[inline]
    pub const fn has(self, feature: Feature) -> bool {
        (self.0 >> feature as u8) & 1 != 0
    }

    /// Whether a processor with these features has `instruction`. What iced-x86 lists without a feature
    /// of CPUID every processor here has, as far as a group of `exec` knows it.
    #[must_use]
    pub fn allow(self, instruction: &Instruction) -> bool {
        instruction.cpuid_features().iter().all(|known| match Feature::of(*known) {
            Some(feature) => self.has(feature),
            None => without_bit(*known),
        })
    }

    /// How bytes decode where a processor without a feature sees another instruction, not none: F3 before
    /// BSF and BSR is ignored, and what later became ENDBR64, CLDEMOTE and the like does nothing.
    #[must_use]
    pub fn decoder_options(self) -> u32 {
        let mut options = DecoderOptions::NO_WBNOINVD | DecoderOptions::FORCE_RESERVED_NOP;
        for (feature, option) in [
            (Feature::Bmi1, DecoderOptions::NO_MPFX_0FBC),
            (Feature::Lzcnt, DecoderOptions::NO_MPFX_0FBD),
            (Feature::LahfLm, DecoderOptions::NO_LAHF_SAHF_64),
        ] {
            if !self.has(feature) {
                options |= option;
            }
        }
        options
    }
}

/// What processors have without saying so in CPUID.
fn without_bit(known: CpuidFeature) -> bool {
    use CpuidFeature as Known;
    matches!(
        known,
        // The P6 and later have long NOPs, and so does QEMU's 486, which is ours.
        Known::MULTIBYTENOP
            | Known::INTEL8086
            | Known::INTEL186
            | Known::INTEL286
            | Known::INTEL386
            | Known::INTEL486
            | Known::CPUID
            | Known::PAUSE
            | Known::RDPMC
            | Known::SMM
    )
}

#[cfg(test)]
mod tests {
    use iced_x86::Decoder;
    use rstest::rstest;

    use super::*;
    use crate::models::{I486, Model, PENTIUM3, QEMU64};

    #[rstest]
    #[case::cmov_486(&I486, &[0x0f, 0x44, 0xc1], false)]
    #[case::tsc(&PENTIUM3, &[0x0f, 0x31], true)]
    #[case::fisttp_needs_sse3(&PENTIUM3, &[0xdb, 0x08], false)]
    #[case::fisttp(&QEMU64, &[0xdb, 0x08], true)]
    #[case::sse2_on_sse(&PENTIUM3, &[0x66, 0x0f, 0x58, 0xc1], false)]
    #[case::sse(&PENTIUM3, &[0x0f, 0x58, 0xc1], true)]
    #[case::long_nop_486(&I486, &[0x0f, 0x1f, 0], true)]
    #[case::rdtsc_486(&I486, &[0x0f, 0x31], true)]
    #[case::rdmsr_486(&I486, &[0x0f, 0x32], true)]
    #[case::cmov_486(&I486, &[0x0f, 0x44, 0xc1], false)]
    #[case::cmpxchg8b_486(&I486, &[0x0f, 0xc7, 0x08], false)]
    #[case::endbr(&PENTIUM3, &[0xf3, 0x0f, 0x1e, 0xfb], true)]
    #[case::movbe(&QEMU64, &[0x0f, 0x38, 0xf0, 0x00], false)]
    fn allows(#[case] model: &Model, #[case] bytes: &[u8], #[case] expect: bool) {
        let instruction = Decoder::new(32, bytes, model.features.decoder_options()).decode();
        assert!(!instruction.is_invalid());
        assert_eq!(model.features.allow(&instruction), expect);
    }

    #[test]
    fn scans_ignore_a_prefix_of_later_processors() {
        let tzcnt = Decoder::new(32, &[0xf3, 0x0f, 0xbc, 0xc1], PENTIUM3.features.decoder_options()).decode();
        assert_eq!(tzcnt.mnemonic(), iced_x86::Mnemonic::Bsf);
    }

    #[test]
    fn a_row_for_each_feature_in_order() {
        for (index, (feature, _)) in Feature::ROWS.iter().enumerate() {
            assert_eq!(usize::from(*feature as u8), index);
        }
        assert!(Feature::ROWS.len() <= 128);
    }
}
