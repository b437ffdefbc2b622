//! Where there is no such processor.

use crate::{End, Registers, layout::Mode};

/// Never made.
#[derive(Debug)]
pub enum Native {}

impl Native {
    /// Says why there is nothing to compare with.
    ///
    /// # Errors
    /// Always.
    pub fn new(_read_only: &[u8; 4096]) -> Result<Native, String> {
        Err("this host is not x86-64 Linux".into())
    }

    /// As on x86-64 Linux.
    pub fn load(&mut self, _mode: Mode, _offset: usize, _bytes: &[u8], _vectors: bool) -> Vec<u8> {
        match *self {}
    }

    /// As on x86-64 Linux.
    pub fn data(&mut self) -> &mut [u8] {
        match *self {}
    }

    /// As on x86-64 Linux.
    pub fn run(&mut self, _registers: &mut Registers) -> End {
        match *self {}
    }
}

/// As on x86-64 Linux: nothing is offered.
#[must_use]
pub fn cpuid(_function: u32, _index: u32) -> [u32; 4] {
    [0; 4]
}
