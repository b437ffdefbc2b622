//! One thing that must be true of a machine, and what is there when it is not.

use std::fmt;

use toml_span::Value;
use warmboot_machine::{ConfigError, Machine, PowerState};

use super::Scene;
use crate::{
    answers,
    place::{Found, Place},
    problem::{Problem, Source, or_did_you_mean},
    table,
};

/// BDA 40:75, the number of hard disks INT 13h serves.
pub(crate) const DISKS: u64 = 0x475;
/// IF in EFLAGS.
const INTERRUPTS: u64 = 1 << 9;

/// Which text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Log {
    Debug,
    Serial,
    Parallel,
    Screen,
}

/// One thing that must be true.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Check {
    Text(Log, TextCheck),
    Memory(Place, Amount),
    Answers(Place, String),
    Register(String, u64),
    Chip { chip: String, register: String, value: serde_json::Value },
    Halted(bool),
    Interrupts(bool),
    Power(PowerState),
    EndedBy(String),
    DebugExit(u32),
    Disks(u8),
    Migration { there: bool, text: String },
    Digest(String),
    StateDigest(String),
}

/// What must be true of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TextCheck {
    Has(String),
    Lacks(String),
    Order(Vec<String>),
    Count(String, u64),
    Is(String),
}

/// The bytes that must be somewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Amount {
    /// A number, in as many bytes as the symbol has, or one.
    Number(u64),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Names of [`PowerState`] in scenario files.
pub(super) const POWER: [(&str, PowerState); 3] =
    [("on", PowerState::On), ("off", PowerState::Off), ("suspended", PowerState::Suspended)];

impl Amount {
    /// Reads what must be at `place`: a number, an array of bytes, or `"ea 5b e0"`.
    pub(super) fn read(source: &Source, value: &Value<'_>, place: &Place) -> Result<Amount, Problem> {
        if let Some(text) = value.as_str() {
            let bytes: Option<Vec<u8>> =
                text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
            return bytes.filter(|bytes| !bytes.is_empty()).map(Amount::Bytes).ok_or_else(|| {
                source.problem(value.span, format!("`{text}` is not a row of bytes"), "expected \"ea 5b e0\"")
            });
        }
        if value.as_array().is_some() {
            let byte =
                |value| table::integer(source, value, 0xff).map(|byte| u8::try_from(byte).unwrap_or(0));
            return table::one_or_more(source, value, byte).map(Amount::Bytes);
        }
        let most = if place.has_size() { i64::MAX.unsigned_abs() } else { 0xff };
        table::integer(source, value, most).map(Amount::Number)
    }

    /// The bytes, least significant first, for a symbol of `size` bytes.
    pub(super) fn bytes(&self, size: Option<u64>) -> Result<Vec<u8>, ConfigError> {
        match self {
            Amount::Bytes(bytes) => Ok(bytes.clone()),
            Amount::Number(number) => {
                // A number is as long as the variable; of an array or a structure it is the first byte.
                let size = size.filter(|size| matches!(size, 1 | 2 | 4 | 8)).unwrap_or(1);
                let bytes = number.to_le_bytes();
                let size = usize::try_from(size).unwrap_or(1);
                let (low, high) = bytes.split_at(size.min(bytes.len()));
                if high.iter().any(|byte| *byte != 0) {
                    return Err(ConfigError::new(format!("{number} does not fit in {size} bytes")));
                }
                Ok(low.to_vec())
            }
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Number(number) => write!(f, "{number}"),
            Amount::Bytes(bytes) => f.write_str(&hex(bytes)),
        }
    }
}

impl Check {
    pub(super) fn describe(&self) -> String {
        match self {
            Check::Text(log, check) => format!("{} {check}", log.name()),
            Check::Memory(place @ Place::Block { .. }, amount) => format!("block {place} = {amount}"),
            Check::Memory(place, amount) => format!("memory {place} = {amount}"),
            Check::Answers(place, who) => format!("{place} answered by {who}"),
            Check::Register(name, value) => format!("register {name} = {value:#x}"),
            Check::Chip { chip, register, value } => format!("chip {chip}.{register} = {value}"),
            Check::Halted(yes) => format!("halted = {yes}"),
            Check::Interrupts(yes) => format!("interrupts = {yes}"),
            Check::Power(state) => format!("power {}", power_name(*state)),
            Check::EndedBy(text) => format!("ended-by {text}"),
            Check::DebugExit(status) => format!("debug-exit {status}"),
            Check::Disks(count) => format!("disks = {count}"),
            Check::Migration { there, text } => format!("migration {} `{text}`", has(*there)),
            Check::Digest(digest) => format!("digest {digest}"),
            Check::StateDigest(digest) => format!("state-digest {digest}"),
        }
    }

