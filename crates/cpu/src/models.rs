//! Processor models as tables: what CPUID says, and what hangs on it.
//!
//! `qemu64` has the values of QEMU's TCG, because firmware copies them into its tables, and there is
//! one for each set of machine types that differ.

use crate::{
    features::{Feature, Features},
    fpu::xcr0,
    state::{cr4, efer},
};

/// Which SMM state save map a processor writes (see `smm.rs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaveMap {
    /// Revision 20000h: 32-bit.
    Intel32,
    /// Revision 20064h: 64-bit.
    Amd64,
}

/// One row of CPUID: EAX, EBX, ECX, EDX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// EAX on entry.
    pub function: u32,
    /// ECX on entry, where it matters.
    pub index: Option<u32>,
    /// EAX, EBX, ECX, EDX on exit.
    pub values: [u32; 4],
}

/// A processor model.
#[derive(PartialEq, Eq, Debug)]
pub struct Model {
    /// What `--cpu` calls it.
    pub name: &'static str,
    /// One line for `warmboot machines`.
    pub about: &'static str,
    /// CPUID.
    pub leaves: &'static [Leaf],
    /// What they offer.
    pub features: Features,
    /// Width of a physical address.
    pub physical_bits: u32,
    /// Bits of CR4 that can be set.
    pub cr4: u64,
    /// SMM state save map.
    pub save_map: SaveMap,
}

const fn leaf(function: u32, values: [u32; 4]) -> Leaf {
    Leaf { function, index: None, values }
}

const fn subleaf(function: u32, index: u32, values: [u32; 4]) -> Leaf {
    Leaf { function, index: Some(index), values }
}

const AUTHENTIC_AMD: [u32; 3] = [0x6874_7541, 0x444d_4163, 0x6974_6e65];
const GENUINE_INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];

const fn vendor(function: u32, highest: u32, name: [u32; 3]) -> Leaf {
    leaf(function, [highest, name[0], name[1], name[2]])
}

const P6_CR4: u64 = cr4::VME
    | cr4::PVI
    | cr4::TSD
    | cr4::DE
    | cr4::PSE
    | cr4::PAE
    | cr4::MCE
    | cr4::PGE
    | cr4::PCE
    | cr4::OSFXSR
    | cr4::OSXMMEXCPT;

/// Bits of CR4 that can be set.
const fn control(features: Features) -> u64 {
    const BITS: [(Feature, u64); 8] = [
        (Feature::Umip, cr4::UMIP),
        (Feature::La57, cr4::LA57),
        (Feature::Fsgsbase, cr4::FSGSBASE),
        (Feature::Pcid, cr4::PCIDE),
        (Feature::Xsave, cr4::OSXSAVE),
        (Feature::Smep, cr4::SMEP),
        (Feature::Smap, cr4::SMAP),
        (Feature::Pku, cr4::PKE),
    ];
    let mut bits = P6_CR4;
    let mut row = 0;
    while row < BITS.len() {
        if features.has(BITS[row].0) {
            bits |= BITS[row].1;
        }
        row += 1;
    }
    bits
}

/// EBX bits 31-24 of leaf 1 are the initial APIC id, filled in when asked.
const CLFLUSH_64: u32 = 0x0800;

/// What CPUID says of a hypervisor, by bit 31 of leaf 1 ECX and by leaf 40000000h.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub enum Hypervisor {
    /// Nothing: as any leaf that is not there, 40000000h gives the highest basic one.
    #[default]
    None,
    /// The bit says that there is one, and no leaf who.
    Silent,
    /// The two leaves are there and zero.
    Unnamed,
    /// "TCGTCGTCGTCG".
    Tcg,
    /// "KVMKVMKVM", with no paravirtual feature: none is built.
    Kvm,
}

impl Hypervisor {
    /// What leaf `function` gives, if it is one of the hypervisor's.
    #[must_use]
    pub fn leaf(self, function: u32) -> Option<[u32; 4]> {
        const FIRST: u32 = 0x4000_0000;
        const LAST: u32 = 0x4000_0001;
        if matches!(self, Hypervisor::None | Hypervisor::Silent) || !(FIRST..=LAST).contains(&function) {
            return None;
        }
        match (self, function) {
            (Hypervisor::Tcg, FIRST) => Some([LAST, 0x5447_4354, 0x4354_4743, 0x4743_5447]),
            (Hypervisor::Kvm, FIRST) => Some([0, 0x4b4d_564b, 0x564b_4d56, 0x0000_004d]),
            _ => Some([0; 4]),
        }
    }
}

