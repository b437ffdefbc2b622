use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::{BootOptions, machine_types};
use warmboot_chipset::disk::{Disk, ZeroSource};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn typed(name: &str) -> &'static MachineType {
    machine_types::find(name).expect("a machine type")
}

fn describe(machine_type: &str, memory: u64) -> Description {
    Description::new(typed(machine_type), memory)
}

fn file(name: &str) -> Key {
    Key::File(name.to_owned())
}

fn find(items: &[Item], key: Key) -> Vec<u8> {
    items.iter().find(|item| item.key == key).expect("an item").bytes.clone()
}

#[rstest]
#[case::small("pc-i440fx-7.2", 128 * MIB, (128 * MIB, 0))]
#[case::last_below("pc-i440fx-7.2", 3583 * MIB, (3583 * MIB, 0))]
#[case::split("pc-i440fx-7.2", 3584 * MIB, (3 * GIB, 512 * MIB))]
#[case::q35_last_below("pc-q35-7.2", 2815 * MIB, (2815 * MIB, 0))]
#[case::q35_split("pc-q35-7.2", 2816 * MIB, (2 * GIB, 768 * MIB))]
#[case::old_split("pc-i440fx-1.4", 4 * GIB, (3584 * MIB, 512 * MIB))]
fn memory_below_and_above(#[case] machine_type: &str, #[case] memory: u64, #[case] expect: (u64, u64)) {
    assert_eq!(ram_layout(typed(machine_type), memory), expect);
}

/// Bytes of CMOS as measured, by index.
#[rstest]
#[case::plain(describe("pc-i440fx-7.2", 128 * MIB), &[
    (0x10, 0), (0x12, 0), (0x14, 0x06), (0x15, 0x80), (0x16, 0x02), (0x17, 0xff), (0x18, 0xff),
    (0x30, 0xff), (0x34, 0), (0x35, 7), (0x38, 0x30), (0x3d, 0x12), (0x5b, 0), (0x5f, 0),
])]
#[case::one_mib(describe("pc-i440fx-7.2", MIB), &[(0x17, 0), (0x30, 0), (0x34, 0)])]
#[case::sixteen(describe("pc-i440fx-7.2", 16 * MIB), &[(0x17, 0), (0x18, 0x3c), (0x35, 0)])]
#[case::four_gib(describe("pc-i440fx-7.2", 4 * GIB), &[(0x35, 0xbf), (0x5c, 0x40)])]
#[case::old_four_gib(describe("pc-i440fx-1.4", 4 * GIB), &[(0x35, 0xdf), (0x5c, 0x20)])]
#[case::order(Description { boot: order("dcn"), ..describe("pc-i440fx-7.2", MIB) },
    &[(0x38, 0x40), (0x3d, 0x23)])]
#[case::network(Description { boot: order("n"), cpus: 2, ..describe("pc-i440fx-7.2", MIB) },
    &[(0x38, 0x00), (0x3d, 0x04), (0x5f, 1)])]
#[case::drives(with_drives(), &[
    (0x10, 0x40), (0x12, 0xff), (0x14, 0x07), (0x19, 0x2f), (0x1a, 0x2f), (0x1b, 0x10),
    (0x1c, 0), (0x1d, 0x10), (0x1e, 0xff), (0x1f, 0xff), (0x20, 0xc8), (0x21, 0x10), (0x22, 0),
    (0x23, 0x3f), (0x24, 0x82), (0x29, 0xc8), (0x2c, 0x3f), (0x39, 0),
])]
fn cmos_bytes(#[case] description: Description, #[case] expect: &[(usize, u8)]) {
    let bytes = cmos::cmos(&description);
    for &(index, value) in expect {
        assert_eq!(bytes[index], value, "byte {index:02x}");
    }
    assert_eq!(bytes[..0x0e], [0; 0x0e], "the clock's bytes");
}

fn order(letters: &str) -> BootOptions {
    BootOptions { order: letters.to_owned(), ..BootOptions::default() }
}

fn with_drives() -> Description {
    let disk = |bytes: u64| Some(Geometry::guess(&Disk::new(Arc::new(ZeroSource { size: bytes }))));
    Description {
        floppies: [Some(FloppyKind::Mb144), None],
        disks: [disk(8 * MIB), disk(64 * MIB), None, None],
        ..describe("pc-i440fx-7.2", 128 * MIB)
    }
}

