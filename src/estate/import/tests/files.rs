//! Files as files: headers, quoting, bad rows, duplicates, re-imports, `--strict`.

use super::*;
use crate::failure::Exit;

const GOOD: &str = "00-DB-12-34-56-78-90-A4,2298132107763,IOC,106C,433100AC,0100,0002012F,Commissioned,DMC-1,00-DB-12-34-56-78-90-A5,,\
                    North,2020-01-31,2020-11-01T00:00:00Z";

#[tokio::test]
async fn a_file_is_loaded_and_loading_it_again_changes_nothing() {
    for desk in desks().await {
        let second = GOOD.replace("A4,", "A6,").replace("0002012F", "9001").replace("North", "\"North, upper\"");
        let file = format!("{SITES}{GOOD}\n{second}\n");
        let said = desk.import(Kind::Sites, file.clone()).await;
        assert_eq!((said.counts(), said.rejects), ([2, 2, 0, 0, 0, 0, 0], None), "{}", desk.test.engine);
        assert_eq!(desk.import(Kind::Sites, file.clone()).await.counts(), [2, 0, 0, 2, 0, 0, 0]);
        let changed = file.replace("9001", "9002");
        assert_eq!(desk.import(Kind::Sites, changed).await.counts(), [2, 0, 1, 1, 0, 0, 0]);
        let rows = desk.table("device_id, firmware_version, region, gsme_device_id, migrated_on", "sites").await;
        assert_eq!(
            rows,
            ["61663035897974948 0002012F North - 18292", "61663035897974950 9002 North, upper - 18292"],
            "{}",
            desk.test.engine
        );
    }
}

#[tokio::test]
async fn columns_come_in_any_order_with_a_mark_and_windows_line_ends_and_unknown_ones_are_warned_of_once() {
    for desk in desks().await {
        let file = "\u{feff}attempted_at,colour,status,device_id,,colour2\r\n\
                    2020-11-24T09:00:00Z,red,failed,00-db-12-34-56-78-90-a4,x,y\r\n";
        let said = desk.import(Kind::Keys, file).await;
        assert_eq!(said.counts(), [1, 1, 0, 0, 0, 0, 0]);
        assert_eq!(said.warnings, ["file.csv: unknown columns \"colour\", \"\", \"colour2\" ignored"]);
        let rows = desk.table("device_id, attempted_at, status, detail, source", "key_results").await;
        assert_eq!(rows, ["61663035897974948 1606208400000 failed - import"]);
    }
}

