use rstest::rstest;
use warmboot_chipset::fw_cfg::Key;

use super::*;
use crate::{Config, Firmware, machine_types};

const MIB: usize = 1 << 20;

/// A file with `sectors` of setup code, a header of protocol `version` and one byte behind it.
fn file(version: u16, sectors: u8, change: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; (usize::from(sectors.max(4)) + 1) * SECTOR + 1];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(header::SETUP_SECTORS, &[sectors]);
    put(header::MAGIC, b"HdrS");
    put(header::VERSION, &version.to_le_bytes());
    put(header::LOAD_FLAGS, &[LOADED_HIGH]);
    put(header::INITRD_MAXIMUM, &0x7fff_ffffu32.to_le_bytes());
    put(header::COMMAND_LINE_SIZE, &2047u32.to_le_bytes());
    for (at, field) in change {
        put(*at, field);
    }
    bytes
}

fn firmware(name: &str, bytes: Vec<u8>) -> Firmware {
    Firmware { name: name.into(), bytes: bytes.into() }
}

fn kernel(file: Vec<u8>) -> Kernel {
    Kernel {
        image: firmware("vmlinuz", file),
        initrd: None,
        append: "quiet".into(),
        option_rom: firmware("rom:linuxboot", Vec::new()),
    }
}

fn prepare(kernel: &Kernel, machine: &str, mebibytes: usize) -> Result<Vec<Item>, String> {
    let config = Config { memory: (mebibytes * MIB) as u64, ..Config::default() };
    let machine_type = machine_types::find(machine).expect("a machine type");
    crate::kernel::items(&config, kernel, machine_type).map_err(|error| error.to_string())
}

fn bytes(items: &[Item], key: u16) -> Option<&[u8]> {
    items.iter().find(|item| item.key == Key::Number(key)).map(|item| item.bytes.as_slice())
}

#[rstest]
#[case::not_a_kernel(kernel(vec![0; 4096]), "pc-i440fx-7.2", "is no kernel for x86")]
#[case::empty(kernel(Vec::new()), "pc-i440fx-7.2", "is no kernel for x86")]
#[case::header_cut(kernel(file(0x20f, 4, &[])[..0x210].to_vec()), "pc-i440fx-7.2", "ends within its setup header")]
#[case::setup_cut(kernel(file(0x20f, 4, &[])[..1024].to_vec()), "pc-i440fx-7.2", "speaks of 2560 of setup code")]
#[case::no_kernel(kernel(file(0x20f, 4, &[])[..2560].to_vec()), "pc-i440fx-7.2", "and a kernel behind it")]
#[case::one_sector(kernel(file(0x20f, 4, &[(0x1f1, &[0])])), "pc-i440fx-7.2", "")]
#[case::low(kernel(file(0x20f, 4, &[(0x211, &[0])])), "pc-i440fx-7.2", "is a zImage")]
#[case::old(kernel(file(0x201, 4, &[])), "pc-i440fx-7.2", "has boot protocol 2.01")]
#[case::long_line(Kernel { append: "x".repeat(2048), ..kernel(file(0x20f, 4, &[])) }, "pc-i440fx-7.2",
    "takes a command line of 2047 bytes; this one has 2048")]
#[case::long_old_line(Kernel { append: "x".repeat(256), ..kernel(file(0x205, 4, &[])) }, "pc-i440fx-7.2",
    "takes a command line of 255 bytes")]
#[case::zero_byte(Kernel { append: "a\0b".into(), ..kernel(file(0x20f, 4, &[])) }, "pc-i440fx-7.2", "zero byte")]
#[case::no_boot_order(kernel(file(0x20f, 4, &[])), "pc-0.13", "does not tell firmware a boot order")]
#[case::large_initrd(with_initrd(0x20f, 8 * MIB), "pc-i440fx-7.2", "does not fit between the kernel")]
#[case::larger_than_memory(kernel([file(0x20f, 4, &[]), vec![0; 8 * MIB]].concat()), "pc-i440fx-7.2",
    "does not fit the memory: it needs 10 MiB")]
fn refused(#[case] kernel: Kernel, #[case] machine: &str, #[case] expect: &str) {
    match prepare(&kernel, machine, 8) {
        Ok(_) => assert_eq!(expect, ""),
        Err(message) => assert!(!expect.is_empty() && message.contains(expect), "{message}"),
    }
}

fn with_initrd(version: u16, size: usize) -> Kernel {
    Kernel { initrd: Some(firmware("initrd", vec![7; size])), ..kernel(file(version, 4, &[])) }
}

