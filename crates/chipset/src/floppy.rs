//! 82077AA floppy disk controller with two drives.
//!
//! Data sheet: Intel 290166-007 (82077AA). What the data sheet leaves open is QEMU 7.2's choice:
//! ports 3F1-3F5 and 3F7 only, version 90h, seeks that end at once or after a short delay.
//!
//! The 8237 is another chip. While the controller asks for a transfer, pin [`DREQ2`] is high and
//! [`Floppy::dma_request`] tells the direction; the machine then moves bytes between memory and
//! [`Floppy::dma_exchange`] as channel 2 is programmed.

mod format;
#[cfg(test)]
mod tests;
mod transfer;

pub use format::{FloppyKind, Format};

use crate::disk::{Disk, Overlay, SECTOR};
use crate::dma::Direction;
use crate::{Chip, Effects, Moment, Region, ResetKind, Space};
use serde::{Deserialize, Serialize};

/// Output pin: IRQ 6.
pub const IRQ6: u8 = 0;
/// Output pin: DREQ 2.
pub const DREQ2: u8 = 1;

/// The DMA channel a PC gives the controller.
pub const DMA_CHANNEL: u8 = 2;

// Registers, by port - 3F0h (section 2.1).
const SRB: u64 = 1;
const DOR: u64 = 2;
const TDR: u64 = 3;
/// MSR when read, DSR when written.
const MSR: u64 = 4;
const FIFO: u64 = 5;
/// DIR when read, CCR when written.
const DIR: u64 = 7;

const DOR_NOT_RESET: u8 = 0x04;
const DOR_DMA_GATE: u8 = 0x08;
const DSR_RATE: u8 = 0x03;
const DSR_POWER_DOWN: u8 = 0x40;
const DSR_RESET: u8 = 0x80;
const MSR_BUSY: u8 = 0x10;
const MSR_NON_DMA: u8 = 0x20;
const MSR_DIO: u8 = 0x40;
const MSR_RQM: u8 = 0x80;
const DIR_CHANGED: u8 = 0x80;

/// ST0: seek ended.
const ST0_SEEK_END: u8 = 0x20;
/// ST0: abnormal termination.
const ST0_ABNORMAL: u8 = 0x40;
/// ST0: invalid command.
const ST0_INVALID: u8 = 0x80;
/// ST0: the drive's ready line changed, which polling after a reset reports.
const ST0_READY_CHANGED: u8 = 0xc0;
/// ST1: missing address mark.
const ST1_MISSING_ADDRESS: u8 = 0x01;
/// ST1: not writable.
const ST1_NOT_WRITABLE: u8 = 0x02;
/// ST1: data error.
const ST1_DATA_ERROR: u8 = 0x20;
/// ST1: end of cylinder.
const ST1_END_OF_CYLINDER: u8 = 0x80;
/// ST2: a SCAN found nothing.
const ST2_NOT_SATISFIED: u8 = 0x04;
/// ST2: a SCAN found equal bytes.
const ST2_EQUAL: u8 = 0x08;

/// After a reset, SENSE INTERRUPT STATUS reports four drives (section 5.2.4).
const SENSES_AFTER_RESET: u8 = 4;
/// How long SEEK and RECALIBRATE take.
const SEEK_NS: u64 = 10_000;
/// How long READ ID looks for an address mark: a tenth of a turn.
const READ_ID_NS: u64 = 20_000_000;
/// Bytes of a sector, and its code N.
const SECTOR_BYTES: usize = SECTOR as usize;
const SECTOR_CODE: u8 = 2;

/// A command (section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Command {
    Transfer(Kind),
    Deleted,
    Configure,
    DriveSpecification,
    DumpRegisters,
    Format,
    Invalid,
    Lock,
    Option,
    PartId,
    Perpendicular,
    PowerDown,
    ReadId,
    Recalibrate,
    RelativeSeek { inward: bool },
    Restore,
    Save,
    Seek,
    SenseDrive,
    SenseInterrupt,
    Specify,
    Version,
}

