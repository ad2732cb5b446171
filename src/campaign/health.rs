//! What is to be said of a wave, from counts of its devices: go on, wait, hold or halt. Pure: no clock, no SQL. Promise: too few answers are
//! never a go-on; a missing key and a site that left the portfolio count neither way; a halt needs strictly more failures than allowed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::waves::{Forgiven, Verdict};
use crate::{
    clock::Time,
    policy::{SILENT, Share, Watch},
};

/// Where the devices of a wave are now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WaveCounts {
    pub held: i64,
    pub queued: i64,
    /// Submitted, accepted or delivered.
    pub in_flight: i64,
    /// Of those, in a request that DCC has not accepted yet.
    pub leaving: i64,
    pub succeeded: i64,
    /// By cause; `silent` is one.
    pub failed: BTreeMap<String, i64>,
    /// Sent, and of a site that left the portfolio or whose key is missing: counted neither way.
    pub left_out: i64,
    /// Ruled out or cancelled before they were sent.
    pub out: i64,
}

/// When a wave began, and how far it is.
#[derive(Debug, Clone, Copy)]
pub struct WaveTimes {
    pub now: Time,
    pub opened_at: Time,
    /// From when on nothing of it was queued, and DCC had accepted all that was sent.
    pub all_sent_at: Option<Time>,
}

/// What a verdict went by.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Numbers {
    /// Sent, less those left out.
    pub counted: i64,
    /// Of those, that have come to an end.
    pub answered: i64,
    pub succeeded: i64,
    pub failed: i64,
    /// Of the failed: no news within the time allowed.
    pub silent: i64,
    pub by_cause: BTreeMap<String, i64>,
    /// Failures of causes that the policy excludes: they are not in `counted`.
    pub excluded: i64,
    pub left_out: i64,
    /// Answers that are needed before anything is said.
    pub sample_wanted: i64,
    /// Of what was sent, 0 to 1; null where nothing was.
    pub success_share: Option<f64>,
    /// Of what has answered, 0 to 1; null where nothing has.
    pub failure_share: Option<f64>,
    /// Until when it soaks; null where it does not yet, or asks for none.
    pub soaks_until: Option<Time>,
    /// When a person is asked; null where never.
    pub deadline_at: Option<Time>,
}

/// The verdict on a wave, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    pub verdict: Verdict,
    /// In a sentence, with the numbers that matter.
    pub because: String,
    pub numbers: Numbers,
}

/// The cause of a failure, from what is kept of it: DCC's response code (`E21: ...`), or the S1SP's or the alert's own word
/// (`S1SPAlertDSP: S1VE7 ...`).
pub fn cause_of(detail: &str) -> &str {
    let (head, rest) = detail.split_once(':').unwrap_or((detail, ""));
    let is_code = head.len() <= 8
        && head.starts_with(|c: char| c.is_ascii_uppercase())
        && head.len() > 1
        && head[1..].bytes().all(|b| b.is_ascii_digit());
    let first = rest.split_whitespace().next().unwrap_or_default();
    // A failure that lists its devices says in its own name what it is.
    let word = if is_code || head.ends_with("Failure") { head } else { first };
    if word.is_empty() { "other" } else { word.trim_end_matches([',', ';', ':', '.']) }
}

/// Judges a wave that has begun. `is_last`: nothing follows it, so it need not soak.
pub fn judge(watch: &Watch, counts: &WaveCounts, forgiven: Forgiven, times: WaveTimes, is_last: bool) -> Health {
    let numbers = numbers(watch, counts, times);
    let (verdict, because) = verdict(watch, counts, &numbers, forgiven, times, is_last);
    Health { verdict, because, numbers }
}

/// Of a wave that is over, or that a person let go on: only whether so much fails that everything must stop.
pub fn must_halt(watch: &Watch, counts: &WaveCounts, forgiven: Forgiven, times: WaveTimes) -> Option<Health> {
    let numbers = numbers(watch, counts, times);
    let because = too_many_failures(watch, counts, &numbers, forgiven)?;
    Some(Health { verdict: Verdict::Halt, because, numbers })
}

