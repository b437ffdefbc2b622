//! What stands on the terminal: characters as characters, graphics as half blocks, and a line below.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Position, Rect},
    style::{Color, Modifier, Style},
};
use warmboot::{
    Machine,
    machine::{Cells, Picture},
};

/// A screen.
pub(super) enum Shown {
    Text(Cells),
    Graphics(Picture),
    /// No display adapter.
    Nothing,
}

/// What the line below says.
pub(super) struct Status {
    /// Running, halted, paused or ended, and why.
    pub state: String,
    /// The run is over.
    pub ended: bool,
    /// Million instructions per second.
    pub mips: f64,
    /// In nanoseconds.
    pub virtual_time: u64,
    /// The next key is for us.
    pub escaped: bool,
    /// What could not be done.
    pub message: Option<String>,
}

impl Shown {
    pub(super) fn of(machine: &Machine) -> Shown {
        let text = machine.screen_cells().map(Shown::Text);
        text.or_else(|| machine.screen().map(Shown::Graphics)).unwrap_or(Shown::Nothing)
    }
}

/// Draws all of it.
pub(super) fn frame(frame: &mut Frame<'_>, shown: &Shown, status: &Status) {
    let area = frame.area();
    let (screen, below) = split(area);
    draw(frame.buffer_mut(), screen, shown);
    line(frame.buffer_mut(), below, status);
    if let Shown::Text(cells) = shown
        && let Some((column, row)) = cells.cursor
        && let Some(position) = place(cells, screen, column, row)
    {
        frame.set_cursor_position(position);
    }
}

/// The screen's part, and the line below.
fn split(area: Rect) -> (Rect, Rect) {
    let height = area.height.saturating_sub(1);
    let below = Rect { y: area.y + height, height: area.height - height, ..area };
    (Rect { height, ..area }, below)
}

fn draw(buffer: &mut Buffer, area: Rect, shown: &Shown) {
    match shown {
        Shown::Text(cells) => text(buffer, area, cells),
        Shown::Graphics(picture) => graphics(buffer, area, picture),
        Shown::Nothing => {}
    }
}

fn colour([red, green, blue]: [u8; 3]) -> Color {
    Color::Rgb(red, green, blue)
}

/// The first row that is shown: where there is no room for all, those up to the cursor.
fn first_row(cells: &Cells, area: Rect) -> usize {
    let rows = cells.cells.len() / cells.columns.max(1);
    let room = usize::from(area.height);
    let cursor = cells.cursor.map_or(0, |(_, row)| row + 1);
    cursor.saturating_sub(room).min(rows.saturating_sub(room))
}

/// Where a character is on the terminal.
fn place(cells: &Cells, area: Rect, column: usize, row: usize) -> Option<Position> {
    let row = row.checked_sub(first_row(cells, area))?;
    let (column, row) = (u16::try_from(column).ok()?, u16::try_from(row).ok()?);
    (column < area.width && row < area.height).then(|| Position::new(area.x + column, area.y + row))
}

fn text(buffer: &mut Buffer, area: Rect, cells: &Cells) {
    for (row, line) in cells.cells.chunks(cells.columns.max(1)).enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let Some(position) = place(cells, area, column, row) else { continue };
            let Some(place) = buffer.cell_mut(position) else { continue };
            let blink = if cell.blinks { Modifier::SLOW_BLINK } else { Modifier::empty() };
            let style = Style::new().fg(colour(cell.foreground)).bg(colour(cell.background));
            place.set_char(cell.character).set_style(style.add_modifier(blink));
        }
    }
}

/// A picture in its own proportions: a terminal's cell is two dots, one above the other.
fn graphics(buffer: &mut Buffer, area: Rect, picture: &Picture) {
    let (width, height) = (u64::from(picture.width), u64::from(picture.height));
    let (columns, lines) = (u64::from(area.width), 2 * u64::from(area.height));
    if width == 0 || height == 0 || columns == 0 || lines == 0 {
        return;
    }
    // As wide as the terminal, or as high.
    let (across, down) = if columns * height <= lines * width {
        (columns, (columns * height / width).max(1))
    } else {
        ((lines * width / height).max(1), lines)
    };
    let dot = |column: u64, line: u64| {
        let part =
            |at: u64, of: u64, size: u64| (at * size / of, ((at + 1) * size / of).max(at * size / of + 1));
        mean(picture, part(column, across, width), part(line, down, height))
    };
    let left = area.x + ((columns - across) / 2) as u16;
    let top = area.y + ((lines - down) / 4) as u16;
    for line in (0..down).step_by(2) {
        for column in 0..across {
            let position = Position::new(left + column as u16, top + (line / 2) as u16);
            let Some(place) = buffer.cell_mut(position) else { continue };
            let lower = if line + 1 < down { colour(dot(column, line + 1)) } else { Color::Reset };
            place.set_char('\u{2580}').set_fg(colour(dot(column, line))).set_bg(lower);
        }
    }
}

/// The mean of the dots between these columns and lines.
fn mean(picture: &Picture, (left, right): (u64, u64), (top, bottom): (u64, u64)) -> [u8; 3] {
    let mut sums = [0_u64; 3];
    let mut count = 0;
    for line in top..bottom {
        let at = |column: u64| 3 * (line * u64::from(picture.width) + column) as usize;
        for dot in picture.pixels.get(at(left)..at(right)).unwrap_or_default().chunks_exact(3) {
            sums.iter_mut().zip(dot).for_each(|(sum, component)| *sum += u64::from(*component));
            count += 1;
        }
    }
    sums.map(|sum| (sum / count.max(1)) as u8)
}

