//! Disk images in host files: which format a file has, and what names its contents.
//!
//! An image's `Content` is what a guest sees of it, whatever holds it. Its digest is taken of that,
//! so that a raw image and a qcow2 image of the same bytes are one disk; what holds no data is not read.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use warmboot_machine::{BlockSource, DiskError};

use crate::qcow2::{self, Named};

/// Up to this size the digest is BLAKE3 of all bytes, as `b3sum` prints it of a raw image.
const HASHED_WHOLE: u64 = 1 << 30;

/// What is looked at to tell a format.
const SECTOR: u64 = 512;

/// Larger ones are hashed by blocks of this size, those of zeros left out.
const BLOCK: u64 = 1 << 16;

/// Images that stand behind each other, at most.
pub(crate) const MAX_CHAIN: usize = 256;

/// What an image's file is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The disk's bytes, from the first to the last.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl Format {
    /// Every format, by the name QEMU has for it.
    pub const NAMES: [(&str, Format); 2] = [("raw", Format::Raw), ("qcow2", Format::Qcow2)];

    /// The format with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        Format::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

/// Formats that are known by how they begin, and not read: offset, bytes, name.
const OTHERS: [(usize, &[u8], &str); 6] = [
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0, b"QED\0", "QED"),
    (0x40, &[0x7f, 0x10, 0xda, 0xbe], "VDI"),
];

