//! What fuzzing runs on a whole board: bytes decide a machine type, an emulator generation, what the machine
//! has, and what processors, time, keys and resets then do to its chips. It must come through them without a
//! panic, and the same again when it is saved and loaded half way and looked at meanwhile. `cargo xtask fuzz
//! chips` makes the bytes from a seed.

mod actions;
mod chips;
mod choice;
mod drives;
mod pci;
mod source;

use std::collections::BTreeMap;

use warmboot_chipset::Region;
use warmboot_cpu::{Bus, Cycle};
use warmboot_memory::{Range, Target};

pub use choice::{CHIPS, FuzzedChip};
use source::Source;

use crate::{
    Board, Machine, PowerState, ResetPath, Tracer, Wants,
    board::{CONFIG_DATA_TAG, CONFIG_WINDOW_TAG, UNASSIGNED_TAG},
};

/// What came of an input.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Machine type and emulator generation.
    pub machine: (String, String),
    /// The accesses of its processors to ports, memory and configuration space.
    pub accesses: u64,
    /// Those that a chip answered, by the chip's name on the board.
    pub chips: BTreeMap<&'static str, u64>,
    /// The machine's digest after it.
    pub digest: String,
}

/// Runs the machine that `input` describes; `chip` is where most accesses go, or nowhere in particular.
///
/// # Panics
/// When saving, loading, forking or tracing changes what comes of it: that is a defect, as every other
/// panic is.
#[must_use]
pub fn run(input: &[u8], chip: Option<&FuzzedChip>) -> Report {
    let (report, steps) = drive(input, chip, None);
    // Where it is saved follows from the input, so that its bytes say all.
    let hash = input.iter().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let (again, _) = drive(input, chip, Some(hash % steps.max(1)));
    assert_eq!(report, again, "as it was, and saved, loaded, traced");
    report
}

/// Drives a machine through `input`; saves and loads it before step `saved_at` and traces accesses from
/// there on. Gives the steps there were.
fn drive(input: &[u8], chip: Option<&FuzzedChip>, saved_at: Option<u64>) -> (Report, u64) {
    let mut source = Source::new(input);
    let Some(machine) = choice::machine(&mut source, chip) else { return (Report::default(), 0) };
    let mut driver = Driver::new(machine, source, chip);
    let mut steps = 0;
    while !driver.source.is_empty() {
        if saved_at == Some(steps) {
            driver.save_and_load();
        }
        driver.act();
        steps += 1;
    }
    driver.report.digest = driver.machine.digest();
    (driver.report, steps)
}

/// A machine and what is done to it.
struct Driver<'input> {
    machine: Machine,
    /// As it was switched on.
    start: Machine,
    source: Source<'input>,
    chip: Option<&'static str>,
    /// The processor that makes accesses, and whether it is in SMM.
    processor: usize,
    smm: bool,
    /// Offsets of registers that have names, by slot and region.
    named: BTreeMap<(usize, u8), Vec<u64>>,
    traced: bool,
    report: Report,
}

/// A place that answers accesses.
#[derive(Clone, Copy)]
enum Place {
    Port(u16),
    Memory(u64),
}

