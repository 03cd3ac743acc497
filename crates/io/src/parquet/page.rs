//! What a page of one uncompressed value begins with: its header (Thrift, compact protocol; `PageHeader` and `DataPageHeader` of
//! `parquet.thrift` in apache/parquet-format), that the value is there, and its length.

/// Levels of one value that is there, and of one that is not, in a column where it may be absent: their length, then a run of one.
const THERE: [u8; 6] = [2, 0, 0, 0, 2, 1];
const ABSENT: [u8; 6] = [2, 0, 0, 0, 2, 0];

/// Of a value of `len` bytes; `optional`: the column may be without one, so the page says that it is there.
pub fn lead(len: u64, optional: bool) -> Vec<u8> {
    let levels: &[u8] = if optional { &THERE } else { &[] };
    let mut bytes = header(levels.len() as u64 + 4 + len);
    bytes.extend(levels);
    bytes.extend((len as u32).to_le_bytes());
    bytes
}

/// A whole page without a value.
pub fn absent() -> Vec<u8> {
    let mut bytes = header(ABSENT.len() as u64);
    bytes.extend(ABSENT);
    bytes
}

fn header(size: u64) -> Vec<u8> {
    let mut bytes = vec![0x15, 0]; // type: a data page
    for _ in 0..2 {
        bytes.push(0x15); // sizes of what follows, compressed and not
        varint(size << 1, &mut bytes);
    }
    // Its own header: one value, plain, levels run-length encoded; the ends of both.
    bytes.extend([0x2c, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0]);
    bytes
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
