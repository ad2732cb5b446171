//! The table `images`: which images were verified and added, with their manifest as it was signed, and which were revoked.
//! Holds no bytes (that is `vault`) and judges nothing: a row says what was true when it was added.

mod add;

pub use add::{ImageError, add_image, revoke_image};

use super::{CheckedImage, Envelope, ImageRefusal, Manifest, Trust, check_trusted};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    ids::ImageId,
    sql,
};

/// An image as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    pub id: ImageId,
    /// The DSSE envelope as it was signed, and the same, read.
    pub envelope_text: String,
    pub envelope: Envelope,
    pub manifest: Manifest,
    pub added_at: Time,
    pub added_by: String,
    pub revoked: Option<Revocation>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Revocation {
    pub at: Time,
    pub by: String,
    pub reason: String,
}

/// The columns of [`COLUMNS`], in that order.
type Row = (String, String, i64, String, Option<i64>, Option<String>, Option<String>);

const COLUMNS: &str = "image_id, manifest, added_at, added_by, revoked_at, revoked_by, revoked_reason";

impl TryFrom<Row> for StoredImage {
    type Error = DbError;

    fn try_from((image_id, manifest, added_at, added_by, revoked_at, revoked_by, reason): Row) -> DbResult<StoredImage> {
        let bad = |column, found: &dyn std::fmt::Display| DbError::bad_row("images", &image_id, column, found);
        let envelope = Envelope::from_json(manifest.as_bytes()).map_err(|e| bad("manifest", &e))?;
        Ok(StoredImage {
            id: image_id.parse().map_err(|_| bad("image_id", &image_id))?,
            manifest: Manifest::from_json(&envelope.payload).map_err(|e| bad("manifest", &e))?,
            envelope,
            envelope_text: manifest,
            added_at: Time(added_at),
            added_by,
            revoked: revoked_at.map(|at| Revocation {
                at: Time(at),
                by: revoked_by.unwrap_or_default(),
                reason: reason.unwrap_or_default(),
            }),
        })
    }
}

/// Adds a row unless the image has one; says whether it did.
pub async fn insert(tx: &mut Tx, id: ImageId, envelope_text: &str, manifest: &Manifest, at: Time, by: &str) -> DbResult<bool> {
    const SQL: &str = "insert into images (image_id, size, firmware_version, manifest, added_at, added_by) \
                       values ($1, $2, $3, $4, $5, $6) on conflict (image_id) do nothing";
    let size = i64::try_from(manifest.image_size).unwrap_or(i64::MAX);
    let rows = sql!(tx, c => sqlx::query(SQL)
        .bind(id.to_string())
        .bind(size)
        .bind(&manifest.firmware_version)
        .bind(envelope_text)
        .bind(at.0)
        .bind(by)
        .execute(c)
        .await?
        .rows_affected());
    Ok(rows == 1)
}

pub async fn get(tx: &mut Tx, id: ImageId) -> DbResult<Option<StoredImage>> {
    let select = format!("select {COLUMNS} from images where image_id = $1 order by image_id");
    let row: Option<Row> =
        sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(id.to_string()).fetch_optional(c).await?);
    row.map(StoredImage::try_from).transpose()
}

/// Every image, in the order they were added.
pub async fn list(tx: &mut Tx) -> DbResult<Vec<StoredImage>> {
    let select = format!("select {COLUMNS} from images order by added_at, image_id");
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(sqlx::AssertSqlSafe(select)).fetch_all(c).await?);
    rows.into_iter().map(StoredImage::try_from).collect()
}

/// Up to `limit` ids that begin with `prefix`: lower-case hexadecimal digits, checked by the caller.
pub async fn find(tx: &mut Tx, prefix: &str, limit: i64) -> DbResult<Vec<ImageId>> {
    const SQL: &str = "select image_id from images where image_id >= $1 and image_id <= $2 order by image_id limit $3";
    let last = format!("{prefix:f<64}");
    let ids: Vec<String> = sql!(tx, c => sqlx::query_scalar(SQL).bind(prefix).bind(&last).bind(limit).fetch_all(c).await?);
    ids.into_iter().map(|id| id.parse().map_err(|_| DbError::bad_row("images", &id, "image_id", &id))).collect()
}

