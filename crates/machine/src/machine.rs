//! A machine: processors on one board, run from event to event.

use std::sync::Arc;

use warmboot_chipset::{GuestMemory as _, ResetKind, i8042, keys};
use warmboot_cpu::{Breakpoint, Cpu, Observed, Path, State, Stop, state::Activity};
use warmboot_memory::{FlatView, Memory};

use crate::{
    Board, Condition, Config, ConfigError, Ended, Limits,
    board::{PowerState, Sent, Signal},
    build,
    condition::Address,
    config,
    devices::Device,
    generations::Generation,
    history::{History, Observer, Seen, Watched, Writer, WrittenBytes, register_of},
    machine_types::MachineType,
    processors::{Processors, Turn},
    reset::{Chips, Processor, ResetPath, ResetRow},
    trace::Tracer,
};

/// What [`Machine::press`] calls the button on the case.
const POWER_BUTTON: &str = "power-button";

/// Checks a name for [`Machine::press`].
///
/// # Errors
/// Names the key that is not known.
pub fn parse_keys(keys: &str) -> Result<(), ConfigError> {
    if keys == POWER_BUTTON {
        return Ok(());
    }
    keys::parse(keys).map(|_| ()).map_err(|error| ConfigError::new(error.to_string()))
}

/// A deterministic PC. A plain value: it can be forked, sent to another thread, and dropped.
pub struct Machine {
    pub(crate) config: Arc<Config>,
    pub(crate) board: Board,
    pub(crate) processors: Processors,
    pub(crate) path: Path,
    /// What the machine was built from and no chip's state shows: it decides how the machine goes
    /// on, so it is part of the digest.
    pub(crate) wiring: Arc<[String]>,
    /// Resets so far, for the `reset` condition.
    pub(crate) resets: u64,
}

impl Machine {
    pub(crate) fn assemble(
        config: Config,
        board: Board,
        processors: Processors,
        wiring: Vec<String>,
    ) -> Machine {
        let path = config.path;
        let config = Arc::new(config);
        let mut machine = Machine { config, board, processors, path, wiring: wiring.into(), resets: 0 };
        machine.board.reset_chips(ResetKind::PowerOn);
        machine.board.draw();
        for cpu in machine.processors.cpus() {
            cpu.reset();
            cpu.map_changed();
        }
        machine.settle();
        machine
    }

    /// Builds a machine and switches it on; it stands at its reset vector.
    ///
    /// # Errors
    /// One sentence about what in `config` cannot be had.
    pub fn new(config: &Config) -> Result<Machine, ConfigError> {
        build::build(config)
    }

    /// A copy that shares memory pages and decoded code until one of the two changes them. Takes
    /// microseconds, whatever the size of memory.
    #[must_use]
    pub fn fork(&mut self) -> Machine {
        self.drop_written_code();
        Machine {
            config: self.config.clone(),
            board: self.board.fork(),
            processors: self.processors.fork(),
            path: self.path,
            wiring: self.wiring.clone(),
            resets: self.resets,
        }
    }

    /// Puts this machine into the state of `fork`, logs included: as if it were dropped and `fork`
    /// were forked in its place, but faster, because what this machine has of its own and is true of
    /// `fork` too (decoded code) or can be used again (memory) stays. Costs what the two have written
    /// since they were one.
    ///
    /// Any machine will do; one that is no relative is simply forked. `&mut`, because pages that
    /// `fork` has written become shared; its state does not change.
    pub fn return_to(&mut self, fork: &mut Machine) {
        self.drop_written_code();
        fork.drop_written_code();
        let as_many = self.processors.count() == fork.processors.count();
        if !as_many || !self.board.memory.is_laid_out_as(&fork.board.memory) {
            *self = fork.fork();
            return;
        }
        // Named one by one, so that a new field is not forgotten.
        let watched = self.board.observer.is_some() || fork.board.observer.is_some();
        let Machine { config, board, processors, path, wiring, resets } = self;
        let (ours, theirs) = (&board.memory, &fork.board.memory);
        processors.return_to(&fork.processors, |frame| !ours.shares(theirs, warmboot_memory::Frame(frame.0)));
        board.return_to(&mut fork.board);
        config.clone_from(&fork.config);
        wiring.clone_from(&fork.wiring);
        (*path, *resets) = (fork.path, fork.resets);
        if watched {
            self.follow_watches();
        }
    }

