//! The program dies: between two verbs, or in the middle of one, wherever it was waiting; then it is started again, does what a daemon does
//! at its start, and is told again what it had not finished.

use std::{future::Future, pin::pin, task::Poll};

use super::{
    super::{App, month::Dice},
    Sixty,
};
use crate::failure::Outcome;

pub struct Deaths {
    dice: Dice,
    pub count: u64,
}

/// When it dies.
enum Death {
    Before,
    /// After it has waited so often.
    Within(u64),
}

impl Deaths {
    pub fn of(seed: u64) -> Deaths {
        Deaths { dice: Dice::of(seed), count: 0 }
    }

    fn next(&mut self) -> Option<Death> {
        match self.dice.below(40) {
            0 => Some(Death::Before),
            1..4 => Some(Death::Within(self.dice.below(4) * self.dice.below(12))),
            _ => None,
        }
    }
}

impl Sixty {
    /// Tells the program something that may be said twice.
    pub(super) async fn told<T>(&mut self, verb: impl AsyncFn(&App) -> Outcome<T>) -> T {
        match self.deaths.as_mut().and_then(Deaths::next) {
            None => {}
            Some(Death::Before) => self.die().await,
            Some(Death::Within(waits)) => {
                let app = self.lab.app.clone();
                if let Some(done) = until_death(waits, verb(&app)).await {
                    return done.unwrap();
                }
                self.die().await;
            }
        }
        verb(&self.lab.app).await.unwrap()
    }

    async fn die(&mut self) {
        self.deaths.as_mut().expect("it may die").count += 1;
        // What was begun is undone, or was done: only that is left.
        self.lab.app.db.close().await;
        let (settings, clock) = ((*self.lab.app.settings).clone(), self.lab.app.clock.clone());
        self.lab.app = App::open(settings, clock).await.unwrap();
        self.lab.app.reconcile_key_cases().await.unwrap();
        self.lab.app.sweep_key_cases().await.unwrap();
    }
}

async fn until_death<T>(waits: u64, doing: impl Future<Output = T>) -> Option<T> {
    let (mut doing, mut left) = (pin!(doing), waits);
    std::future::poll_fn(|context| match doing.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
