//! The program dies, in tests: at the n-th commit from now, just before that takes effect or just after, or wherever a test says. Compiled for
//! tests alone. Promise: what was committed stays and what was not is gone; nothing that ran under [`until`] goes on.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::pin,
    task::{Poll, Waker},
};

/// On which side of a commit it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The transaction leaves no trace.
    Before,
    /// It is durable, and nobody was told.
    After,
}

thread_local! {
    /// Commits that are still to succeed, and what becomes of the one after them.
    static PLANNED: Cell<Option<(u64, When)>> = const { Cell::new(None) };
    static DEAD: Cell<bool> = const { Cell::new(false) };
    static WATCHING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// It is to die after so many commits more on this thread, at the next one.
pub fn plan(commits: u64, when: When) {
    PLANNED.set(Some((commits, when)));
}

/// It is not to die.
pub fn cancel() {
    PLANNED.set(None);
}

/// Asked for each commit.
pub(super) fn at_commit() -> Option<When> {
    let (left, when) = PLANNED.get()?;
    PLANNED.set(left.checked_sub(1).map(|left| (left, when)));
    (left == 0).then_some(when)
}

/// It dies here.
pub async fn now() -> Infallible {
    PLANNED.set(None);
    DEAD.set(true);
    WATCHING.with_borrow_mut(Option::take).iter().for_each(Waker::wake_by_ref);
    std::future::pending().await
}

/// Runs until it is done; `None`: the program died meanwhile. What was begun is dropped with it.
pub async fn until<T>(doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = pin!(doing);
    std::future::poll_fn(|context| {
        WATCHING.set(Some(context.waker().clone()));
        let polled = doing.as_mut().poll(context);
        match DEAD.replace(false) {
            true => Poll::Ready(None),
            false => polled.map(Some),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    #[tokio::test]
    async fn what_was_committed_stays_and_what_was_not_is_gone() {
        for t in databases().await {
            let writes = async |counter: i64| {
                let mut tx = t.db.begin().await.unwrap();
                crate::sql!(&mut tx, c => sqlx::query("insert into request_counters (originator, value) values ($1, 1)")
                    .bind(counter).execute(c).await.map(|_| ()))
                .unwrap();
                tx.commit().await.unwrap();
            };
            plan(1, When::Before);
            assert!(until(writes(1)).await.is_some() && until(writes(2)).await.is_none());
            plan(0, When::After);
            assert!(until(writes(3)).await.is_none() && until(writes(4)).await.is_some(), "it dies once");
            plan(0, When::Before);
            cancel();
            assert!(until(writes(5)).await.is_some());
            let mut look = t.db.read().await.unwrap();
            let kept: Vec<i64> =
                crate::sql!(&mut look, c => sqlx::query_scalar("select originator from request_counters order by originator")
                .fetch_all(c).await)
                .unwrap();
            assert_eq!(kept, [1, 3, 4, 5], "{}", t.engine);
        }
    }
}
