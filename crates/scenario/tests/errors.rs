//! What is said about scenario files with something wrong in them, accepted one by one.

use rstest::rstest;

const STEP: &str = "[[step]]\nrun-until = \"halt\"\n";

#[rstest]
#[case::unknown_step("title = \"x\"\n\n[[step]]\nrun-untill = \"serial:reading\"\n")]
#[case::no_steps("title = \"x\"\n")]
#[case::empty("")]
#[case::empty_step("[[step]]\n")]
#[case::two_steps_in_one("[[step]]\nrun-until = \"halt\"\npress = \"a\"\n")]
#[case::unknown_key_of_step("[[step]]\nrun-until = \"halt\"\nlimits = \"3M\"\n")]
#[case::unknown_top_key("titel = \"x\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::unknown_machine_key("[machine]\nmemroy = 16\n[[step]]\nrun-until = \"halt\"\n")]
#[case::wrong_type("[machine]\nserial = \"yes\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::negative("[machine]\ncpus = -1\n[[step]]\nrun-until = \"halt\"\n")]
#[case::bad_condition("[[step]]\nrun-until = [\"halt\", \"debgu:x\"]\n")]
#[case::bad_limit("[[step]]\nrun-until = \"halt\"\nlimit = \"soon\"\n")]
#[case::bad_reset("[[step]]\nreset = \"hammer\"\n")]
#[case::nothing_expected("[[step]]\nexpect = { }\n")]
#[case::no_expectation("[[step]]\nreset = \"system\"\n")]
#[case::bad_address("[[step]]\nexpect = { memory = { \"somewhere\" = 1 } }\n")]
#[case::bad_bytes("[[step]]\nexpect = { memory = { \"0x10\" = \"xx\" } }\n")]
#[case::when_without_matrix("[[step]]\nrun-until = \"halt\"\nwhen = { \"machine.cpus\" = 2 }\n")]
#[case::when_never(
    "[matrix]\n\"machine.cpus\" = [1]\n[[step]]\nrun-until = \"halt\"\nwhen = { \"machine.cpus\" = 2 }\n"
)]
#[case::matrix_of_nothing("[matrix]\n\"machine.cpus\" = []\n[[step]]\nrun-until = \"halt\"\n")]
#[case::matrix_twice("[matrix]\n\"machine.cpus\" = [1, 1]\n[[step]]\nrun-until = \"halt\"\n")]
#[case::matrix_axis_twice(
    "[matrix]\n\"machine.cpus\" = [1]\n[matrix.machine]\ncpus = [1]\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::unknown_machine("[machine]\ntype = \"pc-i440fx-7.1\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::matrix_unknown_cpu(
    "[matrix]\n\"machine.cpu\" = [\"qemu64\", \"z80\"]\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::two_drives_at_one_slot(
    "[machine]\ndrives = [\n  { at = \"ide0-0\", image = \"zero:1M\" },\n  { at = \"ide0-0\", image = \"zero:2M\" },\n]\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::matrix_of_steps("[matrix]\n\"step.press\" = [\"a\"]\n[[step]]\nrun-until = \"halt\"\n")]
#[case::matrix_unknown_key("[matrix]\n\"machine.memroy\" = [1]\n[[step]]\nrun-until = \"halt\"\n")]
#[case::drive_without_image("[machine]\ndrives = [{ at = \"ide0-0\" }]\n[[step]]\nrun-until = \"halt\"\n")]
#[case::drive_latency(
    "[machine]\ndrives = [{ at = \"ide0-0\", image = \"zero:1M\", latency = \"5\" }]\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::not_toml("title = \"x\n")]
#[case::twice("title = \"x\"\ntitle = \"y\"\n")]
fn said(#[case] text: &str) {
    let name =
        std::thread::current().name().unwrap_or("case").rsplit("::").next().unwrap_or("case").to_owned();
    // `case_07_unknown_top_key` without the number, which moves when a case is added.
    let name = name
        .trim_start_matches("case_")
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '_')
        .to_owned();
    let problem = warmboot_scenario::load("scenarios/x.toml", text).map(|_| ()).expect_err("refused");
    insta::assert_snapshot!(name, format!("{text}\n----\n{problem}"));
}

#[rstest]
#[case::none("", &["scenarios/x"])]
#[case::two("[matrix]\n\"machine.cpus\" = [1, 2]\n", &["scenarios/x [machine.cpus=1]", "scenarios/x [machine.cpus=2]"])]
#[case::nested("[matrix.machine]\ntype = [\"pc-i440fx-1.4\", \"pc-i440fx-7.2\"]\nserial = [true, false]\n", &[
    "scenarios/x [machine.type=pc-i440fx-1.4, machine.serial=true]",
    "scenarios/x [machine.type=pc-i440fx-1.4, machine.serial=false]",
    "scenarios/x [machine.type=pc-i440fx-7.2, machine.serial=true]",
    "scenarios/x [machine.type=pc-i440fx-7.2, machine.serial=false]",
])]
fn cases(#[case] matrix: &str, #[case] expect: &[&str]) {
    let scenario = warmboot_scenario::load("scenarios/x.toml", &format!("{matrix}{STEP}")).expect("read");
    let names: Vec<&str> = scenario.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, expect);
}
