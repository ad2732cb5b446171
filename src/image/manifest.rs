//! The manifest: what the signers say of an image (contract, Images). The payload of a DSSE envelope, as JSON.
//! Pure. Says nothing of who signed: that is `dsse` and `trust`. Promise: a `Manifest` is of the shape that the contract
//! gives, whichever way it came to be; fields it does not know are passed over, so that later ones can be added.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Time,
    ids::{IdError, Sha256Hash},
};

const SCHEMA: u64 = 1;
const DEVICE_TYPE: &str = "PPMID";
/// CPL manufacturers and models (domain.md: up to 30 characters, usually hexadecimal, not always).
const NAME_MAX_CHARS: usize = 30;
/// DUIS `FirmwareVersion`: 1 to 8 characters.
const VERSION_MAX_CHARS: usize = 8;
const ANY_VERSION: &str = "*";

/// Why a payload is not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest is not the JSON wanted: {0}")]
    Json(String),
    #[error("the manifest is of schema {0}; schema {SCHEMA} is known")]
    Schema(u64),
    #[error("the manifest is for a device of type {0:?}, not {DEVICE_TYPE}")]
    DeviceType(String),
    #[error("the manifest's {field} {found:?} is not {wanted}")]
    Field { field: &'static str, found: String, wanted: &'static str },
    #[error("the manifest's hardware_min {min:04X} is above its hardware_max {max:04X}")]
    HardwareRange { min: u16, max: u16 },
    #[error("the manifest expires at {expires_at}, not after it is released at {released_at}")]
    Times { released_at: Time, expires_at: Time },
}

/// Which earlier versions the image may be installed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradePaths {
    /// `"*"`
    Any,
    /// Exactly these strings; an empty list is none.
    Versions(Vec<String>),
}

/// What the signers say of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub manufacturer: String,
    /// At least one.
    pub models: Vec<String>,
    /// Both ends included.
    pub hardware_min: u16,
    pub hardware_max: u16,
    pub firmware_version: String,
    pub upgrade_from: UpgradePaths,
    pub image_sha256: Sha256Hash,
    /// In bytes.
    pub image_size: u64,
    /// Of the bytes after the OTA header: the hash on the Central Products List.
    pub manufacturer_image_sha256: Sha256Hash,
    /// Good from `released_at` until just before `expires_at`.
    pub released_at: Time,
    pub expires_at: Time,
}

/// The JSON as written, in the contract's order.
#[derive(Serialize, Deserialize)]
struct Written {
    schema: u64,
    device_type: String,
    manufacturer: String,
    models: Vec<String>,
    hardware_min: String,
    hardware_max: String,
    firmware_version: String,
    upgrade_from: WrittenPaths,
    image: WrittenImage,
    manufacturer_image_sha256: String,
    released_at: String,
    expires_at: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenImage {
    sha256: String,
    size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "upgrade_from: expected a list of firmware versions, or \"*\"")]
enum WrittenPaths {
    Versions(Vec<String>),
    Star(String),
}

/// What is read before the rest: a manifest of another schema may have any shape.
#[derive(Deserialize)]
struct Kind {
    schema: u64,
    device_type: String,
}

impl Manifest {
    pub fn from_json(payload: &[u8]) -> Result<Manifest, ManifestError> {
        let json = |e: serde_json::Error| ManifestError::Json(e.to_string());
        let kind: Kind = serde_json::from_slice(payload).map_err(json)?;
        if kind.schema != SCHEMA {
            return Err(ManifestError::Schema(kind.schema));
        }
        if kind.device_type != DEVICE_TYPE {
            return Err(ManifestError::DeviceType(clipped(&kind.device_type)));
        }
        let written: Written = serde_json::from_slice(payload).map_err(json)?;
        let upgrade_from = match written.upgrade_from {
            WrittenPaths::Star(star) if star == ANY_VERSION => UpgradePaths::Any,
            WrittenPaths::Star(found) => return Err(field("upgrade_from", &found, "a list of firmware versions, or \"*\"")),
            WrittenPaths::Versions(versions) => UpgradePaths::Versions(versions),
        };
        Manifest {
            manufacturer: written.manufacturer,
            models: written.models,
            hardware_min: hardware_version("hardware_min", &written.hardware_min)?,
            hardware_max: hardware_version("hardware_max", &written.hardware_max)?,
            firmware_version: written.firmware_version,
            upgrade_from,
            image_sha256: parsed("image.sha256", &written.image.sha256)?,
            image_size: written.image.size,
            manufacturer_image_sha256: parsed("manufacturer_image_sha256", &written.manufacturer_image_sha256)?,
            released_at: parsed("released_at", &written.released_at)?,
            expires_at: parsed("expires_at", &written.expires_at)?,
        }
        .checked()
    }

