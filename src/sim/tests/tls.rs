//! Mutual TLS on both sides: requests come in, messages go out, and whoever shows no certificate of the trial's authority does not
//! get in.

use std::path::Path;

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::rt::TokioIo;

use super::*;
use crate::{
    sim::authority::{Authority, Purpose, Wanted},
    tls::{Accepted, ClientConfig, ServerConfig, TlsFiles, client_config, server_config, trust_nobody},
};

/// `NAME.pem` and `NAME.key.pem` of an authority, which is trusted by name.
fn identity(dir: &Path, name: &str, issuer: &Authority) -> TlsFiles {
    let (key, certificate) = (format!("{name}.key.pem"), format!("{name}.pem"));
    let wanted = Wanted::new(name, &["127.0.0.1", "localhost"], Purpose::Both, Clock::System.now());
    issuer.issue(&wanted).unwrap().write_to(dir, &key, &certificate).unwrap();
    TlsFiles { ca: dir.join("ca.pem"), certificate: dir.join(certificate), key: dir.join(key) }
}

/// A receiver over mutual TLS: answers each post with 204 and keeps it.
async fn listen(config: Arc<ServerConfig>, received: Arc<Mutex<Vec<Bytes>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/duis/receive", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = Accepted::tls(stream, Arc::clone(&config), std::time::Duration::from_secs(10), |why| panic!("{why:?}"));
            let received = Arc::clone(&received);
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let received = Arc::clone(&received);
                async move {
                    let bytes = request.into_body().collect().await?.to_bytes();
                    received.lock().unwrap().push(bytes);
                    let mut reply = hyper::Response::new(Full::new(Bytes::new()));
                    *reply.status_mut() = StatusCode::NO_CONTENT;
                    Ok::<_, hyper::Error>(reply)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

/// Posts and gives the body of the answer, if there is one.
async fn post(config: Arc<ClientConfig>, url: &str, bytes: Vec<u8>) -> Option<Bytes> {
    let tls = ClientConfig::clone(&config);
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::post(url).header("content-type", "application/xml").body(Full::new(Bytes::from(bytes))).unwrap();
    Some(client.request(request).await.ok()?.into_body().collect().await.ok()?.to_bytes())
}

#[tokio::test]
async fn both_ways_over_mutual_tls() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::System);
    let authority = Authority::root("A trial", clock.now()).unwrap();
    std::fs::write(folder.path().join("ca.pem"), &authority.certificate_pem).unwrap();
    let (dcc_tls, supplier_tls) = (identity(folder.path(), "dcc", &authority), identity(folder.path(), "supplier", &authority));
    let stranger = identity(folder.path(), "stranger", &Authority::root("Another", clock.now()).unwrap());

    let received: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let deliver_to = listen(server_config(&supplier_tls, &clock).unwrap(), Arc::clone(&received)).await;
    let (dcc, supplier) = (signer(DCC, Holder::Dcc), signer(SUPPLIER, Holder::User));
    let pinned_dcc = pinned(&dcc);
    let config = SimConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        deliver_to,
        tls: Some(dcc_tls),
        scenario: Scenario::parse(QUICK, "test").unwrap(),
        devices: vec![],
        supplier_certificates: pinned(&supplier),
        signer: Arc::new(dcc),
        clock: clock.clone(),
    };
    let simulator = Simulator::start(config).await.unwrap();
    let url = format!("{}/api/v1/serviceD", simulator.base_url());
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let bytes = request(&supplier, DCC, 1, &devices(3));
    for refused in [trust_nobody(&clock).unwrap(), client_config(&stranger, &clock).unwrap()] {
        assert_eq!(post(refused, &url, bytes.clone()).await, None);
    }
    assert_eq!(simulator.stats().requests.posted, 0);
    let reply = post(client_config(&supplier_tls, &clock).unwrap(), &url, bytes).await.unwrap();
    assert_eq!(read_response(&reply, &pinned_dcc, clock.now()).unwrap().code, "I99");
    simulator.until_idle().await;
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 6);
    assert!(received.iter().all(|bytes| read_response(bytes, &pinned_dcc, clock.now()).is_ok()));
    assert_eq!(simulator.stats().deliveries.retried, 0);
}
