//! `ppmid site`: one site, what is known of it, and every rule with the facts it went by.

use serde_json::{Value, json};

use super::{Context, Output, campaign::reads, policy::as_of, table};
use crate::{
    app::{Dossier, Explanation, SiteTarget, Told},
    clock::{Day, Time},
    estate::{Exclusion, KeyResult, Registration, store::StoredNotice},
    failure::Outcome,
    ids::{DeviceId, ImageId},
    policy::{Finding, UpgradeStep},
};

/// One site: what is known of it, and whether it may be upgraded
#[derive(clap::Subcommand)]
pub enum Command {
    /// What is known of a site: its registrations, key results and exclusions
    #[command(after_help = "Example:\n  ppmid site show 00-DB-12-34-56-78-90-A4 --output json")]
    Show {
        /// An EUI-64, in upper or lower case
        #[arg(value_name = "DEVICE_ID")]
        device_id: DeviceId,
        /// As of this time (RFC 3339) or the end of this day
        #[arg(long, value_name = "TIME", value_parser = as_of)]
        as_of: Option<Time>,
    },
    /// Whether a site may be upgraded: every rule in order, with the facts it went by and where the rule comes from
    #[command(
        after_help = "Examples:\n  ppmid site explain 00-DB-12-34-56-78-90-A4 --campaign spring\n  ppmid site explain 00-DB-12-34-56-78-90-A4 --as-of 2027-01-15"
    )]
    Explain(ExplainArgs),
}

#[derive(clap::Args)]
pub struct ExplainArgs {
    /// An EUI-64, in upper or lower case
    #[arg(value_name = "DEVICE_ID")]
    pub device_id: DeviceId,
    /// By the image of this campaign, as if it were planned now
    #[arg(long, value_name = "ID", conflicts_with = "image")]
    pub campaign: Option<String>,
    /// By this image; without one, the rules about the image are not judged
    #[arg(long, value_name = "ID")]
    pub image: Option<ImageId>,
    /// As of this time (RFC 3339) or the end of this day
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    pub as_of: Option<Time>,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    match command {
        Command::Show { device_id, as_of } => {
            let at = as_of.unwrap_or(ctx.clock.now());
            render_show(&ctx.app().await?.site(device_id, at).await?, ctx.output())
        }
        Command::Explain(args) => {
            let at = args.as_of.unwrap_or(ctx.clock.now());
            let answer = ctx.app().await?.explain_site(args.device_id, args.campaign.as_deref(), args.image, at).await?;
            render_explain(&answer, ctx.output())
        }
    }
}

/// Digits of a hash that a line shows; JSON has it whole.
const HASH_SHOWN: usize = 12;

const EXPLAIN_HEADERS: [&str; 5] = ["rule", "reason", "result", "what", "source"];

/// The verdict, then a row a rule; in CSV the rows alone.
pub fn render_explain(answer: &Explanation, output: Output) -> Outcome {
    if output == Output::Json {
        return table::object(output, &[], &explain_json(answer));
    }
    if output == Output::Table {
        table::object(output, &explain_head(answer), &())?;
    }
    let rows = explain_rows(&answer.findings);
    let none: Vec<Value> = rows.iter().map(|_| Value::Null).collect();
    table::print(output, &EXPLAIN_HEADERS, &rows, &none)
}

