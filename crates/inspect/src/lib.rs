//! Reading machines without changing them: disassembly now; snapshot diffs, symbols, traces and
//! coverage have their place here.

#![forbid(unsafe_code)]

pub mod disassembly;
