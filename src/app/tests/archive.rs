//! The archive as an operator uses it: what came is found and opened, what was refused is tried again after a fix, who looked at
//! bytes is on record, and what is old goes.

use serde_json::Value;

use super::*;
use crate::{
    app::{MessageQuery, Pruned, Replayed, RequestQuery},
    audit,
    duis::Claimed,
    gateway::{
        authenticate::authenticate,
        inbox::{Filter, InboxEntry, store as archive},
        outbox::store::PostingOutcome,
    },
};

impl Lab {
    async fn found(&self, query: MessageQuery) -> Vec<InboxEntry> {
        match self.app.message_filter(&query).await.unwrap() {
            Some(filter) => self.app.messages(&filter, None, 100).await.unwrap(),
            None => Vec::new(),
        }
    }

    /// What comes from somebody whose certificate is not pinned.
    async fn refuses(&self, bytes: Vec<u8>) -> i64 {
        let refused = authenticate(bytes, &self.pinned.current(), self.app.now()).unwrap_err();
        let mut tx = self.app.db.begin().await.unwrap();
        archive::keep_refused(&mut tx, &[refused]).await.unwrap();
        tx.commit().await.unwrap();
        self.found(MessageQuery::default()).await[0].id
    }

    async fn replays(&self, ids: &[i64]) -> Replayed {
        self.app.replay_messages(ids, &self.pinned.current(), OPERATOR).await.unwrap()
    }

    async fn settles(&self) {
        while self.app.settle_some(&self.pinned.current()).await.unwrap() > 0 {}
    }

    async fn entry(&self, id: i64) -> InboxEntry {
        self.app.open_message(id).await.unwrap().entry
    }

    /// What the audit trail says of an action: who, subject and detail, newest last.
    async fn recorded(&self, action: &str) -> Vec<(String, String, Value)> {
        let all = audit::list(&mut self.app.db.read().await.unwrap(), 0, 10_000).await.unwrap();
        all.into_iter().filter(|e| e.action == action).map(|e| (e.who, e.subject, e.detail)).collect()
    }
}

#[tokio::test]
async fn a_message_is_found_by_its_device_alone_or_in_a_list() {
    for lab in labs(6).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.hears(&activated(None, 2, 2)).await;
        let lists = UpdateFirmwareWarning { invalid: vec![device(2), device(3)], ..Default::default() };
        lab.hears(&warning(id, 3, lists)).await;
        let of = |n| MessageQuery { device: Some(device(n)), ..MessageQuery::default() };
        let kinds = |found: Vec<InboxEntry>| found.into_iter().map(|e| e.kind).collect::<Vec<_>>();
        assert_eq!(kinds(lab.found(of(1)).await), ["SMETS1CHFirmwareNotification"]);
        assert_eq!(kinds(lab.found(of(2)).await), ["DSPUpdateFirmwareWarning", "SMETS1CHFirmwareNotification"]);
        assert_eq!(kinds(lab.found(of(3)).await), ["DSPUpdateFirmwareWarning"]);
        assert!(lab.found(of(4)).await.is_empty());
        let about = MessageQuery { request: Some(id), ..MessageQuery::default() };
        assert_eq!(lab.found(about).await.len(), 3, "the reply to the POST is one of them");
        let late = MessageQuery { since: Some(lab.app.now().plus_millis(1)), ..of(2) };
        assert!(lab.found(late).await.is_empty());
        assert_eq!(lab.app.requests(&lab.app.request_filter(&request_of(3)).await.unwrap(), None, 9).await.unwrap().len(), 1);
        assert!(lab.app.requests(&lab.app.request_filter(&request_of(99)).await.unwrap(), None, 9).await.unwrap().is_empty());
    }
}

fn request_of(n: u64) -> RequestQuery {
    RequestQuery { device: Some(device(n)), ..RequestQuery::default() }
}