fn explain_head(answer: &Explanation) -> Vec<(&'static str, String)> {
    let reason = answer.verdict.reason;
    let registration = answer.verdict.registration.map(|(mpid, from)| format!("{mpid} from {from}"));
    let mut head = vec![
        ("device_id", answer.device_id.to_string()),
        ("decision", format!("{} ({})", reason, reason.outcome())),
        ("decided_as_of", format!("{}, day {} in London", answer.at, answer.at.london_day())),
        ("registration", registration.unwrap_or_else(|| "none".to_string())),
        ("image", answer.image.map_or("none named".to_string(), |id| id.to_string())),
        ("policy_hash", answer.policy_hash.clone()),
        ("steps", steps_line(answer)),
    ];
    if let Some(wave) = &answer.wave {
        head.push(("wave", format!("{}, {} of {}: {}", wave.name, wave.number, wave.of, wave.state)));
    }
    if let Some(refusal) = &answer.refusal {
        head.push(("campaign_refused", format!("{}: {}", refusal.code, refusal.message)));
    }
    if let Some(closed) = &answer.waits_for {
        head.push(("window", format!("closed: waits for {closed}")));
    }
    let order = ["would go first", "would go next"];
    head.extend(
        answer.pathway.iter().enumerate().map(|(n, step)| {
            ("pathway", format!("image {} (version {}) {}", step.image, step.firmware_version, order[n.min(1)]))
        }),
    );
    head.extend(answer.supply_notices.iter().map(|n| ("supply_notice", notice(n))));
    head.extend(answer.decisions.iter().map(|d| ("decided_before", told(d))));
    head
}

/// The steps, how long each may stay silent, and the row they come from.
fn steps_line(answer: &Explanation) -> String {
    let steps = &answer.steps;
    let step = |step: &UpgradeStep| match step {
        UpgradeStep::Update => format!("{step} ({})", silence(answer)),
        UpgradeStep::ReadInventory | UpgradeStep::ReadVersion => format!("{step} (within {})", steps.read_within),
    };
    format!("{}; from {}", steps.steps.iter().map(step).collect::<Vec<_>>().join(", then "), steps.from)
}

/// How long the update may stay silent, and what follows then.
fn silence(answer: &Explanation) -> String {
    let steps = &answer.steps;
    let mut told = format!("silent for {} at most", answer.answer_within);
    if !steps.silent.is_empty() {
        let asks: Vec<String> = steps.silent.iter().map(ToString::to_string).collect();
        told += &format!(", then {} within {}", asks.join(" and "), answer.ask_within());
        if steps.retries > 0 {
            told += &format!(", and sent again {} times at most, after {}", steps.retries, steps.retry_after);
        }
    }
    told
}

fn explain_rows(findings: &[Finding]) -> Vec<Vec<String>> {
    let result = |f: &Finding| match (f.judged, f.applies) {
        (false, _) => "not judged".to_string(),
        (true, true) => f.outcome.to_string(),
        (true, false) => "pass".to_string(),
    };
    let row = |f: &Finding| vec![f.rule.to_string(), f.reason.to_string(), result(f), f.what.clone(), f.source.clone()];
    findings.iter().map(row).collect()
}

fn explain_json(answer: &Explanation) -> Value {
    let reason = answer.verdict.reason;
    json!({
        "device_id": answer.device_id,
        "at": answer.at,
        "day": answer.at.london_day(),
        "image": answer.image,
        "policy_hash": answer.policy_hash,
        "outcome": reason.outcome(),
        "reason": reason,
        "registration": answer.verdict.registration.map(|(mpid, from)| json!({"supplier_mpid": mpid, "effective_from": from})),
        "campaign_refused": answer.refusal,
        "rules": answer.findings,
        "pathway": answer.pathway,
        "waits_for": answer.waits_for.as_ref().map(|closed| json!({"why": closed.to_string(), "until": closed.until})),
        "steps": {
            "steps": answer.steps.steps,
            "answer_within": answer.answer_within,
            "silent": answer.steps.silent,
            "ask_within": (!answer.steps.silent.is_empty()).then(|| answer.ask_within()),
            "retries": answer.steps.retries,
            "retry_after": (answer.steps.retries > 0).then_some(answer.steps.retry_after),
            "read_within": answer.steps.read().map(|_| answer.steps.read_within),
            "from": answer.steps.from,
        },
        "wave": answer.wave,
        "supply_notices": answer.supply_notices,
        "decisions": answer.decisions,
    })
}

/// What is known of a site, one fact a line; in JSON an object.
pub fn render_show(dossier: &Dossier, output: Output) -> Outcome {
    table::object(output, &show_fields(dossier), &show_json(dossier))
}

