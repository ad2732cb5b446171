//! Which sites a campaign considers: every list that is not empty narrows the choice.

use serde::{Deserialize, Serialize};

use super::Cohort;
use crate::ids::DeviceId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteFilter {
    pub cohorts: Vec<Cohort>,
    pub models: Vec<String>,
    pub regions: Vec<String>,
    pub devices: Vec<DeviceId>,
}

impl Serialize for SiteFilter {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_unit()
    }
}
impl<'de> Deserialize<'de> for SiteFilter {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<SiteFilter, D::Error> {
        unimplemented!()
    }
}
