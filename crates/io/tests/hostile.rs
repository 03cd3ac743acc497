//! Damaged and malicious files: always a typed error or equal data, never a panic, never a wait.

use aq_io::Disk;
use aq_io::error::{Damage, Defect, IoError};
use aq_io::source::Shard;
use aq_testkit::SafetensorsFile;
use aq_testkit::safetensors_file::{raw, raw_with_length};
use std::path::Path;
use tempfile::TempDir;

/// Three tensors of different types. No data byte is white space, which a longer header could swallow.
fn three() -> SafetensorsFile {
    SafetensorsFile::new()
        .metadata("format", "pt")
        .f32("a.weight", &[2, 3], &[1.0, -2.0, 3.0, 4.5, 5.0, -6.0])
        .tensor("b", "F16", &[4], [0x3c, 0x3c, 0xbc, 0x3c, 0x40, 0x3c, 0x44, 0x3c])
        .tensor("c", "U8", &[5], [250, 251, 252, 253, 254])
}

fn open(dir: &Path, bytes: &[u8]) -> Result<Shard, IoError> {
    let path = dir.join("model.safetensors");
    std::fs::write(&path, bytes).expect("the file can be written");
    Shard::open(&Disk::default(), &path, None)
}

fn damage(bytes: &[u8]) -> Damage {
    let dir = TempDir::new().expect("a temporary folder");
    match open(dir.path(), bytes) {
        Err(IoError::Corrupt(damage)) => *damage,
        other => unreachable!("{other:?} for {}", String::from_utf8_lossy(bytes)),
    }
}

fn defect(bytes: &[u8]) -> Defect {
    damage(bytes).defect
}

/// Shape, type and bytes of every tensor; names may differ after a harmless flip.
fn content(shard: &Shard) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let read = |t: &aq_io::TensorInfo| {
        let mut bytes = vec![0; t.len as usize];
        shard.read(&mut bytes, t.offset).expect("a checked tensor can be read");
        (t.dtype.name().to_owned(), t.shape.clone(), bytes)
    };
    shard.header.tensors.iter().map(read).collect()
}

#[test]
fn a_sound_file_reads_back() {
    let dir = TempDir::new().unwrap();
    let shard = open(dir.path(), &three().bytes()).unwrap();
    let names: Vec<&str> = shard.header.tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "b", "c"]);
    assert_eq!(shard.header.metadata["format"], "pt");
    let content = content(&shard);
    assert_eq!(content[2], ("U8".into(), vec![5], vec![250, 251, 252, 253, 254]));
    assert_eq!(content[0].2[..4], 1f32.to_le_bytes());
    // no tensors at all, scalars and empty tensors are legal
    assert!(open(dir.path(), &raw(b"{}", b"")).is_ok());
    let file = SafetensorsFile::new().f32("scalar", &[], &[1.0]).f32("empty", &[0, 7], &[]);
    assert_eq!(open(dir.path(), &file.bytes()).unwrap().header.tensors.len(), 2);
}

#[test]
fn the_stated_length_is_bounded() {
    let (header, data) = (three().header(), three().data());
    for length in [0, (header.len() + data.len() + 1) as u64, 100_000_001, 1 << 63, u64::MAX] {
        let damage = damage(&raw_with_length(length, header.as_bytes(), &data));
        assert_eq!((damage.defect, damage.declared), (Defect::HeaderLength, Some(length.to_string())));
    }
    for bytes in [&[][..], &[1], &[0; 7]] {
        assert_eq!(defect(bytes), Defect::TooShort);
    }
}

#[test]
fn headers_that_are_not_a_json_object() {
    assert_eq!(defect(&raw(b"{\"a\xff\":1}", b"")), Defect::HeaderEncoding);
    assert_eq!(defect(&raw(&[0xc3, 0x28], b"")), Defect::HeaderEncoding);
    let deep = "[".repeat(200);
    let nested = format!("{{\"a\":{deep}}}");
    for text in ["[]", "7", "null", "\"x\"", "{", "{}}", "{\"a\":}", "{'a':1}", "{\"a\":{},}", " ", &deep, &nested] {
        assert_eq!(defect(&raw(text.as_bytes(), b"")), Defect::HeaderJson, "{text}");
    }
}

