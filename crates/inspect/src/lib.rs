//! Reading machines without changing them: symbols, diffs, disassembly; traces and coverage have their
//! place here.

#![forbid(unsafe_code)]

pub mod diff;
pub mod disassembly;
pub mod history;
pub mod survivors;
pub mod symbols;
