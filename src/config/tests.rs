//! The configuration against files as people write them.

use std::path::Path;

use super::*;

/// Loads `text` as `ppmid.toml`; an error gives its lines, with the folder cut off.
fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ppmid.toml");
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    load_from(&file, environment, None).map_err(|e| {
        let failure = crate::failure::Failure::from(e);
        format!("{failure}").replace(&format!("{}/", dir.path().display()), "")
    })
}

#[test]
fn without_a_file_every_key_has_its_default() {
    let settings = load_from(Path::new("no-such-ppmid.toml"), std::iter::empty(), None).unwrap();
    insta::assert_snapshot!(settings.render(Shape::Toml));
    assert!(settings.check_exposure().is_ok());
}

#[test]
fn what_is_printed_is_read_again_as_the_same() {
    let text = r#"
        [gateway]
        base_url = "http://[::1]:1/x"
        dcc_certificates = ["a.pem", "b\\\".pem"]
        request_timeout_seconds = 0x10
        tls = { ca = "/ca", certificate = "/c", key = "/k" }
    "#;
    let once =
        load_text(&format!("[database]\nurl = \"postgres://u@h/d\"\n{text}"), &[("PPMID_ORGANISATION__MPIDS", "AAAA, BBBB")])
            .unwrap();
    let again = load_text(&once.render(Shape::Toml), &[]).unwrap();
    let values = |s: &Settings| s.shown.iter().map(|s| (s.key, s.value.clone())).collect::<Vec<_>>();
    assert_eq!(values(&once), values(&again));
    assert_eq!(once.gateway.request_timeout_seconds, 16);
}

#[test]
fn every_mistake_is_named_with_its_line_key_and_what_is_wanted() {
    let mistakes = [
        "[gateway]\nbase_ur = \"http://127.0.0.1\"",
        "[gatway]\n",
        "role = \"IS\"",
        "gateway = 3",
        "[gateway]\n\n\nbase_url = \"ftp://example.com\"",
        "[gateway]\nbase_url = \"https://me:secret@example.com\"",
        "[gateway]\nduis_version = 3.1",
        "[gateway]\nsigning_key = \"pkcs11:token=dcc\"",
        "[gateway]\nrequest_timeout_seconds = \"soon\"",
        "[gateway]\nrequest_timeout_seconds = 0",
        "[gateway]\nrequest_timeout_seconds = -1",
        "[archive]\nkeep_months = 0",
        "[archive]\nkeep_months = 241",
        "[gateway.tls]\n",
        "[receiver.tls]\nca = \"ca.pem\"\nkey = \"k.pem\"",
        "[http]\nlisten = \"localhost\"",
        "[organisation]\nmpids = []",
        "[organisation]\nmpids = [\"EELC\", \"gas\"]",
        "[organisation]\nmpids = \"EELC\"",
        "[organisation]\nuser_id = \"90B3D51F30010000\"",
        "[firmware_store]\nurl = \"s3://bucket/prefix\"",
        "[database]\nurl = \"mysql://u:secret@h/d\"",
        "[receiver]\npath = \"duis\"",
        "[http\nlisten = 1",
        "[http]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
    ];
    let answers: Vec<String> = mistakes.iter().map(|m| load_text(m, &[]).map(|_| ()).expect_err(m)).collect();
    assert!(answers.iter().all(|a| !a.contains("secret")), "a password was shown");
    insta::assert_snapshot!(answers.join("\n"));
}

