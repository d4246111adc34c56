//! The trusted certificate authorities.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use thiserror::Error;

/// The certificate authorities of this machine, from where OpenSSL looks for them, and those of one more file. Node has
/// its own list, so a container can differ.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

/// Why no certificate authorities could be loaded.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The extra file cannot be used.
    #[error("{} cannot be read as PEM certificates", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The extra file has no certificates.
    #[error("{} has no certificate (-----BEGIN CERTIFICATE-----)", .0.display())]
    Empty(PathBuf),
    /// Neither the machine nor a file has certificate authorities.
    #[error("no certificate authorities are installed here: install the package ca-certificates, or set SSL_CERT_FILE")]
    None,
    /// The TLS library refuses to start.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// Loads the machine's certificate authorities and those in the PEM file `extra`.
    ///
    /// # Errors
    /// When the file cannot be used, or there are none at all.
    pub fn load(extra: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        // Some of a machine's certificates are always too old to parse; it is an error only if there are none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = extra {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let certificates = read.map_err(|source| TrustError::File { path: path.into(), source })?;
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(TrustError::Empty(path.into()));
            }
        }
        if roots.is_empty() {
            return Err(TrustError::None);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}
