//! One line per instruction.

use std::{io::Write, ops::RangeInclusive};

use iced_x86::{Decoder, DecoderOptions, Formatter as _, Instruction, NasmFormatter};
use warmboot_machine::{Occurrence, ResetPath, State, Step};

use super::{
    changes::changes,
    filter::{self, Common},
    output::Output,
    processor,
};
use crate::symbols::Symbols;

/// Room for a symbol, where there are any.
pub(super) const SYMBOL_WIDTH: usize = 24;
/// Room for an instruction, behind which the changed registers stand.
const CHANGES_AT: usize = 32;

/// The text of `--trace`.
///
/// A line is the number of instructions retired before, the processor if there are several, CS:IP, the
/// linear address and its symbol, the instruction, and what it changed. The rounds of a repeated string
/// instruction are one line, unless something comes between them. A line with `--` is what no instruction
/// does: an exception, an interrupt, a reset. An instruction that did not come to its end has its exception
/// behind it, and changed nothing itself.
pub struct InstructionTrace {
    common: Common,
    symbols: Symbols,
    output: Output,
    formatter: NasmFormatter,
    /// A repeated instruction whose end has not come.
    repeated: Option<Box<Repeated>>,
}

struct Repeated {
    instruction: u64,
    processor: (usize, usize),
    before: State,
    after: State,
    text: String,
    rounds: u64,
}

impl InstructionTrace {
    /// A trace to `to` with `options` as they stand behind the file's name: `from=N`, `to=N`, `limit=SIZE`,
    /// `range=START-END`, parted by commas.
    ///
    /// # Errors
    /// Which option is not understood, and what was expected.
    pub fn new(options: &str, symbols: Symbols, to: Box<dyn Write>) -> Result<InstructionTrace, String> {
        let mut common = Common::default();
        for (key, value) in filter::parts(options) {
            if !common.take(key, value, &symbols)? {
                return Err(filter::unknown(key, value, "range=, from=, to= or limit="));
            }
        }
        let output = Output::new(to, common.limit);
        Ok(InstructionTrace { common, symbols, output, formatter: NasmFormatter::new(), repeated: None })
    }

    pub(super) fn wants(&self, count: u64) -> (bool, u64) {
        if self.output.is_open() { self.common.span.at(count) } else { (false, u64::MAX) }
    }

    pub(super) fn takes(&self, state: &State) -> bool {
        let linear = state.linear_rip();
        let ranges = &self.common.ranges;
        ranges.is_empty() || ranges.iter().any(|range: &RangeInclusive<u64>| range.contains(&linear))
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        if self.goes_on(step) {
            return;
        }
        self.end_repeated();
        let mut before = step.before;
        if step.executed {
            let (instruction, text) = self.decode(step);
            let failed = !step.occurrences.is_empty();
            let stays = step.after.rip == step.before.rip && !failed;
            let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
            if stays && repeats && instruction.is_string_instruction() {
                self.repeated = Some(Box::new(Repeated {
                    instruction: step.instruction,
                    processor: step.processor,
                    before: step.before.clone(),
                    after: step.after.clone(),
                    text,
                    rounds: 1,
                }));
                return;
            }
            let changed = if failed { String::new() } else { changes(step.before, step.after) };
            self.line((step.instruction, step.processor), step.before, &text, &changed);
        }
        for (index, occurrence) in step.occurrences.iter().enumerate() {
            let last = index + 1 == step.occurrences.len();
            let (text, changed) = if last {
                let to = format!("{:04x}:{}", step.after.cs().selector, offset(step.after));
                (format!("-- {} -> {to}", name(*occurrence)), changes(before, step.after))
            } else {
                (format!("-- {}", name(*occurrence)), String::new())
            };
            self.line((step.instruction, step.processor), before, &text, &changed);
            before = step.before;
        }
    }

