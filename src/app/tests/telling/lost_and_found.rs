//! Receivers that are down, slow, failing, gone, or die with the news in their hands.

use super::*;
use crate::alarm;

async fn told_through(does: &[Does]) -> Vec<(Lab, Receiver)> {
    let mut all = Vec::new();
    for lab in labs(1).await {
        let receiver = Receiver::start().await;
        receiver.will(does);
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        for n in 1..=3 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        all.push((lab, receiver));
    }
    all
}

fn in_order() -> Vec<String> {
    (1..=3).map(|n| format!("campaign {n}")).collect()
}

#[tokio::test]
async fn nothing_is_lost_while_the_receiver_is_down_and_this_program_is_restarted() {
    for lab in labs(1).await {
        let mut receiver = Receiver::down().await;
        lab.teams(&[("incident", "EELC", receiver.port, "[\"alarm\"]")]);
        for n in 1..=3 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        lab.tells_for(20 * HOUR).await;
        assert_eq!(lab.counts().await, [3, 0, 0]);
        let waiting = lab.in_delivery(DeliveryState::Pending).await;
        assert!(waiting[0].last_error.as_ref().unwrap().contains("refused"), "{waiting:?}");
        let attempts: u32 = waiting.iter().map(|d| d.attempts).sum();
        assert!((20..=100).contains(&attempts), "{attempts} attempts in twenty hours");
        receiver.come_up().await;
        let second = lab.second().await;
        // The other process has this one's policies and clock.
        second.tells_for(2 * HOUR).await;
        let mut kept = receiver.kept_subjects();
        kept.sort();
        assert_eq!((kept, receiver.got().len(), second.counts().await), (in_order(), 3, [0, 3, 0]));
    }
}

#[tokio::test]
async fn a_short_outage_keeps_the_order() {
    for does in [Does::Answer(500), Does::Answer(503), Does::Answer(404), Does::Answer(307), Does::Sleep, Does::Die] {
        for (lab, receiver) in told_through(&[does; 4]).await {
            lab.tells().await;
            assert_eq!(receiver.got().len(), 1, "{does:?}: those behind it wait");
            lab.tells_for(HOUR).await;
            let keys: HashSet<String> = receiver.got().iter().map(|g| g.key.clone()).collect();
            assert_eq!((receiver.kept_subjects(), keys.len(), receiver.got().len()), (in_order(), 3, 7), "{does:?}");
            assert_eq!(lab.counts().await, [0, 3, 0]);
            let times = receiver.signed_at();
            assert!(times[..5].windows(2).all(|w| w[0] < w[1]), "each attempt is signed anew: {times:?}");
        }
    }
}

/// It was posted and taken, and the process died before that was noted.
#[tokio::test]
async fn a_crash_between_post_and_commit_sends_the_same_again() {
    for (lab, receiver) in told_through(&[]).await {
        lab.app.spread_notifications().await.unwrap();
        let dead = App { db: Db::open(&lab.url).await.unwrap(), ..lab.app.clone() };
        let due = dead.deliveries_due(&HashSet::new()).await.unwrap();
        dead.db.close().await;
        assert!(dead.deliver(&lab.webhooks(), &due[0]).await.is_err(), "its note could not be kept");
        assert_eq!((receiver.got().len(), lab.counts().await), (1, [3, 0, 0]));
        lab.tells().await;
        assert_eq!((receiver.got().len(), receiver.kept_subjects()), (4, in_order()));
        assert_eq!((&receiver.got()[0].key, &receiver.got()[0].body), (&receiver.got()[1].key, &receiver.got()[1].body));
    }
}

/// Two nodes that both think the lease is theirs.
#[tokio::test]
async fn two_that_post_the_same_note_it_once() {
    for (lab, receiver) in told_through(&[Does::Take, Does::Answer(500)]).await {
        lab.app.spread_notifications().await.unwrap();
        let second = lab.second().await;
        let both =
            (lab.app.deliveries_due(&HashSet::new()).await.unwrap(), second.app.deliveries_due(&HashSet::new()).await.unwrap());
        assert_eq!(both.0[0].delivery, both.1[0].delivery);
        lab.app.deliver(&lab.webhooks(), &both.0[0]).await.unwrap();
        second.app.deliver(&lab.webhooks(), &both.1[0]).await.unwrap();
        assert_eq!(lab.counts().await, [2, 1, 0], "what was delivered stays so");
        lab.tells().await;
        assert_eq!((receiver.kept_subjects(), receiver.got().len()), (in_order(), 4));
    }
}

