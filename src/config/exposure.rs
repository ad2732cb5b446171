//! What may be reached from outside this machine, and what may leave it. While the identities are the industry's test ones, or
//! the wire is plain, both ends must be loopback; anything else is refused when a command starts.

use std::net::SocketAddr;

use super::{DEFAULT_DCC_ID, DEFAULT_MPID, DEFAULT_USER_ID, Settings, web::WebUrl};
use crate::failure::{Failure, Outcome};

impl Settings {
    /// Called by every command that listens or posts, before it does either.
    pub fn check_exposure(&self) -> Outcome {
        self.check_tls()?;
        if let Some(url) = &self.receiver.forward_to {
            forwardable(url)?;
        }
        let identity = self.default_identity();
        let must_be_loopback = |encrypted: bool| match identity {
            Some(key) => Some(format!("while {key} is the default, a test identity,")),
            None if encrypted => None,
            None => Some("over plain http".to_string()),
        };
        let url = WebUrl::parse(&self.gateway.base_url);
        if let Some(why) = must_be_loopback(url.as_ref().is_some_and(|u| u.https))
            && !url.is_some_and(|u| u.is_loopback())
        {
            return Err(exposed("gateway.base_url", &self.gateway.base_url, &why));
        }
        let listeners = [
            ("receiver.listen", self.receiver.listen, self.receiver.tls.is_some()),
            ("http.listen", self.http_listen, self.http_tls.is_some()),
        ];
        for (key, listen, encrypted) in listeners {
            if let Some(why) = must_be_loopback(encrypted)
                && !listen.ip().is_loopback()
            {
                return Err(exposed(key, &listen.to_string(), &why));
            }
        }
        Ok(())
    }

    /// The address of a webhook, which is no setting but follows the same rule.
    pub fn check_webhook(&self, what: &str, url: &str) -> Outcome {
        let Some(parsed) = WebUrl::parse(url) else {
            return Err(Failure::failed(format!("{what} is {url}, which is no address that can be posted to"))
                .help("it looks like https://host/path, without user, query or fragment"));
        };
        let why = match self.default_identity() {
            Some(key) => format!("while {key} is the default, a test identity,"),
            None if parsed.https => return Ok(()),
            None => "over plain http".to_string(),
        };
        if parsed.is_loopback() { Ok(()) } else { Err(exposed(what, url, &why)) }
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

    /// What is asked of TLS must be what is done: nothing is served plain, or posted plain, where a setting says otherwise.
    fn check_tls(&self) -> Outcome {
        let https = WebUrl::parse(&self.gateway.base_url).is_some_and(|u| u.https);
        match (https, &self.gateway.tls) {
            (true, None) => {
                return Err(Failure::failed("gateway.base_url is https, but there is no [gateway.tls]").help(
                    "add [gateway.tls] with ca (who issued DCC's certificate), certificate and key (ours): DCC asks for both",
                ));
            }
            (false, Some(_)) => {
                return Err(Failure::failed("[gateway.tls] is set, but gateway.base_url is plain http")
                    .help("write https:// in gateway.base_url, or leave [gateway.tls] out"));
            }
            (true, Some(_)) | (false, None) => {}
        }
        if self.http_tls.is_some() {
            return Err(Failure::failed("[http.tls] belongs to the REST API and console, which this version does not have")
                .help("leave it out: nothing listens on http.listen yet"));
        }
        Ok(())
    }
}

/// Messages are passed on over plain http, so they stay on this machine.
fn forwardable(url: &str) -> Outcome {
    match WebUrl::parse(url) {
        Some(u) if !u.https && u.is_loopback() => Ok(()),
        Some(u) if !u.https => Err(exposed("receiver.forward_to", url, "over plain http")),
        Some(_) | None => Err(Failure::failed("receiver.forward_to is https, which is not spoken there")
            .help("give the http address of an adapter on this machine, or of a TLS proxy of yours that knows the way")),
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
        Some(_) => Err(Failure::failed(format!("{what} is https, which the simulator does not speak"))
            .help("use http on a loopback address")),
        None => Err(Failure::usage(format!("{what} is no URL that can be posted to"))
            .help("it looks like http://127.0.0.1:8081/duis/receive")),
    }
}
