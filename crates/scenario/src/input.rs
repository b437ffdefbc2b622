//! What somebody entered while a machine ran, with the moment of each: a run that depends on the host's clock
//! is had again from such a recording, bit for bit.
//!
//! A recording is text, a line each:
//!
//! ```text
//! # comments and empty lines are skipped
//! instructions:181250000 time:2731250000ns send "ls\r"
//! instructions:191500000 time:2931500000ns press ctrl-alt-delete
//! instructions:201750000 time:3131750000ns reset system
//! instructions:211000000 time:3331000000ns close
//! instructions:221000000 time:3931000000ns quit
//! ```
//!
//! `close` says that nothing more will come, `quit` that the run was ended there.

use std::{fmt, str::FromStr};

use warmboot_machine::{Condition, ConfigError, Machine, ResetPath};

use crate::typing::HOLD_NS;

/// Something entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Bytes to COM1, for which there is room.
    Send(Vec<u8>),
    /// Keys pressed together and released soon, as `ctrl-alt-delete`; or the power button.
    Press(String),
    /// A reset by one of the paths.
    Reset(ResetPath),
    /// Nothing more will come.
    Close,
    /// The run ends here.
    Quit,
}

/// An entry and its moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Instructions retired since power-on.
    pub instructions: u64,
    /// Nanoseconds of virtual time since power-on: it passes without instructions while all processors wait.
    pub time: u64,
    /// What.
    pub entry: Entry,
}

/// Entries in the order in which they were made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Recording(pub Vec<Input>);

impl Entry {
    /// Enters it.
    pub(crate) fn enter(&self, machine: &mut Machine) -> Result<(), ConfigError> {
        match self {
            Entry::Send(bytes) => {
                for byte in bytes {
                    if machine.serial_has_room() == Some(false) {
                        return Err(ConfigError::new("the serial port has no room for it"));
                    }
                    machine.send_serial(*byte)?;
                }
                Ok(())
            }
            Entry::Press(keys) if keys.contains("power-button") => machine.press(keys),
            Entry::Press(keys) => machine.press_and_hold(keys, HOLD_NS),
            Entry::Reset(path) => machine.reset(*path),
            Entry::Close | Entry::Quit => Ok(()),
        }
    }
}

impl Input {
    /// What to wait for on the way to its moment. Its time is always among it: when the last processor halts, time
    /// jumps to what is waited for. What of it has come already is replaced by what comes only to another machine.
    pub(crate) fn marks(&self, machine: &Machine) -> [Condition; 2] {
        let next = |now: u64, mark: u64| if now < mark { mark } else { mark.saturating_add(1) };
        let here = (machine.instructions(), machine.virtual_time());
        if here == (self.instructions, self.time) {
            return [Condition::Instructions(self.instructions), Condition::Time(self.time)];
        }
        [Condition::Instructions(next(here.0, self.instructions)), Condition::Time(next(here.1, self.time))]
    }

    /// Whether its moment is now; an error when that will not come.
    pub(crate) fn is_due(&self, machine: &Machine) -> Result<bool, ConfigError> {
        let (instructions, time) = (machine.instructions(), machine.virtual_time());
        if instructions > self.instructions || time > self.time {
            return Err(ConfigError::new(format!(
                "the input `{self}` is not of this machine and run, which stands at {instructions} instructions and {time} ns"
            )));
        }
        Ok((instructions, time) == (self.instructions, self.time))
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { instructions, time, entry } = self;
        write!(f, "instructions:{instructions} time:{time}ns {entry}")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Send(bytes) => write!(f, "send \"{}\"", bytes.escape_ascii()),
            Entry::Press(keys) => write!(f, "press {keys}"),
            Entry::Reset(path) => write!(f, "reset {path}"),
            Entry::Close => f.write_str("close"),
            Entry::Quit => f.write_str("quit"),
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|input| writeln!(f, "{input}"))
    }
}

