//! How the waves of a campaign go on: which has begun, what is to be said of each, and whether the next begins. Pure: from what is stored
//! and counted to what is to be stored. Promise: a wave begins only when the one before it was said to go on, or a person let it.

use std::collections::BTreeMap;

use super::{Forgiven, OpenWave, Verdict, Waves};
use crate::{
    campaign::health::{Health, Numbers, WaveCounts, WaveTimes, judge, must_halt},
    clock::Time,
};

/// What has come of a look at the waves.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The waves that have begun, as they are to be stored.
    pub opened: Vec<OpenWave>,
    /// Verdicts that have changed, by the wave's number.
    pub changed: Vec<(i64, Health)>,
    /// The wave for which the campaign is to be halted.
    pub halts: Option<(i64, Health)>,
}

/// Looks at the waves that have begun, of a campaign that is started. `counts` need not have those that have not.
pub fn progress(waves: &Waves, opened: &[OpenWave], counts: &BTreeMap<i64, WaveCounts>, now: Time) -> Progress {
    let mut done = Progress { opened: opened.to_vec(), changed: Vec::new(), halts: None };
    if done.opened.is_empty() {
        done.begin(1, now);
        return done;
    }
    let newest = done.opened.len() - 1;
    for wave in &mut done.opened {
        forget_what_was_mended(waves, wave, counts, now);
    }
    for n in 0..newest {
        if let Some(health) = health_of_past(waves, &done.opened[n], counts, now) {
            done.say(n, health, now);
        }
    }
    let mut n = newest;
    while let Some(health) = health_of_newest(waves, &mut done.opened[n], counts, now) {
        let (number, verdict) = (done.opened[n].number, health.verdict);
        done.say(n, health, now);
        if verdict != Verdict::GoOn {
            break;
        }
        done.opened[n].passed_at.get_or_insert(now);
        let Some(next) = waves.get(number + 1) else { break };
        done.begin(number + 1, now);
        if next.eligible + next.held > 0 {
            break;
        }
        n += 1;
    }
    done
}

/// What is to be said now of a wave that has begun, whichever it is: for whoever looks.
pub fn health_now(
    waves: &Waves,
    wave: &OpenWave,
    is_newest: bool,
    counts: &BTreeMap<i64, WaveCounts>,
    now: Time,
) -> Option<Health> {
    match is_newest {
        true => health_of_newest(waves, &mut wave.clone(), counts, now),
        false => {
            let planned = waves.get(wave.number)?;
            let of_wave = counts.get(&wave.number).cloned().unwrap_or_default();
            let mut health = judge(&planned.wave.watch, &of_wave, wave.forgiven, times(wave, now), false);
            if health.verdict != Verdict::Halt {
                (health.verdict, health.because) = (Verdict::GoOn, "the next wave has begun".into());
            }
            Some(health)
        }
    }
}

impl Progress {
    /// Whether there is nothing to store and nothing to stop.
    pub fn is_as(&self, stored: &[OpenWave]) -> bool {
        self.opened == stored && self.halts.is_none()
    }

    fn begin(&mut self, number: i64, now: Time) {
        let because = "it has begun".to_string();
        self.opened.push(OpenWave {
            number,
            opened_at: now,
            all_sent_at: None,
            passed_at: None,
            verdict: Verdict::Wait,
            because: because.clone(),
            judged_at: now,
            let_go: None,
            forgiven: Forgiven::default(),
        });
        self.changed.push((number, Health { verdict: Verdict::Wait, because, numbers: Numbers::default() }));
    }

    fn say(&mut self, n: usize, health: Health, now: Time) {
        let wave = &mut self.opened[n];
        if health.verdict == Verdict::Halt && self.halts.is_none() {
            self.halts = Some((wave.number, health.clone()));
        }
        if wave.verdict != health.verdict {
            wave.verdict = health.verdict;
            wave.because = health.because.clone();
            wave.judged_at = now;
            self.changed.push((wave.number, health));
        }
    }
}

fn times(wave: &OpenWave, now: Time) -> WaveTimes {
    WaveTimes { now, opened_at: wave.opened_at, all_sent_at: wave.all_sent_at }
}

