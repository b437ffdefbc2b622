//! Lines up to a size.

use std::io::Write;

/// Where a trace goes. After its limit, or the first failure, nothing more is written.
pub(super) struct Output {
    to: Box<dyn Write>,
    limit: u64,
    written: u64,
    open: bool,
}

impl Output {
    pub fn new(to: Box<dyn Write>, limit: u64) -> Output {
        Output { to, limit, written: 0, open: true }
    }

    /// Whether more can be written.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Writes one line; the one that would pass the limit is replaced by one that says so.
    pub fn line(&mut self, line: &str) {
        if !self.open {
            return;
        }
        let end = format!("-- the trace ends here: limit={} is reached\n", self.limit);
        let size = line.trim_end().len() as u64 + 1;
        if self.written + size + end.len() as u64 > self.limit {
            self.open = false;
            // Whoever owns what is written to keeps its failures.
            let _ = self.to.write_all(end.as_bytes());
            return;
        }
        self.written += size;
        self.open = writeln!(self.to, "{}", line.trim_end()).is_ok();
    }

    pub fn flush(&mut self) {
        let _ = self.to.flush();
    }
}
