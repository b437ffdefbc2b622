//! The chips of a PC, one per file.
//!
//! A chip is a leaf: an access goes in; data and [`Effects`] come out. No chip holds a reference to
//! the bus, the CPU or another chip; the machine applies effects in one visible place. Each chip
//! separates its `State` (saved, restored, hashed, compared) from wiring and from what is derived.

#![forbid(unsafe_code)]

mod effects;
pub mod pam;
pub mod pci;
// one line per chip, in the order of the alphabet:
pub mod acpi_hotplug;
pub mod acpi_pm;
pub mod ahci;
pub mod debug_exit;
pub mod debug_port;
pub mod disk;
pub mod dma;
pub mod flash;
pub mod floppy;
pub mod fw_cfg;
pub mod host_bridge;
pub mod hpet;
pub mod i8042;
pub mod ich9_lpc;
pub mod ich9_smbus;
pub mod ide;
pub mod io_apic;
pub mod keys;
pub mod local_apic;
pub mod mch;
pub mod msix;
pub mod parallel;
pub mod pic;
pub mod piix3;
pub mod piix4_pm;
pub mod pit;
pub mod port92;
pub mod post_code;
pub mod ps2_keyboard;
pub mod ps2_mouse;
pub mod pvpanic;
#[cfg(test)]
mod replay;
pub mod rtc;
pub mod shutdown_port;
pub mod smbus;
pub mod uart16550;
pub mod vga;
pub mod virtio;

pub use effects::{ApicMessage, Effects, FlashStore, Power, ResetRequest};
use serde::{Deserialize, Serialize};

/// A point in virtual time, in nanoseconds since power-on.
///
/// Chips keep moments absolute while they run; [`Chip::shift_time`] moves them so that two machines
/// at different times can be compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `nanoseconds` later.
    #[must_use]
    pub fn after(self, nanoseconds: u64) -> Moment {
        Moment(self.0.saturating_add(nanoseconds))
    }

    /// Nanoseconds since `earlier`, or zero when `earlier` lies ahead.
    #[must_use]
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Moves this moment by `delta` nanoseconds (modulo 2^64, so that shifts can be undone).
    pub fn shift(&mut self, delta: i64) {
        self.0 = self.0.wrapping_add_signed(delta);
    }
}

/// In which space a chip wants to be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// I/O ports.
    Io,
    /// Memory addresses.
    Memory,
}

/// One range of addresses a chip answers. Derived from its state (BARs, PMBASE…), never saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// The chip's own number for this range, handed back on each access.
    pub index: u8,
    /// What `warmboot memory-map` calls it, for example `pic0` or `hpet`.
    pub name: &'static str,
    /// Ports or memory.
    pub space: Space,
    /// First address.
    pub base: u64,
    /// Length in bytes, at least 1.
    pub length: u64,
    /// Widest access in bytes the chip takes (1, 2, 4 or 8); the machine splits wider ones,
    /// low part first.
    pub widest: u8,
}

/// The name in a table of registers that stands at `offset`.
pub(crate) fn name_at(names: &[&str], offset: u64) -> Option<String> {
    let name = names.get(usize::try_from(offset).ok()?)?;
    (!name.is_empty()).then(|| (*name).to_owned())
}

/// The name in a table of registers, by their first bytes, that begins at `offset`.
pub(crate) fn name_of(names: &[(u64, &str)], offset: u64) -> Option<String> {
    names.iter().find(|(first, _)| *first == offset).map(|(_, name)| (*name).to_owned())
}

/// Guest memory as lent to a bus master for the length of one [`Chip::service`] call.
pub trait GuestMemory {
    /// Reads `bytes.len()` bytes from `address`; where nothing answers, all ones.
    fn read(&mut self, address: u64, bytes: &mut [u8]);
    /// Writes `bytes` to `address`; where nothing takes them, they are lost.
    fn write(&mut self, address: u64, bytes: &[u8]);
}

/// Why a chip is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetKind {
    /// Power comes on: everything takes its power-on value.
    PowerOn,
    /// The system reset line: what a hard reset of a running PC does (batteries and disks stay).
    System,
}

/// What every chip does. All accesses are already split to at most [`Region::widest`] bytes and lie
/// inside the region; `fx` carries the current moment in and effects out.
pub trait Chip {
    /// The ranges this chip answers now. Ask for [`Effects::remap`] when they change.
    fn regions(&self) -> Vec<Region>;

    /// Reads `size` bytes at `offset` of region `index`. Unknown registers read all ones and are
    /// noted with [`Effects::note`].
    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64;

    /// Writes `size` bytes at `offset` of region `index`.
    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects);

    /// Takes the reset line or power-on. Output lines that change are reported as effects.
    fn reset(&mut self, kind: ResetKind, fx: &mut Effects);

    /// An input pin (numbered by the chip) changed to `level`.
    fn input(&mut self, _pin: u8, _level: bool, _fx: &mut Effects) {}

    /// When this chip next wants [`Chip::on_deadline`]; `None` when nothing is running.
    fn deadline(&self) -> Option<Moment> {
        None
    }

    /// The deadline has come (`fx.now()` is at or after it). Must move or clear the deadline.
    fn on_deadline(&mut self, _fx: &mut Effects) {}

    /// Bus-master work asked for with [`Effects::service`].
    fn service(&mut self, _memory: &mut dyn GuestMemory, _fx: &mut Effects) {}

    /// What the data sheet calls the register that an access to `offset` of region `index` reaches now: an
    /// index register may decide that. `None` where it has no name.
    fn register_name(&self, _index: u8, _offset: u64, _write: bool) -> Option<String> {
        None
    }

    /// The same of PCI configuration space.
    fn config_register_name(&self, offset: u8) -> Option<String> {
        pci::register_name(offset).map(str::to_owned)
    }

    /// The PCI function's configuration space, for chips that are one.
    fn pci_config(&self) -> Option<&pci::ConfigSpace> {
        None
    }

    /// Reads `size` (1, 2, 4) bytes of PCI configuration space.
    fn config_read(&mut self, offset: u8, size: u8, _fx: &mut Effects) -> u32 {
        self.pci_config().map_or(u32::MAX, |config| config.read(offset, size))
    }

    /// Writes `size` bytes of PCI configuration space.
    fn config_write(&mut self, _offset: u8, _size: u8, _value: u32, _fx: &mut Effects) {}

    /// Whether it interrupts by messages of its own, which no line and no interrupt controller stand before.
    fn sends_messages(&self) -> bool {
        false
    }

    /// Version of the saved state's layout; grows when an older one can no longer be taken.
    fn version(&self) -> u32 {
        1
    }

    /// Moves every [`Moment`] in the state by `delta` nanoseconds.
    fn shift_time(&mut self, _delta: i64) {}
}