/// (value, mask, parameter bytes, command); the first match counts.
const COMMANDS: [(u8, u8, u8, Command); 31] = [
    (0x06, 0x1f, 8, Command::Transfer(Kind::Read)),
    (0x05, 0x1f, 8, Command::Transfer(Kind::Write)),
    (0x0f, 0xff, 2, Command::Seek),
    (0x08, 0xff, 0, Command::SenseInterrupt),
    (0x07, 0xff, 1, Command::Recalibrate),
    (0x0d, 0xbf, 5, Command::Format),
    (0x02, 0xbf, 8, Command::Transfer(Kind::Read)), // READ TRACK
    (0x4e, 0xff, 17, Command::Restore),
    (0x2e, 0xff, 0, Command::Save),
    (0x0c, 0x1f, 8, Command::Deleted),
    (0x11, 0x1f, 8, Command::Transfer(Kind::ScanEqual)),
    (0x16, 0x1f, 8, Command::Transfer(Kind::Verify)),
    (0x19, 0x1f, 8, Command::Transfer(Kind::ScanLow)),
    (0x1d, 0x1f, 8, Command::Transfer(Kind::ScanHigh)),
    (0x09, 0x3f, 8, Command::Deleted),
    (0x0a, 0xbf, 1, Command::ReadId),
    (0x03, 0xff, 2, Command::Specify),
    (0x04, 0xff, 1, Command::SenseDrive),
    (0x12, 0xff, 1, Command::Perpendicular),
    (0x13, 0xff, 3, Command::Configure),
    (0x17, 0xff, 2, Command::PowerDown),
    (0x33, 0xff, 1, Command::Option),
    (0x8e, 0xff, 5, Command::DriveSpecification),
    (0x8f, 0xff, 2, Command::RelativeSeek { inward: false }),
    (0xcd, 0xff, 10, Command::Invalid), // FORMAT AND WRITE
    (0xcf, 0xff, 2, Command::RelativeSeek { inward: true }),
    (0x14, 0x7f, 0, Command::Lock),
    (0x0e, 0xff, 0, Command::DumpRegisters),
    (0x10, 0xff, 0, Command::Version),
    (0x18, 0xff, 0, Command::PartId),
    (0x00, 0x00, 0, Command::Invalid),
];

fn lookup(code: u8) -> (usize, Command) {
    COMMANDS
        .iter()
        .find(|(value, mask, ..)| code & mask == *value)
        .map_or((0, Command::Invalid), |(.., parameters, command)| (usize::from(*parameters), *command))
}

/// What an execution phase does with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// From the diskette.
    Read,
    /// To the diskette.
    Write,
    /// Reads without a transfer.
    Verify,
    /// Compares for equality.
    ScanEqual,
    /// Compares for low or equal.
    ScanLow,
    /// Compares for high or equal.
    ScanHigh,
    /// Takes four bytes per sector: cylinder, head, record, size.
    Format,
}

/// The execution phase of a data command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Execution {
    /// What happens to the bytes.
    pub kind: Kind,
    /// Bytes moved.
    pub position: u32,
    /// Bytes to move.
    pub length: u32,
    /// Both sides of a cylinder are one track.
    pub multi_track: bool,
    /// EOT, the last sector of the track.
    pub last_sector: u8,
    /// What FORMAT fills sectors with.
    pub fill: u8,
    /// By DMA, not through the FIFO.
    pub dma: bool,
    /// The latency is over.
    pub ready: bool,
    /// The current sector.
    pub sector: Vec<u8>,
}

/// What the deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Pending {
    /// The execution phase begins to move data.
    Transfer,
    /// A seek ends.
    Seek,
    /// READ ID has found a sector.
    ReadId,
}

