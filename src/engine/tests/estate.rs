//! The estate of a simulated rollout and its campaigns, by real imports and the verbs of people; and the database that all rollouts of one
//! engine begin as a copy of.

use std::{collections::BTreeMap, sync::Arc};

use super::{HOUR, Whole, check::Seen, dcc::Front, node::Node, rules::Rules, world::World};
use crate::{
    app::{
        App,
        tests::{APPROVER, Lab, OPERATOR, device, month::Dice, mpan, of_everything},
    },
    clock::Clock,
    db::testing::TestDb,
    duis::FileSigner,
    estate::import::Kind,
};

/// An image and its lists in a database that is closed, to be copied.
pub struct Ground {
    lab: Lab,
    signer: Arc<FileSigner>,
}

/// One rollout's own database.
pub struct Plot {
    pub whole: Whole,
    pub url: String,
    pub dir: Option<tempfile::TempDir>,
}

impl Ground {
    pub async fn of(db: TestDb) -> Ground {
        let mut lab = Lab::bare(db).await;
        lab.app.db.close().await;
        let db = lab._db.take().expect("its own");
        db.db.close().await;
        let (signer, pinned) = crate::gateway::testing::dcc_signer();
        lab.pinned = pinned;
        lab._db = Some(db);
        Ground { lab, signer: Arc::new(signer) }
    }

    /// Sites, registrations and keys, and a campaign or two, planned, approved and started.
    pub async fn begin(&self, rules: Rules, seed: u64) -> Plot {
        let lab = &self.lab;
        let (url, dir) = lab._db.as_ref().expect("its own").copy_of_closed().await;
        let mut settings = (*lab.app.settings).clone();
        settings.database_url = url.clone();
        let policies = settings.policies_dir.clone();
        rules.write(&policies);
        let clock = Clock::manual(rules.start);
        let world = World::new(rules.clone(), seed);
        let front = Arc::new(Front::new(world, clock.clone(), self.signer.clone(), lab.pinned.clone()));
        let app = App::open(settings.clone(), clock.clone()).await.unwrap();
        let mut whole = Whole {
            settings,
            clock,
            front: front.clone(),
            node: Node::start(app, front),
            dice: Dice::of(seed ^ 0xD1CE),
            image: lab.image,
            folder: lab.folder.path().to_path_buf(),
            campaigns: BTreeMap::new(),
            seen: Seen::default(),
            calm: false,
        };
        whole.settles_in(&rules).await;
        Plot { whole, url, dir }
    }
}

impl Whole {
    async fn settles_in(&mut self, rules: &Rules) {
        let mut sites =
            "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on,region\n"
                .to_string();
        let mut registrations = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        let mut keys = "device_id,status,attempted_at\n".to_string();
        for n in 1..=rules.sites {
            let region = self.front.world().site(n).region;
            sites +=
                &format!("{},{},IOC,106C,433100AC,0101,00020100,Commissioned,DMC-1,2020-11-01,{region}\n", device(n), mpan(n));
            registrations += &format!("{},EELC,2015-01-01,\n", mpan(n));
            // Of most that lack their key the tool has not told yet.
            let known = self.front.world().site(n).key_missing && n % 4 == 0;
            keys += &format!("{},{},2020-11-10T08:00:00Z\n", device(n), if known { "failed" } else { "updated" });
        }
        self.import(Kind::Sites, sites, false).await;
        self.import(Kind::Registrations, registrations, true).await;
        self.import(Kind::Keys, keys, false).await;
        match rules.by_schedule {
            true => self.is_scheduled("spring", rules.batch_size).await,
            false => self.starts("spring", rules.batch_size).await,
        }
        if rules.second_campaign {
            self.clock.advance(HOUR / 2);
            self.starts("autumn", rules.batch_size + 3).await;
        }
    }

    async fn starts(&mut self, name: &str, batch_size: i64) {
        self.is_created(name, batch_size).await;
        let app = self.app().clone();
        app.plan_campaign(name, None, OPERATOR, &mut |_| {}).await.unwrap();
        app.approve_campaign(name, APPROVER, OPERATOR).await.unwrap();
        app.start_campaign(name, OPERATOR).await.unwrap();
    }

    pub(super) async fn is_created(&mut self, name: &str, batch_size: i64) {
        let id = self.app().create_campaign(of_everything(name, self.image, batch_size), OPERATOR).await.unwrap();
        self.campaigns.insert(name.into(), id);
    }
}
