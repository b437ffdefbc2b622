//! The project's own ROM and disk images, written with iced-x86's assembler: one module per image,
//! each saying what it proves. They make every command work with no vendor's firmware at all.
//!
//! To add one: a module with a `build` function, and one line in [`all`].

#![forbid(unsafe_code)]

mod assemble;
mod cd_hello;
mod disk;
mod display;
mod echo;
mod facts;
mod flash;
mod harness;
mod hello;
pub mod iso;
mod kernel_boot;
pub mod kernels;
mod linux_boot;
mod long_mode;
mod modes;
mod multiboot;
mod paging;
mod ports;
mod processors;
mod real_mode;
pub mod reset;
mod screens;
mod selfmod;
mod strings;
mod suspend;
mod task_switch;
mod v8086;

pub use assemble::BuildError;
pub use disk::pattern_sector;

/// How an image is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Firmware, mapped below 4 GiB and at F0000; execution starts 16 bytes before its end.
    Firmware,
    /// An option ROM, which firmware runs before it boots.
    OptionRom,
    /// A 1.44 MB floppy disk.
    Floppy,
    /// A hard disk.
    HardDisk,
    /// An ISO 9660 CD-ROM with an El Torito boot record.
    Cdrom,
}

/// Makes the bytes of a file.
pub type Make = fn() -> Result<Vec<u8>, BuildError>;

/// One image of ours.
#[derive(Clone, Copy, Debug)]
pub struct TestRom {
    /// As in `rom:NAME`.
    pub name: &'static str,
    /// What it proves, in one line.
    pub about: &'static str,
    /// How it is used.
    pub kind: Kind,
    /// Assembles it: the same bytes every time.
    pub build: Make,
    /// Its symbol table as an ELF file, if it has one.
    pub symbols: Option<Make>,
}

const ALL: &[TestRom] = &[
    hello::ROM,
    facts::ROM,
    modes::ROM,
    long_mode::ROM,
    paging::ROM,
    processors::ROM,
    task_switch::ROM,
    v8086::ROM,
    selfmod::ROM,
    strings::ROM,
    display::ROM,
    echo::ROM,
    flash::ROM,
    linux_boot::ROM,
    multiboot::ROM,
    disk::FLOPPY_HELLO,
    disk::DISK_HELLO,
    disk::READ_LOOP,
    disk::TOUCH_PAGES,
    disk::COPY_SECTOR,
    disk::IDLE,
    disk::IDLE_A20_OFF,
    ports::PRINTER,
    ports::PANIC,
    screens::ROM,
    suspend::ROM,
    cd_hello::ROM,
    reset::v0_6_1::ROM,
    reset::el6::ROM,
    reset::el6_fixed::ROM,
    reset::v244caf86::ROM,
    reset::v400c66cd::ROM,
    reset::v1_12::ROM,
    reset::coreboot::ROM,
];

/// Every image, in a stable order.
#[must_use]
pub fn all() -> &'static [TestRom] {
    ALL
}

/// The image called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static TestRom> {
    ALL.iter().find(|rom| rom.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn images_are_well_formed_and_the_same_every_time() {
        for rom in all() {
            let bytes = (rom.build)().unwrap_or_else(|error| panic!("{}: {error}", rom.name));
            assert_eq!(Some(&bytes), (rom.build)().ok().as_ref(), "{}", rom.name);
            assert_eq!(find(rom.name).map(|found| found.about), Some(rom.about));
            match rom.kind {
                Kind::Firmware => {
                    assert!(bytes.len().is_power_of_two() && bytes.len() >= 0x10000, "{}", rom.name);
                    let jump = bytes[bytes.len() - 16];
                    assert!(matches!(jump, 0xea | 0xe9), "{}: a jump at the reset vector", rom.name);
                }
                Kind::OptionRom => {
                    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    assert_eq!((&bytes[..2], sum), (&[0x55, 0xaa][..], 0));
                    assert_eq!(bytes.len(), usize::from(bytes[2]) * 512);
                    let header = &bytes[usize::from(bytes[0x1a])..][..32];
                    let sum = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    assert_eq!((&header[..4], sum), (&b"$PnP"[..], 0));
                }
                Kind::Floppy => assert_eq!((bytes.len(), &bytes[510..512]), (1_474_560, &[0x55, 0xaa][..])),
                Kind::HardDisk => assert_eq!((bytes.len() % 512, &bytes[510..512]), (0, &[0x55, 0xaa][..])),
                Kind::Cdrom => {
                    assert_eq!(&bytes[0x8001..0x8006], b"CD001");
                    assert_eq!(&bytes[0x8807..0x8807 + 23], b"EL TORITO SPECIFICATION");
                    let catalogue = &bytes[19 * 2048..19 * 2048 + 32];
                    let word = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
                    let sum = catalogue.chunks(2).fold(0u16, |sum, pair| sum.wrapping_add(word(pair)));
                    assert_eq!(sum, 0);
                }
            }
        }
    }

    #[rstest]
    #[case::first_of_one(1, 0, 0x0100_0193)]
    #[case::second_of_one(1, 1, 0x0100_0193u32.wrapping_add(0x9e37_79b1))]
    #[case::zero(0, 0, 0)]
    fn pattern(#[case] sector: u32, #[case] dword: usize, #[case] expect: u32) {
        let bytes = pattern_sector(sector);
        let found: [u8; 4] = bytes[dword * 4..dword * 4 + 4].try_into().unwrap();
        assert_eq!(u32::from_le_bytes(found), expect);
    }
}
