//! The two processors side by side.

use warmboot_cpu::{Model, Path};
use warmboot_silicon::{End, Native, Registers, layout::Mode};

use super::{
    block::Block,
    compare::Outcome,
    ours::{Host, Ours},
    place::WINDOWS,
    random::Random,
    start::Start,
};

/// Both, loaded with the same block.
pub struct Bench {
    silicon: Native,
    ours: Ours,
}

impl Bench {
    /// # Errors
    /// Why there is nothing to compare with.
    pub fn new(model: &'static Model) -> Result<Bench, String> {
        let mut read_only = [0; 4096];
        let mut random = Random::new(1, 0);
        for (index, chunk) in read_only.chunks_mut(16).enumerate() {
            let [low, high] = random.vector(index as u64);
            chunk.copy_from_slice(&(u128::from(low) | u128::from(high) << 64).to_le_bytes());
        }
        let mut silicon = Native::new(&read_only)?;
        let host = host(&mut silicon);
        Ok(Bench { silicon, ours: Ours::new(model, &read_only, &host) })
    }

    /// Loads the first `bytes` bytes of a block into both.
    pub fn load(&mut self, block: &Block, bytes: usize, path: Path) {
        let bytes = block.bytes.get(..bytes).unwrap_or(&block.bytes);
        let behind = self.silicon.load(block.mode, block.offset, bytes, block.vectors);
        self.ours.load(block, bytes, &behind, path);
    }

    /// Runs what is loaded, on both.
    pub fn run(&mut self, start: &Start) -> (Outcome, Outcome) {
        (self.run_silicon(start), self.run_ours(start))
    }

    /// Runs what is loaded on the host's processor.
    pub fn run_silicon(&mut self, start: &Start) -> Outcome {
        let mut at = 0;
        for (offset, length) in WINDOWS {
            self.silicon.data()[offset..offset + length].copy_from_slice(&start.memory[at..at + length]);
            at += length;
        }
        let mut registers = start.registers.clone();
        let end = self.silicon.run(&mut registers);
        let mut memory = Vec::with_capacity(at);
        for (offset, length) in WINDOWS {
            memory.extend_from_slice(&self.silicon.data()[offset..offset + length]);
        }
        Outcome { registers, end, memory }
    }

    /// Runs what is loaded on ours.
    pub fn run_ours(&mut self, start: &Start) -> Outcome {
        let mut at = 0;
        for (offset, length) in WINDOWS {
            for (index, part) in pages(offset, length) {
                self.ours.page(index)[part.clone()].copy_from_slice(&start.memory[at..at + part.len()]);
                at += part.len();
            }
        }
        let mut registers = start.registers.clone();
        let end = self.ours.run(&mut registers);
        let mut memory = Vec::with_capacity(at);
        for (offset, length) in WINDOWS {
            for (index, part) in pages(offset, length) {
                memory.extend_from_slice(&self.ours.page(index)[part]);
            }
        }
        Outcome { registers, end, memory }
    }

    /// Whether all of the data that can be written is the same on both sides, outside the windows too.
    /// Where it is not, it is made so.
    pub fn same_elsewhere(&mut self) -> bool {
        let mut same = true;
        for index in 0..2 {
            let theirs = &mut self.silicon.data()[index * 4096..(index + 1) * 4096];
            let own = self.ours.page(index as u64);
            let inside = |at: usize| {
                WINDOWS.iter().any(|(start, length)| (*start..start + length).contains(&(index * 4096 + at)))
            };
            if theirs != own {
                same &= (0..4096).all(|at| inside(at) || theirs[at] == own[at]);
                own.copy_from_slice(theirs);
            }
        }
        same
    }
}

/// What XGETBV and RDPKRU say, with ECX = 0; zero where they cannot be had.
fn host(silicon: &mut Native) -> Host {
    let mut ask = |code: &[u8]| {
        silicon.load(Mode::SixtyFour, 0, code, false);
        let mut registers = Registers { flags: 0x202, ..Registers::default() };
        match silicon.run(&mut registers) {
            End::Through => registers.general[2] << 32 | registers.general[0],
            _ => 0,
        }
    };
    Host { xcr0: ask(&[0x0f, 0x01, 0xd0]), pkru: ask(&[0x0f, 0x01, 0xee]) as u32 }
}

/// A window's parts by page: which page, and where in it.
fn pages(offset: usize, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let split = 4096.clamp(offset, offset + length);
    [offset..split, split..offset + length].into_iter().filter(|part| !part.is_empty()).map(|part| {
        let page = part.start / 4096;
        (page as u64, part.start - page * 4096..part.end - page * 4096)
    })
}
