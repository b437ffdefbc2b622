//! What a run does, told while it does it: instructions, what comes between them, accesses to chips.
//!
//! A tracer costs nothing when absent, and no digest depends on it. To show instructions the run goes one
//! at a time; accesses are noted where the board makes them.

use warmboot_chipset::pci::Selected;
use warmboot_cpu::{Occurrence, State, Stop};

use crate::{Board, Code, Machine, ResetPath, board, history::Record};

/// Longest instruction (Intel SDM vol. 2A, 2.3.11).
const LONGEST: usize = 15;

/// What a tracer wants to be told from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wants {
    /// [`Tracer::step`].
    pub steps: bool,
    /// [`Tracer::access`].
    pub accesses: bool,
    /// The instruction count at which to ask again.
    pub until: u64,
}

/// Is told what a run does ([`Machine::run_traced`]).
pub trait Tracer {
    /// What it wants to be told when `instructions` have retired since power-on.
    fn wants(&mut self, instructions: u64) -> Wants;

    /// Whether it wants to be told of the step that a processor takes from `state`. Saying no is cheap.
    fn takes(&self, _state: &State) -> bool {
        true
    }

    /// A processor has taken a step.
    fn step(&mut self, _step: &Step<'_>) {}

    /// A processor has reached a chip, or found none.
    fn access(&mut self, _access: &Access) {}

    /// The machine is reset.
    fn reset(&mut self, _instructions: u64, _path: ResetPath) {}
}

/// One instruction, or something that happens between two.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Instructions retired before it since power-on: a run that ends at `instructions:N` stands just
    /// before it.
    pub instruction: u64,
    /// Which processor, of how many.
    pub processor: (usize, usize),
    /// The processor before.
    pub before: &'a State,
    /// The processor after.
    pub after: &'a State,
    /// Bytes from CS:EIP on, at most as many as the longest instruction has; as far as their pages are
    /// present.
    pub bytes: &'a [u8],
    /// An instruction, or one round of a repeated one; otherwise only `occurrences`.
    pub executed: bool,
    /// What came in its place, or cut it short.
    pub occurrences: &'a [Occurrence],
}

/// By which way a chip is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// IN, OUT and their string forms.
    Port,
    /// Memory that a chip answers, or nobody.
    Memory,
    /// PCI configuration space, by ports or by memory.
    Config(Selected),
    /// A model-specific register of the local APIC in x2APIC mode.
    Msr,
}

/// One access of a processor, as the chip gets it: what is wider than the chip takes is several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// Instructions retired before the one that made it.
    pub instruction: u64,
    /// Number of the processor.
    pub processor: usize,
    /// The instruction; `None` for one that was never told to be over.
    pub code: Option<Code>,
    /// By which way.
    pub kind: AccessKind,
    /// Port, physical address, or number of a model-specific register.
    pub address: u64,
    /// Bytes.
    pub size: u8,
    /// Whether it is a write.
    pub write: bool,
    /// What was read or written.
    pub value: u64,
    /// The chip; `None` where nobody answers.
    pub chip: Option<&'static str>,
    /// The chip's register, as its data sheet names it, or where in which of its ranges.
    pub register: String,
}

impl Machine {
    /// Runs processor number `index` for at most `budget` instructions, with `tracer` looking on.
    pub(crate) fn traced_turn(&mut self, index: usize, budget: u64, tracer: &mut dyn Tracer) -> Stop {
        let instruction = self.board.clock.instructions;
        let wants = tracer.wants(instruction);
        self.board.observer.get_or_insert_default().trace(true, wants.accesses);
        let budget = if wants.steps { 1 } else { budget.min(wants.until.saturating_sub(instruction)) };
        let mut before = None;
        if let Some(processor) = self.processors.get_mut(index) {
            processor.cpu.record_occurrences(wants.steps);
            let state = processor.cpu.state();
            if wants.steps && tracer.takes(state) {
                before = Some(state.clone());
            }
        }
        let mut bytes = [0; LONGEST];
        let there =
            before.as_ref().map_or(0, |state| self.read_linear(index, state.linear_rip(), &mut bytes));
        let run = self.processors.run(index, &mut self.board, budget.max(1), self.path);
        let count = self.processors.count();
        if let (Some(before), Some(processor), Some(run)) = (before, self.processors.get(index), run) {
            let executed = run.retired != 0;
            let occurrences = processor.cpu.occurrences();
            if executed || !occurrences.is_empty() {
                tracer.step(&Step {
                    instruction,
                    processor: (index, count),
                    before: &before,
                    after: processor.cpu.state(),
                    bytes: bytes.get(..there).unwrap_or_default(),
                    executed,
                    occurrences,
                });
            }
        }
        self.tell_records(tracer);
        run.map_or(Stop::Budget, |run| run.stop)
    }

