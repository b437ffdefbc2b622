//! `cargo xtask payloads`: real programs on our machines. Linux kernels and OVMF are fetched, run as the
//! scenarios of `scenarios/payloads` say, and booted twice more: once whole, and once saved in the middle
//! and gone on with in a new process. All of it must end in one digest. Variables that OVMF and a person at its
//! shell set must be in the flash chip's file, and in the next boot.
//! `--compare` holds their text beside QEMU's.

mod compare;

use std::{collections::BTreeSet, fs, process::Command};

use crate::{Failure, firmware, made, programs, shell};

/// A program that is booted.
struct Payload {
    name: &'static str,
    /// Its scenario.
    scenario: &'static str,
    /// `cargo xtask test` has time for it.
    quick: bool,
    /// Options of the machine.
    machine: &'static [&'static str],
    until: &'static str,
    /// Where it is saved: a number of instructions.
    middle: &'static str,
}

const CONSOLE: [&str; 2] = ["--append", "console=ttyS0"];

const PAYLOADS: &[Payload] = &[
    Payload {
        name: "Linux, x86-64",
        scenario: "linux-cloud-amd64.toml",
        quick: true,
        machine: programs::LINUX,
        until: "serial:end Kernel panic",
        middle: "instructions:900M",
    },
    Payload {
        name: "Linux, x86-64, four processors",
        scenario: "linux-four-processors.toml",
        quick: true,
        machine: &[
            "--kernel",
            "linux-cloud-amd64",
            CONSOLE[0],
            CONSOLE[1],
            "--cpu",
            "haswell",
            "--cpus",
            "4",
        ],
        until: "serial:end Kernel panic",
        middle: "instructions:900M",
    },
    Payload {
        name: "OVMF",
        scenario: "ovmf-shell.toml",
        quick: true,
        machine: programs::OVMF,
        until: "serial:Shell>",
        middle: "instructions:500M",
    },
    Payload {
        name: "Linux, 686",
        scenario: "linux-686.toml",
        quick: false,
        machine: &["--kernel", "linux-686", CONSOLE[0], CONSOLE[1]],
        until: "serial:end Kernel panic",
        middle: "instructions:5500M",
    },
    Payload {
        name: "U-Boot",
        scenario: "u-boot.toml",
        quick: true,
        machine: programs::U_BOOT,
        until: "serial:=> ",
        middle: "instructions:150M",
    },
    Payload {
        name: "Xen",
        scenario: "xen.toml",
        quick: true,
        machine: programs::XEN,
        until: "serial:Reboot in",
        middle: "instructions:5900K",
    },
    Payload {
        name: "ISOLINUX",
        scenario: "isolinux.toml",
        quick: true,
        machine: programs::ISOLINUX,
        until: "serial:boot: ",
        middle: "instructions:10M",
    },
    Payload {
        name: "Debian's installer, i386",
        scenario: "debian-installer.toml",
        quick: false,
        machine: programs::INSTALLER_I386,
        until: "serial:Select a language",
        middle: "instructions:6G",
    },
    Payload {
        name: "memtest86+",
        scenario: "memtest.toml",
        quick: false,
        machine: &["--kernel", "memtest86+", "--memory", "16M", "--vga", "std"],
        until: "screen:Test #3",
        middle: "instructions:50M",
    },
];

/// The folder of their scenarios; some programs have several.
const SCENARIOS: &str = "scenarios/payloads";
/// The scenario in which a variable outlives a reset.
const VARIABLES: &str = "ovmf-variables.toml";

/// The task: fetches the payloads and, with `--run`, boots them all.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    firmware::run_all()?;
    made::ensure()?;
    match arguments {
        [] => Ok(()),
        [one] if one == "--run" => {
            shell::build("release")?;
            scenarios([SCENARIOS.to_owned()])?;
            PAYLOADS.iter().try_for_each(one_digest)?;
            kept_variables()
        }
        [one] if one == "--compare" => {
            shell::build("release")?;
            compare::run()
        }
        _ => Err("expected nothing, --run or --compare".into()),
    }
}

/// What `cargo xtask test` has time for.
pub fn sample() -> Result<(), Failure> {
    made::ensure()?;
    let quick: Vec<&Payload> = PAYLOADS.iter().filter(|payload| payload.quick).collect();
    let names = quick.iter().map(|payload| payload.scenario).chain([VARIABLES]);
    scenarios(names.map(|name| format!("{SCENARIOS}/{name}")))?;
    quick.first().map_or(Ok(()), |payload| one_digest(payload))?;
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

/// Boots a payload whole, and once more with a new process in the middle.
fn one_digest(payload: &Payload) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("middle.snapshot");
    let boot = |arguments: &[&str]| -> Result<Command, Failure> {
        let mut command = warmboot()?;
        command.args(["boot", "--json", "--limit", "30G", "--serial"]);
        command.arg(folder.path().join("serial")).args(arguments);
        Ok(command)
    };
    let mut whole = boot(payload.machine)?;
    let mut saved = boot(payload.machine)?;
    let mut loaded = boot(&[])?;
    saved.args(["--until", payload.middle, "--snapshot-out"]).arg(&file);
    let digest = |command: &mut Command| -> Result<String, Failure> {
        let report: serde_json::Value = serde_json::from_str(&shell::read(command)?)?;
        let text = |key: &str| report.get(key).map_or_else(String::new, ToString::to_string);
        Ok(format!("{} after {} instructions", text("digest"), text("instructions")))
    };
    let mut digests = BTreeSet::from([digest(whole.args(["--until", payload.until]))?]);
    digest(&mut saved)?;
    digests.insert(digest(loaded.args(["--until", payload.until, "--load"]).arg(&file))?);
    println!("payloads: {}: {}", payload.name, digests.iter().cloned().collect::<Vec<_>>().join(" and "));
    if digests.len() == 1 {
        Ok(())
    } else {
        Err(format!("{}: saved in the middle, it ends otherwise", payload.name).into())
    }
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
