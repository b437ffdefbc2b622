//! ACPI tables (Advanced Configuration and Power Interface 1.0b) and the script with which
//! firmware places and links them (QEMU, `docs/specs/` "table loader").
//!
//! Every address in the tables is an offset into its own file until firmware has run the script.

use super::{Description, dsdt};
use crate::machine_types::{AcpiContents, ChipSet};

/// Where the HPET answers.
pub const HPET_ADDRESS: u32 = 0xfed0_0000;

/// The low half of the HPET's capabilities register.
pub const HPET_ID: u32 = 0x8086_a201;

const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
const IO_APIC_ADDRESS: u32 = 0xfec0_0000;

/// `etc/table-loader` has this size whatever is in it, so that it can grow after a migration.
const LOADER_BYTES: usize = 0x1000;

const TABLES: &str = "etc/acpi/tables";
const RSDP: &str = "etc/acpi/rsdp";

/// Offsets of the checksum in a table's header and in the RSDP.
const HEADER_CHECKSUM: u32 = 9;
const RSDP_CHECKSUM: u32 = 8;

/// The three files of fw_cfg.
pub struct Acpi {
    /// `etc/acpi/rsdp`.
    pub rsdp: Vec<u8>,
    /// `etc/acpi/tables`.
    pub tables: Vec<u8>,
    /// `etc/table-loader`.
    pub loader: Vec<u8>,
}

/// Builds the three files. The FADT holds ports that follow [`Description::pm_base`]: whoever
/// offers the files builds them anew when firmware has moved the PM block and then reads them.
pub fn build(description: &Description, contents: &AcpiContents) -> Acpi {
    let mut file = File::default();
    file.loader.allocate(RSDP, 16, Zone::FSegment);
    file.loader.allocate(TABLES, 64, Zone::High);

    let facs = file.bytes(&facs());
    let dsdt = file.table(&header(b"DSDT", &dsdt::body(description, contents)));
    let fadt = file.fadt(description, contents, facs, dsdt);
    let madt = file.table(&madt(description));
    let hpet = description.machine_type.hpet.then(|| file.table(&hpet()));
    let mcfg = (contents.chip_set == ChipSet::Q35).then(|| file.table(&mcfg()));
    let waet = file.table(&waet());
    let listed: Vec<u32> = [Some(fadt), Some(madt), hpet, mcfg, Some(waet)].into_iter().flatten().collect();
    let rsdt = header(b"RSDT", &vec![0; 4 * listed.len()]);
    let entries: Vec<_> = (0..).map(|index| 36 + 4 * index).zip(listed).collect();
    let rsdt = file.table_with_pointers(&rsdt, &entries);

    file.loader.add_pointer(RSDP, TABLES, 16);
    file.loader.add_checksum(RSDP, RSDP_CHECKSUM, 0, 20);
    file.bytes.resize(contents.tables_bytes.max(file.bytes.len()), 0);
    let mut loader = file.loader.0;
    loader.resize(LOADER_BYTES.max(loader.len()), 0);
    let mut rsdp = rsdp(rsdt);
    rsdp.resize(contents.rsdp_bytes.max(rsdp.len()), 0);
    Acpi { rsdp, tables: file.bytes, loader }
}

/// `etc/acpi/tables` while it is made, with the script that goes with it.
#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    loader: Loader,
}

impl File {
    fn bytes(&mut self, bytes: &[u8]) -> u32 {
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        offset
    }

    fn table(&mut self, table: &[u8]) -> u32 {
        self.table_with_pointers(table, &[])
    }

