//! COM1 on standard input: a terminal, a pipe or a file.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Read},
    sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    thread,
    time::Duration,
};

use warmboot::{
    Machine,
    scenario::{input::Entry, problem::InputError, session::Finish},
};

use super::{live::Host, output, terminal};

/// Ctrl+A, after which a key is for us.
const ESCAPE: u8 = 0x01;
const HELP: &str = "\r\nCtrl+A x  ends the run\r\nCtrl+A Ctrl+A  sends Ctrl+A\r\nCtrl+A h  prints this\r";
/// Bytes that may wait for the guest before a pipe or file is read no further.
const MOST_WAITING: usize = 4096;

/// Standard input, read by a thread so that a run need not wait for it.
pub(crate) struct Standard {
    source: Receiver<Vec<u8>>,
    waiting: VecDeque<u8>,
    /// There is more to come than what waits.
    more: bool,
    /// A file: what comes, and when, does not depend on who writes it.
    at_once: bool,
    /// Nothing more will be entered.
    closed: bool,
    keys: Option<Keys>,
    _terminal: Option<terminal::Changed>,
}

/// What of a terminal's keys is for us.
#[derive(Default)]
struct Keys {
    escaped: bool,
    quit: bool,
}

impl Standard {
    /// Begins to read.
    pub(crate) fn open() -> Result<Standard, InputError> {
        let terminal = io::stdin().is_terminal().then(terminal::Changed::raw).transpose()?;
        if terminal.is_some() {
            output::complain("COM1 is this terminal: Ctrl+A x ends the run, Ctrl+A h says more\r");
        }
        let (sender, source) = mpsc::sync_channel(4);
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = io::stdin().lock().read(&mut bytes) {
                if sender.send(bytes.get(..length).unwrap_or_default().to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Standard {
            source,
            waiting: VecDeque::new(),
            more: true,
            at_once: is_file(),
            closed: false,
            keys: terminal.is_some().then(Keys::default),
            _terminal: terminal,
        })
    }

    /// Takes what was read. A terminal is heard even when the guest takes nothing.
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.keys {
            None => self.waiting.extend(bytes),
            Some(keys) => {
                self.waiting.extend(bytes.iter().filter_map(|byte| keys.sift(*byte)));
            }
        }
    }

    fn has_room(&self) -> bool {
        self.more && (self.keys.is_some() || self.waiting.len() < MOST_WAITING)
    }
}

impl Keys {
    /// What of a byte is the guest's.
    fn sift(&mut self, byte: u8) -> Option<u8> {
        if !std::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return (byte != ESCAPE).then_some(byte);
        }
        match byte {
            ESCAPE => return Some(ESCAPE),
            b'x' => self.quit = true,
            b'h' | b'?' => output::complain(HELP),
            _ => {}
        }
        None
    }
}

impl Host for Standard {
    fn is_open(&self) -> bool {
        !self.closed
    }

    fn is_paced(&self) -> bool {
        self.more && !self.at_once
    }

    fn look(&mut self, _: &Machine, patience: Duration) -> Result<(), InputError> {
        let mut patience = patience;
        while self.has_room() {
            let read = if self.at_once {
                self.source.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else if patience.is_zero() {
                self.source.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            } else {
                self.source.recv_timeout(patience)
            };
            match read {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => self.more = false,
            }
            patience = Duration::ZERO;
        }
        thread::sleep(patience);
        Ok(())
    }

    fn quits(&self) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.quit)
    }

    fn next(&mut self, machine: &Machine) -> Option<Entry> {
        if self.waiting.is_empty() && !self.more {
            self.closed = true;
            return Some(Entry::Close);
        }
        if machine.serial_has_room() != Some(true) {
            return None;
        }
        self.waiting.pop_front().map(|byte| Entry::Send(vec![byte]))
    }

    fn refused(&mut self, _: &str) {}

    fn over(&mut self, _: &Machine, _: &Finish) -> Result<(), InputError> {
        Ok(())
    }
}

/// Whether standard input is a file, all of which is there.
#[cfg(unix)]
fn is_file() -> bool {
    use std::os::fd::AsFd;
    let input = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    input.and_then(|input| input.metadata()).is_ok_and(|input| input.is_file())
}

#[cfg(not(unix))]
fn is_file() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain(b"ls\r\x03\x1b[A", b"ls\r\x03\x1b[A", false)]
    #[case::escape_sent(b"a\x01\x01b", b"a\x01b", false)]
    #[case::quit(b"a\x01x", b"a", true)]
    #[case::quit_is_two_keys(b"\x01\x01x", b"\x01x", false)]
    #[case::unknown(b"\x01zz", b"z", false)]
    fn keys(#[case] typed: &[u8], #[case] sent: &[u8], #[case] quit: bool) {
        let mut keys = Keys::default();
        let found: Vec<u8> = typed.iter().filter_map(|byte| keys.sift(*byte)).collect();
        assert_eq!((found, keys.quit), (sent.to_vec(), quit));
    }
}
