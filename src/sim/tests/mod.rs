//! The simulator over real loopback HTTP: signed requests in, verified messages out, and the faults of a scenario.

mod anomalies;
mod doors;
mod orders;
mod peers;
mod plain;
mod reads;
mod smets2;
mod tls;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::{pki::Holder, *};
use crate::{
    clock::Clock,
    duis::{
        Alert, Asks, Body, Certificate, CertificateSet, Content, FileSigner, Firmware, RequestKind, Response, ServiceRequest,
        Signer, Smets1FirmwareStatus, build_request, read_response, read_unsigned_refusal,
    },
    ids::{DeviceId, Eui, RequestId},
};

const DCC: Eui = Eui(0x90B3_D51F_3000_0002);
const SUPPLIER: Eui = Eui(0x90B3_D51F_3001_0000);
const QUICK: &str = "
    [delays]
    warning_ms = 5
    update_requested_ms = [0, 20]
    activated_ms = [1, 20]
    key_missing_ms = [0, 20]
    inventory_ms = [0, 20]
    read_ms = [0, 20]
    quarantine_ms = [0, 20]
    other_alert_ms = [0, 20]
";

fn signer(eui: Eui, holder: Holder) -> FileSigner {
    let made = pki::make(eui, holder, Clock::System.now()).unwrap();
    let certificate = Certificate::from_pem(made.certificate_pem.as_bytes()).unwrap();
    assert_eq!(certificate.subject_eui, Some(eui));
    FileSigner::from_pem(made.key_pem.as_bytes(), certificate).unwrap()
}

fn pinned(signer: &FileSigner) -> CertificateSet {
    CertificateSet(vec![signer.certificate().clone()])
}

/// A receiver that verifies and keeps what it is sent. It answers `fail_first` posts with 500, or all with `always`.
#[derive(Clone)]
struct Receiver {
    received: Arc<Mutex<Vec<Response>>>,
    /// Every signed byte that the simulator emitted, replies too.
    emitted: Arc<Mutex<Vec<Vec<u8>>>>,
    fail_first: Arc<AtomicUsize>,
    always: Option<StatusCode>,
    dcc: CertificateSet,
}