    /// Adds the FADT, whose revision 3 has the DSDT's address a second time, in eight bytes.
    fn fadt(&mut self, description: &Description, contents: &AcpiContents, facs: u32, dsdt: u32) -> u32 {
        const EXTENDED_DSDT: u32 = 140;
        let table = match contents.chip_set {
            ChipSet::I440fx => fadt(description),
            ChipSet::Q35 => fadt_q35(description),
        };
        if contents.chip_set == ChipSet::I440fx {
            return self.table_with_pointers(&table, &[(36, facs), (40, dsdt)]);
        }
        let offset = self.bytes(&table);
        for (place, target, width) in [(36, facs, 4), (40, dsdt, 4), (EXTENDED_DSDT, dsdt, 8)] {
            let place = offset + place;
            if let Some(bytes) = self.bytes.get_mut(place as usize..place as usize + 4) {
                bytes.copy_from_slice(&target.to_le_bytes());
            }
            self.loader.add_wide_pointer(TABLES, TABLES, place, width);
        }
        self.loader.add_checksum(TABLES, offset + HEADER_CHECKSUM, offset, table.len() as u32);
        offset
    }

    /// Adds a table; `pointers` are the places in it that hold addresses, and what they point to.
    fn table_with_pointers(&mut self, table: &[u8], pointers: &[(u32, u32)]) -> u32 {
        let offset = self.bytes(table);
        for &(place, target) in pointers {
            let place = offset + place;
            if let Some(bytes) = self.bytes.get_mut(place as usize..place as usize + 4) {
                bytes.copy_from_slice(&target.to_le_bytes());
            }
            self.loader.add_pointer(TABLES, TABLES, place);
        }
        self.loader.add_checksum(TABLES, offset + HEADER_CHECKSUM, offset, table.len() as u32);
        offset
    }
}

/// Where firmware may put a file.
#[derive(Clone, Copy)]
enum Zone {
    High = 1,
    FSegment = 2,
}

/// The script: entries of 128 bytes, names of 56.
#[derive(Default)]
struct Loader(Vec<u8>);

impl Loader {
    const ENTRY_BYTES: usize = 128;

    fn allocate(&mut self, file: &str, alignment: u32, zone: Zone) {
        self.entry(1, &[&name(file), &alignment.to_le_bytes(), &[zone as u8]]);
    }

    /// Adds the address of `source` to the four bytes at `offset` of `file`.
    fn add_pointer(&mut self, file: &str, source: &str, offset: u32) {
        self.add_wide_pointer(file, source, offset, 4);
    }

    /// The same with `width` bytes.
    fn add_wide_pointer(&mut self, file: &str, source: &str, offset: u32, width: u8) {
        self.entry(2, &[&name(file), &name(source), &offset.to_le_bytes(), &[width]]);
    }

    fn add_checksum(&mut self, file: &str, offset: u32, start: u32, length: u32) {
        let numbers = [offset, start, length].map(u32::to_le_bytes);
        self.entry(3, &[&name(file), numbers.as_flattened()]);
    }

    fn entry(&mut self, command: u32, parts: &[&[u8]]) {
        let end = self.0.len() + Self::ENTRY_BYTES;
        self.0.extend_from_slice(&command.to_le_bytes());
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self.0.resize(end, 0);
    }
}

fn name(file: &str) -> [u8; 56] {
    let mut bytes = [0; 56];
    for (byte, letter) in bytes.iter_mut().zip(file.bytes()) {
        *byte = letter;
    }
    bytes
}

/// A table of revision 1 with its header (5.2.3); the checksum is the script's work.
fn header(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: u32 = 36;
    let length = HEADER_BYTES + body.len() as u32;
    let mut table = signature.to_vec();
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&[1, 0]); // revision, checksum
    table.extend_from_slice(b"BOCHS BXPC    ");
    table.extend_from_slice(&1u32.to_le_bytes());
    table.extend_from_slice(b"BXPC");
    table.extend_from_slice(&1u32.to_le_bytes());
    table.extend_from_slice(body);
    table
}

/// 5.2.4.
fn rsdp(rsdt: u32) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0BOCHS \0".to_vec();
    bytes.extend_from_slice(&rsdt.to_le_bytes());
    bytes
}

