//! What goes from one machine into another that was built for it: all state but memory.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use warmboot_cpu::Cpu;

use super::{SnapshotError, config::is_false};
use crate::{
    Board, Machine,
    board::{Attachments, Sent, Wires},
    clock::Clock,
    migration::Unfit,
    reset::ResetPath,
};

/// All of a machine that is neither memory nor derived from its configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// Absolute time and count.
    pub clock: Clock,
    /// The first processor.
    pub processor: ProcessorSection,
    /// The others, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_processors: Vec<ProcessorSection>,
    /// The clocks of all, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processor_clocks: Vec<ProcessorClock>,
    /// Levels of lines between chips, A20, power.
    pub(crate) wires: Wires,
    /// Signals on their way to processors.
    pub(crate) signals: Vec<Sent>,
    /// A reset a chip has asked for and the machine has not made.
    pub(crate) reset_request: Option<ResetPath>,
    /// A debug exit asked for and not reported.
    pub(crate) debug_exit: Option<u32>,
    /// A panic said and not reported.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) panicked: bool,
    /// Resets so far.
    pub resets: u64,
    /// The first accesses to what is not there.
    pub notes: Vec<String>,
    /// How many more there were.
    pub notes_dropped: u64,
    /// The chips, in their order on the board.
    pub chips: Vec<ChipSection>,
}

/// A processor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorSection {
    /// CPU model.
    pub model: String,
    /// The next run steps over the breakpoint the last one stopped at.
    pub passed: bool,
    /// Architectural state.
    pub state: warmboot_cpu::State,
}

/// One of several processors' clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorClock {
    /// Its own virtual time, in nanoseconds.
    pub nanoseconds: u64,
    /// It has no turn until it is woken.
    pub waits: bool,
}

/// One chip.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipSection {
    /// Name on the board.
    pub name: String,
    /// Version of the state's layout.
    pub version: u32,
    /// Registers by name.
    pub state: Value,
}

/// How carried state is taken.
pub(crate) enum Taking<'a> {
    /// All of it, by a machine built the same: what does not fit is an error.
    Exactly,
    /// What fits, by another machine: what does not is told.
    WhatFits(&'a mut Vec<Unfit>),
}

/// Largest count and time: a run from there on can still count.
const CLOCK_MOST: u64 = 1 << 62;

impl Machine {
    /// Takes down all state but memory.
    pub(crate) fn carry(&self) -> Result<Carried, SnapshotError> {
        // Every field is named here, so that none can be forgotten when one is added.
        let Machine { config: _, board, processors, path: _, wiring: _, resets } = self;
        let Board {
            generation: _,
            machine_type: _,
            memory: _,
            blocks: _,
            slots,
            views: _,
            clock,
            wires,
            attachments,
            processors: _,
            current: _,
            signals,
            reset_request,
            debug_exit,
            panicked,
            redraw: _,
            a20_changed: _,
            written: _,
            observer: _,
        } = board;
        let Attachments {
            debug_log: _,
            serial_log: _,
            parallel_log: _,
            notes,
            notes_dropped,
            port_watch: _,
            port_hit: _,
            reset_hit: _,
            input_expected: _,
        } = attachments;
        let chip = |slot: &crate::devices::Slot| {
            let state = slot.device.state().map_err(|error| SnapshotError::Chip {
                chip: slot.name.into(),
                reason: format!("its state cannot be written down: {error}"),
            })?;
            Ok(ChipSection { name: slot.name.into(), version: slot.device.chip().version(), state })
        };
        let section = |cpu: &Cpu<Board>| ProcessorSection {
            model: cpu.model().name.into(),
            passed: cpu.passed(),
            state: cpu.state().clone(),
        };
        let several = processors.iter().filter(|_| processors.count() > 1);
        Ok(Carried {
            clock: clock.clone(),
            processor: section(processors.first()),
            other_processors: processors.iter().skip(1).map(|processor| section(&processor.cpu)).collect(),
            processor_clocks: several
                .map(|processor| ProcessorClock { nanoseconds: processor.time, waits: processor.waits })
                .collect(),
            wires: wires.clone(),
            signals: signals.clone(),
            reset_request: *reset_request,
            debug_exit: *debug_exit,
            panicked: *panicked,
            resets: *resets,
            notes: notes.to_vec(),
            notes_dropped: *notes_dropped,
            chips: slots.iter().map(chip).collect::<Result<_, SnapshotError>>()?,
        })
    }

