//! What firmware is told about the machine: fw_cfg items and files, CMOS bytes, SMBIOS and ACPI
//! tables. Pure functions from a [`Description`]; nothing here keeps state.
//!
//! The contents are those of QEMU 7.2's `pc-i440fx` machine types, because firmware copies them
//! into its own tables and log. Item numbers and file names: QEMU, `docs/specs/fw_cfg.rst`.

pub mod acpi;
pub mod cmos;
mod dsdt;
pub mod smbios;
mod terms;

use warmboot_chipset::disk::Geometry;
use warmboot_chipset::floppy::FloppyKind;

pub use warmboot_chipset::fw_cfg::{Item, Key};

/// How machine types differ in what they tell firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    /// `pc-i440fx-1.4`: firmware builds ACPI and SMBIOS tables itself.
    V1_4,
    /// `pc-i440fx-7.2`: fw_cfg carries them, and has DMA.
    V7_2,
    /// `pc-q35-7.2`: the same, with less RAM below 4 GiB.
    Q35V7_2,
}

/// Which chips the tables speak of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChipSet {
    /// 82441FX and PIIX.
    I440fx,
    /// 82Q35 and ICH9.
    Q35,
}

/// All that the tables depend on.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Which machine type's contents.
    pub era: Era,
    /// Which chips.
    pub chip_set: ChipSet,
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
    /// Boot order as letters: `a` floppy, `c` hard disk, `d` CD-ROM, `n` network.
    pub boot: String,
    /// Whether firmware shall offer its boot menu.
    pub boot_menu: bool,
    /// Floppy drives A and B.
    pub floppies: [Option<FloppyKind>; 2],
    /// IDE hard disks: primary master and slave, secondary master and slave. CD-ROMs are not
    /// among them.
    pub disks: [Option<Geometry>; 4],
}

impl Description {
    /// A machine with the CPU model `qemu64`, one processor and no drives.
    pub fn new(era: Era, memory: u64) -> Description {
        Description {
            era,
            chip_set: ChipSet::I440fx,
            memory,
            cpus: 1,
            cpuid_signature: match era {
                Era::V1_4 => 0x0000_0623,
                Era::V7_2 | Era::Q35V7_2 => 0x0006_0fb1,
            },
            cpuid_features: 0x078b_fbfd,
            amd: true,
            pm_base: 0x600,
            boot: "cad".to_owned(),
            boot_menu: false,
            floppies: [None; 2],
            disks: [None; 4],
        }
    }
}

/// Slots in the file directory, used or not.
pub fn file_slots(era: Era) -> u16 {
    match era {
        Era::V1_4 => 0x10,
        Era::V7_2 | Era::Q35V7_2 => 0x20,
    }
}

/// Address where memory above 4 GiB starts.
pub const FOUR_GIB: u64 = 1 << 32;

/// How much RAM is below 4 GiB, and how much above: `(below, above)`.
///
/// From 3.5 GiB on, 1.4 keeps 3.5 GiB below; 7.2 keeps 3 GiB, so that both parts are whole
/// gibibytes.
pub fn ram_layout(era: Era, memory: u64) -> (u64, u64) {
    let (from, most_below) = match era {
        Era::V1_4 => (0xe000_0000, 0xe000_0000),
        Era::V7_2 => (0xe000_0000, 0xc000_0000),
        Era::Q35V7_2 => (0xb000_0000, 0x8000_0000),
    };
    if memory >= from { (most_below, memory - most_below) } else { (memory, 0) }
}

/// Everything fw_cfg offers, files in the order of the directory. Signature, interface version and
/// the directory itself are the device's to make.
pub fn fw_cfg(description: &Description) -> Vec<Item> {
    let mut items = numbered(description);
    items.extend(files(description));
    items
}

fn numbered(description: &Description) -> Vec<Item> {
    let cpus = description.cpus.to_le_bytes();
    // The number of nodes, then a node for each processor: there are no nodes.
    let numa = vec![0; 8 * (1 + usize::from(description.cpus))];
    vec![
        Item::number(0x0002, [0; 16]),                                        // UUID
        Item::number(0x0003, description.memory.to_le_bytes()),               // RAM size
        Item::number(0x0004, 0u16.to_le_bytes()),                             // no graphic
        Item::number(0x0005, cpus),                                           // processors
        Item::number(0x000d, numa),                                           // NUMA
        Item::number(0x000e, u16::from(description.boot_menu).to_le_bytes()), // boot menu
        Item::number(0x000f, cpus),                                           // most processors
        Item::number(0x8000, []),                                             // more ACPI tables: none
        Item::number(0x8002, 1u32.to_le_bytes()),                             // IRQ0 is on I/O APIC pin 2
        Item::number(0x8004, hpet()),                                         // HPET
    ]
}

/// Item 8004h: how many HPETs there are, then room for eight.
fn hpet() -> Vec<u8> {
    const ENTRY_BYTES: usize = 15;
    let mut bytes = vec![1];
    bytes.extend_from_slice(&acpi::HPET_ID.to_le_bytes());
    bytes.extend_from_slice(&u64::from(acpi::HPET_ADDRESS).to_le_bytes());
    bytes.resize(1 + 8 * ENTRY_BYTES, 0);
    bytes
}

fn files(description: &Description) -> Vec<Item> {
    let file = |name: &str, bytes: Vec<u8>| Item::file(name, bytes);
    let boot_fail_wait = (-1i32).to_le_bytes().to_vec();
    let system_states = vec![0x80, 0, 0, 0x81, 0x82, 0x80];
    match description.era {
        Era::V1_4 => vec![
            file("etc/boot-fail-wait", boot_fail_wait),
            file("etc/e820", e820(description)),
            file("etc/system-states", system_states),
            file("bootorder", Vec::new()),
        ],
        Era::V7_2 | Era::Q35V7_2 => {
            let acpi = acpi::build(description);
            let smbios = smbios::build(description);
            vec![
                file("bios-geometry", Vec::new()),
                file("bootorder", Vec::new()),
                file("etc/acpi/rsdp", acpi.rsdp),
                file("etc/acpi/tables", acpi.tables),
                file("etc/boot-fail-wait", boot_fail_wait),
                file("etc/e820", e820(description)),
                file("etc/smbios/smbios-anchor", smbios.anchor),
                file("etc/smbios/smbios-tables", smbios.tables),
                file("etc/system-states", system_states),
                file("etc/table-loader", acpi.loader),
                file("etc/tpm/log", Vec::new()),
            ]
        }
    }
}

/// `etc/e820`: address, length, type for each range; type 1 is RAM, 2 reserved.
fn e820(description: &Description) -> Vec<u8> {
    const RAM: u32 = 1;
    const RESERVED: u32 = 2;
    /// Where AMD processors decode HyperTransport messages, up to 1 TiB.
    const HYPER_TRANSPORT: (u64, u64) = (0xfd_0000_0000, 0x3_0000_0000);
    let (below, above) = ram_layout(description.era, description.memory);
    let mut ranges = Vec::new();
    if description.era != Era::V1_4 && description.amd {
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
