//! The story of an image: signed, added, asked about before every batch, revoked; and everything hostile on the way in.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use ed25519_dalek::SigningKey;

use super::{
    ota::OtaSpec,
    trust::{Rejection, TrustPolicy, TrustedKey, Wanting},
    *,
};
use crate::{clock::Time, db::testing, failure::Failure};

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

fn now() -> Time {
    at("2026-06-01T12:00:00Z")
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn trusted(seed: u8, role: Role) -> TrustedKey {
    let public_key = key(seed).verifying_key();
    let keyid = KeyId::of(&public_key);
    TrustedKey { keyid, public_key, role, not_before: None, not_after: None, revoked_at: None }
}

fn policy(threshold: usize, roles: &[Role], keys: Vec<TrustedKey>) -> TrustPolicy {
    let effective_from = "2020-11-24".parse().unwrap();
    TrustPolicy { version: 1, effective_from, threshold, required_roles: roles.iter().copied().collect(), keys }
}

/// Key 1 is the manufacturer's, key 2 the release manager's; one signature of the manufacturer's is enough.
fn trust() -> Trust {
    let keys = vec![trusted(1, Role::Manufacturer), trusted(2, Role::Release)];
    Trust::policy(policy(1, &[Role::Manufacturer], keys))
}

const SPEC: OtaSpec<'_> =
    OtaSpec { manufacturer_code: 0x121D, image_type: 0x84, file_version: 1, text: "", hardware: Some((0x1111, 0x1211)) };

fn image() -> Vec<u8> {
    ota::build(&SPEC, b"firmware of a display")
}

fn manifest_of(file: &[u8]) -> Manifest {
    Manifest {
        image_sha256: sha256(file),
        image_size: file.len() as u64,
        manufacturer_image_sha256: sha256(&file[60..]),
        ..manifest::tests::example()
    }
}

fn signed(manifest: &Manifest, seeds: &[u8]) -> Vec<u8> {
    let mut envelope = Envelope::new(manifest.to_json().into_bytes());
    seeds.iter().for_each(|seed| envelope.sign(&key(*seed)));
    envelope.to_json().into_bytes()
}

/// A firmware store beside a database on one engine.
struct Lab {
    t: testing::TestDb,
    vault: SharedVault,
    folder: PathBuf,
    _dir: tempfile::TempDir,
}

impl Lab {
    async fn all() -> Vec<Lab> {
        let new = |t| {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("firmware-store");
            Lab { t, vault: FolderVault::shared(&folder), folder, _dir: dir }
        };
        testing::databases().await.into_iter().map(new).collect()
    }

    async fn add(&self, trust: &Trust, file: &[u8], envelope: &[u8]) -> Result<ImageId, Failure> {
        Ok(add_image(&self.t.db, &self.vault, trust, file.to_vec(), envelope, now(), "ann@host").await?)
    }

    async fn check(&self, trust: &Trust, id: ImageId, now: Time) -> Result<CheckedImage, ImageRefusal> {
        check_stored(&mut self.t.db.read().await.unwrap(), trust, id, now).await.unwrap()
    }

    async fn rows(&self) -> Vec<StoredImage> {
        store::list(&mut self.t.db.read().await.unwrap()).await.unwrap()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.folder).map_or(0, Iterator::count)
    }

    /// Expects exit 4, a message with `wanted`, and nothing stored.
    async fn refuses(&self, trust: &Trust, file: &[u8], envelope: &[u8], wanted: &str) {
        let failure = self.add(trust, file, envelope).await.unwrap_err();
        assert!(failure.message.contains(wanted), "{}\nwanted: {wanted}", failure.message);
        assert_eq!(failure.exit.code(), 4, "{failure}");
        assert!(!failure.help.is_empty(), "{failure}");
        assert!(!self.folder.exists(), "nothing in the store's folder");
        assert!(self.rows().await.is_empty());
    }
}

