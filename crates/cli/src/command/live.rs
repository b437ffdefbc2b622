//! A run with somebody at it: what they enter goes in between two instructions, and is recorded with the
//! moment, so that the run can be had again. Virtual time passes no faster than the host's meanwhile.

use std::time::{Duration, Instant};

use warmboot::{
    Condition, Machine,
    inspect::trace::Traces,
    scenario::{
        input::Entry,
        problem::InputError,
        session::{Finish, Progress, SLICE, Session},
    },
};

use super::interrupt;

/// Virtual time between two looks at what has been entered, at most.
const LOOK_NS: u64 = 2_000_000;
/// By how much virtual time may fall behind the host's and catch up.
const BEHIND: Duration = Duration::from_millis(100);
/// A wait looks this often whether the run shall end.
const PATIENCE: Duration = Duration::from_millis(20);

/// Somebody, or what stands for them.
pub(crate) trait Host {
    /// Whether they may still enter something.
    fn is_open(&self) -> bool;

    /// Whether virtual time shall pass no faster than theirs.
    fn is_paced(&self) -> bool;

    /// Takes note of what they do, for `patience` if they do nothing.
    fn look(&mut self, machine: &Machine, patience: Duration) -> Result<(), InputError>;

    /// They want the run to end.
    fn quits(&self) -> bool;

    /// What goes into the machine as it stands; `None` when there is nothing, or no room for it.
    fn next(&mut self, machine: &Machine) -> Option<Entry>;

    /// The machine could not take what they entered.
    fn refused(&mut self, why: &str);

    /// The run is over.
    fn over(&mut self, machine: &Machine, finish: &Finish) -> Result<(), InputError>;
}

/// Runs `machine` to its end, as [`Session::drive`] does, with `host` at it.
pub(crate) fn drive(
    machine: &mut Machine,
    session: &mut Session,
    host: &mut dyn Host,
    watch: &mut dyn FnMut(&Machine) -> bool,
    traces: &mut Traces,
) -> Result<Finish, InputError> {
    let finish = converse(machine, session, host, watch, traces)?;
    match finish {
        Some(finish) => {
            host.over(machine, &finish)?;
            Ok(finish)
        }
        // Nobody is there any more.
        None if traces.is_empty() => Ok(session.drive(machine, watch)?),
        None => Ok(session.drive_traced(machine, watch, traces)?),
    }
}

/// Goes on while `host` may enter something; gives the end of the run if it came before.
fn converse(
    machine: &mut Machine,
    session: &mut Session,
    host: &mut dyn Host,
    watch: &mut dyn FnMut(&Machine) -> bool,
    traces: &mut Traces,
) -> Result<Option<Finish>, InputError> {
    let mut pace = Pace::new(machine);
    while host.is_open() {
        session.attend(true);
        let also = [
            Condition::Instructions(machine.instructions().saturating_add(SLICE)),
            Condition::Time(machine.virtual_time().saturating_add(LOOK_NS)),
        ];
        loop {
            let progress = if traces.is_empty() {
                session.go_on(machine, None, &also)?
            } else {
                session.go_on_traced(machine, &also, traces)?
            };
            let goes_on = watch(machine);
            match progress {
                Progress::Finished(finish) => return Ok(Some(finish)),
                // Where a recording ends must be a place that can be found again.
                Progress::Met(_) if !goes_on => {
                    session.quit(machine);
                    return Ok(Some(session.interrupted()));
                }
                Progress::Met(_) => break,
                Progress::More => {}
            }
        }
        host.look(machine, Duration::ZERO)?;
        while host.is_paced()
            && host.is_open()
            && !interrupt::asked()
            && let Some(ahead) = pace.ahead(machine)
        {
            host.look(machine, ahead.min(PATIENCE))?;
        }
        // Whoever wants to leave need not wait until a recording is over.
        if host.quits() {
            return Ok(Some(session.quit(machine)));
        }
        while session.coming() == 0
            && let Some(entry) = host.next(machine)
        {
            // A reset may let time pass: what comes after it has another moment.
            let last = matches!(entry, Entry::Reset(_) | Entry::Close);
            if let Err(error) = session.enter(machine, entry) {
                host.refused(&error.to_string());
            }
            if last {
                break;
            }
        }
    }
    Ok(None)
}

/// Holds virtual time against the host's clock. What the host had no time for is not made up for, but for a
/// little.
struct Pace {
    /// A moment of both.
    virtual_time: u64,
    host_time: Instant,
}

impl Pace {
    fn new(machine: &Machine) -> Pace {
        Pace { virtual_time: machine.virtual_time(), host_time: Instant::now() }
    }

    /// By how much virtual time is ahead, if it is.
    fn ahead(&mut self, machine: &Machine) -> Option<Duration> {
        let passed = Duration::from_nanos(machine.virtual_time().saturating_sub(self.virtual_time));
        let host = self.host_time.elapsed();
        if let Some(behind) = host.checked_sub(passed).and_then(|behind| behind.checked_sub(BEHIND)) {
            self.host_time += behind;
        }
        passed.checked_sub(host).filter(|ahead| !ahead.is_zero())
    }
}
