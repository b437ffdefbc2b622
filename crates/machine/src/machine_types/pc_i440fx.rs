//! The i440FX/PIIX family of QEMU, as far as firmware can see the differences.

use warmboot_chipset as chipset;
use warmboot_chipset::{floppy::FloppyKind, virtio};

use super::{
    AcpiContents, ChipSet, FileBlocks, FwCfgContents, MachineType, MemorySplit, ProcessorHotplug,
    SmbiosContents, VgaRegisters,
};
use crate::{
    ConfigError,
    build::{self, Parts},
    devices::{Device, Slot},
    tables,
};

/// Routes an HPET timer can take: GSI 2 alone.
const HPET_ROUTES: u32 = 1 << 2;

/// Where the display adapter is.
pub(super) const VGA_SLOT: u8 = 2;
/// The first slot that nothing of the chip set has.
const FIRST_SLOT: u8 = 2;

/// The 82441FX with its PIIX3, whose third function is a PIIX4's.
pub(super) fn chips(parts: &Parts<'_>) -> Result<Vec<Slot>, ConfigError> {
    let Parts { config, machine_type, generation, .. } = parts;
    let (ide, floppy) = (parts.ide(), parts.floppy());
    let description = parts.describe(&floppy, build::ide_disks(&ide));
    let host_bridge = chipset::host_bridge::HostBridge::new(chipset::host_bridge::Config {
        memory: tables::ram_layout(machine_type, config.memory).0,
        reset_clears_shadows: generation.pam_reset,
        honours_lock: generation.smram_lock,
        ..chipset::host_bridge::Config::default()
    });
    let piix3 = chipset::piix3::Piix3::new(chipset::piix3::Config {
        reset_control: generation.port_cf9_reset,
        ..chipset::piix3::Config::default()
    });
    let piix4_pm = chipset::piix4_pm::Piix4Pm::new(chipset::piix4_pm::Config {
        parallel: config.parallel,
        serial1: config.serial,
        smm_marked_initialised: generation.smm_marked_initialised,
        ports_survive_reset: generation.pm_ports_survive_reset,
        ..chipset::piix4_pm::Config::default()
    });
    let mut slots = vec![
        build::function("i440fx", 0, 0, Device::HostBridge(host_bridge)),
        build::function("piix3", 1, 0, Device::Piix3(piix3)),
        build::function("piix3-ide", 1, 1, Device::Ide(ide)),
        build::function("piix4-pm", 1, 3, Device::Piix4Pm(piix4_pm)),
    ];
    slots.extend(parts.vga());
    slots.extend(parts.virtio(FIRST_SLOT));
    slots.extend(parts.fixed_chips(&description, floppy, HPET_ROUTES)?);
    Ok(slots)
}

/// 3.5 GiB below, whatever is left above.
pub(super) const WHATEVER_FITS: MemorySplit = MemorySplit { from: 0xe000_0000, below: 0xe000_0000 };
/// 3 GiB below, so that both parts are whole gibibytes.
pub(super) const WHOLE_GIBIBYTES: MemorySplit = MemorySplit { from: 0xe000_0000, below: 0xc000_0000 };

/// Virtio devices as they began.
const VIRTIO_1_4: virtio::Facts = virtio::Facts {
    interface: virtio::Interface::Legacy,
    discard: false,
    blk_queue_size: 128,
    blk_queue_each: false,
    queue_reset: false,
    page_per_queue: true,
    rng_any_layout: false,
    rng_msix: false,
};
const VIRTIO_2_4: virtio::Facts = virtio::Facts { rng_any_layout: true, ..VIRTIO_1_4 };
const VIRTIO_2_7: virtio::Facts = virtio::Facts { interface: virtio::Interface::Transitional, ..VIRTIO_2_4 };
const VIRTIO_2_8: virtio::Facts = virtio::Facts { page_per_queue: false, ..VIRTIO_2_7 };
const VIRTIO_4_0: virtio::Facts = virtio::Facts { discard: true, ..VIRTIO_2_8 };
const VIRTIO_5_0: virtio::Facts = virtio::Facts { blk_queue_size: 256, ..VIRTIO_4_0 };
const VIRTIO_5_2: virtio::Facts = virtio::Facts { blk_queue_each: true, ..VIRTIO_5_0 };
const VIRTIO_7_2: virtio::Facts = virtio::Facts { rng_msix: true, queue_reset: true, ..VIRTIO_5_2 };

