//! Several processors: one digest whatever the path, the slicing, the moment of a save or a fork; and what
//! a reset does to all of them.

mod common;

use common::limits;
use rstest::rstest;
use warmboot_cpu::state::Activity;
use warmboot_machine::{
    Condition, Config, Destination, Ended, Firmware, Machine, Path, ResetPath, Snapshot, Step, Tracer, Wants,
};

fn machine(machine_type: &str, cpus: u32, path: Path) -> Machine {
    with_cpu(machine_type, None, cpus, path)
}

fn with_cpu(machine_type: &str, cpu: Option<&str>, cpus: u32, path: Path) -> Machine {
    let rom = warmboot_test_roms::find("processors").expect("a ROM of ours");
    let firmware = Firmware { name: "test".into(), bytes: (rom.build)().expect("it assembles").into() };
    let (machine, cpu) = (machine_type.into(), cpu.map(str::to_owned));
    Machine::new(&Config { machine, cpu, firmware, cpus, path, ..Config::default() }).expect("a machine")
}

/// A tracer that wants all there is.
#[derive(Default)]
struct Everything {
    executed: u64,
    processors: usize,
}

impl Tracer for Everything {
    fn wants(&mut self, _instructions: u64) -> Wants {
        Wants { steps: true, accesses: true, until: u64::MAX }
    }

    fn step(&mut self, step: &Step<'_>) {
        self.executed += u64::from(step.executed);
        self.processors = step.processor.1;
    }
}

/// Runs to `count` instructions in slices, and gives both digests.
fn digests(machine: &mut Machine, count: u64, slice: Option<u64>) -> (String, String, u64) {
    while machine.run(&[], limits(count, slice)).expect("no conditions") == Ended::Slice {}
    (machine.digest(), machine.state_digest(), machine.instructions())
}

/// Saves a machine to bytes and loads it again.
fn saved(machine: &mut Machine) -> Machine {
    let bytes = machine.save().expect("it can be saved");
    let snapshot = Snapshot::read(&bytes).expect("it is whole");
    snapshot.machine(None, &mut |_| None).expect("it can be loaded")
}

#[rstest]
#[case::two("pc-i440fx-7.2", 2)]
#[case::three_packages("pc-i440fx-1.4", 3)]
#[case::most("pc-q35-7.2", 32)]
fn one_digest(#[case] machine_type: &str, #[case] cpus: u32) {
    // With more than two, the ROM's second half finds others in its way; that is as good.
    const MOST: u64 = 250_000;
    let new = |path| machine(machine_type, cpus, path);
    let expect = digests(&mut new(Path::Cached), MOST, None);
    for (path, slice) in [(Path::Cached, Some(997)), (Path::Plain, None), (Path::Plain, Some(4099))] {
        assert_eq!(digests(&mut new(path), MOST, slice), expect, "{path:?} {slice:?}");
    }
    let mut traced = new(Path::Cached);
    let mut all = Everything::default();
    traced.run_traced(&[], limits(MOST, None), &mut all).expect("no conditions");
    assert_eq!(digests(&mut traced, MOST, None), expect, "traced");
    assert_eq!((all.executed, all.processors), (expect.2, cpus as usize), "each instruction is told of once");
    let mut original = new(Path::Cached);
    for cut in [10_000, 30_001, 77_777, 140_002, 199_999] {
        digests(&mut original, cut, None);
        let mut fork = original.fork();
        assert_eq!(fork.digest(), original.digest(), "forked at {cut}");
        assert_eq!(digests(&mut fork, MOST, Some(10_007)), expect, "forked at {cut}");
        assert_eq!(digests(&mut saved(&mut original), MOST, None), expect, "saved at {cut}");
        // Back to a moment before, and on again.
        fork.return_to(&mut original);
        assert_eq!(digests(&mut fork, MOST, None), expect, "returned to {cut}");
    }
    assert_eq!(digests(&mut original, MOST, None), expect);
}

/// A run ends where the host wants, by time too, and goes on as if it had not.
#[test]
fn cut_by_time() {
    const MOST: u64 = 250_000;
    let new = || machine("pc-i440fx-7.2", 2, Path::Cached);
    let expect = digests(&mut new(), MOST, None);
    let mut cut = new();
    for time in (0..1_000_000).step_by(1_337) {
        cut.run(&[Condition::Time(time)], limits(MOST, None)).expect("a condition");
    }
    assert_eq!(digests(&mut cut, MOST, None), expect);
}

