//! All integration tests, in one binary so that they link once. Each module tells one part of the story.

mod commands;
mod harness;
mod tidy;
