//! Reads the claims of a ChatGPT token without verifying it.
//!
//! The signature is never checked: the claims only say how fresh a sign-in is and who it belongs to. A user who can forge
//! them could forge `last_refresh` as well, and gains nothing but a sign-in of their own that does not work.

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use jiff::Timestamp;
use serde_json::Value;

const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The claim in which OpenAI keeps what it knows of an account.
const AUTH: &str = "https://api.openai.com/auth";

/// The claims of a token that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iat`: when the token was issued.
    pub issued_at: Option<Timestamp>,
    /// `exp`: when it stops being accepted.
    pub expires_at: Option<Timestamp>,
    /// `email`, or the one in the claim `https://api.openai.com/profile`.
    pub email: Option<String>,
    /// `https://api.openai.com/auth`.`chatgpt_account_id`.
    pub account_id: Option<String>,
    /// `https://api.openai.com/auth`.`chatgpt_account_user_id`: a person in one workspace.
    pub account_user_id: Option<String>,
    /// `https://api.openai.com/auth`.`chatgpt_user_id`, or else its older name `user_id`, as the Codex CLI reads it.
    pub user_id: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `scp`, or `scope` split at its spaces; `None` where the token has neither.
    pub scopes: Option<Vec<String>>,
}

impl Claims {
    /// The claims of a JWT; `None` for an opaque token, which is anything but three parts around a JSON object.
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        if header.is_empty() || signature.is_empty() {
            return None;
        }
        let payload: Value = serde_json::from_slice(&URL_SAFE.decode(payload).ok()?).ok()?;
        let claims = payload.as_object()?;
        let text = |value: Option<&Value>| value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let within = |object: &str, key: &str| text(claims.get(object)?.get(key));
        Some(Self {
            issued_at: claims.get("iat").and_then(instant),
            expires_at: claims.get("exp").and_then(instant),
            email: text(claims.get("email")).or_else(|| within("https://api.openai.com/profile", "email")),
            account_id: within(AUTH, "chatgpt_account_id"),
            account_user_id: within(AUTH, "chatgpt_account_user_id"),
            user_id: within(AUTH, "chatgpt_user_id").or_else(|| within(AUTH, "user_id")),
            subject: text(claims.get("sub")),
            scopes: claims.get("scp").or_else(|| claims.get("scope")).and_then(scopes),
        })
    }
}

fn scopes(value: &Value) -> Option<Vec<String>> {
    let words = |text: &Value| text.as_str().map(str::split_whitespace).map(|words| words.map(str::to_owned).collect());
    match value.as_array() {
        Some(list) => Some(list.iter().filter_map(words).flat_map(|words: Vec<String>| words).collect()),
        None => words(value),
    }
}

/// A NumericDate (RFC 7519 §2) in whole seconds. Out of range counts as absent: the number may be hostile.
fn instant(value: &Value) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "a float saturates, and the ends are out of range")]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|float| float.floor() as i64))?;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    /// An unsigned JWT with these claims.
    pub(crate) fn jwt(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(claims))
    }

    #[test]
    fn claims_are_read_where_openai_puts_them() {
        let token = jwt(&json!({
            "iat": 1_777_000_000, "exp": 1_777_864_000.75,
            "https://api.openai.com/profile": {"email": "a@example.com"},
            "sub": "auth0|1",
            "https://api.openai.com/auth": {
                "chatgpt_account_id": "acc-1", "chatgpt_account_user_id": "user-1__acc-1", "user_id": "user-1",
            },
        }));
        let claims = Claims::read(&token).unwrap();
        assert_eq!(claims.issued_at.unwrap().as_second(), 1_777_000_000);
        assert_eq!(claims.expires_at.unwrap().as_second(), 1_777_864_000);
        assert_eq!((claims.email.as_deref(), claims.account_id.as_deref()), (Some("a@example.com"), Some("acc-1")));
        let person = [&claims.account_user_id, &claims.user_id, &claims.subject].map(Option::as_deref);
        assert_eq!(person, [Some("user-1__acc-1"), Some("user-1"), Some("auth0|1")]);
    }

    #[test]
    fn anything_that_is_not_a_jwt_is_opaque() {
        for token in ["", "opaque", "a.b", "a.b.c.d", "..", "a.!!.c", "a.WzFd.c", ".e30.c", "a.e30."] {
            assert_eq!(Claims::read(token), None, "{token}");
        }
    }

    #[test]
    fn hostile_claims_count_as_absent() {
        let token = jwt(&json!({
            "iat": 1e300, "exp": u64::MAX, "email": 7, "https://api.openai.com/auth": "none",
        }));
        assert_eq!(Claims::read(&token), Some(Claims::default()));
        assert_eq!(Claims::read(&jwt(&json!({"iat": -1e300, "exp": "soon"}))), Some(Claims::default()));
    }
}
