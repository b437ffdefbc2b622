//! What a machine is made of, as the command line or a scenario chooses it.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use warmboot_chipset::{self as chipset, disk::BlockSource, virtio::Interface};
use warmboot_cpu::Path;

use crate::{BootOptions, ConfigError, Generation, generations, machine_types, tables};

/// The largest amount of memory a machine can have.
pub const MEMORY_MAXIMUM: u64 = 64 << 30;
/// The smallest.
pub const MEMORY_MINIMUM: u64 = 1 << 20;

/// Names of the flash chips: on the board and as memory blocks.
pub const FLASH_CHIPS: [&str; 2] = ["system.flash0", "system.flash1"];
/// All flash chips together.
const FLASH_MAXIMUM: u64 = 8 << 20;
/// How much of the first one is shown below 1 MiB.
const LOW_FIRMWARE: usize = 128 << 10;

/// A firmware image or option ROM with the name messages use for it.
#[derive(Clone, Debug, Default)]
pub struct Firmware {
    /// Name or path.
    pub name: String,
    /// The image, shared with every machine built from it.
    pub bytes: Arc<[u8]>,
}

/// A flash chip below 4 GiB, as QEMU's `-drive if=pflash`.
#[derive(Clone, Debug)]
pub struct Flash {
    /// What is in it at power-on; never changed: what the guest writes stays with the machine.
    pub image: Firmware,
    /// The guest cannot write.
    pub read_only: bool,
}

/// A Linux kernel that the emulator hands to firmware, as QEMU's `-kernel`, `-initrd` and `-append`.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The kernel: a bzImage.
    pub image: Firmware,
    /// The initial RAM disk.
    pub initrd: Option<Firmware>,
    /// The command line.
    pub append: String,
    /// The option ROM that starts it, which comes first in the boot order.
    pub option_rom: Firmware,
}

/// Which display adapter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Adapter {
    /// QEMU's standard VGA, on PCI; where there is none, as [`Adapter::Isa`].
    #[default]
    Std,
    /// The same on ISA: fixed addresses and no configuration space.
    Isa,
}

/// A display adapter.
#[derive(Clone, Debug)]
pub struct Vga {
    /// Which.
    pub adapter: Adapter,
    /// Its option ROM.
    pub rom: Firmware,
}

/// What a drive is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DriveKind {
    /// An ATA hard disk.
    HardDisk,
    /// An ATAPI CD-ROM.
    Cdrom,
    /// A floppy disk.
    Floppy,
}

/// Where a drive is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Slot {
    /// IDE channel and unit, both 0 or 1.
    Ide {
        /// 0 primary, 1 secondary.
        channel: u8,
        /// 0 master, 1 slave.
        unit: u8,
    },
    /// SATA port, 0-5.
    Sata(u8),
    /// Floppy drive 0 or 1.
    Floppy(u8),
    /// Virtio block device, 0-3: a PCI function of its own.
    Virtio(u8),
}

impl Slot {
    /// The SATA port that stands for this slot on a machine without IDE: its four IDE drives are the
    /// first ports there, as QEMU's `-hda` to `-hdd` are.
    #[must_use]
    pub fn sata_port(self) -> Option<u8> {
        match self {
            Slot::Ide { channel, unit } => Some(2 * channel + unit),
            Slot::Sata(port) => Some(port),
            Slot::Floppy(_) | Slot::Virtio(_) => None,
        }
    }
}

impl FromStr for Slot {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Slot, ConfigError> {
        match text {
            "ide0-0" => Ok(Slot::Ide { channel: 0, unit: 0 }),
            "ide0-1" => Ok(Slot::Ide { channel: 0, unit: 1 }),
            "ide1-0" => Ok(Slot::Ide { channel: 1, unit: 0 }),
            "ide1-1" => Ok(Slot::Ide { channel: 1, unit: 1 }),
            "sata0" => Ok(Slot::Sata(0)),
            "sata1" => Ok(Slot::Sata(1)),
            "sata2" => Ok(Slot::Sata(2)),
            "sata3" => Ok(Slot::Sata(3)),
            "sata4" => Ok(Slot::Sata(4)),
            "sata5" => Ok(Slot::Sata(5)),
            "floppy0" => Ok(Slot::Floppy(0)),
            "floppy1" => Ok(Slot::Floppy(1)),
            "virtio0" => Ok(Slot::Virtio(0)),
            "virtio1" => Ok(Slot::Virtio(1)),
            "virtio2" => Ok(Slot::Virtio(2)),
            "virtio3" => Ok(Slot::Virtio(3)),
            _ => Err(ConfigError::new(format!(
                "unknown drive slot `{text}`; there are ide0-0, ide0-1, ide1-0, ide1-1, sata0 to sata5, floppy0, \
                 floppy1, virtio0 to virtio3"
            ))),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Ide { channel, unit } => write!(f, "ide{channel}-{unit}"),
            Slot::Sata(port) => write!(f, "sata{port}"),
            Slot::Floppy(unit) => write!(f, "floppy{unit}"),
            Slot::Virtio(number) => write!(f, "virtio{number}"),
        }
    }
}

