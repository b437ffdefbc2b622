//! A PS/2 keyboard: its command set, and key events in scan code sets 1 to 3.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-key)". It hangs on the
//! keyboard controller ([`crate::i8042`]), which is the one that translates. Replies go before
//! scan codes that wait, and a new command forgets replies to the last. There is no typematic
//! repeat: a key held sends its code once.

use crate::keys::Key;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;
const ID: [u8; 2] = [0xab, 0x83];

const SET_INDICATORS: u8 = 0xed;
const ECHO: u8 = 0xee;
const SELECT_SET: u8 = 0xf0;
const READ_ID: u8 = 0xf2;
const SET_RATE: u8 = 0xf3;
const ENABLE: u8 = 0xf4;
const DEFAULT_DISABLE: u8 = 0xf5;
const SET_DEFAULT: u8 = 0xf6;
const SET_ALL_KEYS: u8 = 0xfa;
const SET_KEY_MAKE_BREAK: u8 = 0xfc;
const RESET: u8 = 0xff;

/// Scan codes that can wait; further events are lost, as the keyboard's buffer is small.
const BUFFER: usize = 16;

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    scanning: bool,
    scan_code_set: u8,
    indicators: u8,
    /// A command that waits for its parameter.
    command: Option<u8>,
    replies: VecDeque<u8>,
    scan_codes: VecDeque<u8>,
}

impl Default for State {
    fn default() -> State {
        State {
            scanning: true,
            scan_code_set: 2,
            indicators: 0,
            command: None,
            replies: VecDeque::new(),
            scan_codes: VecDeque::new(),
        }
    }
}

impl State {
    /// Whether a byte waits to be sent.
    #[must_use]
    pub fn has_data(&self) -> bool {
        !self.replies.is_empty() || !self.scan_codes.is_empty()
    }

    /// Takes the next byte to be sent.
    pub fn take(&mut self) -> Option<u8> {
        self.replies.pop_front().or_else(|| self.scan_codes.pop_front())
    }

    /// A key goes down or up. False when it was lost: scanning is off or the buffer is full.
    pub fn key_event(&mut self, key: Key, down: bool) -> bool {
        let bytes = key.scan_codes(self.scan_code_set, down);
        let fits = self.scanning && self.scan_codes.len() + bytes.len() <= BUFFER;
        if fits {
            self.scan_codes.extend(bytes);
        }
        fits
    }

    /// The controller sends a byte: a command or a parameter.
    pub fn write(&mut self, byte: u8) {
        self.replies.clear();
        match self.command.take() {
            Some(command) => self.parameter(command, byte),
            None => self.command(byte),
        }
    }

    fn command(&mut self, byte: u8) {
        match byte {
            0x00 | SET_ALL_KEYS => self.reply(&[ACK]),
            ECHO => self.reply(&[ECHO]),
            READ_ID => self.reply(&[ACK, ID[0], ID[1]]),
            SET_INDICATORS | SELECT_SET | SET_RATE | SET_KEY_MAKE_BREAK => {
                self.command = Some(byte);
                self.reply(&[ACK]);
            }
            ENABLE => {
                self.scanning = true;
                self.reply(&[ACK]);
            }
            DEFAULT_DISABLE | SET_DEFAULT => {
                *self = State { scanning: byte == SET_DEFAULT, ..State::default() };
                self.reply(&[ACK]);
            }
            RESET => {
                *self = State::default();
                self.reply(&[ACK, SELF_TEST_PASSED]);
            }
            _ => self.reply(&[RESEND]),
        }
    }

    fn parameter(&mut self, command: u8, byte: u8) {
        match (command, byte) {
            (SELECT_SET, 0) => self.reply(&[ACK, self.scan_code_set]),
            (SELECT_SET, 1..=3) => {
                self.scan_code_set = byte;
                self.reply(&[ACK]);
            }
            (SELECT_SET, _) => self.reply(&[RESEND]),
            (SET_INDICATORS, _) => {
                self.indicators = byte & 7;
                self.reply(&[ACK]);
            }
            _ => self.reply(&[ACK]),
        }
    }

    fn reply(&mut self, bytes: &[u8]) {
        self.replies.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn drain(keyboard: &mut State) -> Vec<u8> {
        std::iter::from_fn(|| keyboard.take()).collect()
    }

    #[rstest]
    #[case::reset(&[0xff], &[0xfa, 0xaa])]
    #[case::id(&[0xf2], &[0xfa, 0xab, 0x83])]
    #[case::echo(&[0xee], &[0xee])]
    #[case::unknown(&[0xe5], &[0xfe])]
    #[case::which_set(&[0xf0, 0x00], &[0xfa, 0x02])]
    #[case::indicators(&[0xed, 0x07], &[0xfa])]
    #[case::rate(&[0xf3, 0xff], &[0xfa])]
    #[case::a_new_command_forgets_replies(&[0xff, 0xee], &[0xee])]
    fn last_reply(#[case] bytes: &[u8], #[case] expect: &[u8]) {
        let mut keyboard = State::default();
        bytes.iter().for_each(|byte| keyboard.write(*byte));
        assert_eq!(drain(&mut keyboard), expect);
    }

    #[rstest]
    #[case::power_on(&[], &[0x1c])]
    #[case::set_1(&[0xf0, 0x01], &[0xfa, 0x1e])]
    #[case::disabled(&[0xf5], &[0xfa])]
    #[case::enabled_again(&[0xf5, 0xf4], &[0xfa, 0x1c])]
    fn pressing_a(#[case] bytes: &[u8], #[case] expect: &[u8]) {
        let mut keyboard = State::default();
        bytes.iter().for_each(|byte| keyboard.write(*byte));
        keyboard.key_event(Key::named("a").expect("a key"), true);
        assert_eq!(drain(&mut keyboard), expect);
    }

    #[test]
    fn the_buffer_never_holds_half_a_code() {
        let mut keyboard = State::default();
        let delete = Key::named("delete").expect("a key");
        let taken = (0..20).filter(|_| keyboard.key_event(delete, false)).count();
        assert_eq!((taken, drain(&mut keyboard).len()), (5, 15));
    }
}
