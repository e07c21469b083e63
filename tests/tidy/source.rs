//! Files of the repository as text, and where something in them is wrong.

use std::fmt;
use std::path::Path;

use crate::items::{Token, tokens};

/// A Rust file.
pub(crate) struct Source {
    /// From the root of the repository, with `/` between the parts.
    pub(crate) path: String,
    /// As it is stored.
    pub(crate) raw: String,
    /// The same bytes with comments and the contents of literals blanked: offsets and lines are those of `raw`.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, raw: &str) -> Self {
        Self { path: path.to_owned(), raw: raw.to_owned(), code: blank(raw) }
    }

    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }

    /// The number of the line that holds this offset.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.raw.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    pub(crate) fn violation(&self, at: usize, message: impl Into<String>) -> Violation {
        Violation { file: self.path.clone(), line: self.line(at), message: message.into() }
    }

    /// The module this file is, from the root of its crate; empty for `lib.rs` and `main.rs`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut parts: Vec<&str> = inner.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        parts
    }
}

/// Something to correct, with its place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Every Rust file below this folder, by path.
pub(crate) fn rust_files(root: &Path) -> Vec<Source> {
    files(root, "rs").iter().map(|(path, raw)| Source::new(path, raw)).collect()
}

/// Path and text of every Markdown file below this folder.
pub(crate) fn markdown_files(root: &Path) -> Vec<(String, String)> {
    files(root, "md")
}

/// The text of a file that may not exist.
pub(crate) fn read_if_there(path: &Path) -> Option<String> {
    path.is_file().then(|| read(path))
}

fn files(root: &Path, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(root, root, extension, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &Path, extension: &str, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("the folders of the repository can be listed") {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("file names are UTF-8");
        if path.is_dir() {
            // Build output and hidden folders hold files that nobody of this project wrote.
            if name != "target" && !name.starts_with('.') {
                collect(root, &path, extension, found);
            }
        } else if path.extension().is_some_and(|own| own == extension) {
            let inner = path.strip_prefix(root).expect("it was found below the root");
            let parts: Vec<_> = inner.iter().map(|part| part.to_string_lossy()).collect();
            found.push((parts.join("/"), read(&path)));
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Blanks comments and the contents of string and character literals, and keeps every line end and every offset.
pub(crate) fn blank(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        // The quotes stay, so that a line with only a string on it still counts as code.
        if end > at && bytes[end - 1] != b'\n' && !raw[at..].starts_with(['/', '\'']) {
            out[end - 1] = b'"';
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("whole characters were replaced by spaces")
}

/// The end of the literal or comment that begins here; `at` itself where none begins.
fn literal_or_comment_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let inside_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment_length(rest),
        [b'"', ..] => at + string_length(rest),
        [b'\'', ..] => at + character_length(rest),
        [b'r', b'"' | b'#', ..] if !inside_word => at + raw_string_length(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !inside_word => at + raw_string_length(rest, 2),
        _ => at,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Zero for a lifetime, which looks like the start of a character literal.
fn character_length(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return close.map_or(rest.len(), |distance| distance + 4);
    }
    let first = rest.get(1).copied().unwrap_or_default();
    let width =
        if first < 0x80 { 1 } else { first.leading_ones().try_into().expect("at most 8 bits are set") };
    if rest.get(width + 1) == Some(&b'\'') { width + 2 } else { 0 }
}

/// Zero for a raw identifier, as in `r#type`.
fn raw_string_length(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return 0;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = &rest[open + 1..];
    body.windows(close.len())
        .position(|window| window == close)
        .map_or(rest.len(), |at| open + 1 + at + close.len())
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[test]
fn comments_and_literals_are_blanked_and_offsets_stay() {
    let check = |raw: &str, code: &str| {
        let blanked = blank(raw);
        assert_eq!(blanked.split_whitespace().collect::<Vec<_>>().join(" "), code);
        assert_eq!((blanked.len(), blanked.lines().count()), (raw.len(), raw.lines().count()));
        assert_eq!(blanked.find("end"), raw.find("end"));
    };
    check("a // tokio\nend", "a end");
    check("a /* x /* y */ z */ end", "a end");
    check(r#"f("a\"b", c) end"#, r#"f( ", c) end"#);
    check(r##"r#"a"b"# + r#type end"##, r##"" + r#type end"##);
    check(r#"br"\" end"#, r#"" end"#);
    check(r"'x' '\'' '\u{1}' 'é' '}' &'a T end", "&'a T end");
    check("\"// not a comment\" end", "\" end");
    check("\"two\nlines\" end", "\" end");
}

#[test]
fn a_file_knows_the_module_that_it_is() {
    let check = |path: &str, module: &[&str]| assert_eq!(Source::new(path, "").module(), module);
    check("src/lib.rs", &[]);
    check("src/server.rs", &["server"]);
    check("src/domain/mod.rs", &["domain"]);
    check("src/edge/cli/verify.rs", &["edge", "cli", "verify"]);
}

#[test]
fn a_violation_is_shown_with_its_file_and_line() {
    let source = Source::new("src/x.rs", "a\nb\nc");
    assert_eq!(source.violation(4, "wrong").to_string(), "src/x.rs:3: wrong");
}