/// How the `qemu64` of one machine type differs from another's, measured with CPUID on QEMU 7.2
/// unless the model says otherwise.
struct Qemu64 {
    /// Leaf 1 EAX.
    signature: u32,
    /// Highest basic leaf.
    highest: u32,
    /// Leaf 1 ECX.
    features: u32,
    /// Leaf 80000001h ECX.
    extended_features: u32,
    /// Leaf 0Bh says how processors are numbered.
    topology: bool,
    /// Leaves 2 and 4 describe caches, as Intel's processors do.
    caches: bool,
    /// There is an L3 cache.
    l3: bool,
    /// Leaves 80000002h-80000004h.
    brand: &'static str,
}

/// SSE3, CX16, POPCNT.
const WITH_POPCNT: u32 = 0x0080_2001;
/// LAHF_LM, SVM, ABM, SSE4A.
const WITH_ABM: u32 = 0x65;

/// Sixteen bytes of a processor's name.
const fn brand(name: &str, part: usize) -> [u32; 4] {
    let bytes = name.as_bytes();
    let mut words = [0; 4];
    let mut index = 0;
    while index < 16 {
        let at = part * 16 + index;
        if at < bytes.len() {
            words[index / 4] |= (bytes[at] as u32) << (8 * (index % 4));
        }
        index += 1;
    }
    words
}

/// Zero unless `there`.
const fn only_if(there: bool, values: [u32; 4]) -> [u32; 4] {
    if there { values } else { [0; 4] }
}

/// CPUID of a `qemu64`. A leaf that reads zero may as well not be there.
const fn qemu64(facts: &Qemu64) -> [Leaf; 21] {
    let topology = facts.topology;
    let level_3 = facts.caches && facts.l3;
    let sleep = only_if(facts.highest >= 5, [0, 0, 3, 0]);
    [
        vendor(0, facts.highest, AUTHENTIC_AMD),
        leaf(1, [facts.signature, CLFLUSH_64, facts.features, 0x078b_fbfd]),
        leaf(2, only_if(facts.caches, [1, 0, if facts.l3 { 0x4d } else { 0 }, 0x002c_307d])),
        subleaf(4, 0, only_if(facts.caches, [0x0000_0121, 0x01c0_003f, 0x0000_003f, 1])),
        subleaf(4, 1, only_if(facts.caches, [0x0000_0122, 0x01c0_003f, 0x0000_003f, 1])),
        subleaf(4, 2, only_if(facts.caches, [0x0000_0143, 0x03c0_003f, 0x0000_0fff, 1])),
        subleaf(4, 3, only_if(level_3, [0x0000_0163, 0x03c0_003f, 0x0000_3fff, 6])),
        leaf(5, sleep),
        subleaf(0xb, 0, only_if(topology, [0, 1, 0x100, 0])),
        subleaf(0xb, 1, only_if(topology, [0, 1, 0x201, 0])),
        subleaf(0xb, 2, only_if(topology, [0, 0, 2, 0])),
        subleaf(0xb, 3, only_if(topology, [0, 0, 3, 0])),
        vendor(0x8000_0000, 0x8000_000a, AUTHENTIC_AMD),
        leaf(0x8000_0001, [facts.signature, 0, facts.extended_features, 0x2193_fbfd]),
        leaf(0x8000_0002, brand(facts.brand, 0)),
        leaf(0x8000_0003, brand(facts.brand, 1)),
        leaf(0x8000_0004, brand(facts.brand, 2)),
        leaf(0x8000_0005, [0x01ff_01ff, 0x01ff_01ff, 0x4002_0140, 0x4002_0140]),
        leaf(0x8000_0006, [0, 0x4200_4200, 0x0200_8140, if facts.l3 { 0x0080_8140 } else { 0 }]),
        leaf(0x8000_0008, [0x0000_3028, 0, 0, 0]),
        leaf(0x8000_000a, [1, 0x10, 0, 0]),
    ]
}

