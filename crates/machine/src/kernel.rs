//! A kernel that the emulator hands to firmware, as QEMU's `-kernel`: what fw_cfg then holds.
//!
//! fw_cfg keys: QEMU, `include/standard-headers/linux/qemu_fw_cfg.h`. An option ROM, which comes first in the
//! boot order, copies the items to the addresses that stand beside them and enters the kernel.

mod linux;
mod multiboot;

use warmboot_chipset::fw_cfg::Item;

use crate::{Config, ConfigError, MachineType, config::Kernel, tables};

/// Keys of the items of one part: its address, its size and its bytes.
type Keys = [u16; 3];

const KERNEL: Keys = [0x07, 0x08, 0x11];
const INITRD: Keys = [0x0a, 0x0b, 0x12];
const COMMAND_LINE: Keys = [0x13, 0x14, 0x15];
const SETUP: Keys = [0x16, 0x17, 0x18];
/// Where a Multiboot kernel is entered.
const ENTRY: u16 = 0x10;

/// How a kernel is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// The Linux/x86 boot protocol.
    Linux,
    /// Multiboot 1.
    Multiboot,
}

impl Protocol {
    /// That of a kernel's file; Linux where it is neither, whose loader says what is missing.
    #[must_use]
    pub fn of(file: &[u8]) -> Protocol {
        if multiboot::header(file).is_some() { Protocol::Multiboot } else { Protocol::Linux }
    }
}

/// fw_cfg's name of the option ROM that starts the kernel.
#[must_use]
pub(crate) fn option_rom_file(kernel: &Kernel) -> String {
    format!("genroms/{}", kernel.option_rom.name.rsplit(['/', ':']).next().unwrap_or("kernel"))
}

/// The items that a kernel puts into fw_cfg, or a sentence on why that kernel cannot be started.
pub(crate) fn items(
    config: &Config,
    kernel: &Kernel,
    machine_type: &MachineType,
) -> Result<Vec<Item>, ConfigError> {
    if !machine_type.fw_cfg.files.contains(&"bootorder") {
        return Err(ConfigError::new(format!(
            "the machine `{}` does not tell firmware a boot order by names: it cannot start a kernel",
            machine_type.name
        )));
    }
    if kernel.append.contains('\0') {
        return Err(ConfigError::new("the kernel's command line has a zero byte"));
    }
    let (below_4g, _) = tables::ram_layout(machine_type, config.memory);
    let room = below_4g.saturating_sub(machine_type.firmware_memory);
    match Protocol::of(&kernel.image.bytes) {
        Protocol::Linux => linux::items(kernel, room),
        Protocol::Multiboot => multiboot::items(kernel, room),
    }
}

/// The three items of a part that belongs at `at`.
fn part([address, size, data]: Keys, at: u32, bytes: Vec<u8>) -> [Item; 3] {
    [
        Item::number(address, at.to_le_bytes()),
        Item::number(size, (bytes.len() as u32).to_le_bytes()),
        Item::number(data, bytes),
    ]
}

fn refused(kernel: &Kernel, why: impl std::fmt::Display) -> ConfigError {
    ConfigError::new(format!("kernel `{}` {why}", kernel.image.name))
}

fn does_not_fit(kernel: &Kernel, end: u64) -> ConfigError {
    refused(kernel, format!("does not fit the memory: it needs {} MiB", end.div_ceil(1 << 20)))
}
