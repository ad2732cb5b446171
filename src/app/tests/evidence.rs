//! A campaign's evidence says what happened: each site's decision as `explain` tells it, each story whole, what was sent and by whom.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;

use super::*;
use crate::evidence::tests::unpack;

type Entries = BTreeMap<String, String>;
type Row = BTreeMap<String, String>;

fn audit_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

async fn pack(lab: &Lab, campaign: &str) -> Vec<u8> {
    let key = audit_key();
    let gathered = lab.app.gather_evidence(campaign, &key.verifying_key(), lab.folder.path(), &mut |_| {}).await;
    let (_, pack) = gathered.unwrap();
    let mut bytes = Vec::new();
    pack.write_to(&mut bytes, &key).unwrap();
    bytes
}

async fn entries(lab: &Lab, campaign: &str) -> Entries {
    unpack(&pack(lab, campaign).await, &audit_key().verifying_key())
}

fn rows(entries: &Entries, name: &str) -> Vec<Row> {
    csv::Reader::from_reader(entries[name].as_bytes()).deserialize().map(|r| r.unwrap()).collect()
}

/// Ten sites: one lost its key, one is activated late, one was refused, one changes hands after it was sent.
async fn eventful(lab: &Lab) -> i64 {
    lab.keys("2020-11-11T08:00:00Z", &[(9, "failed")]).await;
    let campaign = lab.planned("spring", 3).await;
    lab.start("spring").await;
    let first = lab.send(campaign).await;
    lab.hears(&activated(Some(first), 1, 1)).await;
    lab.hears(&no_key(Some(first), 2, 2)).await;
    let second = lab.post(campaign).await;
    lab.no_reply(second).await;
    lab.app.pause_campaign("spring", OPERATOR).await.unwrap();
    campaign
}

