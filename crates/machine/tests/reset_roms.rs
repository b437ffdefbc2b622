//! The ROMs that behave at a reset as five SeaBIOS generations do, on today's QEMU: what they say after
//! Ctrl+Alt+Del and after a system reset, with and without a disk read in flight, and what each of their
//! steps is good for.

mod common;

use std::sync::Arc;

use common::limits;
use rstest::rstest;
use warmboot_machine::{
    Condition, Config, Drive, DriveKind, Ended, Firmware, Machine, MemorySource, ResetPath, Slot, ZeroSource,
};
use warmboot_test_roms::reset::{self, Disabled};

/// A machine with two disks, the first an image of ours with 50 ms of latency.
fn machine(rom: &str, image: &str, disabled: Disabled) -> Machine {
    let recipe = reset::find(rom).expect("a recipe");
    let bytes = reset::build(recipe, &disabled).expect("it assembles").bytes;
    let image = warmboot_test_roms::find(image).expect("an image of ours");
    let disk = (image.build)().expect("it assembles");
    let drive = |unit, source| Drive {
        at: Slot::Ide { channel: 0, unit },
        kind: DriveKind::HardDisk,
        source,
        name: "test".into(),
        read_only: false,
        latency: 50_000_000,
    };
    let drives =
        vec![drive(0, Arc::new(MemorySource(disk.into()))), drive(1, Arc::new(ZeroSource { size: 8 << 20 }))];
    let firmware = Firmware { name: "test".into(), bytes: bytes.into() };
    let config = Config { firmware, drives, serial: true, ..Config::default() };
    Machine::new(&config).expect("a machine")
}

fn run(machine: &mut Machine, until: &[&str]) -> Ended {
    let until: Vec<Condition> = until.iter().map(|text| text.parse().expect("a condition")).collect();
    machine.run(&until, limits(3_000_000, None)).expect("it can come true")
}

fn hard_disks(machine: &Machine) -> u8 {
    let mut count = [0];
    machine.read_memory(0x475, &mut count);
    count[0]
}

#[derive(Clone, Copy)]
enum Event {
    CtrlAltDelete,
    SystemReset,
}
use Event::{CtrlAltDelete, SystemReset};

/// Runs to the boot sector, with both disks.
fn boot(machine: &mut Machine, at: &str) {
    assert_eq!((run(machine, &[at]).to_string().as_str(), hard_disks(machine)), (at, 2));
}

/// Lets `event` happen, and gives the debug log from there to where it ends: the boot sector again,
/// "No bootable device", or a halt.
fn after(machine: &mut Machine, at: &str, event: Event) -> (String, Ended) {
    let seen = machine.debug_log().len();
    match event {
        CtrlAltDelete => machine.press("ctrl-alt-delete").expect("keys"),
        SystemReset => machine.reset(ResetPath::System).expect("it runs"),
    }
    let ended = run(machine, &[at, "debug:No bootable device"]);
    (String::from_utf8_lossy(&machine.debug_log()[seen..]).into_owned(), ended)
}

const RESUME: &str = "In resume (status=0)\n";
const HARD: &str = "Attempting a hard reboot\n";

/// An idle boot sector: every generation comes back with both disks, by its own way.
#[rstest]
#[case::v0_6_1("reset-0.6.1", ["Start bios", "Start bios"])]
#[case::el6("reset-el6", ["Start bios", "Start bios"])]
#[case::el6_fixed("reset-el6-fixed", ["Start bios", "Start bios"])]
#[case::v244("reset-244caf86", [HARD, HARD])]
#[case::v400("reset-400c66cd", [RESUME, RESUME])]
#[case::v1_12("reset-1.12", [RESUME, RESUME])]
#[case::coreboot("reset-coreboot", [RESUME, "SeaBIOS (version"])]
fn idle(#[case] rom: &str, #[case] says: [&str; 2]) {
    for (event, says) in [CtrlAltDelete, SystemReset].into_iter().zip(says) {
        let mut machine = machine(rom, "idle", Disabled::default());
        boot(&mut machine, "serial:idle");
        // Twice: what one restart leaves must not spoil the next.
        for _ in 0..2 {
            let (log, ended) = after(&mut machine, "serial:idle", event);
            let hard = says == HARD || says == RESUME;
            assert_eq!((ended.to_string().as_str(), hard_disks(&machine)), ("serial:idle", 2), "{log}");
            assert!(log.contains(says) && log.contains(HARD) == hard, "{log}");
            assert!(log.contains("\nata0-0: ") && log.contains("\nata0-1: "), "{log}");
        }
    }
}

/// Ctrl+Alt+Del in the middle of a read, and what loses or saves the disks.
#[rstest]
#[case::v0_6_1("reset-0.6.1", Disabled::default(), false)]
#[case::el6("reset-el6", Disabled::default(), false)]
#[case::el6_fixed("reset-el6-fixed", Disabled::default(), true)]
#[case::el6_not_fixed("reset-el6-fixed", Disabled { srst: true, ..Disabled::default() }, false)]
#[case::v244("reset-244caf86", Disabled::default(), true)]
#[case::v244_never_notes("reset-244caf86", Disabled { have_run_post: true, ..Disabled::default() }, false)]
#[case::v400("reset-400c66cd", Disabled::default(), true)]
#[case::v400_never_notes("reset-400c66cd", Disabled { have_run_post: true, ..Disabled::default() }, false)]
#[case::v1_12("reset-1.12", Disabled::default(), true)]
#[case::v1_12_never_notes("reset-1.12", Disabled { have_run_post: true, ..Disabled::default() }, false)]
#[case::coreboot("reset-coreboot", Disabled::default(), true)]
#[case::coreboot_never_notes("reset-coreboot", Disabled { have_run_post: true, ..Disabled::default() }, false)]
fn middle_of_a_read(#[case] rom: &str, #[case] disabled: Disabled, #[case] disks: bool) {
    let mut machine = machine(rom, "read-loop", disabled);
    boot(&mut machine, "serial:reading");
    let (log, ended) = after(&mut machine, "serial:reading", CtrlAltDelete);
    let (expect, count) = if disks { ("serial:reading", 2) } else { ("debug:No bootable device", 0) };
    assert_eq!((ended.to_string().as_str(), hard_disks(&machine)), (expect, count), "{log}");
    assert_eq!([log.contains("ata0-0"), log.contains("ata0-1")], [disks; 2], "{log}");
}

/// Without its copy, a generation does not come back.
#[rstest]
#[case::v244("reset-244caf86", "halt", 1)]
#[case::v400("reset-400c66cd", "halt", 2)]
#[case::v1_12("reset-1.12", "limit", 3)]
fn without_the_copy(#[case] rom: &str, #[case] expect: &str, #[case] attempts: usize) {
    let mut machine = machine(rom, "idle", Disabled { copy: true, ..Disabled::default() });
    boot(&mut machine, "serial:idle");
    let (log, ended) = after(&mut machine, "serial:idle", CtrlAltDelete);
    assert_eq!(ended.to_string(), expect, "{log}");
    let lines = log.matches(HARD).count() + log.matches("attempting shutdown").count();
    assert!(lines >= attempts, "{log}");
}

/// Nor does one that has no image in shadow RAM get anywhere at all.
#[rstest]
fn without_shadow_ram(#[values("reset-0.6.1", "reset-el6", "reset-coreboot")] rom: &str) {
    let mut machine = machine(rom, "idle", Disabled { copy: true, ..Disabled::default() });
    assert_ne!(run(&mut machine, &["serial:idle"]).to_string(), "serial:idle");
}
