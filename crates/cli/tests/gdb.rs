//! `boot --gdb`, by the remote serial protocol itself and, where there is one, by a real gdb.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rstest::rstest;

/// Where `rom:hello` begins.
const START: u64 = 0xf_e000;
const UNTIL: [&str; 2] = ["--until", "debug:No bootable device"];
/// In the remote protocol's numbers.
const RIP: usize = 16;
const EIP: usize = 8;

/// `warmboot boot` waiting for gdb.
struct Waiting {
    child: Child,
    address: String,
    messages: BufReader<std::process::ChildStderr>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmboot"));
    command.args(["boot", "--firmware", "rom:hello"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Waiting {
    fn new(arguments: &[&str]) -> Waiting {
        let mut child =
            command(arguments).args(["--gdb", "127.0.0.1:0"]).spawn().expect("the command starts");
        let mut messages = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        messages.read_line(&mut line).expect("a line");
        let address = line.rsplit(' ').next().unwrap_or_default();
        let address = address.trim_end().trim_end_matches('\'').to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        Waiting { child, address, messages }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        Client { stream }
    }

    /// Waits for its end; gives what it said on standard error with it.
    fn end(self) -> (Output, String) {
        let Waiting { child, mut messages, .. } = self;
        let output = child.wait_with_output().expect("the command ends");
        let mut text = String::new();
        messages.read_to_string(&mut text).expect("text");
        assert!(!text.contains("panicked"), "{text}");
        (output, text)
    }

    /// Waits for the end of a run that goes on; gives its digest.
    fn digest(self) -> String {
        let (output, messages) = self.end();
        assert!(output.status.success(), "{messages}");
        digest(&output)
    }
}

fn digest(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("digest "));
    line.unwrap_or_else(|| panic!("no digest in {text}")).trim().to_owned()
}

/// The digest of a run without gdb.
fn without(arguments: &[&str]) -> String {
    digest(&command(arguments).output().expect("the command runs"))
}

/// One end of the protocol.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn send(&mut self, body: &str) {
        let sum = body.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.stream, "${body}#{sum:02x}").expect("it listens");
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => None,
            Ok(_) => Some(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next packet's body, without run-length encoding; `None` when the connection is closed.
    fn receive(&mut self) -> Option<String> {
        while self.byte()? != b'$' {}
        let mut raw = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => raw.push(byte),
            }
        }
        let sum = String::from_utf8(vec![self.byte()?, self.byte()?]).expect("text");
        let expect = raw.iter().copied().fold(0, u8::wrapping_add);
        assert_eq!(u8::from_str_radix(&sum, 16), Ok(expect));
        self.stream.write_all(b"+").expect("it listens");
        let mut body = Vec::new();
        let mut bytes = raw.iter();
        while let Some(byte) = bytes.next() {
            if *byte == b'*' {
                let last = *body.last().expect("something to repeat");
                let count = usize::from(bytes.next().expect("a count") - 29);
                body.extend(std::iter::repeat_n(last, count));
            } else {
                body.push(*byte);
            }
        }
        Some(body.iter().map(|byte| char::from(*byte)).collect())
    }

    fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.receive().unwrap_or_else(|| panic!("`{body}` ended the connection"))
    }

    /// A register's value, by number.
    fn register(&mut self, number: usize) -> u64 {
        let digits = self.ask(&format!("p{number:x}"));
        let byte = |at: usize| u64::from_str_radix(&digits[at..at + 2], 16).expect("a byte");
        (0..digits.len() / 2).rev().fold(0, |value, index| value << 8 | byte(2 * index))
    }

    /// All registers and some memory: what a debugger shows.
    fn seen(&mut self) -> String {
        format!("{} {}", self.ask("g"), self.ask("m500,20"))
    }

    fn ok(&mut self, body: &str) {
        assert_eq!(self.ask(body), "OK", "{body}");
    }
}

