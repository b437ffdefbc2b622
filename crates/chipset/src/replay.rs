//! Replays port accesses recorded on QEMU against a chip of ours (tests only).
//!
//! One step per line, numbers in hexadecimal:
//!
//! | step | meaning |
//! |---|---|
//! | `w PORT SIZE VALUE`, `r PORT SIZE VALUE` | one access |
//! | `W PORT WORDS FACTOR`, `V PORT BYTES FACTOR` | writes 0, FACTOR, 2·FACTOR… |
//! | `R PORT WORDS FNV`, `B PORT BYTES FNV` | reads, compared by their hash |
//! | `M ADDRESS BYTES`, `H ADDRESS LENGTH FNV` | puts bytes into memory; compares memory |
//! | `f PORT VALUES` | reads a task file and its alternate status |
//! | `c BYTES`, `F VALUES`, `Q BYTES` | floppy: a command; all registers; results as long as there are any |
//! | `t` | time passes until nothing is due, as it does between the words of `R` and `W` |
//! | `# TEXT` | names what follows |

use crate::{Chip, Effects, GuestMemory, Moment, Space};

/// A flat memory of 2 MiB.
pub struct Memory(pub Vec<u8>);

impl GuestMemory for Memory {
    fn read(&mut self, address: u64, bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = self.0.get((address as usize).wrapping_add(index)).copied().unwrap_or(0xff);
        }
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            if let Some(place) = self.0.get_mut((address as usize).wrapping_add(index)) {
                *place = *byte;
            }
        }
    }
}

/// The bytes of every image of a recording.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + (at >> 9) * 17) as u8).collect()
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A chip, its memory and its clock.
pub struct Bench<C> {
    /// The chip.
    pub chip: C,
    /// What bus masters see.
    pub memory: Memory,
    /// Nanoseconds.
    pub now: u64,
    /// Levels of the output pins.
    pub lines: std::collections::BTreeMap<u8, bool>,
}

impl<C: Chip> Bench<C> {
    pub fn new(chip: C) -> Bench<C> {
        Bench { chip, memory: Memory(vec![0; 2 << 20]), now: 0, lines: Default::default() }
    }

    fn apply(&mut self, mut fx: Effects) {
        while fx.service {
            fx.service = false;
            let mut after = Effects::at(fx.now());
            self.chip.service(&mut self.memory, &mut after);
            fx.lines.append(&mut after.lines);
            fx.service = after.service;
        }
        self.lines.extend(fx.lines);
    }

    fn find(&self, port: u64) -> Option<(u8, u64)> {
        let regions = self.chip.regions();
        let region = regions.iter().find(|region| {
            region.space == Space::Io && (region.base..region.base + region.length).contains(&port)
        })?;
        Some((region.index, port - region.base))
    }

    /// A port read, which takes a microsecond.
    pub fn read(&mut self, port: u64, size: u8) -> u64 {
        self.now += 1000;
        let mut fx = Effects::at(Moment(self.now));
        let value = match self.find(port) {
            Some((index, offset)) => self.chip.read(index, offset, size, &mut fx),
            None => u64::MAX,
        };
        self.apply(fx);
        value & ((1_u64 << (8 * size)) - 1)
    }

    /// A port write, which takes a microsecond.
    pub fn write(&mut self, port: u64, size: u8, value: u64) {
        self.now += 1000;
        let mut fx = Effects::at(Moment(self.now));
        if let Some((index, offset)) = self.find(port) {
            self.chip.write(index, offset, size, value, &mut fx);
        }
        self.apply(fx);
    }

    /// Lets time pass until nothing is due.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(due) = self.chip.deadline() else { return };
            self.now = self.now.max(due.0);
            let mut fx = Effects::at(Moment(self.now));
            self.chip.on_deadline(&mut fx);
            self.apply(fx);
        }
        panic!("the chip always wants a deadline");
    }

    /// Runs a recording and gives every difference, with the last `#` line before it.
    pub fn replay(&mut self, recording: &str) -> Vec<String> {
        let mut differences = Vec::new();
        let mut context = "";
        for (number, line) in recording.lines().enumerate() {
            let mut words = line.split(' ');
            let step = words.next().unwrap_or("");
            if step == "#" {
                context = line;
                continue;
            }
            let text: Vec<&str> = words.collect();
            let word = |index: usize| u64::from_str_radix(text[index], 16).unwrap();
            let all = || text.iter().map(|word| u64::from_str_radix(word, 16).unwrap()).collect::<Vec<_>>();
            let (got, expected): (Vec<u64>, Vec<u64>) = match step {
                "t" => {
                    self.settle();
                    continue;
                }
                "w" => {
                    self.write(word(0), word(1) as u8, word(2));
                    continue;
                }
                "W" | "V" => {
                    let size = if step == "W" { 2 } else { 1 };
                    for index in 0..word(1) {
                        self.write(word(0), size, (index * word(2)) & ((1 << (8 * size)) - 1));
                        self.settle();
                    }
                    continue;
                }
                "M" => {
                    let bytes: Vec<u8> = (0..text[1].len() / 2)
                        .map(|at| u8::from_str_radix(&text[1][2 * at..2 * at + 2], 16).unwrap())
                        .collect();
                    self.memory.write(word(0), &bytes);
                    continue;
                }
                "c" => {
                    for byte in all() {
                        self.write(0x3f5, 1, byte);
                    }
                    continue;
                }
                "r" => (vec![self.read(word(0), word(1) as u8)], vec![word(2)]),
                "R" | "B" => {
                    let size = if step == "R" { 2 } else { 1 };
                    let mut bytes = Vec::new();
                    for _ in 0..word(1) {
                        bytes.extend(&self.read(word(0), size).to_le_bytes()[..usize::from(size)]);
                        self.settle();
                    }
                    (vec![fnv(&bytes).into()], vec![word(2)])
                }
                "H" => {
                    let mut bytes = vec![0; word(1) as usize];
                    self.memory.read(word(0), &mut bytes);
                    (vec![fnv(&bytes).into()], vec![word(2)])
                }
                "f" => {
                    let ports = (1..8).chain([0x206]).map(|register| word(0) + register);
                    (ports.map(|port| self.read(port, 1)).collect(), all()[1..].to_vec())
                }
                "F" => ([0x3f1, 0x3f2, 0x3f3, 0x3f4, 0x3f7].map(|port| self.read(port, 1)).to_vec(), all()),
                "Q" => {
                    let mut results = Vec::new();
                    while self.read(0x3f4, 1) & 0xc0 == 0xc0 {
                        results.push(self.read(0x3f5, 1));
                    }
                    (results, all())
                }
                _ => panic!("line {}: unknown step {line}", number + 1),
            };
            if got != expected {
                differences.push(format!("line {}, {context}: {line}, ours {got:x?}", number + 1));
            }
        }
        differences
    }
}
