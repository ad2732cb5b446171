//! One site: what is known of it and where it stands in each campaign.

use serde::Serialize;

use super::App;
use crate::{
    campaign,
    estate::{self, KeyResult, Registration, Site},
    failure::{Failure, Outcome},
    ids::DeviceId,
    target::store::{self as targets, Target},
};

/// What `site show` prints.
pub struct SiteView {
    pub site: Site,
    pub registrations: Vec<Registration>,
    pub keys: Vec<KeyResult>,
    /// Campaign name and target.
    pub targets: Vec<(String, Target)>,
}