#[test]
fn it_stands_at_the_first_instruction() {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    assert!(gdb.ask("qSupported:swbreak+;hwbreak+").contains("ReverseStep+;"));
    assert_eq!(gdb.ask("?"), "T05thread:01;");
    assert_eq!((gdb.register(RIP), gdb.register(RIP + 2)), (0xfff0, 0xf000));
    let description = gdb.ask("qXfer:features:read:target.xml:0,fff");
    assert!(description.contains("i386:x86-64") && description.contains("name=\"rip\""), "{description}");
    // A far jump, and no memory at all.
    assert_eq!(gdb.ask("mfffffff0,5"), "ea00e000f0");
    assert_eq!(gdb.ask("m100000000,1"), "E0e");
    gdb.ok("vKill;1");
    assert_eq!(gdb.receive(), None);
    let (output, messages) = waiting.end();
    assert_eq!(output.status.code(), Some(1), "{messages}");
}

#[test]
fn a_model_without_long_mode_has_other_registers() {
    let waiting = Waiting::new(&["--cpu", "pentium3"]);
    let mut gdb = waiting.client();
    let description = gdb.ask("qXfer:features:read:target.xml:0,fff");
    assert!(description.contains("<architecture>i386</architecture>"), "{description}");
    assert!(description.contains("name=\"eip\"") && !description.contains("efer"), "{description}");
    assert_eq!(gdb.register(EIP), 0xfff0);
    gdb.send("k");
    waiting.end();
}

/// Whatever gdb looks at and wherever it stops, the run ends as it does without.
#[rstest]
#[case::detached(&[], &["D"])]
#[case::continued(&[], &["c", "D"])]
#[case::to_the_exit(&[], &["c", "c"])]
#[case::stepped(&[], &["s", "s", "vCont;s:1;c", "D"])]
#[case::looked(&[], &["g", "mf0000,800", "m0,800", "mfee00000,4", "D"])]
#[case::breakpoints(&[], &["Z0,fe000,1", "c", "c", "z0,fe000,1", "D"])]
#[case::back_and_forth(&[], &["Z1,fe000,1", "c", "z1,fe000,1", "c", "bs", "bs", "bc", "D"])]
#[case::back_from_the_end(&[], &["c", "bc", "c", "D"])]
#[case::watched(&[], &["Z2,502,2", "c", "s", "c", "D"])]
#[case::watched_for_reads(&[], &["Z3,502,2", "Z4,500,1", "c", "s", "c", "bc", "D"])]
#[case::two_processors(&["--cpus", "2"], &["Z0,fe000,1", "c", "s", "bs", "bc", "D"])]
#[case::one_at_a_time(&["--plain"], &["Z0,fe000,1", "c", "s", "bs", "D"])]
#[case::keys(&["--press", "ctrl-alt-delete@debug:No bootable device"], &["Z0,fe000,1", "c", "c", "bc", "D"])]
fn the_digest_is_the_same(#[case] arguments: &[&str], #[case] packets: &[&str]) {
    let arguments = [&UNTIL, arguments].concat();
    let waiting = Waiting::new(&arguments);
    let mut gdb = waiting.client();
    for packet in packets {
        gdb.ask(packet);
    }
    assert_eq!(waiting.digest(), without(&arguments));
}

#[test]
fn breakpoints_stop_where_they_are() {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    gdb.ok(&format!("Z0,{START:x},1"));
    // $pc is not the linear address here, so gdb is given a signal.
    assert_eq!(gdb.ask("c"), "T05thread:01;");
    assert_eq!((gdb.register(RIP), gdb.register(RIP + 2)), (0xe000, 0xf000));
    gdb.ok(&format!("z0,{START:x},1"));
    assert_eq!(gdb.ask("c"), "T05thread:01;replaylog:end;");
    assert_eq!(gdb.ask("c"), "W00");
    waiting.digest();
}

