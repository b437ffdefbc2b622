//! Files that appear whole or not at all.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::problem::InputError;

/// Puts a file that `write` fills in the place of `path`; what was there stays when that fails. Behind a
/// symbolic link, the file it leads to is replaced, not the link.
///
/// # Errors
/// What is wrong with `path`, which the message does not name; or what `write` says.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut growing = Growing::begin(path)?;
    write(growing.file.as_file_mut())?;
    growing.finish()
}

/// A file that is written bit by bit and put in its place at the end; without that, nothing of it stays.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    file: NamedTempFile,
}

impl Growing {
    /// Begins one for the place of `path`.
    ///
    /// # Errors
    /// As [`replace`].
    pub fn begin(path: &Path) -> io::Result<Growing> {
        let path = place(path)?;
        let file = beside(&path)?;
        Ok(Growing { path, file })
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// As [`replace`].
    pub fn finish(self) -> io::Result<()> {
        let Growing { path, file } = self;
        if let Ok(there) = fs::metadata(&path) {
            file.as_file().set_permissions(there.permissions())?;
        }
        file.as_file().sync_all()?;
        file.persist(path).map(|_| ()).map_err(|error| error.error)
    }
}

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Whether [`replace`] could put a file in the place of `path`, to be asked before a long run; gives that
/// place, by which two names of one file can be told.
///
/// # Errors
/// As [`replace`].
pub fn check(path: &Path) -> io::Result<PathBuf> {
    let path = place(path)?;
    // Gone again at once: a run that is killed leaves nothing behind.
    beside(&path)?.close()?;
    Ok(path)
}

/// [`replace`] with these bytes.
///
/// # Errors
/// One sentence with the name.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    replace(path, |file| io::Write::write_all(file, bytes))
        .map_err(|error| InputError(format!("cannot write `{}`: {error}", path.display())))
}

/// Where the file called `path` is or would be.
fn place(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::Error::other("it is a directory")),
        Ok(there) if !there.is_file() => Err(io::Error::other("it is no regular file")),
        Ok(_) => {
            // A file that may not be written must not be replaced either.
            fs::OpenOptions::new().write(true).open(path)?;
            fs::canonicalize(path)
        }
        Err(_) => {
            let name = path.file_name().ok_or_else(|| io::Error::other("that names no file"))?;
            Ok(fs::canonicalize(folder(path))?.join(name))
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A temporary file in `path`'s folder with the permissions any new file would have.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    // Opened here, because tempfile's own errors tell its name, which nobody has heard of.
    let open = |name: &Path| fs::OpenOptions::new().read(true).write(true).create_new(true).open(name);
    tempfile::Builder::new().prefix(".warmboot-").make_in(folder(path), open).map_err(|error| {
        match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::other("its folder cannot be written"),
            _ => error,
        }
    })
}

/// `text` as a file's name: what is no letter, digit or `-_.=` becomes `_`.
pub(crate) fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.=".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rstest::rstest;

    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        write(&path, b"old").expect("written");
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("read"), b"old");
        write(&path, b"new").expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        check(&path).expect("it could be replaced");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "something is left behind");
    }

    #[rstest]
    #[case::no_folder("none/a", "No such file or directory (os error 2)")]
    #[case::folder("sub", "it is a directory")]
    #[case::here("sub/.", "it is a directory")]
    #[case::no_name("sub/..", "it is a directory")]
    #[case::device("/dev/null", "it is no regular file")]
    // Nothing can be made in /proc, not even by root.
    #[case::no_new_files("/proc/a", "No such file or directory (os error 2)")]
    #[case::long(&"x".repeat(256), "File name too long (os error 36)")]
    #[cfg(target_os = "linux")]
    fn refused(#[case] name: &str, #[case] expect: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("sub")).expect("a folder");
        let path = folder.path().join(name);
        let error = write(&path, b"").expect_err("refused").to_string();
        assert_eq!(error, format!("cannot write `{}`: {expect}", path.display()));
    }

    #[test]
    fn names() {
        assert_eq!(name("a/b [c=1, d=rom:x]"), "a_b__c=1__d=rom_x_");
    }
}