impl Receiver {
    async fn take(&self, bytes: axum::body::Bytes) -> StatusCode {
        let again = self.fail_first.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if again.is_ok() {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        let response = read_response(&bytes, &self.dcc, Clock::System.now()).expect("DCC signs what it sends");
        self.received.lock().unwrap().push(response);
        self.emitted.lock().unwrap().push(bytes.to_vec());
        self.always.unwrap_or(StatusCode::NO_CONTENT)
    }

    async fn listen(&self, address: &str) -> String {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/duis/receive", listener.local_addr().unwrap());
        let this = self.clone();
        let take = move |bytes| async move { this.take(bytes).await };
        let router = axum::Router::new().route("/duis/receive", axum::routing::post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

struct Lab {
    simulator: Simulator,
    receiver: Receiver,
    supplier: FileSigner,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Lab {
    async fn new(scenario: &str, devices: Vec<(DeviceId, Condition)>) -> Lab {
        Lab::with(scenario, devices, 0, None).await
    }

    async fn with(scenario: &str, devices: Vec<(DeviceId, Condition)>, fail_first: usize, always: Option<StatusCode>) -> Lab {
        let dcc = signer(DCC, Holder::Dcc);
        let supplier = signer(SUPPLIER, Holder::User);
        let fail_first = Arc::new(AtomicUsize::new(fail_first));
        let receiver = Receiver { received: Arc::default(), emitted: Arc::default(), fail_first, always, dcc: pinned(&dcc) };
        let config = SimConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            deliver_to: receiver.listen("127.0.0.1:0").await,
            tls: None,
            scenario: Scenario::parse(&format!("{scenario}{QUICK}"), "test").unwrap(),
            devices,
            supplier_certificates: pinned(&supplier),
            signer: Arc::new(dcc),
            clock: Clock::System,
        };
        let simulator = Simulator::start(config).await.unwrap();
        Lab { simulator, receiver, supplier, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    fn request(&self, counter: u64, devices: &[DeviceId]) -> Vec<u8> {
        request(&self.supplier, DCC, counter, devices)
    }

    /// Posts and gives status and body, or nothing where the connection was dropped.
    async fn post_raw(&self, path: &str, bytes: Vec<u8>) -> Option<(StatusCode, Bytes)> {
        let request = Request::post(format!("{}{path}", self.simulator.base_url()))
            .header("content-type", "application/xml")
            .body(Full::new(Bytes::from(bytes)))
            .unwrap();
        let reply = self.client.request(request).await.ok()?;
        let status = reply.status();
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        if status == StatusCode::OK && body.starts_with(b"<sr:Response") && body.ends_with(b"</ds:Signature></sr:Response>") {
            self.receiver.emitted.lock().unwrap().push(body.to_vec());
        }
        Some((status, body))
    }

    /// Posts and gives the signed reply.
    async fn reply_to(&self, path: &str, bytes: Vec<u8>) -> Response {
        let (status, reply) = self.post_raw(path, bytes).await.expect("a reply");
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&reply));
        read_response(&reply, &self.receiver.dcc, Clock::System.now()).unwrap()
    }

    /// Posts and gives the code of the signed reply.
    async fn post_to(&self, path: &str, bytes: Vec<u8>) -> String {
        self.reply_to(path, bytes).await.code
    }

    /// Asks, in DUIS 5.4, at the address where it belongs; gives the signed reply.
    async fn ask(&self, counter: u64, target: Eui, asks: Asks<'_>) -> Response {
        self.ask_in("5.4", counter, target, asks).await
    }

    async fn ask_in(&self, version: &str, counter: u64, target: Eui, asks: Asks<'_>) -> Response {
        let path = match asks.kind() {
            RequestKind::ReadFirmwareVersion => "/api/v1/serviceS",
            RequestKind::ReadInventory | RequestKind::UpdateFirmware | RequestKind::UpdatePpmidFirmware => "/api/v1/serviceD",
        };
        let id = RequestId { originator: self.supplier.certificate().subject_eui.unwrap(), target, counter };
        let request = ServiceRequest { id, duis_version: version.parse().unwrap(), asks };
        self.reply_to(path, build_request(&request, &self.supplier).unwrap().bytes).await
    }

    /// The text of one of the simulator's own addresses, with its status.
    async fn own(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.simulator.base_url()));
        let reply = self.client.request(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await.unwrap();
        let status = reply.status();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Everything that was delivered so far, in order of arrival, and nothing of it again.
    async fn deliveries(&self) -> Vec<Response> {
        self.simulator.until_idle().await;
        std::mem::take(&mut *self.receiver.received.lock().unwrap())
    }

    async fn post(&self, bytes: Vec<u8>) -> String {
        self.post_to("/api/v1/serviceD", bytes).await
    }

    /// What was received of each device, in order of arrival.
    fn stories(&self) -> BTreeMap<DeviceId, Vec<&'static str>> {
        let mut stories: BTreeMap<DeviceId, Vec<&'static str>> = BTreeMap::new();
        for response in self.receiver.received.lock().unwrap().iter() {
            let Body::Alert { alert, .. } = &response.body else { continue };
            let (device, word) = match alert {
                Alert::Smets1FirmwareNotification { device, status: Smets1FirmwareStatus::UpdateRequested, .. } => {
                    (*device, "requested")
                }
                Alert::Smets1FirmwareNotification { device, .. } => (*device, "activated"),
                Alert::S1spAlert { device: Some(device), code, request_id: Some(_), .. } => match code.as_str() {
                    S1SP_CODE_KEY_MISSING => (*device, "key"),
                    _ => (*device, "failed"),
                },
                other => panic!("not expected: {other:?}"),
            };
            stories.entry(device).or_default().push(word);
        }
        stories
    }
}

fn request(signer: &FileSigner, target: Eui, counter: u64, devices: &[DeviceId]) -> Vec<u8> {
    let request = ServiceRequest {
        id: RequestId { originator: SUPPLIER, target, counter },
        duis_version: "3.1".parse().unwrap(),
        asks: Asks::UpdateFirmware(Firmware { image: b"image", firmware_version: "00020200", devices }),
    };
    build_request(&request, signer).unwrap().bytes
}

/// Signs what nobody here would write: `unsigned` is canonical, its signature is put in before the root's end tag.
fn sealed(unsigned: &str, signer: &FileSigner) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};
    let digest = STANDARD.encode(Sha256::digest(unsigned));
    let info = |namespace: &str| {
        format!(
            "<ds:SignedInfo{namespace}><ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256\"></ds:SignatureMethod><ds:Reference URI=\"\"><ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
        )
    };
    let namespace = " xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"";
    let value = STANDARD.encode(signer.sign(info(namespace).as_bytes()).unwrap());
    let Certificate { issuer, serial, .. } = signer.certificate();
    let signature = format!(
        "<ds:Signature{namespace}>{}<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>{issuer}</ds:X509IssuerName><ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data></ds:KeyInfo></ds:Signature></sr:Request>",
        info("")
    );
    unsigned.replacen("</sr:Request>", &signature, 1).into_bytes()
}

/// The text of a good request without its signature.
fn unsigned(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (from, to) = (text.find("<ds:Signature").unwrap(), text.find("</sr:Request>").unwrap());
    format!("{}{}", &text[..from], &text[to..])
}

const VERSION: &str = "00020200";

fn firmware(devices: &[DeviceId]) -> Firmware<'_> {
    Firmware { image: b"image", firmware_version: VERSION, devices }
}

fn device(n: u64) -> DeviceId {
    Eui(0x00DB_0000_0000_0000 + n)
}

fn devices(n: u64) -> Vec<DeviceId> {
    (1..=n).map(device).collect()
}
