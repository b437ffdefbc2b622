//! Scenario files: what a person would tell a colleague about a boot, a key press and a reset,
//! in a form that runs by itself.
//!
//! - [`spec`] says which machine: the same table for a scenario's `[machine]` and for the command's
//!   options; [`firmware`] and [`drives`] find and read the files it names, [`images`] the formats
//!   that disks come in.
//! - [`snapshots`] reads snapshot files and gives machines their disk images back.
//! - [`session`] drives one machine: conditions to end at, keys and resets to give on the way; [`input`] is
//!   what somebody entered meanwhile, to be had again.
//! - [`load`] reads scenario files into cases; [`run`] runs them in parallel and in a stable order.
//! - [`report`] writes what came out: text, JSON, JUnit, annotations, a page; [`accepted`] keeps it;
//!   [`files`] puts it in its place whole or not at all.
//! - [`schema()`] describes the files to editors, from the lists that they are read by.
//!
//! What files can say is in `scenarios/README.md`. A new step is one file in `steps` and one line in
//! its list.

#![forbid(unsafe_code)]

pub mod accepted;
pub mod answers;
pub mod drives;
mod fields;
pub mod files;
pub mod firmware;
pub mod flash;
pub mod images;
pub mod input;
mod load;
mod matrix;
mod place;
pub mod problem;
pub mod qcow2;
pub mod report;
mod run;
mod schema;
pub mod session;
pub mod snapshots;
pub mod spec;
mod steps;
pub mod symbols;
mod table;
mod typing;
mod variables;

pub use load::{Case, Header, Scenario, load, load_file, scenario_files};
pub use run::{CaseReport, Options, Status, StepReport, Watcher, run, run_case};
pub use schema::schema;
pub use steps::step_names;
