//! Policy sets in the database: each one that decided anything is kept whole, so that what was decided can be understood later.

use serde::{Deserialize, Serialize};

use super::PolicySet;
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

/// Policy files are short texts: the default of zstd.
const ZSTD_LEVEL: i32 = 3;
/// Nine files of at most a mebibyte each.
const FILES_MAX_BYTES: usize = 16 << 20;

/// One file of a set that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    pub name: String,
    pub text: String,
    /// Where it came from: the path of the file, or `compiled in`.
    pub origin: String,
}

/// A set that decided something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSet {
    pub id: i64,
    pub hash: String,
    pub first_used: Time,
    pub files: Vec<KeptFile>,
}

/// Keeps the set, if it is not kept already; gives its id.
pub async fn keep(tx: &mut Tx, set: &PolicySet, now: Time) -> DbResult<i64> {
    let hash = set.hash();
    let known = "select id from policy_sets where hash = $1 order by id";
    let found: Option<i64> = sql!(&mut *tx, c => sqlx::query_scalar(known).bind(&hash).fetch_optional(c).await)?;
    if let Some(id) = found {
        return Ok(id);
    }
    let files: Vec<KeptFile> = set
        .files()
        .iter()
        .map(|f| KeptFile { name: f.name.to_string(), text: f.text.clone(), origin: f.origin.to_string() })
        .collect();
    let json = serde_json::to_vec(&files).expect("policy files are text");
    let body = zstd::bulk::compress(&json, ZSTD_LEVEL).expect("memory is written to");
    sql!(&mut *tx, c => sqlx::query("insert into policy_sets (hash, first_used, files) values ($1, $2, $3) on conflict (hash) do nothing")
        .bind(&hash).bind(now.0).bind(body).execute(c).await?.rows_affected());
    Ok(sql!(tx, c => sqlx::query_scalar(known).bind(&hash).fetch_one(c).await)?)
}

/// The hash of a set.
pub async fn hash_of(tx: &mut Tx, id: i64) -> DbResult<Option<String>> {
    Ok(
        sql!(tx, c => sqlx::query_scalar("select hash from policy_sets where id = $1 order by id").bind(id).fetch_optional(c).await)?,
    )
}

/// A set by its id.
pub async fn get(tx: &mut Tx, id: i64) -> DbResult<Option<KeptSet>> {
    let row: Option<(i64, String, i64, Vec<u8>)> = sql!(tx, c => sqlx::query_as("select id, hash, first_used, files from policy_sets where id = $1").bind(id).fetch_optional(c).await)?;
    let Some((id, hash, first_used, body)) = row else { return Ok(None) };
    let bad = || DbError::bad_row("policy_sets", id, "files", format!("{} bytes", body.len()));
    let json = zstd::bulk::decompress(&body, FILES_MAX_BYTES).map_err(|_| bad())?;
    let files = serde_json::from_slice(&json).map_err(|_| bad())?;
    Ok(Some(KeptSet { id, hash, first_used: Time(first_used), files }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[tokio::test]
    async fn a_set_is_kept_once_and_whole() {
        for t in testing::databases().await {
            let set = PolicySet::compiled();
            let mut tx = t.db.begin().await.unwrap();
            let id = keep(&mut tx, &set, Time(5)).await.unwrap();
            assert_eq!(keep(&mut tx, &set, Time(6)).await.unwrap(), id, "{}", t.engine);
            let kept = get(&mut tx, id).await.unwrap().expect("it was kept");
            assert_eq!((kept.hash, kept.first_used), (set.hash(), Time(5)), "{}", t.engine);
            let texts: Vec<&str> = kept.files.iter().map(|f| f.text.as_str()).collect();
            assert_eq!(texts, set.files().iter().map(|f| f.text.as_str()).collect::<Vec<_>>(), "{}", t.engine);
            assert_eq!(hash_of(&mut tx, id).await.unwrap(), Some(set.hash()), "{}", t.engine);
            assert_eq!((get(&mut tx, id + 1).await.unwrap(), hash_of(&mut tx, id + 1).await.unwrap()), (None, None));
        }
    }
}