    /// What is there when it is not what was expected.
    ///
    /// # Errors
    /// When the machine has nothing that could be looked at: no such symbol, no such block.
    pub(super) fn found_instead(&self, scene: &mut Scene<'_>) -> Result<Option<String>, ConfigError> {
        Ok(match self {
            Check::Text(log, check) => match log.text(scene) {
                None => Some(format!("no {}", log.name())),
                Some(text) => check.found_instead(&text),
            },
            Check::Memory(place, amount) => {
                let found = place.find(scene.symbols)?;
                memory_instead(&found, amount, scene.machine)?
            }
            Check::Answers(place, who) => {
                let at = place.find(scene.symbols)?.at;
                let found = answers::who(scene.machine, at);
                (found.name != *who && found.to_string() != *who).then(|| found.to_string())
            }
            Check::Register(name, value) => {
                let found = scene.machine.register(name).ok_or_else(|| {
                    ConfigError::new(format!("there is no register `{name}`; expected eax, cs, cr0, eflags…"))
                })?;
                (found != *value).then(|| format!("{found:#x}"))
            }
            Check::Chip { chip, register, value } => {
                check_names(scene.machine, chip, register)?;
                let found = scene.machine.chip_register(chip, register);
                differs(found, value, "no such register", ToString::to_string)
            }
            Check::Halted(yes) => differs(Some(scene.machine.is_halted()), yes, "", |_| place_of_run(scene)),
            Check::Interrupts(yes) => {
                let found = scene.machine.register("eflags").map(|flags| flags & INTERRUPTS != 0);
                differs(found, yes, "no flags", ToString::to_string)
            }
            Check::Power(state) => {
                differs(Some(scene.machine.power()), state, "", |found| power_name(*found).to_owned())
            }
            Check::EndedBy(text) => {
                let found = scene.finish.as_ref().map_or("no run yet", |finish| finish.ended_by.as_str());
                // `debug` stands for `debug:whatever`.
                let is_kind = found.split_once(':').is_some_and(|(kind, _)| kind == text);
                (found != text && !is_kind).then(|| found.to_owned())
            }
            Check::DebugExit(status) => {
                let found = scene.finish.as_ref().and_then(|finish| finish.debug_exit);
                differs(found, status, "no debug exit", ToString::to_string)
            }
            Check::Disks(count) => {
                let mut byte = [0];
                scene.machine.read_memory(DISKS, &mut byte);
                differs(byte.first().copied(), count, "", ToString::to_string)
            }
            Check::Migration { there, text } => match &scene.migration {
                None => Some("no migration yet".to_owned()),
                Some(messages) => (messages.iter().any(|message| message.contains(text.as_str())) != *there)
                    .then(|| match messages.as_slice() {
                        [] => "no message".to_owned(),
                        messages => messages.join("\n"),
                    }),
            },
            Check::Digest(digest) => Some(scene.machine.digest()).filter(|found| found != digest),
            Check::StateDigest(digest) => Some(scene.machine.state_digest()).filter(|found| found != digest),
        })
    }
}

/// Refuses a chip that the machine does not have, and a register that begins as none of its does. Deeper in,
/// what there is depends on the chip's state.
fn check_names(machine: &Machine, chip: &str, register: &str) -> Result<(), ConfigError> {
    let absent = |what: &str, name: &str, known: Vec<String>| {
        let meant = or_did_you_mean(name, known.iter().map(String::as_str));
        ConfigError::new(format!("there is no {what} `{name}`{meant}; there are {}", known.join(", ")))
    };
    let Some(state) = machine.chip_state(chip) else {
        return Err(absent("chip", chip, machine.chips().map(str::to_owned).collect()));
    };
    let first = register.split('.').next().unwrap_or_default();
    match state.as_object() {
        Some(registers) if !registers.contains_key(first) => {
            Err(absent(&format!("register of {chip}"), first, registers.keys().cloned().collect()))
        }
        _ => Ok(()),
    }
}

/// What was found, when it is not what was expected.
fn differs<T: PartialEq>(
    found: Option<T>,
    expected: &T,
    absent: &str,
    show: impl FnOnce(&T) -> String,
) -> Option<String> {
    match found {
        None => Some(absent.to_owned()),
        Some(found) => (found != *expected).then(|| show(&found)),
    }
}

fn memory_instead(found: &Found, amount: &Amount, machine: &Machine) -> Result<Option<String>, ConfigError> {
    let expected = amount.bytes(found.size)?;
    let mut bytes = vec![0; expected.len()];
    found.read(machine, &mut bytes)?;
    Ok((bytes != expected).then(|| hex(&bytes)))
}

/// Where the processor is, for a machine that should have been elsewhere.
fn place_of_run(scene: &Scene<'_>) -> String {
    let register = |name| scene.machine.register(name).unwrap_or(0);
    let state = if scene.machine.is_halted() { "halted" } else { "running" };
    format!("{state} at {:04x}:{:08x}, eflags {:#x}", register("cs"), register("rip"), register("eflags"))
}

fn has(there: bool) -> &'static str {
    if there { "has" } else { "lacks" }
}

