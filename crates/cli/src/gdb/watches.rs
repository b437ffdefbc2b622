//! Write watchpoints, by the machine's own record of writes to watched bytes.

use std::collections::BTreeMap;

use warmboot::{
    Machine,
    machine::{ConfigError, Effect, Watched},
};

/// Bytes within which one translation holds.
const PAGE: u64 = 4096;

/// What is watched: linear address and length, with the physical address they had when they were set.
#[derive(Default)]
pub(crate) struct Watches {
    set: BTreeMap<(u64, u64), u64>,
}

/// A write to something watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    /// The linear address of what is watched.
    pub linear: u64,
    /// Instructions retired before the one that wrote.
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
        self.set.insert((linear, length), physical);
        Ok(())
    }

    pub(crate) fn remove(&mut self, linear: u64, length: u64) -> bool {
        self.set.remove(&(linear, length)).is_some()
    }

    /// Begins to record.
    pub(crate) fn begin(&self, machine: &mut Machine) -> Result<(), ConfigError> {
        if self.set.is_empty() {
            return Ok(());
        }
        machine.stop_watching();
        machine.limit_history(usize::MAX);
        for ((_, length), physical) in &self.set {
            machine.watch(&Watched::Memory { address: *physical, length: *length })?;
        }
        Ok(())
    }

    /// Ends recording; gives what was written, in order.
    pub(crate) fn end(&self, machine: &mut Machine) -> Vec<Write> {
        if self.set.is_empty() {
            return Vec::new();
        }
        let seen = machine
            .history()
            .events
            .iter()
            .filter(|event| matches!(event.effect, Effect::Written | Effect::Remapped));
        let writes = seen.filter_map(|event| {
            let ((linear, _), _) = self.set.iter().nth(event.watch)?;
            Some(Write { linear: *linear, instruction: event.instruction })
        });
        let writes = writes.collect();
        machine.stop_watching();
        writes
    }
}
