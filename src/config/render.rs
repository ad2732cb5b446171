//! The effective settings as text (`ppmid serve --check`): what holds, and where it came from. Secrets are masked before they
//! get here.

use serde_json::{Map, Value as Json, json};

use super::{Settings, Shown};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A `ppmid.toml` with the origin of each value as a comment.
    Toml,
    /// One object: each section an object, and `origins`, from `section.key` to where the value came from.
    Json,
    /// Columns `key,value,origin`; the items of a list are separated by `;`.
    Csv,
}

impl Settings {
    /// Every setting; ends in a line feed.
    pub fn render(&self, shape: Shape) -> String {
        match shape {
            Shape::Toml => self.toml(),
            Shape::Json => self.json(),
            Shape::Csv => self.csv(),
        }
    }

    fn toml(&self) -> String {
        let mut text = String::new();
        let mut open = "";
        let width = self.shown.iter().map(|s| line(s).chars().count()).max().unwrap_or(0);
        // A section's own keys come before its sub-sections, as TOML wants.
        for shown in &self.shown {
            let (section, _) = split(shown.key);
            if section != open {
                text += &format!("{}[{section}]\n", if open.is_empty() { "" } else { "\n" });
                open = section;
            }
            text += &format!("{:width$}  # {}\n", line(shown), shown.origin);
        }
        text
    }

    fn json(&self) -> String {
        let mut root = Map::new();
        let mut origins = Map::new();
        for shown in &self.shown {
            let (section, key) = split(shown.key);
            let mut at = &mut root;
            for name in section.split('.') {
                at = match at.entry(name).or_insert_with(|| json!({})) {
                    Json::Object(inner) => inner,
                    _ => unreachable!("no key has the name of a section"),
                };
            }
            at.insert(key.to_string(), shown.value.clone());
            origins.insert(shown.key.to_string(), Json::from(shown.origin.to_string()));
        }
        root.insert("origins".to_string(), Json::Object(origins));
        format!("{:#}\n", Json::Object(root))
    }

    fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let texts = self.shown.iter().map(|s| [s.key.to_string(), plain(&s.value), s.origin.to_string()]);
        for row in std::iter::once(["key", "value", "origin"].map(str::to_string)).chain(texts) {
            writer.write_record(row).expect("memory takes every row");
        }
        let bytes = writer.into_inner().expect("memory takes every row");
        String::from_utf8(bytes).expect("made of texts")
    }
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').expect("every key has a section")
}

/// A JSON text, list or integer is also TOML.
fn line(shown: &Shown) -> String {
    let value = match &shown.value {
        Json::Array(items) => format!("[{}]", items.iter().map(Json::to_string).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    };
    format!("{} = {value}", split(shown.key).1)
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(s) => s.clone(),
        Json::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(";"),
        other => other.to_string(),
    }
}
