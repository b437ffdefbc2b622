//! PCI configuration space of one function: 256 bytes with a write mask per byte.
//!
//! PCI Local Bus Specification 2.1, chapter 6.

use crate::{Effects, Region, Space};
use serde::{Deserialize, Serialize};

/// CONFIG_ADDRESS (section 3.2.2.3.2).
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// CONFIG_DATA, four ports which the machine routes.
pub const CONFIG_DATA: u16 = 0xcfc;

/// Vendor ID.
pub const VENDOR_ID: u8 = 0x00;
/// Command register.
pub const COMMAND: u8 = 0x04;
/// COMMAND bit 10: INTA# stays deasserted (PCI 2.3, section 6.2.2).
pub const INTERRUPT_DISABLE: u16 = 1 << 10;
/// Status register.
pub const STATUS: u8 = 0x06;
/// Revision.
pub const REVISION: u8 = 0x08;
/// Programming interface; subclass and class follow.
pub const CLASS: u8 = 0x09;
/// Header type.
pub const HEADER_TYPE: u8 = 0x0e;
/// First base address register.
pub const BAR0: u8 = 0x10;
/// Subsystem vendor and device.
pub const SUBSYSTEM: u8 = 0x2c;
/// Interrupt line.
pub const INTERRUPT_LINE: u8 = 0x3c;
/// Interrupt pin.
pub const INTERRUPT_PIN: u8 = 0x3d;

/// What stands from each offset on in the header of a function that is no bridge (section 6.1).
const HEADER: [(u8, &str); 24] = [
    (0x00, "VENDOR_ID"),
    (0x02, "DEVICE_ID"),
    (0x04, "COMMAND"),
    (0x06, "STATUS"),
    (0x08, "REVISION_ID"),
    (0x09, "CLASS_CODE"),
    (0x0c, "CACHE_LINE_SIZE"),
    (0x0d, "LATENCY_TIMER"),
    (0x0e, "HEADER_TYPE"),
    (0x0f, "BIST"),
    (0x10, "BAR0"),
    (0x14, "BAR1"),
    (0x18, "BAR2"),
    (0x1c, "BAR3"),
    (0x20, "BAR4"),
    (0x24, "BAR5"),
    (0x28, "CARDBUS_CIS"),
    (0x2c, "SUBSYSTEM_VENDOR_ID"),
    (0x2e, "SUBSYSTEM_ID"),
    (0x30, "ROM_BASE"),
    (0x34, "CAPABILITIES"),
    (0x3c, "INTERRUPT_LINE"),
    (0x3d, "INTERRUPT_PIN"),
    (0x3e, "MIN_GNT"),
];

/// The register of the header that the byte at `offset` is of.
#[must_use]
pub fn register_name(offset: u8) -> Option<&'static str> {
    match offset {
        0x3f => Some("MAX_LAT"),
        0x40.. => None,
        _ => HEADER.iter().rev().find(|(first, _)| *first <= offset).map(|(_, name)| *name),
    }
}

/// What a function is, as its data sheet's first table says.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor and device.
    pub id: (u16, u16),
    /// Revision.
    pub revision: u8,
    /// Class, subclass, programming interface.
    pub class: (u8, u8, u8),
    /// Header type (bit 7: multi-function).
    pub header_type: u8,
    /// Subsystem vendor and device.
    pub subsystem: (u16, u16),
}

/// A register of a PCI function, as CONFIG_ADDRESS and a CONFIG_DATA port select it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selected {
    /// Bus number.
    pub bus: u8,
    /// Device number, 0-31.
    pub device: u8,
    /// Function number, 0-7.
    pub function: u8,
    /// Register.
    pub register: u8,
}

/// The CONFIG_ADDRESS register of a host bridge, which selects a function's register. It takes whole
/// dwords; what stands in CONFIG_DATA is the selected register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigAddress(pub u32);

impl ConfigAddress {
    /// Its four ports, as region `index` of the bridge.
    #[must_use]
    pub fn region(index: u8) -> Region {
        let base = u64::from(CONFIG_ADDRESS);
        Region { index, name: "pci-conf-idx", space: Space::Io, base, length: 4, widest: 4 }
    }

    /// A read of `size` bytes at `offset`.
    pub fn read(self, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        if size != 4 || offset != 0 {
            fx.note("CONFIG_ADDRESS read not as a dword", offset, 0);
        }
        u64::from(self.0)
    }

    /// A write of `size` bytes at `offset`.
    pub fn write(&mut self, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        if size == 4 && offset == 0 {
            self.0 = value as u32;
        } else {
            fx.note("CONFIG_ADDRESS written not as a dword", offset, value);
        }
    }

    /// Which register an access to CONFIG_DATA port CFCh + `lane` goes to; `None` when bit 31 is
    /// clear.
    #[must_use]
    pub fn selected(self, lane: u8) -> Option<Selected> {
        (self.0 & 1 << 31 != 0).then_some(Selected {
            bus: (self.0 >> 16) as u8,
            device: (self.0 >> 11) as u8 & 31,
            function: (self.0 >> 8) as u8 & 7,
            register: self.0 as u8 | lane & 3,
        })
    }
}

