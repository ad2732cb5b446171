//! The papers that decisions name: policies as they were, entries of the Central Products List, the image's signed manifest, and the
//! audit trail about the campaign.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{
    super::App,
    table::{Table, unwritten},
};
use crate::{
    audit::{self, Link},
    campaign::Campaign,
    db::DbError,
    estate::{self, import::CPL_COLUMNS},
    evidence::{Pack, Packed, archive::is_name},
    failure::Outcome,
    gateway::outbox::OutboxRequest,
    image,
    policy::{self, store::KeptSet},
};

const PAGE_EVENTS: i64 = 1_000;

/// The sets that decisions name and those of `besides` (ids), each file under `policies/HASH/`. Gives them by hash.
pub(super) async fn policies(
    app: &App,
    named: &BTreeMap<i64, String>,
    besides: [Option<i64>; 2],
    pack: &mut Pack,
    folder: &Path,
) -> Outcome<Vec<KeptSet>> {
    let mut tx = app.db.read().await?;
    let mut ids: BTreeSet<i64> = named.keys().copied().collect();
    ids.extend(besides.into_iter().flatten());
    let mut sets = Vec::new();
    for id in ids {
        sets.extend(policy::store::get(&mut tx, id).await?);
    }
    sets.sort_by(|a, b| a.hash.cmp(&b.hash));
    let mut table = Table::new(folder, &["policies", "first_used", "position", "file", "sha256", "origin"])?;
    for set in &sets {
        for (position, file) in set.files.iter().enumerate() {
            let sha256 = image::sha256(file.text.as_bytes()).to_string();
            let (used, position) = (set.first_used.to_string(), (position + 1).to_string());
            table.row([&set.hash, &used, &position, &file.name, &sha256, &file.origin])?;
            let name = format!("policies/{}/{}", set.hash, file.name);
            if !is_name(&name) {
                return Err(DbError::bad_row("policy_sets", set.id, "files", &file.name).into());
            }
            pack.add(name, Packed::of(file.text.as_bytes(), folder).map_err(unwritten)?);
        }
    }
    pack.add("policies.csv", table.finish()?);
    Ok(sets)
}

/// `cpl.csv`: the fact's number, then the columns of the file that is imported.
pub(super) async fn product_list(app: &App, named: &BTreeSet<i64>, pack: &mut Pack, folder: &Path) -> Outcome {
    let [a, b, c, d, e, f, g, h, i] = CPL_COLUMNS;
    let mut table = Table::new(folder, &["cpl_fact", a, b, c, d, e, f, g, h, i])?;
    let mut tx = app.db.read().await?;
    for id in named {
        let Some(entry) = estate::store::cpl_fact(&mut tx, *id).await? else { continue };
        let [a, b, c, d, e, f, g, h, i] = CPL_COLUMNS.map(|key| entry[key].as_str().unwrap_or_default());
        table.row([&id.to_string(), a, b, c, d, e, f, g, h, i])?;
    }
    pack.add("cpl.csv", table.finish()?);
    Ok(())
}

/// The envelope of the campaign's image, as it was signed. `false`: the image is not stored.
pub(super) async fn manifest(app: &App, campaign: &Campaign, pack: &mut Pack, folder: &Path) -> Outcome<bool> {
    let stored = image::store::get(&mut app.db.read().await?, campaign.image_id).await?;
    let Some(image) = stored else { return Ok(false) };
    let text = Packed::of(image.envelope_text.as_bytes(), folder).map_err(unwritten)?;
    pack.add(format!("images/{}.dsse.json", campaign.image_id), text);
    Ok(true)
}

/// The audit trail's part of the summary.
pub(super) struct Trail {
    /// About the campaign itself, oldest first.
    pub events: Vec<Link>,
    /// Written to the pack.
    pub written: u64,
    /// Number and hash of the last event of the whole trail.
    pub head: Option<(i64, String)>,
}

/// Events about the campaign, its batches, its requests and its image, each with what its hash covers.
pub(super) async fn trail(
    app: &App,
    campaign: &Campaign,
    requests: &[OutboxRequest],
    pack: &mut Pack,
    folder: &Path,
) -> Outcome<Trail> {
    use std::io::Write;
    let requests: BTreeSet<String> = requests.iter().map(|r| format!("request {}", r.id)).collect();
    let (itself, image) = (campaign.subject(), campaign.image_id.to_string());
    let within = [format!("{itself} "), format!("{itself},")];
    let mut packer = crate::evidence::Packer::new(folder);
    let mut trail = Trail { events: Vec::new(), written: 0, head: None };
    loop {
        let after = trail.head.as_ref().map_or(0, |(seq, _)| *seq);
        let page = audit::links(&mut app.db.read().await?, after, PAGE_EVENTS).await?;
        let Some(last) = page.last() else { break };
        trail.head = Some((last.seq, last.hash.clone()));
        for event in page {
            let subject = &event.subject;
            let about = *subject == itself
                || within.iter().any(|begins| subject.starts_with(begins.as_str()))
                || requests.contains(subject);
            if about || subject.split(' ').any(|word| word == image) {
                let line = serde_json::to_string(&event).map_err(unwritten)?;
                writeln!(packer, "{line}").map_err(unwritten)?;
                trail.written += 1;
                if event.subject == itself {
                    trail.events.push(event);
                }
            }
        }
    }
    pack.add("audit.jsonl", packer.finish().map_err(unwritten)?);
    Ok(trail)
}

/// Characters of a detail that the summary shows: a campaign may name a million devices.
const DETAIL_CHARS: usize = 400;

/// What an event's detail says, in one line for people.
pub(super) fn told(event: &Link) -> String {
    let Ok(Value::Object(detail)) = serde_json::from_str(&event.detail) else { return String::new() };
    let word = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    let words: Vec<String> = detail.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k}: {}", word(v))).collect();
    let told = words.join("; ");
    match told.char_indices().nth(DETAIL_CHARS) {
        Some((end, _)) => format!("{} ... (audit.jsonl has it all)", &told[..end]),
        None => told,
    }
}
