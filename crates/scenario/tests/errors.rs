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
#[case::bad_address("[[step]]\nexpect = { memory = { \"some where\" = 1 } }\n")]
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
#[case::unknown_machine("[machine]\ntype = \"pc-i440fx-7.3\"\n[[step]]\nrun-until = \"halt\"\n")]
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
#[case::outcome_unknown(
    "[matrix]\nreset = [\"C\", \"R\"]\n[outcomes.OK]\ndisks = 2\n[[step]]\nby = \"reset\"\noutcome = { C = \"OK\", R = \"KO\" }\n"
)]
#[case::outcome_missing_cell(
    "[matrix]\nreset = [\"C\", \"R\"]\n[outcomes.OK]\ndisks = 2\n[[step]]\nby = \"reset\"\noutcome = { C = \"OK\" }\n"
)]
#[case::outcome_unknown_cell(
    "[matrix]\nreset = [\"ctrl-alt-delete\", \"R\"]\n[outcomes.OK]\ndisks = 2\n[[step]]\nby = \"reset\"\n[step.outcome]\nctrl-alt-delte = \"OK\"\n"
)]
#[case::outcome_unused("[outcomes.OK]\ndisks = 2\n[[step]]\nrun-until = \"halt\"\n")]
#[case::variable_unknown("[matrix]\nreset = [\"C\"]\n[[step]]\nexpect = { debug = \"${rest}\" }\n")]
#[case::variable_open("[[step]]\nexpect = { debug = \"${rest\" }\n")]
#[case::row_without_name("[[matrix.reset]]\nbanner = \"x\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::never_taken(
    "[matrix]\nreset = [\"C\", \"R\"]\nexclude = [{ reset = \"R\" }]\n[[step]]\nrun-until = \"halt\"\n[[step]]\npress = \"a\"\nwhen = { reset = \"R\" }\n"
)]
#[case::all_excluded(
    "[matrix]\nreset = [\"C\"]\nexclude = { reset = \"C\" }\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::limit_without_limit("[[step]]\nrun-until = [\"halt\", \"limit\"]\n")]
#[case::run_for_what("[[step]]\nrun-for = \"a while\"\n")]
#[case::untypable("[[step]]\ntype = \"caf\u{e9}\"\n")]
#[case::screenshot("[[step]]\nscreenshot = \"\"\n")]
#[case::vga("[machine]\nvga = \"sdt\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::migrate_what("[[step]]\nmigrate = { shadow-boos = true }\n")]
#[case::diff_from_nothing("[[step]]\ndiff = { show = [\"cpu\"] }\n")]
#[case::diff_rule("[[step]]\ndiff = { from = \"power-on\", ignore = [\"clock\"] }\n")]
#[case::block_in_memory("[[step]]\nexpect = { memory = { \"pc.ram@0\" = 1 } }\n")]
#[case::place_in_block("[[step]]\nexpect = { block = { \"0x10\" = 1 } }\n")]
#[case::empty_text("[[step]]\nexpect = { debug = \"\" }\n")]
#[case::accept_what("accept = [\"dbug\"]\n[[step]]\nrun-until = \"halt\"\n")]
#[case::page("[[step]]\npress = \"a\"\npage = \"burn\"\n")]
#[case::file_twice(
    "[matrix]\nreset = [\"C\", \"R\"]\n[[step]]\nrun-until = \"halt\"\n[[step]]\nsnapshot = \"a\"\nfile = \"a.snapshot\"\n"
)]
#[case::slip_in_required_key("[[step]]\ndiff = { frm = \"power-on\" }\n")]
#[case::no_snapshot("[[step]]\nsnapshot = \"before\"\n[[step]]\nrestore = \"befor\"\n")]
#[case::no_snapshot_to_compare("[[step]]\ndiff = { from = \"power-on\", to = \"after\" }\n")]
#[case::snapshot_at_power_on("[[step]]\nsnapshot = \"power-on\"\n")]
#[case::snapshot_file_without_name("[[step]]\nsnapshot = \"a\"\nfile = \"\"\n")]
#[case::memory_out_of_range("[machine]\nmemory = \"1000000G\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::boot_order("[machine]\nboot = \"cc\"\n[[step]]\nrun-until = \"halt\"\n")]
#[case::drive_slot(
    "[machine]\ndrives = [{ at = \"ide9-0\", image = \"zero:1M\" }]\n[[step]]\nrun-until = \"halt\"\n"
)]
#[case::debug_exit("[machine]\ndebug-exit = \"0xf4\"\n[[step]]\nrun-until = \"halt\"\n")]
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
#[case::rows("[matrix]\nhook = [true, false]\nexclude = { hook = true, reset = \"R\" }\n[[matrix.reset]]\nname = \"C\"\nmachine.cpus = 1\n[[matrix.reset]]\nname = \"R\"\n", &[
    "scenarios/x [hook=true, reset=C]",
    "scenarios/x [hook=false, reset=C]",
    "scenarios/x [hook=false, reset=R]",
])]
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

