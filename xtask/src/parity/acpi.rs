//! Compares ACPI tables by meaning: what `iasl -d` makes of them, without addresses, lengths and
//! checksums, which differ with the bytes that carry the meaning.

use std::path::Path;
use std::process::Command;

/// The disassembler; without it only lengths and signatures of tables are compared.
const DISASSEMBLER: &str = "iasl";

type Table = (String, Vec<u8>);

/// One line per difference in meaning.
pub fn compare(ours: &[Table], theirs: &[Table]) -> Vec<String> {
    let names =
        |tables: &[Table]| -> Vec<String> { tables.iter().map(|(signature, _)| signature.clone()).collect() };
    if names(ours) != names(theirs) {
        return vec![format!("ACPI tables {:?}, QEMU's {:?}", names(ours), names(theirs))];
    }
    let mut found = Vec::new();
    for ((signature, our), (_, their)) in ours.iter().zip(theirs) {
        if our == their {
            continue;
        }
        // RSDP and RSDT hold nothing but addresses, and those of the FADT follow the DSDT's length.
        if matches!(signature.as_str(), "RSDP" | "RSDT") && our.len() == their.len() {
            continue;
        }
        match (disassemble(signature, our), disassemble(signature, their)) {
            (Ok(our), Ok(their)) => found.extend(diff(signature, &our, &their)),
            (Err(Unreadable::NoDisassembler), _) | (_, Err(Unreadable::NoDisassembler)) => {}
            (Err(Unreadable::Table(error)), _) => found.push(format!("our {signature}: {error}")),
            (_, Err(Unreadable::Table(error))) => found.push(format!("QEMU's {signature}: {error}")),
        }
    }
    found
}

/// Why a table has no meaning for us.
enum Unreadable {
    NoDisassembler,
    Table(String),
}

/// The lines of a table's meaning.
fn disassemble(signature: &str, table: &[u8]) -> Result<Vec<String>, Unreadable> {
    let failed = |error: std::io::Error| Unreadable::Table(error.to_string());
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join(format!("{}.dat", signature.to_ascii_lowercase()));
    std::fs::write(&path, table).map_err(failed)?;
    let output = match Command::new(DISASSEMBLER).arg("-d").arg(&path).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Unreadable::NoDisassembler);
        }
        Err(error) => return Err(failed(error)),
    };
    let text = std::fs::read_to_string(path.with_extension("dsl")).map_err(|_| {
        Unreadable::Table(format!("iasl: {}", String::from_utf8_lossy(&output.stderr).trim()))
    })?;
    Ok(meaning(&text))
}

/// Drops comments, blank lines, addresses, lengths and checksums from a disassembly.
fn meaning(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut in_comment = false;
    for line in text.lines() {
        let mut line = line;
        if in_comment {
            match line.split_once("*/") {
                Some((_, rest)) => line = rest,
                None => continue,
            }
            in_comment = false;
        }
        if let Some((before, after)) = line.split_once("/*")
            && !after.contains("*/")
        {
            in_comment = true;
            line = before;
        }
        let line = line.split("//").next().unwrap_or("").trim();
        let ignored = ["Table Length", "Checksum", "FACS Address", "DSDT Address", "Raw Table Data"];
        if line.is_empty() || ignored.iter().any(|word| line.contains(word)) {
            continue;
        }
        // A data table's lines start with the field's place: `[024h 0036   4]`.
        if line.starts_with("Raw") {
            break;
        }
        lines.push(line.to_owned());
    }
    if let Some(raw) = lines.iter().position(|line| line.starts_with("Raw Table Data")) {
        lines.truncate(raw);
    }
    lines
}

fn diff(signature: &str, ours: &[String], theirs: &[String]) -> Vec<String> {
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    similar::TextDiff::from_slices(&theirs, &ours)
        .iter_all_changes()
        .filter_map(|change| {
            let side = match change.tag() {
                similar::ChangeTag::Equal => return None,
                similar::ChangeTag::Delete => "QEMU only",
                similar::ChangeTag::Insert => "ours only",
            };
            Some(format!("{signature}, {side}: {}", change.value()))
        })
        .collect()
}

/// Writes each table and, where the disassembler is there, its source into `folder`.
pub fn save(folder: &Path, tables: &[Table]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (index, (signature, bytes)) in tables.iter().enumerate() {
        let path = folder.join(format!("{index}-{signature}.dat"));
        std::fs::write(&path, bytes)?;
        if signature != "RSDP" {
            // The bytes are saved; the source is an extra for the reader.
            let _ = Command::new(DISASSEMBLER).arg("-d").arg(&path).output();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meaning_drops_what_moves() {
        let text = "/*\n * Intel ACPI Component\n */\n[004h 0004   4]   Table Length : 00000074\n\
                    [008h 0008   1]   Revision : 01 // one\n\n    Name (A, 1) /* why */\n";
        assert_eq!(meaning(text), ["[008h 0008   1]   Revision : 01", "Name (A, 1) /* why */"]);
    }
}
