//! Which cases a person means: the filters that every `ppmid keys` command shares, read into one [`CaseFilter`].

use std::{path::PathBuf, str::FromStr};

use crate::{
    app::App,
    cli::{campaign::read_devices, when},
    failure::{Failure, Outcome},
    ids::{DeviceId, IdError},
    keys::CaseFilter,
    policy::Period,
};

#[derive(clap::Args, Default)]
pub struct Filters {
    /// retrying, investigating, resolved or closed
    #[arg(long)]
    pub state: Option<String>,
    /// Only retrying and investigating
    #[arg(long, conflicts_with = "state")]
    pub open: bool,
    /// IOC, MDS, SECURE or FOC
    #[arg(long)]
    pub cohort: Option<String>,
    /// The display's model, as in the sites
    #[arg(long)]
    pub model: Option<String>,
    /// The region, as in the sites
    #[arg(long)]
    pub region: Option<String>,
    /// Held today by this supplier
    #[arg(long)]
    pub mpid: Option<String>,
    /// The last error has this in it
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
    /// First seen at least so long ago, such as 30d
    #[arg(long, value_name = "PERIOD")]
    pub older_than: Option<String>,
    /// At least so many results
    #[arg(long, value_name = "N")]
    pub attempts: Option<i64>,
    /// Due for another attempt by this time or day
    #[arg(long, value_name = "WHEN")]
    pub due_by: Option<String>,
    /// Of this campaign's members (its id or name)
    #[arg(long)]
    pub campaign: Option<String>,
    /// In the error, the incident, the closing reason or a note
    #[arg(long)]
    pub text: Option<String>,
}

/// Who sees to a case: apart, since `escalate` and `assign` use the words for what they set.
#[derive(clap::Args, Default)]
pub struct People {
    /// With this incident reference; '' for none
    #[arg(long, value_name = "REF")]
    pub incident: Option<String>,
    /// Whom it is assigned to; '' for nobody
    #[arg(long, value_name = "NAME")]
    pub assignee: Option<String>,
    /// The team it was escalated to; '' for none
    #[arg(long, value_name = "TEAM")]
    pub team: Option<String>,
}

/// Devices by name or by a file, beside the filters.
#[derive(clap::Args, Default)]
pub struct Devices {
    /// One or more Device IDs
    #[arg(value_name = "DEVICE_ID")]
    pub ids: Vec<String>,
    /// Those in this file: one Device ID a line (- is stdin)
    #[arg(long = "devices", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

fn parsed<T: FromStr<Err = IdError>>(text: Option<&str>) -> Outcome<Option<T>> {
    text.map(str::parse)
        .transpose()
        .map_err(|e: IdError| Failure::usage(e.to_string()).help("see --help for what may be written"))
}

/// Days that an age may have: a hundred years are older than any case.
const AGE_DAYS: i64 = 36_525;

/// An age, which is longer than what a policy may say of a period.
fn age_millis(text: &str) -> Outcome<i64> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()).filter(|days| (0..=AGE_DAYS).contains(days));
    match days {
        Some(days) => Ok(days * 86_400_000),
        None => {
            let longer = |e: Failure| e.help(format!("an age of more than a year is told in days, up to {AGE_DAYS}d"));
            Ok(parsed::<Period>(Some(text)).map_err(longer)?.map_or(0, |period| period.millis()))
        }
    }
}

/// The filter that these options make.
pub async fn filter(app: &App, f: &Filters, people: &People, devices: &Devices) -> Outcome<CaseFilter> {
    let plan = match &f.campaign {
        None => None,
        Some(name) => {
            let none = || Failure::failed(format!("the campaign {name:?} has no plan, so no members")).help("plan it first");
            Some(app.campaign(name).await?.plan_id.ok_or_else(none)?)
        }
    };
    let due_by = f.due_by.as_deref().map(when::until).transpose();
    let age = f.older_than.as_deref().map(age_millis).transpose()?;
    let mut ids: Vec<DeviceId> = Vec::new();
    for text in &devices.ids {
        ids.extend(parsed::<DeviceId>(Some(text))?);
    }
    if let Some(file) = &devices.file {
        ids.extend(read_devices(file)?);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(CaseFilter {
        devices: ids,
        state: parsed(f.state.as_deref())?,
        open: f.open,
        cohort: parsed(f.cohort.as_deref())?,
        model: f.model.clone(),
        region: f.region.clone(),
        mpid: parsed(f.mpid.as_deref())?,
        error: f.error.clone(),
        first_seen_by: age.map(|age| app.now().plus_millis(-age)),
        attempts_from: f.attempts,
        due_by: due_by.map_err(|e| Failure::usage(e.to_string()).help("see --help for what may be written"))?,
        incident: people.incident.clone().filter(|reference| !reference.is_empty()),
        unescalated: people.incident.as_deref() == Some(""),
        team: people.team.clone(),
        assignee: people.assignee.clone(),
        plan,
        text: f.text.clone(),
        ..CaseFilter::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_may_be_of_years() {
        assert_eq!(age_millis("36h").unwrap(), 36 * 3_600_000);
        assert_eq!(age_millis("30d").unwrap(), 30 * 86_400_000);
        assert_eq!(age_millis("1000d").unwrap(), 1_000 * 86_400_000);
        for wrong in ["99999d", "-1d", "d", "10000h", "old"] {
            assert_eq!(age_millis(wrong).unwrap_err().exit.code(), 2, "{wrong}");
        }
    }
}
