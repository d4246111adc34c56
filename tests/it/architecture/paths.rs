//! The paths in a piece of Rust source: `use` trees taken apart, and whatever else is written with `::`.

/// Every path, each whole; a lone identifier counts too. Comments, strings and characters hold none.
pub fn paths_in(source: &str) -> Vec<String> {
    let mut tokens = tokens(source);
    tokens.reverse();
    let mut found = Vec::new();
    while let Some(token) = tokens.pop() {
        if let Token::Name(name) = token {
            tree(name, &mut tokens, &mut found);
        }
    }
    found
}

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    /// `::`
    Separator,
    Other(char),
}

/// The rest of the tree that begins with `path`.
fn tree(mut path: String, tokens: &mut Vec<Token>, found: &mut Vec<String>) {
    while tokens.last() == Some(&Token::Separator) {
        tokens.pop();
        match tokens.pop() {
            Some(Token::Name(name)) => path = format!("{path}::{name}"),
            Some(Token::Other('{')) => return group(&path, tokens, found),
            // `::*` and `::<T>`: the path ends here.
            Some(other) => {
                tokens.push(other);
                break;
            }
            None => break,
        }
    }
    found.push(path);
}

fn group(path: &str, tokens: &mut Vec<Token>, found: &mut Vec<String>) {
    while let Some(token) = tokens.pop() {
        match token {
            Token::Name(name) => tree(format!("{path}::{name}"), tokens, found),
            Token::Other('}') => return,
            Token::Separator | Token::Other(_) => {}
        }
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < text.len() {
        match (text[i], at(i + 1)) {
            ('/', '/') => i = skip(&text, i, "\n"),
            ('/', '*') => i = skip(&text, i, "*/"),
            ('"', _) => i = end_of_string(&text, i + 1),
            ('r', '"' | '#') if at(i + 1) == '"' || raw_string(&text, i) => {
                let hashes = text[i + 1..].iter().take_while(|c| **c == '#').count();
                i = skip(&text, i + hashes + 2, &format!("\"{}", "#".repeat(hashes)));
            }
            // A character, not a lifetime.
            ('\'', '\\') => i = skip(&text, i + 3, "'"),
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                tokens.push(Token::Separator);
                i += 2;
            }
            (c, _) if c.is_alphanumeric() || c == '_' => {
                let name: String = text[i..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
                i += name.chars().count();
                tokens.push(Token::Name(name));
            }
            (c, _) => {
                if !c.is_whitespace() {
                    tokens.push(Token::Other(c));
                }
                i += 1;
            }
        }
    }
    tokens
}

/// Whether `r` at `i` begins a raw string with hashes, rather than a raw identifier or a name.
fn raw_string(text: &[char], i: usize) -> bool {
    text[i + 1..].iter().find(|c| **c != '#') == Some(&'"')
}

/// The index after the next `end`, from `i` on.
fn skip(text: &[char], i: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    let rest = text.get(i..).unwrap_or_default();
    rest.windows(end.len()).position(|window| window == end).map_or(text.len(), |at| i + at + end.len())
}

fn end_of_string(text: &[char], mut i: usize) -> usize {
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

#[test]
fn use_trees_are_taken_apart() {
    let found = paths_in("use a::{b, c::{self, D as E}, f::*}; // g::h\nlet x = crate::i::j(\"k::l\")?; 'm: loop {}");
    let expected = ["use", "a::b", "a::c::self", "a::c::D", "a::c::as", "a::c::E", "a::f", "let", "x", "crate::i::j"];
    assert_eq!(found[..expected.len()], expected);
    assert!(!found.iter().any(|path| path.contains('g') || path.contains('k')), "{found:?}");
}
