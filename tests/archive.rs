//! The archive through the program: what DCC sent and was sent is found, looked at on the record, tried again after a fix, passed on,
//! and a held batch is let go.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
};

use ppmid_orchestrator::{
    clock::Clock,
    duis::{Alert, Body, FileSigner, Response, Smets1FirmwareStatus, Throttled, write_response},
    ids::{DeviceId, Eui, RequestId},
    sim::pki,
};
use serde_json::Value;

use crate::{
    harness::{Folder, assert_polite},
    lab::{Behaviour, Engine, FIRMWARE, Lab, PATIENCE, RawDcc, free_port, on_both_engines, until},
};

on_both_engines!(
    messages_are_found_shown_and_taken_off_the_queue,
    a_refused_message_is_settled_after_its_certificate_was_pinned,
    what_is_not_ours_goes_on_to_another_adapter,
    a_held_batch_is_let_go,
);

const DCC: Eui = Eui(0x90B3_D51F_3000_0002);
const US: Eui = Eui(0x90B3_D51F_3001_0000);

fn device(n: u64) -> DeviceId {
    Eui(0x00DB_9999_0000_0000 + n)
}

/// DCC's message number `n`.
fn alert(n: u64, about: Option<RequestId>, alert: Alert) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: about,
        response_id: Some(RequestId { originator: DCC, target: US, counter: n }),
        code: "I0".into(),
        at: Clock::System.now(),
        body: Body::Alert { alert_code: "N57".into(), throttled: Throttled::default(), alert, unknown: Vec::new() },
    }
}

/// About a request that this program never sent.
fn foreign(n: u64) -> Response {
    let status = Smets1FirmwareStatus::ActivationSuccessful;
    let said = Alert::Smets1FirmwareNotification { device: device(n), firmware_version: FIRMWARE.into(), status };
    alert(n, Some(RequestId { originator: US, target: DCC, counter: n }), said)
}

fn names_nobody(n: u64) -> Response {
    let information = Some("PPMID key missing at MPAN 2298132107763".to_string());
    alert(
        n,
        None,
        Alert::S1spAlert { request_id: None, device: None, code: "S1VE1".into(), information, at: Clock::System.now() },
    )
}

