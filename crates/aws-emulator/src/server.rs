//! The emulator behind a listener, for processes that get its address as `AWS_ENDPOINT_URL`.

use super::{Emulator, Request, Response};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use std::future::{Future, IntoFuture};
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A larger request body is refused; the largest that AWS accepts here is a 64 KiB task definition.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// How long open calls may continue after the order to stop: a call that a fault hangs would continue for ever.
const GRACE: Duration = Duration::from_secs(1);

impl Emulator {
    /// Serves until `shutdown` is ready.
    ///
    /// # Errors
    /// Those of the listener.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let emulator = self.clone();
        let router = Router::new().fallback(move |request| respond(emulator.clone(), request));
        let (stopping, stopped) = oneshot::channel::<()>();
        let server = axum::serve(listener, router).with_graceful_shutdown(async move {
            shutdown.await;
            drop(stopping);
        });
        let give_up = async {
            // The sender is only ever dropped, never used.
            let _ = stopped.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = server.into_future() => result,
            () = give_up => Ok(()),
        }
    }
}

async fn respond(emulator: Emulator, request: axum::extract::Request) -> HttpResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let request = Request {
        method: head.method.as_str().to_owned(),
        uri: head.uri.to_string(),
        headers: headers.collect(),
        body: body.to_vec(),
    };
    match emulator.handle(request).await {
        Ok(response) => http_response(response),
        Err(dropped) => broken(dropped.into()),
    }
}

fn http_response(response: Response) -> HttpResponse {
    let mut http = HttpResponse::builder().status(response.status);
    for (name, value) in response.headers {
        http = http.header(name, value);
    }
    http.body(Body::from(response.body)).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// hyper closes the connection if a body fails; here nothing of the response was sent before.
fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> HttpResponse {
    HttpResponse::new(Body::from_stream(stream::once(async { Err::<Bytes, _>(error) })))
}
