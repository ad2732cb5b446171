//! `ppmid db`.

use super::Context;
use crate::failure::Outcome;

#[derive(clap::Subcommand)]
pub enum Command {}

pub async fn run(_ctx: &Context, command: Command) -> Outcome {
    match command {}
}

#[derive(clap::Args)]
pub struct CompletionsArgs {}

pub fn completions(_args: CompletionsArgs) -> Outcome {
    unimplemented!()
}
