//! Execution phases: what happens to the bytes between a data command and its results.
//!
//! Data sheet sections 3.2 (FIFO and DMA) and 6.1 (data transfer commands).

use super::{
    DOR_DMA_GATE, DREQ2, DSR_RATE, Ending, Execution, Floppy, Kind, MSR_DIO, MSR_NON_DMA, MSR_RQM, Pending,
    SECTOR_BYTES, ST0_ABNORMAL, ST0_SEEK_END, ST1_DATA_ERROR, ST1_END_OF_CYLINDER, ST1_MISSING_ADDRESS,
    ST1_NOT_WRITABLE, ST2_EQUAL, ST2_NOT_SATISFIED, Seek, State,
};
use crate::Effects;
use crate::disk::DiskError;

impl Floppy {
    /// READ, WRITE, VERIFY and SCAN: finds the first sector and begins the execution phase.
    pub(super) fn begin_transfer(&mut self, kind: Kind, fx: &mut Effects) {
        let parameter = |index: usize, state: &State| state.command.get(index).copied().unwrap_or(0);
        let [track, head, sector, code, last, data_length] =
            [2, 3, 4, 5, 6, 8].map(|index| parameter(index, &self.state));
        self.state.selected = parameter(1, &self.state) & 1;
        match self.seek(head, track, sector) {
            Seek::NoSuchTrack => return self.refuse(0, fx),
            Seek::NoSuchSector => return self.refuse(ST1_END_OF_CYLINDER, fx),
            Seek::OtherTrack => self.state.status0 |= ST0_SEEK_END,
            Seek::SameTrack => {}
        }
        let rate = self.attached().map_or(0, |attachment| attachment.format.rate);
        let multi_track = parameter(0, &self.state) & 0x80 != 0;
        if self.state.dsr & DSR_RATE != rate {
            return self.refuse(ST1_MISSING_ADDRESS, fx);
        }
        let length = if code == 0 {
            u32::from(data_length)
        } else {
            let Some(sectors) = (u32::from(last) + 1).checked_sub(sector.into()) else {
                return self.refuse(ST1_MISSING_ADDRESS, fx);
            };
            let other_side = if multi_track { u32::from(last) } else { 0 };
            (sectors + other_side) * (128 << code.min(7))
        };
        self.begin(kind, length, multi_track, last, 0, fx);
    }

    /// FORMAT TRACK: begins to take the sectors' addresses.
    pub(super) fn begin_format(&mut self, fx: &mut Effects) {
        let parameter = |index: usize, state: &State| state.command.get(index).copied().unwrap_or(0);
        let [unit, sectors, fill] = [1, 3, 5].map(|index| parameter(index, &self.state));
        self.state.selected = unit & 1;
        let track = self.drive().track;
        self.drive().head = unit >> 2 & 1;
        let Some(attachment) = self.attached() else {
            return self.finish(Ending { st0: ST0_ABNORMAL, ..Ending::default() }, fx);
        };
        if attachment.disk.read_only {
            return self.finish(Ending { st0: ST0_ABNORMAL, st1: ST1_NOT_WRITABLE, st2: 0 }, fx);
        }
        if track > attachment.format.tracks {
            return self.finish(Ending { st0: ST0_ABNORMAL, ..Ending::default() }, fx);
        }
        self.begin(Kind::Format, 4 * u32::from(sectors), false, sectors, fill, fx);
    }

    fn begin(
        &mut self,
        kind: Kind,
        length: u32,
        multi_track: bool,
        last_sector: u8,
        fill: u8,
        fx: &mut Effects,
    ) {
        let dma = self.state.dor & DOR_DMA_GATE != 0;
        self.state.execution = Some(Execution {
            kind,
            position: 0,
            length,
            multi_track,
            last_sector,
            fill,
            dma,
            ready: false,
            sector: Vec::new(),
        });
        let due = self.attached().map_or(fx.now(), |attachment| attachment.disk.done_at(fx.now()));
        self.state.msr &= !MSR_RQM;
        self.state.pending = Some((Pending::Transfer, due));
    }

    /// The latency is over: data begins to move.
    pub(super) fn start_moving(&mut self, fx: &mut Effects) {
        let Some(execution) = &mut self.state.execution else { return };
        execution.ready = true;
        let (kind, dma, length) = (execution.kind, execution.dma, execution.length);
        if length == 0 {
            return self.finish(Ending::default(), fx);
        }
        if kind == Kind::Verify {
            loop {
                if let (_, Some(ending)) = self.move_bytes(&mut [0; SECTOR_BYTES]) {
                    return self.finish(ending, fx);
                }
            }
        }
        if dma {
            return fx.line(DREQ2, true);
        }
        self.state.msr |= MSR_NON_DMA | MSR_RQM;
        if kind == Kind::Read {
            self.state.msr |= MSR_DIO;
        }
        self.raise(fx);
    }

    /// Moves bytes until `bytes` is used up or the command is over, which gives its ending.
    pub(super) fn move_bytes(&mut self, bytes: &mut [u8]) -> (usize, Option<Ending>) {
        let Some(mut execution) = self.state.execution.take() else { return (0, None) };
        let mut moved = 0;
        let mut ending = None;
        while ending.is_none() && moved < bytes.len() {
            let rest = &mut bytes[moved..];
            let (length, end) = match execution.kind {
                Kind::Format => self.format_bytes(&mut execution, rest),
                _ => self.sector_bytes(&mut execution, rest),
            };
            moved += length;
            ending = end;
        }
        self.state.execution = Some(execution);
        (moved, ending)
    }