/// 5.2.6: no waking vector, no global lock.
fn facs() -> Vec<u8> {
    let mut bytes = b"FACS".to_vec();
    bytes.extend_from_slice(&64u32.to_le_bytes());
    bytes.resize(64, 0);
    bytes
}

/// 5.2.5. The two addresses are filled in by [`File::table_with_pointers`].
fn fadt(description: &Description) -> Vec<u8> {
    const MULTIPLE_APIC: u8 = 1;
    const SCI: u16 = 9;
    const SMI_COMMAND_PORT: u32 = 0xb2;
    const ACPI_ENABLE: u8 = 0xf1;
    const ACPI_DISABLE: u8 = 0xf0;
    const GPE0: u32 = 0xafe0;
    /// Above 100 and 1000 microseconds: neither C2 nor C3.
    const NO_C_STATE: u16 = 0xfff;
    const CENTURY: u8 = 0x32;
    const WBINVD: u32 = 1 << 0;
    const C1: u32 = 1 << 2;
    const SLEEP_BUTTON_IS_A_METHOD: u32 = 1 << 5;
    const RTC_WAKES_S4: u32 = 1 << 7;
    const PLATFORM_CLOCK: u32 = 1 << 15;
    let pm_base = u32::from(description.pm_base);
    let mut body = vec![0; 8]; // FACS, DSDT
    body.extend_from_slice(&[MULTIPLE_APIC, 0]);
    body.extend_from_slice(&SCI.to_le_bytes());
    body.extend_from_slice(&SMI_COMMAND_PORT.to_le_bytes());
    body.extend_from_slice(&[ACPI_ENABLE, ACPI_DISABLE, 0, 0]); // no S4BIOS
    // PM1a and PM1b events, PM1a and PM1b control, PM2 control, PM timer, GPE0, GPE1.
    for port in [pm_base, 0, pm_base + 4, 0, 0, pm_base + 8, GPE0, 0] {
        body.extend_from_slice(&port.to_le_bytes());
    }
    body.extend_from_slice(&[4, 2, 0, 4, 4, 0]); // their lengths
    body.extend_from_slice(&[0, 0]); // GPE1's first number
    body.extend_from_slice(&NO_C_STATE.to_le_bytes());
    body.extend_from_slice(&NO_C_STATE.to_le_bytes());
    body.extend_from_slice(&[0; 6]); // cache flush size and stride, duty cycle
    body.extend_from_slice(&[0, 0, CENTURY]); // no day and month alarm
    body.extend_from_slice(&[0; 3]);
    let flags = WBINVD | C1 | SLEEP_BUTTON_IS_A_METHOD | RTC_WAKES_S4 | PLATFORM_CLOCK;
    body.extend_from_slice(&flags.to_le_bytes());
    header(b"FACP", &body)
}

