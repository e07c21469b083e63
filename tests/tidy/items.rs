//! Tokens of blanked code, and the items that checks ask for: functions, inline modules, attributes.

use crate::source::is_word;

/// A word, a `::`, or one other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Its offset in the file.
    pub(crate) at: usize,
}

impl Token<'_> {
    /// A name or a keyword; numbers and signs are not.
    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) at: usize,
    /// Offsets of the braces of its body.
    pub(crate) body: (usize, usize),
    /// It carries `#[test]` or an attribute of that name from a runtime.
    pub(crate) is_test: bool,
}

/// `mod name { .. }`, with the offsets of its braces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InlineModule<'a> {
    pub(crate) name: &'a str,
    pub(crate) body: (usize, usize),
}

/// Cuts blanked code into tokens; lifetimes and the quotes of strings are left out.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = token_length(&bytes[at..]);
        if !bytes[at].is_ascii_whitespace() && !matches!(bytes[at], b'\'' | b'"') {
            found.push(Token { text: &code[at..at + length], at });
        }
        at += length;
    }
    found
}

fn token_length(rest: &[u8]) -> usize {
    let word = |bytes: &[u8]| bytes.iter().take_while(|&&byte| is_word(byte)).count();
    match rest {
        [b':', b':', ..] => 2,
        [b'r', b'#', after, ..] if is_word(*after) => 2 + word(&rest[2..]),
        [b'\'', lifetime @ ..] => 1 + word(lifetime),
        _ => word(rest).max(1),
    }
}

/// Every function that has a body, nested ones included.
pub(crate) fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    let mut found = Vec::new();
    let mut is_test = false;
    let mut index = 0;
    while index < tokens.len() {
        match tokens[index].text {
            "#" => {
                let (words, next) = attribute(tokens, index);
                is_test |= names_a_test(&words);
                index = next;
                continue;
            }
            "fn" => {
                found.extend(function(tokens, index, is_test));
                is_test = false;
            }
            "{" | "}" | ";" => is_test = false,
            _ => {}
        }
        index += 1;
    }
    found
}

fn function<'a>(tokens: &[Token<'a>], index: usize, is_test: bool) -> Option<Function<'a>> {
    let name = tokens.get(index + 1).filter(|token| token.is_name())?;
    let mut depth = 0_usize;
    for (offset, token) in tokens[index..].iter().enumerate() {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return None,
            "{" if depth == 0 => {
                let end = closing(tokens, index + offset);
                return Some(Function { name: name.text, at: name.at, body: (token.at, end), is_test });
            }
            _ => {}
        }
    }
    None
}

/// Every module that is written inside its parent's file.
pub(crate) fn inline_modules<'a>(tokens: &[Token<'a>]) -> Vec<InlineModule<'a>> {
    let mut found = Vec::new();
    for (index, window) in tokens.windows(3).enumerate() {
        if window[0].text == "mod" && window[1].is_name() && window[2].text == "{" {
            let body = (window[2].at, closing(tokens, index + 2));
            found.push(InlineModule { name: window[1].text, body });
        }
    }
    found
}

/// The words of every attribute, with its offset.
pub(crate) fn attributes<'a>(tokens: &[Token<'a>]) -> Vec<(usize, Vec<&'a str>)> {
    let signs = (0..tokens.len()).filter(|&index| tokens[index].text == "#");
    signs.map(|index| (tokens[index].at, attribute(tokens, index).0)).collect()
}

/// The words of the attribute that begins here, none where it is no attribute, and the index after it.
fn attribute<'a>(tokens: &[Token<'a>], index: usize) -> (Vec<&'a str>, usize) {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let open = if is(index + 1, "!") { index + 2 } else { index + 1 };
    if !is(open, "[") {
        return (Vec::new(), index + 1);
    }
    let mut depth = 0_usize;
    for (offset, token) in tokens[open..].iter().enumerate() {
        match token.text {
            "[" => depth += 1,
            "]" if depth == 1 => {
                let words = tokens[open + 1..open + offset].iter().map(|token| token.text);
                return (words.collect(), open + offset + 1);
            }
            "]" => depth -= 1,
            _ => {}
        }
    }
    (Vec::new(), tokens.len())
}

/// `test`, `tokio::test`, `actix::test(..)` and the like.
fn names_a_test(words: &[&str]) -> bool {
    let path = words.iter().take_while(|word| !matches!(**word, "(" | "=" | "["));
    path.last() == Some(&"test")
}

/// The offset of the brace that closes the one at this index; that of the last token where none does.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for token in &tokens[open..] {
        match token.text {
            "{" => depth += 1,
            "}" if depth == 1 => return token.at,
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.last().map_or(0, |token| token.at)
}

#[test]
fn functions_are_found_with_their_bodies_and_test_marks() {
    let code = "trait T { fn absent(&self); }\n\
        #[test]\n#[should_panic]\nfn one() { if x { } }\n\
        #[tokio::test(flavor = \"x\")]\nasync fn two() -> [u8; 2] { loop {} }\n\
        #[cfg(test)]\nfn three(f: fn(u8)) { fn four() {} }";
    let tokens = tokens(code);
    let found: Vec<_> = functions(&tokens).iter().map(|function| (function.name, function.is_test)).collect();
    assert_eq!(found, [("one", true), ("two", true), ("three", false), ("four", false)]);
    let (open, close) = functions(&tokens)[0].body;
    assert_eq!(&code[open..=close], "{ if x { } }");
}

#[test]
fn inline_modules_are_found_and_declared_ones_are_not() {
    let code = "mod far;\nmod tests { mod inner { } }";
    let tokens = tokens(code);
    let found: Vec<_> = inline_modules(&tokens).iter().map(|module| module.name).collect();
    assert_eq!(found, ["tests", "inner"]);
}

#[test]
fn lifetimes_are_no_tokens_and_raw_names_are_one() {
    let code = "&'a r#type::x 1u8";
    let found: Vec<_> = tokens(code).iter().map(|token| token.text).collect();
    assert_eq!(found, ["&", "r#type", "::", "x", "1u8"]);
}
