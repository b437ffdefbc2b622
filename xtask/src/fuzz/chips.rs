//! Random accesses to every chip of every machine (`warmboot_machine::fuzz`).

use std::{collections::BTreeMap, sync::Mutex};

use warmboot_machine::fuzz::{self, CHIPS, FuzzedChip};

use crate::Failure;

/// Bytes of an input.
const LENGTH: usize = 96 << 10;

/// The target.
pub struct Chips {
    /// Only this one.
    one: Option<&'static FuzzedChip>,
    seen: Mutex<Seen>,
}

/// What inputs came to.
#[derive(Default)]
struct Seen {
    chips: BTreeMap<&'static str, u64>,
    machines: BTreeMap<(String, String), u64>,
}

impl Chips {
    pub fn new(one: Option<&str>) -> Result<Chips, Failure> {
        let find = |name: &str| {
            let names: Vec<&str> = CHIPS.iter().map(|chip| chip.name).collect();
            let found = CHIPS.iter().find(|chip| chip.name == name);
            found.ok_or_else(|| format!("no chip `{name}`; there are {}", names.join(", ")))
        };
        Ok(Chips { one: one.map(find).transpose()?, seen: Mutex::default() })
    }

    /// The chip that input `number` is about; once in a while none.
    fn chip(&self, number: u64) -> Option<&'static FuzzedChip> {
        self.one.or_else(|| CHIPS.get(number as usize % (CHIPS.len() + 1)))
    }
}

impl super::Target for Chips {
    fn name(&self) -> String {
        self.one.map_or_else(|| "chips".to_owned(), |chip| format!("chips --chip {}", chip.name))
    }

    fn unit(&self) -> &'static str {
        "accesses"
    }

    fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let mut random = super::random(seed, number);
        (0..LENGTH / 8).flat_map(|_| random.draw().to_le_bytes()).collect()
    }

    fn run(&self, number: u64, input: &[u8]) -> u64 {
        let report = fuzz::run(input, self.chip(number));
        if let Ok(mut seen) = self.seen.lock() {
            for (chip, count) in &report.chips {
                *seen.chips.entry(*chip).or_default() += count;
            }
            *seen.machines.entry(report.machine).or_default() += 1;
        }
        report.accesses
    }

    fn report(&self) {
        let Ok(seen) = self.seen.lock() else { return };
        println!("fuzz chips: {} rows of machine types and emulator generations", seen.machines.len());
        for line in seen.chips.iter().collect::<Vec<_>>().chunks(6) {
            let counts: Vec<String> = line.iter().map(|(chip, count)| format!("{chip} {count}")).collect();
            println!("  {}", counts.join(", "));
        }
    }
}
