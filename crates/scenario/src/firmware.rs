//! Firmware by name or path: where images are looked for, and what is wrong with those that are not.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use warmboot_machine::{Firmware, Kernel, Protocol};

use crate::{
    problem::{InputError, or_did_you_mean},
    spec::Places,
};

/// Largest system firmware: it ends at 4 GiB and must stay above the APIC at FEE00000h.
const LARGEST: u64 = 16 << 20;
/// System firmware comes in whole 64 KiB segments.
const SEGMENT: u64 = 64 << 10;
/// Largest kernel and initial RAM disk that are read.
const LARGEST_KERNEL: u64 = 1 << 30;
/// Largest option ROM: its size byte counts 512-byte units (PCI Firmware Specification 3.0, 5.2).
const LARGEST_OPTION_ROM: u64 = 128 << 10;

/// An image known by name.
#[derive(Debug)]
pub struct Known {
    /// Name for `--firmware` and `--option-rom`.
    pub name: &'static str,
    /// Its file in the download folder, and what it is called by distributions.
    pub files: &'static [&'static str],
    /// The Debian package that has it.
    pub package: &'static str,
    /// Where distributions install it.
    pub folders: &'static [&'static str],
    /// One sentence.
    pub about: &'static str,
}

const SEABIOS_FOLDERS: &[&str] = &["/usr/share/seabios", "/usr/share/qemu", "/usr/share/qemu-kvm"];
const OVMF_FOLDERS: &[&str] =
    &["/usr/share/OVMF", "/usr/share/ovmf", "/usr/share/edk2/ovmf", "/usr/share/edk2/x64", "/usr/share/qemu"];

/// Every image known by name.
pub const KNOWN: &[Known] = &[
    Known {
        name: "seabios",
        files: &["bios.bin"],
        package: "seabios",
        folders: SEABIOS_FOLDERS,
        about: "SeaBIOS in 128 KiB",
    },
    Known {
        name: "seabios-256k",
        files: &["bios-256k.bin"],
        package: "seabios",
        folders: SEABIOS_FOLDERS,
        about: "SeaBIOS in 256 KiB, the default",
    },
    Known {
        name: "bochs",
        files: &["BIOS-bochs-latest"],
        package: "bochsbios",
        folders: &["/usr/share/bochs"],
        about: "the Bochs BIOS, 128 KiB",
    },
    Known {
        name: "bochs-legacy",
        files: &["BIOS-bochs-legacy"],
        package: "bochsbios",
        folders: &["/usr/share/bochs"],
        about: "the Bochs BIOS without 32-bit code, 64 KiB",
    },
    Known {
        name: "ovmf",
        files: &["OVMF.fd"],
        package: "ovmf",
        folders: OVMF_FOLDERS,
        about: "OVMF for x86-64 (needs long mode)",
    },
    Known {
        name: "ovmf-code",
        files: &["OVMF_CODE_4M.fd"],
        package: "ovmf",
        folders: OVMF_FOLDERS,
        about: "OVMF for x86-64 without its variables (needs long mode)",
    },
    Known {
        name: "ovmf-vars",
        files: &["OVMF_VARS_4M.fd"],
        package: "ovmf",
        folders: OVMF_FOLDERS,
        about: "the variables of OVMF for x86-64, for --pflash",
    },
    Known {
        name: "ovmf-ia32",
        files: &["OVMF32_CODE_4M.secboot.fd"],
        package: "ovmf-ia32",
        folders: OVMF_FOLDERS,
        about: "OVMF for IA-32 without its variables, which it keeps in SMM (for Q35)",
    },
    Known {
        name: "ovmf-ia32-vars",
        files: &["OVMF32_VARS_4M.fd"],
        package: "ovmf-ia32",
        folders: OVMF_FOLDERS,
        about: "the variables of OVMF for IA-32, for --pflash",
    },
    Known {
        name: "u-boot",
        files: &["u-boot.rom"],
        package: "u-boot-qemu",
        folders: &["/usr/lib/u-boot/qemu-x86"],
        about: "U-Boot for 32-bit PCs",
    },
    Known {
        name: "vgabios-stdvga",
        files: &["vgabios-stdvga.bin"],
        package: "seabios",
        folders: SEABIOS_FOLDERS,
        about: "option ROM: SeaVGABIOS for QEMU's standard VGA",
    },
    Known {
        name: "vgabios-isavga",
        files: &["vgabios-isavga.bin"],
        package: "seabios",
        folders: SEABIOS_FOLDERS,
        about: "option ROM: SeaVGABIOS for an ISA VGA",
    },
    Known {
        name: "vgabios-lgpl",
        files: &["vgabios-lgpl.bin", "vgabios.bin"],
        package: "vgabios",
        folders: &["/usr/share/vgabios"],
        about: "option ROM: the LGPL VGABIOS of Bochs",
    },
];