/// The bytes, and which bits of each the guest can write or clear by writing ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSpace {
    bytes: Vec<u8>,
    #[serde(skip, default = "no_bits")]
    writable: Vec<u8>,
    #[serde(skip, default = "no_bits")]
    clear_by_one: Vec<u8>,
}

fn no_bits() -> Vec<u8> {
    vec![0; 256]
}

impl ConfigSpace {
    /// A function with `identity`; everything else zero and read-only but COMMAND bits given by
    /// `command_mask`, the cache line size and the interrupt line.
    #[must_use]
    pub fn new(identity: &Identity, command_mask: u16) -> ConfigSpace {
        let mut config = ConfigSpace { bytes: no_bits(), writable: no_bits(), clear_by_one: no_bits() };
        config.set_u16(VENDOR_ID, identity.id.0);
        config.set_u16(VENDOR_ID + 2, identity.id.1);
        config.set(REVISION, identity.revision);
        config.set(CLASS, identity.class.2);
        config.set(CLASS + 1, identity.class.1);
        config.set(CLASS + 2, identity.class.0);
        config.set(HEADER_TYPE, identity.header_type);
        config.set_u16(SUBSYSTEM, identity.subsystem.0);
        config.set_u16(SUBSYSTEM + 2, identity.subsystem.1);
        config.writable(COMMAND, &command_mask.to_le_bytes());
        config.writable(0x0c, &[0xff]);
        config.writable(INTERRUPT_LINE, &[0xff]);
        config
    }

    /// Makes the bits of `mask` writable from `offset` on.
    pub fn writable(&mut self, offset: u8, mask: &[u8]) {
        for (index, bits) in mask.iter().enumerate() {
            self.writable[usize::from(offset) + index] = *bits;
        }
    }

    /// Makes the bits of `mask` clear when one is written to them, from `offset` on.
    pub fn clear_by_one(&mut self, offset: u8, mask: &[u8]) {
        for (index, bits) in mask.iter().enumerate() {
            self.clear_by_one[usize::from(offset) + index] = *bits;
        }
    }

    /// All 256 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One byte.
    #[must_use]
    pub fn get(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }

    /// A 16-bit register; `offset` is even.
    #[must_use]
    pub fn get_u16(&self, offset: u8) -> u16 {
        self.read(offset, 2) as u16
    }

    /// A 32-bit register; `offset` is a multiple of four.
    #[must_use]
    pub fn get_u32(&self, offset: u8) -> u32 {
        self.read(offset, 4)
    }

    /// Sets one byte as the chip, not the guest, does.
    pub fn set(&mut self, offset: u8, value: u8) {
        self.bytes[usize::from(offset)] = value;
    }

    /// Sets a 16-bit register as the chip does.
    pub fn set_u16(&mut self, offset: u8, value: u16) {
        for (index, byte) in value.to_le_bytes().into_iter().enumerate() {
            self.bytes[usize::from(offset) + index] = byte;
        }
    }

    /// Sets a 32-bit register as the chip does.
    pub fn set_u32(&mut self, offset: u8, value: u32) {
        for (index, byte) in value.to_le_bytes().into_iter().enumerate() {
            self.bytes[usize::from(offset) + index] = byte;
        }
    }

    /// A guest read of `size` bytes; past the end reads all ones.
    #[must_use]
    pub fn read(&self, offset: u8, size: u8) -> u32 {
        (0..size).rev().fold(0, |value, index| {
            let byte = self.bytes.get(usize::from(offset) + usize::from(index)).copied().unwrap_or(0xff);
            (value << 8) | u32::from(byte)
        })
    }

    /// A guest write of `size` bytes, through the masks.
    pub fn write(&mut self, offset: u8, size: u8, value: u32) {
        for index in 0..usize::from(size) {
            let at = usize::from(offset) + index;
            if at >= 256 {
                return;
            }
            let byte = (value >> (8 * index)) as u8;
            let (write, clear) = (self.writable[at], self.clear_by_one[at]);
            self.bytes[at] = (self.bytes[at] & !write | byte & write) & !(byte & clear);
        }
    }

    /// What every PCI function does at reset: command, cache line, interrupt line and BARs clear.
    pub fn reset(&mut self) {
        for offset in (COMMAND..COMMAND + 2).chain([0x0c, INTERRUPT_LINE]).chain(BAR0..0x28) {
            let at = usize::from(offset);
            self.bytes[at] &= !self.writable[at];
        }
    }

    /// Takes saved bytes, however many there are; masks stay, since they are wiring.
    pub fn restore_bytes(&mut self, saved: &ConfigSpace) {
        for (byte, saved) in self.bytes.iter_mut().zip(&saved.bytes) {
            *byte = *saved;
        }
    }
}
