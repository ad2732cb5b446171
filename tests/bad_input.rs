//! What goes wrong on the operator's side: one clear error with what to do, the right exit code, nothing lost.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use ppmid_orchestrator::db::Db;

use crate::{
    harness::{Ran, assert_polite},
    lab::{Behaviour, Engine, FIRMWARE, Lab, PATIENCE, RawDcc, Site, on_both_engines, until},
};

on_both_engines!(
    a_newer_database_is_left_alone,
    what_serve_needs_is_named_where_it_is_missing,
    a_policy_file_that_does_not_parse,
    campaigns_that_are_refused,
    images_that_are_refused,
    a_revoked_image_halts_the_campaign,
    a_withdrawn_product_halts_the_campaign,
    wrong_usage,
);

/// A refusal: its exit code, the words it must say, nothing on stdout, and the manners of the house.
fn refused(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{}", ran.err);
    assert_polite(ran);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    for word in words {
        assert!(ran.err.contains(word), "{word:?} is not said:\n{}", ran.err);
    }
}

async fn a_newer_database_is_left_alone(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.done(&["db", "migrate"]);
    let newer = "insert into _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
        select 9999, 'later', installed_on, success, checksum, execution_time from _sqlx_migrations where version = 1";
    match Db::connect(&lab.database_url).await.unwrap() {
        Db::Sqlite { write, .. } => drop(sqlx::query(newer).execute(&write).await.unwrap()),
        Db::Postgres(pool) => drop(sqlx::query(newer).execute(&pool).await.unwrap()),
    }
    lab.write_sites(&[Site::new(1)]);
    for args in [&["serve"][..], &["import", "sites", "sites.csv"], &["campaign", "list"], &["db", "migrate"]] {
        refused(&lab.run(args), 1, &["newer version", "9999", "backup"]);
    }
}

#[test]
fn what_is_no_database_is_left_as_it_is() {
    let folder = crate::harness::Folder::new();
    let notes = "these are notes, and no database\n".repeat(200);
    folder.write("notes.txt", &notes);
    for args in [&["serve"][..], &["campaign", "list"], &["db", "migrate"]] {
        let ran = folder.run(&[args, &["--database-url", "sqlite://notes.txt"]].concat());
        refused(&ran, 1, &["database"]);
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("notes.txt")).unwrap(), notes);
}

async fn what_serve_needs_is_named_where_it_is_missing(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let file = |name: &str| lab.folder.path().join(name);
    let mode = |name: &str, mode| std::fs::set_permissions(file(name), PermissionsExt::from_mode(mode)).unwrap();

    let taken = TcpListener::bind(("127.0.0.1", lab.receiver_port)).unwrap();
    refused(&lab.run(&["serve"]), 1, &["another program uses that port", &lab.receiver_port.to_string(), "receiver.listen"]);
    drop(taken);

    mode("supplier.key.pem", 0o644);
    refused(&lab.run(&["serve"]), 1, &["supplier.key.pem", "open to others", "chmod 600"]);
    mode("supplier.key.pem", 0o600);

    for name in ["supplier.pem", "dcc.pem", "supplier.key.pem"] {
        std::fs::rename(file(name), file("away")).unwrap();
        refused(&lab.run(&["serve"]), 1, &[name]);
        std::fs::write(file(name), "no PEM at all").unwrap();
        mode(name, 0o600);
        refused(&lab.run(&["serve"]), 1, &[name]);
        std::fs::rename(file("away"), file(name)).unwrap();
    }
    std::fs::rename(file("dcc.pem"), file("away")).unwrap();
    std::fs::copy(file("supplier.pem"), file("dcc.pem")).unwrap();
    refused(&lab.run(&["serve"]), 1, &["dcc.pem", "our own signing key", "gateway.dcc_certificates"]);
    std::fs::rename(file("away"), file("dcc.pem")).unwrap();
    lab.configure("dcc_id = \"90-B3-D5-1F-30-00-00-03\"\n");
    refused(&lab.run(&["serve"]), 1, &["dcc.pem", "of 90-B3-D5-1F-30-00-00-02", "90-B3-D5-1F-30-00-00-03", "gateway.dcc_id"]);
    lab.configure("signing_key = \"dcc.key.pem\"\n");
    refused(&lab.run(&["serve"]), 1, &["do not belong together", "gateway.signing_certificate", "gateway.signing_key"]);

    for url in ["http://192.0.2.1:8079", "http://dcc.example", "http://localhost.example:1"] {
        lab.folder.write("ppmid.toml", format!("[database]\nurl = \"{}\"\n[gateway]\nbase_url = \"{url}\"\n", lab.database_url));
        refused(&lab.run(&["serve"]), 1, &["gateway.base_url", "loopback", url]);
        refused(&lab.run(&["serve", "--check"]), 1, &["loopback"]);
    }
    lab.folder.write("ppmid.toml", "[receiver]\nlisten = \"0.0.0.0:8081\"\n");
    refused(&lab.run(&["serve"]), 1, &["receiver.listen", "loopback"]);
    lab.folder.write("ppmid.toml", "\n[gateway]\nbase_ulr = \"http://127.0.0.1:1\"\n");
    refused(&lab.run(&["serve"]), 1, &["ppmid.toml, line 3", "gateway.base_ulr", "wanted"]);
}