/// One drive with its medium.
#[derive(Clone)]
pub struct Drive {
    /// Where.
    pub at: Slot,
    /// What.
    pub kind: DriveKind,
    /// The medium; never changed: writes go to a copy-on-write layer.
    pub source: Arc<dyn BlockSource>,
    /// The image's name, for messages.
    pub name: String,
    /// The guest cannot write.
    pub read_only: bool,
    /// Nanoseconds from a command to its data.
    pub latency: u64,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.at, self.name)
    }
}

/// Everything a machine is built from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Machine type.
    pub machine: String,
    /// Emulator generation.
    pub emulator: String,
    /// A generation that is in no list, in place of `emulator`: a real one with a field changed, to
    /// see what depends on it.
    pub generation: Option<Generation>,
    /// CPU model; the machine type's own when absent.
    pub cpu: Option<String>,
    /// Number of processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// The BIOS image.
    pub firmware: Firmware,
    /// Flash chips, the first one right below 4 GiB and the second below that. The BIOS image is then what
    /// [`Config::low_firmware`] gives of the first.
    pub flash: Vec<Flash>,
    /// Images for the option-ROM area, as fw_cfg `genroms/` files, and where cards have ROM sockets in these.
    pub option_roms: Vec<Firmware>,
    /// A Linux kernel to start.
    pub kernel: Option<Kernel>,
    /// The display adapter.
    pub vga: Option<Vga>,
    /// Drives.
    pub drives: Vec<Drive>,
    /// A virtio entropy device.
    pub rng: bool,
    /// Which interfaces virtio devices have; the machine type's when absent.
    pub virtio: Option<Interface>,
    /// What firmware is told about booting.
    pub boot: BootOptions,
    /// COM1 exists.
    pub serial: bool,
    /// LPT1 exists.
    pub parallel: bool,
    /// The debug-exit port, when there is one.
    pub debug_exit: Option<u16>,
    /// The panic port exists.
    pub pvpanic: bool,
    /// What RDRAND, RDSEED and the entropy device give follows from this.
    pub seed: u64,
    /// Which execution path runs.
    pub path: Path,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            machine: machine_types::DEFAULT.into(),
            emulator: "qemu".into(),
            generation: None,
            cpu: None,
            cpus: 1,
            memory: 128 << 20,
            firmware: Firmware::default(),
            flash: Vec::new(),
            option_roms: Vec::new(),
            kernel: None,
            vga: None,
            drives: Vec::new(),
            rng: false,
            virtio: None,
            boot: BootOptions::default(),
            serial: false,
            parallel: false,
            debug_exit: None,
            pvpanic: false,
            seed: 0,
            path: Path::Cached,
        }
    }
}

/// Most processors of a machine: more than that, and a run is slower than one would wait for.
pub const PROCESSORS_MAXIMUM: u32 = 32;