    /// Takes one more round of the repeated instruction, if that is what the step is.
    fn goes_on(&mut self, step: &Step<'_>) -> bool {
        let Some(repeated) = &mut self.repeated else { return false };
        let same = step.processor == repeated.processor
            && step.before.rip == repeated.before.rip
            && step.before.cs() == repeated.before.cs();
        if !same || !step.executed || !step.occurrences.is_empty() {
            return false;
        }
        repeated.after.clone_from(step.after);
        repeated.rounds += 1;
        if step.after.rip != step.before.rip {
            self.end_repeated();
        }
        true
    }

    fn end_repeated(&mut self) {
        let Some(repeated) = self.repeated.take() else { return };
        let Repeated { instruction, processor, before, after, text, rounds } = *repeated;
        let times = if rounds == 1 { String::new() } else { format!(" ({rounds} rounds)") };
        self.line((instruction, processor), &before, &(text + &times), &changes(&before, &after));
    }

    pub(super) fn reset(&mut self, instructions: u64, path: ResetPath) {
        self.end_repeated();
        if self.common.span.contains(instructions) {
            self.output.line(&format!("{instructions:>12}  -- reset {path}"));
        }
    }

    pub(super) fn finish(&mut self) {
        self.end_repeated();
        self.output.flush();
    }

    fn decode(&mut self, step: &Step<'_>) -> (Instruction, String) {
        let bits = match (step.before.code_64(), step.before.cs().big()) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        let mut decoder = Decoder::with_ip(bits, step.bytes, step.before.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let mut text = String::new();
        if step.bytes.is_empty() {
            text.push_str("(not present)");
        } else {
            self.formatter.format(&instruction, &mut text);
        }
        (instruction, text)
    }

    fn line(
        &mut self,
        (count, (number, processors)): (u64, (usize, usize)),
        at: &State,
        text: &str,
        changed: &str,
    ) {
        let linear = at.linear_rip();
        let processor = processor(number, processors > 1);
        let symbol = self.symbols.at(linear).map_or(String::new(), |place| format!(" {place}"));
        let width = if self.symbols.is_empty() { 0 } else { SYMBOL_WIDTH };
        let digits = if at.code_64() { 16 } else { 8 };
        let gap = if changed.is_empty() { "" } else { "  " };
        self.output.line(&format!(
            "{count:>12}{processor}  {:04x}:{} {linear:0digits$x}{symbol:<width$}  {text:<CHANGES_AT$}{gap}{changed}",
            at.cs().selector,
            offset(at),
        ));
    }
}

/// The instruction pointer, as wide as its code segment's.
fn offset(state: &State) -> String {
    let digits = if state.code_64() {
        16
    } else if state.cs().big() {
        8
    } else {
        4
    };
    format!("{:0digits$x}", state.rip)
}

/// What has happened, in words.
fn name(occurrence: Occurrence) -> String {
    match occurrence {
        Occurrence::Exception { vector, error } => {
            let error = error.map_or(String::new(), |error| format!("({error:04x})"));
            format!("exception {vector:02x}h{}{error}", mnemonic(vector))
        }
        Occurrence::Interrupt(vector) => format!("interrupt {vector:02x}h"),
        Occurrence::Nmi => "NMI".to_owned(),
        Occurrence::Smi => "SMI".to_owned(),
        Occurrence::Init => "INIT".to_owned(),
        Occurrence::StartUp(vector) => format!("start-up {vector:02x}h"),
        Occurrence::Shutdown => "shutdown".to_owned(),
    }
}

/// Intel SDM vol. 3A, table 6-1.
fn mnemonic(vector: u8) -> &'static str {
    const NAMES: [&str; 22] = [
        " #DE", " #DB", "", " #BP", " #OF", " #BR", " #UD", " #NM", " #DF", "", " #TS", " #NP", " #SS",
        " #GP", " #PF", "", " #MF", " #AC", " #MC", " #XM", " #VE", " #CP",
    ];
    NAMES.get(usize::from(vector)).copied().unwrap_or("")
}