#[test]
fn a_step_back_shows_what_was_before() {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    assert_eq!(gdb.ask("bs"), "T05thread:01;replaylog:begin;");
    gdb.ok(&format!("Z1,{START:x},1"));
    gdb.ask("c");
    gdb.ok(&format!("z1,{START:x},1"));
    let mut before = Vec::new();
    for _ in 0..40 {
        before.push(gdb.seen());
        assert_eq!(gdb.ask("s"), "T05thread:01;");
    }
    while let Some(expect) = before.pop() {
        assert_eq!(gdb.ask("bs"), "T05thread:01;");
        assert_eq!(gdb.seen(), expect, "{} steps", before.len());
    }
    assert_eq!(gdb.ask("bs"), "T05thread:01;");
    assert_eq!(gdb.register(RIP), 0xfff0);
    // From the end, too, and over many forks.
    assert_eq!(gdb.ask("c"), "T05thread:01;replaylog:end;");
    let end = gdb.seen();
    gdb.ask("bs");
    let before_end = gdb.seen();
    gdb.ok(&format!("Z0,{START:x},1"));
    assert_eq!(gdb.ask("bc"), "T05thread:01;");
    assert_eq!(gdb.register(RIP), 0xe000);
    assert_eq!(gdb.ask("bc"), "T05thread:01;replaylog:begin;");
    gdb.ok(&format!("z0,{START:x},1"));
    assert_eq!(gdb.ask("c"), "T05thread:01;replaylog:end;");
    assert_eq!(gdb.seen(), end);
    gdb.ask("bs");
    assert_eq!(gdb.seen(), before_end);
    gdb.ask("D");
    assert_eq!(waiting.digest(), without(&UNTIL));
}

#[test]
fn what_is_changed_stays_changed_from_there_on() {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    gdb.ok(&format!("Z0,{START:x},1"));
    gdb.ask("c");
    gdb.ok("M7000,2:abcd");
    assert_eq!(gdb.ask("m7000,2"), "abcd");
    gdb.ok(&format!("P{:x}=7856341200000000", 0));
    assert_eq!(gdb.register(0), 0x1234_5678);
    // The BIOS is read-only to the guest, and a debugger is not.
    gdb.ok("Mf0000,1:55");
    assert_eq!(gdb.ask("mf0000,1"), "55");
    assert_eq!(gdb.ask("Mfee00000,1:55"), "E0e");
    gdb.ask("s");
    gdb.ask("bs");
    assert_eq!((gdb.register(0), gdb.ask("m7000,2")), (0x1234_5678, "abcd".to_owned()));
    gdb.ask("bs");
    assert_eq!((gdb.register(0), gdb.ask("m7000,2")), (0, "0000".to_owned()));
    // What no processor can hold is refused: paging without protection.
    let number = RIP + 8 + 16 + 17 + 2;
    assert_eq!(gdb.ask(&format!("P{number:x}=1000008000000000")), "E16");
    gdb.send("k");
    waiting.end();
}

/// `rom:hello` counts its starts at 502h: it clears the word and adds one; then it reads it for what it says,
/// and its lower byte for CMOS.
#[rstest]
#[case::writes("2", "watch", &[], &["0000", "0100"])]
#[case::reads("3", "rwatch", &[], &["0100", "0100", "0100"])]
#[case::both("4", "awatch", &[], &["0000", "0100", "0100", "0100"])]
#[case::reads_one_at_a_time("3", "rwatch", &["--plain"], &["0100", "0100", "0100"])]
fn an_access_is_noticed(
    #[case] kind: &str,
    #[case] name: &str,
    #[case] arguments: &[&str],
    #[case] stops: &[&str],
) {
    let arguments = [&UNTIL, arguments].concat();
    let waiting = Waiting::new(&arguments);
    let mut gdb = waiting.client();
    gdb.ok(&format!("Z{kind},502,2"));
    let mut check = |packet: &str, stop: &str, expect: &str| {
        assert_eq!(gdb.ask(packet), format!("T05thread:01;{stop}"));
        assert_eq!(gdb.ask("m502,2"), expect, "after {packet}, {stop}");
    };
    let stop = format!("{name}:0502;");
    stops.iter().for_each(|value| check("c", &stop, value));
    check("c", "replaylog:end;", "0100");
    // Backwards, before each of them: what the one before has left.
    let before = stops.iter().rev().skip(1).copied().chain(["0000"]);
    before.for_each(|value| check("bc", &stop, value));
    check("bc", "replaylog:begin;", "0000");
    check("c", &stop, stops[0]);
    // What is no memory cannot be accessed.
    assert_eq!(gdb.ask(&format!("Z{kind},502,0")), "E16");
    assert_eq!(gdb.ask(&format!("Z{kind},100000000,1")), "E16");
    gdb.ok(&format!("z{kind},502,2"));
    gdb.ask("D");
    assert_eq!(waiting.digest(), without(&arguments));
}

