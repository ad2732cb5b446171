//! Posts to webhooks over HTTP, with the manners of the client beside it: no redirect followed, no proxy, no retry; over https nobody
//! is trusted but who the named authority vouches for.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};

use super::{HttpSettings, client, retry_after, root_cause};
use crate::{
    clock::Clock,
    duis::{CertificateSet, Pinned},
    gateway::{BoxFuture, GatewayError, Heard, WebhookPost, Webhooks},
    tls,
};

/// A client of its own for each https POST: the authority's file is read anew, so a new one takes effect at once, and a notification
/// is rare enough to shake hands for.
pub struct HttpWebhooks {
    plain: reqwest::Client,
    clock: Clock,
}

impl HttpWebhooks {
    pub fn new(clock: Clock) -> Result<HttpWebhooks, GatewayError> {
        Ok(HttpWebhooks { plain: client(&settings(&clock))?, clock })
    }

    async fn post_once(&self, post: WebhookPost) -> Heard {
        let not_now = |why: String| Heard::NotNow { why, retry_after: None };
        let client = match &post.ca {
            None => Ok(self.plain.clone()),
            Some(ca) => match tls::client_trusting(ca, &self.clock) {
                Ok(tls) => client(&HttpSettings { tls: Some(tls), ..settings(&self.clock) }).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            },
        };
        let client = match client {
            Ok(client) => client,
            Err(why) => return not_now(why),
        };
        let mut request = client
            .post(&post.url)
            .timeout(post.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("ppmid/", env!("CARGO_PKG_VERSION")));
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        match request.body(post.body).send().await {
            Ok(answer) => said(answer.status(), retry_after(answer.headers(), self.clock.now())),
            Err(e) => not_now(tls::reason(&e).unwrap_or_else(|| root_cause(&e))),
        }
    }
}

/// Each POST brings its own time-out, connecting included.
fn settings(clock: &Clock) -> HttpSettings {
    HttpSettings::new("", Duration::from_secs(super::CONNECT_SECONDS), Pinned::new(CertificateSet::default()), clock.clone())
}

fn said(status: StatusCode, retry_after: Option<Duration>) -> Heard {
    let why = format!("HTTP {status}");
    match status {
        s if s.is_success() => Heard::Taken,
        StatusCode::GONE => Heard::Gone { why },
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Heard::Refused { why },
        s if s.is_redirection() => Heard::NotNow { why: format!("{why}, which is not followed"), retry_after },
        _ => Heard::NotNow { why, retry_after },
    }
}

impl Webhooks for HttpWebhooks {
    fn post(&self, post: WebhookPost) -> BoxFuture<'_, Heard> {
        Box::pin(self.post_once(post))
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