#[tokio::test]
async fn an_image_is_added_once_checked_before_each_batch_and_revoked() {
    for lab in Lab::all().await {
        let (file, envelope) = (image(), signed(&manifest_of(&image()), &[1]));
        let id = lab.add(&trust(), &file, &envelope).await.unwrap();
        assert_eq!(id, sha256(&file));
        assert_eq!(lab.add(&trust(), &file, &envelope).await.unwrap(), id, "the same again gives the same id");
        assert_eq!((lab.rows().await.len(), lab.files()), (1, 1));
        assert_eq!(lab.rows().await[0].envelope_text.as_bytes(), envelope);
        assert_eq!(fetch_bytes(&lab.vault, id).await.unwrap(), file);

        let checked = lab.check(&trust(), id, now()).await.unwrap();
        assert_eq!(checked.trusted_by.keys[0].role, Role::Manufacturer);
        assert!(verify_image(&lab.vault, &trust(), &checked.image, now()).await.ok);
        assert!(matches!(lab.check(&trust(), ImageId([0; 32]), now()).await, Err(ImageRefusal::NotStored { .. })));
        let late = lab.check(&trust(), id, at("2027-01-01T00:00:00Z")).await.unwrap_err();
        assert!(matches!(late, ImageRefusal::Check { why: CheckError::Expired { .. }, .. }));
        assert!(lab.check(&trust(), id, at("2026-12-31T23:59:59.999Z")).await.is_ok());
        assert_eq!(Failure::from(late).exit.code(), 3, "a campaign is refused");

        let revoked = TrustedKey { revoked_at: Some(now()), ..trusted(1, Role::Manufacturer) };
        let today = Trust::policy(policy(1, &[Role::Manufacturer], vec![revoked]));
        let refusal = lab.check(&today, id, now()).await.unwrap_err().to_string();
        assert!(refusal.contains("it was revoked at 2026-06-01T12:00:00Z"), "{refusal}");

        revoke_image(&lab.t.db, id, now(), "ann@host", "bricks displays").await.unwrap();
        revoke_image(&lab.t.db, id, now(), "bob@host", "again").await.unwrap();
        assert!(matches!(lab.check(&trust(), id, now()).await, Err(ImageRefusal::Revoked { .. })));
        assert_eq!(lab.add(&trust(), &file, &envelope).await.unwrap_err().exit.code(), 1, "stays revoked");
        assert!(revoke_image(&lab.t.db, ImageId([0; 32]), now(), "ann@host", "none").await.is_err());
        lab.t.db.close().await;
    }
}

#[tokio::test]
async fn whatever_is_wrong_nothing_is_stored() {
    for lab in Lab::all().await {
        let (file, good) = (image(), manifest_of(&image()));
        let envelope = signed(&good, &[1]);
        // the envelope
        lab.refuses(&trust(), &file, b"", "not a DSSE envelope").await;
        lab.refuses(&trust(), &file, &envelope[..envelope.len() / 2], "not a DSSE envelope").await;
        let text = String::from_utf8(envelope.clone()).unwrap();
        lab.refuses(&trust(), &file, text.replace("vnd.ppmid", "vnd.other").as_bytes(), "payloadType").await;
        // who signed
        lab.refuses(&Trust::nothing(), &file, &envelope, "no policies/trust.toml").await;
        lab.refuses(&trust(), &file, &signed(&good, &[]), "0 of the 1").await;
        lab.refuses(&trust(), &file, &signed(&good, &[9]), "trust.toml has no such key").await;
        lab.refuses(&trust(), &file, &signed(&good, &[2]), "no valid key of the role manufacturer").await;
        let altered = Manifest { upgrade_from: UpgradePaths::Any, ..good.clone() };
        let mut tampered = Envelope::from_json(&envelope).unwrap();
        tampered.payload = altered.to_json().into_bytes();
        lab.refuses(&trust(), &file, tampered.to_json().as_bytes(), "its signature is wrong").await;
        // signed by the right key, but not a manifest
        let mut other = Envelope::new(good.to_json().replace("PPMID", "ESME").into_bytes());
        other.sign(&key(1));
        lab.refuses(&trust(), &file, other.to_json().as_bytes(), "ESME").await;
        // when
        let early = Manifest { released_at: at("2026-06-01T12:00:00.001Z"), ..good.clone() };
        lab.refuses(&trust(), &file, &signed(&early, &[1]), "not released before").await;
        let late = Manifest { expires_at: now(), ..good.clone() };
        lab.refuses(&trust(), &file, &signed(&late, &[1]), "expired at 2026-06-01T12:00:00Z").await;
        // the file
        lab.refuses(&trust(), &file[..40], &envelope, "another image").await;
        let mut flipped = file.clone();
        flipped[70] ^= 1;
        lab.refuses(&trust(), &flipped, &envelope, "names SHA-256").await;
        lab.refuses(&trust(), &vec![0; ota::MAX_IMAGE_BYTES as usize + 1], &envelope, "at most 10240000").await;
        // signed by the right key, but not an image
        for wrong in [&file[..50], &file[..70], b"PK\x03\x04 not an image at all", b""] {
            let manifest = Manifest { image_sha256: sha256(wrong), image_size: wrong.len() as u64, ..good.clone() };
            lab.refuses(&trust(), wrong, &signed(&manifest, &[1]), "Zigbee OTA").await;
        }
        for (min, max) in [(0x1110, 0x1211), (0x1111, 0x1212), (0x0000, 0x0001)] {
            let wider = Manifest { hardware_min: min, hardware_max: max, ..good.clone() };
            lab.refuses(&trust(), &file, &signed(&wider, &[1]), "hardware versions").await;
        }
        let wrong = Manifest { manufacturer_image_sha256: sha256(b"other"), ..good.clone() };
        lab.refuses(&trust(), &file, &signed(&wrong, &[1]), "names manufacturer image").await;
        lab.t.db.close().await;
    }
}