/// Kernels known by name, for `--kernel`.
pub const KERNELS: &[Known] = &[
    Known {
        name: "linux-cloud-amd64",
        files: &["vmlinuz-cloud-amd64"],
        package: "linux-image-6.1.0-*-cloud-amd64-unsigned",
        folders: &[],
        about: "Debian's Linux 6.1 for x86-64 clouds",
    },
    Known {
        name: "linux-686",
        files: &["vmlinuz-686"],
        package: "linux-image-6.1.0-*-686-unsigned",
        folders: &[],
        about: "Debian's Linux 6.1 for 32-bit PCs without PAE",
    },
    Known {
        name: "ipxe",
        files: &["ipxe.lkrn"],
        package: "ipxe",
        folders: &["/boot", "/usr/lib/ipxe"],
        about: "iPXE, which starts as a Linux kernel does",
    },
    Known {
        name: "memtest86+",
        files: &["memtest86+ia32.bin"],
        package: "memtest86+",
        folders: &["/boot"],
        about: "memtest86+ for 32-bit PCs, which starts as a Linux kernel does",
    },
    Known {
        name: "xen",
        files: &["xen"],
        package: "xen-hypervisor-4.17-amd64",
        folders: &[],
        about: "Xen 4.17, a Multiboot kernel",
    },
    Known {
        name: "debian-installer-i386",
        files: &["debian-installer-i386-linux"],
        package: "debian-installer-12-netboot-i386",
        folders: &[],
        about: "the kernel of Debian's installer for 32-bit PCs",
    },
    Known {
        name: "debian-installer-amd64",
        files: &["debian-installer-amd64-linux"],
        package: "debian-installer-12-netboot-amd64",
        folders: &[],
        about: "the kernel of Debian's installer for x86-64",
    },
];

/// Initial RAM disks known by name, for `--initrd`.
pub const INITRDS: &[Known] = &[
    Known {
        name: "busybox",
        files: &["busybox.cpio"],
        package: "busybox-static",
        folders: &[],
        about: "a shell for Linux, made of Debian's static busybox",
    },
    Known {
        name: "busybox-686",
        files: &["busybox-686.cpio"],
        package: "busybox-static",
        folders: &[],
        about: "the same for 32-bit PCs",
    },
    Known {
        name: "busybox-virtio",
        files: &["busybox-virtio.cpio"],
        package: "linux-image-6.1.0-50-cloud-amd64-unsigned",
        folders: &[],
        about: "the same with virtio modules, for linux-cloud-amd64",
    },
    Known {
        name: "busybox-drives",
        files: &["busybox-drives.cpio"],
        package: "linux-image-6.1.0-50-686-unsigned:i386",
        folders: &[],
        about: "busybox-686 with modules for IDE, AHCI, CD-ROM and floppy drives, parallel port and mouse",
    },
    Known {
        name: "debian-installer-i386",
        files: &["debian-installer-i386-initrd.gz"],
        package: "debian-installer-12-netboot-i386",
        folders: &[],
        about: "Debian's installer for 32-bit PCs, for its own kernel",
    },
    Known {
        name: "debian-installer-amd64",
        files: &["debian-installer-amd64-initrd.gz"],
        package: "debian-installer-12-netboot-amd64",
        folders: &[],
        about: "Debian's installer for x86-64, for its own kernel",
    },
];

/// The known image called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// Where a known image is on this host, if anywhere.
#[must_use]
pub fn locate(known: &Known, places: &Places) -> Option<PathBuf> {
    let downloads = places.firmware_folders.iter().flat_map(|folder| {
        // In a download folder only the first name is ours; the second may be another package's.
        known.files.iter().take(1).map(move |file| folder.join(file))
    });
    let installed = known
        .folders
        .iter()
        .flat_map(|folder| known.files.iter().map(move |file| Path::new(folder).join(file)));
    downloads.chain(installed).find(|path| path.is_file())
}

/// Reads system firmware: `rom:NAME`, a known name or a path.
///
/// # Errors
/// One sentence: unknown, missing (with the package that has it), unreadable, empty, of a wrong size.
pub fn system(name: &str, places: &Places) -> Result<Firmware, InputError> {
    let (bytes, shown) = read(name, places, LARGEST)?;
    let size = bytes.len() as u64;
    if size == 0 {
        return Err(InputError(format!("firmware {shown} is empty")));
    }
    if !size.is_multiple_of(SEGMENT) || size > LARGEST {
        let found = if size > LARGEST { "more than 16 MiB".to_owned() } else { format!("{size} bytes") };
        return Err(InputError(format!(
            "firmware {shown} has {found}; expected a multiple of 64 KiB, at most 16 MiB"
        )));
    }
    Ok(Firmware { name: name.to_owned(), bytes: bytes.into() })
}

