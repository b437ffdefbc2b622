//! `boot --fork-at CONDITION`: a copy of the machine is taken there and goes on after the machine itself has come
//! to its end. Both must end in one digest.

use warmboot::{
    Condition, Machine,
    scenario::{
        problem::InputError,
        session::{Finish, Progress, Session},
    },
};

use super::output;

/// A machine in the middle of its run.
pub(crate) struct Fork {
    machine: Machine,
    session: Session,
}

/// Runs up to `at` and takes the fork, or comes to the end before it.
pub(crate) fn take(
    at: &Condition,
    machine: &mut Machine,
    session: &mut Session,
    watch: &mut dyn FnMut(&Machine) -> bool,
) -> Result<Result<Fork, Finish>, InputError> {
    loop {
        let progress = session.go_on(machine, None, std::slice::from_ref(at))?;
        if !watch(machine) {
            return Ok(Err(session.interrupted()));
        }
        match progress {
            Progress::Met(_) => return Ok(Ok(Fork { machine: machine.fork(), session: session.clone() })),
            Progress::Finished(finish) => return Ok(Err(finish)),
            Progress::More => {}
        }
    }
}

impl Fork {
    /// Runs it to its end; whether that is the end that `machine` has come to.
    pub(crate) fn agrees(
        mut self,
        machine: &mut Machine,
        watch: &mut dyn FnMut(&Machine) -> bool,
    ) -> Result<bool, InputError> {
        self.session.drive(&mut self.machine, watch)?;
        let (expect, found) = (machine.digest(), self.machine.digest());
        if found != expect {
            output::complain(&format!(
                "--fork-at: the fork ended after {} instructions with digest {found}, not as the machine itself",
                self.machine.instructions()
            ));
        }
        Ok(found == expect)
    }
}
