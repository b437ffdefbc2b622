//! `warmboot boot`: one machine, run to its end.

use std::{
    borrow::Cow,
    fmt, fs,
    io::{self, IsTerminal, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use warmboot::{
    Condition, Machine, MachineSpec, Places, gdb,
    inspect::{
        history::{self, NamedHistory},
        screen,
        symbols::Symbols,
        trace::{AccessTrace, InstructionTrace, Traces},
    },
    machine::{ConfigError, FLASH_CHIPS, PowerState},
    scenario::{
        files, images,
        input::Recording,
        problem::InputError,
        session::{End, Finish, Session},
    },
};

use super::{
    Outcome,
    arguments::{MachineArguments, Ports, RunArguments, SymbolArguments},
    fork, interrupt,
    live::{self, Host},
    output::{self, Sink, Stream},
    progress::Progress,
    screen::Screen,
    stdio::Standard,
};

/// What gdb's server needs of this program.
const GDB_HOST: gdb::Host = gdb::Host { interrupted: interrupt::asked, say: output::complain };

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    run: RunArguments,
    /// Add COM1; what the guest sends goes to this file, or with `-` to standard output. With `stdio`, what
    /// comes from standard input goes to the guest, too: on a terminal, Ctrl+A x ends the run, Ctrl+A h says
    /// more
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Machine"
    )]
    serial: Option<Option<String>>,
    /// Add LPT1; what the guest prints goes to this file, or with `-` to standard output
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Machine"
    )]
    parallel: Option<Option<String>>,
    /// What the guest writes to the debug port 0x402 goes to this file, or with `-` to standard output
    #[arg(
        long,
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Machine"
    )]
    debugcon: Option<String>,
    /// Write what is entered during the run (--serial stdio, --screen), each with its moment, to this file
    #[arg(
        long,
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Run"
    )]
    input_out: Option<String>,
    /// Enter what --input-out has written in a run of the same machine, at the same moments: the run is the
    /// same, bit for bit
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    input: Option<PathBuf>,
    /// Write the machine to this file when the run has ended; standard output, by any name, is for the
    /// report
    #[arg(
        long,
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Run"
    )]
    snapshot_out: Option<String>,
    /// Record each write to this: ADDRESS, SYMBOL, both with +LENGTH if you like, or CHIP.REGISTER as
    /// `snapshot show --json` and diffs name it (may be repeated)
    #[arg(long, value_name = "WHAT", help_heading = "Look")]
    watch: Vec<String>,
    /// Keep at most N of those writes and count the rest [default: 10000]
    #[arg(long, value_name = "N", requires = "watch", help_heading = "Look")]
    watch_limit: Option<usize>,
    /// Write each instruction with its address, its symbol and the registers it changed to this file, or
    /// with `-` to standard output. Options: range=START-END, range=START+LENGTH or range=SYMBOL (linear
    /// addresses; may be repeated), from=N and to=N (instruction counts), limit=SIZE [default: 256M]
    #[arg(
        long,
        value_name = "FILE[,OPTION...]",
        allow_hyphen_values = true,
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Look"
    )]
    trace: Option<String>,
    /// Write each access to a port, to a chip's memory, to PCI configuration space and to the local APIC's
    /// model-specific registers, with the names of chip and register, to this file, or with `-` to standard
    /// output. Options as for --trace, where ranges are of ports, physical addresses and registers, and
    /// port[=RANGE], mmio[=RANGE], msr[=RANGE], config[=BUS:DEVICE.FUNCTION], chip=NAME (may be repeated)
    #[arg(
        long,
        value_name = "FILE[,OPTION...]",
        allow_hyphen_values = true,
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Look"
    )]
    trace_io: Option<String>,
    #[command(flatten)]
    symbols: SymbolArguments,
    /// Show the guest's screen on this terminal and press its keys on the guest's keyboard; Ctrl+A opens a menu,
    /// Ctrl+A x ends the run. Adds --vga std unless --vga says otherwise
    #[arg(long, conflicts_with_all = ["gdb", "fork_at"], help_heading = "Look")]
    screen: bool,
    /// Write the screen to this PNG file when the run has ended; needs --vga
    #[arg(
        long,
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Look"
    )]
    screenshot: Option<String>,
    /// Write the screen's text to this file, or with `-` to standard output, when the run has ended; needs --vga
    #[arg(
        long,
        value_name = "FILE",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Look"
    )]
    screen_text: Option<String>,
    /// Fork the machine when this is met, and when the run has ended let the fork run to its end too: exit
    /// status 1 unless both have one digest
    #[arg(
        long,
        value_name = "CONDITION",
        conflicts_with_all = ["gdb", "watch", "trace", "trace_io"],
        help_heading = "Run"
    )]
    fork_at: Option<Condition>,
    /// Stop before the first instruction and wait for gdb at this address; port 0 takes a free one. gdb's
    /// `detach` lets the run go on, `kill` ends it
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = NonEmptyStringValueParser::new(),
        conflicts_with_all = ["watch", "trace", "trace_io"],
        help_heading = "Look"
    )]
    gdb: Option<String>,
    /// Print one JSON object with digest, instructions, times and how the run ended
    #[arg(long, help_heading = "Look")]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    machine: &'a str,
    emulator: &'a str,
    firmware: &'a str,
    memory: u64,
    ended_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug_exit: Option<u32>,
    power: &'static str,
    instructions: u64,
    virtual_time_ns: u64,
    wall_ms: u64,
    digest: String,
    state_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<NamedHistory>,
}

