//! Thresholds: the file as people write it, and that the room they leave is never more than DCC, which counts in its own way, allows.

use super::*;
use crate::{
    clock::Time,
    failure::Failure,
    policy::room::{Cut, Sent},
};

const HEAD: &str = "version = 1\neffective_from = \"2020-11-24\"\n";

fn load(text: &str) -> Result<PolicySet, PolicyError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thresholds.toml"), format!("{HEAD}{text}")).unwrap();
    PolicyFolder::load(dir.path()).map(|folder| folder.as_of(day("2026-11-24")))
}

fn thresholds(text: &str) -> Thresholds {
    load(text).unwrap().thresholds
}

fn sent(at: i64, devices: u64) -> Sent {
    Sent { by: Time(at), requests: 1, devices }
}

#[test]
fn as_shipped_there_is_no_limit_and_the_example_in_the_file_loads() {
    let shipped = PolicySet::compiled().thresholds;
    assert!(shipped.thresholds.is_empty());
    let room = shipped.room("11.1", &[sent(0, 50_000)], Time(1));
    assert_eq!((room.left(), room.most(), room.cut(50_000, 50_000)), (None, None, Cut::UpTo(50_000)));
    let text = PolicyName::Thresholds.shipped();
    let lines: Vec<&str> = text.lines().skip_while(|l| *l != "# [[threshold]]").map(|l| &l[2..]).collect();
    assert_eq!(lines.len(), 7);
    let example = thresholds(&format!("counts = \"requests\"\n{}", lines.join("\n")));
    let one = &example.thresholds[0];
    assert_eq!(
        (one.ours(), one.alarm_at(), one.period.to_string(), example.margin.to_string()),
        (80, 60, "24h".into(), "1m".into())
    );
}

#[test]
fn every_kind_of_bad_thresholds_is_named() {
    let told = |text: &str| {
        let failure = Failure::from(load(text).expect_err(text));
        let (_, said) = failure.message.rsplit_once('/').unwrap();
        assert!(failure.exit.code() == 1 && !failure.help.is_empty(), "{failure}");
        said.to_string()
    };
    let one = |rest: &str| told(&format!("counts = \"requests\"\n[[threshold]]\n{rest}"));
    let good = "request = \"11.1\"\nperiod = \"24h\"\nquarantine = 100\n";
    insta::assert_snapshot!(
        [
            told(""),
            told("counts = \"sites\""),
            told("counts = 1"),
            told("counts = \"requests\"\nresends = \"never\""),
            told("counts = \"requests\"\nmargin = \"61m\""),
            told("counts = \"requests\"\nthreshold = 100"),
            told("counts = \"requests\"\n[threshold]\nrequest = \"11.1\""),
            one("period = \"24h\"\nquarantine = 100"),
            one("request = \"11.3\"\nperiod = \"24h\"\nquarantine = 100"),
            one("request = 11.1\nperiod = \"24h\"\nquarantine = 100"),
            one("request = \"11.1\"\nquarantine = 100"),
            one("request = \"11.1\"\nperiod = \"0s\"\nquarantine = 100"),
            one("request = \"11.1\"\nperiod = \"32d\"\nquarantine = 100"),
            one("request = \"11.1\"\nperiod = \"24h\"\nquarantine = 0"),
            one("request = \"11.1\"\nperiod = \"24h\"\nquarantine = \"100\""),
            one("request = \"11.1\"\nperiod = \"24h\""),
            one(&format!("{good}reserve = 100")),
            one(&format!("{good}reserve = -1")),
            one(&format!("{good}warning = 101")),
            one(&format!("{good}warn_at = \"0%\"")),
            one(&format!("{good}warn_at = 0.8")),
            one(&format!("{good}warn = \"80%\"")),
            one(&format!("{good}[[threshold]]\n{}", good.replace("24h", "1d"))),
        ]
        .join("\n")
    );
}

