//! The receiver over real loopback HTTP, on both engines: only what DCC signed is kept, once, and before it is answered.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    db::testing,
    duis::FileSigner,
    failure::Failure,
    gateway::{
        inbox::{self, InboxState, UNREADABLE},
        testing::{acknowledgement, alert, clock, dcc_signer, id, sample, signed},
    },
};

pub const PATH: &str = "/duis/receive";

pub struct Lab {
    pub test: testing::TestDb,
    pub receiver: Receiver,
    pub signer: FileSigner,
    pub nudge: Arc<Notify>,
}

pub async fn labs(limits: Limits) -> Vec<Lab> {
    let mut labs = Vec::new();
    for test in testing::databases().await {
        let (signer, pinned) = dcc_signer();
        let nudge = Arc::new(Notify::new());
        let setup = setup(&test, pinned, nudge.clone(), limits);
        labs.push(Lab { receiver: start(setup).await.unwrap(), test, signer, nudge });
    }
    labs
}

pub fn setup(test: &testing::TestDb, pinned: Pinned, nudge: Arc<Notify>, limits: Limits) -> Setup {
    let listen = "127.0.0.1:0".parse().unwrap();
    Setup { listen, tls: None, path: PATH.into(), pinned, db: test.db.clone(), clock: clock(), nudge, limits }
}

pub fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: us\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The new messages, as they were received.
async fn all(tx: &mut crate::db::Tx) -> Vec<inbox::InboxMessage> {
    let mut all = Vec::new();
    for entry in inbox::list(tx, Some(InboxState::New), None, 99).await.unwrap() {
        all.push(inbox::store::show(tx, entry.id).await.unwrap().unwrap().1);
    }
    all
}

pub fn xml(body: &[u8]) -> Vec<u8> {
    request("POST", PATH, "Content-Type: application/xml\r\n", body)
}

/// The status of the answer, or 0 where the connection ended without one.
pub async fn answer(stream: &mut TcpStream) -> u16 {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return 0,
            Ok(_) => {}
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    assert!(head.to_ascii_lowercase().contains("\r\n\r\n") && !head.contains("chunked"), "{head}");
    head[9..12].parse().unwrap()
}

impl Lab {
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.receiver.local_addr()).await.unwrap()
    }

    pub async fn send(&self, request: &[u8]) -> u16 {
        let mut stream = self.connect().await;
        // The far side may answer and hang up before it has read everything.
        let _ = stream.write_all(request).await;
        answer(&mut stream).await
    }

    /// Messages that are known to be DCC's.
    pub async fn stored(&self) -> u64 {
        let mut tx = self.test.db.read().await.unwrap();
        inbox::counts(&mut tx).await.unwrap().into_iter().filter(|(s, _)| *s != InboxState::Rejected).map(|(_, n)| n).sum()
    }
}

#[tokio::test]
async fn a_signed_message_is_stored_then_answered_and_stored_once() {
    for lab in labs(Limits::default()).await {
        let message = signed(&alert(7), &lab.signer);
        assert_eq!(lab.send(&xml(&message)).await, 204);
        assert_eq!(lab.stored().await, 1);
        lab.nudge.notified().await;
        assert_eq!(lab.send(&xml(&message)).await, 204);
        // ECDSA is not deterministic: the same alert under another signature is the same alert.
        let again = signed(&alert(7), &lab.signer);
        let charset = "Content-Type: text/xml; charset=utf-8\r\n";
        assert_eq!(lab.send(&request("POST", PATH, charset, &again)).await, 204);
        let mut tx = lab.test.db.read().await.unwrap();
        let kept = all(&mut tx).await;
        assert_eq!((kept.len(), &kept[0].body().unwrap()), (1, &message), "{}", lab.test.engine);
        assert_eq!((kept[0].kind.as_str(), kept[0].response_code.as_str()), ("SMETS1CHFirmwareNotification", "I0"));
        let counts = lab.receiver.counts();
        assert_eq!((counts.stored, counts.duplicates, counts.refused.len()), (1, 2, 0));
        lab.receiver.stop().await;
    }
}