/// Reads what is in a flash chip: a known name or a path. What sizes there are is for the machine to see.
///
/// # Errors
/// One sentence: unknown, missing (with the package that has it), unreadable.
pub fn flash(name: &str, places: &Places) -> Result<Firmware, InputError> {
    let (bytes, _) = read(name, places, LARGEST)?;
    Ok(Firmware { name: name.to_owned(), bytes: bytes.into() })
}

/// Reads an option ROM: `rom:NAME`, a known name or a path.
///
/// # Errors
/// As [`system`], with an option ROM's own sizes and signature.
pub fn option_rom(name: &str, places: &Places) -> Result<Firmware, InputError> {
    let (bytes, shown) = read(name, places, LARGEST_OPTION_ROM)?;
    let size = bytes.len() as u64;
    if size == 0 {
        return Err(InputError(format!("option ROM {shown} is empty")));
    }
    if size > LARGEST_OPTION_ROM {
        return Err(InputError(format!("option ROM {shown} is larger than 128 KiB")));
    }
    if bytes.get(..2) != Some(&[0x55, 0xaa]) {
        return Err(InputError(format!("option ROM {shown} does not begin with its signature 55 AA")));
    }
    Ok(Firmware { name: name.to_owned(), bytes: bytes.into() })
}

/// Reads what is given to a kernel that firmware starts, or nothing where no kernel is named.
///
/// # Errors
/// One sentence: a name or file that is not there, or one that needs a kernel without one. Whether it is
/// a kernel is for the machine to see.
pub fn kernel(
    name: Option<&str>,
    initrd: Option<&str>,
    append: Option<&str>,
    places: &Places,
) -> Result<Option<Kernel>, InputError> {
    let Some(name) = name else {
        return match (initrd, append) {
            (None, None) => Ok(None),
            (Some(initrd), _) => Err(InputError(format!("initrd `{initrd}` without a kernel"))),
            (_, Some(append)) => Err(InputError(format!("kernel command line `{append}` without a kernel"))),
        };
    };
    let image = known_or_path("kernel", KERNELS, name, places)?;
    let firmware = |name: &str, bytes: Vec<u8>| Firmware { name: name.to_owned(), bytes: bytes.into() };
    let large = |bytes: &[u8]| bytes.len() as u64 > LARGEST_KERNEL;
    let initrd = match initrd {
        Some(name) => Some(firmware(name, known_or_path("initrd", INITRDS, name, places)?)),
        None => None,
    };
    if large(&image) || initrd.as_ref().is_some_and(|initrd| large(&initrd.bytes)) {
        return Err(InputError(format!("kernel `{name}` or its initrd is larger than 1 GiB")));
    }
    // The option ROM that starts it: one of ours.
    let rom = match Protocol::of(&image) {
        Protocol::Linux => "linuxboot",
        Protocol::Multiboot => "multiboot",
    };
    let option_rom = firmware(&format!("rom:{rom}"), test_rom(rom)?);
    let append = append.unwrap_or_default().to_owned();
    Ok(Some(Kernel { image: firmware(name, image), initrd, append, option_rom }))
}

/// Reads one of `known`, or a file.
fn known_or_path(
    what: &str,
    known: &'static [Known],
    name: &str,
    places: &Places,
) -> Result<Vec<u8>, InputError> {
    if let Some(known) = known.iter().find(|known| known.name == name) {
        let path = locate(known, places).ok_or_else(|| missing(what, known, places))?;
        return read_file(what, &path, LARGEST_KERNEL);
    }
    let path = places.resolve(name);
    if !name.contains(['/', '.', '\\']) && !path.exists() {
        let names = || known.iter().map(|known| known.name);
        return Err(InputError(format!(
            "unknown {what} `{name}`{}; expected a path, or one of {}",
            or_did_you_mean(name, names()),
            names().collect::<Vec<_>>().join(", ")
        )));
    }
    read_file(what, &path, LARGEST_KERNEL)
}