    /// Tells the processors of code that bus masters have overwritten.
    fn drop_written_code(&mut self) {
        for (frame, offset, length) in self.board.written.drain(..) {
            self.processors.cpus().for_each(|cpu| cpu.code_written(frame, offset, length));
        }
    }

    /// Runs until one of `until` is met, the machine stops, or a limit is reached.
    ///
    /// # Errors
    /// When a condition cannot come true on this machine, such as text on a screen it does not have,
    /// or when the machine was made to be looked at only, without its disk images.
    pub fn run(&mut self, until: &[Condition], limits: Limits) -> Result<Ended, ConfigError> {
        if let Some(observer) = &mut self.board.observer {
            observer.trace(false, false);
        }
        self.run_with(until, limits, None)
    }

    /// As [`Machine::run`], with a tracer that is told what the machine does. No digest depends on it.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn run_traced(
        &mut self,
        until: &[Condition],
        limits: Limits,
        tracer: &mut dyn Tracer,
    ) -> Result<Ended, ConfigError> {
        // What was done between runs.
        self.tell_records(tracer);
        let ended = self.run_with(until, limits, Some(tracer));
        self.tell_records(tracer);
        self.processors.cpus().for_each(|cpu| cpu.record_occurrences(false));
        ended
    }

    fn run_with(
        &mut self,
        until: &[Condition],
        limits: Limits,
        mut tracer: Option<&mut dyn Tracer>,
    ) -> Result<Ended, ConfigError> {
        if let Some(drive) = self.config.drives.iter().find(|drive| !drive.source.is_present()) {
            return Err(ConfigError::new(format!(
                "this machine was loaded without the image of drive {} (`{}`), so it cannot run on",
                drive.at, drive.name
            )));
        }
        let mut watch = Watch::new(self, until)?;
        let slice_end = limits.slice.map(|slice| self.board.clock.instructions.saturating_add(slice));
        for cpu in self.processors.cpus() {
            cpu.set_address_breakpoints(watch.addresses.iter().map(|(_, breakpoint)| *breakpoint).collect());
        }
        loop {
            if let Some(ended) = self.after_run(&mut watch) {
                return Ok(ended);
            }
            self.run_due();
            if let Some(ended) = self.after_run(&mut watch) {
                return Ok(ended);
            }
            if let Some(condition) = watch.met(self) {
                return Ok(Ended::Condition(condition));
            }
            let count = self.board.clock.instructions;
            let now = self.board.now().0;
            if limits.instructions.is_some_and(|limit| count >= limit) {
                return Ok(Ended::Limit);
            }
            if limits.time.is_some_and(|limit| now >= limit) {
                return Ok(Ended::LimitTime);
            }
            if slice_end.is_some_and(|end| count >= end) {
                return Ok(Ended::Slice);
            }

            self.processors.wake(&self.board);
            let event = self.board.next_event().map(|(moment, _)| moment.0);
            let Some(Turn { processor, from, until }) = self.processors.turn(event) else {
                if let Some(ended) = self.all_wait(&mut watch, limits) {
                    return Ok(ended);
                }
                continue;
            };
            // What the host waits for cuts a turn, and changes nothing about whose it is.
            let mut budget = until.saturating_sub(from);
            for horizon in [limits.time, watch.time, watch.screen]
                .into_iter()
                .flatten()
                .filter(|horizon| *horizon > from)
            {
                budget = budget.min(horizon - from);
            }
            for horizon in [limits.instructions, watch.instructions, slice_end].into_iter().flatten() {
                budget = budget.min(horizon.saturating_sub(count));
            }
            let stop = match &mut tracer {
                None => {
                    let run = self.processors.run(processor, &mut self.board, budget.max(1), self.path);
                    run.map_or(Stop::Budget, |run| run.stop)
                }
                Some(tracer) => self.traced_turn(processor, budget, *tracer),
            };
            if stop == Stop::Halt {
                self.settle();
                self.processors.wake(&self.board);
            }
            self.board.clock.reach(self.processors.reached());
            match stop {
                Stop::Budget | Stop::Device => {}
                Stop::Shutdown => {
                    // An INIT that came with the last access wins over the shutdown cycle.
                    self.tell_processors();
                    if self.processors.get(processor).is_some_and(|processor| !processor.cpu.can_run()) {
                        self.pull(ResetPath::TripleFault);
                    }
                }
                Stop::Address => {
                    let state = self.processors.get(processor).map(|processor| processor.cpu.state());
                    if let Some(condition) = state.and_then(|state| watch.address_met(state)) {
                        return Ok(Ended::Condition(condition));
                    }
                }
                Stop::Halt => {
                    if let Some(ended) = self.all_wait(&mut watch, limits) {
                        return Ok(ended);
                    }
                }
            }
        }
    }

    /// When all processors wait, time jumps to whatever comes first. Gives the end of the run when
    /// nothing will.
    fn all_wait(&mut self, watch: &mut Watch, limits: Limits) -> Option<Ended> {
        if self.processors.iter().any(|processor| !processor.waits) || self.board.reset_request.is_some() {
            return None;
        }
        let wakes = self.processors.states().enumerate().any(|(index, state)| {
            state.activity == Activity::Halted && state.flags.interrupt() && self.board.can_wake(index)
        });
        // Nothing changes until the next event, so that one look is enough.
        if let Some(condition) = watch.screen_met(self) {
            return Some(Ended::Condition(condition));
        }
        if !wakes {
            return Some(self.after_run(watch).unwrap_or(Ended::Halt));
        }
        let event = self.board.next_event().map(|(moment, _)| moment.0);
        if let Some(next) = [limits.time, watch.time, event].into_iter().flatten().min() {
            self.board.clock.reach(next);
        }
        None
    }

    /// Runs chips' deadlines that have come.
    pub(crate) fn run_due(&mut self) {
        self.board.run_events();
        self.settle();
    }

    /// Brings what the board asks for to the processor: map, A20, code written by bus masters,
    /// signals.
    pub(crate) fn settle(&mut self) {
        if self.board.redraw {
            self.board.draw();
            self.processors.cpus().for_each(Cpu::map_changed);
            if self.board.observer.is_some() {
                self.board.look();
                self.follow_watches();
            }
        }
        if self.board.a20_changed {
            self.board.a20_changed = false;
            let open = self.board.wires.a20;
            self.processors.cpus().for_each(|cpu| cpu.set_a20(open));
        }
        self.drop_written_code();
        self.tell_processors();
    }

    fn tell_processors(&mut self) {
        for Sent { processor, signal } in self.board.signals.drain(..) {
            let Some(processor) = self.processors.get_mut(processor) else { continue };
            let cpu = &mut processor.cpu;
            match signal {
                Signal::Nmi => cpu.signal_nmi(),
                Signal::Smi if !self.board.generation.smi => {}
                Signal::Smi => cpu.signal_smi(),
                Signal::Init => cpu.signal_init(),
                Signal::StartUp(vector) => cpu.signal_sipi(vector),
                Signal::IgnoreNumericError => cpu.set_ignore_numeric_error(true),
            }
        }
    }

    /// Applies what the last instruction asked of the whole machine.
    fn after_run(&mut self, watch: &mut Watch) -> Option<Ended> {
        self.settle();
        if let Some(status) = self.board.debug_exit.take() {
            return Some(Ended::DebugExit(status));
        }
        if std::mem::take(&mut self.board.panicked) {
            return Some(watch.panic().unwrap_or(Ended::GuestPanicked));
        }
        match self.board.wires.power {
            PowerState::On => {}
            PowerState::Off => return Some(watch.shutdown().unwrap_or(Ended::PowerOff)),
            PowerState::Suspended => return Some(watch.suspend().unwrap_or(Ended::Suspended)),
        }
        if let Some(path) = self.board.reset_request.take() {
            self.pull(path);
        }
        None
    }

    /// Resets the machine by `path`, as its generation's table says.
    ///
    /// # Errors
    /// One sentence when the machine's power state does not let a reset by `path` happen.
    pub fn reset(&mut self, path: ResetPath) -> Result<(), ConfigError> {
        let fits = match self.board.wires.power {
            PowerState::On => path != ResetPath::S3Resume,
            PowerState::Off => {
                return Err(ConfigError::new(format!("reset {path}: the machine is switched off")));
            }
            // Nobody runs who could pull another.
            PowerState::Suspended => matches!(path, ResetPath::S3Resume | ResetPath::System),
        };
        if !fits {
            let state = if path == ResetPath::S3Resume { "not suspended" } else { "suspended" };
            return Err(ConfigError::new(format!("reset {path}: the machine is {state}")));
        }
        self.pull(path);
        Ok(())
    }

    /// Does what the generation's table says of `path`.
    pub(crate) fn pull(&mut self, path: ResetPath) {
        let ResetRow { processor, chips } = self.board.generation.reset(path);
        self.board.reset_request = None;
        self.board.signals.clear();
        self.board.outside(|_| Writer::Reset(path));
        self.board.attachments.reset_hit = Some(path);
        if chips == Chips::All {
            self.board.reset_chips(ResetKind::System);
            self.restore_bios();
            self.board.wires.power = PowerState::On;
            self.resets += 1;
        }
        // Signals raised while chips were being reset belong to the machine before it.
        self.board.signals.clear();
        self.board.reset_request = None;
        match processor {
            Processor::Reset => {
                let now = self.board.now();
                let latest = self.processors.iter().map(|processor| processor.time).max().unwrap_or(0);
                self.processors.set_time(latest.max(now.0));
                self.board.clock.reach(latest);
                for (index, cpu) in self.processors.cpus().enumerate() {
                    cpu.reset();
                    self.board.set_apic_base(index, cpu.state().msrs.apic_base, now);
                }
            }
            Processor::Init => {
                for (index, cpu) in self.processors.cpus().enumerate() {
                    if let Some(apic) = self.board.local_apic_of_mut(index) {
                        apic.init();
                    }
                    cpu.signal_init();
                }
            }
        }
        if path == ResetPath::S3Resume {
            self.board.wires.power = PowerState::On;
            self.board.wake();
        }
        self.board.redraw = true;
        self.settle();
        self.board.look();
    }

    /// Begins to record every write to what is watched, for [`Machine::history`]; gives the number of
    /// the watch. What the machine does does not depend on it. Forks go on watching.
    ///
    /// # Errors
    /// No bytes, more than 64 KiB of them, or a chip or register that is not there.
    pub fn watch(&mut self, watched: &Watched) -> Result<usize, ConfigError> {
        let mut observer = self.board.observer.take().unwrap_or_default();
        let seen = Seen { memory: &self.board.memory, view: &self.board.views.memory };
        let number = observer.watch(watched, seen, &self.board.slots);
        self.observe(observer);
        number
    }

    /// Keeps at most `limit` events of the history; the rest are counted.
    pub fn limit_history(&mut self, limit: usize) {
        self.board.observer.get_or_insert_default().set_limit(limit);
    }

    /// What has been written to what is watched.
    #[must_use]
    pub fn history(&self) -> History<'_> {
        self.board.observer.as_deref().map_or(History { events: &[], more: 0 }, Observer::history)
    }

    /// Goes on with the watches and the history of `from`, whose state this machine has loaded: what
    /// is different here is recorded as the load's doing.
    pub fn continue_history(&mut self, from: &Machine) {
        let Some(mut observer) = from.board.observer.clone() else { return };
        // Pages are numbered otherwise here.
        observer.record_written(false);
        self.observe(observer);
        self.board.outside(|_| Writer::Load);
        self.board.look();
        self.follow_watches();
    }

    /// Begins to record which bytes of RAM are written, from none, or forgets them. The run is slower
    /// meanwhile.
    pub fn record_written(&mut self, on: bool) {
        let mut observer = self.board.observer.take().unwrap_or_default();
        observer.record_written(on);
        self.observe(observer);
    }

    /// The bytes of RAM that processor and bus masters have written since recording began. What a reset
    /// puts back is not among them.
    #[must_use]
    pub fn written(&self) -> Option<&WrittenBytes> {
        self.board.observer.as_deref().and_then(Observer::written)
    }

    fn observe(&mut self, observer: Box<Observer>) {
        self.board.observer = Some(observer);
        self.follow_watches();
    }

    /// Asks the processor to tell of what is observed.
    pub(crate) fn follow_watches(&mut self) {
        let observer = self.board.observer.as_deref();
        let observed = observer.map_or_else(Observed::default, |o| o.observed(&self.board.memory));
        self.processors.cpus().for_each(|cpu| cpu.observe(observed.clone()));
    }

    /// Writes the BIOS image into pc.bios afresh, where the guest could have changed it and this
    /// generation still has the image.
    fn restore_bios(&mut self) {
        let generation = &self.board.generation;
        if generation.bios_restored && generation.bios_writable() {
            // The block has the image's size, so it cannot refuse.
            let _ = self.board.memory.write_block(self.board.blocks.bios, 0, &self.config.firmware.bytes);
            self.processors.cpus().for_each(Cpu::frames_changed);
        }
    }

    /// Presses the power button: ACPI's PWRBTN_STS, and an interrupt if the guest has enabled it.
    ///
    /// # Errors
    /// One sentence when the machine has no power or no such button.
    pub fn press_power_button(&mut self) -> Result<(), ConfigError> {
        let state = match self.board.wires.power {
            PowerState::On => return self.board.press_power_button(),
            PowerState::Off => "switched off",
            PowerState::Suspended => "suspended; `s3-resume` wakes it",
        };
        Err(ConfigError::new(format!("power-button: the machine is {state}")))
    }

    /// Presses and releases keys on the PS/2 keyboard, as real scan codes: `ctrl-alt-delete`, `a`.
    /// They go down at once, in order, and up one after the other from 100 ms on. `power-button` is
    /// the button on the case.
    ///
    /// # Errors
    /// Names the key that is not known; see also [`Machine::press_power_button`].
    pub fn press(&mut self, keys: &str) -> Result<(), ConfigError> {
        if keys == POWER_BUTTON {
            return self.press_power_button();
        }
        self.press_and_hold(keys, i8042::HOLD_NS)
    }

    /// As [`Machine::press`], with `hold` nanoseconds before each release.
    ///
    /// # Errors
    /// Names the key that is not known.
    pub fn press_and_hold(&mut self, keys: &str, hold: u64) -> Result<(), ConfigError> {
        let keys = keys::parse(keys).map_err(|error| ConfigError::new(error.to_string()))?;
        self.board.outside(|_| Writer::Host);
        let taken = self.board.host_access(
            |device| matches!(device, Device::I8042(_)),
            |device, fx| match device {
                Device::I8042(controller) => controller.press(&keys, hold, fx),
                _ => false,
            },
        );
        self.settle();
        match taken {
            Some(true) => Ok(()),
            Some(false) => Err(ConfigError::new("the keyboard's buffer is full: the guest does not read it")),
            None => Err(ConfigError::new("this machine has no keyboard")),
        }
    }

    /// Instructions retired since power-on.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.board.clock.instructions
    }

    /// Nanoseconds of virtual time since power-on.
    #[must_use]
    pub fn virtual_time(&self) -> u64 {
        self.board.clock.nanoseconds
    }

    /// Everything written to the debug port.
    #[must_use]
    pub fn debug_log(&self) -> &[u8] {
        &self.board.attachments.debug_log
    }

    /// Everything sent by COM1.
    #[must_use]
    pub fn serial_log(&self) -> &[u8] {
        &self.board.attachments.serial_log
    }

    /// Everything printed by LPT1.
    #[must_use]
    pub fn parallel_log(&self) -> &[u8] {
        &self.board.attachments.parallel_log
    }

    /// Accesses to what is not there: the first ones, and how many more there were.
    #[must_use]
    pub fn notes(&self) -> (&[String], u64) {
        (&self.board.attachments.notes, self.board.attachments.notes_dropped)
    }

    /// Whether the machine has power.
    #[must_use]
    pub fn power(&self) -> PowerState {
        self.board.wires.power
    }

    /// Guest resets and host resets so far.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// What the machine was built from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The machine type it is of.
    #[must_use]
    pub fn machine_type(&self) -> &'static MachineType {
        self.board.machine_type
    }

    /// The emulator generation it behaves like.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.board.generation
    }

    /// The first processor's architectural state.
    #[must_use]
    pub fn processor(&self) -> &State {
        self.processors.first().state()
    }

    /// The architectural state of each processor, by number.
    pub fn processors(&self) -> impl Iterator<Item = &State> {
        self.processors.states()
    }

    /// All guest memory: named blocks and their pages, to be read.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.board.memory
    }

    /// What answers each physical address as the processor sees it outside SMM.
    #[must_use]
    pub fn view(&self) -> &FlatView {
        &self.board.views.memory
    }

    /// A chip's whole saved state, with named registers.
    #[must_use]
    pub fn chip_state(&self, chip: &str) -> Option<serde_json::Value> {
        self.board.slots.iter().find(|slot| slot.name == chip)?.device.state().ok()
    }

    /// The wires between chips, by name: `interrupts`, `pic_interrupt`, `a20`, `power`.
    #[must_use]
    pub fn wires(&self) -> serde_json::Value {
        serde_json::to_value(&self.board.wires).unwrap_or_default()
    }

    /// Writes physical memory as a bus master would; where no RAM takes it, it is lost.
    pub fn write_memory(&mut self, physical: u64, bytes: &[u8]) {
        self.board.outside(|_| Writer::Host);
        self.board.lend().write(physical, bytes);
        self.settle();
    }

    /// Reads physical memory without side effects; where no RAM or ROM answers, FFh.
    pub fn read_memory(&self, physical: u64, bytes: &mut [u8]) {
        self.board.peek(physical, bytes);
    }

    /// A processor register by its name, in lower case: `eax` is the first processor's, `cpu1.eax` the
    /// second's.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<u64> {
        let (processor, name) = crate::registers::processor_of(name);
        crate::registers::read(self.processors.get(processor)?.cpu.state(), name)
    }

    /// A chip's register by name: a path of names and indices into its state, joined by `.`.
    #[must_use]
    pub fn chip_register(&self, chip: &str, register: &str) -> Option<serde_json::Value> {
        let state = self.chip_state(chip)?;
        register_of(&state, register).cloned()
    }

    /// The names of the machine's chips.
    pub fn chips(&self) -> impl Iterator<Item = &'static str> {
        self.board.slots.iter().map(|slot| slot.name)
    }

    /// The 256 bytes of PCI configuration space of each function, by device and function.
    pub fn pci_config(&self) -> impl Iterator<Item = ((u8, u8), &[u8])> {
        self.board.slots.iter().filter_map(|slot| {
            let devfn = slot.devfn?;
            let config = slot.device.chip().pci_config()?;
            Some(((devfn >> 3, devfn & 7), config.bytes()))
        })
    }

    /// The flat views as text, as `info mtree -f` of QEMU prints them.
    #[must_use]
    pub fn memory_map(&self) -> String {
        self.board.memory_map()
    }

    /// Sectors of a drive the guest has written: offset and bytes.
    #[must_use]
    pub fn disk_writes(&self, at: config::Slot) -> Vec<(u64, Vec<u8>)> {
        let overlay = match at {
            config::Slot::Ide { channel, unit } if self.board.ide().is_some() => {
                self.board.ide().and_then(|ide| ide.overlay(channel, unit))
            }
            config::Slot::Ide { .. } | config::Slot::Sata(_) => {
                self.board.ahci().zip(at.sata_port()).and_then(|(ahci, port)| ahci.overlay(port))
            }
            config::Slot::Floppy(unit) => self.board.floppy().and_then(|floppy| floppy.overlay(unit)),
            config::Slot::Virtio(number) => self.board.slots.iter().find_map(|slot| match &*slot.device {
                Device::VirtioBlk(virtio)
                    if Some(&slot.name) == build::VIRTIO_DISKS.get(usize::from(number)) =>
                {
                    Some(virtio.function().overlay())
                }
                _ => None,
            }),
        };
        let written = overlay.into_iter().flat_map(warmboot_chipset::disk::Overlay::written);
        written.map(|(offset, bytes)| (offset, bytes.to_vec())).collect()
    }
}