async fn a_policy_file_that_does_not_parse(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(5);
    lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    lab.done(&["policy", "init"]);
    let path = lab.folder.path().join("policies/eligibility.toml");
    let shipped = std::fs::read_to_string(&path).unwrap();
    let line = shipped.lines().position(|l| l.starts_with("guard_days")).unwrap() + 1;
    let replaced = |with: &str| shipped.replace("guard_days = 5", with);
    for (text, words) in [
        (replaced("guard_days = \"five\""), ["guard_days", "five"]),
        (replaced("guard_days = 366"), ["guard_days", "365"]),
        (replaced("guard_day = 5"), ["guard_day", "wanted"]),
        (replaced("guard_days 5"), ["eligibility.toml", "TOML"]),
    ] {
        std::fs::write(&path, text).unwrap();
        let place = format!("eligibility.toml, line {line}");
        for args in [&["campaign", "plan", "spring"][..], &["campaign", "create", "--name", "x", "--image", &image], &["serve"]] {
            refused(&lab.run(args), 1, &[&place, words[0], words[1]]);
        }
        let checked = lab.run(&["policy", "check"]);
        assert!(checked.code == 1 && checked.out.contains(&place), "{checked:?}");
        assert_polite(&checked);
    }
    std::fs::write(&path, &shipped).unwrap();
    lab.done(&["campaign", "plan", "spring"]);
    std::fs::write(lab.folder.path().join("policies/trust.toml"), "version = 1\nthreshold = \"two\"\n").unwrap();
    let ran = lab.run(&["campaign", "plan", "spring"]);
    refused(&ran, 1, &["trust.toml, line 2", "threshold"]);
}

async fn campaigns_that_are_refused(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(5);
    let unknown = "ab".repeat(32);
    refused(&lab.run(&["campaign", "create", "--name", "spring", "--image", &unknown]), 3, &["IMAGE_NOT_TRUSTED"]);
    lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    refused(&lab.run(&["campaign", "create", "--name", "spring", "--image", &image]), 1, &["of this name already"]);
    refused(&lab.run(&["campaign", "plan", "summer"]), 1, &["summer", "campaign list"]);

    let configured = std::fs::read_to_string(lab.folder.path().join("ppmid.toml")).unwrap();
    lab.folder.write("ppmid.toml", format!("{configured}\n[organisation]\nrole = \"GS\"\n"));
    let gas = lab.run(&["campaign", "plan", "spring"]);
    refused(&gas, 3, &["ROLE_NOT_PERMITTED", "L§6"]);
    lab.configure("duis_version = \"2.0\"\n");
    refused(&lab.run(&["campaign", "plan", "spring"]), 3, &["DUIS_VERSION_UNSUPPORTED"]);
    lab.configure("");
    lab.done(&["campaign", "plan", "spring"]);
    lab.done(&["campaign", "approve", "spring", "--by", "somebody.else"]);

    // What refuses a plan refuses a start as well.
    let cpl = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    lab.folder.write("cpl.csv", cpl.replace("Active", "Expired"));
    lab.done(&["import", "cpl", "cpl.csv"]);
    refused(&lab.run(&["campaign", "start", "spring"]), 3, &["CPL_NOT_ACTIVE"]);
    lab.folder.write("cpl.csv", cpl.replace(FIRMWARE, "00020299"));
    lab.done(&["import", "cpl", "cpl.csv"]);
    refused(&lab.run(&["campaign", "start", "spring"]), 3, &["IMAGE_NOT_ON_CPL"]);
    lab.folder.write("cpl.csv", &cpl);
    lab.done(&["import", "cpl", "cpl.csv"]);
    lab.done(&["campaign", "start", "spring"]);
}

