//! The archive of the inbox on both engines.
