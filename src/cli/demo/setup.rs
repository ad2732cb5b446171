//! What the demo makes up: a folder with a portfolio, certificates, keys and policies, and a simulated DCC that knows it.

use std::path::{Path, PathBuf};

use super::{Context, import_file, report::Progress};
use crate::{
    app::{App, NewCampaignRequest},
    clock::Clock,
    config,
    duis::{Certificate, CertificateSet, FileSigner},
    estate::{SiteFilter, import::Kind},
    failure::{Failure, Outcome},
    gateway::inbox::{self, InboxState},
    ids::{ImageId, UserId},
    image::{self, Trust, UpgradePaths, key, ota, release},
    policy,
    sim::{Portfolio, Scenario, SimConfig, SimError, Simulator, pki},
};

/// The user and DCC of the industry's test set: the defaults of the configuration.
const USER_ID: UserId = crate::ids::Eui(0x90B3_D51F_3001_0000);
const DCC_ID: UserId = crate::ids::Eui(0x90B3_D51F_3000_0002);
/// Silence becomes `expired` after this many milliseconds in the demo instead of 72 hours, and one more for every second
/// site, since a large demo is answered more slowly.
const ANSWER_WITHIN_MILLIS: usize = 5_000;
/// Bytes of the made-up manufacturer image: a display's firmware is a few hundred KiB.
const FIRMWARE_BYTES: usize = 256 * 1024;
/// Who does everything in the demo but approve.
pub const OPERATOR: &str = "demo.operator";
const APPROVER: &str = "demo.approver";

/// A trial that stands ready.
pub struct Trial {
    pub folder: PathBuf,
    pub app: App,
    pub sim: Simulator,
}

impl Trial {
    pub async fn make(ctx: &Context, sites: usize, seed: u64, keep: Option<&Path>, progress: &Progress) -> Outcome<Trial> {
        let folder = make_folder(keep)?;
        let now = ctx.clock.now();
        let portfolio = Portfolio::generate(sites, seed, now.london_day(), now);
        progress.say(&format!("portfolio  {sites} sites, seed {seed}, in {}", folder.display()));

        let dcc = pki::make(DCC_ID, pki::Holder::Dcc, now).map_err(made)?;
        let supplier = pki::make(USER_ID, pki::Holder::User, now).map_err(made)?;
        dcc.write_to(&folder, "dcc.key.pem", "dcc.pem").map_err(made)?;
        supplier.write_to(&folder, "supplier.key.pem", "supplier.pem").map_err(made)?;

        let signer = FileSigner::from_pem(dcc.key_pem.as_bytes(), Certificate::from_pem(dcc.certificate_pem.as_bytes())?)?;
        let users = CertificateSet(vec![Certificate::from_pem(supplier.certificate_pem.as_bytes())?]);
        let mut scenario = Scenario { seed, ..Scenario::default() };
        scenario.deliveries.duplicated = "1%".parse().expect("it is a share");
        scenario.deliveries.reordered = "1%".parse().expect("it is a share");
        let sim = Simulator::start(SimConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            deliver_to: "http://127.0.0.1:9/not-yet".into(),
            tls: None,
            scenario,
            devices: portfolio.devices().collect(),
            signer: std::sync::Arc::new(signer),
            supplier_certificates: users,
            clock: Clock::System,
        })
        .await
        .map_err(sim_failed)?;

        let image = firmware(seed);
        let manufacturer_image = ota::parse(&image).map_err(made)?.manufacturer_image_sha256();
        portfolio.write_csvs(&folder, manufacturer_image).map_err(sim_failed)?;
        write(&folder.join("firmware.ota"), &image)?;
        sign(&folder, &image, now)?;
        write_policies(&folder, sites)?;
        let config = folder.join("ppmid.toml");
        write(&config, configuration(&sim.base_url()).as_bytes())?;
        let url = ctx.global.database_url.clone().unwrap_or_else(|| format!("sqlite://{}", folder.join("ppmid.db").display()));
        let settings = config::load(&config, Some(&url))?;
        let app = App::open(settings, ctx.clock.clone()).await?;
        Ok(Trial { folder, app, sim })
    }

    /// Adds the signed image by the same checks as `ppmid image add`.
    pub async fn add_image(&self) -> Outcome<ImageId> {
        let app = &self.app;
        let trust = Trust::load(&app.settings.policies_dir)?;
        let file = read(&self.folder.join("firmware.ota"))?;
        let envelope = read(&self.folder.join("firmware.dsse.json"))?;
        Ok(image::add_image(&app.db, &app.vault, &trust, file, &envelope, app.now(), OPERATOR).await?)
    }

    /// Creates, plans, approves and starts the campaign. Gives its name.
    pub async fn campaign(&self, image: ImageId, progress: &Progress) -> Outcome<String> {
        let app = &self.app;
        let new = NewCampaignRequest {
            name: "spring".into(),
            image,
            filter: SiteFilter::default(),
            rollout: None,
            batch_size: None,
            waves: Vec::new(),
        };
        let id = app.create_campaign(new, OPERATOR).await?.to_string();
        let plan = app.plan_campaign(&id, None, OPERATOR, &mut |_| {}).await?;
        progress.say(&format!(
            "planned    {} sites: {} eligible, {} held, {} ineligible",
            plan.sites, plan.eligible, plan.held, plan.ineligible
        ));
        app.approve_campaign(&id, APPROVER, OPERATOR).await?;
        app.start_campaign(&id, OPERATOR).await?;
        progress.say(&format!("approved   by {APPROVER}, started"));
        Ok(id)
    }

    /// Asks DCC to run its transitional tool again and imports the results like any other. Gives how many there were.
    pub async fn rerun_transitional_tool(&self) -> Outcome<usize> {
        let csv = self.sim.rerun_transitional_tool(self.app.now());
        let path = self.folder.join("keys-rerun.csv");
        write(&path, csv.as_bytes())?;
        let rows = import_file(&self.app, Kind::Keys, &path).await?;
        // The daemon sees the import by itself within a second; this only makes sure that what follows is counted after it.
        self.app.recheck_held().await?;
        Ok(rows as usize)
    }

    /// Messages received and not yet settled.
    pub async fn waiting_messages(&self) -> Outcome<u64> {
        let counts = inbox::counts(&mut self.app.db.read().await?).await?;
        Ok(counts.get(&InboxState::New).copied().unwrap_or(0))
    }
}

