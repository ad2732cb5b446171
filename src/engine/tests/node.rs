//! One running program of the simulation: the engine's own loops, a turn at a time and in any order, with what each keeps between its turns.
//! A node that dies takes that with it.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    super::{
        Nudge,
        dispatch::Dispatcher,
        keys::sweep_once,
        loops::{Facts, Settling, Shared, recheck_once, renew_lease, watch_once},
        notify::{self, UnderWay},
        schedules, waves,
    },
    dcc::Front,
};
use crate::{
    app::App,
    clock::Time,
    failure::Outcome,
    gateway::{Gateway, Webhooks},
};

/// More rounds than any queue of these small estates needs: one that never ends is a fault.
const ROUNDS_MAX: usize = 2_000;

/// The loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Lease,
    Dispatch,
    Settle,
    Recheck,
    Watch,
    Waves,
    Keys,
    Tell,
    Schedules,
    Prune,
}

impl Turn {
    /// All but the lease's, without which no other does anything.
    pub const WORK: [Turn; 9] = [
        Turn::Dispatch,
        Turn::Settle,
        Turn::Recheck,
        Turn::Watch,
        Turn::Waves,
        Turn::Keys,
        Turn::Tell,
        Turn::Schedules,
        Turn::Prune,
    ];
}

pub struct Node {
    pub shared: Shared,
    front: Arc<Front>,
    to_take_up: bool,
    dispatcher: Option<Dispatcher>,
    settling: Settling,
    seen: Option<Facts>,
    next_recheck: Time,
    _stop: watch::Sender<bool>,
}

impl Node {
    pub fn start(app: App, front: Arc<Front>) -> Node {
        *front.db.lock().unwrap() = Some(app.db.clone());
        let gateway: Arc<dyn Gateway> = front.clone();
        let now = app.now();
        let (shared, stop) = Shared::new(app, gateway, front.dcc.clone(), front.pinned.clone(), Nudge::default());
        Node {
            shared,
            front,
            to_take_up: false,
            dispatcher: None,
            settling: Settling::new(now),
            seen: None,
            next_recheck: now,
            _stop: stop,
        }
    }

    /// One turn of a loop, until it has nothing more to do.
    pub async fn turn(&mut self, turn: Turn) -> Outcome {
        match turn {
            Turn::Lease => renew_lease(&self.shared, &mut self.to_take_up).await?,
            _ if !self.shared.may_act() => self.dispatcher = None,
            Turn::Dispatch => return self.dispatch().await,
            Turn::Settle => return self.settle().await,
            Turn::Recheck => drop(recheck_once(&self.shared, &mut self.seen, &mut self.next_recheck).await?),
            Turn::Watch => drop(watch_once(&self.shared).await?),
            Turn::Waves => waves::judge_once(&self.shared).await?,
            Turn::Keys => sweep_once(&self.shared).await?,
            Turn::Tell => return self.tell().await,
            Turn::Schedules => {
                let mut under_way = Default::default();
                schedules::begin(&self.shared, &mut under_way).await?;
                while under_way.join_next().await.is_some() {}
            }
            Turn::Prune => drop(self.shared.app.prune_some().await?),
        }
        Ok(())
    }

    async fn dispatch(&mut self) -> Outcome {
        let mut dispatcher = match self.dispatcher.take() {
            Some(dispatcher) => dispatcher,
            None => Dispatcher::begin(&self.shared).await,
        };
        let mut rounds = 0;
        while dispatcher.round(&mut self.shared).await? {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "the dispatcher posts and posts");
        }
        self.dispatcher = Some(dispatcher);
        Ok(())
    }

    async fn settle(&mut self) -> Outcome {
        let mut turns = 0;
        while self.settling.turn(&self.shared).await? {
            turns += 1;
            assert!(turns < ROUNDS_MAX, "messages are settled and settled");
        }
        self.front.world().settled();
        Ok(())
    }

    async fn tell(&mut self) -> Outcome {
        let to: Arc<dyn Webhooks> = self.front.clone();
        let mut under_way = UnderWay::default();
        notify::begin(&self.shared, &to, &mut under_way).await?;
        while let Some(ended) = under_way.posts.join_next().await {
            ended.expect("telling does not panic").1?;
        }
        Ok(())
    }
}
