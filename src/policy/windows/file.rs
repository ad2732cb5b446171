//! Reads `windows.toml`. A window nobody can fall into, or a freeze that covers no day, is an error: it is never what was meant.

use super::{Freeze, Scope, WallTime, Weekday, Window, Windows};
use crate::policy::{
    document::{Place, Read, Section, day, parsed, read_document, text},
    eligibility::DAY_WANTED,
    files::{Head, read_head},
};

/// Reads the file. With no window and no freeze everything is always open.
pub(in crate::policy) fn read_windows(place: Place<'_>) -> Read<(Head, Windows)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let windows = file.tables("window", "tables [[window]], each with from and to")?;
        let freezes = file.tables("freeze", "tables [[freeze]], each with from, to and reason")?;
        let windows = windows.into_iter().map(read_window).collect::<Read<_>>()?;
        let freezes = freezes.into_iter().map(read_freeze).collect::<Read<_>>()?;
        Ok((head, Windows::new(windows, freezes)))
    })
}

fn read_window(mut table: Section<'_, '_>) -> Read<Window> {
    let days: Option<Vec<Weekday>> = table.list("days", "a day such as \"Mon\"", parsed)?;
    let (from, to) = (table.required("from", WallTime::WANTED, parsed)?, table.required("to", WallTime::WANTED, parsed)?);
    let window = Window { days: days.unwrap_or_else(|| Weekday::ALL.to_vec()), from, to, scope: read_scope(&mut table)? };
    if window.days.is_empty() {
        return Err(table.conflict("days", "the list is empty, so it would never open", "at least one day, or no such key"));
    }
    if window.from == window.to || window.from.minutes() == 24 * 60 {
        let problem = format!("from {} to {} is no window", window.from, window.to);
        return Err(table.conflict("from", problem, "two different times; a whole day is from \"00:00\" to \"24:00\""));
    }
    table.finish()?;
    Ok(window)
}

fn read_freeze(mut table: Section<'_, '_>) -> Read<Freeze> {
    let freeze = Freeze {
        from: table.required("from", DAY_WANTED, day)?,
        to: table.required("to", DAY_WANTED, day)?,
        reason: table.required("reason", "a text that people will read", text)?,
        scope: read_scope(&mut table)?,
    };
    if freeze.to <= freeze.from {
        let problem = format!("{} is not after {}", freeze.to, freeze.from);
        return Err(table.conflict("to", problem, "a later date: `to` is the first day that is free again"));
    }
    table.finish()?;
    Ok(freeze)
}

fn read_scope(table: &mut Section<'_, '_>) -> Read<Scope> {
    let scope = Scope {
        cohorts: table.list("cohorts", "a cohort: IOC, MDS, SECURE or FOC", parsed)?,
        regions: table.list("regions", "a region as the sites file spells it", text)?,
    };
    for (key, empty) in [
        ("cohorts", scope.cohorts.as_ref().is_some_and(Vec::is_empty)),
        ("regions", scope.regions.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty {
            return Err(table.conflict(key, "the list is empty, so it would be for nobody", "at least one, or no such key"));
        }
    }
    Ok(scope)
}