/// One drive's position and memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Drive {
    /// Selected side.
    pub head: u8,
    /// Cylinder.
    pub track: u8,
    /// Next sector.
    pub sector: u8,
    /// Sectors per track in use.
    pub last_sector: u8,
    /// The diskette may have been changed.
    pub changed: bool,
    /// Perpendicular mode.
    pub perpendicular: u8,
    /// What has been written to the diskette.
    pub overlay: Overlay,
}

/// Everything a snapshot carries.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// Status register B.
    pub srb: u8,
    /// Digital output register.
    pub dor: u8,
    /// Tape drive register.
    pub tdr: u8,
    /// Main status register.
    pub msr: u8,
    /// Data rate select register.
    pub dsr: u8,
    /// Selected drive.
    pub selected: u8,
    /// Level of the interrupt line.
    pub interrupt: bool,
    /// ST0.
    pub status0: u8,
    /// Drives SENSE INTERRUPT STATUS still has to report after a reset.
    pub senses: u8,
    /// Bytes of the command so far.
    pub command: Vec<u8>,
    /// Result bytes not yet read.
    pub results: Vec<u8>,
    /// Execution phase.
    pub execution: Option<Execution>,
    /// What is to happen, and when.
    pub pending: Option<(Pending, Moment)>,
    /// SPECIFY: step rate; head load time.
    pub timers: (u8, u8),
    /// CONFIGURE.
    pub config: u8,
    /// CONFIGURE: precompensation track.
    pub precompensation: u8,
    /// LOCK.
    pub lock: bool,
    /// POWERDOWN MODE.
    pub power_down: u8,
    /// The drives.
    pub drives: [Drive; 2],
}

/// A drive with its diskette. Wiring.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The diskette.
    pub disk: Disk,
    /// Its layout.
    pub format: Format,
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Floppy {
    state: State,
    attached: [Option<Attachment>; 2],
}

/// How a seek ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seek {
    SameTrack,
    OtherTrack,
    NoSuchTrack,
    NoSuchSector,
}

/// How an execution phase ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ending {
    st0: u8,
    st1: u8,
    st2: u8,
}

impl Default for Floppy {
    fn default() -> Floppy {
        Floppy::new()
    }
}

impl Floppy {
    /// A controller without drives, as at power-on.
    #[must_use]
    pub fn new() -> Floppy {
        let state = State {
            srb: 0,
            dor: 0,
            tdr: 0,
            msr: 0,
            dsr: 0,
            selected: 0,
            interrupt: false,
            status0: 0,
            senses: 0,
            command: Vec::new(),
            results: Vec::new(),
            execution: None,
            pending: None,
            timers: (0, 0),
            config: 0x60, // implied seek, FIFO off
            precompensation: 0,
            lock: false,
            power_down: 0,
            drives: Default::default(),
        };
        let mut chip = Floppy { state, attached: [None, None] };
        chip.power_on_drives();
        chip.reset_controller(false, &mut Effects::default());
        chip
    }

    /// Plugs in drive `unit` (0 or 1; taken modulo 2) with a diskette. An image of odd size is
    /// taken for a diskette of a `fallback` drive: 2.88 MB today, 1.44 MB on machine types before
    /// QEMU 2.6.
    pub fn attach(&mut self, unit: u8, disk: Disk, fallback: FloppyKind) {
        let format = Format::of(&disk, fallback);
        let drive = Drive { last_sector: format.sectors, changed: true, sector: 1, ..Drive::default() };
        let unit = usize::from(unit & 1);
        self.attached[unit] = Some(Attachment { disk, format });
        self.state.drives[unit] = drive;
    }

    /// The drive `unit`, if there is one.
    #[must_use]
    pub fn attachment(&self, unit: u8) -> Option<&Attachment> {
        self.attached.get(usize::from(unit))?.as_ref()
    }

    /// What the guest wrote to the diskette in drive `unit`.
    #[must_use]
    pub fn overlay(&self, unit: u8) -> Option<&Overlay> {
        Some(&self.state.drives.get(usize::from(unit))?.overlay)
    }

