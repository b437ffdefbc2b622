//! Driving one machine: run to a condition, press keys and reset on the way.

use std::{collections::VecDeque, str::FromStr, sync::Arc};

use warmboot_machine::{Condition, ConfigError, Ended, Limits, Machine, ResetPath, Tracer};

use crate::{
    input::{Entry, Input, Recording},
    problem::InputError,
    typing::{LOOK_NS, Typing},
};

/// Something done to a running machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Keys pressed together and released, as `ctrl-alt-delete`.
    Press(String),
    /// Text typed on a US keyboard, each key as soon as the guest has taken the one before.
    Type(String),
    /// Text sent to the serial port, each byte as soon as there is room for it.
    Send(String),
    /// A reset by one of the paths.
    Reset(ResetPath),
}

/// An act with the condition at which it is done, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Action {
    /// What.
    pub act: Act,
    /// When.
    pub at: Condition,
}

impl Action {
    /// Parses `KEY@CONDITION`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn press(text: &str) -> Result<Action, InputError> {
        let (keys, at) = split(text, "press", "ctrl-alt-delete@debug:No bootable device")?;
        warmboot_machine::parse_keys(keys)?;
        Ok(Action { act: Act::Press(keys.to_owned()), at })
    }

    /// Parses `TEXT@CONDITION`; the text may have an `@` too.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn typed(text: &str) -> Result<Action, InputError> {
        let (typed, at) = split_text(text, "type")?;
        Typing::on_keyboard(typed).map_err(InputError)?;
        Ok(Action { act: Act::Type(typed.to_owned()), at })
    }

    /// Parses `TEXT@CONDITION`; the text may have an `@` too.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn sent(text: &str) -> Result<Action, InputError> {
        let (sent, at) = split_text(text, "send")?;
        Ok(Action { act: Act::Send(sent.to_owned()), at })
    }

    /// Parses `PATH@CONDITION`.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn reset(text: &str) -> Result<Action, InputError> {
        let (path, at) = split(text, "reset", "system@instructions:5M")?;
        Ok(Action { act: Act::Reset(path.parse()?), at })
    }
}

/// As [`split`], at the first `@` that a condition follows.
fn split_text<'a>(text: &'a str, what: &str) -> Result<(&'a str, Condition), InputError> {
    let parts = |(place, _)| Some((text.get(..place)?, text.get(place + 1..)?.parse().ok()?));
    match text.match_indices('@').find_map(parts) {
        Some((before, at)) if !before.is_empty() => Ok((before, at)),
        _ => split(text, what, "dir@serial:A:\\>"),
    }
}

fn split<'a>(text: &'a str, what: &str, example: &str) -> Result<(&'a str, Condition), InputError> {
    match text.split_once('@') {
        Some((act, condition)) if !act.is_empty() => Ok((act, Condition::from_str(condition)?)),
        _ => Err(InputError(format!("{what} `{text}`: expected WHAT@CONDITION, such as {example}"))),
    }
}

/// Instructions between two looks at the keyboard, the terminal and the logs: at the slowest that a guest
/// can be made to run, under a second.
pub const SLICE: u64 = 250_000;

/// How far to run, and what to do on the way.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The first of these met ends the run.
    pub until: Vec<Condition>,
    /// Each is done once, when its condition is first met. What fires an action does not also end
    /// the run: an `until` with the same text waits for the next time it is printed.
    pub actions: Vec<Action>,
    /// Ceilings.
    pub limits: Limits,
}

/// How a run came to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finish {
    /// In words, as reports have it: a condition, or `halt`, `power-off`, `debug-exit`,
    /// `guest-panic`, `limit`, `limit-time`, `quit`, `interrupted`.
    pub ended_by: String,
    /// What kind of end it was.
    pub end: End,
    /// Exit status written to the debug-exit port.
    pub debug_exit: Option<u32>,
    /// Actions whose condition never came, by their place in [`Plan::actions`].
    pub undone: Vec<usize>,
}

/// Kinds of ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// One of the `until` conditions was met.
    Met,
    /// The machine stopped by itself: halted for ever, switched off, suspended, debug exit. Or whoever was at
    /// its keyboard or terminal had seen enough.
    Stopped,
    /// A limit was met that no condition named.
    Limit,
    /// The watcher asked to stop.
    Interrupted,
}

