//! The canonical forms, held against `xmllint --c14n` and `--exc-c14n` on thousands of random documents: namespaces of every kind,
//! references, line ends, letters beyond ASCII. `xmllint` takes one file at a time, so hundreds of documents share one root,
//! in several surroundings. PPMID_C14N_DOCUMENTS sets their number.

use std::{ops::Range, process::Command};

use proptest::{collection::vec, prelude::*};

use super::{
    peer_tests::{examples, said, tool},
    *,
};

const DOCUMENTS: usize = 20_000;
/// Documents below one root.
const BATCH: usize = 250;
/// What the documents of a batch find declared above them.
const SURROUNDINGS: [&str; 4] = [
    "",
    " xmlns:a=\"urn:a\" xmlns:b=\"urn:unused\"",
    " xmlns=\"urn:b\"",
    " xmlns=\"urn:a\" xmlns:sr=\"urn:a\" xmlns:a=\"urn:z\"",
];

/// An element to be rendered: name, namespace declarations, attributes, children; numbers choose from small sets.
#[derive(Debug, Clone)]
struct Element {
    prefix: usize,
    declarations: Vec<(usize, usize)>,
    attributes: Vec<(usize, usize, String)>,
    children: Vec<Child>,
}

#[derive(Debug, Clone)]
enum Child {
    Text(String),
    Element(Element),
}

const PREFIXES: [&str; 4] = ["", "a", "b", "sr"];
/// No &: xmllint writes it unescaped in a namespace declaration, which is not well formed. And ASCII alone: it takes no other.
const URIS: [&str; 4] = ["urn:a", "urn:b", "http://example.com/x?y='1'", "urn:z"];
const NAMES: [&str; 4] = ["n", "lang", "a-b.é", "Z"];

/// Text as it may be written: references, line ends, quotes, letters beyond ASCII.
fn written_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "x",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\r",
        "&amp;",
        "&lt;",
        "&gt;",
        ">",
        "'",
        "&quot;",
        "&#13;",
        "&#x9;",
        "&#10;",
        "é",
        "€",
        "&#x1D11E;",
        "] ",
    ]);
    vec(piece, 0..6).prop_map(|p| p.concat())
}

/// Nine elements on average, five deep at most.
fn element() -> impl Strategy<Value = Element> {
    nested(4, 2..6)
}

fn nested(depth: usize, width: Range<usize>) -> BoxedStrategy<Element> {
    let tag = (0..4usize, vec((0..4usize, 0..5usize), 0..3), vec((0..5usize, 0..4usize, written_text()), 0..4));
    let text = written_text().prop_map(Child::Text);
    let child = match depth {
        0 => text.boxed(),
        depth => prop_oneof![2 => text, 3 => nested(depth - 1, 0..4).prop_map(Child::Element)].boxed(),
    };
    (tag, vec(child, width))
        .prop_map(|((prefix, declarations, attributes), children)| Element { prefix, declarations, attributes, children })
        .boxed()
}

/// Which of [`URIS`] each of [`PREFIXES`] is bound to.
fn scope_of(declarations: &str) -> [Option<usize>; 4] {
    PREFIXES.map(|prefix| {
        let name = if prefix.is_empty() { " xmlns=\"".to_owned() } else { format!(" xmlns:{prefix}=\"") };
        let (_, uri) = declarations.split_once(&name)?;
        // One that is not of the set is as good as any that no document uses.
        Some(URIS.iter().position(|known| uri.starts_with(&format!("{known}\""))).unwrap_or(URIS.len()))
    })
}

/// Writes the element so that it is well formed: prefixes that are not bound in `scope` are left out, doubles too.
fn render(element: &Element, scope: &[Option<usize>; 4], out: &mut String) {
    let mut scope = *scope;
    let mut tag = String::new();
    let mut declared = [false; 4];
    for (prefix, uri) in &element.declarations {
        // Four stands for no namespace, which only the default can be.
        if std::mem::replace(&mut declared[*prefix], true) || (*uri == 4 && *prefix != 0) {
            continue;
        }
        let colon = if *prefix == 0 { "" } else { ":" };
        tag += &format!("  xmlns{colon}{}=\"{}\"", PREFIXES[*prefix], URIS.get(*uri).unwrap_or(&""));
        scope[*prefix] = URIS.get(*uri).map(|_| *uri);
    }
    let mut used: Vec<(Option<usize>, usize)> = Vec::new();
    for (prefix, name, value) in &element.attributes {
        // Four stands for `xml`, which is always bound.
        let (uri, name_of) = match prefix {
            0 => (None, ""),
            4 => (Some(usize::MAX), "xml:"),
            _ => (scope[*prefix], ["", "a:", "b:", "sr:"][*prefix]),
        };
        if (*prefix != 0 && uri.is_none()) || used.contains(&(uri, *name)) {
            continue;
        }
        used.push((uri, *name));
        tag += &format!("\n{name_of}{} = \"{}\"", NAMES[*name], value);
    }
    let prefix = if scope[element.prefix].is_some() { PREFIXES[element.prefix] } else { "" };
    let name = format!("{prefix}{}e", if prefix.is_empty() { "" } else { ":" });
    if element.children.is_empty() {
        *out += &format!("<{name}{tag} />");
        return;
    }
    *out += &format!("<{name}{tag}>");
    for child in &element.children {
        match child {
            Child::Text(text) => *out += text,
            Child::Element(element) => render(element, &scope, out),
        }
    }
    *out += &format!("</{name}\n>");
}

