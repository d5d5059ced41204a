//! Whom the client trusts, and what it shows of itself.
//!
//! The system's authorities by default, or only those of `ca_file`, see [`Trust`]. Files are read and
//! tried when the client is made, and when they have changed: the HTTP client would panic on a client
//! certificate that is none.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::error::HttpSetupError;
use super::settings::HttpSettings;
use super::trust::Trust;
use crate::regular_file;

/// The TLS side of some settings.
pub(super) struct Tls {
    /// For the HTTP client's own TLS.
    pub(super) client: TlsConfig,
    /// Instead of that where a file says who is trusted.
    pub(super) by_file: Option<Arc<ClientConfig>>,
}

/// A client certificate's chain and its key.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    text: Zeroizing<Vec<u8>>,
}

/// The TLS side of `settings`.
pub(super) fn config(settings: &HttpSettings) -> Result<Tls, HttpSetupError> {
    let trusted = settings.ca_file.as_deref().map(authorities).transpose()?;
    let shown = settings.client_certificate.as_ref();
    let shown = shown.map(|(chain, key)| client_certificate(chain, key)).transpose()?;
    let client = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    let client = client.client_cert(shown.as_ref().and_then(Shown::for_client)).build();
    let by_file = trusted.map(|trust| by_file(trust, shown.as_ref())).transpose();
    let by_file = by_file.map_err(|error| {
        let path = settings.ca_file.as_deref().unwrap_or(Path::new(""));
        pem("ca_file", path, &error.to_string())
    })?;
    Ok(Tls { client, by_file: by_file.map(Arc::new) })
}

/// Trust in the system's authorities, and nothing to show: for a proxy.
pub(super) fn plain() -> TlsConfig {
    TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build()
}

/// The HTTP client's provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn by_file(trust: Trust, shown: Option<&Shown>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust));
    match shown.and_then(|shown| Some((shown.chain.clone(), shown.key()?))) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn authorities(path: &Path) -> Result<Trust, HttpSetupError> {
    let found = certificates("ca_file", path)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.iter().cloned());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    // Without a single root.
    let verifier =
        verifier.map_err(|_| pem("ca_file", path, "has no certificate of an authority"))?;
    Ok(Trust::new(verifier, found))
}

fn client_certificate(chain_file: &Path, key_file: &Path) -> Result<Shown, HttpSetupError> {
    let chain = certificates("client_certificate", chain_file)?;
    let shown = Shown { chain, text: read("client_key", key_file)? };
    let no_key = || pem("client_key", key_file, "has no unencrypted private key in PEM");
    let key = shown.key().ok_or_else(no_key)?;
    // The same call as the HTTP client's.
    let trial = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(shown.chain.clone(), key));
    if let Err(error) = trial {
        return Err(pem("client_certificate", chain_file, &error.to_string()));
    }
    shown.for_client().ok_or_else(no_key)?;
    Ok(shown)
}

impl Shown {
    fn key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.text).ok()
    }

    fn for_client(&self) -> Option<ClientCert> {
        let key = PrivateKey::from_pem(&self.text).ok()?;
        let chain = self.chain.iter().map(|der| Certificate::from_der(der).to_owned());
        Some(ClientCert::new_with_certs(&chain.collect::<Vec<_>>(), key))
    }
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
    use std::time::Duration;

    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

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
    fn a_certificate_that_is_named_itself_must_have_the_right_dates() {
        let path = file("ca.pem");
        let trust = authorities(&path).unwrap();
        let shown = certificates("ca_file", &path).unwrap().remove(0);
        let judge = |days: u64, host: &str| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400));
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let judged = trust.verify_server_cert(&shown, &[], &name, &[], now);
            judged.map(|_| ()).unwrap_err().to_string()
        };
        // In 2024, in 2134 and in 2030; the name is only looked at when the dates are right.
        assert!(judge(20_000, "h.example").contains("not valid yet"));
        assert!(judge(60_000, "h.example").contains("expired"));
        assert!(judge(22_000, "h.example").contains("not valid for name"));
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
