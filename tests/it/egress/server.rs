//! Servers on loopback that behave like broken or hostile servers outside.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An unknown certificate authority, made for one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

/// The kind of a certificate.
#[derive(Clone, Copy)]
pub enum Certificate {
    Good,
    OtherName,
    Expired,
}

/// What a server does with a connection.
#[derive(Clone)]
pub enum Behaviour {
    /// Closes it at once.
    Close,
    /// Accepts it and sends nothing.
    Silence,
    /// Answers without TLS.
    Plain(&'static str),
    /// Answers with TLS; an empty answer closes the connection.
    Tls(Certificate, &'static str),
    /// Does the TLS handshake, reads the request and sends nothing.
    TlsSilence,
}

/// A server, and the requests that it got.
pub struct Server {
    pub port: u16,
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let directory = tempfile::tempdir().unwrap();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
        std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    /// Its certificate as a PEM file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn acceptor(&self, certificate: Certificate) -> TlsAcceptor {
        let name = match certificate {
            Certificate::Good | Certificate::Expired => "127.0.0.1",
            Certificate::OtherName => "other.example",
        };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if matches!(certificate, Certificate::Expired) {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = config.with_no_client_auth().with_single_cert(vec![signed.der().clone()], key.into()).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Starts a server; it ends with the test's runtime.
    pub async fn serve(&self, behaviour: Behaviour) -> Server {
        let acceptor = match behaviour {
            Behaviour::Tls(certificate, _) => self.acceptor(certificate),
            Behaviour::Close | Behaviour::Silence | Behaviour::Plain(_) | Behaviour::TlsSilence => {
                self.acceptor(Certificate::Good)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, acceptor.clone(), behaviour.clone(), Arc::clone(&seen)));
            }
        });
        Server { port, requests }
    }
}

/// Answers a connection. The test checks the other side, so failures here are ignored.
async fn answer(mut stream: TcpStream, acceptor: TlsAcceptor, behaviour: Behaviour, seen: Arc<Mutex<Vec<String>>>) {
    let said = match behaviour {
        Behaviour::Close => return,
        Behaviour::Silence => std::future::pending().await,
        Behaviour::Plain(said) => {
            drop(stream.write_all(said.as_bytes()).await);
            // Until the other side has read it and gone: closing with unread input would reset the connection.
            return drop(stream.read_to_end(&mut Vec::new()).await);
        }
        Behaviour::Tls(_, said) => Some(said),
        Behaviour::TlsSilence => None,
    };
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
    let Some(said) = said else { return std::future::pending().await };
    drop(stream.write_all(said.as_bytes()).await);
    drop(stream.shutdown().await);
}
