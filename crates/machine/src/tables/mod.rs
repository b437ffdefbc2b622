//! What firmware is told about the machine: fw_cfg items and files, CMOS bytes, SMBIOS and ACPI
//! tables. Pure functions from a [`Description`]; nothing here keeps state.
//!
//! The contents are those of the emulators' machine types, because firmware copies them into its own
//! tables and log. Item numbers and file names: QEMU, `docs/specs/fw_cfg.rst`.

pub mod acpi;
pub mod cmos;
mod dsdt;
pub mod smbios;
mod terms;

use warmboot_chipset::disk::Geometry;
use warmboot_chipset::floppy::FloppyKind;
use warmboot_chipset::pvpanic;

pub use warmboot_chipset::fw_cfg::{Item, Key};

use crate::{
    BootOptions,
    machine_types::{MachineType, SmbiosContents},
};

/// All that the tables depend on.
#[derive(Clone, Debug)]
pub struct Description {
    /// Which machine type's contents.
    pub machine_type: &'static MachineType,
    /// RAM in bytes.
    pub memory: u64,
    /// Processors, all of them present; at most 255.
    pub cpus: u16,
    /// CPUID leaf 1 EAX.
    pub cpuid_signature: u32,
    /// CPUID leaf 1 EDX.
    pub cpuid_features: u32,
    /// Whether CPUID's vendor is AuthenticAMD, whose HyperTransport range is reserved.
    pub amd: bool,
    /// PMBASE of the PIIX4 when firmware reads the ACPI tables: FADT holds its ports.
    pub pm_base: u16,
    /// What firmware is told about booting.
    pub boot: BootOptions,
    /// The fw_cfg file of the option ROM that is first in the boot order, when one is.
    pub first_option_rom: Option<String>,
    /// PCI device number of the display adapter, when there is one on PCI.
    pub vga_slot: Option<u8>,
    /// Whether there is COM1.
    pub serial: bool,
    /// Whether there is LPT1.
    pub parallel: bool,
    /// Whether there is the panic port.
    pub pvpanic: bool,
    /// Floppy drives A and B.
    pub floppies: [Option<FloppyKind>; 2],
    /// IDE hard disks: primary master and slave, secondary master and slave. CD-ROMs are not
    /// among them.
    pub disks: [Option<Geometry>; 4],
}

impl Description {
    /// A machine with a `qemu64` of today, one processor and no drives.
    pub fn new(machine_type: &'static MachineType, memory: u64) -> Description {
        Description {
            machine_type,
            memory,
            cpus: 1,
            cpuid_signature: 0x0006_0fb1,
            cpuid_features: 0x078b_fbfd,
            amd: true,
            pm_base: 0x600,
            boot: BootOptions::default(),
            first_option_rom: None,
            vga_slot: None,
            serial: false,
            parallel: false,
            pvpanic: false,
            floppies: [None; 2],
            disks: [None; 4],
        }
    }
}

/// Address where memory above 4 GiB starts.
pub const FOUR_GIB: u64 = 1 << 32;

/// How much RAM is below 4 GiB, and how much above: `(below, above)`.
pub fn ram_layout(machine_type: &MachineType, memory: u64) -> (u64, u64) {
    let split = machine_type.memory_split;
    if memory >= split.from { (split.below, memory - split.below) } else { (memory, 0) }
}

/// Everything fw_cfg offers, files in the order of the directory. Signature, interface version and
/// the directory itself are the device's to make.
pub fn fw_cfg(description: &Description) -> Vec<Item> {
    let contents = &description.machine_type.fw_cfg;
    let numbered = contents.items.iter().map(|key| Item::number(*key, item(*key, description)));
    let tables = Tables::build(description);
    let files = files(description).into_iter().map(|name| Item::file(name, file(name, description, &tables)));
    numbered.chain(files).collect()
}

/// The file that says where the panic port is.
const PVPANIC_FILE: &str = "etc/pvpanic-port";

/// The item that says whether to offer the boot menu.
const BOOT_MENU_ITEM: u16 = 0x000e;

/// The file that says how long the boot menu is offered, in milliseconds.
const MENU_WAIT_FILE: &str = "etc/boot-menu-wait";

/// The file that says after how many milliseconds to reset when nothing boots; -1: never.
const FAIL_WAIT_FILE: &str = "etc/boot-fail-wait";

/// Whether firmware of this machine type is told all that `options` say.
pub(crate) fn tells(machine_type: &MachineType, options: &BootOptions) -> bool {
    let contents = &machine_type.fw_cfg;
    let timed = options.splash_time.is_some() || options.reboot_timeout.is_some();
    (!options.menu || contents.items.contains(&BOOT_MENU_ITEM))
        && (!timed || contents.files.contains(&FAIL_WAIT_FILE))
}

/// The files' names: a device's own stands by its name or, where the emulator has an order of its own,
/// behind those of the machine.
fn files(description: &Description) -> Vec<&'static str> {
    let mut names = description.machine_type.fw_cfg.files.to_vec();
    if description.pvpanic {
        let at = if names.is_sorted() {
            names.partition_point(|name| *name < PVPANIC_FILE)
        } else {
            names.iter().position(|name| *name == "etc/system-states").map_or(names.len(), |at| at + 1)
        };
        names.insert(at, PVPANIC_FILE);
    }
    if description.boot.splash_time.is_some()
        && let Some(at) = names.iter().position(|name| *name == FAIL_WAIT_FILE)
    {
        names.insert(at + usize::from(names.is_sorted()), MENU_WAIT_FILE);
    }
    names
}