/// A model with these leaves and what else AMD's 64-bit processors have in common.
const fn amd(name: &'static str, about: &'static str, leaves: &'static [Leaf]) -> Model {
    Model {
        name,
        about,
        leaves,
        features: Features::offered(leaves),
        physical_bits: 40,
        cr4: control(Features::offered(leaves)),
        save_map: SaveMap::Amd64,
    }
}

/// Rows of `qemu64` and its relatives: the static's name, what `--cpu` calls it, a sentence, and
/// in what it differs from another one's facts.
macro_rules! qemu64_models {
    ($($item:ident = $facts:ident, $name:literal, $about:literal, { $($field:ident: $value:expr),* } from $base:expr;)*) => {
        $(
            const $facts: Qemu64 = Qemu64 { $($field: $value,)* ..$base };
            #[doc = $about]
            pub static $item: Model = amd($name, $about, &qemu64(&$facts));
        )*
    };
}

/// Family 6, model 2, stepping 3, which QEMU's first `qemu64` was.
const FIRST: Qemu64 = Qemu64 {
    signature: 0x623,
    highest: 4,
    features: WITH_POPCNT,
    extended_features: WITH_ABM,
    topology: false,
    caches: true,
    l3: false,
    brand: "",
};

qemu64_models! {
    QEMU64_0_13 = FACTS_0_13, "qemu64-0.13", "qemu64 of the emulators of 2010, which put their own version into it",
        { brand: "QEMU Virtual CPU version 0.13.0" } from FIRST;
    CPU64_RHEL6 = FACTS_RHEL6, "cpu64-rhel6", "RHEL-6's default: family 6, model 13, stepping 3; an AMD host's vendor",
        { signature: 0x6d3, features: 0x2001, brand: "QEMU Virtual CPU version (cpu64-rhel6)" } from FIRST;
    QEMU64_1_5_3 = FACTS_1_5_3, "qemu64-1.5.3", "qemu64 of RHEL-7's machine types",
        { brand: "QEMU Virtual CPU version 1.5.3" } from FIRST;
    QEMU64_1_4 = FACTS_1_4, "qemu64-1.4", "qemu64 of machine types up to 1.4: family 6, model 2, stepping 3",
        { brand: "QEMU Virtual CPU version 1.4.0" } from FIRST;
    QEMU64_1_5 = FACTS_1_5, "qemu64-1.5", "qemu64 of machine type 1.5: its version in the name",
        { brand: "QEMU Virtual CPU version 1.5.0" } from FACTS_1_4;
    QEMU64_1_6 = FACTS_1_6, "qemu64-1.6", "qemu64 of machine type 1.6: its version in the name",
        { brand: "QEMU Virtual CPU version 1.6.0" } from FACTS_1_5;
    QEMU64_1_7 = FACTS_1_7, "qemu64-1.7", "qemu64 of machine type 1.7: model 6",
        { signature: 0x663, brand: "QEMU Virtual CPU version 1.7.0" } from FACTS_1_6;
    QEMU64_2_0 = FACTS_2_0, "qemu64-2.0", "qemu64 of machine type 2.0: its version in the name",
        { brand: "QEMU Virtual CPU version 2.0.0" } from FACTS_1_7;
    QEMU64_2_1 = FACTS_2_1, "qemu64-2.1", "qemu64 of machine type 2.1: its version in the name",
        { brand: "QEMU Virtual CPU version 2.1.0" } from FACTS_2_0;
    QEMU64_2_2 = FACTS_2_2, "qemu64-2.2", "qemu64 of machine type 2.2: its version in the name",
        { brand: "QEMU Virtual CPU version 2.2.0" } from FACTS_2_1;
    QEMU64_2_3 = FACTS_2_3, "qemu64-2.3", "qemu64 of machine type 2.3: its version in the name",
        { brand: "QEMU Virtual CPU version 2.3.0" } from FACTS_2_2;
    QEMU64_2_4 = FACTS_2_4, "qemu64-2.4", "qemu64 of machine type 2.4: basic leaves up to 0Dh",
        { highest: 0xd, brand: "QEMU Virtual CPU version 2.4.0" } from FACTS_2_3;
    QEMU64_2_5 = FACTS_2_5, "qemu64-2.5", "qemu64 of machine types 2.5 and 2.6: no POPCNT, ABM, SSE4A",
        { features: 0x2001, extended_features: 5, brand: "QEMU Virtual CPU version 2.5+" } from FACTS_2_4;
    QEMU64_2_7 = FACTS_2_7, "qemu64-2.7", "qemu64 of machine type 2.7: leaf 0Bh",
        { topology: true } from FACTS_2_5;
    QEMU64_2_8 = FACTS_2_8, "qemu64-2.8", "qemu64 of machine types 2.8 to 6.0: an L3 cache",
        { l3: true } from FACTS_2_7;
    QEMU64 = FACTS_6_1, "qemu64", "QEMU's default since 6.1: AuthenticAMD, family 15, model 107, stepping 1",
        { signature: 0x0006_0fb1, caches: false } from FACTS_2_8;
}

