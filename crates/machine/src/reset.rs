//! Reset paths, and who resets what on each.

use std::{fmt, str::FromStr};

use crate::ConfigError;

/// The ways a running machine is reset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ResetPath {
    /// The monitor's or front panel's reset button.
    System,
    /// i8042 command FEh at port 64h.
    Keyboard,
    /// Port 92h bit 0.
    Port92,
    /// Port CF9h bit 2.
    Cf9,
    /// A triple fault's shutdown cycle.
    TripleFault,
    /// INIT#: the processor alone.
    Init,
}

impl ResetPath {
    /// All paths with their names for `--reset`.
    pub const ALL: &'static [(&'static str, ResetPath)] = &[
        ("system", ResetPath::System),
        ("keyboard", ResetPath::Keyboard),
        ("port92", ResetPath::Port92),
        ("cf9", ResetPath::Cf9),
        ("triple-fault", ResetPath::TripleFault),
        ("init", ResetPath::Init),
    ];
}

impl fmt::Display for ResetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ResetPath::ALL.iter().find(|(_, path)| path == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for ResetPath {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<ResetPath, ConfigError> {
        ResetPath::ALL.iter().find(|(name, _)| *name == text).map(|(_, path)| *path).ok_or_else(|| {
            let known: Vec<&str> = ResetPath::ALL.iter().map(|(name, _)| *name).collect();
            ConfigError::new(format!("unknown reset path `{text}`; there are {}", known.join(", ")))
        })
    }
}

/// What happens to the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Processor {
    /// RESET#: everything takes its power-on value.
    Reset,
    /// INIT#: caches, MTRRs and SMBASE stay (Intel SDM vol. 3A, table 9-1).
    Init,
}

/// One row of a generation's reset table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResetTable {
    /// Which path.
    pub path: ResetPath,
    /// What happens to the processor.
    pub processor: Processor,
    /// Every chip takes [`warmboot_chipset::ResetKind::System`].
    pub chips: bool,
    /// The A20 gate opens.
    pub a20_on: bool,
}