/// A file of a kind, its rows one by one, and what is said of each (`-` where it is loaded).
type Case = (Kind, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    (
        Kind::Registrations,
        "mpan,supplier_mpid,effective_from,effective_to",
        &[
            ("2298132107763,EELC,2020-01-01,", "-"),
            ("2298132107764,EELC,2020-01-01,", "bad-value:mpan"),
            ("229813210776,EELC,2020-01-01,", "bad-value:mpan"),
            (",EELC,2020-01-01,", "missing:mpan"),
            ("2278676232781,GAS,2020-01-01,", "bad-value:supplier_mpid"),
            ("2278676232781,eelc,2020-01-01,", "bad-value:supplier_mpid"),
            ("2278676232781,EELC,,", "missing:effective_from"),
            ("2278676232781,EELC,01/01/2020,", "bad-value:effective_from"),
            ("2278676232781,EELC,2020-02-30,", "bad-value:effective_from"),
            ("2278676232781,EELC,2020-01-01,never", "bad-value:effective_to"),
            ("2278676232781,EELC,2020-01-01,2020-01-01", "bad-value:effective_to"),
            ("2278676232781,EELC,2020-01-01,2019-12-31", "bad-value:effective_to"),
            ("2278676232781,EELC,2020-01-01", "missing:effective_to"),
            ("2278676232781,EELC,2020-01-01,,surplus", "bad-value:effective_to"),
            ("2278676232781,EELC,2020-01-01,,,", "-"),
            ("2278676232781,EELC,2020-01-01,", "duplicate"),
            ("2278676232781,\"EE\"LC,2020-01-01,", "bad-value:supplier_mpid"),
        ],
    ),
    (
        Kind::Sites,
        "device_id,mpan,cohort,manufacturer,model,hardware_version,firmware_version,device_status,dmc,region,migrated_on,as_at,chf_device_id",
        &[
            ("00-00-00-00-00-00-00-01,2298132107763,IOC,M,X,0aBc,12345678,Commissioned,D,,,,", "-"),
            (
                "00-00-00-00-00-00-00-02,2298132107763,FOC,M,X,0100,1,Suspended,D,R,2020-01-01,2020-01-01,00-00-00-00-00-00-00-09",
                "-",
            ),
            ("00-00-00-00-00-00-00-02,2298132107763,FOC,M,X,0100,1,Suspended,D,R,2020-01-01,2020-01-01,", "duplicate"),
            ("00-00-00-00-00-00-00-0G,2298132107763,IOC,M,X,0100,1,Commissioned,D,,,,", "bad-value:device_id"),
            ("00-00-00-00-00-00-00-03,2298132107763,MOC,M,X,0100,1,Commissioned,D,,,,", "bad-value:cohort"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,,X,0100,1,Commissioned,D,,,,", "missing:manufacturer"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,100,1,Commissioned,D,,,,", "bad-value:hardware_version"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,+100,1,Commissioned,D,,,,", "bad-value:hardware_version"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,123456789,Commissioned,D,,,,", "bad-value:firmware_version"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,commissioned,D,,,,", "bad-value:device_status"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned,,,,,", "missing:dmc"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned,D,,2020,,", "bad-value:migrated_on"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned,D,,,soon,", "bad-value:as_at"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned,D,,,,here", "bad-value:chf_device_id"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned,D,a\0b,,,", "bad-value:region"),
            ("00-00-00-00-00-00-00-03,2298132107763,IOC,M,X,0100,1,Commissioned", "missing:dmc"),
        ],
    ),
    (
        Kind::Keys,
        "device_id,status,attempted_at,detail",
        &[
            ("00-DB-12-34-56-78-90-A4,failed,2020-11-24T09:00:00Z,\"no\nWAN\"", "-"),
            ("00-DB-12-34-56-78-90-A4,updated,2020-11-24T10:00:00+01:00,", "duplicate"),
            ("00-DB-12-34-56-78-90-A4,updated,2020-11-25T10:00:00+01:00,", "-"),
            ("00-DB-12-34-56-78-90-A4,Updated,2020-11-26T10:00:00Z,", "bad-value:status"),
            ("00-DB-12-34-56-78-90-A4,failed,yesterday,", "bad-value:attempted_at"),
            ("00-DB-12-34-56-78-90-A4,failed,2030-01-02T00:00:00Z,", "-"),
            ("00-DB-12-34-56-78-90-A4,failed,2030-01-02T00:00:00.001Z,", "bad-value:attempted_at"),
            ("00-DB-12-34-56-78-90-A4,failed,,", "missing:attempted_at"),
        ],
    ),
    (
        Kind::Cpl,
        "cpl_entry_id,device_type,manufacturer,model,hardware_version,firmware_version,manufacturer_image_hash,status,upgrade_from",
        &[
            ("1,PPMID,M,X,0100,2,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,Active,", "-"),
            ("2,PPMID,M,X,0100,2,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,Withdrawn,1;0002012F", "-"),
            ("3,PPMID,M,X,0100,2,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,Expired,*", "-"),
            ("3,PPMID,M,X,0100,2,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,Expired,*", "duplicate"),
            ("4,PPMID,M,X,0100,2,aaaa,Active,N/A", "bad-value:manufacturer_image_hash"),
            (
                "4,PPMID,M,X,0100,2,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,active,N/A",
                "bad-value:status",
            ),
            (
                "4,PPMID,M,X,0100,2,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,Active,1;123456789",
                "bad-value:upgrade_from",
            ),
        ],
    ),
    (
        Kind::Epcl,
        "dmc,cohort,effective_from,effective_to",
        &[
            ("D,IOC,2020-01-01,", "-"),
            ("D,MDS,2021-01-01,2021-01-02", "-"),
            ("D,MDS,2021-01-01,", "duplicate"),
            ("D,MDS,2021-01-01,2021-01-01", "bad-value:effective_to"),
            ("D,,2022-01-01,", "missing:cohort"),
        ],
    ),
    (
        Kind::Exclusions,
        "device_id,mpan,reason,effective_from,effective_to",
        &[
            ("00-DB-12-34-56-78-90-A4,,vulnerable,2020-01-01,", "-"),
            (",2298132107763,vulnerable,2020-01-01,", "-"),
            ("00-db-12-34-56-78-90-a4,,vulnerable,2020-01-01,2021-01-01", "duplicate"),
            ("00-DB-12-34-56-78-90-A4,,complaint,2020-01-01,", "-"),
            ("00-DB-12-34-56-78-90-A4,2298132107763,vulnerable,2020-01-01,", "bad-value:mpan"),
            (",,vulnerable,2020-01-01,", "missing:device_id"),
            (",2298132107763,,2020-01-01,", "missing:reason"),
        ],
    ),
];

