//! Saving a booted machine to a file and loading it again, as `warmboot boot` does it.

use std::{fs, time::Duration};

use warmboot_machine::{Condition, Machine};

use super::{Times, Verdict, booted};
use crate::Failure;

const BAR: Duration = Duration::from_millis(30);

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    let mut machine = booted(Vec::new(), Condition::Debug("No bootable device".into()))?;
    let expect = machine.digest();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("booted.snapshot");
    let (mut saves, mut loads) = (Times::default(), Times::default());
    let mut loaded = None;
    for _ in 0..rounds {
        saves.take(|| save(&mut machine, &path))?;
        loaded = Some(loads.take(|| load(&path))?);
    }
    if loaded.map(|mut machine| machine.digest()) != Some(expect) {
        return Err("a loaded machine has another digest than the saved one".into());
    }
    println!("  128 MiB, SeaBIOS has booted; the file has {} KiB", fs::metadata(&path)?.len() >> 10);
    let mut verdicts = Vec::from(saves.judge("save to a file", BAR));
    verdicts.extend(loads.judge("load from a file", BAR));
    Ok(verdicts)
}

/// Written beside its place and moved there.
fn save(machine: &mut Machine, path: &std::path::Path) -> Result<(), Failure> {
    let bytes = machine.save()?;
    let beside = path.with_extension("part");
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

fn load(path: &std::path::Path) -> Result<Machine, Failure> {
    let bytes = fs::read(path)?;
    Ok(Machine::load(&bytes, &mut |_| None)?)
}
