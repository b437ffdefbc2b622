//! The machine as gdb's target: its processors are threads, addresses are linear.

use std::collections::BTreeSet;

use crate::{
    Condition, Machine,
    machine::{Address, ConfigError},
    scenario::{
        problem::InputError,
        session::{End, Finish, Progress, SLICE, Session},
    },
};
use gdbstub::{
    arch,
    common::{Signal, Tid},
    outputln,
    stub::MultiThreadStopReason,
    target::{
        Target as GdbTarget, TargetError, TargetResult,
        ext::{
            base::{
                BaseOps,
                multithread::{
                    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps,
                    MultiThreadResume, MultiThreadResumeOps, MultiThreadSchedulerLocking,
                    MultiThreadSchedulerLockingOps, MultiThreadSingleStep, MultiThreadSingleStepOps,
                },
                reverse_exec::{ReplayLogPosition, ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps},
                single_register_access::{SingleRegisterAccess, SingleRegisterAccessOps},
            },
            breakpoints::{
                Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
                SwBreakpoint, SwBreakpointOps, WatchKind,
            },
            monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps},
            target_description_xml_override::{
                TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
            },
        },
    },
};

use super::{
    Host,
    past::Past,
    registers::Registers,
    watches::{Hit, Watches},
    wire::Asks,
};

/// EFAULT: what gdb is told of memory that is not there.
const NO_MEMORY: u8 = 14;
/// EINVAL: of a value that cannot be.
const BAD_VALUE: u8 = 22;

/// What gdb is told of a stop.
type Reason = MultiThreadStopReason<u64>;

/// What gdb wants of the machine until it stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    Nothing,
    Continue,
    /// One instruction of a processor.
    Step(usize),
    /// As long as a processor stays between two addresses.
    Range(usize, u64, u64),
    StepBack(usize),
    ContinueBack,
}

/// The machine, where it has been, and what gdb has asked for.
pub(crate) struct Target<'a> {
    machine: &'a mut Machine,
    session: &'a mut Session,
    asks: Asks,
    watch: &'a mut dyn FnMut(&Machine) -> bool,
    host: Host,
    registers: Registers,
    past: Past,
    software: BTreeSet<u64>,
    hardware: BTreeSet<u64>,
    watches: Watches,
    wanted: Wanted,
    /// The processor of the last stop.
    current: usize,
    /// The end of the run, where it stands at it.
    end: Option<Finish>,
    error: Option<InputError>,
    stopped: bool,
}

