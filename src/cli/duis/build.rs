//! `ppmid duis build`: a Service Request from its description. What `ppmid duis show --output json` prints of a request is one, once it says where the
//! image is. A request made here is not in the outbox: nothing follows it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{read, signer, write};
use crate::{
    app::App,
    cli::Context,
    config::Settings,
    duis::{self, Asks, Firmware, RequestKind, ServiceRequest},
    failure::{Failure, Outcome},
    gateway::outbox,
    ids::{DeviceId, RequestId},
    image::files,
};

const EXAMPLES: &str = r#"FILE is JSON:
  {"service_reference": "11.1", "devices": ["00-DB-12-34-56-78-90-A0"], "firmware_version": "0002012F",
   "image_file": "firmware.ota", "request_id": "90-...:90-...:1000", "schema_version": "3.1"}

service_reference is 8.2, 11.1, 11.2 or 11.4; 8.2 and 11.2 ask about one device and carry no image. image_file is relative to FILE's folder.
Without request_id the next counter of the database is taken, so that no RequestID is used twice; without schema_version it is
gateway.duis_version. The keys that `ppmid duis show` prints beside these are passed over.

Examples:
  ppmid duis build request.json --sign --out request.xml
  echo '{"service_reference": "8.2", "devices": ["00-DB-12-34-56-78-90-A0"]}' | ppmid duis build - --sign"#;

/// Build a Service Request from its description
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The description, JSON; `-` for standard input
    file: PathBuf,
    /// Sign it with gateway.signing_key
    #[arg(long)]
    sign: bool,
    /// Where the message goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The description as written. Keys that only `show` knows are passed over.
#[derive(Deserialize)]
struct Described {
    service_reference: String,
    #[serde(default)]
    devices: Vec<String>,
    request_id: Option<String>,
    schema_version: Option<String>,
    firmware_version: Option<String>,
    image_file: Option<PathBuf>,
}

pub async fn run(ctx: &Context, args: Args) -> Outcome {
    let text = read(&args.file)?;
    let described: Described = serde_json::from_slice(&text).map_err(|e| {
        Failure::failed(format!("{} is not the description of a request: {e}", args.file.display()))
            .help("`ppmid duis build --help` shows one")
    })?;
    let settings = ctx.settings()?;
    let kind = kind(&described.service_reference)?;
    let devices = devices(&described, kind)?;
    let duis_version = match &described.schema_version {
        Some(version) => version.parse().map_err(|e| wrong("schema_version", e))?,
        None => settings.gateway.duis_version,
    };
    let image = image(&described, kind, &args.file)?;
    let id = match &described.request_id {
        Some(id) => id.parse().map_err(|e| wrong("request_id", e))?,
        None => next_id(ctx, &settings, kind, devices[0]).await?,
    };
    let asks = asks(kind, &devices, &image, described.firmware_version.as_deref())?;
    let bytes = built(&ServiceRequest { id, duis_version, asks }, args.sign.then_some(&settings))?;
    write(args.out.as_deref(), &bytes)
}

fn kind(reference: &str) -> Outcome<RequestKind> {
    RequestKind::ALL.into_iter().find(|k| k.service_reference() == reference).ok_or_else(|| {
        Failure::failed(format!("service_reference {reference:?} is of no request that this program builds"))
            .help("8.2, 11.1, 11.2 or 11.4")
    })
}

fn devices(described: &Described, kind: RequestKind) -> Outcome<Vec<DeviceId>> {
    let parsed: Result<Vec<DeviceId>, _> = described.devices.iter().map(|d| d.parse()).collect();
    let devices = parsed.map_err(|e| wrong("devices", e))?;
    match (kind, devices.len()) {
        (_, 0) => Err(Failure::failed("the description names no device").help("give `devices`, a list of Device IDs")),
        (RequestKind::ReadInventory | RequestKind::ReadFirmwareVersion, 2..) => {
            Err(Failure::failed(format!("{} asks about one device", kind.service_reference())).help("build one request a device"))
        }
        _ => Ok(devices),
    }
}

fn image(described: &Described, kind: RequestKind, file: &Path) -> Outcome<Vec<u8>> {
    match (kind, &described.image_file) {
        (RequestKind::ReadInventory | RequestKind::ReadFirmwareVersion, _) => Ok(Vec::new()),
        (RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware, None) => {
            Err(Failure::failed(format!("{} carries an image, and the description names none", kind.service_reference()))
                .help("give `image_file`; `ppmid duis show REQUEST --image-out FILE` takes one out of a request"))
        }
        (RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware, Some(path)) => {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            Ok(files::read_up_to(&path, duis::MAX_IMAGE_BYTES as u64, "the image")?)
        }
    }
}

/// The next number of the database, above all that were given out and at least the time.
async fn next_id(ctx: &Context, settings: &Settings, kind: RequestKind, device: DeviceId) -> Outcome<RequestId> {
    let app = App::open(settings.clone(), ctx.clock.clone()).await?;
    let originator = settings.organisation.user_id;
    let mut tx = app.db.begin().await?;
    let counter = outbox::next_counter(&mut tx, originator, ctx.clock.now()).await?;
    tx.commit().await?;
    app.db.close().await;
    let target = match kind {
        RequestKind::ReadFirmwareVersion => device,
        RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => settings.gateway.dcc_id,
    };
    Ok(RequestId { originator, target, counter })
}

fn asks<'a>(kind: RequestKind, devices: &'a [DeviceId], image: &'a [u8], version: Option<&'a str>) -> Outcome<Asks<'a>> {
    let firmware = || {
        let missing = || Failure::failed("the description has no firmware_version").help("the version that the image brings");
        Ok::<_, Failure>(Firmware { image, firmware_version: version.ok_or_else(missing)?, devices })
    };
    Ok(match kind {
        RequestKind::ReadInventory => Asks::ReadInventory { device: devices[0] },
        RequestKind::UpdateFirmware => Asks::UpdateFirmware(firmware()?),
        RequestKind::ReadFirmwareVersion => Asks::ReadFirmwareVersion,
        RequestKind::UpdatePpmidFirmware => Asks::UpdatePpmidFirmware(firmware()?),
    })
}

fn built(request: &ServiceRequest<'_>, sign_with: Option<&Settings>) -> Outcome<Vec<u8>> {
    match sign_with {
        Some(settings) => Ok(duis::build_request(request, &signer(settings)?)?.bytes),
        None => Ok(duis::unsigned_request(request)?),
    }
}

fn wrong(key: &str, error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{key}: {error}")).help("correct it in the description")
}
