//! Deadlines by device model: after a group of targets moved, those whose steps state a time of their own get it, one statement a
//! statement of the policy, not one a device.

use sqlx::AssertSqlSafe;

use super::{GROUP_ROWS, in_flight};
use crate::{
    clock::Time,
    db::{DbResult, Tx, rows},
    ids::DeviceId,
    policy::{DeadlineFor, Steps},
    sql,
};

/// The targets that have just moved.
#[derive(Debug, Clone, Copy)]
pub enum Moved<'a> {
    Batch(i64),
    Devices(&'a [DeviceId]),
}

/// Sets the deadline of what is out and moved at `now`, in this transaction, where the steps of its model state one; the rest keep what
/// they were given.
pub async fn set_deadlines(tx: &mut Tx, plan: i64, moved: Moved<'_>, steps: &Steps, now: Time) -> DbResult<()> {
    for (devices, within) in steps.deadlines() {
        let answer_by = now.plus_millis(within.millis());
        match moved {
            Moved::Batch(batch) => {
                set(tx, plan, "targets.batch_id = cast($7 as bigint)", &batch.to_string(), devices, answer_by, now).await?
            }
            Moved::Devices(all) => {
                for group in all.chunks(GROUP_ROWS) {
                    let (json, among) = rows::integers(tx, 7, group.iter().map(|d| d.to_db()));
                    set(tx, plan, &format!("targets.device_id {among}"), &json, devices, answer_by, now).await?;
                }
            }
        }
    }
    Ok(())
}

/// One statement of the policy. `which` is a condition with the parameter `$7`.
async fn set(
    tx: &mut Tx,
    plan: i64,
    which: &str,
    parameter: &str,
    devices: DeadlineFor<'_>,
    answer_by: Time,
    now: Time,
) -> DbResult<()> {
    let (condition, first, second, hardware) = match devices {
        DeadlineFor::Cohort(cohort) => ("sites.cohort = $4 and $5 = '' and $6 = -1", cohort.as_str(), "", None),
        DeadlineFor::Model(key) => {
            let any = "sites.manufacturer = $4 and sites.model = $5 and (sites.hardware_version = $6 or $6 = -1)";
            (any, key.manufacturer.as_str(), key.model.as_str(), key.hardware_version)
        }
    };
    let sql = format!(
        "update targets set answer_by = $3 where plan_id = $1 and updated_at = $2 and state in ({}) and {which}
           and exists (select 1 from sites where sites.device_id = targets.device_id and {condition})",
        in_flight()
    );
    let hardware = hardware.map_or(-1, i64::from);
    sql!(tx, c => sqlx::query(AssertSqlSafe(sql)).bind(plan).bind(now.0).bind(answer_by.0).bind(first).bind(second).bind(hardware)
        .bind(parameter).execute(c).await?.rows_affected());
    Ok(())
}
