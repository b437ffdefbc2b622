//! Watchpoints, by the machine's own record of writes to watched bytes, and of reads.

use std::collections::BTreeMap;

use crate::{
    Machine,
    machine::{ConfigError, Effect, Watched},
};
use gdbstub::target::ext::breakpoints::WatchKind;

/// Bytes within which one translation holds.
const PAGE: u64 = 4096;

/// Which accesses a watchpoint is about: gdb's `watch`, `rwatch`, `awatch`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Write,
    Read,
    Either,
}

impl From<WatchKind> for Kind {
    fn from(kind: WatchKind) -> Kind {
        match kind {
            WatchKind::Write => Kind::Write,
            WatchKind::Read => Kind::Read,
            WatchKind::ReadWrite => Kind::Either,
        }
    }
}

/// What is watched: linear address, length and for what, with the physical address they had when they were set.
#[derive(Default)]
pub(crate) struct Watches {
    set: BTreeMap<(u64, u64, Kind), u64>,
}

/// An access to something watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    /// The linear address of what is watched.
    pub linear: u64,
    /// What it is watched for.
    pub kind: WatchKind,
    /// Instructions retired before the one that made it.
    pub instruction: u64,
}

impl Watches {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Watches `length` bytes from a processor's linear address on.
    pub(crate) fn add(
        &mut self,
        machine: &mut Machine,
        processor: usize,
        linear: u64,
        length: u64,
        kind: Kind,
    ) -> Result<(), ConfigError> {
        let nowhere =
            || ConfigError::new(format!("watch {linear:#x}+{length}: no memory, or not in one piece"));
        let physical = machine.translate(processor, linear).ok_or_else(nowhere)?;
        let watched = machine.watch(&Watched::Memory { address: physical, length });
        machine.stop_watching();
        watched?;
        // It is short, now that it can be watched.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        if machine.read_linear_ram(processor, linear, &mut bytes) < bytes.len() {
            return Err(nowhere());
        }
        let mut page = PAGE - linear % PAGE;
        while page < length {
            let there = linear.checked_add(page).and_then(|linear| machine.translate(processor, linear));
            if there != physical.checked_add(page) {
                return Err(nowhere());
            }
            page += PAGE;
        }
        self.set.insert((linear, length, kind), physical);
        Ok(())
    }

    pub(crate) fn remove(&mut self, linear: u64, length: u64, kind: Kind) -> bool {
        self.set.remove(&(linear, length, kind)).is_some()
    }

    /// Begins to record.
    pub(crate) fn begin(&self, machine: &mut Machine) -> Result<(), ConfigError> {
        if self.set.is_empty() {
            return Ok(());
        }
        machine.stop_watching();
        machine.limit_history(usize::MAX);
        for (_, watched) in self.recorded() {
            machine.watch(&watched)?;
        }
        Ok(())
    }

    /// What the machine records, and for which watchpoint: address and kind.
    fn recorded(&self) -> impl Iterator<Item = ((u64, Kind), Watched)> {
        self.set.iter().flat_map(|(&(linear, length, kind), &address)| {
            let writes = (kind != Kind::Read).then_some(Watched::Memory { address, length });
            let reads = (kind != Kind::Write).then_some(Watched::Reads { address, length });
            writes.into_iter().chain(reads).map(move |watched| ((linear, kind), watched))
        })
    }

    /// Ends recording; gives the accesses, in order.
    pub(crate) fn end(&self, machine: &mut Machine) -> Vec<Hit> {
        if self.set.is_empty() {
            return Vec::new();
        }
        let seen = machine
            .history()
            .events
            .iter()
            .filter(|event| matches!(event.effect, Effect::Written | Effect::Remapped | Effect::Read));
        let hits = seen.filter_map(|event| {
            let ((linear, kind), _) = self.recorded().nth(event.watch)?;
            let kind = match kind {
                Kind::Write => WatchKind::Write,
                Kind::Read => WatchKind::Read,
                Kind::Either => WatchKind::ReadWrite,
            };
            Some(Hit { linear, kind, instruction: event.instruction })
        });
        let hits = hits.collect();
        machine.stop_watching();
        hits
    }
}