#[tokio::test]
async fn the_reply_is_kept_with_its_request_and_the_bytes_are_those_that_were_posted() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.app.prepare_batch(campaign).await.unwrap().unwrap();
        let first = lab.app.begin_post(id, &lab.dcc).await.unwrap().unwrap();
        lab.no_reply(id).await;
        lab.app.clock.advance(60_000);
        let second = lab.app.begin_post(id, &lab.dcc).await.unwrap().unwrap();
        assert_ne!(first.bytes, second.bytes, "a signature of its own");
        lab.reply(id, "I99").await;
        let (opened, members) = lab.app.open_request(id).await.unwrap();
        assert_eq!((opened.devices, members.len(), opened.batch_number), (2, 2, Some(1)));
        let outcomes: Vec<_> = opened.postings.iter().map(|p| (p.attempt, p.outcome)).collect();
        assert_eq!(outcomes, [(1, Some(PostingOutcome::Unknown)), (2, Some(PostingOutcome::Answered))]);
        let reply = lab.app.open_message(opened.postings[1].reply.unwrap()).await.unwrap();
        let Ok(Claimed::Response(says)) = reply.says else { panic!("{:?}", reply.says) };
        assert_eq!((reply.entry.state, reply.verified, says.code.as_str()), (InboxState::Settled, true, "I99"));
        assert_eq!(reply.signer, Some(("CN=Z1,OU=07".to_string(), "7".to_string())));
        assert!(lab.recorded("request.read-raw").await.is_empty());
        assert_eq!(lab.app.raw_request(id, Some(1), OPERATOR).await.unwrap(), first.bytes);
        assert_eq!(lab.app.raw_request(id, None, OPERATOR).await.unwrap(), second.bytes);
        assert!(lab.app.raw_request(id, Some(3), OPERATOR).await.is_err());
        let recorded = lab.recorded("request.read-raw").await;
        assert_eq!(recorded.len(), 2, "what was not given out is not said to have been");
        assert_eq!((recorded[0].0.as_str(), recorded[0].1.clone()), (OPERATOR, format!("request {id}")));
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_used_is_evidence_and_replayed_once_its_signer_is_known() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        let pinned = lab.pinned.current();
        let bytes = testing::signed(&answer(id, "I99"), &lab.dcc);
        let outcome = PostOutcome::Unknown(Trouble::new(Fault::Unsigned, "a certificate that is not pinned"));
        let exchange = Exchange { outcome, reply: Some(Reply { bytes, digest: None }) };
        lab.pinned.replace(Default::default());
        assert_eq!(lab.app.record_outcome(id, 1, &exchange).await.unwrap(), Posted::Unknown);
        let kept = &lab.found(MessageQuery { request: Some(id), ..MessageQuery::default() }).await[0];
        assert_eq!((kept.state, kept.reason.as_deref(), kept.source.as_str()), (InboxState::Rejected, Some("reply"), "reply"));
        assert!(!lab.app.open_message(kept.id).await.unwrap().verified);
        lab.pinned.replace((*pinned).clone());
        assert_eq!(lab.replays(&[kept.id]).await.queued, [kept.id]);
        lab.settles().await;
        assert_eq!((lab.state(campaign, 1).await, lab.outbox_state(id).await.as_str()), (TargetState::Accepted, "answered"));
    }
}

#[tokio::test]
async fn bytes_as_they_came_are_given_out_on_the_record() {
    for lab in labs(1).await {
        let bytes = testing::signed(&activated(None, 1, 1), &lab.dcc);
        lab.receives(bytes.clone()).await;
        assert_eq!(lab.app.raw_message(1, "mallory@desk").await.unwrap(), bytes);
        assert!(lab.app.raw_message(2, "mallory@desk").await.is_err());
        let recorded = lab.recorded("message.read-raw").await;
        assert_eq!((recorded.len(), recorded[0].0.as_str(), recorded[0].1.as_str()), (1, "mallory@desk", "message 1"));
    }
}

#[tokio::test]
async fn a_pin_that_is_taken_away_does_not_keep_what_came_from_being_settled() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.receives(testing::signed(&activated(Some(id), 1, 1), &lab.dcc)).await;
        lab.pinned.replace(Default::default());
        lab.settles().await;
        assert_eq!(lab.state(campaign, 1).await, TargetState::Activated);
    }
}

