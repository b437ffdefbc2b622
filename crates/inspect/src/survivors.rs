//! What survives a reset: a diff with a reset in the middle.
//!
//! A machine is booted cold to a point, reset by a named path, and booted warm to the same point. What
//! at the reset vector is not as it was at power-on has survived. Each surviving byte has a fate in
//! the warm boot: never written again (stale), written again with the value it had, or with another.
//! And what is not as after the cold boot at the same point is what the reset did not put right.

use std::fmt;

use serde::Serialize;
use thiserror::Error;
use warmboot_machine::{Address, Condition, ConfigError, Ended, Limits, Machine, ResetPath, WrittenBytes};
use warmboot_memory::{BlockId, Memory};

use crate::{
    diff::{Diff, Ignore, RangeDiff, diff, digits, hex},
    symbols::Symbols,
};

/// Ranges without a symbol of each fate that are shown as text; JSON has all.
const UNNAMED: usize = 16;
/// Bytes of a range shown as text.
const SHOWN: usize = 12;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SurvivorsError {
    /// The first boot did not come to the point.
    #[error("the first boot ended by {0} before the point was reached")]
    NotReached(Ended),
    /// `go_on` said no.
    #[error("interrupted")]
    Interrupted,
    /// The reset did not bring the processor to its reset vector.
    #[error("reset path `{path}` does nothing on generation `{generation}`")]
    NoReset {
        /// The path.
        path: ResetPath,
        /// The machine's generation.
        generation: &'static str,
    },
    /// A condition that cannot come true on this machine, or a reset its power state does not let happen.
    #[error(transparent)]
    Condition(#[from] ConfigError),
}

/// One boot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Boot {
    /// What ended it.
    pub ended_by: String,
    /// Whether it came to the point.
    pub reached: bool,
    /// Instructions from its reset vector on.
    pub instructions: u64,
    /// Resets in the course of it: firmware may reset the machine once more.
    pub resets: u64,
}

/// What became of a surviving byte in the warm boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Nothing wrote it: it is what the boot before left.
    Stale,
    /// Written, and at the point it has the value that it had at the reset vector.
    RewrittenSame,
    /// Written, and it has another value.
    Rewritten,
    /// Not written, but it has another value: a later reset put it back.
    Restored,
}

impl Fate {
    const ALL: [Fate; 4] = [Fate::Stale, Fate::RewrittenSame, Fate::Rewritten, Fate::Restored];

    fn about(self) -> &'static str {
        match self {
            Fate::Stale => "never rewritten by the second boot",
            Fate::RewrittenSame => "rewritten with the value they had",
            Fate::Rewritten => "rewritten with another value",
            Fate::Restored => "put back by another reset",
        }
    }
}

/// Consecutive bytes that survived and share a fate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Survivor {
    /// The block.
    pub block: String,
    /// Offset of the first byte in it.
    pub offset: u64,
    /// Where a PC shows that byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// The symbol there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// What becomes of them.
    pub fate: Fate,
    /// The bytes at power-on; as hexadecimal digits in JSON.
    #[serde(serialize_with = "hex")]
    pub at_power_on: Vec<u8>,
    /// The bytes at the reset vector.
    #[serde(serialize_with = "hex")]
    pub at_reset: Vec<u8>,
    /// The bytes at the point after the warm boot.
    #[serde(serialize_with = "hex")]
    pub at_point: Vec<u8>,
}

/// What survived, and what that led to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Survivors {
    /// The reset.
    pub reset: String,
    /// The boot from power-on.
    pub cold: Boot,
    /// The boot after the reset.
    pub warm: Boot,
    /// Registers, wires and addresses that at the reset vector are not as at power-on. Its blocks are in
    /// `bytes`.
    pub registers: Diff,
    /// Bytes that at the reset vector are not as at power-on.
    pub bytes: Vec<Survivor>,
    /// What at the point is not as after the cold boot.
    pub differs: Diff,
}