    /// Tells of what the board has noted.
    pub(crate) fn tell_records(&mut self, tracer: &mut dyn Tracer) {
        for record in self.board.observer.iter_mut().flat_map(|observer| observer.take_records()) {
            match record {
                Record::Access(access) => tracer.access(&access),
                Record::Reset(instructions, path) => tracer.reset(instructions, path),
            }
        }
    }
}

/// An address as the processor gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub memory: bool,
    pub address: u64,
}

impl Reached {
    pub fn port(address: u64) -> Reached {
        Reached { memory: false, address }
    }

    pub fn memory(address: u64) -> Reached {
        Reached { memory: true, address }
    }

    pub fn plus(self, distance: u8) -> Reached {
        Reached { address: self.address + u64::from(distance), ..self }
    }
}

impl Board {
    /// The access that is about to be made, if accesses are noted: an index register may decide which
    /// register it reaches, so it is named before. `target`: tag and offset of the chip's range.
    pub(crate) fn begin_access(
        &self,
        at: Reached,
        target: Option<(u32, u64)>,
        size: u8,
        write: bool,
    ) -> Option<Box<Access>> {
        let (instruction, code) = self.observer.as_ref()?.noted_access()?;
        let mut kind = if at.memory { AccessKind::Memory } else { AccessKind::Port };
        let (mut chip, mut register) = (None, String::new());
        match target {
            Some((board::CONFIG_DATA_TAG | board::CONFIG_WINDOW_TAG, offset)) => {
                if let Some(selected) = self.config_selected(at.memory, offset) {
                    kind = AccessKind::Config(selected);
                    let slot = self.function(selected).and_then(|(slot, _)| self.slots.get(slot));
                    chip = slot.map(|slot| slot.name);
                    register = slot
                        .and_then(|slot| slot.device.chip().config_register_name(selected.register))
                        .unwrap_or_default();
                }
            }
            Some((tag, offset)) if tag != board::UNASSIGNED_TAG => {
                let (slot, index) = (self.own_chip((tag >> 8) as usize), tag as u8);
                if let Some(slot) = self.slots.get(slot) {
                    chip = Some(slot.name);
                    let chip = slot.device.chip();
                    register = chip.register_name(index, offset, write).unwrap_or_else(|| {
                        let regions = chip.regions();
                        let region = regions.iter().find(|region| region.index == index);
                        format!("{}+{offset:#x}", region.map_or("?", |region| region.name))
                    });
                }
            }
            _ => {}
        }
        let (processor, address) = (self.current, at.address);
        let access =
            Access { instruction, processor, code, kind, address, size, write, value: 0, chip, register };
        Some(Box::new(access))
    }

    /// The same for register 800h + `number` of the local APIC in x2APIC mode.
    pub(crate) fn begin_apic_access(&self, number: u8, write: bool) -> Option<Box<Access>> {
        let (instruction, code) = self.observer.as_ref()?.noted_access()?;
        let apic = self.local_apic_of(self.current);
        let number_text = || format!("register {number:#x}");
        Some(Box::new(Access {
            instruction,
            processor: self.current,
            code,
            kind: AccessKind::Msr,
            address: 0x800 + u64::from(number),
            size: 8,
            write,
            value: 0,
            chip: self.local_apic_name(self.current),
            register: apic.and_then(|apic| apic.msr_name(number)).unwrap_or_else(number_text),
        }))
    }

    /// It has been made, with `value`.
    pub(crate) fn end_access(&mut self, access: Option<Box<Access>>, value: u64) {
        if let (Some(access), Some(observer)) = (access, &mut self.observer) {
            observer.note_access(Access { value, ..*access });
        }
    }
}
