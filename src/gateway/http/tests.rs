//! The client against peers written by hand on a socket: what each of their ways to fail lets us be certain of.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    duis::{DuisVersion, write_unsigned_refusal},
    gateway::testing::{acknowledgement, alert, clock, dcc_signer, id, now, sample, signed, version},
};

/// Long enough for any reply of these tests, short enough to wait for where a peer is silent.
const SHORT: Duration = Duration::from_millis(300);

fn gateway(base_url: &str, pinned: Pinned, request_timeout: Duration, reply_limit_bytes: usize) -> HttpGateway {
    let settings = HttpSettings::new(base_url, request_timeout, pinned, clock());
    HttpGateway::new(HttpSettings { reply_limit_bytes, ..settings }).unwrap()
}

/// Reads one request, headers and body.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let n = stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert_ne!(n, 0, "the request ends early: {text}");
    }
}

/// A peer that answers each connection's one request with these bytes, then hangs up. Gives its base URL.
async fn peer(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_request(&mut stream).await;
            // The client may hang up first.
            let _ = stream.write_all(&reply).await;
        }
    });
    base_url
}

fn http(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// What posting our request 1000 to a peer that replies so comes to, DCC's signer being `pinned`.
async fn outcome_of(reply: Vec<u8>, pinned: &Pinned) -> PostOutcome {
    let gateway = gateway(&peer(reply).await, pinned.clone(), Duration::from_secs(20), 100_000);
    gateway.post(Service::NonDevice, b"<a/>".to_vec(), id(1000)).await
}

fn why_unknown(outcome: PostOutcome) -> String {
    match outcome {
        PostOutcome::Unknown(Trouble { why, retry_after: None, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_goes_out_as_the_interface_wants_it_over_one_connection() {
    let (signer, pinned) = dcc_signer();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/dcc/", listener.local_addr().unwrap());
    let replies = ["I0", "I99", "E4"].map(|code| signed(&acknowledgement(1000, code), &signer));
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for reply in replies {
            seen.push(read_request(&mut stream).await);
            stream.write_all(&http("200 OK", "Content-Type: application/xml\r\n", &reply)).await.unwrap();
        }
        seen
    });
    let gateway = gateway(&base_url, pinned, Duration::from_secs(20), 100_000);
    for (service, code) in [(Service::NonDevice, "I0"), (Service::SendCommand, "I99"), (Service::Transform, "E4")] {
        let outcome = gateway.post(service, b"<request/>".to_vec(), id(1000)).await;
        assert!(matches!(&outcome, PostOutcome::Answered(r) if r.code == code), "{outcome:?}");
    }
    let seen = seen.await.unwrap();
    for (request, path) in seen.iter().zip(["serviceD", "serviceS", "serviceT"]) {
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with(&format!("POST /dcc/api/v1/{path} HTTP/1.1\r\n")), "{request}");
        assert!(lower.contains("content-type: application/xml\r\n") && lower.contains("content-length: 10\r\n"), "{request}");
        assert!(!lower.contains("transfer-encoding") && !lower.contains("accept-encoding"), "{request}");
        assert!(request.ends_with("\r\n\r\n<request/>"));
    }
}

#[tokio::test]
async fn a_refused_connection_is_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let outcome = gateway(&base_url, Pinned::new(CertificateSet::default()), Duration::from_secs(20), 1000)
        .post(Service::NonDevice, b"<a/>".to_vec(), id(1))
        .await;
    assert!(
        matches!(&outcome, PostOutcome::NotSent(t) if t.fault == Fault::NoConnection && t.why.contains("refused")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_peer_that_reads_and_hangs_up_may_have_the_request() {
    why_unknown(outcome_of(Vec::new(), &Pinned::new(CertificateSet::default())).await);
    why_unknown(
        outcome_of(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n<half".to_vec(), &Pinned::new(CertificateSet::default())).await,
    );
    why_unknown(
        outcome_of(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 50\r\n\r\n<half".to_vec(),
            &Pinned::new(CertificateSet::default()),
        )
        .await,
    );
    why_unknown(outcome_of(b"220 mail.example ESMTP\r\n".to_vec(), &Pinned::new(CertificateSet::default())).await);
}

#[tokio::test]
async fn silence_is_unknown_after_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = gateway(&base_url, Pinned::new(CertificateSet::default()), SHORT, 1000);
    // Nobody accepts: the system makes the connection, so bytes have left.
    let outcome = gateway.post(Service::NonDevice, b"<a/>".to_vec(), id(1)).await;
    assert_eq!(why_unknown(outcome), "no answer in time");
    drop(listener);
}

#[tokio::test]
async fn a_busy_or_broken_peer_is_unknown_and_may_say_when_to_come_back() {
    let asked = |seconds| Some(Duration::from_secs(seconds));
    // The HTTP date is a minute after the tests' now.
    let date = "Retry-After: Tue, 24 Nov 2026 12:01:00 GMT\r\n";
    for (status, headers, wanted, retry_after) in [
        ("500 Internal Server Error", "", Fault::ServerError, None),
        ("502 Bad Gateway", "Retry-After: soon\r\n", Fault::ServerError, None),
        ("503 Service Unavailable", "Retry-After: 7\r\n", Fault::Busy, asked(7)),
        ("503 Service Unavailable", date, Fault::Busy, asked(60)),
        ("429 Too Many Requests", "Retry-After: Tue, 24 Nov 2020 12:01:00 GMT\r\n", Fault::Busy, asked(0)),
        ("408 Request Timeout", "", Fault::Busy, None),
        ("425 Too Early", "", Fault::Busy, None),
    ] {
        let outcome = outcome_of(http(status, headers, b"try later"), &Pinned::new(CertificateSet::default())).await;
        let PostOutcome::Unknown(trouble) = outcome else { panic!("{status}: {outcome:?}") };
        assert_eq!((trouble.fault, trouble.retry_after), (wanted, retry_after), "{status} {headers}");
    }
    assert_eq!((now().to_string(), version()), ("2026-11-24T12:00:00Z".into(), DuisVersion { major: 3, minor: 1 }));
}

#[tokio::test]
async fn only_a_signed_answer_to_this_very_request_is_an_answer() {
    let (signer, pinned) = dcc_signer();
    let (stranger, _) = dcc_signer();
    let ok = |body: &[u8]| http("200 OK", "", body);
    let answered = outcome_of(ok(&signed(&acknowledgement(1000, "I99"), &signer)), &pinned).await;
    assert!(matches!(answered, PostOutcome::Answered(r) if r.code == "I99" && r.request_id == Some(id(1000))));

    let other = outcome_of(ok(&signed(&acknowledgement(1001, "I99"), &signer)), &pinned).await;
    assert!(why_unknown(other).contains(":1001, not "));
    let stray = outcome_of(ok(&signed(&alert(1), &signer)), &pinned).await;
    assert!(why_unknown(stray).contains("no request"));
    let mut disguised = alert(1);
    disguised.request_id = Some(id(1000));
    let disguised = outcome_of(ok(&signed(&disguised, &signer)), &pinned).await;
    assert!(why_unknown(disguised).contains("no answer but SMETS1CHFirmwareNotification"));
    let forged = outcome_of(ok(&signed(&acknowledgement(1000, "I99"), &stranger)), &pinned).await;
    assert!(why_unknown(forged).contains("signature"));
    let tampered = String::from_utf8(signed(&acknowledgement(1000, "E4"), &signer)).unwrap().replace(">E4<", ">I0<");
    why_unknown(outcome_of(ok(tampered.as_bytes()), &pinned).await);
    for garbage in [&b""[..], b"OK", b"<html><body>It works!</body></html>", &[0xff; 100]] {
        why_unknown(outcome_of(ok(garbage), &pinned).await);
    }
    why_unknown(outcome_of(http("204 No Content", "", b""), &pinned).await);
    let redirect = outcome_of(http("307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n", b""), &pinned).await;
    assert_eq!(redirect.remedy(), Some(Fault::WrongAddress.remedy()));
}

#[tokio::test]
async fn a_refusal_may_come_unsigned_and_a_success_may_not() {
    let (signer, pinned) = dcc_signer();
    for status in ["200 OK", "400 Bad Request"] {
        let refusal = write_unsigned_refusal(&acknowledgement(1000, "E4"));
        let refused = outcome_of(http(status, "", &refusal), &pinned).await;
        assert!(matches!(&refused, PostOutcome::Refused(r) if r.code == "E4"), "{refused:?}");
        let other = outcome_of(http(status, "", &write_unsigned_refusal(&acknowledgement(999, "E4"))), &pinned).await;
        assert!(why_unknown(other).contains(":999, not "));
        let answered = outcome_of(http(status, "", &signed(&acknowledgement(1000, "E4"), &signer)), &pinned).await;
        assert!(matches!(&answered, PostOutcome::Answered(r) if r.code == "E4"), "{answered:?}");
    }
    let success = String::from_utf8(write_unsigned_refusal(&acknowledgement(1000, "E4"))).unwrap().replace(">E4<", ">I0<");
    assert!(success.contains("I0"));
    why_unknown(outcome_of(http("200 OK", "", success.as_bytes()), &pinned).await);
    let rejected = outcome_of(http("404 Not Found", "", b"no such page"), &pinned).await;
    assert!(matches!(&rejected, PostOutcome::Rejected(t) if t.why.contains("404")), "{rejected:?}");
}

#[tokio::test]
async fn a_reply_too_large_or_compressed_is_not_read() {
    let (signer, pinned) = dcc_signer();
    let answer = signed(&acknowledgement(1000, "I99"), &signer);
    let large = outcome_of(http("200 OK", "", &vec![b' '; 200_000]), &pinned).await;
    assert!(why_unknown(large).contains("larger than 100000"));
    let packed = outcome_of(http("200 OK", "Content-Encoding: gzip\r\n", &answer), &pinned).await;
    assert!(why_unknown(packed).contains("compressed"));
    let plain = outcome_of(http("200 OK", "Content-Encoding: identity\r\n", &answer), &pinned).await;
    assert!(matches!(plain, PostOutcome::Answered(_)));
}

#[tokio::test]
async fn messages_a_real_dcc_sent_are_read_as_replies() {
    let Some((warning, pinned)) = sample("made-11.1-response-warning.xml") else { return };
    let outcome = outcome_of(http("200 OK", "", &warning), &pinned).await;
    assert!(matches!(&outcome, PostOutcome::Answered(r) if r.code == "W110101"), "{outcome:?}");
    let Some((refusal, pinned)) = sample("real-acknowledgement-error-unsigned.xml") else { return };
    let gateway = gateway(&peer(http("200 OK", "", &refusal)).await, pinned, Duration::from_secs(20), 100_000);
    let posted = "90-B3-D5-1F-30-01-00-00:88-73-84-57-00-2F-96-6C:1658482675800".parse().unwrap();
    let outcome = gateway.post(Service::SendCommand, b"<a/>".to_vec(), posted).await;
    assert!(matches!(&outcome, PostOutcome::Refused(r) if r.code == "E65"), "{outcome:?}");
}

#[test]
fn an_address_that_cannot_be_meant_is_refused() {
    for bad in ["", "127.0.0.1:8079", "https://127.0.0.1:8079", "http://", "http://a:b@127.0.0.1", "http://h/?q", "file:///etc"] {
        let settings = HttpSettings::new(bad, SHORT, Pinned::new(CertificateSet::default()), clock());
        assert!(matches!(HttpGateway::new(settings), Err(GatewayError::BaseUrl { .. })), "{bad}");
    }
}

#[tokio::test]
async fn the_reply_is_handed_over_as_it_was_read_whatever_it_came_to() {
    let (signer, pinned) = dcc_signer();
    let exchange = async |reply: Vec<u8>| {
        let gateway = gateway(&peer(reply).await, pinned.clone(), Duration::from_secs(20), 100_000);
        gateway.exchange(Service::NonDevice, b"<a/>".to_vec(), id(1000)).await
    };
    let signed = signed(&acknowledgement(1000, "I99"), &signer);
    let kept = exchange(http("200 OK", "", &signed)).await.reply.unwrap();
    assert_eq!(kept.bytes, signed);
    let digest = kept.digest.expect("it was verified");
    assert_eq!(crate::duis::read_kept_response(&signed, digest).unwrap().code, "I99");
    let refusal = write_unsigned_refusal(&acknowledgement(1000, "E4"));
    assert_eq!(exchange(http("400 Bad Request", "", &refusal)).await.reply, Some(Reply { bytes: refusal, digest: None }));
    assert_eq!(exchange(http("400 Bad Request", "", b"no")).await.reply, Some(Reply { bytes: b"no".to_vec(), digest: None }));
    assert_eq!(exchange(http("503 Service Unavailable", "", b"later")).await.reply, None, "no word of DCC's");
}

#[tokio::test]
async fn another_adapter_takes_a_message_says_no_or_is_not_there() {
    let forwarded = async |url: String| {
        let forwarder = HttpForwarder::new(&url, SHORT, clock()).unwrap();
        forwarder.forward(b"<message/>".to_vec()).await
    };
    for (status, wanted) in [
        ("204 No Content", Forwarded::Taken),
        ("200 OK", Forwarded::Taken),
        ("400 Bad Request", Forwarded::Refused { why: "HTTP 400 Bad Request".into() }),
        ("302 Found", Forwarded::Refused { why: "HTTP 302 Found".into() }),
        ("429 Too Many Requests", Forwarded::NotNow { why: "HTTP 429 Too Many Requests".into() }),
        ("500 Internal Server Error", Forwarded::Failed { why: "HTTP 500 Internal Server Error".into() }),
    ] {
        assert_eq!(forwarded(peer(http(status, "Location: http://127.0.0.1:1/\r\n", b"")).await).await, wanted);
    }
    assert!(matches!(forwarded("http://127.0.0.1:1/".into()).await, Forwarded::NotNow { .. }));
    assert!(matches!(forwarded(peer(Vec::new()).await).await, Forwarded::NotNow { .. }));
}