#[test]
fn each_key_counts_once_while_it_is_valid_and_each_role_must_be_there() {
    let envelope = Envelope::from_json(&signed(&manifest_of(&image()), &[1, 2, 9])).unwrap();
    let both = [Role::Manufacturer, Role::Release];
    let two = |keys| Trust::policy(policy(2, &both, keys));
    let keys = || vec![trusted(1, Role::Manufacturer), trusted(2, Role::Release)];
    let by = two(keys()).check(&envelope, now()).unwrap();
    assert_eq!((by.keys.len(), by.rejected.len(), by.rejected[0].why), (2, 1, Rejection::UnknownKey));

    // one key signing twice is one key, though its second signature came first in another spelling
    let mut twice = Envelope::from_json(&signed(&manifest_of(&image()), &[1])).unwrap();
    let mut again = twice.signatures[0].clone();
    again.keyid = again.keyid.to_uppercase();
    twice.signatures.push(again);
    let e = two(keys()).check(&twice, now()).unwrap_err();
    assert_eq!(e.wanting, Wanting::Threshold { valid: 1, threshold: 2 });
    assert_eq!(e.rejected[0].why, Rejection::Repeated);

    // a wrong signature of a key does not spoil its right one
    twice.signatures[0].sig = "AAAA".into();
    assert_eq!(trust().check(&twice, now()).unwrap().keys.len(), 1);

    let with = |change: &dyn Fn(&mut TrustedKey)| {
        let mut keys = keys();
        change(&mut keys[1]);
        two(keys).check(&envelope, now())
    };
    let just_after = Time(now().0 + 1);
    assert!(with(&|k| k.not_before = Some(now())).is_ok());
    assert!(with(&|k| k.not_before = Some(just_after)).unwrap_err().to_string().contains("not valid before"));
    assert!(with(&|k| k.not_after = Some(just_after)).is_ok());
    assert!(with(&|k| k.not_after = Some(now())).unwrap_err().to_string().contains("not valid since"));
    assert!(with(&|k| k.revoked_at = Some(just_after)).is_ok());
    assert!(with(&|k| k.revoked_at = Some(now())).unwrap_err().to_string().contains("revoked at"));
    assert_eq!(with(&|k| k.role = Role::Manufacturer).unwrap_err().wanting, Wanting::Role(Role::Release));

    let later = TrustPolicy { effective_from: "2026-06-02".parse().unwrap(), ..policy(1, &[], keys()) };
    assert!(matches!(Trust::policy(later).check(&envelope, now()).unwrap_err().wanting, Wanting::InForce { .. }));
}