    /// The payload to sign: compact JSON, one line.
    pub fn to_json(&self) -> String {
        let written = Written {
            schema: SCHEMA,
            device_type: DEVICE_TYPE.to_string(),
            manufacturer: self.manufacturer.clone(),
            models: self.models.clone(),
            hardware_min: format!("{:04X}", self.hardware_min),
            hardware_max: format!("{:04X}", self.hardware_max),
            firmware_version: self.firmware_version.clone(),
            upgrade_from: match &self.upgrade_from {
                UpgradePaths::Any => WrittenPaths::Star(ANY_VERSION.to_string()),
                UpgradePaths::Versions(versions) => WrittenPaths::Versions(versions.clone()),
            },
            image: WrittenImage { sha256: self.image_sha256.to_string(), size: self.image_size },
            manufacturer_image_sha256: self.manufacturer_image_sha256.to_string(),
            released_at: self.released_at.to_string(),
            expires_at: self.expires_at.to_string(),
        };
        serde_json::to_string(&written).expect("strings and numbers are always JSON")
    }

    /// The same manifest, if its values are ones that the contract allows.
    pub fn checked(self) -> Result<Manifest, ManifestError> {
        const NAME: &str = "1 to 30 printable characters";
        const VERSION: &str = "1 to 8 printable characters";
        text("manufacturer", &self.manufacturer, NAME_MAX_CHARS, NAME)?;
        if self.models.is_empty() {
            return Err(field("models", "[]", "a list with at least one model"));
        }
        self.models.iter().try_for_each(|model| text("models", model, NAME_MAX_CHARS, NAME))?;
        text("firmware_version", &self.firmware_version, VERSION_MAX_CHARS, VERSION)?;
        if let UpgradePaths::Versions(versions) = &self.upgrade_from {
            versions.iter().try_for_each(|version| text("upgrade_from", version, VERSION_MAX_CHARS, VERSION))?;
        }
        if self.hardware_min > self.hardware_max {
            return Err(ManifestError::HardwareRange { min: self.hardware_min, max: self.hardware_max });
        }
        if self.expires_at <= self.released_at {
            return Err(ManifestError::Times { released_at: self.released_at, expires_at: self.expires_at });
        }
        Ok(self)
    }
}

/// Four hexadecimal digits in either case.
pub fn parse_hardware_version(text: &str) -> Result<u16, IdError> {
    let wrong = || IdError::new(text, "a hardware version: 4 hexadecimal digits, such as 1111");
    if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    u16::from_str_radix(text, 16).map_err(|_| wrong())
}

fn hardware_version(name: &'static str, found: &str) -> Result<u16, ManifestError> {
    parse_hardware_version(found).map_err(|e| field(name, &e.found, e.wanted))
}

fn parsed<T: std::str::FromStr<Err = IdError>>(name: &'static str, found: &str) -> Result<T, ManifestError> {
    found.parse().map_err(|e: IdError| field(name, &e.found, e.wanted))
}

fn text(name: &'static str, found: &str, max_chars: usize, wanted: &'static str) -> Result<(), ManifestError> {
    let good = !found.trim().is_empty() && found.chars().count() <= max_chars && !found.chars().any(char::is_control);
    if good { Ok(()) } else { Err(field(name, found, wanted)) }
}