/// What a run waits for, and how far it has looked.
struct Watch {
    conditions: Vec<Condition>,
    debug_from: usize,
    serial_from: usize,
    parallel_from: usize,
    resets: u64,
    time: Option<u64>,
    /// When to look at the screen next, if that is waited for.
    screen: Option<u64>,
    instructions: Option<u64>,
    addresses: Vec<(usize, Breakpoint)>,
}

/// How often the screen is looked at, in virtual nanoseconds: at whole multiples, so that the moment does
/// not depend on how a run is divided.
const SCREEN_LOOK_NS: u64 = 1_000_000;

impl Watch {
    fn new(machine: &mut Machine, until: &[Condition]) -> Result<Watch, ConfigError> {
        let mut ports = Vec::new();
        for condition in until {
            match condition {
                Condition::Screen(_) if machine.screen_text().is_none() => {
                    return Err(ConfigError::new(format!(
                        "condition `{condition}`: this machine has no display adapter, so no screen"
                    )));
                }
                Condition::Serial(_) if machine.board.uart().is_none() => {
                    return Err(ConfigError::new(format!(
                        "condition `{condition}`: this machine has no serial port; ask for one"
                    )));
                }
                Condition::Parallel(_) if machine.board.parallel().is_none() => {
                    return Err(ConfigError::new(format!(
                        "condition `{condition}`: this machine has no parallel port; ask for one"
                    )));
                }
                Condition::GuestPanicked if machine.board.pvpanic().is_none() => {
                    return Err(ConfigError::new(format!(
                        "condition `{condition}`: this machine has no panic port; ask for one"
                    )));
                }
                Condition::Port { port, value } => ports.push((*port, *value)),
                _ => {}
            }
        }
        machine.board.attachments.port_watch = ports;
        machine.board.attachments.port_hit = None;
        machine.board.attachments.reset_hit = None;
        let least = |pick: fn(&Condition) -> Option<u64>| until.iter().filter_map(pick).min();
        Ok(Watch {
            conditions: until.to_vec(),
            debug_from: machine.debug_log().len(),
            serial_from: machine.serial_log().len(),
            parallel_from: machine.parallel_log().len(),
            resets: machine.resets,
            time: least(|condition| match condition {
                Condition::Time(at) => Some(*at),
                _ => None,
            }),
            screen: until
                .iter()
                .any(|condition| matches!(condition, Condition::Screen(_)))
                .then(|| machine.virtual_time().next_multiple_of(SCREEN_LOOK_NS)),
            instructions: least(|condition| match condition {
                Condition::Instructions(at) => Some(*at),
                _ => None,
            }),
            addresses: until
                .iter()
                .enumerate()
                .filter_map(|(index, condition)| match condition {
                    Condition::Address(address) => Some((index, breakpoint(*address))),
                    _ => None,
                })
                .collect(),
        })
    }

