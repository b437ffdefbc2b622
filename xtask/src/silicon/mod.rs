//! `cargo xtask silicon`: instructions with random operands, run on the processor this runs on and on
//! ours, which must leave the same registers, flags, memory and exceptions.
//!
//! A block of a few instructions (`block.rs` and `needs.rs`, from the forms of `forms.rs`, from these with
//! one bit changed, or from random bytes) is run from several random starts (`start.rs`) on both (`bench.rs`,
//! with `ours.rs` on one side and the crate `warmboot-silicon` on the other). What the manual leaves open is in `undefined.rs` and `compare.rs`,
//! what a vendor does in a way of its own in `explained.rs`, and what cannot be compared in `excluded.rs`.
//! Everything follows from the seed; a difference is shrunk to one instruction (`shrink.rs`).

mod bench;
mod block;
mod compare;
mod excluded;
mod explained;
mod forms;
mod model;
mod needs;
mod ours;
mod place;
mod random;
mod report;
mod run;
mod shrink;
mod start;
mod undefined;

use warmboot_silicon::layout::Mode;

use crate::{Failure, shell};

/// Comparisons of a run that names no number.
const COUNT: u64 = 10_000_000;

/// What is asked for.
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Instructions to compare, in all modes together.
    pub count: u64,
    /// Seconds after which no more blocks are begun.
    pub seconds: Option<u64>,
    /// Number of the first block.
    pub first: u64,
    /// Which code.
    pub modes: Vec<Mode>,
    /// Only forms whose name (as iced-x86's `Code` has it) contains this, in lower case.
    pub filter: String,
    /// Only on a processor whose own ways are written down ([`explained`]).
    pub known_only: bool,
}

impl Options {
    fn new() -> Options {
        Options {
            seed: shell::seed(),
            count: COUNT,
            seconds: None,
            first: 0,
            modes: Mode::ALL.to_vec(),
            filter: String::new(),
            known_only: false,
        }
    }
}

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--count" => options.count = value.parse()?,
            "--seconds" => options.seconds = Some(value.parse()?),
            "--first" => options.first = value.parse()?,
            "--filter" => options.filter = value.to_lowercase(),
            "--mode" => {
                let bits: u32 = value.parse()?;
                options.modes = Mode::ALL.into_iter().filter(|mode| mode.bits() == bits).collect();
                if options.modes.is_empty() {
                    return Err(format!("--mode {value}: expected 16, 32 or 64").into());
                }
            }
            _ => {
                return Err(format!(
                    "{argument}: expected --seed, --count, --seconds, --first, --mode or --filter"
                )
                .into());
            }
        }
    }
    run::run(&options)
}

/// What `cargo xtask test` does of it.
pub fn sample() -> Result<(), Failure> {
    run::run(&Options { seconds: Some(20), count: u64::MAX, known_only: true, ..Options::new() })
}
