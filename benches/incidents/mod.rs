//! Missing keys as they lie after some months, made as they come to be: by files of results, by what the incident team does, by re-run
//! requests. One case in thirty-three sites, ten times what L§13 tells of.

use std::{fmt::Write, path::Path, sync::Arc};

use ppmid_orchestrator::{
    app::{App, CaseAction, Meant},
    clock::Time,
    estate::import::{Input, Kind, Options},
    ids::DeviceId,
    keys::CaseFilter,
    sql,
};

use crate::portfolio::WHO;

const DAY: i64 = 86_400_000;
/// Cases of one incident, of one note, of one round of assigning.
const GROUP: usize = 40;
pub const ERRORS: [&str; 8] = [
    "no WAN at the communications hub",
    "no response from the display in time",
    "communication lost while the key was written",
    "HAN error 17",
    "HAN error 4",
    "master key missing",
    "unreachable: hub suspended",
    "the display is not joined",
];
pub const NAMES: [&str; 12] = ["jane", "omar", "li", "ann", "piotr", "grace", "tom", "asha", "kofi", "mary", "ivan", "noor"];
pub const TEAMS: [&str; 3] = ["metering", "field force", "DCC service desk"];
pub const REASONS: [&str; 4] = ["replaced device", "decommissioned", "HAN errors", "missing master keys"];

/// Numbers that look drawn by lot, always the same (xorshift).
pub struct Lot(pub u64);

impl Lot {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Opens `count` cases and does to them what months do; gives their devices.
pub async fn fill(app: &App, folder: &Path, count: usize) -> Vec<DeviceId> {
    let mut lot = Lot(7);
    let devices = unlucky(app, count).await;
    let now = app.now();
    let head = "device_id,status,attempted_at,detail\n".to_string();
    let (mut failed, mut better, mut again) = (head.clone(), head.clone(), head);
    for device in &devices {
        let mut at = now.plus_millis(-(2 + lot.below(150) as i64) * DAY - lot.below(DAY as usize) as i64);
        for attempt in 0..1 + lot.below(7) {
            let status = if attempt > 1 && lot.below(8) == 0 { "investigating" } else { "failed" };
            line(&mut failed, *device, status, at, ERRORS[lot.below(ERRORS.len())]);
            at = at.plus_millis(DAY / 2 + lot.below(2 * DAY as usize) as i64).min(now.plus_millis(-2 * DAY));
            if at.0 >= now.0 - 2 * DAY {
                break;
            }
        }
        if lot.below(100) < 45 {
            line(&mut better, *device, "updated", now.plus_millis(-DAY - lot.below(DAY as usize / 2) as i64), "");
            if lot.below(20) == 0 {
                line(&mut again, *device, "failed", now.plus_millis(-(lot.below(DAY as usize / 4) as i64)), ERRORS[0]);
            }
        }
    }
    for text in [failed, better, again] {
        import(app, folder, text).await;
    }
    people(app, &devices, &mut lot).await;
    app.sweep_key_cases().await.expect("a sweep");
    let request = app.request_reruns(Some(&mut |_| Ok(())), WHO).await.expect("a request");
    let stats = app.key_stats().await.expect("figures");
    println!("  cases: {:?}, {} of them on a re-run request", stats.cases, request.lines.len());
    devices
}

fn line(text: &mut String, device: DeviceId, status: &str, at: Time, detail: &str) {
    writeln!(text, "{device},{status},{at},{detail}").expect("writing to memory");
}

/// So many sites that need their key from the tool, spread over all.
async fn unlucky(app: &App, count: usize) -> Vec<DeviceId> {
    let mut tx = app.db.read().await.expect("a reader");
    let text = "select device_id from sites where cohort in ('IOC', 'MDS') order by device_id";
    let all: Vec<i64> = sql!(&mut tx, c => sqlx::query_scalar(text).fetch_all(c).await).expect("sites");
    let step = (all.len() / count).max(1);
    all.into_iter().step_by(step).take(count).map(DeviceId::from_db).collect()
}

async fn import(app: &App, folder: &Path, text: String) {
    let path = folder.join("results.csv");
    std::fs::write(&path, text).expect("a file is written");
    let input = Input::open(&path).expect("the file opens");
    let done = app.import_file(Kind::Keys, input, Options::default(), Arc::new(|_| {}), WHO).await.expect("an import");
    std::fs::remove_file(&path).expect("the file goes");
    println!("  {} results imported, {} rejected", done.read, done.rejected);
}

/// A third of the groups becomes an incident each, a half is somebody's, some are written about, some are closed.
async fn people(app: &App, devices: &[DeviceId], lot: &mut Lot) {
    for (n, group) in devices.chunks(GROUP).enumerate() {
        if lot.below(3) == 0 {
            let team = TEAMS[lot.below(TEAMS.len())].to_string();
            act(app, group, CaseAction::Escalate { incident: incident(n), team }).await;
        }
        if lot.below(2) == 0 {
            act(app, group, CaseAction::Assign { assignee: Some(NAMES[lot.below(NAMES.len())].into()) }).await;
        }
        if lot.below(3) == 0 {
            let text = format!("round {n}: the customer is away, the hub is in a cupboard of metal");
            act(app, group, CaseAction::Note { text }).await;
        }
        if lot.below(12) == 0 {
            act(app, &group[..group.len() / 2], CaseAction::Close { reason: REASONS[lot.below(REASONS.len())].into() }).await;
        }
    }
}

pub fn incident(n: usize) -> String {
    format!("INC{n:07}")
}

async fn act(app: &App, devices: &[DeviceId], action: CaseAction) {
    let filter = CaseFilter { devices: devices.to_vec(), ..CaseFilter::default() };
    let would = app.act_on_cases(filter.clone(), &action, None, Meant::DryRun, WHO).await.expect("a dry run");
    let count = Some(would.count() as u64);
    app.act_on_cases(filter, &action, None, Meant::Confirmed(count), WHO).await.expect("it is done");
}
