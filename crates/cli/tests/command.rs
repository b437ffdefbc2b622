//! The command as users meet it: exit statuses, what goes where, and bad input of every kind.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use rstest::rstest;

fn started(arguments: &[&str], folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

fn warmboot(arguments: &[&str], folder: &Path) -> Output {
    started(arguments, folder).wait_with_output().expect("the command ends")
}

/// A folder with files to be refused.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("a file");
    write("empty.bin", &[]);
    write("odd.bin", &[0; 1000]);
    write("huge.bin", &vec![0; (16 << 20) + 65536]);
    write("bad.toml", b"[[step]]\nrun-untill = \"halt\"\n");
    write("not-text.toml", &[0xff, 0xfe]);
    write("no-rom.toml", b"[machine]\nfirmware = \"rom:nothing\"\n[[step]]\nrun-until = \"halt\"\n");
    fs::create_dir(folder.path().join("nothing")).expect("a folder");
    folder
}

#[rstest]
#[case::no_command(&[], "Usage")]
#[case::unknown_command(&["bot"], "bot")]
#[case::firmware_missing(&["boot", "--firmware", "nowhere.bin"], "cannot read firmware `nowhere.bin`")]
#[case::firmware_directory(&["boot", "--firmware", "./nothing"], "is a directory")]
#[case::firmware_empty(&["boot", "--firmware", "empty.bin"], "is empty")]
#[case::firmware_odd(&["boot", "--firmware", "odd.bin"], "multiple of 64 KiB")]
#[case::firmware_huge(&["boot", "--firmware", "huge.bin"], "more than 16 MiB")]
#[case::firmware_name(&["boot", "--firmware", "seabois"], "did you mean `seabios`")]
#[case::rom_name(&["boot", "--firmware", "rom:helo"], "did you mean `hello`")]
#[case::firmware_dir(&["boot", "--firmware-dir", "nowhere"], "is not a folder")]
#[case::machine(&["boot", "--machine", "pc-i440fx-9", "--firmware", "rom:hello"], "unknown machine `pc-i440fx-9`")]
#[case::emulator(&["boot", "--emulator", "kvm", "--firmware", "rom:hello"], "unknown emulator `kvm`")]
#[case::cpu(&["boot", "--cpu", "z80", "--firmware", "rom:hello"], "z80")]
#[case::cpus(&["boot", "--cpus", "many", "--firmware", "rom:hello"], "--cpus")]
#[case::no_memory(&["boot", "--memory", "0", "--firmware", "rom:hello"], "memory")]
#[case::memory_5_tib(&["boot", "--memory", "5T", "--firmware", "rom:hello"], "memory")]
#[case::memory_overflow(&["boot", "--memory", "99999999999999999999T", "--firmware", "rom:hello"], "memory")]
#[case::drive_missing(&["boot", "--firmware", "rom:hello", "--drive", "ide0-0=nowhere.img"], "cannot read image `nowhere.img`")]
#[case::drive_slot(&["boot", "--firmware", "rom:hello", "--drive", "ide7-0=zero:1M"], "ide7-0")]
#[case::drive_syntax(&["boot", "--firmware", "rom:hello", "--drive", "disk.img"], "SLOT=IMAGE")]
#[case::drive_twice(&["boot", "--firmware", "rom:hello", "--drive", "ide1-0=zero:1M", "--cdrom", "rom:cd-hello"], "two drives at ide1-0")]
#[case::condition(&["boot", "--until", "debgu:x"], "unknown condition `debgu:x`")]
#[case::limit(&["boot", "--limit", "lots"], "`lots` is not a count")]
#[case::limit_time(&["boot", "--limit-time", "5"], "`5` is not a time")]
#[case::press(&["boot", "--press", "a"], "KEY@CONDITION")]
#[case::press_key(&["boot", "--press", "nokey@halt"], "nokey")]
#[case::reset(&["boot", "--reset", "hammer@halt"], "unknown reset path `hammer`")]
#[case::debugcon(&["boot", "--firmware", "rom:hello", "--debugcon", "no/where/log"], "cannot write `no/where/log`")]
#[case::debugcon_message(&["boot", "--firmware", "rom:hello", "--debugcon", "no/log"], "`no/log`: No such file or directory (os error 2)\n")]
#[case::debugcon_folder(&["boot", "--firmware", "rom:hello", "--debugcon", "nothing"], "cannot write `nothing`: it is a directory\n")]
#[case::debugcon_no_name(&["boot", "--firmware", "rom:hello", "--debugcon", ""], "'--debugcon <FILE>'")]
#[case::serial_no_name(&["boot", "--firmware", "rom:hello", "--serial", ""], "'--serial [<FILE>]'")]
#[case::snapshot_no_name(&["boot", "--firmware", "rom:hello", "--snapshot-out", ""], "'--snapshot-out <FILE>'")]
#[case::json_no_name(&["run", "no-rom.toml", "--json", ""], "'--json <FILE>'")]
#[case::junit_no_name(&["run", "no-rom.toml", "--junit", ""], "'--junit <FILE>'")]
#[case::html_no_name(&["run", "no-rom.toml", "--html", ""], "'--html <FILE>'")]
#[case::same_file_by_two_names(&["boot", "--firmware", "rom:hello", "--debugcon", "log", "--serial", "./log"], "name the same file")]
#[case::same_file(&["boot", "--firmware", "rom:hello", "--debugcon", "log", "--serial", "log"], "name the same file")]
#[case::debug_exit(&["boot", "--firmware", "rom:hello", "--debug-exit=+4"], "expected a port")]
#[case::gdb(&["boot", "--firmware", "rom:hello", "--gdb", "nonsense"], "--gdb `nonsense`: expected ADDRESS:PORT")]
#[case::gdb_port(&["boot", "--firmware", "rom:hello", "--gdb", "localhost:gdb"], "expected ADDRESS:PORT")]
#[case::screen(&["boot", "--firmware", "rom:hello", "--screen"], "--screen needs a terminal")]
#[case::gdb_and_input(&["boot", "--firmware", "rom:hello", "--serial", "stdio", "--gdb", "127.0.0.1:0"], "--serial stdio needs a run without --gdb")]
#[case::input_missing(&["boot", "--firmware", "rom:hello", "--input", "nowhere"], "--input `nowhere`: No such file")]
#[case::input_bad(&["boot", "--firmware", "rom:hello", "--input", "bad.toml"], "--input `bad.toml`: line 1, `[[step]]`: expected instructions:N")]
#[case::vga(&["boot", "--firmware", "rom:hello", "--vga", "cirrus"], "unknown vga `cirrus`; expected one of none, std")]
#[case::option_rom_directory(&["boot", "--firmware", "rom:hello", "--option-rom", "./nothing"], "is a directory; expected an image file")]
#[case::run_same_place(&["run", "no-rom.toml", "--json", "-", "--junit", "-"], "name the same place")]
#[case::run_same_file(&["run", "no-rom.toml", "--json", "a", "--html", "a"], "--json and --html name the same place")]
#[case::run_keep(&["run", "no-rom.toml", "--keep", "empty.bin/x"], "cannot make the folder `empty.bin/x`")]
#[case::run_accept(&["run", "no-rom.toml", "--accept"], "none of these scenarios says `accept")]
#[case::run_html(&["run", "no-rom.toml", "--html", "no/where.html"], "cannot write `no/where.html`")]
#[case::run_annotations(&["run", "no-rom.toml", "--annotations", "gitlab"], "gitlab")]
#[case::run_nothing(&["run", "nowhere"], "cannot read `nowhere`")]
#[case::run_empty_folder(&["run", "nothing"], "no scenario (*.toml) in `nothing`")]
#[case::run_bad(&["run", "bad.toml"], "bad.toml:2:1")]
#[case::run_not_text(&["run", "not-text.toml"], "not-text.toml:1:1")]
#[case::run_jobs(&["run", "bad.toml", "--jobs", "0"], "--jobs")]
#[case::run_filter(&["run", "no-rom.toml", "--filter", "zzz"], "matches none of 1 cases")]
fn bad_input(#[case] arguments: &[&str], #[case] expect: &str) {
    let folder = folder();
    let output = warmboot(arguments, folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(expect), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    assert!(
        output.stdout.is_empty(),
        "data on standard output: {:?}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn a_case_that_cannot_run_is_bad_input() {
    let folder = folder();
    let output = warmboot(&["run", "no-rom.toml"], folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("unknown test ROM `nothing`") && text.contains("0 passed, 1 failed"), "{text}");
}

#[rstest]
#[case::met(&["--until", "debug:No bootable device"], 0, "debug:No bootable device")]
#[case::limit(&["--limit", "100"], 1, "limit")]
#[case::named_limit(&["--until", "instructions:100"], 0, "instructions:100")]
#[case::both(&["--until", "instructions:100", "--limit", "100"], 0, "instructions:100")]
#[case::time(&["--limit-time", "5us"], 1, "limit-time")]
fn ends(#[case] arguments: &[&str], #[case] status: i32, #[case] ended_by: &str) {
    let folder = folder();
    let arguments = [&["boot", "--firmware", "rom:hello", "--json"], arguments].concat();
    let output = warmboot(&arguments, folder.path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["ended_by"], ended_by);
    for key in ["digest", "state_digest"] {
        let digest = report[key].as_str().expect("text");
        assert!(digest.len() == 64 && digest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{digest}");
    }
    for key in ["instructions", "virtual_time_ns", "wall_ms"] {
        assert!(report[key].is_u64(), "{key}: {report}");
    }
}

#[test]
fn the_second_boot_is_waited_for() {
    let folder = folder();
    let arguments = [
        "boot",
        "--firmware",
        "rom:hello",
        "--debugcon",
        "log",
        "--press",
        "ctrl-alt-delete@debug:No bootable device",
        "--until",
        "debug:No bootable device",
        "--limit",
        "2G",
    ];
    let output = warmboot(&arguments, folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(folder.path().join("log")).expect("the log");
    assert_eq!(log.matches("No bootable device").count(), 2, "{log}");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let folder = folder();
    for arguments in [&["machines"][..], &["memory-map", "--firmware", "rom:hello"]] {
        let mut child = started(arguments, folder.path());
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the command ends");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{message}");
    }
}

#[test]
fn machines_says_how_they_differ() {
    let folder = folder();
    let output = warmboot(&["machines"], folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for line in [
        "an instruction that CPUID does not offer raises #UD",
        "I/O APIC version",
        "signature",
        "0x00060fb1",
        "DMA through fw_cfg",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

/// A read-only file system, on which tempfile would name its own file.
#[cfg(target_os = "linux")]
#[rstest]
#[case::debugcon(&["boot", "--firmware", "rom:hello", "--debugcon", "/sys/x"], "/sys/x")]
#[case::html(&["run", "no-rom.toml", "--html", "/proc/x"], "/proc/x")]
fn a_folder_that_takes_no_file_is_said(#[case] arguments: &[&str], #[case] name: &str) {
    let output = warmboot(arguments, folder().path());
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    let start = format!("error: cannot write `{name}`: ");
    assert!(message.starts_with(&start) && !message.contains(".warmboot-"), "{message}");
}

/// Standard output has other names; what goes there is not mixed with the report.
#[cfg(target_os = "linux")]
#[rstest]
#[case::pipe("/dev/stdout", false)]
#[case::descriptor("/proc/self/fd/1", false)]
#[case::file("/dev/stdout", true)]
#[case::file_by_its_name("out", true)]
fn standard_output_by_another_name(#[case] name: &str, #[case] to_file: bool) {
    let folder = folder();
    let run = |option| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warmboot"));
        command.args(["boot", "--firmware", "rom:hello", option, name]).current_dir(folder.path());
        if to_file {
            command.stdout(fs::File::create(folder.path().join("out")).expect("a file"));
        }
        let output = command.output().expect("the command runs");
        let data = if to_file { fs::read(folder.path().join("out")).expect("read") } else { output.stdout };
        (output.status.code(), String::from_utf8_lossy(&data).into_owned(), output.stderr)
    };
    let (status, log, message) = run("--debugcon");
    assert_eq!(status, Some(0));
    assert!(log.contains("No bootable device") && !log.contains("digest"), "{log}");
    assert!(String::from_utf8_lossy(&message).contains("state digest"));
    let (status, data, message) = run("--snapshot-out");
    assert_eq!((status, data.as_str()), (Some(2), ""));
    assert!(String::from_utf8_lossy(&message).contains("standard output is for the report"));
}

/// Ctrl+C ends a run that would go on for hours, at once, with one message and whole reports.
#[cfg(target_os = "linux")]
#[rstest]
#[case::boot(&["boot", "--firmware", "loop.bin"], "interrupted\n")]
#[case::survivors(
    &["snapshot", "survivors", "--firmware", "loop.bin", "--reset", "system", "--until", "port:0x80", "--limit", "9000G"],
    "interrupted\n"
)]
#[case::run_survivors(
    &["run", "loop.toml", "--junit", "report.xml"],
    "interrupted: 1 of 1 cases did not run to their end\n"
)]
fn interrupted(#[case] arguments: &[&str], #[case] expect: &str) {
    let folder = folder();
    let mut image = vec![0x90; 64 << 10];
    // jmp $ at the reset vector.
    image[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]);
    fs::write(folder.path().join("loop.bin"), image).expect("a file");
    let scenario = "[machine]\nfirmware = \"loop.bin\"\n[[step]]\n\
                    survivors = { reset = \"system\", until = \"port:0x80\", limit = \"9000G\" }\n\
                    [[step]]\nexpect = { disks = 1 }\n";
    fs::write(folder.path().join("loop.toml"), scenario).expect("a file");
    let child = started(arguments, folder.path());
    let process = child.id().to_string();
    // Bit 1 of the signals that are caught: before that, Ctrl+C ends the process as ever.
    let listens = || {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("signals");
        u64::from_str_radix(caught.trim(), 16).expect("a number") & 2 != 0
    };
    while !listens() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sent = Command::new("kill").args(["-INT", &process]).status().expect("kill is there");
    assert!(sent.success());
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), expect);
    if let Ok(report) = fs::read_to_string(folder.path().join("report.xml")) {
        assert!(report.trim_end().ends_with("</testsuites>"), "{report}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let folder = folder();
    let scenario = "[machine]\nfirmware = \"rom:hello\"\n[[step]]\nrun-until = \"halt\"\n";
    fs::write(folder.path().join("ok.toml"), scenario).expect("a file");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(["run", "ok.toml"])
        .current_dir(folder.path())
        .stdout(full)
        .output()
        .expect("the command runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("cannot write to standard output"), "{message}");
}

#[test]
fn run_accepts_and_then_compares() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenario = "accept = [\"debug\"]\n[machine]\nfirmware = \"rom:hello\"\n[[step]]\n\
                    run-until = \"debug:No bootable device\"\nlimit = \"+50M\"\n";
    fs::write(folder.path().join("x.toml"), scenario).expect("a file");
    let status = |arguments: &[&str]| warmboot(arguments, folder.path()).status.code();
    assert_eq!(status(&["run", "x.toml"]), Some(1), "nothing is accepted yet");
    assert_eq!(status(&["run", "x.toml", "--accept"]), Some(0));
    let path = folder.path().join("x.accepted.json");
    let accepted = fs::read_to_string(&path).expect("written");
    assert!(accepted.contains("No bootable device"), "{accepted}");
    assert_eq!(status(&["run", "x.toml"]), Some(0));
    fs::write(&path, accepted.replace("No bootable", "One bootable")).expect("written");
    let output =
        warmboot(&["run", "x.toml", "--html", "page.html", "--annotations", "github"], folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("-One bootable device") && text.contains("::error file=x.toml"), "{text}");
    let page = fs::read_to_string(folder.path().join("page.html")).expect("written");
    assert!(page.contains("-One bootable device") && page.ends_with("</html>\n"));
}

#[test]
fn run_prints_a_schema() {
    let output = warmboot(&["run", "--schema"], Path::new("."));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0));
    assert!(schema.pointer("/properties/machine/properties/firmware/description").is_some());
}

