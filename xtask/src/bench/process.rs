//! A whole process, timed from outside.

use std::{
    fs,
    io::{Read, Seek, Write},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{Failure, shell};

/// Seconds after which a process is taken to hang, unless another number is given.
const PATIENCE: u64 = 60;

/// One run of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(super) peak_kib: u64,
    /// Of the guest; zero where nobody counts them.
    pub(super) instructions: u64,
}

impl Sample {
    /// One of which nothing but its time is known.
    pub(crate) fn of(elapsed: Duration) -> Sample {
        Sample { seconds: elapsed.as_secs_f64(), peak_kib: 0, instructions: 0 }
    }
}

/// Runs a process to its end, or until it has printed `text`, and then ends it.
pub(super) fn timed(command: &mut Command, text: Option<&str>) -> Result<(Sample, String), Failure> {
    timed_within(command, &[], text, PATIENCE)
}

/// As [`timed`], for what may take `seconds`; each time it has printed the first text of `typed` that is left, it
/// gets the second on its standard input.
pub(crate) fn timed_within(
    command: &mut Command,
    typed: &[(&str, &str)],
    text: Option<&str>,
    seconds: u64,
) -> Result<(Sample, String), Failure> {
    // What is said there matters only when it goes wrong: ours sums up there too.
    let mut errors = tempfile::tempfile()?;
    command.stdin(if typed.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(errors.try_clone()?);
    let start = Instant::now();
    let mut child =
        command.spawn().map_err(|error| format!("cannot start `{}`: {error}", shell::shown(command)))?;
    let mut stdout = child.stdout.take().ok_or("no standard output")?;
    let (id, over, peak) = (child.id(), AtomicBool::new(false), AtomicU64::new(0));
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(peak_kib(id).unwrap_or(0), Ordering::Relaxed);
                if start.elapsed() > Duration::from_secs(seconds) {
                    let _ = Command::new("kill").arg(id.to_string()).status();
                    return;
                }
                thread::sleep(Duration::from_micros(500));
            }
        });
        let result = wait(&mut child, &mut stdout, typed, text, start, &peak);
        over.store(true, Ordering::Relaxed);
        result
    });
    let (elapsed, output) = result.map_err(|error| {
        let mut said = String::new();
        let _ = errors.rewind().and_then(|()| errors.read_to_string(&mut said));
        format!("{error}{said}")
    })?;
    let sample = Sample { seconds: elapsed.as_secs_f64(), peak_kib: peak.into_inner(), instructions: 0 };
    Ok((sample, output))
}

fn wait(
    child: &mut Child,
    stdout: &mut impl Read,
    mut typed: &[(&str, &str)],
    text: Option<&str>,
    start: Instant,
    peak: &AtomicU64,
) -> Result<(Duration, String), Failure> {
    let mut output: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    let mut input = child.stdin.take();
    // Where the next text may begin.
    let mut from = 0;
    loop {
        let count = stdout.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        output.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let end_of = |text: &str, from: usize| {
            let mut windows = output.get(from..).unwrap_or_default().windows(text.len());
            windows.position(|part| part == text.as_bytes()).map(|at| from + at + text.len())
        };
        if let [(when, what), left @ ..] = typed {
            if let (Some(end), Some(input)) = (end_of(when, from), &mut input) {
                input.write_all(what.as_bytes())?;
                (from, typed) = (end, left);
            }
        } else if text.is_some_and(|text| end_of(text, from).is_some()) {
            let elapsed = start.elapsed();
            peak.fetch_max(peak_kib(child.id()).unwrap_or(0), Ordering::Relaxed);
            child.kill()?;
            child.wait()?;
            return Ok((elapsed, String::from_utf8_lossy(&output).into_owned()));
        }
    }
    let status = child.wait()?;
    let elapsed = start.elapsed();
    let output = String::from_utf8_lossy(&output).into_owned();
    match text {
        None if status.success() => Ok((elapsed, output)),
        _ => Err(format!("a measured process ended early ({status}):\n{output}").into()),
    }
}

/// The highest resident set of a live process so far (Linux: `VmHWM` in proc(5)).
fn peak_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