/// Boots `machine`, which stands at its reset vector after power-on, to the first of `until`, resets it
/// by `path` and boots it again. Counts in `until` and `limits` begin at the reset vector both times.
/// Gives the machine as it is then, too. `go_on` is called after every slice and may stop it by returning
/// false; without [`Limits::slice`] it is never called.
///
/// A second boot that does not come to the point is compared where it ended: that is often what is
/// being looked for.
///
/// # Errors
/// [`SurvivorsError`]: the first boot ended elsewhere, there is no such reset on this machine, or `go_on`
/// stopped it.
pub fn survivors(
    mut machine: Machine,
    until: &[Condition],
    path: ResetPath,
    limits: Limits,
    symbols: &Symbols,
    ignore: &[Ignore],
    go_on: &mut dyn FnMut(&Machine) -> bool,
) -> Result<(Survivors, Machine), SurvivorsError> {
    let power_on = machine.fork();
    let (cold_boot, ended) = boot(&mut machine, until, limits, go_on)?;
    if !cold_boot.reached {
        return Err(SurvivorsError::NotReached(ended));
    }
    let cold = machine.fork();
    machine.reset(path)?;
    to_reset_vector(&mut machine, path)?;
    let at_reset = machine.fork();
    machine.record_written(true);
    let (warm_boot, _) = boot(&mut machine, until, limits, go_on)?;

    let mut registers = diff(&power_on, &at_reset, symbols, ignore);
    let blocks = std::mem::take(&mut registers.blocks);
    let fates = Fates {
        at_reset: at_reset.memory(),
        at_point: machine.memory(),
        written: machine.written(),
        symbols,
    };
    let mut bytes = Vec::new();
    for block in &blocks {
        for range in &block.ranges {
            fates.part(&block.block, range, &mut bytes);
        }
    }
    let differs = diff(&cold, &machine, symbols, ignore);
    let reset = path.to_string();
    machine.record_written(false);
    Ok((Survivors { reset, cold: cold_boot, warm: warm_boot, registers, bytes, differs }, machine))
}

/// Runs to the point, with counts from here on.
fn boot(
    machine: &mut Machine,
    until: &[Condition],
    limits: Limits,
    go_on: &mut dyn FnMut(&Machine) -> bool,
) -> Result<(Boot, Ended), SurvivorsError> {
    let (instructions, time) = (machine.instructions(), machine.virtual_time());
    let resets = machine.resets();
    let until: Vec<Condition> = until
        .iter()
        .map(|condition| match condition {
            Condition::Instructions(at) => Condition::Instructions(at.saturating_add(instructions)),
            Condition::Time(at) => Condition::Time(at.saturating_add(time)),
            other => other.clone(),
        })
        .collect();
    let limits = Limits {
        instructions: limits.instructions.map(|limit| limit.saturating_add(instructions)),
        time: limits.time.map(|limit| limit.saturating_add(time)),
        slice: limits.slice,
    };
    let ended = loop {
        match machine.run(&until, limits)? {
            Ended::Slice if go_on(machine) => {}
            Ended::Slice => return Err(SurvivorsError::Interrupted),
            ended => break ended,
        }
    };
    // A machine that halts for good, or loses its power, has come to no condition unless one says so.
    let asked = match ended {
        Ended::Condition(_) => true,
        Ended::Halt => until.contains(&Condition::Halt),
        _ => false,
    };
    let boot = Boot {
        ended_by: ended.to_string(),
        reached: asked,
        instructions: machine.instructions() - instructions,
        resets: machine.resets() - resets,
    };
    Ok((boot, ended))
}

/// After a reset: to the first instruction, which an INIT reaches only when the processor takes it.
fn to_reset_vector(machine: &mut Machine, path: ResetPath) -> Result<(), SurvivorsError> {
    let vector = Condition::Address(Address::Segmented(0xf000, 0xfff0));
    let limits = Limits { instructions: Some(machine.instructions() + 1), ..Limits::default() };
    match machine.run(std::slice::from_ref(&vector), limits)? {
        Ended::Condition(met) if met == vector => Ok(()),
        _ => Err(SurvivorsError::NoReset { path, generation: machine.generation().name }),
    }
}

/// What tells the fate of a byte.
struct Fates<'a> {
    at_reset: &'a Memory,
    at_point: &'a Memory,
    written: Option<&'a WrittenBytes>,
    symbols: &'a Symbols,
}

