//! A JSON5 document that is edited in place: untouched parts keep their bytes, including comments.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

/// Why a document is left alone.
pub(super) type Problem = &'static str;

const BOM: &str = "\u{feff}";
/// Merges another file's content into the object that contains it (OpenClaw's docs, gateway/configuration).
const INCLUDE: &str = "$include";

/// How deep objects and lists may be nested. The parser allows 512, and recurses.
const MAX_DEPTH: usize = 100;
/// How many members, commas and comments an object may have that gets a new member: splitting a one-line object into many
/// lines takes time quadratic in their number.
const MAX_CHILDREN: usize = 4_096;

/// All of JSON5, and nothing beyond it that would be written back.
const JSON5: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: true,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: true,
    allow_hexadecimal_numbers: true,
    allow_unary_plus_numbers: true,
    allow_bare_decimal_point_numbers: true,
    allow_non_finite_numbers: true,
    allow_extended_string_escapes: true,
};

/// A document with an object at the top. Paths lead to its members.
pub(super) struct Document {
    root: CstRootNode,
    top: CstObject,
    has_bom: bool,
    is_changed: bool,
}

/// The kind and value of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Missing,
    Null,
    Text(String),
    Object,
    List,
    /// A number or a truth value, as it is written.
    Other(String),
}

impl Document {
    /// Parses a document; text with nothing but white space is an empty document.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        let (has_bom, text) = match text.strip_prefix(BOM) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        if depth(text) > MAX_DEPTH {
            return Err("it is nested too deeply");
        }
        let root = CstRootNode::parse(text, &JSON5).map_err(|_| "it is not JSON5")?;
        if root.to_string() != text {
            return Err("it could not be written back as it is");
        }
        let top = root.object_value().ok_or("it is not an object")?;
        Ok(Self { root, top, has_bom, is_changed: false })
    }

    pub(super) const fn is_changed(&self) -> bool {
        self.is_changed
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bom = if self.has_bom { BOM } else { "" };
        format!("{bom}{}", self.root).into_bytes()
    }

    /// The member at a path.
    pub(super) fn get(&self, path: &[&str]) -> Result<Member, Problem> {
        let Some(property) = self.property(path)? else { return Ok(Member::Missing) };
        Ok(match property.value() {
            Some(CstNode::Container(_)) if property.object_value().is_some() => Member::Object,
            Some(CstNode::Container(_)) => Member::List,
            Some(value) => match (value.as_string_lit(), value.as_null_keyword()) {
                (Some(text), _) => Member::Text(text.decoded_value().map_err(|_| UNREADABLE)?),
                (None, Some(_)) => Member::Null,
                (None, None) => Member::Other(value.to_string()),
            },
            None => return Err(UNREADABLE),
        })
    }

    /// The whole value at a path, for decisions that need a whole section. Numbers that JSON does not have become null.
    pub(super) fn value(&self, path: &[&str]) -> Result<Value, Problem> {
        let Some(property) = self.property(path)? else { return Ok(Value::Null) };
        property.value().map_or(Err(UNREADABLE), |value| plain(&value))
    }

    /// Inserts a text at the front of a list.
    pub(super) fn put_in_front(&mut self, path: &[&str], text: &str) -> Result<(), Problem> {
        let list = self.property(path)?.and_then(|property| property.array_value()).ok_or(NO_LIST)?;
        if list.elements().len() > MAX_CHILDREN {
            return Err(TOO_MANY);
        }
        self.is_changed = true;
        list.insert(0, text.into());
        Ok(())
    }

    /// Sets a text.
    pub(super) fn set_text(&mut self, path: &[&str], text: &str) -> Result<(), Problem> {
        self.set(path, &Member::Text(text.to_owned()), text.into())
    }

    /// Sets a number or a truth value, written as `literal`.
    pub(super) fn set_literal(&mut self, path: &[&str], literal: &str, value: CstInputValue) -> Result<(), Problem> {
        self.set(path, &Member::Other(literal.to_owned()), value)
    }

    fn set(&mut self, path: &[&str], wanted: &Member, value: CstInputValue) -> Result<(), Problem> {
        match self.get(path)? {
            now if now == *wanted => return Ok(()),
            // Whatever it is meant to be, it may hold more than this service knows.
            Member::Object | Member::List => return Err("a member that should be a single value is something else"),
            Member::Missing | Member::Null | Member::Text(_) | Member::Other(_) => {}
        }
        self.is_changed = true;
        match self.property(path)? {
            Some(property) => property.set_value(value),
            None => {
                let Some((name, parents)) = path.split_last() else { return Err(NO_OBJECT) };
                let mut parent = self.top.clone();
                for name in parents {
                    if parent.children().len() > MAX_CHILDREN {
                        return Err(TOO_MANY);
                    }
                    parent = parent.object_value_or_create(name).ok_or(NO_OBJECT)?;
                }
                if parent.children().len() > MAX_CHILDREN {
                    return Err(TOO_MANY);
                }
                parent.append(name, value);
            }
        }
        Ok(())
    }

    /// Removes a member, and then the objects that become empty, except for the first `keep` names of the path.
    pub(super) fn remove(&mut self, path: &[&str], keep: usize) -> Result<(), Problem> {
        let Some(property) = self.property(path)? else { return Ok(()) };
        self.is_changed = true;
        property.remove();
        for length in (keep + 1..path.len()).rev() {
            let Some(parent) = self.property(&path[..length])? else { return Ok(()) };
            if !parent.object_value().is_some_and(|object| is_bare(&object)) {
                return Ok(());
            }
            parent.remove();
        }
        Ok(())
    }

    fn property(&self, path: &[&str]) -> Result<Option<CstObjectProp>, Problem> {
        let Some((last, parents)) = path.split_last() else { return Err(NO_OBJECT) };
        let mut object = self.top.clone();
        for name in parents {
            let Some(inner) = member(&object, name)?.and_then(|property| property.object_value()) else {
                return Ok(None);
            };
            object = inner;
        }
        member(&object, last)
    }
}