/// Bytes of an image, or of a file that holds one.
pub(crate) trait Content: Send + Sync {
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset`; the range lies inside [`Content::size`].
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// The first bytes from `offset` to `end` that may be other than zero: a part of them, never empty.
    fn data_from(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>>;
}

/// A host file as it is.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    size: u64,
}

impl HostFile {
    pub(crate) fn open(path: &Path) -> io::Result<HostFile> {
        // Before it is opened, since opening a pipe waits for somebody at its other end.
        let about = fs::metadata(path)?;
        if !about.is_file() {
            let is = if about.is_dir() { "it is a directory" } else { "it is no regular file" };
            return Err(io::Error::other(format!("{is}; expected a file")));
        }
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(HostFile { file, size })
    }
}

impl Content for HostFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, offset, bytes)
    }

    fn data_from(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let end = end.min(self.size);
        Ok(data_from(&self.file, offset)
            .filter(|data| data.start < end)
            .map(|data| Range { start: data.start, end: data.end.min(end) }))
    }
}

/// An image in memory.
impl Content for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let source = start.checked_add(bytes.len()).and_then(|end| self.get(start..end));
        bytes.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn data_from(&self, offset: u64, end: u64) -> io::Result<Option<Range<u64>>> {
        let end = end.min(self.size());
        Ok((offset < end).then_some(offset..end))
    }
}

/// An image as machines have it.
struct ImageSource {
    content: Arc<dyn Content>,
    digest: [u8; 32],
}

impl BlockSource for ImageSource {
    fn size(&self) -> u64 {
        self.content.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), DiskError> {
        self.content
            .read_at(offset, bytes)
            .map_err(|error| DiskError::Source { offset, reason: error.to_string() })
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Opens the image at `path`, and those behind it, and digests what a guest sees of it.
///
/// # Errors
/// When it, or one behind it, cannot be read, or is no image of its format.
pub fn open(path: &Path, format: Option<Format>) -> io::Result<Arc<dyn BlockSource>> {
    let content = open_content(path, format, &mut Vec::new())?;
    let digest = digest(content.as_ref())?;
    Ok(Arc::new(ImageSource { content, digest }))
}

/// Opens the image at `path`; `chain` are those in front of it.
pub(crate) fn open_content(
    path: &Path,
    format: Option<Format>,
    chain: &mut Vec<PathBuf>,
) -> io::Result<Arc<dyn Content>> {
    let whole = path.canonicalize()?;
    if chain.contains(&whole) {
        return Err(io::Error::other("it stands behind itself"));
    }
    if chain.len() >= MAX_CHAIN {
        return Err(io::Error::other(format!("more than {MAX_CHAIN} images stand behind each other")));
    }
    let file = HostFile::open(&whole)?;
    let format = match format {
        Some(format) => format,
        None => probe(&file)?,
    };
    match format {
        Format::Raw => Ok(Arc::new(file)),
        Format::Qcow2 => {
            chain.push(whole);
            let mut find = |named: &Named| {
                let (what, name, format) = match named {
                    Named::Backing { name, format } => ("backing", name, *format),
                    Named::Data { name } => ("data", name, Some(Format::Raw)),
                };
                behind(path, name).and_then(|path| open_content(&path, format, chain)).map_err(|error| {
                    io::Error::other(format!("its {what} file `{}`: {error}", name.escape_debug()))
                })
            };
            let image = qcow2::Image::open(Arc::new(file), &mut find)?;
            chain.pop();
            Ok(Arc::new(image))
        }
    }
}

/// Where the file is that the image at `path` calls `name`: relative names begin in the image's folder.
fn behind(path: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = name.strip_prefix("file:").unwrap_or(name);
    // A drive letter is no protocol.
    let protocol = plain.split_once(':').filter(|(before, _)| before.len() > 1 && !before.contains('/'));
    match protocol {
        Some((protocol, _)) => {
            Err(io::Error::other(format!("`{}:` is not read; expected a file", protocol.escape_debug())))
        }
        None => Ok(path.parent().unwrap_or(Path::new("")).join(plain)),
    }
}

/// The format that an image's first bytes say it has, as QEMU goes by them.
///
/// # Errors
/// When it cannot be read, or the format is known and not read.
pub fn format_of(path: &Path) -> io::Result<Format> {
    probe(&HostFile::open(path)?)
}

/// Whether an image that begins so is taken for a raw one.
#[must_use]
pub fn begins_raw(start: &[u8]) -> bool {
    matches!(begins(start), Ok(Format::Raw))
}

fn probe(file: &dyn Content) -> io::Result<Format> {
    let mut start = vec![0; file.size().min(SECTOR) as usize];
    file.read_at(0, &mut start)?;
    begins(&start).map_err(|name| {
        io::Error::other(format!(
            "it begins as a {name} image, which is not read; `qemu-img convert` makes a qcow2 or raw one \
             of it, and format=raw takes it as it is"
        ))
    })
}

/// The format of an image that begins so, or the name of one that is not read.
fn begins(start: &[u8]) -> Result<Format, &'static str> {
    if start.starts_with(&qcow2::MAGIC) {
        return Ok(Format::Qcow2);
    }
    let begins = |at: usize, magic: &[u8]| start.get(at..).is_some_and(|start| start.starts_with(magic));
    match OTHERS.iter().find(|(at, magic, _)| begins(*at, magic)) {
        None => Ok(Format::Raw),
        Some((_, _, name)) => Err(name),
    }
}

/// What names an image's bytes: BLAKE3 of them, or for a large one of its size and of each block that
/// is not all zeros, with its number.
pub(crate) fn digest(content: &dyn Content) -> io::Result<[u8; 32]> {
    let size = content.size();
    let mut hasher = blake3::Hasher::new();
    let whole = size <= HASHED_WHOLE;
    if !whole {
        hasher.update(b"warmboot large image");
        hasher.update(&size.to_le_bytes());
    }
    let mut buffer = vec![0; BLOCK as usize];
    let mut at = 0;
    while let Some(data) = content.data_from(at, size)? {
        let start = data.start / BLOCK * BLOCK;
        if whole {
            zeros(&mut hasher, start - at);
        }
        let mut block = start;
        while block < data.end {
            let length = BLOCK.min(size - block);
            let bytes = buffer.get_mut(..length as usize).unwrap_or_default();
            content.read_at(block, bytes)?;
            if whole {
                hasher.update(bytes);
            } else if bytes.iter().any(|byte| *byte != 0) {
                hasher.update(&(block / BLOCK).to_le_bytes());
                hasher.update(bytes);
            }
            block += length;
        }
        at = block;
        if at >= size {
            break;
        }
    }
    if whole {
        zeros(&mut hasher, size - at);
    }
    Ok(*hasher.finalize().as_bytes())
}

fn zeros(hasher: &mut blake3::Hasher, mut count: u64) {
    static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    while count > 0 {
        let length = count.min(BLOCK);
        hasher.update(ZEROS.get(..length as usize).unwrap_or_default());
        count -= length;
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

/// The next part of a file that is no hole; all that follows where the host cannot say.
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
fn data_from(file: &File, offset: u64) -> Option<Range<u64>> {
    use rustix::{
        fs::{SeekFrom, seek},
        io::Errno,
    };
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => {
            let end = seek(file, SeekFrom::Hole(start)).ok().filter(|end| *end > start);
            Some(start..end.unwrap_or(u64::MAX))
        }
        Err(Errno::NXIO) => None,
        Err(_) => Some(offset..u64::MAX),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
fn data_from(_: &File, offset: u64) -> Option<Range<u64>> {
    Some(offset..u64::MAX)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn files_are_read_where_asked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        fs::write(&path, b"0123456789").expect("a file");
        let source = open(&path, None).expect("opened");
        let mut bytes = [0; 4];
        source.read_at(3, &mut bytes).expect("read");
        assert_eq!((&bytes, source.size()), (b"3456", 10));
        assert_eq!(source.digest(), *blake3::hash(b"0123456789").as_bytes());
        assert!(source.read_at(8, &mut bytes).is_err());
    }

    /// What begins as another format is refused, unless it is said to be raw.
    #[rstest]
    #[case::short(b"QFI", None)]
    #[case::qcow2(b"QFI\xfb\0\0\0\x03", Some("does not begin with a qcow2 header"))]
    #[case::vmdk(b"KDMV\x01", Some("begins as a VMDK image"))]
    #[case::vhd(b"conectix", Some("begins as a VHD image"))]
    #[case::vdi(&[[0; 0x40].as_slice(), &[0x7f, 0x10, 0xda, 0xbe]].concat(), Some("begins as a VDI image"))]
    fn formats(#[case] start: &[u8], #[case] refused: Option<&str>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        fs::write(&path, start).expect("a file");
        match (open(&path, None).map(|source| source.size()), refused) {
            (Ok(size), None) => assert_eq!(size, start.len() as u64),
            (Err(error), Some(refused)) => assert!(error.to_string().contains(refused), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
        let raw = open(&path, Some(Format::Raw)).expect("opened");
        assert_eq!(raw.digest(), *blake3::hash(start).as_bytes());
    }

    /// A pipe would wait for somebody who writes.
    #[test]
    fn folders_and_devices_are_refused() {
        for (path, expect) in [("/", "it is a directory"), ("/dev/null", "it is no regular file")] {
            let error = open(Path::new(path), None).map(|_| ()).expect_err("refused").to_string();
            assert!(error.contains(expect), "{error}");
        }
    }
}
