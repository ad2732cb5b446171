//! Stories of the application on both engines: a small estate made by real imports, a signed image, campaigns, and a DCC that
//! the test plays itself, one message at a time. No loops and no network: each verb is called when the story says so.

mod approval;
mod archive;
pub(crate) mod asked;
mod brakes;
mod control;
mod doubt;
mod evidence;
mod forecast;
mod forward;
mod gist;
mod keys;
mod keys_facts;
mod keys_late;
mod keys_share;
mod let_go;
mod lists;
mod messages;
pub(crate) mod month;
mod over;
mod pathways;
mod pinned;
mod reads;
mod registrations;
mod schedules;
mod silence;
mod sixty;
mod steps;
mod story;
mod supply;
mod supply_late;
mod sweep;
mod telling;
mod thresholds;
mod top_up;
mod two_campaigns;
mod waiting;
mod waves;
mod windows;

use std::sync::Arc;

use super::{App, NewCampaignRequest, Posted};
use crate::{
    clock::{Clock, Time},
    config,
    db::{
        Db,
        testing::{TestDb, databases},
    },
    duis::{
        Alert, Body, Content, FileSigner, Pinned, Response, Smets1FirmwareStatus, Throttled, UpdateFirmwareWarning,
        verify_and_read_response, write_unsigned_refusal,
    },
    estate::{
        SiteFilter,
        import::{Input, Kind, Options},
    },
    gateway::{
        Exchange, Fault, PostOutcome, Reply, Trouble,
        inbox::{self, InboxState, NewMessage},
        outbox, testing,
    },
    ids::{DeviceId, Eui, ImageId, Mpan, RequestId},
    image::{self, Trust, UpgradePaths, key, ota, release},
    target::{
        TargetState,
        store::{self as targets, Target},
    },
};

/// The version the image brings.
pub(crate) const FIRMWARE: &str = "00020200";
pub(crate) const OPERATOR: &str = "ann@desk";
pub(crate) const APPROVER: &str = "somebody.else";

impl App {
    /// How many silent devices were given up.
    async fn expire_silent(&self) -> crate::failure::Outcome<u64> {
        Ok(self.follow_silence().await?.expired)
    }
}

pub(crate) struct Lab {
    pub(crate) app: App,
    pub(crate) image: ImageId,
    pub(crate) dcc: FileSigner,
    pub(crate) pinned: Pinned,
    /// For a second program on the same database.
    pub(crate) url: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) _db: Option<TestDb>,
}

pub(crate) fn device(n: u64) -> DeviceId {
    Eui(0x00DB_1234_0000_0000 + n)
}

pub(crate) fn mpan(n: u64) -> Mpan {
    Mpan::from_first_twelve(190_003_300_000 + n)
}

/// A campaign for every site.
pub(crate) fn of_everything(name: &str, image: ImageId, batch_size: i64) -> NewCampaignRequest {
    NewCampaignRequest {
        name: name.into(),
        image,
        filter: SiteFilter::default(),
        rollout: None,
        batch_size: Some(batch_size),
        waves: Vec::new(),
    }
}

/// One lab an engine, each with `sites` eligible sites numbered from 1.
async fn labs(sites: u64) -> Vec<Lab> {
    let mut labs = Vec::new();
    for db in databases().await {
        labs.push(Lab::new(db, sites).await);
    }
    labs
}

impl App {
    /// Queues again everything that failed or expired.
    async fn retry_campaign(&self, id_or_name: &str, who: &str) -> crate::failure::Outcome<(crate::campaign::Campaign, u64)> {
        let done = self.retry_some(id_or_name, &crate::app::RetryFilter::default(), who, false).await?;
        Ok((self.campaign(id_or_name).await?, done.queued as u64))
    }
}

impl Lab {
    async fn new(db: TestDb, sites: u64) -> Lab {
        let lab = Lab::bare(db).await;
        lab.sites(&(1..=sites).map(|n| (n, "IOC")).collect::<Vec<_>>()).await;
        let all: Vec<u64> = (1..=sites).collect();
        lab.registered(&all, "").await;
        lab.keys("2020-11-10T08:00:00Z", &all.iter().map(|n| (*n, "updated")).collect::<Vec<_>>()).await;
        lab
    }

