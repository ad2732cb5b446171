//! A DCC, or a receiver of its messages, written by hand on a bare socket: it records each POST byte for byte and does what
//! a test tells it to. No line of the product's HTTP is in it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ppmid_orchestrator::{
    clock::Clock,
    duis::{Body, Content, FileSigner, Response, write_response},
    ids::RequestId,
    tls::{Accepted, ServerConfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const HANDSHAKE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes the connection and the request and never says a word.
    Mute,
    /// I99 to every request but that of this counter, which it never answers.
    DeafTo(u64),
    /// 503.
    Unavailable,
    /// 400, without a word of DUIS.
    Refuses,
    /// I99, signed.
    Accepts,
    /// 204, as a receiver of messages answers.
    Takes,
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
    behaviour: Arc<Mutex<Behaviour>>,
    task: JoinHandle<()>,
}

impl RawDcc {
    pub async fn start(port: u16, behaviour: Behaviour, signer: FileSigner) -> RawDcc {
        RawDcc::start_over(port, None, behaviour, signer).await
    }

    /// Over TLS, where there is a configuration for it.
    pub async fn start_over(port: u16, tls: Option<Arc<ServerConfig>>, behaviour: Behaviour, signer: FileSigner) -> RawDcc {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let behaviour = Arc::new(Mutex::new(behaviour));
        let shared = (posts.clone(), behaviour.clone(), Arc::new(signer));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (posts, behaviour, signer) = shared.clone();
                let stream = match &tls {
                    None => Accepted::plain(stream),
                    Some(tls) => Accepted::tls(stream, tls.clone(), HANDSHAKE, |_| {}),
                };
                tokio::spawn(async move { converse(stream, &posts, &behaviour, &signer).await });
            }
        });
        RawDcc { posts, behaviour, task }
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// From the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }
}

impl Drop for RawDcc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: Accepted<TcpStream>, posts: &Mutex<Vec<Post>>, behaviour: &Mutex<Behaviour>, signer: &FileSigner) {
    let mut read = Vec::new();
    while let Some(post) = next_post(&mut stream, &mut read).await {
        let behaviour = *behaviour.lock().unwrap();
        posts.lock().unwrap().push(post.clone());
        let behaviour = match behaviour {
            Behaviour::DeafTo(counter) if post.request_id().counter == counter => Behaviour::Mute,
            Behaviour::DeafTo(_) => Behaviour::Accepts,
            other => other,
        };
        let reply = match behaviour {
            Behaviour::Mute | Behaviour::DeafTo(_) => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Behaviour::Refuses => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno".to_vec(),
            Behaviour::Unavailable => b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Behaviour::Takes => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            Behaviour::Accepts => {
                let body = write_response(&accepted(post.request_id()), signer).unwrap().bytes;
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n");
                [head.as_bytes(), &body].concat()
            }
        };
        if stream.write_all(&reply).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn next_post(stream: &mut Accepted<TcpStream>, read: &mut Vec<u8>) -> Option<Post> {
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
