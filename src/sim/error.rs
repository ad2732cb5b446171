//! What keeps the simulator from starting.

use std::{net::SocketAddr, path::PathBuf};

use crate::{failure::Failure, tls::TlsError};

use super::{orders::OrderError, pki::PkiError, scenario::ScenarioError};

#[derive(Debug, thiserror::Error)]
pub enum SimError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("{what} {value} is not on this machine's loopback")]
    NotLoopback { what: &'static str, value: String },
    #[error("--deliver-to {0:?} is not an address such as http://127.0.0.1:8081/duis/receive")]
    DeliverTo(String),
    #[error("--deliver-to {0:?} is https, and there is no certificate to show")]
    NoTls(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the certificate of the SMETS1 service provider cannot be made")]
    Provider,
    #[error("the scenario's timetable cannot be used: {0}")]
    Order(#[from] OrderError),
    #[error("the DCC certificate names no EUI in its subject")]
    NoDccId,
    #[error("no supplier certificate names an EUI in its subject")]
    NoUser,
    #[error("cannot use {path}: {why}")]
    Table { path: String, why: String },
    #[error("cannot write the synthetic portfolio to {path}: {source}")]
    Portfolio { path: PathBuf, source: csv::Error },
}

impl From<SimError> for Failure {
    fn from(error: SimError) -> Failure {
        let failure = Failure::failed(error.to_string());
        let error = match error {
            SimError::Tls(error) => return error.into(),
            SimError::Pki(error) => return error.into(),
            error => error,
        };
        match &error {
            SimError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                failure.help("something listens there already: stop it, or choose another address with --listen 127.0.0.1:PORT")
            }
            SimError::Listen { .. } => failure.help("choose another address with --listen 127.0.0.1:PORT"),
            SimError::NotLoopback { .. } => {
                let failure = Failure::usage(error.to_string());
                failure.help("the simulator is for trials on one machine: use 127.0.0.1, ::1 or localhost")
            }
            SimError::DeliverTo(_) => Failure::usage(error.to_string()).help("give the product's receiver, over http"),
            SimError::NoTls(_) => Failure::usage(error.to_string())
                .help("give --tls-ca, --tls-certificate and --tls-key, or deliver to an http address"),
            SimError::Order(_) => failure.help("`ppmid dcc-sim --print-scenario` shows what an alert needs"),
            SimError::Tls(_) | SimError::Pki(_) | SimError::Provider => failure,
            SimError::NoDccId | SimError::NoUser => {
                failure.help("its subject needs an x500UniqueIdentifier; --make-certificates DIR makes some that have it")
            }
            SimError::Portfolio { .. } => failure.help("check that the folder exists, may be written and has room"),
            SimError::Table { .. } => failure
                .help("population.devices_file is a CSV with a device_id column, such as sites.csv")
                .help("registrations.file is a CSV such as registrations.csv: mpan, supplier_mpid, effective_from, effective_to"),
        }
    }
}

impl From<PkiError> for Failure {
    fn from(error: PkiError) -> Failure {
        let failure = Failure::failed(error.to_string());
        match error {
            PkiError::Write { .. } => failure.help("check that the folder may be written; existing files are never overwritten"),
            PkiError::Key | PkiError::Encode(_) => failure,
        }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Failure {
        Failure::failed(format!("the scenario cannot be used: {error}"))
            .help("`ppmid dcc-sim --print-scenario` shows every key; each has a default, and without a file nothing goes wrong")
    }
}