#[rstest]
#[case::old("pc-i440fx-1.4", &[
    ("etc/boot-fail-wait", 4), ("etc/e820", 20), ("etc/system-states", 6), ("bootorder", 0),
])]
#[case::acpi("pc-i440fx-1.7", &[
    ("etc/boot-fail-wait", 4), ("etc/e820", 20), ("etc/system-states", 6), ("etc/acpi/tables", 0x2000),
    ("etc/table-loader", 4096), ("etc/tpm/log", 0), ("etc/acpi/rsdp", 36), ("bootorder", 0),
])]
#[case::smbios("pc-i440fx-2.2", &[
    ("etc/boot-fail-wait", 4), ("etc/smbios/smbios-tables", 321), ("etc/smbios/smbios-anchor", 31),
    ("etc/e820", 20), ("etc/system-states", 6), ("etc/acpi/tables", 0x20000), ("etc/table-loader", 4096),
    ("etc/tpm/log", 0), ("etc/acpi/rsdp", 36), ("bootorder", 0),
])]
#[case::no_pci("isapc", &[
    ("bios-geometry", 0), ("bootorder", 0), ("etc/boot-fail-wait", 4), ("etc/e820", 40),
])]
#[case::new("pc-i440fx-7.2", &[
    ("bios-geometry", 0), ("bootorder", 0), ("etc/acpi/rsdp", 20), ("etc/acpi/tables", 0x20000),
    ("etc/boot-fail-wait", 4), ("etc/e820", 40), ("etc/smbios/smbios-anchor", 31),
    ("etc/smbios/smbios-tables", 321), ("etc/system-states", 6), ("etc/table-loader", 4096),
    ("etc/tpm/log", 0),
])]
fn directory(#[case] machine_type: &str, #[case] expect: &[(&str, usize)]) {
    let items = fw_cfg(&describe(machine_type, 128 * MIB));
    let files: Vec<(&str, usize)> = items
        .iter()
        .filter_map(|item| match &item.key {
            Key::File(name) => Some((name.as_str(), item.bytes.len())),
            Key::Number(_) => None,
        })
        .collect();
    assert_eq!(files, expect);
    assert_eq!(find(&items, Key::Number(0x8004)).len(), 121);
    assert_eq!(find(&items, Key::Number(0x000d)).len(), 16);
}

/// Every name and number in a type's lists is one that has contents, and fits.
#[test]
fn every_machine_type() {
    const EMPTY: [&str; 3] = ["bios-geometry", "bootorder", "etc/tpm/log"];
    for machine_type in machine_types::ALL {
        let contents = machine_type.fw_cfg;
        assert!(contents.files.len() < usize::from(contents.slots), "{}", machine_type.name);
        for item in fw_cfg(&Description::new(machine_type, 128 * MIB)) {
            let empty = match &item.key {
                Key::Number(0x8000) => true,
                Key::Number(0x8001) => !matches!(machine_type.smbios, SmbiosContents::Strings { .. }),
                Key::Number(_) => false,
                Key::File(name) => EMPTY.contains(&name.as_str()),
            };
            assert_eq!(item.bytes.is_empty(), empty, "{} {:?}", machine_type.name, item.key);
        }
    }
}

/// Item 8001h as measured on `pc-i440fx-2.0`.
#[test]
fn smbios_strings() {
    let items = fw_cfg(&describe("pc-i440fx-2.0", 128 * MIB));
    let bytes = find(&items, Key::Number(0x8001));
    assert_eq!(bytes.len(), 2 + 11 + 40 + 20);
    assert_eq!(bytes[..13], *b"\x03\0\x0b\0\0\x01\x04\0QEMU\0");
    assert_eq!(bytes[53..], *b"\x14\0\0\x01\x06\0pc-i440fx-2.0\0");
}

/// What else differs between types in fw_cfg.
#[rstest]
#[case::no_hpet("isapc", 0x8004, &[0xff, 0, 0])]
#[case::hpet("pc-0.13", 0x8004, &[1, 0x01, 0xa2])]
#[case::no_ranges_reserved("rhel6.5.0", 0x8003, &[0, 0, 0, 0])]
#[case::red_hat("rhel6.5.0", 0x8001, b"\x03\0\x0e\0\0\x01\x04\0Red Hat\0")]
fn items(#[case] machine_type: &str, #[case] key: u16, #[case] expect: &[u8]) {
    let bytes = find(&fw_cfg(&describe(machine_type, 128 * MIB)), Key::Number(key));
    assert_eq!(bytes[..expect.len()], *expect);
}