#[tokio::test]
async fn one_that_is_refused_stands_aside_and_is_tried_again() {
    for (lab, receiver) in told_through(&[Does::Answer(422)]).await {
        lab.tells().await;
        assert_eq!((receiver.kept_subjects(), lab.counts().await), (in_order()[1..].to_vec(), [1, 2, 0]));
        lab.tells_for(MINUTE).await;
        assert_eq!(receiver.kept_subjects(), ["campaign 2", "campaign 3", "campaign 1"]);
    }
}

/// A fault of the receiver's that one notification brings out.
#[tokio::test]
async fn one_at_which_the_receiver_always_fails_holds_up_the_rest_only_so_long() {
    for (lab, receiver) in told_through(&[Does::Answer(500); 11]).await {
        // Ten at the first, one at the second: then the first is in line again, and is passed over at its next failure.
        lab.tells_for(30 * MINUTE).await;
        assert_eq!(receiver.got()[..10].iter().map(|g| &g.key).collect::<HashSet<_>>().len(), 1);
        assert_ne!(receiver.got()[10].key, receiver.got()[9].key, "the next is tried");
        assert_eq!(receiver.got()[11].key, receiver.got()[9].key, "it was the receiver's fault, so the order stays");
        assert_eq!(receiver.kept_subjects(), in_order());
    }
    for (lab, receiver) in told_through(&[Does::Answer(500); 10]).await {
        lab.tells_for(20 * MINUTE).await;
        assert_eq!((receiver.kept_subjects()[..2].to_vec(), lab.counts().await[1]), (in_order()[1..].to_vec(), 2));
        lab.tells_for(2 * HOUR).await;
        assert_eq!((receiver.kept_subjects().len(), lab.counts().await), (3, [0, 3, 0]));
    }
}

