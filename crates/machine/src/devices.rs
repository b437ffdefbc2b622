//! The chips a board can carry, as one list: adding a chip to machines is one line here.

use std::ops::{Deref, DerefMut};

use serde_json::Value;
use warmboot_chipset as chipset;
use warmboot_chipset::{Chip, Moment};

macro_rules! devices {
    ($($variant:ident($chip:ty), $find:ident, $find_mut:ident;)*) => {
        /// A chip on the board.
        #[derive(Clone)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Device { $($variant($chip)),* }

        impl Device {
            /// The chip behind its common face.
            #[must_use]
            pub fn chip(&self) -> &dyn Chip {
                match self { $(Device::$variant(chip) => chip),* }
            }

            /// The chip, to be accessed.
            pub fn chip_mut(&mut self) -> &mut dyn Chip {
                match self { $(Device::$variant(chip) => chip),* }
            }

            /// Takes a saved state of such a chip.
            pub(crate) fn restore(&mut self, state: Value) -> serde_json::Result<()> {
                match self {
                    $(Device::$variant(chip) => chip.restore(serde_json::from_value(state)?)),*
                }
                Ok(())
            }

            /// Writes the chip's saved state, which may be as large as what the guest wrote to a disk.
            pub(crate) fn write_state(&self, to: impl std::io::Write) -> serde_json::Result<()> {
                match self { $(Device::$variant(chip) => serde_json::to_writer(to, &chip.state())),* }
            }

            /// The chip's saved state as a value with named registers.
            pub fn state(&self) -> serde_json::Result<Value> {
                match self { $(Device::$variant(chip) => serde_json::to_value(chip.state())),* }
            }
        }

        impl crate::Board {
            $(
                /// The first such chip on the board.
                #[allow(dead_code)]
                pub(crate) fn $find(&self) -> Option<&$chip> {
                    self.slots.iter().find_map(|slot| match &*slot.device {
                        Device::$variant(chip) => Some(chip),
                        _ => None,
                    })
                }

                /// The first such chip on the board, to be changed.
                #[allow(dead_code)]
                pub(crate) fn $find_mut(&mut self) -> Option<&mut $chip> {
                    self.slots.iter_mut().find_map(|slot| match &mut *slot.device {
                        Device::$variant(chip) => Some(chip),
                        _ => None,
                    })
                }
            )*
        }
    };
}

devices! {
    Ahci(chipset::ahci::Ahci), ahci, ahci_mut;
    DebugExit(chipset::debug_exit::DebugExit), debug_exit, debug_exit_mut;
    DebugPort(chipset::debug_port::DebugPort), debug_port, debug_port_mut;
    Dma(chipset::dma::Dma), dma, dma_mut;
    Flash(chipset::flash::Flash), flash, flash_mut;
    Floppy(chipset::floppy::Floppy), floppy, floppy_mut;
    FwCfg(chipset::fw_cfg::FwCfg), fw_cfg, fw_cfg_mut;
    HostBridge(chipset::host_bridge::HostBridge), host_bridge, host_bridge_mut;
    Hpet(chipset::hpet::Hpet), hpet, hpet_mut;
    I8042(chipset::i8042::I8042), i8042, i8042_mut;
    Ich9Lpc(chipset::ich9_lpc::Ich9Lpc), ich9_lpc, ich9_lpc_mut;
    Ich9Smbus(chipset::ich9_smbus::Ich9Smbus), ich9_smbus, ich9_smbus_mut;
    Ide(chipset::ide::IdeController), ide, ide_mut;
    IoApic(chipset::io_apic::IoApic), io_apic, io_apic_mut;
    LocalApic(chipset::local_apic::LocalApic), local_apic, local_apic_mut;
    Mch(chipset::mch::Mch), mch, mch_mut;
    Parallel(chipset::parallel::Parallel), parallel, parallel_mut;
    Pic(chipset::pic::Pic), pic, pic_mut;
    Piix3(chipset::piix3::Piix3), piix3, piix3_mut;
    Piix4Pm(chipset::piix4_pm::Piix4Pm), piix4_pm, piix4_pm_mut;
    Pit(chipset::pit::Pit), pit, pit_mut;
    PostCode(chipset::post_code::PostCode), post_code, post_code_mut;
    Port92(chipset::port92::Port92), port92, port92_mut;
    Pvpanic(chipset::pvpanic::Pvpanic), pvpanic, pvpanic_mut;
    Rtc(chipset::rtc::Rtc), rtc, rtc_mut;
    ShutdownPort(chipset::shutdown_port::ShutdownPort), shutdown_port, shutdown_port_mut;
    Uart(chipset::uart16550::Uart16550), uart, uart_mut;
    Vga(chipset::vga::Vga), vga, vga_mut;
    VirtioBlk(chipset::virtio::Virtio<chipset::virtio::blk::Blk>), virtio_blk, virtio_blk_mut;
    VirtioRng(chipset::virtio::Virtio<chipset::virtio::rng::Rng>), virtio_rng, virtio_rng_mut;
}

impl Device {
    /// Whether it is a PCI function on the board's own bus whose INTA# is asserted; `None` for chips whose
    /// pin is no such.
    pub(crate) fn inta(&self) -> Option<bool> {
        match self {
            Device::VirtioBlk(virtio) => Some(virtio.interrupt()),
            Device::VirtioRng(virtio) => Some(virtio.interrupt()),
            _ => None,
        }
    }
}

/// A chip in its place.
#[derive(Clone)]
pub struct Slot {
    /// Name in snapshots, diffs and the memory map.
    pub name: &'static str,
    /// PCI device and function number, for PCI functions.
    pub devfn: Option<u8>,
    /// The chip.
    pub device: Mounted,
}

/// A chip and the moment it waits for, which is asked again only when the chip may have changed.
#[derive(Clone)]
pub struct Mounted {
    device: Device,
    /// What it said; `None` until it is asked again.
    deadline: Option<Option<Moment>>,
}

impl From<Device> for Mounted {
    fn from(device: Device) -> Mounted {
        Mounted { device, deadline: None }
    }
}

impl Deref for Mounted {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

impl DerefMut for Mounted {
    fn deref_mut(&mut self) -> &mut Device {
        self.deadline = None;
        &mut self.device
    }
}

impl Mounted {
    /// The moment the chip waits for.
    pub(crate) fn deadline(&mut self) -> Option<Moment> {
        let device = &self.device;
        let deadline = *self.deadline.get_or_insert_with(|| device.chip().deadline());
        debug_assert_eq!(deadline, device.chip().deadline());
        deadline
    }
}