#[test]
fn the_environment_overrides_the_file_and_only_settings_count() {
    let text = "[organisation]\nmpids = [\"AAAA\"]\n[gateway]\nbase_url = \"http://127.0.0.1:1\"";
    let environment = [
        ("PPMID_GATEWAY__BASE_URL", "http://127.0.0.1:2/"),
        ("PPMID_ORGANISATION__MPIDS", "BBBB, CCCC"),
        ("PPMID_GATEWAY__REQUEST_TIMEOUT_SECONDS", "5"),
        ("PPMID_TOKEN", "x"),
        ("PPMID_TEST_POSTGRES", "postgres://x"),
        ("PPMID_UNKNOWN__KEY", "x"),
        ("OTHER_GATEWAY__NOPE", "x"),
    ];
    let settings = load_text(text, &environment).unwrap();
    assert_eq!(settings.gateway.base_url, "http://127.0.0.1:2");
    assert_eq!(settings.organisation.mpids.iter().map(|m| m.as_str()).collect::<Vec<_>>(), ["BBBB", "CCCC"]);
    assert_eq!(settings.gateway.request_timeout_seconds, 5);
    let as_in_the_file = load_text(text, &[("PPMID_ORGANISATION__MPIDS", r#"["DDDD", "EEEE"]"#)]).unwrap();
    assert_eq!(as_in_the_file.organisation.mpids.iter().map(|m| m.as_str()).collect::<Vec<_>>(), ["DDDD", "EEEE"]);
    let mistakes = [
        ("PPMID_GATEWAY__BASEURL", "x"),
        ("PPMID_GATEWAY__TLS__CERT", "x"),
        ("PPMID_HTTP__LISTEN", "here"),
        ("PPMID_ORGANISATION__MPIDS", ""),
        ("PPMID_HTTP__TLS__KEY", "k.pem"),
    ];
    let answers: Vec<String> = mistakes.iter().map(|m| load_text("", &[*m]).map(|_| ()).unwrap_err()).collect();
    insta::assert_snapshot!(answers.join("\n"));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ppmid.toml");
    let text = "[database]\nurl = \"sqlite://x.db\"\n[gateway]\nsigning_key = \"file:k.pem\"\nsigning_certificate = \"/abs/c.pem\"\n\
                [audit]\nsigning_key = \"file:///abs/a.pem\"";
    std::fs::write(&file, text).unwrap();
    let s = load_from(&file, std::iter::empty(), None).unwrap();
    assert_eq!(s.database_url, format!("sqlite://{}", dir.path().join("x.db").display()));
    assert_eq!(s.gateway.signing_key, dir.path().join("k.pem"));
    assert_eq!(s.gateway.signing_certificate, Path::new("/abs/c.pem"));
    assert_eq!(s.audit_signing_key, Path::new("/abs/a.pem"));
    assert_eq!(s.policies_dir, dir.path().join("policies"));
    let s = load_from(&file, std::iter::empty(), Some("sqlite://y.db")).unwrap();
    assert_eq!(s.database_url, "sqlite://y.db");
    std::fs::write(&file, "").unwrap();
    let s = load_from(&file, std::iter::empty(), None).unwrap();
    assert_eq!(s.database_url, "sqlite://ppmid.db", "the default is relative to the current folder");
    let absolute = load_text("[database]\nurl = \"sqlite:///abs/x.db\"", &[]).unwrap();
    assert_eq!(absolute.database_url, "sqlite:///abs/x.db");
}

#[test]
fn nothing_but_loopback_while_anything_is_plain_or_a_test_identity() {
    let own = "[organisation]\nmpids = [\"ABCD\"]\nuser_id = \"00-00-00-00-00-00-00-01\"\n";
    let tls = "tls = { ca = \"a\", certificate = \"c\", key = \"k\" }\n";
    let own_gateway = "[gateway]\ndcc_id = \"00-00-00-00-00-00-00-02\"\n";
    let texts = [
        "[gateway]\nbase_url = \"http://dcc.example\"".to_string(),
        "[http]\nlisten = \"0.0.0.0:8080\"".to_string(),
        format!("{own}[receiver]\nlisten = \"[::]:8081\""),
        format!("{own}{own_gateway}[receiver]\nlisten = \"10.0.0.1:8081\""),
        format!("{own}{own_gateway}base_url = \"http://dcc.example\""),
        format!("{own}{own_gateway}base_url = \"https://dcc.example\""),
        format!("{own}[gateway]\nbase_url = \"https://dcc.example\"\n{tls}"),
        format!("{own}{own_gateway}[receiver]\nlisten = \"10.0.0.1:8081\"\n{tls}[http]\nlisten = \"10.0.0.1:8080\""),
        "[gateway]\ntls = { ca = \"a\", certificate = \"c\", key = \"k\" }".to_string(),
        "[http]\ntls = { certificate = \"c\", key = \"k\" }".to_string(),
        "[receiver]\nforward_to = \"https://127.0.0.1/\"".to_string(),
        "[receiver]\nforward_to = \"http://10.0.0.1:9000/duis\"".to_string(),
    ];
    let answers: Vec<String> = texts.iter().map(|t| load_text(t, &[]).unwrap().check_exposure().unwrap_err().message).collect();
    insta::assert_snapshot!(answers.join("\n"));
    for good in [
        "[gateway]\nbase_url = \"http://localhost:1/x\"\n[http]\nlisten = \"[::1]:8080\"".to_string(),
        own.to_string(),
        format!("[gateway]\nbase_url = \"https://localhost:1/x\"\n{tls}[receiver]\n{tls}"),
        format!("{own}{own_gateway}base_url = \"https://dcc.example\"\n{tls}[receiver]\nlisten = \"0.0.0.0:8081\"\n{tls}"),
    ] {
        assert!(load_text(&good, &[]).unwrap().check_exposure().is_ok(), "{good}");
    }
    assert!(require_loopback("--listen", "0.0.0.0:1".parse().unwrap()).is_err());
    assert!(require_loopback_url("--deliver-to", "http://[::1]:1/x").is_ok());
    for bad in ["http://dcc.example/", "https://127.0.0.1/", "x"] {
        assert!(require_loopback_url("--deliver-to", bad).is_err(), "{bad}");
    }
}

#[test]
fn a_password_of_the_database_is_never_printed() {
    let s = load_text("[database]\nurl = \"postgres://u:secret@h/d?password=secret\"", &[]).unwrap();
    for shape in [Shape::Toml, Shape::Json, Shape::Csv] {
        assert!(!s.render(shape).contains("secret"), "{shape:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&s.render(Shape::Json)).unwrap();
    assert_eq!(json["receiver"]["listen"], "127.0.0.1:8081");
    assert_eq!(json["origins"]["receiver.listen"], "default");
}

#[test]
fn files_that_are_no_configuration_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let error = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        load_from(&file, std::iter::empty(), None).unwrap_err()
    };
    assert!(matches!(error(b"\xff\xfe"), ConfigError::NotText { .. }));
    assert!(matches!(error(&vec![b'#'; (1 << 20) + 1]), ConfigError::TooLong { .. }));
    assert!(matches!(load_from(dir.path(), std::iter::empty(), None), Err(ConfigError::Read { .. })));
    std::fs::write(&file, "\u{feff}[http]\r\nlisten = \"127.0.0.1:9\"\r\n").unwrap();
    assert!(load_from(&file, std::iter::empty(), None).is_ok(), "a byte-order mark and CRLF are accepted");
}

#[test]
fn the_documentation_lists_every_default() {
    let page = include_str!("../../docs/configuration.md");
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page has the file");
    let documented = load_text(block, &[]).unwrap();
    let defaults = load_text("", &[]).unwrap();
    assert_eq!(documented.shown.len(), defaults.shown.len());
    for (d, s) in documented.shown.iter().zip(&defaults.shown) {
        assert_eq!(d.key, s.key);
        assert!(matches!(d.origin, Origin::File { .. }), "{} is not documented", d.key);
        let name = |v: &serde_json::Value| v.to_string().rsplit('/').next().map(|t| t.replace(['"', '[', ']'], ""));
        assert_eq!(name(&d.value), name(&s.value), "{}", d.key);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\[[a-z.]{0,12}\\]\n|[a-z_]{1,8} ?= ?[\"0-9a-z\\[\\]{}]{0,9}\n|.{0,20}\n){0,8}") {
        let _ = load_text(&text, &[]);
    }
}
