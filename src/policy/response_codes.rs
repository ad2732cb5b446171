//! `response-codes.toml`: what to do about each code that DCC or a SMETS1 service provider answers with.
//! Promise: a code that nobody lists is [`Disposition::Unknown`]: held and told, never guessed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    document::{Place, Read, Section, parsed, read_document, text, yes_no},
    files::{Head, read_head},
};

crate::spelled! {
    /// What an answer means for the batch or the device.
    Disposition, "a disposition" {
        /// DCC has it; the devices' own answers come later.
        Accepted = "accepted",
        /// Nothing is wrong with the request: send it again, later.
        RetryLater = "retry_later",
        /// The device's PPMID key is missing: held, with a key case.
        NeedsKeys = "needs_keys",
        /// This device is out; the others go on. An answer that names no device is to be held.
        DropDevice = "drop_device",
        /// DCC refused this batch as a whole; other batches go on.
        RefuseBatch = "refuse_batch",
        /// Every batch would meet this: the campaign halts.
        StopCampaign = "stop_campaign",
        /// DCC has this RequestID from before.
        SeenAlready = "seen_already",
        /// Hold what it answers, and tell the operator.
        Unknown = "unknown",
    }
}

/// What is known of one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodeEntry {
    pub disposition: Disposition,
    /// For the operator.
    pub sentence: String,
    /// Where the meaning was read.
    pub source: Option<String>,
    /// False where the meaning was not read in a source of DCC's.
    pub known: bool,
}

/// An S1SP alert code, and a piece of its text where the code alone does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct S1spEntry {
    pub code: String,
    pub text_contains: Option<String>,
    #[serde(flatten)]
    pub entry: CodeEntry,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResponseCodes {
    #[serde(rename = "code")]
    pub codes: BTreeMap<String, CodeEntry>,
    pub s1sp: Vec<S1spEntry>,
}

impl ResponseCodes {
    /// What to do about a response code: [`Disposition::Unknown`] where nobody listed it.
    pub fn disposition(&self, code: &str) -> Disposition {
        self.entry(code).map_or(Disposition::Unknown, |e| e.disposition)
    }

    pub fn entry(&self, code: &str) -> Option<&CodeEntry> {
        self.codes.get(code)
    }

    /// What to do about an S1SP alert: by the first entry of which code and text fit.
    pub fn s1sp(&self, code: &str, alert_text: &str) -> Disposition {
        self.s1sp_entry(code, alert_text).map_or(Disposition::Unknown, |e| e.entry.disposition)
    }

    pub fn s1sp_entry(&self, code: &str, alert_text: &str) -> Option<&S1spEntry> {
        let lower = alert_text.to_lowercase();
        let fits = |e: &&S1spEntry| e.text_contains.as_ref().is_none_or(|part| lower.contains(&part.to_lowercase()));
        self.s1sp.iter().filter(|e| e.code == code).find(fits)
    }
}

/// Reads the file. It is taken whole: a code it does not list is unknown, whatever the compiled-in file says of it.
pub(super) fn read_response_codes(place: Place<'_>) -> Read<(Head, ResponseCodes)> {
    read_document(place, |file| {
        let head = read_head(file)?;
        let mut codes = BTreeMap::new();
        for mut table in file.tables("code", "tables [[code]]")? {
            let names = read_names(&mut table)?;
            let entry = read_entry(&mut table)?;
            table.finish()?;
            for name in names {
                if codes.insert(name.clone(), entry.clone()).is_some() {
                    return Err(table.conflict("code", format!("{name} is listed twice"), "each code once"));
                }
            }
        }
        let s1sp: Vec<S1spEntry> = file.tables("s1sp", "tables [[s1sp]]")?.into_iter().map(read_s1sp).collect::<Read<_>>()?;
        Ok((head, ResponseCodes { codes, s1sp }))
    })
}

/// `code` or `codes`, exactly one of them.
fn read_names(table: &mut Section<'_, '_>) -> Read<Vec<String>> {
    const WANTED: &str = "one response code as `code = \"E4\"`, or several as `codes = [\"E31\", \"E40\"]`";
    let one = table.optional("code", "a response code such as \"E4\"", code)?;
    let several = table.list("codes", "a response code such as \"E4\"", code)?;
    match (one, several) {
        (Some(one), None) => Ok(vec![one]),
        (None, Some(several)) if !several.is_empty() => Ok(several),
        (None, Some(_)) => Err(table.conflict("codes", "the list is empty", WANTED)),
        (Some(_), Some(_)) => Err(table.conflict("codes", "there is `code` as well", WANTED)),
        (None, None) => Err(table.missing("code", WANTED)),
    }
}

fn read_entry(table: &mut Section<'_, '_>) -> Read<CodeEntry> {
    let dispositions = Disposition::ALL.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", ");
    Ok(CodeEntry {
        disposition: table.required("disposition", &format!("one of {dispositions}"), parsed)?,
        sentence: table.required("sentence", "a text for the operator", text)?,
        source: table.optional("source", "a text: where the meaning was read", text)?,
        known: table.optional("known", "true or false", yes_no)?.unwrap_or(true),
    })
}

fn read_s1sp(mut table: Section<'_, '_>) -> Read<S1spEntry> {
    let entry = S1spEntry {
        // Any text: the schema gives these codes no shape.
        code: table.required("code", "an S1SP alert code such as \"S1VE1\"", text)?,
        text_contains: table.optional("text_contains", "a text that is not empty", text)?,
        entry: read_entry(&mut table)?,
    };
    table.finish()?;
    Ok(entry)
}

/// Letters and digits, as the schema's codes are.
fn code(value: &toml::de::DeValue<'_>) -> Option<String> {
    text(value).filter(|t| t.len() <= 40 && t.bytes().all(|b| b.is_ascii_alphanumeric()))
}
