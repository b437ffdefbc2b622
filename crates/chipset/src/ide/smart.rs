//! SMART: attributes that never age, and a log of self-tests that always pass.
//!
//! ATA/ATAPI-6 (T13 1410D), section 8.55; the attributes are those of QEMU's disks.

use serde::{Deserialize, Serialize};

/// One attribute of the READ DATA page.
struct Attribute {
    id: u8,
    flags: u8,
    value: u8,
    raw: [u8; 4],
    threshold: u8,
}

const ATTRIBUTES: [Attribute; 7] = [
    // raw read error rate
    Attribute { id: 1, flags: 3, value: 100, raw: [0; 4], threshold: 6 },
    // spin-up time
    Attribute { id: 3, flags: 3, value: 100, raw: [16, 0, 0, 0], threshold: 0 },
    // start and stop count
    Attribute { id: 4, flags: 2, value: 100, raw: [100, 0, 0, 0], threshold: 20 },
    // reallocated sectors
    Attribute { id: 5, flags: 3, value: 100, raw: [0; 4], threshold: 36 },
    // power-on hours
    Attribute { id: 9, flags: 3, value: 100, raw: [1, 0, 0, 0], threshold: 0 },
    // power cycles
    Attribute { id: 12, flags: 3, value: 100, raw: [0; 4], threshold: 0 },
    // air flow temperature: now, lowest, highest
    Attribute { id: 190, flags: 3, value: 69, raw: [31, 0, 31, 31], threshold: 50 },
];

/// Self-tests the log holds.
const LOG: usize = 21;

/// What SMART remembers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Smart {
    /// Operations are enabled.
    pub enabled: bool,
    /// Attributes are saved without being asked.
    pub autosave: bool,
    /// Kinds of the self-tests done.
    pub self_tests: Vec<u8>,
    /// How many of them count; after the last one the log begins again.
    pub self_test_count: u8,
}

impl Default for Smart {
    fn default() -> Smart {
        Smart { enabled: true, autosave: true, self_tests: Vec::new(), self_test_count: 0 }
    }
}

impl Smart {
    /// A self-test of `kind` has been done and passed.
    pub(super) fn record(&mut self, kind: u8) {
        let slot =
            if usize::from(self.self_test_count) >= LOG { 0 } else { usize::from(self.self_test_count) };
        match self.self_tests.get_mut(slot) {
            Some(test) => *test = kind,
            None => self.self_tests.push(kind),
        }
        self.self_test_count = slot as u8 + 1;
    }

    /// Fills the READ DATA page.
    pub(super) fn data(&self, page: &mut [u8]) {
        for (entry, attribute) in page[2..].chunks_exact_mut(12).zip(&ATTRIBUTES) {
            entry[..5].copy_from_slice(&[attribute.id, attribute.flags, 0, attribute.value, attribute.value]);
            entry[5..9].copy_from_slice(&attribute.raw);
        }
        page[362] = 0x02 | if self.autosave { 0x80 } else { 0 };
        page[364..366].copy_from_slice(&0x0120_u16.to_le_bytes()); // seconds of off-line collection
        page[367] = 0x19; // off-line execution, self-test
        page[368] = 0x03; // saves attributes
        page[370] = 0x01; // logs errors
        page[372..375].copy_from_slice(&[2, 54, 1]); // minutes the self-tests take
    }

    /// Fills the READ THRESHOLDS page.
    pub(super) fn thresholds(page: &mut [u8]) {
        for (entry, attribute) in page[2..].chunks_exact_mut(12).zip(&ATTRIBUTES) {
            entry[..2].copy_from_slice(&[attribute.id, attribute.threshold]);
        }
    }

    /// Fills the self-test log.
    pub(super) fn self_test_log(&self, page: &mut [u8]) {
        for (entry, kind) in page[2..506].chunks_exact_mut(24).zip(&self.self_tests) {
            entry[..4].copy_from_slice(&[*kind, 0, 0x34, 0x12]); // passed, at 1234h hours
        }
        page[508] = self.self_test_count;
    }
}
