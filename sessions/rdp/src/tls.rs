//! TLS on both sides: the gateway's own certificate towards clients, and the check of the target's.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use zeroize::Zeroizing;

use crate::RdpError;

/// SHA-256 of a certificate's DER. Printed and read as `aa:bb:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 fingerprint; it has 32 bytes in hex, with or without colons")]
pub struct BadFingerprint(String);

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadFingerprint(text.to_owned());
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let nibble = |digit: u8| {
                char::from(digit)
                    .to_digit(16)
                    .and_then(|n| u8::try_from(n).ok())
            };
            *byte = nibble(pair[0])
                .zip(nibble(pair[1]))
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(bad)?;
        }
        Ok(Self(bytes))
    }
}

/// The gateway's own certificate and key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Loads the identity, or makes a self-signed one if there is no key yet.
    pub fn load_or_create(certificate: &Path, key: &Path) -> Result<Self, RdpError> {
        if !key.exists() {
            create(certificate, key)?;
        }
        let fail = |path: &Path, why: String| RdpError::Identity {
            path: path.to_owned(),
            why,
        };
        let mode = fs::metadata(key)
            .map_err(|e| fail(key, e.to_string()))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(fail(
                key,
                format!(
                    "others may read it (mode {:o}); run chmod 600 on it",
                    mode & 0o777
                ),
            ));
        }
        let pem = Zeroizing::new(fs::read(key).map_err(|e| fail(key, e.to_string()))?);
        let secret = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| fail(key, format!("not a PEM private key: {e}")))?;
        let missing = "; restore it, or delete the key to get a new identity";
        let pem = fs::read(certificate).map_err(|e| fail(certificate, format!("{e}{missing}")))?;
        let public = CertificateDer::from_pem_slice(&pem)
            .map_err(|e| fail(certificate, format!("not a PEM certificate: {e}")))?;
        Ok(Self {
            certificate: public,
            key: secret,
        })
    }

    /// SHA-256 of the certificate, for users to compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    pub(crate) fn server_config(&self) -> Result<rustls::ServerConfig, RdpError> {
        Ok(rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?)
    }
}

fn create(certificate: &Path, key: &Path) -> Result<(), RdpError> {
    let fail = |path: &Path, why: String| RdpError::Identity {
        path: path.to_owned(),
        why,
    };
    let made = rcgen::generate_simple_self_signed(vec!["lucid-gateway".to_owned()])
        .map_err(|e| fail(certificate, format!("cannot be generated: {e}")))?;
    let secret = Zeroizing::new(made.signing_key.serialize_pem());
    // The key comes last: a crash in between leaves no key, so the next start makes both again.
    write_atomically(certificate, made.cert.pem().as_bytes(), 0o644)
        .map_err(|e| fail(certificate, e.to_string()))?;
    write_atomically(key, secret.as_bytes(), 0o600).map_err(|e| fail(key, e.to_string()))
}

fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(parent)?.sync_all()
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()))
        .clone()
}

/// How the target's certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It has this SHA-256 fingerprint; names and dates do not matter.
    Pin(Fingerprint),
    /// It is valid for the target's name under one of the host's certificate authorities.
    Authorities,
    /// It is not known yet: connecting fails with [`RdpError::UnknownCertificate`], so that the caller can ask and pin.
    AskFirstUse,
}

/// Checks the target's certificate and remembers what it saw.
#[derive(Debug)]
pub(crate) struct Verifier {
    trust: Trust,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
    shown: OnceLock<Fingerprint>,
}

impl Verifier {
    pub(crate) fn new(trust: &Trust) -> Result<Arc<Self>, RdpError> {
        let authorities = match trust {
            Trust::Authorities => Some(authorities()?),
            Trust::Pin(_) | Trust::AskFirstUse => None,
        };
        let algorithms = provider().signature_verification_algorithms;
        Ok(Arc::new(Self {
            trust: trust.clone(),
            authorities,
            algorithms,
            shown: OnceLock::new(),
        }))
    }

