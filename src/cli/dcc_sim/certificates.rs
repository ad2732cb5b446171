//! The keys and certificates that the simulator starts with: read, or made for a trial. Existing files are never overwritten.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Args, Context};
use crate::{
    duis::{CertificateSet, FileSigner},
    failure::{Failure, Outcome},
    ids::Eui,
    sim::{
        Scenario, SimConfig,
        authority::{Authority, Purpose, Wanted},
        pki,
    },
    tls::TlsFiles,
};

const DCC_KEY: &str = "dcc.key.pem";
const DCC_CERTIFICATE: &str = "dcc.pem";
const SUPPLIER_KEY: &str = "supplier.key.pem";
const SUPPLIER_CERTIFICATE: &str = "supplier.pem";
const TLS_CA: &str = "tls-ca.pem";
const DCC_TLS_KEY: &str = "dcc-tls.key.pem";
const DCC_TLS_CERTIFICATE: &str = "dcc-tls.pem";
const SUPPLIER_TLS_KEY: &str = "supplier-tls.key.pem";
const SUPPLIER_TLS_CERTIFICATE: &str = "supplier-tls.pem";
/// Both sides are on this machine.
const HOSTS: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
/// `gateway.dcc_id` and `organisation.user_id` as `ppmid.toml` has them by default.
const DCC_ID: Eui = Eui(0x90B3_D51F_3000_0002);
const USER_ID: Eui = Eui(0x90B3_D51F_3001_0000);

pub fn config(ctx: &Context, args: &Args, scenario: Scenario) -> Outcome<SimConfig> {
    if let Some(dir) = &args.make_certificates {
        make_certificates(dir, ctx)?;
    }
    let dir = args.make_certificates.as_deref().unwrap_or(Path::new(""));
    let or = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| dir.join(name));
    let key = or(&args.dcc_key, DCC_KEY);
    let certificate = or(&args.dcc_certificate, DCC_CERTIFICATE);
    let suppliers = match args.supplier_certificate.is_empty() {
        true => vec![dir.join(SUPPLIER_CERTIFICATE)],
        false => args.supplier_certificate.clone(),
    };
    if let Some(missing) = [&key, &certificate].into_iter().chain(&suppliers).find(|file| !file.exists()) {
        return Err(Failure::failed(format!("there is no file {}", missing.display()))
            .help("for a trial, `ppmid dcc-sim --make-certificates .` makes test keys and certificates here")
            .help("or name the files: --dcc-key, --dcc-certificate, --supplier-certificate"));
    }
    Ok(SimConfig {
        listen: args.listen,
        deliver_to: args.deliver_to.clone(),
        tls: tls(ctx, args)?,
        scenario,
        devices: Vec::new(),
        signer: Arc::new(FileSigner::load(&key, &certificate)?),
        supplier_certificates: CertificateSet::from_pem_files(&suppliers)?,
        clock: ctx.clock.clone(),
    })
}

/// Makes each pair that is not there; a half of a pair is left alone and said.
fn make_certificates(dir: &Path, ctx: &Context) -> Outcome {
    make_folder(dir)?;
    let pairs =
        [(DCC_ID, pki::Holder::Dcc, DCC_KEY, DCC_CERTIFICATE), (USER_ID, pki::Holder::User, SUPPLIER_KEY, SUPPLIER_CERTIFICATE)];
    for (eui, holder, key, certificate) in pairs {
        match (dir.join(key).exists(), dir.join(certificate).exists()) {
            (true, true) => {}
            (false, false) => {
                pki::make(eui, holder, ctx.clock.now())?.write_to(dir, key, certificate)?;
                eprintln!("made {} and {} for {eui}", dir.join(key).display(), dir.join(certificate).display());
            }
            (has_key, _) => {
                let (there, gone) = if has_key { (key, certificate) } else { (certificate, key) };
                let line = format!("{} is there, but not {gone}: they belong together", dir.join(there).display());
                return Err(Failure::failed(line).help(format!("bring {gone} back, or move {there} away and both are made anew")));
            }
        }
    }
    Ok(())
}

/// The files of the TLS identity: those that are named, or those of the folder, which are made if none of them is there.
fn tls(ctx: &Context, args: &Args) -> Outcome<Option<TlsFiles>> {
    let Some(dir) = &args.make_tls_certificates else {
        let named = (args.tls_ca.clone(), args.tls_certificate.clone(), args.tls_key.clone());
        return Ok(match named {
            (Some(ca), Some(certificate), Some(key)) => Some(TlsFiles { ca, certificate, key }),
            _ => None,
        });
    };
    let files = [TLS_CA, DCC_TLS_CERTIFICATE, DCC_TLS_KEY, SUPPLIER_TLS_CERTIFICATE, SUPPLIER_TLS_KEY];
    match files.iter().filter(|name| dir.join(name).exists()).count() {
        0 => make_tls_certificates(dir, ctx)?,
        // The supplier's may have been moved to where the product is.
        _ if files[..3].iter().all(|name| dir.join(name).exists()) => {}
        _ => {
            let line = format!("some of {} are in {}, and not all: they belong together", files.join(", "), dir.display());
            return Err(Failure::failed(line).help("bring back those that are gone, or move the rest away and all are made anew"));
        }
    }
    Ok(Some(TlsFiles { ca: dir.join(TLS_CA), certificate: dir.join(DCC_TLS_CERTIFICATE), key: dir.join(DCC_TLS_KEY) }))
}

/// One authority vouches for both sides; its own key is thrown away.
fn make_tls_certificates(dir: &Path, ctx: &Context) -> Outcome {
    make_folder(dir)?;
    let now = ctx.clock.now();
    let authority = Authority::root("A trial of ppmid", now)?;
    for (name, key, certificate) in
        [("dcc", DCC_TLS_KEY, DCC_TLS_CERTIFICATE), ("supplier", SUPPLIER_TLS_KEY, SUPPLIER_TLS_CERTIFICATE)]
    {
        let wanted = Wanted::new(name, &HOSTS, Purpose::Both, now);
        authority.issue(&wanted)?.write_to(dir, key, certificate)?;
        eprintln!("made {} and {} for TLS", dir.join(key).display(), dir.join(certificate).display());
    }
    pki::write_certificate(dir, TLS_CA, &authority.certificate_pem)?;
    eprintln!("made {}, which vouches for both", dir.join(TLS_CA).display());
    Ok(())
}

fn make_folder(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir).map_err(|e| {
        Failure::failed(format!("cannot make the folder {}: {e}", dir.display())).help("check that it may be written")
    })
}
