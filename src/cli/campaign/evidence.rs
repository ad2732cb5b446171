//! `ppmid campaign evidence`: makes a pack, and checks one. Checking needs neither configuration nor database: whoever is asked to
//! believe a pack has none of ours.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::view::spinner;
use crate::{
    cli::{Context, table, who::os_user_at_host},
    evidence::{self, EvidenceError},
    failure::{Failure, Outcome},
    image::key::{self, KeyError},
};

/// Make an evidence pack of a campaign, or check one
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The pack holds what was decided about each site and by what, what was sent and what came of it; it is signed with\n\
                  [audit] signing_key, and holds personal data (Device IDs, supply numbers). See docs/evidence.md.\n\
                  A campaign whose name is `verify` is named by its id.\n\n\
                  Examples:\n  ppmid campaign evidence spring --out spring.zip\n  \
                  ppmid campaign evidence verify spring.zip --key audit.pub.pem"
)]
pub struct EvidenceArgs {
    #[command(subcommand)]
    check: Option<Check>,
    /// Id or name
    #[arg(required = true)]
    campaign: Option<String>,
    /// Where the pack goes
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(clap::Subcommand)]
enum Check {
    /// Check a pack against a public key: offline, without a database; exit 4 unless it is as it was signed
    #[command(after_help = "Example:\n  ppmid campaign evidence verify spring.zip --key audit.pub.pem --output json")]
    Verify(VerifyArgs),
}

#[derive(clap::Args)]
struct VerifyArgs {
    /// The pack
    file: PathBuf,
    /// The public key of whoever vouches for it (SPKI PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub async fn run(ctx: &Context, args: EvidenceArgs) -> Outcome {
    match (args.check, args.campaign, args.out) {
        (Some(Check::Verify(args)), ..) => verify(ctx, &args),
        (None, Some(campaign), Some(out)) => export(ctx, &campaign, &out, args.force).await,
        (None, ..) => Err(Failure::usage("a campaign and --out FILE are wanted").help("see `ppmid campaign evidence --help`")),
    }
}

/// The key and the file's name are looked at before anything is read.
async fn export(ctx: &Context, campaign: &str, out: &Path, force: bool) -> Outcome {
    let key = signing_key(&ctx.settings()?.audit_signing_key)?;
    if !force && out.symlink_metadata().is_ok() {
        return Err(exists(out));
    }
    let app = ctx.app().await?;
    let part = Part::open(out)?;
    let bar = spinner("sites told");
    let gathered = app.gather_evidence(campaign, &key.verifying_key(), part.folder(), &mut |n| bar.set_position(n)).await;
    bar.finish_and_clear();
    let (campaign, pack) = gathered?;
    let written = app.write_evidence(&campaign, pack, BufWriter::new(&part.file), &key, &os_user_at_host()).await?;
    part.rename(force)?;
    let shown = out.display().to_string();
    let fields = [
        ("id", campaign.id.to_string()),
        ("file", shown.clone()),
        ("entries", written.entries.to_string()),
        ("sha256", written.sha256.to_string()),
    ];
    let json = json!({
        "id": campaign.id, "file": shown, "entries": written.entries, "sha256": written.sha256, "bytes": written.size,
        "keyid": crate::image::KeyId::of(&key.verifying_key()),
    });
    table::object(ctx.output(), &fields, &json)
}

fn signing_key(path: &Path) -> Outcome<ed25519_dalek::SigningKey> {
    key::read_private(path).map_err(|e| match e {
        KeyError::File(ref file) if file.is_not_found() => {
            Failure::failed(format!("[audit] signing_key: there is no {}", path.display()))
                .help(format!("make one: ppmid image keygen --out {} --public-out audit.pub.pem", path.display()))
                .help("give audit.pub.pem to whoever is to check packs; keep the other to yourself")
        }
        e => e.into(),
    })
}

fn exists(out: &Path) -> Failure {
    Failure::failed(format!("{} is there already", out.display())).help("choose another name, or replace it with --force")
}

/// The file while it is written: FILE.part beside it, locked, readable by its owner alone, and gone unless it is renamed.
struct Part {
    file: File,
    path: tempfile::TempPath,
    out: PathBuf,
}

impl Part {
    fn open(out: &Path) -> Outcome<Part> {
        let Some(name) = out.file_name() else {
            return Err(Failure::usage(format!("--out {}: not the name of a file", out.display()))
                .help("name a file, such as spring.zip"));
        };
        let mut part = name.to_os_string();
        part.push(".part");
        let path = out.with_file_name(part);
        let unwritten = |e: std::io::Error| {
            Failure::failed(format!("{} cannot be written: {e}", path.display()))
                .help("check that the folder exists, has room, and that you may write in it")
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(unwritten)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::failed(format!("{} is being written by another process", path.display()))
                    .help("wait for it, or choose another name"));
            }
            Err(TryLockError::Error(e)) => return Err(unwritten(e)),
        }
        // What a killed process left behind.
        file.set_len(0).map_err(unwritten)?;
        let temporary = tempfile::TempPath::try_from_path(&path).map_err(unwritten)?;
        Ok(Part { file, path: temporary, out: out.to_path_buf() })
    }

    /// Where the pack grows.
    fn folder(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn rename(self, force: bool) -> Outcome {
        let unwritten = |e: std::io::Error| {
            Failure::failed(format!("{} cannot be written: {e}", self.out.display())).help("check the folder, and try again")
        };
        self.file.sync_all().map_err(unwritten)?;
        let done = match force {
            true => self.path.persist(&self.out),
            false => self.path.persist_noclobber(&self.out),
        };
        done.map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&self.out),
            _ => unwritten(e.error),
        })
    }
}

fn verify(ctx: &Context, args: &VerifyArgs) -> Outcome {
    let key = key::read_public(&args.key)?;
    let named = |e: EvidenceError| {
        let mut failure = Failure::from(e);
        failure.message = format!("{}: {}", args.file.display(), failure.message);
        failure
    };
    let file = File::open(&args.file).map_err(|e| named(EvidenceError::Read(e)))?;
    let bar = spinner("bytes checked");
    let checked = evidence::verify(BufReader::new(file), &key, &mut |n| bar.set_position(n));
    bar.finish_and_clear();
    let pack = checked.map_err(named)?;
    let head = &pack.head;
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let fields = [
        ("campaign", text(&head["campaign"]["id"])),
        ("name", text(&head["campaign"]["name"])),
        ("made_at", text(&head["made_at"])),
        ("made_by", text(&head["made_by"])),
        ("signed_by", pack.keyid.to_string()),
        ("entries", pack.entries.to_string()),
        ("content_bytes", pack.content_bytes.to_string()),
        ("result", "as it was signed".to_string()),
    ];
    let json = json!({
        "campaign": head["campaign"]["id"], "name": head["campaign"]["name"], "made_at": head["made_at"], "made_by": head["made_by"],
        "signed_by": pack.keyid, "entries": pack.entries, "content_bytes": pack.content_bytes, "valid": true,
    });
    table::object(ctx.output(), &fields, &json)
}
