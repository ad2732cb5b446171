//! `ppmid image`: the firmware store. Keys and manifests are made here without a database; the rest goes through
//! `image::add_image`, `check_stored` and `verify_image`, which do the judging.

use std::path::PathBuf;

use super::{Context, policy::as_of, table, who::os_user_at_host};
use crate::{
    app::App,
    clock::Time,
    failure::{Failure, Outcome},
    ids::ImageId,
    image::{self, SharedVault, StoredImage, Trust, dsse, files, ota, store},
};

mod sign;
mod view;

/// The firmware store: make keys, sign images, add them, look at them, revoke them
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make an Ed25519 key; prints its keyid, and on stderr the clause for trust.toml
    #[command(after_help = "Example:\n  ppmid image keygen --out manufacturer.pem --public-out manufacturer.pub.pem")]
    Keygen(sign::KeygenArgs),
    /// Make a signed manifest for an image, or add a signature to one
    #[command(after_help = sign::EXAMPLES)]
    Sign(Box<sign::SignArgs>),
    /// Check an image and its manifest, and store them; prints the image id
    #[command(after_help = "Example:\n  ppmid image add firmware.ota --manifest firmware.dsse.json\n\n\
                            Exit 4: a check failed and nothing was stored. Adding the same again gives the same id; a manifest\n\
                            that says something else is refused, one with more signatures is taken in.")]
    Add(AddArgs),
    /// List the stored images and whether each may be used
    #[command(after_help = "Example:\n  ppmid image list --output csv")]
    List,
    /// Show one image: its manifest, its header and who signed
    #[command(after_help = "Example:\n  ppmid image show 3f9c0a12\n  ppmid image show 3f9c0a12 --as-of 2026-12-31")]
    Show(ShowArgs),
    /// Run every check of a stored image again; exit 4 if one fails
    #[command(after_help = "Example:\n  ppmid image verify 3f9c0a12 --output json")]
    Verify(IdArgs),
    /// Withdraw an image for good: campaigns with it halt before their next batch
    #[command(after_help = "Example:\n  ppmid image revoke 3f9c0a12 --reason \"loses the tariff after midnight\"")]
    Revoke(RevokeArgs),
}

#[derive(clap::Args)]
pub struct AddArgs {
    /// The image, a Zigbee OTA file
    file: PathBuf,
    /// Its manifest: the DSSE envelope made by `ppmid image sign`
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
}

#[derive(clap::Args)]
pub struct IdArgs {
    /// The image id, or its first 8 or more hexadecimal digits
    image_id: String,
}

#[derive(clap::Args)]
pub struct ShowArgs {
    #[command(flatten)]
    id: IdArgs,
    /// What if it were then: an RFC 3339 time, or a date (the end of that London day)
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    as_of: Option<Time>,
}

#[derive(clap::Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    id: IdArgs,
    /// Why; kept with the image and shown wherever it is refused
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Keygen(args) => sign::keygen(&args),
        Command::Sign(args) => sign::sign(&args, ctx.clock.now()),
        Command::Add(args) => add(ctx, args).await,
        command => {
            let app = ctx.app().await?;
            let done = stored(ctx, &app, command).await;
            app.db.close().await;
            done
        }
    }
}

/// The commands about what is stored.
async fn stored(ctx: &Context, app: &App, command: Command) -> Outcome {
    match command {
        Command::List => view::list(ctx, app).await,
        Command::Show(args) => {
            let image = find(app, &args.id.image_id).await?;
            view::show(ctx, app, &image, args.as_of.unwrap_or(app.clock.now())).await
        }
        Command::Verify(args) => {
            let image = find(app, &args.image_id).await?;
            view::verify(ctx, app, &image).await
        }
        Command::Revoke(args) => {
            let id = find(app, &args.id.image_id).await?.id;
            image::revoke_image(&app.db, id, app.clock.now(), &os_user_at_host(), &args.reason).await?;
            eprintln!("image {id} is revoked");
            Ok(())
        }
        Command::Keygen(_) | Command::Sign(_) | Command::Add(_) => unreachable!("these are run without what is stored"),
    }
}

/// Files are read before the database is opened: a mistyped name leaves no database behind.
async fn add(ctx: &Context, args: AddArgs) -> Outcome {
    let envelope = files::read_up_to(&args.manifest, dsse::MAX_ENVELOPE_BYTES, "the manifest")?;
    let file = files::read_up_to(&args.file, ota::MAX_IMAGE_BYTES, "the image")?;
    let app = ctx.app().await?;
    let added = add_to(&app, file, &envelope).await;
    app.db.close().await;
    table::line(added?)
}

async fn add_to(app: &App, file: Vec<u8>, envelope: &[u8]) -> Outcome<ImageId> {
    let trust = trust(app)?;
    Ok(image::add_image(&app.db, &vault(app), &trust, file, envelope, app.clock.now(), &os_user_at_host()).await?)
}

fn trust(app: &App) -> Outcome<Trust> {
    Ok(Trust::load(&app.settings.policies_dir)?)
}

fn vault(app: &App) -> SharedVault {
    image::FolderVault::shared(&app.settings.firmware_store)
}

/// The image of a whole id or of the first digits of one.
async fn find(app: &App, text: &str) -> Outcome<StoredImage> {
    const PREFIX_MIN_CHARS: usize = 8;
    let text = text.to_lowercase();
    let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
    if !hexadecimal || !(PREFIX_MIN_CHARS..=64).contains(&text.len()) {
        return Err(Failure::usage(format!(
            "{text:?} is not an image id: 64 hexadecimal digits, or the first 8 or more of them"
        ))
        .help("`ppmid image list` shows those there are"));
    }
    let mut tx = app.db.read().await?;
    let found = store::find(&mut tx, &text, 2).await?;
    match found.as_slice() {
        [id] => Ok(store::get(&mut tx, *id).await?.ok_or(image::ImageError::NotStored { id: *id })?),
        [] => Err(Failure::failed(format!("there is no image {text}")).help("`ppmid image list` shows those there are")),
        [..] => Err(Failure::failed(format!("several images begin with {text}")).help("give more digits of the id")),
    }
}
