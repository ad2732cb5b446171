//! A campaign that is under way: batches that DCC took, and its alerts, signed, verified and waiting in the inbox to be settled.

use std::path::Path;

use ppmid_orchestrator::{
    app::{App, NewCampaignRequest},
    clock::Time,
    duis::{
        Alert, Body, CertificateSet, Content, DuisVersion, FileSigner, RequestBody, Response, Smets1FirmwareStatus, Throttled,
        read_request, verify_and_read_response, write_response,
    },
    estate::SiteFilter,
    gateway::{
        Exchange, PostOutcome, Reply,
        inbox::{self, NewMessage},
    },
    ids::{DeviceId, Eui, RequestId},
    image,
    sim::{Portfolio, pki},
};

use crate::portfolio::WHO;

/// Everything.
pub const CAMPAIGN: &str = "bench";
const APPROVER: &str = "somebody else";
/// Messages stored in one transaction.
const GROUP: usize = 1_000;
/// Counter of the first alert: no two have the same, else one would be taken for the other come again.
const FIRST_RESPONSE: u64 = 1 << 50;

/// A number from the environment, or another.
pub fn number(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

/// Plans a campaign over what a filter names; gives its number.
pub async fn planned(app: &App, name: &str, filter: SiteFilter) -> i64 {
    let image = image::store::list(&mut app.db.read().await.expect("a reader")).await.expect("images")[0].id;
    let new = NewCampaignRequest { name: name.into(), image, filter, rollout: None, waves: Default::default(), batch_size: None };
    let campaign = app.create_campaign(new, WHO).await.expect("a campaign");
    app.plan_campaign(name, None, WHO, &mut |_| {}).await.expect("a plan");
    campaign
}

/// Plans everything, and sends until DCC owes enough alerts: `messages`, two for each device. Gives how many it told.
pub async fn under_way(app: &App, folder: &Path, messages: usize) -> usize {
    let signer = signer(folder, app.now());
    let pinned = pinned(folder);
    let campaign = planned(app, CAMPAIGN, SiteFilter::default()).await;
    app.approve_campaign(CAMPAIGN, APPROVER, WHO).await.expect("an approval");
    app.start_campaign(CAMPAIGN, WHO).await.expect("it starts");
    let mut sent: Vec<(RequestId, DeviceId)> = Vec::new();
    while sent.len() * 2 < messages
        && let Some(id) = app.prepare_batch(campaign).await.expect("a batch")
    {
        let ready = app.begin_post(id, &signer).await.expect("no error").expect("it may leave");
        let request = read_request(&ready.bytes, &pinned, app.now()).expect("our own request");
        let RequestBody::UpdateFirmware(asked) = request.body else { panic!("not a firmware request") };
        let answer = Response {
            schema_version: version(),
            request_id: Some(id),
            response_id: None,
            code: "I99".into(),
            at: app.now(),
            body: Body::Message {
                service_reference: "11.1".into(),
                service_reference_variant: "11.1".into(),
                content: Content::None,
            },
        };
        let bytes = write_response(&answer, &signer).expect("it can be written").bytes;
        let (_, digest) = verify_and_read_response(&bytes, &pinned, app.now()).expect("it is DCC's");
        let reply = Some(Reply { bytes, digest: Some(digest) });
        let exchange = Exchange { outcome: PostOutcome::Answered(answer), reply };
        app.record_outcome(id, 1, &exchange).await.expect("it is recorded");
        sent.extend(asked.devices.iter().map(|device| (id, *device)));
    }
    let news = [Smets1FirmwareStatus::UpdateRequested, Smets1FirmwareStatus::ActivationSuccessful];
    let all: Vec<_> = news.iter().flat_map(|status| sent.iter().map(move |(id, device)| (*id, *device, *status))).collect();
    for (n, group) in all.chunks(GROUP).enumerate() {
        let mut told = Vec::with_capacity(GROUP);
        for (m, (id, device, status)) in group.iter().enumerate() {
            let alert = alert(*id, *device, *status, (n * GROUP + m) as u64, app.now());
            let bytes = write_response(&alert, &signer).expect("it can be written").bytes;
            let (response, digest) = verify_and_read_response(&bytes, &pinned, app.now()).expect("it is DCC's");
            told.push(NewMessage::of(&response, digest, &bytes, app.now()));
        }
        let mut tx = app.db.begin().await.expect("a writer");
        inbox::insert_many(&mut tx, &told).await.expect("they are stored");
        tx.commit().await.expect("a commit");
    }
    all.len()
}

fn version() -> String {
    DuisVersion { major: 3, minor: 1 }.to_string()
}

fn dcc() -> Eui {
    "90-B3-D5-1F-30-00-00-02".parse().expect("an EUI")
}

/// DCC's, and for once ours too: nobody posts anything.
fn signer(folder: &Path, now: Time) -> FileSigner {
    let identity = pki::make(dcc(), pki::Holder::Dcc, now).expect("a certificate");
    identity.write_to(folder, "dcc.key.pem", "dcc.pem").expect("files are written");
    FileSigner::load(&folder.join("dcc.key.pem"), &folder.join("dcc.pem")).expect("the key is ours")
}

pub fn pinned(folder: &Path) -> CertificateSet {
    CertificateSet::from_pem_files(&[folder.join("dcc.pem")]).expect("the certificate is ours")
}

fn alert(about: RequestId, device: DeviceId, status: Smets1FirmwareStatus, n: u64, at: Time) -> Response {
    let response_id = RequestId { originator: about.target, target: about.originator, counter: FIRST_RESPONSE + n };
    Response {
        schema_version: version(),
        request_id: Some(about),
        response_id: Some(response_id),
        code: "I0".into(),
        at,
        body: Body::Alert {
            alert_code: "N57".into(),
            throttled: Throttled::default(),
            alert: Alert::Smets1FirmwareNotification {
                device,
                firmware_version: Portfolio::firmware().firmware_version.into(),
                status,
            },
            unknown: Vec::new(),
        },
    }
}
