//! Reading machines without changing them: symbols, diffs, disassembly, traces, the screen; coverage has its
//! place here.

#![forbid(unsafe_code)]

pub mod diff;
pub mod disassembly;
pub mod history;
pub mod screen;
pub mod survivors;
pub mod symbols;
pub mod trace;
