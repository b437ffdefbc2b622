//! Text for the guest: typed on a US keyboard or sent to its serial port, each key or byte as soon as the
//! guest has room for it.

use warmboot_machine::{ConfigError, Machine};

/// How long a key is held, in nanoseconds.
pub(crate) const HOLD_NS: u64 = 20_000_000;
/// Between two looks at whether there is room.
pub(crate) const LOOK_NS: u64 = 1_000_000;

/// Where the text goes.
#[derive(Clone, Debug)]
enum Way {
    /// Keys, as [`Machine::press`] takes them.
    Keyboard(Vec<String>),
    /// Bytes to COM1.
    Serial(Vec<u8>),
}

/// Text that is being entered. The last key is not waited for: what the guest answers to it, perhaps
/// before it is up again, is for whoever runs the machine next.
#[derive(Clone, Debug)]
pub(crate) struct Typing {
    way: Way,
    next: usize,
}

impl Typing {
    /// Text on a US keyboard.
    ///
    /// # Errors
    /// Names the character that is on no key.
    pub(crate) fn on_keyboard(text: &str) -> Result<Typing, String> {
        let keys = text.chars().map(|character| {
            let keys = warmboot_machine::typed_key(character);
            keys.ok_or_else(|| format!("`{character}` is on no key of a US keyboard"))
        });
        Ok(Typing { way: Way::Keyboard(keys.collect::<Result<_, _>>()?), next: 0 })
    }

    /// Text as bytes to the serial port.
    pub(crate) fn on_serial(text: &str) -> Typing {
        Typing { way: Way::Serial(text.as_bytes().to_vec()), next: 0 }
    }

    fn length(&self) -> usize {
        match &self.way {
            Way::Keyboard(keys) => keys.len(),
            Way::Serial(bytes) => bytes.len(),
        }
    }

    /// Whether the guest has room for the next key or byte; `None` when it never will.
    pub(crate) fn has_room(&self, machine: &Machine) -> Option<bool> {
        match self.way {
            Way::Keyboard(_) => machine.keyboard_is_idle(),
            Way::Serial(_) => machine.serial_has_room(),
        }
    }

    /// Enters the next key or byte if there is room; false: there is none.
    pub(crate) fn go_on(&mut self, machine: &mut Machine) -> Result<bool, ConfigError> {
        if self.is_over() || self.has_room(machine) == Some(false) {
            return Ok(false);
        }
        // A machine without the keyboard or the port says so.
        match &self.way {
            Way::Keyboard(keys) => {
                machine.press_and_hold(keys.get(self.next).map_or("", |keys| keys), HOLD_NS)?
            }
            Way::Serial(bytes) => machine.send_serial(bytes.get(self.next).copied().unwrap_or_default())?,
        }
        self.next += 1;
        Ok(true)
    }

    /// Whether the last key has gone down, or the last byte has been taken.
    pub(crate) fn is_over(&self) -> bool {
        self.next >= self.length()
    }

    /// What the guest has not done: for which key or byte there is no room, and of how many.
    pub(crate) fn stuck(&self) -> String {
        let (number, count) = (self.next, self.length());
        match &self.way {
            Way::Keyboard(keys) => match number.checked_sub(1).and_then(|last| keys.get(last)) {
                Some(keys) => format!("take key {number} of {count}, `{keys}`"),
                None => "take the keys before".to_owned(),
            },
            Way::Serial(_) => format!("have room for byte {} of {count}", number + 1),
        }
    }

    /// Why there was no room.
    pub(crate) fn why_stuck(&self) -> &'static str {
        match self.way {
            Way::Keyboard(_) => "it does not read the keyboard",
            Way::Serial(_) => "it does not read its serial port",
        }
    }
}
