//! The engine: runs instructions until the machine must look.
//!
//! Counting: each instruction is one, each REP iteration is one, a REP with a count of zero is
//! one, and an instruction that faults (or is stopped by an instruction breakpoint) is one, its
//! delivery included. Delivering an interrupt is none.

use iced_x86::{Instruction, OpKind};

use crate::{
    Bus, Core, Exception, Exec, Frame, Hypervisor, Lowered, Model, Observed, Occurrence, Path, State,
    StateError, Stop,
    access::{Bits, attention},
    cache::{Block, Cache, End, Key},
    crossing::Crossings,
    decode::{Decoded, Flow, LONGEST, decode},
    exceptions::Event,
    exec::{self, Effect, Tried},
    fill,
    state::{Activity, Segment, Shadow, dr6, segment},
    tlb::{Access, NO_FRAME, News},
};

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Instructions retired.
    pub retired: u64,
    /// Why it ended.
    pub stop: Stop,
}

/// An address before whose execution a run stops with [`Stop::Address`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breakpoint {
    /// A linear address.
    Linear(u64),
    /// A selector in CS and an offset.
    Far {
        /// CS.
        selector: u16,
        /// EIP.
        offset: u32,
    },
}

impl Breakpoint {
    /// Whether the next instruction is at this address.
    #[must_use]
    pub fn matches(&self, state: &State) -> bool {
        match *self {
            Breakpoint::Linear(address) => state.linear_rip() == address,
            Breakpoint::Far { selector, offset } => {
                state.cs().selector == selector && state.rip == u64::from(offset)
            }
        }
    }
}

/// Longest block, in instructions.
const LONGEST_BLOCK: usize = 64;
/// Longest block of which it is not known yet that it is run again and again.
const FIRST_BLOCK: usize = 12;
/// A block run to its end as often as this goes on beyond it.
const OFTEN: u8 = 16;

/// One processor with its caches.
pub struct Cpu<B: Bus> {
    core: Core,
    cache: Cache<B>,
    crossings: Crossings<B>,
    breakpoints: Vec<Breakpoint>,
    /// The last run stopped at a breakpoint: the next one steps over it.
    passed: bool,
}

impl<B: Bus> Clone for Cpu<B> {
    /// The same state; what is derived from it is built again as it runs.
    fn clone(&self) -> Self {
        let mut copy = Cpu::new(self.core.model, self.core.index)
            .with_hypervisor(self.core.hypervisor)
            .with_unknown_msrs_ignored(self.core.unknown_msrs_ignored)
            .with_microcode(self.core.microcode)
            .with_cores(self.core.cores);
        copy.core.state = self.core.state.clone();
        copy.core.a20_mask = self.core.a20_mask;
        copy.breakpoints.clone_from(&self.breakpoints);
        copy.passed = self.passed;
        copy
    }
}

impl<B: Bus> std::fmt::Debug for Cpu<B> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cpu").field("state", &self.core.state).finish_non_exhaustive()
    }
}

impl<B: Bus> Cpu<B> {
    /// The same state, with the same decoded code, which is shared: for a bus whose frames have the
    /// same bytes as this one's. Costs little until it runs.
    #[must_use]
    pub fn fork(&self) -> Cpu<B> {
        let mut fork = self.clone();
        fork.core.watch = self.core.watch.fork();
        fork.cache = self.cache.fork();
        fork
    }

    /// Takes over the state of `other`, for a bus that takes over the bytes of `other`'s frames.
    /// `differs` says of which frames the bytes may not be the same on both buses before that: code
    /// decoded from all others stays, and so do this processor's tables.
    pub fn return_to(&mut self, other: &Cpu<B>, differs: impl Fn(Frame) -> bool) {
        let core = &mut self.core;
        if !std::ptr::eq(core.model, other.core.model) {
            // Which instructions there are depends on the model.
            self.cache.clear(&mut core.watch);
        }
        core.state.clone_from(&other.core.state);
        (core.model, core.index, core.bootstrap) = (other.core.model, other.core.index, other.core.bootstrap);
        (core.hypervisor, core.cores) = (other.core.hypervisor, other.core.cores);
        (core.unknown_msrs_ignored, core.microcode) = (other.core.unknown_msrs_ignored, other.core.microcode);
        core.a20_mask = other.core.a20_mask;
        core.written.clear();
        core.tlb.set_index(core.index);
        core.flush_tlb();
        self.breakpoints.clone_from(&other.breakpoints);
        self.passed = other.passed;
        let differs = |frame| differs(Frame(frame));
        self.cache.return_to(&other.cache, differs, &mut core.watch, &mut core.tlb);
    }
}