#[tokio::test]
async fn a_refused_message_is_settled_once_its_certificate_is_pinned_and_not_before() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let pinned = lab.pinned.current();
        lab.pinned.replace(Default::default());
        let refused = lab.refuses(testing::signed(&activated(Some(id), 1, 1), &lab.dcc)).await;
        let forged = lab.refuses(b"<sr:Response/>".to_vec()).await;
        let entry = lab.entry(refused).await;
        assert_eq!((entry.state, entry.reason.as_deref()), (InboxState::Rejected, Some("unknown-certificate")));
        assert!(entry.note.unwrap().contains("CN=Z1,OU=07"));
        let before = lab.replays(&[refused]).await;
        assert_eq!((before.queued.len(), before.refused.len()), (0, 1));
        assert!(before.refused[0].1.starts_with("unknown-certificate: "), "{before:?}");
        assert_eq!(lab.entry(refused).await.state, InboxState::Rejected);

        lab.pinned.replace((*pinned).clone());
        let after = lab.replays(&[refused, forged, 99]).await;
        assert_eq!((after.queued.as_slice(), after.refused.len()), ([refused].as_slice(), 2));
        lab.settles().await;
        assert_eq!((lab.state(campaign, 1).await, lab.entry(refused).await.state), (TargetState::Activated, InboxState::Settled));
        assert_eq!(lab.entry(refused).await.device_id, Some(device(1)));
        assert_eq!(lab.entry(forged).await.state, InboxState::Rejected);
        let recorded = lab.recorded("message.replay").await;
        assert_eq!((recorded.len(), &recorded[1].2["queued"][0], &recorded[1].2["refused"]), (2, &refused.into(), &2.into()));
        let again = lab.replays(&[refused]).await;
        assert_eq!(again.refused, [(refused, "it is settled".to_string())]);
    }
}

#[tokio::test]
async fn a_refused_message_that_came_again_and_was_taken_is_known() {
    for lab in labs(1).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        let pinned = lab.pinned.current();
        let bytes = testing::signed(&activated(Some(id), 1, 1), &lab.dcc);
        lab.pinned.replace(Default::default());
        let refused = lab.refuses(bytes.clone()).await;
        lab.pinned.replace((*pinned).clone());
        lab.receives(bytes).await;
        lab.settles().await;
        let replayed = lab.replays(&[refused]).await;
        assert_eq!((replayed.queued.len(), replayed.refused.len(), replayed.known[0].0), (0, 0, refused));
        assert_eq!(lab.entry(refused).await.state, InboxState::Dismissed);
    }
}

#[tokio::test]
async fn after_a_policy_was_corrected_what_nobody_understood_is_settled() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        assert_eq!(lab.hears(&s1sp(Some(id), 1, Some(1), "S9", testing::now())).await, InboxState::Unmatched);
        let waiting = lab.found(MessageQuery { state: Some(InboxState::Unmatched), ..Default::default() }).await;
        let mut codes = crate::policy::PolicyName::ResponseCodes.shipped().to_string();
        codes += "\n[[s1sp]]\ncode = \"S9\"\ndisposition = \"drop_device\"\nsentence = \"It is out.\"\n";
        std::fs::write(lab.folder.path().join("policies/response-codes.toml"), codes).unwrap();
        assert_eq!(lab.replays(&[waiting[0].id]).await.queued, [waiting[0].id]);
        lab.settles().await;
        assert_eq!(
            (lab.state(campaign, 1).await, lab.entry(waiting[0].id).await.state),
            (TargetState::Failed, InboxState::Settled)
        );
    }
}

#[tokio::test]
async fn a_reply_with_an_unlisted_code_is_applied_once_the_code_is_listed() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.post(campaign).await;
        assert_eq!(lab.reply(id, "E110101").await, Posted::Held);
        let waiting = lab.found(MessageQuery { state: Some(InboxState::Unmatched), ..Default::default() }).await;
        assert_eq!((waiting.len(), waiting[0].source.as_str(), waiting[0].request_id), (1, "reply", Some(id)));
        let codes = crate::policy::PolicyName::ResponseCodes.shipped().replace("\"E110101\", ", "");
        let listed = "\n[[code]]\ncode = \"E110101\"\ndisposition = \"accepted\"\nsentence = \"Accepted after all.\"\n";
        std::fs::write(lab.folder.path().join("policies/response-codes.toml"), codes + listed).unwrap();
        lab.replays(&[waiting[0].id]).await;
        lab.settles().await;
        assert_eq!((lab.batch(campaign).await.as_str(), lab.state(campaign, 1).await), ("accepted", TargetState::Accepted));
        assert_eq!(
            (lab.entry(waiting[0].id).await.state, lab.outbox_state(id).await.as_str()),
            (InboxState::Settled, "answered")
        );
    }
}

