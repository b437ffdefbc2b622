//! Reset paths, and who resets what on each.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// The ways a running machine is reset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ResetPath {
    /// The monitor's or front panel's reset button.
    System,
    /// i8042 command FEh at port 64h.
    Keyboard,
    /// Port 92h bit 0.
    Port92,
    /// Port CF9h bit 2 with bit 1.
    Cf9,
    /// Port CF9h bit 2 without bit 1.
    Cf9Soft,
    /// A triple fault's shutdown cycle.
    TripleFault,
    /// INIT#: the processor alone.
    Init,
    /// A machine suspended to RAM is woken.
    S3Resume,
}

impl ResetPath {
    /// All paths with their names for `--reset`.
    pub const ALL: &'static [(&'static str, ResetPath)] = &[
        ("system", ResetPath::System),
        ("keyboard", ResetPath::Keyboard),
        ("port92", ResetPath::Port92),
        ("cf9", ResetPath::Cf9),
        ("cf9-soft", ResetPath::Cf9Soft),
        ("triple-fault", ResetPath::TripleFault),
        ("init", ResetPath::Init),
        ("s3-resume", ResetPath::S3Resume),
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Processor {
    /// RESET#: everything takes its power-on value.
    Reset,
    /// INIT#: caches, MTRRs and SMBASE stay (Intel SDM vol. 3A, table 9-1); the local APIC starts
    /// afresh (10.4.7.3).
    Init,
}

/// Which chips take [`warmboot_chipset::ResetKind::System`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Chips {
    /// Every chip, and with them the BIOS image where a generation restores it. The keyboard
    /// controller's reset opens the A20 gate.
    All,
    /// None.
    None,
}

/// What a reset by one path does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ResetRow {
    /// What happens to the processor.
    pub processor: Processor,
    /// Which chips are reset.
    pub chips: Chips,
}

impl ResetRow {
    /// The reset line of the whole board.
    pub const FULL: ResetRow = ResetRow { processor: Processor::Reset, chips: Chips::All };
    /// INIT# alone: chips and the A20 gate stay as they are.
    pub const INIT: ResetRow = ResetRow { processor: Processor::Init, chips: Chips::None };
}

/// What a reset does, for each path there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ResetTable {
    /// [`ResetPath::System`].
    pub system: ResetRow,
    /// [`ResetPath::Keyboard`].
    pub keyboard: ResetRow,
    /// [`ResetPath::Port92`].
    pub port92: ResetRow,
    /// [`ResetPath::Cf9`].
    pub cf9: ResetRow,
    /// [`ResetPath::Cf9Soft`].
    pub cf9_soft: ResetRow,
    /// [`ResetPath::TripleFault`].
    pub triple_fault: ResetRow,
    /// [`ResetPath::Init`].
    pub init: ResetRow,
    /// [`ResetPath::S3Resume`].
    pub s3_resume: ResetRow,
}

impl ResetTable {
    /// Every emulator so far: each reset is the same full reset of all devices.
    pub const EMULATOR: ResetTable = ResetTable {
        system: ResetRow::FULL,
        keyboard: ResetRow::FULL,
        port92: ResetRow::FULL,
        cf9: ResetRow::FULL,
        cf9_soft: ResetRow::FULL,
        triple_fault: ResetRow::FULL,
        init: ResetRow::INIT,
        s3_resume: ResetRow::FULL,
    };

    /// PIIX3 (82371SB data sheet 290550-002): the keyboard controller's and port 92h's pulse, the
    /// processor's shutdown cycle and CF9h without bit 1 pull INIT#; CF9h with bit 1 pulls CPURST
    /// and PCIRST#. A wake from S3 is a power-on of all but the suspend well.
    pub const HARDWARE: ResetTable = ResetTable {
        system: ResetRow::FULL,
        keyboard: ResetRow::INIT,
        port92: ResetRow::INIT,
        cf9: ResetRow::FULL,
        cf9_soft: ResetRow::INIT,
        triple_fault: ResetRow::INIT,
        init: ResetRow::INIT,
        s3_resume: ResetRow::FULL,
    };

    /// The row for one path.
    #[must_use]
    pub fn row(&self, path: ResetPath) -> ResetRow {
        match path {
            ResetPath::System => self.system,
            ResetPath::Keyboard => self.keyboard,
            ResetPath::Port92 => self.port92,
            ResetPath::Cf9 => self.cf9,
            ResetPath::Cf9Soft => self.cf9_soft,
            ResetPath::TripleFault => self.triple_fault,
            ResetPath::Init => self.init,
            ResetPath::S3Resume => self.s3_resume,
        }
    }

    /// The row for one path, to be changed.
    pub(crate) fn row_mut(&mut self, path: ResetPath) -> &mut ResetRow {
        match path {
            ResetPath::System => &mut self.system,
            ResetPath::Keyboard => &mut self.keyboard,
            ResetPath::Port92 => &mut self.port92,
            ResetPath::Cf9 => &mut self.cf9,
            ResetPath::Cf9Soft => &mut self.cf9_soft,
            ResetPath::TripleFault => &mut self.triple_fault,
            ResetPath::Init => &mut self.init,
            ResetPath::S3Resume => &mut self.s3_resume,
        }
    }
}
