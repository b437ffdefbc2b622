use rstest::rstest;
use warmboot_chipset::fw_cfg::Key;

use super::*;
use crate::{Config, Firmware, Protocol, machine_types};

/// A file with a header at 8 whose fields are these, and bytes up to 4000h that are their own offsets.
fn by_addresses(flags: u32, addresses: [u32; 5]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..0x4000u32).map(|at| at as u8).collect();
    let fields = [MAGIC, flags, 0u32.wrapping_sub(MAGIC).wrapping_sub(flags)].into_iter().chain(addresses);
    for (index, field) in fields.enumerate() {
        bytes[8 + 4 * index..12 + 4 * index].copy_from_slice(&field.to_le_bytes());
    }
    bytes
}

/// An ELF file with one segment of 40h bytes, which take 100h in memory at `at`.
fn elf(class: u8, machine: u16, at: u32) -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"\x7fELF");
    put(4, &[class, 1, 1]);
    put(16, &[2, 0]);
    put(18, &machine.to_le_bytes());
    put(20, &[1]);
    put(24, &(at + 0x10).to_le_bytes());
    put(28, &[52]);
    put(40, &[52, 0, 32, 0, 1, 0]);
    let segment = [1, 0x100, at, at, 0x40, 0x100, 7, 4];
    put(52, segment.map(u32::to_le_bytes).as_flattened());
    put(0x100, &[0x77; 0x40]);
    let header = [MAGIC, 0, 0u32.wrapping_sub(MAGIC)];
    put(0x100, header.map(u32::to_le_bytes).as_flattened());
    bytes
}

fn kernel(file: Vec<u8>) -> Kernel {
    let firmware = |name: &str, bytes: Vec<u8>| Firmware { name: name.into(), bytes: bytes.into() };
    Kernel {
        image: firmware("some/where/kernel", file),
        initrd: None,
        append: "a=1 b".into(),
        option_rom: firmware("rom:multiboot", Vec::new()),
    }
}

fn prepare(kernel: &Kernel, mebibytes: u64) -> Result<Vec<Item>, String> {
    let config = Config { memory: mebibytes << 20, ..Config::default() };
    let machine_type = machine_types::find("pc-i440fx-7.2").expect("a machine type");
    crate::kernel::items(&config, kernel, machine_type).map_err(|error| error.to_string())
}

fn bytes(items: &[Item], key: u16) -> &[u8] {
    items.iter().find(|item| item.key == Key::Number(key)).map_or(&[], |item| item.bytes.as_slice())
}

fn number(items: &[Item], key: u16) -> u32 {
    bytes(items, key).try_into().map_or(0, u32::from_le_bytes)
}

const ADDRESSES: u32 = wants::ADDRESSES;

/// Where the kernel goes and is entered, how many bytes of it there are, and the first of them.
#[rstest]
#[case::whole_file(by_addresses(ADDRESSES, [0x10_0008, 0x10_0000, 0, 0, 0x10_0123]), (0x10_0000, 0x10_0123, 0x4000, 0))]
#[case::a_part(by_addresses(ADDRESSES | 3, [0x10_0000, 0x10_0000, 0x10_1000, 0x10_3000, 0x10_0040]),
    (0x10_0000, 0x10_0040, 0x3000, 2))]
#[case::elf(elf(1, 3, 0x20_0000), (0x20_0000, 0x20_0010, 0x100, 2))]
fn placed(#[case] file: Vec<u8>, #[case] expect: (u32, u32, usize, u8)) {
    assert_eq!(Protocol::of(&file), Protocol::Multiboot);
    let items = prepare(&kernel(file), 16).expect("items");
    let (at, entry, length, first) = expect;
    assert_eq!((number(&items, 0x07), number(&items, 0x10)), (at, entry));
    let kernel = bytes(&items, 0x11);
    assert_eq!(number(&items, 0x08) as usize, kernel.len());
    // The command line is on the next page.
    assert_eq!(&kernel[length.next_multiple_of(PAGE)..][..13], b"kernel a=1 b\0");
    assert_eq!(kernel[0], first);
}

#[test]
fn boot_information() {
    let mut kernel = kernel(elf(1, 3, 0x20_0000));
    kernel.initrd = Some(Firmware { name: "x/module".into(), bytes: b"module's bytes".as_slice().into() });
    let items = prepare(&kernel, 16).expect("items");
    let (information, image) = (bytes(&items, 0x12), bytes(&items, 0x11));
    assert_eq!((number(&items, 0x0a), information.len()), (0x9000, 0x58));
    let field = |at| word(information, at).expect("a field");
    let at = |address: u32| &image[(address - 0x20_0000) as usize..];
    assert_eq!(field(0), 0x24d);
    assert!(at(field(16)).starts_with(b"kernel a=1 b\0"));
    assert!(at(field(64)).starts_with(b"qemu\0"));
    assert_eq!(field(20), 1);
    let module = at(field(24));
    let [start, end, name] = [0, 4, 8].map(|offset| word(module, offset).expect("a field"));
    assert_eq!(start % 4096, 0);
    assert_eq!(&at(start)[..(end - start) as usize], b"module's bytes");
    assert!(at(name).starts_with(b"module\0"));
}

#[rstest]
#[case::wrong_sum({ let mut file = by_addresses(ADDRESSES, [0; 5]); file[16] ^= 1; file }, "neither Linux' setup header")]
#[case::video(by_addresses(ADDRESSES | 4, [0; 5]), "flags 0x4 of its Multiboot header")]
#[case::before_the_file(by_addresses(ADDRESSES, [0x10_0100, 0x10_0000, 0, 0, 0]), "contradict each other")]
#[case::below_its_load(by_addresses(ADDRESSES, [0x10_0000, 0x10_0008, 0, 0, 0]), "contradict each other")]
#[case::behind_the_file(by_addresses(ADDRESSES, [0x10_0008, 0x10_0000, 0x20_0000, 0, 0]), "contradict each other")]
#[case::header_cut(by_addresses(ADDRESSES, [0; 5])[..24].to_vec(), "ends within its Multiboot header")]
#[case::memory(by_addresses(ADDRESSES, [0x10_0008, 0x10_0000, 0, 0x200_0000, 0]), "it needs 32 MiB")]
#[case::elf_memory(elf(1, 3, 0x200_0000), "it needs 33 MiB")]
#[case::no_elf(by_addresses(0, [0; 5]), "is no ELF file")]
#[case::elf_64(elf(2, 62, 0x20_0000), "ELF file")]
#[case::other_processor(elf(1, 40, 0x20_0000), "is an ELF file of another kind")]
#[case::nothing({ let mut file = elf(1, 3, 0x20_0000); file[52] = 4; file }, "with nothing to load")]
#[case::segment_cut({ let mut file = elf(1, 3, 0x20_0000); file[56..60].copy_from_slice(&[0, 0, 1, 0]); file },
    "reach behind its end")]
#[case::larger_in_the_file({ let mut file = elf(1, 3, 0x20_0000); file[72] = 0x10; file[73] = 0; file },
    "or their memory")]
fn refused(#[case] file: Vec<u8>, #[case] expect: &str) {
    let message = prepare(&kernel(file), 16).err().unwrap_or_default();
    assert!(message.contains(expect), "{message}");
}
