//! Machine types: which chips, slots, sizes and fw_cfg contents a machine has.
//!
//! One type is one table row, most of which is what the type before it had. A new one is a row (in
//! its family's file) and a line in [`ALL`]. What is written of a `pc-i440fx` or `isapc` row was
//! measured on QEMU 7.2, which still offers all of them; `rhel.rs` and `pc_2010.rs` say where theirs
//! is from.

mod isapc;
mod pc_2010;
mod pc_i440fx;
mod pc_q35;
mod rhel;

use warmboot_chipset::{floppy::FloppyKind, virtio};

use crate::build::Chips;

/// Facts about one machine type.
#[derive(Clone, Copy, Debug)]
pub struct MachineType {
    /// Name for `--machine`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The generations whose emulators offer it. Any other can be had here all the same.
    pub generations: &'static [&'static str],
    /// Makes its chips.
    pub(crate) chips: Chips,
    /// CPU model when none is asked for.
    pub cpu: &'static str,
    /// Several processors are the cores of one package. Before QEMU 6.2 each had a package of its own.
    pub one_package: bool,
    /// Local APIC version register, low byte.
    pub local_apic_version: u8,
    /// I/O APIC version; `None` where there is none.
    pub io_apic_version: Option<u8>,
    /// There is an HPET.
    pub hpet: bool,
    /// What a standard VGA has mapped into memory.
    pub vga: VgaRegisters,
    /// How virtio devices differ between versions.
    pub virtio: virtio::Facts,
    /// How RAM is divided between below and above 4 GiB.
    pub memory_split: MemorySplit,
    /// What is left to firmware at the end of low memory when a kernel and its RAM disk are placed.
    pub firmware_memory: u64,
    /// The BIOS and the option ROMs are plain memory, whatever the generation makes of ROM.
    pub firmware_writable: bool,
    /// The emulator without KVM names itself in CPUID leaf 40000000h, where its generation does.
    pub tcg_named: bool,
    /// The drive a diskette image of unusual size is put into.
    pub floppy: FloppyKind,
    /// An incoming migration copies the BIOS into shadow RAM that is empty
    /// ([`crate::hooks::shadow_bios`]).
    pub shadow_bios_after_incoming: bool,
    /// Which files of fw_cfg have memory blocks of their own (`/rom@etc/acpi/tables` and so on), which
    /// the emulator's migration carries. This machine says so and makes no such blocks: its fw_cfg
    /// always holds what its own type builds.
    pub file_blocks: FileBlocks,
    /// What fw_cfg holds.
    pub fw_cfg: FwCfgContents,
    /// How the emulator builds ACPI tables; `None` where firmware builds its own.
    pub acpi: Option<AcpiContents>,
    /// What the emulator says about SMBIOS.
    pub smbios: SmbiosContents,
}

impl MachineType {
    /// PCI device number of a display adapter; `None` without PCI.
    pub(crate) fn vga_slot(&self) -> Option<u8> {
        match self.acpi.map(|acpi| acpi.chip_set) {
            _ if self.is_isa() => None,
            Some(ChipSet::Q35) => Some(pc_q35::VGA_SLOT),
            _ => Some(pc_i440fx::VGA_SLOT),
        }
    }

    /// Whether there is no PCI.
    #[must_use]
    pub fn is_isa(&self) -> bool {
        self.firmware_writable
    }
}

/// What a standard VGA has mapped into memory besides what it shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum VgaRegisters {
    /// Nothing.
    None,
    /// Its ports and the display interface.
    Ports,
    /// Those and the byte order of what is shown.
    Extended,
    /// All of those, and EDID.
    Edid,
}

/// How RAM is divided between below and above 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemorySplit {
    /// From this many bytes of RAM on, a part is above 4 GiB.
    pub from: u64,
    /// How much then stays below.
    pub below: u64,
}

/// Which files of fw_cfg have memory blocks of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileBlocks {
    /// None.
    None,
    /// The ACPI tables and what places them.
    Tables,
    /// Those and the option ROMs.
    TablesAndOptionRoms,
}

/// What fw_cfg holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FwCfgContents {
    /// It has its DMA interface.
    pub dma: bool,
    /// Slots in the file directory, used or not.
    pub slots: u16,
    /// The numbered items besides those the device makes itself.
    pub items: &'static [u16],
    /// The files in the directory's order; option ROMs follow them.
    pub files: &'static [&'static str],
    /// An AMD processor's HyperTransport range is reserved.
    pub hyper_transport_reserved: bool,
}

/// How the emulator builds ACPI tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcpiContents {
    /// The chips they speak of.
    pub chip_set: ChipSet,
    /// Size of the file with the tables, whatever is in it.
    pub tables_bytes: usize,
    /// Size of the file with the RSDP: 20, or 36 with the fields of revision 2 left zero.
    pub rsdp_bytes: usize,
    /// How processors come and go.
    pub processors: ProcessorHotplug,
    /// The host bridge passes a window above 4 GiB.
    pub high_window: bool,
    /// `_UID` of the first PCI bus.
    pub bus_uid: u8,
}

/// The chips that ACPI tables speak of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChipSet {
    /// 82441FX and PIIX.
    I440fx,
    /// 82Q35 and ICH9.
    Q35,
}

/// How ACPI learns of processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProcessorHotplug {
    /// A bitmap of 256 processors at AF00h.
    Bitmap,
    /// A selector, flags and commands at AF00h.
    Registers,
}

/// What the emulator says about SMBIOS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmbiosContents {
    /// Nothing: firmware makes all of it.
    Nothing,
    /// Strings of type 1, which firmware puts into its own tables.
    Strings {
        /// Manufacturer.
        manufacturer: &'static str,
        /// Product.
        product: &'static str,
        /// Version.
        version: &'static str,
    },
    /// All tables but type 0.
    Tables {
        /// The product's name.
        product: &'static str,
    },
}

/// The machine type when none is asked for.
pub const DEFAULT: &str = "pc-i440fx-7.2";

/// Every machine type there is.
pub const ALL: &[&MachineType] = &[
    &pc_i440fx::V7_2,
    &pc_i440fx::V7_1,
    &pc_i440fx::V7_0,
    &pc_i440fx::V6_2,
    &pc_i440fx::V6_1,
    &pc_i440fx::V6_0,
    &pc_i440fx::V5_2,
    &pc_i440fx::V5_1,
    &pc_i440fx::V5_0,
    &pc_i440fx::V4_2,
    &pc_i440fx::V4_1,
    &pc_i440fx::V4_0,
    &pc_i440fx::V3_1,
    &pc_i440fx::V3_0,
    &pc_i440fx::V2_12,
    &pc_i440fx::V2_11,
    &pc_i440fx::V2_10,
    &pc_i440fx::V2_9,
    &pc_i440fx::V2_8,
    &pc_i440fx::V2_7,
    &pc_i440fx::V2_6,
    &pc_i440fx::V2_5,
    &pc_i440fx::V2_4,
    &pc_i440fx::V2_3,
    &pc_i440fx::V2_2,
    &pc_i440fx::V2_1,
    &pc_i440fx::V2_0,
    &pc_i440fx::V1_7,
    &pc_i440fx::V1_6,
    &pc_i440fx::V1_5,
    &pc_i440fx::V1_4,
    &pc_q35::V7_2,
    &rhel::I440FX_RHEL7_0_0,
    &rhel::RHEL6_5_0,
    &pc_2010::PC_0_13,
    &pc_2010::PC_0_12,
    &isapc::ISAPC,
];

/// The machine type called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static MachineType> {
    ALL.iter().copied().find(|machine| machine.name == name)
}
