//! A machine that was saved and loaded goes on as if nothing had been: at any instruction, by any
//! path, with a drive in the middle of a command, across resets and a migration.

mod common;

use std::sync::Arc;

use common::{limits, machine};
use rstest::rstest;
use warmboot_machine::{
    BlockSource, Config, Destination, Drive, DriveKind, DriveWanted, Ended, Firmware, Machine, MemorySource,
    Path, ResetPath, Slot, Snapshot, SnapshotError, generations, machine_types,
};

/// No disk image is at hand.
fn none(_: &DriveWanted) -> Option<Arc<dyn BlockSource>> {
    None
}

fn run(machine: &mut Machine, count: u64) {
    while machine.run(&[], limits(count, None)).expect("no conditions") == Ended::Slice {}
}

/// Moments spread over a run of `count` instructions, never at the same distance.
fn moments(count: u64, points: u64) -> impl Iterator<Item = u64> {
    (1..=points).map(move |point| (point * count / points).wrapping_mul(997) % count + 1)
}

#[rstest]
#[case::hello("hello", 400_000)]
#[case::modes("modes", 34_000)]
#[case::paging("paging", 43_000)]
#[case::task_switch("task-switch", 37_000)]
#[case::v8086("v8086", 300_000)]
#[case::selfmod("selfmod", 78_000)]
#[case::strings("strings", 101_000)]
fn goes_on(#[case] rom: &str, #[case] count: u64, #[values(Path::Cached, Path::Plain)] path: Path) {
    let mut whole = machine(rom, path);
    run(&mut whole, count);
    let expect = (whole.digest(), whole.state_digest(), whole.debug_log().to_vec());
    for moment in moments(count, 12) {
        let mut saved = machine(rom, path);
        run(&mut saved, moment);
        let bytes = saved.save().expect("saved");
        let mut loaded = Machine::load(&bytes, &mut none).expect("loaded");
        assert_eq!(loaded.digest(), saved.digest(), "at {moment}");
        assert_eq!(loaded.save().expect("saved"), bytes, "saved twice, at {moment}");
        run(&mut loaded, count);
        let after = (loaded.digest(), loaded.state_digest(), loaded.debug_log().to_vec());
        assert_eq!(after, expect, "saved at {moment}");
    }
}

/// Saved between a reset or a key and what it leads to.
#[rstest]
#[case::system(ResetPath::System)]
#[case::keyboard(ResetPath::Keyboard)]
#[case::init(ResetPath::Init)]
fn across_resets(#[case] path: ResetPath) {
    let story = |save_at: u64| {
        let mut machine = machine("hello", Path::Cached);
        for step in 0..6 {
            if step == save_at {
                let bytes = machine.save().expect("saved");
                machine = Machine::load(&bytes, &mut none).expect("loaded");
            }
            match step {
                1 => machine.reset(path).expect("it runs"),
                3 => machine.press("ctrl-alt-delete").expect("keys"),
                _ => run(&mut machine, (step + 1) * 3_333),
            }
        }
        (machine.digest(), machine.resets())
    };
    let expect = story(99);
    for step in 0..6 {
        assert_eq!(story(step), expect, "saved before step {step}");
    }
}

fn disk(byte: u8) -> Arc<dyn BlockSource> {
    Arc::new(MemorySource(vec![byte; 1 << 20].into()))
}

fn with_disk(latency: u64) -> Machine {
    let drive = Drive {
        at: Slot::Ide { channel: 0, unit: 0 },
        kind: DriveKind::HardDisk,
        source: disk(7),
        name: "disk.img".into(),
        read_only: false,
        latency,
    };
    let config = Config {
        firmware: Firmware { name: "test".into(), bytes: writes_to_disk().into() },
        memory: 1 << 20,
        drives: vec![drive],
        ..Config::default()
    };
    Machine::new(&config).expect("a machine")
}

/// Writes sector 3 of ide0-0, reads it back to 7E00, and begins anew.
fn writes_to_disk() -> Vec<u8> {
    #[rustfmt::skip]
    let code: &[u8] = &[
        0xfa,                               // cli
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, // xor ax,ax; mov ds,ax; mov es,ax
        0xbb, 0x30, 0x00,                   // again: mov bx,30h (write sectors)
        0xba, 0xf2, 0x01, 0xb0, 0x01, 0xee, // command: one sector
        0x42, 0xb0, 0x03, 0xee,             // number 3
        0x42, 0x30, 0xc0, 0xee, 0x42, 0xee, // cylinder 0
        0x42, 0xb0, 0xe0, 0xee,             // LBA, drive 0
        0x42, 0x88, 0xd8, 0xee,             // the command
        0xec, 0xa8, 0x80, 0x75, 0xfb,       // while busy
        0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, // 256 words
        0xfc, 0x31, 0xf6, 0xbf, 0x00, 0x7e, // cld; from 0, to 7E00
        0x80, 0xfb, 0x20, 0x74, 0x06,       // read or write?
        0xf3, 0x6f, 0xb3, 0x20, 0xeb, 0xcf, // rep outsw; then read
        0xf3, 0x6d, 0xff, 0x06, 0x00, 0x00, // rep insw; inc word [0]
        0xeb, 0xc4,                         // again
    ];
    let mut image = vec![0xf4; 0x1_0000];
    image[..code.len()].copy_from_slice(code);
    image[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]);
    image
}

