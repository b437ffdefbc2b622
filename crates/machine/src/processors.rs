//! The machine's processors, and whose turn it is.
//!
//! Each processor has a clock of its own. The one that is furthest behind goes next, up to the end of
//! its [`TURN`] or to the next event of a chip, whichever comes first; of several in the same turn, the
//! one of the lowest number. That is a rule of the clocks alone: where a host cuts its runs, whether it
//! saves in between, and what is cached change nothing. Processors that wait (HLT, or for a start-up
//! message) have no turn; they go on at the moment they are woken.

use warmboot_cpu::{Cpu, Frame, Path, Run, State, state::Activity};

use crate::Board;

/// Nanoseconds one processor can be ahead of another: what one access to an I/O port takes.
const TURN: u64 = crate::clock::cost::PORT;

/// A processor and its clock.
pub(crate) struct Processor {
    pub cpu: Cpu<Board>,
    /// Its own virtual time, in nanoseconds.
    pub time: u64,
    /// It waits for something that has not come yet.
    pub waits: bool,
    /// Instructions it has retired since the machine was built or loaded; no part of its state.
    pub retired: u64,
}

/// All of them, by number; there is at least one.
pub(crate) struct Processors {
    first: Processor,
    others: Vec<Processor>,
}

/// Who runs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Turn {
    /// Number of the processor.
    pub processor: usize,
    /// Its time.
    pub from: u64,
    /// When it must stop, at the latest.
    pub until: u64,
}

impl Processors {
    pub fn new(first: Cpu<Board>, others: Vec<Cpu<Board>>) -> Processors {
        let processor = |cpu| Processor { cpu, time: 0, waits: false, retired: 0 };
        let mut all =
            Processors { first: processor(first), others: others.into_iter().map(processor).collect() };
        if !all.others.is_empty() {
            all.cpus().for_each(Cpu::share_memory);
        }
        all
    }

    pub fn first(&self) -> &Cpu<Board> {
        &self.first.cpu
    }

    /// Processor number `index`.
    pub fn get(&self, index: usize) -> Option<&Processor> {
        self.iter().nth(index)
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Processor> {
        self.iter_mut().nth(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Processor> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Processor> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    pub fn cpus(&mut self) -> impl Iterator<Item = &mut Cpu<Board>> {
        self.iter_mut().map(|processor| &mut processor.cpu)
    }

    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.iter().map(|processor| processor.cpu.state())
    }

    pub fn fork(&self) -> Processors {
        let fork = |processor: &Processor| Processor {
            cpu: processor.cpu.fork(),
            time: processor.time,
            waits: processor.waits,
            retired: processor.retired,
        };
        Processors { first: fork(&self.first), others: self.others.iter().map(fork).collect() }
    }

    /// Takes over the state of `other`, of as many processors; `differs` as [`Cpu::return_to`] has it.
    pub fn return_to(&mut self, other: &Processors, differs: impl Fn(Frame) -> bool) {
        for (processor, other) in self.iter_mut().zip(other.iter()) {
            processor.cpu.return_to(&other.cpu, &differs);
            (processor.time, processor.waits) = (other.time, other.waits);
            processor.retired = other.retired;
        }
        for index in 0..self.others.len() + 1 {
            self.tell(index);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Every clock shows `time` now, or a later one it has already: the machine was reset.
    pub fn set_time(&mut self, time: u64) {
        for processor in self.iter_mut() {
            processor.time = time;
            processor.waits = false;
        }
    }

    /// Processors for whom there is something to do go on, at the machine's time if theirs is earlier.
    pub fn wake(&mut self, board: &Board) {
        let now = board.now().0;
        for (index, processor) in self.iter_mut().enumerate() {
            processor.cpu.set_interrupt_line(board.interrupt_pending(index));
            let waiting = matches!(processor.cpu.state().activity, Activity::Halted | Activity::WaitForSipi);
            if waiting && !processor.cpu.can_run() {
                processor.waits = true;
            } else if std::mem::take(&mut processor.waits) {
                processor.time = processor.time.max(now);
            }
        }
    }

    /// Who runs next, and how far before `event` comes.
    pub fn turn(&self, event: Option<u64>) -> Option<Turn> {
        let running = || self.iter().enumerate().filter(|(_, processor)| !processor.waits);
        let behind = running().map(|(_, processor)| processor.time).min()?;
        // Alone, a processor needs no turns.
        let end = if running().count() > 1 { (behind / TURN + 1).saturating_mul(TURN) } else { u64::MAX };
        let until = end.min(event.unwrap_or(u64::MAX));
        let (processor, found) = running().find(|(_, processor)| processor.time < until)?;
        Some(Turn { processor, from: found.time, until })
    }

    /// Runs processor number `index` for at most `budget` instructions; brings the machine's clock to
    /// where no processor is earlier.
    pub fn run(&mut self, index: usize, board: &mut Board, budget: u64, path: Path) -> Option<Run> {
        let processor = self.get_mut(index)?;
        board.current = index;
        board.clock.begin(processor.time);
        let run = processor.cpu.run(board, budget, path);
        processor.time = board.clock.end(run.retired);
        processor.retired = processor.retired.wrapping_add(run.retired);
        // Nobody's access from here on; a machine loaded from a file has forgotten who ran.
        board.current = 0;
        self.tell(index);
        Some(run)
    }

    /// The moment up to which all processors have come.
    pub fn reached(&self) -> u64 {
        let running = self.iter().filter(|processor| !processor.waits).map(|processor| processor.time).min();
        running.unwrap_or_else(|| self.iter().map(|processor| processor.time).max().unwrap_or(0))
    }

    /// Tells the others what the last run of one means for them.
    fn tell(&mut self, index: usize) {
        if self.others.is_empty() {
            return;
        }
        let Processors { first, others } = self;
        let Some(number) = index.checked_sub(1) else {
            first.cpu.tell(others.iter_mut().map(|other| &mut other.cpu));
            return;
        };
        let Some((before, rest)) = others.split_at_mut_checked(number) else { return };
        let Some((processor, after)) = rest.split_first_mut() else { return };
        let others = std::iter::once(first).chain(before).chain(after);
        processor.cpu.tell(others.map(|other| &mut other.cpu));
    }
}
