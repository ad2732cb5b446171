//! Named points at which a crash test ends this process as SIGKILL would. Compiled only with the feature `crash-points`
//! (`tests/run` uses it); in the shipped program a point is nothing.

/// Ends the process here if `PPMID_CRASH_AT` names this point (`point` or `point:N`, the N-th time it is reached).
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::sync::Mutex;
    static REACHED: Mutex<u32> = Mutex::new(0);
    let Ok(wanted) = std::env::var("PPMID_CRASH_AT") else { return };
    let (wanted, times) = match wanted.split_once(':') {
        Some((name, n)) => (name.to_string(), n.parse().unwrap_or(1)),
        None => (wanted, 1),
    };
    if wanted != name {
        return;
    }
    let mut reached = REACHED.lock().unwrap_or_else(|e| e.into_inner());
    *reached += 1;
    if *reached == times {
        eprintln!("crash point {name}");
        let pid = std::process::id().to_string();
        let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

#[cfg(not(feature = "crash-points"))]
pub fn point(_name: &'static str) {}
