//! What answers no request of ours goes on to another adapter of the same user (`receiver.forward_to`): each message as it was
//! received, in the order they came, until it was taken. Promise: never again once its delivery was recorded (a crash between the
//! other side's answer and that is the one way to deliver twice: it tells them apart by their ResponseID), and never given up.

use super::App;
use crate::{
    clock::Time,
    failure::Outcome,
    gateway::{Forward, Forwarded, inbox::store as inbox},
};

/// Messages looked at in one step.
const PAGE_MESSAGES: u32 = 50;
/// A message that the other side says no to is tried again after this, doubled each time up to the second: somebody has to change
/// something there first, and the messages after it do not wait.
const REFUSED_WAIT_MILLIS: i64 = 60_000;
const REFUSED_WAIT_CAP_MILLIS: i64 = 3_600_000;
/// The other side may fail at one message this often, and everything waits with it; then it is taken to fail at this one alone.
const FAILURES_OF_ONE: u32 = 5;

/// What came of one pass over the messages that are due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardPass {
    pub taken: u64,
    pub refused: u64,
    /// The other side is not there: nothing more was tried.
    pub not_now: Option<String>,
}

impl App {
    /// Passes on what is due, until nothing is or the other side is not there. `go_on` is asked before each.
    pub async fn forward_due(&self, to: &dyn Forward, go_on: impl Fn() -> bool) -> Outcome<ForwardPass> {
        let mut pass = ForwardPass::default();
        let mut after = 0;
        loop {
            let due = inbox::due_to_forward(&mut self.db.read().await?, self.now(), after, PAGE_MESSAGES).await?;
            let Some((last, _)) = due.last() else { return Ok(pass) };
            after = last.id;
            for (message, attempts) in due {
                if !go_on() {
                    return Ok(pass);
                }
                let outcome = match message.body() {
                    Ok(bytes) => to.forward(bytes).await,
                    Err(e) => Forwarded::Refused { why: e.to_string() },
                };
                let outcome = match outcome {
                    Forwarded::Failed { why } if attempts >= FAILURES_OF_ONE => Forwarded::Refused { why },
                    other => other,
                };
                self.note_forwarded(message.id, attempts, &outcome).await?;
                match outcome {
                    Forwarded::Taken => pass.taken += 1,
                    Forwarded::Refused { .. } => pass.refused += 1,
                    Forwarded::NotNow { why } | Forwarded::Failed { why } => {
                        return Ok(ForwardPass { not_now: Some(why), ..pass });
                    }
                }
            }
        }
    }

    async fn note_forwarded(&self, id: i64, attempts: u32, outcome: &Forwarded) -> Outcome {
        let now = self.now();
        let mut tx = self.db.begin().await?;
        let noted = match outcome {
            Forwarded::Taken => inbox::forwarded(&mut tx, id, now).await,
            // It stays the first that is due: how long everything waits is the loop's to say.
            Forwarded::NotNow { why } | Forwarded::Failed { why } => {
                inbox::forward_later(&mut tx, id, &format!("receiver.forward_to: {why}"), now).await
            }
            Forwarded::Refused { why } => {
                let why = format!("receiver.forward_to says no: {why}");
                inbox::forward_later(&mut tx, id, &why, refused_until(now, attempts)).await
            }
        };
        match noted {
            // Another node was quicker, or a person dismissed it.
            Err(e) if e.is_stale() => return Ok(()),
            other => other?,
        }
        tx.commit().await?;
        Ok(())
    }
}

fn refused_until(now: Time, attempts: u32) -> Time {
    let doubled = REFUSED_WAIT_MILLIS.checked_shl(attempts.min(10)).unwrap_or(REFUSED_WAIT_CAP_MILLIS);
    now.plus_millis(doubled.min(REFUSED_WAIT_CAP_MILLIS))
}
