//! `openclaw.json`: our entries are merged into a file that the user and the container write, too.

use openclaw::openclaw_json::{Entries, GatewaySecrets, GatewayToken, TokenSource};

use super::*;

fn entries(token: TokenSource) -> Entries {
    let secrets = GatewaySecrets { token, has_password: false };
    Entries { model: Release::plain(OpenClawVersion::new(2026, 9, 6)).plan().model, secrets, profile: None }
}

impl Fixture {
    async fn configure(&self) -> Vec<Warning> {
        self.staging.configure(&self.user, entries(TokenSource::File)).await.unwrap()
    }

    fn configuration(&self) -> String {
        fs::read_to_string(self.own("openclaw.json")).unwrap()
    }

    async fn token(&self) -> String {
        match self.staging.gateway_token(&self.user).await.unwrap() {
            GatewayToken::Text(token) => token.expose_secret().to_owned(),
            GatewayToken::Missing | GatewayToken::Reference => panic!("no token"),
        }
    }
}

#[tokio::test]
async fn a_gateway_gets_its_token_once_and_the_file_is_the_containers() {
    let fixture = Fixture::new().await;
    assert!(matches!(fixture.staging.gateway_token(&fixture.user).await.unwrap(), GatewayToken::Missing));
    assert_eq!(fixture.configure().await, []);
    let (first, token) = (fixture.configuration(), fixture.token().await);
    assert!(token.len() == 64 && first.contains(&token));
    let written = fs::metadata(fixture.own("openclaw.json")).unwrap();
    assert_eq!((written.permissions().mode() & 0o777, written.uid()), (0o600, container_user().uid));
    assert_eq!(fixture.configure().await, []);
    let again = fs::metadata(fixture.own("openclaw.json")).unwrap();
    assert_eq!((fixture.configuration(), again.ino()), (first, written.ino()), "written although nothing changed");
}

#[tokio::test]
async fn a_rotated_token_replaces_the_old_one_and_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.configure().await;
    let (before, old) = (fixture.configuration(), fixture.token().await);
    fixture.staging.rotate_gateway_token(&fixture.user).await.unwrap();
    let new = fixture.token().await;
    assert_ne!(new, old);
    assert_eq!(fixture.configuration(), before.replace(&old, &new));
}

#[tokio::test]
async fn no_token_is_created_if_the_environment_sets_it() {
    let fixture = Fixture::new().await;
    fixture.staging.configure(&fixture.user, entries(TokenSource::Environment)).await.unwrap();
    assert!(matches!(fixture.staging.gateway_token(&fixture.user).await.unwrap(), GatewayToken::Missing));
}

#[tokio::test]
async fn a_link_or_an_unusable_file_is_neither_used_nor_replaced() {
    let fixture = Fixture::new().await;
    fixture.staging.prepare(&fixture.user).await.unwrap();
    let elsewhere = fixture.path("elsewhere.json");
    fs::write(&elsewhere, "{\"gateway\": {\"auth\": {\"token\": \"another's\"}}}").unwrap();
    let ours = fixture.own("openclaw.json");
    let large = format!("{{{}}}", " ".repeat(256 * 1024));
    type Make<'a> = Box<dyn Fn() + 'a>;
    let make: [(&str, Make<'_>); 4] = [
        ("it is not a regular file", Box::new(|| std::os::unix::fs::symlink(&elsewhere, &ours).unwrap())),
        ("it is not a regular file", Box::new(|| fs::create_dir(&ours).unwrap())),
        ("it is too large", Box::new(|| fs::write(&ours, &large).unwrap())),
        ("it is not JSON5", Box::new(|| fs::write(&ours, "{{{").unwrap())),
    ];
    for (problem, make) in make {
        make();
        let before = fs::symlink_metadata(&ours).unwrap();
        assert_eq!(fixture.configure().await, [Warning::ConfigurationLeftAlone { problem }]);
        for error in [
            fixture.staging.gateway_token(&fixture.user).await.unwrap_err(),
            fixture.staging.rotate_gateway_token(&fixture.user).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert_eq!(fs::symlink_metadata(&ours).unwrap().ino(), before.ino());
        let _either = fs::remove_file(&ours).or_else(|_| fs::remove_dir(&ours));
    }
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("another's"));
}

/// OpenClaw writes the file too.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_keeps_changing_stays_whole() {
    let fixture = Fixture::new().await;
    fixture.configure().await;
    let path = fixture.own("openclaw.json");
    let writer = std::thread::spawn(move || {
        for round in 0..200 {
            let text = fs::read_to_string(&path).unwrap();
            let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
            file["round"] = json!(round);
            let temporary = path.with_extension("theirs");
            fs::write(&temporary, file.to_string()).unwrap();
            fs::rename(&temporary, &path).unwrap();
        }
    });
    while !writer.is_finished() {
        match fixture.staging.rotate_gateway_token(&fixture.user).await {
            Ok(()) | Err(StagingError::Contended { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    writer.join().unwrap();
    let file: serde_json::Value = serde_json::from_str(&fixture.configuration()).unwrap();
    assert!(file["round"].is_u64() && file["gateway"]["auth"]["token"].is_string(), "{file}");
}
