//! What is compared: the cases, and the evidence each emulator gives for one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use warmboot_machine::{Picture, VirtioInterface, machine_types};

/// Machine types that are compared in every way.
pub const MACHINES: [&str; 2] = ["pc-i440fx-1.4", "pc-i440fx-7.2"];

/// Machine types that are compared only when they are named, and why.
pub const NOT_COMPARED: [(&str, &str); 1] =
    [("pc-q35-7.2", "its DSDT is written anew, so its tables' lengths and addresses differ")];

/// The generation whose emulator is at hand.
const EMULATOR: &str = "qemu";

/// Memory of every case, in MiB.
pub const MEMORY_MIB: u64 = 128;

/// Interfaces of virtio devices, each a case.
const VIRTIO: [VirtioInterface; 3] =
    [VirtioInterface::Legacy, VirtioInterface::Transitional, VirtioInterface::Modern];

/// The blank virtio disk's bytes.
pub const VIRTIO_DISK_BYTES: u64 = 16 << 20;

/// The date both real-time clocks start with, as QEMU's `-rtc base=` takes it.
pub const START_DATE: &str = "2024-01-01T00:00:00";

/// The text after which firmware has nothing left to do.
pub const LAST_WORDS: &str = "No bootable device";

/// Which build of SeaBIOS runs, by its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Image {
    /// `bios-256k.bin`, which QEMU takes for machine types from 2.0 on.
    Large,
    /// `bios.bin`, 128 KiB.
    Small,
}

impl Image {
    /// The file's name in a firmware folder.
    pub fn file_name(self) -> &'static str {
        match self {
            Image::Large => "bios-256k.bin",
            Image::Small => "bios.bin",
        }
    }

    /// The name in a case's name and in the list of allowed bytes.
    pub fn short(self) -> &'static str {
        match self {
            Image::Large => "256k",
            Image::Small => "128k",
        }
    }
}

/// How the machine is started again once it has found nothing to boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// The keys, through the keyboard controller and INT 09h.
    CtrlAltDelete,
    /// The monitor's `system_reset`.
    SystemReset,
}

impl Restart {
    fn short(self) -> &'static str {
        match self {
            Restart::CtrlAltDelete => "ctrl-alt-delete",
            Restart::SystemReset => "system-reset",
        }
    }
}

/// One comparison: a machine booted twice, the second time by `restart`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Machine type.
    pub machine: &'static str,
    /// Firmware.
    pub image: Image,
    /// Whether two hard disks, a CD and a floppy are there, none of them bootable.
    pub drives: bool,
    /// Processors.
    pub cpus: u32,
    /// There is a standard VGA.
    pub vga: bool,
    /// There are a virtio disk, which is blank, and an entropy device, with these interfaces.
    pub virtio: Option<VirtioInterface>,
    /// What happens after the first boot.
    pub restart: Restart,
}

impl Case {
    /// The cases of the machine type called `machine`; `all`: of each that QEMU offers, without
    /// drives. Without a name: every case of [`MACHINES`] and one of each other.
    pub fn chosen(machine: Option<&str>) -> Result<Vec<Case>, String> {
        let offered = machine_types::ALL.iter().filter(|row| row.generations.contains(&EMULATOR));
        let offered: Vec<&'static str> = offered.map(|row| row.name).collect();
        let unsaid = |machine: &&&'static str| NOT_COMPARED.iter().all(|(name, _)| *name != **machine);
        match machine {
            None => {
                let whole = MACHINES.iter().flat_map(|machine| Case::of(machine));
                let others = offered.iter().filter(unsaid).filter(|machine| !MACHINES.contains(machine));
                let one = others.filter_map(|machine| Case::of(machine).into_iter().find(Case::is_short));
                Ok(whole.chain(one).collect())
            }
            Some("all") => Ok(offered
                .iter()
                .filter(unsaid)
                .flat_map(|machine| Case::of(machine))
                .filter(|case| !case.drives)
                .collect()),
            Some(name) => match offered.iter().find(|machine| **machine == name) {
                Some(machine) => Ok(Case::of(machine)),
                None => Err(format!(
                    "QEMU has no machine `{name}` that is compared; there are {}",
                    offered.join(", ")
                )),
            },
        }
    }

