//! The loops that do the work: dispatch, settle, watch, recheck. They take no input; they run on a period or a nudge.