/// What the look between two instructions found.
enum Between {
    /// Nothing: execute.
    Execute,
    /// Something was done: look again.
    Again,
    Stop(Stop),
}

impl<B: Bus> Cpu<B> {
    /// A processor just powered on. Number 0 starts at the reset vector, others wait for a start-up
    /// message; the number is also the initial APIC id.
    #[must_use]
    pub fn new(model: &'static Model, index: u8) -> Cpu<B> {
        Cpu {
            core: Core::new(model, index),
            cache: Cache::default(),
            crossings: Crossings::default(),
            breakpoints: Vec::new(),
            passed: false,
        }
    }

    /// The same processor under a hypervisor, which CPUID tells of.
    #[must_use]
    pub fn with_hypervisor(mut self, hypervisor: Hypervisor) -> Cpu<B> {
        self.core.hypervisor = hypervisor;
        self
    }

    /// The same processor, with unknown MSRs that read zero and ignore writes; otherwise they raise #GP.
    #[must_use]
    pub fn with_unknown_msrs_ignored(mut self, ignored: bool) -> Cpu<B> {
        self.core.unknown_msrs_ignored = ignored;
        self
    }

    /// The same processor with this revision of its microcode, which no update changes; none when zero.
    #[must_use]
    pub fn with_microcode(mut self, revision: u64) -> Cpu<B> {
        self.core.microcode = revision;
        self
    }

    /// The same processor as one of `cores` in its package.
    #[must_use]
    pub fn with_cores(mut self, cores: u8) -> Cpu<B> {
        self.core.cores = cores;
        self
    }

