//! Standard output that may be closed, and files that appear whole or not at all.

use std::{
    fmt::Display,
    fs::{self, File},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use tempfile::NamedTempFile;
use warmboot::scenario::problem::InputError;

/// Writes data to standard output. False when nobody reads it any more.
///
/// # Errors
/// Any other failure, such as a full disk.
pub(crate) fn print(bytes: &[u8]) -> Result<bool, InputError> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(InputError::new(format!("cannot write to standard output: {error}"))),
    }
}

/// Writes a message to standard error, if anyone listens.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Whether a progress bar has a place.
pub(crate) fn can_show_progress() -> bool {
    io::stderr().is_terminal()
}

/// Where `FILE` or `-` goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Standard output.
    Standard,
    /// A regular file, written beside its place and renamed when it is complete.
    Replace { path: PathBuf },
    /// A device or a pipe, written directly.
    Direct { path: PathBuf, file: File },
}

impl Sink {
    /// Opens `name` for writing, so that what cannot be written is said before a long run.
    ///
    /// # Errors
    /// One sentence with the name.
    pub(crate) fn open(name: &str) -> Result<Sink, InputError> {
        if name == "-" {
            return Ok(Sink::Standard);
        }
        let path = PathBuf::from(name);
        let fail = |error: io::Error| InputError::new(format!("cannot write `{name}`: {error}"));
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => {
                Err(InputError::new(format!("cannot write `{name}`: it is a directory")))
            }
            Ok(there) if !there.is_file() => {
                let file = fs::OpenOptions::new().write(true).open(&path).map_err(fail)?;
                Ok(Sink::Direct { path, file })
            }
            there => {
                // A file that may not be written must not be replaced either.
                if there.is_ok() {
                    fs::OpenOptions::new().write(true).open(&path).map_err(fail)?;
                }
                // Behind a symbolic link, the file it leads to is replaced, not the link.
                let path = fs::canonicalize(&path).unwrap_or(path);
                // Gone again at once: a run that is killed leaves nothing behind.
                drop(beside(&path).map_err(fail)?);
                Ok(Sink::Replace { path })
            }
        }
    }

    /// Whether this is standard output.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self, Sink::Standard)
    }

    /// Whether what goes to `other` would mix with this or replace it.
    pub(crate) fn is_same(&self, other: &Sink) -> bool {
        match (self, other) {
            (Sink::Standard, Sink::Standard) => true,
            (Sink::Replace { path }, Sink::Replace { path: other }) => path == other,
            _ => false,
        }
    }

    /// Writes all of it and, for a file, puts it in its place.
    ///
    /// # Errors
    /// One sentence with the name; then what was there before is still there.
    pub(crate) fn finish(self, bytes: &[u8]) -> Result<(), InputError> {
        let fail = |path: &Path, error: &io::Error| {
            InputError::new(format!("cannot write `{}`: {error}", path.display()))
        };
        match self {
            Sink::Standard => print(bytes).map(|_| ()),
            Sink::Direct { path, mut file } => file.write_all(bytes).map_err(|error| fail(&path, &error)),
            Sink::Replace { path } => {
                replace(&path, |file| file.write_all(bytes)).map_err(|error| fail(&path, &error))
            }
        }
    }
}

/// Prints a report: as text for a person, or as one JSON object.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print_report(report: &(impl Serialize + Display), json: bool) -> Result<(), InputError> {
    if json { print_json(report) } else { print(report.to_string().as_bytes()).map(|_| ()) }
}

/// Prints one JSON object and ends the line.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn print_json(report: &impl Serialize) -> Result<(), InputError> {
    let mut text = serde_json::to_string(report).map_err(|error| InputError::new(error.to_string()))?;
    text.push('\n');
    print(text.as_bytes()).map(|_| ())
}

/// Puts a file that `write` fills in the place of `path`: whole, or not at all.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = beside(path)?;
    write(file.as_file_mut())?;
    if let Ok(there) = fs::metadata(path) {
        file.as_file().set_permissions(there.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

/// A temporary file in `path`'s folder with the permissions any new file would have.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Said of the folder, not of a temporary name in it.
    fs::metadata(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".warmboot-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::other("its folder cannot be written"),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("image");
        fs::write(&path, b"old").expect("a file");
        let failed = replace(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).expect("read"), b"old");
        replace(&path, |file| file.write_all(b"new")).expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        drop(Sink::open(&path.display().to_string()).expect("opened"));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "something is left behind");
    }
}