#[test]
fn a_period_rolls_and_says_when_there_is_room_again() {
    let t = thresholds(
        "counts = \"requests\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"100ms\"\nquarantine = 3\nreserve = 1\n",
    );
    let room = |at| t.room("11.1", &[sent(0, 9), sent(60, 9)], Time(at));
    assert_eq!((room(70).left(), room(70).free_at(1), room(70).free_at(2)), (Some(0), Some(Time(100)), Some(Time(160))));
    assert_eq!((room(99).left(), room(100).left(), room(160).left()), (Some(0), Some(1), Some(2)));
    assert_eq!(room(70).uses[0].next_leaves, Some(Time(100)));
    assert_eq!(room(70).cut(50, 50), Cut::Wait { until: Time(100) });
    assert_eq!((room(100).cut(50, 50), room(70).free_at(3)), (Cut::UpTo(50), None));
    // Four more, one each: as the first leaves, as the second does, and a period after each of those.
    assert_eq!(room(70).forecast([1; 4]), Some(Time(260)));
    assert_eq!(t.room("8.2", &[sent(60, 9)], Time(70)).left(), None, "another type of request has no limit");
}

#[test]
fn a_batch_is_cut_but_not_to_crumbs() {
    let text = |counts: &str| {
        format!("counts = \"{counts}\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"1s\"\nquarantine = 1000\n")
    };
    let devices = thresholds(&text("devices"));
    let cut = |used, size, queued| devices.room("11.1", &[sent(0, used)], Time(500)).cut(size, queued);
    let wait = Cut::Wait { until: Time(1_000) };
    assert_eq!(cut(0, 50_000, 50_000), Cut::UpTo(1_000), "a batch that could never go at once is cut to what could");
    assert_eq!([cut(900, 50_000, 50_000), cut(901, 50_000, 50_000)], [Cut::UpTo(100), wait], "a tenth of what could go at once");
    assert_eq!([cut(901, 50_000, 99), cut(902, 50_000, 99)], [Cut::UpTo(99), wait], "all that waits is no crumb");
    assert_eq!([cut(950, 500, 500), cut(951, 500, 500)], [Cut::UpTo(50), wait]);
    assert_eq!([cut(999, 5, 5), cut(1_000, 5, 5), cut(2_000, 5, 5)], [Cut::UpTo(1), wait, wait]);
    let requests = thresholds(&text("requests"));
    assert_eq!(requests.room("11.1", &[sent(0, 50_000)], Time(500)).cut(50_000, 7), Cut::UpTo(50_000));
}

#[test]
fn the_tightest_of_several_periods_counts() {
    let t = thresholds(
        "counts = \"requests\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"8.2\"\nperiod = \"10ms\"\nquarantine = 2\n\
         [[threshold]]\nrequest = \"8.2\"\nperiod = \"100ms\"\nquarantine = 5\n",
    );
    let before: Vec<Sent> = (0..4).map(|n| sent(n * 20, 1)).collect();
    let room = t.room("8.2", &before, Time(61));
    assert_eq!((room.left(), room.most(), room.tightest().unwrap().threshold.quarantine), (Some(1), Some(2), 2));
    // Now; then the longer period lets one go as each leaves, which the shorter one minds no more.
    let gone: Vec<_> = (1..=6).map(|n| room.forecast(vec![1; n]).unwrap().0).collect();
    assert_eq!(gone, [61, 100, 120, 140, 160, 161]);
}

#[test]
fn a_queue_counts_by_request_or_by_device() {
    let t = |counts: &str| {
        thresholds(&format!("counts = \"{counts}\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"24h\"\nquarantine = 40\n"))
    };
    let amounts = |counts: &str| t(counts).room("11.1", &[], Time(0)).amounts(250, 100).collect::<Vec<_>>();
    assert_eq!(amounts("requests"), [1, 1, 1]);
    assert_eq!(amounts("devices"), [40, 40, 40, 40, 40, 40, 10]);
}

