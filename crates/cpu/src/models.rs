//! Processor models as tables: what CPUID says, and what hangs on it.
//!
//! `qemu64` has the values of QEMU's TCG, because firmware copies them into its tables. It
//! advertises x87, MMX, SSE and long mode, which raise #UD until they are built.

use crate::state::{cr4, efer};

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
    /// Width of a physical address.
    pub physical_bits: u32,
    /// Bits of CR4 that can be set.
    pub cr4: u64,
    /// Bits of IA32_EFER that can be set; zero: there is none.
    pub efer: u64,
    /// SMM state save map.
    pub save_map: SaveMap,
    /// Unknown MSRs read zero and ignore writes, as TCG has it; otherwise #GP.
    pub unknown_msrs_ignored: bool,
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

/// EBX bits 31-24 of leaf 1 are the initial APIC id, filled in when asked.
const CLFLUSH_64: u32 = 0x0800;

/// `qemu64` as machine types up to 1.4 have it.
pub static QEMU64_1_4: Model = Model {
    name: "qemu64-1.4",
    about: "qemu64 of machine types up to 1.4: family 6, model 2, stepping 3",
    leaves: &[
        vendor(0, 4, AUTHENTIC_AMD),
        leaf(1, [0x0000_0623, CLFLUSH_64, 0x8080_2001, 0x078b_fbfd]),
        leaf(2, [0x0000_0001, 0, 0, 0x002c_307d]),
        subleaf(4, 0, [0x0000_0121, 0x01c0_003f, 0x0000_003f, 1]),
        subleaf(4, 1, [0x0000_0122, 0x01c0_003f, 0x0000_003f, 1]),
        subleaf(4, 2, [0x0000_0143, 0x03c0_003f, 0x0000_0fff, 1]),
        leaf(0x4000_0000, [0; 4]),
        leaf(0x4000_0001, [0; 4]),
        vendor(0x8000_0000, 0x8000_000a, AUTHENTIC_AMD),
        leaf(0x8000_0001, [0x0000_0623, 0, 0x0000_0065, 0x2193_fbfd]),
        leaf(0x8000_0002, [0x554d_4551, 0x7269_5620, 0x6c61_7574, 0x5550_4320]),
        leaf(0x8000_0003, [0x7265_7620, 0x6e6f_6973, 0x342e_3120, 0x0000_302e]),
        leaf(0x8000_0005, [0x01ff_01ff, 0x01ff_01ff, 0x4002_0140, 0x4002_0140]),
        leaf(0x8000_0006, [0, 0x4200_4200, 0x0200_8140, 0]),
        leaf(0x8000_0008, [0x0000_3028, 0, 0, 0]),
        leaf(0x8000_000a, [1, 0x10, 0, 0]),
    ],
    physical_bits: 40,
    cr4: P6_CR4,
    efer: efer::SCE | efer::NXE,
    save_map: SaveMap::Amd64,
    unknown_msrs_ignored: true,
};

/// `qemu64` as machine type 7.2 has it.
pub static QEMU64: Model = Model {
    name: "qemu64",
    about: "QEMU's default: AuthenticAMD, family 15, model 107, stepping 1",
    leaves: &[
        vendor(0, 0xd, AUTHENTIC_AMD),
        leaf(1, [0x0006_0fb1, CLFLUSH_64, 0x8000_2001, 0x078b_fbfd]),
        leaf(5, [0, 0, 3, 0]),
        subleaf(0xb, 0, [0, 1, 0x100, 0]),
        subleaf(0xb, 1, [0, 1, 0x201, 0]),
        subleaf(0xb, 2, [0, 0, 2, 0]),
        subleaf(0xb, 3, [0, 0, 3, 0]),
        leaf(0x4000_0000, [0x4000_0001, 0x5447_4354, 0x4354_4743, 0x4743_5447]),
        leaf(0x4000_0001, [0; 4]),
        vendor(0x8000_0000, 0x8000_000a, AUTHENTIC_AMD),
        leaf(0x8000_0001, [0x0006_0fb1, 0, 0x0000_0005, 0x2193_fbfd]),
        leaf(0x8000_0002, [0x554d_4551, 0x7269_5620, 0x6c61_7574, 0x5550_4320]),
        leaf(0x8000_0003, [0x7265_7620, 0x6e6f_6973, 0x352e_3220, 0x0000_002b]),
        leaf(0x8000_0005, [0x01ff_01ff, 0x01ff_01ff, 0x4002_0140, 0x4002_0140]),
        leaf(0x8000_0006, [0, 0x4200_4200, 0x0200_8140, 0x0080_8140]),
        leaf(0x8000_0008, [0x0000_3028, 0, 0, 0]),
        leaf(0x8000_000a, [1, 0x10, 0, 0]),
    ],
    physical_bits: 40,
    cr4: P6_CR4,
    efer: efer::SCE | efer::NXE,
    save_map: SaveMap::Amd64,
    unknown_msrs_ignored: true,
};

/// A Pentium III.
pub static PENTIUM3: Model = Model {
    name: "pentium3",
    about: "Intel Pentium III: family 6, model 7, stepping 3; no long mode",
    leaves: &[
        vendor(0, 3, GENUINE_INTEL),
        leaf(1, [0x0000_0673, CLFLUSH_64, 0, 0x0383_fbfd]),
        leaf(2, [0x0000_0001, 0, 0x0000_004d, 0x002c_307d]),
        leaf(3, [0; 4]),
    ],
    physical_bits: 36,
    cr4: P6_CR4,
    efer: 0,
    save_map: SaveMap::Intel32,
    unknown_msrs_ignored: false,
};

/// Every model.
pub static MODELS: [&Model; 3] = [&QEMU64, &QEMU64_1_4, &PENTIUM3];

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

    /// CPUID (Intel SDM vol. 2A). A function beyond the highest gives the highest basic one.
    #[must_use]
    pub fn cpuid(&self, function: u32, index: u32, apic_id: u8, apic_enabled: bool) -> [u32; 4] {
        let group = function & 0xc000_0000;
        let highest = match group {
            // The hypervisor's leaf may read zero; its range stays.
            0x4000_0000 => 0x4000_0001,
            _ => self.find(group, 0).map_or(0, |values| values[0]),
        };
        let known = function <= highest && self.find(group, 0).is_some();
        let function = if known { function } else { self.find(0, 0).map_or(0, |values| values[0]) };
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
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::vendor(&QEMU64, 0, 0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65])]
    #[case::hypervisor(&QEMU64, 0x4000_0000, 0, [0x4000_0001, 0x5447_4354, 0x4354_4743, 0x4743_5447])]
    #[case::hypervisor_hidden(&QEMU64_1_4, 0x4000_0000, 0, [0; 4])]
    #[case::beyond_basic(&QEMU64_1_4, 0x10, 1, [0x122, 0x01c0_003f, 0x3f, 1])]
    #[case::beyond_extended(&QEMU64_1_4, 0x8000_000b, 0, [0x121, 0x01c0_003f, 0x3f, 1])]
    #[case::beyond_basic_7_2(&QEMU64, 0xe, 0, [0; 4])]
    #[case::no_extended(&PENTIUM3, 0x8000_0000, 0, [0; 4])]
    #[case::apic_id(&QEMU64, 1, 0, [0x0006_0fb1, 0x0300_0800, 0x8000_2001, 0x078b_fbfd])]
    fn cpuid(#[case] model: &Model, #[case] function: u32, #[case] index: u32, #[case] expect: [u32; 4]) {
        assert_eq!(model.cpuid(function, index, 3, true), expect);
    }
}
