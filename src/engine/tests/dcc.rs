//! The way to the simulated DCC, and to a team's receiver, as the loops see them: each post is held against what may leave now, and then
//! arrives or does not, and is answered or is not. The program may die in the middle of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    ledger::{Attempt, Quarantine, Sent},
    wall,
    world::World,
};
use crate::{
    clock::{Clock, Time},
    db::{Db, death},
    duis::{FileSigner, Pinned, Request, RequestBody, Response, read_request, verify_and_read_response},
    gateway::{BoxFuture, Exchange, Fault, Gateway, Heard, PostOutcome, Reply, Service, Trouble, WebhookPost, Webhooks, testing},
    ids::{DeviceId, RequestId},
    sql,
};

/// What people have said and not taken back.
#[derive(Debug, Default)]
pub struct Word {
    /// Campaigns that stand still by a person's word.
    pub stopped: std::collections::BTreeSet<i64>,
    /// Campaign and site.
    pub excluded: std::collections::BTreeSet<(i64, u64)>,
    /// What a team was told, by its key.
    pub told: BTreeMap<String, String>,
}

pub struct Front {
    world: Mutex<World>,
    word: Mutex<Word>,
    pub db: Mutex<Option<Db>>,
    pub clock: Clock,
    pub dcc: Arc<FileSigner>,
    pub pinned: Pinned,
}

/// What the program's own tables say of a request that it posts.
struct Owner {
    campaign: i64,
    state: String,
    waves: Vec<Begun>,
    /// Of the plan: device and wave; the last wave's is none.
    members: BTreeMap<u64, Option<i64>>,
}

/// A wave that has begun: its number, when it passed, and when somebody let it go on.
type Begun = (i64, Option<i64>, Option<i64>);

