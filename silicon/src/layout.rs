//! Where test code and its data are: the same linear addresses on the processor and in ours.
//!
//! All lie below 2 GiB, so that an absolute address fits 32 bits, and 16-bit segments begin at [`DATA`]
//! and [`CODE`].

/// First byte of the data: [`DATA_PAGES`] pages, of which most are not there.
pub const DATA: u64 = 0x2000_0000;
/// Pages that belong to the data.
pub const DATA_PAGES: u64 = 16;
/// The page of them that can only be read.
pub const READ_ONLY: u64 = 4;
/// The first page that can be written.
pub const WRITABLE: u64 = 5;
/// How many can be written; behind them is nothing.
pub const WRITABLE_PAGES: u64 = 2;
/// Bytes that can be written.
pub const WRITABLE_BYTES: usize = (WRITABLE_PAGES * 4096) as usize;
/// Limit of the 16-bit data segment: the last byte that can be written, less a few.
pub const DATA_LIMIT: u32 = ((WRITABLE + WRITABLE_PAGES) * 4096 - 0x65) as u32;

/// First byte of the code.
pub const CODE: u64 = 0x2010_0000;
/// Pages of code.
pub const CODE_PAGES: u64 = 2;
/// Bytes of code.
pub const CODE_BYTES: usize = (CODE_PAGES * 4096) as usize;

/// First byte of the ways into and out of a block, which are in the same process: test code finds
/// something there, as it does nowhere else.
pub const WAYS: u64 = 0x2020_0000;
/// Bytes of them.
pub const WAYS_BYTES: usize = 0x3000;

/// Which code a block is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    /// 16-bit protected mode: segments of the local descriptor table.
    Sixteen,
    /// 32-bit compatibility mode: flat segments.
    ThirtyTwo,
    /// 64-bit mode.
    SixtyFour,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Sixteen, Mode::ThirtyTwo, Mode::SixtyFour];

    /// As iced-x86 counts.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Mode::Sixteen => 16,
            Mode::ThirtyTwo => 32,
            Mode::SixtyFour => 64,
        }
    }

    /// CS while a block runs: Linux' own, or the first entry of the local table.
    #[must_use]
    pub fn code_selector(self) -> u16 {
        match self {
            Mode::Sixteen => 0x07,
            Mode::ThirtyTwo => 0x23,
            Mode::SixtyFour => 0x33,
        }
    }

    /// SS while a block runs.
    #[must_use]
    pub fn stack_selector(self) -> u16 {
        match self {
            Mode::Sixteen => 0x0f,
            Mode::ThirtyTwo | Mode::SixtyFour => 0x2b,
        }
    }

    /// DS and ES while a block runs: in 64-bit mode a process has null there.
    #[must_use]
    pub fn data_selector(self) -> u16 {
        match self {
            Mode::SixtyFour => 0,
            _ => self.stack_selector(),
        }
    }

    /// What the offset of an instruction is counted from.
    #[must_use]
    pub fn code_base(self) -> u64 {
        if self == Mode::Sixteen { CODE } else { 0 }
    }

    /// What the offset of an operand is counted from.
    #[must_use]
    pub fn data_base(self) -> u64 {
        if self == Mode::Sixteen { DATA } else { 0 }
    }
}
