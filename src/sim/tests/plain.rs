//! 11.1 on plain connections: what becomes of each device, faults, losses, doubles; what may not be.

use super::*;

#[tokio::test]
async fn a_request_is_accepted_and_each_device_goes_its_way() {
    let conditions = [
        Condition::Ready,
        Condition::Unknown,
        Condition::NotCommissioned,
        Condition::Busy,
        Condition::NotApplicable,
        Condition::KeyMissing { good_on_rerun: true },
        Condition::ActivationFails,
        Condition::Silent,
    ];
    let lab = Lab::new("", (1..).map(device).zip(conditions).collect()).await;
    assert_eq!(lab.post(lab.request(1, &devices(8))).await, "I99");
    lab.simulator.until_idle().await;
    let warnings: Vec<_> = lab.receiver.received.lock().unwrap().iter().filter(|r| r.code == "W110101").cloned().collect();
    let [Response { body: Body::Message { content: Content::UpdateFirmwareWarning(warning), .. }, request_id, .. }] =
        &warnings[..]
    else {
        panic!("one warning is wanted: {warnings:?}");
    };
    assert_eq!(request_id.unwrap().counter, 1);
    let lists =
        [&warning.invalid, &warning.not_commissioned, &warning.other_request_in_progress, &warning.not_applicable_firmware];
    assert_eq!(lists, [&vec![device(2)], &vec![device(3)], &vec![device(4)], &vec![device(5)]]);
    let wanted: [(u64, &[&str]); 4] =
        [(1, &["requested", "activated"]), (6, &["key"]), (7, &["requested", "failed"]), (8, &["requested"])];
    let stories = lab.stories();
    assert_eq!(stories.len(), 4);
    for (n, story) in wanted {
        assert_eq!(stories[&device(n)], story, "{n}");
    }
    let stats = lab.simulator.stats();
    assert_eq!((stats.requests.accepted, stats.devices_submitted, stats.deliveries.done, stats.deliveries.pending), (1, 8, 7, 0));
    assert_eq!(stats.outcomes[&Outcome::Dropped], 4);
    assert_eq!(lab.simulator.outcome(device(1)), Some(Outcome::Activated));
    assert_eq!(lab.simulator.outcome(device(99)), None);
    let ids: std::collections::BTreeSet<_> = lab.receiver.received.lock().unwrap().iter().filter_map(|r| r.response_id).collect();
    assert_eq!(ids.len(), 6);
    lab.simulator.stop().await;
}