impl<'input> Driver<'input> {
    fn new(mut machine: Machine, source: Source<'input>, chip: Option<&FuzzedChip>) -> Driver<'input> {
        let report = Report {
            machine: (machine.config().machine.clone(), machine.config().emulator.clone()),
            ..Report::default()
        };
        let start = machine.fork();
        let mut driver = Driver {
            machine,
            start,
            source,
            chip: chip.map(|chip| chip.slot),
            processor: 0,
            smm: false,
            named: BTreeMap::new(),
            traced: false,
            report,
        };
        if !driver.source.once_in(4) {
            driver.enable_all();
        }
        driver
    }

    /// An access of a processor.
    fn access(&mut self, place: Place, size: u8, write: Option<u64>) -> u64 {
        self.machine.run_due();
        self.settle();
        self.count(place, write.is_some());
        let smm = self.smm;
        let cycle = Cycle { retired: 0, smm, ..Cycle::default() };
        let Machine { board, processors, .. } = &mut self.machine;
        let Some(processor) = processors.get_mut(self.processor) else { return 0 };
        board.current = self.processor;
        board.clock.begin(processor.time.max(board.now().0));
        let value = match (place, write) {
            (Place::Port(port), None) => u64::from(board.port_read(cycle, port, size.min(4))),
            (Place::Port(port), Some(value)) => {
                board.port_write(cycle, port, size.min(4), value as u32);
                0
            }
            (Place::Memory(address), None) => board.read(cycle, address, size),
            (Place::Memory(address), Some(value)) => {
                board.write(cycle, address, size, value);
                0
            }
        };
        board.executed(0);
        processor.time = board.clock.end(1);
        board.current = 0;
        board.clock.reach(processors.reached());
        self.settle();
        value
    }

    /// Counts an access for the chip that answers it.
    fn count(&mut self, place: Place, write: bool) {
        self.report.accesses += 1;
        let board = &self.machine.board;
        let (view, address) = match place {
            Place::Port(port) => (&board.views.io, port.into()),
            Place::Memory(address) => (&board.views.memory, address),
        };
        let target = |range: &Range| if write { range.write_at(address) } else { range.read_at(address) };
        let found = view.lookup(address).map(target);
        let slot = match found {
            Some(Target::Device { tag: CONFIG_DATA_TAG, offset }) => board.config_target(offset),
            Some(Target::Device { tag: CONFIG_WINDOW_TAG, offset }) => board.window_target(offset),
            Some(Target::Device { tag: UNASSIGNED_TAG, .. }) => None,
            Some(Target::Device { tag, .. }) => Some((board.own_chip((tag >> 8) as usize), 0)),
            _ => None,
        };
        if let Some(slot) = slot.and_then(|(slot, _)| board.slots.get(slot)) {
            *self.report.chips.entry(slot.name).or_default() += 1;
        }
    }

    fn input(&mut self, port: u16, size: u8) -> u64 {
        self.access(Place::Port(port), size, None)
    }

    fn output(&mut self, port: u16, size: u8, value: u64) {
        self.access(Place::Port(port), size, Some(value));
    }

    /// Writes guest memory as a program would have before.
    fn store(&mut self, address: u64, bytes: &[u8]) {
        use warmboot_chipset::GuestMemory as _;
        self.machine.board.lend().write(address, bytes);
        self.machine.settle();
    }

    /// What the machine does between instructions, as its run loop has it.
    fn settle(&mut self) {
        let machine = &mut self.machine;
        machine.settle();
        machine.board.debug_exit = None;
        machine.board.panicked = false;
        match machine.board.wires.power {
            PowerState::On => {}
            // Somebody switches it on again.
            PowerState::Off => machine.return_to(&mut self.start),
            PowerState::Suspended => {
                let path = if self.source.once_in(2) { ResetPath::S3Resume } else { ResetPath::System };
                // Both fit a suspended machine.
                let _ = machine.reset(path);
            }
        }
        if let Some(path) = machine.board.reset_request.take() {
            machine.pull(path);
        }
        let (machine, start) = (&mut self.machine, &self.start);
        machine.processors.wake(&machine.board);
        if self.traced {
            // A machine switched on again is not traced.
            machine.board.observer.get_or_insert_default().trace(true, true);
            machine.tell_records(&mut Nobody);
        }
        debug_assert!(start.board.observer.is_none());
    }

    /// The chip's region `index`, where it is mapped.
    fn region(&self, slot: usize, index: u8) -> Option<Region> {
        let regions = self.machine.board.slots.get(slot)?.device.chip().regions();
        regions.into_iter().find(|region| region.index == index)
    }

    /// An access to a region of a chip.
    fn at(&mut self, region: &Region, offset: u64, size: u8, write: Option<u64>) -> u64 {
        let address = region.base.wrapping_add(offset);
        let place = match region.space {
            warmboot_chipset::Space::Io => Place::Port(address as u16),
            // No processor has more address lines.
            warmboot_chipset::Space::Memory => Place::Memory(address & ((1 << 52) - 1)),
        };
        self.access(place, size, write)
    }

    /// The machine goes on from a file.
    fn save_and_load(&mut self) {
        // What a machine has that a header cannot hold is refused, which is no defect.
        let Ok(file) = self.machine.save() else { return };
        let drives = self.machine.config().drives.clone();
        let loaded = Machine::load(&file, &mut |wanted| {
            drives.iter().find(|drive| drive.at == wanted.at).map(|drive| drive.source.clone())
        });
        let mut loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => panic!("a file that was just saved is refused: {error}"),
        };
        assert_eq!(loaded.digest(), self.machine.digest(), "loaded, and as it was saved");
        assert!(loaded.save().is_ok_and(|again| again == file), "saved again");
        self.machine = loaded;
        self.traced = true;
    }
}

/// Is told of everything and keeps nothing.
struct Nobody;

impl Tracer for Nobody {
    fn wants(&mut self, _instructions: u64) -> Wants {
        Wants { steps: false, accesses: true, until: u64::MAX }
    }
}

impl Board {
    /// The slots of the chips whose names begin with `name`.
    fn slots_of(&self, name: &str) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.name.starts_with(name)).map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests;