fn numbers(watch: &Watch, counts: &WaveCounts, times: WaveTimes) -> Numbers {
    let excludes = |cause: &String| watch.exclude.contains(cause);
    let by_cause: BTreeMap<String, i64> =
        counts.failed.iter().filter(|(cause, _)| !excludes(cause)).map(|(cause, n)| (cause.clone(), *n)).collect();
    let failed: i64 = by_cause.values().sum();
    let answered = counts.succeeded + failed;
    let counted = answered + counts.in_flight;
    let excluded = counts.failed.values().sum::<i64>() - failed;
    let share = |part: i64, whole: i64| (whole > 0).then(|| (part as f64 / whole as f64 * 1e4).round() / 1e4);
    Numbers {
        counted,
        answered,
        succeeded: counts.succeeded,
        failed,
        silent: by_cause.get(SILENT).copied().unwrap_or(0),
        excluded,
        by_cause,
        left_out: counts.left_out,
        sample_wanted: sample_wanted(watch, counts, counted + counts.queued, excluded),
        success_share: share(counts.succeeded, counted),
        failure_share: share(failed, answered),
        soaks_until: times.all_sent_at.filter(|_| watch.soak.millis() > 0).map(|at| at.plus_millis(watch.soak.millis())),
        deadline_at: watch.deadline.map(|deadline| times.opened_at.plus_millis(deadline.millis())),
    }
}

/// Answers that are wanted. A wave that has as many devices as the sample owes all of it, whatever became of some; a smaller one owes those
/// of all that are not left out, which a missing key must not hold up (L§13).
fn sample_wanted(watch: &Watch, counts: &WaveCounts, owed: i64, excluded: i64) -> i64 {
    let all_but_left_out = owed + excluded;
    match all_but_left_out + counts.left_out >= watch.minimum_sample {
        true => watch.minimum_sample,
        false => all_but_left_out,
    }
}

fn verdict(
    watch: &Watch,
    counts: &WaveCounts,
    numbers: &Numbers,
    forgiven: Forgiven,
    times: WaveTimes,
    is_last: bool,
) -> (Verdict, String) {
    if let Some(because) = too_many_failures(watch, counts, numbers, forgiven) {
        return (Verdict::Halt, because);
    }
    let late = numbers.deadline_at.filter(|at| times.now >= *at);
    let or_late = |because: String| match late {
        Some(at) => (Verdict::Hold, format!("its deadline, {at}, has passed: {because}")),
        None => (Verdict::Wait, because),
    };
    if counts.queued > 0 {
        return or_late(format!("{} devices are still to be sent", counts.queued));
    }
    if counts.leaving > 0 {
        return or_late(format!("DCC has not accepted the request of {} devices yet", counts.leaving));
    }
    if numbers.answered < numbers.sample_wanted || numbers.answered == 0 {
        let because = match numbers.counted {
            0 if numbers.excluded == 0 => "none of its devices was sent, so nothing is known of it".to_string(),
            _ => format!(
                "{} of {} devices have answered, and {} are wanted",
                numbers.answered,
                numbers.counted,
                numbers.sample_wanted.max(1)
            ),
        };
        if counts.in_flight == 0 {
            return (Verdict::Hold, format!("{because}: no more answers are to come by themselves"));
        }
        return or_late(because);
    }
    if let Some(least) = watch.least_success.filter(|least| !least.is_reached_by(numbers.succeeded, numbers.counted)) {
        let because = format!("{} of {} devices sent have succeeded, and {least} are wanted", numbers.succeeded, numbers.counted);
        if !least.is_reached_by(numbers.succeeded + counts.in_flight, numbers.counted) {
            return (Verdict::Hold, format!("{because}: that cannot be reached any more by itself"));
        }
        return or_late(because);
    }
    if let Some(until) = numbers.soaks_until.filter(|until| !is_last && times.now < *until) {
        return (Verdict::Wait, format!("it soaks until {until}"));
    }
    (
        Verdict::GoOn,
        format!("{} of {} devices have answered, {} of them failed", numbers.answered, numbers.counted, numbers.failed),
    )
}