/// Saved at every few instructions of disk commands: while the drive is busy, in the middle of
/// data, between command and status.
#[rstest]
fn in_mid_command(#[values(0, 30_000)] latency: u64) {
    const COUNT: u64 = 2_600;
    let mut whole = with_disk(latency);
    run(&mut whole, COUNT);
    let expect = whole.digest();
    let written = whole.disk_writes(Slot::Ide { channel: 0, unit: 0 });
    assert_eq!(written.len(), 1, "the ROM does not write");
    for moment in moments(COUNT, 60) {
        let mut saved = with_disk(latency);
        run(&mut saved, moment);
        let bytes = saved.save().expect("saved");
        let mut loaded = Machine::load(&bytes, &mut |_| Some(disk(7))).expect("loaded");
        run(&mut loaded, COUNT);
        assert_eq!(loaded.digest(), expect, "saved at {moment}");
        assert_eq!(loaded.disk_writes(Slot::Ide { channel: 0, unit: 0 }), written, "saved at {moment}");
    }
}

/// The image is asked for by name, size and digest; another one is refused, none is an error, and
/// without one the machine can be looked at but not run.
#[test]
fn disk_images() {
    let mut saved = with_disk(0);
    run(&mut saved, 2_000);
    let bytes = saved.save().expect("saved");
    let snapshot = Snapshot::read(&bytes).expect("read");
    let wanted = snapshot.drives().expect("drives");
    assert_eq!(
        (wanted[0].name.as_str(), wanted[0].size, wanted[0].digest),
        ("disk.img", 1 << 20, disk(7).digest())
    );
    let error = Machine::load(&bytes, &mut none).err().expect("no image");
    assert!(matches!(error, SnapshotError::DriveMissing { .. }), "{error}");
    let error = Machine::load(&bytes, &mut |_| Some(disk(8))).err().expect("another image");
    assert!(matches!(error, SnapshotError::DriveDiffers { .. }), "{error}");
    let mut looked_at = snapshot.machine_without_disks().expect("loaded");
    assert_eq!(looked_at.digest(), saved.digest());
    assert_eq!(looked_at.save().expect("saved"), bytes);
    let error = looked_at.run(&[], limits(3_000, None)).expect_err("it cannot run");
    assert!(error.to_string().contains("without the image of drive ide0-0 (`disk.img`)"), "{error}");
}

/// A generation that is in no list has no name a file could hold.
#[test]
fn a_generation_without_a_name() {
    let changed = *machine("hello", Path::Cached).generation();
    let config = Config { generation: Some(changed), ..machine("hello", Path::Cached).config().clone() };
    let error = Machine::new(&config).expect("a machine").save().expect_err("no name");
    assert!(matches!(error, SnapshotError::UnnamedGeneration { .. }), "{error}");
}

/// To the same wiring, a migration changes nothing; a snapshot may lie anywhere around it.
#[test]
fn a_migration_to_the_same() {
    let mut whole = machine("hello", Path::Cached);
    run(&mut whole, 300_000);
    for moment in moments(300_000, 8) {
        let mut source = machine("hello", Path::Cached);
        run(&mut source, moment);
        let (mut there, report) = source.migrate(&Destination::default()).expect("migrated");
        assert_eq!(report.unfit, []);
        assert_eq!(report.messages, Vec::<String>::new());
        assert_eq!(there.digest(), source.digest(), "at {moment}");
        let bytes = there.save().expect("saved");
        let mut loaded = Machine::load(&bytes, &mut none).expect("loaded");
        run(&mut loaded, 300_000);
        assert_eq!((loaded.digest(), loaded.debug_log()), (whole.digest(), whole.debug_log()), "at {moment}");
        run(&mut source, 300_000);
        assert_eq!(source.digest(), whole.digest(), "the source goes on, at {moment}");
    }
}

#[test]
fn sizes_are_checked() {
    let mut source = machine("hello", Path::Cached);
    let firmware = Some(Firmware { name: "large".into(), bytes: vec![0; 256 << 10].into() });
    let error =
        source.migrate(&Destination { firmware, ..Destination::default() }).err().expect("another size");
    insta::assert_snapshot!(error, @"RAM block `pc.bios` has 65536 bytes on the source and 262144 in the destination");
    let shadow = Destination { shadow_bios: Some(true), ..Destination::default() };
    let error = source.migrate(&shadow).err().expect("a BIOS of another size than the hook copies");
    insta::assert_snapshot!(error, @"after migration, shadow_bios_after_incoming needs RAM block `pc.bios` to have 131072 bytes: it has 65536");
}

/// Every chip of every machine is saved, on every generation.
#[test]
fn every_machine_on_every_generation() {
    let firmware =
        (warmboot_test_roms::find("reset-1.12").expect("a ROM of ours").build)().expect("it assembles");
    let firmware = Firmware { name: "reset-1.12".into(), bytes: firmware.into() };
    for (kind, emulator) in machine_types::ALL
        .iter()
        .flat_map(|kind| generations::ALL.iter().map(move |emulator| (kind, emulator)))
    {
        let sata = kind.name.contains("q35");
        let at = if sata { Slot::Sata(0) } else { Slot::Ide { channel: 0, unit: 0 } };
        let drive = Drive {
            at,
            kind: DriveKind::HardDisk,
            source: disk(7),
            name: "disk.img".into(),
            read_only: false,
            latency: 30_000,
        };
        let config = Config {
            machine: kind.name.into(),
            emulator: emulator.name.into(),
            firmware: firmware.clone(),
            memory: 2 << 20,
            serial: true,
            debug_exit: Some(0xf4),
            drives: vec![drive],
            ..Config::default()
        };
        let mut whole = Machine::new(&config).expect("a machine");
        run(&mut whole, 60_000);
        let bytes = whole.save().expect("saved");
        let mut loaded = Machine::load(&bytes, &mut |_| Some(disk(7))).expect("loaded");
        run(&mut loaded, 90_000);
        run(&mut whole, 90_000);
        assert_eq!(loaded.digest(), whole.digest(), "{} on {}", kind.name, emulator.name);
    }
}
