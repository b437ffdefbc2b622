//! The processor: architectural state, decoding to ops, execution, exceptions, paging.
//!
//! It never sees a device, a clock or a file: everything outside it is a [`Bus`].

#![forbid(unsafe_code)]

mod access;
mod bus;
mod cache;
mod check;
mod control;
mod cpu;
mod decode;
mod descriptor;
mod exceptions;
pub mod exec;
pub mod features;
mod fill;
pub mod flags;
mod float;
pub mod fpu;
#[doc(hidden)]
pub mod fuzz;
mod long;
mod memory;
pub mod models;
pub mod op;
mod paging;
mod smm;
pub mod state;
mod task;
#[doc(hidden)]
pub mod testing;
mod tlb;
pub mod width;

pub use access::{Core, Place};
pub use bus::{Bus, Cycle, Frame, Page, Store};
pub use check::StateError;
pub use cpu::{Breakpoint, Cpu, Run};
pub use features::{Feature, Features};
pub use models::{Hypervisor, Model};
pub use op::{Handler, Lowered, Op, Operand};
pub use state::{Segment, State};
pub use tlb::Observed;

/// What a handler returns: done, or an exception that left no trace.
pub type Exec = Result<(), Exception>;

/// An exception to deliver (Intel SDM vol. 3A, chapter 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// Vector 0-31.
    pub vector: u8,
    /// Error code, for the vectors that have one: 16 bits keep an exception small enough to be returned
    /// in a register. The address of a page fault is in [`Core`] for the same reason.
    pub error: Option<u16>,
}

impl Exception {
    /// #DE.
    pub const DIVIDE: Exception = Exception { vector: 0, error: None };
    /// #BR.
    pub const BOUND: Exception = Exception { vector: 5, error: None };
    /// #UD.
    pub const INVALID_OPCODE: Exception = Exception { vector: 6, error: None };
    /// #GP(error).
    #[must_use]
    pub const fn general_protection(error: u32) -> Exception {
        Exception { vector: 13, error: Some(error as u16) }
    }
    /// #DB; its cause is already in DR6.
    pub const DEBUG: Exception = Exception { vector: 1, error: None };
    /// #NM.
    pub const DEVICE_NOT_AVAILABLE: Exception = Exception { vector: 7, error: None };
    /// #MF; what happened is in the status word.
    pub const FLOATING_POINT: Exception = Exception { vector: 16, error: None };
    /// #XM; what happened is in MXCSR.
    pub const SIMD_FLOATING_POINT: Exception = Exception { vector: 19, error: None };
    /// #TS(error).
    #[must_use]
    pub const fn invalid_tss(error: u32) -> Exception {
        Exception { vector: 10, error: Some(error as u16) }
    }
    /// #NP(error).
    #[must_use]
    pub const fn not_present(error: u32) -> Exception {
        Exception { vector: 11, error: Some(error as u16) }
    }
    /// #SS(error).
    #[must_use]
    pub const fn stack(error: u32) -> Exception {
        Exception { vector: 12, error: Some(error as u16) }
    }
}

/// What happens to a processor that no instruction does ([`Cpu::record_occurrences`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occurrence {
    /// An exception goes to its handler; a double fault follows what led to it.
    Exception {
        /// Vector 0-31.
        vector: u8,
        /// Error code, for the vectors that have one.
        error: Option<u32>,
    },
    /// An external interrupt, with its vector.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// A system-management interrupt.
    Smi,
    /// INIT#.
    Init,
    /// A start-up message, with its vector.
    StartUp(u8),
    /// A triple fault ends in shutdown.
    Shutdown,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The budget of instructions is used up.
    Budget,
    /// The last instruction touched a port, a device, the clock or the APIC base.
    Device,
    /// HLT was executed, or the CPU is halted and nothing woke it.
    Halt,
    /// Shutdown after a triple fault: the CPU executes nothing until reset or INIT.
    Shutdown,
    /// An address breakpoint given by the machine was reached (before executing it).
    Address,
}

/// How ops are executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum Path {
    /// Decoded blocks, TLB.
    #[default]
    Cached,
    /// One instruction at a time, decoded and translated afresh each time: the check on the other.
    Plain,
}