impl fmt::Display for TextCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextCheck::Has(text) => write!(f, "has `{text}`"),
            TextCheck::Lacks(text) => write!(f, "lacks `{text}`"),
            TextCheck::Order(texts) => write!(f, "has in this order `{}`", texts.join("`, `")),
            TextCheck::Count(text, count) => write!(f, "has {count} times `{text}`"),
            TextCheck::Is(text) => write!(f, "is {text:?}"),
        }
    }
}

impl TextCheck {
    fn found_instead(&self, log: &str) -> Option<String> {
        match self {
            TextCheck::Has(text) => (!log.contains(text.as_str())).then(|| tail(log)),
            TextCheck::Lacks(text) => log.find(text.as_str()).map(|at| {
                let line = log.get(..at).unwrap_or_default().matches('\n').count();
                format!("in line {}: {}", line + 1, log.lines().nth(line).unwrap_or_default())
            }),
            TextCheck::Order(texts) => {
                let mut from = 0;
                for text in texts {
                    match log.get(from..).and_then(|rest| rest.find(text.as_str())) {
                        Some(at) => from += at + text.len(),
                        None => {
                            let elsewhere = if log.contains(text.as_str()) {
                                "only before the one before it"
                            } else {
                                "nowhere"
                            };
                            return Some(format!("`{text}` {elsewhere}\n{}", tail(log)));
                        }
                    }
                }
                None
            }
            TextCheck::Count(text, count) => {
                let found = log.matches(text.as_str()).count() as u64;
                (found != *count).then(|| format!("{found} times\n{}", tail(log)))
            }
            TextCheck::Is(text) => (log != text).then(|| tail(log)),
        }
    }
}

impl Log {
    pub(super) fn name(self) -> &'static str {
        match self {
            Log::Debug => "debug",
            Log::Serial => "serial",
            Log::Parallel => "parallel",
            Log::Screen => "screen",
        }
    }

    fn text(self, scene: &Scene<'_>) -> Option<String> {
        let since = |log: &[u8], from: usize| {
            String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
        };
        match self {
            Log::Debug => Some(since(scene.machine.debug_log(), scene.debug_from)),
            Log::Serial => Some(since(scene.machine.serial_log(), scene.serial_from)),
            Log::Parallel => Some(since(scene.machine.parallel_log(), scene.parallel_from)),
            Log::Screen => scene.machine.screen_text(),
        }
    }
}

fn power_name(state: PowerState) -> &'static str {
    POWER.iter().find(|(_, known)| *known == state).map_or("?", |(name, _)| name)
}

/// `ea 5b e0`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The last lines of a log, so that a report shows where it stopped.
fn tail(text: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    let skipped = if from > 0 { format!("… {from} lines, then\n") } else { String::new() };
    let last = lines.get(from..).unwrap_or_default().join("\n");
    if last.is_empty() { "nothing printed".to_owned() } else { format!("{skipped}{last}") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LOG: &str = "Start bios\nAttempting\nStart bios\nBooting\n";

    #[rstest]
    #[case::has(TextCheck::Has("Booting".into()), None)]
    #[case::lacks(TextCheck::Lacks("Attempt".into()), Some("in line 2: Attempting"))]
    #[case::order(TextCheck::Order(vec!["Start".into(), "Attempting".into(), "Start".into()]), None)]
    #[case::wrong_order(
        TextCheck::Order(vec!["Booting".into(), "Start".into()]),
        Some("`Start` only before the one before it")
    )]
    #[case::absent(TextCheck::Order(vec!["x".into()]), Some("`x` nowhere"))]
    #[case::twice(TextCheck::Count("Start bios".into(), 2), None)]
    #[case::count(TextCheck::Count("Start bios".into(), 1), Some("2 times"))]
    #[case::is(TextCheck::Is(LOG.into()), None)]
    #[case::silent(TextCheck::Is(String::new()), Some("Start bios\nAttempting"))]
    fn texts(#[case] check: TextCheck, #[case] expect: Option<&str>) {
        let found = check.found_instead(LOG);
        assert_eq!(found.is_some(), expect.is_some(), "{found:?}");
        assert!(found.unwrap_or_default().starts_with(expect.unwrap_or_default()));
    }

    #[rstest]
    #[case::byte(Amount::Number(5), None, Some(&[5][..]))]
    #[case::word(Amount::Number(5), Some(2), Some(&[5, 0][..]))]
    #[case::structure(Amount::Number(5), Some(12), Some(&[5][..]))]
    #[case::too_large(Amount::Number(256), Some(1), None)]
    #[case::bytes(Amount::Bytes(vec![1, 2]), Some(1), Some(&[1, 2][..]))]
    fn amounts(#[case] amount: Amount, #[case] size: Option<u64>, #[case] expect: Option<&[u8]>) {
        assert_eq!(amount.bytes(size).ok().as_deref(), expect);
    }
}
