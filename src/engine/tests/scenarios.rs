//! Scenarios of the same simulation that are told by name.
