//! Who is at the keyboard, as far as the operating system says.

use crate::app::asserted;

/// `os-user@host`. Asserted, not proven: it is recorded as such.
pub fn os_user_at_host() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).or_else(user_of_process).unwrap_or_else(|| "unknown".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| variable("HOSTNAME")).unwrap_or_default();
    format!("{user}@{}", if host.trim().is_empty() { "localhost" } else { host.trim() })
}

/// The same, for somebody whose name is given: they are named first.
pub fn in_the_name_of(name: Option<&str>) -> String {
    let here = os_user_at_host();
    name.map_or(here.clone(), |name| asserted(name, &here))
}

/// Under cron or a bare service neither variable is set: the name of this process's user, or the number where it has no name.
fn user_of_process() -> Option<String> {
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").ok()?);
    let named = std::fs::read_to_string("/etc/passwd").ok().and_then(|users| name_of(&users, uid));
    Some(named.unwrap_or_else(|| format!("uid-{uid}")))
}

/// `name:password:uid:...`, a line a user.
fn name_of(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\njane:x:1000:1000::/home/jane:/bin/sh\n";
        assert_eq!(name_of(users, 1000).as_deref(), Some("jane"));
        assert_eq!((name_of(users, 5), name_of(users, 7)), (None, None));
    }
}