#[tokio::test]
async fn one_dead_receiver_keeps_nobody_else_waiting() {
    for lab in labs(1).await {
        let (slow, well) = (Receiver::start().await, Receiver::start().await);
        slow.will(&[Does::Sleep; 100]);
        lab.teams(&[("slow", "EELC", slow.port, "[\"alarm\"]"), ("well", "EELC", well.port, "[\"alarm\"]")]);
        for n in 1..=3 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        lab.app.spread_notifications().await.unwrap();
        // As the loop has it while the POST to the slow one is under way.
        let busy = HashSet::from(["slow".to_string()]);
        let to = lab.webhooks();
        for n in 1..=3 {
            let due = lab.app.deliveries_due(&busy).await.unwrap();
            assert_eq!(due.len(), 1);
            lab.app.deliver(&to, &due[0]).await.unwrap();
            assert_eq!(well.kept().len(), n);
        }
        assert!(slow.got().is_empty());
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_given_up_and_the_others_are_told_once() {
    for lab in labs(1).await {
        let (gone, other) = (Receiver::start().await, Receiver::start().await);
        gone.will(&[Does::Answer(410); 100]);
        lab.teams(&[("gone", "EELC", gone.port, "[\"alarm\"]"), ("other", "EELC", other.port, "[\"alarm\"]")]);
        for n in 1..=3 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        lab.tells_for(48 * HOUR).await;
        assert_eq!((gone.got().len(), lab.counts().await), (3, [0, 4, 3]));
        assert_eq!(other.kept_subjects()[3..], ["team gone"]);
        assert!(other.kept()[3]["sentence"].as_str().unwrap().contains("team gone (EELC) was not told"), "{:?}", other.kept()[3]);
        let standing = lab.app.alarms(true, None, 0, 10).await.unwrap();
        assert_eq!(standing.iter().filter(|a| a.kind == AlarmKind::NotificationsGivenUp).count(), 1, "once while it stands");
    }
}

/// Both teams are dead: the news that one cannot be told waits for the other, and makes no further news.
#[tokio::test]
async fn what_is_given_up_is_given_up_together_said_once_and_can_be_retried() {
    for lab in labs(1).await {
        let (mut one, mut other) = (Receiver::down().await, Receiver::down().await);
        lab.teams(&[("one", "EELC", one.port, "[\"alarm\"]"), ("other", "EELC", other.port, "[\"alarm\"]")]);
        for n in 1..=40 {
            lab.alarm(&format!("campaign {n}")).await;
        }
        lab.tells_for(20 * HOUR).await;
        assert_eq!(lab.counts().await, [80, 0, 0], "within the time allowed nothing is given up");
        lab.tells_for(10 * 24 * HOUR).await;
        let alarms = lab.app.alarms(false, None, 0, 1_000).await.unwrap();
        let about_teams: Vec<&alarm::Alarm> = alarms.iter().filter(|a| a.kind == AlarmKind::NotificationsGivenUp).collect();
        assert_eq!(about_teams.len(), 2, "one for each team, and nothing comes of them but one each for the other");
        assert!(about_teams[0].sentence.contains("40 notifications"), "{}", about_teams[0].sentence);
        assert_eq!(lab.counts().await, [0, 0, 82]);
        one.come_up().await;
        other.come_up().await;
        for lost in lab.in_delivery(DeliveryState::GivenUp).await {
            assert_eq!(lab.app.retry_delivery(lost.id, OPERATOR).await.unwrap().state, DeliveryState::Pending);
        }
        lab.tells().await;
        assert_eq!((one.kept().len(), other.kept().len(), lab.counts().await), (41, 41, [0, 82, 0]));
        let done = lab.in_delivery(DeliveryState::Delivered).await;
        let refused = lab.app.retry_delivery(done[0].id, OPERATOR).await.unwrap_err();
        assert!(refused.message.contains("has been delivered"), "{refused}");
    }
}

/// The program itself was away for longer than notify.toml waits: a receiver that is away just then has lost nothing.
#[tokio::test]
async fn what_is_old_has_its_attempts_all_the_same() {
    for (lab, receiver) in told_through(&[Does::Answer(503); 5]).await {
        lab.app.spread_notifications().await.unwrap();
        lab.app.clock.advance(100 * HOUR);
        lab.tells_for(HOUR).await;
        assert_eq!((receiver.kept_subjects(), lab.counts().await), (in_order(), [0, 3, 0]));
    }
}

/// Receivers, crashes and time at random: whatever happens, each team has each notification once.
#[tokio::test]
async fn whatever_happens_each_team_has_each_notification_once() {
    for (n, lab) in labs(1).await.into_iter().enumerate() {
        let mut seed = 20_261_126 + n as u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let receivers = [Receiver::start().await, Receiver::start().await];
        let teams: Vec<_> =
            ["one", "two"].iter().zip(&receivers).map(|(name, r)| (*name, "EELC", r.port, "[\"alarm\"]")).collect();
        lab.teams(&teams);
        let kinds = [Does::Take, Does::Answer(500), Does::Answer(400), Does::Answer(429), Does::Die, Does::Sleep];
        for receiver in &receivers {
            receiver.will(&(0..60).map(|_| kinds[random(kinds.len() as u64) as usize]).collect::<Vec<_>>());
        }
        let to = lab.webhooks();
        for n in 0..30 {
            lab.alarm(&format!("campaign {n}")).await;
            lab.app.clock.advance(random(5_000) as i64);
            lab.app.spread_notifications().await.unwrap();
            let due = lab.app.deliveries_due(&HashSet::new()).await.unwrap();
            for due in due {
                if random(4) == 0 {
                    let dead = App { db: Db::open(&lab.url).await.unwrap(), ..lab.app.clone() };
                    dead.db.close().await;
                    dead.deliver(&to, &due).await.unwrap_err();
                } else {
                    lab.app.deliver(&to, &due).await.unwrap();
                }
            }
        }
        lab.tells_for(23 * HOUR).await;
        assert_eq!(lab.counts().await, [0, 60, 0]);
        for receiver in &receivers {
            let kept: HashSet<String> = receiver.kept_subjects().into_iter().collect();
            assert_eq!((kept.len(), receiver.kept().len()), (30, 30), "each once by its key");
        }
    }
}
