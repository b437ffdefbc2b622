//! README names only what exists.

use std::{fs, path::Path};

#[test]
fn every_path_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(top.join("README.md")).expect("README.md");
    let is_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let mut seen = 0;
    for word in readme.split(|c: char| !is_path(c)) {
        let word = word.trim_end_matches(['.', '/']);
        let first = word.split('/').next().unwrap_or_default();
        let ours = ["crates", "test-roms", "scenarios", "xtask", ".ci"].contains(&first);
        if ours && word.contains('/') {
            assert!(top.join(word).exists(), "README names {word}, which does not exist");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} paths found: is the test still looking?");
}

#[test]
fn every_folder_of_code_is_on_the_map() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = fs::read_to_string(top.join("README.md")).expect("README.md");
    for entry in fs::read_dir(top.join("crates")).expect("crates") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("`crates/{name}`")), "crates/{name} is not on README's map");
    }
}
