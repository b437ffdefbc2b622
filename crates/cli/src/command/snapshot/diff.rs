//! `warmboot snapshot diff`: what differs between two snapshots. Disk images are not needed.

use std::path::{Path, PathBuf};

use clap::Args;
use warmboot::{
    Machine,
    inspect::diff::{Ignore, diff},
    scenario::{problem::InputError, snapshots},
};

use super::super::{
    Outcome,
    arguments::{SymbolArguments, places},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The snapshot before
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The snapshot after
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    #[command(flatten)]
    symbols: SymbolArguments,
    /// Leave differences out: clocks, map, cpu:NAME, chip:NAME.REGISTER, machine:NAME, wires:NAME,
    /// block:NAME@OFFSET+LENGTH, symbol:NAME; * stands for any text (may be repeated)
    #[arg(long, value_name = "RULE")]
    ignore: Vec<Ignore>,
    /// Print everything, every byte included, as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let before = machine(&arguments.before)?;
    let after = machine(&arguments.after)?;
    let symbols = arguments.symbols.load(&before.config().firmware.name, &places(None)?)?;
    Ignore::check(&arguments.ignore, &symbols).map_err(|error| InputError::new(error.to_string()))?;
    let diff = diff(&before, &after, &symbols, &arguments.ignore);
    output::print_report(&diff, arguments.json)?;
    Ok(Outcome::Expected)
}

fn machine(file: &Path) -> Result<Machine, InputError> {
    snapshots::read(file)?
        .machine_without_disks()
        .map_err(|error| InputError::new(format!("snapshot `{}` cannot be loaded: {error}", file.display())))
}