    /// The same processor with a seed for RDRAND and RDSEED.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Cpu<B> {
        self.core.state.random.seed = seed;
        self
    }

    /// RESET#: everything takes its power-on value. The TSC starts at the machine's time; the
    /// A20 mask is the machine's and stays.
    pub fn reset(&mut self) {
        let fresh = State::reset(self.core.model, self.core.bootstrap);
        let before = std::mem::replace(&mut self.core.state, fresh);
        self.core.state.interrupt_line = before.interrupt_line;
        self.core.state.random = before.random;
        self.state_changed();
    }

    /// INIT# taken at once, between instructions (see also [`Cpu::signal_init`]).
    pub fn init(&mut self) {
        self.core.state.init(self.core.model, self.core.bootstrap);
        self.state_changed();
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &'static Model {
        self.core.model
    }

    /// The architectural state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.core.state
    }

    /// The architectural state, to be changed between runs.
    pub fn state_mut(&mut self) -> &mut State {
        self.state_changed();
        &mut self.core.state
    }

    /// Whether the last run stopped at a breakpoint, over which the next one steps.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.passed
    }

    /// Says whether the next run steps over a breakpoint where the processor stands now.
    pub fn set_passed(&mut self, passed: bool) {
        self.passed = passed;
    }

    /// Takes a saved state and [`Cpu::passed`].
    ///
    /// # Errors
    /// What no processor can hold; nothing is changed then.
    pub fn restore(&mut self, state: State, passed: bool) -> Result<(), StateError> {
        state.check(self.core.model)?;
        self.core.state = state;
        self.state_changed();
        self.passed = passed;
        Ok(())
    }

    fn state_changed(&mut self) {
        self.core.flush_tlb();
        self.passed = false;
    }

    /// Level of INTR.
    pub fn set_interrupt_line(&mut self, level: bool) {
        self.core.state.interrupt_line = level;
    }

    /// Level of IGNNE#: pending x87 exceptions are ignored while CR0.NE is clear.
    pub fn set_ignore_numeric_error(&mut self, level: bool) {
        self.core.state.fpu.ignore_numeric_error = level;
    }

    /// NMI: an edge.
    pub fn signal_nmi(&mut self) {
        self.core.state.pending.nmi = true;
    }

    /// SMI#.
    pub fn signal_smi(&mut self) {
        self.core.state.pending.smi = true;
    }

    /// INIT#: taken before the next instruction, unless in SMM.
    pub fn signal_init(&mut self) {
        self.core.state.pending.init = true;
        self.core.state.pending.sipi = None;
    }

    /// A start-up message; without effect unless waiting for one.
    pub fn signal_sipi(&mut self, vector: u8) {
        let state = &mut self.core.state;
        if state.activity == Activity::WaitForSipi || state.pending.init {
            state.pending.sipi = Some(vector);
        }
    }

    /// What a page's reads and writes reach may have changed. Decoded code stays: it is kept by
    /// frame, and the frames' bytes have not changed.
    pub fn map_changed(&mut self) {
        self.core.flush_tlb();
    }

    /// Frames have got other bytes or other numbers: nothing decoded is true any more.
    pub fn frames_changed(&mut self) {
        self.core.flush_tlb();
        self.cache.clear(&mut self.core.watch);
    }

    /// The A20 gate: off makes bit 20 of each physical address zero.
    pub fn set_a20(&mut self, enabled: bool) {
        let mask = if enabled { u64::MAX } else { !(1 << 20) };
        if self.core.a20_mask != mask {
            self.core.a20_mask = mask;
            self.core.flush_tlb();
        }
    }

    /// Other processors work on the same memory: what each of them has decoded and walked, all must
    /// watch. From now on, [`Cpu::tell`] must follow each run.
    pub fn share_memory(&mut self) {
        self.core.watch.share();
        self.core.flush_tlb();
    }

    /// Tells the machine's other processors what the last run means for them: bytes they had decoded or
    /// walked were written, and bytes this one has decoded or walked must be watched.
    pub fn tell<'a>(&mut self, others: impl Iterator<Item = &'a mut Cpu<B>>)
    where
        B: 'a,
    {
        let Some(News { written, fresh }) = self.core.watch.news() else { return };
        for other in others {
            for (frame, offset, length) in &written {
                other.code_written(Frame(*frame), *offset, *length);
            }
            let Core { watch, tlb, .. } = &mut other.core;
            fresh.iter().for_each(|mark| watch.add_mark(tlb, mark));
        }
    }

    /// Somebody else (a bus master, another CPU, a snapshot) wrote bytes of a frame, within it.
    pub fn code_written(&mut self, frame: Frame, offset: u16, length: u16) {
        // What was there before is not known.
        self.core.frame_written(frame, usize::from(offset & 0xfff), usize::from(length), true);
        self.apply_writes();
    }

    /// Replaces the breakpoints. The digest never depends on them.
    pub fn set_address_breakpoints(&mut self, breakpoints: Vec<Breakpoint>) {
        self.breakpoints = breakpoints;
    }

    /// Chooses the writes to frames of which [`Bus::stored`] tells, and the reads of which [`Bus::loaded`] does.
    /// Costs nothing where nothing is
    /// observed, and never changes what a run does.
    pub fn observe(&mut self, observed: Observed) {
        self.core.watch.observe(observed);
        self.core.flush_tlb();
    }

    /// Begins or ends to record what happens beside instructions. Meanwhile each such thing ends its run, so
    /// that the state after it can be seen; nothing else changes.
    pub fn record_occurrences(&mut self, on: bool) {
        if on != self.core.occurrences.is_some() {
            self.core.occurrences = on.then(Vec::new);
        }
    }

    /// What has happened beside instructions in the last run, in order, while that is recorded.
    #[must_use]
    pub fn occurrences(&self) -> &[Occurrence] {
        self.core.occurrences.as_deref().unwrap_or_default()
    }

    /// Whether [`Cpu::run`] would do anything: false when halted (or waiting, or shut down) with
    /// nothing that wakes.
    #[must_use]
    pub fn can_run(&self) -> bool {
        let state = &self.core.state;
        let pending = &state.pending;
        let interrupt = state.interrupt_line && state.flags.interrupt();
        let init = pending.init && !state.smm;
        match state.activity {
            Activity::Running => true,
            Activity::Halted => {
                interrupt
                    || init
                    || (pending.nmi && !state.nmi_blocked)
                    || (pending.smi && !state.smm)
                    || pending.debug != 0
            }
            Activity::Shutdown => init,
            Activity::WaitForSipi => init || pending.sipi.is_some(),
        }
    }

    /// Where a linear address is in physical memory by what the page tables say now, whoever asks: rights
    /// are not checked and no bit is set. `read` gives 4 or 8 bytes of physical memory without effects.
    /// `None` where no page is present.
    pub fn translate(&self, linear: u64, read: impl Fn(u64, u8) -> u64) -> Option<u64> {
        self.core.look_up(linear, read)
    }

    /// Runs until `budget` instructions have retired, or until something else ends it. Stops at
    /// exactly the budget. Delivering an external interrupt ends a run too ([`Stop::Device`]),
    /// because the interrupt controller has changed.
    pub fn run(&mut self, bus: &mut B, budget: u64, path: Path) -> Run {
        self.begin(budget, path);
        let stop = loop {
            match self.between(bus) {
                Between::Again => {}
                Between::Stop(stop) => break stop,
                Between::Execute => self.execute(bus),
            }
        };
        self.apply_writes();
        // It is no part of the state.
        self.core.set_block_base(0);
        Run { retired: self.core.retired, stop }
    }

    fn begin(&mut self, budget: u64, path: Path) {
        let core = &mut self.core;
        core.retired = 0;
        core.budget_end = budget;
        core.cached = path == Path::Cached;
        core.attention = 0;
        core.debug_hits = 0;
        if let Some(occurrences) = &mut core.occurrences {
            occurrences.clear();
        }
        core.refresh();
    }

    fn apply_writes(&mut self) {
        let core = &mut self.core;
        while let Some((frame, offset, length)) = core.written.pop() {
            self.cache.invalidate(frame, offset, length, &mut core.watch, &mut core.tlb);
        }
    }

    /// Looks at what may have happened since the last instruction.
    #[inline]
    fn between(&mut self, bus: &mut B) -> Between {
        if self.core.attention != 0 {
            let attention = std::mem::take(&mut self.core.attention);
            self.core.refresh_mode();
            self.apply_writes();
            if attention & attention::DEVICE != 0 {
                return Between::Stop(Stop::Device);
            }
        }
        let state = &self.core.state;
        let quiet = state.activity == Activity::Running
            && !state.pending.any()
            && !(state.interrupt_line && state.flags.interrupt());
        if !quiet {
            if let Some(stop) = self.idle() {
                return Between::Stop(stop);
            }
            if self.core.retired >= self.core.budget_end {
                return Between::Stop(Stop::Budget);
            }
            let before = self.core.state.rip;
            let found = self.events(bus);
            self.core.report(bus, before);
            match found {
                Between::Execute => {}
                Between::Again if self.core.occurrences.is_some() => return Between::Stop(Stop::Device),
                other => return other,
            }
        }
        if self.core.retired >= self.core.budget_end {
            return Between::Stop(Stop::Budget);
        }
        // What a run without breakpoints goes on from is no longer the place where one stopped.
        let passed = std::mem::take(&mut self.passed);
        if !self.breakpoints.is_empty() && !passed && self.at_breakpoint() {
            self.passed = true;
            return Between::Stop(Stop::Address);
        }
        Between::Execute
    }

    fn at_breakpoint(&self) -> bool {
        self.breakpoints.iter().any(|breakpoint| breakpoint.matches(&self.core.state))
    }

    fn idle(&self) -> Option<Stop> {
        if self.can_run() {
            return None;
        }
        match self.core.state.activity {
            Activity::Shutdown => Some(Stop::Shutdown),
            _ => Some(Stop::Halt),
        }
    }

    /// Takes the event of highest priority (SDM vol. 3A, table 6-2).
    #[cold]
    fn events(&mut self, bus: &mut B) -> Between {
        self.passed = false;
        let core = &mut self.core;
        if core.state.pending.init && !core.state.smm {
            core.occurred(Occurrence::Init);
            core.state.init(core.model, core.bootstrap);
            core.flush_tlb();
            core.refresh();
            return Between::Again;
        }
        if let Some(vector) = core.state.pending.sipi.take()
            && core.state.activity == Activity::WaitForSipi
        {
            core.occurred(Occurrence::StartUp(vector));
            let selector = u16::from(vector) << 8;
            core.set_segment(segment::CS, Segment::real_mode(selector));
            core.state.rip = 0;
            core.state.activity = Activity::Running;
            return Between::Again;
        }
        let shadow = core.state.shadow;
        if core.state.pending.smi && !core.state.smm && core.state.activity != Activity::Shutdown {
            core.state.pending.smi = false;
            core.occurred(Occurrence::Smi);
            core.enter_smm(bus);
            return Between::Again;
        }
        if core.state.pending.debug != 0 && shadow != Shadow::MovSs {
            let causes = std::mem::take(&mut core.state.pending.debug);
            core.debug_exception(bus, causes);
            return Between::Again;
        }
        if core.state.pending.nmi && !core.state.nmi_blocked && shadow != Shadow::MovSs {
            core.state.pending.nmi = false;
            core.state.nmi_blocked = true;
            core.occurred(Occurrence::Nmi);
            core.deliver(bus, Event::external(2));
            return Between::Again;
        }
        let state = &core.state;
        if state.interrupt_line && state.flags.interrupt() && shadow == Shadow::None {
            core.device_touched();
            if let Some(vector) = bus.acknowledge_interrupt(core.cycle()) {
                core.occurred(Occurrence::Interrupt(vector));
                core.deliver(bus, Event::external(vector));
            }
            return Between::Again;
        }
        Between::Execute
    }

    /// Executes blocks, or one instruction where care is needed.
    #[inline]
    fn execute(&mut self, bus: &mut B) {
        let state = &self.core.state;
        let careful = !self.core.cached
            || state.flags.trap()
            || state.flags.resume()
            || state.shadow != Shadow::None
            || state.dr[7] & 0xff != 0;
        self.core.single = careful;
        if careful || !self.blocks(bus) {
            self.core.single = careful;
            self.step(bus);
        }
    }

    /// Runs the block at the current address and those that follow it; false when there is none and
    /// one step must be taken.
    #[inline(never)]
    fn blocks(&mut self, bus: &mut B) -> bool {
        if !self.breakpoints.is_empty() {
            return self.block_watched(bus);
        }
        let mut some = false;
        loop {
            let core = &mut self.core;
            let (rip, linear) = (core.state.rip, core.linear_rip());
            let entry = match self.cache.stamped(rip, linear, core.code_stamp) {
                Some(entry) => entry,
                None => {
                    if core.retired >= core.budget_end {
                        return true;
                    }
                    if self.crossings.has(rip, linear, core.code_stamp) {
                        return some;
                    }
                    let Some(key) = self.find(bus) else { return some };
                    match self.cache.entry(key, rip) {
                        Some(entry) => entry,
                        None => return some,
                    }
                }
            };
            some = true;
            let core = &mut self.core;
            core.set_block_base(entry.block.key.base(rip));
            let ran = run_block(core, bus, &entry.block);
            match (ran, entry.block.end()) {
                (Ran::Attention, _) | (Ran::Through, End::Other) => return true,
                (_, End::Fill) if core.retired < core.budget_end && core.state.rip == rip => {
                    fill::rounds(core, bus, entry.block.each());
                }
                (Ran::Through, End::Open) if core.retired < core.budget_end && entry.block.passed(OFTEN) => {
                    let key = entry.block.key;
                    self.extend(bus, key, rip);
                }
                _ => {}
            }
        }
    }

    /// Runs the block at the current address, up to a breakpoint.
    #[cold]
    fn block_watched(&mut self, bus: &mut B) -> bool {
        let Some(key) = self.find(bus) else { return false };
        let core = &mut self.core;
        let rip = core.state.rip;
        let Some(entry) = self.cache.entry(key, rip) else { return false };
        core.set_block_base(key.base(rip));
        for (index, op) in entry.block.each().iter().enumerate() {
            let met = || self.breakpoints.iter().any(|breakpoint| breakpoint.matches(&core.state));
            // The look between instructions stops at one, or at the end of the budget.
            if index != 0 && (core.retired >= core.budget_end || met()) {
                return true;
            }
            if run_each(core, bus, std::slice::from_ref(op)) != Ran::Through {
                return true;
            }
        }
        true
    }

    /// Translates the current address and has the block there decoded; `None` when one step must be
    /// taken.
    #[inline(never)]
    fn find(&mut self, bus: &mut B) -> Option<Key> {
        let core = &mut self.core;
        let rip = core.state.rip;
        if core.code_room(rip) == 0 {
            return None;
        }
        let linear = core.linear_rip();
        let frame = match core.kept_fetch(linear) {
            Some(frame) => frame.0,
            // A fault is raised by the single step.
            None => match core.resolve(bus, linear, Access::Fetch, core.privilege()) {
                Ok(target) if target.frame != NO_FRAME => target.frame,
                _ => return None,
            },
        };
        if !core.written.is_empty() {
            // The walk's accessed bits fell on code: drop it first.
            return None;
        }
        let key = Key::new(frame, (linear & 0xfff) as u16, core.bits, rip);
        if !self.cache.recall(key, rip) {
            let block = build(bus, key, core.model, false)?;
            self.cache.insert(block, rip, &mut core.watch, &mut core.tlb);
        }
        let entry = self.cache.entry(key, rip)?;
        let bytes = entry.block.bytes();
        // Offsets begin anew at the top of the address space: ops have them behind it.
        if bytes > core.code_room(rip) || bytes > core.linear_mask.saturating_sub(rip) {
            return None;
        }
        // A translation that was not kept can change unnoticed.
        if core.kept_fetch(linear).is_some() {
            entry.stamp(linear, core.code_stamp);
        }
        Some(key)
    }

    /// Lets the block of `key` go on beyond its conditional branches.
    #[cold]
    fn extend(&mut self, bus: &B, key: Key, rip: u64) {
        let core = &mut self.core;
        if let Some(block) = build(bus, key, core.model, true) {
            self.cache.insert(block, rip, &mut core.watch, &mut core.tlb);
        }
    }

    /// Executes one instruction with everything that may stand in its way.
    fn step(&mut self, bus: &mut B) {
        let core = &mut self.core;
        let trap = core.state.flags.trap();
        let start = core.state.rip;
        let hits = instruction_breakpoints(&core.state);
        if hits != 0 {
            core.retired += 1;
            core.debug_exception(bus, hits);
            core.report(bus, start);
            return;
        }
        let lowered = match fetch(core, &mut self.crossings, bus) {
            Ok(lowered) => lowered,
            Err(exception) => {
                core.retired += 1;
                core.raise(bus, exception);
                core.report(bus, start);
                return;
            }
        };
        if B::OBSERVES {
            bus.observe(core.cycle(), &core.state);
        }
        core.state.rip = start.wrapping_add(u64::from(lowered.op.length)) & core.linear_mask;
        core.set_block_base(0);
        let done = (lowered.run)(core, bus, &lowered.op);
        let completed = done.is_ok();
        let attention = settle(core, bus, start, done);
        if !completed {
            return;
        }
        if trap && attention & attention::NO_TRAP == 0 {
            core.state.pending.debug |= dr6::BS;
        }
        core.state.pending.debug |= std::mem::take(&mut core.debug_hits);
        if attention & (attention::KEEP_RESUME | attention::REPEAT) == 0 {
            core.state.flags.set_resume(false);
        }
        if attention & attention::SHADOW == 0 {
            core.state.shadow = Shadow::None;
        }
    }
}