#[tokio::test]
async fn each_bad_row_is_rejected_for_its_reason_and_the_good_ones_are_loaded() {
    for desk in desks().await {
        for (kind, header, rows) in CASES {
            let file: String = std::iter::once(*header).chain(rows.iter().map(|r| r.0)).map(|line| format!("{line}\n")).collect();
            let said = desk.import(*kind, file.clone()).await;
            let mut line = 2;
            let mut wanted = Vec::new();
            for (row, reason) in *rows {
                if *reason != "-" {
                    wanted.push(format!("{line} {reason}"));
                }
                line += 1 + row.matches('\n').count();
            }
            assert_eq!(said.reasons(), wanted, "{kind} on {}", desk.test.engine);
            let good = rows.iter().filter(|r| r.1 == "-").count() as u64;
            assert_eq!(
                said.counts(),
                [rows.len() as u64, good, 0, 0, 0, 0, wanted.len() as u64],
                "{kind} on {}",
                desk.test.engine
            );
            // Again: nothing changes, and the same rows are rejected.
            let again = desk.import(*kind, file.clone()).await;
            assert_eq!(
                again.counts(),
                [rows.len() as u64, 0, 0, good, 0, 0, wanted.len() as u64],
                "{kind} on {}",
                desk.test.engine
            );
            // The original text of each row is kept.
            let text = said.rejects.unwrap();
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            for (record, (row, _)) in reader.records().zip(rows.iter().filter(|r| r.1 != "-")) {
                assert_eq!(&record.unwrap()[2], *row);
            }
        }
    }
}

#[tokio::test]
async fn a_hash_is_kept_in_lower_case_and_a_column_that_may_be_left_out_may_be_left_out() {
    for desk in desks().await {
        let (kind, header, rows) = &CASES[3];
        desk.import(*kind, format!("{header}\n{}\n", rows[0].0)).await.counts();
        assert_eq!(desk.table("manufacturer_image_hash", "cpl_entries").await, ["a".repeat(64)]);
        let said = desk.import(Kind::Exclusions, "reason,mpan,effective_from\nvisit,2298132107763,2020-01-01\n").await;
        assert_eq!(said.counts(), [1, 1, 0, 0, 0, 0, 0]);
        let said = desk.import(Kind::Exclusions, "reason,effective_from,mpan\nvisit,2020-01-01,\n").await;
        assert_eq!(said.reasons(), ["2 missing:mpan"]);
    }
}

#[tokio::test]
async fn strict_leaves_the_database_as_it_was_and_still_writes_the_rejects() {
    for desk in desks().await {
        let strict = Options { strict: true, ..Options::default() };
        let file = format!("{SITES}{GOOD}\n{}\n", GOOD.replace("IOC", "XXX"));
        let said = desk.import_with(Kind::Sites, file, strict).await;
        assert_eq!(said.failure().exit, Exit::Failed);
        assert!(said.failure().message.contains("1 of 2 rows"), "{}", said.failure());
        assert!(said.failure().help[0].contains("file.csv.rejects.csv"));
        assert_eq!(said.reasons(), ["3 bad-value:cohort"]);
        assert!(desk.table("device_id", "sites").await.is_empty());
        assert!(desk.table("id", "imports").await.is_empty());
        // A duplicate is a bad row too, and a good file is loaded and takes the old rejects away.
        let said = desk.import_with(Kind::Sites, format!("{SITES}{GOOD}\n{GOOD}\n"), strict).await;
        assert_eq!((said.failure().exit, said.reasons()), (Exit::Failed, vec!["3 duplicate".to_string()]));
        let said = desk.import_with(Kind::Sites, format!("{SITES}{GOOD}\n"), strict).await;
        assert_eq!((said.counts(), said.rejects), ([1, 1, 0, 0, 0, 0, 0], None));
    }
}

#[tokio::test]
async fn a_file_that_is_no_such_file_changes_nothing_and_says_what_to_do() {
    let long = format!("{}\n", "x".repeat(2 * RECORD_BYTES));
    let utf16: Vec<u8> = "\u{feff}mpan,reason\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: &[(&[u8], &str)] = &[
        (b"", "is empty"),
        (b"\xEF\xBB\xBF", "is empty"),
        (b"\n\r\n", "is empty"),
        (b"device_id,status\n", "no column attempted_at"),
        (b"status\n", "no column device_id, attempted_at"),
        (b"device_id,status,attempted_at,status\n", "the column status twice"),
        (b"device_id,status,attempted_at,x,x\n", "the column x twice"),
        (b"device_id,status,attempted_at\nab,\"never closed\n1,2\n", "line 2 is never closed"),
        (b"\xff\xfe,status,attempted_at\n", "not UTF-8"),
        (&utf16, "not UTF-8"),
        (long.as_bytes(), "not UTF-8"),
    ];
    for desk in desks().await {
        for (bytes, wanted) in cases {
            let said = desk.import(Kind::Keys, bytes.to_vec()).await;
            let failure = said.failure();
            assert!(failure.message.contains(wanted), "{wanted}: {failure}");
            assert_eq!((failure.exit, failure.help.is_empty(), said.rejects), (Exit::Failed, false, None), "{wanted}");
        }
        assert!(desk.table("id", "imports").await.is_empty());
        let said = desk.import(Kind::Keys, "device_id,status,attempted_at\n").await;
        assert_eq!(said.counts(), [0; 7]);
    }
    let failure = Failure::from(Input::open(Path::new("/nowhere/sites.csv")).err().unwrap());
    assert!(failure.message.contains("/nowhere/sites.csv cannot be opened"), "{failure}");
    assert!(Input::open(std::env::temp_dir().as_path()).is_err());
}

