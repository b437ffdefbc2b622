//! Whether the scenarios would notice: each fact of each emulator generation is changed, each step that
//! a test ROM takes is left out, and some named case must then come out otherwise.
//!
//! We wrote the ROMs, the generations and the expectations. A fact whose change no case notices is dead
//! or untested. Where another fact of the same generation hides one (a lock on a register that does
//! nothing), `mutation-allowed.toml` says so, with the reason; an entry there that a case does notice is
//! itself a failure.

use std::{cell::Cell, collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use warmboot_machine::{Firmware, generations};
use warmboot_scenario::{
    Case, CaseReport, Options, Status, run_case,
    spec::{Places, Substitutes},
};
use warmboot_test_roms::reset::{self, Disabled};

use crate::{Failure, shell};

/// Changes that no case can notice, and why: a file beside this crate's manifest.
const ALLOWED: &str = "xtask/mutation-allowed.toml";

/// One thing changed.
struct Mutant {
    /// As a person would say it; what an allowed entry names is the part before the colon.
    place: String,
    what: String,
    substitutes: Substitutes,
    /// What a case must have to do with to be worth running.
    concerns: Concerns,
}

enum Concerns {
    Generation(&'static str),
    Firmware(String),
}

impl Mutant {
    fn concerns(&self, case: &Case) -> bool {
        match &self.concerns {
            Concerns::Generation(name) => case.runs_on(name),
            Concerns::Firmware(name) => case.machine.firmware == *name,
        }
    }
}

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let (mut filter, mut sample, mut seed) = ("", None, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--sample" => sample = Some(value()?.parse()?),
            "--seed" => seed = Some(value()?.parse()?),
            text if !text.starts_with('-') => filter = text,
            other => return Err(format!("unknown `{other}`; expected TEXT, --sample N or --seed S").into()),
        }
    }
    check(filter, sample, seed)
}

/// Some places, other ones each time.
pub fn sample() -> Result<(), Failure> {
    check("", Some(24), None)
}

/// Changes the places whose name has `filter`; of these, `sample` drawn by `seed`, or all.
fn check(filter: &str, sample: Option<usize>, seed: Option<u64>) -> Result<(), Failure> {
    crate::firmware::ensure(&shell::firmware_folder(), &crate::firmware::SEABIOS)?;
    let places = Places { firmware_folders: vec![shell::firmware_folder()], ..Places::default() };
    let cases = cases()?;
    let mut sound: Vec<(&Case, CaseReport)> =
        cases.par_iter().map(|case| (case, run_at_most(case, &places, u64::MAX))).collect();
    if let Some((case, _)) = sound.iter().find(|(_, report)| report.status != Status::Passed) {
        return Err(format!("{} fails as it is: nothing can be said of changes", case.name).into());
    }
    // Those that look at one fact each first, then the quick ones.
    let facts = |case: &Case| case.header.file.contains("scenarios/reset/");
    sound.sort_by_key(|(case, report)| (!facts(case), report.instructions));
    let mut mutants = generation_mutants();
    mutants.extend(rom_mutants()?);
    mutants.retain(|mutant| mutant.place.contains(filter));
    if let Some(most) = sample {
        draw(&mut mutants, most, seed.unwrap_or_else(shell::seed));
    }
    // Said as it is found: all of it takes many minutes.
    let noticed: Vec<(&Mutant, Option<&Case>)> = mutants
        .par_iter()
        .map(|mutant| {
            let case = who_notices(mutant, &sound, &places);
            let name = case.map_or("nobody", |case| case.name.as_str());
            println!("{}: {}: noticed by {name}", mutant.place, mutant.what);
            (mutant, case)
        })
        .collect();

    // One value of a field may do as another does; a field none of whose values matters is dead.
    let mut fields: BTreeMap<&str, bool> = BTreeMap::new();
    for (mutant, case) in &noticed {
        *fields.entry(&mutant.place).or_default() |= case.is_some();
    }
    let allowed = allowed()?;
    let mut failures = Vec::new();
    for (place, noticed) in &fields {
        match (noticed, allowed.get(*place)) {
            (false, None) => failures.push(format!("{place}: no case notices a change")),
            (true, Some(_)) => {
                failures.push(format!("{place}: is noticed, though {ALLOWED} says it cannot be"))
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    if filter.is_empty() && sample.is_none() {
        let gone = allowed.keys().filter(|place| !fields.contains_key(place.as_str()));
        failures.extend(gone.map(|place| format!("{place}: stands in {ALLOWED} and is nothing")));
    }
    let seen = fields.values().filter(|noticed| **noticed).count();
    println!(
        "{} changes in {} places over {} cases: {seen} noticed, {} hidden for a stated reason",
        noticed.len(),
        fields.len(),
        cases.len(),
        fields.len() - seen - failures.len().min(fields.len() - seen)
    );
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// Keeps the mutants of `most` places, drawn by `seed`.
fn draw(mutants: &mut Vec<Mutant>, most: usize, seed: u64) {
    println!("mutation: {most} places, seed {seed}");
    let mut places: Vec<String> = mutants.iter().map(|mutant| mutant.place.clone()).collect();
    places.dedup();
    places.sort_by_key(|place| *blake3::hash(format!("{seed} {place}").as_bytes()).as_bytes());
    places.truncate(most);
    mutants.retain(|mutant| places.contains(&mutant.place));
}

fn cases() -> Result<Vec<Case>, Failure> {
    let folders: Vec<PathBuf> =
        shell::short_scenarios()?.into_iter().map(|folder| shell::root().join(folder)).collect();
    let files = warmboot_scenario::scenario_files(&folders).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let scenario = warmboot_scenario::load(&name, &fs::read_to_string(&file)?)
            .map_err(|problem| problem.to_string())?;
        cases.extend(scenario.cases);
    }
    Ok(cases)
}

/// Runs a case, but for no more than `most` instructions.
fn run_at_most(case: &Case, places: &Places, most: u64) -> CaseReport {
    let options = Options { places: places.clone(), ..Options::default() };
    let run = Cell::new(0_u64);
    run_case(case, &options, &|instructions| {
        run.set(run.get().saturating_add(instructions));
        run.get() <= most
    })
}

/// A case that comes out otherwise. One that takes far longer than it should is left for the end: a
/// machine that executes zeros is slow to reach its limit, and another case may tell sooner.
fn who_notices<'a>(mutant: &Mutant, cases: &[(&'a Case, CaseReport)], places: &Places) -> Option<&'a Case> {
    let places = Places { substitutes: Arc::new(mutant.substitutes.clone()), ..places.clone() };
    let mut undecided = Vec::new();
    for (case, sound) in cases.iter().filter(|(case, _)| mutant.concerns(case)) {
        let most = sound.instructions.saturating_mul(2);
        match run_at_most(case, &places, most).status {
            Status::Passed => {}
            Status::Failed | Status::Error => return Some(case),
            Status::Interrupted => undecided.push(*case),
        }
    }
    undecided.into_iter().find(|case| run_at_most(case, &places, u64::MAX).status != Status::Passed)
}

