//! One digest: whatever the path, the slicing, forking in the middle, or the number of repetitions;
//! and random bytes as firmware neither panic nor set the two paths apart.

mod common;

use common::{limits, machine, with_display, with_image};
use rstest::rstest;
use warmboot_machine::{Condition, Ended, Machine, Path, ResetPath, Step, Tracer, Wants};
use warmboot_test_roms::kernels::{self, Bits};

/// Runs to `count` instructions in slices, and gives both digests.
fn digests(machine: &mut Machine, count: u64, slice: Option<u64>) -> (String, String, u64) {
    loop {
        match machine.run(&[], limits(count, slice)).expect("no conditions") {
            Ended::Slice => {}
            _ => return (machine.digest(), machine.state_digest(), machine.instructions()),
        }
    }
}

/// A tracer that wants all there is, and instructions in a span of counts.
#[derive(Default)]
struct Everything {
    from: u64,
    to: u64,
    executed: u64,
}

impl Tracer for Everything {
    fn wants(&mut self, instructions: u64) -> Wants {
        let steps = (self.from..self.to).contains(&instructions);
        let until = if instructions < self.from { self.from } else { self.to.max(instructions + 1) };
        Wants { steps, accesses: true, until }
    }

    fn step(&mut self, step: &Step<'_>) {
        self.executed += u64::from(step.executed);
    }
}

/// The same digests with every write to RAM observed, and when saved half way and loaded into another
/// machine, observed and not; and when traced.
fn check_observed_and_saved(fresh: &dyn Fn(Path) -> Machine, count: u64, expect: &(String, String, u64)) {
    for path in [Path::Cached, Path::Plain] {
        let mut observed = fresh(path);
        observed.record_written(true);
        assert_eq!(digests(&mut observed, count, None), *expect, "observed, {path:?}");
        assert!(observed.written().is_some_and(|written| written.count() > 0), "something was observed");
    }
    let mut first = fresh(Path::Cached);
    digests(&mut first, expect.2 / 2, None);
    let file = first.save().expect("it can be saved");
    for observe in [false, true] {
        let mut loaded = Machine::load(&file, &mut |_| None).expect("it can be loaded");
        loaded.record_written(observe);
        assert_eq!(digests(&mut loaded, count, None), *expect, "saved and loaded, observed: {observe}");
    }
    for path in [Path::Cached, Path::Plain] {
        let mut traced = fresh(path);
        // Some instructions one by one, all accesses.
        let mut all = Everything { from: expect.2 / 3, to: expect.2 / 3 + 200_000, ..Everything::default() };
        while traced.run_traced(&[], limits(count, Some(30_011)), &mut all).expect("no conditions")
            == Ended::Slice
        {}
        let found = (traced.digest(), traced.state_digest(), traced.instructions());
        assert_eq!(found, *expect, "traced, {path:?}");
        assert_eq!(all.executed, all.to.min(expect.2) - all.from, "each instruction is told of once");
    }
    // Observed only for a while.
    first.record_written(true);
    digests(&mut first, expect.2 / 4 * 3, None);
    first.record_written(false);
    assert_eq!(digests(&mut first, count, None), *expect, "observed for a while");
}

#[rstest]
#[case::hello("hello", 400_000)]
#[case::modes("modes", 34_000)]
#[case::long_mode("long-mode", 60_000)]
#[case::paging("paging", 43_000)]
#[case::task_switch("task-switch", 37_000)]
#[case::v8086("v8086", 300_000)]
#[case::selfmod("selfmod", 78_000)]
#[case::strings("strings", 101_000)]
fn one_digest(#[case] rom: &str, #[case] count: u64) {
    let expect = digests(&mut machine(rom, Path::Cached), count, None);
    for (path, slice) in [(Path::Cached, Some(997)), (Path::Plain, None), (Path::Plain, Some(4099))] {
        assert_eq!(digests(&mut machine(rom, path), count, slice), expect, "{path:?} {slice:?}");
    }
    // Forked half way, the fork and the original go on alike.
    let mut original = machine(rom, Path::Cached);
    digests(&mut original, count / 2, None);
    let mut fork = original.fork();
    assert_eq!(fork.digest(), original.digest());
    assert_eq!(digests(&mut fork, count, Some(10_007)), expect);
    assert_eq!(digests(&mut original, count, None), expect);
    check_observed_and_saved(&|path| machine(rom, path), count, &expect);
}

/// A VGA in each kind of mode, to the text at the end.
#[test]
fn one_digest_of_a_display() {
    const MOST: u64 = 10_000_000;
    let fresh = |path| with_display("display", path);
    let mut machine = fresh(Path::Cached);
    let until = [Condition::Screen("shown by rom:display".into())];
    assert_eq!(machine.run(&until, limits(MOST, None)).ok(), Some(Ended::Condition(until[0].clone())));
    let looked = machine.digest();
    let expect = digests(&mut machine, MOST, None);
    for (path, slice) in [(Path::Cached, Some(997)), (Path::Plain, None), (Path::Plain, Some(40_009))] {
        let mut machine = fresh(path);
        // Looks come at the same moments, however the run is divided.
        while machine.run(&until, limits(MOST, slice)).expect("a screen") == Ended::Slice {}
        assert_eq!(machine.digest(), looked, "{path:?} {slice:?}");
        assert_eq!(digests(&mut machine, MOST, slice), expect, "{path:?} {slice:?}");
    }
    let mut fork = fresh(Path::Cached);
    digests(&mut fork, expect.2 / 2, None);
    assert_eq!(digests(&mut fork.fork(), MOST, Some(10_007)), expect);
    check_observed_and_saved(&fresh, MOST, &expect);
}

