//! The programs, those that come to their milestone first before the others.

use super::{Program, Says};

/// Which machines run them; they have 128 MiB unless options say otherwise.
const PC: &str = "pc-i440fx-7.2";
const Q35: &str = "pc-q35-7.2";
const ISA: &str = "isapc";

/// Options that several have.
const CLOUD: &[&str] = &["--kernel", "linux-cloud-amd64", "--append", "console=ttyS0"];
const CLOUD_QEMU: &[&str] = &["-kernel", "{0}", "-append", "console=ttyS0"];
const OVMF: &[&str] = &["--pflash", "ovmf-code,readonly", "--pflash", "ovmf-vars"];
const BOCHS: &[&str] =
    &["--firmware", "bochs", "--emulator", "hardware", "--cpu", "486", "--vga-rom", "vgabios-lgpl"];
/// The VGABIOS stands where a card in an ISA slot has its ROM.
const BOCHS_QEMU: &[&str] =
    &["-cpu", "486", "-bios", "{0}", "-device", "loader,file={1},addr=0xc0000,force-raw=on"];
const FLASH_QEMU: &[&str] = &[
    "-drive",
    "if=pflash,format=raw,readonly=on,file={0}",
    "-drive",
    "if=pflash,format=raw,snapshot=on,file={1}",
];
const INSTALLER: &str = "console=ttyS0 TERM=vt102";
/// What a shell is asked; its answer ends with a word that the question does not have.
const QUESTIONS: &[(&str, &str)] =
    &[("/ # ", "cd /proc; cat iomem ioports bus/pci/devices cpuinfo; echo ov''er\n")];
const ANSWERED: &str = "\nover";
const DRIVES: &[&str] =
    &["vmlinuz-686", "busybox-drives.cpio", "grub-rescue-floppy.img", "grub-rescue-cdrom.iso"];
const SUMS: &[(&str, &str)] =
    &[("/ # ", "sort /proc/partitions; md5sum /dev/sr0 /dev/sd? /dev/fd0; echo ov''er\n")];
/// GRUB's menu gives a command line.
const GRUB: &[(&str, &str)] = &[("`c' for a command-line", "c"), ("grub>", "ls\n")];

/// What most have.
const PROGRAM: Program = Program {
    name: "",
    images: &[],
    machine: PC,
    ours: &[],
    theirs: &[],
    typed: &[],
    milestone: Says::Serial(""),
    long: false,
    quick: false,
    middle: "1M",
};

