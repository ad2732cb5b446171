//! 11.4: which devices it is for, and the image's way to them.

use super::*;
use crate::duis::FirmwareTransferResult;

/// The kinds of message about each device, in order of arrival.
fn by_device(deliveries: &[Response]) -> BTreeMap<DeviceId, Vec<String>> {
    let mut said: BTreeMap<DeviceId, Vec<String>> = BTreeMap::new();
    for response in deliveries {
        let Body::Alert { alert, .. } = &response.body else { continue };
        match alert {
            Alert::CspFirmwareDeliveryStatus { device, success, .. } => {
                said.entry(*device).or_default().push(format!("delivered {success}"));
            }
            Alert::FirmwareTransfer { device, result, .. } => said.entry(*device).or_default().push(result.to_string()),
            Alert::PpmidFirmwareUpgrade { device, success, .. } => {
                said.entry(*device).or_default().push(format!("activated {success}"));
            }
            Alert::FirmwareDistributionFailure { devices, .. } => {
                devices.iter().for_each(|d| said.entry(*d).or_default().push("not distributed".into()));
            }
            other => panic!("not expected: {other:?}"),
        }
    }
    said
}

#[tokio::test]
async fn each_generation_takes_its_own_request() {
    let second = format!("[population.smets2]\ndevices = [\"{}\", \"{}\"]\n", device(2), device(3));
    let conditions = vec![(device(1), Condition::Ready), (device(2), Condition::Ready), (device(3), Condition::NotCommissioned)];
    let lab = Lab::new(&second, conditions).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdateFirmware(firmware(&devices(3)))).await.code, "I99");
    let first = lab.deliveries().await;
    assert_eq!(lab.ask(2, DCC, Asks::UpdatePpmidFirmware(firmware(&devices(3)))).await.code, "I99");
    let second = lab.deliveries().await;
    for (said, code, kind, wrong) in [
        (&first, "W110101", "DSPUpdateFirmwareWarning", device(2)),
        (&second, "W110401", "DSPUpdatePPMIDFirmwareWarning", device(1)),
    ] {
        let warning = said.iter().find(|r| r.code == code).unwrap();
        assert_eq!(warning.kind(), kind);
        let Body::Message { content: Content::UpdateFirmwareWarning(lists), .. } = &warning.body else { panic!("{warning:?}") };
        assert_eq!((&lists.not_applicable_firmware, &lists.not_commissioned), (&vec![wrong], &vec![device(3)]));
    }
    let story = &by_device(&second)[&device(2)];
    assert_eq!(story, &["delivered true", "FileTransferSuccess", "activated true"]);
    assert_eq!(lab.simulator.outcome(device(2)), Some(Outcome::Activated));
}

#[tokio::test]
async fn an_image_may_be_lost_at_every_stage() {
    let scenario = "seed = 5\n[population]\nsmets2 = { share = \"100%\" }\nactivation_fails = { share = \"20%\" }\nsilent = { share = \"20%\" }\n\
                    [smets2]\ndistribution_fails = \"20%\"\ndelivery_status = \"80%\"\ndelivery_fails = \"20%\"\n\
                    transfer_alert = \"80%\"\ntransfer_fails = \"30%\"\n";
    let lab = Lab::new(scenario, vec![]).await;
    assert_eq!(lab.ask(1, DCC, Asks::UpdatePpmidFirmware(firmware(&devices(300)))).await.code, "I99");
    let deliveries = lab.deliveries().await;
    assert_eq!(deliveries.iter().filter(|r| r.kind() == "FirmwareDistributionFailure").count(), 1);
    let said = by_device(&deliveries);
    let count = |word: &str| said.values().filter(|story| story.iter().any(|s| s == word)).count();
    for word in
        ["not distributed", "delivered true", "delivered false", "FileTransferSuccess", "activated true", "activated false"]
    {
        assert!(count(word) > 10, "{word}: {}", count(word));
    }
    use FirmwareTransferResult as R;
    for result in [R::FirmwareImageDiscarded, R::HardwareVersionMismatch, R::FileTransferFailure] {
        assert!(count(result.as_str()) > 5, "{result}");
    }
    let ends = ["not distributed", "delivered false", "FirmwareImageDiscarded", "HardwareVersionMismatch", "FileTransferFailure"];
    for (device, story) in &said {
        assert!(story.iter().rev().skip(1).all(|s| !ends.contains(&s.as_str())), "{device}: {story:?}");
        let failed = story.iter().any(|s| ends.contains(&s.as_str()) || s == "activated false");
        let outcome = lab.simulator.outcome(*device).unwrap();
        assert_eq!(outcome == Outcome::Failed, failed, "{device}: {story:?} {outcome:?}");
    }
    let outcomes = lab.simulator.stats().outcomes;
    assert_eq!(outcomes.values().sum::<usize>(), 300);
    assert!(outcomes[&Outcome::Silent] > 5 && outcomes[&Outcome::Activated] > 20, "{outcomes:?}");
}
