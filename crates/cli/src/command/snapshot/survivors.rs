//! `warmboot snapshot survivors`: boots a machine cold to a point, resets it, boots it warm to the same
//! point, and prints what survived the reset.

use clap::Args;
use serde::Serialize;
use warmboot::{
    Condition, Limits, Machine, ResetPath,
    inspect::{
        diff::Ignore,
        survivors::{self, Survivors, SurvivorsError},
    },
    machine::DEFAULT_LIMIT_TIME,
    scenario::{problem::InputError, session::SLICE},
};

use super::super::{
    Outcome,
    arguments::{MachineArguments, Ports, SymbolArguments},
    interrupt, output,
    progress::Progress,
};

/// Instructions of each boot unless another limit is given.
const LIMIT: u64 = 2_000_000_000;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    machine: MachineArguments,
    /// Add COM1
    #[arg(long, help_heading = "Machine")]
    serial: bool,
    /// Add LPT1
    #[arg(long, help_heading = "Machine")]
    parallel: bool,
    /// The point: the same conditions as of `boot --until`, counts from the reset vector on (may be
    /// repeated: the first one met is the point)
    #[arg(long, value_name = "CONDITION", required = true, help_heading = "Run")]
    until: Vec<Condition>,
    /// The reset path; `warmboot machines` lists them
    #[arg(long, value_name = "PATH", help_heading = "Run")]
    reset: ResetPath,
    /// End each boot after N instructions (K, M, G are decimal) [default: 2G]
    #[arg(long, value_name = "N", value_parser = warmboot::machine::count, help_heading = "Run")]
    limit: Option<u64>,
    /// End each boot after this much virtual time [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = warmboot::machine::time, help_heading = "Run")]
    limit_time: Option<u64>,
    #[command(flatten)]
    symbols: SymbolArguments,
    /// Leave differences out, as `snapshot diff --ignore` does (may be repeated)
    #[arg(long, value_name = "RULE", help_heading = "Look")]
    ignore: Vec<Ignore>,
    /// Print everything, every byte included, as one JSON object
    #[arg(long, help_heading = "Look")]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a str,
    emulator: &'a str,
    firmware: &'a str,
    #[serde(flatten)]
    survivors: &'a Survivors,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let said = |error: &dyn std::error::Error| InputError::new(error.to_string());
    if arguments.machine.loads() {
        return Err(InputError::new("survivors begins at power-on: --load has no place here"));
    }
    let places = arguments.machine.places()?;
    let ports = Ports { screen: false, serial: arguments.serial, parallel: arguments.parallel };
    let spec = arguments.machine.spec(ports);
    let symbols = arguments.symbols.load(&spec.firmware, &places)?;
    Ignore::check(&arguments.ignore, &symbols).map_err(|error| said(&error))?;
    let limits = Limits {
        instructions: Some(arguments.limit.unwrap_or(LIMIT)),
        time: Some(arguments.limit_time.unwrap_or(DEFAULT_LIMIT_TIME)),
        slice: Some(SLICE),
    };
    let machine = Machine::new(&spec.config(&places)?)?;
    interrupt::listen();
    let progress = Progress::new(None, true);
    let found = survivors::survivors(
        machine,
        &arguments.until,
        arguments.reset,
        limits,
        &symbols,
        &arguments.ignore,
        &mut |machine| {
            progress.instructions(machine.instructions());
            !interrupt::asked()
        },
    );
    progress.finish();
    let (survivors, _) = match found {
        Ok(found) => found,
        Err(error @ (SurvivorsError::NotReached(_) | SurvivorsError::Interrupted)) => {
            output::complain(&error.to_string());
            return Ok(Outcome::Unexpected);
        }
        Err(error) => return Err(said(&error)),
    };
    if arguments.json {
        let report = Report {
            machine: &spec.machine,
            emulator: &spec.emulator,
            firmware: &spec.firmware,
            survivors: &survivors,
        };
        output::print_json(&report)?;
    } else {
        output::print(survivors.to_string().as_bytes())?;
    }
    if survivors.warm.reached {
        return Ok(Outcome::Expected);
    }
    output::complain(&format!("the second boot ended by {} before the point", survivors.warm.ended_by));
    Ok(Outcome::Unexpected)
}
