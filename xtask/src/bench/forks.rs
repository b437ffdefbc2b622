//! Forks of one booted machine: what it costs to make one, to run it, to go back, and to keep many.

use std::{fs, sync::Arc, thread, time::Duration, time::Instant};

use warmboot_machine::{Condition, Drive, DriveKind, Machine, MemorySource, ResetPath, Slot};

use super::{Times, Verdict, booted, processor_time_of, run_on, shown};
use crate::Failure;

/// Each fork really runs this much.
const INSTRUCTIONS: u64 = 100_000;
/// Fewest pages that differ when a machine returns.
const DIRTY: usize = 500;
/// Forks alive at the same time, and what they may take.
const LIVE: usize = 10_000;
const LIVE_MIB: f64 = 4096.0;

const FORK_BAR: Duration = Duration::from_micros(50);
const RETURN_BAR: Duration = Duration::from_micros(100);

/// The section.
pub fn run(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::new();
    verdicts.extend(fork(rounds)?);
    verdicts.extend(return_to(rounds)?);
    parallel(rounds)?;
    verdicts.push(live()?);
    Ok(verdicts)
}

/// At SeaBIOS' last words.
fn at_last_words() -> Result<Machine, Failure> {
    booted(Vec::new(), Condition::Debug("No bootable device".into()))
}

/// Fork, reset and run into POST, drop: the loop of whoever tries something at one point.
fn fork(rounds: usize) -> Result<[Verdict; 2], Failure> {
    println!(
        "  128 MiB, SeaBIOS has booted; each fork is reset and runs {INSTRUCTIONS} instructions of POST"
    );
    let mut machine = at_last_words()?;
    let (mut forks, mut runs, mut drops) = (Times::default(), Times::default(), Times::default());
    for _ in 0..rounds {
        let mut fork = forks.take_short(|| machine.fork());
        fork.reset(ResetPath::System)?;
        runs.take(|| run_on(&mut fork, INSTRUCTIONS))?;
        drops.take_short(|| drop(fork));
    }
    let verdicts = forks.judge("fork", FORK_BAR);
    runs.show("  run it");
    drops.show("  drop it");
    Ok(verdicts)
}

/// A guest that writes to 640 pages, put back to a fork each time.
fn return_to(rounds: usize) -> Result<Vec<Verdict>, Failure> {
    let mut machine = booted(vec![touch_pages()?], Condition::Serial("touching".into()))?;
    run_on(&mut machine, INSTRUCTIONS)?;
    let mut fork = machine.fork();
    let expect = fork.digest();
    let (mut runs, mut returns, mut least) = (Times::default(), Times::default(), usize::MAX);
    for _ in 0..rounds {
        runs.take(|| run_on(&mut machine, INSTRUCTIONS))?;
        least = least.min(differing(&machine, &fork));
        returns.take_short(|| machine.return_to(&mut fork));
    }
    if machine.digest() != expect {
        return Err("a machine that returned to a fork has another digest than it".into());
    }
    println!(
        "  a guest that writes to a page every fourth instruction, {INSTRUCTIONS} instructions each time"
    );
    let mut verdicts = Vec::from(returns.judge("return to a fork", RETURN_BAR));
    runs.show("  run it");
    let bar = format!("at least {DIRTY}");
    let what = "pages that differ at each return".into();
    verdicts.push(Verdict { what, found: least.to_string(), bar, met: least >= DIRTY });
    Ok(verdicts)
}

/// Pages that two machines of one family do not share.
fn differing(one: &Machine, other: &Machine) -> usize {
    let (one, other) = (one.memory(), other.memory());
    let mut count = 0;
    for block in one.blocks() {
        let frames = (0..).map_while(|page| one.frame_of(block.id, page));
        count += frames.filter(|frame| !one.shares(other, *frame)).count();
    }
    count
}

fn touch_pages() -> Result<Drive, Failure> {
    let rom = warmboot_test_roms::find("touch-pages").ok_or("no test ROM `touch-pages`")?;
    let bytes: Arc<[u8]> = (rom.build)()?.into();
    Ok(Drive {
        at: Slot::Ide { channel: 0, unit: 0 },
        kind: DriveKind::HardDisk,
        source: Arc::new(MemorySource(bytes)),
        name: rom.name.into(),
        read_only: false,
        latency: 5_000,
    })
}

/// The same work on one thread and on two, each with a fork of its own of one machine: what they
/// share must not slow them down, so processor time must not more than double. No bar: it says where
/// to look when jobs do not scale.
fn parallel(rounds: usize) -> Result<(), Failure> {
    let mut machine = at_last_words()?;
    let work = |mut base: Machine| -> Result<(), String> {
        for _ in 0..rounds {
            let mut fork = base.fork();
            fork.reset(ResetPath::System).map_err(|error| error.to_string())?;
            run_on(&mut fork, INSTRUCTIONS).map_err(|failure| failure.to_string())?;
        }
        Ok(())
    };
    for threads in [1_u32, 2] {
        let bases: Vec<Machine> = (0..threads).map(|_| machine.fork()).collect();
        let start = Instant::now();
        let (result, spent) = processor_time_of(|| {
            thread::scope(|scope| {
                let running: Vec<_> = bases.into_iter().map(|base| scope.spawn(|| work(base))).collect();
                running.into_iter().try_for_each(|thread| match thread.join() {
                    Ok(result) => result,
                    Err(_) => Err("a thread panicked".into()),
                })
            })
        });
        result?;
        let elapsed = shown(start.elapsed());
        println!(
            "  {threads} threads, each {rounds} times fork, run, drop: {elapsed}, {spent} of processor time"
        );
    }
    Ok(())
}

/// Many forks at once, each of which has run.
fn live() -> Result<Verdict, Failure> {
    let mut machine = at_last_words()?;
    let before = resident_mib();
    let mut forks = Vec::with_capacity(LIVE);
    for _ in 0..LIVE {
        let mut fork = machine.fork();
        fork.reset(ResetPath::System)?;
        run_on(&mut fork, INSTRUCTIONS)?;
        forks.push(fork);
    }
    let after = resident_mib();
    let start = Instant::now();
    drop(forks);
    println!("  {LIVE} live forks: dropped in {}", shown(start.elapsed()));
    let what = format!("{LIVE} live forks, each after {INSTRUCTIONS} instructions");
    let bar = format!("at most {LIVE_MIB:.0} MiB resident");
    let Some((before, after)) = before.zip(after) else {
        println!("  this system does not tell resident memory: not measured");
        return Ok(Verdict { what, found: "not measured".into(), bar, met: true });
    };
    let each = (after - before) * 1024.0 / LIVE as f64;
    println!("  {LIVE} live forks: {after:.0} MiB resident in all, {each:.0} KiB each");
    Ok(Verdict { what, found: format!("{after:.0} MiB, {each:.0} KiB each"), bar, met: after <= LIVE_MIB })
}

/// The resident set of this process (Linux: `VmRSS` in proc(5)).
fn resident_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}