    /// Fingerprint of the certificate the target showed, once it has.
    pub(crate) fn shown(&self) -> Option<Fingerprint> {
        self.shown.get().copied()
    }

    pub(crate) fn client_config(self: &Arc<Self>) -> Result<rustls::ClientConfig, RdpError> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth();
        // CredSSP binds to the certificate seen in this very handshake.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

fn authorities() -> Result<Arc<WebPkiServerVerifier>, RdpError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return Err(RdpError::NoAuthorities(why));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| RdpError::NoAuthorities(e.to_string()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = *self.shown.get_or_init(|| Fingerprint::of(end_entity));
        match (&self.trust, &self.authorities) {
            (Trust::Pin(pinned), _) if *pinned == shown => Ok(ServerCertVerified::assertion()),
            (Trust::Authorities, Some(authorities)) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            _ => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    // The signatures are checked against the bare public key, because WebPKI does not read X.509 v1 certificates, which
    // old desktops still make for themselves.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert).ok_or(CertificateError::BadEncoding)?;
        let candidates = self
            .algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == dss.scheme);
        let valid = candidates
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| {
                algorithm.public_key_alg_id().as_ref() == key.algorithm
                    && algorithm
                        .verify_signature(key.bits, message, dss.signature())
                        .is_ok()
            });
        if valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert).ok_or(CertificateError::BadEncoding)?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.info),
            dss,
            &self.algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The public key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey<'a> {
    /// The whole SubjectPublicKeyInfo, DER.
    pub info: &'a [u8],
    /// Content of its AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    /// The key itself, content of the BIT STRING: what CredSSP binds to.
    pub bits: &'a [u8],
}

/// Finds the public key in a certificate in DER, of any X.509 version.
pub fn public_key(certificate: &[u8]) -> Option<PublicKey<'_>> {
    let (_, certificate, _) = tlv(certificate, 0x30)?;
    let (_, mut rest, _) = tlv(certificate, 0x30)?;
    if rest.first() == Some(&0xA0) {
        rest = tlv(rest, 0xA0)?.2; // version, absent in v1
    }
    // serial, signature algorithm, issuer, validity, subject
    for tag in [0x02, 0x30, 0x30, 0x30, 0x30] {
        rest = tlv(rest, tag)?.2;
    }
    let (info, fields, _) = tlv(rest, 0x30)?;
    let (_, algorithm, rest) = tlv(fields, 0x30)?;
    let (_, bits, _) = tlv(rest, 0x03)?;
    Some(PublicKey {
        info,
        algorithm,
        bits: bits.strip_prefix(&[0])?,
    })
}

/// One DER element with this tag: the whole of it, its content, and what follows.
fn tlv(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8], &[u8])> {
    if *bytes.first()? != tag {
        return None;
    }
    let (header, len) = match *bytes.get(1)? {
        short @ 0..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(crate::wire::u16_be(bytes, 2)?)),
        _ => return None,
    };
    let whole = bytes.get(..header + len)?;
    Some((whole, &whole[header..], &bytes[header + len..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fingerprint_reads_back_with_and_without_colons() {
        let print = Fingerprint::of(b"x");
        let text = print.to_string();
        assert_eq!(text.len(), 95);
        assert_eq!(text.parse(), Ok(print));
        assert_eq!(text.replace(':', "").parse(), Ok(print));
        assert!("aa:bb".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn an_identity_is_made_once_with_a_private_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (
            dir.path().join("tls/gateway.crt"),
            dir.path().join("tls/gateway.key"),
        );
        let first = Identity::load_or_create(&cert, &key).unwrap();
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let second = Identity::load_or_create(&cert, &key).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        first.server_config().unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::load_or_create(&cert, &key)
            .unwrap_err()
            .to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn the_public_key_of_a_certificate_is_found() {
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let key = public_key(made.cert.der()).unwrap();
        assert_eq!(key.bits.len(), 65, "an uncompressed P-256 point");
        assert!(
            made.cert
                .der()
                .windows(key.info.len())
                .any(|w| w == key.info)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_searched_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = public_key(&bytes);
        }
    }
}
