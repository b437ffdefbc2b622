//! `expect = { … }`: what must be true now. All of it is checked, and all that is not is said.
//!
//! Text is looked for in what was printed since the last `press` or `reset` step (or power-on), so
//! that a second boot is not mistaken for the first.

use toml_span::Value;
use warmboot_machine::{Machine, PowerState};

use super::{Kind, Scene, Step, Stop};
use crate::{
    problem::{Problem, Source},
    table::{self, Reader},
};

pub(super) const KIND: Kind = Kind { name: "expect", parse };

/// BDA 40:75, the number of hard disks INT 13h serves.
const DISKS: u64 = 0x475;

#[derive(Debug)]
struct Expect {
    checks: Vec<Check>,
}

/// Which text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Log {
    Debug,
    Serial,
    Screen,
}

/// One thing that must be true.
#[derive(Clone, PartialEq, Debug)]
enum Check {
    Text { log: Log, there: bool, text: String },
    Memory { address: u64, bytes: Vec<u8> },
    Register { name: String, value: u64 },
    Chip { chip: String, register: String, value: serde_json::Value },
    Power(PowerState),
    EndedBy(String),
    DebugExit(u32),
    Disks(u8),
    Digest(String),
    StateDigest(String),
}

/// Names of [`PowerState`] in scenario files.
const POWER: [(&str, PowerState); 3] =
    [("on", PowerState::On), ("off", PowerState::Off), ("suspended", PowerState::Suspended)];

fn parse(source: &Source, value: &Value<'_>, _: &Reader<'_, '_>) -> Result<Box<dyn Step>, Problem> {
    let reader = Reader::new(source, Some(table::table(source, value)?), "an expectation");
    let mut checks = Vec::new();
    let logs = [
        ("debug", Log::Debug, true),
        ("debug-lacks", Log::Debug, false),
        ("serial", Log::Serial, true),
        ("serial-lacks", Log::Serial, false),
        ("screen", Log::Screen, true),
        ("screen-lacks", Log::Screen, false),
    ];
    for (key, log, there) in logs {
        if let Some(value) = reader.get(key) {
            for text in table::one_or_more(source, value, |value| table::string(source, value))? {
                checks.push(Check::Text { log, there, text: text.to_owned() });
            }
        }
    }
    if let Some(value) = reader.get("memory") {
        for (key, value) in table::in_order(table::table(source, value)?) {
            let address = physical_address(&key.name).ok_or_else(|| {
                let message = format!("`{}` is no physical address", key.name);
                source.problem(key.span, message, "expected \"0x475\" or \"f000:fff0\"")
            })?;
            checks.push(Check::Memory { address, bytes: bytes(source, value)? });
        }
    }
    if let Some(value) = reader.get("register") {
        for (key, value) in table::in_order(table::table(source, value)?) {
            let value = table::integer(source, value, i64::MAX.unsigned_abs())?;
            checks.push(Check::Register { name: key.name.to_string(), value });
        }
    }
    if let Some(value) = reader.get("chip") {
        for (key, value) in table::in_order(table::table(source, value)?) {
            let (chip, register) = key.name.split_once('.').ok_or_else(|| {
                let message = format!("`{}` names no chip's register", key.name);
                source.problem(key.span, message, "expected \"chip.register\"")
            })?;
            let value = json(source, value)?;
            checks.push(Check::Chip { chip: chip.to_owned(), register: register.to_owned(), value });
        }
    }
    if let Some(value) = reader.get("power") {
        let state = table::parsed(source, value, |name| {
            let known = POWER.iter().find(|(known, _)| *known == name).map(|(_, state)| *state);
            known.ok_or_else(|| format!("unknown power state `{name}`; there are on, off, suspended"))
        })?;
        checks.push(Check::Power(state));
    }
    if let Some(text) = reader.optional("ended-by", table::string)? {
        checks.push(Check::EndedBy(text.to_owned()));
    }
    if let Some(value) = reader.get("debug-exit") {
        let status = table::integer(source, value, u64::from(u32::MAX))?;
        checks.push(Check::DebugExit(u32::try_from(status).unwrap_or(u32::MAX)));
    }
    if let Some(value) = reader.get("disks") {
        let count = table::integer(source, value, 255)?;
        checks.push(Check::Disks(u8::try_from(count).unwrap_or(u8::MAX)));
    }
    if let Some(value) = reader.get("digest") {
        checks.push(Check::Digest(digest(source, value)?));
    }
    if let Some(value) = reader.get("state-digest") {
        checks.push(Check::StateDigest(digest(source, value)?));
    }
    reader.finish()?;
    if checks.is_empty() {
        return Err(source.problem(value.span, "this step expects nothing", ""));
    }
    Ok(Box::new(Expect { checks }))
}

/// `0x475` or `f000:fff0`, as a real-mode address.
fn physical_address(text: &str) -> Option<u64> {
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    match text.split_once(':') {
        Some((segment, offset)) => {
            let segment = hex(segment).filter(|segment| *segment <= 0xffff)?;
            let offset = hex(offset).filter(|offset| *offset <= 0xffff)?;
            Some((segment << 4) + offset)
        }
        None if text.starts_with("0x") => hex(text),
        None => text.parse().ok(),
    }
}