    /// The first condition, in the order given, that holds now.
    fn met(&mut self, machine: &mut Machine) -> Option<Condition> {
        let now = machine.virtual_time();
        if self.screen.is_some_and(|look| now >= look) {
            self.screen = Some((now + 1).next_multiple_of(SCREEN_LOOK_NS));
            if let Some(condition) = self.screen_met(machine) {
                return Some(condition);
            }
        }
        let port_hit = machine.board.attachments.port_hit.take();
        let hit_port = port_hit.and_then(|index| machine.board.attachments.port_watch.get(index).copied());
        let hit_reset = machine.board.attachments.reset_hit.take();
        let (debug, serial, parallel) = (machine.debug_log(), machine.serial_log(), machine.parallel_log());
        let found = self.conditions.iter().find(|condition| match condition {
            Condition::Debug(text) => completed(debug, self.debug_from, text),
            Condition::Serial(text) => completed(serial, self.serial_from, text),
            Condition::Parallel(text) => completed(parallel, self.parallel_from, text),
            Condition::Port { port, value } => hit_port == Some((*port, *value)),
            Condition::Instructions(at) => machine.instructions() >= *at,
            Condition::Time(at) => machine.virtual_time() >= *at,
            Condition::Reset => machine.resets > self.resets,
            Condition::ResetBy(path) => hit_reset == Some(*path),
            Condition::Screen(_)
            | Condition::Address(_)
            | Condition::Halt
            | Condition::Shutdown
            | Condition::GuestPanicked
            | Condition::Suspend => false,
        });
        let found = found.cloned();
        self.debug_from = debug.len();
        self.serial_from = serial.len();
        self.parallel_from = parallel.len();
        found
    }

