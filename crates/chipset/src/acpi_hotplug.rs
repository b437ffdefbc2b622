//! The PCI and CPU hot-plug registers of the emulated PIIX4, which its AML reads.
//!
//! QEMU documentation: docs/specs/acpi_pci_hotplug and acpi_cpu_hotplug. Nothing is ever plugged
//! here, so the event registers read zero; what is there and what can be removed is told truly.
//! These are parts of [`crate::piix4_pm::Piix4Pm`].

use serde::{Deserialize, Serialize};

/// Base of the PCI hot-plug registers.
pub const PCI_BASE: u16 = 0xae00;
/// Their length.
pub const PCI_LENGTH: u64 = 0x18;
/// Base of the CPU hot-plug registers.
pub const CPU_BASE: u16 = 0xaf00;
/// Length of the CPU bitmap (legacy) block.
pub const CPU_LEGACY_LENGTH: u64 = 0x20;
/// Length of the selector block that replaces it.
pub const CPU_LENGTH: u64 = 0x0c;

const PCI_REMOVABLE: u64 = 0x0c;
const PCI_SELECT: u64 = 0x10;
const PCI_BUSES: u32 = 256;

/// The PCI hot-plug registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciHotplug {
    select: u32,
}

impl PciHotplug {
    /// Reads the dword at `offset`; `removable` has a bit for each slot of bus 0 whose device, if
    /// any, can be removed.
    #[must_use]
    pub fn read(&self, offset: u64, removable: u32) -> u32 {
        match offset {
            _ if self.select >= PCI_BUSES => 0,
            PCI_REMOVABLE if self.select == 0 => removable,
            PCI_REMOVABLE => u32::MAX,
            PCI_SELECT => self.select,
            _ => 0,
        }
    }

    /// Writes the dword at `offset`. Ejecting finds nothing to eject.
    pub fn write(&mut self, offset: u64, value: u32) {
        if offset == PCI_SELECT {
            self.select = value;
        }
    }
}

const CPU_SELECTOR: u64 = 0;
const CPU_FLAGS: u64 = 4;
const CPU_COMMAND: u64 = 5;
const CPU_DATA: u64 = 8;
const COMMAND_NEXT_WITH_EVENT: u8 = 0;
const COMMAND_APIC_ID: u8 = 3;
const COMMANDS: u8 = 4;

/// The CPU hot-plug registers: first a bitmap of CPUs; writing zero to its start switches to the
/// selector block, for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuHotplug {
    selector_block: bool,
    selector: u32,
    command: u8,
}

impl CpuHotplug {
    /// How many ports answer now.
    #[must_use]
    pub fn length(&self) -> u64 {
        if self.selector_block { CPU_LENGTH } else { CPU_LEGACY_LENGTH }
    }

    /// Reads the byte at `offset` of a machine with `cpus` CPUs.
    #[must_use]
    pub fn read(&self, offset: u64, cpus: u32) -> u8 {
        if !self.selector_block {
            let first = offset as u32 * 8;
            return (0..8).filter(|bit| first + bit < cpus).fold(0, |map, bit| map | 1 << bit);
        }
        if self.selector >= cpus {
            return 0;
        }
        match offset {
            CPU_FLAGS => 1,
            CPU_DATA..CPU_LENGTH if matches!(self.command, COMMAND_NEXT_WITH_EVENT | COMMAND_APIC_ID) => {
                (self.selector >> (8 * (offset - CPU_DATA))) as u8
            }
            _ => 0,
        }
    }

    /// Writes `size` bytes at `offset`; true when the block changed its kind.
    pub fn write(&mut self, offset: u64, size: u8, value: u32, cpus: u32) -> bool {
        if !self.selector_block {
            // A zero at the start of the bitmap is how AML asks for the other block.
            self.selector_block = offset == 0 && value == 0;
            return self.selector_block;
        }
        match (offset, size) {
            (CPU_SELECTOR, 4) => self.selector = value,
            (CPU_COMMAND, 1) if self.selector < cpus && value < u32::from(COMMANDS) => {
                self.command = value as u8;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one(1, 0, 0x01)]
    #[case::eight(8, 0, 0xff)]
    #[case::ninth(9, 1, 0x01)]
    #[case::none_beyond(9, 2, 0x00)]
    fn legacy_bitmap(#[case] cpus: u32, #[case] offset: u64, #[case] expect: u8) {
        assert_eq!(CpuHotplug::default().read(offset, cpus), expect);
    }

    #[rstest]
    #[case::present(0, CPU_FLAGS, 1)]
    #[case::last(3, CPU_DATA, 3)]
    #[case::absent(4, CPU_FLAGS, 0)]
    fn selector_block(#[case] selector: u32, #[case] offset: u64, #[case] expect: u8) {
        let mut cpu = CpuHotplug::default();
        assert!(cpu.write(0, 4, 0, 4));
        assert!(!cpu.write(CPU_SELECTOR, 4, selector, 4));
        assert_eq!(cpu.read(offset, 4), expect);
    }

    #[rstest]
    #[case::first_bus(0, [0, 0, 0, 0xffff_fffc, 0])]
    #[case::other_bus(1, [0, 0, 0, 0xffff_ffff, 1])]
    #[case::beyond(0x1000, [0; 5])]
    fn pci(#[case] select: u32, #[case] expect: [u32; 5]) {
        let mut pci = PciHotplug::default();
        pci.write(PCI_SELECT, select);
        assert_eq!([0, 4, 8, 12, 16].map(|offset| pci.read(offset, 0xffff_fffc)), expect);
    }
}
