//! Incident 22: the file system does not answer any more (NFS wedge). ECS's state can still be shown.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use aws_emulator::Options as EmulatorOptions;
use openclaw_provisioner::reconcile::Options;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::harness::TestApp;

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(30);

/// Makes every file operation hang, as on a wedged mount, until the result is dropped: it occupies the one thread for file
/// operations.
async fn wedge() -> Sender<()> {
    let (mend, mended) = channel::<()>();
    let (begun, begins) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        begun.send(()).unwrap();
        mended.recv()
    });
    begins.await.unwrap();
    mend
}

#[test]
fn work_without_files_continues_and_other_work_resumes_once_files_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let options = Options { lock_timeout: Duration::from_secs(1), ..Options::default() };
        let app = TestApp::with_both(EmulatorOptions::default(), options).await;
        app.provision("alice").await;
        assert_eq!(app.get("/containers/alice/wait").await.body["state"], "running");
        let before = app.get("/containers/alice").await.body;
        assert_eq!(before["credentials"], "present");

        let mend = wedge().await;
        let get = |path: &'static str| async { timeout(LONG, app.get(path)).await.expect(path) };
        let expected = {
            let mut body = before.clone();
            body["credentials"] = Value::Null;
            body
        };
        // More looks than may hang at a time.
        for _ in 0..20 {
            let answer = get("/containers/alice").await;
            assert_eq!((answer.status, answer.body), (200, expected.clone()));
        }
        assert_eq!(get("/containers/alice/wait").await.body["state"], "running");
        assert_eq!(get("/containers?fresh=true").await.body["containers"][0]["state"], "running");

        let cancel = timeout(LONG, app.post("/containers/alice/cancel", json!({}))).await.expect("cancel");
        assert_eq!((cancel.status, &cancel.body["cancelled"]["deployment"]), (200, &Value::Null), "{}", cancel.body);

        drop(mend);
        let answers_again = async {
            while app.get("/containers/alice").await.body != before {
                app.pass_millis(10).await;
            }
        };
        timeout(LONG, answers_again).await.expect("the files are read again");
        assert_eq!(app.post("/containers/alice/stop", json!({})).await.status, 202);
    });
}
