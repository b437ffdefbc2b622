//! The two digests of a machine: everything, and everything but absolute time and count.

use std::io::{BufWriter, Write};

use serde::Serialize;

use warmboot_chipset::{Chip as _, Effects};

use crate::{
    Machine,
    clock::Clock,
    devices::{Device, Slot},
    processors::Processor,
};

/// Changes when what is hashed changes, so that digests of different versions never meet.
const VERSION: &[u8] = b"warmboot digest 2";

impl Machine {
    /// A digest of everything that decides how the machine goes on, time and count included, in
    /// lower-case hex.
    pub fn digest(&mut self) -> String {
        let clock = self.board.clock.clone();
        let slots = std::mem::take(&mut self.board.slots);
        let digest = self.hash(Some(&clock), &slots);
        self.board.slots = slots;
        digest
    }

    /// As [`Machine::digest`] but without absolute time and count, so that two runs that were
    /// reset at different moments can become equal. The time of day is absolute time too.
    pub fn state_digest(&mut self) -> String {
        let now = self.board.now();
        let delta = (now.0 as i64).wrapping_neg();
        let mut slots = self.board.slots.clone();
        for slot in &mut slots {
            // The clock works out its registers when somebody looks.
            if let Device::Rtc(rtc) = &mut *slot.device {
                rtc.on_deadline(&mut Effects::at(now));
                rtc.forget_time();
                continue;
            }
            slot.device.chip_mut().shift_time(delta);
        }
        self.hash(None, &slots)
    }

    fn hash(&mut self, clock: Option<&Clock>, slots: &[Slot]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(VERSION);
        put(
            &mut hasher,
            "machine",
            &(self.machine_type().name, self.board.generation, self.processors.first().model().name),
        );
        if let Some(clock) = clock {
            put(&mut hasher, "clock", clock);
        }
        let now = self.board.now().0;
        for (index, Processor { cpu, time, waits, retired: _ }) in self.processors.iter().enumerate() {
            put(&mut hasher, "cpu", cpu.state());
            if self.processors.count() > 1 {
                // The clock of one that waits counts only where it is ahead: it is set when it goes on.
                let ahead = if *waits { time.saturating_sub(now) } else { time.wrapping_sub(now) };
                put(&mut hasher, "ahead", &(index, waits, ahead));
            }
        }
        put(&mut hasher, "wires", &self.board.wires);
        for slot in slots {
            hasher.update(slot.name.as_bytes());
            let before = hasher.count();
            let mut writer = BufWriter::with_capacity(1 << 16, &mut hasher);
            let written = slot
                .device
                .write_state(&mut writer)
                .and_then(|()| writer.flush().map_err(serde_json::Error::io));
            drop(writer);
            // A state is plain data, so it can be written; were it not, digests must differ from any good one.
            if let Err(error) = written {
                put(&mut hasher, "error", &error.to_string());
            }
            let length = hasher.count() - before;
            hasher.update(&length.to_le_bytes());
        }
        put(&mut hasher, "wiring", &self.wiring);
        hasher.update(&self.board.memory.digest());
        hasher.finalize().to_hex().to_string()
    }
}

/// Adds a named value, framed by its length.
fn put(hasher: &mut blake3::Hasher, name: &str, value: &impl Serialize) {
    let bytes = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
    hasher.update(name.as_bytes());
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&bytes);
}
