//! Senders that mean harm, or are broken in a way that looks like it: each costs a bounded share, none is stored, and DCC is
//! heard all the while.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{tests::*, *};
use crate::gateway::testing::{alert, signed};

const SHORT: Duration = Duration::from_millis(200);
const MEGABYTE: usize = 1 << 20;
/// What the system's own buffers may take in beyond what the receiver reads, on both sides.
const BUFFERS_BYTES: usize = 16 * MEGABYTE;

fn head(length: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nHost: us\r\nContent-Type: application/xml\r\n{length}\r\n\r\n")
}

/// Writes `piece` again and again until the far side hangs up, or says so in an answer; gives how many bytes went out.
async fn pour(stream: &mut TcpStream, piece: &[u8], pause: Duration) -> usize {
    let (mut hears, mut says) = stream.split();
    let mut poured = 0;
    loop {
        let mut answer = [0; 1];
        tokio::select! {
            biased;
            _ = hears.read(&mut answer) => return poured,
            written = says.write(piece) => match written {
                Ok(n) => poured += n,
                Err(_) => return poured,
            },
        }
        tokio::time::sleep(pause).await;
    }
}

/// DCC's alert comes through.
async fn dcc_is_heard(lab: &Lab, n: u64) {
    let heard = tokio::time::timeout(Duration::from_secs(20), lab.send(&xml(&signed(&alert(n), &lab.signer)))).await;
    assert_eq!(heard, Ok(204), "{} {:?}", lab.test.engine, lab.receiver.counts());
    assert_eq!(lab.stored().await, 1, "{}", lab.test.engine);
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_by_its_length_alone() {
    for lab in labs(Limits::default()).await {
        let mut stream = lab.connect().await;
        stream.write_all(head(&format!("Content-Length: {}", 100 * MEGABYTE)).as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await, 400, "before a byte of it came");
        let mut stream = lab.connect().await;
        stream.write_all(head(&format!("Content-Length: {}", 100 * MEGABYTE)).as_bytes()).await.unwrap();
        let poured = pour(&mut stream, &vec![b'x'; MEGABYTE], Duration::ZERO).await;
        assert!(poured < BUFFERS_BYTES, "{poured}");
        assert_eq!(lab.receiver.counts().refused.get("too-large"), Some(&2));
        dcc_is_heard(&lab, 1).await;
    }
}

#[tokio::test]
async fn chunks_without_end_are_read_up_to_the_limit() {
    for lab in labs(Limits { body_bytes: MEGABYTE, ..Limits::default() }).await {
        let mut stream = lab.connect().await;
        stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.unwrap();
        let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
        let mut poured = 0;
        while stream.write_all(&chunk).await.is_ok() {
            poured += chunk.len();
            assert!(poured < MEGABYTE + BUFFERS_BYTES, "{poured}");
        }
        assert_eq!(lab.receiver.counts().refused.get("too-large"), Some(&1), "{:?}", lab.receiver.counts());
        dcc_is_heard(&lab, 1).await;
    }
}

#[tokio::test]
async fn what_trickles_in_is_cut_off_in_head_chunks_and_body_alike() {
    for lab in labs(Limits { body_time: SHORT, request_time: SHORT * 3, ..Limits::default() }).await {
        let pause = Duration::from_millis(5);
        let (mut in_head, mut in_chunks, mut in_body) = (lab.connect().await, lab.connect().await, lab.connect().await);
        in_head.write_all(format!("POST {PATH} HTTP/1.1\r\nX: ").as_bytes()).await.unwrap();
        in_chunks.write_all(head("Transfer-Encoding: chunked").as_bytes()).await.unwrap();
        in_body.write_all(head("Content-Length: 60000").as_bytes()).await.unwrap();
        let all = async {
            tokio::join!(
                pour(&mut in_head, b"x", pause),
                pour(&mut in_chunks, b"1\r\nx\r\n", pause),
                pour(&mut in_body, b"x", pause)
            )
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), all).await.is_ok(), "{}", lab.test.engine);
        assert_eq!(lab.receiver.counts().refused.get("too-slow"), Some(&2), "{:?}", lab.receiver.counts());
        dcc_is_heard(&lab, 1).await;
    }
}

#[tokio::test]
async fn headers_without_end_are_not_kept() {
    for lab in labs(Limits::default()).await {
        let mut stream = lab.connect().await;
        stream.write_all(format!("POST {PATH} HTTP/1.1\r\n").as_bytes()).await.unwrap();
        let line = format!("X: {}\r\n", "x".repeat(1000));
        let poured = pour(&mut stream, line.as_bytes(), Duration::ZERO).await;
        assert!(poured < BUFFERS_BYTES, "{poured}");
        dcc_is_heard(&lab, 1).await;
    }
}