/// What `xmllint` makes of the text.
fn theirs(xmllint: &str, how: &str, text: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let output = Command::new(xmllint).args(["--nonet", "--huge", how]).arg(file.path()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Both texts, or the place where they part.
fn assert_same(ours: &str, theirs: &str, what: &str) {
    let at = ours.bytes().zip(theirs.bytes()).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let around = |text: &str| -> String {
        let Range { start, end } = at.saturating_sub(300)..(at + 100).min(text.len());
        String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()
    };
    assert!(ours == theirs, "{what}: at byte {at}\nours   ...{}\ntheirs ...{}", around(ours), around(theirs));
}

#[test]
fn canonical_forms_agree_with_xmllint_on_thousands_of_random_documents() {
    let Some(xmllint) = tool("xmllint") else { return };
    let count = std::env::var("PPMID_C14N_DOCUMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(DOCUMENTS);
    for (n, batch) in examples(element(), count).chunks(BATCH).enumerate() {
        let surroundings = SURROUNDINGS[n % SURROUNDINGS.len()];
        let scope = scope_of(surroundings);
        let mut text = format!("<w:all xmlns:w=\"urn:w\"{surroundings}>");
        for element in batch {
            render(element, &scope, &mut text);
        }
        text += "</w:all>";
        // Of the prescan the line ends alone: its limits are for a message, not for hundreds of documents in one.
        let scanned = prescan::line_ends(&text);
        let document = verify::parse(&scanned).unwrap();
        assert_same(&canonical::inclusive(&document, None), &theirs(xmllint, "--c14n", &text), "inclusive");
        // The root's own start tag declares what it uses alone, so that each document below it is canonical as if it stood alone.
        let alone: String = document.root_element().children().map(canonical::exclusive).collect();
        let ours = format!("<w:all xmlns:w=\"urn:w\">{alone}</w:all>");
        assert_same(&ours, &theirs(xmllint, "--exc-c14n", &text), "exclusive");
    }
}

#[test]
fn whole_documents_agree_with_xmllint_by_the_way_a_message_takes() {
    let Some(xmllint) = tool("xmllint") else { return };
    for element in examples(element(), 20) {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        render(&element, &[None; 4], &mut text);
        text += "\n";
        let scanned = prescan::prescan(text.as_bytes(), MAX_MESSAGE_BYTES).expect(&text);
        let document = verify::parse(&scanned).expect(&text);
        assert_same(&canonical::inclusive(&document, None), &theirs(xmllint, "--c14n", &text), &text);
        assert_same(&canonical::exclusive(document.root_element()), &theirs(xmllint, "--exc-c14n", &text), &text);
    }
}

/// Pieces that make a document another one, or none.
const SNIPPETS: [&str; 22] = [
    "<",
    ">",
    "/",
    "&",
    ";",
    "'",
    "\"",
    "=",
    ":",
    " ",
    "\r",
    "xmlns=\"\"",
    " xmlns:a=\"urn:c\"",
    "a:",
    "&#",
    "&#x0;",
    "]]>",
    "é",
    "\u{fffe}",
    "<e/>",
    " a:n=\"\"",
    "\u{feff}",
];

/// The text with a few pieces put in, taken out or doubled. `choices` decide everything.
fn mutated(text: &str, choices: &[(prop::sample::Index, usize)]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (at, what) in choices {
        let at = at.index(text.len());
        let piece = at..(at + 1 + what % 5).min(text.len());
        match what % 4 {
            0 => drop(text.drain(piece)),
            1 => drop(text.splice(at..at, text[piece].to_vec())),
            _ => drop(text.splice(at..at, SNIPPETS[what % SNIPPETS.len()].chars())),
        }
    }
    text.into_iter().collect()
}

#[test]
fn what_is_taken_for_xml_here_is_xml_to_xmllint_and_has_one_canonical_form() {
    let Some(xmllint) = tool("xmllint") else { return };
    let choices = || vec((any::<prop::sample::Index>(), any::<usize>()), 1..4);
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut all, mut ours) = (Vec::new(), "<w:all xmlns:w=\"urn:w\">".to_owned(), String::new());
    for (element, choices) in examples((element(), choices()), 20_000) {
        let mut text = String::new();
        render(&element, &[None; 4], &mut text);
        let text = mutated(&text, &choices);
        let Ok(scanned) = prescan::prescan(text.as_bytes(), MAX_MESSAGE_BYTES) else { continue };
        let Ok(document) = verify::parse(&scanned) else { continue };
        // It has views of its own on what a URI may be.
        let known = |uri: &str| URIS.contains(&uri) || ["urn:c", "", "http://www.w3.org/XML/1998/namespace"].contains(&uri);
        if !document.descendants().all(|n| n.namespaces().all(|n| known(n.uri()))) {
            continue;
        }
        let path = folder.path().join(format!("{}.xml", files.len()));
        std::fs::write(&path, &text).unwrap();
        files.push(path);
        all += &scanned[document.root_element().range()];
        ours += &canonical::exclusive(document.root_element());
    }
    assert!(files.len() > 1_000, "{} of them are XML", files.len());
    let output = Command::new(xmllint).args(["--nonet", "--noout"]).args(&files).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    all += "</w:all>";
    let ours = format!("<w:all xmlns:w=\"urn:w\">{ours}</w:all>");
    assert_same(&ours, &theirs(xmllint, "--exc-c14n", &all), "exclusive");
}
