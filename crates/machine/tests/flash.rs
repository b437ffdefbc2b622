//! Flash chips in a machine: what is programmed outlives resets, migrations and being saved in the middle.

mod common;

use common::limits;
use rstest::rstest;
use warmboot_machine::{Condition, Config, Destination, Ended, Firmware, Flash, Machine, Path, ResetPath};

/// Enough for four starts, which take some 1,400.
const COUNT: u64 = 10_000;

fn machine(machine: &str, path: Path, read_only: bool) -> Result<Machine, String> {
    let rom = warmboot_test_roms::find("flash").expect("a ROM of ours");
    let image = Firmware { name: "rom:flash".into(), bytes: (rom.build)().expect("it assembles").into() };
    let firmware = Config::low_firmware(&image);
    let chip = |read_only| Flash { image: image.clone(), read_only };
    let flash = vec![chip(true), chip(read_only)];
    let config = Config { machine: machine.into(), firmware, flash, path, ..Config::default() };
    Machine::new(&config).map_err(|error| error.to_string())
}

fn run(machine: &mut Machine, count: u64) {
    while machine.run(&[], limits(count, None)).expect("no conditions") == Ended::Slice {}
}

fn log(machine: &Machine) -> String {
    String::from_utf8_lossy(machine.debug_log()).replace("\r\n", " ")
}

fn sectors(machine: &Machine) -> ([u8; 4], [u8; 32]) {
    let (mut first, mut second) = ([0; 4], [0; 32]);
    machine.read_block("system.flash1", 0, &mut first).expect("a block");
    machine.read_block("system.flash1", 0x1000, &mut second).expect("a block");
    (first, second)
}

#[rstest]
#[case::whole("pc-i440fx-7.2", false, "start 0000 start 0001 start 0002 start 0003 erased ")]
#[case::q35("pc-q35-7.2", false, "start 0000 start 0001 start 0002 start 0003 erased ")]
#[case::write_protected("pc-i440fx-7.2", true, "BAD ")]
fn starts(
    #[case] kind: &str,
    #[case] read_only: bool,
    #[case] expect: &str,
    #[values(Path::Cached, Path::Plain)] path: Path,
) {
    let mut machine = machine(kind, path, read_only).expect("a machine");
    run(&mut machine, COUNT);
    assert_eq!(log(&machine), expect);
    let (first, second) = sectors(&machine);
    assert_eq!(first, [0xff; 4]);
    let programmed = second.chunks(8).all(|chunk| chunk == b"oobt\xff\xff\xff\xff");
    assert_eq!(programmed, !read_only, "{second:x?}");
}

#[test]
fn saved_in_the_middle() {
    let new = || machine("pc-i440fx-7.2", Path::Cached, false).expect("a machine");
    let mut whole = new();
    run(&mut whole, COUNT);
    for moment in (1..1_450).step_by(29) {
        let mut saved = new();
        run(&mut saved, moment);
        let bytes = saved.save().expect("saved");
        let mut loaded = Machine::load(&bytes, &mut |_| None).expect("loaded");
        assert_eq!(loaded.digest(), saved.digest(), "at {moment}");
        assert_eq!(loaded.save().expect("saved"), bytes, "saved twice, at {moment}");
        run(&mut loaded, COUNT);
        assert_eq!((loaded.digest(), log(&loaded)), (whole.digest(), log(&whole)), "saved at {moment}");
        assert_eq!(sectors(&loaded), sectors(&whole), "saved at {moment}");
    }
}

#[test]
fn migrated_and_reset() {
    let mut here = machine("pc-i440fx-7.2", Path::Cached, false).expect("a machine");
    let second: Condition = "debug:start 0001".parse().expect("a condition");
    here.run(&[second], limits(COUNT, None)).expect("run");
    let to = Destination { machine: Some("pc-i440fx-6.2".into()), ..Destination::default() };
    let (mut there, _) = here.migrate(&to).expect("migrated");
    there.reset(ResetPath::System).expect("reset");
    run(&mut there, 2 * COUNT);
    assert!(log(&there).ends_with("start 0002 start 0003 erased "), "{}", log(&there));
}

#[rstest]
#[case::none("isapc", "the machine `isapc` has no flash chips")]
fn refused(#[case] kind: &str, #[case] expect: &str) {
    let error = machine(kind, Path::Cached, false).err().expect("refused");
    assert!(error.contains(expect), "{error}");
}

/// What cannot be in the chips of a machine.
#[rstest]
#[case::odd(&[0x1_0800], "has 67584 bytes; expected whole sectors of 4096")]
#[case::empty(&[0x1_0000, 0], "has 0 bytes")]
#[case::large(&[8 << 20, 4096], "of 8392704 bytes; a machine has 2 chips of 8 MiB together")]
#[case::many(&[0x1_0000, 4096, 4096], "3 flash images")]
fn images(#[case] sizes: &[usize], #[case] expect: &str) {
    let chip = |size: &usize| {
        let image = Firmware { name: "image".into(), bytes: vec![0; *size].into() };
        Flash { image, read_only: false }
    };
    let firmware = Firmware { name: "bios".into(), bytes: vec![0; 0x1_0000].into() };
    let config = Config { firmware, flash: sizes.iter().map(chip).collect(), ..Config::default() };
    let error = Machine::new(&config).err().expect("refused").to_string();
    assert!(error.contains(expect), "{error}");
}
