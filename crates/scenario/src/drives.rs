//! Drives: how they are written on a command line, and the host files behind them.
//!
//! Machines see a disk as a shared, read-only block source and keep what the guest writes in a layer
//! of their own; files are opened here, not below.

use std::{fs, io, path::PathBuf, sync::Arc};

use warmboot_machine::{BlockSource, Disk, Drive, DriveKind, MemorySource, Slot, ZeroSource};

use crate::{
    firmware,
    images::{self, Format},
    problem::InputError,
    spec::Places,
};

/// A drive as the user writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriveSpec {
    /// Where it is connected: `ide0-0`, `floppy0`.
    pub at: String,
    /// A path, `rom:NAME` (one of our own images) or `zero:SIZE`.
    pub image: String,
    /// Writes by the guest fail.
    pub read_only: bool,
    /// Time from a command to its data, in nanoseconds; a short one when not said.
    pub latency: Option<u64>,
    /// What the guest wrote goes to the file at the end of the run.
    pub write_back: bool,
    /// A CD-ROM, or a disk; when not said, images named `.iso` are CD-ROMs.
    pub cdrom: Option<bool>,
    /// What the file is made of; when not said, how it begins decides.
    pub format: Option<Format>,
}

impl DriveSpec {
    /// A drive with `image` at `at` and nothing else said.
    #[must_use]
    pub fn new(at: &str, image: &str) -> DriveSpec {
        DriveSpec {
            at: at.to_owned(),
            image: image.to_owned(),
            read_only: false,
            latency: None,
            write_back: false,
            cdrom: None,
            format: None,
        }
    }

    /// Parses `ide0-0=disk.img[,readonly][,latency=50ms][,format=raw][,media=disk][,write]`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<DriveSpec, InputError> {
        let expected = "expected SLOT=IMAGE[,readonly][,latency=50ms][,format=raw][,media=disk][,write], such as \
                        ide0-0=disk.img";
        let (at, rest) =
            text.split_once('=').ok_or_else(|| InputError(format!("drive `{text}`: {expected}")))?;
        let mut parts = rest.split(',');
        let image = parts.next().unwrap_or_default();
        if at.is_empty() || image.is_empty() {
            return Err(InputError(format!("drive `{text}`: {expected}")));
        }
        let mut drive = DriveSpec::new(at, image);
        for option in parts {
            match option.split_once('=') {
                None if option == "readonly" => drive.read_only = true,
                None if option == "write" => drive.write_back = true,
                Some(("latency", time)) => {
                    let time = warmboot_machine::time(time);
                    drive.latency =
                        Some(time.map_err(|error| InputError(format!("drive `{text}`: {error}")))?);
                }
                Some(("format", name)) => {
                    drive.format = Some(
                        format(name)
                            .map_err(|InputError(error)| InputError(format!("drive `{text}`: {error}")))?,
                    );
                }
                Some(("media", "disk")) => drive.cdrom = Some(false),
                Some(("media", "cdrom")) => drive.cdrom = Some(true),
                _ => {
                    return Err(InputError(format!(
                        "drive `{text}`: unknown option `{option}`; expected readonly, latency=TIME, \
                         format=raw, format=qcow2, media=disk, media=cdrom or write"
                    )));
                }
            }
        }
        if drive.read_only && drive.write_back {
            return Err(InputError(format!("drive `{text}`: readonly and write exclude each other")));
        }
        Ok(drive)
    }

    /// The drive to build a machine with.
    ///
    /// # Errors
    /// A slot that does not exist, an image that cannot be read or, with `write`, written.
    pub fn open(&self, places: &Places) -> Result<Drive, InputError> {
        let at: Slot =
            self.at.parse().map_err(|error| InputError(format!("drive `{}`: {error}", self.at)))?;
        let (source, is_cd) = self.source(places)?;
        let kind = match at {
            Slot::Floppy(_) => DriveKind::Floppy,
            Slot::Ide { .. } | Slot::Sata(_) if self.cdrom.unwrap_or(is_cd) => DriveKind::Cdrom,
            Slot::Ide { .. } | Slot::Sata(_) | Slot::Virtio(_) => DriveKind::HardDisk,
        };
        if self.cdrom == Some(true) && kind != DriveKind::Cdrom {
            let is = if kind == DriveKind::Floppy { "a floppy" } else { "a virtio disk" };
            return Err(InputError(format!("drive `{}`: a CD-ROM cannot be {is}", self.at)));
        }
        if self.write_back && kind == DriveKind::Cdrom {
            return Err(InputError(format!("drive `{}`: a CD-ROM cannot be written", self.at)));
        }
        Ok(Drive {
            at,
            kind,
            source,
            name: self.image.clone(),
            read_only: self.read_only,
            latency: self.latency.unwrap_or(Disk::DEFAULT_LATENCY_NS),
        })
    }

    /// The file of a drive whose writes go back to it.
    #[must_use]
    pub fn path(&self, places: &Places) -> PathBuf {
        places.resolve(&self.image)
    }

    fn source(&self, places: &Places) -> Result<(Arc<dyn BlockSource>, bool), InputError> {
        let made = self.image.strip_prefix("rom:").is_some() || self.image.strip_prefix("zero:").is_some();
        if made && self.write_back {
            return Err(InputError(format!(
                "drive `{}`: `{}` is not a file to write to",
                self.at, self.image
            )));
        }
        if made && self.format.is_some() {
            return Err(InputError(format!("drive `{}`: `{}` has no format", self.at, self.image)));
        }
        if let Some(name) = self.image.strip_prefix("rom:") {
            let bytes = firmware::test_rom(name)?;
            let is_cd = is_iso9660(&bytes);
            return Ok((Arc::new(MemorySource(bytes.into())), is_cd));
        }
        if let Some(size) = self.image.strip_prefix("zero:") {
            let size = bytes(size).ok_or_else(|| {
                InputError(format!("drive `{}`: `zero:{size}` is no size; expected zero:8M", self.at))
            })?;
            return Ok((Arc::new(ZeroSource { size }), false));
        }
        let path = places.resolve(&self.image);
        let fail = |error: io::Error| {
            InputError(format!("cannot read image `{}` of drive {}: {error}", path.display(), self.at))
        };
        if self.write_back {
            let format = match self.format {
                Some(format) => format,
                None => images::format_of(&path).map_err(fail)?,
            };
            let cannot = |why: &str| {
                InputError(format!("cannot write image `{}` of drive {}: {why}", path.display(), self.at))
            };
            if format == Format::Qcow2 {
                return Err(cannot(
                    "it is a qcow2 image, and those are only read; leave `write` out, or put a raw image there \
                     (qemu-img convert -O raw)",
                ));
            }
            fs::OpenOptions::new().write(true).open(&path).map_err(|error| cannot(&error.to_string()))?;
        }
        let is_cd = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
        Ok((images::open(&path, self.format).map_err(fail)?, is_cd))
    }
}

