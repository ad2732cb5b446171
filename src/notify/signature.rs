//! The signature of a notification: `t=MILLISECONDS,v1=HEX`, the hex of HMAC-SHA256 over `t`, a full stop and the body. The time is
//! that of the attempt, so a receiver may refuse what is old; the key in the body tells doubles apart.

use aws_lc_rs::hmac;

use crate::{clock::Time, ids::hex};

pub const SIGNATURE_HEADER: &str = "X-PPMID-Signature";

/// The header's value.
pub fn signature(secret: &[u8], body: &str, at: Time) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mut signed = hmac::Context::with_key(&key);
    signed.update(format!("{}.", at.0).as_bytes());
    signed.update(body.as_bytes());
    format!("t={},v1={}", at.0, hex(signed.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with another program: `printf '1793000000000.{"schema":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef`
    #[test]
    fn a_signature_is_what_openssl_makes_of_it() {
        let made = signature(b"0123456789abcdef0123456789abcdef", "{\"schema\":1}", Time(1_793_000_000_000));
        assert_eq!(made, "t=1793000000000,v1=033220a4d48150b761a9faeb0bec4c06011f092c383fbd344743ce5c446b2973");
    }
}
