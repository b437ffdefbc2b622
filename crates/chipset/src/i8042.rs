//! 8042 keyboard controller of the PC AT and PS/2, with a keyboard and a mouse.
//!
//! IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller";
//! status and command byte as in the 8242 data sheet (Intel 290166), section 4. The controller
//! translates set 2 to set 1 as it takes a byte from the keyboard. Its own replies are there at
//! once; a device's byte after [`Config::byte_delay`], zero on emulators.

use crate::keys::{self, Key};
use crate::{Chip, Effects, Moment, Region, ResetKind, ResetRequest, Space, ps2_keyboard, ps2_mouse};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Data port.
pub const DATA: u16 = 0x60;
/// Status (read) and command (write) port.
pub const COMMAND: u16 = 0x64;
/// Output pin: keyboard interrupt, IRQ1.
pub const KEYBOARD_INTERRUPT: u8 = 0;
/// Output pin: auxiliary device interrupt, IRQ12.
pub const MOUSE_INTERRUPT: u8 = 1;
/// How long `warmboot` holds keys down, in nanoseconds.
pub const HOLD_NS: u64 = 100_000_000;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_MOUSE_OUTPUT_FULL: u8 = 1 << 5;

const MODE_KEYBOARD_INTERRUPT: u8 = 1 << 0;
const MODE_MOUSE_INTERRUPT: u8 = 1 << 1;
const MODE_KEYBOARD_DISABLED: u8 = 1 << 4;
const MODE_MOUSE_DISABLED: u8 = 1 << 5;
const MODE_TRANSLATE: u8 = 1 << 6;

const PORT_RESET: u8 = 1 << 0;
const PORT_A20: u8 = 1 << 1;
const PORT_OUTPUT_FULL: u8 = 1 << 4;
const PORT_MOUSE_OUTPUT_FULL: u8 = 1 << 5;
/// Bits of the output port with nothing to say, which read as ones.
const PORT_ONES: u8 = 0xcc;

const READ_MODE: u8 = 0x20;
const WRITE_MODE: u8 = 0x60;
const MOUSE_DISABLE: u8 = 0xa7;
const MOUSE_ENABLE: u8 = 0xa8;
const TEST_MOUSE: u8 = 0xa9;
const SELF_TEST: u8 = 0xaa;
const TEST_KEYBOARD: u8 = 0xab;
const KEYBOARD_DISABLE: u8 = 0xad;
const KEYBOARD_ENABLE: u8 = 0xae;
const READ_INPUT_PORT: u8 = 0xc0;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;
const WRITE_KEYBOARD_OUTPUT: u8 = 0xd2;
const WRITE_MOUSE_OUTPUT: u8 = 0xd3;
const WRITE_MOUSE: u8 = 0xd4;
const DISABLE_A20: u8 = 0xdd;
const ENABLE_A20: u8 = 0xdf;
const PULSE: u8 = 0xf0;

const RELEASE: u8 = 0xf0;

/// Key releases that can wait for their time.
const MOST_RELEASES: usize = 64;

/// How this controller is built.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Nanoseconds a byte takes from a device into the output buffer. Zero, as on emulators, makes
    /// it appear at once; a real keyboard's takes about a millisecond.
    pub byte_delay: u64,
}

/// Who fills the output buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Source {
    Controller,
    Keyboard,
    Mouse,
}

/// Everything a snapshot carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    status: u8,
    mode: u8,
    output_port: u8,
    /// A command that waits for its data byte, however many commands come in between.
    command: Option<u8>,
    /// The last byte read, which is read again while the output buffer is empty.
    output: u8,
    /// Whose byte is in the output buffer. It is taken from there when it is read, so that a new
    /// command replaces an unread reply to the last, as on QEMU.
    source: Source,
    /// The controller's own reply, and whether it passes for the mouse's.
    reply: Option<(u8, bool)>,
    /// The translator has seen a release prefix.
    releasing: bool,
    /// When the device byte on its way arrives.
    arrival: Option<Moment>,
    /// Keys the host holds down, and when it lets go.
    releases: VecDeque<(Moment, Key)>,
    keyboard: ps2_keyboard::State,
    mouse: ps2_mouse::State,
}

