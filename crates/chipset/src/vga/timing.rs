//! Where in the frame the beam is, from virtual time and the CRT controller's registers.

use super::Vga;
use crate::Moment;

/// Dot clocks in Hz: as miscellaneous output bits 3-2 select them. The other two are inputs that no
/// board of this kind has connected.
const DOT_CLOCKS: [u64; 4] = [25_175_000, 28_322_000, 25_175_000, 25_175_000];

/// Input status 1: no dot is shown, because of a horizontal or vertical blank.
pub(super) const DISPLAY_DISABLED: u8 = 1 << 0;
/// Input status 1: vertical retrace.
pub(super) const VERTICAL_RETRACE: u8 = 1 << 3;

/// One frame. Horizontal figures in dots, vertical ones in lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    clock: u64,
    line: u64,
    lines: u64,
    shown_dots: u64,
    shown_lines: u64,
    retrace: (u64, u64),
    /// Nanoseconds.
    pub(super) period: u64,
}

impl Frame {
    /// Nanoseconds since the frame at `now` began, when one began at `start`.
    pub(super) fn elapsed(&self, start: Moment, now: Moment) -> u64 {
        let since = (now.0 as i64).wrapping_sub(start.0 as i64);
        since.rem_euclid(self.period as i64) as u64
    }

    /// Input status 1 so many nanoseconds into the frame.
    pub(super) fn status(&self, into: u64) -> u8 {
        let dot = into * self.clock / 1_000_000_000;
        let (line, dot) = (dot / self.line, dot % self.line);
        let mut status = 0;
        if line >= self.shown_lines || dot >= self.shown_dots {
            status |= DISPLAY_DISABLED;
        }
        if (self.retrace.0..self.retrace.1).contains(&line) {
            status |= VERTICAL_RETRACE;
        }
        status
    }
}

impl Vga {
    /// A register of the CRT controller with its overflow bits: bit number in register 07h for each.
    fn vertical(&self, register: usize, overflow: &[u8]) -> u64 {
        let crt = &self.state.crt;
        let high = overflow.iter().rev().fold(0, |bits, bit| bits << 1 | u64::from(crt[7] >> bit & 1));
        u64::from(crt[register]) | high << 8
    }

    /// Last line shown.
    pub(super) fn last_line(&self) -> u64 {
        self.vertical(0x12, &[1, 6])
    }

    /// The frame that the registers make.
    pub(super) fn frame(&self) -> Frame {
        let crt = &self.state.crt;
        let clocking = self.state.sequencer[1];
        let dots = if clocking & 1 != 0 { 8 } else { 9 };
        let divided = u64::from(clocking >> 3 & 1);
        let clock = DOT_CLOCKS[usize::from(self.state.miscellaneous >> 2 & 3)] >> divided;
        let line = (u64::from(crt[0]) + 5) * dots;
        // Register 17h bit 2: the vertical counter counts every second line.
        let double = u64::from(crt[0x17] >> 2 & 1);
        let lines = (self.vertical(6, &[0, 5]) + 2) << double;
        let shown_lines = ((self.last_line() + 1) << double).min(lines - 1);
        let start = self.vertical(0x10, &[2, 7]) << double;
        // The end is compared in four bits.
        let length = (u64::from(crt[0x11]).wrapping_sub(start >> double) & 15) << double;
        // Whoever waits for a retrace gets one, whatever the registers hold.
        let retrace = if start < lines && length > 0 {
            (start, (start + length).min(lines))
        } else {
            (shown_lines, lines)
        };
        Frame {
            clock,
            line,
            lines,
            shown_dots: ((u64::from(crt[1]) + 1) * dots).min(line - 1),
            shown_lines,
            retrace,
            period: (line * lines * 1_000_000_000 / clock).max(1),
        }
    }

    /// Input status 1 at `now`.
    pub(super) fn input_status(&self, now: Moment) -> u8 {
        let frame = self.frame();
        frame.status(frame.elapsed(self.state.frame_start, now))
    }
}