fn show_fields(dossier: &Dossier) -> Vec<(&'static str, String)> {
    let site = &dossier.site;
    let optional = |id: Option<DeviceId>| id.map(|id| id.to_string()).unwrap_or_default();
    let registration = |r: &Registration| format!("{} {}", r.supplier_mpid, span(r.effective_from, r.effective_to));
    let key = |k: &KeyResult| {
        format!("{} at {}{}", k.status, k.attempted_at, k.detail.as_ref().map(|d| format!(" ({d})")).unwrap_or_default())
    };
    let exclusion = |x: &Exclusion| format!("{} {}", x.reason, span(x.effective_from, x.effective_to));
    let place = |t: &SiteTarget| format!("{}: {} ({})", t.name, t.state, t.detail.as_deref().unwrap_or(t.reason.as_str()));
    vec![
        ("device_id", site.device_id.to_string()),
        ("mpan", site.mpan.to_string()),
        ("cohort", site.cohort.to_string()),
        ("manufacturer", site.manufacturer.clone()),
        ("model", site.model.clone()),
        ("hardware_version", format!("{:04X}", site.hardware_version)),
        ("firmware_version", site.firmware_version.clone()),
        ("device_status", site.device_status.clone()),
        ("dmc", site.dmc.clone()),
        ("chf_device_id", optional(site.chf_device_id)),
        ("gsme_device_id", optional(site.gsme_device_id)),
        ("region", site.region.clone().unwrap_or_default()),
        ("migrated_on", site.migrated_on.map(|d| d.to_string()).unwrap_or_default()),
        ("as_at", site.as_at.map(|t| t.to_string()).unwrap_or_default()),
        ("registrations", joined(&dossier.registrations, registration)),
        ("key_results", joined(&dossier.key_results, key)),
        ("supply_notices", joined(&dossier.supply_notices, notice)),
        ("exclusions", joined(&dossier.exclusions, exclusion)),
        ("campaigns", joined(&dossier.targets, place)),
        ("reads", joined(&dossier.reads, reads::told)),
        ("history", joined(&dossier.history, told)),
    ]
}

/// What an alert said of a change of supplier, on a line.
fn notice(n: &StoredNotice) -> String {
    let until = match n.answered_by_import {
        Some(import) => format!("until import {import} said more"),
        None => "until registrations say more".to_string(),
    };
    format!("lost on {}, says ChangeOfSupplier message {} at {}, {until}", n.day, n.message, n.received_at)
}

/// One step of a story on a line: when, what, why, by whom, and what it went by.
pub fn told(t: &Told) -> String {
    let step = &t.step;
    let cause = match (step.cause, step.cause_ref) {
        (None, _) => "planned".to_string(),
        (Some(cause), None) => cause.to_string(),
        (Some(cause), Some(reference)) => format!("{cause} {reference}"),
    };
    let mut line = format!("{} campaign {}: {} ({}), {cause} by {}", step.at, t.campaign, step.state, step.reason, t.who);
    if t.is_decision() {
        let registration = step.registration.map(|(mpid, from)| format!("registration {mpid} from {from}"));
        let entry = t.cpl_entry.as_ref().and_then(|e| e["cpl_entry_id"].as_str()).map(|id| format!("CPL entry {id}"));
        let key = step.key_result_at.map(|at| format!("key result of {at}"));
        let fact = step.fact.as_ref().map(|fact| format!("against it: {fact}"));
        let policies = t.policy_hash.as_deref().and_then(|hash| hash.get(..HASH_SHOWN)).map(|hash| format!("policies {hash}"));
        let went_by: Vec<String> = [registration, entry, key, fact, policies].into_iter().flatten().collect();
        if !went_by.is_empty() {
            line += &format!("; went by {}", went_by.join(", "));
        }
    } else if let Some(detail) = &step.detail {
        line += &format!("; {detail}");
    }
    line
}

fn joined<T>(rows: &[T], told: impl Fn(&T) -> String) -> String {
    rows.iter().map(told).collect::<Vec<_>>().join("; ")
}

/// Half-open, as the files are.
pub fn span(from: Day, to: Option<Day>) -> String {
    to.map_or_else(|| format!("from {from}"), |to| format!("from {from} until {to}"))
}

