//! Forks of the machine from its past, to go back to.
//!
//! Going back is going forth: from the last fork before the place, by running again. A run is
//! deterministic, so what is there then is what was there.

use crate::{Machine, scenario::session::Session};

/// At most this many forks are kept: many of the last moments, fewer the further back.
const MOST: usize = 32;
/// Instructions between two forks, at least.
const APART: u64 = 250_000;

/// A moment of the run.
pub(crate) struct Moment {
    pub machine: Machine,
    pub session: Session,
    /// Somebody changed the machine here: what comes after cannot be had from what comes before.
    changed: bool,
}

impl Moment {
    pub(crate) fn count(&self) -> u64 {
        self.machine.instructions()
    }
}

/// Moments in order; the first is where the history begins.
pub(crate) struct Past {
    moments: Vec<Moment>,
}

impl Past {
    /// A history that begins here.
    pub(crate) fn new(machine: &mut Machine, session: &Session) -> Past {
        Past { moments: vec![moment(machine, session, false)] }
    }

    /// How many instructions had been retired where the history begins.
    pub(crate) fn begin(&self) -> u64 {
        self.moments.first().map_or(0, Moment::count)
    }

    /// Keeps the present, unless a moment near it is kept already.
    pub(crate) fn keep(&mut self, machine: &mut Machine, session: &Session) {
        let now = machine.instructions();
        let place = self.moments.partition_point(|moment| moment.count() <= now);
        let before = place.checked_sub(1).and_then(|index| self.moments.get(index));
        let near = |moment: &Moment| moment.count().abs_diff(now) < APART;
        if before.is_some_and(near) || self.moments.get(place).is_some_and(near) {
            return;
        }
        self.moments.insert(place, moment(machine, session, false));
        self.thin(now);
    }

    /// Somebody has changed the machine: another future begins here.
    pub(crate) fn changed(&mut self, machine: &mut Machine, session: &Session) {
        let now = machine.instructions();
        self.moments.retain(|moment| moment.count() < now);
        self.moments.push(moment(machine, session, true));
        self.thin(now);
    }

    /// Drops the moment that is missed least: where its neighbours are near each other, measured by how
    /// far away they are.
    fn thin(&mut self, now: u64) {
        while self.moments.len() > MOST {
            let weight = |index: usize| {
                let at = |index: usize| self.moments.get(index).map_or(0, Moment::count);
                let gap = at(index + 1).saturating_sub(at(index - 1)) as f64;
                gap / (now.abs_diff(at(index)) + 1) as f64
            };
            let inner = 1..self.moments.len() - 1;
            let free = inner.filter(|&index| self.moments.get(index).is_some_and(|moment| !moment.changed));
            // Where all are changes, the history begins later.
            let least = free.min_by(|one, other| weight(*one).total_cmp(&weight(*other))).unwrap_or(0);
            self.moments.remove(least);
        }
    }

    /// The number of the last moment at which fewer than `count` instructions had been retired.
    pub(crate) fn before(&self, count: u64) -> Option<usize> {
        self.moments.partition_point(|moment| moment.count() < count).checked_sub(1)
    }

    /// Moment number `index`.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Moment> {
        self.moments.get_mut(index)
    }
}

fn moment(machine: &mut Machine, session: &Session, changed: bool) -> Moment {
    let mut fork = machine.fork();
    for processor in 0..fork.processors().count() {
        fork.step_over_address(processor, false);
    }
    Moment { machine: fork, session: session.clone(), changed }
}
