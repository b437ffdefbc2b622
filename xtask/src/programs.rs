//! Real programs as whole processes, on our machine and on QEMU's, with the same images: what is timed and
//! whose text is compared.

use std::{path::PathBuf, process::Command};

use crate::{Failure, shell};

/// QEMU's program.
pub const QEMU: &str = "qemu-system-x86_64";

/// A program and how it is started.
pub struct Program {
    /// What it is.
    pub name: &'static str,
    /// Its images in the download folder.
    images: &'static [&'static str],
    /// Our options, and QEMU's with `{0}` where the first image stands.
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    /// What it prints on COM1 when it is there.
    pub text: &'static str,
    /// It takes QEMU minutes to count its instructions.
    pub long: bool,
}

/// Which machine runs them; it has 128 MiB unless options say otherwise.
const MACHINE: &str = "pc-i440fx-7.2";

/// Our options for them.
pub const ISOLINUX: &[&str] = &["--drive", "ide1-0=firmware/isolinux.iso,readonly"];
pub const XEN: &[&str] = &["--kernel", "xen", "--append", "console=com1 com1=115200,8n1"];
pub const U_BOOT: &[&str] = &["--firmware", "u-boot"];
pub const LINUX: &[&str] = &["--kernel", "linux-cloud-amd64", "--append", "console=ttyS0"];
pub const OVMF: &[&str] = &["--pflash", "ovmf-code,readonly", "--pflash", "ovmf-vars"];
pub const INSTALLER_I386: &[&str] = &[
    "--cpu",
    "pentium3",
    "--memory",
    "512M",
    "--kernel",
    "debian-installer-i386",
    "--initrd",
    "debian-installer-i386",
    "--append",
    "console=ttyS0 TERM=vt102",
];
const INSTALLER_AMD64: &[&str] = &[
    "--memory",
    "1G",
    "--kernel",
    "debian-installer-amd64",
    "--initrd",
    "debian-installer-amd64",
    "--append",
    "console=ttyS0 TERM=vt102",
];

/// All of them, those that come to their milestone first before the others.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "ISOLINUX, meminfo.c32",
        images: &["isolinux.iso"],
        ours: ISOLINUX,
        theirs: &["-cdrom", "{0}"],
        text: "boot: ",
        long: false,
    },
    Program {
        name: "Xen to its panic",
        images: &["xen"],
        ours: XEN,
        theirs: &["-kernel", "{0}", "-append", "console=com1 com1=115200,8n1"],
        text: "Reboot in",
        long: false,
    },
    Program {
        name: "U-Boot to its prompt",
        images: &["u-boot.rom"],
        ours: U_BOOT,
        theirs: &["-bios", "{0}"],
        text: "=> ",
        long: false,
    },
    Program {
        name: "Linux 6.1 (cloud-amd64) to its panic",
        images: &["vmlinuz-cloud-amd64"],
        ours: LINUX,
        theirs: &["-kernel", "{0}", "-append", "console=ttyS0"],
        text: "end Kernel panic",
        long: false,
    },
    Program {
        name: "OVMF (X64) to its shell",
        images: &["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"],
        ours: OVMF,
        theirs: &[
            "-drive",
            "if=pflash,format=raw,readonly=on,file={0}",
            "-drive",
            "if=pflash,format=raw,snapshot=on,file={1}",
        ],
        text: "Shell>",
        long: true,
    },
    Program {
        name: "debian-installer (i386) to its first question",
        images: &["debian-installer-i386-linux", "debian-installer-i386-initrd.gz"],
        ours: INSTALLER_I386,
        theirs: &[
            "-m",
            "512",
            "-cpu",
            "pentium3",
            "-kernel",
            "{0}",
            "-initrd",
            "{1}",
            "-append",
            "console=ttyS0 TERM=vt102",
        ],
        text: "Select a language",
        long: false,
    },
    Program {
        name: "debian-installer (amd64) to its first question",
        images: &["debian-installer-amd64-linux", "debian-installer-amd64-initrd.gz"],
        ours: INSTALLER_AMD64,
        theirs: &["-m", "1024", "-kernel", "{0}", "-initrd", "{1}", "-append", "console=ttyS0 TERM=vt102"],
        text: "Select a language",
        long: false,
    },
];

impl Program {
    /// Whether all its images are there.
    pub fn is_here(&self) -> bool {
        self.images.iter().all(|image| shell::firmware_folder().join(image).is_file())
    }

    /// Ours, with COM1 on standard output, to its milestone.
    pub fn warmboot(&self) -> Result<Command, Failure> {
        let mut command = Command::new(shell::warmboot("release")?);
        command.current_dir(shell::root()).args(["boot", "--machine", MACHINE, "--serial", "-"]);
        command.args(["--limit", "60G"]);
        command.args(["--until", &format!("serial:{}", self.text)]).args(self.ours);
        Ok(command)
    }

    /// QEMU's, with COM1 on standard output; it goes on for ever.
    pub fn qemu(&self, more: &[&str]) -> Command {
        let image = |name: &str| -> PathBuf { shell::firmware_folder().join(name) };
        let mut command = Command::new(QEMU);
        command.args(["-machine", &format!("{MACHINE},accel=tcg"), "-m", "128"]);
        command.args(["-nodefaults", "-vga", "none", "-display", "none", "-no-user-config"]);
        command.args(["-no-reboot", "-chardev", "stdio,id=log", "-serial", "chardev:log"]).args(more);
        for option in self.theirs {
            let filled = self.images.iter().enumerate().fold((*option).to_owned(), |text, (number, name)| {
                text.replace(&format!("{{{number}}}"), &image(name).display().to_string())
            });
            command.arg(filled);
        }
        command
    }
}
