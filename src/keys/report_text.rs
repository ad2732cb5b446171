//! The report of missing keys as people read it. Not HTML or CSV, which are the command line's.

use std::fmt::Write as _;

use super::{KeyReport, Part};

impl Part {
    pub fn figures(&self) -> [(&'static str, i64); 7] {
        [
            ("handled", self.handled),
            ("failed", self.failed),
            ("outside_the_tool", self.outside_the_tool),
            ("retrying", self.retrying),
            ("investigating", self.investigating),
            ("resolved", self.resolved),
            ("closed", self.closed),
        ]
    }

    /// The letter's two shares, in percent.
    pub fn shares(&self) -> [(&'static str, f64); 2] {
        [("failed_percent", self.failed_percent), ("retrying_percent", self.retrying_percent)]
    }
}

impl KeyReport {
    /// The whole, then each cohort, then each supplier: section, name, counts.
    pub fn parts(&self) -> Vec<(&'static str, String, Part)> {
        let cohorts = self.by_cohort.iter().map(|(name, part)| ("cohort", name.clone(), *part));
        let suppliers = self.by_supplier.iter().map(|(name, part)| ("supplier", name.clone(), *part));
        [("all", String::new(), self.all)].into_iter().chain(cohorts).chain(suppliers).collect()
    }

    /// For people: the paragraph, then the figures. Names from files are as they were written.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut say = |line: String| writeln!(out, "{line}").expect("writing to memory");
        say(format!("Missing PPMID keys as of {}", self.as_of));
        say(format!(
            "{} sites handled by the transitional tool; {} failed ({}%)",
            self.all.handled,
            self.all.failed - self.all.outside_the_tool,
            self.all.failed_percent
        ));
        if self.all.outside_the_tool > 0 {
            say(format!(
                "{} more that it did not handle have a case, by DCC's message or by hand: {} in all",
                self.all.outside_the_tool, self.all.failed
            ));
        }
        say(format!(
            "{} continue to be retried ({}% of all that failed), {} are under investigation, {} came good, {} were closed",
            self.all.retrying, self.all.retrying_percent, self.all.investigating, self.all.resolved, self.all.closed
        ));
        if let Some(s) = &self.since {
            say(format!(
                "since {}: {} came good, {} were closed; then {} had failed, {} were retried, {} under investigation",
                s.moment, s.resolved_since, s.closed_since, s.then.failed, s.then.retrying, s.then.investigating
            ));
        }
        say(String::new());
        say(format!(
            "{:<20} {:>9} {:>8} {:>8} {:>9} {:>14} {:>9} {:>7}",
            "", "handled", "failed", "percent", "retrying", "investigating", "resolved", "closed"
        ));
        for (section, name, p) in self.parts() {
            let name = if name.is_empty() { "all".to_string() } else { format!("{section} {name}") };
            say(format!(
                "{name:<20} {:>9} {:>8} {:>8} {:>9} {:>14} {:>9} {:>7}",
                p.handled, p.failed, p.failed_percent, p.retrying, p.investigating, p.resolved, p.closed
            ));
        }
        for (title, counts) in [("open, by last error", &self.open_by_error), ("closed, by reason", &self.closed_by_reason)] {
            if !counts.is_empty() {
                say(format!("\n{title}"));
                counts.iter().for_each(|(name, n)| say(format!("{n:>9}  {name}")));
            }
        }
        if !self.oldest.is_empty() {
            say("\noldest open cases".into());
            for o in &self.oldest {
                let incident = o.incident.as_deref().map_or(String::new(), |i| format!("  {i}"));
                let error = o.last_error.as_deref().unwrap_or("no error told");
                say(format!("{:>5} days  {}  {:<13}  {error}{incident}", o.days, o.device_id, o.state));
            }
        }
        out
    }
}
