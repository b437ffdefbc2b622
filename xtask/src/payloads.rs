//! `cargo xtask payloads`: real programs on our machines. They are fetched, run as the scenarios of
//! `scenarios/payloads` say, and booted again: whole, forked in the middle, and saved there and gone on with in a
//! new process. All of it must end in one digest. Variables that OVMF and a person at its
//! shell set must be in the flash chip's file, and in the next boot.
//! With a part of a program's name after it, `--run` does the second for that program alone.
//! `--compare` holds their text beside QEMU's.

mod compare;

use std::{fs, process::Command};

use crate::{
    Failure, firmware, made,
    programs::{PROGRAMS, Program},
    shell,
};

/// The scenarios that `cargo xtask test` has time for, and the one in which a variable outlives a reset.
const QUICK: &[&str] = &[
    "linux-cloud-amd64.toml",
    "linux-four-processors.toml",
    "ovmf-shell.toml",
    "u-boot.toml",
    "xen.toml",
    "isolinux.toml",
    "bochs-vgabios.toml",
    "ovmf-variables.toml",
];
/// The folder of the scenarios; some programs have several.
const SCENARIOS: &str = "scenarios/payloads";

/// The task: fetches the payloads and, with `--run`, boots them all.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    // What is asked for is looked at before a quarter of a gigabyte is fetched.
    let (what, text) = match arguments {
        [] => ("", ""),
        [what] => (what.as_str(), ""),
        [what, text] => (what.as_str(), text.as_str()),
        _ => ("more than that", ""),
    };
    if !["", "--run", "--compare"].contains(&what) {
        return Err("expected nothing, --run [PROGRAM] or --compare [PROGRAM]".into());
    }
    let programs = programs_with(text)?;
    firmware::run_all()?;
    made::ensure()?;
    if what.is_empty() {
        return Ok(());
    }
    shell::build("release")?;
    if what == "--compare" {
        return compare::run(programs);
    }
    if text.is_empty() {
        scenarios([SCENARIOS.to_owned()])?;
    }
    programs.into_iter().try_for_each(one_digest)?;
    if text.is_empty() { kept_variables() } else { Ok(()) }
}

/// The programs whose names have `text` in them.
fn programs_with(text: &str) -> Result<Vec<&'static Program>, Failure> {
    let found: Vec<&Program> = PROGRAMS.iter().filter(|program| program.name.contains(text)).collect();
    if found.is_empty() {
        let names: Vec<&str> = PROGRAMS.iter().map(|program| program.name).collect();
        return Err(format!("no program has `{text}` in its name; there are {}", names.join("; ")).into());
    }
    Ok(found)
}

/// What `cargo xtask test` has time for.
pub fn sample() -> Result<(), Failure> {
    made::ensure()?;
    scenarios(QUICK.iter().map(|name| format!("{SCENARIOS}/{name}")))?;
    PROGRAMS.iter().filter(|program| program.quick).try_for_each(one_digest)?;
    kept_variables()
}

fn warmboot() -> Result<Command, Failure> {
    let mut command = Command::new(shell::warmboot("release")?);
    command.current_dir(shell::root());
    Ok(command)
}

/// Runs scenarios; a payload that is not here fails its case, which says how to fetch it.
fn scenarios(files: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    shell::run(warmboot()?.arg("run").args(files).args(["--jobs", "2"]))
}

/// Boots a program whole and forked in the middle, and once more with a new process there.
fn one_digest(program: &Program) -> Result<(), Failure> {
    println!("payloads: {}: {}", program.name, program.one_digest()?);
    Ok(())
}

/// Sets a variable in OVMF's shell, and asks for it in a new process that has nothing but the chip's file.
fn kept_variables() -> Result<(), Failure> {
    const NAME: &str = "kept";
    const GUID: &str = "70696b73-1234-5678-9abc-def012345678";
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("vars.fd");
    let fetched = fs::read(shell::firmware_folder().join("OVMF_VARS_4M.fd"))?;
    fs::write(&file, &fetched)?;
    let type_and_wait = |typed: &str, until: &str| -> Result<u64, Failure> {
        let mut command = warmboot()?;
        command.args(["boot", "--json", "--limit", "30G", "--pflash", "ovmf-code,readonly", "--pflash"]);
        command
            .arg(format!("{},write-back", file.display()))
            .arg("--serial")
            .arg(folder.path().join("serial"));
        command.arg("--type").arg(format!("{typed}\n@serial:Shell>")).args(["--until", until]);
        let report: serde_json::Value = serde_json::from_str(&shell::read(&mut command)?)?;
        report["instructions"].as_u64().ok_or_else(|| "no `instructions` in the report".into())
    };
    let first = type_and_wait(&format!("setvar {NAME} -guid {GUID} -nv -bs =4b455054"), "serial:Shell>")?;
    let written = fs::read(&file)?;
    // OVMF's own, from its first boot, and ours.
    for name in ["BootOrder", NAME] {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let has = |bytes: &[u8]| bytes.windows(wide.len()).any(|part| part == wide);
        if has(&fetched) || !has(&written) {
            return Err(format!("OVMF: the variable `{name}` is not written to the chip's file").into());
        }
    }
    let second = type_and_wait(&format!("setvar {NAME} -guid {GUID}"), "serial:4B 45 50 54")?;
    println!("payloads: OVMF's variables: set in {first} instructions, there in the next boot's {second}");
    Ok(())
}
