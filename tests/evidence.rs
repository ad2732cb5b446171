//! An evidence pack, made by the program at the end of a campaign: it passes with its key, on a machine without a database and by other
//! people's tools; changed anywhere, cut short, unsigned or signed by somebody else it does not.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

use crate::{
    harness::{Folder, assert_polite},
    lab::{Engine, Lab, PATIENCE, Site, day, on_both_engines, until},
};

on_both_engines!(a_campaign_leaves_evidence_that_anybody_can_check);

/// Of the sites, the one whose latest key result is `failed`, and the one that is another supplier's.
const KEY_FAILED: u64 = 29;
const OTHERS: u64 = 30;
const SITES: u64 = 30;

async fn a_campaign_leaves_evidence_that_anybody_can_check(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(SITES);
    lab.write_keys("keys-2.csv", "2020-11-12T08:00:00Z", &[(KEY_FAILED, "failed")]);
    lab.done(&["import", "keys", "keys-2.csv"]);
    let mpan = Site::mpan(OTHERS);
    lab.folder.write("switch.csv", format!("mpan,supplier_mpid,effective_from,effective_to\n{mpan},OTHR,{},\n", day(-20)));
    lab.done(&["import", "registrations", "switch.csv"]);
    lab.start_campaign("spring", &image, 10);
    let dcc = lab.simulator("seed = 4\n[delays]\nupdate_requested_ms = [1, 50]\nactivated_ms = [1, 100]\n").await;
    let daemon = lab.serve();
    until("28 activated", PATIENCE, || (lab.status("spring")["by_state"]["activated"] == 28).then_some(()));
    daemon.terminate();
    dcc.stop().await;

    without_a_key(&lab, &image);
    let made = lab.json(&["campaign", "evidence", "spring", "--out", "spring.zip"]);
    assert_eq!((&made["id"], &made["file"]), (&Value::from(1), &Value::from("spring.zip")));
    let bytes = std::fs::read(lab.folder.path().join("spring.zip")).unwrap();
    assert_eq!(made["sha256"], ppmid_orchestrator::image::sha256(&bytes).to_string());
    never_over_a_file(&lab, &bytes);
    assert!(
        lab.done(&["audit", "list", "--output", "csv"]).contains(made["sha256"].as_str().unwrap()),
        "who made it is recorded"
    );

    let elsewhere = Folder::new();
    elsewhere.write("spring.zip", &bytes);
    std::fs::copy(lab.folder.path().join("audit.pub.pem"), elsewhere.path().join("audit.pub.pem")).unwrap();
    let seen: Value = serde_json::from_str(&elsewhere.done(&[
        "campaign",
        "evidence",
        "verify",
        "spring.zip",
        "--key",
        "audit.pub.pem",
        "--output",
        "json",
    ]))
    .unwrap();
    assert_eq!((&seen["valid"], &seen["name"], &seen["entries"]), (&Value::from(true), &Value::from("spring"), &made["entries"]));
    other_tools_agree(&elsewhere);
    tampered(&elsewhere, &bytes, made["entries"].as_u64().unwrap() as usize);
    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|f| f.to_string_lossy().contains("ppmid.db")), "nobody needs a database to check: {left:?}");
    it_says_what_explain_says(&lab, &elsewhere);
}

fn without_a_key(lab: &Lab, image: &str) {
    let refused = lab.run(&["campaign", "evidence", "spring", "--out", "spring.zip"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("[audit] signing_key") && refused.err.contains("ppmid image keygen --out"), "{}", refused.err);
    assert_polite(&refused);
    lab.done(&["image", "keygen", "--out", "audit.key.pem", "--public-out", "audit.pub.pem"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = lab.folder.path().join("audit.key.pem");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = lab.run(&["campaign", "evidence", "spring", "--out", "spring.zip"]);
        assert!(refused.code == 1 && refused.err.contains("chmod 600"), "{refused:?}");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    lab.done(&["campaign", "create", "--name", "bare", "--image", image]);
    let refused = lab.run(&["campaign", "evidence", "bare", "--out", "bare.zip"]);
    assert!(refused.code == 1 && refused.err.contains("no plan"), "{refused:?}");
    assert_polite(&refused);
    let nowhere = lab.run(&["campaign", "evidence", "spring", "--out", "no-such-folder/spring.zip"]);
    assert_eq!(nowhere.code, 1);
    assert_polite(&nowhere);
    let left = |name: &str| lab.folder.path().join(name).exists();
    assert!(!left("spring.zip") && !left("bare.zip") && !left("bare.zip.part"));
}

fn never_over_a_file(lab: &Lab, first: &[u8]) {
    let args = ["campaign", "evidence", "spring", "--out", "spring.zip"];
    let refused = lab.run(&args);
    assert!(refused.code == 1 && refused.err.contains("--force"), "{refused:?}");
    assert_polite(&refused);
    let path = lab.folder.path().join("spring.zip");
    assert_eq!(std::fs::read(&path).unwrap(), first);
    // What a killed process left behind is in nobody's way.
    lab.folder.write("again.zip.part", "half a pack");
    lab.done(&["campaign", "evidence", "1", "--out", "again.zip"]);
    lab.done(&[&args[..], &["--force"]].concat());
    assert!(!lab.folder.path().join("again.zip.part").exists() && !lab.folder.path().join("spring.zip.part").exists());
    std::fs::write(path, first).unwrap();
}

fn check(folder: &Folder, file: &str) -> crate::harness::Ran {
    folder.run(&["campaign", "evidence", "verify", file, "--key", "audit.pub.pem"])
}

/// Every way in which a pack can be another than the one that was signed: exit 4, politely.
fn tampered(folder: &Folder, bytes: &[u8], entries: usize) {
    let bad = |name: &str, bytes: &[u8]| {
        folder.write("bad.zip", bytes);
        let ran = check(folder, "bad.zip");
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{name}: {ran:?}");
        assert_polite(&ran);
        ran.err
    };
    // The middle of each entry's bytes, found by its local header.
    let headers: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"PK\x03\x04")).collect();
    assert_eq!(headers.len(), entries);
    for (n, at) in headers.iter().enumerate() {
        let length = usize::from(u16::from_le_bytes(bytes[at + 26..at + 28].try_into().unwrap()));
        let name = String::from_utf8(bytes[at + 30..at + 30 + length].to_vec()).unwrap();
        let content = at + 30 + length + 20;
        let end = headers.get(n + 1).copied().unwrap_or(content + 100);
        for place in [at + 14, at + 31, (content + end) / 2] {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1;
            let said = bad(&name, &changed);
            if place > content {
                assert!(said.contains(&format!("{name}:")), "it is said which entry: {name}: {said}");
            }
        }
    }
    for length in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        bad("cut short", &bytes[..length]);
    }
    bad("added to", &[bytes, b"\n"].concat());
    bad("no archive", b"these are not the bytes you are looking for");
    folder.done(&["image", "keygen", "--out", "other.key.pem", "--public-out", "other.pub.pem"]);
    let foreign = folder.run(&["campaign", "evidence", "verify", "spring.zip", "--key", "other.pub.pem"]);
    assert!(foreign.code == 4 && foreign.err.contains("signed by the key"), "{foreign:?}");
    assert_polite(&foreign);
    for (file, key) in
        [("absent.zip", "audit.pub.pem"), (".", "audit.pub.pem"), ("spring.zip", "absent.pem"), ("spring.zip", "spring.zip")]
    {
        let ran = folder.run(&["campaign", "evidence", "verify", file, "--key", key]);
        assert_eq!(ran.code, 1, "{file} {key}: {ran:?}");
        assert_polite(&ran);
    }
    repacked(folder, &bad);
}

