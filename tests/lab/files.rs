//! The files an operator has: small CSVs, an image with its manifest, a trust file; and the commands that load them.

use ppmid_orchestrator::{
    clock::{Clock, Day},
    ids::{Eui, Mpan},
    image::ota,
};

use super::Lab;

/// The version the image brings.
pub const FIRMWARE: &str = "00020200";

/// A day relative to today in London.
pub fn day(from_today: i64) -> Day {
    Clock::System.now().london_day().plus(from_today)
}

/// One line of sites.csv; the default passes every rule but the key's.
#[derive(Debug, Clone)]
pub struct Site {
    pub number: u64,
    pub cohort: &'static str,
    pub model: &'static str,
    pub version: &'static str,
    pub status: &'static str,
    pub dmc: &'static str,
    pub migrated_on: &'static str,
}

impl Site {
    pub fn new(number: u64) -> Site {
        Site {
            number,
            cohort: "IOC",
            model: "433100AC",
            version: "00020100",
            status: "Commissioned",
            dmc: "DMC-1",
            migrated_on: "2020-11-01",
        }
    }

    pub fn device(number: u64) -> String {
        Eui(0x00DB_1234_0000_0000 + number).to_string()
    }

    pub fn mpan(number: u64) -> String {
        Mpan::from_first_twelve(190_003_300_000 + number).to_string()
    }

    fn line(&self) -> String {
        format!(
            "{},{},{},106C,{},0101,{},{},{},{}\n",
            Site::device(self.number),
            Site::mpan(self.number),
            self.cohort,
            self.model,
            self.version,
            self.status,
            self.dmc,
            self.migrated_on
        )
    }
}

impl Lab {
    pub fn write_sites(&self, sites: &[Site]) {
        let head = "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n";
        self.folder.write("sites.csv", sites.iter().fold(head.to_string(), |text, site| text + &site.line()));
    }

    /// `(site, supplier, from, to)`.
    pub fn write_registrations(&self, rows: &[(u64, &str, Option<Day>, Option<Day>)]) {
        let or = |d: Option<Day>, none: &str| d.map_or(none.to_string(), |d| d.to_string());
        let head = "mpan,supplier_mpid,effective_from,effective_to\n".to_string();
        let text = rows.iter().fold(head, |text, (n, mpid, from, to)| {
            text + &format!("{},{mpid},{},{}\n", Site::mpan(*n), or(*from, "2015-01-01"), or(*to, ""))
        });
        self.folder.write("registrations.csv", text);
    }

    /// `(site, status)`, attempted at the given time.
    pub fn write_keys(&self, name: &str, at: &str, rows: &[(u64, &str)]) {
        let head = "device_id,status,attempted_at,detail\n".to_string();
        let text = rows.iter().fold(head, |text, (n, status)| text + &format!("{},{status},{at},\n", Site::device(*n)));
        self.folder.write(name, text);
    }

    /// A Zigbee OTA file, signed; the trust file that knows its signer; CPL and EPCL entries for it.
    pub fn write_image(&self) {
        let payload: Vec<u8> = (0..5_000u32).map(|n| (n * 7) as u8).collect();
        let spec = ota::OtaSpec {
            manufacturer_code: 0x12A7,
            image_type: 0x0084,
            file_version: 0x0002_0200,
            text: "a display's firmware",
            hardware: Some((0x0100, 0x01FF)),
        };
        let image = ota::build(&spec, &payload);
        let hash = ota::parse(&image).unwrap().manufacturer_image_sha256();
        self.folder.write("firmware.ota", &image);
        self.folder.write(
            "cpl.csv",
            format!(
                "cpl_entry_id,device_type,manufacturer,model,hardware_version,firmware_version,manufacturer_image_hash,status,upgrade_from\n\
                 CPL-1,PPMID,106C,433100AC,0101,{FIRMWARE},{hash},Active,00020100;00020101\n"
            ),
        );
        self.folder.write("epcl.csv", "dmc,cohort,effective_from\nDMC-1,IOC,2020-01-01\n");
        let keygen = self.run(&["image", "keygen", "--out", "manufacturer.pem"]);
        assert_eq!(keygen.code, 0, "{}", keygen.err);
        std::fs::create_dir_all(self.folder.path().join("policies")).unwrap();
        let head = "version = 1\neffective_from = \"2020-11-24\"\nthreshold = 1\nrequired_roles = [\"manufacturer\"]\n";
        self.folder.write("policies/trust.toml", format!("{head}{}", keygen.err));
        let signed = self.done(&[
            "image",
            "sign",
            "firmware.ota",
            "--key",
            "manufacturer.pem",
            "--manifest-out",
            "firmware.dsse.json",
            "--manufacturer",
            "106C",
            "--model",
            "433100AC",
            "--firmware-version",
            FIRMWARE,
            "--upgrade-from",
            "00020100",
        ]);
        assert_eq!(signed.trim().len(), 64);
    }

    /// `count` eligible sites, numbered from 1, and the image: imported and added. Gives the image id.
    pub fn load_eligible(&self, count: u64) -> String {
        self.write_image();
        let sites: Vec<Site> = (1..=count).map(Site::new).collect();
        self.write_sites(&sites);
        self.write_registrations(&(1..=count).map(|n| (n, "EELC", None, None)).collect::<Vec<_>>());
        self.write_keys("keys.csv", "2020-11-10T08:00:00Z", &(1..=count).map(|n| (n, "updated")).collect::<Vec<_>>());
        for kind in ["registrations", "sites", "keys", "cpl", "epcl"] {
            self.done(&["import", kind, &format!("{kind}.csv"), "--strict"]);
        }
        self.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]).trim().to_string()
    }

    /// Creates, plans, approves and starts a campaign with this image.
    pub fn start_campaign(&self, name: &str, image: &str, batch_size: u64) {
        self.done(&["campaign", "create", "--name", name, "--image", image, "--batch-size", &batch_size.to_string()]);
        self.done(&["campaign", "plan", name]);
        self.done(&["campaign", "approve", name, "--by", "somebody.else"]);
        self.done(&["campaign", "start", name]);
    }
}
