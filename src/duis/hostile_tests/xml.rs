//! Forgeries below the signature: what parsers choke on, disagree about, or would fetch. No key helps here.

use super::{super::MAX_MESSAGE_BYTES, forge::*};

pub fn rows(f: &Forger) -> Vec<Row> {
    [bytes(f), declarations(f), markup(f), characters(f), namespaces(f), sizes(f)].concat()
}

fn bytes(f: &Forger) -> Vec<Row> {
    let good = f.good.as_str();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let raw = |from: &str, to: &[u8]| {
        let at = good.find(from).unwrap();
        [&good.as_bytes()[..at], to, &good.as_bytes()[at + from.len()..]].concat()
    };
    vec![
        ("nothing", Vec::new()),
        ("white space alone", b" \n ".to_vec()),
        ("no XML", b"{\"code\": \"I99\"}".to_vec()),
        ("cut off in a tag", good.as_bytes()[..good.len() - 1].to_vec()),
        ("cut off before the signature", good.as_bytes()[..good.find("<ds:Signature").unwrap()].to_vec()),
        ("UTF-16 with a byte-order mark", utf16(&format!("\u{feff}{good}"))),
        ("UTF-16 without one", utf16(good)),
        ("UTF-32", good.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect()),
        ("a byte of Latin-1", raw("I99", b"I\xe99")),
        ("an overlong form of <", raw("I99", b"I\xc0\xbc99")),
        ("half a surrogate pair", raw("I99", b"I\xed\xa0\x80")),
        ("NUL in a text", raw("I99", b"I99\0")),
        ("NUL at the end", [good.as_bytes(), b"\0"].concat()),
        ("two byte-order marks", format!("\u{feff}\u{feff}{good}").into_bytes()),
        ("a byte-order mark within", f.altered(">I99<", ">\u{feff}I99<")),
        ("text after the root", format!("{good}x").into_bytes()),
        ("a second root", format!("{good}{}", f.unsigned()).into_bytes()),
        ("the same message twice", good.repeat(2).into_bytes()),
    ]
}

fn declarations(f: &Forger) -> Vec<Row> {
    let with = |head: &str| format!("{head}{}", f.good).into_bytes();
    vec![
        ("DOCTYPE", with("<!DOCTYPE r>")),
        ("DOCTYPE with an entity", with("<!DOCTYPE r [<!ENTITY e \"I0\">]>")),
        ("DOCTYPE with a file", with("<!DOCTYPE r SYSTEM \"file:///etc/passwd\">")),
        (
            "entities of entities",
            with("<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">]>"),
        ),
        ("an entity nobody declared", f.altered(">I99<", ">&e;<")),
        ("an entity of HTML", f.altered(">I99<", ">I99&nbsp;<")),
        ("XML 1.1", with("<?xml version=\"1.1\"?>")),
        ("declared to be UTF-16", with("<?xml version=\"1.0\" encoding=\"UTF-16\"?>")),
        ("declared to be UTF-7", with("<?xml version=\"1.0\" encoding=\"UTF-7\"?>")),
        ("declared to be ISO-8859-1", with("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>")),
        ("declared without a version", with("<?xml encoding=\"UTF-8\"?>")),
        ("declared after a space", with(" <?xml version=\"1.0\"?>")),
        ("declared twice", with("<?xml version=\"1.0\"?><?xml version=\"1.0\"?>")),
        ("a declaration without end", with("<?xml version=\"1.0\"")),
    ]
}

fn markup(f: &Forger) -> Vec<Row> {
    vec![
        ("a comment in a text", f.altered(">I99<", ">I<!-- -->99<")),
        ("a comment between elements", f.altered("<sr:Body>", "<!-- --><sr:Body>")),
        ("a comment before the root", format!("<!-- -->{}", f.good).into_bytes()),
        ("a comment in the DigestValue", f.altered("<ds:DigestValue>", "<ds:DigestValue><!-- -->")),
        ("a comment in the issuer", f.altered(">CN=Z1,OU=07<", ">CN=Z1<!-- -->,OU=07<")),
        ("CDATA", f.altered(">I99<", "><![CDATA[I99]]><")),
        ("the end of CDATA", f.altered(">I99<", ">I99]]><")),
        ("a processing instruction", f.altered("<sr:Body>", "<?x y?><sr:Body>")),
        ("a style sheet", format!("<?xml-stylesheet href=\"x\"?>{}", f.good).into_bytes()),
        ("an end tag of another name", f.altered("</sr:ResponseCode>", "</sr:Code>")),
        ("an end tag with a quote", f.altered("</sr:ResponseCode>", "</sr:ResponseCode'>")),
        ("a quote in a name", f.altered("<sr:Body>", "<sr:Body'>")),
        ("a tag in a tag", f.altered("<sr:Body>", "<sr:Body <sr:x>")),
        ("an attribute without quotes", f.altered("<sr:Body>", "<sr:Body a=1>")),
        ("an attribute without a value", f.altered("<sr:Body>", "<sr:Body a>")),
        ("an attribute twice", f.altered(" schemaVersion=", " schemaVersion=\"9.9\" schemaVersion=")),
        ("< in an attribute", f.altered("<sr:Body>", "<sr:Body a='<'>")),
        ("attributes without space between", f.altered("<sr:Body>", "<sr:Body a='1'b='2'>")),
    ]
}