/// Every generation with each field changed in turn.
fn generation_mutants() -> Vec<Mutant> {
    let every = generations::ALL.iter().flat_map(|generation| generation.variations());
    every
        .map(|variation| Mutant {
            place: format!("{} {}", variation.generation.name, variation.field),
            what: format!("{} becomes {}", variation.was, variation.now),
            concerns: Concerns::Generation(variation.generation.name),
            substitutes: Substitutes { generations: vec![variation.generation], ..Substitutes::default() },
        })
        .collect()
}

/// Every reset ROM without each of its steps in turn. A step it does not take leaves it as it is, and
/// is no change.
fn rom_mutants() -> Result<Vec<Mutant>, Failure> {
    let none = Disabled::default();
    let steps = [
        ("copy", Disabled { copy: true, ..none }),
        ("SRST", Disabled { srst: true, ..none }),
        ("HaveRunPost", Disabled { have_run_post: true, ..none }),
    ];
    let mut mutants = Vec::new();
    for recipe in reset::ALL {
        let whole = reset::build(recipe, &none)?;
        for (step, disabled) in &steps {
            let rom = reset::build(recipe, disabled)?;
            if rom.bytes == whole.bytes {
                continue;
            }
            let name = format!("rom:{}", recipe.name);
            let firmware = Firmware { name: name.clone(), bytes: rom.bytes.into() };
            mutants.push(Mutant {
                place: format!("{name} {step}"),
                what: "left out".to_owned(),
                concerns: Concerns::Firmware(name.clone()),
                substitutes: Substitutes {
                    firmware: BTreeMap::from([(name, firmware)]),
                    ..Substitutes::default()
                },
            });
        }
    }
    Ok(mutants)
}

/// Places no case can notice, and why.
fn allowed() -> Result<BTreeMap<String, String>, Failure> {
    let path: PathBuf = shell::root().join(ALLOWED);
    let text = fs::read_to_string(&path).map_err(|error| format!("{ALLOWED}: {error}"))?;
    let table: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(&text).map_err(|error| format!("{ALLOWED}: {error}"))?;
    let places = table.into_iter().flat_map(|(first, rest)| {
        rest.into_iter().map(move |(second, reason)| (format!("{first} {second}"), reason))
    });
    Ok(places.collect())
}
