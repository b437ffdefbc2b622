//! Drives: how they are written on a command line, and the host files behind them.
//!
//! Machines see a disk as a shared, read-only block source and keep what the guest writes in a layer
//! of their own; files are opened here, not below.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use warmboot_machine::{BlockSource, Disk, DiskError, Drive, DriveKind, MemorySource, Slot, ZeroSource};

use crate::{firmware, problem::InputError, spec::Places};

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
    /// A CD-ROM; otherwise images that are ISO 9660 by name are.
    pub cdrom: bool,
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
            cdrom: false,
        }
    }

    /// Parses `ide0-0=disk.img[,readonly][,latency=50ms][,write]`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn parse(text: &str) -> Result<DriveSpec, InputError> {
        let expected = "expected SLOT=IMAGE[,readonly][,latency=50ms][,write], such as ide0-0=disk.img";
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
                _ => {
                    return Err(InputError(format!(
                        "drive `{text}`: unknown option `{option}`; expected readonly, latency=TIME or write"
                    )));
                }
            }
        }
        if drive.read_only && drive.write_back {
            return Err(InputError(format!("drive `{text}`: readonly and write exclude each other")));
        }
        Ok(drive)
    }

    /// The slot, the file to write back to, and the drive to build a machine with.
    ///
    /// # Errors
    /// A slot that does not exist, an image that cannot be read or, with `write`, written.
    pub fn open(&self, places: &Places) -> Result<Drive, InputError> {
        let at: Slot =
            self.at.parse().map_err(|error| InputError(format!("drive `{}`: {error}", self.at)))?;
        let (source, is_cd) = self.source(places)?;
        let kind = match at {
            Slot::Floppy(_) => DriveKind::Floppy,
            Slot::Ide { .. } | Slot::Sata(_) if self.cdrom || is_cd => DriveKind::Cdrom,
            Slot::Ide { .. } | Slot::Sata(_) | Slot::Virtio(_) => DriveKind::HardDisk,
        };
        if self.cdrom && kind != DriveKind::Cdrom {
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
        if fs::metadata(&path).map_err(fail)?.is_dir() {
            return Err(InputError(format!(
                "image `{}` of drive {} is a directory; expected a file",
                path.display(),
                self.at
            )));
        }
        if self.write_back {
            fs::OpenOptions::new().write(true).open(&path).map_err(|error| {
                InputError(format!("cannot write image `{}` of drive {}: {error}", path.display(), self.at))
            })?;
        }
        let is_cd = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
        Ok((Arc::new(FileSource::open(&path).map_err(fail)?), is_cd))
    }
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

/// A host file as a block source. Its digest is taken when it is opened.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
    digest: [u8; 32],
}

impl FileSource {
    /// Opens `path` for reading and digests it.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn open(path: &Path) -> io::Result<FileSource> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut hasher = blake3::Hasher::new();
        let mut size = 0_u64;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        Ok(FileSource { file, size, digest: *hasher.finalize().as_bytes() })
    }
}

impl BlockSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        read_exact_at(&self.file, offset, bytes)
            .map_err(|error| DiskError::Source { offset, reason: error.to_string() })
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += count as u64;
        bytes = bytes.get_mut(count..).unwrap_or_default();
    }
    Ok(())
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

    #[test]
    fn files_are_read_where_asked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        fs::write(&path, b"0123456789").expect("a file");
        let source = FileSource::open(&path).expect("opened");
        let mut bytes = [0; 4];
        source.read_at(3, &mut bytes).expect("read");
        assert_eq!((&bytes, source.size()), (b"3456", 10));
        assert_eq!(source.digest(), *blake3::hash(b"0123456789").as_bytes());
        assert!(source.read_at(8, &mut bytes).is_err());
    }
}
