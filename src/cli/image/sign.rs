//! `ppmid image keygen` and `ppmid image sign`: what the signers run, far from any database.

use std::path::PathBuf;

use crate::{
    cli::table,
    clock::Time,
    failure::{Failure, Outcome},
    image::{
        self, Envelope, KeyId, Role, UpgradePaths, dsse, files, key,
        manifest::parse_hardware_version,
        ota,
        release::{self, Release},
    },
};

/// A year of 365 days, in milliseconds: how long a manifest is good unless the signer says otherwise.
const DEFAULT_VALIDITY_MILLIS: i64 = 365 * 24 * 3_600_000;

pub const EXAMPLES: &str = "Examples:
  ppmid image sign firmware.ota --key manufacturer.pem --manifest-out firmware.dsse.json \\
      --manufacturer 106C --model 433100AC --firmware-version 0002012F --upgrade-from 00000000
  ppmid image sign firmware.ota --key release.pem --manifest firmware.dsse.json \\
      --manifest-out firmware.dsse.json                # a second signature";

#[derive(clap::Args)]
pub struct KeygenArgs {
    /// Where the private key goes (PKCS#8 PEM, readable by you alone); must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where the public key goes (SPKI PEM); must not be there yet
    #[arg(long, value_name = "FILE")]
    public_out: Option<PathBuf>,
    /// The role in the clause for trust.toml: manufacturer or release
    #[arg(long, default_value_t = Role::Manufacturer)]
    role: Role,
}

pub fn keygen(args: &KeygenArgs) -> Outcome {
    let signing = key::generate()?;
    let public = signing.verifying_key();
    key::write_private(&args.out, &signing)?;
    if let Some(path) = &args.public_out
        && let Err(e) = key::write_public(path, &public)
    {
        // This command made it a moment ago: half a pair would stand in the way of the next try.
        let _ = std::fs::remove_file(&args.out);
        return Err(e.into());
    }
    eprintln!("# for policies/trust.toml, of those who shall trust this key:\n{}", image::key_clause(&public, args.role));
    table::line(KeyId::of(&public))
}

#[derive(clap::Args)]
pub struct SignArgs {
    /// The image, a Zigbee OTA file
    file: PathBuf,
    /// A private key made by `ppmid image keygen`; several may be given
    #[arg(long, required = true, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Where the manifest goes; an older one is replaced
    #[arg(long, value_name = "FILE")]
    manifest_out: PathBuf,
    /// Add signatures to this manifest, which says the rest
    #[arg(long, value_name = "FILE", conflicts_with_all = STATED)]
    manifest: Option<PathBuf>,
    /// As on the Central Products List, up to 30 characters
    #[arg(long, required_unless_present = "manifest")]
    manufacturer: Option<String>,
    /// A model that it is for, up to 30 characters; may be repeated
    #[arg(long, required_unless_present = "manifest")]
    model: Vec<String>,
    /// The version it brings, 1 to 8 characters
    #[arg(long, required_unless_present = "manifest")]
    firmware_version: Option<String>,
    /// Lowest hardware version, 4 hexadecimal digits [default: the image header's]
    #[arg(long, value_name = "HEX", value_parser = parse_hardware_version)]
    hardware_min: Option<u16>,
    /// Highest hardware version, included [default: the image header's]
    #[arg(long, value_name = "HEX", value_parser = parse_hardware_version)]
    hardware_max: Option<u16>,
    /// A version that it may be installed over; may be repeated; '*' for any
    #[arg(long, value_name = "VERSION", required_unless_present = "manifest")]
    upgrade_from: Vec<String>,
    /// From when it may be used, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    released_at: Option<Time>,
    /// Until when it may be used, RFC 3339 [default: 365 days after its release]
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Time>,
}

/// The options that a manifest made earlier has decided.
const STATED: [&str; 8] =
    ["manufacturer", "model", "firmware_version", "hardware_min", "hardware_max", "upgrade_from", "released_at", "expires_at"];

/// Prints the image id: what `ppmid image add` will print.
pub fn sign(args: &SignArgs, now: Time) -> Outcome {
    let keys = args.key.iter().map(|path| key::read_private(path)).collect::<Result<Vec<_>, _>>()?;
    let file = files::read_up_to(&args.file, ota::MAX_IMAGE_BYTES, "the image")?;
    let (envelope, manifest) = match &args.manifest {
        Some(path) => {
            let text = files::read_up_to(path, dsse::MAX_ENVELOPE_BYTES, "the manifest")?;
            let mut envelope = Envelope::from_json(&text).map_err(image::CheckError::from)?;
            let manifest = release::cosign(&mut envelope, &file, &keys)?;
            eprintln!("signed as well: {}", manifest.to_json());
            (envelope, manifest)
        }
        None => {
            let manifest = release::describe(&file, stated(args, now)?)?;
            (release::sign(&manifest, &keys), manifest)
        }
    };
    files::replace(&args.manifest_out, envelope.to_json().as_bytes(), "the manifest")?;
    table::line(manifest.image_sha256)
}

fn stated(args: &SignArgs, now: Time) -> Outcome<Release> {
    let upgrade_from = match args.upgrade_from.as_slice() {
        [any] if any == "*" => UpgradePaths::Any,
        versions if versions.iter().any(|v| v == "*") => {
            return Err(Failure::usage("--upgrade-from '*' is any version, and cannot be given with others")
                .help("give '*' alone, or the versions"));
        }
        versions => UpgradePaths::Versions(versions.to_vec()),
    };
    let released_at = args.released_at.unwrap_or(now);
    Ok(Release {
        manufacturer: args.manufacturer.clone().unwrap_or_default(),
        models: args.model.clone(),
        firmware_version: args.firmware_version.clone().unwrap_or_default(),
        hardware_min: args.hardware_min,
        hardware_max: args.hardware_max,
        upgrade_from,
        released_at,
        expires_at: args.expires_at.unwrap_or(released_at.plus_millis(DEFAULT_VALIDITY_MILLIS)),
    })
}
