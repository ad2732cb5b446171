//! The contract's reason codes, in the order in which they are tried, and the outcome each gives.

crate::spelled! {
    /// Why a site is in, waits, or is out (contract.md, "Who is eligible").
    Reason, "a reason code" {
        Eligible = "ELIGIBLE",
        NotResponsibleSupplier = "NOT_RESPONSIBLE_SUPPLIER",
        DeviceNotCommissioned = "DEVICE_NOT_COMMISSIONED",
        CohortNotLive = "COHORT_NOT_LIVE",
        CombinationNotEligible = "COMBINATION_NOT_ELIGIBLE",
        ModelNotCovered = "MODEL_NOT_COVERED",
        AlreadyAtVersion = "ALREADY_AT_VERSION",
        UpgradePathNotAllowed = "UPGRADE_PATH_NOT_ALLOWED",
        SupplyNotStarted = "SUPPLY_NOT_STARTED",
        SupplyChangePending = "SUPPLY_CHANGE_PENDING",
        KeysMissing = "KEYS_MISSING",
        KeysUnknown = "KEYS_UNKNOWN",
        ExcludedByOperator = "EXCLUDED_BY_OPERATOR",
        OtherCampaignInProgress = "OTHER_CAMPAIGN_IN_PROGRESS",
        /// After sending: left the portfolio, cannot be recalled.
        SupplyLost = "SUPPLY_LOST",
    }
}

crate::spelled! {
    Outcome, "an outcome" { Eligible = "eligible", Held = "held", Ineligible = "ineligible" }
}

impl Reason {
    /// The outcome this reason gives at planning.
    pub fn outcome(self) -> Outcome {
        match self {
            Reason::Eligible => Outcome::Eligible,
            Reason::NotResponsibleSupplier
            | Reason::DeviceNotCommissioned
            | Reason::CohortNotLive
            | Reason::CombinationNotEligible
            | Reason::ModelNotCovered
            | Reason::AlreadyAtVersion
            | Reason::UpgradePathNotAllowed
            | Reason::SupplyLost => Outcome::Ineligible,
            Reason::SupplyNotStarted
            | Reason::SupplyChangePending
            | Reason::KeysMissing
            | Reason::KeysUnknown
            | Reason::ExcludedByOperator
            | Reason::OtherCampaignInProgress => Outcome::Held,
        }
    }
}