#[rstest]
#[case::system(ResetPath::System)]
#[case::init(ResetPath::Init)]
fn resets(#[case] path: ResetPath) {
    let mut machine = machine("pc-i440fx-7.2", 2, Path::Cached);
    digests(&mut machine, 60_000, None);
    let both = |machine: &Machine| machine.processors().map(|state| state.activity).collect::<Vec<_>>();
    assert_eq!(both(&machine), [Activity::Running, Activity::Running]);
    machine.reset(path).expect("it runs");
    // Each takes it when it has its turn.
    machine.run(&[], limits(64_000, None)).expect("no conditions");
    assert_eq!(both(&machine), [Activity::Running, Activity::WaitForSipi], "{path}");
}

#[test]
fn migrated_in_the_middle() {
    let mut machine = machine("pc-i440fx-1.4", 2, Path::Cached);
    machine.run(&[], limits(100_000, None)).expect("no conditions");
    let to = Destination { machine: Some("pc-i440fx-7.2".into()), ..Destination::default() };
    let (mut there, report) = machine.migrate(&to).expect("as many processors");
    assert!(report.unfit.iter().all(|unfit| !unfit.to_string().contains("apic")), "{:?}", report.unfit);
    passes(&mut there);
}

/// The ROM's checks all pass from here on.
fn passes(machine: &mut Machine) {
    let rest = [Condition::Debug("ALL PASS".into()), Condition::Debug("FAIL".into())];
    let ended = machine.run(&rest, limits(3_000_000, None)).expect("conditions");
    let log = String::from_utf8_lossy(machine.debug_log());
    assert_eq!(ended, Ended::Condition(rest[0].clone()), "{log}");
}

#[rstest]
fn the_rom(#[values("qemu64", "haswell")] cpu: &str, #[values(Path::Cached, Path::Plain)] path: Path) {
    passes(&mut with_cpu("pc-i440fx-7.2", Some(cpu), 2, path));
}

#[rstest]
#[case::none("pc-i440fx-7.2", 0, "0 processors were asked for; expected 1 to 32")]
#[case::too_many("pc-i440fx-7.2", 33, "33 processors were asked for; expected 1 to 32")]
#[case::without_apic("isapc", 2, "2 processors: `486` has no local APIC: it can only be the only one")]
fn refused(#[case] machine_type: &str, #[case] cpus: u32, #[case] expect: &str) {
    let config = Config { machine: machine_type.into(), cpus, ..Config::default() };
    let firmware = Firmware { name: "test".into(), bytes: vec![0; 0x10000].into() };
    let error = Machine::new(&Config { firmware, ..config }).err().expect("it is refused");
    assert_eq!(error.to_string(), expect);
}

/// `cpu1.eax` is the second processor's.
#[test]
fn registers_by_name() {
    let mut machine = machine("pc-i440fx-7.2", 2, Path::Cached);
    machine.set_register("cpu1.eax", 7).expect("the second's");
    let read = |name| machine.register(name);
    assert_eq!((read("cpu1.eax"), read("cpu1.ax")), (Some(7), Some(7)));
    assert_ne!(read("eax"), Some(7));
    assert_eq!((read("cpu0.eip"), read("cpu2.eip"), read("cpu1.what")), (read("eip"), None, None));
    let error = machine.set_register("cpu2.eax", 1).expect_err("there are two");
    assert_eq!(error.to_string(), "there is no processor 2");
}

/// What is read at the next instruction's linear address, whatever the mode and the tables, is what the
/// processor runs: nothing it has executed lies on a page that is not present.
#[rstest]
#[case::real_mode("hello", 3_000, 0)]
#[case::long_mode("long-mode", 60_000, 200)]
#[case::paging("paging", 43_000, 1_000)]
fn linear_addresses(#[case] rom: &str, #[case] count: u64, #[case] at_least: u64) {
    let mut machine = common::machine(rom, Path::Cached);
    let (mut paged, mut last) = (0, 0);
    while machine.run(&[], limits(count, Some(7))).expect("no conditions") == Ended::Slice {
        let state = machine.processor();
        let (linear, paging) = (state.linear_rip(), state.paging());
        let physical = machine.translate(0, linear).expect("the next instruction is somewhere");
        let (mut there, mut bytes) = ([0; 4], [0; 4]);
        machine.read_memory(physical, &mut there);
        let read = machine.read_linear(0, linear, &mut bytes);
        assert_eq!(bytes.get(..read.min(1)), there.get(..1), "{linear:#x}");
        paged += u64::from(paging);
        last = linear;
    }
    assert!(paged >= at_least, "{paged} with paging");
    assert_eq!(machine.translate(1, last), None, "there is one processor");
}
