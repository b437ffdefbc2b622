//! Looking at machines through the command: the write history, diffs of snapshots and survivors, with
//! the symbols that our own firmware brings.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use rstest::rstest;
use serde_json::Value;

const FIRMWARE: [&str; 4] = ["--firmware", "rom:reset-244caf86", "--memory", "1M"];
/// Just behind the write that says that POST has run.
const POINT: [&str; 2] = ["--until", "instructions:150K"];

fn warmboot(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(arguments: &[&str], folder: &Path) -> String {
    let output = warmboot(arguments, folder);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str], folder: &Path) -> Value {
    serde_json::from_str(&text(arguments, folder)).expect("one JSON object")
}

#[test]
fn the_life_cycle_of_a_variable() {
    let folder = folder();
    let boot =
        [&["boot"][..], &FIRMWARE, &POINT, &["--watch", "HaveRunPost", "--watch", "i440fx.config.bytes.89"]]
            .concat();
    let report = json(&[&boot[..], &["--json"]].concat(), folder.path());
    let history = &report["history"];
    assert_eq!(history["watches"], serde_json::json!(["HaveRunPost", "i440fx.config.bytes.89"]));
    let events = history["events"].as_array().expect("events");
    let last = events.iter().rfind(|event| event["watch"] == 0).expect("HaveRunPost was written");
    assert_eq!(last["new"], "01000000");
    assert_eq!(last["symbol"], "HaveRunPost+0");
    assert_eq!(last["effect"], "written");
    assert!(last["code_symbol"].as_str().is_some_and(|code| code.starts_with("handle_post+")), "{last}");
    // The address shows memory from the moment that PAM says so.
    assert!(events.iter().any(|event| event["effect"] == "remapped" && event["watch"] == 0), "{history}");
    assert!(events.iter().any(|event| event["watch"] == 1 && event["old"] == 0), "{history}");

    let shown = text(&boot, folder.path());
    assert!(shown.contains("watch HaveRunPost: "), "{shown}");
    assert!(shown.contains("00000000 -> 01000000  pc.ram@0xf7290 HaveRunPost+0"), "{shown}");

    // Watching changes nothing.
    let unwatched = json(&[&["boot"][..], &FIRMWARE, &POINT, &["--json"]].concat(), folder.path());
    assert_eq!(unwatched["digest"], report["digest"]);
    assert_eq!(unwatched.get("history"), None);
}

#[test]
fn two_snapshots_differ_by_name() {
    let folder = folder();
    for (file, until) in [("a.snap", "instructions:1"), ("b.snap", POINT[1])] {
        let save = ["--until", until, "--snapshot-out", file];
        text(&[&["boot"][..], &FIRMWARE, &save].concat(), folder.path());
    }
    let same = text(&["snapshot", "diff", "a.snap", "a.snap"], folder.path());
    assert_eq!(same, "no difference\n");
    let shown = text(&["snapshot", "diff", "a.snap", "b.snap", "--ignore", "clocks"], folder.path());
    assert!(shown.contains("config.bytes.89 (PCI 59h)"), "{shown}");
    assert!(shown.contains("at 0x") || shown.contains("HaveRunPost+0  00 -> 01"), "{shown}");
    let diff = json(&["snapshot", "diff", "a.snap", "b.snap", "--json"], folder.path());
    let ranges = diff["blocks"][0]["ranges"].as_array().expect("ranges");
    assert!(ranges.iter().any(|range| range["symbol"] == "HaveRunPost+0"));
    assert!(diff["map"].as_array().is_some_and(|map| !map.is_empty()));
    let without = json(
        &[
            "snapshot",
            "diff",
            "a.snap",
            "b.snap",
            "--json",
            "--ignore",
            "symbol:HaveRunPost",
            "--ignore",
            "map",
        ],
        folder.path(),
    );
    let ranges = without["blocks"][0]["ranges"].as_array().expect("ranges");
    assert!(!ranges.iter().any(|range| range["symbol"] == "HaveRunPost+0"));
    assert_eq!(without["map"], serde_json::json!([]));
}

#[test]
fn what_survives_a_reset() {
    let folder = folder();
    let survivors = [&["snapshot", "survivors"][..], &FIRMWARE, &POINT, &["--reset", "keyboard"]].concat();
    let found = json(&[&survivors[..], &["--ignore", "clocks", "--json"]].concat(), folder.path());
    let bytes = found["bytes"].as_array().expect("bytes");
    let flag = bytes.iter().find(|byte| byte["symbol"] == "HaveRunPost+0").expect("it survived");
    assert_eq!((&flag["at_power_on"], &flag["at_reset"]), (&Value::from("00"), &Value::from("01")));
    assert_eq!(found["reset"], "keyboard");
    let shown = text(&survivors, folder.path());
    assert!(shown.contains("at the reset vector, not as at power-on:"), "{shown}");
    assert!(shown.contains("HaveRunPost+0  power-on 00, reset 01"), "{shown}");
}