fn plain(value: &CstNode) -> Result<Value, Problem> {
    if let Some(object) = value.as_object() {
        let mut members = serde_json::Map::new();
        for property in object.properties() {
            let name = property.decoded_name().ok_or(UNREADABLE)?;
            let value = property.value().ok_or(UNREADABLE)?;
            members.insert(name, plain(&value)?);
        }
        return Ok(Value::Object(members));
    }
    if let Some(list) = value.as_array() {
        return list.elements().iter().map(plain).collect::<Result<_, _>>().map(Value::Array);
    }
    Ok(match value.as_string_lit() {
        Some(text) => Value::String(text.decoded_value().map_err(|_| UNREADABLE)?),
        None => serde_json::from_str(&value.to_string()).unwrap_or_default(),
    })
}

const NO_OBJECT: Problem = "a member that should be an object is something else";
const NO_LIST: Problem = "a member that should be a list is something else";
const TOO_MANY: Problem = "an object has too many members";
const UNREADABLE: Problem = "a member could not be read";

/// The member with that name. If there are two, parsers may differ on which one they take.
fn member(object: &CstObject, name: &str) -> Result<Option<CstObjectProp>, Problem> {
    let mut found = None;
    for property in object.properties() {
        let its = property.decoded_name().ok_or(UNREADABLE)?;
        if its == INCLUDE {
            return Err("a part of it is in another file ($include)");
        }
        if its == name && found.replace(property).is_some() {
            return Err("a member is there twice");
        }
    }
    Ok(found)
}

/// Whether it has no content, not even a comment.
fn is_bare(object: &CstObject) -> bool {
    object.children().iter().all(|child| child.is_token() || child.is_whitespace() || child.is_newline())
}

/// The greatest number of brackets that are open at once, not counting those in texts and comments.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest): (usize, usize) = (0, 0);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            quote @ (b'"' | b'\'') => {
                while let Some(byte) = bytes.next().filter(|byte| *byte != quote) {
                    if byte == b'\\' {
                        bytes.next();
                    }
                }
            }
            b'/' if bytes.peek() == Some(&b'/') => {
                bytes.by_ref().find(|byte| matches!(byte, b'\n' | b'\r'));
            }
            b'/' if bytes.peek() == Some(&b'*') => {
                bytes.next();
                let mut before = 0;
                bytes.by_ref().find(|byte| std::mem::replace(&mut before, *byte) == b'*' && *byte == b'/');
            }
            _ => {}
        }
    }
    deepest
}