/// A 32-bit model of Intel's with these leaves, or QEMU's idea of one.
const fn intel_32(
    name: &'static str,
    about: &'static str,
    leaves: &'static [Leaf],
    physical_bits: u32,
    tcg: bool,
) -> Model {
    Model {
        name,
        about,
        leaves,
        // TCG executes RDTSC, RDMSR and WRMSR whatever CPUID offers (seen on QEMU 7.2).
        features: if tcg {
            Features::offered(leaves).with(Feature::Tsc).with(Feature::Msr)
        } else {
            Features::offered(leaves)
        },
        physical_bits,
        cr4: control(Features::offered(leaves)),
        save_map: SaveMap::Intel32,
    }
}

/// A 486DX as QEMU has it: no local APIC; a time-stamp counter and model-specific registers that CPUID
/// does not tell of, which old SeaBIOS counts on.
pub static I486: Model = intel_32(
    "486",
    "Intel 486DX, which isapc has: FPU and PSE, no local APIC",
    &[vendor(0, 1, GENUINE_INTEL), leaf(1, [0x0000_0480, CLFLUSH_64, 0, 0x0000_0009])],
    32,
    true,
);

/// A Pentium III.
pub static PENTIUM3: Model = intel_32(
    "pentium3",
    "Intel Pentium III: family 6, model 7, stepping 3; no long mode",
    &[
        vendor(0, 3, GENUINE_INTEL),
        leaf(1, [0x0000_0673, CLFLUSH_64, 0, 0x0383_fbfd]),
        leaf(2, [0x0000_0001, 0, 0x0000_004d, 0x002c_307d]),
        leaf(3, [0; 4]),
    ],
    36,
    false,
);

/// Everything a 32-bit SSE2 processor of Intel's has and this one executes, but VME.
const P6_SSE2: u32 = 0x078b_fbfd;
/// With VME.
const CORE_EDX: u32 = P6_SSE2 | 2;
/// SYSCALL, NX and long mode: leaf 80000001h EDX of Intel's 64-bit processors.
const INTEL_64: u32 = 0x2010_0800;

/// QEMU's 32-bit default.
pub static QEMU32: Model = intel_32(
    "qemu32",
    "QEMU's default for 32-bit machines: family 6, model 6, stepping 3",
    &[
        vendor(0, 4, GENUINE_INTEL),
        leaf(1, [0x0000_0663, CLFLUSH_64, 1, P6_SSE2]),
        vendor(0x8000_0000, 0x8000_0004, GENUINE_INTEL),
        leaf(0x8000_0002, brand("QEMU Virtual CPU version 2.5+", 0)),
        leaf(0x8000_0003, brand("QEMU Virtual CPU version 2.5+", 1)),
        leaf(0x8000_0004, brand("QEMU Virtual CPU version 2.5+", 2)),
    ],
    36,
    true,
);

/// A model of Intel's with long mode.
const fn intel_64(
    name: &'static str,
    about: &'static str,
    leaves: &'static [Leaf],
    physical_bits: u32,
) -> Model {
    Model {
        name,
        about,
        leaves,
        features: Features::offered(leaves),
        physical_bits,
        cr4: control(Features::offered(leaves)),
        save_map: SaveMap::Amd64,
    }
}

