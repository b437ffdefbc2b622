use super::*;
use crate::disk::{BlockSource, DiskError, MemorySource};
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
        1440 << 10
    }

    fn read_at(&self, offset: u64, _bytes: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::Source { offset, reason: "gone".into() })
    }

    fn digest(&self) -> [u8; 32] {
        [0; 32]
    }
}

fn bench_with(disk: Disk) -> Bench<Floppy> {
    let mut chip = Floppy::new();
    chip.attach(0, disk, FloppyKind::Mb144);
    let mut bench = Bench::new(chip);
    bench.write(0x3f2, 1, 0x00);
    bench.write(0x3f2, 1, 0x1c);
    for _ in 0..4 {
        command(&mut bench, &[0x08]);
        results(&mut bench);
    }
    bench
}

fn command(bench: &mut Bench<Floppy>, bytes: &[u8]) {
    for byte in bytes {
        bench.write(0x3f5, 1, (*byte).into());
    }
    bench.settle();
}

fn results(bench: &mut Bench<Floppy>) -> Vec<u64> {
    let mut results = Vec::new();
    while bench.read(0x3f4, 1) & 0xc0 == 0xc0 {
        results.push(bench.read(0x3f5, 1));
    }
    results
}

fn exchange(bench: &mut Bench<Floppy>, bytes: &mut [u8], terminal_count: bool) -> usize {
    let mut fx = Effects::at(Moment(bench.now));
    let moved = bench.chip.dma_exchange(bytes, terminal_count, &mut fx);
    bench.lines.extend(fx.lines);
    moved
}

