//! Where `notify.toml` meets the settings: the teams that may be told, with their secrets. Promise: a team of somebody else's MPID, an
//! address that may not be reached or a secret that others can read is an error, never left out in silence.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::App;
use crate::{
    config::Settings,
    failure::{Failure, Outcome},
    keyfile,
    policy::{ELECTRICITY_SUPPLIER_ROLE, FileNamed, Notify, Team},
};

/// As long as the digest that HMAC-SHA256 makes (RFC 2104: less weakens it).
const SECRET_LEAST_BYTES: usize = 32;

/// A team that may be told.
#[derive(Clone)]
pub struct ReadyTeam {
    pub team: Team,
    pub(super) ca: Option<PathBuf>,
    pub(super) secret: Zeroizing<Vec<u8>>,
}

/// Every team, or why the file does not go with the settings.
pub fn ready_teams(settings: &Settings, notify: &Notify) -> Outcome<Vec<ReadyTeam>> {
    notify.teams.iter().map(|team| ready_team(settings, team)).collect()
}

fn ready_team(settings: &Settings, team: &Team) -> Outcome<ReadyTeam> {
    let own = &settings.organisation.mpids;
    let name = &team.name;
    if !own.contains(&team.mpid) {
        let ours = own.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Failure::failed(format!(
            "notify.toml: team {name} is of MPID {}, which is not one of organisation.mpids ({ours})",
            team.mpid
        ))
        .help("only teams of our own MPIDs are told: what is told says whose site is whose")
        .help("correct its mpid, or take the team out"));
    }
    settings.check_webhook(&format!("notify.toml: url of team {name}"), &team.url)?;
    let path = |file: &FileNamed| settings.policies_dir.join(&file.0);
    let secret = keyfile::read_secret(&path(&team.secret), SECRET_LEAST_BYTES).map_err(|e| Failure {
        message: format!("notify.toml: secret of team {name}: {}", e.message),
        help: vec![
            "give it a file of at least 32 bytes that nobody else can read: openssl rand -hex 32 > FILE; chmod 600 FILE".into(),
        ],
        ..e
    })?;
    Ok(ReadyTeam { team: team.clone(), ca: team.ca.as_ref().map(path), secret })
}

/// Whether anybody may be told at all: no Gas Supplier is (L§6).
pub(super) fn may_tell(settings: &Settings) -> bool {
    settings.organisation.role == ELECTRICITY_SUPPLIER_ROLE
}

impl App {
    /// The teams in force now, checked.
    pub fn teams(&self) -> Outcome<Vec<ReadyTeam>> {
        ready_teams(&self.settings, &self.policies()?.notify)
    }
}
