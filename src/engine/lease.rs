//! Who works: one node holds the lease and renews it every second; when it dies, another takes over within three.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::store;
use crate::{app::App, clock::Time, failure::Outcome};

const NAME: &str = "engine";
/// A holder that has not renewed for this long is taken to be dead. With the period below it leaves two seconds of the five
/// in which a restart must take its work up again.
const LEASE_MILLIS: i64 = 3_000;

/// This node's view of the lease.
#[derive(Clone)]
pub struct Lease {
    holder: String,
    held_until: Arc<AtomicI64>,
}

impl Lease {
    pub fn new(app: &App) -> Lease {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let holder = format!("{}:{}:{}", host.trim(), std::process::id(), app.now().0);
        Lease { holder, held_until: Arc::new(AtomicI64::new(0)) }
    }

    /// Whether this node may act at `now`.
    pub fn is_held(&self, now: Time) -> bool {
        now.0 < self.held_until.load(Ordering::SeqCst)
    }

    /// Takes or renews it. Gives whether it came to this node from another, or from nobody. (One that ran out while this
    /// node was slow, and that nobody took, has not changed hands: what is being posted is still this node's.)
    pub async fn renew(&self, app: &App) -> Outcome<bool> {
        let mut tx = app.db.begin().await?;
        let before = store::lease_holder(&mut tx, NAME).await?;
        let now = app.now();
        let until = now.plus_millis(LEASE_MILLIS);
        let holder = store::take_lease(&mut tx, NAME, &self.holder, now.0, until.0).await?;
        let mut mine = holder == self.holder;
        if !mine && self.is_dead_neighbour(&holder) {
            store::give_lease(&mut tx, NAME, &holder).await?;
            mine = store::take_lease(&mut tx, NAME, &self.holder, now.0, until.0).await? == self.holder;
        }
        tx.commit().await?;
        self.held_until.store(if mine { until.0 } else { 0 }, Ordering::SeqCst);
        Ok(mine && before.as_deref() != Some(&self.holder))
    }

    pub async fn give_back(&self, app: &App) -> Outcome {
        self.held_until.store(0, Ordering::SeqCst);
        let mut tx = app.db.begin().await?;
        store::give_lease(&mut tx, NAME, &self.holder).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A holder on this very machine whose process is gone need not be waited for.
    fn is_dead_neighbour(&self, holder: &str) -> bool {
        let host_and_pid = |h: &str| h.rsplitn(3, ':').nth(2).map(str::to_string).zip(h.rsplit(':').nth(1).map(str::to_string));
        let (Some((host, pid)), Some((own_host, _))) = (host_and_pid(holder), host_and_pid(&self.holder)) else { return false };
        host == own_host && std::path::Path::new("/proc/self").exists() && !std::path::Path::new(&format!("/proc/{pid}")).exists()
    }
}
