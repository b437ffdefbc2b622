//! Real programs to a milestone, as whole processes: ours, QEMU's TCG, and QEMU counting instructions, in
//! turn, in one run.
//!
//! A time is from a process's start to the text on its serial port. Bochs is left out: it has neither a
//! kernel option nor fw_cfg, without which these do not start.

use std::{path::PathBuf, process::Command};

use super::{Verdict, process};
use crate::{Failure, firmware, shell};

const QEMU: &str = "qemu-system-x86_64";
const MACHINE: &str = "pc-i440fx-7.2";
/// Seconds a process may take.
const PATIENCE: u64 = 600;

/// A program and how it is started.
struct Program {
    name: &'static str,
    /// Known names of the images it needs.
    images: &'static [&'static str],
    /// Our options, and QEMU's with `{0}` where the first image stands.
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// What it prints when it is there.
    text: &'static str,
}

const PROGRAMS: [Program; 2] = [
    Program {
        name: "Linux 6.1 (cloud-amd64) to its panic",
        images: &["vmlinuz-cloud-amd64"],
        ours: &["--kernel", "linux-cloud-amd64", "--append", "console=ttyS0"],
        theirs: &["-kernel", "{0}", "-append", "console=ttyS0"],
        text: "end Kernel panic",
    },
    Program {
        name: "OVMF (X64) to its shell",
        images: &["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"],
        ours: &["--pflash", "ovmf-code,readonly", "--pflash", "ovmf-vars"],
        theirs: &[
            "-drive",
            "if=pflash,format=raw,readonly=on,file={0}",
            "-drive",
            "if=pflash,format=raw,snapshot=on,file={1}",
        ],
        text: "Shell>",
    },
];

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    shell::build("release")?;
    firmware::run(&[])?;
    let with_qemu = shell::is_installed(QEMU);
    if !with_qemu {
        println!("  {QEMU} is not installed: only ours is measured");
    }
    println!("  {MACHINE}, 128 MiB; the shortest of {rounds} rounds in turn, in seconds");
    println!("  {:38}{:>10}{:>10}{:>14}", "", "warmboot", "QEMU TCG", "with -icount");
    for program in &PROGRAMS {
        let mut shortest = [f64::INFINITY; 3];
        for _ in 0..rounds {
            let commands = [
                Some(program.warmboot()?),
                with_qemu.then(|| program.qemu(&[])),
                with_qemu.then(|| program.qemu(&["-icount", "shift=0,sleep=off"])),
            ];
            for (command, shortest) in commands.into_iter().zip(&mut shortest) {
                let Some(mut command) = command else { continue };
                let (sample, _) = process::timed_within(&mut command, Some(program.text), PATIENCE)?;
                *shortest = shortest.min(sample.seconds);
            }
        }
        let [ours, plain, counting] = shortest.map(|seconds| match seconds.is_finite() {
            true => format!("{seconds:.2}"),
            false => "-".into(),
        });
        println!("  {:38}{ours:>10}{plain:>10}{counting:>14}", program.name);
    }
    // What is asked for is that they come as far.
    Ok(Vec::new())
}

impl Program {
    fn warmboot(&self) -> Result<Command, Failure> {
        let mut command = Command::new(shell::warmboot("release")?);
        command.current_dir(shell::root()).args(["boot", "--machine", MACHINE, "--serial", "-"]);
        command.args(["--until", &format!("serial:{}", self.text)]).args(self.ours);
        Ok(command)
    }

    fn qemu(&self, more: &[&str]) -> Command {
        let image = |name: &str| -> PathBuf { shell::firmware_folder().join(name) };
        let mut command = Command::new(QEMU);
        command.args([
            "-machine",
            &format!("{MACHINE},accel=tcg"),
            "-m",
            "128",
            "-nodefaults",
            "-vga",
            "none",
        ]);
        command.args(["-display", "none", "-no-user-config", "-chardev", "stdio,id=log"]);
        command.args(["-serial", "chardev:log"]).args(more);
        for option in self.theirs {
            let filled = self.images.iter().enumerate().fold((*option).to_owned(), |text, (number, name)| {
                text.replace(&format!("{{{number}}}"), &image(name).display().to_string())
            });
            command.arg(filled);
        }
        command
    }
}