/// Taken apart and put together again by another program, with and without the signature.
fn repacked(folder: &Folder, bad: &dyn Fn(&str, &[u8]) -> String) {
    if !has("python3") {
        return;
    }
    let script = "import sys, zipfile\nsource = zipfile.ZipFile('spring.zip')\n\
                  with zipfile.ZipFile('repacked.zip', 'w', zipfile.ZIP_DEFLATED) as z:\n\
                  \x20   for i in source.infolist():\n        if i.filename not in sys.argv[1:]: z.writestr(i, source.read(i))\n";
    for without in [&[][..], &["manifest.dsse.json"], &["manifest.json", "manifest.dsse.json"]] {
        tool(folder.path(), "python3", &[&["-c", script], without].concat());
        bad("packed again", &std::fs::read(folder.path().join("repacked.zip")).unwrap());
    }
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("PPMID_REQUIRE_TOOLS").is_none(), "{tool} is missing");
    found
}

fn tool(folder: &Path, name: &str, args: &[&str]) -> String {
    let ran = Command::new(name).args(args).current_dir(folder).output().expect(name);
    let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{name} {args:?}: {text}");
    text
}

/// The pack's own README, followed to the letter, and two other programs for archives.
fn other_tools_agree(folder: &Folder) {
    if !["unzip", "python3", "openssl", "jq", "sha256sum"].into_iter().all(has) {
        return;
    }
    tool(folder.path(), "unzip", &["-tq", "spring.zip"]);
    tool(folder.path(), "unzip", &["-q", "spring.zip", "-d", "unpacked"]);
    let unpacked = folder.path().join("unpacked");
    let names = tool(folder.path(), "python3", &["-m", "zipfile", "-l", "spring.zip"]);
    assert!(names.contains("decisions.csv") && names.contains("manifest.dsse.json"), "{names}");
    let readme = std::fs::read_to_string(unpacked.join("README.txt")).unwrap();
    let commands: Vec<&str> =
        readme.lines().map(str::trim).filter(|l| ["jq ", "printf ", "openssl "].iter().any(|c| l.starts_with(c))).collect();
    assert_eq!(commands.len(), 4, "{readme}");
    let script = commands.join("\n").replace("PUBLIC.pem", "../audit.pub.pem");
    let said = tool(&unpacked, "sh", &["-e", "-c", &script]);
    assert!(said.contains("decisions.csv: OK") && said.contains("Signature Verified Successfully"), "{said}");
}

/// Site by site: the rule, the time and the policies of the last decision, and where the site stands.
fn it_says_what_explain_says(lab: &Lab, folder: &Folder) {
    let path = folder.path().join("unpacked/decisions.csv");
    if !path.exists() {
        return;
    }
    let mut decisions = csv::Reader::from_path(path).unwrap();
    let rows: Vec<BTreeMap<String, String>> = decisions.deserialize().map(|r| r.unwrap()).collect();
    assert_eq!(rows.len() as u64, SITES);
    let targets = lab.targets("spring");
    for (row, target) in rows.iter().zip(&targets) {
        assert_eq!([&row["device_id"], &row["state"], &row["reason"], &row["batch"], &row["attempts"]], target.each_ref());
    }
    for row in rows.iter().filter(|r| [1, 17, KEY_FAILED, OTHERS].map(Site::device).contains(&r["device_id"])) {
        let explained = lab.json(&["site", "explain", &row["device_id"], "--campaign", "spring"]);
        let last = explained["decisions"].as_array().unwrap().last().unwrap().clone();
        for (column, key) in [("rule", "reason"), ("decided_at", "at"), ("policies", "policy_hash"), ("who", "who")] {
            assert_eq!(last[key].as_str(), Some(row[column].as_str()), "{column}: {last}");
        }
    }
}