    /// Everything to save.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes saved state. Diskettes stay as they are attached.
    pub fn restore(&mut self, state: State) {
        self.state = state;
        self.state.selected &= 1;
    }

    /// Which way bytes should go now on channel [`DMA_CHANNEL`]; `None` while there is nothing to
    /// move.
    #[must_use]
    pub fn dma_request(&self) -> Option<Direction> {
        let execution = self.state.execution.as_ref().filter(|execution| execution.dma && execution.ready)?;
        Some(match execution.kind {
            Kind::Read => Direction::ToMemory,
            _ => Direction::FromMemory,
        })
    }

    /// Moves bytes by DMA: fills `bytes` or takes them, as [`Floppy::dma_request`] says. Gives how
    /// many were moved, which is fewer than asked when the controller is done; `terminal_count`
    /// says that the 8237 counts no further behind these bytes, which ends the command.
    pub fn dma_exchange(&mut self, bytes: &mut [u8], terminal_count: bool, fx: &mut Effects) -> usize {
        if self.dma_request().is_none() {
            return 0;
        }
        let (moved, ending) = self.move_bytes(bytes);
        if let Some(ending) = ending {
            self.finish(ending, fx);
        } else if terminal_count {
            let ending = self.flush();
            self.finish(ending, fx);
        }
        moved
    }

    fn drive(&mut self) -> &mut Drive {
        &mut self.state.drives[usize::from(self.state.selected & 1)]
    }

    fn attached(&self) -> Option<&Attachment> {
        self.attached[usize::from(self.state.selected & 1)].as_ref()
    }

    /// The drive that DUMPREG and its like call `number`, as TDR swaps them.
    fn drive_number(&mut self, number: usize) -> &mut Drive {
        let swapped = self.state.tdr & 4 != 0;
        &mut self.state.drives[(number & 1) ^ usize::from(swapped)]
    }

    fn power_on_drives(&mut self) {
        for (drive, attached) in self.state.drives.iter_mut().zip(&self.attached) {
            let last_sector = attached.as_ref().map_or(0, |attachment| attachment.format.sectors);
            let overlay = std::mem::take(&mut drive.overlay);
            *drive = Drive { last_sector, changed: true, overlay, ..Drive::default() };
        }
    }

    // Interrupts and phases.

    fn raise(&mut self, fx: &mut Effects) {
        self.state.interrupt = true;
        self.state.senses = 0;
        fx.line(IRQ6, true);
    }

    fn lower(&mut self, fx: &mut Effects) {
        self.state.status0 = 0;
        self.state.interrupt = false;
        fx.line(IRQ6, false);
    }

    fn reset_controller(&mut self, interrupt: bool, fx: &mut Effects) {
        self.lower(fx);
        fx.line(DREQ2, false);
        let state = &mut self.state;
        state.srb = 0xc0;
        state.selected = 0;
        state.dor = DOR_NOT_RESET | DOR_DMA_GATE;
        state.msr = MSR_RQM;
        state.senses = 0;
        state.execution = None;
        state.pending = None;
        for unit in 0..2 {
            self.state.selected = unit;
            self.seek(0, 0, 1);
        }
        self.state.selected = 0;
        self.command_phase();
        if interrupt {
            self.state.status0 |= ST0_READY_CHANGED;
            self.raise(fx);
            self.state.senses = SENSES_AFTER_RESET;
        }
    }

    fn command_phase(&mut self) {
        self.state.command.clear();
        self.state.results.clear();
        self.state.msr &= !(MSR_BUSY | MSR_DIO | MSR_NON_DMA);
        self.state.msr |= MSR_RQM;
    }

    fn result_phase(&mut self, results: &[u8]) {
        self.state.command.clear();
        self.state.results = results.to_vec();
        self.state.msr &= !MSR_NON_DMA;
        self.state.msr |= MSR_BUSY | MSR_RQM | MSR_DIO;
    }

