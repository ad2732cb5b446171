//! Evidence gathered from real campaigns.