impl<'a> Target<'a> {
    pub(crate) fn new(
        machine: &'a mut Machine,
        session: &'a mut Session,
        asks: Asks,
        watch: &'a mut dyn FnMut(&Machine) -> bool,
        host: Host,
    ) -> Target<'a> {
        Target {
            registers: Registers::new(machine.has_long_mode()),
            past: Past::new(machine, session),
            machine,
            session,
            asks,
            watch,
            host,
            software: BTreeSet::new(),
            hardware: BTreeSet::new(),
            watches: Watches::default(),
            wanted: Wanted::Nothing,
            current: 0,
            end: None,
            error: None,
            stopped: false,
        }
    }

    /// The run's end, if the machine stands at it.
    pub(crate) fn end(&mut self) -> Option<Finish> {
        self.end.take()
    }

    /// The run's end if it is ended here.
    pub(crate) fn interrupted(&self) -> Finish {
        self.session.interrupted()
    }

    pub(crate) fn take_error(&mut self) -> Option<InputError> {
        self.error.take()
    }

    /// Whether the run cannot go on or shall not.
    pub(crate) fn has_failed(&self) -> bool {
        self.error.is_some() || self.stopped
    }

    /// The thread of the last stop.
    pub(crate) fn current(&self) -> Tid {
        thread(self.current)
    }

    /// Nothing is wanted any more.
    pub(crate) fn stop(&mut self) {
        self.wanted = Wanted::Nothing;
    }

    /// Goes on with what is wanted, for a while. Gives why it has stopped, if it has.
    pub(crate) fn go_on(&mut self) -> Option<Reason> {
        let went = match self.wanted {
            Wanted::Nothing => Ok(Some(self.signal(Signal::SIGINT))),
            Wanted::Continue | Wanted::Range(..) | Wanted::Step(_) => self.forward(),
            Wanted::StepBack(processor) => self.step_back(processor),
            Wanted::ContinueBack => self.continue_back(),
        };
        let reason = match went {
            Ok(reason) => reason,
            Err(error) => {
                self.error = Some(error.into());
                Some(self.signal(Signal::SIGABRT))
            }
        };
        if reason.is_some() {
            self.wanted = Wanted::Nothing;
        }
        reason
    }

    fn forward(&mut self) -> Result<Option<Reason>, ConfigError> {
        if let Some(end) = &self.end {
            // It has been told of once already.
            let expected = matches!(end.end, End::Met | End::Stopped);
            return Ok(Some(match self.wanted {
                Wanted::Continue => Reason::Exited(u8::from(!expected)),
                _ => self.at_end(),
            }));
        }
        let (most, stepped) = match self.wanted {
            Wanted::Step(processor) | Wanted::Range(processor, ..) => {
                (1, Some((processor, self.machine.retired(processor))))
            }
            _ => (SLICE, None),
        };
        let waited = match self.wanted {
            // gdb looks itself where a step has led.
            Wanted::Step(_) => Vec::new(),
            _ => self.waited(),
        };
        let before = self.machine.instructions();
        let stood = self.standing();
        let start =
            (!self.watches.is_empty() && most > 1).then(|| (self.machine.fork(), self.session.clone()));
        self.watches.begin(self.machine)?;
        let mut progress = self.session.go_on(self.machine, Some(most), &waited)?;
        let hit = self.watches.end(self.machine).first().copied();
        if let (Some(hit), Some(start)) = (hit, start) {
            progress = self.again_up_to(hit, start)?;
        }
        self.past.keep(self.machine, self.session);
        if !(self.watch)(self.machine) {
            self.stopped = true;
        }
        match progress {
            Progress::Finished(finish) => {
                (self.host.say)(&format!("gdb: the run is at its end: {}", finish.ended_by));
                self.end = Some(finish);
                return Ok(Some(hit.map_or_else(|| self.at_end(), |hit| self.at_access(hit))));
            }
            _ if hit.is_some() => return Ok(hit.map(|hit| self.at_access(hit))),
            Progress::Met(_) if self.machine.instructions() == before => {
                // A breakpoint where a processor stood already is stepped over the next time.
                let other = self
                    .standing()
                    .into_iter()
                    .find(|index| *index != self.current && !stood.contains(index));
                self.current = other.unwrap_or(self.current);
                return Ok(other.map(|_| self.at_breakpoint()));
            }
            Progress::Met(_) => {
                self.current = self.standing().first().copied().unwrap_or(self.current);
                return Ok(Some(self.at_breakpoint()));
            }
            Progress::More => {}
        }
        let Some((processor, _)) = stepped.filter(|(index, before)| self.machine.retired(*index) != *before)
        else {
            return Ok(None);
        };
        self.current = processor;
        let linear = self.linear(processor);
        if let Wanted::Range(_, start, end) = self.wanted
            && (start..end).contains(&linear)
        {
            return Ok(None);
        }
        Ok(Some(self.signal(Signal::SIGTRAP)))
    }

    /// Goes back to `start` and from there to just after an access that was seen from there on.
    fn again_up_to(
        &mut self,
        hit: Hit,
        (mut machine, session): (Machine, Session),
    ) -> Result<Progress, ConfigError> {
        self.machine.return_to(&mut machine);
        *self.session = session;
        self.watches.begin(self.machine)?;
        let mut progress = Progress::More;
        let until = [Condition::Instructions(hit.instruction)];
        while self.machine.instructions() < hit.instruction && !matches!(progress, Progress::Finished(_)) {
            progress = self.session.go_on(self.machine, None, &until)?;
        }
        // What a chip has written by itself is there already.
        if self.watches.end(self.machine).is_empty() && !matches!(progress, Progress::Finished(_)) {
            let all = 0..self.machine.processors().count();
            let before: Vec<u64> = all.map(|processor| self.machine.retired(processor)).collect();
            progress = self.session.go_on(self.machine, Some(1), &[])?;
            let who =
                before.iter().enumerate().find(|(index, before)| self.machine.retired(*index) != **before);
            self.current = who.map_or(self.current, |(processor, _)| processor);
        }
        Ok(progress)
    }

    /// Goes back by one instruction of a processor.
    fn step_back(&mut self, processor: usize) -> Result<Option<Reason>, ConfigError> {
        let here = self.machine.instructions();
        let retired = self.machine.retired(processor);
        let mut limit = here;
        loop {
            let Some(index) = self.past.before(limit) else {
                self.go_to(self.past.begin())?;
                return Ok(Some(self.at_begin()));
            };
            let Some(moment) = self.past.get_mut(index) else { return Ok(Some(self.at_begin())) };
            limit = moment.count();
            if moment.machine.retired(processor) < retired {
                break;
            }
        }
        // With one processor its instructions are the machine's.
        let place = if self.machine.processors().count() == 1 {
            here.saturating_sub(1)
        } else {
            self.go_to(limit)?;
            let mut place = limit;
            while self.machine.retired(processor) < retired {
                if self.is_asked() {
                    self.go_to(here)?;
                    return Ok(Some(self.signal(Signal::SIGINT)));
                }
                place = self.machine.instructions();
                if let Progress::Finished(_) = self.session.go_on(self.machine, Some(1), &[])? {
                    break;
                }
            }
            place
        };
        if !self.go_to(place)? {
            self.go_to(here)?;
            return Ok(Some(self.signal(Signal::SIGINT)));
        }
        self.current = processor;
        Ok(Some(self.signal(Signal::SIGTRAP)))
    }

    /// Goes back to the last breakpoint, to just before the last access to something watched, or to the
    /// beginning.
    fn continue_back(&mut self) -> Result<Option<Reason>, ConfigError> {
        let here = self.machine.instructions();
        let mut until = here;
        while let Some(index) = self.past.before(until) {
            let Some(begin) = self.return_to(index) else { break };
            let (mut hits, mut last_hit) = (0_u64, 0);
            let mut last_access: Option<Hit> = None;
            while self.machine.instructions() < until {
                self.watches.begin(self.machine)?;
                let replayed = self.replay(until);
                last_access = self.watches.end(self.machine).last().copied().or(last_access);
                match replayed? {
                    Replayed::Hit => (hits, last_hit) = (hits + 1, self.machine.instructions()),
                    Replayed::On => {}
                    Replayed::There => break,
                }
                if self.is_asked() {
                    self.go_to(here)?;
                    return Ok(Some(self.signal(Signal::SIGINT)));
                }
            }
            if let Some(hit) = last_access
                .filter(|hit| hit.instruction < until && (hits == 0 || hit.instruction >= last_hit))
            {
                self.go_to(hit.instruction)?;
                return Ok(Some(self.at_access(hit)));
            }
            if hits > 0 {
                self.return_to(index);
                while hits > 0 {
                    match self.replay(until)? {
                        Replayed::Hit => hits -= 1,
                        Replayed::On => {}
                        Replayed::There => break,
                    }
                }
                self.current = self.standing().first().copied().unwrap_or(self.current);
                return Ok(Some(self.at_breakpoint()));
            }
            until = begin;
        }
        self.go_to(self.past.begin())?;
        Ok(Some(self.at_begin()))
    }

    /// Puts the machine where moment number `index` is; gives its count of instructions.
    fn return_to(&mut self, index: usize) -> Option<u64> {
        let moment = self.past.get_mut(index)?;
        self.machine.return_to(&mut moment.machine);
        self.session.clone_from(&moment.session);
        self.end = None;
        Some(moment.count())
    }

    /// Runs again up to a breakpoint, or to `until` instructions.
    fn replay(&mut self, until: u64) -> Result<Replayed, ConfigError> {
        let mut waited = self.waited();
        waited.push(Condition::Instructions(until));
        Ok(match self.session.go_on(self.machine, None, &waited)? {
            Progress::Met(Condition::Instructions(_)) | Progress::Finished(_) => Replayed::There,
            Progress::Met(_) => Replayed::Hit,
            Progress::More => Replayed::On,
        })
    }

    /// Goes to where `count` instructions had been retired, in the past; false when it was asked to stop on
    /// the way.
    fn go_to(&mut self, count: u64) -> Result<bool, ConfigError> {
        let Some(index) = self.past.before(count.saturating_add(1)) else { return Ok(true) };
        self.return_to(index);
        while self.machine.instructions() < count {
            let until = [Condition::Instructions(count)];
            if let Progress::Finished(finish) = self.session.go_on(self.machine, None, &until)? {
                self.end = Some(finish);
                break;
            }
            self.past.keep(self.machine, self.session);
            if self.is_asked() && self.machine.instructions() < count {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_asked(&self) -> bool {
        (self.host.interrupted)() || self.asks.something()
    }

    /// What a run waits for on gdb's behalf.
    fn waited(&self) -> Vec<Condition> {
        let all = self.software.union(&self.hardware);
        all.map(|address| Condition::Address(Address::Linear(*address))).collect()
    }

    fn linear(&self, processor: usize) -> u64 {
        self.machine.processors().nth(processor).map_or(0, |state| state.linear_rip())
    }

    fn signal(&self, signal: Signal) -> Reason {
        Reason::SignalWithThread { tid: self.current(), signal }
    }

    fn at_begin(&self) -> Reason {
        Reason::ReplayLog { tid: Some(self.current()), pos: ReplayLogPosition::Begin }
    }

    fn at_end(&self) -> Reason {
        Reason::ReplayLog { tid: Some(self.current()), pos: ReplayLogPosition::End }
    }

    fn at_access(&self, hit: Hit) -> Reason {
        Reason::Watch { tid: self.current(), kind: hit.kind, addr: hit.linear }
    }

    /// The processors that stand at a breakpoint.
    fn standing(&self) -> Vec<usize> {
        let stands = |processor: &usize| {
            let linear = self.linear(*processor);
            let set = self.software.contains(&linear) || self.hardware.contains(&linear);
            set && self.machine.stands_at_address(*processor)
        };
        (0..self.machine.processors().count()).filter(stands).collect()
    }

    /// The processor of the stop stands at a breakpoint.
    fn at_breakpoint(&self) -> Reason {
        let (tid, linear) = (self.current(), self.linear(self.current));
        let pointer = self.machine.processors().nth(self.current).map(|state| state.rip);
        // gdb takes its `$pc` for linear. Where CS has a base it would not find its breakpoint there, and
        // go on; for a signal it stops.
        match pointer {
            Some(pointer) if pointer != linear => self.signal(Signal::SIGTRAP),
            _ if self.software.contains(&linear) => Reason::SwBreak(tid),
            _ => Reason::HwBreak(tid),
        }
    }

    /// Somebody has changed the machine.
    fn changed(&mut self) {
        self.past.changed(self.machine, self.session);
        self.end = None;
    }

    /// The processor of a thread.
    fn processor(&self, tid: Tid) -> Result<usize, TargetError<String>> {
        let index = tid.get() - 1;
        if index < self.machine.processors().count() { Ok(index) } else { Err(TargetError::Errno(BAD_VALUE)) }
    }
}

/// What came of running again.
enum Replayed {
    /// At a breakpoint.
    Hit,
    /// Somewhere on the way.
    On,
    /// Where it was to go.
    There,
}

/// gdb's number of a processor.
fn thread(processor: usize) -> Tid {
    Tid::MIN.saturating_add(processor)
}

/// Says why something was refused, where gdb only shows a number.
fn refused(host: Host, error: &ConfigError) -> TargetError<String> {
    (host.say)(&format!("gdb: {error}"));
    TargetError::Errno(BAD_VALUE)
}

/// x86 with registers whose number is known only when the processor's model is.
pub(crate) enum Arch {}

/// All registers' bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AllRegisters {
    pointer: u64,
    bytes: Vec<u8>,
}

/// A register's number.
#[derive(Debug)]
pub(crate) struct Number(usize);

impl arch::RegId for Number {
    fn from_raw_id(id: usize) -> Option<(Number, Option<std::num::NonZeroUsize>)> {
        Some((Number(id), None))
    }
}

impl arch::Registers for AllRegisters {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.pointer
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.bytes.iter().for_each(|byte| write_byte(Some(*byte)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.bytes = bytes.to_vec();
        Ok(())
    }
}

impl arch::Arch for Arch {
    type Usize = u64;
    type Registers = AllRegisters;
    type BreakpointKind = usize;
    type RegId = Number;
}

impl GdbTarget for Target<'_> {
    type Arch = Arch;
    type Error = String;

    fn base_ops(&mut self) -> BaseOps<'_, Arch, String> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadBase for Target<'_> {
    fn read_registers(&mut self, registers: &mut AllRegisters, tid: Tid) -> TargetResult<(), Self> {
        let processor = self.processor(tid)?;
        let bytes = self.registers.read_all(self.machine, processor);
        registers.bytes = bytes.ok_or(TargetError::NonFatal)?;
        registers.pointer = self.machine.processors().nth(processor).map_or(0, |state| state.rip);
        Ok(())
    }

    fn write_registers(&mut self, registers: &AllRegisters, tid: Tid) -> TargetResult<(), Self> {
        let processor = self.processor(tid)?;
        let written = self.registers.write_all(self.machine, processor, &registers.bytes);
        self.changed();
        written.map_err(|error| refused(self.host, &error))
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(&mut self, start: u64, bytes: &mut [u8], tid: Tid) -> TargetResult<usize, Self> {
        let processor = self.processor(tid)?;
        let ends = u64::try_from(bytes.len()).ok().and_then(|length| start.checked_add(length));
        let read = ends.map_or(0, |_| self.machine.read_linear_ram(processor, start, bytes));
        if read < bytes.len() { Err(TargetError::Errno(NO_MEMORY)) } else { Ok(read) }
    }

    fn write_addrs(&mut self, start: u64, bytes: &[u8], tid: Tid) -> TargetResult<(), Self> {
        let processor = self.processor(tid)?;
        let written = self.machine.write_linear(processor, start, bytes);
        written.map_err(|_| TargetError::Errno(NO_MEMORY))?;
        self.changed();
        Ok(())
    }

    fn list_active_threads(&mut self, is_active: &mut dyn FnMut(Tid)) -> Result<(), String> {
        // gdb takes the first one for where the machine stopped when it connects.
        (0..self.machine.processors().count()).for_each(|processor| is_active(thread(processor)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Target<'_> {
    fn read_register(&mut self, tid: Tid, number: Number, bytes: &mut [u8]) -> TargetResult<usize, Self> {
        let processor = self.processor(tid)?;
        let value = self.registers.read(self.machine, processor, number.0);
        let value = value.ok_or(TargetError::Errno(BAD_VALUE))?;
        let place = bytes.get_mut(..value.len()).ok_or(TargetError::Errno(BAD_VALUE))?;
        place.copy_from_slice(&value);
        Ok(value.len())
    }

    fn write_register(&mut self, tid: Tid, number: Number, value: &[u8]) -> TargetResult<(), Self> {
        let processor = self.processor(tid)?;
        let written = self.registers.write(self.machine, processor, number.0, value);
        written.map_err(|error| refused(self.host, &error))?;
        self.changed();
        Ok(())
    }
}

impl MultiThreadResume for Target<'_> {
    fn resume(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), String> {
        self.wanted = Wanted::Continue;
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _tid: Tid, _signal: Option<Signal>) -> Result<(), String> {
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl MultiThreadSchedulerLocking for Target<'_> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), String> {
        // The processors' turns are part of what the machine does: they take them all the same.
        Ok(())
    }
}

impl MultiThreadSingleStep for Target<'_> {
    fn set_resume_action_step(&mut self, tid: Tid, _signal: Option<Signal>) -> Result<(), String> {
        let processor = self.processor(tid).unwrap_or(self.current);
        self.wanted = Wanted::Step(processor);
        Ok(())
    }
}

impl MultiThreadRangeStepping for Target<'_> {
    fn set_resume_action_range_step(&mut self, tid: Tid, start: u64, end: u64) -> Result<(), String> {
        let processor = self.processor(tid).unwrap_or(self.current);
        self.wanted = Wanted::Range(processor, start, end);
        Ok(())
    }
}

impl ReverseStep<Tid> for Target<'_> {
    fn reverse_step(&mut self, tid: Tid) -> Result<(), String> {
        let processor = self.processor(tid).unwrap_or(self.current);
        self.wanted = Wanted::StepBack(processor);
        Ok(())
    }
}

impl ReverseCont<Tid> for Target<'_> {
    fn reverse_cont(&mut self) -> Result<(), String> {
        self.wanted = Wanted::ContinueBack;
        Ok(())
    }
}

impl Breakpoints for Target<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Target<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.software.insert(address);
        Ok(true)
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.software.remove(&address))
    }
}

