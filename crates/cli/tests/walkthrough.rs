//! The walk-through is true: every command in it runs, and prints the lines shown below it, in order.

use std::{path::Path, process::Command};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/lost-disks.md");

/// The words of a command line, quoted as a shell's.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// What the command prints on both streams, in `folder`.
fn run(line: &str, folder: &Path) -> String {
    let words = words(line);
    let (program, arguments) = words.split_first().expect("a command");
    assert_eq!(program, "warmboot", "{line}");
    let output = Command::new(env!("CARGO_BIN_EXE_warmboot"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(0), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn every_command_prints_what_is_shown() {
    let text = std::fs::read_to_string(DOCUMENT).expect("the walk-through");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut inside, mut commands, mut output) = (false, 0, String::new());
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            output = run(command, folder.path());
            commands += 1;
        } else if inside {
            let found = output.find(line).unwrap_or_else(|| panic!("not printed: {line}\nleft:\n{output}"));
            output.drain(..found + line.len());
        }
    }
    assert!(commands >= 8, "only {commands} commands were found");
}
