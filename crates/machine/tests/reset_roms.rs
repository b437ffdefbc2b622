//! The ROMs that behave at a reset as five SeaBIOS generations do: what they say after Ctrl+Alt+Del and
//! after a system reset, with and without a disk read in flight, on today's QEMU and on older ones, and
//! what each of their steps is good for.

mod common;

use std::sync::Arc;

use common::limits;
use rstest::rstest;
use warmboot_machine::{
    Condition, Config, Destination, Drive, DriveKind, Ended, Firmware, Machine, MemorySource, PowerState,
    ResetPath, Slot, ZeroSource,
};
use warmboot_test_roms::reset::{self, Disabled};

/// Today's QEMU with two disks, the first an image of ours with 50 ms of latency.
fn machine(rom: &str, image: &str, disabled: Disabled) -> Machine {
    machine_on("qemu", "pc-i440fx-7.2", rom, image, disabled)
}

/// The same on another emulator or machine type.
fn machine_on(emulator: &str, machine: &str, rom: &str, image: &str, disabled: Disabled) -> Machine {
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
    let (emulator, machine) = (emulator.to_owned(), machine.to_owned());
    let config = Config { emulator, machine, firmware, drives, serial: true, ..Config::default() };
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

/// What an idle machine does on Ctrl+Alt+Del or a system reset, as it was measured on the real ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Boots again.
    Ok,
    /// Says that it attempts a hard reboot, and boots again.
    HardReboot,
    /// Switches off, having attempted that once.
    Off,
    /// Says and does it again after the reset, and switches off.
    OffSecond,
    /// Halts for ever.
    Hang,
    /// Boots again or switches off, and says nothing: its debug port does not answer.
    Silent(bool),
    /// Says nothing and comes nowhere: it executes zeros.
    Dead,
}
use Outcome::{Dead, Hang, HardReboot, Off, OffSecond, Silent};

impl Outcome {
    fn of(log: &str, ended: &Ended) -> Outcome {
        let hard = log.contains(HARD);
        match (ended.to_string().as_str(), hard, log.contains("attempting shutdown")) {
            ("serial:idle", ..) if log.is_empty() => Silent(true),
            ("power-off", ..) if log.is_empty() => Silent(false),
            ("limit", ..) if log.is_empty() => Dead,
            ("serial:idle" | "serial:reading", false, false) => Outcome::Ok,
            ("serial:idle", true, false) => HardReboot,
            ("power-off", true, false) => Off,
            ("power-off", true, true) => OffSecond,
            ("halt", true, false) => Hang,
            other => panic!("{other:?}: {log}"),
        }
    }
}

#[rstest]
#[case::el6_kvm("qemu-kvm-0.12-rhel6", "pc-i440fx-7.2", "reset-el6", [Outcome::Ok; 2])]
#[case::v244_kvm("qemu-kvm-0.12-rhel6", "pc-i440fx-7.2", "reset-244caf86", [Off; 2])]
#[case::v400_kvm("qemu-kvm-0.12-rhel6", "pc-i440fx-7.2", "reset-400c66cd", [OffSecond; 2])]
#[case::v1_12_kvm("qemu-kvm-0.12-rhel6", "pc-i440fx-7.2", "reset-1.12", [Silent(false); 2])]
#[case::coreboot_kvm("qemu-kvm-0.12-rhel6", "pc-i440fx-7.2", "reset-coreboot", [Silent(true); 2])]
#[case::v244_2010("qemu-0.13", "pc-i440fx-7.2", "reset-244caf86", [HardReboot; 2])]
#[case::v1_12_2010("qemu-0.13", "pc-i440fx-7.2", "reset-1.12", [Silent(true); 2])]
#[case::v400_rhel7("qemu-kvm-1.5-rhel7", "pc-i440fx-7.2", "reset-400c66cd", [HardReboot; 2])]
#[case::v244_hardware("hardware", "pc-i440fx-7.2", "reset-244caf86", [HardReboot, Outcome::Ok])]
#[case::el6_isa("qemu", "isapc", "reset-el6", [Outcome::Ok; 2])]
#[case::v244_isa("qemu", "isapc", "reset-244caf86", [Hang, Outcome::Ok])]
#[case::v400_isa("qemu", "isapc", "reset-400c66cd", [HardReboot, Outcome::Ok])]
#[case::v1_12_isa("qemu", "isapc", "reset-1.12", [HardReboot, Outcome::Ok])]
fn elsewhere(#[case] emulator: &str, #[case] types: &str, #[case] rom: &str, #[case] expect: [Outcome; 2]) {
    for (event, expect) in [CtrlAltDelete, SystemReset].into_iter().zip(expect) {
        let mut machine = machine_on(emulator, types, rom, "idle", Disabled::default());
        boot(&mut machine, "serial:idle");
        let (log, ended) = after(&mut machine, "serial:idle", event);
        assert_eq!(Outcome::of(&log, &ended), expect, "{log}");
    }
}

