//! A user's sign-in from a terminal. It is read from a file or standard input: others can read arguments.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use openclaw::encoding::not_json_because_of;
use serde_json::{Value, json};

use super::api::Api;
use super::args::user_id;
use super::{OneArgs, SettingsArgs};
use crate::domain::UserId;
use crate::http::requests::{NoFields, PutRequest};

/// Largest sign-in, in bytes: real ones have a few thousand.
const MOST_BYTES: u64 = 256 * 1024;

/// `credentials`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CredentialsArgs {
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// Show where the user's sign-in is and how good it is; never a token
    Show(OneArgs),
    /// Stage a newer sign-in
    Put(PutArgs),
    /// Remove the sign-in
    Remove(OneArgs),
    /// Move aside what shadows the sign-in that is used
    Repair(OneArgs),
}

#[derive(Debug, Args)]
struct PutArgs {
    /// User id
    #[arg(value_name = "USER", value_parser = user_id)]
    user: UserId,
    /// File with the user's ChatGPT auth.json, or with a request that has it; "-" reads standard input
    #[arg(long, value_name = "FILE")]
    auth_file: PathBuf,
    /// Replace a fresher sign-in, too
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: CredentialsArgs) -> anyhow::Result<ExitCode> {
    let path = |user: &UserId| format!("/containers/{user}/credentials");
    let (settings, method, path, body) = match args.command {
        CredentialsCommand::Show(args) => (args.settings, "GET", path(&args.user), None),
        CredentialsCommand::Put(args) => {
            let request = PutRequest { auth: read(&args.auth_file)?, force: args.force };
            (args.settings, "PUT", path(&args.user), Some(json!(request)))
        }
        CredentialsCommand::Remove(args) => (args.settings, "DELETE", path(&args.user), None),
        CredentialsCommand::Repair(args) => {
            (args.settings, "POST", format!("{}/repair", path(&args.user)), Some(json!(NoFields {})))
        }
    };
    let api = Api::open(settings).await?;
    api.finish(api.call(method, &path, body).await?).await
}

/// Reads a sign-in: an `auth.json`, or the body of a request with one in it. Errors name the file, never its content.
pub(super) fn read(file: &Path) -> anyhow::Result<Value> {
    let mut bytes = Vec::new();
    let shown = file.display();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(MOST_BYTES + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)),
    };
    let read = read.with_context(|| format!("--auth-file {shown}"))?;
    if read as u64 > MOST_BYTES {
        bail!("--auth-file {shown}: is larger than {MOST_BYTES} bytes; name the user's auth.json");
    }
    if let Some((problem, fix)) = not_json_because_of(&bytes) {
        bail!("--auth-file {shown}: {problem}; {fix}");
    }
    let found: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        anyhow::anyhow!("--auth-file {shown}: is not JSON at line {line}, column {column}; name the user's auth.json")
    })?;
    Ok(match found {
        Value::Object(mut body) if !body.contains_key("tokens") && body.get("auth").is_some_and(Value::is_object) => {
            body.remove("auth").unwrap_or_default()
        }
        auth => auth,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(content: &[u8]) -> Result<Value, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auth.json");
        std::fs::write(&file, content).unwrap();
        read(&file).map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn an_auth_json_and_a_request_with_one_are_the_same_sign_in() {
        let auth = json!({"tokens": {"refresh_token": "r"}});
        let body = json!({"user_id": "alice", "auth": auth});
        for content in [&auth, &body] {
            assert_eq!(read_from(content.to_string().as_bytes()).unwrap(), auth);
        }
        let odd = json!({"auth": "x"});
        assert_eq!(read_from(odd.to_string().as_bytes()).unwrap(), odd, "the API says what is wrong with it");
    }

    #[test]
    fn a_file_in_another_encoding_gets_an_error_that_names_the_encoding() {
        let utf_16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (content, expected) in [
            (b"\xef\xbb\xbf{}".to_vec(), "begins with a byte-order mark (EF BB BF); save it as UTF-8 without BOM"),
            (utf_16, "is UTF-16; save it as UTF-8 without BOM; PowerShell's > writes UTF-16"),
            (b"{\"tokens\": \xff}".to_vec(), "is not JSON at line 1, column 12; name the user's auth.json"),
        ] {
            assert_eq!(read_from(&content).unwrap_err(), format!("--auth-file FILE: {expected}"));
        }
    }
}
