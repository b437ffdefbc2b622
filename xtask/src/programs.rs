//! Real programs as whole processes, on our machine and on QEMU's, with the same images: what is timed, whose
//! text is compared, and who must end in one digest however it is run.

pub mod screen;
mod table;

use std::process::Command;

use crate::{
    Failure,
    bench::process::{self, Sample},
    shell,
};

pub use table::PROGRAMS;

/// QEMU's program.
pub const QEMU: &str = "qemu-system-x86_64";

/// Seconds a program may take.
const PATIENCE: u64 = 1_500;

/// Where a program says something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// On COM1.
    Serial(&'static str),
    /// On the screen of a standard VGA.
    Screen(&'static str),
}

/// A program and how it is started.
pub struct Program {
    /// What it is, and its milestone.
    pub name: &'static str,
    /// Its images in the download folder.
    images: &'static [&'static str],
    /// Machine type.
    machine: &'static str,
    /// Our options, and QEMU's with `{0}` where the first image stands.
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// What is typed, on COM1 or the keyboard, and after which text.
    typed: &'static [(&'static str, &'static str)],
    /// What it says when it is there.
    pub milestone: Says,
    /// It takes QEMU minutes to count its instructions.
    pub long: bool,
    /// `cargo xtask test` has time for it.
    pub quick: bool,
    /// The instructions after which it is saved, and forked.
    middle: &'static str,
}

impl Program {
    /// Whether all its images are there.
    pub fn is_here(&self) -> bool {
        self.images.iter().all(|image| shell::firmware_folder().join(image).is_file())
    }

    /// Runs ours to its milestone; gives its time and what it said.
    pub fn run_here(&self) -> Result<(Sample, String), Failure> {
        let mut command = self.boot()?;
        command.args(self.machine_options()).args(self.run_options());
        match self.milestone {
            Says::Serial(_) => {
                command.args(["--serial", "-"]);
                process::timed_within(&mut command, &[], None, PATIENCE)
            }
            Says::Screen(_) => {
                let screen = tempfile::NamedTempFile::new()?;
                command.arg("--screen-text").arg(screen.path());
                let (sample, _) = process::timed_within(&mut command, &[], None, PATIENCE)?;
                Ok((sample, std::fs::read_to_string(screen.path())?))
            }
        }
    }

    /// The same of QEMU's, with `more` options.
    pub fn run_qemu(&self, more: &[&str]) -> Result<(Sample, String), Failure> {
        let mut command = self.qemu(more);
        match self.milestone {
            Says::Serial(text) => process::timed_within(&mut command, self.typed, Some(text), PATIENCE),
            Says::Screen(text) => screen::timed(&mut command, self.typed, text, PATIENCE),
        }
    }

    /// Boots it three times: whole with a fork in the middle that goes on too, and saved in the middle, loaded by a
    /// new process and run on. All must end in one digest, which is returned.
    pub fn one_digest(&self) -> Result<String, Failure> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("middle.snapshot");
        let digest = |command: &mut Command| -> Result<String, Failure> {
            let report: serde_json::Value = serde_json::from_str(&shell::read(command.arg("--json"))?)?;
            let text = |key: &str| report.get(key).map_or_else(String::new, ToString::to_string);
            Ok(format!("{} after {} instructions", text("digest"), text("instructions")))
        };
        let serial = matches!(self.milestone, Says::Serial(_));
        let boot = || -> Result<Command, Failure> {
            let mut command = self.boot()?;
            if serial {
                command.arg("--serial").arg(folder.path().join("serial"));
            }
            Ok(command)
        };
        let middle = format!("instructions:{}", self.middle);
        let mut whole = boot()?;
        whole.args(self.machine_options()).args(self.run_options()).args(["--fork-at", &middle]);
        let mut saved = boot()?;
        saved.args(self.machine_options()).args(["--until", &middle, "--snapshot-out"]).arg(&file);
        let mut loaded = boot()?;
        loaded.args(self.run_options()).arg("--load").arg(&file);
        let expect = digest(&mut whole)?;
        digest(&mut saved)?;
        let found = digest(&mut loaded)?;
        if found == expect {
            Ok(expect)
        } else {
            Err(format!("{}: saved in the middle, it ends with {found}; whole with {expect}", self.name)
                .into())
        }
    }

    fn boot(&self) -> Result<Command, Failure> {
        let mut command = Command::new(shell::warmboot("release")?);
        command.current_dir(shell::root()).args(["boot", "--limit", "60G"]);
        Ok(command)
    }

    fn machine_options(&self) -> impl Iterator<Item = &str> {
        let screen = matches!(self.milestone, Says::Screen(_));
        let screen = if screen { &["--vga", "std"][..] } else { &[] };
        ["--machine", self.machine].into_iter().chain(screen.iter().copied()).chain(self.ours.iter().copied())
    }

    /// What is typed, and when it ends.
    fn run_options(&self) -> Vec<String> {
        let (input, place, end) = match self.milestone {
            Says::Serial(text) => ("--send", "serial", text),
            Says::Screen(text) => ("--type", "screen", text),
        };
        let typed =
            self.typed.iter().flat_map(|(when, what)| [input.to_owned(), format!("{what}@{place}:{when}")]);
        typed.chain(["--until".to_owned(), format!("{place}:{end}")]).collect()
    }

    /// QEMU's process; it goes on for ever.
    fn qemu(&self, more: &[&str]) -> Command {
        let image = |name: &str| shell::firmware_folder().join(name).display().to_string();
        let mut command = Command::new(QEMU);
        command.args(["-machine", &format!("{},accel=tcg", self.machine), "-m", "128"]);
        command.args(["-nodefaults", "-display", "none", "-no-user-config", "-no-reboot"]);
        // An option ROM for guests on KVM, which our machines do not have: with it SeaBIOS takes the drives in
        // another order.
        command.args(["-global", "apic-common.vapic=off"]);
        match self.milestone {
            Says::Serial(_) => {
                command.args([
                    "-vga",
                    "none",
                    "-chardev",
                    "stdio,id=log,signal=off",
                    "-serial",
                    "chardev:log",
                ]);
            }
            Says::Screen(_) => {
                command.args(["-vga", "std", "-qmp", "stdio"]);
            }
        }
        command.args(more);
        for option in self.theirs {
            let filled = self.images.iter().enumerate().fold((*option).to_owned(), |text, (number, name)| {
                text.replace(&format!("{{{number}}}"), &image(name))
            });
            command.arg(filled);
        }
        command
    }
}