const PRODUCT: &str = "Standard PC (i440FX + PIIX, 1996)";

/// Files while they are in the order in which the emulator's parts add them.
mod in_order_of_appearance {
    pub const BEFORE_ACPI: &[&str] = &["etc/boot-fail-wait", "etc/e820", "etc/system-states", "bootorder"];
    pub const WITH_ACPI: &[&str] = &[
        "etc/boot-fail-wait",
        "etc/e820",
        "etc/system-states",
        "etc/acpi/tables",
        "etc/table-loader",
        "etc/tpm/log",
        "etc/acpi/rsdp",
        "bootorder",
    ];
    pub const WITH_SMBIOS: &[&str] = &[
        "etc/boot-fail-wait",
        "etc/smbios/smbios-tables",
        "etc/smbios/smbios-anchor",
        "etc/e820",
        "etc/system-states",
        "etc/acpi/tables",
        "etc/table-loader",
        "etc/tpm/log",
        "etc/acpi/rsdp",
        "bootorder",
    ];
}

/// Files in the order of their names.
const BY_NAME: &[&str] = &[
    "bios-geometry",
    "bootorder",
    "etc/acpi/rsdp",
    "etc/acpi/tables",
    "etc/boot-fail-wait",
    "etc/e820",
    "etc/smbios/smbios-anchor",
    "etc/smbios/smbios-tables",
    "etc/system-states",
    "etc/table-loader",
    "etc/tpm/log",
];

const ITEMS: &[u16] = &[0x0002, 0x0003, 0x0004, 0x0005, 0x000d, 0x000e, 0x000f, 0x8000, 0x8002, 0x8004];
const ITEMS_WITH_SMBIOS: &[u16] =
    &[0x0002, 0x0003, 0x0004, 0x0005, 0x000d, 0x000e, 0x000f, 0x8000, 0x8001, 0x8002, 0x8004];

pub(super) const V1_4: MachineType = MachineType {
    name: "pc-i440fx-1.4",
    about: "i440FX/PIIX3 of QEMU 1.4: firmware builds its own ACPI and SMBIOS tables",
    generations: &["qemu"],
    chips,
    cpu: "qemu64-1.4",
    one_package: false,
    local_apic_version: 0x11,
    io_apic_version: Some(0x11),
    hpet: true,
    vga: VgaRegisters::Ports,
    virtio: VIRTIO_1_4,
    memory_split: WHATEVER_FITS,
    firmware_memory: 0x1_0000,
    firmware_writable: false,
    tcg_named: false,
    floppy: FloppyKind::Mb144,
    shadow_bios_after_incoming: false,
    file_blocks: FileBlocks::None,
    fw_cfg: FwCfgContents {
        dma: false,
        slots: 16,
        items: ITEMS,
        files: in_order_of_appearance::BEFORE_ACPI,
        hyper_transport_reserved: false,
    },
    acpi: None,
    smbios: SmbiosContents::Nothing,
};

pub(super) const V1_5: MachineType =
    MachineType { name: "pc-i440fx-1.5", about: "as 1.4, with its own CPU name", cpu: "qemu64-1.5", ..V1_4 };

pub(super) const V1_6: MachineType =
    MachineType { name: "pc-i440fx-1.6", about: "as 1.5, with its own CPU name", cpu: "qemu64-1.6", ..V1_5 };

pub(super) const V1_7: MachineType = MachineType {
    name: "pc-i440fx-1.7",
    about: "ACPI tables come through fw_cfg; they and option ROMs have memory blocks",
    cpu: "qemu64-1.7",
    file_blocks: FileBlocks::TablesAndOptionRoms,
    fw_cfg: FwCfgContents { files: in_order_of_appearance::WITH_ACPI, ..V1_6.fw_cfg },
    acpi: Some(ACPI_1_7),
    ..V1_6
};

