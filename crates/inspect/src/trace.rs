//! Traces: each instruction of a run with the registers it changed, and each access to a chip by name, as
//! lines of text of which only what is asked for is written, up to a size.

mod accesses;
mod changes;
mod filter;
mod instructions;
mod output;

pub use accesses::AccessTrace;
pub use filter::{DEFAULT_LIMIT, Span};
pub use instructions::InstructionTrace;
use warmboot_machine::{Access, ResetPath, State, Step, Tracer, Wants};

/// The traces of one run.
#[derive(Default)]
pub struct Traces {
    /// What `--trace` writes.
    pub instructions: Option<InstructionTrace>,
    /// What `--trace-io` writes.
    pub accesses: Option<AccessTrace>,
}

impl Traces {
    /// Whether there is anything to trace.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instructions.is_none() && self.accesses.is_none()
    }

    /// Writes what is still held back.
    pub fn finish(&mut self) {
        if let Some(trace) = &mut self.instructions {
            trace.finish();
        }
        if let Some(trace) = &mut self.accesses {
            trace.finish();
        }
    }
}

impl Tracer for Traces {
    fn wants(&mut self, instructions: u64) -> Wants {
        let next = |now: Option<(bool, u64)>| now.unwrap_or((false, u64::MAX));
        let (steps, first) = next(self.instructions.as_ref().map(|trace| trace.wants(instructions)));
        let (accesses, second) = next(self.accesses.as_ref().map(|trace| trace.wants(instructions)));
        Wants { steps, accesses, until: first.min(second) }
    }

    fn takes(&self, state: &State) -> bool {
        self.instructions.as_ref().is_some_and(|trace| trace.takes(state))
    }

    fn step(&mut self, step: &Step<'_>) {
        if let Some(trace) = &mut self.instructions {
            trace.step(step);
        }
    }

    fn access(&mut self, access: &Access) {
        if let Some(trace) = &mut self.accesses {
            trace.access(access);
        }
    }

    fn reset(&mut self, instructions: u64, path: ResetPath) {
        if let Some(trace) = &mut self.instructions {
            trace.reset(instructions, path);
        }
        if let Some(trace) = &mut self.accesses {
            trace.reset(instructions, path);
        }
    }
}

/// The number of a processor, where there are several.
fn processor(number: usize, several: bool) -> String {
    if several { format!("  cpu{number}") } else { String::new() }
}

#[cfg(test)]
mod tests;