    /// Ends an execution phase with the seven result bytes and an interrupt.
    fn finish(&mut self, ending: Ending, fx: &mut Effects) {
        self.state.execution = None;
        let unit = self.state.selected;
        let (track, head, sector) = {
            let drive = self.drive();
            (drive.track, drive.head, drive.sector)
        };
        self.state.status0 = self.state.status0 & !7 | unit | if head != 0 { 4 } else { 0 } | ending.st0;
        self.result_phase(&[self.state.status0, ending.st1, ending.st2, track, head, sector, SECTOR_CODE]);
        fx.line(DREQ2, false);
        self.raise(fx);
    }

    /// Ends a command whose sector could not be reached; the results name that sector.
    fn refuse(&mut self, st1: u8, fx: &mut Effects) {
        let wanted: Vec<u8> = self.state.command.get(2..5).unwrap_or(&[0; 3]).to_vec();
        self.finish(Ending { st0: ST0_ABNORMAL, st1, st2: 0 }, fx);
        if let Some(results) = self.state.results.get_mut(3..6) {
            results.copy_from_slice(&wanted);
        }
    }

    // Position.

    /// Moves the selected drive's head, if the diskette has such a place.
    fn seek(&mut self, head: u8, track: u8, sector: u8) -> Seek {
        let (present, tracks, heads) = match self.attached() {
            Some(attachment) => (true, attachment.format.tracks, attachment.format.heads),
            None => (false, 0, 1),
        };
        let drive = self.drive();
        if track > tracks || head >= heads.max(1) {
            return Seek::NoSuchTrack;
        }
        if sector > drive.last_sector {
            return Seek::NoSuchSector;
        }
        let moved = drive.track != track;
        if moved && present {
            drive.changed = false;
        }
        (drive.head, drive.track, drive.sector) = (head, track, sector);
        match (present, moved) {
            (false, _) => Seek::NoSuchTrack,
            (true, true) => Seek::OtherTrack,
            (true, false) => Seek::SameTrack,
        }
    }

    /// Where the selected drive's sector is in the image; `None` for sector 0.
    fn offset(&mut self) -> Option<u64> {
        let heads = self.attached().map_or(1, |attachment| u64::from(attachment.format.heads));
        let drive = self.drive();
        let track = u64::from(drive.track) * heads + u64::from(drive.head);
        let index = u64::from(drive.sector).checked_sub(1)?;
        Some((track * u64::from(drive.last_sector) + index) * SECTOR)
    }

    /// Goes to the next sector; false at the end of the track.
    fn next_sector(&mut self, multi_track: bool, last_sector: u8) -> bool {
        let heads = self.attached().map_or(1, |attachment| attachment.format.heads);
        let drive = self.drive();
        let (head, track, sector) = (drive.head, drive.track, drive.sector);
        if sector < drive.last_sector && sector != last_sector {
            self.seek(head, track, sector + 1);
            return true;
        }
        if multi_track && head == 0 && heads == 2 {
            self.seek(1, track, 1);
            return true;
        }
        self.state.status0 |= ST0_SEEK_END;
        self.seek(if multi_track { 0 } else { head }, track.wrapping_add(1), 1);
        multi_track && heads == 2
    }

    // Commands.

    fn write_fifo(&mut self, value: u8, fx: &mut Effects) {
        if self.state.dor & DOR_NOT_RESET == 0 || self.state.msr & (MSR_RQM | MSR_DIO) != MSR_RQM {
            return;
        }
        self.state.dsr &= !DSR_POWER_DOWN;
        if self.state.execution.is_some() {
            if let (_, Some(ending)) = self.move_bytes(&mut [value]) {
                self.finish(ending, fx);
            }
            return;
        }
        // A command given while a seek is on its way: the seek ends first.
        if let Some((Pending::Seek, _)) = self.state.pending {
            self.end_seek(fx);
        }
        self.state.command.push(value);
        self.state.msr |= MSR_BUSY;
        let code = self.state.command.first().copied().unwrap_or(value);
        let (parameters, command) = lookup(code);
        if self.state.command.len() > parameters {
            self.state.msr &= !MSR_RQM;
            self.execute(command, fx);
        }
    }