/// What comes from standard input goes to COM1; `--input` has the same run again, on either path, and what is
/// not of this run is refused.
#[test]
fn standard_input_is_com1() {
    let folder = folder();
    let run = |input: Option<&[u8]>, arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_warmboot"))
            .args(["boot", "--firmware", "rom:echo", "--debugcon", "log"])
            .args(arguments)
            .current_dir(folder.path())
            .stdin(input.map_or(Stdio::null(), |_| Stdio::piped()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        if let Some(input) = input {
            child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        }
        let output = child.wait_with_output().expect("the command ends");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let digest = message.lines().find(|line| line.starts_with("digest")).map(str::to_owned);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), digest, message)
    };
    let typed = format!("{}\0\u{1}xq", "more than its FIFO holds; ".repeat(8));
    let first = run(Some(typed.as_bytes()), &["--serial", "stdio", "--input-out", "input"]);
    assert_eq!((first.0, first.1.as_str()), (Some(0), format!("ready\r\n{typed}").as_str()), "{}", first.3);
    for arguments in [&["--plain"][..], &["--trace-io", "io.txt"], &["--input-out", "again"]] {
        let again = run(None, &[&["--serial", "-", "--input", "input"], arguments].concat());
        assert_eq!((&again.0, &again.1, &again.2), (&first.0, &first.1, &first.2), "{}", again.3);
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    assert_eq!(read("input"), read("again"));
    fs::write(folder.path().join("other"), "instructions:1000 time:1ns close").expect("a file");
    let (status, _, _, message) = run(None, &["--serial", "-", "--input", "other"]);
    assert!(status == Some(2) && message.contains("is not of this machine and run"), "{message}");

    // What comes from a file comes at the same moments each time.
    fs::write(folder.path().join("typed"), &typed).expect("a file");
    let from_file = |name: &str| {
        let file = fs::File::open(folder.path().join("typed")).expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_warmboot"))
            .args(["boot", "--firmware", "rom:echo", "--serial", "stdio", "--input-out", name])
            .current_dir(folder.path())
            .stdin(file)
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(0));
        read(name)
    };
    assert_eq!(from_file("one"), from_file("two"));
}
