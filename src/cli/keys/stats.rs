//! `ppmid keys stats`: the cases in figures, now.

use crate::{
    cli::{Context, Output, table},
    failure::Outcome,
};

pub async fn run(ctx: &Context) -> Outcome {
    let stats = ctx.app().await?.key_stats().await?;
    let (c, ages) = (stats.cases, stats.age_days);
    let forecast = stats.forecast_days.map_or(String::new(), |d| d.to_string());
    if ctx.output() != Output::Table {
        let fields = [
            ("handled_by_the_tool", stats.handled_by_the_tool.to_string()),
            ("sites_with_a_case", stats.sites_with_a_case.to_string()),
            ("retrying", c.retrying.to_string()),
            ("investigating", c.investigating.to_string()),
            ("resolved", c.resolved.to_string()),
            ("closed", c.closed.to_string()),
            ("share_percent", stats.share_percent.to_string()),
            ("retrying_percent", stats.retrying_percent.to_string()),
            ("age_p50_days", ages.p50.to_string()),
            ("age_p90_days", ages.p90.to_string()),
            ("age_max_days", ages.max.to_string()),
            ("resolved_per_day", stats.resolved_per_day.to_string()),
            ("forecast_days", forecast),
        ];
        return table::object(ctx.output(), &fields, &stats);
    }
    let cases = c.retrying + c.investigating + c.resolved + c.closed;
    table::line(format!(
        "{} sites handled by the transitional tool; {} with a missing key, now or once ({:.2}%), in {cases} cases",
        stats.handled_by_the_tool, stats.sites_with_a_case, stats.share_percent
    ))?;
    table::line(format!(
        "  {} retrying ({:.1}% of those sites), {} investigating, {} resolved, {} closed",
        c.retrying, stats.retrying_percent, c.investigating, c.resolved, c.closed
    ))?;
    table::line(format!(
        "  {} open: half older than {} days, a tenth than {}, the oldest {}",
        stats.open, ages.p50, ages.p90, ages.max
    ))?;
    let until = if forecast.is_empty() { String::new() } else { format!("; at that rate nothing is retried in {forecast} days") };
    table::line(format!(
        "  {} resolved a day over the last thirty days, or since the first case{until}",
        stats.resolved_per_day
    ))?;
    for row in &stats.by_cohort {
        table::line(format!("  {:>9}  {:<8} {}", row.cases, row.cohort.as_deref().unwrap_or("unknown"), row.state))?;
    }
    Ok(())
}