#[tokio::test]
async fn samples_signed_by_dcc_are_taken_in() {
    for name in ["made-alert-smets1-firmware-notification.xml", "made-alert-s1sp.xml", "made-11.1-response-warning.xml"] {
        let Some((message, pinned)) = sample(name) else { return };
        for test in testing::databases().await {
            let nudge = Arc::new(Notify::new());
            let receiver = start(setup(&test, pinned.clone(), nudge.clone(), Limits::default())).await.unwrap();
            let lab = Lab { test, receiver, signer: dcc_signer().0, nudge };
            assert_eq!((lab.send(&xml(&message)).await, lab.send(&xml(&message)).await), (204, 204), "{name}");
            assert_eq!(lab.stored().await, 1, "{name}");
            let unpinned = signed(&alert(1), &lab.signer);
            assert_eq!((lab.send(&xml(&unpinned)).await, lab.stored().await), (400, 1));
        }
    }
}

#[tokio::test]
async fn what_dcc_did_not_sign_is_refused_and_kept_as_evidence_alone() {
    for lab in labs(Limits::default()).await {
        let good = String::from_utf8(signed(&acknowledgement(1, "I0"), &lab.signer)).unwrap();
        let unsigned = crate::duis::write_unsigned_refusal(&acknowledgement(1, "E4"));
        let stranger = signed(&alert(1), &dcc_signer().0);
        for (wanted, body) in [
            ("malformed", &b""[..]),
            ("malformed", b"hello"),
            ("malformed", &[0xff; 50]),
            ("malformed", &good.as_bytes()[..good.len() - 9]),
            ("unsigned", &unsigned),
            ("digest", good.replace(">I0<", ">I99<").as_bytes()),
            ("signature", &stranger),
        ] {
            let before = lab.receiver.counts().refused.get(wanted).copied().unwrap_or(0);
            assert_eq!(lab.send(&xml(body)).await, 400, "{wanted}");
            assert_eq!(lab.receiver.counts().refused.get(wanted), Some(&(before + 1)), "{:?}", lab.receiver.counts());
        }
        let good = good.as_bytes();
        let typed = |content_type| request("POST", PATH, content_type, good);
        assert_eq!(lab.send(&typed("")).await, 400);
        assert_eq!(lab.send(&typed("Content-Type: application/json\r\n")).await, 400);
        assert_eq!(lab.send(&typed("Content-Type: text/xml\r\nContent-Encoding: gzip\r\n")).await, 400);
        assert_eq!(lab.send(&request("GET", PATH, "", b"")).await, 405);
        assert_eq!(lab.send(&request("PUT", PATH, "Content-Type: text/xml\r\n", good)).await, 405);
        assert_eq!(lab.send(&request("POST", "/", "Content-Type: text/xml\r\n", good)).await, 404);
        assert_eq!(lab.stored().await, 0, "{}", lab.test.engine);
        assert_eq!(lab.send(&xml(good)).await, 204, "the receiver is none the worse");
        assert_eq!(lab.receiver.counts().refused_not_kept, 0);
        // At its end what was refused is written at once.
        let Lab { receiver, test, .. } = lab;
        receiver.stop().await;
        let mut tx = test.db.read().await.unwrap();
        let kept = inbox::list(&mut tx, Some(InboxState::Rejected), None, 99).await.unwrap();
        let mut reasons: Vec<_> = kept.iter().map(|e| e.reason.clone().unwrap()).collect();
        reasons.sort();
        let wanted = ["digest", "malformed", "malformed", "malformed", "malformed", "signature", "unsigned"];
        assert_eq!(reasons, wanted, "{}", test.engine);
        assert!(inbox::list(&mut tx, Some(InboxState::New), None, 9).await.unwrap().iter().all(|m| m.kind == "ResponseMessage"));
    }
}

