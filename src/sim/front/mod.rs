//! DCC's front door: who signed this request, may it be served, and what is the answer on its own connection.
//! Not HTTP: bytes in, a Response out. Promise: nothing of a request counts before its signature was checked.

mod judge;
mod service;

use super::{
    codes::Code,
    ledger::Heights,
    schema::{self, check_request},
    shared::Shared,
    world::Reply,
};
use crate::{
    duis::{Body, Request, Response, SignatureError, read_request},
    ids::RequestId,
};
pub use service::Service;

/// Spoken where the request's own is none of the schema's.
const SERVICE_REFERENCE: &str = "11.1";
/// A RequestID has at most 68 characters; beyond this no claim is looked for.
const CLAIM_WITHIN_BYTES: usize = 4_096;

/// The RequestID a message claims, before anything is verified: to choose the user's certificates, and to answer.
pub fn claimed_request_id(bytes: &[u8]) -> Option<RequestId> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CLAIM_WITHIN_BYTES)]);
    let (_, rest) = head.split_once("RequestID>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}

/// What the signature says of a request.
enum Authentic {
    /// Somebody known signed it, and it can be read.
    Read(Box<Request>),
    /// Somebody known signed what is no request of the schema.
    AgainstSchema,
    UserNotValid,
    No,
}

/// Decides on one request and gives the answer. A request that is accepted is in the world when this returns. `before` is how
/// high the counters were when its first byte came.
pub fn answer(shared: &Shared, service: Service, bytes: &[u8], before: &Heights) -> Response {
    let claimed = claimed_request_id(bytes);
    let authentic = authentic(shared, claimed, bytes);
    let now = shared.now();
    let mut state = shared.lock();
    let (reply, request) = match authentic {
        Authentic::Read(request) => {
            state.requests.verified += 1;
            let reply = judge::decide(shared, &mut state, service, &request, before, now);
            (reply.unwrap_or_else(Reply::of), Some(request))
        }
        Authentic::AgainstSchema => {
            state.requests.verified += 1;
            (Reply::of(Code::AgainstSchema), None)
        }
        Authentic::UserNotValid => (Reply::of(Code::UserNotValid), None),
        Authentic::No => (Reply::of(Code::NotAuthentic), None),
    };
    if reply.code.is_refusal() {
        *state.requests.refused.entry(reply.code.text().to_string()).or_default() += 1;
    } else {
        state.requests.accepted += 1;
        let reference = request.as_ref().map_or("", |r| &r.service_reference);
        *state.requests.accepted_by_kind.entry(reference.to_string()).or_default() += 1;
    }
    drop(state);
    response(shared, claimed, reply, request.as_deref(), now)
}

/// Nothing that the schema does not know is repeated in an answer.
fn response(shared: &Shared, id: Option<RequestId>, reply: Reply, request: Option<&Request>, now: u64) -> Response {
    let repeated = |of: fn(&Request) -> &String, is_known: fn(&str) -> bool, or: &str| {
        let text = request.map(of).filter(|text| is_known(text));
        text.map_or_else(|| or.to_string(), String::clone)
    };
    let is_version = |text: &str| text.parse::<crate::duis::DuisVersion>().is_ok();
    Response {
        schema_version: repeated(|r| &r.schema_version, is_version, &shared.speaks.to_string()),
        request_id: id,
        response_id: None,
        code: reply.code.text().to_string(),
        at: shared.time(now),
        body: Body::Message {
            service_reference: repeated(|r| &r.service_reference, schema::is_service_reference, SERVICE_REFERENCE),
            service_reference_variant: repeated(
                |r| &r.service_reference_variant,
                schema::is_service_reference_variant,
                SERVICE_REFERENCE,
            ),
            content: reply.content,
        },
    }
}

fn authentic(shared: &Shared, claimed: Option<RequestId>, bytes: &[u8]) -> Authentic {
    let Some(certificates) = claimed.and_then(|id| shared.users.get(&id.originator)) else { return Authentic::UserNotValid };
    match read_request(bytes, certificates, shared.clock.now()) {
        Ok(request) if Some(request.id) != claimed => Authentic::No,
        Ok(request) => match check_request(bytes) {
            Ok(()) => Authentic::Read(Box::new(request)),
            Err(violation) => against_schema(&violation.0),
        },
        // The signature is good: somebody known said something that cannot be read.
        Err(SignatureError::Content(what)) => against_schema(&check_request(bytes).err().map_or(what, |violation| violation.0)),
        Err(SignatureError::UnknownCertificate { .. }) => Authentic::UserNotValid,
        Err(_) => Authentic::No,
    }
}

fn against_schema(what: &str) -> Authentic {
    tracing::info!(reason = what, "the simulator refuses a request that breaks the schema");
    Authentic::AgainstSchema
}

pub fn is_refusal(response: &Response) -> bool {
    response.code.starts_with('E')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_without_trusting_anything() {
        let id = "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:1000";
        let text = format!("<sr:Request><sr:Header><sr:RequestID>{id}</sr:RequestID>");
        assert_eq!(claimed_request_id(text.as_bytes()).unwrap().to_string(), id);
        for bad in ["", "RequestID>", "<RequestID>x</RequestID>", "\u{0}RequestID>90<"] {
            assert_eq!(claimed_request_id(bad.as_bytes()), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = claimed_request_id(&bytes);
        }
    }
}
