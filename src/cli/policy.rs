//! `ppmid policy`.

use super::Context;
use crate::failure::Outcome;

#[derive(clap::Subcommand)]
pub enum Command {}

pub async fn run(_ctx: &Context, command: Command) -> Outcome {
    match command {}
}