    /// The first condition whose text is on the screen now.
    fn screen_met(&self, machine: &Machine) -> Option<Condition> {
        let screen = self.screen.and_then(|_| machine.screen_text())?;
        let shows =
            |condition: &&Condition| matches!(condition, Condition::Screen(text) if screen.contains(text));
        self.conditions.iter().find(shows).cloned()
    }

    fn address_met(&self, state: &State) -> Option<Condition> {
        let (index, _) = self.addresses.iter().find(|(_, breakpoint)| breakpoint.matches(state))?;
        self.conditions.get(*index).cloned()
    }

    fn shutdown(&self) -> Option<Ended> {
        self.conditions.contains(&Condition::Shutdown).then_some(Ended::Condition(Condition::Shutdown))
    }

    fn panic(&self) -> Option<Ended> {
        self.conditions
            .contains(&Condition::GuestPanicked)
            .then_some(Ended::Condition(Condition::GuestPanicked))
    }

    fn suspend(&self) -> Option<Ended> {
        self.conditions.contains(&Condition::Suspend).then_some(Ended::Condition(Condition::Suspend))
    }
}

fn breakpoint(address: Address) -> Breakpoint {
    match address {
        Address::Linear(linear) => Breakpoint::Linear(linear),
        Address::Segmented(selector, offset) => Breakpoint::Far { selector, offset },
    }
}

/// Whether `text` ends in `log` at or after byte `from`: text may begin before it.
fn completed(log: &[u8], from: usize, text: &str) -> bool {
    if text.is_empty() || log.len() <= from {
        return false;
    }
    let start = (from + 1).saturating_sub(text.len());
    log.get(start..).is_some_and(|window| window.windows(text.len()).any(|part| part == text.as_bytes()))
}