#[test]
fn entries_with_missing_or_wrong_fields() {
    let tensor = |fields: &str| raw(format!("{{\"a\":{{{fields}}}}}").as_bytes(), &[1; 4]);
    let (dtype, shape, offsets) = (r#""dtype":"F32""#, r#""shape":[1]"#, r#""data_offsets":[0,4]"#);
    let join = |parts: &[&str]| tensor(&parts.join(","));
    assert!(open(TempDir::new().unwrap().path(), &join(&[dtype, shape, offsets])).is_ok());
    for bytes in [
        join(&[shape, offsets]),
        join(&[dtype, offsets]),
        join(&[dtype, shape]),
        join(&[r#""dtype":7"#, shape, offsets]),
        join(&[r#""dtype":null"#, shape, offsets]),
        join(&[dtype, r#""shape":1"#, offsets]),
        join(&[dtype, r#""shape":["1"]"#, offsets]),
        join(&[dtype, r#""shape":[-1]"#, offsets]),
        join(&[dtype, r#""shape":[1.0]"#, offsets]),
        join(&[dtype, r#""shape":[1e0]"#, offsets]),
        join(&[dtype, r#""shape":[18446744073709551616]"#, offsets]),
        join(&[dtype, shape, r#""data_offsets":4"#]),
        join(&[dtype, shape, r#""data_offsets":[4]"#]),
        join(&[dtype, shape, r#""data_offsets":[0,4,4]"#]),
        join(&[dtype, shape, r#""data_offsets":[-4,4]"#]),
        join(&[dtype, shape, r#""data_offsets":[0,"4"]"#]),
        raw(b"{\"a\":7}", &[1; 4]),
        raw(b"{\"a\":[]}", &[1; 4]),
    ] {
        let damage = damage(&bytes);
        assert_eq!((damage.defect, damage.tensor.as_deref()), (Defect::HeaderEntry, Some("a")), "{}", String::from_utf8_lossy(&bytes));
    }
    for metadata in ["7", "[]", "null", "{\"k\":1}", "{\"k\":{}}"] {
        assert_eq!(defect(&raw(format!("{{\"__metadata__\":{metadata}}}").as_bytes(), b"")), Defect::HeaderEntry, "{metadata}");
    }
}

/// One F32 tensor `x` of a shape and byte range.
fn entry(name: &str, shape: &str, begin: u64, end: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
}

fn header(entries: &[String]) -> Vec<u8> {
    format!("{{{}}}", entries.join(",")).into_bytes()
}

#[test]
fn offsets_cover_the_data_once() {
    let two = |first: (u64, u64), second: (u64, u64), len: usize| {
        let shape = |(b, e): (u64, u64)| format!("[{}]", e.saturating_sub(b) / 4);
        raw(&header(&[entry("x", &shape(first), first.0, first.1), entry("y", &shape(second), second.0, second.1)]), &vec![1; len])
    };
    assert!(open(TempDir::new().unwrap().path(), &two((8, 16), (0, 8), 16)).is_ok(), "the order of the entries is free");
    for (bytes, want, tensor) in [
        (two((8, 4), (0, 8), 8), Defect::OffsetOrder, Some("x")),
        (two((0, 8), (8, 20), 16), Defect::OffsetRange, Some("y")),
        (two((0, 8), (u64::MAX - 3, u64::MAX), 16), Defect::OffsetRange, Some("y")),
        (two((0, 8), (4, 16), 16), Defect::OffsetOverlap, Some("y")),
        (two((0, 8), (0, 8), 8), Defect::OffsetOverlap, Some("y")),
        (two((0, 4), (8, 16), 16), Defect::OffsetGap, Some("y")),
        (two((4, 8), (8, 16), 16), Defect::OffsetGap, Some("x")),
        (two((0, 8), (8, 16), 17), Defect::TrailingBytes, None),
        (raw(b"{}", b"x"), Defect::TrailingBytes, None),
    ] {
        let damage = damage(&bytes);
        assert_eq!((damage.defect, damage.tensor.as_deref()), (want, tensor), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn shapes_that_do_not_fit_their_bytes() {
    let one = |shape: &str, len: u64| raw(&header(&[entry("x", shape, 0, len)]), &vec![1; len as usize]);
    for (bytes, want) in [
        (one("[3]", 8), Defect::SizeMismatch),
        (one("[]", 8), Defect::SizeMismatch),
        (one("[0]", 4), Defect::SizeMismatch),
        (one("[2,1,1,2]", 8), Defect::SizeMismatch),
        (one("[4294967296,4294967296]", 0), Defect::ArithmeticOverflow),
        (one("[18446744073709551615,3]", 4), Defect::ArithmeticOverflow),
        // the product fits, its bytes do not
        (one("[4611686018427387904]", 0), Defect::ArithmeticOverflow),
    ] {
        assert_eq!(defect(&bytes), want, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn names_appear_once() {
    let twice = header(&[entry("x", "[1]", 0, 4), entry("x", "[1]", 4, 8)]);
    let damage = damage(&raw(&twice, &[1; 8]));
    assert_eq!((damage.defect, damage.tensor.as_deref()), (Defect::DuplicateName, Some("x")));
    assert_eq!(defect(&raw(b"{\"__metadata__\":{},\"__metadata__\":{}}", b"")), Defect::DuplicateName);
}

#[test]
fn a_million_entries_and_one() {
    let mut text = String::from("{");
    for i in 0..=1_000_000 {
        text += &format!("\"{i}\":0,");
    }
    text.pop();
    text.push('}');
    assert_eq!(defect(&raw(text.as_bytes(), b"")), Defect::TooManyTensors);
}

#[test]
fn element_types_that_are_not_known() {
    let dir = TempDir::new().unwrap();
    for dtype in ["C64", "F8_E8M0", "F4", "f32", "", "\u{202e}F32"] {
        let file = SafetensorsFile::new().tensor("x.weight", dtype, &[1], [0; 8]);
        match open(dir.path(), &file.bytes()) {
            Err(IoError::Dtype { tensor, dtype: found, .. }) => assert_eq!((tensor.as_str(), found.as_str()), ("x.weight", dtype)),
            other => unreachable!("{dtype}: {other:?}"),
        }
    }
}

#[test]
fn a_file_cut_at_any_length() {
    let dir = TempDir::new().unwrap();
    let bytes = three().bytes();
    for len in 0..bytes.len() {
        match open(dir.path(), &bytes[..len]) {
            Err(IoError::Corrupt(damage)) => {
                let header = bytes.len() - three().data().len();
                let want: &[Defect] = match len {
                    0..8 => &[Defect::TooShort],
                    l if l < header => &[Defect::HeaderLength],
                    _ => &[Defect::OffsetRange],
                };
                assert!(want.contains(&damage.defect), "{len}: {damage:?}");
            }
            other => unreachable!("cut at {len}: {other:?}"),
        }
    }
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless() {
    let dir = TempDir::new().unwrap();
    let sound = three();
    let bytes = sound.bytes();
    let want = content(&open(dir.path(), &bytes).unwrap());
    let (mut harmless, mut errors) = (0, 0);
    for at in 0..8 + sound.header().len() {
        for flipped in [0x00, 0xff, bytes[at] ^ 1] {
            let mut bytes = bytes.clone();
            bytes[at] = flipped;
            match open(dir.path(), &bytes) {
                Ok(shard) => {
                    assert_eq!(content(&shard), want, "byte {at} as {flipped:#04x}");
                    harmless += 1;
                }
                Err(IoError::Corrupt(_) | IoError::Dtype { .. }) => errors += 1,
                Err(other) => unreachable!("byte {at} as {flipped:#04x}: {other:?}"),
            }
        }
    }
    assert!(harmless > 8 && errors > 400, "{harmless} {errors}");
}

#[test]
fn a_file_that_shrinks_or_changes_after_it_was_opened() {
    let dir = TempDir::new().unwrap();
    let bytes = three().bytes();
    let shard = open(dir.path(), &bytes).unwrap();
    assert!(shard.check_unchanged().is_ok());
    std::fs::write(dir.path().join("model.safetensors"), &bytes[..bytes.len() - 3]).unwrap();
    let mut buffer = [0; 5];
    let last = shard.header.tensor("c").unwrap();
    let changed = |e: Result<(), IoError>| matches!(e, Err(IoError::Corrupt(d)) if d.defect == Defect::ChangedWhileReading);
    assert!(changed(shard.read(&mut buffer, last.offset)));
    assert!(changed(shard.check_unchanged()));
}
