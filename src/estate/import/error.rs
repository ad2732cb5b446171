//! What can go wrong with a file as a whole, and what to do about it.

use std::{io, path::PathBuf};

use super::{kinds::Kind, records::RecordError};
use crate::{
    db::DbError,
    estate::store::lock::LockError,
    failure::{Exit, Failure},
};

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the file {path} cannot be opened")]
    Open { path: PathBuf, source: io::Error },
    #[error("{file}: {source}")]
    Read { file: String, source: RecordError },
    #[error("{file} is empty: it has not even a header row")]
    Empty { file: String },
    #[error("the header row of {file} is not UTF-8 text")]
    NotText { file: String },
    #[error("the header row of {file} has the column {column} twice")]
    ColumnTwice { file: String, column: String },
    #[error("the header row of {file} has no column {}", .columns.join(", "))]
    ColumnsMissing { file: String, columns: Vec<&'static str>, kind: Kind },
    #[error("--replace is for registrations, not for {kind}")]
    ReplaceOther { kind: Kind },
    #[error("{rejected} of {read} rows of {file} are bad, and --strict allows none; the database is as it was")]
    Strict { file: String, rejected: u64, read: u64, rejects: PathBuf },
    #[error("the rejected rows cannot be written to {path}; nothing was imported")]
    Rejects { path: PathBuf, source: io::Error },
    #[error("the temporary files for sorting {file} cannot be written in {folder}; nothing was imported")]
    Scratch { file: String, folder: PathBuf, source: io::Error },
    #[error("no other import could be kept out")]
    Lock(#[source] LockError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the import is decided but not yet finished")]
    Unfinished(#[source] DbError),
    #[error("the import stopped half way through the file; nothing was imported")]
    Stopped,
}

impl From<ImportError> for Failure {
    fn from(e: ImportError) -> Failure {
        let line = match &e {
            // The cause says more than we could: a missing file, a folder, a permission.
            ImportError::Open { source, .. } | ImportError::Rejects { source, .. } | ImportError::Scratch { source, .. } => {
                format!("{e} ({source})")
            }
            _ => e.to_string(),
        };
        let failure = Failure::failed(line);
        match e {
            ImportError::Open { .. } => failure.help("check the name and that you may read it; `-` reads standard input"),
            ImportError::Read { source: RecordError::OpenQuote { .. }, .. } => {
                failure.help("close the quote, or fetch the file again if it was cut off; nothing was imported")
            }
            ImportError::Read { source: RecordError::Read(_), .. } => failure.help("fetch the file again; nothing was imported"),
            ImportError::Empty { .. } => failure.help("a file without rows still begins with the names of its columns"),
            ImportError::NotText { .. } => {
                failure.help("save the file as CSV in UTF-8 (a spreadsheet calls it \"CSV UTF-8\"); nothing was imported")
            }
            ImportError::ColumnTwice { .. } => failure.help("rename or remove one of them; nothing was imported"),
            ImportError::ColumnsMissing { kind, .. } => {
                let names =
                    kind.spec().file.iter().map(|(name, needed)| if *needed { (*name).to_string() } else { format!("[{name}]") });
                let note = if kind == Kind::Exclusions { " (one of the first two is needed)" } else { "" };
                failure
                    .help(format!("columns of a {kind} file, in any order: {}{note}", names.collect::<Vec<_>>().join(", ")))
                    .help("nothing was imported")
            }
            ImportError::ReplaceOther { kind } => Failure { exit: Exit::Usage, ..failure }
                .help(format!("leave --replace out: a changed row of {kind} updates by itself")),
            ImportError::Strict { rejects, .. } => failure
                .help(format!("the bad rows and their reasons are in {}", rejects.display()))
                .help("correct the file, or leave --strict out to load the good rows"),
            ImportError::Rejects { .. } => {
                failure.help("make room or copy the file to a folder you may write in, and import it there")
            }
            ImportError::Scratch { .. } => failure.help("make room there and run the command again"),
            ImportError::Lock(LockError::Db(e)) | ImportError::Db(e) => e.into(),
            ImportError::Lock(LockError::File { path, source }) => {
                Failure::failed(format!("the file {} cannot be locked ({source})", path.display()))
                    .help("check that you may write in the folder of the database")
            }
            ImportError::Unfinished(source) => {
                let cause = Failure::from(source);
                let failure = Failure::failed(format!("{line}: {cause}", line = failure.message));
                cause
                    .help
                    .into_iter()
                    .fold(failure, Failure::help)
                    .help("it is finished by itself when ppmid next opens the database; until then nothing is planned or sent")
            }
            ImportError::Stopped => failure.help("run the command again"),
        }
    }
}