    fn execute(&mut self, command: Command, fx: &mut Effects) {
        let bytes = self.state.command.clone();
        let parameter = |index: usize| bytes.get(index).copied().unwrap_or(0);
        match command {
            Command::Transfer(kind) => self.begin_transfer(kind, fx),
            Command::Deleted => {
                self.finish(Ending { st0: ST0_ABNORMAL | ST0_SEEK_END, ..Ending::default() }, fx)
            }
            Command::Format => self.begin_format(fx),
            Command::Configure => {
                (self.state.config, self.state.precompensation) = (parameter(2), parameter(3));
                self.command_phase();
            }
            Command::DriveSpecification if parameter(5) & 0xc0 == 0xc0 => {
                self.result_phase(&[parameter(1), parameter(1), 0, 0]);
            }
            Command::DriveSpecification | Command::Option => self.command_phase(),
            Command::DumpRegisters => {
                let tracks = [self.drive_number(0).track, self.drive_number(1).track];
                let results = self.registers(&[tracks[0], tracks[1], 0, 0]);
                self.result_phase(&results);
            }
            Command::Invalid => self.result_phase(&[ST0_INVALID]),
            Command::Lock => {
                self.state.lock = parameter(0) & 0x80 != 0;
                self.result_phase(&[u8::from(self.state.lock) << 4]);
            }
            Command::PartId => self.result_phase(&[0x41]),
            Command::Perpendicular => {
                if parameter(1) & 0x80 != 0 {
                    self.drive().perpendicular = parameter(1) & 7;
                }
                self.command_phase();
            }
            Command::PowerDown => {
                self.state.power_down = parameter(1);
                self.result_phase(&[parameter(1)]);
            }
            Command::ReadId => {
                self.drive().head = parameter(1) >> 2 & 1;
                self.state.pending = Some((Pending::ReadId, fx.now().after(READ_ID_NS)));
            }
            Command::Recalibrate => {
                self.state.selected = parameter(1) & 1;
                self.seek(0, 0, 1);
                self.begin_seek(fx);
            }
            Command::Seek => self.seek_track(parameter(1), parameter(2), fx),
            Command::RelativeSeek { inward } => {
                let unit = parameter(1);
                self.state.selected = unit & 1;
                let last = self.attached().map_or(0, |attachment| attachment.format.tracks.saturating_sub(1));
                let track = self.drive().track;
                let target = match inward {
                    true => track.saturating_add(parameter(2)).min(last),
                    false => track.saturating_sub(parameter(2)),
                };
                self.seek_track(unit, target, fx);
            }
            Command::Restore => self.restore_registers(&bytes),
            Command::Save => {
                let tracks = [self.drive_number(0).track, self.drive_number(1).track];
                let mut results = vec![0, 0];
                let [step, load] = [self.state.timers.0, self.state.timers.1];
                let (last_sector, perpendicular) = (self.drive().last_sector, self.drive().perpendicular);
                let lock = u8::from(self.state.lock) << 7 | perpendicular << 2;
                results.extend([tracks[0], tracks[1], 0, 0, step, load, last_sector, lock]);
                results.extend([self.state.config, self.state.precompensation, self.state.power_down, 0, 0]);
                self.result_phase(&results);
            }
            Command::SenseDrive => {
                self.state.selected = parameter(1) & 1;
                let unit = self.state.selected;
                let protected = self.attached().is_none_or(|attachment| attachment.disk.read_only);
                let drive = self.drive();
                drive.head = parameter(1) >> 2 & 1;
                let track_0 = if drive.track == 0 { 0x10 } else { 0 };
                let st3 = u8::from(protected) << 6 | track_0 | drive.head << 2 | unit | 0x28;
                self.result_phase(&[st3]);
            }
            Command::SenseInterrupt => self.sense_interrupt(fx),
            Command::Specify => {
                self.state.timers = (parameter(1) >> 4, parameter(2) >> 1);
                self.state.dor &= !DOR_DMA_GATE;
                if parameter(2) & 1 == 0 {
                    self.state.dor |= DOR_DMA_GATE;
                }
                self.command_phase();
            }
            Command::Version => self.result_phase(&[0x90]),
        }
    }

