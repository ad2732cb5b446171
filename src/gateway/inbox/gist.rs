//! What settling needs of a frequent message, in a few bytes beside its own: all that was read of it when it was verified, so that it is neither
//! unpacked nor parsed again. Facts of the message alone, never what a policy makes of them. Pure. Promise: what [`read`] gives is
//! exactly what was read when the message came; a message of which that is not so has no gist, and is read from its bytes.

use crate::{
    clock::Time,
    duis::{Alert, Body, Response, Smets1FirmwareStatus, Throttled},
    ids::{Eui, RequestId},
};

/// The first byte: nearly every message is of this kind, and no other has a gist so far. A form that was released keeps its number.
const SMETS1_FIRMWARE_NOTIFICATION: u8 = 1;

/// Which of the parts that may be absent are there, and which of two values an alert has.
const HAS_REQUEST: u8 = 1;
const HAS_RESPONSE: u8 = 2;
const HAS_SEQUENCE: u8 = 4;
const HAS_COUNT: u8 = 8;
const IS_ACTIVATED: u8 = 16;
const KNOWN: u8 = HAS_REQUEST | HAS_RESPONSE | HAS_SEQUENCE | HAS_COUNT | IS_ACTIVATED;

/// The gist of a message that came at this moment; `None`: it is read from its bytes.
pub fn of(response: &Response, received_at: Time) -> Option<Vec<u8>> {
    let gist = written(response, received_at)?;
    // Whoever reads it gets what was read of the message, or there is none.
    read(&gist).is_some_and(|(at, read)| at == received_at && read == *response).then_some(gist)
}

fn written(response: &Response, received_at: Time) -> Option<Vec<u8>> {
    let Body::Alert { alert_code, throttled, alert, unknown } = &response.body else { return None };
    let Alert::Smets1FirmwareNotification { device, firmware_version, status } = alert else { return None };
    if !unknown.is_empty() {
        return None;
    }
    let mut gist = Vec::with_capacity(96);
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    gist.push(SMETS1_FIRMWARE_NOTIFICATION);
    gist.push(
        flag(response.request_id.is_some(), HAS_REQUEST)
            | flag(response.response_id.is_some(), HAS_RESPONSE)
            | flag(throttled.sequence_id.is_some(), HAS_SEQUENCE)
            | flag(throttled.count.is_some(), HAS_COUNT)
            | flag(*status == Smets1FirmwareStatus::ActivationSuccessful, IS_ACTIVATED),
    );
    gist.extend(received_at.0.to_be_bytes());
    gist.extend(response.at.0.to_be_bytes());
    gist.extend(device.0.to_be_bytes());
    for id in [response.request_id, response.response_id].into_iter().flatten() {
        [id.originator.0, id.target.0, id.counter].iter().for_each(|part| gist.extend(part.to_be_bytes()));
    }
    [throttled.sequence_id, throttled.count].into_iter().flatten().for_each(|n| gist.extend(n.to_be_bytes()));
    for text in [&response.schema_version, &response.code, alert_code, firmware_version] {
        gist.push(u8::try_from(text.len()).ok()?);
        gist.extend(text.as_bytes());
    }
    Some(gist)
}

