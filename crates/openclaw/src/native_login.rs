//! The command that signs a user in from inside their container, and so puts the sign-in where the release reads it.

use super::{CredentialPlan, ProfileProvider};

/// The program that signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeLogin {
    /// The Codex CLI, into `codex/auth.json`. The image has to include it: OpenClaw's own image does not.
    CodexHome,
    /// OpenClaw, as provider `openai-codex`: through 2026.5.
    OpenAiCodex,
    /// OpenClaw, as provider `openai`: from 2026.6 on.
    OpenAi,
}

impl NativeLogin {
    /// The program that fills the place which outranks all others.
    #[must_use]
    pub const fn of(plan: &CredentialPlan) -> Self {
        match plan.profile {
            None => Self::CodexHome,
            Some(ProfileProvider::OpenAiCodex) => Self::OpenAiCodex,
            Some(ProfileProvider::OpenAi) => Self::OpenAi,
        }
    }
}

/// The command to run in the container whose `CODEX_HOME` is `codex_home`. Every command shows a code to type into a browser
/// elsewhere: the container has no browser, and nobody can reach its loopback.
///
/// ECS Exec splits the command into words as a shell does, but runs it without a shell, and always as root. So variables are
/// set through `env`, and OpenClaw gets its directory, which it would otherwise look for in root's home. The access point
/// gives the files to their owner all the same.
#[must_use]
pub fn native_login_command(login: NativeLogin, codex_home: &str) -> String {
    let state_directory = codex_home.rsplit_once('/').map_or("", |(parent, _)| parent);
    let by_openclaw = |provider: &str| {
        let state_directory = shell_quoted(state_directory);
        format!(
            "env OPENCLAW_STATE_DIR={state_directory} openclaw models auth login --provider {provider} \
             --method device-code"
        )
    };
    match login {
        NativeLogin::CodexHome => format!("env CODEX_HOME={} codex login --device-auth", shell_quoted(codex_home)),
        NativeLogin::OpenAiCodex => by_openclaw(ProfileProvider::OpenAiCodex.name()),
        NativeLogin::OpenAi => by_openclaw(ProfileProvider::OpenAi.name()),
    }
}

/// A word quoted for a POSIX shell.
#[must_use]
pub fn shell_quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::OpenClawVersion;
    use super::super::Release;
    use super::*;

    #[test]
    fn each_release_is_signed_in_by_what_it_reads() {
        let of = |month, patch| NativeLogin::of(&Release::plain(OpenClawVersion::new(2026, month, patch)).plan());
        assert_eq!((of(4, 7), of(4, 21)), (NativeLogin::CodexHome, NativeLogin::CodexHome));
        assert_eq!((of(4, 22), of(5, 28)), (NativeLogin::OpenAiCodex, NativeLogin::OpenAiCodex));
        assert_eq!((of(6, 1), of(9, 6)), (NativeLogin::OpenAi, NativeLogin::OpenAi));
    }

    #[test]
    fn each_command_names_the_directory_of_the_mount() {
        let command = |login| native_login_command(login, "/home/node/.openclaw/codex");
        assert_eq!(
            command(NativeLogin::CodexHome),
            "env CODEX_HOME=/home/node/.openclaw/codex codex login --device-auth"
        );
        assert_eq!(
            command(NativeLogin::OpenAiCodex),
            "env OPENCLAW_STATE_DIR=/home/node/.openclaw openclaw models auth login --provider openai-codex \
             --method device-code"
        );
        assert_eq!(
            command(NativeLogin::OpenAi),
            "env OPENCLAW_STATE_DIR=/home/node/.openclaw openclaw models auth login --provider openai \
             --method device-code"
        );
    }

    #[test]
    fn words_that_a_shell_would_interpret_are_quoted() {
        for (word, quoted) in [
            ("/a/b-c_d.e:f@g", "/a/b-c_d.e:f@g"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$HOME;*", "'$HOME;*'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_quoted(word), quoted);
        }
        assert_eq!(
            native_login_command(NativeLogin::CodexHome, "/mnt/it's here/codex"),
            r"env CODEX_HOME='/mnt/it'\''s here/codex' codex login --device-auth"
        );
    }
}
