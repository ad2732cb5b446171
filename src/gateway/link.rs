//! How the way to DCC is, for people: what the working node saw of it last, kept in one row. Not what decides whether to post
//! ([`circuit`](super::circuit) does, in memory).

pub mod store;

use std::fmt;

use serde::Serialize;

use super::{Trouble, circuit::Change};
use crate::clock::Time;

/// While all is well the row is written this often, so that its age tells whether somebody works.
const WELL_PERIOD_MILLIS: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// The node that does the work has posted nothing since it began to.
    Untried,
    Up,
    /// Too many failures in a row: nothing is posted until `next_try_at`, and then one request.
    Down,
}

impl LinkState {
    pub fn as_str(self) -> &'static str {
        match self {
            LinkState::Untried => "untried",
            LinkState::Up => "up",
            LinkState::Down => "down",
        }
    }

    fn parse(text: &str) -> Option<LinkState> {
        [LinkState::Untried, LinkState::Up, LinkState::Down].into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    pub state: LinkState,
    pub since: Time,
    /// In a row; some may have been seen while it is still up.
    pub failures: u32,
    /// What happened last, and what follows.
    pub last_error: Option<String>,
    pub next_try_at: Option<Time>,
    /// When this was written: older news may be out of date, if no `ppmid serve` runs.
    pub seen_at: Time,
}

impl Link {
    /// Nothing posted yet.
    pub fn untried(now: Time) -> Link {
        Link { state: LinkState::Untried, since: now, failures: 0, last_error: None, next_try_at: None, seen_at: now }
    }

    /// What it is after a post: what came of it, how many in a row have failed, and what the circuit made of that.
    pub fn after(&self, trouble: Option<&Trouble>, failures: u32, change: Option<&Change>, now: Time) -> Link {
        let last_error = trouble.filter(|_| failures > 0).map(Trouble::to_string);
        let new = Link { failures, last_error, next_try_at: None, seen_at: now, ..self.clone() };
        match (change, self.state) {
            (Some(Change::Opened { since, until, .. } | Change::StayedOpen { since, until, .. }), _) => {
                Link { state: LinkState::Down, since: *since, next_try_at: Some(*until), ..new }
            }
            (Some(Change::Closed { .. }), _) => Link { state: LinkState::Up, since: now, ..new },
            (None, LinkState::Untried) if failures == 0 => Link { state: LinkState::Up, since: now, ..new },
            (None, LinkState::Untried | LinkState::Up) => new,
            // A straggler of the time before it went down.
            (None, LinkState::Down) => Link { next_try_at: self.next_try_at, ..new },
        }
    }

    /// Whether it says something that `written` does not.
    pub fn is_news(&self, written: &Link) -> bool {
        let of = |l: &Link| (l.state, l.since, l.failures, l.next_try_at);
        of(self) != of(written) || self.seen_at.0 - written.seen_at.0 >= WELL_PERIOD_MILLIS
    }
}

/// One line for an operator.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            LinkState::Untried => write!(f, "not tried yet since {}", self.since)?,
            LinkState::Up => write!(f, "up since {}", self.since)?,
            LinkState::Down => write!(f, "DOWN since {}", self.since)?,
        }
        match self.failures {
            0 => {}
            1 => write!(f, ", the last post failed")?,
            n => write!(f, ", {n} posts in a row failed")?,
        }
        if let Some(at) = self.next_try_at {
            write!(f, ", next try at {at}")?;
        }
        // Where no daemon runs, or nothing was to be posted, the news may be old.
        write!(f, " (as of {})", self.seen_at)?;
        match &self.last_error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[tokio::test]
    async fn the_last_word_is_kept_and_reads_as_a_line() {
        let at: Time = "2026-11-24T12:00:00Z".parse().unwrap();
        let link = |state, failures, error: Option<&str>, next: Option<i64>| Link {
            state,
            since: at,
            failures,
            last_error: error.map(str::to_string),
            next_try_at: next.map(|n| at.plus_millis(n)),
            seen_at: at,
        };
        let story = [
            link(LinkState::Untried, 0, None, None),
            link(LinkState::Up, 0, None, None),
            link(LinkState::Up, 1, Some("HTTP 500"), None),
            link(LinkState::Down, 5, Some("connection refused"), Some(60_000)),
        ];
        insta::assert_snapshot!(story.iter().map(Link::to_string).collect::<Vec<_>>().join("\n"), @"
        not tried yet since 2026-11-24T12:00:00Z (as of 2026-11-24T12:00:00Z)
        up since 2026-11-24T12:00:00Z (as of 2026-11-24T12:00:00Z)
        up since 2026-11-24T12:00:00Z, the last post failed (as of 2026-11-24T12:00:00Z): HTTP 500
        DOWN since 2026-11-24T12:00:00Z, 5 posts in a row failed, next try at 2026-11-24T12:01:00Z (as of 2026-11-24T12:00:00Z): connection refused
        ");
        for test in testing::databases().await {
            assert_eq!(store::get(&mut test.db.read().await.unwrap()).await.unwrap(), None);
            for link in &story {
                let mut tx = test.db.begin().await.unwrap();
                store::put(&mut tx, link).await.unwrap();
                tx.commit().await.unwrap();
                let read = store::get(&mut test.db.read().await.unwrap()).await.unwrap();
                assert_eq!(read.as_ref(), Some(link), "{}", test.engine);
            }
        }
    }
}
