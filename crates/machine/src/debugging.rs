//! What a debugger needs beside [`Machine::run`]: memory by linear address, whole processor states, and
//! who stands where. Nothing here reaches a chip.
//!
//! One instruction is a run with [`crate::Limits::slice`] of 1; up to one of some addresses, a run until
//! [`crate::Condition::Address`].

use warmboot_cpu::{Feature, State};
use warmboot_memory::Target;

use crate::{ConfigError, Machine, processors::Processor};

/// Bytes of a page, within which a translation holds.
const PAGE: u64 = 4096;

/// Where bytes of a linear range are.
struct Piece {
    block: warmboot_memory::BlockId,
    offset: u64,
    length: usize,
}

impl Machine {
    /// As [`Machine::read_linear`], but ends before the first byte where no RAM or ROM answers, too.
    pub fn read_linear_ram(&self, processor: usize, linear: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let here = linear.checked_add(done as u64);
            let Some(piece) = here.and_then(|here| self.piece(processor, here, rest.len())) else { break };
            let Some(part) = rest.get_mut(..piece.length) else { break };
            if self.board.memory.read_block(piece.block, piece.offset, part).is_err() {
                break;
            }
            done += piece.length;
        }
        done
    }

    /// Writes memory at a linear address where processor number `processor` would read it, be it read-only
    /// or not: all of it or, where a byte is not mapped or no RAM or ROM answers, nothing.
    ///
    /// # Errors
    /// Says at which address nothing takes it.
    pub fn write_linear(&mut self, processor: usize, linear: u64, bytes: &[u8]) -> Result<(), ConfigError> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let here = linear.checked_add(done as u64);
            let piece = here.and_then(|here| self.piece(processor, here, bytes.len() - done));
            let nothing = || ConfigError::new(format!("no memory at linear address {linear:#x}+{done:#x}"));
            let piece = piece.ok_or_else(nothing)?;
            done += piece.length;
            pieces.push(piece);
        }
        let mut rest = bytes;
        for Piece { block, offset, length } in pieces {
            let Some((part, after)) = rest.split_at_checked(length) else { break };
            let name = self.board.memory.info(block).name.to_owned();
            self.write_block(&name, offset, part)?;
            rest = after;
        }
        Ok(())
    }

    /// What the processor reads at `linear`, up to `most` bytes of it.
    fn piece(&self, processor: usize, linear: u64, most: usize) -> Option<Piece> {
        let state = self.processors.get(processor)?.cpu.state();
        if !state.long_mode() && linear > u64::from(u32::MAX) {
            return None;
        }
        let physical = self.translate(processor, linear)?;
        let in_page = usize::try_from(PAGE - linear % PAGE).ok()?;
        let view = if state.smm { &self.board.views.smm } else { &self.board.views.memory };
        let range = view.lookup(physical)?;
        let Target::Block { block, offset } = range.read_at(physical) else { return None };
        let length = usize::try_from((range.end - physical).saturating_add(1)).unwrap_or(usize::MAX);
        Some(Piece { block, offset, length: length.min(most).min(in_page) })
    }

    /// Changes the architectural state of processor number `processor` between runs.
    ///
    /// # Errors
    /// When there is no such processor, or `change` makes what none of its model can hold; nothing is
    /// changed then.
    pub fn change_processor(
        &mut self,
        processor: usize,
        change: impl FnOnce(&mut State),
    ) -> Result<(), ConfigError> {
        let missing = || ConfigError::new(format!("there is no processor {processor}"));
        let Processor { cpu, .. } = self.processors.get_mut(processor).ok_or_else(missing)?;
        let mut state = cpu.state().clone();
        change(&mut state);
        cpu.restore(state, false).map_err(|error| ConfigError::new(error.to_string()))
    }

    /// Whether the processors' model offers long mode.
    #[must_use]
    pub fn has_long_mode(&self) -> bool {
        self.processors.first().model().features.has(Feature::LongMode)
    }

    /// Whether the last run ended just before processor number `processor` would have executed an address
    /// that was waited for; the next run steps over it.
    #[must_use]
    pub fn stands_at_address(&self, processor: usize) -> bool {
        self.processors.get(processor).is_some_and(|processor| processor.cpu.passed())
    }

    /// Says whether the next run steps over an address it waits for where processor number `processor`
    /// stands now.
    pub fn step_over_address(&mut self, processor: usize, over: bool) {
        if let Some(processor) = self.processors.get_mut(processor) {
            processor.cpu.set_passed(over);
        }
    }

    /// Instructions that processor number `processor` has retired since the machine was built or loaded:
    /// shows whose instruction the last one was.
    #[must_use]
    pub fn retired(&self, processor: usize) -> u64 {
        self.processors.get(processor).map_or(0, |processor| processor.retired)
    }

    /// Ends all watches and forgets their history.
    pub fn stop_watching(&mut self) {
        self.board.observer = None;
        self.follow_watches();
    }
}
