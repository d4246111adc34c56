//! The paths in Rust source: the paths of `use` trees, and every other path with `::`, also in a macro.

use std::iter::Peekable;
use std::str::FromStr;

use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every whole path; a lone identifier counts, too. Comments, strings and characters contain none.
pub fn paths_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(None, TokenStream::from_str(source).unwrap(), &mut found);
    found
}

/// All paths of `tokens`, which are in the braces of a `use` tree after `prefix`.
fn walk(prefix: Option<&str>, tokens: TokenStream, found: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) => {
                let path = prefix.map_or_else(|| name.to_string(), |prefix| format!("{prefix}::{name}"));
                tree(path, &mut tokens, found);
            }
            TokenTree::Group(group) => walk(None, group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The rest of the tree that begins with `path`.
fn tree(mut path: String, tokens: &mut Peekable<IntoIter>, found: &mut Vec<String>) {
    while is_colon(tokens.peek()) {
        let _first = tokens.next();
        if !is_colon(tokens.peek()) {
            break;
        }
        let _second = tokens.next();
        match tokens.peek() {
            Some(TokenTree::Ident(name)) => path = format!("{path}::{name}"),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                walk(Some(&path), group.stream(), found);
                let _walked = tokens.next();
                return;
            }
            // `::*` and `::<T>`: the path ends here.
            _ => break,
        }
        let _name = tokens.next();
    }
    found.push(path);
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

#[test]
fn use_trees_are_taken_apart() {
    let found = paths_in("use a::{b, c::{self, D as E}, f::*}; // g::h\nlet x = crate::i::j(\"k::l\")?; 'm: loop {}");
    let expected = ["use", "a::b", "a::c::self", "a::c::D", "a::c::as", "a::c::E", "a::f", "let", "x", "crate::i::j"];
    assert_eq!(found[..expected.len()], expected);
    assert!(!found.iter().any(|path| path.contains('g') || path.contains('k')), "{found:?}");
    assert!(paths_in("write!(f, \"{}\", crate::n::O)").contains(&"crate::n::O".to_owned()));
}
