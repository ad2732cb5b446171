//! `ppmid db`: the schema, looked at and brought up to date; and `ppmid completions`.

use clap::CommandFactory;

use super::{Cli, Context, table};
use crate::{
    db::{Db, MigrationState, MigrationStatus, pending_steps, sqlite_path},
    failure::{Failure, Outcome},
};

/// The database's schema: looked at, brought up to date
#[derive(clap::Subcommand)]
pub enum Command {
    /// Bring the database's schema to this program's version, creating a SQLite file that is absent
    #[command(after_help = "Example:\n  ppmid db migrate --database-url postgres://ppmid@localhost/ppmid")]
    Migrate,
    /// Show which steps of the schema the database has; changes nothing
    #[command(after_help = "Example:\n  ppmid db status --output json")]
    Status,
}

pub async fn run(ctx: &Context, command: Command) -> Outcome {
    let url = ctx.settings()?.database_url;
    let steps = match command {
        Command::Migrate => {
            let db = Db::open(&url).await?;
            let steps = db.migration_status().await?;
            db.close().await;
            steps
        }
        Command::Status => status(&url).await?,
    };
    let cells: Vec<Vec<String>> =
        steps.iter().map(|s| vec![s.step.to_string(), s.name.clone(), word(s.state).to_string()]).collect();
    table::print(ctx.output(), &["step", "name", "state"], &cells, &steps)?;
    tell(&steps);
    Ok(())
}

/// The steps of the database as it is. A SQLite file that is absent stays absent.
async fn status(url: &str) -> Outcome<Vec<MigrationStatus>> {
    if let Some(file) = sqlite_path(url)
        && !file.try_exists().unwrap_or(true)
    {
        eprintln!("there is no database at {} yet; the first command that writes makes it", file.display());
        return Ok(pending_steps());
    }
    let db = Db::connect(url).await?;
    let steps = db.migration_status().await?;
    db.close().await;
    Ok(steps)
}

fn word(state: MigrationState) -> &'static str {
    match state {
        MigrationState::Applied => "applied",
        MigrationState::Pending => "pending",
        MigrationState::Unknown => "unknown",
    }
}

/// What to do about it, on stderr: the listing on stdout is for programs too.
fn tell(steps: &[MigrationStatus]) {
    if steps.iter().any(|s| s.state == MigrationState::Unknown) {
        eprintln!("the database was made by a newer ppmid: this one will not open it");
    } else if steps.iter().any(|s| s.state == MigrationState::Pending) {
        eprintln!("steps are pending: `ppmid db migrate` applies them, as does the first command that opens the database");
    }
}

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ppmid completions bash > /etc/bash_completion.d/ppmid")]
pub struct CompletionsArgs {
    /// The shell to make completions for
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints a completion script; needs neither configuration nor database.
pub fn completions(args: CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ppmid", &mut script);
    let script = String::from_utf8(script).map_err(|_| Failure::failed("the completion script is not text"))?;
    table::line(script.trim_end())
}
