//! The command line: what can be said, and the exit status of what came out.

mod arguments;
mod boot;
mod fork;
mod huge_pages;
pub(crate) mod interrupt;
mod live;
mod machines;
mod memory_map;
pub(crate) mod output;
mod progress;
mod run;
mod screen;
mod snapshot;
mod stdio;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use warmboot::scenario::problem::InputError;

/// A deterministic x86 PC that boots real firmware.
#[derive(Parser)]
#[command(name = "warmboot", version, about, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 all as expected; 1 an expectation failed or a limit was met; 2 bad usage or bad input."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one machine
    Boot(Box<boot::Arguments>),
    /// Run scenario files or folders of them
    Run(run::Arguments),
    /// Look at snapshot files
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Print the address map of a machine, as `info mtree -f` of QEMU does
    MemoryMap(Box<memory_map::Arguments>),
    /// Print what can be chosen, and how the choices differ
    Machines(machines::Arguments),
}

/// How a command came out, as its exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// All as expected.
    Expected,
    /// An expectation failed, or a limit was met.
    Unexpected,
    /// A case could not be run for what is wrong with its input.
    BadInput,
}

/// Runs the command of this process's arguments.
pub(crate) fn run() -> ExitCode {
    let command = CommandLine::parse().command;
    match &command {
        Command::Boot(arguments) if arguments.needs_much() => huge_pages::ask_for_them(),
        Command::Run(_) => huge_pages::ask_for_them(),
        _ => {}
    }
    let outcome = match command {
        Command::Boot(arguments) => boot::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::MemoryMap(arguments) => memory_map::run(&arguments),
        Command::Machines(arguments) => machines::run(&arguments),
    };
    match outcome {
        Ok(Outcome::Expected) => ExitCode::SUCCESS,
        Ok(Outcome::Unexpected) => ExitCode::from(1),
        Ok(Outcome::BadInput) => ExitCode::from(2),
        Err(error) => {
            output::complain(&said(error));
            ExitCode::from(2)
        }
    }
}

/// The message of an error; one that shows a place in a file says itself that it is one.
fn said(InputError(message): InputError) -> String {
    if message.starts_with("error:") { message } else { format!("error: {message}") }
}
