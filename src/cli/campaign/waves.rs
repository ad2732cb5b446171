//! Waves on the command line: their sizes for a new campaign, how they stand, and a person's word that one may go on.

use super::super::{Context, table, who::os_user_at_host};
use crate::{
    app::{InFlight, WaveStatus},
    campaign::Plan,
    failure::{Failure, Outcome},
    policy::WaveSize,
};

/// Let a wave that waits for a person go on; what is known by now is not held against it again
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ppmid campaign go-on spring --wave canary --by jane.doe --reason \"failures are a known fault of 12 hubs\"\n  ppmid campaign status spring   (what stops it, with the numbers)"
)]
pub struct GoOnArgs {
    /// Id or name
    campaign: String,
    /// The wave, by its name
    #[arg(long, value_name = "NAME")]
    wave: String,
    /// Who decides
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Why, in a few words; it is in the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub async fn go_on(ctx: &Context, args: &GoOnArgs) -> Outcome {
    let app = ctx.app().await?;
    let (done, changed) = app.let_wave_go_on(&args.campaign, &args.wave, &args.by, &args.reason, &os_user_at_host()).await?;
    let what = match changed {
        true => format!("wave {} goes on, says {} (asserted by {}); it is {}", args.wave, args.by, os_user_at_host(), done.state),
        false => format!("wave {} goes on already; nothing was changed", args.wave),
    };
    super::say(ctx, &done, &what)
}

/// `canary=0.5%`, `canary=500`, `all=rest`.
pub fn sizes(texts: &[String]) -> Outcome<Vec<(String, WaveSize)>> {
    let one = |text: &String| {
        let (name, size) = text.split_once('=')?;
        size.parse().ok().map(|size| (name.to_string(), size))
    };
    let wrong = |text: &String| {
        Failure::usage(format!("--wave {text:?} is no wave and its size"))
            .help(format!("--wave NAME=SIZE, where a size is {}", WaveSize::WANTED))
    };
    texts.iter().map(|text| one(text).ok_or_else(|| wrong(text))).collect()
}

/// The waves of a plan, one a line.
pub fn planned(plan: &Plan) -> Outcome {
    let Some(waves) = &plan.waves else { return Ok(()) };
    for (n, wave) in waves.waves.iter().enumerate() {
        let watch = &wave.wave.watch;
        let mut asked = vec![format!("at least {} answers", watch.minimum_sample)];
        asked.extend(watch.max_failures.map(|most| format!("at most {most} failures")));
        asked.extend(watch.least_success.map(|least| format!("at least {least} success")));
        asked.push(format!("soak {}", watch.soak));
        asked.extend(watch.deadline.map(|deadline| format!("deadline {deadline}")));
        table::line(format!(
            "  wave {:<2} {:<12} {:>9} sites and {} held ({}): {}",
            n + 1,
            wave.wave.name,
            wave.eligible,
            wave.held,
            wave.wave.size,
            asked.join(", ")
        ))?;
    }
    Ok(())
}

/// The waves of a status, and the caps. Nothing where everything goes at once.
pub fn status(waves: &[WaveStatus], in_flight: Option<&InFlight>) -> Outcome {
    if let Some(out) = in_flight {
        let cap = |cap: Option<i64>| cap.map_or("no cap".to_string(), |cap| format!("of at most {cap}"));
        table::line(format!(
            "  in flight  {} devices ({}); of all campaigns {} ({})",
            out.now,
            cap(out.cap),
            out.in_all,
            cap(out.cap_in_all)
        ))?;
    }
    for wave in waves.iter().filter(|w| w.watch.is_some()) {
        table::line(format!("  wave {:<2} {:<12} {}", wave.number, wave.name, words(wave)))?;
    }
    Ok(())
}

/// How a wave stands, in a sentence.
pub fn words(wave: &WaveStatus) -> String {
    let states: Vec<String> = wave.by_state.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let mut said = format!("{}: {}", wave.state, if states.is_empty() { "no devices".to_string() } else { states.join(", ") });
    if let Some(numbers) = &wave.numbers {
        let percent = |share: Option<f64>| share.map_or("-".to_string(), |share| format!("{:.2}%", share * 100.0));
        said += &format!("; success {}, failure {}", percent(numbers.success_share), percent(numbers.failure_share));
    }
    if let (Some(verdict), Some(because)) = (&wave.verdict, &wave.because) {
        said += &format!("; {verdict}: {because}");
    }
    said
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read() {
        let read = |texts: &[&str]| super::sizes(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let fine = read(&["canary=0.5%", "early=500", "rest=rest"]).unwrap();
        assert_eq!(fine.iter().map(|(n, s)| format!("{n} {s}")).collect::<Vec<_>>(), ["canary 0.5%", "early 500", "rest rest"]);
        for bad in ["canary", "canary=", "canary=half", "canary=0", "canary=101%"] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}
