//! A cron expression, evaluated on what a clock on the wall shows and on no moment in time: the `cron` crate's own time zones fire twice in
//! autumn and skip a day in spring, so it is asked as if every wall showed UTC. Pure. Promise: any text is either understood or
//! refused, field named; asking for the next time ends within the crate's years (to 2100).

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use crate::{clock::Wall, failure::Failure};

/// Room for every minute of an hour and every day of a month, written out.
pub const EXPRESSION_CHARS: usize = 400;
/// What is repeated of a field that is not understood.
const SHOWN_CHARS: usize = 40;
const FIELDS: &str = "six fields, or seven: second, minute, hour, day of month, month, day of week, and the year if it matters: \"0 30 2 * * MON-FRI\"";
/// The fields in order, and what each takes.
const UNITS: [(&str, &str); 7] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of week", "names, a week beginning with SUN: MON-FRI, or SAT,SUN"),
    ("year", "1970 to 2100"),
];
const DAY_OF_WEEK: usize = 5;

/// A cron expression that was understood.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    cron: cron::Schedule,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    #[error("the cron expression has {0} characters, more than {EXPRESSION_CHARS}")]
    TooLong(usize),
    #[error("the cron expression has {0} fields")]
    Fields(usize),
    #[error("the cron expression's {unit} is {found:?}, which is not understood")]
    Field { unit: &'static str, found: String, takes: &'static str },
    /// Some count from Sunday, some from Monday.
    #[error("the cron expression's day of week is {0:?}: which day a number means differs from cron to cron")]
    DayNumber(String),
    #[error("the cron expression is {0:?}, which is not understood")]
    Other(String),
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

impl Expression {
    pub fn parse(text: &str) -> Result<Expression, BadExpression> {
        let chars = text.chars().count();
        if chars > EXPRESSION_CHARS {
            return Err(BadExpression::TooLong(chars));
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let written = fields.join(" ");
        let is_word = fields.len() == 1 && written.starts_with('@');
        if !is_word {
            check_fields(&fields)?;
        }
        let cron: cron::Schedule = written.parse().map_err(|_| BadExpression::Other(shown(&written)))?;
        Ok(Expression { text: written, cron })
    }

    /// The first time after this one that matches.
    pub fn next_wall(&self, after: Wall) -> Option<Wall> {
        let after: DateTime<Utc> = DateTime::from_timestamp(after.0, 0)?;
        self.cron.after(&after).next().map(|next| Wall(next.timestamp()))
    }
}

/// Each field by itself, so that the one that is wrong is named.
fn check_fields(fields: &[&str]) -> Result<(), BadExpression> {
    if !(UNITS.len() - 1..=UNITS.len()).contains(&fields.len()) {
        return Err(BadExpression::Fields(fields.len()));
    }
    let day = fields[DAY_OF_WEEK];
    if day.contains(|c: char| c.is_ascii_digit()) {
        return Err(BadExpression::DayNumber(shown(day)));
    }
    for (n, field) in fields.iter().enumerate() {
        let alone: Vec<&str> = (0..UNITS.len()).map(|unit| if unit == n { *field } else { "*" }).collect();
        if alone.join(" ").parse::<cron::Schedule>().is_err() {
            let (unit, takes) = UNITS[n];
            return Err(BadExpression::Field { unit, found: shown(field), takes });
        }
    }
    Ok(())
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl From<BadExpression> for Failure {
    fn from(e: BadExpression) -> Failure {
        let help = match &e {
            BadExpression::TooLong(_) => "say it with ranges and steps: */5, 8-18, MON-FRI".to_string(),
            BadExpression::Fields(5) => {
                format!("the seconds come first, so put `0` before it; wanted are {FIELDS}")
            }
            BadExpression::Fields(_) | BadExpression::Other(_) => format!("wanted are {FIELDS}"),
            BadExpression::Field { takes, .. } => format!("it takes {takes}; `*`, lists, ranges, and steps such as */15"),
            BadExpression::DayNumber(_) => "name the days: MON-FRI, or SAT,SUN".to_string(),
        };
        Failure::usage(e.to_string()).help(help)
    }
}
