//! Reading machines without changing them: symbols, diffs, disassembly, the screen; traces and coverage have their
//! place here.

#![forbid(unsafe_code)]

pub mod diff;
pub mod disassembly;
pub mod history;
pub mod screen;
pub mod survivors;
pub mod symbols;
