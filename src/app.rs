//! The application: database, settings and clock in one hand, and the verbs people ask for. Transactions that touch two
//! rooms live here.

use std::sync::Arc;

use crate::{clock::Clock, config::Settings, db::Db, failure::Outcome};

#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub settings: Arc<Settings>,
    pub clock: Clock,
}

impl App {
    pub async fn open(settings: Settings, clock: Clock) -> Outcome<App> {
        let db = Db::open(&settings.database_url).await?;
        Ok(App { db, settings: Arc::new(settings), clock })
    }
}