fn line(buffer: &mut Buffer, area: Rect, status: &Status) {
    let bold = if status.ended { Modifier::BOLD } else { Modifier::empty() };
    let style = Style::new().add_modifier(Modifier::REVERSED | bold);
    buffer.set_style(area, style);
    let text = if status.escaped {
        "x: quit  p: pause, go on  d: Ctrl+Alt+Del  r: reset  b: power button  Ctrl+A: Ctrl+A".to_owned()
    } else {
        let (seconds, milliseconds) =
            (status.virtual_time / 1_000_000_000, status.virtual_time / 1_000_000 % 1000);
        let last = status.message.as_deref().unwrap_or("Ctrl+A: menu");
        format!(
            "{}  {:.1} MIPS  {seconds}.{milliseconds:03} s virtual time  {last}",
            status.state, status.mips
        )
    };
    buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use rstest::rstest;
    use warmboot::machine::Cell;

    use super::*;

    fn status() -> Status {
        Status {
            state: "running".into(),
            ended: false,
            mips: 12.34,
            virtual_time: 5_006_000_000,
            escaped: false,
            message: None,
        }
    }

    /// What a terminal of this size shows: its characters, then, where `styled`, those of its cells that are not
    /// as the cell before them.
    fn shown(shown: &Shown, (width, height): (u16, u16), styled: bool) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|all| frame(all, shown, &status())).expect("drawn");
        let mut text = terminal.backend().to_string();
        if styled {
            let mut last = None;
            let buffer = terminal.backend().buffer();
            for y in 0..height.saturating_sub(1) {
                for x in 0..width {
                    let cell = &buffer[(x, y)];
                    let style = (cell.fg, cell.bg, cell.modifier);
                    if last != Some(style) {
                        text.push_str(&format!(
                            "{x},{y}: {:?} on {:?} {:?}\n",
                            cell.fg, cell.bg, cell.modifier
                        ));
                    }
                    last = Some(style);
                }
            }
        }
        text
    }

    fn cells(lines: &[&str], cursor: Option<(usize, usize)>) -> Shown {
        let plain = |character| Cell {
            character,
            foreground: [170; 3],
            background: [0; 3],
            blinks: character == '!',
        };
        let mut cells: Vec<Cell> = lines.iter().flat_map(|line| line.chars().map(plain)).collect();
        if let Some(first) = cells.first_mut() {
            (first.foreground, first.background) = ([255, 255, 85], [0, 0, 170]);
        }
        Shown::Text(Cells { columns: lines[0].chars().count(), cells, cursor })
    }

    #[test]
    fn characters() {
        let screen = cells(
            &["\u{2554}\u{2550}\u{2557} SeaBIOS!", "\u{255a}\u{2550}\u{255d}  \u{df}eta  "],
            Some((2, 1)),
        );
        insta::assert_snapshot!(shown(&screen, (60, 4), true));
    }

    /// Of four rows as many as there is room for, the cursor's among them.
    #[rstest]
    #[case::all(5, Some((0, 3)), "abcd")]
    #[case::up_to_the_cursor(3, Some((0, 2)), "bc")]
    #[case::the_last(3, Some((0, 3)), "cd")]
    #[case::no_cursor(3, None, "ab")]
    #[case::no_room(1, Some((0, 3)), "")]
    fn rows(#[case] height: u16, #[case] cursor: Option<(usize, usize)>, #[case] expect: &str) {
        let text = shown(&cells(&["a", "b", "c", "d"], cursor), (8, height), false);
        let found: String =
            text.lines().filter_map(|line| line.chars().nth(1)).filter(|c| "abcd".contains(*c)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn dots() {
        // 8 x 4: red above blue, the last column white.
        let dot = |at: usize| match (at % 8, at / 8) {
            (7, _) => [255; 3],
            (_, 0 | 1) => [255, 0, 0],
            _ => [0, 0, 255],
        };
        let pixels = (0..32).flat_map(dot).collect();
        let screen = Shown::Graphics(Picture { width: 8, height: 4, pixels });
        insta::assert_snapshot!(shown(&screen, (12, 4), true));
    }

    #[rstest]
    #[case::smaller((2, 1), [127, 0, 127])]
    #[case::as_large((2, 2), [255, 0, 0])]
    fn means(#[case] (width, height): (u64, u64), #[case] expect: [u8; 3]) {
        let pixels = [[255, 0, 0], [255, 0, 0], [0, 0, 255], [0, 0, 255]].concat();
        let picture = Picture { width: 2, height: 2, pixels };
        assert_eq!(mean(&picture, (0, 2 / width), (0, 2 / height)), expect);
    }

    #[test]
    fn a_menu() {
        let mut terminal = Terminal::new(TestBackend::new(90, 2)).expect("a terminal");
        let status = Status { escaped: true, ..status() };
        terminal.draw(|all| frame(all, &Shown::Nothing, &status)).expect("drawn");
        assert!(terminal.backend().to_string().contains("x: quit  p: pause"));
    }
}
