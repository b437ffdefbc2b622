//! The first command of README: SeaBIOS boots, is restarted by Ctrl+Alt+Del, and boots again.

use std::{fs, process::Command, time::Instant};

use serde_json::Value;

use crate::{Failure, firmware, shell};

const LAST_WORDS: &str = "debug:No bootable device";

/// Lines of a log worth showing.
const KEY_LINES: [&str; 6] = [
    "SeaBIOS (version",
    "In resume",
    "In 32bit resume",
    "Attempting a hard reboot",
    "Booting from",
    "No bootable device",
];

/// The task.
pub fn run(_: &[String]) -> Result<(), Failure> {
    let start = Instant::now();
    firmware::ensure(&shell::firmware_folder(), &firmware::SEABIOS)?;
    shell::build("release")?;
    let logs = tempfile::tempdir()?;
    let mut first_digest = None;
    for image in ["seabios-256k", "seabios"] {
        println!("\n{image}: power-on");
        boot(image, &[], &logs.path().join("log"))?;
        println!("\n{image}: power-on, then Ctrl+Alt+Del");
        let press = format!("ctrl-alt-delete@{LAST_WORDS}");
        let digest = boot(image, &["--press", &press], &logs.path().join("log"))?;
        first_digest.get_or_insert(digest);
    }
    println!("\nseabios-256k: the same again");
    let press = format!("ctrl-alt-delete@{LAST_WORDS}");
    let again = boot("seabios-256k", &["--press", &press], &logs.path().join("log"))?;
    if first_digest.as_ref() != Some(&again) {
        return Err(format!("the second run's digest is {again}, not that of the first").into());
    }
    println!("\nThe same digest. All in {:.1} s.", start.elapsed().as_secs_f64());
    Ok(())
}

/// Boots `image` to its last words and prints what came out; gives the digest.
fn boot(image: &str, more: &[&str], log: &std::path::Path) -> Result<String, Failure> {
    let mut command = Command::new(shell::warmboot("release")?);
    command.current_dir(shell::root()).args(["boot", "--firmware", image]).args(more);
    command.args(["--until", LAST_WORDS, "--limit", "2G", "--json"]);
    println!("$ {}", shell::shown(&command));
    command.arg("--debugcon").arg(log);
    let start = Instant::now();
    let report: Value = serde_json::from_str(&shell::read(&mut command)?)?;
    let wall = start.elapsed();
    let log = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    println!("  debug log: {} lines, among them", log.lines().count());
    for line in log.lines().filter(|line| KEY_LINES.iter().any(|key| line.contains(key))) {
        println!("    {line}");
    }
    let digest = report["digest"].as_str().unwrap_or_default().to_owned();
    let instructions = report["instructions"].as_u64().unwrap_or(0);
    println!("  ended by      {}", report["ended_by"].as_str().unwrap_or_default());
    println!("  instructions  {instructions}");
    println!("  virtual time  {} ns", report["virtual_time_ns"]);
    println!(
        "  wall time     {} ms, {:.0} MIPS",
        wall.as_millis(),
        instructions as f64 / 1e6 / wall.as_secs_f64()
    );
    println!("  digest        {digest}");
    Ok(digest)
}
