//! Snapshots through the command: a run that is saved and loaded ends as one that was not; damaged
//! files, missing images and contradicting options are refused; a save that fails leaves what was
//! there.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rstest::rstest;

fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmboot"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn warmboot(arguments: &[&str], folder: &Path) -> Output {
    command(arguments, folder).output().expect("the command starts")
}

/// Runs and gives the report; the run must have ended with `status`.
fn report(arguments: &[&str], folder: &Path, status: i32) -> serde_json::Value {
    let output = warmboot(arguments, folder);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// A folder with a snapshot of a machine with a disk, and the disk.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("disk.img"), vec![7; 1 << 20]).expect("a file");
    fs::write(folder.path().join("other.img"), vec![8; 1 << 20]).expect("a file");
    let made = report(
        &[
            "boot",
            "--firmware",
            "rom:hello",
            "--memory",
            "1M",
            "--drive",
            "ide0-0=disk.img,latency=1ms",
            "--until",
            "instructions:5000",
            "--snapshot-out",
            "a.snap",
            "--json",
        ],
        folder.path(),
        0,
    );
    assert_eq!(made["ended_by"], "instructions:5000");
    folder
}

#[test]
fn a_loaded_run_ends_as_the_whole_one() {
    let folder = folder();
    let end = ["--until", "halt", "--json"];
    let whole = [
        &["boot", "--firmware", "rom:hello", "--memory", "1M", "--drive", "ide0-0=disk.img,latency=1ms"][..],
        &end,
    ]
    .concat();
    let expect = report(&whole, folder.path(), 0);
    for options in [&[][..], &["--plain"], &["--drive", "ide0-0=disk.img"], &["--firmware", "rom:hello"]] {
        let loaded = [&["boot", "--load", "a.snap"][..], options, &end].concat();
        let is = report(&loaded, folder.path(), 0);
        for key in ["digest", "state_digest", "instructions", "virtual_time_ns", "firmware", "memory"] {
            assert_eq!(is[key], expect[key], "{key} with {options:?}");
        }
    }
}

/// What a loaded run says of itself counts from the load, not from power-on.
#[test]
fn a_loaded_run_counts_what_it_executed() {
    let output = warmboot(&["boot", "--load", "a.snap", "--until", "instructions:6000"], folder().path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("instructions  6000, 1000 of them in this run, in "), "{text}");
}