const CORE2_NAME: &str = "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz";

/// A Core 2 Duo, without what nothing here executes: MONITOR, VMX, thermal and power management.
pub static CORE2: Model = intel_64(
    "core2",
    "Intel Core 2 Duo: family 6, model 15, stepping 11; long mode, SSSE3",
    &[
        vendor(0, 0xa, GENUINE_INTEL),
        // SSE3, SSSE3, CMPXCHG16B.
        leaf(1, [0x0000_06fb, CLFLUSH_64, 0x0000_2201, CORE_EDX]),
        leaf(2, [0x05b0_b101, 0x0056_57f0, 0, 0x2cb4_3049]),
        subleaf(4, 0, [0x0000_0121, 0x01c0_003f, 0x0000_003f, 1]),
        subleaf(4, 1, [0x0000_0122, 0x01c0_003f, 0x0000_003f, 1]),
        subleaf(4, 2, [0x0000_0143, 0x03c0_003f, 0x0000_0fff, 1]),
        vendor(0x8000_0000, 0x8000_0008, GENUINE_INTEL),
        leaf(0x8000_0001, [0, 0, 1, INTEL_64]),
        leaf(0x8000_0002, brand(CORE2_NAME, 0)),
        leaf(0x8000_0003, brand(CORE2_NAME, 1)),
        leaf(0x8000_0004, brand(CORE2_NAME, 2)),
        leaf(0x8000_0006, [0, 0, 0x1000_8040, 0]),
        leaf(0x8000_0008, [0x0000_3024, 0, 0, 0]),
    ],
    36,
);

const HASWELL_NAME: &str = "Intel Core Processor (Haswell, no TSX)";

/// A Haswell, without what nothing here executes: MONITOR, VMX, TSX, the TSC deadline timer.
pub static HASWELL: Model = intel_64(
    "haswell",
    "Intel Core of the fourth generation: family 6, model 60, stepping 4; AVX2, FMA, BMI, PCID, RDRAND",
    &[
        vendor(0, 0xd, GENUINE_INTEL),
        // SSE3, PCLMULQDQ, SSSE3, FMA, CX16, PCID, SSE4.1, SSE4.2, x2APIC, MOVBE, POPCNT, AES, XSAVE, AVX,
        // F16C, RDRAND.
        leaf(1, [0x0003_06c4, CLFLUSH_64, 0x76fa_3203, CORE_EDX]),
        leaf(2, [0x7603_6301, 0x00f0_b5ff, 0, 0x00c1_0000]),
        subleaf(4, 0, [0x0000_0121, 0x01c0_003f, 0x0000_003f, 0]),
        subleaf(4, 1, [0x0000_0122, 0x01c0_003f, 0x0000_003f, 0]),
        subleaf(4, 2, [0x0000_0143, 0x01c0_003f, 0x0000_01ff, 0]),
        // FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID.
        subleaf(7, 0, [0, 0x0000_07a9, 0, 0]),
        // x87, SSE and AVX; XSAVEOPT.
        subleaf(0xd, 0, [7, 0, 0x340, 0]),
        subleaf(0xd, 1, [1, 0, 0, 0]),
        subleaf(0xd, 2, [0x100, 0x240, 0, 0]),
        vendor(0x8000_0000, 0x8000_0008, GENUINE_INTEL),
        // LAHF_LM, LZCNT; with RDTSCP.
        leaf(0x8000_0001, [0, 0, 0x21, INTEL_64 | 0x0800_0000]),
        leaf(0x8000_0002, brand(HASWELL_NAME, 0)),
        leaf(0x8000_0003, brand(HASWELL_NAME, 1)),
        leaf(0x8000_0004, brand(HASWELL_NAME, 2)),
        leaf(0x8000_0006, [0, 0, 0x0100_6040, 0]),
        leaf(0x8000_0008, [0x0000_3027, 0, 0, 0]),
    ],
    39,
);

