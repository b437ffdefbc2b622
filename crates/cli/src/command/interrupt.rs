//! Ctrl+C ends a run in good order; a second one ends the process.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::terminal;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Begins to listen. Where that is not possible, Ctrl+C ends the process as ever.
pub(crate) fn listen() {
    let mut first: Option<Instant> = None;
    let _ = ctrlc::set_handler(move || {
        ASKED.store(true, Ordering::Relaxed);
        // One Ctrl+C may arrive twice: to the process and to its group.
        if first.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(300) {
            terminal::restore();
            std::process::exit(130);
        }
    });
}

/// Whether the user has asked to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