#[tokio::test]
async fn when_every_place_is_taken_by_slow_or_silent_senders_dcc_waits_its_turn_and_is_heard() {
    for lab in labs(Limits { connections: 4, request_time: SHORT, idle_time: SHORT * 2, ..Limits::default() }).await {
        let mut senders = Vec::new();
        for n in 0..24 {
            let mut stream = lab.connect().await;
            if n % 2 == 0 {
                stream.write_all(b"POST ").await.unwrap();
            }
            senders.push(stream);
        }
        dcc_is_heard(&lab, 1).await;
        drop(senders);
    }
}

#[tokio::test]
async fn stalled_large_messages_keep_out_other_large_ones_but_not_the_small() {
    for lab in labs(Limits { body_time: SHORT * 5, ..Limits::default() }).await {
        let large = head(&format!("Content-Length: {MEGABYTE}"));
        let mut stalled = Vec::new();
        for _ in 0..LARGE_MESSAGES + 1 {
            let mut stream = lab.connect().await;
            stream.write_all(large.as_bytes()).await.unwrap();
            stalled.push(stream);
        }
        dcc_is_heard(&lab, 1).await;
        let mut answers = Vec::new();
        for stream in &mut stalled {
            answers.push(answer(stream).await);
        }
        answers.sort_unstable();
        assert!(answers[..LARGE_MESSAGES].iter().all(|a| *a == 400), "{answers:?}");
        // It had to wait for a place, and was told to come again or came too late to be read.
        assert!([400, 503].contains(&answers[LARGE_MESSAGES]), "{answers:?}");
    }
}

#[tokio::test]
async fn after_a_message_garbage_on_the_same_connection_is_not_heard() {
    for lab in labs(Limits::default()).await {
        let good = xml(&signed(&alert(1), &lab.signer));
        for garbage in [&b"\0\xff\x16\x03\x01 GET POST\r\n\r\n"[..], b"<Response/>", b"POST / HTTP/9.9\r\n\r\n"] {
            let mut stream = lab.connect().await;
            stream.write_all(&[&good, garbage, &good].concat()).await.unwrap();
            let mut answers = Vec::new();
            // A read error is an end too: the far side hangs up on what it has not read.
            let _ = stream.read_to_end(&mut answers).await;
            let text = String::from_utf8_lossy(&answers).into_owned();
            assert_eq!(text.matches("HTTP/1.1 204").count(), 1, "{text}");
        }
        let mut stream = lab.connect().await;
        stream.write_all(&[&good[..], &good].concat()).await.unwrap();
        let mut answers = Vec::new();
        while answers.windows(12).filter(|w| w == b"HTTP/1.1 204").count() < 2 {
            assert_ne!(stream.read_buf(&mut answers).await.unwrap(), 0, "two good ones in one go are both answered");
        }
        assert_eq!(lab.stored().await, 1, "{}", lab.test.engine);
    }
}

#[tokio::test]
async fn two_lengths_are_one_too_many() {
    for lab in labs(Limits::default()).await {
        let message = signed(&alert(1), &lab.signer);
        let smuggled = xml(&signed(&alert(2), &lab.signer));
        for lengths in ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: 1\r\nTransfer-Encoding: chunked"] {
            let mut stream = lab.connect().await;
            let _ = stream.write_all(&[head(lengths).as_bytes(), &message, &smuggled].concat()).await;
            assert_ne!(answer(&mut stream).await, 204, "{lengths}");
        }
        assert_eq!(lab.stored().await, 0, "{}", lab.test.engine);
        dcc_is_heard(&lab, 1).await;
    }
}

#[tokio::test]
async fn a_replay_is_answered_each_time_and_stored_once() {
    for lab in labs(Limits::default()).await {
        let message = Arc::new(xml(&signed(&alert(1), &lab.signer)));
        let address = lab.receiver.local_addr();
        let replays: Vec<_> = (0..8)
            .map(|_| {
                let message = message.clone();
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    for _ in 0..5 {
                        stream.write_all(&message).await.unwrap();
                        assert_eq!(answer(&mut stream).await, 204);
                    }
                })
            })
            .collect();
        for replay in replays {
            replay.await.unwrap();
        }
        let counts = lab.receiver.counts();
        assert_eq!((lab.stored().await, counts.stored, counts.duplicates), (1, 1, 39), "{}", lab.test.engine);
    }
}
