//! Alarms in the database.

use super::{Alarm, AlarmKind, NewAlarm};
use crate::{
    clock::Time,
    db::{DbError, DbResult, Tx},
    sql,
};

type Row = (i64, String, String, Option<i64>, String, String, i64, Option<i64>, Option<String>, Option<String>);

fn alarm(row: Row) -> DbResult<Alarm> {
    let (id, kind, subject, campaign, sentence, remedy, raised_at, ended_at, ended_by, ended_reason) = row;
    Ok(Alarm {
        kind: kind.parse().map_err(|_| DbError::bad_row("alarms", id, "kind", &kind))?,
        id,
        subject,
        campaign,
        sentence,
        remedy,
        raised_at: Time(raised_at),
        ended_at: ended_at.map(Time),
        ended_by,
        ended_reason,
    })
}

/// Raises an alarm; gives its id, or `None` where one of its kind and subject stands already.
pub async fn raise(tx: &mut Tx, new: &NewAlarm, now: Time) -> DbResult<Option<i64>> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "insert into alarms (kind, subject, campaign_id, sentence, remedy, raised_at) values ($1, $2, $3, $4, $5, $6)
         on conflict do nothing returning id")
        .bind(new.kind.as_str()).bind(&new.subject).bind(new.campaign).bind(&new.sentence).bind(&new.remedy).bind(now.0)
        .fetch_optional(c).await)?)
}