/// What a person knew when they let a wave go on is not held against it again; but a failure that became a success, or is tried again, is
/// none of those any more, and must not hide the next.
fn forget_what_was_mended(waves: &Waves, wave: &mut OpenWave, counts: &BTreeMap<i64, WaveCounts>, now: Time) {
    let (Some(planned), Some(of_wave)) = (waves.get(wave.number), counts.get(&wave.number)) else { return };
    if wave.forgiven == Forgiven::default() {
        return;
    }
    let numbers = judge(&planned.wave.watch, of_wave, wave.forgiven, times(wave, now), false).numbers;
    let Forgiven { answered, failed } = wave.forgiven;
    wave.forgiven = Forgiven { answered: answered.min(numbers.answered), failed: failed.min(numbers.failed) };
}

/// Of a wave that the next has followed only a halt matters, and that one is over.
fn health_of_past(waves: &Waves, wave: &OpenWave, counts: &BTreeMap<i64, WaveCounts>, now: Time) -> Option<Health> {
    let watch = &waves.get(wave.number)?.wave.watch;
    let of_wave = counts.get(&wave.number).cloned().unwrap_or_default();
    let halt = must_halt(watch, &of_wave, wave.forgiven, times(wave, now));
    halt.or_else(|| {
        (wave.verdict == Verdict::Halt).then(|| {
            let numbers = judge(watch, &of_wave, wave.forgiven, times(wave, now), false).numbers;
            Health { verdict: Verdict::GoOn, because: let_go(wave), numbers }
        })
    })
}

fn health_of_newest(waves: &Waves, wave: &mut OpenWave, counts: &BTreeMap<i64, WaveCounts>, now: Time) -> Option<Health> {
    let planned = waves.get(wave.number)?;
    let nothing = WaveCounts::default();
    let of_wave = counts.get(&wave.number).unwrap_or(&nothing);
    // It soaks anew where something of it is sent again. What is over stays as it was.
    if wave.passed_at.is_none() {
        wave.all_sent_at = if of_wave.queued + of_wave.leaving > 0 { None } else { wave.all_sent_at.or(Some(now)) };
    }
    let watch = &planned.wave.watch;
    let mut health = judge(watch, of_wave, wave.forgiven, times(wave, now), wave.number == waves.last());
    if health.verdict == Verdict::Halt {
        return Some(health);
    }
    let is_empty = planned.eligible + planned.held == 0 && WaveCounts { out: 0, ..of_wave.clone() } == nothing;
    if wave.let_go.is_some() {
        (health.verdict, health.because) = (Verdict::GoOn, let_go(wave));
    } else if is_empty {
        (health.verdict, health.because) = (Verdict::GoOn, "it has no devices".into());
    }
    Some(health)
}