/// DCC, as simple as it can be: it looks at every instant at all that came within the period before.
fn most_within(arrivals: &[(i64, u64)], period: i64) -> u64 {
    let instant = |at: i64| arrivals.iter().filter(|(a, _)| *a <= at && *a > at - period).map(|(_, n)| n).sum();
    arrivals.iter().map(|(at, _)| instant(*at)).max().unwrap_or(0)
}

proptest::proptest! {
    /// However long each request is on its way (as long as the ledger allows for it), and whatever comes when.
    #[test]
    fn nothing_is_ever_over(
        devices_count: bool,
        limits in proptest::collection::vec((1i64..60, 2u64..30, 0u64..2), 1..3),
        wishes in proptest::collection::vec((0i64..12, 1u64..12, 0i64..8, 0i64..8), 1..120),
    ) {
        let mut text = format!("counts = \"{}\"\nmargin = \"0s\"\n", if devices_count { "devices" } else { "requests" });
        for (n, (period, quarantine, reserve)) in limits.iter().enumerate() {
            // Of different lengths, since each may be there once.
            text += &format!("[[threshold]]\nrequest = \"11.1\"\nperiod = \"{}ms\"\nquarantine = {quarantine}\nreserve = {reserve}\n", period * 2 + n as i64);
        }
        let t = thresholds(&text);
        let (mut now, mut ledger, mut arrivals) = (0i64, Vec::new(), Vec::new());
        for (pause, size, on_its_way, arrives) in wishes {
            now += pause;
            let room = t.room("11.1", &ledger, Time(now));
            let free = room.free_at(t.amount(size));
            let cut = room.cut(size, size);
            if let Cut::Wait { until } = cut {
                proptest::prop_assert!(until > Time(now));
                // What it said is so, neither earlier nor later.
                let then = |at: i64| t.room("11.1", &ledger, Time(at)).cut(size, size);
                let (waits, goes) = (then(until.0 - 1), then(until.0));
                proptest::prop_assert!(matches!(waits, Cut::Wait { .. }), "{waits:?} before {until}");
                proptest::prop_assert!(matches!(goes, Cut::UpTo(_)), "{goes:?} at {until}");
                continue;
            }
            let Cut::UpTo(most) = cut else { unreachable!() };
            let devices = most.min(size);
            proptest::prop_assert!(devices >= 1 && t.amount(devices) <= room.left().unwrap());
            proptest::prop_assert_eq!(free == Some(Time(now)), t.amount(size) <= room.left().unwrap());
            ledger.push(Sent { by: Time(now + on_its_way), requests: 1, devices });
            arrivals.push((now + arrives.min(on_its_way), t.amount(devices)));
        }
        for threshold in &t.thresholds {
            let most = most_within(&arrivals, threshold.period.millis());
            let (ours, period) = (threshold.ours(), threshold.period);
            proptest::prop_assert!(most <= ours, "{} of {} in {}", most, ours, period);
        }
    }

    /// A forecast is what comes of asking again and again.
    #[test]
    fn a_forecast_comes_true(before in proptest::collection::vec(0i64..100, 0..20), queue in 1usize..40, quarantine in 1u64..6) {
        let t = thresholds(&format!("counts = \"requests\"\nmargin = \"0s\"\n[[threshold]]\nrequest = \"11.1\"\nperiod = \"50ms\"\nquarantine = {quarantine}\n"));
        let mut ledger: Vec<Sent> = before.iter().map(|at| sent(*at, 1)).collect();
        let now = Time(100);
        let told = t.room("11.1", &ledger, now).forecast(vec![1; queue]);
        let (mut at, mut gone) = (now, 0);
        loop {
            while gone < queue && t.room("11.1", &ledger, at).left() > Some(0) {
                ledger.push(sent(at.0, 1));
                gone += 1;
            }
            if gone == queue {
                break;
            }
            at = at.plus_millis(1);
        }
        proptest::prop_assert_eq!(told, Some(at));
    }
}