fn field(field: &'static str, found: &str, wanted: &'static str) -> ManifestError {
    ManifestError::Field { field, found: clipped(found), wanted }
}

/// Hostile input stays readable.
fn clipped(found: &str) -> String {
    IdError::new(found, "").found
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn example() -> Manifest {
        Manifest {
            manufacturer: "106C".into(),
            models: vec!["433100AC".into(), "GEO/9001".into()],
            hardware_min: 0x1111,
            hardware_max: 0x1211,
            firmware_version: "0002012F".into(),
            upgrade_from: UpgradePaths::Versions(vec!["00000000".into()]),
            image_sha256: crate::image::sha256(b"image"),
            image_size: 5,
            manufacturer_image_sha256: crate::image::sha256(b"age"),
            released_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires_at: "2027-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn changed(pointer: &str, value: serde_json::Value) -> Result<Manifest, ManifestError> {
        let mut json: serde_json::Value = serde_json::from_str(&example().to_json()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        Manifest::from_json(json.to_string().as_bytes())
    }

    #[test]
    fn it_is_written_as_the_contract_gives_it_and_read_back() {
        let json = example().to_json();
        assert!(json.starts_with(r#"{"schema":1,"device_type":"PPMID","manufacturer":"106C","models":["433100AC","GEO/9001"],"hardware_min":"1111","hardware_max":"1211","firmware_version":"0002012F","upgrade_from":["00000000"],"image":{"sha256":"#), "{json}");
        assert_eq!(Manifest::from_json(json.as_bytes()).unwrap(), example());
        let any = Manifest { upgrade_from: UpgradePaths::Any, ..example() };
        assert!(any.to_json().contains(r#""upgrade_from":"*""#));
        assert_eq!(Manifest::from_json(any.to_json().as_bytes()).unwrap(), any);
    }

    #[test]
    fn fields_to_come_are_passed_over_and_hashes_are_read_in_either_case() {
        let json = example().to_json().replacen('{', r#"{"release_notes":{"url":"x"},"#, 1);
        assert_eq!(Manifest::from_json(json.as_bytes()).unwrap(), example());
        let upper = example().image_sha256.to_string().to_uppercase();
        assert_eq!(changed("/image/sha256", upper.into()).unwrap(), example());
    }

    #[test]
    fn every_wrong_value_is_named() {
        use serde_json::json;
        let cases = [
            ("/schema", json!(2), "schema 2"),
            ("/schema", json!("1"), "expected u64"),
            ("/device_type", json!("ESME"), "ESME"),
            ("/manufacturer", json!(""), "manufacturer"),
            ("/manufacturer", json!("x".repeat(31)), "manufacturer"),
            ("/models", json!([]), "models"),
            ("/models", json!(["a\u{7}"]), "models"),
            ("/hardware_min", json!("111"), "hardware_min"),
            ("/hardware_min", json!("+111"), "hardware_min"),
            ("/hardware_max", json!(1111), "expected a string"),
            ("/hardware_min", json!("1212"), "above its hardware_max"),
            ("/firmware_version", json!("123456789"), "firmware_version"),
            ("/upgrade_from", json!("00000000"), "upgrade_from"),
            ("/upgrade_from", json!([""]), "upgrade_from"),
            ("/upgrade_from", json!(7), "upgrade_from"),
            ("/image/sha256", json!("abc"), "image.sha256"),
            ("/image/size", json!(-1), "expected u64"),
            ("/manufacturer_image_sha256", json!("g".repeat(64)), "manufacturer_image_sha256"),
            ("/released_at", json!("yesterday"), "released_at"),
            ("/expires_at", json!("2026-01-01T00:00:00Z"), "not after"),
        ];
        for (pointer, value, wanted) in cases {
            let message = changed(pointer, value.clone()).unwrap_err().to_string();
            assert!(message.contains(wanted), "{pointer} {value}: {message}");
        }
        assert!(Manifest::from_json(b"").is_err());
        assert!(Manifest::from_json(br#"{"schema":1,"schema":1,"device_type":"PPMID"}"#).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Manifest::from_json(&bytes);
        }
    }
}