impl Front {
    pub fn new(world: World, clock: Clock, dcc: Arc<FileSigner>, pinned: Pinned) -> Front {
        Front { world: Mutex::new(world), word: Mutex::default(), db: Mutex::new(None), clock, dcc, pinned }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn word(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap()
    }

    async fn posted(&self, bytes: Vec<u8>, id: RequestId) -> Exchange {
        let now = self.clock.now();
        let request = read_request(&bytes, &self.pinned.current(), now).unwrap();
        assert_eq!(request.id, id);
        let owner = self.owner(id).await;
        self.may_leave(&request, &owner, now);
        let (fails, dies) = {
            let mut world = self.world();
            world.counts.posts += 1;
            (fails(&mut world, now), world.dice.below(60))
        };
        let dies = if self.world().rules.deaths > 0 { dies } else { 9 };
        if dies == 0 {
            self.world().attempted(id, Attempt::MayBeThere);
            death::now().await;
        }
        match fails {
            Fails::Connection => {
                self.world().attempted(id, Attempt::NotSent);
                return PostOutcome::NotSent(Trouble::new(Fault::NoConnection, "connection refused")).into();
            }
            Fails::Request(fault) => {
                self.world().attempted(id, Attempt::MayBeThere);
                return PostOutcome::Unknown(Trouble::new(fault, "it did not get through")).into();
            }
            Fails::Http => {
                self.world().attempted(id, Attempt::MayBeThere);
                return PostOutcome::Rejected(Trouble::new(Fault::Rejected, "HTTP 400")).into();
            }
            Fails::Reply(_) | Fails::Nothing => {}
        }
        let response = self.world().reads(id, now);
        if dies == 1 {
            death::now().await;
        }
        if let Fails::Reply(fault) = fails {
            self.world().recorded(id, false);
            return PostOutcome::Unknown(Trouble::new(fault, "no answer in time")).into();
        }
        let reply = self.sealed(&response);
        Exchange { outcome: PostOutcome::Answered(response), reply: Some(reply) }
    }

    fn sealed(&self, response: &Response) -> Reply {
        let bytes = testing::signed(response, &self.dcc);
        let (_, digest) = verify_and_read_response(&bytes, &self.pinned.current(), self.clock.now()).unwrap();
        Reply { bytes, digest: Some(digest) }
    }

    /// The invariants of a single post, held against the model's own ledger wherever it has one.
    fn may_leave(&self, request: &Request, owner: &Owner, now: Time) {
        let (id, mut world, word) = (request.id, self.world(), self.word());
        let sites: Vec<u64> = match &request.body {
            RequestBody::UpdateFirmware(asked) => asked.devices.iter().map(|d| site(*d)).collect(),
            RequestBody::ReadInventory { device } => vec![site(*device)],
            RequestBody::ReadFirmwareVersion => vec![site(id.target)],
            other => panic!("{other:?} is nothing that the program sends"),
        };
        let is_read = !matches!(request.body, RequestBody::UpdateFirmware(_));
        assert_eq!(owner.state, "started", "{id} leaves at {now} while its campaign {} is not started", owner.campaign);
        assert!(
            !word.stopped.contains(&owner.campaign),
            "{id} leaves at {now}, after a person stopped campaign {}",
            owner.campaign
        );
        let today = wall::day(now);
        for n in &sites {
            let site = &world.sites[*n as usize - 1];
            assert!(site.is_ours(today), "{id} names site {n} at {now}, which is not ours: {:?}", site.holders);
            assert!(
                wall::is_open(&world.rules.openings, site.region, now),
                "{id} leaves at {now}, outside the windows of site {n}"
            );
        }
        if let Some(before) = world.requests.get(&id) {
            assert_eq!((before.body, &before.sites), (request.body_digest, &sites), "{id} leaves a second time with other bytes");
            assert_ne!(before.quarantine, Quarantine::Deleted, "{id} leaves again after DCC was told to delete it");
            world.counts.resends += 1;
            return;
        }
        world.counts.reads += u64::from(is_read);
        if !is_read {
            self.may_begin(&mut world, &word, id, &sites, owner, now);
        }
        let sent = Sent {
            campaign: owner.campaign,
            sites,
            is_read,
            body: request.body_digest,
            posted_at: now,
            first_at: now,
            attempts: Vec::new(),
            taken: false,
            quarantine: Quarantine::None,
            ended: Default::default(),
        };
        world.requests.insert(id, sent);
    }

    /// Those of an update that leaves for the first time.
    fn may_begin(&self, world: &mut World, word: &Word, id: RequestId, sites: &[u64], owner: &Owner, now: Time) {
        for n in sites {
            if let Some(other) = world.still_open(*n, id, now) {
                panic!("site {n} is in {id} at {now}, and still in {other}: {:?}", world.requests[&other]);
            }
            assert!(!word.excluded.contains(&(owner.campaign, *n)), "{id} names site {n} at {now}, which a person took out");
            let done = world.succeeded.range((*n, None)..).next().filter(|(site, _)| site == n);
            assert!(done.is_none(), "{id} names site {n} at {now}, which runs the image since {done:?}");
            world.counts.second_requests += u64::from(world.requests.values().any(|s| !s.is_read && s.sites.contains(n)));
        }
        if owner.waves.is_empty() {
            return;
        }
        let last = owner.waves.last().map(|w| w.0).unwrap();
        for n in sites {
            // Of a plan of three.
            let wave = owner.members[n].unwrap_or(3);
            assert!(wave <= last, "{id} names site {n} of wave {wave} at {now}, and {last} is the last that has begun");
            for (before, passed, let_go) in owner.waves.iter().filter(|w| w.0 < wave) {
                assert!(
                    passed.or(*let_go).is_some(),
                    "{id} names site {n} of wave {wave} at {now}, and wave {before} has no go-on"
                );
                if let (Some(passed), None) = (passed, let_go) {
                    soaked(world, owner, *before, Time(*passed));
                }
            }
        }
    }

    async fn owner(&self, id: RequestId) -> Owner {
        let db = self.db.lock().unwrap().clone().expect("it is open");
        let mut tx = db.read().await.unwrap();
        let (originator, counter) = (id.originator.to_db(), id.counter as i64);
        let (campaign, plan, state): (i64, i64, String) = sql!(&mut tx, c => sqlx::query_as(
            "select c.id, c.plan_id, c.state from outbox o join batches b on b.id = o.batch_id join campaigns c on c.id = b.campaign_id
             where o.originator = $1 and o.counter = $2
             union all
             select c.id, c.plan_id, c.state from read_requests r join reads d on d.plan_id = r.plan_id and d.device_id = r.device_id
             join campaigns c on c.id = d.campaign_id where r.originator = $1 and r.counter = $2 order by 1")
            .bind(originator).bind(counter).fetch_one(c).await.unwrap());
        let waves = sql!(&mut tx, c => sqlx::query_as("select number, passed_at, let_go_at from waves where plan_id = $1 order by number")
            .bind(plan).fetch_all(c).await.unwrap());
        let members: Vec<(i64, Option<i64>)> = sql!(&mut tx, c => sqlx::query_as(
            "select device_id, wave from targets where plan_id = $1 order by device_id").bind(plan).fetch_all(c).await.unwrap());
        let members = members.into_iter().map(|(device, wave)| (site(DeviceId::from_db(device)), wave)).collect();
        Owner { campaign, state, waves, members }
    }
}

/// A wave that passed by itself was watched for its time after each request of it had left.
fn soaked(world: &World, owner: &Owner, wave: i64, passed: Time) {
    // One that is sent again without its key is in no queue, and nobody waits for it.
    let Some(staged) = world.rules.staged.as_ref().filter(|_| !world.rules.resubmits) else { return };
    for (id, sent) in world.requests.iter().filter(|(_, s)| !s.is_read && s.campaign == owner.campaign) {
        let of_wave = sent.sites.iter().any(|n| owner.members.get(n) == Some(&Some(wave)));
        if of_wave && sent.posted_at < passed {
            let watched = passed.0 - sent.posted_at.0;
            assert!(watched >= staged.soak_hours * super::HOUR, "wave {wave} passed at {passed}, {watched} ms after {id} left");
        }
    }
}

/// The number of a site whose device this is.
pub fn site(device: DeviceId) -> u64 {
    device.0 - crate::app::tests::device(0).0
}

/// What goes wrong with one post.
#[derive(Debug, Clone, Copy)]
enum Fails {
    Nothing,
    Connection,
    Request(Fault),
    Http,
    Reply(Fault),
}

fn fails(world: &mut World, now: Time) -> Fails {
    let fault = [Fault::NoAnswer, Fault::BrokeOff, Fault::ServerError, Fault::Busy][world.dice.below(4) as usize];
    match world.rules.weather.outage(now) {
        Some(super::rules::Outage::Gone) => return Fails::Connection,
        Some(super::rules::Outage::Silent) if world.dice.below(2) == 0 => return Fails::Request(fault),
        Some(super::rules::Outage::Silent) => return Fails::Reply(fault),
        None => {}
    }
    let weather = world.rules.weather.clone();
    if world.chance(weather.refused) {
        Fails::Connection
    } else if world.chance(weather.request_lost) {
        Fails::Request(fault)
    } else if world.chance(weather.http_no) {
        Fails::Http
    } else if world.chance(weather.reply_lost) {
        Fails::Reply(fault)
    } else {
        Fails::Nothing
    }
}

impl Gateway for Front {
    fn exchange(&self, _: Service, bytes: Vec<u8>, id: RequestId) -> BoxFuture<'_, Exchange> {
        Box::pin(self.posted(bytes, id))
    }
}

impl Webhooks for Front {
    fn post(&self, post: WebhookPost) -> BoxFuture<'_, Heard> {
        let key = post.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("Idempotency-Key")).map(|(_, key)| key.clone());
        let key = key.expect("a notification has its key");
        Box::pin(async move {
            let (fails, dies) = {
                let mut world = self.world();
                let hundredths = world.rules.weather.webhook_fails;
                (world.chance(hundredths), world.rules.deaths > 0 && world.dice.below(60) == 0)
            };
            if fails {
                return Heard::NotNow { why: "HTTP 500".into(), retry_after: None };
            }
            let known = self.word().told.insert(key.clone(), post.body.clone());
            assert!(known.is_none_or(|known| known == post.body), "the key {key} came with other news");
            self.world().counts.told_teams += 1;
            if dies {
                death::now().await;
            }
            Heard::Taken
        })
    }
}