#[rstest]
#[case::amd("pc-i440fx-7.2", 128 * MIB, true, 2)]
#[case::intel("pc-i440fx-7.2", 128 * MIB, false, 1)]
#[case::two_parts("pc-i440fx-7.2", 4 * GIB, true, 3)]
#[case::old("pc-i440fx-1.4", 128 * MIB, true, 1)]
fn memory_map(#[case] machine_type: &str, #[case] memory: u64, #[case] amd: bool, #[case] entries: usize) {
    let items = fw_cfg(&Description { amd, ..describe(machine_type, memory) });
    assert_eq!(find(&items, file("etc/e820")).len(), 20 * entries);
}

/// Lengths that were measured on the emulator whose tables these stand in for. They stand for
/// meaning only because every table but the DSDT has one form.
#[rstest]
#[case::plain(describe("pc-i440fx-7.2", 128 * MIB), 321, 6333, 0x1a49)]
#[case::bitmap(describe("pc-i440fx-2.3", 128 * MIB), 321, 5664, 0x17ac)]
#[case::no_high_window(describe("pc-i440fx-2.10", 128 * MIB), 324, 6287, 0x1a1b)]
#[case::floppy(with_drives(), 321, 6384, 0x1a7c)]
#[case::serial(Description { serial: true, ..describe("pc-i440fx-7.2", 128 * MIB) }, 321, 6385, 0x1a7d)]
#[case::parallel(Description { parallel: true, ..describe("pc-i440fx-7.2", 128 * MIB) }, 321, 6385, 0x1a7d)]
#[case::panic(Description { pvpanic: true, ..describe("pc-i440fx-7.2", 128 * MIB) }, 321, 6434, 0x1aae)]
#[case::every_port(Description { pvpanic: true, parallel: true, serial: true, ..describe("pc-i440fx-7.2", 128 * MIB) }, 321, 6538, 0x1b16)]
#[case::two_cpus(Description { cpus: 2, ..describe("pc-i440fx-7.2", 4 * GIB) }, 354, 6416, 0x1aa4)]
fn table_lengths(
    #[case] description: Description,
    #[case] smbios: usize,
    #[case] dsdt: u32,
    #[case] rsdt: u32,
) {
    let items = fw_cfg(&description);
    assert_eq!(find(&items, file("etc/smbios/smbios-tables")).len(), smbios);
    let tables = find(&items, file("etc/acpi/tables"));
    let length = u32::from_le_bytes(tables[0x44..0x48].try_into().expect("four bytes"));
    assert_eq!((&tables[0x40..0x44], length), (&b"DSDT"[..], dsdt));
    let rsdp = find(&items, file("etc/acpi/rsdp"));
    assert_eq!(rsdp[16..20], rsdt.to_le_bytes());
}

#[test]
fn largest_machine() {
    let description = Description { cpus: u16::MAX, memory: 1 << 50, ..describe("pc-i440fx-7.2", 0) };
    assert!(!fw_cfg(&description).is_empty());
    assert_eq!(cmos::cmos(&description)[0x5f], 0xff);
}