    /// The ten bytes of DUMPREG behind the drives' `tracks`.
    fn registers(&mut self, tracks: &[u8]) -> Vec<u8> {
        let (last_sector, perpendicular) = (self.drive().last_sector, self.drive().perpendicular);
        let state = &self.state;
        let dma = u8::from(state.dor & DOR_DMA_GATE != 0);
        let lock = u8::from(state.lock) << 7 | perpendicular << 2;
        let rest = [
            state.timers.0,
            state.timers.1 << 1 | dma,
            last_sector,
            lock,
            state.config,
            state.precompensation,
        ];
        [tracks, &rest].concat()
    }

    fn restore_registers(&mut self, bytes: &[u8]) {
        let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
        for number in 0..2 {
            self.drive_number(number).track = byte(3 + number);
        }
        self.state.timers = (byte(7), byte(8));
        let drive = self.drive();
        drive.last_sector = byte(9);
        drive.perpendicular = byte(10) >> 2 & 15;
        self.state.lock = byte(10) & 0x80 != 0;
        (self.state.config, self.state.precompensation, self.state.power_down) =
            (byte(11), byte(12), byte(13));
        self.command_phase();
    }

    fn seek_track(&mut self, unit: u8, track: u8, fx: &mut Effects) {
        self.state.selected = unit & 1;
        let (head, sector) = (self.drive().head, self.drive().sector);
        self.seek(head, track, sector);
        self.begin_seek(fx);
    }

    /// A seek is under way: the controller takes commands, MSR shows which drive is moving.
    fn begin_seek(&mut self, fx: &mut Effects) {
        self.command_phase();
        self.state.msr |= 1 << self.state.selected;
        self.state.pending = Some((Pending::Seek, fx.now().after(SEEK_NS)));
    }

    fn end_seek(&mut self, fx: &mut Effects) {
        self.state.pending = None;
        self.state.msr &= !0x0f;
        self.state.status0 |= ST0_SEEK_END;
        self.raise(fx);
    }

    fn sense_interrupt(&mut self, fx: &mut Effects) {
        let st0 = if self.state.senses > 0 {
            self.state.senses -= 1;
            ST0_READY_CHANGED + (SENSES_AFTER_RESET - 1).saturating_sub(self.state.senses)
        } else if self.state.interrupt {
            self.state.status0 & !7 | self.state.selected
        } else {
            return self.result_phase(&[ST0_INVALID]);
        };
        let track = self.drive().track;
        self.result_phase(&[st0, track]);
        self.lower(fx);
        self.state.status0 = ST0_READY_CHANGED;
    }

    fn end_read_id(&mut self, fx: &mut Effects) {
        let rate = self.attached().map_or(0, |attachment| attachment.format.rate);
        let drive = self.drive();
        if drive.last_sector != 0 {
            // The diskette turns: each READ ID finds the next sector.
            drive.sector = drive.sector % drive.last_sector + 1;
        }
        let matches = self.state.dsr & DSR_RATE == rate;
        let ending = Ending { st0: ST0_ABNORMAL, st1: ST1_MISSING_ADDRESS, st2: 0 };
        self.finish(if matches { Ending::default() } else { ending }, fx);
    }

