//! `warmboot snapshot`: what snapshot files hold.

mod show;

use clap::Subcommand;
use warmboot::scenario::problem::InputError;

use super::Outcome;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Print what a snapshot holds
    Show(show::Arguments),
}

pub(crate) fn run(command: &Command) -> Result<Outcome, InputError> {
    match command {
        Command::Show(arguments) => show::run(arguments),
    }
}