    /// Every case of a machine type, in the order of the report.
    fn of(machine: &'static str) -> Vec<Case> {
        // Without PCI nothing shows what is below E0000h, where the larger image has code.
        let images: &[Image] =
            if machine == "isapc" { &[Image::Small] } else { &[Image::Large, Image::Small] };
        let mut cases = Vec::new();
        for drives in [false, true] {
            for &image in images {
                for restart in [Restart::CtrlAltDelete, Restart::SystemReset] {
                    cases.push(Case { machine, image, drives, cpus: 1, vga: false, virtio: None, restart });
                }
            }
        }
        let plain = |restart| Case {
            machine,
            image: Image::Large,
            drives: false,
            cpus: 1,
            vga: false,
            virtio: None,
            restart,
        };
        if machine != "isapc" {
            // Not more: QEMU starts a third and a second at the same time, in the host's order.
            for restart in [Restart::CtrlAltDelete, Restart::SystemReset] {
                cases.push(Case { cpus: 2, ..plain(restart) });
            }
            for restart in [Restart::CtrlAltDelete, Restart::SystemReset] {
                cases.push(Case { vga: true, ..plain(restart) });
            }
            for interface in VIRTIO {
                cases.push(Case { virtio: Some(interface), ..plain(Restart::SystemReset) });
            }
        }
        cases
    }

    /// The one case in which a machine type is compared that is like others.
    fn is_short(&self) -> bool {
        !self.drives
            && self.cpus == 1
            && !self.vga
            && self.virtio.is_none()
            && self.restart == Restart::SystemReset
    }

    /// A name for the report and for folders.
    pub fn name(&self) -> String {
        format!(
            "{}-{}-{}{}{}{}-{}",
            self.machine.trim_start_matches("pc-i440fx-"),
            self.image.short(),
            if self.drives { "drives" } else { "none" },
            if self.cpus > 1 { format!("-{}-cpus", self.cpus) } else { String::new() },
            if self.vga { "-vga" } else { "" },
            match self.virtio {
                None => "",
                Some(VirtioInterface::Legacy) => "-virtio-legacy",
                Some(VirtioInterface::Transitional) => "-virtio-transitional",
                Some(VirtioInterface::Modern) => "-virtio-modern",
            },
            self.restart.short()
        )
    }
}

/// Where a drive of the cases with drives is attached, and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// IDE hard disk: channel, unit.
    HardDisk(u8, u8),
    /// IDE CD-ROM: channel, unit.
    Cdrom(u8, u8),
    /// Floppy drive A or B.
    Floppy(u8),
}

/// One blank drive image.
#[derive(Clone, Debug)]
pub struct DriveImage {
    /// Where it goes.
    pub at: Attachment,
    /// The file, all zeros.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Makes the drives of the cases with drives in `folder`: blank, sparse files.
pub fn make_drives(folder: &Path) -> io::Result<Vec<DriveImage>> {
    const DRIVES: [(Attachment, &str, u64); 4] = [
        (Attachment::HardDisk(0, 0), "disk0.img", 8 << 20),
        (Attachment::HardDisk(0, 1), "disk1.img", 64 << 20),
        (Attachment::Cdrom(1, 0), "cd.iso", 2 << 20),
        (Attachment::Floppy(0), "floppy.img", 1440 << 10),
    ];
    let mut drives = Vec::new();
    for (at, name, bytes) in DRIVES {
        let path = folder.join(name);
        File::create(&path)?.set_len(bytes)?;
        drives.push(DriveImage { at, path, bytes });
    }
    Ok(drives)
}

/// PCI configuration space by (device, function) on bus 0.
pub type PciSpaces = BTreeMap<(u8, u8), Vec<u8>>;

/// What the machine held when firmware had ended: taken while the CPU is halted, after the timer
/// interrupt has come at least twice since the last line of the log and the BIOS has counted the
/// floppy motor's time (BDA 40:40) down to zero.
#[derive(Clone, Default, Debug)]
pub struct Stage {
    /// 0-4FFh: interrupt vectors and BIOS data area.
    pub low_memory: Vec<u8>,
    /// E0000h-FFFFFh as a CPU reads it.
    pub bios_segments: Vec<u8>,
    /// The extended BIOS data area, from the segment at 40:0E to A0000h.
    pub ebda: Vec<u8>,
    /// Where `ebda` starts.
    pub ebda_address: u64,
    /// Every PCI function's 256 bytes.
    pub pci: PciSpaces,
    /// CMOS bytes 0Eh-7Fh (the clock's own registers left out).
    pub cmos: Vec<u8>,
    /// CPU registers as text, for the reader; not compared.
    pub registers: String,
    /// The screen, where there is one.
    pub picture: Option<Picture>,
    /// ACPI tables in the order the RSDT names them, the RSDP first.
    pub acpi: Vec<(String, Vec<u8>)>,
}

impl Stage {
    /// Where the BIOS counts timer interrupts (BDA 40:6C).
    pub const TIMER_TICKS: usize = 0x46c;

