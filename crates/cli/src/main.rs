//! The `warmboot` command.

#![forbid(unsafe_code)]

mod command;
mod gdb;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
