//! DCC signs with a new certificate while the daemon runs: refused until its file is pinned, taken from then on, without a
//! restart; and a file that cannot be used changes nothing.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use ppmid_orchestrator::{
    clock::Clock,
    duis::{Alert, Body, FileSigner, Response, Smets1FirmwareStatus, write_response},
    ids::{Eui, RequestId},
    sim::pki,
};

use crate::lab::{DCC_ID, Daemon, Engine, Lab, PATIENCE, USER_ID, on_both_engines, until};

on_both_engines!(a_new_certificate_of_dcc_is_pinned_without_a_restart);

/// An alert that DCC signs.
pub fn alert(n: u64, signer: &FileSigner) -> Vec<u8> {
    let response = Response {
        schema_version: "3.1".into(),
        request_id: None,
        response_id: Some(RequestId { originator: DCC_ID, target: USER_ID, counter: n }),
        code: "I0".into(),
        at: Clock::System.now(),
        body: Body::Alert {
            alert_code: "N57".into(),
            throttled: Default::default(),
            alert: Alert::Smets1FirmwareNotification {
                device: Eui(n),
                firmware_version: "00000001".into(),
                status: Smets1FirmwareStatus::ActivationSuccessful,
            },
            unknown: Vec::new(),
        },
    };
    write_response(&response, signer).unwrap().bytes
}

/// Posts a message as DCC does; the status of the answer.
fn deliver(lab: &Lab, message: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", lab.receiver_port)).unwrap();
    let head = format!(
        "POST /duis/receive HTTP/1.1\r\nHost: us\r\nConnection: close\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(&[head.as_bytes(), message].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

/// A new key and certificate of DCC's, under these names in the lab's folder.
fn new_signer(lab: &Lab, name: &str) -> (FileSigner, String) {
    let made = pki::make(DCC_ID, pki::Holder::Dcc, Clock::System.now()).unwrap();
    let (key, certificate) = (format!("{name}.key.pem"), format!("{name}.pem"));
    made.write_to(lab.folder.path(), &key, &certificate).unwrap();
    let signer = FileSigner::load(&lab.folder.path().join(key), &lab.folder.path().join(certificate)).unwrap();
    (signer, made.certificate_pem)
}

async fn a_new_certificate_of_dcc_is_pinned_without_a_restart(engine: Engine) {
    let Some(lab) = Lab::new(engine).await else { return };
    let old = lab.dcc_signer();
    let (second, second_pem) = new_signer(&lab, "second");
    let (third, third_pem) = new_signer(&lab, "third");
    let first_pem = std::fs::read_to_string(lab.folder.path().join("dcc.pem")).unwrap();
    let serve = lab.serve();
    assert_eq!((deliver(&lab, &alert(1, &old)), deliver(&lab, &alert(2, &second))), (204, 400));

    // At once, when asked.
    lab.folder.write("dcc.pem", format!("{first_pem}{second_pem}"));
    serve.hang_up();
    until_in_force(&serve, 1);
    assert_eq!((deliver(&lab, &alert(2, &second)), deliver(&lab, &alert(3, &old))), (204, 204));

    // What cannot be used changes nothing, and is said once.
    lab.folder.write("dcc.pem", "-----BEGIN CERTIFICATE-----\nhalf of it");
    serve.until_it_says("new certificates cannot be used");
    assert_eq!((deliver(&lab, &alert(4, &second)), deliver(&lab, &alert(5, &old))), (204, 204));

    // By itself, when the file changed.
    lab.folder.write("dcc.pem", format!("{second_pem}{third_pem}"));
    until_in_force(&serve, 2);
    assert_eq!(
        (deliver(&lab, &alert(6, &third)), deliver(&lab, &alert(7, &second)), deliver(&lab, &alert(8, &old))),
        (204, 204, 400)
    );
    assert_eq!(serve.log().matches("new certificates cannot be used").count(), 1, "{}", serve.log());

    serve.hang_up();
    serve.until_it_says("the certificates are as they were");
    let events = lab.json(&["audit", "list"]);
    let reloads: Vec<_> = events.as_array().unwrap().iter().filter(|e| e["action"] == "certificates.reload").collect();
    let sizes: Vec<_> = reloads
        .iter()
        .map(|e| (e["detail"]["old"].as_array().unwrap().len(), e["detail"]["new"].as_array().unwrap().len()))
        .collect();
    assert_eq!(sizes, [(1, 2), (2, 2)], "{reloads:?}");
    assert!(reloads.iter().all(|e| e["subject"] == "gateway.dcc_certificates"), "{reloads:?}");
    assert!(reloads[0]["detail"]["new"][1].as_str().unwrap().contains(&second_serial(&second)), "{reloads:?}");
    serve.terminate();
}

fn second_serial(signer: &FileSigner) -> String {
    use ppmid_orchestrator::duis::Signer;
    signer.certificate().serial.clone()
}

fn until_in_force(serve: &Daemon, times: usize) {
    let said = || serve.log().matches("new certificates are in force").count() >= times;
    until("new certificates in force", PATIENCE, || said().then_some(()));
}
