//! The terminal: changed while somebody is at it, and put back however the run ends.

use std::{
    io,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use ratatui::crossterm::{
    cursor::Show,
    execute,
    terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
};
use warmboot::scenario::problem::InputError;

/// Keys come one by one and are not echoed.
static RAW: AtomicBool = AtomicBool::new(false);
/// The alternate screen is shown.
static ALTERNATE: AtomicBool = AtomicBool::new(false);

/// A terminal that is not as it was; dropped, it is again.
#[derive(Debug)]
pub(crate) struct Changed(());

impl Changed {
    /// Every key comes as it is typed, those that otherwise end or stop a program too.
    pub(crate) fn raw() -> Result<Changed, InputError> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                print(panic);
            }));
        });
        enable_raw_mode().map_err(failed)?;
        RAW.store(true, Ordering::Relaxed);
        Ok(Changed(()))
    }

    /// And what is drawn goes to a screen of its own.
    pub(crate) fn alternate() -> Result<Changed, InputError> {
        let changed = Changed::raw()?;
        ALTERNATE.store(true, Ordering::Relaxed);
        execute!(io::stdout(), EnterAlternateScreen).map_err(failed)?;
        Ok(changed)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        restore();
    }
}

pub(crate) fn failed(error: io::Error) -> InputError {
    InputError::new(format!("cannot use the terminal: {error}"))
}

/// Puts back what was changed; again, it does nothing.
pub(crate) fn restore() {
    if RAW.swap(false, Ordering::Relaxed) {
        let _ = disable_raw_mode();
    }
    if ALTERNATE.swap(false, Ordering::Relaxed) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    }
}
