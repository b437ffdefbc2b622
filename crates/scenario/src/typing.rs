//! Typing: text on a US keyboard, each key as soon as the guest has taken the one before.

use warmboot_machine::{ConfigError, Machine};

/// How long a key is held, in nanoseconds.
const HOLD_NS: u64 = 20_000_000;
/// Between two looks at whether the guest has taken a key.
pub(crate) const LOOK_NS: u64 = 1_000_000;

/// The keys that type `text`, as [`Machine::press`] takes them.
///
/// # Errors
/// Names the character that is on no key.
pub(crate) fn keys(text: &str) -> Result<Vec<String>, String> {
    let keys = text.chars().map(|character| {
        let keys = warmboot_machine::typed_key(character);
        keys.ok_or_else(|| format!("`{character}` is on no key of a US keyboard"))
    });
    keys.collect()
}

/// Text that is being typed. The last key is not waited for: what the guest answers to it, perhaps
/// before it is up again, is for whoever runs the machine next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typing {
    keys: Vec<String>,
    next: usize,
}

impl Typing {
    pub(crate) fn new(keys: Vec<String>) -> Typing {
        Typing { keys, next: 0 }
    }

    /// Presses the next key if the keyboard is free; false: it is not.
    pub(crate) fn go_on(&mut self, machine: &mut Machine) -> Result<bool, ConfigError> {
        let Some(keys) = self.keys.get(self.next) else { return Ok(false) };
        if machine.keyboard_is_idle() == Some(false) {
            return Ok(false);
        }
        // A machine without a keyboard says so.
        machine.press_and_hold(keys, HOLD_NS)?;
        self.next += 1;
        Ok(true)
    }

    /// Whether the last key has gone down.
    pub(crate) fn is_over(&self) -> bool {
        self.next >= self.keys.len()
    }

    /// The key that the guest has not taken: its number, and of how many.
    pub(crate) fn stuck(&self) -> String {
        match self.next.checked_sub(1).and_then(|last| self.keys.get(last)) {
            Some(keys) => format!("take key {} of {}, `{keys}`", self.next, self.keys.len()),
            None => "take the keys before".to_owned(),
        }
    }
}
