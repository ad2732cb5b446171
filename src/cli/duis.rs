//! `ppmid duis`: single messages in files, for support work. Needs no database, but to number a request that gives no RequestID itself.

mod build;
pub mod view;

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Context, table};
use crate::{
    clock::Time,
    config::{self, Settings},
    duis::{self, CertificateSet, FileSigner, MAX_MESSAGE_BYTES, MessageKind, SignatureError, VerifiedMessage},
    failure::{Failure, Outcome},
};

const EXAMPLES: &str = "Examples:
  ppmid duis build request.json --sign > request.xml
  ppmid duis sign template.xml --replace-signature --out request.xml
  ppmid duis verify response.xml                       # exit 0: good, 4: not
  ppmid inbox show 4711 --raw | ppmid duis show - --output json";

/// Single DUIS messages: build, sign, verify, show. FILE is `-` for standard input
#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    Build(build::Args),
    Sign(SignArgs),
    Verify(VerifyArgs),
    Show(ShowArgs),
}

/// Sign a Request that is there already, such as a template
#[derive(clap::Args)]
#[command(
    after_help = "Comments and white space between elements are taken out, as the industry's tools want it.\n\nExample:\n  ppmid duis sign template-8.2.xml --replace-signature > request.xml"
)]
pub struct SignArgs {
    /// The Request, XML; `-` for standard input
    file: PathBuf,
    /// Take off a signature that is there, a placeholder perhaps
    #[arg(long)]
    replace_signature: bool,
    /// Where the signed message goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Verify a message: exit 0 if its signature is good, 4 if not
#[derive(clap::Args)]
#[command(
    after_help = "A Response or alert is checked against gateway.dcc_certificates, a Request against gateway.signing_certificate.\n\nExamples:\n  ppmid duis verify response.xml\n  ppmid duis verify old.xml --at 2025-12-28T17:00:00Z   # were the certificates good then?"
)]
pub struct VerifyArgs {
    /// The message, XML; `-` for standard input
    file: PathBuf,
    /// When the certificate must be valid, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
}

/// Show what a message says, and whether its signature is good
#[derive(clap::Args)]
#[command(
    after_help = "Addresses are left out and supply numbers masked. Exit 0 whatever the signature is: `verify` is for that.\n\nExamples:\n  ppmid duis show alert.xml\n  ppmid duis show request.xml --image-out firmware.ota"
)]
pub struct ShowArgs {
    /// The message, XML; `-` for standard input
    file: PathBuf,
    /// Write the firmware image of a request here
    #[arg(long, value_name = "FILE")]
    image_out: Option<PathBuf>,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Build(args) => build::run(ctx, args).await,
        Command::Sign(args) => sign(ctx, &args),
        Command::Verify(args) => verify(ctx, &args),
        Command::Show(args) => show(ctx, &args),
    }
}

fn sign(ctx: &Context, args: &SignArgs) -> Outcome {
    let bytes = read(&args.file)?;
    let signer = signer(&ctx.settings()?)?;
    let signed = duis::sign_request(&bytes, args.replace_signature, &signer)?;
    write(args.out.as_deref(), &signed.bytes)
}

fn verify(ctx: &Context, args: &VerifyArgs) -> Outcome {
    let bytes = read(&args.file)?;
    let settings = ctx.settings()?;
    let at = args.at.unwrap_or_else(|| ctx.clock.now());
    let verdict = verified(&bytes, &settings, at).and_then(|(kind, message)| {
        let id = message.request_id.map(|id| id.to_string());
        let against = against(kind);
        let fields = [
            ("kind", format!("{kind:?}")),
            ("request_id", id.clone().unwrap_or_else(|| "-".into())),
            ("body_digest", message.digest.to_string()),
            ("signature", "good".into()),
            ("checked_against", against.into()),
        ];
        let verdict = json!({
            "verified": true,
            "kind": format!("{kind:?}"),
            "request_id": id,
            "body_digest": message.digest,
            "checked_against": against,
        });
        table::object(ctx.output(), &fields, &verdict)
    });
    match verdict {
        Err(failure) if ctx.output() == super::Output::Json => {
            table::line(json!({"verified": false, "reason": failure.message}))?;
            Err(failure)
        }
        other => other,
    }
}

fn show(ctx: &Context, args: &ShowArgs) -> Outcome {
    let bytes = read(&args.file)?;
    let settings = ctx.settings()?;
    let claimed = duis::read_unverified(&bytes)?;
    let signature = match verified(&bytes, &settings, ctx.clock.now()) {
        Ok(_) => "good".to_string(),
        Err(failure) => format!("NOT VERIFIED: {}", failure.message),
    };
    if let Some(out) = &args.image_out {
        let image = view::image(&claimed)
            .ok_or_else(|| Failure::failed("the message carries no firmware image").help("11.1 and 11.4 requests do"))?;
        write(Some(out), image)?;
    }
    let mut shown = view::message(&claimed);
    shown.insert("signature".into(), signature.into());
    table::object(ctx.output(), &view::fields(&shown), &shown)
}

/// Checks a message as its receiver would: a Request with white space between its elements is refused by the industry's tools,
/// though its signature be good.
fn verified(bytes: &[u8], settings: &Settings, at: Time) -> Outcome<(MessageKind, VerifiedMessage)> {
    let kind = duis::message_kind(bytes)?;
    let set = certificates(settings, kind)?;
    let message = duis::verify_message(bytes, &set, at)?;
    if kind == MessageKind::Request
        && let Err(e @ SignatureError::Profile(_)) = duis::read_request(bytes, &set, at)
    {
        return Err(e.into());
    }
    Ok((kind, message))
}

/// The certificates that count for a kind of message: one set a role.
fn certificates(settings: &Settings, kind: MessageKind) -> Outcome<CertificateSet> {
    let gateway = &settings.gateway;
    Ok(match kind {
        MessageKind::Request => CertificateSet::from_pem_files(std::slice::from_ref(&gateway.signing_certificate))?,
        MessageKind::Response => CertificateSet::from_pem_files(&gateway.dcc_certificates)?,
    })
}

fn against(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Request => "gateway.signing_certificate",
        MessageKind::Response => "gateway.dcc_certificates",
    }
}

fn signer(settings: &Settings) -> Outcome<FileSigner> {
    let gateway = &settings.gateway;
    config::check_private_key_file(&gateway.signing_key)?;
    Ok(FileSigner::load(&gateway.signing_key, &gateway.signing_certificate)?)
}

/// A file or standard input, up to the size of the largest message.
fn read(file: &Path) -> Outcome<Vec<u8>> {
    let limit = MAX_MESSAGE_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let got = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(limit).read_to_end(&mut bytes))
    };
    let wrong = |e| Failure::failed(format!("the message {} cannot be read: {e}", file.display()));
    got.map_err(|e| wrong(e).help("check the name and that you may read it; `-` is standard input"))?;
    Ok(bytes)
}

/// To a file, which is replaced as a whole, or to standard output.
pub(super) fn write(out: Option<&Path>, bytes: &[u8]) -> Outcome {
    if let Some(path) = out {
        return Ok(crate::image::files::replace(path, bytes, "the message")?);
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(format!("standard output: {e}"))),
        _ => Ok(()),
    }
}