/// A byte, an array of them, or `"ea 5b e0"`.
fn bytes(source: &Source, value: &Value<'_>) -> Result<Vec<u8>, Problem> {
    let Some(text) = value.as_str() else {
        return table::one_or_more(source, value, |value| {
            table::integer(source, value, 0xff).map(|byte| u8::try_from(byte).unwrap_or(0))
        });
    };
    let bytes: Option<Vec<u8>> =
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
        source.problem(value.span, format!("`{text}` is not a row of bytes"), "expected \"ea 5b e0\"")
    })
}

fn digest(source: &Source, value: &Value<'_>) -> Result<String, Problem> {
    table::parsed(source, value, |text| {
        let hex = text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if hex { Ok(text.to_owned()) } else { Err("expected 64 lower-case hexadecimal digits") }
    })
}

fn json(source: &Source, value: &Value<'_>) -> Result<serde_json::Value, Problem> {
    use toml_span::value::ValueInner::{Array, Boolean, Float, Integer, String, Table};
    Ok(match value.as_ref() {
        String(text) => text.as_ref().into(),
        Integer(number) => (*number).into(),
        Boolean(flag) => (*flag).into(),
        Array(values) => values.iter().map(|value| json(source, value)).collect::<Result<_, _>>()?,
        Float(_) | Table(_) => {
            let message = "expected a string, a whole number, true, false, or an array of these";
            return Err(source.problem(value.span, message, ""));
        }
    })
}

impl Step for Expect {
    fn describe(&self) -> String {
        let shown: Vec<String> = self.checks.iter().map(Check::describe).collect();
        format!("expect {}", shown.join(", "))
    }

    fn expects(&self) -> bool {
        true
    }

    fn take(&self, scene: &mut Scene<'_>) -> Result<(), Stop> {
        let wrong: Vec<String> = self
            .checks
            .iter()
            .filter_map(|check| {
                check
                    .found_instead(scene)
                    .map(|found| format!("expected {}\nfound    {found}", check.describe()))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(Stop::Failed(wrong.join("\n"))) }
    }
}

impl Check {
    fn describe(&self) -> String {
        match self {
            Check::Text { log, there, text } => {
                format!("{} {} `{text}`", log.name(), if *there { "has" } else { "lacks" })
            }
            Check::Memory { address, bytes } => format!("memory {address:#x} = {}", hex(bytes)),
            Check::Register { name, value } => format!("register {name} = {value:#x}"),
            Check::Chip { chip, register, value } => format!("chip {chip}.{register} = {value}"),
            Check::Power(state) => format!("power {}", power_name(*state)),
            Check::EndedBy(text) => format!("ended-by {text}"),
            Check::DebugExit(status) => format!("debug-exit {status}"),
            Check::Disks(count) => format!("disks = {count}"),
            Check::Digest(digest) => format!("digest {digest}"),
            Check::StateDigest(digest) => format!("state-digest {digest}"),
        }
    }

    /// What is there when it is not what was expected.
    fn found_instead(&self, scene: &mut Scene<'_>) -> Option<String> {
        match self {
            Check::Text { log, there, text } => {
                let Some(found) = log.text(scene) else {
                    return Some(format!("no {}", log.name()));
                };
                (found.contains(text.as_str()) != *there).then(|| tail(&found))
            }
            Check::Memory { address, bytes } => {
                let mut found = vec![0; bytes.len()];
                scene.machine.read_memory(*address, &mut found);
                (found != *bytes).then(|| hex(&found))
            }
            Check::Register { name, value } => {
                let found = scene.machine.register(name);
                (found != Some(*value)).then(|| {
                    found.map_or_else(|| "no such register".to_owned(), |found| format!("{found:#x}"))
                })
            }
            Check::Chip { chip, register, value } => {
                let found = scene.machine.chip_register(chip, register);
                (found.as_ref() != Some(value))
                    .then(|| found.map_or_else(|| "no such register".to_owned(), |found| found.to_string()))
            }
            Check::Power(state) => {
                let found = scene.machine.power();
                (found != *state).then(|| power_name(found).to_owned())
            }
            Check::EndedBy(text) => {
                let found = scene.finish.as_ref().map_or("no run yet", |finish| finish.ended_by.as_str());
                // `debug` stands for `debug:whatever`.
                let is_kind = found.split_once(':').is_some_and(|(kind, _)| kind == text);
                (found != text && !is_kind).then(|| found.to_owned())
            }
            Check::DebugExit(status) => {
                let found = scene.finish.as_ref().and_then(|finish| finish.debug_exit);
                (found != Some(*status))
                    .then(|| found.map_or_else(|| "no debug exit".to_owned(), |found| found.to_string()))
            }
            Check::Disks(count) => {
                let found = disks(scene.machine);
                (found != *count).then(|| found.to_string())
            }
            Check::Digest(digest) => {
                let found = scene.machine.digest();
                (found != *digest).then_some(found)
            }
            Check::StateDigest(digest) => {
                let found = scene.machine.state_digest();
                (found != *digest).then_some(found)
            }
        }
    }
}

impl Log {
    fn name(self) -> &'static str {
        match self {
            Log::Debug => "debug",
            Log::Serial => "serial",
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
            Log::Screen => scene.machine.screen_text(),
        }
    }
}

fn disks(machine: &Machine) -> u8 {
    let mut byte = [0];
    machine.read_memory(DISKS, &mut byte);
    byte[0]
}

fn power_name(state: PowerState) -> &'static str {
    POWER.iter().find(|(_, known)| *known == state).map_or("?", |(name, _)| name)
}

fn hex(bytes: &[u8]) -> String {
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