    /// Takes over state; memory must already be there. Then the map, A20 and interrupt lines are
    /// worked out from it.
    pub(crate) fn take(&mut self, carried: Carried, mut taking: Taking) -> Result<(), SnapshotError> {
        let Carried {
            clock,
            processor,
            other_processors,
            processor_clocks,
            wires,
            signals,
            reset_request,
            debug_exit,
            panicked,
            resets,
            notes,
            notes_dropped,
            chips,
        } = carried;
        check_clock(&clock)?;
        let known = self.processors.first().model().name;
        if processor.model != known {
            match &mut taking {
                Taking::Exactly => {
                    let reason = format!("has model `{}`: expected `{known}`", processor.model);
                    return Err(SnapshotError::Part { part: "processor", reason });
                }
                Taking::WhatFits(unfit) => {
                    unfit.push(Unfit::Model { sent: processor.model.clone(), kept: known.to_owned() });
                }
            }
        }
        self.take_processors(processor, other_processors, &processor_clocks, clock.nanoseconds)?;

        let names: Vec<String> = chips.iter().map(|chip| chip.name.clone()).collect();
        self.board.take_chips(chips, &mut taking)?;
        self.board.wires = self.board.rewire(wires, &names, &taking)?;
        self.board.clock = clock;
        self.board.signals = signals;
        self.board.reset_request = reset_request;
        self.board.debug_exit = debug_exit;
        self.board.panicked = panicked;
        self.board.attachments.notes = notes.into();
        self.board.attachments.notes_dropped = notes_dropped;
        self.board.written.clear();
        self.resets = resets;
        self.refresh();
        Ok(())
    }

    /// Gives each processor its section. There must be as many as this machine has.
    fn take_processors(
        &mut self,
        first: ProcessorSection,
        others: Vec<ProcessorSection>,
        clocks: &[ProcessorClock],
        now: u64,
    ) -> Result<(), SnapshotError> {
        let fail = |reason: String| Err(SnapshotError::Part { part: "processors", reason });
        let count = self.processors.count();
        let expected_clocks = if count > 1 { count } else { 0 };
        if others.len() + 1 != count || clocks.len() != expected_clocks {
            return fail(format!(
                "{} with {} clocks: expected {count} with {expected_clocks}",
                others.len() + 1,
                clocks.len()
            ));
        }
        if clocks.iter().any(|clock| clock.nanoseconds > CLOCK_MOST) {
            return fail(format!("a clock beyond {CLOCK_MOST} ns"));
        }
        let alone = [ProcessorClock { nanoseconds: now, waits: false }];
        let clocks = if clocks.is_empty() { &alone } else { clocks };
        let sections = std::iter::once(first).chain(others);
        for ((processor, section), clock) in self.processors.iter_mut().zip(sections).zip(clocks) {
            processor.cpu.restore(section.state, section.passed)?;
            (processor.time, processor.waits) = (clock.nanoseconds, clock.waits);
        }
        Ok(())
    }

    /// Works out again what is derived from state: the map, what the processors remember of it, A20.
    pub(crate) fn refresh(&mut self) {
        self.board.draw();
        let open = self.board.wires.a20;
        for cpu in self.processors.cpus() {
            cpu.frames_changed();
            cpu.set_a20(open);
        }
        self.board.a20_changed = false;
    }
}

fn check_clock(clock: &Clock) -> Result<(), SnapshotError> {
    let Clock { instructions, nanoseconds, extra: _, start: _ } = clock;
    if *instructions <= CLOCK_MOST && *nanoseconds <= CLOCK_MOST {
        return Ok(());
    }
    Err(SnapshotError::Part {
        part: "clock",
        reason: format!("{instructions} instructions, {nanoseconds} ns: expected at most {CLOCK_MOST}"),
    })
}

impl Board {
    /// Gives each chip its section, by name and version.
    fn take_chips(&mut self, chips: Vec<ChipSection>, taking: &mut Taking) -> Result<(), SnapshotError> {
        let mut missing: Vec<&'static str> = self.slots.iter().map(|slot| slot.name).collect();
        let mut expected = missing.clone().into_iter();
        for ChipSection { name, version, state } in chips {
            let slot = self.slots.iter_mut().find(|slot| slot.name == name);
            let in_order = expected.next() == Some(&*name);
            let Some(slot) = slot.filter(|_| in_order || matches!(taking, Taking::WhatFits(_))) else {
                match taking {
                    Taking::Exactly => {
                        let reason = "this machine has none at that place".to_owned();
                        return Err(SnapshotError::Chip { chip: name, reason });
                    }
                    Taking::WhatFits(unfit) => unfit.push(Unfit::ChipNotThere { chip: name }),
                }
                continue;
            };
            missing.retain(|other| *other != slot.name);
            take_chip(slot, version, state, taking)?;
        }
        for chip in missing {
            match taking {
                Taking::Exactly => {
                    let reason = "the snapshot has none".to_owned();
                    return Err(SnapshotError::Chip { chip: chip.into(), reason });
                }
                Taking::WhatFits(unfit) => unfit.push(Unfit::ChipNotSent { chip: chip.into() }),
            }
        }
        Ok(())
    }

