//! DCC's front door: who signed this request, may it be served, and what is the answer on its own connection.
//! Not HTTP: bytes in, a Response out. Promise: nothing of a request counts before its signature was checked.

use super::{
    shared::{Shared, State},
    world::AcceptedRequest,
};
use crate::{
    duis::{Body, Content, FirmwareUpdate, Request, RequestBody, Response, SignatureError, UpdateFirmwareWarning, read_request},
    ids::RequestId,
};

/// Acknowledged; more follows where there is more to say.
const ACCEPTED: &str = "I99";
/// User or role not valid.
const USER_NOT_VALID: &str = "E1";
/// Role not permitted this request: what the simulator says to services it does not serve.
const NOT_PERMITTED: &str = "E2";
const COMMAND_VARIANT_WRONG: &str = "E12";
const WRONG_SERVICE: &str = "E13";
/// The target of a Non-Device request is DCC itself; any other does not exist here.
const TARGET_UNKNOWN: &str = "E19";
/// The RequestID was seen before. A guess: of this code only the name is known.
const REQUEST_ID_SEEN: &str = "E62";
/// The signature is false, or the message is no DUIS message. A guess as well.
const NOT_AUTHENTIC: &str = "E100";
/// Spoken where the request's own version could not be read.
const SCHEMA_VERSION: &str = "3.1";
/// A RequestID has at most 68 characters; beyond this no claim is looked for.
const CLAIM_WITHIN_BYTES: usize = 4_096;

/// The three addresses of the contract; which one a request goes to follows from its command variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `/api/v1/serviceD`: Non-Device.
    NonDevice,
    /// `/api/v1/serviceS`: Send Command.
    SendCommand,
    /// `/api/v1/serviceT`: Transform.
    Transform,
}

impl Service {
    pub fn at(path: &str) -> Option<Service> {
        match path {
            "/api/v1/serviceD" => Some(Service::NonDevice),
            "/api/v1/serviceS" => Some(Service::SendCommand),
            "/api/v1/serviceT" => Some(Service::Transform),
            _ => None,
        }
    }

    /// Where a request of this kind belongs (domain.md, pipeline 3).
    fn of(service_reference_variant: &str) -> Option<Service> {
        match service_reference_variant {
            "8.2" | "11.1" | "11.4" => Some(Service::NonDevice),
            "11.2" => Some(Service::SendCommand),
            "11.3" => Some(Service::Transform),
            _ => None,
        }
    }

    fn command_variant(self) -> u8 {
        match self {
            Service::NonDevice => 8,
            Service::SendCommand => 1,
            Service::Transform => 4,
        }
    }
}

/// The RequestID a message claims, before anything is verified: to choose the user's certificates, and to answer.
pub fn claimed_request_id(bytes: &[u8]) -> Option<RequestId> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CLAIM_WITHIN_BYTES)]);
    let (_, rest) = head.split_once("RequestID>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}

/// Decides on one request and gives the answer. A request that is accepted is in the world when this returns.
pub fn answer(shared: &Shared, service: Service, bytes: &[u8]) -> Response {
    let claimed = claimed_request_id(bytes);
    let read = match claimed.and_then(|id| shared.users.get(&id.originator)) {
        Some(certificates) => read_request(bytes, certificates, shared.clock.now()),
        None => Err(SignatureError::UnknownCertificate { issuer: String::new(), serial: String::new() }),
    };
    let now = shared.now();
    let mut state = shared.lock();
    let (id, code, request) = match read {
        Ok(request) if Some(request.id) == claimed => {
            state.requests.verified += 1;
            (claimed, decide(shared, &mut state, service, &request, now), Some(request))
        }
        Err(SignatureError::UnknownCertificate { .. }) => (claimed, USER_NOT_VALID, None),
        Ok(_) | Err(_) => (claimed, NOT_AUTHENTIC, None),
    };
    if code == ACCEPTED {
        state.requests.accepted += 1;
    } else {
        *state.requests.refused.entry(code.to_string()).or_default() += 1;
    }
    drop(state);
    let text = |of: fn(&Request) -> &String, or: &str| request.as_ref().map_or(or.to_string(), |r| of(r).clone());
    Response {
        schema_version: text(|r| &r.schema_version, SCHEMA_VERSION),
        request_id: id,
        response_id: None,
        code: code.to_string(),
        at: shared.time(now),
        body: Body::Message {
            service_reference: text(|r| &r.service_reference, "11.1"),
            service_reference_variant: text(|r| &r.service_reference_variant, "11.1"),
            content: Content::None,
        },
    }
}

pub fn is_refusal(response: &Response) -> bool {
    response.code.starts_with('E')
}

fn decide(shared: &Shared, state: &mut State, service: Service, request: &Request, now: u64) -> &'static str {
    if state.world.has_seen(&request.id) {
        return REQUEST_ID_SEEN;
    }
    match Service::of(&request.service_reference_variant) {
        None => return NOT_PERMITTED,
        Some(right) if right != service => return WRONG_SERVICE,
        Some(right) if right.command_variant() != request.command_variant => return COMMAND_VARIANT_WRONG,
        Some(_) => {}
    }
    let RequestBody::UpdateFirmware(FirmwareUpdate { firmware_version, devices, .. }) = &request.body else {
        return NOT_PERMITTED;
    };
    if request.id.target != shared.dcc_id {
        return TARGET_UNKNOWN;
    }
    let accepted = AcceptedRequest {
        id: request.id,
        schema_version: request.schema_version.clone(),
        firmware_version: firmware_version.clone(),
        warning: UpdateFirmwareWarning::default(),
    };
    state.world.accept(accepted, request.body_digest, devices, now + u64::from(shared.delays.acknowledge_ms));
    ACCEPTED
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