/// A format by its name.
pub(crate) fn format(name: &str) -> Result<Format, InputError> {
    Format::named(name)
        .ok_or_else(|| InputError(format!("`{name}` is no format of images; expected raw or qcow2")))
}

/// A size in bytes with a binary suffix; without one, bytes.
fn bytes(text: &str) -> Option<u64> {
    match text.parse::<u64>() {
        Ok(bytes) => Some(bytes),
        Err(_) => warmboot_machine::memory(text).ok(),
    }
}

/// Whether an image has a volume descriptor where CD-ROMs have it (ECMA-119, section 8).
fn is_iso9660(bytes: &[u8]) -> bool {
    bytes.get(0x8001..0x8006) == Some(b"CD001")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("ide0-0=disk.img", Ok(DriveSpec::new("ide0-0", "disk.img")))]
    #[case::all("ide1-1=a,readonly,latency=50ms",
        Ok(DriveSpec { read_only: true, latency: Some(50_000_000), ..DriveSpec::new("ide1-1", "a") }))]
    #[case::write("floppy0=a.img,write",
        Ok(DriveSpec { write_back: true, ..DriveSpec::new("floppy0", "a.img") }))]
    #[case::no_slot("disk.img", Err("expected SLOT=IMAGE"))]
    #[case::no_image("ide0-0=", Err("expected SLOT=IMAGE"))]
    #[case::format("ide0-0=a,format=raw",
        Ok(DriveSpec { format: Some(Format::Raw), ..DriveSpec::new("ide0-0", "a") }))]
    #[case::disk("ide0-0=a.iso,media=disk",
        Ok(DriveSpec { cdrom: Some(false), ..DriveSpec::new("ide0-0", "a.iso") }))]
    #[case::no_media("ide0-0=a,media=tape", Err("unknown option `media=tape`"))]
    #[case::no_format("ide0-0=a,format=vmdk", Err("`vmdk` is no format"))]
    #[case::unknown("ide0-0=a,fast", Err("unknown option `fast`"))]
    #[case::both("ide0-0=a,readonly,write", Err("exclude each other"))]
    #[case::time("ide0-0=a,latency=soon", Err("`soon` is not a time"))]
    fn command_line(#[case] text: &str, #[case] expect: Result<DriveSpec, &str>) {
        match (DriveSpec::parse(text), expect) {
            (Ok(drive), Ok(expect)) => assert_eq!(drive, expect),
            (Err(error), Err(expect)) => assert!(error.to_string().contains(expect), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case("ide1-0=rom:cd-hello", DriveKind::Cdrom)]
    #[case("ide1-0=rom:cd-hello,media=disk", DriveKind::HardDisk)]
    #[case("ide1-0=zero:1M", DriveKind::HardDisk)]
    #[case("ide1-0=zero:1M,media=cdrom", DriveKind::Cdrom)]
    fn media(#[case] text: &str, #[case] expect: DriveKind) {
        let drive = DriveSpec::parse(text).and_then(|drive| drive.open(&Places::default()));
        assert_eq!(drive.expect("a drive").kind, expect);
    }

    #[rstest]
    #[case(DriveSpec::new("ide0-0", "/nowhere/disk.img"), "cannot read image")]
    #[case(DriveSpec::new("ide0-0", "/"), "is a directory")]
    #[case(DriveSpec::new("ide9-0", "zero:1M"), "ide9-0")]
    #[case(DriveSpec::new("scsi0", "zero:1M"), "scsi0")]
    #[case(DriveSpec::new("ide0-0", "zero:lots"), "is no size")]
    #[case(DriveSpec { write_back: true, ..DriveSpec::new("ide0-0", "zero:1M") }, "not a file to write to")]
    fn refused(#[case] drive: DriveSpec, #[case] expect: &str) {
        let error = drive.open(&Places::default()).map(|_| ()).expect_err("refused").to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