/// After a migration from RHEL-6 to RHEL-7, with and without the hook that fills shadow RAM there: what
/// a restart does at an idle boot sector, and the fixed RHEL-6 BIOS in the middle of a read.
#[rstest]
#[case::el6("reset-el6", "idle", true, Outcome::Ok)]
#[case::el6_without("reset-el6", "idle", false, Dead)]
#[case::v244("reset-244caf86", "idle", true, Hang)]
#[case::v244_without("reset-244caf86", "idle", false, Dead)]
#[case::el6_fixed("reset-el6-fixed", "read-loop", true, Outcome::Ok)]
#[case::el6_fixed_without("reset-el6-fixed", "read-loop", false, Dead)]
fn migrated(#[case] rom: &str, #[case] image: &str, #[case] shadow_bios: bool, #[case] expect: Outcome) {
    let at = if image == "idle" { "serial:idle" } else { "serial:reading" };
    let to = Destination {
        emulator: Some("qemu-kvm-1.5-rhel7".into()),
        shadow_bios: Some(shadow_bios),
        ..Destination::default()
    };
    for event in [CtrlAltDelete, SystemReset] {
        let mut source = machine_on("qemu-kvm-0.12-rhel6", "rhel6.5.0", rom, image, Disabled::default());
        boot(&mut source, at);
        let (mut machine, _) = source.migrate(&to).expect("it fits");
        let (log, ended) = after(&mut machine, at, event);
        assert_eq!(Outcome::of(&log, &ended), expect, "{log}");
        if expect == Outcome::Ok {
            assert_eq!(hard_disks(&machine), 2, "{log}");
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

/// What the guest could have noticed: the processor, every chip, every byte of each RAM block, and what
/// it said.
fn guest_side(machine: &Machine) -> (String, Vec<serde_json::Value>, blake3::Hash, String) {
    let mut blocks = blake3::Hasher::new();
    for block in ["pc.ram", "pc.bios", "pc.rom"] {
        let memory = machine.memory();
        let id = memory.block(block).expect("a block");
        let mut bytes = vec![0; memory.info(id).size as usize];
        memory.read_block(id, 0, &mut bytes).expect("the whole block");
        blocks.update(&bytes);
    }
    let chips = machine.chips().filter_map(|chip| machine.chip_state(chip)).collect();
    let said = [machine.debug_log(), machine.serial_log()].map(String::from_utf8_lossy).concat();
    (format!("{:?}", machine.processor()), chips, blocks.finalize(), said)
}

/// A ROM that behaved otherwise because it knew where it is would prove nothing. Nothing a guest can
/// reach holds the name of the generation, of the firmware or of a disk: with others it all goes the
/// same way, to the last byte.
#[rstest]
fn no_name_reaches_the_guest(
    #[values("facts", "reset-el6", "reset-244caf86", "reset-1.12")] rom: &str,
    #[values("qemu-kvm-0.12-rhel6", "qemu-kvm-1.5-rhel7", "qemu", "hardware")] emulator: &str,
) {
    let run_named = |name: &'static str| {
        let rom = warmboot_test_roms::find(rom).expect("an image of ours");
        let disk = warmboot_test_roms::find("idle").expect("an image of ours");
        let generation = *warmboot_machine::generations::find(emulator).expect("a generation");
        let generation = warmboot_machine::Generation { name, about: name, ..generation };
        let drive = Drive {
            at: Slot::Ide { channel: 0, unit: 0 },
            kind: DriveKind::HardDisk,
            source: Arc::new(MemorySource((disk.build)().expect("it assembles").into())),
            name: name.into(),
            read_only: false,
            latency: 0,
        };
        let firmware = Firmware { name: name.into(), bytes: (rom.build)().expect("it assembles").into() };
        let config = Config {
            firmware,
            generation: Some(generation),
            drives: vec![drive],
            serial: true,
            memory: 16 << 20,
            ..Config::default()
        };
        let mut machine = Machine::new(&config).expect("a machine");
        run(&mut machine, &["serial:idle", "halt"]);
        // `facts` may have switched itself off.
        if machine.power() == PowerState::On {
            machine.reset(ResetPath::System).expect("it runs");
            run(&mut machine, &["serial:idle", "halt"]);
        }
        guest_side(&machine)
    };
    let first = run_named("first");
    assert!(!first.3.is_empty(), "it ran");
    assert_eq!(first, run_named("quite another name"));
}
