//! QEMU's screen as text, and keys for it, over QMP on its standard input and output.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Failure, bench::process::Sample};

/// How often it is looked at. A text is seen so much too late.
const LOOK: Duration = Duration::from_millis(20);
/// A key is down for so long, in milliseconds, and the next waits as long again.
const HELD: u64 = 20;
/// Text of 80 columns and 25 rows, a character and its attribute each.
const PLACE: u64 = 0xb_8000;
const COLUMNS: usize = 80;
const ROWS: usize = 25;

struct Qemu {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Qemu {
    fn start(command: &mut Command) -> Result<Qemu, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes to QEMU")?;
        let mut qemu = Qemu { child, input, output: BufReader::new(output) };
        qemu.line()?; // the greeting
        qemu.execute("qmp_capabilities", &json!({}))?;
        Ok(qemu)
    }

    fn line(&mut self) -> Result<Value, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("QEMU ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// One command; events in between are of no interest.
    fn execute(&mut self, name: &str, arguments: &Value) -> Result<(), Failure> {
        writeln!(self.input, "{}", json!({ "execute": name, "arguments": arguments }))?;
        loop {
            let answer = self.line()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                return Err(format!("QEMU: {name}: {error}").into());
            }
        }
    }

    /// A line for each row, without the spaces at its end.
    fn screen(&mut self) -> Result<String, Failure> {
        let file = tempfile::NamedTempFile::new()?;
        let size = COLUMNS * ROWS * 2;
        let name = file.path().display().to_string();
        self.execute("pmemsave", &json!({ "val": PLACE, "size": size, "filename": name }))?;
        let bytes = fs::read(file.path())?;
        let rows = bytes.chunks(COLUMNS * 2).map(|row| {
            let text: String = row.iter().step_by(2).map(|byte| character(*byte)).collect();
            text.trim_end().to_owned() + "\n"
        });
        Ok(rows.collect())
    }

    fn type_text(&mut self, text: &str) -> Result<(), Failure> {
        for character in text.chars() {
            let code = match character {
                'a'..='z' | '0'..='9' => character.to_string(),
                '\n' => "ret".to_owned(),
                ' ' => "spc".to_owned(),
                _ => return Err(format!("no key is known for {character:?}").into()),
            };
            let keys = json!([{ "type": "qcode", "data": code }]);
            self.execute("send-key", &json!({ "keys": keys, "hold-time": HELD }))?;
            thread::sleep(Duration::from_millis(2 * HELD));
        }
        Ok(())
    }
}

/// What text is made of; frames and blocks are of no interest.
fn character(byte: u8) -> char {
    if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { ' ' }
}

/// What is compared of our own screen.
pub fn plain(text: &str) -> String {
    let plain = |line: &str| {
        let line: String =
            line.chars().map(|next| if next.is_ascii_graphic() { next } else { ' ' }).collect();
        line.trim_end().to_owned() + "\n"
    };
    text.lines().map(plain).collect()
}

/// As [`process::timed_within`](crate::bench::process::timed_within), with the screen's text in place of what is
/// printed, and keys in place of input.
pub fn timed(
    command: &mut Command,
    typed: &[(&str, &str)],
    text: &str,
    seconds: u64,
) -> Result<(Sample, String), Failure> {
    let start = Instant::now();
    let mut qemu = Qemu::start(command)?;
    let mut left = typed;
    loop {
        let screen = qemu.screen()?;
        match left {
            [(when, what), rest @ ..] if screen.contains(when) => {
                qemu.type_text(what)?;
                left = rest;
            }
            [] if screen.contains(text) => {
                return Ok((Sample::of(start.elapsed()), screen));
            }
            _ if start.elapsed() > Duration::from_secs(seconds) => {
                return Err(format!("no `{text}` on QEMU's screen:\n{screen}").into());
            }
            _ => thread::sleep(LOOK),
        }
    }
}
