//! Conditions that end a run, limits, and why a run ended; one spelling for the command line,
//! scenarios and reports.

use std::{fmt, str::FromStr};

use crate::{ConfigError, ResetPath};

/// A place in the guest's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// Linear address of the next instruction.
    Linear(u64),
    /// Selector and offset of the next instruction.
    Segmented(u16, u32),
}

/// Something to wait for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Text completed on the debug port.
    Debug(String),
    /// Text completed on COM1.
    Serial(String),
    /// Text completed on LPT1.
    Parallel(String),
    /// Text on the screen.
    Screen(String),
    /// A write to a port, of any value or one.
    Port {
        /// The port.
        port: u16,
        /// The value to wait for.
        value: Option<u32>,
    },
    /// An address about to be executed.
    Address(Address),
    /// A count of instructions since power-on.
    Instructions(u64),
    /// Nanoseconds since power-on.
    Time(u64),
    /// Halted with nothing that could wake the processor.
    Halt,
    /// Power-off.
    Shutdown,
    /// Suspended to RAM.
    Suspend,
    /// The guest said by the panic port that it has crashed.
    GuestPanicked,
    /// Any reset of the whole machine, whoever caused it.
    Reset,
    /// A reset by one path, even where the generation lets it reset no more than the processor.
    ResetBy(ResetPath),
}

/// Ceilings of one run. A run that meets one says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Instructions since power-on.
    pub instructions: Option<u64>,
    /// Nanoseconds since power-on.
    pub time: Option<u64>,
    /// Come back after about this many instructions with [`Ended::Slice`], to show progress.
    pub slice: Option<u64>,
}

/// One hour of virtual time, the default limit.
pub const DEFAULT_LIMIT_TIME: u64 = 3_600_000_000_000;

impl Default for Limits {
    fn default() -> Limits {
        Limits { instructions: None, time: Some(DEFAULT_LIMIT_TIME), slice: None }
    }
}

/// Why a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// A condition was met.
    Condition(Condition),
    /// Halted with nothing that could wake the processor.
    Halt,
    /// The guest switched the machine off.
    PowerOff,
    /// The guest suspended to RAM.
    Suspended,
    /// The debug-exit port was written; the emulator's exit status.
    DebugExit(u32),
    /// The guest said by the panic port that it has crashed.
    GuestPanicked,
    /// The instruction limit.
    Limit,
    /// The virtual-time limit.
    LimitTime,
    /// The slice is over; call again.
    Slice,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Condition(condition) => condition.fmt(f),
            Ended::Halt => f.write_str("halt"),
            Ended::PowerOff => f.write_str("power-off"),
            Ended::Suspended => f.write_str("suspended"),
            Ended::DebugExit(_) => f.write_str("debug-exit"),
            Ended::GuestPanicked => f.write_str("guest-panic"),
            Ended::Limit => f.write_str("limit"),
            Ended::LimitTime => f.write_str("limit-time"),
            Ended::Slice => f.write_str("slice"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Debug(text) => write!(f, "debug:{text}"),
            Condition::Serial(text) => write!(f, "serial:{text}"),
            Condition::Parallel(text) => write!(f, "parallel:{text}"),
            Condition::Screen(text) => write!(f, "screen:{text}"),
            Condition::Port { port, value: None } => write!(f, "port:{port:#x}"),
            Condition::Port { port, value: Some(value) } => write!(f, "port:{port:#x}={value:#x}"),
            Condition::Address(Address::Linear(address)) => write!(f, "address:{address:#x}"),
            Condition::Address(Address::Segmented(selector, offset)) => {
                write!(f, "address:{selector:04x}:{offset:04x}")
            }
            Condition::Instructions(count) => write!(f, "instructions:{count}"),
            Condition::Time(nanoseconds) => write!(f, "time:{nanoseconds}ns"),
            Condition::Halt => f.write_str("halt"),
            Condition::Shutdown => f.write_str("shutdown"),
            Condition::Suspend => f.write_str("suspend"),
            Condition::GuestPanicked => f.write_str("guest-panic"),
            Condition::Reset => f.write_str("reset"),
            Condition::ResetBy(path) => write!(f, "reset:{path}"),
        }
    }
}

/// The forms [`Condition`] takes, for messages.
const FORMS: &str = "debug:TEXT, serial:TEXT, parallel:TEXT, screen:TEXT, port:0x80 or port:0x80=0x55, \
                     address:0x7c00, address:f000:fff0, instructions:N, time:500ms, halt, shutdown, suspend, reset, \
                     reset:PATH, guest-panic";

