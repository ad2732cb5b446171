//! Certificates that may not be pinned, made by `openssl` and by the simulator. Where `openssl` is missing they are skipped, loudly;
//! with PPMID_REQUIRE_TOOLS=1 that is a failure.

use std::path::{Path, PathBuf};

use super::super::{peer_tests::openssl, samples::sample_time};
use super::*;
use crate::{
    ids::Eui,
    sim::pki::{self, Holder},
};

const DCC: Eui = Eui(0x90B3_D51F_3000_0002);
const US: Eui = Eui(0x90B3_D51F_3001_0000);

/// A self-signed certificate with these arguments of `openssl req`, and what reading it says.
fn made(folder: &Path, name: &str, arguments: &[&str]) -> Option<Result<CertificateSet, String>> {
    let path = folder.join(format!("{name}.pem"));
    let common = ["req", "-x509", "-nodes", "-days", "100", "-keyout", "/dev/null", "-out", path.to_str().unwrap()];
    openssl(&[&common[..], arguments].concat())?;
    Some(CertificateSet::from_pem_files(&[path]).map_err(|e| e.to_string()))
}

#[test]
fn only_p256_keys_that_may_sign_are_pinned_and_the_message_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=x"];
    let with = |more: &[&'static str]| [&p256[..], more].concat();
    let cases: [(&str, Vec<&str>, &str); 8] = [
        ("good", with(&["-addext", "keyUsage=critical,digitalSignature"]), ""),
        ("no-usage", p256.to_vec(), ""),
        ("long-serial", with(&["-set_serial", "0x7f00000000000000000000000000000000000000"]), ""),
        ("rsa", vec!["-newkey", "rsa:2048", "-subj", "/CN=x"], "its key is RSA, and an ECDSA P-256 key"),
        (
            "p384",
            vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-subj", "/CN=x"],
            "its key is ECDSA P-384, and an ECDSA P-256 key",
        ),
        ("ed25519", vec!["-newkey", "ed25519", "-subj", "/CN=x"], "its key is Ed25519"),
        ("agreement", with(&["-addext", "keyUsage=keyAgreement"]), "its key usage does not include digitalSignature"),
        ("negative", with(&["-set_serial", "-5"]), "its serial number is negative"),
    ];
    for (name, arguments, wanted) in cases {
        let Some(read) = made(folder.path(), name, &arguments) else { return };
        match read {
            Ok(_) => assert_eq!(wanted, "", "{name}"),
            Err(said) => {
                assert!(!wanted.is_empty() && said.contains(wanted) && said.contains(&format!("{name}.pem")), "{name}: {said}")
            }
        }
    }
}

#[test]
fn a_key_that_is_no_point_of_the_curve_is_refused() {
    use x509_cert::der::{Decode, Encode, pem};
    let made = pki::make(DCC, Holder::Dcc, sample_time()).unwrap();
    let (_, der) = pem::decode_vec(made.certificate_pem.as_bytes()).unwrap();
    let point = Certificate::from_pem(made.certificate_pem.as_bytes()).unwrap().public_key;
    let at = der.windows(point.len()).position(|w| w == point).unwrap();
    let mut off = der.clone();
    off[at + point.len() - 1] ^= 1;
    assert!(x509_cert::Certificate::from_der(&off).unwrap().to_der().is_ok());
    let pem = pem::encode_string("CERTIFICATE", pem::LineEnding::LF, &off).unwrap();
    let said = Certificate::from_pem(pem.as_bytes()).unwrap_err().to_string();
    assert!(said.contains("no point of its curve"), "{said}");
}

fn simulated(folder: &Path, name: &str, eui: Eui) -> PathBuf {
    let certificate = format!("{name}.pem");
    pki::make(eui, Holder::Dcc, sample_time()).unwrap().write_to(folder, &format!("{name}.key"), &certificate).unwrap();
    folder.join(certificate)
}

#[test]
fn dccs_set_holds_dccs_certificates_and_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (dcc, another, ours) =
        (simulated(folder.path(), "dcc", DCC), simulated(folder.path(), "another", DCC), simulated(folder.path(), "us", US));
    let own = Certificate::from_pem(&std::fs::read(&ours).unwrap()).unwrap();
    assert_eq!(CertificateSet::of_dcc(&[dcc.clone(), another], DCC, &own).unwrap().0.len(), 2);
    assert_eq!(CertificateSet::of_holder(std::slice::from_ref(&ours), US).unwrap().0.len(), 1);
    let said = |paths: &[PathBuf], holder| CertificateSet::of_dcc(paths, holder, &own).unwrap_err().to_string();
    let wrong = said(&[dcc.clone(), ours.clone()], DCC);
    assert!(wrong.contains("us.pem") && wrong.contains("our own signing key"), "{wrong}");
    let wrong = said(&[dcc], US);
    assert!(wrong.contains("dcc.pem") && wrong.contains(&format!("of {DCC}, and that of {US} is wanted")), "{wrong}");
}

#[test]
fn an_eui_in_the_subject_may_be_bytes_or_text_or_missing() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj"];
    for (name, subject, wanted) in [
        ("hex", "/x500UniqueIdentifier=90B3D51F30000002", Some(DCC)),
        ("dashes", "/x500UniqueIdentifier=90-B3-D5-1F-30-00-00-02", Some(DCC)),
        ("other", "/x500UniqueIdentifier=90-B3-D5-1F-30-01-00-00", Some(US)),
        ("word", "/x500UniqueIdentifier=dcc", None),
        ("none", "/OU=89", None),
    ] {
        let Some(read) = made(folder.path(), name, &[&p256[..], &[subject]].concat()) else { return };
        assert_eq!(read.unwrap().0[0].subject_eui, wanted, "{name}");
        let path = folder.path().join(format!("{name}.pem"));
        assert_eq!(CertificateSet::of_holder(&[path], DCC).is_ok(), wanted != Some(US), "{name}");
    }
}

#[test]
fn one_name_leads_to_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/OU=07/CN=Z1", "-set_serial", "7"];
    let (Some(one), Some(two)) = (made(folder.path(), "one", &arguments), made(folder.path(), "two", &arguments)) else { return };
    assert!(one.is_ok() && two.is_ok());
    let both = ["one.pem", "two.pem"].map(|n| folder.path().join(n));
    let said = CertificateSet::from_pem_files(&both).unwrap_err().to_string();
    assert!(said.contains("two.pem") && said.contains("different keys"), "{said}");
    let twice = [both[0].clone(), both[0].clone()];
    assert_eq!(CertificateSet::from_pem_files(&twice).unwrap().0.len(), 2);
}
