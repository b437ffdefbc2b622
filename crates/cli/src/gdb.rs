//! `boot --gdb`: the machine under gdb's remote serial protocol, over TCP.
//!
//! gdb sees registers and linear addresses as the guest does; where it stops changes nothing, so a run
//! that goes on to its end has the digest it has without gdb. Going back is in `gdb/past.rs`, registers
//! are in `gdb/registers.rs`.

mod past;
mod registers;
mod target;
mod watches;
mod wire;

use std::{
    io,
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    Machine,
    scenario::{
        problem::InputError,
        session::{Finish, Session},
    },
};
use gdbstub::{
    common::Signal,
    stub::{DisconnectReason, GdbStub, MultiThreadStopReason, state_machine::GdbStubStateMachine as Stub},
};

use self::{target::Target, wire::Wire};

/// How often a wait looks whether somebody wants it to end.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the server needs of the program it is part of.
#[derive(Clone, Copy)]
pub struct Host {
    /// Whether the user wants it to end.
    pub interrupted: fn() -> bool,
    /// Shows the user a message.
    pub say: fn(&str),
}

/// How a session with gdb ended.
pub enum Left {
    /// gdb has gone and lets the machine run.
    GoesOn,
    /// The run is over.
    Over(Finish),
}

/// Begins to listen at `ADDRESS:PORT`, and says where.
///
/// # Errors
/// An address that is none, or where nobody can listen.
pub fn listen(address: &str, host: Host) -> Result<TcpListener, InputError> {
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
        return Err(InputError::new(format!(
            "--gdb `{address}`: expected ADDRESS:PORT, such as 127.0.0.1:1234"
        )));
    }
    let bad = |error: io::Error| InputError::new(format!("--gdb: cannot listen at `{address}`: {error}"));
    let listener = TcpListener::bind(address).map_err(bad)?;
    let bound = listener.local_addr().map_err(bad)?;
    (host.say)(&format!("gdb: waiting for gdb -ex 'target remote {bound}'"));
    Ok(listener)
}

/// Waits for gdb, and does what it says until it leaves or the run is over. `watch` is called now and
/// then with a machine that has come further than ever; false ends the run.
///
/// # Errors
/// When the connection cannot be made, or the machine cannot do what its plan says.
pub fn serve(
    listener: TcpListener,
    host: Host,
    machine: &mut Machine,
    session: &mut Session,
    watch: &mut dyn FnMut(&Machine) -> bool,
) -> Result<Left, InputError> {
    let failed = |error: io::Error| InputError::new(format!("--gdb: {error}"));
    let Some(stream) = accept(&listener, host).map_err(failed)? else {
        return Ok(Left::Over(session.interrupted()));
    };
    // One gdb at a time: a second one is refused rather than kept waiting.
    drop(listener);
    let (wire, asks) = Wire::new(stream).map_err(failed)?;
    let mut target = Target::new(machine, session, asks, watch, host);
    let reason = talk(wire, &mut target, host);
    if let Some(error) = target.take_error() {
        return Err(error);
    }
    match reason {
        Ok(DisconnectReason::Disconnect) => (host.say)("gdb: detached"),
        Ok(DisconnectReason::Kill) => {
            return Ok(Left::Over(target.end().unwrap_or_else(|| target.interrupted())));
        }
        Ok(DisconnectReason::TargetExited(_) | DisconnectReason::TargetTerminated(_)) => {}
        Err(_) if (host.interrupted)() => return Ok(Left::Over(target.interrupted())),
        Err(why) => (host.say)(&format!("gdb: {why}; the run goes on without it")),
    }
    Ok(target.end().map_or(Left::GoesOn, Left::Over))
}

/// Waits for a connection; `None` when the user gave up.
fn accept(listener: &TcpListener, host: Host) -> io::Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    while !(host.interrupted)() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PATIENCE),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Speaks the protocol until one of the two ends it. The error says why it could not go on.
fn talk(wire: Wire, target: &mut Target<'_>, host: Host) -> Result<DisconnectReason, String> {
    let said = |error: gdbstub::stub::GdbStubError<String, io::Error>| error.to_string();
    let lost = |error: io::Error| format!("the connection is lost: {error}");
    let mut stub = GdbStub::new(wire).run_state_machine(target).map_err(said)?;
    loop {
        stub = match stub {
            Stub::Idle(mut stub) => {
                let byte = stub.borrow_conn().wait(host.interrupted).map_err(lost)?;
                stub.incoming_data(target, byte).map_err(said)?
            }
            Stub::Running(mut stub) => match stub.borrow_conn().poll().map_err(lost)? {
                Some(byte) => stub.incoming_data(target, byte).map_err(said)?,
                None => match target.go_on() {
                    Some(reason) => stub.report_stop(target, reason).map_err(said)?,
                    None => stub.into(),
                },
            },
            Stub::CtrlCInterrupt(stub) => {
                let reason =
                    MultiThreadStopReason::SignalWithThread { tid: target.current(), signal: Signal::SIGINT };
                target.stop();
                stub.interrupt_handled(target, Some(reason)).map_err(said)?
            }
            Stub::Disconnected(mut stub) => {
                // gdb waits for an answer to vKill, which gdbstub gives only in extended mode.
                if stub.get_reason() == DisconnectReason::Kill {
                    let _ = gdbstub::conn::Connection::write_all(stub.borrow_conn(), b"$OK#9a");
                }
                // Whoever is told of the end may have gone already.
                let _ = gdbstub::conn::Connection::flush(stub.borrow_conn());
                return Ok(stub.get_reason());
            }
        };
        if target.has_failed() || (host.interrupted)() {
            return Err("interrupted".to_owned());
        }
    }
}
