//! All integration tests, in one binary so that they link once. Each module tells one part of the story.

mod commands;
mod crash;
mod harness;
mod lab;
mod plain_sequence;
mod tidy;