/// When the message came, and what was read of it; `None`: the gist is damaged, or of a form that this program does not know.
pub fn read(gist: &[u8]) -> Option<(Time, Response)> {
    let mut rest = Rest(gist);
    if rest.byte()? != SMETS1_FIRMWARE_NOTIFICATION {
        return None;
    }
    let flags = rest.byte().filter(|flags| flags & !KNOWN == 0)?;
    let has = |flag: u8| flags & flag != 0;
    let received_at = Time(i64::from_be_bytes(rest.array()?));
    let at = Time(i64::from_be_bytes(rest.array()?));
    let device = rest.eui()?;
    let request_id = if has(HAS_REQUEST) { Some(rest.id()?) } else { None };
    let response_id = if has(HAS_RESPONSE) { Some(rest.id()?) } else { None };
    let sequence_id = if has(HAS_SEQUENCE) { Some(u32::from_be_bytes(rest.array()?)) } else { None };
    let count = if has(HAS_COUNT) { Some(u32::from_be_bytes(rest.array()?)) } else { None };
    let (schema_version, code, alert_code, firmware_version) = (rest.text()?, rest.text()?, rest.text()?, rest.text()?);
    let status = match has(IS_ACTIVATED) {
        true => Smets1FirmwareStatus::ActivationSuccessful,
        false => Smets1FirmwareStatus::UpdateRequested,
    };
    let alert = Alert::Smets1FirmwareNotification { device, firmware_version, status };
    let throttled = Throttled { sequence_id, count };
    let body = Body::Alert { alert_code, throttled, alert, unknown: Vec::new() };
    let response = Response { schema_version, request_id, response_id, code, at, body };
    rest.0.is_empty().then_some((received_at, response))
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn eui(&mut self) -> Option<Eui> {
        Some(Eui(u64::from_be_bytes(self.array()?)))
    }

    fn id(&mut self) -> Option<RequestId> {
        Some(RequestId { originator: self.eui()?, target: self.eui()?, counter: u64::from_be_bytes(self.array()?) })
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        duis::{random, read_kept_response, verify_and_read_response, write_response},
        gateway::testing::{alert, dcc_signer, id, now},
    };

    fn notification() -> impl Strategy<Value = Response> {
        let ids = (prop::option::of(random::request_id()), prop::option::of(random::request_id()));
        let throttled = (prop::option::of(any::<u32>()), prop::option::of(any::<u32>()));
        let texts = ("[0-9A-Za-z&<é]{1,8}", "[A-Z0-9]{2,5}", any::<bool>(), 0_i64..4_000_000_000);
        (ids, throttled, random::eui(), texts).prop_map(|((request_id, response_id), (sequence_id, count), device, texts)| {
            let (firmware_version, code, activated, seconds) = texts;
            let status = match activated {
                true => Smets1FirmwareStatus::ActivationSuccessful,
                false => Smets1FirmwareStatus::UpdateRequested,
            };
            let alert = Alert::Smets1FirmwareNotification { device, firmware_version, status };
            let throttled = Throttled { sequence_id, count };
            let body = Body::Alert { alert_code: "N57".into(), throttled, alert, unknown: Vec::new() };
            Response { schema_version: "3.1".into(), request_id, response_id, code, at: Time(seconds * 1_000), body }
        })
    }

    proptest! {
        #[test]
        fn a_gist_says_exactly_what_the_message_says(response in notification()) {
            let gist = of(&response, now()).expect("it is of the frequent kind");
            prop_assert_eq!(read(&gist), Some((now(), response)));
        }

        #[test]
        fn any_message_has_an_exact_gist_or_none(response in random::response()) {
            if let Some(gist) = of(&response, now()) {
                prop_assert_eq!(read(&gist), Some((now(), response)));
            }
        }

        #[test]
        fn no_bytes_are_misread(response in notification(), cut in 0..200_usize, bit in 0..1_600_usize) {
            let mut gist = of(&response, now()).unwrap();
            prop_assert_eq!(read(&gist[..cut.min(gist.len() - 1)]), None);
            let bit = bit % (gist.len() * 8);
            gist[bit / 8] ^= 1 << (bit % 8);
            if let Some(other) = read(&gist) {
                prop_assert_ne!(other, (now(), response));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Settling goes by the gist, or by the bytes: it hears the same.
        #[test]
        fn the_gist_and_the_bytes_are_one_message(response in notification()) {
            let (signer, pinned) = dcc_signer();
            let bytes = write_response(&response, &signer).unwrap().bytes;
            let (received, digest) = verify_and_read_response(&bytes, &pinned.current(), now()).unwrap();
            let gist = of(&received, now()).expect("it is of the frequent kind");
            prop_assert_eq!(read(&gist), Some((now(), read_kept_response(&bytes, digest).unwrap())));
        }
    }

    #[test]
    fn what_is_not_of_the_frequent_kind_or_too_long_has_none() {
        let mut long = alert(1);
        let Body::Alert { alert_code, .. } = &mut long.body else { panic!() };
        *alert_code = "x".repeat(256);
        assert_eq!(of(&long, now()), None);
        assert_eq!(of(&crate::gateway::testing::acknowledgement(1, "I0"), now()), None);
        assert!(of(&Response { request_id: Some(id(7)), ..alert(1) }, now()).unwrap().len() <= 110);
    }
}
