//! The emulator as the HTTP client of an AWS SDK configuration: no socket, and no serialization except the SDK's own.

use super::{Dropped, Emulator, Request, Response};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use std::time::Duration;

/// Give it to an SDK configuration's `http_client`.
#[derive(Debug, Clone)]
pub struct EmulatorHttpClient {
    emulator: Emulator,
}

impl Emulator {
    /// An SDK HTTP client whose every request this emulator answers.
    pub fn http_client(&self) -> EmulatorHttpClient {
        EmulatorHttpClient { emulator: self.clone() }
    }
}

impl HttpClient for EmulatorHttpClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector { emulator: self.emulator.clone(), read_timeout: settings.read_timeout() })
    }
}

#[derive(Debug)]
struct Connector {
    emulator: Emulator,
    /// Connectors enforce it themselves; otherwise a fault that hangs would hang an SDK that sets one.
    read_timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let emulator = self.emulator.clone();
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let answer = emulator.handle(incoming(&request)?);
            let answered = match read_timeout {
                Some(limit) => tokio::time::timeout(limit, answer)
                    .await
                    .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
                None => answer.await,
            };
            outgoing(answered.map_err(|dropped: Dropped| ConnectorError::io(dropped.into()))?)
        })
    }
}

fn incoming(request: &HttpRequest) -> Result<Request, ConnectorError> {
    let body = request.body().bytes();
    let body = body.ok_or_else(|| ConnectorError::user("the emulator takes no streaming body".into()))?;
    let uri = match request.uri().split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |path| &rest[path..]),
        None => request.uri(),
    };
    let headers = request.headers().iter();
    Ok(Request {
        method: request.method().to_owned(),
        uri: uri.to_owned(),
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_vec(),
    })
}

fn outgoing(response: Response) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(response.status).map_err(|error| ConnectorError::user(error.into()))?;
    let mut http = HttpResponse::new(status, SdkBody::from(response.body));
    for (name, value) in response.headers {
        http.headers_mut().insert(name, value);
    }
    Ok(http)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, FaultKind, Options};

    #[tokio::test(start_paused = true)]
    async fn a_hang_ends_at_the_read_timeout_and_a_drop_is_an_io_error() {
        let emulator = Emulator::new(Options::default());
        let connector = Connector { emulator: emulator.clone(), read_timeout: Some(Duration::from_secs(5)) };
        let call = || connector.call(HttpRequest::get("http://x/2015-02-01/access-points?MaxResults=2").unwrap());
        for kind in [FaultKind::Hang, FaultKind::DropAfter] {
            emulator.inject(Fault { service: None, action: "*".into(), skip: 0, times: 1, kind });
        }
        assert!(call().await.unwrap_err().is_timeout());
        assert!(call().await.unwrap_err().is_io());
        assert_eq!(call().await.unwrap().body().bytes(), Some(&br#"{"AccessPoints":[]}"#[..]));
    }
}