/// Accesses recorded on QEMU: resets, seeks, and reads and writes through the FIFO.
#[test]
fn as_qemu_did() {
    let mut chip = Floppy::new();
    chip.attach(0, memory(pattern(1440 << 10)), FloppyKind::Mb288);
    chip.attach(1, memory(pattern(720 << 10)), FloppyKind::Mb288);
    let differences = Bench::new(chip).replay(include_str!("tests/qemu-7.2.txt"));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Both ends of a DMA read: the controller's (end of track) and the 8237's (terminal count).
#[rstest]
#[case::one_sector(1, 512, true, 512, [0, 0, 0, 0, 0, 2, 2])]
#[case::two_pieces(1, 300, false, 300, [0; 7])]
#[case::to_end_of_track(17, 4096, true, 1024, [0x20, 0, 0, 1, 0, 1, 2])]
#[case::stopped_in_a_sector(3, 700, true, 700, [0, 0, 0, 0, 0, 4, 2])]
fn dma_read(
    #[case] sector: u8,
    #[case] length: usize,
    #[case] terminal_count: bool,
    #[case] moved: usize,
    #[case] expected: [u64; 7],
) {
    let mut bench = bench_with(memory(pattern(1440 << 10)));
    command(&mut bench, &[0x46, 0, 0, 0, sector, 2, 18, 0x1b, 0xff]);
    assert_eq!(bench.chip.dma_request(), Some(Direction::ToMemory));
    assert_eq!(bench.lines.get(&DREQ2), Some(&true));
    assert_eq!(bench.read(0x3f4, 1), 0x10);
    let mut bytes = vec![0; length];
    assert_eq!(exchange(&mut bench, &mut bytes, terminal_count), moved);
    let start = (usize::from(sector) - 1) * 512;
    assert_eq!(bytes[..moved], pattern(start + moved)[start..]);
    if terminal_count {
        assert_eq!(bench.lines.get(&DREQ2), Some(&false));
        assert_eq!(bench.lines.get(&IRQ6), Some(&true));
        assert_eq!(results(&mut bench), expected);
        assert_eq!(bench.lines.get(&IRQ6), Some(&false));
    } else {
        assert_eq!(bench.chip.dma_request(), Some(Direction::ToMemory), "more is to come");
    }
}

#[test]
fn dma_write_then_read_back() {
    let mut bench = bench_with(memory(pattern(1440 << 10)));
    command(&mut bench, &[0x45, 4, 0, 1, 18, 2, 18, 0x1b, 0xff]);
    assert_eq!(bench.chip.dma_request(), Some(Direction::FromMemory));
    assert_eq!(exchange(&mut bench, &mut [0xa5; 512], true), 512);
    assert_eq!(
        results(&mut bench),
        [0x24 & 0x20, 0, 0, 1, 1, 1, 2].map(|byte| if byte == 0x20 { 0x24 } else { byte })
    );
    command(&mut bench, &[0x46, 4, 0, 1, 18, 2, 18, 0x1b, 0xff]);
    let mut bytes = [0; 512];
    exchange(&mut bench, &mut bytes, true);
    assert_eq!(bytes, [0xa5; 512]);
}

#[test]
fn format_fills_the_sectors_it_is_told_of() {
    let mut bench = bench_with(memory(pattern(1440 << 10)));
    command(&mut bench, &[0x4d, 0, 2, 2, 0x54, 0xf6]);
    assert_eq!(bench.chip.dma_request(), Some(Direction::FromMemory));
    assert_eq!(exchange(&mut bench, &mut [0, 0, 2, 2, 0, 0, 3, 2], true), 8);
    assert_eq!(results(&mut bench)[0], 0);
    command(&mut bench, &[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    let mut bytes = vec![0; 2048];
    exchange(&mut bench, &mut bytes, true);
    let mut expected = pattern(2048);
    expected[512..1536].fill(0xf6);
    assert_eq!(bytes, expected);
}

/// Errors of the medium end a command with ST0 and ST1.
#[rstest]
#[case::gone(Disk::new(Arc::new(Broken)), 0x46, 0x40, 0x20)]
#[case::protected(memory(pattern(1440 << 10)).with_read_only(true), 0x45, 0x60, 0x02)]
#[case::protected_format(memory(pattern(1440 << 10)).with_read_only(true), 0x4d, 0x40, 0x02)]
#[case::write_behind_the_image(memory(pattern(512)), 0x45, 0x60, 0x00)]
#[case::read_behind_the_image(memory(pattern(512)), 0x46, 0x00, 0x00)]
fn errors(#[case] disk: Disk, #[case] code: u8, #[case] st0: u64, #[case] st1: u64) {
    let mut bench = bench_with(disk);
    command(&mut bench, &[code, 0, 0, 0, 2, 2, 18, 0x1b, 0xff][..if code == 0x4d { 6 } else { 9 }]);
    exchange(&mut bench, &mut [0; 512], true);
    assert_eq!(results(&mut bench)[..2], [st0, st1]);
}

#[test]
fn no_drive() {
    let mut bench = Bench::new(Floppy::new());
    let registers: Vec<u64> = [0x3f1, 0x3f2, 0x3f3, 0x3f4, 0x3f7].map(|port| bench.read(port, 1)).to_vec();
    assert_eq!(registers, [0xc0, 0x0c, 0, 0x80, 0x80]);
    command(&mut bench, &[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    assert_eq!(results(&mut bench), [0x40, 0x80, 0, 0, 0, 1, 2]);
}

/// The drive is seen moving until the seek ends.
#[test]
fn a_seek_takes_time() {
    let mut bench = bench_with(memory(pattern(1440 << 10)));
    for byte in [0x0f, 0, 5] {
        bench.write(0x3f5, 1, byte);
    }
    assert_eq!(bench.read(0x3f4, 1), 0x81);
    assert_eq!(bench.lines.get(&IRQ6), Some(&false));
    bench.settle();
    assert_eq!(bench.read(0x3f4, 1), 0x80);
    assert_eq!(bench.lines.get(&IRQ6), Some(&true));
    command(&mut bench, &[0x08]);
    assert_eq!(results(&mut bench), [0x20, 5]);
    assert_eq!(bench.read(0x3f7, 1), 0, "the step has cleared the disk change line");
}

#[test]
fn saved_half_way() {
    let mut bench = bench_with(memory(pattern(1440 << 10)));
    for byte in [0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff] {
        bench.write(0x3f5, 1, byte);
    }
    let text = serde_json::to_string(bench.chip.state()).unwrap();
    let mut other = bench_with(memory(pattern(1440 << 10)));
    other.chip.restore(serde_json::from_str(&text).unwrap());
    other.now = bench.now;
    for bench in [&mut bench, &mut other] {
        bench.chip.shift_time(77);
        bench.chip.shift_time(-77);
        bench.settle();
        exchange(bench, &mut [0; 1024], true);
    }
    assert_eq!(bench.chip.state(), other.chip.state());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No sequence of accesses hurts, whatever the size of the image.
    #[test]
    fn any_access_is_safe(
        size in prop::sample::select(&[0_usize, 1, 511, 512, 163_840, 1_474_560][..]),
        accesses in prop::collection::vec((0_u64..10, any::<u8>(), 0_usize..600, any::<bool>()), 0..300),
    ) {
        let mut bench = bench_with(memory(pattern(size)));
        for (what, value, length, flag) in accesses {
            match what {
                0 => bench.write(0x3f1 + u64::from(value % 7), 1, length as u64 & 0xff),
                1 => drop(bench.read(0x3f1 + u64::from(value % 7), 1)),
                2 => bench.settle(),
                3 => drop(exchange(&mut bench, &mut vec![value; length], flag)),
                4 => {
                    let (code, ..) = COMMANDS[usize::from(value) % COMMANDS.len()];
                    bench.write(0x3f5, 1, (code | if flag { 0x40 } else { 0 }).into());
                }
                5 => drop(results(&mut bench)),
                _ => bench.write(0x3f5, 1, if flag { value & 3 } else { value }.into()),
            }
        }
        bench.settle();
    }
}
