//! warmboot: a deterministic x86 PC that boots real firmware, for tests of what happens at power-on
//! and at every kind of reset.
//!
//! This library re-exports what a firmware project's own tests need. A boot in a test:
//!
//! ```no_run
//! use warmboot::{Condition, Limits, Machine, MachineSpec, Places};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = MachineSpec { firmware: "rom:hello".into(), ..MachineSpec::default() };
//! let mut machine = Machine::new(&spec.config(&Places::default())?)?;
//! machine.run(&["debug:No bootable device".parse::<Condition>()?], Limits::default())?;
//! assert!(String::from_utf8_lossy(machine.debug_log()).contains("No bootable device"));
//! # Ok(())
//! # }
//! ```
//!
//! The command of the same name is built on this and on nothing else.
//!
//! # In a firmware project's own tests
//!
//! A whole file, to be copied, with rstest for cases and insta for reviewed output; it is one of this
//! project's tests, so it compiles and passes:
#![doc = concat!("```rust,ignore\n", include_str!("../tests/firmware_project.rs"), "```\n")]
//!
//! A workflow file that runs a project's scenarios, shows failures as annotations and keeps the page and
//! the failing machines is in `crates/cli/examples/ci/warmboot.yml`.

#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod fuzz;
pub mod gdb;

pub use warmboot_inspect as inspect;
pub use warmboot_machine as machine;
pub use warmboot_machine::{Condition, Config, Ended, Limits, Machine, ResetPath};
pub use warmboot_scenario as scenario;
pub use warmboot_scenario::spec::{MachineSpec, Places};
pub use warmboot_test_roms as test_roms;