/// Runs `machine` as `plan` says. `watch` is called after every slice and may stop the run by
/// returning false; without [`Limits::slice`] it is called only between actions.
///
/// # Errors
/// A condition the machine cannot have, or a key it does not know.
pub fn drive(
    machine: &mut Machine,
    plan: &Plan,
    watch: &mut dyn FnMut(&Machine) -> bool,
) -> Result<Finish, ConfigError> {
    Session::new(plan.clone()).drive(machine, watch)
}

/// A run in progress: its plan and what of it is still to come. A copy goes with a fork of the machine.
#[derive(Clone, Debug)]
pub struct Session {
    plan: Arc<Plan>,
    waiting: Vec<usize>,
    typing: VecDeque<(usize, Typing)>,
    /// The slice in progress: text is typed between slices, so that where else the host stops a run
    /// does not change it.
    slice: Option<Slice>,
    /// Recorded input that is still to come.
    coming: VecDeque<Input>,
    /// Input so far.
    entered: Vec<Input>,
    /// Somebody may still enter something.
    attended: bool,
}

#[derive(Clone, Debug)]
struct Slice {
    /// Instructions at its end.
    end: Option<u64>,
    /// When to look whether more can be typed.
    look: Option<Condition>,
}

/// Runs a machine up to a condition or a limit.
type Run<'a> = dyn FnMut(&mut Machine, &[Condition], Limits) -> Result<Ended, ConfigError> + 'a;

/// What came of [`Session::go_on`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The slice is over, or something of the plan was done: call again.
    More,
    /// Something else that was waited for.
    Met(Condition),
    /// The run is over.
    Finished(Finish),
}

impl Session {
    /// A run from its beginning.
    #[must_use]
    pub fn new(plan: Plan) -> Session {
        let waiting = (0..plan.actions.len()).collect();
        Session {
            waiting,
            typing: VecDeque::new(),
            slice: None,
            coming: VecDeque::new(),
            entered: Vec::new(),
            attended: false,
            plan: Arc::new(plan),
        }
    }

    /// Enters what was recorded in another run of the same machine and plan, at the same moments.
    pub fn repeat(&mut self, recording: Recording) {
        self.coming.extend(recording.0);
    }

    /// How many entries of a recording are still to come.
    #[must_use]
    pub fn coming(&self) -> usize {
        self.coming.len()
    }

    /// Says whether somebody may enter something: until then, or until [`Entry::Close`], a machine that waits
    /// for it has not halted for ever.
    pub fn attend(&mut self, attended: bool) {
        self.attended = attended;
    }

    /// Enters something now. To be had again, this must be where the last [`Session::go_on`] gave
    /// [`Progress::Met`] of a count or a time, and no entry of a recording is still to come.
    ///
    /// # Errors
    /// When the machine cannot take it.
    pub fn enter(&mut self, machine: &mut Machine, entry: Entry) -> Result<(), ConfigError> {
        let (instructions, time) = (machine.instructions(), machine.virtual_time());
        entry.enter(machine)?;
        self.attended &= entry != Entry::Close;
        match (self.entered.last_mut(), entry) {
            (
                Some(Input { instructions: count, time: then, entry: Entry::Send(bytes) }),
                Entry::Send(more),
            ) if (*count, *then) == (instructions, time) => {
                bytes.extend(more);
            }
            (_, entry) => self.entered.push(Input { instructions, time, entry }),
        }
        Ok(())
    }

    /// As [`Session::enter`] with [`Entry::Quit`]; gives the end of the run.
    pub fn quit(&mut self, machine: &Machine) -> Finish {
        let (instructions, time) = (machine.instructions(), machine.virtual_time());
        self.entered.push(Input { instructions, time, entry: Entry::Quit });
        Finish { ended_by: "quit".to_owned(), end: End::Stopped, debug_exit: None, undone: self.undone() }
    }

    /// What has been entered so far, from a recording and otherwise.
    #[must_use]
    pub fn recording(&self) -> Recording {
        Recording(self.entered.clone())
    }

    /// Runs `machine` to the end, as [`drive`] does.
    ///
    /// # Errors
    /// A condition the machine cannot have, or a key it does not know.
    pub fn drive(
        &mut self,
        machine: &mut Machine,
        watch: &mut dyn FnMut(&Machine) -> bool,
    ) -> Result<Finish, ConfigError> {
        self.drive_with(machine, watch, &mut |machine, until, limits| machine.run(until, limits))
    }