/// Everything there is.
pub static MAX: Model = intel_64(
    "max",
    "everything that is executed; no such processor was ever made",
    &[
        vendor(0, 0xd, GENUINE_INTEL),
        leaf(1, [0x0006_06a6, CLFLUSH_64, 0x76fa_3203, CORE_EDX]),
        // FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS, INVPCID, RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB; UMIP, PKU,
        // LA57, RDPID.
        subleaf(7, 0, [0, 0x019c_07a9, 0x0041_000c, 0]),
        // x87, SSE, AVX and PKRU; XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
        subleaf(0xd, 0, [0x207, 0, 0xa88, 0]),
        subleaf(0xd, 1, [7, 0, 0, 0]),
        subleaf(0xd, 2, [0x100, 0x240, 0, 0]),
        subleaf(0xd, 9, [8, 0xa80, 0, 0]),
        vendor(0x8000_0000, 0x8000_0008, GENUINE_INTEL),
        // LAHF_LM, LZCNT, PREFETCHW; with RDTSCP and pages of 1 GiB.
        leaf(0x8000_0001, [0, 0, 0x121, INTEL_64 | 0x0c00_0000]),
        leaf(0x8000_0008, [0x0000_392e, 0, 0, 0]),
    ],
    46,
);

/// Every model.
pub static MODELS: [&Model; 22] = [
    &QEMU64,
    &QEMU64_2_8,
    &QEMU64_2_7,
    &QEMU64_2_5,
    &QEMU64_2_4,
    &QEMU64_2_3,
    &QEMU64_2_2,
    &QEMU64_2_1,
    &QEMU64_2_0,
    &QEMU64_1_7,
    &QEMU64_1_6,
    &QEMU64_1_5,
    &QEMU64_1_4,
    &QEMU64_1_5_3,
    &QEMU64_0_13,
    &CPU64_RHEL6,
    &MAX,
    &HASWELL,
    &CORE2,
    &PENTIUM3,
    &QEMU32,
    &I486,
];

/// EDX bit 28 of leaf 1: EBX counts the package's processors.
const HYPER_THREADING: u32 = 1 << 28;

/// Bytes of an XSAVE area before the components that leaf 0Dh tells of.
const LEGACY_AND_HEADER: u32 = 576;

/// EDX bit 9 of leaf 1: the local APIC is there and enabled.
const APIC: u32 = 1 << 9;

