//! The entropy device: bytes that the machine's seed decides.
//!
//! VIRTIO 1.1, section 5.4.

use serde::{Deserialize, Serialize};

use super::{
    Facts, Function, Identity,
    queue::{Broken, Chain, length, pieces},
};
use crate::GuestMemory;

/// The most bytes of one request; a driver asks again.
const MOST: u64 = 4096;
/// How long a request takes.
const LATENCY_NS: u64 = 5_000;

/// A sequence of random numbers that its seed decides (SplitMix64, by Steele, Lea and Flood). A reset does
/// not begin it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rng {
    /// Which sequence.
    pub seed: u64,
    /// How many have been drawn.
    pub drawn: u64,
}

impl Rng {
    /// The sequence that `seed` decides.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        Rng { seed, drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut mixed = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Function for Rng {
    type State = Rng;

    const IDENTITY: Identity = Identity {
        number: 4,
        class: (0x00, 0xff),
        regions: [
            "virtio-pci",
            "virtio-rng-pci-msix",
            "virtio-pci-common-virtio-rng",
            "virtio-pci-isr-virtio-rng",
            "virtio-pci-device-virtio-rng",
            "virtio-pci-notify-virtio-rng",
        ],
    };

    fn state(&self) -> &Rng {
        self
    }

    fn restore(&mut self, state: Rng) {
        *self = state;
    }

    fn features(&self, _facts: Facts) -> u64 {
        0
    }

    fn has_any_layout(facts: Facts) -> bool {
        facts.rng_any_layout
    }

    fn has_msix(facts: Facts) -> bool {
        facts.rng_msix
    }

    fn queue_size(_facts: Facts) -> u16 {
        8
    }

    fn latency_ns(&self) -> u64 {
        LATENCY_NS
    }

    fn serve(&mut self, chain: &Chain, memory: &mut dyn GuestMemory) -> Result<u32, Broken> {
        let wanted = length(&chain.writable).min(MOST);
        for (address, bytes) in pieces(&chain.writable, 0, wanted) {
            let draws = (0..bytes.div_ceil(8)).flat_map(|_| self.draw().to_le_bytes());
            let random: Vec<u8> = draws.take(bytes).collect();
            memory.write(address, &random);
        }
        Ok(wanted as u32)
    }
}