impl Config {
    /// Checks what can be wrong without a look at firmware and media: names, numbers, boot order.
    ///
    /// # Errors
    /// One sentence about the first that no machine can have.
    pub fn check_choices(&self) -> Result<(), ConfigError> {
        let fail = |message: String| Err(ConfigError::new(message));
        let Some(machine_type) = machine_types::find(&self.machine) else {
            let names: Vec<&str> = machine_types::ALL.iter().map(|machine| machine.name).collect();
            return fail(format!("unknown machine `{}`; there are {}", self.machine, names.join(", ")));
        };
        if self.generation.is_none() && generations::find(&self.emulator).is_none() {
            let names: Vec<&str> = generations::ALL.iter().map(|generation| generation.name).collect();
            return fail(format!("unknown emulator `{}`; there are {}", self.emulator, names.join(", ")));
        }
        if !(1..=PROCESSORS_MAXIMUM).contains(&self.cpus) {
            return fail(format!(
                "{} processors were asked for; expected 1 to {PROCESSORS_MAXIMUM}",
                self.cpus
            ));
        }
        if !(MEMORY_MINIMUM..=MEMORY_MAXIMUM).contains(&self.memory) || !self.memory.is_multiple_of(4096) {
            return fail(format!(
                "memory of {} bytes; expected 1 MiB to 64 GiB in whole pages of 4 KiB",
                self.memory
            ));
        }
        if !tables::tells(machine_type, &self.boot) {
            return fail(format!("boot `{}`: {} tells firmware the order alone", self.boot, self.machine));
        }
        Ok(())
    }

    /// What a machine shows below 1 MiB of its first flash chip: a copy of the last 128 KiB.
    #[must_use]
    pub fn low_firmware(flash: &Firmware) -> Firmware {
        let from = flash.bytes.len().saturating_sub(LOW_FIRMWARE);
        let bytes = flash.bytes.get(from..).unwrap_or_default().into();
        Firmware { name: flash.name.clone(), bytes }
    }

    /// Checks that the flash chips are such as there are, and have room below 4 GiB.
    fn check_flash(&self) -> Result<(), ConfigError> {
        let fail = |message: String| Err(ConfigError::new(message));
        let sector = chipset::flash::SECTOR;
        for Flash { image, .. } in &self.flash {
            let size = image.bytes.len() as u64;
            if size == 0 || !size.is_multiple_of(sector) {
                return fail(format!(
                    "flash image `{}` has {size} bytes; expected whole sectors of {sector}",
                    image.name
                ));
            }
        }
        let total: u64 = self.flash.iter().map(|flash| flash.image.bytes.len() as u64).sum();
        if self.flash.len() > FLASH_CHIPS.len() || total > FLASH_MAXIMUM {
            return fail(format!(
                "{} flash images of {total} bytes; a machine has {} chips of 8 MiB together",
                self.flash.len(),
                FLASH_CHIPS.len()
            ));
        }
        if machine_types::find(&self.machine).is_some_and(|machine| machine.firmware_writable)
            && !self.flash.is_empty()
        {
            return fail(format!("the machine `{}` has no flash chips", self.machine));
        }
        Ok(())
    }

    /// Checks everything that can be wrong before anything is built.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let fail = |message: String| Err(ConfigError::new(message));
        self.check_choices()?;
        check_firmware(&self.firmware)?;
        self.check_flash()?;
        let kernel = self.kernel.iter().map(|kernel| &kernel.option_rom);
        let vga = self.vga.iter().map(|vga| &vga.rom);
        for rom in self.option_roms.iter().chain(kernel).chain(vga) {
            if rom.bytes.is_empty() || rom.bytes.len() > 128 << 10 {
                return fail(format!(
                    "option ROM `{}` has {} bytes; expected 1 to 131072",
                    rom.name,
                    rom.bytes.len()
                ));
            }
        }
        let mut slots = std::collections::BTreeSet::new();
        for drive in &self.drives {
            if !slots.insert(drive.at) {
                return fail(format!("two drives at {}", drive.at));
            }
            let floppy_slot = matches!(drive.at, Slot::Floppy(_));
            let hard_disk_only = matches!(drive.at, Slot::Virtio(_)) && drive.kind != DriveKind::HardDisk;
            if hard_disk_only || floppy_slot != (drive.kind == DriveKind::Floppy) {
                return fail(format!("drive {}: that slot does not take a {:?}", drive.at, drive.kind));
            }
        }
        Ok(())
    }
}

/// Checks that `firmware` can be mapped below 4 GiB and at E0000.
fn check_firmware(firmware: &Firmware) -> Result<(), ConfigError> {
    let size = firmware.bytes.len();
    if size == 0 || !size.is_multiple_of(64 << 10) || size > 16 << 20 {
        return Err(ConfigError::new(format!(
            "firmware `{}` has {size} bytes; expected a multiple of 64 KiB up to 16 MiB",
            firmware.name
        )));
    }
    Ok(())
}