fn let_go(wave: &OpenWave) -> String {
    match &wave.let_go {
        Some(let_go) => format!("{} let it go on: {}", let_go.by, let_go.reason),
        None => "it no longer fails more often than allowed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        campaign::waves::{LetGo, PlannedWave},
        policy::{Watch, Wave},
    };

    const NOW: Time = Time(1_600_000_000_000);

    fn waves(members: &[i64]) -> Waves {
        let watch = Watch { minimum_sample: 5, max_failures: Some("10%".parse().unwrap()), ..Watch::default() };
        let wave = |(n, eligible): (usize, &i64)| PlannedWave {
            wave: Wave { name: format!("w{}", n + 1), size: "rest".parse().unwrap(), watch: watch.clone() },
            eligible: *eligible,
            held: 0,
        };
        Waves { seed: 1, waves: members.iter().enumerate().map(wave).collect() }
    }

    fn counts(rows: &[(i64, i64, i64, i64)]) -> BTreeMap<i64, WaveCounts> {
        let of = |(wave, queued, succeeded, failed): &(i64, i64, i64, i64)| {
            let failed = [("E21".to_string(), *failed)].into_iter().filter(|f| f.1 > 0).collect();
            (*wave, WaveCounts { queued: *queued, succeeded: *succeeded, failed, ..WaveCounts::default() })
        };
        rows.iter().map(of).collect()
    }

    fn shown(done: &Progress) -> Vec<String> {
        done.opened.iter().map(|w| format!("{} {}", w.number, w.verdict)).collect()
    }

    #[test]
    fn one_wave_follows_another_and_empty_ones_hold_nobody_up() {
        let all = waves(&[10, 0, 0, 80]);
        let begun = progress(&all, &[], &counts(&[(1, 10, 0, 0)]), NOW);
        assert_eq!(shown(&begun), ["1 wait"]);
        let again = progress(&all, &begun.opened, &counts(&[(1, 10, 0, 0)]), NOW.plus_millis(1));
        assert_eq!((again.opened, again.changed), (begun.opened.clone(), vec![]), "nothing new is nothing to write");
        let went = progress(&all, &begun.opened, &counts(&[(1, 0, 10, 0)]), NOW);
        assert_eq!(shown(&went), ["1 go-on", "2 go-on", "3 go-on", "4 wait"]);
        let ended = progress(&all, &went.opened, &counts(&[(1, 0, 10, 0), (4, 0, 80, 0)]), NOW);
        assert_eq!(shown(&ended)[3], "4 go-on");
        assert!(ended.opened.iter().all(|w| w.passed_at.is_some()));
    }

    #[test]
    fn a_late_failure_of_a_wave_that_is_over_halts_too_and_a_person_may_let_it_go_on() {
        let all = waves(&[10, 80]);
        let begun = progress(&all, &[], &BTreeMap::new(), NOW);
        let went = progress(&all, &begun.opened, &counts(&[(1, 0, 9, 1)]), NOW);
        assert_eq!(shown(&went), ["1 go-on", "2 wait"]);
        let late = counts(&[(1, 0, 8, 2), (2, 80, 0, 0)]);
        let mut halted = progress(&all, &went.opened, &late, NOW);
        assert_eq!((shown(&halted), halted.halts.as_ref().map(|h| h.0)), (vec!["1 halt".into(), "2 wait".into()], Some(1)));
        halted.opened[0].let_go = Some(LetGo { at: NOW, by: "ann".into(), reason: "known".into() });
        halted.opened[0].forgiven = Forgiven { answered: 10, failed: 2 };
        let on = progress(&all, &halted.opened, &late, NOW);
        assert_eq!((shown(&on), on.halts), (vec!["1 go-on".to_string(), "2 wait".into()], None));
    }

    #[test]
    fn what_was_mended_after_a_person_let_it_go_on_hides_no_new_failure() {
        let all = waves(&[1_000, 80]);
        let mut begun = progress(&all, &[], &BTreeMap::new(), NOW).opened;
        begun[0].let_go = Some(LetGo { at: NOW, by: "ann".into(), reason: "DCC was silent".into() });
        begun[0].forgiven = Forgiven { answered: 500, failed: 300 };
        let storm = progress(&all, &begun, &counts(&[(1, 500, 500, 0)]), NOW);
        assert_eq!((storm.opened[0].forgiven, storm.halts.is_some()), (Forgiven { answered: 500, failed: 0 }, false));
        let bad = progress(&all, &storm.opened, &counts(&[(1, 200, 500, 300)]), NOW);
        assert!(bad.halts.is_some(), "{:?}", shown(&bad));
    }

    #[test]
    fn a_wave_soaks_from_when_dcc_has_all_of_it_and_anew_when_something_is_sent_again() {
        let all = waves(&[10, 80]);
        let begun = progress(&all, &[], &BTreeMap::new(), NOW).opened;
        let standing = |queued, leaving, accepted| {
            BTreeMap::from([(1, WaveCounts { queued, leaving, in_flight: leaving + accepted, ..WaveCounts::default() })])
        };
        let at = |opened: &[OpenWave], counts, minutes: i64| {
            let done = progress(&all, opened, &counts, NOW.plus_millis(minutes * 60_000));
            (done.opened[0].all_sent_at.map(|t| (t.0 - NOW.0) / 60_000), done.opened)
        };
        let (sent, opened) = at(&begun, standing(0, 10, 0), 1);
        assert_eq!(sent, None, "it is prepared, and no more");
        let (sent, opened) = at(&opened, standing(0, 0, 10), 2);
        assert_eq!(sent, Some(2));
        let (sent, opened) = at(&opened, standing(4, 0, 6), 3);
        assert_eq!(sent, None, "four came back");
        let (sent, opened) = at(&opened, standing(0, 0, 10), 4);
        assert_eq!((sent, at(&opened, standing(0, 0, 10), 9).0), (Some(4), Some(4)));
    }

    #[test]
    fn a_wave_that_a_person_let_go_on_goes_on_and_halts_on_what_comes_after() {
        let all = waves(&[10, 80]);
        let mut begun = progress(&all, &[], &BTreeMap::new(), NOW).opened;
        begun[0].let_go = Some(LetGo { at: NOW, by: "ann".into(), reason: "known".into() });
        let on = progress(&all, &begun, &counts(&[(1, 4, 0, 0)]), NOW);
        assert_eq!(shown(&on), ["1 go-on", "2 wait"]);
        let bad = progress(&all, &begun, &counts(&[(1, 0, 5, 5)]), NOW);
        assert_eq!((shown(&bad), bad.halts.is_some()), (vec!["1 halt".to_string()], true));
    }
}