fn make_folder(keep: Option<&Path>) -> Outcome<PathBuf> {
    let Some(dir) = keep else {
        let temporary = tempfile::Builder::new().prefix("ppmid-demo-").tempdir();
        return temporary
            .map(tempfile::TempDir::keep)
            .map_err(|e| Failure::failed(format!("no temporary folder can be made: {e}")));
    };
    let failed = |e: std::io::Error| Failure::failed(format!("the folder {} cannot be made: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Failure::failed(format!("the folder {} is not empty", dir.display())).help("name a new one: --keep DIR"));
    }
    std::fs::canonicalize(dir).map_err(failed)
}

/// A Zigbee OTA file that covers the portfolio's hardware.
fn firmware(seed: u64) -> Vec<u8> {
    let parameters = Portfolio::firmware();
    let text = format!("Demonstration firmware {} for PPMIDs. ", parameters.firmware_version);
    let payload: Vec<u8> = text.bytes().chain(seed.to_be_bytes()).cycle().take(FIRMWARE_BYTES).collect();
    let spec = ota::OtaSpec {
        manufacturer_code: 0x12A7,
        image_type: 0x0084,
        file_version: 0x0002_0200,
        text: "PPMID demonstration",
        hardware: Some((parameters.hardware_min, parameters.hardware_max)),
    };
    ota::build(&spec, &payload)
}

/// Two keys, the trust file that names them, and a manifest that both signed.
fn sign(folder: &Path, image: &[u8], now: crate::clock::Time) -> Outcome {
    const YEAR_MILLIS: i64 = 365 * 86_400_000;
    let parameters = Portfolio::firmware();
    let manufacturer = key::generate()?;
    let release_manager = key::generate()?;
    key::write_private(&folder.join("manufacturer.key.pem"), &manufacturer)?;
    key::write_private(&folder.join("release.key.pem"), &release_manager)?;
    let stated = release::Release {
        manufacturer: parameters.manufacturer.into(),
        models: parameters.models.iter().map(|m| m.to_string()).collect(),
        firmware_version: parameters.firmware_version.into(),
        hardware_min: None,
        hardware_max: None,
        upgrade_from: UpgradePaths::Versions(parameters.upgrade_from.iter().map(|v| v.to_string()).collect()),
        released_at: now,
        expires_at: now.plus_millis(YEAR_MILLIS),
    };
    let manifest = release::describe(image, stated)?;
    let envelope = release::sign(&manifest, &[manufacturer.clone(), release_manager.clone()]);
    write(&folder.join("firmware.dsse.json"), envelope.to_json().as_bytes())?;
    let trust = format!(
        "version = 1\neffective_from = \"2020-11-24\"\nthreshold = 2\nrequired_roles = [\"manufacturer\", \"release\"]\n\n{}\n{}",
        image::key_clause(&manufacturer.verifying_key(), image::Role::Manufacturer),
        image::key_clause(&release_manager.verifying_key(), image::Role::Release),
    );
    let policies = folder.join("policies");
    std::fs::create_dir_all(&policies).map_err(|e| unwritable(&policies, &e))?;
    write(&policies.join("trust.toml"), trust.as_bytes())
}

/// The shipped policies, with the time for an answer compressed.
fn write_policies(folder: &Path, sites: usize) -> Outcome {
    let policies = folder.join("policies");
    policy::init(&policies)?;
    let file = policies.join("eligibility.toml");
    let shipped = String::from_utf8(read(&file)?).map_err(made)?;
    let lines = shipped.lines().map(|line| match line.split_whitespace().next() {
        Some("answer_within") => {
            format!("answer_within = \"{}ms\"  # 72h, compressed for the demo", ANSWER_WITHIN_MILLIS + sites / 2)
        }
        _ => line.to_string(),
    });
    write(&file, (lines.collect::<Vec<_>>().join("\n") + "\n").as_bytes())
}

fn configuration(base_url: &str) -> String {
    format!(
        "# Made by `ppmid demo`. Everything else is the default.\n[gateway]\nbase_url = \"{base_url}\"\n\n[receiver]\nlisten = \"127.0.0.1:0\"\n"
    )
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::failed(format!("{} cannot be read: {e}", path.display())))
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    std::fs::write(path, bytes).map_err(|e| unwritable(path, &e))
}

fn unwritable(path: &Path, e: &std::io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written: {e}", path.display())).help("make room, or name another folder: --keep DIR")
}

/// What the demo makes up must be good; if it is not, that is a fault of this program.
fn made(e: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo could not be set up: {e}"))
}

pub fn sim_failed(e: SimError) -> Failure {
    Failure::from(e)
}
