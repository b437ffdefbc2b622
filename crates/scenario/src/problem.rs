//! What is wrong with an input file, shown at the place where it is.

use std::{fmt, sync::Arc};

use toml_span::Span;

/// A text file that problems point into.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    /// The file shown as `name`, with its text.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Source {
        Source { name: name.into(), text: text.into() }
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
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line_text = self.text[line_start..line_end].trim_end_matches('\r').replace('\t', " ");
        Problem(Box::new(Details {
            file: self.name.clone(),
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            width: self.text[start..end.min(line_end).max(start)].chars().count().max(1),
            line_text,
            message: message.into(),
            label: label.into(),
            notes: Vec::new(),
        }))
    }
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
        let Details { file, line, column, message, line_text, width, label, notes } = &*self.0;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let carets = format!("{}{}", " ".repeat(column - 1), "^".repeat(*width));
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
    #[case::empty("", 0..0, "error: bad\n ┌─ x.toml:1:1\n1│\n │ ^ here")]
    fn shows_the_place(#[case] text: &str, #[case] span: std::ops::Range<usize>, #[case] expect: &str) {
        let problem = Source::new("x.toml", text).problem(span.into(), "bad", "here");
        assert_eq!(problem.to_string(), expect);
    }

    #[rstest]
    #[case("run-untill", Some("run-until"))]
    #[case("zzz", None)]
    fn suggestions(#[case] word: &str, #[case] expect: Option<&str>) {
        assert_eq!(nearest(word, ["press", "run-until", "reset"]), expect);
    }
}