#[tokio::test]
async fn a_huge_message_is_not_read_to_its_end() {
    for lab in labs(Limits { body_bytes: 100_000, ..Limits::default() }).await {
        let answered = lab.send(&xml(&vec![b'x'; 100_001])).await;
        assert!([400, 0].contains(&answered), "{answered}");
        let chunked = format!("POST {PATH} HTTP/1.1\r\nHost: us\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
        let answered = lab.send(&[chunked.as_bytes(), &chunk, &chunk].concat()).await;
        assert!([400, 0].contains(&answered), "{answered}");
        assert_eq!(lab.receiver.counts().refused.get("too-large"), Some(&2), "{:?}", lab.receiver.counts());
        assert_eq!(lab.stored().await, 0, "{}", lab.test.engine);
    }
}

#[tokio::test]
async fn a_large_signed_warning_is_stored_whole() {
    use crate::duis::{Body, Content, UpdateFirmwareWarning};
    for lab in labs(Limits::default()).await {
        let mut warning = acknowledgement(3, "W110101");
        let invalid = (0..50_000).map(|n| crate::ids::Eui(0xff00_0000_0000_0000 + n)).collect();
        let content = Content::UpdateFirmwareWarning(UpdateFirmwareWarning { invalid, ..Default::default() });
        warning.body = Body::Message { service_reference: "11.1".into(), service_reference_variant: "11.1".into(), content };
        let message = signed(&warning, &lab.signer);
        assert!(message.len() > 1_000_000);
        assert_eq!(lab.send(&xml(&message)).await, 204, "{:?}", lab.receiver.counts());
        let mut tx = lab.test.db.read().await.unwrap();
        let kept = all(&mut tx).await;
        assert_eq!(
            (kept.len(), kept[0].request_id, kept[0].body().unwrap() == message),
            (1, Some(id(3)), true),
            "{}",
            lab.test.engine
        );
    }
}

#[tokio::test]
async fn a_slow_sender_is_cut_off() {
    let short = Duration::from_millis(150);
    for lab in labs(Limits { body_time: short, request_time: short * 6, idle_time: short * 3, ..Limits::default() }).await {
        let message = xml(&signed(&alert(1), &lab.signer));
        let (mut slow_body, mut slow_head, mut idle) = (lab.connect().await, lab.connect().await, lab.connect().await);
        slow_body.write_all(&message[..message.len() - 5]).await.unwrap();
        slow_head.write_all(&message[..20]).await.unwrap();
        assert_eq!((answer(&mut slow_body).await, answer(&mut slow_head).await, answer(&mut idle).await), (400, 0, 0));
        assert_eq!((lab.receiver.counts().refused.get("too-slow"), lab.stored().await), (Some(&1), 0), "{}", lab.test.engine);
    }
}

#[tokio::test]
async fn what_dcc_signed_and_nobody_understands_is_kept() {
    for lab in labs(Limits::default()).await {
        // A Request is no Response, but the signature is good.
        let devices = [crate::ids::Eui(1)];
        let firmware = crate::duis::Firmware { image: b"image", firmware_version: "9001", devices: &devices };
        let request = crate::duis::ServiceRequest {
            id: id(9),
            duis_version: crate::gateway::testing::version(),
            asks: crate::duis::Asks::UpdateFirmware(firmware),
        };
        let message = crate::duis::build_request(&request, &lab.signer).unwrap().bytes;
        assert_eq!((lab.send(&xml(&message)).await, lab.send(&xml(&message)).await), (204, 204), "{:?}", lab.receiver.counts());
        // Its bytes are not what it is known by: anybody can write a good signature in other ways.
        let text = String::from_utf8(message).unwrap().replacen("<ds:SignatureValue>", "<ds:SignatureValue>\n", 1);
        assert_eq!(lab.send(&xml(text.as_bytes())).await, 204);
        let mut tx = lab.test.db.read().await.unwrap();
        let kept = inbox::list(&mut tx, Some(InboxState::New), None, 5).await.unwrap();
        assert_eq!((kept.len(), kept[0].kind.as_str(), kept[0].request_id), (1, UNREADABLE, Some(id(9))), "{}", lab.test.engine);
    }
}

#[tokio::test]
async fn many_senders_share_transactions_and_none_is_lost() {
    for lab in labs(Limits::default()).await {
        let address = lab.receiver.local_addr();
        let lab = Arc::new(lab);
        let senders = (0..16u64).map(|s| {
            let lab = lab.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                for n in 0..20 {
                    // Neighbours send the same alerts, as a doubling DCC does.
                    let message = signed(&alert(s / 2 * 20 + n), &lab.signer);
                    stream.write_all(&xml(&message)).await.unwrap();
                    assert_eq!(answer(&mut stream).await, 204);
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
        let counts = lab.receiver.counts();
        assert_eq!((lab.stored().await, counts.stored, counts.duplicates), (160, 160, 160), "{}", lab.test.engine);
        assert!(counts.groups < 320, "{} groups", counts.groups);
    }
}

#[tokio::test]
async fn nothing_is_answered_204_while_the_database_is_locked() {
    let limits = Limits { store_time: Duration::from_secs(1), ..Limits::default() };
    let lab = labs(limits).await.remove(0);
    assert_eq!(lab.test.engine, "sqlite");
    let writer = lab.test.db.begin().await.unwrap();
    let message = xml(&signed(&alert(1), &lab.signer));
    assert_eq!(lab.send(&message).await, 503);
    assert_eq!(lab.stored().await, 0);
    drop(writer);
    assert_eq!(lab.send(&message).await, 204);
    assert_eq!(lab.stored().await, 1);
    lab.receiver.stop().await;
}

#[tokio::test]
async fn a_closed_database_is_503_at_once() {
    for lab in labs(Limits::default()).await {
        lab.test.db.close().await;
        assert_eq!(lab.send(&xml(&signed(&alert(1), &lab.signer))).await, 503, "{}", lab.test.engine);
        assert_eq!(lab.receiver.counts().refused.get("not-stored"), Some(&1));
        lab.receiver.stop().await;
    }
}

#[tokio::test]
async fn a_stop_finishes_what_was_read_and_cuts_off_what_was_not() {
    let limits = Limits { finish_time: Duration::from_secs(1), ..Limits::default() };
    for lab in labs(limits).await {
        let address = lab.receiver.local_addr();
        let message = xml(&signed(&alert(1), &lab.signer));
        let (mut finishing, mut stuck) = (lab.connect().await, lab.connect().await);
        finishing.write_all(&message[..message.len() - 1]).await.unwrap();
        stuck.write_all(&message[..50]).await.unwrap();
        // An answered request on each side shows that the server has taken both connections up.
        assert_eq!(lab.send(&message).await, 204);
        let Lab { receiver, test, .. } = lab;
        let stopping = tokio::spawn(receiver.stop());
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        finishing.write_all(&message[message.len() - 1..]).await.unwrap();
        assert_eq!((answer(&mut finishing).await, answer(&mut stuck).await), (204, 0), "{}", test.engine);
        tokio::time::timeout(Duration::from_secs(5), stopping).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let lab = labs(Limits::default()).await.remove(0);
    let (_, pinned) = dcc_signer();
    let taken = lab.receiver.local_addr();
    let setup = Setup { listen: taken, ..setup(&lab.test, pinned, lab.nudge.clone(), Limits::default()) };
    let Err(error) = start(setup).await else { panic!("two receivers on one port") };
    let failure = Failure::from(error);
    assert!(failure.message.contains(&taken.to_string()) && failure.message.contains("another program"), "{failure}");
    assert!(failure.help[0].contains("receiver.listen"), "{failure:?}");
}
