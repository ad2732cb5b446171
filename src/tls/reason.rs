//! Why a TLS connection failed, as an operator understands it. Pure.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// The TLS cause somewhere below `error`, in words; nothing where it has none.
pub fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(words(tls));
        }
        // An `io::Error` gives as its source the source of what it wraps, not that itself.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

pub(super) fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!("the far side's certificate is not accepted: {}", certificate(why)),
        rustls::Error::AlertReceived(alert) => format!("the far side ended the TLS handshake: {}", received(*alert)),
        rustls::Error::InconsistentKeys(_) => "the key is not the certificate's".into(),
        rustls::Error::NoCertificatesPresented => "the far side showed no certificate".into(),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => "the far side does not speak TLS".into(),
        rustls::Error::InvalidMessage(why) => format!("the far side does not speak TLS as it should: {why:?}"),
        rustls::Error::PeerIncompatible(why) => format!("the far side's TLS is not ours (wanted: 1.3 or 1.2): {why:?}"),
        // The crate may add kinds; what they say of themselves will do.
        other => other.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        CertificateError::UnknownIssuer => "it was not issued under the configured ca".into(),
        CertificateError::NotValidForName => "it is for another name".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("it is for another name: {}, not {}", presented.join(", "), expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it was issued for another purpose (a client's shown by a server, or the other way round)".into()
        }
        other => other.to_string(),
    }
}

/// `DnsName("dcc.test")`, as the library writes a name, without its wrapping.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

/// What a peer says about *our* side when it ends a handshake.
fn received(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "it wants a certificate of ours".into(),
        AlertDescription::UnknownCA => "our certificate was not issued under its authority".into(),
        AlertDescription::CertificateExpired => "our certificate has expired, or is not valid yet".into(),
        AlertDescription::CertificateRevoked => "our certificate was revoked".into(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => format!("it does not accept our certificate ({alert:?})"),
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.3 nor 1.2".into(),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it found no cipher in common, or wants a certificate of ours".into()
        }
        AlertDescription::UnrecognisedName => "it does not know the name in gateway.base_url".into(),
        // The protocol has many more; their names say enough.
        other => format!("{other:?}"),
    }
}
