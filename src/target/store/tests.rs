//! The table of targets on both engines: what a row was before each change is kept, once, with what moved it.

use super::{history::Step, *};
use crate::{clock::Day, db::testing::databases, ids::Eui};

const SET: i64 = 3;

fn decided(n: u64, state: TargetState, reason: Reason, fact: Option<&str>) -> Decided {
    Decided {
        device: Eui(n),
        state,
        reason,
        registration: Some(("EELC".parse().unwrap(), Day(18_000))),
        registration_to: None,
        cpl_fact: Some(1),
        key_result_at: Some(Time(77)),
        fact: fact.map(Into::into),
    }
}

fn sending(batch: i64, resubmission: bool) -> Sending {
    Sending { plan: 1, batch, resubmission, policy_set: SET + 2, answer_by: Some(Time(99)) }
}

fn told(steps: &[Step]) -> Vec<(i64, TargetState, Option<Cause>, Option<i64>)> {
    steps.iter().map(|s| (s.version, s.state, s.cause, s.cause_ref)).collect()
}

#[tokio::test]
async fn what_waits_for_its_key_is_sent_from_there_and_returns_there() {
    use TargetState as S;
    for t in databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let mut rows = Planned::new(1, SET, Time(10));
        rows.push(&decided(1, S::Queued, Reason::Eligible, None));
        rows.push(&decided(2, S::Held, Reason::KeysMissing, Some("failed")));
        rows.flush(&mut tx).await.unwrap();
        let members =
            [decided(1, S::Queued, Reason::Eligible, None), decided(2, S::Queued, Reason::KeysMissing, Some("failed; sent"))];
        assert_eq!(send(&mut tx, sending(7, true), &members, Time(20)).await.unwrap(), 1, "{}: not what is queued", t.engine);
        let returned = Moved::because(Because::by(Cause::Returned, 7));
        assert_eq!(move_all(&mut tx, 1, Which::Batch(7), Event::Unsent, returned, Time(30)).await.unwrap(), 1);
        let now = find(&mut tx, &[1], &[Eui(2)]).await.unwrap().remove(0);
        assert_eq!((now.state, now.reason, now.attempts, now.batch_id), (S::Held, Reason::KeysMissing, 0, None));
        let story = history::of_device(&mut tx, 1, Eui(2)).await.unwrap();
        let wanted = [
            (0, S::Held, None, None),
            (1, S::Submitted, Some(Cause::Resubmit), Some(7)),
            (2, S::Held, Some(Cause::Returned), Some(7)),
        ];
        assert_eq!((told(&story), story[1].fact.as_deref()), (wanted.to_vec(), Some("failed; sent")), "{}", t.engine);
    }
}

#[tokio::test]
async fn what_a_target_was_is_kept_before_each_change() {
    use TargetState as S;
    for t in databases().await {
        let mut tx = t.db.begin().await.unwrap();
        let mut rows = Planned::new(1, SET, Time(10));
        rows.push(&decided(1, S::Queued, Reason::Eligible, None));
        rows.push(&decided(2, S::Held, Reason::KeysMissing, Some("failed")));
        rows.push(&decided(3, S::Ineligible, Reason::CohortNotLive, Some("FOC")));
        rows.flush(&mut tx).await.unwrap();

        // The same decision again is no news; another is.
        let recheck = Because::of(Cause::Recheck);
        let again = [decided(2, S::Held, Reason::KeysMissing, Some("failed"))];
        assert_eq!(decide_again(&mut tx, 1, &again, SET, recheck, Time(20)).await.unwrap(), 0);
        let released = [decided(2, S::Queued, Reason::Eligible, None)];
        assert_eq!(decide_again(&mut tx, 1, &released, SET + 1, recheck, Time(21)).await.unwrap(), 1);

        let members = [decided(1, S::Queued, Reason::Eligible, None), decided(2, S::Queued, Reason::Eligible, None)];
        assert_eq!(send(&mut tx, sending(5, false), &members, Time(30)).await.unwrap(), 2);
        let answer = Moved::because(Because::by(Cause::Answer, 5));
        assert_eq!(move_all(&mut tx, 1, Which::Batch(5), Event::Accepted, answer, Time(40)).await.unwrap(), 2);
        let change = Change {
            plan_id: 1,
            device: Eui(2),
            version: 3,
            state: S::Activated,
            reason: Reason::Eligible,
            answer_by: None,
            detail: Some("ActivationSuccessful".into()),
            because: Because::by(Cause::Message, 12),
        };
        assert_eq!(apply(&mut tx, std::slice::from_ref(&change), Time(50)).await.unwrap(), 1);
        assert_eq!(apply(&mut tx, &[change], Time(51)).await.unwrap(), 0, "{}: stale", t.engine);

        let story = history::of_device(&mut tx, 1, Eui(2)).await.unwrap();
        assert_eq!(
            told(&story),
            [
                (0, S::Held, None, None),
                (1, S::Queued, Some(Cause::Recheck), None),
                (2, S::Submitted, Some(Cause::Send), Some(5)),
                (3, S::Accepted, Some(Cause::Answer), Some(5)),
                (4, S::Activated, Some(Cause::Message), Some(12)),
            ],
            "{}",
            t.engine
        );
        assert_eq!((story[0].fact.as_deref(), story[0].policy_set), (Some("failed"), Some(SET)));
        assert_eq!((story[1].fact.as_deref(), story[1].policy_set), (None, Some(SET + 1)));
        assert_eq!((story[4].policy_set, story[4].registration), (Some(SET + 2), Some(("EELC".parse().unwrap(), Day(18_000)))));
        assert_eq!(history::of_device(&mut tx, 1, Eui(3)).await.unwrap().len(), 1, "planning keeps no history");

        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = history::page(&mut tx, 1, after, None, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.device, last.version));
            all.extend(page);
        }
        assert_eq!(
            all.iter().map(|s| (s.device.0, s.version)).collect::<Vec<_>>(),
            [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (3, 0)]
        );

        assert_eq!(delete_some(&mut tx, 1, 10).await.unwrap(), 3);
        assert_eq!(history::page(&mut tx, 1, None, None, 10).await.unwrap(), [], "{}: it goes with its plan", t.engine);
    }
}

#[tokio::test]
async fn a_group_of_transitions_is_found_by_the_key_alone() {
    let t = crate::db::testing::sqlite().await;
    let mut tx = t.db.read().await.unwrap();
    for statement in [moves::MOVE.to_string(), history::keep_places_text()] {
        let plan = crate::db::given::plan(&mut tx, moves::PLACE, &statement).await;
        assert!(plan.contains("SEARCH targets USING PRIMARY KEY (plan_id=? AND device_id=?)"), "{plan}");
        assert!(!plan.contains("SCAN targets"), "{plan}");
    }
}
