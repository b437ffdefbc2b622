//! Images made here of what packages have: the same bytes always, with the time of nothing in them.
//!
//! * `busybox.cpio`: an initial RAM disk for Linux, of Debian's static busybox and an `init` of ours that gives
//!   a shell on the console.
//! * `busybox-686.cpio`: the same with the busybox of Debian's i386.
//! * `busybox-virtio.cpio`: the same with the modules of Debian's kernel for virtio disks and entropy in
//!   `/modules`, which `init` loads before the shell.
//! * `busybox-drives.cpio`: that of the 686 with the modules of Debian's kernel for IDE, AHCI, CD-ROM and floppy
//!   drives, the parallel port and the mouse.
//! * `xen`: Xen's Multiboot kernel, which its package has compressed.
//! * `grub-rescue-1440.img`: GRUB's rescue diskette filled up to 1.44 MB, by which size QEMU knows the drive it needs.
//! * `isolinux.iso`: a CD-ROM that starts ISOLINUX, which runs `meminfo.c32` with its output on COM1 too.

use std::{
    fs,
    io::{Cursor, Read},
};

use cpio::newc::Builder;
use flate2::read::GzDecoder;
use warmboot_test_roms::iso;

use crate::{Failure, shell};

/// The images' files in the download folder.
pub const FILES: &[&str] = &[
    "busybox.cpio",
    "busybox-686.cpio",
    "busybox-virtio.cpio",
    "busybox-drives.cpio",
    "xen",
    "grub-rescue-1440.img",
    "isolinux.iso",
];

const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
";

const SHELL: &str = "\
exec /bin/busybox setsid /bin/busybox cttyhack /bin/sh
";

const ISOLINUX_CONFIGURATION: &str = "\
SERIAL 0 115200
DEFAULT meminfo
LABEL meminfo
  KERNEL meminfo.c32
";

/// In the order in which they need each other.
const VIRTIO_MODULES: &[&str] = &[
    "virtio.ko",
    "virtio_ring.ko",
    "virtio_pci_modern_dev.ko",
    "virtio_pci_legacy_dev.ko",
    "virtio_pci.ko",
    "virtio_blk.ko",
    "virtio-rng.ko",
];

/// Likewise.
const DRIVE_MODULES: &[&str] = &[
    "scsi_common.ko",
    "scsi_mod.ko",
    "crct10dif_common.ko",
    "crc-t10dif.ko",
    "crc64.ko",
    "crc64-rocksoft.ko",
    "t10-pi.ko",
    "sd_mod.ko",
    "cdrom.ko",
    "sr_mod.ko",
    "isofs.ko",
    "libata.ko",
    "ata_piix.ko",
    "libahci.ko",
    "ahci.ko",
    "floppy.ko",
    "parport.ko",
    "parport_pc.ko",
    "lp.ko",
    "psmouse.ko",
    "evdev.ko",
];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// Writes the images to the download folder, unless they are there as they should be.
pub fn ensure() -> Result<(), Failure> {
    let folder = shell::firmware_folder();
    let made = [
        busybox("busybox", &[]),
        busybox("busybox-i386", &[]),
        busybox("busybox", VIRTIO_MODULES),
        busybox("busybox-i386", DRIVE_MODULES),
        xen(),
        diskette(),
        isolinux(),
    ];
    for (file, bytes) in FILES.iter().zip(made) {
        let bytes = bytes.map_err(|error| format!("{file}: {error}"))?;
        let path = folder.join(file);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            continue;
        }
        let temporary = tempfile::NamedTempFile::new_in(&folder)?;
        fs::write(temporary.path(), bytes)?;
        temporary.persist(&path)?;
        println!("{} made", path.display());
    }
    Ok(())
}

fn fetched(file: &str) -> Result<Vec<u8>, Failure> {
    let path = shell::firmware_folder().join(file);
    Ok(fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// The RAM disk with this busybox and kernel modules that its `init` loads.
fn busybox(program: &str, modules: &[&str]) -> Result<Vec<u8>, Failure> {
    let folders = ["bin", "dev", "proc", "sys"].map(|name| (name.to_owned(), FOLDER, Vec::new()));
    let mut init = INIT.to_owned();
    let mut files = vec![("bin/busybox".to_owned(), PROGRAM, fetched(program)?)];
    if !modules.is_empty() {
        files.push(("modules".to_owned(), FOLDER, Vec::new()));
    }
    for module in modules {
        init += &format!("insmod /modules/{module}\n");
        files.push((format!("modules/{module}"), FILE, fetched(module)?));
    }
    files.push(("init".to_owned(), PROGRAM, (init + SHELL).into_bytes()));
    let entries = folders.into_iter().chain(files).zip(1..).map(|((name, mode, bytes), inode)| {
        (Builder::new(&name).ino(inode).nlink(1).mode(mode), Cursor::new(bytes))
    });
    Ok(cpio::write_cpio(entries, Vec::new())?)
}

fn xen() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    GzDecoder::new(fetched("xen.gz")?.as_slice()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn diskette() -> Result<Vec<u8>, Failure> {
    let mut bytes = fetched("grub-rescue-floppy.img")?;
    bytes.resize(1440 << 10, 0);
    Ok(bytes)
}

fn isolinux() -> Result<Vec<u8>, Failure> {
    let [boot, library, standard, meminfo] =
        ["isolinux.bin", "ldlinux.c32", "libcom32.c32", "meminfo.c32"].map(fetched);
    let (boot, library, standard, meminfo) = (boot?, library?, standard?, meminfo?);
    Ok(iso::bootable(&[
        ("ISOLINUX.BIN;1", &boot),
        ("ISOLINUX.CFG;1", ISOLINUX_CONFIGURATION.as_bytes()),
        ("LDLINUX.C32;1", &library),
        ("LIBCOM32.C32;1", &standard),
        ("MEMINFO.C32;1", &meminfo),
    ]))
}
