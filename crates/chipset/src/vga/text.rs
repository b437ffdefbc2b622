//! The screen as text, in a mode that has characters.

use super::{Vga, code_page, picture::Memory};

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
}