async fn images_that_are_refused(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.write_image();
    let add = |file: &str, manifest: &str| lab.run(&["image", "add", file, "--manifest", manifest]);
    let image = std::fs::read(lab.folder.path().join("firmware.ota")).unwrap();
    let trust = std::fs::read_to_string(lab.folder.path().join("policies/trust.toml")).unwrap();

    refused(&add("absent.ota", "firmware.dsse.json"), 1, &["absent.ota"]);
    refused(&add("firmware.ota", "absent.json"), 1, &["absent.json"]);
    lab.folder.write("cut.ota", &image[..image.len() - 1]);
    refused(&add("cut.ota", "firmware.dsse.json"), 4, &["image"]);
    let mut other = image.clone();
    *other.last_mut().unwrap() ^= 1;
    lab.folder.write("other.ota", &other);
    refused(&add("other.ota", "firmware.dsse.json"), 4, &["SHA-256"]);
    lab.folder.write("none.json", "{\"payload\":\"\"}");
    refused(&add("firmware.ota", "none.json"), 4, &["manifest"]);
    lab.folder.write("policies/trust.toml", trust.replace("threshold = 1", "threshold = 2"));
    refused(&add("firmware.ota", "firmware.dsse.json"), 4, &["2"]);
    std::fs::remove_file(lab.folder.path().join("policies/trust.toml")).unwrap();
    refused(&add("firmware.ota", "firmware.dsse.json"), 4, &["trust.toml"]);
    let store = lab.folder.path().join("firmware-store");
    assert!(!store.exists() || std::fs::read_dir(&store).unwrap().next().is_none(), "nothing unverified is stored");
    assert_eq!(lab.done(&["image", "list", "--output", "json"]).trim(), "[]");

    lab.folder.write("policies/trust.toml", &trust);
    let id = lab.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]);
    assert_eq!(lab.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]), id, "again gives the same id");
}

async fn a_revoked_image_halts_the_campaign(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(10);
    lab.start_campaign("spring", &image, 5);
    lab.done(&["image", "revoke", &image, "--reason", "goes dark after midnight"]);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Accepts, lab.dcc_signer()).await;
    let serve = lab.serve();
    let status = until("the halt", PATIENCE, || Some(lab.status("spring")).filter(|s| s["state"] == "halted"));
    assert_eq!(status["stopped_code"], "IMAGE_NOT_TRUSTED");
    assert!(status["stopped_reason"].as_str().unwrap().contains("goes dark after midnight"), "{status}");
    assert_eq!(status["by_state"]["queued"], 10);
    assert!(lab.done(&["campaign", "status", "spring"]).contains("IMAGE_NOT_TRUSTED"));
    refused(&lab.run(&["campaign", "resume", "spring"]), 3, &["IMAGE_NOT_TRUSTED"]);
    assert!(dcc.posts().is_empty(), "nothing was sent");
    serve.terminate();
}

/// While it runs: what is out stays out, and nothing more is sent, resends included.
async fn a_withdrawn_product_halts_the_campaign(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    lab.configure("request_timeout_seconds = 1\n");
    let image = lab.load_eligible(200);
    lab.start_campaign("spring", &image, 1);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Mute, lab.dcc_signer()).await;
    let serve = lab.serve();
    until("a POST", PATIENCE, || (!dcc.posts().is_empty()).then_some(()));
    let cpl = std::fs::read_to_string(lab.folder.path().join("cpl.csv")).unwrap();
    lab.folder.write("withdrawn.csv", cpl.replace("Active", "Withdrawn"));
    lab.done(&["import", "cpl", "withdrawn.csv"]);
    let status = until("the halt", PATIENCE, || Some(lab.status("spring")).filter(|s| s["state"] == "halted"));
    assert_eq!(status["stopped_code"], "CPL_NOT_ACTIVE");
    assert!(status["by_state"]["queued"].as_u64().is_some_and(|n| n > 100), "{status}");
    lab.done(&["import", "cpl", "cpl.csv"]);
    assert_eq!(lab.status("spring")["state"], "halted", "a person resumes it");
    dcc.behave(Behaviour::Accepts);
    lab.done(&["campaign", "resume", "spring"]);
    until("everything accepted", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == 200).then_some(()));
    serve.terminate();
}

