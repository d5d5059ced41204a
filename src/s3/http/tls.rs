//! Whom the client trusts, and what it shows of itself.
//!
//! The system's authorities by default, or only those of `ca_file`. Files are read and tried when
//! the client is made: the HTTP client would panic on a client certificate that is none.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::error::HttpSetupError;
use super::settings::HttpSettings;
use crate::regular_file;

/// The TLS side of `settings`.
pub(super) fn config(settings: &HttpSettings) -> Result<TlsConfig, HttpSetupError> {
    let roots = match &settings.ca_file {
        None => RootCerts::PlatformVerifier,
        Some(path) => authorities(path)?,
    };
    let client = match &settings.client_certificate {
        None => None,
        Some((chain, key)) => Some(client_certificate(chain, key)?),
    };
    Ok(TlsConfig::builder().root_certs(roots).client_cert(client).build())
}

fn authorities(path: &Path) -> Result<RootCerts, HttpSetupError> {
    let found = certificates("ca_file", path)?;
    let (good, _) = RootCertStore::empty().add_parsable_certificates(found.iter().cloned());
    if good == 0 {
        return Err(pem("ca_file", path, "has no certificate of an authority"));
    }
    Ok(RootCerts::from(found.iter().map(|der| Certificate::from_der(der).to_owned())))
}

fn client_certificate(chain_file: &Path, key_file: &Path) -> Result<ClientCert, HttpSetupError> {
    let chain = certificates("client_certificate", chain_file)?;
    let text = read("client_key", key_file)?;
    let no_key = |_| pem("client_key", key_file, "has no unencrypted private key in PEM");
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(no_key)?;
    // The same provider and the same call as the HTTP client's.
    let trial =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
            .and_then(|builder| builder.with_client_auth_cert(chain.clone(), key));
    if let Err(error) = trial {
        return Err(pem("client_certificate", chain_file, &error.to_string()));
    }
    let key = PrivateKey::from_pem(&text)
        .map_err(|_| pem("client_key", key_file, "has no unencrypted private key in PEM"))?;
    let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, HttpSetupError> {
    let text = read(option, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(pem(option, path, "has no certificate in PEM")),
        Err(_) => Err(pem(option, path, "is not valid PEM")),
    }
}

fn read(option: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, HttpSetupError> {
    regular_file::read(path, regular_file::PEM_MAX)
        .map_err(|error| pem(option, path, &error.to_string()))
}

fn pem(option: &'static str, path: &Path, reason: &str) -> HttpSetupError {
    HttpSetupError::Pem { option, path: path.display().to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key pair and certificates that were made for this test; good for nothing else.
    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
    }

    fn said(settings: &HttpSettings) -> String {
        config(settings).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_private_authority_and_a_client_certificate_are_taken() {
        let options = HttpSettings {
            ca_file: Some(file("ca.pem")),
            client_certificate: Some((file("client.pem"), file("client.key"))),
            ..HttpSettings::default()
        };
        assert_eq!(said(&options), "");
    }

    #[test]
    fn each_file_that_is_not_what_it_should_be_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, cut) = (dir.path().join("empty"), dir.path().join("cut"));
        std::fs::write(&empty, "").unwrap();
        std::fs::write(&cut, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        for ca in [&empty, &cut, &file("client.key"), Path::new("/nonexistent")] {
            let options = HttpSettings { ca_file: Some(ca.into()), ..HttpSettings::default() };
            let said = said(&options);
            assert!(said.contains("ca_file") && said.contains(ca.to_str().unwrap()), "{said}");
        }
        for (chain, key) in [
            (&empty, &file("client.key")),
            (&file("client.pem"), &empty),
            (&file("client.pem"), &cut),
            // Another's key, and a certificate of version 1: the HTTP client would panic.
            (&file("ca.pem"), &file("client.key")),
            (&file("version1.pem"), &file("client.key")),
        ] {
            let client_certificate = Some((chain.clone(), key.clone()));
            let said = said(&HttpSettings { client_certificate, ..HttpSettings::default() });
            assert!(said.starts_with("client_"), "{}: {said}", chain.display());
        }
    }
}