    /// As [`Session::drive`], with a tracer that is told what the machine does.
    ///
    /// # Errors
    /// As [`Session::drive`].
    pub fn drive_traced(
        &mut self,
        machine: &mut Machine,
        watch: &mut dyn FnMut(&Machine) -> bool,
        tracer: &mut dyn Tracer,
    ) -> Result<Finish, ConfigError> {
        self.drive_with(machine, watch, &mut |machine, until, limits| {
            machine.run_traced(until, limits, tracer)
        })
    }

    fn drive_with(
        &mut self,
        machine: &mut Machine,
        watch: &mut dyn FnMut(&Machine) -> bool,
        run: &mut Run<'_>,
    ) -> Result<Finish, ConfigError> {
        loop {
            let progress = self.go_on_with(machine, None, &[], run)?;
            if !watch(machine) {
                return Ok(self.interrupted());
            }
            if let Progress::Finished(finish) = progress {
                return Ok(finish);
            }
        }
    }

    /// Goes on until the plan's slice is over, something of the plan happens, or one of `also`; for
    /// `most` instructions at most. What the machine does depends on neither.
    ///
    /// # Errors
    /// A condition the machine cannot have, or a key it does not know.
    pub fn go_on(
        &mut self,
        machine: &mut Machine,
        most: Option<u64>,
        also: &[Condition],
    ) -> Result<Progress, ConfigError> {
        self.go_on_with(machine, most, also, &mut |machine, until, limits| machine.run(until, limits))
    }

    /// As [`Session::go_on`] without a most, with a tracer that is told what the machine does.
    ///
    /// # Errors
    /// As [`Session::go_on`].
    pub fn go_on_traced(
        &mut self,
        machine: &mut Machine,
        also: &[Condition],
        tracer: &mut dyn Tracer,
    ) -> Result<Progress, ConfigError> {
        self.go_on_with(machine, None, also, &mut |machine, until, limits| {
            machine.run_traced(until, limits, tracer)
        })
    }

    fn go_on_with(
        &mut self,
        machine: &mut Machine,
        most: Option<u64>,
        also: &[Condition],
        run: &mut Run<'_>,
    ) -> Result<Progress, ConfigError> {
        let plan = Arc::clone(&self.plan);
        let before = machine.instructions();
        let current = match self.slice.take() {
            Some(slice) => slice,
            None => Slice {
                look: type_on(machine, &mut self.typing)?,
                end: plan.limits.slice.map(|slice| before.saturating_add(slice)),
            },
        };
        let look = current.look.clone();
        let marks = self.coming.front().map(|input| input.marks(machine));
        machine.expect_input(self.attended || marks.is_some());
        let conditions: Vec<Condition> = self
            .waiting
            .iter()
            .filter_map(|&index| plan.actions.get(index))
            .map(|action| action.at.clone())
            .chain(plan.until.iter().cloned())
            .chain(look.clone())
            .chain(marks.iter().flatten().cloned())
            .chain(also.iter().cloned())
            .collect();
        let left = current.end.map(|end| end.saturating_sub(before));
        let slice = left.into_iter().chain(most).min();
        let ended = run(machine, &conditions, Limits { slice, ..plan.limits })?;
        if ended == Ended::Slice {
            self.slice =
                Some(current).filter(|slice| slice.end.is_none_or(|end| machine.instructions() < end));
            return Ok(Progress::More);
        }
        let (due, later): (Vec<usize>, Vec<usize>) = self
            .waiting
            .iter()
            .partition(|&&index| plan.actions.get(index).is_some_and(|action| is_met(&action.at, &ended)));
        self.waiting = later;
        for (index, action) in due.iter().filter_map(|&index| Some((index, plan.actions.get(index)?))) {
            match &action.act {
                Act::Press(keys) => machine.press(keys)?,
                Act::Type(text) => {
                    let typing = Typing::on_keyboard(text).map_err(ConfigError::new)?;
                    self.typing.push_back((index, typing));
                }
                Act::Send(text) => self.typing.push_back((index, Typing::on_serial(text))),
                Act::Reset(path) => machine.reset(*path)?,
            }
        }
        if !due.is_empty() {
            return Ok(Progress::More);
        }
        let named = plan.until.iter().find(|condition| is_met(condition, &ended));
        if named.is_none()
            && let Ended::Condition(condition) = &ended
        {
            if look.as_ref() == Some(condition) {
                return Ok(Progress::More);
            }
            if marks.iter().flatten().any(|mark| mark == condition) {
                self.slice = Some(current);
                return Ok(self.enter_due(machine)?.map_or(Progress::More, Progress::Finished));
            }
            if also.contains(condition) {
                self.slice = Some(current);
                return Ok(Progress::Met(condition.clone()));
            }
        }
        let end = match (&ended, named) {
            (_, Some(_)) => End::Met,
            (Ended::Limit | Ended::LimitTime, None) => End::Limit,
            _ => End::Stopped,
        };
        let debug_exit = if let Ended::DebugExit(status) = ended { Some(status) } else { None };
        let ended_by = named.map_or_else(|| ended.to_string(), Condition::to_string);
        Ok(Progress::Finished(Finish { ended_by, end, debug_exit, undone: self.undone() }))
    }

