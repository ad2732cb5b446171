//! The identifiers of the field, each parsed once at the edge and impossible to get wrong afterwards.
//! Promise: a value of one of these types is well formed; `Display` gives the spelling the wire and the files use.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// Why a text is not the identifier wanted; says which shape is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {wanted}")]
pub struct IdError {
    pub found: String,
    pub wanted: &'static str,
}

impl IdError {
    /// Longest piece of a bad value that is repeated in a message (hostile input stays readable).
    const SHOWN_CHARS: usize = 60;

    pub fn new(found: &str, wanted: &'static str) -> IdError {
        IdError { found: found.chars().take(Self::SHOWN_CHARS).collect(), wanted }
    }
}

macro_rules! serialize_as_text {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    )*};
}
serialize_as_text!(Eui, Mpan, Mpid, ImageId, RequestId);

/// A Device ID or User ID: an EUI-64, written `00-DB-12-34-56-78-90-A4`, read in either case (DUIS `EUI`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Eui(pub u64);

pub type DeviceId = Eui;
pub type UserId = Eui;

impl Eui {
    /// As a database column: the same 64 bits, signed.
    pub fn to_db(self) -> i64 {
        self.0 as i64
    }

    pub fn from_db(bits: i64) -> Eui {
        Eui(bits as u64)
    }

    /// As it is written, in ASCII.
    #[inline(never)]
    pub fn to_ascii(self) -> [u8; 23] {
        let mut text = [b'-'; 23];
        for (byte, place) in self.0.to_be_bytes().iter().zip(text.chunks_mut(3)) {
            place[..2].copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
        }
        text
    }
}

/// The two digits of each byte: lists have 50,000 Device IDs.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

impl FromStr for Eui {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Eui, IdError> {
        let bytes = s.as_bytes();
        let wrong = || IdError::new(s, "an EUI-64 such as 00-DB-12-34-56-78-90-A4");
        if bytes.len() != 23 {
            return Err(wrong());
        }
        let mut value = 0u64;
        for (i, b) in bytes.iter().enumerate() {
            if i % 3 == 2 {
                if *b != b'-' {
                    return Err(wrong());
                }
            } else {
                let digit = (*b as char).to_digit(16).ok_or_else(wrong)?;
                value = value << 4 | u64::from(digit);
            }
        }
        Ok(Eui(value))
    }
}

impl fmt::Display for Eui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).expect("hexadecimal digits and hyphens are ASCII"))
    }
}

/// An electricity supply number: 13 digits, the last a check digit over the first twelve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mpan(u64);

impl Mpan {
    /// Weights of the first twelve digits (domain.md, MPAN).
    const WEIGHTS: [u32; 12] = [3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43];

    pub fn check_digit(first_twelve: &[u8; 12]) -> u8 {
        let sum: u32 = first_twelve.iter().zip(Self::WEIGHTS).map(|(d, w)| u32::from(*d) * w).sum();
        (sum % 11 % 10) as u8
    }

    /// The number with these twelve leading digits and its right check digit.
    pub fn from_first_twelve(number: u64) -> Mpan {
        let mut digits = [0u8; 12];
        let mut rest = number % 1_000_000_000_000;
        for d in digits.iter_mut().rev() {
            *d = (rest % 10) as u8;
            rest /= 10;
        }
        Mpan(number % 1_000_000_000_000 * 10 + u64::from(Self::check_digit(&digits)))
    }

    pub fn to_db(self) -> i64 {
        self.0 as i64
    }

    /// A value that `to_db` gave.
    pub fn from_db(n: i64) -> Mpan {
        Mpan(n as u64)
    }

    /// A text of somebody else's with every MPAN in it masked but for its last four digits. (13 digits after a colon are the
    /// counter of a RequestID.)
    pub fn masked_in(text: &str) -> String {
        Mpan::masked_unless(text, |before| before.ends_with(':'))
    }

    /// The same, where `is_counter` says of the text before 13 digits whether they are the counter of a RequestID.
    pub fn masked_unless(text: &str, is_counter: impl Fn(&str) -> bool) -> String {
        const SHOWN: usize = 4;
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
            let run = &rest[start..start + digits];
            masked.push_str(&rest[..start]);
            if run.parse::<Mpan>().is_ok() && !is_counter(&masked) {
                masked.push_str(&"*".repeat(run.len() - SHOWN));
                masked.push_str(&run[run.len() - SHOWN..]);
            } else {
                masked.push_str(run);
            }
            rest = &rest[start + digits..];
        }
        masked + rest
    }
}

impl FromStr for Mpan {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Mpan, IdError> {
        let bytes = s.as_bytes();
        if bytes.len() != 13 || !bytes.iter().all(u8::is_ascii_digit) {
            return Err(IdError::new(s, "an MPAN: 13 digits"));
        }
        let mut first = [0u8; 12];
        for (d, b) in first.iter_mut().zip(bytes) {
            *d = b - b'0';
        }
        if Self::check_digit(&first) != bytes[12] - b'0' {
            return Err(IdError::new(s, "an MPAN: its last digit is not its check digit"));
        }
        Ok(Mpan(s.parse().expect("13 digits fit a u64")))
    }
}

