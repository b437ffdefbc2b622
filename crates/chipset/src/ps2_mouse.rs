//! A PS/2 mouse with wheel: the standard command set with the IntelliMouse and Explorer knocks.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft, "Wheel Support for PS/2".
//! It hangs on the keyboard controller ([`crate::i8042`]).

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const ACK: u8 = 0xfa;
const SELF_TEST_PASSED: u8 = 0xaa;

const SET_SCALING_1: u8 = 0xe6;
const SET_SCALING_2: u8 = 0xe7;
const SET_RESOLUTION: u8 = 0xe8;
const STATUS_REQUEST: u8 = 0xe9;
const SET_STREAM: u8 = 0xea;
const READ_DATA: u8 = 0xeb;
const RESET_WRAP: u8 = 0xec;
const SET_WRAP: u8 = 0xee;
const SET_REMOTE: u8 = 0xf0;
const READ_TYPE: u8 = 0xf2;
const SET_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DISABLE: u8 = 0xf5;
const SET_DEFAULT: u8 = 0xf6;
const RESET: u8 = 0xff;

const STATUS_REMOTE: u8 = 1 << 6;
const STATUS_ENABLED: u8 = 1 << 5;
const STATUS_SCALING_2: u8 = 1 << 4;

const TYPE_PLAIN: u8 = 0;
const TYPE_WHEEL: u8 = 3;
const TYPE_EXPLORER: u8 = 4;

/// Reply bytes that can wait, and movement bytes; more movement adds up instead.
const BUFFER: usize = 16;
/// Movement kept for later is held within this.
const FARTHEST: i32 = 0x7fff;

/// Everything a snapshot carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    status: u8,
    resolution: u8,
    sample_rate: u8,
    kind: u8,
    wrap: bool,
    /// The last three sample rates, oldest first: certain triples change the kind.
    knock: [u8; 3],
    command: Option<u8>,
    replies: VecDeque<u8>,
    movement: VecDeque<u8>,
    x: i32,
    y: i32,
    wheel: i32,
    buttons: u8,
    /// The buttons changed since the last packet.
    buttons_changed: bool,
}

impl State {
    /// Whether a byte waits to be sent.
    #[must_use]
    pub fn has_data(&self) -> bool {
        !self.replies.is_empty() || !self.movement.is_empty()
    }

