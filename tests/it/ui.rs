//! How the operators' page is served. `tests/ui` tests it in a browser.

use std::collections::BTreeSet;

use axum::body::Body;

use crate::harness::{Answer, TestApp};

/// Without a token: the page has to load before anybody can type one in.
async fn file(app: &TestApp, path: &str) -> Answer {
    app.raw("GET", path, &[("authorization", "")], Body::empty()).await
}

/// Every text between `before` and the next quotation mark.
fn quoted(text: &str, before: &str) -> BTreeSet<String> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// The files that a page names.
fn of_page(text: &str) -> BTreeSet<String> {
    let mut named = quoted(text, "src=\"");
    named.extend(quoted(text, "href=\"").into_iter().filter(|name| !name.starts_with('#') && name != "./"));
    named
}

#[tokio::test(start_paused = true)]
async fn every_file_that_the_page_names_is_served_with_its_type_and_under_the_policy() {
    let app = TestApp::start().await;
    let index = file(&app, "/ui/").await;
    let mut named: BTreeSet<String> = quoted(&index.text, "src=\"");
    named.extend(quoted(&index.text, "href=\"").into_iter().filter(|name| !name.starts_with('#')));
    named.extend(of_page(&file(&app, "/ui/rollouts.html").await.text));
    let mut seen = BTreeSet::from(["index.html".to_owned()]);
    while let Some(name) = named.difference(&seen).next().cloned() {
        let answer = file(&app, &format!("/ui/{name}")).await;
        assert_eq!(answer.status, 200, "{name}");
        let expected = match name.rsplit_once('.').unwrap().1 {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "json" => "application/json",
            other => panic!("what is {other}?"),
        };
        assert_eq!(answer.header("content-type"), Some(expected), "{name}");
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
            ("content-security-policy", index.header("content-security-policy").unwrap()),
        ] {
            assert_eq!(answer.header(header), Some(value), "{name}");
        }
        named.extend(quoted(&answer.text, "from \"./"));
        named.extend(quoted(&answer.text, "new URL(\"").into_iter().filter(|path| path.ends_with(".json")));
        seen.insert(name);
    }
    let scripts = seen.iter().filter(|name| name.ends_with(".js")).count();
    assert!(scripts > 5 && seen.contains("style.css") && seen.contains("sizes.json"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_page_can_load_nothing_from_elsewhere_and_cannot_be_framed() {
    let app = TestApp::start().await;
    let index = file(&app, "/ui/").await;
    assert_eq!((index.status, index.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = index.header("content-security-policy").unwrap();
    let wanted = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                  form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
    assert!(policy.starts_with(wanted) && !policy.contains("unsafe"), "{policy}");
    let rollouts = file(&app, "/ui/rollouts.html").await;
    assert_eq!(rollouts.header("content-security-policy"), Some(policy));
    for page in [&index, &rollouts] {
        assert!(!page.text.contains("http://") && !page.text.contains("https://") && !page.text.contains("style="));
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_with_a_current_file_gets_304() {
    let app = TestApp::start().await;
    let tag = file(&app, "/ui/app.js").await.header("etag").unwrap().to_owned();
    let other = file(&app, "/ui/style.css").await.header("etag").unwrap().to_owned();
    let ask = async |tags: String| {
        app.raw("GET", "/ui/app.js", &[("authorization", ""), ("if-none-match", &tags)], Body::empty()).await
    };
    let known = ask(format!("\"old\", W/{tag}")).await;
    assert_eq!((known.status, known.text.as_str(), known.header("etag")), (304, "", Some(tag.as_str())));
    assert!(known.header("content-security-policy").is_some());
    assert_eq!(ask(other).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_page_has_one_address_and_nothing_else_is_below_it() {
    let app = TestApp::start().await;
    let bare = file(&app, "/ui").await;
    assert_eq!((bare.status, bare.header("location")), (308, Some("ui/")));
    for path in ["/ui/mod.rs", "/ui/..%2fmod.rs", "/ui/app.js/x"] {
        let answer = file(&app, path).await;
        assert_eq!((answer.status, answer.body["code"].as_str()), (404, Some("no_such_route")), "{path}");
    }
}