fn too_many_failures(watch: &Watch, counts: &WaveCounts, numbers: &Numbers, forgiven: Forgiven) -> Option<String> {
    let most: Share = watch.max_failures?;
    // What a person knew when they let it go on is left out, above and below the line.
    let answered = (numbers.answered - forgiven.answered).max(0);
    let failed = (numbers.failed - forgiven.failed).max(0).min(answered);
    let wanted = watch.minimum_sample.min(numbers.counted + counts.queued - forgiven.answered).max(1);
    if answered < wanted || !most.is_exceeded_by(failed, answered) {
        return None;
    }
    let share = failed as f64 / answered as f64 * 100.0;
    let mut causes: Vec<(&String, &i64)> = numbers.by_cause.iter().collect();
    causes.sort_by_key(|(cause, n)| (-**n, (*cause).clone()));
    let causes: Vec<String> = causes.iter().take(3).map(|(cause, n)| format!("{n} {cause}")).collect();
    let since = if forgiven == Forgiven::default() { "" } else { " since a person let it go on" };
    Some(format!("{failed} of {answered} that answered{since} failed: {share:.2}%, more than {most} ({})", causes.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time(1_600_000_000_000);
    const HOUR: i64 = 3_600_000;

    fn watch() -> Watch {
        Watch {
            soak: "48h".parse().unwrap(),
            minimum_sample: 20,
            max_failures: Some("5%".parse().unwrap()),
            least_success: Some("90%".parse().unwrap()),
            deadline: Some("14d".parse().unwrap()),
            exclude: vec!["E21".into()],
        }
    }

    fn counts(queued: i64, in_flight: i64, succeeded: i64, failed: i64) -> WaveCounts {
        let failed = [("ActivationFailure".to_string(), failed)].into_iter().filter(|f| f.1 > 0).collect();
        WaveCounts { queued, in_flight, succeeded, failed, ..WaveCounts::default() }
    }

    /// Begun so many hours ago, and all of it sent at once.
    fn ago(hours: i64) -> WaveTimes {
        let opened_at = NOW.plus_millis(-hours * HOUR);
        WaveTimes { now: NOW, opened_at, all_sent_at: Some(opened_at) }
    }

    fn said(watch: &Watch, counts: &WaveCounts, hours: i64) -> (Verdict, String) {
        let health = judge(watch, counts, Forgiven::default(), ago(hours), false);
        (health.verdict, health.because)
    }

    #[test]
    fn what_is_said_of_a_wave() {
        let w = watch();
        let silent = |n: i64| WaveCounts { failed: [(SILENT.to_string(), n)].into(), ..counts(0, 0, 95, 0) };
        let excluded = WaveCounts { failed: [("E21".to_string(), 30)].into(), ..counts(0, 0, 70, 0) };
        let without_keys = WaveCounts { left_out: 40, ..counts(0, 0, 60, 0) };
        let nobody = WaveCounts { left_out: 5, held: 3, ..WaveCounts::default() };
        let mostly_excluded = WaveCounts { failed: [("E21".to_string(), 31)].into(), ..counts(0, 0, 9, 0) };
        let small_without_key = WaveCounts { left_out: 1, ..counts(0, 0, 9, 0) };
        let leaving = WaveCounts { leaving: 5, ..counts(0, 5, 95, 0) };
        let cases = [
            ("being sent", counts(50, 50, 0, 0), 1),
            ("sent, no answer", counts(0, 100, 0, 0), 1),
            ("no answer at its deadline", counts(0, 100, 0, 0), 14 * 24),
            ("nineteen answers", counts(0, 81, 19, 0), 1),
            ("two of twenty failed", counts(0, 80, 18, 2), 1),
            ("one of twenty failed", counts(0, 80, 19, 1), 1),
            ("enough, and it soaks", counts(0, 10, 90, 0), 47),
            ("enough, and it has soaked", counts(0, 10, 90, 0), 48),
            ("exactly as many failures as allowed", counts(0, 0, 95, 5), 48),
            ("one more", counts(0, 0, 94, 6), 48),
            ("silence counts as failure", silent(6), 48),
            ("a cause that is excluded does not", excluded, 48),
            ("missing keys do not", without_keys, 48),
            ("nobody who counts was sent", nobody, 48),
            ("most failed for a cause that is excluded", mostly_excluded, 48),
            ("a small wave without a key", small_without_key, 48),
            ("sent, and DCC has not accepted it", leaving, 48),
            ("too few, and no more to come", counts(0, 0, 0, 0), 1),
            ("a small wave wants all its answers", counts(0, 1, 2, 0), 48),
            ("a small wave, answered", counts(0, 0, 3, 0), 48),
            ("of three one failed", counts(0, 0, 2, 1), 48),
        ];
        let lines: Vec<String> = cases
            .iter()
            .map(|(what, counts, hours)| {
                let (verdict, because) = said(&w, counts, *hours);
                format!("{what}: {verdict}: {because}")
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
        let open = Watch { least_success: Some("99%".parse().unwrap()), max_failures: None, ..watch() };
        assert_eq!(said(&open, &counts(0, 2, 98, 0), 48).0, Verdict::Wait);
        assert_eq!(said(&open, &counts(0, 0, 98, 2), 48).0, Verdict::Hold, "it cannot be reached any more");
    }

    #[test]
    fn what_a_person_knew_is_not_held_against_the_wave_again() {
        let w = watch();
        let known = Forgiven { answered: 40, failed: 12 };
        let halts = |counts: &WaveCounts| must_halt(&w, counts, known, ago(1)).is_some();
        assert!(must_halt(&w, &counts(0, 60, 28, 12), Forgiven::default(), ago(1)).is_some());
        assert!(!halts(&counts(0, 60, 28, 12)), "nothing new is known");
        assert!(!halts(&counts(0, 41, 46, 13)), "nineteen more are too few");
        assert!(halts(&counts(0, 40, 46, 14)) && !halts(&counts(0, 40, 47, 13)));
    }

    #[test]
    fn causes_are_codes_where_there_is_one() {
        let told = [
            "E21: No response.",
            "W110101: dropped by DCC, invalid",
            "S1SPAlertDSP: S1VE7 no room",
            "PPMIDAlert: ActivationFailure",
            "FirmwareDistributionFailure: listed",
            "",
            "something",
            "S1SPAlertDSP: ",
            "é: x",
        ]
        .map(cause_of);
        assert_eq!(
            told,
            ["E21", "W110101", "S1VE7", "ActivationFailure", "FirmwareDistributionFailure", "other", "other", "other", "x"]
        );
    }

    proptest! {
        #[test]
        fn too_few_answers_never_go_on_and_more_failures_never_help(
            queued in 0_i64..3, in_flight in 0_i64..100, succeeded in 0_i64..100, failed in 0_i64..100, hours in 0_i64..1_000, last: bool,
            thresholds: bool,
        ) {
            let w = if thresholds { watch() } else { Watch { max_failures: None, least_success: None, deadline: None, ..watch() } };
            let now = counts(queued, in_flight, succeeded, failed);
            let health = judge(&w, &now, Forgiven::default(), ago(hours), last);
            let answered = succeeded + failed;
            if answered < 20.min(answered + in_flight + queued) || answered == 0 || queued > 0 {
                prop_assert_ne!(health.verdict, Verdict::GoOn);
            }
            if health.verdict == Verdict::Halt {
                prop_assert!(answered >= 1 && failed * 100 > 5 * answered);
                let worse = judge(&w, &counts(queued, in_flight, succeeded, failed + 1), Forgiven::default(), ago(hours), last);
                prop_assert_eq!(worse.verdict, Verdict::Halt);
            }
            // Whatever is left out lets nothing go on, and stops nothing for good.
            let more = WaveCounts { left_out: 77, held: 5, out: 9, ..now };
            let besides = judge(&w, &more, Forgiven::default(), ago(hours), last).verdict;
            prop_assert!(besides == health.verdict || (health.verdict == Verdict::GoOn && besides != Verdict::Halt), "{besides}");
        }
    }
}