impl Default for State {
    fn default() -> State {
        State {
            status: STATUS_COMMAND | STATUS_UNLOCKED,
            mode: MODE_KEYBOARD_INTERRUPT | MODE_MOUSE_INTERRUPT,
            output_port: PORT_RESET | PORT_A20 | PORT_ONES,
            command: None,
            output: 0,
            source: Source::Controller,
            reply: None,
            releasing: false,
            arrival: None,
            releases: VecDeque::new(),
            keyboard: ps2_keyboard::State::default(),
            mouse: ps2_mouse::State::default(),
        }
    }
}

/// The controller and its two devices.
#[derive(Clone, Debug)]
pub struct I8042 {
    state: State,
    wiring: Config,
}

impl I8042 {
    /// A controller with power just applied.
    #[must_use]
    pub fn new(wiring: Config) -> I8042 {
        I8042 { state: State::default(), wiring }
    }

    /// What is saved.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes a saved state.
    pub fn restore(&mut self, mut state: State) {
        state.releases.truncate(MOST_RELEASES);
        self.state = state;
    }

    /// One key goes down or up. False when the keyboard lost it.
    pub fn key_event(&mut self, key: Key, down: bool, fx: &mut Effects) -> bool {
        let taken = self.state.keyboard.key_event(key, down);
        self.fill(fx);
        taken
    }

    /// Presses `keys` in their order and lets go of them in the opposite one, `hold_ns` after one another
    /// ([`HOLD_NS`] is a good time). False when the keyboard lost one of them.
    pub fn press(&mut self, keys: &[Key], hold_ns: u64, fx: &mut Effects) -> bool {
        let mut taken = true;
        for key in keys {
            taken &= self.state.keyboard.key_event(*key, true);
        }
        for (key, order) in keys.iter().rev().zip(1..) {
            let up = fx.now().after(hold_ns.saturating_mul(order));
            // Kept in the order of time: a later press may be held shorter.
            let at = self.state.releases.partition_point(|(moment, _)| *moment <= up);
            if self.state.releases.len() < MOST_RELEASES {
                self.state.releases.insert(at, (up, *key));
            } else {
                taken = false;
            }
        }
        self.fill(fx);
        taken
    }

    /// The mouse moves by `x` to the right, `y` up, `wheel` towards the user, with `buttons` pressed
    /// (bit 0 left, 1 right, 2 middle).
    pub fn mouse_event(&mut self, x: i32, y: i32, wheel: i32, buttons: u8, fx: &mut Effects) {
        self.state.mouse.event(x, y, wheel, buttons);
        self.fill(fx);
    }