#[test]
fn show_needs_no_disk() {
    let folder = folder();
    fs::remove_file(folder.path().join("disk.img")).expect("removed");
    let shown = report(&["snapshot", "show", "a.snap", "--json"], folder.path(), 0);
    assert_eq!(shown["config"]["drives"][0]["name"], "disk.img");
    assert_eq!(shown["instructions"], 5000);
    assert_eq!(shown["blocks"][0]["name"], "pc.ram");
    assert_eq!(shown["chips"][0]["name"], "i440fx");
    let output = warmboot(&["snapshot", "show", "a.snap"], folder.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(shown["digest"].as_str().expect("text")), "{text}");
    for word in
        ["drive         ide0-0 HardDisk `disk.img`, 1048576 bytes", "pc.rom", "rom:hello, 65536 bytes"]
    {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[rstest]
#[case::missing(&["boot", "--load", "nowhere"], "cannot read snapshot `nowhere`")]
#[case::folder(&["boot", "--load", "."], "it is no regular file")]
#[case::foreign(&["boot", "--load", "disk.img"], "not a snapshot: byte 0")]
#[case::show_foreign(&["snapshot", "show", "disk.img"], "not a snapshot: byte 0")]
#[case::empty(&["boot", "--load", "empty"], "ends at byte 0: expected at least 70")]
#[case::truncated(&["boot", "--load", "short"], "the snapshot ends at byte ")]
#[case::longer(&["boot", "--load", "long"], "1 too many")]
#[case::flipped(&["boot", "--load", "flipped"], "give checksum ")]
#[case::version(&["snapshot", "show", "later"], "has version 2 (at byte 18): expected 1")]
#[case::no_header(&["boot", "--load", "endless"], "header has 18446744073709551615 bytes (says byte 22)")]
#[case::another_image(&["boot", "--load", "a.snap", "--drive", "ide0-0=other.img"], "drive ide0-0 has an image of 1048576 bytes")]
#[case::another_slot(&["boot", "--load", "a.snap", "--drive", "ide1-0=disk.img"], "the snapshot's machine has none there")]
#[case::machine(&["boot", "--load", "a.snap", "--machine", "pc-i440fx-1.4"], "--machine contradicts the snapshot")]
#[case::memory(&["boot", "--load", "a.snap", "--memory", "2M"], "--memory contradicts the snapshot")]
#[case::firmware(&["boot", "--load", "a.snap", "--firmware", "rom:modes"], "--firmware contradicts the snapshot")]
#[case::serial(&["boot", "--load", "a.snap", "--serial"], "--serial contradicts the snapshot")]
#[case::debug_exit(&["boot", "--load", "a.snap", "--debug-exit"], "--debug-exit contradicts the snapshot")]
#[case::latency(&["boot", "--load", "a.snap", "--drive", "ide0-0=disk.img,latency=2ms"], "--drive contradicts the snapshot")]
#[case::standard(&["boot", "--firmware", "rom:hello", "--snapshot-out", "-"], "needs the name of a file")]
#[case::no_folder(&["boot", "--firmware", "rom:hello", "--snapshot-out", "no/x.snap"], "cannot write `no/x.snap`")]
#[case::same(&["boot", "--firmware", "rom:hello", "--debugcon", "x", "--snapshot-out", "x"], "--debugcon and --snapshot-out name the same file")]
fn refused(#[case] arguments: &[&str], #[case] expect: &str) {
    let folder = folder();
    let good = fs::read(folder.path().join("a.snap")).expect("the snapshot");
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let middle = good.len() / 2;
    for (name, bytes) in [
        ("empty", vec![]),
        ("short", good[..good.len() - 1].to_vec()),
        ("long", [&good[..], &[0]].concat()),
        ("flipped", changed(middle, &[!good[middle]])),
        ("later", changed(18, &[2])),
        ("endless", changed(22, &[0xff; 8])),
    ] {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let output = warmboot(arguments, folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(expect), "{message}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{message}");
}

#[test]
fn an_image_that_is_gone_is_asked_for() {
    let folder = folder();
    fs::rename(folder.path().join("disk.img"), folder.path().join("moved.img")).expect("moved");
    let output = warmboot(&["boot", "--load", "a.snap"], folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(
        message.contains("cannot read image `disk.img`") && message.contains("1048576 bytes"),
        "{message}"
    );
    let end = ["--until", "instructions:6000", "--json"];
    let load = [&["boot", "--load", "a.snap", "--drive", "ide0-0=moved.img"][..], &end].concat();
    report(&load, folder.path(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let folder = folder();
    let arguments = ["boot", "--firmware", "rom:hello", "--limit", "100", "--snapshot-out", "/dev/full"];
    let output = warmboot(&arguments, folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("cannot write `/dev/full`: No space left on device"), "{message}");
}

/// Whenever the process is killed, the file is the old one or the new one, and whole.
#[test]
fn killed_during_a_save() {
    let folder = folder();
    let path = folder.path().join("a.snap");
    let old = fs::read(&path).expect("the snapshot");
    for delay in (0..30).map(|step| step * 2) {
        let arguments = ["boot", "--firmware", "rom:hello", "--limit", "100", "--snapshot-out", "a.snap"];
        let mut child = command(&arguments, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        thread::sleep(Duration::from_millis(delay));
        // It may have ended already.
        let _ = child.kill();
        child.wait().expect("it has ended");
        let is = fs::read(&path).expect("a snapshot");
        if is != old {
            let output = warmboot(&["snapshot", "show", "a.snap"], folder.path());
            assert_eq!(output.status.code(), Some(0), "killed after {delay} ms: half a file");
            fs::write(&path, &old).expect("put back");
        }
    }
}