/// Ends the alarm of this kind and subject that stands, if one does: gives its id.
pub async fn end(tx: &mut Tx, kind: AlarmKind, subject: &str, by: &str, why: &str, now: Time) -> DbResult<Option<i64>> {
    Ok(sql!(tx, c => sqlx::query_scalar(
        "update alarms set ended_at = $3, ended_by = $4, ended_reason = $5
         where kind = $1 and subject = $2 and ended_at is null returning id")
        .bind(kind.as_str()).bind(subject).bind(now.0).bind(by).bind(why).fetch_optional(c).await)?)
}

/// Ends one alarm by its id; `false` where it does not stand.
pub async fn end_one(tx: &mut Tx, id: i64, by: &str, why: &str, now: Time) -> DbResult<bool> {
    let ended = sql!(tx, c => sqlx::query(
        "update alarms set ended_at = $2, ended_by = $3, ended_reason = $4 where id = $1 and ended_at is null")
        .bind(id).bind(now.0).bind(by).bind(why).execute(c).await?.rows_affected());
    Ok(ended == 1)
}

/// Whether an alarm of this kind and subject stands.
pub async fn stands(tx: &mut Tx, kind: AlarmKind, subject: &str) -> DbResult<bool> {
    let id: Option<i64> = sql!(tx, c => sqlx::query_scalar(
        "select id from alarms where kind = $1 and subject = $2 and ended_at is null order by id")
        .bind(kind.as_str()).bind(subject).fetch_optional(c).await)?;
    Ok(id.is_some())
}

/// Whether an alarm of this kind and subject was ever raised, whether it stands or has ended.
pub async fn was_raised(tx: &mut Tx, kind: AlarmKind, subject: &str) -> DbResult<bool> {
    let n: i64 = sql!(tx, c => sqlx::query_scalar("select count(*) from alarms where kind = $1 and subject = $2")
        .bind(kind.as_str()).bind(subject).fetch_one(c).await)?;
    Ok(n > 0)
}

/// Says a standing alarm anew, where its numbers changed: it stays the one that was raised.
pub async fn reword(tx: &mut Tx, now: &NewAlarm) -> DbResult<()> {
    sql!(tx, c => sqlx::query("update alarms set sentence = $3, remedy = $4 where kind = $1 and subject = $2 and ended_at is null")
        .bind(now.kind.as_str()).bind(&now.subject).bind(&now.sentence).bind(&now.remedy).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// The last alarm of this kind and subject that ended.
pub async fn last_ended(tx: &mut Tx, kind: AlarmKind, subject: &str) -> DbResult<Option<Alarm>> {
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(
        "select id, kind, subject, campaign_id, sentence, remedy, raised_at, ended_at, ended_by, ended_reason
         from alarms where kind = $1 and subject = $2 and ended_at is not null order by id desc limit 1")
        .bind(kind.as_str()).bind(subject).fetch_optional(c).await)?;
    row.map(alarm).transpose()
}

/// One alarm.
pub async fn get(tx: &mut Tx, id: i64) -> DbResult<Option<Alarm>> {
    let row: Option<Row> = sql!(tx, c => sqlx::query_as(
        "select id, kind, subject, campaign_id, sentence, remedy, raised_at, ended_at, ended_by, ended_reason
         from alarms where id = $1 order by id").bind(id).fetch_optional(c).await)?;
    row.map(alarm).transpose()
}

/// Every alarm of a kind that stands, oldest first.
pub async fn standing_of(tx: &mut Tx, kind: AlarmKind) -> DbResult<Vec<Alarm>> {
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(
        "select id, kind, subject, campaign_id, sentence, remedy, raised_at, ended_at, ended_by, ended_reason from alarms
         where kind = $1 and ended_at is null order by id")
        .bind(kind.as_str()).fetch_all(c).await)?;
    rows.into_iter().map(alarm).collect()
}

/// A page of alarms, oldest first, after this id; those that stand, or all; of one campaign, or of everything.
pub async fn list(tx: &mut Tx, standing: bool, campaign: Option<i64>, after: i64, limit: u32) -> DbResult<Vec<Alarm>> {
    let rows: Vec<Row> = sql!(tx, c => sqlx::query_as(
        "select id, kind, subject, campaign_id, sentence, remedy, raised_at, ended_at, ended_by, ended_reason from alarms
         where id > $1 and ($2 = 0 or ended_at is null) and ($3 < 0 or campaign_id = $3) order by id limit $4")
        .bind(after).bind(i64::from(standing)).bind(campaign.unwrap_or(-1)).bind(i64::from(limit)).fetch_all(c).await)?;
    rows.into_iter().map(alarm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    fn new(subject: &str) -> NewAlarm {
        NewAlarm {
            kind: AlarmKind::CampaignHalted,
            subject: subject.into(),
            campaign: Some(7),
            sentence: "DCC quarantined a request of 50 devices".into(),
            remedy: "process or delete it".into(),
        }
    }

    #[tokio::test]
    async fn one_alarm_of_a_kind_and_subject_stands_and_ends_once() {
        for t in testing::databases().await {
            let mut tx = t.db.begin().await.unwrap();
            let first = raise(&mut tx, &new("batch 1"), Time(10)).await.unwrap().expect("it is new");
            assert_eq!(raise(&mut tx, &new("batch 1"), Time(20)).await.unwrap(), None, "{}: it stands already", t.engine);
            assert!(stands(&mut tx, AlarmKind::CampaignHalted, "batch 1").await.unwrap(), "{}", t.engine);
            assert!(!stands(&mut tx, AlarmKind::ApprovalVoid, "batch 1").await.unwrap(), "{}", t.engine);
            let second = raise(&mut tx, &new("batch 2"), Time(20)).await.unwrap().expect("another subject");
            assert_eq!(
                end(&mut tx, AlarmKind::CampaignHalted, "batch 1", "jane", "deleted", Time(30)).await.unwrap(),
                Some(first)
            );
            assert_eq!(end(&mut tx, AlarmKind::CampaignHalted, "batch 1", "jane", "deleted", Time(31)).await.unwrap(), None);
            assert!(!end_one(&mut tx, first, "joe", "again", Time(32)).await.unwrap());
            let again = raise(&mut tx, &new("batch 1"), Time(40)).await.unwrap().expect("the first has ended");
            let standing: Vec<i64> = list(&mut tx, true, Some(7), 0, 10).await.unwrap().iter().map(|a| a.id).collect();
            assert_eq!(standing, [second, again], "{}", t.engine);
            assert_eq!(list(&mut tx, true, Some(8), 0, 10).await.unwrap(), [], "{}", t.engine);
            let all = list(&mut tx, false, None, 0, 10).await.unwrap();
            assert_eq!((all.len(), all[0].ended_by.as_deref(), all[0].ended_at), (3, Some("jane"), Some(Time(30))));
            assert_eq!(get(&mut tx, first).await.unwrap().as_ref(), all.first());
            assert!(end_one(&mut tx, second, "joe", "seen", Time(50)).await.unwrap());
        }
    }
}
