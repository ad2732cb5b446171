//! `ppmid image list`, `show` and `verify`: what is stored and whether it may be used, for people and for programs.

use serde::Serialize;

use super::{trust, vault};
use crate::{
    app::App,
    cli::{Context, table},
    clock::Time,
    failure::{Failure, Outcome},
    ids::{ImageId, Sha256Hash},
    image::{
        self, CheckError, ImageRefusal, StoredImage, Trust, UpgradePaths, ota,
        store::{self, Revocation},
        trust::{RejectedSignature, Signer},
    },
};

/// An image as programs see it.
#[derive(Serialize)]
struct ImageView<'a> {
    image_id: ImageId,
    /// trusted, revoked, expired, not_released or untrusted
    state: &'static str,
    /// Why it is not trusted.
    why: Option<String>,
    manufacturer: &'a str,
    models: &'a [String],
    hardware_min: String,
    hardware_max: String,
    firmware_version: &'a str,
    upgrade_from: serde_json::Value,
    size: u64,
    manufacturer_image_sha256: Sha256Hash,
    released_at: Time,
    expires_at: Time,
    /// Who counts today; empty where too few do.
    signers: Vec<Signer>,
    rejected_signatures: Vec<RejectedSignature>,
    added_at: Time,
    added_by: &'a str,
    revoked: Option<&'a Revocation>,
}

impl<'a> ImageView<'a> {
    fn new(image: &'a StoredImage, trust: &Trust, now: Time) -> ImageView<'a> {
        let usable = image::check_trusted(image, trust, now);
        let (signers, rejected_signatures) = match trust.check(&image.envelope, now) {
            Ok(by) => (by.keys, by.rejected),
            Err(e) => (Vec::new(), e.rejected),
        };
        let manifest = &image.manifest;
        ImageView {
            image_id: image.id,
            state: usable.as_ref().map_or_else(state, |_| "trusted"),
            why: usable.err().map(|refusal| refusal.to_string()),
            manufacturer: &manifest.manufacturer,
            models: &manifest.models,
            hardware_min: format!("{:04X}", manifest.hardware_min),
            hardware_max: format!("{:04X}", manifest.hardware_max),
            firmware_version: &manifest.firmware_version,
            upgrade_from: match &manifest.upgrade_from {
                UpgradePaths::Any => "*".into(),
                UpgradePaths::Versions(versions) => versions.clone().into(),
            },
            size: manifest.image_size,
            manufacturer_image_sha256: manifest.manufacturer_image_sha256,
            released_at: manifest.released_at,
            expires_at: manifest.expires_at,
            signers,
            rejected_signatures,
            added_at: image.added_at,
            added_by: &image.added_by,
            revoked: image.revoked.as_ref(),
        }
    }

    fn paths(&self) -> String {
        match &self.upgrade_from {
            serde_json::Value::Array(versions) => versions.iter().filter_map(|v| v.as_str()).collect::<Vec<_>>().join(";"),
            any => any.as_str().unwrap_or_default().to_string(),
        }
    }
}

fn state(refusal: &ImageRefusal) -> &'static str {
    match refusal {
        ImageRefusal::Revoked { .. } => "revoked",
        ImageRefusal::Check { why: CheckError::Expired { .. }, .. } => "expired",
        ImageRefusal::Check { why: CheckError::NotYetReleased { .. }, .. } => "not_released",
        ImageRefusal::Check { .. } | ImageRefusal::NotStored { .. } => "untrusted",
    }
}

pub async fn list(ctx: &Context, app: &App) -> Outcome {
    let (trust, now) = (trust(app)?, app.clock.now());
    let images = store::list(&mut app.db.read().await?).await?;
    let views: Vec<ImageView<'_>> = images.iter().map(|image| ImageView::new(image, &trust, now)).collect();
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|v| {
            vec![
                v.image_id.to_string(),
                v.state.to_string(),
                v.manufacturer.to_string(),
                v.models.join(";"),
                v.firmware_version.to_string(),
                v.size.to_string(),
                v.expires_at.to_string(),
                v.added_at.to_string(),
                v.added_by.to_string(),
            ]
        })
        .collect();
    let headers =
        ["image_id", "state", "manufacturer", "models", "firmware_version", "size", "expires_at", "added_at", "added_by"];
    table::print(ctx.output(), &headers, &rows, &views)
}

