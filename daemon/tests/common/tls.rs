//! Certificates of an authority of our own, good and bad, and the servers that show them.

use super::venue::Venue;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) type Encrypted = StreamOwned<ServerConnection, TcpStream>;

/// An authority that a client may trust.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca_file: PathBuf,
}

/// What is wrong with a certificate for 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Expired,
    Future,
    OtherName,
}

/// A server with a certificate.
pub(crate) struct Server(Arc<ServerConfig>);

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca_file = folder.join(name);
        fs::write(&ca_file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), ca_file }
    }

    fn issue(&self, fault: Fault) -> (rcgen::Certificate, KeyPair) {
        let name = if fault == Fault::OtherName { "venue.example" } else { "127.0.0.1" };
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        match fault {
            Fault::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Fault::Future => params.not_before = date_time_ymd(2095, 1, 1),
            _ => {}
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn server(&self, fault: Fault) -> Server {
        let (leaf, key) = self.issue(fault);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.into()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Server(Arc::new(config))
    }

    /// A good certificate and its key in one file, as other programs read them.
    #[allow(dead_code, reason = "not every test runs another program")]
    pub(crate) fn write(&self, file: &Path) {
        let (leaf, key) = self.issue(Fault::None);
        fs::write(file, leaf.pem() + &key.serialize_pem()).unwrap();
    }
}

impl Server {
    /// For a server that encrypts by itself.
    #[allow(dead_code, reason = "not every test has one")]
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.0.clone()
    }

    pub(crate) fn accept(&self, venue: &Venue) -> Encrypted {
        StreamOwned::new(ServerConnection::new(self.0.clone()).unwrap(), venue.accept())
    }
}

/// The records that carry `plain`, none larger than `record` bytes of it.
pub(crate) fn records(stream: &mut Encrypted, plain: &[u8], record: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in plain.chunks(record) {
        stream.conn.writer().write_all(part).unwrap();
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut bytes).unwrap();
        }
    }
    bytes
}
