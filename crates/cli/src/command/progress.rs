//! Progress on a terminal; nothing where there is none.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// A line at the bottom of the terminal, or nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// A line for `steps` things to do (none: how many is not known).
    pub(crate) fn new(steps: Option<u64>, wanted: bool) -> Progress {
        let bar = if wanted && output::can_show_progress() {
            let template = match steps {
                Some(_) => "{bar:30} {pos}/{len} {msg}",
                None => "{spinner} {msg}",
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = steps.map_or_else(ProgressBar::new_spinner, ProgressBar::new).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        } else {
            ProgressBar::hidden()
        };
        Progress { bar, start: Instant::now() }
    }

    /// Shows how many instructions have been retired, and how fast.
    pub(crate) fn instructions(&self, count: u64) {
        if !self.bar.is_hidden() {
            let seconds = self.start.elapsed().as_secs_f64().max(1e-9);
            let millions = count as f64 / 1e6;
            self.bar.set_message(format!("{millions:.0} M instructions, {:.0} MIPS", millions / seconds));
        }
    }

    /// One of the steps is done.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// Does `print` with the line out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