    /// A signed image, its product lists, and no site.
    pub(crate) async fn bare(db: TestDb) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let settings = config::load_from(&folder.path().join("ppmid.toml"), std::iter::empty(), Some(&db.url)).unwrap();
        let app = App::open(settings, Clock::manual(testing::now())).await.unwrap();
        let (dcc, pinned) = testing::dcc_signer();
        let image = add_image(&app, folder.path()).await;
        Lab { app, image, dcc, pinned, url: db.url.clone(), folder, _db: Some(db) }
    }

    /// Another process on the same database, at the same moment.
    async fn second(&self) -> Lab {
        let app = App { db: Db::open(&self.url).await.unwrap(), ..self.app.clone() };
        let (dcc, pinned) = testing::dcc_signer();
        Lab { app, image: self.image, dcc, pinned, url: self.url.clone(), folder: tempfile::tempdir().unwrap(), _db: None }
    }

    async fn import(&self, kind: Kind, text: String) {
        let path = self.folder.path().join(format!("{kind}.csv"));
        std::fs::write(&path, text).unwrap();
        let options = Options { strict: true, replace: kind == Kind::Registrations };
        let report = self.app.import_file(kind, Input::open(&path).unwrap(), options, Arc::new(|_| {}), OPERATOR).await.unwrap();
        assert_eq!(report.rejected, 0, "{kind}");
    }

    async fn sites(&self, rows: &[(u64, &str)]) {
        let mut text =
            "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n"
                .to_string();
        for (n, cohort) in rows {
            text += &format!("{},{},{cohort},106C,433100AC,0101,00020100,Commissioned,DMC-1,2020-11-01\n", device(*n), mpan(*n));
        }
        self.import(Kind::Sites, text).await;
    }

    /// Ours until `to` (empty: open).
    async fn registered(&self, sites: &[u64], to: &str) {
        let head = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        let text = sites.iter().fold(head, |text, n| text + &format!("{},EELC,2015-01-01,{to}\n", mpan(*n)));
        self.import(Kind::Registrations, text).await;
    }

    async fn keys(&self, at: &str, rows: &[(u64, &str)]) {
        let head = "device_id,status,attempted_at\n".to_string();
        let text = rows.iter().fold(head, |text, (n, status)| text + &format!("{},{status},{at}\n", device(*n)));
        self.import(Kind::Keys, text).await;
    }

    /// Created and planned.
    async fn planned(&self, name: &str, batch_size: i64) -> i64 {
        let id = self.app.create_campaign(of_everything(name, self.image, batch_size), OPERATOR).await.unwrap();
        self.app.plan_campaign(name, None, OPERATOR, &mut |_| {}).await.unwrap();
        id
    }

    async fn start(&self, name: &str) {
        self.app.approve_campaign(name, APPROVER, OPERATOR).await.unwrap();
        self.app.start_campaign(name, OPERATOR).await.unwrap();
    }

    async fn started(&self, name: &str, batch_size: i64) -> i64 {
        let id = self.planned(name, batch_size).await;
        self.start(name).await;
        id
    }

    /// Makes the next batch and begins to post it.
    async fn post(&self, campaign: i64) -> RequestId {
        let id = self.app.prepare_batch(campaign).await.unwrap().expect("there is something to send");
        self.begin(id).await;
        id
    }

    async fn begin(&self, id: RequestId) {
        assert_eq!(self.app.begin_post(id, &self.dcc).await.unwrap().expect("it may leave").id, id);
    }

    /// Posts the next batch, and DCC takes it.
    async fn send(&self, campaign: i64) -> RequestId {
        let id = self.post(campaign).await;
        assert_eq!(self.reply(id, "I99").await, Posted::Settled);
        id
    }

    async fn reply(&self, id: RequestId, code: &str) -> Posted {
        self.record(id, PostOutcome::Answered(answer(id, code))).await
    }

    /// Records what came of the attempt under way, with its reply as DCC would have written it.
    async fn record(&self, id: RequestId, outcome: PostOutcome) -> Posted {
        let found = outbox::find_by_request_id(&mut self.app.db.read().await.unwrap(), id).await.unwrap();
        let reply = match &outcome {
            PostOutcome::Answered(response) => {
                let bytes = testing::signed(response, &self.dcc);
                let (_, digest) = verify_and_read_response(&bytes, &self.pinned.current(), self.app.now()).unwrap();
                Some(Reply { bytes, digest: Some(digest) })
            }
            PostOutcome::Refused(response) => Some(Reply { bytes: write_unsigned_refusal(response), digest: None }),
            PostOutcome::NotSent(_) | PostOutcome::Unknown(_) | PostOutcome::Rejected(_) => None,
        };
        self.app.record_outcome(id, found.unwrap().attempts, &Exchange { outcome, reply }).await.unwrap()
    }

    async fn no_reply(&self, id: RequestId) {
        let outcome = PostOutcome::Unknown(Trouble::new(Fault::NoAnswer, "no answer in time"));
        assert_eq!(self.record(id, outcome).await, Posted::Unknown);
    }

    async fn nothing_left(&self, id: RequestId) {
        let outcome = PostOutcome::NotSent(Trouble::new(Fault::NoConnection, "connection refused"));
        assert_eq!(self.record(id, outcome).await, Posted::NotSent);
    }

    /// A message comes in and is settled; gives how it ended.
    async fn hears(&self, response: &Response) -> InboxState {
        let bytes = testing::signed(response, &self.dcc);
        self.receives(bytes).await;
        while self.app.settle_some(&self.pinned.current()).await.unwrap() > 0 {}
        let listed = inbox::list(&mut self.app.db.read().await.unwrap(), None, None, 1).await.unwrap();
        listed[0].state
    }

    /// A message is made durable; nobody has looked at it yet.
    async fn receives(&self, bytes: Vec<u8>) {
        let (response, digest) = verify_and_read_response(&bytes, &self.pinned.current(), self.app.now()).unwrap();
        let mut tx = self.app.db.begin().await.unwrap();
        inbox::insert_many(&mut tx, &[NewMessage::of(&response, digest, &bytes, self.app.now())]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Events of the audit trail with this action.
    async fn events(&self, action: &str) -> usize {
        let mut tx = self.app.db.read().await.unwrap();
        crate::audit::list(&mut tx, 0, 10_000).await.unwrap().iter().filter(|event| event.action == action).count()
    }

    async fn target(&self, campaign: i64, n: u64) -> Target {
        let plan = self.app.campaign(&campaign.to_string()).await.unwrap().plan_id.unwrap();
        let found = targets::find(&mut self.app.db.read().await.unwrap(), &[plan], &[device(n)]).await.unwrap();
        found.into_iter().next().expect("it is a target")
    }

    async fn state(&self, campaign: i64, n: u64) -> TargetState {
        self.target(campaign, n).await.state
    }

    async fn outbox_state(&self, id: RequestId) -> String {
        let mut tx = self.app.db.read().await.unwrap();
        outbox::find_by_request_id(&mut tx, id).await.unwrap().unwrap().state.as_str().to_string()
    }

    /// The state of a campaign's only batch that counts, and its note.
    async fn batch(&self, campaign: i64) -> String {
        let mut tx = self.app.db.read().await.unwrap();
        let all = crate::campaign::store::list_batches(&mut tx, campaign).await.unwrap();
        all.last().map(|b| b.2.clone()).unwrap_or_default()
    }
}

async fn add_image(app: &App, folder: &std::path::Path) -> ImageId {
    let now = app.now();
    let spec = ota::OtaSpec {
        manufacturer_code: 0x12A7,
        image_type: 0x0084,
        file_version: 0x0002_0200,
        text: "a display's firmware",
        hardware: Some((0x0100, 0x01FF)),
    };
    let file = ota::build(&spec, b"firmware of a display");
    let hash = ota::parse(&file).unwrap().manufacturer_image_sha256();
    let signer = key::generate().unwrap();
    std::fs::create_dir_all(folder.join("policies")).unwrap();
    let head = "version = 1\neffective_from = \"2020-11-24\"\nthreshold = 1\nrequired_roles = [\"manufacturer\"]\n\n";
    let clause = image::key_clause(&signer.verifying_key(), image::Role::Manufacturer);
    std::fs::write(folder.join("policies/trust.toml"), format!("{head}{clause}")).unwrap();
    let stated = release::Release {
        manufacturer: "106C".into(),
        models: vec!["433100AC".into()],
        firmware_version: FIRMWARE.into(),
        hardware_min: None,
        hardware_max: None,
        upgrade_from: UpgradePaths::Versions(vec!["00020100".into()]),
        released_at: now,
        expires_at: now.plus_millis(1_000 * 86_400_000),
    };
    let manifest = release::describe(&file, stated).unwrap();
    let envelope = release::sign(&manifest, &[signer]).to_json();
    let trust = Trust::load(&app.settings.policies_dir).unwrap();
    let id = image::add_image(&app.db, &app.vault, &trust, file, envelope.as_bytes(), now, OPERATOR).await.unwrap();
    let lists = [
        (
            Kind::Cpl,
            format!(
                "cpl_entry_id,device_type,manufacturer,model,hardware_version,firmware_version,manufacturer_image_hash,status,upgrade_from\n\
                 CPL-1,PPMID,106C,433100AC,0101,{FIRMWARE},{hash},Active,00020100\n"
            ),
        ),
        (Kind::Epcl, "dmc,cohort,effective_from\nDMC-1,IOC,2020-01-01\n".to_string()),
    ];
    for (kind, text) in lists {
        let path = folder.join(format!("{kind}.csv"));
        std::fs::write(&path, text).unwrap();
        let options = Options { strict: true, replace: false };
        let report = app.import_file(kind, Input::open(&path).unwrap(), options, Arc::new(|_| {}), OPERATOR).await.unwrap();
        assert_eq!(report.rejected, 0, "{kind}");
    }
    id
}

// ---------------------------------------------------------------- what DCC says

/// A plain answer to a request.
pub(crate) fn answer(id: RequestId, code: &str) -> Response {
    Response { request_id: Some(id), code: code.into(), ..testing::acknowledgement(1, code) }
}

/// The same as a message of its own, with a ResponseID.
pub(crate) fn later(id: RequestId, n: u64, code: &str) -> Response {
    Response { response_id: Some(response_id(n)), ..answer(id, code) }
}

pub(crate) fn response_id(n: u64) -> RequestId {
    RequestId { originator: testing::alert(1).response_id.unwrap().originator, target: testing::us(), counter: n }
}

fn alert(about: Option<RequestId>, n: u64, alert: Alert) -> Response {
    let body = Body::Alert { alert_code: "N57".into(), throttled: Throttled::default(), alert, unknown: Vec::new() };
    Response { request_id: about, response_id: Some(response_id(n)), body, ..testing::alert(n) }
}

pub(crate) fn firmware(about: Option<RequestId>, n: u64, site: u64, version: &str, status: Smets1FirmwareStatus) -> Response {
    let said = Alert::Smets1FirmwareNotification { device: device(site), firmware_version: version.into(), status };
    alert(about, n, said)
}

pub(crate) fn activated(about: Option<RequestId>, n: u64, site: u64) -> Response {
    firmware(about, n, site, FIRMWARE, Smets1FirmwareStatus::ActivationSuccessful)
}

pub(crate) fn s1sp(about: Option<RequestId>, n: u64, site: Option<u64>, code: &str, at: Time) -> Response {
    let information = Some("PPMID key missing".to_string());
    alert(about, n, Alert::S1spAlert { request_id: about, device: site.map(device), code: code.into(), information, at })
}

fn no_key(about: Option<RequestId>, n: u64, site: u64) -> Response {
    s1sp(about, n, Some(site), "S1VE1", testing::now())
}

pub(crate) fn warning(id: RequestId, n: u64, lists: UpdateFirmwareWarning) -> Response {
    let mut response = later(id, n, "W110101");
    if let Body::Message { content, .. } = &mut response.body {
        *content = Content::UpdateFirmwareWarning(lists);
    }
    response
}