/// The same of revision 3 (ACPI 3.0, 5.2.9), as Q35 machines have it: with a reset register, and
/// every block once more as a generic address.
fn fadt_q35(description: &Description) -> Vec<u8> {
    const REVISION: u8 = 3;
    const ACPI_ENABLE: u8 = 2;
    const ACPI_DISABLE: u8 = 3;
    const GPE0_BYTES: u8 = 16;
    const KEYBOARD_CONTROLLER: u16 = 1 << 1;
    const RESET_REGISTER: u8 = 1 << 2; // bit 10 of the flags
    const RESET_PORT: u16 = 0xcf9;
    const RESET_VALUE: u8 = 0x0f;
    let gpe0 = description.pm_base + 0x20;
    let mut table = fadt(description);
    table.truncate(116);
    for (at, bytes) in [
        (8, &[REVISION][..]),
        (52, &[ACPI_ENABLE, ACPI_DISABLE]),
        (80, &u32::from(gpe0).to_le_bytes()),
        (92, &[GPE0_BYTES]),
        (109, &KEYBOARD_CONTROLLER.to_le_bytes()),
    ] {
        if let Some(place) = table.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    if let Some(flags) = table.get_mut(113) {
        *flags |= RESET_REGISTER;
    }
    table.extend_from_slice(&io_address(RESET_PORT, 8));
    table.extend_from_slice(&[RESET_VALUE, 0, 0, 0]);
    table.extend_from_slice(&[0; 16]); // FACS and DSDT
    let base = description.pm_base;
    for (port, bits) in
        [(base, 32), (0, 0), (base + 4, 16), (0, 0), (0, 0), (base + 8, 32), (gpe0, 128), (0, 0)]
    {
        table.extend_from_slice(&if bits == 0 { [0; 12] } else { io_address(port, bits) });
    }
    let length = table.len() as u32;
    if let Some(place) = table.get_mut(4..8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    table
}

/// A port as a generic address (ACPI 3.0, 5.2.3.1).
fn io_address(port: u16, bits: u8) -> [u8; 12] {
    const SYSTEM_IO: u8 = 1;
    let [low, high] = port.to_le_bytes();
    [SYSTEM_IO, bits, 0, 0, low, high, 0, 0, 0, 0, 0, 0]
}

/// PCI Firmware Specification 3.0, 4.1.2: where firmware puts the configuration window, as it was
/// told when it had done so.
fn mcfg() -> Vec<u8> {
    const BASE: u64 = 0xb000_0000;
    const LAST_BUS: u8 = 0xff;
    let mut body = vec![0; 8];
    body.extend_from_slice(&BASE.to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, LAST_BUS, 0, 0, 0, 0]); // segment 0, from bus 0
    header(b"MCFG", &body)
}

/// 5.2.8.
fn madt(description: &Description) -> Vec<u8> {
    const PC_AT_COMPATIBLE: u32 = 1 << 0;
    /// Interrupts that the PCI links may use: active high, level.
    const LEVEL_INTERRUPTS: [u8; 4] = [5, 9, 10, 11];
    const ACTIVE_HIGH_LEVEL: u8 = 0b1101;
    let mut body = LOCAL_APIC_ADDRESS.to_le_bytes().to_vec();
    body.extend_from_slice(&PC_AT_COMPATIBLE.to_le_bytes());
    for cpu in 0..description.cpus.min(255) as u8 {
        body.extend_from_slice(&local_apic(cpu));
    }
    body.extend_from_slice(&[1, 12, 0, 0]); // I/O APIC 0
    body.extend_from_slice(&IO_APIC_ADDRESS.to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes()); // from interrupt 0
    let mut route = |from: u8, to: u8, flags: u8| {
        body.extend_from_slice(&[2, 10, 0, from, to, 0, 0, 0, flags, 0]);
    };
    route(0, 2, 0);
    for interrupt in LEVEL_INTERRUPTS {
        route(interrupt, interrupt, ACTIVE_HIGH_LEVEL);
    }
    body.extend_from_slice(&[4, 6, 0xff, 0, 0, 1]); // NMI: LINT1 of every processor
    header(b"APIC", &body)
}

/// One processor's entry in the MADT, and its `_MAT`.
pub(super) fn local_apic(cpu: u8) -> [u8; 8] {
    const ENABLED: u8 = 1 << 0;
    [0, 8, cpu, cpu, ENABLED, 0, 0, 0]
}

/// IA-PC HPET specification 1.0a, 3.2.4.
fn hpet() -> Vec<u8> {
    let mut body = HPET_ID.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 4]); // in memory, width and offset unsaid
    body.extend_from_slice(&u64::from(HPET_ADDRESS).to_le_bytes());
    body.resize(20, 0); // number, least tick, protection
    header(b"HPET", &body)
}

/// Windows ACPI Emulated Devices Table 1.0: a PM timer need be read only once.
fn waet() -> Vec<u8> {
    const PM_TIMER_IS_GOOD: u32 = 1 << 1;
    header(b"WAET", &PM_TIMER_IS_GOOD.to_le_bytes())
}
