//! What is asked of a case's site: the same answer whether it was copied beside the case or is looked up, whatever was imported since.

use super::*;
use crate::{
    estate::import,
    keys::{self, CaseFilter, CaseOrder, store as cases},
};

const DAY: i64 = 86_400_000;

impl Lab {
    async fn sites_of(&self, filter: CaseFilter) -> Vec<u64> {
        let mut tx = self.app.db.read().await.unwrap();
        let day = self.app.now().london_day();
        let (found, _) = cases::list(&mut tx, &filter, (CaseOrder::Case, false), day, None, 100).await.unwrap();
        found.iter().map(|c| c.device_id.0 - device(0).0).collect()
    }

    async fn held_by(&self, mpid: &str) -> Vec<u64> {
        self.sites_of(CaseFilter { mpid: mpid.parse().ok(), ..CaseFilter::default() }).await
    }

    async fn of_model(&self, model: &str) -> Vec<u64> {
        self.sites_of(CaseFilter { model: Some(model.into()), ..CaseFilter::default() }).await
    }

    async fn facts_are_copied(&self) -> bool {
        let mut tx = self.app.db.read().await.unwrap();
        let (imports, copied) = (cases::imports(&mut tx).await.unwrap(), cases::copied(&mut tx).await.unwrap());
        copied.is_some_and(|c| Some(c.imports) == imports && c.day == self.app.now().london_day())
    }
}

#[tokio::test]
async fn a_supplier_changes_with_the_day_and_with_a_file() {
    for lab in labs(3).await {
        for n in 1..=3 {
            lab.result_now(n, "failed").await;
        }
        assert_eq!((lab.held_by("EELC").await, lab.held_by("OTHR").await), (vec![1, 2, 3], vec![]));
        let tomorrow = lab.app.now().london_day().plus(1);
        let row = |n: u64, from: crate::clock::Day| format!("{},OTHR,{from},\n", mpan(n));
        let head = "mpan,supplier_mpid,effective_from,effective_to\n";
        let switch = async |text: String| {
            let path = lab.folder.path().join("switch.csv");
            std::fs::write(&path, format!("{head}{text}")).unwrap();
            Input::open(&path).unwrap()
        };
        let input = switch(row(1, tomorrow)).await;
        let done = lab.app.import_file(Kind::Registrations, input, Options::default(), Arc::new(|_| {}), OPERATOR);
        assert_eq!(done.await.unwrap().inserted, 1);
        assert!(lab.facts_are_copied().await);
        assert_eq!((lab.held_by("EELC").await, lab.held_by("OTHR").await), (vec![1, 2, 3], vec![]), "until midnight");
        lab.app.clock.advance(DAY);
        assert!(!lab.facts_are_copied().await, "nobody was told that a day began");
        assert_eq!((lab.held_by("EELC").await, lab.held_by("OTHR").await), (vec![2, 3], vec![1]));
        // The file took effect, and then the program died.
        let input = switch(row(2, tomorrow)).await;
        let report =
            import::import(&lab.app.db, &lab.app.clock, Kind::Registrations, input, Options::default(), Arc::new(|_| {}));
        assert_eq!(report.await.unwrap().inserted, 1);
        assert_eq!((lab.held_by("EELC").await, lab.held_by("OTHR").await), (vec![3], vec![1, 2]), "looked up");
        lab.app.copy_case_facts().await.unwrap();
        assert!(lab.facts_are_copied().await);
        assert_eq!((lab.held_by("EELC").await, lab.held_by("OTHR").await), (vec![3], vec![1, 2]), "copied");
        assert_eq!(lab.app.clock.now().london_day(), tomorrow);
    }
}

#[tokio::test]
async fn a_model_is_that_of_the_last_file_also_of_a_case_that_ended() {
    for lab in labs(2).await {
        lab.result_now(1, "failed").await;
        lab.result_now(2, "failed").await;
        lab.app.clock.advance(1_000);
        lab.result_now(2, "updated").await;
        assert_eq!((lab.of_model("433100AC").await, lab.of_model("OTHER").await), (vec![1, 2], vec![]));
        let head = "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,migrated_on\n";
        let row = format!("{},{},IOC,106C,OTHER,0101,00020100,Commissioned,DMC-1,2020-11-01\n", device(2), mpan(2));
        lab.import(Kind::Sites, format!("{head}{row}")).await;
        assert!(lab.facts_are_copied().await);
        assert_eq!((lab.of_model("433100AC").await, lab.of_model("OTHER").await), (vec![1], vec![2]));
        // A case that is opened between two files has its site's facts at once.
        lab.app.clock.advance(1_000);
        lab.act(&[2], crate::app::CaseAction::Reopen, crate::app::Meant::Confirmed(None)).await;
        assert_eq!(lab.of_model("OTHER").await, [2, 2]);
    }
}

#[tokio::test]
async fn the_sites_that_the_tool_handled_are_counted_once_a_file_and_ages_are_of_the_open_cases() {
    for lab in labs(5).await {
        for n in 1..=5 {
            lab.result_now(n, "failed").await;
            lab.app.clock.advance(10 * DAY);
        }
        lab.result_now(5, "updated").await;
        let stats = lab.app.key_stats().await.unwrap();
        assert_eq!((stats.handled_by_the_tool, stats.open), (5, 4));
        let ages = stats.age_days;
        assert_eq!((ages.p50, ages.p90, ages.max), (30, 50, 50), "50, 40, 30 and 20 days");
        assert_eq!(stats.resolved_by_day, [(lab.app.now().london_day().to_string(), 1)].into());
        // A result of a sixth device is counted whether or not anybody counted after the file.
        lab.sites(&[(6, "IOC")]).await;
        let path = lab.folder.path().join("keys.csv");
        std::fs::write(&path, format!("device_id,status,attempted_at\n{},updated,{}\n", device(6), lab.app.now())).unwrap();
        let input = Input::open(&path).unwrap();
        let done = import::import(&lab.app.db, &lab.app.clock, Kind::Keys, input, Options::default(), Arc::new(|_| {}));
        assert_eq!(done.await.unwrap().inserted, 1);
        let handled = async || keys::store::handled(&mut lab.app.db.read().await.unwrap()).await.unwrap();
        assert_eq!(handled().await, None);
        assert_eq!(lab.app.key_stats().await.unwrap().handled_by_the_tool, 6);
        lab.app.copy_case_facts().await.unwrap();
        assert_eq!(handled().await, Some(6));
        assert_eq!(lab.app.key_stats().await.unwrap().handled_by_the_tool, 6);
    }
}