#[tokio::test]
async fn bytes_that_are_no_text_and_enormous_rows_are_rejected_alone() {
    for desk in desks().await {
        let mut file = b"device_id,status,attempted_at,detail,note\n".to_vec();
        file.extend_from_slice(b"00-00-00-00-00-00-00-01,failed,2020-11-24T09:00:00Z,\xff\xfe,\n");
        file.extend_from_slice(b"00-00-00-00-00-00-00-02,failed,2020-11-24T09:00:00Z,,\xff\n");
        file.extend_from_slice(b"00-00-00-00-00-00-00-03,failed,2020-11-24T09:00:00Z,");
        file.extend(std::iter::repeat_n(b'x', 3 * RECORD_BYTES));
        file.extend_from_slice(b",\n00-00-00-00-00-00-00-04,failed,2020-11-24T09:00:00Z,,\n");
        let said = desk.import(Kind::Keys, file).await;
        assert_eq!(said.reasons(), ["2 bad-value:detail", "4 bad-value:detail"]);
        assert_eq!(said.counts(), [4, 2, 0, 0, 0, 0, 2]);
        assert_eq!(desk.table("device_id", "key_results").await, ["2", "4"]);
    }
}

#[tokio::test]
async fn a_file_on_disk_has_its_rejects_beside_it() {
    let desk = desks().await.remove(0);
    let path = desk.folder.path().join("keys.csv");
    std::fs::write(&path, "device_id,status,attempted_at\r\n00-00-00-00-00-00-00-01,lost,2020-11-24T09:00:00Z\r\n").unwrap();
    let quiet: Watch = Arc::new(|_| {});
    let input = Input::open(&path).unwrap();
    assert_eq!(input.length, Some(std::fs::metadata(&path).unwrap().len()));
    let report = import(&desk.test.db, &desk.clock, Kind::Keys, input, Options::default(), quiet.clone()).await.unwrap();
    let rejects = desk.folder.path().join("keys.csv.rejects.csv");
    assert_eq!(report.rejects_path.as_deref(), Some(rejects.as_path()));
    assert_eq!(
        std::fs::read_to_string(&rejects).unwrap(),
        "line,reason,row\n2,bad-value:status,\"00-00-00-00-00-00-00-01,lost,2020-11-24T09:00:00Z\"\n"
    );
    // Where rejects cannot be written, nothing is imported.
    std::fs::remove_file(&rejects).unwrap();
    std::fs::create_dir(&rejects).unwrap();
    std::fs::write(&path, "device_id,status,attempted_at\na,b,c\n00-00-00-00-00-00-00-01,failed,2020-11-24T09:00:00Z\n").unwrap();
    let input = Input::open(&path).unwrap();
    let refused = import(&desk.test.db, &desk.clock, Kind::Keys, input, Options::default(), quiet).await.unwrap_err();
    assert!(matches!(refused, ImportError::Rejects { .. }), "{refused}");
    assert!(desk.table("device_id", "key_results").await.is_empty());
}

#[tokio::test]
async fn dates_at_the_end_of_time_and_endless_names_are_no_reason_to_fall_over() {
    for desk in desks().await {
        let sites = format!("{SITES}{}\n{}\n", GOOD.replace("2020-11-01T00:00:00Z", "9999-12-31"), GOOD.replace("A4,", "A8,"));
        assert_eq!(desk.import(Kind::Sites, sites).await.reasons(), ["2 bad-value:as_at"]);
        let open = "mpan,supplier_mpid,effective_from,effective_to\n2298132107763,EELC,0000-01-01,9999-12-31\n";
        assert_eq!(desk.import(Kind::Registrations, open).await.counts(), [1, 1, 0, 0, 0, 0, 0]);
        let epcl = format!("dmc,cohort,effective_from\n{},IOC,2020-01-01\n", "D".repeat(20_000));
        assert_eq!(desk.import(Kind::Epcl, epcl).await.reasons(), ["2 bad-value:dmc"]);
    }
}

#[tokio::test]
async fn replace_is_for_registrations_only() {
    for desk in desks().await {
        let replace = Options { replace: true, ..Options::default() };
        let said = desk.import_with(Kind::Sites, format!("{SITES}{GOOD}\n"), replace).await;
        assert_eq!(said.failure().exit, Exit::Usage);
    }
}