#[rstest]
#[case::symbol(&["boot", "--firmware", "rom:reset-244caf86", "--watch", "HaveRunPots"],
    "there is no symbol `HaveRunPots`; did you mean `HaveRunPost`?")]
#[case::no_symbols(&["boot", "--firmware", "rom:hello", "--watch", "HaveRunPost"], "(no symbols are loaded)")]
#[case::register(&["boot", "--firmware", "rom:hello", "--watch", "ide9.status"], "there is no chip `ide9`")]
#[case::file(&["boot", "--firmware", "rom:hello", "--symbols", "none.elf"], "cannot read symbols `none.elf`")]
#[case::no_elf(&["boot", "--firmware", "rom:hello", "--symbols", "text"], "`text` is no ELF file that can be read")]
#[case::no_snapshot(&["snapshot", "diff", "text", "text"], "snapshot `text`")]
#[case::rule(&["snapshot", "diff", "a", "b", "--ignore", "clock"], "ignore rule `clock`")]
#[case::path(&["snapshot", "survivors", "--until", "halt", "--reset", "hammer"], "unknown reset path `hammer`")]
#[case::load(&["snapshot", "survivors", "--until", "halt", "--reset", "system", "--load", "x"],
    "--load has no place here")]
fn refused(#[case] arguments: &[&str], #[case] expect: &str) {
    let folder = folder();
    fs::write(folder.path().join("text"), "no ELF file at all").expect("a file");
    let output = warmboot(arguments, folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(expect), "{message}");
}

#[test]
fn a_point_that_does_not_come() {
    let output = warmboot(
        &[
            &["snapshot", "survivors"][..],
            &FIRMWARE,
            &["--until", "port:0x999", "--limit", "10K", "--reset", "system"],
        ]
        .concat(),
        folder().path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("the first boot ended by limit before the point was reached"), "{message}");
}

const HELLO: [&str; 5] = ["boot", "--firmware", "rom:hello", "--until", "instructions:50K"];

#[test]
fn traces_are_files_of_lines() {
    let folder = folder();
    let plain = json(&[&HELLO[..], &["--json"]].concat(), folder.path());
    let traces = ["--trace", "steps,to=1K", "--trace-io", "accesses,chip=rtc", "--json"];
    let traced = json(&[&HELLO[..], &traces].concat(), folder.path());
    assert_eq!(traced["digest"], plain["digest"]);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a trace");
    let (steps, accesses) = (read("steps"), read("accesses"));
    assert_eq!(steps.lines().count(), 1_000);
    assert!(steps.starts_with("           0  f000:fff0 fffffff0  jmp 0F000h:0E000h"), "{steps}");
    assert!(accesses.lines().any(|line| line.ends_with("rtc CMOS[0f] SHUTDOWN_STATUS")), "{accesses}");
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2, "something is left behind");

    // On standard output it is data; the report is a message then.
    let output = warmboot(&[&HELLO[..], &["--trace", "-,to=2"]].concat(), folder.path());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("digest"), "no report");

    // At its limit a trace ends, the run does not.
    let traces = ["--trace", "steps,limit=1K", "--json"];
    assert_eq!(json(&[&HELLO[..], &traces].concat(), folder.path())["digest"], plain["digest"]);
    let steps = read("steps");
    assert!(
        steps.len() <= 1024 && steps.ends_with("-- the trace ends here: limit=1024 is reached\n"),
        "{steps}"
    );
}

#[rstest]
#[case::option(&["--trace", "t,frm=1"], "--trace: `frm=1`: expected range=, from=, to= or limit=")]
#[case::chip(&["--trace-io", "t,chip=ide9"], "--trace-io: there is no chip `ide9`; there are i440fx")]
#[case::no_file(&["--trace", ",from=1"], "trace `,from=1`: expected FILE[,OPTION...]")]
#[case::folder(&["--trace", "none/t"], "cannot write `none/t`")]
#[case::one_file(&["--trace", "t", "--trace-io", "t"], "--trace and --trace-io name the same file")]
#[case::full(&["--trace", "/dev/full"], "cannot write `/dev/full`: No space left")]
#[cfg(target_os = "linux")]
fn traces_refused(#[case] arguments: &[&str], #[case] expect: &str) {
    let folder = folder();
    let output = warmboot(&[&HELLO[..], arguments].concat(), folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(expect) && message.lines().count() == 1, "{message}");
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "something is left behind");
}