/// All of them.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "ISOLINUX, meminfo.c32",
        images: &["isolinux.iso"],
        ours: &["--drive", "ide1-0=firmware/isolinux.iso,readonly"],
        theirs: &["-cdrom", "{0}"],
        milestone: Says::Serial("boot: "),
        middle: "10M",
        quick: true,
        ..PROGRAM
    },
    Program {
        name: "Xen to its panic",
        images: &["xen"],
        ours: &["--kernel", "xen", "--append", "console=com1 com1=115200,8n1"],
        theirs: &["-kernel", "{0}", "-append", "console=com1 com1=115200,8n1"],
        milestone: Says::Serial("Reboot in"),
        middle: "5900K",
        quick: true,
        ..PROGRAM
    },
    Program {
        name: "GRUB (floppy), ls",
        images: &["grub-rescue-floppy.img"],
        ours: &["--drive", "floppy0=firmware/grub-rescue-floppy.img,readonly"],
        theirs: &["-drive", "if=floppy,format=raw,readonly=on,file={0}"],
        typed: GRUB,
        milestone: Says::Screen("\n(fd0) (fd0,msdos1)\ngrub>"),
        middle: "100M",
        ..PROGRAM
    },
    Program {
        name: "GRUB (CD), ls",
        images: &["grub-rescue-cdrom.iso"],
        ours: &["--cdrom", "firmware/grub-rescue-cdrom.iso"],
        theirs: &["-cdrom", "{0}"],
        typed: GRUB,
        milestone: Says::Screen("\n(cd) (cd,msdos1)\ngrub>"),
        middle: "40M",
        ..PROGRAM
    },
    Program {
        name: "iPXE, which finds no network",
        images: &["ipxe.lkrn"],
        ours: &["--kernel", "ipxe"],
        theirs: &["-kernel", "{0}"],
        milestone: Says::Screen("No bootable device."),
        middle: "30M",
        ..PROGRAM
    },
    Program {
        name: "Bochs BIOS and LGPL VGABIOS, nothing to boot",
        images: &["BIOS-bochs-latest", "vgabios-lgpl.bin"],
        machine: ISA,
        ours: BOCHS,
        theirs: BOCHS_QEMU,
        milestone: Says::Screen("FATAL: No bootable device."),
        middle: "500K",
        ..PROGRAM
    },
    Program {
        name: "Bochs BIOS and LGPL VGABIOS, GRUB (floppy), ls",
        images: &["BIOS-bochs-latest", "vgabios-lgpl.bin", "grub-rescue-1440.img"],
        machine: ISA,
        ours: &[
            BOCHS[0],
            BOCHS[1],
            BOCHS[2],
            BOCHS[3],
            BOCHS[4],
            BOCHS[5],
            BOCHS[6],
            BOCHS[7],
            "--drive",
            "floppy0=firmware/grub-rescue-1440.img",
        ],
        theirs: &[
            BOCHS_QEMU[0],
            BOCHS_QEMU[1],
            BOCHS_QEMU[2],
            BOCHS_QEMU[3],
            BOCHS_QEMU[4],
            BOCHS_QEMU[5],
            "-drive",
            "if=floppy,format=raw,snapshot=on,file={2}",
        ],
        typed: GRUB,
        milestone: Says::Screen("\n(fd0) (fd0,msdos1)\ngrub>"),
        middle: "50M",
        ..PROGRAM
    },
    Program {
        name: "U-Boot to its prompt",
        images: &["u-boot.rom"],
        ours: &["--firmware", "u-boot"],
        theirs: &["-bios", "{0}"],
        milestone: Says::Serial("=> "),
        middle: "150M",
        quick: true,
        ..PROGRAM
    },
    Program {
        name: "Linux 6.1 (cloud-amd64) to its panic",
        images: &["vmlinuz-cloud-amd64"],
        ours: CLOUD,
        theirs: CLOUD_QEMU,
        milestone: Says::Serial("end Kernel panic"),
        middle: "900M",
        ..PROGRAM
    },
    Program {
        name: "Linux 6.1 (cloud-amd64), a shell's answers",
        images: &["vmlinuz-cloud-amd64", "busybox.cpio"],
        ours: &["--kernel", "linux-cloud-amd64", "--initrd", "busybox", "--append", "console=ttyS0"],
        theirs: &["-kernel", "{0}", "-initrd", "{1}", "-append", "console=ttyS0"],
        typed: QUESTIONS,
        milestone: Says::Serial(ANSWERED),
        middle: "900M",
        ..PROGRAM
    },
    Program {
        name: "OVMF (X64) to its shell",
        images: &["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"],
        ours: OVMF,
        theirs: FLASH_QEMU,
        milestone: Says::Serial("Shell>"),
        long: true,
        middle: "500M",
        ..PROGRAM
    },
    Program {
        name: "OVMF (X64) to its shell, Q35",
        images: &["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"],
        machine: Q35,
        ours: OVMF,
        theirs: FLASH_QEMU,
        milestone: Says::Serial("Shell>"),
        long: true,
        middle: "500M",
        ..PROGRAM
    },
    Program {
        name: "OVMF (IA-32, SMM) to its shell, Q35",
        images: &["OVMF32_CODE_4M.secboot.fd", "OVMF32_VARS_4M.fd"],
        machine: Q35,
        ours: &["--pflash", "ovmf-ia32,readonly", "--pflash", "ovmf-ia32-vars"],
        theirs: &[
            "-global",
            "driver=cfi.pflash01,property=secure,value=on",
            FLASH_QEMU[0],
            FLASH_QEMU[1],
            FLASH_QEMU[2],
            FLASH_QEMU[3],
        ],
        milestone: Says::Serial("Shell>"),
        long: true,
        middle: "500M",
        ..PROGRAM
    },
    Program {
        name: "Linux 6.1 (686), a shell's answers",
        images: &["vmlinuz-686", "busybox-686.cpio"],
        ours: &["--kernel", "linux-686", "--initrd", "busybox-686", "--append", "console=ttyS0"],
        theirs: &["-kernel", "{0}", "-initrd", "{1}", "-append", "console=ttyS0"],
        typed: QUESTIONS,
        milestone: Says::Serial(ANSWERED),
        middle: "5500M",
        ..PROGRAM
    },
    Program {
        name: "Linux 6.1 (686), what is on IDE drives and a diskette",
        images: DRIVES,
        ours: &[
            "--kernel",
            "linux-686",
            "--initrd",
            "busybox-drives",
            "--append",
            "console=ttyS0",
            "--drive",
            "ide0-0=firmware/grub-rescue-floppy.img",
            "--drive",
            "ide0-1=firmware/grub-rescue-cdrom.iso,media=disk",
            "--cdrom",
            "firmware/grub-rescue-cdrom.iso",
            "--drive",
            "floppy0=firmware/grub-rescue-floppy.img",
        ],
        theirs: &[
            "-kernel",
            "{0}",
            "-initrd",
            "{1}",
            "-append",
            "console=ttyS0",
            "-drive",
            "if=ide,index=0,format=raw,snapshot=on,file={2}",
            "-drive",
            "if=ide,index=1,format=raw,snapshot=on,file={3}",
            "-cdrom",
            "{3}",
            "-drive",
            "if=floppy,format=raw,snapshot=on,file={2}",
        ],
        typed: SUMS,
        milestone: Says::Serial(ANSWERED),
        middle: "5500M",
        ..PROGRAM
    },
    Program {
        name: "memtest86+, tests 0 to 9",
        images: &["memtest86+ia32.bin"],
        ours: &["--kernel", "memtest86+", "--memory", "16M"],
        theirs: &["-m", "16", "-kernel", "{0}"],
        milestone: Says::Screen("Test #10"),
        long: true,
        middle: "5G",
        ..PROGRAM
    },
    Program {
        name: "memtest86+'s ISO, tests 0 to 9",
        images: &["memtest86+ia32.iso"],
        ours: &["--cdrom", "firmware/memtest86+ia32.iso", "--memory", "16M"],
        theirs: &["-m", "16", "-cdrom", "{0}"],
        milestone: Says::Screen("Test #10"),
        long: true,
        middle: "5G",
        ..PROGRAM
    },
    Program {
        name: "debian-installer (i386) to its first question",
        images: &["debian-installer-i386-linux", "debian-installer-i386-initrd.gz"],
        ours: &[
            "--cpu",
            "pentium3",
            "--memory",
            "512M",
            "--kernel",
            "debian-installer-i386",
            "--initrd",
            "debian-installer-i386",
            "--append",
            INSTALLER,
        ],
        theirs: &["-m", "512", "-cpu", "pentium3", "-kernel", "{0}", "-initrd", "{1}", "-append", INSTALLER],
        milestone: Says::Serial("Select a language"),
        middle: "6G",
        ..PROGRAM
    },
    Program {
        name: "debian-installer (amd64) to its first question",
        images: &["debian-installer-amd64-linux", "debian-installer-amd64-initrd.gz"],
        ours: &[
            "--memory",
            "1G",
            "--kernel",
            "debian-installer-amd64",
            "--initrd",
            "debian-installer-amd64",
            "--append",
            INSTALLER,
        ],
        theirs: &["-m", "1024", "-kernel", "{0}", "-initrd", "{1}", "-append", INSTALLER],
        milestone: Says::Serial("Select a language"),
        middle: "6G",
        ..PROGRAM
    },
];
