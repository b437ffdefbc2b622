//! Scenario files: what a person would tell a colleague about a boot, a key press and a reset,
//! in a form that runs by itself.
//!
//! - [`spec`] says which machine: the same table for a scenario's `[machine]` and for the command's
//!   options; [`firmware`] and [`drives`] find and read the files it names.
//! - [`session`] drives one machine: conditions to end at, keys and resets to give on the way.
//! - [`load`] reads scenario files into cases; [`run`] runs them in parallel and in a stable order.
//! - [`report`] writes what came out: text, JSON, JUnit.
//!
//! A new step is one file in `steps` and one line in its list.

#![forbid(unsafe_code)]

pub mod drives;
pub mod firmware;
mod load;
mod matrix;
pub mod problem;
pub mod report;
mod run;
pub mod session;
pub mod spec;
mod steps;
mod table;

pub use load::{Case, Scenario, load, scenario_files};
pub use run::{CaseReport, Status, Watcher, run, run_case};
pub use steps::step_names;
