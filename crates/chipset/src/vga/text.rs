//! The screen as text, in a mode that has characters.

use super::{
    Vga, code_page,
    picture::{Memory, Rgb},
};

/// A character on the screen, as code page 437 has it, whatever font the guest has loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What it shows.
    pub character: char,
    /// Red, green and blue of its dots.
    pub foreground: [u8; 3],
    /// And of what is behind them.
    pub background: [u8; 3],
    /// It blinks.
    pub blinks: bool,
}

/// A screen of characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cells {
    /// Characters in a row; no less than one.
    pub columns: usize,
    /// Row after row.
    pub cells: Vec<Cell>,
    /// Column and row of the cursor, where it is shown.
    pub cursor: Option<(usize, usize)>,
}

impl Vga {
    /// The characters on the screen, a line for each row without the spaces at its end; empty while the
    /// screen is dark or shows graphics.
    #[must_use]
    pub fn text(&self, memory: Memory<'_>) -> String {
        let mut text = String::new();
        if !self.shows_text() {
            return text;
        }
        let columns = self.columns();
        let mut cells = vec![0; 4 * columns];
        for line in self.scan_lines().into_iter().filter(|line| line.first) {
            // Rows may go round the end of memory.
            for (column, cell) in cells.chunks_exact_mut(4).enumerate() {
                memory(self.cell_at(line.cell + column as u64), cell);
            }
            let row: String = cells.iter().step_by(4).map(|code| code_page::character(*code)).collect();
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }

    /// The characters on the screen with their colours; `None` while it is dark or shows graphics.
    #[must_use]
    pub fn cells(&self, memory: Memory<'_>) -> Option<Cells> {
        if !self.shows_text() {
            return None;
        }
        let (columns, at) = (self.columns(), self.cursor());
        let palette = self.palette(&self.converter());
        let colour = |number: u8| palette.get(usize::from(number & 15)).copied().unwrap_or(Rgb::default());
        let mut cursor = None;
        let mut cells = Vec::new();
        for (row, line) in self.scan_lines().into_iter().filter(|line| line.first).enumerate() {
            for column in 0..columns {
                let cell = line.cell + column as u64;
                let mut bytes = [0; 4];
                memory(self.cell_at(cell), &mut bytes);
                let [code, look, ..] = bytes;
                if at == Some(cell) {
                    cursor = Some((column, row));
                }
                let background = if self.blinks() { look >> 4 & 7 } else { look >> 4 };
                cells.push(Cell {
                    character: code_page::character(code),
                    foreground: colour(look),
                    background: colour(background),
                    blinks: self.blinks() && look & 0x80 != 0,
                });
            }
        }
        Some(Cells { columns, cells, cursor })
    }
}