/// Posts as DCC does; gives the status.
fn deliver(lab: &Lab, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", lab.receiver_port)).unwrap();
    let length = body.len();
    let head = format!(
        "POST /duis/receive HTTP/1.1\r\nHost: us\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

fn signed(response: &Response, signer: &FileSigner) -> Vec<u8> {
    write_response(response, signer).unwrap().bytes
}

/// The messages in a state, newest first, once there are `n`.
fn in_state(lab: &Lab, state: &str, n: usize) -> Vec<Value> {
    until(&format!("{n} messages in the state {state}"), PATIENCE, || {
        let listed = lab.json(&["inbox", "list", "--state", state]);
        let listed = listed.as_array().expect("an array").clone();
        (listed.len() == n).then_some(listed)
    })
}

fn id(message: &Value) -> String {
    message["id"].to_string()
}

async fn messages_are_found_shown_and_taken_off_the_queue(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let dcc = lab.dcc_signer();
    let serve = lab.serve();
    let (nobody, other) = (signed(&names_nobody(1), &dcc), signed(&foreign(2), &dcc));
    assert_eq!((deliver(&lab, &nobody), deliver(&lab, &other), deliver(&lab, b"<a/>")), (204, 204, 400));
    let waiting = in_state(&lab, "unmatched", 1);
    let ignored = in_state(&lab, "ignored", 1);
    let refused = in_state(&lab, "rejected", 1);
    assert!(waiting[0]["note"].as_str().unwrap().contains("no PPMID key for the device"), "{waiting:?}");
    assert!(!waiting[0]["note"].as_str().unwrap().contains("2298132107763"), "an MPAN is masked: {waiting:?}");
    assert_eq!(refused[0]["reason"], "unsigned");

    let found = lab.done(&["inbox", "list", "--device", &device(2).to_string(), "--output", "csv"]);
    assert_eq!((found.lines().count(), found.contains("SMETS1CHFirmwareNotification,I0")), (2, true), "{found}");
    let none = lab.json(&["inbox", "list", "--until", "2020-01-01"]);
    assert_eq!(none, serde_json::json!([]));
    let table = lab.run(&["inbox", "list"]);
    assert!(table.err.contains("1 wait for a person: 1 unmatched, 0 failed"), "{}", table.err);
    let shown = lab.json(&["inbox", "show", &id(&ignored[0])]);
    assert_eq!((&shown["verified"], &shown["status"]), (&true.into(), &"ActivationSuccessful".into()), "{shown}");
    assert!(shown["signed_by"]["serial"].is_string(), "{shown}");
    assert_eq!(lab.json(&["inbox", "show", &id(&refused[0])])["verified"], false);

    let raw = lab.folder.command(&["inbox", "show", &id(&ignored[0]), "--raw"]).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(raw.stdout, other, "byte for byte");
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    assert!(trail.contains(&format!("message.read-raw,message {}", id(&ignored[0]))), "{trail}");
    assert_eq!(trail.matches("message.read-raw").count(), 1);

    let gone = lab.run(&["inbox", "dismiss", "99", "--reason", "x"]);
    assert_eq!(gone.code, 1);
    assert_polite(&gone);
    lab.done(&["inbox", "dismiss", &id(&waiting[0]), "--reason", "spoke to the provider"]);
    assert!(in_state(&lab, "dismissed", 1)[0]["note"].as_str().unwrap().contains("spoke to the provider"));
    let stats = lab.json(&["inbox", "stats"]);
    assert_eq!(stats.as_array().unwrap().len(), 3, "{stats}");
    serve.terminate();
}

async fn a_refused_message_is_settled_after_its_certificate_was_pinned(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let path = lab.folder.path();
    pki::make(DCC, pki::Holder::Dcc, Clock::System.now()).unwrap().write_to(path, "new.key.pem", "new.pem").unwrap();
    let new = FileSigner::load(&path.join("new.key.pem"), &path.join("new.pem")).unwrap();
    let serve = lab.serve();
    assert_eq!(deliver(&lab, &signed(&foreign(1), &new)), 400);
    assert_eq!(deliver(&lab, b"junk"), 400);
    in_state(&lab, "rejected", 2);
    let refused = lab.run(&["inbox", "replay", "--state", "rejected", "--output", "json"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert_polite(&refused);
    let outcomes: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!((outcomes.as_array().unwrap().len(), &outcomes[0]["outcome"]), (2, &"refused".into()), "{outcomes}");

    lab.configure("dcc_certificates = [\"dcc.pem\", \"new.pem\"]");
    let partly = lab.run(&["inbox", "replay", "--state", "rejected"]);
    assert_eq!(partly.code, 5, "{}", partly.err);
    assert!(partly.out.contains("queued"), "{}", partly.out);
    in_state(&lab, "ignored", 1);
    in_state(&lab, "rejected", 1);
    let again = lab.run(&["inbox", "replay", "--state", "rejected", "--reason", "unknown-certificate"]);
    assert_eq!((again.code, again.out.lines().count()), (0, 1), "nothing is left to try: {}", again.out);
    assert!(lab.done(&["audit", "list"]).contains("message.replay"));
    serve.terminate();
}

async fn what_is_not_ours_goes_on_to_another_adapter(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let dcc = lab.dcc_signer();
    let port = free_port();
    let forward_to = format!("http://127.0.0.1:{port}/duis");
    let environment = [("PPMID_RECEIVER__FORWARD_TO", forward_to.as_str())];
    let serve = lab.start_serving(&environment);
    serve.until_it_says("serving");
    let sent: Vec<Vec<u8>> = (1..=5).map(|n| signed(&foreign(n), &dcc)).collect();
    for message in &sent {
        assert_eq!(deliver(&lab, message), 204);
    }
    in_state(&lab, "forwarding", 5);
    serve.until_it_says("receiver.forward_to cannot be reached");
    // It comes up while nobody serves; what waits is durable.
    serve.kill();
    let adapter = RawDcc::start(port, Behaviour::Takes, lab.dcc_signer()).await;
    let serve = lab.start_serving(&environment);
    in_state(&lab, "forwarded", 5);
    assert_eq!(deliver(&lab, &sent[0]), 204, "DCC sends one twice");
    assert_eq!(deliver(&lab, &signed(&foreign(6), &dcc)), 204);
    in_state(&lab, "forwarded", 6);
    let posts = adapter.posts();
    assert_eq!(posts.len(), 6);
    assert!(posts.iter().zip(&sent).all(|(post, sent)| post.body == *sent), "as they came, in order");
    assert!(posts.iter().all(|p| p.head.starts_with("POST /duis ") && p.header("content-type") == Some("application/xml")));
    serve.terminate();
}

async fn a_held_batch_is_let_go(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let image = lab.load_eligible(6);
    lab.start_campaign("spring", &image, 50);
    let dcc = RawDcc::start(lab.dcc_port, Behaviour::Refuses, lab.dcc_signer()).await;
    let serve = lab.serve();
    let held = until("a held request", PATIENCE, || {
        let listed = lab.json(&["outbox", "list", "--state", "held", "--campaign", "spring"]);
        listed.as_array().unwrap().first().cloned()
    });
    let request = held["id"].as_str().unwrap();
    let shown = lab.json(&["outbox", "show", request, "--devices"]);
    assert_eq!(
        (&shown["postings"][0]["outcome"], shown["device_ids"].as_array().unwrap().len()),
        (&"rejected".into(), 6),
        "{shown}"
    );
    assert_eq!(shown["messages"][0]["source"], "reply", "{shown}");
    let raw = lab.folder.command(&["outbox", "show", request, "--raw"]).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(raw.stdout, dcc.posts()[0].body, "byte for byte what DCC was sent");

    dcc.behave(Behaviour::Accepts);
    let refused = lab.run(&["outbox", "replay", request, "--reason", " "]);
    assert_eq!(refused.code, 2);
    lab.done(&["outbox", "replay", request, "--reason", "DCC says it was not processed"]);
    until("the answer settled", PATIENCE, || (lab.status("spring")["by_state"]["accepted"] == 6).then_some(()));
    let posts = dcc.posts();
    assert_eq!((posts.len(), posts[0].request_id() == posts[1].request_id()), (2, true), "the same request");
    let again = lab.run(&["outbox", "replay", request, "--reason", "once more"]);
    assert_eq!(again.code, 1);
    assert_polite(&again);
    assert!(again.err.contains("DCC answered it with I99"), "{}", again.err);
    let trail = lab.done(&["audit", "list", "--output", "csv"]);
    assert!(trail.contains("request.release") && trail.contains("request.read-raw"), "{trail}");
    serve.terminate();
}

#[test]
fn wrong_usage_and_help_are_as_everywhere() {
    let folder = Folder::new();
    for args in [
        &["inbox"][..],
        &["inbox", "list", "--state", "lost"],
        &["inbox", "list", "--since", "yesterday"],
        &["inbox", "list", "--device", "7"],
        &["inbox", "replay"],
        &["inbox", "replay", "7", "--state", "failed"],
        &["inbox", "replay", "--kind", "S1SPAlertDSP"],
        &["inbox", "dismiss", "7"],
        &["outbox", "list", "--kind", "9.9"],
        &["outbox", "show", "7"],
        &["outbox", "replay", "7", "--reason", "x"],
    ] {
        let refused = folder.run(args);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{args:?}: {}", refused.err);
    }
    for args in [["inbox", "list"], ["inbox", "show"], ["inbox", "stats"], ["inbox", "replay"], ["inbox", "dismiss"]] {
        assert!(folder.done(&[args[0], args[1], "--help"]).contains("Example"), "{args:?}");
    }
    for verb in ["list", "show", "replay"] {
        assert!(folder.done(&["outbox", verb, "--help"]).contains("Example"), "{verb}");
    }
    assert_eq!(folder.done(&["inbox", "list", "--output", "csv"]).lines().count(), 1, "headers alone");
    assert_eq!(folder.done(&["outbox", "list", "--output", "json"]), "[]\n");
    let missing = folder.run(&["inbox", "show", "7"]);
    assert_eq!(missing.code, 1);
    assert_polite(&missing);
}