impl HwBreakpoint for Target<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        self.hardware.insert(address);
        Ok(true)
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _kind: usize) -> TargetResult<bool, Self> {
        Ok(self.hardware.remove(&address))
    }
}

impl HwWatchpoint for Target<'_> {
    fn add_hw_watchpoint(&mut self, address: u64, length: u64, kind: WatchKind) -> TargetResult<bool, Self> {
        let added = self.watches.add(self.machine, self.current, address, length, kind.into());
        added.map(|()| true).map_err(|error| refused(self.host, &error))
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        length: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.watches.remove(address, length, kind.into()))
    }
}

impl TargetDescriptionXmlOverride for Target<'_> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        place: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::Errno(BAD_VALUE));
        }
        let text = self.registers.description();
        let rest = usize::try_from(offset).ok().and_then(|offset| text.as_bytes().get(offset..));
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(length).min(place.len());
        let (Some(part), Some(place)) = (rest.get(..length), place.get_mut(..length)) else { return Ok(0) };
        place.copy_from_slice(part);
        Ok(length)
    }
}

impl MonitorCmd for Target<'_> {
    fn handle_monitor_cmd(&mut self, command: &[u8], mut out: ConsoleOutput<'_>) -> Result<(), String> {
        match command {
            b"where" => {
                for (index, state) in self.machine.processors().enumerate() {
                    let (selector, pointer) = (state.cs().selector, state.rip);
                    let linear = state.linear_rip();
                    outputln!(out, "processor {index}: {selector:04x}:{pointer:x}, linear {linear:#x}");
                }
                let (count, time) = (self.machine.instructions(), self.machine.virtual_time());
                outputln!(out, "{count} instructions, {time} ns of virtual time since power-on");
                if let Some(end) = &self.end {
                    outputln!(out, "the run is at its end: {}", end.ended_by);
                }
            }
            b"digest" => outputln!(out, "{}", self.machine.digest()),
            _ => outputln!(
                out,
                "monitor where: each processor's place, instructions, virtual time\nmonitor digest: of the machine as it stands"
            ),
        }
        Ok(())
    }
}