#[tokio::test]
async fn what_may_not_be_is_refused_with_its_code() {
    let lab = Lab::new("", vec![]).await;
    let one = lab.request(1, &devices(1));
    assert_eq!(lab.post_to("/api/v1/serviceS", one.clone()).await, "E13");
    assert_eq!(lab.post_to("/api/v1/serviceT", one.clone()).await, "E13");
    assert_eq!(lab.post(one.clone()).await, "I99");
    assert_eq!(lab.post(one).await, "E62");
    assert_eq!(lab.post(lab.request(1, &devices(2))).await, "E62");
    assert_eq!(lab.post(request(&signer(SUPPLIER, Holder::User), DCC, 2, &devices(1))).await, "E1");
    assert_eq!(lab.post(request(&lab.supplier, device(1), 3, &devices(1))).await, "E19");
    let mut altered = lab.request(4, &devices(1));
    let at = altered.windows(8).position(|w| w == b"00020200").unwrap();
    altered[at] = b'9';
    assert_eq!(lab.post(altered).await, "E100");
    assert_eq!(lab.post(b"no XML".to_vec()).await, "E1");
    lab.simulator.until_idle().await;
    let stats = lab.simulator.stats();
    assert_eq!((stats.requests.accepted, stats.devices_submitted, stats.duplicate_submissions), (1, 1, 0));
    assert_eq!(stats.requests.refused.values().sum::<usize>(), 8);
    assert_eq!(lab.post_raw("/api/v1/serviceX", vec![]).await.unwrap().0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_request_of_the_wrong_shape_is_not_looked_at() {
    let lab = Lab::new("", vec![]).await;
    let too_large = vec![b' '; crate::duis::MAX_MESSAGE_BYTES + 1];
    // The server may close before all of it was sent.
    let reply = lab.post_raw("/api/v1/serviceD", too_large).await;
    assert!(reply.is_none_or(|(status, _)| status == StatusCode::PAYLOAD_TOO_LARGE));
    let url = format!("{}/api/v1/serviceD", lab.simulator.base_url());
    let no_type = Request::post(url).body(Full::new(Bytes::new())).unwrap();
    assert_eq!(lab.client.request(no_type).await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(lab.simulator.stats().requests.posted, 0);
}

#[tokio::test]
async fn a_device_in_two_requests_is_counted_unless_the_first_had_failed_it() {
    let conditions =
        [Condition::Ready, Condition::Unknown, Condition::KeyMissing { good_on_rerun: true }, Condition::ActivationFails];
    let lab = Lab::new("", (1..).map(device).zip(conditions).collect()).await;
    assert_eq!(lab.post(lab.request(1, &devices(4))).await, "I99");
    lab.simulator.until_idle().await;
    let keys = lab.simulator.rerun_transitional_tool("2026-11-24T10:00:00Z".parse().unwrap());
    assert_eq!(
        keys,
        format!("device_id,status,attempted_at,detail\n{},updated,2026-11-24T10:00:00Z,key written on a re-run\n", device(3))
    );
    assert_eq!(lab.post(lab.request(2, &devices(4)[1..])).await, "I99");
    lab.simulator.until_idle().await;
    assert_eq!(lab.simulator.stats().duplicate_submissions, 0);
    assert_eq!(lab.stories()[&device(3)], ["key", "requested", "activated"]);
    assert_eq!(lab.post(lab.request(3, &devices(4))).await, "I99");
    assert_eq!(lab.post(lab.request(4, &devices(4))).await, "I99");
    // Devices 1 and 3 had activated; 4 is in progress again when it is named once more.
    let after = lab.simulator.stats().duplicate_submissions;
    assert!((2..=4).contains(&after), "{after}");
}

#[tokio::test]
async fn a_device_in_progress_is_listed_and_its_first_request_goes_on() {
    let slow = "[population.silent]\ndevices = []\n";
    let lab = Lab::new(slow, vec![]).await;
    let (a, b) = (lab.request(1, &devices(1)), lab.request(2, &devices(1)));
    assert_eq!((lab.post(a).await, lab.post(b).await), ("I99".into(), "I99".into()));
    lab.simulator.until_idle().await;
    let listed = lab.receiver.received.lock().unwrap().iter().any(|r| {
        matches!(&r.body, Body::Message { content: Content::UpdateFirmwareWarning(w), .. } if w.other_request_in_progress == devices(1))
    });
    assert_eq!(lab.simulator.stats().duplicate_submissions, 1);
    // Either the second came while the first was in progress, or the first had activated already and it was done again.
    assert_eq!(lab.stories()[&device(1)].len(), if listed { 2 } else { 4 });
}

#[tokio::test]
async fn a_tool_rerun_over_http_gives_a_keys_csv_once() {
    let scenario = "[population.key_missing]\nshare = \"100%\"\ngood_on_rerun = \"50%\"\n";
    let lab = Lab::new(scenario, vec![]).await;
    assert_eq!(lab.post(lab.request(1, &devices(100))).await, "I99");
    lab.simulator.until_idle().await;
    let rerun = || async {
        let (status, body) = lab.post_raw("/sim/rerun-keys", vec![]).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        String::from_utf8(body.to_vec()).unwrap()
    };
    let (first, second) = (rerun().await, rerun().await);
    let good = first.matches(",updated,").count();
    assert!((30..70).contains(&good), "{good}");
    assert_eq!(first.lines().count(), 101);
    assert_eq!((second.lines().count(), second.matches(",updated,").count()), (101 - good, 0));
}

#[tokio::test]
async fn one_seed_loses_doubles_and_reorders_the_same() {
    let scenario = "seed = 9\n[deliveries]\nlost = \"10%\"\nduplicated = \"20%\"\nreordered = \"10%\"\n[population.silent]\nshare = \"5%\"\n";
    let mut runs = Vec::new();
    for _ in 0..2 {
        let lab = Lab::new(scenario, vec![]).await;
        assert_eq!(lab.post(lab.request(1, &devices(300))).await, "I99");
        lab.simulator.until_idle().await;
        let mut stories = lab.stories();
        stories.values_mut().for_each(|story| story.sort());
        let mut stats = lab.simulator.stats();
        assert_eq!(
            stats.deliveries.done + stats.deliveries.lost,
            600 - stats.outcomes[&Outcome::Silent] + stats.deliveries.duplicated
        );
        assert!(stats.deliveries.lost > 20 && stats.deliveries.duplicated > 60 && stats.deliveries.reordered > 10);
        stats.deliveries.retried = 0;
        runs.push((stories, stats));
    }
    assert_eq!(runs[0], runs[1]);
}

/// The hash was taken from the first release of the simulator: what one seed says of 11.1 never changes.
#[tokio::test]
async fn one_seed_says_what_it_has_always_said() {
    let scenario = "seed = 21\n[deliveries]\nlost = \"10%\"\nduplicated = \"20%\"\nreordered = \"10%\"\n[population]\nsilent = { share = \"5%\" }\nunknown = { share = \"5%\" }\nnot_commissioned = { share = \"5%\" }\nbusy = { share = \"5%\" }\nnot_applicable = { share = \"5%\" }\nkey_missing = { share = \"10%\" }\nactivation_fails = { share = \"10%\" }\n";
    let lab = Lab::new(scenario, vec![]).await;
    for (counter, count) in [(1, 400), (2, 500)] {
        assert_eq!(lab.post(lab.request(counter, &devices(count))).await, "I99");
        lab.simulator.until_idle().await;
    }
    let number = |id: Option<RequestId>| id.map(|id| id.counter % 1_000_000);
    let line = |r: &Response| format!("{:?} {:?} {} {}", number(r.request_id), number(r.response_id), r.code, r.kind());
    let mut said: Vec<String> = lab.receiver.received.lock().unwrap().iter().map(line).collect();
    said.sort();
    let mut stories = lab.stories();
    stories.values_mut().for_each(|s| s.sort());
    let outcomes: Vec<_> = (1..=500).map(|n| lab.simulator.outcome(device(n))).collect();
    let all = format!("{said:?}{stories:?}{outcomes:?}");
    let hash = all.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    assert_eq!((format!("{hash:016x}"), all.len()), ("e7bcc9798bd04873".to_string(), 109_115), "{:?}", lab.simulator.stats());
}

#[tokio::test]
async fn doubles_share_their_response_id() {
    let lab = Lab::new("[deliveries]\nduplicated = \"100%\"\n", vec![]).await;
    assert_eq!(lab.post(lab.request(1, &devices(10))).await, "I99");
    lab.simulator.until_idle().await;
    let mut copies: BTreeMap<_, Vec<Body>> = BTreeMap::new();
    for response in lab.receiver.received.lock().unwrap().iter() {
        copies.entry(response.response_id.unwrap()).or_default().push(response.body.clone());
    }
    assert_eq!(copies.len(), 20);
    assert!(copies.values().all(|bodies| bodies.len() == 2 && bodies[0] == bodies[1]));
}

#[tokio::test]
async fn faults_of_the_connection_strike_and_a_resend_gets_through() {
    let faults = "seed = 3\n[faults]\ndropped = \"20%\"\nserver_error = \"20%\"\nreply_lost = \"20%\"\nlate_reply = \"20%\"\nlate_reply_ms = 1\n";
    let lab = Lab::new(faults, vec![]).await;
    for counter in 1..=30 {
        let bytes = lab.request(counter, &[device(counter)]);
        loop {
            match lab.post_raw("/api/v1/serviceD", bytes.clone()).await {
                Some((StatusCode::OK, reply)) => {
                    let code = read_response(&reply, &lab.receiver.dcc, Clock::System.now()).unwrap().code;
                    assert!(code == "I99" || code == "E62", "{code}");
                    break;
                }
                Some((status, _)) => assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR),
                None => {}
            }
        }
    }
    lab.simulator.until_idle().await;
    let stats = lab.simulator.stats();
    let r = &stats.requests;
    assert!(r.dropped > 0 && r.server_errors > 0 && r.replies_lost > 0 && r.replies_late > 0, "{r:?}");
    assert_eq!((r.accepted, stats.devices_submitted, stats.duplicate_submissions), (30, 30, 0));
    assert!(lab.stories().values().all(|story| story == &["requested", "activated"]));
}

#[tokio::test]
async fn refusals_may_come_unsigned_but_never_an_acceptance() {
    let lab = Lab::new("[faults]\nunsigned_refusals = \"100%\"\n", vec![]).await;
    let one = lab.request(1, &devices(1));
    assert_eq!(lab.post(one.clone()).await, "I99");
    let (_, reply) = lab.post_raw("/api/v1/serviceD", one).await.unwrap();
    let refusal = read_unsigned_refusal(&reply).unwrap();
    assert_eq!((refusal.code.as_str(), refusal.request_id.unwrap().counter), ("E62", 1));
}

#[tokio::test]
async fn what_the_receiver_does_not_take_is_sent_again() {
    let lab = Lab::with("", vec![], 5, None).await;
    assert_eq!(lab.post(lab.request(1, &devices(3))).await, "I99");
    lab.simulator.until_idle().await;
    let stats = lab.simulator.stats();
    assert_eq!((stats.deliveries.done, stats.deliveries.retried), (6, 5));
}

#[tokio::test]
async fn what_the_receiver_refuses_is_given_up() {
    let lab = Lab::with("", vec![], 0, Some(StatusCode::BAD_REQUEST)).await;
    assert_eq!(lab.post(lab.request(1, &devices(3))).await, "I99");
    lab.simulator.until_idle().await;
    assert_eq!((lab.simulator.stats().deliveries.refused, lab.simulator.stats().deliveries.done), (6, 0));
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_when_it_is_back() {
    let lab = Lab::new("", vec![]).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    lab.simulator.set_deliver_to(&format!("http://{address}/duis/receive")).unwrap();
    assert_eq!(lab.post(lab.request(1, &devices(50))).await, "I99");
    while lab.simulator.stats().deliveries.retried == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!lab.simulator.idle());
    lab.receiver.listen(&address).await;
    lab.simulator.until_idle().await;
    assert_eq!(lab.simulator.stats().deliveries.done, 100);
    assert!(lab.stories().values().all(|story| story.len() == 2));
}

#[tokio::test]
async fn nothing_beyond_loopback_and_no_port_that_is_taken() {
    let config = |listen: &str, deliver_to: &str| SimConfig {
        listen: listen.parse().unwrap(),
        deliver_to: deliver_to.into(),
        tls: None,
        scenario: Scenario::default(),
        devices: vec![],
        supplier_certificates: pinned(&signer(SUPPLIER, Holder::User)),
        signer: Arc::new(signer(DCC, Holder::Dcc)),
        clock: Clock::System,
    };
    let good = "http://localhost:8081/duis/receive";
    let error = async |listen: &str, to: &str| Simulator::start(config(listen, to)).await.err().unwrap();
    assert!(matches!(error("0.0.0.0:0", good).await, SimError::NotLoopback { .. }));
    for far in ["http://192.0.2.1/x", "http://example.org/x", "http://127.0.0.1.example.org/x"] {
        assert!(matches!(error("127.0.0.1:0", far).await, SimError::NotLoopback { .. }), "{far}");
    }
    for bad in ["", "/duis/receive", "ftp://127.0.0.1/x", "127.0.0.1:8081"] {
        assert!(matches!(error("127.0.0.1:0", bad).await, SimError::DeliverTo(_)), "{bad}");
    }
    assert!(matches!(error("127.0.0.1:0", "https://127.0.0.1/x").await, SimError::NoTls(_)));
    let taken = Simulator::start(config("127.0.0.1:0", good)).await.unwrap();
    let failure: crate::failure::Failure = error(&taken.address().to_string(), good).await.into();
    assert!(failure.message.starts_with("cannot listen on 127.0.0.1:") && failure.help[0].contains("--listen"), "{failure:?}");
}

/// Not a pass or a fail: prints how many messages a second are signed, posted and answered. Run it with optimisation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn messages_per_second() {
    const DEVICES: u64 = 50_000;
    let lab = Lab::new("", vec![]).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    lab.simulator.set_deliver_to(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let router = axum::Router::new().route("/", axum::routing::post(|_: axum::body::Bytes| async { StatusCode::NO_CONTENT }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let before = std::time::Instant::now();
    assert_eq!(lab.post(lab.request(1, &devices(DEVICES))).await, "I99");
    let accepted = before.elapsed();
    lab.simulator.until_idle().await;
    let rate = (2 * DEVICES) as f64 / before.elapsed().as_secs_f64();
    println!("accepted in {} ms, then {rate:.0} messages a second", accepted.as_millis());
}
