//! What a message says, once it is read: the schema's element names and spellings, as Rust types. No XML here.

mod alert;
mod inventory;
mod request;
mod response;

pub use alert::*;
pub use inventory::*;
pub use request::*;
pub use response::*;