#[tokio::test]
async fn the_last_decision_of_each_target_is_what_explain_says() {
    for lab in labs(10).await {
        eventful(&lab).await;
        let entries = entries(&lab, "spring").await;
        let decisions = rows(&entries, "decisions.csv");
        assert_eq!(decisions.len(), 10);
        let cpl: BTreeMap<String, Row> = rows(&entries, "cpl.csv").into_iter().map(|r| (r["cpl_fact"].clone(), r)).collect();
        for row in decisions {
            let id: DeviceId = row["device_id"].parse().unwrap();
            let explained = lab.app.explain_site(id, Some("spring"), None, lab.app.now()).await.unwrap();
            let told = explained.decisions.last().expect("it was decided");
            let text = |v: Option<String>| v.unwrap_or_default();
            let step = &told.step;
            for (column, said) in [
                ("rule", step.reason.to_string()),
                ("decided_state", step.state.to_string()),
                ("decided_at", step.at.to_string()),
                ("decided_by", step.cause.map_or("plan".to_string(), |c| c.to_string())),
                ("who", told.who.clone()),
                ("policies", text(told.policy_hash.clone())),
                ("registration_supplier", text(step.registration.map(|r| r.0.to_string()))),
                ("registration_from", text(step.registration.map(|r| r.1.to_string()))),
                ("registration_to", text(step.registration_to.map(|to| to.to_string()))),
                ("key_result_at", text(step.key_result_at.map(|t| t.to_string()))),
                ("fact", text(step.fact.clone())),
            ] {
                assert_eq!(row[column], said, "{id} {column}");
            }
            match &told.cpl_entry {
                Some(entry) => {
                    let kept = &cpl[&row["cpl_fact"]];
                    assert!(entry.as_object().unwrap().iter().all(|(k, v)| kept[k] == v.as_str().unwrap()), "{id}: {kept:?}");
                }
                None => assert_eq!(row["cpl_fact"], "", "{id}"),
            }
            if !row["policies"].is_empty() {
                assert!(entries.contains_key(&format!("policies/{}/eligibility.toml", row["policies"])), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn history_and_decisions_are_each_story_whole() {
    for lab in labs(10).await {
        eventful(&lab).await;
        let entries = entries(&lab, "spring").await;
        let mut told: BTreeMap<String, Vec<[String; 5]>> = BTreeMap::new();
        for row in rows(&entries, "history.csv").into_iter().chain(rows(&entries, "decisions.csv")) {
            let step = ["version", "state", "reason", "since", "moved_by"].map(|c| row[c].clone());
            told.entry(row["device_id"].clone()).or_default().push(step);
        }
        for n in 1..=10 {
            let history = lab.app.site(device(n), lab.app.now()).await.unwrap().history;
            let wanted: Vec<[String; 5]> = history
                .into_iter()
                .map(|t| t.step)
                .map(|s| {
                    let cause = s.cause.map_or("plan".to_string(), |c| c.to_string());
                    [s.version.to_string(), s.state.to_string(), s.reason.to_string(), s.at.to_string(), cause]
                })
                .collect();
            assert_eq!(told[&device(n).to_string()], wanted, "{n}");
        }
        assert!(told.values().any(|steps| steps.len() >= 4), "stories longer than a page of the test");
    }
}

#[tokio::test]
async fn what_was_sent_and_what_came_back_is_there_with_its_proof() {
    for lab in labs(10).await {
        let campaign = eventful(&lab).await;
        let entries = entries(&lab, "spring").await;
        let requests = rows(&entries, "requests.csv");
        assert_eq!(requests.iter().map(|r| r["state"].as_str()).collect::<Vec<_>>(), ["answered", "unknown"]);
        let postings = rows(&entries, "postings.csv");
        assert_eq!(postings.len(), 2);
        for (request, posting) in requests.iter().zip(&postings) {
            let id: RequestId = request["request_id"].parse().unwrap();
            let bytes = lab.app.raw_request(id, None, OPERATOR).await.unwrap();
            assert_eq!(posting["sha256"], image::sha256(&bytes).to_string());
            assert_eq!((posting["signature_value"].len(), posting["bytes"].parse()), (88, Ok(bytes.len())));
            assert!(String::from_utf8(bytes).unwrap().contains(&posting["signature_value"]));
            assert_eq!(request["body_digest"].len(), 64);
        }
        let batches = rows(&entries, "batches.csv");
        assert_eq!(batches.iter().map(|b| b["devices"].as_str()).collect::<Vec<_>>(), ["3", "3"]);
        let messages = rows(&entries, "messages.csv");
        assert_eq!(messages.len(), 3, "the answer and two alerts");
        assert!(messages.iter().all(|m| m["verified_digest"].len() == 64 && m["state"] == "settled"), "{messages:?}");
        let moved = rows(&entries, "decisions.csv").into_iter().chain(rows(&entries, "history.csv"));
        for step in moved.filter(|s| s["moved_by"] == "message") {
            assert!(messages.iter().any(|m| m["message"] == step["moved_by_ref"]));
        }
        let trail: Vec<serde_json::Value> = entries["audit.jsonl"].lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let actions: Vec<&str> = trail.iter().filter_map(|e| e["action"].as_str()).collect();
        for action in
            ["campaign.create", "campaign.plan", "campaign.approve", "campaign.start", "batch.prepare", "campaign.pause"]
        {
            assert!(actions.contains(&action), "{action}: {actions:?}");
        }
        let whole = crate::audit::list(&mut lab.app.db.read().await.unwrap(), 0, 1_000).await.unwrap();
        for event in &trail {
            let kept = whole.iter().find(|e| Some(e.seq) == event["seq"].as_i64()).unwrap();
            assert_eq!((event["hash"].as_str(), event["prev_hash"].as_str().map(str::len)), (Some(kept.hash.as_str()), Some(64)));
        }
        let image = format!("images/{}.dsse.json", lab.image);
        assert!(image::Envelope::from_json(entries[&image].as_bytes()).is_ok());
        let head: serde_json::Value = serde_json::from_str(&entries["evidence.json"]).unwrap();
        assert_eq!((head["campaign"]["id"].as_i64(), head["targets"].as_u64()), (Some(campaign), Some(10)));
    }
}

#[tokio::test]
async fn the_facts_on_file_are_told_and_what_is_gone_says_so() {
    for lab in labs(10).await {
        eventful(&lab).await;
        // The row that justified site 1 is taken back by a corrected file.
        lab.import(
            Kind::Registrations,
            format!("mpan,supplier_mpid,effective_from,effective_to\n{},EELC,2016-01-01,\n", mpan(1)),
        )
        .await;
        let entries = entries(&lab, "spring").await;
        let registrations = rows(&entries, "registrations.csv");
        for n in 1..=10 {
            let row = registrations.iter().find(|r| r["device_id"] == device(n).to_string()).unwrap();
            let wanted = ("EELC", "2015-01-01", mpan(n).to_string(), if n == 1 { "no" } else { "yes" });
            assert_eq!(
                (row["supplier_mpid"].as_str(), row["effective_from"].as_str(), row["mpan"].clone(), row["on_file"].as_str()),
                wanted
            );
        }
        let keys = rows(&entries, "keys.csv");
        let failed = keys.iter().find(|k| k["device_id"] == device(9).to_string()).unwrap();
        assert_eq!((failed["status"].as_str(), failed["attempted_at"].as_str()), ("failed", "2020-11-11T08:00:00Z"));
        let mut pairs: Vec<_> = keys.iter().map(|k| (&k["device_id"], &k["attempted_at"])).collect();
        pairs.dedup();
        assert_eq!(pairs.len(), keys.len(), "each once");
        // Only registrations.csv has supply numbers.
        for (name, text) in entries.iter().filter(|(name, _)| *name != "registrations.csv") {
            assert!(!text.contains(&mpan(1).to_string()), "{name} has a supply number");
        }
    }
}

#[tokio::test]
async fn the_same_database_gives_the_same_bytes() {
    for lab in labs(4).await {
        eventful(&lab).await;
        assert_eq!(pack(&lab, "spring").await, pack(&lab, "spring").await);
    }
}

#[tokio::test]
async fn without_a_plan_there_is_no_evidence() {
    for lab in labs(1).await {
        let new = NewCampaignRequest {
            name: "bare".into(),
            image: lab.image,
            filter: SiteFilter::default(),
            rollout: None,
            batch_size: None,
            waves: Vec::new(),
        };
        lab.app.create_campaign(new, OPERATOR).await.unwrap();
        let key = audit_key().verifying_key();
        let refused = lab.app.gather_evidence("bare", &key, lab.folder.path(), &mut |_| {}).await.err().unwrap();
        assert!(refused.message.contains("no plan") && !refused.help.is_empty(), "{refused:?}");
        // A what-if is no plan that anybody answers for.
        let at = Some(lab.app.now());
        lab.app.plan_campaign("bare", at, OPERATOR, &mut |_| {}).await.unwrap();
        assert!(lab.app.gather_evidence("bare", &key, lab.folder.path(), &mut |_| {}).await.is_err());
    }
}

/// Hashes, keys and counters that differ from run to run, out of the way.
fn still(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let hash = word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
        out += if hash { "HASH" } else { &word };
        word.clear();
        out.push(c);
    }
    out.trim_end().to_string()
}

#[tokio::test]
async fn the_head_and_the_summary_are_as_people_read_them() {
    for lab in labs(10).await {
        eventful(&lab).await;
        let entries = entries(&lab, "spring").await;
        insta::assert_snapshot!("evidence_json", still(&entries["evidence.json"]));
        insta::assert_snapshot!("summary_html", still(&entries["summary.html"]));
        let columns: Vec<String> = entries
            .iter()
            .filter(|(name, _)| name.ends_with(".csv"))
            .map(|(name, text)| format!("{name}: {}", text.lines().next().unwrap()))
            .collect();
        insta::assert_snapshot!("evidence_columns", columns.join("\n"));
    }
}
