//! All integration tests, in one binary so that they link once. Each module tells one part of the story.

mod acceptance;
mod archive;
mod bad_input;
mod certificate_reload;
mod change_of_supply;
mod commands;
mod crash;
mod demo;
mod duis_files;
mod evidence;
mod gateway_down;
mod halt_and_pause;
mod harness;
mod lab;
mod missing_keys;
mod mutual_tls;
mod notify;
mod plain_sequence;
mod policies;
mod reads;
mod restart_takes_up;
mod simulator;
mod thresholds;
mod tidy;
mod windows;
mod wire_peers;
