//! TLS of outbound connections: rustls with ring, 1.2 and 1.3, HTTP/1.1 alone.

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tower_service::Service;

/// Whose certificates are believed. Clones share it.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

/// No certificate of an authority can be read out of what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate of an authority")]
pub struct TrustError;

/// Read once: a change of the system's list needs a restart.
static SYSTEM: LazyLock<Trust> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        tracing::warn!("the system trusts no certificate authority; no https address can be called");
    }
    Trust::of(roots)
});

impl Trust {
    /// The authorities that the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. Where it has none, every
    /// `https` call fails, and the log says why.
    #[must_use]
    pub fn system() -> Self {
        SYSTEM.clone()
    }

    /// These authorities alone, each a certificate in DER.
    ///
    /// # Errors
    /// [`TrustError`] when one is not.
    pub fn only<'c>(authorities: impl IntoIterator<Item = &'c [u8]>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(CertificateDer::from(authority.to_vec())).map_err(|_| TrustError)?;
        }
        Ok(Self::of(roots))
    }

    fn of(roots: RootCertStore) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Speaks TLS over a connection, with the server of this name (or address).
    pub(crate) async fn secure(&self, name: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

/// Connects the client of the control API, by `http` and `https`.
#[derive(Clone)]
pub(crate) struct Connector {
    plain: HttpConnector,
    trust: Option<Trust>,
}

impl Connector {
    /// `trust` is given where the address is `https`.
    pub(crate) fn new(plain: HttpConnector, trust: Option<Trust>) -> Self {
        Self { plain, trust }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plain.poll_ready(context).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trust = self.trust.clone();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let connecting = self.plain.call(on_this_machine(uri));
        Box::pin(async move {
            let stream = connecting.await.map_err(io::Error::other)?.into_inner();
            let wire = match trust {
                None => Wire::Plain(stream),
                Some(trust) => Wire::Tls(Box::new(trust.secure(&host, stream).await?)),
            };
            Ok(TokioIo::new(wire))
        })
    }
}

/// Names below `localhost` are this machine (RFC 6761, 6.3), though many systems' resolvers know `localhost` alone. The
/// request itself keeps the name.
fn on_this_machine(uri: Uri) -> Uri {
    let is_below = uri
        .host()
        .is_some_and(|host| host.to_ascii_lowercase().trim_end_matches('.').ends_with(".localhost"));
    if !is_below {
        return uri;
    }
    let authority = uri.port_u16().map_or_else(|| "localhost".to_owned(), |port| format!("localhost:{port}"));
    let mut parts = uri.clone().into_parts();
    parts.authority = authority.parse().ok();
    Uri::from_parts(parts).unwrap_or(uri)
}

/// A connection, with or without TLS.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