impl Fates<'_> {
    fn of(&self, block: BlockId, offset: u64, before: u8, now: u8) -> Fate {
        let written = self.written.is_some_and(|written| written.contains(self.at_point, block, offset));
        match (written, before == now) {
            (true, true) => Fate::RewrittenSame,
            (true, false) => Fate::Rewritten,
            (false, true) => Fate::Stale,
            (false, false) => Fate::Restored,
        }
    }

    /// Parts a surviving range by fate.
    fn part(&self, block: &str, range: &RangeDiff, found: &mut Vec<Survivor>) {
        let Some(id) = self.at_reset.block(block) else { return };
        let mut now = vec![0; range.after.len()];
        if self.at_point.read_block(id, range.offset, &mut now).is_err() {
            return;
        }
        let mut open: Option<Survivor> = None;
        let bytes = range.before.iter().zip(&range.after).zip(&now);
        for (index, ((power_on, at_reset), at_point)) in (0_u64..).zip(bytes) {
            let offset = range.offset + index;
            let fate = self.of(id, offset, *at_reset, *at_point);
            // A byte between two survivors that is as at power-on has no fate of its own.
            let goes_on = |open: &Survivor| open.fate == fate || power_on == at_reset;
            if open.as_ref().is_some_and(|open| !goes_on(open)) {
                found.extend(open.take());
            }
            let address = range.address.map(|address| address + index);
            let symbol = || self.symbols.at(address?).map(|place| place.to_string());
            let open = open.get_or_insert_with(|| Survivor {
                block: block.to_owned(),
                offset,
                address,
                symbol: symbol(),
                fate,
                at_power_on: Vec::new(),
                at_reset: Vec::new(),
                at_point: Vec::new(),
            });
            open.at_power_on.push(*power_on);
            open.at_reset.push(*at_reset);
            open.at_point.push(*at_point);
        }
        found.extend(open);
    }
}

impl Survivors {
    /// How many bytes survived with this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.bytes.iter().filter(|bytes| bytes.fate == fate).map(|bytes| bytes.at_reset.len()).sum()
    }
}

impl fmt::Display for Survivors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "first boot   {}", self.cold)?;
        writeln!(f, "second boot  {}, after reset {}", self.warm, self.reset)?;
        writeln!(f, "\nat the reset vector, not as at power-on:")?;
        let registers = self.registers.to_string();
        if self.registers.is_empty() {
            writeln!(f, "  no register")?;
        } else {
            registers.lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        for fate in Fate::ALL {
            self.show(f, fate)?;
        }
        writeln!(f, "\nat the point, not as after the first boot:")?;
        self.differs.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Survivors {
    fn show(&self, f: &mut fmt::Formatter<'_>, fate: Fate) -> fmt::Result {
        let count = self.count(fate);
        if count == 0 {
            return Ok(());
        }
        writeln!(f, "\n{count} bytes survived, {}:", fate.about())?;
        let all = || self.bytes.iter().filter(|bytes| bytes.fate == fate);
        let unnamed = || all().filter(|bytes| bytes.symbol.is_none());
        for survivor in all().filter(|bytes| bytes.symbol.is_some()).chain(unnamed().take(UNNAMED)) {
            writeln!(f, "  {survivor}")?;
        }
        match unnamed().count().saturating_sub(UNNAMED) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} ranges more without a symbol"),
        }
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.reached { "came to" } else { "ended by" };
        write!(f, "{how} {} after {} instructions", self.ended_by, self.instructions)?;
        match self.resets {
            0 => Ok(()),
            1 => f.write_str(" and a reset"),
            more => write!(f, " and {more} resets"),
        }
    }
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:#x}+{}", self.block, self.offset, self.at_reset.len())?;
        if let Some(symbol) = &self.symbol {
            write!(f, "  {symbol}")?;
        }
        let [power_on, at_reset, at_point] =
            [&self.at_power_on, &self.at_reset, &self.at_point].map(|bytes| match bytes.get(..SHOWN) {
                Some(first) if bytes.len() > SHOWN => format!("{}...", digits(first)),
                _ => digits(bytes),
            });
        write!(f, "  power-on {power_on}, reset {at_reset}")?;
        if at_point == at_reset { Ok(()) } else { write!(f, ", now {at_point}") }
    }
}

#[cfg(test)]
mod tests;
