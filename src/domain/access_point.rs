//! Ids of access points, which are nobody's to see: whoever knows one and has the task role can mount what is behind it.

/// A text without ids of access points, which AWS's own words quote.
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
    fn ids_of_access_points_are_hidden_wherever_they_stand() {
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