/// How some instructions ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ran {
    /// All were executed, or as many as the budget allowed, and nothing must be looked at.
    Through,
    /// A branch was taken, and nothing must be looked at.
    Jumped,
    /// One of them faulted, or wants something to be looked at.
    Attention,
}

/// Executes a block, which begins at the current address, as far as the budget allows.
#[inline(always)]
fn run_block<B: Bus>(core: &mut Core, bus: &mut B, block: &Block<B>) -> Ran {
    let first = core.retired;
    let count = block.instructions();
    if core.attention != 0 {
        return run_first(core, bus, block.each());
    }
    if B::OBSERVES || first.wrapping_add(count) > core.budget_end {
        return run_each(core, bus, block.each());
    }
    run_ops(core, bus, block.ops(), count)
}

/// Executes one instruction, of a block that was found with something to be looked at behind that: the page walk on the
/// way there wrote where the machine is told of writes.
#[cold]
#[inline(never)]
fn run_first<B: Bus>(core: &mut Core, bus: &mut B, each: &[Lowered<B>]) -> Ran {
    if let Some(first) = each.first() {
        if B::OBSERVES {
            bus.observe(core.cycle(), &core.state);
        }
        let start = core.state.rip;
        core.state.rip = core.block_base().wrapping_add(first.next);
        let done = (first.run)(core, bus, &first.op);
        settle(core, bus, start, done);
    }
    Ran::Attention
}

