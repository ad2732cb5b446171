//! What may be reached from outside this machine, and what may leave it. While the identities are the industry's test ones, or
//! the wire is plain, both ends must be loopback; anything else is refused when a command starts.

use std::net::SocketAddr;

use super::{DEFAULT_DCC_ID, DEFAULT_MPID, DEFAULT_USER_ID, Settings, web::WebUrl};
use crate::failure::{Failure, Outcome};

impl Settings {
    /// Called by every command that listens or posts, before it does either.
    pub fn check_exposure(&self) -> Outcome {
        self.refuse_tls()?;
        if self.receiver.forward_to.is_some() {
            return Err(Failure::failed("receiver.forward_to asks for messages to be passed on, which this version does not do")
                .help("leave it out: what answers no request of ours is kept in the inbox"));
        }
        let why = match self.default_identity() {
            Some(key) => format!("while {key} is the default, a test identity,"),
            None => "over plain http".to_string(),
        };
        let url = WebUrl::parse(&self.gateway.base_url);
        if !url.is_some_and(|u| u.is_loopback()) {
            return Err(exposed("gateway.base_url", &self.gateway.base_url, &why));
        }
        for (key, listen) in [("receiver.listen", self.receiver.listen), ("http.listen", self.http_listen)] {
            if !listen.ip().is_loopback() {
                return Err(exposed(key, &listen.to_string(), &why));
            }
        }
        Ok(())
    }

    /// The first identity that is still the test set's.
    fn default_identity(&self) -> Option<&'static str> {
        let mpids: Vec<&str> = self.organisation.mpids.iter().map(|m| m.as_str()).collect();
        [
            ("organisation.mpids", mpids == [DEFAULT_MPID]),
            ("organisation.user_id", self.organisation.user_id.to_string() == DEFAULT_USER_ID),
            ("gateway.dcc_id", self.gateway.dcc_id.to_string() == DEFAULT_DCC_ID),
        ]
        .into_iter()
        .find_map(|(key, is_default)| is_default.then_some(key))
    }

    /// TLS is not in this version: a setting that asks for it is refused rather than served without.
    fn refuse_tls(&self) -> Outcome {
        let https = |url: &str| WebUrl::parse(url).is_some_and(|u| u.https);
        let asked = [
            ("gateway.base_url with https", https(&self.gateway.base_url)),
            ("receiver.forward_to with https", self.receiver.forward_to.as_deref().is_some_and(https)),
            ("[gateway.tls]", self.gateway.tls.is_some()),
            ("[receiver.tls]", self.receiver.tls.is_some()),
            ("[http.tls]", self.http_tls.is_some()),
        ];
        match asked.into_iter().find(|a| a.1) {
            None => Ok(()),
            Some((what, _)) => Err(Failure::failed(format!("{what} asks for TLS, which this version does not speak"))
                .help("use http on a loopback address, with a TLS proxy of your own in front, until a version with TLS")),
        }
    }
}

fn exposed(what: &str, value: &str, why: &str) -> Failure {
    Failure::failed(format!("{what} is {value}, but {why} it must be a loopback address"))
        .help("use an address such as 127.0.0.1 or [::1]; docs/configuration.md says when another is allowed")
}

/// For an address that is no setting (`ppmid dcc-sim --listen`): plain http stays on this machine.
pub fn require_loopback(what: &str, address: SocketAddr) -> Outcome {
    if address.ip().is_loopback() { Ok(()) } else { Err(exposed(what, &address.to_string(), "over plain http")) }
}

/// As [`require_loopback`], for a URL (`ppmid dcc-sim --deliver-to`).
pub fn require_loopback_url(what: &str, url: &str) -> Outcome {
    match WebUrl::parse(url) {
        Some(u) if !u.https && u.is_loopback() => Ok(()),
        Some(u) if !u.https => Err(exposed(what, url, "over plain http")),
        Some(_) => Err(Failure::failed(format!("{what} asks for TLS, which this version does not speak"))
            .help("use http on a loopback address")),
        None => Err(Failure::usage(format!("{what} is no URL that can be posted to"))
            .help("it looks like http://127.0.0.1:8081/duis/receive")),
    }
}
