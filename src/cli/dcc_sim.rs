//! `ppmid dcc-sim`.

use super::Context;
use crate::failure::Outcome;

#[derive(clap::Args)]
pub struct Args {}

pub async fn run(_ctx: &Context, _args: Args) -> Outcome {
    unimplemented!()
}