#[test]
fn control_c_stops_it() {
    let waiting = Waiting::new(&[]);
    let mut gdb = waiting.client();
    // A jump to itself.
    gdb.ok("Mfffffff0,2:ebfe");
    gdb.send("c");
    std::thread::sleep(Duration::from_millis(200));
    gdb.stream.write_all(&[3]).expect("it listens");
    assert_eq!(gdb.receive().as_deref(), Some("T02thread:01;"));
    assert_eq!(gdb.register(RIP), 0xfff0);
    gdb.send("k");
    let (output, messages) = waiting.end();
    assert_eq!(output.status.code(), Some(1), "{messages}");
}

/// What is no packet, or no good one, ends the connection at worst; the run goes on.
#[rstest]
#[case(b"$g#00")]
#[case(b"hello, world")]
#[case(b"$m,#99")]
#[case(b"$vCont;x#cd")]
#[case(b"\xff\xfe\x00$#00$#")]
#[case(b"")]
fn a_bad_packet_harms_nobody(#[case] bytes: &[u8]) {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    gdb.stream.write_all(bytes).expect("it listens");
    drop(gdb);
    assert_eq!(waiting.digest(), without(&UNTIL));
}

#[test]
fn odd_questions_have_answers() {
    let waiting = Waiting::new(&UNTIL);
    let mut gdb = waiting.client();
    for (packet, expect) in [
        ("pffff", "E16"),
        ("mffffffffffffff00,200", "E0e"),
        ("G00", "OK"),
        ("P10=00", "E16"),
        ("z0,1234,1", "E16"),
        ("qXfer:features:read:other.xml:0,fff", "E16"),
        ("qXfer:features:read:target.xml:fffff,fff", "l"),
        ("Hg7f", "OK"),
        ("g", "E16"),
        ("nonsense", ""),
    ] {
        assert_eq!(gdb.ask(packet), expect, "{packet}");
    }
    gdb.send("k");
    waiting.end();
}

#[test]
fn a_bad_address_is_bad_usage() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    let expected = "expected ADDRESS:PORT, such as 127.0.0.1:1234";
    for (address, expect) in [
        (taken.as_str(), format!("error: --gdb: cannot listen at `{taken}`")),
        ("nowhere", format!("error: --gdb `nowhere`: {expected}")),
        ("127.0.0.1:99999", format!("error: --gdb `127.0.0.1:99999`: {expected}")),
        ("256.0.0.1:1", "error: --gdb".into()),
    ] {
        let output = command(&["--gdb", address]).output().expect("the command ends");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with(&expect), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_real_gdb_can_use_it() {
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("gdb is not installed: nothing was tried");
        return;
    }
    let waiting = Waiting::new(&UNTIL);
    let target = format!("target remote {}", waiting.address);
    let commands = [
        "set pagination off",
        &target,
        "printf \"first %x:%x\\n\", $cs, $rip",
        "hbreak *0xfe000",
        "continue",
        "printf \"start %x:%x\\n\", $cs, $rip",
        "stepi",
        "stepi",
        "set $two = $rip",
        "stepi",
        "reverse-stepi",
        "printf \"back %d\\n\", $rip == $two",
        "reverse-continue",
        "printf \"there %x:%x\\n\", $cs, $rip",
        "x/2xb 0xffff0",
        "monitor where",
        "delete",
        "rwatch *(short *)0x502",
        "awatch *(short *)0x502",
        "continue",
        "continue",
        "delete 2",
        "continue",
        "reverse-continue",
        "delete",
        "continue",
        "detach",
    ];
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch"]);
    commands.iter().for_each(|command| {
        gdb.args(["-ex", command]);
    });
    let output = gdb.stdin(Stdio::null()).output().expect("gdb runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    for expect in [
        "first f000:fff0\n",
        "start f000:e000\n",
        "back 1\n",
        "there f000:e000\n",
        "0xea\t0x00",
        "processor 0: f000:e000, linear 0xfe000\n",
        "Hardware read watchpoint 2: *(short *)0x502",
        "Hardware access (read/write) watchpoint 3: *(short *)0x502",
        "Value = 1\n",
        "No more reverse-execution history.",
    ] {
        assert!(text.contains(expect), "{expect} is not in\n{text}");
    }
    assert_eq!(waiting.digest(), without(&UNTIL));
}