pub(super) const ACPI_1_7: AcpiContents = AcpiContents {
    chip_set: ChipSet::I440fx,
    tables_bytes: 0x2000,
    rsdp_bytes: 36,
    processors: ProcessorHotplug::Bitmap,
    high_window: false,
    bus_uid: 1,
};

pub(super) const V2_0: MachineType = MachineType {
    name: "pc-i440fx-2.0",
    about: "3 GiB stay below 4 GiB; SMBIOS gets the product's name; option ROMs have no block",
    cpu: "qemu64-2.0",
    memory_split: WHOLE_GIBIBYTES,
    file_blocks: FileBlocks::Tables,
    fw_cfg: FwCfgContents { items: ITEMS_WITH_SMBIOS, ..V1_7.fw_cfg },
    smbios: SmbiosContents::Strings { manufacturer: "QEMU", product: PRODUCT, version: "pc-i440fx-2.0" },
    ..V1_7
};

pub(super) const V2_1: MachineType = MachineType {
    name: "pc-i440fx-2.1",
    about: "SMBIOS tables come through fw_cfg; room for 128 KiB of ACPI tables; local APIC version 14h",
    cpu: "qemu64-2.1",
    firmware_memory: 0x2_8000,
    local_apic_version: 0x14,
    fw_cfg: FwCfgContents { items: ITEMS, files: in_order_of_appearance::WITH_SMBIOS, ..V2_0.fw_cfg },
    acpi: Some(AcpiContents { tables_bytes: 0x2_0000, ..ACPI_1_7 }),
    smbios: SmbiosContents::Tables { product: PRODUCT },
    ..V2_0
};

pub(super) const V2_2: MachineType = MachineType {
    name: "pc-i440fx-2.2",
    about: "as 2.1, with its own CPU name; a VGA can have big-endian pixels",
    cpu: "qemu64-2.2",
    vga: VgaRegisters::Extended,
    ..V2_1
};

const ACPI_2_3: AcpiContents = AcpiContents { tables_bytes: 0x2_0000, rsdp_bytes: 20, ..ACPI_1_7 };

pub(super) const V2_3: MachineType = MachineType {
    name: "pc-i440fx-2.3",
    about: "the RSDP has 20 bytes",
    cpu: "qemu64-2.3",
    acpi: Some(ACPI_2_3),
    ..V2_2
};

pub(super) const V2_4: MachineType = MachineType {
    name: "pc-i440fx-2.4",
    about: "the CPU has basic leaves up to 0Dh; virtio-rng takes any layout",
    virtio: VIRTIO_2_4,
    cpu: "qemu64-2.4",
    ..V2_3
};

pub(super) const V2_5: MachineType = MachineType {
    name: "pc-i440fx-2.5",
    about: "fw_cfg has DMA; the CPU has no POPCNT",
    cpu: "qemu64-2.5",
    fw_cfg: FwCfgContents { dma: true, ..V2_4.fw_cfg },
    ..V2_4
};

pub(super) const V2_6: MachineType = MachineType {
    name: "pc-i440fx-2.6",
    about: "fw_cfg's files go by name; floppies of unusual size get a 2.88 MB drive",
    floppy: FloppyKind::Mb288,
    fw_cfg: FwCfgContents { files: BY_NAME, ..V2_5.fw_cfg },
    ..V2_5
};

const ACPI_2_7: AcpiContents = AcpiContents { processors: ProcessorHotplug::Registers, ..ACPI_2_3 };

pub(super) const V2_7: MachineType = MachineType {
    name: "pc-i440fx-2.7",
    about: "ACPI asks for processors one by one; the CPU has leaf 0Bh; virtio is transitional",
    virtio: VIRTIO_2_7,
    cpu: "qemu64-2.7",
    acpi: Some(ACPI_2_7),
    ..V2_6
};

