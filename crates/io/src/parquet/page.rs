//! Data pages without compression: their header (Thrift, compact protocol; `PageHeader` and `DataPageHeader` of `parquet.thrift` in
//! apache/parquet-format), the levels that say which values are there, and the values as `PLAIN` writes them.

use super::{Chunk, Kind};

/// What a page of one value of `len` bytes begins with; `optional`: the column may be without one, so the page says that it is there.
pub fn lead(len: u64, optional: bool) -> Vec<u8> {
    let levels = if optional { levels(&[(1, 1)]) } else { vec![] };
    let mut bytes = header(levels.len() as u64 + 4 + len, 1);
    bytes.extend(levels);
    bytes.extend((len as u32).to_le_bytes());
    bytes
}

/// Appends the page of one row of a column and says where it stands, when `out` stands at `start` of the file.
pub fn append(out: &mut Vec<u8>, start: u64, (kind, optional): (Kind, bool), value: Option<&Plain>) -> Chunk {
    // A list is required, its elements are optional: levels of two bits, and one that tells where a list begins.
    let (levels, values) = match (kind, value) {
        (Kind::Longs, value) => match value.map_or(0, |v| v.count) {
            0 => (levels(&[(1, 0)]).repeat(2), 1),
            n => ([levels(&[(1, 0), (n - 1, 1)]), levels(&[(n, 2)])].concat(), n),
        },
        (_, value) if optional => (levels(&[(1, u8::from(value.is_some()))]), 1),
        _ => (vec![], 1),
    };
    let body = value.map_or(&[][..], |v| &v.bytes);
    let at = start + out.len() as u64;
    let page = header((levels.len() + body.len()) as u64, values);
    out.extend(page);
    out.extend(levels);
    out.extend(body);
    Chunk { at, size: start + out.len() as u64 - at, values }
}

/// Values as `PLAIN` writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Of a list; one otherwise.
    pub count: u64,
    /// Of all values.
    pub bytes: Vec<u8>,
}

impl Plain {
    pub fn one(bytes: impl Into<Vec<u8>>) -> Self {
        Self { count: 1, bytes: bytes.into() }
    }

    /// Bytes behind their length.
    pub fn binary(value: &[u8]) -> Self {
        Self::one([&(value.len() as u32).to_le_bytes()[..], value].concat())
    }
}

/// Runs of a level, run-length encoded, behind their length in bytes.
fn levels(runs: &[(u64, u8)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for &(count, level) in runs.iter().filter(|(count, _)| *count > 0) {
        varint(count << 1, &mut encoded);
        encoded.push(level);
    }
    [&(encoded.len() as u32).to_le_bytes()[..], &encoded].concat()
}

fn header(size: u64, values: u64) -> Vec<u8> {
    let mut bytes = vec![0x15, 0]; // type: a data page
    for _ in 0..2 {
        bytes.push(0x15); // sizes of what follows, compressed and not
        varint(size << 1, &mut bytes);
    }
    bytes.extend([0x2c, 0x15]); // its own header: how many values
    varint(values << 1, &mut bytes);
    bytes.extend([0x15, 0, 0x15, 6, 0x15, 6, 0, 0]); // plain, levels run-length encoded; the ends of both
    bytes
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
