//! The paths that a file names, with the braces of `use` spelled out.

use crate::items::{Token, inline_modules};
use crate::source::Source;

/// A path, in the order it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath<'a> {
    pub(crate) segments: Vec<&'a str>,
    /// The offset of the segment that makes it differ from its neighbours in a brace.
    pub(crate) at: usize,
    /// An `!` follows: it is a call of a macro.
    pub(crate) is_macro: bool,
}

/// Words after which a path may begin, with a leading `::` even.
const KEYWORDS: &[&str] = &[
    "as", "break", "const", "dyn", "else", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod",
    "move", "mut", "pub", "ref", "return", "static", "struct", "trait", "type", "unsafe", "use", "where",
    "while",
];

/// Every path of the file; a lone name is a path of one segment.
pub(crate) fn paths<'a>(tokens: &[Token<'a>]) -> Vec<NamedPath<'a>> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if tokens[index].is_name() && begins_a_path(tokens, index) {
            index = read_path(tokens, index, &[], &mut found);
        } else {
            index += 1;
        }
    }
    found
}

/// The path from the root of the crate, where it is one of the crate: `super` and `self` are followed to their modules.
pub(crate) fn in_crate<'a>(
    source: &'a Source,
    tokens: &[Token<'a>],
    path: &NamedPath<'a>,
) -> Option<Vec<&'a str>> {
    let supers = path.segments.iter().take_while(|segment| **segment == "super").count();
    let (mut base, skipped) = match path.segments.first()? {
        &"crate" | &"tokenweir" => (Vec::new(), 1),
        &"self" if path.segments.get(1) == Some(&"super") => return None,
        &"self" if path.segments.len() > 1 => (module_at(source, tokens, path.at), 1),
        &"super" => (module_at(source, tokens, path.at), supers),
        _ => return None,
    };
    base.truncate(base.len().saturating_sub(supers));
    base.extend(&path.segments[skipped..]);
    Some(base)
}

fn module_at<'a>(source: &'a Source, tokens: &[Token<'a>], at: usize) -> Vec<&'a str> {
    let mut module = source.module();
    let around =
        inline_modules(tokens).into_iter().filter(|inner| (inner.body.0..inner.body.1).contains(&at));
    module.extend(around.map(|inner| inner.name));
    module
}

/// Not so after `a::` and `<T>::`, which continue a path; a leading `::` begins one.
fn begins_a_path(tokens: &[Token<'_>], index: usize) -> bool {
    if KEYWORDS.contains(&tokens[index].text) {
        return false;
    }
    let before = |distance: usize| index.checked_sub(distance).map_or("", |at| tokens[at].text);
    let ends_a_segment = |text: &str| text.ends_with(is_segment_sign) && !KEYWORDS.contains(&text);
    before(1) != "::" || !ends_a_segment(before(2))
}

/// The last sign of `name` and of `<T>`.
fn is_segment_sign(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '>'
}

/// Reads the path at this index, below the prefix, and gives the index after it.
fn read_path<'a>(
    tokens: &[Token<'a>],
    start: usize,
    prefix: &[&'a str],
    found: &mut Vec<NamedPath<'a>>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut segments = prefix.to_vec();
    let mut index = start;
    loop {
        match text(index) {
            // `use a::{self}` names `a`.
            "self" if index == start && !prefix.is_empty() => {}
            name => segments.push(name),
        }
        let goes_on = text(index) != "*" && text(index + 1) == "::";
        match text(index + 2) {
            "{" if goes_on => return read_group(tokens, index + 2, &segments, found),
            next if goes_on && (next == "*" || tokens[index + 2].is_name()) => index += 2,
            _ => break,
        }
    }
    found.push(NamedPath { segments, at: tokens[start].at, is_macro: text(index + 1) == "!" });
    index + 1
}

/// Reads what stands between the brace at this index and the one that closes it.
fn read_group<'a>(
    tokens: &[Token<'a>],
    open: usize,
    prefix: &[&'a str],
    found: &mut Vec<NamedPath<'a>>,
) -> usize {
    let mut index = open + 1;
    while index < tokens.len() {
        index = match tokens[index].text {
            "}" => return index + 1,
            // The new name of `a as b` is not a path.
            "as" => index + 2,
            "*" => read_path(tokens, index, prefix, found),
            "{" => read_group(tokens, index, prefix, found),
            _ if tokens[index].is_name() => read_path(tokens, index, prefix, found),
            _ => index + 1,
        };
    }
    index
}

#[test]
fn braces_of_use_are_spelled_out() {
    let source = Source::new(
        "src/a.rs",
        "use crate::{self, x::{self as y, Z}, w::*}; Vec::<u8>::new(); ::std::fs::read(); use ::a::b; <T>::c; m::n!();",
    );
    let tokens = source.tokens();
    let found: Vec<String> = paths(&tokens).iter().map(|path| path.segments.join("::")).collect();
    let expected = [
        "crate",
        "crate::x",
        "crate::x::Z",
        "crate::w::*",
        "Vec",
        "u8",
        "std::fs::read",
        "a::b",
        "T",
        "m::n",
    ];
    assert_eq!(found, expected);
    assert!(paths(&tokens).iter().all(|path| path.is_macro == (path.segments == ["m", "n"])));
}

#[test]
fn super_is_followed_from_the_module_it_stands_in() {
    let raw =
        "use super::super::storage::X; mod tests { use super::super::meter::Y; use super::Z; } use super::w;";
    let source = Source::new("src/meter/open.rs", raw);
    let tokens = source.tokens();
    let found: Vec<String> = paths(&tokens)
        .iter()
        .filter_map(|path| in_crate(&source, &tokens, path))
        .map(|segments| segments.join("::"))
        .collect();
    assert_eq!(found, ["storage::X", "meter::meter::Y", "meter::open::Z", "meter::w"]);
}
