//! The TCP connection: whole packets out, bytes in.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use gdbstub::conn::Connection;

/// How often a wait for a byte looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(100);

/// One end of the connection.
pub(crate) struct Wire {
    stream: TcpStream,
    /// Received and not taken yet.
    input: Vec<u8>,
    taken: usize,
    /// Not sent yet.
    output: Vec<u8>,
}

/// Says whether something has come, without taking it.
pub(crate) struct Asks {
    stream: TcpStream,
}

impl Asks {
    /// Whether gdb has said something, or has gone.
    pub(crate) fn something(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let waits = matches!(&peeked, Err(error) if error.kind() == ErrorKind::WouldBlock);
        !waits || self.stream.set_nonblocking(false).is_err()
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<(Wire, Asks)> {
        // Each answer is waited for.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let asks = Asks { stream: stream.try_clone()? };
        Ok((Wire { stream, input: Vec::new(), taken: 0, output: Vec::new() }, asks))
    }

    /// The next byte, unless `give_up` says to wait no longer.
    pub(crate) fn wait(&mut self, give_up: impl Fn() -> bool) -> io::Result<u8> {
        self.flush()?;
        loop {
            if let Some(byte) = self.next() {
                return Ok(byte);
            }
            self.stream.set_nonblocking(false)?;
            self.receive()?;
            if give_up() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }

    /// A byte, if there is one.
    pub(crate) fn poll(&mut self) -> io::Result<Option<u8>> {
        self.flush()?;
        if self.taken == self.input.len() {
            self.stream.set_nonblocking(true)?;
            let received = self.receive();
            self.stream.set_nonblocking(false)?;
            received?;
        }
        Ok(self.next())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.input.get(self.taken).copied();
        self.taken += usize::from(byte.is_some());
        byte
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input = bytes.get(..count).unwrap_or_default().to_vec();
                self.taken = 0;
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Connection for Wire {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.output.push(byte);
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = Write::write_all(&mut self.stream, &self.output);
        self.output.clear();
        sent
    }
}
