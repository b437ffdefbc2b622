//! Files that appear whole or not at all.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use crate::problem::InputError;

/// Puts a file with `bytes` in the place of `path`; what was there stays when that fails.
///
/// # Errors
/// One sentence with the name.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), InputError> {
    let fail =
        |error: &dyn std::fmt::Display| InputError(format!("cannot write `{}`: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Said of the folder, not of a temporary name in it.
    fs::metadata(folder).map_err(|error| fail(&error))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".warmboot-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => fail(&"its folder cannot be written"),
        _ => fail(&error),
    })?;
    file.write_all(bytes).map_err(|error| fail(&error))?;
    file.as_file().sync_all().map_err(|error| fail(&error))?;
    file.persist(path).map(|_| ()).map_err(|error| fail(&error.error))
}

/// `text` as a file's name: what is no letter, digit or `-_.=` becomes `_`.
pub(crate) fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.=".contains(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a");
        replace(&path, b"old").expect("written");
        replace(&path, b"new").expect("replaced");
        assert_eq!(fs::read(&path).expect("read"), b"new");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "something is left behind");
        let error = replace(&folder.path().join("none/a"), b"").expect_err("refused").to_string();
        assert!(error.starts_with("cannot write `") && error.contains("none/a"), "{error}");
        assert_eq!(name("a/b [c=1, d=rom:x]"), "a_b__c=1__d=rom_x_");
    }
}
