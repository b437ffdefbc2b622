//! Snapshot files on the host: read whole, and made machines of, with their disk images given back.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use warmboot_machine::{
    Drive, DriveKind, DriveWanted, Machine, Snapshot, SnapshotError,
    snapshot::{START, check_start},
};

use crate::{drives::DriveSpec, images::Format, problem::InputError, spec::Places};

/// Reads a snapshot file and checks it.
///
/// # Errors
/// One sentence with the file's name: why it cannot be read, or what is wrong with it and where.
/// What does not begin as a snapshot does, or has another length, is not read further.
pub fn read(path: &Path) -> Result<Snapshot, InputError> {
    let shown = path.display();
    let cannot = |error: io::Error| InputError(format!("cannot read snapshot `{shown}`: {error}"));
    let wrong = |error: SnapshotError| InputError(format!("snapshot `{shown}`: {error}"));
    let mut file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if !about.is_file() {
        return Err(InputError(format!("cannot read snapshot `{shown}`: it is no regular file")));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(START as u64).read_to_end(&mut bytes).map_err(cannot)?;
    check_start(&bytes, about.len()).map_err(wrong)?;
    bytes.reserve_exact(usize::try_from(about.len()).unwrap_or(usize::MAX).saturating_sub(bytes.len()));
    file.take(about.len()).read_to_end(&mut bytes).map_err(cannot)?;
    Snapshot::read(&bytes).map_err(wrong)
}

/// Makes the machine of `snapshot`, with the images that `given` names; a drive that is not among
/// them is looked for under the name it had. `path` chooses another execution path.
///
/// # Errors
/// An image that is missing, is not the one the machine had, or was given for a drive it does not
/// have; state that no machine can be in.
pub fn machine(
    snapshot: &Snapshot,
    given: &[DriveSpec],
    places: &Places,
    path: Option<warmboot_machine::Path>,
) -> Result<Machine, InputError> {
    let text = |error: SnapshotError| InputError(format!("the snapshot cannot be loaded: {error}"));
    let wanted = snapshot.drives().map_err(text)?;
    for (index, spec) in given.iter().enumerate() {
        if !wanted.iter().any(|drive| drive.at.to_string() == spec.at) {
            return Err(InputError(format!("drive `{}`: the snapshot's machine has none there", spec.at)));
        }
        if given.iter().take(index).any(|other| other.at == spec.at) {
            return Err(InputError(format!("there are two drives at {}", spec.at)));
        }
    }
    let mut problem = None;
    let machine = snapshot.machine(path, &mut |drive| match give_back(drive, given, places) {
        Ok(given) => Some(given.source),
        Err(error) => {
            problem.get_or_insert(error);
            None
        }
    });
    match problem {
        Some(problem) => Err(problem),
        None => machine.map_err(text),
    }
}

/// Opens the image of one drive.
fn give_back(drive: &DriveWanted, given: &[DriveSpec], places: &Places) -> Result<Drive, InputError> {
    let at = drive.at.to_string();
    if let Some(spec) = given.iter().find(|spec| spec.at == at) {
        return spec.open(places);
    }
    let spec = DriveSpec { cdrom: Some(drive.kind == DriveKind::Cdrom), ..DriveSpec::new(&at, &drive.name) };
    // What a guest wrote to a raw image may begin as another format, which may name any file of the host.
    let raw = DriveSpec { format: Some(Format::Raw), ..spec.clone() };
    if fs::metadata(raw.path(places)).is_ok_and(|about| about.len() == drive.size)
        && let Ok(found) = raw.open(places)
        && found.source.digest() == drive.digest
    {
        return Ok(found);
    }
    spec.open(places).map_err(|InputError(why)| {
        let digest = blake3::Hash::from(drive.digest);
        InputError(format!(
            "{why}; the snapshot needs an image of {} bytes with digest {digest} there",
            drive.size
        ))
    })
}
