//! `warmboot snapshot`: what snapshot files hold, how two differ, and what survives a reset.

mod diff;
mod show;
mod survivors;

use clap::Subcommand;
use warmboot::scenario::problem::InputError;

use super::Outcome;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print what a snapshot holds
    Show(show::Arguments),
    /// Print what differs between two snapshots: registers, memory by symbol, who answers which address
    Diff(diff::Arguments),
    /// Boot a machine, reset it, boot it again to the same point, and print what survived
    Survivors(Box<survivors::Arguments>),
}

pub(crate) fn run(command: &Command) -> Result<Outcome, InputError> {
    match command {
        Command::Show(arguments) => show::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Survivors(arguments) => survivors::run(arguments),
    }
}