/// The header of the stored bytes.
#[derive(Serialize)]
struct HeaderView {
    header_length: u16,
    manufacturer_code: String,
    image_type: String,
    file_version: String,
    text: String,
    hardware_min: Option<String>,
    hardware_max: Option<String>,
    total_size: u32,
}

impl From<&ota::OtaHeader> for HeaderView {
    fn from(header: &ota::OtaHeader) -> HeaderView {
        HeaderView {
            header_length: header.header_length,
            manufacturer_code: format!("{:04X}", header.manufacturer_code),
            image_type: format!("{:04X}", header.image_type),
            file_version: format!("{:08X}", header.file_version),
            text: header.text(),
            hardware_min: header.hardware.map(|h| format!("{:04X}", h.0)),
            hardware_max: header.hardware.map(|h| format!("{:04X}", h.1)),
            total_size: header.total_size,
        }
    }
}

#[derive(Serialize)]
struct ShowView<'a> {
    #[serde(flatten)]
    image: ImageView<'a>,
    /// `null` where the bytes are gone or have changed.
    header: Option<HeaderView>,
    header_error: Option<String>,
}

pub async fn show(ctx: &Context, app: &App, image: &StoredImage, at: Time) -> Outcome {
    let header = match image::fetch_bytes(&vault(app), image.id).await {
        Ok(file) => ota::parse(&file).map(|ota| HeaderView::from(&ota.header)).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let (header, header_error) = header.map_or_else(|e| (None, Some(e)), |h| (Some(h), None));
    let view = ShowView { image: ImageView::new(image, &trust(app)?, at), header, header_error };
    let v = &view.image;
    let signers: Vec<String> = v.signers.iter().map(|s| format!("{} {}", s.role, s.keyid)).collect();
    let rejected: Vec<String> = v.rejected_signatures.iter().map(|r| format!("{}: {}", r.keyid, r.why)).collect();
    let shown = |pick: fn(&HeaderView) -> String| view.header.as_ref().map(pick).unwrap_or_default();
    let fields = [
        ("image_id", v.image_id.to_string()),
        ("state", v.state.to_string()),
        ("why", v.why.clone().unwrap_or_default()),
        ("manufacturer", v.manufacturer.to_string()),
        ("models", v.models.join(";")),
        ("hardware_min", v.hardware_min.clone()),
        ("hardware_max", v.hardware_max.clone()),
        ("firmware_version", v.firmware_version.to_string()),
        ("upgrade_from", v.paths()),
        ("size", v.size.to_string()),
        ("manufacturer_image_sha256", v.manufacturer_image_sha256.to_string()),
        ("released_at", v.released_at.to_string()),
        ("expires_at", v.expires_at.to_string()),
        ("signers", signers.join(", ")),
        ("rejected_signatures", rejected.join(", ")),
        ("added_at", v.added_at.to_string()),
        ("added_by", v.added_by.to_string()),
        ("header_manufacturer_code", shown(|h| h.manufacturer_code.clone())),
        ("header_image_type", shown(|h| h.image_type.clone())),
        ("header_file_version", shown(|h| h.file_version.clone())),
        ("header_text", shown(|h| h.text.clone())),
        ("header_error", view.header_error.clone().unwrap_or_default()),
    ];
    table::object(ctx.output(), &fields, &view)
}

pub async fn verify(ctx: &Context, app: &App, image: &StoredImage) -> Outcome {
    let report = image::verify_image(&vault(app), &trust(app)?, image, app.clock.now()).await;
    let word = |ok| if ok { "ok" } else { "failed" };
    if ctx.output() == crate::cli::Output::Json {
        table::object(ctx.output(), &[], &report)?;
    } else {
        let rows: Vec<Vec<String>> =
            report.checks.iter().map(|c| vec![c.check.to_string(), word(c.ok).to_string(), c.detail.clone()]).collect();
        table::print(ctx.output(), &["check", "result", "detail"], &rows, &report.checks)?;
    }
    let failed: Vec<&str> = report.checks.iter().filter(|c| !c.ok).map(|c| c.check).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::untrusted(format!("image {} fails: {}", image.id, failed.join(", ")))
        .help("campaigns with it are refused; policies/trust.toml says who may sign, `ppmid image add` puts lost bytes back"))
}
