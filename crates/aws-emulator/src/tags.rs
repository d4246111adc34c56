//! Tags as lists of objects: ECS writes `key`/`value`, EFS writes `Key`/`Value`.

use super::error::ApiError;
use serde_json::Value;

/// At most 50 tags, and no key that AWS reserves (aws-facts §1).
pub(crate) fn check(tags: &[Value], key: &str, code: &str) -> Result<(), ApiError> {
    if tags.len() > 50 {
        return Err(ApiError::bad(code, "Tags can not have more than 50 elements."));
    }
    for tag in tags {
        let name = tag[key].as_str().unwrap_or_default();
        if name.is_empty() || name.len() > 128 || name.to_ascii_lowercase().starts_with("aws:") {
            return Err(ApiError::bad(
                code,
                format!("Tag keys must be 1 to 128 characters and not begin with aws: (got '{name}')."),
            ));
        }
    }
    Ok(())
}

/// Overwrites tags with the same key and appends the others.
pub(crate) fn merge(tags: &mut Vec<Value>, new: &[Value], key: &str) {
    for tag in new {
        match tags.iter_mut().find(|old| old[key] == tag[key]) {
            Some(old) => *old = tag.clone(),
            None => tags.push(tag.clone()),
        }
    }
}