async fn wrong_usage(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(3);
    lab.done(&["campaign", "create", "--name", "spring", "--image", &image]);
    lab.done(&["campaign", "plan", "spring"]);
    let as_of = ["--as-of", "2027-01-01"];
    for args in [
        &["campaign", "status", "spring"][..],
        &["campaign", "targets", "spring"],
        &["campaign", "approve", "spring", "--by", "somebody.else"],
        &["campaign", "start", "spring"],
        &["import", "sites", "sites.csv"],
        &["keys", "list"],
        &["serve"],
    ] {
        refused(&lab.run(&[args, &as_of].concat()), 2, &["--as-of"]);
    }
    for args in [
        &["no-such-command"][..],
        &["import", "site", "sites.csv"],
        &["import", "sites"],
        &["import", "sites", "sites.csv", "--replace"],
        &["campaign", "create", "--name", "x"],
        &["campaign", "create", "--name", "x", "--image", "short"],
        &["campaign", "create", "--name", "x", "--image", &image, "--cohort", "XOC"],
        &["campaign", "plan", "spring", "--as-of", "tomorrow"],
        &["campaign", "targets", "spring", "--state", "gone"],
        &["campaign", "approve", "spring", "--by", " "],
        &["halt", "spring"],
        &["halt", "spring", "--reason", ""],
        &["site", "show", "00-DB"],
        &["db", "status", "--output", "xml"],
    ] {
        refused(&lab.run(args), 2, &[]);
    }
}

/// A small file system of its own, which goes away with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: &Path, kib: usize) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|m| m.status.success()) {
            return Some(SmallDisk(at.to_path_buf()));
        }
        eprintln!("SKIPPED: a small tmpfs cannot be mounted (only root may)");
        None
    }

    fn grow(&self, kib: usize) {
        let remount = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &remount]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_database() {
    let Some(lab) = Lab::new(Engine::Sqlite).await else { return };
    let Some(disk) = SmallDisk::mount(&lab.folder.path().join("disk"), 2_048) else { return };
    lab.folder.write("ppmid.toml", "[database]\nurl = \"sqlite://disk/ppmid.db\"\n");
    lab.write_sites(&(1..=60_000).map(Site::new).collect::<Vec<_>>());
    lab.write_registrations(&[(1, "EELC", None, None)]);
    lab.done(&["import", "registrations", "registrations.csv"]);
    let full = lab.run(&["import", "sites", "sites.csv"]);
    // A warning may come first: the rows that were staged are still there.
    assert_eq!((full.code, full.out.as_str()), (1, ""), "{}", full.err);
    assert!(full.err.contains("error: the disk that holds the database is full\nhelp: make room"), "{}", full.err);
    assert_polite(&full);
    disk.grow(65_536);
    let summary = lab.done(&["import", "sites", "sites.csv"]);
    assert!(summary.starts_with("sites: 60000 read, 60000 inserted, 0 updated, 0 unchanged"), "nothing was half done: {summary}");
    let registrations = lab.done(&["import", "registrations", "registrations.csv"]);
    assert!(registrations.contains("1 unchanged"), "nothing was lost: {registrations}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_firmware_store() {
    let Some(lab) = Lab::new(Engine::Sqlite).await else { return };
    let store = lab.folder.path().join("firmware-store");
    let Some(disk) = SmallDisk::mount(&store, 4) else { return };
    lab.write_image();
    let full = lab.run(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]);
    refused(&full, 1, &["full"]);
    let left: Vec<_> = std::fs::read_dir(&store).unwrap().flat_map(|e| files_below(&e.unwrap().path())).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(lab.done(&["image", "list", "--output", "json"]).trim(), "[]");
    disk.grow(1_024);
    lab.done(&["image", "add", "firmware.ota", "--manifest", "firmware.dsse.json"]);
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    match path.is_dir() {
        true => std::fs::read_dir(path).unwrap().flat_map(|e| files_below(&e.unwrap().path())).collect(),
        false => vec![path.to_path_buf()],
    }
}