/// As [`run_block`], instruction by instruction, each by its handler.
#[cold]
#[inline(never)]
fn run_each<B: Bus>(core: &mut Core, bus: &mut B, each: &[Lowered<B>]) -> Ran {
    let room = usize::try_from(core.budget_end.saturating_sub(core.retired)).unwrap_or(usize::MAX);
    if room == 0 {
        return Ran::Attention;
    }
    for lowered in each.get(..room).unwrap_or(each) {
        if B::OBSERVES {
            bus.observe(core.cycle(), &core.state);
        }
        let start = core.state.rip;
        // What changes CS ends its block.
        core.state.rip = core.block_base().wrapping_add(lowered.next);
        let done = (lowered.run)(core, bus, &lowered.op);
        match core.attention {
            0 if done.is_ok() => core.retired += 1,
            attention::JUMPED if done.is_ok() => {
                core.attention = 0;
                core.retired += 1;
                return Ran::Jumped;
            }
            _ => {
                settle(core, bus, start, done);
                return Ran::Attention;
            }
        }
    }
    Ran::Through
}

/// Executes ops, `count` instructions, from the current address on, which is that of the first; as long as a
/// branch goes to one of them, and the budget has room for all from there on, it goes on with that.
#[inline(always)]
fn run_ops<B: Bus>(core: &mut Core, bus: &mut B, ops: &[Lowered<B>], count: u64) -> Ran {
    // What was retired before the block, had all of it been executed once, in order.
    let mut first = core.retired;
    let base = core.block_base();
    let mut rest = ops.iter();
    while let Some(lowered) = rest.next() {
        // What changes CS ends its block.
        let next = base.wrapping_add(lowered.next);
        match exec::try_op(core, bus, lowered) {
            Tried::Done => continue,
            Tried::Jumped => {}
            Tried::Not => {
                core.state.rip = next;
                core.retired = first.wrapping_add(u64::from(lowered.op.before));
                let done = (lowered.run)(core, bus, &lowered.op);
                if done.is_ok() && core.attention == 0 {
                    if rest.as_slice().is_empty() {
                        // It may have jumped.
                        core.retired = first.wrapping_add(count);
                        return Ran::Through;
                    }
                    continue;
                }
                if done.is_err() || core.attention != attention::JUMPED {
                    let start = next.wrapping_sub(u64::from(lowered.op.length)) & core.linear_mask;
                    settle(core, bus, start, done);
                    return Ran::Attention;
                }
                core.attention = 0;
            }
        }
        core.retired = first.wrapping_add(u64::from(lowered.op.after));
        let Some(inside) = ops.get(usize::from(lowered.op.inside)..) else { return Ran::Jumped };
        let Some(target) = inside.first() else { return Ran::Jumped };
        let again = core.retired.wrapping_sub(u64::from(target.op.before));
        if again.wrapping_add(count) > core.budget_end {
            return Ran::Jumped;
        }
        first = again;
        rest = inside.iter();
    }
    if let Some(last) = ops.last() {
        core.state.rip = base.wrapping_add(last.next);
    }
    core.retired = first.wrapping_add(count);
    Ran::Through
}

