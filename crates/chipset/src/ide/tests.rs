use super::*;
use crate::disk::{BlockSource, DiskError, MemorySource, ZeroSource};
use crate::replay::{Bench, pattern};
use proptest::prelude::*;
use rstest::rstest;
use std::sync::Arc;

fn memory(bytes: Vec<u8>) -> Disk {
    Disk::new(Arc::new(MemorySource(bytes.into())))
}

/// An image whose file has gone.
struct Broken;

impl BlockSource for Broken {
    fn size(&self) -> u64 {
        1 << 20
    }

    fn read_at(&self, offset: u64, _bytes: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::Source { offset, reason: "gone".into() })
    }

    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }
}

fn enable_bus_master(chip: &mut IdeController) {
    let mut fx = Effects::default();
    chip.config_write(BMIBA, 4, 0xc000, &mut fx);
    chip.config_write(pci::COMMAND, 2, 5, &mut fx);
    assert!(fx.remap);
}

fn bench_with(drives: &[(u8, u8, Disk, DriveKind)]) -> Bench<IdeController> {
    let mut chip = IdeController::new();
    for (channel, unit, disk, kind) in drives {
        chip.attach(*channel, *unit, disk.clone(), *kind);
    }
    enable_bus_master(&mut chip);
    Bench::new(chip)
}

/// The drives of the recording.
fn bench() -> Bench<IdeController> {
    bench_with(&[
        (0, 0, memory(pattern(8 << 20)), DriveKind::HardDisk),
        (0, 1, memory(pattern(100_100)), DriveKind::HardDisk),
        (1, 0, memory(pattern(3 << 20)), DriveKind::Cdrom),
    ])
}

fn write_all(bench: &mut Bench<IdeController>, accesses: &[(u64, u64)]) {
    for (port, value) in accesses {
        bench.write(*port, 1, *value);
    }
}

/// READ SECTORS of `count` sectors from LBA `sector` on drive 0.
fn read_sectors(bench: &mut Bench<IdeController>, sector: u64, count: u64) {
    let task = [(0x1f6, 0xe0), (0x1f2, count), (0x1f3, sector), (0x1f4, 0), (0x1f5, 0), (0x1f7, 0x20)];
    write_all(bench, &task);
}