    /// Whether no key is held and no byte of the keyboard's waits to be read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state.releases.is_empty() && !self.state.keyboard.has_data() && !self.full()
    }

    /// The A20 gate as the output port has it.
    #[must_use]
    pub fn a20(&self) -> bool {
        self.state.output_port & PORT_A20 != 0
    }

    fn full(&self) -> bool {
        self.state.status & STATUS_OUTPUT_FULL != 0
    }

    fn drive(&self, fx: &mut Effects) {
        let from_mouse = self.state.status & STATUS_MOUSE_OUTPUT_FULL != 0;
        let mode = self.state.mode;
        let keyboard = mode & MODE_KEYBOARD_INTERRUPT != 0 && mode & MODE_KEYBOARD_DISABLED == 0;
        let mouse = mode & MODE_MOUSE_INTERRUPT != 0;
        fx.line(KEYBOARD_INTERRUPT, self.full() && !from_mouse && keyboard);
        fx.line(MOUSE_INTERRUPT, self.full() && from_mouse && mouse);
    }

    /// Marks the output buffer full.
    fn put(&mut self, source: Source, passes_for_mouse: bool) {
        self.state.source = source;
        self.state.status |= STATUS_OUTPUT_FULL;
        self.state.output_port |= PORT_OUTPUT_FULL;
        if passes_for_mouse {
            self.state.status |= STATUS_MOUSE_OUTPUT_FULL;
            self.state.output_port |= PORT_MOUSE_OUTPUT_FULL;
        }
    }

    fn keyboard_waits(&self) -> bool {
        self.state.mode & MODE_KEYBOARD_DISABLED == 0 && self.state.keyboard.has_data()
    }

    fn mouse_waits(&self) -> bool {
        self.state.mode & MODE_MOUSE_DISABLED == 0 && self.state.mouse.has_data()
    }

    /// Fills the empty output buffer: with the controller's reply first, then from the keyboard,
    /// then from the mouse. A disabled interface holds its device's bytes back.
    fn fill(&mut self, fx: &mut Effects) {
        if !self.full() {
            if let Some((_, passes_for_mouse)) = self.state.reply {
                self.put(Source::Controller, passes_for_mouse);
            } else if !self.keyboard_waits() && !self.mouse_waits() {
                self.state.arrival = None;
            } else if self.wiring.byte_delay == 0 {
                self.accept();
            } else if self.state.arrival.is_none() {
                self.state.arrival = Some(fx.now().after(self.wiring.byte_delay));
            }
        }
        self.drive(fx);
    }

    /// Lets a waiting device fill the empty output buffer.
    fn accept(&mut self) {
        if self.full() {
            return;
        }
        if self.keyboard_waits() {
            self.put(Source::Keyboard, false);
        } else if self.mouse_waits() {
            self.put(Source::Mouse, true);
        }
    }

    /// The byte in the output buffer; `None` when its source has thought better of it.
    fn take(&mut self) -> Option<u8> {
        match self.state.source {
            Source::Controller => self.state.reply.take().map(|(byte, _)| byte),
            Source::Keyboard => self.take_scan_code(),
            Source::Mouse => self.state.mouse.take(),
        }
    }

    /// A keyboard byte, translated. The release prefix is not a byte of its own then.
    fn take_scan_code(&mut self) -> Option<u8> {
        if self.state.mode & MODE_TRANSLATE == 0 {
            return self.state.keyboard.take();
        }
        let mut byte = self.state.keyboard.take()?;
        while byte == RELEASE {
            self.state.releasing = true;
            byte = self.state.keyboard.take()?;
        }
        let release = if std::mem::take(&mut self.state.releasing) { 0x80 } else { 0 };
        Some(keys::translate(byte) | release)
    }

    /// The controller answers. A reply that still waits is lost.
    fn reply(&mut self, byte: u8, fx: &mut Effects) {
        self.state.reply = Some((byte, false));
        self.fill(fx);
    }

    fn read_data(&mut self, fx: &mut Effects) -> u8 {
        if self.full() {
            let byte = self.take().unwrap_or(self.state.output);
            self.state.output = byte;
            self.state.status &= !(STATUS_OUTPUT_FULL | STATUS_MOUSE_OUTPUT_FULL);
            self.state.output_port &= !(PORT_OUTPUT_FULL | PORT_MOUSE_OUTPUT_FULL);
            // The line falls before a next byte raises it: the interrupt controller needs an edge.
            self.drive(fx);
            // With both devices waiting they take turns.
            let turn = self.state.source == Source::Keyboard && self.mouse_waits();
            if turn && self.state.reply.is_none() && self.wiring.byte_delay == 0 {
                self.put(Source::Mouse, true);
            }
            self.fill(fx);
        }
        self.state.output
    }

    fn write_output_port(&mut self, value: u8, fx: &mut Effects) {
        self.state.output_port = value;
        fx.a20 = Some(value & PORT_A20 != 0);
        if value & PORT_RESET == 0 {
            fx.reset = Some(ResetRequest::KeyboardController);
        }
    }

    fn write_data(&mut self, value: u8, fx: &mut Effects) {
        match self.state.command.take() {
            None => {
                self.state.keyboard.write(value);
                // Sending to the keyboard enables its interface again.
                self.state.mode &= !MODE_KEYBOARD_DISABLED;
                self.fill(fx);
            }
            Some(WRITE_MODE) => {
                self.state.mode = value;
                self.fill(fx);
            }
            Some(WRITE_OUTPUT_PORT) => self.write_output_port(value, fx),
            Some(command @ (WRITE_KEYBOARD_OUTPUT | WRITE_MOUSE_OUTPUT)) => {
                self.state.reply = Some((value, command == WRITE_MOUSE_OUTPUT));
                self.fill(fx);
            }
            Some(_) => {
                self.state.mouse.write(value);
                self.state.mode &= !MODE_MOUSE_DISABLED;
                self.fill(fx);
            }
        }
    }

    fn write_command(&mut self, value: u8, fx: &mut Effects) {
        match value {
            READ_MODE => self.reply(self.state.mode, fx),
            WRITE_MODE | WRITE_OUTPUT_PORT | WRITE_KEYBOARD_OUTPUT | WRITE_MOUSE_OUTPUT | WRITE_MOUSE => {
                self.state.command = Some(value);
            }
            MOUSE_DISABLE => self.state.mode |= MODE_MOUSE_DISABLED,
            MOUSE_ENABLE => {
                self.state.mode &= !MODE_MOUSE_DISABLED;
                self.fill(fx);
            }
            SELF_TEST => {
                self.state.status |= STATUS_SYSTEM;
                self.reply(0x55, fx);
            }
            TEST_MOUSE | TEST_KEYBOARD => self.reply(0x00, fx),
            KEYBOARD_DISABLE => self.state.mode |= MODE_KEYBOARD_DISABLED,
            KEYBOARD_ENABLE => {
                self.state.mode &= !MODE_KEYBOARD_DISABLED;
                self.fill(fx);
            }
            READ_INPUT_PORT => self.reply(0x80, fx),
            READ_OUTPUT_PORT => self.reply(self.state.output_port, fx),
            DISABLE_A20 => self.gate_a20(false, fx),
            ENABLE_A20 => self.gate_a20(true, fx),
            // Pulses the output port bits that are zero in the command; bit 0 is the reset line.
            PULSE.. => {
                if value & PORT_RESET == 0 {
                    fx.reset = Some(ResetRequest::KeyboardController);
                }
            }
            _ => fx.note("keyboard controller command", u64::from(value), 0),
        }
    }

    fn gate_a20(&mut self, open: bool, fx: &mut Effects) {
        self.state.output_port = self.state.output_port & !PORT_A20 | if open { PORT_A20 } else { 0 };
        fx.a20 = Some(open);
    }
}

