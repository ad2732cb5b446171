//! What can go wrong at the gateway, and what a person does about it.

use std::{io, net::SocketAddr};

use super::Remedy;
use crate::{db::DbError, failure::Failure, ids::RequestId};

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Db(#[from] DbError),
    /// A transition from a state the request is not in (any more): read again, never overwrite.
    #[error("request {id} is {found}, so it cannot become {wanted}")]
    StaleRequest { id: RequestId, wanted: &'static str, found: String },
    /// Somebody else settled some of these messages first: read again.
    #[error("{stale} of {wanted} inbound messages are no longer in the state they were read in")]
    StaleMessages { wanted: usize, stale: usize },
    #[error("the receiver cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the gateway's address {url:?} cannot be used: {why}")]
    BaseUrl { url: String, why: String },
    #[error("the HTTP client cannot be made")]
    Client { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the last counter of RequestIDs of {originator} is used up")]
    CounterExhausted { originator: crate::ids::UserId },
}

impl GatewayError {
    /// Whether reading again and deciding anew is the answer.
    pub fn is_stale(&self) -> bool {
        matches!(self, GatewayError::StaleRequest { .. } | GatewayError::StaleMessages { .. })
    }
}

impl GatewayError {
    /// What follows from it; the words for a person are its [`Failure`]'s.
    pub fn remedy(&self) -> Remedy {
        match self {
            GatewayError::Db(_) => Remedy::RetryLater,
            GatewayError::StaleRequest { .. } | GatewayError::StaleMessages { .. } => Remedy::AskBeforeRetrying,
            GatewayError::Listen { .. } => Remedy::FixAndResubmit("set receiver.listen to an address and port that are free"),
            GatewayError::BaseUrl { .. } => Remedy::FixAndResubmit("set gateway.base_url, such as http://127.0.0.1:8079"),
            GatewayError::Client { .. } => {
                Remedy::FixAndResubmit("this is a fault of the program or of this machine; run the command again with -v")
            }
            GatewayError::CounterExhausted { .. } => {
                Remedy::FixAndResubmit("set another organisation.user_id, as DCC assigned it")
            }
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(e: GatewayError) -> Failure {
        let (failure, remedy) = (Failure::failed(e.to_string()), e.remedy().to_string());
        match e {
            GatewayError::Db(e) => e.into(),
            GatewayError::StaleRequest { .. } | GatewayError::StaleMessages { .. } => {
                failure.help("it was changed meanwhile; look at it again with `ppmid outbox show` or `ppmid inbox show`")
            }
            GatewayError::Listen { address, source } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    Failure::failed(format!("the receiver cannot listen on {address}: another program uses that port"))
                        .help("stop the other program (perhaps another `ppmid serve`), or set another receiver.listen")
                }
                io::ErrorKind::PermissionDenied => Failure::failed(format!("the receiver may not listen on {address}"))
                    .help("ports below 1024 need a privilege; set receiver.listen to a higher port"),
                io::ErrorKind::AddrNotAvailable => {
                    Failure::failed(format!("the receiver cannot listen on {address}: this machine has no such address"))
                        .help("set receiver.listen to an address of this machine")
                }
                _ => Failure::failed(format!("the receiver cannot listen on {address}: {source}")).help("check receiver.listen"),
            },
            GatewayError::Client { source } => Failure::failed(format!("the HTTP client cannot be made: {source}")).help(remedy),
            GatewayError::BaseUrl { .. } | GatewayError::CounterExhausted { .. } => failure.help(remedy),
        }
    }
}
