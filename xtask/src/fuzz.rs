//! `cargo xtask fuzz`: random inputs, made from a seed and run on all cores. A panic, or an input that does
//! not end, is printed with the command that runs it again. What is fuzzed is a [`Target`].

mod chips;
mod formats;
mod processor;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use warmboot_cpu::state::Random;

use crate::{Failure, shell};

/// Seconds of a run that names neither them nor a count.
const SECONDS: u64 = 60;
/// An input takes some seconds at most, and more on a busy host; after this it is taken not to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// One that takes longer is a defect too: what a guest asks for must be bounded.
const SLOW: Duration = Duration::from_secs(60);

/// Something that is fuzzed.
trait Target: Sync {
    /// What `cargo xtask fuzz` calls it, options included.
    fn name(&self) -> String;
    /// What is counted.
    fn unit(&self) -> &'static str;
    /// Input `number` of `seed`.
    fn input(&self, seed: u64, number: u64) -> Vec<u8>;
    /// Runs an input; gives how much there was to count.
    fn run(&self, number: u64, input: &[u8]) -> u64;
    /// Says more at the end.
    fn report(&self) {}
}

/// What is asked for.
struct Options {
    seed: u64,
    seconds: Option<u64>,
    /// Stop when so much has been counted.
    count: Option<u64>,
    /// Only this input, and only so many bytes of it.
    only: Option<u64>,
    length: Option<usize>,
    /// Only this chip or format.
    one: Option<String>,
}

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let (what, rest) = match arguments.split_first() {
        Some((first, rest)) if !first.starts_with("--") => (first.as_str(), rest),
        _ => ("processor", arguments),
    };
    let mut options =
        Options { seed: shell::seed(), seconds: None, count: None, only: None, length: None, one: None };
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--seconds" => options.seconds = Some(value.parse()?),
            "--count" => options.count = Some(value.parse()?),
            "--input" => options.only = Some(value.parse()?),
            "--length" => options.length = Some(value.parse()?),
            "--chip" | "--format" => options.one = Some(value.clone()),
            _ => {
                return Err(format!(
                    "{argument}: expected --seed, --seconds, --count, --input, --length, --chip or --format"
                )
                .into());
            }
        }
    }
    match what {
        "processor" => many(&processor::Processor, &options),
        "chips" => many(&chips::Chips::new(options.one.as_deref())?, &options),
        "formats" => many(&formats::Formats::new(options.one.as_deref())?, &options),
        "corpus" => formats::Formats::new(None)?.write(&shell::root().join("fuzz/corpus")),
        _ => Err(format!("{what}: expected processor, chips, formats or corpus").into()),
    }
}

/// The slices that `cargo xtask test` runs.
pub fn sample() -> Result<(), Failure> {
    for (what, seconds) in [("processor", 40), ("chips", 15), ("formats", 8)] {
        run(&[what.to_owned(), "--seconds".to_owned(), seconds.to_string()])?;
    }
    Ok(())
}

/// What the workers share.
struct Shared<'target> {
    target: &'target dyn Target,
    seed: u64,
    length: usize,
    end: Option<Instant>,
    count: u64,
    next: AtomicU64,
    counted: AtomicU64,
    stop: AtomicBool,
    /// Input and beginning of each worker.
    running: Vec<Mutex<Option<(u64, Instant)>>>,
    slowest: Mutex<(Duration, u64)>,
}

impl Shared<'_> {
    fn input(&self, number: u64) -> Vec<u8> {
        let mut bytes = self.target.input(self.seed, number);
        bytes.truncate(self.length);
        bytes
    }

    /// The command that runs an input again.
    fn command(&self, number: u64) -> String {
        format!("cargo xtask fuzz {} --seed {} --input {number}", self.target.name(), self.seed)
    }
}

