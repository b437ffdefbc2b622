//! What is wrong with an input file, shown at the place where it is.

use std::{fmt, sync::Arc};

use toml_span::Span;

/// A text file that problems point into.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
    /// Where each line begins.
    lines: Arc<[usize]>,
}

/// Characters of a line shown before and from the place on, and of a message.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 100;
const LONGEST_MESSAGE: usize = 2000;

impl Source {
    /// The file shown as `name`, with its text.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Source {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { name: name.into(), text: text.into(), lines }
    }

    /// The line that the byte at `at` is in, from 1.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at).max(1)
    }

    /// The line and, in characters, the column of the byte at `at`, both from 1.
    #[must_use]
    pub fn place(&self, at: usize) -> (usize, usize) {
        let at = floor_boundary(&self.text, at);
        let line = self.line(at);
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        (line, self.text[begin..at].chars().count() + 1)
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// The name shown in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A problem with the text in `span`; `label` is printed under it.
    #[must_use]
    pub fn problem(&self, span: Span, message: impl Into<String>, label: impl Into<String>) -> Problem {
        let start = floor_boundary(&self.text, span.start);
        let end = floor_boundary(&self.text, span.end.max(start));
        let (line, column) = self.place(start);
        let line_start = self.lines.get(line - 1).copied().unwrap_or_default();
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let skipped = (column - 1).saturating_sub(SHOWN_BEFORE);
        let line_text = self.text[line_start..line_end].trim_end_matches('\r').chars().skip(skipped);
        let width = self.text[start..end.min(line_end).max(start)].chars().take(SHOWN_AFTER).count();
        Problem(Box::new(Details {
            file: self.name.clone(),
            line,
            column,
            indent: column - 1 - skipped,
            width: width.max(1),
            line_text: shortened(line_text, SHOWN_BEFORE + SHOWN_AFTER).replace('\n', " "),
            message: shortened(message.into().chars(), LONGEST_MESSAGE),
            label: label.into(),
            notes: Vec::new(),
        }))
    }
}

/// The first `most` characters, fit for a terminal: controls other than the line feed are not.
fn shortened(text: impl Iterator<Item = char>, most: usize) -> String {
    let mut text = text.map(|c| match c {
        '\n' => c,
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    let mut shown: String = text.by_ref().take(most).collect();
    if text.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The last character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One thing wrong in a file: message, place, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem(Box<Details>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Details {
    file: Arc<str>,
    line: usize,
    column: usize,
    message: String,
    line_text: String,
    /// Of the carets under it.
    indent: usize,
    width: usize,
    label: String,
    notes: Vec<String>,
}

impl Problem {
    /// Adds a line of help at the end, such as the list of what is known.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Problem {
        self.0.notes.push(note.into());
        self
    }

    /// Line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// Column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.0.column
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, line, column, message, line_text, indent, width, label, notes } = &*self.0;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let carets = format!("{}{}", " ".repeat(*indent), "^".repeat(*width));
        writeln!(f, "error: {message}")?;
        writeln!(f, "{gutter}┌─ {file}:{line}:{column}")?;
        writeln!(f, "{}", format!("{number}│ {line_text}").trim_end())?;
        write!(f, "{gutter}│ {}", format!("{carets} {label}").trim_end())?;
        for note in notes {
            write!(f, "\n{gutter}= {note}")?;
        }
        Ok(())
    }
}

/// Something wrong with what a configuration names: a file, a drive, a machine. One sentence.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct InputError(pub String);

impl InputError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> InputError {
        InputError(message.into())
    }

    /// An error that says what `error` does.
    pub fn said(error: impl fmt::Display) -> InputError {
        InputError(error.to_string())
    }
}

impl From<warmboot_machine::ConfigError> for InputError {
    fn from(error: warmboot_machine::ConfigError) -> InputError {
        InputError(error.to_string())
    }
}

/// The known word nearest to `word`, if one is near enough to have been meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score >= 0.8).map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or nothing.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(String::new(), |candidate| format!("did you mean `{candidate}`?"))
}

/// `; did you mean …?` to end a sentence with, or nothing.
pub(crate) fn or_did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or(String::new(), |candidate| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::middle("one\ntwo three\n", 8..13, "error: bad\n ┌─ x.toml:2:5\n2│ two three\n │     ^^^^^ here")]
    #[case::wide_characters("é = \"ü\"\n", 5..9, "error: bad\n ┌─ x.toml:1:5\n1│ é = \"ü\"\n │     ^^^ here")]
    #[case::past_the_end("one", 90..91, "error: bad\n ┌─ x.toml:1:4\n1│ one\n │    ^ here")]
    #[case::over_lines("a = [\n1]\n", 4..8, "error: bad\n ┌─ x.toml:1:5\n1│ a = [\n │     ^ here")]
    #[case::controls("a\u{1b}b\tc", 2..3, "error: bad\n ┌─ x.toml:1:3\n1│ a\u{fffd}b c\n │   ^ here")]
    #[case::empty("", 0..0, "error: bad\n ┌─ x.toml:1:1\n1│\n │ ^ here")]
    fn shows_the_place(#[case] text: &str, #[case] span: std::ops::Range<usize>, #[case] expect: &str) {
        let problem = Source::new("x.toml", text).problem(span.into(), "bad", "here");
        assert_eq!(problem.to_string(), expect);
    }

    #[test]
    fn of_a_long_line_a_part_is_shown() {
        let text = format!("{}here{}", "a".repeat(1 << 20), "b".repeat(1 << 20));
        let at = 1 << 20;
        let problem = Source::new("x.toml", &text).problem((at..at + (1 << 19)).into(), text.as_str(), "");
        assert_eq!((problem.line(), problem.column()), (1, (1 << 20) + 1));
        let text = problem.to_string();
        assert!(text.len() < 3000 && text.contains("aaahereb"), "{text}");
        assert!(text.lines().all(|line| !line.starts_with(" │") || line.find('^') == Some(65)), "{text}");
    }

    #[rstest]
    #[case("run-untill", Some("run-until"))]
    #[case("zzz", None)]
    fn suggestions(#[case] word: &str, #[case] expect: Option<&str>) {
        assert_eq!(nearest(word, ["press", "run-until", "reset"]), expect);
    }
}
