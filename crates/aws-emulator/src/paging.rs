//! Pages that stay correct if items are deleted between them: the token names the last key, not an offset.

use super::error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How a list is cut into pages.
pub(crate) struct Paging<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) size: usize,
    pub(crate) descending: bool,
}

/// Sorts by key and cuts one page; the second value is the token of the next page.
pub(crate) fn page<T>(mut items: Vec<(String, T)>, paging: &Paging<'_>) -> Result<(Vec<T>, Option<String>), ApiError> {
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if paging.descending {
        items.reverse();
    }
    let after = paging.token.map(decode).transpose()?;
    let mut rest = items
        .into_iter()
        .skip_while(|(key, _)| match &after {
            Some(last) if paging.descending => key >= last,
            Some(last) => key <= last,
            None => false,
        })
        .peekable();
    let mut taken = Vec::new();
    let mut last = None;
    while taken.len() < paging.size {
        let Some((key, item)) = rest.next() else {
            break;
        };
        last = Some(key);
        taken.push(item);
    }
    let next = rest.peek().and(last).map(|key| URL_SAFE_NO_PAD.encode(key));
    Ok((taken, next))
}

fn decode(token: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| ApiError::parameter("Invalid token: the token is not one that was handed out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_deleted_between_pages_hides_no_other() {
        let items = |n: &[u8]| n.iter().map(|n| (n.to_string(), *n)).collect::<Vec<_>>();
        let cut = |token| Paging { token, size: 2, descending: false };
        let (first, token) = page(items(&[1, 2, 3, 4]), &cut(None)).unwrap();
        let (second, end) = page(items(&[1, 3, 4]), &cut(token.as_deref())).unwrap();
        assert_eq!((first, second, end), (vec![1, 2], vec![3, 4], None));
    }
}
