//! The owner of a sign-in: the workspace and the person. Everything that compares sign-ins compares only these.
//!
//! Members of a Team or Enterprise workspace share its account id, so the account alone identifies nobody. And one sign-in
//! has up to three account ids: the one written beside the tokens and the claims of both tokens. They may differ: a release
//! that refreshes a sign-in overwrites the written one with the claim (seen on 2026.5.7). `import.mjs` has the same rule;
//! `tests/fixtures/identities.json` checks both.

use serde::{Deserialize, Serialize};

use super::jwt::Claims;

/// The workspaces that a sign-in names, and the person as far as the tokens show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The written account id first, then those from the claims.
    account_ids: Vec<String>,
    /// `chatgpt_account_user_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_user_id: Option<String>,
    /// `chatgpt_user_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// `sub`.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

impl Identity {
    /// The identity from what is written beside the tokens and from the claims of both.
    #[must_use]
    pub fn new(written_account: Option<&str>, access: &Claims, id: &Claims) -> Self {
        let mut account_ids: Vec<String> = Vec::new();
        for account in written_account.into_iter().chain(access.account_id.as_deref()).chain(id.account_id.as_deref()) {
            if !account_ids.iter().any(|known| known == account) {
                account_ids.push(account.to_owned());
            }
        }
        let either = |of: fn(&Claims) -> &Option<String>| of(access).clone().or_else(|| of(id).clone());
        Self {
            account_ids,
            account_user_id: either(|claims| &claims.account_user_id),
            user_id: either(|claims| &claims.user_id),
            subject: either(|claims| &claims.subject),
            email: id.email.clone().or_else(|| access.email.clone()),
        }
    }

    /// The same identity with this email, if the tokens have none.
    #[must_use]
    pub fn with_email(mut self, email: Option<&str>) -> Self {
        self.email = self.email.or_else(|| email.map(str::to_owned));
        self
    }

    /// An identity of which only an account id and an email are known.
    #[must_use]
    pub fn of_account(account: Option<&str>, email: Option<&str>) -> Self {
        Self { account_ids: account.map(str::to_owned).into_iter().collect(), ..Self::default() }.with_email(email)
    }

    /// The account id that answers show: the written one, or else one from a claim.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account_ids.first().map(String::as_str)
    }

    /// All account ids of the sign-in.
    #[must_use]
    pub fn accounts(&self) -> &[String] {
        &self.account_ids
    }

    /// The email, if it is known.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// Whether two sign-ins belong to one workspace and one person: an account id agrees, and the persons do not contradict
    /// each other. If one of them names no account, the persons have to agree.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let persons = self.persons_agree(other);
        if self.account_ids.is_empty() || other.account_ids.is_empty() {
            return persons == Some(true);
        }
        persons != Some(false) && self.account_ids.iter().any(|account| other.account_ids.contains(account))
    }

    /// Whether they are the same beyond doubt: the persons agree, or neither of them names a person. Only then is the older
    /// of the two of no use any more.
    #[must_use]
    pub fn certainly_same(&self, other: &Self) -> bool {
        let says_nothing = |identity: &Self| {
            let Self { account_ids: _, account_user_id, user_id, subject, email } = identity;
            [account_user_id, user_id, subject, email].iter().all(|id| id.is_none())
        };
        let agree = self.persons_agree(other).unwrap_or(says_nothing(self) && says_nothing(other));
        agree && self.same(other)
    }

    /// Compares the first of the ids that both have; `None` if they have none in common.
    fn persons_agree(&self, other: &Self) -> Option<bool> {
        let by = |a: &Option<String>, b: &Option<String>| a.as_ref().zip(b.as_ref()).map(|(a, b)| a == b);
        by(&self.account_user_id, &other.account_user_id)
            .or_else(|| by(&self.user_id, &other.user_id))
            .or_else(|| by(&self.subject, &other.subject))
            .or_else(|| self.email.as_ref().zip(other.email.as_ref()).map(|(a, b)| a.eq_ignore_ascii_case(b)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// `import.mjs` is tested with the same table.
    #[test]
    fn the_workspace_and_the_person_decide() {
        let table: Value = serde_json::from_str(include_str!("../../../tests/fixtures/identities.json")).unwrap();
        for case in table["cases"].as_array().unwrap() {
            let [a, b] = [&case["a"], &case["b"]].map(|one| serde_json::from_value::<Identity>(one.clone()).unwrap());
            assert_eq!(a.same(&b), case["same"].as_bool().unwrap(), "{case}");
            assert_eq!(b.same(&a), case["same"].as_bool().unwrap(), "{case}, turned around");
        }
    }

    #[test]
    fn the_claims_add_to_the_written_account() {
        let access = Claims { account_id: Some("claim".into()), subject: Some("sub".into()), ..Claims::default() };
        let id =
            Claims { account_id: Some("claim".into()), email: Some("Ada@example.com".into()), ..Claims::default() };
        let identity = Identity::new(Some("org-1"), &access, &id);
        assert_eq!((identity.account(), identity.accounts()), (Some("org-1"), &["org-1".into(), "claim".into()][..]));
        assert_eq!(identity.with_email(Some("other")).email(), Some("Ada@example.com"));
        assert!(!Identity::default().same(&Identity::default()), "two unknown persons are not the same");
        let [bob, silent] = [Some("bob"), None].map(|email| Identity::of_account(Some("team"), email));
        assert!(bob.same(&silent) && !bob.certainly_same(&silent));
        assert!(bob.certainly_same(&bob) && silent.certainly_same(&silent));
    }

    fn any_identity() -> impl Strategy<Value = Identity> {
        let id = || proptest::option::of("[ab]");
        (prop::collection::vec("[ab]", 0..3), id(), id(), id(), id()).prop_map(
            |(account_ids, account_user_id, user_id, subject, email)| Identity {
                account_ids,
                account_user_id,
                user_id,
                subject,
                email,
            },
        )
    }

    proptest! {
        #[test]
        fn comparing_identities_is_symmetric(a in any_identity(), b in any_identity()) {
            prop_assert_eq!(a.same(&b), b.same(&a));
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), a);
        }
    }
}