/// Runs the loader's script as firmware does, at made-up addresses; every table must then sum to
/// zero and the RSDT must lead to each.
#[test]
fn loader_script() {
    let items = fw_cfg(&describe("pc-i440fx-7.2", 128 * MIB));
    let mut tables = find(&items, file("etc/acpi/tables"));
    let mut rsdp = find(&items, file("etc/acpi/rsdp"));
    let (tables_at, name) =
        (0x7fe_0000u32, |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned());
    let word =
        |entry: &[u8], at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
    for entry in find(&items, file("etc/table-loader")).chunks_exact(128) {
        let file = if name(&entry[4..60]) == "etc/acpi/rsdp" { &mut rsdp } else { &mut tables };
        match word(entry, 0) {
            2 => {
                let at = word(entry, 116) as usize;
                let value = word(file, at) + tables_at;
                file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            3 => {
                let [at, start, length] = [60, 64, 68].map(|at| word(entry, at) as usize);
                let sum = file[start..start + length].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                file[at] = sum.wrapping_neg();
            }
            _ => {}
        }
    }
    let sums_to_zero = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0;
    assert!(sums_to_zero(&rsdp));
    let table_at = |address: u32| {
        let at = (address - tables_at) as usize;
        let length = word(&tables, at + 4) as usize;
        &tables[at..at + length]
    };
    let rsdt = table_at(word(&rsdp, 16));
    assert!(sums_to_zero(rsdt));
    let mut signatures = Vec::new();
    for entry in rsdt[36..].chunks_exact(4) {
        let table = table_at(word(entry, 0));
        assert!(sums_to_zero(table));
        signatures.push(name(&table[..4]));
        if table.starts_with(b"FACP") {
            assert_eq!(table_at(word(table, 36))[..4], *b"FACS");
            assert!(sums_to_zero(table_at(word(table, 40))));
            assert_eq!(word(table, 56), 0x600);
        }
    }
    assert_eq!(signatures, ["FACP", "APIC", "HPET", "WAET"]);
}

/// Q35: the tables QEMU has there, in its order, and the length of each of fixed length.
#[test]
fn q35_tables() {
    let description = describe("pc-q35-7.2", 128 * MIB);
    let items = fw_cfg(&description);
    assert_eq!(find(&items, file("etc/smbios/smbios-tables")).len(), 309);
    let tables = find(&items, file("etc/acpi/tables"));
    let mut found = Vec::new();
    let mut at = 0;
    while let Some([a, b, c, d, length @ ..]) = tables.get(at..at + 8).filter(|header| header[0] != 0) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        found.push((String::from_utf8_lossy(&[*a, *b, *c, *d]).into_owned(), length));
        at += length;
    }
    found.retain(|(name, _)| name != "DSDT");
    let expect =
        [("FACS", 64), ("FACP", 244), ("APIC", 120), ("HPET", 56), ("MCFG", 60), ("WAET", 40), ("RSDT", 56)];
    assert_eq!(found, expect.map(|(name, length)| (name.to_owned(), length)));
}

/// Where the panic port's file is in the directory, as QEMU 7.2 has it: by its name, or behind the machine's.
#[rstest]
#[case::by_name("pc-i440fx-7.2", "etc/e820", Some("etc/smbios/smbios-anchor"))]
#[case::in_order("pc-i440fx-2.3", "etc/system-states", Some("etc/acpi/tables"))]
#[case::isa("isapc", "etc/e820", None)]
fn panic_port(#[case] machine_type: &str, #[case] before: &str, #[case] after: Option<&str>) {
    let names = |pvpanic| {
        let description = Description { pvpanic, ..describe(machine_type, 128 * MIB) };
        files(&description)
    };
    let with = names(true);
    let at = with.iter().position(|name| *name == PVPANIC_FILE).expect("it is there");
    assert_eq!((with[at - 1], with.get(at + 1).copied()), (before, after));
    let items = fw_cfg(&Description { pvpanic: true, ..describe(machine_type, 128 * MIB) });
    assert_eq!(find(&items, file(PVPANIC_FILE)), [0x05, 0x05]);
    assert!(!names(false).contains(&PVPANIC_FILE));
}

/// What firmware is told about the boot menu and a boot that fails, as QEMU 7.2's `-boot` has it.
#[rstest]
#[case::by_name("pc-i440fx-7.2", &["etc/boot-fail-wait", "etc/boot-menu-wait", "etc/e820"])]
#[case::in_order("pc-i440fx-2.3", &["etc/boot-menu-wait", "etc/boot-fail-wait"])]
#[case::isa("isapc", &["etc/boot-fail-wait", "etc/boot-menu-wait"])]
fn boot_menu(#[case] machine_type: &str, #[case] expect: &[&str]) {
    let boot = "menu=on,splash-time=500,reboot-timeout=1000".parse().expect("well written");
    let description = Description { boot, ..describe(machine_type, 128 * MIB) };
    let names = files(&description);
    let first = names.iter().position(|name| *name == expect[0]).expect("it is there");
    assert_eq!(names[first..first + expect.len()], *expect);
    let items = fw_cfg(&description);
    assert_eq!(find(&items, Key::Number(0x000e)), [1, 0]);
    assert_eq!(find(&items, file(MENU_WAIT_FILE)), [0xf4, 0x01]);
    assert_eq!(find(&items, file(FAIL_WAIT_FILE)), [0xe8, 0x03, 0, 0]);
    assert!(tells(description.machine_type, &description.boot));
    let without = describe(machine_type, 128 * MIB);
    assert!(!files(&without).contains(&MENU_WAIT_FILE));
    let items = fw_cfg(&without);
    assert_eq!(find(&items, Key::Number(0x000e)), [0, 0]);
    assert_eq!(find(&items, file(FAIL_WAIT_FILE)), [0xff; 4]);
}
