//! `ppmid campaign`.

use super::Context;
use crate::failure::Outcome;

#[derive(clap::Subcommand)]
pub enum Command {}

pub async fn run(_ctx: &Context, command: Command) -> Outcome {
    match command {}
}

#[derive(clap::Args)]
pub struct HaltArgs {}

pub async fn halt(_ctx: &Context, _args: HaltArgs) -> Outcome {
    unimplemented!()
}
