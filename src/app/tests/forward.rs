//! What answers no request of ours goes on to another adapter: in order, until it was taken, and then never again.

use std::sync::Mutex;

use super::*;
use crate::{
    app::ForwardPass,
    config::Settings,
    gateway::{BoxFuture, Forward, Forwarded},
};

/// Another adapter: takes what it is sent, or does what it was told to.
#[derive(Default)]
struct Adapter {
    taken: Mutex<Vec<Vec<u8>>>,
    /// What it says next; when this is used up it takes.
    says: Mutex<Vec<Forwarded>>,
}

impl Forward for Adapter {
    fn forward(&self, bytes: Vec<u8>) -> BoxFuture<'_, Forwarded> {
        Box::pin(async move {
            let mut says = self.says.lock().unwrap();
            let answer = if says.is_empty() { Forwarded::Taken } else { says.remove(0) };
            if answer == Forwarded::Taken {
                self.taken.lock().unwrap().push(bytes);
            }
            answer
        })
    }
}

impl Adapter {
    fn saying(says: &[Forwarded]) -> Adapter {
        Adapter { taken: Mutex::default(), says: Mutex::new(says.to_vec()) }
    }

    fn taken(&self) -> Vec<Vec<u8>> {
        self.taken.lock().unwrap().clone()
    }
}

impl Lab {
    fn forwarding(&mut self) {
        let mut settings = Settings::clone(&self.app.settings);
        settings.receiver.forward_to = Some("http://127.0.0.1:9/".into());
        self.app.settings = Arc::new(settings);
    }

    /// Alerts about requests of somebody else, settled; gives their bytes.
    async fn foreign(&self, numbers: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for n in numbers {
            let bytes = testing::signed(&activated(Some(RequestId { counter: n, ..response_id(n) }), n, 1), &self.dcc);
            self.receives(bytes.clone()).await;
            all.push(bytes);
        }
        while self.app.settle_some(&self.pinned.current()).await.unwrap() > 0 {}
        all
    }

    async fn passes(&self, adapter: &Adapter) -> ForwardPass {
        self.app.forward_due(adapter, || true).await.unwrap()
    }

    async fn in_state(&self, state: InboxState) -> usize {
        inbox::list(&mut self.app.db.read().await.unwrap(), Some(state), None, 1_000).await.unwrap().len()
    }
}

fn refused() -> Forwarded {
    Forwarded::Refused { why: "HTTP 400".into() }
}

fn not_now() -> Forwarded {
    Forwarded::NotNow { why: "connection refused".into() }
}

#[tokio::test]
async fn without_an_adapter_nothing_goes_on() {
    for lab in labs(1).await {
        lab.foreign(1..=2).await;
        assert_eq!(lab.in_state(InboxState::Ignored).await, 2);
        let adapter = Adapter::default();
        assert_eq!((lab.passes(&adapter).await, adapter.taken().len()), (ForwardPass::default(), 0));
    }
}

#[tokio::test]
async fn what_is_not_ours_goes_on_once_as_it_came_and_in_order() {
    for mut lab in labs(1).await {
        lab.forwarding();
        let campaign = lab.started("spring", 10).await;
        let ours = lab.send(campaign).await;
        // More than a page.
        let bytes = lab.foreign(1..=60).await;
        assert_eq!(lab.hears(&activated(Some(ours), 99, 1)).await, InboxState::Settled, "what is ours stays here");
        let adapter = Adapter::default();
        assert_eq!(lab.passes(&adapter).await, ForwardPass { taken: 60, ..ForwardPass::default() });
        assert_eq!(adapter.taken(), bytes);
        assert_eq!(lab.passes(&adapter).await, ForwardPass::default(), "never again");
        // DCC sends one of them twice.
        lab.receives(bytes[5].clone()).await;
        lab.app.settle_some(&lab.pinned.current()).await.unwrap();
        assert_eq!(lab.passes(&adapter).await, ForwardPass::default());
        assert_eq!((lab.in_state(InboxState::Forwarded).await, adapter.taken().len()), (60, 60));
    }
}

#[tokio::test]
async fn while_the_adapter_is_away_everything_waits_in_order() {
    for mut lab in labs(1).await {
        lab.forwarding();
        let bytes = lab.foreign(1..=3).await;
        let adapter = Adapter::saying(&[not_now()]);
        let pass = lab.passes(&adapter).await;
        assert_eq!((pass.taken, pass.not_now.as_deref()), (0, Some("connection refused")), "the others were not tried");
        assert_eq!(lab.in_state(InboxState::Forwarding).await, 3);
        let waiting = inbox::list(&mut lab.app.db.read().await.unwrap(), Some(InboxState::Forwarding), None, 9).await.unwrap();
        assert_eq!(waiting[2].note.as_deref(), Some("receiver.forward_to: connection refused"));
        // Another process, after a crash of this one.
        let mut second = lab.second().await;
        second.forwarding();
        assert_eq!(second.passes(&adapter).await.taken, 3);
        assert_eq!(adapter.taken(), bytes);
    }
}

#[tokio::test]
async fn one_that_is_refused_is_tried_again_ever_more_rarely_and_holds_up_nobody() {
    for mut lab in labs(1).await {
        lab.forwarding();
        let bytes = lab.foreign(1..=3).await;
        let adapter = Adapter::saying(&[refused()]);
        assert_eq!(lab.passes(&adapter).await, ForwardPass { taken: 2, refused: 1, not_now: None });
        assert_eq!(adapter.taken(), bytes[1..]);
        assert_eq!(lab.passes(&adapter).await, ForwardPass::default(), "not due yet");
        let (mut asked, mut hours) = (0, 0);
        let adapter = Adapter::saying(&vec![refused(); 1_000]);
        while hours < 48 {
            lab.app.clock.advance(3_600_000);
            hours += 1;
            asked += lab.passes(&adapter).await.refused;
        }
        assert_eq!(asked, 48, "once an hour at last, and never given up");
        lab.app.clock.advance(3_600_000);
        let adapter = Adapter::default();
        assert_eq!((lab.passes(&adapter).await.taken, adapter.taken()), (1, bytes[..1].to_vec()));
    }
}

#[tokio::test]
async fn one_at_which_the_other_side_always_fails_holds_up_the_rest_only_so_long() {
    for mut lab in labs(1).await {
        lab.forwarding();
        let bytes = lab.foreign(1..=3).await;
        let failed = Forwarded::Failed { why: "HTTP 500".into() };
        let adapter = Adapter::saying(&vec![failed; 6]);
        for _ in 0..5 {
            let pass = lab.passes(&adapter).await;
            assert_eq!((pass.taken, pass.not_now.as_deref()), (0, Some("HTTP 500")));
        }
        assert_eq!(lab.passes(&adapter).await, ForwardPass { taken: 2, refused: 1, not_now: None });
        assert_eq!(adapter.taken(), bytes[1..]);
    }
}

#[tokio::test]
async fn a_node_that_may_not_act_any_more_stops_between_two_messages() {
    for mut lab in labs(1).await {
        lab.forwarding();
        lab.foreign(1..=3).await;
        let adapter = Adapter::default();
        let pass = lab.app.forward_due(&adapter, || adapter.taken().len() < 2).await.unwrap();
        assert_eq!((pass.taken, lab.in_state(InboxState::Forwarding).await), (2, 1));
    }
}