    fn read_fifo(&mut self, fx: &mut Effects) -> u8 {
        self.state.dsr &= !DSR_POWER_DOWN;
        if self.state.msr & (MSR_RQM | MSR_DIO) != MSR_RQM | MSR_DIO {
            return 0;
        }
        if self.state.execution.is_some() {
            let mut byte = [0];
            if let (_, Some(ending)) = self.move_bytes(&mut byte) {
                self.finish(ending, fx);
            }
            return byte[0];
        }
        let value = if self.state.results.is_empty() { 0 } else { self.state.results.remove(0) };
        if self.state.results.is_empty() {
            self.command_phase();
            self.lower(fx);
        }
        value
    }

    fn write_dor(&mut self, value: u8, fx: &mut Effects) {
        let motors = value >> 4 & 3;
        let leaves_reset = value & DOR_NOT_RESET != 0 && self.state.dor & DOR_NOT_RESET == 0;
        if leaves_reset {
            self.reset_controller(true, fx);
            self.state.dsr &= !DSR_POWER_DOWN;
        } else {
            self.state.srb = self.state.srb & !0x23 | motors | (value & 1) << 5;
        }
        self.state.selected = value & 1;
        self.state.dor = value;
    }

    fn write_dsr(&mut self, value: u8, fx: &mut Effects) {
        if value & (DSR_RESET | DSR_POWER_DOWN) != 0 {
            self.reset_controller(true, fx);
        }
        self.state.dsr = value;
    }
}

impl Chip for Floppy {
    fn regions(&self) -> Vec<Region> {
        let region =
            |index, base, length| Region { index, name: "fdc", space: Space::Io, base, length, widest: 1 };
        vec![region(0, 0x3f1, 5), region(1, 0x3f7, 1)]
    }

    fn register_name(&self, index: u8, offset: u64, write: bool) -> Option<String> {
        let name = match (offset + if index == 0 { 1 } else { DIR }, write) {
            (MSR, true) => "DSR",
            (DIR, true) => "CCR",
            (offset, _) => {
                return crate::name_at(&["", "SRB", "DOR", "TDR", "MSR", "FIFO", "", "DIR"], offset);
            }
        };
        Some(name.to_owned())
    }

    fn read(&mut self, index: u8, offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        let value = match if index == 0 { offset + 1 } else { DIR } {
            SRB => self.state.srb,
            DOR => self.state.dor | self.state.selected,
            TDR => self.state.tdr,
            MSR => {
                self.state.dsr &= !DSR_POWER_DOWN;
                self.state.dor |= DOR_NOT_RESET;
                self.state.msr
            }
            FIFO => self.read_fifo(fx),
            DIR => {
                if self.drive().changed {
                    DIR_CHANGED
                } else {
                    0
                }
            }
            register => {
                fx.note("floppy controller register", register, 0);
                0xff
            }
        };
        value.into()
    }

    fn write(&mut self, index: u8, offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        let value = value as u8;
        let running = self.state.dor & DOR_NOT_RESET != 0;
        match if index == 0 { offset + 1 } else { DIR } {
            DOR => self.write_dor(value, fx),
            TDR if running => self.state.tdr = value & 4,
            MSR if running => self.write_dsr(value, fx),
            FIFO => self.write_fifo(value, fx),
            DIR if running => self.state.dsr = self.state.dsr & !DSR_RATE | value & DSR_RATE,
            _ => {}
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        if kind == ResetKind::PowerOn {
            let fresh = Floppy::new().state;
            let drives = std::mem::take(&mut self.state.drives);
            self.state = State { drives, ..fresh };
            self.power_on_drives();
        }
        self.reset_controller(false, fx);
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.pending.map(|(_, due)| due)
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        let Some((pending, due)) = self.state.pending else { return };
        if due > fx.now() {
            return;
        }
        self.state.pending = None;
        match pending {
            Pending::Transfer => self.start_moving(fx),
            Pending::Seek => self.end_seek(fx),
            Pending::ReadId => self.end_read_id(fx),
        }
    }

    fn shift_time(&mut self, delta: i64) {
        if let Some((_, due)) = &mut self.state.pending {
            due.shift(delta);
        }
    }
}
