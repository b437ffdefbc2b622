//! `boot` with somebody at the terminal: what they see, what their keys do, that the run can be had again, and
//! that the terminal is as it was however it ends.

#![cfg(unix)]

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rstest::rstest;
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Termios, Winsize, tcgetattr, tcsetwinsize},
};

const CONTROL_A: &[u8] = &[1];

/// A command on a terminal of its own.
struct Seat {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    before: Termios,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Seat {
    fn new(folder: &Path, arguments: &[&str]) -> Seat {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other side");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(&name, flags, Mode::empty()).expect("its other side");
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a size");
        let before = tcgetattr(&terminal).expect("modes");
        let end = || terminal.try_clone().expect("a copy");
        let child = Command::new(env!("CARGO_BIN_EXE_warmboot"))
            .arg("boot")
            .args(arguments)
            .current_dir(folder)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the command starts");
        let keys = File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, kept) = (keys.try_clone().expect("a copy"), Arc::clone(&seen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                kept.lock().expect("whole").extend_from_slice(&bytes[..length]);
            }
        });
        Seat { child, keys, terminal, before, seen }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("whole")).into_owned()
    }

    fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.text().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(60), "{text:?} does not come:\n{:?}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).expect("it listens");
    }

    /// Waits for the end: the exit status and all that was seen. The terminal must be as it was.
    fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let _ = self.child.kill();
                panic!("it does not end:\n{:?}", self.text());
            }
            thread::sleep(Duration::from_millis(10));
        };
        let modes = |modes: &Termios| {
            let Termios { input_modes, output_modes, control_modes, local_modes, .. } = modes;
            (*input_modes, *output_modes, *control_modes, *local_modes)
        };
        let after = tcgetattr(&self.terminal).expect("modes");
        assert_eq!(modes(&after), modes(&self.before));
        self.wait_for("digest");
        let text = self.text();
        let (entered, left) = (text.matches("\x1b[?1049h").count(), text.matches("\x1b[?1049l").count());
        assert_eq!(entered, left, "the alternate screen");
        (status.code(), text)
    }
}

fn digest(text: &str) -> String {
    let line = text.lines().find_map(|line| line.trim_start_matches('\x1b').strip_prefix("digest "));
    line.unwrap_or_else(|| panic!("no digest in {text:?}")).trim().to_owned()
}

/// The digest of the same run without anybody there.
fn again(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(["boot", "--input", "input"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    digest(&text)
}

#[test]
fn com1_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let machine = ["--firmware", "rom:echo"];
    let mut seat =
        Seat::new(folder.path(), &[&machine[..], &["--serial", "stdio", "--input-out", "input"]].concat());
    seat.wait_for("ready");
    // Ctrl+C is the guest's.
    seat.press(b"abc\x03");
    seat.wait_for("abc\x03");
    seat.press(&[CONTROL_A, CONTROL_A, b"d"].concat());
    seat.wait_for("\x01d");
    seat.press(&[CONTROL_A, b"x"].concat());
    let (status, text) = seat.end();
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("ended by      quit"), "{text}");
    assert_eq!(again(folder.path(), &[&machine[..], &["--serial", "log"]].concat()), digest(&text));
}

/// No vendor's firmware: what stands in for a VGA's option ROM, nobody runs.
const VGA: [&str; 4] = ["--vga", "std", "--vga-rom", "rom:linuxboot"];

#[test]
fn keys_reach_the_guest_and_the_run_can_be_had_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let machine = [&["--firmware", "rom:hello"][..], &VGA].concat();
    let live = ["--screen", "--debugcon", "log", "--input-out", "input"];
    let mut seat = Seat::new(folder.path(), &[&machine[..], &live].concat());
    // It waits for a key, and nothing else could wake it.
    seat.wait_for("halted");
    seat.press(b"a\x1b[A");
    seat.press(CONTROL_A);
    seat.wait_for("x: quit");
    seat.press(b"d");
    thread::sleep(Duration::from_millis(500));
    seat.press(&[CONTROL_A, b"x"].concat());
    let (status, text) = seat.end();
    assert_eq!(status, Some(0), "{text}");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log.contains("Ctrl+Alt+Del") && log.contains("start 0002"), "{log}");
    let input = std::fs::read_to_string(folder.path().join("input")).expect("a recording");
    // What the menu presses waits for no room.
    let mut what: Vec<&str> = input.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).collect();
    what.sort_unstable();
    assert_eq!(what, ["press a", "press ctrl-alt-delete", "press up", "quit"]);
    assert_eq!(again(folder.path(), &machine), digest(&text));
}

/// Whoever watches a recording need not wait for its end.
#[rstest]
#[case::screen(&["--screen", "--vga", "std", "--vga-rom", "rom:linuxboot"], "\x1b[?1049h")]
#[case::com1(&["--serial", "stdio"], "")]
fn quitting_while_a_recording_is_replayed(#[case] live: &[&str], #[case] wait: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    // A firmware that jumps to itself, and a recording that goes on for hours.
    let mut firmware = vec![0; 64 << 10];
    firmware[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]);
    std::fs::write(folder.path().join("loop.bin"), firmware).expect("a file");
    std::fs::write(folder.path().join("input"), "instructions:9000000000000 time:9000000000000ns quit\n")
        .expect("a file");
    let mut seat =
        Seat::new(folder.path(), &[&["--firmware", "loop.bin", "--input", "input"], live].concat());
    seat.wait_for(wait);
    // Whatever comes before it listens is lost.
    while seat.child.try_wait().expect("a child").is_none() {
        seat.press(&[CONTROL_A, b"x"].concat());
        thread::sleep(Duration::from_millis(100));
    }
    let (status, text) = seat.end();
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("ended by      quit"), "{text}");
}

#[test]
fn the_end_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let machine = [&["--firmware", "rom:display", "--screen"][..], &VGA].concat();
    let mut seat = Seat::new(folder.path(), &machine);
    seat.wait_for("shown by rom:display");
    seat.wait_for("ended by halt: any key leaves");
    seat.press(b" ");
    let (status, text) = seat.end();
    assert_eq!(status, Some(0), "{text}");
}

#[rstest]
#[case::screen(&["--firmware", "rom:hello", "--screen", "--vga", "std", "--vga-rom", "rom:linuxboot"], "halted")]
#[case::com1(&["--firmware", "rom:echo", "--serial", "stdio"], "ready")]
fn a_signal_leaves_a_whole_terminal(#[case] arguments: &[&str], #[case] wait: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let seat = Seat::new(folder.path(), arguments);
    seat.wait_for(wait);
    let child = Pid::from_child(&seat.child);
    kill_process(child, Signal::TERM).expect("it is there");
    let (status, text) = seat.end();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("interrupted"), "{text}");
}

#[test]
fn a_limit_leaves_a_whole_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let seat =
        Seat::new(folder.path(), &["--firmware", "rom:echo", "--serial", "stdio", "--limit-time", "300ms"]);
    let (status, text) = seat.end();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("the limit of 0.300000000 s of virtual time was met"), "{text}");
}