    /// How many must come after a boot before it is over.
    pub const TICKS: u32 = 2;

    /// Where it counts them down until the floppy motor stops (BDA 40:40).
    pub const MOTOR_COUNT: usize = 0x440;

    /// Address and length of the EBDA, from its segment at 40:0E.
    pub fn ebda(low_memory: &[u8]) -> (u64, usize) {
        let address = u64::from(dword(low_memory, 0x40e) & 0xffff) << 4;
        (address, 0xa_0000u64.saturating_sub(address).min(0x2_0000) as usize)
    }
}

/// All that one emulator says about one case.
#[derive(Clone, Default, Debug)]
pub struct Evidence {
    /// Everything written to port 402h.
    pub debug_log: String,
    /// After power-on.
    pub power_on: Stage,
    /// After the case's restart.
    pub restarted: Stage,
}

/// Finds the ACPI tables of a booted machine. `read` gives guest memory, short at its end.
///
/// The RSDP is searched for on 16-byte boundaries of E0000h-FFFFFh (ACPI 1.0b, 5.2.4.1).
pub fn find_acpi_tables<E>(
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<Vec<(String, Vec<u8>)>, E> {
    const MOST_TABLE_BYTES: usize = 1 << 20;
    let segments = read(0xe0000, 0x20000)?;
    let mut tables = Vec::new();
    let Some(rsdp) = segments
        .chunks(16)
        .position(|chunk| chunk.starts_with(b"RSD PTR "))
        .and_then(|index| segments.get(index * 16..index * 16 + 20))
    else {
        return Ok(tables);
    };
    tables.push(("RSDP".to_owned(), rsdp.to_vec()));
    let rsdt_address = u64::from(dword(rsdp, 16));
    let mut pending = vec![rsdt_address];
    while let Some(address) = pending.pop() {
        let header = read(address, 8)?;
        let length = dword(&header, 4) as usize;
        if address == 0 || !(8..=MOST_TABLE_BYTES).contains(&length) || tables.len() > 32 {
            continue;
        }
        let table = read(address, length)?;
        let signature: String =
            table.iter().take(4).map(|&byte| char::from(byte)).filter(char::is_ascii_graphic).collect();
        match signature.as_str() {
            "RSDT" => {
                pending.extend(
                    table
                        .get(36..)
                        .unwrap_or(&[])
                        .chunks_exact(4)
                        .rev()
                        .map(|entry| u64::from(dword(entry, 0))),
                );
            }
            "FACP" => {
                pending.push(u64::from(dword(&table, 40)));
                pending.push(u64::from(dword(&table, 36)));
            }
            _ => {}
        }
        tables.push((signature, table));
    }
    Ok(tables)
}

/// A little-endian dword of `bytes`, zero past the end.
pub fn dword(bytes: &[u8], at: usize) -> u32 {
    (0..4).map(|i| u32::from(bytes.get(at + i).copied().unwrap_or(0)) << (8 * i)).sum()
}