impl fmt::Display for Mpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}", self.0)
    }
}

/// A market participant id: four capital letters. Three are a gas shipper's and are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mpid([u8; 4]);

impl Mpid {
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an Mpid is ASCII letters")
    }
}

impl FromStr for Mpid {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Mpid, IdError> {
        match <[u8; 4]>::try_from(s.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Mpid(letters)),
            _ => Err(IdError::new(s, "a market participant id: four capital letters, such as EELC")),
        }
    }
}

impl fmt::Display for Mpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SHA-256: of an image it is the image's id, in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub [u8; 32]);

pub type Sha256Hash = ImageId;

impl<'de> serde::Deserialize<'de> for ImageId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<ImageId, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for ImageId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<ImageId, IdError> {
        let wrong = || IdError::new(s, "a SHA-256: 64 hexadecimal digits");
        if s.len() != 64 || !s.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(s.as_bytes().chunks(2)) {
            let high = (pair[0] as char).to_digit(16).ok_or_else(wrong)?;
            let low = (pair[1] as char).to_digit(16).ok_or_else(wrong)?;
            *byte = (high << 4 | low) as u8;
        }
        Ok(ImageId(bytes))
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageId({self})")
    }
}

/// Lower-case hexadecimal, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `originator EUI : target EUI : counter` (DUIS `RequestIDType`; a ResponseID has the same form, DCC first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    pub originator: UserId,
    pub target: Eui,
    /// Strictly rising per originator, never reused.
    pub counter: u64,
}

impl FromStr for RequestId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<RequestId, IdError> {
        let wrong = || IdError::new(s, "a RequestID: EUI:EUI:counter, the counter without leading zeros");
        let mut parts = s.split(':');
        let (Some(originator), Some(target), Some(counter), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let leading_zero = counter.len() > 1 && counter.starts_with('0');
        if leading_zero || !counter.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        Ok(RequestId {
            originator: originator.parse().map_err(|_| wrong())?,
            target: target.parse().map_err(|_| wrong())?,
            counter: counter.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.originator, self.target, self.counter)
    }
}

/// A closed list of spellings, read exactly and written back the same.
#[macro_export]
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident, $wanted:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ids::IdError;
            fn from_str(s: &str) -> Result<$name, $crate::ids::IdError> {
                match s {
                    $($text => Ok($name::$variant),)+
                    _ => Err($crate::ids::IdError::new(s, $wanted)),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mpan_in_a_text_is_masked_and_nothing_else() {
        for (text, shown) in [
            ("MPAN 2298132107763, twice: 1900033146143.", "MPAN *********7763, twice: *********6143."),
            ("2298132107763", "*********7763"),
            ("9999999999999 fails its check digit", "9999999999999 fails its check digit"),
            ("12298132107763 has 14 digits é", "12298132107763 has 14 digits é"),
            (
                "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:2298132107763",
                "90-B3-D5-1F-30-01-00-00:90-B3-D5-1F-30-00-00-02:2298132107763",
            ),
            ("", ""),
        ] {
            assert_eq!(Mpan::masked_in(text), shown);
        }
    }

    #[test]
    fn mpans_of_the_domain_notes_pass_or_fail_their_check_digit() {
        for good in ["2298132107763", "2278676232781", "1900033146143", "1470001573345", "2227651294270", "2284779118120"] {
            assert_eq!(good.parse::<Mpan>().unwrap().to_string(), good);
            assert_eq!(Mpan::from_first_twelve(good[..12].parse().unwrap()).to_string(), good);
        }
        for bad in ["2299814881118", "2284779118129", "9999999999999", "229813210776", "22981321077633", "2298132 07763", ""] {
            assert!(bad.parse::<Mpan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_eui_is_read_in_either_case_and_written_in_capitals() {
        let id: Eui = "00-db-12-34-56-78-90-a4".parse().unwrap();
        assert_eq!(id.to_string(), "00-DB-12-34-56-78-90-A4");
        assert_eq!(Eui::from_db(id.to_db()), id);
        for bad in ["", "00DB1234567890A4", "00-DB-12-34-56-78-90-A", "00-DB-12-34-56-78-90-AG", "00:DB:12:34:56:78:90:A4"] {
            assert!(bad.parse::<Eui>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gas_shipper_is_no_supplier() {
        assert!("EELC".parse::<Mpid>().is_ok());
        for bad in ["GSH", "eelc", "EELCX", "EEL1", ""] {
            assert!(bad.parse::<Mpid>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn request_ids_survive_writing_and_reading(a: u64, b: u64, counter: u64) {
            let id = RequestId { originator: Eui(a), target: Eui(b), counter };
            proptest::prop_assert_eq!(id.to_string().parse::<RequestId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_a_parser_panic(s: String) {
            let _ = (s.parse::<Eui>(), s.parse::<Mpan>(), s.parse::<Mpid>(), s.parse::<ImageId>(), s.parse::<RequestId>());
        }
    }
}
