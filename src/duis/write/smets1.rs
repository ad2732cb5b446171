//! Writes what SMETS1 service providers sign: documents of their own, inside DCC's message.

use crate::duis::{Alert, RA, Signer, Smets1Content, Smets1Response, seal::Writer};

/// What surrounds the little that such a document says.
const FRAME_BYTES: usize = 2_048;

/// The content of an `S1SPAlertDSP`.
pub(super) fn s1sp_alert(w: &mut Writer, alert: &Alert, schema_version: &str, signer: &dyn Signer) {
    let Alert::S1spAlert { request_id, device, code, information, at } = alert else {
        unreachable!("called for S1SP alerts only");
    };
    let mut document = Writer::new("S1SPAlert", schema_version, FRAME_BYTES);
    document.leaf_if("RequestID", *request_id);
    document.leaf_if("DeviceID", *device);
    document.leaf("S1SPAlertCode", code);
    document.leaf_if("AdditionalInformation", information.as_ref());
    document.leaf("DateTime", at);
    w.embed(document, signer);
}

/// The content of a `SMETS1ResponseMessage`.
pub(super) fn smets1_response(w: &mut Writer, response: &Smets1Response, schema_version: &str, signer: &dyn Signer) {
    w.leaf_if("ServiceReference", response.service_reference.as_ref());
    w.leaf_if("ServiceReferenceVariant", response.service_reference_variant.as_ref());
    w.leaf_if("ThrottledAlertSequenceId", response.throttled.sequence_id);
    w.leaf_if("ThrottledAlertCount", response.throttled.count);
    let mut document = Writer::with_namespaces("SMETS1SignedResponse", &[("ra", RA)], schema_version, FRAME_BYTES);
    document.element("SMETS1Response", |w| {
        w.element("Header", |w| {
            for (name, text) in [
                ("BusinessOriginatorID", response.device.to_string()),
                ("BusinessTargetID", response.target.to_string()),
                ("OriginatorCounter", response.counter.to_string()),
            ] {
                w.element_of("ra", name, None, |w| w.text(&text));
            }
        });
        w.element("Body", |w| match &response.content {
            Smets1Content::FirmwareVersion { success, firmware_version } => {
                w.element("ResponseMessage", |w| {
                    w.element_of("ra", "SMETSData", None, |w| {
                        let success = success.map(|yes| ("MessageSuccess", if yes { "true" } else { "false" }));
                        w.element_of("ra", "ReadFirmwareVersionRsp", success, |w| {
                            if let Some(version) = firmware_version {
                                w.element_of("ra", "FirmwareVersion", None, |w| w.text(version));
                            }
                        });
                    });
                });
            }
            Smets1Content::Other(unknown) => w.kept(unknown),
        });
    });
    w.embed(document, signer);
}