#[tokio::test]
async fn signatures_may_join_a_stored_manifest_but_no_other_manifest_replaces_it() {
    for lab in Lab::all().await {
        let (file, good) = (image(), manifest_of(&image()));
        let id = lab.add(&trust(), &file, &signed(&good, &[1])).await.unwrap();
        let other = Manifest { upgrade_from: UpgradePaths::Any, ..good.clone() };
        let failure = lab.add(&trust(), &file, &signed(&other, &[1])).await.unwrap_err();
        assert_eq!((failure.exit.code(), failure.message.contains("another manifest")), (1, true), "{failure}");

        let keys = vec![trusted(1, Role::Manufacturer), trusted(2, Role::Release)];
        let stricter = Trust::policy(policy(2, &[Role::Release], keys));
        assert!(lab.check(&stricter, id, now()).await.is_err());
        assert_eq!(lab.add(&stricter, &file, &signed(&good, &[2, 1])).await.unwrap(), id);
        assert_eq!(lab.check(&stricter, id, now()).await.unwrap().trusted_by.keys.len(), 2);
        assert_eq!(lab.rows().await.len(), 1);
        lab.t.db.close().await;
    }
}

#[tokio::test]
async fn verify_names_each_check_that_fails() {
    for lab in Lab::all().await {
        let file = image();
        let id = lab.add(&trust(), &file, &signed(&manifest_of(&file), &[1])).await.unwrap();
        let stored = lab.rows().await.remove(0);
        let failed = |report: VerifyReport| report.checks.into_iter().filter(|c| !c.ok).map(|c| c.check).collect::<Vec<_>>();

        std::fs::write(lab.folder.join(id.to_string()), b"changed").unwrap();
        assert_eq!(failed(verify_image(&lab.vault, &trust(), &stored, now()).await), ["bytes"]);
        std::fs::remove_file(lab.folder.join(id.to_string())).unwrap();
        assert_eq!(failed(verify_image(&lab.vault, &trust(), &stored, now()).await), ["bytes"]);
        lab.add(&trust(), &file, &signed(&manifest_of(&file), &[1])).await.unwrap();
        assert!(verify_image(&lab.vault, &trust(), &stored, now()).await.ok, "adding it again mends the store");
        let late = at("2028-01-01T00:00:00Z");
        assert_eq!(failed(verify_image(&lab.vault, &Trust::nothing(), &stored, late).await), ["signatures", "dates"]);
        lab.t.db.close().await;
    }
}

/// The image inside a sample of the industry's own test data.
fn real_image() -> Option<Vec<u8>> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = std::env::var_os("PPMID_SHARED").map_or(default, PathBuf::from);
    let sample = shared.join("duis/samples/template-11.4-update-ppmid-firmware.xml");
    let Ok(xml) = std::fs::read_to_string(&sample) else {
        assert!(std::env::var_os(testing::REQUIRE_ENV).is_none(), "{} is not there", sample.display());
        eprintln!("SKIPPED: {} is not there (set PPMID_SHARED)", sample.display());
        return None;
    };
    let text = xml.split("FirmwareImage>").nth(1).unwrap().split('<').next().unwrap();
    let text: String = text.split_whitespace().collect();
    Some(base64::engine::general_purpose::STANDARD.decode(text).unwrap())
}

#[tokio::test]
async fn the_real_image_of_the_samples_is_read_signed_added_and_read_back() {
    let Some(file) = real_image() else { return };
    assert_eq!(file.len(), 295);
    let read = ota::parse(&file).unwrap();
    let header = &read.header;
    assert_eq!((header.header_length, header.manufacturer_code, header.image_type), (60, 0x121D, 0x0084));
    assert_eq!((header.file_version, header.total_size), (0xACDC_ACDC, 295));
    assert_eq!(header.hardware, Some((0x1111, 0x1211)));
    assert_eq!(read.manufacturer_image.len(), 235);
    for lab in Lab::all().await {
        let id = lab.add(&trust(), &file, &signed(&manifest_of(&file), &[1])).await.unwrap();
        let back = fetch_bytes(&lab.vault, id).await.unwrap();
        assert_eq!(ota::parse(&back).unwrap(), read);
        for cut in [0, 1, 59, 60, 294] {
            let envelope = signed(&manifest_of(&file), &[1]);
            assert_eq!(lab.add(&trust(), &file[..cut], &envelope).await.unwrap_err().exit.code(), 4);
        }
        assert_eq!(lab.files(), 1);
        lab.t.db.close().await;
    }
}