/// SeaBIOS to its end, where it has been fetched.
#[test]
fn one_digest_of_seabios() {
    const MOST: u64 = 40_000_000;
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/bios-256k.bin");
    let Ok(image) = std::fs::read(&file) else {
        eprintln!("{}: not there, `cargo xtask firmware` fetches it", file.display());
        return;
    };
    let expect = digests(&mut with_image(image.clone(), Path::Cached), MOST, None);
    assert_eq!(digests(&mut with_image(image.clone(), Path::Plain), MOST, None), expect);
    check_observed_and_saved(&|path| with_image(image.clone(), path), MOST, &expect);
}

/// Programs that only compute, in blocks that go on beyond their branches after some rounds; among them
/// code that rewrites itself and a stack beside code.
#[rstest]
fn one_digest_of_kernels(#[values(Bits::Sixteen, Bits::ThirtyTwo, Bits::SixtyFour)] bits: Bits) {
    const MOST: u64 = 2_000_000;
    for (name, _) in kernels::names() {
        let Some(image) = kernels::image(name, bits, 2).expect("it assembles") else { continue };
        let expect = digests(&mut with_image(image.clone(), Path::Cached), MOST, None);
        assert!(expect.2 < MOST, "{name} ended");
        for (path, slice) in [(Path::Cached, Some(7)), (Path::Plain, None)] {
            let found = digests(&mut with_image(image.clone(), path), MOST, slice);
            assert_eq!(found, expect, "{name}, {path:?} {slice:?}");
        }
        check_observed_and_saved(&|path| with_image(image.clone(), path), MOST, &expect);
    }
}

/// Each part of a machine is in its digest: a change in any of them shows.
#[test]
fn a_difference_shows() {
    let mut base = machine("hello", Path::Cached);
    digests(&mut base, 1_000, None);
    let before = base.digest();
    let mut stepped = base.fork();
    stepped.run(&[], limits(1_001, None)).expect("no conditions");
    assert_ne!(stepped.digest(), before, "one more instruction");
    let mut pressed = base.fork();
    pressed.press("a").expect("a key");
    assert_ne!((pressed.digest(), pressed.state_digest()), (before.clone(), base.state_digest()), "a key");
    let mut reset = base.fork();
    reset.reset(ResetPath::System).expect("it runs");
    assert_ne!(reset.digest(), before, "a reset");
    assert_eq!(base.digest(), before, "the original");
}

/// Runs reset at different moments become equal in state, though not in time.
#[test]
fn state_digest_forgets_absolute_time() {
    let run = |moment: u64| {
        let mut machine = with_image(spinning(), Path::Cached);
        machine.run(&[], limits(moment, None)).expect("no conditions");
        machine.reset(ResetPath::System).expect("it runs");
        machine.run(&[], limits(moment + 10, None)).expect("no conditions");
        (machine.state_digest(), machine.digest())
    };
    let (first, second) = (run(1_000), run(50_000));
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

/// A ROM that only jumps to itself.
fn spinning() -> Vec<u8> {
    let mut image = vec![0xf4; 0x1_0000];
    image[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]);
    image
}

/// Xorshift; the seed is the case's name.
fn random_image(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    // Port accesses and interrupts are rare in random bytes: let each image favour some.
    let favoured = [0xee, 0xec, 0xef, 0xed, 0x6e, 0x6c, 0xe6, 0xe4, 0xfb, 0xf4, 0xba, 0xcd];
    (0..0x1_0000)
        .map(|_| match next() {
            byte @ 0..48 => favoured[usize::from(byte) % favoured.len()],
            _ => next(),
        })
        .collect()
}

#[rstest]
fn random_firmware(#[values(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)] seed: u64) {
    let image = random_image(seed);
    let expect = digests(&mut with_image(image.clone(), Path::Cached), 30_000, None);
    assert_eq!(digests(&mut with_image(image.clone(), Path::Plain), 30_000, None), expect);
    assert_eq!(digests(&mut with_image(image, Path::Cached), 30_000, Some(777)), expect);
}

#[test]
fn halted_for_ever_ends() {
    let mut image = vec![0xf4; 0x1_0000];
    image[0xfff0..0xfff2].copy_from_slice(&[0xfa, 0xf4]); // CLI; HLT
    let mut machine = with_image(image, Path::Cached);
    assert_eq!(machine.run(&[], limits(1_000, None)), Ok(Ended::Halt));
    let condition = vec![Condition::Halt];
    let ended = machine.run(&condition, limits(1_000, None)).expect("a condition");
    assert_eq!(ended.to_string(), "halt");
}
