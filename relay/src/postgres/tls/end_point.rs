//! What binds a password exchange to the server's certificate: `tls-server-end-point` of RFC 5929, section 4.

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::{ContextSpecific, ObjectIdentifier};
use x509_cert::der::oid::db::rfc5912;
use x509_cert::der::{Decode, Reader, SliceReader, TagNumber};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

/// The hash of a server's certificate; `None` where its signature has no hash of its own, as with Ed25519, or it cannot be
/// read: then there is nothing to bind to.
pub(crate) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let read = Certificate::from_der(certificate).ok()?;
    Some(match hash_of(&read.signature_algorithm)? {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

fn hash_of(signature: &AlgorithmIdentifierOwned) -> Option<Hash> {
    match signature.oid {
        // MD5 and SHA-1 are replaced by SHA-256.
        rfc5912::MD_5_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_1_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_256_WITH_RSA_ENCRYPTION
        | rfc5912::ECDSA_WITH_SHA_256 => Some(Hash::Sha256),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => Some(Hash::Sha384),
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => Some(Hash::Sha512),
        rfc5912::ID_RSASSA_PSS => hash_of_pss(signature),
        _ => None,
    }
}

/// RSASSA-PSS names its hash among its parameters; unnamed, it is SHA-1: RFC 4055, section 3.1.
fn hash_of_pss(signature: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let parameters = signature.parameters.as_ref()?.value();
    let mut reader = SliceReader::new(parameters).ok()?;
    let hash: Option<ContextSpecific<AlgorithmIdentifierRef<'_>>> =
        if reader.is_finished() { None } else { ContextSpecific::decode_explicit(&mut reader, TagNumber::N0).ok()? };
    hash.map_or(Some(Hash::Sha256), |hash| hash_named(hash.value.oid))
}

fn hash_named(oid: ObjectIdentifier) -> Option<Hash> {
    match oid {
        rfc5912::ID_MD_5 | rfc5912::ID_SHA_1 | rfc5912::ID_SHA_256 => Some(Hash::Sha256),
        rfc5912::ID_SHA_384 => Some(Hash::Sha384),
        rfc5912::ID_SHA_512 => Some(Hash::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use x509_cert::der::Any;
    use x509_cert::der::asn1::Null;

    use super::*;

    fn signed(oid: &str, parameters: Option<Any>) -> Option<Hash> {
        hash_of(&AlgorithmIdentifierOwned { oid: oid.parse().expect("an OID"), parameters })
    }

    #[test]
    fn the_hash_is_that_of_the_signature_and_never_weaker_than_sha_256() {
        let null = || Some(Any::encode_from(&Null).expect("null encodes"));
        for (oid, parameters, hash) in [
            ("1.2.840.113549.1.1.4", null(), Some(Hash::Sha256)), // MD5 with RSA
            ("1.2.840.113549.1.1.5", null(), Some(Hash::Sha256)), // SHA-1 with RSA
            ("1.2.840.113549.1.1.11", null(), Some(Hash::Sha256)), // SHA-256 with RSA
            ("1.2.840.113549.1.1.12", null(), Some(Hash::Sha384)),
            ("1.2.840.113549.1.1.13", null(), Some(Hash::Sha512)),
            ("1.2.840.10045.4.3.2", None, Some(Hash::Sha256)), // ECDSA
            ("1.2.840.10045.4.3.3", None, Some(Hash::Sha384)),
            ("1.2.840.10045.4.3.4", None, Some(Hash::Sha512)),
            ("1.3.101.112", None, None), // Ed25519
        ] {
            assert_eq!(signed(oid, parameters), hash, "{oid}");
        }
    }

    #[test]
    fn rsassa_pss_names_its_hash_among_its_parameters() {
        const PSS: &str = "1.2.840.113549.1.1.10";
        let any = |der: &[u8]| Some(Any::from_der(der).expect("DER"));
        // SEQUENCE { [0] { SEQUENCE { OID sha512 } } }
        let sha512 = [&[0x30, 0x0f, 0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09][..], &SHA_512].concat();
        assert_eq!(signed(PSS, any(&sha512)), Some(Hash::Sha512));
        assert_eq!(signed(PSS, any(&[0x30, 0])), Some(Hash::Sha256), "SHA-1 where none is named");
        assert_eq!(signed(PSS, any(&[0x30, 2, 0xa0, 0])), None, "parameters that cannot be read");
        assert_eq!(signed(PSS, None), None);
    }

    const SHA_512: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

    #[test]
    fn what_is_no_certificate_binds_nothing() {
        assert_eq!(end_point(b""), None);
        assert_eq!(end_point(&[0x30, 0x80, 0, 0]), None);
    }
}
