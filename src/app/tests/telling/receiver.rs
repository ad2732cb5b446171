//! A team's receiver, written by hand on a bare socket: it records each POST and does what the test says. It checks the signature with
//! its own HMAC, and drops what it has seen, as docs/notifications.md tells receivers to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub const SECRET: &str = "0123456789abcdef0123456789abcdef-of-a-team";

/// What it does with one POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Take,
    Answer(u16),
    /// Reads it and never answers.
    Sleep,
    /// Reads it and closes the connection.
    Die,
}

#[derive(Debug, Clone)]
pub struct Got {
    pub key: String,
    pub body: String,
}

#[derive(Default)]
struct State {
    /// What it does next; when this is used up it takes.
    does: VecDeque<Does>,
    got: Vec<Got>,
    /// What it has, in the order in which it first came: key and body.
    kept: Vec<(String, Value)>,
    signed_at: Vec<i64>,
}

pub struct Receiver {
    pub port: u16,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let mut receiver = Receiver { port: 0, state: Arc::default(), task: None };
        receiver.come_up().await;
        receiver
    }

    /// One at whose address nobody listens yet.
    pub async fn down() -> Receiver {
        let mut receiver = Receiver::start().await;
        receiver.go_down().await;
        receiver
    }

    pub async fn come_up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let state = self.state.clone();
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move { converse(stream, &state).await });
            }
        }));
    }

    pub async fn go_down(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub fn will(&self, does: &[Does]) {
        self.state.lock().unwrap().does.extend(does);
    }

    /// Every POST that arrived whole, doubles too.
    pub fn got(&self) -> Vec<Got> {
        self.state.lock().unwrap().got.clone()
    }

    /// What a receiver that drops doubles has.
    pub fn kept(&self) -> Vec<Value> {
        self.state.lock().unwrap().kept.iter().map(|(_, body)| body.clone()).collect()
    }

    pub fn kept_subjects(&self) -> Vec<String> {
        self.kept().iter().map(|body| body["subject"].as_str().unwrap().to_string()).collect()
    }

    /// The times of the signatures.
    pub fn signed_at(&self) -> Vec<i64> {
        self.state.lock().unwrap().signed_at.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn converse(mut stream: TcpStream, state: &Mutex<State>) {
    let mut read = Vec::new();
    while let Some((headers, body)) = next_post(&mut stream, &mut read).await {
        let (does, key) = take_note(state, &headers, body);
        let status = match does {
            Does::Take => 204,
            Does::Answer(status) => status,
            Does::Sleep => {
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Does::Die => return,
        };
        let location = if status / 100 == 3 { "Location: http://127.0.0.1:9/elsewhere\r\n" } else { "" };
        let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
        let reply = format!("HTTP/1.1 {status} {key}\r\n{location}{length}\r\n");
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn take_note(state: &Mutex<State>, headers: &BTreeMap<String, String>, body: String) -> (Does, String) {
    let key = headers["idempotency-key"].clone();
    let signed_at = verify(&headers["x-ppmid-signature"], &body);
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((value["id"].as_str(), headers["content-type"].as_str()), (Some(key.as_str()), "application/json"));
    let mut state = state.lock().unwrap();
    let does = state.does.pop_front().unwrap_or(Does::Take);
    if let Some(before) = state.got.iter().find(|g| g.key == key) {
        assert_eq!(before.body, body, "the same key, the same bytes");
    }
    state.got.push(Got { key: key.clone(), body });
    state.signed_at.push(signed_at);
    // It may die or be slow only after it has taken what came.
    let takes = !matches!(does, Does::Answer(_));
    if takes && state.kept.iter().all(|(k, _)| *k != key) {
        state.kept.push((key.clone(), value));
    }
    (does, key)
}

async fn next_post(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<(BTreeMap<String, String>, String)> {
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..head_end].to_vec()).unwrap();
    assert!(head.starts_with("POST /told HTTP/1.1\r\n"), "{head}");
    let headers: BTreeMap<String, String> =
        head.lines().skip(1).filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_string())).collect();
    let length: usize = headers["content-length"].parse().unwrap();
    while read.len() < head_end + length {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(read[head_end..head_end + length].to_vec()).unwrap();
    read.drain(..head_end + length);
    Some((headers, body))
}

/// RFC 2104 by hand, over `t.body`; gives the time.
fn verify(header: &str, body: &str) -> i64 {
    let (t, v1) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut block = [0u8; 64];
    block[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let pad = |with: u8| block.map(|b| b ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(format!("{t}.{body}")).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let hex: String = outer.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(v1, hex, "the signature");
    t.parse().unwrap()
}
