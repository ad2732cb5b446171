//! A DCC written by hand on a bare socket: it records each POST byte for byte and does what a test tells it to. No line of
//! the product's HTTP is in it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use ppmid_orchestrator::{
    clock::Clock,
    duis::{Body, Content, FileSigner, Response, write_response},
    ids::RequestId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes the connection and the request and never says a word.
    Mute,
    /// I99, signed.
    Accepts,
}

/// A POST as it came.
#[derive(Debug, Clone)]
pub struct Post {
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Post {
    pub fn request_id(&self) -> RequestId {
        let text = String::from_utf8_lossy(&self.body);
        let (_, rest) = text.split_once("RequestID>").expect("a request names itself");
        rest.split_once('<').unwrap().0.parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |l: &&str| l.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(named).map(|l| l.split_once(':').unwrap().1.trim())
    }
}

pub struct RawDcc {
    posts: Arc<Mutex<Vec<Post>>>,
    mute: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl RawDcc {
    pub async fn start(port: u16, behaviour: Behaviour, signer: FileSigner) -> RawDcc {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let mute = Arc::new(AtomicBool::new(behaviour == Behaviour::Mute));
        let shared = (posts.clone(), mute.clone(), Arc::new(signer));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (posts, mute, signer) = shared.clone();
                tokio::spawn(async move { converse(stream, &posts, &mute, &signer).await });
            }
        });
        RawDcc { posts, mute, task }
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// From the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.mute.store(behaviour == Behaviour::Mute, Ordering::SeqCst);
    }
}

impl Drop for RawDcc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, posts: &Mutex<Vec<Post>>, mute: &AtomicBool, signer: &FileSigner) {
    let mut read = Vec::new();
    while let Some(post) = next_post(&mut stream, &mut read).await {
        let id = post.request_id();
        posts.lock().unwrap().push(post);
        if mute.load(Ordering::SeqCst) {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]).await;
            return;
        }
        let body = write_response(&accepted(id), signer).unwrap().bytes;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

async fn next_post(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Post> {
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let mut post = Post { head: String::from_utf8(read[..head_end].to_vec()).ok()?, body: Vec::new() };
    let length: usize = post.header("content-length").expect("the length is said beforehand").parse().ok()?;
    while read.len() < head_end + length {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    post.body = read[head_end..head_end + length].to_vec();
    read.drain(..head_end + length);
    Some(post)
}

fn accepted(id: RequestId) -> Response {
    Response {
        schema_version: "3.1".into(),
        request_id: Some(id),
        response_id: None,
        code: "I99".into(),
        at: Clock::System.now(),
        body: Body::Message {
            service_reference: "11.1".into(),
            service_reference_variant: "11.1".into(),
            content: Content::None,
        },
    }
}
