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
mod crossing;
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

use std::num::NonZeroU32;

pub use access::{Core, Place};
pub use bus::{Bus, Cycle, Frame, Load, Page, Store};
pub use check::StateError;
pub use cpu::{Breakpoint, Cpu, Run};
pub use features::{Feature, Features};
pub use models::{Hypervisor, Model};
pub use op::{Handler, Lowered, Op, Operand, OperandKind};
pub use state::{Segment, State};
pub use tlb::Observed;

/// What a handler returns: done, or an exception that left no trace.
pub type Exec = Result<(), Exception>;

/// An exception to deliver (Intel SDM vol. 3A, chapter 6): vector 0-31, and an error code for the vectors
/// that have one.
///
/// One word that is not zero, so that an [`Exec`] is one word too: it is returned and looked at after each
/// instruction. The address of a page fault is in [`Core`] for the same reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exception(NonZeroU32);

impl Exception {
    /// Set in each.
    const SOME: u32 = 1 << 8;
    /// There is an error code, from bit 16 on.
    const HAS_ERROR: u32 = 1 << 9;

    /// Without an error code.
    #[must_use]
    pub const fn new(vector: u8) -> Exception {
        Exception(NonZeroU32::MIN.saturating_add(Exception::SOME - 1 + vector as u32))
    }

    /// With an error code, whose upper half is dropped.
    #[must_use]
    pub const fn with_error(vector: u8, error: u32) -> Exception {
        Exception(Exception::new(vector).0.saturating_add(Exception::HAS_ERROR + (error << 16)))
    }

    /// Vector 0-31.
    #[must_use]
    pub const fn vector(self) -> u8 {
        self.0.get() as u8
    }

    /// Error code, for the vectors that have one.
    #[must_use]
    pub const fn error(self) -> Option<u16> {
        if self.0.get() & Exception::HAS_ERROR == 0 { None } else { Some((self.0.get() >> 16) as u16) }
    }

    /// #DE.
    pub const DIVIDE: Exception = Exception::new(0);
    /// #BR.
    pub const BOUND: Exception = Exception::new(5);
    /// #UD.
    pub const INVALID_OPCODE: Exception = Exception::new(6);
    /// #GP(error).
    #[must_use]
    pub const fn general_protection(error: u32) -> Exception {
        Exception::with_error(13, error)
    }
    /// #DB; its cause is already in DR6.
    pub const DEBUG: Exception = Exception::new(1);
    /// #NM.
    pub const DEVICE_NOT_AVAILABLE: Exception = Exception::new(7);
    /// #MF; what happened is in the status word.
    pub const FLOATING_POINT: Exception = Exception::new(16);
    /// #XM; what happened is in MXCSR.
    pub const SIMD_FLOATING_POINT: Exception = Exception::new(19);
    /// #TS(error).
    #[must_use]
    pub const fn invalid_tss(error: u32) -> Exception {
        Exception::with_error(10, error)
    }
    /// #NP(error).
    #[must_use]
    pub const fn not_present(error: u32) -> Exception {
        Exception::with_error(11, error)
    }
    /// #SS(error).
    #[must_use]
    pub const fn stack(error: u32) -> Exception {
        Exception::with_error(12, error)
    }
}

impl std::fmt::Debug for Exception {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = formatter.debug_struct("Exception");
        fields.field("vector", &self.vector()).field("error", &self.error()).finish()
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
