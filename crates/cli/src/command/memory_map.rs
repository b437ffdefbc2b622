//! `warmboot memory-map`: what answers where, at power-on or later.

use clap::Args;
use warmboot::scenario::{
    problem::InputError,
    session::{self, End},
};

use super::{
    Outcome,
    arguments::{MachineArguments, Ports, RunArguments},
    interrupt, output,
    progress::Progress,
};

/// Without a condition or a limit, the map at power-on is printed and nothing runs.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    run: RunArguments,
    /// Add COM1
    #[arg(long, help_heading = "Machine")]
    serial: bool,
    /// Add LPT1
    #[arg(long, help_heading = "Machine")]
    parallel: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let places = arguments.machine.places()?;
    let ports = Ports { screen: false, serial: arguments.serial, parallel: arguments.parallel };
    let mut machine = arguments.machine.machine(ports, &places)?;
    let mut outcome = Outcome::Expected;
    if arguments.run.says_anything() {
        interrupt::listen();
        let progress = Progress::new(None, true);
        let plan = arguments.run.plan();
        let before = machine.instructions();
        let finish = session::drive(&mut machine, &plan, &mut |machine| {
            progress.instructions(machine.instructions().saturating_sub(before));
            !interrupt::asked()
        });
        progress.finish();
        let finish = finish?;
        if finish.end != End::Met && !(finish.end == End::Stopped && plan.until.is_empty()) {
            output::complain(&format!("ended by {} before any --until condition was met", finish.ended_by));
            outcome = Outcome::Unexpected;
        }
    }
    output::print(machine.memory_map().as_bytes())?;
    Ok(outcome)
}