fn many(target: &dyn Target, options: &Options) -> Result<(), Failure> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    let seconds = options.seconds.or(if options.count.is_some() { None } else { Some(SECONDS) });
    let shared = Shared {
        target,
        seed: options.seed,
        length: options.length.unwrap_or(usize::MAX),
        end: seconds.map(|seconds| begin + Duration::from_secs(seconds)),
        count: options.count.unwrap_or(u64::MAX),
        next: AtomicU64::new(0),
        counted: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        running: (0..workers).map(|_| Mutex::new(None)).collect(),
        slowest: Mutex::default(),
    };
    let (name, seed) = (target.name(), options.seed);
    if let Some(number) = options.only {
        let counted = target.run(number, &shared.input(number));
        println!(
            "fuzz {name}: seed {seed}, input {number}: {counted} {} in {:.3} s",
            target.unit(),
            begin.elapsed().as_secs_f64()
        );
        return Ok(());
    }
    println!("fuzz {name}: seed {seed} (replay: cargo xtask fuzz {name} --seed {seed})");
    thread::scope(|scope| {
        let threads: Vec<_> = shared.running.iter().map(|own| scope.spawn(|| work(&shared, own))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            watch(&shared);
            thread::sleep(Duration::from_millis(100));
        }
    });
    let counted = shared.counted.load(Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    let (slowest, number) = shared.slowest.lock().map(|slowest| *slowest).unwrap_or_default();
    println!(
        "fuzz {name}: {} inputs, {counted} {} in {seconds:.1} s ({:.3} million a second); the slowest, {number}, took {:.2} s",
        shared.next.load(Relaxed),
        target.unit(),
        counted as f64 / seconds / 1e6,
        slowest.as_secs_f64(),
    );
    target.report();
    if shared.stop.load(Relaxed) { Err(format!("fuzz {name}: an input failed").into()) } else { Ok(()) }
}

fn work(shared: &Shared<'_>, running: &Mutex<Option<(u64, Instant)>>) {
    let goes_on = || {
        shared.end.is_none_or(|end| Instant::now() < end)
            && shared.counted.load(Relaxed) < shared.count
            && !shared.stop.load(Relaxed)
    };
    while goes_on() {
        let number = shared.next.fetch_add(1, Relaxed);
        let begin = Instant::now();
        note(running, Some((number, begin)));
        let bytes = shared.input(number);
        match catch_unwind(AssertUnwindSafe(|| shared.target.run(number, &bytes))) {
            Ok(counted) => {
                shared.counted.fetch_add(counted, Relaxed);
            }
            Err(_) => {
                // One is enough, and the other workers' panics would be mixed up with it.
                if !shared.stop.swap(true, Relaxed) {
                    println!("fuzz: input {number} panics: {}", shared.command(number));
                    note(running, None);
                    shrink(shared, number, bytes);
                }
            }
        }
        let took = begin.elapsed();
        if took > SLOW && !shared.stop.swap(true, Relaxed) {
            println!("fuzz: input {number} took {:.1} s: {}", took.as_secs_f64(), shared.command(number));
        }
        if let Ok(mut slowest) = shared.slowest.lock() {
            *slowest = (*slowest).max((took, number));
        }
        note(running, None);
    }
}

/// Finds a shorter beginning of an input that panics, if there is one.
fn shrink(shared: &Shared<'_>, number: u64, bytes: Vec<u8>) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut fails, mut passes) = (bytes.len(), 0);
    while passes + 1 < fails {
        let middle = usize::midpoint(passes, fails);
        let part = bytes.get(..middle).unwrap_or_default();
        if catch_unwind(AssertUnwindSafe(|| shared.target.run(number, part))).is_err() {
            fails = middle;
        } else {
            passes = middle;
        }
    }
    std::panic::set_hook(hook);
    println!("fuzz: its first {fails} bytes do: {} --length {fails}", shared.command(number));
    if fails <= 1 << 12 {
        println!("fuzz: they are {}", hex(bytes.get(..fails).unwrap_or_default()));
    }
}

fn note(running: &Mutex<Option<(u64, Instant)>>, what: Option<(u64, Instant)>) {
    if let Ok(mut running) = running.lock() {
        *running = what;
    }
}

/// Ends the program when an input does not.
fn watch(shared: &Shared<'_>) {
    for running in &shared.running {
        let now = running.lock().ok().and_then(|running| *running);
        if let Some((number, since)) = now
            && since.elapsed() > PATIENCE
        {
            eprintln!("fuzz: input {number} does not end: {}", shared.command(number));
            process::exit(1);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The numbers that input `number` of `seed` is made from.
fn random(seed: u64, number: u64) -> Random {
    Random { seed: seed ^ number.rotate_left(32), drawn: 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each chip and each format has a target for cargo-fuzz.
    #[test]
    fn all_have_targets() {
        let text = std::fs::read_to_string(shell::root().join("fuzz/Cargo.toml")).expect("it is there");
        let targets: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("name = \"")).collect();
        let chips = warmboot_machine::fuzz::CHIPS.iter().map(|chip| format!("chip-{}\"", chip.name));
        let formats = warmboot::fuzz::FORMATS.iter().map(|format| format!("format-{}\"", format.name));
        let missing: Vec<String> =
            chips.chain(formats).filter(|name| !targets.contains(name.as_str())).collect();
        assert_eq!(missing, Vec::<String>::new());
    }
}