impl Model {
    /// The model called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Model> {
        MODELS.iter().find(|model| model.name == name).copied()
    }

    fn find(&self, function: u32, index: u32) -> Option<[u32; 4]> {
        self.leaves
            .iter()
            .find(|leaf| leaf.function == function && leaf.index.is_none_or(|at| at == index))
            .map(|leaf| leaf.values)
    }

    /// Family, model and stepping: leaf 1 EAX, and EDX at reset.
    #[must_use]
    pub fn signature(&self) -> u32 {
        self.find(1, 0).map_or(0, |values| values[0])
    }

    /// Whether its local APIC has x2APIC mode.
    #[must_use]
    pub fn has_x2apic(&self) -> bool {
        self.features.has(Feature::X2apic)
    }

    /// Whether there is a local APIC (leaf 1 EDX).
    #[must_use]
    pub fn has_apic(&self) -> bool {
        self.features.has(Feature::Apic)
    }

    /// Bits of IA32_EFER that can be set; zero: there is no such register.
    #[must_use]
    pub fn efer(&self) -> u64 {
        let bit = |feature, bit| if self.features.has(feature) { bit } else { 0 };
        bit(Feature::Syscall, efer::SCE) | bit(Feature::LongMode, efer::LME) | bit(Feature::Nx, efer::NXE)
    }

    /// Where the XSAVE area has component `index`: offset and length (leaf 0Dh).
    #[must_use]
    pub fn component(&self, index: u32) -> Option<(u32, u32)> {
        let known = index > 1 && self.features.has(Feature::Xsave);
        let [length, offset, ..] = if known { self.find(0xd, index)? } else { return None };
        (length != 0).then_some((offset, length))
    }

    /// Bits of XCR0 that can be set.
    #[must_use]
    pub fn xcr0(&self) -> u64 {
        match self.find(0xd, 0) {
            Some([low, _, _, high]) if self.features.has(Feature::Xsave) => {
                u64::from(high) << 32 | u64::from(low)
            }
            _ => xcr0::X87,
        }
    }

    /// Whether XCR0 can hold `value` (SDM vol. 1, 13.3).
    #[must_use]
    pub fn allows_xcr0(&self, value: u64) -> bool {
        let avx_alone = value & (xcr0::SSE | xcr0::AVX) == xcr0::AVX;
        value & !self.xcr0() == 0 && value & xcr0::X87 != 0 && !avx_alone
    }

    /// Length of the compacted XSAVE area of these components.
    fn compacted_area(&self, components: u64) -> u32 {
        let enabled = (2..63).filter(|index| components >> index & 1 != 0);
        enabled
            .filter_map(|index| self.component(index))
            .fold(LEGACY_AND_HEADER, |end, (_, length)| end + length)
    }

    /// Length of the XSAVE area of these components.
    fn area(&self, components: u64) -> u32 {
        let enabled = (2..63).filter(|index| components >> index & 1 != 0);
        let ends = enabled.filter_map(|index| self.component(index)).map(|(offset, length)| offset + length);
        ends.fold(LEGACY_AND_HEADER, u32::max)
    }

    /// AMD's: some rare cases are not as Intel has them (APM vol. 3).
    #[must_use]
    pub fn amd(&self) -> bool {
        self.find(0, 0).is_some_and(|[_, name @ ..]| name == AUTHENTIC_AMD)
    }

    /// The function that answers for `function`: one beyond the highest gives the highest basic one.
    fn answering(&self, function: u32) -> u32 {
        let group = function & 0xc000_0000;
        let highest = self.find(group, 0).map_or(0, |values| values[0]);
        let known = function <= highest && self.find(group, 0).is_some();
        if known { function } else { self.find(0, 0).map_or(0, |values| values[0]) }
    }

    /// EBX of leaf 0Dh, where `function` and `index` ask for it: the length of the XSAVE area of what
    /// `xcr0` enables, in the standard format or in the compacted one.
    #[must_use]
    pub fn enabled_area(&self, function: u32, index: u32, xcr0: u64) -> Option<u32> {
        match index {
            _ if self.answering(function) != 0xd => None,
            0 if self.features.has(Feature::Xsave) => Some(self.area(xcr0)),
            1 if self.features.has(Feature::Xsavec) => Some(self.compacted_area(xcr0)),
            _ => None,
        }
    }

    /// CPUID (Intel SDM vol. 2A) without a hypervisor's leaves, and without what the system has switched
    /// on. A function beyond the highest gives the highest basic one.
    #[must_use]
    pub fn cpuid(&self, function: u32, index: u32, apic_id: u8, apic_enabled: bool) -> [u32; 4] {
        let function = self.answering(function);
        let mut values = self.find(function, index).unwrap_or_default();
        if function == 1 {
            values[1] |= u32::from(apic_id) << 24;
            if !apic_enabled {
                values[3] &= !APIC;
            }
        }
        if function == 0xb {
            values[3] = u32::from(apic_id);
        }
        values
    }

    /// The revision of its microcode that QEMU and KVM tell, as IA32_BIOS_SIGN_ID has it.
    #[must_use]
    pub fn emulated_microcode(&self) -> u64 {
        if self.amd() { 0x0100_0065 } else { 1 << 32 }
    }

    /// What [`Model::cpuid`] gives, of a processor that is one of `cores` in its package, each with one
    /// thread: their number, and how many bits of an APIC id tell them apart.
    pub fn in_package(&self, function: u32, index: u32, cores: u8, values: &mut [u32; 4]) {
        if cores < 2 {
            return;
        }
        let count = u32::from(cores);
        let bits = (count - 1).ilog2() + 1;
        let [eax, ebx, ecx, edx] = values;
        match (self.answering(function), index) {
            (1, _) => {
                *ebx |= count << 16;
                *edx |= HYPER_THREADING;
            }
            // Caches: the third level is shared by all.
            (4, _) if *eax & 0x1f != 0 => {
                *eax |= (count - 1) << 26;
                if *eax >> 5 & 7 == 3 {
                    *eax |= ((1 << bits) - 1) << 14;
                }
            }
            (0xb, 1) if *ebx != 0 => (*eax, *ebx) = (bits, count),
            // CmpLegacy: AMD's way to say that leaf 1 counts cores.
            (0x8000_0001, _) if self.amd() => *ecx |= 1 << 1,
            (0x8000_0008, _) => *ecx |= count - 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::vendor(&QEMU64, 0, 0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65])]
    #[case::no_hypervisor(&QEMU64_1_4, 0x4000_0000, 0, [0x121, 0x01c0_003f, 0x3f, 1])]
    #[case::beyond_basic(&QEMU64_1_4, 0x10, 1, [0x122, 0x01c0_003f, 0x3f, 1])]
    #[case::beyond_extended(&QEMU64_1_4, 0x8000_000b, 0, [0x121, 0x01c0_003f, 0x3f, 1])]
    #[case::beyond_basic_7_2(&QEMU64, 0xe, 0, [0; 4])]
    #[case::no_extended(&PENTIUM3, 0x8000_0000, 0, [0; 4])]
    #[case::brand(&QEMU64_2_5, 0x8000_0003, 0, [0x7265_7620, 0x6e6f_6973, 0x352e_3220, 0x2b])]
    #[case::brand_end(&CPU64_RHEL6, 0x8000_0004, 0, [0x6c65_6872, 0x2936, 0, 0])]
    #[case::level_3(&QEMU64_2_8, 4, 3, [0x163, 0x03c0_003f, 0x3fff, 6])]
    #[case::no_level_3(&QEMU64_2_7, 0x8000_0006, 0, [0, 0x4200_4200, 0x0200_8140, 0])]
    #[case::topology(&QEMU64_2_7, 0xb, 1, [0, 1, 0x201, 3])]
    #[case::no_extended_486(&I486, 0x8000_0005, 3, [0x480, 0x0300_0800, 0, 9])]
    #[case::brand_core2(&CORE2, 0x8000_0002, 0, [0x65746e49, 0x2952_286c, 0x726f_4320, 0x4d54_2865])]
    #[case::wide_addresses(&MAX, 0x8000_0008, 0, [0x392e, 0, 0, 0])]
    #[case::apic_id(&QEMU64, 1, 0, [0x0006_0fb1, 0x0300_0800, 0x2001, 0x078b_fbfd])]
    fn cpuid(#[case] model: &Model, #[case] function: u32, #[case] index: u32, #[case] expect: [u32; 4]) {
        assert_eq!(model.cpuid(function, index, 3, true), expect);
    }
    #[rstest]
    #[case::standard(&MAX, 0, 0x207, Some(0xa88))]
    #[case::compacted(&MAX, 1, 0x207, Some(840))]
    #[case::compacted_avx(&MAX, 1, 7, Some(832))]
    #[case::no_compacted_format(&HASWELL, 1, 7, None)]
    #[case::no_such_index(&MAX, 2, 7, None)]
    fn areas(#[case] model: &Model, #[case] index: u32, #[case] enabled: u64, #[case] expect: Option<u32>) {
        assert_eq!(model.enabled_area(0xd, index, enabled), expect);
    }

    #[rstest]
    #[case::tcg(Hypervisor::Tcg, 0x4000_0000, Some([0x4000_0001, 0x5447_4354, 0x4354_4743, 0x4743_5447]))]
    #[case::kvm(Hypervisor::Kvm, 0x4000_0000, Some([0, 0x4b4d_564b, 0x564b_4d56, 0x4d]))]
    #[case::features(Hypervisor::Kvm, 0x4000_0001, Some([0; 4]))]
    #[case::unnamed(Hypervisor::Unnamed, 0x4000_0000, Some([0; 4]))]
    #[case::beyond(Hypervisor::Tcg, 0x4000_0002, None)]
    #[case::nobody(Hypervisor::None, 0x4000_0000, None)]
    #[case::silent(Hypervisor::Silent, 0x4000_0000, None)]
    fn hypervisor(#[case] who: Hypervisor, #[case] function: u32, #[case] expect: Option<[u32; 4]>) {
        assert_eq!(who.leaf(function), expect);
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<&str> = MODELS.iter().map(|model| model.name).collect();
        assert_eq!(names.len(), MODELS.len());
    }
}