/// The bytes of an image (at most one more than `largest`) and how messages call it.
fn read(name: &str, places: &Places, largest: u64) -> Result<(Vec<u8>, String), InputError> {
    if let Some(rom) = name.strip_prefix("rom:") {
        return Ok((test_rom(rom)?, format!("`{name}`")));
    }
    if let Some(known) = find(name) {
        let path = locate(known, places).ok_or_else(|| missing("firmware", known, places))?;
        let bytes = read_file("firmware", &path, largest)?;
        return Ok((bytes, format!("`{name}` ({})", path.display())));
    }
    let path = places.resolve(name);
    let looks_like_a_path = name.contains(['/', '.', '\\']) || path.exists();
    if !looks_like_a_path {
        let names = || KNOWN.iter().map(|known| known.name);
        return Err(InputError(format!(
            "unknown firmware `{name}`{}; expected a path, rom:NAME, or one of {}",
            or_did_you_mean(name, names()),
            names().collect::<Vec<_>>().join(", ")
        )));
    }
    let bytes = read_file("firmware", &path, largest)?;
    Ok((bytes, format!("`{}`", path.display())))
}

/// The image of one of the project's own ROMs.
///
/// # Errors
/// When there is no such ROM.
pub fn test_rom(name: &str) -> Result<Vec<u8>, InputError> {
    let rom = warmboot_test_roms::find(name).ok_or_else(|| {
        let names: Vec<&str> = warmboot_test_roms::all().iter().map(|rom| rom.name).collect();
        InputError(format!(
            "unknown test ROM `{name}`{}; there are {}",
            or_did_you_mean(name, names.iter().copied()),
            names.join(", ")
        ))
    })?;
    (rom.build)().map_err(|error| InputError(format!("test ROM `{name}`: {error}")))
}

fn missing(what: &str, known: &Known, places: &Places) -> InputError {
    let folders: Vec<String> = places
        .firmware_folders
        .iter()
        .map(|folder| folder.display().to_string())
        .chain(known.folders.iter().map(|folder| (*folder).to_owned()))
        .collect();
    let task = if matches!(what, "kernel" | "initrd") { "payloads" } else { "firmware" };
    let file = known.files.join(" or ");
    let sought = match folders.as_slice() {
        [] => format!("no folder `firmware` to look for {file} in"),
        folders => format!("no {file} in {}", folders.join(", ")),
    };
    InputError(format!(
        "{what} `{}` is not here: {sought}; `cargo xtask {task}` brings it, Debian has it in package {}, and --{what} \
         takes any path",
        known.name, known.package
    ))
}

/// Reads a file of at most `largest` bytes; a larger one comes back one byte too long.
fn read_file(what: &str, path: &Path, largest: u64) -> Result<Vec<u8>, InputError> {
    let fail = |error: io::Error| InputError(format!("cannot read {what} `{}`: {error}", path.display()));
    if fs::metadata(path).map_err(fail)?.is_dir() {
        return Err(InputError(format!("`{}` is a directory; expected an image file", path.display())));
    }
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut bytes)).map_err(fail)?;
    Ok(bytes)
}

/// The folders a download may be in: `firmware/` here or in a folder above, then beside the program.
#[must_use]
pub fn download_folders() -> Vec<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let mut folders: Vec<PathBuf> = Vec::new();
    for start in [here, program].into_iter().flatten() {
        for above in start.ancestors() {
            let folder = above.join("firmware");
            if folder.is_dir() && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::good("good", Some(128 << 10), None)]
    #[case::empty("empty", Some(0), Some("is empty"))]
    #[case::odd("odd", Some(1000), Some("has 1000 bytes; expected a multiple of 64 KiB"))]
    #[case::huge("huge", Some((16 << 20) + 65536), Some("has more than 16 MiB"))]
    #[case::missing("missing", None, Some("cannot read firmware"))]
    fn sizes(#[case] name: &str, #[case] size: Option<usize>, #[case] expect: Option<&str>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(format!("{name}.bin"));
        if let Some(size) = size {
            fs::write(&path, vec![0; size]).expect("a file");
        }
        let result = system(&path.display().to_string(), &Places::default());
        match (result, expect) {
            (Ok(firmware), None) => assert_eq!(Some(firmware.bytes.len()), size),
            (Err(error), Some(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case("/", "is a directory; expected an image file")]
    #[case("seabois", "did you mean `seabios`?")]
    #[case("rom:nothing-like-it", "unknown test ROM `nothing-like-it`")]
    fn refused(#[case] name: &str, #[case] expect: &str) {
        let error = system(name, &Places::default()).expect_err("refused").to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_missing_one_names_its_package() {
        let known =
            Known { name: "x", files: &["x.bin"], package: "xpkg", folders: &["/nowhere"], about: "" };
        assert_eq!(locate(&known, &Places::default()), None);
        assert!(missing("firmware", &known, &Places::default()).to_string().contains("package xpkg"));
    }
}