/// Replaces the envelope, if it is still the one that was read; says whether it was.
pub async fn replace_envelope(tx: &mut Tx, id: ImageId, read: &str, envelope_text: &str) -> DbResult<bool> {
    const SQL: &str = "update images set manifest = $3 where image_id = $1 and manifest = $2";
    let rows =
        sql!(tx, c => sqlx::query(SQL).bind(id.to_string()).bind(read).bind(envelope_text).execute(c).await?.rows_affected());
    Ok(rows == 1)
}

/// Revokes an image that is not revoked yet; says whether it did. There is no way back.
pub async fn revoke(tx: &mut Tx, id: ImageId, at: Time, by: &str, reason: &str) -> DbResult<bool> {
    const SQL: &str = "update images set revoked_at = $2, revoked_by = $3, revoked_reason = $4 \
                       where image_id = $1 and revoked_at is null";
    let rows =
        sql!(tx, c => sqlx::query(SQL).bind(id.to_string()).bind(at.0).bind(by).bind(reason).execute(c).await?.rows_affected());
    Ok(rows == 1)
}

/// Whether a campaign may use the image as of `now`. One row and a signature or two: cheap enough for every batch. The
/// bytes are not looked at: [`super::fetch_bytes`] hashes them.
pub async fn check_stored(tx: &mut Tx, trust: &Trust, id: ImageId, now: Time) -> DbResult<Result<CheckedImage, ImageRefusal>> {
    Ok(match get(tx, id).await? {
        None => Err(ImageRefusal::NotStored { id }),
        Some(image) => check_trusted(&image, trust, now).map(|trusted_by| CheckedImage { image, trusted_by }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::testing, image::manifest};

    #[tokio::test]
    async fn a_row_is_added_once_found_by_prefix_and_revoked_once() {
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let manifest = manifest::tests::example();
            let text = Envelope::new(manifest.to_json().into_bytes()).to_json();
            let ids = ["0123456700", "0123456800", "ff"].map(|p| format!("{p:0<64}").parse::<ImageId>().unwrap());
            for (n, id) in ids.iter().enumerate() {
                assert!(insert(&mut tx, *id, &text, &manifest, Time(10 - n as i64), "ann@host").await.unwrap());
                assert!(!insert(&mut tx, *id, "other", &manifest, Time(99), "bob@host").await.unwrap());
            }
            let stored = get(&mut tx, ids[0]).await.unwrap().unwrap();
            assert_eq!((&stored.manifest, stored.added_by.as_str(), stored.added_at), (&manifest, "ann@host", Time(10)));
            assert_eq!(get(&mut tx, ImageId([9; 32])).await.unwrap(), None);
            let listed: Vec<ImageId> = list(&mut tx).await.unwrap().iter().map(|i| i.id).collect();
            assert_eq!(listed, [ids[2], ids[1], ids[0]], "in the order they were added");

            assert_eq!(find(&mut tx, "01234567", 2).await.unwrap(), [ids[0]]);
            assert_eq!(find(&mut tx, "012345", 9).await.unwrap(), [ids[0], ids[1]]);
            assert_eq!(find(&mut tx, &ids[2].to_string(), 2).await.unwrap(), [ids[2]]);
            assert!(find(&mut tx, "aaaaaaaa", 2).await.unwrap().is_empty());

            assert!(revoke(&mut tx, ids[0], Time(20), "ann@host", "bricks displays").await.unwrap());
            assert!(!revoke(&mut tx, ids[0], Time(30), "bob@host", "again").await.unwrap());
            let revoked = get(&mut tx, ids[0]).await.unwrap().unwrap().revoked.unwrap();
            assert_eq!(revoked, Revocation { at: Time(20), by: "ann@host".into(), reason: "bricks displays".into() });

            assert!(!replace_envelope(&mut tx, ids[1], "stale", &text).await.unwrap());
            assert!(replace_envelope(&mut tx, ids[1], &text, "damaged").await.unwrap());
            assert!(matches!(get(&mut tx, ids[1]).await, Err(DbError::BadRow { column: "manifest", .. })), "{}", t.engine);
            drop(tx);
            t.db.close().await;
        }
    }
}
