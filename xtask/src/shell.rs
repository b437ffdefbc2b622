//! Running other programs, and where things are.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::Failure;

/// The top of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder for downloaded firmware.
pub fn firmware_folder() -> PathBuf {
    root().join("firmware")
}

/// The folders of scenarios that are over in seconds, from the top of the checkout: all but the payloads.
pub fn short_scenarios() -> io::Result<Vec<String>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root().join("scenarios"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && name != "payloads" {
            folders.push(format!("scenarios/{name}"));
        }
    }
    folders.sort();
    Ok(folders)
}

/// The `warmboot` command as built with `profile` (`debug` or `release`), beside this program.
pub fn warmboot(profile: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).ok_or("this program is in no target folder")?;
    Ok(target.join(profile).join(format!("warmboot{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds the command with `profile` (`dev` or `release`). This program is built with it: asked for alone, the
/// command's dependencies would have fewer features than as this one's, and all would be compiled again.
pub fn build(profile: &str) -> Result<(), Failure> {
    let packages = ["--package", "warmboot", "--package", "xtask"];
    run(cargo().args(["build", "--quiet", "--profile", profile]).args(packages))
}

/// Whether `program` can be started at all.
pub fn is_installed(program: &str) -> bool {
    let started = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_ok()
}

/// `cargo` as this was started with, at the top of the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let word = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
        if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
    };
    let program = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    let words: Vec<String> = std::iter::once(word(program)).chain(command.get_args().map(word)).collect();
    words.join(" ")
}

/// Runs to the end with our own output; fails when it fails.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command)).into()) }
}

/// Runs to the end and keeps its output, whatever its status.
pub fn output(command: &mut Command) -> Result<Output, Failure> {
    command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))
}

/// Runs to the end and gives its standard output; fails when it fails.
pub fn read(command: &mut Command) -> Result<String, Failure> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` failed: {}\n{}", shown(command), output.status, message.trim_end()).into())
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    format!("cannot start `{}`: {error}", shown(command)).into()
}

/// A seed for a sampled check that was given none: the time. It is printed, so that the same sample can
/// be asked for again.
pub fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_nanos() as u64)
}
