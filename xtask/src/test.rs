//! The second command of README: everything that must pass, in one go.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use serde_json::Value;

use crate::{Failure, firmware, shell};

/// Runs of one boot whose digests must be one.
const RUNS: usize = 100;

/// One check: a name and what to do.
type Check = (&'static str, fn() -> Result<(), Failure>);

const CHECKS: &[Check] = &[
    ("format", || shell::run(shell::cargo().args(["fmt", "--all", "--check"]))),
    ("lints", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        shell::run(shell::cargo().args(arguments))
    }),
    ("documentation", || {
        let arguments = ["doc", "--workspace", "--no-deps", "--quiet"];
        shell::run(shell::cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("firmware", || firmware::ensure(&shell::firmware_folder(), &firmware::SEABIOS)),
    ("unit and integration tests", || shell::run(shell::cargo().args(["test", "--workspace", "--quiet"]))),
    // The tests have built the command with debug assertions.
    ("build", || shell::build("release")),
    ("scenarios", scenarios),
    ("payloads", crate::payloads::sample),
    ("digest over 100 runs", hundred_runs),
    ("digest of debug and release, cached, plain and traced", builds_and_paths),
    ("a flipped bit is noticed", flipped_bit),
    ("saved, loaded in a new process, run on", crate::save_restore::sample),
    ("changed facts and left-out steps are noticed", crate::mutation::sample),
    ("parity with QEMU", || Ok(crate::parity::run(&[])?)),
    ("memory map against QEMU's", || Ok(crate::memory_map::run(&[])?)),
    ("recorded processor tests", || crate::run_vectors(&[])),
    ("random instructions beside the host's processor", crate::silicon::sample),
    ("random processors", crate::fuzz::sample),
];

/// Those that `--quick` leaves out.
const SLOW: [&str; 3] = ["documentation", "payloads", "digest over 100 runs"];

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let quick = match arguments {
        [] => false,
        [one] if one == "--quick" => true,
        _ => return Err("expected nothing or --quick".into()),
    };
    let mut failed = Vec::new();
    let mut passed = 0;
    for (name, check) in CHECKS.iter().filter(|(name, _)| !(quick && SLOW.contains(name))) {
        println!("\n== {name}");
        let start = Instant::now();
        match check() {
            Ok(()) => {
                passed += 1;
                println!("== {name}: passed in {:.1} s", start.elapsed().as_secs_f64());
            }
            Err(failure) => {
                println!("== {name}: FAILED\n{failure}");
                failed.push(*name);
            }
        }
    }
    println!("\n{passed} passed, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

/// The command as built with `profile`, at the top of the checkout.
fn warmboot(profile: &str) -> Result<Command, Failure> {
    let mut command = Command::new(shell::warmboot(profile)?);
    command.current_dir(shell::root());
    Ok(command)
}

/// All scenarios pass, and `--jobs` changes no result.
fn scenarios() -> Result<(), Failure> {
    let folders = shell::short_scenarios()?;
    let folder = tempfile::tempdir()?;
    let mut results = BTreeSet::new();
    for jobs in ["1", "2", "8"] {
        let json = folder.path().join(jobs);
        let mut command = warmboot("release")?;
        shell::run(command.arg("run").args(&folders).args(["--jobs", jobs, "--json"]).arg(&json))?;
        results.insert(without_wall(serde_json::from_slice(&fs::read(&json)?)?).to_string());
    }
    one(&results, "results with --jobs 1, 2 and 8")
}

/// A report without the times that differ from run to run.
fn without_wall(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.remove("wall_ms");
            for member in members.values_mut() {
                *member = without_wall(member.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_wall(item.take());
            }
        }
        _ => {}
    }
    value
}

/// The report of a boot with a restart in the middle, without its wall time.
fn report(profile: &str, firmware: &Path, more: &[&str]) -> Result<String, Failure> {
    let mut command = warmboot(profile)?;
    command.args(["boot", "--json", "--limit", "2G", "--until", "debug:No bootable device"]);
    command
        .args(["--press", "ctrl-alt-delete@debug:No bootable device", "--firmware"])
        .arg(firmware)
        .args(more);
    Ok(without_wall(serde_json::from_str(&shell::read(&mut command)?)?).to_string())
}

fn hundred_runs() -> Result<(), Failure> {
    let image = shell::firmware_folder().join("bios-256k.bin");
    let mut reports = BTreeSet::new();
    for _ in 0..RUNS {
        reports.insert(report("release", &image, &[])?);
    }
    one(&reports, "reports of 100 runs")
}

fn builds_and_paths() -> Result<(), Failure> {
    for image in ["bios-256k.bin", "bios.bin"] {
        let image = shell::firmware_folder().join(image);
        let mut reports = BTreeSet::new();
        for profile in ["release", "debug"] {
            reports.insert(report(profile, &image, &[])?);
        }
        reports.insert(report("release", &image, &["--plain"])?);
        let folder = tempfile::tempdir()?;
        let file = |name: &str, options: &str| format!("{}{options}", folder.path().join(name).display());
        let (steps, accesses) = (file("steps", ",from=1M,to=1500K"), file("accesses", ""));
        reports.insert(report("release", &image, &["--trace", &steps, "--trace-io", &accesses])?);
        one(&reports, "reports of debug, release, plain and traced")?;
    }
    Ok(())
}

/// The comparison above is worth something: a firmware with one bit flipped where nothing reads it
/// gives another digest.
fn flipped_bit() -> Result<(), Failure> {
    let mut image = fs::read(shell::firmware_folder().join("bios-256k.bin"))?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bios.bin");
    fs::write(&path, &image)?;
    let mut reports = BTreeSet::from([report("release", &path, &[])?]);
    // SeaBIOS is at the end of its image; the beginning is padding.
    *image.first_mut().ok_or("an empty image")? ^= 1;
    fs::write(&path, &image)?;
    reports.insert(report("release", &path, &[])?);
    if one(&reports, "reports").is_err() {
        Ok(())
    } else {
        Err("a flipped bit left the digest as it was".into())
    }
}

/// There must be exactly one of what should be equal.
fn one(results: &BTreeSet<String>, what: &str) -> Result<(), Failure> {
    if results.len() == 1 {
        return Ok(());
    }
    let shown: Vec<&str> = results.iter().map(String::as_str).collect();
    Err(format!("{} different {what}:\n{}", results.len(), shown.join("\n")).into())
}
