//! The whole engine under a seed: its real loops on a manual clock, a DCC that loses, delays, doubles, reorders and holds back, people who
//! meddle, and deaths between any two writes. After every tick the invariants are checked (`check.rs`), at each post what may leave
//! (`dcc.rs`), and at the end that everything has ended, and rightly (`end.rs`). Promise: a seed is always the same rollout on either engine.

mod automation;
mod check;
mod counts;
mod dcc;
mod end;
mod estate;
mod ledger;
mod node;
mod people;
mod rules;
mod scenarios;
mod seeds;
mod wall;
mod world;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use crate::{
    app::{
        App,
        tests::{OPERATOR, month::Dice},
    },
    clock::{Clock, Time},
    config::Settings,
    db::death::{self, When},
    estate::import::{Input, Kind, Options},
    failure::Outcome,
    gateway::{
        inbox::{self, NewMessage},
        outbox::OutboxState,
    },
    ids::{Eui, ImageId},
};
use check::Seen;
use counts::Counts;
use dcc::Front;
use node::{Node, Turn};
use rules::Rules;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// After a death: longer than the dead node's lease.
const RESTART_MILLIS: i64 = 4_000;

fn dcc_id() -> Eui {
    "90-B3-D5-1F-30-00-00-02".parse().unwrap()
}

/// One rollout, from its first plan until everything is over.
struct Whole {
    settings: Settings,
    clock: Clock,
    front: Arc<Front>,
    node: Node,
    dice: Dice,
    image: ImageId,
    folder: PathBuf,
    /// By the name of a campaign.
    campaigns: BTreeMap<String, i64>,
    seen: Seen,
    /// People leave it alone from now on, and nothing new goes wrong.
    calm: bool,
}

impl Whole {
    fn app(&self) -> &App {
        &self.node.shared.app
    }

    fn now(&self) -> Time {
        self.clock.now()
    }

    fn rules(&self) -> Rules {
        self.front.world().rules.clone()
    }

    async fn run(mut self) -> Counts {
        self.is_busy().await;
        self.calms_down().await;
        self.end().await
    }

    async fn is_busy(&mut self) {
        let until = self.rules().start.plus_millis(self.rules().busy);
        while self.now() < until {
            self.tick().await;
        }
    }

    /// Some time passes, and then everybody acts once.
    async fn tick(&mut self) {
        let millis = match self.dice.below(10) {
            0..3 => self.dice.below(20_000) as i64,
            3..6 => self.dice.below(20 * MINUTE as u64) as i64,
            6..9 => self.dice.below(4 * HOUR as u64) as i64,
            _ => self.dice.below(12 * HOUR as u64) as i64,
        };
        self.clock.advance(1 + millis);
        let rules = self.rules();
        if !self.calm && self.dice.below(100) < rules.deaths {
            let when = [When::Before, When::After][self.dice.below(2) as usize];
            death::plan(self.dice.below(4) * self.dice.below(12), when);
        }
        self.live(Turn::Lease).await;
        self.mail_comes().await;
        if !self.calm {
            self.people_act().await;
        }
        let mut turns = Turn::WORK.to_vec();
        for n in (1..turns.len()).rev() {
            turns.swap(n, self.dice.below(n as u64 + 1) as usize);
        }
        // A loop may be slow, and another quick.
        for turn in turns {
            let is_seldom = matches!(turn, Turn::Keys | Turn::Tell | Turn::Schedules | Turn::Prune);
            let times = if is_seldom { [1, 0, 0, 0] } else { [1, 1, 2, 0] };
            for _ in 0..times[self.dice.below(4) as usize] {
                self.live(turn).await;
            }
        }
        self.front.world().counts.ticks += 1;
        self.check().await;
    }

    /// One turn of a loop, during which the program may die.
    async fn live(&mut self, turn: Turn) {
        let done = death::until(self.node.turn(turn)).await;
        match done {
            Some(done) => {
                done.unwrap_or_else(|e| panic!("{turn:?}: {e:?}"));
                let mut world = self.front.world();
                for id in world.refusing() {
                    world.recorded(id, true);
                }
            }
            None => self.die().await,
        }
    }

    /// Says something that may be said twice: whoever sees no answer says it again.
    async fn told<T>(&mut self, verb: impl AsyncFn(&App) -> Outcome<T>) -> Outcome<T> {
        loop {
            let app = self.app().clone();
            match death::until(verb(&app)).await {
                Some(said) => return said,
                None => self.die().await,
            }
        }
    }

    /// What was begun is undone, or was done: only that is left. Another process starts on the same database.
    async fn die(&mut self) {
        self.front.world().counts.deaths += 1;
        self.app().db.close().await;
        self.clock.advance(RESTART_MILLIS);
        // It may die again while it starts.
        if self.dice.below(8) == 0 {
            death::plan(self.dice.below(3), When::After);
        }
        let app = loop {
            let opened = death::until(App::open(self.settings.clone(), self.clock.clone())).await;
            self.clock.advance(1);
            if let Some(app) = opened {
                break app.unwrap();
            }
        };
        self.node = Node::start(app, self.front.clone());
        // What is in the database is all that anybody knows now.
        let refusing = self.front.world().refusing();
        for id in refusing {
            let mut look = self.app().db.read().await.unwrap();
            let found = crate::gateway::outbox::find_by_request_id(&mut look, id).await.unwrap().unwrap();
            let is_written = !matches!(found.state, OutboxState::Prepared | OutboxState::Posting | OutboxState::Unknown);
            self.front.world().recorded(id, is_written);
        }
        self.live_again().await;
    }

    async fn live_again(&mut self) {
        let renewed = death::until(self.node.turn(Turn::Lease)).await;
        if let Some(renewed) = renewed {
            renewed.unwrap();
        } else {
            Box::pin(self.die()).await;
        }
    }

    /// The messages that DCC sends now; whichever is not known to be durable is sent again.
    async fn mail_comes(&mut self) {
        let now = self.now();
        let due = self.front.world().due(now);
        for some in due.chunks(20) {
            let front = self.front.clone();
            let bytes: Vec<_> = some.iter().map(|m| crate::gateway::testing::signed(&m.response, &front.dcc)).collect();
            self.told(async |app| {
                let read = |bytes| crate::duis::verify_and_read_response(bytes, &front.pinned.current(), app.now()).unwrap();
                let read: Vec<_> = bytes.iter().map(|bytes| read(bytes)).collect();
                let new: Vec<NewMessage> = read
                    .iter()
                    .zip(&bytes)
                    .map(|((said, digest), bytes)| NewMessage::of(said, *digest, bytes, app.now()))
                    .collect();
                let mut tx = app.db.begin().await?;
                inbox::insert_many(&mut tx, &new).await?;
                tx.commit().await?;
                Ok(())
            })
            .await
            .unwrap();
            some.iter().for_each(|mail| self.front.world().told(mail));
        }
    }

    async fn import(&mut self, kind: Kind, text: String, replace: bool) {
        let path = self.folder.join(format!("{kind}.csv"));
        std::fs::write(&path, text).unwrap();
        let options = Options { strict: true, replace };
        let imported = self
            .told(async |app| app.import_file(kind, Input::open(&path).unwrap(), options, Arc::new(|_| {}), OPERATOR).await)
            .await;
        assert_eq!(imported.unwrap().rejected, 0, "{kind}");
    }
}
