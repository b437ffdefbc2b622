//! What a firmware project's own `tests/reset.rs` can look like. Copy it, and name your image.
//!
//! `Cargo.toml` needs `warmboot`, `rstest` and `insta` under `[dev-dependencies]`.

use rstest::rstest;
use warmboot::{
    Condition, Limits, Machine, MachineSpec, Places, ResetPath,
    scenario::{self, Options, Status},
};

/// The image under test: a path from the project's folder, as "out/bios.bin". This one is warmboot's.
const FIRMWARE: &str = "rom:hello";

/// What the firmware prints when it has found nothing to boot.
const AT_THE_END: &str = "debug:No bootable device";

/// Boots the firmware on an emulator, to its end.
fn booted(emulator: &str) -> Machine {
    let spec = MachineSpec { firmware: FIRMWARE.into(), emulator: emulator.into(), ..MachineSpec::default() };
    let config = spec.config(&Places::default()).expect("the image");
    let mut machine = Machine::new(&config).expect("a machine");
    run(&mut machine);
    machine
}

fn run(machine: &mut Machine) {
    let until: Condition = AT_THE_END.parse().expect("a condition");
    let limits = Limits { instructions: Some(machine.instructions() + 100_000_000), ..Limits::default() };
    let ended = machine.run(std::slice::from_ref(&until), limits).expect("a machine that can print");
    assert_eq!(ended.to_string(), AT_THE_END, "after {} instructions", machine.instructions());
}

#[test]
fn the_log_is_as_reviewed() {
    let machine = booted("qemu");
    insta::assert_snapshot!(String::from_utf8_lossy(machine.debug_log()));
}

/// Each reset, from a copy of one booted machine.
#[rstest]
#[case::button(ResetPath::System)]
#[case::keyboard_controller(ResetPath::Keyboard)]
#[case::triple_fault(ResetPath::TripleFault)]
fn it_comes_back(#[case] path: ResetPath) {
    let mut machine = booted("qemu").fork();
    machine.reset(path).expect("a path that this machine has");
    run(&mut machine);
}

/// A scenario file runs in the same way as under `warmboot run`.
#[test]
fn scenarios_pass() {
    let text = format!(
        r#"
        [machine]
        firmware = "{FIRMWARE}"

        [matrix]
        path = ["system", "keyboard"]

        [[step]]
        run-until = "{AT_THE_END}"
        limit = "+100M"

        [[step]]
        reset = "${{path}}"

        [[step]]
        run-until = "{AT_THE_END}"
        limit = "+100M"

        [[step]]
        expect = {{ debug-count = {{ "No bootable device" = 1 }}, power = "on" }}
        "#
    );
    let scenario = scenario::load("tests/reset.toml", &text).unwrap_or_else(|problem| panic!("{problem}"));
    for case in &scenario.cases {
        let report = scenario::run_case(case, &Options::default(), &|_| true);
        assert_eq!(report.status, Status::Passed, "{}", report.message.unwrap_or_default());
    }
}
