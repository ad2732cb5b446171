//! What a schedule does: parsed once from what a person wrote. Not the doing.

use std::str::FromStr;

use crate::failure::Failure;

crate::spelled! {
    Verb, "something a schedule can do" {
        /// Decide about every site of a campaign.
        Plan = "plan",
        /// Let an approved campaign send.
        Start = "start",
        /// Take in sites that pass since the plan was made.
        TopUp = "top-up",
        /// Bring key cases into line and decide again about who waits.
        RecheckKeys = "recheck-keys",
        /// Ask DCC's inventory about the devices that stayed silent.
        InventorySweep = "inventory-sweep",
        /// The report of missing keys, kept with the run.
        Report = "report",
        /// Delete what was kept long enough.
        Prune = "prune",
    }
}

const WANTED: &str = "plan CAMPAIGN, start CAMPAIGN, top-up CAMPAIGN, recheck-keys, inventory-sweep, report, prune";
/// What is repeated of a text that is not understood.
const SHOWN_CHARS: usize = 60;

impl Verb {
    pub fn takes_campaign(self) -> bool {
        match self {
            Verb::Plan | Verb::Start | Verb::TopUp => true,
            Verb::RecheckKeys | Verb::InventorySweep | Verb::Report | Verb::Prune => false,
        }
    }
}

/// What a schedule does, campaigns by their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Plan(i64),
    Start(i64),
    TopUp(i64),
    RecheckKeys,
    InventorySweep,
    Report,
    Prune,
}

impl Action {
    /// `None` where a campaign is named for what takes none, or none for what takes one.
    pub fn of(verb: Verb, campaign: Option<i64>) -> Option<Action> {
        Some(match (verb, campaign) {
            (Verb::Plan, Some(id)) => Action::Plan(id),
            (Verb::Start, Some(id)) => Action::Start(id),
            (Verb::TopUp, Some(id)) => Action::TopUp(id),
            (Verb::RecheckKeys, None) => Action::RecheckKeys,
            (Verb::InventorySweep, None) => Action::InventorySweep,
            (Verb::Report, None) => Action::Report,
            (Verb::Prune, None) => Action::Prune,
            (Verb::Plan | Verb::Start | Verb::TopUp, None)
            | (Verb::RecheckKeys | Verb::InventorySweep | Verb::Report | Verb::Prune, Some(_)) => return None,
        })
    }

    pub fn verb(self) -> Verb {
        match self {
            Action::Plan(_) => Verb::Plan,
            Action::Start(_) => Verb::Start,
            Action::TopUp(_) => Verb::TopUp,
            Action::RecheckKeys => Verb::RecheckKeys,
            Action::InventorySweep => Verb::InventorySweep,
            Action::Report => Verb::Report,
            Action::Prune => Verb::Prune,
        }
    }

    pub fn campaign(self) -> Option<i64> {
        match self {
            Action::Plan(id) | Action::Start(id) | Action::TopUp(id) => Some(id),
            Action::RecheckKeys | Action::InventorySweep | Action::Report | Action::Prune => None,
        }
    }
}

/// What a person wrote: a verb, and a campaign by its id or name where the verb takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub verb: Verb,
    pub campaign: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAction {
    #[error("{0:?} is nothing a schedule can do")]
    Unknown(String),
    #[error("{0} is done for a campaign, and none is named")]
    NoCampaign(Verb),
    #[error("{0} is not done for one campaign, and {1:?} follows it")]
    Follows(Verb, String),
}

impl FromStr for Asked {
    type Err = BadAction;

    /// `recheck keys` is `recheck-keys`.
    fn from_str(text: &str) -> Result<Asked, BadAction> {
        let shown = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
        let text = text.trim();
        let (first, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(first, rest)| (first, rest.trim_start()));
        let (second, others) =
            rest.split_once(char::is_whitespace).map_or((rest, ""), |(second, rest)| (second, rest.trim_start()));
        let (verb, rest) = match (first.parse::<Verb>(), format!("{first}-{second}").parse::<Verb>()) {
            (Ok(verb), _) => (verb, rest),
            (Err(_), Ok(verb)) => (verb, others),
            (Err(_), Err(_)) => return Err(BadAction::Unknown(shown(text))),
        };
        match (verb.takes_campaign(), rest.is_empty()) {
            (true, true) => Err(BadAction::NoCampaign(verb)),
            (false, false) => Err(BadAction::Follows(verb, shown(rest))),
            (takes, _) => Ok(Asked { verb, campaign: takes.then(|| rest.to_string()) }),
        }
    }
}

impl From<BadAction> for Failure {
    fn from(e: BadAction) -> Failure {
        Failure::usage(e.to_string()).help(format!("one of: {WANTED}"))
    }
}
