//! What differs between the firmware generations: the facts of REFERENCE-like tables, as plain values.

/// What a ROM's E05B asks first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// CMOS shutdown status 0Fh: nonzero leads to the resume code, zero to POST.
    Cmos,
    /// HaveRunPost beside the code: nonzero leads to the resume code, which reads CMOS 0Fh.
    HaveRunPost,
    /// As `HaveRunPost`, in RAM that a bootblock fills from the ROM whenever the processor was reset,
    /// which it tells by ESP.
    Bootblock,
}

/// What is done about a POST that has run before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reboot {
    /// POST runs again.
    Rerun,
    /// Copy the image from below 4 GiB; shut down if HaveRunPost survived that, else reset by the
    /// keyboard controller, port CF9h, a triple fault.
    CopyOnce,
    /// Shut down if HaveAttemptedReboot is set; else set it, copy, reset in the same three ways.
    CopyAndCount,
    /// Where the copy below 4 GiB has HaveRunPost set, there is none to restore: note 3, and shut down
    /// if 3 was noted. Else copy, HaveRunPost last. Then port CF9h, a triple fault.
    CopyIfPristine,
    /// Reset in the three ways, without a copy.
    Hard,
}

/// When the debug port 402h is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DebugPort {
    /// Always.
    Blind,
    /// If it reads E9h.
    IfPresent,
}

/// How a firmware switches the machine off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// It does not.
    None,
    /// "Shutdown", byte by byte, to port 8900h.
    Port8900,
    /// 2000h (SLP_EN, type 0) to PM1a_CNT, if POST found it.
    Pm1aControl,
}

/// How PAM registers are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pam {
    /// Byte by byte; what C0000-EFFFF showed is kept by way of 30000h.
    Bytes,
    /// As two dwords.
    Dwords,
}

/// A host bridge, at 00:00.0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bridge {
    /// Device and vendor, as configuration register 0 reads.
    pub id: u32,
    /// PAM0, which rules F0000-FFFFF.
    pub pam0: u8,
    /// For two dwords from PAM0's: bits that are no PAM's, then what unlocks and locks everything.
    pub dwords: [PamDword; 2],
}

/// One dword of PAM registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PamDword {
    /// Bits to keep.
    pub keep: u32,
    /// RAM everywhere.
    pub unlocked: u32,
    /// Read-only where ROMs are, as at the end of POST.
    pub locked: u32,
}

const fn pam_dword(keep: u32, unlocked: u32, locked: u32) -> PamDword {
    PamDword { keep, unlocked, locked }
}

/// Intel 82441FX (290549-001, 3.2.17).
pub const I440FX: Bridge = Bridge {
    id: 0x1237_8086,
    pam0: 0x59,
    dwords: [pam_dword(0xff, 0x3333_3000, 0x1111_1000), pam_dword(0, 0x3333_3333, 0x3331_1111)],
};

/// Intel Q35 MCH (316966-002, 5.1.20).
pub const Q35: Bridge = Bridge {
    id: 0x29c0_8086,
    pam0: 0x90,
    dwords: [pam_dword(0, 0x3333_3330, 0x1111_1110), pam_dword(0xff00_0000, 0x0033_3333, 0x0033_3111)],
};

/// A variable in the image: name, linear address, size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Variable {
    /// As in the symbol table.
    pub name: &'static str,
    /// Between E0000 and FFFFF.
    pub at: u32,
    /// Bytes.
    pub size: u32,
    /// POST zeroes it every time; otherwise it keeps what the last POST left.
    pub cleared: bool,
}

/// Where code finds its lists: linear addresses between F0000 and FFFFF, inside the variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lists {
    /// Number of things to boot from, a byte.
    pub boot_count: u32,
    /// Number of CD-ROM drives, a byte.
    pub cd_count: u32,
    /// For INT 13h: drive 80h's, 81h's… index into the heap, bytes.
    pub id_map: u32,
    /// Drive structures, 16 bytes each.
    pub heap: u32,
    /// Address of PM1a_CNT, a word; 0 while unknown.
    pub pm1a_control: u32,
}

/// One firmware generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// Name of its ROM, as in `rom:NAME`.
    pub name: &'static str,
    /// First line of POST, without the line feed.
    pub banner: &'static str,
    /// Debug output.
    pub debug: DebugPort,
    /// What the entry point asks.
    pub entry: Entry,
    /// What a second POST does.
    pub reboot: Reboot,
    /// How it switches off.
    pub shutdown: Shutdown,
    /// Host bridges it knows.
    pub bridges: &'static [Bridge],
    /// How it writes PAM.
    pub pam: Pam,
    /// First byte of what it copies to shadow RAM; the last is FFFFF.
    pub shadow_from: u32,
    /// Its flag for a POST that has run, four bytes.
    pub have_run_post: Option<u32>,
    /// What it sets HaveRunPost to when the machine is ready to boot; `None` leaves it at 1.
    pub ready_to_boot: Option<u8>,
    /// Its flag for a reboot that was tried, one byte.
    pub have_attempted_reboot: Option<u32>,
    /// One software reset of each IDE channel before it is probed.
    pub reset_before_probe: bool,
    /// Drives AHCI disks.
    pub ahci: bool,
    /// Where it puts the PIIX4's or ICH9's power-management ports.
    pub pm_base: u16,
    /// Number of the first IDE channel in messages.
    pub first_controller: u8,
    /// Variables, for the symbol table and for clearing.
    pub variables: &'static [Variable],
    /// The ones that code uses.
    pub lists: Lists,
}

/// Steps left out of a ROM, to show that each decides something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disabled {
    /// The copy from below 4 GiB that makes a reset start afresh; in generations that only rerun POST,
    /// the one that fills shadow RAM, and under a bootblock the loading of the payload.
    pub copy: bool,
    /// The software reset of each IDE channel before it is probed.
    pub srst: bool,
    /// Setting HaveRunPost.
    pub have_run_post: bool,
}
