//! Ids of access points are kept secret: with such an id and the task role, anybody can mount the directory behind it.

/// Hides the ids of access points in a text, because AWS's own error messages quote them.
#[must_use]
pub fn hide_access_points(text: &str) -> String {
    const START: &str = "fsap-";
    let mut parts = text.split(START);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, rest| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        format!("{shown}{START}…{rest}")
    })
}

#[cfg(test)]
mod tests {
    use super::hide_access_points;

    #[test]
    fn ids_of_access_points_are_hidden_anywhere_in_a_text() {
        for (text, shown) in [
            ("no access point here", "no access point here"),
            ("fsap-0123456789abcdef0", "fsap-…"),
            ("access-point/fsap-0a is not yours: fsap-0b, fsap-", "access-point/fsap-… is not yours: fsap-…, fsap-…"),
            ("accesspoint=fsap-0a,tls", "accesspoint=fsap-…,tls"),
        ] {
            assert_eq!(hide_access_points(text), shown);
        }
    }
}