    /// The wires, with the chips that drive each line found by their names.
    fn rewire(&self, wires: Wires, names: &[String], taking: &Taking) -> Result<Wires, SnapshotError> {
        let Wires { interrupts, pic_interrupt, a20, power } = wires;
        let driven = interrupts.iter().fold(0, |all, sources| all | sources);
        let beyond = names.len() > 64 || driven.checked_shr(names.len() as u32).unwrap_or(0) != 0;
        if beyond && let Taking::Exactly = taking {
            let reason = "an interrupt line is driven by a chip that is not there".to_owned();
            return Err(SnapshotError::Part { part: "wires", reason });
        }
        let place = |name: &String| self.slots.iter().position(|slot| slot.name == *name);
        let places: Vec<Option<usize>> = names.iter().map(place).collect();
        let moved = |sources: u64| {
            let driving = places.iter().enumerate().filter(|(from, _)| sources >> (from & 63) & 1 != 0);
            driving.filter_map(|(_, to)| *to).fold(0, |bits, to| bits | 1 << (to & 63))
        };
        Ok(Wires { interrupts: interrupts.map(moved), pic_interrupt, a20, power })
    }
}

/// Restores one chip. What comes back out of it must be what went in.
fn take_chip(
    slot: &mut crate::devices::Slot,
    version: u32,
    state: Value,
    taking: &mut Taking,
) -> Result<(), SnapshotError> {
    let chip = || slot.name.to_owned();
    let known = slot.device.chip().version();
    if version != known {
        return match taking {
            Taking::Exactly => {
                Err(SnapshotError::ChipVersion { chip: chip(), found: version, expected: known })
            }
            Taking::WhatFits(unfit) => {
                unfit.push(Unfit::ChipVersion { chip: chip(), sent: version, known });
                Ok(())
            }
        };
    }
    let failed = |error: serde_json::Error| error.to_string();
    let mut restored = slot.device.clone();
    let kept = restored.restore(state.clone()).and_then(|()| restored.state()).map_err(failed);
    match (kept, taking) {
        (Ok(kept), Taking::Exactly) if kept == state => slot.device = restored,
        (Ok(kept), Taking::Exactly) => {
            let mut differences = Vec::new();
            differ("", &state, &kept, &mut differences);
            let reason = differences.first().map_or(String::new(), |(register, sent, kept)| {
                format!("`{register}` is {sent}, which such a chip cannot have: it becomes {kept}")
            });
            return Err(SnapshotError::Chip { chip: chip(), reason });
        }
        (Ok(kept), Taking::WhatFits(unfit)) => {
            let mut differences = Vec::new();
            differ("", &state, &kept, &mut differences);
            unfit.extend(differences.into_iter().map(|(register, sent, kept)| Unfit::Register {
                chip: chip(),
                register,
                sent,
                kept,
            }));
            slot.device = restored;
        }
        (Err(reason), Taking::Exactly) => return Err(SnapshotError::Chip { chip: chip(), reason }),
        (Err(reason), Taking::WhatFits(unfit)) => unfit.push(Unfit::ChipState { chip: chip(), reason }),
    }
    Ok(())
}

/// The registers in which two states differ: path, first value, second value.
fn differ(path: &str, sent: &Value, kept: &Value, into: &mut Vec<(String, Value, Value)>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (sent, kept) {
        (Value::Object(sent), Value::Object(kept)) => {
            for (name, value) in sent {
                differ(&join(name), value, kept.get(name).unwrap_or(&Value::Null), into);
            }
            for (name, value) in kept.iter().filter(|(name, _)| !sent.contains_key(*name)) {
                differ(&join(name), &Value::Null, value, into);
            }
        }
        (Value::Array(sent), Value::Array(kept)) if sent.len() == kept.len() => {
            for (index, (sent, kept)) in sent.iter().zip(kept).enumerate() {
                differ(&join(&index.to_string()), sent, kept, into);
            }
        }
        (sent, kept) if sent == kept => {}
        (sent, kept) => into.push((path.to_owned(), sent.clone(), kept.clone())),
    }
}