impl Arguments {
    /// Whether the guest is one that runs for long, in much memory.
    pub(crate) fn needs_much(&self) -> bool {
        self.machine.needs_much()
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, InputError> {
    let start = Instant::now();
    let places = arguments.machine.places()?;
    if arguments.screen {
        Screen::check()?;
    }
    let ports = Ports {
        screen: arguments.screen,
        serial: arguments.serial.is_some(),
        parallel: arguments.parallel.is_some(),
    };
    let spec = arguments.machine.spec(ports);
    let debugcon = arguments.debugcon.as_deref().map(Sink::open).transpose()?;
    let stdio = matches!(&arguments.serial, Some(Some(name)) if name == "stdio");
    let serial = arguments.serial.iter().flatten().next();
    let serial = serial.map(|name| Sink::open(if stdio { "-" } else { name })).transpose()?;
    let parallel = arguments.parallel.iter().flatten().next().map(|name| Sink::open(name)).transpose()?;
    let snapshot = arguments.snapshot_out.as_deref().map(Sink::open).transpose()?;
    if snapshot.as_ref().is_some_and(Sink::is_standard) {
        return Err(InputError::new(
            "--snapshot-out needs the name of a file: standard output is for the report",
        ));
    }
    let input_out = arguments.input_out.as_deref().map(Sink::open).transpose()?;
    let recorded = arguments.input.as_deref().map(read_recording).transpose()?;
    let screenshot = arguments.screenshot.as_deref().map(Sink::open).transpose()?;
    let screen_text = arguments.screen_text.as_deref().map(Sink::open).transpose()?;
    let trace = arguments.trace.as_deref().map(TraceTo::open).transpose()?;
    let trace_io = arguments.trace_io.as_deref().map(TraceTo::open).transpose()?;
    let targets = write_back_targets(&spec, &places)?;
    let sinks = [
        ("--debugcon", &debugcon),
        ("--serial", &serial),
        ("--parallel", &parallel),
        ("--screenshot", &screenshot),
        ("--screen-text", &screen_text),
        ("--input-out", &input_out),
    ];
    let traces = [("--trace", &trace), ("--trace-io", &trace_io)];
    let traced = traces.iter().filter_map(|(name, trace)| Some((*name, &trace.as_ref()?.sink)));
    let given = sinks.iter().filter_map(|(name, sink)| Some((*name, sink.as_ref()?)));
    let saved = snapshot.iter().map(|sink| ("--snapshot-out", sink));
    let back = targets.iter().map(|(name, sink)| (name.as_str(), sink));
    differ(&traced.clone().chain(given.clone()).chain(saved).chain(back).collect::<Vec<_>>())?;
    if let Some((name, _)) = given.chain(traced).find(|(_, sink)| arguments.screen && sink.is_standard()) {
        return Err(InputError::new(format!(
            "{name}: with --screen, standard output is the screen; name a file"
        )));
    }
    for (option, given) in [("--gdb", arguments.gdb.is_some()), ("--fork-at", arguments.fork_at.is_some())] {
        if stdio && given {
            let why = format!("--serial stdio needs a run without {option}; --input can be given there");
            return Err(InputError::new(why));
        }
    }
    let gdb = arguments.gdb.as_deref().map(|address| gdb::listen(address, GDB_HOST)).transpose()?;
    let mut machine = arguments.machine.machine(ports, &places)?;
    let looks = [
        ("--screenshot", screenshot.is_some()),
        ("--screen-text", screen_text.is_some()),
        ("--screen", arguments.screen),
    ];
    for (option, given) in looks {
        if given && machine.display().is_none() {
            return Err(InputError(format!(
                "{option}: this machine has no display adapter, so no screen; --vga std adds one"
            )));
        }
    }
    let symbols = arguments.symbols.load(&machine.config().firmware.name, &places)?;
    for watch in &arguments.watch {
        let watched = history::watched(watch, &symbols).map_err(InputError::new)?;
        machine.watch(&watched)?;
    }
    if let Some(limit) = arguments.watch_limit {
        machine.limit_history(limit);
    }

    let traced_here = [&trace, &trace_io].into_iter().flatten().any(|trace| trace.sink.is_standard());
    let mut tracing = Tracing::begin(trace, trace_io, &machine, &symbols)?;

    interrupt::listen();
    let mut live = Live {
        // What a loaded machine said before was printed then.
        debug: debugcon.as_ref().is_some_and(Sink::is_standard).then_some(machine.debug_log().len()),
        serial: serial.as_ref().is_some_and(Sink::is_standard).then_some(machine.serial_log().len()),
        parallel: parallel.as_ref().is_some_and(Sink::is_standard).then_some(machine.parallel_log().len()),
        raw: stdio && io::stdin().is_terminal() && io::stdout().is_terminal(),
        closed: false,
        failed: None,
    };
    let printed = [live.debug, live.serial, live.parallel];
    let shown_here = screen_text.as_ref().is_some_and(Sink::is_standard);
    let speaks = printed.iter().any(Option::is_some) || traced_here || shown_here;
    let progress = Progress::new(None, !speaks && gdb.is_none() && !arguments.screen && !stdio);
    let (began, before) = (Instant::now(), machine.instructions());
    let streams = tracing.streams.clone();
    let mut watch = |machine: &Machine| {
        progress.instructions(machine.instructions().saturating_sub(before));
        live.print(machine) && streams.iter().all(Stream::is_open) && !interrupt::asked()
    };
    let mut session = Session::new(arguments.run.plan());
    session.repeat(recorded.unwrap_or_default());
    let mut host: Option<Box<dyn Host>> = if arguments.screen {
        Some(Box::new(Screen::open()?))
    } else if stdio {
        Some(Box::new(Standard::open()?))
    } else {
        None
    };
    let left = gdb
        .map(|listener| gdb::serve(listener, GDB_HOST, &mut machine, &mut session, &mut watch))
        .transpose();
    let traces = &mut tracing.traces;
    let forked = match &arguments.fork_at {
        Some(at) => Some(fork::take(at, &mut machine, &mut session, &mut watch)?),
        None => None,
    };
    let finish = left.and_then(|left| match (left, &mut host) {
        _ if let Some(Err(finish)) = &forked => Ok(finish.clone()),
        (_, Some(host)) => live::drive(&mut machine, &mut session, &mut **host, &mut watch, traces),
        (Some(gdb::Left::Over(finish)), None) => Ok(finish),
        _ if traces.is_empty() => Ok(session.drive(&mut machine, &mut watch)?),
        _ => Ok(session.drive_traced(&mut machine, &mut watch, traces)?),
    });
    // The terminal is as it was before anything is said.
    drop(host);
    let finish = finish?;
    let agrees = match forked {
        Some(Ok(_)) if finish.end == End::Interrupted => true,
        Some(Ok(fork)) => fork.agrees(&mut machine, &mut |_| !interrupt::asked())?,
        Some(Err(_)) => {
            output::complain("--fork-at: the run ended before that");
            false
        }
        None => true,
    };
    progress.finish();
    tracing.finish()?;
    let executed = Executed {
        total: machine.instructions(),
        here: machine.instructions().saturating_sub(before),
        wall: began.elapsed(),
    };
    if let Some(error) = live.failed {
        return Err(error);
    }

    if session.coming() > 0 {
        let left = session.coming();
        output::complain(&format!("warning: --input: the run ended before {left} of its entries"));
    }
    if let Some(sink) = input_out {
        sink.finish(session.recording().to_string().as_bytes())?;
    }
    for (sink, log) in
        [(debugcon, machine.debug_log()), (serial, machine.serial_log()), (parallel, machine.parallel_log())]
    {
        if let Some(sink) = sink.filter(|sink| !sink.is_standard()) {
            sink.finish(log)?;
        }
    }
    write_back(&spec, &places, &machine)?;
    write_flash_back(&spec, &places, &machine)?;
    if let Some(sink) = snapshot {
        sink.finish(&machine.save().map_err(|error| InputError::new(error.to_string()))?)?;
    }
    if let (Some(sink), Some(picture)) = (screenshot, screen::png(&machine)) {
        sink.finish(&picture)?;
    }
    if let (Some(sink), Some(text)) = (screen_text, machine.screen_text()) {
        sink.finish(text.as_bytes())?;
    }
    let config = machine.config().clone();
    let report = Report {
        machine: &config.machine,
        emulator: &config.emulator,
        firmware: &config.firmware.name,
        memory: config.memory,
        ended_by: &finish.ended_by,
        debug_exit: finish.debug_exit,
        power: power(machine.power()),
        instructions: machine.instructions(),
        virtual_time_ns: machine.virtual_time(),
        wall_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        digest: machine.digest(),
        state_digest: machine.state_digest(),
        history: (!arguments.watch.is_empty())
            .then(|| NamedHistory::of(&machine, &arguments.watch, &symbols)),
    };
    if arguments.json {
        output::print_json(&report)?;
    } else {
        let text = report.text(&executed);
        // Where the guest's own words are the data, the summary is a message.
        if speaks { output::complain(text.trim_end()) } else { output::print(text.as_bytes()).map(|_| ())? }
    }
    let outcome = conclude(&finish, arguments);
    Ok(if agrees { outcome } else { Outcome::Unexpected })
}

/// Reads what `--input-out` has written.
fn read_recording(path: &Path) -> Result<Recording, InputError> {
    let fail = |why: String| InputError::new(format!("--input `{}`: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    text.parse().map_err(|error: ConfigError| fail(error.to_string()))
}

/// A trace's file and its options.
struct TraceTo {
    sink: Sink,
    options: String,
}

impl TraceTo {
    /// Takes `FILE[,OPTION...]`.
    fn open(text: &str) -> Result<TraceTo, InputError> {
        let (file, options) = text.split_once(',').unwrap_or((text, ""));
        // An option of ours where a file should be.
        if file.is_empty() || file != "-" && file.starts_with('-') {
            return Err(InputError::new(format!("trace `{text}`: expected FILE[,OPTION...]")));
        }
        Ok(TraceTo { sink: Sink::open(file)?, options: options.to_owned() })
    }
}

/// Traces and the files they go to.
struct Tracing {
    traces: Traces,
    streams: Vec<Stream>,
}

impl Tracing {
    fn begin(
        trace: Option<TraceTo>,
        trace_io: Option<TraceTo>,
        machine: &Machine,
        symbols: &Symbols,
    ) -> Result<Tracing, InputError> {
        let (mut traces, mut streams) = (Traces::default(), Vec::new());
        if let Some(TraceTo { sink, options }) = trace {
            let stream = sink.stream()?;
            streams.push(stream.clone());
            let trace = InstructionTrace::new(&options, symbols.clone(), Box::new(stream));
            traces.instructions = Some(trace.map_err(|why| InputError::new(format!("--trace: {why}")))?);
        }
        if let Some(TraceTo { sink, options }) = trace_io {
            let stream = sink.stream()?;
            streams.push(stream.clone());
            let chips: Vec<&str> = machine.chips().collect();
            let several = machine.config().cpus > 1;
            let trace = AccessTrace::new(&options, symbols.clone(), &chips, several, Box::new(stream));
            traces.accesses = Some(trace.map_err(|why| InputError::new(format!("--trace-io: {why}")))?);
        }
        Ok(Tracing { traces, streams })
    }

    fn finish(&mut self) -> Result<(), InputError> {
        self.traces.finish();
        self.streams.iter().try_for_each(Stream::finish)
    }
}

/// The files that what the guest wrote to drives and flash chips goes back to, by option.
fn write_back_targets(spec: &MachineSpec, places: &Places) -> Result<Vec<(String, Sink)>, InputError> {
    let drives = spec.drives.iter().filter(|drive| drive.write_back);
    let drives = drives.map(|drive| Ok((format!("--drive {}", drive.at), drive.path(places))));
    let flash = spec.flash.iter().filter(|flash| flash.write_back);
    let flash = flash.map(|flash| Ok((format!("--pflash {}", flash.image), flash.path(places)?)));
    let sink = |named: Result<(String, PathBuf), InputError>| {
        let (name, path) = named?;
        Ok((name, Sink::open(&path.display().to_string())?))
    };
    drives.chain(flash).map(sink).collect()
}

/// Refuses two options that name the same file.
fn differ(sinks: &[(&str, &Sink)]) -> Result<(), InputError> {
    for (index, (name, sink)) in sinks.iter().enumerate() {
        for (other, earlier) in sinks.iter().take(index) {
            if sink.is_same(earlier) && !sink.is_standard() {
                return Err(InputError::new(format!("{other} and {name} name the same file")));
            }
        }
    }
    Ok(())
}

/// Says what was not as expected, and gives the outcome.
fn conclude(finish: &Finish, arguments: &Arguments) -> Outcome {
    for &index in &finish.undone {
        output::complain(&format!(
            "warning: {}: the run ended before that",
            arguments.run.action_text(index)
        ));
    }
    let plan = arguments.run.plan();
    match finish.end {
        End::Met => Outcome::Expected,
        End::Stopped if plan.until.is_empty() => Outcome::Expected,
        End::Stopped => {
            output::complain(&format!("ended by {} before any --until condition was met", finish.ended_by));
            Outcome::Unexpected
        }
        End::Limit => {
            let limit = match (finish.ended_by.as_str(), plan.limits.instructions, plan.limits.time) {
                ("limit", Some(count), _) => format!("{count} instructions"),
                (_, _, Some(time)) => format!("{} of virtual time", seconds(time)),
                _ => "the run".to_owned(),
            };
            output::complain(&format!("the limit of {limit} was met"));
            Outcome::Unexpected
        }
        End::Interrupted => {
            output::complain("interrupted");
            Outcome::Unexpected
        }
    }
}

/// What the guest says, as it says it.
struct Live {
    /// How much of each log has been printed, for those that go to standard output.
    debug: Option<usize>,
    serial: Option<usize>,
    parallel: Option<usize>,
    /// They go to a terminal that does not begin a new line at its left by itself.
    raw: bool,
    closed: bool,
    failed: Option<InputError>,
}

impl Live {
    /// Prints what is new; false when nobody reads it any more.
    fn print(&mut self, machine: &Machine) -> bool {
        for (printed, log) in [
            (&mut self.debug, machine.debug_log()),
            (&mut self.serial, machine.serial_log()),
            (&mut self.parallel, machine.parallel_log()),
        ] {
            let Some(printed) = printed else { continue };
            // After going back there is nothing new for a while.
            let new = log.get(*printed..).unwrap_or_default();
            *printed = log.len().max(*printed);
            let new = if self.raw { for_raw_terminal(new) } else { new.into() };
            match output::print(&new) {
                Ok(open) => self.closed |= !open,
                Err(error) => self.failed = Some(error),
            }
        }
        !self.closed && self.failed.is_none()
    }
}

/// Puts a carriage return before each line feed that has none.
fn for_raw_terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut before = 0;
    let returned = bytes.iter().flat_map(|&byte| {
        let lacks = byte == b'\n' && before != b'\r';
        before = byte;
        lacks.then_some(b'\r').into_iter().chain([byte])
    });
    returned.collect()
}

/// Brings what the guest wrote to drives with `,write` to their files, each whole or not at all.
fn write_back(spec: &MachineSpec, places: &Places, machine: &Machine) -> Result<(), InputError> {
    for drive in spec.drives.iter().filter(|drive| drive.write_back) {
        let path = drive.path(places);
        let fail =
            |error: io::Error| InputError::new(format!("cannot write image `{}`: {error}", path.display()));
        let writes = machine.disk_writes(drive.at.parse()?);
        if writes.is_empty() {
            continue;
        }
        // The next run would take it for an image that may name other files of the host.
        let start = writes.first().filter(|(offset, _)| *offset == 0);
        if drive.format.is_none() && start.is_some_and(|(_, bytes)| !images::begins_raw(bytes)) {
            return Err(fail(io::Error::other(
                "what the guest wrote begins as an image of another format; with format=raw it is written",
            )));
        }
        files::replace(&path, |file| {
            let size = io::copy(&mut fs::File::open(&path)?, file)?;
            for (offset, bytes) in writes {
                // The last sector of an image of odd size reaches past its end.
                let room = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)?;
            }
            Ok(())
        })
        .map_err(fail)?;
    }
    Ok(())
}

/// Brings what is in flash chips with `,write-back` to their files.
fn write_flash_back(spec: &MachineSpec, places: &Places, machine: &Machine) -> Result<(), InputError> {
    let chips = FLASH_CHIPS.iter().zip(&machine.config().flash);
    for (flash, (name, chip)) in spec.flash.iter().zip(chips).filter(|(flash, _)| flash.write_back) {
        let mut bytes = vec![0; chip.image.bytes.len()];
        machine.read_block(name, 0, &mut bytes)?;
        let path = flash.path(places)?;
        files::replace(&path, |file| file.write_all(&bytes)).map_err(|error| {
            InputError::new(format!("cannot write flash image `{}`: {error}", path.display()))
        })?;
    }
    Ok(())
}

pub(crate) fn power(state: PowerState) -> &'static str {
    match state {
        PowerState::On => "on",
        PowerState::Off => "off",
        PowerState::Suspended => "suspended",
    }
}

fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09} s", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

