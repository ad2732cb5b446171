//! The refusals of a whole campaign, their order and what they say.

use super::*;

struct Asked {
    role: &'static str,
    duis_version: &'static str,
    trusted: Result<(), &'static str>,
    cpl: Vec<CplEntry>,
}

fn asked() -> Asked {
    Asked { role: "IS", duis_version: "3.1", trusted: Ok(()), cpl: vec![cpl_entry("CPL-1", 0x1111, "*")] }
}

impl Asked {
    fn refusal(&self) -> Option<Refusal> {
        let image = image();
        let image = self.trusted.map(|()| &image);
        campaign_refusal(&compiled(), self.role, self.duis_version, image, &self.cpl)
    }
}

#[test]
fn nothing_against_it_is_no_refusal() {
    assert_eq!(asked().refusal(), None);
}

#[test]
fn they_are_asked_in_the_contracts_order() {
    let mut all = Asked { role: "GS", duis_version: "2.0", trusted: Err("revoked"), cpl: Vec::new() };
    let code = |a: &Asked| a.refusal().map(|r| r.code.as_str());
    assert_eq!(code(&all), Some("ROLE_NOT_PERMITTED"));
    all.role = "IS";
    assert_eq!(code(&all), Some("DUIS_VERSION_UNSUPPORTED"));
    all.duis_version = "5.4";
    assert_eq!(code(&all), Some("IMAGE_NOT_TRUSTED"));
    all.trusted = Ok(());
    assert_eq!(code(&all), Some("IMAGE_NOT_ON_CPL"));
    all.cpl = vec![CplEntry { status: CplStatus::Withdrawn, ..cpl_entry("CPL-1", 0x1111, "*") }];
    assert_eq!(code(&all), Some("CPL_NOT_ACTIVE"));
    all.cpl.push(cpl_entry("CPL-2", 0x9999, "N/A"));
    assert_eq!(code(&all), None);
}

#[test]
fn an_entry_of_another_product_version_or_image_is_none() {
    let with = |change: fn(&mut CplEntry)| {
        let mut asked = asked();
        change(&mut asked.cpl[0]);
        asked.refusal().map(|r| r.code)
    };
    let refused = Some(RefusalCode::ImageNotOnCpl);
    assert_eq!(with(|e| e.manufacturer = "106c".to_string()), refused);
    assert_eq!(with(|e| e.model = "GEO".to_string()), refused);
    assert_eq!(with(|e| e.firmware_version = "2".to_string()), refused);
    assert_eq!(with(|e| e.manufacturer_image_hash = OTHER_HASH), refused);
    assert_eq!(with(|e| e.hardware_version = 0x9999), None, "hardware is a matter of each site");
    assert_eq!(with(|e| e.model = "433100AD".to_string()), None, "one of its models is enough");
}

#[test]
fn what_they_say() {
    let cpl = |change: fn(&mut CplEntry)| {
        let mut asked = asked();
        change(&mut asked.cpl[0]);
        asked
    };
    let all = [
        Asked { role: "GS", ..asked() },
        Asked { role: "ED", ..asked() },
        Asked { duis_version: "2.0", ..asked() },
        Asked { trusted: Err("it was revoked at 2021-01-02T00:00:00Z by r.poole: bricks displays"), ..asked() },
        Asked { cpl: Vec::new(), ..asked() },
        cpl(|e| e.manufacturer_image_hash = OTHER_HASH),
        cpl(|e| e.firmware_version = "2".to_string()),
        cpl(|e| e.manufacturer = "106D".to_string()),
        cpl(|e| e.status = CplStatus::Withdrawn),
    ];
    let told = all.iter().map(|asked| {
        let failure = crate::failure::Failure::from(asked.refusal().unwrap());
        assert_eq!(failure.exit.code(), 3);
        format!("error: {failure}\n{}\n", failure.help.iter().map(|h| format!("help: {h}\n")).collect::<String>())
    });
    insta::assert_snapshot!(told.collect::<String>());
}