/// Thousands of accesses recorded on QEMU: random commands, packets and transfers.
#[test]
fn as_qemu_did() {
    let differences = bench().replay(include_str!("tests/qemu-7.2.txt"));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// What a BIOS reads that looks for drives, measured on QEMU with every combination of drives.
#[rstest]
#[case::master(Some(DriveKind::HardDisk), None, [[0, 1, 1, 0, 0, 0xa0, 0x50], [0, 1, 1, 0xff, 0xff, 0xb0, 0]])]
#[case::cdrom(Some(DriveKind::Cdrom), None, [[0, 1, 1, 0x14, 0xeb, 0xa0, 0x50], [0, 1, 1, 0xff, 0xff, 0xb0, 0]])]
#[case::slave(None, Some(DriveKind::HardDisk), [[0, 1, 1, 0xff, 0xff, 0xa0, 0x50], [0, 1, 1, 0, 0, 0xb0, 0x50]])]
#[case::nothing(None, None, [[0; 7], [0; 7]])]
fn signatures(
    #[case] master: Option<DriveKind>,
    #[case] slave: Option<DriveKind>,
    #[case] expected: [[u64; 7]; 2],
) {
    let drives: Vec<_> = [(0, master), (1, slave)]
        .into_iter()
        .filter_map(|(unit, kind)| Some((0, unit, memory(vec![0; 1 << 20]), kind?)))
        .collect();
    let mut bench = bench_with(&drives);
    for (unit, expected) in expected.into_iter().enumerate() {
        bench.write(0x1f6, 1, 0xa0 | (unit as u64) << 4);
        let registers: Vec<u64> = (0x1f1..0x1f8).map(|port| bench.read(port, 1)).collect();
        assert_eq!(registers, expected);
    }
}

/// Configuration space at power-on, where it is not zero: QEMU 7.2's.
#[test]
fn configuration_space() {
    let chip = IdeController::new();
    let bytes = chip.state().config.bytes();
    let set: Vec<(usize, u8)> = bytes.iter().copied().enumerate().filter(|(_, byte)| *byte != 0).collect();
    let identity = [(0, 0x86), (1, 0x80), (2, 0x10), (3, 0x70), (6, 0x80), (7, 0x02)];
    let rest = [(9, 0x80), (10, 1), (11, 1), (0x20, 1), (0x2c, 0xf4), (0x2d, 0x1a), (0x2f, 0x11)];
    assert_eq!(set, [&identity[..], &rest[..]].concat());
}

/// The lost disks: while a read is in flight or its data wait, the task file takes no writes, and
/// only a reset brings it back.
#[test]
fn a_probe_in_the_middle_of_a_read_fails_until_reset() {
    let slow = memory(pattern(1 << 20)).with_latency(50_000_000);
    let mut bench = bench_with(&[(0, 0, slow, DriveKind::HardDisk)]);
    let probe = |bench: &mut Bench<IdeController>| {
        write_all(bench, &[(0x1f6, 0xa0), (0x1f2, 0x55), (0x1f3, 0xaa)]);
        (bench.read(0x1f2, 1), bench.read(0x1f3, 1))
    };
    let start = |bench: &mut Bench<IdeController>| {
        read_sectors(bench, 4, 8);
        assert_eq!(bench.read(0x1f7, 1), 0xd0);
        assert_eq!(probe(bench), (8, 4));
        bench.settle();
        assert_eq!(bench.read(0x1f7, 1), 0x58);
        assert_eq!(probe(bench), (7, 5));
    };
    start(&mut bench);
    bench.write(0x3f6, 1, 0x04);
    bench.write(0x3f6, 1, 0x00);
    assert_eq!(bench.read(0x1f7, 1), 0x50);
    assert_eq!(probe(&mut bench), (0x55, 0xaa));
    start(&mut bench);
    bench.chip.reset(ResetKind::System, &mut Effects::default());
    assert_eq!(bench.read(0x1f7, 1), 0x50);
    assert_eq!(probe(&mut bench), (0x55, 0xaa));
}

#[test]
fn busy_lasts_as_long_as_the_latency() {
    let mut bench = bench_with(&[(0, 0, memory(pattern(1 << 20)).with_latency(10_000), DriveKind::HardDisk)]);
    read_sectors(&mut bench, 0, 1);
    let due = Moment(bench.now).after(10_000);
    assert_eq!(bench.chip.deadline(), Some(due));
    bench.chip.on_deadline(&mut Effects::at(Moment(due.0 - 1)));
    assert_eq!(bench.chip.deadline(), Some(due), "not before its time");
    bench.settle();
    assert_eq!(bench.lines.get(&IRQ14), Some(&true));
    assert_eq!(bench.read(0x3f6, 1), 0x58);
    assert_eq!(bench.lines.get(&IRQ14), Some(&true), "the alternate status acknowledges nothing");
    bench.read(0x1f7, 1);
    assert_eq!(bench.lines.get(&IRQ14), Some(&false));
}

#[rstest]
#[case::on(0x00, true)]
#[case::off(0x02, false)]
fn interrupt_enable(#[case] control: u64, #[case] raised: bool) {
    let mut bench = bench();
    bench.write(0x3f6, 1, control);
    bench.write(0x1f7, 1, 0xec);
    assert_eq!(bench.lines.get(&IRQ14) == Some(&true), raised);
    assert_eq!(bench.read(0xc002, 1) & 4 != 0, raised);
}

/// A bad image is an error of the drive, by every way of reading.
#[rstest]
#[case::pio(0x1f0, DriveKind::HardDisk, &[(0x1f6, 0xe0), (0x1f2, 1), (0x1f7, 0x20)], 0x41, 0x04)]
#[case::partial_write(0x1f0, DriveKind::HardDisk, &[(0x1f6, 0xe0), (0x1f2, 1), (0x1f7, 0x30)], 0x41, 0x04)]
#[case::dma(0x1f0, DriveKind::HardDisk, &[(0x1f6, 0xe0), (0x1f2, 1), (0x1f7, 0xc8), (0xc000, 9)], 0x41, 0x04)]
#[case::packet(0x1f0, DriveKind::Cdrom, &[(0x1f4, 0), (0x1f5, 8), (0x1f7, 0xa0)], 0x41, 0x50)]
fn broken_image(
    #[case] base: u64,
    #[case] kind: DriveKind,
    #[case] accesses: &[(u64, u64)],
    #[case] status: u64,
    #[case] error: u64,
) {
    let mut bench = bench_with(&[(0, 0, Disk::new(Arc::new(Broken)), kind)]);
    // one descriptor of 512 bytes at 1000h
    bench.memory.0[..8].copy_from_slice(&[0, 0x10, 0, 0, 0, 2, 0, 0x80]);
    write_all(&mut bench, accesses);
    let data: &[u64] = if kind == DriveKind::Cdrom { &[0x28, 0, 0, 0, 1, 0] } else { &[0; 256] };
    for word in data {
        bench.write(base, 2, *word);
    }
    bench.settle();
    assert_eq!((bench.read(0x1f7, 1), bench.read(0x1f1, 1)), (status, error));
    assert_eq!(bench.read(0xc002, 1) & 1, 0);
}

/// Reads 64 KiB by DMA through two descriptors; the drive asks for service, not for BSY.
#[rstest]
#[case::allowed(5, true)]
#[case::no_bus_master(1, false)]
fn dma(#[case] command: u32, #[case] moved: bool) {
    let mut bench = bench();
    bench.chip.config_write(pci::COMMAND, 2, command, &mut Effects::default());
    let descriptors = [0x1_0000_u32, 0x8000, 0x4_0000, 0x8000_8000];
    for (index, word) in descriptors.into_iter().enumerate() {
        bench.memory.0[0x100 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    bench.write(0xc004, 4, 0x100);
    write_all(&mut bench, &[(0x1f6, 0xe0), (0x1f2, 128), (0x1f3, 0), (0x1f7, 0xc8)]);
    assert_eq!(bench.chip.deadline(), None, "waits for the bus master");
    bench.write(0xc000, 1, 9);
    bench.settle();
    assert_eq!(bench.read(0x1f7, 1), 0x50);
    let image = pattern(0x1_0000);
    assert_eq!(bench.memory.0[0x1_0000..0x1_8000] == image[..0x8000], moved);
    assert_eq!(bench.memory.0[0x4_0000..0x4_8000] == image[0x8000..], moved);
}

#[test]
fn stopping_the_bus_master_completes_the_transfer() {
    let mut bench = bench();
    bench.memory.0[..8].copy_from_slice(&[0, 0x10, 0, 0, 0, 2, 0, 0x80]);
    write_all(&mut bench, &[(0x1f6, 0xe0), (0x1f2, 1), (0x1f3, 0), (0x1f7, 0xc8), (0xc000, 9), (0xc000, 0)]);
    assert_eq!(bench.chip.deadline(), None);
    assert_eq!(bench.memory.0[0x1000..0x1200], pattern(512));
    assert_eq!(bench.read(0xc002, 1), 4);
}

#[test]
fn a_new_medium_is_told_of() {
    let mut bench = bench();
    assert!(bench.chip.change_medium(1, 0, memory(vec![0; 1 << 20])));
    assert!(!bench.chip.change_medium(0, 0, memory(Vec::new())));
    let mut test_unit_ready = || {
        write_all(&mut bench, &[(0x176, 0xa0), (0x171, 0), (0x177, 0xa0)]);
        for _ in 0..6 {
            bench.write(0x170, 2, 0);
        }
        bench.read(0x171, 1)
    };
    assert_eq!([test_unit_ready(), test_unit_ready(), test_unit_ready()], [0x20, 0x60, 0x68]);
}

/// INITIALIZE DEVICE PARAMETERS takes any geometry; IDENTIFY and addresses must bear it.
#[rstest]
#[case::none(0)]
#[case::most(255)]
fn absurd_geometry(#[case] sectors: u64) {
    let mut bench = bench();
    write_all(&mut bench, &[(0x1f6, 0xaf), (0x1f2, sectors), (0x1f7, 0x91), (0x1f7, 0xec)]);
    let words: Vec<u64> = (0..256).map(|_| bench.read(0x1f0, 2)).collect();
    assert_eq!((words[3], words[4], words[6]), (16, (sectors * 512) & 0xffff, sectors));
    write_all(&mut bench, &[(0x1f6, 0xa0), (0x1f2, 1), (0x1f3, 1), (0x1f7, 0x20)]);
    bench.settle();
    assert_eq!(bench.read(0x1f7, 1), 0x58);
}

/// Saved in the middle of a read and taken up by another controller, it goes on to the last bit.
#[test]
fn saved_half_way() {
    let mut bench = bench();
    write_all(&mut bench, &[(0x1f6, 0xe0), (0x1f2, 1), (0x1f3, 0), (0x1f7, 0x30)]);
    for word in 0..256 {
        bench.write(0x1f0, 2, word);
    }
    bench.settle();
    read_sectors(&mut bench, 0, 2);
    let text = serde_json::to_string(bench.chip.state()).unwrap();
    let mut other = self::bench();
    other.chip.restore(serde_json::from_str(&text).unwrap());
    other.now = bench.now;
    for bench in [&mut bench, &mut other] {
        bench.settle();
        for word in 0..256 {
            assert_eq!(bench.read(0x1f0, 2), word);
        }
        bench.settle();
    }
    assert_eq!(bench.chip.state(), other.chip.state());
}

#[test]
fn time_can_be_shifted_and_back() {
    let mut bench = bench();
    read_sectors(&mut bench, 0, 1);
    let before = bench.chip.state().clone();
    bench.chip.shift_time(-1_000_000);
    assert_ne!(bench.chip.state(), &before);
    bench.chip.shift_time(1_000_000);
    assert_eq!(bench.chip.state(), &before);
}

/// Commands worth trying more often than chance would.
fn command_byte() -> impl Strategy<Value = u64> {
    const KNOWN: [u64; 18] = [
        0x20, 0x24, 0xc4, 0x30, 0x34, 0xc5, 0xc8, 0x25, 0xca, 0x35, 0xa0, 0xec, 0xa1, 0xef, 0x91, 0xc6, 0xb0,
        6,
    ];
    prop_oneof![prop::sample::select(&KNOWN[..]), 0..256_u64]
}

fn access() -> impl Strategy<Value = (u64, u8, Option<u64>)> {
    let port = prop_oneof![0x1f0..0x1f8_u64, 0x170..0x178_u64, Just(0x3f6), Just(0x376), 0xc000..0xc010_u64];
    prop_oneof![
        4 => (port, prop::sample::select(&[1_u8, 2, 4][..]), any::<Option<u64>>()),
        1 => (prop::sample::select(&[0x1f7_u64, 0x177][..]), Just(1), command_byte().prop_map(Some)),
        2 => (prop::sample::select(&[0x1f0_u64, 0x170][..]), Just(2), any::<Option<u64>>()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No sequence of accesses hurts, whatever the size of the image.
    #[test]
    fn any_access_is_safe(
        size in prop::sample::select(&[0_usize, 1, 511, 512, 2047, 2048, 100_000][..]),
        cdrom in any::<bool>(),
        read_only in any::<bool>(),
        accesses in prop::collection::vec((access(), prop::sample::select(&[1_usize, 1, 6, 300][..]), any::<bool>()), 0..160),
    ) {
        let kind = if cdrom { DriveKind::Cdrom } else { DriveKind::HardDisk };
        let disk = memory(pattern(size)).with_read_only(read_only);
        let huge = Disk::new(Arc::new(ZeroSource { size: u64::MAX }));
        let mut bench = bench_with(&[(0, 0, disk.clone(), kind), (0, 1, huge, kind), (1, 1, disk, kind)]);
        for ((port, size, value), times, settle) in accesses {
            for _ in 0..times {
                match value {
                    Some(value) => bench.write(port, size, value & ((1 << (8 * size)) - 1)),
                    None => drop(bench.read(port, size)),
                }
            }
            if settle {
                bench.settle();
            }
        }
        bench.settle();
    }
}
