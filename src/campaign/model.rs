//! A campaign and the states it goes through. Pure.

use serde::Serialize;

use crate::{clock::Time, estate::SiteFilter, failure::Failure, ids::ImageId, policy::WaveSize};

crate::spelled! {
    CampaignState, "a campaign state" {
        /// Created, not planned.
        Draft = "draft",
        Planned = "planned",
        Approved = "approved",
        Started = "started",
        /// Nothing more is sent; what is out is followed.
        Paused = "paused",
        /// Stopped by the brake, by a refusal or by DCC; a person decides on.
        Halted = "halted",
        /// Unsent members are cancelled for good; what was sent is followed.
        Aborted = "aborted",
        /// Every target has reached its end.
        Finished = "finished",
    }
}

crate::spelled! {
    /// What a person, or the engine, may ask of a campaign.
    Command, "a campaign command" {
        Plan = "plan", Approve = "approve", Start = "start", Pause = "pause", Resume = "resume", Abort = "abort", Halt = "halt",
        Retry = "retry", Finish = "finish",
    }
}

impl CampaignState {
    /// The state after `command`; `Ok` with the same state means it was so already.
    pub fn on(self, command: Command) -> Result<CampaignState, NotNow> {
        use CampaignState as S;
        use Command as C;
        Ok(match (self, command) {
            (S::Draft | S::Planned | S::Approved, C::Plan) => S::Planned,
            (S::Planned | S::Approved, C::Approve) => S::Approved,
            // Approved again, as policies changed or sites are to join: the state is as it was.
            (S::Started | S::Paused | S::Halted | S::Finished, C::Approve) => self,
            (S::Approved | S::Started, C::Start) => S::Started,
            (S::Started | S::Paused, C::Pause) => S::Paused,
            (S::Paused | S::Halted | S::Started, C::Resume) => S::Started,
            (S::Draft | S::Planned | S::Approved | S::Started | S::Paused | S::Halted | S::Aborted, C::Abort) => S::Aborted,
            (S::Approved | S::Started | S::Paused | S::Halted, C::Halt) => S::Halted,
            (S::Started | S::Finished, C::Retry) => S::Started,
            (S::Started | S::Finished, C::Finish) => S::Finished,
            (state, command) => return Err(NotNow { state, command }),
        })
    }

    /// Messages about its devices still count.
    pub fn is_followed(self) -> bool {
        match self {
            CampaignState::Draft | CampaignState::Planned | CampaignState::Approved => false,
            CampaignState::Started
            | CampaignState::Paused
            | CampaignState::Halted
            | CampaignState::Aborted
            | CampaignState::Finished => true,
        }
    }
}

/// The command does not fit the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a campaign that is {state} cannot {command}")]
pub struct NotNow {
    pub state: CampaignState,
    pub command: Command,
}

impl From<NotNow> for Failure {
    fn from(e: NotNow) -> Failure {
        let help = match (e.state, e.command) {
            (CampaignState::Draft, _) => "plan it first: ppmid campaign plan CAMPAIGN",
            (CampaignState::Planned, _) => "it wants the approval of a second person: ppmid campaign approve CAMPAIGN --by NAME",
            (CampaignState::Approved, _) => "start it: ppmid campaign start CAMPAIGN",
            (CampaignState::Started, _) => "pause or abort it first, or create another campaign",
            (CampaignState::Paused | CampaignState::Halted, _) => "resume it: ppmid campaign resume CAMPAIGN",
            (CampaignState::Aborted | CampaignState::Finished, _) => "it has ended; create another campaign",
        };
        Failure::failed(format!("the campaign is {}, so `{}` is not possible now", e.state, e.command)).help(help)
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Campaign {
    pub id: i64,
    pub name: String,
    pub image_id: ImageId,
    pub state: CampaignState,
    pub filter: SiteFilter,
    pub rollout: String,
    /// Most devices in one request.
    pub batch_size: i64,
    /// Sizes of waves that take the place of the rollout's, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<(String, WaveSize)>,
    pub created_at: Time,
    pub created_by: String,
    pub plan_id: Option<i64>,
    pub approved_at: Option<Time>,
    pub approved_by: Option<String>,
    /// What the approval is bound to.
    pub approved_hash: Option<String>,
    /// The policies it was approved with (policy_sets.id).
    pub policy_set: Option<i64>,
    /// Of those, what matters to it: [`crate::policy::binding`].
    pub policy_binding: Option<String>,
    /// From then on the approval lets nothing new be sent; null: it was given before approvals ended.
    pub approved_until: Option<Time>,
    pub started_at: Option<Time>,
    /// Why it does not move: the contract's refusal code, or `OPERATOR`.
    pub stopped_code: Option<String>,
    pub stopped_reason: Option<String>,
    pub stopped_at: Option<Time>,
    pub stopped_by: Option<String>,
    pub ended_at: Option<Time>,
}

impl Campaign {
    /// What an alarm or an audit event about it is about.
    pub fn subject(&self) -> String {
        format!("campaign {}", self.id)
    }

    /// Its approval has ended by itself.
    pub fn is_approval_expired(&self, now: Time) -> bool {
        self.approved_until.is_some_and(|until| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_against_every_command() {
        let mut lines = vec![];
        for state in CampaignState::ALL {
            let cells: Vec<String> = Command::ALL
                .iter()
                .map(|c| format!("{c}: {}", state.on(*c).map_or("-".to_string(), |s| s.to_string())))
                .collect();
            lines.push(format!("{state} | {}", cells.join(", ")));
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_repeated_command_changes_nothing() {
        for state in CampaignState::ALL {
            for command in Command::ALL {
                if let Ok(next) = state.on(*command) {
                    assert!(next.on(*command).is_err() || next.on(*command) == Ok(next), "{state} {command}");
                }
            }
        }
    }
}
