//! Forks and returns in any order: each machine stays what a fresh one becomes that does the same
//! things by itself, one instruction at a time, whoever decoded the code first.

mod common;

use std::ops::Range;

use common::{limits, machine, with_image};
use proptest::prelude::*;
use rstest::rstest;
use warmboot_machine::{Machine, Path, ResetPath};

/// Where the program is: pages of RAM that rewrite each other.
const CODE: u16 = 0x1000;
const PAGES: u16 = 5;
const DATA: u16 = 0x8000;

/// What can be done to one of several machines.
#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    /// The host, or a bus master, changes one of the program's immediates.
    Poke(usize, u8),
    Reset,
    /// Another machine is forked from it.
    Fork,
    /// It returns to the state of another.
    Return(usize),
    /// Digests put cached hashes in place.
    Digest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..3_000_u64).prop_map(Step::Run),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(at, value)| Step::Poke(at, value)),
        1 => Just(Step::Reset),
        3 => Just(Step::Fork),
        4 => any::<usize>().prop_map(Step::Return),
        1 => Just(Step::Digest),
    ]
}

/// A program without end whose instructions change each other's immediates, and the addresses of
/// those.
struct Program {
    bytes: Vec<u8>,
    immediates: Vec<u16>,
}

fn program(choices: &[u8]) -> Program {
    let mut bytes = vec![0x90; usize::from(PAGES) * 0x1000];
    let mut immediates = Vec::new();
    let mut written = Vec::new();
    let mut choices = choices.iter().cycle().zip(0_u32..);
    let mut next =
        || choices.next().map_or(0, |(choice, n)| choice ^ (n.wrapping_mul(0x9e37_79b1) >> 24) as u8);
    for page in 0..PAGES {
        let start = usize::from(page) * 0x1000;
        // A page begins at a place of its own, so that blocks and chunks are cut anywhere.
        let skipped = next() % 70;
        bytes[start..start + 3].copy_from_slice(&[0xe9, skipped, 0]); // JMP
        let mut at = start + 3 + usize::from(skipped);
        for _ in 0..40 {
            let (value, kind) = (next(), next() % 8);
            let (code, immediate): (Vec<u8>, Option<usize>) = match kind {
                0 | 1 => (vec![0x05, value, kind], Some(1)),       // ADD AX, imm16
                2 | 3 => (vec![0x81, 0xf3, value, kind], Some(2)), // XOR BX, imm16
                4 => (vec![0xc6, 0x06, 0, 0, value], None),        // MOV byte [..], imm8
                5 => (vec![0xa2, 0, 0], None),                     // MOV [..], AL
                6 => (vec![0xff, 0x06, value, (DATA >> 8) as u8], None), // INC word [data]
                _ => (vec![0x01, 0x06, value, (DATA >> 8) as u8], None), // ADD [data], AX
            };
            match kind {
                4 => written.push(at + 2),
                5 => written.push(at + 1),
                _ => {}
            }
            immediates.extend(immediate.map(|offset| CODE + (at + offset) as u16));
            bytes[at..at + code.len()].copy_from_slice(&code);
            at += code.len();
        }
        let target = usize::from((page + 2) % PAGES) * 0x1000;
        let distance = (target as i32 - (at as i32 + 3)) as i16;
        bytes[at] = 0xe9;
        bytes[at + 1..at + 3].copy_from_slice(&distance.to_le_bytes());
    }
    for at in written {
        let target = immediates.get(usize::from(next()) % immediates.len().max(1)).copied().unwrap_or(DATA);
        bytes[at..at + 2].copy_from_slice(&target.to_le_bytes());
    }
    Program { bytes, immediates }
}

/// A machine that jumps to the program, which is in its RAM.
fn loaded(program: &Program, path: Path) -> Machine {
    let mut image = vec![0xf4; 0x1_0000];
    let [low, high] = CODE.to_le_bytes();
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, low, high, 0, 0]); // JMP 0:CODE
    let mut machine = with_image(image, path);
    machine.write_memory(CODE.into(), &program.bytes);
    machine
}

fn apply(machine: &mut Machine, program: &Program, step: &Step) {
    match *step {
        Step::Run(count) => {
            let end = machine.instructions() + count;
            machine.run(&[], limits(end, None)).expect("no conditions");
        }
        Step::Poke(at, value) => {
            let at = program.immediates.get(at % program.immediates.len().max(1)).copied().unwrap_or(DATA);
            machine.write_memory(at.into(), &[value]);
        }
        Step::Reset => machine.reset(ResetPath::System).expect("it runs"),
        Step::Digest => {
            machine.digest();
        }
        Step::Fork | Step::Return(_) => unreachable!("these are about two machines"),
    }
}

