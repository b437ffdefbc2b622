//! `boot --screen`: the guest's screen on the terminal, and the terminal's keys on its keyboard.

mod draw;
mod keys;

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Stdout},
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use warmboot::{
    Machine, ResetPath,
    scenario::{input::Entry, problem::InputError, session::Finish},
};

use self::draw::{Shown, Status};
use super::{interrupt, live::Host, terminal};

/// Between two pictures, at least.
const FRAME: Duration = Duration::from_millis(40);
/// Over which the speed is measured, at least.
const MEASURED: Duration = Duration::from_millis(500);
/// A wait looks this often whether the run shall end.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many keys may wait for the guest; who types more to a guest that reads none is not heard.
const MOST_WAITING: usize = 256;

/// The terminal as a screen and a keyboard.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Keys for which the keyboard has no room yet.
    typed: VecDeque<String>,
    /// What goes in at once.
    asked: VecDeque<Entry>,
    /// Ctrl+A was pressed: the next key is for us.
    escaped: bool,
    paused: bool,
    /// What could not be done.
    message: Option<String>,
    drawn: Option<Instant>,
    speed: Speed,
    _changed: terminal::Changed,
}

/// Instructions per second of the host.
struct Speed {
    since: Instant,
    instructions: u64,
    mips: f64,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn open() -> Result<Screen, InputError> {
        let changed = terminal::Changed::alternate()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(terminal::failed)?;
        Ok(Screen {
            terminal,
            typed: VecDeque::new(),
            asked: VecDeque::new(),
            escaped: false,
            paused: false,
            message: None,
            drawn: None,
            speed: Speed { since: Instant::now(), instructions: 0, mips: 0.0 },
            _changed: changed,
        })
    }

    /// Whether there is a terminal to take.
    pub(crate) fn check() -> Result<(), InputError> {
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            return Ok(());
        }
        Err(InputError::new(
            "--screen needs a terminal as standard input and output; --screenshot FILE and --until screen:TEXT do not",
        ))
    }

    fn draw(&mut self, machine: &Machine, state: &str, ended: bool) -> Result<(), InputError> {
        self.drawn = Some(Instant::now());
        self.speed.measure(machine);
        let status = Status {
            state: state.to_owned(),
            ended,
            mips: self.speed.mips,
            virtual_time: machine.virtual_time(),
            escaped: self.escaped,
            message: self.message.clone(),
        };
        let shown = Shown::of(machine);
        let drawn = self.terminal.draw(|frame| draw::frame(frame, &shown, &status));
        drawn.map(|_| ()).map_err(terminal::failed)
    }

    fn draw_now_and_then(&mut self, machine: &Machine) -> Result<(), InputError> {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return Ok(());
        }
        let state = match (self.paused, machine.is_halted()) {
            (true, _) => "paused",
            (false, true) => "halted",
            (false, false) => "running",
        };
        self.draw(machine, state, false)
    }

    /// Takes keys for `patience`, if none comes.
    fn listen(&mut self, patience: Duration) -> Result<(), InputError> {
        let mut patience = patience;
        while event::poll(patience).map_err(terminal::failed)? {
            patience = Duration::ZERO;
            match event::read().map_err(terminal::failed)? {
                Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
                Event::Resize(..) => self.drawn = None,
                _ => {}
            }
        }
        Ok(())
    }

    fn key(&mut self, key: KeyEvent) {
        self.message = None;
        let escape = key.code == KeyCode::Char('a') && key.modifiers == KeyModifiers::CONTROL;
        if !std::mem::take(&mut self.escaped) {
            self.escaped = escape;
            self.drawn = self.drawn.filter(|_| !escape);
            match keys::name(key) {
                _ if escape => {}
                Some(_) if self.typed.len() >= MOST_WAITING => {
                    self.message = Some("the guest reads no keys".to_owned());
                }
                Some(keys) => self.typed.push_back(keys),
                None => {}
            }
            return;
        }
        self.drawn = None;
        match key.code {
            _ if escape => self.typed.push_back("ctrl-a".to_owned()),
            KeyCode::Char('x') => self.asked.push_back(Entry::Quit),
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('d') => self.asked.push_back(Entry::Press("ctrl-alt-delete".to_owned())),
            KeyCode::Char('r') => self.asked.push_back(Entry::Reset(ResetPath::System)),
            KeyCode::Char('b') => self.asked.push_back(Entry::Press("power-button".to_owned())),
            _ => {}
        }
        // Whoever wants to leave has seen enough of a paused machine too.
        self.paused &= self.asked.is_empty();
    }
}

impl Speed {
    fn measure(&mut self, machine: &Machine) {
        let passed = self.since.elapsed();
        if passed >= MEASURED {
            let instructions = machine.instructions().saturating_sub(self.instructions);
            self.mips = instructions as f64 / 1e6 / passed.as_secs_f64();
            (self.since, self.instructions) = (Instant::now(), machine.instructions());
        }
    }
}

impl Host for Screen {
    fn is_open(&self) -> bool {
        true
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn look(&mut self, machine: &Machine, patience: Duration) -> Result<(), InputError> {
        self.draw_now_and_then(machine)?;
        self.listen(patience)?;
        while self.paused && !interrupt::asked() {
            self.draw_now_and_then(machine)?;
            self.listen(PATIENCE)?;
        }
        Ok(())
    }

    fn quits(&self) -> bool {
        self.asked.contains(&Entry::Quit)
    }

    fn next(&mut self, machine: &Machine) -> Option<Entry> {
        self.asked.pop_front().or_else(|| {
            let has_room = machine.keyboard_is_idle() != Some(false);
            if has_room { self.typed.pop_front().map(Entry::Press) } else { None }
        })
    }

    fn refused(&mut self, why: &str) {
        self.message = Some(why.to_owned());
        self.drawn = None;
    }

    /// Shows what the run has come to until somebody has seen it.
    fn over(&mut self, machine: &Machine, finish: &Finish) -> Result<(), InputError> {
        if interrupt::asked() || finish.ended_by == "quit" {
            return Ok(());
        }
        self.escaped = false;
        self.typed.clear();
        let ended = format!("ended by {}: any key leaves", finish.ended_by);
        self.drawn = None;
        while self.typed.is_empty() && !self.escaped && !interrupt::asked() {
            if self.drawn.is_none() {
                self.draw(machine, &ended, true)?;
            }
            self.listen(PATIENCE)?;
        }
        Ok(())
    }
}
