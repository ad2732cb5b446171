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
        Lease { holder: holder(app.now()), held_until: Arc::new(AtomicI64::new(0)) }
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

    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// A holder on this very machine whose process is gone need not be waited for.
    pub(super) fn is_dead_neighbour(&self, holder: &str) -> bool {
        is_dead(holder, &self.holder, is_running)
    }
}

/// Whether the process behind `holder` is certainly gone, as seen from this machine.
pub fn is_gone(holder: &str) -> bool {
    is_dead(holder, &self::holder(Time(0)), is_running)
}

fn is_running(pid: &str) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// This process, as others on the database know it.
pub fn holder(now: Time) -> String {
    format!("{}:{}:{}", machine(), std::process::id(), now.0)
}

/// This machine since it was started, and which processes can be seen from here: two containers may share a host name, and
/// neither sees the other's processes. Empty where the system does not say.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).map(|t| t.trim().to_string()).ok();
    let host = read("/proc/sys/kernel/hostname");
    let boot = read("/proc/sys/kernel/random/boot_id");
    let processes = std::fs::read_link("/proc/self/ns/pid").ok().map(|p| p.to_string_lossy().replace(':', ""));
    match (host, boot, processes) {
        (Some(host), Some(boot), Some(processes)) => format!("{host}/{boot}/{processes}"),
        _ => String::new(),
    }
}

/// Whether the process behind `holder` is certainly gone, as seen from `own`, each `MACHINE:PID:STARTED`.
fn is_dead(holder: &str, own: &str, is_running: impl Fn(&str) -> bool) -> bool {
    let parts = |h: &str| -> Option<(String, String)> {
        let mut from_end = h.rsplitn(3, ':');
        let (_, pid, machine) = (from_end.next()?, from_end.next()?, from_end.next()?);
        Some((machine.to_string(), pid.to_string()))
    };
    let (Some((machine, pid)), Some((own_machine, _))) = (parts(holder), parts(own)) else { return false };
    !machine.is_empty() && machine == own_machine && !is_running(&pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_can_be_seen_to_be_gone_is_dead() {
        let own = "host/boot/pid[1]:7:100";
        let dead = |holder: &str| is_dead(holder, own, |pid| pid == "8");
        assert!(dead("host/boot/pid[1]:9:50"));
        assert!(!dead("host/boot/pid[1]:8:50"), "it runs");
        assert!(!dead("host/boot/pid[2]:9:50"), "another container, whose processes are not seen from here");
        assert!(!dead("host/other/pid[1]:9:50"), "another machine of the same name");
        assert!(!dead("nonsense") && !dead(""));
        assert!(!is_dead(":9:50", ":7:100", |_| false), "nothing is known of the machine");
        let here = machine();
        assert!(here.is_empty() || here.matches('/').count() == 2, "{here}");
    }
}
