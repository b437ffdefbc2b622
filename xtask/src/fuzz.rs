//! `cargo xtask fuzz`: random processors, page tables, descriptors and code (`warmboot_cpu::fuzz`), made
//! from a seed and run on all cores. A panic, or an input that does not end, is printed with the command
//! that runs it again.

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

use warmboot_cpu::{fuzz, state::Random};

use crate::{Failure, shell};

/// Seconds of a run that names none.
const SECONDS: u64 = 60;
/// An input takes milliseconds; after this it is taken not to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
struct Options {
    seed: u64,
    seconds: u64,
    /// Only this input.
    only: Option<u64>,
}

/// The task.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut options = Options { seed: shell::seed(), seconds: SECONDS, only: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--seed" => options.seed = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--input" => options.only = Some(value.parse()?),
            _ => return Err(format!("{argument}: expected --seed, --seconds or --input").into()),
        }
    }
    let seed = options.seed;
    if let Some(number) = options.only {
        println!("fuzz: seed {seed}, input {number}: {} instructions", fuzz::run(&input(seed, number)));
        return Ok(());
    }
    println!("fuzz: seed {seed} (replay: cargo xtask fuzz --seed {seed})");
    many(&options)
}

/// The slice that `cargo xtask test` runs.
pub fn sample() -> Result<(), Failure> {
    run(&[])
}

/// What the workers share.
struct Shared {
    seed: u64,
    end: Instant,
    next: AtomicU64,
    retired: AtomicU64,
    stop: AtomicBool,
    /// Input and beginning of each worker.
    running: Vec<Mutex<Option<(u64, Instant)>>>,
    failed: Mutex<Vec<u64>>,
}

fn many(options: &Options) -> Result<(), Failure> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    let shared = Shared {
        seed: options.seed,
        end: begin + Duration::from_secs(options.seconds),
        next: AtomicU64::new(0),
        retired: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        running: (0..workers).map(|_| Mutex::new(None)).collect(),
        failed: Mutex::default(),
    };
    thread::scope(|scope| {
        let threads: Vec<_> = shared.running.iter().map(|own| scope.spawn(|| work(&shared, own))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            watch(&shared);
            thread::sleep(Duration::from_millis(100));
        }
    });
    let retired = shared.retired.load(Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "fuzz: {} inputs, {retired} guest instructions in {seconds:.1} s ({:.2} million a second)",
        shared.next.load(Relaxed),
        retired as f64 / seconds / 1e6
    );
    match shared.failed.lock().map(|failed| failed.clone()) {
        Ok(failed) if failed.is_empty() => Ok(()),
        _ => Err("a processor panicked".into()),
    }
}

fn work(shared: &Shared, running: &Mutex<Option<(u64, Instant)>>) {
    while Instant::now() < shared.end && !shared.stop.load(Relaxed) {
        let number = shared.next.fetch_add(1, Relaxed);
        note(running, Some((number, Instant::now())));
        let bytes = input(shared.seed, number);
        match catch_unwind(AssertUnwindSafe(|| fuzz::run(&bytes))) {
            Ok(retired) => {
                shared.retired.fetch_add(retired, Relaxed);
            }
            Err(_) => {
                shared.stop.store(true, Relaxed);
                println!(
                    "fuzz: input {number} panics: cargo xtask fuzz --seed {} --input {number}",
                    shared.seed
                );
                println!("fuzz: its bytes: {}", hex(&bytes));
                if let Ok(mut failed) = shared.failed.lock() {
                    failed.push(number);
                }
            }
        }
        note(running, None);
    }
}

fn note(running: &Mutex<Option<(u64, Instant)>>, what: Option<(u64, Instant)>) {
    if let Ok(mut running) = running.lock() {
        *running = what;
    }
}

/// Ends the program when an input does not.
fn watch(shared: &Shared) {
    for running in &shared.running {
        let now = running.lock().ok().and_then(|running| *running);
        if let Some((number, since)) = now
            && since.elapsed() > PATIENCE
        {
            eprintln!(
                "fuzz: input {number} does not end: cargo xtask fuzz --seed {} --input {number}",
                shared.seed
            );
            eprintln!("fuzz: its bytes: {}", hex(&input(shared.seed, number)));
            process::exit(1);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Instructions that random bytes seldom are.
const SELDOM: [&[u8]; 32] = [
    &[0xf3, 0xa4],
    &[0xf3, 0xab],
    &[0xf3, 0x48, 0xa5],
    &[0xf2, 0xae],
    &[0x8e, 0xd8],
    &[0x8e, 0xd0],
    &[0x0f, 0x22, 0xc0],
    &[0x0f, 0x22, 0xd8],
    &[0x0f, 0x22, 0xe0],
    &[0x44, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x23, 0xf8],
    &[0x9d],
    &[0xcf],
    &[0x48, 0xcf],
    &[0xcb],
    &[0x48, 0xcb],
    &[0xfb],
    &[0xc8, 0x08, 0x00, 0x02],
    &[0x60],
    &[0x61],
    &[0x0f, 0x01, 0x38],
    &[0x0f, 0x05],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x34],
    &[0x0f, 0x30],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0xaa],
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x70, 0x00],
    &[0xea, 0x00, 0x00, 0x01, 0x00, 0x28, 0x00],
    &[0x48, 0x0f, 0xc7, 0x0b],
    &[0x0f, 0xae, 0x03],
    &[0x0f, 0xae, 0x0b],
];
/// Bytes before the code, about as many as the rest of the processor takes.
const HEAD: usize = 700;
const CODE: usize = 320;

/// Input `number` of `seed`.
fn input(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random { seed: seed ^ number.rotate_left(32), drawn: 0 };
    let mut bytes = Vec::with_capacity(HEAD + CODE);
    while bytes.len() < HEAD {
        bytes.extend(random.draw().to_le_bytes());
    }
    while bytes.len() < HEAD + CODE {
        let value = random.draw();
        let escape: &[u8] = match value >> 56 & 15 {
            0 | 1 => SELDOM[(value >> 32) as usize % SELDOM.len()],
            2 | 3 => &[0x0f],
            4 => &[0x66, 0x0f],
            5 => &[0xf3, 0x0f],
            6 => &[0x0f, 0x38],
            7 => &[0xd9],
            8 => &[0xc4, 0xe2],
            _ => &[],
        };
        bytes.extend(escape);
        let more = (value >> 60) as usize & 7;
        bytes.extend(value.to_le_bytes().iter().take(more));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use warmboot_cpu::fuzz;

    /// An alignment check whose delivery meets an alignment check, for ever.
    #[test]
    fn inputs_that_did_not_end() {
        assert!(fuzz::run(&super::input(1_795_915_867_009_689_059, 9450)) < 1_000_000);
    }
}
