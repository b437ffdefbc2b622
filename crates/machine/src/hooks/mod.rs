//! What a destination does after all sections of an incoming migration have loaded. One hook, one
//! file, one line in its list, `ALL`.

pub mod shadow_bios;

use warmboot_memory::Memory;

use crate::{Destination, Machine};

/// A hook found a block it cannot work on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{hook} needs RAM block `{block}` to have {expected} bytes: it has {found}")]
pub struct HookError {
    /// The hook.
    pub hook: &'static str,
    /// The block.
    pub block: &'static str,
    /// What it expects, in words.
    pub expected: &'static str,
    /// The block's size, 0 when there is none.
    pub found: u64,
}

/// One hook.
pub(crate) struct Hook {
    /// Whether this destination runs it.
    pub wanted: fn(&Machine, &Destination) -> bool,
    /// Does it, and adds what it has to say.
    pub run: fn(&mut Memory, &mut Vec<String>) -> Result<(), HookError>,
}

/// Every hook, in the order in which they run.
pub(crate) const ALL: &[Hook] = &[shadow_bios::HOOK];