    /// One stretch of bytes within a sector.
    fn sector_bytes(&mut self, execution: &mut Execution, bytes: &mut [u8]) -> (usize, Option<Ending>) {
        let within = execution.position as usize % SECTOR_BYTES;
        if execution.kind == Kind::Write
            && self.attached().is_some_and(|attachment| attachment.disk.read_only)
        {
            let st0 = ST0_ABNORMAL | ST0_SEEK_END;
            return (0, Some(Ending { st0, st1: ST1_NOT_WRITABLE, st2: 0 }));
        }
        if within == 0 || execution.sector.len() != SECTOR_BYTES {
            match self.load() {
                Ok(sector) => execution.sector = sector,
                Err(ending) => return (0, Some(ending)),
            }
        }
        let left = execution.length.saturating_sub(execution.position) as usize;
        let length = bytes.len().min(SECTOR_BYTES - within).min(left);
        let (given, stored) = (&mut bytes[..length], &mut execution.sector[within..within + length]);
        let mut found = None;
        match execution.kind {
            Kind::Read => given.copy_from_slice(stored),
            Kind::Write => stored.copy_from_slice(given),
            Kind::Verify | Kind::Format => {}
            Kind::ScanEqual | Kind::ScanLow | Kind::ScanHigh => {
                let order = (*given).cmp(&*stored);
                if order.is_eq() {
                    found = Some(ST2_EQUAL);
                } else if execution.kind == Kind::ScanLow && order.is_lt()
                    || execution.kind == Kind::ScanHigh && order.is_gt()
                {
                    found = Some(0);
                }
            }
        }
        execution.position += length as u32;
        let over = execution.position >= execution.length;
        let whole = (execution.position as usize).is_multiple_of(SECTOR_BYTES);
        if execution.kind == Kind::Write
            && (whole || over)
            && let Err(ending) = self.store(&execution.sector)
        {
            return (length, Some(ending));
        }
        let scan = matches!(execution.kind, Kind::ScanEqual | Kind::ScanLow | Kind::ScanHigh);
        // Without DMA the head stays at the last sector read, but leaves the last one written.
        let advance = match (execution.dma, execution.kind) {
            (true, _) => whole,
            (false, Kind::Write) => whole || over,
            (false, _) => whole && !over,
        };
        let more = !advance || self.next_sector(execution.multi_track, execution.last_sector);
        if let Some(st2) = found {
            return (length, Some(Ending { st2, ..Ending::default() }));
        }
        if over || !more {
            let st2 = if scan { ST2_NOT_SATISFIED } else { 0 };
            return (length, Some(Ending { st2, ..Ending::default() }));
        }
        (length, None)
    }

    /// FORMAT TRACK: collects the four bytes of a sector's address, then fills that sector.
    fn format_bytes(&mut self, execution: &mut Execution, bytes: &mut [u8]) -> (usize, Option<Ending>) {
        execution.sector.extend(bytes.first());
        execution.position = execution.position.saturating_add(1);
        let over = execution.position >= execution.length;
        if let [track, head, sector, _] = execution.sector[..] {
            execution.sector.clear();
            let abnormal = Ending { st0: ST0_ABNORMAL, ..Ending::default() };
            match self.seek(head, track, sector) {
                Seek::NoSuchTrack => return (1, Some(abnormal)),
                Seek::NoSuchSector => return (1, Some(Ending { st1: ST1_END_OF_CYLINDER, ..abnormal })),
                Seek::SameTrack | Seek::OtherTrack => {}
            }
            if let Err(ending) = self.store(&[execution.fill; SECTOR_BYTES]) {
                return (1, Some(ending));
            }
        }
        (1, over.then(Ending::default))
    }

    /// Terminal count in the middle of a sector: a write keeps what has come.
    pub(super) fn flush(&mut self) -> Ending {
        let Some(execution) = self.state.execution.take() else { return Ending::default() };
        let partial = !(execution.position as usize).is_multiple_of(SECTOR_BYTES);
        if execution.kind == Kind::Write
            && partial
            && let Err(ending) = self.store(&execution.sector)
        {
            return ending;
        }
        let scan = matches!(execution.kind, Kind::ScanEqual | Kind::ScanLow | Kind::ScanHigh);
        Ending { st2: if scan { ST2_NOT_SATISFIED } else { 0 }, ..Ending::default() }
    }

    /// The sector under the head; behind the end of a short image there are zeros.
    fn load(&mut self) -> Result<Vec<u8>, Ending> {
        let mut sector = vec![0; SECTOR_BYTES];
        let offset = self.offset();
        let unit = usize::from(self.state.selected & 1);
        if let (Some(offset), Some(attachment)) = (offset, &self.attached[unit]) {
            let read = attachment.disk.read(&self.state.drives[unit].overlay, offset, &mut sector);
            if let Err(DiskError::Source { .. }) = read {
                return Err(Ending { st0: ST0_ABNORMAL, st1: ST1_DATA_ERROR, st2: 0 });
            }
        }
        Ok(sector)
    }

    fn store(&mut self, sector: &[u8]) -> Result<(), Ending> {
        let offset = self.offset();
        let unit = usize::from(self.state.selected & 1);
        let done = match (offset, &self.attached[unit]) {
            (Some(offset), Some(attachment)) => {
                attachment.disk.write(&mut self.state.drives[unit].overlay, offset, sector).is_ok()
            }
            _ => false,
        };
        if done { Ok(()) } else { Err(Ending { st0: ST0_ABNORMAL | ST0_SEEK_END, ..Ending::default() }) }
    }
}