    /// Takes the next byte to be sent.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.movement.pop_front());
        self.stream();
        byte
    }

    /// The mouse moves by `x` to the right, `y` up and `wheel` towards the user, and has `buttons`
    /// pressed (bit 0 left, 1 right, 2 middle, 3 and 4 side). Lost while reporting is off.
    pub fn event(&mut self, x: i32, y: i32, wheel: i32, buttons: u8) {
        if self.status & STATUS_ENABLED == 0 {
            return;
        }
        let add = |sum: i32, more: i32| sum.saturating_add(more).clamp(-FARTHEST, FARTHEST);
        self.x = add(self.x, x);
        self.y = add(self.y, y);
        self.wheel = add(self.wheel, wheel);
        self.buttons_changed |= self.buttons != buttons & 0x1f;
        self.buttons = buttons & 0x1f;
        self.stream();
    }

    /// In stream mode, sends packets until nothing is left to tell or the buffer is full.
    fn stream(&mut self) {
        if self.status & (STATUS_ENABLED | STATUS_REMOTE) != STATUS_ENABLED {
            return;
        }
        while self.movement.len() + 4 <= BUFFER && (self.moved() || self.buttons_changed) {
            let packet = self.packet();
            self.movement.extend(packet);
        }
    }

    fn moved(&self) -> bool {
        let wheel = self.kind != TYPE_PLAIN && self.wheel != 0;
        self.x != 0 || self.y != 0 || wheel
    }

    /// One packet, and takes what it tells off the movement.
    fn packet(&mut self) -> Vec<u8> {
        let x = self.x.clamp(-127, 127);
        let y = self.y.clamp(-127, 127);
        let sign = |value: i32, bit: u8| if value < 0 { bit } else { 0 };
        let first = 0x08 | sign(x, 0x10) | sign(y, 0x20) | self.buttons & 0x07;
        let mut packet = vec![first, x as u8, y as u8];
        let wheel = match self.kind {
            TYPE_WHEEL => {
                let wheel = self.wheel.clamp(-127, 127);
                packet.push(wheel as u8);
                wheel
            }
            TYPE_EXPLORER => {
                let wheel = self.wheel.clamp(-7, 7);
                packet.push(wheel as u8 & 0x0f | (self.buttons & 0x18) << 1);
                wheel
            }
            _ => self.wheel,
        };
        self.x -= x;
        self.y -= y;
        self.wheel -= wheel;
        self.buttons_changed = false;
        packet
    }

    /// The controller sends a byte: a command or a parameter.
    pub fn write(&mut self, byte: u8) {
        if let Some(command) = self.command.take() {
            if command == SET_RATE {
                self.sample_rate = byte;
                self.knock = [self.knock[1], self.knock[2], byte];
                match self.knock {
                    [200, 100, 80] => self.kind = TYPE_WHEEL,
                    [200, 200, 80] => self.kind = TYPE_EXPLORER,
                    _ => {}
                }
            } else {
                self.resolution = byte;
            }
            return self.reply(&[ACK]);
        }
        if self.wrap && byte != RESET_WRAP && byte != RESET {
            return self.reply(&[byte]);
        }
        self.command(byte);
    }

    fn command(&mut self, byte: u8) {
        match byte {
            SET_SCALING_1 => self.status &= !STATUS_SCALING_2,
            SET_SCALING_2 => self.status |= STATUS_SCALING_2,
            SET_RESOLUTION | SET_RATE => self.command = Some(byte),
            STATUS_REQUEST => {
                return self.reply(&[ACK, self.status, self.resolution, self.sample_rate]);
            }
            SET_STREAM => self.status &= !STATUS_REMOTE,
            READ_DATA => {
                let packet = self.packet();
                self.reply(&[ACK]);
                return self.reply(&packet);
            }
            RESET_WRAP if self.wrap => self.wrap = false,
            SET_WRAP => self.wrap = true,
            SET_REMOTE => self.status |= STATUS_REMOTE,
            READ_TYPE => return self.reply(&[ACK, self.kind]),
            ENABLE => self.status |= STATUS_ENABLED,
            DISABLE => self.status &= !STATUS_ENABLED,
            SET_DEFAULT => self.defaults(),
            RESET => {
                *self = State { buttons: self.buttons, ..State::default() };
                self.defaults();
                return self.reply(&[ACK, SELF_TEST_PASSED, self.kind]);
            }
            // Whatever else is sent, this mouse keeps silent.
            _ => return,
        }
        self.reply(&[ACK]);
    }

    fn defaults(&mut self) {
        self.status = 0;
        self.resolution = 2;
        self.sample_rate = 100;
    }

    /// Replies that nobody reads pile up only so far.
    fn reply(&mut self, bytes: &[u8]) {
        if self.replies.len() + bytes.len() <= BUFFER {
            self.replies.extend(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn drain(mouse: &mut State) -> Vec<u8> {
        std::iter::from_fn(|| mouse.take()).collect()
    }

    const WHEEL: &[u8] = &[0xf3, 200, 0xf3, 100, 0xf3, 80];
    const EXPLORER: &[u8] = &[0xf3, 200, 0xf3, 200, 0xf3, 80];

    #[rstest]
    #[case::reset(&[0xff], &[0xfa, 0xaa, 0x00])]
    #[case::status_at_power_on(&[0xe9], &[0xfa, 0, 0, 0])]
    #[case::status_after_reset(&[0xff, 0xe7, 0xe9], &[0xfa, 0x10, 2, 100])]
    #[case::plain(&[0xf2], &[0xfa, 0])]
    #[case::wheel(&[WHEEL, &[0xf2]].concat(), &[0xfa, 3])]
    #[case::explorer(&[EXPLORER, &[0xf2]].concat(), &[0xfa, 4])]
    #[case::unknown(&[0xe5], &[])]
    #[case::reset_wrap_without_wrap(&[0xec], &[])]
    #[case::wrap(&[0xee, 0x12], &[0x12])]
    #[case::wrap_ends(&[0xee, 0xec], &[0xfa])]
    #[case::poll(&[0xeb], &[0xfa, 0x08, 0, 0])]
    fn last_reply(#[case] bytes: &[u8], #[case] expect: &[u8]) {
        let mut mouse = State::default();
        let mut last = Vec::new();
        for byte in bytes {
            mouse.write(*byte);
            last = drain(&mut mouse);
        }
        assert_eq!(last, expect);
    }

    #[rstest]
    #[case::off(&[0xf5], (1, 1, 0, 0), &[])]
    #[case::remote(&[0xf4, 0xf0], (1, 1, 0, 0), &[])]
    #[case::right_and_down(&[0xf4], (5, -3, 0, 1), &[0x29, 5, 0xfd])]
    #[case::far(&[0xf4], (200, 0, 0, 0), &[0x08, 127, 0, 0x08, 73, 0])]
    #[case::nothing_new(&[0xf4], (0, 0, 0, 0), &[])]
    #[case::wheel(&[WHEEL, &[0xf4]].concat(), (0, 0, -1, 0), &[0x08, 0, 0, 0xff])]
    #[case::explorer(&[EXPLORER, &[0xf4]].concat(), (0, 0, -1, 0x10), &[0x08, 0, 0, 0x2f])]
    #[case::endless(&[0xf4], (i32::MAX, i32::MIN, 0, 0), &[])]
    fn events(#[case] bytes: &[u8], #[case] event: (i32, i32, i32, u8), #[case] expect: &[u8]) {
        let mut mouse = State::default();
        for byte in bytes {
            mouse.write(*byte);
            drain(&mut mouse);
        }
        mouse.event(event.0, event.1, event.2, event.3);
        let sent = drain(&mut mouse);
        if event.0 == i32::MAX {
            assert_eq!(sent.len(), 3 * 0x7fff_usize.div_ceil(127));
        } else {
            assert_eq!(sent, expect);
        }
    }
}
