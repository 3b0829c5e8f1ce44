//! What went wrong with TLS, in words for whoever runs the daemon.

use rustls::{CertificateError, Error};
use std::io;

/// Says in one sentence what is wrong with the certificate of `host`, if that is what it is about.
pub(super) fn explained(error: io::Error, host: &str) -> anyhow::Error {
    let Some(Error::InvalidCertificate(wrong)) = error.get_ref().and_then(|inner| inner.downcast_ref())
    else {
        return error.into();
    };
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            anyhow::anyhow!("its certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            anyhow::anyhow!("its certificate is not valid yet")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            anyhow::anyhow!("its certificate is for another host than {host}")
        }
        // A bad signature is what an authority looks like that took the name of a trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            anyhow::anyhow!("its certificate is not of an authority that is trusted here (see ca_file)")
        }
        _ => error.into(),
    }
}