fn show_json(dossier: &Dossier) -> Value {
    let site = &dossier.site;
    let registration = |r: &Registration| json!({"supplier_mpid": r.supplier_mpid, "effective_from": r.effective_from, "effective_to": r.effective_to});
    let key = |k: &KeyResult| json!({"status": k.status, "attempted_at": k.attempted_at, "detail": k.detail});
    let exclusion =
        |x: &Exclusion| json!({"reason": x.reason, "effective_from": x.effective_from, "effective_to": x.effective_to});
    json!({
        "device_id": site.device_id,
        "mpan": site.mpan,
        "cohort": site.cohort,
        "manufacturer": site.manufacturer,
        "model": site.model,
        "hardware_version": format!("{:04X}", site.hardware_version),
        "firmware_version": site.firmware_version,
        "device_status": site.device_status,
        "dmc": site.dmc,
        "chf_device_id": site.chf_device_id,
        "gsme_device_id": site.gsme_device_id,
        "region": site.region,
        "migrated_on": site.migrated_on,
        "as_at": site.as_at,
        "registrations": dossier.registrations.iter().map(registration).collect::<Vec<_>>(),
        "key_results": dossier.key_results.iter().map(key).collect::<Vec<_>>(),
        "supply_notices": dossier.supply_notices,
        "exclusions": dossier.exclusions.iter().map(exclusion).collect::<Vec<_>>(),
        "campaigns": dossier.targets,
        "reads": dossier.reads.iter().map(reads::ReadLine::from).collect::<Vec<_>>(),
        "history": dossier.history,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        app::{WaveOfSite, WaveState},
        estate::{Cohort, KeyStatus, Site},
        policy::{
            Decision, PolicySet, ReadStep, Reason, SiteFacts, evaluate, explain,
            pathway::Step,
            windows::{Closed, Why},
        },
        target::{
            ReadCause, ReadState, Standing, TargetState,
            store::{Cause, history, reads::Read},
        },
    };

    fn site() -> Site {
        Site {
            device_id: "00-DB-12-34-56-78-90-A4".parse().unwrap(),
            mpan: "2298132107763".parse().unwrap(),
            cohort: Cohort::Ioc,
            manufacturer: "106C".to_string(),
            model: "433100AC".to_string(),
            hardware_version: 0x1111,
            firmware_version: "0001".to_string(),
            device_status: "Commissioned".to_string(),
            dmc: "DMC-1".to_string(),
            chf_device_id: None,
            gsme_device_id: None,
            region: None,
            migrated_on: Some("2020-06-01".parse().unwrap()),
            as_at: None,
        }
    }

    fn registration() -> Registration {
        let mpan = site().mpan;
        let (effective_from, effective_to) = ("2019-04-01".parse().unwrap(), Some("2021-02-01".parse().unwrap()));
        Registration { mpan, supplier_mpid: "EELC".parse().unwrap(), effective_from, effective_to }
    }

    fn decided_before(cause: Option<Cause>, cause_ref: Option<i64>) -> Told {
        let step = history::Step {
            device: site().device_id,
            version: 0,
            at: "2021-01-10T08:00:00Z".parse().unwrap(),
            state: TargetState::Held,
            reason: Reason::KeysMissing,
            cause,
            cause_ref,
            batch: None,
            attempts: 0,
            registration: Some(("EELC".parse().unwrap(), "2019-04-01".parse().unwrap())),
            registration_to: None,
            policy_set: Some(1),
            cpl_fact: Some(1),
            key_result_at: Some("2020-10-05T09:00:00Z".parse().unwrap()),
            fact: Some("failed".into()),
            detail: Some("S1SPAlertDSP: no key".into()),
        };
        let (policy_hash, cpl_entry) = (Some("0123456789abcdef".into()), Some(json!({"cpl_entry_id": "CPL-7"})));
        Told { campaign: 7, who: "ann@desk".into(), step, policy_hash, cpl_entry }
    }

    fn read() -> Read {
        let first_asked_at = Some("2021-01-12T08:00:00Z".parse().unwrap());
        Read {
            plan_id: 7,
            device: site().device_id,
            campaign_id: 7,
            kind: ReadStep::ReadInventory,
            cause: ReadCause::Activation,
            standing: Standing {
                state: ReadState::Waiting,
                due_at: "2021-01-12T14:00:00Z".parse().unwrap(),
                first_asked_at,
                asks: 2,
                within_millis: 172_800_000,
            },
            created_at: "2021-01-12T07:00:00Z".parse().unwrap(),
            counter: Some(9),
            answer_version: None,
            answer_status: Some("Commissioned".into()),
            answered_at: first_asked_at,
            note: Some("DSPInventory names no version of it".into()),
            open_for: None,
            version: 2,
        }
    }

    fn lost() -> StoredNotice {
        let received_at: Time = "2021-01-12T10:00:00Z".parse().unwrap();
        let day = received_at.london_day();
        StoredNotice { day, received_at, device: site().device_id, message: 31, answered_by_import: Some(5) }
    }

    #[test]
    fn an_explanation_for_people_and_for_programs() {
        let (site, own) = (site(), [registration()]);
        let decision = Decision::without_image(&PolicySet::compiled(), &[], "2021-01-15T12:00:00Z".parse().unwrap());
        let facts = SiteFacts {
            site: &site,
            own_registrations: &own,
            key: Some(KeyStatus::Failed),
            exclusion: None,
            in_other_campaign: false,
        };
        let answer = Explanation {
            device_id: site.device_id,
            at: decision.at(),
            image: None,
            policy_hash: "(hash)".to_string(),
            refusal: None,
            verdict: evaluate(&decision, &facts),
            findings: explain(&decision, &facts),
            waits_for: Some(Closed { until: Some("2021-01-15T22:00:00Z".parse().unwrap()), why: Why::NoWindowOpen }),
            pathway: vec![
                Step { firmware_version: "0002".into(), image: ImageId([0xAB; 32]) },
                Step { firmware_version: "0003".into(), image: ImageId([0xCD; 32]) },
            ],
            steps: PolicySet::compiled().steps.of_site(&site),
            answer_within: PolicySet::compiled().eligibility.answer_within,
            wave: Some(WaveOfSite { number: 2, name: "early".into(), of: 4, state: WaveState::Waiting }),
            supply_notices: vec![lost()],
            decisions: vec![decided_before(None, None), decided_before(Some(Cause::Send), Some(4))],
        };
        let head: Vec<String> = explain_head(&answer).into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let rows: Vec<String> = explain_rows(&answer.findings).iter().map(|row| row.join(" | ")).collect();
        insta::assert_snapshot!(format!("{}\n{}", head.join("\n"), rows.join("\n")));
        let json = explain_json(&answer);
        assert_eq!((&json["reason"], &json["outcome"]), (&json!("COMBINATION_NOT_ELIGIBLE"), &json!("ineligible")));
        assert_eq!(json["rules"].as_array().unwrap().len(), 13);
        assert_eq!(json["registration"]["supplier_mpid"], "EELC");
    }

    #[test]
    fn a_dossier_for_people_and_for_programs() {
        let (device_id, attempted_at) = (site().device_id, "2020-10-05T09:00:00Z".parse().unwrap());
        let detail = Some("no WAN".to_string());
        let key = KeyResult { device_id, attempted_at, status: KeyStatus::Failed, detail };
        let exclusion =
            Exclusion { reason: "booked visit".to_string(), effective_from: "2021-01-01".parse().unwrap(), effective_to: None };
        let dossier = Dossier {
            site: site(),
            registrations: vec![registration()],
            key_results: vec![key],
            supply_notices: vec![lost()],
            exclusions: vec![exclusion],
            targets: vec![],
            reads: vec![read()],
            history: vec![decided_before(Some(Cause::Message), Some(12))],
        };
        let lines: Vec<String> = show_fields(&dossier).into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        insta::assert_snapshot!(lines.join("\n"));
        let json = show_json(&dossier);
        for (key, _) in show_fields(&dossier) {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
