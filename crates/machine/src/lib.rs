//! A whole machine: wiring, virtual clock and events, emulator generations, machine types, resets.
//!
//! A [`Machine`] is a plain value built from a [`Config`]; nothing here does host I/O, reads the
//! host clock or uses threads.

#![forbid(unsafe_code)]

mod board;
mod boot_options;
mod bridge;
mod build;
mod clock;
mod condition;
mod config;
mod debugging;
mod devices;
mod digest;
mod display;
mod error;
pub mod fuzz;
pub mod generations;
mod history;
pub mod hooks;
mod kernel;
mod machine;
pub mod machine_types;
mod map;
mod migration;
mod processors;
mod registers;
mod reset;
pub mod snapshot;
pub mod tables;
mod touch;
mod trace;
mod wiring;

pub use board::{Board, PowerState};
pub use boot_options::{BootOptions, BootOptionsError};
pub use clock::cost;
pub use condition::{Address, Condition, DEFAULT_LIMIT_TIME, Ended, Limits, count, memory, time};
pub use config::{
    Adapter, Config, Drive, DriveKind, FLASH_CHIPS, Firmware, Flash, Kernel, MEMORY_MAXIMUM, MEMORY_MINIMUM,
    Slot, Vga,
};
pub use error::ConfigError;
pub use generations::{Generation, PathFacts, Variation};
pub use history::{
    Code, Content, DEFAULT_HISTORY_LIMIT, Effect, Event, History, Watched, Writer, WrittenBytes,
};
pub use kernel::Protocol;
pub use machine::{Machine, parse_keys};
pub use machine_types::MachineType;
pub use migration::{Destination, MigrationError, MigrationReport, Unfit};
pub use reset::{Chips, Processor, ResetPath, ResetRow, ResetTable};
pub use snapshot::{DriveWanted, Snapshot, SnapshotError};
pub use trace::{Access, AccessKind, Step, Tracer, Wants};
pub use warmboot_chipset::disk::{AbsentSource, BlockSource, Disk, DiskError, MemorySource, ZeroSource};
pub use warmboot_chipset::keys::typed as typed_key;
pub use warmboot_chipset::pci::Selected;
pub use warmboot_chipset::vga::{Cell, Cells, Picture};
pub use warmboot_chipset::virtio::Interface as VirtioInterface;
pub use warmboot_cpu::{Occurrence, Path, Segment, State, models as cpu_models};