/// Ends an instruction: counts it, repeats it or raises its fault. Gives what it asked for.
fn settle<B: Bus>(core: &mut Core, bus: &mut B, start: u64, done: Exec) -> u16 {
    core.retired += 1;
    let attention = core.attention;
    match done {
        Ok(()) => {
            if attention & attention::REPEAT != 0 {
                core.state.rip = start;
            }
        }
        Err(exception) => {
            if attention & attention::NEW_TASK == 0 {
                core.state.rip = start;
            }
            core.debug_hits = 0;
            core.raise(bus, exception);
        }
    }
    core.report(bus, start);
    attention
}

/// Which of DR0-DR3 stand at the next instruction (vol. 3B, 17.3.1.1).
fn instruction_breakpoints(state: &State) -> u32 {
    let control = state.dr[7];
    if control & 0xff == 0 || state.flags.resume() {
        return 0;
    }
    let linear = state.linear_rip();
    let mut hits = 0;
    for index in 0..4_u32 {
        let enabled = (control >> (2 * index)) & 3 != 0;
        let kind = (control >> (16 + 4 * index)) & 3;
        if enabled && kind == 0 && state.dr[index as usize] == linear {
            hits |= 1 << index;
        }
    }
    hits
}

/// Reads and decodes the instruction at CS:EIP, page by page, so that a fault on the second page
/// comes only when the instruction reaches it.
fn fetch<B: Bus>(
    core: &mut Core,
    crossings: &mut Crossings<B>,
    bus: &mut B,
) -> Result<Lowered<B>, Exception> {
    let fault = Exception::general_protection(0);
    let rip = core.state.rip;
    let available = core.code_room(rip).min(LONGEST as u64) as usize;
    if available == 0 {
        return Err(fault);
    }
    let linear = core.linear_rip();
    let here = (rip, linear, core.code_stamp);
    if core.cached
        && let Some(known) = crossings.get(bus, here)
    {
        return Ok(known);
    }
    let privilege = core.privilege();
    let bits = core.bits;
    let mut bytes = [0; LONGEST];
    let mut have = 0;
    // The frames it comes from, where they are known to stay, and nobody is told of reads.
    let (mut first, mut second) = (None, None);
    while have < available {
        let at = linear.wrapping_add(have as u64) & core.linear_mask;
        let target = core.resolve(bus, at, Access::Fetch, privilege)?;
        let room = 4096 - (at & 0xfff) as usize;
        let from = if have == 0 { &mut first } else { &mut second };
        *from = core.kept_fetch(at).filter(|frame| core.cached && core.watch.observed_reads(frame.0) == 0);
        // A device is read byte by byte, no further than the instruction goes.
        let more = if target.frame == NO_FRAME { 1 } else { room.min(available - have) };
        for index in 0..more {
            let place = crate::memory::Target { physical: target.physical + index as u64, ..target };
            let byte = core.read_part(bus, place, 1) as u8;
            if let Some(slot) = bytes.get_mut(have + index) {
                *slot = byte;
            }
        }
        have += more;
        match decode(bytes.get(..have).unwrap_or(&bytes), bits, rip, core.model) {
            Decoded::Op { lowered, .. } => {
                if let (Some(first), Some(second)) = (first, second) {
                    crossings.keep(here, (first, second), bytes, lowered);
                }
                return Ok(lowered);
            }
            Decoded::Truncated => {}
        }
    }
    Err(fault)
}

