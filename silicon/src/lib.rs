//! The processor we run on, as the truth about instructions: blocks of 16-, 32- and 64-bit test code are
//! run on it, and registers, memory and exceptions are read back.
//!
//! This is for x86-64 Linux; elsewhere [`Native::new`] says that there is nothing to compare with. It
//! needs `unsafe` (mapping memory at fixed addresses, a local descriptor table, signal handlers that read
//! and change the interrupted context, and calling the code), which is why it is a crate of its own: all
//! of it is in `process.rs`.
//!
//! Who loads code answers for it: it must make no system call, load no segment register, change no
//! protection key and write nowhere but to the data of [`layout`]. Reads and jumps that go elsewhere are
//! exceptions, which end the block.

mod image;
pub mod layout;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod process;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod trampoline;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use process::{Native, cpuid};

pub use image::{End, Registers, Vectors};

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod elsewhere;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub use elsewhere::{Native, cpuid};
