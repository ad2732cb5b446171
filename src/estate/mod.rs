//! What the supplier knows: sites, who supplies them, their keys, and the industry's product lists. Loaded from CSV files
//! ([`import`]) and corrected by what DCC says. Holds facts and judges nothing: that is `policy`.

mod facts;
pub mod import;
pub mod store;

pub use facts::*;