#[rstest]
// As high as memory goes, below the tables of firmware, on a page.
#[case::below_tables(with_initrd(0x20f, 0x1234), 64, 0x3fd_6000)]
// The header's own limit where memory is larger.
#[case::header(with_initrd(0x20f, 0x1000), 3000, 0x7fff_e000)]
#[case::header_is_too_old(with_initrd(0x202, 0x1000), 3000, 0x37ff_e000)]
#[case::anywhere(
    Kernel { initrd: Some(firmware("initrd", vec![7; 0x1000])), ..kernel(file(0x20f, 4, &[(0x236, &[2, 0])])) },
    3000, 0xbb7d_6000)]
#[case::flag_is_too_new(
    Kernel { initrd: Some(firmware("initrd", vec![7; 0x1000])), ..kernel(file(0x20b, 4, &[(0x236, &[2, 0])])) },
    3000, 0x7fff_e000)]
fn initrd(#[case] kernel: Kernel, #[case] mebibytes: usize, #[case] expect: u32) {
    let items = prepare(&kernel, "pc-i440fx-7.2", mebibytes).expect("items");
    let size = kernel.initrd.as_ref().map_or(0, |initrd| initrd.bytes.len()) as u32;
    assert_eq!(bytes(&items, 0x0a), Some(&expect.to_le_bytes()[..]), "{expect:#x}");
    assert_eq!(bytes(&items, 0x0b), Some(&size.to_le_bytes()[..]));
    assert_eq!(bytes(&items, 0x12).map(<[u8]>::len), Some(size as usize));
    let setup = bytes(&items, 0x18).expect("setup code");
    assert_eq!(setup[0x218..0x220], [expect.to_le_bytes(), size.to_le_bytes()].concat());
}

/// As QEMU 7.2's machines have it: SeaBIOS keeps the rings of virtio disks right above.
#[rstest]
#[case("pc-i440fx-1.4", 0x7fe_e000)]
#[case("pc-i440fx-2.0", 0x7fe_e000)]
#[case("pc-i440fx-2.1", 0x7fd_6000)]
#[case("pc-q35-7.2", 0x7fd_6000)]
fn what_is_left_to_firmware(#[case] machine: &str, #[case] expect: u32) {
    let items = prepare(&with_initrd(0x20f, 5000), machine, 128).expect("items");
    assert_eq!(bytes(&items, 0x0a), Some(&expect.to_le_bytes()[..]));
}

#[test]
fn what_fw_cfg_holds() {
    let original = file(0x20f, 5, &[]);
    let items = prepare(&kernel(original.clone()), "pc-i440fx-7.2", 64).expect("items");
    for (key, expect) in
        [(0x07, 0x10_0000u32), (0x08, 1), (0x13, 0x2_0000), (0x14, 6), (0x16, 0x1_0000), (0x17, 6 * 512)]
    {
        assert_eq!(bytes(&items, key), Some(&expect.to_le_bytes()[..]), "key {key:#x}");
    }
    assert_eq!(bytes(&items, 0x15), Some(&b"quiet\0"[..]));
    assert_eq!(bytes(&items, 0x11), original.get(6 * 512..));
    assert!((0x0a..=0x0b).all(|key| bytes(&items, key).is_none()));
    // Only what the protocol has a boot loader write is other than in the file.
    let setup = bytes(&items, 0x18).expect("setup code");
    let changed: Vec<usize> = (0..setup.len()).filter(|at| setup[*at] != original[*at]).collect();
    assert_eq!(changed, [0x210, 0x211, 0x225, 0x22a]);
    assert_eq!((setup[0x210], setup[0x211]), (0xb0, 0x81));
    assert_eq!(setup[0x224..0x226], 0xfe00u16.to_le_bytes());
    assert_eq!(setup[0x228..0x22c], 0x2_0000u32.to_le_bytes());
}

#[test]
fn the_option_rom_is_first_in_the_boot_order() {
    let kernel =
        Kernel { option_rom: firmware("rom:linuxboot", vec![0x55, 0xaa]), ..kernel(file(0x20f, 4, &[])) };
    let config =
        Config { firmware: firmware("bios", vec![0; 0x1_0000]), kernel: Some(kernel), ..Config::default() };
    let machine = crate::Machine::new(&config).expect("a machine");
    let fw_cfg = machine.board.fw_cfg().expect("fw_cfg");
    let directory = fw_cfg.item(0x19).expect("a directory");
    let entry = |name: &str| {
        let found = directory[4..].chunks(64).find(|entry| entry[8..].starts_with(name.as_bytes()));
        u16::from_be_bytes([found.expect("a file")[4], found.expect("a file")[5]])
    };
    assert_eq!(fw_cfg.item(entry("bootorder")), Some(&b"/rom@genroms/linuxboot\0"[..]));
    assert_eq!(fw_cfg.item(entry("genroms/linuxboot")), Some(&[0x55, 0xaa][..]));
}