fn both<T>(items: &mut [T], one: usize, other: usize) -> (&mut T, &mut T) {
    let pair: [Range<usize>; 2] = [one..one + 1, other..other + 1];
    let [[one], [other]] = items.get_disjoint_mut(pair).expect("two different ones") else {
        unreachable!("one each")
    };
    (one, other)
}

/// Does the steps to a family of machines, and then to a fresh machine each what became of it.
fn check(choices: &[u8], steps: &[(usize, Step)]) {
    let program = program(choices);
    let mut family: Vec<(Machine, Vec<Step>)> = vec![(loaded(&program, Path::Cached), Vec::new())];
    for (which, step) in steps {
        let which = which % family.len();
        match step {
            Step::Fork if family.len() < 5 => {
                let (machine, history) = &mut family[which];
                let fork = (machine.fork(), history.clone());
                family.push(fork);
            }
            Step::Return(other) if other % family.len() != which => {
                let other = other % family.len();
                let ((machine, history), (goal, past)) = both(&mut family, which, other);
                machine.return_to(goal);
                history.clone_from(past);
            }
            Step::Fork | Step::Return(_) => {}
            step => {
                let (machine, history) = &mut family[which];
                apply(machine, &program, step);
                history.push(step.clone());
            }
        }
    }
    for (machine, history) in &mut family {
        let mut fresh = loaded(&program, Path::Plain);
        for step in history.iter().chain([&Step::Run(500)]) {
            apply(&mut fresh, &program, step);
        }
        apply(machine, &program, &Step::Run(500));
        assert_eq!(machine.instructions(), fresh.instructions());
        assert_eq!(machine.register("rax"), fresh.register("rax"), "after {history:?}");
        assert_eq!(machine.digest(), fresh.digest(), "after {history:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_family_is_what_loners_are(
        choices in proptest::collection::vec(any::<u8>(), 64),
        steps in proptest::collection::vec((any::<usize>(), step()), 1..60),
    ) {
        check(&choices, &steps);
    }
}

/// Back and forth over ROMs of ours: modes, paging and self-modifying code included.
#[rstest]
#[case::modes("modes", 34_000)]
#[case::paging("paging", 43_000)]
#[case::v8086("v8086", 300_000)]
#[case::selfmod("selfmod", 78_000)]
fn returning_again_and_again(#[case] rom: &str, #[case] count: u64) {
    let run = |machine: &mut Machine, count: u64| {
        machine.run(&[], limits(count, None)).expect("no conditions");
        machine.digest()
    };
    let points: Vec<u64> = (1..6).map(|part| count * part / 5).collect();
    let mut machine = machine(rom, Path::Cached);
    let mut forks: Vec<(Machine, String)> = Vec::new();
    for &point in &points {
        let digest = run(&mut machine, point);
        forks.push((machine.fork(), digest));
    }
    for from in [2, 0, 4, 1, 3, 3, 0] {
        let (fork, digest) = &mut forks[from];
        machine.return_to(fork);
        assert_eq!(&machine.digest(), digest, "returned to {from}");
        assert_eq!(machine.debug_log(), fork.debug_log());
        for (later, &point) in points.iter().enumerate().skip(from + 1) {
            assert_eq!(run(&mut machine, point), forks[later].1, "from {from} to {later}");
        }
    }
}

/// A machine that is no relative is taken over whole.
#[test]
fn returning_to_a_stranger() {
    let (mut one, mut other) = (machine("modes", Path::Cached), machine("selfmod", Path::Cached));
    one.run(&[], limits(20_000, None)).expect("no conditions");
    other.run(&[], limits(30_000, None)).expect("no conditions");
    one.return_to(&mut other);
    assert_eq!(one.digest(), other.digest());
    for machine in [&mut one, &mut other] {
        machine.run(&[], limits(78_000, None)).expect("no conditions");
    }
    assert_eq!(one.digest(), other.digest());
}

/// Forks can run in other threads, code in common or not.
#[test]
fn forks_in_threads() {
    let mut base = machine("selfmod", Path::Cached);
    base.run(&[], limits(20_000, None)).expect("no conditions");
    let finish = |mut machine: Machine| {
        machine.run(&[], limits(78_000, None)).expect("no conditions");
        machine.digest()
    };
    let forks: Vec<Machine> = (0..4).map(|_| base.fork()).collect();
    let digests: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = forks.into_iter().map(|fork| scope.spawn(|| finish(fork))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let expect = finish(base);
    assert!(digests.iter().all(|digest| *digest == expect));
}