fn characters(f: &Forger) -> Vec<Row> {
    let mut rows: Vec<Row> = [
        ("&#0;", ">I99&#0;<"),
        ("&#x1F;", ">I99&#x1F;<"),
        ("&#xFFFE;", ">I99&#xFFFE;<"),
        ("&#xD800;", ">I99&#xD800;<"),
        ("&#x110000;", ">I99&#x110000;<"),
        ("&#99999999999999999999;", ">I99&#99999999999999999999;<"),
        ("&#;", ">I99&#;<"),
        ("a lone &", ">I99&<"),
        ("U+FFFF itself", ">I99\u{ffff}<"),
        ("U+0001 itself", ">I99\u{1}<"),
        ("U+009B, which some terminals obey", ">I99\u{9b}<"),
        ("a carriage return as a reference", ">I99&#13;<"),
        ("a lone carriage return", ">I99\r<"),
        ("a full-width digit", ">I９9<"),
        ("a letter that joins", ">I99\u{200d}<"),
    ]
    .into_iter()
    .map(|(name, to)| (name, f.altered(">I99<", to)))
    .collect();
    rows.push(("a reference in a name", f.altered("<sr:Body>", "<sr:Bod&#121;>")));
    rows
}

fn namespaces(f: &Forger) -> Vec<Row> {
    let sr = "http://www.dccinterface.co.uk/ServiceUserGateway";
    vec![
        ("a prefix nobody declared", f.altered("<sr:Body>", "<sr:Body><x:a/>")),
        ("a prefix taken back", f.altered("<sr:Body>", "<sr:Body xmlns:sr=\"\">")),
        ("xml bound to another namespace", f.altered("<sr:Body>", "<sr:Body xmlns:xml=\"urn:x\">")),
        ("another prefix bound to xml's", f.altered("<sr:Body>", "<sr:Body xmlns:x=\"http://www.w3.org/XML/1998/namespace\">")),
        ("xmlns as a prefix", f.altered("<sr:Body>", "<sr:Body xmlns:xmlns=\"urn:x\">")),
        ("xmlns with a prefix", f.altered("<sr:Body>", "<sr:Body sr:xmlns=\"urn:x\">")),
        ("a namespace named xmlns", f.altered("<sr:Body>", "<sr:Body xmlns:x=\"http://www.w3.org/2000/xmlns/\">")),
        ("one attribute by two prefixes", f.altered("<sr:Body>", &format!("<sr:Body xmlns:a=\"{sr}\" a:x=\"1\" sr:x=\"2\">"))),
        ("the prefix bound to another namespace", f.altered("<sr:Body>", "<sr:Body xmlns:sr=\"urn:x\">")),
        ("a default namespace", f.altered("<sr:Body>", &format!("<sr:Body xmlns:sr=\"{sr}\" xmlns=\"urn:x\">"))),
        ("another prefix for the same namespace", f.altered(">I99</sr:", &format!("><x:a xmlns:x=\"{sr}\"/>I99</sr:"))),
        ("two colons in a name", f.altered("<sr:Body>", "<sr:Body><sr:a:b/>")),
        ("a colon at the start of an end tag's name", f.altered("</sr:ResponseMessage>", "<x></:x></sr:ResponseMessage>")),
        ("a colon at the start of a name", f.altered("<sr:Body>", "<sr:Body><:a/>")),
    ]
}

fn sizes(f: &Forger) -> Vec<Row> {
    let inside = |content: String| f.altered("<sr:Body>", &format!("<sr:Body>{content}"));
    let many = |n: usize| (0..n).map(|i| format!(" a{i}=\"\"")).collect::<String>();
    let long = "n".repeat(70_000);
    vec![
        ("depth 200,000", inside("<a>".repeat(200_000) + &"</a>".repeat(200_000))),
        ("depth 200,000, never closed", inside("<a>".repeat(200_000))),
        ("depth 65", inside("<a>".repeat(63) + &"</a>".repeat(63))),
        ("100,000 attributes in a tag", f.altered("<sr:Body>", &format!("<sr:Body{}>", many(100_000)))),
        ("17 attributes in a tag", f.altered("<sr:Body>", &format!("<sr:Body{}>", many(17)))),
        ("10,000 attributes in tags of their own", inside("<a b=''/>".repeat(10_000))),
        ("100,000 elements", inside("<a/>".repeat(100_000))),
        ("65 namespaces", inside((0..65).map(|n| format!("<a xmlns:n{n}=\"u\"/>")).collect())),
        ("an element's name of 70,000 bytes", inside(format!("<{long}/>"))),
        ("an attribute's name of 70,000 bytes", inside(format!("<a {long}é=\"\"/>"))),
        ("a namespace of a megabyte, used a thousand times", {
            let root = format!("<x:a xmlns:x=\"urn:{}\">{}</x:a>", "x".repeat(1 << 20), "<b><x:c/></b>".repeat(1_000));
            f.altered("<ds:SignedInfo>", &format!("<ds:SignedInfo>{root}"))
        }),
        ("99,000 elements in SignedInfo", f.altered("<ds:SignedInfo>", &format!("<ds:SignedInfo>{}", "<ds:x/>".repeat(99_000)))),
        ("a text of 15 MB", inside("x".repeat(15_000_000))),
        ("a byte more than the cap", [f.good.as_bytes(), &vec![b' '; MAX_MESSAGE_BYTES - f.good.len() + 1]].concat()),
        ("a body of 100 MB", [f.good.as_bytes(), &vec![b' '; 100 << 20]].concat()),
    ]
}