impl Chip for I8042 {
    fn regions(&self) -> Vec<Region> {
        let port = |index, name, base: u16| Region {
            index,
            name,
            space: Space::Io,
            base: u64::from(base),
            length: 1,
            widest: 1,
        };
        vec![port(0, "i8042-data", DATA), port(1, "i8042-cmd", COMMAND)]
    }

    fn register_name(&self, index: u8, _offset: u64, write: bool) -> Option<String> {
        let name = match (index, write) {
            (0, _) => "DATA",
            (_, true) => "COMMAND",
            (_, false) => "STATUS",
        };
        Some(name.to_owned())
    }

    fn read(&mut self, index: u8, _offset: u64, _size: u8, fx: &mut Effects) -> u64 {
        u64::from(if index == 0 { self.read_data(fx) } else { self.state.status })
    }

    fn write(&mut self, index: u8, _offset: u64, _size: u8, value: u64, fx: &mut Effects) {
        if index == 0 {
            self.write_data(value as u8, fx);
        } else {
            self.write_command(value as u8, fx);
        }
    }

    /// Keys that the host holds stay held over a system reset, and are released when their time
    /// comes.
    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        let releases = match kind {
            ResetKind::PowerOn => VecDeque::new(),
            ResetKind::System => std::mem::take(&mut self.state.releases),
        };
        self.state = State { releases, ..State::default() };
        fx.a20 = Some(true);
        self.drive(fx);
    }

    fn deadline(&self) -> Option<Moment> {
        let release = self.state.releases.front().map(|(moment, _)| *moment);
        self.state.arrival.into_iter().chain(release).min()
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        while let Some((moment, key)) = self.state.releases.front().copied() {
            if moment > fx.now() {
                break;
            }
            self.state.releases.pop_front();
            self.state.keyboard.key_event(key, false);
        }
        if self.state.arrival.is_some_and(|arrival| arrival <= fx.now()) {
            self.state.arrival = None;
            self.accept();
        }
        self.fill(fx);
    }

    fn shift_time(&mut self, delta: i64) {
        let releases = self.state.releases.iter_mut().map(|(moment, _)| moment);
        self.state.arrival.iter_mut().chain(releases).for_each(|moment| moment.shift(delta));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    enum Step {
        Command(u8),
        Data(u8),
        Status(u8),
        Read(u8),
        Press(&'static str),
        Lines(bool, bool),
    }
    use Step::{Command, Data, Lines, Press, Read, Status};

    #[track_caller]
    fn check(steps: &[Step]) {
        let mut controller = I8042::new(Config::default());
        let mut lines = [false; 2];
        for (number, step) in steps.iter().enumerate() {
            let mut fx = Effects::at(Moment(0));
            match step {
                Command(value) => controller.write(1, 0, 1, u64::from(*value), &mut fx),
                Data(value) => controller.write(0, 0, 1, u64::from(*value), &mut fx),
                Status(expect) => {
                    assert_eq!(controller.read(1, 0, 1, &mut fx), u64::from(*expect), "step {number}");
                }
                Read(expect) => {
                    assert_eq!(controller.read(0, 0, 1, &mut fx), u64::from(*expect), "step {number}");
                }
                Press(names) => {
                    let keys = keys::parse(names).expect("keys");
                    assert!(controller.press(&keys, HOLD_NS, &mut fx), "step {number}");
                }
                Lines(keyboard, mouse) => assert_eq!(lines, [*keyboard, *mouse], "step {number}"),
            }
            for (pin, level) in fx.lines {
                lines[usize::from(pin)] = level;
            }
        }
    }

    #[rstest]
    #[case::power_on(&[Status(0x18), Read(0), Lines(false, false)])]
    #[case::mode(&[Command(0x20), Status(0x19), Lines(true, false), Read(3), Status(0x18), Read(3)])]
    #[case::self_test(&[Command(0xaa), Status(0x1d), Read(0x55), Status(0x1c)])]
    #[case::output_port(&[Command(0xd0), Read(0xcf)])]
    #[case::input_port(&[Command(0xc0), Read(0x80)])]
    #[case::interface_tests(&[Command(0xa9), Read(0), Command(0xab), Read(0)])]
    #[case::unknown(&[Command(0x21), Status(0x18)])]
    #[case::mouse_output(&[Command(0xd3), Data(0x77), Status(0x39), Lines(false, true), Read(0x77), Lines(false, false)])]
    #[case::keyboard_reset(&[Data(0xff), Status(0x19), Read(0xfa), Status(0x19), Read(0xaa), Status(0x18)])]
    #[case::id(&[Data(0xf2), Read(0xfa), Read(0xab), Read(0x83)])]
    #[case::id_translated(&[Command(0x60), Data(0x61), Data(0xf2), Read(0xfa), Read(0xab), Read(0x41)])]
    #[case::mouse(&[Command(0xd4), Data(0xff), Status(0x39), Read(0xfa), Read(0xaa), Read(0), Status(0x18)])]
    #[case::ctrl_alt_delete(&[Command(0x60), Data(0x61), Press("ctrl-alt-delete"), Lines(true, false), Read(0x1d), Read(0x38), Read(0xe0), Read(0x53), Lines(false, false)])]
    #[case::raw(&[Press("delete"), Read(0xe0), Read(0x71), Status(0x18)])]
    #[case::interrupt_disabled(&[Command(0x60), Data(0x60), Press("a"), Lines(false, false), Status(0x19), Command(0x60), Data(0x61), Lines(true, false)])]
    #[case::interface_disabled(&[Command(0xad), Press("a"), Status(0x18), Command(0xae), Status(0x19), Read(0x1c)])]
    #[case::data_enables_interface(&[Command(0xad), Data(0xee), Status(0x19), Read(0xee), Command(0x20), Read(3)])]
    #[case::keyboard_before_mouse(&[Command(0xa7), Command(0xad), Command(0xd4), Data(0xf6), Press("a"), Read(0xfa), Command(0xae), Read(0x1c)])]
    fn registers(#[case] steps: &[Step]) {
        check(steps);
    }

    #[rstest]
    #[case::pulse_reset(&[(1, 0xfe)], Some(ResetRequest::KeyboardController), None)]
    #[case::pulse_all(&[(1, 0xf0)], Some(ResetRequest::KeyboardController), None)]
    #[case::pulse_none(&[(1, 0xff)], None, None)]
    #[case::output_port_reset(&[(1, 0xd1), (0, 0xde)], Some(ResetRequest::KeyboardController), Some(true))]
    #[case::output_port_a20_off(&[(1, 0xd1), (0, 0xdd)], None, Some(false))]
    #[case::a20_off(&[(1, 0xdd)], None, Some(false))]
    #[case::a20_on(&[(1, 0xdf)], None, Some(true))]
    fn outputs(#[case] writes: &[(u8, u64)], #[case] reset: Option<ResetRequest>, #[case] a20: Option<bool>) {
        let mut controller = I8042::new(Config::default());
        let mut fx = Effects::at(Moment(0));
        writes.iter().for_each(|(index, value)| controller.write(*index, 0, 1, *value, &mut fx));
        assert_eq!((fx.reset, fx.a20), (reset, a20));
    }

    #[test]
    fn keys_are_released_in_time_even_over_a_reset() {
        let mut controller = I8042::new(Config::default());
        let keys = keys::parse("ctrl-a").expect("keys");
        controller.press(&keys, 500, &mut Effects::at(Moment(1000)));
        controller.reset(ResetKind::System, &mut Effects::at(Moment(1200)));
        assert_eq!(controller.deadline(), Some(Moment(1500)));
        controller.shift_time(-100);
        controller.on_deadline(&mut Effects::at(Moment(1400)));
        assert_eq!(controller.deadline(), Some(Moment(1900)));
        let mut fx = Effects::at(Moment(1900));
        controller.on_deadline(&mut fx);
        assert_eq!(controller.deadline(), None);
        let read: Vec<u64> = (0..4).map(|_| controller.read(0, 0, 1, &mut fx)).collect();
        assert_eq!(read, [0xf0, 0x1c, 0xf0, 0x14]);
    }

    #[test]
    fn bytes_take_their_time() {
        let mut controller = I8042::new(Config { byte_delay: 700 });
        let mut fx = Effects::at(Moment(0));
        controller.write(0, 0, 1, 0xff, &mut fx);
        assert_eq!((controller.read(1, 0, 1, &mut fx), controller.deadline()), (0x18, Some(Moment(700))));
        let mut fx = Effects::at(Moment(700));
        controller.on_deadline(&mut fx);
        assert_eq!(controller.read(0, 0, 1, &mut fx), 0xfa);
        assert_eq!((controller.read(1, 0, 1, &mut fx), controller.deadline()), (0x18, Some(Moment(1400))));
        let mut fx = Effects::at(Moment(1400));
        controller.on_deadline(&mut fx);
        assert_eq!((controller.read(0, 0, 1, &mut fx), controller.deadline()), (0xaa, None));
    }
}
