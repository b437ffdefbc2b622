//! Standard output that may be closed, and files that appear whole or not at all.

use std::{
    cell::RefCell,
    fmt::Display,
    fs::{self, File, Metadata},
    io::{self, BufWriter, IntoInnerError, IsTerminal, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Serialize;
use warmboot::scenario::{files, problem::InputError};

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
    Replace { name: String, path: PathBuf },
    /// A device or a pipe, written directly.
    Direct { name: String, file: File },
}

fn cannot_write(name: &str, error: &io::Error) -> InputError {
    InputError::new(format!("cannot write `{name}`: {error}"))
}

impl Sink {
    /// Opens `name` for writing, so that what cannot be written is said before a long run.
    ///
    /// # Errors
    /// One sentence with the name.
    pub(crate) fn open(name: &str) -> Result<Sink, InputError> {
        let fail = |error: io::Error| cannot_write(name, &error);
        let there = fs::metadata(name).ok();
        if name == "-" || there.as_ref().is_some_and(is_standard_output) {
            return Ok(Sink::Standard);
        }
        let name = name.to_owned();
        match there {
            Some(there) if !there.is_file() && !there.is_dir() => {
                let file = fs::OpenOptions::new().write(true).open(&name).map_err(fail)?;
                Ok(Sink::Direct { name, file })
            }
            _ => Ok(Sink::Replace { path: files::check(Path::new(&name)).map_err(fail)?, name }),
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
            (Sink::Replace { path, .. }, Sink::Replace { path: other, .. }) => path == other,
            _ => false,
        }
    }

    /// Begins to write bit by bit.
    ///
    /// # Errors
    /// One sentence with the name.
    pub(crate) fn stream(self) -> Result<Stream, InputError> {
        let (name, to) = match self {
            Sink::Standard => ("standard output".to_owned(), Target::Standard),
            Sink::Direct { name, file } => (name, Target::Direct(BufWriter::new(file))),
            Sink::Replace { name, path } => {
                let growing = files::Growing::begin(&path).map_err(|error| cannot_write(&name, &error))?;
                (name, Target::Replace(BufWriter::new(growing)))
            }
        };
        Ok(Stream(Rc::new(RefCell::new(Streamed { name, to, closed: false, failed: None }))))
    }

    /// Writes all of it and, for a file, puts it in its place.
    ///
    /// # Errors
    /// One sentence with the name; then what was there before is still there.
    pub(crate) fn finish(self, bytes: &[u8]) -> Result<(), InputError> {
        let (name, written) = match self {
            Sink::Standard => return print(bytes).map(|_| ()),
            Sink::Direct { name, mut file } => (name, file.write_all(bytes)),
            Sink::Replace { name, path } => (name, files::replace(&path, |file| file.write_all(bytes))),
        };
        written.map_err(|error| cannot_write(&name, &error))
    }
}

/// A [`Sink`] that is written bit by bit. Its copies write to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Rc<RefCell<Streamed>>);

#[derive(Debug)]
struct Streamed {
    name: String,
    to: Target,
    /// Nobody reads it any more.
    closed: bool,
    failed: Option<io::Error>,
}

#[derive(Debug)]
enum Target {
    Standard,
    Direct(BufWriter<File>),
    Replace(BufWriter<files::Growing>),
    Finished,
}

impl Stream {
    /// Whether it can be written, and somebody reads it.
    pub(crate) fn is_open(&self) -> bool {
        let stream = self.0.borrow();
        !stream.closed && stream.failed.is_none()
    }

    /// Writes what is held back and, for a file, puts it in its place.
    ///
    /// # Errors
    /// One sentence with the name, for whatever failed first; then what was there before is still there.
    pub(crate) fn finish(&self) -> Result<(), InputError> {
        let mut stream = self.0.borrow_mut();
        let done = match (stream.failed.take(), std::mem::replace(&mut stream.to, Target::Finished)) {
            (Some(error), _) => Err(error),
            (None, Target::Standard | Target::Finished) => Ok(()),
            (None, Target::Direct(mut file)) => file.flush(),
            (None, Target::Replace(file)) => {
                file.into_inner().map_err(IntoInnerError::into_error).and_then(files::Growing::finish)
            }
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(cannot_write(&stream.name, &error))
            }
            _ => Ok(()),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.0.borrow_mut();
        let written = match &mut stream.to {
            Target::Standard => io::stdout().lock().write(bytes),
            Target::Direct(file) => file.write(bytes),
            Target::Replace(file) => file.write(bytes),
            Target::Finished => Ok(bytes.len()),
        };
        written.map_err(|error| stream.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut stream = self.0.borrow_mut();
        let flushed = match &mut stream.to {
            Target::Standard => io::stdout().lock().flush(),
            Target::Direct(file) => file.flush(),
            Target::Replace(file) => file.flush(),
            Target::Finished => Ok(()),
        };
        flushed.map_err(|error| stream.keep(error))
    }
}

impl Streamed {
    /// Keeps the first failure, for [`Stream::finish`].
    fn keep(&mut self, error: io::Error) -> io::Error {
        let again = io::Error::from(error.kind());
        match error.kind() {
            io::ErrorKind::BrokenPipe => self.closed = true,
            io::ErrorKind::Interrupted => {}
            _ if self.failed.is_none() => self.failed = Some(error),
            _ => {}
        }
        again
    }
}

/// Whether `there` is where standard output goes, called by another name: `/dev/stdout`, or the file it was
/// redirected to, which must not be replaced while the rest is being written to it.
#[cfg(unix)]
fn is_standard_output(there: &Metadata) -> bool {
    use std::os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    };
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let same = output
        .and_then(|output| output.metadata())
        .is_ok_and(|output| (output.dev(), output.ino()) == (there.dev(), there.ino()));
    // Nothing mixes in /dev/null.
    same && (!there.file_type().is_char_device() || io::stdout().is_terminal())
}

#[cfg(not(unix))]
fn is_standard_output(_: &Metadata) -> bool {
    false
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