/// The bytes of a numbered item; none where it says that there is nothing.
fn item(key: u16, description: &Description) -> Vec<u8> {
    const MOST_RESERVED_RANGES: usize = 16;
    const RANGE_BYTES: usize = 20;
    let cpus = description.cpus.to_le_bytes().to_vec();
    match key {
        0x0002 => vec![0; 16], // UUID
        0x0003 => description.memory.to_le_bytes().to_vec(),
        0x0004 => vec![0; 2], // there is a display, for all that firmware needs to know
        0x0005 | 0x000f => cpus, // processors, and most processors
        // NUMA: the number of nodes, then a node for each processor. There are no nodes.
        0x000d => vec![0; 8 * (1 + usize::from(description.cpus))],
        BOOT_MENU_ITEM => u16::from(description.boot.menu).to_le_bytes().to_vec(),
        0x8001 => match description.machine_type.smbios {
            SmbiosContents::Strings { manufacturer, product, version } => {
                smbios::strings([manufacturer, product, version])
            }
            _ => Vec::new(),
        },
        0x8002 => 1u32.to_le_bytes().to_vec(), // IRQ0 is on I/O APIC pin 2
        0x8003 => vec![0; 4 + MOST_RESERVED_RANGES * RANGE_BYTES], // none are in use
        0x8004 => hpet(description.machine_type.hpet),
        _ => Vec::new(), // 8000h, more ACPI tables: none
    }
}

/// Item 8004h: how many HPETs there are, then room for eight.
fn hpet(present: bool) -> Vec<u8> {
    const ENTRY_BYTES: usize = 15;
    /// The count when there is none.
    const NONE: u8 = 0xff;
    let mut bytes = vec![if present { 1 } else { NONE }];
    if present {
        bytes.extend_from_slice(&acpi::HPET_ID.to_le_bytes());
        bytes.extend_from_slice(&u64::from(acpi::HPET_ADDRESS).to_le_bytes());
    }
    bytes.resize(1 + 8 * ENTRY_BYTES, 0);
    bytes
}

/// Tables of which several files are made.
struct Tables {
    acpi: Option<acpi::Acpi>,
    smbios: Option<smbios::Smbios>,
}

impl Tables {
    fn build(description: &Description) -> Tables {
        let machine_type = description.machine_type;
        let smbios = match machine_type.smbios {
            SmbiosContents::Tables { product } => Some(smbios::build(description, product)),
            SmbiosContents::Nothing | SmbiosContents::Strings { .. } => None,
        };
        Tables { acpi: machine_type.acpi.map(|contents| acpi::build(description, &contents)), smbios }
    }
}

/// The bytes of a file.
fn file(name: &str, description: &Description, tables: &Tables) -> Vec<u8> {
    let acpi = |part: fn(&acpi::Acpi) -> &Vec<u8>| {
        tables.acpi.as_ref().map_or_else(Vec::new, |acpi| part(acpi).clone())
    };
    let smbios = |part: fn(&smbios::Smbios) -> &Vec<u8>| {
        tables.smbios.as_ref().map_or_else(Vec::new, |smbios| part(smbios).clone())
    };
    match name {
        "etc/acpi/rsdp" => acpi(|acpi| &acpi.rsdp),
        "etc/acpi/tables" => acpi(|acpi| &acpi.tables),
        "etc/table-loader" => acpi(|acpi| &acpi.loader),
        "etc/smbios/smbios-anchor" => smbios(|smbios| &smbios.anchor),
        "etc/smbios/smbios-tables" => smbios(|smbios| &smbios.tables),
        "bootorder" => boot_order(description),
        PVPANIC_FILE => pvpanic::PORT.to_le_bytes().to_vec(),
        FAIL_WAIT_FILE => description.boot.reboot_timeout.map_or(-1, i32::from).to_le_bytes().to_vec(),
        MENU_WAIT_FILE => description.boot.splash_time.unwrap_or_default().to_le_bytes().to_vec(),
        "etc/e820" => e820(description),
        "etc/system-states" => vec![0x80, 0, 0, 0x81, 0x82, 0x80],
        _ => Vec::new(), // bios-geometry, etc/tpm/log: there, and empty
    }
}

/// `bootorder`: device paths, a line each, with a zero at the end; nothing where the order is CMOS's.
fn boot_order(description: &Description) -> Vec<u8> {
    let first = description.first_option_rom.as_ref();
    first.map_or_else(Vec::new, |file| format!("/rom@{file}\0").into_bytes())
}

/// `etc/e820`: address, length, type for each range; type 1 is RAM, 2 reserved.
fn e820(description: &Description) -> Vec<u8> {
    const RAM: u32 = 1;
    const RESERVED: u32 = 2;
    /// Where AMD processors decode HyperTransport messages, up to 1 TiB.
    const HYPER_TRANSPORT: (u64, u64) = (0xfd_0000_0000, 0x3_0000_0000);
    let (below, above) = ram_layout(description.machine_type, description.memory);
    let mut ranges = Vec::new();
    if description.machine_type.fw_cfg.hyper_transport_reserved && description.amd {
        ranges.push((HYPER_TRANSPORT.0, HYPER_TRANSPORT.1, RESERVED));
    }
    ranges.push((0, below, RAM));
    if above > 0 {
        ranges.push((FOUR_GIB, above, RAM));
    }
    let mut bytes = Vec::new();
    for (address, length, kind) in ranges {
        bytes.extend_from_slice(&address.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