    /// Enters what was recorded for this moment; gives the end of the run if it was ended here.
    fn enter_due(&mut self, machine: &mut Machine) -> Result<Option<Finish>, ConfigError> {
        while let Some(input) = self.coming.front() {
            if !input.is_due(machine)? {
                break;
            }
            let Some(Input { entry, .. }) = self.coming.pop_front() else { break };
            if entry == Entry::Quit {
                return Ok(Some(self.quit(machine)));
            }
            let what = entry.to_string();
            self.enter(machine, entry).map_err(|why| {
                ConfigError::new(format!("the input `{what}` is not of this machine and run: {why}"))
            })?;
        }
        Ok(None)
    }

    /// How the run came to its end when somebody stopped it here.
    #[must_use]
    pub fn interrupted(&self) -> Finish {
        Finish {
            ended_by: "interrupted".to_owned(),
            end: End::Interrupted,
            debug_exit: None,
            undone: self.undone(),
        }
    }

    /// What did not come, and what has not been typed to its end.
    fn undone(&self) -> Vec<usize> {
        let typing = self.typing.iter().map(|(index, _)| *index);
        self.waiting.iter().copied().chain(typing).collect()
    }
}

/// Enters the next key or byte of what is being typed, once there is room; gives when to look again.
fn type_on(
    machine: &mut Machine,
    typing: &mut VecDeque<(usize, Typing)>,
) -> Result<Option<Condition>, ConfigError> {
    if let Some((_, text)) = typing.front_mut() {
        text.go_on(machine)?;
        if text.is_over() {
            typing.pop_front();
        }
    }
    let look = Condition::Time(machine.virtual_time().saturating_add(LOOK_NS));
    Ok((!typing.is_empty()).then_some(look))
}

/// Whether `ended` is what `condition` waits for. A machine that stops by itself meets the
/// conditions that are about that, whichever of the two the machine reports.
fn is_met(condition: &Condition, ended: &Ended) -> bool {
    match ended {
        Ended::Condition(met) => met == condition,
        Ended::Halt => *condition == Condition::Halt,
        Ended::PowerOff => *condition == Condition::Shutdown,
        Ended::Suspended => *condition == Condition::Suspend,
        Ended::GuestPanicked => *condition == Condition::GuestPanicked,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ctrl-alt-delete@debug:a@b", Some(Condition::Debug("a@b".into())))]
    #[case("a@halt", Some(Condition::Halt))]
    #[case("a", None)]
    #[case("@halt", None)]
    #[case("a@sometimes", None)]
    fn presses(#[case] text: &str, #[case] expect: Option<Condition>) {
        assert_eq!(Action::press(text).ok().map(|action| action.at), expect);
    }

    #[rstest]
    #[case("ls\n@serial:# ", Some("ls\n"))]
    #[case("é@halt", Some("é"))]
    #[case("@halt", None)]
    #[case("a@b", None)]
    fn sends(#[case] text: &str, #[case] expect: Option<&str>) {
        let act = Action::sent(text).ok().map(|action| action.act);
        assert_eq!(act, expect.map(|text| Act::Send(text.into())));
    }

    #[rstest]
    #[case("dir@serial:>", Some("dir"))]
    #[case("a@b@halt", Some("a@b"))]
    #[case("a@b", None)]
    #[case("@halt", None)]
    #[case("é@halt", None)]
    fn types(#[case] text: &str, #[case] expect: Option<&str>) {
        let act = Action::typed(text).ok().map(|action| action.act);
        assert_eq!(act, expect.map(|text| Act::Type(text.into())));
    }

    #[rstest]
    #[case("system@instructions:1M", Some(ResetPath::System))]
    #[case("hammer@instructions:1M", None)]
    fn resets(#[case] text: &str, #[case] expect: Option<ResetPath>) {
        let act = Action::reset(text).ok().map(|action| action.act);
        assert_eq!(act, expect.map(Act::Reset));
    }
}
