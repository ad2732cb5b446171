//! Rows as bytes: how a typed row lies in the sorter, in the journal of an import, and how its key sorts.
//! Not a file format: only the process (or its successor after a crash) that wrote them reads them.

use crate::db::bulk::Value;

const NULL: u8 = 0;
const INT: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const TEXT: u8 = 4;

/// Appends one cell.
pub fn put(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Int(n) => {
            out.push(INT);
            out.extend_from_slice(&n.to_le_bytes());
        }
        Value::Bool(b) => out.push(if b { TRUE } else { FALSE }),
        Value::Text(text) => {
            let length = u32::try_from(text.len()).expect("a record is at most 64 KiB");
            out.push(TEXT);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Takes one cell off the front; `None` where the bytes are not what [`put`] wrote.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let (tag, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(match *tag {
        NULL => Value::Null,
        INT => Value::Int(i64::from_le_bytes(take_array(bytes)?)),
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        TEXT => {
            let length = u32::from_le_bytes(take_array(bytes)?) as usize;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Value::Text(std::str::from_utf8(text).ok()?)
        }
        _ => return None,
    })
}

pub fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Appends the cell so that bytes compare as the values do. Texts hold no NUL (rows with one are rejected).
pub fn put_key(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => out.push(0),
        Value::Int(n) => out.extend_from_slice(&((n as u64) ^ (1 << 63)).to_be_bytes()),
        Value::Bool(b) => out.push(u8::from(b)),
        Value::Text(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn cells_come_back_as_they_were(n: i64, b: bool, text: String) {
            let row = [Value::Int(n), Value::Null, Value::Bool(b), Value::Text(&text)];
            let mut bytes = Vec::new();
            row.iter().for_each(|v| put(&mut bytes, *v));
            let mut rest = bytes.as_slice();
            for value in row {
                proptest::prop_assert_eq!(take(&mut rest), Some(value));
            }
            proptest::prop_assert!(rest.is_empty());
        }

        #[test]
        fn keys_sort_as_the_values_do(a: (i64, String), b: (i64, String)) {
            let key = |v: &(i64, String)| {
                let mut out = Vec::new();
                put_key(&mut out, Value::Int(v.0));
                put_key(&mut out, Value::Text(&v.1));
                out
            };
            proptest::prop_assume!(!a.1.contains('\0') && !b.1.contains('\0'));
            proptest::prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while !rest.is_empty() && take(&mut rest).is_some() {}
        }
    }
}