impl FromStr for Condition {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Condition, ConfigError> {
        let bad = |why: String| ConfigError::new(format!("condition `{text}`: {why}"));
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let nonempty = |rest: &str| {
            if rest.is_empty() {
                Err(bad("expected some text after the colon".into()))
            } else {
                Ok(rest.to_owned())
            }
        };
        match kind {
            "debug" => nonempty(rest).map(Condition::Debug),
            "serial" => nonempty(rest).map(Condition::Serial),
            "parallel" => nonempty(rest).map(Condition::Parallel),
            "screen" => nonempty(rest).map(Condition::Screen),
            "port" => {
                let (port, value) = match rest.split_once('=') {
                    Some((port, value)) => (port, Some(value)),
                    None => (rest, None),
                };
                let port = number(port).and_then(|port| u16::try_from(port).ok());
                let port = port.ok_or_else(|| bad("expected a port from 0 to 0xffff".into()))?;
                let value = value
                    .map(|value| {
                        let value = number(value).and_then(|value| u32::try_from(value).ok());
                        value.ok_or_else(|| bad("expected a value of at most 32 bits after `=`".into()))
                    })
                    .transpose()?;
                Ok(Condition::Port { port, value })
            }
            "address" => {
                let place = match rest.split_once(':') {
                    Some((selector, offset)) => {
                        let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
                        hex(selector)
                            .and_then(|selector| u16::try_from(selector).ok())
                            .zip(hex(offset))
                            .map(|(selector, offset)| Address::Segmented(selector, offset))
                    }
                    None => number(rest).map(Address::Linear),
                };
                let place = place.ok_or_else(|| bad("expected 0x7c00 or f000:fff0".into()))?;
                Ok(Condition::Address(place))
            }
            "instructions" => {
                count(rest).map(Condition::Instructions).map_err(|error| bad(error.to_string()))
            }
            "time" => time(rest).map(Condition::Time).map_err(|error| bad(error.to_string())),
            "halt" if rest.is_empty() => Ok(Condition::Halt),
            "shutdown" if rest.is_empty() => Ok(Condition::Shutdown),
            "suspend" if rest.is_empty() => Ok(Condition::Suspend),
            "guest-panic" if rest.is_empty() => Ok(Condition::GuestPanicked),
            "reset" if text == kind => Ok(Condition::Reset),
            "reset" => rest.parse().map(Condition::ResetBy).map_err(|error| bad(error.to_string())),
            _ => Err(ConfigError::new(format!("unknown condition `{text}`; expected {FORMS}"))),
        }
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// Splits `5.5GiB`-like text into its number and suffix and scales it exactly.
fn scaled(text: &str, units: &[(&str, u64)], what: &str) -> Result<u64, ConfigError> {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
    let bad = || {
        ConfigError::new(format!(
            "`{text}` is not {what}; expected a whole number, with or without {}",
            names.join(", ")
        ))
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(suffix)).ok_or_else(bad)?;
    number.checked_mul(*factor).ok_or_else(|| ConfigError::new(format!("`{text}` is too large for {what}")))
}

/// A count of instructions: `N`, `NK`, `NM`, `NG`, decimal.
///
/// # Errors
/// Says what was expected.
pub fn count(text: &str) -> Result<u64, ConfigError> {
    scaled(text, &[("", 1), ("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)], "a count")
}

/// A span of virtual time in nanoseconds: `500ms`, `2s`, `10us`, `7ns`, `1h`, `3min`.
///
/// # Errors
/// Says what was expected.
pub fn time(text: &str) -> Result<u64, ConfigError> {
    let units = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    scaled(text, &units, "a time")
}

/// An amount of memory in bytes; suffixes are binary, no suffix means MiB as in other emulators.
///
/// # Errors
/// Says what was expected.
pub fn memory(text: &str) -> Result<u64, ConfigError> {
    let units = [
        ("", 1 << 20),
        ("B", 1),
        ("K", 1 << 10),
        ("KiB", 1 << 10),
        ("M", 1 << 20),
        ("MiB", 1 << 20),
        ("G", 1 << 30),
        ("GiB", 1 << 30),
        ("T", 1 << 40),
        ("TiB", 1 << 40),
    ];
    scaled(text, &units, "an amount of memory")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("debug:No bootable device", Ok(Condition::Debug("No bootable device".into())))]
    #[case("debug:a:b", Ok(Condition::Debug("a:b".into())))]
    #[case("port:0x80=0x55", Ok(Condition::Port { port: 0x80, value: Some(0x55) }))]
    #[case("port:128", Ok(Condition::Port { port: 0x80, value: None }))]
    #[case("port:0x10000", Err("condition `port:0x10000`: expected a port from 0 to 0xffff"))]
    #[case("address:0x7c00", Ok(Condition::Address(Address::Linear(0x7c00))))]
    #[case("address:f000:fff0", Ok(Condition::Address(Address::Segmented(0xf000, 0xfff0))))]
    #[case("address:x", Err("condition `address:x`: expected 0x7c00 or f000:fff0"))]
    #[case("instructions:2M", Ok(Condition::Instructions(2_000_000)))]
    #[case("time:500ms", Ok(Condition::Time(500_000_000)))]
    #[case("halt", Ok(Condition::Halt))]
    #[case("suspend", Ok(Condition::Suspend))]
    #[case("guest-panic", Ok(Condition::GuestPanicked))]
    #[case("reset", Ok(Condition::Reset))]
    #[case("reset:triple-fault", Ok(Condition::ResetBy(ResetPath::TripleFault)))]
    #[case(
        "reset:",
        Err(
            "condition `reset:`: unknown reset path ``; there are system, keyboard, port92, cf9, cf9-soft, triple-fault, init, s3-resume"
        )
    )]
    fn conditions(#[case] text: &str, #[case] expect: Result<Condition, &str>) {
        let parsed = text.parse::<Condition>();
        assert_eq!(parsed.clone().map_err(|error| error.to_string()), expect.map_err(str::to_owned));
        if let Ok(condition) = parsed {
            assert_eq!(condition.to_string().parse(), Ok(condition));
        }
    }

    #[rstest]
    #[case("128", Some(128 << 20))]
    #[case("64K", Some(64 << 10))]
    #[case("5T", Some(5 << 40))]
    #[case("-1", None)]
    #[case("99999999999T", None)]
    fn amounts(#[case] text: &str, #[case] expect: Option<u64>) {
        assert_eq!(memory(text).ok(), expect);
    }
}