/// Decodes a block from its frame; `None` when not one instruction lies wholly within the page. It ends
/// with the first conditional branch, or goes on beyond.
fn build<B: Bus>(bus: &B, key: Key, model: &Model, beyond: bool) -> Option<Block<B>> {
    let page = bus.frame(Frame(key.frame()));
    let longest = if beyond { LONGEST_BLOCK } else { FIRST_BLOCK };
    let mut each: Vec<Lowered<B>> = Vec::with_capacity(FIRST_BLOCK);
    let mut ops: Vec<Lowered<B>> = Vec::with_capacity(FIRST_BLOCK);
    // Where each of `ops` may branch to.
    let mut targets: Vec<Option<u64>> = Vec::with_capacity(FIRST_BLOCK);
    // What each of `ops` has to do with the flags.
    let mut effects: Vec<Effect> = Vec::with_capacity(FIRST_BLOCK);
    // The last of `each`, where `ops` has it by itself.
    let mut before: Option<Instruction> = None;
    let mut end = End::Near;
    let mut at = usize::from(key.offset());
    while end == End::Near && at < page.len() {
        let bytes = page.get(at..(at + LONGEST).min(page.len()))?;
        let rip = u64::from(key.origin()) + (at - usize::from(key.offset())) as u64;
        let Decoded::Op { mut lowered, flow, instruction } = decode(bytes, key.bits(), rip, model) else {
            break;
        };
        if key.bits() != Bits::Sixteen && instruction.op0_kind() == OpKind::NearBranch16 {
            // It goes to the first 64 KiB, wherever it is from: a single step knows from where.
            break;
        }
        at += usize::from(lowered.op.length);
        (lowered.op.before, lowered.op.after) = (each.len() as u8, each.len() as u8 + 1);
        let both = each
            .last()
            .zip(before)
            .and_then(|(first, before)| exec::pair((first, &before), (&lowered, &instruction)));
        each.push(lowered);
        before = if let (Some(mut both), Some(first)) = (both, before) {
            both.op.after = lowered.op.after;
            ops.pop();
            targets.pop();
            effects.pop();
            effects.push(Effect::of(&both.op, &first, true));
            ops.push(both);
            None
        } else {
            effects.push(Effect::of(&lowered.op, &instruction, false));
            ops.push(lowered);
            Some(instruction)
        };
        targets.push(branch_target(&instruction));
        match flow {
            Flow::Near => break,
            Flow::Other => end = End::Other,
            Flow::Conditional if !beyond => end = End::Open,
            _ if each.len() < longest => {}
            _ if beyond => break,
            _ => end = End::Open,
        }
    }
    if each.is_empty() {
        return None;
    }
    if fill::is_loop(&each) {
        end = End::Fill;
    }
    let bytes = (at - usize::from(key.offset())) as u16;
    if end != End::Fill {
        find_inside(&mut ops, &targets);
    }
    exec::drop_dead_flags(&mut ops, &effects);
    Some(Block::new(key, bytes, end, ops, each))
}

/// Where a branch that leaves nothing behind goes to: Jcc, JMP, LOOPcc or JCXZ, not CALL.
fn branch_target(instruction: &Instruction) -> Option<u64> {
    let branches = instruction.is_jcc_short_or_near()
        || instruction.is_jmp_short_or_near()
        || instruction.is_loop()
        || instruction.is_loopcc()
        || instruction.is_jcx_short();
    branches.then(|| instruction.near_branch_target())
}

/// Finds out which branches of a block, whose targets are given for each op, go to one of its ops.
fn find_inside<B: Bus>(ops: &mut [Lowered<B>], targets: &[Option<u64>]) {
    let start = |lowered: &Lowered<B>| lowered.next.wrapping_sub(u64::from(lowered.op.length));
    let starts: Vec<u64> = ops.iter().map(start).collect();
    for (lowered, target) in ops.iter_mut().zip(targets) {
        if let Some(at) = target.and_then(|target| starts.iter().position(|start| *start == target)) {
            lowered.op.inside = at as u8;
        }
    }
}