#[tokio::test]
async fn an_alert_that_names_nobody_waits_with_its_sentence_until_a_person_takes_it_off() {
    for lab in labs(1).await {
        assert_eq!(lab.hears(&s1sp(None, 1, None, "S1VE1", testing::now())).await, InboxState::Unmatched);
        assert_eq!(lab.hears(&s1sp(None, 2, None, "S7", testing::now())).await, InboxState::Unmatched);
        let waiting = lab.found(MessageQuery { state: Some(InboxState::Unmatched), ..Default::default() }).await;
        let notes: Vec<_> = waiting.iter().map(|e| e.note.clone().unwrap()).collect();
        assert!(notes[1].contains("no PPMID key for the device") && notes[0].contains("does not list this code"), "{notes:?}");
        assert_eq!(lab.app.waiting_messages().await.unwrap()[&InboxState::Unmatched], 2);
        let id = waiting[0].id;
        assert!(lab.app.dismiss_messages(&[id, 99], "spoke to them", OPERATOR).await.is_err(), "all or none");
        assert!(lab.app.dismiss_messages(&[id], "  ", OPERATOR).await.is_err(), "a reason is wanted");
        assert_eq!(lab.app.dismiss_messages(&[id, id], "spoke to them", OPERATOR).await.unwrap(), 1);
        let entry = lab.entry(id).await;
        assert_eq!(entry.state, InboxState::Dismissed);
        assert!(entry.note.unwrap().starts_with("dismissed by ann@desk: spoke to them; it was: S1SPAlertDSP"));
        assert_eq!(lab.recorded("message.dismiss").await[0].2["reason"], "spoke to them");
        assert!(lab.app.dismiss_messages(&[id], "again", OPERATOR).await.is_err());
        assert_eq!(lab.replays(&[id]).await.queued, [id], "what was dismissed can be taken up again");
    }
}

#[tokio::test]
async fn messages_are_kept_thirteen_months_and_requests_until_their_campaign_is_over() {
    for lab in labs(2).await {
        let campaign = lab.started("spring", 10).await;
        let id = lab.send(campaign).await;
        lab.hears(&activated(Some(id), 1, 1)).await;
        lab.hears(&s1sp(None, 2, None, "S7", testing::now())).await;
        assert_eq!(lab.app.kept_since(), "2025-10-24T12:00:00Z".parse().unwrap(), "13 months");
        lab.app.clock.advance(395 * 86_400_000);
        assert_eq!(lab.app.prune_some().await.unwrap(), Pruned::default(), "to the moment");
        lab.app.clock.advance(1);
        assert_eq!(lab.app.prune_some().await.unwrap(), Pruned { messages: 2, ..Pruned::default() }, "the alert and the reply");
        assert_eq!(lab.app.prune_some().await.unwrap(), Pruned::default(), "the campaign is not over");
        assert!(lab.app.raw_request(id, None, OPERATOR).await.is_ok());
        lab.app.expire_silent().await.unwrap();
        assert_eq!(lab.app.finish_campaigns().await.unwrap(), 1);
        assert_eq!(lab.app.prune_some().await.unwrap(), Pruned { requests: 1, ..Pruned::default() });
        assert!(lab.app.raw_request(id, None, OPERATOR).await.is_err());
        assert_eq!(lab.app.campaign_status("spring").await.unwrap().requests_sent, 1, "that it was posted is remembered");
        let left = archive::search(&mut lab.app.db.read().await.unwrap(), &Filter::default(), None, 9).await.unwrap();
        assert_eq!(left.iter().map(|e| e.state).collect::<Vec<_>>(), [InboxState::Unmatched], "it waits for a person");
    }
}
