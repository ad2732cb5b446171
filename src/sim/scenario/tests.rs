//! A scenario is read as it is written, and a mistake in it is named.

use super::*;
use crate::sim::Share;

fn error(text: &str) -> String {
    Scenario::parse(text, "s.toml").unwrap_err().to_string()
}

#[test]
fn the_empty_scenario_has_no_faults() {
    let s = Scenario::parse("", "s.toml").unwrap();
    assert_eq!((s.population.default, s.faults.reply_lost, s.deliveries.lost), (Unlisted::Any, Share::NONE, Share::NONE));
}

#[test]
fn every_key_is_read() {
    let s = Scenario::parse(
        r#"
        seed = 7
        [population]
        default = "unknown"
        devices_file = "sites.csv"
        unknown = { share = "1%" }
        key_missing = { share = "0.3%", devices = ["00-db-12-34-56-78-90-a4"], good_on_rerun = "50%" }
        [delays]
        update_requested_ms = [1, 2]
        [faults]
        reply_lost = "5%"
        late_reply_ms = 10
        [deliveries]
        connections = 4
        duplicated = "10%"
        "#,
        "s.toml",
    )
    .unwrap();
    assert_eq!(s.seed, 7);
    assert_eq!(s.population.default, Unlisted::Unknown);
    assert!(s.population.key_missing.devices.contains(&DeviceId::from_db(0x00DB_1234_5678_90A4)));
    assert_eq!(s.population.key_missing.good_on_rerun, "50%".parse().unwrap());
    assert_eq!((s.delays.update_requested_ms, s.delays.warning_ms), ([1, 2], 50));
    assert_eq!((s.deliveries.connections, s.deliveries.duplicated), (4, "10%".parse().unwrap()));
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, wanted) in [
        ("seed = 1\n[faults]\nreply_loss = \"5%\"\n", "s.toml, line 3: unknown field `reply_loss`, expected one of"),
        ("[faults]\nreply_lost = 5\n", "s.toml, line 2: invalid type: integer `5`, expected a string"),
        ("[faults]\nreply_lost = \"5\"\n", "s.toml, line 2: \"5\" is not a share"),
        ("\n[population.unknown]\ndevices = [\"00-DB\"]\n", "s.toml, line 3: \"00-DB\" is not an EUI-64"),
        ("[population]\ndefault = \"none\"\n", "s.toml, line 2: unknown variant `none`"),
        ("[delays]\nactivated_ms = [10, 5]\n", "s.toml: delays.activated_ms is [10, 5]: the first number must not be"),
        ("[delays]\nwarning_ms = 4000000000\n", "s.toml: delays.warning_ms is 4000000000: at most 2592000000 (30 days)"),
        ("[deliveries]\nconnections = 0\n", "s.toml: deliveries.connections is 0: from 1 to 256"),
        ("seed = \n", "s.toml, line 1: "),
    ] {
        assert!(error(text).starts_with(wanted), "{}", error(text));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Scenario::parse(&text, "s.toml");
    }
}

#[test]
fn the_printed_scenario_is_the_default_and_its_examples_can_be_used() {
    let printed = Scenario::parse(EXAMPLE, "example.toml").unwrap();
    assert_eq!(format!("{printed:?}"), format!("{:?}", Scenario::default()), "what stands there is the default");
    // Every line that is an example, taken for one.
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with("[[") || rest.split_once(" = ").is_some_and(|(key, _)| key.chars().all(is_key)) => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let all = Scenario::parse(&uncommented, "example.toml").unwrap();
    assert!(all.users.len() == 1 && all.thresholds.len() == 1 && all.alerts.len() == 1 && all.registrations.device.len() == 1);
    assert!(all.population.devices_file.is_some() && all.registrations.file.is_some() && all.needs_version.len() == 1);
    assert_eq!((all.data_values.devices_at_most, all.data_values.image_bytes_at_most), (Some(50_000), Some(10_240_000)));
    fn is_key(c: char) -> bool {
        c.is_alphanumeric() || c == '_'
    }
}

#[test]
fn mistakes_of_the_newer_parts_are_named() {
    for (text, wanted) in [
        ("[answers]\ninventory = \"never\"\n", "s.toml, line 2: unknown variant `never`"),
        ("[answers]\nversions = [\"3.1\", \"x\"]\n", "s.toml, line 2: \"x\" is not a DUIS version"),
        ("[[users]]\nrole = \"IS\"\n", "s.toml, line 1: missing field `id`"),
        (
            "[[users]]\nid = \"90-B3-D5-1F-30-01-00-00\"\nrole = \"XX\"\n",
            "s.toml: users, entry 1: the role \"XX\" is not in [roles]",
        ),
        (
            "[[users]]\nid = \"90-B3-D5-1F-30-01-00-00\"\n[[users]]\nid = \"90-b3-d5-1f-30-01-00-00\"\n",
            "s.toml: users, entry 2: 90-B3-D5-1F-30-01-00-00 is listed twice",
        ),
        ("[roles]\nIS = [\"11.3\"]\n", "s.toml: roles.IS names \"11.3\": 8.2, 11.1, 11.2 and 11.4 are served"),
        ("[[thresholds]]\nrequest = \"9\"\nat_most = 1\nperiod_ms = 1\n", "s.toml: thresholds, entry 1: request is \"9\""),
        ("[needs_version]\nPPMID = \"5.0\"\n", "s.toml: needs_version.PPMID is no message of the simulator: they are "),
        ("[needs_version]\nPPMIDAlert = \"five\"\n", "s.toml: needs_version.PPMIDAlert is wrong: \"five\" is not a DUIS version"),
        ("[[alerts]]\nalert = \"PPMIDRemoval\"\n", "s.toml: alerts, entry 1: PPMIDRemoval needs device_id"),
        ("[registrations]\nfile = \"r.csv\"\n", "s.toml: registrations.file needs population.devices_file"),
        ("[[registrations.device]]\ndevice_id = \"x\"\n", "s.toml, line 2: \"x\" is not an EUI-64"),
    ] {
        assert!(error(text).starts_with(wanted), "{}", error(text));
    }
}