/// Too much is refused before it is kept.
#[rstest]
#[case::combinations("a = [ALL]\nb = [ALL]\nc = [ALL]\n", 60, "the matrix has more than 100000 combinations")]
#[case::bytes("a = [ALL]\nb = [ALL]\nc = [ALL]\n", 40, "64000 combinations of a file of ")]
fn too_much(#[case] matrix: &str, #[case] values: usize, #[case] expect: &str) {
    let all: Vec<String> = (0..values).map(|value| value.to_string()).collect();
    let matrix = matrix.replace("ALL", &all.join(","));
    let text = format!("about = \"{}\"\n[matrix]\n{matrix}{STEP}", "x".repeat(2000));
    let problem = warmboot_scenario::load("x.toml", &text).map(|_| ()).expect_err("refused");
    assert!(problem.message().starts_with(expect), "{problem}");
}

/// What is wrong with files, and with what they name, is said with the place.
#[rstest]
#[case::missing("none.toml", "cannot read `FOLDER/none.toml`: ")]
#[case::folder("folder", "cannot read `FOLDER/folder`: ")]
#[case::too_large("large.toml", "cannot read `FOLDER/large.toml`: it is too large: more than 4 MiB")]
#[case::not_text("bytes.toml", "FOLDER/bytes.toml:2:10\n")]
fn files(#[case] name: &str, #[case] expect: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(folder.path().join("folder")).expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    write("large.toml", &vec![b'#'; (4 << 20) + 1]);
    write("bytes.toml", b"# \xc3\xa9\ntitle = \"\xff\"\n");
    let error = warmboot_scenario::load_file(&folder.path().join(name)).map(|_| ()).expect_err("refused");
    let expect = expect.replace("FOLDER", &folder.path().display().to_string());
    assert!(error.to_string().contains(&expect), "{error}");
}

#[rstest]
#[case::firmware("firmware = \"none.bin\"", "x.toml:2:13: cannot read firmware")]
#[case::option_rom("option-roms = [\"rom:none\"]", "x.toml:2:17: unknown test ROM")]
#[case::drive("drives = [{ at = \"ide0-0\", image = \"none.img\" }]", "x.toml:2:11: cannot read image")]
#[case::symbols("symbols = \"none.elf\"", "x.toml:2:12: cannot read symbols")]
#[case::processors("cpus = 33", "x.toml:1:1: 33 processors")]
fn what_a_machine_lacks(#[case] machine: &str, #[case] expect: &str) {
    let ours = if machine.starts_with("firmware") { "" } else { "\nfirmware = \"rom:hello\"" };
    let text = format!("[machine]\n{machine}{ours}\n{STEP}");
    let scenario = warmboot_scenario::load("x.toml", &text).expect("read");
    let report = warmboot_scenario::run_case(&scenario.cases[0], &Default::default(), &|_| true);
    let message = report.message.expect("said");
    assert!(message.starts_with(expect), "{message}");
    assert_eq!(
        (report.status, report.line),
        (warmboot_scenario::Status::Error, Some(if expect.contains(":1:") { 1 } else { 2 }))
    );
}
