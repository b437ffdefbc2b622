//! Migration into another wiring: what was inert on the source takes effect in the destination, and
//! the hook copies the BIOS there, but never over live variables.

mod common;

use std::sync::Arc;

use common::limits;
use rstest::rstest;
use warmboot_machine::{
    Config, Destination, Drive, DriveKind, Firmware, Machine, MemorySource, ResetPath, Slot, Unfit,
};

const RHEL6: &str = "qemu-kvm-0.12-rhel6";
const RHEL7: &str = "qemu-kvm-1.5-rhel7";
const E_AND_F: &str = "copying E and F segments from pc.bios to pc.ram";
const C_AND_D: &str = "copying C and D segments from pc.rom to pc.ram";

fn image(rom: &str) -> Arc<[u8]> {
    (warmboot_test_roms::find(rom).expect("a ROM of ours").build)().expect("it assembles").into()
}

/// A machine on `emulator` that has booted a sector that does nothing.
fn booted(rom: &str, emulator: &str) -> Machine {
    let drive = Drive {
        at: Slot::Ide { channel: 0, unit: 0 },
        kind: DriveKind::HardDisk,
        source: Arc::new(MemorySource(image("idle"))),
        name: "idle".into(),
        read_only: false,
        latency: 5_000,
    };
    let config = Config {
        machine: "pc-i440fx-1.4".into(),
        emulator: emulator.into(),
        firmware: Firmware { name: rom.into(), bytes: image(rom) },
        drives: vec![drive],
        ..Config::default()
    };
    let mut machine = Machine::new(&config).expect("a machine");
    let until = ["address:0x7c00".parse().expect("a condition")];
    let ended = machine.run(&until, limits(50_000_000, None)).expect("it can come true");
    assert_eq!(ended.to_string(), "address:0x7c00");
    machine
}

fn to(emulator: &str, shadow_bios: bool) -> Destination {
    Destination { emulator: Some(emulator.into()), shadow_bios: Some(shadow_bios), ..Destination::default() }
}

fn bytes<const N: usize>(machine: &Machine, at: u64) -> [u8; N] {
    let mut bytes = [0; N];
    machine.read_memory(at, &mut bytes);
    bytes
}

/// PAM bytes that RHEL-6 under KVM stored and ignored show pc.ram in the destination: empty, unless
/// the hook has filled it.
#[rstest]
#[case::with(true, [E_AND_F, C_AND_D].as_slice())]
#[case::without(false, [].as_slice())]
fn inert_pam_takes_effect(#[case] shadow: bool, #[case] messages: &[&str]) {
    let mut source = booted("reset-el6", RHEL6);
    let vector = bytes::<8>(&source, 0xffff_fff0);
    assert_ne!(vector, [0; 8]);
    assert_eq!(bytes(&source, 0xf_fff0), vector);
    let (mut there, report) = source.migrate(&to(RHEL7, shadow)).expect("migrated");
    assert_eq!(report.messages, messages);
    assert_eq!((report.to.1.as_str(), report.from.1.as_str()), (RHEL7, RHEL6));
    let names: Vec<&str> = report.blocks.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pc.ram", "pc.bios", "pc.rom"]);
    assert_eq!(bytes(&there, 0xffff_fff0), vector, "pc.bios came along");
    assert_eq!(bytes(&there, 0xf_fff0), if shadow { vector } else { [0; 8] });
    assert_eq!((there.instructions(), there.virtual_time()), (source.instructions(), source.virtual_time()));

    // What comes of it at a reset.
    let before = there.debug_log().len();
    there.reset(ResetPath::System).expect("a reset");
    let end = there.instructions() + 3_000_000;
    there.run(&[], limits(end, None)).expect("no conditions");
    let said = there.debug_log().len() > before;
    assert_eq!(said, shadow, "the firmware speaks only when it is there");
}

/// A guest that comes from an emulator with PAM has its variables in pc.ram: they stay.
#[rstest]
#[case::el6("reset-el6")]
#[case::v244("reset-244caf86")]
#[case::v1_12("reset-1.12")]
fn live_variables_are_not_trampled(#[case] rom: &str) {
    let mut source = booted(rom, RHEL7);
    let pam: [u8; 0x2_0000] = bytes(&source, 0xe_0000);
    let pristine: [u8; 0x2_0000] = bytes(&source, 0xfffe_0000);
    assert_ne!(pam, pristine, "the firmware keeps variables in its shadow");
    let (there, report) = source.migrate(&to(RHEL7, true)).expect("migrated");
    assert!(!report.messages.iter().any(|message| message == E_AND_F), "{:?}", report.messages);
    assert_eq!(report.unfit, []);
    assert_eq!(bytes::<0x2_0000>(&there, 0xe_0000), pam);
}

/// Saved at any moment around a migration, the end is the same.
#[test]
fn saved_around_a_migration() {
    let story = |save_at: usize| {
        let mut machine = booted("reset-244caf86", RHEL6);
        for step in 0..5 {
            if step == save_at {
                let bytes = machine.save().expect("saved");
                let base: Arc<[u8]> = image("idle");
                machine = Machine::load(&bytes, &mut |_| Some(Arc::new(MemorySource(base.clone()))))
                    .expect("loaded");
            }
            match step {
                1 => machine = machine.migrate(&to(RHEL7, true)).expect("migrated").0,
                3 => machine.reset(ResetPath::System).expect("a reset"),
                _ => {
                    let end = machine.instructions() + 100_003;
                    machine.run(&[], limits(end, None)).expect("no conditions");
                }
            }
        }
        (machine.digest(), machine.debug_log().to_vec())
    };
    let expect = story(99);
    for step in 0..5 {
        assert_eq!(story(step), expect, "saved before step {step}");
    }
}

/// A generation whose host bridge takes other values, or a machine without a chip: said, not lost.
#[test]
fn what_does_not_fit_is_told() {
    let mut source = booted("reset-el6", RHEL6);
    let destination = Destination { machine: Some("pc-i440fx-7.2".into()), ..Destination::default() };
    let (there, report) = source.migrate(&destination).expect("migrated");
    assert!(
        report.unfit.iter().any(|unfit| matches!(unfit, Unfit::Model { .. })),
        "another default CPU: {:?}",
        report.unfit
    );
    assert_eq!(there.machine_type().name, "pc-i440fx-7.2");
    for unfit in &report.unfit {
        assert!(!unfit.to_string().is_empty());
    }
}