impl FromStr for Recording {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Recording, ConfigError> {
        let mut inputs: Vec<Input> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| ConfigError::new(format!("line {}, `{line}`: {why}", number + 1));
            let input: Input = line.parse().map_err(|error: ConfigError| wrong(&error.to_string()))?;
            if inputs
                .last()
                .is_some_and(|last| (last.instructions, last.time) > (input.instructions, input.time))
            {
                return Err(wrong("its moment comes before that of the line above"));
            }
            inputs.push(input);
        }
        Ok(Recording(inputs))
    }
}

impl FromStr for Input {
    type Err = ConfigError;

    fn from_str(line: &str) -> Result<Input, ConfigError> {
        let expected = || ConfigError::new("expected instructions:N time:Nns and what is entered");
        let (instructions, rest) = line.split_once(' ').ok_or_else(expected)?;
        let (time, entry) = rest.split_once(' ').ok_or_else(expected)?;
        let (Ok(Condition::Instructions(instructions)), Ok(Condition::Time(time))) =
            (instructions.parse(), time.parse())
        else {
            return Err(expected());
        };
        Ok(Input { instructions, time, entry: entry.parse()? })
    }
}

impl FromStr for Entry {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Entry, ConfigError> {
        let (what, of) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match (what, of.trim()) {
            ("send", quoted) => bytes(quoted).map(Entry::Send),
            ("press", keys) => {
                warmboot_machine::parse_keys(keys)?;
                Ok(Entry::Press(keys.to_owned()))
            }
            ("reset", path) => Ok(Entry::Reset(path.parse()?)),
            ("close", "") => Ok(Entry::Close),
            ("quit", "") => Ok(Entry::Quit),
            _ => Err(ConfigError::new("expected send \"TEXT\", press KEYS, reset PATH, close or quit")),
        }
    }
}

/// Bytes between quotes, escaped as Rust's byte strings are.
fn bytes(quoted: &str) -> Result<Vec<u8>, ConfigError> {
    let wrong = || {
        ConfigError::new(
            "expected text in quotes, where \\n \\r \\t \\\\ \\\" \\' and \\x00 to \\xff stand for what is not printed",
        )
    };
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    let (mut bytes, mut rest) = (Vec::new(), inner.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(plain @ (b'\\' | b'"' | b'\'')) => plain,
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(wrong()) };
                (high << 4 | low) as u8
            }
            _ => return Err(wrong()),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::bytes("instructions:1 time:2ns send \"ls\\r\\x00\\xff\\\"\\\\\"", Entry::Send(b"ls\r\0\xff\"\\".to_vec()))]
    #[case::keys("instructions:1 time:2ns press ctrl-alt-delete", Entry::Press("ctrl-alt-delete".into()))]
    #[case::reset("instructions:1 time:2ns reset system", Entry::Reset(ResetPath::System))]
    #[case::close("instructions:1 time:2ns close", Entry::Close)]
    #[case::quit("instructions:1 time:2ns quit", Entry::Quit)]
    fn comes_back_as_it_was(#[case] line: &str, #[case] entry: Entry) {
        let expect = Recording(vec![Input { instructions: 1, time: 2, entry }]);
        assert_eq!(format!("# nothing\n\n{line}\n").parse(), Ok(expect.clone()));
        assert_eq!(expect.to_string(), format!("{line}\n"));
    }

    #[rstest]
    #[case::no_time("instructions:1 send \"a\"", "line 1")]
    #[case::no_unit("instructions:1 time:2 close", "expected instructions:N time:Nns")]
    #[case::no_quotes("instructions:1 time:2ns send a", "quotes")]
    #[case::half_an_escape("instructions:1 time:2ns send \"\\x1\"", "quotes")]
    #[case::no_key("instructions:1 time:2ns press any", "unknown key `any`")]
    #[case::no_path("instructions:1 time:2ns reset hammer", "hammer")]
    #[case::nothing("instructions:1 time:2ns", "expected")]
    #[case::more("instructions:1 time:2ns quit now", "expected send")]
    #[case::backwards("instructions:1 time:2ns close\ninstructions:1 time:1ns close", "line 2")]
    fn says_what_is_wrong(#[case] text: &str, #[case] expect: &str) {
        let error = text.parse::<Recording>().expect_err("wrong").to_string();
        assert!(error.contains(expect), "{error}");
    }
}