impl Report<'_> {
    /// For a person.
    fn text(&self, executed: &Executed) -> String {
        let history = self.history.as_ref().map_or(String::new(), ToString::to_string);
        let exit = self.debug_exit.map_or(String::new(), |status| format!(" with status {status}"));
        format!(
            "machine       {} on {}, {} MiB, firmware {}\n\
             ended by      {}{exit}\n\
             instructions  {executed}\n\
             virtual time  {}\n\
             digest        {}\n\
             state digest  {}\n\
             {history}",
            self.machine,
            self.emulator,
            self.memory >> 20,
            self.firmware,
            self.ended_by,
            seconds(self.virtual_time_ns),
            self.digest,
            self.state_digest
        )
    }
}

/// Instructions, and how fast those of this run were.
struct Executed {
    /// Since power-on.
    total: u64,
    /// In this run: fewer, when it went on from a snapshot.
    here: u64,
    /// Host time of the run.
    wall: Duration,
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.wall.as_secs_f64();
        let mips = self.here as f64 / 1e6 / seconds.max(1e-9);
        write!(f, "{}", self.total)?;
        if self.here != self.total {
            write!(f, ", {} of them in this run,", self.here)?;
        }
        write!(f, " in {seconds:.3} s ({mips:.0} MIPS)")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"a\nb", b"a\r\nb")]
    #[case(b"a\r\nb\n\n", b"a\r\nb\r\n\r\n")]
    #[case(b"\x1b[2J\r", b"\x1b[2J\r")]
    fn line_feeds(#[case] bytes: &[u8], #[case] expect: &[u8]) {
        assert_eq!(&*for_raw_terminal(bytes), expect);
    }

    #[rstest]
    #[case::whole(50_000_000, 50_000_000, "50000000 in 0.500 s (100 MIPS)")]
    #[case::loaded(50_000_000, 5_000_000, "50000000, 5000000 of them in this run, in 0.500 s (10 MIPS)")]
    fn speed(#[case] total: u64, #[case] here: u64, #[case] expect: &str) {
        let executed = Executed { total, here, wall: Duration::from_millis(500) };
        assert_eq!(executed.to_string(), expect);
    }
}