pub(super) const V2_8: MachineType = MachineType {
    name: "pc-i440fx-2.8",
    about: "I/O APIC version 20h; the CPU has an L3 cache; virtio queues share a page of notifications",
    virtio: VIRTIO_2_8,
    cpu: "qemu64-2.8",
    io_apic_version: Some(0x20),
    ..V2_7
};

pub(super) const V2_9: MachineType = MachineType {
    name: "pc-i440fx-2.9",
    about: "32 slots in fw_cfg's directory; CPUID says TCG where there is no KVM",
    tcg_named: true,
    fw_cfg: FwCfgContents { slots: 32, ..V2_8.fw_cfg },
    ..V2_8
};

pub(super) const V2_10: MachineType =
    MachineType { name: "pc-i440fx-2.10", about: "as 2.9 to firmware", ..V2_9 };

const ACPI_2_11: AcpiContents = AcpiContents { high_window: true, ..ACPI_2_7 };

pub(super) const V2_11: MachineType = MachineType {
    name: "pc-i440fx-2.11",
    about: "ACPI names a PCI window above 4 GiB",
    acpi: Some(ACPI_2_11),
    ..V2_10
};

pub(super) const V2_12: MachineType =
    MachineType { name: "pc-i440fx-2.12", about: "as 2.11 to firmware", ..V2_11 };

pub(super) const V3_0: MachineType =
    MachineType { name: "pc-i440fx-3.0", about: "as 2.12 to firmware", ..V2_12 };

pub(super) const V3_1: MachineType =
    MachineType { name: "pc-i440fx-3.1", about: "as 3.0 to firmware", ..V3_0 };

pub(super) const V4_0: MachineType =
    MachineType { name: "pc-i440fx-4.0", about: "a virtio disk takes discards", virtio: VIRTIO_4_0, ..V3_1 };

pub(super) const V4_1: MachineType =
    MachineType { name: "pc-i440fx-4.1", about: "a VGA has EDID", vga: VgaRegisters::Edid, ..V4_0 };

pub(super) const V4_2: MachineType =
    MachineType { name: "pc-i440fx-4.2", about: "as 4.1 to firmware", ..V4_1 };

pub(super) const V5_0: MachineType = MachineType {
    name: "pc-i440fx-5.0",
    about: "a virtio disk's queue is longer",
    virtio: VIRTIO_5_0,
    ..V4_2
};

pub(super) const V5_1: MachineType =
    MachineType { name: "pc-i440fx-5.1", about: "as 5.0 to firmware", ..V5_0 };

pub(super) const ACPI_5_2: AcpiContents = AcpiContents { bus_uid: 0, ..ACPI_2_11 };

pub(super) const V5_2: MachineType = MachineType {
    name: "pc-i440fx-5.2",
    about: "ACPI's first PCI bus has _UID 0; a virtio disk has a queue for each processor",
    acpi: Some(ACPI_5_2),
    virtio: VIRTIO_5_2,
    ..V5_1
};

pub(super) const V6_0: MachineType =
    MachineType { name: "pc-i440fx-6.0", about: "as 5.2 to firmware", ..V5_2 };

pub(super) const V6_1: MachineType = MachineType {
    name: "pc-i440fx-6.1",
    about: "the CPU is of family 15, without cache leaves",
    cpu: "qemu64",
    ..V6_0
};

pub(super) const V6_2: MachineType = MachineType {
    name: "pc-i440fx-6.2",
    about: "several processors are the cores of one package",
    one_package: true,
    ..V6_1
};

pub(super) const V7_0: MachineType =
    MachineType { name: "pc-i440fx-7.0", about: "as 6.2 to firmware", ..V6_2 };

pub(super) const V7_1: MachineType = MachineType {
    name: "pc-i440fx-7.1",
    about: "e820 reserves the HyperTransport range of an AMD processor",
    fw_cfg: FwCfgContents { hyper_transport_reserved: true, ..V7_0.fw_cfg },
    ..V7_0
};

pub(super) const V7_2: MachineType = MachineType {
    name: "pc-i440fx-7.2",
    about: "i440FX/PIIX3 of QEMU 7.2: tables and DMA through fw_cfg",
    virtio: VIRTIO_7_2,
    ..V7_1
};
